"""Finds and parses recipes: a file, a packaged recipe, or the text in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ..util import messages
from ..util.errors import BadInput
from ..util.messages import shorten
from ..util.paths import expand_home
from . import legacy, registry, trust, wording
from .components import ComponentField, RecipeSection, ValidationContext
from .overrides import FREE, Change, merge_trees, parse_overrides
from .recipe import NO_RECIPE, Recipe, RecipeSource, recipe_from_tree
from .spec import ComponentSpec
from .tree import BadRecipe, ConfigNode, ConfigProblem, SourcePosition, name_key
from .trust import TrustLevel
from .yaml import MOST_CHARACTERS, parse_yaml

PACKAGED = registry.ROOT / "recipes"
SUFFIXES = (".yaml", ".yml")
MESSAGE = 170  # characters about a recipe in a checkpoint; with the rest, but without the path, a line of 200
LONGEST_CHAIN = 20  # recipes of which each extends the next
AnySection = TypeVar("AnySection", bound=RecipeSection)


def packaged_recipes() -> dict[str, Path]:
    """Name (such as `image/digits`) -> file, for the recipes that are part of sonolux."""
    files = sorted(f for f in PACKAGED.rglob("*") if f.suffix in SUFFIXES)
    return {f.relative_to(PACKAGED).with_suffix("").as_posix(): f for f in files}


def recipe_summary(name: str, file: Path) -> dict[str, Any]:
    """Name, file, `about`, and the keys that the user must fill in; without validation or import of components."""
    root = _Files(Path.cwd()).tree(file, TrustLevel.PATHS)
    about, folder = (root.get("about"), root.get("data", "root")) if root is not None else (None, None)
    return {
        "name": name,
        "file": str(file),
        "about": about.value if about is not None and isinstance(about.value, str) else "",
        "needs": ["data.root"] if folder is not None and folder.value is None else [],
    }


def find_named_code(text: str) -> list[str]:
    """The code that a recipe's text may name: all texts `place:Class`, except where any text may stand."""
    root, found = parse_yaml(text, "recipe", Path.cwd(), []), dict[str, None]()

    def look(value: Any, path: tuple[str, ...]) -> None:
        if path in (("name",), ("about",), *FREE) or (path and path[0].startswith("x-")):
            return
        if isinstance(value, str) and registry.is_code_reference(value):
            found[value] = None
        for name, inner in value.items() if isinstance(value, dict) else ((None, v) for v in listed(value)):
            look(inner, path if name is None else (*path, name))

    def listed(value: Any) -> list[Any]:
        return value if isinstance(value, list) else []

    look(root.plain() if root is not None else None, ())
    return list(found)


def find_recipe(name: str | Path, folder: Path | None = None) -> Path:
    """The file of a recipe.

    Args:
        name: A path, or the name of a packaged recipe, of which the last part is enough if it is unique.
        folder: Folder that a relative path starts from; the working folder by default.

    Raises:
        BadInput: There is no such recipe; the message suggests the nearest names.
    """
    text, known = str(name), packaged_recipes()
    path = (folder or Path.cwd()) / expand_home(name)
    if path.is_file():
        return path
    matches = [text] if text in known else [k for k in known if k.rpartition("/")[2] == text]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        messages.raise_bad_input(f"{text!r} may mean {' or '.join(matches)}: write the whole name")
    if (path / "recipe.yaml").is_file():
        messages.raise_bad_input(f"{text} is a folder: its recipe is {Path(text) / 'recipe.yaml'}")
    if path.is_dir():
        messages.raise_bad_input(
            f"{text} is a folder; a recipe is a .yaml file, or one of: {messages.format_names([*known])}"
        )
    if text.endswith(SUFFIXES):
        messages.raise_bad_input(f"there is no recipe file {text}{messages.did_you_mean(Path(text).stem, known)}")
    hint = messages.did_you_mean(text, known) or "."
    messages.raise_bad_input(
        f"there is no recipe {text!r}{hint} `sonolux recipe list` shows the packaged ones; a file ends in .yaml"
    )


def load_recipe(
    path_or_name: str | Path,
    overrides: Sequence[str] = (),
    cwd: Path | None = None,
    partial: bool = False,
    allow_code: bool = False,
) -> Recipe:
    """The validated recipe of a file or packaged name.

    The file itself and overrides may name code (`pkg.module:Class`, `./file.py:Class`), unless the file is in a run
    folder that was not made here; see `trust`.

    Args:
        path_or_name: A file, or the name of a packaged recipe.
        overrides: Arguments `key.sub=value`.
        cwd: Folder that relative paths of `path_or_name` and of overrides start from; the working folder by default.
        partial: Accept null for required values, which the user fills in later (`data.root: null`), to show a recipe.
        allow_code: Run all code that the recipe names, also in recipes that it extends.

    Raises:
        BadInput: The recipe is not valid; the message lists every problem with its position.
        BrokenPlugin: A component cannot be loaded.
    """
    cwd = cwd or Path.cwd()
    return _loaded(find_recipe(path_or_name, cwd), TrustLevel.CODE, overrides, cwd, partial, allow_code)


