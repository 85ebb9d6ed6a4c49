"""The benchmark of wrong words changes one word, and measures how much that raises the error."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.image.synthetic import scenes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import wrong_words
from _captioned_runs import RECIPES, TRAINED

CAPTION = "a large red circle above a small blue square and left of a small white square"


def check_replacement() -> None:
    kinds = wrong_words.WORDS["image/shapes"]
    for seed in range(8):
        changed = wrong_words.replace_one(CAPTION, kinds["colour"], keyed_generator(seed, 0, "colour"))
        assert changed is not None
        pairs = [(a, b) for a, b in zip(CAPTION.split(), changed.split(), strict=True) if a != b]
        assert len(pairs) == 1 and pairs[0][0] in ("red", "blue", "white")
        assert pairs[0][1] in set(scenes.COLOURS) - {"red", "blue", "white"}
    relations = {wrong_words.replace_one(CAPTION, kinds["relation"], keyed_generator(i, 0, "r")) for i in range(20)}
    assert relations == {CAPTION.replace("above", "below"), CAPTION.replace("left of", "right of")}
    assert wrong_words.replace_one("a small star", kinds["relation"], keyed_generator(0, 0, "r")) is None


def test_one_word_is_replaced():
    check_replacement()


def test_planted_replacement_of_every_word_is_caught(monkeypatch):
    monkeypatch.setattr(
        wrong_words, "replace_one", lambda text, words, rng: text.replace("red", "green").replace("blue", "yellow")
    )
    assert_caught(check_replacement)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_the_rise_of_the_error_is_that_of_the_changed_captions(kind, tiny_run, monkeypatch):
    run = str(tiny_run(RECIPES[kind] + TRAINED))
    args = Namespace(count=6, seed=0, set=[])
    table = wrong_words.measure(run, args)
    assert all(torch.tensor(figure.value).isfinite() for figure in table.figures)
    right: list = []

    def errors(trained, name, texts, x0, noise, rho):
        if not right:
            right.extend(texts)
        wrong = [text not in right for text in texts]  # a caption is right, or one of its words is wrong
        return 1 + 0.5 * torch.tensor(wrong).double()

    monkeypatch.setattr(wrong_words, "denoise_errors", errors)
    for figure in wrong_words.measure(run, args).figures:
        assert figure.value == (1 if "mean squared" in figure.name else pytest.approx(0.5)), figure.name


@pytest.mark.slow
def test_a_run_without_captions_is_refused(tiny_run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["wrong_words.py", str(tiny_run("image"))])
    assert wrong_words.main() == 2 and "has no text condition" in capsys.readouterr().err
