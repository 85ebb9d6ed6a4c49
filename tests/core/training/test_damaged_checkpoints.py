"""Checkpoints that sonolux did not write: each damage gives one message, within two seconds, and nothing else."""

import json
import math
import shutil
import struct
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe
from sonolux.core.few_step.stored_plans import plan_from_json, plan_to_json
from sonolux.core.pipeline.open_checkpoint import open_checkpoint
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training import checkpoint as checkpoints
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput
from sonolux.core.util.messages import escape_control_characters

sys.path.insert(0, str(Path(__file__).parents[2]))
from _damage import SECONDS, VALUES, CheckpointParts, with_length
from _fuzz_readers import stored_plan

SMALL = ("data.count=24", "network={width: 8, stages: [1], attention: [], patch: 4}", "train.steps=1")


@pytest.fixture(scope="module")
def run(tiny_run):
    return tiny_run("image", *SMALL)


@pytest.fixture(scope="module")
def parts(run):
    found = CheckpointParts.of(newest_checkpoint(run))
    found.facts["plans"] = {"4": stored_plan()}
    found.facts["clip_lengths"] = [[3, None], [4, 1]]
    return found


def check_opened(path):
    """Open a checkpoint: accepted or refused, within the time, and without another error."""
    began = time.process_time()
    try:
        open_checkpoint(path, "cpu")
        said = ""
    except BadInput as error:
        said = str(error)
        assert len(error.lines()) == 1 and said, "one line"
        assert len(said) - len(str(path)) <= 200 and str(path) in said
    assert time.process_time() - began < SECONDS
    return said


@pytest.mark.slow
def test_an_undamaged_checkpoint_is_opened(parts, tmp_path):
    (tmp_path / "c.safetensors").write_bytes(parts.to_bytes())
    assert check_opened(tmp_path / "c.safetensors") == ""


def put(*path):
    """A damage: the value at a path of the header becomes the last argument."""
    *path, last, value = path

    def damage(parts):
        at = parts.facts
        for key in path:
            at = at[key]
        at[last] = value

    return damage


def remove(*path):
    """A damage: the header lacks the value at a path."""
    *path, last = path

    def damage(parts):
        at = parts.facts
        for key in path:
            at = at[key]
        del at[last]

    return damage


def recipe(old, new):
    """A damage: a text in the recipe is replaced."""

    def damage(parts):
        assert old in parts.facts["recipe"]
        parts.facts["recipe"] = parts.facts["recipe"].replace(old, new)

    return damage


def text(made):
    """A damage: the JSON text of the header is made from the undamaged one."""
    return lambda parts: parts.to_bytes(made(json.dumps(parts.facts)))


def tensor(name, **changes):
    """A damage: entries of a tensor in the header of safetensors."""
    return lambda parts: parts.tensors[name].update(changes)


def overlapping(parts):
    first, second, *_ = sorted(parts.tensors.values(), key=lambda t: t["data_offsets"])
    second["data_offsets"] = first["data_offsets"]


def large_header(parts):
    raw = parts.to_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    return with_length(raw[8:end] + b" " * (17 * 2**20), raw[end:])


def bomb():
    """A recipe of 500 characters whose aliases stand for a billion values."""
    letters = "abcdefghijkl"
    lines = [f"x-{a}: &{a} [{', '.join([f'*{b}'] * 9)}]" for a, b in zip(letters[1:], letters, strict=False)]
    return "\n".join(["recipe: 1", "x-a: &a [1, 1, 1]", *lines])


