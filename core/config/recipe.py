"""A recipe: validates its tree into sections and unbuilt components, and writes it as text again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from .checks import find_contradictions
from .components import (
    ComponentField,
    Conditions,
    RecipeSection,
    Text,
    ValidationContext,
    build_if_cheap,
    one_of_validator,
)
from .overrides import Change, merge_trees, override_key, parse_overrides
from .sections import SHARED_KEYS, EvalSection, ProcessSection, SampleSection, SplitSection, TrainSection
from .spec import ComponentSpec, nested_paths, nested_values, to_plain_values, unconfirmed_paths
from .tree import BadRecipe, ConfigNode, ConfigProblem, SourcePosition
from .trust import TrustLevel, UnconfirmedPath, raise_unconfirmed_paths
from .wording import SAMPLER, SPLIT
from .yaml import dump_yaml

DEFAULT_SAMPLER = "dpmpp_2m"
EXAMPLES = {"sample": "steps=30", "data": "data.root=path/to/folder"}
"""Section -> a change, for messages where only this section may change."""
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
    trust: TrustLevel = TrustLevel.NONE
    noted: frozenset[str] = frozenset()


class Recipe(RecipeSection):
    """One recipe, ready to be built: its sections, the unbuilt components, and its keys with their texts.

    `split` is a key of the `data` section; `sampler` holds `use` and the sampler's parameters, which are keys of the
    `sample` section. Keys `x-...` are for notes and anchors.
    """

    recipe: Annotated[Literal[1], BeforeValidator(one_of_validator((1,)))]
    """format of the recipe: 1"""
    name: Text = ""
    """name of the recipe and of its run folder; default: the file's name"""
    about: Text = ""
    """purpose of the recipe, in one line"""
    seed: int = 0
    """seed of all random numbers: initial weights, order of examples, noise, dropped conditions, augmentation"""
    modality: Annotated[ComponentSpec, ComponentField("modality")]
    """kind of media to generate, such as image or audio, with size, channels and rate"""
    data: Annotated[ComponentSpec, ComponentField("dataset", section_keys=("split",))]
    """dataset of examples; `split` sets the share for validation"""
    split: SplitSection = Field(default_factory=SplitSection, alias=SPLIT)
    """how examples are divided between training and validation"""
    codec: Annotated[ComponentSpec, ComponentField("codec")] | None = None
    """converts media to the diffused tensor and back; null: the modality's default"""
    network: Annotated[ComponentSpec, ComponentField("network")]
    """network to train"""
    conditioning: Conditions = Field(default_factory=dict)
    """conditions of the model, by name, such as a class label"""
    process: ProcessSection = Field(default_factory=ProcessSection)
    """diffusion process: noise schedule, parameterization, noise conditioning"""
    objective: Annotated[ComponentSpec, ComponentField("objective", "denoising")] = ComponentSpec(
        "objective", "denoising"
    )
    """loss that training minimises"""
    train: TrainSection = Field(default_factory=TrainSection)
    """settings of the training loop"""
    sample: SampleSection = Field(default_factory=SampleSection)
    """settings of sampling"""
    sampler: Annotated[
        ComponentSpec, ComponentField("sampler", DEFAULT_SAMPLER, section_keys=tuple(sorted(SHARED_KEYS[("sample",)])))
    ] = Field(default=ComponentSpec("sampler", DEFAULT_SAMPLER), alias=SAMPLER)
    """sampler and its parameters"""
    eval: EvalSection = Field(default_factory=EvalSection)
    """settings of evaluation"""

    _given: RecipeSource = PrivateAttr(default_factory=lambda: RecipeSource(""))
    _tree: ConfigNode | None = PrivateAttr(default=None)

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
    def trust(self) -> TrustLevel:
        """How far its text is trusted."""
        return self._given.trust

    def paths(self) -> dict[str, Path | UnconfirmedPath]:
        """Key -> path, for every path that it names: `data.root`, `sample.guidance.weak`."""
        fields = {name: wording.MIXED.get(f"<{name}>", (name,)) for name in type(self).model_fields}
        return {key: path for name, place in fields.items() for key, path in nested_paths(getattr(self, name), place)}

    def names_code(self) -> bool:
        """Whether a component is code, `pkg.module:Class` or `./file.py:Class`, which needs `--allow-code` in a run."""
        return any(registry.is_code_reference(use) for use in _uses(self.resolved()))

    def refuse_unconfirmed(self, *sections: str) -> None:
        """Raise BadInput if these sections name paths that must not be used, since a run of others names them."""
        paths = [path for section in sections for path in unconfirmed_paths(getattr(self, section))]
        if paths:
            raise_unconfirmed_paths(paths)

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values, with every default written out and absolute paths."""
        values = {name: to_plain_values(getattr(self, name)) for name in type(self).model_fields}
        values["data"]["split"] = values.pop("split")
        values["sample"] = {**values.pop("sampler"), **values["sample"]}
        return values

    def dump(self) -> str:
        """YAML text that loads as the same recipe from any folder."""
        return dump_yaml(self.resolved())

    def with_overrides(
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
        return recipe_from_tree(self._tree, self._given, overrides, cwd or Path.cwd(), bare_section=bare_section)


def _uses(value: Any) -> Iterator[str]:
    """All values of `use:`."""
    if isinstance(value, dict) and isinstance(value.get("use"), str):
        yield value["use"]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _uses(inner)


def recipe_from_tree(
    root: ConfigNode | None,
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
        overrides: See `Recipe.with_overrides`.
        cwd: See `Recipe.with_overrides`.
        problems: Problems found so far.
        renamed: Old name -> new name, for the old names found so far.
        bare_section: See `Recipe.with_overrides`.

    Returns:
        The validated recipe.

    Raises:
        BadRecipe: The recipe is not valid; the message lists every problem.
    """
    cwd, problems, renamed = cwd or Path.cwd(), list(problems or ()), dict(renamed or {})
    elsewhere: list[Change] = []
    if bare_section:
        overrides = [_bare(o, bare_section, root, elsewhere) for o in overrides]
    example = {"example": EXAMPLES[bare_section]} if bare_section in EXAMPLES else {}
    changes = parse_overrides(list(overrides), cwd, problems, **example)
    if root is None or not root.is_map:
        start = SourcePosition(str(given.source or "recipe"), 1, 1, "", cwd)
        raise BadRecipe(problems or [ConfigProblem(start, "", NO_RECIPE)])
    if changes is not None:
        legacy.rename_old_keys(changes, renamed, problems)
        root = merge_trees(root, changes)
    try:
        recipe = _validated(root, ValidationContext(given.allow_code, given.partial, renamed=renamed), problems)
    finally:
        fresh = {old: new for old, new in renamed.items() if old not in given.noted}
        legacy.warn_of_old_names(given.source.name if given.source else "the recipe", fresh)
    recipe._given, recipe._tree = replace(given, noted=given.noted | fresh.keys()), root
    if bare_section and elsewhere:
        known = recipe.paths()
        for override in elsewhere:
            if override_key(override) not in known:
                _refuse_elsewhere(override, bare_section)
    return recipe


