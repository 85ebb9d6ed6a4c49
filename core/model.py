"""The module that is trained, averaged and saved as one: the network and the embeddings of its conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from .types import Conditions, Denoiser, Estimate, Level, expand, per_sample


class Model(nn.Module):
    """A network and its conditions.

    network:    forward(x, level, conditions) -> output, x and output (B, C, *spatial)
    conditions: name -> Condition, which embeds labels and numbers as the network wants them
    """

    def __init__(self, network: nn.Module, conditions: Mapping[str, nn.Module] | None = None):
        super().__init__()
        self.network = network
        self.conditions = nn.ModuleDict(dict(conditions or {}))

    def forward(self, x: Tensor, level: Tensor, conditions: Conditions) -> Tensor:
        """The network's raw output."""
        return self.network(x, level, conditions)


class NetworkDenoiser(Denoiser):
    """A network brought to the one contract: scale the input, tell the level, turn the output into x0.

    network:    forward(x, level, conditions); level is the clock's number, (B,) or a map
    prediction: what the output means
    clock:      how the level is told
    """

    def __init__(self, network: Callable[..., Tensor], prediction, clock):
        self.network, self.prediction, self.clock = network, prediction, clock

    def output(self, x: Tensor, level: Level, conditions: Conditions) -> Tensor:
        """The network's raw output at x (B, C, *spatial), in x's dtype."""
        return self.network(self._scaled(x, level), self._told(x, level), conditions).to(x.dtype)

    def denoise(self, x: Tensor, level: Level, conditions: Conditions) -> Estimate:
        """x0 as the network sees it; 0, the mean of all data, where `conditions.valid` marks padding."""
        x0 = self.prediction.x0(x, self.output(x, level, conditions), level)
        return Estimate(x0 if conditions.valid is None else x0.masked_fill(conditions.valid == 0, 0))

    def _scaled(self, x: Tensor, level: Level) -> Tensor:
        return x * expand(self.prediction.input_scale(level), x)

    def _told(self, x: Tensor, level: Level) -> Tensor:
        return per_sample(self.clock.read(level), x)


class ModuleDenoiser(NetworkDenoiser):
    """The same for a user's own module, called as module(x, t) with t (B,) as the clock reads it.

    Conditions are its own affair.
    """

    def output(self, x: Tensor, level: Level, conditions: Conditions) -> Tensor:
        """The module's raw output at x (B, C, *spatial)."""
        return self.network(self._scaled(x, level), self._told(x, level))
