"""Prompts: from Python and the command line, negative and composed, encoded once, and exact on resume and reload."""

import ast
import json
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import sonolux
import torch
from sonolux.core.cli import sample as sample_command
from sonolux.core.cli.main import main
from sonolux.core.conditioning.encoders.bytes import Bytes
from sonolux.core.conditioning.text import Text
from sonolux.core.config.load import load_recipe, load_run_recipe
from sonolux.core.guidance import composed
from sonolux.core.nn.layers.init import normal_
from sonolux.core.pipeline.conditions import ConditionEmbedder
from sonolux.core.pipeline.prompts import read_prompt_file
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_operator
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput
from sonolux.core.util.rng import keyed_generator

sys.path.insert(0, str(Path(__file__).parents[2]))
from _text_network import RECIPE

MORE = """
  label: {use: class, drop: 0.5}
  size: {use: scalar, key: count, range: [0, 4], drop: 0.5}
"""
A, B = "a small red circle", "a large blue square, below"


@pytest.fixture(scope="module")
def run(tiny_run):
    return tiny_run(RECIPE)


@pytest.fixture
def model(run):
    """The run, with random weights also where training starts at zero, so that prompts matter."""
    loaded = sonolux.load(run, device="cpu", allow_code=True)
    for name, p in loaded.model.named_parameters():
        if p.ndim > 1:
            normal_(p.data, keyed_generator(0, 0, "wake", name), 0.3)
    return loaded


@pytest.fixture
def calls(monkeypatch):
    """The texts of each call of the encoder."""
    found, forward = [], Bytes.forward

    def counted(self, texts, length):
        found.append(list(texts))
        return forward(self, texts, length)

    monkeypatch.setattr(Bytes, "forward", counted)
    return found


def media(samples):
    return torch.stack(samples.media)


# --- prompts ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_prompts_of_samples(model):
    both = model.sample([A, B], count=4, seed=1)
    assert [row["caption"] for row in both.conditions] == [A, B, A, B]
    assert len({round(float(m.sum()), 4) for m in both.media}) == 4
    one = model.sample(A, count=3, seed=1, batch=2)
    assert torch.allclose(one.media[0], both.media[0], atol=1e-5) and torch.allclose(
        one.media[2], both.media[2], atol=1e-5
    )
    assert not torch.allclose(one.media[1], both.media[1], atol=1e-2), "the prompt matters"
    assert len(model.sample([A, B] * 3, seed=1)) == 6, "at least one sample for each prompt"
    with pytest.raises(BadInput, match=r"sample\.prompt lists 2 values, and 1 sample"):
        model.sample([A, B], count=1)
    same = model.sample(seed=1, count=2, conditions={"caption": A})
    assert torch.equal(media(same), media(model.sample(A, seed=1, count=2)))
    with pytest.raises(BadInput, match="are the same: give one"):
        model.sample(A, conditions={"caption": B})
    with pytest.raises(BadInput, match="text"):
        model.sample([A, {"red": 1}])
    assert [row["caption"] for row in model.sample("cycle", count=2).conditions] == ["cycle"] * 2


def test_numbers_are_texts_and_truth_values_and_null_are_refused(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE.replace("sample: {", "sample: {prompt: [5, 007, 1.50, yes, a cat], "))
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.sample.prompt == ["5", "007", "1.50", "yes", "a cat"], "as they are written"

    def changed(key, value):
        return getattr(recipe.with_overrides([(f"sample.{key}", value)]).sample, key)

    assert changed("prompt", 5) == changed("negative", 5) == "5" and changed("prompt", [1, 2]) == ["1", "2"]
    for key, value in (("prompt", True), ("negative", False), ("prompt", ["a", True])):
        with pytest.raises(BadInput, match="a prompt is a text: write it in quotes"):
            changed(key, value)
    with pytest.raises(BadInput, match="a list of prompts contains texts only, not null; '' gives samples without"):
        changed("prompt", ["a", None])
    assert sample_command._sorted(["5", "true", "null"])[0] == {"prompt": ["5", "true", "null"]}, (
        "typed words are texts"
    )


def test_files_of_prompts_of_any_editor(tmp_path):
    """A byte order mark, lines of Windows and old Macs, blank lines, spaces, and no end of the last line."""
    file = tmp_path / "prompts.txt"
    summer = "été".encode()
    for content in (
        b"\xef\xbb\xbfa cat\r\n\r\n \t\r\n  " + summer + b" ",
        b"a cat\r\r" + summer,
        b"\na cat\n" + summer + b"\n",
    ):
        file.write_bytes(content)
        assert read_prompt_file(file) == ["a cat", "été"]


