"""Makes the samples of a request: batches, guidance, edits, solving, decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..codecs.base import Codec
from ..config.recipe import Recipe
from ..config.sections import Sample
from ..editing.base import Edit
from ..editing.loops import Loop, decode_loops
from ..editing.windows import Windowed
from ..guidance.base import Guidance, Run
from ..samplers.base import Progress, Sampler
from ..timesteps.base import TimestepSpacing
from ..types import BadInput, Denoiser, MediaSpec, NoiseLevel
from ..util.device import autocast
from ..util.progress import bar
from ..util.rng import Noise
from .auxiliary import AuxiliaryModels
from .conditions import embed_rows
from .context import ModelContext
from .lengths import PaddedBatch, decode_batch, padded_batch
from .loops import as_loops, warn_of_padding
from .prepare import PreparedRun, prepare_run
from .request import Rows, SampleRequest
from .result import Frame

Method = tuple[Sampler, TimestepSpacing | Sequence[NoiseLevel]]
"""A sampler and where it evaluates."""


class RequestSampler:
    """Makes requests as one recipe's `sample` section asks for.

    Args:
        context: The model.
        recipe: Its recipe, with changes to the `sample` section.
        method: The sampler and its timesteps.
        auxiliary: Opens the models that guidance names.
    """

    def __init__(self, context: ModelContext, recipe: Recipe, method: Method, auxiliary: AuxiliaryModels):
        self.context, self.recipe, self.auxiliary = context, recipe, auxiliary
        self.sampler, timesteps = method
        schedule, steps = context.process.schedule, recipe.sample.steps
        self.levels = timesteps.levels(schedule, steps) if isinstance(timesteps, TimestepSpacing) else list(timesteps)

    @property
    def seed(self) -> int:
        """Seed of the noise."""
        return self.recipe.sample_seed

    def samples(
        self, request: SampleRequest, shown: int = 0, progress: bool = False
    ) -> tuple[list[Tensor], list[int], list[Frame]]:
        """Media and evaluations of each sample, and the denoising trajectory of the first `shown`."""
        section, context = self.recipe.sample, self.context
        if section.loop:
            warn_of_padding(context.codec, context.spec, bool(context.clip_lengths))
            request = as_loops(request, context.codec, context.model, context.spec)
        media: list[Tensor] = [torch.empty(0)] * len(request)
        nfe, frames = [0] * len(request), list[Frame]()
        with bar("sampling", "sample", len(media), show=progress, leave=True) as done:
            for n, rows in enumerate(request.batches(section.batch, section.loop)):
                batch = self.batch(request, rows)
                numbers = [request.numbers[i] for i in rows]
                decode = partial(self._decoded, numbers, batch)
                watch = _StepWatch(0 if n else shown, len(rows), frames, decode)
                z = self._solved(request, rows, batch, watch)
                made = request.media(rows, z, batch, decode)
                for i, one, cost in zip(rows, made, watch.nfe, strict=True):
                    media[i], nfe[i] = request.finish(i, one), cost
                done.update(len(rows))
        return media, nfe, frames

    def latents(self, request: SampleRequest) -> Tensor:
        """The result of a request as one batch, not decoded: (B, C, *spatial)."""
        rows = range(len(request))
        return self._solved(request, rows, self.batch(request, rows))

    def batch(self, request: SampleRequest, rows: Rows) -> PaddedBatch:
        """The padded batch of some rows.

        Raises:
            BadInput: If the network cannot make samples of such a size.
        """
        context, section = self.context, self.recipe.sample
        window = context.spec.latent[1:] if section.windows is not None else None  # never larger than was trained
        wrap = context.codec.wrap if section.loop else ()
        known, masked = ((), False) if section.loop else (context.clip_lengths, request.masked)  # loops have no padding
        sizes = [request.sizes[i] for i in rows]
        return padded_batch(context.codec, context.model.network, context.spec, sizes, known, masked, window, wrap)

    def prepare(self, request: SampleRequest, rows: Rows, batch: PaddedBatch) -> PreparedRun:
        """What the run of a batch solves: guided denoiser, start, conditions, noise; nothing is evaluated."""
        context, section = self.context, self.recipe.sample
        edits = _section_edits(context.codec, context.model.network, context.spec, batch, section)
        numbers, given = [request.numbers[i] for i in rows], [request.conditions[i] for i in rows]
        with torch.no_grad():
            conditions = embed_rows(context.model, given)
            if batch.valid is not None:
                conditions = replace(conditions, valid=batch.valid.to(context.device))

            def opener(path: Path) -> Denoiser:
                other = self.auxiliary.embedded(path, given)
                run = Run(Noise(self.seed, numbers, batch.shape, context.device))
                for edit in edits:
                    other.denoiser = edit.within(other.denoiser, run)
                return other

            with autocast(context.device, section.precision):
                return prepare_run(
                    context.process.denoiser(context.model),
                    context.process.schedule,
                    self.sampler,
                    self.levels,
                    conditions,
                    Noise(self.seed, numbers, list(batch.shapes), context.device),
                    guidances(self.recipe, opener),
                    [*edits, *request.edits(rows, batch)],
                )

    def _solved(
        self,
        request: SampleRequest,
        rows: Rows,
        batch: PaddedBatch,
        on_step: Callable[[Progress], None] | None = None,
    ) -> Tensor:
        prepared = self.prepare(request, rows, batch)
        with autocast(self.context.device, self.recipe.sample.precision):
            return prepared.solve(on_step)

    def _decoded(self, numbers: Sequence[int], batch: PaddedBatch, z: Tensor) -> list[Tensor]:
        """Media of z (B, C, *spatial), the first samples of a batch, on the host."""
        codec = self.context.codec
        # Networks may compute in bf16; decoding never does.
        with torch.autocast(self.context.device.type, enabled=False):
            if self.recipe.sample.loop:
                made = decode_loops(codec, z.float(), self.seed, numbers[: len(z)])
            else:
                made = decode_batch(codec, z.float(), batch.rows(slice(len(z))))
            return [one.cpu() for one in made]


class _StepWatch:
    """Called where a step ends: counts evaluations, and keeps the denoising trajectory of the first samples.

    Args:
        shown: Samples of which it is kept.
        count: Samples of the batch.
        frames: Where it is kept.
        decode: z of the first samples of the batch -> media.
    """

    def __init__(self, shown: int, count: int, frames: list[Frame], decode: Callable[[Tensor], list[Tensor]]):
        self.shown, self.frames, self.decode = shown, frames, decode
        self.nfe: tuple[int, ...] = (0,) * count

    def __call__(self, at: Progress) -> None:
        self.nfe = at.nfe
        if not self.shown or at.x0 is None:
            return
        level = at.level.on(at.x)
        scale = (level.alpha**2 + level.sigma**2) ** -0.5  # as the network sees it, so that noise is visible
        tau = float(torch.as_tensor(at.level.tau).mean())
        noisy, x0 = (self.decode(z[: self.shown]) for z in (at.x * scale, at.x0))
        self.frames.append(Frame(at.step, tau, noisy, x0))


def guidances(recipe: Recipe, opener: Callable[[Path], Denoiser]) -> list[Guidance]:
    """The recipe's guidances; `opener` opens another run for the batch that is sampled."""
    specs = recipe.sample.guidance
    listed = specs if isinstance(specs, list) else [] if specs is None else [specs]
    return [component.build(opener=opener) for component in listed]


def _section_edits(
    codec: Codec, network: nn.Module, spec: MediaSpec, batch: PaddedBatch, section: Sample
) -> list[Edit]:
    """The edits that `sample.loop` and `sample.windows` ask for.

    Raises:
        BadInput: If the network cannot.
    """
    edits: list[Edit] = []
    wrap = codec.wrap if section.loop else ()
    size = spec.latent[1:]
    if section.windows is not None and any(n > own for n, own in zip(batch.shape[1:], size, strict=True)):
        if getattr(network, "positions", 0):
            raise BadInput(
                "this network was trained with positions, so every window would begin and end like a whole: "
                "leave sample.windows out, or train with network.positions=0"
            )
        edits.append(Windowed(size, section.windows, wrap))
    if section.loop:
        edits.append(Loop(wrap))
    return edits
