"""What a network that was trained with a reference restores, on held-out examples (recipes inpaint_shapes,
continue_textures, bandwidth_sfx).

    python benchmarks/references.py RUN ... [--count 48] [--set steps=20] [--sheet sheet.png]

A run with a mask: the second half of each example (the right half of a picture, the end of a sound) is made anew, by
the network with its reference and by the method for untrained networks (the same network without its reference). A run
with another degradation: each example is degraded and restored. Labels are left as the recipe has them.

as real   examples of which the checker reads the same in the result as in the example: shape and colour of the main
          shape, family and all attributes of a sound, family of a texture
number    pictures with as many shapes as the example: a shape that is hidden as a whole may come back as another one
distance  from the example: PSNR in dB of pictures (more is better), log-spectral distance in dB of sounds (less is
          better). Results differ from the example where it cannot be known, so that the ceiling is not a perfect score
edge      the mean difference between the two elements at the edge of the part, divided by that of the example; 1 is the
          best
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from _bench import Table, draw_side_by_side, print_tables, runs_parser
from made_sounds import KINDS, padded
from recover import log_spectral_distance, psnr, write_examples
from sonolux.core.conditioning.reference import Reference
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.audio.synthetic.checkers import predict_attributes
from sonolux.modalities.image.synthetic.checkers import recognise_scene
from torch import Tensor


def reference_of(pipeline: Pipeline) -> Reference:
    """The reference of a run.

    Raises:
        BadInput: It has none.
    """
    conditions = pipeline.model.conditions.values()
    found = [condition for condition in conditions if isinstance(condition, Reference)]
    if not found:
        raise BadInput("the run was trained without a reference: this benchmark requires one")
    return found[0]


def read_answers(media: Sequence[Tensor], data: str, spec: MediaSpec) -> dict[str, list[Any]]:
    """What the checker of a dataset reads in each sample: figure -> answers."""
    if data == "image/shapes":
        scenes = [recognise_scene(one) for one in media]
        main = [[(thing.shape, thing.colour) for thing in scene.things[:1]] for scene in scenes]
        return {"as real": main, "number": [len(scene.things) for scene in scenes]}
    if data in KINDS:
        return {"as real": predict_attributes(padded([*media], spec.size[0]), float(spec.rate or 0), KINDS[data])}
    raise BadInput(f"no checker reads {data}: this benchmark requires image/shapes, {', '.join(KINDS)}")


def edge_difference(media: Sequence[Tensor], place: int) -> float:
    """The mean absolute difference of the elements before and after `place` on the last axis."""
    return float(torch.stack([(one[..., place] - one[..., place - 1]).abs().mean() for one in media]).mean())


def complete(pipeline: Pipeline, files: list[Path], seed: int, trained: bool) -> list[Tensor]:
    """The files with their second halves made anew."""
    spec = pipeline.components.spec
    if spec.rate is None:
        height, width = spec.size
        part: dict[str, Any] = {"box": [width // 2, 0, width, height]}
    else:
        length = spec.size[0] / spec.rate  # seconds
        part = {"spans": [(length / 2, length)]}
    return pipeline.inpaint(files, **part, trained=trained, seed=seed, batch=len(files)).media


def restore(pipeline: Pipeline, given: list[Tensor], folder: Path, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Degraded examples, and what the network restores of them."""
    degradation, modality = reference_of(pipeline).degradation, pipeline.components.modality
    degraded = [degradation.degrade(one, keyed_generator(seed, i, "degrade")).media for i, one in enumerate(given)]
    files = [modality.write(folder / f"degraded{i}{modality.suffix}", one).path for i, one in enumerate(degraded)]
    return degraded, pipeline.restore(files, seed=seed, batch=len(files)).media


def measure(run: str, args: Namespace) -> Table:
    """The measurements of one run."""
    import sonolux

    pipeline = sonolux.load(run, device="cpu", changes=args.set)
    masks, spec = reference_of(pipeline).degradation.masks, pipeline.components.spec
    results: dict[str, list[Tensor]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_examples(pipeline, folder, args.count)
        given = [pipeline.components.modality.read(file) for file in files]
        if masks:
            results["with the reference"] = complete(pipeline, files, args.seed, trained=True)
            results["untrained method"] = complete(pipeline, files, args.seed, trained=False)
        else:
            results["degraded"], results["restored"] = restore(pipeline, given, folder, args.seed)
    table = Table(f"{run} (step {pipeline.step}), {len(files)} held-out examples, seed {args.seed}")
    wanted = read_answers(given, pipeline.recipe.data.use, spec)
    distance: Callable[[Tensor, Tensor], float] = psnr if spec.rate is None else log_spectral_distance
    place = spec.size[-1] // 2
    for title, made in results.items():
        for name, answers in read_answers(made, pipeline.recipe.data.use, spec).items():
            same = [a == b for a, b in zip(answers, wanted[name], strict=True)]
            table.add(f"{title}: {name}", sum(same) / len(same), "{:.1%}")
        far = [distance(a[..., : b.shape[-1]], b[..., : a.shape[-1]]) for a, b in zip(made, given, strict=True)]
        table.add(f"{title}: distance", sum(far) / len(far), "{:.2f}", "dB")
        if masks:
            longer = [i for i, one in enumerate(given) if one.shape[-1] > place]
            if not longer:
                continue
            ends = [edge_difference([media[i] for i in longer], place) for media in (made, given)]
            table.add(f"{title}: edge", ends[0] / ends[1], "{:.2f}")
    if args.sheet:
        draw_side_by_side(pipeline.components.modality, args.sheet, {"example": given, **results}, 8)
    return table


def main() -> int:
    """Measure every run."""
    parser = runs_parser(__doc__, 48, "examples of each run")
    parser.add_argument("--sheet", help="PNG file: the first 8 examples and what was made of them")
    args = parser.parse_args()

    return print_tables(args.runs, lambda run: measure(run, args))


if __name__ == "__main__":
    sys.exit(main())
