"""A script for REAPER: asks for a prompt, lets the studio make sounds, and puts them on the selected track.

In REAPER: Options > Preferences > Plug-ins > ReaScript, enable Python; then Actions > Show action list > New action >
Load ReaScript, and choose this file. studio_client.py must be in the same folder, and `sonolux studio text_sfx` must be
running. The sounds are written to the folder of the project.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from reaper_python import (  # type: ignore[import-not-found]  # REAPER provides it
    RPR_GetProjectPath,
    RPR_GetUserInputs,
    RPR_InsertMedia,
    RPR_ShowMessageBox,
)
from studio_client import StudioClient, StudioError

TITLE = "sonolux"
FIELDS = "Model,Prompt,Number of sounds,Seed,extrawidth=200"
DEFAULTS = "text_sfx,a short high laser,4,0"


def insert_sounds(url: str = "http://127.0.0.1:8765") -> list[Path]:
    """Ask the user, sample, and insert the sounds at the cursor; returns the files."""
    accepted, *_, answers, _ = RPR_GetUserInputs(TITLE, 4, FIELDS, DEFAULTS, 1024)
    if not accepted:
        return []
    model, *words, count, seed = answers.split(",")  # a prompt may contain commas
    folder = Path(RPR_GetProjectPath("", 1024)[0]) / "sonolux"
    studio = StudioClient(url)
    try:
        job = studio.wait(studio.sample(model.strip(), ",".join(words), count=int(count), seed=int(seed)))
        paths = [studio.save(item, folder / job["id"]) for item in job["items"]]
    except (StudioError, ValueError) as error:
        RPR_ShowMessageBox(str(error), TITLE, 0)
        return []
    for path in paths:
        RPR_InsertMedia(str(path), 0)
    return paths


if __name__ == "__main__":
    insert_sounds()
