"""What a run made, and how it is saved: files, captions, the unveiling."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..types import BadInput, Modality, Output, WrittenFile

LIST, SHEET, TRAJECTORY = "samples.json", "sheet.png", ("trajectory.png", "trajectory.gif")


def refuse_if_used(folder: Path, overwrite: bool) -> None:
    """Raise BadInput where the folder holds samples, unless `overwrite`, or anything else but hidden files."""
    held = folder.is_dir() and [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if held and LIST not in held:
        raise BadInput(f"{folder} exists and holds no samples: name an empty folder with --out")
    if held and not overwrite:
        raise BadInput(f"{folder} already holds samples: replace them with --overwrite, or name another --out")


def clear(folder: Path) -> None:
    """Remove samples that were saved in the folder: the files that their list names, sheet, trajectory and the list."""
    for name in _saved(folder):
        (folder / name).unlink(missing_ok=True)


def strangers(folder: Path) -> list[str]:
    """Names of what the folder holds beside samples that were saved in it; none where there is no such folder."""
    return sorted({path.name for path in folder.iterdir()} - set(_saved(folder))) if folder.is_dir() else []


def _saved(folder: Path) -> list[str]:
    """Files right in this folder, whatever its list says."""
    try:
        listed = [str(row["file"]) for row in json.loads((folder / LIST).read_text(encoding="utf-8"))["samples"]]
    except (OSError, ValueError, KeyError, TypeError):
        listed = []
    return [n for n in (*listed, SHEET, *TRAJECTORY, LIST) if n == Path(n).name and (folder / n).is_file()]


@dataclass(frozen=True)
class Frame:
    """The unveiling at the end of one step: media of the first few, from the noisy sample and from the estimate of x0.

    tau: sigma / (alpha + sigma), the mean of the samples', which an adaptive sampler takes apart
    """

    step: int
    tau: float
    noisy: list[Tensor]
    x0: list[Tensor]


@dataclass
class Samples:
    """What a run made.

    media:    one (C, *spatial) tensor a sample, in [-1, 1] nominally
    told:     the conditions of each: name -> value
    nfe:      evaluations of the denoiser that each took
    settings: how they were made: seed, sampler, steps, ...
    frames:   the unveiling of the first few, if it was asked for
    output:   how they are written; None: as the modality does
    """

    media: list[Tensor]
    told: list[dict[str, Any]]
    settings: dict[str, Any]
    modality: Modality
    frames: list[Frame] = field(default_factory=list)
    nfe: list[int] = field(default_factory=list)
    output: Output | None = None

    def __repr__(self) -> str:
        made = ", ".join(f"{k} {self.settings[k]}" for k in ("recipe", "step", "seed") if k in self.settings)
        return f"<{len(self)} samples{': ' * bool(made)}{made}>"

    def __len__(self) -> int:
        return len(self.media)

    def save(self, folder: str | Path) -> list[Path]:
        """`write`, with one warning where samples were too loud for their files; returns the samples' paths."""
        files = self.write(folder)
        scaled = [file for file in files if file.scaled]
        if scaled:
            more = f" (and {len(scaled) - 1} more such files)" if len(scaled) > 1 else ""
            warnings.warn(
                f"{scaled[0].path}: the peak {scaled[0].peak:.2f} was scaled down to full scale{more}", stacklevel=2
            )
        return [file.path for file in files]

    def write(self, folder: str | Path) -> list[WrittenFile]:
        """Write every sample, samples.json and a sheet into the folder; returns what was written of each sample.

        Files of the same names are replaced, others stay.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files, records, writer = [], [], self.output or self.modality
        for i, (media, told) in enumerate(zip(self.media, self.told, strict=True)):
            name = "-".join([f"{i:04d}", *(_safe(_word(v, "+")) for v in told.values() if v is not None)])
            files.append(writer.write(folder / f"{name}{writer.suffix}", media))
            records.append({"file": files[-1].path.name, "sample": i, **told})
            if self.nfe:
                records[-1]["nfe"] = self.nfe[i]
        facts = {"settings": self.settings, "samples": records}
        (folder / LIST).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        shown = slice(0, 64)
        self.modality.sheet(folder / SHEET, self.media[shown], self.captions[shown])
        return files

    def save_trajectory(self, folder: str | Path) -> list[Path]:
        """Write the unveiling of the first few: trajectory.png, a strip of noisy samples above estimates of x0, and
        trajectory.gif, the estimates in motion."""
        if not self.frames:
            raise BadInput("these samples hold no trajectory: sample with trajectory=True")
        folder = Path(folder)
        shown = len(self.frames[0].x0)
        every = max(1, len(self.frames) // 10)
        picked = [*self.frames[:-1][::every], self.frames[-1]]
        rows = [[frame.noisy[i] for frame in picked] for i in range(shown)]
        estimates = [[frame.x0[i] for frame in picked] for i in range(shown)]
        strip = self.modality.strip(
            folder / TRAJECTORY[0], [row for pair in zip(rows, estimates, strict=True) for row in pair]
        )
        moving = self.modality.animate(
            folder / TRAJECTORY[1], [[frame.x0[i] for i in range(shown)] for frame in self.frames]
        )
        return [strip, moving]

    @property
    def captions(self) -> list[str]:
        """What each was told, as a short text."""
        return [" ".join(_word(v, " + ") for v in told.values() if v is not None) for told in self.told]


def _word(value: Any, between: str) -> str:
    """A value as text; a mixture of classes as its names and weights."""
    if isinstance(value, dict):
        return between.join(f"{name} {weight:.3g}" for name, weight in value.items())
    return str(value)


def _safe(value: Any) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in str(value))[:40]
