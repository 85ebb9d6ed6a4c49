"""The training loop: what is drawn, what is averaged, what resuming gives back, and how it stops."""

import json
import math
from pathlib import Path

import pytest
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.config.sections import TrainSection
from sonolux.core.data import loader
from sonolux.core.data.loader import ExampleOrder
from sonolux.core.objectives.base import LossResult
from sonolux.core.objectives.denoising import Denoising
from sonolux.core.pipeline.load import load
from sonolux.core.pipeline.preview import PreviewCallback
from sonolux.core.testing.mutation import argument_target, assert_caught, call_target, planted_error, replace_expression
from sonolux.core.training import checkpoint, header, log, restore
from sonolux.core.training import run as product
from sonolux.core.training.build import build_model_components, check_conditions
from sonolux.core.training.checkpoint import load_optimizer, newest_checkpoint, read_header
from sonolux.core.training.data_changes import hashes_trained_on
from sonolux.core.training.ema import EMA
from sonolux.core.training.lr import TrainingBudget, learning_rate
from sonolux.core.training.run import RunFailed, TrainingRun
from sonolux.core.types import BadInput, MediaSpec

RECIPE = """
recipe: 1
name: tiny
about: A few steps on shapes.
seed: 3
modality: {use: image, size: 16, channels: 3}
data: {use: image/shapes, count: 40, shapes: 1, split: {by: hash, valid: 0.2}}
codec: {use: image/pixels}
network: {use: image/unet, width: 16, stages: [1, 2], blocks: 1, attention: [1], patch: 2, dropout: 0.2}
condition:
  label: {use: class, drop: 0.3}
train:
  {steps: 8, batch: 6, warmup: 2, log_every: 2, save_every: 4, preview_every: 100, keep: 9, precision: float32,
   device: cpu}
sample: {use: dpmpp_2m, steps: 3, count: 4, guidance: {use: cfg, scale: 2.0}}
"""


@pytest.fixture
def recipe(tmp_path):
    """A recipe of eight steps with everything random in it: class drop, dropout, order."""
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def made(recipe: Path, folder: Path, *changes: str, say=lambda _: None) -> TrainingRun:
    """A run with previews, as `sonolux train` makes it."""
    loaded = load_recipe(str(recipe), list(changes))
    return TrainingRun(loaded, folder, say=say, bar=False, callbacks=[PreviewCallback(loaded)])


