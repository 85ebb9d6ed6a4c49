"""Ranks that keep a part of the weights each train as one process does: over gloo, on the CPU.

One pair of processes runs all scenarios of `tests/_sharded_ranks.py`.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file
from sonolux.core.config.load import load_recipe_text
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.distributed import Ranks
from sonolux.core.training.optimizers.base import Optimizer
from sonolux.core.training.run import TrainingRun
from sonolux.core.training.sharding import Shards
from sonolux.core.types import BadInput

sys.path.insert(0, str(Path(__file__).parents[2]))
import _ranks
import _sharded_ranks
from _ranks import check_equal

pytestmark = [
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo"),
    pytest.mark.skipif(os.name == "nt", reason="the ranks are those of POSIX systems"),
    pytest.mark.slow,
]
PLANTED = {
    "averaged": "adamw",
    "norm of a part": "adamw",
    "conditions not summed": "adamw",
    "unused weights decayed": "adamw",
    "average not updated": "adamw",
    "orthogonalised parts": "muon",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The folder of the results of two ranks."""
    return _ranks.run_pair(_sharded_ranks.__file__, tmp_path_factory.mktemp("sharded"))


@pytest.fixture(scope="module")
def alone():
    """name of a variant -> results of one process, which has no shards and compiles nothing."""
    found = {
        name: _ranks.train(Ranks(), *changes, "train.compile=false")
        for name, changes in _sharded_ranks.VARIANTS.items()
    }
    return {name: {key: value.contiguous() for key, value in one.items()} for name, one in found.items()}


@pytest.mark.parametrize("variant", _sharded_ranks.VARIANTS)
def test_two_sharded_ranks_train_as_one_process(pair, alone, variant):
    found = load_file(pair / f"{variant}.safetensors")
    assert found["step 3 loss"].dtype == torch.float64
    check_equal(found, alone[variant])


def test_machines_may_hold_a_copy_each(pair, alone):
    check_equal(load_file(pair / "hybrid.safetensors"), alone["adamw"])
    for rank in "01":
        assert "the same number of processes on each machine, and they have [1, 2]" in (
            pair / f"hybrid-{rank}.txt"
        ).read_text(encoding="utf-8")


@pytest.mark.parametrize("error", PLANTED)
def test_planted_errors_are_caught(pair, alone, error):
    assert_caught(check_equal, load_file(pair / f"{error}.safetensors"), alone[PLANTED[error]])


def rows_of(run: Path) -> list[dict]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def train_alone(folder: Path, *changes: str) -> Path:
    """Train with one process; the checkpoint."""
    recipe = load_recipe_text(_ranks.SOUNDS, overrides=list(changes), bare_section=None)
    run = TrainingRun(recipe, folder, lambda _: None, False)
    run.prepare()
    return run.run()


def test_bf16_is_close_to_one_process(pair, tmp_path):
    train_alone(tmp_path / "run", *_sharded_ranks.BF16)
    for found, row in zip(rows_of(pair / "bf16"), rows_of(tmp_path / "run"), strict=True):
        assert found["loss"] == pytest.approx(row["loss"], rel=2e-2)
        assert found["grad_norm"] == pytest.approx(row["grad_norm"], rel=5e-2)
    weights = load_file(newest_checkpoint(pair / "bf16"))
    assert weights["model.network.stem.weight"].dtype == torch.float32


def test_each_rank_keeps_a_part(pair):
    counts, whole = json.loads((pair / "counts.json").read_text())
    for own, divided, replicated in counts:
        assert divided + replicated == own and divided < 0.55 * (whole - replicated) and replicated < 0.6 * whole
    assert sum(divided for _, divided, _ in counts) + counts[0][2] == whole


def test_run_continues_with_another_number_of_ranks(pair, tmp_path):
    last = train_alone(tmp_path / "run", "train.steps=9", "train.decay=none")
    whole, found = load_file(last), load_file(newest_checkpoint(pair / "run"))
    assert whole.keys() == found.keys()
    for part in ("model.", "ema.", "optimizer."):
        flat = [torch.cat([v.double().flatten() for k, v in f.items() if k.startswith(part)]) for f in (whole, found)]
        assert float((flat[1] - flat[0]).norm() / flat[0].norm()) < 1e-2, part  # float32, and Adam enlarges rounding
    rows = [rows_of(pair / "run"), rows_of(tmp_path / "run")]
    assert [row["step"] for row in rows[0]] == list(range(1, 10))
    for found_row, row in zip(*rows, strict=True):
        assert found_row["loss"] == pytest.approx(row["loss"], rel=1e-3)
        assert found_row["grad_norm"] == pytest.approx(row["grad_norm"], rel=1e-3)


