"""Named pipes, sockets, devices, circular links, names that are no Unicode: counted, and never opened."""

import json
import os
import signal
import socket
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from sonolux.core.config.load import load_recipe
from sonolux.core.data import files
from sonolux.core.data.files import RemarkCollector, UnusableFiles, find_files, require_folder, unusable_reason
from sonolux.core.data.manifest import read_manifest
from sonolux.core.data.prepare import prepare as preparing
from sonolux.core.data.prepare.prepare import prepare_folder
from sonolux.core.evaluation.examples import RealData
from sonolux.core.evaluation.generated import read_sample_folder
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio.datasets.folder import Folder as SoundFolder
from sonolux.modalities.audio.modality import Audio
from sonolux.modalities.audio.prepare.prepare import SoundFolderAnalyzer
from sonolux.modalities.image.datasets.folder import Folder as PictureFolder
from sonolux.modalities.image.modality import Image as ImageModality
from sonolux.modalities.image.prepare.prepare import PictureFolderAnalyzer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and links are other things there")

# Name of a file without suffix -> what is said of it.
REASONS = {
    "circle": "is a link in a circle",
    "device": "is a device, not a file",
    "gone": "is a link that leads nowhere",
    "pipe": "is a named pipe, not a file",
    "pipe link": "is a named pipe, not a file",
    "socket": "is a socket, not a file",
}