ROWS = ("plans", "4", "rows")
DAMAGES = {
    # the header of sonolux
    "no step": (remove("step"), "step: it is missing"),
    "no recipe": (remove("recipe"), "recipe: it is missing"),
    "no spec": (remove("spec"), "spec: it is missing"),
    "no format": (remove("format"), "format: it is missing"),
    "another format": (put("format", 9), "reads formats 1 and 2: upgrade"),
    "a format of 400 digits": (put("format", 10**400), r"checkpoint format 1000.*\.\.\., and this version reads"),
    "the format as text": (put("format", "2"), "format: .*integer"),
    "the step as text": (put("step", "1"), "step: .*integer"),
    "a negative step": (put("step", -1), "step: .*greater than or equal to 0"),
    "a step of NaN": (put("step", math.nan), "step: "),
    "a step that no run makes": (put("step", 10**30), "step: .*less than"),
    "a time of infinity": (put("elapsed", math.inf), "elapsed: .*finite"),
    "a recipe that is a number": (put("recipe", 3), "recipe: .*string"),
    "a spec that is a list": (put("spec", []), "spec: "),
    "a spec without size": (remove("spec", "size"), "spec.size: it is missing"),
    "a negative size": (put("spec", "size", [-16, 16]), "spec.size.0: .*greater"),
    "a huge size": (put("spec", "size", [2**39, 2**39]), "spec: .*too large"),
    "a size of no axis": (put("spec", "size", []), "spec.size: .*at least 1"),
    "a size of three axes": (put("spec", "size", [16, 16, 16]), "each of the axes"),
    "another size": (put("spec", "size", [32, 16]), r"header has size \[32, 16\], and its recipe \[16, 16\]"),
    "another modality in the header": (put("spec", "modality", "audio"), "has modality audio, and its recipe image"),
    "other channels": (put("spec", "channels", 1), "header has channels 1, and its recipe 3"),
    "other axes": (put("spec", "axes", ["time", "width"]), r"header has axes \['time', 'width'\], and its recipe"),
    "other rates": (put("spec", "rates", [44100.0, None]), r"header has rates \[44100.0, None\], and its recipe"),
    "another latent shape": (put("spec", "latent", [3, 8, 8]), r"latent \[3, 8, 8\], and its recipe \[3, 16, 16\]"),
    "a billion sampling steps": (recipe("  steps: 4", "  steps: 1000000000"), "steps: .*at most 10000, got 1"),
    "a huge sampling size": (recipe("  size: null", "  size: 1000000000"), "sample.size: .*at most 1000000"),
    "a billion samples": (recipe("  count: 6", "  count: 1000000000"), "sample.count: .*at most 100000"),
    "unknown keys of the network": (recipe("width: 8", f"{'stages_' * 60}: 8"), "network"),
    "channels of a fraction": (put("spec", "channels", 1.5), "spec.channels: .*integer"),
    "axes of one name": (put("spec", "axes", ["time", "time"]), "axes are names"),
    "a rate of 0": (put("spec", "rates", [0.0, None]), "spec.rates.0"),
    "classes that are numbers": (put("spec", "classes", [1, 2]), "spec.classes.0: .*string"),
    "other classes": (put("spec", "classes", ["a", "b"]), "does not fit this recipe"),
    "clip lengths without labels": (put("clip_lengths", [3, 4]), "clip_lengths.0"),
    "a clip length of 0": (put("clip_lengths", [[0, None]]), "clip_lengths.0.0"),
    "a clip length of an unknown class": (put("clip_lengths", [[3, 99]]), "class above"),
    "plans that are a list": (put("plans", []), "plans: "),
    "a plan that is a number": (put("plans", {"4": 3}), "plans.4: "),
    "a plan of no number": (put("plans", {"x": {}}), "plans.x"),
    "a plan without rows": (put("plans", {"4": {}}), "stored plan is not valid.*calibrate again"),
    "a plan of one row": (lambda parts: put(*ROWS, parts.facts["plans"]["4"]["rows"][:1])(parts), "stored plan"),
    "a plan of another number": (
        lambda parts: parts.facts.update(plans={"5": parts.facts["plans"]["4"]}),
        "plan of 5 evaluations has 4",
    ),
    "a row that is a list": (put(*ROWS, 1, [1, 2]), "stored plan is not valid .1: "),
    "a row without x": (remove(*ROWS, 1, "x"), "1.x: it is missing"),
    "a level of two numbers": (put(*ROWS, 1, "level", [1.0, 0.5]), "1.level"),
    "a level of NaN": (put(*ROWS, 1, "level", [math.nan, 1.0, 1.0]), "1.level.0: .*finite"),
    "a level of 0 and 0": (put(*ROWS, 1, "level", [1.0, 0.0, 0.0]), "row 1 .*alpha and sigma of 0"),
    "a coefficient of infinity": (put(*ROWS, 1, "x", [[0, math.inf]]), "1.x.0.1: .*finite"),
    "a row of the future": (put(*ROWS, 1, "x", [[7, 1.0]]), "row 1 .*does not exist"),
    "a row before the first": (put(*ROWS, 1, "x", [[-1, 1.0]]), "1.x.0.0: .*greater"),
    "an estimate that is not evaluated": (put(*ROWS, 0, "evaluate", False), "does not exist"),
    # its JSON text
    "no JSON": (text(lambda t: t[:-5]), "damaged: .*JSON"),
    "an empty text": (text(lambda t: ""), "damaged: .*JSON"),
    "a number": (text(lambda t: "3"), "damaged"),
    "deep JSON": (text(lambda t: '{"format": 2, "a": ' + '{"a": ' * 5000 + "0" + "}" * 5001), "recursion limit"),
    "half a character": (text(lambda t: t.replace('"step"', '"\\ud800"')), "damaged"),
    "a huge number": (text(lambda t: t.replace('"step": 1', '"step": ' + "9" * 5000)), "number out of range"),
    # its recipe
    "a long recipe": (put("recipe", "a" * 10**6), "1000000 characters"),
    "an empty recipe": (put("recipe", ""), "starts with `recipe: 1`"),
    "repeated keys": (put("recipe", "a: 1\n" * 5000), "recipe cannot be used"),
    "a deep recipe": (put("recipe", "[" * 5000), "nested more than"),
    "a deep recipe in blocks": (put("recipe", "- " * 5000), "nested more than"),
    "aliases": (put("recipe", bomb()), "aliases counted in full"),
    "an alias of itself": (put("recipe", "x: &a [*a]"), "alias that contains itself"),
    "control characters": (put("recipe", "recipe: 1\x1b[2J"), "not valid YAML"),
    "a wider network": (recipe("width: 8", "width: 16000"), "its ema does not fit this recipe"),
    "a network of no width": (recipe("width: 8", "width: -8"), "width is at least 1"),
    "a width of NaN": (recipe("width: 8", "width: .nan"), "network.width: expected integer, got .nan"),
    "a width of text": (recipe("width: 8", "width: x"), "network.width: expected integer"),
    "a width of many digits": (recipe("width: 8", f"width: {'9' * 5000}"), "network.width"),
    "a width in a long hexadecimal": (recipe("width: 8", f"width: 0x{'f' * 5000}"), "not an integer of 64 bits"),
    "many blocks": (recipe("blocks: 1", "blocks: 1000000000"), "blocks is at least 1 and at most"),
    "an unknown network": (recipe("image/unet", "acme/dit"), "there is no network 'acme/dit'"),
    "code": (recipe("use: image/unet", "use: './mine.py:Net'"), "allow-code"),
    "another modality": (recipe("use: image, size: 16, channels: 3", "use: audio"), "recipe cannot be used"),
    # the file
    "another library's": (
        lambda parts: with_length(json.dumps({"__metadata__": {"a": "b"}}).encode(), b""),
        "not a sonolux checkpoint",
    ),
    "a header of 2^60 bytes": (lambda parts: (2**60).to_bytes(8, "little") + parts.to_bytes()[8:], "damaged"),
    "a header of 0 bytes": (lambda parts: bytes(8) + parts.to_bytes()[8:], "damaged"),
    "a header of 17 MB": (large_header, "its header has .* bytes"),
    "an empty file": (lambda parts: b"", "damaged"),
    "a short file": (lambda parts: parts.to_bytes()[:-1000], "damaged"),
    "a deep header": (lambda parts: with_length(b'{"a":' * 50_000, b""), "damaged"),
    "metadata that are numbers": (lambda parts: with_length(b'{"__metadata__":{"sonolux":3}}', b""), "damaged"),
    "tensors that overlap": (overlapping, "damaged"),
    "a tensor beyond the end": (tensor("ema.network.stem.weight", data_offsets=[0, 2**50]), "damaged"),
    "a shape of huge numbers": (tensor("ema.network.stem.weight", shape=[2**62, 2**62]), "damaged"),
    "a negative shape": (tensor("ema.network.stem.weight", shape=[-1, 3]), "damaged"),
    "an unknown type": (tensor("ema.network.stem.weight", dtype="F99"), "damaged"),
    "integers for numbers": (tensor("ema.network.stem.weight", dtype="I32"), "of other types"),
    "another shape": (
        lambda parts: parts.tensors["ema.network.stem.weight"]["shape"].reverse(),
        "of other shapes .first: network.stem.weight",
    ),
    "a name with NUL": (
        lambda parts: parts.tensors.update({"ema.a\x00b": parts.tensors.pop("ema.network.stem.weight")}),
        "1 tensors missing .*1 tensors too many",
    ),
    "no weights": (
        lambda parts: with_length(json.dumps({"__metadata__": {"sonolux": json.dumps(parts.facts)}}).encode(), b""),
        "does not fit this recipe",
    ),
}  # fmt: skip


