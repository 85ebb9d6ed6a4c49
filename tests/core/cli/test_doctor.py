"""`sonolux doctor`: what is broken is reported in one line and does not stop the command."""

import json

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


def test_it_reports_versions_and_devices(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_import", lambda package: None)
    monkeypatch.setattr(doctor, "_plugins", list)
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["torch"] and report["threads"] >= 1 and isinstance(report["devices"]["cpu"]["bf16"], bool)
    assert main(["doctor"]) == 0
    assert "no problems found" in capsys.readouterr().out


def test_it_reports_sound_files_and_free_space(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_import", lambda package: None)
    monkeypatch.setattr(doctor, "_plugins", list)
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"WAV", "FLAC", "OGG"} <= set(report["sound_files"]) and report["free_gb"] > 0
    (tmp_path / "soundfile.py").write_text("raise OSError('sndfile library not found')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "audio files: none can be read" in said and f"GB free in {tmp_path}" in said


def test_every_plugin_is_loaded_in_a_process_of_its_own(acme, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_torch", lambda: {"devices": {}, "threads": 1, "cores": 1, "trouble": []})
    assert main(["doctor", "--json"]) == 3
    told = {p["name"]: p["trouble"] for p in json.loads(capsys.readouterr().out)["plugins"]}
    assert told["acme/good"] is None and "killed by signal 9" in told["acme/dies"]
    assert told["acme/raises"].startswith("BrokenPlugin: network 'acme/raises' of acme 1.0 cannot be loaded")
    assert "RuntimeError: no licence" in told["acme/raises"]


def test_a_library_that_cannot_be_imported_is_reported_in_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "torchaudio.py").write_text("raise OSError('libtorchaudio.so: undefined symbol')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    line = doctor._import("torchaudio")
    assert line is not None and "\n" not in line
    assert line.startswith("torchaudio 2") and "OSError: libtorchaudio.so: undefined symbol" in line
    monkeypatch.setattr(doctor, "_torch", lambda: {"devices": {}, "threads": 1, "cores": 1, "trouble": [line]})
    monkeypatch.setattr(doctor, "_plugins", list)
    assert main(["doctor"]) == 1
    assert f"BROKEN: {line}" in capsys.readouterr().out


def test_a_child_that_never_ends_is_given_up(monkeypatch):
    import sys

    monkeypatch.setattr(doctor, "TIMEOUT", 0.2)
    assert doctor._child([sys.executable, "-c", "import time; time.sleep(9)"]) == "no result after 0.2 s"
