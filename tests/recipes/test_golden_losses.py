"""The first 20 losses of every recipe that ships are those that were written down."""

import importlib
import sys
from pathlib import Path

import pytest
from sonolux.core.config.load import packaged_recipes
from sonolux.core.objectives.denoising import Denoising

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
golden = importlib.import_module("golden_losses")


def check_losses(name: str, folder: Path) -> None:
    """A recipe gives the losses of its file, with the changes that the file's head names."""
    kept = golden.read(golden.FOLDER / f"{name}.txt")
    assert len(kept.losses) == golden.STEPS
    wrong = golden.differences(kept, golden.losses_of(name, list(kept.changes), folder))
    assert not wrong, f"losses of {name} changed; if that is meant, run benchmarks/golden_losses.py: {'; '.join(wrong)}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # made sounds have a lower rate than some recipes
@pytest.mark.parametrize("name", packaged_recipes())
def test_losses_are_what_they_were(name, tmp_path):
    check_losses(name, tmp_path)


@pytest.mark.slow
def test_planted_loss_that_is_a_little_larger_is_caught(tmp_path, monkeypatch):
    error = Denoising.error
    monkeypatch.setattr(Denoising, "error", lambda *given: error(*given) * 1.0003)
    with pytest.raises(AssertionError, match=r"losses of image/shapes changed.*step 1:"):
        check_losses("image/shapes", tmp_path)


def test_an_unknown_recipe_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["golden_losses.py", "image/shapez"])
    with pytest.raises(SystemExit) as stop:
        golden.main()
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "there is no recipe 'image/shapez'" in said and "image/shapes" in said


def test_every_file_belongs_to_a_recipe():
    held = {path.relative_to(golden.FOLDER).with_suffix("").as_posix() for path in golden.FOLDER.rglob("*.txt")}
    assert held == set(packaged_recipes())
