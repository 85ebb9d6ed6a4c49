"""Measure samplers and likelihoods: orders, invariants, error against evaluations, bits per dimension."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..util.limits import MOST_SAMPLES, MOST_STEPS
from ..util.messages import escape_control_characters, print_json, print_lines
from ._completion import complete_run
from ._paths import PathArgument

if TYPE_CHECKING:
    from ..evaluation.likelihood import LikelihoodResult
    from ..testing.budget import ErrorAtNFE
    from ..testing.report import SamplerReport, ScheduleMeasurements, StochasticResult

SCHEDULES = ("vp_linear", "edm", "rectified_flow", "{use: discrete, zero_terminal: true}")
COMPARED = {False: ("euler", "heun", "dpmpp_2m"), True: ("euler_ancestral", "dpmpp_2m_sde")}


@click.group("lab")
def command() -> None:
    """Measurements on problems with known solutions, and of trained models."""


@command.command("sampler")
@click.argument("name")
@click.option(
    "--schedule", "schedules", multiple=True, help="Noise schedule; can be repeated. Default: four schedules."
)
@click.option("--nfe", default="5,8,10,20", show_default=True, help="Numbers of evaluations of the denoiser.")
@click.option("--against", help="Samplers to compare with, separated by commas; default: common ones.")
@click.option(
    "--timesteps",
    "--spacing",  # the option's name in the first edition
    "timesteps",
    help="The timestep spacing of the samplers; default: evenly in tau = sigma / (alpha + sigma).",
)
@click.option("--problem", default="mixture", show_default=True, help="Problem on which the errors are measured.")
@click.option("--plot", type=PathArgument(), help="Write a plot of error against evaluations to this PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sampler(
    name: str,
    schedules: tuple[str, ...],
    nfe: str,
    against: str | None,
    timesteps: str | None,
    problem: str,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure the order, invariants and errors of a sampler.

    NAME is a registered name, pkg.module:Class or ./file.py:Class. Wherever a component is named,
    {use: NAME, parameter: value} sets its parameters.

    \b
    sonolux lab sampler dpmpp_2m --plot out.png
    sonolux lab sampler ./mine.py:Mine --schedule edm --against dpmpp_2m,heun --nfe 5,10
    sonolux lab sampler "{use: ddim, eta: 0.5}" --json
    """
    from ..testing.problems import example_problems
    from ..testing.report import measure_sampler

    known = example_problems()
    if problem not in known:
        from ..util.messages import did_you_mean, raise_bad_input

        raise_bad_input(
            f"there is no problem {problem!r}{did_you_mean(problem, known)}; the problems are: {', '.join(known)}"
        )
    measured = _component("sampler", name)
    title = _title(name)
    names = _items(against) if against is not None else [n for n in COMPARED[measured.stochastic] if n != title]
    others = {_title(n): _component("sampler", n) for n in names}
    others.pop(title, None)
    if not measured.stochastic and any(s.stochastic for s in others.values()):
        wrong = next(n for n, s in others.items() if s.stochastic)
        raise click.UsageError(f"--against: {wrong} is stochastic, so it has no error against the exact solution")
    report = measure_sampler(
        title,
        measured,
        {_title(s): _component("schedule", s) for s in schedules or SCHEDULES},
        others,
        known[problem],
        _numbers(nfe),
        **({} if timesteps is None else {"levels": _component("timesteps", timesteps).levels}),
    )
    if plot is not None:
        _draw(plot, report)
    where = "evenly in tau" if timesteps is None else _title(timesteps)
    if as_json:
        print_json(report.to_dict())
    else:
        print_lines(*_lines(report, problem, where))


@command.command("likelihood")
@click.argument("run", type=PathArgument(), metavar="RUN|CHECKPOINT", shell_complete=complete_run)
@click.argument("changes", nargs=-1, metavar="[data.KEY=VALUE]...")
@click.option("--split", type=click.Choice(["valid", "train"]), default="valid", show_default=True)
@click.option(
    "--count",
    type=click.IntRange(1, MOST_SAMPLES),
    default=8,
    show_default=True,
    help="Number of examples, from the start of the split.",
)
@click.option(
    "--probes",
    type=click.IntRange(1, 10_000),
    default=4,
    show_default=True,
    help="Random sign vectors per example, for the divergence.",
)
@click.option(
    "--steps",
    type=click.IntRange(1, MOST_STEPS),
    default=24,
    show_default=True,
    help="Steps of the ODE solver, six evaluations each.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the probes.")
