"""`Pipeline`: a loaded checkpoint. `sample` generates new media; `vary`, `inpaint`, `restore`, ... edit files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.load import load_options
from ..util.notes import hold_notes
from .changed_keys import note_replaced_settings, refuse_unused_values
from .conditions import per_sample_conditions
from .edit.inpaint import extend_request, inpaint_request, name_longest_addition
from .edit.morph import are_class_names, morph_request
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
from .loaded_model import LoadedModel
from .result import Samples


class Pipeline(LoadedModel):
    """A loaded checkpoint.

    In addition to its own arguments, every method takes the keys of the recipe's `sample` section (steps, seed,
    guidance, loop, windows, ...). Edits read files as training does, and write results at the original level of the
    file. In edits `seconds` selects the beginning of a file. The class of a file is `label`, or the name of its folder.

    The constructor's parameters and the attributes are those of `LoadedModel`.
    """

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
        refuse_unused_values(recipe, self._changed(changes), recipe.sample.count)
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
        refuse_unused_values(context.recipe, self._changed(changes), len(request))
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
        refuse_unused_values(context.recipe, self._changed(changes), len(request))
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
        refuse_unused_values(context.recipe, self._changed(changes), len(request))
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
        refuse_unused_values(context.recipe, self._changed(changes), len(request))
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
        refuse_unused_values(context.recipe, self._changed(changes), 2, "both ends")
        labels = [row.get("label") for row in per_sample_conditions(self.model, section, 2)]
        with hold_notes():
            request = morph_request(context, a, b, labels, count)
            note_replaced_settings(self.recipe, context.recipe, self._changed(changes))
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
        refuse_unused_values(context.recipe, self._changed(changes), len(request))
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
        refuse_unused_values(context.recipe, self._changed(changes), len(request))
        return self.generate(context.recipe, request, progress=progress)
