"""`sonolux lab`: any sampler is measured by one command, third-party ones too; a run's likelihood is printed."""

import ast
import json
import re
import time

import pytest
from sonolux.core.cli import lab as lab_command
from sonolux.core.cli import main as cli
from sonolux.core.config.load import load_recipe
from sonolux.core.samplers.heun_exp import HeunExp
from sonolux.core.testing import invariants, report
from sonolux.core.testing.mutation import assert_caught, planted_error, replace_expression
from sonolux.core.training.run import TrainingRun

PLUGIN = '''
"""A sampler of someone else's: Euler's method, and one that knows flow alone."""
from sonolux.core.samplers.base import PlanBuilder, PlannedSampler
from sonolux.core.samplers._coefficients import first_order_step
from sonolux.core.types import BadInput


class Mine(PlannedSampler):
    """Euler's method, its step scaled.

    scale: 1 is right
    """

    order = 1

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def draft(self, builder: PlanBuilder) -> None:
        x = builder.start()
        for s, t in builder.pairs():
            D = builder.denoise(x)
            x = builder.step(first_order_step(builder, x, self.scale * D, s, t, t.sigma), t)


class FlowOnly(Mine):
    """Refuses everything but flow."""

    def draft(self, builder: PlanBuilder) -> None:
        if type(builder.schedule).__name__ != "RectifiedFlow":
            raise BadInput("this sampler wants rectified_flow")
        super().draft(builder)
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "mine_package.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "./mine.py:Mine"


BROKEN = '''
"""What goes wrong in samplers."""
from sonolux.core.samplers.base import PlannedSampler


class NoSampler:
    """A class that is something else."""


class Divides(PlannedSampler):
    """Divides by zero while it drafts."""

    order = 1

    def draft(self, builder):
        1 / 0


class Numbers(PlannedSampler):
    """Hands the draft a number."""

    order = 1

    def draft(self, builder):
        x = builder.start()
        for s, t in builder.pairs():
            x = builder.step(3.0, t)
