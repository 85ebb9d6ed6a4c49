"""Conversion of a plan to plain numbers and back, as a checkpoint stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..samplers.base import Plan, Row, Sampler
from ..samplers.plan import with_last_uses
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel


def to_plain(plan: Plan) -> list[dict[str, Any]]:
    """The rows as lists and numbers that JSON can store.

    Raises:
        BadInput: The plan draws noise.
    """
    if plan.noises:
        raise BadInput("a plan that draws noise cannot be stored: calibrate a deterministic sampler")
    return [
        {
            "level": [float(v) for v in (row.level.t, row.level.alpha, row.level.sigma)],
            "x": [[j, float(c)] for j, c in row.x.items()],
            "D": [[j, float(c)] for j, c in row.d.items()],
            "evaluate": row.evaluate,
            "step": row.step,
        }
        for row in plan.rows
    ]


def from_plain(rows: Sequence[Mapping[str, Any]]) -> Plan:
    """Inverse of `to_plain`.

    Raises:
        BadInput: The rows are not a valid plan.
    """
    try:
        plan = [
            Row(
                NoiseLevel(*(float(v) for v in row["level"])),
                {int(j): float(c) for j, c in row["x"]},
                {int(j): float(c) for j, c in row["D"]},
                evaluate=bool(row["evaluate"]),
                step=bool(row["step"]),
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"the stored plan is not valid ({error}): calibrate again") from None
    evaluated = {i for i, row in enumerate(plan) if row.evaluate}
    for i, row in enumerate(plan):
        if any(j >= i for j in (*row.x, *row.d)) or not set(row.d) <= evaluated:
            raise BadInput(f"row {i} of the stored plan uses a state or estimate that does not exist: calibrate again")
    return with_last_uses(plan)


class StoredPlan(Sampler):
    """A stored plan as a sampler, with the levels of the plan.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: Plan):
        self.stored = plan

    @property
    def ends(self) -> list[NoiseLevel]:
        """The first and the last level of the plan."""
        return [self.stored.rows[0].level, self.stored.rows[-1].level]

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The stored plan, for any `levels`."""
        return self.stored
