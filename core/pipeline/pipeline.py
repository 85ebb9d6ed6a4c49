"""A trained run in the hand: open it, and sample from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config.load import load_recipe_text
from ..config.recipe import Recipe
from ..config.spec import plain
from ..editing.loops import decoded as decoded_loops
from ..few_step.reference import Catch, Problem
from ..few_step.stored import Stored, from_plain
from ..guidance.base import Guidance, Run
from ..nn.model import Model
from ..samplers.base import Progress, Sampler
from ..timesteps.base import TimestepSpacing
from ..training.build import Parts, build_parts
from ..training.checkpoint import newest, read, read_header
from ..types import BadInput, Denoiser, NoiseLevel
from ..util.device import autocast, choose_device
from ..util.messages import counted
from ..util.progress import bar
from ..util.rng import Noise
from .auxiliary import AuxiliaryModels, embedded
from .edit_methods import Editing
from .functional import sample
from .lengths import PaddedBatch, choose_lengths, decode_batch, padded_batch
from .request import SampleRequest, looped, own_edits, size_asked, step_of_loops, warn_of_padding
from .result import Frame, Samples

UNVEILED = 4  # samples of which a trajectory is kept


def _plain(value: Any) -> Any:
    """Numbers and lists of numpy and torch as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise BadInput(f"{value!r} is nothing that a recipe can hold: give names, numbers, lists and mappings")


