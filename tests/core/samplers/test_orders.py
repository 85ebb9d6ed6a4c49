"""The order that each deterministic sampler states is measured on three processes, against the exact solution."""

import ast

import pytest
from sonolux.core.config import registry
from sonolux.core.samplers.dpmpp_2m import DPMpp2M
from sonolux.core.samplers.dpmpp_2m_sde import DPMpp2MSDE
from sonolux.core.samplers.euler import Euler
from sonolux.core.samplers.heun import Heun
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing.conformance import check_order
from sonolux.core.testing.faulty import faulty_sampler
from sonolux.core.testing.mutation import (
    assert_caught,
    call_target,
    replace_expression,
    scale_expression,
    swap_constant,
    swap_operands,
)
from sonolux.core.testing.orders import interior_order, own_start_order, whole_range_order

SAMPLERS = {name: registry.find_class("sampler", name)() for name in registry.builtin_files("sampler")}
DETERMINISTIC = {name: sampler for name, sampler in SAMPLERS.items() if not sampler.stochastic}


@pytest.mark.slow
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order(name):
    assert DETERMINISTIC[name].order is not None, "a deterministic sampler states its order"
    check_order(DETERMINISTIC[name])


@pytest.mark.slow
def test_orders_of_the_papers():
    assert {name: s.order for name, s in DETERMINISTIC.items() if name in ("ddim", "euler", "heun", "dpmpp_2m")} == {
        "ddim": 1,
        "euler": 1,
        "heun": 2,
        "dpmpp_2m": 2,
    }
    assert DPMpp2MSDE(eta=0.0).order == 2
    check_order(DPMpp2MSDE(eta=0.0))


def test_second_order_pays_on_the_whole_interval_too():
    for schedule in (RectifiedFlow(), EDM()):
        first = whole_range_order(Euler(), schedule, steps=(32,)).errors[0]
        for sampler in (Heun(), DPMpp2M()):
            assert whole_range_order(sampler, schedule, steps=(32,)).errors[0] < first / 4


def test_history_changes_only_a_method_that_has_some():
    assert interior_order(Heun(), EDM(), (16,)).errors[0] == pytest.approx(
        own_start_order(Heun(), EDM(), (16,)).errors[0], rel=1e-6
    )
    assert interior_order(DPMpp2M(), EDM(), (16,)).errors != own_start_order(DPMpp2M(), EDM(), (16,)).errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "where", "errors"),
    [
        (Euler, "order", (2,)),
        (Heun, "heun_step", (swap_constant(2, 3),)),
        (Heun, "heun_step", (scale_expression(call_target("masked"), 0.0),)),  # the correction is skipped
        (DPMpp2M, "draft", (swap_constant(2, 4),)),  # half weight
        (DPMpp2M, "newton_integral", (swap_operands(ast.Sub, near="r"),)),  # sign
        (DPMpp2M, "draft", (swap_constant(1, 0),)),  # history is never used
        (DPMpp2M, "higher_order_terms", (replace_expression(ast.Div, "-1.0"),)),  # steps taken as equal
    ],
)
def test_planted_error_is_caught(cls, where, errors):
    with faulty_sampler(cls, where, *errors):
        assert_caught(check_order, cls())
