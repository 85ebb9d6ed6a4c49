"""Trained models that are part of the package: their names may stand in the place of a run folder.

Each is a folder `models/NAME` with the checkpoint, its recipe and a card. Nothing writes to these folders. This module
does not load torch.
"""

from __future__ import annotations

from pathlib import Path

from ..config import registry
from ..util.notes import issue_note

MODELS = registry.ROOT / "models"
WEIGHTS, RECIPE, CARD = "model.safetensors", "recipe.yaml", "card.md"  # names in the folder of a model
MOST_BYTES = 12_000_000  # of all packaged models together


def packaged_models() -> dict[str, Path]:
    """Name -> folder, for the trained models that are part of sonolux."""
    return {path.parent.name: path.parent for path in sorted(MODELS.glob(f"*/{WEIGHTS}")) if path.is_file()}


def find_packaged_model(name: str | Path) -> Path | None:
    """The checkpoint of a packaged model.

    Args:
        name: What the user names as a run: the name of a model, or a path.

    Returns:
        The checkpoint; None if no model has this name, or a file or folder has it, which is used then, with a note.
    """
    folder = packaged_models().get(str(name))
    if folder is None:
        return None
    if Path(name).exists():
        issue_note(
            f"{name} is read from this folder, and not the packaged model of this name, {folder / WEIGHTS}",
            stacklevel=1,  # one place: a command that asks again does not repeat the note
        )
        return None
    return folder / WEIGHTS


def name_of_packaged_model(run: str | Path) -> str | None:
    """The name of a packaged model that the user names, by its name or by its path; None for other runs."""
    folders = packaged_models()
    if not Path(run).exists():
        return str(run) if str(run) in folders else None
    path = Path(run).resolve()
    return next((name for name, folder in folders.items() if folder.resolve() in (path, *path.parents)), None)
