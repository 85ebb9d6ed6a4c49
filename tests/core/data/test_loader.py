"""Batches are a function of (seed, step): not of the workers that read them, nor of the ranks that share them."""

import ast
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import sonolux
import torch
from sonolux.core.data import loader
from sonolux.core.data.loader import (
    Batch,
    ExampleOrder,
    StepBatchDataset,
    TooManyExamplesLost,
    _cores,
    choose_worker_count,
    iterate_batches,
)
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    planted_error,
    replace_expression,
    swap_constant,
)
from sonolux.core.types import BadInput, Item, MediaSpec
from sonolux.core.util.rng import keyed_generator


class Made:
    """Examples that say which they are; crops are shifts by a random number. `slow` seconds each.

    Those in `bad` hold NaN; those in `gone` cannot be read.
    """

    classes = ("a", "b")

    def __init__(self, count: int = 10, slow: float = 0.0, bad=(), gone=(), loose: bool = False):
        self.count, self.slow, self.bad, self.gone = count, slow, bad, gone
        self.loose = np.random.default_rng() if loose else None

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, rng: np.random.Generator | None) -> Item:
        time.sleep(self.slow)
        if index in self.gone:
            raise self.gone[index] if isinstance(self.gone, dict) else BadInput(f"{index}.wav: no such file")
        rng = self.loose or rng
        media = torch.full((2, 5), float(index)) + (0.0 if rng is None else float(rng.random()))
        if index in self.bad:
            media[0, 0] = float("nan")
        return Item(media, 3 if index % 2 else None, index % 2, attributes={"n": index}, source=f"example {index}")


SPEC = MediaSpec("audio", 2, ("time",), (5,), (8000.0,))


def loaded(data: Made, count: int = 7, first: int = 0, workers: int = 0, **ranks: int) -> list[Batch]:
    with closing(iterate_batches(StepBatchDataset(data, 5, 4, **ranks), first, workers)) as batches:
        return list(islice(batches, count))


def same(a: Batch, b: Batch) -> bool:
    """Whether two batches hold the same, bit for bit, items and their media included."""
    told = [[(i.label, i.length, i.attributes, i.source) for i in batch.items] for batch in (a, b)]
    media = all(torch.equal(i.media, j.media) for i, j in zip(a.items, b.items, strict=True))
    return a.step == b.step and a.rows == b.rows and told[0] == told[1] and torch.equal(a.media, b.media) and media


def check_workers(data: Made) -> None:
    alone = loaded(data)
    for workers in (1, 2):
        assert all(map(same, alone, loaded(data, workers=workers))), f"{workers} workers give other batches"


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing():
    check_workers(Made())


@pytest.mark.slow
def test_planted_augmentation_that_is_not_keyed_is_caught():
    with pytest.raises(AssertionError, match="workers give other batches"):
        check_workers(Made(loose=True))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_loading_resumes_at_any_step(workers):
    whole = loaded(Made(), 7)
    for first in (1, 4):
        assert all(map(same, whole[first:], loaded(Made(), 7 - first, first, workers)))
    assert not same(whole[0], whole[1])


def check_ranks(split=lambda rank, world: {"rank": rank, "world": world}) -> None:
    """The rows of all ranks together are the global batch, each row once."""
    whole = loaded(Made(), 5)
    shares = [loaded(Made(), 5, **split(rank, 2)) for rank in range(2)]
    for step, batch in enumerate(whole):
        rows = {row: media for share in shares for row, media in zip(share[step].rows, share[step].media, strict=True)}
        held = sum(len(share[step].rows) for share in shares)
        assert held == len(rows) == len(batch.rows), "a row is held twice, or by nobody"
        assert all(torch.equal(rows[row], media) for row, media in zip(batch.rows, batch.media, strict=True))


def test_two_ranks_hold_what_one_would():
    check_ranks()


def test_planted_ranks_that_all_hold_everything_are_caught():
    with pytest.raises(AssertionError, match="held twice"):
        check_ranks(lambda rank, world: {})


@pytest.mark.parametrize(("rank", "world", "said"), [(2, 2, "rank"), (-1, 1, "rank"), (0, 5, "at least 5")])
def test_ranks_that_cannot_be_are_refused(rank, world, said):
    with pytest.raises(BadInput, match=said):
        StepBatchDataset(Made(), 0, 4, rank, world)


NOTE = r"^4\.wav: no such file; the next example in the order takes its place\. .* more than 1 of 10 examples are lost$"


def check_replacement(workers: int = 0) -> None:
    """In place of example 4 is the next one of the order, with the augmentation of its row; all else is the same."""
    whole, order = loaded(Made()), StepBatchDataset(Made(), 5, 4).order
    with pytest.warns(UserWarning, match=NOTE) as notes:
        batches = loaded(Made(gone=(4,)), workers=workers)
    assert len(notes) == 1, "one note for all steps"
    replaced = 0
    for before, after in zip(whole, batches, strict=True):
        for row, (old, new) in enumerate(zip(before.items, after.items, strict=True)):
            if old.attributes["n"] != 4:
                assert old.attributes == new.attributes and torch.equal(old.media, new.media)
                continue
            following = order.example(after.step * 4 + row + 1)
            assert new.attributes["n"] == following, "another example than the next one"
            assert torch.allclose(new.media - following, old.media - 4, atol=1e-6), "another augmentation"
            replaced += 1
        assert set(after.lost) <= {4}
    assert replaced >= 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_example_that_cannot_be_read_is_replaced_by_the_next_one(workers):
    check_replacement(workers)


