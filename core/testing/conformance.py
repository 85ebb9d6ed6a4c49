"""The conformance kit: requirements of every component, as functions that raise AssertionError.

A plugin calls them in its tests: `check_sampler(MySampler())`, `check_schedule(MySchedule())`. The built-in components
are tested with the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..noise_conditioning.base import NoiseConditioning
from ..objectives.timestep_sampling.base import TimestepSampling
from ..objectives.weightings.base import Weighting
from ..parameterizations.base import Parameterization
from ..samplers.base import Sampler, run_plan
from ..schedulers.base import NoiseLevel64, Schedule
from ..schedulers.discrete import Discrete
from ..schedulers.edm import EDM
from ..schedulers.rectified_flow import RectifiedFlow
from ..schedulers.vp_linear import VPLinear
from ..timesteps.base import TimestepSpacing
from ..types import BadInput, Conditioning, Estimate, NoiseLevel
from .guided import check_guidance as check_guidance
from .invariants import largest_deviation
from .moments import sampler_moments
from .networks import check_network as check_network
from .orders import even_tau_levels, interior_order, own_start_order, whole_range_order


def check_schedule(schedule: Schedule) -> None:
    """Range, monotonicity, exact ends, the inverse and the derivative of a schedule."""
    clean = schedule.level(schedule.t_clean)
    assert clean.alpha == 1 and clean.sigma == 0, "level(t_clean) is exactly alpha = 1, sigma = 0"
    assert float(schedule.t_of_rho(torch.zeros((), dtype=torch.float64))) == schedule.t_clean, "t_of_rho(0) is t_clean"
    assert schedule.t_clean <= schedule.t_min < schedule.t_max, "t_clean <= t_min < t_max"
    t = torch.linspace(schedule.t_min, schedule.t_max, 301, dtype=torch.float64)
    level = schedule.level(t)
    for name, values in (("alpha", level.alpha), ("sigma", level.sigma)):
        assert torch.isfinite(values).all() and (values >= 0).all(), f"{name} is finite and not negative"
    assert (torch.diff(level.tau) > 0).all(), "noise increases with t"
    assert (level.sigma > 0).all(), "sigma is positive between t_min and t_max"
    _check_inverse(schedule, t, level)
    _check_derivative(schedule, t)
    one = [schedule.level(v) for v in t[::50]]
    assert all(float(a.sigma) == float(s) for a, s in zip(one, level.sigma[::50], strict=True)), (
        "elementwise, bit for bit"
    )


def _check_inverse(schedule: Schedule, t: Tensor, level: NoiseLevel64) -> None:
    back = schedule.t_of_rho(level.rho)
    scale = schedule.t_max - schedule.t_clean
    assert torch.isfinite(back).all(), "t_of_rho is finite, at rho = inf too where alpha reaches 0"
    assert float((back - t).abs().max()) < 1e-9 * scale, "t_of_rho is the inverse of sigma / alpha"
    assert level.alpha[-1] == 0 or level.alpha[-1] > 1e-8, "alpha is exactly 0 where the schedule reaches pure noise"
    if level.alpha[-1] == 0:
        assert level.sigma[-1] == 1 and back[-1] == schedule.t_max, "pure noise has sigma exactly 1"


def _check_derivative(schedule: Schedule, t: Tensor) -> None:
    h = 1e-5 * (schedule.t_max - schedule.t_min)
    inside = t[1:-1] + 0.31 * h  # between the knots of a schedule that is defined on a grid
    exact = schedule.derivative(inside)
    for name, function, own in zip(("alpha", "sigma"), (schedule.alpha, schedule.sigma), exact, strict=True):
        central = (function(inside + h) - function(inside - h)) / (2 * h)
        error = (own - central).abs() / (own.abs().max() + 1e-12)
        assert float(error.quantile(0.95)) < 1e-5, f"derivative of {name} agrees with central differences"


def check_timesteps(timesteps: TimestepSpacing, schedule: Schedule, steps: Sequence[int] = (2, 5, 20)) -> None:
    """Decreasing levels within the schedule that end at clean data, in the requested number.

    Args:
        timesteps: The timestep spacing.
        schedule: The noise schedule.
        steps: Numbers of steps.
    """
    for n in steps:
        levels = timesteps.levels(schedule, n)
        tau = torch.stack([torch.as_tensor(level.tau) for level in levels])
        assert len(levels) == n + 1, f"{n} steps give {n + 1} levels"
        assert (torch.diff(tau) < 0).all(), "levels decrease"
        assert levels[-1].sigma == 0 and levels[-1].alpha == 1, "the last level is clean"
        assert tau[0] <= schedule.level(schedule.t_max).tau + 1e-12, "no level is above the schedule's noisiest"


LEVELS = [
    NoiseLevel(0.5, a, s) for a, s in ((0.0, 1.0), (1.0, 0.0), (1.0, 80.0), (0.6, 0.8), (0.3, 0.7), (0.999, 0.01))
]


def is_level_allowed(parameterization: Parameterization, level: NoiseLevel) -> bool:
    """Whether a parameterization accepts this level."""
    try:
        parameterization.check(level)
    except BadInput:
        return False
    return True


def check_parameterization(parameterization: Parameterization) -> None:
    """Round trip x0 -> target -> x0, the gain, unit variance of the input; for numbers, (B,) and maps."""
    from ..parameterizations.edm import EDM as Reference

    generator = torch.Generator().manual_seed(0)
    x0, eps, other = (torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=generator) for _ in range(3))
    for level in LEVELS:
        assert abs(parameterization.input_scale(level) ** 2 * (level.alpha**2 + level.sigma**2) - 1) < 1e-12, (
            "unit input"
        )  # type: ignore[operator]
        assert torch.isfinite(torch.as_tensor(parameterization.gain(level))), "the gain is finite at both ends"
        if not is_level_allowed(parameterization, level):
            assert level.alpha == 0 or level.sigma == 0, "only the ends may be refused"
            continue
        x = level.alpha * x0 + level.sigma * eps
        target = parameterization.target(x0, eps, level)
        back = parameterization.x0(x, target, level)
        assert torch.allclose(back, x0, atol=1e-9), (
            f"x0 is recovered from its target at alpha {level.alpha}, sigma {level.sigma}"
        )
        full = NoiseLevel(
            *(torch.full((3, 1, 4, 5), float(v), dtype=torch.float64) for v in (level.t, level.alpha, level.sigma))
        )
        assert torch.allclose(parameterization.x0(x, target, full), back, atol=1e-12), (
            "a constant map gives the result of the number"
        )
        if level.sigma == 0 or level.alpha == 0:
            continue
        # Another pair of data and noise with the same x: outputs differ by gain * edm's difference.
        shifted = (x - level.alpha * other) / level.sigma
        own = (parameterization.target(other, shifted, level) - target).abs()
        edm = (Reference().target(other, shifted, level) - Reference().target(x0, eps, level)).abs()
        assert torch.allclose(own, parameterization.gain(level) * edm, rtol=1e-8), (
            "gain converts errors from edm's space"
        )


def check_noise_conditioning(conditioning: NoiseConditioning) -> None:
    """Finite at both ends, moderate in size, the same for numbers and maps."""
    for level in LEVELS:
        value = float(conditioning.embedding_value(level))
        tensor = NoiseLevel(
            *(torch.full((2, 1, 3), float(v), dtype=torch.float64) for v in (level.t, level.alpha, level.sigma))
        )
        read = torch.as_tensor(conditioning.embedding_value(tensor))
        assert read.shape == (2, 1, 3) and torch.isfinite(read).all(), "finite, elementwise"
        assert abs(float(read[0, 0, 0]) - value) < 1e-12, "numbers and maps agree"
        assert abs(value) <= 20, "of moderate size"


def check_timestep_sampling(times: TimestepSampling, schedule: Schedule) -> None:
    """Within the schedule's range, increasing with u, elementwise, float64."""
    u = torch.linspace(0, 1 - 1e-9, 1001, dtype=torch.float64)
    t = times.sample(u, schedule)
    assert t.dtype == torch.float64 and t.shape == u.shape
    assert torch.isfinite(t).all() and t.min() >= schedule.t_min and t.max() <= schedule.t_max, "within the range"
    assert (torch.diff(t) >= 0).all(), "the inverse of a distribution function increases"
    assert torch.allclose(times.sample(u[100:200], schedule), t[100:200], rtol=1e-12), "a row depends only on its u"


