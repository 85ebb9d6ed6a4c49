"""What a shell completes: recipes, models, runs and KEY=VALUE. Nothing here loads torch or runs code of a recipe."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from click.shell_completion import CompletionItem

FILES = CompletionItem("", type="file")
"""Tells the shell to complete files, if nothing else fits; it has to be the first item."""

_SPECIAL = set(" \t\"'`$&|;<>(){}*?!#\\")
"""Characters with a meaning for a shell, which completes words without quotes."""

# Section of a recipe -> kind of the component that shares its mapping.
_SECTIONS = {"modality": "modality", "data": "dataset", "codec": "codec", "network": "network", "sample": "sampler"}
_GIVEN = {"spec", "split", "valid", "seed", "recorded", "concat"}  # parameters that sonolux passes itself


def complete_recipe(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the packaged recipes, with the modality only where the last part is not unique; and files."""
    from ..config.load import packaged_recipes

    names = list(packaged_recipes())
    last = [name.rpartition("/")[2] for name in names]
    short = [one if last.count(one) == 1 else name for one, name in zip(last, names, strict=True)]
    return [FILES, *_starting(names if "/" in incomplete else short, incomplete)]


def complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the packaged models."""
    from ..training.packaged_models import packaged_models

    return _starting(packaged_models(), incomplete)


def complete_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the packaged models, run folders in `runs` and next to what is typed, and files."""
    from ..training.packaged_models import packaged_models

    return [FILES, *_starting([*packaged_models(), *_runs(incomplete)], incomplete)]


def complete_run_folder(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Run folders, and other folders on the way to one."""
    return [CompletionItem("", type="dir"), *_starting(_runs(incomplete), incomplete)]


def complete_recipe_or_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What `complete_recipe` and `complete_run` offer."""
    found = complete_recipe(context, parameter, incomplete) + complete_run(context, parameter, incomplete)[1:]
    return list({item.value: item for item in found}.values())


def complete_change(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """KEY= of the recipe that the command line names, and VALUE where a key has few values."""
    earlier = list(context.params.get(parameter.name or "") or ())
    key, equals, _ = incomplete.partition("=")
    if equals:  # zsh and fish: one word
        return _starting([f"{key}={one}" for one in _values(key)], incomplete)
    if len(earlier) > 1 and earlier[-1] == "=":  # bash: three words
        return _starting(_values(str(earlier[-2])), incomplete)
    return _starting([f"{key}=" for key in _keys(context.params.get("recipe"))], incomplete)


def complete_sample_change(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """KEY= of the section `sample`, which commands for runs take without its name."""
    from ..config.sections import SampleSection

    key, equals, _ = incomplete.partition("=")
    if equals:
        return _starting([f"{key}={one}" for one in _values(f"sample.{key}")], incomplete)
    return _starting([f"{name}=" for name in ("use", *SampleSection.model_fields)], incomplete)


def _starting(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Words that begin so, without those that a shell would not take as they are: a folder may be named $(command)."""
    return [CompletionItem(word) for word in words if word.startswith(incomplete) and not _SPECIAL & set(word)]


def _runs(incomplete: str) -> list[str]:
    """Folders with a resolved.yaml: in `runs`, and in the folder that is typed."""
    above = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    found: dict[str, None] = {}
    for folder in (above, Path("runs")):
        with suppress(OSError):
            found |= {str(path): None for path in sorted(folder.iterdir()) if (path / "resolved.yaml").is_file()}
    return [name for name in found if name.isprintable()]


def _keys(recipe: str | None) -> list[str]:
    """Keys that a recipe can have: those of the sections, those that it sets, and parameters of its components."""
    from ..config.recipe import Recipe
    from ..config.sections import EvalSection, SampleSection, TrainSection

    sections = (("train", TrainSection), ("sample", SampleSection), ("eval", EvalSection))
    found = dict.fromkeys(f"{name}.{key}" for name, section in sections for key in section.model_fields)
    found |= dict.fromkeys(name for name in Recipe.model_fields if name not in ("split", "sampler"))
    values = _recipe_values(recipe) if recipe else {}
    found |= dict.fromkeys(_paths(values))
    for section, kind in _SECTIONS.items():
        use = values.get(section)
        use = use.get("use") if isinstance(use, dict) else use
        found |= dict.fromkeys(f"{section}.{name}" for name in _parameters(kind, use) if isinstance(use, str))
    return sorted(found)


def _recipe_values(recipe: str) -> dict[str, Any]:
    """The plain values of a recipe and of those that it extends; empty if they cannot be read."""
    from ..config.load import LONGEST_CHAIN, find_recipe, read_recipe_file
    from ..config.yaml import parse_yaml
    from ..util.errors import BadInput

    chain: list[dict[str, Any]] = []
    name, folder = str(recipe), Path.cwd()
    with suppress(BadInput, OSError):
        while name and len(chain) < LONGEST_CHAIN:
            file = find_recipe(name, folder)
            root = parse_yaml(read_recipe_file(file, str(file)), str(file), file.parent, [])
            values = root.plain() if root is not None else None
            if not isinstance(values, dict):
                break
            chain.append(values)
            name, folder = str(values.get("extends") or ""), file.parent
    merged: dict[str, Any] = {}
    for values in reversed(chain):
        for key, value in values.items():
            old = merged.get(key)
            merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _paths(values: dict[str, Any], prefix: str = "") -> Iterable[str]:
    """`a.b.c` for every value of nested mappings."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")
        elif (prefix or key != "extends") and str(key).isprintable():
            yield f"{prefix}{key}"


def _parameters(kind: str, use: object) -> list[str]:
    """Parameters of a built-in component's constructor, from its file, which is not imported."""
    from ..config import registry

    file = registry.builtin_files(kind).get(str(use))
    if file is None:
        return []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            made = next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
            arguments = [] if made is None else [*made.args.args[1:], *made.args.kwonlyargs]
            return [one.arg for one in arguments if one.arg not in _GIVEN]
    return []


def _values(key: str) -> list[str]:
    """The values of a key: names of components, or the choices that its type lists; empty if there is no such list."""
    from ..config import registry
    from ..config.components import ComponentField
    from ..config.sections import EvalSection, SampleSection, TrainSection

    first, _, name = key.removesuffix(".use").partition(".")
    if not name and (first in _SECTIONS or first == "objective"):
        return registry.component_names(_SECTIONS.get(first, first))
    if key == "sample.use":
        return registry.component_names("sampler")
    section = {"train": TrainSection, "sample": SampleSection, "eval": EvalSection}.get(first)
    field = None if section is None else section.model_fields.get(name)
    if field is None:
        return []
    kinds = [one.name for one in _parts((field.annotation, *field.metadata)) if isinstance(one, ComponentField)]
    if kinds:
        return registry.component_names(kinds[0])
    choices = [x for one in _parts(field.annotation) if get_origin(one) is Literal for x in get_args(one)]
    choices += [x for x in (True, False) if bool in _parts(field.annotation)]
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in choices]


def _parts(annotation: Any) -> list[Any]:
    """An annotation with all that it is made of."""
    if isinstance(annotation, tuple):
        return [part for one in annotation for part in _parts(one)]
    inner = () if get_origin(annotation) is Literal else get_args(annotation)
    return [annotation, *(part for one in inner for part in _parts(one))]
