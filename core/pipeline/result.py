"""Samples with their conditions and settings, and how they are saved: files, captions, denoising trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..types import BadInput, Modality, Output, WrittenFile
from ..util.atomic_replace import replace_files
from ..util.folders import file_name, list_names
from ..util.messages import escape_control_characters, format_count, format_json, shorten
from ..util.notes import issue_note
from .notebook import samples_to_html
from .sample_list import read_sample_list

SHOWN = 64  # largest number of entries of a sheet
FAR = 2.0  # peak, in units of full scale, above which a sample is far outside of the range of its data
_REMEDY = "a model of few training steps does so; otherwise take more steps, or a sampler such as dpmpp_2m"
LIST, SHEET, TRAJECTORY = "samples.json", "sheet.png", ("trajectory.png", "trajectory.gif")


def check_sample_folder(folder: Path, overwrite: bool) -> None:
    """Raise BadInput if the folder contains files other than samples (hidden files excepted), or samples.

    Args:
        folder: The output folder.
        overwrite: Whether samples may be replaced.
    """
    names = folder.is_dir() and [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if names and LIST not in names:
        raise BadInput(f"{folder} exists and holds no samples: name an empty folder")
    if names and not overwrite:
        remedy = "replace them with --overwrite (from Python: overwrite=True), or name another folder"
        raise BadInput(f"{folder} already holds samples: {remedy}")


def non_sample_files(folder: Path) -> list[str]:
    """Names of the files in the folder that are not saved samples; empty if the folder does not exist."""
    return sorted(set(list_names(folder)) - set(saved_sample_files(folder)))


def saved_sample_files(folder: Path) -> list[str]:
    """Names of the saved samples in a folder: those that samples.json lists, sheet, trajectory and samples.json.

    Entries of the list are ignored if they have not the name that `Samples.write` gives to the sample of their number,
    since the list may be of others, and name the user's files.
    """
    try:
        samples = enumerate(read_sample_list(folder / LIST).samples)
        listed = [sample.file for i, sample in samples if sample.file.startswith((f"{i:04d}-", f"{i:04d}."))]
    except BadInput:
        listed = []
    return [n for n in (*listed, SHEET, *TRAJECTORY, LIST) if n == Path(n).name and (folder / n).is_file()]


def result_notes(files: Sequence[WrittenFile]) -> list[str]:
    """What differs in the files from the samples, or from what was asked for: one line for each kind of difference."""
    kinds: dict[str, list[tuple[WrittenFile, str]]] = {}
    for file in files:
        far = "" if file.peak <= FAR else f"; {_REMEDY}"
        if file.scaled:
            kinds.setdefault("scaled", []).append(
                (file, f"the peak {file.peak:.2f} was scaled down to full scale{far}")
            )
        if file.clipped and far:
            share = f"{100 * file.clipped:.2g} % of the values were clipped"
            kinds.setdefault("clipped", []).append((file, f"reaches {file.peak:.3g} times the range, and {share}{far}"))
        if file.missed:
            kinds.setdefault("missed", []).append((file, file.missed))
    notes = []
    for found in kinds.values():
        file, text = max(found, key=lambda pair: pair[0].peak)
        more = f" ({format_count(len(found) - 1, 'more such file')})" if len(found) > 1 else ""
        notes.append(f"{file.path}: {text}{more}")
    return notes


@dataclass(frozen=True)
class TrajectoryStep:
    """One step of the denoising trajectory: the first few samples at the end of the step.

    Attributes:
        step: Number of completed steps.
        tau: sigma / (alpha + sigma), averaged over the samples (with an adaptive sampler each has its own level).
        noisy: The noisy samples, decoded.
        x0: The estimates of x0, decoded.
    """

    step: int
    tau: float
    noisy: list[Tensor]
    x0: list[Tensor]


@dataclass
class Samples:
    """Generated samples.

    Attributes:
        media: One tensor (C, *spatial) per sample, nominally in [-1, 1].
        conditions: Conditions of each sample: name -> value.
        settings: Seed, sampler, steps and other settings of the run.
        modality: Writes and draws the samples.
        frames: Denoising trajectory of the first few samples; empty if it was not requested.
        nfe: Number of denoiser evaluations of each sample.
        output: Writes the samples; None: the modality writes them.
        before: What each sample was made from; the sheet shows it before the sample. Empty: nothing.
    """

    media: list[Tensor]
    conditions: list[dict[str, Any]]
    settings: dict[str, Any]
    modality: Modality
    frames: list[TrajectoryStep] = field(default_factory=list)
    nfe: list[int] = field(default_factory=list)
    output: Output | None = None
    before: list[Tensor] = field(default_factory=list)

    def __repr__(self) -> str:
        origin = ", ".join(f"{k} {self.settings[k]}" for k in ("recipe", "step", "seed") if k in self.settings)
        return f"<{len(self)} samples{': ' * bool(origin)}{origin}>"

    def _repr_html_(self) -> str | None:
        """The samples as a notebook shows them; None: as text."""
        if not self.before:
            return samples_to_html(self.modality, self.media, self.captions)
        media, captions = self.shown()
        return samples_to_html(self.modality, media, captions)

    def __len__(self) -> int:
        return len(self.media)

    def save(self, folder: str | Path, trajectory: bool = False, overwrite: bool = False) -> list[Path]:
        """Write all samples as a whole; warn once each if samples were scaled or clipped, or lack what was asked for.

        If this fails or is interrupted, the folder is unchanged.

        Args:
            folder: The folder; created if missing.
            trajectory: Also write the denoising trajectory.
            overwrite: Replace the samples that the folder holds.

        Returns:
            The paths of the samples.

        Raises:
            BadInput: The folder holds samples, and `overwrite` is false; or other files.
        """
        folder = Path(folder)
        with replace_files(folder, lambda: saved_sample_files(folder)) as part:
            check_sample_folder(folder, overwrite)
            files = self.write(part)
            if trajectory:
                self.save_trajectory(part)
        files = [replace(file, path=folder / file.path.name) for file in files]
        for note in result_notes(files):
            issue_note(note, stacklevel=2)
        return [file.path for file in files]

    def write(self, folder: str | Path) -> list[WrittenFile]:
        """Write all samples, samples.json and a contact sheet into a folder, one file after the other.

        Files with the same names are replaced; other files are unchanged.

        Returns:
            One record per sample.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files, records, writer = [], [], self.output or self.modality
        for i, (media, row) in enumerate(zip(self.media, self.conditions, strict=True)):
            name = file_name(f"{i:04d}", (_word(v, "+") for v in row.values() if v is not None), writer.suffix)
            files.append(writer.write(folder / name, media))
            records.append({"file": files[-1].path.name, "sample": i, **row})
            if self.nfe:
                records[-1]["nfe"] = self.nfe[i]
        facts = {"settings": self.settings, "samples": records}
        (folder / LIST).write_text(format_json(facts) + "\n", encoding="utf-8")
        self.modality.sheet(folder / SHEET, *self.shown())
        return files

    def shown(self) -> tuple[list[Tensor], list[str]]:
        """Media and captions of a sheet: the first samples, each after what it was made from, if that is known."""
        if not self.before:
            return self.media[:SHOWN], self.captions[:SHOWN]
        pairs = zip(self.before, self.media, strict=True)
        captions = [f"{word} {caption}".rstrip() for caption in self.captions for word in ("before", "after")]
        return [media for pair in pairs for media in pair][:SHOWN], captions[:SHOWN]

    def save_trajectory(self, folder: str | Path) -> list[Path]:
        """Write the denoising trajectory of the first few samples.

        trajectory.png shows noisy samples above estimates of x0 at about ten steps; trajectory.gif animates the
        estimates.

        Returns:
            The two paths.

        Raises:
            BadInput: The samples have no trajectory.
        """
        if not self.frames:
            raise BadInput("these samples have no trajectory: sample with trajectory=True")
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
        """The conditions of each sample as a short text."""
        return [
            escape_control_characters(" ".join(shorten(_word(v, " + ")) for v in row.values() if v is not None))
            for row in self.conditions
        ]


def _word(value: Any, between: str) -> str:
    """A value as text; a mixture of classes as names with weights."""
    if isinstance(value, dict):
        return between.join(f"{name} {weight:.3g}" for name, weight in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
