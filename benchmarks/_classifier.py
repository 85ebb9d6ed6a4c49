"""A small classifier, trained on real data alone: it recognises samples; its penultimate layer makes their features.

Trained in a minute or two on two cores and kept in out/classifiers under a hash of the data and the settings.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

Augment = Callable[[Tensor, torch.Generator], Tensor]
CACHE = Path("out/classifiers")


@dataclass(frozen=True)
class Settings:
    """How a classifier is built and trained; part of the cache's key, so raise `version` when the code changes.

    widths: channels of the stages; each halves the resolution after its convolutions
    width:  features of the penultimate layer
    depth:  convolutions a stage
    rows:   rows that stay apart when the maps are pooled: 1 for pictures, more where the height is a frequency
    """

    widths: tuple[int, ...] = (32, 64, 96)
    width: int = 96
    depth: int = 1
    rows: int = 1
    epochs: int = 20
    batch: int = 64
    lr: float = 2e-3
    decay: float = 0.02
    dropout: float = 0.3
    smoothing: float = 0.05
    seed: int = 0
    version: int = 1


class Classifier(nn.Module):
    """Convolutions with batch norm, mean and maximum over the picture or over bands of it, `width` features, classes.

    x (B, C, H, W) -> logits (B, classes); `features` gives (B, width), float32, after the ReLU.
    """

    def __init__(self, channels: int, classes: int, settings: Settings):
        super().__init__()
        layers: list[nn.Module] = []
        for out in settings.widths:
            for _ in range(settings.depth):
                layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.body = nn.Sequential(*layers)
        self.rows = settings.rows
        self.penultimate = nn.Linear(2 * channels * settings.rows, settings.width)
        self.dropout = nn.Dropout(settings.dropout)
        self.last = nn.Linear(settings.width, classes)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width): mean and maximum over each of `rows` bands, one layer, ReLU."""
        maps, size = self.body(x), (self.rows, 1)
        pooled = torch.cat([F.adaptive_avg_pool2d(maps, size), F.adaptive_max_pool2d(maps, size)], dim=1)
        return F.relu(self.penultimate(pooled.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, classes)."""
        return self.last(self.dropout(self.features(x)))


def train(x: Tensor, y: Tensor, classes: int, augment: Augment, settings: Settings) -> Classifier:
    """Train on pictures x (N, C, H, W) with labels y (N,): AdamW, a one-cycle learning rate, label smoothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = Classifier(x.shape[1], classes, settings).train()
        rng = torch.Generator().manual_seed(settings.seed)
        per_epoch = max(1, len(x) // settings.batch)
        optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.decay)
        total = settings.epochs * per_epoch
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=total, pct_start=0.2)
        bar = tqdm(total=total, desc="training the classifier", delay=2.0, leave=False, disable=None)
        for _ in range(settings.epochs):
            order = torch.randperm(len(x), generator=rng)
            for step in range(per_epoch):
                rows = order[step * settings.batch : (step + 1) * settings.batch]
                logits = model(augment(x[rows], rng).contiguous(memory_format=torch.channels_last))
                loss = F.cross_entropy(logits, y[rows], label_smoothing=settings.smoothing)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()
                bar.update()
        bar.close()
    return model.eval()


def trained(
    x: Tensor, y: Tensor, classes: int, augment: Augment, settings: Settings, cache: Path | None = CACHE
) -> Classifier:
    """`train`, or what an earlier call with the same data, settings and augmentation left in `cache`."""
    if cache is None:
        return train(x, y, classes, augment, settings)
    facts = json.dumps([asdict(settings), classes, augment.__name__, list(x.shape)]).encode()
    digest = hashlib.blake2b(facts, digest_size=12)
    digest.update(x.contiguous().numpy().tobytes())
    digest.update(y.contiguous().numpy().tobytes())
    path = cache / f"{digest.hexdigest()}.safetensors"
    model = Classifier(x.shape[1], classes, settings)
    if path.exists():
        model.load_state_dict(load_file(path))
        return model.eval()
    model = train(x, y, classes, augment, settings)
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, part)
    part.replace(path)
    return model


@torch.no_grad()
def recognise(model: Classifier, x: Tensor, batch: int = 256) -> tuple[Tensor, Tensor]:
    """Predicted labels (N,) and features (N, width) of pictures (N, C, H, W)."""
    found = [model.features(part) for part in x.split(batch)]
    features = torch.cat(found)
    return model.last(features).argmax(dim=1), features


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of the labels that were recognised, 0 to 1."""
    return float((predicted == labels).double().mean())


def warp(x: Tensor, rng: torch.Generator, turn: float, zoom: float, shift: float, shear: float) -> Tensor:
    """Random affine maps of pictures (B, C, H, W): turn in degrees, zoom as a share, shift in half picture widths."""
    n = len(x)

    def draw(size: float) -> Tensor:
        return (2 * torch.rand(n, generator=rng) - 1) * size

    angle, scale = draw(math.radians(turn)), torch.exp(draw(math.log1p(zoom)))
    cos, sin, slant = angle.cos() * scale, angle.sin() * scale, draw(shear)
    rows = [cos, slant - sin, draw(shift), sin, cos, draw(shift)]
    theta = torch.stack(rows, dim=1).reshape(n, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def confusion(predicted: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, str]:
    """For each class the share recognised and what it was most often taken for."""
    out = {}
    for index, name in enumerate(classes):
        of_class = predicted[labels == index]
        if not len(of_class):
            continue
        counts = torch.bincount(of_class, minlength=len(classes))
        right = int(counts[index])
        counts[index] = 0
        mistaken = f", else mostly {classes[int(counts.argmax())]}" if right < len(of_class) else ""
        out[name] = f"{right / len(of_class):.1%}{mistaken}"
    return out
