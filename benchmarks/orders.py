"""Prints the measured order of every deterministic sampler, against the exact solution of a Gaussian mixture.

    python benchmarks/orders.py

interior: unequal steps on a fixed interval of lambda, with history from the exact solution; own start: the same with
the method's own first steps; whole: from the schedule's noisiest level to clean data, including alpha = 0 and sigma = 0
where the schedule has them. A number is the order (minus the slope of log error on log steps); the error at the largest
number of steps is in brackets.
"""

from __future__ import annotations

import sys

from sonolux.core.config import registry
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.orders import MeasuredOrder, interior_order, own_start_order, whole_range_order

SCHEDULES = {
    "vp_linear": VPLinear(),
    "edm": EDM(),
    "rectified_flow": RectifiedFlow(),
    "zero terminal": Discrete(zero_terminal=True),
}
STEPS = (24, 48, 96)


def shown(order: MeasuredOrder) -> str:
    """The slope, and the error at the largest number of steps."""
    return f"{order.slope:5.2f} ({order.errors[-1]:.0e})"


def main() -> int:
    """Print the table; 1 if a sampler's order is wrong by more than 0.2 or an error is not finite."""
    missed = 0
    worst = 0.0
    print(f"order from {STEPS[0]} to {STEPS[-1]} steps: slope of log error (error at {STEPS[-1]} steps)\n")
    print(f"{'sampler':14}{'stated':>7}  {'schedule':16}{'interior':>15}{'own start':>15}{'whole':>15}")
    for name in registry.builtin_files("sampler"):
        sampler = registry.find_class("sampler", name)()
        if sampler.order is None:
            continue
        for title, schedule in SCHEDULES.items():
            orders = [f(sampler, schedule, STEPS) for f in (interior_order, own_start_order, whole_range_order)]
            wrong = abs(orders[0].slope - sampler.order) > 0.2 or not all(o.is_finite for o in orders)
            missed += wrong
            worst = max(worst, abs(orders[0].slope - sampler.order))
            columns = "".join(f"{shown(o):>15}" for o in orders)
            print(f"{name:14}{sampler.order:7}  {title:16}{columns}{'  WRONG' if wrong else ''}")
    print(f"\nlargest difference between an interior order and the stated order: {worst:.2f}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