def test_each_text_is_encoded_once(model, calls):
    """One call for all prompts, the negative one and those of guidance, whatever the number of batches and steps."""
    model.sample(count=7, batch=2, guidance={"use": "composed", "prompts": {"red": 2.0, "square": -1.0}})
    assert len(calls) == 1 and sorted(calls[0]) == ["red", "square"]
    model.sample([A, B], count=7, batch=2, negative="green", guidance={"use": "cfg", "scale": 2.0})
    assert len(calls) == 2 and sorted(calls[1]) == sorted([A, B, "green"])
    model.sample([A, B], count=7, batch=2)
    assert len(calls) == 3 and calls[2] == [A, B]


def test_each_text_is_encoded_once_for_an_auxiliary_model(model, run, calls):
    """One call of each model's encoder for a run of several batches, and the same samples as in one batch."""
    guidance = {"use": "autoguidance", "scale": 2.0, "weak": str(run)}
    made = model.sample([A, B], count=5, batch=2, seed=1, guidance=guidance)
    assert calls == [[A, B], [A, B]], "the main model's, and the auxiliary one's"
    assert torch.allclose(
        media(model.sample([A, B], count=5, batch=5, seed=1, guidance=guidance)), media(made), atol=1e-4
    )


def test_empty_and_long_prompts(model):
    plain = media(model.sample(count=2, seed=3))
    with pytest.warns(UserWarning, match="an empty prompt is unconditional") as said:
        empty = model.sample(" \n", count=2, seed=3)
    assert torch.equal(media(empty), plain) and empty.conditions == [{"caption": None}] * 2 and len(said) == 1
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made = model.sample("circle " * 1430, count=3, seed=3)
    assert len(said) == 1 and "is cut after" in str(said[0].message)
    assert len(made.conditions[0]["caption"]) <= 40


def test_keys_that_are_conditions_and_guidance_none(model):
    with pytest.raises(BadInput, match=r"conditions are given as conditions\.caption="):
        model.sample(count=1, caption="red")
    with pytest.raises(BadInput, match="null means no guidance; there is no guidance 'none'"):
        model.sample(count=1, guidance="none")


def test_a_model_without_text(tiny_run):
    other = sonolux.load(tiny_run("image"), device="cpu")
    with pytest.raises(BadInput, match=r"takes no prompt; its conditions: label \(circle, "):
        other.sample("a cat")
    with pytest.raises(BadInput, match="takes no prompt"):
        other.sample(negative="a cat")


@pytest.mark.slow
def test_a_text_condition_may_be_called_label(tiny_run):
    made = sonolux.load(tiny_run(RECIPE.replace("  caption:", "  label:")), device="cpu", allow_code=True)
    assert [row["label"] for row in made.sample(count=1).conditions] == [None], "the default of labels is no prompt"
    assert [row["label"] for row in made.sample(A, count=1).conditions] == [A]


# --- negative prompts and composed guidance --------------------------------------------------------------------------


def guided(model, **options):
    return media(model.sample(count=2, seed=5, use="euler", steps=1, **options))


def check_negative(model):
    """cfg with a negative prompt is D(neg) + s (D(prompt) - D(neg)): one Euler step to 0 is the estimate itself."""
    d_a, d_b = guided(model, prompt=A, guidance=None), guided(model, prompt=B, guidance=None)
    made = guided(model, prompt=A, negative=B, guidance={"use": "cfg", "scale": 3.0})
    assert torch.allclose(made, d_b + 3 * (d_a - d_b), atol=1e-4), "guidance moves away from the negative prompt"
    none = guided(model, guidance=None)
    made = guided(model, negative=B, guidance={"use": "cfg", "scale": 3.0})
    assert torch.allclose(made, d_b + 3 * (none - d_b), atol=1e-4), "also without a prompt"


def test_negative(model):
    check_negative(model)
    settings = model.sample(A, count=1, negative=B).settings
    assert settings["negative"] == B and "negative" not in model.sample(A, count=1).settings
    for weightless in (None, {"use": "cfg", "scale": 1}):
        with pytest.raises(BadInput, match="a negative prompt needs guidance"):
            model.sample(A, negative=B, guidance=weightless)


def test_a_negative_prompt_without_effect_is_caught(model, monkeypatch):
    monkeypatch.setattr(ConditionEmbedder, "prompt", lambda self, text: None)
    assert_caught(check_negative, model)