def _validated(root: ConfigNode, context: ValidationContext, problems: list[ConfigProblem]) -> Recipe:
    data, recipe = root.data(), None
    try:
        recipe = Recipe.model_validate(data, context=context)
    except ValidationError as error:
        reworded = wording.reword_errors(error, Recipe, data)
        if wording.read_texts_as_written(reworded, root):
            return _validated(root, replace(context, good={}, count=0), problems)
        known = {(p.mark, p.path) for p in problems}  # a value that could not be read is not of a wrong type too
        found = wording.problems_from_error(reworded, root)
        problems += [p for p in found if (p.mark, p.path) not in known]
    good = context.good
    if good.get("codec", "") is None and "modality" in good:
        good["codec"] = _default_codec(good["modality"], root, context, problems)
    find_contradictions(root, good, problems)
    if problems or recipe is None:
        raise BadRecipe(problems)
    recipe.codec = good["codec"]
    for name in [name for name in recipe.sample.conditions if name not in recipe.conditioning]:
        del recipe.sample.conditions[name]  # null, of a condition that was removed
    for name in Recipe.model_fields:
        _place(getattr(recipe, name), wording.MIXED.get(f"<{name}>", (name,)), root)
    return recipe


def _default_codec(
    modality: ComponentSpec, root: ConfigNode, context: ValidationContext, problems: list[ConfigProblem]
) -> ComponentSpec | None:
    """The default codec, which the modality's class names, for recipes without a codec."""
    default = getattr(build_if_cheap(modality, context.partial), "codec", None)
    if isinstance(default, str):
        return TypeAdapter(Annotated[ComponentSpec, ComponentField("codec")]).validate_python(default, context=context)
    known = [
        n for n in registry.component_names("codec") if n.startswith(f"{modality.use}/")
    ] or registry.component_names("codec")
    at = root.get("codec") or root
    problems.append(ConfigProblem(at.key or at.mark, "codec", f"needs a codec, one of: {', '.join(known)}"))
    return None


def _place(value: Any, path: wording.Loc, root: ConfigNode) -> None:
    """Set the position in the recipe on every ComponentSpec, and the key on every path that must not be used."""
    if isinstance(value, ComponentSpec):
        value.position, value.path = root.component_position(path), wording.format_key_path(path)
    elif isinstance(value, UnconfirmedPath):
        value.key = ".".join(map(str, path))
    for step, inner in nested_values(value):
        _place(inner, (*path, step), root)


def _bare(override: Change, section: str, root: ConfigNode | None, elsewhere: list[Change]) -> Change:
    """The override with its full key; one of another section that may be a path is added to `elsewhere`."""
    name = override_key(override)
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
    if isinstance(override, tuple):
        return f"{section}.{name}", override[1]
    return f"{section}.{override}" if "=" in override else override


def _refuse_elsewhere(override: Change, section: str) -> NoReturn:
    shown = messages.shorten(messages.escape_control_characters(override), 80)
    messages.raise_bad_input(
        f"command line: {shown}: only {section}.* can change here; the rest is part of the checkpoint"
    )
