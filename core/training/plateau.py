"""When the held-out loss is flat: the rule of `train.until: plateau`, in one place.

Evaluation k gives one loss e_k[i] for each of n held-out examples; examples and noise are the same in every evaluation.
With d[i] = e_b[i] - e_k[i], where b is the best evaluation so far, evaluation k is an improvement if

    mean(d) > t(0.975, n - 1) std(d) / sqrt(n),

that is, if the 95 % interval of the paired difference lies above 0 (Student 1908). Then b = k. The loss is flat if the
last `PATIENCE` evaluations were no improvements on b. Pairing removes what examples differ by, which is far more than
what a model gains between two evaluations; small gains add up, since all are compared with the same b.
"""

from __future__ import annotations

import math

import torch
from scipy.special import stdtrit
from torch import Tensor, nn

PATIENCE = 5  # evaluations without an improvement
LEAST = 8  # held-out examples that the rule needs


class Interval:
    """A mean with its 95 % interval, mean +- t(0.975, n - 1) std / sqrt(n); unlimited for a single value.

    Args:
        values: (n,), n at least 1.

    Attributes:
        mean: The mean.
        half: Half of the width.
    """

    def __init__(self, values: Tensor):
        values, n = values.double(), len(values)
        self.mean = float(values.mean())
        self.half = float(stdtrit(n - 1, 0.975)) * float(values.std()) / math.sqrt(n) if n > 1 else math.inf

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half


def is_improvement(best: Tensor, now: Tensor) -> bool:
    """Whether the losses of the same examples, (n,), have decreased by more than their interval: see the module."""
    return Interval(best - now).low > 0


class Plateau(nn.Module):
    """The state of the rule, as buffers, which checkpoints hold.

    Args:
        examples: Largest number of held-out examples.

    Attributes:
        best: Losses of the best evaluation, (examples,); the first `count` are used.
        count: Number of held-out examples; 0: nothing was evaluated.
        best_step: Step of the best evaluation.
        waited: Number of evaluations since then.
        fingerprint: Hash of the held-out examples, 16 bytes.
    """

    best: Tensor
    count: Tensor
    best_step: Tensor
    waited: Tensor
    fingerprint: Tensor

    def __init__(self, examples: int):
        super().__init__()
        self.register_buffer("best", torch.zeros(examples, dtype=torch.float64))
        for name in ("count", "best_step", "waited"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        self.register_buffer("fingerprint", torch.zeros(16, dtype=torch.uint8))

    def add(self, step: int, losses: Tensor) -> bool:
        """Add the losses (n,) of an evaluation after `step`.

        Returns:
            Whether it is the best one so far, by the rule.
        """
        losses, n = losses.detach().double().cpu(), len(losses)
        if int(self.count) == n and not is_improvement(self.best[:n], losses):
            self.waited += 1
            return False
        self.best[:n] = losses
        self.count.fill_(n)
        self.best_step.fill_(step)
        self.waited.zero_()
        return True

    def forget(self) -> None:
        """Start again: the next evaluation is the best one."""
        for buffer in self.buffers():
            buffer.zero_()

    @property
    def is_flat(self) -> bool:
        """Whether the last `PATIENCE` evaluations were no improvements."""
        return int(self.waited) >= PATIENCE
