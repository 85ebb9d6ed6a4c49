"""Every recipe that ships is trained for a few steps on embedded data or made files of its shape, sampled, saved."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import sonolux
import soundfile
import torch
from PIL import Image
from sonolux.core.config.load import load_recipe, packaged_recipes
from sonolux.core.pipeline.result import Samples
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.run import TrainingRun

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from golden_losses import recipe_text

REAL = {
    "image/digits": "digits",
    "image/cifar10": "cifar10",
    "audio/spoken_digits": "spoken_digits",
    "audio/sfx_folder": "sfx",
}
FEW = ["train.steps=2", "train.minutes=null", "train.batch=2", "train.preview_every=99", "train.save_every=99"]
CHEAP = ["sample.steps=2", "sample.count=2", "sample.batch=2"]


def pictures(root: Path, grey: bool) -> Path:
    """Two folders of small pictures, twelve files each."""
    rng = np.random.default_rng(0)
    for name in ("0", "1"):
        (root / name).mkdir(parents=True)
        for i in range(12):
            shape = (40, 36) if grey else (40, 36, 3)
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


def sounds(root: Path) -> Path:
    """Two folders of short tones, twelve files each."""
    rng = np.random.default_rng(0)
    for name in ("0", "1"):
        (root / name).mkdir(parents=True)
        for i in range(12):
            t = np.arange(6000) / 8000
            tone = np.sin(2 * np.pi * rng.uniform(200, 900) * t) * np.exp(-4 * t)
            soundfile.write(root / name / f"{i}.wav", 0.5 * tone, 8000)
    return root


def data_for(name: str, tmp_path: Path) -> list[str]:
    """Overrides that give a recipe data of its own shape."""
    text = recipe_text(name)
    if "root: null" not in text:
        return ["data.count=64"]
    made = sounds(tmp_path / "data") if name.startswith("audio") else pictures(tmp_path / "data", "digits" in name)
    if "use: text" not in text:
        return [f"data.root={made}"]
    files = sorted(path for path in made.rglob("*.*") if path.is_file())
    rows = [{"file": str(f.relative_to(made)), "caption": f"number {f.stem}", "style": "noto"} for f in files]
    table = tmp_path / "captions.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [f"data.root={made}", f"data.table={table}"]


def run(name: str, changes: list[str], folder: Path) -> Samples:
    """Train, load, sample, save."""
    short = ["codec.steps=2"] if name.endswith("latent_shapes") else []  # of a codec that is trained
    job = TrainingRun(load_recipe(name, [*FEW, *CHEAP, *short, *changes]), folder, say=lambda _: None, bar=False)
    job.prepare()
    job.run()
    samples = sonolux.load(folder, device="cpu").sample()
    samples.save(folder / "out")
    return samples


@pytest.mark.slow
@pytest.mark.parametrize("name", packaged_recipes())
def test_a_recipe_trains_and_samples(name, tmp_path):
    samples = run(name, data_for(name, tmp_path), tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run").name == "step-00000002.safetensors"
    count = 4 if "use: text" in recipe_text(name) else 2  # one sample for each prompt of the recipe
    assert len(samples) == count and all(bool(torch.isfinite(m).all()) for m in samples.media)
    facts = json.loads((tmp_path / "run/out/samples.json").read_text())
    assert [(tmp_path / "run/out" / row["file"]).stat().st_size > 44 for row in facts["samples"]] == [True] * count
    assert (tmp_path / "run/out/sheet.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_recipe_trains_on_real_data(name, tmp_path):
    if "SONOLUX_DATA" not in os.environ:
        pytest.skip("SONOLUX_DATA is not set")
    root = Path(os.environ["SONOLUX_DATA"]).resolve() / REAL[name]
    folders = [path for path in root.iterdir() if path.is_dir()]
    for folder in folders:  # the first of each class: the tests of the data sets read all of them
        (tmp_path / "data" / folder.name).mkdir(parents=True)
        for file in sorted(path for path in folder.iterdir() if path.is_file())[:30]:
            shutil.copy(file, tmp_path / "data" / folder.name)
    data = tmp_path / "data" if folders else root
    assert len(run(name, [f"data.root={data}"], tmp_path / "run")) == 2


@pytest.mark.parametrize("name", packaged_recipes())
def test_a_recipe_opens_with_its_command(name):
    first = packaged_recipes()[name].read_text().splitlines()[0]
    needs = "root: null" in recipe_text(name)
    assert first.startswith("# sonolux train ") and ("data.root=" in first) == needs
    assert first.split()[3] in (name, name.rpartition("/")[2])