@click.option("--data", help="Folder of the data, if it was moved: data.root.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--allow-code", is_flag=True, help="Run code that the checkpoint's recipe names.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def likelihood(
    run: Path,
    changes: tuple[str, ...],
    split: Literal["valid", "train"],
    count: int,
    probes: int,
    steps: int,
    seed: int,
    data: str | None,
    device: str,
    allow_code: bool,
    as_json: bool,
) -> None:
    """Measure bits per dimension of data under a trained model.

    They are computed by the probability-flow ODE. In media space a unit is that of media in [-1, 1]: bytes would add
    log2(127.5) = 6.99 bits, 16-bit samples 15.

    \b
    sonolux lab likelihood runs/digits --count 16 --probes 8
    """
    from ..evaluation.likelihood import likelihood_of_items
    from ..pipeline.load import load
    from ..training.build import build_dataset
    from ..training.checkpoint import newest_checkpoint
    from ..training.data_changes import hashes_trained_on

    pipeline = load(run, device, allow_code=allow_code)
    recipe = pipeline.recipe.with_overrides([*changes, *([] if data is None else [("data.root", data)])], "data")
    recipe.refuse_unconfirmed("data")
    recorded = hashes_trained_on(newest_checkpoint(run))
    examples, _ = build_dataset(recipe, split, recorded)
    items = [examples.item(i, None) for i in range(min(count, len(examples)))]
    latent, media = likelihood_of_items(pipeline, items, probes=probes, steps=steps, seed=seed)
    facts = {
        "run": str(run),
        "split": split,
        "step": pipeline.step,
        "noise": float(latent.level.rho),
        "nfe": latent.nfe,
    }
    for name, found in (("diffused", latent), ("media", media)):
        facts[name] = None if found is None else _bits(found)
    if as_json:
        print_json(facts)
        return
    print_lines(
        f"{len(items)} examples ({split}), noise of deviation {facts['noise']:.3g} added, {latent.nfe} evaluations"
    )
    for name, f in (("diffused", facts["diffused"]), ("media", facts["media"])):
        shown = "not available: the codec is not invertible, or examples are padded" if f is None else _shown_bits(f)
        print_lines(f"{name + ' space':16}{shown}")


def _bits(found: LikelihoodResult) -> dict[str, Any]:
    bits = found.bits_per_dimension
    return {
        "bits_per_dimension": found.mean_bits_per_dimension,
        "probes_standard_error": found.standard_error,
        "examples_standard_error": float(bits.std() / len(bits) ** 0.5) if len(bits) > 1 else None,
        "step_error": float((found.step_error / found.dimensions / math.log(2)).mean()),
        "dimensions": found.dimensions.tolist(),
        "each": bits.tolist(),
    }


def _shown_bits(f: dict[str, Any]) -> str:
    spread = "" if f["examples_standard_error"] is None else f", examples +-{f['examples_standard_error']:.3f}"
    return (
        f"{f['bits_per_dimension']:.4f} bits per dimension (standard errors: probes +-{f['probes_standard_error']:.4f}"
        f"{spread}; steps about {f['step_error']:.0e})"
    )


def _component(kind: str, text: str) -> Any:
    """The component named by a name or a YAML mapping with `use:`; BadInput with the nearest name if there is none."""
    from ..config.load import load_component_spec

    return load_component_spec(kind, text).build()


def _title(text: str) -> str:
    """The name of a component in tables and legends: `ddim eta=0.5` for `{use: ddim, eta: 0.5}`."""
    inside = text.strip().removeprefix("{").removesuffix("}").replace("use:", "").replace(": ", "=")
    return escape_control_characters(" ".join(inside.replace(",", " ").split()))


def _items(text: str) -> list[str]:
    """Split at commas outside braces."""
    items, depth = [""], 0
    for c in text:
        depth += (c == "{") - (c == "}")
        if c == "," and depth == 0:
            items.append("")
        else:
            items[-1] += c
    return [item.strip() for item in items if item.strip()]


