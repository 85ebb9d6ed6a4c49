"""Every guidance through the kit that plugins run, and faults that the kit must catch."""

import ast

import pytest
from sonolux.core.config import registry
from sonolux.core.guidance import dynamic_threshold
from sonolux.core.guidance.apg import APG
from sonolux.core.guidance.base import Guidance, GuidedDenoiser
from sonolux.core.guidance.cfg import CFG
from sonolux.core.guidance.cfg_zero import CFGZero
from sonolux.core.guidance.cfgpp import CFGpp
from sonolux.core.guidance.dynamic_threshold import DynamicThreshold
from sonolux.core.guidance.rescale import Rescale
from sonolux.core.testing.conformance import check_guidance
from sonolux.core.testing.guided import CountingDenoiser
from sonolux.core.testing.mutation import (
    assert_caught,
    call_target,
    negate_expression,
    planted_error,
    replace_expression,
    swap_arguments,
    swap_operator,
)
from sonolux.core.types import Estimate

# What a constructor's defaults do not give: settings at which it acts, settings at which it changes nothing (None: it
# has none), and whether it only shapes what stands before it.
ACTS = {
    "composed": {"scales": {"a": 2.0, "b": 1.5}},
    "autoguidance": {"denoiser": CountingDenoiser(0.3)},
    "apg": {"threshold": 0.2},
}
RESTS = {"composed": None, "cfgpp": None, "rescale": {"phi": 0.0}, "dynamic_threshold": {"limit": 1e3}}
SHAPES = {"rescale", "dynamic_threshold"}


def check(name, cls, **options):
    acts, rests = {**ACTS.get(name, {}), **options}, RESTS.get(name, {"scale": 1.0})
    identity = None if rests is None else cls(**{**acts, **rests})
    check_guidance(lambda window: cls(**acts, window=window), identity, [CFG(4.0)] if name in SHAPES else [])


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.builtin_files("guidance"))
def test_conformance(name):
    check(name, registry.find_class("guidance", name))


@pytest.mark.slow
def test_other_settings():
    check("cfg", CFG, conditions=["b"])
    check("apg", APG, momentum=0.0, eta=0.5)
    check("apg", APG, momentum=0.7)
    check("cfg_zero", CFGZero, rest=None)
    check("dynamic_threshold", DynamicThreshold, limit=0.5)
    nested = registry.find_class("guidance", "composed")
    scales = {"a": 3.0, "b": 2.0}
    identity = nested({"a": 1.0, "b": 1.0}, "nested")
    check_guidance(lambda window: nested(scales, "nested", window), identity)


PLANTED = [
    ("apg", (Guidance, "begin", replace_expression(call_target("copy"), "self"))),  # the momentum outlives its run
    ("apg", (APG, "_with_momentum", replace_expression(call_target("where"), "delta"))),
    ("apg", (APG, "_limited", replace_expression(call_target("mean"), "(delta * delta).mean()"))),
    ("cfg", (Guidance, "inside", negate_expression(ast.LtE, at=-1))),
    ("cfg", (GuidedDenoiser, "denoise", swap_arguments("where", 1, 2))),
    ("cfg", (GuidedDenoiser, "_estimates", replace_expression(call_target("_dropped"), "branch.drop or ()"))),
    ("cfg", (GuidedDenoiser, "_estimates", replace_expression(call_target("cat"), "x.repeat_interleave(n, 0)"))),
    ("cfg_zero", (CFGZero, "combine", swap_operator(ast.GtE, ast.LtE))),
    ("cfgpp", (CFGpp, "moves", False)),
    ("cfgpp", (GuidedDenoiser, "denoise", replace_expression(call_target("where"), "result.x", at=-1))),
    ("rescale", (Rescale, "combine", replace_expression(call_target("variance"), "inputs.guided.var()", at=-1))),
    ("dynamic_threshold", (dynamic_threshold, "_percentile", replace_expression(call_target("where"), "size"))),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "error"), PLANTED)
def test_planted_error_is_caught(name, error):
    with planted_error(*error):
        assert_caught(check, name, registry.find_class("guidance", name), also=RuntimeError)


class Forgetful(Guidance):
    """A plugin's guidance that keeps its memory where runs share it."""

    def __init__(self, window=(0.0, 1.0)):
        self.window, self.seen = window, []

    def branches(self, level):
        return ()

    def combine(self, inputs):
        self.seen.append(inputs.guided)
        return Estimate(inputs.guided * (1 + 0.1 * len(self.seen)))


def test_a_plugin_that_leaks_memory_between_runs_is_caught():
    assert_caught(check_guidance, lambda window: Forgetful(window))
