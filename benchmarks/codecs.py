"""What codecs lose: held-out real sounds against the same sounds after encoding and decoding.

    python benchmarks/codecs.py DATA [--recipe audio/spoken_digits] [--codec mels=64,power=2 ...] [--most 590]

DATA is a folder of sounds. Each --codec is a list of changes to the recipe's codec; without one, the recipe's own.

numbers/s  numbers that the network denoises for one second of sound
MMD        x 1000, of log-mel statistics: decoded held-out sounds to the training sounds, or, of fewer than 100 held-out
           sounds, decoded halves of all sounds to the other halves; `(real)`: the same for sounds that are not decoded
STFT       mean absolute difference of magnitudes in dB over windows of 128 to 1024 samples, limited to 60 dB below
           the maximum of the sound
HNR        harmonic-to-noise ratio in dB, mean over sounds, decoded minus real: below 0 tones have become noise
flatness   spectral flatness in dB, likewise: above 0 tones have become noise
rtf        seconds of processor time on one thread for one second of sound, encoding and decoding, without sampling
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from _bench import exit_code
from sonolux.core.config.load import load_recipe
from sonolux.core.config.recipe import Recipe
from sonolux.core.evaluation.examples import ENOUGH, load_real_data
from sonolux.core.evaluation.features import standardise_features
from sonolux.core.evaluation.metrics.mmd import squared_mmd
from sonolux.core.training.build import build_dataset, fit_codec
from sonolux.modalities.audio import dsp
from sonolux.modalities.audio.features.logmel_stats import LogmelStats
from sonolux.modalities.audio.tonality import measure_tonality
from torch import Tensor

WINDOWS = (128, 256, 512, 1024)


def stft_error(decoded: Tensor, real: Tensor) -> float:
    """Mean |difference| in dB of two sounds (1, frames)."""
    errors = []
    for n_fft in WINDOWS:
        levels = []
        for sound in (decoded, real):
            padded = torch.nn.functional.pad(sound, (0, -sound.shape[-1] % (n_fft // 4)))
            levels.append(dsp.stft(padded, n_fft, n_fft // 4).abs())
        floor = max(float(levels[1].max()) * 1e-3, dsp.SILENCE)
        a, b = (20 * torch.log10(level.clamp(min=floor)) for level in levels)
        errors.append(float((a - b).abs().mean()))
    return float(np.mean(errors))


def distances(train: list[Tensor], real: list[Tensor], decoded: list[Tensor], rate: float) -> tuple[float, float]:
    """MMD x 1000 of real and of decoded sounds to other real ones: to `train`, or else to the other half of `real`."""
    feature = LogmelStats()
    raw = [feature(part, rate) for part in (train or real, real, decoded)]
    reference, *sets = standardise_features(raw[0], *raw)
    if train:
        real_mmd, decoded_mmd = (squared_mmd(rows, reference) for rows in sets)
        return 1000 * real_mmd, 1000 * decoded_mmd
    found = []
    for seed in range(10):
        one, other = np.array_split(np.random.default_rng(seed).permutation(len(real)), 2)
        found.append([squared_mmd(rows[one], sets[0][other]) for rows in sets])
    real_mmd, decoded_mmd = 1000 * np.mean(found, axis=0)
    return float(real_mmd), float(decoded_mmd)


def measure(recipe: Recipe, most: int) -> dict[str, float]:
    """The figures of one codec."""
    data, spec = build_dataset(recipe, "train")
    assert recipe.codec is not None
    codec = recipe.codec.build(spec=spec)
    fit_codec(codec, data)
    found, rate = load_real_data(recipe, most), float(spec.rate or 0)
    held_out = [] if found.held_out is None else [found.held_out]
    enough = sum(map(len, held_out)) >= ENOUGH
    sets = held_out if enough else [found.train, *held_out]
    real, decoded, spent, total = [], [], 0.0, 0.0
    with torch.inference_mode():
        for part in sets:
            for media, length in zip(part.media, part.lengths or [None] * len(part), strict=True):
                began = time.thread_time()
                z = codec.encode(media[None])
                back = codec.decode(z, media.shape[-1])[0]
                spent, total = spent + time.thread_time() - began, total + media.shape[-1] / rate
                real.append(media[:, :length])
                decoded.append(back[:, :length])
    train = list(found.train.media) if enough else []
    pairs = list(zip(decoded, real, strict=True))
    tones = [(measure_tonality(a, rate), measure_tonality(b, rate)) for a, b in pairs]
    mmd = distances(train, real, decoded, rate)
    return {
        "real": mmd[0],
        "mmd": mmd[1],
        "stft": float(np.mean([stft_error(a, b) for a, b in pairs])),
        "hnr": float(np.nanmean([a.harmonic_to_noise - b.harmonic_to_noise for a, b in tones])),
        "flatness": float(np.nanmean([a.flatness - b.flatness for a, b in tones])),
        "rtf": spent / total,
        "numbers": math.prod(codec.shape(spec.size)) / (spec.size[0] / rate),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each codec."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of sounds")
    parser.add_argument("--recipe", default="audio/spoken_digits")
    parser.add_argument("--set", nargs="*", default=[], help="changes of the recipe, such as data.label=none")
    parser.add_argument("--codec", nargs="*", default=[""], help="changes such as mels=64,power=2")
    parser.add_argument("--most", type=int, default=590, help="held-out sounds")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"{options.recipe} on {options.data}")
    print(
        f"  {'codec':48}{'numbers/s':>10}{'MMD':>8}{'(real)':>8}{'STFT dB':>9}{'HNR dB':>8}{'flatness':>10}{'rtf':>8}"
    )

    def task() -> None:
        for changes in options.codec:
            keys = [f"codec.{change}" for change in changes.split(",") if change]
            f = measure(load_recipe(options.recipe, [f"data.root={options.data}", *options.set, *keys]), options.most)
            print(
                f"  {changes or 'as in the recipe':48}{f['numbers']:10.0f}{f['mmd']:8.2f}{f['real']:8.2f}"
                f"{f['stft']:9.2f}{f['hnr']:+8.2f}{f['flatness']:+10.2f}{f['rtf']:8.3f}",
                flush=True,
            )

    return exit_code(task)


if __name__ == "__main__":
    sys.exit(main())
