"""Generate docs/samplers.md and its plot from the code: every sampler with its paper, order, cost and measured error.

python docs/make_samplers.py
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from sonolux.core.config import registry
from sonolux.core.samplers.base import Sampler
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.testing.budget import error_against_nfe, plan_within_nfe
from sonolux.core.testing.distribution import measure_distribution, measure_weak_order
from sonolux.core.testing.orders import even_tau_levels, interior_order, own_start_order, whole_range_order
from sonolux.core.testing.problems import example_problems
from sonolux.core.util.plots import plot_curve_panels

HERE = Path(__file__).parent
SCHEDULES = {"vp_linear": VPLinear(), "edm": EDM(), "rectified_flow": RectifiedFlow()}
BUDGETS = (5, 8, 10, 20)
AUTHORS = r"[A-Z][\w-]+(?: et al\.| and [A-Z][\w-]+)?"  # before a year
DRAWN = ("euler", "dpmpp_2m", "dpmpp_3m", "unipc", "deis", "heun", "heun_exp", "rk4")  # in the plot

HEAD = """# Samplers

Generated from the code by `python docs/make_samplers.py`, which measures every number. A sampler turns a noise
schedule and a list of noise levels into a plan, so every method runs on every schedule (VP, EDM, flow, zero terminal
SNR) and on per-element noise levels.

**Which one to use.** `unipc`, `dpmpp_2m` or `ipndm` for 8 to 20 evaluations; `midpoint` with timesteps that are
uniform in tau; `ddpm` or `dpmpp_2m_sde` with 20 steps or more for small networks, whose errors the added noise
corrects; `lcm` and `tcd` for distilled networks; `dpm_adaptive` for a given error tolerance at any cost; `rk4` as a
reference. For 5 to 10 evaluations of one trained model the calibrated plans of `sonolux calibrate RUN` have lower
errors than all of these.

**Parameters called order.** A parameter `order` is the measured order of convergence (`exp_ab`, `exp_abm`, `deis`,
`lms`). A parameter that counts something else has another name: `predictor_order` (`unipc`, `sa_solver`) counts the
estimates of the predictor, and the corrector adds an order; `estimates` (`ipndm`) counts the estimates that a step
combines, which is the order for equal steps only. The column "stated order" is the order that a method states with
its defaults; the tests check it.

