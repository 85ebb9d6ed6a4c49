"""The held-out loss in the log of a run, its formula, runs that end at a plateau, and runs that are resumed."""

import ast
import json
import math

import pytest
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.pipeline.load import load
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_operator
from sonolux.core.training import held_out as held_out_module
from sonolux.core.training import plateau as plateau_module
from sonolux.core.training.checkpoint import newest_checkpoint, read_header
from sonolux.core.training.held_out import HeldOutCallback, evaluation_interval
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput, Estimate

SMALL = ("network={use: image/unet, width: 8, stages: [1], attention: [], patch: 4}", "data.count=60")


@pytest.fixture
def start(tiny_recipe, tmp_path, monkeypatch):
    """start(*changes, every=2): a run that is prepared, and the lines that it says."""
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    monkeypatch.setattr(held_out_module, "evaluation_interval", lambda batch: 2)

    def prepared(*changes, name="run", resume=False):
        folder, lines = tmp_path / name, []
        source = folder / "resolved.yaml" if resume else tmp_path / "tiny.yaml"
        recipe = load_recipe(source, [*changes] if resume else [*SMALL, *changes])
        run = TrainingRun(recipe, folder, lines.append, bar=False)
        run.prepare(resume=newest_checkpoint(folder) if resume else None)
        return run, lines

    return prepared


def rows_of(run):
    text = (run.folder.path / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_the_log(start):
    run, _ = start("train.steps=4")
    run.run()
    found = {row["step"]: row["held_out"] for row in rows_of(run) if "held_out" in row}
    assert list(found) == [2, 4] and all("loss" in row for row in rows_of(run) if "held_out" not in row)
    for one in found.values():
        assert one["interval"][0] < one["loss"] < one["interval"][1]
        assert len(one["by_logsnr"]) == 7 and all(math.isfinite(v["loss"]) for v in one["by_logsnr"].values())
        assert one["gap_interval"][0] < one["gap"] < one["gap_interval"][1] and one["seconds"] >= 0


def check_loss(run):
    """D = x / (1 + rho^2), alpha = 1, data of variance s^2: e = (1 + 1 / rho^2) (rho^4 s^2 + rho^2) / (1 + rho^2)^2."""
    (held_out, _), trainer = run.held_out._prepared(run), run.trainer
    process = trainer.parts.process

    class Linear:
        def denoise(self, x, at, conditions):
            return Estimate(x / (1 + (at.sigma / at.alpha) ** 2))

    trainer.parts.process = type("P", (), {"schedule": process.schedule, "denoiser": lambda self, model: Linear()})()
    try:
        for level, found, batch in zip(held_out.levels, held_out.losses(run), held_out.batches, strict=True):
            rho2 = math.exp(-level)
            s2 = float(trainer.encode(batch.media).square().mean())
            expected = (1 + 1 / rho2) * (rho2**2 * s2 + rho2) / (1 + rho2) ** 2
            assert float(found.mean()) == pytest.approx(expected, rel=0.15)
    finally:
        trainer.parts.process = process


@pytest.mark.slow
def test_the_loss_is_that_of_the_formula(start):
    run, _ = start("train.steps=4")
    try:
        check_loss(run)
        with planted_error(held_out_module, "error_weight", swap_operator(ast.Add, ast.Sub)):
            assert_caught(check_loss, run)
        with planted_error(held_out_module.FixedExamples, "losses", swap_operator(ast.Div, ast.Mult)):
            assert_caught(check_loss, run, also=BadInput)
    finally:
        run.close()


@pytest.mark.slow
def test_a_run_ends_at_the_plateau_and_keeps_the_best(start, monkeypatch):
    monkeypatch.setattr(plateau_module, "is_improvement", lambda best, now: False)
    run, lines = start("train.steps=100", "train.until=plateau", "train.save_every=4")
    last = run.run()
    ends = 2 * (1 + plateau_module.PATIENCE)
    assert run.step == ends and last.name == f"step-{ends:08d}.safetensors"
    assert any("held-out loss flat since step 2: no improvement beyond its interval" in line for line in lines)
    best = run.folder.best
    assert read_header(best).step == 2 == load(best, device="cpu").step
    states = [load(path, device="cpu").model.state_dict() for path in (best, last)]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
    again, said = start(resume=True)
    assert again.run() == last and again.step == ends
    assert any("flat since step 2" in line for line in said) and any("train.until=limit" in line for line in said)
    more, _ = start("train.until=limit", "train.steps=14", resume=True)
    more.run()
    assert more.step == 14


def check_resumed(start, name, whole):
    """A run that was stopped and resumed ends at the same step, with the same lines and the same best weights."""
    halves, _ = start("train.steps=6", "train.until=plateau", name=name)
    halves.run()
    again, _ = start("train.steps=30", name=name, resume=True)
    again.run()
    found = [[{**row["held_out"], "seconds": 0} for row in rows_of(run) if "held_out" in row] for run in (whole, again)]
    assert found[0] == found[1] and again.step == whole.step
    first, second = (load(run.folder.best, device="cpu").model.state_dict() for run in (whole, again))
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_rule(start, monkeypatch):
    true = plateau_module.is_improvement
    monkeypatch.setattr(plateau_module, "is_improvement", lambda best, now: false_after_six(best, now, true))
    whole, _ = start("train.steps=30", "train.until=plateau", "train.decay=none", name="whole")
    whole.run()
    assert whole.step < 30

    def decay(name):
        return lambda *changes, **options: start(*changes, "train.decay=none", **options)

    check_resumed(decay("halves"), "halves", whole)
    with planted_error(HeldOutCallback, "state", lambda self: {}):
        assert_caught(check_resumed, decay("planted"), "planted", whole)


def false_after_six(best, now, true):
    """Improvements while the loss is high, as at the start of a training; then none."""
    return bool(now.mean() < best.mean() - 0.01)


def test_too_few_held_out_examples_are_refused(start):
    with pytest.raises(BadInput, match=r"until is plateau, and 0 examples are held out: 8 or more.*data\.split\.valid"):
        start("train.until=plateau", "data.split.valid=0")
    with pytest.raises(BadInput, match=r"until is plateau, and \d examples are held out"):
        start("train.until=plateau", "data.split.valid=0.05")


@pytest.mark.slow
def test_memorisation_is_said_once(start, monkeypatch):
    run, lines = start("train.steps=6")
    monkeypatch.setattr(held_out_module, "stratified_gap", lambda held_out, trained: (50.0, 1.0))
    run.run()
    assert sum("the model memorises them" in line for line in lines) == 1
    quiet, lines = start("train.steps=6", name="quiet")
    monkeypatch.setattr(held_out_module, "stratified_gap", lambda held_out, trained: (50.0, 60.0))
    quiet.run()
    assert not any("memorises" in line for line in lines)


@pytest.mark.slow
def test_a_run_without_held_out_examples_logs_none(start):
    run, _ = start("train.steps=3", "data.split.valid=0")
    run.run()
    assert not any("held_out" in row for row in rows_of(run))


def test_short_runs_are_not_evaluated():
    assert evaluation_interval(6) > 100
