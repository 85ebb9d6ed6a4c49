"""Parts of made examples, and listings of files that every folder dataset shares."""

import sys
import warnings

import pytest
from sonolux.core.data import splits
from sonolux.core.data.files import UnusableFiles
from sonolux.core.data.listing import CandidateFile, assign_labels, find_candidate_files
from sonolux.core.data.splits import (
    assign_split,
    assign_splits,
    check_split_name,
    recorded_training_hashes,
    split_range,
)
from sonolux.core.testing.mutation import (
    assert_caught,
    condition_target,
    negate_expression,
    planted_error,
    replace_expression,
    variable_target,
)
from sonolux.core.types import BadInput


@pytest.mark.parametrize(("count", "valid"), [(2, 0.1), (10, 0.25), (10, 0.99), (7, 0.0), (3, 0.5)])
def test_parts_share_nothing_and_leave_nothing_out(count, valid):
    train, held_out = (split_range(count, valid, part) for part in ("train", "valid"))
    assert sorted([*train, *held_out]) == list(range(count)) and len(train) >= 1
    assert (len(held_out) == 0) == (valid == 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((1, 0.1, "train"), "at least 2 and at most 10000000; got 1"),
        ((10**12, 0.1, "train"), "at most 10000000; got 1000000000000"),
        ((5, 1.0, "train"), "up to, not including, 1"),
        ((5, 0.1, "test"), "train or valid"),
    ],
)
def test_parts_that_cannot_be_are_refused(given, said):
    with pytest.raises(BadInput, match=said):
        split_range(*given)
    with pytest.raises(BadInput, match="train or valid"):
        check_split_name("")


def check_split(share=0.2, count=20000):
    keys = [f"key {i}" for i in range(count)]
    sides = assign_splits(keys, share, 3)
    assert abs(sides.count("valid") / count - share) < 0.01
    assert assign_splits(keys[::-1], share, 3) == sides[::-1]
    wider = assign_splits(keys, 2 * share, 3)
    assert all(w == "valid" for s, w in zip(sides, wider, strict=True) if s == "valid")
    assert assign_splits(keys, share, 4) != sides


@pytest.mark.slow
def test_split_has_the_share_asked_for_and_grows_with_it():
    check_split()


def test_a_split_by_order_is_caught(monkeypatch):
    monkeypatch.setattr(splits, "_position", lambda key, seed: int(key[4:]) % 5 / 5)
    assert_caught(check_split)


def test_tiny_folders_have_both_sides_and_copies_stay_together():
    for seed in range(50):
        assert set(assign_splits(["a", "b", "c"], 0.01, seed)) == {"train", "valid"}
        sides = assign_splits(["a", "a", "b"], 0.5, seed)
        assert sides[0] == sides[1]
    assert assign_splits(["a"], 0.5, 0) == ["train"] and assign_splits([], 0.5, 0) == []
    assert assign_splits(["a", "b"], 0, 0) == ["train", "train"]
    with pytest.raises(BadInput, match=r"data\.split\.valid"):
        assign_split("a", 1.0, 0)


def class_parts(keys, labels, sides):
    """Class -> the parts of its examples."""
    return {name: [p for p, own in zip(sides, labels, strict=True) if own == name] for name in set(labels)}


def check_classes(valid=0.6):
    """Every class is trained; only for classes that the hash holds out completely is the split not that of the hash."""
    held_out = 0
    for seed in range(30):
        labels = [f"class {i % 9}" for i in range(27)]
        keys = [f"{seed} {i}" for i in range(27)]
        sides, plain = assign_splits(keys, valid, 3, labels), [assign_split(key, valid, 3) for key in keys]
        for name, parts in class_parts(keys, labels, sides).items():
            assert "train" in parts, (seed, name)
            before = [p for p, own in zip(plain, labels, strict=True) if own == name]
            held_out += "train" not in before
            assert parts == before or ("train" not in before and parts.count("train") == 1)
    assert held_out > 30  # the case occurs


def test_every_class_is_trained():
    check_classes()


def test_planted_split_that_ignores_classes_is_caught():
    with planted_error(splits, "assign_splits", negate_expression(condition_target(), near="members")):
        assert_caught(check_classes)


def check_moves(valid=0.5):
    """An added file moves at most one other file."""
    moves = set()
    for seed in range(60):
        keys, labels = [f"{seed} {i}" for i in range(12)], [f"class {i % 4}" for i in range(12)]
        before = assign_splits(keys, valid, 0, labels)
        for i in range(5):
            after = assign_splits([*keys, f"new {i}"], valid, 0, [*labels, f"class {i % 4}"])[:-1]
            moves.add(sum(a != b for a, b in zip(before, after, strict=True)))
    assert moves == {0, 1}


def test_an_added_file_moves_at_most_one_other():
    check_moves()


def test_planted_split_by_rank_is_caught(monkeypatch):
    def ranked(keys, valid, seed, labels):
        order = sorted(range(len(keys)), key=lambda i: assign_split(keys[i], valid, seed) + keys[i][::-1])
        return ["valid" if order.index(i) % 2 else "train" for i in range(len(keys))]

    monkeypatch.setattr(sys.modules[__name__], "assign_splits", ranked)
    assert_caught(check_moves)