`sonolux lab sampler NAME --plot out.png` measures one of them, or your own.
"""


def samplers() -> dict[str, Sampler]:
    """Every registered sampler with its defaults."""
    return {name: registry.find_class("sampler", name)() for name in registry.builtin_files("sampler")}


def paper(sampler: Sampler) -> str:
    """The first paper that the module docstring names, as a link; a dash where there is none."""
    text = inspect.getdoc(sys.modules[type(sampler).__module__]) or ""
    found = re.search(rf"({AUTHORS} \d{{4}}),?[^()]{{0,60}}?arXiv:(\d{{4}}\.\d{{5}})", " ".join(text.split()))
    return "-" if found is None else f"[{found[1]}](https://arxiv.org/abs/{found[2]})"


def about(sampler: Sampler) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(type(sampler)) or "").split("\n")[0].removesuffix(".").replace("|", "\\|")


def nfe_a_step(sampler: Sampler) -> str:
    """Evaluations per step between interior levels; an adaptive sampler chooses its steps."""
    if sampler.adaptive:
        return "chosen"
    schedule = EDM()
    few, many = (sampler.plan(schedule, even_tau_levels(schedule, n)).nfe for n in (16, 32))
    return f"{(many - few) / 16:g}"


def deterministic(found: dict[str, Sampler]) -> list[str]:
    """The table of deterministic methods."""
    lines = [
        "## Deterministic",
        "",
        "Orders of convergence: stated; measured on a fixed interval of lambda with exact history (lowest and highest",
        "value over VP, EDM and flow); with the method's own first steps; on the whole interval, from the noisiest",
        "level to sigma = 0. Error: root mean square error of x0 against the exact solution on a Gaussian mixture,",
        "flow schedule, 256 samples, timesteps uniform in tau.",
        "",
        "| sampler | method | paper | stated order | measured | own first steps | whole interval | NFE per step | "
        + " | ".join(f"error at {n}" for n in BUDGETS)
        + " |",
        "|---" * (8 + len(BUDGETS)) + "|",
    ]
    problem = example_problems()["mixture"]
    for name, sampler in found.items():
        costs = {c.asked: c.error for c in error_against_nfe(sampler, SCHEDULES["rectified_flow"], BUDGETS, problem)}
        errors = [f"{costs[n]:.1e}" if n in costs else "-" for n in BUDGETS]
        if sampler.adaptive:
            (asked, error) = next(iter(costs.items()))
            errors = [f"{error:.1e} at {asked} NFE"] + ["-"] * (len(BUDGETS) - 1)
        slopes = ["-"] * 3
        if not sampler.adaptive:
            for k, measure in enumerate((interior_order, own_start_order, whole_range_order)):
                values = [measure(sampler, schedule).slope for schedule in SCHEDULES.values()]
                slopes[k] = f"{min(values):.2f} to {max(values):.2f}"
        order = "-" if sampler.order is None else str(sampler.order)
        lines.append(
            f"| `{name}` | {about(sampler)} | {paper(sampler)} | {order} | {' | '.join(slopes)} | "
            f"{nfe_a_step(sampler)} | {' | '.join(errors)} |"
        )
        print(lines[-1], flush=True)
    return lines


def stochastic(found: dict[str, Sampler]) -> list[str]:
    """The table of stochastic methods."""
    lines = [
        "## Stochastic",
        "",
        "Weak order: order of convergence of the result's variance on Gaussian data (measured, flow schedule).",
        "Covariance error: relative error of the covariance on a Gaussian mixture, 20 evaluations, flow schedule, 1000",
        "samples; next to it the error of 1000 exact samples. p: two-sample test against exact samples.",
        "",
        "| sampler | method | paper | weak order | NFE per step | covariance error | of exact samples | p |",
        "|---" * 8 + "|",
    ]
    problem, schedule = example_problems()["mixture"], SCHEDULES["rectified_flow"]
    for name, sampler in found.items():
        within_budget = plan_within_nfe(sampler, schedule, 20)
        if within_budget is None:
            continue
        error = measure_distribution(sampler, schedule, even_tau_levels(schedule, within_budget[0]), problem)
        lines.append(
            f"| `{name}` | {about(sampler)} | {paper(sampler)} | {measure_weak_order(sampler, schedule).slope:.2f} | "
            f"{nfe_a_step(sampler)} | {error.made.covariance:.3f} | {error.chance.covariance:.3f} | {error.p:.2f} |"
        )
        print(lines[-1], flush=True)
    return lines


def plot(found: dict[str, Sampler]) -> None:
    """Error against evaluations on three schedules."""
    problem, shown = example_problems()["mixture"], {}
    for title, schedule in SCHEDULES.items():
        shown[title] = {}
        for name in DRAWN:
            costs = error_against_nfe(found[name], schedule, (4, 5, 8, 10, 14, 20, 32, 50), problem)
            shown[title][name] = ([c.nfe for c in costs], [c.error for c in costs])
    plot_curve_panels(
        HERE / "images" / "samplers.png", shown, "evaluations of the network", "RMS error of x0", "xy", emphasis=False
    )


def main() -> None:
    """Write docs/samplers.md and docs/images/samplers.png."""
    found = samplers()
    kinds = [{n: s for n, s in found.items() if s.stochastic is wanted} for wanted in (False, True)]
    plot(found)
    text = [
        HEAD,
        "![error against evaluations](images/samplers.png)",
        "",
        *deterministic(kinds[0]),
        "",
        *stochastic(kinds[1]),
    ]
    (HERE / "samplers.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
