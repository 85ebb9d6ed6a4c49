"""Many clients ask one studio for small samples: are all served, in which order, and how long do they wait?

    python benchmarks/studio_load.py --clients 50 --seconds 60

Each client starts a job of one sample, waits until it is done, and starts the next. Printed are the numbers of jobs
that were asked, done and lost; the latency from the request to the result; whether jobs ran in the order in which they
arrived; and the fewest and most jobs of a client.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from sonolux.core.app.server import create_server
from sonolux.core.app.studio import Studio
from sonolux.core.util.messages import print_json
from studio_client import StudioClient, StudioError


class LoadClient(threading.Thread):
    """One client.

    Args:
        url: Address of the studio.
        number: Number of the client.
        model: The model.
        steps: Sampling steps.
        end: Time at which it asks for the last sample.
    """

    def __init__(self, url: str, number: int, model: str, steps: int, end: float):
        super().__init__(daemon=True)
        self.client, self.number, self.model, self.steps, self.end = StudioClient(url), number, model, steps, end
        self.asked, self.jobs, self.seconds, self.errors = 0, list[dict](), list[float](), list[str]()

    def run(self) -> None:
        while time.monotonic() < self.end:
            began = time.monotonic()
            self.asked += 1
            try:
                job = self.client.sample(self.model, count=1, steps=self.steps, seed=1000 * self.number + self.asked)
                job = self.client.wait(job)
                if len(job["items"]) != 1:
                    raise StudioError(f"{len(job['items'])} samples instead of one")
            except (StudioError, OSError, KeyError) as error:
                self.errors.append(str(error))
                continue
            self.seconds.append(time.monotonic() - began)
            self.jobs.append(job)


def measure(model: str, clients: int, seconds: float, steps: int, port: int) -> dict[str, object]:
    """Serve a studio in this process and load it."""
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio.open(Path(folder), [model])
        studio.models.pipeline(studio.models.names[0])
        server = uvicorn.Server(uvicorn.Config(create_server(studio), port=port, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        began = time.monotonic()
        asking = [LoadClient(f"http://127.0.0.1:{port}", n, model, steps, began + seconds) for n in range(clients)]
        for client in asking:
            client.start()
        for client in asking:
            client.join()
        took = time.monotonic() - began
        server.should_exit = True
        thread.join(10)
    jobs = sorted((job for client in asking for job in client.jobs), key=lambda job: (job["created"], job["started"]))
    waits = sorted(wait for client in asking for wait in client.seconds)
    started = [job["started"] for job in jobs]
    late = sum(b < a for a, b in itertools.pairwise(started))
    return {
        "clients": clients,
        "asked": sum(client.asked for client in asking),
        "done": len(jobs),
        "lost": sum(client.asked for client in asking) - len(jobs),
        "errors": sorted({error for client in asking for error in client.errors}),
        "jobs_a_second": round(len(jobs) / took, 2),
        "latency_s": {
            "median": round(statistics.median(waits), 2),
            "95 %": round(waits[int(0.95 * (len(waits) - 1))], 2),
            "largest": round(waits[-1], 2),
        },
        "out_of_order": late,
        "jobs_of_a_client": [min(len(c.jobs) for c in asking), max(len(c.jobs) for c in asking)],
    }


def main() -> int:
    """Measure and print JSON; the exit code is 1 if a job was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="text_shapes")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--port", type=int, default=8799)
    given = parser.parse_args()
    found = measure(given.model, given.clients, given.seconds, given.steps, given.port)
    print_json(found)
    return 1 if found["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
