"""The card of a packaged model: a Markdown page with one line for each fact, and the measured figures."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..util.errors import BadInput
from .packaged_models import CARD, WEIGHTS

FACTS = (
    "Makes",
    "Recipe",
    "Command",
    "Steps",
    "Training time",
    "Hardware",
    "Parameters",
    "Conditions",
    "Examples",
    "Few steps",
    "Data",
    "Licence",
    "SHA-256",
)
"""Names of the facts that every card states, in their order."""

FIGURES = "## Figures"


@dataclass(frozen=True)
class ModelCard:
    """The card of a model.

    Attributes:
        name: The name of the model.
        facts: Name of a fact -> value, one line of text; see FACTS.
        figures: What was measured, with the commands that print it; Markdown.
    """

    name: str
    facts: dict[str, str]
    figures: str

    @property
    def examples(self) -> list[str]:
        """Prompts, or other arguments key=value, with which the model can be sampled."""
        return parse_examples(self.facts["Examples"])

    def text(self) -> str:
        """The card as Markdown."""
        facts = "\n".join(f"- **{name}:** {self.facts[name]}" for name in FACTS)
        return f"# {self.name}\n\n{facts}\n\n{FIGURES}\n\n{self.figures.strip()}\n"


def format_examples(examples: Sequence[str]) -> str:
    """Examples as one line, each in quotes."""
    return json.dumps(list(examples), ensure_ascii=False)[1:-1]


def parse_examples(text: str) -> list[str]:
    """Inverse of `format_examples`; raises ValueError for another text."""
    found = json.loads(f"[{text}]")
    if not all(isinstance(one, str) for one in found):
        raise ValueError("examples are texts")
    return found


def read_card(folder: Path) -> ModelCard:
    """The card in the folder of a packaged model.

    Raises:
        BadInput: It cannot be read, or lacks a fact or the figures.
    """
    path = folder / CARD
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read ({error}): install sonolux again") from error
    head, _, figures = text.partition(FIGURES)
    facts = {name: value.strip() for name, value in re.findall(r"^- \*\*([^*]+):\*\*(.*)$", head, re.MULTILINE)}
    missing = [name for name in FACTS if not facts.get(name)] + ["Figures"] * (not figures.strip())
    if missing:
        raise BadInput(f"{path}: damaged: it does not state {', '.join(missing)}: install sonolux again")
    try:
        parse_examples(facts["Examples"])
    except ValueError as error:
        raise BadInput(f"{path}: damaged: its examples are not texts in quotes ({error})") from None
    return ModelCard(folder.name, facts, figures.strip())


def hash_weights(folder: Path) -> str:
    """The SHA-256 of the checkpoint of a packaged model, hexadecimal."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
