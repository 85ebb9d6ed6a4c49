"""Prompts of eval: captions of real examples, in turn known and new; the measurement in a whole report."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sonolux
from sonolux.core.evaluation import prompt_following
from sonolux.core.evaluation.evaluate import evaluate
from sonolux.core.evaluation.evaluation_input import open_evaluation_input
from sonolux.core.evaluation.examples import load_real_data
from sonolux.core.evaluation.joint_embedding import JointEmbeddingSettings
from sonolux.core.evaluation.prompts import captioned_conditions, find_text_condition, known_texts
from sonolux.core.evaluation.report.table import report_to_dict

sys.path.insert(0, str(Path(__file__).parents[2]))

from _text_network import RECIPE

COUNT = 12


@pytest.fixture(scope="module")
def captioned(tiny_run):
    return tiny_run(RECIPE, "data.count=80", "data.split.valid=0.3")


def drawn(run, changes=()):
    pipeline = sonolux.load(run, device="cpu", changes=list(changes), allow_code=True)
    real = load_real_data(pipeline.recipe, 1000)
    return real, captioned_conditions(pipeline, pipeline.recipe, real, COUNT)


@pytest.mark.slow
def test_prompts_are_in_turn_of_training_and_new(captioned):
    real, rows = drawn(captioned)
    known = known_texts(real, "caption")
    prompts = [row["caption"] for row in rows]
    assert [prompt in known for prompt in prompts] == [True, False] * (COUNT // 2)
    assert prompts == [row["caption"] for row in drawn(captioned)[1]] and len(set(prompts)) > COUNT // 2
    assert drawn(captioned, ["prompt=a red circle"])[1] == [], "prompts that were given are used"


@pytest.mark.slow
def test_the_report_has_the_prompts(captioned, tmp_path, monkeypatch):
    short = JointEmbeddingSettings
    monkeypatch.setattr(
        prompt_following, "JointEmbeddingSettings", lambda media: replace(short(media), epochs=3, batch=16)
    )
    case = open_evaluation_input(
        str(captioned), ["count=12", "repeats=10", "memorization=false"], sampled=True, allow_code=True
    )
    assert find_text_condition(case.recipe) == ("caption", "caption")
    report = evaluate(case, tmp_path)
    lines = report.measurements["Prompts"]
    assert [line.key for line in lines] == ["known_captions", "new_captions"]
    assert all(line.interval and line.interval[0] <= line.value <= line.interval[1] for line in lines)
    assert {row.heading for row in report.gallery} >= {"Prompts followed best", "Prompts followed least"}
    found = report_to_dict(report)
    assert all(row["prompt"] and isinstance(row["prompt_found"], bool) for row in found["each"])
    again = evaluate(case, tmp_path / "again", folder=tmp_path / "samples")
    assert [line.value for line in again.measurements["Prompts"]] == [line.value for line in lines]
