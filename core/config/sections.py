"""The sections of a recipe that are not a single component: their keys, types, defaults and units.

`Annotated[Spec, Kind("x")]` is a component of kind x: a mapping with `use:`, or its bare name. The comment that follows
a field is its documentation: `sonolux recipe schema` and the messages show it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from .spec import Kind, Range, Spec


@dataclass
class Process:
    """What is diffused how, and what the network learns."""

    schedule: Annotated[Spec, Kind("schedule")] = field(default_factory=lambda: Spec("schedule", "edm"))
    """noise schedule: alpha(t), sigma(t)"""
    prediction: Annotated[Spec, Kind("prediction")] = field(default_factory=lambda: Spec("prediction", "edm"))
    """what the network puts out"""
    loss: Annotated[Spec, Kind("prediction")] | None = None
    """space in which the error is measured; null: that of `prediction`"""
    clock: Annotated[Spec, Kind("clock")] = field(default_factory=lambda: Spec("clock", "c_noise"))
    """how the noise level is told to the network"""
    times: Annotated[Spec, Kind("times")] = field(default_factory=lambda: Spec("times", "lognormal"))
    """density of training times"""
    weighting: Annotated[Spec, Kind("weighting")] = field(default_factory=lambda: Spec("weighting", "none"))
    """loss weight by noise level"""
    per_element: Annotated[float, Range(0, 1)] = 0.0
    """share of the training samples whose parts differ in noise level, some clean; 0.5 suits editing and continuing"""


@dataclass
class Ema:
    """Exponential moving average of the weights; samples are made from it."""

    half_life: Annotated[float, Range(above=0)] = 500.0
    """steps after which a weight's past counts half; shorter at the start of a run (a tenth of the steps made)"""


@dataclass
class Train:
    """The training loop."""

    steps: Annotated[int, Range(1)] | None = None
    """optimiser steps; give this or `minutes`"""
    minutes: Annotated[float, Range(above=0)] | None = None
    """wall-clock minutes, previews and saves included; the learning rate decays over them"""
    measured_steps: Annotated[int, Range(1)] | None = None
    """steps at which the quality that the recipe states was measured; a run of minutes that makes fewer says so"""
    batch: Annotated[int, Range(1)] = 32
    """samples an optimiser step, over all processes"""
    accumulate: Annotated[int, Range(1)] = 1
    """parts a batch is split into, to save memory"""
    workers: Annotated[int, Range(0)] | Literal["auto"] = "auto"
    """processes that read data ahead; they change no result; auto: for a GPU as many as reading costs, else none"""
    optimizer: Annotated[Spec, Kind("optimizer")] = field(default_factory=lambda: Spec("optimizer", "adamw"))
    """update rule"""
    warmup: Annotated[int, Range(0)] = 100
    """steps over which the learning rate rises from 0"""
    decay: Literal["cosine", "none"] = "cosine"
    """how the learning rate falls after warm-up: to 0 along a cosine, or not at all"""
    clip: Annotated[float, Range(0)] = 1.0
    """largest norm of the gradient; 0: no clipping"""
    ema: Ema = field(default_factory=Ema)
    """average of the weights"""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """bf16: autocast; auto: bf16 where the processor or GPU computes in it, float32 elsewhere"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where to train; auto: cuda, then mps, then cpu"""
    save_every: Annotated[int, Range(1)] | None = None
    """steps between checkpoints; null: ten a run"""
    keep: Annotated[int, Range(1)] = 3
    """how many of the last checkpoints stay on disk"""
    preview_every: Annotated[int, Range(1)] | None = None
    """steps between previews; null: five a run"""
    log_every: Annotated[int, Range(1)] = 20
    """steps between lines of metrics.jsonl"""


@dataclass
class Sample:
    """How samples are made; `use` and its parameters are the sampler's."""

    spacing: Annotated[Spec, Kind("spacing")] = field(default_factory=lambda: Spec("spacing", "karras"))
    """where the sampler stops between noise and data"""
    steps: Annotated[int, Range(1)] = 20
    """steps of the sampler"""
    calibrated: bool = True
    """use the checkpoint's plan of as many steps, where it was calibrated, and sampler and spacing are the recipe's"""
    guidance: Annotated[Spec, Kind("guidance")] | list[Annotated[Spec, Kind("guidance")]] | None = None
    """how conditions are strengthened: a guidance, or a list of them that act in turn; null: not at all"""
    count: Annotated[int, Range(1, 100_000)] = 16
    """samples to make; they are kept in memory until all are made"""
    seed: int | None = None
    """seed of the noise; null: the recipe's"""
    batch: Annotated[int, Range(1)] = 16
    """samples made at a time; does not change them"""
    label: Any = "cycle"
    """a class (name or index), a list of them, `cycle` through all in turn, or null: unconditional"""
    where: dict[str, Any] = field(default_factory=dict)
    """values of other conditions, by name: one value, or a list that is cycled"""
    seconds: Any = None
    """length of a sound in seconds, or a list that is cycled; null: the recipe's, or the data's where that is masked"""
    size: Any = None
    """pixels of a picture: one number or [height, width]; null: the recipe's"""
    loop: bool = False
    """seamless loops: the end of a sound leads into its beginning; a picture tiles in both directions"""
    windows: Annotated[float, Range(0, 0.9)] | None = None
    """longer or larger than trained, from windows of the trained size that overlap by this share; null: in one piece"""
    output: Annotated[Spec, Kind("output")] | None = None
    """how samples are finished and written, such as audio/file; null: as the modality does"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where to sample"""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 is faster and repeats only to about 1e-2"""


@dataclass
class Eval:
    """How a run is measured."""

    count: Annotated[int, Range(8)] = 500
    """samples to make for the metrics"""
    feature: Annotated[Spec, Kind("feature")] | None = None
    """what describes an example in numbers; null: the modality's own, which needs no weights"""
    most: Annotated[int, Range(8)] = 10000
    """real training examples that are looked at, spread evenly, where there are more"""
    repeats: Annotated[int, Range(10)] = 100
    """random halves behind each interval and each floor"""
    novelty: bool = True
    """look for copies of training examples; takes longest where there are many"""
    shown: Annotated[int, Range(0, 200)] = 24
    """samples on the page, besides the worst and the most alike ones"""
    embed: Annotated[float, Range(0)] = 12.0
    """MB that the page may hold in itself; where it would hold more, its sounds and pictures lie beside it"""
    cache: Path | None = None
    """folder that keeps the small networks trained on the real data; null: they are trained anew each time"""
