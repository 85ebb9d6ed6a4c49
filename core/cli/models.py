"""List the trained models that are part of sonolux, or show the card of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._completion import complete_model

if TYPE_CHECKING:
    from ..training.model_card import ModelCard


@click.command("models")
@click.argument("name", required=False, shell_complete=complete_model)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str | None, as_json: bool) -> None:
    """List the packaged models, which need no training and no download, or show the card of NAME.

    The name of a model stands for a run in other commands:

    \b
    sonolux models text_shapes
    sonolux sample text_shapes "a small red circle"
    sonolux edit text_shapes vary text_shapes-samples/0000.png
    sonolux train my.yaml --from text_shapes
    """
    from ..training.model_card import read_card
    from ..training.packaged_models import packaged_models
    from ..util.messages import did_you_mean, print_json, print_lines, raise_bad_input

    folders = packaged_models()
    if name is not None and name not in folders:
        known = did_you_mean(name, folders) or f". There are: {', '.join(folders) or 'none'}"
        raise_bad_input(f"there is no packaged model {name!r}{known}")
    wanted = folders if name is None else {name: folders[name]}
    cards = [(read_card(folder), folder) for folder in wanted.values()]
    if as_json:
        rows = [_record(card, folder) for card, folder in cards]
        print_json(rows if name is None else rows[0])
    elif name is not None:
        print_lines(*cards[0][0].text().rstrip("\n").split("\n"))
    elif cards:
        print_lines(*(line for card, folder in cards for line in _lines(card, folder)))
    else:
        print_lines("this installation holds no packaged models; `sonolux recipe list` lists the recipes to train")


def _record(card: ModelCard, folder: Path) -> dict[str, Any]:
    facts = {fact.lower().replace(" ", "_").replace("-", ""): value for fact, value in card.facts.items()}
    return {
        "name": card.name,
        **facts,
        "steps": int(card.facts["Steps"]),
        "examples": card.examples,
        "figures": card.figures,
        "bytes": _size(folder),
        "folder": str(folder),
    }


def _size(folder: Path) -> int:
    """Bytes of the files of a model."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _lines(card: ModelCard, folder: Path) -> list[str]:
    from ..util.messages import format_command

    example = format_command("sonolux", "sample", card.name, *card.examples[:1])
    return [
        f"{card.name}  ({_size(folder) / 1e6:.1f} MB)  {card.facts['Makes']}",
        f"    conditions: {card.facts['Conditions']}",
        f"    {example}",
    ]
