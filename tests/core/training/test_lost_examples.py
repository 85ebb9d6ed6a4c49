"""Files that are removed or cut during training: counted and replaced, up to a share, then a stop that can go on."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from sonolux.core.config.load import load_recipe
from sonolux.core.training.callbacks import Callback
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput

RECIPE = """
recipe: 1
name: tiny
seed: 3
modality: {use: audio, rate: 4000, seconds: 0.1}
data: {use: audio/folder, root: ROOT, label: none, cache: none, split: {by: hash, valid: 0}}
codec: {use: audio/waveform, patch: 16}
network: {use: audio/unet, width: 8, stages: [1], blocks: 1, attention: [], head_dim: 8}
train: {steps: 12, batch: 4, warmup: 1, save_every: 100, keep: 9, preview_every: 100, precision: float32, device: cpu}
sample: {use: heun, steps: 2, count: 2}
"""


@pytest.fixture
def sounds(tmp_path):
    """Twenty sounds, and a recipe that reads them at each access."""
    root = tmp_path / "sounds"
    root.mkdir()
    for i in range(20):
        soundfile.write(root / f"{i}.wav", np.random.default_rng(i).normal(size=600).clip(-3, 3) * 0.1, 4000)
    (tmp_path / "tiny.yaml").write_text(RECIPE.replace("ROOT", str(root)))
    return root


class After(Callback):
    """Does something to the files after a step."""

    def __init__(self, step: int, act):
        self.step, self.act = step, act

    def on_step(self, run, result) -> None:
        if run.step == self.step:
            self.act()


def made(sounds: Path, folder: str, *changes: str, callbacks=(), said=None, resume=None) -> TrainingRun:
    loaded = load_recipe(sounds.parent / "tiny.yaml", list(changes))
    say = (lambda text: None) if said is None else said.append
    run = TrainingRun(loaded, sounds.parent / folder, say=say, bar=False, callbacks=callbacks)
    run.prepare(resume)
    return run


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:600])


HARM = {"removed": (Path.unlink, "no such file"), "cut": (halve, "is truncated: 556 of 1200 bytes are there")}


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("workers", [0, 2])
def test_training_goes_on_without_one_sound(sounds, harm, workers):
    act, reason = HARM[harm]
    said: list[str] = []
    lose = After(2, lambda: act(sounds / "7.wav"))
    run = made(sounds, "run", f"train.workers={workers}", "train.steps=20", callbacks=[lose], said=said)
    with pytest.warns(
        UserWarning, match=rf"7\.wav: {reason}.*; the next example in the order takes its place"
    ) as notes:
        run.run()
    assert run.step == 20 and len(notes) == 1
    assert said[-1].startswith(f"1 of 20 examples could not be used: {sounds}/7.wav: {reason}")


@pytest.mark.slow
def test_the_weights_do_not_depend_on_the_workers(sounds):
    weights = []
    for workers in (0, 1, 2):
        run = made(sounds, f"run {workers}", f"train.workers={workers}")
        content = (sounds / "7.wav").read_bytes()
        (sounds / "7.wav").unlink()  # after the folder was read
        with pytest.warns(UserWarning, match="takes its place"):
            weights.append(load_file(run.run()))
        (sounds / "7.wav").write_bytes(content)
    assert all(torch.equal(weights[0][k], other[k]) for other in weights[1:] for k in weights[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = load_file(made(sounds, "whole").run())
    assert not all(torch.equal(weights[0][k], whole[k]) for k in whole), "the replacement changes nothing"


@pytest.mark.slow
def test_too_many_lost_sounds_stop_the_run_which_goes_on_when_they_are_back(sounds):
    whole = load_file(made(sounds, "whole").run())
    away = sounds.with_name("away")
    run = made(sounds, "run", callbacks=[After(5, lambda: sounds.rename(away))])
    expected = (
        r"^2 of 20 examples can no longer be used, more than 5 %: .*no such file; .*no such file\. Step 5 is saved; "
    )
    with pytest.raises(BadInput, match=expected + r"with the files back, continue with: sonolux train --resume .*run$"):
        run.run()
    saved = newest_checkpoint(sounds.parent / "run")
    assert saved.name == "step-00000005.safetensors"
    away.rename(sounds)
    resumed = load_file(made(sounds, "run", resume=saved).run())
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


@pytest.mark.slow
def test_too_many_lost_sounds_stop_workers_too(sounds):
    run = made(sounds, "run", "train.workers=2", callbacks=[After(1, lambda: sounds.rename(sounds.with_name("away")))])
    with pytest.raises(BadInput, match=r"examples can no longer be used, more than 5 %: .* Step \d+ is saved"):
        run.run()
    assert newest_checkpoint(sounds.parent / "run").stem == f"step-{run.step:08d}"
