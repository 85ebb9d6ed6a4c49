"""Requirements of every guidance, as one function that raises AssertionError; plugins call it through `conformance`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..guidance.base import CONDITIONAL, Guidance, GuidanceChain, SamplingRun
from ..types import Conditioning, Denoiser, Estimate, NoiseLevel, broadcast_like
from ..util.rng import KeyedNoise

SHAPE = (3, 2, 4, 3)  # (B, C, H, W)
Guidances = Sequence[Guidance]
ALWAYS, MIDDLE = (0.0, 1.0), (0.3, 0.7)


class CountingDenoiser(Denoiser):
    """A smooth, elementwise estimate that depends on the conditions `a` and `b` and on the level, and counts calls.

    Args:
        shift: Makes two probes different.

    Attributes:
        calls: Number of rows of each call.
    """

    def __init__(self, shift: float = 0.0):
        self.shift, self.calls = shift, list[int]()

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """tanh(x / 2 + a pattern for each of a and b + tau), shape (B, C, *spatial)."""
        self.calls.append(len(x))
        place = torch.arange(x[0].numel(), dtype=torch.float64).reshape(x.shape[1:]).to(x)
        z = x / 2 + 0.1 * broadcast_like(level.exact(x).tau, x) + self.shift * torch.sin(place)
        for i, row in enumerate(conditions.vector.values()):
            z = z + row.to(x).reshape(-1, *[1] * (x.ndim - 1)) * torch.cos((i + 1) * place)
        return Estimate(torch.tanh(z))


def example_conditions(rows: int = SHAPE[0], valid: Tensor | None = None) -> Conditioning:
    """Conditions `a` and `b` of the first rows."""
    a, b = (torch.tensor([[v], [-2 * v], [v / 2]], dtype=torch.float64)[:rows] for v in (0.8, 0.5))
    return Conditioning({"a": a, "b": b}, {"a": torch.zeros_like(a), "b": torch.zeros_like(b)}, valid)


def flow_level(tau: float | Tensor) -> NoiseLevel:
    """The level of rectified flow at tau: a number, (B,), or a map."""
    return NoiseLevel(tau, 1 - tau, tau)


def wrap_guidances(parts: Guidances) -> tuple[Denoiser, CountingDenoiser]:
    """Guidances wrapped for one run, and the probe that they call."""
    probe = CountingDenoiser()
    whole = parts[0] if len(parts) == 1 else GuidanceChain(parts)
    return whole.wrap(probe, SamplingRun(KeyedNoise(0, range(SHAPE[0]), SHAPE[1:]))), probe


def noisy_batches(count: int = 3, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """`count` batches of noisy samples."""
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=rng, dtype=torch.float64).to(dtype) for _ in range(count)]


def run_guided_denoiser(
    parts: Guidances, xs: Sequence[Tensor], levels: Sequence[NoiseLevel], conditions: Conditioning
) -> list[Estimate]:
    """The estimates of one run with these calls."""
    guided, _ = wrap_guidances(parts)
    return [guided.denoise(x, level, conditions) for x, level in zip(xs, levels, strict=True)]


def check_guidance(
    make: Callable[[tuple[float, float]], Guidance], identity: Guidance | None = None, before: Guidances = ()
) -> None:
    """All requirements of a guidance: cost, window, levels, batches, runs, padding, gradients, precision, ends.

    Args:
        make: window -> the guidance with settings that have an effect, for conditions named a and b.
        identity: The guidance with settings that change nothing, if there are such settings.
        before: Guidances that precede it in the list, if it only modifies the effect of others.
    """

    def parts(window: tuple[float, float]) -> Guidances:
        return [*before, make(window)]

    _check_cost(parts, before)
    _check_window(parts, before)
    _check_levels(parts(MIDDLE), before)
    _check_batches(parts(MIDDLE))
    _check_runs(parts(ALWAYS))
    _check_padding(parts(ALWAYS))
    _check_numbers(parts(ALWAYS))
    if identity is not None:
        for tau in (0.05, 0.5, 0.95):
            made, plain = (_one(own, noisy_batches(1)[0], tau) for own in ([*before, identity], before))
            assert torch.allclose(made.x0, plain.x0, atol=1e-12), "these settings change nothing"


def _one(parts: Guidances, x: Tensor, tau: float | Tensor) -> Estimate:
    return run_guided_denoiser(parts, [x], [flow_level(tau)], example_conditions())[0]


def _check_cost(make: Callable[[tuple[float, float]], Guidances], before: Guidances) -> None:
    """One call, with one row per sample and branch, shared by equal branches; none where the window is closed."""
    x = noisy_batches(1)[0]
    for tau in (0.29, 0.3, 0.5, 0.7, 0.71):
        parts = make(MIDDLE) if 0.3 <= tau <= 0.7 else before
        branches = [] if parts and parts[0].starts else [CONDITIONAL]
        branches += [branch for part in parts for branch in part.branches(flow_level(tau))]
        rows = len({branch.drop for branch in branches if branch.denoiser is None})
        guided, probe = wrap_guidances(make(MIDDLE))
        guided.denoise(x, flow_level(tau), example_conditions())
        assert probe.calls == [rows * len(x)], f"one call of {rows} rows per sample at tau {tau}, not {probe.calls}"


def _check_window(make: Callable[[tuple[float, float]], Guidances], before: Guidances) -> None:
    x = noisy_batches(1)[0]
    for tau in (0.29, 0.3, 0.5, 0.7, 0.71):
        made, open_, plain = (_one(parts, x, tau) for parts in (make(MIDDLE), make(ALWAYS), before))
        if 0.3 <= tau <= 0.7:
            assert torch.equal(made.x0, open_.x0), "inside its window it acts as without a window"
            assert (made.x is not None) == make(MIDDLE)[-1].moves, "it changes the state if and only if `moves` is set"
            acts = made.x is not None or not torch.allclose(made.x0, plain.x0, atol=1e-6)
            assert acts, "with these settings it has an effect"
        else:
            assert torch.equal(made.x0, plain.x0) and made.x is None, "outside its window the estimate is unchanged"


def _check_levels(parts: Guidances, before: Guidances) -> None:
    """(B,) and maps give the result of numbers; an element outside the window keeps the conditional estimate."""
    xs = noisy_batches()
    for taus in ((0.6, 0.5, 0.4), (0.9, 0.5, 0.1), (1.0, 0.7, 0.3)):
        numbers = run_guided_denoiser(parts, xs, [flow_level(t) for t in taus], example_conditions())
        for shape in ((3,), (3, 1, 4, 3), (1, 1, 4, 3)):
            levels = [flow_level(torch.full(shape, t, dtype=torch.float64)) for t in taus]
            for one, other in zip(numbers, run_guided_denoiser(parts, xs, levels, example_conditions()), strict=True):
                assert torch.allclose(one.x0, other.x0, atol=1e-12), "a constant map gives the result of the number"
                if one.x is not None and other.x is not None:
                    assert torch.allclose(one.x, other.x, atol=1e-12), "also for the state"
    tau = torch.full((3, 1, 4, 3), 0.5, dtype=torch.float64)
    tau[..., 0], tau[..., 1] = 0.9, 0.0
    made, plain = _one(parts, xs[0], tau), _one(before, xs[0], tau)
    assert torch.equal(made.x0[..., :2], plain.x0[..., :2]), "the window acts elementwise"
    assert made.x is None or torch.equal(made.x[..., :2], xs[0][..., :2]), "outside the window the state is unchanged"
    assert torch.isfinite(made.x0).all()


def _check_batches(parts: Guidances) -> None:
    """A sample is the same alone and in a batch, also at its own levels."""
    xs, one = noisy_batches(), example_conditions()
    taus = torch.tensor([[0.6, 0.9, 0.5], [0.5, 0.5, 0.4], [0.4, 0.4, 0.2]], dtype=torch.float64)  # (call, sample)
    together = run_guided_denoiser(parts, xs, [flow_level(t) for t in taus], one)
    for i in range(SHAPE[0]):
        rows = one.rows(slice(i, i + 1))
        alone = run_guided_denoiser(parts, [x[i : i + 1] for x in xs], [flow_level(float(t)) for t in taus[:, i]], rows)
        for a, b in zip(together, alone, strict=True):
            assert torch.allclose(a.x0[i : i + 1], b.x0, atol=1e-12), (
                "a sample does not depend on the others of the batch"
            )


def _check_runs(parts: Guidances) -> None:
    """Stored state belongs to a run; no argument is modified."""
    xs, levels, states = (
        noisy_batches(),
        [flow_level(0.6), flow_level(0.5), flow_level(0.4)],
        [dict(vars(part)) for part in parts],
    )
    first = run_guided_denoiser(parts, xs, levels, example_conditions())
    for part, own in zip(parts, states, strict=True):
        same = vars(part).keys() == own.keys() and all(vars(part)[k] is v for k, v in own.items())
        assert same, "a run does not change the guidance itself"
    one, two = wrap_guidances(parts)[0], wrap_guidances(parts)[0]
    for x, level, made in zip(xs, levels, first, strict=True):
        before = x.clone()
        again = one.denoise(x, level, example_conditions()).x0
        two.denoise(-x, level, example_conditions())
        assert torch.equal(again, made.x0), "runs are independent"
        assert torch.equal(x, before), "x is not written to"


def _check_padding(parts: Guidances) -> None:
    valid = torch.ones(3, 1, 4, 3, dtype=torch.float64)
    valid[0, :, 2:], valid[1, :, :, 1:] = 0, 0
    levels, xs = [flow_level(0.6), flow_level(0.5), flow_level(0.4)], noisy_batches()
    other = [torch.where(valid > 0, x, 7.0) for x in xs]
    for a, b in zip(
        *(run_guided_denoiser(parts, x, levels, example_conditions(valid=valid)) for x in (xs, other)), strict=True
    ):
        assert torch.allclose(a.x0 * valid, b.x0 * valid, atol=1e-12), "padding has no influence"


def _check_numbers(parts: Guidances) -> None:
    """Gradients, float32, and both ends of the schedule."""
    x = noisy_batches(1)[0]
    rows = example_conditions()

    def made(x: Tensor) -> Tensor:
        return run_guided_denoiser(parts, [x], [flow_level(0.5)], rows)[0].x0

    assert torch.autograd.gradcheck(made, x.clone().requires_grad_(), atol=1e-6), "differentiable in x"
    single = run_guided_denoiser(
        parts, noisy_batches(dtype=torch.float32), [flow_level(0.6), flow_level(0.5), flow_level(0.4)], rows
    )
    double = run_guided_denoiser(parts, noisy_batches(), [flow_level(0.6), flow_level(0.5), flow_level(0.4)], rows)
    for a, b in zip(single, double, strict=True):
        assert a.x0.dtype == torch.float32 and (a.x is None or a.x.dtype == torch.float32), "the precision is that of x"
        assert torch.allclose(a.x0.double(), b.x0, atol=1e-4), "float32 is close to float64"
    for level in (
        flow_level(1.0),
        flow_level(0.0),
        NoiseLevel(80.0, 1.0, 80.0),
        flow_level(torch.tensor([1.0, 0.0, 0.5])),
    ):
        (ended,) = run_guided_denoiser(parts, [x.float()], [level], rows)
        assert torch.isfinite(ended.x0).all() and ended.x0.dtype == torch.float32, "finite at both ends"
        assert ended.x is None or (torch.isfinite(ended.x).all() and ended.x.dtype == torch.float32)
