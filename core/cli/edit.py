"""Edit files with a trained run: vary, inpaint, continue or morph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

TASKS = {
    "vary": ("strength", "count"),
    "inpaint": ("from", "to", "box", "mask", "count", "resample", "jump"),
    "continue": ("seconds", "count", "resample", "jump"),
    "morph": ("count",),
}
"""Options of each task, in addition to the keys of the recipe's `sample` section."""

OLD = {"walks": "resample"}  # first edition
"""Option of the first edition -> its new name."""


@click.command("edit")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN|CHECKPOINT")
@click.argument("task", type=click.Choice(list(TASKS)), metavar="|".join(TASKS))
@click.argument("words", nargs=-1, required=True, metavar="FILE... [KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option("--overwrite", is_flag=True, help="Replace the samples in the folder.")
@click.option("--allow-code", is_flag=True, help="Run code that the checkpoint's recipe names.")
@click.option("--json", "as_json", is_flag=True, help="Print samples.json.")
def command(
    run: Path, task: str, words: tuple[str, ...], out: Path, overwrite: bool, allow_code: bool, as_json: bool
) -> None:
    """Edit files with RUN (its newest checkpoint).

    \b
    vary FILE...       strength=0.5 count=8       variations; 0: the encoded and decoded file, 1: new samples
    inpaint FILE...    from=0.2 to=0.5            regenerate a part, in seconds; lists [0.2, 1.0] for several parts
                       box=[4,4,20,20]            or a box on the other axes: left, top, right, bottom
                       mask=FILE                  or the white area of a file of the same size
    continue FILE...   seconds=2                  continue after the end of the file
    morph A B          count=5                    interpolate between two files, or between two classes

    Other keys change the recipe's `sample` section, as in `sonolux sample`: seed=3, steps=40, loop=true, windows=0.5,
    label=coin. Without a label, the name of a file's folder is its class, if the run has such a class. Files are read
    as in training.

    \b
    sonolux edit runs/effects vary door.wav strength=0.6 count=8 --out doors
    sonolux edit runs/effects morph coin.wav jump.wav count=7 --out between
    sonolux edit runs/digits inpaint 3.png box=[0,14,28,28] count=4 --out lower
    """
    from ..pipeline.load import load
    from ..pipeline.result import refuse_if_used
    from ..util.messages import counted, say
    from ..util.replace import reserved

    with reserved(out):
        refuse_if_used(out, overwrite)
        files, options, changes = _sorted(task, words)
        pipeline = load(run, allow_code=allow_code)
        pipeline.to(changes.pop("device", pipeline.recipe.sample.device))
        paths = _call(pipeline, task, files, options, changes, progress=not as_json).save(out, overwrite=True)
    if as_json:
        say(*(out / "samples.json").read_text(encoding="utf-8").rstrip("\n").split("\n"))
    else:
        say(f"{counted(len(paths), 'result')}, samples.json and sheet.png in {out}")


def _sorted(task: str, words: tuple[str, ...]) -> tuple[list[Path], dict[str, Any], dict[str, Any]]:
    """Sort arguments into files, options of the task, and changes to the `sample` section.

    Raises:
        BadInput: An argument is none of these, or a file is missing.
    """
    from ..config.sections import Sample
    from ..types import BadInput
    from ..util.messages import did_you_mean

    files: list[Path] = []
    options: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = _renamed(key) if equals and not Path(word).exists() else key
        if not equals or Path(word).exists():
            files.append(Path(word))
        elif key in TASKS[task]:
            options[key] = _value(word, value)
        else:
            name = key.removeprefix("sample.")
            elsewhere = [other for other, keys in TASKS.items() if key in keys and key not in Sample.model_fields]
            if elsewhere:
                raise BadInput(
                    f"{word}: {key} belongs to {', '.join(elsewhere)}; {task} takes {', '.join(TASKS[task])}"
                )
            changes[name] = _value(word, value)
    if task == "morph" and len(files) != 2:
        raise BadInput(f"morph goes from one file to another: name two files, not {len(files)}")
    if not files:
        near = did_you_mean(words[0], TASKS[task])
        raise BadInput(f"{task}: name a file{near}")
    return files, options, changes


def _renamed(key: str) -> str:
    """The current name of an option; prints a note for a name of the first edition."""
    from ..util.messages import say

    if key in OLD:
        say(f"note: {key} is now called {OLD[key]}", err=True)
    return OLD.get(key, key)


def _value(word: str, text: str) -> Any:
    """Parse a value as in a recipe."""
    from ..config.tree import ConfigProblem
    from ..config.yaml import parse
    from ..types import BadInput

    problems: list[ConfigProblem] = []
    node = parse(text, "command line", Path.cwd(), problems)
    if problems:
        raise BadInput(f"{word}: {text!r} is not a valid value: {problems[0].message}")
    return None if node is None else node.plain()


def _call(
    pipeline: Any, task: str, files: list[Path], options: dict[str, Any], changes: dict[str, Any], progress: bool
):
    from ..types import BadInput

    if task == "morph":
        return pipeline.morph(*files, progress=progress, **options, **changes)
    if task == "inpaint":
        starts, ends = (_times(name, options.pop(name, [])) for name in ("from", "to"))
        if len(starts) != len(ends):
            raise BadInput("from and to are pairs: give the same number of both")
        options["spans"] = list(zip(starts, ends, strict=True))
    method = {"vary": pipeline.vary, "inpaint": pipeline.inpaint, "continue": pipeline.extend}[task]
    return method(files, progress=progress, **options, **changes)


def _times(name: str, value: Any) -> list[float]:
    from ..types import BadInput

    times = value if isinstance(value, list) else [value]
    for time in times:
        if isinstance(time, bool) or not isinstance(time, (int, float)):
            raise BadInput(f"{name} is a time in seconds, or a list of them; got {time!r}")
    return [float(time) for time in times]
