"""Items as one ZIP file with samples.json, as `sonolux sample` writes it."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..util.errors import BadInput
from ..util.folders import file_name
from ..util.messages import format_json
from .items import ItemStore, StudioItem


def zip_items(items: ItemStore, named: Sequence[str], kept: bool) -> Path:
    """Write a ZIP file into the folder for temporary files, which the caller removes.

    Args:
        items: The items.
        named: Numbers of those that are wanted; none with `kept`.
        kept: Whether all that are kept are wanted.

    Raises:
        BadInput: Nothing is wanted, or an item is not known.
    """
    chosen = [items.get(one) for one in dict.fromkeys(named)] or (items.listed(True) if kept else [])
    if not chosen:
        raise BadInput("a pack needs items: name some, or keep some first")
    files = [(item, items.file(item)) for item in chosen]
    number, name = tempfile.mkstemp(prefix="sonolux-pack-", suffix=".zip")
    try:
        with os.fdopen(number, "wb") as target, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            records = []
            for n, (item, path) in enumerate(files):
                inside = file_name(f"{n:04d}", [item.name], path.suffix)
                archive.write(path, inside)
                records.append(_record(item, inside))
            archive.writestr("samples.json", format_json({"settings": {}, "samples": records}) + "\n")
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _record(item: StudioItem, file: str) -> dict[str, Any]:
    facts = {"name": item.name, "model": item.model, "seed": item.seed, "sample": item.index, "rating": item.rating}
    return {"file": file, **{k: v for k, v in facts.items() if v is not None}, **item.conditions}
