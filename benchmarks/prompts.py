"""How well pictures follow prompts, for runs on image/shapes with a text condition.

    python benchmarks/prompts.py RUN ... [--count 200] [--set guidance.scale=3] [--sheet sheet.png]

The prompts are captions of held-out pictures. `modalities/image/synthetic/checkers.py` reads the shapes of every sample
and, for comparison, those of the held-out pictures themselves. Shapes are matched by their colours, which differ within
a picture.

count     pictures with as many shapes as asked
colour    asked shapes of which there is one of the colour
shape     asked shapes of which there is one of the colour and shape
size      asked shapes of which there is one of the colour and size
relation  asked relations (above, left of, ...) that hold between shapes of these colours
all       pictures in which all of this is right

The interval is that of 95 % (Wilson).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from _bench import Table, exit_code, runs_parser
from sonolux.core.evaluation.intervals import wilson_interval
from sonolux.core.training.build import build_dataset
from sonolux.core.types import BadInput
from sonolux.modalities.image import visualize
from sonolux.modalities.image.synthetic.checkers import recognise_scene
from sonolux.modalities.image.synthetic.scenes import Scene

NAMES = ("count", "colour", "shape", "size", "relation", "all")


def read_back(asked: Mapping[str, Any], scene: Scene) -> dict[str, list[bool]]:
    """What is right in a picture.

    Args:
        asked: Attributes of the scene that was asked for, see `Scene.attributes`.
        scene: The scene that was recognised.

    Returns:
        Name -> right or wrong, once for each shape, relation or picture.
    """
    found = {thing.colour: i for i, thing in reversed([*enumerate(scene.things)])}
    right: dict[str, list[bool]] = {name: [] for name in NAMES}
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
    right["all"] = [all(all(values) for values in right.values())]
    return right


def measure(run: str, count: int, seed: int, changes: list[str], sheet: str | None) -> Table:
    """The measurements of one run."""
    import sonolux

    trained = sonolux.load(run, device="cpu", changes=changes)
    data, _ = build_dataset(trained.recipe, "valid")
    if trained.recipe.data.use != "image/shapes":
        raise BadInput(f"{run} was trained on {trained.recipe.data.use}: this benchmark requires image/shapes")
    items = [data.item(i, None) for i in range(min(count, len(data)))]
    made = trained.sample([str(item.caption) for item in items], count=len(items), seed=seed, progress=True)
    table = Table(f"{run} (step {trained.step}), {len(items)} held-out captions, seed {seed}")
    for title, pictures in (("samples", made.media), ("held-out pictures", [item.media for item in items])):
        rows = [read_back(item.attributes, recognise_scene(x)) for item, x in zip(items, pictures, strict=True)]
        for name in NAMES:
            values = [value for row in rows for value in row[name]]
            share = sum(values) / max(1, len(values))
            low, high = wilson_interval(share, len(values))
            table.add(f"{title}: {name}", share, "{:.1%}", f"{low:.1%} to {high:.1%}, of {len(values)}")
    if sheet:
        visualize.contact_sheet(made.media[:32], [str(item.caption) for item in items[:32]], cell=96).save(sheet)
    return table


def main() -> int:
    """Measure every run."""
    parser = runs_parser(__doc__, 200)
    parser.add_argument("--sheet", help="PNG file for the first 32 samples")
    args = parser.parse_args()

    def task() -> None:
        for run in args.runs:
            print(measure(run, args.count, args.seed, args.set, args.sheet).text() + "\n", flush=True)

    return exit_code(task)


if __name__ == "__main__":
    sys.exit(main())
