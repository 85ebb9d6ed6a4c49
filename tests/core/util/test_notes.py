"""Notes are warnings, unless their thread collects them; the filters of the process stay as they were."""

import ast
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.util import notes
from sonolux.core.util.notes import Note, collect_notes, hold_notes, issue_note

sys.path.insert(0, str(Path(__file__).parents[2]))
from _tree import PRODUCT, ROOT


def say(text):
    issue_note(text, stacklevel=2)


class OfTheProcess:
    """A variable of all threads, in place of a context variable."""

    value = None

    def get(self):
        return self.value

    def set(self, value):
        before, self.value = self.value, value
        return before

    reset = set


def test_a_note_is_a_warning_at_the_place_that_it_is_about():
    with pytest.warns(UserWarning, match="^left out$") as found:
        say("left out")
    with collect_notes() as collected:
        say("left out")
        issue_note("here")
    assert [note.text for note in collected] == ["left out", "here"]
    places = [(found[0].filename, found[0].lineno + 2), (__file__, found[0].lineno + 3)]
    assert [(note.file, note.line) for note in collected] == places


def check_threads():
    both = threading.Barrier(2, timeout=30)

    def work(name):
        with collect_notes() as collected:
            both.wait()
            issue_note(f"first of {name}")
            both.wait()
            issue_note(f"last of {name}")
            both.wait()
        return [note.text for note in collected]

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip("ab", pool.map(work, "ab"), strict=True))
    assert found == {name: [f"first of {name}", f"last of {name}"] for name in "ab"}


def test_a_thread_collects_its_own_notes():
    check_threads()
    with planted_error(notes, "_collected", OfTheProcess()):
        assert_caught(check_threads)


def test_held_notes_are_issued_at_the_end_or_dropped():
    with pytest.warns(UserWarning) as issued, hold_notes() as held:
        issue_note("one")
        issue_note("two")
        assert [note.text for note in held] == ["one", "two"] and not issued
        del held[0]
    assert [(str(one.message), one.filename) for one in issued] == [("two", __file__)]
    with collect_notes() as collected:
        with hold_notes():
            issue_note("kept")
        with pytest.raises(ZeroDivisionError), hold_notes():
            issue_note("dropped")
            raise ZeroDivisionError
        issue_note("after")
    assert [note.text for note in collected] == ["kept", "after"] and isinstance(collected[0], Note)


@contextmanager
def catch_all():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_filters():
    """Two threads leave the context in the order in which they entered it."""
    inside, leave = threading.Event(), threading.Event()

    def first():
        with notes.ignore_library_warnings():
            inside.set()
            assert leave.wait(30)

    before = [*warnings.filters]
    with warnings.catch_warnings(), ThreadPoolExecutor(1) as pool:
        done = pool.submit(first)
        assert inside.wait(30)
        with notes.ignore_library_warnings():
            leave.set()
            done.result()
            warnings.warn("of a library", DeprecationWarning, stacklevel=1)
        after = [*warnings.filters]
    assert after == before, "filters stay changed"


def test_warnings_of_libraries_are_ignored_until_the_last_thread_leaves():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_filters()
        with planted_error(notes, "ignore_library_warnings", catch_all), warnings.catch_warnings():
            assert_caught(check_filters, also=DeprecationWarning)


def test_notes_are_issued_by_one_function():
    """Elsewhere neither `warnings.warn`, save for what is deprecated, nor `catch_warnings`, which threads share."""
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.name != "notes.py" else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.warn", "warnings.catch_warnings"):
                assert "DeprecationWarning" in ast.unparse(node), f"{path.relative_to(ROOT)}:{node.lineno}"


def check_notes_are_not_ignored(context):
    """A note is issued while the warnings of libraries are ignored, whichever thread ignores them."""
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        with context(), ThreadPoolExecutor(1) as pool:
            pool.submit(warnings.warn, "of a library", UserWarning, 1).result()
            pool.submit(issue_note, "left out").result()
    assert [str(one.message) for one in issued] == ["left out"]


def test_notes_are_issued_while_warnings_of_libraries_are_ignored():
    check_notes_are_not_ignored(notes.ignore_library_warnings)


def test_planted_filter_of_all_warnings_is_caught():
    @contextmanager
    def ignore_all():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield

    assert_caught(check_notes_are_not_ignored, ignore_all)
