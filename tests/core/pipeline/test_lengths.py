"""Sounds of any length: what was asked for, what the data was like, and independence of the batch's room."""

import ast
import json

import pytest
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.data.clip_lengths import MAX_CLIP_LENGTHS, select_clip_lengths
from sonolux.core.pipeline import lengths
from sonolux.core.pipeline.conditions import DurationCondition
from sonolux.core.pipeline.lengths import (
    PaddedBatch,
    choose_lengths,
    decode_batch,
    make_padded_batch,
    seconds_to_elements,
)
from sonolux.core.pipeline.request import SampleRequest
from sonolux.core.testing.mutation import assert_caught, call_target, planted_error, replace_expression
from sonolux.core.training.checkpoint import newest_checkpoint, read_header
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util.rng import KeyedNoise
from sonolux.modalities.audio.codecs.base import FrameCodec
from sonolux.modalities.audio.codecs.logmel import Logmel


@pytest.fixture(scope="module")
def silent(tiny_run, opened):
    return opened(tiny_run("audio", "data.padding=silence"))


@pytest.fixture(scope="module")
def placed(tiny_run, opened):
    return opened(tiny_run("audio", "data.padding=silence", "network.positions=2"))


def frames(samples) -> list[int]:
    return [m.shape[-1] for m in samples.media]


@pytest.mark.slow
def test_seconds_are_asked_for_one_or_many(masked, silent):
    for trained in (masked, silent):
        assert frames(trained.sample(count=2, seconds=0.2)) == [800, 800]
        made = trained.sample(count=3, seconds=[0.1, 0.3])
        assert frames(made) == [400, 1200, 400] and [t["seconds"] for t in made.conditions] == [0.1, 0.3, 0.1]
        assert frames(trained.sample(count=2, seconds=[0.5, 0.9])) == [2000, 3600], "longer than the recipe's"


@pytest.mark.slow
def test_without_seconds_a_run_makes_what_it_was_trained_on(masked, silent):
    assert frames(silent.sample(count=3)) == [2000] * 3 and "seconds" not in silent.sample(count=1).conditions[0]
    made = masked.sample(count=12, batch=5)
    known = {n for n, _ in masked.components.clip_lengths}
    assert set(frames(made)) <= known and len(set(frames(made))) > 3
    assert frames(masked.sample(count=12, batch=2)) == frames(made), "whatever the batch"
    assert frames(masked.sample(count=12, seed=8)) != frames(made)


@pytest.mark.slow
def test_lengths_are_those_of_the_class(masked):
    for name in masked.classes:
        own = {n for n, label in masked.components.clip_lengths if label == masked.classes.index(name)}
        assert set(frames(masked.sample(count=8, label=name, steps=1))) <= own


@pytest.mark.slow
def test_a_checkpoint_carries_the_lengths(masked, silent, tiny_run):
    assert masked.components.clip_lengths and not silent.components.clip_lengths
    run = tiny_run("audio", "data.padding=masked", "train.steps=2", own="continued")
    header = read_header(newest_checkpoint(run))
    assert header.clip_lengths == masked.components.clip_lengths
    recipe = load_recipe(run / "resolved.yaml", ["train.steps=3"])
    job = TrainingRun(recipe, run, say=lambda _: None, bar=False)
    job.prepare(resume=newest_checkpoint(run))
    job.run()
    assert read_header(newest_checkpoint(run)).clip_lengths == header.clip_lengths, "also of a run that was continued"


def test_few_lengths_are_kept():
    assert select_clip_lengths([(100, None, 0), (100, None, 1)]) == ()
    assert select_clip_lengths([(100, 30, 0), (100, None, None)]) == ((30, 0), (100, None))
    many = select_clip_lengths([(9, i % 9, i) for i in range(5000)])
    assert len(many) == MAX_CLIP_LENGTHS and many[-1][1] > 4900


def check_batch(trained) -> None:
    """A sample is the same alone and beside a longer one, whose room it shares."""
    lengths = [0.1, 0.5, 0.9]
    whole = trained.sample(count=3, seconds=lengths, batch=3)
    alone = trained.sample(count=3, seconds=lengths, batch=1)
    for a, b in zip(whole.media, alone.media, strict=True):
        assert a.shape == b.shape and (a - b).abs().max() < 1e-4 * a.abs().max()


