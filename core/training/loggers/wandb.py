"""Weights & Biases: an offline run in the folder `wandb` of the run, which `wandb sync` uploads.

Nothing is sent over the network unless the environment variable WANDB_MODE is `online`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .base import LoggedPreview, LoggedRun, Logger, import_logger_package

FOLDER = "wandb"


class Wandb(Logger):
    """Sends scalars, previews and the recipe to Weights & Biases; project and entity are those of WANDB_PROJECT, ...

    The state of a resumed run is a new one of wandb, whose steps go on.
    """

    def __init__(self) -> None:
        self._run: Any = None

    def check(self) -> None:
        if wandb_mode() != "online":
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # else errors of the package are reported over the network
        import_logger_package("wandb")

    def start(self, run: LoggedRun) -> None:
        wandb = import_logger_package("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "sonolux"),
            name=run.name,
            dir=run.path,
            config=run.settings,
            mode=wandb_mode(),
            settings=wandb.Settings(
                silent=True,
                console="off",
                save_code=False,
                disable_git=True,
                reinit="create_new",  # several runs of one process, as in an ablation, are several runs of wandb
            ),
        )
        self._run.config.update({"recipe_text": run.recipe})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def show(self, step: int, previews: Sequence[LoggedPreview]) -> None:
        """Log the files of each example that wandb can show."""
        wandb = import_logger_package("wandb")
        kinds = {"image": wandb.Image, "audio": wandb.Audio, "video": wandb.Video}
        shown: dict[str, list[Any]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for number, (files, caption) in enumerate(previews):
                for file in files:
                    if file.family in kinds:
                        path = Path(folder) / f"{number}.{file.mime.partition('/')[2]}"
                        path.write_bytes(file.data)
                        shown.setdefault(file.family, []).append(kinds[file.family](str(path), caption=caption))
            self._run.log({f"samples/{family}": media for family, media in shown.items()}, step=step)

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
        self._run = None


def wandb_mode() -> str:
    """The mode of wandb: `online` or `disabled` if WANDB_MODE says so, otherwise `offline`."""
    asked = os.environ.get("WANDB_MODE", "")
    return asked if asked in ("online", "disabled") else "offline"
