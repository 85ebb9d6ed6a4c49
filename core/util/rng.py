"""Random numbers keyed by (seed, sample, purpose, counter), where the counter may be an interval of tau.

Every number that training or sampling draws comes from here, so sample 7 of seed 3 is the same whatever the batch size,
the device, and the number of ranks that share the work. The generator is Philox, which is keyed by design (Salmon
et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a 128-bit key made from the four facts, no state to carry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from .brownian import Interval, Path

Shape = tuple[int, ...]


def generator(seed: int, sample: int, purpose: str, counter: Hashable = 0) -> np.random.Generator:
    """The generator of one key; `counter` is the step, or any tuple of numbers such as an interval of tau."""
    digest = hashlib.blake2b(repr((seed, sample, purpose, counter)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


class Noise:
    """The noise of a batch of samples: row i depends on samples[i] alone, never on its neighbours.

    seed:    the run's seed
    samples: the number of each row: its index among all samples of the run, or in the global training batch
    shapes:  (C, *spatial) of each sample; one shape for all, or one for each, padded with zeros to the largest
    device:  where the tensors go; numbers are drawn on the host so that every device gets the same ones
    """

    def __init__(
        self,
        seed: int,
        samples: Sequence[int],
        shapes: Shape | Sequence[Shape],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.seed, self.samples, self.device, self.dtype = seed, list(samples), torch.device(device), dtype
        same = not shapes or isinstance(shapes[0], int)
        self.shapes: list[Shape] = [tuple(shapes)] * len(self.samples) if same else [tuple(s) for s in shapes]  # type: ignore[arg-type]
        self._paths: dict[tuple[str, int], Path] = {}

    def normal(self, purpose: str, counter: Hashable = 0) -> Tensor:
        """Standard normal noise (B, C, *spatial), each row drawn at its own shape; float32 values in any dtype.

        A counter that is an Interval gives what the sample's Brownian path gains there, over the root of its length:
        the same path whatever the intervals, so that runs of any number of steps see the same noise.
        """
        largest = tuple(max(n) for n in zip(*self.shapes, strict=True))
        out = np.zeros((len(self.samples), *largest), dtype=np.float32)
        for row, shape in enumerate(self.shapes):
            at = (row, *(slice(n) for n in shape))
            if isinstance(counter, Interval):
                out[at] = self._gained(row, purpose, counter)
            else:
                out[at] = self._drawn(row, purpose, counter)
        return self._send(out)

    def _drawn(self, row: int, purpose: str, counter: Hashable) -> np.ndarray:
        rng = generator(self.seed, self.samples[row], purpose, counter)
        return rng.standard_normal(self.shapes[row], dtype=np.float32)

    def _gained(self, row: int, purpose: str, interval: Interval) -> np.ndarray:
        path = self._paths.get((purpose, row))
        if path is None:
            path = self._paths[purpose, row] = Path(lambda key: self._drawn(row, purpose, key))
        high, low = (float(v[row]) if isinstance(v, tuple) else v for v in interval)
        return path.gained(high, low)

    def uniform(self, purpose: str, counter: Hashable = 0) -> Tensor:
        """One number in [0, 1) a sample, (B,)."""
        return self._send(np.array([generator(self.seed, s, purpose, counter).random() for s in self.samples]))

    def _send(self, array: np.ndarray) -> Tensor:
        host = torch.from_numpy(array).to(self.dtype)
        if self.device.type == "cuda":
            return host.pin_memory().to(self.device, non_blocking=True)
        return host.to(self.device)


def stratified(seed: int, step: int, total: int, rows: Sequence[int]) -> Tensor:
    """Numbers in [0, 1) for rows of a global batch of `total`, one in each of `total` equal strata: float64, (rows,).

    u_i = (pi(i) + v_i) / total with a random permutation pi of the step: the batch covers every noise level, so that
    the loss has less variance (Kingma et al. 2021, "Variational diffusion models", appendix I.1), whatever the ranks.
    """
    strata = generator(seed, 0, "strata", step).permutation(total)
    jitter = np.array([generator(seed, int(i), "jitter", step).random() for i in rows])
    return torch.from_numpy((strata[np.asarray(rows, dtype=np.int64)] + jitter) / total)
