"""InceptionV3 features for the Frechet inception distance (Heusel et al. 2017), with weights supplied by the user."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ....core.types import BadInput

_CONVERT = (
    "convert the file that torch-fidelity names, if you trust it: import torch, safetensors.torch as s; "
    "s.save_file({k: v.contiguous() for k, v in torch.load('weights.pth', weights_only=True).items()}, "
    "'weights.safetensors')"
)


class Inception:
    """InceptionV3 features of pictures, by the package torch-fidelity; the Frechet distance of these features is FID.

    Nothing is downloaded or unpickled: the weights are those of torch-fidelity
    (weights-inception-2015-12-05-6726825d.pth), converted to safetensors. FID is usually reported for 50 000 pictures;
    it is larger for fewer, so compare it with the value of real pictures in the report.

    Args:
        weights: Safetensors file with the weights.
        layer: Layer of the features: `2048` for FID, or an earlier layer for few pictures.
        batch: Pictures per batch.
    """

    standardise = False  # all features have one unit

    def __init__(self, weights: Path, layer: Literal["64", "192", "768", "2048"] = "2048", batch: int = 32):
        if not weights or not Path(weights).is_file():
            raise BadInput(f"eval.feature.weights: there is no file {weights}; it is not fetched, so download it first")
        if batch < 1:
            raise BadInput(f"eval.feature.batch is {batch}: give 1 or more")
        self.batch = batch
        self.model = _extractor(Path(weights), layer)

    def __call__(self, media: Sequence[Tensor]) -> np.ndarray:
        """Pictures (C, H, W) in [-1, 1], grey or RGB -> (N, 64 to 2048) float64."""
        found = []
        for i in range(0, len(media), self.batch):
            x = torch.stack(list(media[i : i + self.batch])).float()
            x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
            with torch.inference_mode():
                out = self.model(((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
            found.append(out[0].double().flatten(1))
        return torch.cat(found).numpy()


def _extractor(weights: Path, layer: str):
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
            FeatureExtractorInceptionV3,
        )
    except ImportError as error:
        raise BadInput(f"image/inception needs torch-fidelity ({error}): pip install 'sonolux[eval]'") from error
    try:
        state = load_file(weights)
    except Exception as error:
        raise BadInput(f"{weights} is no safetensors file ({error}); {_CONVERT}") from error
    # torch-fidelity unpickles its weights file, so it gets one that was written here.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(state, path)
        try:
            return FeatureExtractorInceptionV3("inception", [layer], feature_extractor_weights_path=str(path))
        except RuntimeError as error:
            raise BadInput(f"{weights} holds other weights than torch-fidelity's InceptionV3: {error}") from error