@pytest.mark.slow
def test_a_sample_does_not_depend_on_the_room(masked, silent):
    check_batch(masked)
    check_batch(silent)


def check_windows(trained) -> None:
    """The places of the windows of a sample do not depend on longer samples."""
    lengths = [0.5, 0.7, 0.9]
    whole, alone = (trained.sample(count=3, seconds=lengths, windows=0.5, batch=batch).media for batch in (3, 1))
    for a, b in zip(whole, alone, strict=True):
        assert a.shape == b.shape and (a - b).abs().max() < 1e-3 * a.abs().max()


@pytest.mark.slow
def test_windows_do_not_depend_on_longer_samples(masked, silent):
    check_windows(masked)
    check_windows(silent)


@pytest.mark.slow
def test_planted_windows_of_the_padded_size_are_caught(silent, monkeypatch):
    right = SampleRequest.batches
    monkeypatch.setattr(SampleRequest, "batches", lambda self, largest, same_size: right(self, largest, False))
    assert_caught(check_windows, silent)


def check_elements():
    """A length is rounded to the nearest element, and the rows of a batch are those asked for."""
    assert seconds_to_elements(0.29, 100, "x") == 29 and seconds_to_elements(0.0199, 100, "x") == 2
    batch = PaddedBatch(((3,), (5,)), (1, 5), ((1, 3), (1, 5)), torch.arange(2)[:, None, None])
    part = batch.rows(slice(1, 2))
    assert part.sizes == ((5,),) and part.shapes == ((1, 5),) and part.valid.tolist() == [[[1]]]


def test_lengths_are_rounded_and_batches_cut():
    check_elements()


def test_planted_errors_of_rounding_and_cutting_are_caught():
    for owner, name, error in (
        (lengths, "seconds_to_elements", replace_expression(call_target("round"), "int(number * rate)")),
        (PaddedBatch, "rows", replace_expression(ast.Subscript, "self.sizes", at=1)),
    ):
        with planted_error(owner, name, error):
            assert_caught(check_elements)


def check_decoding(_=None) -> None:
    """Griffin-Lim looks beyond the end: another padding gives the same sound only where it is replaced."""
    codec = Logmel(MediaSpec("audio", 1, ("time",), (800,), (4000.0,)), n_fft=64, hop=16, mels=8, iterations=8)
    room = make_padded_batch(codec, torch.nn.Identity(), codec.spec, [(300,), (700,)], (), True)
    z = torch.randn(2, 8, room.shape[-1], generator=torch.Generator().manual_seed(0))
    other = z.masked_fill(room.valid == 0, 3.0)
    for a, b in zip(decode_batch(codec, z, room), decode_batch(codec, other, room), strict=True):
        assert torch.equal(a, b)


PLANTED = {
    "noise drawn at the room's shape": lambda m: m.setattr("sonolux.core.pipeline.sample.KeyedNoise", _roomy),
    "padding is heard": lambda m: m.setattr(torch, "where", lambda c, a, b, w=torch.where: w(c | _sounding(a), a, b)),
    "no mask": lambda m: m.setattr(FrameCodec, "valid", lambda *_: None),
    "the mask of the recipe's length": lambda m: m.setattr(
        "sonolux.core.pipeline.sample.make_padded_batch", lambda c, *rest: _whole(make_padded_batch(c, *rest))
    ),
}  # fmt: skip


def test_what_follows_a_sound_is_silence_before_it_is_decoded():
    check_decoding()


def _roomy(seed, rows, shapes, device, *more):
    return KeyedNoise(seed, rows, tuple(max(n) for n in zip(*shapes, strict=True)), device)


def _sounding(a):
    return torch.tensor(isinstance(a, torch.Tensor) and a.ndim == 3 and a.shape[1] == 8)


def _whole(room):
    return PaddedBatch(room.sizes, room.shape, room.shapes, torch.ones_like(room.valid))


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_planted_error_is_caught(name, masked, monkeypatch):
    PLANTED[name](monkeypatch)
    with pytest.raises(AssertionError):
        (check_decoding if name == "padding is heard" else check_batch)(masked)


@pytest.mark.slow
def test_a_network_that_knows_places_goes_no_further(placed):
    assert frames(placed.sample(count=1, seconds=0.3)) == [1200]
    with pytest.raises(BadInput, match=r"0\.9 s is longer than the 0\.5 s of training.*network\.positions=0"):
        placed.sample(count=1, seconds=0.9)


