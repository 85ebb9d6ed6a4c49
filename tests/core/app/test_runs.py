"""Training runs that are watched: state, log and previews; stopping and continuing them."""

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from sonolux.core.app import routes_runs, runs
from sonolux.core.app.runs import RunWatcher
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.training.run_dir import TRAINING
from sonolux.core.util.locks import FolderLock, find_lock_owner

PREVIEW = b"\x89PNG of a preview"


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of a finished run, which a test may change."""
    folder = shutil.copytree(tiny_run("image"), tmp_path / "a run")
    (folder / "previews").mkdir(exist_ok=True)
    (folder / "previews" / "step-00000004.png").write_bytes(PREVIEW)
    return folder


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_finished_run_is_described(connect, open_studio, run):
    with connect(open_studio(run)) as client:
        assert client.get("/api/state").json()["runs"] == ["a run"]
        found = client.get("/api/runs/a run").json()
        assert (found["state"], found["step"], found["steps"]) == ("finished", 4, 4)
        assert found["loss"] == rows(run)[-1]["loss"] and found["checkpoint"] == "step-00000004"
        assert found["plateau"] is None and found["left"] is None and found["message"] is None
        preview = found["previews"][-1]
        assert preview["step"] == 4 and client.get(preview["url"]).content == PREVIEW
        assert client.get("/api/runs/a%20run/previews/3").status_code == 404
        assert client.get("/api/models/a run").json()["checkpoints"][-1] == {"name": "step-00000004", "step": 4}


def test_metrics_are_read_from_where_the_client_is(connect, open_studio, run):
    with connect(open_studio(run)) as client:
        first = client.get("/api/runs/a run/metrics").json()
        assert first["rows"] == rows(run) and first["next"] == (run / "metrics.jsonl").stat().st_size
        with open(run / "metrics.jsonl", "a") as file:
            file.write('{"step": 5, "loss": 0.25}\nnot json\n{"step": 6, "loss": NaN}\n{"step": 7, "lo')
        url = f"/api/runs/a run/metrics?after={first['next']}"
        second = client.get(url).json()
        assert second["rows"] == [{"step": 5, "loss": 0.25}] and not second["restarted"]
        with open(run / "metrics.jsonl", "a") as file:
            file.write('ss": 1}\n')
        third = client.get(f"/api/runs/a run/metrics?after={second['next']}").json()
        assert third["rows"] == [{"step": 7, "loss": 1}], "a line is read when it is complete"
        (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n')
        again = client.get(f"/api/runs/a run/metrics?after={third['next']}").json()
        assert again["restarted"] and again["rows"] == [{"step": 1, "loss": 2}]


def test_time_left_and_plateau_follow_from_the_log(run, tmp_path):
    log = [{"step": 10 * n, "loss": 1.0, "elapsed_s": 5.0 * n, "samples_per_s": 12.0} for n in range(1, 11)]
    log.append({"step": 100, "held_out": {"loss": 0.5, "best_step": 40, "without_improvement": 5}})
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    resolved = (run / "resolved.yaml").read_text().replace("steps: 4\n  minutes", "steps: 300\n  minutes")
    (run / "resolved.yaml").write_text(resolved)
    watcher, lock = RunWatcher("run", run, tmp_path / "logs"), FolderLock(run, TRAINING)
    stopped = watcher.describe()
    assert (stopped["state"], stopped["step"], stopped["steps"], stopped["left"]) == ("stopped", 100, 300, None)
    lock.acquire()
    running = watcher.describe()
    lock.release()
    assert running["state"] == "running" and running["left"] == 200 * 0.5 and running["rate"] == 12.0
    assert running["plateau"] == {"best_step": 40, "waited": 5, "patience": 5, "flat": True}
    (run / "resolved.yaml").write_text(resolved.replace("until: limit", "until: plateau"))
    assert watcher.describe()["state"] == "finished", "it ended since the held-out loss is flat"


def test_a_damaged_folder_is_described_as_far_as_it_can_be_read(run, tmp_path):
    (run / "resolved.yaml").write_text("[" * 100_000)
    odd = b'{"step": "x", "loss": [1], "elapsed_s": {}}\n{"loss": 1, "elapsed_s": 1e999}\n'
    (run / "metrics.jsonl").write_bytes(b"\xff\xfe\n[1]\n" + odd)
    shutil.rmtree(run / "previews")
    (run / "previews").symlink_to("/")
    found = RunWatcher("run", run, tmp_path).describe()
    assert (found["state"], found["step"], found["previews"]) == ("stopped", 0, [])


def test_events_of_a_run_are_new_rows_and_changes_of_its_state(connect, open_studio, run, monkeypatch):
    monkeypatch.setattr(routes_runs, "POLL", 0.05)
    with connect(open_studio(run, stream_seconds=0.4)) as client:
        answer = client.get("/api/runs/a run/events")
    names = [line for line in answer.text.split("\n") if line.startswith("event")]
    assert names == ["event: metrics", "event: state"]
    size = (run / "metrics.jsonl").stat().st_size
    assert f"id: {size}\n" in answer.text
    with connect(open_studio(run, stream_seconds=0.2)) as client:
        again = client.get("/api/runs/a run/events", headers={"Last-Event-ID": str(size)}).text
    assert "event: metrics" not in again


@contextmanager
def writing(run, lock):
    """A process that holds the lock of a run until it is interrupted; `lock` is Python source of it."""
    code = (
        "import sys, time; from pathlib import Path; from sonolux.core.util import interrupts;"
        "from sonolux.core.util.locks import FolderLock; from sonolux.core.training.run_dir import RunDir;"
        f"run = Path(sys.argv[1]); interrupts.install_handler(); interrupts.begin_work(); lock = {lock};"
        "lock.acquire(); print('ready', flush=True)\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    lock.release(); print('stopped', flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_stop_asks_the_training_to_end(connect, open_studio, run):
    with writing(run, "RunDir(run)._lock") as process, connect(open_studio(run)) as client:
        assert client.get("/api/runs/a run").json()["state"] == "running"
        assert client.post("/api/runs/a run/resume").status_code == 409
        assert client.post("/api/runs/a run/stop").status_code == 200
        assert process.stdout.readline() == "stopped\n" and process.wait(10) == 0
        answer = client.post("/api/runs/a run/stop")
        assert answer.status_code == 409 and answer.json()["error"] == "a run is not running"


def check_stop_refused(client, process):
    answer = client.post("/api/runs/a run/stop")
    assert answer.status_code == 409
    said = answer.json()["error"]
    assert said.startswith(f"a run is not trained now: process {process.pid} on ") and said.endswith("stop it there")
    assert process.poll() is None


def test_stop_leaves_other_commands_that_write_to_the_folder_alone(connect, open_studio, run):
    """`sonolux calibrate` locks the folder of a run too."""
    with writing(run, "FolderLock(run)") as process, connect(open_studio(run)) as client:
        check_stop_refused(client, process)
        assert client.get("/api/runs/a run").json()["state"] == "finished"
        answer = client.post("/api/runs/a run/resume")
        assert answer.status_code == 409 and "writes to the folder of a run: wait until it ends" in answer.text
        with planted_error(runs, "TRAINING", ""):
            assert_caught(check_stop_refused, client, process)
        assert process.stdout.readline() == "stopped\n", "the planted error stops it"


def test_a_lock_that_a_killed_process_left_stops_nobody(run):
    """The number of the dead process may be that of another one now."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        lock = FolderLock(run)
        lock.acquire()
        text = (run / ".sonolux.lock").read_text()
        lock.release()
        facts = {**json.loads(text), "pid": sleeper.pid}
        (run / ".sonolux.lock").write_text(json.dumps(facts))
        assert find_lock_owner(run) is None
    finally:
        sleeper.kill()
        assert sleeper.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_a_stopped_run_is_continued_in_its_own_process(connect, open_studio, tiny_run):
    run = tiny_run("image", "train.save_every=1", own="continued")
    for path in [*sorted((run / "checkpoints").glob("step-*"))[1:]]:
        path.unlink()
    with connect(open_studio(run)) as client:
        found = client.get("/api/runs/run").json()
        assert found["state"] == "finished" and found["checkpoint"] == "step-00000002"
        assert client.post("/api/runs/run/resume").json()["state"] == "running"
        end = time.monotonic() + 300
        while client.get("/api/runs/run").json()["state"] == "running" and time.monotonic() < end:
            time.sleep(0.2)
        found = client.get("/api/runs/run").json()
        assert (found["state"], found["checkpoint"], found["message"]) == ("finished", "step-00000004", None)


def test_a_run_that_cannot_be_continued_says_why(connect, open_studio, run, monkeypatch):
    with connect(open_studio(run)) as client:
        monkeypatch.setattr(sys, "executable", shutil.which("false"))
        client.post("/api/runs/a run/resume")
        end = time.monotonic() + 10
        while client.get("/api/runs/a run").json()["state"] == "running" and time.monotonic() < end:
            time.sleep(0.05)
        assert client.get("/api/runs/a run").json()["message"] == "the training ended with exit code 1"
        for path in (run / "checkpoints").iterdir():
            path.unlink()
        answer = client.post("/api/runs/a run/resume")
        assert answer.status_code == 400 and "no checkpoint to continue from" in answer.json()["error"]
