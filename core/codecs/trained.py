"""What learned codecs share: a base codec and an autoencoder on top, their training, and files of trained codecs.

A codec that is trained in a run is part of its checkpoints, like the scales of other codecs. A codec that is read from
a file is not: checkpoints hold a fingerprint, by which another file is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn.autoencoder import AutoencoderND
from ..nn.frozen import FrozenNetwork, digest_tensor, fingerprint_of_tensors
from ..nn.layers.resample import mean_pool
from ..types import BadInput, Item, MediaSpec
from ..util.messages import format_count
from ..util.progress import progress_bar
from ..util.rng import keyed_generator
from .base import ChannelStandardizer, Codec
from .codec_file import load_codec_file, write_codec_file

MOST_VALUES = 2**28  # of the media that an autoencoder is trained on, 1 GiB; more examples are thinned out
HELD_OUT = 10  # every tenth example measures the error
_REPORT = "report"
_KL, _CLIP, _WARMUP = 1e-3, 1.0, 20

ExtraLoss = Callable[[Tensor, Tensor], Tensor]  # (reconstruction, original), both tensors of the base codec -> scalar
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


class _Parts(nn.Module):
    """What is fitted: the base codec, the network, scales of the latent channels, and the error of held-out examples.

    `report` holds the share of the variance that is lost, the number of held-out examples, and the number of steps.
    """

    report: Tensor

    def __init__(self, base: Codec, network: AutoencoderND):
        super().__init__()
        self.base, self.network = base, network
        self.normal = ChannelStandardizer(network.latent)
        self.register_buffer(_REPORT, torch.zeros(3))


class TrainedAutoencoder(nn.Module):
    """An autoencoder over the tensor of a base codec, whose latent channels have unit variance.

    Args:
        base: The codec below: pixels, patches of a waveform, a spectrogram.
        network: The network.
        facts: What a file of this codec must agree with, name -> value.
        file: Trained codec to use, which `write` has written; None: `fit` trains one.

    Raises:
        BadInput: The file is missing or damaged, or is one of another kind of codec.
    """

    def __init__(self, base: Codec, network: AutoencoderND, facts: Mapping[str, Any], file: Path | None = None):
        super().__init__()
        parts = _Parts(base, network).requires_grad_(False)  # only `fit` trains it
        self.facts = {**facts, "base": type(base).__name__, **_facts_of(base), **_facts_of(network)}
        self.file = file
        if file is None:
            self.own = parts
        else:
            self.read = FrozenNetwork(parts, load_codec_file(file, parts, self.facts), file, "codec.file")

    @property
    def parts(self) -> _Parts:
        """What is fitted: in checkpoints if it was trained here, and in none if it was read from a file."""
        return self.own if self.file is None else self.read.network

    def settings(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a file of this codec must agree with; how it was trained shows in its weights."""
        return self.facts

    def fitted_values(self) -> Mapping[str, Tensor]:
        """Weights and scales, wherever they come from."""
        return {name: value for name, value in self.parts.state_dict().items() if name != _REPORT}

    def adapted_state(self, stored: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The state of this module in a checkpoint: weights that this module has read from a file become their hash.

        Raises:
            BadInput: The checkpoint holds a hash, and this module reads no file.
        """
        own = {name.removeprefix("own."): value for name, value in stored.items() if name.startswith("own.")}
        if self.file is not None and own:
            return {"read.fingerprint": digest_tensor(fingerprint_of_tensors(own, self.facts))}
        if self.file is None and "read.fingerprint" in stored:
            digest = bytes(stored["read.fingerprint"].tolist()).hex()
            raise BadInput(
                f"it holds no weights of its codec, only their hash {digest}: name its file, codec.file=PATH"
            )
        return stored

    def encode(self, x: Tensor, wrap: tuple[int, ...] = ()) -> Tensor:
        """Tensor of the base codec (B, C, *spatial) -> (B, latent, *spatial / factor) of unit variance."""
        parts = self.parts
        return parts.normal(parts.network.encode(x, wrap))

    def decode(self, z: Tensor, wrap: tuple[int, ...] = ()) -> Tensor:
        """(B, latent, *spatial) -> tensor of the base codec (B, C, *spatial factor)."""
        parts = self.parts
        return parts.network.decode(parts.normal.inverse(z), wrap)

    def fit(
        self,
        items: Iterable[Item],
        encode: Callable[[Tensor], Tensor],
        steps: int,
        batch: int,
        crop: int,
        optimizer: MakeOptimizer,
        extra: ExtraLoss | None = None,
    ) -> None:
        """Fit the base codec, train the network, and measure the error of every tenth example, which is held out.

        A codec that was read from a file is measured only. Random numbers are keyed, so that the same examples give the
        same codec.

        Args:
            items: Examples.
            encode: Media (B, C, *media) -> tensor of the base codec, with axes that are multiples of the factor.
            steps: Training steps.
            batch: Parts of examples in a step.
            crop: Latent elements of a part along every axis.
            optimizer: Makes the optimiser.
            extra: Loss that is added to the mean absolute and the mean square error.

        Raises:
            BadInput: There are no examples, or the training diverges.
        """
        parts, kept = self.parts, thinned_items(items)
        if not kept:
            raise BadInput("nothing to fit the codec on: the training split has no valid element")
        device = next(parts.network.parameters()).device
        if self.file is None:
            parts.base.cpu().fit(kept)
            parts.base.to(device)
        examples = _Examples(parts.base, kept, encode, device)
        del kept
        with torch.enable_grad(), torch.inference_mode(False):
            if self.file is None:
                _train(parts.network, examples, steps, batch, crop, optimizer, extra)
        with torch.no_grad():
            if self.file is None:
                pairs = ((parts.network.encode(x), valid) for x, valid in examples.batches(parts.network.factor))
                parts.normal.cpu().fit((z.cpu(), None if valid is None else valid.cpu()) for z, valid in pairs)
                parts.normal.to(device)
            parts.report.copy_(torch.tensor([self._error(examples), examples.unseen, steps]))

    def _error(self, examples: _Examples) -> float:
        lost = whole = 0.0
        for first in range(0, len(examples.held_out), 16):
            rows = examples.held_out[first : first + 16]
            x = examples.media(rows)
            weight = 1.0 if examples.valid is None else examples.valid[rows].to(x.device)
            lost += float(((self.decode(self.encode(x)) - x) * weight).double().square().sum())
            whole += float((x * weight).double().square().sum())
        return lost / max(whole, 1e-12)

    def describe(self) -> str:
        """The size of the network and the error of held-out examples, in one line."""
        parts = self.parts
        weights = sum(p.numel() for p in parts.network.parameters()) / 1e6
        error, count, steps = parts.report.tolist()
        origin = f"of {self.file}" if self.file is not None else f"trained for {int(steps)} steps"
        whose = f"{format_count(int(count), 'example')} that it was not trained on" if count else "its only example"
        return (
            f"codec: an autoencoder of {weights:.2f} M weights, {origin}; it loses {100 * error:.3g} % of the variance "
            f"of {whose}"
        )

    def write(self, path: Path) -> None:
        """Write the trained codec to a file, for the option `file` of other runs; nothing if it was read from one."""
        if self.file is not None:
            return
        write_codec_file(path, self.parts, self.facts)


def thinned_items(items: Iterable[Item]) -> list[Item]:
    """Items, evenly thinned out where their media have more than `MOST_VALUES` values together."""
    kept: list[Item] = []
    every, values = 1, 0
    for i, item in enumerate(items):
        if i % every:
            continue
        kept.append(item)
        values += item.media.numel()
        if values > MOST_VALUES and len(kept) > 1:
            kept, every = kept[::2], 2 * every
            values = sum(one.media.numel() for one in kept)
    return kept


class _Examples:
    """Encoded examples on the host, and which of them are held out.

    `unseen` is the number of those held out that are not trained on.
    """

    def __init__(self, base: Codec, items: Sequence[Item], encode: Callable[[Tensor], Tensor], device: torch.device):
        self.device, lengths = device, []
        whole = base.spec.length_of(items[0].media.shape)
        with torch.no_grad():
            for first in range(0, len(items), 32):
                some = items[first : first + 32]
                z = encode(torch.stack([item.media for item in some]).to(device, torch.float32)).cpu()
                if first == 0:
                    self.z = z.new_empty(len(items), *z.shape[1:])
                self.z[first : first + len(z)] = z
                lengths += [whole or 0 if item.length is None else item.length for item in some]
        spatial = self.z.shape[2:]
        mask = None
        if whole is not None:
            mask = base.valid(torch.tensor(lengths), tuple(items[0].media.shape[1:]))
        self.valid = None if mask is None else F.pad(mask, (0, spatial[-1] - mask.shape[-1]))
        held = set(range(HELD_OUT - 1, len(self.z), HELD_OUT)) or {len(self.z) - 1}
        self.trained = [i for i in range(len(self.z)) if i not in held] or [0]  # a single example is both
        self.held_out = sorted(held)
        self.unseen = len(held) if len(self.z) > 1 else 0
        self.extents = np.tile(np.array(spatial), (len(self.z), 1))
        if self.valid is not None:
            self.extents[:, -1] = self.valid.sum((1, 2)).numpy()

    def media(self, rows: Sequence[int]) -> Tensor:
        """Whole examples (B, C, *spatial), on the device."""
        return self.z[list(rows)].to(self.device)

    def batches(self, factor: int) -> Iterable[tuple[Tensor, Tensor | None]]:
        """All examples, with a mask of the latent elements that cover some of their media."""
        for first in range(0, len(self.z), 32):
            part = slice(first, first + 32)
            valid = None if self.valid is None else (mean_pool(self.valid[part], factor) > 0).float()
            yield self.z[part].to(self.device), valid

    def crops(self, step: int, batch: int, size: Sequence[int]) -> Tensor:
        """Random parts (B, C, *size) of random training examples, on the device."""
        rng = keyed_generator(0, 0, "autoencoder parts", step)
        rows = [self.trained[i] for i in rng.integers(len(self.trained), size=batch)]
        places = rng.random((batch, len(size)))
        starts = (places * np.maximum(self.extents[rows] - np.array(size) + 1, 1)).astype(int)
        parts = [
            self.z[(row, slice(None), *(slice(a, a + n) for a, n in zip(start, size, strict=True)))]
            for row, start in zip(rows, starts.tolist(), strict=True)
        ]
        return torch.stack(parts).to(self.device)


def _train(
    network: AutoencoderND,
    examples: _Examples,
    steps: int,
    batch: int,
    crop: int,
    make: MakeOptimizer,
    extra: ExtraLoss | None,
) -> None:
    network.train().requires_grad_(True)
    optimizer = make(network)
    lr = [group["lr"] for group in optimizer.param_groups]
    size = [min(int(n), crop * network.factor) for n in examples.z.shape[2:]]
    latent = (batch, network.latent, *(n // network.factor for n in size))
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False)
    with exact, progress_bar("training the codec", "step", steps) as bar:
        for step in range(steps):
            scale = min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group, most in zip(optimizer.param_groups, lr, strict=True):
                group["lr"] = scale * most
            x = examples.crops(step, batch, size)
            drawn = keyed_generator(0, 0, "autoencoder noise", step).standard_normal(latent, dtype=np.float32)
            y, divergence = network.training_pass(x, torch.from_numpy(drawn).to(x.device))
            loss = (y - x).abs().mean() + (y - x).square().mean() + _KL * divergence
            if extra is not None:
                loss = loss + extra(y, x)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if not bool(torch.isfinite(nn.utils.clip_grad_norm_(network.parameters(), _CLIP))):
                raise BadInput(f"the training of the codec diverged at step {step + 1}: lower codec.lr")
            optimizer.step()
            bar.update()
    network.eval().requires_grad_(False)


def _facts_of(module: nn.Module) -> dict[str, Any]:
    """The plain attributes of a codec or network, which its options become."""
    hidden = {"training", "dump_patches", "call_super_init"}
    plain = {k: v for k, v in vars(module).items() if not k.startswith("_") and k not in hidden}
    return {k: v for k, v in plain.items() if isinstance(v, (bool, int, float, str))}


def media_facts(spec: MediaSpec) -> dict[str, Any]:
    """What a codec's file records of the media."""
    return {"modality": spec.modality, "media channels": spec.channels, "rate": spec.rate}
