"""Loggers: what TensorBoard's file and wandb hold is what metrics.jsonl and the previews hold; and what fails."""

import json
import sys
import types
from pathlib import Path

import pytest
import torch
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe
from sonolux.core.pipeline.preview import PreviewCallback
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training import step as step_module
from sonolux.core.training.loggers.base import flatten_numbers
from sonolux.core.training.loggers.tensorboard import TensorBoard
from sonolux.core.training.loggers.wandb import wandb_mode
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput

OFTEN = ("train.steps=4", "train.log_every=2", "train.preview_every=2", "sample.count=2", "sample.steps=2")


def made(text, folder, *changes, say=lambda _: None):
    """A run with previews that logs to TensorBoard, as `sonolux train` makes it."""
    (folder / "tiny.yaml").write_text(text)
    loaded = load_recipe(folder / "tiny.yaml", ["train.log=tensorboard", *OFTEN, *changes])
    return TrainingRun(loaded, folder / "run", say, False, [PreviewCallback(loaded)])


def trained(text, folder, *changes, say=lambda _: None, **prepare):
    run = made(text, folder, *changes, say=say)
    run.prepare(**prepare)
    run.run()
    return run


def rows(folder):
    return [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]


def events(folder):
    """What TensorBoard itself reads from the folder of a run."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    found = accumulator(str(folder / "run/tensorboard"))
    found.Reload()
    return found


def check_scalars(folder):
    found = events(folder)
    written = [(row["step"], *item) for row in rows(folder) for item in flatten_numbers(row).items()]
    read = [(e.step, tag, e.value) for tag in found.Tags()["scalars"] for e in found.Scalars(tag)]
    assert sorted((s, t) for s, t, _ in read) == sorted((s, t) for s, t, _ in written)
    values = {(s, t): v for s, t, v in read}
    for step, name, value in written:
        assert values[step, name] == pytest.approx(value, rel=1e-6), (step, name)
    assert {"loss", "grad_norm", "grad_norm_by_layer/down.0", "samples_per_s", "data_wait"} <= {t for _, t, _ in read}


@pytest.mark.slow
def test_scalars_pictures_and_recipe_are_in_the_file(tiny_recipe, tmp_path):
    run = trained(tiny_recipe["image"], tmp_path)
    check_scalars(tmp_path)
    found = events(tmp_path)
    assert found.Tags()["images"] == ["samples/0", "samples/1"] and not found.Tags()["audio"]
    shown = found.Images("samples/1")
    assert [one.step for one in shown] == [2, 4] and (shown[0].width, shown[0].height) == (16, 16)
    assert shown[0].encoded_image_string.startswith(b"\x89PNG") and shown[0] != shown[1]
    text = found.Tensors("recipe")[0].tensor_proto.string_val[0].decode()
    assert text == f"```yaml\n{run.recipe.dump()}```\n" and "log:\n" in text

    def halved(self, step, values):
        true(self, step, {name: value / 2 for name, value in values.items()})

    true = TensorBoard.log
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TensorBoard, "log", halved)
        (tmp_path / "planted").mkdir()
        trained(tiny_recipe["image"], tmp_path / "planted")
    assert_caught(check_scalars, tmp_path / "planted")


@pytest.mark.slow
def test_sounds_have_players(tiny_recipe, tmp_path):
    trained(tiny_recipe["audio"], tmp_path)
    found = events(tmp_path)
    assert found.Tags()["audio"] == found.Tags()["images"] == ["samples/0", "samples/1"]
    assert found.Audio("samples/0")[0].encoded_audio_string.startswith(b"RIFF")


@pytest.mark.slow
def test_a_resumed_run_hides_the_steps_that_it_makes_again(tiny_recipe, tmp_path):
    run = trained(tiny_recipe["image"], tmp_path, "train.save_every=2", "train.keep=9")
    again = made(tiny_recipe["image"], tmp_path, "train.save_every=2", "train.keep=9")
    again.prepare(resume=run.folder.checkpoint(2))
    again.run()
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 2
    check_scalars(tmp_path)


@pytest.mark.slow
def test_a_run_that_replaces_another_one_replaces_its_file(tiny_recipe, tmp_path):
    trained(tiny_recipe["image"], tmp_path)
    (old,) = (tmp_path / "run/tensorboard").iterdir()
    trained(tiny_recipe["image"], tmp_path, "seed=4", "train.log_every=1", overwrite=True)
    (new,) = (tmp_path / "run/tensorboard").iterdir()
    assert new.name != old.name
    check_scalars(tmp_path)


class Failing(TensorBoard):
    """Fails at the first line."""

    def log(self, step, values):
        raise OSError("no\nspace")


@pytest.mark.slow
def test_a_logger_that_fails_is_reported_once_and_the_training_goes_on(tiny_recipe, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(TensorBoard, "log", Failing.log)
    run = trained(tiny_recipe["image"], tmp_path, say=said.append)
    assert run.step == 4 and rows(tmp_path)[-1]["step"] == 4
    assert [one for one in said if "TensorBoard" in one] == [
        "train.log: TensorBoard has failed (OSError: no space): the training goes on without it"
    ]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_one_message_before_anything_is_written(name, tiny_recipe, tmp_path, monkeypatch, capsys):
    for module in (name, "tensorboard.compat.proto"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    words = ["train", str(tmp_path / "tiny.yaml"), f"train.log={name}", "--out", str(tmp_path / "run"), "--quiet"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"train.log names {name}, which cannot be imported") and "sonolux[log]" in line
    assert not (tmp_path / "run").exists()


def test_the_key_is_a_name_or_a_list(tiny_recipe, tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    for value in ("tensorboard", "[tensorboard]", "[{use: tensorboard}]", "{use: tensorboard}"):
        loaded = load_recipe(tmp_path / "tiny.yaml", [f"train.log={value}"])
        assert [one.use for one in loaded.train.log] == ["tensorboard"]
    assert load_recipe(tmp_path / "tiny.yaml", ["train.log=null"]).train.log == []
    with pytest.raises(BadInput, match="did you mean 'tensorboard'"):
        load_recipe(tmp_path / "tiny.yaml", ["train.log=tensorbord"])


def test_numbers_are_flattened():
    row = {"step": 3, "loss": 0.5, "by": [1.0, None, 3], "held": {"loss": 2, "flat": True, "name": "x", "step": 1}}
    expected = {"loss": 0.5, "by/0": 1.0, "by/2": 3.0, "held/loss": 2.0, "held/step": 1.0}
    assert flatten_numbers(row) == expected


# --- wandb ---


class FakeWandb(types.SimpleNamespace):
    """What the logger uses of wandb, recorded."""

    def __init__(self):
        super().__init__(Settings=dict, Image=self.media, Audio=self.media, Video=self.media)
        self.asked, self.logged, self.config, self.finished = {}, [], {}, 0

    def media(self, path, caption):
        return Path(path).suffix, Path(path).read_bytes()[:4], caption

    def init(self, **options):
        self.asked = options
        return self

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1


@pytest.mark.slow
def test_wandb_gets_scalars_and_previews_and_is_offline(tiny_recipe, tmp_path, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_ERROR_REPORTING", raising=False)
    trained(tiny_recipe["audio"], tmp_path, "train.log=wandb")
    assert fake.asked["mode"] == "offline" and fake.asked["dir"] == tmp_path / "run" and fake.finished == 1
    assert fake.config["recipe_text"].startswith("recipe: 1")
    scalars = [(step, values) for step, values in fake.logged if "samples/audio" not in values]
    assert scalars == [(row["step"], flatten_numbers(row)) for row in rows(tmp_path)]
    media = [values for _, values in fake.logged if "samples/audio" in values]
    assert len(media) == 2 and [one[:2] for one in media[0]["samples/audio"]] == [(".wav", b"RIFF")] * 2


@pytest.mark.parametrize(
    ("value", "mode"),
    [(None, "offline"), ("", "offline"), ("shared", "offline"), ("online", "online"), ("disabled", "disabled")],
)
def test_wandb_is_online_only_if_asked(monkeypatch, value, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if value is not None:
        monkeypatch.setenv("WANDB_MODE", value)
    assert wandb_mode() == mode


# --- norms of the gradient ---


def check_layer_norms(text, folder):
    """The squares of the norms of the groups add up to the square of the norm of the whole gradient."""
    run = made(text, folder, "train.log_every=1", "train.clip=0.01")
    run.prepare()
    result = run.trainer.train_step(0.1)
    whole = torch.stack(list(result.layer_norms.values())).double().square().sum().sqrt()
    run.trainer.close()
    run.close()
    assert set(result.layer_norms) >= {"level", "stem", "down.0", "down.1", "up.0", "head", "conditions.label"}
    assert float(whole) == pytest.approx(float(result.grad_norm), rel=1e-5)


def test_norms_of_layers_are_those_of_the_gradient(tiny_recipe, tmp_path):
    check_layer_norms(tiny_recipe["image"], tmp_path)


def test_planted_group_that_forgets_a_layer_is_caught(tiny_recipe, tmp_path):
    true = step_module.gradient_norms_by_layer

    def forgetful(model):
        return {name: norm * (name != "head") for name, norm in true(model).items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_module, "gradient_norms_by_layer", forgetful)
        assert_caught(check_layer_norms, tiny_recipe["image"], tmp_path)
