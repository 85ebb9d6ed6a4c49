"""A file of another kind is named as what it is, whatever its suffix."""

import re

import numpy as np
import pytest
import soundfile
from PIL import Image
from sonolux.core.testing.mutation import assert_caught
from sonolux.modalities import file_kinds
from sonolux.modalities.audio.io import SUFFIXES, UnreadableSound, read_sound
from sonolux.modalities.file_kinds import START, describe_wrong_kind
from sonolux.modalities.image.io import UnreadablePicture, read_picture

PICTURES = {"PNG": "PNG", "JPEG": "JPEG", "GIF": "GIF", "WEBP": "WebP", "TIFF": "TIFF", "BMP": "BMP"}
SOUNDS = {"WAV": "WAV", "RF64": "WAV", "AIFF": "AIFF", "FLAC": "FLAC", "OGG": "Ogg", "MP3": "MP3", "AU": "AU"}


def picture(path, kind):
    levels = np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8)
    Image.fromarray(levels).save(path, kind)
    return path


def sound(path, kind):
    soundfile.write(path, np.sin(np.arange(4000) / 5) / 2, 8000, format=kind)
    return path


def check_wrong_kinds(folder):
    for kind, name in PICTURES.items():
        with pytest.raises(UnreadableSound, match=rf"x\.wav: is a picture \({name}\), where a sound is needed$"):
            read_sound(picture(folder / "x.wav", kind))
        assert read_picture(picture(folder / "x.png", kind)).shape == (3, 24, 24), "the right kind is read"
    for kind, name in SOUNDS.items():
        with pytest.raises(UnreadablePicture, match=rf"x\.png: a sound \({name}\), where a picture is needed$"):
            read_picture(sound(folder / "x.png", kind))
        assert abs(read_sound(sound(folder / "x.wav", kind)).wave.shape[1] - 4000) < 2500, "the right kind is read"


def test_a_file_of_the_other_kind_is_named(tmp_path):
    check_wrong_kinds(tmp_path)


def test_kinds_that_are_unknown_or_swapped_are_caught(tmp_path, monkeypatch):
    """Planted: nothing is known; sounds count as pictures."""
    for kinds in ({}, {"picture": file_kinds._KINDS["sound"], "sound": file_kinds._KINDS["picture"]}):
        monkeypatch.setattr(file_kinds, "_KINDS", kinds)
        assert_caught(check_wrong_kinds, tmp_path, also=(UnreadableSound, UnreadablePicture))


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"\0\0\0\x18ftypmp42", "a video (MP4), where a sound is needed"),
        (b"\0\0\0\x18ftypheic", "a picture (HEIC or AVIF), where a sound is needed"),
        (b"\0\0\0\x18ftypM4A ", ""),
        (b"%PDF-1.7\n", "a document (PDF), where a sound is needed"),
        (b"hello, a letter", ""),
        (b"BMW is a car, not", ""),
        (b"", ""),
    ],
)
def test_other_files(start, told):
    assert describe_wrong_kind(start[:START], "sound") == told


def test_a_format_that_is_not_read_keeps_its_remedy(tmp_path):
    (tmp_path / "x.m4a").write_bytes(b"\0\0\0\x18ftypM4A \0\0\0\0" + bytes(100))
    assert ".m4a" not in SUFFIXES
    with pytest.raises(UnreadableSound, match=re.escape(".m4a is not read: convert it")):
        read_sound(tmp_path / "x.m4a")
