"""Jobs: results are those of `sonolux sample`, in the order of arrival; they are followed, cancelled and kept."""

import json
import shlex
import threading
import warnings

import pytest
import yaml
from pydantic import TypeAdapter
from sonolux.core.app import job_store, model_cache, part_run
from sonolux.core.app.job_requests import JobRequestBody
from sonolux.core.app.limits import RequestRefused, StudioLimits
from sonolux.core.app.studio import Studio
from sonolux.core.cli.main import main
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.util import notes


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def results(client, job, part=0):
    return files_of(client.folder / "jobs" / job["id"] / f"part-{part}" / "results")


def test_results_are_those_of_the_command_byte_for_byte(client, picture_run, tmp_path):
    job = client.sampled(label="circle", guidance=3, trajectory=True)
    words = ["label=circle", "count=2", "seed=5", "steps=2", "guidance.scale=3", "--trajectory"]
    assert main(["sample", str(picture_run), *words, "--out", str(tmp_path / "out")]) == 0
    found = results(client, job)
    assert found == files_of(tmp_path / "out") and len(found) == 6
    for item in job["items"]:
        data = client.get(item["url"])
        assert data.headers["content-type"] == item["media_type"] == "image/png"
        assert data.content in found.values()
    assert results(client, client.sampled(label="circle", guidance=3, trajectory=True, seed=6)) != found


def test_the_shown_command_and_lines_of_python_make_the_same_files(client, tmp_path, monkeypatch):
    job = client.sampled(
        label="circle", guidance={"scale": 2.5, "window": [0.2, 0.9]}, use="heun", timesteps="trailing"
    )
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(job["command"])
    assert program == "sonolux" and main(words) == 0
    (tmp_path / "out").rename(tmp_path / "by-command")
    exec(job["python"], {})
    assert files_of(tmp_path / "by-command") == files_of(tmp_path / "out") == results(client, job)
    section = yaml.safe_load(job["recipe"])["sample"]
    assert section["use"] == "heun" and section["guidance"] == {"scale": 2.5, "window": [0.2, 0.9]}


def test_a_job_states_what_it_makes(client):
    job = client.sampled(trajectory=True, count=3)
    assert [item["index"] for item in job["items"]] == [0, 1, 2]
    assert {item["job"] for item in job["items"]} == {job["id"]} and job["seed"] == 5
    assert all(item["origin"] == "sample" and (item["width"], item["height"]) == (16, 16) for item in job["items"])
    assert [one["step"] for one in job["trajectory"]] == [1, 2]
    assert client.get(job["trajectory"][-1]["url"]).content.startswith(b"\x89PNG")
    assert client.get(f"/api/jobs/{job['id']}/parts/0/samples.json").json()["settings"]["seed"] == 5
    assert client.get("/api/jobs").json()[0]["id"] == job["id"]


