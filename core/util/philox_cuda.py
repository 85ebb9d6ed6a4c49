"""Philox4x32-10 as one CUDA kernel in Triton, which is part of torch's CUDA builds for Linux.

It gives the same integers as core/util/philox.py, which needs sixty tensor operations per call; for a small network
their launches take longer than their arithmetic. Importing this module needs Triton, and the first call needs a C
compiler; without them `philox.random_words` uses tensor operations.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256  # blocks of four words that a program computes


@triton.jit(do_not_specialize=["rows", "blocks", "first"])
def _kernel(named, out, rows, blocks, first, ROUNDS: tl.constexpr, BLOCK: tl.constexpr):
    chunks = tl.cdiv(blocks, BLOCK)
    row = tl.program_id(0) // chunks
    column = (tl.program_id(0) % chunks) * BLOCK + tl.arange(0, BLOCK)
    zero = tl.zeros((BLOCK,), tl.uint32)
    key0 = zero + tl.load(named + row).to(tl.uint32)
    key1 = zero + tl.load(named + rows + row).to(tl.uint32)
    c0 = (column.to(tl.int64) + first).to(tl.uint32)
    c1 = zero + tl.load(named + 2 * rows + row).to(tl.uint32)
    c2 = zero + tl.load(named + 3 * rows + row).to(tl.uint32)
    c3 = zero + tl.load(named + 4 * rows + row).to(tl.uint32)
    c0, c1, c2, c3 = tl.philox_impl(c0, c1, c2, c3, key0, key1, ROUNDS)
    at = out + row.to(tl.int64) * 4 * blocks + column
    inside = column < blocks
    tl.store(at, c0.to(tl.int32, bitcast=True), mask=inside)
    tl.store(at + blocks, c1.to(tl.int32, bitcast=True), mask=inside)
    tl.store(at + 2 * blocks, c2.to(tl.int32, bitcast=True), mask=inside)
    tl.store(at + 3 * blocks, c3.to(tl.int32, bitcast=True), mask=inside)


def random_words_cuda(named: Tensor, blocks: int, rounds: int, first: int = 0) -> Tensor:
    """Random words of every row from block `first` on, int32 (R, 4, blocks); named: int64 (5, R) on a CUDA device."""
    rows = named.shape[1]
    out = torch.empty((rows, 4, blocks), dtype=torch.int32, device=named.device)
    if out.numel():
        with torch.cuda.device(named.device):
            grid = (rows * triton.cdiv(blocks, BLOCK),)
            _kernel[grid](named, out, rows, blocks, first, ROUNDS=rounds, BLOCK=BLOCK)  # type: ignore[arg-type]
    return out
