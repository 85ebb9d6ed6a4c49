"""The folder of a report: which folders are refused, and how a new report replaces an earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ...pipeline import result
from ...types import BadInput
from ...util import atomic_replace
from ...util.folders import check_kinds, list_names
from ...util.json_files import read_json
from ...util.paths import expand_home

PAGE, FILES, METRICS, SAMPLES = "report.html", "report_files", "metrics.json", "samples"
MARK = ("made by", "sonolux eval")
_METRICS = TypeAdapter(dict[str, Any])


def check_report_folder(folder: Path, overwrite: bool) -> None:
    """Raise BadInput where the folder holds a report, unless `overwrite`, or files that are not from a report."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInput(f"--out: {folder} is a file; name a folder")
    check_kinds(folder, folders=(SAMPLES, FILES))
    if list_names(folder) and not _is_report(folder):
        raise BadInput(f"{folder} exists and is no report: name an empty folder with --out")
    foreign = result.non_sample_files(folder / SAMPLES)
    if foreign:
        raise BadInput(f"{folder / SAMPLES} holds {foreign[0]}, which no report made: name another --out")
    if _is_report(folder) and not overwrite:
        raise BadInput(f"{folder} already holds a report: replace it with --overwrite, or name another --out")


def check_no_overlap(folder: Path, read: Mapping[str, Path | str | None]) -> None:
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
        other = expand_home(path).resolve()
        if other == report or other in report.parents:
            raise BadInput(f"--out {folder} lies in {name} {path}, whose files are read: name another --out")
        if any(other == report / part or report / part in other.parents for part in (SAMPLES, FILES)):
            raise BadInput(f"{name} {path} lies in what --out {folder} replaces: name another --out")


@contextmanager
def replace_atomically(folder: Path) -> Iterator[Path]:
    """A temporary folder in `folder` to write a report into; it then replaces an earlier report.

    After an error the earlier report remains unchanged.
    """
    with atomic_replace.replace_files(folder, lambda: _files(folder)) as part:
        yield part


def _is_report(folder: Path) -> bool:
    try:
        return read_json(folder / METRICS, _METRICS).get(MARK[0]) == MARK[1]
    except BadInput:
        return False


def _files(folder: Path) -> list[str]:
    """The files of the report in the folder: those that every report has, and those that its list of samples names."""
    if not _is_report(folder):
        return []
    found = [name for name in (PAGE, METRICS) if (folder / name).is_file()]
    found += [p.relative_to(folder).as_posix() for p in (folder / FILES).rglob("*") if not p.is_dir()]
    return found + [f"{SAMPLES}/{name}" for name in result.saved_sample_files(folder / SAMPLES)]
