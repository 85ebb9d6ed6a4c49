"""Cache of resampled sounds on disk, so that each file is decoded once."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FORMAT = 2  # increase when reading, resampling or mixing changes


class DiskSoundCache:
    """Sounds (C, frames) float32 by key, one .npy file each, written atomically.

    The key contains everything that determines a sound: the file's content, rate, channels and mix. The least recently
    used sounds are removed when space is needed.

    Args:
        folder: Folder of the files; created with the first file.
        budget: Maximum size in MB.
    """

    def __init__(self, folder: Path, budget: float):
        self.folder, self.max_bytes = folder / f"v{FORMAT}", budget * 1e6
        self.sizes: dict[Path, int] = {}
        self.used_now: set[Path] = set()  # used by this run: never removed
        with suppress(OSError):
            found = [(entry, entry.stat()) for entry in os.scandir(self.folder) if entry.name.endswith(".npy")]
            self.sizes = {Path(e.path): s.st_size for e, s in sorted(found, key=lambda pair: pair[1].st_mtime_ns)}

    @staticmethod
    def key(content: str, rate: float, channels: int, mix: str) -> str:
        """The name of a sound."""
        return f"{content}-{rate:g}-{channels}-{mix}"

    def get(self, key: str) -> Tensor | None:
        """The sound as a memory map, so that parts of long sounds load fast; None: not in the cache."""
        path = self._path(key)
        try:
            wave = np.load(path, mmap_mode="c")  # "c": copy on write; torch needs a writable array
            if wave.dtype != np.float32 or wave.ndim != 2:
                raise ValueError
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError):  # another file, or damaged
            with suppress(OSError):
                path.unlink()
            return None
        self.used_now.add(path)
        with suppress(OSError):
            os.utime(path)
        return torch.from_numpy(wave)

    def put(self, key: str, wave: Tensor) -> Tensor | None:
        """Store a sound and return it as a memory map; None if the budget or the disk is exhausted."""
        path, size = self._path(key), wave.numel() * 4 + 128
        if not self._make_space(size):
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
        self.sizes[path] = size
        return self.get(key)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npy"

    def _make_space(self, size: int) -> bool:
        total = sum(self.sizes.values())
        old = [path for path in self.sizes if path not in self.used_now]
        if total + size - sum(self.sizes[path] for path in old) > self.max_bytes:
            return False
        while total + size > self.max_bytes:
            path = old.pop(0)
            total -= self.sizes.pop(path)
            with suppress(OSError):
                path.unlink()
        return True
