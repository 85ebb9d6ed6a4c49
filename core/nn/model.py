"""The module that is trained, averaged and saved (network and condition embeddings), and networks as denoisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..types import BadInput, Conditioning, Denoiser, Estimate, NoiseLevel, broadcast_like, per_sample_value


class ConditionedNetwork(nn.Module):
    """A network and its conditions.

    Args:
        network: forward(x, level, conditions) -> output, x and output (B, C, *spatial).
        conditions: Name -> Condition, which embeds labels, numbers, ... for the network.
    """

    def __init__(self, network: nn.Module, conditions: Mapping[str, nn.Module] | None = None):
        super().__init__()
        self.network = network
        self.conditions = nn.ModuleDict(dict(conditions or {}))

    def forward(self, x: Tensor, level: Tensor, conditions: Conditioning) -> Tensor:
        """The network's output, (B, C, *spatial)."""
        return self.network(x, level, conditions)


class NetworkDenoiser(Denoiser):
    """A network as a denoiser: scales its input, conditions it on the noise level, converts its output to x0.

    Args:
        network: forward(x, level, conditions); level is the noise conditioning's number, (B,) or a map.
        parameterization: What the network's output means.
        noise_conditioning: The number, computed from the noise level, that the network receives.
    """

    def __init__(self, network: Callable[..., Tensor], parameterization, noise_conditioning):
        self.network, self.parameterization, self.noise_conditioning = network, parameterization, noise_conditioning

    def output(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Tensor:
        """The network's output at x (B, C, *spatial), in the dtype of x."""
        return self.network(self._scaled(x, level), self._level_number(x, level), conditions).to(x.dtype)

    def denoise(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Estimate:
        """The network's estimate of x0; in padding, where `conditions.valid` is 0, it is 0, the mean of the data."""
        x0 = self.parameterization.x0(x, self.output(x, level, conditions), level)
        return Estimate(x0 if conditions.valid is None else x0.masked_fill(conditions.valid == 0, 0))

    def _scaled(self, x: Tensor, level: NoiseLevel) -> Tensor:
        return x * broadcast_like(self.parameterization.input_scale(level), x)

    def _level_number(self, x: Tensor, level: NoiseLevel) -> Tensor:
        return per_sample_value(self.noise_conditioning.embedding_value(level), x)


class UserModuleDenoiser(NetworkDenoiser):
    """A user's module as a denoiser, called as module(x, t, **keywords) with t (B,) from the noise conditioning.

    The module receives no conditions. If its output has an attribute `sample`, as that of networks of diffusers, the
    attribute is used.

    Args:
        network: The module or function.
        parameterization: What the module's output means.
        noise_conditioning: Computes t from the noise level.
        keywords: Additional keyword arguments of every call.

    Raises:
        BadInput: The network cannot be called.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        parameterization,
        noise_conditioning,
        keywords: Mapping[str, Any] | None = None,
    ):
        if not callable(network) or isinstance(network, type):
            raise BadInput(f"the denoiser is a Denoiser, or a module or function called as net(x, t), not {network!r}")
        super().__init__(network, parameterization, noise_conditioning)
        self.keywords = dict(keywords or {})

    def output(self, x: Tensor, level: NoiseLevel, conditions: Conditioning) -> Tensor:
        """The module's output at x (B, C, *spatial).

        Raises:
            BadInput: The output is not a real tensor of x's shape, the weights have another dtype or device than x, or
                the module takes integers as t.
        """
        scaled, t = self._scaled(x, level), self._level_number(x, level)
        try:
            out = self.network(scaled, t, **self.keywords)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError, TypeError) as error:
            self._explain(x, error)
            if not self._accepts(scaled, t) and self._accepts(scaled, t.long()):
                raise BadInput(
                    "the network takes whole numbers as t: give `lambda x, t: net(x, t.long())`, with a "
                    "noise_conditioning that counts in indices, such as time on the schedule discrete"
                ) from error
            raise
        out = out if isinstance(out, Tensor) else getattr(out, "sample", out)
        wrong = f"a {type(out).__name__}" if not isinstance(out, Tensor) else f"{tuple(out.shape)}"
        if not isinstance(out, Tensor) or out.shape != x.shape:
            raise BadInput(f"the network's output has the shape of its input, {tuple(x.shape)}; it gave {wrong}")
        if not out.is_floating_point():
            raise BadInput(f"the network's output is made of real numbers, {x.dtype}; it gave {out.dtype}")
        return out.to(x.dtype)

    def _accepts(self, x: Tensor, t: Tensor) -> bool:
        """Whether a call succeeds; made only after one has failed, to find the cause."""
        try:
            with torch.no_grad():
                self.network(x, t, **self.keywords)
        except Exception:
            return False
        return True

    def _explain(self, x: Tensor, error: Exception) -> None:
        """Raise BadInput if the network failed because its weights have another dtype or device than x."""
        weights = list(self.network.parameters()) if isinstance(self.network, nn.Module) else []
        for p in weights:
            if p.is_floating_point() and (p.dtype, p.device.type) != (x.dtype, x.device.type):
                raise BadInput(
                    f"the network's weights are {p.dtype} on {p.device.type}, and samples are {x.dtype} on "
                    f"{x.device.type}: convert the network (net.float()), or name its device (device={p.device.type!r})"
                ) from error
