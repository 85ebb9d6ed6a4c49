"""Edit files with a trained run: vary, inpaint, continue, restore, morph, reprompt or recover."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ._completion import complete_run
from ._paths import PathArgument, result_folder

TASKS = ("vary", "inpaint", "continue", "restore", "morph", "reprompt", "recover")

OLD = {"walks": "resample"}  # first edition
"""Option of the first edition -> its new name."""


@click.command("edit")
@click.argument("run", type=PathArgument(), metavar="RUN|CHECKPOINT", shell_complete=complete_run)
@click.argument("task", type=click.Choice(TASKS), metavar="|".join(TASKS))
@click.argument("words", nargs=-1, required=True, metavar="FILE... [KEY=VALUE]...")
@click.option(
    "--out",
    type=PathArgument(),
    help="Folder for the results; default for a packaged model: NAME-TASK, such as NAME-vary.",
)
@click.option("--overwrite", is_flag=True, help="Replace the samples in the folder.")
@click.option("--allow-code", is_flag=True, help="Run code that the checkpoint's recipe names.")
@click.option("--json", "as_json", is_flag=True, help="Print samples.json.")
def command(
    run: Path, task: str, words: tuple[str, ...], out: Path | None, overwrite: bool, allow_code: bool, as_json: bool
) -> None:
    """Edit files with RUN (its newest checkpoint), or with a packaged model, see `sonolux models`.

    \b
    vary FILE...       strength=0.5 count=8       variations; 0: the encoded and decoded file, 1: new samples
    inpaint FILE...    from=0.2 to=0.5            regenerate a part, in seconds; lists [0.2, 1.0] for several parts
                       box=[4,4,20,20]            or a box of the file on the other axes: left, top, right, bottom
                       mask=FILE                  or the white area of a file of the same size
    continue FILE...   seconds=2                  continue after the end of the file
    restore FILE...    count=1                    with a run trained for it (condition `reference`)
    morph A B          count=5                    interpolate between two files, or between two classes
    reprompt FILE "P"  source="..." strength=0.8  change what a file shows: the prompt P, or label=NAME
    recover FILE...    operator=downsample        undo a known operator: crop, downsample, low_pass, channel_mean, ...;
                       noise=0.02 method=mmps     its options are operator.factor=4 and so on

    Other keys change the recipe's `sample` section, as in `sonolux sample`: seed=3, steps=40, loop=true, windows=0.5,
    label=coin. Without a label, the name of a file's folder is its class, if the run has such a class. Files are read
    as in training.

    \b
    sonolux edit runs/effects vary door.wav strength=0.6 count=8 --out doors
    sonolux edit runs/effects morph coin.wav jump.wav count=7 --out between
    sonolux edit runs/digits inpaint 3.png box=[0,14,28,28] count=4 --out lower
    sonolux edit runs/digits recover 3.png operator=downsample operator.factor=4 --out sharp
    sonolux edit runs/shapes reprompt red.png "a blue circle" source="a red circle" --out blue
    """
    from ..pipeline.load import load
    from ..pipeline.result import check_sample_folder
    from ..util.atomic_replace import reserve_folder
    from ..util.messages import format_count, print_lines

    out = result_folder(run, out, task)
    with reserve_folder(out):
        check_sample_folder(out, overwrite)
        files, given, changes = _sorted(task, words)
        options = _options(task, given)
        pipeline = load(run, changes=changes, allow_code=allow_code)
        pipeline.to(pipeline.recipe.sample.device)
        paths = _call(pipeline, task, files, options, progress=not as_json).save(out, overwrite=True)
    if as_json:
        print_lines(*(out / "samples.json").read_text(encoding="utf-8").rstrip("\n").split("\n"))
    else:
        print_lines(f"{format_count(len(paths), 'result')}, samples.json and sheet.png in {out}")


def _models() -> dict[str, Any]:
    """Task -> the section that declares its options."""
    from ..pipeline.edit import options

    return {
        "vary": options.VaryOptions,
        "inpaint": options.InpaintOptions,
        "continue": options.ExtendOptions,
        "restore": options.RestoreOptions,
        "morph": options.MorphOptions,
        "reprompt": options.RepromptOptions,
        "recover": options.RecoverOptions,
    }


def _names(task: str) -> list[str]:
    """Names of the options of a task; the times of spans are given as `from` and `to`."""
    names = list(_models()[task].model_fields)
    return [name for name in names if name != "spans"] + ["from", "to"] * ("spans" in names)


def _sorted(task: str, words: tuple[str, ...]) -> tuple[list[str], list[str], list[str]]:
    """Sort arguments into files (and a prompt), options of the task, and changes to the `sample` section.

    Raises:
        BadInput: The number of files is wrong, or an option belongs to another task or is misspelt.
    """
    from ..types import BadInput
    from ..util.messages import did_you_mean, shorten

    files: list[str] = []
    options: list[str] = []
    changes: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or os.path.exists(word):
            files.append(word)
            continue
        key = _renamed(key.strip())
        if key.partition(".")[0] in _names(task):
            options.append(f"{key}={value}")
            continue
        elsewhere = [other for other in TASKS if key in _names(other) and not _of_sample(key)]
        near = "" if elsewhere or _of_sample(key) else did_you_mean(key, _names(task))
        if elsewhere or near:
            place = f"belongs to {', '.join(elsewhere)}; {task} takes {', '.join(_names(task))}"
            raise BadInput(f"command line: {shorten(word)}: {f'{key} {place}' if elsewhere else f'unknown key{near}'}")
        changes.append(f"{key}={value}")
    if task == "morph" and len(files) != 2:
        raise BadInput(f"morph goes from one file to another: name two files, not {len(files)}")
    if not files:
        near = did_you_mean(words[0].partition("=")[0], _names(task))
        raise BadInput(f"{task}: name a file{near}")
    return files, options, changes


def _of_sample(key: str) -> bool:
    """Whether a key is one of the `sample` section, or a parameter of some sampler."""
    from ..config import registry
    from ..config.sections import SampleSection
    from ..config.signature import constructor_parameters

    first = key.removeprefix("sample.").partition(".")[0]
    samplers = (
        constructor_parameters(registry.find_class("sampler", name), "sampler")
        for name in registry.component_names("sampler")
    )
    return first in ("use", *SampleSection.model_fields) or any(first in found for found in samplers)


def _renamed(key: str) -> str:
    """The current name of an option; prints a note for a name of the first edition."""
    from ..util.messages import print_lines

    if key in OLD:
        print_lines(f"note: {key} is now called {OLD[key]}", err=True)
    return OLD.get(key, key)


def _options(task: str, given: list[str]) -> dict[str, Any]:
    """The options of a task as keyword arguments.

    Raises:
        BadInput: An option has a wrong type or value, or `from` and `to` are no pairs.
    """
    from ..config.load import load_options
    from ..config.spec import to_plain_values
    from ..pipeline.edit.options import TimeSpanOptions
    from ..types import BadInput

    of_times = [word for word in given if word.startswith(("from=", "to="))]
    times = load_options(TimeSpanOptions, of_times)
    starts, ends = (time if isinstance(time, list) else [time] for time in (times.start, times.end))
    if len(starts) != len(ends):
        raise BadInput("from and to are pairs: give the same number of both")
    options = load_options(_models()[task], [word for word in given if word not in of_times])
    found = {name: to_plain_values(getattr(options, name)) for name in options.model_fields_set}
    return {**found, "spans": list(zip(starts, ends, strict=True))} if of_times else found


def _call(pipeline: Any, task: str, files: list[str], options: dict[str, Any], progress: bool):
    if task == "morph":
        return pipeline.morph(*files, progress=progress, **options)
    if task == "reprompt":
        prompt = files.pop() if len(files) > 1 and not os.path.exists(files[-1]) else None
        return pipeline.reprompt(files, prompt, progress=progress, **options)
    if task == "recover":
        return pipeline.recover(files, progress=progress, **{"operator": None, **options})
    method = {"continue": pipeline.extend}.get(task) or getattr(pipeline, task)
    return method(files, progress=progress, **options)
