"""`Pipeline`: a loaded checkpoint. `sample` generates new media; `vary`, `inpaint`, `restore`, ... edit files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..codecs.base import Codec
from ..config.legacy import upgrade_key_name
from ..config.load import load_options
from ..config.overrides import changed_conditions
from ..config.recipe import Recipe
from ..config.spec import to_plain_values
from ..few_step.problem import CalibrationBatch, CalibrationProblem
from ..few_step.stored_plans import StoredPlanSampler, plan_from_json
from ..guidance.base import SamplingRun
from ..nn.model import ConditionedNetwork
from ..training.build import ModelComponents
from ..types import BadInput
from ..util.messages import escape_control_characters, format_count, format_names
from ..util.notes import hold_notes, issue_note
from ..util.rng import KeyedNoise
from .auxiliary import AuxiliaryModelLoader
from .conditions import SampleConditions, per_sample_conditions
from .context import ModelContext
from .edit.context import EditContext
from .edit.inpaint import extend_request, inpaint_request, name_longest_addition
from .edit.morph import are_class_names, class_morph_request, morph_request
from .edit.options import (
    ExtendOptions,
    InpaintOptions,
    MorphOptions,
    RecoverOptions,
    RepromptOptions,
    RestoreOptions,
    VaryOptions,
)
from .edit.recover import recover_request
from .edit.region import Span
from .edit.reprompt import check_reprompt_keys, reprompt_request
from .edit.restore import restore_request
from .edit.source import Files
from .edit.vary import vary_request
from .examples import check_references
from .lengths import check_request_memory, choose_lengths, choose_size
from .observer import SamplingObserver
from .request import SampleRequest
from .result import Samples
from .sample import Method, RequestSampler

_COUNT = "sample.count has no effect on an edit: give count=N, the number of results"
NO_EFFECT_ON_FILES = {
    "size": "size has no effect on an edit of files: a result has the size of its file; leave it out",
    "count": _COUNT,
}
NO_EFFECT_ON_CLASSES = {"label": "label has no effect on a morph of classes: its ends are the labels", "count": _COUNT}
"""Keys of the `sample` section that edits of files, or between classes, do not use -> the message."""

_OF_SAMPLES = {"label": None, "prompt": None}
"""What a recipe says of its samples, but not of a file -> the value that says nothing."""

TRAJECTORY = 4  # default number of samples whose denoising trajectory is recorded


class Pipeline:
    """A loaded checkpoint.

    In addition to its own arguments, every method takes the keys of the recipe's `sample` section (steps, seed,
    guidance, loop, windows, ...). Edits read files as training does, and write results at the original level of the
    file. In edits `seconds` selects the beginning of a file. The class of a file is `label`, or the name of its folder.

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
    """

    def __init__(self, parts: ModelComponents, model: ConditionedNetwork, step: int, device: torch.device):
        self.context, self.step = ModelContext.of(parts, model, device), step
        self.recipe: Recipe = parts.recipe
        self.recorded = self.recipe
        self.changed_keys: frozenset[str] = frozenset()
        self.changed_conditions: frozenset[str] = frozenset()
        self.plans: dict[int, dict[str, Any]] = {}
        self.observer: SamplingObserver | None = None
        self._auxiliary = AuxiliaryModelLoader(self.context)

    def __repr__(self) -> str:
        facts = [self.recipe.modality.use, f"step {self.step}", f"on {self.device}"]
        facts += [f"classes {format_names(self.classes)}"] * bool(self.classes)
        facts += [f"conditions {format_names([*self.model.conditions])}"] * bool(len(self.model.conditions))
        return escape_control_characters(f"<Pipeline of {self.recipe.name}: {', '.join(facts)}>")

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

    def to(self, device: str | torch.device) -> Pipeline:
        """Move the model to a device ("auto" chooses one)."""
        self.context.to(device)
        return self

    # --- sampling and editing -----------------------------------------------------------------------------------------

    def sample(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        trajectory: bool | int = False,
        progress: bool = False,
        **changes: Any,
    ) -> Samples:
        """Generate new media.

        Args:
            prompt: Text for a model with a text condition, or several, which are repeated over the samples; without
                `count`, there is at least one sample for each.
            trajectory: Record the denoising trajectory of the first samples of the first batch: True for 4 samples, or
                their number.
            progress: Show a progress bar.
            **changes: Keys of the recipe's `sample` section:
                label: a class name or index, a list of them, "cycle", or None: unconditional;
                negative: text that guidance moves away from;
                count: number of samples;
                seed: sample i of a seed is the same for any count and batch size;
                seconds: length of each sample along time, or a list that is cycled;
                size: size along the other axes;
                use, timesteps, steps, guidance, batch, conditions, precision: as in a recipe; a component is given by
                its name or as a mapping;
                output: how `save` post-processes and writes the samples; `media` is not changed by it;
                device: moves the model first.

        Raises:
            BadInput: A label or key does not exist.
        """
        self._move(changes)
        if prompt is not None:
            changes["prompt"] = prompt
        recipe = self.recipe_with(changes)
        prompts = recipe.sample.prompt
        if isinstance(prompts, list) and "count" not in self._changed(changes):
            recipe = self.recipe_with({**changes, "count": max(recipe.sample.count, len(prompts))})
        self._refuse_unused(recipe, self._changed(changes), recipe.sample.count)
        return self.generate(recipe, self.request(recipe), trajectory, progress)

    def vary(
        self, files: Files, strength: float = 0.5, count: int = 1, progress: bool = False, **changes: Any
    ) -> Samples:
        """Generate variations of files: noise is added, then the usual sampling follows (SDEdit).

        Args:
            files: One file or several.
            strength: 0: the file as the codec reconstructs it; 1: samples that do not depend on the file.
            count: Number of variations per file; variation i of every file uses the noise of sample i of the seed.
            progress: Show a progress bar.
            **changes: Keys of the recipe's `sample` section.

        Raises:
            BadInput: A file cannot be read, or a key does not exist.
        """
        options = load_options(VaryOptions, [("strength", strength), ("count", count)])
        context = self._edit_context(changes)
        with hold_notes():
            request = vary_request(context, files, options)
        self._refuse_unused(context.recipe, self._changed(changes), len(request))
        return self.generate(context.recipe, request, progress=progress)

    def inpaint(
        self,
        files: Files,
        spans: Sequence[Span] = (),
        box: Sequence[int] | None = None,
        mask: str | Path | None = None,
        count: int = 1,
        resample: int | None = None,
        jump: int = 4,
        trained: bool | None = None,
        reference: str | None = None,
        progress: bool = False,
        **changes: Any,
    ) -> Samples:
        """Regenerate a part of each file; the rest is returned unchanged.

        Args:
            files: One file or several.
            spans: Parts along time, each (from, to) in seconds.
            box: Part along the two other axes, [left, top, right, bottom] in elements.
            mask: A file that is positive (white) in the part.
            count: Number of results per file.
            resample: How often each segment of `jump` steps is run, see `edit.options.KnownPartOptions`.
            jump: Number of steps in a segment.
            trained: Whether the network receives the known part; None: if it was trained with one.
            reference: Name of the condition that receives it; None: the only one.
            progress: Show a progress bar.
            **changes: Keys of the recipe's `sample` section.
        """
        given = {"spans": spans, "box": box, "mask": mask, "count": count}
        given |= {"resample": resample, "jump": jump, "trained": trained, "reference": reference}
        options = load_options(InpaintOptions, list(given.items()))
        context = self._edit_context(changes)
        with hold_notes():
            request = inpaint_request(context, files, options)
        self._refuse_unused(context.recipe, self._changed(changes), len(request))
        return self.generate(context.recipe, request, progress=progress)

    def extend(
        self,
        files: Files,
        seconds: float = 1.0,
        count: int = 1,
        resample: int | None = None,
        jump: int = 4,
        trained: bool | None = None,
        reference: str | None = None,
        progress: bool = False,
        **changes: Any,
    ) -> Samples:
        """Continue each file after its end; the file itself is returned unchanged.

        Args:
            files: One file or several.
            seconds: Length that is added along time.
            count: Number of results per file.
            resample: How often each segment of `jump` steps is run, see `edit.options.KnownPartOptions`.
            jump: Number of steps in a segment.
            trained: Whether the network receives the known part; None: if it was trained with one.
            reference: Name of the condition that receives it; None: the only one.
            progress: Show a progress bar.
            **changes: Keys of the recipe's `sample` section.
        """
        given = {"seconds": seconds, "count": count, "resample": resample, "jump": jump}
        given |= {"trained": trained, "reference": reference}
        options = load_options(ExtendOptions, list(given.items()))
        context = self._edit_context(changes)
        with hold_notes():
            request = extend_request(context, files, options)
        self._refuse_unused(context.recipe, self._changed(changes), len(request))
        with name_longest_addition(request):
            return self.generate(context.recipe, request, progress=progress)

    def restore(
        self, files: Files, count: int = 1, reference: str | None = None, progress: bool = False, **changes: Any
    ) -> Samples:
        """Restore degraded files, with a network that was trained on such files (condition `reference`).

        Args:
            files: One file or several.
            count: Number of results per file.
            reference: Name of the condition that receives the file; None: the only one.
            progress: Show a progress bar.
            **changes: Keys of the recipe's `sample` section.

        Raises:
            BadInput: The network was not trained to restore files, a file cannot be read, or a key does not exist.
        """
        options = load_options(RestoreOptions, [("count", count), ("reference", reference)])
        context = self._edit_context(changes)
        with hold_notes():
            request = restore_request(context, files, options)
        self._refuse_unused(context.recipe, self._changed(changes), len(request))
        return self.generate(context.recipe, request, progress=progress)

    def morph(self, a: str | Path, b: str | Path, count: int = 5, progress: bool = False, **changes: Any) -> Samples:
        """Interpolate between two files or two classes, both ends included.

        Args:
            a: A file or the name of a class. Files are inverted to noise by the probability-flow ODE, and samples start
                from the spherical interpolation of the two noises, with Heun's method and no guidance instead of the
                recipe's, unless `use` or `guidance` is given.
                With classes, all samples start from the same noise, and the labels are mixtures of the two.
            b: The other end, of the same kind.
            count: Number of samples.
            progress: Show a progress bar.
            **changes: Keys of the recipe's `sample` section.
        """
        count = load_options(MorphOptions, [("count", count)]).count
        if are_class_names(a, b, self.classes):
            recipe, request = self._class_morph(str(a), str(b), count, changes)
            return self.generate(recipe, request, progress=progress)
        check_references(self.model)
        context = self._edit_context(changes, use="heun", guidance=None)
        section = context.recipe.sample
        self._refuse_unused(context.recipe, self._changed(changes), 2, "both ends")
        labels = [row.get("label") for row in per_sample_conditions(self.model, section, 2)]
        with hold_notes():
            request = morph_request(context, a, b, labels, count)
            self._note_replaced(context.recipe, self._changed(changes))
        return self.generate(context.recipe, request, progress=progress)

    def reprompt(
        self,
        files: Files,
        prompt: str | None = None,
        source: str | None = None,
        strength: float = 0.8,
        progress: bool = False,
        **changes: Any,
    ) -> Samples:
        """Change the prompt or the class of files: exact inversion to noise, then sampling under the new one.

        Inversion has no guidance. Sampling without guidance under the prompt `source` returns the file as the codec
        reconstructs it, with an error of rounding only.

        Args:
            files: One file or several.
            prompt: The new prompt; for a run with classes give `label` instead.
            source: Prompt or class of the files as they are; None: the name of the file's folder if it is a class.
            strength: Inversion ends at the noise level tau = strength tau_max; smaller values keep more of the file.
            progress: Show a progress bar.
            **changes: Keys of the recipe's `sample` section. The sampler is `belm`; timesteps are `quadratic_tau` and
                steps are 50, unless these are given.
        """
        options = load_options(RepromptOptions, [("source", source), ("strength", strength)])
        changes |= {} if prompt is None else {"prompt": prompt}
        check_reprompt_keys(self._changed(changes))
        context = self._edit_context(changes, use="belm", timesteps="quadratic_tau", steps=50)
        unguided = self._edit_context({**changes, "guidance": None}, use="belm", timesteps="quadratic_tau", steps=50)
        with hold_notes():
            request = reprompt_request(context, files, options, invert=unguided.latents)
        self._refuse_unused(context.recipe, self._changed(changes), len(request))
        return self.generate(context.recipe, request, progress=progress)

    def recover(
        self,
        files: Files,
        operator: str | Mapping[str, Any] | None,
        noise: float = 0.02,
        method: str = "mmps",
        degrade: bool = False,
        count: int = 1,
        progress: bool = False,
        **changes: Any,
    ) -> Samples:
        """Recover degraded files: media that agree with a measurement of the file, y = A x + noise.

        Args:
            files: One file or several, of one size; degraded by the operator, or clean.
            operator: A, by its name ("downsample") or with options ({"use": "low_pass", "cutoff": 2000}).
            noise: Standard deviation of the noise of y; media have full scale 1.
            method: Approximation of the posterior: mmps, pigdm or dps.
            degrade: Whether noise is added to the measurement of the file.
            count: Number of results per file.
            progress: Show a progress bar.
            **changes: Keys of the recipe's `sample` section.
        """
        given = {"operator": operator, "noise": noise, "method": method, "degrade": degrade, "count": count}
        options = load_options(RecoverOptions, list(given.items()))
        context = self._edit_context(changes)
        with hold_notes():
            request = recover_request(context, files, options)
        self._refuse_unused(context.recipe, self._changed(changes), len(request))
        return self.generate(context.recipe, request, progress=progress)

    # --- from a recipe to samples -------------------------------------------------------------------------------------

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
        """Generate the samples of a request with the settings of the recipe's `sample` section."""
        check_references(self.model, request.references)
        section, spec, method = recipe.sample, self.context.spec, self._method(recipe)
        recorded = TRAJECTORY if trajectory is True else int(trajectory)
        media, nfe, frames = self._sampler(recipe, method).samples(request, recorded, progress)
        settings = {"seed": recipe.sample_seed, "step": self.step, "recipe": recipe.name, **request.facts}
        settings |= {**_settings(recipe), "calibrated": isinstance(method[0], StoredPlanSampler)}
        output = None if section.output is None else section.output.build(spec=spec, loop=section.loop)
        return Samples(
            media, request.conditions, settings, self.components.modality, frames, nfe, output, request.before()
        )

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
        return RequestSampler(self.context, recipe, method, self._auxiliary, self.observer)

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
        self._refuse_without_effect(changes, NO_EFFECT_ON_FILES)
        if "calibrated" in changed and bool(changes.get("calibrated", self.recipe.sample.calibrated)):
            raise BadInput(
                "calibrated=true has no effect on an edit: a calibrated plan starts at pure noise; leave it out"
            )
        defaults = {name: value for name, value in defaults.items() if name not in changed}
        undescribed = {name: none for name, none in _OF_SAMPLES.items() if name not in changed}
        given = self.changed_conditions | changed_conditions(changes.items())
        undescribed |= {f"conditions.{name}": None for name in self.recipe.sample.conditions if name not in given}
        requested = {"calibrated": False, "count": 1, **undescribed, **defaults, **changes}
        self._move(requested)
        recipe = self.recipe_with(requested)
        latents = self._sampler(recipe, self._method(recipe)).latents
        return EditContext(self.context, recipe, "label" in changed | given, latents)

    def _note_replaced(self, recipe: Recipe, changed: Collection[str]) -> None:
        """Note which of the recipe's sampler and guidance a morph of files replaces by its defaults, if any."""
        own, used = (
            {"use": r.sampler.use, "guidance": "guidance" if r.sample.guidance else "no guidance"}
            for r in (self.recipe, recipe)
        )
        replaced = [key for key in own if own[key] != used[key] and key not in changed]
        if replaced:
            before, now = (" and ".join(names[key] for key in replaced) for names in (own, used))
            remedy = " or ".join(f"{key}=..." for key in replaced)
            issue_note(
                f"a morph of files takes {now} instead of the recipe's {before}, since it solves an ODE in both "
                f"directions: {remedy} takes another",
                stacklevel=4,
            )

    def _class_morph(self, a: str, b: str, count: int, changes: dict[str, Any]) -> tuple[Recipe, SampleRequest]:
        """Request samples with the same initial noise and length, whose labels are mixtures of two classes."""
        self._refuse_without_effect(changes, NO_EFFECT_ON_CLASSES)
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

    @staticmethod
    def _refuse_unused(recipe: Recipe, changed: Collection[str], count: int, noun: str = "") -> None:
        """Raise BadInput if a list among the changed keys has more values than there are samples."""
        s = recipe.sample
        listed = {
            "label": s.label,
            "prompt": s.prompt,
            "seconds": s.seconds,
            **{f"conditions.{k}": v for k, v in s.conditions.items()},
        }
        for key, values in listed.items():
            if isinstance(values, (list, tuple)) and len(values) > count and key.split(".")[0] in changed:
                remedy = "give one for each" if noun else f"set count={len(values)}"
                raise BadInput(
                    f"sample.{key} lists {len(values)} values, and {noun or format_count(count, 'sample')} cannot use "
                    f"them all: {remedy}"
                )

    def _refuse_without_effect(self, changes: Mapping[str, Any], unused: Mapping[str, str]) -> None:
        """Raise BadInput if the user changed a key that an edit does not use: key -> why, and what to do instead."""
        for key, reason in unused.items():
            if key in self._changed(changes):
                raise BadInput(reason)


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The `sample` section without the keys that samples.json has elsewhere."""
    settings = dict(recipe.resolved()["sample"])
    for key in ("label", "prompt", "conditions", "seed", "count", "device"):
        settings.pop(key, None)
    if settings["negative"] is None:
        del settings["negative"]
    return settings
