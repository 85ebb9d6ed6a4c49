"""`sonolux.sample`: run a sampler on any network, without a recipe or a checkpoint."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

from ..config.registry import find_class, is_code_reference
from ..editing.base import Edit
from ..guidance.base import Guidance
from ..nn.model import UserModuleDenoiser
from ..noise_conditioning.base import NoiseConditioning
from ..parameterizations.base import Parameterization
from ..samplers.base import Sampler, StepProgress
from ..schedulers.base import Schedule
from ..timesteps.base import TimestepSpacing
from ..types import BadInput, Conditioning, Denoiser, NoiseLevel
from ..util.device import choose_device
from ..util.limits import MOST_STEPS
from ..util.rng import KeyedNoise
from .solver_setup import set_up_solver

# Keyword of the first edition -> its new name; old keywords are accepted for one release.
RENAMED = {
    "prediction": "parameterization",  # first edition
    "clock": "noise_conditioning",  # first edition
    "spacing": "timesteps",  # first edition
    "conditions": "conditioning",  # first edition
}
_BASES = {
    "schedule": Schedule,
    "parameterization": Parameterization,
    "noise_conditioning": NoiseConditioning,
    "sampler": Sampler,
    "timesteps": TimestepSpacing,
    "guidance": Guidance,
}


def sample(
    denoiser: Denoiser | nn.Module | Callable[..., Any],
    shape: Sequence[int],
    schedule: Schedule | str = "edm",
    parameterization: Parameterization | str = "edm",
    noise_conditioning: NoiseConditioning | str = "c_noise",
    sampler: Sampler | str = "dpmpp_2m",
    timesteps: TimestepSpacing | Sequence[NoiseLevel] | Sequence[float] | Tensor | str = "karras",
    steps: int = 20,
    guidance: Guidance | str | Sequence[Guidance | str] | None = None,
    conditioning: Conditioning | None = None,
    seed: int = 0,
    first: int = 0,
    device: torch.device | str = "cpu",
    on_step: Callable[[StepProgress], None] | None = None,
    shapes: Sequence[tuple[int, ...]] | None = None,
    samples: Sequence[int] | None = None,
    edits: Sequence[Edit] = (),
    *,
    x: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    requires_grad: bool = False,
    network_kwargs: Mapping[str, Any] | None = None,
    **renamed: Any,
) -> Tensor:
    """Sample x0 (B, C, *spatial) from keyed noise.

    A component is given as an object, or by its registered name, which uses its defaults.

    Args:
        denoiser: A Denoiser; or a module or function that is called as net(x, t, **network_kwargs) and returns a tensor
            or an object with a tensor `sample` (networks of diffusers). `parameterization` then defines the meaning
            of the output, and `noise_conditioning` that of t.
        shape: (B, C, *spatial).
        schedule: The noise schedule.
        parameterization: What the network predicts.
        noise_conditioning: How the network is given the noise level.
        sampler: The sampling method.
        timesteps: Where the sampler evaluates: a timestep spacing, a list of noise levels, or a list of decreasing
            times in the schedule's units (sigma on `edm`); the clean time is appended if it is missing.
        steps: Number of steps; not used with a list of levels or times.
        guidance: One guidance, or several that are applied in order.
        conditioning: The conditioning of each row.
        seed: Row i is sample `first` + i of this seed, for any batch size.
        first: Sample number of the first row.
        device: The device of the computation.
        on_step: Called at the end of every step.
        shapes: (C, *spatial) of each row, if rows are padded to `shape`: noise is drawn at the shape of the row.
        samples: Sample number of each row, if they are not consecutive from `first`.
        edits: Edits of the run, see core/editing; they are applied in order.
        x: Initial state (B, C, *spatial) at the first level, instead of noise.
        dtype: Dtype of the samples.
        requires_grad: Record gradients through the whole run.
        network_kwargs: Further keyword arguments of the user's network.

    Returns:
        Samples (B, C, *spatial).

    Raises:
        BadInput: Arguments do not fit together, or an estimate of the network is not finite.
    """
    if renamed:
        return sample(**_with_new_names(locals()))
    shape, device = _shape(shape), choose_device(str(device))
    _check_options(dtype, steps)
    process: Schedule = _component("schedule", schedule)
    levels = _levels(timesteps, process, steps, shape)
    method: Sampler = _component("sampler", sampler)
    network: Any = denoiser
    if not isinstance(denoiser, Denoiser):
        network = UserModuleDenoiser(
            denoiser,
            _component("parameterization", parameterization),
            _component("noise_conditioning", noise_conditioning),
            network_kwargs,
        )
    elif network_kwargs:
        raise BadInput("network_kwargs are for a module or function; a Denoiser takes its conditioning instead")
    noise = KeyedNoise(seed, _rows(samples, first, shape), _row_shapes(shapes, shape), device, dtype)
    listed = guidance if isinstance(guidance, (list, tuple)) else [] if guidance is None else [guidance]
    parts = [_component("guidance", part) for part in listed]
    conditioning = Conditioning() if conditioning is None else conditioning
    start = _initial_state(x, noise, shape)
    run = set_up_solver(network, process, method, levels, conditioning, noise, parts, edits, start)
    return run.solve(on_step, requires_grad)


def _with_new_names(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments under their new names; warns once about the old ones."""
    renamed = given.pop("renamed")
    unknown = [name for name in renamed if name not in RENAMED]
    if unknown:
        raise TypeError(f"sample() got an unexpected keyword argument {unknown[0]!r}")
    defaults = {name: p.default for name, p in inspect.signature(sample).parameters.items()}
    for old in renamed:
        if given[RENAMED[old]] is not defaults[RENAMED[old]]:
            raise BadInput(f"{old} is the old name of {RENAMED[old]}, which is given too: remove one of them")
    changes = ", ".join(f"{old} is now {RENAMED[old]}" for old in renamed)
    message = f"sonolux.sample: {changes}; the next release removes the old names"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
    return given | {RENAMED[old]: value for old, value in renamed.items()}


