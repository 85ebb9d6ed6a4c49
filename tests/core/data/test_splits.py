"""Parts of made examples, and listings of files that every folder dataset shares."""

import pytest
from sonolux.core.data.files import BadFiles
from sonolux.core.data.listing import Listed, labelled, listed_files
from sonolux.core.data.splits import need_part, part_of
from sonolux.core.types import BadInput


@pytest.mark.parametrize(("count", "valid"), [(2, 0.1), (10, 0.25), (10, 0.99), (7, 0.0), (3, 0.5)])
def test_parts_share_nothing_and_leave_nothing_out(count, valid):
    train, held_out = (part_of(count, valid, part) for part in ("train", "valid"))
    assert sorted([*train, *held_out]) == list(range(count)) and len(train) >= 1
    assert (len(held_out) == 0) == (valid == 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((1, 0.1, "train"), "at least 2; got 1"),
        ((5, 1.0, "train"), "up to, not including, 1"),
        ((5, 0.1, "test"), "train or valid"),
    ],
)
def test_parts_that_cannot_be_are_refused(given, said):
    with pytest.raises(BadInput, match=said):
        part_of(*given)
    with pytest.raises(BadInput, match="train or valid"):
        need_part("")


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_a_folder_is_listed_in_order_with_its_classes(tmp_path):
    root, bad = files(tmp_path, "b/10.x", "b/2.x", "a/1.x", "a/note.txt", "loose.x"), BadFiles(0.9)
    found = listed_files(root, None, None, {".x"}, "no x", bad)
    assert [f.name for f in found] == ["a/1.x", "b/2.x", "b/10.x", "loose.x"]
    assert [(f.name, f.label) for f in labelled(found, "folder", root, bad)] == [
        ("a/1.x", "a"), ("b/2.x", "b"), ("b/10.x", "b"),
    ]  # fmt: skip
    assert bad.reasons == [("loose.x", "is not in a class folder")]
    assert {f.label for f in labelled(found, "none", root, bad)} == {None}


def test_a_table_names_files_and_labels(tmp_path):
    root = files(tmp_path / "data", "1.x", "2.x")
    (tmp_path / "t.csv").write_text("file,label,pitch\n2.x,b,3.5\n1.x,a,1\n")
    found = listed_files(root, tmp_path / "t.csv", None, {".x"}, "no x", BadFiles())
    assert [(f.name, f.label, f.more) for f in found] == [("2.x", "b", {"pitch": 3.5}), ("1.x", "a", {"pitch": 1.0})]


def test_listings_without_files_or_classes_are_refused(tmp_path):
    root, bad = files(tmp_path, "1.txt"), BadFiles()
    with pytest.raises(BadInput, match=r"no x; .* contains 1 files with \.txt"):
        listed_files(root, None, None, {".x"}, "no x", bad)
    prepared = [Listed(root / "1.txt", "1.txt", facts={"hash": "0"})]
    with pytest.raises(BadInput, match="the manifest has none"):
        labelled(prepared, "folder", root, bad)
    outside = [Listed(root.parent / "1.txt", "../1.txt")]
    with pytest.raises(BadInput, match="is not inside"):
        labelled(outside, "folder", root, bad)