class Pipeline(Editing):
    """A trained recipe: `sample` makes new media, `vary`, `inpaint`, `extend` and `morph` start from files.

    parts:  what its recipe builds, the codec fitted
    model:  the averaged weights
    step:   optimiser steps behind them
    """

    def __init__(self, parts: Parts, model: Model, step: int, device: torch.device):
        self.parts, self.step, self.device = parts, step, device
        self.model = model.to(device).eval()
        self.codec = parts.codec.to(device).eval()
        self.recipe: Recipe = parts.recipe
        self.recorded = self.recipe  # as the checkpoint has it, without changes
        self.asked: frozenset[str] = frozenset()  # keys of the `sample` section that were changed on opening it
        self.plans: dict[int, dict[str, Any]] = {}  # calibrated, by number of evaluations
        self._others = AuxiliaryModels(self)

    def to(self, device: str | torch.device) -> Pipeline:
        """Move it to a device ("auto" picks one)."""
        self.device = choose_device(str(device))
        self.model.to(self.device)
        self.codec.to(self.device)
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it knows."""
        return self.parts.spec.classes

    def sample(self, *, trajectory: bool | int = False, progress: bool = False, **changes: Any) -> Samples:
        """New media. Every key of the recipe's `sample` section may be changed, by name.

        label:    a class name or index, a list, "cycle", or None: unconditional
        count:    how many
        seed:     sample i of a seed is the same whatever the count or batch
        seconds: length of each sound, or a list that is cycled; cut to it, whatever the recipe's length
        use, spacing, steps, guidance, batch, where, precision: as in a recipe; a component is its name or a mapping
        output:     how `save` finishes and writes them; `media` stays as the model made it
        device:     move the model there first
        trajectory: keep the unveiling of the first samples of the first batch: True is 4 of them, or how many
        progress:   show a bar

        Raises BadInput for labels or keys that do not exist.
        """
        if "device" in changes:
            self.to(changes.pop("device"))
        recipe = self.changed(changes)
        self._refuse_unused(recipe, self.asked | changes.keys())
        return self.make(recipe, self.task(recipe), trajectory, progress)

    @staticmethod
    def _refuse_unused(recipe: Recipe, asked: Collection[str]) -> None:
        """Raise BadInput where a list that was asked for holds more than `count` samples can use."""
        s = recipe.sample
        listed = {"label": s.label, "seconds": s.seconds, **{f"conditions.{k}": v for k, v in s.conditions.items()}}
        for key, values in listed.items():
            if isinstance(values, (list, tuple)) and len(values) > s.count and key.split(".")[0] in asked:
                raise BadInput(
                    f"sample.{key} lists {len(values)} values, and {counted(s.count, 'sample')} cannot use them all: "
                    f"ask for count={len(values)}"
                )

    def make(
        self, recipe: Recipe, task: SampleRequest, trajectory: bool | int = False, progress: bool = False
    ) -> Samples:
        """What a task lists, made as the recipe's `sample` section says."""
        s, seed = recipe.sample, recipe.sample_seed
        if s.loop:
            spec = self.parts.spec
            warn_of_padding(self.codec, spec, bool(self.parts.clip_lengths))
            task = looped(task, step_of_loops(self.codec, self.model.network, spec), spec.rate, self.model)
        media: list[Tensor] = [torch.empty(0)] * len(task.told)
        nfe: list[int] = [0] * len(task.told)
        frames: list[Frame] = []
        kept = UNVEILED if trajectory is True else int(trajectory)
        with bar("sampling", "sample", len(media), show=progress, leave=True) as shown:
            for n, rows in enumerate(task.batches(s.batch, s.loop)):
                made, taken = self._batch(recipe, seed, rows, task, frames, 0 if n else kept)
                for i, one, cost in zip(rows, made, taken, strict=True):
                    media[i], nfe[i] = task.finish(i, one), cost
                shown.update(len(rows))
        settings = {"seed": seed, "step": self.step, "recipe": recipe.name, **task.facts, **_settings(recipe)}
        settings["calibrated"] = isinstance(self._method(recipe)[0], Stored)
        output = None if s.output is None else s.output.build(spec=self.parts.spec, loop=s.loop)
        return Samples(media, task.told, settings, self.parts.modality, frames, nfe, output)

    def check(self) -> None:
        """Raise BadInput where the recipe's own `sample` section cannot be followed; nothing is sampled."""
        s, schedule = self.recipe.sample, self.parts.process.schedule
        if s.output is not None:
            s.output.build(spec=self.parts.spec, loop=s.loop)
        task = self.task(self.recipe)
        self._extent(self.recipe, task, range(s.count))
        self.recipe.sampler.build().plan(schedule, s.timesteps.build().levels(schedule, s.steps))
        for part in self._guidances(self.recipe, self._others.denoiser):
            part.begin(Run(Noise(0, [0], self.parts.spec.latent)))

    def _guidances(self, recipe: Recipe, opener: Callable[[Path], Denoiser]) -> list[Guidance]:
        """The recipe's guidances; `opener` opens another run for the batch at hand."""
        specs = recipe.sample.guidance
        listed = specs if isinstance(specs, list) else [] if specs is None else [specs]
        return [component.build(opener=opener) for component in listed]

    def _method(self, recipe: Recipe) -> tuple[Sampler, TimestepSpacing | list[NoiseLevel]]:
        """The sampler and where it stops: a calibrated plan where there is one for this number of steps and
        this guidance, and the recipe's own sampler and spacing were not changed."""
        s, own, plan = recipe.sample, self.recorded, self.plans.get(recipe.sample.steps)
        same = recipe.sampler == own.sampler and s.timesteps == own.sample.timesteps
        if s.calibrated and same and plan is not None and plan.get("guidance") == plain(s.guidance):
            stored = Stored(from_plain(plan["rows"]))
            return stored, stored.ends
        return recipe.sampler.build(), s.timesteps.build()

    def problem(self, count: int, seed: int = 0, **changes: Any) -> Problem:
        """What calibration solves: `count` starts, their guided denoisers and conditions as `sample` has them."""
        recipe = self.changed(changes)
        task, spacing = self.task(recipe, count, seed), recipe.sample.timesteps.build()
        room = self._extent(recipe, task, range(count))
        batches = []
        for first in range(0, count, recipe.sample.batch):
            rows, caught = slice(first, min(count, first + recipe.sample.batch)), Catch()
            self._latents(recipe, seed, range(count)[rows], task, room.rows(rows), (caught, spacing))
            batches.append(caught.batch)
        return Problem(self.parts.process.schedule, tuple(batches))

    def changed(self, changes: dict[str, Any]) -> Recipe:
        """The recipe with changes to its `sample` section, by name. Raises BadInput for keys that do not exist."""
        overrides = [f"sample.{k}={json.dumps(v, ensure_ascii=False, default=_plain)}" for k, v in changes.items()]
        return self.recipe.merge(overrides) if overrides else self.recipe

    def latents(self, recipe: Recipe, task: SampleRequest) -> Tensor:
        """What comes of a task in one batch, not decoded: (B, C, *spatial)."""
        rows, seed = range(len(task.told)), recipe.sample_seed
        return self._latents(recipe, seed, rows, task, self._extent(recipe, task, rows), self._method(recipe))

    def _batch(
        self,
        recipe: Recipe,
        seed: int,
        rows: Sequence[int],
        task: SampleRequest,
        frames: list[Frame],
        kept: int,
    ) -> tuple[list[Tensor], list[int]]:
        """Media of some rows of a task, and the evaluations that each took; `frames` gains the first `kept` rows'."""
        room, taken = self._extent(recipe, task, rows), [0] * len(rows)

        def media(z: Tensor, room: PaddedBatch = room) -> list[Tensor]:
            # Networks may compute in bf16; the way back to media never does.
            with torch.autocast(self.device.type, enabled=False):
                if recipe.sample.loop:
                    made = decoded_loops(self.codec, z.float(), seed, [task.numbers[i] for i in rows[: len(z)]])
                else:
                    made = decode_batch(self.codec, z.float(), room)
                return [one.cpu() for one in made]

        def keep(p: Progress) -> None:
            taken[:] = p.nfe
            if kept and p.x0 is not None:
                at = p.level.on(p.x)
                scale = (at.alpha**2 + at.sigma**2) ** -0.5  # as the network sees it, so that noise is visible
                tau = float(torch.as_tensor(p.level.tau).mean())
                few = (z[:kept] for z in (p.x * scale, p.x0))
                frames.append(Frame(p.step, tau, *(media(z, room.rows(slice(kept))) for z in few)))

        z = self._latents(recipe, seed, rows, task, room, self._method(recipe), keep)
        return (media(z) if task.decode is None else task.decode(rows, z, room)), taken

    def _latents(
        self,
        recipe: Recipe,
        seed: int,
        rows: Sequence[int],
        task: SampleRequest,
        room: PaddedBatch,
        method: tuple[Sampler, TimestepSpacing | list[NoiseLevel]],
        on_step: Callable[[Progress], None] | None = None,
    ) -> Tensor:
        parts, s, batch = self.parts, recipe.sample, [task.told[i] for i in rows]
        edits = own_edits(self.codec, self.model.network, parts.spec, room, s.loop, s.windows)
        numbers = [task.numbers[i] for i in rows]

        def beside(path: Path) -> Denoiser:
            other, run = self._others.beside(path, batch), Run(Noise(seed, numbers, room.shape, self.device))
            for edit in edits:
                other.denoiser = edit.within(other.denoiser, run)
            return other

        with torch.no_grad():
            conditions = embedded(self.model, batch)
            if room.valid is not None:
                conditions = replace(conditions, valid=room.valid.to(self.device))
            with autocast(self.device, s.precision):
                return sample(
                    parts.process.denoiser(self.model),
                    (len(rows), *room.shape),
                    parts.process.schedule,
                    sampler=method[0],
                    timesteps=method[1],
                    steps=s.steps,
                    guidance=self._guidances(recipe, beside),
                    conditioning=conditions,
                    seed=seed,
                    device=self.device,
                    on_step=on_step,
                    shapes=room.shapes,
                    samples=numbers,
                    edits=[*edits, *task.edits(rows, room)],
                )

    def task(self, recipe: Recipe, count: int | None = None, seed: int | None = None) -> SampleRequest:
        """Samples as the recipe's `sample` section wants them; another count or seed where given."""
        s, parts = recipe.sample, self.parts
        seed = recipe.sample_seed if seed is None else seed
        told, spec = (
            self.told(recipe, s.count if count is None else count),
            replace(parts.spec, size=size_asked(s.size, parts.spec)),
        )
        lengths = choose_lengths(s.seconds, told, self.model, spec, parts.clip_lengths, seed)
        return SampleRequest(told, lengths, spec.size, sized=s.seconds is not None)

    def _extent(self, recipe: Recipe, task: SampleRequest, rows: Sequence[int]) -> PaddedBatch:
        s, parts = recipe.sample, self.parts
        spec, lengths = replace(parts.spec, size=task.size), [task.lengths[i] for i in rows]
        window = parts.spec.latent[1:] if s.windows is not None else None  # never larger than what was trained
        wrap = self.codec.wrap if s.loop else ()
        known, sized = ((), False) if s.loop else (parts.clip_lengths, task.sized)  # a loop has no padding
        return padded_batch(self.codec, self.model.network, spec, lengths, known, sized, window, wrap)

    def told(self, recipe: Recipe, count: int) -> list[dict[str, Any]]:
        """What each of `count` samples is told, by condition. Raises BadInput for values that no condition knows."""
        wanted: dict[str, Any] = {"label": recipe.sample.label, **recipe.sample.conditions}
        told: list[dict[str, Any]] = [{} for _ in range(count)]
        for name, condition in self.model.conditions.items():
            value = wanted.get(name)
            if isinstance(value, str) and value == "cycle":
                value = list(condition.choices()) or None  # type: ignore[operator]
                if value is None and name in recipe.sample.conditions:
                    raise BadInput(f"{name} has no list of values to cycle through: give one value, or a list")
            for i, row in enumerate(told):
                one = value[i % len(value)] if isinstance(value, (list, tuple)) and value else value
                row[name] = None if one is None else condition.show(condition.parse(one))  # type: ignore[operator]
        return told


