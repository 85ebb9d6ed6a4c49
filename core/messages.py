"""What refusals have in common: the nearest valid names, and errors raised without loading torch first."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NoReturn


def bad_input(message: str) -> NoReturn:
    """Raise BadInput. The contracts import torch, which this module may not do before it must."""
    from .types import BadInput

    raise BadInput(message)


def broken(message: str, cause: BaseException | None = None) -> NoReturn:
    """Raise BrokenPlugin."""
    from .types import BrokenPlugin

    raise BrokenPlugin(message) from cause


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Known names that `name` may have meant, best first: the same after the prefix, then the similar ones."""
    known = list(known)
    lower = name.lower().replace("-", "_")
    same = [k for k in known if k == lower or k.rpartition("/")[2] == lower.rpartition("/")[2]]
    close = difflib.get_close_matches(lower, known, n=count, cutoff=0.6)
    return list(dict.fromkeys(same + close))[:count]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'a' or 'b'?`, or nothing where no known name is near."""
    near = nearest(name, known)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
