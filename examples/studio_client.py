"""A client of the studio: ask for samples, follow the progress, and save the files. It needs no other package.

    sonolux studio --no-browser                                             # in another terminal
    python examples/studio_client.py text_sfx "a short high laser" --count 4 --out lasers

`StudioClient` is small enough to be copied into another program, such as a plugin of a game engine.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class StudioError(Exception):
    """The studio refused a request, or a job failed; the message says why."""


class StudioClient:
    """Talks to a studio.

    Args:
        url: Address of the studio.
        token: Its token, if it has one.
        timeout: Seconds without any answer after which a request fails.
    """

    def __init__(self, url: str = "http://127.0.0.1:8765", token: str | None = None, timeout: float = 60.0):
        self.url, self.timeout = url.rstrip("/"), timeout
        self.headers = {"X-Sonolux": "1"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def open(self, method: str, path: str, body: Any = None) -> Any:
        """The open answer to a request.

        Raises:
            StudioError: The studio refused it, or does not answer.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {**self.headers, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        try:
            return urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            raise StudioError(json.load(error)["error"]) from error
        except OSError as error:
            raise StudioError(f"no studio answers at {self.url}: start one with `sonolux studio` ({error})") from error

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer."""
        with self.open(method, path, body) as answer:
            return json.load(answer)

    def sample(self, model: str, prompt: str | None = None, **settings: Any) -> dict[str, Any]:
        """Start a job of samples; settings are keys of a recipe's `sample` section, such as count, seed and steps."""
        words = {} if prompt is None else {"prompt": prompt}
        return self.call("POST", "/api/jobs", {"kind": "sample", "model": model, **words, **settings})

    def follow(self, job: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of a job: (name, data), the last one done, failed or cancelled."""
        with self.open("GET", job["events_url"]) as stream:
            name = ""
            for line in stream:
                key, _, value = line.decode().rstrip("\n").partition(": ")
                if key == "event":
                    name = value
                elif key == "data":
                    yield name, json.loads(value)

    def wait(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job when it is done.

        Raises:
            StudioError: It failed or was cancelled.
        """
        for name, data in self.follow(job):
            if name == "done":
                return data
            if name in ("failed", "cancelled"):
                raise StudioError(data["error"] or "the job was cancelled")
        return self.wait(job)  # the stream ended before the job did

    def save(self, item: dict[str, Any], folder: Path) -> Path:
        """Write the file of an item into a folder."""
        suffix = {"image/png": ".png", "audio/wav": ".wav"}.get(item["media_type"], "")
        path = folder / f"{item['index']:04d}{suffix}"
        folder.mkdir(parents=True, exist_ok=True)
        with self.open("GET", item["url"]) as answer:
            path.write_bytes(answer.read())
        return path


def main(arguments: list[str] | None = None) -> int:
    """Sample, show the progress, and save the files; if the studio refuses, print why and return exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name of a model that the studio serves")
    parser.add_argument("prompt", nargs="?", help="prompt, for a model that takes one")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--url", default="http://127.0.0.1:8765")
    parser.add_argument("--token")
    given = parser.parse_args(arguments)
    studio = StudioClient(given.url, given.token)
    try:
        job = studio.sample(given.model, given.prompt, count=given.count, seed=given.seed)
        for name, data in studio.follow(job):
            if name == "progress":
                print(f"\rstep {data['step']} of {data['total']}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        for item in studio.wait(job)["items"]:
            print(studio.save(item, given.out))
    except StudioError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
