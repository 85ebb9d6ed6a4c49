"""Whether evaluation hears that tones were replaced by noise of the same bands, and leaves real sounds alone.

    python benchmarks/hearing.py [synth_sfx] [FOLDER:RATE ...] [--count 100] [--draws 40] [--bands 24]

FOLDER:RATE is a folder of sounds, read at RATE Hz, at most 2 s of each; `synth_sfx` needs no folder. In each draw,
`count` sounds (half of the folder, if it holds fewer than twice as many) are compared with as many others, by MMD x
1000 of two features: `audio/logmel_stats`, which consists of band levels, and `audio/tonality_stats`. A draw counts as
seen where the MMD is above the range of 95 % of 200 draws of real sounds against real ones; as clearly seen where the
lower end of its own 95 % interval is, too.

noise      copies of the sounds with noise in the place of tones (`noise_substitution.py`)
stft, waveform, real  after codecs that keep the phase, and unchanged: 2.5 % of 400 draws are above by chance
log-mel    the sounds after the codec `audio/logmel` with 64 bands, whose phases are estimated
checker    for synth_sfx: families that the checker recognises in tonal sounds, real and after each change
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import exit_code
from sonolux.core.data.files import find_files
from sonolux.core.evaluation.features import standardise_features
from sonolux.core.evaluation.intervals import bootstrap_interval
from sonolux.core.evaluation.metrics.mmd import median_distance, squared_mmd
from sonolux.core.types import BadInput, Item, MediaSpec
from sonolux.modalities.audio import dsp, io
from sonolux.modalities.audio.codecs.logmel import Logmel
from sonolux.modalities.audio.codecs.stft import Stft
from sonolux.modalities.audio.codecs.waveform import Waveform
from sonolux.modalities.audio.datasets.synth_sfx import SynthSfx
from sonolux.modalities.audio.features.logmel_stats import LogmelStats
from sonolux.modalities.audio.features.tonality_stats import TonalityStats
from sonolux.modalities.audio.noise_substitution import replace_tones_by_noise
from sonolux.modalities.audio.synthetic import checkers
from torch import Tensor
from torch.nn import functional

SECONDS, BASELINE, CHANCE, REPEATS = 2.0, 200, 400, 40


def read_folder(folder: str, rate: float, most: int) -> list[Tensor]:
    """At most `most` random sounds (1, frames) of a folder, without silence at both ends and without unusable files."""
    files = find_files(Path(folder), io.SUFFIXES)
    sounds: list[Tensor] = []
    for i in np.random.default_rng(0).permutation(len(files)):
        if len(sounds) == most:
            break
        try:
            wave = io.read_sound(files[i], rate, 1).wave
        except BadInput:
            continue
        start, end = dsp.audible_bounds(wave)
        wave = wave[:, start : min(end, start + round(SECONDS * rate))]
        if wave.shape[-1] >= 0.03 * rate:
            sounds.append(wave)
    if len(sounds) < 32:
        raise BadInput(f"{folder}: {len(sounds)} usable sounds; 32 or more are needed")
    return sounds


def through(codec: Any, sounds: Sequence[Tensor]) -> list[Tensor]:
    """Sounds after a codec, each of its own length."""
    longest = max(sound.shape[-1] for sound in sounds)
    codec.fit([Item(functional.pad(s, (0, longest - s.shape[-1])), s.shape[-1]) for s in sounds])
    with torch.no_grad():
        return [codec.decode(codec.encode(sound[None]), sound.shape[-1])[0] for sound in sounds]


def changed_sounds(sounds: list[Tensor], rate: float, bands: int) -> dict[str, list[Tensor]]:
    """The sounds after each change."""
    longest = max(sound.shape[-1] for sound in sounds)
    spec = MediaSpec("audio", 1, ("time",), (longest,), (rate,))
    n_fft = 2 ** round(np.log2(0.032 * rate))
    return {
        "noise": replace_tones_by_noise(sounds, rate, bands=bands),
        "stft": through(Stft(spec), sounds),
        "waveform": through(Waveform(spec), sounds),
        "real": sounds,
        "log-mel": through(Logmel(spec, n_fft=n_fft, hop=n_fft // 4, mels=64), sounds),
    }


def detection(
    real: np.ndarray, changed: np.ndarray, count: int, draws: int, intervals: bool
) -> tuple[float, float, float, float]:
    """Shares of draws seen and clearly seen, mean MMD x 1000, and the upper end of the range of real sounds.

    Without intervals, which take most of the time, the second one is NaN.
    """
    real, changed = standardise_features(real, real, changed)
    rng, n = np.random.default_rng(0), min(count, len(real) // 2)
    bandwidth = median_distance(real)

    def mmd(a: np.ndarray, b: np.ndarray) -> float:
        return 1000 * squared_mmd(a, b, bandwidth)

    def drawn() -> tuple[np.ndarray, np.ndarray]:
        order = rng.permutation(len(real))
        return order[:n], order[n : 2 * n]

    baseline = [mmd(real[a], real[b]) for a, b in (drawn() for _ in range(BASELINE))]
    limit = float(np.quantile(baseline, 0.975))
    values, lows = [], []
    for _ in range(draws):
        a, b = drawn()
        values.append(mmd(changed[a], real[b]))
        if intervals:
            lows.append(bootstrap_interval(mmd, changed[a], real[b], REPEATS, rng)[0])
    clearly = float(np.mean(np.array(lows) > limit)) if intervals else math.nan
    return float(np.mean(np.array(values) > limit)), clearly, float(np.mean(values)), limit


def measure(name: str, sounds: list[Tensor], rate: float, options: argparse.Namespace) -> None:
    """Print the table of one set of sounds."""
    changed = changed_sounds(sounds, rate, options.bands)
    print(f"{name}: {len(sounds)} sounds at {rate:g} Hz, {min(options.count, len(sounds) // 2)} in a draw")
    print(f"  {'':10}{'feature':24}{'seen':>8}{'clearly':>9}{'MMD x 1000':>12}{'real, up to':>13}")
    for feature in (LogmelStats(), TonalityStats()):
        known = feature(sounds, rate)
        for kind, some in changed.items():
            lossy = kind in ("noise", "log-mel")
            draws = options.draws if lossy else CHANCE
            seen, clearly, value, limit = detection(known, feature(some, rate), options.count, draws, lossy)
            label = f"  {kind:10}{type(feature).__name__:24}"
            share = f"{clearly:.0%}" if lossy else "-"
            print(f"{label}{seen:8.0%}{share:>9}{value:12.1f}{limit:13.1f}", flush=True)


def check_families(count: int, bands: int) -> None:
    """Print the families that the checker of synth_sfx recognises."""
    data = SynthSfx(MediaSpec("audio", 1, ("time",), (8000,), (8000.0,)), seed=1234, count=20 * count)
    items = [data.item(i, None) for i in range(count)]
    sounds = [item.media for item in items]
    rng = torch.Generator().manual_seed(0)
    changed = changed_sounds(sounds, 8000.0, bands)
    changed["hiss"] = [s + dsp.db_to_amplitude(-36) * torch.randn(s.shape, generator=rng) for s in sounds]
    spec = MediaSpec("audio", 1, ("time",), (8000,), (8000.0,))
    changed["40 bands"] = through(Logmel(spec, n_fft=256, hop=64, mels=40), sounds)
    print(f"families recognised by the checker, of {count} new sounds, in %")
    print(f"  {'':10}{'all':>10}" + "".join(f"{family:>11}" for family in data.classes))
    for kind, some in changed.items():
        padded = [functional.pad(s, (0, 8000 - s.shape[-1])) for s in some]
        found = checkers.predict_families(padded, 8000.0)
        right = np.array([a == item.attributes["family"] for a, item in zip(found, items, strict=True)])
        labels = np.array([item.label for item in items])
        shares = [right[labels == k].mean() for k in range(len(data.classes))]
        print(
            f"  {kind:10}{100 * right.mean():10.1f}" + "".join(f"{100 * share:11.0f}" for share in shares), flush=True
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every set of sounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", nargs="*", default=["synth_sfx"], metavar="synth_sfx|FOLDER:RATE")
    parser.add_argument("--count", type=int, default=100, help="sounds in a draw")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--most", type=int, default=400, help="sounds that are read of a folder")
    parser.add_argument("--bands", type=int, default=24, help="of the noise")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)

    def task() -> None:
        for name in options.sounds:
            if name == "synth_sfx":
                data = SynthSfx(MediaSpec("audio", 1, ("time",), (8000,), (8000.0,)), count=20 * options.most)
                measure(name, [data.item(i, None).media for i in range(options.most)], 8000.0, options)
                check_families(min(420, options.most), options.bands)
                continue
            folder, _, rate = name.rpartition(":")
            if not folder or not rate.replace(".", "", 1).isdigit():
                raise BadInput(f"{name}: give a folder and a rate in Hz, such as sounds:11025, or synth_sfx")
            measure(folder, read_folder(folder, float(rate), options.most), float(rate), options)

    return exit_code(task)


if __name__ == "__main__":
    sys.exit(main())
