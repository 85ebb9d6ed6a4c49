"""Arguments and options that are paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..util.paths import check_path


class PathArgument(click.Path):
    """A path that need not exist; a text that no path can be, or that is too long, is refused.

    Args:
        dir_okay: Whether it may be a folder.
    """

    def __init__(self, dir_okay: bool = True):
        super().__init__(dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path of an argument."""
        check_path(Path(value))
        return super().convert(value, param, ctx)


def result_folder(run: Path, out: Path | None, results: str) -> Path:
    """The folder for the results of a command.

    Args:
        run: What the user names as RUN.
        out: The option --out. Its default exists for packaged models only, whose own folder is never written to:
            `NAME-results` in the working folder.
        results: What the results are, a word.

    Raises:
        click.MissingParameter: There is no --out, and `run` is not a packaged model.
        BadInput: `run` is nothing at all, such as a misspelt name of a model.
    """
    from ..training.packaged_models import name_of_packaged_model

    if out is not None:
        return out
    if (name := name_of_packaged_model(run)) is None:
        from ..training.checkpoint import newest_checkpoint  # loads torch

        newest_checkpoint(run)
        context = click.get_current_context()
        raise click.MissingParameter(ctx=context, param_type="option", param_hint="'--out'")
    return Path(f"{name}-{results}")
