"""The user's secret key: signatures that only programs of this user on this machine can make.

The key is 32 random bytes in `$XDG_STATE_HOME/sonolux/key` (by default `~/.local/state/sonolux/key`), which nobody else
can read. It is made when it is first needed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

LENGTH = 32  # bytes


def sign_text(text: str) -> str:
    """The signature (HMAC-SHA256) of a text, hexadecimal.

    Raises:
        OSError: There is no key, and none can be made; or others can read it.
    """
    return _digest(_key(create=True), text)


def has_valid_signature(text: str, given: Iterable[Any]) -> bool:
    """Whether the signature of a text is among those given; False if there is no key."""
    try:
        right = _digest(_key(create=False), text).encode()
    except OSError:
        return False
    return any(hmac.compare_digest(right, str(one).encode("utf-8", "backslashreplace")) for one in given)


def _digest(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _place() -> Path:
    """Where the key is; never below the working folder, which may be somebody else's."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = given if os.path.isabs(given) else os.path.join(os.path.expanduser("~"), ".local", "state")
    if not os.path.isabs(base):
        raise FileNotFoundError("there is no home folder")
    return Path(base) / "sonolux" / "key"


def _key(create: bool) -> bytes:
    path = _place()
    if create and not path.exists():
        _make(path)
    with open(path, "rb") as file:
        facts, key = os.fstat(file.fileno()), file.read(LENGTH + 1)
    private = not hasattr(os, "getuid") or (facts.st_uid == os.getuid() and not stat.S_IMODE(facts.st_mode) & 0o077)
    if len(key) != LENGTH or not private:
        raise PermissionError(f"{path} is damaged, or others can read it: remove it, and a new one will be made")
    return key


def _make(path: Path) -> None:
    """Write a new key, complete or not at all; a key that another process made in the meantime stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=path.parent)  # only the user can read it
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(LENGTH))
        try:
            os.link(part, path)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            os.replace(part, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)
