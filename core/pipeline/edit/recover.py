"""Recovery of degraded files: samples that agree with a measurement of the file by a known linear operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.files import format_path
from ...degradations.base import LinearOperator
from ...editing.base import Edit
from ...editing.posterior.base import Observation, PosteriorEdit, PosteriorGuidance
from ...editing.posterior.dps import DPS
from ...editing.posterior.mmps import MMPS
from ...editing.posterior.pigdm import PiGDM
from ...types import BadInput
from ...util.rng import KeyedNoise
from ..lengths import PaddedBatch
from ..request import Rows
from .context import EditContext
from .file_request import FileRequest
from .options import RecoverOptions
from .source import Files, SourceFile, as_path_list

METHODS: dict[str, type[PosteriorGuidance]] = {"mmps": MMPS, "pigdm": PiGDM, "dps": DPS}

_LARGEST_ERROR = 0.1  # of a file after encoding and decoding, relative to the file


@dataclass(kw_only=True)
class RecoverRequest(FileRequest):
    """Samples given measurements, one per row.

    Attributes:
        context: The context of the edit.
        sources: The source of each row; all have one size.
        operator: The operator.
        measured: y of each row, (1, ...).
        noise: Standard deviation of the noise of y.
        method: The approximation of the posterior.
    """

    operator: LinearOperator
    measured: list[Tensor]
    noise: float
    method: PosteriorGuidance

    def edits(self, rows: Rows, batch: PaddedBatch) -> list[Edit]:
        inside, size = batch.shapes[0][1:], self.sources[0].size

        def decode(z: Tensor) -> Tensor:
            media = self.context.codec.decode(z[(..., *(slice(n) for n in inside))].float())
            return media[(..., *(slice(n) for n in size))]

        values = torch.cat([self.measured[i] for i in rows]).to(self.context.model.device)
        return [PosteriorEdit(Observation(self.operator, values, self.noise, decode), self.method)]


def recover_request(context: EditContext, files: Files, options: RecoverOptions) -> RecoverRequest:
    """Request media that agree with the measurement of each file.

    The measurement is the operator applied to the file as it is read, whether the file was degraded before or not.

    Raises:
        BadInput: A file cannot be read, the operator does not fit, or the codec loses too much of the file.
    """
    if context.loop:
        raise BadInput("loop has no effect on recover: a result has the length of its file; leave it out")
    if options.operator is None:
        raise BadInput("recover needs operator=NAME, what was done to the file, such as operator=downsample")
    operator = options.operator.build(spec=context.spec)
    if not isinstance(operator, LinearOperator):
        raise BadInput(f"{options.operator.use} is random, and recover takes a linear operator, such as downsample")
    paths = as_path_list(files)
    read = [context.read(path) for path in paths]
    if len({source.size for source in read}) > 1:
        raise BadInput("recover takes files of one size: give files of other sizes one by one")
    operator.check(read[0].size)
    for source in read:
        _check_codec(context, source)
    numbers = [k for _ in paths for k in range(options.count)]
    sources = [source for source in read for _ in range(options.count)]
    return RecoverRequest(
        context.conditions(sources, [source.size for source in sources]),
        [context.work_size(source.size) for source in sources],
        numbers,
        masked=True,
        facts={
            "edit": "recover",
            "operator": options.operator.resolved(),
            "noise": options.noise,
            "method": options.method,
            "degrade": options.degrade,
            "sources": [str(path) for path in paths],
        },
        context=context,
        sources=sources,
        operator=operator,
        measured=_measured(context, operator, sources, options.noise if options.degrade else 0.0),
        noise=options.noise,
        method=METHODS[options.method](),
    )


def _measured(
    context: EditContext, operator: LinearOperator, sources: Sequence[SourceFile], noise: float
) -> list[Tensor]:
    """A x of each source, with noise that is the same for all results of a seed."""
    found = [operator.apply(source.media[None]) for source in sources]
    drawn = KeyedNoise(context.recipe.sample_seed, [0], tuple(found[0].shape[1:])).normal("measurement")
    return [y + noise * drawn.to(y) for y in found]


def _check_codec(context: EditContext, source: SourceFile) -> None:
    """Raise BadInput if the codec cannot return the file, so that decoded samples cannot agree with a measurement."""
    with torch.no_grad():
        decoded = context.codec.decode(context.encode_source(source, context.work_size(source.size)))[0].cpu()
    back = decoded[(..., *(slice(n) for n in source.size))]
    error = float((back - source.media).norm() / source.media.norm().clamp(min=1e-12))
    if error > _LARGEST_ERROR:
        raise BadInput(
            f"codec {type(context.codec).__name__} loses the phase or other parts of {format_path(source.path)} (error "
            f"{error:.0%}), so recover cannot compare samples with it: use a run with an invertible codec"
        )
