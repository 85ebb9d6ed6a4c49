"""The module that is trained, averaged and saved as one: the network and the embeddings of its conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel, expand, per_sample


class Model(nn.Module):
    """A network and its conditions.

    Args:
        network: forward(x, level, conditions) -> output, x and output (B, C, *spatial).
        conditions: Name -> Condition, which embeds labels, numbers, ... as the network takes them.
    """

    def __init__(self, network: nn.Module, conditions: Mapping[str, nn.Module] | None = None):
        super().__init__()
        self.network = network
        self.conditions = nn.ModuleDict(dict(conditions or {}))

    def forward(self, x: Tensor, level: Tensor, conditions: Conditioning) -> Tensor:
        """The network's raw output."""
        return self.network(x, level, conditions)


class NetworkDenoiser(Denoiser):
    """A network as a denoiser: scales its input, conditions it on the noise level, turns its output into x0.

    Args:
        network: forward(x, level, conditions); level is the noise conditioning's number, (B,) or a map.
        parameterization: The parameterization: what the output means.
        noise_conditioning: How the network receives the noise level.
    """

    def __init__(self, network: Callable[..., Tensor], parameterization, noise_conditioning):
        self.network, self.parameterization, self.noise_conditioning = network, parameterization, noise_conditioning

    def output(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Tensor:
        """The network's raw output at x (B, C, *spatial), in x's dtype."""
        return self.network(self._scaled(x, level), self._level_number(x, level), conditions).to(x.dtype)

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """x0 as the network sees it; 0, the mean of all data, where `conditions.valid` marks padding."""
        x0 = self.parameterization.x0(x, self.output(x, level, conditions), level)
        return Estimate(x0 if conditions.valid is None else x0.masked_fill(conditions.valid == 0, 0))

    def _scaled(self, x: Tensor, level: NoiseLevel) -> Tensor:
        return x * expand(self.parameterization.input_scale(level), x)

    def _level_number(self, x: Tensor, level: NoiseLevel) -> Tensor:
        return per_sample(self.noise_conditioning.read(level), x)


class ModuleDenoiser(NetworkDenoiser):
    """The same for a user's own module, called as module(x, t) with t (B,) as the noise conditioning reads it.

    The module receives no conditions. An output that holds the tensor as its attribute `sample`, as diffusers' networks
    have it, is opened.

    Args:
        network: The module or function.
        parameterization: The parameterization: what the output means.
        noise_conditioning: What t is.
        keywords: Further keyword arguments of every call.
        integer_time: Give t as whole numbers (int64), rounded, to networks that look them up in a table.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        parameterization,
        noise_conditioning,
        keywords: Mapping[str, Any] | None = None,
        integer_time: bool = False,
    ):
        super().__init__(network, parameterization, noise_conditioning)
        self.keywords, self.integer_time = dict(keywords or {}), integer_time

    def output(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Tensor:
        """The module's raw output at x (B, C, *spatial).

        Raises:
            BadInput: The output is no such tensor, or the module's weights are of another type or on another device.
        """
        try:
            out = self.network(self._scaled(x, level), self._level_number(x, level), **self.keywords)
        except RuntimeError as error:
            self._explain(x, error)
            raise
        out = out if isinstance(out, Tensor) else getattr(out, "sample", out)
        wrong = f"a {type(out).__name__}" if not isinstance(out, Tensor) else f"{tuple(out.shape)}"
        if not isinstance(out, Tensor) or out.shape != x.shape:
            raise BadInput(f"the network's output has the shape of its input, {tuple(x.shape)}; it gave {wrong}")
        if not out.is_floating_point():
            raise BadInput(f"the network's output is made of real numbers, {x.dtype}; it gave {out.dtype}")
        return out.to(x.dtype)

    def _level_number(self, x: Tensor, level: NoiseLevel) -> Tensor:
        t = super()._level_number(x, level)
        return t.round().long() if self.integer_time else t

    def _explain(self, x: Tensor, error: RuntimeError) -> None:
        """Raise BadInput where weights that do not go with x are why the network failed."""
        weights = list(self.network.parameters()) if isinstance(self.network, nn.Module) else []
        for p in weights:
            if p.is_floating_point() and (p.dtype, p.device.type) != (x.dtype, x.device.type):
                raise BadInput(
                    f"the network's weights are {p.dtype} on {p.device.type}, and samples are {x.dtype} on "
                    f"{x.device.type}: convert the network (net.float()), or name its device (device={p.device.type!r})"
                ) from error
