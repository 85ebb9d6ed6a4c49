"""`sonolux prepare`: what it finds, says and writes; resuming, refusing, and recipes that train."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe
from sonolux.core.data import manifest as manifests
from sonolux.core.data.prepare import prepare as preparing
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput
from sonolux.modalities.audio.prepare.facts import SoundFacts
from sonolux.modalities.image.prepare.prepare import PictureFacts

RATE = 8000


@pytest.fixture(autouse=True)
def _no_drawing(request, monkeypatch):
    """Drawing takes a second; one test of the command looks at the picture."""
    if request.node.name != "test_what_it_writes":
        monkeypatch.setattr(preparing, "plot_distributions", lambda path, panels, title: path)


def stroke(path: Path, seed: int, seconds=0.5, rate=RATE):
    """A decaying noise of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * rate)) / rate
    wave = np.random.default_rng(seed).normal(size=len(t)) * np.exp(-6 * t) * 0.15
    soundfile.write(path, wave, rate)
    return path


def picture(path: Path, seed: int, size=(20, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return path


@pytest.fixture
def sounds(tmp_path):
    root = tmp_path / "my söunds"
    for c, name in enumerate(("door", "step")):
        for i in range(8):
            stroke(root / name / f"{i}.wav", 100 * c + i)
    return root


def lines_of(out: Path) -> list[dict]:
    return manifests.read_manifest(out / "manifest.jsonl").lines


def prepare(root, out, *more) -> int:
    return main(["prepare", str(root), "--out", str(out), *map(str, more)])


@pytest.mark.slow
def test_what_it_writes(sounds, tmp_path, capsys, monkeypatch):
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sounds.rglob("*")}
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", str(sounds)]) == 0
    out = tmp_path / "prepared" / "my söunds"  # the default: never in the user's folder
    assert {p.name for p in out.iterdir()} == {"manifest.jsonl", "summary.json", "summary.png", "recipe.yaml"}
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sounds.rglob("*")} == before
    said = capsys.readouterr().out
    assert "16 of 16 sounds usable" in said and "sonolux train" in said and "2 of 8 to 8 files" in said
    line = lines_of(out)[0]
    assert line["file"] == "door/0.wav" and line["status"] == "ok" and line["label"] == "door"
    assert (line["frames"], line["rate"], line["channels"], line["subtype"]) == (4000, RATE, 1, "PCM_16")
    assert len(line["hash"]) == 32 and line["reason"] is None
    assert Image.open(out / "summary.png").size[0] > 600


