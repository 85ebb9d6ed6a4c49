"""Compares codecs by what they do: their class, their settings, and the values that were fitted.

How a recipe writes a codec does not matter: a network that is read from a file equals the one that was trained in the
run that wrote this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..nn.frozen import fingerprint_of_tensors
from ..types import move_like
from .base import LearnedCodec

RTOL, ATOL = 1e-3, 1e-5
"""Values fitted on the same data on other devices, or by another version of torch, differ by rounding only."""


class SettingsDifference(NamedTuple):
    """A setting in which two codecs differ.

    Attributes:
        name: Name of the setting.
        expected: Its value in the first codec, as text.
        found: Its value in the second codec.
    """

    name: str
    expected: str
    found: str


def describe_settings_difference(
    first: tuple[nn.Module, Mapping[str, Any]], second: tuple[nn.Module, Mapping[str, Any]]
) -> SettingsDifference | None:
    """The first setting in which two codecs differ, fitted or not; None: they have the same settings.

    Args:
        first: A codec and its options in the recipe, defaults included.
        second: Another codec, the same.
    """
    if type(first[0]) is not type(second[0]):
        return SettingsDifference("use", str(first[1].get("use")), str(second[1].get("use")))
    mine, theirs = (_settings(codec, options) for codec, options in (first, second))
    for name in dict.fromkeys([*mine, *theirs]):
        if mine.get(name) != theirs.get(name):
            return SettingsDifference(name, str(mine.get(name)), str(theirs.get(name)))
    return None


def _settings(codec: nn.Module, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the codec does by its options; for a learned one those that change its network, wherever it comes from."""
    options = {name: value for name, value in options.items() if name != "use"}
    return codec.settings(options) if isinstance(codec, LearnedCodec) else options


def equal_fits(mine: nn.Module, theirs: nn.Module) -> bool:
    """Whether two codecs of the same settings have the same fitted values, up to rounding."""
    first, second = _fitted(mine), _fitted(theirs)
    return first.keys() == second.keys() and all(_close(second[name], value) for name, value in first.items())


def fingerprint_of_codec(codec: nn.Module, options: Mapping[str, Any], facts: Sequence[Any] = ()) -> bytes:
    """Hash of what a codec computes: its class, settings and fitted values, wherever these were read.

    Args:
        codec: The codec, fitted.
        options: Its options in the recipe, defaults included.
        facts: What else the result depends on, as JSON can hold it.
    """
    return fingerprint_of_tensors(_fitted(codec), [type(codec).__name__, dict(_settings(codec, options)), *facts])


def _fitted(codec: nn.Module) -> Mapping[str, Tensor]:
    return codec.fitted_values() if isinstance(codec, LearnedCodec) else codec.state_dict()


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(move_like(a, b, torch.float32), b.float(), rtol=RTOL, atol=ATOL)