'''


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NoSampler", r"class NoSampler is no sampler: it has none of plan, solve, integrate"),
        ("Divides", r"a plugin is broken: .*odd\.py:16, in draft: ZeroDivisionError: division by zero"),
        ("Numbers", r"a plugin is broken: .*odd\.py:27, in draft: TypeError: a point is a combination of .* not 3\.0"),
    ],
)
def test_an_error_in_a_sampler_is_reported_with_its_file(lab, tmp_path, monkeypatch, name, said):
    (tmp_path / "odd.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    code, _, err = lab(f"./odd.py:{name}")
    assert code == 3 and re.search(said, err), err


def test_a_plugin_that_fails_while_it_samples_is_reported_with_its_file(tiny_run, tmp_path, monkeypatch, capsys):
    (tmp_path / "odd.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    ask = ["sample", str(tiny_run("image")), "--out", "out"]
    assert cli.main([*ask, "use=./odd.py:Divides"]) == 3, "what is named in the command needs no --allow-code"
    assert "odd.py:16, in draft: ZeroDivisionError" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_error_that_no_plugin_made_is_none_of_theirs(monkeypatch, capsys):
    def fails(*_, **__):
        raise ValueError("ours")

    monkeypatch.setattr(report, "measure_sampler", fails)
    assert cli.main(["lab", "sampler", "euler"]) == 1 and "plugin" not in capsys.readouterr().err


@pytest.fixture
def lab(capsys):
    """Run `sonolux lab sampler`: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = cli.main(["lab", "sampler", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def check_report(lab, name, order):
    """JSON: the order stated and measured, invariants, evaluations a step, errors that fall."""
    code, out, err = lab(name, "--schedule", "edm", "--nfe", "5,20", "--json")
    facts = json.loads(out)
    measured = facts["measured"]["edm"]
    assert code == 0 and err == "" and facts["order"] == order
    for kind in ("interior", "own_start"):
        assert abs(measured[kind]["slope"] - order) < 0.2
    assert measured["data"] < 1e-9 and measured["noise"] < 1e-9 and measured["nfe"] >= 1
    few, many = facts["costs"]["edm"][facts["name"]]
    assert (few["asked"], many["asked"]) == (5, 20) and many["error"] < few["error"] / 2
    assert set(facts["costs"]["edm"]) >= {"euler", "dpmpp_2m"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "order"), [("dpmpp_2m", 2), ("euler", 1)])
def test_a_registered_sampler(lab, name, order):
    check_report(lab, name, order)


@pytest.mark.slow
def test_a_sampler_of_ones_own(lab, plugin):
    check_report(lab, plugin, 1)
    check_report(lab, "mine_package:Mine", 1)


@pytest.mark.slow
def test_what_is_wrong_with_a_sampler_shows(lab, plugin):
    assert_caught(check_report, lab, "{use: ./mine.py:Mine, scale: 1.01}", 1)
    with planted_error(
        invariants, "largest_deviation", replace_expression(ast.Add, "1e-9")
    ):  # the scale, alpha + sigma
        assert_caught(check_report, lab, "euler", 1)


@pytest.mark.slow
def test_text_names_everything(lab, plugin):
    code, out, _ = lab(
        "heun_exp", "--schedule", "rectified_flow", "--against", f"euler, {plugin}", "--nfe", "4,10", "--problem", "ar1"
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "heun_exp: deterministic, order 2 stated"
    assert any(line.startswith("rectified_flow") and " 1.9" in line for line in lines)
    assert any("RMS error of x0" in line and "ar1" in line for line in lines)
    rows = {line.split()[0]: re.sub(r"\(\d+\)", "", line).split()[1:] for line in lines if line}
    assert rows["euler"] == rows[plugin], "the same method has the same errors"
    assert len(rows["heun_exp"]) == 2 and float(rows["heun_exp"][1]) < float(rows["euler"][1])


def check_used_evaluations(lab):
    """Two evaluations a step, one for the last step on this schedule: heun uses 5 of 5, 7 of 8 and 19 of 20."""
    code, out, _ = lab("heun", "--schedule", "edm", "--against", "midpoint", "--nfe", "5,8,20")
    rows = {line.split()[0]: re.sub(r"\S+e[+-]\d+", "error", line).split()[1:] for line in out.splitlines() if line}
    assert code == 0 and rows["heun"] == ["error", "error", "(7)", "error", "(19)"]
    assert rows["midpoint"] == ["error", "(4)", "error", "error"]


@pytest.mark.slow
def test_the_evaluations_that_were_used_are_stated(lab):
    check_used_evaluations(lab)


@pytest.mark.slow
def test_planted_heads_of_the_evaluations_that_were_asked_for_are_caught(lab, monkeypatch):
    monkeypatch.setattr(lab_command, "_cell", lambda text, result: text)
    assert_caught(check_used_evaluations, lab)


@pytest.mark.slow
def test_a_stochastic_sampler(lab):
    code, out, _ = lab("{use: ddim, eta: 1.0}", "--schedule", "edm", "--against", "ddpm", "--nfe", "20", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["name"] == "ddim eta=1.0" and facts["stochastic"]
    assert abs(facts["measured"]["edm"]["weak"]["slope"] - 1) < 0.2
    own, other = (facts["drawn"]["edm"][n][0]["error"] for n in ("ddim eta=1.0", "ddpm"))
    assert own["distance"] == pytest.approx(other["distance"], rel=1e-9), "DDIM with eta = 1 is DDPM"
    assert 0 < own["p"] <= 1 and own["made"]["covariance"] < 0.3 and own["chance"]["mean"] < 0.1
    assert "two-sample p" in lab("ddpm", "--schedule", "edm", "--nfe", "5")[1]


@pytest.mark.slow
def test_a_plot_is_drawn(lab, tmp_path):
    for name in ("euler", "ddpm"):
        file = tmp_path / "deep" / f"{name}.png"
        assert lab(name, "--schedule", "edm", "--nfe", "4,8", "--plot", str(file))[0] == 0
        assert file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 5000


@pytest.mark.slow
def test_a_spacing_of_choice(lab):
    arguments = ("euler", "--schedule", "edm", "--nfe", "10", "--json")
    even, karras = (json.loads(lab(*arguments, *more)[1]) for more in ((), ("--spacing", "{use: karras, exponent: 5}")))
    assert even["costs"]["edm"]["euler"] != karras["costs"]["edm"]["euler"]


@pytest.mark.slow
def test_a_schedule_that_is_refused_is_named(lab, plugin):
    code, out, _ = lab("./mine.py:FlowOnly", "--schedule", "edm", "--schedule", "rectified_flow", "--nfe", "5")
    assert code == 0 and "edm: refused: this sampler wants rectified_flow" in out
    assert any(line.startswith("rectified_flow") for line in out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dpmpp_2",), "there is no sampler 'dpmpp_2'; did you mean 'dpmpp_2"),
        (("euler", "--schedule", "ed"), "there is no schedule 'ed'; did you mean 'edm'?"),
        (("euler", "--spacing", "karas"), "did you mean 'karras'?"),
        (("euler", "--problem", "mixtur"), "did you mean 'mixture'?"),
        (("euler", "--nfe", "5,x"), "5,8,10,20"),
        (("euler", "--nfe", "0"), "5,8,10,20"),
        (("{use: ddim, etta: 1}",), "did you mean 'eta'?"),
        (("euler", "--against", "ddpm"), "ddpm is stochastic"),
        (("nowhere.at_all:Mine",), "no module 'nowhere.at_all'"),
        (("./no.py:Mine",), "no file"),
    ],
)
def test_bad_input_exits_with_2(lab, arguments, said):
    code, out, err = lab(*arguments)
    assert code == 2 and out == "" and said in err and "Traceback" not in err


@pytest.mark.slow
def test_a_default_call_takes_less_than_ten_seconds(lab):
    begun = time.process_time()
    assert lab("heun_exp")[0] == 0
    assert time.process_time() - begun < 10


@pytest.mark.slow
def test_measure_from_python():
    from sonolux.core.schedulers.edm import EDM
    from sonolux.core.testing.problems import example_problems

    made = report.measure_sampler(
        "mine", HeunExp(), {"edm": EDM()}, {}, example_problems()["mixture"], nfe=(9,), count=16
    )
    assert made.measured["edm"].interior.slope == pytest.approx(2, abs=0.2)
    assert made.costs["edm"]["mine"][0].nfe <= 9 and made.to_dict()["drawn"] == {}


RECIPE = """
recipe: 1
name: tiny
seed: 3
modality: {use: image, size: 16, channels: 3}
data: {use: image/shapes, count: 40, shapes: 1, split: {by: hash, valid: 0.2}}
codec: {use: image/pixels}
network: {use: image/unet, width: 8, stages: [1], blocks: 1, attention: [], patch: 4}
condition: {label: {use: class, drop: 0.3}}
train: {steps: 4, batch: 6, warmup: 2, preview_every: 100, precision: float32, device: cpu}
sample: {use: dpmpp_2m, steps: 4, count: 2, batch: 2}
"""


@pytest.mark.slow
def test_likelihood_of_a_run(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    job = TrainingRun(load_recipe(tmp_path / "tiny.yaml"), tmp_path / "run", say=lambda _: None, bar=False)
    job.prepare()
    job.run()
    capsys.readouterr()
    arguments = ["lab", "likelihood", str(tmp_path / "run"), "--count", "3", "--steps", "3", "--probes", "2"]
    assert cli.main([*arguments, "--device", "cpu", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["diffused"]["each"]) == 3 and facts["nfe"] == 19 and facts["media"]["dimensions"] == [768.0] * 3
    assert facts["diffused"]["probes_standard_error"] > 0
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert f"{facts['diffused']['bits_per_dimension']:.4f} bits per dimension" in said and "media space" in said
    assert cli.main(["lab", "likelihood", str(tmp_path / "nothing")]) == 2
