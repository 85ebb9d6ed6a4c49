"""What a training step costs: closed forms for two convolutions, sizes of real checkpoints; planted errors."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe
from sonolux.core.nn.layers.conv import make_conv
from sonolux.core.nn.layers.init import reset_parameters
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_operator
from sonolux.core.training import costs as costs_module
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.costs import FILLED, StepCosts, measure_step_costs
from sonolux.core.training.optimizers.adamw import AdamW
from sonolux.core.types import BadInput, MediaSpec
from torch import nn

C, N = 3, 16 * 16  # channels and positions of the tiny recipe


class TwoConvolutions(nn.Module):
    """Two convolutions of width 3 by 3, without anything between them.

    Args:
        spec: Media specification with the shape of the diffused tensor.
        width: Channels between the two.
    """

    accepts = frozenset({"vector"})
    factor, positions = 1, 0

    def __init__(self, spec: MediaSpec, width: int = 8):
        super().__init__()
        self.embedding_width = 4
        self.first, self.last = make_conv(2, spec.latent[0], width), make_conv(2, width, spec.latent[0])
        reset_parameters(self, 0)

    def forward(self, x, level, conditions):
        return self.last(self.first(x))


@pytest.fixture
def measured(tiny_recipe, tmp_path):
    """measured(width): the costs of a tiny recipe with this network."""
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])

    def costs(width, *changes):
        network = f"network={{use: '{Path(__file__).resolve()}:TwoConvolutions', width: {width}}}"
        changed = [network, "conditioning.label=null", "sample.guidance=null", *changes]
        return measure_step_costs(load_recipe(tmp_path / "tiny.yaml", changed), steps=1)

    return costs


def check_closed_forms(measured):
    """A convolution takes 2 x 9 C H FLOPs per position; forward, for the weights, and, of the second, for its input."""
    for width in (8, 16):
        found = measured(width)
        assert found.flops_row == pytest.approx(2 * 9 * C * width * N * (2 + 3))
        assert found.parameters == 9 * C * width * 2 + width + C
        assert found.gradients == found.average == 4 * found.parameters
        moments = found.optimizer - 8 * found.parameters
        assert 0 <= moments <= 8 * 4, "two moments, and the number of steps of each of four tensors"
    more = measured(24).activations_row - measured(8).activations_row
    assert more == 4 * N * 16, "the tensor between the two is saved once"


def test_closed_forms(measured):
    check_closed_forms(measured)
    with planted_error(costs_module, "_measure", swap_operator(ast.Sub, ast.Add, near="flops")):
        assert_caught(check_closed_forms, measured)
    with planted_error(costs_module, "_loss_and_activations", swap_operator(ast.NotIn, ast.In)):
        assert_caught(check_closed_forms, measured)


@pytest.mark.slow
def test_the_checkpoint_has_the_planned_size(tiny_run, tiny_recipe, tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    planned = measure_step_costs(load_recipe(tmp_path / "tiny.yaml"), steps=1)
    file = newest_checkpoint(tiny_run("image"))
    with open(file, "rb") as f:
        header = 8 + int.from_bytes(f.read(8), "little")
    assert planned.checkpoint == pytest.approx(file.stat().st_size - header, rel=0.001)
    assert planned.measured_s > 0 and 0 < planned.matmul_share < 2 and planned.activations_row > 0


COSTS = StepCosts(10, 0, 96, 2, 1e6, 2e6, 100, 100, 100, 200, 50.0, 10.0, 400, 1e8, 2.0)


def check_sums():
    assert COSTS.flops_step == 98e6 and COSTS.state == 500 and COSTS.activations == 50 + 48 * 10
    assert COSTS.matmul_share == pytest.approx(98e6 / 2 / 1e8)
    memory = (550 + 240) / FILLED
    assert COSTS.rows_that_fit(memory + 1e-6) == 24 and COSTS.rows_that_fit(memory - 1) == 23
    one, eight = COSTS.fit(memory + 1e-6, 1), COSTS.fit(memory + 1e-6, 8)
    assert (one["largest_batch"], one["accumulate"], one["memory_used"]) == (24, 4, 790)
    assert (eight["largest_batch"], eight["accumulate"], eight["memory_used"]) == (192, 1, 550 + 120)
    assert COSTS.fit(500, 64) == {
        "devices": 64,
        "rows_at_once": 0,
        "largest_batch": 0,
        "fits": False,
        "accumulate": None,
        "memory_used": 550,
    }


def test_sums_and_what_fits():
    check_sums()
    with planted_error(StepCosts, "rows_that_fit", swap_operator(ast.Sub, ast.Add)):
        assert_caught(check_sums)
    with planted_error(StepCosts, "matmul_share", swap_operator(ast.Div, ast.Mult)):
        assert_caught(check_sums)


def check_shards():
    full = replace(COSTS, shard="full", divided=400, gathered=30)
    assert full.state_of(1) == COSTS.state == 500 and full.state_of(8) == 100 + 50 + 30
    assert full.state_of(64) == 100 + 400 / 64 + 30 and replace(full, shard="hybrid").state_of(64) == 180
    assert full.fit(600, 8)["memory_used"] == 180 + 50 + 120 and full.fit(600, 1)["rows_at_once"] == 0
    assert replace(full, shard="none").state_of(64) == 500


def test_state_of_each_device_with_shards():
    check_shards()
    with planted_error(StepCosts, "state_of", swap_operator(ast.Div, ast.Mult)):
        assert_caught(check_shards)


def check_divided(measured):
    """All of these weights are divided: weights, gradients, average and two moments; none is in a block."""
    found = measured(8, "train.shard=full", "train.precision=float32")
    assert found.divided == 5 * 4 * found.parameters and found.gathered == 2 * 4 * found.parameters
    assert measured(8, "train.shard=full", "train.precision=bf16").gathered == 4 * found.parameters


def test_divided_weights_are_counted(measured):
    check_divided(measured)
    with planted_error(costs_module, "find_divided_weights", lambda model: list(model.parameters())[1:]):
        assert_caught(check_divided, measured)


def test_an_optimizer_that_cannot_shard_is_refused(measured, monkeypatch):
    monkeypatch.delattr(AdamW, "shard")
    with pytest.raises(BadInput, match=r"train\.shard: the optimizer AdamW does not say that it can update parts"):
        measured(8, "train.shard=full")


@pytest.mark.slow
def test_the_command(tiny_recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(tiny_recipe["image"])
    assert main(["plan", "tiny.yaml", "--steps", "1"]) == 0
    lines = capsys.readouterr().out
    assert all(word in lines for word in ("FLOPs", "measured here", "MiB for each checkpoint", " 64 x 80 GB"))
    assert main(["plan", "tiny.yaml", "--steps", "1", "train.shard=full"]) == 0
    assert "train.shard=full: each GPU holds a part" in capsys.readouterr().out
    assert main(["plan", "tiny.yaml", "--steps", "1", "--memory", "0.1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [one["devices"] for one in printed["fit"]] == [1, 8, 64] and printed["memory_gb"] == 0.1
    assert printed["matmul_share"] == pytest.approx(
        printed["flops_step"] / printed["measured_s"] / printed["matmul_rate"]
    )
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.yaml"], "nothing is written"


def test_a_network_that_is_too_large_is_refused(tiny_recipe, tmp_path, capsys, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    monkeypatch.setattr(costs_module, "total_memory", lambda: 100_000)
    assert main(["plan", str(tmp_path / "tiny.yaml")]) == 2
    assert "this machine has 0.0 GB. Plan it on a larger one" in capsys.readouterr().err


def test_activations_grow_with_the_rows_and_not_the_weights():
    more = replace(COSTS, batch=192)
    assert more.state == COSTS.state and more.activations == 50 + 96 * 10
