"""Each guidance against its paper, written in the paper's own variables, on an exact mixture (float64)."""

import ast
import itertools

import pytest
import torch
from sonolux.core.guidance import cfg_zero, dynamic_threshold
from sonolux.core.guidance.apg import APG
from sonolux.core.guidance.autoguidance import Autoguidance
from sonolux.core.guidance.base import GuidanceChain, GuidanceInputs, SamplingRun
from sonolux.core.guidance.cfg import CFG
from sonolux.core.guidance.cfg_zero import CFGZero
from sonolux.core.guidance.cfgpp import CFGpp
from sonolux.core.guidance.composed import Composed
from sonolux.core.guidance.dynamic_threshold import DynamicThreshold
from sonolux.core.guidance.rescale import Rescale
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.euler import Euler
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing.conformance import even_tau_levels
from sonolux.core.testing.mixture import GaussianMixture, example_mixture
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    call_target,
    drop_call,
    keep_left_operand,
    keep_right_operand,
    planted_error,
    replace_expression,
    rewrite_node,
    swap_arguments,
    swap_call,
    swap_operands,
    swap_operator,
    variable_target,
)
from sonolux.core.timesteps.trailing import Trailing
from sonolux.core.types import Conditioning, Estimate, NoiseLevel
from sonolux.core.util.rng import KeyedNoise

MIXTURE, WEAK = example_mixture(), example_mixture(seed=3)
LABELS = torch.tensor([0, 2, 1, 2])
TOLD = MIXTURE.conditions(LABELS)
RUN = SamplingRun(KeyedNoise(0, range(4), (2, 3)))
VALID = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=torch.float64)[:, None]


def points(seed):
    return torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def flow(tau):
    return NoiseLevel(tau, 1 - tau, tau)


def D(x, level, conditions=TOLD):
    return MIXTURE.denoise(x, level, conditions).x0


def made(guidances, x, level, conditions=TOLD, denoiser=MIXTURE):
    return GuidanceChain(guidances).wrap(denoiser, RUN).denoise(x, level, conditions)


def rows(values, valid):
    """Each sample's valid elements as one vector."""
    for row, kept in zip(values, valid.expand_as(values) > 0, strict=True):
        yield row[kept]


# --- rescale ---------------------------------------------------------------------------------------------------------


def check_rescale(cls):
    """Equations 14 to 16, one sample at a time, over valid elements."""
    x, level = points(0), flow(0.6)
    for phi, valid in itertools.product((0.0, 0.7, 1.0), (None, VALID)):
        found = made([CFG(5.0), cls(phi)], x, level, Conditioning(TOLD.vector, TOLD.unconditional, valid)).x0
        pos, neg = D(x, level), D(x, level, None)
        cfg = neg + 5 * (pos - neg)
        kept = torch.ones_like(VALID) if valid is None else valid
        for i, (p, c, f) in enumerate(zip(rows(pos, kept), rows(cfg, kept), rows(found, kept), strict=True)):
            assert torch.allclose(f, phi * c * p.std() / c.std() + (1 - phi) * c, atol=1e-12), f"sample {i}"


# --- CFG++ -----------------------------------------------------------------------------------------------------------


def cfgpp_preserving(x, levels, scale):
    """Algorithm 2 of CFG++ in DDIM's variables: denoise with the guided noise, renoise with the null one."""
    bars = [float(a.alpha**2) for a in levels]
    for now, then in itertools.pairwise(bars):
        level = NoiseLevel(0.0, now**0.5, (1 - now) ** 0.5)
        full, null = ((x - level.alpha * D(x, level, c)) / level.sigma for c in (TOLD, None))
        guided = null + scale * (full - null)
        x0 = (x - level.sigma * guided) / level.alpha
        x = then**0.5 * x0 + (1 - then) ** 0.5 * null
    return x


def cfgpp_exploding(x, levels, scale):
    """The same where x = x0 + sigma eps."""
    for now, then in itertools.pairwise([float(a.sigma) for a in levels]):
        full, null = (D(x, NoiseLevel(now, 1.0, now), c) for c in (TOLD, None))
        x = null + scale * (full - null) + then * (x - null) / now
    return x


def cfgpp_flow(x, levels, scale):
    """The same where x = (1 - t) x0 + t eps, in terms of velocities; from t = 1, where x is the noise."""
    for now, then in itertools.pairwise([float(a.sigma) for a in levels]):
        full, null = (MIXTURE.flow(x, flow(now), c) for c in (TOLD, None))
        x0, noise = x - now * (null + scale * (full - null)), x + (1 - now) * null
        x = (1 - then) * x0 + then * noise
    return x