def _component(kind: str, value: Any) -> Any:
    if isinstance(value, str):
        return _named(kind, value)()
    if isinstance(value, type):
        raise BadInput(f"the {kind} is an object, not a class: write {value.__name__}(), not {value.__name__}")
    if not isinstance(value, _BASES[kind]) and not (kind == "guidance" and callable(getattr(value, "wrap", None))):
        raise BadInput(f"the {kind} is a registered name or a {_BASES[kind].__name__} object, not {value!r}")
    return value


def _named(kind: str, name: str) -> type:
    return find_class(kind, name) if is_code_reference(name) else _registered(kind, name)


@lru_cache(maxsize=128)
def _registered(kind: str, name: str) -> type:
    """A registered component; cached, since the search reads folders and takes longer than a short run."""
    return find_class(kind, name)


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, (Sequence, torch.Size)) else ()
    if len(sizes) < 2 or not all(_is_whole(n) and n >= 1 for n in sizes):
        raise BadInput(f"the shape of the samples is (B, C, *spatial), whole numbers from 1; got {shape!r}")
    return tuple(int(n) for n in sizes)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_options(dtype: Any, steps: Any) -> None:
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise BadInput(f"dtype is a floating-point type of torch, such as torch.float32, not {dtype!r}")
    if not _is_whole(steps) or not 1 <= steps <= MOST_STEPS:
        raise BadInput(f"steps must be at least 1 and at most {MOST_STEPS}, and whole, not {steps!r}")


