"""Locks of folders: who is refused, and what a killed process leaves."""

import errno
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.core.util import locks
from sonolux.core.util.locks import LOCK, FolderLock

sys.path.insert(0, str(Path(__file__).parents[2]))
from _kills import child


class Holder:
    """A process that holds the lock of a folder until it is killed; `worker`: with a child process that stays."""

    def __init__(self, folder, worker=False):
        ready, told = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            lock = FolderLock(folder)
            lock.acquire()
            self.worker = os.fork() if worker else 1
            if self.worker:
                os.write(told, str(self.worker).encode())
            time.sleep(60)
            os._exit(0)
        self.worker = int(os.read(ready, 20))
        os.close(ready)
        os.close(told)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def check_refused(folder):
    holder = Holder(folder)
    try:
        with pytest.raises(BadInput, match=rf"being written by process {holder.pid} on .*seconds ago") as error:
            FolderLock(folder).acquire()
        assert len(str(error.value)) < 250 + len(str(folder))
    finally:
        holder.kill()


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    folder = tmp_path / "a" / "b"
    check_refused(folder)
    assert (folder / LOCK).exists(), "the killed process could not remove its file"
    lock = FolderLock(folder)
    assert lock.acquire() and json.loads((folder / LOCK).read_text())["pid"] == os.getpid()
    assert not FolderLock(folder).acquire(), "the same thread may lock it again"
    lock.release()
    assert not list(folder.iterdir())


def test_planted_lock_that_locks_nothing_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda descriptor, operation: None)
    with pytest.raises(pytest.fail.Exception):
        check_refused(tmp_path / "a")


def check_killed_with_workers(folder):
    """The data workers of a killed training live on for some seconds, and must not hold its lock."""
    holder = Holder(folder, worker=True)
    holder.kill()
    try:
        lock = FolderLock(folder)
        assert lock.acquire()
        lock.release()
    finally:
        os.kill(holder.worker, signal.SIGKILL)


def test_a_killed_process_with_workers_leaves_no_lock(tmp_path):
    check_killed_with_workers(tmp_path / "a")


def test_planted_lock_that_workers_inherit_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(FolderLock, "close", lambda self: None)
    with pytest.raises(BadInput, match="being written by"):
        check_killed_with_workers(tmp_path / "a")


def test_empty_folders_are_removed_and_others_stay(tmp_path):
    for name in ("empty", "used"):
        lock = FolderLock(tmp_path / "new" / name)
        lock.acquire()
        if name == "used":
            (tmp_path / "new" / name / "file").touch()
        lock.release()
    assert [p.name for p in tmp_path.rglob("*")] == ["new", "used", "file"]


def test_a_file_system_without_locks_is_used_with_a_note(tmp_path, monkeypatch):
    def missing(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", missing)
    folder = tmp_path / "a"
    lock = FolderLock(folder)
    with pytest.warns(UserWarning, match="cannot be locked"):
        assert lock.acquire() and lock.intact()
    lock.release()
    facts = {"host": locks.platform.node(), "command": "sonolux train", "since": time.time() - 200}
    (tmp_path / LOCK).write_text(json.dumps({**facts, "pid": os.getppid()}))
    with pytest.warns(UserWarning), pytest.raises(BadInput, match=r"started 3 minutes ago.*If it ended, remove"):
        FolderLock(tmp_path).acquire()
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    (tmp_path / LOCK).write_text(json.dumps({**facts, "pid": pid}))  # a process that ended
    lock = FolderLock(tmp_path)
    with pytest.warns(UserWarning):
        assert lock.acquire()
    lock.release()


def check_intact(tmp_path):
    for change in (lambda f: f.rename(tmp_path / "elsewhere"), lambda f: shutil.rmtree(f), replace_folder):
        folder = tmp_path / "a"
        lock = FolderLock(folder)
        lock.acquire()
        (folder / LOCK).unlink()  # by somebody who removes hidden files
        assert lock.intact()
        change(folder)
        assert not lock.intact()
        lock.release()
    assert (folder / LOCK).read_text() == "{}", "the lock of another process stays"


def replace_folder(folder):
    """Another process has the folder of this name now."""
    folder.rename(folder.with_name("before"))
    folder.mkdir()
    (folder / LOCK).write_text("{}")


def test_a_moved_or_removed_folder_is_noticed(tmp_path):
    check_intact(tmp_path)


def test_planted_trust_in_the_path_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(FolderLock, "intact", lambda self: self.folder.exists())
    assert_caught(check_intact, tmp_path)


def test_a_thread_that_is_not_the_owner_is_refused(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    lock = FolderLock(tmp_path / "a")
    lock.acquire()
    with ThreadPoolExecutor(1) as pool, pytest.raises(BadInput, match="being written by"):
        pool.submit(lambda: FolderLock(tmp_path / "a").acquire()).result()
    lock.release()


def test_a_forked_process_has_no_lock(tmp_path):
    lock = FolderLock(tmp_path / "a")
    lock.acquire()
    child(lambda: len(locks._held))
    assert lock.intact()
    lock.release()
