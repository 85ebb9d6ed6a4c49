"""Notation and contracts of the package: read this file first.

A diffusion model is defined by the forward process q(x | x0) = N(alpha x0, sigma^2 I), that is

    x = alpha x0 + sigma eps,    eps ~ N(0, I)

Letters, the same in code, docstrings and docs:

    x0             clean data, as the codec encodes it: mean 0 and variance 1
    x              noisy data
    eps            standard normal noise
    t              time in the units of the noise schedule; it decreases from t_max (noise) to t_clean (data)
    alpha, sigma   scale of the data and of the noise at time t
    rho            sigma / alpha, the noise-to-signal ratio: the "sigma" of EDM (Karras et al. 2022, arXiv:2206.00364)
    lambda         log(alpha / sigma), `lam` in code; logsnr = 2 lambda
    tau            sigma / (alpha + sigma), a bounded noise level: 1 is pure noise and 0 is clean data on every schedule
    D              the denoiser's estimate of x0: D(x; alpha, sigma) ~ E[x0 | x]
    NFE            number of function evaluations: how often the denoiser is called for one sample

A schedule fixes alpha(t) and sigma(t). Variance exploding: alpha = 1. Variance preserving: alpha^2 + sigma^2 = 1.
Flow matching (rectified flow): alpha = 1 - t, sigma = t, so that tau = t.

Shapes: tensors are (B, C, *spatial), with any number of spatial axes. A noise level, mask or coefficient is a scalar,
a tensor (B,) with one value per sample, or a map (B, 1, *spatial) with one value per element.

Contracts, in the order in which sampling uses them:

    MediaSpec      modality, channels, and name, size and rate of each axis (`media_spec.py`)
    Conditioning   what a batch is conditioned on: vectors, tokens, channels; one row per sample (`conditioning.py`)
    NoiseLevel     (t, alpha, sigma), from which rho, lambda and tau follow (`noise_level.py`)
    Denoiser       (x, NoiseLevel, Conditioning) -> Estimate of x0: the interface of a model to samplers and guidance
                   (`denoiser.py`)
    Dataset        Items by index, for training and evaluation (`dataset.py`)
    Modality       reads, writes and draws one kind of media; Output writes samples in another format (`modality.py`)

Defined elsewhere: Schedule (`core/schedulers/base.py`), Parameterization (`core/parameterizations/base.py`),
Sampler (`core/samplers/base.py`), Codec (`core/codecs/base.py`). `docs/glossary.md` lists all terms.
"""

from ..util.errors import BadInput, BrokenPlugin
from .broadcasting import Number, broadcast_like, move_like, per_sample_value
from .conditioning import CONDITIONING_KINDS, Conditioning, Tokens, concatenate_batches
from .dataset import Dataset, Item
from .denoiser import Denoiser, Estimate
from .media_spec import MediaSpec
from .modality import FileSupport, Modality, Output, WrittenFile
from .noise_level import NoiseLevel

__all__ = [
    "CONDITIONING_KINDS",
    "BadInput",
    "BrokenPlugin",
    "Conditioning",
    "Dataset",
    "Denoiser",
    "Estimate",
    "FileSupport",
    "Item",
    "MediaSpec",
    "Modality",
    "NoiseLevel",
    "Number",
    "Output",
    "Tokens",
    "WrittenFile",
    "broadcast_like",
    "concatenate_batches",
    "move_like",
    "per_sample_value",
]  # fmt: skip