def _levels(timesteps: Any, schedule: Schedule, steps: int, shape: tuple[int, ...]) -> list[NoiseLevel]:
    """The noise levels of the run, in decreasing order."""
    if isinstance(timesteps, (str, TimestepSpacing, type)):
        return list(_component("timesteps", timesteps).levels(schedule, steps))
    given: Any = timesteps.tolist() if hasattr(timesteps, "tolist") else timesteps  # tensors and numpy arrays
    if not isinstance(given, Sequence) or isinstance(given, Mapping):
        raise BadInput(f"the timesteps are a name, a component, a list of levels or of times, not {timesteps!r}")
    if len(given) == 0:
        raise BadInput("the timesteps are an empty list: give at least two levels, or times")
    if all(isinstance(level, NoiseLevel) for level in given):
        for i, level in enumerate(given):
            _check_size(level, i, shape)
        return list(given)
    if not all(isinstance(t, Real) and not isinstance(t, bool) for t in given):
        raise BadInput(f"the timesteps are a name, a component, a list of levels or of times, not {timesteps!r}")
    return _at_times([float(t) for t in given], schedule)


def _at_times(times: list[float], schedule: Schedule) -> list[NoiseLevel]:
    for t in times:
        if not schedule.t_clean <= t <= schedule.t_max:
            limits = f"from {schedule.t_clean:g} (clean) to {schedule.t_max:g}"
            raise BadInput(f"the time {t:g} is not in the schedule: times are {limits}")
    if times[-1] != schedule.t_clean:
        times = [*times, schedule.t_clean]
    return [schedule.level(t) for t in times]


def _check_size(level: NoiseLevel, i: int, shape: tuple[int, ...]) -> None:
    """Raise BadInput if the maps of a level do not broadcast against the samples."""
    wanted = (shape[0], 1, *shape[2:])
    for value in (level.t, level.alpha, level.sigma):
        if not isinstance(value, Tensor) or value.ndim == 0:
            continue
        sizes = tuple(value.shape)
        fits = sizes[0] in (1, shape[0]) if value.ndim == 1 else len(sizes) == len(wanted)
        if value.ndim > 1 and fits:
            fits = all(n in (1, m) for n, m in zip(sizes, wanted, strict=True))
        if not fits:
            raise BadInput(f"level {i} is {sizes}: levels are numbers, ({shape[0]},), or maps {wanted}")


def _rows(samples: Any, first: int, shape: tuple[int, ...]) -> Sequence[int]:
    """The sample number of each row."""
    if samples is None:
        return range(first, first + shape[0])
    rows = list(samples)
    if len(rows) != shape[0]:
        raise BadInput(f"samples numbers {len(rows)} rows, and the shape {shape} has {shape[0]}")
    return rows


def _row_shapes(shapes: Any, shape: tuple[int, ...]) -> Any:
    """The shape at which the noise of each row is drawn."""
    if shapes is None:
        return tuple(shape[1:])
    rows = [tuple(row) for row in shapes]
    if len(rows) != shape[0]:
        raise BadInput(f"shapes lists {len(rows)} rows, and the shape {shape} has {shape[0]}")
    for i, row in enumerate(rows):
        if len(row) != len(shape) - 1 or row[0] != shape[1] or any(n > m for n, m in zip(row, shape[1:], strict=True)):
            raise BadInput(f"row {i} has the shape {row}, which is not (C, *spatial) within {tuple(shape[1:])}")
    if tuple(max(sizes) for sizes in zip(*rows, strict=True)) != tuple(shape[1:]):
        raise BadInput(f"no row reaches the shape {tuple(shape[1:])} that rows are padded to: make the shape smaller")
    return rows


def _initial_state(x: Tensor | None, noise: KeyedNoise, shape: tuple[int, ...]) -> Tensor | None:
    """The initial state that the user gave, on the right device; None: it is drawn."""
    if x is None:
        return None
    if not isinstance(x, Tensor) or tuple(x.shape) != shape:
        got = tuple(x.shape) if isinstance(x, Tensor) else repr(x)
        raise BadInput(f"x, the start, is a tensor of the shape {shape} at the first level, not {got}")
    return x.to(noise.device, noise.dtype)