def check_damage(parts, path, name):
    damage, said = DAMAGES[name]
    parts = parts.copy()
    made = damage(parts)
    path.write_bytes(made if isinstance(made, bytes) else parts.to_bytes())
    message = check_opened(path)
    assert message, "refused"
    with pytest.raises(BadInput, match=said):
        raise BadInput(message)


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_gives_one_message(parts, tmp_path, name):
    check_damage(parts, tmp_path / "c.safetensors", name)


def test_values_of_a_wrong_kind_are_refused(parts, tmp_path):
    """Every entry of the header in turn is a list, a mapping, a text or a number that it cannot be."""
    path = tmp_path / "c.safetensors"
    for key, wrong in (("format", {}), ("recipe", []), ("spec", "x"), ("step", {}), ("elapsed", "x"), ("plans", "x")):
        damaged = parts.copy()
        damaged.facts[key] = wrong
        path.write_bytes(damaged.to_bytes())
        assert f"{key}: " in check_opened(path)


def test_a_command_prints_one_line_and_exits_with_2(parts, tmp_path, capsys):
    damaged = parts.copy()
    damaged.facts["recipe"] = "recipe: 1\nname: '\x1b[2J\u202e'\nseed: [\n"
    (tmp_path / "c.safetensors").write_bytes(damaged.to_bytes())
    assert main(["sample", str(tmp_path / "c.safetensors"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1 and escape_control_characters(said[:-1]) == said[:-1] and not (tmp_path / "out").exists()
    )


def test_changes_of_the_command_line_are_reported_as_always(parts, tmp_path):
    (tmp_path / "c.safetensors").write_bytes(parts.to_bytes())
    with pytest.raises(BadInput, match=r"command line: sample\.stepz=3: unknown key; did you mean"):
        open_checkpoint(tmp_path / "c.safetensors", "cpu", ["sample.stepz=3"])


# --- values that are not finite ---


def with_value(run, tmp_path, name, value):
    """A copy of the run whose checkpoint has one value in one tensor."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    path = newest_checkpoint(copy)
    parts = CheckpointParts.of(path)
    start, _ = parts.tensors[name]["data_offsets"]
    parts.data = parts.data[:start] + struct.pack("<f", value) + parts.data[start + 4 :]
    path.write_bytes(parts.to_bytes())
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["ema.network.stem.weight", "codec.standard.mean", "codec.standard.scale"])
def test_sampling_refuses_values_that_are_not_finite(run, tmp_path, name, value):
    said = check_opened(newest_checkpoint(with_value(run, tmp_path, name, value)))
    assert f"the tensor {name} contains values that are not finite" in said and "earlier checkpoint" in said


@pytest.mark.slow
@pytest.mark.parametrize("command", [["sample"], ["eval"], ["calibrate", "--nfe", "2", "--count", "2"]])
def test_every_command_refuses_them(run, tmp_path, capsys, command):
    copy = with_value(run, tmp_path, "ema.network.stem.weight", math.nan)
    before = newest_checkpoint(copy).read_bytes()
    out = [] if command[0] == "calibrate" else ["--out", str(tmp_path / "out")]
    assert main([command[0], str(copy), *command[1:], *out]) == 2
    assert "the tensor ema.network.stem.weight" in capsys.readouterr().err
    assert newest_checkpoint(copy).read_bytes() == before and not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.network.stem.weight", "ema.network.stem.weight", "optimizer.0.exp_avg_sq"])
def test_training_does_not_continue_with_them(run, tmp_path, name):
    copy = with_value(run, tmp_path, name, math.nan)
    job = TrainingRun(load_recipe(copy / "resolved.yaml"), copy, say=lambda _: None, bar=False)
    with pytest.raises(BadInput, match=f"the tensor {name} contains values that are not finite"):
        job.prepare(newest_checkpoint(copy))


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ([1, -2], True),
        ([3e38, 3e38], True),
        ([1, math.inf], False),
        ([math.inf, -math.inf], False),
        ([math.nan], False),
    ],
)
def test_finite_tensors(values, finite):
    assert checkpoints.is_finite(torch.tensor(values, dtype=torch.float32)) is finite
    assert checkpoints.is_finite(torch.tensor([2, 2**62])) and checkpoints.is_finite(torch.empty(0))


def test_numbers_that_overflow_in_the_type_of_the_module(tmp_path):
    from safetensors.torch import save_file

    save_file({"model.weight": torch.full((1, 2), 1e300, dtype=torch.float64)}, tmp_path / "c.safetensors")
    with pytest.raises(BadInput, match=r"model\.weight contains values that are not finite"):
        checkpoints.load_weights(tmp_path / "c.safetensors", torch.nn.Linear(2, 1, bias=False), "model")


def test_planted_trust_in_values_is_caught(run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "isfinite", lambda value: torch.ones(1, dtype=torch.bool))
    assert_caught(test_sampling_refuses_values_that_are_not_finite, run, tmp_path, "ema.network.stem.weight", math.nan)


# --- the state of the optimiser ---

STATES = {
    "an entry of no weight": (lambda s: {**s, "optimizer.999.step": torch.ones(())}, "belongs to no weight"),
    "a number that is none": (lambda s: {**s, "optimizer.-1.step": torch.ones(())}, "belongs to no weight"),
    "a name without a number": (lambda s: {**s, "optimizer.": torch.ones(())}, "belongs to no weight"),
    "another shape": (lambda s: {**s, "optimizer.0.exp_avg": s["optimizer.0.exp_avg"].flip(0)[:1]}, "has the shape"),
    "integers": (lambda s: {**s, "optimizer.0.exp_avg": s["optimizer.0.exp_avg"].long()}, "has the type .*int64"),
    "a negative mean of squares": (
        lambda s: {**s, "optimizer.0.exp_avg_sq": -1 - s["optimizer.0.exp_avg_sq"].abs()},
        r"optimizer\.0\.exp_avg_sq contains negative values",
    ),
    "a negative step": (lambda s: {**s, "optimizer.1.step": torch.tensor(-1.0)}, r"1\.step contains negative values"),
    "no mean": (
        lambda s: {k: v for k, v in s.items() if k != "optimizer.0.exp_avg"},
        r"1 tensors missing \(first: optimizer\.0\.exp_avg\)",
    ),
    "nothing": (lambda s: {k: v for k, v in s.items() if "optimizer" not in k}, "holds no state of the optimizer"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
def test_a_state_of_the_optimiser_that_does_not_fit(run, tmp_path, name):
    from safetensors.torch import save_file

    damage, said = STATES[name]
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    path = newest_checkpoint(copy)
    facts = json.dumps(CheckpointParts.of(path).facts)
    save_file({k: v.contiguous() for k, v in damage(load_file(path)).items()}, path, metadata={"sonolux": facts})
    job = TrainingRun(load_recipe(copy / "resolved.yaml"), copy, say=lambda _: None, bar=False)
    with pytest.raises(BadInput, match=said):
        job.prepare(newest_checkpoint(copy))


# --- stored plans ---


def test_a_plan_is_read_as_it_was_written():
    rows = stored_plan()["rows"]
    assert plan_to_json(plan_from_json(json.loads(json.dumps(rows)))) == rows


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows", [v for v in VALUES if not isinstance(v, str) or len(v) < 100], ids=lambda v: repr(v)[:30]
)
def test_a_plan_of_anything_else_is_refused(rows):
    with pytest.raises(BadInput, match="stored plan"):
        plan_from_json(rows)


def test_planted_trust_is_caught(parts, tmp_path, monkeypatch):
    """Planted: the tensors are not compared before the network is built; the plan's rows are not checked."""
    monkeypatch.setattr("sonolux.core.training.header.check_stored_plan", lambda nfe, plan: None)
    assert_caught(check_damage, parts, tmp_path / "c.safetensors", "a row of the future")