def check_cfgpp(cls):
    for schedule, paper in ((Discrete(), cfgpp_preserving), (EDM(), cfgpp_exploding), (RectifiedFlow(), cfgpp_flow)):
        levels = Trailing().levels(schedule, 12) if paper is cfgpp_preserving else even_tau_levels(schedule, 12)
        for scale in (0.0, 0.6, 1.0):
            start = float(levels[0].sigma) * points(1)
            found = run_plan(Euler().plan(schedule, levels), cls(scale).wrap(MIXTURE, RUN), start, TOLD)
            assert torch.allclose(found, paper(start, levels, scale), atol=1e-9), f"{paper.__name__} at scale {scale}"


# --- CFG-Zero* -------------------------------------------------------------------------------------------------------


def zero_star(x, tau, scale, level=None):
    """The velocity of algorithm 1, sample by sample; tau a number or a map."""
    level = level or flow(tau)
    full, null = ((x / (level.alpha + level.sigma) - D(x, level, c)) / tau for c in (TOLD, None))
    s = (full * null).flatten(1).sum(1) / null.flatten(1).square().sum(1)
    s = s[:, None, None]
    return (1 - scale) * s * null + scale * full


def check_cfg_zero(cls):
    x, scale = points(2), 3.0
    mapped = torch.linspace(0.2, 0.9, 12, dtype=torch.float64).reshape(4, 1, 3)
    for tau in (0.9, 0.4, torch.tensor([0.9, 0.7, 0.4, 0.1], dtype=torch.float64)[:, None, None], mapped):
        found = made([cls(scale)], x, flow(tau)).x0
        assert torch.allclose((x - found) / tau, zero_star(x, tau, scale), atol=1e-10), "on flow"
    level = NoiseLevel(3.0, 1.0, 3.0)  # another schedule is that flow in x / (alpha + sigma)
    found = made([cls(scale)], x, level).x0
    assert torch.allclose((x / 4 - found) / 0.75, zero_star(x, 0.75, scale, level), atol=1e-10), "on another schedule"
    assert torch.equal(made([cls(scale)], x, flow(1.0)).x0, x), "it rests at pure noise"
    assert torch.equal(made([cls(scale, rest=0.7)], x, flow(0.7)).x0, x), "and from `rest` on"
    stays = run_plan(
        Euler().plan(RectifiedFlow(), [flow(1.0), flow(0.8), flow(0.7)]), cls(rest=0.8).wrap(MIXTURE, RUN), x, TOLD
    )
    assert torch.allclose(stays, x, atol=1e-12), "zero velocity: the sample does not move"


# --- adaptive projected guidance -------------------------------------------------------------------------------------


class Paper:
    """Algorithm 1 of APG for one sample: a running average, a bound on the norm, a projection."""

    def __init__(self, scale, eta, norm, momentum):
        self.scale, self.eta, self.norm, self.momentum, self.average = scale, eta, norm, momentum, 0.0

    def step(self, full, null):
        push = self.average = (full - null) + self.momentum * self.average
        if self.norm is not None and push.norm() > self.norm:
            push = push * self.norm / push.norm()
        unit = full / full.norm()
        parallel = (push @ unit) * unit
        return full + (self.scale - 1) * (push - parallel + self.eta * parallel)


def check_apg(cls):
    xs, levels = [points(i) for i in range(4)], [flow(t) for t in (0.9, 0.7, 0.5, 0.3)]
    for eta, threshold, momentum, valid in itertools.product((0.0, 0.4), (None, 0.3), (0.0, -0.5, 0.6), (None, VALID)):
        told = Conditioning(TOLD.vector, TOLD.unconditional, valid)
        kept = torch.ones_like(VALID) if valid is None else valid
        counts = [int(n) for n in kept.expand(4, 2, 3).flatten(1).sum(1)]
        papers = [Paper(4.0, eta, None if threshold is None else threshold * n**0.5, momentum) for n in counts]
        guidance = cls(4.0, eta, threshold, momentum)
        for _ in range(2):  # a second run begins without memory
            guided = guidance.wrap(MIXTURE, RUN)
            for paper in papers:
                paper.average = 0.0
            for x, level in zip(xs, levels, strict=True):
                found = rows(guided.denoise(x, level, told).x0, kept)
                both = zip(papers, found, rows(D(x, level), kept), rows(D(x, level, None), kept), strict=True)
                for paper, f, full, null in both:
                    assert torch.allclose(f, paper.step(full, null), atol=1e-10), (eta, threshold, momentum)


