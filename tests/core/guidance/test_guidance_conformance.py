"""Every guidance through the kit that plugins run, and faults that the kit must catch."""

import pytest
from sonolux.core.config import registry
from sonolux.core.guidance import base
from sonolux.core.guidance.apg import APG
from sonolux.core.guidance.base import Guidance
from sonolux.core.guidance.cfg import CFG
from sonolux.core.guidance.cfg_zero import CFGZero
from sonolux.core.guidance.cfgpp import CFGpp
from sonolux.core.guidance.dynamic_threshold import DynamicThreshold
from sonolux.core.guidance.rescale import Rescale
from sonolux.core.testing.conformance import check_guidance
from sonolux.core.testing.guided import Probe
from sonolux.core.testing.planted import plant
from sonolux.core.types import Estimate

# What a constructor's defaults do not give: settings at which it acts, settings at which it changes nothing (None: it
# has none), and whether it only shapes what stands before it.
ACTS = {
    "composed": {"scales": {"a": 2.0, "b": 1.5}},
    "autoguidance": {"denoiser": Probe(0.3)},
    "apg": {"threshold": 0.2},
}
RESTS = {"composed": None, "cfgpp": None, "rescale": {"phi": 0.0}, "dynamic_threshold": {"limit": 1e3}}
SHAPES = {"rescale", "dynamic_threshold"}


def check(name, cls, **options):
    acts, rests = {**ACTS.get(name, {}), **options}, RESTS.get(name, {"scale": 1.0})
    identity = None if rests is None else cls(**{**acts, **rests})
    check_guidance(lambda window: cls(**acts, window=window), identity, [CFG(4.0)] if name in SHAPES else [])


@pytest.mark.parametrize("name", registry.builtins("guidance"))
def test_conformance(name):
    check(name, registry.find("guidance", name))


def test_other_settings():
    check("cfg", CFG, conditions=["b"])
    check("apg", APG, momentum=0.0, eta=0.5)
    check("apg", APG, momentum=0.7)
    check("cfg_zero", CFGZero, rest=None)
    check("dynamic_threshold", DynamicThreshold, limit=0.5)
    nested = registry.find("guidance", "composed")
    scales = {"a": 3.0, "b": 2.0}
    identity = nested({"a": 1.0, "b": 1.0}, "nested")
    check_guidance(lambda window: nested(scales, "nested", window), identity)


PLANTED = [
    (APG, "apg", "return copy.copy(self)", "return self", base),  # the momentum outlives its run
    (APG, "apg", "torch.where(at.counts > 0, push, before)", "push", None),
    (APG, "apg", "at.mean(push * push)", "(push * push).mean()", None),
    (CFG, "cfg", "lo - EDGE <= tau <= hi + EDGE", "not lo - EDGE <= tau <= hi + EDGE", base),
    (CFG, "cfg", "torch.where(inside, made.x0, guided)", "torch.where(inside, guided, made.x0)", base),
    (CFG, "cfg", "rows.setdefault(_dropped(told, want.drop), [])", "rows.setdefault(want.drop or (), [])", base),
    (CFG, "cfg", "torch.cat([x] * n) if n > 1 else x", "x.repeat_interleave(n, 0)", base),
    (CFGZero, "cfg_zero", "tau >= self.rest", "tau <= self.rest", None),
    (CFGpp, "cfgpp", "moves = True", "moves = False", None),
    (CFGpp, "cfgpp", "torch.where(inside, made.x, x)", "made.x", base),
    (Rescale, "rescale", "at.variance(at.guided)", "at.guided.var()", None),
    (DynamicThreshold, "dynamic_threshold", "torch.where(kept, size, -1.0)", "size", None),
]


@pytest.mark.parametrize(("cls", "name", "old", "new", "helper"), PLANTED)
def test_planted_error_is_caught(cls, name, old, new, helper):
    with pytest.raises((AssertionError, RuntimeError)):
        check(name, plant(cls, old, new, helper))


class Forgetful(Guidance):
    """A plugin's guidance that keeps its memory where runs share it."""

    def __init__(self, window=(0.0, 1.0)):
        self.window, self.seen = window, []

    def wants(self, level):
        return ()

    def combine(self, at):
        self.seen.append(at.guided)
        return Estimate(at.guided * (1 + 0.1 * len(self.seen)))


def test_a_plugin_that_leaks_memory_between_runs_is_caught():
    with pytest.raises(AssertionError):
        check_guidance(lambda window: Forgetful(window))
