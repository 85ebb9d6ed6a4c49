"""Results replace earlier ones as a whole, whenever the process is killed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.core.util import atomic_replace
from sonolux.core.util.atomic_replace import (
    FolderReplacement,
    recover_folder,
    replace_files,
    replace_whole_file,
    reserve_folder,
    write_text_file,
)
from sonolux.core.util.json_files import read_json
from sonolux.core.util.locks import LOCK

sys.path.insert(0, str(Path(__file__).parents[2]))
from _kills import child, kill_everywhere

OLD = {"list": "old", "a": "old a", "sub/b": "old b", "sub/c": "old c"}
NEW = {"list": "new", "a": "new a", "sub/d": "new d", "e": "new e"}
MINE = {"notes": "mine", "sub/mine": "mine"}


def put(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def content(folder):
    """Name -> text of the files in a folder, without those of commands."""
    files = (p for p in folder.rglob("*") if p.is_file())
    names = {p.relative_to(folder).as_posix(): p for p in files}
    return {name: p.read_text() for name, p in names.items() if not name.startswith(".sonolux.")}


def write_new(folder, old):
    with replace_files(folder, lambda: old) as part:
        put(part, NEW)


def check_kills(folder, start):
    """After each kill the next command finds the old files or the new ones, and can replace them."""
    seen = set()

    def restart():
        shutil.rmtree(folder, ignore_errors=True)
        put(folder, start | MINE)

    def check():
        child(lambda: recovered(folder))
        found = content(folder)
        assert {name: found.pop(name) for name in MINE} == MINE
        seen.add("old" if found == start else "new")
        assert found in (start, NEW), found
        write_new(folder, [name for name in found if name in OLD | NEW])
        assert content(folder) == NEW | MINE and not any(p.name.startswith(".sonolux") for p in folder.iterdir())
        restart()

    restart()
    assert kill_everywhere(lambda: write_new(folder, list(start)), folder, check) > 20
    assert seen == {"old", "new"}


def recovered(folder):
    with reserve_folder(folder):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("start", [OLD, {}], ids=["over an earlier result", "the first result"])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_result(tmp_path, start):
    check_kills(tmp_path / "out", start)


@pytest.mark.slow
def test_planted_moves_that_are_not_completed_are_caught(tmp_path, monkeypatch):
    def forget(folder):
        for name in (atomic_replace.PART, atomic_replace.READY):
            shutil.rmtree(folder / name, ignore_errors=True)

    monkeypatch.setattr(atomic_replace, "recover_folder", forget)
    assert_caught(check_kills, tmp_path / "out", OLD)


def check_errors(folder):
    put(folder, OLD | MINE)
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt(), BadInput("not finite")):
        with pytest.raises(type(error)), replace_files(folder, lambda: OLD) as part:
            put(part, {"list": "half"})
            raise error
        assert content(folder) == OLD | MINE and len(list(folder.iterdir())) == 4
    with pytest.raises(BadInput, match=r"sub is a folder"), replace_files(folder, lambda: OLD) as part:
        put(part, {"sub": "a file", "list": "new"})
    assert content(folder) == OLD | MINE


def test_an_error_changes_nothing(tmp_path):
    check_errors(tmp_path / "out")


def test_planted_writing_in_place_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(
        FolderReplacement, "__init__", lambda self, folder: vars(self).update(folder=folder, part=folder)
    )
    monkeypatch.setattr(FolderReplacement, "commit", lambda self, old: None)
    monkeypatch.setattr(FolderReplacement, "discard", lambda self: None)
    assert_caught(check_errors, tmp_path / "out")


def test_messages_name_the_target(tmp_path):
    with pytest.raises(BadInput, match=rf"^{tmp_path}/x: bad$"), replace_files(tmp_path) as part:
        raise BadInput(f"{part / 'x'}: bad")
    with pytest.raises(OSError, match=rf"{tmp_path}/x") as error, replace_files(tmp_path) as part:
        (part / "x" / "y").write_text("")
    assert ".sonolux" not in str(error.value)


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    with pytest.raises(BadInput), replace_files(tmp_path / "a" / "b"):
        raise BadInput("no")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_result(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs rights")
    try:
        put(disk / "out", {"a": "a" * 20_000})
        with pytest.raises(OSError, match="No space left"), replace_files(disk / "out", lambda: ["a"]) as part:
            for i in range(20):
                (part / str(i)).write_text("b" * 10_000)
        assert content(disk / "out") == {"a": "a" * 20_000} and len(list((disk / "out").iterdir())) == 1
        (disk / "filled").write_bytes(b"x" * 4096 * 3)
        with pytest.raises(OSError, match="No space left"):
            write_text_file(disk / "out" / "a", "b" * 40_000)
        assert content(disk / "out") == {"a": "a" * 20_000}
        write_new(disk / "out", ["a"])
        assert content(disk / "out") == NEW
    finally:
        subprocess.run(["umount", disk], check=True)


def check_foreign_folder(folder):
    """A folder that others made cannot remove or change files elsewhere."""
    kept = folder.parent / "kept"
    for name in ("../kept", str(kept), "link/kept", ""):
        for key in ("new", "old"):
            shutil.rmtree(folder, ignore_errors=True)
            (folder / atomic_replace.READY).mkdir(parents=True)
            (folder / "link").symlink_to(folder.parent)
            kept.write_text("mine")
            record = {"new": [], "old": [], "first": False, key: [name]}
            (folder / atomic_replace.READY / atomic_replace.RECORD).write_text(json.dumps(record))
            recovered(folder)
            assert kept.read_text() == "mine" and [p.name for p in folder.iterdir()] == ["link"]
    for name in (LOCK, atomic_replace.PART, atomic_replace.READY):
        target = kept if name == LOCK else folder.parent / "other"
        target.mkdir() if name == atomic_replace.PART else None
        (folder / name).symlink_to(target)
        write_new(folder, [])
        assert kept.read_text() == "mine" and not (folder / name).exists()
        assert name == LOCK or target.is_dir()


def test_a_folder_of_others_changes_nothing_elsewhere(tmp_path):
    check_foreign_folder(tmp_path / "out")


def test_planted_trust_in_a_record_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(
        atomic_replace,
        "_record",
        lambda f: read_json(f / atomic_replace.READY / atomic_replace.RECORD, atomic_replace._RECORD),
    )
    with pytest.raises((AssertionError, OSError)):
        check_foreign_folder(tmp_path / "out")


DEEP = b"[" * 100_000


def made_fifo(path):
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)


def made_file(content):
    def make(path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    return make


def made_folder(path):
    made_file(b"")(path / "x")


WRONG = [
    *[
        (name, made_fifo)
        for name in (LOCK, atomic_replace.PART, atomic_replace.READY, f"{atomic_replace.READY}/{atomic_replace.RECORD}")
    ],
    *[
        (name, made_file(DEEP))
        for name in (LOCK, atomic_replace.PART, atomic_replace.READY, f"{atomic_replace.READY}/{atomic_replace.RECORD}")
    ],
    *[(LOCK, made_file(text)) for text in (b'{"pid": 1e999, "host": "a", "command": "b", "since": 1}', b"3", b"\xff")],
    (LOCK, made_folder),
    (f"{atomic_replace.READY}/{atomic_replace.RECORD}", made_file(b'{"new": ["a/b"], "old": ["mine"], "first": 3}')),
    (f"{atomic_replace.READY}/{atomic_replace.RECORD}", made_file(b'{"new": [], "old": ["sub"], "first": false}')),
    (f"{atomic_replace.TEMPORARY}{10**30}-x", made_file(b"")),
]


def check_wrong_kinds(folder, wrong=WRONG):
    """What has one of the names of sonolux and is not what sonolux makes is removed, at once and without an error."""
    for name, make in wrong:
        folder.mkdir()
        put(folder, MINE)
        make(folder / name)
        write_new(folder, [])
        assert content(folder) == NEW | MINE and not any(p.name.startswith(".sonolux") for p in folder.iterdir()), name
        shutil.rmtree(folder)


@pytest.mark.filterwarnings("error")
def test_files_of_sonolux_that_are_damaged_or_of_another_kind(tmp_path):
    check_wrong_kinds(tmp_path / "out")


def test_planted_trust_in_kinds_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_replace, "clear_own_name", lambda path, folder=False: None)
    with pytest.raises((AssertionError, OSError)):
        check_wrong_kinds(tmp_path / "out", [case for case in WRONG if case[1] is not made_fifo])  # it would wait


def check_links_inside(folder):
    """A link in place of a folder is refused, before anything is changed; one in place of a file is replaced."""
    elsewhere = folder.with_name("elsewhere")
    put(elsewhere, {"b": "theirs", "d": "theirs"})
    put(folder, OLD)
    shutil.rmtree(folder / "sub")
    (folder / "sub").symlink_to(elsewhere)
    for old in ([], ["sub/b"]):
        with pytest.raises(BadInput, match=r"sub is a link, through which nothing is written") as error:
            write_new(folder, old)
        assert len(str(error.value)) < 120 + 2 * len(str(folder))
        assert content(elsewhere) == {"b": "theirs", "d": "theirs"} and (folder / "a").read_text() == "old a"
    (folder / "sub").unlink()
    for name, target in (("a", "b"), ("e", "d")):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(elsewhere / target)
    write_new(folder, ["a"])
    assert content(folder) == {**NEW, "list": "new"} and content(elsewhere) == {"b": "theirs", "d": "theirs"}


def test_nothing_is_written_through_links(tmp_path):
    check_links_inside(tmp_path / "out")


def test_planted_writing_through_links_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_replace, "check_kinds", lambda *_, **__: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_links_inside(tmp_path / "out")


@pytest.mark.slow
def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    assert kill_everywhere(lambda: write_text_file(path, "new"), tmp_path, lambda: None) >= 3
    write_text_file(path, "old")
    with pytest.raises(KeyboardInterrupt), replace_whole_file(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert [(p.name, p.read_text()) for p in path.parent.iterdir()] == [("a.txt", "old")], "temporary files are gone"
    with pytest.raises(FileExistsError):
        write_text_file(path, "other", new=True)
    write_text_file(tmp_path / "b.txt", "new", new=True)
    assert path.read_text() == "old" and (tmp_path / "b.txt").read_text() == "new"


def test_temporary_files_of_a_running_process_stay(tmp_path):
    with replace_whole_file(tmp_path / "a") as part:
        part.write_text("mine")
        (tmp_path / f"{atomic_replace.TEMPORARY}{os.getppid()}-a").write_text("of another process")
        with replace_whole_file(tmp_path / "b") as other:
            other.write_text("b")
        assert part.exists()
    write_text_file(tmp_path / "a", "again")
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", f"{atomic_replace.TEMPORARY}{os.getppid()}-a"}
    (tmp_path / f"{atomic_replace.TEMPORARY}{2**30}-c").write_text("of a killed process")
    recover_folder(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", f"{atomic_replace.TEMPORARY}{os.getppid()}-a"}
