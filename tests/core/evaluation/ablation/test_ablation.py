"""An ablation of a tiny recipe: paired runs, the held-out error and its formula, slices, resuming; planted errors."""

import ast
import json
import math
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from sonolux.core.cli.main import main
from sonolux.core.codecs import trained
from sonolux.core.config.load import load_recipe
from sonolux.core.evaluation import classifier, joint_embedding, stored_networks
from sonolux.core.evaluation.ablation import ablation as ablation_module
from sonolux.core.evaluation.ablation import interleave, train_arms
from sonolux.core.evaluation.ablation.ablation import Ablation
from sonolux.core.evaluation.ablation.arms import build_arms, split_values
from sonolux.core.evaluation.ablation.interleave import InterleavedRun, train_interleaved
from sonolux.core.evaluation.ablation.train_arms import held_out_errors, prepare_seed
from sonolux.core.testing.mutation import assert_caught, planted_error, replace_expression, swap_operator
from sonolux.core.training import held_out
from sonolux.core.training.run import TrainingRun
from sonolux.core.training.step import Trainer
from sonolux.core.types import BadInput, Estimate
from sonolux.core.util.interrupts import Interrupted

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from _text_network import RECIPE

SMALL = ("network={use: image/unet, width: 8, stages: [1], attention: [], patch: 4}", "data.count=24")


