"""A plan as plain numbers and back: what a checkpoint keeps of a calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..samplers.base import Plan, Row, Sampler
from ..samplers.plan import with_last_uses
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel


def to_plain(plan: Plan) -> list[dict[str, Any]]:
    """The rows as lists and numbers that JSON holds; a plan with noise or with levels that are maps is refused."""
    if plan.noises:
        raise BadInput("a plan that draws noise is not stored: calibrate a deterministic sampler")
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
    """The plan of `to_plain`.

    Raises:
        BadInput: If the rows are not such a plan.
    """
    try:
        made = [
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
        raise BadInput(f"a stored plan does not read as one ({error}): calibrate anew") from None
    evaluated = {i for i, row in enumerate(made) if row.evaluate}
    for i, row in enumerate(made):
        if any(j >= i for j in (*row.x, *row.d)) or not set(row.d) <= evaluated:
            raise BadInput(f"row {i} of a stored plan uses a point or an estimate that is not there: calibrate anew")
    return with_last_uses(made)


class Stored(Sampler):
    """A plan that was made before, as a sampler; it asks for its own levels.

    Args:
        plan: The rows.
    """

    def __init__(self, plan: Plan):
        self.stored = plan

    @property
    def ends(self) -> list[NoiseLevel]:
        """The level it starts at and the one it ends at."""
        return [self.stored.rows[0].level, self.stored.rows[-1].level]

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The stored rows, whatever the levels between."""
        return self.stored
