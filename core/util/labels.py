"""Labels and other short texts: how they are compared."""

from __future__ import annotations

import unicodedata
from typing import Any

from .integers import as_integer, is_integer


def normalise_label(value: Any) -> str:
    """The text by which labels are compared: composed Unicode (NFC); numbers as written, `true` and `false`."""
    if isinstance(value, bool):
        return str(value).lower()
    return unicodedata.normalize("NFC", str(as_integer(value) if is_integer(value) else value))
