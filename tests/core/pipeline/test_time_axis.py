"""Durations act on the axis called time and sizes on the others, wherever these stand, in clips for example."""

import json
from pathlib import Path

import pytest
import sonolux
import torch
from sonolux.core.cli.main import main
from sonolux.core.codecs.base import Codec
from sonolux.core.editing.loops import decode_loops, media_loop_axes
from sonolux.core.pipeline.edit.region import EditRegion
from sonolux.core.pipeline.lengths import choose_lengths, choose_size, decode_batch, make_padded_batch
from sonolux.core.pipeline.loop_sizes import loop_length_unit
from sonolux.core.training.checkpoint import newest_checkpoint, read_header, replace_header
from sonolux.core.types import BadInput, MediaSpec

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/video"
FEW = (
    "train.minutes=null",
    "train.steps=2",
    "train.batch=3",
    "network.width=16",
    "train.preview_every=9",
    "sample.steps=2",
)
CLIP = MediaSpec("video", 1, ("time", "height", "width"), (12, 16, 16), (10.0, None, None))
BETWEEN = MediaSpec("scan", 1, ("height", "time", "width"), (4, 12, 6), (None, 10.0, None))


@pytest.fixture(scope="module")
def video_run(tiny_run):
    text = (EXAMPLE / "video.yaml").read_text().replace("./video.py", str(EXAMPLE / "video.py"))
    return lambda *more, own: tiny_run(text, *FEW, *more, own=own)


@pytest.fixture(scope="module")
def clips(video_run, opened):
    return opened(video_run(own="whole clips"))


@pytest.fixture(scope="module")
def short(video_run, opened):
    return opened(video_run("data.shortest=6", own="clips of many lengths"))


@pytest.fixture(scope="module")
def file(clips, tmp_path_factory):
    """A clip of 12 frames in a folder that names its class."""
    data = clips.recipe.data.build(spec=clips.components.spec, split="train", valid=0.1, seed=0)
    folder = tmp_path_factory.mktemp("clips") / "circle"
    folder.mkdir()
    return clips.components.modality.write(folder / "a.gif", data.item(2).media).path


def shapes(samples):
    return [tuple(media.shape) for media in samples.media]


# --- lengths and sizes of a spec ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [CLIP, BETWEEN], ids=lambda s: s.modality)
def test_a_second_is_as_many_elements_of_time_as_the_rate_says(spec):
    rows = [{}, {}, {}]
    assert choose_lengths([1, 0.55, 2], rows, torch.nn.Identity(), spec, (), 0) == [10, 6, 20]
    assert [row["seconds"] for row in rows] == [1.0, 0.6, 2.0]


def test_what_has_no_rate_takes_no_seconds():
    for spec, said in (
        (MediaSpec("image", 1, ("height", "width"), (8, 8)), "image has height and width only"),
        (MediaSpec("notes", 1, ("time",), (8,)), "time axis of notes has no rate"),
    ):
        with pytest.raises(BadInput, match=said):
            choose_lengths(1, [{}], torch.nn.Identity(), spec, (), 0)
        assert choose_lengths(None, [{}], torch.nn.Identity(), spec, (), 0) == [spec.length]


def test_lengths_of_the_data_are_drawn_without_a_rate_too():
    spec, rows = MediaSpec("notes", 1, ("time",), (8,)), [{}] * 20
    drawn = choose_lengths(None, rows, torch.nn.Identity(), spec, ((3, None), (5, None)), 0)
    assert set(drawn) == {3, 5} and rows[0] == {}


def test_sizes_act_on_the_other_axes():
    assert choose_size(20, CLIP) == (12, 20, 20) and choose_size([20, 24], CLIP) == (12, 20, 24)
    assert choose_size([8, 9], BETWEEN) == (8, 12, 9) and choose_size(None, CLIP) == CLIP.size
    for wrong in ([1, 2, 3], 0, "large"):
        with pytest.raises(BadInput, match=r"number of elements, or \[height, width\]"):
            choose_size(wrong, CLIP)


# --- the example of clips -------------------------------------------------------------------------------------------


def check_seconds(pipeline):
    """seconds=1 gives 10 frames of the recipe's height and width, and says so."""
    made = pipeline.sample(count=3, seconds=[1, 0.5, 1.4])
    assert shapes(made) == [(1, 10, 16, 16), (1, 5, 16, 16), (1, 14, 16, 16)]
    assert [row["seconds"] for row in made.conditions] == [1.0, 0.5, 1.4]
    alone = pipeline.sample(count=3, seconds=[1, 0.5, 1.4], batch=1)
    for a, b in zip(made.media, alone.media, strict=True):
        assert torch.allclose(a, b, atol=1e-4), "a sample does not depend on the longer ones of its batch"


