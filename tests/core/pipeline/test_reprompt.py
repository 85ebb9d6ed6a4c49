"""Changing the prompt or the class of files: the round trip, and what is refused."""

import sys
from pathlib import Path

import pytest
import sonolux
import torch
from PIL import Image
from sonolux.core.cli import main as cli
from sonolux.core.pipeline import loaded_model
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput

sys.path.insert(0, str(Path(__file__).parents[2]))
from _text_network import RECIPE

NO_GUIDANCE = {"guidance": None}


@pytest.fixture(scope="module")
def captioned_run(tiny_run):
    return tiny_run(RECIPE, wake=0.3)


@pytest.fixture(scope="module")
def captioned(captioned_run):
    return sonolux.load(captioned_run, device="cpu", allow_code=True)


@pytest.fixture(scope="module")
def pictures(tiny_run, opened):
    return opened(tiny_run("image"))


@pytest.fixture
def picture(tmp_path):
    pixels = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(0))
    Image.fromarray((255 * pixels).byte().numpy()).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_under_the_prompt_of_the_file_the_file_comes_back(captioned, picture):
    made = captioned.reprompt(picture, "a red circle", source="a red circle", steps=8, **NO_GUIDANCE)
    other = captioned.reprompt(picture, "a blue square", source="a red circle", steps=8, **NO_GUIDANCE)
    given = captioned.components.modality.read(picture)
    assert torch.allclose(made.media[0], given, atol=1e-3)
    assert not torch.allclose(other.media[0], given, atol=1e-3)
    assert made.conditions == [{"caption": "a red circle", "source": "a"}]
    assert (made.settings["edit"], made.settings["source"]) == ("reprompt", "a red circle")


def test_classes_take_a_label(pictures, picture):
    first, second = pictures.classes[:2]
    made = pictures.reprompt(picture, label=first, source=first, strength=1.0, steps=6, **NO_GUIDANCE)
    assert torch.allclose(made.media[0], pictures.components.modality.read(picture), atol=1e-3)
    assert pictures.reprompt(picture, label=second, source=first, steps=6).conditions[0]["label"] == second


def test_the_folder_is_the_class_of_a_file(pictures, picture):
    name = pictures.classes[1]
    (picture.parent / name).mkdir()
    file = picture.rename(picture.parent / name / "a.png")
    by_folder, by_name = (
        pictures.reprompt(file, label=pictures.classes[0], steps=6, **given).media[0]
        for given in ({}, {"source": name})
    )
    assert torch.equal(by_folder, by_name)
    nothing = picture.parent / "b.png"
    nothing.write_bytes(file.read_bytes())
    assert not torch.equal(by_folder, pictures.reprompt(nothing, label=pictures.classes[0], steps=6).media[0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "reprompt needs what the file becomes"),
        ({"prompt": "a red circle"}, "this model takes no prompt"),
        ({"label": 0, "use": "heun"}, "use=heun has no effect on reprompt, which takes belm"),
        ({"label": 0, "loop": True}, "loop has no effect on reprompt"),
        ({"label": 0, "steps": 1}, "take more steps"),
        ({"label": 0, "source": "nothing"}, "nothing"),
        ({"label": 0, "strength": 2.0}, "strength"),
    ],
    ids=str,
)
def test_a_wish_that_cannot_be_met_is_refused(pictures, picture, given, said):
    with pytest.raises(BadInput, match=said):
        pictures.reprompt(picture, **given)


def test_the_command(captioned_run, picture, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["edit", str(captioned_run), "reprompt", str(picture)]
    assert cli.main([*words, "a red circle", "source=a blue square", "steps=4", "--allow-code", "--out", str(out)]) == 0
    assert len(list(out.glob("0000*.png"))) == 1
    capsys.readouterr()
    assert cli.main([*words, "--allow-code", "--out", str(tmp_path / "none")]) == 2
    assert "reprompt needs what the file becomes" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def check_recipe_prompt(captioned, picture):
    """The prompts of a recipe are those of its samples, not of a file."""
    run = captioned.__class__(captioned.components, captioned.model, 0, captioned.device)
    run.recipe = run.recipe.with_overrides([("sample.prompt", ["a red circle", "a blue square"])])
    made = run.vary(picture, 0.5, count=2, steps=4)
    assert [row["caption"] for row in made.conditions] == [None, None]
    given = run.vary(picture, 0.5, count=2, steps=4, prompt="a red circle")
    assert [row["caption"] for row in given.conditions] == ["a red circle"] * 2


def test_a_file_is_not_edited_under_the_prompts_of_the_recipe(captioned, picture):
    check_recipe_prompt(captioned, picture)


def test_planted_prompts_of_the_recipe_are_caught(captioned, picture, monkeypatch):
    monkeypatch.setattr(loaded_model, "OF_SAMPLES", {"label": None})
    assert_caught(check_recipe_prompt, captioned, picture)
