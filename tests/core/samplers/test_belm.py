"""BELM against its formula in rho, and its cost; planted errors."""

import ast

import pytest
import torch
from sonolux.core.samplers.base import run_plan
from sonolux.core.samplers.belm import BELM
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.conformance import check_sampler
from sonolux.core.testing.faulty import faulty_sampler
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import assert_caught, scale_expression, swap_constant, swap_operator, variable_target
from sonolux.core.timesteps.karras import Karras
from sonolux.core.timesteps.trailing import Trailing

MIXTURE = example_mixture()
GRIDS = [(EDM(), Karras()), (VPLinear(), Trailing()), (RectifiedFlow(), Trailing())]


def check_formula(cls):
    """Algorithm of the paper with h_i = tau_(i-1) - tau_i, for u = x / (alpha + sigma) and v = E[eps - x0]."""
    for schedule, spacing in GRIDS:
        levels = spacing.levels(schedule, 7)
        scale = [float(a.alpha) + float(a.sigma) for a in levels]
        tau = [float(a.tau) for a in levels]
        x = float(levels[0].sigma) * torch.randn(
            3, *MIXTURE.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        u = [x / scale[0]]
        for i, level in enumerate(levels[:-1]):
            v = MIXTURE.eps(u[i] * scale[i], level) - MIXTURE.denoise(u[i] * scale[i], level).x0
            h = tau[i + 1] - tau[i]
            if i == 0:
                u.append(u[0] + h * v)
                continue
            last = tau[i] - tau[i - 1]
            square = (h / last) ** 2
            u.append(square * u[i - 1] + (1 - square) * u[i] + h * (h + last) / last * v)
        plan = cls().plan(schedule, levels)
        made = run_plan(plan, MIXTURE, x)
        assert torch.allclose(made, u[-1] * scale[-1], atol=1e-9, rtol=1e-9), type(schedule).__name__
        assert plan.nfe == 7, "one evaluation in each step"


def test_formula():
    check_formula(BELM)


@pytest.mark.slow
def test_conformance():
    check_sampler(BELM())


@pytest.mark.parametrize(
    "error",
    [swap_constant(1, 2), scale_expression(variable_target("r"), 0.5), swap_operator(ast.Add, ast.Sub, near="r")],
)
def test_planted_error_is_caught(error):
    with faulty_sampler(BELM, "two_step_point", error):
        assert_caught(check_formula, BELM)
