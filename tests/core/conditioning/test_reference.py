"""References in training: each row has what is left of its own example, or nothing if it is dropped."""

import pytest
import torch
from sonolux.core.conditioning import reference
from sonolux.core.conditioning.base import check_network_accepts
from sonolux.core.conditioning.reference import Reference
from sonolux.core.config.load import load_recipe_text
from sonolux.core.data.loader import StepBatchDataset
from sonolux.core.degradations.downsample import Downsample
from sonolux.core.nn.unet import UNetND
from sonolux.core.objectives.denoising import Denoising
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    attribute_target,
    drop_call,
    planted_error,
    replace_expression,
)
from sonolux.core.training.build import build_dataset, build_model_components, fit_codec
from sonolux.core.training.distributed import Ranks
from sonolux.core.training.step import Trainer
from sonolux.core.types import BadInput, Item, MediaSpec

SHAPES = """
recipe: 1
name: shapes
seed: 5
modality: {use: image, size: 16, channels: 3}
data: {use: image/shapes, count: 60, shapes: 1, split: {by: hash, valid: 0.2}}
codec: {use: image/pixels}
network: {use: image/unet, width: 16, stages: [1, 2], blocks: 1, attention: [], patch: 2}
conditioning:
  low: {use: reference, degradation: {use: downsample, factor: 4}, drop: 0.3}
  inpaint: {use: reference, degradation: mask, drop: 0.3}
train: {steps: 9, batch: 12, warmup: 0, precision: float32, device: cpu, workers: 0, optimizer: {lr: 1.0e-2}}
"""


def trainer(text=SHAPES, *changes, rank=0, world=1):
    recipe = load_recipe_text(text, overrides=list(changes), bare_section=None)
    data, spec = build_dataset(recipe)
    parts = build_model_components(recipe, spec)
    fit_codec(parts.codec, data)
    return Trainer(parts, data, torch.device("cpu"), Ranks(rank, world))


def seen(made, steps=1):
    """(x0, conditioning) that the objective received in the first steps, in the order of the rows."""
    found, true = [], Denoising.loss

    def loss(self, model, x0, conditioning, rng):
        found.append((x0, conditioning))
        return true(self, model, x0, conditioning, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Denoising, "loss", loss)
        for _ in range(steps):
            made.train_step(0.0)
    made.close()
    return [
        (
            torch.cat([x0 for x0, _ in found]),
            {n: torch.cat([c.concat[n] for _, c in found]) for n in ("low", "inpaint")},
        )
    ][0]


