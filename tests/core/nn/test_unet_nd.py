"""The U-Net in one, two and three dimensions."""

import pytest
import torch
from sonolux.core.nn import spatial
from sonolux.core.nn.layers.conv import Conv1d
from sonolux.core.nn.layers.dropout import keyed_dropout
from sonolux.core.nn.layers.init import normal_
from sonolux.core.nn.unet import UNetND
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, Conditioning
from sonolux.core.util.rng import keyed_generator

LEVEL = torch.tensor([-1.0, 0.7], dtype=torch.float64)


def net(dims: int, **options) -> UNetND:
    """A small U-Net in float64 whose zero layers were woken, so that every path counts."""
    made = UNetND(dims, 3, **{"width": 8, "blocks": 1, "attention": [1], "head_dim": 8, "patch": 2, **options}).double()
    for name, p in made.named_parameters():
        if p.ndim > 1 and p.abs().max() == 0:
            normal_(p, keyed_generator(0, 0, "wake", name), 0.1)
    return made


def drawn(*shape: int) -> torch.Tensor:
    return torch.from_numpy(keyed_generator(1, 0, "x", shape).standard_normal(shape))


def told(width: int = 16) -> Conditioning:
    return Conditioning(vector={"label": drawn(2, width), "pitch": drawn(2, width, 1)[..., 0]})


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1,), (7,), (16,), (5, 3), (13, 8), (5, 6, 7)])
def test_any_size_gives_its_own_size_with_finite_gradients(size):
    model, x = net(len(size)), drawn(2, 3, *size)
    out = model(x, LEVEL, told())
    assert out.shape == x.shape
    out.square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name


def test_output_starts_at_zero():
    model = UNetND(2, 3, width=8)
    assert model(drawn(2, 3, 8, 8).float(), LEVEL.float()).abs().max() == 0


def check_map(size: tuple[int, ...]) -> None:
    """A constant map is the number; a map acts where it differs."""
    model, x = net(len(size)), drawn(2, 3, *size)
    number = model(x, LEVEL, told())
    level = LEVEL.reshape(-1, *[1] * (x.ndim - 1)).expand(-1, -1, *size)
    assert (model(x, level, told()) - number).abs().max() < 1e-6 * number.abs().max()
    far = level.clone()
    far[..., -2:] += 1
    assert (model(x, far, told()) - number).abs().max() > 1e-3 * number.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16,), (13,), (8, 12), (7, 9)])
def test_constant_map_equals_the_number(size):
    check_map(size)


def test_planted_error_in_padding_the_map_is_caught(monkeypatch):
    right = spatial._extend
    monkeypatch.setattr(spatial, "_extend", lambda x, extra, wrap, mode: right(x, extra, wrap, "constant"))
    assert_caught(check_map, (7, 9))


def test_a_number_a_sample_is_a_number_for_that_sample_alone():
    model, x = net(1), drawn(2, 3, 16)
    both = model(x, LEVEL, told())
    rows = [
        model(x[i : i + 1], LEVEL[i : i + 1], Conditioning({k: v[i : i + 1] for k, v in told().vector.items()}))
        for i in range(2)
    ]
    torch.testing.assert_close(both, torch.cat(rows))
    swapped = model(x, LEVEL.flip(0), told())
    assert (swapped - both).abs().amax((1, 2)).min() > 1e-3


def check_wrap(dims: int, axes: tuple[int, ...]) -> None:
    """Rolled by a multiple of the coarsest block along wrapped axes, the input rolls the output."""
    model, size = net(dims), (16, 8, 8)[:dims]
    x, record = drawn(2, 3, *size), told()
    record = Conditioning(record.vector, wrap=axes)
    where = [2 + a for a in axes]
    shift = [model.factor] * len(axes)
    torch.testing.assert_close(model(x.roll(shift, where), LEVEL, record), model(x, LEVEL, record).roll(shift, where))


@pytest.mark.parametrize(("dims", "axes"), [(1, (0,)), (2, (0, 1)), (2, (1,))])
def test_wrapped_axes_roll(dims, axes):
    check_wrap(dims, axes)