@pytest.mark.slow
def test_json(sounds, tmp_path, capsys):
    assert prepare(sounds, tmp_path / "out", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["usable"] == 16 and facts["classes"] == {"door": 8, "step": 8} and facts["modality"] == "audio"
    assert facts == json.loads((tmp_path / "out" / "summary.json").read_text())


def check_resume(root, out):
    """A torn manifest of five lines is completed: those five are not measured again, and the result is the same."""
    assert prepare(root, out) == 0
    whole = (out / "manifest.jsonl").read_bytes()
    rows = whole.split(b"\n")
    head = rows[0].replace(b'"complete": true', b'"complete": false')
    (out / "manifest.jsonl").write_bytes(b"\n".join([head, *rows[1:6], rows[6][:40]]))
    with pytest.raises(BadInput, match="not complete"):
        manifests.read_manifest(out / "manifest.jsonl")
    assert prepare(root, out) == 0
    facts = json.loads((out / "summary.json").read_text())
    assert (facts["measured"], facts["kept"]) == (11, 5)
    assert (out / "manifest.jsonl").read_bytes() == whole


@pytest.mark.slow
def test_a_torn_manifest_is_completed(sounds, tmp_path):
    check_resume(sounds, tmp_path / "out")


def test_forgetting_what_was_measured_is_caught(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "_earlier_lines", lambda path, header: {})
    assert_caught(check_resume, sounds, tmp_path / "out")


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell hands it down ignored
from sonolux.modalities.audio.prepare.prepare import SoundFolderAnalyzer
from sonolux.core.cli.main import main
inspect = SoundFolderAnalyzer.inspect
def slow(self, path):
    time.sleep(0.2)
    return inspect(self, path)
SoundFolderAnalyzer.inspect = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killing_it_half_way(sounds, tmp_path, number):
    out, path = tmp_path / "out", tmp_path / "out" / "manifest.jsonl"
    run = subprocess.Popen(
        [sys.executable, "-c", SLOW, "prepare", str(sounds), "--out", str(out)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    limit = time.monotonic() + 120
    while time.monotonic() < limit and not (path.exists() and path.read_bytes().count(b"\n") >= 5):
        time.sleep(0.02)
    run.send_signal(number)
    said = run.communicate(timeout=60)[1]
    if number == signal.SIGINT:
        assert run.returncode == 130 and "of 16 files are in" in said and "continues from there" in said
    done = path.read_bytes().count(b"\n") - 1
    assert 4 <= done < 16
    assert prepare(sounds, out) == 0
    facts = json.loads((out / "summary.json").read_text())
    assert facts["kept"] == done and facts["usable"] == 16 and len(lines_of(out)) == 16


@pytest.mark.slow
def test_changes_are_followed(sounds, tmp_path):
    out = tmp_path / "out"
    assert prepare(sounds, out) == 0
    (sounds / "door" / "0.wav").unlink()
    stroke(sounds / "door" / "1.wav", 999, 0.7)
    stroke(sounds / "step" / "new.wav", 998)
    (sounds / "step" / "7.wav").rename(sounds / "door" / "moved.wav")
    assert prepare(sounds, out) == 0
    facts = json.loads((out / "summary.json").read_text())
    assert (facts["measured"], facts["kept"]) == (3, 13)
    by = {line["file"]: line for line in lines_of(out)}
    assert "door/0.wav" not in by and by["door/1.wav"]["seconds"] == 0.7 and by["door/moved.wav"]["label"] == "door"
    assert prepare(sounds, out, "--again") == 0
    assert json.loads((out / "summary.json").read_text())["measured"] == 16


@pytest.mark.slow
def test_a_recipe_that_the_user_changed_stays(sounds, tmp_path, capsys):
    out = tmp_path / "out"
    assert prepare(sounds, out) == 0 and prepare(sounds, out) == 0
    recipe = out / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "# mine\n")
    for _ in range(2):
        assert prepare(sounds, out) == 0
        assert recipe.read_text().endswith("# mine\n") and (out / "recipe.proposed.yaml").exists()
    assert "changed by hand and is kept" in capsys.readouterr().out


@pytest.mark.slow
def test_a_mix_is_refused_and_can_be_chosen_from(sounds, tmp_path, capsys):
    picture(sounds / "cover.png", 1)
    assert prepare(sounds, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "holds 16 sounds and 1 picture" in said or "holds 1 picture and 16 sounds" in said
    assert "--modality audio" in said and not (tmp_path / "out").exists()
    assert prepare(sounds, tmp_path / "out", "--modality", "audio") == 0
    facts = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert facts["other_files"] == {".png": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare", "gone"], "no such folder: gone"),
        (["prepare", "empty"], "no sounds in empty|no pictures in empty|no sounds and no pictures|it holds no files"),
        (["prepare", "text"], "1 file with .txt"),
        (["prepare", "sounds", "--modality", "audoi"], "did you mean 'audio'"),
        (["prepare", "sounds", "--out", "sounds/out"], "is inside the folder that is read"),
        (["prepare", "sounds", "--out", "note.txt"], "is a file"),
        (["prepare", "sounds", "--table", "gone.csv"], "no such file: gone.csv"),
    ],
)
def test_bad_input_exits_with_2(sounds, tmp_path, monkeypatch, capsys, arguments, said):
    import re

    monkeypatch.chdir(tmp_path)
    shutil.copytree(sounds, "sounds")
    Path("empty").mkdir()
    Path("text").mkdir()
    Path("text/a.txt").write_text("x")
    Path("note.txt").write_text("x")
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert re.search(said, told.err) and told.out == "" and "Traceback" not in told.err


@pytest.mark.slow
def test_a_hidden_folder_inside_is_allowed_and_never_read(sounds):
    assert prepare(sounds, sounds / ".sonolux") == 0 and prepare(sounds, sounds / ".sonolux") == 0
    assert len(lines_of(sounds / ".sonolux")) == 16


@pytest.mark.slow
def test_one_out_holds_one_folder(sounds, tmp_path, capsys):
    assert prepare(sounds, tmp_path / "out") == 0
    shutil.copytree(sounds, tmp_path / "other")
    assert prepare(tmp_path / "other", tmp_path / "out") == 2
    assert "name another folder with --out" in capsys.readouterr().err


def test_nothing_usable_says_why_and_leaves_the_list(tmp_path, capsys):
    root = tmp_path / "bad"
    root.mkdir()
    for i in range(4):
        (root / f"{i}.wav").write_bytes(b"")
    assert prepare(root, tmp_path / "out") == 2
    assert "0 usable of 4 files: is empty (0 bytes): 0.wav, 1.wav, 2.wav and 1 more" in capsys.readouterr().err
    assert [line["status"] for line in lines_of(tmp_path / "out")] == ["skipped"] * 4
    assert not (tmp_path / "out" / "recipe.yaml").exists()
    with pytest.raises(BadInput, match="0 usable of 4 files"):
        load_recipe("sfx_folder", [f"data.root={tmp_path / 'out'}"]).data.build(
            spec=load_recipe("sfx_folder", ["data.root=x"]).modality.build().spec(), split="train", valid=0, seed=0
        )


def test_a_full_disk_exits_with_1(sounds, tmp_path, monkeypatch, capsys):
    def full(path, header, lines):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifests, "write_manifest", full)
    assert prepare(sounds, tmp_path / "out") == 1
    assert "No space left" in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_gives_labels_and_captions(sounds, tmp_path):
    table = tmp_path / "t.csv"
    rows = [f"{'door' if i % 2 else 'step'}/{i}.wav,{'ab'[i % 2]},number {i},{i}" for i in range(8)]
    table.write_text("file,label,caption,force\n" + "\n".join(rows))
    assert prepare(sounds, tmp_path / "out", "--table", table) == 0
    lines = lines_of(tmp_path / "out")
    assert len(lines) == 8 and lines[1]["label"] == "b" and lines[1]["caption"] == "number 1"
    assert lines[3]["more"] == {"force": 3.0}


@pytest.mark.slow
@pytest.mark.parametrize("column", ["", ",label", ",class"])
def test_a_table_without_labels_takes_the_folders_as_training_does(sounds, tmp_path, column, recwarn):
    table, rest = tmp_path / "t.csv", {"": "", ",label": ",", ",class": ",x"}[column]
    rows = (f"{name}/{i}.wav{rest}" for i in range(8) for name in ("door", "step"))
    table.write_text(f"file{column}\n" + "\n".join(rows))
    assert prepare(sounds, tmp_path / "out", "--table", table) == 0
    said = "\n".join(str(warning.message) for warning in recwarn)
    assert said.count("t.csv: no line has a label: the names of the folders are the classes") == 1
    assert said.count("the column 'class' is an attribute, not the label") == (column == ",class")
    assert [line["label"] for line in lines_of(tmp_path / "out")] == ["door", "step"] * 8


@pytest.mark.parametrize(
    "text", ["file,label\n~no-such-user/a.wav,x\n", "file\n" + "x" * 5000, "file,label\ndoor/0.wav,x\0\n"]
)
def test_a_bad_table_leaves_nothing(sounds, tmp_path, capsys, text):
    (tmp_path / "t.csv").write_text(text)
    assert prepare(sounds, tmp_path / "out", "--table", tmp_path / "t.csv") == 2
    assert f"{tmp_path}/t.csv:2: " in capsys.readouterr().err and not (tmp_path / "out").exists()


def check_damage(root: Path, out: Path) -> None:
    """A line of an earlier run that was damaged is measured again; the result is that of a new run."""
    assert prepare(root, out) == 0
    whole = (out / "manifest.jsonl").read_text()
    head, *rows = [json.loads(row) for row in whole.splitlines()]
    changes = [
        {"frames": "x"},
        {"peak": None},
        {"lufs": []},
        {"status": "fine"},
        {"hash": 3},
        {"label": 5},
        {"size": "9"},
    ]
    for row, change in zip(rows, changes, strict=False):
        row.update(change)
    del rows[7]["remarks"], rows[8]["mtime_ns"]
    (out / "summary.json").write_text('{"near_copies": [{"files": [1]}], "recipe_sha256": 5}')
    (out / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (head, *rows)))
    assert prepare(root, out) == 0
    assert (out / "manifest.jsonl").read_text() == whole
    facts = json.loads((out / "summary.json").read_text())
    assert (facts["measured"], facts["kept"]) == (9, 7)
    for damaged in (json.dumps({**head, "analysis": "1"}) + "\n" + json.dumps(rows[9]) + "\n", ""):
        (out / "manifest.jsonl").write_text(damaged)
        (out / "summary.json").write_text("[]")
        assert prepare(root, out) == 0 and (out / "manifest.jsonl").read_text() == whole


