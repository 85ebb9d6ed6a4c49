"""The type of arguments and options that are paths."""

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
