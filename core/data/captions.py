"""Captions of the files of a folder: from a table, a text file next to each file, or the names of the files."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from ..util.errors import BadInput
from ..util.labels import normalise_label
from ..util.notes import issue_note
from .files import format_path

Caption = str | list[str] | None
"""The caption of an example, or several, of which training draws one each time; None: it has none."""

CaptionSource = Literal["auto", "table", "sidecar", "name", "none"]
"""Where captions are from.

auto: the table or manifest, or else a text file; table, sidecar: only one of these; name: the words of the file's name;
none: nowhere.
"""

SUFFIX = ".txt"  # of a text file with captions
MOST_BYTES = 200_000  # of a text file with captions
_INVALID = re.compile(r"[\x00\ud800-\udfff]")


def choose_caption(source: CaptionSource, path: Path, listed: Caption) -> Caption:
    """The caption of a file.

    Args:
        source: Where captions are from.
        path: The file.
        listed: Its caption in the table or manifest.

    With `auto`, a text file that holds no captions is left out with a warning: it may belong to something else.

    Raises:
        BadInput: The text file next to it cannot be read, and `source` is "sidecar".
    """
    if source == "name":
        return caption_from_name(path)
    if source == "none":
        return None
    if source == "table" or (source == "auto" and listed is not None):
        return listed
    try:
        return read_sidecar(path)
    except BadInput as error:
        if source == "sidecar":
            raise
        issue_note(f"{error}; it is left out", stacklevel=2)
        return None


def sidecar_of(path: Path) -> Path:
    """Path of the text file that may hold the captions of a file: the same name with the suffix .txt."""
    return path.with_suffix(SUFFIX)


def read_sidecar(path: Path) -> Caption:
    """The captions in the text file next to a file, one a line; None if there is no such file, or it is empty.

    Raises:
        BadInput: It is too large, or not UTF-8 text.
    """
    sidecar = sidecar_of(path)
    try:
        facts = sidecar.stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(facts.st_mode) or facts.st_size == 0 or sidecar == path:
        return None
    name = format_path(sidecar)
    if facts.st_size > MOST_BYTES:
        raise BadInput(f"{name}: {facts.st_size} bytes are too large for captions (at most {MOST_BYTES}): remove it")
    try:
        lines = sidecar.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"{name}: no captions in UTF-8 text ({error.reason}): save it as UTF-8") from None
    except OSError as error:
        raise BadInput(f"{name}: the captions cannot be read: {error.strerror}") from error
    if any(_INVALID.search(line) for line in lines):
        raise BadInput(f"{name}: the captions contain NUL characters: save them as UTF-8 text")
    return clean_captions(lines)


def caption_from_name(path: Path) -> str | None:
    """The words of a file's name: `red-Circle_012.png` is `red Circle`; None if it has none."""
    stem = format_path(Path(path.stem))
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[\W_]+", " ", stem)).split()
    return " ".join(word for word in words if not word.isdigit()) or None


def clean_captions(texts: Iterable[Any]) -> Caption:
    """Texts without spaces around them, each once, and without empty ones: one as a text, several as a list."""
    found = list(dict.fromkeys(text for value in texts if (text := normalise_label(value).strip())))
    return None if not found else found[0] if len(found) == 1 else found


def draw_caption(caption: Caption, rng: Any = None) -> str | None:
    """One caption of an example: a random one, or the first one without `rng`. One caption draws no random number."""
    if not isinstance(caption, list):
        return caption
    return caption[0 if rng is None else int(rng.integers(len(caption)))]


def count_captioned(captions: Iterable[Caption]) -> tuple[int, int]:
    """Number of examples that have a caption, and of those that have several."""
    found = [caption for caption in captions if caption]
    return len(found), sum(isinstance(caption, list) for caption in found)


def format_caption_share(captions: Sequence[Caption], noun: str) -> str:
    """How many of the examples have a caption: `38 of 40 files (95 %), 5 of them several`."""
    some, several = count_captioned(captions)
    more = f", {several} of them several" if several else ""
    return f"{some} of {len(captions)} {noun} ({100 * some / max(1, len(captions)):.0f} %){more}"