def go(recipe: Path, folder: Path, *changes: str, say=lambda _: None, **prepare) -> Path:
    """Train a recipe, quietly; returns the last checkpoint."""
    run = made(recipe, folder, *changes, say=say)
    run.prepare(**prepare)
    return run.run()


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Everything a checkpoint holds."""
    from safetensors.torch import load_file

    return load_file(path)


def same(a: Path, b: Path) -> bool:
    """Whether two checkpoints hold the same numbers, bit for bit."""
    x, y = tensors(a), tensors(b)
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resuming_continues_bit_for_bit(recipe, tmp_path, optimizer):
    changes = [f"train.optimizer={optimizer}"]
    whole = go(recipe, tmp_path / "whole", *changes)
    middle = tmp_path / "whole/checkpoints/step-00000004.safetensors"
    resumed = tmp_path / "resumed"
    (resumed / "checkpoints").mkdir(parents=True)
    (resumed / "checkpoints" / middle.name).write_bytes(middle.read_bytes())
    end = go(recipe, resumed, *changes, resume=resumed / "checkpoints" / middle.name)
    assert same(whole, end)
    assert not same(whole, middle)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["order", "drop", "dropout", "times", "noise"])
def test_a_draw_that_is_not_keyed_breaks_resuming(recipe, tmp_path, monkeypatch, what):
    """The planted error: one kind of draw comes from a generator that a restart does not bring back."""
    import numpy as np
    from sonolux.core.data import loader
    from sonolux.core.nn.layers import dropout
    from sonolux.core.objectives import base
    from sonolux.core.util import rng as noise

    loose = np.random.default_rng()
    keyed = {"order": "order", "drop": "drop label", "dropout": "dropout", "times": "jitter", "noise": "train"}
    true_generator, true_key = noise.keyed_generator, noise.stream_key

    def generator(seed, sample, purpose, counter=0):
        return loose if purpose == keyed[what] else true_generator(seed, sample, purpose, counter)

    def key_of(seed, purpose, counter=0):
        found = true_key(seed, purpose, counter)
        return found._replace(key=int(loose.integers(2**63))) if purpose == keyed[what] else found

    for module in (noise, dropout, loader, base):
        for name, unkeyed in (("keyed_generator", generator), ("stream_key", key_of)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, unkeyed)
    with pytest.raises(AssertionError, match="same"):
        test_resuming_continues_bit_for_bit(recipe, tmp_path, "adamw")


@pytest.mark.slow
def test_accumulation_gives_the_same_step(recipe, tmp_path):
    one = tensors(go(recipe, tmp_path / "one", "train.steps=3"))
    three = tensors(go(recipe, tmp_path / "three", "train.steps=3", "train.accumulate=3"))
    for k in (k for k in one if k.startswith("model.")):
        assert torch.allclose(one[k], three[k], atol=2e-5), k


def test_order_visits_every_example_once_an_epoch():
    order = ExampleOrder(5, 7)
    epochs = [[order.example(7 * e + i) for i in range(7)] for e in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert [ExampleOrder(5, 7).example(i) for i in range(14)] == [order.example(i) for i in range(14)]


def check_ema_half_life(model_class=EMA):
    """After h steps of weights 1 from an average of 0, the average is 1/2: closed form 1 - 2^(-n/h)."""
    net = torch.nn.Linear(1, 1, bias=False).double()
    torch.nn.init.zeros_(net.weight)
    ema = model_class(net, half_life=20)
    torch.nn.init.ones_(net.weight)
    for n in range(1, 41):
        ema.update(net, step=10_000 + n)
        assert ema.model.weight.item() == pytest.approx(1 - 2 ** (-n / 20), abs=1e-12)


def test_ema_half_life():
    check_ema_half_life()


def test_ema_check_catches_a_wrong_rate(monkeypatch):
    class Wrong(EMA):
        def __init__(self, model, half_life):
            super().__init__(model, half_life * 1.05)

    assert_caught(check_ema_half_life, Wrong)


def test_learning_rate_warms_up_and_falls():
    train = TrainSection(steps=100, warmup=10)
    assert learning_rate(train, 1.0, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(train, 1.0, 9, 0.0) == pytest.approx(1.0)
    assert learning_rate(train, 1.0, 50, 0.5) == pytest.approx(0.5)
    assert learning_rate(train, 1.0, 99, 1.0) == pytest.approx(0.0)
    assert learning_rate(TrainSection(steps=100, warmup=1, decay="none"), 1.0, 99, 1.0) == 1.0


@pytest.mark.slow
def test_a_run_says_what_it_prepares_before_it_does(recipe, tmp_path, monkeypatch):
    """A line before the codec is fitted, which may take a minute; nothing before a mistake is reported."""
    said = []
    for module, name in ((restore, "build_dataset"), (product, "fit_codec")):
        right = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, r=right, n=name, **k: said.append(n) or r(*a, **k))
    run = TrainingRun(load_recipe(str(recipe)), tmp_path / "run", bar=False, announce=said.append)
    run.prepare()
    lines = run.describe()
    run.close()
    count, classes = len(run.trainer.data), len(run.parts.spec.classes)
    assert said == ["build_dataset", f"tiny: {count} examples, {classes} classes; fitting the codec", "fit_codec"]
    assert len(lines) == 1 and lines[0].startswith("diffuses (3, 16, 16) with 0.0")
    assert f"batches of 6, 8 steps, cpu in float32; writes {tmp_path / 'run'}" in lines[0]


def test_a_run_folder_says_everything(recipe, tmp_path):
    run = tmp_path / "run"
    go(recipe, run, "train.preview_every=4")
    assert (run / "recipe.yaml").read_text() == RECIPE
    env = json.loads((run / "env.json").read_text())
    assert env["torch"] and len(env["data_sha256"]) == 64
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [2, 4, 6, 8]
    assert all(math.isfinite(r["loss"]) and r["samples_per_s"] > 0 for r in rows)
    assert len(list((run / "previews").glob("*.png"))) == 2
    assert read_header(newest_checkpoint(run)).step == 8
    assert not list(run.rglob("*.part"))


def check_logged(recipe, folder, monkeypatch):
    """What an objective logs of each sample is in metrics.jsonl: the mean over the steps of a line."""
    true = Denoising.loss

    def logs(self, model, x0, conditioning, rng):
        found = true(self, model, x0, conditioning, rng)
        more = {"consistency": torch.full((len(x0),), float(rng.step))}
        return LossResult(found.per_sample, {**found.logged, **(more if rng.step != 2 else {})})

    with monkeypatch.context() as patch:
        patch.setattr(Denoising, "loss", logs)
        go(recipe, folder, "train.steps=4")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("objective") for row in rows] == [{"consistency": 0.5}, {"consistency": 3.0}]
    assert all(row["loss_by_tau"] for row in rows)


@pytest.mark.slow
def test_what_an_objective_logs_is_in_the_metrics(recipe, tmp_path, monkeypatch):
    check_logged(recipe, tmp_path / "run", monkeypatch)


@pytest.mark.slow
def test_planted_log_of_the_first_step_alone_is_caught(recipe, tmp_path, monkeypatch):
    with planted_error(log, "_means", replace_expression(call_target("cat"), "results[0].logged[name]")):
        assert_caught(check_logged, recipe, tmp_path / "run", monkeypatch, also=(KeyError,))


def check_optimizer_state(recipe, folder):
    """State of other weights is refused: of another shape, or lacking for a weight; a step of no axes is taken."""
    path = go(recipe, folder, "train.steps=1")
    job = made(recipe, folder / "second")
    job.prepare()
    optimizer, header = job.trainer.optimizer, read_header(path)
    load_optimizer(path, optimizer)
    held = tensors(path)
    key = next(k for k in held if k.startswith("optimizer.") and k.endswith("exp_avg") and held[k].ndim > 1)
    for change, said in (
        ({key: held[key].flatten()}, "has the shape"),
        ({key: held[key][:1]}, "has the shape"),
        ({key: None}, r"1 tensors missing \(first: optimizer"),
    ):
        damaged = {k: v for k, v in {**held, **change}.items() if v is not None}
        checkpoint._write(path, header, damaged)
        with pytest.raises(BadInput, match=f"does not fit this recipe.*{said}"):
            load_optimizer(path, optimizer)


@pytest.mark.slow
def test_an_optimizer_state_of_other_weights_is_refused(recipe, tmp_path):
    check_optimizer_state(recipe, tmp_path / "run")


def test_a_class_condition_of_a_subclass_needs_two_classes_too(recipe, tmp_path):
    code = tmp_path / "mine.py"
    code.write_text(
        "from sonolux.core.conditioning.class_ import Class\n\n\n"
        'class Mine(Class):\n    """A class condition of my own."""\n'
    )
    one = MediaSpec("image", 3, ("height", "width"), (16, 16), classes=("circle",))
    for use in ("class", str(code) + ":Mine"):
        parts = build_model_components(load_recipe(recipe, [f"conditioning.label.use={use}"]), one)
        with pytest.raises(BadInput, match=r"^conditioning\.label needs at least two classes.*has 1.*=null"):
            check_conditions(parts, [])


@pytest.mark.slow
def test_only_the_last_checkpoints_are_kept(recipe, tmp_path):
    go(recipe, tmp_path / "run", "train.keep=2", "train.save_every=2")
    names = sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir())
    assert names == ["step-00000006.safetensors", "step-00000008.safetensors"]


@pytest.mark.slow
def test_a_used_folder_is_refused_and_kept(recipe, tmp_path):
    end = go(recipe, tmp_path / "run", "train.steps=2")
    before = end.read_bytes()
    with pytest.raises(BadInput, match=r"already holds a run.*--resume"):
        go(recipe, tmp_path / "run", "train.steps=2")
    assert end.read_bytes() == before
    go(recipe, tmp_path / "run", "train.steps=3", overwrite=True)
    assert newest_checkpoint(tmp_path / "run").name == "step-00000003.safetensors"


def test_a_folder_of_other_things_is_refused(recipe, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(BadInput, match="not a run"):
        go(recipe, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_weights_start_a_new_run(recipe, tmp_path):
    first = go(recipe, tmp_path / "first")
    job = made(recipe, tmp_path / "second")
    job.prepare(weights=first)
    mine, theirs = job.trainer.model.state_dict(), tensors(first)
    assert job.trainer.step == 0 and all(torch.equal(v, theirs[f"ema.{k}"]) for k, v in mine.items())


@pytest.mark.slow
def test_weights_of_another_network_are_refused(recipe, tmp_path):
    first = go(recipe, tmp_path / "first", "train.steps=1")
    with pytest.raises(BadInput, match="does not fit this recipe"):
        go(recipe, tmp_path / "second", "network.width=32", weights=first)
    assert not (tmp_path / "second").exists()


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_and_names_the_batch(recipe, tmp_path, monkeypatch):
    true = Denoising.loss

    def poisoned(self, model, x0, conditioning, rng):
        found = true(self, model, x0, conditioning, rng)
        return LossResult(found.per_sample * float("nan"), found.logged) if rng.step == 5 else found

    monkeypatch.setattr(Denoising, "loss", poisoned)
    with pytest.raises(RunFailed) as error:
        go(recipe, tmp_path / "run")
    said = str(error.value)
    assert "step 6 is not finite" in said and "step-00000004.safetensors" in said
    job = made(recipe, tmp_path / "other")
    job.prepare()
    assert job.trainer.sources(6)[0] in said


@pytest.mark.slow
def test_an_interrupt_saves_and_says_how_to_go_on(recipe, tmp_path):
    job = made(recipe, tmp_path / "run")
    job.prepare()
    true = job.trainer.train_step

    def one(progress):
        state = true(progress)
        job.interrupted = state.step == 3
        return state

    job.trainer.train_step = one
    with pytest.raises(KeyboardInterrupt, match="sonolux train --resume"):
        job.run()
    assert newest_checkpoint(tmp_path / "run").name == "step-00000003.safetensors"
    end = go(recipe, tmp_path / "run", resume=newest_checkpoint(tmp_path / "run"))
    assert same(end, go(recipe, tmp_path / "whole"))


@pytest.mark.slow
def test_minutes_count_what_was_spent_and_keep_time_back(recipe, tmp_path):
    budget = TrainingBudget(TrainSection(minutes=2), elapsed=30.0)
    assert budget.progress(10**6) == pytest.approx(0.25, abs=0.01)
    budget.reserve = 60.0
    assert budget.progress(0) == pytest.approx(0.5, abs=0.02)
    go(recipe, tmp_path / "run", "train.steps=null", "train.minutes=0.05")
    assert newest_checkpoint(tmp_path / "run").exists()


@pytest.mark.slow
def test_the_preview_is_what_sample_gives(recipe, tmp_path):
    go(recipe, tmp_path / "run", "train.preview_every=8")
    preview = (tmp_path / "run/previews/step-00000008.png").read_bytes()
    load(tmp_path / "run").sample().save(tmp_path / "out")
    assert (tmp_path / "out/sheet.png").read_bytes() == preview


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1000]), "damaged"),
        (lambda p: p.write_bytes(b""), "damaged"),
        (lambda p: p.write_text("not a checkpoint"), "damaged"),
        (lambda p: p.unlink(), "contains no checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_refused(recipe, tmp_path, damage, said):
    damage(go(recipe, tmp_path / "run", "train.steps=1"))
    with pytest.raises(BadInput, match=said):
        load(tmp_path / "run")


@pytest.mark.slow
def test_a_gradient_that_is_not_finite_stops_before_it_is_saved(recipe, tmp_path, monkeypatch):
    """The loss of step 4 is a number, its gradient is not: the checkpoint of step 4 would hold spoilt weights."""
    true = Denoising.loss

    def poisoned(self, model, x0, conditioning, rng):
        found = true(self, model, x0, conditioning, rng)
        root = (found.per_sample * 0).sqrt()  # 0, with an infinite slope
        return LossResult(found.per_sample + root, found.logged) if rng.step == 3 else found

    monkeypatch.setattr(Denoising, "loss", poisoned)
    with pytest.raises(RunFailed, match=r"the gradient of step 4 is not finite.*step-00000002"):
        go(recipe, tmp_path / "run", "train.save_every=2")
    assert newest_checkpoint(tmp_path / "run").name == "step-00000002.safetensors"


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(recipe, tmp_path, monkeypatch):
    from sonolux.core.training import checkpoint

    true, calls = checkpoint.save_file, []

    def full(tensors, path, metadata):
        calls.append(path)
        if len(calls) >= 2:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        true(tensors, path, metadata=metadata)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunFailed, match=r"No space left.*--resume"):
        go(recipe, tmp_path / "run", "train.steps=4", "train.save_every=2")
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000002.safetensors"]


@pytest.mark.slow
def test_a_run_may_be_trained_in_a_thread(recipe, tmp_path):
    """Signals belong to the main thread; elsewhere training goes without them."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(go, recipe, tmp_path / "run", "train.steps=1").result().exists()


