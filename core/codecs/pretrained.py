"""What codecs of other packages share: their network is read from a folder on this machine, and is not trained.

Checkpoints hold the scales of its latent channels and a fingerprint of the folder's files, by which another folder is
refused. Weights are safetensors only; nothing is fetched or unpickled, and no code of a model is run.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from ..nn.frozen import FrozenNetwork, fingerprint_of_files
from ..types import BadInput, Item
from ..util.json_files import read_json
from ..util.messages import format_count, shorten
from .base import ChannelStandardizer, Codec
from .trained import thinned_items

MOST_EXAMPLES = 256
"""Examples that the scales are fitted on; more are thinned out, since such networks are slow."""

_BATCH = 8
_CONFIG = TypeAdapter(dict[str, Any])


@dataclass(frozen=True)
class LibraryModel:
    """A class of network of another package, and how its config.json names it.

    Attributes:
        package: The package, such as diffusers.
        class_name: The class in it.
        key: Key of config.json that names the kind of network.
        value: Its value.
    """

    package: str
    class_name: str
    key: str
    value: str

    def read(self, folder: Path) -> tuple[nn.Module, bytes]:
        """The network in a folder as the package saves it, in float32, and the fingerprint of the files.

        Raises:
            BadInput: The package is not installed; the folder is missing or incomplete, or holds another kind of
                network.
        """
        if not (folder / "config.json").is_file():
            inner = next((file.parent.name for file in sorted(folder.glob("*vae/config.json"))), None)
            remedy = f"codec.folder={folder / inner}" if inner else "nothing is fetched, so save the network there"
            raise BadInput(f"codec.folder: {folder} holds no config.json of {self.class_name}: {remedy}")
        files = [folder / "config.json", *folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
        kind = read_json(folder / "config.json", _CONFIG).get(self.key)
        if kind != self.value:
            found = shorten(repr(kind), 40)
            raise BadInput(f"codec.folder: {folder} holds a network of {self.key} {found}, not {self.value!r}")
        if not any(path.suffix == ".safetensors" for path in files):
            raise BadInput(f"codec.folder: {folder} holds no weights as .safetensors, and other formats are not read")
        return self._opened(folder), fingerprint_of_files(files)

    def _opened(self, folder: Path) -> nn.Module:
        try:
            # By name: a type checker does not need the package.
            cls = getattr(importlib.import_module(self.package), self.class_name)
        except (ImportError, AttributeError, RuntimeError) as error:
            raise BadInput(
                f"the codec needs {self.class_name} of the package {self.package}: pip install 'sonolux[codecs]'"
            ) from error
        try:
            with torch.device("cpu"), torch.random.fork_rng(devices=[]):
                network, report = cls.from_pretrained(
                    str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
                )
        except Exception as error:  # errors of the library, of many classes
            reason = shorten(" ".join(str(error).split()), 100)
            raise BadInput(f"codec.folder: {folder} cannot be opened as {self.class_name}: {reason}") from error
        for problem, names in report.items():
            if names and problem != "unexpected_keys":  # those are not part of this network
                raise BadInput(
                    f"codec.folder: {folder} is not a whole {self.class_name}: {len(names)} "
                    f"{problem.replace('_', ' ')}, such as {shorten(str(sorted(map(str, names))[0]), 60)}"
                )
        values = [*network.parameters(), *network.buffers()]
        if not all(bool(torch.isfinite(value).all()) for value in values if value.is_floating_point()):
            raise BadInput(f"codec.folder: {folder} is damaged: it contains weights that are not finite")
        return network.float()


class PretrainedLatents(FrozenNetwork):
    """A network of another package with the scales of its latent channels, which `fit` measures.

    Args:
        model: Its class.
        folder: Folder that it is read from.

    Attributes:
        normal: Scales of the latent channels.
        report: Share of the variance of media that it loses, and the number of examples that this was measured on.
    """

    report: Tensor

    def __init__(self, model: LibraryModel, folder: Path):
        folder = Path(folder)
        super().__init__(*model.read(folder), folder, "codec.folder")
        self.name = model.class_name
        self.register_buffer("report", torch.zeros(2))

    @property
    def config(self) -> Any:
        """The network's configuration."""
        return self.network.config

    def settings(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """All options but the folder, of whose files `fitted_values` holds the hash."""
        return {name: value for name, value in options.items() if name != "folder"}

    def fitted_values(self) -> Mapping[str, Tensor]:
        """The hash of the network's files, and the scales."""
        return {name: value for name, value in self.state_dict().items() if name != "report"}

    def adapted_state(self, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Unchanged: the network is always read from its folder."""
        return stored

    def set_channels(self, channels: int) -> None:
        """State the number of latent channels."""
        self.normal = ChannelStandardizer(channels)

    def fit(self, codec: Codec, items: Iterable[Item]) -> None:
        """Fit the scales of a codec whose `encode` and `decode` use this network, and measure what it loses.

        Raises:
            BadInput: There are no examples.
        """
        kept = thinned_items(items)
        kept = kept[:: -(-len(kept) // MOST_EXAMPLES)] if kept else []
        if not kept:
            raise BadInput("nothing to fit the codec on: the training split has no valid element")
        device = self.report.device
        self.normal = ChannelStandardizer(len(self.normal.mean)).to(device)  # without effect, until it is fitted
        found, masks, lost, total, squares, count = [], [], 0.0, 0.0, 0.0, 0
        with torch.no_grad():
            for first in range(0, len(kept), _BATCH):
                some = kept[first : first + _BATCH]
                media = torch.stack([item.media for item in some]).to(device, torch.float32)
                z = codec.encode(media)
                decoded = codec.decode(z, codec.spec.length_of(media.shape)).double()
                lost += float((decoded - media).square().sum())
                total, squares = total + float(media.double().sum()), squares + float(media.double().square().sum())
                count += media.numel()
                found.append(z.cpu())
                masks.append(_mask(codec, some))
        self.normal.cpu().fit(zip(found, masks, strict=True))
        self.normal.to(device)
        self.report.copy_(torch.tensor([lost / max(squares - total**2 / count, 1e-12), len(kept)]))

    def describe(self) -> str:
        """The network and what it loses, in one line."""
        weights = sum(p.numel() for p in self.network.parameters()) / 1e6
        error, count = self.report.tolist()
        return (
            f"codec: {self.name} of {self.source}, {weights:.2f} M weights; it loses {100 * error:.3g} % of the "
            f"variance of {format_count(int(count), 'example')}"
        )

    def write(self, path: Path) -> None:
        """Nothing is written: the network is in its folder."""


def _mask(codec: Codec, items: list[Item]) -> Tensor | None:
    whole = codec.spec.length_of(items[0].media.shape)
    if whole is None:
        return None
    lengths = torch.tensor([whole if item.length is None else item.length for item in items])
    return codec.valid(lengths, tuple(items[0].media.shape[1:]))


def require_equal(where: str, of_network: Mapping[str, Any], of_recipe: Mapping[str, Any]) -> None:
    """Raise BadInput for the first property, a key of the recipe, that differs between the network and the recipe."""
    for key, value in of_network.items():
        if value != of_recipe[key]:
            raise BadInput(
                f"{where}: {key} is {of_recipe[key]:g}, and the network is for {value:g}: set {key}={value:g}"
            )
