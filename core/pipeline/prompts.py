"""Files of prompts."""

from __future__ import annotations

from pathlib import Path

from ..types import BadInput
from ..util.limits import MOST_SAMPLES
from ..util.paths import expand_home

MOST_BYTES = 10_000_000  # of a file of prompts


def read_prompt_file(path: Path) -> list[str]:
    """The prompts of a text file, one on each line; empty lines are left out.

    Raises:
        BadInput: There is no such file, or it is too large, or contains no prompt, or is not UTF-8 text.
    """
    file = expand_home(path)
    if not file.is_file():
        raise BadInput(f'prompts={path}: no such file; one prompt is written prompt="..."')
    try:
        if (size := file.stat().st_size) > MOST_BYTES:
            raise BadInput(f"prompts={path}: {size} bytes, and a file of prompts has at most {MOST_BYTES}")
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"prompts={path}: not UTF-8 text ({error.reason}): save it as UTF-8") from None
    except OSError as error:
        raise BadInput(f"prompts={path}: cannot be read: {error.strerror}") from error
    found = [line.strip() for line in lines if line.strip()]
    if not 0 < len(found) <= MOST_SAMPLES:
        raise BadInput(f"prompts={path}: {len(found)} prompts: give 1 to {MOST_SAMPLES}, one on each line")
    return found
