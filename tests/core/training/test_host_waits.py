"""A training step, windows and inpainting do not wait for the device: `meta` stands for it, see `HostCopyRecorder`."""

import contextlib

import pytest
import torch
from sonolux.core.conditioning import base
from sonolux.core.conditioning.class_ import Class
from sonolux.core.conditioning.encoders._transformer import TokenTransformer
from sonolux.core.conditioning.labels import Labels
from sonolux.core.conditioning.scalar import Scalar
from sonolux.core.config.load import load_recipe_text
from sonolux.core.editing.inpaint import InpaintEdit
from sonolux.core.editing.window_operator import WindowOperator
from sonolux.core.editing.windows import WindowedEdit
from sonolux.core.guidance.base import SamplingRun
from sonolux.core.testing.host_copies import HostCopyRecorder
from sonolux.core.testing.mutation import (
    assert_caught,
    attribute_target,
    call_target,
    planted_error,
    replace_expression,
)
from sonolux.core.training.build import build_dataset, build_model_components, fit_codec
from sonolux.core.training.step import Trainer
from sonolux.core.types import Conditioning, Estimate, NoiseLevel
from sonolux.core.util.rng import KeyedNoise

META = torch.device("meta")
RECIPE = """
recipe: 1
name: sounds
modality: {use: audio, rate: 8000, seconds: 0.5, channels: 1}
data: {use: audio/synth_sfx, count: 24, padding: masked}
codec: {use: audio/waveform, patch: 32}
network: {use: audio/unet, width: 16, stages: [1, 2], blocks: 1, attention: [1], dropout: 0.1, cross_attention: [1]}
conditioning:
  caption: {use: text, encoder: {use: bytes, hidden: 16}, word_drop: 0.2, drop: 0.3}
  label: {use: class, drop: 0.3}
  length: {use: scalar, key: seconds, range: [0.05, 1.0], drop: 0.3}
  tags: {use: labels, key: echo, values: [with, without], drop: 0.3}
  low: {use: reference, degradation: {use: low_pass, cutoff: 500}, drop: 0.3}
  inpaint: {use: reference, degradation: mask, drop: 0.3}
objective: {per_element: 0.5}
train: {steps: 5, batch: 4, precision: float32, device: cpu, workers: 0, log_every: 1}
"""


def test_copies_from_the_host_are_found():
    x, host = torch.zeros(2, device=META), torch.ones(2)
    with HostCopyRecorder() as copies:
        host.to(META, non_blocking=True), base.move_like(host, x), x + x
        assert copies.found == []
        host.to(x), torch.tensor([1.0], device=META)
    assert len(copies.found) == 2 and all("test_host_waits.py" in place for place in copies.found)
    with pytest.raises(RuntimeError):
        x.sum().item()


def make_trainer(monkeypatch, text: str) -> Trainer:
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: contextlib.nullcontext())  # it does not know the device
    recipe = load_recipe_text(text)
    data, spec = build_dataset(recipe)
    parts = build_model_components(recipe, spec)
    fit_codec(parts.codec, data)
    return Trainer(parts, data, META)


@pytest.fixture
def trainer(monkeypatch):
    """A trainer on the device `meta`, of six conditions, masked padding, dropout and levels that differ."""
    return make_trainer(monkeypatch, RECIPE)


def check_step(trainer):
    with HostCopyRecorder() as copies:
        for _ in range(2):
            trainer.train_step(0.1)
    assert copies.found == []


@pytest.mark.slow
def test_a_training_step_does_not_wait(trainer):
    check_step(trainer)


@pytest.mark.slow
def test_a_training_step_of_a_transformer_does_not_wait(monkeypatch):
    network = RECIPE[RECIPE.index("network:") : RECIPE.index("conditioning:")]
    check_step(
        make_trainer(
            monkeypatch,
            RECIPE.replace(network, "network: {use: audio/dit, size: nano, skips: true, cross_attention: true}\n"),
        )
    )


PLANTED = [
    (
        Class,
        "embed",
        replace_expression(call_target("move_like"), "torch.as_tensor(values, device=self.null.device)", at=1),
    ),
    (Scalar, "embed", replace_expression(call_target("move_like"), "torch.as_tensor(values, device=self.null.device)")),
    (Labels, "embed", replace_expression(call_target("move_like"), "values.to(self.given)")),
    (base, "_embedded", replace_expression(call_target("move_like"), "torch.tensor(index, device=rows.device)", at=1)),
    (
        TokenTransformer,
        "forward",
        replace_expression(call_target("move_like"), "_positions(tokens.shape[1], self.hidden).to(tokens)"),
    ),
    (Trainer, "_encode", replace_expression(call_target("move_like"), "valid.to(x0)")),
]


@pytest.mark.slow
def test_planted_copies_of_a_step_are_caught(trainer):
    for owner, function, error in PLANTED:
        with planted_error(owner, function, error):
            assert_caught(check_step, trainer)


class Half:
    """x / 2."""

    def denoise(self, x, level, conditions):
        return Estimate(x / 2)


def check_evaluations(edit):
    """From the second evaluation on, an edit whose tensors were given on the host copies none of them."""
    run = SamplingRun(KeyedNoise(0, range(2), (1, 12), META))
    denoiser = edit.wrap_guided(edit.wrap_network(Half(), run), run)
    x, valid = torch.zeros(2, 1, 12, device=META), torch.ones(2, 1, 12, device=META)
    denoiser.denoise(x, NoiseLevel(0.5, 0.5, 0.5), Conditioning(valid=valid))
    with HostCopyRecorder() as copies:
        denoiser.denoise(x, NoiseLevel(0.5, 0.5, 0.5), Conditioning(valid=valid))
    assert copies.found == []


def test_edits_copy_once():
    check_evaluations(WindowedEdit((4,), 0.5))
    check_evaluations(InpaintEdit(torch.zeros(2, 1, 12), torch.ones(2, 1, 12, dtype=torch.bool)))


def test_planted_copies_at_every_evaluation_are_caught():
    with planted_error(
        WindowOperator,
        "cut_window",
        replace_expression(attribute_target("indices"), "[g.to(x.device) for g in self.places[window]]"),
    ):
        assert_caught(check_evaluations, WindowedEdit((4,), 0.5))
    with planted_error(InpaintEdit, "wrap_guided", replace_expression(call_target("to"), "self.source", at=1)):
        assert_caught(check_evaluations, InpaintEdit(torch.zeros(2, 1, 12), torch.ones(2, 1, 12, dtype=torch.bool)))