@pytest.mark.slow
def test_a_damaged_manifest_is_measured_again(sounds, tmp_path):
    check_damage(sounds, tmp_path / "out")


IMPOSSIBLE = [
    *({"seconds": value} for value in (1e300, -1.0, 0.25, "1")),
    *({"frames": value} for value in (-1, 0, 10**400, 2**29)),
    *({"rate": value} for value in (0, 999, 2_000_000, 8000.5)),
    *({"channels": value} for value in (0, 65)),
    *({"peak": value} for value in (500.0, -1e300)),
    *({"rms": 500.0}, {"lufs": 1e9}, {"clipped": 101.0}, {"lead": 1e9}, {"trail": -0.1}),
    *({"bandwidth": 10**9}, {"width": 1e9}, {"remarks": [1]}, {"hash": "x"}, {"hash": "0" * 32}),
]


def check_impossible_values(root: Path, out: Path) -> None:
    """Values of the right type that no file can have: the result is that of a new run, and training refuses them."""
    assert prepare(root, out) == 0
    whole = (out / "manifest.jsonl").read_text()
    head, *rows = map(json.loads, whole.splitlines())
    for change in IMPOSSIBLE:
        damaged = [dict(row) for row in rows]
        for row in damaged if "hash" in change else damaged[:1]:
            row.update(change)
        (out / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (head, *damaged)))
        if "hash" not in change:
            assert not manifests.has_facts(damaged[0], SoundFacts), change
        assert prepare(root, out) == 0 and (out / "manifest.jsonl").read_text() == whole, change
    assert json.loads((out / "summary.json").read_text())["exact_copies"] == []


