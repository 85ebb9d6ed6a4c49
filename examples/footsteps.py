"""N different variations of one class or of one file: footsteps, shots, hits.

    python examples/footsteps.py runs/steps --label gravel --count 20 --out gravel
    python examples/footsteps.py runs/steps --file step.wav --strength 0.6 --count 20 --out step

The script generates twice the requested number. A sound is accepted if it is not too similar to a sound accepted
before, to a training sound of the run, or to the file. The similarity is 1 for copies at any level, polarity and
position, and about 0.6 for unrelated sounds. variations.csv lists the accepted sounds and their similarities.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sonolux
import torch
from sonolux.core.training.build import build_dataset
from sonolux.core.types import BadInput
from sonolux.core.util.folders import file_stem
from sonolux.core.util.messages import print_lines
from sonolux.modalities.audio import io
from sonolux.modalities.audio.post_processing import PostProcessing, post_process
from sonolux.modalities.audio.similarity import COPY, nearest_sounds
from torch import Tensor
from torch.nn import functional

COLUMNS = ("file", "seconds", "lufs", "true_peak", "seed", "sample", "alike_to_training", "alike_to_another")
ROUNDS = 4  # maximum number of seeds
MOST = 2000  # maximum number of training sounds that are compared


@dataclass
class Variation:
    """An accepted variation.

    Attributes:
        sound: The sound, (C, frames).
        seed: Seed that reproduces it, together with `sample`.
        sample: Sample number.
        similarity: Similarity to the nearest known sound.
    """

    sound: Tensor
    seed: int
    sample: int
    similarity: float


@dataclass
class Search:
    """The accepted variations, and how many sounds were rejected for which reason."""

    kept: list[Variation]
    silent: int = 0
    copies: int = 0
    repeats: int = 0

    def summary(self, count: int) -> str:
        """The result in one line."""
        rejected = f"{self.copies} too similar to known sounds, {self.repeats} to each other, {self.silent} silent"
        return f"{len(self.kept)} of {count} variations; rejected: {rejected}"


def known_sounds(trained: Any, label: str | None, data: Path | None, files_too: list[Path]) -> list[Tensor]:
    """The training sounds of the run (of one class, or all), and further files, read as in training."""
    recipe = (
        trained.recipe
        if data is None
        else trained.recipe.with_overrides([f"data.root={json.dumps(str(data.resolve()))}"])
    )
    try:
        source, spec = build_dataset(recipe, "train")
    except BadInput as error:
        raise BadInput(f"the training data of the run is needed to detect copies: give --data ({error})") from error
    index = None if label is None else list(spec.classes).index(label)
    found = []
    for i in range(len(source)):
        item = source.item(i, None)
        if index is None or item.label == index:
            found.append(item.media)
        if len(found) == MOST:
            break
    return found + [trained.components.modality.read(path) for path in files_too]


def similarities(sounds: list[Tensor], known: list[Tensor], rate: float) -> list[float]:
    """The similarity of each sound to the nearest known sound; 0 if there are none."""
    if not known or not sounds:
        return [0.0] * len(sounds)
    return nearest_sounds(padded(sounds), padded(known), rate)[0].tolist()


def padded(sounds: list[Tensor]) -> list[Tensor]:
    """Pad sounds with silence to the length of the longest."""
    longest = max(s.shape[-1] for s in sounds)
    return [functional.pad(s, (0, longest - s.shape[-1])) for s in sounds]


def among_themselves(sounds: list[Tensor], rate: float) -> Tensor:
    """For each sound its largest similarity to another of the same set, (N,)."""
    others = [[*sounds[:i], *sounds[i + 1 :]] for i in range(len(sounds))]
    return torch.cat(
        [nearest_sounds([sound], rest, rate).similarity for sound, rest in zip(sounds, others, strict=True)]
    )


def threshold(known: list[Tensor], rate: float) -> float:
    """The similarity above which a sound is a copy: the median between known sounds, limited to COPY .. 0.98."""
    median = float(among_themselves(padded(known), rate).median()) if len(known) > 2 else 0.0
    return min(max(COPY, median), 0.98)


def search(
    trained: Any, known: list[Tensor], count: int, limit: float, settings: dict[str, Any], generate: Callable[..., Any]
) -> Search:
    """Generate variations that differ from each other and from `known`.

    Args:
        trained: The pipeline.
        known: Sounds of which copies are rejected.
        count: Number of variations.
        limit: Similarity above which a sound is rejected.
        settings: Keys of the recipe's `sample` section.
        generate: Called with settings, returns `Samples`.
    """
    rate, found = trained.components.spec.rate, Search([])
    for turn in range(ROUNDS):
        seed = settings.get("seed", 0) + turn
        sounds = generate(**{**settings, "seed": seed, "count": 2 * count}).media
        audible = [i for i, sound in enumerate(sounds) if float(sound.abs().max()) > io.SILENT]
        found.silent += len(sounds) - len(audible)
        nearest_known = similarities([sounds[i] for i in audible], known, rate)
        for i, similarity in zip(audible, nearest_known, strict=True):
            if similarity > limit:
                found.copies += 1
            elif similarities([sounds[i]], [k.sound for k in found.kept], rate)[0] > limit:
                found.repeats += 1
            else:
                found.kept.append(Variation(sounds[i], seed, i, similarity))
            if len(found.kept) == count:
                return found
    return found


def write(folder: Path, name: str, kept: list[Variation], rate: float, form: str, settings: PostProcessing) -> None:
    """Write the variations and variations.csv."""
    sounds = [k.sound for k in kept]
    others = among_themselves(padded(sounds), rate).tolist() if len(kept) > 1 else [0.0] * len(kept)
    rows = []
    for i, (variation, other) in enumerate(zip(kept, others, strict=True), 1):
        done = post_process(variation.sound, rate, settings)
        path = folder / f"{file_stem(name, 'sound')}_{i:02d}{io.FORMATS[form].suffix}"
        io.write_sound(path, done.wave, rate, form)
        level = None if done.lufs is None else round(done.lufs, 2)
        facts = (path.name, round(done.seconds, 4), level, round(done.true_peak, 2), variation.seed, variation.sample)
        rows.append((*facts, round(variation.similarity, 3), round(other, 3)))
    with open(folder / "variations.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(rows)


def main(arguments: list[str] | None = None) -> int:
    """Generate the variations; exit code 1 if fewer than requested were found, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--label", help="class name")
    parser.add_argument("--file", type=Path, help="vary this file instead")
    parser.add_argument(
        "--strength", type=float, default=0.6, help="strength of the variation of --file (default %(default)s)"
    )
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="length of each sound; default: as the training data")
    parser.add_argument(
        "--alike",
        type=float,
        help="similarity above which a sound is rejected (default: the median between known sounds, at least 0.9)",
    )
    parser.add_argument("--data", type=Path, help="folder of the training data, if it was moved")
    parser.add_argument("--format", choices=list(io.FORMATS), default="wav16")
    parser.add_argument("--lufs", type=float, default=-18.0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="sampling setting, such as steps=40"
    )
    args = parser.parse_args(arguments)
    try:
        finishing = PostProcessing(lufs=args.lufs)
        trained = sonolux.load(args.run, changes=args.set)
        rate = trained.components.spec.rate
        if rate is None or args.count < 1:
            raise BadInput("footsteps needs an audio run, and a --count of 1 or more")
        if args.label is not None and args.label not in trained.classes:
            raise BadInput(f"there is no class {args.label!r}: the classes are {', '.join(trained.classes) or 'none'}")
        if args.out.exists() and any(args.out.iterdir()) and not (args.out / "variations.csv").exists():
            raise BadInput(f"{args.out} holds something else than variations: choose another folder")
        known = known_sounds(trained, args.label, args.data, [args.file] if args.file else [])
        limit = threshold(known, rate) if args.alike is None else args.alike
        settings = {"label": args.label, "seed": args.seed}
        if args.seconds is not None:
            settings["seconds"] = args.seconds
        generate = trained.sample
        if args.file is not None:
            generate = lambda **changes: trained.vary(args.file, args.strength, **changes)  # noqa: E731
        with torch.no_grad():
            found = search(trained, known, args.count, limit, settings, generate)
        args.out.mkdir(parents=True, exist_ok=True)
        write(
            args.out, args.label or (args.file.stem if args.file else "sound"), found.kept, rate, args.format, finishing
        )
    except BadInput as error:
        print_lines(*error.lines(), err=True)
        return 2
    print_lines(f"{found.summary(args.count)} (similarity above {limit:.2f}); variations.csv in {args.out}")
    return int(len(found.kept) < args.count)


if __name__ == "__main__":
    sys.exit(main())
