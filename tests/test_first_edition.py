"""Run folders of the first edition load, sample what it sampled from the same noise, and resume.

The fixtures are explained in tests/assets/first_edition/README.md.
"""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from sonolux.core.cli.main import main
from sonolux.core.conditioning.base import build_conditioning
from sonolux.core.config.load import load_recipe
from sonolux.core.nn.legacy_weights import upgrade_names
from sonolux.core.pipeline.load import load
from sonolux.core.training.build import build_model_components
from sonolux.core.training.checkpoint import newest_checkpoint, read_header
from sonolux.core.util.rng import KeyedNoise

ASSETS = Path(__file__).parent / "assets" / "first_edition"
MODALITIES = ("image", "audio")
CASES = ("numbers", "map", "odd", "valid", "wrap")
NUMBERS = torch.tensor([-1.5, 2.0])  # the levels of every case but "map"


@pytest.fixture(scope="module", params=MODALITIES)
def first(request):
    """(run folder, expected tensors, expected facts) of one modality."""
    folder = ASSETS / request.param
    with safe_open(str(folder / "expected.safetensors"), framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
    return folder / "run", load_file(folder / "expected.safetensors"), facts


def listed(tensors, prefix):
    """The tensors prefix.0, prefix.1, ..."""
    found = {k: v for k, v in tensors.items() if k.startswith(f"{prefix}.")}
    return [found[f"{prefix}.{i}"] for i in range(len(found))]


def network_outputs(model, tensors, facts):
    """case -> raw output of the model at the fixture's inputs."""
    values = facts["values"]
    if "look" in values:  # JSON has no tuples
        values = {**values, "look": [None if v is None else tuple(v) for v in values["look"]]}
    made = {}
    for case in CASES:
        x = tensors[f"network.{case}.x"]
        wrap = tuple(range(x.ndim - 2)) if case == "wrap" else ()
        record = replace(
            build_conditioning(model.conditions, values), valid=tensors.get(f"network.{case}.valid"), wrap=wrap
        )
        with torch.no_grad():
            made[case] = model(x, tensors.get(f"network.{case}.level", NUMBERS), record)
    return made


def valid_part(tensors, case, y):
    """y where the sample is valid: what the network says of padding means nothing."""
    valid = tensors.get(f"network.{case}.valid")
    return y if valid is None else y * valid


def check_outputs(model, tensors, facts):
    for case, y in network_outputs(model, tensors, facts).items():
        expected = tensors[f"network.{case}.output"]
        torch.testing.assert_close(
            valid_part(tensors, case, y), valid_part(tensors, case, expected), rtol=1e-5, atol=1e-5, msg=case
        )


@pytest.mark.slow
def test_the_network_puts_out_what_it_did(first):
    """Numbers and maps of levels, odd sizes, padding and circular axes."""
    run, tensors, facts = first
    check_outputs(load(run, device="cpu").model, tensors, facts)


@pytest.mark.slow
def test_two_exchanged_weights_are_noticed(first):
    """Planted error: two weights of the same shape loaded into each other's places."""
    run, tensors, facts = first
    model = load(run, device="cpu").model
    with torch.no_grad():
        a, b = model.network.down[0].blocks[0].conv2.weight, model.network.up[0].blocks[0].conv2.weight
        kept = a.clone()
        a.copy_(b)
        b.copy_(kept)
    with pytest.raises(AssertionError, match="numbers"):
        check_outputs(model, tensors, facts)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cfg", "stochastic"])
def test_samples_from_the_same_noise(first, name, monkeypatch):
    """The latents that reach the codec, and the media, are within 1e-5 of the first edition's."""
    run, tensors, facts = first
    pipeline, drawn, decoded = load(run, device="cpu"), iter(listed(tensors, f"{name}.noise")), []
    decode = pipeline.codec.decode

    def recorded(z, *args, **kwargs):
        decoded.append(z.clone())
        return decode(z, *args, **kwargs)

    monkeypatch.setattr(KeyedNoise, "normal", lambda self, purpose, counter=0: next(drawn).to(self.dtype))
    monkeypatch.setattr(KeyedNoise, "normals", lambda self, purpose, counters: [self.normal(purpose) for _ in counters])
    monkeypatch.setattr(pipeline.codec, "decode", recorded)
    made = pipeline.sample(**facts["samples"][name])
    assert next(drawn, None) is None, "as many noises are drawn"
    for own, expected in zip(decoded, listed(tensors, f"{name}.latents"), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-5)
    if name == "cfg":
        for own, expected in zip(made.media, listed(tensors, "cfg.media"), strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_run_folder_resumes(first, tmp_path):
    """Two more steps, from the command line: the log goes on and a new checkpoint is written."""
    run = Path(shutil.copytree(first[0], tmp_path / "run"))
    assert main(["train", "--resume", str(run), "train.steps=6", "--quiet"]) == 0
    assert read_header(newest_checkpoint(run)).step == 6
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [json.loads(line) for line in (first[0] / "metrics.jsonl").read_text().splitlines()]
    assert rows[: len(kept)] == kept and rows[-1]["step"] == 6 and rows[-1]["loss"] < 100


def names_today(model, facts):
    """First-edition name of a parameter -> its name today, in the first edition's order."""
    former = {name: torch.empty(0) for name, _ in facts["parameters"]}
    return dict(zip(former, upgrade_names(former, "model", model.state_dict().keys()), strict=True))


@pytest.mark.slow
def test_the_optimizer_state_goes_with_the_same_parameters(first):
    """Matrices and vectors keep their orders, for the optimiser's state has numbers and no names."""
    run, _, facts = first
    pipeline = load(run, device="cpu")
    names, parameters = names_today(pipeline.model, facts), dict(pipeline.model.named_parameters())
    groups = pipeline.recipe.train.optimizer.build().make(pipeline.model).param_groups
    ordered = [p for group in groups for p in group["params"]]
    former = sorted(facts["parameters"], key=lambda row: len(row[1]) < 2)  # stable: matrices first, then vectors
    state = load_file(newest_checkpoint(run))
    assert len(ordered) == len(former) == len(parameters)
    for i, (p, (name, shape)) in enumerate(zip(ordered, former, strict=True)):
        assert p is parameters[names[name]] and list(p.shape) == shape
        assert state[f"optimizer.{i}.exp_avg"].shape == p.shape


def test_a_seed_gives_the_same_initial_weights(first):
    """Bit for bit."""
    run, _, facts = first
    model = build_model_components(load_recipe(run / "resolved.yaml"), read_header(newest_checkpoint(run)).spec).model
    state, digest = model.state_dict(), hashlib.sha256()
    names = names_today(model, facts)
    assert set(names.values()) == state.keys()
    for former, today in names.items():
        digest.update(former.encode())
        digest.update(state[today].contiguous().numpy().tobytes())
    assert digest.hexdigest() == facts["initial_sha256"]


def test_recipes_with_the_old_keys_are_read(first):
    """As they were written, and as they were resolved: both are one recipe."""
    run = first[0]
    written, resolved = load_recipe(run / "recipe.yaml"), load_recipe(run / "resolved.yaml")
    assert written.resolved() == resolved.resolved()
    assert written.name == f"first-{run.parent.name}" and written.sample.count == 3


def test_the_fixtures_are_small():
    """Under 300 KB in all."""
    assert sum(f.stat().st_size for f in ASSETS.rglob("*") if f.is_file()) < 300_000
