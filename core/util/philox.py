"""Philox4x32-10: random numbers as a function of a counter and a key, without state.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3. A block of four 32-bit words
(c0, c1, c2, c3) goes through ten rounds with the products p0 = 0xD2511F53 c0 and p1 = 0xCD9E8D57 c2:

    (c0, c1, c2, c3) <- (high(p1) ^ c1 ^ k0, low(p1), high(p0) ^ c3 ^ k1, low(p0)),   (k0, k1) <- (k0, k1) + (w0, w1)

Here c0 is the number of the block in a sample, c1 a step number, and (c2, c3) the number of the sample, so that all
rows of a batch are drawn together. On the CPU, numpy computes in place on pieces that fit into the cache. Other devices
use int64 tensor operations, since few of them support unsigned integers; CUDA uses one kernel if Triton is installed.
All give the same integers.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

ROUNDS = 10
PIECE = 32768  # blocks per piece: its arrays take 1.5 MB
WORTH_THREADS = 2  # fewest pieces per thread: with fewer, starting a thread costs more than it saves
_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def philox_inputs(keys: Sequence[int], steps: Sequence[int], samples: Sequence[int]) -> np.ndarray:
    """The 32-bit words that identify each row, uint64 (5, R): two of its key, its step, two of its sample number.

    Args:
        keys: 64-bit key of each row, or one for all.
        steps: 32-bit number of each row, or one for all.
        samples: 64-bit number of each row, (R,).
    """
    key, step, sample = (np.array(values, dtype=np.uint64) for values in (keys, steps, samples))
    mask, high = np.uint64(_MASK), np.uint64(32)
    words = np.empty((5, len(sample)), dtype=np.uint64)
    words[0], words[1], words[2] = key & mask, key >> high, step
    words[3], words[4] = sample & mask, sample >> high
    return words


def random_words(named: np.ndarray, blocks: int, device: torch.device, first: int = 0) -> Tensor:
    """Random words of every row, from block `first` on.

    On a CUDA device the host does not wait for the device.

    Args:
        named: Result of `philox_inputs`.
        blocks: Number of blocks per row; a block has four words.
        device: Device that computes them.
        first: Number of the first block.

    Returns:
        int32 (R, 4, blocks), word w of block b at [:, w, b].
    """
    if device.type == "cpu":
        return _on_host(named, blocks, first)
    copied = copy_to_device(named.view(np.int64), device)
    if device.type == "cuda" and (fused := _fused()) is not None:
        return fused(copied, blocks, ROUNDS, first)
    return random_words_torch(copied, copy_to_device(_round_keys(named).view(np.int64), device), blocks, first)


@functools.cache
def _fused() -> Callable[[Tensor, int, int, int], Tensor] | None:
    """The kernel of philox_cuda.py; None if Triton is missing or cannot compile."""
    try:
        from . import philox_cuda

        philox_cuda.random_words_cuda(torch.zeros((5, 1), dtype=torch.int64, device="cuda"), 1, ROUNDS)
    except Exception:  # no Triton, no C compiler, an unsupported GPU: tensor operations give the same numbers
        return None
    return philox_cuda.random_words_cuda


def copy_to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to a device; to a GPU from pinned memory, so that the host does not wait."""
    host = torch.from_numpy(array)
    if device.type == "cuda":
        return host.pin_memory().to(device, non_blocking=True)
    return host.to(device)


def _round_keys(named: np.ndarray) -> np.ndarray:
    """The key of every round, uint64 (ROUNDS, 2, R or 1)."""
    key = named[:2]
    if key.shape[1] > 1 and (key == key[:, :1]).all():
        key = key[:, :1]
    return (key + _key_steps()) & np.uint64(_MASK)


def _key_steps() -> np.ndarray:
    return np.arange(ROUNDS, dtype=np.uint64)[:, None, None] * np.array(_KEY_STEPS, dtype=np.uint64)[:, None]


def random_words_torch(named: Tensor, round_keys: Tensor, blocks: int, first: int = 0) -> Tensor:
    """`random_words` in int64 tensor operations, for any device: named (5, R), round_keys (ROUNDS, 2, R or 1)."""
    step, low, high = named[2:].unsqueeze(-1)
    index = (torch.arange(blocks, device=named.device) + first) & _MASK
    shape = (named.shape[1], blocks)
    c02 = torch.stack([index.expand(shape), low.expand(shape)])
    c13 = torch.stack([step.expand(shape), high.expand(shape)])
    multipliers = torch.stack([torch.full_like(low[:1], m) for m in _MULTIPLIERS])
    for key in round_keys.unsqueeze(-1):
        # int64 products wrap around, the shift copies the sign bit, c1 and c3 keep upper halves: the mask clears these.
        products = (c02 * multipliers).flip(0)
        c02 = (products >> 32).bitwise_xor_(c13).bitwise_xor_(key).bitwise_and_(_MASK)
        c13 = products
    result = torch.stack([c02[0], c13[0], c02[1], c13[1]], dim=1)
    # First into the range of int32: the conversion of larger numbers is undefined.
    return result.bitwise_and_(_MASK).bitwise_xor_(1 << 31).sub_(1 << 31).to(torch.int32)


