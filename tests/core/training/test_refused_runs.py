"""What is refused before a training begins: folders that take no files, names, conditions that the data cannot meet."""

import io
from pathlib import Path

import pytest
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe
from sonolux.core.training.run import TrainingRun
from sonolux.core.training.run_dir import check_writable
from sonolux.core.types import BadInput


@pytest.fixture
def recipe(tiny_recipe, tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    return tmp_path / "tiny.yaml"


def check_that_a_folder_takes_files(tmp_path):
    """A place that rights alone call writable is found out, nothing stays behind, and a good one is accepted."""
    for place in (Path("/proc/nowhere/run"), Path("/dev/null/run"), tmp_path / ("x" * 300)):
        with pytest.raises(BadInput, match=r"--out|too long for the name"):
            check_writable(place)
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "note").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    for place in (tmp_path / "a" / "b", tmp_path / "held", tmp_path / "held" / "c"):
        check_writable(place)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_is_tried(tmp_path):
    check_that_a_folder_takes_files(tmp_path)


def test_planted_trust_in_rights_alone_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "mkdir", lambda self, **options: None)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **options: io.BytesIO())
    with pytest.raises(pytest.fail.Exception):
        check_that_a_folder_takes_files(tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", "/tmp/x", "..", ".", "a\\b", " x", "'a\tb'", "''"])
def test_a_name_that_is_no_plain_folder_is_refused(recipe, name):
    with pytest.raises(BadInput, match=r"name=.*: .* cannot name a run folder.*--out"):
        load_recipe(recipe, [f"name={name}" if name[0] != " " else f'name="{name}"'])
    assert load_recipe(recipe, ["name=größer als 1.5"]).name == "größer als 1.5"


def test_a_condition_that_the_data_says_nothing_to_is_refused(recipe, tmp_path, capsys):
    change = "condition.pitch={use: scalar, key: pitch, range: [0, 1]}"
    with pytest.raises(BadInput, match=r"conditioning\.pitch: no example has the attribute `pitch`; .*label"):
        TrainingRun(load_recipe(recipe, [change]), tmp_path / "run", bar=False).prepare()
    assert not (tmp_path / "run").exists()
    assert main(["recipe", "validate", str(recipe), change]) == 0
    assert main(["recipe", "validate", "--data", str(recipe), change]) == 2
    assert "attribute `pitch`" in capsys.readouterr().err
    assert main(["recipe", "validate", "--data", str(recipe)]) == 0


def test_planted_trust_in_conditions_is_caught(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("sonolux.core.training.run.check_conditions", lambda parts, data: None)
    with pytest.raises(pytest.fail.Exception):
        test_a_condition_that_the_data_says_nothing_to_is_refused(recipe, tmp_path, None)