def check_composed(model):
    """A and B, A not B: D() + sum_i s_i (D(i) - D())."""
    none, d_a, d_b = (guided(model, guidance=None, **p) for p in ({}, {"prompt": A}, {"prompt": B}))
    for s_a, s_b in ((2.0, 1.5), (2.0, -1.0)):
        made = guided(model, guidance={"use": "composed", "prompts": {A: s_a, B: s_b}})
        assert torch.allclose(made, none + s_a * (d_a - none) + s_b * (d_b - none), atol=1e-4), "a sum of differences"


def test_composed(model):
    check_composed(model)
    for wrong, said in (
        ({"prompts": {A: 1.0}, "form": "nested"}, "in the form composed only"),
        ({"scales": {}}, "needs a scale"),
    ):
        with pytest.raises(BadInput, match=said):
            model.sample(guidance={"use": "composed", **wrong})
    with pytest.raises(BadInput, match="only if a trained run"):
        composed.Composed(prompts={A: 1.0}).begin(None)  # type: ignore[arg-type]


def check_composed_with_a_class(model):
    """D() + s_c (D(class) - D()) + s_a (D(A) - D()): each term has one condition."""
    none, d_class = (guided(model, label=label, guidance=None) for label in (None, "circle"))
    d_a = guided(model, label=None, prompt=A, guidance=None)
    made = guided(model, label="circle", guidance={"use": "composed", "scales": {"label": 2.0}, "prompts": {A: 1.5}})
    assert float((d_class - none).abs().max()) > 1e-3, "the class has an effect"
    assert torch.allclose(made, none + 2 * (d_class - none) + 1.5 * (d_a - none), atol=1e-4)


@pytest.mark.slow
def test_composed_with_a_class(tiny_run, monkeypatch):
    recipe = RECIPE.replace("conditioning:\n", "conditioning:\n  label: {use: class, drop: 0.5}\n")
    model = sonolux.load(tiny_run(recipe), device="cpu", allow_code=True)
    check_composed_with_a_class(model)
    branch = composed.GuidanceBranch
    monkeypatch.setattr(composed, "GuidanceBranch", lambda *a, **k: branch((), **k) if "other" in k else branch(*a))
    assert_caught(check_composed_with_a_class, model)


def test_no_sample_of_composed_prompts_is_said_to_be_of_another_one(model):
    """They take the place of the prompt, which has no effect."""
    asked = {"use": "composed", "prompts": {A: 2.0, B: 1.5, "a star": -1.0}}
    made = model.sample("something else", guidance=asked, count=1, steps=1)
    assert [row["caption"] for row in made.conditions] == [None] and made.settings["guidance"]["prompts"][B] == 1.5
    with pytest.raises(BadInput, match="composed prompts take no negative prompt"):
        model.sample(guidance=asked, negative="grey", count=1)


def test_a_planted_sign_in_composed_is_caught(model):
    with planted_error(composed.Composed, "_composed", swap_operator(ast.Sub, ast.Add)):
        assert_caught(check_composed, model)