def load_run_recipe(
    folder: Path, overrides: Sequence[str] = (), partial: bool = False, allow_code: bool = False, resume: bool = False
) -> Recipe:
    """The validated recipe of a run folder: resolved.yaml, or else, unless the run is continued, recipe.yaml.

    Args:
        folder: The run folder.
        overrides: Arguments `key.sub=value`.
        partial: See `load_recipe`.
        allow_code: Run the code that it names.
        resume: Whether the run is continued: the code of one's own run was run when it was started, and is run again.

    Raises:
        BadInput: There is no recipe, or it is not valid.
    """
    names = (trust.RESOLVED,) if resume else (trust.RESOLVED, "recipe.yaml")
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        messages.raise_bad_input(f"{folder} is no run folder: it contains no {' and no '.join(names)}")
    own = trust.is_own_run(folder, read_recipe_file(file, str(file)))
    most = TrustLevel.NONE if not own else TrustLevel.CODE if resume else TrustLevel.PATHS
    return _loaded(file, most, overrides, Path.cwd(), partial, allow_code)


def _loaded(
    file: Path, most: TrustLevel, overrides: Sequence[str], cwd: Path, partial: bool, allow_code: bool
) -> Recipe:
    files = _Files(cwd)
    root = files.tree(file, most)
    text = read_recipe_file(file, str(file))
    given = RecipeSource(text, file, partial, allow_code, trust.trust_of_file(file, text, most))
    return recipe_from_tree(root, given, overrides, cwd, files.problems, files.renamed)


def read_recipe_file(file: Path, shown: str) -> str:
    """The text of a recipe file.

    Args:
        file: The file.
        shown: Its name in messages.

    Raises:
        BadInput: It cannot be read, is not Unicode, or is too long.
    """
    try:
        if (size := file.stat().st_size) > 4 * MOST_CHARACTERS:  # of UTF-8, at most four bytes each
            messages.raise_bad_input(f"{shown}: {size} bytes, and a recipe has at most {MOST_CHARACTERS} characters")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        messages.raise_bad_input(f"{shown}: cannot be read: {error}")


def load_recipe_text(
    text: str,
    base: Path | None = None,
    overrides: Sequence[str] = (),
    allow_code: bool = False,
    bare_section: str | None = "sample",
    source: str = "recipe",
    partial: bool = True,
    trusted: TrustLevel = TrustLevel.NONE,
) -> Recipe:
    """The validated recipe of a text that sonolux wrote, such as the text in a checkpoint.

    Args:
        text: YAML.
        base: Folder that its relative paths start from; the working folder by default.
        overrides: Arguments `key.sub=value`.
        allow_code: Run the code (`pkg.module:Class`, `./file.py:Class`) that it names.
        bare_section: See `Recipe.with_overrides`.
        source: Name of the text in messages.
        partial: See `load_recipe`; by default the data of a checkpoint's recipe need not be available.
        trusted: How far the text is trusted.
    """
    problems: list[ConfigProblem] = []
    renamed: dict[str, str] = {}
    root = parse_yaml(text, source, base or Path.cwd(), problems, trust=trusted, stored=True)
    if root is not None:
        legacy.rename_old_keys(root, renamed, problems)
        if extends := root.get("extends"):
            problems.append(ConfigProblem(extends.mark, "extends", "a recipe from a checkpoint cannot extend another"))
    given = RecipeSource(text, None, partial, allow_code, trusted)
    return recipe_from_tree(root, given, overrides, None, problems, renamed, bare_section)


@contextmanager
def name_checkpoint_in_errors(checkpoint: Path) -> Iterator[None]:
    """Report the errors of a checkpoint's recipe, and of what it describes, in one line that names the checkpoint.

    Errors in changes of the command line are reported as always.
    """
    try:
        yield
    except BadRecipe as error:
        written = [problem for problem in error.problems if not problem.mark.override]
        if not written:
            raise
        first = written[0]
        more = f" (and {len(written) - 1} more errors)" if len(written) > 1 else ""
        raise _unusable(checkpoint, name_key(first.path, first.message), more) from error
    except BadInput as error:
        message = str(error)
        known = message.startswith("command line") or str(checkpoint) in message
        raise error if known else _unusable(checkpoint, message) from error


def _unusable(checkpoint: Path, problem: str, more: str = "") -> BadInput:
    return BadInput(f"{checkpoint}: its recipe cannot be used: {shorten(problem, MESSAGE - len(more))}{more}")


