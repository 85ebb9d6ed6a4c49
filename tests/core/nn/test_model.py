"""A user's own module as a denoiser: keyword arguments, outputs in an attribute `sample`, whole-number times."""

from types import SimpleNamespace

import pytest
import torch
from sonolux.core.nn.model import UserModuleDenoiser
from sonolux.core.noise_conditioning.time import Time
from sonolux.core.parameterizations.x0 import X0
from sonolux.core.types import BadInput, Conditioning, NoiseLevel

X = torch.ones(2, 1, 4)
LEVEL = NoiseLevel(torch.tensor([249.6, 3.0]), 0.6, 0.8)


def called(network, **options):
    return UserModuleDenoiser(network, X0(), Time(), **options).denoise(X, LEVEL, Conditioning()).x0


def test_keyword_arguments_reach_the_module():
    made = called(lambda x, t, scale, shift=0.0: x * scale + shift, keywords={"scale": 2.0, "shift": 1.0})
    torch.testing.assert_close(made, 2 * X + 1)


def test_an_output_with_a_sample_is_opened():
    torch.testing.assert_close(called(lambda x, t: SimpleNamespace(sample=3 * x)), 3 * X)
    with pytest.raises(BadInput, match="it gave a SimpleNamespace"):
        called(lambda x, t: SimpleNamespace(other=x))


def test_a_module_that_looks_t_up_in_a_table_is_recognised():
    table = torch.arange(1000.0)
    with pytest.raises(BadInput, match="whole numbers as t"):
        called(lambda x, t: x * table[t][:, None, None])
    made = called(lambda x, t: x * table[t.round().long()][:, None, None])
    assert made[:, 0, 0].tolist() == [250.0, 3.0]


def test_other_failures_stay_what_they_are():
    calls = []

    def once(x, t):
        calls.append(t.dtype)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x

    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        called(once)

    def broken(x, t):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        called(broken)
