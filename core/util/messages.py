"""What users read: everything that is printed passes through `print_lines`; errors, plurals, and the nearest valid
names.

Names of files, classes, recipes and plugins are data of other people, and may contain anything: an escape sequence
that clears the terminal, a line end, a character that reverses the direction of text. `escape_control_characters` shows
these escaped.
"""

from __future__ import annotations

import difflib
import json
import math
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from .errors import BadInput, BrokenPlugin

CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"  # characters that do not belong in one line of text
LONGEST_LINE = 2000  # characters of an error message; names and values in it may be of any length
_LONGEST_NAME = 200  # characters; a longer text is not a misspelt name
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_JOINERS = "\u200c\u200d"  # letters of some scripts, and emoji, are joined or separated by them


def escape_control_characters(text: object) -> str:
    r"""The text as one line that is safe on a terminal and on a page.

    Shown escaped are control characters (also line ends and DEL), characters that change the direction of text,
    invisible ones, and bytes of file names that are not Unicode: `\n`, `\x1b`, `\u202e`. All other characters are
    unchanged.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(_escaped(c) if _hidden(text, i) else c for i, c in enumerate(text))


def _hidden(text: str, i: int) -> bool:
    category = unicodedata.category(text[i])
    if text[i] in _JOINERS and 0 < i < len(text) - 1:
        return any(c.isascii() or unicodedata.category(c)[0] not in "LMS" for c in (text[i - 1], text[i + 1]))
    return category in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not Unicode, in the name of a file
        code -= 0xDC00
    digits = f"x{code:02x}" if code < 0x100 else f"u{code:04x}" if code < 0x10000 else f"U{code:08x}"
    return _NAMED.get(char, f"\\{digits}")


def print_lines(*lines: object, err: bool = False) -> None:
    """Print lines, each as `escape_control_characters` shows it.

    Args:
        lines: The lines; a line end in one of them belongs to a name, and is shown escaped.
        err: Print to stderr.
    """
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = "\n".join(escape_control_characters(line) for line in lines)
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def print_json(value: Any) -> None:
    """Print a value as JSON, see `format_json`."""
    print_lines(*format_json(value).split("\n"))


def format_json(value: Any) -> str:
    r"""A value as indented JSON for files and for the terminal.

    What `escape_control_characters` escapes stands as `\uNNNN` in the strings, so that reading gives the original text;
    numbers that are not finite, which JSON does not have, are null.
    """
    text = json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False, default=str)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or not _hidden(text, i) else _utf16(c) for i, c in enumerate(text))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _utf16(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def shorten(text: str, most: int = 60) -> str:
    """A text for a message: its beginning if it has more than `most` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def format_command(*words: object) -> str:
    """A command that a message proposes, quoted so that a shell takes each word as it is."""
    return shlex.join(map(str, words))


def format_argument(key: str, value: str) -> str:
    """An argument `key=value` that a message proposes, quoted so that a shell takes it as it is."""
    return f"{key}={shlex.quote(value)}"


def quote_for_yaml(text: str) -> str:
    """A text in double quotes, as YAML reads it back."""
    written = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in written)


def raise_bad_input(message: str) -> NoReturn:
    """Raise BadInput."""
    raise BadInput(message)


def raise_broken_plugin(message: str, cause: BaseException | None = None) -> NoReturn:
    """Raise BrokenPlugin."""
    raise BrokenPlugin(message) from cause


def format_count(n: float, noun: str) -> str:
    """A number with its noun: `1 minute`, `2 minutes`, `0.5 minutes`."""
    return f"{n:g} {noun}{'s' * (n != 1)}" if isinstance(n, float) else f"{n} {noun}{'s' * (n != 1)}"


def format_names(names: Sequence[str], most: int = 90) -> str:
    """The first names as text, for messages: at most `most` characters of them."""
    shown = ", ".join(names)
    if len(shown) <= most:
        return shown
    return f"{shown[:most].rpartition(', ')[0] or shown[:most]}, ... ({len(names)} in all)"


def format_first(texts: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """The first of several texts, and how many more there are: `a, b, c, and 4 more`."""
    rest = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return between.join([*texts[:most], *rest])


def with_article(noun: str) -> str:
    """A noun with its article: `a sampler`, `an objective`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def similar_names(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Known names that `name` may mean, best first: those that are equal after the prefix, then similar ones."""
    if len(name) > _LONGEST_NAME:
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
    near = similar_names(name, known)
    return f"; did you mean {' or '.join(repr(shorten(n)) for n in near)}?" if near else ""
