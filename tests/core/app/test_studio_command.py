"""`sonolux studio` as users start it, the client of examples/, and what is not installed or not free."""

import builtins
import json
import os
import re
import signal
import socket
import subprocess
import sys
import types
import urllib.request
from pathlib import Path

import pytest
import sonolux
from sonolux.core.app.model_cache import ModelCache
from sonolux.core.cli.main import main
from sonolux.core.util.errors import BadInput

sys.path.insert(0, str(Path(sonolux.__file__).resolve().parent / "examples"))
from studio_client import StudioClient, StudioError
from studio_client import main as client_main


@pytest.fixture(scope="module")
def served(tiny_run, tmp_path_factory):
    """(address, process) of a studio in a process of its own, which is ended as Ctrl-C ends it."""
    out = tmp_path_factory.mktemp("studio")
    words = ["studio", str(tiny_run("image")), str(tiny_run("audio")), "--port", "0", "--out", str(out), "--no-browser"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sonolux.core.cli", *words], stdout=subprocess.PIPE, text=True, env=environment
    )
    line = process.stdout.readline()
    yield re.search(r"http://127\.0\.0\.1:\d+", line)[0], process
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 128 + signal.SIGINT
    assert not list(out.glob(".sonolux.*")), "the folder is free again"


@pytest.mark.slow
def test_the_client_samples_and_saves(served, tmp_path, capsys):
    url, _ = served
    with urllib.request.urlopen(f"{url}/api/state") as answer:
        assert json.load(answer)["models"] == ["run", "run-2"]
    for model, start in (("run", b"\x89PNG"), ("run-2", b"RIFF")):
        folder = tmp_path / model
        assert client_main([model, "--url", url, "--count", "2", "--out", str(folder)]) == 0
        files = sorted(folder.iterdir())
        assert [str(path) for path in files] == capsys.readouterr().out.split()
        assert len(files) == 2 and all(path.read_bytes().startswith(start) for path in files)


@pytest.mark.slow
def test_the_client_says_why_it_is_refused(served, tmp_path, capsys):
    url, _ = served
    assert client_main(["other", "--url", url, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.strip() == "there is no such model"
    studio = StudioClient(url)
    with pytest.raises(StudioError, match="takes no prompt; its conditions: label"):
        studio.wait(studio.sample("run", "words"))
    with pytest.raises(StudioError, match="no studio answers"):
        StudioClient("http://127.0.0.1:9").call("GET", "/api/state")


@pytest.mark.slow
def test_the_drawing_of_media_that_are_no_pictures(served):
    url, _ = served
    studio = StudioClient(url)
    (item,) = studio.wait(studio.sample("run-2", count=1))["items"]
    assert item["media_type"] == "audio/wav" and item["seconds"] == 0.5 and item["size"] == []
    with studio.open("GET", item["sheet_url"]) as answer:
        assert answer.headers["content-type"] == "image/png" and answer.read(4) == b"\x89PNG"


@pytest.mark.slow
def test_the_script_for_reaper_inserts_sounds(served, tmp_path, monkeypatch):
    url, _ = served
    inserted, shown = [], []
    reaper = types.ModuleType("reaper_python")
    reaper.RPR_GetUserInputs = lambda *a: (1, *a[:4], answers, a[4])
    reaper.RPR_GetProjectPath = lambda *_: (str(tmp_path), 1024)
    reaper.RPR_InsertMedia = lambda path, _: inserted.append(path)
    reaper.RPR_ShowMessageBox = lambda text, *_: shown.append(text)
    monkeypatch.setitem(sys.modules, "reaper_python", reaper)
    monkeypatch.delitem(sys.modules, "reaper_studio", raising=False)
    import reaper_studio

    answers = "run-2,,2,3"
    monkeypatch.setattr(reaper_studio, "StudioClient", type("Plain", (StudioClient,), {"sample": _without_prompt}))
    paths = reaper_studio.insert_sounds(url)
    assert [str(path) for path in paths] == inserted and len(paths) == 2 and not shown
    assert all(path.suffix == ".wav" and path.is_file() and tmp_path in path.parents for path in paths)
    answers = "text_sfx,a laser,2,3"
    assert reaper_studio.insert_sounds(url) == [] and shown == ["there is no such model"]


def _without_prompt(client, model, prompt=None, **settings):
    return super(type(client), client).sample(model, prompt or None, **settings)


def test_help_loads_neither_torch_nor_the_server():
    code = "import sys; from sonolux.core.cli.main import main; main(['studio', '--help']); main(['--help'])\n"
    code += "print([name for name in ('torch', 'fastapi', 'uvicorn', 'starlette') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]"), done.stderr
    assert "Serve a local page for sampling" in done.stdout


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest, **options):
        if name == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["studio", "--out", str(tmp_path / "out")]) == 2
    assert "the studio needs the package uvicorn: python -m pip install 'sonolux[studio]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_address_that_is_taken_is_refused(tiny_run, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = [str(tiny_run("image")), "--port", port, "--out", str(tmp_path / "out"), "--no-browser"]
        assert main(["studio", *words]) == 2
    assert f"127.0.0.1:{port} cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_is_refused_before_anything_is_written(tmp_path, capsys):
    assert main(["studio", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert main(["studio", "text_shapes", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "was not prepared" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "studio.lan"])
def test_another_address_gets_a_token(host, tiny_run, tmp_path, capsys, monkeypatch):
    import uvicorn
    from sonolux.core.cli import studio as command

    seen = {}

    class Server:
        def __init__(self, config):
            seen["server"] = config.app

        def run(self, sockets):
            sockets[0].close()

    monkeypatch.setattr(uvicorn, "Server", Server)
    monkeypatch.setattr(command, "_bound", lambda config: socket.socket())
    monkeypatch.setattr(command.webbrowser, "open", lambda _: pytest.fail("no page for another address"))
    assert main(["studio", str(tiny_run("image")), "--host", host, "--out", str(tmp_path / "out")]) == 0
    token = seen["server"].token
    assert token and f"?token={token}" in capsys.readouterr().out
    assert seen["server"].hosts is None if host == "0.0.0.0" else host in seen["server"].hosts


def test_code_that_a_run_of_others_names_is_not_run(connect, open_studio, tiny_run, tmp_path):
    from sonolux.core.training.checkpoint import newest_checkpoint, read_header, replace_header

    run = tiny_run("image", own="of others")
    (run / "evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    checkpoint = newest_checkpoint(run)
    header = read_header(checkpoint)
    text = header.recipe.replace("use: dpmpp_2m", f"use: '{run}/evil.py:Evil'")
    assert text != header.recipe
    replace_header(checkpoint, type(header)(**{**vars(header), "recipe": text}))
    with connect(open_studio(run)) as client:
        for answer in (
            client.get("/api/models/run"),
            client.post("/api/jobs", json={"kind": "sample", "model": "run"}),
        ):
            assert answer.status_code == 400 and "evil.py:Evil" in answer.json()["error"]
    assert not (tmp_path / "ran").exists()


def test_models_of_one_name_are_told_apart(tiny_run):
    with pytest.raises(BadInput):
        ModelCache(["/no/such/run"])
    found = ModelCache([tiny_run("image"), tiny_run("audio"), tiny_run("image"), "text_shapes"])
    assert found.names == ["run", "run-2", "text_shapes"] and list(found.run_folders) == ["run", "run-2"]
