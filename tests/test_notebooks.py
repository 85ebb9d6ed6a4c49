"""The notebooks of the docs: their cells run, with few steps, and what is stored in them is what such cells show."""

import warnings
from pathlib import Path

import nbformat
import pytest
import sonolux
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.core.pipeline.result import Samples
from sonolux.core.testing.mutation import assert_caught

FOLDER = Path(sonolux.__file__).resolve().parent / "docs/notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 1_000_000  # of a notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def last_value(source, names):
    """Run a cell; the value of its last line, if that is an expression, as a notebook shows it."""
    import ast

    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def quick(monkeypatch):
    """Every sampling takes two steps, an exact inversion six, and makes at most two samples."""
    for name in ("sample", "vary", "inpaint", "morph", "reprompt"):
        true = getattr(Pipeline, name)

        def few(self, *args, true=true, **options):
            counts = {"count": min(2, options["count"])} if "count" in options else {}
            return true(self, *args, **{**options, "steps": 6 if true.__name__ == "reprompt" else 2, **counts})

        monkeypatch.setattr(Pipeline, name, few)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_run_and_show_samples(path, tmp_path, monkeypatch):
    quick(monkeypatch)
    monkeypatch.chdir(tmp_path)
    names, shown = {}, 0
    for cell in code_cells(nbformat.read(path, as_version=4)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = last_value(cell.source, names)
        stored = [one.data for one in cell.outputs if one.output_type == "execute_result"]
        assert bool(stored) is (value is not None), cell.source
        if isinstance(value, Samples):
            shown += 1
            assert stored[0]["text/html"].count("<figure") >= len(value) and value._repr_html_().count("<figure") > 0
    assert shown >= 5


def check_outputs(notebook):
    """Every code cell was run, in order and without error, and its samples are stored with their media."""
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    pages = [one.data.get("text/html", "") for cell in cells for one in cell.outputs if one.output_type != "stream"]
    assert sum("data:image/png;base64," in page for page in pages) >= 5
    assert all(one.output_type in ("execute_result", "stream") for cell in cells for one in cell.outputs)
    assert all(cell.outputs for cell in cells)


def test_there_is_one_for_each_modality():
    assert [path.stem for path in NOTEBOOKS] == ["pictures", "sounds"]
    assert "data:audio/wav;base64," in (FOLDER / "sounds.ipynb").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_outputs_are_stored(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < MOST_BYTES
    check_outputs(notebook)
    code_cells(notebook)[1].outputs = []
    assert_caught(check_outputs, notebook)