def test_planted_error_a_convolution_that_forgets_to_wrap_is_caught(monkeypatch):
    forward = Conv1d.forward
    monkeypatch.setattr(Conv1d, "forward", lambda self, x, wrap=(): forward(self, x))
    assert_caught(check_wrap, 1, (0,))


def test_what_is_masked_does_not_matter():
    model, x = net(1), drawn(2, 3, 16)
    valid = torch.ones(2, 1, 16, dtype=torch.float64)
    valid[1, :, 10:] = 0
    other = torch.where(valid.bool(), x, drawn(2, 3, 16, 1)[..., 0])
    record = Conditioning(told().vector, valid=valid)
    assert torch.equal(model(x, LEVEL, record), model(other, LEVEL, record))


def test_conditions_add_up():
    model, x = net(1), drawn(2, 3, 16)
    total = Conditioning({"one": sum(told().vector.values())})
    torch.testing.assert_close(model(x, LEVEL, told()), model(x, LEVEL, total))
    assert not torch.allclose(model(x, LEVEL, told()), model(x, LEVEL))


def test_dropout_does_not_depend_on_the_rest_of_the_batch():
    model, x = net(1, dropout=0.3).train(), drawn(2, 3, 16)
    with keyed_dropout(0, [4, 9], 2):
        both = model(x, LEVEL)
    with keyed_dropout(0, [9], 2):
        alone = model(x[1:], LEVEL[1:])
    torch.testing.assert_close(both[1:], alone)
    assert not torch.allclose(both, model(x, LEVEL))


def test_channels_last_gives_the_same():
    model, x = net(2), drawn(2, 3, 8, 12)
    number = model(x, LEVEL, told())
    last = model.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), LEVEL, told())
    torch.testing.assert_close(last, number)


def test_building_is_deterministic_and_leaves_the_global_generator():
    before = torch.get_rng_state()
    one, two = UNetND(1, 3), UNetND(1, 3)
    assert torch.equal(torch.get_rng_state(), before)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": []}, "multipliers"),
        ({"stages": [1, 0]}, "multipliers"),
        ({"attention": [2]}, r"stages 0 \(finest\) to 1"),
        ({"blocks": 0}, "at least 1"),
        ({"dims": 4}, "spatial axes"),
        ({"width": 12, "attention": [0]}, "head_dim"),
        ({"dropout": 1.5}, "probability"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(BadInput, match=message):
        UNetND(**{"dims": 1, "channels": 3, **options})


def check_positions(dims: int = 1) -> None:
    """A network that receives positions answers differently to a shifted input; along a loop it rolls again."""
    n = (16,) * dims
    model, x, level = net(dims, positions=3, places=n), drawn(2, 3, *n), LEVEL
    out, shifted = model(x, level), model(x.roll(8, -1), level).roll(-8, -1)
    assert not torch.allclose(out, shifted, atol=1e-3)
    loop = Conditioning(wrap=tuple(range(dims)))
    assert torch.allclose(model(x, level, loop), model(x.roll(8, -1), level, loop).roll(-8, -1), atol=1e-10)


def test_positions_are_given_except_along_a_loop():
    check_positions(1)
    check_positions(2)


def test_a_size_without_positions_is_refused_but_along_a_loop():
    model = net(2, positions=2, places=(8, 12))
    model.check_size((8, 12))
    model.check_size((9, 40), wrap=(0, 1))
    model.check_size((9, 12), wrap=(0,))
    for size, wrap in (((9, 12), ()), ((8, 13), (0,)), ((9, 12), (1,))):
        with pytest.raises(BadInput, match=r"network\.positions=0"):
            model.check_size(size, wrap)
    net(2).check_size((99, 99))


def test_positions_that_ignore_the_loop_are_caught(monkeypatch):
    true = UNetND._positions
    monkeypatch.setattr(UNetND, "_positions", lambda self, x, wrap: true(self, x, ()))
    assert_caught(check_positions)