@pytest.mark.slow
def test_sigterm_saves_and_gives_the_handlers_back(recipe, tmp_path):
    import os
    import signal

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    job = made(recipe, tmp_path / "run")
    job.prepare()
    true = job.trainer.train_step

    def one(progress):
        state = true(progress)
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return state

    job.trainer.train_step = one
    with pytest.raises(KeyboardInterrupt, match="sonolux train --resume"):
        job.run()
    assert newest_checkpoint(tmp_path / "run").name == "step-00000002.safetensors"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.slow
def test_resuming_keeps_changes_tells_the_end_and_reads_a_torn_log(recipe, tmp_path):
    run, said = tmp_path / "run", []
    end = go(recipe, run, "train.steps=2", "train.save_every=99", "train.preview_every=99")
    written = end.stat().st_mtime_ns

    def resume(*changes):
        return go(run / "resolved.yaml", run, *changes, say=said.append, resume=newest_checkpoint(run))

    assert resume() == end and end.stat().st_mtime_ns == written
    assert any("raise train.steps" in line for line in said)
    with open(run / "metrics.jsonl", "a") as f:
        f.write('{"step": 2, "lo')  # the machine went down here
    assert resume("train.steps=4").name == "step-00000004.safetensors"
    assert load_recipe(run / "resolved.yaml").train.steps == 4
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [2, 4]
    (run / "data.jsonl").write_text("{}\n")
    (run / "env.json").write_text("{}\n")
    resume("train.steps=5")
    assert "the data has changed" in said[-1]
    said.clear()
    resume("train.steps=6")
    assert not any("the data has changed" in line for line in said), "the list of the data is renewed"


