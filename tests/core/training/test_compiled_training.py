"""`train.compile`: the losses of a training without it; its checkpoints are continued and sampled from as others."""

import json

import pytest
import torch
from safetensors.torch import load_file
from sonolux.core.config.load import load_recipe_text
from sonolux.core.nn import compilation
from sonolux.core.pipeline.load import load
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training import step
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput

TINY = """
recipe: 1
name: tiny
seed: 3
modality: {use: image, size: 16, channels: 1}
data: {use: image/shapes, count: 40, shapes: 1}
codec: {use: image/pixels}
network: {use: image/unet, width: 8, stages: [1], blocks: 1, patch: 4}
conditioning: {label: {use: class, drop: 0.3}}
train:
  {steps: 4, batch: 4, warmup: 0, decay: none, save_every: 4, preview_every: 100, log_every: 1, precision: float32,
   device: cpu, workers: 0, optimizer: {lr: 3.0e-2}}
sample: {use: euler, steps: 2, count: 2}
"""


@pytest.fixture(autouse=True)
def fresh_compiler(monkeypatch):
    """No compiled functions of other tests, and a compiler that is ready at once."""
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def run_of(folder, *changes) -> TrainingRun:
    return TrainingRun(
        load_recipe_text(TINY, overrides=list(changes), bare_section=None), folder, lambda _: None, False
    )


def train(folder, *changes, resume=None):
    """Train; the checkpoint, and the lines of the log."""
    run = run_of(folder, *changes)
    run.prepare(resume)
    return run.run(), [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def check_same_losses(folder) -> None:
    """The losses and gradient norms of four steps are those of a training that is not compiled, to 1e-5."""
    _, plain = train(folder / "plain", "train.compile=false")
    _, compiled = train(folder / "compiled", "train.compile=true")
    for found, row in zip(compiled, plain, strict=True):
        assert found["loss"] == pytest.approx(row["loss"], rel=1e-5)
        assert found["grad_norm"] == pytest.approx(row["grad_norm"], rel=1e-4)


def test_same_losses_and_checkpoints(tmp_path):
    check_same_losses(tmp_path)
    files = [tmp_path / name / "checkpoints/step-00000004.safetensors" for name in ("plain", "compiled")]
    plain, compiled = map(load_file, files)
    assert plain.keys() == compiled.keys() and any(name.startswith("ema.") for name in plain)
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-4, atol=1e-5)
    made = load(tmp_path / "compiled", "cpu").sample(), load(tmp_path / "plain", "cpu").sample()
    torch.testing.assert_close(*(samples.media for samples in made), rtol=1e-3, atol=1e-3)
    last, _ = train(tmp_path / "compiled", "train.compile=false", "train.steps=5", resume=files[1])
    again, _ = train(tmp_path / "plain", "train.compile=true", "train.steps=5", resume=files[0])
    assert last.stem == again.stem == "step-00000005"


def test_planted_error_is_caught(tmp_path, monkeypatch):
    def inexact(graph, inputs):
        return lambda *given: [one + 0.01 * one.abs() for one in graph(*given)]  # a factor would be normalised

    monkeypatch.setattr(compilation, "BACKEND", inexact)
    assert_caught(check_same_losses, tmp_path)


def test_run_says_what_it_compiles(tmp_path):
    run = run_of(tmp_path / "run", "train.compile=true")
    run.prepare()
    assert run.trainer.compiled == 1 and "compiles 1 block: the first steps are slow" in run.describe()
    averaged = run.trainer.ema.model.network.modules()
    assert not any("forward" in vars(module) for module in averaged)  # previews have other sizes
    run.close()


def test_auto_is_off_on_the_cpu(tmp_path):
    run = run_of(tmp_path / "run")
    run.prepare()
    assert run.recipe.train.compile == "auto" and run.trainer.compiled == 0
    assert not any("compiles" in line for line in run.describe())
    run.close()


def test_network_without_blocks_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(step, "find_blocks", lambda network: [])
    with pytest.raises(BadInput, match=r"train\.compile: the network has none of the blocks of sonolux"):
        run_of(tmp_path / "run", "train.compile=true").prepare()
    assert not (tmp_path / "run").exists()


def test_missing_compiler_is_refused_or_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(step, "find_compiler_error", lambda device: "no g++")
    with pytest.raises(BadInput, match=r"torch cannot compile for cpu here \(no g\+\+\): set train\.compile=false"):
        run_of(tmp_path / "run", "train.compile=true").prepare()
    run = run_of(tmp_path / "run")
    run.prepare()
    run.trainer.device = torch.device("cuda")  # where auto compiles
    with pytest.warns(UserWarning, match=r"the network is not compiled, .* for cuda here \(no g\+\+\)"):
        assert run.trainer._compile() == 0
    run.close()
