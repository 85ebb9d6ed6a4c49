"""Heun's method as an exponential integrator in lambda, on estimates of x0.

The corrected step of order two of Hochbruck and Ostermann 2005 (SIAM J. Numer. Anal. 43, c_2 = 1) in the exact solution
of Lu et al. 2022 (arXiv:2211.01095, eq. 8); it is the step that RES (Zhang et al. 2023, arXiv:2308.02157) makes alone.
"""

from __future__ import annotations

from .base import Draft, Sampler
from .coefficients import first_order, log_step
from .exponential import higher, psi
from .stages import regular


class HeunExp(Sampler):
    """Heun's method in lambda: the line through the estimates at both ends of a step, integrated exactly.

    x_t = (sigma_t / sigma_s) x_s + alpha_t [(psi_0 - psi_1) D_s + psi_1 D_t], D_t from the first-order point at t;
    psi_0 = 1 - e^-h, psi_1 = 1 - psi_0 / h, h = lambda_t - lambda_s. Two evaluations a step, and one where h is
    infinite and the first-order point stands: from alpha_s = 0 and to sigma_t = 0.
    """

    order = 2

    def draft(self, draft: Draft) -> None:
        x = draft.start()
        for s, t in draft.pairs():
            D = draft.denoise(x)
            first = first_order(draft, x, D, s, t, t.sigma)
            if not bool(regular(s, t).any()):
                x = draft.step(first, t)
                continue
            D_t = draft.denoise(draft.point(first, t))
            x = draft.step(first + higher(s, t, [(s, D), (t, D_t)], psi(log_step(s, t), 2)), t)
