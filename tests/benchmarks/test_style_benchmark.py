"""The benchmark of styles: distances of samples to their own files and to others, and a whole table."""

import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught, mutated_function, swap_name
from sonolux.core.types import BadInput

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import style


def check_distances(compare):
    """Files at 0, 3 and 6; samples at 1, 3 and 2: the last one is nearer to the second file than to its own."""
    files, samples = torch.tensor([[0.0], [3.0], [6.0]]).double(), torch.tensor([[1.0], [3.0], [2.0]]).double()
    found = compare(samples, files)
    assert found.found == pytest.approx(2 / 3)
    assert found.distance == pytest.approx(((1 + 0 + 4) / 3) / ((2 + 5 + 3 + 3 + 2 + 1) / 6))


def test_distances():
    check_distances(style.compare_styles)


def test_planted_swap_of_samples_and_files_is_caught():
    assert_caught(check_distances, mutated_function(style.compare_styles, swap_name("samples", "files")))


def test_table_of_a_run(tiny_run, tmp_path):
    run = tiny_run("image", "conditioning.style={use: embedding, features: image/colour_stats}")
    sheet = tmp_path / "sheet.png"
    table = style.measure(str(run), Namespace(count=3, seed=0, set=["steps=2"], sheet=str(sheet)))
    found, distance, copies = (figure.value for figure in table.figures)
    assert 0 <= found <= 1 and distance > 0 and copies > 0 and sheet.stat().st_size > 500


def check_own_files(order, run, monkeypatch):
    """Samples that are their own files are found, at distance 0."""

    def read_files(pipeline, count, seed, conditions, progress):
        return SimpleNamespace(media=[pipeline.components.modality.read(Path(path)) for path in conditions["style"]])

    monkeypatch.setattr(style.Pipeline, "sample", lambda *args, **given: order(read_files(*args, **given)))
    table = style.measure(str(run), Namespace(count=4, seed=0, set=[], sheet=None))
    assert [figure.value for figure in table.figures] == pytest.approx([1.0, 0.0, 0.0], abs=1e-5)


def test_each_sample_is_compared_with_its_own_file(tiny_run, monkeypatch):
    run = tiny_run("image", "conditioning.style={use: embedding, features: image/colour_stats}")
    check_own_files(lambda made: made, run, monkeypatch)
    assert_caught(check_own_files, lambda made: SimpleNamespace(media=made.media[::-1]), run, monkeypatch)


def test_a_run_without_a_style_is_refused(tiny_run):
    with pytest.raises(BadInput, match="without a condition `embedding`"):
        style.measure(str(tiny_run("image")), Namespace(count=2, seed=0, set=[], sheet=None))
