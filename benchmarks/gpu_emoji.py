"""Emoji of 64x64 pixels from captions with a transformer, in ten minutes on one GPU: training, evaluation, a sheet.

    python benchmarks/gpu_emoji.py FOLDER --out OUT [--minutes 10] [KEY=VALUE ...]
    python benchmarks/gpu_emoji.py --smoke --out OUT

FOLDER contains pictures and captions.jsonl with the columns file, caption and style (recipe `emoji`). Three quarters of
the minutes are training; the rest is for the evaluation, which trains an embedding of pictures and captions on the real
data. OUT receives the run, the report of `sonolux eval`, and samples of prompts that are in no caption. Printed are the
steps, the samples per second, and how often the caption of a sample is retrieved among 20, for captions of the training
and for new ones, with the same for real pictures. KEY=VALUE changes the recipe.

--smoke   60 pictures of shapes and a network of 4 x 128, some seconds on a CPU: shows that every part works
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from _bench import Table, exit_code
from sonolux.core.types import BadInput, MediaSpec
from sonolux.core.util.device import choose_device
from sonolux.modalities.image.datasets.shapes import Shapes
from sonolux.modalities.image.io import write_picture

PROMPTS = (
    "a blue cat with a hat",
    "a green heart",
    "a red fish",
    "a purple car",
    "two yellow stars",
    "a sad frog",
    "a tree on a mountain",
    "a cake with a flag",
)
TRAINING = 0.75  # share of the minutes
LARGE = {
    "modality.size": 64,
    "network": {"use": "image/dit", "size": "small", "patch": 4, "cross_attention": True},
    "train.batch": 256,
    "train.measured_steps": None,
}
SMALL = {
    "modality.size": 16,
    "network": {"use": "image/dit", "size": "nano", "patch": 4, "cross_attention": True},
    "train.batch": 8,
    "train.measured_steps": None,
    "train.steps": 6,
    "sample.steps": 2,
}


def make_pictures(folder: Path, count: int = 60) -> Path:
    """A folder with pictures of shapes and the table of their captions."""
    folder.mkdir(parents=True)
    data = Shapes(MediaSpec("image", 3, ("height", "width"), (24, 24), (None, None)), count=count, shapes=1, valid=0)
    rows = []
    for i in range(len(data)):
        item = data.item(i)
        write_picture(folder / f"{i}.png", item.media)
        rows.append(json.dumps({"file": f"{i}.png", "caption": item.caption, "style": "noto"}))
    (folder / "captions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def sonolux(*arguments: object) -> str:
    """Run a command of the package; its output is returned.

    Raises:
        BadInput: It failed.
    """
    found = subprocess.run(
        [sys.executable, "-m", "sonolux.core.cli.main", *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    if found.returncode:
        raise BadInput(f"`sonolux {arguments[0]}` failed with exit code {found.returncode}; its message is above")
    return found.stdout


def overrides(settings: dict[str, Any]) -> list[str]:
    """KEY=VALUE for each setting."""
    return [
        f"{key}={yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}" for key, value in settings.items()
    ]


def measure(args: argparse.Namespace) -> None:
    """Train, evaluate, sample, and print the table.

    Raises:
        BadInput: There is no folder of pictures, or a command failed.
    """
    out, run = args.out, args.out / "run"
    folder: Path | None = make_pictures(out / "pictures") if args.smoke else args.folder
    if folder is None:
        raise BadInput("name the folder of the pictures, or give --smoke")
    minutes = {} if args.smoke else {"train.minutes": TRAINING * args.minutes}
    data = overrides({"data.root": str(folder), "data.table": str(folder / "captions.jsonl")})
    sonolux(
        "train", "emoji", *data, *overrides((SMALL if args.smoke else LARGE) | minutes), *args.changes, "--out", run
    )
    count = 8 if args.smoke else 512
    sonolux("eval", run, f"count={count}", "--out", out / "report")
    sonolux(
        "sample",
        run,
        f"prompt={json.dumps(PROMPTS)}",
        f"count={4 * len(PROMPTS)}",
        "conditions.style=noto",
        "--out",
        out / "new",
    )
    print(results(run, out / "report").text())


def results(run: Path, report: Path) -> Table:
    """The figures of a trained and evaluated run."""
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [row for row in steps if "loss" in row][-1]
    device = choose_device("auto")
    table = Table(
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    )
    table.add("steps", last["step"], "{}")
    table.add("samples per second", last["samples_per_s"])
    table.add("loss", last["loss"])
    found = json.loads((report / "metrics.json").read_text(encoding="utf-8"))["figures"].get("Prompts", {})
    for name, figure in found.items():
        references = (f"{about} {one['value']:.3g}" for about, one in figure["references"].items())
        table.add(name, figure["value"], note=", ".join(references))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args(arguments)
    return exit_code(lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
