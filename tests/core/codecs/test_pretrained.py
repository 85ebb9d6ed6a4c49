"""Codecs of other packages, on tiny networks with random weights: shapes, scales, folders that are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from sonolux.core.config.load import load_recipe
from sonolux.core.pipeline.load import load
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput, Item, MediaSpec
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.audio.codecs.dac import Dac
from sonolux.modalities.audio.codecs.encodec import Encodec
from sonolux.modalities.audio.codecs.oobleck import Oobleck
from sonolux.modalities.image.codecs.autoencoder_kl import AutoencoderKL

PICTURES = MediaSpec("image", 3, ("height", "width"), (16, 16))


def sounds(rate=4000.0, channels=1, size=500):
    return MediaSpec("audio", channels, ("time",), (size,), (rate,))


def _kl():
    diffusers = pytest.importorskip("diffusers")
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=3,
    )


def _oobleck():
    diffusers = pytest.importorskip("diffusers")
    return diffusers.AutoencoderOobleck(
        encoder_hidden_size=8,
        downsampling_ratios=[2, 4],
        channel_multiples=[1, 2],
        decoder_channels=8,
        decoder_input_channels=4,
        audio_channels=2,
        sampling_rate=4000,
    )


def _encodec(**kw):
    transformers = pytest.importorskip("transformers")
    return transformers.EncodecModel(
        transformers.EncodecConfig(
            **{"sampling_rate": 4000, "hidden_size": 6, "num_filters": 4, "upsampling_ratios": [4, 2]}
            | {"codebook_size": 8, "num_lstm_layers": 1}
            | kw
        )
    )


def _dac():
    transformers = pytest.importorskip("transformers")
    return transformers.DacModel(
        transformers.DacConfig(
            encoder_hidden_size=4,
            downsampling_ratios=[2, 4],
            decoder_hidden_size=16,
            n_codebooks=2,
            codebook_size=8,
            sampling_rate=4000,
        )
    )


MAKERS = {
    "kl": (_kl, AutoencoderKL, PICTURES),
    "oobleck": (_oobleck, Oobleck, sounds(channels=2)),
    "encodec": (_encodec, Encodec, sounds()),
    "dac": (_dac, Dac, sounds()),
}
LATENT = {"kl": (3, 8, 8), "oobleck": (4, 63), "encodec": (6, 63), "dac": (16, 63)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folder(name): a folder with a tiny network, saved by its own package."""
    made = {}

    def get(name):
        if name not in made:
            torch.manual_seed(1)
            network = MAKERS[name][0]()
            made[name] = tmp_path_factory.mktemp(name) / "network"
            network.save_pretrained(made[name])
        return made[name]

    return get


def items(spec, count=6):
    shape = (spec.channels, *spec.size)
    return [
        Item(torch.from_numpy(keyed_generator(0, i, "media").standard_normal(shape)).float() * 0.3)
        for i in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_shapes_scales_and_state(folder, name):
    _, cls, spec = MAKERS[name]
    place, state = folder(name), torch.random.get_rng_state()
    codec = cls(spec, folder=place)
    assert torch.equal(state, torch.random.get_rng_state()), "torch's own generator is left alone"
    assert codec.shape(spec.size) == LATENT[name]
    codec.fit(items(spec))
    media = torch.stack([item.media for item in items(spec)])
    z = codec.encode(media)
    assert z.shape == (6, *LATENT[name]) and torch.equal(z, codec.encode(media)), "encoding is deterministic"
    axes = tuple(range(2, z.ndim))
    torch.testing.assert_close(z.mean((0, *axes)), torch.zeros(z.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, *axes)), torch.ones(z.shape[1]), atol=1e-2, rtol=0)
    assert codec.decode(z, spec.length).shape == media.shape
    assert "% of the variance of 6 examples" in codec.describe()
    assert set(codec.state_dict()) == {f"latents.{k}" for k in ("fingerprint", "report", "normal.mean", "normal.scale")}
    assert not list(codec.parameters()) and not any(p.requires_grad for p in codec.latents.network.parameters())
    again = cls(spec, folder=folder(name))
    again.load_state_dict(codec.state_dict())
    assert torch.equal(again.encode(media), z)
    x = media[:1].clone().requires_grad_()
    codec.decode(codec.encode(x)).square().sum().backward()
    assert x.grad.abs().sum() > 0, "differentiable both ways"
    assert codec.double().encode(media.double()).dtype == torch.float64, "the network moves with the codec"


@pytest.mark.slow
def test_the_latent_tensor_is_that_of_the_package(folder):
    """Oracle: the package's own calls; the scales are undone."""
    codec = AutoencoderKL(PICTURES, folder=folder("kl"))
    codec.fit(items(PICTURES))
    x = items(PICTURES)[0].media[None]
    network = codec.latents.network
    mean = network.encode(x).latent_dist.mean
    torch.testing.assert_close(codec.latents.normal.inverse(codec.encode(x)), mean)
    torch.testing.assert_close(codec.decode(codec.encode(x)), network.decode(mean).sample, atol=1e-5, rtol=1e-5)


