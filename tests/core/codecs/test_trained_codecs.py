"""Trained codecs: the same data gives the same codec, the error falls, files are checked."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sonolux.core.codecs import trained
from sonolux.core.nn.layers.resample import mean_pool
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, Item, MediaSpec
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.audio.codecs.autoencoder import Autoencoder as AudioAutoencoder
from sonolux.modalities.audio.codecs.logmel import Logmel
from sonolux.modalities.audio.codecs.waveform import Waveform
from sonolux.modalities.image.codecs.autoencoder import Autoencoder as ImageAutoencoder

PICTURES = MediaSpec("image", 3, ("height", "width"), (16, 16))
SOUNDS = MediaSpec("audio", 1, ("time",), (1024,), (8000.0,))


def pictures(count=60):
    """Waves of a random direction and colour."""
    found = []
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    for i in range(count):
        u = torch.from_numpy(keyed_generator(0, i, "waves").random(6)).float()
        wave = torch.sin(0.6 * ((u[0] - 0.5) * x + (u[1] - 0.5) * y) + 6 * u[2])
        found.append(Item(wave * (2 * u[3:, None, None] - 1), source=f"{i}.png"))
    return found


def tones(count=20, length=None):
    time = torch.arange(1024) / 8000
    return [Item(0.3 * torch.sin(6.283 * (200 + 40 * i) * time)[None], length=length) for i in range(count)]


def image_codec(**kw):
    return ImageAutoencoder(PICTURES, **{"width": 8, "steps": 4, "batch": 8} | kw)


def audio_codec(spec=SOUNDS, base=None, **kw):
    return AudioAutoencoder(spec, base=base or Waveform(spec), **{"width": 8, "steps": 4, "batch": 8} | kw)


def error(codec):
    return float(codec.latents.parts.report[0])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A trained codec, and its file."""
    codec, path = image_codec(), tmp_path_factory.mktemp("codec") / "codec.safetensors"
    codec.fit(pictures())
    codec.write(path)
    return codec, path


@pytest.mark.parametrize("bottleneck", ["bounded", "kl"])
@pytest.mark.slow
def test_the_error_falls(bottleneck):
    def check(steps):
        codec = image_codec(steps=steps, bottleneck=bottleneck)
        codec.fit(pictures())
        assert error(codec) < 0.5
        z = codec.encode(torch.stack([item.media for item in pictures()]))
        assert z.shape == (60, *codec.shape((16, 16)))
        torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
        torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
        assert f"{100 * error(codec):.3g} % of the variance of 6 examples" in codec.describe()

    check(80)
    assert_caught(check, 1)


def check_same():
    """Two trainings on the same data agree in every bit, whatever torch's own generator has drawn."""
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        codec = image_codec(bottleneck="kl")
        codec.fit(iter(pictures()))
        states.append(codec.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_the_same_data_give_the_same_codec():
    check_same()


def test_planted_numbers_without_a_key_are_caught(monkeypatch):
    class Unkeyed:
        def integers(self, n, size):
            return torch.randint(n, (size,)).numpy()

        def random(self, size):
            return torch.rand(size).numpy()

        def standard_normal(self, size, dtype):
            return torch.randn(size).numpy()

    monkeypatch.setattr(trained, "keyed_generator", lambda *key: Unkeyed())
    assert_caught(check_same)


def test_held_out_examples_are_not_trained_on():
    """Every tenth example may be anything: the network is the same."""
    states = []
    for value in (0.0, 1.0):
        items = pictures()
        for i in range(9, 60, 10):
            items[i] = Item(items[i].media * value)
        codec = image_codec()
        codec.latents.parts.base.fit = lambda items: None  # its scales are those of all examples
        codec.fit(items)
        states.append({k: v for k, v in codec.state_dict().items() if ".network." in k})
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_file_gives_the_same_codec(stored):
    codec, path = stored
    other = image_codec(file=path)
    other.fit(pictures())  # measures
    x = torch.stack([item.media for item in pictures(4)])
    assert torch.equal(other.encode(x), codec.encode(x))
    assert torch.equal(other.decode(codec.encode(x)), codec.decode(codec.encode(x)))
    assert error(other) == pytest.approx(error(codec)) and str(path) in other.describe()
    assert [(k, len(v)) for k, v in other.state_dict().items()] == [("latents.read.fingerprint", 16)]
    assert not list(other.parameters()), "nothing of a file is trained"
    assert other.double().encode(x.double()).dtype == torch.float64, "it moves with the module"
    other.write(path.with_name("other.safetensors"))
    assert not path.with_name("other.safetensors").exists()


def test_another_hash_is_refused(stored, tmp_path):
    _, path = stored
    state = image_codec(file=path).state_dict()
    image_codec(file=path).load_state_dict(state)
    codec = image_codec(steps=1)
    codec.fit(pictures())
    codec.write(tmp_path / "second.safetensors")
    with pytest.raises(BadInput, match=r"second\.safetensors: its hash is [0-9a-f]{32}, and .* of hash [0-9a-f]{32}"):
        image_codec(file=tmp_path / "second.safetensors").load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factor": 2}, "whose factor is 4, and the recipe's is 2"),
        ({"latent": 8}, "whose latent is 4, and the recipe's is 8"),
        ({"bottleneck": "kl"}, "whose bottleneck is bounded, and the recipe's is kl"),
    ],
)
def test_a_file_of_other_options_is_refused(stored, options, words):
    with pytest.raises(BadInput, match=words):
        image_codec(**options, file=stored[1])


@pytest.fixture(scope="module")
def stored_sound(tmp_path_factory):
    codec, path = audio_codec(), tmp_path_factory.mktemp("sound") / "codec.safetensors"
    codec.fit(tones())
    codec.write(path)
    return path


