"""How far a recipe is trusted: whether code that it names runs, and whether paths that it names are used.

It depends on where the text is from; docs/reliability.md, section "What is trusted", states the rule. Whoever reads a
recipe asks `trust_of_file` or `trust_of_checkpoint`. Each position of the parsed text (`SourcePosition`) then carries
the answer, and validation acts on it: code is refused where it is named, and a path becomes an `UnconfirmedPath`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter

from ..util import user_key
from ..util.errors import BadInput
from ..util.json_files import read_json
from ..util.notes import issue_note

ENVIRONMENT, RESOLVED, CHECKPOINTS = "env.json", "resolved.yaml", "checkpoints"  # names in a run folder
FOLDER, SIGNATURES = "folder", "recipes"  # keys of env.json
_ENVIRONMENT = TypeAdapter(dict[str, Any])


class TrustLevel(IntEnum):
    """How far a text is trusted; each level includes those before it.

    Attributes:
        NONE: It names registered components. Its paths are shown, and used only if the user gives them again.
        PATHS: Its paths are used.
        CODE: Code that it names by module or file is run.
    """

    NONE = 0
    PATHS = 1
    CODE = 2


# --- own runs ---


def trust_of_file(file: Path, text: str, most: TrustLevel) -> TrustLevel:
    """How far a recipe file is trusted.

    A file in a run folder is trusted only if it holds what a training of this user wrote in this place.

    Args:
        file: The file.
        text: Its text.
        most: CODE for a file that the user names, PATHS for one that such a file extends.
    """
    return TrustLevel.NONE if is_run_folder(file.parent) and not is_own_run(file.parent, text) else most


def trust_of_checkpoint(path: Path, text: str) -> TrustLevel:
    """How far the recipe in a checkpoint is trusted: the paths of one's own run are; code never is."""
    folder = path.absolute().parent
    return TrustLevel.PATHS if folder.name == CHECKPOINTS and is_own_run(folder.parent, text) else TrustLevel.NONE


def is_run_folder(folder: Path) -> bool:
    """Whether a folder is a run folder, perhaps not a complete one."""
    return sum((folder / name).exists() for name in (ENVIRONMENT, RESOLVED, CHECKPOINTS)) >= 2


def is_own_run(folder: Path, text: str) -> bool:
    """Whether a training of this user wrote a recipe's text into a run folder in this place.

    env.json holds the signatures of these texts with the folder's path, made with the user's secret key. Whoever can
    write to the folder cannot make one for another text, and one that was made for another place is not valid here.
    """
    try:
        signatures = read_json(folder / ENVIRONMENT, _ENVIRONMENT).get(SIGNATURES)
    except BadInput:
        return False
    return isinstance(signatures, list) and user_key.has_valid_signature(_claim(folder, text), signatures)


def ownership_entries(folder: Path, texts: Iterable[str]) -> dict[str, Any]:
    """Entries of env.json that make recipes in a run folder the user's own; empty, with a note, if there is no key."""
    try:
        signatures = [user_key.sign_text(_claim(folder, text)) for text in texts]
    except OSError as error:
        issue_note(
            f"this run cannot be marked as yours ({error}): later commands will ask for its paths again, such as "
            "data.root=PATH; XDG_STATE_HOME=FOLDER names another place for the key",
            stacklevel=2,
        )
        return {}
    return {FOLDER: os.path.realpath(folder), SIGNATURES: list(dict.fromkeys(signatures))}


def _claim(folder: Path, text: str) -> str:
    return json.dumps(["sonolux run", os.path.realpath(folder), text])


# --- paths ---


class UnconfirmedPath(os.PathLike[str]):
    """A path that is shown and not used, since a run of others names it. Every use of it as a path raises BadInput.

    Args:
        path: The path.

    Attributes:
        key: Its key in the recipe, such as `data.root`.
    """

    def __init__(self, path: Path):
        self._path, self.key = path, ""

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"UnconfirmedPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnconfirmedPath) and self._path == other._path

    def __hash__(self) -> int:
        return hash(self._path)

    def __fspath__(self) -> str:
        raise_unconfirmed_paths([self])

    def __truediv__(self, other: Any) -> NoReturn:
        raise_unconfirmed_paths([self])

    def __getattr__(self, name: str) -> NoReturn:
        if hasattr(Path, name):
            raise_unconfirmed_paths([self])
        raise AttributeError(name)


def raise_unconfirmed_paths(paths: Sequence[UnconfirmedPath]) -> NoReturn:
    """Raise BadInput with the paths and the remedy."""
    listed = " and ".join(f"{path.key or 'a path'} is {_shown(path)}" for path in paths)
    remedy = " ".join(f"{path.key or 'KEY'}=PATH" for path in paths)
    raise BadInput(
        f"{listed} in the recipe of this run, which was made elsewhere, moved or copied: give {remedy} again to use it"
    )


def _shown(path: UnconfirmedPath) -> str:
    text = str(path)
    return text if text.isprintable() else repr(text)
