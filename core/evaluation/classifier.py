"""A small classifier, trained on real data only: it classifies samples, and its penultimate layer gives features.

With classes it is trained to classify; without, it is trained to match two augmented views of one example among views
of other examples (Chen et al. 2020, "A simple framework for contrastive learning of visual representations", equation
1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import BadInput
from ..util.progress import progress_bar
from .stored_networks import key_of, load_or_train

Augment = Callable[[Tensor, torch.Generator], Tensor]

LEAST = 8  # minimum number of training examples
_PROJECTION, _TEMPERATURE = 64, 0.2  # of the network without classes


@dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is built and trained; part of the cache key, so `version` is increased when the code changes.

    Attributes:
        widths: Channels of the stages; each halves the resolution after its convolutions.
        width: Features of the penultimate layer.
        depth: Convolutions per stage.
        rows: Bands along the height that are pooled separately: 1 for pictures, more where the height is a frequency.
        epochs: Passes over the examples, unless `budget` allows fewer.
        budget: Maximum number of input elements that training processes: with many examples there are fewer epochs.
        batch: Examples per step.
        lr: Peak learning rate of AdamW.
        decay: Weight decay.
        dropout: Probability of dropping a penultimate feature.
        smoothing: Label smoothing.
        seed: Seed of weights, batches and augmentation.
        version: Version of the code.
    """

    widths: tuple[int, ...] = (32, 64, 96)
    width: int = 96
    depth: int = 1
    rows: int = 1
    epochs: int = 20
    budget: float = 9e7
    batch: int = 64
    lr: float = 2e-3
    decay: float = 0.02
    dropout: float = 0.3
    smoothing: float = 0.05
    seed: int = 0
    version: int = 2

    def limited_to_budget(self, count: int, elements: int) -> ClassifierSettings:
        """The same with fewer epochs where needed to keep count * elements * epochs within `budget`; at least three."""
        return replace(self, epochs=max(3, min(self.epochs, int(self.budget / max(1, count * elements)))))


class Classifier(nn.Module):
    """Convolutions with batch norm, mean and maximum over the maps or over bands of them, `width` features, classes.

    x (B, C, H, W) -> logits (B, classes); `features` gives (B, width), float32, after the ReLU.
    """

    def __init__(self, channels: int, classes: int, settings: ClassifierSettings):
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


def train_classifier(
    x: Tensor, y: Tensor | None, classes: int, augment: Augment, settings: ClassifierSettings
) -> Classifier:
    """Train on x (N, C, H, W) with labels y (N,): AdamW, a one-cycle learning rate, label smoothing.

    Without labels, two augmented views of an example are trained to be more similar than views of different ones.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = Classifier(x.shape[1], _PROJECTION if y is None else classes, settings).train()
        rng = torch.Generator().manual_seed(settings.seed)
        per_epoch = max(1, len(x) // settings.batch)
        optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.decay)
        total = settings.epochs * per_epoch
        cycle = max(total, 6)  # with five steps the warm-up would last 0 steps, and torch divides by its length
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=cycle, pct_start=0.2)
        progress = progress_bar("training the classifier", "step", total)
        for _ in range(settings.epochs):
            order = torch.randperm(len(x), generator=rng)
            for step in range(per_epoch):
                rows = order[step * settings.batch : (step + 1) * settings.batch]
                loss = _loss(model, x[rows], None if y is None else y[rows], augment, rng, settings)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()
                progress.update()
        progress.close()
    return model.eval()


def _loss(
    model: Classifier, x: Tensor, y: Tensor | None, augment: Augment, rng: torch.Generator, settings: ClassifierSettings
) -> Tensor:
    def view() -> Tensor:
        return model(augment(x, rng).contiguous(memory_format=torch.channels_last))

    if y is not None:
        return F.cross_entropy(view(), y, label_smoothing=settings.smoothing)
    views = F.normalize(torch.cat([view(), view()]), dim=1)
    similarity = (views @ views.T / _TEMPERATURE).fill_diagonal_(-math.inf)
    return F.cross_entropy(similarity, torch.arange(2 * len(x)).roll(len(x)))


def cached_classifier(
    x: Tensor, y: Tensor | None, classes: int, augment: Augment, settings: ClassifierSettings, cache: Path | None = None
) -> Classifier:
    """`train_classifier`, or a stored result for the same data, settings and augmentation, from memory or `cache`."""
    outputs = _PROJECTION if y is None else classes
    description = [asdict(settings), classes, augment.__qualname__, list(x.shape), y is None]
    key = key_of(description, x, *([] if y is None else [y]))
    return load_or_train(
        key,
        cache,
        lambda: Classifier(x.shape[1], outputs, settings),
        lambda: train_classifier(x, y, classes, augment, settings),
    )


def real_data_classifier(
    x: Tensor,
    labels: Tensor,
    classes: int,
    augment: Augment,
    settings: ClassifierSettings,
    epochs: int | None = None,
    cache: Path | None = None,
) -> Classifier:
    """The small classifier of a run's data, shared by classification and learned features.

    Args:
        x: Classifier input of the training examples (N, C, H, W).
        labels: (N,); where one is missing, the classifier is trained without classes.
        classes: Number of classes.
        augment: Random augmentation of a training batch.
        settings: Settings of the modality.
        epochs: Number of epochs; None: that of the settings. Reduced for many examples, so that training takes about a
            minute.
        cache: Folder of trained classifiers; None: they are kept in memory only.

    Raises:
        BadInput: For fewer than 8 examples.
    """
    if len(x) < LEAST:
        raise BadInput(f"{len(x)} real examples are too few to train the small classifier of eval: {LEAST} or more")
    y = labels if classes and int(labels.min()) >= 0 else None
    settings = replace(settings, epochs=epochs or settings.epochs, batch=min(settings.batch, len(x)))
    return cached_classifier(
        x, y, classes, augment, settings.limited_to_budget(len(x), x.shape[-2] * x.shape[-1]), cache
    )


@torch.no_grad()
def classify(model: Classifier, x: Tensor, batch: int = 256) -> tuple[Tensor, Tensor]:
    """Predicted labels (N,) and features (N, width) of x (N, C, H, W)."""
    found = [model.features(part) for part in x.split(batch)]
    features = torch.cat(found)
    return model.last(features).argmax(dim=1), features


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of the labels that were predicted, 0 to 1."""
    return float((predicted == labels).double().mean())


def random_affine(x: Tensor, rng: torch.Generator, turn: float, zoom: float, shift: float, shear: float) -> Tensor:
    """Random affine maps of x (B, C, H, W): `turn` in degrees, `zoom` and `shear` as shares, `shift` in half widths."""
    n = len(x)

    def draw(size: float) -> Tensor:
        return (2 * torch.rand(n, generator=rng) - 1) * size

    angle, scale = draw(math.radians(turn)), torch.exp(draw(math.log1p(zoom)))
    cos, sin, slant = angle.cos() * scale, angle.sin() * scale, draw(shear)
    rows = [cos, slant - sin, draw(shift), sin, cos, draw(shift)]
    theta = torch.stack(rows, dim=1).reshape(n, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes, classes) counts: row the label, column the prediction."""
    return torch.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
