"""Training and validation parts: of files by the hash of their content, of generated examples by their number."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from ..types import BadInput
from ..util.integers import as_seed
from ..util.json_files import StoredRecord, read_json_lines
from ..util.messages import format_names
from ..util.notes import issue_note

PARTS = ("train", "valid")
MOST_EXAMPLES = 10_000_000  # of a generated dataset: each has a line in the manifest


def check_split_name(split: str) -> None:
    """Raise BadInput unless `split` is the name of a part."""
    if split not in PARTS:
        raise BadInput(f"split is train or valid; got {split!r}")


def check_validation_share(valid: float) -> None:
    """Raise BadInput unless `valid` is a share for validation."""
    if not 0 <= valid < 1:
        raise BadInput(f"data.split.valid is a share from 0 up to, not including, 1; got {valid}")


def split_range(count: int, valid: float, split: str, noun: str = "examples") -> range:
    """Numbers of the examples of one part: the training part has the first, the validation part the last.

    Args:
        count: Number of examples in both parts together, at least 2 and at most `MOST_EXAMPLES`.
        valid: Share for validation, from 0 up to, not including, 1; above 0, each part has at least one example.
        split: The part, train or valid.
        noun: Name of the examples, for messages.

    Raises:
        BadInput: An argument is out of range.
    """
    if not 2 <= count <= MOST_EXAMPLES:
        raise BadInput(f"data.count is the number of {noun}, at least 2 and at most {MOST_EXAMPLES}; got {count}")
    check_validation_share(valid)
    check_split_name(split)
    held_out = min(max(round(count * valid), 1), count - 1) if valid else 0
    return range(count - held_out) if split == "train" else range(count - held_out, count)


# --- files ---


def _position(key: str, seed: int) -> float:
    """A number from 0 to 1 that depends on the key and the seed only."""
    digest = hashlib.blake2b(f"{as_seed(seed)}/{key}".encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def assign_split(key: str, valid: float, seed: int) -> str:
    """ "valid" for a share `valid` of all keys, else "train"; it depends on the key's hash only, not on other keys.

    Adding or removing files does not move other files, and a larger share contains the files of a smaller one. If the
    key is the hash of the content, copies with other names are in the same part, and moving the folder has no effect.

    Args:
        key: The example's key, such as the hash of its content.
        valid: Share for validation, from 0 up to, not including, 1.
        seed: Seed of the split.
    """
    check_validation_share(valid)
    return "valid" if _position(key, seed) < valid else "train"


def assign_splits(
    keys: Sequence[str],
    valid: float,
    seed: int,
    labels: Sequence[str | None] = (),
    recorded: Sequence[bool] = (),
) -> list[str]:
    """The part of each example: `assign_split` its key, and two rules for few examples.

    Every class keeps an example for training: of a class that the hash would hold out completely, the example with the
    largest position is trained. And both parts get an example if there are two that allow it. So adding a file moves at
    most one other file, unless nothing is held out by the hash.

    Args:
        keys: Key of each example; examples with the same key are in the same part.
        valid: Share for validation, from 0 up to, not including, 1.
        seed: Seed of the split.
        labels: Class of each example; (): without classes.
        recorded: Whether each example was in the training part of a run that is continued or evaluated. Such examples
            stay there, and the others follow their hash; (): a new run.
    """
    positions = {key: _position(key, seed) for key in keys}
    different = sorted(positions, key=lambda key: positions[key])
    check_validation_share(valid)
    if valid == 0 or len(different) < 2:
        return ["train"] * len(keys)
    trained = {key for key in different if positions[key] >= valid}
    classes: dict[str, set[str]] = {}
    for key, label in zip(keys, labels, strict=bool(labels)):
        if label is not None:
            classes.setdefault(label, set()).add(key)
    kept = {key for key, was_trained in zip(keys, recorded, strict=bool(recorded)) if was_trained}
    trained |= kept
    for members in classes.values() if not kept else ():
        if not trained & members:
            trained.add(max(members, key=lambda key: positions[key]))
    if not trained:
        trained.add(different[-1])
    if len(trained) == len(different):
        alone = set().union(*(members for members in classes.values() if len(members) == 1))
        trained -= set([key for key in different if key not in alone | kept][:1])
    _note_single_examples([label for label, members in classes.items() if len(members) == 1])
    return ["train" if key in trained else "valid" for key in keys]


def _note_single_examples(classes: Sequence[str]) -> None:
    if classes:
        one = f"the class {classes[0]!r} has" if len(classes) == 1 else f"{len(classes)} classes have"
        names = f" ({format_names(sorted(classes))})" * (len(classes) > 1)
        issue_note(f"{one} one example only{names}: it is trained, and none is held out", stacklevel=3)


class StoredExample(StoredRecord):
    """A line of data.jsonl; generated examples have no hash."""

    hash: str | None = None


_EXAMPLE = TypeAdapter(StoredExample)


def recorded_training_hashes(manifest: Path) -> frozenset[str]:
    """Hashes of the files of a run's training part, which its data.jsonl lists; empty if there is no such list.

    Raises:
        BadInput: The list is damaged.
    """
    if not manifest.is_file():
        return frozenset()
    return frozenset(row.hash for row in read_json_lines(manifest, _EXAMPLE) if row.hash)


def was_trained_on(hashes: Sequence[str], recorded: Collection[str]) -> list[bool]:
    """Whether the run that recorded its training files trained on each of these; [] for a new run."""
    return [content in recorded for content in hashes] if recorded else []
