"""`sample` and `eval` in two processes: the files and figures of one process, and one message if a process fails."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from sonolux.core.cli.main import main
from sonolux.core.pipeline import sample
from sonolux.core.pipeline.load import load
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.distributed import Ranks

sys.path.insert(0, str(Path(__file__).parents[2]))
from _ranks import environment

pytestmark = [
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo"),
]


class RecordedRank(Ranks):
    """Rank 1 of 2 puts what it would send into `sent`, from which rank 0 takes it afterwards."""

    def __init__(self, rank, sent):
        super().__init__(rank, 2)
        self.sent = sent

    def collect_tensors(self, own):
        if self.writes:
            return [list(own), self.sent.pop(0)]
        self.sent.append(list(own))
        return []


def check_same_samples(run, *changes):
    """Two ranks that share batches make the samples of one, bit for bit, in the same order."""
    pipeline = load(run, "cpu", ["count=7", "batch=2", "label=cycle", *changes])
    alone, sent = pipeline.sample(trajectory=True), []
    pipeline.ranks = RecordedRank(1, sent)
    empty = pipeline.sample()
    assert empty.media == empty.conditions == empty.nfe == [] and [len(tensors) for tensors in sent] == [3, 2]
    pipeline.ranks = RecordedRank(0, sent)
    both = pipeline.sample(trajectory=True)
    assert not sent and both.nfe == alone.nfe and both.conditions == alone.conditions
    assert all(torch.equal(a, b) for a, b in zip(both.media, alone.media, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(both.frames[-1].x0, alone.frames[-1].x0, strict=True))


def test_two_ranks_make_the_samples_of_one(tiny_pictures, tiny_sounds):
    check_same_samples(tiny_pictures)
    check_same_samples(tiny_sounds)  # of several lengths, which are padded in a batch


def test_planted_errors_are_caught(tiny_pictures, monkeypatch):
    true = sample.RequestSampler._generate_batch

    def local_numbers(self, request, batches, number, *others):
        return true(self, request, batches, number // 2, *others)

    monkeypatch.setattr(sample.RequestSampler, "_generate_batch", local_numbers)
    assert_caught(check_same_samples, tiny_pictures, also=(ValueError,))
    monkeypatch.setattr(sample.RequestSampler, "_generate_batch", true)
    monkeypatch.setattr(
        RecordedRank,
        "collect_tensors",
        lambda self, own: [self.sent.pop(0), own] if self.writes else (self.sent.append(own) or []),
    )
    assert_caught(check_same_samples, tiny_pictures, also=(RuntimeError, ValueError))


def test_too_few_batches_are_a_note(tiny_pictures):
    pipeline = load(tiny_pictures, "cpu", ["count=3", "batch=4"])
    pipeline.ranks = RecordedRank(0, [[]])
    with pytest.warns(UserWarning, match=r"2 processes share whole batches, and 3 samples in batches of 4 are 1"):
        assert len(pipeline.sample()) == 3


FAILING = """
import os, sys
from sonolux.core.cli.main import main
from sonolux.core.pipeline.sample import RequestSampler
from sonolux.core.types import BadInput
true = RequestSampler._generate_batch
def generate(self, request, batches, number, *others):
    if number == 3:
        raise BadInput("batch 3 cannot be generated")
    return true(self, request, batches, number, *others)
if os.environ.get("FAILS"):
    RequestSampler._generate_batch = generate
sys.exit(main())
"""


def run_on_two_ranks(*words, fails=False):
    """Run a command as torchrun starts it, on two ranks; (exit code, output, errors) of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    place |= {"FAILS": "1"} if fails else {}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", FAILING, *map(str, words)]
    processes = [
        subprocess.Popen(command, env=environment(RANK=rank, LOCAL_RANK=rank, **place), text=True, **pipes)
        for rank in "01"
    ]
    try:
        said = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def contents(folder):
    """Name -> bytes of the files in a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_launcher_starts_ranks_that_write_the_files_of_one_process(tiny_sounds, tmp_path):
    words = ["sample", str(tiny_sounds), "count=7", "batch=2", "seed=4", "--trajectory"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    command = [sys.executable, "-m", "sonolux", *words, "--out", str(tmp_path / "two"), "--nproc=2", "--json"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "two") and len(contents(tmp_path / "two")) == 11
    assert json.loads(done.stdout) == json.loads((tmp_path / "one/samples.json").read_text())


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the ranks are those of POSIX systems")
def test_failure_of_one_rank_is_one_message_and_writes_nothing(tiny_pictures, tmp_path):
    words = ["sample", tiny_pictures, "count=8", "batch=2", "--out", tmp_path / "out", "--timeout=60"]
    (code, out, error), (other, other_out, other_error) = run_on_two_ranks(*words, fails=True)
    assert (code, out, error.replace("\r", "\n").strip().splitlines()[1:]) == (1, "", [])  # the progress only
    assert (other, other_out) == (2, "")
    assert other_error.strip().splitlines() == ["rank 1 of 2 ends:", "batch 3 cannot be generated"]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the ranks are those of POSIX systems")
def test_two_ranks_give_the_figures_of_one(tiny_pictures, tmp_path):
    words = ["eval", str(tiny_pictures), "memorization=false", "sample.batch=4"]
    assert main([*words, "--out", str(tmp_path / "one"), "--json"]) == 0
    (code, out, error), (other, other_out, other_error) = run_on_two_ranks(*words, "--out", tmp_path / "two", "--json")
    assert code == other == 0, error + other_error
    assert other_out == other_error == ""
    assert json.loads(out) == json.loads((tmp_path / "one/metrics.json").read_text())
    assert contents(tmp_path / "one/samples") == contents(tmp_path / "two/samples")


def test_options_that_do_not_fit_are_refused(tiny_pictures, tmp_path, monkeypatch, capsys):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main(["sample", str(tiny_pictures), "--out", str(tmp_path / "out"), "--nproc", "2"]) == 2
    assert "torchrun has started some already: leave --nproc out" in capsys.readouterr().err
