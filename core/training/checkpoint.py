"""A checkpoint: one safetensors file with weights, their average, the fitted codec and the optimiser's state, and with
the recipe and the facts of its data as JSON in its header. Reading one never runs code; writing one is atomic."""

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

from ..data.clip_lengths import ClipLengths
from ..nn.first_edition import upgrade_state_dict
from ..types import BadInput, MediaSpec

FORMAT = 2
READS = (1, 2)  # 1: the first edition's


class NotSaved(Exception):
    """A checkpoint cannot be written: no space, or no right to. Those before it stand."""


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself.

    Attributes:
        recipe: the resolved recipe, YAML.
        spec: the facts of its data, classes included.
        step: optimiser steps made.
        elapsed: seconds of wall clock spent.
        takes: lengths of training examples, where they have their own.
        plans: calibrated plans by number of evaluations, see `sonolux calibrate`.
    """

    recipe: str
    spec: MediaSpec
    step: int
    elapsed: float
    clip_lengths: ClipLengths = ()
    plans: Mapping[int, dict[str, Any]] = field(default_factory=dict)


def save(path: Path, header: Header, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer | None) -> None:
    """Write under a temporary name, fsync, rename: a checkpoint is whole or absent. Raises NotSaved."""
    tensors = {f"{part}.{k}": v for part, module in modules.items() for k, v in module.state_dict().items()}
    if optimizer is not None:
        for i, state in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in state.items()})
    _write(path, header, {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()})


def relabel(path: Path, header: Header) -> None:
    """Give a checkpoint another header; its tensors stay as they are. Atomic. Raises NotSaved."""
    file = _open(path)
    _write(path, header, {k: file.get_tensor(k).clone() for k in file.keys()})  # noqa: SIM118


def _write(path: Path, header: Header, tensors: dict[str, Tensor]) -> None:
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
        save_file(tensors, part, metadata=meta)
        with open(part, "rb") as f:
            os.fsync(f.fileno())
        os.replace(part, path)
    except (SafetensorError, OSError) as e:
        raise NotSaved(f"{path} cannot be written ({e})") from e
    finally:
        part.unlink(missing_ok=True)


def read_header(path: Path) -> Header:
    """What the checkpoint says of itself.

    Raises:
        BadInput: If it is damaged or not ours.
    """
    meta = _open(path).metadata() or {}
    if "sonolux" not in meta:
        raise BadInput(f"{path}: a safetensors file, but not a sonolux checkpoint (its header names no recipe)")
    try:
        facts: dict[str, Any] = json.loads(meta["sonolux"])
        written = facts["format"]
        if written in READS:
            return _header(_first_edition(facts) if written == 1 else facts)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise BadInput(f"{path}: damaged: its header cannot be read ({type(e).__name__}: {e})") from e
    known = " and ".join(map(str, READS))
    raise BadInput(f"{path}: checkpoint format {written}, and this version reads formats {known}: upgrade sonolux")


def _header(facts: Mapping[str, Any]) -> Header:
    """The header of format 2."""
    return Header(
        recipe=str(facts["recipe"]),
        spec=MediaSpec.from_dict(facts["spec"]),
        step=int(facts["step"]),
        elapsed=float(facts["elapsed"]),
        clip_lengths=tuple((int(n), label) for n, label in facts.get("clip_lengths", ())),
        plans={int(nfe): plan for nfe, plan in facts.get("plans", {}).items()},
    )


def _first_edition(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a header of format 1 as format 2 has them: `spec` and `takes` have other names now."""
    return {**facts, "spec": facts["signal"], "clip_lengths": facts.get("takes", ())}


def read(path: Path, module: nn.Module, part: str) -> None:
    """Load the tensors of one part ("model", "ema", "codec") into a module.

    Raises:
        BadInput: If they do not fit.
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
            f"{len(names)} {said} (first: {names[0]})"
            for names, said in (
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
    """Load the optimiser's state, each tensor in its parameter's memory layout: fused updates walk memory, not indices.

    Raises:
        BadInput: If the file holds none, or that of other weights.
    """
    file = _open(path)
    params = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for k in file.keys():  # noqa: SIM118
        if k.startswith("optimizer."):
            _, i, name = k.split(".", 2)
            if not i.isdecimal() or int(i) >= len(params):
                raise BadInput(f"{path}: its optimiser does not fit this recipe: {k} belongs to no weight")
            value, like = file.get_tensor(k), params[int(i)]
            if value.shape == like.shape:
                value = torch.empty_like(like, dtype=value.dtype, requires_grad=False).copy_(value)
            state.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _open(path: Path):
    if not path.is_file():
        raise BadInput(f"{path}: no such checkpoint")
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as e:
        raise BadInput(f"{path}: damaged, or not a checkpoint ({e})") from e


def newest(run: Path) -> Path:
    """The last checkpoint of a run folder, or the file itself where a checkpoint is given."""
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
        raise BadInput(f"{run}: holds no checkpoint: it was not trained yet, or is not a run folder")
    return found[-1]