def check_weighting(weighting: Weighting, parameterization: Parameterization) -> None:
    """Finite and not negative at every level, including both ends."""
    for level in LEVELS:
        tensor = NoiseLevel(*(torch.full((2,), float(v)) for v in (level.t, level.alpha, level.sigma)))
        weight = torch.as_tensor(weighting.weight(tensor, parameterization))
        assert weight.shape == (2,) and torch.isfinite(weight).all() and (weight >= 0).all(), "finite, not negative"


def check_plan(sampler: Sampler, schedule: Schedule, steps: int = 9, tolerance: float = 1e-9) -> None:
    """Both invariants at every point of the plan, from the schedule's first level to clean data."""
    plan = sampler.plan(schedule, even_tau_levels(schedule, steps))
    error = largest_deviation(plan)
    assert error.data < tolerance, f"a plan run on D = x0 gives alpha x0; the error is {error.data:.1e}"
    if sampler.keeps_marginal:
        assert error.noise < tolerance, f"the noise of every point has norm sigma; the error is {error.noise:.1e}"
    assert sum(row.step for row in plan.rows) == steps, "one row ends each step"
    assert bool(plan.noises) == (sampler.stochastic and steps > 1), (
        "stochastic samplers draw noise, deterministic ones do not"
    )


def check_level_maps(sampler: Sampler, schedule: Schedule, steps: int = 6) -> None:
    """A constant map gives bit for bit the result of the number; unchanged elements keep their value."""
    levels = even_tau_levels(schedule, steps)
    shape = (2, 3, 4, 5)
    maps = [NoiseLevel(*(torch.as_tensor(v).expand(2, 1, 4, 5) for v in (a.t, a.alpha, a.sigma))) for a in levels]
    for dtype in (torch.float32, torch.float64):
        x, noise = _start(shape, dtype), {}
        plan, mapped = sampler.plan(schedule, levels), sampler.plan(schedule, maps)
        assert plan.noises == mapped.noises, "a map draws the same noises"
        noise = {key: _start(shape, dtype, 1 + i) for i, key in enumerate(plan.noises)}
        assert torch.equal(run_plan(plan, _Smooth(), x, noise=noise), run_plan(mapped, _Smooth(), x, noise=noise)), (
            "bit for bit"
        )
    _check_staying(sampler, schedule, levels, shape)


