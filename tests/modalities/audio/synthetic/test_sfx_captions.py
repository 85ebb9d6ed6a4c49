"""Captions of the embedded sound effects in several wordings."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import MediaSpec
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.audio.datasets import base
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx
from sonolux.modalities.audio.synthetic.effects import CHOICES, SYNONYMS, SoundEffect

SPEC = MediaSpec("audio", 1, ("time",), (8000,), (8000.0,))
EFFECTS = [SoundEffect(*values, frequency=300.0, seconds=0.4) for values in product(*CHOICES.values())]


def check_captions_state_every_choice():
    """A change of any choice changes every caption."""
    for effect in EFFECTS:
        captions = effect.captions
        assert len(captions) == len(set(captions)) == 4 and max(map(len, captions)) <= 128
        for name, options in CHOICES.items():
            for option in options:
                other = replace(effect, **{name: option})
                if other != effect:
                    same = [one for one, two in zip(captions, other.captions, strict=True) if one == two]
                    assert not same, (name, same)


def test_captions_state_every_choice():
    check_captions_state_every_choice()


@pytest.mark.parametrize(
    ("word", "other"), [(" with echo", ""), ("noisy ", ""), ("low", "high"), ("falling", "rising")]
)
def test_planted_caption_that_leaves_a_choice_out_is_caught(monkeypatch, word, other):
    captions = SoundEffect.captions.fget
    changed = property(lambda effect: [captions(effect)[0].replace(word, other), *captions(effect)[1:]])
    monkeypatch.setattr(SoundEffect, "captions", changed)
    assert_caught(check_captions_state_every_choice)


def test_wordings():
    laser = SoundEffect("laser", "high", "short", "rising", "noisy", "with", 700.0, 0.12)
    assert laser.captions == [
        "a short high rising noisy laser with echo",
        "laser, high pitch, rising, short, noisy, echo",
        "an echoing noisy laser that rises, high and short",
        "a noisy laser, rising, short and high, with echo",
    ]
    plain = SoundEffect("explosion", "low", "long", "steady", "clean", "without", 280.0, 0.4)
    assert plain.captions == [
        "a long low steady explosion",
        "explosion, low pitch, steady, long",
        "an explosion of steady pitch, low and long",
        "a clean explosion, steady, long and low, without echo",
    ]


def check_training_draws_captions():
    data = SynthSfx(SPEC, count=40)
    for i in range(4):
        first = data.item(i)
        drawn = [data.item(i, keyed_generator(0, row, "augment")) for row in range(24)]
        again = [data.item(i, keyed_generator(0, row, "augment")).caption for row in range(24)]
        assert [item.caption for item in drawn] == again
        assert first.caption == data.choices(i).captions[0] and {*again} == {*data.choices(i).captions}
        for row, item in enumerate(drawn):  # the polarity is the first number that is drawn
            inverted = keyed_generator(0, row, "augment").random() < 0.5
            assert torch.equal(item.media, -first.media if inverted else first.media)


@pytest.mark.slow
def test_training_draws_captions():
    check_training_draws_captions()


def test_planted_first_caption_only_is_caught(monkeypatch):
    monkeypatch.setattr(base, "draw_caption", lambda captions, rng: captions[0])
    assert_caught(check_training_draws_captions)


def check_synonyms(table=SYNONYMS):
    """Captions have each word of the table, and none of its synonyms."""
    words = {word.strip(",") for effect in EFFECTS for text in effect.captions for word in text.split()}
    assert not set(table) - words and not set(table.values()) & words
    assert len({*table.values()}) == len(table)


def test_synonyms_are_in_no_caption():
    check_synonyms()


def test_planted_synonym_that_captions_use_is_caught():
    assert_caught(check_synonyms, {**SYNONYMS, "low": "high"})