def test_only_a_run_folder_says_what_was_trained(recipe, tmp_path):
    checkpoint = go(recipe, tmp_path / "run", "train.steps=1")
    (tmp_path / "run/data.jsonl").write_text('{"file": "a.png", "hash": "00"}\n')
    assert hashes_trained_on(checkpoint) == {"00"}
    other = tmp_path / "other/models/x.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(checkpoint.read_bytes())
    (tmp_path / "other/data.jsonl").write_text("the list of another program")
    assert hashes_trained_on(other) == frozenset()


@pytest.mark.slow
def test_the_last_step_is_saved_and_shown_once_and_a_preview_stays_small(recipe, tmp_path, monkeypatch):
    from sonolux.core.pipeline import preview
    from sonolux.core.training import callbacks

    saves, shows, save, sample = [], [], callbacks.save_checkpoint, preview.Pipeline.sample
    monkeypatch.setattr(callbacks, "save_checkpoint", lambda path, *rest: (saves.append(path.name), save(path, *rest)))
    monkeypatch.setattr(preview.Pipeline, "sample", lambda self, count: (shows.append(count), sample(self, count=2))[1])
    go(recipe, tmp_path / "run", "train.steps=2", "train.save_every=2", "train.preview_every=2", "sample.count=1000")
    assert saves == ["step-00000002.safetensors"] and shows == [64]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["sample.label=hexagon"], "circle"),
        (["sample.where={label: hexagon}"], "circle"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_training(recipe, tmp_path, changes, said):
    with pytest.raises(BadInput, match=said):
        go(recipe, tmp_path / "run", *changes)
    assert not (tmp_path / "run").exists()


def test_an_output_folder_below_a_file_is_refused(recipe, tmp_path):
    with pytest.raises(BadInput, match=r"tiny\.yaml is a file.*--out"):
        go(recipe, recipe / "run")


def test_a_bad_number_in_the_data_is_reported_before_anything_is_written(recipe, tmp_path, monkeypatch):
    from sonolux.modalities.image.datasets.shapes import Shapes

    true = Shapes.item

    def item(self, index, rng=None):
        found = true(self, index, rng)
        if index == 3:
            found.media[0, 0, 0] = float("nan")
        return found

    monkeypatch.setattr(Shapes, "item", item)
    with pytest.raises(BadInput, match="NaN"):
        go(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts.update(format=3), "upgrade sonolux"),
        (lambda facts: facts.pop("step"), "damaged.*step"),
        (lambda facts: facts.update(signal=3, spec=3), "damaged"),
    ],
)
@pytest.mark.parametrize("form", [1, 2])
def test_a_header_that_cannot_be_read_is_refused(tmp_path, form, change, said):
    facts = header_facts(form)
    change(facts)
    with pytest.raises(BadInput, match=said):
        read_header(file_with(tmp_path / "c.safetensors", facts))


