"""Exponential: levels evenly spaced in log rho; k-diffusion's name for `uniform_logsnr`.

rho_i = rho_max (rho_min / rho_max)^(i/(N-1))

log(sigma / alpha) is minus half the log signal-to-noise ratio, so the two are the same timestep spacing; both names
exist because both are in common use.
"""

from __future__ import annotations

from .uniform_logsnr import UniformLogSNR


class Exponential(UniformLogSNR):
    """Levels that decrease by the same factor at every step; the same as uniform_logsnr.

    rho_i = rho_max (rho_min / rho_max)^(i/(N-1))

    Args:
        rho_min: sigma / alpha of the last step before clean data; None: that of the schedule.
        rho_max: sigma / alpha of the first level; None: that of the schedule; where the schedule starts at alpha = 0,
            the first level is exactly that, and the others start at rho = steps.
    """
