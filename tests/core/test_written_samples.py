"""Samples too loud for their files are counted from records, and named in one warning; nothing reads warnings."""

import warnings

import pytest
import torch
from sonolux.core.pipeline import result
from sonolux.core.pipeline.result import Samples
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
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
        samples([0.5, 1.0]).save(tmp_path / "quiet")


def check_earlier_samples(folder):
    """A set replaces an earlier one on request only, and then as a whole."""
    samples([0.1, 0.2, 0.3]).save(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BadInput, match=r"already holds samples: .*overwrite=True"):
        samples([0.4]).save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    samples([0.4]).save(folder, overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == ["0000-a.wav", "samples.json", "sheet.png"]
    assert (folder / "0000-a.wav").read_bytes() != before["0000-a.wav"]


def test_earlier_samples_are_replaced_on_request_only(tmp_path):
    check_earlier_samples(tmp_path / "out")


@pytest.mark.parametrize("name", ["check_sample_folder", "saved_sample_files"])
def test_sets_that_are_mixed_are_caught(tmp_path, monkeypatch, name):
    """Planted: nothing is checked; the earlier files are not known."""
    monkeypatch.setattr(result, name, lambda *_: ())
    assert_caught(check_earlier_samples, tmp_path / "out", also=pytest.fail.Exception)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_files_is_left_alone(tmp_path, overwrite):
    (tmp_path / "sheet.png").write_text("of someone")
    with pytest.raises(BadInput, match="holds no samples: name an empty folder"):
        samples([0.1]).save(tmp_path, overwrite=overwrite)
    assert (tmp_path / "sheet.png").read_text() == "of someone" and len(list(tmp_path.iterdir())) == 1


def test_pictures_are_never_scaled(tmp_path):
    file = Image(8).write(tmp_path / "a.png", torch.full((3, 8, 8), 1.5))
    assert not file.scaled and file.peak == pytest.approx(1.5) and file.path.is_file()
