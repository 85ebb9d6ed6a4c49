"""The benchmark of references: what it reads of examples, the difference at the edge of a part, and a whole table."""

import ast
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import sonolux
import torch
from sonolux.core.testing.mutation import assert_caught, mutated_function, swap_operator
from sonolux.core.types import BadInput, MediaSpec
from sonolux.modalities.image.datasets.shapes import Shapes

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import references

PICTURE = MediaSpec("image", 3, ("height", "width"), (32, 32))


def check_edge(measure):
    """A ramp of slope 0.25 has that difference everywhere, and a step of 1 only where it is."""
    ramp = torch.arange(8.0).expand(1, 2, 8) / 4
    step = torch.cat([torch.zeros(1, 2, 4), torch.ones(1, 2, 4)], -1)
    assert measure([ramp], 4) == pytest.approx(0.25) and measure([ramp, step], 4) == pytest.approx(0.625)
    assert measure([step], 3) == 0


def test_difference_at_the_edge():
    check_edge(references.edge_difference)


def test_planted_sum_is_caught():
    assert_caught(check_edge, mutated_function(references.edge_difference, swap_operator(ast.Sub, ast.Add, at=1)))


def test_checker_reads_the_main_shape_and_its_colour():
    data = Shapes(PICTURE, count=60)
    items = [data.item(i) for i in range(30)]
    wanted = [item.attributes["things"][0] for item in items]
    found = references.read_answers([item.media for item in items], "image/shapes", PICTURE)
    right = [one == [(thing["shape"], thing["colour"])] for one, thing in zip(found["as real"], wanted, strict=True)]
    assert sum(right) > 0.85 * len(right)
    numbers = [len(item.attributes["things"]) for item in items]
    assert sum(a == b for a, b in zip(found["number"], numbers, strict=True)) > 0.95 * len(numbers)
    grey = [item.media.mean(0, keepdim=True).expand(3, -1, -1) for item in items]
    assert references.read_answers(grey, "image/shapes", PICTURE)["as real"] != found["as real"]
    with pytest.raises(BadInput, match=r"image/folder: this benchmark requires image/shapes, audio/synth_sfx"):
        references.read_answers([], "image/folder", PICTURE)


def check_second_half(complete, run, folder):
    """The first half of a picture stays as it is, and the second one is made anew."""
    pipeline = sonolux.load(run, changes=["steps=1"], device="cpu")
    files = references.write_examples(pipeline, folder, 2)
    given = torch.stack([pipeline.components.modality.read(file) for file in files])
    changed = (torch.stack(complete(pipeline, files, 0, trained=False)) - given).abs().amax((0, 1, 2)) > 0.02
    half = given.shape[-1] // 2
    assert not changed[:half].any() and changed[half:].all()


def test_the_second_half_is_made_anew(tiny_run, tmp_path):
    check_second_half(references.complete, tiny_run("image"), tmp_path)


def test_planted_first_half_is_caught(tiny_run, tmp_path):
    def first_half(pipeline, files, seed, trained):
        return pipeline.inpaint(files, box=[0, 0, 8, 16], seed=seed).media

    assert_caught(check_second_half, first_half, tiny_run("image"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image/inpaint_shapes", "audio/bandwidth_sfx"])
def test_table_of_a_run(name, tiny_run, tmp_path):
    small = ["network.width=16", "train.steps=1", "train.minutes=null", "train.batch=4", "train.precision=float32"]
    run = tiny_run(f"recipe: 1\nextends: {name}\nname: tiny\n", *small)
    sheet = tmp_path / "sheet.png"
    table = references.measure(str(run), Namespace(count=2, seed=0, set=["steps=2"], sheet=str(sheet)))
    assert len(table.figures) == (8 if "inpaint" in name else 4)
    assert all(figure.value >= 0 for figure in table.figures) and sheet.stat().st_size > 1000


def test_a_run_without_a_reference_is_refused(tiny_run):
    arguments = Namespace(count=2, seed=0, set=[], sheet=None)
    with pytest.raises(BadInput, match="without a reference"):
        references.measure(str(tiny_run("image")), arguments)
