"""Trains a recipe with a learned codec and without one for equal times, and measures the samples by checkers.

    python benchmarks/latents.py [--only image] [--minutes 4] [--count 56] [--out FOLDER] [--smoke]

image: latent_shapes against the same network on patches of 4 x 4 pixels, so that both have 16 x 16 positions. audio:
synth_sfx with audio/autoencoder and a network for one axis against log-mel bands and the recipe's network. Both runs of
a pair are trained in turns of a few seconds on one thread, as by `sonolux ablate`, so that other load on the machine
affects both equally; the training of a codec counts. A share is that of samples that show the requested class; for
comparison, that of real examples after the codec. --smoke trains tiny networks for seconds, to test the command.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sonolux
import torch
from _bench import Table, exit_code
from sonolux.core.config.load import load_recipe
from sonolux.core.evaluation.ablation.interleave import InterleavedRun, train_interleaved
from sonolux.core.training.build import build_dataset
from sonolux.core.training.checkpoint import save_checkpoint
from sonolux.core.training.header import CheckpointHeader
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput
from sonolux.modalities.audio.synthetic.checkers import predict_families
from sonolux.modalities.image.synthetic.checkers import recognise_main_shape
from torch import Tensor

Recognise = Callable[[Sequence[Tensor], float], list[str]]


@dataclass(frozen=True)
class Pair:
    """Two ways to train a recipe: name -> its changes.

    Attributes:
        recipe: The recipe.
        ways: Name of a way -> changes of the recipe.
        smoke: Changes of both for --smoke.
        recognise: Classes of media, and their rate, for the checker.
    """

    recipe: str
    ways: dict[str, list[str]]
    smoke: list[str]
    recognise: Recognise


def _shapes(media: Sequence[Tensor], rate: float) -> list[str]:
    return [recognise_main_shape(picture) for picture in media]


def _families(media: Sequence[Tensor], rate: float) -> list[str]:
    return predict_families(list(media), rate)


PAIRS = {
    "image": Pair(
        "latent_shapes",
        {"image/autoencoder": [], "image/pixels": ["codec={use: image/pixels}", "network.patch=4"]},
        ["network.width=16", "data.count=40", "train.batch=4", "sample.steps=2"],
        _shapes,
    ),
    "audio": Pair(
        "synth_sfx",
        {
            "audio/autoencoder": [
                "codec={use: audio/autoencoder, base: {use: audio/logmel, n_fft: 512, hop: 128, mels: 64}}",
                "codec.width=48",
                "codec.steps=300",
                "network={use: audio/unet, width: 192, stages: [1, 1], blocks: 2, attention: [1]}",
            ],
            "audio/logmel": [],
        },
        ["network.width=32", "data.count=40", "train.batch=4", "sample.steps=2", "modality.seconds=0.5"],
        _families,
    ),
}
TINY_CODEC = ["codec.steps=2", "codec.width=8", "codec.batch=2"]


@dataclass
class Arm:
    """One way of a pair, prepared.

    Attributes:
        run: Its run, whose codec is trained.
        turns: Its training, limited by the time; that of preparation counts.
    """

    run: TrainingRun
    turns: InterleavedRun

    def save(self, path: Path) -> Path:
        """Write a checkpoint."""
        run, trainer, lengths = self.run, self.run.trainer, self.run.parts.clip_lengths
        header = CheckpointHeader(run.recipe.dump(), run.parts.spec, trainer.step, self.turns.seconds, lengths)
        parts = {**trainer.state_to_save(), "codec": run.parts.codec}
        save_checkpoint(path, header, parts)
        run.close()
        return path


def begin(pair: Pair, way: str, folder: Path, minutes: float, smoke: bool) -> Arm:
    """Prepare one way of a pair: its codec is trained.

    Raises:
        BadInput: That takes all of the time.
    """
    changes = [*pair.ways[way], "train.device=cpu", "train.precision=float32"]
    if smoke:
        changes += pair.smoke + (TINY_CODEC if "autoencoder" in way else [])
    began = time.perf_counter()
    run = TrainingRun(load_recipe(pair.recipe, changes), folder, lambda _: None, False)
    run.prepare()
    seconds = time.perf_counter() - began
    limit = seconds + 0.3 if smoke else 60 * minutes
    if seconds >= limit:
        run.close()
        raise BadInput(f"{way}: reading the data and training the codec took {seconds:.0f} s: give more --minutes")
    turns = InterleavedRun(run.trainer, None, limit)
    turns.seconds = seconds
    return Arm(run, turns)


def measure(name: str, arm: Arm, checkpoint: Path, pair: Pair, count: int) -> Table:
    """Shares of samples, and of real examples after the codec, that the checker recognises."""
    model = sonolux.load(checkpoint, device="cpu")
    spec, names = model.components.spec, model.classes
    samples = model.sample(count=count, seed=0, label="cycle", batch=min(count, 32))
    data, _ = build_dataset(model.recipe, "valid")
    real = [data.item(i, None) for i in range(min(count, len(data)))]
    media = torch.stack([item.media for item in real])
    with torch.no_grad():
        after = model.codec.decode(model.codec.encode(media), spec.length_of(media.shape))
    rate = float(spec.rate or 0)

    def share(found: Sequence[Tensor], wanted: Sequence[str]) -> float:
        recognised = pair.recognise(found, rate)
        return sum(a == b for a, b in zip(recognised, wanted, strict=True)) / len(wanted)

    wanted = [names[item.label or 0] for item in real]
    table = Table(f"{name}: {arm.run.step} steps in {arm.turns.seconds:.0f} s, diffuses {tuple(spec.latent)}")
    table.add("samples as requested", share(samples.media, [r["label"] for r in samples.conditions]), "{:.1%}")
    table.add("real examples after the codec", share(list(after), wanted), "{:.1%}")
    table.add("real examples", share(list(media), wanted), "{:.1%}")
    return table


def compare(pair: Pair, out: Path, minutes: float, count: int, smoke: bool) -> list[Table]:
    """Train both ways of a pair in turns, and measure them."""
    arms = {way: begin(pair, way, out / way.replace("/", "-"), minutes, smoke) for way in pair.ways}
    train_interleaved([arm.turns for arm in arms.values()], lambda run, steps: None)
    found = []
    for way, arm in arms.items():
        checkpoint = arm.save(out / f"{way.replace('/', '-')}.safetensors")
        found.append(measure(way, arm, checkpoint, pair, count))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PAIRS), help="one of the pairs")
    parser.add_argument("--minutes", type=float, default=4.0, help="of training of each run")
    parser.add_argument("--count", type=int, default=56, help="samples of each run")
    parser.add_argument("--out", type=Path, help="folder for the checkpoints; else they are not kept")
    parser.add_argument("--smoke", action="store_true", help="tiny networks and a few steps")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    count = 4 if args.smoke else args.count

    def task() -> None:
        with tempfile.TemporaryDirectory() as place:
            for name, pair in PAIRS.items():
                if args.only in (None, name):
                    for table in compare(pair, args.out or Path(place) / name, args.minutes, count, args.smoke):
                        print(table.text() + "\n", flush=True)

    return exit_code(task)


if __name__ == "__main__":
    sys.exit(main())
