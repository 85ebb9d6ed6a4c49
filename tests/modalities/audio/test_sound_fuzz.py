"""Changed bytes in small sound files; SONOLUX_FUZZ sets the number of cases of each kind."""

import io as bytesio
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from sonolux.core.testing.mutation import assert_caught
from sonolux.modalities.audio import io, io_ogg
from sonolux.modalities.audio.prepare.prepare import SoundFolderAnalyzer

sys.path.insert(0, str(Path(__file__).parents[2]))
from _fuzz import check, fuzzed, mutated, mutations

# Errors in what libsndfile calls back are printed, not raised.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")]


def encoded(kind: str, subtype: str | None = None, seconds: float = 0.4, rate: int = 8000) -> bytes:
    """A tone in noise, of two channels."""
    t = np.arange(round(seconds * rate)) / rate
    noise = 0.05 * np.random.default_rng(0).normal(size=(len(t), 2))
    file = bytesio.BytesIO()
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * 440 * t)[:, None] + noise, rate, format=kind, subtype=subtype)
    return file.getvalue()


def use(path: Path) -> None:
    """Read as training does, and as `prepare` does."""
    sound = io.read_sound(path, 8000, 1)
    assert bool(torch.isfinite(sound.wave).all())
    SoundFolderAnalyzer().inspect(path)


def right_checksums(data: bytes) -> bytes:
    """An Ogg file in which every page has the checksum of its content, so that changes are not found at once."""
    out, file = bytearray(data), bytesio.BytesIO(data)
    for page in io_ogg._pages(file, len(data)):
        if page.whole:
            out[page.start + 22 : page.start + 26] = bytes(4)
            checksum = io_ogg._checksum(bytes(out[page.start : page.stop]))
            out[page.start + 22 : page.start + 26] = checksum.to_bytes(4, "little")
    return bytes(out)


WAV = encoded("WAV", "PCM_16")
FILES = {
    "wav": WAV,
    "float.wav": encoded("WAV", "FLOAT"),
    "aiff": encoded("AIFF"),
    "flac": encoded("FLAC"),
    "ogg": encoded("OGG", "VORBIS"),
    "opus": encoded("OGG", "OPUS"),
    "mp3": encoded("MP3"),
}


@pytest.mark.parametrize("kind", FILES)
def test_changed_bytes(tmp_path, kind):
    @fuzzed
    @given(changes=mutations(len(FILES[kind])))
    def changed(changes):
        data = mutated(FILES[kind], changes)
        check(tmp_path / f"x.{kind}", right_checksums(data) if kind in ("ogg", "opus") else data, use)

    changed()


def test_planted_other_errors_and_long_times_are_caught(tmp_path, monkeypatch):
    def fails(path):
        raise ValueError("a fault of the reader")

    with pytest.raises(ValueError, match="a fault of the reader"):
        check(tmp_path / "x.wav", WAV, fails)
    assert_caught(
        check, tmp_path / "x.wav", WAV, lambda path: (_ for _ in ()).throw(io.UnreadableSound(path, "two\nlines"))
    )
    monkeypatch.setattr("_fuzz.SECONDS", 0.0)
    assert_caught(check, tmp_path / "x.wav", WAV, use)