def _numbers(text: str) -> list[int]:
    try:
        found = sorted({int(n) for n in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise click.BadParameter(
            f"{text!r} is not a list of whole numbers from 1, such as 5,8,10,20", param_hint="--nfe"
        )
    return found


# --- text ------------------------------------------------------------------------------------------------------------


def _lines(report: SamplerReport, problem: str, where: str) -> list[str]:
    kind = "stochastic" if report.stochastic else "deterministic"
    stated = "" if report.order is None else f", order {report.order} stated"
    marginal = "" if report.keeps_marginal else ", does not keep the marginal by design"
    lines = [f"{report.name}: {kind}{stated}{marginal}", ""]
    lines += _weak(report) if report.order is None else _orders(report)
    for title, m in report.measured.items():
        if m.refused:
            lines += ["", f"{title}: refused: {m.refused}"]
    for title, rows in report.costs.items():
        lines += ["", f"{title}: RMS error of x0 against the exact solution ({problem}, levels {where})"]
        lines += _table({n: {c.asked: _cell(f"{c.error:.2e}", c) for c in row} for n, row in rows.items()})
    for title, rows in report.drawn.items():
        first = next((d.error for row in rows.values() for d in row), None)
        count = first.count if first else 0
        lines += ["", f"{title}: errors of {count} samples ({problem}, levels {where}): mean, covariance, two-sample p"]
        cells = {
            n: {
                d.asked: _cell(f"{d.error.made.mean:.3f} {d.error.made.covariance:.3f} {d.error.p:.3f}", d) for d in row
            }
            for n, row in rows.items()
        }
        if first:
            chance = f"{first.chance.mean:.3f} {first.chance.covariance:.3f} {'':{6 + _USED}}"
            cells["exact samples"] = dict.fromkeys(next(iter(cells.values())), chance)
        lines += _table(cells)
    return lines


def _orders(report: SamplerReport) -> list[str]:
    rows: list[tuple[str, ...]] = [("order measured", "interior", "own start", "whole", *_COMMON)]
    for title, m in report.measured.items():
        if m.interior and m.own_start and m.whole:
            slopes = [f"{o.slope:.2f}" for o in (m.interior, m.own_start, m.whole)]
            rows.append((title, *slopes, *_common(m)))
    return _aligned(rows)


def _weak(report: SamplerReport) -> list[str]:
    rows: list[tuple[str, ...]] = [("weak order", "measured", "last error", *_COMMON)]
    for title, m in report.measured.items():
        if m.weak:
            rows.append((title, f"{m.weak.slope:.2f}", f"{m.weak.errors[-1]:.1e}", *_common(m)))
    return _aligned(rows)


_COMMON = ("data error", "noise error", "evaluations per step")


def _common(m: ScheduleMeasurements) -> tuple[str, str, str]:
    return f"{m.data:.0e}", f"{m.noise:.0e}", f"{m.nfe:.2f}"


_USED = 5  # width of "(100)"


def _cell(text: str, result: ErrorAtNFE | StochasticResult) -> str:
    """A cell: its text, and the evaluations that were used where whole steps take fewer than the head allows."""
    return f"{text} {f'({result.nfe})' if result.nfe < result.asked else '':{_USED}}"


def _table(rows: dict[str, dict[int, str]]) -> list[str]:
    """A column for each number of evaluations that was allowed."""
    asked = sorted({n for row in rows.values() for n in row})
    head = ("evaluations, at most (used, if fewer)", *(f"{n} {'':{_USED}}" for n in asked))
    lines = _aligned([head, *((name, *(row.get(n, f"- {'':{_USED}}") for n in asked)) for name, row in rows.items())])
    return [line.rstrip() for line in lines]


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines: the first column left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=False))])
        for row in rows
    ]


def _draw(path: Path, report: SamplerReport) -> None:
    from ..util.plots import plot_curve_panels

    if report.drawn:
        shown = {
            title: {n: ([d.nfe for d in row], [d.error.made.covariance for d in row]) for n, row in rows.items()}
            for title, rows in report.drawn.items()
        }
        plot_curve_panels(path, shown, "evaluations used", "relative error of the covariance", "xy")
        return
    costs = {
        title: {n: ([c.nfe for c in row], [c.error for c in row]) for n, row in rows.items()}
        for title, rows in report.costs.items()
    }
    plot_curve_panels(path, costs, "evaluations used", "RMS error of x0", "xy")
