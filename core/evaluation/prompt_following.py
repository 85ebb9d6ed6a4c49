"""How well samples follow their prompts: a joint embedding of the real data finds the prompt of each among captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..util.rng import keyed_generator
from .adapter import EvaluationAdapter
from .classifier import LEAST
from .examples import CodecRoundTrip, ExampleSet, GeneratedSet, RealData
from .intervals import wilson_interval
from .joint_embedding import (
    JointEmbedding,
    JointEmbeddingSettings,
    cached_joint_embedding,
    embed_media,
    embed_texts,
    normalise_text,
)
from .prompts import known_texts
from .report.contents import Measurement, ReferenceValue

CANDIDATES = 20  # captions from which the right one is retrieved
HEADING = "Prompts"


@dataclass(frozen=True)
class Retrieval:
    """The caption that an embedding chooses for each of N examples, among its own and others.

    Attributes:
        right: (N,) bool, whether its own caption has the largest similarity of all.
        margin: (N,) similarity to its own caption minus the largest one to another.
        nearest: The other caption with the largest similarity, for each example.
    """

    right: Tensor
    margin: Tensor
    nearest: list[str]


@dataclass(frozen=True)
class PromptResult:
    """How well samples follow their prompts.

    Attributes:
        measurements: Lines of the report's table.
        rows: Indices of the samples that have a prompt.
        found: Retrieval of the prompts of these samples.
        remarks: Warnings for the report.
    """

    measurements: list[Measurement]
    rows: list[int]
    found: Retrieval
    remarks: list[str]


@dataclass(frozen=True)
class CaptionPool:
    """Captions of the data, normalised, from which other captions than an example's own are drawn.

    Attributes:
        known: Captions of training examples.
        new: Captions of held-out examples that no training example has.
    """

    known: dict[str, None]
    new: list[str]

    def others(self, text: str, seed: int, row: int) -> list[str]:
        """19 captions, none equal to `text`, and of its kind: new ones for a new caption, where there are enough.

        There are fewer where the data has fewer.
        """
        same_kind = [*self.known] if self.is_known(text) else self.new
        pool = same_kind if len(same_kind) >= CANDIDATES else [*self.known, *self.new]
        pool = [one for one in pool if one != normalise_text(text)]
        rng = keyed_generator(seed, row, "other captions")
        return [pool[i] for i in rng.choice(len(pool), min(CANDIDATES - 1, len(pool)), replace=False)]

    def is_known(self, text: str) -> bool:
        """Whether a training example has this caption."""
        return normalise_text(text) in self.known

    def kinds(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Kind of caption -> (N,) bool, which texts are of it."""
        known = torch.tensor([self.is_known(text) for text in texts], dtype=torch.bool)
        return {"known": known, "new": ~known}

    @property
    def candidates(self) -> int:
        """Number of captions from which one is chosen."""
        return min(CANDIDATES, len(self.known) + len(self.new))


def retrieve(model: JointEmbedding, x: Tensor, texts: Sequence[str], pool: CaptionPool, seed: int = 0) -> Retrieval:
    """Retrieve the text of each example among 20 captions; a tie with another caption is not right.

    Args:
        model: A trained embedding.
        x: Classifier input (N, C, H, W) of the examples.
        texts: The text of each.
        pool: Captions of the data.
        seed: Seed of the choice of other captions.
    """
    listed = [[normalise_text(text), *pool.others(text, seed, i)] for i, text in enumerate(texts)]
    places = {text: i for i, text in enumerate(dict.fromkeys(text for row in listed for text in row))}
    vectors, media = embed_texts(model, [*places]), embed_media(model, x)
    index = torch.tensor([[places[text] for text in row] for row in listed])  # (N, 20)
    similarity = torch.einsum("nd,nkd->nk", media, vectors[index])
    best = similarity[:, 1:].max(dim=1)
    margin = similarity[:, 0] - best.values
    return Retrieval(margin > 0, margin, [row[1 + k] for row, k in zip(listed, best.indices.tolist(), strict=True)])


