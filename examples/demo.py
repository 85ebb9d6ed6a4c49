"""Ask the packaged models for pictures and sounds, then train a model from scratch, and show both on one HTML page.

    python examples/demo.py --out demo

Open demo/index.html as soon as the first line is printed: the page fills while the demo runs. The packaged models take
about two minutes on two cores. Then the recipe `shapes` is trained on this machine, until a checker recognises 90 % of
its samples, until one and a half times the steps with which the recipe was measured are made, or until --minutes are
over. The page says which of these it was; samples of a training that has not reached its goal are marked. Ctrl-C ends
the training and leaves the page complete.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from _demo_models import ModelPart, show_model
from _demo_training import GOAL, RECIPE, LiveTraining, TrainingPart, summary
from sonolux.core.config.load import load_recipe
from sonolux.core.training.model_card import read_card
from sonolux.core.training.packaged_models import packaged_models
from sonolux.core.util.html_templates import template_engine
from sonolux.core.util.messages import print_lines

PAGE, TRAINING = "index.html", "training.html"


def write_page(out: Path, models: list[ModelPart], training: TrainingPart | None, left_out: list[str], at: str) -> Path:
    """Write the page into the folder of the files that it shows; the template engine escapes all names.

    Args:
        out: The folder.
        models: The parts of the packaged models.
        training: The part of the training; None: there is none.
        left_out: Models, or edits, for which there was no time.
        at: What the demo does now: models, training or end. The page reloads itself before the end; during the training
            only a frame in it does, so that sounds play on.
    """
    engine = template_engine(Path(__file__).resolve().parent)
    values = {"models": models, "training": training, "left_out": left_out, "at": at, "goal": GOAL}
    names = {PAGE: "demo.html.j2", **({TRAINING: "demo_training.html.j2"} if training else {})}
    for name, template in names.items():
        if name == PAGE and at == "training" and training and training.step:
            continue  # a page that is open stays as it is
        text = engine.get_template(template).render(values)
        part = out / f".{name}"
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(out / name)
    return out / PAGE


def main(argv: list[str] | None = None) -> int:
    """Run the demo; with --check, return exit code 1 if the training did not reach its goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--minutes", type=float, default=30, help="longest training time; 0: no training")
    parser.add_argument("--count", type=int, default=56, help="number of samples that are checked")
    parser.add_argument("--seconds", type=float, default=120, help="time for the packaged models")
    parser.add_argument("--check", action="store_true", help="fail if less than 90 %% are recognised")
    args = parser.parse_args(argv)
    if args.out.exists() and any(args.out.iterdir()) and not (args.out / PAGE).is_file():
        parser.error(f"{args.out} holds something else than a demo: choose another folder")
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    planned = round(1.5 * (load_recipe(RECIPE).train.measured_steps or 1000))
    training = TrainingPart(planned, 60 * args.minutes, args.count) if args.minutes else None
    models, left_out = list[ModelPart](), list[str]()
    start = time.monotonic()
    print_lines(f"open {write_page(args.out, models, training, left_out, 'models')}: it reloads itself")
    names = packaged_models()
    for i, (name, folder) in enumerate(names.items(), 1):
        models.append(ModelPart(read_card(folder)))
        for _ in show_model(name, models[-1], args.out):
            write_page(args.out, models, training, left_out, "models")
            if time.monotonic() - start > args.seconds * i / len(names):  # an equal share for each model
                left_out.append(f"{name}: not all edits")
                break
        print_lines(f"{name}: {len(models[-1].sections)} sections after {time.monotonic() - start:.0f} s")
    if training is not None:
        try:
            for _ in LiveTraining(args.out, training).follow():
                write_page(args.out, models, training, left_out, "training")
        except KeyboardInterrupt:
            training.state = "stopped"
    print_lines(*summary(training), f"{time.monotonic() - start:.0f} s in total; "
                f"open {write_page(args.out, models, training, left_out, 'end')}")  # fmt: skip
    figures = {} if training is None else {"steps": training.checked, "recognised": training.hits, "of": training.count}
    (args.out / "figures.json").write_text(json.dumps({"models": [*names], RECIPE: figures}, indent=1) + "\n")
    return int(args.check and training is not None and not training.reached)


if __name__ == "__main__":
    sys.exit(main())
