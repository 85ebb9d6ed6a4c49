"""The benchmark of prompts reads samples that are right as right, and others as wrong."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx
from sonolux.modalities.audio.noise_substitution import replace_tones_by_noise
from sonolux.modalities.image.datasets.shapes import Shapes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import prompts
from _captioned_runs import RECIPES, TRAINED

SPECS = {
    "image/shapes": MediaSpec("image", 3, ("height", "width"), (32, 32)),
    "audio/synth_sfx": MediaSpec("audio", 1, ("time",), (8000,), (8000.0,)),
}


def options(**given):
    return Namespace(**{"count": 30, "seed": 0, "wordings": False, "held_out": False, **given})


def measured(name, shift=0, change=lambda x: x, count=60):
    """Share of right answers, for the changed media of examples and prompts of the examples `shift` places on."""
    data = {"image/shapes": Shapes, "audio/synth_sfx": SynthSfx}[name](SPECS[name], count=200)
    items = [data.item(i) for i in range(count)]
    asked = [items[(i + shift) % count].attributes for i in range(count)]
    rows = prompts.READERS[name].read([change(item.media) for item in items], asked, SPECS[name])
    return {key: share for key, (share, _) in prompts.shares(rows).items()}


def check_real_pictures(change=lambda x: x):
    found = measured("image/shapes", 0, change)
    assert all(found[name] > 0.97 for name in ("count", "colour", "size", "relation")), found
    assert found["shape"] > 0.9 and found["all"] > 0.85, found


def test_real_pictures_are_read_back():
    check_real_pictures()


def test_pictures_of_other_captions_are_wrong():
    found = measured("image/shapes", 1)
    assert found["all"] < 0.1 and found["colour"] < 0.6 and found["relation"] < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("change", [lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.flip(0), lambda x: -x])
def test_planted_changes_of_pictures_are_caught(change):
    assert_caught(check_real_pictures, change)


def check_real_sounds(change=lambda x: x):
    found = measured("audio/synth_sfx", 0, change)
    print(found)
    assert all(share > 0.93 for name, share in found.items() if name != "all") and found["all"] > 0.85, found


@pytest.mark.slow
def test_real_sounds_are_read_back():
    check_real_sounds()


@pytest.mark.slow
def test_sounds_of_other_captions_are_wrong():
    found = measured("audio/synth_sfx", 1)
    print(found)
    assert found["family"] < 0.1 and found["all"] < 0.1 and found["pitch"] < 0.75


def with_noise(x):
    """The sound with noise in the place of its tones."""
    return replace_tones_by_noise([x], 8000.0)[0]


@pytest.mark.slow
@pytest.mark.parametrize("change", [lambda x: x.flip(-1), lambda x: x[:, :1200], lambda x: x[:, ::2], with_noise])
def test_planted_changes_of_sounds_are_caught(change):
    assert_caught(check_real_sounds, change)


# --- prompts ---------------------------------------------------------------------------------------------------------


def check_words(replace=prompts.replace_words):
    table = {"red": "emerald", "power-up": "bonus", "an": "no", "echo": "reverb", "echoing": "ringing"}
    assert replace("a red square, reddish", table) == "an emerald square, reddish"
    assert replace("an echoing power-up with echo", {k: v for k, v in table.items() if k != "an"}) == (
        "a ringing bonus with reverb"
    )


def test_words_are_replaced():
    check_words()


def test_planted_replacement_of_parts_of_words_is_caught():
    def parts(text, table):
        for word, other in table.items():
            text = text.replace(word, other)
        return text

    assert_caught(check_words, parts)


def check_choice():
    data = Shapes(SPECS["image/shapes"], count=200, held_out=["red circle"], split="valid", valid=0.5)
    seen, held = prompts.choose_examples(data, options()), prompts.choose_examples(data, options(held_out=True))
    assert len(seen) == 30 and 0 < len(held) < 30
    assert not any("red circle" in item.caption for item in seen) and all("red circle" in item.caption for item in held)
    other = prompts.choose_examples(data, options(wordings=True))
    assert 0.4 < sum(a.caption != b.caption for a, b in zip(seen, other, strict=True)) / 30 < 1
    assert all(torch.equal(a.media, b.media) for a, b in zip(seen, other, strict=True))


def test_held_out_pairs_and_wordings_are_chosen():
    check_choice()


def test_planted_choice_of_all_pairs_is_caught(monkeypatch):
    monkeypatch.setattr(Shapes, "is_held_out", lambda self, index: index % 2 == 0)
    assert_caught(check_choice)


@pytest.mark.parametrize("name", SPECS)
def test_held_out_pairs_of_data_without_them(name):
    data = {"image/shapes": Shapes, "audio/synth_sfx": SynthSfx}[name](SPECS[name], count=20)
    with pytest.raises(BadInput, match=r"needs a run with data\.held_out"):
        prompts.choose_examples(data, options(held_out=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_a_run_is_measured_and_drawn(kind, tiny_run, capsys, monkeypatch, tmp_path):
    sheet = tmp_path / "sheet.png"
    run = str(tiny_run(RECIPES[kind] + TRAINED))
    more = ["--held-out"] if kind == "image" else ["--wordings"]
    monkeypatch.setattr(sys, "argv", ["prompts.py", run, "--count", "3", "--synonyms", "--sheet", str(sheet), *more])
    assert prompts.main() == 0 and sheet.stat().st_size > 1000
    out = capsys.readouterr().out
    expected = "crimson disc" if kind == "image" else "token"
    assert expected in out
    for title in ("samples", "held-out", "held-out after the codec"):
        assert f"  {title}: {'relation' if kind == 'image' else 'echo'}" in out and f"  {title}: all" in out


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "words"), [("image", "takes no prompt"), ("two", "requires image/shapes or audio")])
def test_other_runs_are_refused(kind, words, tiny_run, capsys, monkeypatch):
    recipe = RECIPES["audio"].replace("synth_sfx", "synth_drums") + TRAINED
    monkeypatch.setattr(sys, "argv", ["prompts.py", str(tiny_run(kind if kind == "image" else recipe)), "--count", "2"])
    assert prompts.main() == 2 and words in capsys.readouterr().err