@pytest.mark.slow
def test_impossible_values_of_an_earlier_run_are_measured_again(sounds, tmp_path):
    root = tmp_path / "sounds"
    root.mkdir()
    for i, file in enumerate(sorted(sounds.rglob("*.wav"))[:3]):
        wave, rate = soundfile.read(file)
        soundfile.write(root / f"{i}.wav", wave[: len(wave) - 100 * i], rate)  # of different sizes
    check_impossible_values(root, tmp_path / "out")


@pytest.mark.slow
def test_planted_trust_in_impossible_values_is_caught(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(manifests, "has_facts", lambda line, facts: set(facts.model_fields) <= set(line))
    assert_caught(check_impossible_values, sounds, tmp_path / "out", also=(KeyError, TypeError, ValueError))


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"height": 10**9}, {"bits": 64}, {"flat": 101.0}, {"flat": -1.0}, {"grey": 1}, {"mode": 3}]
)
def test_impossible_measurements_of_pictures(change):
    line = {"width": 4, "height": 3, "format": "PNG", "mode": "RGB", "bits": 8, "grey": False, "flat": 1.0}
    line["remarks"] = []
    assert manifests.has_facts(line, PictureFacts) and not manifests.has_facts({**line, **change}, PictureFacts)


@pytest.mark.slow
def test_planted_trust_in_damaged_lines_is_caught(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "_is_reusable", lambda line, facts: True)
    assert_caught(check_damage, sounds, tmp_path / "out", also=(KeyError, TypeError, ValueError))


def run_recipe(recipe: Path, folder: Path) -> None:
    few = ["train.steps=2", "train.minutes=null", "train.batch=4", "train.preview_every=99", "train.save_every=99"]
    few += ["sample.steps=2", "sample.count=2", "sample.batch=2", "network.width=16", "network.head_dim=8"]
    job = TrainingRun(load_recipe(recipe, few), folder, say=lambda _: None, bar=False)
    job.prepare()
    job.run()


@pytest.mark.slow
def test_the_proposal_for_sounds_is_valid_and_trains(sounds, tmp_path, capsys):
    assert prepare(sounds, tmp_path / "out") == 0
    recipe = tmp_path / "out" / "recipe.yaml"
    assert main(["recipe", "validate", str(recipe)]) == 0
    run_recipe(recipe, tmp_path / "run")
    assert len((tmp_path / "run" / "data.jsonl").read_text().splitlines()) < 16  # the rest is for validation


@pytest.mark.slow
def test_the_proposal_for_pictures_is_valid_and_trains(tmp_path):
    root = tmp_path / "pictures"
    for c, name in enumerate(("a", "b")):
        for i in range(8):
            picture(root / name / f"{i}.png", 100 * c + i)
    assert prepare(root, tmp_path / "out") == 0
    line = lines_of(tmp_path / "out")[0]
    assert (line["width"], line["height"], line["format"], line["mode"], line["bits"]) == (24, 20, "PNG", "RGB", 8)
    assert main(["recipe", "validate", str(tmp_path / "out" / "recipe.yaml")]) == 0
    run_recipe(tmp_path / "out" / "recipe.yaml", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.skipif("SONOLUX_DATA" not in os.environ, reason="SONOLUX_DATA names no folder of real data")
def test_real_sounds(tmp_path, capsys):
    assert prepare(Path(os.environ["SONOLUX_DATA"]) / "sfx", tmp_path / "out") == 0
    facts = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert facts["usable"] == 109 and facts["near_copies"][0]["files"] == ["dsnoway.wav", "dsskldth.wav"]
    assert main(["recipe", "validate", str(tmp_path / "out" / "recipe.yaml")]) == 0
