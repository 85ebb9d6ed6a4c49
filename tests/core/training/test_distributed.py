"""Several processes train one model as one process does, and end together: over gloo, on the CPU.

One pair of processes runs all scenarios of `tests/_ranks.py`; two more start torch's launcher.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe_text
from sonolux.core.data.loader import StepBatchDataset
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.build import build_dataset
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.distributed import Ranks
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput

sys.path.insert(0, str(Path(__file__).parents[2]))
import _ranks
from _ranks import check_equal, environment

pytestmark = [
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo"),
    pytest.mark.skipif(os.name == "nt", reason="processes are killed with POSIX signals"),
    pytest.mark.slow,
]
PLANTED = ["averaged", "not summed", "unused weights decayed", "local rows", "order of the ranks"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The folder of the results of two ranks, of which the second is killed at the end."""
    return _ranks.run_pair(_ranks.__file__, tmp_path_factory.mktemp("ranks"), (0, -signal.SIGKILL))


@pytest.fixture(scope="module")
def alone():
    """name of a variant -> results of one process."""
    return {name: _ranks.train(Ranks(), *changes) for name, changes in _ranks.VARIANTS.items()}


@pytest.mark.parametrize("variant", _ranks.VARIANTS)
def test_two_ranks_train_as_one_process(pair, alone, variant):
    found = load_file(pair / f"{variant}.safetensors")
    assert found["step 3 loss"].dtype == torch.float64
    check_equal(found, {name: value.contiguous() for name, value in alone[variant].items()})


@pytest.mark.parametrize("error", PLANTED)
def test_planted_errors_are_caught(pair, alone, error):
    assert_caught(check_equal, load_file(pair / f"{error}.safetensors"), alone["adamw"])


def check_order(pair: Path, offset: int = 0) -> None:
    """The examples of steps 3 to 8 are those of one process, each in its row."""
    recipe = load_recipe_text(_ranks.SOUNDS, bare_section=None)
    batches = StepBatchDataset(build_dataset(recipe)[0], recipe.seed, recipe.train.batch)
    expected = [
        [step, row, source] for step in range(3, 9) for row, source in enumerate(batches.sources(step + offset))
    ]
    assert json.loads((pair / "order.json").read_text()) == expected


def test_order_is_kept_when_the_number_of_ranks_changes(pair):
    check_order(pair)
    assert_caught(check_order, pair, 1)


