"""A file of encoded examples, so that a codec that takes long encodes each of them once.

The file starts with a header: a name of the format, a fingerprint of what the values depend on, and the size of a
record. Records follow: the key of an example (16 bytes), a hash of key and values (16 bytes), the values (float32,
little-endian). Records are only appended. One that is damaged or incomplete is not used, and is written again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..util.notes import issue_note

MOST_BYTES = 4 * 2**30
"""Largest size of the file; further examples are not stored."""

_MAGIC = b"sonolux latents 1".ljust(24)
_KEY = 16


def media_key(media: Tensor) -> bytes:
    """Key of an example: a hash of the shape and the values of its media."""
    value = media.detach().cpu().contiguous().numpy()
    return hashlib.blake2b(value.tobytes(), digest_size=_KEY, salt=_salt(value.shape)).digest()


def _salt(shape: tuple[int, ...]) -> bytes:
    return hashlib.blake2b(repr(shape).encode(), digest_size=16).digest()


class LatentFile:
    """Encoded examples by key.

    Args:
        path: Called for the path of the file, which may change while it is used.
        fingerprint: Hash of everything that the values depend on, apart from the media, 16 bytes.
        shape: Shape of the values of one example.
    """

    def __init__(self, path: Callable[[], Path], fingerprint: bytes, shape: tuple[int, ...]):
        self.path, self.shape = path, shape
        self._header = _MAGIC + fingerprint + (4 * int(np.prod(shape))).to_bytes(8, "little")
        self._record = 2 * _KEY + 4 * int(np.prod(shape))
        self._places: dict[bytes, int] = {}
        self._noted = self._full = False
        self._open()

    def get(self, keys: Sequence[bytes]) -> list[Tensor | None]:
        """The values of examples, float32 on the host; None for those that are not stored."""
        if not any(key in self._places for key in keys):
            return [None] * len(keys)
        try:
            with open(self.path(), "rb") as file:
                return [self._read(file, key) for key in keys]
        except OSError as error:
            self._note(f"cannot be read ({error.strerror})")
            self._places.clear()
            return [None] * len(keys)

    def put(self, keys: Sequence[bytes], values: Tensor) -> None:
        """Store the values (B, *shape), float32, of those examples that are not stored yet.

        Where the file cannot be written or is full, nothing more is stored.
        """
        if self._full:
            return
        rows = values.detach().cpu().contiguous().numpy().astype("<f4", copy=False)
        new = {key: row.tobytes() for key, row in zip(keys, rows, strict=True) if key not in self._places}
        data = b"".join(key + self._check(key, row) + row for key, row in new.items())
        if not data:
            return
        try:
            self.path().parent.mkdir(parents=True, exist_ok=True)
            with open(self.path(), "ab") as file:
                first = file.seek(0, os.SEEK_END)
                if (first - len(self._header)) % self._record or first < len(self._header):  # moved, or cut off
                    file.truncate(0)
                    file.write(self._header)
                    first = len(self._header)
                    self._places.clear()
                if first + len(data) > MOST_BYTES:
                    self._full = True
                    return
                file.write(data)
        except OSError as error:
            self._full = True
            self._note(f"cannot be written ({error.strerror}), so that more examples are encoded again at every step")
            return
        self._places |= {key: first + i * self._record for i, key in enumerate(new)}

    def __len__(self) -> int:
        return len(self._places)

    def _open(self) -> None:
        """Read the keys of the records; a file of other values is removed."""
        try:
            with open(self.path(), "rb+") as file:
                header, size = file.read(len(self._header)), file.seek(0, os.SEEK_END)
                if header != self._header:
                    damaged = not header.startswith(_MAGIC)
                    reason = "is damaged" if damaged else "is of another codec, version or kind of device"
                    self._note(f"{reason}, and is made again")
                    file.truncate(0)
                    return
                whole = (size - len(header)) // self._record
                file.truncate(len(header) + whole * self._record)  # the last one may be incomplete
                for place in range(len(header), len(header) + whole * self._record, self._record):
                    file.seek(place)
                    self._places[file.read(_KEY)] = place
        except FileNotFoundError:
            return
        except OSError as error:
            self._note(f"cannot be read ({error.strerror})")
            with suppress(OSError):
                self.path().unlink()

    def _read(self, file, key: bytes) -> Tensor | None:
        place = self._places.get(key)
        if place is None:
            return None
        file.seek(place)
        record = file.read(self._record)
        row = record[2 * _KEY :]
        if record[:_KEY] != key or record[_KEY : 2 * _KEY] != self._check(key, row):
            del self._places[key]
            self._note("is damaged: what cannot be used is encoded again")
            return None
        return torch.from_numpy(np.frombuffer(row, "<f4").astype(np.float32)).reshape(self.shape)

    @staticmethod
    def _check(key: bytes, row: bytes) -> bytes:
        return hashlib.blake2b(row, digest_size=_KEY, key=key).digest()

    def _note(self, what: str) -> None:
        if not self._noted:
            issue_note(f"the encoded examples in {self.path()}: the file {what}", stacklevel=3)
        self._noted = True
