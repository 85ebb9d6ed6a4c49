"""Finding, merging and validating recipes: a file, a packaged name, or the text that a checkpoint carries."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..util import messages
from . import registry
from .checks import cross_check
from .merge import BESIDE, merge, overrides_tree
from .nodes import Mark, Node, Problem, parse
from .read import BAD, Reader
from .recipe import DEFAULT_SAMPLER, Given, Recipe, Split, Top
from .sections import Sample
from .spec import Spec

PACKAGED = registry.ROOT / "recipes"
SUFFIXES = (".yaml", ".yml")
NO_RECIPE = "a recipe is a mapping that starts with `recipe: 1`"

SAMPLE_KEYS = frozenset(f.name for f in dataclasses.fields(Sample))
BESIDE.update({("sample",): SAMPLE_KEYS, ("data",): frozenset({"split"})})


def packaged() -> dict[str, Path]:
    """name (`image/digits`) -> file of the recipes that ship with sonolux."""
    files = sorted(f for f in PACKAGED.rglob("*") if f.suffix in SUFFIXES)
    return {f.relative_to(PACKAGED).with_suffix("").as_posix(): f for f in files}


def summary(name: str, file: Path) -> dict[str, Any]:
    """name, file, about, and the keys that the user has to fill in. Nothing is validated and no component imported."""
    root = _chain(file, str(file), Path.cwd(), [], ())
    about, data = (root.value.get(key) if root is not None else None for key in ("about", "data"))
    unset = data is not None and data.is_map and "root" in data.value and data.value["root"].value is None
    return {
        "name": name,
        "file": str(file),
        "about": about.value if about is not None and isinstance(about.value, str) else "",
        "needs": ["data.root"] if unset else [],
    }


def find_recipe(name: str | Path, folder: Path | None = None) -> Path:
    """The file that a path (relative to `folder`), or a packaged name, whole or its unique last part, stands for.

    Raises BadInput with the nearest names where there is none.
    """
    text, known = str(name), packaged()
    path = (folder or Path.cwd()) / Path(name).expanduser()
    if path.is_file():
        return path
    matches = [text] if text in known else [k for k in known if k.rpartition("/")[2] == text]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        messages.bad_input(f"{text!r} may mean {' or '.join(matches)}: write the whole name")
    if (path / "recipe.yaml").is_file():
        messages.bad_input(f"{text} is a folder: its recipe is {Path(text) / 'recipe.yaml'}")
    if path.is_dir():
        messages.bad_input(f"{text} is a folder; a recipe is a .yaml file, or one of: {', '.join(known)}")
    if text.endswith(SUFFIXES):
        messages.bad_input(f"there is no recipe file {text}{messages.did_you_mean(Path(text).stem, known)}")
    hint = messages.did_you_mean(text, known) or "."
    messages.bad_input(
        f"there is no recipe {text!r}{hint} `sonolux recipe list` shows the packaged ones; a file ends in .yaml"
    )


def load_recipe(
    path_or_name: str | Path, overrides: Sequence[str] = (), cwd: Path | None = None, partial: bool = False
) -> Recipe:
    """The validated recipe of a file or packaged name, with `key.sub=value` overrides.

    cwd:     where relative paths of `path_or_name` and of overrides start; the working folder by default
    partial: accept null where the user has yet to fill something in (`data.root: null`), to show a recipe

    Raises BadInput that lists every problem with its place; BrokenPlugin where a component cannot be loaded.
    """
    cwd = cwd or Path.cwd()
    problems: list[Problem] = []
    file = find_recipe(path_or_name, cwd)
    root = _chain(file, _shown(file, cwd), cwd, problems, ())
    given = Given(file.read_text(encoding="utf-8-sig"), file, partial)
    return _finish(root, overrides, cwd, problems, given)


def load_recipe_text(
    text: str,
    base: Path | None = None,
    overrides: Sequence[str] = (),
    allow_code: bool = False,
    bare_section: str | None = "sample",
    source: str = "recipe",
    partial: bool = True,
) -> Recipe:
    """The validated recipe of a text, such as a checkpoint carries.

    base:         the folder its relative paths start from; the working folder by default
    allow_code:   whether components may be `pkg.module:Class` or files
    bare_section: overrides change this section alone, and `steps=30` means `sample.steps=30`; None: any section
    source:       how messages name the text
    partial:      see load_recipe; a checkpoint's data need not be at hand
    """
    base = base or Path.cwd()
    problems: list[Problem] = []
    root = parse(text, source, base, problems)
    if root is not None and root.is_map and "extends" in root.value:
        problems.append(Problem(root.value["extends"].mark, "extends", "a recipe out of a checkpoint stands alone"))
    return _finish(root, overrides, Path.cwd(), problems, Given(text, None, partial, allow_code), bare_section)


def with_overrides(
    recipe: Recipe, overrides: Sequence[str], bare_section: str | None = None, cwd: Path | None = None
) -> Recipe:
    """See Recipe.merge."""
    return _finish(recipe.tree, overrides, cwd or Path.cwd(), [], recipe.given, bare_section)


def _bare(override: str, section: str) -> str:
    key = override.partition("=")[0]
    first, dot, _ = key.partition(".")
    if first == section and dot:
        return override
    others = {f.name for f in dataclasses.fields(Top)} - SAMPLE_KEYS
    if first in others:
        messages.bad_input(
            f"command line: {override}: only {section}.* can change here; the rest is part of the checkpoint"
        )
    return f"{section}.{override}"


def _shown(file: Path, cwd: Path) -> str:
    try:
        return str(file.relative_to(cwd))
    except ValueError:
        return str(file)


def _chain(file: Path, shown: str, cwd: Path, problems: list[Problem], seen: tuple[Path, ...]) -> Node | None:
    """The tree of a file over those of the recipes it extends; None where one of them cannot be had, for without it
    nearly every key would seem to be missing."""
    resolved = file.resolve()
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        messages.bad_input(f"{shown}: cannot be read: {error}")
    root = parse(text, shown, file.parent.absolute(), problems)
    if root is None or not root.is_map:
        if not problems:
            problems.append(Problem(Mark(shown, 1, 1, "", file.parent), "", NO_RECIPE))
        return None
    if "name" not in root.value:
        root.value["name"] = Node(file.stem, root.mark)
    extends = root.value.pop("extends", None)
    if extends is None:
        return root
    if not isinstance(extends.value, str):
        problems.append(Problem(extends.mark, "extends", "expected the name or path of one recipe"))
        return None
    from ..util.errors import BadInput

    try:
        above = find_recipe(extends.value, file.parent)
    except BadInput as error:
        problems.append(Problem(extends.mark, "extends", str(error)))
        return None
    chain = (*seen, resolved)
    if above.resolve() in chain:
        names = " -> ".join(f.name for f in (*chain[chain.index(above.resolve()) :], above))
        problems.append(Problem(extends.mark, "extends", f"recipes extend each other in a circle: {names}"))
        return None
    parent = _chain(above, _shown(above, cwd), cwd, problems, chain)
    return None if parent is None else merge(parent, root)


def _finish(
    root: Node | None,
    overrides: Sequence[str],
    cwd: Path,
    problems: list[Problem],
    given: Given,
    bare_section: str | None = None,
) -> Recipe:
    if bare_section:
        overrides = [_bare(o, bare_section) for o in overrides]
    changes = overrides_tree(list(overrides), cwd, problems)
    if root is None or not root.is_map:
        if not problems:
            problems.append(Problem(Mark(str(given.source or "recipe"), 1, 1, "", cwd), "", NO_RECIPE))
        _refuse(problems)
    assert root is not None
    if changes is not None:
        root = merge(root, changes)
    reader = Reader(problems, given.allow_code, given.partial)
    values = _read(root, reader)
    cross_check(root, values, reader)
    _refuse(problems)
    return Recipe(**values, given=given, tree=root)


def _read(root: Node, reader: Reader) -> dict[str, Any]:
    """Every section as a value; BAD where it has a problem."""
    hints = typing.get_type_hints(Top, include_extras=True)
    keys = {f.name: f for f in dataclasses.fields(Top)}
    empty = Node({}, root.mark)
    values: dict[str, Any] = {}
    for name, key in keys.items():
        node = root.value.get(name)
        if name in ("data", "sample"):
            continue
        if node is None and key.default_factory is dataclasses.MISSING and key.default is dataclasses.MISSING:
            what = "write `recipe: 1`" if name == "recipe" else f"give a {name}: a mapping with `use:`"
            values[name] = reader.problem(root.mark, name, f"is missing: {what}")
        elif node is None and key.default_factory is dataclasses.MISSING:
            values[name] = key.default
        else:
            values[name] = reader.value(node or empty, hints[name], name)
    for name in root.value:
        if name not in keys and not name.startswith("x-"):
            reader.unknown(root.value[name], "", name, list(keys), "a recipe", values)
    if values["codec"] is None and values["modality"] is not BAD:
        values["codec"] = _own_codec(root, values["modality"], reader)
    split, data = _mixed(root.value.get("data", empty), frozenset({"split"}))
    if "data" in root.value:
        values["data"] = reader.component(data, "dataset", "data", beside=["split"])
    else:
        values["data"] = reader.problem(root.mark, "data", "is missing: give a data section: a mapping with `use:`")
    values["split"] = reader.section(split.value.get("split", empty), Split, "data.split")
    sample, sampler = _mixed(root.value.get("sample", empty), SAMPLE_KEYS)
    values["sample"] = reader.section(sample, Sample, "sample")
    values["sampler"] = reader.component(
        sampler, "sampler", "sample", Spec("sampler", DEFAULT_SAMPLER), sorted(SAMPLE_KEYS)
    )
    return values


def _own_codec(root: Node, modality: Spec, reader: Reader) -> Any:
    """The codec that the modality's class names, for recipes without one."""
    at = root.value.get("codec", root)
    own = getattr(reader.built.get("modality"), "codec", None)
    if isinstance(own, str):
        return reader.component(Node(own, at.mark, at.key), "codec", "codec")
    known = [n for n in registry.names("codec") if n.startswith(f"{modality.use}/")] or registry.names("codec")
    return reader.problem(at.key or at.mark, "codec", f"needs a codec, one of: {', '.join(known)}")


def _mixed(node: Node, own: frozenset[str]) -> tuple[Node, Node]:
    """One mapping as two: the section's own keys, and the component's."""
    if not node.is_map:
        return Node({}, node.mark, node.key), node if node.value is not None else Node({}, node.mark, node.key)
    section = {k: v for k, v in node.value.items() if k in own}
    component = {k: v for k, v in node.value.items() if k not in own}
    return Node(section, node.mark, node.key), Node(component, node.mark, node.key, node.use)


def _refuse(problems: list[Problem]) -> None:
    """Raise one BadInput that holds every problem, in the order of the files' lines, the command line's last."""
    if not problems:
        return
    files = list(dict.fromkeys(p.mark.file for p in problems))
    problems = sorted(
        problems, key=lambda p: (bool(p.mark.override), files.index(p.mark.file), p.mark.line, p.mark.column)
    )
    count = f"{len(problems)} error{'s' if len(problems) > 1 else ''}; nothing was run"
    from ..util.errors import BadInput

    error = BadInput("\n".join([*map(str, problems), count]))
    error.problems = problems  # type: ignore[attr-defined]  (`recipe validate --json` prints them one by one)
    raise error
