"""Checkpoints: one safetensors file with weights, their average, the fitted codec and the optimiser's state.

The header contains the recipe and the properties of the data as JSON. Reading a checkpoint never runs code; writing one
is atomic.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ..codecs.base import LearnedCodec
from ..nn.legacy_weights import upgrade_names
from ..types import BadInput
from ..util.atomic_replace import PART
from ..util.folders import clear_own_name
from ..util.messages import did_you_mean, format_command, shorten
from ..util.notes import issue_note
from ..util.paths import check_path
from .header import CheckpointHeader, parse_header
from .packaged_models import find_packaged_model, packaged_models
from .stored_tensors import StoredTensors, is_finite

NEVER_NEGATIVE = ("step", "exp_avg_sq", "max_exp_avg_sq")  # of the state of torch's optimizers


class CheckpointNotSaved(Exception):
    """A checkpoint cannot be written; earlier checkpoints are not changed.

    Attributes:
        full: Whether the disk is full, so that another attempt may succeed later.
    """

    def __init__(self, path: Path, error: Exception):
        super().__init__(f"{path} cannot be written ({error})")
        codes = (errno.ENOSPC, errno.EDQUOT)
        self.full = any(f"os error {code}" in str(error) or getattr(error, "errno", 0) == code for code in codes)


class NotFinite(Exception):
    """Weights that are to be saved are not finite; the message is the name of the first such tensor."""


def save_checkpoint(
    path: Path, header: CheckpointHeader, parts: Mapping[str, nn.Module | Mapping[str, Tensor]]
) -> None:
    """Write a checkpoint under a temporary name, sync and rename it, so that it is never incomplete.

    Args:
        path: The checkpoint.
        header: Its header.
        parts: Name of the part, such as "model" -> module, or its tensors by name; "optimizer": `optimizer_state`.

    Raises:
        CheckpointNotSaved: The file cannot be written.
        NotFinite: A tensor contains values that are not finite, so that the checkpoint would be useless.
    """
    states = {name: one.state_dict() if isinstance(one, nn.Module) else one for name, one in parts.items()}
    tensors = {f"{name}.{k}": v for name, state in states.items() for k, v in state.items()}
    copies = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    if (name := next((k for k, v in copies.items() if not is_finite(v)), None)) is not None:  # on the host: no waits
        raise NotFinite(name)
    _write(path, header, copies)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as a part of a checkpoint: "number of the weight.name" -> tensor."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{k}": torch.as_tensor(v) for i, values in state.items() for k, v in values.items()}


def replace_header(path: Path, header: CheckpointHeader) -> None:
    """Replace the header of a checkpoint, atomically, without a change of its tensors.

    Raises:
        CheckpointNotSaved: The file cannot be written.
    """
    stored = StoredTensors(path)
    _write(path, header, {name: stored.read(name).clone() for name in stored.names})


def _write(path: Path, header: CheckpointHeader, tensors: dict[str, Tensor]) -> None:
    meta = {"sonolux": json.dumps(header.facts())}
    folder = path.parent / PART  # save_file writes a temporary file of its own next to its target
    try:
        clear_own_name(folder, folder=True)
        shutil.rmtree(folder, ignore_errors=True)  # of a killed process
        folder.mkdir(parents=True)
        part = folder / path.name
        part.touch()
        mode = (path if path.is_file() else part).stat().st_mode  # by the umask; save_file grants no rights to others
        save_file(tensors, part, metadata=meta)
        os.chmod(part, mode)
        _sync(part)
        os.replace(part, path)
        with suppress(OSError):  # not every file system can do it
            _sync(path.parent)
    except (SafetensorError, OSError) as e:
        raise CheckpointNotSaved(path, e) from e
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_header(path: Path) -> CheckpointHeader:
    """The header of a checkpoint.

    Raises:
        BadInput: The file is damaged or not a checkpoint of sonolux.
    """
    meta = StoredTensors(path).metadata
    if "sonolux" not in meta:
        raise BadInput(f"{path}: a safetensors file, but not a sonolux checkpoint (its header names no recipe)")
    return parse_header(meta["sonolux"], str(path))


def load_weights(path: Path, module: nn.Module, part: str) -> None:
    """Load the tensors of one part into a module.

    Args:
        path: The checkpoint.
        module: The module.
        part: Name of the part, such as "model", "ema" or "codec".

    Raises:
        BadInput: The tensors do not fit the module, or contain values that are not finite.
    """
    stored, wanted = StoredTensors(path), module.state_dict()
    names = _fitting(stored, wanted, part)
    module.load_state_dict({name: stored.read_weights(own, wanted[name].dtype) for name, own in names.items()})


def has_part(path: Path, part: str) -> bool:
    """Whether a checkpoint holds tensors of a part, such as "ema"."""
    return bool(StoredTensors(path).names_of(part))


def load_codec(path: Path, codec: nn.Module) -> None:
    """Load the fitted codec of a checkpoint; a network that its run has trained may have been read from a file here.

    Raises:
        BadInput: It is another codec, or the checkpoint holds no weights of it and no file is named.
    """
    if not isinstance(codec, LearnedCodec):
        return load_weights(path, codec, "codec")
    tensors = StoredTensors(path)
    stored = {name: tensors.read_weights(own) for name, own in tensors.names_of("codec").items()}
    try:
        adapted = codec.adapted_state(stored)
    except BadInput as error:
        raise BadInput(f"{path} {error}") from error
    if adapted is stored:
        return load_weights(path, codec, "codec")
    codec.load_state_dict(dict(adapted))


def check_fits(path: Path, module: nn.Module, part: str) -> None:
    """Raise BadInput if the tensors of one part do not fit a module, without a look at their values.

    The module may be on the device "meta": a recipe can describe a network that is larger than the memory.
    """
    _fitting(StoredTensors(path), module.state_dict(), part)


def _fitting(stored: StoredTensors, wanted: Mapping[str, Tensor], part: str) -> dict[str, str]:
    """Name in the module -> name in the file, for every tensor of a part.

    Raises:
        BadInput: Tensors are missing or too many, or have other shapes or types.
    """
    names = upgrade_names(stored.names_of(part), part, wanted.keys())
    both = {name: names[name] for name in wanted.keys() & names.keys()}
    real = [k for k in both if wanted[k].is_floating_point()]
    problems = {
        "tensors missing": wanted.keys() - names.keys(),
        "tensors too many": names.keys() - wanted.keys(),
        "of other shapes": [k for k, own in both.items() if list(wanted[k].shape) != stored.shape(own)],
        "of int8 without scales": [k for k in real if stored.lacks_scale(both[k])],
        "of other types": [k for k, own in both.items() if (k in real) != stored.is_real(own)],
    }
    what = [f"{len(found)} {problem} (first: {min(found)})" for problem, found in problems.items() if found]
    if what:
        raise BadInput(f"{stored.path}: its {part} does not fit this recipe: {shorten('; '.join(what), 300)}")
    return names


def load_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> int:
    """Load the optimiser's state.

    Each tensor gets the memory layout of its parameter, since fused updates use the order in memory, not indices.

    Returns:
        The number of weights whose state was loaded.

    Raises:
        BadInput: The state belongs to other weights, is incomplete, or contains values that cannot be.
    """
    stored = StoredTensors(path)
    params = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    misfit = f"{path}: its optimiser does not fit this recipe"
    for k in stored.names:
        if k.startswith("optimizer."):
            i, _, name = k.removeprefix("optimizer.").partition(".")
            if not re.fullmatch("[0-9]{1,9}", i) or int(i) >= len(params):
                raise BadInput(f"{misfit}: {k} belongs to no weight")
            value, param = stored.read(k), params[int(i)]
            if not value.is_floating_point():
                raise BadInput(f"{misfit}: {k} has the type {value.dtype}")
            if name in NEVER_NEGATIVE and bool((value < 0).any()):
                raise BadInput(f"{path}: damaged: {k} contains negative values: use an earlier checkpoint of the run")
            if value.ndim and value.shape != param.shape:
                shapes = f"{tuple(value.shape)}, and the weight {tuple(param.shape)}"
                raise BadInput(f"{misfit}: {k} has the shape {shapes}")
            if value.shape == param.shape:
                value = torch.empty_like(param, dtype=value.dtype, requires_grad=False).copy_(value)
            state.setdefault(int(i), {})[name] = value
    if not state:
        return 0
    found = {name for own in state.values() for name in own}
    if isinstance(optimizer, torch.optim.Adam):
        found |= {"step", "exp_avg", "exp_avg_sq"}
    # Names of the state of each weight; a group whose weights have other names than those of other groups states them.
    names = [set(group.get("state_names", found)) for group in optimizer.param_groups for _ in group["params"]]
    lacking = [f"{i}.{name}" for i, own in enumerate(names) for name in sorted(own - state.get(i, {}).keys())]
    if lacking:
        raise BadInput(f"{misfit}: {len(lacking)} tensors missing (first: optimizer.{lacking[0]})")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return len(state)


def newest_checkpoint(run: Path) -> Path:
    """The latest checkpoint of a run folder that is complete and finite; a checkpoint file is returned unchanged.

    The name of a packaged model stands for its checkpoint, unless there is a file or folder of this name.

    Raises:
        BadInput: There is no checkpoint.
    """
    check_path(run)
    if (packaged := find_packaged_model(run)) is not None:
        return packaged
    if run.is_file():
        if run.suffix in (".yaml", ".yml"):
            raise BadInput(f"{run} is a recipe: train it first, with {format_command('sonolux', 'train', run)}")
        return run
    if not run.exists():
        near = Path("runs") / run
        hint = f"; did you mean {near}?" if near.exists() else _hint_at_models(run)
        raise BadInput(f"{run}: no such run or checkpoint{hint}")
    found = sorted(p for p in (run / "checkpoints").glob("step-*.safetensors") if p.is_file())
    if not found:
        raise BadInput(f"{run}: contains no checkpoint: it was not trained yet, or is not a run folder")
    whole = next((path for path in reversed(found) if is_whole_checkpoint(path)), found[-1])
    if whole != found[-1]:
        issue_note(f"{found[-1]} is damaged: {whole.name} is used, the newest one that is whole", stacklevel=2)
    return whole


def _hint_at_models(run: Path) -> str:
    """The packaged models that a name may mean, for a message; "" for a path."""
    models = packaged_models()
    if not models or run.name != str(run) or run.suffix:
        return ""
    return f"{did_you_mean(run.name, models) or '.'} `sonolux models` lists the packaged models"


def is_whole_checkpoint(path: Path) -> bool:
    """Whether a checkpoint file is complete, its header can be read, and all of its values are finite."""
    try:
        read_header(path)
        stored = StoredTensors(path)
        for name in stored.names:
            stored.read(name)
    except BadInput:
        return False
    return True


def run_folder(checkpoint: Path) -> Path | None:
    """The run folder that holds a checkpoint; None for a checkpoint that was copied to another place."""
    above = checkpoint.absolute().parent
    return above.parent if above.name == "checkpoints" and (above.parent / "resolved.yaml").is_file() else None


def lock_folder(checkpoint: Path) -> Path:
    """The folder that a process locks to change a checkpoint: the run folder, or else the checkpoint's own folder."""
    return run_folder(checkpoint) or checkpoint.absolute().parent
