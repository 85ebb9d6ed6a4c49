"""sonolux: diffusion models of audio and images with one modality-independent core.

`sonolux.load(run)` loads a training run or a checkpoint as a `Pipeline`; `sonolux.sample(denoiser, ...)` runs the
samplers on any network. Importing this package does not import torch: both names are imported on first use.
"""

TYPE_CHECKING = False  # type checkers take it as true; importing it from typing takes longer than all of this package

__version__ = "0.2.0"
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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING", "__dir__", "__getattr__"})
