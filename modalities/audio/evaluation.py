"""The evaluation adapter of sounds for `sonolux eval`."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ...core.evaluation.adapter import DefectMeasure, MediaFile
from ...core.evaluation.classifier import ClassifierSettings
from ...core.evaluation.measures import ExampleMeasure
from ...core.evaluation.near_copies import ALTERATIONS, NearestMatches
from . import defects, io, measures, mel_images, similarity, visualize

_SHORTEST = 0.05  # seconds; minimum length that every browser plays


class AudioEvaluation:
    """The EvaluationAdapter of sounds (C, frames).

    Args:
        rate: Sample rate in Hz.
        channels: Number of channels.
    """

    nouns: tuple[str, str] = ("sound", "sounds")
    feature = "audio/logmel_stats"
    further_features: Sequence[str] = ("audio/tonality_stats",)
    suffixes: Collection[str] = io.SUFFIXES
    copy_threshold = similarity.COPY
    classifier = ClassifierSettings(widths=(16, 48, 96), rows=4, epochs=25, batch=32)
    whole_files = True

    def __init__(self, rate: float, channels: int = 1):
        self.rate, self.channels = rate, channels

    def classifier_input(self, media: Sequence[Tensor]) -> Tensor:
        """Log-mel images (N, 1, 32, columns), in dB below each sound's maximum."""
        parts = [torch.stack(list(media[i : i + 64])) for i in range(0, len(media), 64)]
        return torch.cat([mel_images.mel_images(part, self.rate) for part in parts])

    def augment(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Time stretch, shift, pitch shift, a noise floor, and masks along frequency and time."""
        return mel_images.augment_mel_images(x, rng)

    def nearest(self, media: Sequence[Tensor], training: Sequence[Tensor]) -> NearestMatches:
        """Nearest training sounds, invariant to gain, polarity, shift and crop: see similarity.py."""
        return similarity.nearest_sounds(media, training, self.rate)

    def planted_copies(self, media: Sequence[Tensor], seed: int) -> dict[str, list[Tensor]]:
        """Copies with a changed gain; with gain and shift; with gain, shift and crop."""
        return {kind: similarity.make_altered_sounds(media, self.rate, kind, seed) for kind in ALTERATIONS}

    def defects(self, media: Sequence[Tensor], real: Sequence[Tensor], loop: bool) -> list[DefectMeasure]:
        """Defects of sounds, see defects.py."""
        return defects.measure_defects(media, real, self.rate, loop)

    def measures(self, media: Sequence[Tensor]) -> list[ExampleMeasure]:
        """Tones, bandwidth, attack, level, pitch and, of stereo sounds, the two channels: see measures.py."""
        return measures.measure_sounds(media, self.rate, stereo=self.channels == 2)

    def preview(self, media: Tensor) -> list[MediaFile]:
        """An image of waveform and spectrogram, and a WAV file."""
        wave = torch.nan_to_num(media.detach().float().cpu())
        image = BytesIO()
        visualize.contact_sheet([wave], self.rate).save(image, "PNG", optimize=True)
        padding = max(0, round(_SHORTEST * self.rate) - wave.shape[-1])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sound.wav"
            io.write_sound(path, functional.pad(wave, (0, padding)), self.rate)
            return [MediaFile("image/png", image.getvalue()), MediaFile("audio/wav", path.read_bytes())]