def test_resumed_run_ends_like_one_process(pair, tmp_path):
    recipe = load_recipe_text(_ranks.SOUNDS, overrides=["train.steps=9", "train.decay=none"], bare_section=None)
    run = TrainingRun(recipe, tmp_path / "run", lambda _: None, False)
    run.prepare()
    whole, found = load_file(run.run()), load_file(newest_checkpoint(pair / "run-2"))
    assert whole.keys() == found.keys()
    weights = [torch.cat([v.flatten() for k, v in file.items() if k.startswith("model.")]) for file in (whole, found)]
    assert float((weights[1] - weights[0]).norm() / weights[0].norm()) < 1e-2  # float32, and Adam enlarges rounding
    rows = [
        [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        for folder in (pair / "run-2", tmp_path / "run")
    ]
    assert [row["step"] for row in rows[0]] == list(range(1, 10))
    for found_row, row in zip(*rows, strict=True):
        assert found_row["loss"] == pytest.approx(row["loss"], rel=1e-3)


def test_only_rank_0_writes(pair):
    first, second = json.loads((pair / "changed.json").read_text())
    assert any("step-00000003.safetensors" in place for place in first) and second == []


def test_signal_of_any_rank_stops_all_after_one_step(pair):
    (said, step), (_, other) = json.loads((pair / "signal.json").read_text())
    assert step == other == 3 and said.startswith("stopped at step 3, saved; continue with")
    assert newest_checkpoint(pair / "stopped").stem == "step-00000003"


def check_late_signal(agree=TrainingRun._agree) -> None:
    """A signal that arrives while the ranks agree counts at the next step: the others do not know it, and compute."""
    signals = SimpleNamespace(received=None)

    class Late(Ranks):
        def agree(self, *told):
            known = super().agree(*told)
            signals.received = signal.SIGTERM
            return known

    examples = SimpleNamespace(lost={}, count_lost=lambda lost: None)
    run = SimpleNamespace(ranks=Late(), trainer=SimpleNamespace(data_of_steps=examples), interrupted=False)
    assert agree(run, signals, 0.5) == 0.5 and not run.interrupted
    assert agree(run, signals, 0.5) == 1.0 and run.interrupted and signals.received == signal.SIGTERM


def test_late_signal_counts_at_the_next_step():
    check_late_signal()


def test_planted_use_of_a_signal_that_others_do_not_know_is_caught():
    def agree(run, signals, done):
        known = run.ranks.agree(done, signals.received or 0, None, {})
        run.interrupted = signals.received is not None
        return 1.0 if run.interrupted else known.progress

    assert_caught(check_late_signal, agree)


def test_unusable_examples_of_any_rank_end_all_after_a_checkpoint(pair):
    (said, step), (other, other_step) = json.loads((pair / "unusable.json").read_text())
    assert said == "rank 1 of 2: kick.wav: cannot be read" and other == "kick.wav: cannot be read"
    assert step == other_step == 2 and newest_checkpoint(pair / "unusable").stem == "step-00000002"


def test_rank_0_measures_the_minutes(pair):
    assert json.loads((pair / "minutes.json").read_text()) == [["ended", 3], ["ended", 3]]


def test_lost_rank_is_one_error_and_the_run_can_be_continued(pair, capsys):
    said = json.loads((pair / "lost.json").read_text())
    assert said.startswith("another process of this run ended, or did not answer for 120 s")
    assert said.endswith(f"continue from step-00000003.safetensors with: sonolux train --resume {pair / 'lost'}")
    assert main(["train", "--resume", str(pair / "lost"), "train.steps=4", "--quiet"]) == 0
    assert newest_checkpoint(pair / "lost").stem == "step-00000004"


def test_batch_that_the_ranks_cannot_share_is_refused(tmp_path):
    recipe = load_recipe_text(_ranks.SOUNDS, overrides=["train.batch=7"], bare_section=None)
    run = TrainingRun(recipe, tmp_path / "run", lambda _: None, False, ranks=Ranks(0, 4))
    with pytest.raises(BadInput, match=r"train.batch is 7, and 4 processes.*such as train.batch=8"):
        run.prepare()
    assert not (tmp_path / "run").exists()


KILLED = """
import os, signal, sys
from sonolux.core.cli.main import main
from sonolux.core.training.step import Trainer
true = Trainer.train_step
def train_step(self, progress):
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and self.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return true(self, progress)
Trainer.train_step = train_step
sys.exit(main())
"""


def run_command(*words: str, folder: Path) -> subprocess.Popen[str]:
    """Start a module of Python in a folder."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", *words], cwd=folder, env=environment(), text=True, **pipes)


def test_torchrun_restarts_and_continues(tmp_path):
    (tmp_path / "recipe.yaml").write_text(_ranks.SOUNDS)
    (tmp_path / "killed.py").write_text(KILLED)
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1", "killed.py"]
    train = ["train", "recipe.yaml", "--out=run", "--auto-resume", "--quiet"]
    process = run_command(*launcher, *train, folder=tmp_path)
    out, error = process.communicate(timeout=500)
    assert process.returncode == 0, error
    assert out.count("done: run/checkpoints/step-00000006.safetensors") == 1
    assert error.count("continue from step-00000003.safetensors with: sonolux train --resume run") == 1
    assert [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").open()] == list(range(1, 7))


def test_sonolux_starts_processes_and_passes_on_a_signal(tmp_path):
    (tmp_path / "recipe.yaml").write_text(_ranks.SOUNDS)
    train = ["train", "recipe.yaml", "--out=run", "--nproc=2", "--quiet", "train.steps=100000"]
    process, until = run_command("sonolux", *train, folder=tmp_path), time.monotonic() + 400
    while process.poll() is None and not list(tmp_path.glob("run/checkpoints/*.safetensors")):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, error
    assert out.count("2 processes, cpu") == 1
    (line,) = error.strip().splitlines()
    step = int(newest_checkpoint(tmp_path / "run").stem.removeprefix("step-"))
    assert line == f"stopped at step {step}, saved; continue with: sonolux train --resume run"


def test_auto_resume_refuses_another_recipe(pair, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(_ranks.SOUNDS)
    assert main(["train", str(tmp_path / "recipe.yaml"), "--out", str(pair / "stopped"), "--auto-resume"]) == 2
    assert "holds a run of another recipe: continue it with --resume" in capsys.readouterr().err
