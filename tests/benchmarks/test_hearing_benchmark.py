"""The shares of draws in which a change of sounds is seen: all of a large one, few of none."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from sonolux.core.testing.mutation import assert_caught

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import hearing


def check_shares():
    real = np.random.default_rng(0).standard_normal((120, 4))
    seen, clearly, value, limit = hearing.detection(real, real + 1.5, 60, 10, True)
    assert seen == clearly == 1 and value > limit
    seen, clearly, value, _ = hearing.detection(real, real, 60, 100, False)
    assert seen <= 0.08 and math.isnan(clearly) and abs(value) < 5


@pytest.mark.slow
def test_shares_of_draws():
    check_shares()


def test_planted_distance_is_caught(monkeypatch):
    monkeypatch.setattr(hearing, "squared_mmd", lambda a, b, h: float(np.abs(a.std() - b.std())))
    assert_caught(check_shares)


def test_what_is_no_folder_with_a_rate_is_refused(capsys):
    assert hearing.main(["sounds"]) == 2 and "give a folder and a rate" in capsys.readouterr().err