def events(client, job, last=None):
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    answer = client.get(f"/api/jobs/{job['id']}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if "event" in lines:
            found.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


def test_events_state_progress_items_and_the_end(client, monkeypatch):
    monkeypatch.setattr(part_run, "PREVIEW_EVERY", 0.0)
    job = client.job(kind="sample", model="run", count=6, steps=4, seed=1)
    found = events(client, job)
    names = [name for _, name, _ in found]
    assert names[-1] == "done" and names.count("item") == 6 and "progress" in names
    numbers = [number for number, _, _ in found]
    assert numbers == sorted(set(numbers))
    assert [data["total"] for _, name, data in found if name == "progress"][-1] == 4
    preview = next((data for _, name, data in found if name == "preview"), None)
    assert preview is None or preview["url"].startswith("data:image/png;base64,")
    assert [data["index"] for _, name, data in found if name == "item"] == list(range(6))
    assert found[-1][2]["state"] == "done" and len(found[-1][2]["items"]) == 6
    again = events(client, job, last=numbers[-3])
    assert again == found[-2:], "a client that comes back gets what it has missed"


def test_previews_are_drawn_from_estimates(client, monkeypatch):
    monkeypatch.setattr(part_run, "PREVIEW_EVERY", 0.0)
    monkeypatch.setattr(part_run, "PREVIEW_SHARE", float("inf"))
    monkeypatch.setattr("sonolux.core.app.events.LATEST_ONLY", ())
    found = events(client, client.sampled(steps=4))
    assert [data["step"] for _, name, data in found if name == "preview"] == [1, 2, 3], "the result follows the last"


class Held:
    """Holds the sampling of jobs at their first step until it is released, and gives a note there."""

    def __init__(self, monkeypatch, note=None):
        self.reached, self.go = threading.Event(), threading.Event()
        real = part_run.PartRun.on_sampling_step

        def held(run, progress):
            if note is not None:
                notes.issue_note(note)
            self.reached.set()
            assert self.go.wait(30)
            real(run, progress)

        monkeypatch.setattr(part_run.PartRun, "on_sampling_step", held)


def test_a_running_job_is_cancelled_at_its_next_step(client, monkeypatch):
    held = Held(monkeypatch)
    job = client.job(kind="sample", model="run", steps=1000, count=2)
    assert held.reached.wait(30)
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 409  # it is cancelled first
    assert client.post(f"/api/jobs/{job['id']}/cancel").json()["state"] == "running"
    held.go.set()
    ended = client.ended(job["id"])
    assert ended["state"] == "cancelled" and ended["items"] == []
    assert events(client, job)[-1][1] == "cancelled"
    assert client.sampled()["state"] == "done", "the next job is not disturbed"


class OfTheProcess:
    """A variable of all threads, in place of a context variable."""

    value = None

    def get(self):
        return self.value

    def set(self, value):
        before, self.value = self.value, value
        return before

    reset = set


def check_notes_of_the_job(client):
    with pytest.MonkeyPatch.context() as monkeypatch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = Held(monkeypatch, "of the job")
        job = client.job(kind="sample", model="run", count=1, steps=1)
        assert held.reached.wait(30)
        notes.issue_note("of another request")
        held.go.set()
        assert client.ended(job["id"])["notes"] == ["of the job"]


def test_the_notes_of_a_job_are_its_own(client):
    check_notes_of_the_job(client)
    with planted_error(notes, "_collected", OfTheProcess()):
        assert_caught(check_notes_of_the_job, client)


def test_waiting_jobs_run_in_their_order_and_can_be_cancelled(client, monkeypatch):
    held = Held(monkeypatch)
    first = client.job(kind="sample", model="run", count=1, steps=1)
    assert held.reached.wait(30)
    others = [client.job(kind="sample", model="run", count=1, steps=1, seed=n) for n in range(4)]
    assert [client.get(f"/api/jobs/{job['id']}").json()["position"] for job in others] == [1, 2, 3, 4]
    assert client.delete(f"/api/jobs/{others[1]['id']}").status_code == 409
    assert client.post(f"/api/jobs/{others[1]['id']}/cancel").json()["state"] == "cancelled"
    assert client.get(f"/api/jobs/{others[2]['id']}").json()["position"] == 2
    held.go.set()
    ended = [client.ended(job["id"]) for job in (first, *others)]
    assert [job["state"] for job in ended] == ["done", "done", "cancelled", "done", "done"]
    started = [job["started"] for job in ended if job["state"] == "done"]
    assert started == sorted(started)


def test_the_queue_is_bounded(connect, open_studio, picture_run, monkeypatch):
    studio = open_studio(picture_run, queue=5)
    monkeypatch.setattr(studio.queue, "start", lambda: None)
    request = {"kind": "sample", "model": "run", "count": 1}
    with connect(studio) as client:
        answers = [client.post("/api/jobs", json=request) for _ in range(20)]
        assert [answer.status_code for answer in answers] == [202] * 5 + [429] * 15
        assert "waiting already" in answers[-1].json()["error"]
        body = TypeAdapter(JobRequestBody).validate_python(request)
        for _ in range(1000):
            with pytest.raises(RequestRefused, match="5 jobs are waiting already"):
                studio.queue.submit(body)
        assert len(client.get("/api/jobs").json()) == len(list((studio.folder / "jobs").iterdir())) == 5


def test_a_job_that_fails_says_why(client, monkeypatch):
    def fail(*_):
        raise RuntimeError("a fault of a component")

    monkeypatch.setattr(part_run, "run_call", fail)
    job = client.ended(client.job(kind="sample", model="run", count=1)["id"])
    assert job["state"] == "failed" and job["error"] == "RuntimeError: a fault of a component"
    monkeypatch.setattr(part_run, "run_call", lambda *_: (_ for _ in ()).throw(MemoryError()))
    job = client.ended(client.job(kind="sample", model="run", count=1)["id"])
    assert job["error"].startswith("out of memory: choose fewer samples")


BAD = {
    "no such model": ({"model": "other"}, 404, "there is no such model"),
    "no such label": ({"label": "zebra"}, 202, None),
    "unknown key": ({"stepz": 3}, 400, "'stepz' is no setting of the studio; there are: model, checkpoint, prompt"),
    "unknown sampler": ({"use": "heunn"}, 400, "did you mean 'heun'"),
    "too many samples": ({"count": 257}, 400, "a job makes at most 256 samples"),
    "too many steps": ({"steps": 1001}, 400, "steps is at most 1000"),
    "code": ({"use": "./evil.py:Evil"}, 400, "registered components only"),
    "code in guidance": ({"guidance": {"use": "os:system"}}, 400, "registered components only"),
    "code in a dotted key": ({"guidance.use": "os:system"}, 400, "registered components only"),
    "a path": ({"guidance": {"use": "autoguidance", "weak": "/etc/passwd"}}, 403, "reads the files of its items only"),
    "another section": ({"data.root": "/"}, 400, "no setting of the studio"),
    "a device": ({"device": "cuda"}, 400, "no setting of the studio"),
    "negative count": ({"count": -1}, 400, "count: Input should be greater than or equal to 1"),
    "a long prompt": ({"prompt": "x" * 5000}, 400, "prompt"),
    "nested": ({"guidance": {"scale": [[[[[[[[[[[[1]]]]]]]]]]]]}}, 400, "nested too deeply"),
    "no checkpoint": ({"checkpoint": "../../x"}, 404, "there is no such checkpoint"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_refused_in_one_sentence(client, name):
    changes, status, text = BAD[name]
    before = len(client.get("/api/jobs").json())
    answer = client.post("/api/jobs", json={"kind": "sample", "model": "run", "count": 1, **changes})
    assert answer.status_code == status, answer.text
    if text is None:
        job = client.ended(answer.json()["id"])
        assert job["state"] == "failed" and "zebra" in job["error"]
    else:
        assert text in answer.json()["error"] and set(answer.json()) == {"error"}
        assert len(client.get("/api/jobs").json()) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"kind": "sample", "model": "run", "seconds": NaN}', "seconds is not a finite number"),
        ('{"kind": "sample", "model": "run", "guidance.scale": 1e999}', "guidance.scale is not a finite number"),
        ('{"kind": "sample", "model": "run", "label": "\\ud800"}', "label contains half of a character"),
        ('{"kind": "sample", "model": "run", "label": {"\\ud800": 1}}', "label contains half of a character"),
        ('{"kind": "edit", "edit": "vary", "model": "run", "inputs": ["%s"], "strength": NaN}', "strength is not a"),
        ('{"kind": "edit", "edit": "inpaint", "model": "run", "inputs": ["%s"], "spans": []}', "spans: List should"),
    ],
)
def test_what_no_answer_could_contain_is_refused(client, text, said):
    """JSON of a request may hold NaN and half of a character: kept in a job, they would break the list of all jobs."""
    text = text.replace("%s", "0" * 16)
    answer = client.post("/api/jobs", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and said in answer.json()["error"], answer.text
    assert client.get("/api/jobs").status_code == 200


def test_a_full_disk_does_not_stop_the_queue(client, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    job = client.job(kind="sample", model="run", count=1, steps=2)
    client.ended(job["id"])
    with monkeypatch.context() as patched:
        patched.setattr(job_store, "write_text_file", fail)
        with pytest.warns(UserWarning, match="cannot be written"):
            client.studio.jobs.change(job["id"], state="failed")
        before = len(client.get("/api/jobs").json())
        with pytest.raises(OSError, match="No space"):
            client.post("/api/jobs", json={"kind": "sample", "model": "run", "count": 1})
        assert len(client.get("/api/jobs").json()) == before, "a job that cannot be kept is not listed"
    client.sampled()


def test_a_checkpoint_is_read_whole_only_once(client, monkeypatch):
    looked = []
    monkeypatch.setattr(model_cache, "newest_checkpoint", lambda path: looked.append(path) or newest_checkpoint(path))
    client.studio.models._newest.clear()
    first = client.studio.models.checkpoint("run")
    assert client.studio.models.checkpoint("run") == first and len(looked) == 1
    first.touch()
    assert client.studio.models.checkpoint("run") == first and len(looked) == 2, "a changed file is read again"


def test_jobs_and_items_survive_the_server(connect, picture_run, tmp_path):
    def opened():
        return Studio.open(tmp_path, [picture_run], device="cpu")

    with connect(opened()) as client:
        done = client.sampled()
    waiting = connect(opened()).job(kind="sample", model="run", count=1, steps=1)
    studio = opened()
    studio.jobs.change(waiting["id"], state="queued")
    with connect(studio) as client:
        assert client.ended(waiting["id"])["state"] == "done", "a job that waited runs now"
        again = client.get(f"/api/jobs/{done['id']}").json()
        assert again == done and [name for _, name, _ in events(client, again)] == ["done"]
        studio.jobs.change(waiting["id"], state="running")
    stopped = opened().jobs.get(waiting["id"])
    assert stopped.state == "failed" and stopped.error == "the studio was stopped during this job"


def test_cancelling_a_job_that_has_ended_keeps_its_results(client):
    job = client.sampled()
    assert client.post(f"/api/jobs/{job['id']}/cancel").json()["state"] == "done"
    assert client.get(f"/api/jobs/{job['id']}").json()["items"] == job["items"]
    assert client.get(job["items"][0]["url"]).status_code == 200


def test_removing_a_job_keeps_what_the_user_keeps(client):
    job = client.sampled()
    kept, other = job["items"]
    client.patch(f"/api/items/{kept['id']}", json={"kept": True})
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 200
    assert client.get(f"/api/jobs/{job['id']}").status_code == 404
    assert client.get(kept["url"]).status_code == 200 and client.get(other["url"]).status_code == 404


def test_old_jobs_leave_the_list(connect, picture_run, tmp_path):
    studio = Studio.open(tmp_path, [picture_run], device="cpu", limits=StudioLimits(listed_jobs=2))
    with connect(studio) as client:
        made = [client.sampled(count=1, steps=1)["id"] for _ in range(4)]
        assert [job["id"] for job in client.get("/api/jobs").json()] == [made[3], made[2]]
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == sorted(made[2:])
