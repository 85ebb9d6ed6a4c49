"""Examples as eval sees them: picked, and each at its own length."""

import numpy as np
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.evaluation.examples import ExampleSet, examples_from_dataset
from sonolux.core.training.build import build_dataset


def test_examples_are_as_long_as_they_are():
    data, _ = build_dataset(load_recipe("one_shots", ["data.count=60"]), "valid")
    found = examples_from_dataset(data)
    lengths = [data.item(i, None).length for i in range(len(data))]
    assert len(set(lengths)) > 1 and {media.shape[-1] for media in found.media} == {4800}
    assert [media.shape[-1] for media in found.unpadded()] == lengths
    assert [media.shape[-1] for media in found.select([3, 1]).unpadded()] == [lengths[3], lengths[1]]


def test_what_has_no_length_is_whole():
    whole = ExampleSet([torch.zeros(1, 3, 5), torch.ones(1, 3, 5)], torch.tensor([0, 1]), ["a", "b"])
    assert [tuple(media.shape) for media in whole.unpadded()] == [(1, 3, 5)] * 2
    assert whole.select(np.array([1])).sources == ["b"] and float(whole.select([1]).unpadded()[0].min()) == 1