@pytest.mark.slow
def test_a_length_shorter_than_trained_is_refused(tiny_run, opened):
    told = "condition.seconds={use: scalar, key: seconds, range: [0.1, 0.5], log: true}"
    run = opened(tiny_run("audio", "data.padding=masked", told))
    assert frames(run.sample(count=2, seconds=[0.1, 0.3])) == [400, 1200]
    with pytest.raises(BadInput, match=r"seconds is 0\.05, and this run was trained on 0\.1 s to 0\.5 s"):
        run.sample(count=1, seconds=0.05)
    assert frames(run.sample(count=8)), "what the data holds is not asked for"


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, -1, "long", [], [0.2, "x"], True, 1e-9, float("nan")])
def test_what_is_no_length_is_refused(silent, seconds):
    with pytest.raises(BadInput, match="seconds"):
        silent.sample(count=2, seconds=seconds)


def test_pictures_have_no_length():
    spec = MediaSpec("image", 1, ("height", "width"), (8, 8), latent=(1, 8, 8))
    with pytest.raises(BadInput, match="image has height and width only"):
        choose_lengths(0.4, [{}], torch.nn.Identity(), spec, (), 0)


@pytest.mark.slow
def test_a_condition_on_the_length_gets_it(tiny_run, opened):
    length = "condition.length={use: scalar, key: seconds, range: [0.1, 0.4]}"
    trained = opened(tiny_run("audio", "data.padding=masked", length))
    assert [t["length"] for t in trained.sample(count=2, seconds=[0.2, 0.5]).conditions] == [0.2, 0.4], (
        "within its range"
    )
    told = trained.sample(count=2, seconds=0.2, where={"length": 0.3})
    assert frames(told) == [800] * 2 and told.conditions[0]["length"] == 0.3
    assert frames(trained.sample(count=2, where={"length": [0.3, 0.1]})) == [1200, 400]
    drawn = trained.sample(count=4)
    assert [t["length"] for t in drawn.conditions] == pytest.approx(
        [min(max(n / 4000, 0.1), 0.4) for n in frames(drawn)]
    )


def check_loops(tiny_run, opened) -> None:
    """A loop's rounded length becomes the condition's value, within its range; a value that was given stays."""
    for name in ("seconds", "length"):
        told = f"condition.{name}={{use: scalar, key: seconds, range: [0.1, 0.4]}}"
        trained = opened(tiny_run("audio", "data.padding=masked", told))
        for asked, came in ((0.203, 0.2), (0.5, 0.4)):
            made = trained.sample(count=1, loop=True, seconds=asked)
            frames_of_it = made.media[0].shape[-1]
            assert frames_of_it % 16 == 0 and made.conditions[0][name] == pytest.approx(
                min(frames_of_it / 4000, 0.4), abs=1e-6
            )
            assert made.conditions[0][name] == pytest.approx(came, abs=0.003)
        made = trained.sample(count=1, loop=True, seconds=0.203, where={name: 0.3})
        assert made.conditions[0][name] == 0.3


@pytest.mark.slow
def test_a_condition_gets_the_length_of_a_loop(tiny_run, opened):
    check_loops(tiny_run, opened)


@pytest.mark.slow
def test_planted_requested_length_instead_of_the_loops_own_is_caught(tiny_run, monkeypatch, opened):
    monkeypatch.setattr(DurationCondition, "correct", lambda *_: None)
    assert_caught(check_loops, tiny_run, opened)


@pytest.mark.slow
def test_the_trajectory_and_the_files_have_the_samples_length(masked, tmp_path):
    made = masked.sample(count=2, seconds=[0.2, 0.4], trajectory=True)
    assert [m.shape[-1] for m in made.frames[0].noisy] == [800, 1600]
    made.save(tmp_path)
    made.save_trajectory(tmp_path)
    rows = json.loads((tmp_path / "samples.json").read_text())["samples"]
    assert [r["seconds"] for r in rows] == [0.2, 0.4]


@pytest.mark.slow
def test_the_command_line_takes_seconds(masked_run, tmp_path):
    from sonolux.core.cli.main import main

    assert main(["sample", str(masked_run), "seconds=0.1", "count=1", "--out", str(tmp_path / "o")]) == 0
    assert json.loads((tmp_path / "o/samples.json").read_text())["samples"][0]["seconds"] == 0.1
