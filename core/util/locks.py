"""Locks of folders: one process at a time writes to a folder."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import stat
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from weakref import WeakValueDictionary

from pydantic import Field, TypeAdapter

from .errors import BadInput
from .folders import OWN, clear_own_name, missing_folders
from .json_files import read_json
from .notes import issue_note

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = f"{OWN}lock"


def process_exists(pid: int) -> bool:
    """Whether a process of this machine exists; False on Windows, where it cannot be asked without harm."""
    if os.name == "nt":
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # a number that no process has
        return False
    except OSError:
        pass  # another user's
    return True


@dataclass(frozen=True)
class LockOwner:
    """The process that writes to a folder; the content of the lock file.

    Attributes:
        pid: Process number.
        host: Name of the machine.
        command: The command line.
        since: Start, in seconds since 1970.
        purpose: What the folder is locked for; "" if its owner did not say.
    """

    pid: Annotated[int, Field(ge=1)]
    host: Annotated[str, Field(max_length=255)]
    command: str
    since: Annotated[float, Field(ge=0, le=1e11)]
    purpose: Annotated[str, Field(max_length=40)] = ""

    @classmethod
    def current(cls, purpose: str = "") -> LockOwner:
        """This process."""
        name, *arguments = sys.argv or [""]
        is_command = Path(name).stem in ("sonolux", "main", "__main__")
        command = shlex.join(["sonolux" if is_command else name, *arguments])
        return cls(os.getpid(), platform.node(), command, time.time(), purpose)

    @classmethod
    def read(cls, path: Path) -> LockOwner | None:
        """The owner that a lock file names; None if it names none."""
        try:
            return read_json(path, _OWNER)
        except BadInput:
            return None

    def runs(self) -> bool:
        """Whether the process still exists on this machine."""
        return self.host == platform.node() and process_exists(self.pid)

    def __str__(self) -> str:
        command = self.command if len(self.command) <= 50 else f"{self.command[:47]}..."
        return f"process {self.pid} on {self.host} ({command}), started {_ago(time.time() - self.since)} ago"


_OWNER = TypeAdapter(LockOwner)


class FolderLock:
    """The exclusive right of this process to write to a folder.

    It is a lock of the operating system (flock) on a file in the folder: it ends with its process, also with a killed
    one. The file names the owner. Where the file system has no such locks, this is said once, and only a running owner
    on the same machine is refused. In one thread a folder may be locked several times.

    Args:
        folder: The folder; it and its parents are created with the lock, and removed with it if they are empty.
        purpose: What for, as other processes read it in the file.
    """

    def __init__(self, folder: Path, purpose: str = ""):
        self.folder, self.path, self.purpose = folder, folder / LOCK, purpose
        self._descriptor: int | None = None  # of the lock's file
        self._place: int | None = None  # of the folder; while it is open, no other folder gets its number
        self._created: list[Path] = []
        self._key = (os.path.realpath(folder), threading.get_ident())

    def acquire(self) -> bool:
        """Lock the folder.

        Returns:
            False if this thread has locked it already.

        Raises:
            BadInput: Another process writes to the folder.
        """
        if self._key in _held:
            return False
        self._created = missing_folders(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            while not self._try():
                pass  # its owner removed the file before it was locked here
        except BaseException:
            self._remove_folders()
            raise
        _held[self._key] = self
        return True

    def _try(self) -> bool:
        before = LockOwner.read(self.path)
        with suppress(OSError):  # it may belong to another user
            clear_own_name(self.path)  # a link would lead to a file that is not to be changed, in a folder of others
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:  # its owner removed the folder
            self.folder.mkdir(parents=True, exist_ok=True)
            return False
        except OSError as error:
            self._unprotected(error)
            return True
        try:
            supported = self._flock(descriptor, before)
            if not _names(self.path, descriptor):
                os.close(descriptor)
                return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        with suppress(OSError):  # Windows opens no folders
            self._place = os.open(self.folder, os.O_RDONLY)
        if not supported and before is not None and before.pid != os.getpid() and before.runs():
            self.close()
            raise BadInput(f"{_in_use(self.folder, before)}. If it ended, remove {self.path}")
        with suppress(OSError):  # a full disk
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(asdict(LockOwner.current(self.purpose))).encode())
        return True

    def _flock(self, descriptor: int, owner: LockOwner | None) -> bool:
        """Whether the file was locked; False if the file system has no locks."""
        if fcntl is None:
            self._unprotected(OSError("not on this system"))
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(_in_use(self.folder, owner)) from None
        except OSError as error:  # ENOLCK, ENOTSUP, ENOSYS: some network file systems
            self._unprotected(error)
            return False
        return True

    def _unprotected(self, error: OSError) -> None:
        why = error.strerror or str(error)
        issue_note(f"{self.folder} cannot be locked ({why}): do not write to it with two commands", stacklevel=5)

    def intact(self) -> bool:
        """Whether the folder is still the one that was locked, not moved, removed or replaced by another one."""
        return self.folder.is_dir() if self._place is None else _names(self.folder, self._place)

    def release(self) -> None:
        """Unlock the folder; remove it if it is empty and was created with the lock."""
        if _held.get(self._key) is not self:
            return
        if self._descriptor is not None and _names(self.path, self._descriptor):
            with suppress(OSError):
                self.path.unlink()
        self.close()
        self._remove_folders()

    def abandon(self, names: Iterable[str]) -> None:
        """End the lock of a folder, wherever it was moved to.

        Args:
            names: Hidden files and folders, which are removed in it with the lock's file.
        """
        for name in (LOCK, *names) if self._place is not None else ():
            with suppress(OSError, NotImplementedError, TypeError):  # gone; or not on this system or Python
                remove = shutil.rmtree if stat.S_ISDIR(os.lstat(name, dir_fd=self._place).st_mode) else os.unlink
                remove(name, dir_fd=self._place)
        self.close()

    def close(self) -> None:
        """End the lock and leave its file."""
        if _held.get(self._key) is self:
            del _held[self._key]
        for descriptor in (self._descriptor, self._place):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = self._place = None

    def _remove_folders(self) -> None:
        for folder in self._created:
            with suppress(OSError):
                folder.rmdir()

    def __del__(self):
        if _held is not None:  # at the end of the process, names of modules become None; descriptors are closed then
            self.close()


_held: WeakValueDictionary[tuple[str, int], FolderLock] = WeakValueDictionary()


def find_lock_owner(folder: Path) -> LockOwner | None:
    """The process of this machine that is writing to a folder; None if there is none.

    A lock file that a killed process left is not taken for a lock, also if another process has its number now.
    """
    owner = LockOwner.read(folder / LOCK)
    if owner is None or not owner.runs():
        return None
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except BlockingIOError:
        pass
    except OSError:  # a file system without locks
        pass
    finally:
        os.close(descriptor)
    return owner


def _names(path: Path, descriptor: int) -> bool:
    """Whether the path is that of an open file or folder."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _forget() -> None:
    """In a child process: close the files, which would otherwise hold the locks after the parent was killed."""
    for lock in list(_held.values()):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _in_use(folder: Path, owner: LockOwner | None) -> str:
    who = "another process" if owner is None else str(owner)
    return f"{folder} is being written by {who}: wait until it ends, stop it, or name another folder"


def _ago(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} seconds"
