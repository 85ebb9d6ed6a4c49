"""Draw the figures of docs/how-it-works.md from two trained runs.

python docs/make_figures.py runs/digits runs/spoken-digits
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import sonolux
import torch
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.core.util.plots import plot_curves
from sonolux.core.util.rng import KeyedNoise

HERE = Path(__file__).parent / "images"


def noising(pipeline: Pipeline, name: str) -> None:
    """One sample at increasing noise levels: x = alpha x0 + sigma eps, scaled as the network's input."""
    parts = pipeline.components
    x0 = parts.codec.encode(torch.stack(pipeline.sample(count=1, seed=4).media))
    eps = KeyedNoise(0, [0], parts.spec.latent).normal("figure")
    row = []
    for rho in (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 80.0):
        level = parts.process.schedule.clean() if rho == 0 else parts.process.schedule.level_of_rho(rho)
        at = level.on(x0)
        x = (at.alpha * x0 + at.sigma * eps) / (at.alpha**2 + at.sigma**2) ** 0.5
        row.append(parts.codec.decode(x.float(), parts.spec.size[-1])[0])
    parts.modality.strip(HERE / f"{name}-noising.png", [row])


def trajectory(pipeline: Pipeline, name: str) -> None:
    """The denoising trajectory of two samples: the noisy sample and the estimate of x0 at each step."""
    samples = pipeline.sample(count=2, batch=2, seed=4, steps=18, trajectory=True)
    picked = [*samples.frames[:-1][::2], samples.frames[-1]]
    rows = []
    for i in range(2):
        rows += [[f.noisy[i] for f in picked], [f.x0[i] for f in picked]]
    pipeline.components.modality.strip(HERE / f"{name}-trajectory.png", rows)


def guidance(pipeline: Pipeline, name: str) -> None:
    """The same noise at increasing guidance scales: one row per scale."""
    rows = []
    for scale in (1.0, 1.5, 3.0, 6.0):
        rows.append(pipeline.sample(count=8, batch=8, seed=2, guidance={"use": "cfg", "scale": scale}).media)
    pipeline.components.modality.strip(HERE / f"{name}-guidance.png", rows)


def losses(runs: dict[str, Path]) -> None:
    """The training loss over steps, and by noise level at the end."""
    over, by_level = {}, {}
    for name, run in runs.items():
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if "loss" in row]  # others hold the held-out loss
        over[name] = ([r["step"] for r in rows], [r["loss"] for r in rows])
        last = [r["loss_by_tau"] for r in rows[-10:]]
        bins = [[v[i] for v in last if v[i] is not None] for i in range(len(last[0]))]
        kept = [(i, sum(b) / len(b)) for i, b in enumerate(bins) if b]
        by_level[name] = ([(i + 0.5) / len(bins) for i, _ in kept], [v for _, v in kept])
    plot_curves(HERE / "loss.png", over, "optimiser step", "loss", log="y")
    plot_curves(HERE / "loss-by-level.png", by_level, "tau: 0 is clean, 1 is noise", "loss", log="y")


def main() -> None:
    """Draw every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, help="a trained run of pictures with classes")
    parser.add_argument("audio", type=Path, help="a trained run of sounds with classes")
    args = parser.parse_args()
    HERE.mkdir(parents=True, exist_ok=True)
    for name, run in (("image", args.image), ("audio", args.audio)):
        pipeline = sonolux.load(run, device="cpu")
        noising(pipeline, name)
        trajectory(pipeline, name)
        guidance(pipeline, name)
    losses({"image": args.image, "audio": args.audio})


if __name__ == "__main__":
    main()