FASTER = MediaSpec("audio", 1, ("time",), (1024,), (16000.0,))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spec": FASTER, "base": Waveform(FASTER)}, "whose rate is 8000.0, and the recipe's is 16000.0"),
        ({"base": Waveform(SOUNDS, patch=8)}, "whose hop is 16, and the recipe's is 8"),
        ({"base": Logmel(SOUNDS, mels=16, n_fft=64, hop=16)}, "whose base is Waveform, and the recipe's is Logmel"),
    ],
)
def test_a_file_of_another_rate_hop_or_base_is_refused(stored_sound, options, words):
    audio_codec(file=stored_sound)
    with pytest.raises(BadInput, match=words):
        audio_codec(**options, file=stored_sound)


def test_a_file_of_other_bands_is_refused(tmp_path):
    codec = audio_codec(base=Logmel(SOUNDS, mels=16, n_fft=64, hop=16))
    codec.fit(tones())
    codec.write(tmp_path / "codec.safetensors")
    with pytest.raises(BadInput, match="whose bands is 16, and the recipe's is 24"):
        audio_codec(base=Logmel(SOUNDS, mels=24, n_fft=64, hop=16), file=tmp_path / "codec.safetensors")


def _edited(path, target, tensors=None, meta=None):
    with safe_open(path, "pt") as file:
        found, facts = {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata())  # noqa: SIM118
    save_file({**found, **(tensors or {})}, target, metadata=facts if meta is None else meta)


def test_damaged_files_are_refused(stored, tmp_path):
    path, bad = stored[1], tmp_path / "bad.safetensors"
    with pytest.raises(BadInput, match="no such file"):
        image_codec(file=bad)
    bad.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match="damaged"):
        image_codec(file=bad)
    bad.write_bytes(b"\xff" * 64)
    with pytest.raises(BadInput, match="damaged"):
        image_codec(file=bad)
    _edited(path, bad, tensors={"base.standard.mean": torch.ones(3)})
    with pytest.raises(BadInput, match="hash"):
        image_codec(file=bad)
    for meta in ({}, {"sonolux_codec": "[]"}, {"sonolux_codec": json.dumps({"facts": []})}):
        _edited(path, bad, meta=meta)
        with pytest.raises(BadInput, match="damaged, or not a trained codec"):
            image_codec(file=bad)


def test_values_that_are_not_finite_are_refused(tmp_path):
    codec = image_codec()
    codec.latents.parts.network.encoder[0].weight.data[0] = float("nan")
    codec.write(tmp_path / "codec.safetensors")
    with pytest.raises(BadInput, match="not finite"):
        image_codec(file=tmp_path / "codec.safetensors")


def test_examples_are_thinned_out_evenly(monkeypatch):
    monkeypatch.setattr(trained, "MOST_VALUES", 100)
    kept = trained.thinned_items(Item(torch.full((10,), float(i))) for i in range(95))
    numbers = [int(item.media[0]) for item in kept]
    assert numbers == list(range(0, 95, 16)) and sum(item.media.numel() for item in kept) <= 100


@pytest.mark.parametrize("codec", [image_codec, audio_codec])
def test_nothing_to_fit(codec):
    with pytest.raises(BadInput, match="nothing to fit"):
        codec().fit([])


@pytest.mark.parametrize(
    ("count", "words"), [(1, "of its only example"), (2, "of 1 example that it was not"), (9, "of 1 e")]
)
def test_few_examples_are_enough(count, words):
    """One of them is held out, if there are two."""
    codec = image_codec(steps=1)
    codec.fit(pictures(count))
    assert words in codec.describe()


def test_padding_of_short_sounds_is_not_measured():
    """The scales are those of latent elements that cover the sound."""
    codec, items = audio_codec(), tones(12, length=256)
    for item in items:
        item.media[..., 256:] = 0
    codec.fit(items)
    z = codec.encode(torch.stack([item.media for item in items]))
    valid = codec.valid(torch.full((12,), 256), (1024,))
    assert valid[0].sum() == 4
    part = z[..., :4]
    torch.testing.assert_close(
        part.square().mean((0, 2)) - part.mean((0, 2)).square(), torch.ones(16), atol=1e-3, rtol=0
    )
    assert not torch.allclose(z.var((0, 2)), torch.ones(16), atol=0.1)


def test_padding_does_not_count_as_variance_that_is_kept():
    """Without the mask, the constant level of silence in log-mel bands would be most of what is kept."""

    def check():
        codec, items = audio_codec(base=Logmel(SOUNDS, mels=16, n_fft=64, hop=16)), tones(12, length=64)
        for item in items:
            item.media[..., 64:] = 0
        codec.fit(items)
        parts = codec.latents.parts
        x = parts.base.encode(items[9].media[None])
        valid = parts.base.valid(torch.tensor([64]), (1024,))
        lost = ((codec.latents.decode(codec.latents.encode(x)) - x) * valid).square().sum() / (x * valid).square().sum()
        assert error(codec) == pytest.approx(float(lost), rel=1e-3)

    check()

    def unmasked(self, examples):
        x = examples.media(examples.held_out)
        return float((self.decode(self.encode(x)) - x).square().sum() / x.square().sum())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained.TrainedAutoencoder, "_error", unmasked)
        assert_caught(check)


def test_the_mask_is_that_of_the_base_codec():
    """A latent element is valid where one of its positions is; windows of the base codec reach into the next one."""
    base = Logmel(SOUNDS, mels=16, n_fft=64, hop=16)
    codec = audio_codec(base=base)
    for length in (1, 63, 64, 65, 500, 1024):
        lengths = torch.tensor([length])
        expected = mean_pool(base.valid(lengths, (1024,)), 4) > 0
        assert torch.equal(codec.valid(lengths, (1024,)) > 0, expected), length
