"""A user's own module as a denoiser: keyword arguments, outputs in an attribute `sample`, whole-number times."""

from types import SimpleNamespace

import pytest
import torch
from sonolux.core.nn.model import UserDenoiser
from sonolux.core.noise_conditioning.time import Time
from sonolux.core.parameterizations.x0 import X0
from sonolux.core.types import BadInput, Conditioning, NoiseLevel

X = torch.ones(2, 1, 4)
LEVEL = NoiseLevel(torch.tensor([249.6, 3.0]), 0.6, 0.8)


def called(network, **options):
    return UserDenoiser(network, X0(), Time(), **options).denoise(X, LEVEL, Conditioning()).x0


def test_keyword_arguments_reach_the_module():
    made = called(lambda x, t, scale, shift=0.0: x * scale + shift, keywords={"scale": 2.0, "shift": 1.0})
    torch.testing.assert_close(made, 2 * X + 1)


def test_an_output_with_a_sample_is_opened():
    torch.testing.assert_close(called(lambda x, t: SimpleNamespace(sample=3 * x)), 3 * X)
    with pytest.raises(BadInput, match="it gave a SimpleNamespace"):
        called(lambda x, t: SimpleNamespace(other=x))


def test_times_of_a_table_are_whole_numbers():
    table = torch.arange(1000.0)
    made = called(lambda x, t: x * table[t][:, None, None], integer_time=True)
    assert made[:, 0, 0].tolist() == [250.0, 3.0]
    with pytest.raises(IndexError, match=r"long|int"):
        called(lambda x, t: x * table[t][:, None, None])