def _settings(recipe: Recipe) -> dict[str, Any]:
    kept = dict(recipe.resolved()["sample"])
    for told in ("label", "where", "seed", "count", "device"):
        kept.pop(told, None)
    return kept


def load(path: str | Path, device: str = "auto", changes: Sequence[str] = (), allow_code: bool = False) -> Pipeline:
    """Open a run folder (its newest checkpoint) or a checkpoint file; the weights are the averaged ones.

    device:     auto, cpu, cuda or mps
    changes:    key=value changes of the recipe's `sample` section
    allow_code: let the checkpoint's recipe name components by file or module path; without it, registered names only

    Raises BadInput where it is missing, damaged, or of another format.
    """
    checkpoint = newest(Path(path))
    header = read_header(checkpoint)
    recipe = load_recipe_text(header.recipe, base=checkpoint.parent, overrides=changes, allow_code=allow_code)
    parts = build_parts(recipe, header.spec)
    parts.clip_lengths = header.clip_lengths
    read(checkpoint, parts.codec, "codec")
    read(checkpoint, parts.model, "ema")
    trained = Pipeline(parts, parts.model, header.step, choose_device(device))
    trained.plans = dict(header.plans)
    keys = (change.partition("=")[0].strip().removeprefix("sample.") for change in changes)
    trained.asked = frozenset(key.partition(".")[0] for key in keys)
    if changes and header.plans:
        trained.recorded = load_recipe_text(header.recipe, base=checkpoint.parent, allow_code=allow_code)
    return trained
