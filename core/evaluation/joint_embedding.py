"""A small joint embedding of media and texts, trained on real pairs only: it tells which caption an example has.

Media go through the body of the small classifier, texts through a bag of hashed words, pairs of words and character
n-grams (Bojanowski et al. 2017, "Enriching word vectors with subword information"). Both are trained with the
symmetric contrastive loss and a learned temperature (Oord et al. 2018, "Representation learning with contrastive
predictive coding"; Radford et al. 2021, "Learning transferable visual models from natural language supervision"):

    s_ij = exp(scale) <m_i, t_j>,    L = (CE(s, p) + CE(s^T, p)) / 2

where m and t have length 1, and p_ij is the same for all pairs of a batch with equal texts, and 0 for the others.
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import BadInput
from ..util.progress import progress_bar
from .classifier import LEAST, Augment, Classifier, ClassifierSettings
from .stored_networks import key_of, load_or_train

_BUCKETS = 1 << 14  # rows of the table of hashed words and n-grams; row 0 is padding
_NGRAMS = (3, 4, 5)  # lengths of character n-grams, with < and > at the ends of a word
_SCALES = (0.0, math.log(100))  # limits of the learned log scale, the latter as in Radford et al.


@dataclass(frozen=True)
class JointEmbeddingSettings:
    """How a joint embedding is built and trained.

    Attributes:
        media: Settings of the body for media: its widths, features and dropout.
        width: Length of an embedding.
        hidden: Length of a text's vector before the last two layers.
        text_drop: Probability that training leaves out a word or n-gram.
        epochs: Passes over the pairs, unless `budget` allows fewer.
        budget: Maximum number of input elements that training processes.
        batch: Largest number of pairs per step.
        lr: Peak learning rate of AdamW.
        decay: Weight decay.
        temperature: First temperature, exp(-scale).
        seed: Seed of weights, batches, augmentation and dropped words.
        version: Version of the code; increased when it changes, since a stored embedding is used again.
    """

    media: ClassifierSettings
    width: int = 64
    hidden: int = 96
    text_drop: float = 0.2
    epochs: int = 60
    budget: float = 4.5e7
    batch: int = 128
    lr: float = 3e-3
    decay: float = 0.05
    temperature: float = 0.1
    seed: int = 0
    version: int = 1

    def limited_to(self, count: int, elements: int) -> JointEmbeddingSettings:
        """The same for `count` pairs of so many input elements: batches are smaller, and epochs fewer where needed."""
        epochs = max(3, min(self.epochs, int(self.budget / max(1, count * elements))))
        return replace(self, epochs=epochs, batch=min(self.batch, count, max(16, count // 16)))


def normalise_text(text: str) -> str:
    """A text as it is compared and hashed: composed Unicode (NFKC), without letter case, words with single spaces."""
    return " ".join(_words(text)) or " ".join(text.split())


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", unicodedata.normalize("NFKC", text).casefold())


def hash_text(text: str) -> list[int]:
    """Rows of the words, of neighbouring words and of the character n-grams of a text, each once."""
    words = _words(text)
    parts = [f"w {word}" for word in words] + [f"p {a} {b}" for a, b in pairwise(words)]
    for word in words:
        marked = f"<{word}>"
        parts += [marked[i : i + n] for n in _NGRAMS for i in range(len(marked) - n + 1)]
    return [1 + zlib.crc32(part.encode()) % (_BUCKETS - 1) for part in dict.fromkeys(parts)]


def hash_texts(texts: Sequence[str]) -> Tensor:
    """Rows of each text (N, L), padded with 0."""
    rows = [torch.tensor(hash_text(text), dtype=torch.long) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


class JointEmbedding(nn.Module):
    """Media (B, C, H, W) and hashed texts (B, L) -> vectors (B, width) of length 1.

    Args:
        channels: Channels of the classifier input.
        settings: How it is built.
    """

    def __init__(self, channels: int, settings: JointEmbeddingSettings):
        super().__init__()
        hidden = settings.hidden
        self.media = Classifier(channels, settings.width, settings.media)
        self.table = nn.EmbeddingBag(_BUCKETS, hidden, mode="mean", padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.3)
        with torch.no_grad():
            self.table.weight[0] = 0
        self.text = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, settings.width))
        self.scale = nn.Parameter(torch.tensor(-math.log(settings.temperature)))

    def embed_media(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width)."""
        return F.normalize(self.media(x.contiguous(memory_format=torch.channels_last)), dim=1)

    def embed_texts(self, rows: Tensor) -> Tensor:
        """(B, L) rows of `hash_texts` -> (B, width)."""
        return F.normalize(self.text(self.table(rows)), dim=1)

    def loss(self, x: Tensor, rows: Tensor, groups: Tensor) -> Tensor:
        """The symmetric contrastive loss of a batch; pairs of one group (B,) have equal texts."""
        return contrastive_loss(self.embed_media(x), self.embed_texts(rows), self.scale, groups)


