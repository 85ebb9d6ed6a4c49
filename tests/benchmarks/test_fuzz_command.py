"""The command that reads damaged input: its table, a fault that it finds, and cases that are continued."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import fuzz


def test_a_table_of_all_readers(capsys):
    assert fuzz.main(["--cases", "3", "--readers", "csv,samples.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["reader", "cases", "refused"]
    assert [line.split()[:2] for line in lines[-3:]] == [["csv", "3"], ["samples.json", "3"], ["all", "6"]]
    assert all(line.split()[-1] == "0" for line in lines[-3:]) and "fault:" not in "".join(lines)


def test_an_unknown_reader_is_named(capsys):
    with pytest.raises(SystemExit):
        fuzz.main(["--readers", "wave"])
    assert "there is no reader wave; known: wav, " in capsys.readouterr().err


@pytest.fixture
def planted(monkeypatch):
    """A reader that fails for one case in four, next to one that does not."""

    def read(given, folder):
        if given % 4 == 0 and given:
            raise ValueError("a planted fault")

    reader = fuzz.Reader("planted", lambda draws: draws.number(256), read)
    monkeypatch.setattr(fuzz, "READERS", {"planted": reader, "csv": fuzz.READERS["csv"]})


def test_faults_are_printed_with_what_repeats_them_and_the_others_follow(planted, capsys):
    assert fuzz.main(["--cases", "24", "--seed", "5"]) == 1
    out = capsys.readouterr().out
    numbers = [line.split()[8] for line in out.splitlines() if line.startswith("fault: ")]
    assert numbers and out.count("ValueError: a planted fault") == len(numbers)
    assert [line.split()[0] for line in out.splitlines()[-3:]] == ["planted", "csv", "all"]
    assert out.splitlines()[-3].split()[-1] == str(len(numbers))
    for number in numbers:
        assert fuzz.main(["--cases", "1", "--seed", "5", "--first", number, "--readers", "planted"]) == 1
    first = int(numbers[1])  # what follows the first fault is the same in a run that continues
    assert fuzz.main(["--cases", str(24 - first), "--seed", "5", "--first", str(first), "--readers", "planted"]) == 1
    again = capsys.readouterr().out.splitlines()[-1]
    assert again.split()[-1] == str(len(numbers) - 1)
