"""A recipe: the way from its tree to validated sections and unbuilt components, and back to text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

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
from .components import Component, Conditions, Context, Section, exactly, tried
from .overrides import merge, overrides_tree
from .sections import BESIDE, Eval, Process, Sample, Split, Train
from .spec import Spec, plain
from .tree import BadRecipe, Mark, Node, Problem
from .wording import SAMPLER, SPLIT
from .yaml import dump

DEFAULT_SAMPLER = "dpmpp_2m"
NO_RECIPE = "a recipe is a mapping that starts with `recipe: 1`"


@dataclass(frozen=True)
class Given:
    """What a recipe was read from.

    Attributes:
        text: as the user wrote it.
        source: the file; None where the text came from elsewhere.
        partial: whether nulls that the user has yet to fill in were accepted.
        allow_code: whether components may be `pkg.module:Class` or files.
    """

    text: str
    source: Path | None = None
    partial: bool = False
    allow_code: bool = True


class Recipe(Section):
    """One recipe, ready to be built: its sections, the unbuilt components, and its keys with their texts.

    `split` is a key of the `data` section; `sampler` is `use` and the sampler's own keys of the `sample` section.
    `x-...` keys are free for notes and anchors.
    """

    recipe: Annotated[Literal[1], BeforeValidator(exactly((1,)))]
    """format of the recipe: 1"""
    name: str = ""
    """name of the recipe and of its run folder; the file's name by default"""
    about: str = ""
    """one line on what it is for"""
    seed: int = 0
    """of everything random: weights, order, noise, drops, crops"""
    modality: Annotated[Spec, Component("modality")]
    """what is made: pictures or sound, and their size, channels and rate"""
    data: Annotated[Spec, Component("dataset", beside=("split",))]
    """the examples, and `split`: the share kept for validation"""
    split: Split = Field(default_factory=Split, alias=SPLIT)
    """how examples are shared between training and validation"""
    codec: Annotated[Spec, Component("codec")] | None = None
    """media <-> the tensor that is diffused; null: the modality's own"""
    network: Annotated[Spec, Component("network")]
    """the network that is trained"""
    conditioning: Conditions = Field(default_factory=dict)
    """what samples can be asked for, by name"""
    process: Process = Field(default_factory=Process)
    """what is diffused how"""
    objective: Annotated[Spec, Component("objective", "denoising")] = Spec("objective", "denoising")
    """what training minimises"""
    train: Train = Field(default_factory=Train)
    """the training loop"""
    sample: Sample = Field(default_factory=Sample)
    """how samples are made"""
    sampler: Annotated[Spec, Component("sampler", DEFAULT_SAMPLER, beside=tuple(sorted(BESIDE[("sample",)])))] = Field(
        default=Spec("sampler", DEFAULT_SAMPLER), alias=SAMPLER
    )
    """the sampler and its parameters"""
    eval: Eval = Field(default_factory=Eval)
    """how a run is measured"""

    _given: Given = PrivateAttr(default_factory=lambda: Given(""))
    _tree: Node | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _separate(cls, data: Any) -> Any:
        """The two mappings that hold a component's keys beside a section's, as two fields each."""
        out = {k: v for k, v in data.items() if not k.startswith("x-")}
        if out.get("objective", "") is None:  # a heading with nothing under it
            del out["objective"]
        examples, sample = out.get("data"), out.pop("sample", None)
        if isinstance(examples, dict):
            out[SPLIT] = examples.get("split")
            out["data"] = {k: v for k, v in examples.items() if k != "split"}
        if isinstance(sample, dict):
            own = BESIDE[("sample",)]
            out["sample"] = {k: v for k, v in sample.items() if k in own}
            sample = {k: v for k, v in sample.items() if k not in own}
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
        """The recipe as given: the file's text, without what it extends and without overrides."""
        return self._given.text

    @property
    def source(self) -> Path | None:
        """The file it was read from; None where it came out of a checkpoint."""
        return self._given.source

    @property
    def sample_seed(self) -> int:
        """The seed of its samples: `sample.seed`, or the recipe's."""
        return self.seed if self.sample.seed is None else self.sample.seed

    @property
    def allow_code(self) -> bool:
        """Whether its components may be code that is not registered: `pkg.module:Class`, `./file.py:Class`."""
        return self._given.allow_code

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values with every default explicit; paths are absolute."""
        values = {name: plain(getattr(self, name)) for name in type(self).model_fields}
        values["data"]["split"] = values.pop("split")
        values["sample"] = {**values.pop("sampler"), **values["sample"]}
        return values

    def dump(self) -> str:
        """YAML text that loads back to the same recipe, wherever it is put."""
        return dump(self.resolved())

    def merge(
        self,
        overrides: Sequence[str],
        bare_section: str | None = None,
        cwd: Path | None = None,
        allow_code: bool | None = None,
    ) -> Recipe:
        """A new recipe with overrides applied.

        Args:
            overrides: `key.sub=value`.
            bare_section: they change this section alone, and `steps=30` means `sample.steps=30`; None: any section.
            cwd: where their relative paths start; the working folder by default.
            allow_code: whether components may name code from now on; None: as before.
        """
        given = self._given if allow_code is None else replace(self._given, allow_code=allow_code)
        return read(self._tree, given, overrides, cwd or Path.cwd(), bare_section=bare_section)


def read(
    root: Node | None,
    given: Given,
    overrides: Sequence[str] = (),
    cwd: Path | None = None,
    problems: list[Problem] | None = None,
    renamed: dict[str, str] | None = None,
    bare_section: str | None = None,
) -> Recipe:
    """Overrides over a tree, then validation.

    Args:
        root: the tree, its old keys renamed already.
        given: where it came from.
        overrides: see Recipe.merge.
        cwd: see Recipe.merge.
        problems: what was found wrong so far.
        renamed: old names -> new ones that were met so far.
        bare_section: see Recipe.merge.

    Raises:
        BadRecipe: every problem at once.
    """
    cwd, problems, renamed = cwd or Path.cwd(), list(problems or ()), dict(renamed or {})
    if bare_section:
        overrides = [_bare(o, bare_section) for o in overrides]
    changes = overrides_tree(list(overrides), cwd, problems)
    if root is None or not root.is_map:
        start = Mark(str(given.source or "recipe"), 1, 1, "", cwd)
        raise BadRecipe(problems or [Problem(start, "", NO_RECIPE)])
    if changes is not None:
        legacy.rename(changes, renamed, problems)
        root = merge(root, changes)
    try:
        recipe = _validated(root, Context(given.allow_code, given.partial, renamed=renamed), problems)
    finally:
        legacy.note(given.source.name if given.source else "the recipe", renamed)
    recipe._given, recipe._tree = given, root
    return recipe


def _validated(root: Node, context: Context, problems: list[Problem]) -> Recipe:
    data, recipe = root.data(), None
    try:
        recipe = Recipe.model_validate(data, context=context)
    except ValidationError as error:
        problems += wording.problems(wording.reworded(error, Recipe, data), root)
    good = context.good
    if good.get("codec", "") is None and "modality" in good:
        good["codec"] = _own_codec(good["modality"], root, context, problems)
    cross_check(root, good, problems)
    if problems or recipe is None:
        raise BadRecipe(problems)
    recipe.codec = good["codec"]
    for name in Recipe.model_fields:
        _place(getattr(recipe, name), wording.MIXED.get(f"<{name}>", (name,)), root)
    return recipe


def _own_codec(modality: Spec, root: Node, context: Context, problems: list[Problem]) -> Spec | None:
    """The codec that the modality's class names, for recipes without one."""
    own = getattr(tried(modality, context.partial), "codec", None)
    if isinstance(own, str):
        return TypeAdapter(Annotated[Spec, Component("codec")]).validate_python(own, context=context)
    known = [n for n in registry.names("codec") if n.startswith(f"{modality.use}/")] or registry.names("codec")
    at = root.get("codec") or root
    problems.append(Problem(at.key or at.mark, "codec", f"needs a codec, one of: {', '.join(known)}"))
    return None


def _place(value: Any, path: wording.Loc, root: Node) -> None:
    """Write into every Spec where it stands."""
    inside: list[tuple[int | str, Any]] = []
    if isinstance(value, Spec):
        value.where = f"{root.place(path)}: {wording.path_of(path)}"
        inside = list(value.params.items())
    elif isinstance(value, Section):
        inside = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, (list, tuple)):
        inside = list(enumerate(value))
    for step, inner in inside:
        _place(inner, (*path, step), root)


def _bare(override: str, section: str) -> str:
    name = override.partition("=")[0]
    first, dot, _ = name.partition(".")
    if first == section and dot:
        return override
    others = {*Recipe.model_fields, *legacy.KEYS} - {"split", "sampler", *BESIDE.get((section,), ())}
    if first in others:
        messages.bad_input(
            f"command line: {override}: only {section}.* can change here; the rest is part of the checkpoint"
        )
    return f"{section}.{override}"
