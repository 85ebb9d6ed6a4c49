"""Checkpoints: one safetensors file with weights, their average, the fitted codec and the optimiser's state.

The header contains the recipe and the properties of the data as JSON. Reading a checkpoint never runs code; writing one
is atomic.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..config.legacy import renamed_guidance
from ..data.clip_lengths import ClipLengths
from ..nn.first_edition import upgrade_state_dict
from ..types import BadInput, MediaSpec

FORMAT = 2
READABLE_FORMATS = (1, 2)  # 1: the first edition's


class NotSaved(Exception):
    """A checkpoint cannot be written: no space or no permission. Earlier checkpoints are not changed."""


@dataclass(frozen=True)
class CheckpointHeader:
    """The header of a checkpoint.

    Attributes:
        recipe: The resolved recipe, YAML.
        spec: Properties of the media, with the classes of the data.
        step: Optimiser steps made.
        elapsed: Seconds of training, in wall-clock time.
        clip_lengths: Lengths of training examples; empty if none of these states its length.
        plans: Number of evaluations -> calibrated plan, see `sonolux calibrate`.
    """

    recipe: str
    spec: MediaSpec
    step: int
    elapsed: float
    clip_lengths: ClipLengths = ()
    plans: Mapping[int, dict[str, Any]] = field(default_factory=dict)


def save(
    path: Path, header: CheckpointHeader, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer | None
) -> None:
    """Write a checkpoint under a temporary name, sync and rename it, so that it is never incomplete.

    Args:
        path: The checkpoint.
        header: Its header.
        modules: Name of the part, such as "model" -> module.
        optimizer: The optimiser, whose state is saved; None: no state.

    Raises:
        NotSaved: The file cannot be written.
    """
    tensors = {f"{part}.{k}": v for part, module in modules.items() for k, v in module.state_dict().items()}
    if optimizer is not None:
        for i, state in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in state.items()})
    _write(path, header, {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()})


def replace_header(path: Path, header: CheckpointHeader) -> None:
    """Replace the header of a checkpoint, atomically, without a change of its tensors.

    Raises:
        NotSaved: The file cannot be written.
    """
    file = _open(path)
    _write(path, header, {k: file.get_tensor(k).clone() for k in file.keys()})  # noqa: SIM118


def _write(path: Path, header: CheckpointHeader, tensors: dict[str, Tensor]) -> None:
    facts = {
        "format": FORMAT,
        "recipe": header.recipe,
        "spec": header.spec.to_dict(),
        "step": header.step,
        "elapsed": header.elapsed,
        "clip_lengths": header.clip_lengths,
        "plans": header.plans,
    }
    meta = {"sonolux": json.dumps(facts)}
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)  # it may be a link to another file, in a folder of others
        save_file(tensors, part, metadata=meta)
        with open(part, "rb") as f:
            os.fsync(f.fileno())
        os.replace(part, path)
    except (SafetensorError, OSError) as e:
        raise NotSaved(f"{path} cannot be written ({e})") from e
    finally:
        part.unlink(missing_ok=True)


def read_header(path: Path) -> CheckpointHeader:
    """The header of a checkpoint.

    Raises:
        BadInput: The file is damaged or not a checkpoint of sonolux.
    """
    meta = _open(path).metadata() or {}
    if "sonolux" not in meta:
        raise BadInput(f"{path}: a safetensors file, but not a sonolux checkpoint (its header names no recipe)")
    try:
        facts: dict[str, Any] = json.loads(meta["sonolux"])
        written = facts["format"]
        if written in READABLE_FORMATS:
            return _header(_first_edition(facts) if written == 1 else facts)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise BadInput(f"{path}: damaged: its header cannot be read ({type(e).__name__}: {e})") from e
    known = " and ".join(map(str, READABLE_FORMATS))
    raise BadInput(f"{path}: checkpoint format {written}, and this version reads formats {known}: upgrade sonolux")


def _header(facts: Mapping[str, Any]) -> CheckpointHeader:
    """The header of format 2."""
    return CheckpointHeader(
        recipe=str(facts["recipe"]),
        spec=MediaSpec.from_dict(facts["spec"]),
        step=int(facts["step"]),
        elapsed=float(facts["elapsed"]),
        clip_lengths=tuple((int(n), label) for n, label in facts.get("clip_lengths", ())),
        plans={int(nfe): plan for nfe, plan in facts.get("plans", {}).items()},
    )


def _first_edition(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the entries of a header from format 1 to format 2: `signal` is now `spec`, `takes` is `clip_lengths`."""
    plans = {
        nfe: {**plan, "guidance": renamed_guidance(plan.get("guidance"))}
        for nfe, plan in facts.get("plans", {}).items()
    }
    return {**facts, "spec": facts["signal"], "clip_lengths": facts.get("takes", ()), "plans": plans}


