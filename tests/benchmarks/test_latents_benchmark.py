"""The comparison of learned codecs with others: both ways are trained in turns, and measured."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import latents


@pytest.mark.slow
@pytest.mark.parametrize("name", latents.PAIRS)
def test_the_command(name, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    assert latents.main(["--smoke", "--only", name, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for way in latents.PAIRS[name].ways:
        assert re.search(rf"{way}: [1-9]\d* steps in \d+ s, diffuses \(\d+, ", printed)
        assert (tmp_path / f"{way.replace('/', '-')}.safetensors").is_file()
    shares = re.findall(r"real examples  +([\d.]+)%", printed)
    assert len(shares) == 2 and shares[0] == shares[1] and float(shares[0]) >= 50, "the checker knows real examples"


def test_turns_are_equal(monkeypatch):
    """Runs whose steps take different times are trained for the same time, of which preparation is a part."""
    clock = [0.0]
    monkeypatch.setattr(latents.time, "perf_counter", lambda: clock[0])

    class Run:
        def __init__(self, cost):
            self.cost, self.trainer, self.seen = cost, self, []

        def train_step(self, progress):
            clock[0] += self.cost
            self.seen.append(progress)
            return type("Result", (), {"loss": 1.0})

    fast, slow = latents.Arm(Run(0.5), 20.0, 8.0), latents.Arm(Run(2.0), 20.0, 0.0)
    while left := [arm for arm in (fast, slow) if arm.seconds < arm.limit]:
        for arm in left:
            arm.train(latents.TURN)
    assert fast.seconds == slow.seconds == 20.0
    assert len(fast.losses) == 24 and len(slow.losses) == 10
    assert fast.run.seen[0] == 0.4 and slow.run.seen[-1] == 0.9
