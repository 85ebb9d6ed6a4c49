"""Make the folder of a packaged model, models/NAME, from a finished run.

    python benchmarks/box_model.py RUN NAME --figures FILE [--data TEXT --licence TEXT] [--nfe 5,8] [--overwrite]
                                            [--weights int8|float16]

The folder receives model.safetensors (the averaged weights in a small form, see --weights; the codec as it is; no
state of the optimizer), recipe.yaml and card.md. FILE is Markdown with the measured figures and the commands that
print them. Paths of the data are removed from the recipe. Few-step plans are calibrated for --nfe evaluations, unless
the checkpoint of the run has plans already; `--nfe none` makes none.

--weights int8     matrices and kernels as integers of 8 bits with a scale for each output channel, but the smallest
                   matrices and all other parameters as float16; half the size of float16
--weights float16  all parameters as float16

Both become float32 when they are loaded. Buffers stay as they are.

Printed are the size, and the differences between samples of the run and of the new model with the same seeds, in the
diffused tensor of the codec, whose standard deviation is about 1: the largest, and the RMS over all values relative to
the RMS of the samples. If the RMS is above --tolerance, nothing is written.

RUN may be a packaged model, to store it in another form: `box_model.py text_shapes text_shapes --nfe none --overwrite`.
What its card states is kept; the figures are too, without --figures.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sonolux
import torch
import yaml
from _bench import exit_code
from pydantic import TypeAdapter
from sonolux.core.cli.main import main as run_command
from sonolux.core.config.load import packaged_recipes
from sonolux.core.config.yaml import dump_yaml
from sonolux.core.pipeline.auxiliary import AuxiliaryModelLoader
from sonolux.core.pipeline.conditions import guidance_prompts, require_text_condition
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.core.pipeline.sample import RequestSampler
from sonolux.core.training import packaged_models
from sonolux.core.training.checkpoint import newest_checkpoint, read_header, run_folder, save_checkpoint
from sonolux.core.training.header import CheckpointHeader
from sonolux.core.training.model_card import ModelCard, format_examples, hash_weights, read_card
from sonolux.core.training.quantization import STORED_TYPES, stored_weights
from sonolux.core.types import BadInput
from sonolux.core.util.json_files import read_json
from sonolux.core.util.messages import format_names, print_lines

TOLERANCE = 0.05  # of an RMS difference, relative to the RMS of the samples
NAME = "abcdefghijklmnopqrstuvwxyz0123456789_"  # letters of a name
_ENVIRONMENT = TypeAdapter(dict[str, Any])
_STORED = {
    "int8": "stored as int8 with a scale for each output channel (the smallest matrices as float16)",
    "float16": "stored as float16",
}


@dataclass(frozen=True)
class Difference:
    """How samples of two models with the same seeds differ.

    Attributes:
        largest: Of the diffused tensor, the largest difference.
        rms: Of the diffused tensor, the RMS difference relative to the RMS of the samples.
    """

    largest: float
    rms: float

    def __str__(self) -> str:
        return f"relative RMS {self.rms:.2g}, largest {self.largest:.2g}"


def recipe_without_paths(pipeline: Pipeline, text: str) -> str:
    """The recipe of a checkpoint with null in the place of each path of its data.

    Raises:
        BadInput: Another section names a path: a packaged model must not need files.
    """
    tree = yaml.safe_load(text)
    for key in pipeline.recorded.paths():
        first, *others = key.split(".")
        if first not in ("data", "eval"):
            raise BadInput(f"{key} is a path, and a packaged model must not need other files")
        section = tree[first]
        for name in others[:-1]:
            section = section[name]
        section[others[-1]] = None
    return dump_yaml(tree)


def diffused_samples(pipeline: Pipeline, count: int) -> torch.Tensor:
    """Samples with the settings of the recipe as the network makes them, before the codec decodes them."""
    recipe = pipeline.recipe_with({"count": count, "seed": 0})
    method = recipe.sampler.build(), recipe.sample.timesteps.build()
    sampler = RequestSampler(pipeline.context, recipe, method, AuxiliaryModelLoader(pipeline.context))
    request = pipeline.request(recipe)
    with torch.no_grad():
        sampler.embedder.add(request.conditions, guidance_prompts(recipe.sample))
        return sampler.latents(request)


def compare_models(a: Pipeline, b: Pipeline, count: int) -> Difference:
    """Compare samples of two pipelines with the same seeds."""
    x = diffused_samples(a, count)
    difference = diffused_samples(b, count) - x
    return Difference(float(difference.abs().max()), _rms(difference) / _rms(x))


def _rms(x: torch.Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def command_to_train(words: Sequence[str], steps: int) -> str:
    """The command that trains the model again, from that of its run: without options, and limited by steps.

    Args:
        words: Arguments of the command that made the run.
        steps: Optimizer steps of the model.
    """
    recipe = next((word for word in words[1:] if word in _recipe_names()), None)
    if not words or words[0] != "train" or recipe is None:
        return f"sonolux train recipe.yaml train.steps={steps} train.minutes=null"
    changes = [word for word in words[1:] if "=" in word and not word.startswith(("-", "train.steps", "train.minutes"))]
    shown = [
        "data." + c[5:].partition("=")[0] + "=PATH" if c.startswith(("data.root=", "data.table=")) else c
        for c in changes
    ]
    return shlex.join(["sonolux", "train", recipe, *shown, f"train.steps={steps}", "train.minutes=null"])


def _recipe_names() -> set[str]:
    known = packaged_recipes()
    return {*known, *(name.rpartition("/")[2] for name in known)}


def make_card(
    pipeline: Pipeline, header: CheckpointHeader, facts: dict[str, Any], args: argparse.Namespace
) -> ModelCard:
    """The card of a model, apart from its hash.

    Args:
        pipeline: The model.
        header: The header of its checkpoint.
        facts: env.json of the run.
        args: The command line.
    """
    recipe, former = pipeline.recorded, packaged_card(args.run)
    weights = sum(p.numel() for p in pipeline.model.parameters())
    minutes = max(1, round(header.elapsed / 60))
    threads = facts.get("threads")
    hardware = f"CPU, {threads} thread{'s' * (threads != 1)}" if facts.get("device") == "cpu" else facts.get("device")
    plans = ", ".join(f"steps={n}" for n in sorted(header.plans))
    found = {
        "Makes": recipe.about.partition(";")[0],
        "Recipe": recipe.name,
        "Command": f"`{command_to_train(facts.get('argv', []), header.step)}`",
        "Steps": header.step,
        "Training time": f"{minutes} minutes",
        "Hardware": hardware or "unknown",
        "Examples": format_examples(_examples(pipeline)),
        "Data": f"made by code ({recipe.data.use}), no files",
        "Licence": "MIT, as sonolux",
    }
    given = {
        "Makes": args.makes,
        "Command": args.command and f"`{args.command}`",
        "Hardware": args.hardware,
        "Examples": args.example and format_examples(args.example),
        "Data": args.data,
        "Licence": args.licence,
    }
    always = {
        "Parameters": f"{weights / 1e6:.2f} M, {_STORED[args.weights]} and loaded as float32",
        "Conditions": _conditions(pipeline),
        "Few steps": f"{plans} (calibrated plans, without other changes of the sampler)"
        if plans
        else "no calibrated plans",
        "SHA-256": "-",
    }
    found |= (former.facts if former else {}) | {name: value for name, value in given.items() if value} | always
    figures = args.figures.read_text("utf-8") if args.figures or former is None else former.figures
    return ModelCard(args.name, {k: " ".join(str(v).split()) for k, v in found.items()}, figures)


def packaged_card(run: Path) -> ModelCard | None:
    """The card of a packaged model that is named in the place of a run; None for a run."""
    folder = newest_checkpoint(run).parent
    return read_card(folder) if (folder / packaged_models.CARD).is_file() else None


def _conditions(pipeline: Pipeline) -> str:
    """Names and kinds of the conditions: `caption (text), style (labels: noto, twemoji)`."""
    shown = []
    for name, spec in pipeline.recorded.conditioning.items():
        values = pipeline.classes if spec.use == "class" else spec.params.get("values", ())
        shown.append(f"{name} ({spec.use}{': ' * bool(values)}{format_names([str(v) for v in values])})")
    return ", ".join(shown) or "none"


def _examples(pipeline: Pipeline) -> list[str]:
    """The prompts of the recipe, or a label for each class."""
    try:
        require_text_condition(pipeline.model)
    except BadInput:
        return [f"label={name}" for name in pipeline.classes] or ["seed=1"]
    prompt = pipeline.recorded.sample.prompt
    return [prompt] if isinstance(prompt, str) else list(prompt or [])


def make_folder(args: argparse.Namespace, target: Path, part: Path) -> None:
    """Make the folder of the model.

    Args:
        args: The command line.
        target: The folder.
        part: An empty folder for the files until they are complete.
    """
    checkpoint = newest_checkpoint(args.run)
    run, header = sonolux.load(checkpoint, device="cpu"), read_header(checkpoint)
    weights = part / packaged_models.WEIGHTS
    planned = run.recorded.train.steps
    if planned is not None and header.step < planned:
        print_lines(f"note: the run is not finished: step {header.step} of {planned}")
    header = replace(header, recipe=recipe_without_paths(run, header.recipe))
    # The codec stays as it is: it is small, and a trained one is known by the hash of its weights.
    parts = {"ema": stored_weights(run.model, args.weights), "codec": run.codec.state_dict()}
    save_checkpoint(weights, header, parts)
    difference = compare_models(run, sonolux.load(weights, device="cpu"), args.count)
    print_lines(f"difference of {args.count} samples: {difference} (tolerance of an RMS: {args.tolerance:g})")
    if not difference.rms <= args.tolerance:
        raise BadInput(
            f"samples of the {args.weights} weights differ by a relative RMS of {difference.rms:.2g}: above the "
            "tolerance, nothing written"
        )
    if args.nfe != "none" and not header.plans and run_command(["calibrate", str(weights), "--nfe", args.nfe]):
        raise BadInput("the plans cannot be calibrated (the message is above): `--nfe none` leaves them out")
    (part / packaged_models.RECIPE).write_text(header.recipe, encoding="utf-8")
    own = run_folder(checkpoint)
    facts = read_json(own / "env.json", _ENVIRONMENT) if own else {}
    card = make_card(run, read_header(weights), facts, args)
    card.facts["SHA-256"] = hash_weights(part)
    (part / packaged_models.CARD).write_text(card.text(), encoding="utf-8")
    read_card(part)  # it is complete
    _publish(part, target)


def _publish(part: Path, target: Path) -> None:
    """Copy a complete folder to its place, if all models there together are not too large."""
    others = [path.parent for path in target.parent.glob(f"*/{packaged_models.WEIGHTS}") if path.parent != target]
    size, total = (sum(f.stat().st_size for g in group for f in g.iterdir()) for group in ([part], [part, *others]))
    if total > packaged_models.MOST_BYTES:
        raise BadInput(f"{total / 1e6:.1f} MB with the other models: more than {packaged_models.MOST_BYTES / 1e6:g} MB")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(part, target)
    print_lines(f"{target}: {size / 1e6:.2f} MB; all models {total / 1e6:.2f} MB")


def _checked_name(name: str) -> str:
    if not name or set(name) - set(NAME):
        raise argparse.ArgumentTypeError("a name has small letters, digits and _")
    return name


def main(argv: Sequence[str] | None = None) -> int:
    """Make the folder; bad input gives exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("name", type=_checked_name, metavar="NAME")
    parser.add_argument("--figures", type=Path, help="Markdown file for the figures of the card; needed for a run")
    parser.add_argument("--weights", choices=STORED_TYPES, default="int8", help="how they are stored; default: int8")
    parser.add_argument("--makes", help="what the model makes; default: the beginning of the recipe's `about`")
    parser.add_argument("--command", help="the command that trains it; default: that of the run, limited by steps")
    parser.add_argument("--hardware", help="default: the device of the run")
    parser.add_argument("--data", help="what it was trained on; needed if the recipe names files")
    parser.add_argument("--licence", help="of the data; needed if the recipe names files")
    parser.add_argument("--example", action="append", help="a prompt or KEY=VALUE; default: the prompts of the recipe")
    parser.add_argument("--nfe", default="5,8", help="evaluations of the calibrated plans, or none")
    parser.add_argument("--count", type=int, default=8, help="samples that are compared")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    parser.add_argument("--out", type=Path, help="folder of the models; default: that of the package")
    parser.add_argument("--overwrite", action="store_true", help="replace a model of this name")
    args = parser.parse_args(argv)

    def task() -> None:
        target = (args.out or packaged_models.MODELS) / args.name
        former = packaged_card(args.run)
        if args.figures is None and former is None:
            raise BadInput("a card needs figures: name a Markdown file with --figures")
        if args.figures is not None and not args.figures.is_file():
            raise BadInput(f"{args.figures}: no such file")
        if target.exists() and not args.overwrite:
            raise BadInput(f"{target} exists: replace it with --overwrite")
        if not (args.makes or former or _recipe(args.run).get("about")):
            raise BadInput("the recipe has no `about`: say what the model makes with --makes")
        if _needs_files(args.run) and not (args.data and args.licence):
            raise BadInput(
                "the recipe names files: say what they are, and under which licence, with --data and --licence"
            )
        with tempfile.TemporaryDirectory() as part:
            make_folder(args, target, Path(part))

    return exit_code(task)


def _needs_files(run: Path) -> bool:
    """Whether the data of a run are files."""
    data = _recipe(run)["data"]
    return any(data.get(key) is not None for key in ("root", "table"))


def _recipe(run: Path) -> dict[str, Any]:
    """The recipe of a run as plain values."""
    return yaml.safe_load(read_header(newest_checkpoint(run)).recipe)


if __name__ == "__main__":
    sys.exit(main())
