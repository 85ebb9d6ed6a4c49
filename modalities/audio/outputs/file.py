"""Output of samples as post-processed sound files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from ....core.types import BadInput, MediaSpec, WrittenFile
from .. import io
from ..post_processing import PostProcessing, ProcessedSound, post_process


class File:
    """A sound file, trimmed, faded, levelled and limited: `sonolux sample RUN output=audio/file output.lufs=-18`.

    Sounds shorter than 400 ms have no loudness by BS.1770; the K-weighted level of their audible part is used instead.
    Nothing is clipped: a sound that would exceed the ceiling gets a lower level than requested.

    Args:
        spec: Media specification of the sounds.
        format: Container and bit depth; ogg is Vorbis.
        trim: Level in dB relative to the loudest 5 ms below which both ends count as silence and are removed; null: no
            trimming.
        fade_in: Length in ms of a raised cosine at the start, before the attack if there is silence.
        fade_out: Length in ms of a raised cosine at the end.
        lufs: Target loudness; null: levels are unchanged.
        peak: Level of the largest sample in dB of full scale, instead of lufs.
        ceiling: Maximum true peak in dBTP; null: only samples are kept within full scale. Decoded ogg files may exceed
            it by half a dB.
        dither: Add triangular noise of two steps' width before rounding to 16 bits, with a fixed seed.
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
            raise BadInput(f"dither is for 16 bits (wav16, flac16), not for {format}: remove it")
        io.check_format(format, spec.rate)
        self.rate, self.format, self.dither = spec.rate, format, dither
        settings = PostProcessing(trim, fade_in, fade_out, lufs, peak, ceiling)
        self.settings = replace(settings, trim=None, fade_in=0.0, fade_out=0.0) if loop else settings
        self.suffix = io.FORMATS[format].suffix

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Post-process and write (C, frames).

        Raises:
            BadInput: For non-finite samples, before anything is written.
        """
        done = post_process(media, self.rate, self.settings)
        gain = io.write_sound(path, done.wave, self.rate, self.format, dither=0 if self.dither else None)
        return WrittenFile(Path(path), float(done.wave.abs().max()), scaled=gain < 1, missed=self._missed(done))

    def _missed(self, done: ProcessedSound) -> str:
        """The level that was asked for and not reached."""
        asked, ceiling = self.settings.lufs, self.settings.ceiling
        if asked is not None and done.lufs is None:
            return f"asked {asked:g} LUFS, and the sound is silent"
        if not done.limited:
            return ""
        limit = f"the ceiling of {ceiling:g} dBTP allows no more (output.ceiling)"
        if asked is not None:
            return f"asked {asked:g} LUFS, made {done.lufs:.1f}: {limit}"
        if self.settings.peak is not None:
            peak = 20 * math.log10(max(float(done.wave.abs().max()), 1e-9))
            return f"asked a peak of {self.settings.peak:g} dB, made {peak:.1f}: {limit}"
        return ""
