"""The folder of a report: which folders are refused, and how a new report replaces an earlier one."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ...pipeline import result
from ...types import BadInput
from ...util.paths import expanded

PAGE, FILES, METRICS, SAMPLES = "report.html", "report_files", "metrics.json", "samples"
MARK = ("made by", "sonolux eval")


def refuse_if_used(folder: Path, overwrite: bool) -> None:
    """Raise BadInput where the folder holds a report, unless `overwrite`, or files that are not from a report."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInput(f"--out: {folder} is a file; name a folder")
    if any(folder.iterdir()) and not _is_report(folder):
        raise BadInput(f"{folder} exists and is no report: name an empty folder with --out")
    foreign = result.other_files(folder / SAMPLES)
    if foreign:
        raise BadInput(f"{folder / SAMPLES} holds {foreign[0]}, which no report made: name another --out")
    if _is_report(folder) and not overwrite:
        raise BadInput(f"{folder} already holds a report: replace it with --overwrite, or name another --out")


def refuse_overlap(folder: Path, read: Mapping[str, Path | str | None]) -> None:
    """Raise BadInput where the report would lie in an input folder, or an input lies in the report's folder.

    In the first case its samples would be read as data the next time; in the second the input would be replaced.

    Args:
        folder: Folder of the report.
        read: Name in messages -> path of an input.
    """
    report = folder.resolve()
    for name, path in read.items():
        if path is None:
            continue
        other = expanded(path).resolve()
        if other == report or other in report.parents:
            raise BadInput(f"--out {folder} lies in {name} {path}, whose files are read: name another --out")
        if any(other == report / part or report / part in other.parents for part in (SAMPLES, FILES)):
            raise BadInput(f"{name} {path} lies in what --out {folder} replaces: name another --out")


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A temporary folder next to `folder` to write a report into; it then replaces an earlier report.

    After an error the earlier report remains unchanged.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
        folder.mkdir(exist_ok=True)
        _clear(folder)
        for written in part.iterdir():
            written.rename(folder / written.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_report(folder: Path) -> bool:
    try:
        facts = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get(MARK[0]) == MARK[1]


def _clear(folder: Path) -> None:
    """Remove the report that the folder holds: its files and what its list of samples names, nothing else."""
    if not _is_report(folder):
        return
    result.clear(folder / SAMPLES)
    if (folder / SAMPLES).is_dir() and not any((folder / SAMPLES).iterdir()):
        (folder / SAMPLES).rmdir()
    if (folder / FILES).is_dir() and not (folder / FILES).is_symlink():
        shutil.rmtree(folder / FILES)
    for name in (PAGE, METRICS):
        (folder / name).unlink(missing_ok=True)