def header_facts(form: int) -> dict:
    """What a checkpoint of a format says of itself."""
    spec = {
        "modality": "image",
        "channels": 1,
        "size": [4, 4],
        "rate": None,
        "classes": ["a", "b"],
        "latent": [1, 4, 4],
    }
    names = ("signal", "takes") if form == 1 else ("spec", "clip_lengths")
    return {"format": form, "recipe": "", names[0]: spec, "step": 7, "elapsed": 2.5, names[1]: [[3, None], [4, 1]]}


def file_with(path: Path, facts: dict) -> Path:
    """A checkpoint with this header."""
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path, metadata={"sonolux": json.dumps(facts)})
    return path


def test_headers_of_both_editions_say_the_same(tmp_path):
    first, second = (read_header(file_with(tmp_path / f"{n}.safetensors", header_facts(n))) for n in (1, 2))
    assert (
        first == second and first.step == 7 and first.spec.size == (4, 4) and first.clip_lengths == ((3, None), (4, 1))
    )


ROWS = [
    {"level": [2.0, 1.0, 2.0], "x": [], "D": [], "evaluate": True, "step": False},
    {"level": [1.0, 1.0, 1.0], "x": [[0, 0.5]], "D": [[0, 0.5]], "evaluate": False, "step": True},
]


