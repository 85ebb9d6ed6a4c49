"""Several conditions, each with its own scale: composed (Liu et al. 2022, arXiv:2206.01714, conjunction) or nested
(Brooks et al. 2023, "InstructPix2Pix", arXiv:2211.09800, eq. 3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from torch import Tensor

from ..types import BadInput, Estimate, NoiseLevel
from .base import ALWAYS, Branch, Guidance, GuidanceInputs, checked_window, known_names


class Several(Guidance):
    """Several conditions with a scale each, N + 1 rows of one batch for N conditions.

    composed: x0 = D() + sum_i s_i (D(i) - D()); each told alone, as if they were independent
    nested:   x0 = D() + s_1 (D(1) - D()) + s_2 (D(1, 2) - D(1)) + ...; all scales 1 is no guidance

    D(...) is the estimate told these of the conditions in `scales`; the others are always told. A row whose coefficient
    is 0 is not computed. A list of cfg with `conditions` is the third way: each pushes away from "all but this one".

    scales: condition's name -> scale; where nested, in the order in which they are told
    form:   composed, or nested: for conditions that refine each other
    window: lowest and highest noise level, as tau = sigma / (alpha + sigma), at which it acts
    """

    starts = True

    def __init__(
        self,
        scales: dict[str, float],
        form: Literal["composed", "nested"] = "composed",
        window: tuple[float, float] = ALWAYS,
    ):
        if not scales:
            raise BadInput("composed needs a scale for each condition it strengthens, such as {label: 2.0}")
        if form not in ("composed", "nested"):
            raise BadInput(f"composed's form is composed or nested, not {form!r}")
        self.scales, self.form, self.window = dict(scales), form, checked_window(window, "composed")
        rows = self._composed() if form == "composed" else self._nested()
        self.rows = {want: c for want, c in rows.items() if c != 0}

    def _composed(self) -> dict[Branch, float]:
        """want -> coefficient: 1 - sum_i s_i on D(), s_i on D(i)."""
        names = tuple(self.scales)
        alone = {Branch(tuple(n for n in names if n != name)): s for name, s in self.scales.items()}
        return {Branch(names): 1 - sum(self.scales.values()), **alone}

    def _nested(self) -> dict[Branch, float]:
        """want -> coefficient: s_i - s_{i + 1} on D(1, ..., i), with s_0 = 1 and s_{N + 1} = 0."""
        names, s = tuple(self.scales), [1.0, *self.scales.values(), 0.0]
        return {Branch(names[i:]): s[i] - s[i + 1] for i in range(len(names) + 1)}

    def check(self, conditions: Collection[str]) -> None:
        """Raise BadInput, with the valid names, where a condition is named that is not there."""
        super().check(conditions)
        known_names(list(self.scales), conditions, "composed")

    def wants(self, level: NoiseLevel) -> Sequence[Branch]:
        return tuple(self.rows)

    def combine(self, at: GuidanceInputs) -> Estimate:
        x0: Tensor | float = 0.0
        for want, c in self.rows.items():
            x0 = x0 + c * at.estimates[want]
        assert isinstance(x0, Tensor)
        return Estimate(x0)
