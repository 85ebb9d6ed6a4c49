"""`sonolux watch`: what it reads of a finished run, of one that goes on, of a damaged one; and how it ends."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict

import pytest
from sonolux.core.cli import watch
from sonolux.core.cli.main import main
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training import run_view
from sonolux.core.training.run_view import read_run, run_lines
from sonolux.core.util.locks import LOCK, LockOwner

ROW = {
    "step": 30,
    "loss": 0.5,
    "rate": 3e-4,
    "grad_norm": 1.25,
    "samples_per_s": 40.0,
    "data_wait": 0.02,
    "elapsed_s": 60.0,
    "loss_by_tau": [0.4, 0.1, None, 0.2],
}
HELD = {"step": 20, "held_out": {"loss": 0.625, "seconds": 1.0}}


def made(folder, *rows, limit="steps: 120", text="name: shapes\ntrain: {%s}\n"):
    """A run folder by hand."""
    (folder / "previews").mkdir(parents=True)
    (folder / "resolved.yaml").write_text(text % limit)
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for step in (20, 10):
        (folder / f"previews/step-{step:08d}.png").touch()
    return folder


def lock(folder, pid=None):
    owner = LockOwner.current()
    (folder / LOCK).write_text(json.dumps({**asdict(owner), "pid": pid or os.getpid()}))


def check_view(folder):
    """Numbers by hand: a quarter of the steps took 60 s, so that 180 s are left; a bar of 32 for the largest loss."""
    record = read_run(folder)
    assert (record.state, record.step, record.left_s) == ("training", 30, 180.0)
    assert run_lines(record) == [
        "shapes  step 30 of 120  training, 3:00 left",
        "loss 0.5000   held out 0.6250 at step 20",
        f"  noise 0.00 to 0.25  0.4000  {'█' * 32}",
        f"  noise 0.25 to 0.50  0.1000  {'█' * 8}",
        "  noise 0.50 to 0.75       -",
        f"  noise 0.75 to 1.00  0.2000  {'█' * 16}",
        "rate 0.0003, gradient 1.25, 40 samples/s, 2.0% waiting for data",
        f"2 previews, the last: {folder}/previews/step-00000020.png",
    ]


def test_the_view(tmp_path, monkeypatch):
    folder = made(tmp_path / "run", {**ROW, "step": 29, "loss": 9}, HELD, ROW)
    lock(folder)
    check_view(folder)
    true = run_view._seconds_left
    monkeypatch.setattr(run_view, "_seconds_left", lambda step, steps, *rest: true(step, steps + step, *rest))
    assert_caught(check_view, folder)


def test_a_run_limited_by_minutes(tmp_path):
    folder = made(tmp_path / "run", ROW, limit="minutes: 5")
    lock(folder)
    assert run_lines(read_run(folder))[0] == "shapes  step 30 of 5 minutes  training, 4:00 left"


def test_a_killed_run_has_ended(tmp_path):
    folder = made(tmp_path / "run", ROW)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock(folder, ended.pid)
    assert read_run(folder).state == "ended"


def test_a_run_that_replaces_another_one_is_read_in_its_hidden_folder(tmp_path):
    folder = made(tmp_path / "run", ROW)
    made(folder / run_view.PART, {**ROW, "step": 1})
    assert read_run(folder).step == 30
    lock(folder)
    assert read_run(folder).step == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\n",
        b"[1]\n",
        b'{"step": "x", "loss": "y"}\n',
        b'{"step": 1, "loss": NaN}\n',
        b'{"loss_by_tau": 3}',
        b"[" * 9999,
    ],
)
def test_damaged_logs_are_shown_without_numbers(tmp_path, content):
    folder = made(tmp_path / "run", text="- [\n%s")
    (folder / "metrics.jsonl").write_bytes(content)
    assert run_lines(read_run(folder))[0].endswith("no step yet  ended")


def test_a_folder_without_run_is_one_message(tmp_path, capsys):
    assert main(["watch", str(tmp_path)]) == 2
    assert "is no run folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_finished_run_is_shown_once(tiny_run, capsys):
    folder = tiny_run("image")
    assert main(["watch", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny  step 4 of 4  ended\nloss ") and "noise 0.00 to 0.12" in out
    assert main(["watch", str(folder), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["step"] == 4 and record["state"] == "ended" and record["metrics"]["loss"] > 0
    assert record["checkpoint"].endswith("step-00000004.safetensors")


def test_the_view_ends_with_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(watch, "EVERY", 0.02)
    folder = made(tmp_path / "run", {**ROW, "step": 1})
    lock(folder)

    def train():
        with open(folder / "metrics.jsonl", "a") as log:
            log.write(json.dumps(ROW) + "\n")
        threading.Event().wait(0.3)
        (folder / LOCK).unlink()

    other = threading.Timer(0.3, train)
    other.start()
    assert main(["watch", str(folder)]) == 0
    other.join()
    heads = [line for line in capsys.readouterr().out.splitlines() if line.startswith("shapes")]
    assert [line.split("  ")[1:] for line in heads] == [
        ["step 1 of 120", "training, 1:59:00 left"],
        ["step 30 of 120", "training, 3:00 left"],
        ["step 30 of 120", "ended"],
    ]


def test_on_a_terminal_the_view_is_drawn_in_its_place(tmp_path, capsys, monkeypatch):
    """Three views: the second and third begin where the first did; no line is longer than the terminal is wide."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    folder = made(tmp_path / "run", {**ROW, "step": 1})
    lock(folder)
    changes = iter([lambda: (folder / "metrics.jsonl").write_text(json.dumps(ROW) + "\n"), (folder / LOCK).unlink])
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: next(changes)())
    assert main(["watch", str(folder)]) == 0
    first, second, third = capsys.readouterr().out.split("\x1b[8F\x1b[J")
    assert first.count("\n") == second.count("\n") == third.count("\n") == 8
    assert third.startswith("shapes  step 30 of 120  ended\n") and max(map(len, third.split("\n"))) == 39
