"""Composed guidance, with one scale for each condition.

Independent conditions: Liu et al. 2022, arXiv:2206.01714, conjunction. Nested conditions: Brooks et al. 2023,
"InstructPix2Pix", arXiv:2211.09800, eq. 3. Negated prompts ("A, not B") have negative scales.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from torch import Tensor

from ..types import BadInput, Estimate, NoiseLevel
from .base import (
    ALWAYS,
    Guidance,
    GuidanceBranch,
    GuidanceInputs,
    OtherConditions,
    SamplingRun,
    check_condition_names,
    parse_window,
)


class Composed(Guidance):
    """Guidance by several conditions or prompts with one scale each; N of them need N + 1 rows in one batch.

    composed: x0 = D() + sum_i s_i (D(i) - D()), for independent conditions, and prompts i of a text condition
    nested:   x0 = D() + s_1 (D(1) - D()) + s_2 (D(1, 2) - D(1)) + ...; all scales 1 is no guidance

    D(...) is the estimate conditioned on the listed conditions of `scales`; conditions that are not in `scales` are
    always given. A branch with coefficient 0 is not computed. A list of cfg with `conditions` is a third form: each
    compares the conditional estimate with the estimate without one condition.

    Args:
        scales: Condition's name -> scale; for the nested form, in the order in which they are added.
        form: composed, or nested: for conditions that refine each other.
        prompts: Prompt -> scale, for the text condition, in the form composed; a negative scale: what samples must not
            contain. They take the place of the samples' own prompts.
        embed_prompt: Embeds a prompt; set by the pipeline.
        window: Lowest and highest noise level, as tau = sigma / (alpha + sigma), at which the guidance is applied.

    Raises:
        BadInput: `scales` and `prompts` are empty, or there is no such form.
    """

    starts = True

    def __init__(
        self,
        scales: dict[str, float] = {},  # noqa: B006 (read, never written: the registry shows it as the default)
        form: Literal["composed", "nested"] = "composed",
        window: tuple[float, float] = ALWAYS,
        prompts: dict[str, float] = {},  # noqa: B006
        embed_prompt: Callable[[str], OtherConditions | None] | None = None,
    ):
        if not scales and not prompts:
            raise BadInput("composed needs a scale for each condition it strengthens, such as {label: 2.0}")
        if prompts and form != "composed":
            raise BadInput("composed combines prompts in the form composed only")
        if form not in ("composed", "nested"):
            raise BadInput(f"composed's form is composed or nested, not {form!r}")
        self.scales, self.form, self.window = dict(scales), form, parse_window(window, "composed")
        self.prompts, self.embed_prompt = dict(prompts), embed_prompt
        coefficients = self._composed({}) if form == "composed" else self._nested()
        self.coefficients = {branch: c for branch, c in coefficients.items() if c != 0}

    def begin(self, run: SamplingRun) -> Guidance:
        """A copy for one sampling run, with the prompts embedded.

        Raises:
            BadInput: The model has no text condition.
        """
        copied = super().begin(run)
        assert isinstance(copied, Composed)
        if self.prompts:
            if self.embed_prompt is None:
                raise BadInput("composed can use `prompts` only if a trained run is sampled")
            found = {prompt: self.embed_prompt(prompt) for prompt in self.prompts}
            others = {prompt: other for prompt, other in found.items() if other is not None}  # empty: adds nothing
            copied.coefficients = {branch: c for branch, c in self._composed(others).items() if c != 0}
        return copied

    def _composed(self, others: Mapping[str, OtherConditions]) -> dict[GuidanceBranch, float]:
        """Branch -> coefficient: 1 - sum_i s_i on D(), s_i on D(i); `others`: prompt -> its embedding."""
        texts = tuple(dict.fromkeys(name for other in others.values() for name in other.values))
        names = tuple(dict.fromkeys((*self.scales, *texts)))
        found = {GuidanceBranch(tuple(n for n in names if n != name)): s for name, s in self.scales.items()}
        for prompt, other in others.items():
            found[GuidanceBranch(tuple(n for n in names if n not in texts), other=other)] = self.prompts[prompt]
        return {GuidanceBranch(names): 1 - sum(found.values()), **found}

    def _nested(self) -> dict[GuidanceBranch, float]:
        """Branch -> coefficient: s_i - s_{i + 1} on D(1, ..., i), with s_0 = 1 and s_{N + 1} = 0."""
        names, s = tuple(self.scales), [1.0, *self.scales.values(), 0.0]
        return {GuidanceBranch(names[i:]): s[i] - s[i + 1] for i in range(len(names) + 1)}

    def check(self, conditions: Collection[str]) -> None:
        """Raise BadInput, with the valid names, if `scales` names an unknown condition."""
        super().check(conditions)
        check_condition_names(list(self.scales), conditions, "composed")

    def branches(self, level: NoiseLevel) -> Sequence[GuidanceBranch]:
        return tuple(self.coefficients)

    def combine(self, inputs: GuidanceInputs) -> Estimate:
        x0: Tensor | float = 0.0
        for branch, c in self.coefficients.items():
            x0 = x0 + c * inputs.estimates[branch]
        assert isinstance(x0, Tensor)
        return Estimate(x0)