def _check_staying(sampler: Sampler, schedule: Schedule, levels: Sequence[NoiseLevel], shape: tuple[int, ...]) -> None:
    """One element is clean from the start, one keeps its level for three steps; the others are not affected."""
    maps = []
    for i, own in enumerate(levels):
        fields = [torch.as_tensor(v).repeat(2, 1, 4, 5) for v in (own.t, own.alpha, own.sigma)]
        for field, clean, waits in zip(fields, _fields(schedule.clean()), _fields(levels[max(i - 3, 0)]), strict=True):
            field[0, 0, 0, 0], field[1, 0, 2, 2] = clean, waits
        maps.append(NoiseLevel(*fields))
    x = _start(shape, torch.float64)
    plan, mapped = sampler.plan(schedule, levels), sampler.plan(schedule, maps)
    noise = {key: _start(shape, torch.float64, 1 + i) for i, key in enumerate(mapped.noises)}
    out, plain = run_plan(mapped, _Smooth(), x, noise=noise), run_plan(plan, _Smooth(), x, noise=noise)
    assert torch.isfinite(out).all(), "finite where elements do not change"
    assert torch.equal(out[0, :, 0, 0], x[0, :, 0, 0]), "a clean element keeps its value"
    moves = torch.ones(2, 1, 4, 5, dtype=torch.bool)
    moves[0, 0, 0, 0] = moves[1, 0, 2, 2] = False
    assert torch.allclose((out - plain) * moves, torch.zeros_like(out), atol=1e-12), (
        "the other elements are not affected"
    )
    error = largest_deviation(mapped)
    assert error.data < 1e-9 and (error.noise < 1e-9 or not sampler.keeps_marginal), (
        "the invariants hold for mixed maps"
    )


