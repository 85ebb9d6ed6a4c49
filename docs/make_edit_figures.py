"""Draw the figures of docs/editing.md from a run of `text_shapes` and one of `text_sfx`, on held-out examples.

python docs/make_edit_figures.py runs/text-shapes runs/text-sfx [--only vary recover]

Each row begins with the file. Prompts are given to `reprompt` alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import sonolux
import torch
from sonolux.core.config.registry import find_class
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.core.training.build import build_dataset
from sonolux.core.types import Item
from torch import Tensor

HERE = Path(__file__).parent / "images"
EXAMPLES = 12
Rows = list[list[Tensor]]


class Examples:
    """Held-out examples of a run as files.

    Args:
        pipeline: The run.
        folder: Where the files are written.
    """

    def __init__(self, pipeline: Pipeline, folder: Path):
        self.pipeline = pipeline
        modality, (data, spec) = pipeline.components.modality, build_dataset(pipeline.recipe, "valid")
        self.items: list[Item] = [data.item(i, None) for i in range(EXAMPLES)]
        whole = [spec.trim(item.media, item.length) for item in self.items]
        self.files = [modality.write(folder / f"{i}{modality.suffix}", m).path for i, m in enumerate(whole)]
        self.media = [modality.read(file) for file in self.files]


def vary(examples: Examples, chosen: tuple[int, ...]) -> Rows:
    """The file, and variations of strength 0.3, 0.5, 0.7 and 0.9."""
    rows = []
    for i in chosen:
        varied = [examples.pipeline.vary(examples.files[i], s, seed=1).media[0] for s in (0.3, 0.5, 0.7, 0.9)]
        rows.append([examples.media[i], *varied])
    return rows


def inpaint_pictures(examples: Examples) -> Rows:
    """The file, what is known of it, and three results."""
    rows = []
    for i in (1, 4):
        known = examples.media[i].clone()
        known[:, 8:24, 16:32] = 0
        made = examples.pipeline.inpaint(examples.files[i], box=[16, 8, 32, 24], count=3, seed=1)
        rows.append([examples.media[i], known, *made.media])
    return rows


def inpaint_sounds(examples: Examples) -> Rows:
    """The file, what is known of it, and three results."""
    rows = []
    for i in (3, 6):
        known = examples.media[i].clone()
        known[:, 1600:3200] = 0
        made = examples.pipeline.inpaint(examples.files[i], spans=[(0.2, 0.4)], count=3, seed=1)
        rows.append([examples.media[i], known, *made.media])
    return rows


def continue_sounds(examples: Examples) -> Rows:
    """The first 0.3 s of the file, and three continuations by 0.5 s."""
    rows = []
    modality = examples.pipeline.components.modality
    for i in (3, 6):
        begin = examples.media[i][:, :2400]
        file = modality.write(examples.files[i].with_name(f"begin-{i}{modality.suffix}"), begin).path
        rows.append([begin, *examples.pipeline.extend(file, 0.5, count=3, seed=1).media])
    return rows


def morph(examples: Examples, pairs: tuple[tuple[int, int], ...]) -> Rows:
    """From one file to another."""
    made = [examples.pipeline.morph(examples.files[a], examples.files[b], 5).media for a, b in pairs]
    return [[examples.media[a], *row, examples.media[b]] for (a, b), row in zip(pairs, made, strict=True)]


def reprompt(examples: Examples, changes: dict[int, tuple[str, str]]) -> Rows:
    """The file, its round trip without guidance, and the file under the changed caption: strength 0.6, 0.8, 1."""
    rows = []
    for i, (old, new) in changes.items():
        caption = examples.items[i].caption or ""
        wanted = caption.replace(old, new)
        print(f"reprompt: {caption!r} -> {wanted!r}")
        file, own = examples.files[i], {"source": caption, "seed": 1}
        back = examples.pipeline.reprompt(file, caption, **own, guidance=None).media[0]
        made = [examples.pipeline.reprompt(file, wanted, strength=s, **own).media[0] for s in (0.6, 0.8, 1.0)]
        rows.append([examples.media[i], back, *made])
    return rows


def recover_pictures(examples: Examples) -> Rows:
    """The file, the measurement, and two results, for four operators."""
    spec, rows = examples.pipeline.components.spec, []
    options = ({"factor": 4}, {"cutoff": 0.1}, {}, {})
    for i, name, given in zip((1, 2, 4, 5), ("downsample", "low_pass", "channel_mean", "crop"), options, strict=True):
        cls = find_class("degradation", name)
        operator = cls(**given) if name == "crop" else cls(spec, **given)
        made = examples.pipeline.recover(examples.files[i], {"use": name, **given}, count=2, seed=1)
        rows.append([examples.media[i], operator.of_file(examples.media[i]), *made.media])
    return rows


def draw(examples: Examples, name: str, make: Callable[[], Rows], least: int = 0) -> None:
    """Draw rows; sounds are padded with silence to `least` samples."""
    rows = [[torch.nn.functional.pad(m, (0, max(0, least - m.shape[-1]))) for m in row] for row in make()]
    examples.pipeline.components.modality.strip(HERE / name, rows)
    print(HERE / name, (HERE / name).stat().st_size, flush=True)


def main() -> None:
    """Draw all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="EDIT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        pictures = Examples(sonolux.load(args.pictures, device="cpu"), Path(one))
        sounds = Examples(sonolux.load(args.sounds, device="cpu"), Path(two))
        figures: list[tuple[Examples, str, Callable[[], Rows]]] = [
            (pictures, "vary", lambda: vary(pictures, (1, 4))),
            (pictures, "inpaint", lambda: inpaint_pictures(pictures)),
            (pictures, "morph", lambda: morph(pictures, ((0, 1), (4, 5)))),
            (pictures, "reprompt", lambda: reprompt(pictures, {0: ("red", "blue"), 1: ("small", "large")})),
            (pictures, "recover", lambda: recover_pictures(pictures)),
            (sounds, "vary", lambda: vary(sounds, (0, 3))),
            (sounds, "inpaint", lambda: inpaint_sounds(sounds)),
            (sounds, "continue", lambda: continue_sounds(sounds)),
            (sounds, "morph", lambda: morph(sounds, ((0, 5),))),
            (sounds, "reprompt", lambda: reprompt(sounds, {10: ("rising", "falling"), 6: ("low", "high")})),
        ]
        for examples, edit, make in figures:
            if not args.only or edit in args.only:
                kind = "image" if examples is pictures else "audio"
                draw(examples, f"edit-{kind}-{edit}.png", make, 0 if examples is pictures else 8000)


if __name__ == "__main__":
    main()
