"""sonolux calibrate: plans are stored in the checkpoint, and sampling uses them unless other settings are given."""

import json
from typing import Any

import pytest
import sonolux
import torch
from click.testing import CliRunner
from sonolux.core.cli import calibrate as cli
from sonolux.core.cli.main import main
from sonolux.core.training.checkpoint import newest_checkpoint, read_header


@pytest.fixture(scope="module")
def run(tiny_run):
    """A run of four steps with calibrated plans of 3 and 4 evaluations."""
    smaller = ("data.count=24", "network={width: 8, stages: [1], attention: [], patch: 4}")
    run = tiny_run("image", *smaller, "sample.batch=3", own="calibrated")
    before = newest_checkpoint(run).read_bytes()[-1000:]
    told = CliRunner().invoke(cli.command, [str(run), "--nfe", "3,4", "--count", "8", "--json"])
    assert told.exit_code == 0, told.output
    assert newest_checkpoint(run).read_bytes()[-1000:] == before, "the weights stay as they are"
    return run, json.loads(told.stdout)


@pytest.mark.slow
def test_figures_are_of_samples_held_out(run):
    _, figures = run
    assert [row["nfe"] for row in figures] == [3, 4]
    for row in figures:
        assert row["error"] > 0 and row["ratio"] == pytest.approx(row["error"] / row["stock_error"])


def test_the_plan_is_in_the_checkpoint_with_its_figures(run):
    header = read_header(newest_checkpoint(run[0]))
    assert set(header.plans) == {3, 4}
    assert {"sampler", "error", "stock", "ratio", "rows"} <= set(header.plans[3])


def test_sampling_uses_the_plan_of_that_many_steps(run):
    m = sonolux.load(run[0], device="cpu")
    made = m.sample(steps=3)
    assert made.settings["calibrated"] is True and made.nfe == [3] * 6
    assert m.sample(steps=5).settings["calibrated"] is False, "there is no plan of 5"
    assert m.sample(steps=4).settings["calibrated"] is True


@pytest.mark.slow
def test_whoever_asks_otherwise_gets_otherwise(run):
    m = sonolux.load(run[0], device="cpu")
    others: list[dict[str, Any]] = [{"use": "euler"}, {"spacing": "linspace"}, {"calibrated": False}]
    for changes in others:
        assert m.sample(steps=3, **changes).settings["calibrated"] is False
    stock = m.sample(steps=3, calibrated=False).media
    assert not torch.allclose(stock[0], m.sample(steps=3).media[0], atol=1e-4)
    changed = sonolux.load(run[0], device="cpu", changes=["sample.use=euler"])
    assert changed.sample(steps=3).settings["calibrated"] is False


@pytest.mark.slow
def test_a_plan_serves_the_guidance_it_was_fitted_with(run, tmp_path):
    m = sonolux.load(run[0], device="cpu")
    weak, same = ({"use": "cfg", "scale": scale} for scale in (1.5, 2.0))
    assert m.sample(steps=3, guidance=weak).settings["calibrated"] is False
    assert m.sample(steps=3, guidance=None).settings["calibrated"] is False
    assert m.sample(steps=3, guidance=same).settings["calibrated"] is True
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(newest_checkpoint(run[0]).read_bytes())
    told = CliRunner().invoke(cli.command, [str(copy), "guidance.scale=1.5", "--nfe", "3", "--count", "8"])
    assert told.exit_code == 0 and f"sonolux sample {copy} guidance.scale=1.5 steps=3" in told.output
    other = sonolux.load(copy, device="cpu")
    assert other.sample(steps=3).settings["calibrated"] is False
    assert other.sample(steps=3, guidance=weak).settings["calibrated"] is True
    assert other.sample(steps=4).settings["calibrated"] is True, "the plan of 4 is as it was"


def test_a_calibrated_sample_does_not_depend_on_the_batch(run):
    m = sonolux.load(run[0], device="cpu")
    for a, b in zip(m.sample(steps=3, batch=1).media, m.sample(steps=3, batch=6).media, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_problem_is_what_sampling_solves(run):
    """From the problem's start with its denoiser, the recipe's own plan ends where `sample` does."""
    m = sonolux.load(run[0], device="cpu")
    problem = m.calibration_problem(6, seed=2, batch=4)
    assert [len(batch.start) for batch in problem.batches] == [4, 2], "as many at a time as sampling makes"
    sampler, spacing = m.recipe.sampler.build(), m.recipe.sample.timesteps.build()
    levels = spacing.levels(problem.schedule, 5)
    with torch.no_grad():
        media = m.codec.decode(problem.final_states(sampler.plan(problem.schedule, levels)))
    for a, b in zip(m.sample(seed=2, steps=5, batch=6).media, media, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_plans_are_taken_out(run, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(newest_checkpoint(run[0]).read_bytes())
    assert CliRunner().invoke(cli.command, [str(copy), "--forget"]).exit_code == 0
    assert read_header(copy).plans == {}


@pytest.mark.parametrize(("nfe", "said"), [("5,x", "numbers of evaluations"), ("1", "2 or more"), ("49", "up to 48")])
def test_wrong_numbers_are_refused(run, nfe, said, capsys):
    assert main(["calibrate", str(run[0]), "--nfe", nfe]) == 2
    assert said in capsys.readouterr().err


def test_the_line_of_a_plan_says_what_its_ratio_is_of():
    figures = {"nfe": 5, "error": 0.01, "stock": "dpmpp_2m on karras", "stock_error": 0.25, "ratio": 0.04}
    assert cli._line(figures) == (
        "5 evaluations: error 0.01, 0.04 times that of the best stock sampler, dpmpp_2m on karras: 0.25"
    )
