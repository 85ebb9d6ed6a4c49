"""What refusals have in common: the errors, and the nearest valid names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NoReturn

from .errors import BadInput, BrokenPlugin


def bad_input(message: str) -> NoReturn:
    """Raise BadInput."""
    raise BadInput(message)


def broken(message: str, cause: BaseException | None = None) -> NoReturn:
    """Raise BrokenPlugin."""
    raise BrokenPlugin(message) from cause


def counted(n: float, noun: str) -> str:
    """`1 minute`, `2 minutes`, `0.5 minutes`."""
    return f"{n:g} {noun}{'s' * (n != 1)}" if isinstance(n, float) else f"{n} {noun}{'s' * (n != 1)}"


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Known names that `name` may have meant, best first: the same after the prefix, then the similar ones."""
    spelt: dict[str, str] = {}  # every way to write a known name -> the name
    for k in known:
        spelt.setdefault(k.lower(), k)
    for k in list(spelt.values()):
        spelt.setdefault(k.lower().rpartition("/")[2], k)
    lower, last = (part.lower().replace("-", "_") for part in (name, name.rpartition("/")[2]))
    same = [k for k in spelt.values() if k.lower().rpartition("/")[2] == last]
    close = difflib.get_close_matches(lower, spelt, n=count, cutoff=0.6)
    like = {k: difflib.SequenceMatcher(None, lower, k).ratio() for k in close}
    best = max(like.values(), default=0.0)  # what is much less like it than the best is noise
    return list(dict.fromkeys([*same, *(spelt[k] for k in close if like[k] > best - 0.1)]))[:count]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'a' or 'b'?`, or nothing where no known name is near."""
    near = nearest(name, known)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
