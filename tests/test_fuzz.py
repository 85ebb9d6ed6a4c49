"""Damaged input for every reader of files and texts: the same cases in every run; benchmarks/fuzz.py reads others."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sonolux.core.data.prepare.report import read_stored_summary
from sonolux.core.data.splits import recorded_training_hashes
from sonolux.core.pipeline.sample_list import read_sample_list
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput

sys.path.insert(0, str(Path(__file__).parent))
from _fuzz import NUMBERS, SIZE, Draws, Reader, case_bytes, mutated, no_errors_hidden, run_case, smallest, write_over
from _fuzz_readers import HASHES, READERS, SAMPLES, SUMMARY

CASES = 500  # of each reader
KEEPS_ANY = ("argument", "summary.json", "metrics.jsonl", "watched log", "latents")


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_damaged_input_is_read_or_refused(name, tmp_path):
    @settings(
        max_examples=CASES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(min_size=SIZE, max_size=SIZE))
    def check(data):
        with no_errors_hidden():
            run_case(READERS[name], data, tmp_path)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_undamaged_input_is_read(name, tmp_path):
    with no_errors_hidden():
        assert not run_case(READERS[name], bytes(SIZE), tmp_path).refused


@pytest.mark.parametrize("name", [name for name in READERS if name not in KEEPS_ANY])
def test_some_cases_are_refused(name, tmp_path):
    """Those that are left out keep any text, compute a damaged file or record again, or leave damaged lines out."""
    with no_errors_hidden():
        assert any(run_case(READERS[name], case_bytes(0, name, i), tmp_path).refused for i in range(20))


def test_files_of_output_folders_are_read_as_they_were_written(tmp_path):
    for name, text in (("samples.json", SAMPLES), ("data.jsonl", HASHES), ("summary.json", SUMMARY)):
        (tmp_path / name).write_text(text)
    assert [s.file for s in read_sample_list(tmp_path / "samples.json").samples] == ["0-a.png", "1.png"]
    assert recorded_training_hashes(tmp_path / "data.jsonl") == {"00000000", "11111111", "22222222"}
    assert read_stored_summary(tmp_path).recipe_sha256 == "00"


def test_changes_of_bytes():
    data = bytes(range(100, 200))
    assert mutated(data, Draws(b"")) == data
    one = [mutated(data, Draws(bytes([1, kind, 0, 5, 1, 200]))) for kind in range(6)]  # one change, at place 5
    assert one[0] == data[:5] + b"\x01" + data[6:]
    assert one[1] == data[:5] + b"\xc8\x00" + data[7:]
    assert one[2] == data[:5] + NUMBERS[1] + data[9:]
    assert one[3] == data[:5]
    assert one[4] == data[:5] + data[7:]
    assert one[5] == data[:5] + data[5:7] + data[5:]


def test_cases_are_those_of_their_number():
    assert case_bytes(0, "wav", 7) == case_bytes(0, "wav", 7)
    others = {case_bytes(0, "wav", 7), case_bytes(1, "wav", 7), case_bytes(0, "ogg", 7), case_bytes(0, "wav", 8)}
    assert len(others) == 4 and all(len(data) == SIZE for data in others)


def test_the_smallest_case_has_zeros_where_they_do_not_matter():
    found = smallest(bytes(range(96)), lambda data: data[33] == 33 and data[70] > 0)
    assert found == bytes(33) + b"\x21" + bytes(36) + b"\x46" + bytes(25)


def reader_that(act):
    return Reader("planted", lambda draws: draws.take(1), lambda given, folder: act(folder))


def check_planted(act, folder):
    with no_errors_hidden():
        run_case(reader_that(act), bytes(SIZE), folder)


def test_planted_faults_are_caught(tmp_path, monkeypatch):
    def fails(folder):
        raise ValueError("a fault of the reader")

    def refuses_without_a_word(folder):
        raise BadInput("")

    class Hides:
        def __del__(self):
            raise KeyError("an error that Python only prints")

    def hides(folder):
        Hides()

    def refuses(folder):
        raise BadInput("a reason")

    check_planted(refuses, tmp_path)
    with pytest.raises(ValueError, match="a fault of the reader"):
        check_planted(fails, tmp_path)
    with pytest.raises(KeyError, match="only prints"):
        check_planted(hides, tmp_path)
    assert_caught(run_case, reader_that(refuses_without_a_word), bytes(SIZE), tmp_path)
    for limit, value in (("SECONDS", -1.0), ("MEGABYTES", -1)):
        with monkeypatch.context() as patch:
            patch.setattr(f"_fuzz.{limit}", value)
            assert_caught(run_case, reader_that(lambda folder: None), bytes(SIZE), tmp_path)


def test_a_reader_without_a_model_is_caught(tmp_path, monkeypatch):
    """Planted: the list of samples is read with json alone."""

    def unchecked(path):
        return json.loads(path.read_bytes())["samples"][0]

    write_over(tmp_path / "samples.json", b'{"samples": 3}')
    with pytest.raises(BadInput, match="damaged"):
        read_sample_list(tmp_path / "samples.json")
    monkeypatch.setattr("_fuzz_readers.read_sample_list", unchecked)
    with pytest.raises((ValueError, TypeError, KeyError)):
        for number in range(50):
            run_case(READERS["samples.json"], case_bytes(0, "samples.json", number), tmp_path)
