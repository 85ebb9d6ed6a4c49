"""A validated recipe: typed sections, unbuilt components, and the way back to text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from .nodes import Node, dump
from .sections import Eval, Process, Sample, Train
from .spec import Kind, Range, Spec, plain

DEFAULT_SAMPLER = "dpmpp_2m"


@dataclass
class Split:
    """How examples are shared between training and validation."""

    by: Literal["hash"] = "hash"
    """hash: by the hash of an example's content, so that a file stays on its side when others come and go"""
    valid: Annotated[float, Range(0.0, 0.95)] = 0.1
    """share kept for validation; never trained on"""


@dataclass(frozen=True)
class Given:
    """What a recipe was read from.

    text:       as the user wrote it
    source:     the file; None where the text came from elsewhere
    partial:    whether nulls that the user has yet to fill in were accepted
    allow_code: whether components may be `pkg.module:Class` or files
    """

    text: str
    source: Path | None = None
    partial: bool = False
    allow_code: bool = True


@dataclass
class Recipe:
    """One recipe, ready to be built.

    split:   the `split` key of the `data` section
    sampler: `use` and the sampler's own keys of the `sample` section
    given:   the text and file it was read from
    tree:    its values with their places, for `merge`
    """

    recipe: int
    name: str
    about: str
    seed: int
    modality: Spec
    data: Spec
    split: Split
    codec: Spec
    network: Spec
    condition: dict[str, Spec]
    process: Process
    train: Train
    sample: Sample
    sampler: Spec
    eval: Eval
    given: Given = field(default_factory=lambda: Given(""), compare=False, repr=False)
    tree: Node | None = field(default=None, compare=False, repr=False)

    @property
    def text(self) -> str:
        """The recipe as given: the file's text, without what it extends and without overrides."""
        return self.given.text

    @property
    def source(self) -> Path | None:
        """The file it was read from; None where it came out of a checkpoint."""
        return self.given.source

    @property
    def sample_seed(self) -> int:
        """The seed of its samples: `sample.seed`, or the recipe's."""
        return self.seed if self.sample.seed is None else self.sample.seed

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values with every default explicit; paths are absolute."""
        return {
            "recipe": self.recipe,
            "name": self.name,
            "about": self.about,
            "seed": self.seed,
            "modality": plain(self.modality),
            "data": {**plain(self.data), "split": plain(self.split)},
            "codec": plain(self.codec),
            "network": plain(self.network),
            "condition": plain(self.condition),
            "process": plain(self.process),
            "train": plain(self.train),
            "sample": {**plain(self.sampler), **plain(self.sample)},
            "eval": plain(self.eval),
        }

    def dump(self) -> str:
        """YAML text that loads back to the same recipe, wherever it is put."""
        return dump(self.resolved())

    def merge(self, overrides: Sequence[str], bare_section: str | None = None, cwd: Path | None = None) -> Recipe:
        """A new recipe with `key.sub=value` overrides applied.

        bare_section: they change this section alone, and `steps=30` means `sample.steps=30`; None: any section
        cwd:          where their relative paths start; the working folder by default
        """
        from .load import with_overrides

        return with_overrides(self, overrides, bare_section, cwd)


@dataclass
class Top:
    """The keys of a recipe, section by section; `x-...` keys are free for notes and anchors."""

    recipe: Literal[1]
    """format of the recipe: 1"""
    modality: Annotated[Spec, Kind("modality")]
    """what is made: pictures or sound, and their size, channels and rate"""
    data: Annotated[Spec, Kind("dataset")]
    """the examples, and `split`: the share kept for validation"""
    network: Annotated[Spec, Kind("network")]
    """the network that is trained"""
    name: str = ""
    """name of the recipe and of its run folder; the file's name by default"""
    about: str = ""
    """one line on what it is for"""
    seed: int = 0
    """of everything random: weights, order, noise, drops, crops"""
    codec: Annotated[Spec, Kind("codec")] | None = None
    """media <-> the tensor that is diffused; null: the modality's own"""
    condition: dict[str, Annotated[Spec, Kind("condition")]] = field(default_factory=dict)
    """what samples can be asked for, by name"""
    process: Process = field(default_factory=Process)
    """what is diffused how"""
    train: Train = field(default_factory=Train)
    """the training loop"""
    sample: Sample = field(default_factory=Sample)
    """how samples are made"""
    eval: Eval = field(default_factory=Eval)
    """how a run is measured"""
