"""Resampled sounds on disk: each decoded once, whatever is cut from it later."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FORMAT = 1  # raise it when resampling or mixing changes


class Store:
    """Sounds (C, frames) float32 by key, one .npy file each; written whole or not at all.

    The key holds all that a sound follows from: the file's content, rate, channels and mix. What was not used longest
    goes first when room is needed.

    Args:
        folder: Where the files lie; made when the first is written.
        budget: Most that they may take, in MB.
    """

    def __init__(self, folder: Path, budget: float):
        self.folder, self.room = folder / f"v{FORMAT}", budget * 1e6
        self.held: dict[Path, int] = {}
        self.fresh: set[Path] = set()  # used by this run: never removed
        with suppress(OSError):
            found = [(entry, entry.stat()) for entry in os.scandir(self.folder) if entry.name.endswith(".npy")]
            self.held = {Path(e.path): s.st_size for e, s in sorted(found, key=lambda pair: pair[1].st_mtime_ns)}

    @staticmethod
    def key(content: str, rate: float, channels: int, mix: str) -> str:
        """The name that a sound goes by."""
        return f"{content}-{rate:g}-{channels}-{mix}"

    def get(self, key: str) -> Tensor | None:
        """The sound, mapped from disk rather than read: cutting from a long one costs little; None: not there."""
        path = self._path(key)
        try:
            wave = np.load(path, mmap_mode="c")  # "c": a private copy of what is written to, which nothing does
            if wave.dtype != np.float32 or wave.ndim != 2:
                raise ValueError
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError):  # not of ours, or damaged
            with suppress(OSError):
                path.unlink()
            return None
        self.fresh.add(path)
        with suppress(OSError):
            os.utime(path)
        return torch.from_numpy(wave)

    def put(self, key: str, wave: Tensor) -> Tensor | None:
        """Keep a sound, and hand it back mapped; None where the budget or the disk has no room for it."""
        path, size = self._path(key), wave.numel() * 4 + 128
        if not self._made_room(size):
            return None
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                np.save(file, wave.numpy(), allow_pickle=False)
            os.replace(part, path)
        except OSError:
            return None
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        self.held[path] = size
        return self.get(key)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npy"

    def _made_room(self, size: int) -> bool:
        total = sum(self.held.values())
        old = [path for path in self.held if path not in self.fresh]
        if total + size - sum(self.held[path] for path in old) > self.room:
            return False
        while total + size > self.room:
            path = old.pop(0)
            total -= self.held.pop(path)
            with suppress(OSError):
                path.unlink()
        return True
