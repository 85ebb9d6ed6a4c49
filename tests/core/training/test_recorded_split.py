"""The split of a run on files: every class is trained, and a run that is continued keeps the split that it recorded."""

import json

import numpy as np
import pytest
from PIL import Image
from sonolux.core.config.load import load_recipe
from sonolux.core.data.files import content_hash
from sonolux.core.data.splits import assign_split
from sonolux.core.evaluation.examples import load_real_data
from sonolux.core.training import restore
from sonolux.core.training.run import TrainingRun

RECIPE = """
recipe: 1
seed: 3
modality: {use: image, size: 8, channels: 3}
data: {use: image/folder, root: pictures, split: {by: hash, valid: 0.6}}
codec: image/pixels
network: {use: image/unet, width: 8, stages: [1], blocks: 1}
conditioning: {label: {use: class}}
train: {steps: 1, batch: 2, warmup: 0, preview_every: 100, precision: float32, device: cpu}
sample: {use: dpmpp_2m, steps: 2, count: 1}
"""


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of two classes: all of `rare` would be held out by their hashes."""
    root = tmp_path_factory.mktemp("split")
    for i in range(6):
        picture(root / "pictures" / "often" / f"{i}.png", i)
    found, seed = 0, 100
    while found < 3:
        path = picture(root / "pictures" / "rare" / f"{found}.png", seed)
        found, seed = found + (assign_split(content_hash(path), 0.6, 3) == "valid"), seed + 1
    (root / "r.yaml").write_text(RECIPE)
    return root


def trained(folder, out, resume=None):
    said = []
    job = TrainingRun(load_recipe(folder / "r.yaml"), out, say=said.append, bar=False)
    job.prepare(resume)
    return job, said


def labels(data):
    return [row["label"] for row in data.manifest()]


def check_continued(folder, out):
    """Both the run that follows the rule for classes and one that recorded another split continue with theirs."""
    job, _ = trained(folder, out)
    assert labels(job.trainer.data).count("rare") == 1
    checkpoint, rows = job.run(), (out / "data.jsonl").read_text().splitlines()
    for kept in (rows, [row for row in rows if json.loads(row)["label"] == "often"]):
        (out / "data.jsonl").write_text("".join(row + "\n" for row in kept))
        job, said = trained(folder, out, checkpoint)
        assert labels(job.trainer.data) == [json.loads(row)["label"] for row in kept] and said == []


@pytest.mark.slow
def test_every_class_is_trained_and_a_recorded_split_is_kept(folder, tmp_path):
    check_continued(folder, tmp_path / "run")


def test_planted_resumption_without_the_record_is_caught(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(restore, "recorded_training_hashes", lambda path: frozenset())
    with pytest.raises(AssertionError):
        check_continued(folder, tmp_path / "run")


def test_evaluation_holds_out_what_the_run_did_not_train_on(folder):
    recipe = load_recipe(folder / "r.yaml")
    new, old = load_real_data(recipe, 100), None
    often = [content_hash(path) for path in sorted((folder / "pictures" / "often").iterdir())]
    before = frozenset(name for name in often if assign_split(name, 0.6, 3) == "train")
    old = load_real_data(recipe, 100, before)
    assert len(old.train) == len(new.train) - 1 == len(before) and len(old.held_out) == len(new.held_out) + 1
