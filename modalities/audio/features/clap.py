"""CLAP embeddings of sounds (Wu et al. 2023, arXiv:2211.06687), with weights supplied by the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ....core.types import BadInput, MediaSpec
from .. import dsp

TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.json")  # one of these says how words become tokens


class Clap:
    """Embeddings of sounds by a CLAP model of the package transformers; nothing is downloaded.

    The Frechet distance of these embeddings is FAD-CLAP; with the class names as text, the CLAP score is computed too.
    The input of CLAP is 10 s long: shorter sounds are repeated or padded with silence, and results with different
    paddings are not comparable. Longer sounds are cropped at random.

    Args:
        spec: Media specification, of which the rate is used.
        weights: Folder of a CLAP model as transformers saves it (config.json, model.safetensors,
            preprocessor_config.json).
        padding: Padding of sounds shorter than 10 s: repetition (`repeatpad`) or silence (`pad`).
        prompt: Text for a class; {} is replaced by its name.
        batch: Sounds per batch.
    """

    standardise = False  # all features have one unit

    def __init__(
        self,
        spec: MediaSpec,
        weights: Path,
        padding: Literal["repeatpad", "pad"] = "repeatpad",
        prompt: str = "the sound of {}",
        batch: int = 16,
    ):
        if spec.rate is None:
            raise BadInput("audio/clap needs the sounds' rate in Hz")
        if not weights or not (Path(weights) / "config.json").is_file():
            raise BadInput(f"eval.feature.weights: no CLAP model in {weights}; it is not fetched, so download it first")
        if batch < 1 or "{}" not in prompt:
            raise BadInput(
                f"audio/clap takes a batch of 1 or more and a prompt that holds {{}}; got {batch}, {prompt!r}"
            )
        self.rate, self.padding, self.prompt, self.batch = spec.rate, padding, prompt, batch
        self.weights = Path(weights)
        self.model, self.extractor = _loaded(self.weights)

    def __call__(self, media: Sequence[Tensor]) -> np.ndarray:
        """Sounds (C, frames) -> (N, d) float64, of norm 1."""
        target, found = self.extractor.sampling_rate, []
        for i in range(0, len(media), self.batch):
            waves = [
                dsp.resample(s.float().cpu().mean(0), self.rate, target).numpy() for s in media[i : i + self.batch]
            ]
            inputs = self.extractor(waves, sampling_rate=target, padding=self.padding, return_tensors="pt")
            with torch.inference_mode():
                found.append(_vectors(self.model.get_audio_features(**inputs)))
        return torch.cat(found).numpy()

    def text_similarity(self, media: Sequence[Tensor], names: Sequence[str]) -> np.ndarray:
        """The CLAP score: the cosine of the embeddings of each sound and of the name of its class, (N,), -1 to 1."""
        try:
            from transformers import AutoTokenizer  # pyright: ignore[reportMissingImports]

            if not any((Path(self.weights) / name).is_file() for name in TOKENIZERS):
                raise FileNotFoundError(f"none of {', '.join(TOKENIZERS)}")
            tokenizer = AutoTokenizer.from_pretrained(self.weights, local_files_only=True)
        except Exception as error:  # libraries raise different classes
            raise BadInput(f"{self.weights} holds no tokenizer, which text similarity needs: {error}") from error
        unique = sorted(set(names))
        inputs = tokenizer([self.prompt.format(name) for name in unique], padding=True, return_tensors="pt")
        with torch.inference_mode():
            words = _vectors(self.model.get_text_features(**inputs)).numpy()
        places = [unique.index(name) for name in names]
        return (self(media) * words[places]).sum(1)


def _vectors(out) -> Tensor:
    found = out if isinstance(out, Tensor) else out.pooler_output
    return torch.nn.functional.normalize(found.double(), dim=-1)


def _loaded(weights: Path):
    try:
        from transformers import ClapFeatureExtractor, ClapModel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BadInput(f"audio/clap needs transformers ({error}): pip install 'sonolux[eval]'") from error
    try:
        model = ClapModel.from_pretrained(weights, local_files_only=True, use_safetensors=True).eval()
        return model, ClapFeatureExtractor.from_pretrained(weights, local_files_only=True)
    except Exception as error:  # errors of the library, of many classes
        raise BadInput(f"{weights} does not hold a CLAP model that transformers opens: {error}") from error
