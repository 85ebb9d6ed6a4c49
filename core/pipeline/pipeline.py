"""A trained model in use: `sample` makes new media; `vary`, `inpaint`, `extend` and `morph` start from files."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from ..codecs.base import Codec
from ..config.recipe import Recipe
from ..config.spec import plain
from ..few_step.problem import CalibrationBatch, CalibrationProblem
from ..few_step.stored import Stored, from_plain
from ..guidance.base import Run
from ..nn.model import Model
from ..training.build import Parts
from ..types import BadInput
from ..util.messages import counted
from ..util.rng import Noise
from .auxiliary import AuxiliaryModels
from .conditions import condition_rows
from .context import ModelContext
from .edit.context import EditContext
from .edit.fill import Filling, extend_request, inpaint_request
from .edit.morph import between_classes, morph_request, named_classes
from .edit.region import Region, Span
from .edit.source import Files
from .edit.vary import vary_request
from .lengths import choose_lengths, choose_size
from .prepare import PreparedRun
from .request import Rows, SampleRequest
from .result import Samples
from .sample import Method, RequestSampler, guidances

TRAJECTORY = 4  # samples of which a denoising trajectory is kept unless another number is asked for


class Pipeline:
    """A loaded checkpoint.

    Every method takes the keys of the recipe's `sample` section (steps, seed, guidance, loop, windows, ...) beside its
    own arguments. Edits read files as training reads them and give them back at their own level; `seconds` takes the
    beginning of a file, and a file has the class that its folder names, or `label`.

    Args:
        parts: What its recipe builds, the codec fitted.
        model: The averaged weights.
        step: Optimiser steps behind them.
        device: Where it runs.

    Attributes:
        recipe: The recipe that it follows.
        recorded: The recipe as the checkpoint has it, without changes.
        changed_keys: Keys of the `sample` section that were changed when it was loaded.
        plans: Calibrated plans by number of evaluations.
    """

    def __init__(self, parts: Parts, model: Model, step: int, device: torch.device):
        self.context, self.step = ModelContext.of(parts, model, device), step
        self.recipe: Recipe = parts.recipe
        self.recorded = self.recipe
        self.changed_keys: frozenset[str] = frozenset()
        self.plans: dict[int, dict[str, Any]] = {}
        self._auxiliary = AuxiliaryModels(self.context)

    @property
    def parts(self) -> Parts:
        """What its recipe builds."""
        return self.context.parts

    @property
    def model(self) -> Model:
        """The network with its condition embeddings."""
        return self.context.model

    @property
    def codec(self) -> Codec:
        """Media <-> diffused tensor."""
        return self.context.codec

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.context.device

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it was trained on."""
        return self.context.classes

    def to(self, device: str | torch.device) -> Pipeline:
        """Move it to a device ("auto" picks one)."""
        self.context.to(device)
        return self

    # --- what users ask for -------------------------------------------------------------------------------------------

    def sample(self, *, trajectory: bool | int = False, progress: bool = False, **changes: Any) -> Samples:
        """New media.

        Args:
            trajectory: Keep the denoising trajectory of the first samples of the first batch: True is 4 of them, or
                how many.
            progress: Show a bar.
            **changes: Keys of the recipe's `sample` section:
                label: a class name or index, a list, "cycle", or None: unconditional;
                count: how many;
                seed: sample i of a seed is the same whatever the count or batch;
                seconds: length of each sample along time, or a list that is cycled;
                size: size along the other axes;
                use, spacing, steps, guidance, batch, where, precision: as in a recipe; a component is its name or a
                mapping;
                output: how `save` finishes and writes them; `media` stays as the model made it;
                device: move the model there first.

        Raises:
            BadInput: Labels or keys that do not exist.
        """
        self._move(changes)
        recipe = self.changed(changes)
        self._refuse_unused(recipe, self.changed_keys | changes.keys())
        return self.make(recipe, self.request(recipe), trajectory, progress)

    def vary(
        self, files: Files, strength: float = 0.5, count: int = 1, progress: bool = False, **changes: Any
    ) -> Samples:
        """`count` variations of each file: noise on it, then sampling from there (SDEdit).

        Args:
            files: One file or several.
            strength: 0 gives back what the codec keeps of the file, 1 samples that do not depend on it.
            count: Of each file; variation i starts from the noise of sample i of the seed, whatever the file.
            progress: Show a bar.
            **changes: Keys of the recipe's `sample` section.

        Raises:
            BadInput: Files that cannot be read and keys that do not exist.
        """
        context = self._edit_context(changes)
        return self.make(context.recipe, vary_request(context, files, strength, count), progress=progress)

    def inpaint(
        self,
        files: Files,
        spans: Sequence[Span] = (),
        box: Sequence[int] | None = None,
        mask: str | Path | None = None,
        count: int = 1,
        resample: int | None = None,
        jump: int = 4,
        progress: bool = False,
        **changes: Any,
    ) -> Samples:
        """A part of each file made anew; the rest comes back exactly.

        Args:
            files: One file or several.
            spans: The part along time, (from, to) in seconds each.
            box: The part along the two other axes, [left, top, right, bottom] in elements.
            mask: A file that is positive (white) in the part.
            count: How many to make of each file.
            resample: How often each stretch of `jump` steps is run, see `Filling`.
            jump: Steps in a stretch.
            progress: Show a bar.
            **changes: Keys of the recipe's `sample` section.
        """
        context = self._edit_context(changes)
        request = inpaint_request(context, files, Region(spans, box, mask), Filling(count, resample, jump))
        return self.make(context.recipe, request, progress=progress)

    def extend(
        self,
        files: Files,
        seconds: float = 1.0,
        count: int = 1,
        resample: int | None = None,
        jump: int = 4,
        progress: bool = False,
        **changes: Any,
    ) -> Samples:
        """Media that continue for `seconds` where each file ends; the file itself comes back exactly.

        Args:
            files: One file or several.
            seconds: How much is added along time.
            count: How many to make of each file.
            resample: How often each stretch of `jump` steps is run, see `Filling`.
            jump: Steps in a stretch.
            progress: Show a bar.
            **changes: Keys of the recipe's `sample` section.
        """
        context = self._edit_context(changes)
        request = extend_request(context, files, seconds, Filling(count, resample, jump))
        return self.make(context.recipe, request, progress=progress)

    def morph(self, a: str | Path, b: str | Path, count: int = 5, progress: bool = False, **changes: Any) -> Samples:
        """`count` samples from a to b, both ends included.

        Args:
            a: A file: it is inverted to its noise by the ODE, and samples start on the arc between two such noises
                (Heun's method and no guidance unless asked for). Or the name of a class: all samples start from one
                noise, with mixtures of the two classes as labels.
            b: The other end.
            count: How many.
            progress: Show a bar.
            **changes: Keys of the recipe's `sample` section.
        """
        if named_classes(a, b, self.classes):
            recipe, request = self._class_morph(str(a), str(b), count, changes)
            return self.make(recipe, request, progress=progress)
        context = self._edit_context({"use": "heun", "guidance": None, **changes})
        labels = [row.get("label") for row in condition_rows(self.model, context.recipe.sample, 2)]
        return self.make(context.recipe, morph_request(context, a, b, labels, count), progress=progress)

    # --- from a recipe to samples -------------------------------------------------------------------------------------

    def changed(self, changes: dict[str, Any]) -> Recipe:
        """The recipe with changes to its `sample` section, by name.

        Raises:
            BadInput: For keys that do not exist.
        """
        overrides = [f"sample.{k}={json.dumps(v, ensure_ascii=False, default=_as_json)}" for k, v in changes.items()]
        return self.recipe.merge(overrides) if overrides else self.recipe

    def request(self, recipe: Recipe, count: int | None = None, seed: int | None = None) -> SampleRequest:
        """New samples as the recipe's `sample` section asks for them; another count or seed where given."""
        section, context = recipe.sample, self.context
        seed = recipe.sample_seed if seed is None else seed
        rows = condition_rows(context.model, section, section.count if count is None else count)
        size = choose_size(section.size, context.spec)
        lengths = choose_lengths(section.seconds, rows, context.model, context.spec, context.clip_lengths, seed)
        sizes = [context.spec.with_length(size, length) for length in lengths]
        return SampleRequest(rows, sizes, masked=section.seconds is not None)

    def make(
        self, recipe: Recipe, request: SampleRequest, trajectory: bool | int = False, progress: bool = False
    ) -> Samples:
        """The samples of a request, made as the recipe's `sample` section says."""
        section, spec, method = recipe.sample, self.context.spec, self._method(recipe)
        shown = TRAJECTORY if trajectory is True else int(trajectory)
        media, nfe, frames = self._sampler(recipe, method).samples(request, shown, progress)
        settings = {"seed": recipe.sample_seed, "step": self.step, "recipe": recipe.name, **request.facts}
        settings |= {**_settings(recipe), "calibrated": isinstance(method[0], Stored)}
        output = None if section.output is None else section.output.build(spec=spec, loop=section.loop)
        return Samples(media, request.conditions, settings, self.parts.modality, frames, nfe, output)

    def prepare(self, recipe: Recipe, request: SampleRequest, rows: Rows) -> PreparedRun:
        """What the run of some rows of a request solves: denoiser with guidance, conditions, start, noise."""
        sampler = self._sampler(recipe, self._method(recipe))
        return sampler.prepare(request, rows, sampler.batch(request, rows))

    def calibration_problem(self, count: int, seed: int = 0, **changes: Any) -> CalibrationProblem:
        """What calibration solves: `count` starts with their guided denoisers and conditions as `sample` has them."""
        recipe = self.changed({**changes, "seed": seed})
        request, schedule = self.request(recipe, count), self.context.process.schedule
        sampler = self._sampler(recipe, (recipe.sampler.build(), recipe.sample.spacing.build()))
        whole, batches = sampler.batch(request, range(count)), []
        for first in range(0, count, recipe.sample.batch):
            rows = slice(first, min(count, first + recipe.sample.batch))
            run = sampler.prepare(request, range(count)[rows], whole.rows(rows))
            start = run.start * (schedule.level(schedule.t_max).sigma / run.levels[0].sigma)
            batches.append(CalibrationBatch(run.denoiser, start, run.conditions))
        return CalibrationProblem(schedule, tuple(batches))

    def check(self) -> None:
        """Raise BadInput where the recipe's own `sample` section cannot be followed; nothing is sampled."""
        section, schedule, spec = self.recipe.sample, self.context.process.schedule, self.context.spec
        if section.output is not None:
            section.output.build(spec=spec, loop=section.loop)
        sampler = self._sampler(self.recipe, (self.recipe.sampler.build(), section.spacing.build()))
        sampler.batch(self.request(self.recipe), range(section.count))
        sampler.sampler.plan(schedule, sampler.levels)
        for part in guidances(self.recipe, self._auxiliary.denoiser):
            part.begin(Run(Noise(0, [0], spec.latent)))

    def _sampler(self, recipe: Recipe, method: Method) -> RequestSampler:
        return RequestSampler(self.context, recipe, method, self._auxiliary)

    def _method(self, recipe: Recipe) -> Method:
        """The sampler and its timesteps: a calibrated plan where there is one for this number of steps and this
        guidance, and the recipe's own sampler and timestep spacing were not changed."""
        section, own, plan = recipe.sample, self.recorded, self.plans.get(recipe.sample.steps)
        same = recipe.sampler == own.sampler and section.spacing == own.sample.spacing
        if section.calibrated and same and plan is not None and plan.get("guidance") == plain(section.guidance):
            stored = Stored(from_plain(plan["rows"]))
            return stored, stored.ends
        return recipe.sampler.build(), section.spacing.build()

    def _edit_context(self, changes: dict[str, Any]) -> EditContext:
        """What an edit is given. Calibrated plans are not used: they begin at one level, that of pure noise."""
        asked = {"calibrated": False, "label": None, "count": 1, **changes}
        self._move(asked)
        recipe = self.changed(asked)
        latents = self._sampler(recipe, self._method(recipe)).latents
        return EditContext(self.context, recipe, "label" in changes, latents)

    def _class_morph(self, a: str, b: str, count: int, changes: dict[str, Any]) -> tuple[Recipe, SampleRequest]:
        """Samples of one start and one length with mixtures of two classes."""
        asked = {**changes, "count": count, "label": [a, b]}
        self._move(asked)
        recipe, spec = self.changed(asked), self.context.spec
        request = self.request(recipe)
        if spec.rate is not None and recipe.sample.seconds is None and self.context.clip_lengths:
            seconds = (spec.length_of(request.sizes[0]) or 0) / spec.rate
            recipe = self.changed({**asked, "seconds": seconds})
            request = self.request(recipe)
        return recipe, between_classes(request, self.model, a, b)

    def _move(self, changes: dict[str, Any]) -> None:
        """Move to the device that is asked for; the key is taken out."""
        if "device" in changes:
            self.to(changes.pop("device"))

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


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The `sample` section without what stands elsewhere in samples.json."""
    kept = dict(recipe.resolved()["sample"])
    for key in ("label", "where", "seed", "count", "device"):
        kept.pop(key, None)
    return kept


def _as_json(value: Any) -> Any:
    """Numbers and lists of numpy and torch as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise BadInput(f"{value!r} is nothing that a recipe can hold: give names, numbers, lists and mappings")
