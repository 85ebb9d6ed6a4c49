"""Classifier-free guidance: the closed form, what it costs, the window, and gradients."""

import ast

import pytest
import torch
from sonolux.core.guidance.base import Guidance, GuidedDenoiser, SamplingRun
from sonolux.core.guidance.cfg import CFG
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.euler import Euler
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing.conformance import even_tau_levels
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    condition_target,
    keep_left_operand,
    negate_expression,
    planted_error,
    replace_expression,
    swap_arguments,
    swap_operands,
    swap_operator,
)
from sonolux.core.types import BadInput, Estimate, NoiseLevel
from sonolux.core.util.rng import KeyedNoise

MIXTURE = example_mixture()
LABELS = torch.tensor([0, 2, 1, 2])
X = torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Counting:
    """Counts calls and rows of a denoiser."""

    def __init__(self, denoiser):
        self.denoiser, self.calls, self.rows = denoiser, 0, 0

    def denoise(self, x, level, conditions):
        self.calls, self.rows = self.calls + 1, self.rows + len(x)
        return self.denoiser.denoise(x, level, conditions)


def wrapped(guidance):
    counting = Counting(MIXTURE)
    return guidance.wrap(counting, SamplingRun(KeyedNoise(0, range(4), (2, 3)))), counting


def flow(tau):
    return NoiseLevel(tau, 1 - tau, tau)


def check_closed_form(cls):
    """x0 = null + scale (full - null), and the guided score is the weighted sum of the two scores."""
    conditions = MIXTURE.conditions(LABELS)
    for scale in (0.0, 1.0, 2.5):
        for level in (flow(1.0), flow(0.5), flow(0.1)):
            guided, _ = wrapped(cls(scale))
            full = MIXTURE.denoise(X, level, conditions).x0
            null = MIXTURE.denoise(X, level).x0
            made = guided.denoise(X, level, conditions).x0
            assert torch.allclose(made, null + scale * (full - null), atol=1e-12)
            score = (level.alpha * made - X) / level.sigma**2
            mixed = (1 - scale) * MIXTURE.score(X, level) + scale * MIXTURE.score(X, level, conditions)
            assert torch.allclose(score, mixed, atol=1e-9)


def check_cost(cls):
    """One call with two rows a sample inside the window; one row outside and at scale 1."""
    conditions = MIXTURE.conditions(LABELS)
    for guidance, tau, rows in (
        (cls(2.0), 0.5, 8),
        (cls(1.0), 0.5, 4),
        (cls(2.0, window=(0.2, 0.6)), 0.61, 4),
        (cls(2.0, window=(0.2, 0.6)), 0.19, 4),
        (cls(2.0, window=(0.2, 0.6)), 0.2, 8),
        (cls(2.0, window=(0.2, 0.6)), 0.6, 8),
    ):
        guided, counting = wrapped(guidance)
        guided.denoise(X, flow(tau), conditions)
        assert (counting.calls, counting.rows) == (1, rows)


def check_window(cls):
    conditions = MIXTURE.conditions(LABELS)
    guided, _ = wrapped(cls(3.0, window=(0.2, 0.6)))
    for tau in (0.1, 0.4, 0.9):
        full, null = MIXTURE.denoise(X, flow(tau), conditions).x0, MIXTURE.denoise(X, flow(tau)).x0
        expected = null + 3 * (full - null) if tau == 0.4 else full
        assert torch.allclose(guided.denoise(X, flow(tau), conditions).x0, expected, atol=1e-12)
    taus = torch.tensor([0.1, 0.4, 0.9, 0.5], dtype=torch.float64)
    together = guided.denoise(X, flow(taus), conditions).x0
    for i, tau in enumerate(taus.tolist()):
        one = guided.denoise(X, flow(tau), conditions).x0[i]
        assert torch.allclose(together[i], one, atol=1e-12), "levels that differ from sample to sample"


@pytest.mark.parametrize("check", [check_closed_form, check_cost, check_window])
def test_cfg(check):
    check(CFG)


PLANTED = [
    (check_closed_form, CFG, "combine", swap_operator(ast.Sub, ast.Add)),
    (check_closed_form, CFG, "combine", keep_left_operand(ast.Sub, at=-1)),
    (check_closed_form, CFG, "combine", swap_operands(ast.Sub)),
    (check_cost, CFG, "branches", replace_expression(condition_target(), "False")),
    (check_cost, Guidance, "inside", swap_operator(ast.Sub, ast.Add, at=-1), swap_operator(ast.Add, ast.Sub, at=-1)),
    (check_window, Guidance, "inside", negate_expression(ast.LtE, at=-1)),
    (check_window, GuidedDenoiser, "denoise", swap_arguments("where", 1, 2)),
    (check_window, Guidance, "inside", swap_operator(ast.BitAnd, ast.BitOr)),
    (check_closed_form, GuidedDenoiser, "_estimates", replace_expression(argument_target("zip", 0), "reversed(_)")),
]


@pytest.mark.parametrize("error", PLANTED, ids=lambda e: f"{e[0].__name__}-{e[1].__name__}-{e[3]}")
def test_planted_error_is_caught(error):
    check, *where = error
    with planted_error(*where):
        assert_caught(check, CFG)


def test_gradients_flow_through_guidance():
    guided, _ = wrapped(CFG(2.0))
    conditions = MIXTURE.conditions(LABELS)
    assert torch.autograd.gradcheck(
        lambda x: guided.denoise(x, flow(0.4), conditions).x0, X.clone().requires_grad_(), atol=1e-6
    )


def test_guidance_moves_samples_towards_their_class():
    levels = even_tau_levels(RectifiedFlow(), 20)
    conditions = MIXTURE.conditions(LABELS)
    right = []
    for scale in (0.0, 1.0, 3.0):
        guided, _ = wrapped(CFG(scale))
        x = run_plan(Euler().plan(RectifiedFlow(), levels), guided, X, conditions)
        posterior = MIXTURE.posterior(x, NoiseLevel(0.0, 1.0, 1e-3))
        right.append(float(posterior[torch.arange(4), LABELS].mean()))
    assert right[0] < right[1] <= right[2] and right[2] > 0.9


def test_a_network_that_returns_no_null_is_called_once_a_step_outside_of_the_window():
    class Plain:
        def denoise(self, x, level, conditions):
            return Estimate(x)

    counting = Counting(Plain())
    guided = CFG(4.0, window=(0.0, 0.0)).wrap(counting, SamplingRun(KeyedNoise(0, range(4), (2, 3))))
    run_plan(Euler().plan(RectifiedFlow(), even_tau_levels(RectifiedFlow(), 5)), guided, X, MIXTURE.conditions(LABELS))
    assert counting.rows == 5 * 4


def test_no_condition_to_strengthen_is_refused():
    with pytest.raises(BadInput, match="leave them out for all"):
        CFG(2.0, conditions=[])


@pytest.mark.parametrize("window", [(0.6, 0.2), (-0.1, 1.0), (0.0, 1.5)])
def test_bad_windows_are_refused(window):
    with pytest.raises(BadInput, match="window"):
        CFG(window=window)
