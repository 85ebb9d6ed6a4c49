"""A cache of plans: the same sampler, schedule and levels give the same plan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from threading import Lock
from types import FunctionType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..schedulers.base import Schedule
from ..types import NoiseLevel, Number
from .plan import Plan

CAPACITY = 32  # plans; one of 1000 steps takes about a megabyte

_plans: OrderedDict[Hashable, Plan] = OrderedDict()
_lock = Lock()


@runtime_checkable
class HasPlan(Protocol):
    """A sampler: it makes a plan from a schedule and levels, as a pure function of its options."""

    def plan(self, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
        """The rows for these levels."""
        ...


def cached_plan(sampler: HasPlan, schedule: Schedule, levels: Sequence[NoiseLevel]) -> Plan:
    """`sampler.plan(schedule, levels)`, cached where levels are numbers and the options are hashable."""
    try:
        key = (_key(sampler), _key(schedule), tuple(_number(v) for a in levels for v in (a.t, a.alpha, a.sigma)))
        hash(key)
    except TypeError:  # maps, or an option that is not hashable
        return sampler.plan(schedule, levels)
    with _lock:
        if key in _plans:
            _plans.move_to_end(key)
            return _plans[key]
    plan = sampler.plan(schedule, levels)
    with _lock:
        _plans[key] = plan
        while len(_plans) > CAPACITY:
            _plans.popitem(last=False)
    return plan


def _number(value: Number) -> float:
    if isinstance(value, Tensor):
        if value.ndim:
            raise TypeError("maps are not cached")
        return value.item()
    return float(value)


def clear_plan_cache() -> None:
    """Remove every plan from the cache: for tests that change a sampler's code."""
    with _lock:
        _plans.clear()


def _key(value: Any) -> Hashable:
    """A hashable value that is equal for components of the same class and options.

    Raises:
        TypeError: The value is of another type.
    """
    if value is None or isinstance(value, (bool, int, float, str, type, FunctionType)):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(_key(v) for v in value)
    if isinstance(value, Mapping):
        return tuple((k, _key(v)) for k, v in value.items())
    if isinstance(value, Tensor):
        return value.dtype, tuple(value.shape), value.detach().cpu().numpy().tobytes()
    if isinstance(value, torch.dtype):
        return value
    if isinstance(value, (HasPlan, Schedule)):
        return type(value), tuple((name, _key(v)) for name, v in vars(value).items())
    raise TypeError(f"{type(value).__name__} has no hashable options")
