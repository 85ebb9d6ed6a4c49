"""The sections of a recipe that are not a single component: their keys, types, defaults and units."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ..util.annotations import Range
from ..util.limits import MOST_ELEMENTS, MOST_SAMPLES, MOST_SECONDS, MOST_STEPS
from .components import (
    ComponentField,
    ConditionValues,
    Loggers,
    Metrics,
    Names,
    PathField,
    RecipeSection,
    Text,
    check_prompts,
)
from .spec import ComponentSpec

Seconds = Annotated[float, Range(above=0, high=MOST_SECONDS)]
Elements = Annotated[int, Range(1, MOST_ELEMENTS)]


class ProcessSection(RecipeSection):
    """The diffusion process: noise schedule, parameterization and noise conditioning."""

    schedule: Annotated[ComponentSpec, ComponentField("schedule", "edm")] = ComponentSpec("schedule", "edm")
    """noise schedule: alpha(t) and sigma(t)"""
    parameterization: Annotated[ComponentSpec, ComponentField("parameterization", "edm")] = ComponentSpec(
        "parameterization", "edm"
    )
    """what the network's output means, such as eps, x0 or v"""
    noise_conditioning: Annotated[ComponentSpec, ComponentField("noise_conditioning", "c_noise")] = ComponentSpec(
        "noise_conditioning", "c_noise"
    )
    """number, computed from the noise level, that the network receives"""


class EmaSection(RecipeSection):
    """Exponential moving average of the weights, which sampling uses."""

    half_life: Annotated[float, Range(above=0)] = 500.0
    """half-life of the average in optimiser steps; early in a run, a tenth of the steps made so far"""


class TrainSection(RecipeSection):
    """The training loop."""

    steps: Annotated[int, Range(1)] | None = None
    """limit in optimiser steps; give this or `minutes`"""
    minutes: Annotated[float, Range(above=0)] | None = None
    """limit in wall-clock minutes, including previews and checkpoints; the learning rate decays over this time"""
    until: Literal["limit", "plateau"] = "limit"
    """end of the training: at the limit, or before it, when the held-out loss is flat; its best checkpoint is kept"""
    measured_steps: Annotated[int, Range(1)] | None = None
    """steps at which the recipe's stated quality was measured; a run limited by `minutes` reports if it made fewer"""
    batch: Annotated[int, Range(1, 1_000_000)] = 32
    """samples per optimiser step, over all processes"""
    accumulate: Annotated[int, Range(1, 1_000_000)] = 1
    """number of parts a batch is split into (gradient accumulation), to save memory"""
    checkpoint_activations: bool = False
    """compute blocks of the network again in the backward pass: much less memory, a step takes up to a third longer"""
    compile: bool | Literal["auto"] = "auto"
    """compile the blocks of the network with torch.compile: faster steps after slow first ones; auto: on CUDA"""
    shard: Literal["none", "full", "hybrid"] = "none"
    """of several processes: full: each keeps a part of weights, average and optimizer state; hybrid: the processes of
    each machine share one copy; none: each keeps all"""
    workers: Annotated[int, Range(0, 256)] | Literal["auto"] = "auto"
    """processes that load data; results do not depend on it; auto: on a GPU by the loading time, otherwise 0"""
    cache_latents: bool | Literal["auto"] = "auto"
    """keep encoded examples in the run folder; auto: for codecs with a network, unless examples change at random"""
    optimizer: Annotated[ComponentSpec, ComponentField("optimizer", "adamw")] = ComponentSpec("optimizer", "adamw")
    """optimiser"""
    warmup: Annotated[int, Range(0)] = 100
    """steps over which the learning rate rises from 0"""
    decay: Literal["cosine", "none"] = "cosine"
    """decay of the learning rate after warm-up: to 0 along a cosine, or none"""
    clip: Annotated[float, Range(0)] = 1.0
    """largest norm of the gradient; 0: no clipping"""
    ema: EmaSection = EmaSection()
    """exponential moving average of the weights"""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """bf16: autocast; auto: bf16 if the CPU or GPU supports it in hardware, otherwise float32"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """training device; auto: cuda, then mps, then cpu"""
    save_every: Annotated[int, Range(1)] | None = None
    """steps between checkpoints; null: ten checkpoints per run"""
    keep: Annotated[int, Range(1)] = 3
    """number of latest checkpoints that stay on disk"""
    preview_every: Annotated[int, Range(1)] | None = None
    """steps between previews; null: five previews per run"""
    log_every: Annotated[int, Range(1)] = 20
    """steps between lines of metrics.jsonl"""
    log: Loggers = Field(default_factory=list)
    """programs that receive the log and the previews too: tensorboard, wandb (offline), or a list"""


class SampleSection(RecipeSection):
    """Settings of sampling; `use` names the sampler, whose parameters are keys of the same mapping."""

    timesteps: Annotated[ComponentSpec, ComponentField("timesteps", "karras")] = ComponentSpec("timesteps", "karras")
    """timestep spacing: noise levels at which the sampler evaluates the network"""
    steps: Annotated[int, Range(1, MOST_STEPS)] = 20
    """sampling steps"""
    calibrated: bool = True
    """use the checkpoint's calibrated plan for this number of steps, if sampler and timesteps are the recipe's"""
    guidance: Annotated[ComponentSpec | list[ComponentSpec], ComponentField("guidance", many=True)] | None = None
    """guidance, or a list of guidances applied in this order; null: none"""
    count: Annotated[int, Range(1, MOST_SAMPLES)] = 16
    """number of samples; all stay in memory until the last is generated"""
    seed: int | None = None
    """seed of the noise; null: the recipe's seed"""
    batch: Annotated[int, Range(1, MOST_SAMPLES)] = 16
    """samples generated together; results do not depend on it"""
    label: Names = "cycle"
    """class (name or index), a list of classes, `cycle`: all classes in turn, or null: unconditional"""
    conditions: ConditionValues = Field(default_factory=dict)
    """values of other conditions, by name: one value, a list that is repeated over the samples, or null: unconditional,
    also where the recipe, or one that it extends, sets a value"""
    prompt: Annotated[Text | list[Text] | None, BeforeValidator(check_prompts)] = None
    """prompt of a model with a text condition, or a list that is repeated over the samples; null or empty: none"""
    negative: Annotated[Text | None, BeforeValidator(check_prompts)] = None
    """negative prompt: guidance moves away from it, instead of from the unconditional estimate; null: none"""
    seconds: Seconds | list[Seconds | None] | None = None
    """length along the time axis in seconds, or a list that is repeated; null: the recipe's, or lengths of the data"""
    size: Elements | list[Elements] | None = None
    """size along the spatial axes in elements, such as pixels: one number or [height, width]; null: the recipe's"""
    loop: bool = False
    """seamless output: the end continues into the beginning along each axis that can wrap (time; height and width)"""
    windows: Annotated[float, Range(0, 0.9)] | None = None
    """overlap, as a share, of windows of the trained size that cover longer or larger samples; null: no windows"""
    output: Annotated[ComponentSpec, ComponentField("output")] | None = None
    """how samples are post-processed and written, such as audio/file; null: the modality's default"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """sampling device; auto: cuda, then mps, then cpu"""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 is faster, and reproducible to about 1e-2 only"""


