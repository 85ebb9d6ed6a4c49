"""A job as other programs would do it: a command line, lines of Python, and the changed keys of a recipe."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..config.spec import to_plain_values
from ..util.messages import format_command

_LIKE_CHANGE = re.compile(r"\s*[\w.-]+\s*=|-")  # what a command would take for a change or an option


@dataclass(frozen=True)
class PipelineCall:
    """One call of a pipeline.

    Attributes:
        run: What the command line takes as RUN.
        edit: Name of the edit; None: new samples.
        files: The files of an edit.
        options: Its options.
        changes: Changes of the recipe's `sample` section, with the prompt.
        trajectory: Whether the denoising trajectory is recorded.
    """

    run: str
    edit: str | None = None
    files: Sequence[Path] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    trajectory: bool = False

    def command(self, out: str) -> str:
        """The command line that makes the same files in the folder `out`."""
        changes = dict(self.changes)
        prompt = changes.pop("prompt", None)
        words: list[str] = ["sonolux", "sample", self.run] if self.edit is None else ["sonolux", "edit", self.run]
        words += [] if self.edit is None else [self.edit, *map(str, self.files)]
        words += self._prompt_words(prompt)
        for key, value in self.options.items():
            words += self._option_words(key, value)
        negative = changes.pop("negative", None)
        words += [f"{key}={_yaml_value(value)}" for key, value in changes.items()]
        if negative is not None:
            words.append(f"negative={negative if self.edit is None else _yaml_value(negative)}")
        words += ["--trajectory"] if self.trajectory else []
        return format_command(*words, "--out", out)

    def _prompt_words(self, prompt: Any) -> list[str]:
        if prompt is None:
            return []
        if self.edit is not None:
            plain = self.edit == "reprompt" and isinstance(prompt, str) and not _LIKE_CHANGE.match(prompt)
            return [prompt] if plain else [f"prompt={_yaml_value(prompt)}"]
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if any(_LIKE_CHANGE.match(one) for one in prompts):
            return [f"prompt={json.dumps(prompts, ensure_ascii=False)}"]
        return prompts

    def _option_words(self, key: str, value: Any) -> list[str]:
        if key == "spans":
            starts, ends = zip(*value, strict=True)
            return [f"from={json.dumps(list(starts))}", f"to={json.dumps(list(ends))}"]
        return [f"{key}={_yaml_value(value)}"]

    def python(self, out: str) -> str:
        """The lines of Python that make the same files."""
        method = {None: "sample", "continue": "extend"}.get(self.edit, self.edit)
        given = {**self.options, **self.changes}
        arguments: list[str] = []
        if self.edit is None and "prompt" in given:
            arguments.append(repr(given.pop("prompt")))
        elif self.edit == "morph":
            arguments += [repr(str(file)) for file in self.files]
        elif self.edit is not None:
            arguments.append(repr([str(file) for file in self.files]))
        plain = {key: value for key, value in given.items() if key.isidentifier()}
        arguments += [f"{key}={_plain(value)!r}" for key, value in plain.items()]
        arguments += ["trajectory=True"] if self.trajectory else []
        if dotted := {key: _plain(value) for key, value in given.items() if key not in plain}:
            arguments.append(f"**{dotted!r}")
        lines = [f"samples = pipeline.{method}({', '.join(arguments)})"]
        lines.append(f"samples.save({out!r}{', trajectory=True' if self.trajectory else ''})")
        return "\n".join([f"pipeline = sonolux.load({self.run!r})", *lines])

    def recipe(self) -> str:
        """The changed keys of the `sample` section, YAML."""
        section: dict[str, Any] = {}
        for key, value in self.changes.items():
            first, _, rest = key.partition(".")
            if not rest:
                section[first] = _plain(value)
            elif isinstance(inside := section.setdefault(first, {}), dict):
                inside[rest] = _plain(value)
        return yaml.safe_dump({"sample": section}, sort_keys=False, allow_unicode=True, default_flow_style=None)


def _plain(value: Any) -> Any:
    return to_plain_values(str(value) if isinstance(value, Path) else value)


def _yaml_value(value: Any) -> str:
    """A value as it is written after `key=`, so that YAML reads it back."""
    value = _plain(value)
    if isinstance(value, str):
        try:
            same = yaml.safe_load(value) == value and value == value.strip() and value.isprintable()
        except yaml.YAMLError:
            same = False
        return value if same else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
