"""Runs whose codec is trained: checkpoints, resumed runs, the codec's file, samples, edits, copies elsewhere."""

import shutil

import pytest
import torch
from sonolux.core.codecs import trained
from sonolux.core.config.load import load_recipe
from sonolux.core.pipeline.load import load
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput

IMAGE = "codec={use: image/autoencoder, width: 8, steps: 3, batch: 4}"
SOUND = "codec={use: audio/autoencoder, base: {use: audio/logmel, mels: 16}, width: 8, steps: 3, batch: 4}"


def codec_state(folder):
    return load(folder).context.codec.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize(("modality", "changes"), [("image", [IMAGE, "network.patch=1"]), ("audio", [SOUND])])
def test_a_run_end_to_end(tiny_run, modality, changes):
    run = tiny_run(modality, *changes)
    pipeline = load(run)
    assert pipeline.context.spec.latent == ((4, 4, 4) if modality == "image" else (16, 8))
    samples = pipeline.sample(count=2)
    assert [tuple(m.shape) for m in samples.media] == [(3, 16, 16) if modality == "image" else (1, 2000)] * 2
    assert all(bool(torch.isfinite(m).all()) and not m.requires_grad for m in samples.media)
    loop = pipeline.sample(count=1, loop=True).media[0]
    assert loop.shape[-1] % pipeline.context.codec.unit == 0
    assert (run / "codec.safetensors").is_file()


@pytest.mark.slow
def test_a_resumed_run_uses_the_same_codec(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run("image", IMAGE, "network.patch=1", own="resumed"), run)
    before, written = codec_state(run), (run / "codec.safetensors").read_bytes()
    lines = []
    stored = (run / "latents.bin").stat().st_size
    again = TrainingRun(load_recipe(run / "resolved.yaml", ["train.steps=6"]), run, lines.append, False)
    again.prepare(resume=newest_checkpoint(run))
    assert (run / "latents.bin").stat().st_size == stored > 0, "the encoded examples are still valid"
    assert any("codec: an autoencoder of" in line for line in again.describe())
    again.run()
    after = codec_state(run)
    assert load(run).step == 6
    assert all(torch.equal(before[k], after[k]) for k in before | after)
    assert (run / "codec.safetensors").read_bytes() == written


@pytest.mark.slow
def test_a_codec_of_a_file_is_in_no_checkpoint(tiny_run, tmp_path):
    first = tiny_run("image", IMAGE, "network.patch=1")
    file = tmp_path / "codec.safetensors"
    shutil.copy(first / "codec.safetensors", file)
    run = tiny_run("image", IMAGE[:-1] + f", file: {file}}}", "network.patch=1", own="file")
    assert list(codec_state(run)) == ["latents.read.fingerprint"] and not (run / "codec.safetensors").exists()
    x = torch.zeros(1, 3, 16, 16)
    assert torch.equal(load(run).context.codec.encode(x), load(first).context.codec.encode(x))

    copy = tmp_path / "copy.safetensors"
    shutil.copy(newest_checkpoint(run), copy)
    with pytest.raises(BadInput, match=r"codec\.file is .* made elsewhere"):
        load(copy)
    assert load(copy, changes=[f"codec.file={file}"]).step == 4

    other = tiny_run("image", IMAGE.replace("steps: 3", "steps: 2"), "network.patch=1") / "codec.safetensors"
    with pytest.raises(BadInput, match="its hash is"):
        load(copy, changes=[f"codec.file={other}"])
    file.unlink()
    with pytest.raises(BadInput, match="no such file of a trained codec"):
        load(run)


def start(folder, changes, weights):
    """The codec of a new run with initial weights."""
    run = TrainingRun(load_recipe(weights / "resolved.yaml", changes), folder, lambda _: None, False)
    run.prepare(weights=newest_checkpoint(weights))
    run.close()
    return run.parts.codec


def check_weights_go_on_with_the_codecs_file(run, other, tmp_path):
    """`--from RUN codec.file=RUN/codec.safetensors` starts with the codec of RUN; the file of another is refused."""
    x = torch.rand(1, 3, 16, 16)
    codec = start(tmp_path / "new", [f"codec.file={run / 'codec.safetensors'}"], run)
    assert list(codec.state_dict()) == ["latents.read.fingerprint"]
    assert torch.equal(codec.encode(x), load(run).context.codec.encode(x))
    with pytest.raises(
        BadInput, match=r"its hash is \w+, and the run was trained with the codec of hash \w+: codec\.file"
    ):
        start(tmp_path / "refused", [f"codec.file={other / 'codec.safetensors'}"], run)
    assert not (tmp_path / "refused" / "checkpoints").exists()


@pytest.mark.slow
def test_weights_of_a_run_with_the_file_of_its_codec(tiny_run, tmp_path):
    run = tiny_run("image", IMAGE, "network.patch=1")
    other = tiny_run("image", IMAGE.replace("steps: 3", "steps: 2"), "network.patch=1")
    check_weights_go_on_with_the_codecs_file(run, other, tmp_path)
    with planted_error(trained, "fingerprint_of_tensors", lambda tensors, facts: bytes(16)):
        assert_caught(check_weights_go_on_with_the_codecs_file, run, other, tmp_path / "planted", also=BadInput)


@pytest.mark.slow
def test_a_checkpoint_without_weights_of_its_codec_needs_the_file(tiny_run, tmp_path):
    run = tiny_run("image", IMAGE, "network.patch=1")
    read = tiny_run("image", f"{IMAGE[:-1]}, file: {run / 'codec.safetensors'}}}", "network.patch=1")
    with pytest.raises(BadInput, match=r"holds no weights of its codec, only their hash \w{32}: name its file"):
        start(tmp_path / "new", ["codec.file=null"], read)
    x = torch.rand(1, 3, 16, 16)
    sampled = load(run, changes=[f"codec.file={run / 'codec.safetensors'}"])
    assert torch.equal(sampled.context.codec.encode(x), load(run).context.codec.encode(x))


@pytest.mark.slow
def test_a_checkpoint_of_a_trained_codec_can_be_copied(tiny_run, tmp_path):
    run = tiny_run("image", IMAGE, "network.patch=1")
    shutil.copy(newest_checkpoint(run), tmp_path / "copy.safetensors")
    mine, copied = codec_state(run), codec_state(tmp_path / "copy.safetensors")
    assert all(torch.equal(mine[k], copied[k]) for k in mine | copied)


@pytest.mark.slow
def test_a_run_that_replaces_another_replaces_its_codec(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run("image", IMAGE, "network.patch=1", own="replaced"), run)
    before = (run / "codec.safetensors").read_bytes()
    changed = load_recipe(run / "resolved.yaml", ["codec.steps=2"])
    again = TrainingRun(changed, run, lambda _: None, False)
    again.prepare(overwrite=True)
    assert (run / "codec.safetensors").read_bytes() == before, "the earlier run stays until the first checkpoint"
    again.run()
    assert (run / "codec.safetensors").read_bytes() != before
    plain = TrainingRun(load_recipe(run / "resolved.yaml", ["codec={use: image/pixels}"]), run, lambda _: None, False)
    plain.prepare(overwrite=True)
    plain.run()
    assert not (run / "codec.safetensors").exists()


@pytest.mark.slow
def test_sizes_that_do_not_fit(tiny_run):
    with pytest.raises(BadInput, match=r"multiples of 4, not \[18, 18\]"):
        tiny_run("image", IMAGE, "modality.size=18")
    with pytest.raises(BadInput, match=r"multiples of 4, not \[18, 18\]"):
        load(tiny_run("image", IMAGE, "network.patch=1")).sample(count=1, size=18)
