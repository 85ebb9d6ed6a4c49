"""The benchmark for one GPU: its changes of the recipe are valid, and it prints what training and evaluation wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from sonolux.core.config.load import load_recipe

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import gpu_emoji


@pytest.mark.parametrize("settings", [gpu_emoji.LARGE, gpu_emoji.SMALL])
def test_its_changes_are_valid_for_the_recipe(settings, tmp_path):
    recipe = load_recipe("emoji", gpu_emoji.overrides(settings | {"data.root": str(tmp_path)}))
    assert recipe.network.use == "image/dit" and recipe.train.batch == settings["train.batch"]


def test_its_pictures_have_captions(tmp_path):
    folder = gpu_emoji.make_pictures(tmp_path / "pictures", count=3)
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 3 and all((folder / row["file"]).is_file() and row["caption"] for row in rows)


def test_the_table_has_steps_and_retrieval_beside_real_pictures(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 6, "loss": 0.5, "samples_per_s": 20.0}) + "\n")
    figure = {"value": 0.25, "references": {"real pictures": {"value": 0.75}}}
    (tmp_path / "metrics.json").write_text(json.dumps({"figures": {"Prompts": {"known prompts": figure}}}))
    lines = gpu_emoji.results(tmp_path, tmp_path).text().splitlines()
    assert lines[1].split() == ["steps", "6"]
    assert lines[-1].split() == ["known", "prompts", "0.25", "real", "pictures", "0.75"]


def test_without_a_folder_it_says_what_to_give(tmp_path, capsys):
    assert gpu_emoji.main(["--out", str(tmp_path)]) == 2
    assert "--smoke" in capsys.readouterr().err
