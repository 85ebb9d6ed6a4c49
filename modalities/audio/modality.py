"""Audio as a modality: the media specification, sound files, and images of sounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.data.files import format_path
from ...core.data.prepare.types import FolderAnalyzer
from ...core.evaluation.adapter import EvaluationAdapter
from ...core.types import BadInput, FileSupport, MediaSpec, WrittenFile
from ...core.util.notes import issue_note
from . import dsp, io, visualize
from .post_processing import limit_unknown_parts
from .prepare.scan import DEFAULT_LEVELS_DB, ConversionSettings, prepare_sound


class Audio:
    """Audio of one rate, length and number of channels, in WAV files; previews are waveforms and spectrograms.

    Args:
        rate: Sample rate in Hz.
        seconds: Length of a sound in seconds; shorter ones are padded, longer ones cropped.
        channels: 1 for mono, 2 for stereo.
    """

    name = "audio"
    suffix = ".wav"

    def __init__(self, rate: int = 8000, seconds: float = 1.0, channels: int = 1):
        if not 1000 <= rate <= 384000:
            raise BadInput(f"modality.rate lies between 1000 and 384000 Hz; got {rate}")
        if not 16 / rate <= seconds <= 3600:
            raise BadInput(f"modality.seconds lies between 16 samples and one hour; got {seconds}")
        if not 1 <= channels <= 8:
            raise BadInput(f"modality.channels lies between 1 and 8; got {channels}")
        self.rate, self.seconds, self.channels = rate, seconds, channels

    @staticmethod
    def folder_analyzer() -> FolderAnalyzer:
        """The component of `sonolux prepare` for folders of sounds."""
        from .prepare.prepare import SoundFolderAnalyzer

        return SoundFolderAnalyzer()

    @staticmethod
    def doctor() -> FileSupport:
        """Formats of sound files that can be read, and whether sounds can be resampled."""
        try:
            dsp.import_torchaudio()
        except BadInput as error:
            return FileSupport(io.readable_formats(), [str(error)])
        return FileSupport(io.readable_formats())

    def evaluation(self) -> EvaluationAdapter:
        """The evaluation adapter of sounds for `sonolux eval`."""
        from .evaluation import AudioEvaluation

        return AudioEvaluation(float(self.rate), self.channels)

    def spec(self) -> MediaSpec:
        """size is (frames,), rate in Hz."""
        return MediaSpec("audio", self.channels, ("time",), (round(self.rate * self.seconds),), (float(self.rate),))

    def write(self, path: Path, media: Tensor) -> WrittenFile:
        """Write (C, frames) as 16-bit WAV; a peak above 1 is scaled down to full scale, non-finite samples refused."""
        gain = io.write_sound(path, media, self.rate)
        return WrittenFile(Path(path), float(media.abs().max()), scaled=gain < 1)

    def read(self, path: Path) -> Tensor:
        """(C, frames) at the recipe's rate and channels, uncropped; BadInput names a problem of the file.

        Remarks, such as on a part that is missing, become warnings.
        """
        sound = io.read_sound(path, self.rate, self.channels)
        for remark in sound.remarks:
            issue_note(f"{format_path(Path(path))}: {remark}", stacklevel=2)
        return sound.wave

    def file_spec(self, path: Path) -> MediaSpec:
        """Channels, frames and rate of a sound file."""
        channels, frames, rate = io.read_sound_properties(path)
        return MediaSpec("audio", channels, ("time",), (frames,), (float(rate),))

    def limited(self, media: Tensor, known: Tensor) -> Tensor:
        """(C, frames) whose parts that are not known (1, frames) stay within full scale; the known parts are unchanged.

        Without this, writing would scale the whole sound down.
        """
        return limit_unknown_parts(media, known, self.rate)

    def levelled(self, media: Tensor, data: Mapping[str, Any]) -> tuple[float, Tensor]:
        """(gain, offset (C, 1)) of the normalisation in training of (C, frames): gain (media - offset).

        Args:
            media: (C, frames).
            data: Parameters of the recipe's dataset; without `normalise` the gain is 1 and the offset 0.
        """
        kind = data.get("normalise", "none")
        if kind == "none":
            io.check_scale("the sound", media)
            return 1.0, media.new_zeros(media.shape[0], 1)
        level = data.get("level")
        crop = data.get("crop", "start")
        found = prepare_sound(
            media,
            ConversionSettings(self.spec(), "mean", crop, kind, DEFAULT_LEVELS_DB[kind] if level is None else level),
        )
        return found.gain, found.offset

    def sheet(self, path: Path, media: Sequence[Tensor], captions: Sequence[str] = ()) -> Path:
        """One PNG: the caption, waveform and spectrogram (mel frequency, 60 dB) of each sound in a grid."""
        if not media:
            raise BadInput(f"{path}: no sounds to draw")
        return visualize.save_png(visualize.contact_sheet(media, self.rate, captions), Path(path))

    def strip(self, path: Path, rows: Sequence[Sequence[Tensor]]) -> Path:
        """One PNG of denoising trajectories: a row per sample, a spectrogram per step."""
        if not rows or not rows[0]:
            raise BadInput(f"{path}: no sounds to draw")
        return visualize.save_png(visualize.trajectory_grid(rows, self.rate), Path(path))

    def animate(self, path: Path, frames: Sequence[Sequence[Tensor]]) -> Path:
        """One looping GIF: a frame per step with all samples at that step."""
        if not frames or not frames[0]:
            raise BadInput(f"{path}: no sounds to draw")
        return visualize.save_gif(visualize.animation_pages(frames, self.rate), Path(path))