class EvalSection(RecipeSection):
    """Settings of evaluation."""

    count: Annotated[int, Range(8, MOST_SAMPLES)] = 500
    """samples to generate for the metrics"""
    metrics: Metrics = Field(default_factory=list)
    """metrics that compare features of samples and of real examples; null or empty: the standard metrics"""
    feature: Annotated[ComponentSpec, ComponentField("feature")] | None = None
    """feature extractor of the metrics; null: the modality's default, which needs no trained weights"""
    real_examples: Annotated[int, Range(8, 1_000_000)] = 10000
    """largest number of training examples to compare with; of a larger dataset, an evenly spaced subset is used"""
    repeats: Annotated[int, Range(10, 10_000)] = 100
    """random half splits, from which confidence intervals and metric floors are estimated"""
    memorization: bool = True
    """search for copies of training examples; slow for large datasets"""
    page_samples: Annotated[int, Range(0, 200)] = 24
    """samples shown in the report, in addition to the worst ones and those most similar to training examples"""
    page_megabytes: Annotated[float, Range(0)] = 12.0
    """largest size in MB of media embedded in the report page; more are written as separate files"""
    cache: PathField | None = None
    """folder that stores the small networks trained on the real data; null: eval_cache in the folder of the run"""


class SplitSection(RecipeSection):
    """How examples are divided between training and validation."""

    by: Literal["hash"] = "hash"
    """hash: by the hash of the content: adding a file moves at most one other, and each class keeps one for training"""
    valid: Annotated[float, Range(0.0, 0.95)] = 0.1
    """share for validation, never used for training"""


# Sections that share a mapping with a component: these keys stay when `use` changes.
SHARED_KEYS: dict[tuple[str, ...], frozenset[str]] = {
    ("sample",): frozenset(SampleSection.model_fields),
    ("data",): frozenset({"split"}),
}