# --- command line ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command(run, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\ufeffa cat: [black]\n\n  'quoted' \n", encoding="utf-8")
    out = tmp_path / "out"

    def command(*words):
        return main(["sample", str(run), *words, "--out", str(out), "--overwrite", "--allow-code"])

    long = "a " + "very " * 30 + "long one/../"
    with pytest.warns(UserWarning, match="is cut after 40 of 164 characters"):
        assert command(A, "prompt=x = 3", f"prompts={prompts}", long, "negative=[no", "count=6", "steps=1") == 0
    listed = json.loads((out / "samples.json").read_text())
    wanted = [A, "x = 3", "a cat: [black]", "'quoted'"]
    assert [sample["caption"] for sample in listed["samples"]][:4] == wanted and listed["settings"]["negative"] == "[no"
    names = [sample["file"] for sample in listed["samples"]]
    assert names[0] == "0000-a_small_red_circle.png" and all(len(name) < 60 and "/" not in name for name in names)
    assert (out / "sheet.png").is_file()
    for words, said in (
        (["prompts=none.txt"], "no such file"),
        (["negative=x", "guidance=null"], "needs guidance"),
        ([A, "conditions.caption=b"], "are the same"),
    ):
        assert command(*words) == 2
        assert said in capsys.readouterr().err
    prompts.write_bytes(b"\xff\xfe")
    assert command(f"prompts={prompts}") == 2 and "not UTF-8 text" in capsys.readouterr().err
    prompts.write_bytes(b"\n \n")
    assert command(f"prompts={prompts}") == 2 and "0 prompts" in capsys.readouterr().err


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_resumed_run_is_exact(run, tmp_path, monkeypatch):
    """Word and caption dropping are keyed by the step: a run that is resumed at step 2 gives the same weights."""
    seen, augment = [], Text.augment

    def noted(self, value, rng):
        seen.append(augment(self, value, rng))
        return seen[-1]

    monkeypatch.setattr(Text, "augment", noted)
    whole = newest_checkpoint(run)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / whole.name).unlink()
    job = TrainingRun(
        load_run_recipe(tmp_path / "run", allow_code=True), tmp_path / "run", say=lambda _: None, bar=False
    )
    job.prepare(resume=newest_checkpoint(tmp_path / "run"))
    job.run()
    assert job.step == 4 and len(seen) == 12, "two steps of six captions"
    first, again = (sonolux.load(path, device="cpu", allow_code=True) for path in (run, tmp_path / "run"))
    for a, b in zip(first.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(media(first.sample(A, count=2)), media(again.sample(A, count=2)))


@pytest.fixture
def trainer(tmp_path):
    """A trainer of a model with text, class and scalar."""
    (tmp_path / "r.yaml").write_text(
        RECIPE.replace("\ntrain:", MORE.rstrip() + "\ntrain:").replace("batch: 6", "batch: 64")
    )
    job = TrainingRun(load_recipe(tmp_path / "r.yaml"), tmp_path / "run", say=lambda _: None, bar=False)
    job.prepare()
    yield job.trainer
    job.close()


def check_drops(trainer):
    """Text, class and scalar are dropped each on its own, with its own probability."""
    from sonolux.core.objectives.base import StepRandomNumbers

    dropped = {name: [] for name in ("caption", "label", "size")}
    for step in range(6):
        batch = trainer.data_of_steps[step]
        rng = StepRandomNumbers(3, step, 64, batch.rows)
        with torch.no_grad():
            made = trainer._conditioning(batch, rng, None)
        conditions = trainer.model.conditions
        dropped["caption"] += (made.tokens["caption"].mask.sum(1) == 1).tolist()
        for name in ("label", "size"):
            dropped[name] += (made.vector[name] == conditions[name].null).all(1).tolist()
    flags = {name: torch.tensor(values) for name, values in dropped.items()}
    for name, share in (("caption", 0.3), ("label", 0.5), ("size", 0.5)):
        assert abs(float(flags[name].float().mean()) - share) < 0.12, f"{name} is dropped with its probability"
    for a, b in (("caption", "label"), ("label", "size"), ("caption", "size")):
        both = (flags[a] & flags[b]).float().mean()
        assert abs(float(both - flags[a].float().mean() * flags[b].float().mean())) < 0.08, (
            f"{a} and {b} are independent"
        )


@pytest.mark.slow
def test_text_class_and_scalar_are_dropped_each_on_its_own(trainer):
    check_drops(trainer)
    result = trainer.train_step(0.0)
    assert torch.isfinite(result.loss)
    grads = {n: p.grad for n, p in trainer.model.conditions.named_parameters()}
    assert {n.split(".")[0] for n, g in grads.items() if g is not None and g.any()} == {"caption", "label", "size"}


@pytest.mark.slow
def test_one_draw_for_all_conditions_is_caught(trainer, monkeypatch):
    from sonolux.core.objectives.base import StepRandomNumbers

    uniform = StepRandomNumbers.uniform
    monkeypatch.setattr(StepRandomNumbers, "uniform", lambda self, purpose: uniform(self, "drop"))
    assert_caught(check_drops, trainer)


def test_what_is_said_of_captions(tmp_path):
    from PIL import Image

    for i in range(8):
        (tmp_path / "data").mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (40 + i * 20, 0, 200)).save(tmp_path / "data" / f"{i}.png")
    data = f"data: {{use: image/folder, root: {tmp_path / 'data'}, label: none, split: {{by: hash, valid: 0}}}}"
    old = next(line for line in RECIPE.splitlines() if line.startswith("data:"))
    (tmp_path / "r.yaml").write_text(RECIPE.replace(old, data))

    def job():
        return TrainingRun(load_recipe(tmp_path / "r.yaml"), tmp_path / "run", say=lambda _: None, bar=False)

    with pytest.raises(BadInput, match="no example has a caption: put a text file") as error:
        job().prepare()
    assert len(str(error.value)) <= 200
    (tmp_path / "data" / "3.txt").write_text("blue\nazure\n")
    (tmp_path / "data" / "5.txt").write_text("x" * 50)
    made = job()
    made.prepare()
    said = made.describe()[-1]
    made.close()
    assert said.startswith("captions: 2 of 8 examples (25 %), 1 of them several; 50 % are longer than 40 tokens")
