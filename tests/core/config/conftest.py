"""A folder with components of a user's own, beside a recipe that names them."""

import textwrap

import pytest
from sonolux.core.config.load import load_recipe
from sonolux.core.types import BadInput

PARTS = '''
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from sonolux.core.util.annotations import ComponentKind, Range
from sonolux.core.types import BadInput, MediaSpec


@dataclass
class Fade:
    """A fade.

    seconds: length in s
    """

    seconds: float = 0.1
    shape: Literal["linear", "cosine"] = "linear"


class Files:
    """Examples of a folder.

    root:  folder that holds them
    label: where classes come from
    fade:  how ends are faded
    """

    def __init__(self, root: Path, split: Literal["train", "valid"], valid: float, label: str | None = None,
                 fade: Fade | None = None, weights: dict[str, float] | None = None):
        self.root, self.split, self.valid, self.label = root, split, valid, label
        self.fade, self.weights = fade, weights

    def item(self, index, rng):
        """Example `index`: there is none."""


class Net:
    """A network that measures its own steps.

    width:   channels
    stages:  multipliers
    timesteps: a component inside a component
    """

    def __init__(self, spec: MediaSpec, width: Annotated[int, Range(1, 512)] = 8, stages: tuple[int, ...] = (1, 2),
                 rate: float = 0.5, size: int | tuple[int, int] = 8, causal: bool = False,
                 timesteps: Annotated[Any, ComponentKind("timesteps")] = "karras",
                 more: list[Annotated[Any, ComponentKind("timesteps")]] = ()):
        self.spec, self.width, self.stages, self.timesteps, self.more = spec, width, stages, timesteps, more


class Refuses:
    """A network that takes no width above 3."""

    def __init__(self, spec: MediaSpec, width: int = 3):
        if width > 3:
            raise BadInput(f"width {width} is too much")
'''

RECIPE = """\
recipe: 1
name: base
seed: 3
modality: {use: image, size: 16, channels: 3}
data: {use: './parts.py:Files', root: pictures, label: folder, split: {by: hash, valid: 0.2}}
codec: image/pixels
network: {use: './parts.py:Net', width: 16, stages: [1, 2]}
conditioning:
  label: {use: class, drop: 0.3}
process: {schedule: {use: edm, sigma_max: 40}}
objective: {timestep_sampling: {use: lognormal, mean: -1}}
train:
  steps: 100
  batch: 8
  optimizer: {use: adamw, lr: 1e-3}
sample: {use: ddim, eta: 0.5, timesteps: {use: karras, exponent: 5}, steps: 7, guidance: {use: cfg, scale: 2}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder, which is also the working folder: parts.py and base.yaml."""
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "base.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(folder):
    """Write a recipe (or take base.yaml), load it with overrides, and return the lines of the refusal."""

    def lines(text=None, *overrides):
        if text is not None:
            (folder / "bad.yaml").write_text(textwrap.dedent(text))
        with pytest.raises(BadInput) as error:
            load_recipe("base.yaml" if text is None else "bad.yaml", overrides, allow_code=True)
        return str(error.value).splitlines()

    return lines