def load_component_spec(kind: str, text: str, source: str = "command line") -> ComponentSpec:
    """The component that a name or a YAML mapping with `use:` describes.

    Args:
        kind: Kind of component.
        text: The name, or the mapping as YAML.
        source: Name of the text in messages.

    Raises:
        BadInput: There is no such component; the message suggests the nearest names.
    """
    if "{" not in text:
        registry.find_class(kind, text)  # its message for a wrong name is the clearest
    problems: list[ConfigProblem] = []
    node = parse_yaml(text, source, Path.cwd(), problems, trust=TrustLevel.CODE)
    if node is None:
        lines = [line for problem in problems for line in problem.lines()]
        raise BadInput(*(lines or [f"{text!r} names no {registry.kind_noun(kind)}"]))
    try:
        return TypeAdapter(Annotated[ComponentSpec, ComponentField(kind)]).validate_python(
            node.data(), context=ValidationContext()
        )
    except ValidationError as error:
        raise BadRecipe([*problems, *wording.problems_from_error(error, node, (kind,))]) from None


def load_options(model: type[AnySection], changes: Sequence[Change], cwd: Path | None = None) -> AnySection:
    """Options of a command or a call, validated like the keys of a recipe.

    Args:
        model: The section that declares them.
        changes: Arguments `key=value`, or pairs of a key and a plain value.
        cwd: Folder that relative paths start from; the working folder by default.

    Raises:
        BadInput: An option is not valid; the message lists every problem.
    """
    problems: list[ConfigProblem] = []
    cwd = cwd or Path.cwd()
    root = parse_overrides(changes, cwd, problems) or ConfigNode({}, SourcePosition("command line", 1, 1, "", cwd))
    options = _options(model, root, problems)
    if problems:
        raise BadRecipe(problems)
    return options


def _options(model: type[AnySection], root: ConfigNode, problems: Sequence[ConfigProblem]) -> AnySection:
    data = root.data()
    try:
        return model.model_validate(data, context=ValidationContext())
    except ValidationError as error:
        reworded = wording.reword_errors(error, model, data)
        if wording.read_texts_as_written(reworded, root):
            return _options(model, root, problems)
        raise BadRecipe([*problems, *wording.problems_from_error(reworded, root)]) from None


class _Files:
    """Reads a file and the recipes that it extends into one tree.

    Attributes:
        cwd: Folder that paths in messages are relative to.
        problems: Problems found so far.
        renamed: Old name -> new name, for the old names found.
    """

    def __init__(self, cwd: Path):
        self.cwd, self.problems, self.renamed = cwd, list[ConfigProblem](), dict[str, str]()

    def tree(self, file: Path, most: TrustLevel, children: tuple[Path, ...] = ()) -> ConfigNode | None:
        """The tree of a file, merged over the recipes that it extends.

        Args:
            file: The file.
            most: See `trust.trust_of_file`.
            children: Files that extend this one, directly or not, to find circles.

        Returns:
            The tree; None if a recipe that is extended cannot be read, since nearly every key would then be reported as
            missing.
        """
        shown = str(file.relative_to(self.cwd)) if file.is_relative_to(self.cwd) else str(file)
        text = read_recipe_file(file, shown)
        trusted, stored = trust.trust_of_file(file, text, most), file.name == trust.RESOLVED
        root = parse_yaml(text, shown, file.parent.absolute(), self.problems, trust=trusted, stored=stored)
        if root is None or not root.is_map:
            if not self.problems:
                self.problems.append(ConfigProblem(SourcePosition(shown, 1, 1, "", file.parent), "", NO_RECIPE))
            return None
        legacy.rename_old_keys(root, self.renamed, self.problems)
        root.value.setdefault("name", ConfigNode(file.stem, root.mark))
        extends = root.value.pop("extends", None)
        return root if extends is None else self._extended(root, extends, file, children)

    def _extended(
        self, root: ConfigNode, extends: ConfigNode, file: Path, children: tuple[Path, ...]
    ) -> ConfigNode | None:
        chain = (*children, file.resolve())
        if not isinstance(extends.value, str):
            return self._refuse(extends, "expected the name or path of one recipe")
        try:
            above = find_recipe(extends.value, file.parent)
        except BadInput as error:
            return self._refuse(extends, str(error))
        if above.resolve() in chain:
            names = " -> ".join(f.name for f in (*chain[chain.index(above.resolve()) :], above))
            return self._refuse(extends, f"recipes extend each other in a circle: {names}")
        if len(chain) > LONGEST_CHAIN:
            return self._refuse(extends, f"more than {LONGEST_CHAIN} recipes extend each other")
        known = above in packaged_recipes().values()
        if extends.mark.trust < TrustLevel.PATHS and not known:
            return self._refuse(extends, "the recipe of a run that was not made here may extend packaged recipes only")
        parent = self.tree(above, TrustLevel.PATHS, chain)
        return None if parent is None else merge_trees(parent, root)

    def _refuse(self, extends: ConfigNode, message: str) -> None:
        self.problems.append(ConfigProblem(extends.mark, "extends", message))
