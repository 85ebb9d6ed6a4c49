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
from sonolux.core.testing.faulty import faulty
from sonolux.core.testing.mutation import call, caught, replace, scale, swap_constant, swap_sides
from sonolux.core.testing.orders import interior, own_start, whole

SAMPLERS = {name: registry.find("sampler", name)() for name in registry.builtins("sampler")}
DETERMINISTIC = {name: sampler for name, sampler in SAMPLERS.items() if not sampler.stochastic}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order(name):
    assert DETERMINISTIC[name].order is not None, "a deterministic sampler states its order"
    check_order(DETERMINISTIC[name])


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
        first = whole(Euler(), schedule, steps=(32,)).errors[0]
        for sampler in (Heun(), DPMpp2M()):
            assert whole(sampler, schedule, steps=(32,)).errors[0] < first / 4


def test_history_changes_only_a_method_that_has_some():
    assert interior(Heun(), EDM(), (16,)).errors[0] == pytest.approx(
        own_start(Heun(), EDM(), (16,)).errors[0], rel=1e-6
    )
    assert interior(DPMpp2M(), EDM(), (16,)).errors != own_start(DPMpp2M(), EDM(), (16,)).errors


@pytest.mark.parametrize(
    ("cls", "where", "errors"),
    [
        (Euler, "order", (2,)),
        (Heun, "heun", (swap_constant(2, 3),)),
        (Heun, "heun", (scale(call("where"), 0.0),)),  # the correction is skipped
        (DPMpp2M, "draft", (swap_constant(2, 4),)),  # half weight
        (DPMpp2M, "newton", (swap_sides(ast.Sub, near="r"),)),  # sign
        (DPMpp2M, "draft", (swap_constant(1, 0),)),  # history is never used
        (DPMpp2M, "higher", (replace(ast.Div, "-1.0"),)),  # steps taken as equal
    ],
)
def test_planted_error_is_caught(cls, where, errors):
    with faulty(cls, where, *errors):
        caught(check_order, cls())
