"""N variations of one class or of one file that never repeat: footsteps, shots, hits.

    python examples/footsteps.py runs/steps --label gravel --count 20 --out gravel
    python examples/footsteps.py runs/steps --file step.wav --strength 0.6 --count 20 --out step

Twice as many are made as asked for. One is kept if it is not too alike to any kept before, to any sound that the run
was trained on, or to the file: likeness is 1 for copies whatever their level, polarity and place, and about 0.6 for
unrelated sounds. variations.csv lists what was kept, and how alike it is to what.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sonolux
import torch
from sonolux.core.training.build import build_data
from sonolux.core.types import BadInput
from sonolux.modalities.audio import io
from sonolux.modalities.audio.output import Finish, finish
from sonolux.modalities.audio.similarity import COPY, nearest, nearest_others
from torch import Tensor
from torch.nn import functional

MADE = ("file", "seconds", "lufs", "true_peak", "seed", "sample", "alike_to_training", "alike_to_another")
ROUNDS = 4  # of new seeds until enough are found
MOST = 2000  # training sounds that are compared


@dataclass
class Kept:
    """A variation: the sound, the seed and sample that give it again, how alike it is to what was trained on."""

    sound: Tensor
    seed: int
    sample: int
    trained: float


@dataclass
class Search:
    """What was found, and why others were left out."""

    kept: list[Kept]
    silent: int = 0
    copies: int = 0
    repeats: int = 0

    def told(self, count: int) -> str:
        """In a line."""
        left = f"{self.copies} too alike to known sounds, {self.repeats} to others, {self.silent} silent"
        return f"{len(self.kept)} of {count} variations; left out: {left}"


def known_sounds(trained: Any, label: str | None, data: Path | None, files_too: list[Path]) -> list[Tensor]:
    """The run's training sounds of the class (all, without one), and other files, as training reads them."""
    recipe = trained.recipe if data is None else trained.recipe.merge([f"data.root={json.dumps(str(data.resolve()))}"])
    try:
        source, spec = build_data(recipe, "train")
    except BadInput as error:
        raise BadInput(f"without the run's training data nothing tells copies: give --data ({error})") from error
    index = None if label is None else list(spec.classes).index(label)
    found = []
    for i in range(len(source)):
        item = source.item(i, None)
        if index is None or item.label == index:
            found.append(item.media)
        if len(found) == MOST:
            break
    return found + [trained.parts.modality.read(path) for path in files_too]


def alike(sounds: list[Tensor], known: list[Tensor], rate: float) -> list[float]:
    """For each sound its likeness to the nearest known one; 0 where none is known."""
    if not known or not sounds:
        return [0.0] * len(sounds)
    return nearest(padded(sounds), padded(known), rate)[0].tolist()


def padded(sounds: list[Tensor]) -> list[Tensor]:
    """Sounds of any lengths with silence up to the longest."""
    most = max(s.shape[-1] for s in sounds)
    return [functional.pad(s, (0, most - s.shape[-1])) for s in sounds]


def usual(known: list[Tensor], rate: float) -> float:
    """The likeness from which on a sound is a copy: COPY, or more where half of the known sounds are as alike."""
    own = float(nearest_others(padded(known), rate).median()) if len(known) > 2 else 0.0
    return min(max(COPY, own), 0.98)


def search(trained: Any, known: list[Tensor], count: int, limit: float, asked: dict[str, Any], way: Any) -> Search:
    """Variations that differ from each other and from `known`. way: changes -> Samples."""
    rate, found = trained.parts.spec.rate, Search([])
    for turn in range(ROUNDS):
        seed = asked.get("seed", 0) + turn
        made = way(**{**asked, "seed": seed, "count": 2 * count}).media
        heard = [i for i, sound in enumerate(made) if float(sound.abs().max()) > io.SILENT]
        found.silent += len(made) - len(heard)
        copied = alike([made[i] for i in heard], known, rate)
        for i, copy in zip(heard, copied, strict=True):
            if copy > limit:
                found.copies += 1
            elif alike([made[i]], [k.sound for k in found.kept], rate)[0] > limit:
                found.repeats += 1
            else:
                found.kept.append(Kept(made[i], seed, i, copy))
            if len(found.kept) == count:
                return found
    return found


def write(folder: Path, name: str, kept: list[Kept], rate: float, form: str, how: Finish) -> None:
    """Write the variations and variations.csv."""
    sounds = [k.sound for k in kept]
    others = nearest_others(padded(sounds), rate).tolist() if len(kept) > 1 else [0.0] * len(kept)
    rows = []
    for i, (one, near) in enumerate(zip(kept, others, strict=True), 1):
        done = finish(one.sound, rate, how)
        path = folder / f"{name}_{i:02d}{io.FORMATS[form].suffix}"
        io.write(path, done.wave, rate, form)
        level = None if done.lufs is None else round(done.lufs, 2)
        facts = (path.name, round(done.seconds, 4), level, round(done.true_peak, 2), one.seed, one.sample)
        rows.append((*facts, round(one.trained, 3), round(near, 3)))
    with open(folder / "variations.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(MADE)
        table.writerows(rows)


def main(arguments: list[str] | None = None) -> int:
    """Make them; exit code 1 where fewer than asked for were found, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--label", help="a class of the run")
    parser.add_argument("--file", type=Path, help="vary this file instead")
    parser.add_argument("--strength", type=float, default=0.6, help="of the variation of --file (default %(default)s)")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="length of each; without: as long as the run's data are")
    parser.add_argument(
        "--alike",
        type=float,
        help="likeness that is too much (default: what half of the known sounds reach, 0.9 or more)",
    )
    parser.add_argument("--data", type=Path, help="the training data, where it has moved")
    parser.add_argument("--format", choices=list(io.FORMATS), default="wav16")
    parser.add_argument("--lufs", type=float, default=-18.0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of sampling: steps=40")
    args = parser.parse_args(arguments)
    try:
        how = Finish(lufs=args.lufs)
        trained = sonolux.load(args.run, changes=args.set)
        rate = trained.parts.spec.rate
        if rate is None or args.count < 1:
            raise BadInput("footsteps wants a run that makes sounds, and a count of 1 or more")
        if args.label is not None and args.label not in trained.classes:
            raise BadInput(f"there is no class {args.label!r}: the classes are {', '.join(trained.classes) or 'none'}")
        if args.out.exists() and any(args.out.iterdir()) and not (args.out / "variations.csv").exists():
            raise BadInput(f"{args.out} holds something else than variations: name another folder")
        known = known_sounds(trained, args.label, args.data, [args.file] if args.file else [])
        limit = usual(known, rate) if args.alike is None else args.alike
        asked = {"label": args.label, "seed": args.seed}
        if args.seconds is not None:
            asked["seconds"] = args.seconds
        way = trained.sample
        if args.file is not None:
            way = lambda **changes: trained.vary(args.file, args.strength, **changes)  # noqa: E731
        with torch.no_grad():
            found = search(trained, known, args.count, limit, asked, way)
        args.out.mkdir(parents=True, exist_ok=True)
        write(args.out, args.label or (args.file.stem if args.file else "sound"), found.kept, rate, args.format, how)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{found.told(args.count)} (likeness above {limit:.2f}); variations.csv in {args.out}")
    return int(len(found.kept) < args.count)


if __name__ == "__main__":
    sys.exit(main())