def measure_prompt_following(
    adapter: EvaluationAdapter,
    generated: GeneratedSet,
    real: RealData,
    codec: CodecRoundTrip,
    key: str,
    many: str,
    cache: Path | None = None,
) -> PromptResult | None:
    """Train the joint embedding on the real training pairs, and retrieve the prompts of samples with it.

    Samples that are not finite or unusable count as wrong.

    Args:
        adapter: The modality's adapter.
        generated: The samples.
        real: The real data.
        codec: Real examples before and after the codec.
        key: Attribute of the examples that contains the text.
        many: Word for several examples, such as "pictures".
        cache: Folder that stores the joint embedding; None: in memory only.

    Returns:
        The result; None where fewer than 8 samples have a prompt, fewer than 8 training examples a caption, or the data
        has only one caption.
    """
    pool, texts, prompts = _pool(real, key), real.train.texts(key), generated.prompts
    rows = [i for i, prompt in enumerate(prompts) if prompt]
    if min(len(rows), sum(map(bool, texts))) < LEAST or pool.candidates < 2:
        return None
    settings = JointEmbeddingSettings(adapter.classifier)
    model = cached_joint_embedding(*_captioned(adapter, real.train, texts), adapter.augment, settings, cache)
    media, asked = _captioned(adapter, generated.examples, prompts)
    found = retrieve(model, media, asked, pool)
    shares, references = _shares_of_real(adapter, model, real, codec, pool, key, many)
    lost, lines = pool.kinds(generated.lost_prompts), []
    for kind, of_kind in pool.kinds(asked).items():
        if count := int(of_kind.sum() + lost[kind].sum()):
            right = int(found.right[of_kind].sum()) / count
            lines.append(_line(kind, right, count, references.get(kind, []), pool, many))
    return PromptResult(lines, rows, found, _remarks(shares, pool, many))


def _line(
    kind: str, right: float, count: int, references: list[ReferenceValue], pool: CaptionPool, many: str
) -> Measurement:
    name, which = {"known": ("training captions", "training"), "new": ("new captions", "no training")}[kind]
    meaning = (
        f"of {count} samples with captions of {which} {many}: share whose prompt is chosen among {pool.candidates} "
        f"captions by an embedding trained on the real {many}; chance {1 / pool.candidates:.0%}"
    )
    interval = wilson_interval(right, count)
    return Measurement(
        f"{kind}_captions", f"prompts found, {name}", right, "{:.1%}", interval, tuple(references), meaning
    )


def _pool(real: RealData, key: str) -> CaptionPool:
    known = known_texts(real, key)
    held_out = [] if real.held_out is None else real.held_out.texts(key)
    new = {normalise_text(text) for text in held_out if text} - known
    return CaptionPool(dict.fromkeys(sorted(known)), sorted(new))


def _captioned(
    adapter: EvaluationAdapter, examples: ExampleSet, texts: Sequence[str | None]
) -> tuple[Tensor, list[str]]:
    """Classifier input and texts of the examples that have a text."""
    rows = [i for i, text in enumerate(texts) if text]
    kept = [str(texts[i]) for i in rows]
    return (adapter.classifier_input(examples.select(rows).media) if rows else torch.empty(0)), kept


def _shares_of_real(
    adapter: EvaluationAdapter,
    model: JointEmbedding,
    real: RealData,
    codec: CodecRoundTrip,
    pool: CaptionPool,
    key: str,
    many: str,
) -> tuple[list[bool], dict[str, list[ReferenceValue]]]:
    """Whether each held-out caption is found; and, by kind of caption, the shares with and without the codec."""
    sets = [] if real.held_out is None else [(f"held-out {many}", real.held_out, real.held_out.texts(key))]
    if codec.held_out:
        sets.append(("the same through the codec", codec.decoded, codec.original.texts(key)))
    out: dict[str, list[ReferenceValue]] = {}
    every: list[bool] = []
    for name, examples, texts in sets:
        media, kept = _captioned(adapter, examples, texts)
        if not kept:
            continue
        right = retrieve(model, media, kept, pool).right
        every = every or right.tolist()
        for kind, of_kind in pool.kinds(kept).items():
            if int(of_kind.sum()) >= LEAST:
                out.setdefault(kind, []).append(ReferenceValue(name, float(right[of_kind].double().mean())))
    return every, out


def _remarks(every: list[bool], pool: CaptionPool, many: str) -> list[str]:
    """A remark where the embedding cannot tell the captions of real examples apart."""
    if len(every) < LEAST:
        return [f"Fewer than {LEAST} held-out {many} have captions: how many prompts could be found is unknown."]
    share = sum(every) / len(every)
    if wilson_interval(share, len(every))[0] > 2 / pool.candidates:
        return []
    return [
        f"The captions of {share:.0%} of the held-out {many} are found, close to chance ({1 / pool.candidates:.0%}): "
        f"the share of prompts that are found says little."
    ]
