"""`sonolux train --dry-run`: it says what the training then does, refuses what it refuses, and writes nothing."""

import json
import os

import pytest
from sonolux.core.cli.main import main
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training import build, dry_run
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.optimizers.adamw import AdamW
from sonolux.core.training.run_dir import RunDir
from sonolux.core.util.locks import FolderLock


@pytest.fixture
def recipe(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    return "tiny.yaml"


def tree(folder):
    """Every file and folder with its time of change, except the caches of Python."""
    return {str(p): p.stat().st_mtime_ns for p in [folder, *sorted(folder.rglob("*"))] if "__pycache__" not in str(p)}


def planned(capsys, *words):
    code = main(["train", *map(str, words), "--dry-run", "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def check_plan(recipe, folder, capsys):
    before = tree(folder)
    plan = planned(capsys, recipe)
    assert tree(folder) == before
    assert main(["train", recipe, "--quiet"]) == 0
    said = capsys.readouterr().out
    assert f"diffuses {tuple(plan['latent'])} with {plan['parameters'] / 1e6:.2f} M weights" in said
    assert f"batches of {plan['batch']}, {plan['steps']} steps" in said and f"writes {plan['folder']}" in said
    assert (f"{plan['examples']} examples, {len(plan['classes'])} classes") in said
    assert plan["action"] == "start" and plan["step"] == 0 and plan["held_out"] == 8 and plan["log"] == []


@pytest.mark.slow
def test_the_training_does_what_was_said(recipe, tmp_path, capsys, monkeypatch):
    check_plan(recipe, tmp_path, capsys)
    again = planned(capsys, recipe, "--overwrite", "train.log=tensorboard")
    assert again["action"] == "replace" and again["log"] == ["tensorboard"]
    resumed = planned(capsys, "--resume", "runs/tiny", "train.steps=9")
    assert (resumed["action"], resumed["step"], resumed["steps"]) == ("continue", 4, 9)
    assert resumed["checkpoint"] == str(newest_checkpoint(tmp_path / "runs/tiny").relative_to(tmp_path))
    started = planned(capsys, recipe, "--from", "runs/tiny", "--out", "runs/other")
    assert started["action"] == "start" and started["checkpoint"] == resumed["checkpoint"]
    assert planned(capsys, recipe, "--nproc", "3", "--out", "runs/other")["processes"] == 3


def test_optimizer_that_cannot_shard_is_refused(recipe, capsys, monkeypatch):
    monkeypatch.delattr(AdamW, "shard")
    assert main(["train", recipe, "train.shard=full", "--nproc", "2", "--dry-run"]) == 2
    assert "train.shard: the optimizer AdamW does not say that it can update parts" in capsys.readouterr().err
    assert main(["train", recipe, "train.shard=full", "--dry-run"]) == 0  # one process shards nothing


@pytest.mark.slow
def test_planted_write_is_caught(recipe, tmp_path, capsys, monkeypatch):
    true = dry_run._check_folder

    def locking(run, *rest):
        true(run, *rest)
        run.folder.path.mkdir(parents=True)

    monkeypatch.setattr(dry_run, "_check_folder", locking)
    assert_caught(check_plan, recipe, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.stps=3"], "did you mean 'train.steps'"),
        (["sample.label=9"], "there is no class 9"),
        (["conditioning.size={use: scalar, key: weight, range: [0, 1]}"], "no example has"),
        (["--nproc", "4"], "give a multiple of 4"),
        (["--out", "tiny.yaml/run"], "is a file"),
        (["--out", "used"], "is not a run"),
        (["train.log=nothing"], "nothing"),
        (["--from", "nowhere"], "nowhere"),
    ],
)
def test_what_a_training_refuses_is_refused(recipe, tmp_path, capsys, words, message):
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    before = tree(tmp_path)
    assert main(["train", recipe, *words, "--dry-run"]) == 2
    assert message in capsys.readouterr().err
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_a_folder_in_use_is_refused(recipe, tmp_path, capsys):
    lock = FolderLock(tmp_path / "runs/tiny")
    lock.acquire()
    try:
        assert main(["train", recipe, "--dry-run"]) == 2
    finally:
        lock.release()
    assert "is being written by process" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_refused(recipe, tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0o555)
    assert main(["train", recipe, "--dry-run", "--out", "closed/run"]) == 2
    assert "cannot be written to" in capsys.readouterr().err


@pytest.mark.slow
def test_a_large_network_gets_no_values(recipe, capsys, monkeypatch):
    monkeypatch.setattr(build, "LARGE", 1000)
    monkeypatch.setattr(RunDir, "lock", lambda self: pytest.fail("the folder was locked"))
    assert main(["train", recipe, "--dry-run"]) == 0
    assert "M weights" in capsys.readouterr().out


def test_json_needs_a_dry_run(recipe, capsys):
    assert main(["train", recipe, "--json"]) == 2
    assert "--json needs --dry-run" in capsys.readouterr().err
