"""A classifier trained on the real data listens to samples, and one trained on samples listens to the real data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from .adapter import Beside, Coded, EvaluationAdapter, Figure, Made, Real
from .classifier import accuracy, recognise, table, trained
from .examples import spread
from .network import LEAST, network

STEPS = 400  # of the two small trainings at the least
TEACH = 64  # samples from which on they can teach anything


@dataclass(frozen=True)
class Recognition:
    """What was recognised.

    guessed:   (N,) class that the network sees in each sample
    confusion: (K, K) counts: row the class told, column the class seen
    samples, train, held: penultimate features (N, d), (M, d) and (L, d) of each
    """

    guessed: Tensor
    confusion: Tensor
    figures: list[Figure]
    samples: Tensor
    train: Tensor
    held: Tensor


def recognition(
    judge: EvaluationAdapter, made: Made, real: Real, coded: Coded, many: str, cache: Path | None = None
) -> Recognition | None:
    """None where there are no classes, or samples or held-out examples have none.

    Samples that could not be used count as not recognised.
    """
    held = real.held
    if not real.classes or held is None or len(held) < LEAST or len(made.side) < LEAST:
        return None
    if min(int(side.labels.min()) for side in (made.side, real.train, held)) < 0:
        return None
    model = network(judge, real.train.media, real.train.labels, len(real.classes), cache=cache)
    seen, known, other = (judge.pictures(side.media) for side in (made.side, held, real.train))
    guessed, features = recognise(model, seen)
    told, held_features = recognise(model, known)
    ceiling = accuracy(told, held.labels)
    beside = [Beside(f"held-out {many}", ceiling)]
    if coded.held:
        heard = recognise(model, judge.pictures(coded.coded.media))[0]
        beside.append(Beside("the same through the codec", accuracy(heard, coded.coded.labels)))
    unusable = made.counts["made"] - len(made.side)
    right = int((guessed == made.side.labels).sum()) / (len(guessed) + unusable)
    out = [
        Figure(
            "recognised",
            "samples recognised",
            right,
            "{:.1%}",
            _binomial(right, len(guessed) + unusable),
            tuple(beside),
            f"by a small network trained on the real {many}; how far samples show what they were told",
        )
    ]
    if len(made.side) >= TEACH:
        out += _the_other_way(judge, made, real, seen, known, many)
    confusion = table(guessed, made.side.labels, len(real.classes))
    return Recognition(guessed, confusion, out, features, recognise(model, other)[1], held_features)


def _the_other_way(
    judge: EvaluationAdapter, made: Made, real: Real, seen: Tensor, known: Tensor, many: str
) -> list[Figure]:
    """Trained on samples, tested on real ones; beside, trained on as many real ones."""
    assert real.held is not None
    n = min(len(seen), len(real.train))
    few = spread(real.train, n, seed=1)
    per_epoch = max(1, n // judge.settings.batch)
    settings = replace(judge.settings, epochs=max(judge.settings.epochs, STEPS // per_epoch))
    settings = replace(settings, batch=min(settings.batch, n)).within(n, seen.shape[-2] * seen.shape[-1])
    found = []
    some = spread(made.side, n, seed=1)  # files lie in the order of their classes: the first ones lack most
    pictures = seen if some is made.side else judge.pictures(some.media)
    for x, y in ((pictures, some.labels), (judge.pictures(few.media), few.labels)):
        model = trained(x, y, len(real.classes), judge.vary, settings)
        found.append(accuracy(recognise(model, known)[0], real.held.labels))
    means = f"a network trained on {n} samples alone, tested on held-out {many}: low where samples lack variety"
    beside = Beside(f"trained on {n} real {many}", found[1])
    return [Figure("train_on_samples", "learned from samples", found[0], "{:.1%}", None, (beside,), means)]


def _binomial(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of Wilson 1927 for a share of n."""
    z = 1.96
    middle, wide = share + z * z / (2 * n), z * ((share * (1 - share) + z * z / (4 * n)) / n) ** 0.5
    return (middle - wide) / (1 + z * z / n), (middle + wide) / (1 + z * z / n)
