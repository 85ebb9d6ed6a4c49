"""Recovery of files: results agree with the measurement, also through a codec, and what is refused."""

import math

import pytest
import torch
from PIL import Image
from sonolux.core.cli import main as cli
from sonolux.core.degradations.downsample import Downsample
from sonolux.core.editing.posterior.mmps import MMPS
from sonolux.core.testing.mutation import assert_caught, planted_error, scale_expression, variable_target
from sonolux.core.types import BadInput
from sonolux.modalities.audio.io import write_sound


@pytest.fixture(scope="module")
def pictures(tiny_run, opened):
    return opened(tiny_run("image"))


@pytest.fixture
def picture(tmp_path):
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    pixels = torch.stack([x * 16, y * 16, 128 + 0 * x], dim=-1)
    Image.fromarray(pixels.byte().numpy()).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def misfit(run, file, operator, made):
    """|A made - A file| / |A file|."""
    given = run.components.modality.read(file)
    wanted = operator.apply(given[None])
    return float((operator.apply(made.media[0][None]) - wanted).norm() / wanted.norm())


def check_agreement(pictures, picture, method="mmps"):
    operator = Downsample(pictures.context.spec, 4)
    free = pictures.sample(count=1, steps=12, seed=1, guidance=None)
    made = pictures.recover(picture, {"use": "downsample", "factor": 4}, method=method, steps=12, seed=1, guidance=None)
    assert made.settings["operator"] == {"use": "downsample", "factor": 4}
    assert misfit(pictures, picture, operator, made) < 0.1 < misfit(pictures, picture, operator, free)


@pytest.mark.parametrize("method", ["mmps", "pigdm"])
def test_a_result_agrees_with_the_measurement(pictures, picture, method):
    check_agreement(pictures, picture, method)


def test_a_planted_wrong_step_is_caught(pictures, picture):
    with planted_error(MMPS, "weights", scale_expression(variable_target("u"), 100.0)):
        assert_caught(check_agreement, pictures, picture)


def test_a_degraded_file_is_the_same_measurement_as_the_clean_one(pictures, picture, tmp_path):
    """Blocks of one colour each: the means of the blocks are those of the clean file."""
    clean = pictures.components.modality.read(picture)
    low = Downsample(pictures.context.spec, 4).apply(clean[None])
    blocks = (low.repeat_interleave(4, 2).repeat_interleave(4, 3)[0] + 1) * 127.5
    Image.fromarray(blocks.round().byte().permute(1, 2, 0).numpy()).save(tmp_path / "low.png")
    one, other = (
        pictures.recover(file, {"use": "downsample", "factor": 4}, steps=6, guidance=None).media[0]
        for file in (picture, tmp_path / "low.png")
    )
    assert float((one - other).abs().mean()) < 0.02
    noisy = pictures.recover(picture, {"use": "downsample", "factor": 4}, degrade=True, noise=0.3, steps=6).media[0]
    assert float((one - noisy).abs().mean()) > 0.02


@pytest.fixture
def sound(tmp_path):
    n = torch.arange(2048) / 8000
    write_sound(tmp_path / "a.wav", 0.4 * torch.sin(2 * math.pi * 440 * n)[None], 8000)
    return tmp_path / "a.wav"


@pytest.mark.parametrize("codec", ["waveform", "stft"])
def test_sounds_through_codecs_that_keep_the_waveform(tiny_run, opened, sound, codec):
    run = opened(tiny_run("audio", f"codec.use=audio/{codec}"))
    made = run.recover(sound, {"use": "low_pass", "cutoff": 1000.0}, count=2, steps=4)
    assert len(made.media) == 2 and all(torch.isfinite(one).all() for one in made.media)
    assert made.media[0].shape == run.components.modality.read(sound).shape


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"operator": "nothing"}, "nothing"),
        ({"operator": {"use": "downsample", "factor": 17}}, "only 16 elements"),
        ({"operator": {"use": "low_pass", "cutoff": 2000.0}}, "below 0.5, in cycles per element"),
        ({"operator": "audio/band"}, "band takes sound, not image"),
        ({"operator": {"use": "downsample", "cutoff": 3}}, "cutoff"),
        ({"operator": "mask"}, "takes a linear operator"),
        ({"operator": "noise"}, "takes a linear operator"),
        ({"operator": "low_pass"}, "cutoff"),
        ({"operator": "channel_mean", "method": "magic"}, "one of mmps, pigdm, dps"),
        ({"operator": "channel_mean", "noise": 0.0}, "noise"),
        ({"operator": "channel_mean", "loop": True}, "loop has no effect on recover"),
    ],
    ids=str,
)
def test_a_wish_that_cannot_be_met_is_refused(pictures, picture, given, said):
    with pytest.raises(BadInput, match=said):
        pictures.recover(picture, **given)


def test_a_codec_that_loses_the_phase_is_refused(tiny_run, opened, sound):
    run = opened(tiny_run("audio", "codec.use=audio/logmel"))
    with pytest.raises(BadInput, match="use a run with an invertible codec"):
        run.recover(sound, {"use": "low_pass", "cutoff": 1000.0})


def test_the_command(tiny_run, picture, tmp_path, capsys):
    out, words = tmp_path / "out", ["edit", str(tiny_run("image")), "recover", str(picture)]
    assert cli.main([*words, "operator=downsample", "operator.factor=2", "steps=2", "--out", str(out)]) == 0
    assert len(list(out.glob("0000*.png"))) == 1
    for given, said in (
        ([], "recover needs operator=NAME"),
        (["operator=downsampel"], "did you mean 'downsample'"),
        (["operator=downsample", "operator.factor=17"], "only 16 elements"),
    ):
        capsys.readouterr()
        assert cli.main([*words, *given, "--out", str(tmp_path / "none")]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "none").exists()