def check_header(folder):
    """Numbers of evaluations are numbers again, the time is kept, and guidances of the first edition have new names."""
    old = [{"use": "several", "scales": {"label": 2.0}}, {"use": "rescale", "share": 0.5}]
    for form, guidance in ((1, old), (2, [{**old[0], "use": "composed"}, old[1]])):
        facts = {**header_facts(form), "plans": {"1": {"guidance": guidance, "rows": ROWS}}}
        header = read_header(file_with(folder / f"plans-{form}.safetensors", facts))
        assert header.elapsed == 2.5 and list(header.plans) == [1]
        assert header.plans[1] == {"guidance": [{"use": "composed", "scales": {"label": 2.0}}, old[1]], "rows": ROWS}


def test_plans_and_time_of_a_header(tmp_path):
    check_header(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        replace_expression(argument_target("CheckpointHeader", 3), "0.0"),
        replace_expression(argument_target("CheckpointHeader", 5), "{}"),
        replace_expression(call_target("upgrade_guidance"), "plan['guidance']"),
    ],
)
def test_planted_errors_of_a_header_are_caught(error, tmp_path):
    with planted_error(header, "parse_header", error):
        assert_caught(check_header, tmp_path)


@pytest.mark.slow
def test_a_run_of_minutes_that_made_fewer_steps_than_were_measured_says_so(recipe, tmp_path):
    said, changes = [], ["train.steps=null", "train.minutes=0.05", "train.measured_steps=100000"]
    go(recipe, tmp_path / "run", *changes, say=said.append)
    assert any("measured at 100000" in line and "--resume" in line and "train.minutes=" in line for line in said)
    said.clear()
    go(recipe, tmp_path / "other", "train.measured_steps=100000", say=said.append)
    go(recipe, tmp_path / "third", *changes[:2], "train.measured_steps=1", say=said.append)
    assert said == []
    budget = TrainingBudget(TrainSection(minutes=2, measured_steps=300))
    assert "train.minutes=6" in (budget.shortfall(100, "runs/x") or "")
    assert budget.shortfall(300, "runs/x") is None and budget.shortfall(0, "runs/x") is None


