"""Generates the samples of a request: batches, guidance, edits, solver, decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..codecs.base import Codec
from ..config.recipe import Recipe
from ..config.sections import SampleSection
from ..editing.base import Edit
from ..editing.loops import LoopEdit, decode_loops
from ..editing.windows import WindowedEdit
from ..guidance.base import AuxiliaryDenoiser, Guidance, SamplingRun
from ..samplers.base import Sampler, StepProgress
from ..timesteps.base import TimestepSpacing
from ..training.distributed import Ranks
from ..types import BadInput, Denoiser, MediaSpec, NoiseLevel
from ..util.device import autocast
from ..util.messages import format_count
from ..util.notes import issue_note
from ..util.progress import progress_bar
from ..util.rng import KeyedNoise
from .auxiliary import AuxiliaryModelLoader
from .conditions import ConditionEmbedder, guidance_prompts, guidance_specs
from .context import ModelContext
from .lengths import PaddedBatch, decode_batch, make_padded_batch
from .loop_sizes import warn_of_loop_padding, with_loop_sizes
from .observer import SamplingObserver, SamplingProgress
from .request import Rows, SampleRequest
from .result import TrajectoryStep
from .solver_setup import SolverSetup, set_up_solver

Method = tuple[Sampler, TimestepSpacing | Sequence[NoiseLevel]]
"""A sampler and the noise levels at which it evaluates, or the timestep spacing that gives them."""


class RequestSampler:
    """Generates requests with the settings of a recipe's `sample` section.

    Args:
        context: The model.
        recipe: Its recipe, with changes to the `sample` section.
        method: The sampler and its timesteps.
        auxiliary: Loads the auxiliary models that guidance names.
        observer: Is called at each step and after each batch.
        ranks: The processes that share the batches of a request; None: this one alone.
    """

    def __init__(
        self,
        context: ModelContext,
        recipe: Recipe,
        method: Method,
        auxiliary: AuxiliaryModelLoader,
        observer: SamplingObserver | None = None,
        ranks: Ranks | None = None,
    ):
        self.context, self.recipe, self.auxiliary = context, recipe, auxiliary
        self.ranks = ranks or Ranks()
        self.observer = SamplingObserver() if observer is None else observer
        self.embedder = ConditionEmbedder(context.model, recipe.sample.negative)
        self.auxiliary_embedders: dict[Path, ConditionEmbedder] = {}
        self.sampler, timesteps = method
        schedule, steps = context.process.schedule, recipe.sample.steps
        self.levels = timesteps.levels(schedule, steps) if isinstance(timesteps, TimestepSpacing) else list(timesteps)

    @property
    def seed(self) -> int:
        """Seed of the noise."""
        return self.recipe.sample_seed

    def samples(
        self, request: SampleRequest, recorded: int = 0, progress: bool = False
    ) -> tuple[list[Tensor], list[int], list[TrajectoryStep]]:
        """Generate all samples of a request.

        Several ranks share its batches, which are those of one process, so that the samples are the same. All ranks
        call this at the same time.

        Args:
            request: The request.
            recorded: Number of samples whose denoising trajectory is recorded.
            progress: Show a progress bar.

        Returns:
            Media (C, *size) and number of evaluations of each sample, and the denoising trajectory; on ranks other than
            0 all of them are empty.
        """
        section, context, ranks = self.recipe.sample, self.context, self.ranks
        if section.loop:
            warn_of_loop_padding(context.codec, context.spec, bool(context.clip_lengths))
            request = with_loop_sizes(request, context.codec, context.model, context.spec)
        with torch.no_grad():
            self.embedder.add(request.conditions, guidance_prompts(self.recipe.sample))
        media: list[Tensor] = [torch.empty(0)] * len(request)
        nfe, frames = [0] * len(request), list[TrajectoryStep]()
        # A loop has no padding, and the places of windows follow from the size of the batch.
        batches = list(request.batches(section.batch, section.loop or section.windows is not None))
        if len(batches) < ranks.world:
            issue_note(
                f"{ranks.world} processes share whole batches, and {format_count(len(request), 'sample')} in batches "
                f"of {section.batch} are {len(batches)}: a smaller sample.batch gives each of them a share",
                stacklevel=4,
            )
        show = progress and ranks.writes
        with progress_bar("sampling", "sample", len(media), show=show, leave=True) as done:
            for first in range(0, len(batches), ranks.world):
                number, current = first + ranks.rank, batches[first : first + ranks.world]
                own = self._generate_batch(request, batches, number, recorded, frames) if number < len(batches) else []
                for rows, (*finished, evaluations) in zip(current, ranks.collect_tensors(own), strict=False):
                    for i, sample, count in zip(rows, finished, evaluations.tolist(), strict=True):
                        media[i], nfe[i] = sample, count
                    self.observer.on_sampled_batch(
                        {i: media[i] for i in rows}, {i: request.conditions[i] for i in rows}
                    )
                    done.update(len(rows))
        return (media, nfe, frames) if ranks.writes else ([], [], [])

    def _generate_batch(
        self, request: SampleRequest, batches: Sequence[Rows], number: int, recorded: int, frames: list[TrajectoryStep]
    ) -> list[Tensor]:
        """The media of the rows of a batch, and the number of evaluations of each, (rows,).

        The trajectory of the first batch is appended to `frames`.
        """
        rows = batches[number]
        batch = self.batch(request, rows)
        decode = partial(self._decode, [request.numbers[i] for i in rows], batch)
        recorder = _StepRecorder(0 if number else recorded, len(rows), frames, decode)
        z = self._solve(request, rows, batch, self._observed(decode, number, len(batches), recorder))
        media = [request.finish(i, one) for i, one in zip(rows, request.media(rows, z, batch, decode), strict=True)]
        return [*media, torch.tensor(recorder.nfe)]

    def latents(self, request: SampleRequest) -> Tensor:
        """Solve a request as one batch, without decoding: (B, C, *spatial)."""
        rows = range(len(request))
        batch = self.batch(request, rows)
        return self._solve(request, rows, batch, self._observed(partial(self._decode, request.numbers, batch)))

    def batch(self, request: SampleRequest, rows: Rows) -> PaddedBatch:
        """The padded batch of some rows.

        Raises:
            BadInput: The network does not support such a size.
        """
        context, section = self.context, self.recipe.sample
        window = context.spec.latent[1:] if section.windows is not None else None  # never larger than the training size
        wrap = context.codec.wrap if section.loop else ()
        known, masked = ((), False) if section.loop else (context.clip_lengths, request.masked)  # loops have no padding
        sizes = [request.sizes[i] for i in rows]
        return make_padded_batch(context.codec, context.model.network, context.spec, sizes, known, masked, window, wrap)

    def prepare(self, request: SampleRequest, rows: Rows, batch: PaddedBatch) -> SolverSetup:
        """Prepare the run of a batch: guided denoiser, initial state, conditions, noise; nothing is evaluated."""
        context, section = self.context, self.recipe.sample
        edits = _section_edits(context.codec, context.model.network, context.spec, batch, section)
        numbers, values = [request.numbers[i] for i in rows], [request.conditions[i] for i in rows]
        with torch.no_grad():
            conditions = self.embedder.conditioning(values)
            if batch.valid is not None:
                conditions = replace(conditions, valid=batch.valid.to(context.device))

            with autocast(context.device, section.precision):
                own = request.edits(rows, batch)

            def opener(path: Path) -> Denoiser:
                if path not in self.auxiliary_embedders:
                    self.auxiliary_embedders[path] = self.auxiliary.embedder(path)
                    self.auxiliary_embedders[path].add(request.conditions)
                embedded = self.auxiliary_embedders[path].conditioning(values)
                other = AuxiliaryDenoiser(self.auxiliary.denoiser(path), embedded)
                run = SamplingRun(KeyedNoise(self.seed, numbers, batch.shape, context.device))
                for edit in edits:
                    other.denoiser = edit.wrap_network(other.denoiser, run)
                for edit in own:
                    other.conditions = edit.conditions(other.conditions)
                return other

            with autocast(context.device, section.precision):
                return set_up_solver(
                    context.process.denoiser(context.model),
                    context.process.schedule,
                    self.sampler,
                    self.levels,
                    conditions,
                    KeyedNoise(self.seed, numbers, list(batch.shapes), context.device),
                    self.guidances(opener),
                    [*edits, *own],
                )

    def guidances(self, opener: Callable[[Path], Denoiser]) -> list[Guidance]:
        """Build the recipe's guidances; `opener` loads an auxiliary model for the current batch."""
        return [
            part.build(opener=opener, embed_prompt=self.embedder.prompt) for part in guidance_specs(self.recipe.sample)
        ]

    def _observed(
        self,
        decode: Callable[[Tensor], list[Tensor]],
        batch: int = 0,
        batches: int = 1,
        recorder: Callable[[StepProgress], None] | None = None,
    ) -> Callable[[StepProgress], None]:
        """The callback of a batch: the recorder, then the observer."""

        def on_step(at: StepProgress) -> None:
            if recorder is not None:
                recorder(at)

            def estimates(count: int) -> list[Tensor]:
                with torch.no_grad():
                    return [] if at.x0 is None else decode(at.x0[:count])

            self.observer.on_sampling_step(SamplingProgress(at.step, at.steps, batch, batches, estimates))

        return on_step

    def _solve(
        self, request: SampleRequest, rows: Rows, batch: PaddedBatch, on_step: Callable[[StepProgress], None]
    ) -> Tensor:
        prepared = self.prepare(request, rows, batch)
        with autocast(self.context.device, self.recipe.sample.precision):
            return prepared.solve(on_step)

    def _decode(self, numbers: Sequence[int], batch: PaddedBatch, z: Tensor) -> list[Tensor]:
        """Decode z (B, C, *spatial), the first samples of a batch, and move the media to the host."""
        codec = self.context.codec
        # Networks may compute in bfloat16; decoding is always in float32.
        with torch.autocast(self.context.device.type, enabled=False):
            if self.recipe.sample.loop:
                media = decode_loops(codec, z.float(), self.seed, numbers[: len(z)])
            else:
                media = decode_batch(codec, z.float(), batch.rows(slice(len(z))))
            return [sample.cpu() for sample in media]