def read(path: Path, module: nn.Module, part: str) -> None:
    """Load the tensors of one part into a module.

    Args:
        path: The checkpoint.
        module: The module.
        part: Name of the part, such as "model", "ema" or "codec".

    Raises:
        BadInput: The tensors do not fit the module.
    """
    file = _open(path)
    found = {k[len(part) + 1 :]: file.get_tensor(k) for k in file.keys() if k.startswith(part + ".")}  # noqa: SIM118
    wanted = module.state_dict()
    found = upgrade_state_dict(found, part, wanted.keys())
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    misfits = [k for k in wanted.keys() & found.keys() if wanted[k].shape != found[k].shape]
    kinds = [k for k in wanted.keys() & found.keys() if wanted[k].is_floating_point() != found[k].is_floating_point()]
    if missing or extra or misfits or kinds:
        what = "; ".join(
            f"{len(names)} {problem} (first: {names[0]})"
            for names, problem in (
                (missing, "tensors missing"),
                (extra, "tensors too many"),
                (misfits, "of other shapes"),
                (kinds, "of other types"),
            )
            if names
        )
        raise BadInput(f"{path}: its {part} does not fit this recipe: {what}")
    module.load_state_dict(found)


def read_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> None:
    """Load the optimiser's state.

    Each tensor gets the memory layout of its parameter, since fused updates use the order in memory, not indices.

    Raises:
        BadInput: The state belongs to other weights: a tensor has another shape, or a weight has no state.
    """
    file = _open(path)
    params = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for k in file.keys():  # noqa: SIM118
        if k.startswith("optimizer."):
            _, i, name = k.split(".", 2)
            if not i.isdecimal() or int(i) >= len(params):
                raise BadInput(f"{path}: its optimiser does not fit this recipe: {k} belongs to no weight")
            value, param = file.get_tensor(k), params[int(i)]
            if value.ndim and value.shape != param.shape:
                shapes = f"{tuple(value.shape)}, and the weight {tuple(param.shape)}"
                raise BadInput(f"{path}: its optimiser does not fit this recipe: {k} has the shape {shapes}")
            if value.shape == param.shape:
                value = torch.empty_like(param, dtype=value.dtype, requires_grad=False).copy_(value)
            state.setdefault(int(i), {})[name] = value
    names = set().union(*state.values())
    lacking = [f"{i}.{name}" for i in range(len(params)) for name in sorted(names - state.get(i, {}).keys())]
    if lacking:
        raise BadInput(
            f"{path}: its optimiser does not fit this recipe: {len(lacking)} tensors missing "
            f"(first: optimizer.{lacking[0]})"
        )
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _open(path: Path):
    if not path.is_file():
        raise BadInput(f"{path}: no such checkpoint")
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as e:
        raise BadInput(f"{path}: damaged, or not a checkpoint ({e})") from e


def newest(run: Path) -> Path:
    """The latest checkpoint of a run folder; a checkpoint file is returned unchanged.

    Raises:
        BadInput: There is no checkpoint.
    """
    if run.is_file():
        if run.suffix in (".yaml", ".yml"):
            raise BadInput(f"{run} is a recipe: train it first, with sonolux train {run}")
        return run
    if not run.exists():
        near = Path("runs") / run
        hint = f"; did you mean {near}?" if near.exists() else ""
        raise BadInput(f"{run}: no such run or checkpoint{hint}")
    found = sorted((run / "checkpoints").glob("step-*.safetensors"))
    if not found:
        raise BadInput(f"{run}: contains no checkpoint: it was not trained yet, or is not a run folder")
    return found[-1]
