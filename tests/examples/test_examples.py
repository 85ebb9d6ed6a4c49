"""The examples run as they are, with fewer steps."""

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def opened(name: str):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_from_scratch_trains_and_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened("from_scratch").main(steps=2)
    written = {p.suffix for p in (tmp_path / "out/from_scratch").iterdir()}
    assert written == {".png", ".wav"}
    assert len((EXAMPLES / "from_scratch.py").read_text().splitlines()) <= 120