# --- autoguidance ----------------------------------------------------------------------------------------------------


def check_autoguidance(cls):
    """D = w D1 + (1 - w) D0, equation 3, and the score is the same sum of the two networks' scores."""
    x = points(4)
    for level in (flow(0.9), flow(0.3), NoiseLevel(2.0, 1.0, 2.0)):
        found = made([cls(2.5, denoiser=WEAK)], x, level).x0
        assert torch.allclose(found, 2.5 * D(x, level) - 1.5 * WEAK.denoise(x, level, TOLD).x0, atol=1e-12)
        score = (level.alpha * found - x) / level.sigma**2
        mixed = 2.5 * MIXTURE.score(x, level, TOLD) - 1.5 * WEAK.score(x, level, TOLD)
        assert torch.allclose(score, mixed, atol=1e-9)


# --- several conditions ----------------------------------------------------------------------------------------------


class Pair(GaussianMixture):
    """The mixture with two conditions that each make some components likelier: `label` and `side`."""

    def __init__(self, of):
        self.__dict__ = dict(of.__dict__)

    def joined(self, conditions):
        both = conditions.vector
        return Conditioning({"label": both["label"] * both["side"]})

    def denoise(self, x, level, conditions):
        return Estimate(MIXTURE.denoise(x, level, self.joined(conditions)).x0)


SIDES = torch.tensor([[0.9, 0.1, 0.2], [0.5, 0.1, 0.9], [0.3, 1.0, 0.1], [0.2, 0.2, 0.7]], dtype=torch.float64)
SOFT = 0.1 + 0.9 * TOLD.vector["label"]
BOTH = Conditioning({"label": SOFT, "side": SIDES}, {"label": torch.ones_like(SOFT), "side": torch.ones_like(SIDES)})


def scores(x, level):
    """The scores told nothing, the label, the side, and both."""
    told = [torch.ones_like(SOFT), SOFT, SIDES, SOFT * SIDES]
    return [MIXTURE.score(x, level, Conditioning({"label": factors})) for factors in told]


def check_composed(cls):
    """composed: p(x) prod_i (p(x | i) / p(x))^s_i; nested: p(x) (p(x | 1) / p(x))^s_1 (p(x | 1, 2) / p(x | 1))^s_2."""
    x, a, b = points(5), 3.0, 1.7
    for level in (flow(0.8), flow(0.3)):
        none, label, side, full = scores(x, level)
        expected = {
            "composed": none + a * (label - none) + b * (side - none),
            "nested": none + a * (label - none) + b * (full - label),
        }
        for form, score in expected.items():
            x0 = made([cls({"label": a, "side": b}, form)], x, level, BOTH, Pair(MIXTURE)).x0
            assert torch.allclose((level.alpha * x0 - x) / level.sigma**2, score, atol=1e-9), form
        apart = made([CFG(a, conditions=["label"]), CFG(b, conditions=["side"])], x, level, BOTH, Pair(MIXTURE)).x0
        expected_apart = full + (a - 1) * (full - side) + (b - 1) * (full - label)
        assert torch.allclose((level.alpha * apart - x) / level.sigma**2, expected_apart, atol=1e-9), "a list of cfg"


# --- dynamic thresholding --------------------------------------------------------------------------------------------


def check_dynamic_threshold(cls):
    x, level = points(6), flow(0.5)
    for share, limit, valid in itertools.product((0.5, 0.9, 1.0), (None, 0.8, 9.0), (None, VALID)):
        found = made([CFG(6.0), cls(share, limit)], x, level, Conditioning(TOLD.vector, TOLD.unconditional, valid)).x0
        kept = torch.ones_like(VALID) if valid is None else valid
        full, null = D(x, level), D(x, level, None)
        guided = null + 6 * (full - null)
        for f, g, plain in zip(rows(found, kept), rows(guided, kept), rows(full, kept), strict=True):
            bound = torch.quantile(plain.abs(), share) if limit is None else torch.tensor(limit, dtype=g.dtype)
            s = torch.maximum(torch.quantile(g.abs(), share), bound)
            assert torch.allclose(f, g.clamp(-s, s) * bound / s, atol=1e-12), (share, limit)


# --- sums over a sample ----------------------------------------------------------------------------------------------


