"""The latent cache: the same losses bit for bit, fewer calls of the codec, refused augmentation."""

import shutil

import pytest
import torch
from sonolux.core.codecs import comparison
from sonolux.core.config.load import load_recipe
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.training import latents
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput, Item
from sonolux.modalities.image.codecs.autoencoder import Autoencoder

CODEC = "codec={use: image/autoencoder, width: 8, steps: 2, batch: 4}"


@pytest.fixture
def prepared(tiny_recipe, tmp_path):
    """prepared(name, *changes): a run that has not started, and the list of batch sizes that its codec encodes."""

    def make(name, *changes, resume=None):
        (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
        recipe = load_recipe(tmp_path / "tiny.yaml", [CODEC, "network.patch=1", "data.count=12", *changes])
        run = TrainingRun(recipe, tmp_path / name, lambda _: None, False)
        run.prepare(resume=resume)
        calls, inner = [], run.parts.codec.encode

        def encode(media, loop=False):
            calls.append(len(media))
            return inner(media, loop)

        run.parts.codec.encode = encode
        return run, calls

    return make


def losses(run, steps=6):
    return [run.trainer.train_step(0.0).per_sample for _ in range(steps)]


@pytest.mark.slow
def test_the_same_losses_with_fewer_calls(prepared):
    """10 training examples, batches of 4: after three steps each was encoded; every later batch is read."""
    cached, calls = prepared("cached", "train.batch=4")
    plain, all_calls = prepared("plain", "train.batch=4", "train.cache_latents=false")

    def check():
        assert all(torch.equal(a, b) for a, b in zip(losses(cached), losses(plain), strict=True))

    check()
    assert calls == [4, 4, 4] and all_calls == [4] * 6
    assert (cached.folder.path / "latents.bin").is_file() and not (plain.folder.path / "latents.bin").exists()
    with pytest.MonkeyPatch.context() as patch:  # planted: values of another example
        patch.setattr(latents, "media_key", lambda media: b"k" * 16)
        assert_caught(check)
    for run in (cached, plain):
        run.close()


@pytest.mark.slow
def test_a_resumed_run_reads_what_was_stored(prepared, tmp_path):
    run, calls = prepared("run", "train.steps=4")
    run.run()
    assert len(calls) <= 3
    first = newest_checkpoint(tmp_path / "run")
    again, calls = prepared("run", "train.steps=8", resume=first)
    losses(again, 1)
    assert calls == [], "the file of the first run is used"
    again.close()
    (tmp_path / "run" / "latents.bin").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"latents\.bin: the file is damaged, and is made again"):
        again, calls = prepared("run", "train.steps=8", resume=first)
    losses(again, 1)
    assert calls == [6]
    again.close()


def check_kept_with_a_codec_elsewhere(prepared, folder, codec):
    again, calls = prepared(folder.name, f"codec.file={codec}", "train.steps=8", resume=newest_checkpoint(folder))
    try:
        losses(again, 1)
        assert calls == []
    finally:
        again.close()


@pytest.mark.slow
def test_a_codec_that_was_moved_keeps_what_it_encoded(prepared, tmp_path):
    first, _ = prepared("first", "train.steps=4")
    first.run()
    own, here, there = (tmp_path / name / "codec.safetensors" for name in ("first", "here", "there"))
    here.parent.mkdir()
    shutil.copy(own, here)
    prepared("run", f"codec.file={here}", "train.steps=4")[0].run()
    here.parent.rename(there.parent)
    check_kept_with_a_codec_elsewhere(prepared, tmp_path / "run", there)
    check_kept_with_a_codec_elsewhere(prepared, tmp_path / "first", own)  # the one that the run itself has trained
    with (
        planted_error(comparison, "_settings", lambda codec, options: options),
        pytest.warns(UserWarning, match="is of another codec, version or kind of device, and is made again"),
    ):
        assert_caught(check_kept_with_a_codec_elsewhere, prepared, tmp_path / "run", there)


@pytest.mark.slow
def test_a_replaced_run_keeps_its_file_until_then(prepared, tmp_path, tiny_recipe):
    run, _ = prepared("run")
    run.run()
    before = (tmp_path / "run" / "latents.bin").read_bytes()
    recipe = load_recipe(tmp_path / "run" / "resolved.yaml", ["codec.steps=1"])
    other = TrainingRun(recipe, tmp_path / "run", lambda _: None, False)
    other.prepare(overwrite=True)
    losses(other, 1)
    assert (tmp_path / "run" / "latents.bin").read_bytes() == before
    other.run()
    assert (tmp_path / "run" / "latents.bin").read_bytes() != before


class _Data:
    """Examples that augmentation changes: not at all, by mirroring, by a random number."""

    def __init__(self, kind):
        self.kind = kind

    def __len__(self):
        return 9

    def item(self, index, rng=None):
        media = torch.arange(4.0)[None] + index
        if self.kind == "damaged" and index:
            raise BadInput("cannot be read")
        if rng is not None and self.kind == "mirrored" and rng.integers(2):
            media = media.flip(-1)
        if rng is not None and self.kind == "random":
            media = media * rng.random()
        return Item(media)


def test_augmentation_is_recognised():
    found = {kind: latents.is_augmented(_Data(kind), 0) for kind in ("none", "mirrored", "random", "damaged")}
    assert found == {"none": False, "mirrored": False, "random": True, "damaged": False}


@pytest.mark.slow
def test_augmentation_before_the_codec(prepared, monkeypatch):
    monkeypatch.setattr(latents, "is_augmented", lambda data, seed: True)
    run, _ = prepared("auto")
    assert run.trainer.latents is None and any("encoded at every step" in line for line in run.describe())
    run.close()
    with pytest.raises(BadInput, match="cache_latents is true, but image/shapes changes its examples at random"):
        prepared("asked", "train.cache_latents=true")


def test_codecs_without_a_network_are_not_cached_unless_asked(prepared):
    run, _ = prepared("pixels", "codec={use: image/pixels}", "network.patch=2")
    assert run.trainer.latents is None
    run.close()
    run, calls = prepared("asked", "codec={use: image/pixels}", "network.patch=2", "train.cache_latents=true")
    losses(run, 4)
    assert len(calls) < 4
    run.close()


@pytest.mark.slow
def test_a_run_from_weights_takes_their_codec(prepared, tmp_path, monkeypatch):
    """The weights are for the latent tensor of that codec; another training of one would give another tensor."""
    run, _ = prepared("first", "train.steps=2")
    run.run()
    shutil.copy(newest_checkpoint(tmp_path / "first"), tmp_path / "copy.safetensors")
    monkeypatch.setattr(Autoencoder, "fit", lambda self, items: pytest.fail("it is trained again"))
    recipe = load_recipe(tmp_path / "first" / "resolved.yaml", ["seed=9"])
    second = TrainingRun(recipe, tmp_path / "second", lambda _: None, False)
    second.prepare(weights=tmp_path / "copy.safetensors")
    mine, theirs = (r.parts.codec.state_dict() for r in (second, run))
    assert all(torch.equal(mine[k], theirs[k]) for k in mine | theirs)
    second.close()
