"""A folder and classes whose names YAML would change: trained on and sampled by the command, word for word."""

import json
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image
from sonolux.core.cli.main import main

NAMES = ("007", "3.1", "true", "cafe\u0301", "kick #2", "&amp", "null", "a: b", "[x] y", "cycle")
RECIPE = """
recipe: 1
name: 007
modality: {use: image, size: 8, channels: 3}
data: {use: image/folder, root: null, split: {valid: 0}}
codec: image/pixels
network: {use: image/unet, width: 8, stages: [1], blocks: 1}
conditioning: {label: {use: class}}
train: {steps: 1, batch: 4, warmup: 0, preview_every: 100, precision: float32, device: cpu}
sample: {use: dpmpp_2m, steps: 2, count: 1}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The working folder with a run on pictures in `kit #2`."""
    root, rng = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    for name in NAMES:
        for i in range(2):
            path = root / "kit #2" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    (root / "r.yaml").write_text(RECIPE)
    before = os.getcwd()
    os.chdir(root)
    try:
        assert main(["train", "r.yaml", "data.root=kit #2", "--quiet"]) == 0
    finally:
        os.chdir(before)
    return root


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*cycle is every value")
@pytest.mark.parametrize(
    ("label", "want"),
    [
        *((name, unicodedata.normalize("NFC", name)) for name in NAMES if name not in ("null", "cycle", "[x] y")),
        ("caf\u00e9", "caf\u00e9"),
        ("'null'", "null"),
        ("[cycle]", "cycle"),
        ("'[x] y'", "[x] y"),
        ('{007: 0.5, "kick #2": 0.5}', {"007": 0.5, "kick #2": 0.5}),
        ("0", "3.1"),
    ],
)
def test_every_class_can_be_asked_for(place, monkeypatch, tmp_path, capsys, label, want):
    monkeypatch.chdir(place)
    code = main(["sample", "runs/007", f"label={label}", "--out", str(tmp_path / "o"), "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    (row,) = json.loads(told.out)["samples"]
    assert row["label"] == want


def test_a_class_called_null_is_not_null_without_a_word(place, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(place)
    with pytest.warns(UserWarning, match="label=null is unconditional; the class of this name is label=\"'null'\""):
        assert main(["sample", "runs/007", "label=null", "--out", str(tmp_path / "o"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"][0]["label"] is None


@pytest.mark.slow
@pytest.mark.parametrize("label", ["[a: b]", "{007: 0.5, kick #2: 0.5}", "[x] y", "07", "kick", "True"])
def test_a_label_that_is_no_class_is_refused_in_one_line(place, monkeypatch, tmp_path, capsys, label):
    monkeypatch.chdir(place)
    code = main(["sample", "runs/007", f"label={label}", "--out", str(tmp_path / "o"), "--json"])
    told = capsys.readouterr()
    assert code == 2 and told.out == "" and len(told.err.splitlines()) == 1 and len(told.err) <= 201, told.err