def test_weights_of_another_type_are_refused(tmp_path):
    from safetensors.torch import save_file
    from sonolux.core.training.checkpoint import load_weights

    net = torch.nn.Linear(2, 1, bias=False)
    save_file({"model.weight": torch.ones(1, 2, dtype=torch.int64)}, tmp_path / "c.safetensors")
    with pytest.raises(BadInput, match="of other types"):
        load_weights(tmp_path / "c.safetensors", net, "model")
    save_file({"model.weight": torch.ones(1, 2, dtype=torch.float16)}, tmp_path / "c.safetensors")
    load_weights(tmp_path / "c.safetensors", net, "model")
    assert net.weight.dtype == torch.float32 and bool((net.weight == 1).all())


def check_frames(recipe, folder, monkeypatch, most=5):
    """From the command to the optimiser's step a reader passes few functions of sonolux."""
    import traceback

    from sonolux.core.cli import train

    seen = []
    monkeypatch.setattr(EMA, "update", lambda self, model, step: seen.append(traceback.extract_stack()))
    arguments = [str(recipe), "train.steps=1", "--out", str(folder), "--quiet"]
    train.command.main(arguments, standalone_mode=False)
    root = str(Path(train.__file__).parents[1])
    frames = [frame.name for frame in seen[0] if frame.filename.startswith(root)]
    assert frames[0] == "command" and len(frames) <= most, f"too deep: {frames}"


@pytest.mark.slow
def test_few_functions_lie_between_the_command_and_the_step(recipe, tmp_path, monkeypatch):
    check_frames(recipe, tmp_path / "run", monkeypatch)


@pytest.mark.slow
def test_planted_layers_are_caught(recipe, tmp_path, monkeypatch):
    from sonolux.core.training.run import Trainer

    step = Trainer.train_step
    for _ in range(3):
        step = layered(step)
    monkeypatch.setattr(Trainer, "train_step", step)
    with pytest.raises(AssertionError, match="too deep"):
        check_frames(recipe, tmp_path / "run", monkeypatch, most=5)


def layered(function):
    """The same function behind one that only hands its arguments on, as if written in sonolux."""
    code = compile("def hand_on(*given):\n    return function(*given)", str(Path(loader.__file__)), "exec")
    names = {"function": function}
    exec(code, names)
    return names["hand_on"]
