"""The share of false alarms of `sonolux ablate` where the arms do not differ (an A/A test).

    python benchmarks/ablate_aa.py [--repeats 40] [--arms 3] [--seeds 4] [--steps 20]

Every arm trains the same tiny network on samples of a Gaussian mixture (core/testing/mixture.py), as pictures of 4x4
elements. The arms of a comparison differ only in the seed of their initial weights, noise and order of examples, so
each verdict other than "no difference seen" is a false alarm; a comparison of several arms counts once. All arms of a
seed are trained in turn and measured on the same held-out examples, by the functions that `sonolux ablate` calls.
Printed: the share of comparisons with a false alarm, with its 95 % interval (Wilson 1927). The method promises at most
5 %.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.config.recipe import Recipe
from sonolux.core.evaluation.ablation.arms import Arm
from sonolux.core.evaluation.ablation.figures import SAME, compare_figures
from sonolux.core.evaluation.ablation.interleave import train_interleaved
from sonolux.core.evaluation.ablation.train_arms import held_out_errors, prepare_seed
from sonolux.core.evaluation.intervals import wilson_interval
from sonolux.core.testing.mixture import example_mixture
from sonolux.core.types import Item

RECIPE = """
recipe: 1
name: mixture
modality: {use: image, size: 4, channels: 1}
data: {use: FILE:MixtureSamples, split: {by: hash, valid: 0.25}}
codec: {use: image/pixels}
network: {use: image/unet, width: 8, stages: [1], blocks: 1, attention: []}
train: {steps: STEPS, batch: 16, warmup: 1, precision: float32, device: cpu, optimizer: {use: adamw, lr: 3.0e-3}}
"""


class MixtureSamples:
    """256 samples of a Gaussian mixture; the last ones are held out.

    Args:
        split: The part, train or valid.
        valid: Share for validation.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, split: str, valid: float):
        samples = example_mixture(shape=(1, 4, 4)).draw(256, seed=0).float() / 4
        cut = round(len(samples) * (1 - valid))
        self.samples = samples[:cut] if split == "train" else samples[cut:]

    def __len__(self) -> int:
        return len(self.samples)

    def item(self, index: int, rng: object) -> Item:
        """Example `index`."""
        return Item(self.samples[index], source=str(index))

    def manifest(self) -> list[dict]:
        """The indices."""
        return [{"source": str(i)} for i in range(len(self))]


class SameArm(Arm):
    """An arm whose name is a number that only changes the seed."""

    def with_seed(self, number: int) -> Recipe:
        """The recipe with a seed that no other arm has."""
        return super().with_seed(number + 1_000_000 * int(self.name))


def comparison_verdicts(arms: list[SameArm], first: int, seeds: int) -> list[str]:
    """The verdicts of one comparison with `seeds` seeds, numbered from `first`."""
    values: list[list[float]] = [[] for _ in arms]
    for number in range(first, first + seeds):
        seed = prepare_seed(arms, number)
        train_interleaved(seed.runs, lambda run, steps: None)
        for row, run in zip(values, seed.runs, strict=True):
            errors = held_out_errors(run.trainer, seed.held_out, seed.levels)
            row.append(sum(errors) / len(errors))
    return [one.verdict for one in compare_figures(values)[1:]]


def count_false_alarms(repeats: int, arms: int, seeds: int, steps: int) -> int:
    """Comparisons in which any arm has another verdict than the right one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mixture.yaml"
        path.write_text(RECIPE.replace("FILE", str(Path(__file__).resolve())).replace("STEPS", str(steps)))
        recipe = load_recipe(path)
    same = [SameArm(str(i), recipe) for i in range(arms)]
    return sum(set(comparison_verdicts(same, seeds * i, seeds)) != {SAME} for i in range(repeats))


def main() -> None:
    """Print the share of false alarms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40, help="comparisons")
    parser.add_argument("--arms", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = count_false_alarms(asked.repeats, asked.arms, asked.seeds, asked.steps)
    low, high = wilson_interval(found / asked.repeats, asked.repeats)
    print(
        f"{found} of {asked.repeats} comparisons of {asked.arms} equal arms have a false alarm: "
        f"{found / asked.repeats:.1%} ({low:.1%} to {high:.1%})"
    )


if __name__ == "__main__":
    main()
