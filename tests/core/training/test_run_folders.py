"""The folder of a run: two writers, a folder that is lost or damaged during the training, and what resuming finds."""

import json
import math
import os
import shutil
import stat
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training import callbacks, checkpoint, data_changes
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.optimizers.adamw import AdamW
from sonolux.core.training.optimizers.base import Optimizer
from sonolux.core.training.run import RunFailed, TrainingRun
from sonolux.core.training.run_dir import UNSAVED, RunDir
from sonolux.core.types import BadInput
from sonolux.core.util.locks import FolderLock

sys.path.insert(0, str(Path(__file__).parents[2]))
from _kills import child

RECIPE = """
recipe: 1
name: tiny
seed: 3
modality: {use: image, size: 16, channels: 1}
data: {use: image/shapes, count: 24, shapes: 1, split: {by: hash, valid: 0.2}}
codec: {use: image/pixels}
network: {use: image/unet, width: 8, stages: [1], blocks: 1, patch: 4}
train: {steps: 6, batch: 4, warmup: 1, log_every: 1, save_every: 2, keep: 9, precision: float32, device: cpu}
sample: {use: euler, steps: 2, count: 2}
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return tmp_path / "tiny.yaml"


class Training:
    """A run in a folder; `at(step, action)`: what happens after a step."""

    def __init__(self, recipe, folder, *changes):
        self.said = []
        loaded = load_recipe(recipe, list(changes))
        self.run = TrainingRun(loaded, folder, say=self.said.append, bar=False)
        self.actions = {}

    def at(self, step, action):
        self.actions[step] = action
        return self

    def go(self, **prepare):
        self.run.prepare(**prepare)
        step = self.run.trainer.train_step

        def one(progress):
            result = step(progress)
            self.actions.get(result.step, lambda: None)()
            return result

        self.run.trainer.train_step = one
        return self.run.run()


def resume(folder, *changes):
    return Training(folder / "resolved.yaml", folder, *changes).go(resume=newest_checkpoint(folder))


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def same(a, b):
    x, y = load_file(a), load_file(b)
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


@pytest.fixture
def whole(recipe, tmp_path):
    """The last checkpoint of an undisturbed run."""
    return Training(recipe, tmp_path / "whole").go()


# --- two writers ---


@pytest.mark.slow
def test_a_second_training_is_refused(recipe, tmp_path, capsys):
    folder, refused = tmp_path / "run", []

    def others():
        for arguments in (
            [str(recipe), "--out", str(folder)],
            [str(recipe), "--out", str(folder), "--overwrite"],
            ["--resume", str(folder)],
        ):
            child(lambda arguments=arguments: refusal(arguments))
        refused.append(1)

    def refusal(arguments):
        return 0 if main(["train", *arguments]) == 2 and "is being written by" in capsys.readouterr().err else 1

    Training(recipe, folder).at(3, others).go()
    assert refused and not (folder / ".sonolux.lock").exists()


# --- the folder during the training ---


def check_lost_folder(recipe, tmp_path, whole, change, place):
    """The run continues in another folder, from which it can be resumed, and ends with the same weights."""
    folder = tmp_path / "run"
    training = Training(recipe, folder).at(3, lambda: change(folder))
    end = training.go()
    assert end == tmp_path / place / "checkpoints" / "step-00000006.safetensors" and same(end, whole)
    assert sum("The run continues in" in line for line in training.said) == 1
    assert {"resolved.yaml", "data.jsonl", "env.json", "metrics.jsonl"} <= set(names(end.parents[1]))
    assert json.loads((end.parents[1] / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 6
    assert resume(tmp_path / place, "train.steps=7").name == "step-00000007.safetensors"


def other_run(folder):
    shutil.rmtree(folder)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "resolved.yaml").write_text("of another run")


def file_for_folder(folder):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").write_text("a file")


CHANGES = {
    "moved": (lambda f: f.rename(f.with_name("elsewhere")), "run"),
    "removed": (shutil.rmtree, "run"),
    "another run": (other_run, "run-2"),
    "checkpoints is a file": (file_for_folder, "run-2"),
    "a folder of a checkpoint's name": (lambda f: (f / "checkpoints/step-00000004.safetensors").mkdir(), "run-2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_run_continues_without_its_folder(recipe, tmp_path, whole, change):
    check_lost_folder(recipe, tmp_path, whole, *CHANGES[change])
    if change == "moved":
        assert newest_checkpoint(tmp_path / "elsewhere").name == "step-00000002.safetensors"
        assert not hidden(tmp_path)
    if change == "another run":
        assert names(tmp_path / "run") == ["resolved.yaml"], "the other run is not touched"


def hidden(folder):
    return [p for p in folder.rglob(".*") if p.name.startswith(".sonolux")]


def check_moved_early(recipe, tmp_path, overwrite):
    """A run is moved before its first checkpoint: no hidden file stays in the moved folder, and no message is false."""
    folder = tmp_path / "run"
    if overwrite:
        Training(recipe, folder, "train.steps=1").go()
    training = Training(recipe, folder, "train.save_every=6").at(5, lambda: folder.rename(tmp_path / "elsewhere"))
    training.go(overwrite=overwrite)
    assert not hidden(tmp_path) and len(newest_checkpoint(folder).parents[1].name) == 3
    assert (tmp_path / "elsewhere/checkpoints").exists() == overwrite, "the earlier run"
    rows = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-2:] == [5, 6] and not any("lines of the log" in line for line in training.said)


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_was_moved_early_leaves_nothing_behind(recipe, tmp_path, overwrite):
    check_moved_early(recipe, tmp_path, overwrite)


@pytest.mark.slow
def test_planted_leftovers_are_caught(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(FolderLock, "abandon", lambda self, names: self.close())
    assert_caught(check_moved_early, recipe, tmp_path, False)


@pytest.mark.slow
def test_planted_trust_in_the_folder_is_caught(recipe, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(RunDir, "is_intact", lambda self: True)
    assert_caught(check_lost_folder, recipe, tmp_path, whole, *CHANGES["another run"])


@pytest.mark.slow
def test_a_log_that_cannot_be_written_is_kept(recipe, tmp_path, whole):
    folder = tmp_path / "run"

    def change():
        (folder / "metrics.jsonl").unlink()
        (folder / "metrics.jsonl").mkdir()

    training = Training(recipe, folder).at(3, change)
    assert same(training.go(), whole)
    rows = [json.loads(line)["step"] for line in (folder / "metrics-2.jsonl").read_text().splitlines()]
    assert rows == [3, 4, 5, 6] and sum("cannot be written" in line for line in training.said) == 1
    (folder / "metrics.jsonl").rmdir()
    assert resume(folder, "train.steps=7")


def test_a_short_log_line_is_taken_back(tmp_path, monkeypatch):
    folder, true = RunDir(tmp_path), open
    folder.log({"step": 1})

    class Full:
        def __init__(self, path):
            self.file = true(path, "ab", buffering=0)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, text):
            return self.file.write(text[:5])

        def __getattr__(self, name):
            return getattr(self.file, name)

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda path, *options, **more: Full(path))
        with pytest.raises(OSError, match="No space left"):
            folder.log({"step": 2})
    folder.log({"step": 3})
    assert [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()] == [1, 2, 3]


def check_full_disk(recipe, folder, whole, monkeypatch, last):
    """The disk is full at steps 4 to `last`: the earlier checkpoints stay, and the next save is tried again."""
    true = checkpoint.save_file

    def full(tensors, path, metadata):
        step = json.loads(metadata["sonolux"])["step"]
        if 4 <= step <= last:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        true(tensors, path, metadata=metadata)

    monkeypatch.setattr(checkpoint, "save_file", full)
    training = Training(recipe, folder)
    try:
        assert same(training.go(), whole)
    finally:
        assert sum("tried again" in line for line in training.said) == 1
        assert all(name.startswith("step-") for name in os.listdir(folder / "checkpoints"))
    return training


@pytest.mark.slow
def test_a_full_disk_does_not_end_the_training(recipe, tmp_path, whole, monkeypatch):
    check_full_disk(recipe, tmp_path / "run", whole, monkeypatch, last=5)
    assert names(tmp_path / "run" / "checkpoints") == ["step-00000002.safetensors", "step-00000006.safetensors"]


@pytest.mark.slow
def test_a_disk_that_is_full_to_the_end_is_reported_with_the_remedy(recipe, tmp_path, whole, monkeypatch):
    with pytest.raises(RunFailed, match=r"No space left.*continue from step-00000002.*--resume"):
        check_full_disk(recipe, tmp_path / "run", whole, monkeypatch, last=6)
    monkeypatch.undo()
    assert same(resume(tmp_path / "run"), whole)


@pytest.mark.slow
def test_an_unreadable_file_stops_the_run_after_a_checkpoint(recipe, tmp_path, whole):
    folder = tmp_path / "run"
    training = Training(recipe, folder)

    def broken():
        raise BadInput("a.png: no such file")

    with pytest.raises(BadInput, match="no such file"):
        training.at(4, broken).go()
    assert "step 4 is saved" in training.said[-1] or "step 3 is saved" in training.said[-1]
    assert same(resume(folder), whole)


@pytest.mark.slow
def test_checkpoints_have_the_rights_of_other_files(recipe, tmp_path):
    before = os.umask(0o027)
    try:
        path = Training(recipe, tmp_path / "run", "train.steps=1").go()
        assert stat.S_IMODE(path.stat().st_mode) == 0o640 == stat.S_IMODE((tmp_path / "run/env.json").stat().st_mode)
        path.chmod(0o600)
        checkpoint.replace_header(path, checkpoint.read_header(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


# --- overwriting ---


def check_overwrite(recipe, tmp_path):
    """The earlier run stays until the new one has saved a checkpoint; files of the user always stay."""
    folder = tmp_path / "run"
    Training(recipe, folder, "train.steps=4").go()
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoints" / "mine.safetensors").write_text("mine")
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    training = Training(recipe, folder, "train.save_every=5")

    def fail():
        raise BadInput("a.png: no such file")

    with pytest.raises(BadInput):
        training.at(2, fail).go(overwrite=True)
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before
    assert "the earlier run" in training.said[-1] and "unchanged" in training.said[-1]
    end = Training(recipe, folder, "train.save_every=5", "train.steps=5").go(overwrite=True)
    assert sorted(os.listdir(folder / "checkpoints")) == ["mine.safetensors", end.name] and end.stem.endswith("5")
    assert (folder / "notes.txt").read_text() == "mine" == (folder / "checkpoints/mine.safetensors").read_text()
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 5


@pytest.mark.slow
def test_a_run_is_replaced_when_the_new_one_has_a_checkpoint(recipe, tmp_path):
    check_overwrite(recipe, tmp_path)


@pytest.mark.slow
def test_planted_removal_at_the_start_is_caught(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(RunDir, "_never_saved", lambda self: True)
    assert_caught(check_overwrite, recipe, tmp_path)


@pytest.mark.slow
def test_a_run_without_a_checkpoint_is_started_again(recipe, tmp_path):
    folder = tmp_path / "run"
    for left in (["recipe.yaml"], ["recipe.yaml", "resolved.yaml", "metrics.jsonl"]):  # the process was killed
        folder.mkdir()
        for name in (*left, UNSAVED):
            (folder / name).write_text("")
        assert Training(recipe, folder).go().exists() and not (folder / UNSAVED).exists()
        (folder / UNSAVED).touch()  # killed between the checkpoint and the removal of this file
        with pytest.raises(BadInput, match="already holds a run"):
            Training(recipe, folder).go()
        shutil.rmtree(folder)


def spoilt(training, step):
    """The weights after a step are not finite, though its loss and gradient are."""

    def spoil():
        with torch.no_grad():
            next(training.run.trainer.model.parameters()).fill_(float("nan"))

    return training.at(step, spoil)


def check_failed_overwrite(recipe, tmp_path):
    """A new run that fails in its first steps, or whose weights are not finite, leaves the earlier one."""
    folder = tmp_path / "run"
    Training(recipe, folder, "train.steps=2").go()
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    for step, changes in ((2, []), (6, []), (1, ["train.steps=1"]), (2, ["train.save_every=1"])):
        training = spoilt(Training(recipe, folder, *changes), step)
        with pytest.raises(RunFailed, match=r"not finite.*none yet"):
            training.go(overwrite=True)
        assert {name: (folder / name).read_bytes() for name in names(folder)} == before
        assert "the earlier run" in training.said[-1]
    seen = {}
    training = Training(recipe, folder, "train.steps=11", "train.save_every=1")
    for step in range(1, 12):
        training.at(step, lambda step=step: seen.update({step: newest_checkpoint(folder).stem}))
    training.go(overwrite=True)
    assert seen == {**dict.fromkeys(range(1, 11), "step-00000002"), 11: "step-00000010"}


@pytest.mark.slow
def test_a_run_that_fails_early_replaces_nothing(recipe, tmp_path):
    check_failed_overwrite(recipe, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "value"), [(callbacks, "FIRST", 1), (checkpoint, "is_finite", lambda tensor: True)]
)
def test_planted_early_replacement_is_caught(recipe, tmp_path, monkeypatch, module, name, value):
    monkeypatch.setattr(module, name, value)
    assert_caught(check_failed_overwrite, recipe, tmp_path, also=(pytest.fail.Exception,))


def check_spoilt(recipe, folder):
    """Weights that are not finite are never saved; the run ends at once, and the checkpoint before it is used."""
    with pytest.raises(RunFailed, match=r"model\.\S+ of step 4 is not finite.*Last good checkpoint: .*step-00000002"):
        spoilt(Training(recipe, folder), 4).go()
    assert names(folder / "checkpoints") == ["step-00000002.safetensors"]


@pytest.mark.slow
def test_weights_that_are_not_finite_are_not_saved(recipe, tmp_path, whole):
    check_spoilt(recipe, tmp_path / "run")
    assert same(resume(tmp_path / "run"), whole)


@pytest.mark.slow
def test_planted_saving_of_spoilt_weights_is_caught(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "is_finite", lambda tensor: True)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_spoilt(recipe, tmp_path / "run")


# --- resuming ---


@pytest.mark.slow
@pytest.mark.parametrize("part", ["model", "ema", "optimizer"])
def test_a_checkpoint_that_is_not_finite_is_passed_over(recipe, tmp_path, whole, part):
    folder = whole.parents[1]
    header, tensors = checkpoint.read_header(whole), load_file(whole)
    name = next(k for k in tensors if k.startswith(part) and tensors[k].is_floating_point())
    checkpoint._write(whole, header, {**tensors, name: torch.full_like(tensors[name], float("inf"))})
    with pytest.warns(UserWarning, match=r"step-00000006\S* is damaged: step-00000004\S* is used"):
        assert resume(folder) == whole
    again = load_file(whole)
    assert again.keys() == tensors.keys() and all(torch.equal(again[k], tensors[k]) for k in tensors)
    assert whole.with_name(f"{whole.name}.damaged").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty_header(path):
    save_file(load_file(path), path, {"sonolux": "{}"})


def not_finite(path):
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] = math.nan
    header = checkpoint.read_header(path)
    save_file(tensors, path, {"sonolux": json.dumps(header.facts())})


def check_torn(recipe, tmp_path, whole, damage=cut):
    folder = tmp_path / "run"
    shutil.copytree(whole.parents[1], folder)
    last = newest_checkpoint(folder)
    damage(last)
    with pytest.warns(UserWarning, match=r"step-00000006\S* is damaged: step-00000004\S* is used"):
        assert resume(folder) == last
    assert same(last, whole) and last.with_name(f"{last.name}.damaged").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest_checkpoint(folder) == last


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, empty_header, not_finite])
def test_a_damaged_checkpoint_is_passed_over(recipe, tmp_path, whole, damage):
    check_torn(recipe, tmp_path, whole, damage)


@pytest.mark.slow
def test_planted_trust_in_the_newest_checkpoint_is_caught(recipe, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(checkpoint, "is_whole_checkpoint", lambda path: True)
    with pytest.raises(pytest.fail.Exception, match="DID NOT WARN"):
        check_torn(recipe, tmp_path, whole)


@pytest.mark.slow
def test_a_checkpoint_without_optimizer_state_is_refused(recipe, tmp_path, whole, monkeypatch):
    folder = whole.parents[1]
    header, tensors = checkpoint.read_header(whole), load_file(whole)
    checkpoint._write(whole, header, {k: v for k, v in tensors.items() if not k.startswith("optimizer.")})
    with pytest.raises(BadInput, match=r"holds no state of the optimizer.*--from"):
        resume(folder, "train.steps=7")
    assert AdamW().keeps_state() and not Plain().keeps_state()
    monkeypatch.setattr(AdamW, "keeps_state", lambda self: False)
    resume(folder, "train.steps=7")


class Plain(Optimizer):
    """Gradient descent, which keeps nothing between steps."""

    def make(self, model):
        return torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.fixture
def pictures(tmp_path):
    """A run on a folder of pictures: (run, folder of the pictures)."""
    root = tmp_path / "pictures"
    root.mkdir()
    for i in range(12):
        levels = np.random.default_rng(i).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(levels).save(root / f"{i}.png")
    text = RECIPE.replace("{use: image/shapes, count: 24, shapes: 1, split: {by: hash, valid: 0.2}}", "DATA")
    (tmp_path / "p.yaml").write_text(
        text.replace("DATA", f"{{use: image/folder, root: {root}, label: none, split: {{by: hash, valid: 0}}}}")
    )
    Training(tmp_path / "p.yaml", tmp_path / "run", "train.steps=2").go()
    return tmp_path / "run", root


def remove(root):
    (root / "3.png").unlink()


def change(root):
    shutil.copy(root / "4.png", root / "5.png")


def add(root):
    Image.new("L", (16, 16)).save(root / "new.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (remove, r"started: 1 removed \(3\.png\)\. The run continues"),
        (change, r"started: 1 changed \(5\.png\)"),
        (add, r"started: 1 added \(new\.png\)"),
        (lambda root: [remove(root), change(root), add(root)], r"1 removed .*, 1 added .*, 1 changed "),
    ],
)
def test_changes_of_the_data_are_named(pictures, edit, said):
    import re

    run, root = pictures
    edit(root)
    training = Training(run / "resolved.yaml", run, "train.steps=3")
    training.go(resume=newest_checkpoint(run))
    assert any(re.search(said, line) for line in training.said), training.said


@pytest.mark.slow
def test_data_that_was_not_changed_is_not_mentioned(pictures):
    run, root = pictures
    for path in root.iterdir():
        os.utime(path)
    for n, (name, text) in enumerate([("nothing", ""), ("data.jsonl", "\udcff\udcfe")]):  # the hash is in env.json
        (run / name).write_bytes(os.fsencode(text))
        training = Training(run / "resolved.yaml", run, f"train.steps={3 + n}")
        training.go(resume=newest_checkpoint(run))
        assert training.said == []


@pytest.mark.slow
@pytest.mark.parametrize("left", [b"\xff\xfe\n", b'{"source": "0.p', b"[1]\n", b"[" * 100_000, None])
def test_a_damaged_manifest_is_reported(pictures, left):
    run, _ = pictures
    facts = json.loads((run / "env.json").read_text())
    del facts["data_sha256"]
    (run / "env.json").write_text(json.dumps(facts))
    if left is None:
        (run / "data.jsonl").unlink()
    else:
        (run / "data.jsonl").write_bytes(left)
    training = Training(run / "resolved.yaml", run, "train.steps=3")
    training.go(resume=newest_checkpoint(run))
    assert "unknown whether the data has changed" in training.said[0] and "data.jsonl:" in training.said[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["env.json", "data.jsonl", "metrics.jsonl", "resolved.yaml", "checkpoints"])
@pytest.mark.parametrize("kind", ["pipe", "link", "other"])
def test_a_file_of_a_run_that_is_something_else_is_refused(recipe, tmp_path, name, kind, capsys):
    """Neither --resume nor --overwrite waits for a pipe, or writes through a link."""
    folder, target = tmp_path / "run", tmp_path / "target"
    Training(recipe, folder, "train.steps=1").go()
    (folder / name).rename(target)
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "link":
        (folder / name).symlink_to(target)
    elif target.is_dir():
        (folder / name).touch()
    else:
        (folder / name).mkdir()
    before = names(tmp_path)
    for command in (["--resume", str(folder), "train.steps=2"], [str(recipe), "--out", str(folder), "--overwrite"]):
        assert main(["train", *command, "--quiet"]) == 2
        said = capsys.readouterr().err
        unreadable = "--resume" in command and kind != "link" and name in ("resolved.yaml", "checkpoints")
        assert unreadable or (str(folder / name) in said and said.count("\n") == 1), said
    assert names(tmp_path) == before


def check_moved(run, root, capsys):
    """Data and run may move if the data stays the same; otherwise nothing is written."""
    moved, place = run.with_name("moved run"), root.with_name("moved data")
    root.rename(place)
    assert main(["train", "--resume", str(run), "train.steps=3"]) == 2
    assert f"If the data was moved: sonolux train --resume {run} data.root=NEW" in capsys.readouterr().err
    run.rename(moved)
    ask = ["train", "--resume", str(moved), "train.steps=3", "--quiet"]
    assert main(ask) == 2
    assert "give data.root=PATH again" in capsys.readouterr().err
    remove(shutil.copytree(place, place.with_name("other")))
    before = {name: (moved / name).read_bytes() for name in names(moved)}
    assert main([*ask, f"data.root={place.with_name('other')}"]) == 2
    assert "is not the data of the run" in (said := capsys.readouterr().err) and "1 removed (3.png)" in said
    assert {name: (moved / name).read_bytes() for name in names(moved)} == before
    assert main([*ask, f"data.root={place}"]) == 0
    assert main(["train", "--resume", str(moved), "train.steps=4", "--quiet"]) == 0, "the place is remembered"
    assert main([*ask, "data.label=folder"]) == 2 and "only train.* and paths may change" in capsys.readouterr().err
    return newest_checkpoint(moved)


@pytest.mark.slow
def test_moved_data_is_accepted_if_it_is_the_same(pictures, tmp_path, capsys):
    run, root = pictures
    still = shutil.copytree(run, tmp_path / "still")
    resume(still, "train.steps=3", f"data.root={root}")
    assert same(
        check_moved(run, root, capsys), resume(still, "train.steps=4", f"data.root={root.parent / 'moved data'}")
    )


@pytest.mark.slow
def test_planted_trust_in_moved_data_is_caught(pictures, capsys, monkeypatch):
    monkeypatch.setattr(data_changes, "manifest_text", lambda data: "")
    assert_caught(check_moved, *pictures, capsys)
