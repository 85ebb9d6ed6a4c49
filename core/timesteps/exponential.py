"""Exponential: levels evenly spaced in log rho, the name under which k-diffusion has `uniform_logsnr`.

log(sigma / alpha) is minus half the log of the signal-to-noise ratio, so the two are one spacing; both names are kept
because users of either tradition look for theirs.
"""

from __future__ import annotations

from .uniform_logsnr import UniformLogSNR


class Exponential(UniformLogSNR):
    """Levels that fall by the same factor at every step; the same as uniform_logsnr.

    rho_i = rho_max (rho_min / rho_max)^(i/(N-1)).

    Args:
        rho_min: sigma / alpha of the last step before clean; None: the schedule's own.
        rho_max: sigma / alpha of the first; None: the schedule's own; where that is alpha = 0, exactly that level, and
            the rest from rho = steps on.
    """