def check_targets():
    """Channels are block means, or the known part, of the row's own x0, then the mask; all are 0 in dropped rows."""
    x0, given = seen(trainer(), steps=3)
    means = torch.nn.functional.avg_pool2d(x0, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    kept = given["low"][:, 3].amax((1, 2)) > 0
    assert 0 < int((~kept).sum()) < len(x0) and bool((given["low"][kept, 3] == 1).all())
    assert torch.allclose(given["low"][kept, :3], means[kept], atol=1e-5) and not given["low"][~kept].any()
    known = given["inpaint"][:, 3:]
    assert set(known.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(given["inpaint"][:, :3], torch.where(known > 0, x0, 0.0))
    part = known.mean((1, 2, 3))
    dropped = part == 0
    assert 0 < int(dropped.sum()) < len(x0) and not bool((part == 1).any())
    assert bool((part[~dropped] > 0.25).all()), "a box of at most 0.7 x 0.7 is unknown, or an end of at most 0.7"


def test_a_reference_is_of_its_own_example():
    check_targets()


PLANTED = {
    "mask inverted": (Reference, "encode", replace_expression(argument_target("reference_channels", 1), "z != z")),
    "known part inverted": (reference, "reference_channels", replace_expression(argument_target("where", 0), "~known")),
    "unknown part given": (reference, "reference_channels", drop_call("where")),
    "of another row": (Trainer, "_embed", replace_expression(argument_target("encode", 0), "values[1:] + values[:1]")),
    "never dropped": (Trainer, "_conditioning", replace_expression(attribute_target("drop"), "0")),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_errors_are_caught(name):
    owner, attribute, error = PLANTED[name]
    with planted_error(owner, attribute, error):
        assert_caught(check_targets, also=(RuntimeError,))


def check_batches():
    """The references of a row are the same for any division of the batch."""
    x0, whole = seen(trainer())
    _, parts = seen(trainer(SHAPES, "train.accumulate=4"))
    for rank in (0, 1):
        mine, given = seen(trainer(SHAPES, rank=rank, world=2))
        assert torch.equal(mine, x0[rank::2])
        for name in whole:
            assert torch.equal(given[name], whole[name][rank::2]) and torch.equal(parts[name], whole[name])


def test_masks_do_not_depend_on_the_batch():
    check_batches()


def test_masks_that_depend_on_the_place_in_the_batch_are_caught():
    error = replace_expression(argument_target("generator", 0), "i * 0")
    with planted_error(Trainer, "_conditioning", error):
        made = seen(trainer())[1]["inpaint"][:, 3]
        assert len({tuple(row.flatten().tolist()) for row in made}) <= 2, "the error is planted: one mask for all rows"
        assert_caught(check_batches)


SOUNDS = """
recipe: 1
name: sounds
seed: 5
modality: {use: audio, rate: 8000, seconds: 0.5, channels: 1}
data: {use: audio/synth_sfx, count: 24, padding: masked}
codec: {use: audio/waveform, patch: 32}
network: {use: audio/unet, width: 8, stages: [1, 2], blocks: 1, attention: []}
conditioning:
  low: {use: reference, degradation: {use: low_pass, cutoff: 1000}, drop: 0.3}
  inpaint: {use: reference, degradation: {use: mask, end: 1}, drop: 0}
train: {steps: 9, batch: 12, warmup: 0, precision: float32, device: cpu, workers: 0}
"""


def check_padding():
    """An end is the end of the example and not of its padding, and nothing of the padding is unknown."""
    made = trainer(SOUNDS)
    lengths = [item.length for item in StepBatchDataset(made.data, 5, 12)[0].items]
    assert min(lengths) < 3000
    mask = seen(made)[1]["inpaint"][:, -1]
    for row, length in zip(mask, lengths, strict=True):
        positions = -(-length // 32)
        unknown = torch.nonzero(row == 0)[:, 0]
        assert int(unknown.max()) == positions - 1 and int(unknown.min()) > 0
        assert len(unknown) < 0.75 * positions + 1


def test_the_end_of_padded_examples_is_unknown():
    check_padding()


def test_planted_masks_over_padding_are_caught():
    with planted_error(Reference, "augment", replace_expression(argument_target("trim", 1), "None")):
        assert_caught(check_padding)


def losses(*changes, steps=40):
    made = trainer(
        SHAPES, "conditioning.inpaint=null", "objective.timestep_sampling={use: lognormal, mean: 2, std: 0.5}", *changes
    )
    found = [float(made.train_step(0.0).loss) for _ in range(steps)]
    made.close()
    return sum(found[-10:]) / 10


WHOLE = "conditioning.low={use: reference, degradation: {use: noise, level: [0.001, 0.001]}, drop: 0}"


@pytest.mark.slow
def test_a_reference_that_determines_the_example_is_learnt_at_once():
    """At high noise the sample itself tells little; the loss falls below a third of that with a reference of others."""
    right = losses(WHOLE)
    with planted_error(Trainer, "_embed", replace_expression(argument_target("encode", 0), "values[1:] + values[:1]")):
        wrong = losses(WHOLE)
    assert right < wrong / 3, (right, wrong)


def test_a_reference_has_no_weights_and_no_value():
    spec = MediaSpec("field", 1, ("height", "width"), (8, 8), latent=(1, 8, 8))
    made = Reference(spec, Downsample(spec, 2))
    assert not [p for p in made.parameters() if p.requires_grad] and made.width == 2
    assert made.unconditional(3).shape == (3, 2, 1, 1) and not made.unconditional(3).any()
    with pytest.raises(BadInput, match="restore FILE"):
        made.parse("a.png")
    item = Item(torch.zeros(1, 8, 8))
    assert made.from_item(item) is item and made.format_value(item) is None
    assert made.augment(item, None).known is None


def test_a_network_that_was_not_built_for_references_is_refused():
    """Such as a plugin's network whose constructor has no parameter `concat`."""
    spec = MediaSpec("field", 1, ("height", "width"), (8, 8), latent=(1, 8, 8))
    low = {"low": Reference(spec, Downsample(spec, 2))}
    check_network_accepts(UNetND(2, 1, width=8, blocks=1, concat=2), low)
    with pytest.raises(BadInput, match=r"conditioning.low yields channels.*the network UNetND takes vector"):
        check_network_accepts(UNetND(2, 1, width=8, blocks=1), low)
