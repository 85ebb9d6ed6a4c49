"""The text condition of a proposed recipe, for folders whose files have captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...util.messages import quote_for_yaml, shorten
from ..captions import format_caption_share
from ..manifest import ManifestLine

_LEAST = 0.1  # share of captioned files below which they are taken for an accident
_LENGTHS = (128, 256, 512)  # tokens
_SHOWN = 4  # captions that previews use as prompts


@dataclass(frozen=True)
class TextProposal:
    """What captions add to a recipe; all of it is empty without captions.

    Attributes:
        condition: The line of the section `conditioning`, without indentation.
        network: Further parameters of the network, each after a comma.
        sample: Further keys of the section `sample`, each after a comma.
    """

    condition: str = ""
    network: str = ""
    sample: str = ""


def propose_text(lines: Sequence[ManifestLine], network: type, stages: int, reasons: list[str]) -> TextProposal:
    """Propose a text condition.

    Args:
        lines: The usable lines of the manifest, each file once.
        network: Class of the proposed network, which accepts tokens, or states in `kinds_by_option` by which option it
            does; otherwise there is no text condition.
        stages: Its number of stages; if the option is a list of stages, the last one attends to the text.
        reasons: A line is added to it.
    """
    captions = [line.get("caption") for line in lines]
    first = [caption if isinstance(caption, str) else caption[0] for caption in captions if caption]
    if not first:
        return TextProposal()
    share = format_caption_share(captions, "files")
    if len(first) < _LEAST * len(lines):
        reasons.append(f"no text: too few captions ({share})")
        return TextProposal()
    option, value = getattr(network, "kinds_by_option", {}).get("tokens", ("", ""))
    if not option and "tokens" not in getattr(network, "accepts", ()):
        reasons.append(f"no text: this network takes no captions ({share})")
        return TextProposal()
    needed = float(np.quantile([len(text.encode()) for text in first], 0.95))
    length = next((n for n in _LENGTHS if n >= needed), _LENGTHS[-1])
    longer = f", length: {length}" if length > _LENGTHS[0] else ""
    value = f"[{stages - 1}]" if value.startswith("[") else value
    reasons.append(f"prompts, from captions ({share}), read as bytes; `encoder: table` knows more words")
    prompts = [shorten(text, 100) for text in dict.fromkeys(first[:: max(1, len(first) // _SHOWN)])][:_SHOWN]
    return TextProposal(
        f"caption: {{use: text, encoder: {{use: bytes}}{longer}, drop: 0.1}}",
        f", {option}: {value}" if option else "",
        f", prompt: [{', '.join(map(quote_for_yaml, prompts))}]",
    )