def test_another_rate_or_number_of_channels_is_refused(folder):
    with pytest.raises(BadInput, match=r"modality\.rate is 8000, and the network is for 4000: set modality\.rate=4000"):
        Encodec(sounds(8000.0), folder=folder("encodec"))
    with pytest.raises(BadInput, match=r"modality\.channels is 2, and the network is for 1"):
        Dac(sounds(channels=2), folder=folder("dac"))
    grey = MediaSpec("image", 1, ("height", "width"), (16, 16))
    with pytest.raises(BadInput, match=r"modality\.channels is 1, and the network is for 3"):
        AutoencoderKL(grey, folder=folder("kl"))
    odd = MediaSpec("image", 3, ("height", "width"), (15, 16))
    with pytest.raises(BadInput, match=r"multiples of 2, not \[15, 16\]"):
        AutoencoderKL(odd, folder=folder("kl"))


def test_a_model_that_normalises_levels_is_refused(tmp_path):
    _encodec(normalize=True).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="normalises the level"):
        Encodec(sounds(), folder=tmp_path)


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the AutoencoderKL, to damage."""
    for path in folder("kl").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def _weights(place):
    return next(place.glob("*.safetensors"))


def test_missing_and_incomplete_folders(copy):
    def refused(words):
        with pytest.raises(BadInput, match=words) as error:
            AutoencoderKL(PICTURES, folder=copy)
        assert "codec.folder" in str(error.value)

    with pytest.raises(BadInput, match=r"no config\.json of AutoencoderKL: nothing is fetched"):
        AutoencoderKL(PICTURES, folder=copy / "none")
    weights = _weights(copy)
    tensors = load_file(weights)
    name = next(k for k, v in tensors.items() if v.ndim == 4)
    save_file({k: v for k, v in tensors.items() if k != name}, weights, metadata={"format": "pt"})
    refused("not a whole AutoencoderKL: 1 missing keys|cannot be opened")
    save_file({**tensors, name: torch.full_like(tensors[name], float("nan"))}, weights, metadata={"format": "pt"})
    refused("not finite")
    weights.write_bytes(b"\xff" * 100)
    refused("cannot be opened")
    weights.rename(copy / "diffusion_pytorch_model.bin")
    refused("no weights as .safetensors")
    (copy / "config.json").write_text("{")
    with pytest.raises(BadInput, match=r"config\.json"):
        AutoencoderKL(PICTURES, folder=copy)


def test_another_architecture_is_refused(folder, copy):
    with pytest.raises(BadInput, match="_class_name 'AutoencoderOobleck', not 'AutoencoderKL'"):
        AutoencoderKL(PICTURES, folder=folder("oobleck"))
    with pytest.raises(BadInput, match="model_type 'dac', not 'encodec'"):
        Encodec(sounds(), folder=folder("dac"))
    (copy / "vae").mkdir()
    (copy / "config.json").rename(copy / "vae" / "config.json")
    with pytest.raises(BadInput, match=r"codec\.folder=.*vae"):
        AutoencoderKL(PICTURES, folder=copy)


def test_a_missing_package_is_named(folder, monkeypatch):
    place = folder("kl")

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("sonolux.core.codecs.pretrained.importlib.import_module", missing)
    with pytest.raises(BadInput, match=r"pip install 'sonolux\[codecs\]'"):
        AutoencoderKL(PICTURES, folder=place)


@pytest.mark.slow
def test_a_run_refuses_another_folder(folder, copy, tiny_recipe, tmp_path):
    place = tmp_path / "tiny.yaml"
    place.write_text(tiny_recipe["image"])
    changes = [f"codec={{use: image/autoencoder_kl, folder: {folder('kl')}}}", "network.patch=1", "train.steps=2"]
    run = TrainingRun(load_recipe(place, changes), tmp_path / "run", lambda _: None, False)
    run.prepare()
    assert any(str(folder("kl")) in line for line in run.describe())
    run.run()
    assert not (tmp_path / "run" / "codec.safetensors").exists()
    assert load(tmp_path / "run").sample(count=1).media[0].shape == (3, 16, 16)
    facts = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(facts | {"sample_size": 64}))
    with pytest.raises(BadInput, match=r"its hash is [0-9a-f]{32}, and the run was trained with .* codec\.folder=PATH"):
        load(tmp_path / "run", changes=[f"codec.folder={copy}"])
    checkpoint = next((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    checkpoint.rename(tmp_path / "copy.safetensors")
    with pytest.raises(BadInput, match=r"codec\.folder is .* made elsewhere"):
        load(tmp_path / "copy.safetensors")
