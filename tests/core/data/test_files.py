"""Walking folders, splits by hash, tables of labels, the account of bad files."""

import os
import unicodedata
from pathlib import Path

import pytest
from sonolux.core.data import files
from sonolux.core.data.files import (
    UnusableFiles,
    class_names,
    content_hash,
    find_files,
    labels_from_folders,
)
from sonolux.core.types import BadInput


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def names(root: Path, suffixes=None) -> list[str]:
    return [files.format_path(path, root) for path in find_files(root, suffixes)]


def test_files_are_found_in_natural_order_and_case_is_ignored(tmp_path):
    make(tmp_path, "10/a.PNG", "2/b10.png", "2/b9.Png", "2/notes.txt")
    assert names(tmp_path, [".png"]) == ["2/b9.Png", "2/b10.png", "10/a.PNG"]


def test_files_of_operating_systems_are_skipped(tmp_path):
    make(tmp_path, "a/x.png", "a/._x.png", ".hidden/y.png", "__MACOSX/a/x.png", "@eaDir/z.png")
    assert names(tmp_path) == ["a/x.png"]


def test_a_hidden_root_is_searched(tmp_path):
    assert names(make(tmp_path / ".cache", "a/x.png")) == ["a/x.png"]


def test_links_are_followed_once_and_loops_end(tmp_path):
    root = make(tmp_path / "root", "zebra/x.png")
    make(tmp_path / "outside", "y.png")
    (root / "zebra" / "loop").symlink_to(root)
    (root / "again").symlink_to(root / "zebra")  # sorts first, yet the real folder keeps its files
    (root / "other").symlink_to(tmp_path / "outside")
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert names(root) == ["gone.png", "other/y.png", "zebra/x.png"]


def test_names_need_not_be_ascii(tmp_path):
    make(tmp_path, unicodedata.normalize("NFD", "café/été.png"), "日本/犬.png")
    found = names(tmp_path)
    assert found == [unicodedata.normalize("NFC", "café/été.png"), "日本/犬.png"]


def test_names_that_are_no_unicode_can_be_printed(tmp_path):
    raw = os.fsencode(tmp_path) + b"/b\xff.png"
    try:
        Path(os.fsdecode(raw)).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert names(tmp_path) == [r"b\xff.png"]


@pytest.mark.parametrize(
    ("root", "words"), [("nowhere", "no such folder"), ("file.txt", "is a file"), (None, "needs data.root")]
)
def test_a_root_that_is_no_folder_is_named(tmp_path, root, words):
    make(tmp_path, "file.txt")
    with pytest.raises(BadInput, match=words):
        files.require_folder(None if root is None else tmp_path / root)


def test_content_hash_is_of_the_content(tmp_path):
    make(tmp_path, "a", "b")
    (tmp_path / "c").write_bytes(b"a")
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "c") != content_hash(tmp_path / "b")


def test_bad_files_are_skipped_up_to_a_share():
    bad = UnusableFiles(0.25)
    bad.check(4)
    bad.add("x.png", "zero bytes")
    with pytest.warns(UserWarning, match=r"skipped 1 of 4 files: zero bytes: x\.png"):
        bad.check(4)
    bad.add("y.png", "truncated")
    with pytest.raises(BadInput, match=r"2 of 4 files are unusable.*y\.png.*or raise it"):
        bad.check(4)
    with pytest.raises(BadInput, match="0 usable of 2 files"):
        bad.check(2)
    with pytest.raises(BadInput, match="0 usable of 0 files"):
        UnusableFiles().check(0)
    with pytest.raises(BadInput, match="share from 0 to 1"):
        UnusableFiles(5)


def test_classes_without_a_usable_file_are_said():
    with pytest.warns(UserWarning, match="no file is usable of 2 of the classes, which cannot be trained: b, c"):
        files.warn_of_lost_classes(["a", "b", "c", None, "a"], ["a"])


def test_the_summary_groups_reasons():
    bad = UnusableFiles()
    for i in range(9):
        bad.add(f"{i}.png", "zero bytes")
    bad.add("z.png", "truncated")
    assert bad.summary() == "zero bytes: 0.png, 1.png, 2.png, and 6 more; truncated: z.png"


def test_classes_are_the_first_folders(tmp_path):
    make(tmp_path, "cat/a.png", "dog/deep/er/b.png", "c.png")
    bad = UnusableFiles()
    labels = labels_from_folders(find_files(tmp_path), tmp_path, bad)
    assert labels == [None, "cat", "dog"]
    assert bad.reasons == [("c.png", "is not in a class folder")]
    assert class_names(["10", "9", "10"], "here") == ("9", "10")


def test_no_classes_where_classes_are_needed(tmp_path):
    make(tmp_path, "a.png", "b.png")
    with pytest.raises(BadInput, match=r"all 2 files are directly in .*data\.label=none"):
        labels_from_folders(find_files(tmp_path), tmp_path, UnusableFiles())
    with pytest.raises(BadInput, match=r"only one class, 'cat'.*data\.label=none"):
        class_names(["cat", "cat"], "here")