def test_planted_other_replacement_is_caught(monkeypatch):
    original = StepBatchDataset.item

    def earlier(self, step, row, lost=None):
        index = self.order.example(step * self.batch + row)
        if index not in self.data.gone:
            return original(self, step, row, lost)
        lost[index] = "4.wav: no such file"
        return self.data.item(self.order.example(step * self.batch + row + 2), keyed_generator(5, row, "augment", step))

    monkeypatch.setattr(StepBatchDataset, "item", earlier)
    assert_caught(check_replacement)


def test_ranks_replace_as_one_process_does():
    with pytest.warns(UserWarning, match="takes its place"):
        whole = loaded(Made(gone=(4,)), 5)
        shares = [loaded(Made(gone=(4,)), 5, rank=rank, world=2) for rank in range(2)]
    for step, batch in enumerate(whole):
        rows = {row: media for share in shares for row, media in zip(share[step].rows, share[step].media, strict=True)}
        assert all(torch.equal(rows[row], media) for row, media in zip(batch.rows, batch.media, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_bad_numbers_and_errors_of_the_system_are_replaced_too(workers):
    for data in (Made(bad=(3,)), Made(gone={3: OSError("Input/output error")})):
        with pytest.warns(UserWarning, match=r"example 3: contains NaN or infinite values: repair|Input/output error"):
            batches = loaded(data, workers=workers)
        assert all(item.attributes["n"] != 3 for batch in batches for item in batch.items)
    with pytest.raises(ValueError, match="a fault of the dataset"):
        loaded(Made(gone={3: ValueError("a fault of the dataset")}))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_too_many_lost_examples_end_the_loading_without_a_traceback(workers):
    expected = r"^2 of 10 examples can no longer be used, more than 5 %: \d\.wav: no such file; \d\.wav: no such file$"
    with pytest.warns(UserWarning, match="takes its place"), pytest.raises(TooManyExamplesLost, match=expected):
        loaded(Made(gone=(3, 4)), workers=workers)
    with pytest.raises(TooManyExamplesLost, match=r"^2 of 10"):  # at once, in one batch
        loaded(Made(gone=range(10)), workers=workers)
    with pytest.raises(TooManyExamplesLost, match=r"^1 of 1 examples"):
        loaded(Made(count=1, gone=(0,)), workers=workers)
    assert multiprocessing.active_children() == [], "the workers have ended"


def test_one_of_few_and_five_percent_of_many_may_be_lost():
    assert [StepBatchDataset(Made(n), 0, 1).most_lost for n in (1, 2, 10, 39, 40, 100)] == [0, 1, 1, 1, 2, 5]


def test_sources_name_what_was_used():
    with pytest.warns(UserWarning, match="takes its place"):
        batches = loaded(Made(gone=(4,)))
    used = StepBatchDataset(Made(gone=(4,)), 5, 4)
    for batch in batches:
        assert used.sources(batch.step) == [item.source for item in batch.items]
    assert StepBatchDataset(Made(gone=range(10)), 5, 4).sources(0) == []


def test_a_batch_splits_into_consecutive_rows():
    batch = loaded(Made(), 1)[0]
    parts = batch.split(3)
    assert [p.rows for p in parts] == [(0, 1), (2, 3)] and torch.equal(torch.cat([p.media for p in parts]), batch.media)
    assert [i.source for p in parts for i in p.items] == [i.source for i in batch.items]
    assert set(batch.lengths(SPEC).tolist()) == {3, 5}


def test_loading_draws_nothing_from_global_generators():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    loaded(Made(), workers=1)
    assert torch.equal(torch.rand(3), expected)


def test_workers_are_chosen_by_what_reading_costs(monkeypatch):
    """The clock is a list of times, since a busy machine sleeps longer than requested."""

    def chosen(seconds: float, cores: int) -> int:
        clock = iter([0.0, seconds])
        monkeypatch.setattr("sonolux.core.data.loader.time.perf_counter", lambda: next(clock))
        return choose_worker_count(StepBatchDataset(Made(), 0, 16), cores)  # 8 rows are read, of 16

    assert chosen(0.004, 8) == 0, "a batch of 8 ms is read when asked for"
    assert chosen(0.04, 8) == 2, "a batch of 80 ms wants a worker for each 50 ms"
    assert chosen(0.04, 2) == 1 and chosen(0.04, 1) == 0, "training keeps a core"
    assert chosen(9.0, 64) == 8
    assert _cores() >= 1


def check_start_method(monkeypatch):
    """The question whether a worker can receive the data leaves the program's start method open."""
    context = multiprocessing.context._default_context
    monkeypatch.setattr(context, "_actual_context", None)
    default = multiprocessing.get_all_start_methods()[0]
    mine = type("Mine", (Made,), {"__module__": "sonolux_local_1"})
    assert loader._reaches_workers(Made()) and loader._reaches_workers(mine()) == (default == "fork")
    assert multiprocessing.get_start_method(allow_none=True) is None
    monkeypatch.setattr(context, "_actual_context", multiprocessing.get_context("spawn"))
    assert loader._reaches_workers(Made()) and not loader._reaches_workers(mine()), "a class of a file is not imported"


def test_the_start_method_of_the_program_is_not_set(monkeypatch):
    check_start_method(monkeypatch)


@pytest.mark.parametrize("error", [swap_constant(True, False), replace_expression(ast.BoolOp, "True", at=1)])
def test_planted_error_about_the_start_method_is_caught(error, monkeypatch):
    with planted_error(loader, "_reaches_workers", error):
        assert_caught(check_start_method, monkeypatch)


def check_order_and_augmentation():
    """Every epoch has another order, and every step another augmentation of the same example."""
    batches = StepBatchDataset(Made(count=4), 5, 4)
    epochs = [batches[step] for step in range(4)]
    orders = [[item.attributes["n"] for item in batch.items] for batch in epochs]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders) and len({tuple(order) for order in orders}) > 1
    shifts = [float(item.media[0, 0]) % 1 for batch in epochs for item in batch.items]
    assert len(set(shifts)) == len(shifts)


def test_epochs_differ_in_order_and_steps_in_augmentation():
    check_order_and_augmentation()


def test_planted_epochs_and_augmentations_that_repeat_are_caught():
    with planted_error(ExampleOrder, "example", replace_expression(argument_target("keyed_generator", 3), "0")):
        assert_caught(check_order_and_augmentation)
    with planted_error(StepBatchDataset, "item", replace_expression(argument_target("keyed_generator", 3), "0")):
        assert_caught(check_order_and_augmentation)


@pytest.mark.slow
def test_workers_end_when_loading_ends():
    before = set(multiprocessing.active_children())
    batches = iterate_batches(StepBatchDataset(Made(), 0, 4), workers=2)
    next(batches)
    assert len(set(multiprocessing.active_children()) - before) == 2
    batches.close()
    assert set(multiprocessing.active_children()) <= before


RECIPE = """
recipe: 1
name: tiny
seed: 3
modality: {use: image, size: 16, channels: 3}
data: {use: image/shapes, count: 40, shapes: 1, split: {by: hash, valid: 0.2}}
codec: {use: image/pixels}
network: {use: image/unet, width: 8, stages: [1], blocks: 1, attention: [], patch: 2, head_dim: 8}
train: {steps: 6, batch: 6, warmup: 2, save_every: 3, keep: 9, precision: float32, device: cpu, log_every: 1}
sample: {use: dpmpp_2m, steps: 2, count: 2}
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_weights_do_not_depend_on_workers(workers, tmp_path):
    from safetensors.torch import load_file
    from sonolux.core.config.load import load_recipe
    from sonolux.core.training.run import TrainingRun

    (tmp_path / "tiny.yaml").write_text(RECIPE)

    def weights(folder: Path, changes: list[str], resume: Path | None = None) -> dict[str, torch.Tensor]:
        run = TrainingRun(load_recipe(tmp_path / "tiny.yaml", changes), folder, say=lambda _: None, bar=False)
        run.prepare(resume=resume)
        return load_file(run.run())

    alone = weights(tmp_path / "alone", ["train.workers=0"])
    others = weights(tmp_path / "others", [f"train.workers={workers}"])
    assert all(torch.equal(alone[k], others[k]) for k in alone)
    middle = tmp_path / "others/checkpoints/step-00000003.safetensors"
    resumed = weights(tmp_path / "others", [f"train.workers={workers}"], middle)
    assert all(torch.equal(alone[k], resumed[k]) for k in alone)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches a group of processes otherwise there")
def test_ctrl_c_ends_training_and_its_workers_without_a_traceback(tmp_path):
    """Ctrl-C of a terminal goes to the whole group of processes: the workers must not die before the run has saved."""
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    code = "from sonolux.core.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
    changes = ["train.steps=100000", "train.save_every=100000", "train.workers=2", "train.preview_every=100000"]
    command = [sys.executable, "-c", code, "train", str(tmp_path / "tiny.yaml"), "--out", "run", *changes]
    env = {**os.environ, "PYTHONPATH": str(Path(sonolux.__file__).parent.parent)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen(command, cwd=tmp_path, env=env, start_new_session=True, **pipes)
    try:
        log, end = tmp_path / "run/metrics.jsonl", time.monotonic() + 120
        while not (log.exists() and log.read_text()) and child.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        workers = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        started = workers.read_text().split() if workers.exists() else []
        assert not workers.exists() or len(started) >= 2
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # a child that failed must not go on training
    assert child.returncode == 130 and "stopped at step" in err and "--resume" in err, out + err
    assert "Traceback" not in err and "Error" not in err, err
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    saved = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert list((tmp_path / "run/checkpoints").glob(f"step-{saved[-1]:08d}.safetensors"))
