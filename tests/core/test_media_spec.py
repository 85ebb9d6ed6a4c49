"""The facts of the media: named axes, and what acts on the one called time."""

import json

import pytest
import torch
from sonolux.core.types import BadInput, MediaSpec

SOUND = MediaSpec("audio", 1, ("time",), (8000,), (4000.0,))
PICTURE = MediaSpec("image", 3, ("height", "width"), (16, 24))
CLIP = MediaSpec("video", 1, ("time", "height", "width"), (12, 16, 16), (10.0, None, None), ("a", "b"), (1, 12, 16, 16))
BETWEEN = MediaSpec("scan", 1, ("height", "time", "width"), (4, 12, 6), (None, 10.0, None))
ALL = [SOUND, PICTURE, CLIP, BETWEEN]


@pytest.mark.parametrize(
    ("spec", "axis", "rate", "length", "others"),
    [(SOUND, 0, 4000.0, 8000, ()), (PICTURE, None, None, None, (0, 1)), (CLIP, 0, 10.0, 12, (1, 2)),
     (BETWEEN, 1, 10.0, 12, (0, 2))],
)  # fmt: skip
def test_time_is_found_by_its_name(spec, axis, rate, length, others):
    assert (spec.time_axis, spec.rate, spec.length, spec.other_axes) == (axis, rate, length, others)


def test_lengths_act_on_time_alone():
    assert CLIP.with_length(CLIP.size, 10) == (10, 16, 16) and BETWEEN.with_length(BETWEEN.size, 10) == (4, 10, 6)
    assert PICTURE.with_length(PICTURE.size, 10) == (16, 24) and CLIP.with_length(CLIP.size, None) == CLIP.size
    for spec in ALL:
        media = torch.zeros(2, spec.channels, *spec.size)
        assert spec.length_of(media.shape) == spec.length == spec.length_of(media[0].shape)
        for one in (media, media[0]):
            assert spec.trim(one, 5).shape[-len(spec.axes) :] == spec.with_length(spec.size, 5)
            assert spec.trim(one, None) is one and spec.trim(one, 10**6).shape == one.shape


@pytest.mark.parametrize("spec", ALL, ids=lambda s: s.modality)
def test_the_record_goes_through_json(spec):
    assert MediaSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("spec", "rate"), [(SOUND, 4000.0), (PICTURE, None), (CLIP, 10.0), (CLIP, None)], ids=lambda v: str(v)[:40]
)
def test_the_first_editions_record_gets_axes(spec, rate):
    facts = spec.to_dict()
    del facts["axes"], facts["rates"]
    read = MediaSpec.from_dict({**facts, "rate": rate})
    assert read.axes == spec.axes and read.rate == rate and read.size == spec.size
    assert all(own is None for axis, own in zip(read.axes, read.rates, strict=True) if axis != "time")
    assert read.classes == spec.classes and read.latent == spec.latent


def test_axes_without_rates_have_none():
    assert PICTURE.rates == (None, None) and MediaSpec("x", 1, ("time",), (4,)).rate is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ((("time",), (4, 4)), "has a size and a rate"),
        ((("height", "width"), (4, 4), (10.0,)), "has a size and a rate"),
        ((("time", "time"), (4, 4)), "each once"),
        (((8, 8), (4, 4)), "axes are names"),
    ],
)
def test_axes_sizes_and_rates_are_one_each(wrong, said):
    with pytest.raises(BadInput, match=said):
        MediaSpec("x", 1, *wrong)
