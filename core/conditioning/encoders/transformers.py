"""Text encoder on top of a frozen text model of the package transformers: CLIP, T5, BERT and others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...nn.frozen import fingerprint_of_files
from ...nn.layers.embedding import make_linear
from ...nn.layers.init import reset_parameters
from ...types import BadInput, Tokens, move_like
from ...util.fetching import is_fetching_allowed
from ...util.notes import issue_note
from ...util.paths import file_stamp
from ._frozen import FrozenTextEncoder

_REMEDY = "pip install 'sonolux[text]'"
_CACHED = 256 * 2**20  # bytes of embeddings that are kept, of all captions together
_FILES = (  # of the model and its tokenizer
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "vocab.txt",
    "merges.txt", "spiece.model", "*.safetensors",
)  # fmt: skip
_CLASSES = {  # type of a model -> the class of its text part, where that is not the whole model
    "clip": "CLIPTextModel",
    "clip_text_model": "CLIPTextModel",
    "siglip": "SiglipTextModel",
    "clap": "ClapTextModel",
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
}


class Transformers(FrozenTextEncoder):
    """The last hidden states of a frozen text model of transformers, with a trained linear layer on top.

    Models are read from a folder; nothing is fetched, unless `download` is true. Weights are safetensors only, and no
    code of a model is run. The hidden states of each text are computed once, and kept in memory.

    Args:
        width: Length of a token (the network's embedding width).
        folder: Folder of the model as transformers saves it: config.json, model.safetensors and its tokenizer.
        hub: Name of a model of the Hugging Face Hub instead of a folder, such as openai/clip-vit-base-patch32.
        download: Fetch the model of `hub` once, if it is not on this machine.

    Raises:
        BadInput: The package is not installed, or there is no such model.
    """

    def __init__(self, width: int, folder: Path | None = None, hub: str | None = None, download: bool = False):
        if (folder is None) == (hub is None):
            raise BadInput("the text encoder `transformers` needs a model: `folder`, or `hub` with `download: true`")
        place = folder if folder is not None else _hub_folder(str(hub), download)
        found = _model(Path(place))
        super().__init__(width, found.fingerprint, "text model")
        self._place = Path(place)
        self.project = make_linear(found.width, width)
        reset_parameters(self, 0)

    def cut(self, text: str, length: int) -> str:
        """The beginning that has at most `length` tokens, with those that the model adds at both ends."""
        found = _model(self._place)
        numbers, places = found.tokens(text, found.most(length))
        if places is None or len(found.tokens(text, None)[0]) <= len(numbers):
            return text
        return text[: max((end for _, end in places), default=0)].rstrip()

    def forward(self, texts: Sequence[str], length: int) -> Tokens:
        """The model's tokens, with those that it adds at both ends."""
        found, weight = _model(self._place), self.project.weight
        rows = found.encode(texts, found.most(length), weight.device)
        longest = max(map(len, rows))
        states = torch.stack([nn.functional.pad(row, (0, 0, 0, longest - len(row))) for row in rows])
        mask = torch.arange(longest, device="cpu") < torch.tensor([len(row) for row in rows], device="cpu")[:, None]
        states, mask = move_like(states, weight), move_like(mask, weight, torch.bool)
        return Tokens(self.project(states).masked_fill(~mask[..., None], 0), mask)


class _TextModel:
    """A frozen model with its tokenizer, and the hidden states of the texts that it has encoded."""

    def __init__(self, folder: Path, model: Any, tokenizer: Any, fingerprint: bytes):
        self.folder, self.model, self.tokenizer, self.fingerprint = folder, model, tokenizer, fingerprint
        self.width = int(getattr(model.config, "hidden_size", 0) or model.config.d_model)
        self.calls = 0
        self._states: dict[tuple[str, int], Tensor] = {}  # (text, length) -> (L, width), on the host
        self._bytes = 0

    def most(self, length: int) -> int:
        """The number of tokens of a text, at most as many as the model has positions."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return min(length, limit or length, self.tokenizer.model_max_length)

    def tokens(self, text: str, most: int | None) -> tuple[list[int], list[tuple[int, int]] | None]:
        """Numbers of a text's tokens, and where each begins and ends in the text, if the tokenizer says so."""
        fast = bool(getattr(self.tokenizer, "is_fast", False))
        found = self.tokenizer(text, truncation=most is not None, max_length=most, return_offsets_mapping=fast)
        return list(found["input_ids"]), list(found["offset_mapping"]) if fast else None

    @torch.no_grad()
    def encode(self, texts: Sequence[str], most: int, device: torch.device) -> list[Tensor]:
        """Hidden states (L, width) of each text, float32 on the host; each text is computed once."""
        new = [text for text in dict.fromkeys(texts) if (text, most) not in self._states]
        kept = {text: self._states.pop((text, most)) for text in dict.fromkeys(texts) if (text, most) in self._states}
        self._states |= {(text, most): states for text, states in kept.items()}  # used last, dropped last
        for first in range(0, len(new), 64):
            kept.update(self._computed(new[first : first + 64], most, device))
        for text in new:
            self._states[text, most] = kept[text]
            self._bytes += kept[text].nbytes
        while self._bytes > _CACHED:
            self._bytes -= self._states.pop(next(iter(self._states))).nbytes
        return [kept[text] for text in texts]

    def _computed(self, texts: Sequence[str], most: int, device: torch.device) -> dict[str, Tensor]:
        self.calls += 1
        model = self.model.to(device).eval()
        inputs = self.tokenizer([*texts], truncation=True, max_length=most, padding=True, return_tensors="pt")
        ids, mask = inputs["input_ids"].to(device), inputs["attention_mask"].to(device)
        with torch.autocast(device.type, enabled=False):
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state.float().cpu()
        lengths = mask.sum(1).tolist()
        return {text: states[i, :n].clone() for i, (text, n) in enumerate(zip(texts, lengths, strict=True))}


class _Loaded(NamedTuple):
    auto_config: Any
    auto_model: Any
    auto_tokenizer: Any
    module: Any


def _package() -> _Loaded:
    try:
        # By name: a type checker takes `import transformers`, where the package is missing, for this file.
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise BadInput(f"the text encoder `transformers` needs the package transformers: {_REMEDY}") from error
    return _Loaded(transformers.AutoConfig, transformers.AutoModel, transformers.AutoTokenizer, transformers)


def _model(folder: Path) -> _TextModel:
    """The model in a folder, read once for each process unless its files change."""
    return _read_model(folder, tuple((path, file_stamp(path)) for path in _model_files(folder)))


def _model_files(folder: Path) -> list[Path]:
    return [path for pattern in _FILES for path in sorted(folder.glob(pattern))]


@lru_cache(maxsize=4)
def _read_model(folder: Path, stamps: tuple[tuple[Path, tuple[int, int]], ...]) -> _TextModel:
    package = _package()
    if not (folder / "config.json").is_file():
        raise BadInput(f"{folder}: no text model (no config.json): nothing is fetched, so save one there first")
    try:
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        with torch.device("cpu"):
            config = package.auto_config.from_pretrained(folder, **options)
            named = _CLASSES.get(config.model_type)
            cls = package.auto_model if named is None else getattr(package.module, named)
            model = cls.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **options)
            tokenizer = package.auto_tokenizer.from_pretrained(folder, **options)
    except Exception as error:  # errors of the library, of many classes
        reason = " ".join(str(error).split())[:150]
        raise BadInput(f"{folder} does not hold a text model that transformers opens: {reason}") from error
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return _TextModel(folder, model.requires_grad_(False).eval(), tokenizer, fingerprint_of_files(_model_files(folder)))


def _hub_folder(name: str, download: bool) -> Path:
    """The folder on this machine of a model of the hub.

    Raises:
        BadInput: It is not on this machine, and is not to be fetched, or cannot be.
    """
    _package()
    from huggingface_hub import snapshot_download  # pyright: ignore[reportMissingImports]

    try:
        return Path(snapshot_download(name, allow_patterns=[*_FILES], local_files_only=True))
    except Exception as error:  # errors of the library, of many classes
        if not download:
            raise BadInput(f"the text model {name} is not on this machine: `download: true` fetches it once") from error
        if not is_fetching_allowed():
            raise BadInput(
                f"the text model {name} is not on this machine, and a run from elsewhere fetches nothing: --allow-code"
            ) from error
    issue_note(f"the text model {name} is fetched from the Hugging Face Hub", stacklevel=2)
    try:
        return Path(snapshot_download(name, allow_patterns=[*_FILES]))
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise BadInput(f"the text model {name} cannot be fetched: {reason}") from error