@pytest.fixture
def path(tiny_recipe, tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    return tmp_path / "tiny.yaml"


def arms_of(path, vary="train.optimizer.lr=0.001,0.01", length="train.steps=3"):
    return build_arms(path, [vary], SMALL, length)


def silent(text):
    pass


def test_commas_inside_of_brackets_do_not_separate_values():
    assert split_values("{use: muon, lr: 1e-3},{use: adamw, betas: [0.9, 0.99]}, adamw") == [
        "{use: muon, lr: 1e-3}",
        "{use: adamw, betas: [0.9, 0.99]}",
        "adamw",
    ]
    assert split_values("'a,b',\"c]\",d") == ["'a,b'", '"c]"', "d"]


def test_arms_are_all_combinations(path):
    arms = build_arms(path, ["train.batch=2,3", "train.optimizer=adamw,muon"], SMALL, "train.steps=3")
    assert [(a.recipe.train.batch, a.recipe.train.optimizer.use) for a in arms] == [
        (2, "adamw"),
        (2, "muon"),
        (3, "adamw"),
        (3, "muon"),
    ]
    assert arms[1].name == "train.batch=2 train.optimizer=muon"
    assert [arms[0].with_seed(n).seed for n in (0, 2)] == [3, 5]


def check_codec_is_shared(arms):
    with patch.object(trained, "_train", wraps=trained._train) as train:
        one, two = (run.trainer.parts.codec.state_dict() for run in prepare_seed(arms, 0).runs)
    assert train.call_count == 1
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_arms_share_the_fitted_codec(path):
    """It is trained once, and errors are in one unit."""
    codec = "codec={use: image/autoencoder, width: 4, latent: 2, steps: 2, batch: 2}"
    arms = build_arms(path, ["train.batch=2,3"], (*SMALL, "network.patch=1", codec), "train.steps=3")
    check_codec_is_shared(arms)
    with planted_error(train_arms, "_trainer", replace_expression(ast.IsNot, "False", at=-1)):
        assert_caught(check_codec_is_shared, arms)


@pytest.mark.slow
def test_a_run_equals_the_training_of_its_recipe(path, tmp_path):
    """Slices, turns and other arms change nothing: the weights are those of `sonolux train`, bit for bit."""
    arms = arms_of(path)
    seed = prepare_seed(arms, 1)
    train_interleaved(seed.runs, lambda run, steps: None)
    alone = TrainingRun(arms[1].with_seed(1), tmp_path / "run", say=silent, bar=False)
    alone.prepare()
    alone.run()
    for a, b in zip(alone.trainer.ema.model.parameters(), seed.runs[1].trainer.ema.model.parameters(), strict=True):
        assert torch.equal(a, b)


def check_error(path, level=0.0):
    """A denoiser that returns x / (1 + rho^2), with alpha = 1 and data of variance s^2 without structure: the formula.

    E |x / (1 + rho^2) - x0|^2 = (rho^4 s^2 + rho^2) / (1 + rho^2)^2, times (1 + 1 / rho^2).
    """
    seed = prepare_seed(arms_of(path), 0)
    trainer = seed.runs[0].trainer
    rho = math.exp(-level / 2)

    class Linear:
        def denoise(self, x, at, conditions):
            assert at.alpha == 1 and at.sigma == pytest.approx(rho)
            return Estimate(x / (1 + rho**2))

    process = trainer.parts.process
    trainer.parts.process = type(
        "Process", (), {"schedule": process.schedule, "denoiser": lambda self, model: Linear()}
    )()
    media = torch.stack([seed.held_out.item(i, None).media for i in range(len(seed.held_out))])
    s2 = float(trainer.parts.codec.encode(media).square().mean())
    expected = (1 + rho**-2) * (rho**4 * s2 + rho**2) / (1 + rho**2) ** 2
    assert train_arms.held_out_errors(trainer, seed.held_out, [level]) == [pytest.approx(expected, rel=0.1)]


@pytest.mark.slow
def test_the_held_out_error_is_that_of_the_formula(path):
    check_error(path)
    check_error(path, -2.0)
    with planted_error(Trainer, "x0_errors", swap_operator(ast.Add, ast.Sub, near="normal")):
        check_error(path)  # the noise is symmetric, so its sign does not matter
    with planted_error(Trainer, "x0_errors", swap_operator(ast.Sub, ast.Add)):
        assert_caught(check_error, path)
    with planted_error(train_arms, "held_out_errors", swap_operator(ast.Div, ast.Mult)):
        assert_caught(check_error, path, -2.0)
    with planted_error(held_out, "error_weight", swap_operator(ast.Add, ast.Sub)):
        assert_caught(check_error, path, -2.0)


@pytest.mark.slow
def test_arms_have_the_same_examples_and_the_same_noise(path):
    """Arms with other parameterizations and batches, whose networks are replaced by one: equal errors, bit for bit."""
    seed = prepare_seed(arms_of(path, "train.batch=2,3"), 0)
    first, second = (run.trainer for run in seed.runs)
    assert held_out_errors(first, seed.held_out, seed.levels) == held_out_errors(second, seed.held_out, seed.levels)
    other = prepare_seed(arms_of(path, "train.batch=2,3"), 1)
    assert held_out_errors(other.runs[0].trainer, other.held_out, [0.0]) != held_out_errors(first, seed.held_out, [0.0])


def check_equal_time(path, monkeypatch):
    """Runs whose steps take 1 and 4 seconds of a simulated time get the same seconds, in turn."""
    now, order = [0.0], []
    monkeypatch.setattr(interleave.time, "perf_counter", lambda: now[0])

    def step(run, cost):
        def train_step(progress):
            now[0] += cost
            run.trainer.step += 1
            order.append(run)
            return type("Result", (), {"loss": torch.zeros(()), "grad_norm": torch.zeros(())})

        return train_step

    seed = prepare_seed(arms_of(path, length="train.minutes=2"), 0)
    for run, cost in zip(seed.runs, (1.0, 4.0), strict=True):
        run.trainer.train_step = step(run, cost)
    train_interleaved(seed.runs, lambda run, steps: None)
    assert [run.seconds for run in seed.runs] == [120, 120]
    assert [run.trainer.step for run in seed.runs] == [120, 30]
    turns = sum(a is not b for a, b in pairwise(order))
    assert turns >= 15, "short slices"


def test_equal_time(path, monkeypatch):
    check_equal_time(path, monkeypatch)
    with planted_error(InterleavedRun, "_progress", swap_operator(ast.Div, ast.Mult, at=1)):
        assert_caught(check_equal_time, path, monkeypatch)


@pytest.mark.slow
def test_a_run_that_is_not_finite_ends_and_has_no_figure(path, tmp_path, monkeypatch):
    step = Trainer.train_step

    def failing(self, progress):
        result = step(self, progress)
        bad = self.train.optimizer.params["lr"] == 0.01
        return replace(result, loss=result.loss * math.nan) if bad else result

    monkeypatch.setattr(Trainer, "train_step", failing)
    done = Ablation(arms_of(path, length="train.steps=21"))
    done.run(1, tmp_path / "out", False, silent, show=False)
    assert [run.steps for run in done.runs] == [21, 20] and done.runs[1].figures == {"held-out error": None}
    assert done.comparison()["held-out error"][1].verdict == "training failed"
    assert "training failed" in (tmp_path / "out" / "ablation.md").read_text()


@pytest.mark.slow
def test_an_ablation_that_was_stopped_continues(path, tmp_path, monkeypatch):
    """After a signal in the second seed the first one is kept, and the result equals that of an uninterrupted one."""
    whole, halves = Ablation(arms_of(path)), Ablation(arms_of(path))
    whole.run(2, tmp_path / "whole", False, silent, show=False)
    prepare = ablation_module.prepare_seed

    def stopped(arms, number):
        if number == 1:
            raise Interrupted
        return prepare(arms, number)

    monkeypatch.setattr(ablation_module, "prepare_seed", stopped)
    with pytest.raises(Interrupted, match="1 of 2 seeds finished: the same command with --resume continues"):
        halves.run(2, tmp_path / "out", False, silent, show=False)
    monkeypatch.setattr(ablation_module, "prepare_seed", prepare)
    with pytest.raises(BadInput, match="--resume"):
        Ablation(arms_of(path)).run(2, tmp_path / "out", False, silent, show=False)
    with pytest.raises(BadInput, match="other settings"):
        Ablation(arms_of(path, "train.batch=2,3")).run(2, tmp_path / "out", True, silent, show=False)
    again = Ablation(arms_of(path))
    again.run(2, tmp_path / "out", True, silent, show=False)
    assert again.comparison() == whole.comparison() or math.isnan(again.comparison()["held-out error"][0].p)
    figures = [[run.figures for run in one.runs] for one in (whole, again)]
    assert figures[0] == figures[1] and len(figures[0]) == 4


@pytest.mark.slow
def test_the_command(path, tmp_path, capsys):
    words = ["ablate", str(path), "--vary", "train.optimizer=adamw,muon", "--seeds", "2", "--steps", "2", *SMALL]
    assert main([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "ablation.json").read_text())
    first, second = printed["comparison"]["held-out error"]
    assert (first["arm"], first["verdict"]) == ("train.optimizer=adamw", "baseline")
    own = [[run["figures"]["held-out error"] for run in printed["runs"] if run["arm"] == arm] for arm in (0, 1)]
    assert second["difference"] == pytest.approx(sum(own[1]) / 2 - sum(own[0]) / 2)
    for run in printed["runs"]:
        assert run["figures"]["held-out error"] == pytest.approx(sum(run["levels"].values()) / len(run["levels"]))
    assert load_recipe(path).train.steps == 4, "the recipe is unchanged"


@pytest.mark.slow
def test_samples_are_measured_as_by_eval(path, tmp_path):
    done = Ablation(build_arms(path, ["train.batch=2,3"], [*SMALL, "eval.repeats=10"], "train.steps=2"), samples=16)
    done.run(1, tmp_path / "out", False, silent, show=False)
    assert all({"held-out error", "MMD x 1000", "Frechet distance"} == set(run.figures) for run in done.runs)
    assert all(run.figures["Frechet distance"] > 0 for run in done.runs)


def check_networks_are_shared(path, out, monkeypatch):
    """Two arms with the same data: each network of eval is trained once (here it is only built, which is quick)."""
    trained_on = []

    def train_joint(x, texts, augment, settings):
        trained_on.append("joint embedding")
        return joint_embedding.JointEmbedding(x.shape[1], settings).eval()

    def train_classifier(x, y, classes, augment, settings):
        trained_on.append((classes, len(x), settings.epochs))
        return classifier.Classifier(x.shape[1], classes or 64, settings).eval()

    monkeypatch.setattr(joint_embedding, "train_joint_embedding", train_joint)
    monkeypatch.setattr(classifier, "train_classifier", train_classifier)
    stored_networks._MEMORY.clear()
    arms = build_arms(path, ["train.batch=2,3"], ["sample.steps=1", "eval.repeats=10"], "train.steps=1")
    Ablation(arms, samples=16).run(1, out, False, silent, show=False)
    stored_networks._MEMORY.clear()
    assert trained_on.count("joint embedding") == 1
    assert len(trained_on) == len(set(trained_on))


@pytest.mark.slow
def test_arms_share_the_networks_of_eval(path, tmp_path, monkeypatch):
    path.write_text(RECIPE)
    check_networks_are_shared(path, tmp_path / "out", monkeypatch)
    numbers = iter(range(100))
    with planted_error(joint_embedding, "key_of", lambda *given: f"{next(numbers)}"):
        assert_caught(check_networks_are_shared, path, tmp_path / "planted", monkeypatch)


def check_changed_data_is_refused(path, folder, out):
    """A seed more is refused after an example was removed or replaced, and accepted if the folder was moved."""
    data = f"data={{use: image/folder, root: {folder}, split: {{by: hash, valid: 0.2}}}}"
    arms = build_arms(path, ["train.batch=2,3"], [SMALL[0], data], "train.steps=2")
    Ablation(arms).run(1, out, False, silent, show=False)
    again = Ablation(arms)
    again.run(2, out, True, silent, show=False)
    assert len(again.runs) == 4
    file = sorted(folder.glob("*/*.png"))[0]
    before = file.read_bytes()
    file.write_bytes(sorted(folder.glob("*/*.png"))[1].read_bytes())
    try:
        Ablation(arms).run(3, out, True, silent, show=False)
    except BadInput as error:
        assert "the data of train.batch=2 has changed" in str(error) and "--out" in str(error)
    else:
        raise AssertionError("other data is accepted")
    finally:
        file.write_bytes(before)
    Ablation(arms).run(3, out, True, silent, show=False)


@pytest.mark.slow
def test_an_ablation_is_not_continued_with_other_data(path, tmp_path):
    folder = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for i in range(24):
        file = folder / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
    check_changed_data_is_refused(path, folder, tmp_path / "out")
    with planted_error(train_arms, "hash_examples", lambda *parts: "equal"):
        assert_caught(check_changed_data_is_refused, path, folder, tmp_path / "planted")