@pytest.fixture(autouse=True)
def _alarm():
    """A reader that opens a named pipe waits for ever: end it."""

    def late(number, frame):
        raise AssertionError("a special file was opened: the test did not end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def special(root: Path, suffix: str) -> Path:
    """A folder with every kind of special file of this suffix, and a folder that links to its parent."""
    root.mkdir(parents=True, exist_ok=True)
    os.mkfifo(root / f"pipe{suffix}")
    (root / f"pipe link{suffix}").symlink_to(root / f"pipe{suffix}")
    (root / f"device{suffix}").symlink_to("/dev/zero")
    (root / f"gone{suffix}").symlink_to(root / "nowhere")
    (root / f"circle{suffix}").symlink_to(root / f"circle{suffix}")
    (root / "parent").symlink_to(root)
    (root / "knot").symlink_to(root / "tie")
    (root / "tie").symlink_to(root / "knot")
    place = os.getcwd()
    os.chdir(root)  # the path of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"socket{suffix}")
    finally:
        os.chdir(place)
    return root


def sound(path, seed=0):
    path = os.fsencode(path)
    wave = np.random.default_rng(seed).normal(size=2000).clip(-3, 3) * 0.1
    with open(path, "wb") as file:
        soundfile.write(file, wave, 8000, format="WAV")


def picture(path, seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    with open(os.fsencode(path), "wb") as file:
        Image.fromarray(levels).save(file, "PNG")


KINDS = {
    "audio": (".wav", sound, SoundFolder, SoundFolderAnalyzer, MediaSpec("audio", 1, ("time",), (2000,), (8000.0,))),
    "image": (
        ".png",
        picture,
        PictureFolder,
        PictureFolderAnalyzer,
        MediaSpec("image", 3, ("height", "width"), (16, 16)),
    ),
}


def mixed(root: Path, kind: str) -> tuple[Path, str]:
    """Special files, 20 good ones, and one whose name is no Unicode."""
    suffix, make, *_ = KINDS[kind]
    special(root, suffix)
    for i in range(20):
        make(root / f"good {i}{suffix}", i)
    make(os.fsdecode(os.fsencode(root) + b"/good \xff" + suffix.encode()), 99)
    return root, suffix


def test_what_is_not_a_file_is_named_and_never_opened(tmp_path, monkeypatch):
    def check():
        found = {p.stem: unusable_reason(p) for p in find_files(tmp_path / "in", [".wav"])}
        assert found == REASONS

    special(tmp_path / "in", ".wav")
    monkeypatch.setattr("builtins.open", lambda *args, **more: pytest.fail("a file was opened"))
    check()
    assert unusable_reason(tmp_path / "in") == "is a folder" and unusable_reason(tmp_path / "x") == "no such file"
    assert unusable_reason(tmp_path / "in" / "pipe.wav" / "x") == "no such file"
    assert unusable_reason(Path("a\0b")) == "no such file" and "too long" in (unusable_reason(Path("x" * 300)) or "")
    monkeypatch.setattr(files, "_is_folder", lambda entry: entry.is_dir())  # planted: a link in a circle is an error
    with pytest.raises(OSError, match="symbolic links"):
        check()
    monkeypatch.undo()
    (tmp_path / "empty").touch()
    assert unusable_reason(tmp_path / "empty") == "is empty (0 bytes)"
    monkeypatch.setattr(files, "_KINDS", {})
    assert_caught(check)


@pytest.mark.parametrize("kind", KINDS)
def test_training_counts_special_files(tmp_path, kind):
    root, suffix = mixed(tmp_path / "in", kind)
    folder, spec = KINDS[kind][2], KINDS[kind][4]
    with pytest.raises(BadInput, match=r"6 of 27 files are unusable, more than data\.max_bad"):
        folder(spec, root, label="none")
    with pytest.warns(UserWarning, match=r"skipped 6 of 27 files") as notes:
        data = folder(spec, root, label="none", max_bad=0.5, valid=0.0)
    assert all(reason in str(notes[-1].message) for reason in set(REASONS.values()))
    assert len(data) == 21 and {data.item(i).source for i in range(21)} >= {f"good \\xff{suffix}"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_prepare_lists_special_files(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(preparing, "plot_distributions", lambda path, panels, title: path)
    root, suffix = mixed(tmp_path / "in", kind)
    report = prepare_folder(root, tmp_path / "out", KINDS[kind][3]())
    lines = {line["file"]: line for line in read_manifest(tmp_path / "out" / "manifest.jsonl").lines}
    assert {Path(n).stem: line["reason"] for n, line in lines.items() if line["status"] != "ok"} == REASONS
    assert report.summary["usable"] == 21 and lines[f"good \\xff{suffix}"]["status"] == "ok"
    data = KINDS[kind][2](KINDS[kind][4], tmp_path / "out", label="none", valid=0.0, max_bad=0.0)
    assert len(data) == 21


@pytest.mark.parametrize("kind", KINDS)
def test_edits_refuse_special_files(tmp_path, kind):
    root, suffix = mixed(tmp_path / "in", kind)
    modality = Audio(8000, 0.25) if kind == "audio" else ImageModality(16)
    for name, reason in REASONS.items():
        with pytest.raises(BadInput, match=f"{name}{suffix}: {reason}$"):
            modality.read(root / f"{name}{suffix}")
    assert modality.read(root / f"good 1{suffix}").shape[-1] in (2000, 16)


RECIPES = {
    "audio": "modality: {use: audio, rate: 8000, seconds: 0.25}\ndata: {use: audio/folder, root: ROOT, label: none}\n"
    "codec: {use: audio/waveform, patch: 16}\nnetwork: {use: audio/unet, width: 16, stages: [1], attention: []}\n",
    "image": "modality: {use: image, size: 16, channels: 3}\ndata: {use: image/folder, root: ROOT, label: none}\n"
    "codec: {use: image/pixels}\nnetwork: {use: image/unet, width: 16, stages: [1], blocks: 1, attention: []}\n",
}


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_counts_special_files(tmp_path, kind):
    root, suffix = mixed(tmp_path / "in", kind)
    (tmp_path / "x.yaml").write_text(
        "recipe: 1\nname: x\ntrain: {steps: 1}\n" + RECIPES[kind].replace("ROOT", json.dumps(str(root)))
    )
    made = read_sample_folder(load_recipe(tmp_path / "x.yaml", []), root, RealData(None, None, ()), [suffix])
    assert len(made.examples) == 20 and made.counts["unusable"] == 7  # the name that is no Unicode is not in a table


def test_folders_that_cannot_be_read_are_skipped_and_counted(tmp_path, monkeypatch):
    for name in ("good", "locked"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(20):
            sound(tmp_path / "in" / name / f"{i}.wav", i)
    scandir = os.scandir

    def guarded(folder):  # the tests may run as root, who can read every folder
        if isinstance(folder, (str, Path)) and Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    skipped: list[tuple[Path, str]] = []
    assert len(find_files(tmp_path / "in", None, skipped)) == 20
    reason = "is a folder that cannot be read (permission denied)"
    assert skipped == [(tmp_path / "in" / "locked", reason)]
    with pytest.raises(BadInput, match=r"locked cannot be read: permission denied"):
        find_files(tmp_path / "in" / "locked")
    with pytest.warns(UserWarning, match=r"skipped 1 of 21 files: is a folder that cannot be read .*: locked$"):
        data = SoundFolder(KINDS["audio"][4], tmp_path / "in", label="none", valid=0.0, max_bad=0.0)
    assert len(data) == 20
    monkeypatch.setattr(preparing, "plot_distributions", lambda path, panels, title: path)
    report = prepare_folder(tmp_path / "in", tmp_path / "out", SoundFolderAnalyzer())
    assert report.summary["skipped_folders"] == [{"folder": "locked", "reason": reason}]
    assert f"  skipped     1 folder: locked {reason}" in report.lines


def test_a_folder_whose_name_is_no_unicode_is_refused_before_anything_is_written(tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xffd"))
    odd.mkdir()
    sound(odd / "a.wav")
    for make in (lambda: require_folder(odd), lambda: prepare_folder(odd, tmp_path / "out", SoundFolderAnalyzer())):
        with pytest.raises(BadInput, match=r"b\\xffd is not valid Unicode: rename the folder"):
            make()
    assert not (tmp_path / "out").exists()
    with pytest.raises(BadInput, match=r"--out: .*b\\xffd"):
        prepare_folder(special(tmp_path / "in", ".wav"), odd / "out", SoundFolderAnalyzer())


def test_roots_that_are_no_folders_are_named(tmp_path):
    special(tmp_path / "in", ".wav")
    for name, said in (("circle.wav", "is a link in a circle"), ("gone.wav", "leads nowhere"), ("pipe.wav", "a file")):
        with pytest.raises(BadInput, match=rf"data\.root: .*{said}"):
            require_folder(tmp_path / "in" / name)
    with pytest.raises(BadInput, match=r"data\.root: .*too long"):
        require_folder(tmp_path / ("x" * 300))


def check_foreign():
    bad = UnusableFiles(0.05)
    for i in range(3):
        bad.add(f"{i}.m4a", ".m4a is not read: convert it", foreign=True)
    with pytest.warns(UserWarning, match=r"^skipped 3 of 10 files: \.m4a is not read: convert it: 0\.m4a, 1\.m4a"):
        bad.check(10)  # more than the share, and no error: nothing is damaged
    with pytest.raises(BadInput, match=r"^0 usable of 3 files: \.m4a is not read"):
        bad.check(3)
    bad.add("x.wav", "is empty (0 bytes)")
    with pytest.raises(BadInput, match=r"^1 of 10 files are unusable"):
        bad.check(10)


def test_files_of_other_formats_are_counted_and_no_error():
    check_foreign()


def test_planted_count_of_other_formats_as_damaged_is_caught(monkeypatch):
    add = UnusableFiles.add
    monkeypatch.setattr(UnusableFiles, "add", lambda self, path, reason, foreign=False: add(self, path, reason))
    with pytest.raises(pytest.fail.Exception, match="DID NOT WARN"):
        check_foreign()


@pytest.mark.parametrize("count", [7, 300])
def test_messages_about_many_unusable_files_are_short(count):
    bad = UnusableFiles(0.05)
    for i in range(count):
        bad.add(f"{'folder ' * 4}{i}.wav", f"cannot be decoded as sound: reason {i % 9} of the library, at some length")
    with pytest.raises(BadInput, match=r"more than data\.max_bad = 0\.05 allows: cannot be decoded") as error:
        bad.check(1000 if count == 300 else 100)
    assert len(str(error.value)) <= 200 and "`sonolux prepare FOLDER` lists all" in str(error.value)
    with pytest.raises(BadInput, match=f"0 usable of {count} files: cannot be") as error:
        bad.check(count)
    assert len(str(error.value)) <= 200


def test_remarks_are_noted_once_a_kind():
    remarks = RemarkCollector("sounds")
    for i in range(5):
        remarks.add(f"{i}.wav", [f"truncated: {i} of 9 bytes are there", f"upsampled from {i}000 Hz: nothing above"])
    remarks.add("x.wav", ["is converted to sRGB: its colour profile is P3"])
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        remarks.warn(7)
    texts = [str(note.message) for note in notes]
    assert (
        len(texts) == 3
        and texts[0].startswith("5 of 7 sounds: 0.wav (truncated: 0 of 9")
        and "; and 2 more" in texts[0]
    )
    assert texts[2] == "1 of 7 sounds: x.wav (is converted to sRGB: its colour profile is P3)"
