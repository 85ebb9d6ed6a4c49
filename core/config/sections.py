"""The sections of a recipe that are not a single component: their keys, types, defaults and units."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..util.annotations import Range
from .components import Component, Free, Metrics, PathField, Section
from .spec import Spec


class Process(Section):
    """What is diffused how, and what the network's output means."""

    schedule: Annotated[Spec, Component("schedule", "edm")] = Spec("schedule", "edm")
    """noise schedule: alpha(t), sigma(t)"""
    parameterization: Annotated[Spec, Component("parameterization", "edm")] = Spec("parameterization", "edm")
    """what the network puts out"""
    noise_conditioning: Annotated[Spec, Component("noise_conditioning", "c_noise")] = Spec(
        "noise_conditioning", "c_noise"
    )
    """how the noise level is given to the network"""


class Ema(Section):
    """Exponential moving average of the weights; samples are made from it."""

    half_life: Annotated[float, Range(above=0)] = 500.0
    """steps after which a weight's past counts half; shorter at the start of a run (a tenth of the steps made)"""


class Train(Section):
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
    optimizer: Annotated[Spec, Component("optimizer", "adamw")] = Spec("optimizer", "adamw")
    """update rule"""
    warmup: Annotated[int, Range(0)] = 100
    """steps over which the learning rate rises from 0"""
    decay: Literal["cosine", "none"] = "cosine"
    """how the learning rate falls after warm-up: to 0 along a cosine, or not at all"""
    clip: Annotated[float, Range(0)] = 1.0
    """largest norm of the gradient; 0: no clipping"""
    ema: Ema = Ema()
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


class Sample(Section):
    """How samples are made; `use` and its parameters are the sampler's."""

    timesteps: Annotated[Spec, Component("timesteps", "karras")] = Spec("timesteps", "karras")
    """where the sampler evaluates between noise and data"""
    steps: Annotated[int, Range(1)] = 20
    """steps of the sampler"""
    calibrated: bool = True
    """use the checkpoint's calibrated plan of as many steps, where sampler and timesteps are the recipe's own"""
    guidance: Annotated[Spec | list[Spec], Component("guidance", many=True)] | None = None
    """how conditions are strengthened: a guidance, or a list of them that act in turn; null: not at all"""
    count: Annotated[int, Range(1, 100_000)] = 16
    """samples to make; they are kept in memory until all are made"""
    seed: int | None = None
    """seed of the noise; null: the recipe's"""
    batch: Annotated[int, Range(1)] = 16
    """samples made at a time; does not change them"""
    label: Free = "cycle"
    """a class (name or index), a list of them, `cycle` through all in turn, or null: unconditional"""
    conditions: dict[str, Free] = Field(default_factory=dict)
    """values of other conditions, by name: one value, or a list that is cycled"""
    seconds: Free = None
    """length of a sound in seconds, or a list that is cycled; null: the recipe's, or the data's where that is masked"""
    size: Free = None
    """pixels of a picture: one number or [height, width]; null: the recipe's"""
    loop: bool = False
    """seamless loops: the end of a sound leads into its beginning; a picture tiles in both directions"""
    windows: Annotated[float, Range(0, 0.9)] | None = None
    """longer or larger than trained, from windows of the trained size that overlap by this share; null: in one piece"""
    output: Annotated[Spec, Component("output")] | None = None
    """how samples are finished and written, such as audio/file; null: as the modality does"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where to sample"""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 is faster and repeats only to about 1e-2"""


class Eval(Section):
    """How a run is measured."""

    count: Annotated[int, Range(8)] = 500
    """samples to make for the metrics"""
    metrics: Metrics = Field(default_factory=list)
    """how features of samples are compared with those of real examples; null or empty: by the standard metrics"""
    feature: Annotated[Spec, Component("feature")] | None = None
    """what describes an example in numbers; null: the modality's own, which needs no weights"""
    real_examples: Annotated[int, Range(8)] = 10000
    """real training examples that are looked at, spread evenly, where there are more"""
    repeats: Annotated[int, Range(10)] = 100
    """random halves behind each interval and each floor"""
    memorization: bool = True
    """look for copies of training examples; takes longest where there are many"""
    page_samples: Annotated[int, Range(0, 200)] = 24
    """samples on the page, besides the worst and the most alike ones"""
    page_megabytes: Annotated[float, Range(0)] = 12.0
    """MB that the page may hold in itself; where it would hold more, its sounds and pictures lie beside it"""
    cache: PathField | None = None
    """folder that keeps the small networks trained on the real data; null: they are trained anew each time"""


class Split(Section):
    """How examples are shared between training and validation."""

    by: Literal["hash"] = "hash"
    """hash: by the hash of an example's content, so that a file stays on its side when others come and go"""
    valid: Annotated[float, Range(0.0, 0.95)] = 0.1
    """share kept for validation; never trained on"""


# Sections that share a mapping with a component: these keys stay when `use` changes.
BESIDE: dict[tuple[str, ...], frozenset[str]] = {
    ("sample",): frozenset(Sample.model_fields),
    ("data",): frozenset({"split"}),
}
