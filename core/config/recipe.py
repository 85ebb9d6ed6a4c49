"""A recipe: validates its tree into sections and unbuilt components, and writes it as text again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..util import messages
from . import legacy, registry, wording
from .checks import cross_check
from .components import Component, Conditions, Section, Text, ValidationContext, exactly, try_build
from .overrides import Change, key_of, merge, overrides_tree
from .sections import SHARED_KEYS, Eval, ProcessSection, Sample, Split, Train
from .spec import Spec, inside, paths_in, plain, unconfirmed_paths
from .tree import BadRecipe, ConfigProblem, Mark, Node
from .trust import Trust, UnconfirmedPath, refuse_unconfirmed
from .wording import SAMPLER, SPLIT
from .yaml import dump

DEFAULT_SAMPLER = "dpmpp_2m"
NO_RECIPE = "a recipe is a mapping that starts with `recipe: 1`"


@dataclass(frozen=True)
class RecipeSource:
    """The source of a recipe.

    Attributes:
        text: The text as the user wrote it.
        source: The file; None if the text did not come from a file.
        partial: Whether null is accepted for required values, which the user fills in later.
        allow_code: Whether code that it names runs wherever the text is from, as with `--allow-code`.
        trust: How far the text is trusted.
        noted: Old names that a note has listed already.
    """

    text: str
    source: Path | None = None
    partial: bool = False
    allow_code: bool = False
    trust: Trust = Trust.NONE
    noted: frozenset[str] = frozenset()


class Recipe(Section):
    """One recipe, ready to be built: its sections, the unbuilt components, and its keys with their texts.

    `split` is a key of the `data` section; `sampler` holds `use` and the sampler's parameters, which are keys of the
    `sample` section. Keys `x-...` are for notes and anchors.
    """

    recipe: Annotated[Literal[1], BeforeValidator(exactly((1,)))]
    """format of the recipe: 1"""
    name: Text = ""
    """name of the recipe and of its run folder; default: the file's name"""
    about: Text = ""
    """purpose of the recipe, in one line"""
    seed: int = 0
    """seed of all random numbers: initial weights, order of examples, noise, dropped conditions, augmentation"""
    modality: Annotated[Spec, Component("modality")]
    """kind of media to generate, such as image or audio, with size, channels and rate"""
    data: Annotated[Spec, Component("dataset", section_keys=("split",))]
    """dataset of examples; `split` sets the share for validation"""
    split: Split = Field(default_factory=Split, alias=SPLIT)
    """how examples are divided between training and validation"""
    codec: Annotated[Spec, Component("codec")] | None = None
    """converts media to the diffused tensor and back; null: the modality's default"""
    network: Annotated[Spec, Component("network")]
    """network to train"""
    conditioning: Conditions = Field(default_factory=dict)
    """conditions of the model, by name, such as a class label"""
    process: ProcessSection = Field(default_factory=ProcessSection)
    """diffusion process: noise schedule, parameterization, noise conditioning"""
    objective: Annotated[Spec, Component("objective", "denoising")] = Spec("objective", "denoising")
    """loss that training minimises"""
    train: Train = Field(default_factory=Train)
    """settings of the training loop"""
    sample: Sample = Field(default_factory=Sample)
    """settings of sampling"""
    sampler: Annotated[
        Spec, Component("sampler", DEFAULT_SAMPLER, section_keys=tuple(sorted(SHARED_KEYS[("sample",)])))
    ] = Field(default=Spec("sampler", DEFAULT_SAMPLER), alias=SAMPLER)
    """sampler and its parameters"""
    eval: Eval = Field(default_factory=Eval)
    """settings of evaluation"""

    _given: RecipeSource = PrivateAttr(default_factory=lambda: RecipeSource(""))
    _tree: Node | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _separate(cls, data: Any) -> Any:
        """Split the two mappings that hold keys of a component and of a section into one field for each."""
        out = {k: v for k, v in data.items() if not k.startswith("x-")}
        if out.get("objective", "") is None:  # a heading with nothing under it
            del out["objective"]
        examples, sample = out.get("data"), out.pop("sample", None)
        if isinstance(examples, dict):
            out[SPLIT] = examples.get("split")
            out["data"] = {k: v for k, v in examples.items() if k != "split"}
        if isinstance(sample, dict):
            section_keys = SHARED_KEYS[("sample",)]
            out["sample"] = {k: v for k, v in sample.items() if k in section_keys}
            sample = {k: v for k, v in sample.items() if k not in section_keys}
        return out if sample is None else {**out, SAMPLER: sample}

    @field_validator("*", mode="wrap")
    @classmethod
    def _note_valid(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        valid = handler(value)
        if info.context is not None:
            info.context.good[info.field_name] = valid
        return valid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.resolved() == other.resolved()

    @property
    def text(self) -> str:
        """The recipe as written: the file's text, without the recipe that it extends and without overrides."""
        return self._given.text

    @property
    def source(self) -> Path | None:
        """The file it was read from; None if it came from a checkpoint."""
        return self._given.source

    @property
    def sample_seed(self) -> int:
        """The seed for sampling: `sample.seed`, or the recipe's seed if that is null."""
        return self.seed if self.sample.seed is None else self.sample.seed

    @property
    def allow_code(self) -> bool:
        """Whether code that it names runs wherever its text is from, as with `--allow-code`."""
        return self._given.allow_code

    @property
    def trust(self) -> Trust:
        """How far its text is trusted."""
        return self._given.trust

    def paths(self) -> dict[str, Path | UnconfirmedPath]:
        """Key -> path, for every path that it names: `data.root`, `sample.guidance.weak`."""
        fields = {name: wording.MIXED.get(f"<{name}>", (name,)) for name in type(self).model_fields}
        return {key: path for name, place in fields.items() for key, path in paths_in(getattr(self, name), place)}

    def refuse_unconfirmed(self, *sections: str) -> None:
        """Raise BadInput if these sections name paths that must not be used, since a run of others names them."""
        paths = [path for section in sections for path in unconfirmed_paths(getattr(self, section))]
        if paths:
            refuse_unconfirmed(paths)

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values, with every default written out and absolute paths."""
        values = {name: plain(getattr(self, name)) for name in type(self).model_fields}
        values["data"]["split"] = values.pop("split")
        values["sample"] = {**values.pop("sampler"), **values["sample"]}
        return values

    def dump(self) -> str:
        """YAML text that loads as the same recipe from any folder."""
        return dump(self.resolved())

    def merge(
        self,
        overrides: Sequence[Change],
        bare_section: str | None = None,
        cwd: Path | None = None,
    ) -> Recipe:
        """A new recipe with overrides applied.

        Args:
            overrides: Arguments `key.sub=value`, or pairs of a key and a plain value.
            bare_section: The only section that may change, such as "sample": `steps=30` then means
                `sample.steps=30`. Paths may change in any section. None: any section.
            cwd: Folder that their relative paths start from; the working folder by default.
        """
        return read(self._tree, self._given, overrides, cwd or Path.cwd(), bare_section=bare_section)


def read(
    root: Node | None,
    given: RecipeSource,
    overrides: Sequence[Change] = (),
    cwd: Path | None = None,
    problems: list[ConfigProblem] | None = None,
    renamed: dict[str, str] | None = None,
    bare_section: str | None = None,
) -> Recipe:
    """Apply overrides to a tree, then validate it.

    Args:
        root: The tree, in which old keys are renamed already.
        given: The source of the recipe.
        overrides: See `Recipe.merge`.
        cwd: See `Recipe.merge`.
        problems: Problems found so far.
        renamed: Old name -> new name, for the old names found so far.
        bare_section: See `Recipe.merge`.

    Returns:
        The validated recipe.

    Raises:
        BadRecipe: The recipe is not valid; the message lists every problem.
    """
    cwd, problems, renamed = cwd or Path.cwd(), list(problems or ()), dict(renamed or {})
    elsewhere: list[Change] = []
    if bare_section:
        overrides = [_bare(o, bare_section, root, elsewhere) for o in overrides]
    changes = overrides_tree(list(overrides), cwd, problems)
    if root is None or not root.is_map:
        start = Mark(str(given.source or "recipe"), 1, 1, "", cwd)
        raise BadRecipe(problems or [ConfigProblem(start, "", NO_RECIPE)])
    if changes is not None:
        legacy.rename(changes, renamed, problems)
        root = merge(root, changes)
    try:
        recipe = _validated(root, ValidationContext(given.allow_code, given.partial, renamed=renamed), problems)
    finally:
        fresh = {old: new for old, new in renamed.items() if old not in given.noted}
        legacy.note(given.source.name if given.source else "the recipe", fresh)
    recipe._given, recipe._tree = replace(given, noted=given.noted | fresh.keys()), root
    if bare_section and elsewhere:
        known = recipe.paths()
        for override in elsewhere:
            if key_of(override) not in known:
                _refuse_elsewhere(override, bare_section)
    return recipe


def _validated(root: Node, context: ValidationContext, problems: list[ConfigProblem]) -> Recipe:
    data, recipe = root.data(), None
    try:
        recipe = Recipe.model_validate(data, context=context)
    except ValidationError as error:
        known = {(p.mark, p.path) for p in problems}  # a value that could not be read is not of a wrong type too
        found = wording.problems(wording.reworded(error, Recipe, data), root)
        problems += [p for p in found if (p.mark, p.path) not in known]
    good = context.good
    if good.get("codec", "") is None and "modality" in good:
        good["codec"] = _default_codec(good["modality"], root, context, problems)
    cross_check(root, good, problems)
    if problems or recipe is None:
        raise BadRecipe(problems)
    recipe.codec = good["codec"]
    for name in Recipe.model_fields:
        _place(getattr(recipe, name), wording.MIXED.get(f"<{name}>", (name,)), root)
    return recipe


def _default_codec(
    modality: Spec, root: Node, context: ValidationContext, problems: list[ConfigProblem]
) -> Spec | None:
    """The default codec, which the modality's class names, for recipes without a codec."""
    default = getattr(try_build(modality, context.partial), "codec", None)
    if isinstance(default, str):
        return TypeAdapter(Annotated[Spec, Component("codec")]).validate_python(default, context=context)
    known = [n for n in registry.names("codec") if n.startswith(f"{modality.use}/")] or registry.names("codec")
    at = root.get("codec") or root
    problems.append(ConfigProblem(at.key or at.mark, "codec", f"needs a codec, one of: {', '.join(known)}"))
    return None


def _place(value: Any, path: wording.Loc, root: Node) -> None:
    """Set the position in the recipe on every Spec, and the key on every path that must not be used."""
    if isinstance(value, Spec):
        value.where = f"{root.place(path)}: {wording.path_of(path)}"
    elif isinstance(value, UnconfirmedPath):
        value.key = ".".join(map(str, path))
    for step, inner in inside(value):
        _place(inner, (*path, step), root)


def _bare(override: Change, section: str, root: Node | None, elsewhere: list[Change]) -> Change:
    """The override with its full key; one of another section that may be a path is added to `elsewhere`."""
    name = key_of(override)
    first, dot, _ = name.partition(".")
    if first == section and dot:
        return override
    others = {*Recipe.model_fields, *legacy.KEYS} - {"split", "sampler", *SHARED_KEYS.get((section,), ())}
    if first in others:
        node = None if root is None else root.get(*name.split("."))
        if node is None or isinstance(node.value, (dict, list)):
            _refuse_elsewhere(override, section)
        elsewhere.append(override)
        return override
    return (f"{section}.{name}", override[1]) if isinstance(override, tuple) else f"{section}.{override}"


def _refuse_elsewhere(override: Change, section: str) -> NoReturn:
    shown = messages.shortened(messages.printable(override), 80)
    messages.bad_input(f"command line: {shown}: only {section}.* can change here; the rest is part of the checkpoint")