@pytest.mark.slow
def test_seconds_are_frames(clips, short):
    check_seconds(clips)
    check_seconds(short)
    assert shapes(clips.sample(count=1)) == [(1, 12, 16, 16)]


PLANTED = {
    "time is the last axis": (
        lambda m, codec: m.setattr(MediaSpec, "time_axis", property(lambda self: len(self.axes) - 1)),
        BadInput,
        "time axis of video has no rate",
    ),
    "nothing is padding": (
        lambda m, codec: m.setattr(codec, "valid", lambda self, lengths, size: torch.ones(len(lengths), 1, *size)),
        AssertionError,
        "does not depend on the longer ones",
    ),
    "the last axis is cut": (
        lambda m, codec: m.setattr(MediaSpec, "trim", lambda self, media, length: media[..., :length]),
        AssertionError,
        "10, 16, 10",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_errors_of_the_axis_are_caught(short, monkeypatch, name):
    plant, error, said = PLANTED[name]
    plant(monkeypatch, type(short.codec))
    with pytest.raises(error, match=said):
        check_seconds(short)


def test_clips_of_many_lengths_train_and_give_their_lengths(short):
    known = {n for n, _ in short.components.clip_lengths}
    assert min(known) >= 6 and max(known) <= 12 and len(known) > 3
    made = short.sample(count=8)
    assert {media.shape[1] for media in made.media} <= known and len({m.shape[1] for m in made.media}) > 2
    assert all(tuple(media.shape[2:]) == (16, 16) for media in made.media)
    assert [row["seconds"] for row in made.conditions] == [media.shape[1] / 10 for media in made.media]


def test_padding_is_not_decoded(short):
    batch = make_padded_batch(
        short.codec, torch.nn.Identity(), short.components.spec, [(5, 16, 16), (9, 16, 16)], (), True
    )
    assert batch.shape == (1, 9, 16, 16) and batch.shapes == ((1, 5, 16, 16), (1, 9, 16, 16))
    assert batch.valid[:, 0, :, 0, 0].sum(1).tolist() == [5, 9]
    media = decode_batch(short.codec, torch.randn(2, *batch.shape), batch)
    assert [tuple(one.shape) for one in media] == [(1, 5, 16, 16), (1, 9, 16, 16)]


def test_clips_loop_in_time_and_have_other_sizes(clips):
    made = clips.sample(count=2, loop=True, seconds=[1, 1.5], size=[16, 20])
    assert all(media.shape[1] % clips.model.network.factor == 0 for media in made.media)
    assert all(tuple(media.shape[2:]) == (16, 20) for media in made.media), "height and width are no loops here"
    assert shapes(clips.sample(count=1, seconds=2, windows=0.5)) == [(1, 20, 16, 16)]


def test_the_files_and_the_trajectory_of_clips_are_written(clips, tmp_path):
    made = clips.sample(count=2, seconds=[0.6, 1.5], trajectory=True)
    assert [m.shape[1] for m in made.frames[0].x0] == [6, 15]
    paths = made.save(tmp_path)
    made.save_trajectory(tmp_path)
    assert [clips.components.modality.read(path).shape[1] for path in paths] == [6, 15]


def test_the_command_line_takes_seconds_of_clips(video_run, tmp_path):
    run = video_run(own="whole clips")
    assert main(["sample", str(run), "--allow-code", "seconds=1", "count=1", "--out", str(tmp_path / "o")]) == 0
    assert json.loads((tmp_path / "o/samples.json").read_text())["samples"][0]["seconds"] == 1.0


# --- edits of clips -------------------------------------------------------------------------------------------------


def test_a_clip_goes_on_in_time(clips, file):
    given = clips.components.modality.read(file)
    made = clips.extend(file, seconds=0.5, resample=1)
    assert shapes(made) == [(1, 17, 16, 16)] and made.conditions[0]["label"] == "circle"
    assert torch.equal(made.media[0][:, :12], given)


def check_inpainted(clips, file, region, anew):
    given, made = clips.components.modality.read(file), clips.inpaint(file, resample=1, **region).media[0]
    assert torch.equal(made[~anew], given[~anew]), "what is known comes back exactly"
    assert not torch.allclose(made[anew], given[anew], atol=1e-3)


def test_a_part_of_a_clip_is_a_span_a_box_or_both(clips, file):
    time, box = torch.zeros(2, 1, 12, 16, 16, dtype=torch.bool)
    time[:, 3:8] = True
    box[:, :, 4:12, 2:9] = True
    check_inpainted(clips, file, {"spans": [(0.3, 0.8)]}, time)
    check_inpainted(clips, file, {"box": [2, 4, 9, 12]}, box)
    check_inpainted(clips, file, {"spans": [(0.3, 0.8)], "box": [2, 4, 9, 12]}, time & box)


def test_planted_part_of_another_axis_is_caught(clips, file, monkeypatch):
    true = EditRegion.known_mask
    monkeypatch.setattr(EditRegion, "known_mask", lambda *args: true(*args).roll(1, dims=1))
    with pytest.raises(AssertionError, match="comes back exactly"):
        test_a_part_of_a_clip_is_a_span_a_box_or_both(clips, file)


def test_a_part_that_a_clip_does_not_have_is_refused(clips, file):
    with pytest.raises(BadInput, match=r"from=SECONDS to=SECONDS or box=.* or mask=FILE"):
        clips.inpaint(file)
    with pytest.raises(BadInput, match="box and mask exclude each other"):
        clips.inpaint(file, box=[0, 0, 4, 4], mask=file)
    with pytest.raises(BadInput, match=r"lasts 1\.2 s: from 1 to 2 s is no part"):
        clips.inpaint(file, spans=[(1, 2)])
    with pytest.raises(BadInput, match="no part of"):
        clips.inpaint(file, box=[0, 0, 17, 4])


def test_a_clip_is_varied_at_its_own_length(clips, file):
    assert shapes(clips.vary(file, strength=0.5, count=2, seconds=0.8)) == [(1, 8, 16, 16)] * 2
    (kept,) = clips.vary(file, strength=0).media
    assert torch.allclose(kept, clips.components.modality.read(file), atol=1e-4)


# --- checkpoints of the first edition -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_header_without_axes_gets_those_of_the_modality(video_run, clips, monkeypatch, tmp_path):
    run = video_run(own="whole clips")
    copy = tmp_path / "first.safetensors"
    copy.write_bytes(newest_checkpoint(run).read_bytes())

    def first(self):
        facts = {name: getattr(self, name) for name in ("modality", "channels", "size", "classes", "latent")}
        return {**facts, "rate": None}  # the first edition's clips had none

    with monkeypatch.context() as patch:
        patch.setattr(MediaSpec, "to_dict", first)
        replace_header(copy, read_header(copy))
    assert read_header(copy).spec.rate is None
    old, new = (sonolux.load(path, device="cpu", allow_code=True) for path in (copy, run))
    assert old.components.spec == new.components.spec and old.components.spec.rate == 10.0
    assert torch.equal(old.sample(count=1, seconds=1).media[0], new.sample(count=1, seconds=1).media[0])


# --- a diffused tensor with other axes than the media ---------------------------------------------------------------


class Bands(Codec):
    """Media (B, 1, T) <-> (B, 1, 4, T / 2): two bands of even and odd elements, each twice; time is the second axis."""

    wrap, unit = (1,), 2

    def fit(self, items):
        """Nothing to learn."""

    def encode(self, media, loop=False):
        return torch.stack([media[..., 0::2], media[..., 1::2]] * 2, dim=2)

    def decode(self, z, length=None, loop=False):
        return self.spec.trim(torch.stack([z[:, :, 0], z[:, :, 1]], dim=-1).flatten(2), length)

    def shape(self, size):
        return (1, 4, -(-size[0] // 2))


def check_bands():
    codec = Bands(MediaSpec("audio", 1, ("time",), (12,), (4.0,)))
    assert media_loop_axes(codec) == (0,) and loop_length_unit(codec, torch.nn.Identity(), codec.spec) == 2
    media = torch.randn(3, 1, 12, generator=torch.Generator().manual_seed(0))
    for a, b in zip(decode_loops(codec, codec.encode(media), 5, [0, 1, 2]), media, strict=True):
        assert torch.equal(a, b), "what is rolled before decoding is rolled back"


def test_time_may_be_another_axis_of_the_diffused_tensor(monkeypatch):
    check_bands()
    monkeypatch.setattr(MediaSpec, "time_axis", property(lambda self: None))
    with pytest.raises(AssertionError, match=r"\(1,\) == \(0,\)"):
        check_bands()
