"""DPM-2: the midpoint rule in rho, its midpoint in log rho; k-diffusion's `sample_dpm_2` on every schedule.

The midpoint is that of DPM-Solver-2 (Lu et al. 2022, arXiv:2206.00927, algorithm 1); the step is Euler's in rho, as in
Karras et al. 2022 (arXiv:2206.00364, algorithm 1), with the slope found there.
"""

from __future__ import annotations

from ._coefficients import first_order
from ._stages import on_lambda, regular
from .base import PlanBuilder, Sampler


class DPM2(Sampler):
    """DPM-2: a whole step in rho with the noise eps found at the geometric mean of rho; second order.

    x_t / alpha_t = x_s / alpha_s + (rho_t - rho_s) eps_m, eps_m = (x_m - alpha_m D_m) / sigma_m at Euler's point at
    rho_m = sqrt(rho_s rho_t). Two evaluations a step, and one where there is no such mean and Euler's step stands: from
    alpha_s = 0 and to sigma_t = 0.
    """

    order = 2

    def draft(self, draft: PlanBuilder) -> None:
        x = draft.start()
        for s, t in draft.pairs():
            D, inside = draft.denoise(x), regular(s, t)
            euler = first_order(draft, x, D, s, t, t.sigma)
            if not bool(inside.any()):
                x = draft.step(euler, t)
                continue
            eps, m = (x - s.alpha * D) / s.sigma, on_lambda(draft.schedule, s, t, 0.5, else_on_tau=0.5)
            x_m = draft.point(first_order(draft, x, D, s, m, m.sigma), m)
            eps_m = (x_m - m.alpha * draft.denoise(x_m)) / m.sigma
            x = draft.step(euler + (t.alpha * (t.rho - s.rho) * (eps_m - eps)).where(inside), t)
