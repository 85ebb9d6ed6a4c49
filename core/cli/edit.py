"""Start from files: vary, inpaint, continue or morph them."""

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
"""What each task takes beside the keys of the recipe's `sample` section."""

OLD = {"walks": "resample"}
"""Options of the first edition -> what they are called now."""


@click.command("edit")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN|CHECKPOINT")
@click.argument("task", type=click.Choice(list(TASKS)), metavar="|".join(TASKS))
@click.argument("words", nargs=-1, required=True, metavar="FILE... [KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for what is made.")
@click.option("--overwrite", is_flag=True, help="Replace the samples that the folder holds.")
@click.option("--allow-code", is_flag=True, help="Let the checkpoint's recipe name code outside the registry.")
@click.option("--json", "as_json", is_flag=True, help="Print samples.json.")
def command(
    run: Path, task: str, words: tuple[str, ...], out: Path, overwrite: bool, allow_code: bool, as_json: bool
) -> None:
    """Make something of files with RUN (its newest checkpoint).

    \b
    vary FILE...       strength=0.5 count=8       variations; 0: the file as the codec keeps it, 1: new samples
    inpaint FILE...    from=0.2 to=0.5            a part anew, along time in seconds; [0.2, 1.0] for several
                       box=[4,4,20,20]            or along the other axes: left, top, right, bottom
                       mask=FILE                  or where a file of the same size is white
    continue FILE...   seconds=2                  continues where the file ends
    morph A B          count=5                    from one file to another, or from one class to another

    Other keys change the recipe's `sample` section, as in `sonolux sample`: seed=3, steps=40, loop=true, windows=0.5,
    label=coin. A file has the class that its folder names, if it is one, and is read as training reads it.

    \b
    sonolux edit runs/effects vary door.wav strength=0.6 count=8 --out doors
    sonolux edit runs/effects morph coin.wav jump.wav count=7 --out between
    sonolux edit runs/digits inpaint 3.png box=[0,14,28,28] count=4 --out lower
    """
    from ..pipeline.load import load
    from ..pipeline.result import clear, refuse_if_used
    from ..training.run_dir import need_writable

    refuse_if_used(out, overwrite)
    need_writable(out)
    files, options, changes = _sorted(task, words)
    pipeline = load(run, allow_code=allow_code)
    pipeline.to(changes.pop("device", pipeline.recipe.sample.device))
    samples = _call(pipeline, task, files, options, changes, progress=not as_json)
    clear(out)
    paths = samples.save(out)
    if as_json:
        click.echo((out / "samples.json").read_text(encoding="utf-8"))
    else:
        click.echo(f"{len(paths)} made, samples.json and sheet.png in {out}")


def _sorted(task: str, words: tuple[str, ...]) -> tuple[list[Path], dict[str, Any], dict[str, Any]]:
    """Files, the task's own options, and changes to the `sample` section.

    Raises:
        BadInput: For words that are none.
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
        raise BadInput(f"morph goes from one file to another: name two, not {len(files)}")
    if not files:
        near = did_you_mean(words[0], TASKS[task])
        raise BadInput(f"{task}: name a file{near}")
    return files, options, changes


def _renamed(key: str) -> str:
    """The option of that name, with a note where its name is that of the first edition."""
    if key in OLD:
        click.echo(f"note: {key} is called {OLD[key]} now", err=True)
    return OLD.get(key, key)


def _value(word: str, text: str) -> Any:
    """The value as a recipe would read it."""
    from ..config.tree import Problem
    from ..config.yaml import parse
    from ..types import BadInput

    problems: list[Problem] = []
    node = parse(text, "command line", Path.cwd(), problems)
    if problems:
        raise BadInput(f"{word}: {text!r} is no value: {problems[0].message}")
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
            raise BadInput("from and to are pairs: give as many of one as of the other")
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
