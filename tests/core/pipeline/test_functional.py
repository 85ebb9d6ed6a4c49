"""One call on any network: what may stand for the network and the parts, and what is refused."""

import ast
import re

import pytest
import sonolux
import torch
from sonolux.core.editing.inpaint import InpaintEdit
from sonolux.core.editing.morph import InversionEdit
from sonolux.core.guidance.cfg import CFG
from sonolux.core.pipeline.finite_check import FiniteCheckDenoiser
from sonolux.core.samplers._cache import clear_plan_cache
from sonolux.core.samplers.dpmpp_2m import DPMpp2M
from sonolux.core.samplers.euler import Euler
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_operator
from sonolux.core.timesteps.explicit import Explicit
from sonolux.core.timesteps.karras import Karras
from sonolux.core.timesteps.trailing import Trailing
from sonolux.core.types import BadInput, NoiseLevel
from sonolux.core.util.rng import KeyedNoise

USUAL = {
    "schedule": "discrete",
    "parameterization": "eps",
    "noise_conditioning": "time",
    "timesteps": "trailing",
    "steps": 4,
}


class Halves(torch.nn.Module):
    """A network that says noise is half of what it sees."""

    def forward(self, x, t):
        assert t.shape == (len(x),)
        return x / 2


def test_a_function_serves_like_the_module_that_it_is():
    told = sonolux.sample(Halves(), (2, 1, 4, 4), **USUAL)
    assert torch.equal(told, sonolux.sample(lambda x, t: x / 2, (2, 1, 4, 4), **USUAL))
    assert not torch.equal(told, sonolux.sample(lambda x, t: x / 3, (2, 1, 4, 4), **USUAL))


def test_a_part_may_be_its_name_or_an_object():
    by_name = sonolux.sample(Halves(), (1, 1, 4, 4), sampler="euler", **USUAL)
    assert torch.equal(by_name, sonolux.sample(Halves(), (1, 1, 4, 4), sampler=Euler(), **USUAL))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampler": None}, "the sampler is a registered name or a Sampler"),
        ({"sampler": {"use": "ddim"}}, "the sampler is a registered name or a Sampler"),
        ({"noise_conditioning": 3}, "the noise_conditioning is a registered name or a NoiseConditioning"),
        ({"sampler": "dpmpp_2n"}, "did you mean 'dpmpp_2s'"),
        ({"steps": 2.5}, "and whole, not 2.5"),
        ({"device": "gpu"}, "use auto, cpu, cuda or mps"),
    ],
)
def test_parts_that_are_none(change, said):
    with pytest.raises(BadInput, match=said):
        sonolux.sample(Halves(), (1, 1, 4, 4), **(USUAL | change))


@pytest.mark.parametrize("shape", [4, "1144", (4,), (1, 1, 0, 4), (1, 1, 4.0, 4), (1, -1, 4), (True, 1, 4), None])
def test_a_shape_that_is_none(shape):
    with pytest.raises(BadInput, match=r"the shape of the samples is \(B, C, \*spatial\)"):
        sonolux.sample(Halves(), shape, **USUAL)


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (lambda x, t: x[:, :, :2], r"has the shape of its input, \(1, 1, 4, 4\); it gave \(1, 1, 2, 4\)"),
        (lambda x, t: x.sum(), r"it gave \(\)"),
        (lambda x, t: (x, x), "it gave a tuple"),
        (lambda x, t: x.long(), r"real numbers, torch\.float32; it gave torch\.int64"),
        (torch.nn.Conv2d(1, 1, 1).double(), r"weights are torch\.float64 on cpu, and samples are torch\.float32"),
    ],
)
def test_a_network_whose_output_is_no_output(net, said):
    called = net if not isinstance(net, torch.nn.Module) else OfOneArgument(net)
    with pytest.raises(BadInput, match=said):
        sonolux.sample(called, (1, 1, 4, 4), **USUAL)


