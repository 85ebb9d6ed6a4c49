"""Spoken digits: are the sounds recognised, and how far are their spectra from real ones?

    python benchmarks/spoken_digits.py runs/spoken-digits --data path/to/spoken_digits
    python benchmarks/spoken_digits.py runs/stft runs/logmel runs/waveform      # a table each
    python benchmarks/spoken_digits.py --folder my_sounds                       # my_sounds/<0-9>/*.wav

A small classifier of log-mel pictures is trained on the real training sounds alone. It hears 500 class-conditional
sounds (50 a class, seed 0, none left out), read back from their WAV files. MMD on log-mel features (112 numbers a
sound, standardised by the training sounds) stands beside that of real sounds, as they are and after the run's codec:
encoded, decoded, and nothing generated.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from _bench import Case, Real, Side, Table, as_files, balanced, files, interval, parser, read_back, real, run
from _classifier import Settings, accuracy, confusion, recognise, trained
from sonolux.core.build import fit_codec
from sonolux.core.evaluation.base import standardised
from sonolux.core.evaluation.defects import clipped, silent
from sonolux.core.evaluation.mmd import MMD, median_distance
from sonolux.modalities.audio.features import likeness
from sonolux.modalities.audio.features.logmel_stats import LogmelStats
from sonolux.modalities.audio.features.pictures import mel_pictures, vary
from torch import Tensor

DRAWS = 20
SETTINGS = Settings(widths=(16, 48, 96), rows=4, epochs=25, batch=32)


def through_codec(case: Case, data: Real, sounds: Tensor) -> Side:
    """Sounds (N, C, frames) encoded and decoded by the run's codec, or by the recipe's, fitted now; then written and
    read back, which levels them as it levels the samples."""
    if case.trained is not None:
        codec = case.trained.codec.cpu()
    else:
        codec = case.recipe.codec.build(signal=data.signal)
        fit_codec(codec, _Items(data.train))
    with torch.inference_mode():
        made = torch.cat([codec.decode(codec.encode(part), part.shape[-1]) for part in sounds.split(64)])
    return as_files(case, list(made), data.valid.labels, data.signal.classes)


class _Items:
    """A side as the dataset that a codec is fitted on."""

    def __init__(self, side: Side):
        self.side = side

    def __len__(self) -> int:
        return len(self.side)

    def item(self, index: int, rng: None = None):
        from sonolux.core.types import Item

        return Item(media=self.side.media[index])


def measure(case: Case, settings: Settings = SETTINGS) -> Table:
    """The figures of one run or folder."""
    data = real(case.recipe)
    classes, rate = data.signal.classes, float(data.signal.rate or 0)
    samples, unusable = read_back(case.recipe, case.folder, classes)
    coded = through_codec(case, data, data.valid.media)
    train, held, made, round_trip = (
        mel_pictures(m, rate) for m in (data.train.media, data.valid.media, samples.media, coded.media)
    )
    model = trained(train, data.train.labels, len(classes), vary, settings)
    told, guessed, again = (recognise(model, x)[0] for x in (held, made, round_trip))
    right, n = int((guessed == samples.labels).sum()), len(samples)

    table = Table(case.title)
    table.add("classifier on held-out sounds", accuracy(told, data.valid.labels), "{:.1%}", f"of {len(held)}")
    table.add("the same after the codec", accuracy(again, coded.labels), "{:.1%}", "the most that samples can reach")
    table.add(
        "samples recognised", right / (n + unusable), "{:.1%}", f"of {n + unusable}; {unusable} unusable; 80 % or more"
    )
    distances(table, case, data, samples, coded)
    raw = files(case)
    table.add("silent", sum(bool(silent(s[None])) for s in raw), "{}", "never above -60 dB")
    table.add("clipped", sum(bool(clipped(s[None])) for s in raw), "{}", "three samples in a row at full scale")
    novelty(table, samples.media, data, rate)
    for name, text in confusion(guessed, samples.labels, classes).items():
        table.add(f"class {name}", text, "{}")
    return table


def distances(table: Table, case: Case, data: Real, samples: Side, coded: Side) -> None:
    """MMD of the samples, of training sounds, and of held-out sounds after the codec, to the held-out ones."""
    feature = LogmelStats(data.signal)
    raw = [feature(list(m)) for m in (data.train.media, data.valid.media, samples.media, coded.media)]
    train, held, made, round_trip = standardised(raw[0], *raw)
    metric, rng = MMD(median_distance(held)), np.random.default_rng(0)
    a_class = round(len(samples) / len(data.signal.classes))
    floors = [1000 * metric(train[balanced(data.train.labels, a_class, rng)], held) for _ in range(DRAWS)]
    # held-out sounds after the codec are measured against the other half: against themselves they would be too near
    halves = [rng.permutation(len(held)) for _ in range(DRAWS)]
    codecs = [1000 * metric(round_trip[h[: len(h) // 2]], held[h[len(h) // 2 :]]) for h in halves]
    table.add(
        "MMD x 1000, samples",
        1000 * metric(made, held),
        note=interval(lambda g, r: 1000 * metric(g, r), made, held, (samples.labels, data.valid.labels)),
    )
    table.add(
        "MMD x 1000, training sounds",
        float(np.mean(floors)),
        note=f"{DRAWS} draws of {a_class} a class: {min(floors):.3g} to {max(floors):.3g}",
    )
    table.add(
        "MMD x 1000, real after the codec",
        float(np.mean(codecs)),
        note=f"{DRAWS} halves: {min(codecs):.3g} to {max(codecs):.3g}",
    )


def novelty(table: Table, made: Tensor, data: Real, rate: float) -> None:
    """Likeness to the nearest training sound. Two takes of a word by one speaker are alike, so there is no fixed limit
    above which a sound is a copy: the held-out sounds set it."""
    alike, beside = (likeness.nearest(m, data.train.media, rate)[0] for m in (made, data.valid.media))
    limit = float(beside.quantile(0.99))
    table.add(
        "likeness to training sounds", float(alike.median()), note=f"median; held-out sounds: {beside.median():.3g}"
    )
    table.add(
        "near copies", int((alike > limit).sum()), "{}", f"more alike than 99 % of held-out sounds: above {limit:.3g}"
    )


if __name__ == "__main__":
    sys.exit(run(measure, parser(__doc__, 500, "spoken_digits").parse_args(), "spoken_digits"))
