"""`LoadedModel`: a loaded checkpoint that generates the samples of requests; `Pipeline` adds what users call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch

from ..codecs.base import Codec
from ..config.legacy import upgrade_key_name
from ..config.overrides import changed_conditions
from ..config.recipe import Recipe
from ..config.spec import to_plain_values
from ..few_step.problem import CalibrationBatch, CalibrationProblem
from ..few_step.stored_plans import StoredPlanSampler, plan_from_json
from ..guidance.base import SamplingRun
from ..nn.model import ConditionedNetwork
from ..training.build import ModelComponents
from ..training.distributed import Ranks
from ..types import BadInput
from ..util.messages import escape_control_characters, format_names
from ..util.notes import issue_note
from ..util.rng import KeyedNoise
from .auxiliary import AuxiliaryModelLoader
from .changed_keys import NO_EFFECT_ON_CLASSES, NO_EFFECT_ON_FILES, OF_SAMPLES, refuse_without_effect
from .conditions import SampleConditions, per_sample_conditions
from .context import ModelContext
from .edit.context import EditContext
from .edit.morph import class_morph_request
from .examples import check_references
from .lengths import check_request_memory, choose_lengths, choose_size
from .observer import SamplingObserver
from .request import SampleRequest
from .result import Samples
from .sample import Method, RequestSampler

TRAJECTORY = 4  # default number of samples whose denoising trajectory is recorded

Loaded = TypeVar("Loaded", bound="LoadedModel")


class LoadedModel:
    """A network with its codec and recipe, which generates the samples of requests.

    Args:
        parts: The components that the recipe builds, with fitted codec.
        model: The network with averaged weights.
        step: Number of optimizer steps after which the weights were saved.
        device: The device of the computation.

    Attributes:
        recipe: The recipe in use.
        recorded: The recipe as the checkpoint stores it, without changes.
        changed_keys: Keys of the `sample` section that were changed when the checkpoint was loaded.
        changed_conditions: Names of the conditions in `sample.conditions` that were changed then.
        plans: Number of evaluations -> calibrated plan.
        observer: Is called at each step of sampling and after each batch; None: nothing is.
        ranks: The processes that share the batches of `sample`; all call it, and rank 0 has the samples, others none.
    """

    def __init__(self, parts: ModelComponents, model: ConditionedNetwork, step: int, device: torch.device):
        self.context, self.step = ModelContext.of(parts, model, device), step
        self.recipe: Recipe = parts.recipe
        self.recorded = self.recipe
        self.changed_keys: frozenset[str] = frozenset()
        self.changed_conditions: frozenset[str] = frozenset()
        self.plans: dict[int, dict[str, Any]] = {}
        self.observer: SamplingObserver | None = None
        self.ranks = Ranks()
        self._auxiliary = AuxiliaryModelLoader(self.context)

    def __repr__(self) -> str:
        facts = [self.recipe.modality.use, f"step {self.step}", f"on {self.device}"]
        facts += [f"classes {format_names(self.classes)}"] * bool(self.classes)
        facts += [f"conditions {format_names([*self.model.conditions])}"] * bool(len(self.model.conditions))
        return escape_control_characters(f"<{type(self).__name__} of {self.recipe.name}: {', '.join(facts)}>")

    @property
    def components(self) -> ModelComponents:
        """The components that the recipe builds."""
        return self.context.parts

    @property
    def model(self) -> ConditionedNetwork:
        """The network with its condition embeddings."""
        return self.context.model

    @property
    def codec(self) -> Codec:
        """Media <-> diffused tensor."""
        return self.context.codec

    @property
    def device(self) -> torch.device:
        """The device of the computation."""
        return self.context.device

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the training data."""
        return self.context.classes

    def to(self: Loaded, device: str | torch.device) -> Loaded:
        """Move the model to a device ("auto" chooses one)."""
        self.context.to(device)
        return self

    def recipe_with(self, changes: dict[str, Any]) -> Recipe:
        """The recipe with changes to its `sample` section.

        Raises:
            BadInput: A key does not exist.
        """
        overrides = [(f"sample.{k}", v) for k, v in changes.items()]
        return self.recipe.with_overrides(overrides) if overrides else self.recipe

    def request(
        self, recipe: Recipe, count: int | None = None, conditions: Sequence[SampleConditions] = ()
    ) -> SampleRequest:
        """Request new samples according to the recipe's `sample` section.

        Args:
            recipe: The recipe.
            count: Number of samples; None: that of the section.
            conditions: For each sample, values of conditions that replace those of the section; empty: none.

        Raises:
            BadInput: The model was never trained without a reference.
        """
        check_references(self.model)
        return self._request(recipe, count, conditions)

    def _request(
        self, recipe: Recipe, count: int | None = None, conditions: Sequence[SampleConditions] = ()
    ) -> SampleRequest:
        section, context, seed = recipe.sample, self.context, recipe.sample_seed
        if section.label is None and "null" in self.classes:
            issue_note("label=null is unconditional; the class of this name is label=\"'null'\"", stacklevel=3)
        rows = per_sample_conditions(context.model, section, section.count if count is None else count)
        for row, others in zip(rows, conditions, strict=False):
            row.update(others)
        size = choose_size(section.size, context.spec)
        lengths = choose_lengths(section.seconds, rows, context.model, context.spec, context.clip_lengths, seed)
        sizes = [context.spec.with_length(size, length) for length in lengths]
        check_request_memory(context.codec, context.spec, sizes, section.batch)
        return SampleRequest(rows, sizes, masked=section.seconds is not None)

    def generate(
        self, recipe: Recipe, request: SampleRequest, trajectory: bool | int = False, progress: bool = False
    ) -> Samples:
        """Generate the samples of a request with the settings of the recipe's `sample` section.

        With several ranks, all call this at the same time, and those other than 0 get no samples.
        """
        check_references(self.model, request.references)
        section, spec, method = recipe.sample, self.context.spec, self._method(recipe)
        recorded = TRAJECTORY if trajectory is True else int(trajectory)
        media, nfe, frames = self._sampler(recipe, method).samples(request, recorded, progress)
        settings = {"seed": recipe.sample_seed, "step": self.step, "recipe": recipe.name, **request.facts}
        settings |= {**_settings(recipe), "calibrated": isinstance(method[0], StoredPlanSampler)}
        output = None if section.output is None else section.output.build(spec=spec, loop=section.loop)
        conditions, before = (request.conditions, request.before()) if self.ranks.writes else ([], [])
        return Samples(media, conditions, settings, self.components.modality, frames, nfe, output, before)

    def calibration_problem(self, count: int, seed: int = 0, **changes: Any) -> CalibrationProblem:
        """The problem for calibration: `count` initial states with the guided denoisers and conditions of `sample`."""
        recipe = self.recipe_with({**changes, "seed": seed})
        request, schedule = self.request(recipe, count), self.context.process.schedule
        sampler = self._sampler(recipe, (recipe.sampler.build(), recipe.sample.timesteps.build()))
        check_request_memory(self.codec, self.context.spec, request.sizes, count)  # all initial states are kept
        whole, batches = sampler.batch(request, range(count)), []
        for first in range(0, count, recipe.sample.batch):
            rows = slice(first, min(count, first + recipe.sample.batch))
            run = sampler.prepare(request, range(count)[rows], whole.rows(rows))
            start = run.start * (schedule.level(schedule.t_max).sigma / run.levels[0].sigma)
            batches.append(CalibrationBatch(run.denoiser, start, run.conditions))
        return CalibrationProblem(schedule, tuple(batches))

    def check(self) -> None:
        """Raise BadInput if the recipe's `sample` section is invalid for this model; nothing is sampled."""
        section, schedule, spec = self.recipe.sample, self.context.process.schedule, self.context.spec
        if section.output is not None:
            section.output.build(spec=spec, loop=section.loop)
        sampler = self._sampler(self.recipe, (self.recipe.sampler.build(), section.timesteps.build()))
        sampler.batch(self._request(self.recipe), range(section.count))
        sampler.sampler.plan(schedule, sampler.levels)
        with torch.no_grad():
            for part in sampler.guidances(self._auxiliary.denoiser):
                part.begin(SamplingRun(KeyedNoise(0, [0], spec.latent)))

    def _sampler(self, recipe: Recipe, method: Method) -> RequestSampler:
        return RequestSampler(self.context, recipe, method, self._auxiliary, self.observer, self.ranks)

    def _method(self, recipe: Recipe) -> Method:
        """The sampler and its timesteps.

        A calibrated plan is used if there is one for this number of steps and this guidance, and the sampler and the
        timestep spacing are those of the recorded recipe.
        """
        section, recorded, plan = recipe.sample, self.recorded, self.plans.get(recipe.sample.steps)
        same = recipe.sampler == recorded.sampler and section.timesteps == recorded.sample.timesteps
        if (
            section.calibrated
            and same
            and plan is not None
            and plan.get("guidance") == to_plain_values(section.guidance)
        ):
            stored = StoredPlanSampler(plan_from_json(plan["rows"]))
            return stored, stored.ends
        return recipe.sampler.build(), section.timesteps.build()

    def _edit_context(self, changes: dict[str, Any], **defaults: Any) -> EditContext:
        """The context of an edit. Calibrated plans are not used: they can start at the highest noise level only.

        The recipe's prompts, labels and other conditions are those of its samples, and say nothing of a file.

        Args:
            changes: Keys of the `sample` section.
            **defaults: Keys that differ from the recipe for this edit, unless the user changed them.
        """
        changed = self._changed(changes)
        refuse_without_effect(self._changed(changes), NO_EFFECT_ON_FILES)
        if "calibrated" in changed and bool(changes.get("calibrated", self.recipe.sample.calibrated)):
            raise BadInput(
                "calibrated=true has no effect on an edit: a calibrated plan starts at pure noise; leave it out"
            )
        defaults = {name: value for name, value in defaults.items() if name not in changed}
        undescribed = {name: none for name, none in OF_SAMPLES.items() if name not in changed}
        given = self.changed_conditions | changed_conditions(changes.items())
        undescribed |= {f"conditions.{name}": None for name in self.recipe.sample.conditions if name not in given}
        requested = {"calibrated": False, "count": 1, **undescribed, **defaults, **changes}
        self._move(requested)
        recipe = self.recipe_with(requested)
        latents = self._sampler(recipe, self._method(recipe)).latents
        return EditContext(self.context, recipe, "label" in changed | given, latents)

    def _class_morph(self, a: str, b: str, count: int, changes: dict[str, Any]) -> tuple[Recipe, SampleRequest]:
        """Request samples with the same initial noise and length, whose labels are mixtures of two classes."""
        refuse_without_effect(self._changed(changes), NO_EFFECT_ON_CLASSES)
        requested = {**changes, "count": count, "label": [a, b]}
        self._move(requested)
        recipe, spec = self.recipe_with(requested), self.context.spec
        request = self.request(recipe)
        if spec.rate is not None and recipe.sample.seconds is None and self.context.clip_lengths:
            seconds = (spec.length_of(request.sizes[0]) or 0) / spec.rate
            recipe = self.recipe_with({**requested, "seconds": seconds})
            request = self.request(recipe)
        return recipe, class_morph_request(request, self.model, a, b)

    def _move(self, changes: dict[str, Any]) -> None:
        """Move the model to `changes["device"]` if given, and remove the key."""
        if "device" in changes:
            self.to(changes.pop("device"))

    def _changed(self, changes: Mapping[str, Any]) -> frozenset[str]:
        """Keys of the `sample` section that the user changed: when the checkpoint was loaded, or in this call."""
        return self.changed_keys | {upgrade_key_name("sample", key) for key in changes}


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The `sample` section without the keys that samples.json has elsewhere."""
    settings = dict(recipe.resolved()["sample"])
    for key in ("label", "prompt", "conditions", "seed", "count", "device"):
        settings.pop(key, None)
    if settings["negative"] is None:
        del settings["negative"]
    return settings