def check_inputs(cls):
    values = points(7)
    for counts in (None, VALID, VALID[:1], torch.zeros_like(VALID)):
        at = cls(values, flow(0.5), TOLD, {}, values, counts)
        kept = (torch.ones_like(VALID) if counts is None else counts).expand(4, 1, 3)
        for i, row in enumerate(rows(values, kept)):
            mean, variance = (float(v) for v in (at.mean(values)[i], at.variance(values)[i]))
            exact = (float(row.mean()), float(row.var(unbiased=False))) if len(row) else (0.0, 0.0)
            assert abs(mean - exact[0]) < 1e-12 and abs(variance - exact[1]) < 1e-12


CHECKS = {
    Rescale: check_rescale, CFGpp: check_cfgpp, CFGZero: check_cfg_zero, APG: check_apg, Composed: check_composed,
    Autoguidance: check_autoguidance, DynamicThreshold: check_dynamic_threshold, GuidanceInputs: check_inputs,
}  # fmt: skip


def fault(check, *args) -> str:
    """What a check finds wrong; nothing where it holds."""
    try:
        check(*args)
    except AssertionError as error:
        return str(error) or "an assertion without words"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("cls", CHECKS)
def test_formula(cls):
    assert fault(CHECKS[cls], cls) == ""


PLANTED = [
    (Rescale, "combine", swap_arguments("safe_ratio")),
    (Rescale, "combine", drop_call("sqrt")),
    (Rescale, "combine", keep_right_operand(ast.Sub)),
    (CFGpp, "combine", swap_operator(ast.Add, ast.Sub, near="x")),
    (CFGpp, "combine", replace_expression(variable_target("x0"), "inputs.guided", at=-2)),
    (CFGpp, "combine", replace_expression(argument_target("add", "alpha"), "self.scale")),
    (CFGpp, "combine", keep_right_operand(ast.Mult)),
    (CFGZero, "combine", replace_expression(argument_target("mean", 0), "v_c * v_c", at=-1)),
    (CFGZero, "combine", replace_expression(call_target("lerp"), "s * unconditional")),
    (CFGZero, "combine", replace_expression(argument_target("add", "alpha"), "self.scale")),
    (cfg_zero, "_velocity", replace_expression(call_target("where"), "1.0", at=-1)),
    (CFGZero, "combine", replace_expression(call_target("broadcast_like"), "1.0")),
    (CFGZero, "combine", replace_expression(argument_target("Estimate", 0), "inputs.guided")),
    (APG, "combine", keep_right_operand(ast.Sub, at=2)),
    (APG, "combine", keep_right_operand(ast.Sub, at=1)),  # parallel and orthogonal swapped at eta 0
    (APG, "combine", replace_expression(argument_target("mean", 0), "delta * delta", at=-1)),
    (APG, "_with_momentum", swap_operator(ast.Add, ast.Sub)),
    (APG, "_with_momentum", replace_expression(call_target("detach"), "(delta - self.momentum * before).detach()")),
    (APG, "_limited", swap_call("rsqrt", "reciprocal")),
    (APG, "_limited", replace_expression(call_target("mean"), "(delta * delta).mean((1, 2), keepdim=True)")),
    (APG, "combine", replace_expression(argument_target("add", "alpha"), "self.scale")),
    (Autoguidance, "combine", replace_expression(argument_target("add", "alpha"), "self.scale")),
    (Autoguidance, "combine", swap_operator(ast.Sub, ast.Add)),
    (Composed, "_composed", replace_expression(ast.Sub, "-sum(self.scales.values())")),
    (Composed, "_composed", swap_operator(ast.NotEq, ast.Eq)),
    (Composed, "_nested", swap_operands(ast.Sub)),
    (Composed, "_nested", rewrite_node("[i:] becomes [:i]", ast.Slice, lambda s: ast.Slice(None, s.lower))),
    (DynamicThreshold, "combine", swap_arguments("safe_ratio")),
    (DynamicThreshold, "combine", replace_expression(call_target("maximum"), "reached")),
    (dynamic_threshold, "_percentile", drop_call("clamp"), keep_left_operand(ast.Sub, at=1)),
    (dynamic_threshold, "_percentile", keep_right_operand(ast.Add)),
    (GuidanceInputs, "variance", keep_left_operand(ast.Sub)),
    (GuidanceInputs, "mean", replace_expression(call_target("clamp"), "counts.shape[1]")),
]
OF_MODULE = {cfg_zero: CFGZero, dynamic_threshold: DynamicThreshold}


@pytest.mark.slow
@pytest.mark.parametrize("error", PLANTED, ids=lambda e: f"{e[0].__name__}-{e[-1]}")
def test_planted_error_is_caught(error):
    cls = OF_MODULE.get(error[0], error[0])
    with planted_error(*error):
        assert_caught(CHECKS[cls], cls)
