"""A folder of sound effects without classes: distance to the real sounds, defects, and near copies of training files.

    python benchmarks/sfx_folder.py runs/sfx-3min runs/sfx-15min --data path/to/sfx
    python benchmarks/sfx_folder.py --folder my_sounds --data path/to/sfx

MMD on log-mel features (112 numbers a sound, standardised by all real sounds) between as many samples as half of the
real sounds and a random half, averaged over many halves, beside that of the other half: a folder of a hundred files has
too few held-out ones to measure against. Copies of training files would then look good (clearly below 0), so they are
searched for apart.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from _bench import Case, Table, files, parser, read_back, real, run
from sonolux.core.evaluation.base import standardised
from sonolux.core.evaluation.defects import clipped, silent
from sonolux.core.evaluation.mmd import MMD, median_distance
from sonolux.modalities.audio.features import likeness
from sonolux.modalities.audio.features.logmel_stats import LogmelStats

HALVES = 200


def measure(case: Case) -> Table:
    """The figures of one run or folder."""
    data = real(case.recipe)
    rate, train = float(data.signal.rate or 0), data.train.media
    samples, unusable = read_back(case.recipe, case.folder, data.signal.classes)
    feature = LogmelStats(data.signal)
    everything = feature([*train, *data.valid.media])
    known, made = standardised(everything, everything, feature(list(samples.media)))
    metric, rng, n = MMD(median_distance(known)), np.random.default_rng(0), len(known) // 2
    size = min(n, len(made))
    values, floors = [], []
    for _ in range(HALVES):
        rows = rng.permutation(len(known))
        values.append(1000 * metric(made[rng.permutation(len(made))[:size]], known[rows[:n]]))
        floors.append(1000 * metric(known[rows[n : n + size]], known[rows[:n]]))
    high = float(np.quantile(floors, 0.95))

    table = Table(case.title)
    table.add(
        "MMD x 1000, samples", float(np.mean(values)), note=f"{HALVES} halves of {n} real sounds and {size} samples"
    )
    table.add("MMD x 1000, real sounds", float(np.mean(floors)), note=f"the other half; 95 % are below {high:.3g}")
    table.add("samples over that", float(np.mean(values)) / high, "{:.2f}", "1 or less: no difference is seen")
    raw = files(case)
    table.add("silent", sum(bool(silent(s[None])) for s in raw), "{}", f"of {len(raw)}; never above -60 dB")
    table.add("clipped", sum(bool(clipped(s[None])) for s in raw), "{}", "three samples in a row at full scale")
    table.add("unusable", unusable, "{}", "silent ones included")
    copies(table, samples.media, train, data.valid.media, rate)
    return table


def copies(table: Table, made: torch.Tensor, train: torch.Tensor, held: torch.Tensor, rate: float) -> None:
    """Near copies among the samples, and the same search on copies that were made on purpose and on held-out sounds."""
    alike, beside = (likeness.nearest(sounds, train, rate)[0] for sounds in (made, held))
    found = likeness.nearest(likeness.planted(list(train), rate), train, rate)[0]
    limit = likeness.COPY
    table.add(
        "near copies of training files",
        int((alike > limit).sum()),
        "{}",
        f"likeness above {limit}; the most alike: {alike.max():.3f}, median {alike.median():.3f}",
    )
    table.add(
        "the same for planted copies",
        int((found > limit).sum()),
        "{}",
        f"of {len(found)} with gain, shift, polarity and noise: {found.min():.3f} and above",
    )
    table.add(
        "the same for held-out sounds",
        int((beside > limit).sum()),
        "{}",
        f"of {len(beside)}: {beside.max():.3f} at most, median {beside.median():.3f}",
    )


if __name__ == "__main__":
    sys.exit(run(measure, parser(__doc__, 64, "sfx").parse_args(), "sfx_folder"))