def test_rank_0_makes_previews_of_the_whole_average(pair):
    assert sorted(path.name for path in (pair / "run/previews").iterdir()) == ["step-00000009.png"]


def test_lost_rank_is_one_error(pair):
    said = json.loads((pair / "lost.json").read_text())
    assert said.startswith("another process of this run ended") and "sonolux train --resume" in said


def test_failed_action_of_rank_0_ends_all_at_once(pair):
    """All have the message of rank 0; after bad input, such as a full disk, the last step is saved."""
    first, second = json.loads((pair / "failed.json").read_text())
    assert [one[:3] for one in first] == [
        ["BadInput", "no room for the preview", 2],
        ["ZeroDivisionError", "by zero", 2],
    ]
    assert [one[:3] for one in second] == [["BadInput", "no room for the preview", 2], ["RankFailed", "by zero", 2]]
    assert all(abs(a[3] - b[3]) < 10 for a, b in zip(first, second, strict=True))  # not the timeout of 120 s
    assert newest_checkpoint(pair / "full").stem == "step-00000002"
    assert not list((pair / "broken").glob("checkpoints/step-*"))


def test_optimizer_that_needs_whole_tensors_is_refused():
    class Mine(Optimizer):
        def make(self, model):
            return torch.optim.SGD(model.parameters())

    with pytest.raises(BadInput, match=r"train\.shard: the optimizer Mine does not say that it can update parts"):
        Mine().shard(None, None)


def test_one_process_shards_nothing(tmp_path):
    recipe = load_recipe_text(_ranks.SOUNDS, overrides=["train.shard=full", "train.steps=1"], bare_section=None)
    run = TrainingRun(recipe, tmp_path / "run", lambda _: None, False)
    run.prepare()
    assert run.trainer.shards is None and run.run().is_file()


def check_gathered(rank: int, count: int) -> None:
    """Tensors of any number of rows, also fewer than ranks, whole ones and other types come back in order."""
    generator = torch.Generator().manual_seed(0)
    wholes = [torch.randn(rows, 3, generator=generator).double() for rows in (5, 1, 2, 4)]
    wholes += [torch.randn(7, generator=generator), torch.randn(2, generator=generator)]
    divided = [True, True, False, True, True, False]

    def parts_of(number: int) -> list[torch.Tensor]:
        return [
            (w.chunk(count)[number] if number < len(w.chunk(count)) else w[:0]) if cut else w
            for w, cut in zip(wholes, divided, strict=True)
        ]

    own, exchanged = parts_of(rank), []

    def exchange(gathered, flat, group):
        same = [
            [p for p, d in zip(parts_of(k), divided, strict=True) if d and p.dtype == flat.dtype] for k in range(count)
        ]
        flats = [torch.cat([p.flatten() for p in parts]) for parts in same]
        assert torch.equal(flat[: len(flats[rank])], flats[rank])
        for one, other in zip(gathered, flats, strict=True):
            one.copy_(F.pad(other, (0, len(flat) - len(other))))
        exchanged.append(flat.dtype)

    shards = Shards.__new__(Shards)
    shards.ranks, shards.count, shards.device = Ranks(), count, torch.device("cpu")
    shards.mesh = SimpleNamespace(ndim=1, get_group=lambda axis: None, get_local_rank=lambda axis: rank)
    shards._source_of = {id(p): w if d else p for p, w, d in zip(own, wholes, divided, strict=True)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist, "all_gather", exchange)
        found = list(shards.whole(own, own))
    assert exchanged == [torch.float64, torch.float32]
    for part, whole, expected in zip(own, found, wholes, strict=True):
        assert torch.equal(whole, expected) and torch.equal(shards.own(part, expected), part)


@pytest.mark.parametrize(("rank", "count"), [(0, 1), (0, 3), (1, 3), (2, 3), (3, 4)])
def test_parts_of_uneven_tensors_are_gathered(rank, count):
    check_gathered(rank, count)


def test_planted_even_parts_are_caught():
    with planted_error(Shards, "_rows", lambda self, shape, rank: range(rank * shape[0] // self.count, shape[0])):
        assert_caught(check_gathered, 1, 3, also=(RuntimeError, ValueError))
