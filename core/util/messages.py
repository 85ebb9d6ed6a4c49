"""Helpers for error messages: raising, plurals, and the nearest valid names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

from .errors import BadInput, BrokenPlugin

CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"  # characters that do not belong in one line of text


def bad_input(message: str) -> NoReturn:
    """Raise BadInput."""
    raise BadInput(message)


def broken(message: str, cause: BaseException | None = None) -> NoReturn:
    """Raise BrokenPlugin."""
    raise BrokenPlugin(message) from cause


def counted(n: float, noun: str) -> str:
    """A number with its noun: `1 minute`, `2 minutes`, `0.5 minutes`."""
    return f"{n:g} {noun}{'s' * (n != 1)}" if isinstance(n, float) else f"{n} {noun}{'s' * (n != 1)}"


def shortened(text: str, most: int = 60) -> str:
    """A text for a message: its beginning if it has more than `most` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def one_line(text: str, most: int = 80) -> str:
    """The beginning of a text in one line: line breaks and other control characters become escapes such as \\n."""
    escaped = re.sub(CONTROL, lambda found: found[0].encode("unicode_escape", "backslashreplace").decode(), text)
    return shortened(escaped, most)


def listed(names: Sequence[str], most: int = 90) -> str:
    """The first names as text, for messages: at most `most` characters of them."""
    shown = ", ".join(names)
    if len(shown) <= most:
        return shown
    return f"{shown[:most].rpartition(', ')[0] or shown[:most]}, ... ({len(names)} in all)"


def with_article(noun: str) -> str:
    """A noun with its article: `a sampler`, `an objective`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Known names that `name` may mean, best first: those that are equal after the prefix, then similar ones."""
    if len(name) > 100:  # not a misspelt name, and the comparison takes long
        return []
    spelt: dict[str, str] = {}  # each spelling of a known name -> the name
    for k in known:
        spelt.setdefault(k.lower(), k)
    for k in list(spelt.values()):
        spelt.setdefault(k.lower().rpartition("/")[2], k)
    lower, last = (part.lower().replace("-", "_") for part in (name, name.rpartition("/")[2]))
    same = [k for k in spelt.values() if k.lower().rpartition("/")[2] == last]
    close = difflib.get_close_matches(lower, spelt, n=count, cutoff=0.6)
    ratios = {k: difflib.SequenceMatcher(None, lower, k).ratio() for k in close}
    best = max(ratios.values(), default=0.0)  # names that are much less similar than the best one are left out
    return list(dict.fromkeys([*same, *(spelt[k] for k in close if ratios[k] > best - 0.1)]))[:count]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'a' or 'b'?`; "" if no known name is similar."""
    near = nearest(name, known)
    return f"; did you mean {' or '.join(repr(shortened(n)) for n in near)}?" if near else ""
