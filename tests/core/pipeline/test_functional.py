"""One call on any network: what may stand for the network and the parts, and what is refused."""

import pytest
import sonolux
import torch
from sonolux.core.samplers.euler import Euler
from sonolux.core.types import BadInput

USUAL = {"schedule": "discrete", "prediction": "eps", "clock": "time", "spacing": "trailing", "steps": 4}


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
        ({"sampler": None}, "the sampler is a name, or an object"),
        ({"sampler": {"use": "ddim"}}, "the sampler is a name, or an object"),
        ({"clock": 3}, "the noise conditioning is a name, or an object"),
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
