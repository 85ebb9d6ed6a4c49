"""What a training run says before its first step and after its last one."""

from __future__ import annotations

from ..codecs.base import LearnedCodec
from ..util.device import uses_bf16
from ..util.messages import format_count, format_first
from .build import describe_captions
from .callbacks import RunState


def describe_run(run: RunState) -> list[str]:
    """What is trained, how long and where, and the captions, in a few lines."""
    parts, train = run.parts, run.recipe.train
    weights = sum(p.numel() for p in parts.model.parameters())
    length = format_count(train.minutes or 0, "minute") if train.steps is None else format_count(train.steps, "step")
    where = run.device.type if run.ranks.world == 1 else f"{run.ranks.world} processes, {run.device.type}"
    if run.trainer.shards is not None:
        copy = "together" if train.shard == "full" else "of a machine together"
        where += f", which keep one copy of the weights {copy},"
    kept = ", where the earlier run stays until the first checkpoint is saved" if run.folder.replaces else ""
    return [
        f"diffuses {tuple(parts.spec.latent)} with {weights / 1e6:.2f} M weights, batches of {train.batch}, "
        f"{length}, {where} in {'bf16' if uses_bf16(run.device, train.precision) else 'float32'}; "
        f"writes {run.folder.path}{kept}",
        *_describe_compilation(run),
        *_describe_codec(run),
        *describe_captions(parts.model, run.trainer.data),
    ]


def _describe_compilation(run: RunState) -> list[str]:
    count = run.trainer.compiled
    return [f"compiles {format_count(count, 'block')}: the first steps are slow"] if count else []


def _describe_codec(run: RunState) -> list[str]:
    codec = run.parts.codec
    if not isinstance(codec, LearnedCodec):
        return []
    off = run.trainer.latents is None and run.recipe.train.cache_latents == "auto"
    note = "; examples are encoded at every step, since augmentation changes them each time" if off else ""
    return [codec.describe() + note]


def describe_end(run: RunState, first: int) -> list[str]:
    """What went otherwise than planned, one line each.

    Args:
        run: The run, after its last step.
        first: Steps that were made before.
    """
    lines = []
    if run.step == first:
        lines.append(
            "no step was made: train.minutes passed while the data was read and the codec was fitted; increase it"
        )
    if lost := run.trainer.data_of_steps.lost:
        few = format_first(list(lost.values()), between="; ")
        lines.append(f"{len(lost)} of {format_count(len(run.trainer.data), 'example')} could not be used: {few}")
    if (message := run.budget.shortfall(run.step, run.folder.path)) is not None:
        lines.append(message)
    return lines
