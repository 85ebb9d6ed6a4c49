"""The independent libraries, imported when the first test needs them: each takes seconds to import."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
peers = importlib.import_module("_peers")


def _imported(name, load):
    try:
        return load()
    except ImportError as error:
        pytest.skip(f"{name} is not installed ({error}): pip install -e '.[peers]'")


@pytest.fixture(scope="session")
def diffusers():
    """The library diffusers; without it the test is skipped."""
    return _imported("diffusers", peers.schedulers)


@pytest.fixture(scope="session")
def k_diffusion():
    """The samplers of k-diffusion; without it the test is skipped."""
    return _imported("k-diffusion", peers.k_diffusion)
