"""Shards: the files of a prepared folder in a few tar files, in the layout of WebDataset, read by random access.

A tar file is one object for a file system or an object store, where millions of small files are slow. Each file of the
manifest is a member NUMBER.SUFFIX; NUMBER.json next to it holds its name, label and caption, for other programs. The
manifest states in which shard and at which byte a file begins, so that an example is read by its index like a file:
order, split and resumption of a training are those of the folder. Tar files are never unpacked and their headers never
read: only bytes that the manifest names, and only if their hash is the manifest's.

A file in a shard is named by a path that does not exist: SHARD.tar/OFFSET-SIZE-HASH/NAME.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..util.errors import BadInput
from ..util.paths import is_url, url_of
from .files import format_path

ManifestLine = dict[str, Any]
MOST_SHARDS = 100_000
SHARDS = "shard-*.tar"  # names of shards in a folder
_HEADER = 512  # bytes before the content of a member
_PLACE = re.compile(r"(\d{1,18})-(\d{1,18})-([0-9a-f]{32})")
_SAFE_NAME = re.compile(r"[\w. ()+-]{1,100}")


class _Member(NamedTuple):
    shard: Path
    offset: int
    size: int
    hash: str


def shard_name(number: int) -> str:
    """The name of a shard, by its number from 0."""
    return f"shard-{number:05d}.tar"


def write_shards(
    folder: Path, files: Sequence[Path], lines: Sequence[ManifestLine], count: int
) -> tuple[list[ManifestLine], list[int]]:
    """Write the usable files of a manifest to shards: file i to shard i mod `count`, so that each has all classes.

    The same files give the same bytes, whatever their dates and owners.

    Args:
        folder: Folder of the shards.
        files: The file of each line.
        lines: The lines.
        count: Number of shards.

    Returns:
        The lines with `shard` and `offset`, and the size of each shard in bytes.

    Raises:
        BadInput: A file has changed since it was measured, or there are fewer files than shards.
    """
    usable = [i for i, line in enumerate(lines) if line["status"] == "ok"]
    if not 1 <= count <= len(usable):
        raise BadInput(f"--shards {count}: there are {len(usable)} usable files: give a number from 1 to that")
    placed, sizes = [dict(line) for line in lines], []
    for shard in range(count):
        path = folder / shard_name(shard)
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(shard, len(usable), count):
                i = usable[number]
                placed[i] |= {"shard": shard, "offset": tar.offset + _HEADER}
                _add(tar, f"{number:08d}{_suffix(files[i].name)}", _content(files[i], lines[i]))
                facts = {key: lines[i][key] for key in ("file", "label", "caption")}
                _add(tar, f"{number:08d}.json", json.dumps(facts, ensure_ascii=False).encode())
        sizes.append(path.stat().st_size)
    return placed, sizes


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _content(path: Path, line: ManifestLine) -> bytes:
    content = path.read_bytes()
    if _hash(content) != line["hash"]:
        raise BadInput(f"{format_path(path)} has changed since it was measured: run the command again")
    return content


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()  # as `files.content_hash`


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,10}", suffix) else ""


def holds_shards(folder: Path, sizes: Sequence[int]) -> bool:
    """Whether a folder, or a place at a URL, is that of the shards, and not that of the files."""
    return bool(sizes) and (is_url(folder) or (folder / shard_name(0)).exists())


def check_shards(folder: Path, sizes: Sequence[int], remedy: str) -> None:
    """Check that all shards are there, and whole by their size.

    Args:
        folder: Their folder, or a URL.
        sizes: The size of each in bytes.
        remedy: What the user can do, for the message.

    Raises:
        BadInput: One is missing or has another size; or the place cannot be reached.
    """
    for number, size in enumerate(sizes):
        path = folder / shard_name(number)
        found = _size(path)
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes, and the manifest states {size}"
            raise BadInput(f"{_shown(path)} {what}: {remedy}")


def member_path(folder: Path, line: ManifestLine, sizes: Sequence[int]) -> Path | None:
    """The path by which `local_file` finds the file of a line; None if it cannot be in its shard."""
    shard, offset, size = line.get("shard"), line.get("offset"), line["size"]
    if type(shard) is not int or type(offset) is not int or not 0 <= shard < len(sizes):
        return None
    if not _HEADER <= offset <= offset + size <= sizes[shard]:
        return None
    name = Path(line["file"]).name
    name = name if _SAFE_NAME.fullmatch(name) and not name.startswith(".") else f"file{_suffix(name)}"
    return folder / shard_name(shard) / f"{offset}-{size}-{line['hash']}" / name


def member_facts(path: Path) -> tuple[int, str] | None:
    """Size and hash of a file in a shard, by its path; None: the path is that of an ordinary file."""
    member = _member(path)
    return None if member is None else (member.size, member.hash)


def _member(path: Path) -> _Member | None:
    place = _PLACE.fullmatch(path.parent.name)
    if place is None or not path.parent.parent.name.endswith(".tar"):
        return None
    return _Member(path.parent.parent, int(place[1]), int(place[2]), place[3])


@contextmanager
def local_file(path: Path) -> Iterator[Path]:
    """A file on this machine with the content of `path`: the file itself, or for one in a shard a temporary copy.

    The readers of the modalities, with all of their checks, so need not know of shards.

    Raises:
        BadInput: The shard is damaged, or cannot be read.
    """
    member = _member(path)
    if member is None:
        yield path
        return
    content = _read(member)
    if len(content) != member.size or _hash(content) != member.hash:
        raise BadInput(
            f"{_shown(member.shard)} is damaged: its bytes {member.offset} to {member.offset + member.size} are not "
            f"those of {path.name}: copy the shard again, or write it again with `sonolux prepare ... --shards N`"
        )
    with tempfile.TemporaryDirectory(prefix="sonolux-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(content)
        yield copy


def _read(member: _Member) -> bytes:
    try:
        if is_url(member.shard):
            system, place = _system(member.shard)
            try:
                return system.cat_file(place, start=member.offset, end=member.offset + member.size)
            except Exception as error:  # each protocol has its own classes: no rights, no network
                raise BadInput(f"{_shown(member.shard)} cannot be read: {type(error).__name__}: {error}") from error
        with open(member.shard, "rb") as file:
            file.seek(member.offset)
            return file.read(member.size)
    except OSError as error:
        raise BadInput(f"{_shown(member.shard)} cannot be read: {error.strerror or error}") from error


def _size(path: Path) -> int | None:
    """The size of a shard in bytes; None if there is none."""
    if not is_url(path):
        return path.stat().st_size if path.is_file() else None
    system, place = _system(path)
    try:
        return int(system.size(place))
    except FileNotFoundError:
        return None
    except Exception as error:  # each protocol has its own classes: no rights, no network
        raise BadInput(f"{_shown(path)} cannot be reached: {type(error).__name__}: {error}") from error


def _system(path: Path) -> tuple[Any, str]:
    """The file system of a URL, and the place there."""
    url = url_of(path)
    return _file_system(url.partition(":")[0], os.getpid()), url


@lru_cache(maxsize=8)
def _file_system(protocol: str, process: int) -> Any:
    """One connection for each process, since most cannot be shared with a process that loads data."""
    install = "pip install 'sonolux[shards]'"
    try:
        import fsspec

        return fsspec.filesystem(protocol, skip_instance_cache=True)
    except ImportError as error:
        raise BadInput(f"{protocol}:// needs packages that are not installed ({error}): {install}") from error
    except ValueError as error:
        raise BadInput(f"{protocol}:// is no protocol that fsspec knows ({error})") from error


def _shown(path: Path) -> str:
    return url_of(path) if is_url(path) else format_path(path)
