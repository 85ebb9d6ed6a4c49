"""Changed bytes in the JSON files of output folders: each is read, or refused with BadInput, or written again."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from sonolux.core.data.prepare.report import read_stored_summary
from sonolux.core.data.splits import recorded_training_hashes
from sonolux.core.pipeline.result import saved_sample_files
from sonolux.core.pipeline.sample_list import read_sample_list
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.data_changes import describe_data_changes
from sonolux.core.training.run_dir import RunDir

sys.path.insert(0, str(Path(__file__).parents[2]))
from _fuzz import check, fuzzed, mutated, mutations

pytestmark = pytest.mark.filterwarnings("ignore")
SAMPLES = json.dumps({"settings": {"seed": 3}, "samples": [{"file": "0-a.png", "label": "a"}, {"file": "1.png"}]})
HASHES = "".join(json.dumps({"file": f"{n}.png", "hash": str(n) * 8, "label": None}) + "\n" for n in range(3))
LOG = "".join(json.dumps({"step": n, "loss": 0.5, "objective": {"tau": 0.1}}) + "\n" for n in range(4))
SUMMARY = json.dumps({"recipe_sha256": "00", "near_copies": [{"files": ["a", "b"], "likeness": 0.9}], "usable": 2})


class OneExample:
    """A dataset of one example."""

    def manifest(self):
        return [{"file": "0.png", "hash": "00000000"}]


def read_samples(path):
    saved_sample_files(path.parent)
    read_sample_list(path)


def read_hashes(path):
    describe_data_changes(path, "0", OneExample())
    recorded_training_hashes(path)


def test_every_file_is_read_as_it_was_written(tmp_path):
    for name, text in (("samples.json", SAMPLES), ("data.jsonl", HASHES), ("summary.json", SUMMARY)):
        (tmp_path / name).write_text(text)
    assert [s.file for s in read_sample_list(tmp_path / "samples.json").samples] == ["0-a.png", "1.png"]
    assert recorded_training_hashes(tmp_path / "data.jsonl") == {"00000000", "11111111", "22222222"}
    assert read_stored_summary(tmp_path).recipe_sha256 == "00"


@fuzzed
@given(changes=mutations(len(SAMPLES)))
def test_samples_json(tmp_path, changes):
    check(tmp_path / "samples.json", mutated(SAMPLES.encode(), changes), read_samples)


@fuzzed
@given(changes=mutations(len(HASHES)))
def test_data_jsonl(tmp_path, changes):
    check(tmp_path / "data.jsonl", mutated(HASHES.encode(), changes), read_hashes)


@fuzzed
@given(changes=mutations(len(SUMMARY)))
def test_summary_json(tmp_path, changes):
    check(tmp_path / "summary.json", mutated(SUMMARY.encode(), changes), lambda path: read_stored_summary(path.parent))


@fuzzed
@given(changes=mutations(len(LOG)))
def test_metrics_jsonl(tmp_path, changes):
    check(tmp_path / "metrics.jsonl", mutated(LOG.encode(), changes), lambda path: RunDir(path.parent).truncate_log(2))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_bytes().split(b"\n") if line]
    assert all(row.get("step", 0) <= 2 for row in rows)


def test_a_reader_without_a_model_is_caught(tmp_path):
    """Planted: the list of samples read with json alone."""
    with pytest.raises((KeyError, TypeError)):
        check(tmp_path / "samples.json", b'{"samples": 3}', lambda path: json.loads(path.read_bytes())["samples"][0])
    assert_caught(check, tmp_path / "x", b"", lambda path: path.read_bytes()[0], also=(IndexError,))
