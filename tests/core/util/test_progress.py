"""Progress in a log: a plain line every ten seconds, and none for what is done at once."""

import io
import re
import sys

import pytest
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.util import progress
from sonolux.core.util.progress import LineProgress, progress_bar, with_progress


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def check_log(clock, capsys):
    """200 steps of a second each: a line every 10 s, each whole and plain."""
    with progress_bar("sampling", "step", 400, done=200) as counted:
        for _ in range(200):
            clock.now += 1
            counted.set_postfix_str("loss 0.5")
            counted.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 20 and "\r" not in "".join(lines)
    assert lines[0] == "sampling: step 210 of 400, 1 a second, 03:10 left, loss 0.5"


def test_a_log_gets_a_line_now_and_then(clock, capsys):
    check_log(clock, capsys)


def test_planted_rate_that_counts_what_an_earlier_run_made_is_caught(clock, capsys, monkeypatch):
    true = LineProgress.__init__

    def counting_all(self, about, unit, total=None, done=0, even=True):
        true(self, about, unit, total, done, even)
        self.first = 0

    monkeypatch.setattr(LineProgress, "__init__", counting_all)
    assert_caught(check_log, clock, capsys)


def check_uneven_log(clock, capsys):
    """Things that take different times: a line every 10 s also within one of them, without rate and remaining time."""
    with progress_bar("", "plan", 3, even=False) as counted:
        for i in range(25):
            clock.now += 1
            counted.set_description_str(f"5 evaluations, stage {i}")
        counted.update()
        clock.now += 10
        counted.set_description_str("8 evaluations")
    assert capsys.readouterr().err.splitlines() == [
        "5 evaluations, stage 9: 0 of 3 plans done",
        "5 evaluations, stage 19: 0 of 3 plans done",
        "8 evaluations: 1 of 3 plans done",
    ]


def test_uneven_work_shows_no_remaining_time(clock, capsys):
    check_uneven_log(clock, capsys)


def test_planted_remaining_time_of_uneven_work_is_caught(clock, capsys, monkeypatch):
    monkeypatch.setattr(LineProgress, "even", property(lambda self: True, lambda self, value: None), raising=False)
    assert_caught(check_uneven_log, clock, capsys)


def test_a_bar_of_uneven_work_shows_no_remaining_time(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar("", "plan", 3, delay=0, leave=True, even=False) as counted:
        counted.set_description_str("5 evaluations")
        counted.update()
        counted.refresh()
    assert screen.getvalue().splitlines()[-1].endswith("5 evaluations: 1 of 3 plans done [00:00]")


def test_what_is_done_at_once_says_nothing(capsys):
    assert list(with_progress(range(5), "reading", "file", 5)) == [0, 1, 2, 3, 4]
    with progress_bar("", "step", None, delay=0, leave=True) as counted:
        counted.update()
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_and_the_quiet_get_nothing(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar("training", "step", 3, delay=0, leave=True) as counted:
        counted.update(3)
    assert "training: 100%" in screen.getvalue()
    before = screen.getvalue()
    with progress_bar("training", "step", 3, delay=0, show=False) as counted:
        counted.update(3)
    assert screen.getvalue() == before


def check_no_bar_of_its_own(root):
    """tqdm is called in one place, which looks whether there is a terminal; nothing else writes carriage returns."""
    folders = (root / name for name in ("core", "modalities", "examples", "benchmarks"))
    texts = {f.relative_to(root).as_posix(): f.read_text() for folder in folders for f in folder.rglob("*.py")}
    drawing = [
        name for name, text in texts.items() if re.search(r"\b(tqdm|TerminalBar)\(", text) or 'end="\\r"' in text
    ]
    assert [name.rpartition("/")[2] for name in drawing] == ["progress.py"], drawing


def test_nothing_draws_a_bar_by_itself():
    from sonolux.core.config.registry import ROOT

    check_no_bar_of_its_own(ROOT)


def test_planted_bar_of_its_own_is_caught(tmp_path):
    for name in ("core/util/progress.py", "examples/own.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("for i in tqdm(range(3)): pass")
    with pytest.raises(AssertionError, match="own"):
        check_no_bar_of_its_own(tmp_path)
