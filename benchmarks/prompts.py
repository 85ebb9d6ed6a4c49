"""How well samples follow prompts, for runs on image/shapes or audio/synth_sfx with a text condition.

    python benchmarks/prompts.py RUN ... [--count 200] [--set guidance.scale=3] [--sheet sheet.png]

The prompts are captions of held-out examples. What each sample shows is read by the checker of its modality
(`modalities/*/synthetic/checkers.py`) and compared with the attributes that were asked for; so are, for comparison, the
held-out examples themselves, and these after the codec. The interval is that of 95 % (Wilson).

--wordings  each prompt is a random one of the captions of its example, not the first
--synonyms  words of the prompts are replaced by synonyms that are in no caption (crimson for red)
--held-out  only prompts with a pair of colour and shape of `data.held_out`, which training never sees together; without
            this option, prompts without such pairs

Pictures. Shapes are matched by their colours, which differ within a picture.

count     pictures with as many shapes as asked
colour    asked shapes of which there is one of the colour
shape     asked shapes of which there is one of the colour and shape
size      asked shapes of which there is one of the colour and size
relation  asked relations (above, left of, ...) that hold between shapes of these colours
all       pictures in which all of this is right

Sounds: family, pitch, length, sweep, noise, echo, and sounds in which all of them are right. The family of a sound that
has noise in the place of tones is never right. Besides, the median of the peaks, and the share of sounds that peak
above full scale.
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from _bench import Table, print_tables, runs_parser
from made_sounds import padded
from sonolux.core.evaluation.intervals import wilson_interval
from sonolux.core.training.build import build_dataset
from sonolux.core.types import BadInput, Dataset, Item, MediaSpec
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.audio.synthetic import effects
from sonolux.modalities.audio.synthetic.checkers import predict_attributes
from sonolux.modalities.image.datasets.shapes import Shapes
from sonolux.modalities.image.synthetic import scenes
from sonolux.modalities.image.synthetic.checkers import recognise_scene
from torch import Tensor

Answers = dict[str, list[bool]]
"""What is right in a sample: name -> right or wrong, once for each shape, relation or sample."""


def compare_scene(asked: Mapping[str, Any], scene: scenes.Scene) -> Answers:
    """What is right in a picture.

    Args:
        asked: Attributes of the scene that was asked for, see `Scene.attributes`.
        scene: The scene that was recognised.
    """
    found = {thing.colour: i for i, thing in reversed([*enumerate(scene.things)])}
    right: Answers = {name: [] for name in ("count", "colour", "shape", "size", "relation")}
    right["count"] = [len(scene.things) == asked["count"]]
    for thing in asked["things"]:
        place = found.get(thing["colour"])
        one = None if place is None else scene.things[place]
        right["colour"].append(one is not None)
        right["shape"].append(one is not None and one.shape == thing["shape"])
        right["size"].append(one is not None and one.size == thing["size"])
    first, *others = (found.get(thing["colour"]) for thing in asked["things"])
    for relation, other in zip(asked["relations"], others, strict=True):
        right["relation"].append(first is not None and other is not None and scene.relation(first, other) == relation)
    return right


def read_pictures(pictures: Sequence[Tensor], asked: Sequence[Mapping[str, Any]], spec: MediaSpec) -> list[Answers]:
    """What is right in each picture (C, H, W)."""
    return [compare_scene(wanted, recognise_scene(x)) for wanted, x in zip(asked, pictures, strict=True)]


def read_sounds(sounds: Sequence[Tensor], asked: Sequence[Mapping[str, Any]], spec: MediaSpec) -> list[Answers]:
    """What is right in each sound (C, frames)."""
    found = predict_attributes(padded([*sounds], spec.size[0]), float(spec.rate or 0))
    rows = zip(asked, found, strict=True)
    return [{name: [wanted[name] == row[name]] for name in effects.CHOICES} for wanted, row in rows]


def measure_peaks(sounds: Sequence[Tensor]) -> dict[str, float]:
    """The median of the peaks, and the share of sounds that peak above full scale."""
    peaks = torch.stack([sound.abs().max() for sound in sounds])
    return {"median peak": float(peaks.median()), "peak above full scale": float((peaks > 1).float().mean())}


class Reader(NamedTuple):
    """How samples of a dataset are compared with prompts.

    Attributes:
        read: (samples, attributes that were asked for, media specification) -> what is right in each sample.
        synonyms: Words of captions -> words that are in no caption.
        measure: samples -> what is measured of all of them together, by name.
    """

    read: Callable[[Sequence[Tensor], Sequence[Mapping[str, Any]], MediaSpec], list[Answers]]
    synonyms: Mapping[str, str]
    measure: Callable[[Sequence[Tensor]], dict[str, float]] = lambda samples: {}


READERS = {
    "image/shapes": Reader(read_pictures, scenes.SYNONYMS),
    "audio/synth_sfx": Reader(read_sounds, effects.SYNONYMS, measure_peaks),
}


def shares(rows: Sequence[Answers]) -> dict[str, tuple[float, int]]:
    """Share of right answers and their number, by name; `all`: of the samples in which every answer is right."""
    named = {name: [value for row in rows for value in row[name]] for name in rows[0]}
    named["all"] = [all(all(values) for values in row.values()) for row in rows]
    return {name: (sum(values) / max(1, len(values)), len(values)) for name, values in named.items()}


def replace_words(text: str, synonyms: Mapping[str, str]) -> str:
    """The text with whole words replaced, and the article that fits: "a red star" -> "a crimson pentagram"."""
    words = "|".join(sorted(map(re.escape, synonyms), key=len, reverse=True))
    text = re.sub(rf"\b({words})\b", lambda found: synonyms[found[0]], text)
    return re.sub(r"\ban?(?= (\w))", lambda found: "an" if found[1] in "aeiou" else "a", text)


def choose_examples(data: Dataset, args: Namespace) -> list[Item]:
    """The first examples that the options ask for, with one caption each.

    Raises:
        BadInput: No example is left.
    """
    found: list[Item] = []
    for i in range(len(data)):
        if (isinstance(data, Shapes) and data.is_held_out(i)) == args.held_out:
            found.append(data.item(i, keyed_generator(args.seed, i, "wordings") if args.wordings else None))
        if len(found) == args.count:
            break
    if not found:
        raise BadInput("no example for validation has a held-out pair: --held-out needs a run with data.held_out")
    return found


def measure(run: str, args: Namespace) -> Table:
    """The measurements of one run."""
    import sonolux

    trained = sonolux.load(run, device="cpu", changes=args.set)
    reader = READERS.get(trained.recipe.data.use)
    if reader is None:
        raise BadInput(
            f"{run} was trained on {trained.recipe.data.use}: this benchmark requires {' or '.join(READERS)}"
        )
    data, spec = build_dataset(trained.recipe, "valid")
    items = choose_examples(data, args)
    prompts = [str(item.caption) for item in items]
    if args.synonyms:
        prompts = [replace_words(prompt, reader.synonyms) for prompt in prompts]
    made = trained.sample(prompts, count=len(items), seed=args.seed, progress=True).media
    real = [item.media for item in items]
    with torch.no_grad():
        decoded = [trained.codec.decode(trained.codec.encode(x[None]), spec.length_of(x.shape))[0] for x in real]
    table = Table(f"{run} (step {trained.step}), {len(items)} prompts such as {prompts[0]!r}, seed {args.seed}")
    for title, media in (("samples", made), ("held-out", real), ("held-out after the codec", decoded)):
        rows = reader.read(media, [item.attributes for item in items], spec)
        for name, (share, number) in shares(rows).items():
            if not number:  # relations, of pictures with one shape
                continue
            low, high = wilson_interval(share, number)
            table.add(f"{title}: {name}", share, "{:.1%}", f"{low:.1%} to {high:.1%}, of {number}")
        for name, value in reader.measure(media).items():
            table.add(f"{title}: {name}", value, "{:.2f}")
    if args.sheet:
        trained.components.modality.sheet(Path(args.sheet), made[:32], prompts[:32])
    return table


def main() -> int:
    """Measure every run."""
    parser = runs_parser(__doc__, 200, "number of prompts")
    parser.add_argument("--wordings", action="store_true", help="prompts in all wordings of the captions")
    parser.add_argument("--synonyms", action="store_true", help="prompts with words that are in no caption")
    parser.add_argument("--held-out", action="store_true", help="prompts with pairs that training leaves out")
    parser.add_argument("--sheet", help="PNG file for the first 32 samples")
    args = parser.parse_args()

    return print_tables(args.runs, lambda run: measure(run, args))


if __name__ == "__main__":
    sys.exit(main())
