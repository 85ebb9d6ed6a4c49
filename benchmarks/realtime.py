"""Speed of sound generation: the real-time factor of each codec and number of steps, and the memory used.

    python benchmarks/realtime.py [RUN ...] [--steps 8,25,50] [--threads 1,2] [--count 16] [--busy] [--json]

The factor is the elapsed time of sampling a batch and decoding it, divided by the seconds of all its sounds: with 0.1
one second of sound takes a tenth of a second. It depends on the number of sounds in the batch (`--count`). Without RUN:
the untrained networks of the shipped recipes, because weights do not change the time. Each case runs in its own
process: `memory` is its largest memory, including the interpreter and torch (`base`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

NARROW = ["network.width=64", "network.stages=[1,1,2,2,2,2]", "network.attention=[4,5]"]
CASES: dict[str, tuple[str, list[str]]] = {
    "log-mel 8 kHz": ("spoken_digits", []),
    "stft 8 kHz": (
        "spoken_digits",
        ["codec.use=audio/stft", "codec.n_fft=126", "codec.hop=32", "network.width=192", "network.stages=[1,1,1]"],
    ),
    "waveform 8 kHz": ("spoken_digits", ["codec.use=audio/waveform", *NARROW]),
    "log-mel 11 kHz": ("sfx_small", []),
    "log-mel 16 kHz": ("sfx_16k", []),
    "log-mel 44 kHz": ("sfx_44k", []),
}


def opened(name: str, changes: list[str]) -> Any:
    """A shipped recipe with new weights as a pipeline that can be sampled; layers of zeros get random weights."""
    import torch
    from sonolux.core.config.load import load_recipe
    from sonolux.core.pipeline.pipeline import Pipeline
    from sonolux.core.training.build import build_model_components

    recipe = load_recipe(name, [*changes, "sample.output=null"], partial=True)
    spec = replace(recipe.modality.build().spec(), classes=tuple("abcdefghij"))
    parts = build_model_components(recipe, spec)
    rng = torch.Generator().manual_seed(0)
    for weight in parts.model.parameters():
        if not weight.data.any():
            weight.data.normal_(0, 0.01, generator=rng)
    return Pipeline(parts, parts.model, 0, torch.device("cpu"))


def measure(
    source: str, steps: list[int], threads: int, count: int, repeats: int = 3, busy: bool = False
) -> dict[str, Any]:
    """Measurements of one case in this process: the median of `repeats` after a warm-up.

    Args:
        source: Name of a case, run folder or checkpoint.
        steps: Numbers of steps.
        threads: Number of threads.
        count: Number of sounds in a batch.
        repeats: Number of measurements.
        busy: Measure processor time, which equals elapsed time where one thread has a core to itself.
    """
    import torch

    now = time.process_time if busy else time.perf_counter

    torch.set_num_threads(threads)
    base = memory()
    if source in CASES:
        trained = opened(*CASES[source])
    else:
        import sonolux

        trained = sonolux.load(source, device="cpu")
    spec = trained.components.spec
    seconds = count * spec.size[0] / float(spec.rate or 1)
    request = {"use": "dpmpp_2m", "count": count, "batch": count, "calibrated": False, "seconds": None, "output": None}
    trained.sample(**request, steps=1)
    factors, lasts = {}, seconds
    for n in steps:
        times = []
        for _ in range(repeats):
            start = now()
            made = trained.sample(**request, steps=n)
            times.append(now() - start)
            lasts = sum(m.shape[-1] for m in made.media) / float(spec.rate or 1)
        factors[n] = statistics.median(times) / lasts
    weights = sum(p.numel() for p in trained.model.parameters())
    return {
        "case": source,
        "threads": threads,
        "batch seconds": seconds,
        "weights": weights,
        "factors": factors,
        "base": base,
        "memory": memory(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        "busy": busy,
    }


def memory() -> int:
    """The largest resident memory of this process so far, in bytes."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def in_process(source: str, steps: str, threads: int, count: int, repeats: int, busy: bool) -> dict[str, Any]:
    """The same in a new process."""
    command = [sys.executable, __file__, "--one", source, "--steps", steps, "--threads", str(threads)]
    done = subprocess.run(
        [*command, "--count", str(count), "--repeats", str(repeats), *["--busy"] * busy],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode:
        raise SystemExit(f"{source}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def table(rows: list[dict[str, Any]], steps: list[int]) -> str:
    """The rows as Markdown."""
    head = ["", "weights", "threads", *(f"{n} steps" for n in steps), "memory"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        factors = {int(k): v for k, v in row["factors"].items()}
        cells = [row["case"], f"{row['weights'] / 1e6:.1f} M", str(row["threads"])]
        cells += [f"{factors[n]:.3f}" for n in steps] + [f"{row['memory'] / 2**20:.0f} MiB"]
        lines.append("| " + " | ".join(cells) + " |")
    base = max(row["base"] for row in rows) / 2**20
    threads = "/".join(sorted({str(row["threads"]) for row in rows}))
    load = max(row.get("load", 0.0) for row in rows)
    conditions = f"{threads} threads of {os.cpu_count()} processors, load up to {load:.1f} while measuring"
    if any(row.get("busy") for row in rows):
        conditions += "; processor time, not elapsed time"
    about = f"Seconds of computing per second of sound; {base:.0f} MiB are Python and torch; {conditions}."
    return "\n".join([*lines, "", about])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run folders or checkpoints, instead of the recipes")
    parser.add_argument("--steps", default="8,25,50")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--count", type=int, default=16, help="sounds in a batch (default %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="measurements, of which the median counts (default %(default)s)"
    )
    parser.add_argument("--only", default="", help="recipes' cases whose name contains this")
    parser.add_argument(
        "--busy", action="store_true", help="one thread, by its processor time: for a machine with other load"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    steps = [int(n) for n in args.steps.split(",")]
    if args.one:
        print(json.dumps(measure(args.one, steps, int(args.threads), args.count, args.repeats, args.busy)))
        return
    rows = []
    for source in args.runs or [name for name in CASES if args.only in name]:
        for threads in ["1"] if args.busy else args.threads.split(","):
            rows.append(in_process(source, args.steps, int(threads), args.count, args.repeats, args.busy))
            print(table(rows[-1:], steps).splitlines()[2], file=sys.stderr, flush=True)  # progress
    print(json.dumps(rows, indent=1) if args.json else table(rows, steps))


if __name__ == "__main__":
    main()
