"""What a training costs before it is started: parameters, FLOPs, memory and time, and what fits on 1, 8 and 64 GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ._completion import complete_change, complete_recipe

if TYPE_CHECKING:
    from ..config.recipe import Recipe
    from ..training.costs import StepCosts


@click.command("plan")
@click.argument("recipe", shell_complete=complete_recipe)
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_change)
@click.option("--memory", type=click.FloatRange(0.1, 10_000), default=80.0, show_default=True, help="GB of each GPU.")
@click.option("--steps", type=click.IntRange(1, 1000), default=3, show_default=True, help="Real steps to time.")
@click.option("--allow-code", is_flag=True, help="Run code that a recipe which RECIPE extends names.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(recipe: str, changes: tuple[str, ...], memory: float, steps: int, allow_code: bool, as_json: bool) -> None:
    """Measure what a training step of RECIPE costs on this machine, with a few real steps; nothing is written.

    \b
    sonolux plan shapes
    sonolux plan digits data.root=path/to/digits network.width=256 --memory 24
    sonolux plan digits data.root=path/to/digits train.shard=full
    """
    from ..config.load import load_recipe
    from ..training.costs import DEVICES, measure_step_costs
    from ..util.messages import print_json, print_lines
    from . import _output

    _output.ignore_closed_output()
    loaded = load_recipe(recipe, list(changes), allow_code=allow_code)
    costs = measure_step_costs(loaded, steps)
    fits = [costs.fit(memory * 1e9, devices) for devices in DEVICES]
    if as_json:
        print_json({"recipe": loaded.name, **costs.to_dict(), "memory_gb": memory, "fit": fits})
    else:
        print_lines(*_cost_lines(loaded, costs), *_fit_lines(costs, fits, memory))


def _cost_lines(recipe: Recipe, costs: StepCosts) -> list[str]:
    train, mega = recipe.train, 2**20
    whole = None if train.steps is None else train.steps * costs.measured_s
    reached = None if train.minutes is None else int(60 * train.minutes / costs.measured_s)
    codec = f", and {costs.codec_parameters / 1e6:.2f} M of the codec" if costs.codec_parameters else ""
    length = "" if whole is None else f"; {train.steps} steps take about {whole / 60:.1f} minutes"
    length += "" if reached is None else f"; {train.minutes:g} minutes are about {reached} steps"
    return [
        f"{recipe.name}: {costs.parameters / 1e6:.2f} M weights{codec}; batches of {costs.batch}",
        f"FLOPs     {costs.flops_step / 1e9:.4g} G in a step: {costs.flops_row / 1e9:.4g} G for each example, forward "
        f"and backward, and {costs.flops_optimizer / 1e9:.4g} G for the optimizer",
        f"time      {costs.measured_s:.4g} s a step, measured here{length}",
        f"          {costs.flops_step / costs.measured_s / 1e9:.4g} GFLOP/s, {costs.matmul_share:.0%} of what a "
        f"product of large matrices reaches here ({costs.matmul_rate / 1e9:.4g} GFLOP/s)",
        f"memory    {costs.memory / mega:.0f} MiB: weights {costs.weights / mega:.0f}, gradients "
        f"{costs.gradients / mega:.0f}, average {costs.average / mega:.0f}, optimizer {costs.optimizer / mega:.0f}, "
        f"activations {costs.activations / mega:.0f} ({costs.activations_row / mega:.3g} for each example)",
        f"files     {costs.checkpoint / mega:.1f} MiB for each checkpoint",
    ]


def _fit_lines(costs: StepCosts, fits: list[dict[str, Any]], memory: float) -> list[str]:
    out = []
    for one in fits:
        devices, state = one["devices"], costs.state_of(one["devices"]) / 1e9
        if not one["fits"]:
            text = f"do not hold one example: {state:.3g} GB of each GPU are weights and their state"
        else:
            parts = "" if one["accumulate"] == 1 else f", in {one['accumulate']} parts (train.accumulate)"
            text = (
                f"the batch of {costs.batch} takes {one['memory_used'] / 1e9:.3g} GB of each GPU{parts}; without parts "
                f"up to {one['largest_batch']}"
            )
        out.append(f"{devices:3d} x {memory:g} GB  {text}")
    return [*out, f"          {_DIVISIONS[costs.shard]}"]


_DIVISIONS = {
    "none": "data parallelism: each GPU holds all weights, and computes its share of the examples",
    "full": "train.shard=full: each GPU holds a part of the weights and their state, and computes its share of the "
    "examples; what it gathers is estimated",
    "hybrid": "train.shard=hybrid: the 8 GPUs of a machine hold one copy of the weights and their state; what they "
    "gather is estimated",
}
