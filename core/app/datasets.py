"""Prepared folders as they are looked at: files with their faults and near copies, and captions that can be changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from ..config import registry
from ..config.load import load_recipe_text
from ..data.captions import clean_captions
from ..data.files import format_path
from ..data.manifest import NAME, Manifest, ManifestLine, media_path, read_manifest, write_manifest
from ..data.prepare.report import read_stored_summary
from ..util.atomic_replace import write_text_file
from ..util.errors import BadInput, BrokenPlugin
from ..util.json_files import read_stored_bytes
from ..util.messages import format_command
from ..util.paths import file_stamp
from .items import media_type_of
from .limits import unknown_thing

Selection = Literal["faults", "near", "uncaptioned"]
BACKUP = f"{NAME}.before-edits"
TABLE = "captions.jsonl"
LONGEST = 2000  # characters of a caption


@dataclass(frozen=True)
class ListedFile:
    """A file of a prepared folder.

    Attributes:
        id: Its number.
        line: Its line in the manifest.
        path: Its path.
        faults: What is wrong with it, or noteworthy.
        near_copies: Numbers and names of its copies and near copies, with the similarity.
    """

    id: str
    line: ManifestLine
    path: Path
    faults: list[str]
    near_copies: list[dict[str, Any]]

    @property
    def captions(self) -> list[str]:
        """Its captions."""
        caption = self.line["caption"]
        return caption if isinstance(caption, list) else [] if caption is None else [caption]


class PreparedFolder:
    """A folder written by `sonolux prepare`.

    Args:
        name: Its name in the studio.
        folder: The folder, with the manifest.

    Raises:
        BadInput: It holds no complete manifest.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.folder, self.manifest_path = name, folder, folder / NAME
        if not self.manifest_path.is_file():
            remedy = format_command("sonolux", "prepare", folder)
            raise BadInput(f"{format_path(folder)} was not prepared: `{remedy}` writes the folder to name here")
        self._lock = threading.Lock()
        self._known: tuple[Any, Manifest, dict[str, ListedFile]] | None = None
        self._modality: Any = None
        self._read()

    def _read(self) -> tuple[Manifest, dict[str, ListedFile]]:
        stamp = file_stamp(self.manifest_path)
        if self._known is None or self._known[0] != stamp:
            manifest = read_manifest(self.manifest_path)
            self._known = stamp, manifest, _listed(manifest, self.folder)
        return self._known[1], self._known[2]

    def page(self, number: int, size: int, only: Selection | None = None, words: str = "") -> dict[str, Any]:
        """One page of the files, numbered from 1.

        Args:
            number: Number of the page.
            size: Files on a page.
            only: Files with faults, with near copies, or without a caption.
            words: Files in whose name, label or caption all of these words occur.
        """
        with self._lock:
            _, files = self._read()
        found = [file for file in files.values() if _is_selected(file, only) and _has_words(file, words)]
        shown = found[(number - 1) * size : number * size]
        pages = max(1, -(-len(found) // size))
        return {"files": [self._to_dict(file) for file in shown], "total": len(found), "page": number, "pages": pages}

    def get(self, identifier: str) -> ListedFile:
        """The file of a number; raises RequestRefused if there is none."""
        with self._lock:
            _, files = self._read()
        if identifier not in files:
            raise unknown_thing("file")
        return files[identifier]

    def file(self, identifier: str) -> Path:
        """The path of a file, which lies in the folder that was prepared, and is of its modality.

        Raises:
            RequestRefused: There is none.
        """
        found, root = self.get(identifier), self._root()
        suffixes = self.modality().folder_analyzer().suffixes
        inside = found.path.resolve().is_relative_to(root)
        if not inside or found.path.suffix.lower() not in suffixes or not found.path.is_file():
            raise unknown_thing("file")
        return found.path

    def _root(self) -> Path:
        with self._lock:
            return Path(self._read()[0].header.root).resolve()

    def modality(self) -> Any:
        """The modality that reads the files: that of the proposed recipe, or with its usual settings."""
        if self._modality is None:
            with self._lock:
                name = self._read()[0].header.modality
            try:
                text = read_stored_bytes(self.folder / "recipe.yaml").decode(errors="replace")
                recipe = load_recipe_text(text, self.folder)
                if recipe.modality.use != name:
                    raise BadInput("another modality")
                self._modality = recipe.modality.build()
            except (BadInput, BrokenPlugin):
                self._modality = registry.find_class("modality", name, allow_code=False)()
        return self._modality

    def change_caption(self, identifier: str, caption: str) -> dict[str, Any]:
        """Change the caption of a file; several captions stand in lines of their own.

        The manifest is replaced as a whole; its first state is kept in a backup. All captions are also written to a
        table, with which `sonolux prepare --table` keeps them.

        Raises:
            RequestRefused: There is no such file.
            BadInput: The caption cannot be stored.
        """
        if len(caption) > LONGEST or "\0" in caption:
            raise BadInput(f"a caption has at most {LONGEST} characters, and no NUL")
        new = clean_captions(caption.splitlines())
        with self._lock:
            manifest, files = self._read()
            if identifier not in files:
                raise unknown_thing("file")
            line = files[identifier].line
            backup = self.folder / BACKUP
            if not backup.exists():
                part = backup.with_name(f"{BACKUP}.part")
                shutil.copyfile(self.manifest_path, part)
                part.replace(backup)
            lines = [{**one, "caption": new} if one is line else one for one in manifest.lines]
            write_manifest(self.manifest_path, manifest.header, lines)
            write_text_file(self.folder / TABLE, "".join(_table_row(one) for one in lines if one["status"] == "ok"))
            _, files = self._read()
        return self._to_dict(files[identifier])

    def _to_dict(self, file: ListedFile) -> dict[str, Any]:
        url, facts = f"/api/data/{quote(self.name, safe='')}/{file.id}", file.line
        media_type = media_type_of(file.path)
        drawn = media_type.partition("/")[0] != media_type_of("x.png").partition("/")[0]
        return {
            "id": file.id,
            "name": facts["file"],
            "url": f"{url}/file",
            "sheet_url": f"{url}/sheet" if drawn else None,
            "media_type": media_type,
            "usable": facts["status"] == "ok",
            "caption": "\n".join(file.captions),
            "label": facts["label"],
            "seconds": facts.get("seconds"),
            "width": facts.get("width") if facts.get("height") else None,
            "height": facts.get("height"),
            "faults": file.faults,
            "near_copies": file.near_copies,
        }


def _identifier(line: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{line['file']}\0{line.get('raw', '')}".encode()).hexdigest()[:16]


def _listed(manifest: Manifest, folder: Path) -> dict[str, ListedFile]:
    """Number -> file, in the order of the manifest."""
    numbers = {line["file"]: _identifier(line) for line in manifest.lines}
    near: dict[str, dict[str, float]] = defaultdict(dict)
    for line in manifest.lines:
        if other := line.get("copy_of"):
            near[line["file"]][other] = near[other][line["file"]] = 1.0
    for pair in read_stored_summary(folder).near_copies or ():
        a, b = pair.files
        near[a].setdefault(b, pair.likeness)
        near[b].setdefault(a, pair.likeness)
    root, found = Path(manifest.header.root), {}
    for line in manifest.lines:
        remarks = line.get("remarks")
        faults = [line["reason"]] if line["reason"] else []
        faults += [str(one) for one in remarks] if isinstance(remarks, list) else []
        copies = [
            {"id": numbers[name], "name": name, "similarity": similarity}
            for name, similarity in sorted(near.get(line["file"], {}).items(), key=lambda pair: -pair[1])
            if name in numbers
        ]
        one = ListedFile(_identifier(line), line, media_path(line, root), faults, copies)
        found[one.id] = one
    return found


def _is_selected(file: ListedFile, only: Selection | None) -> bool:
    chosen = {"faults": file.faults, "near": file.near_copies, "uncaptioned": not file.captions}
    return only is None or bool(chosen[only])


def _has_words(file: ListedFile, words: str) -> bool:
    text = " ".join([file.line["file"], file.line["label"] or "", *file.captions]).casefold()
    return all(word in text for word in words.casefold().split())


def _table_row(line: ManifestLine) -> str:
    facts = {"file": line["file"], "label": line["label"], "caption": line["caption"]}
    return (
        json.dumps({k: v for k, v in facts.items() if v is not None} | line.get("more", {}), ensure_ascii=False) + "\n"
    )
