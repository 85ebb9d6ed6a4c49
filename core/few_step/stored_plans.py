"""Conversion of a plan to plain numbers and back, as a checkpoint stores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, Strict, TypeAdapter, ValidationError

from ..samplers.base import Plan, PlanRow, Sampler
from ..samplers.plan import plan_from_rows
from ..schedulers.base import Schedule
from ..types import BadInput, NoiseLevel
from ..util.json_files import StoredRecord, first_validation_error

_Number = Annotated[float, Field(allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Term = Annotated[tuple[Annotated[int, Field(ge=0)], _Number], Strict(False)]


def plan_to_json(plan: Plan) -> list[dict[str, Any]]:
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


class StoredSamplerPlanRow(StoredRecord):
    """A row of a sampler's plan as `plan_to_json` writes it."""

    level: Annotated[tuple[_Number, _NotNegative, _NotNegative], Strict(False)]  # JSON has lists but no tuples
    x: list[_Term]
    D: list[_Term]
    evaluate: bool
    step: bool

    def row(self) -> PlanRow:
        """The row of the plan."""
        return PlanRow(NoiseLevel(*self.level), dict(self.x), dict(self.D), evaluate=self.evaluate, step=self.step)


_ROWS = TypeAdapter(Annotated[list[StoredSamplerPlanRow], Field(min_length=2, max_length=10_000)])


def plan_from_json(rows: Any) -> Plan:
    """Inverse of `plan_to_json`.

    Raises:
        BadInput: The rows are not a valid plan.
    """
    try:
        plan = [row.row() for row in _ROWS.validate_python(rows)]
    except ValidationError as error:
        raise BadInput(f"the stored plan is not valid ({first_validation_error(error)}): calibrate again") from None
    evaluated = {i for i, row in enumerate(plan) if row.evaluate}
    for i, row in enumerate(plan):
        if any(j >= i for j in (*row.x, *row.d)) or not set(row.d) <= evaluated:
            raise BadInput(f"row {i} of the stored plan uses a state or estimate that does not exist: calibrate again")
        if not row.level.alpha and not row.level.sigma:
            raise BadInput(f"row {i} of the stored plan has alpha and sigma of 0: calibrate again")
    return plan_from_rows(plan)


def check_stored_plan(nfe: int, plan: Mapping[str, Any]) -> None:
    """Raise BadInput if a plan of a checkpoint is not a valid one of this number of evaluations."""
    found = plan_from_json(plan.get("rows")).nfe
    if found != nfe:
        raise BadInput(f"the stored plan of {nfe} evaluations has {found}: calibrate again")


class StoredPlanSampler(Sampler):
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
