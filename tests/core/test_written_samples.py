"""Samples too loud for their files are counted from records, and named in one warning; nothing reads warnings."""

import warnings

import pytest
import torch
from sonolux.core.pipeline.result import Samples
from sonolux.modalities.audio.modality import Audio
from sonolux.modalities.image.modality import Image


def samples(peaks):
    media = [peak * torch.sin(torch.arange(2400) / 3)[None] for peak in peaks]
    return Samples(media, [{"label": "a"} for _ in peaks], {}, Audio(8000, 0.3))


def test_what_was_written_is_recorded(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = samples([0.5, 2.0, 0.9, 3.0]).write(tmp_path)
    assert [file.scaled for file in files] == [False, True, False, True]
    assert [file.peak for file in files] == pytest.approx([0.5, 2.0, 0.9, 3.0], rel=1e-3)
    assert all(file.path.is_file() and file.path.parent == tmp_path for file in files)


def test_saving_warns_once(tmp_path):
    with pytest.warns(
        UserWarning,
        match=r"0003-a\.wav: the peak 3\.00 was .* full scale; .* take more steps.* \(1 more such file\)",
    ) as said:
        paths = samples([0.5, 2.0, 0.9, 3.0]).save(tmp_path)
    assert len(said) == 1 and len(paths) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples([0.5, 1.0]).save(tmp_path)


def test_pictures_are_never_scaled(tmp_path):
    file = Image(8).write(tmp_path / "a.png", torch.full((3, 8, 8), 1.5))
    assert not file.scaled and file.peak == pytest.approx(1.5) and file.path.is_file()