class OfOneArgument(torch.nn.Module):
    """A network that does not look at the time."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, t):
        return self.net(x)


def test_a_networks_own_error_stays_its_own_and_half_precision_is_welcome():
    def fails(x, t):
        raise RuntimeError("no licence")

    with pytest.raises(RuntimeError, match="no licence"):
        sonolux.sample(fails, (1, 1, 4, 4), **USUAL)
    made = sonolux.sample(lambda x, t: (x / 2).half(), (1, 1, 4, 4), **USUAL)
    assert made.dtype == torch.float32
    assert torch.allclose(made, sonolux.sample(Halves(), (1, 1, 4, 4), **USUAL), rtol=0.05, atol=0.05)


def test_a_network_that_cannot_be_called():
    with pytest.raises(BadInput, match="called as net"):
        sonolux.sample(3, (1, 1, 4, 4), **USUAL)


# --- arguments -------------------------------------------------------------------------------------------------------


def usual(**change):
    return sonolux.sample(Halves(), (2, 1, 4, 4), **(USUAL | change))


def level(*sizes):
    return NoiseLevel(*(torch.full(sizes, v, dtype=torch.float64) for v in (80.0, 1.0, 80.0)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samples": [3]}, "samples numbers 1 rows, and the shape"),
        ({"shapes": [(1, 4, 4)] * 3}, "shapes lists 3 rows"),
        ({"shapes": [(1, 4, 4), (1, 4)]}, r"row 1 has the shape \(1, 4\)"),
        ({"shapes": [(1, 4, 4), (2, 4, 4)]}, r"row 1 has the shape \(2, 4, 4\)"),
        ({"shapes": [(1, 4, 5), (1, 4, 4)]}, r"row 0 has the shape \(1, 4, 5\)"),
        ({"shapes": [(1, 4, 3), (1, 4, 2)]}, "no row reaches the shape"),
        ({"sampler": Euler}, r"write Euler\(\), not Euler"),
        ({"schedule": EDM}, r"write EDM\(\), not EDM"),
        ({"timesteps": Karras}, r"write Karras\(\), not Karras"),
        ({"guidance": CFG}, r"write CFG\(\), not CFG"),
        ({"sampler": EDM()}, "the sampler is a registered name or a Sampler"),
        ({"timesteps": []}, "an empty list"),
        ({"timesteps": 7}, "a list of levels or of times, not 7"),
        ({"timesteps": ["karras"]}, "a list of levels or of times"),
        ({"timesteps": torch.ones(2, 2)}, "a list of levels or of times"),
        ({"timesteps": [1200.0, 0.0]}, r"the time 1200 is not in the schedule: times are from -1 \(clean\) to 999"),
        ({"timesteps": [5.0, 7.0]}, "noisier than the level before it"),
        ({"timesteps": [level(3), EDM().clean()], "schedule": "edm"}, r"level 0 is \(3,\): levels are numbers"),
        ({"timesteps": [level(2, 1, 4, 5), EDM().clean()], "schedule": "edm"}, r"level 0 is \(2, 1, 4, 5\)"),
        ({"timesteps": [level(2, 1, 4), EDM().clean()], "schedule": "edm"}, r"level 0 is \(2, 1, 4\)"),
        ({"dtype": torch.int64}, "a floating-point type"),
        ({"dtype": "float32"}, "a floating-point type"),
        ({"x": torch.zeros(2, 1, 4)}, r"x, the start, is a tensor of the shape \(2, 1, 4, 4\)"),
        ({"x": 3.0}, "x, the start, is a tensor"),
    ],
)
def test_arguments_that_do_not_go_together(change, said):
    with pytest.raises(BadInput, match=said):
        usual(**change)


def test_times_may_be_a_list_an_array_or_a_tensor():
    made = usual(timesteps=Explicit([900.0, 400.0, 20.0]), steps=3)
    for times in ([900.0, 400, 20.0], (900.0, 400.0, 20.0, -1.0), torch.tensor([900.0, 400.0, 20.0])):
        assert torch.equal(usual(timesteps=times), made)
    assert torch.equal(usual(timesteps=torch.tensor([900, 400, 20]).numpy()), made)
    sigmas = sonolux.sample(lambda x, t: x, (1, 1, 2), timesteps=[80.0, 1.0, 0.0])
    assert torch.equal(sigmas, sonolux.sample(lambda x, t: x, (1, 1, 2), timesteps=Explicit([80.0, 1.0]), steps=2))


def test_old_names_work_with_one_warning_that_names_the_new_ones():
    old = {"prediction": "eps", "clock": "time", "spacing": "trailing"}
    with pytest.warns(DeprecationWarning, match="prediction is now parameterization, clock is now noise_cond") as told:
        made = sonolux.sample(Halves(), (2, 1, 4, 4), schedule="discrete", steps=4, **old)
    assert len(told) == 1 and torch.equal(made, usual())
    with pytest.raises(TypeError, match="unexpected keyword argument 'spacign'"):
        usual(spacign="karras")
    with pytest.raises(BadInput, match="prediction is the old name of parameterization, which is given too"):
        usual(prediction="v")
    with pytest.raises(BadInput, match="the timesteps are"):
        usual(timesteps=torch.tensor(3.0).numpy())


def test_ones_own_start_and_type():
    noise = KeyedNoise(0, range(2), (1, 4, 4)).normal("start")
    first = Trailing().levels(Discrete(), 4)[0]
    assert torch.equal(usual(x=noise * float(first.sigma)), usual())
    double = usual(dtype=torch.float64)
    assert double.dtype == torch.float64 and torch.allclose(double.float(), usual(), atol=1e-5)


def test_gradients_are_recorded_where_they_are_asked_for():
    start = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    usual(x=start, requires_grad=True).sum().backward()
    assert start.grad is not None and bool((start.grad != 0).all())
    assert not usual(x=start).requires_grad


def test_a_network_with_arguments_and_an_output_object():
    class Output:
        def __init__(self, sample):
            self.sample = sample

    def net(x, t, scale, encoder_hidden_states=None):
        return Output(x * scale * encoder_hidden_states)

    made = sonolux.sample(
        net, (2, 1, 4, 4), **USUAL, network_kwargs={"scale": 0.25, "encoder_hidden_states": torch.tensor(2.0)}
    )
    assert torch.equal(made, usual())
    with pytest.raises(BadInput, match="network_kwargs are for a module"):
        sonolux.sample(example_mixture(), (1, *example_mixture().shape), network_kwargs={"scale": 1})


def test_a_network_that_takes_whole_numbers_as_t():
    table = torch.nn.Embedding(1000, 1)
    with pytest.raises(BadInput, match=r"whole numbers as t: give `lambda x, t: net\(x, t\.long\(\)\)`"):
        sonolux.sample(lambda x, t: x * table(t)[..., None, None], (2, 1, 4, 4), **USUAL)
    sonolux.sample(lambda x, t: x * table(t.long())[..., None, None], (2, 1, 4, 4), **USUAL)


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        ("euler", r"not finite in step 3 of 4 \(evaluation 3, at t = 499\)"),
        ("dpmpp_2m", r"not finite in step 3 of 4 \(evaluation 3, at t = 499\)"),
        ("heun", r"not finite in step 2 of 4 \(evaluation 4, at t = 499\)"),
        ("dpm_adaptive", r"not finite in evaluation \d+:"),
    ],
)
def test_a_network_that_is_not_finite_is_named_with_its_step(sampler, said):
    def breaks(x, t):
        return x / 2 if float(t[0]) > 600 else x * float("nan")

    with pytest.raises(BadInput, match=said):
        sonolux.sample(breaks, (2, 1, 4, 4), sampler=sampler, **USUAL)


def check_place_of_repeated_steps():
    """Of an inversion the first step has the lowest level; a repeated segment counts its steps again."""

    def broken_at(call, **more):
        calls = []

        def breaks(x, t):
            calls.append(float(t[0]))
            return x * float("nan") if len(calls) == call else x / 2

        with pytest.raises(BadInput, match="not finite") as error:
            sonolux.sample(breaks, (1, 1, 4, 4), sampler="euler", **USUAL, **more)
        return re.search(r"in (.*?), at", str(error.value))[1]

    assert broken_at(1, edits=[InversionEdit(torch.zeros(1, 1, 4, 4))]) == "step 1 of 3 (evaluation 1"
    known = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    known[..., :2] = True
    repeated = [InpaintEdit(torch.zeros(1, 1, 4, 4), known, resample=2, jump=2)]
    assert broken_at(3, edits=repeated) == "step 3 of 6 (evaluation 3"
    assert broken_at(6, edits=repeated) == "step 6 of 6 (evaluation 6"


def test_the_step_of_an_estimate_that_is_not_finite_is_that_of_the_plan():
    check_place_of_repeated_steps()


def test_planted_step_that_does_not_count_the_rows_before_is_caught():
    with planted_error(FiniteCheckDenoiser, "_place", swap_operator(ast.Add, ast.Sub, near="finished")):
        assert_caught(check_place_of_repeated_steps)


def test_the_same_call_makes_its_plan_once(monkeypatch):
    drafted = []
    own = DPMpp2M.draft
    monkeypatch.setattr(DPMpp2M, "draft", lambda self, builder: drafted.append(1) or own(self, builder))
    clear_plan_cache()
    first = usual()
    assert torch.equal(usual(), first) and len(drafted) == 1
    usual(steps=5)
    usual(schedule=Discrete(betas="cosine"))
    usual(sampler=DPMpp2M())
    assert len(drafted) == 3, "other levels and another schedule have other plans; an equal sampler has the same"
    clear_plan_cache()