def contrastive_loss(media: Tensor, texts: Tensor, scale: Tensor, groups: Tensor) -> Tensor:
    """See the head of this file; media and texts (B, width), scale (), groups (B,): equal for equal texts."""
    logits = scale.clamp(*_SCALES).exp() * media @ texts.T
    same = (groups[:, None] == groups).to(logits)
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def train_joint_embedding(
    x: Tensor, texts: Sequence[str], augment: Augment, settings: JointEmbeddingSettings
) -> JointEmbedding:
    """Train on the classifier input x (N, C, H, W) of media and their texts; the result depends on these and the seed.

    Args:
        x: Classifier input of the training examples.
        texts: The text of each.
        augment: Random augmentation of a training batch.
        settings: How it is built and trained, see `JointEmbeddingSettings.limited_to`.

    Raises:
        BadInput: For fewer than 8 pairs.
    """
    if len(x) < LEAST:
        raise BadInput(f"{len(x)} captioned examples are too few to train the joint embedding of eval: {LEAST} or more")
    settings = settings.limited_to(len(x), x.shape[-2] * x.shape[-1])
    rows, groups = hash_texts(texts), text_groups(texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = JointEmbedding(x.shape[1], settings).train()
        rng = torch.Generator().manual_seed(settings.seed)
        per_epoch = max(1, len(x) // settings.batch)
        total = settings.epochs * per_epoch
        optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=max(total, 6), pct_start=0.2)
        with progress_bar("training the joint embedding", "step", total) as progress:
            for _ in range(settings.epochs):
                order = torch.randperm(len(x), generator=rng)
                for step in range(per_epoch):
                    some = order[step * settings.batch : (step + 1) * settings.batch]
                    kept = torch.rand(len(some), rows.shape[1], generator=rng) >= settings.text_drop
                    loss = model.loss(augment(x[some], rng), rows[some] * kept, groups[some])
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward()
                    optimiser.step()
                    schedule.step()
                    progress.update()
    return model.eval()


def cached_joint_embedding(
    x: Tensor, texts: Sequence[str], augment: Augment, settings: JointEmbeddingSettings, cache: Path | None = None
) -> JointEmbedding:
    """`train_joint_embedding`, or a stored result for the same data, settings and augmentation, from memory or `cache`.

    Args:
        x: Classifier input of the training examples (N, C, H, W).
        texts: The text of each.
        augment: Random augmentation of a training batch.
        settings: How it is built and trained.
        cache: Folder of stored networks; None: they are kept in memory only.
    """
    key = key_of([asdict(settings), augment.__qualname__, list(x.shape), [*texts]], x)
    return load_or_train(
        key,
        cache,
        lambda: JointEmbedding(x.shape[1], settings),
        lambda: train_joint_embedding(x, texts, augment, settings),
    )


def text_groups(texts: Sequence[str]) -> Tensor:
    """(N,) numbers that are the same for equal texts, see `normalise_text`."""
    places: dict[str, int] = {}
    return torch.tensor([places.setdefault(normalise_text(text), len(places)) for text in texts])


@torch.no_grad()
def embed_media(model: JointEmbedding, x: Tensor, batch: int = 256) -> Tensor:
    """Vectors (N, width) of classifier input x (N, C, H, W)."""
    return torch.cat([model.embed_media(part) for part in x.split(batch)])


@torch.no_grad()
def embed_texts(model: JointEmbedding, texts: Sequence[str]) -> Tensor:
    """Vectors (N, width) of texts."""
    return model.embed_texts(hash_texts(texts))
