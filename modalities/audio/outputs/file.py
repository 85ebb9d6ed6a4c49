"""How samples of sound are written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from ....core.types import BadInput, MediaSpec, WrittenFile
from .. import io
from ..output import Finish, finish


class File:
    """A sound file, trimmed, faded, levelled and limited: `sonolux sample RUN output=audio/file output.lufs=-18`.

    Sounds under 400 ms have no loudness by BS.1770: the K-weighted level of the part that sounds counts then. Nothing
    is clipped; a sound that would pass the ceiling is made softer than asked for.

    Args:
        spec: The recipe's facts about the sound.
        format: Container and bits; ogg is Vorbis.
        trim: dB under the loudest 5 ms below which both ends count as silence and are cut; null: nothing is cut.
        fade_in: Ms of a raised cosine at the start, before the attack where silence was there.
        fade_out: Ms of a raised cosine at the end.
        lufs: Loudness that every sound gets; null: levels stay as they are.
        peak: Level of the largest sample in dB of full scale, instead of lufs.
        ceiling: Largest true peak, between samples too, in dBTP; null: no sample passes full scale; what is decoded
            from ogg passes it by half a dB at times.
        dither: Noise of two steps' width before rounding to 16 bits, the same whenever a sound is written.
        loop: Whether sounds are loops, which are neither trimmed nor faded.
    """

    def __init__(
        self,
        spec: MediaSpec,
        format: Literal["wav16", "wav24", "wav_float", "flac16", "flac24", "ogg"] = "wav16",
        trim: float | None = -55.0,
        fade_in: float = 2.0,
        fade_out: float = 15.0,
        lufs: float | None = None,
        peak: float | None = None,
        ceiling: float | None = -1.0,
        dither: bool = False,
        loop: bool = False,
    ):
        if spec.rate is None or len(spec.size) != 1:
            raise BadInput("audio/file writes sounds: it needs `modality: {use: audio}`")
        if dither and not format.endswith("16"):
            raise BadInput(f"dither is for 16 bits (wav16, flac16), not for {format}: leave it out")
        io.check_form(format, spec.rate)
        self.rate, self.format, self.dither = spec.rate, format, dither
        how = Finish(trim, fade_in, fade_out, lufs, peak, ceiling)
        self.how = replace(how, trim=None, fade_in=0.0, fade_out=0.0) if loop else how
        self.suffix = io.FORMATS[format].suffix

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Finish and write (C, frames).

        Raises:
            BadInput: For non-finite samples, before anything is written.
        """
        done = finish(media, self.rate, self.how)
        gain = io.write(path, done.wave, self.rate, self.format, dither=0 if self.dither else None)
        return WrittenFile(Path(path), float(done.wave.abs().max()), scaled=gain < 1)
