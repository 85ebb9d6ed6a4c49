"""sonolux: one diffusion core for sound and light.

`sonolux.load(run)` opens a trained run or checkpoint; `sonolux.sample(denoiser, ...)` runs the samplers on any network.
Importing this package loads no torch: the names below are fetched when they are first used.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "load", "sample"]

if TYPE_CHECKING:
    from .core.pipeline.functional import sample
    from .core.pipeline.load import load


def __getattr__(name: str):
    if name == "load":
        from .core.pipeline.load import load

        return load
    if name == "sample":
        from .core.pipeline.functional import sample

        return sample
    raise AttributeError(f"module 'sonolux' has no attribute {name!r}")