def _on_host(named: np.ndarray, blocks: int, first: int) -> Tensor:
    """`random_words` by numpy."""
    out = np.empty((named.shape[1], 4, blocks), dtype=np.int32)

    def copy(rows: slice, columns: slice, piece: Sequence[np.ndarray]) -> None:
        for word, values in enumerate(piece):
            out[rows, word, columns] = values.view(np.int32)

    random_words_numpy(named, blocks, copy, first)
    return torch.from_numpy(out)


def random_words_numpy(
    named: np.ndarray,
    blocks: int,
    use: Callable[[slice, slice, Sequence[np.ndarray]], None],
    first: int = 0,
) -> None:
    """Compute the words of every row by numpy, piece by piece, with the number of threads that torch uses.

    Args:
        named: Result of `philox_inputs`.
        blocks: Number of blocks per row; a block has four words.
        use: Called with the rows and the blocks of a piece, and its four words, each a uint32 view (rows, blocks) that
            is overwritten after the call.
        first: Number of the first block.
    """
    count, keys = named.shape[1], _round_keys(named)
    wide = max(1, min(blocks, PIECE))
    deep = max(1, PIECE // wide)
    pieces = [
        (slice(row, min(row + deep, count)), slice(start, min(start + wide, blocks)))
        for row in range(0, count, deep)
        for start in range(0, blocks, wide)
    ]

    def work(some: list[tuple[slice, slice]]) -> None:
        space = _Space(min(deep, count), wide)
        for at, columns in some:
            piece_keys = keys if keys.shape[2] == 1 else keys[:, :, at]
            use(
                at,
                columns,
                space.filled(named[:, at], piece_keys[..., None], first + columns.start, columns.stop - columns.start),
            )

    threads = min(torch.get_num_threads(), len(pieces) // WORTH_THREADS)
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, [pieces[i::threads] for i in range(threads)]))
    elif pieces:
        work(pieces)


class _Space:
    """Working memory for one piece, reused so that it stays in the cache.

    Args:
        rows: Largest number of rows of a piece.
        blocks: Largest number of blocks of a piece.
    """

    def __init__(self, rows: int, blocks: int):
        self._memory = np.empty((3, 2 * rows * blocks), dtype=np.uint64)
        self._multipliers = np.array(_MULTIPLIERS, dtype=np.uint64)[:, None, None]

    def filled(self, named: np.ndarray, keys: np.ndarray, first: int, blocks: int) -> Sequence[np.ndarray]:
        """The four words of blocks `first` ... as uint32 views (R, blocks); keys are (ROUNDS, 2, R or 1, 1)."""
        shape = (2, named.shape[1], blocks)
        c02, c13, products = (part[: math.prod(shape)].reshape(shape) for part in self._memory)
        index = np.arange(first, first + blocks, dtype=np.uint64)
        if first + blocks > _MASK:
            index &= np.uint64(_MASK)
        c02[0], c02[1], c13[0], c13[1] = index, named[3, :, None], named[2, :, None], named[4, :, None]
        # Only the low halves of c02 are written: the high halves stay zero, so no mask is needed.
        low02, low13 = _half(c02, 0), _half(c13, 0)
        buffers = (products, c13)
        highs, lows = ([_half(buffer, high)[::-1] for buffer in buffers] for high in (1, 0))
        for number, key in enumerate(keys):
            into = number % 2  # the other buffer holds the previous products, c1 and c3
            np.multiply(c02, self._multipliers, out=buffers[into])
            np.bitwise_xor(highs[into], low13, out=low02)
            np.bitwise_xor(c02, key, out=c02)
            low13 = lows[into]
        return low02[0], low13[0], low02[1], low13[1]


def _half(array: np.ndarray, high: int) -> np.ndarray:
    """The low or high 32 bits of uint64 entries, as a view."""
    return array.view(np.uint32)[..., high if sys.byteorder == "little" else 1 - high :: 2]
