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
        ({"clock": 3}, "the clock is a name, or an object"),
        ({"sampler": "dpmpp_2n"}, "did you mean 'dpmpp_2s'"),
        ({"steps": 2.5}, "and whole, not 2.5"),
    ],
)
def test_parts_that_are_none(change, said):
    with pytest.raises(BadInput, match=said):
        sonolux.sample(Halves(), (1, 1, 4, 4), **(USUAL | change))


def test_a_network_that_cannot_be_called():
    with pytest.raises(BadInput, match="called as net"):
        sonolux.sample(3, (1, 1, 4, 4), **USUAL)
