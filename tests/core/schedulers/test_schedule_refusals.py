"""Values and tables that make no schedule are refused, with the reason."""

import math

import pytest
import torch
from sonolux.core.schedulers.cosine import Cosine
from sonolux.core.schedulers.custom import Custom
from sonolux.core.schedulers.discrete import Discrete
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.schedulers.table import Table
from sonolux.core.schedulers.trig_flow import TrigFlow
from sonolux.core.schedulers.ve import VE
from sonolux.core.schedulers.vp_linear import VPLinear
from sonolux.core.types import BadInput, MediaSpec


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Discrete("quadratic"), "linear, scaled_linear, sigmoid, cosine, exponential, laplace"),  # type: ignore
        (lambda: Discrete(steps=2, zero_terminal=True), "3 to 1000000 steps, not 2"),
        (lambda: Discrete("laplace", beta_min=0.5), "leave out"),
        (lambda: Discrete(steps=1), "2 to 1000000 steps, not 1"),
        (lambda: Discrete("cosine", beta_max=0.5), "leave out"),
        (lambda: Discrete(beta_min=0.5, beta_max=0.1), "beta_min"),
        (lambda: VPLinear(beta_min=-1), "beta_min"),
        (lambda: VPLinear(t_min=2), "t_min"),
        (lambda: Cosine(t_min=0), "t_min"),
        (lambda: Cosine(shift=-1), "shift"),
        (lambda: TrigFlow(t_min=2), "pi / 2"),
        (lambda: VE(sigma_min=0), "sigma_min"),
        (lambda: EDM(sigma_min=90), "sigma_min"),
        (lambda: RectifiedFlow(shift=0), "shift"),
        (lambda: RectifiedFlow(t_min=0), "t_min"),
        (lambda: RectifiedFlow(shift="long"), "or auto"),  # type: ignore
        (lambda: RectifiedFlow(lengths=(9.0, 3.0)), "two rising"),
        (
            lambda: RectifiedFlow("auto", spec=MediaSpec("audio", 1, ("time",), (9,), latent=(1, 10**5))),
            "exp\\(17.*as a number",
        ),
        (lambda: Custom(torch.cos), "both functions"),
        (lambda: Custom(t_min=2.0), "t_min < t_max"),
        (lambda: Custom(lambda t: t + 1, lambda t: t.float()), "sigma acts elementwise on float64"),
        (lambda: Custom(torch.log, torch.exp), "alpha is not finite, or negative"),
        (lambda: Custom(torch.ones_like, lambda t: (t - 0.5) ** 2), "does not rise with t at t = 0.001"),
        (lambda: Table((0.0, 1.0), (1.0,), (0.0, 1.0)), "lists of one length"),
        (lambda: Table((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)), "row 1 .* is not later"),
        (lambda: Table((0.0, 1.0, 2.0), (1.0, 0.5, 0.6), (0.0, 0.5, 0.6)), "row 2 .* is not noisier"),
        (lambda: Table((0.0, 1.0, 2.0), (1.0, 0.5, 0.6), (0.0, 0.5, math.nan)), "row 2 .* finite"),
        (lambda: Table((0.0, 1.0), (0.5, 0.0), (0.0, 1.0)), "where alpha is 1"),
        (lambda: Table(t_min=3.0), "between 0 and 1"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()
