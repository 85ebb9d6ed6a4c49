"""`sonolux doctor`: what is broken is reported in one line and does not stop the command."""

import json
import os
import re

import pytest
from sonolux.core.cli import doctor
from sonolux.core.cli.main import main
from sonolux.core.config import registry


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """A distribution with three networks: one works, one raises, one kills its process."""
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    lines = [f"acme/{n} = acme_{n}:Net" for n in ("good", "raises", "dies")]
    (info / "entry_points.txt").write_text("[sonolux.network]\n" + "\n".join(lines))
    (tmp_path / "acme_good.py").write_text("class Net:\n    '''Fine.'''\n")
    (tmp_path / "acme_raises.py").write_text("raise RuntimeError('no licence')\n")
    (tmp_path / "acme_dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    registry._points.cache_clear()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield
    registry._points.cache_clear()


NOTHING = {"devices": {}, "threads": 1, "cores": 1, "trouble": []}


def test_it_reports_versions_and_devices(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_child", lambda arguments: None)
    monkeypatch.setattr(doctor, "_plugins", list)
    monkeypatch.setattr(doctor, "_modalities", lambda report: [])
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["torch"] and report["packages"]["pydantic"] and "librosa" not in report["packages"]
    assert report["threads"] >= 1 and isinstance(report["devices"]["cpu"]["bf16"], bool)
    assert main(["doctor"]) == 0
    assert "no problems found" in capsys.readouterr().out


@pytest.mark.slow
def test_each_modality_says_which_files_it_reads(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_torch", lambda: {**NOTHING, "trouble": []})
    monkeypatch.setattr(doctor, "_plugins", list)
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"WAV", "FLAC", "OGG"} <= set(report["files"]["audio"]) and "PNG" in report["files"]["image"]
    assert report["free_gb"] > 0
    (tmp_path / "soundfile.py").write_text("raise OSError('sndfile library not found')\n")
    (tmp_path / "torchaudio.py").write_text("raise OSError('libtorchaudio.so: undefined symbol')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(doctor, "_modalities", lambda report: ["audio"])
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "audio files: none can be read" in said and "GB free in" in said
    assert "BROKEN: modality audio cannot be loaded (" in said and "OSError: sndfile library not found" in said
    (tmp_path / "soundfile.py").unlink()
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "WAV" in said and "BROKEN: torchaudio cannot be imported" in said and "undefined symbol" in said


def test_a_modality_without_the_method_has_no_facts():
    assert doctor.file_support(object) == {"formats": (), "trouble": ()}


@pytest.mark.slow
def test_every_plugin_is_loaded_in_a_process_of_its_own(acme, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_torch", lambda: {**NOTHING, "trouble": []})
    monkeypatch.setattr(doctor, "_modalities", lambda report: [])
    assert main(["doctor", "--json"]) == 3
    told = {p["name"]: p["trouble"] for p in json.loads(capsys.readouterr().out)["plugins"]}
    assert told["acme/good"] is None and "killed by signal 9" in told["acme/dies"]
    assert told["acme/raises"].startswith("BrokenPlugin: network 'acme/raises' of acme 1.0 cannot be loaded")
    assert "RuntimeError: no licence" in told["acme/raises"]


def test_torch_that_cannot_be_imported_is_reported_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_child", lambda arguments: "OSError: libtorch.so: undefined symbol")
    monkeypatch.setattr(doctor, "_plugins", list)
    assert main(["doctor"]) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BROKEN: ")]
    assert len(said) == 1 and re.match(
        "BROKEN: torch 2.* cannot be imported .OSError: libtorch.so: undefined symbol.; nothing works without it",
        said[0],
    )


def test_a_child_that_never_ends_is_given_up(monkeypatch):
    import sys

    monkeypatch.setattr(doctor, "TIMEOUT", 0.2)
    assert doctor._child([sys.executable, "-c", "import time; time.sleep(9)"]) == "no result after 0.2 s"
