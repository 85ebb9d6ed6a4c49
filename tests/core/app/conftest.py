"""A studio with a tiny run, and a client that may change things."""

import time

import pytest
from fastapi.testclient import TestClient
from sonolux.core.app.limits import StudioLimits
from sonolux.core.app.server import create_server
from sonolux.core.app.studio import Studio

BASE = "http://127.0.0.1:8765"
HEADERS = {"X-Sonolux": "1"}


class Client(TestClient):
    """A client of a studio, with what tests do often."""

    def job(self, **request):
        """Start a job and return it as it is then."""
        answer = self.post("/api/jobs", json=request)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def ended(self, identifier, seconds=60):
        """The job when it has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            job = self.get(f"/api/jobs/{identifier}").json()
            if job["state"] in ("done", "failed", "cancelled"):
                return job
            time.sleep(0.02)
        raise AssertionError(f"the job has not ended: {job}")

    def done(self, **request):
        """Start a job and return it when it is done."""
        job = self.ended(self.job(**request)["id"])
        assert job["state"] == "done", job["error"]
        return job

    def sampled(self, model="run", **settings):
        """A job of samples that is done."""
        return self.done(kind="sample", model=model, **{"count": 2, "seed": 5, "steps": 2, **settings})

    def upload(self, name, data, **form):
        """The answer to an upload."""
        return self.post("/api/uploads", files={"file": (name, data)}, data=form)


@pytest.fixture(scope="session")
def connect():
    """connect(studio, hosts, token): a client of a studio, whose queue runs inside of its context only."""

    def connected(studio, *options):
        return Client(create_server(studio, *options), base_url=BASE, headers=HEADERS)

    return connected


@pytest.fixture
def open_studio(tmp_path):
    """open_studio(*models, data=(), **limits): a studio whose queue does not run yet, in the folder tmp_path/studio."""

    def opened(*models, data=(), **limits):
        return Studio.open(tmp_path / "studio", models, data, "cpu", StudioLimits(**limits))

    return opened


@pytest.fixture(scope="module")
def picture_run(tiny_run):
    """The folder of a tiny run of pictures with classes."""
    return tiny_run("image")


@pytest.fixture(scope="module")
def client(picture_run, tmp_path_factory, connect):
    """A client of one studio for all tests of a file; its folder is `client.folder`."""
    studio = Studio.open(tmp_path_factory.mktemp("studio"), [picture_run], device="cpu")
    with connect(studio) as found:
        found.folder, found.studio = studio.folder, studio
        yield found
