"""The template engine of HTML pages, which escapes every value: markup in a name is shown as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .messages import escape_control_characters


def template_engine(folder: Path) -> Environment:
    """The engine for the templates of a folder; a template that uses an undefined name is an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _finalize(value: Any) -> Any:
    """Text as `escape_control_characters` shows it; markup that the engine itself made is unchanged."""
    return escape_control_characters(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