def check_order(sampler: Sampler, tolerance: float = 0.2, schedules: Sequence[Schedule] | None = None) -> None:
    """A deterministic sampler has its stated order within `tolerance`.

    It is also finite with its own start, and on the whole interval from noise to clean data.

    Args:
        sampler: The sampler.
        tolerance: Largest difference between the measured and the stated order.
        schedules: Schedules for the measurement; None: vp_linear, edm, rectified_flow, and discrete with zero terminal
            SNR.
    """
    if sampler.order is None:
        return
    for schedule in schedules or (VPLinear(), EDM(), RectifiedFlow(), Discrete(zero_terminal=True)):
        name = type(schedule).__name__
        slope = interior_order(sampler, schedule).slope
        assert abs(slope - sampler.order) < tolerance, (
            f"order {sampler.order} is stated, {slope:.2f} measured on {name}"
        )
        for measure in (own_start_order, whole_range_order):
            assert measure(sampler, schedule, steps=(8, 16)).is_finite, f"{measure.__name__} is finite on {name}"


def check_distribution(sampler: Sampler) -> None:
    """Mean and variance of a stochastic sampler's results converge to those of the data, at least at first order.

    Exact moments on Gaussian data. A sampler that does not converge by design declares `converges = False`.
    """
    if not sampler.stochastic or not getattr(sampler, "converges", True):
        return
    mean, std = 0.7, 0.4
    for schedule in (VPLinear(), EDM(), RectifiedFlow()):
        name = type(schedule).__name__
        coarse, fine = (sampler_moments(sampler, schedule, even_tau_levels(schedule, n), mean, std) for n in (24, 72))
        off = abs(fine.mean - mean) / std
        assert off < 0.02, f"the mean is off by {off:.3f} standard deviations after 72 steps on {name}"
        before, after = (abs(m.variance / std**2 - 1) for m in (coarse, fine))
        assert after < 0.02 or (after < 0.12 and after < before / 2.4), (
            f"the variance is off by {before:.4f} after 24 steps and by {after:.4f} after 72 on {name}"
        )


def check_sampler(sampler: Sampler) -> None:
    """All requirements of a sampler, on a variance-preserving schedule, on EDM and on flow."""
    for schedule in (VPLinear(), EDM(), RectifiedFlow()):
        for steps in (1, 2, 9):
            check_plan(sampler, schedule, steps)
        check_level_maps(sampler, schedule)
    check_order(sampler)
    check_distribution(sampler)


class SamplerConformance:
    """The same checks as test methods, for a plugin's test suite.

    Subclass it in a file that pytest collects and set the sampler:

        class TestMine(SamplerConformance):
            sampler = Mine()

    Attributes:
        sampler: The sampler under test, with its options.
    """

    sampler: Sampler

    def test_invariants(self) -> None:
        """Plans of 1, 2 and 9 steps keep data and marginal, from the noisiest level to clean data."""
        for schedule in (VPLinear(), EDM(), RectifiedFlow()):
            for steps in (1, 2, 9):
                check_plan(self.sampler, schedule, steps)

    def test_maps(self) -> None:
        """A constant map gives bit for bit the result of the number; unchanged elements keep their value."""
        for schedule in (VPLinear(), EDM(), RectifiedFlow()):
            check_level_maps(self.sampler, schedule)

    def test_order(self) -> None:
        """The sampler has its stated order; the whole interval is finite."""
        check_order(self.sampler)

    def test_distribution(self) -> None:
        """A stochastic sampler gives the right mean and variance."""
        check_distribution(self.sampler)


class _Smooth:
    """A nonlinear estimate that acts element by element, so that elements do not influence each other."""

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        return Estimate(torch.tanh(x))


def _start(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _fields(level: NoiseLevel) -> tuple[float, float, float]:
    return float(level.t), float(level.alpha), float(level.sigma)