class _StepRecorder:
    """Callback at the end of each step: records the evaluations and the denoising trajectory of the first samples.

    Args:
        recorded: Number of samples whose trajectory is recorded.
        count: Number of samples in the batch.
        frames: List to which the frames are appended.
        decode: z of the first samples of the batch -> media.
    """

    def __init__(
        self, recorded: int, count: int, frames: list[TrajectoryStep], decode: Callable[[Tensor], list[Tensor]]
    ):
        self.recorded, self.frames, self.decode = recorded, frames, decode
        self.nfe: tuple[int, ...] = (0,) * count

    def __call__(self, at: StepProgress) -> None:
        self.nfe = at.nfe
        if not self.recorded or at.x0 is None:
            return
        level = at.level.on(at.x)
        scale = (level.alpha**2 + level.sigma**2) ** -0.5  # unit variance, so that noise is visible
        tau = float(torch.as_tensor(at.level.tau).mean())
        noisy, x0 = (self.decode(z[: self.recorded]) for z in (at.x * scale, at.x0))
        self.frames.append(TrajectoryStep(at.step, tau, noisy, x0))


def _section_edits(
    codec: Codec, network: nn.Module, spec: MediaSpec, batch: PaddedBatch, section: SampleSection
) -> list[Edit]:
    """The edits for `sample.loop` and `sample.windows`.

    Raises:
        BadInput: The network does not support windows.
    """
    edits: list[Edit] = []
    wrap = codec.wrap if section.loop else ()
    size = spec.latent[1:]
    if section.windows is not None and any(n > trained for n, trained in zip(batch.shape[1:], size, strict=True)):
        if getattr(network, "positions", 0):
            raise BadInput(
                "this network was trained with positions, so every window would look like a whole sample: "
                "leave sample.windows out, or train with network.positions=0"
            )
        edits.append(WindowedEdit(size, section.windows, wrap))
    if section.loop:
        edits.append(LoopEdit(wrap))
    return edits