def test_classes_of_one_example_are_trained_and_said():
    with pytest.warns(UserWarning, match="the class 'a' has one example only: it is trained, and none is held out"):
        assert assign_splits(["1", "2", "3"], 0.95, 0, ["a", "b", "b"])[0] == "train"
    with pytest.warns(UserWarning, match=r"2 classes have one example only \(a, b\): it is trained"):
        assert assign_splits(["1", "2"], 0.5, 0, ["a", "b"]) == ["train", "train"]
    for seed in range(20):  # a part that would be empty takes no class's only example
        with pytest.warns(UserWarning, match="one example only"):
            assert assign_splits(["1", "2", "3"], 1e-9, seed, ["a", "b", "b"])[0] == "train"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert assign_splits(["1", "2", "1"], 0, 0, ["a", "b", "b"]) == ["train"] * 3
        assert assign_splits(["1", "2", "3", "4"], 0.5, 0, ["a", "a", None, None]).count("train") >= 1


def check_recorded():
    """A run that is continued keeps the training part that it recorded; other files follow their hash."""
    for seed in range(40):
        keys, labels = [f"{seed} {i}" for i in range(10)], ["a", "b", "c", "d", "e"] * 2
        for started in (
            [assign_split(key, 0.7, 0) for key in keys],
            assign_splits(keys, 0.7, 0, labels),
        ):  # old and new rule
            recorded = [side == "train" for side in started]
            if any(recorded):
                assert assign_splits(keys, 0.7, 0, labels, recorded) == started
                after = assign_splits([*keys, "new"], 0.7, 0, [*labels, "a"], [*recorded, False])
                assert after == [*started, assign_split("new", 0.7, 0)]
    tiny = assign_splits(["1", "2", "3"], 1e-9, 5)
    assert assign_splits(["1", "2", "3"], 1e-9, 5, [], [side == "train" for side in tiny]) == tiny


def test_a_recorded_split_is_kept():
    check_recorded()


def test_planted_split_that_forgets_the_record_is_caught():
    with planted_error(splits, "assign_splits", replace_expression(variable_target("was_trained"), "False")):
        assert_caught(check_recorded)


def test_recorded_hashes_are_those_of_the_list(tmp_path):
    path = tmp_path / "data.jsonl"
    assert recorded_training_hashes(path) == frozenset()
    path.write_text('{"file": "a", "hash": "1"}\n\n{"file": "b", "hash": "2"}\n')
    assert recorded_training_hashes(path) == {"1", "2"}
    path.write_text("{}\n")
    assert recorded_training_hashes(path) == frozenset()
    for damaged in ("[]\n", "x", '{"hash": 3}\n', "\x00"):
        path.write_text(damaged)
        with pytest.raises(BadInput, match=r"data\.jsonl:1: damaged"):
            recorded_training_hashes(path)


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_a_folder_is_listed_in_order_with_its_classes(tmp_path):
    root, bad = files(tmp_path, "b/10.x", "b/2.x", "a/1.x", "a/note.txt", "loose.x"), UnusableFiles(0.9)
    found = find_candidate_files(root, None, None, {".x"}, "no x", bad)
    assert [f.name for f in found] == ["a/1.x", "b/2.x", "b/10.x", "loose.x"]
    assert [(f.name, f.label) for f in assign_labels(found, "folder", root, bad)] == [
        ("a/1.x", "a"), ("b/2.x", "b"), ("b/10.x", "b"),
    ]  # fmt: skip
    assert bad.reasons == [("loose.x", "is not in a class folder")]
    assert {f.label for f in assign_labels(found, "none", root, bad)} == {None}
    with pytest.warns(UserWarning, match=r"t\.csv: no line has a label: the names of the folders are the classes"):
        assert assign_labels(found, "folder", root, UnusableFiles(), root / "t.csv")


def test_a_table_names_files_and_labels(tmp_path):
    root = files(tmp_path / "data", "1.x", "2.x")
    (tmp_path / "t.csv").write_text("file,label,pitch\n2.x,b,3.5\n1.x,a,1\n")
    found = find_candidate_files(root, tmp_path / "t.csv", None, {".x"}, "no x", UnusableFiles())
    assert [(f.name, f.label, f.more) for f in found] == [("2.x", "b", {"pitch": 3.5}), ("1.x", "a", {"pitch": 1.0})]


def test_listings_without_files_or_classes_are_refused(tmp_path):
    root, bad = files(tmp_path, "1.txt"), UnusableFiles()
    with pytest.raises(BadInput, match=r"no x; .* contains 1 files with \.txt"):
        find_candidate_files(root, None, None, {".x"}, "no x", bad)
    prepared = [CandidateFile(root / "1.txt", "1.txt", facts={"hash": "0"})]
    with pytest.raises(BadInput, match="the manifest has none"):
        assign_labels(prepared, "folder", root, bad)
    outside = [CandidateFile(root.parent / "1.txt", "../1.txt")]
    with pytest.raises(BadInput, match="is not inside"):
        assign_labels(outside, "folder", root, bad)
