"""Dropout masks depend on seed, sample, step and layer alone."""

import pytest
import torch
from sonolux.core.nn.layers import dropout as dropout_module
from sonolux.core.nn.layers.dropout import Dropout, keyed_dropout
from sonolux.core.types import BadInput

ONES = torch.ones(4, 16, 20)


def dropped(samples, seed=1, step=0, layers=1, p=0.25) -> torch.Tensor:
    """What the last of `layers` dropout layers makes of ones."""
    layer = Dropout(p)
    with keyed_dropout(seed, samples, step):
        for _ in range(layers):
            out = layer(ONES[: len(samples)])
    return out


def check_keys() -> None:
    """Sample 7 has the same mask alone and in a batch, and others at another seed, step, layer or sample."""
    batch = dropped([3, 7, 9, 12])
    assert torch.equal(batch[1:2], dropped([7]))
    assert torch.equal(batch[[3, 1]], dropped([12, 7]))
    others = [batch[:1], dropped([7], seed=2), dropped([7], step=1), dropped([7], layers=2)]
    assert all(not torch.equal(batch[1:2], other) for other in others)


def test_masks_are_keyed():
    check_keys()


def test_planted_error_in_the_key_is_caught(monkeypatch):
    right = dropout_module.stream_key
    monkeypatch.setattr(dropout_module, "stream_key", lambda seed, purpose, counter: right(seed, purpose, counter[0]))
    with pytest.raises(AssertionError, match="all"):
        check_keys()


def check_scale() -> None:
    """A share p is dropped and the rest scaled, so that the mean stays."""
    out = dropped([0, 1, 2, 3], p=0.25)
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (out == 0).double().mean().item() == pytest.approx(0.25, abs=0.04)
    assert out.mean().item() == pytest.approx(1, abs=0.05)


def test_mean_is_kept():
    check_scale()


def test_planted_error_in_the_probability_is_caught(monkeypatch):
    init = Dropout.__init__
    monkeypatch.setattr(Dropout, "__init__", lambda self, p: init(self, 1 - p))
    with pytest.raises(AssertionError, match="approx"):
        check_scale()


def check_rate(shape=(3, 1000)) -> None:
    """Of 4 million elements a share within 4.5 standard deviations of p is dropped, whatever p, and all alike."""
    for p in (0.001, 0.1, 0.5, 0.9):
        x = torch.ones(1400, *shape)
        stay = dropout_module.dropout_mask(3, list(range(len(x))), (0, 0), p, x).double()
        allowed = 4.5 * (p * (1 - p)) ** 0.5
        assert abs(1 - p - stay.mean()) < allowed / x.numel() ** 0.5
        for axis in (0, 2):  # by sample, and by place: all 16-bit halves of all words
            each = stay.mean([d for d in range(3) if d != axis])
            assert (each - (1 - p)).abs().max() < 1.3 * allowed / (x.numel() / len(each)) ** 0.5


def test_rate():
    check_rate()


def test_planted_threshold_of_a_signed_half_is_caught(monkeypatch):
    true = torch.Tensor.view
    monkeypatch.setattr(torch.Tensor, "view", lambda self, *a: true(self, *a).clamp_(min=-32000))
    with pytest.raises(AssertionError, match="abs"):
        check_rate()


def test_the_largest_p_keeps_a_few():
    x = torch.ones(64, 65536)
    stay = dropout_module.dropout_mask(3, list(range(64)), (0, 0), 1 - 1e-9, x)
    assert 0 < int(stay.sum()) < 200


def test_numbers_of_any_kind_name_the_samples():
    import numpy as np

    assert torch.equal(dropped(np.array([3, 7]), seed=np.int64(1)), dropped([3, 7]))


def test_identity_without_context_and_in_eval_and_the_global_generator_stays():
    before = torch.get_rng_state()
    assert Dropout(0.5)(ONES) is ONES
    layer = Dropout(0.5).eval()
    with keyed_dropout(0, [0, 1, 2, 3], 0):
        assert layer(ONES) is ONES
    dropped([0, 1])
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_input():
    with pytest.raises(BadInput, match="probability"):
        Dropout(1.0)
    with pytest.raises(BadInput, match="names 2 samples"), keyed_dropout(0, [0, 1], 0):
        Dropout(0.5)(ONES)
