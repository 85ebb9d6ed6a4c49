"""Signals: work that must be completed, repetitions, and the handlers from before."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.util import interrupts
from sonolux.core.util.interrupts import Interrupted, SignalHandler, defer_signals


def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_a_block_is_completed(number):
    before, done = [signal.getsignal(n) for n in interrupts.SIGNALS], []
    with pytest.raises(Interrupted), defer_signals() as signals:
        with defer_signals():
            for _ in range(30):
                send(number)
        done.append(signals.received)
    assert done == [number] and [signal.getsignal(n) for n in interrupts.SIGNALS] == before


def check_repetitions(monkeypatch, capfd):
    """A key that is held down is one request; the second one is answered, the third ends a library call at once."""
    monkeypatch.setattr(interrupts, "REPEAT", 0.2)
    with pytest.raises(Interrupted, match="at once"), defer_signals():
        for _ in range(5):
            send()
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):  # SIGTERM is no second request
            time.sleep(0.3)
            assert "Ctrl-C again" not in capfd.readouterr().err
            send(number)
        assert "Ctrl-C again" in capfd.readouterr().err
        time.sleep(0.3)
        send()
        raise AssertionError("the request was ignored")


def test_repetitions_are_ignored_and_a_third_request_ends_at_once(monkeypatch, capfd):
    check_repetitions(monkeypatch, capfd)


def test_planted_deafness_is_caught(monkeypatch, capfd):
    monkeypatch.setattr(SignalHandler, "_end_at_once", lambda self: None)
    assert_caught(check_repetitions, monkeypatch, capfd)


def test_a_command_ends_by_an_exception_and_only_one():
    handler = interrupts.install_handler()
    try:
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)
        for _ in range(30):
            send(signal.SIGTERM)  # while the command ends
        assert interrupts.received_signal() == signal.SIGTERM == handler.received
    finally:
        interrupts.uninstall_handler()
    assert not interrupts.is_handler_installed() and interrupts.received_signal() == signal.SIGINT


def test_signals_that_the_parent_process_disabled_stay_disabled():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with defer_signals() as signals:
            send(signal.SIGHUP)
        assert signals.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_go_without():
    from concurrent.futures import ThreadPoolExecutor

    def work():
        with defer_signals() as signals:
            return signals.received, interrupts.is_handler_installed()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == (None, False)


def test_an_error_is_not_hidden():
    with pytest.raises(ValueError, match="mine"), defer_signals():
        send()
        raise ValueError("mine")


# --- a command: before its work, and during an import, where many packages catch every exception ---

COMMAND = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell hands it down ignored
from sonolux.core.util import interrupts
PLANTED
interrupts.install_handler(ends_process=True)
if BEGUN:
    interrupts.begin_work()
sys.path.insert(0, sys.argv[1])
try:
    import deaf
    time.sleep(3)
    print("lost")
except interrupts.Interrupted:
    print("after the import" if deaf.DONE else "in the import")
"""
DEAF = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.NUMBER)
    time.sleep(0.1)
except BaseException:
    pass
DONE = True
"""


def check_import(folder, name, begun, planted=""):
    (folder / "deaf.py").write_text(DEAF.replace("NUMBER", name))
    script = COMMAND.replace("PLANTED", planted).replace("BEGUN", str(begun))
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True)
    by = "" if name == "SIGINT" else f" by {name}"
    if begun:
        assert (done.returncode, done.stdout, done.stderr) == (0, "after the import\n", "")
    else:
        code = 128 + getattr(signal, name)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", f"interrupted{by}\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_signal_in_an_import_is_not_lost(tmp_path, name, begun):
    check_import(tmp_path, name, begun)


PLANTED = {
    False: "SignalHandler.working = property(lambda self: True, lambda self, value: None)",
    True: "_is_importing = lambda frame: False",
}


@pytest.mark.parametrize("begun", PLANTED)
def test_planted_exceptions_in_imports_are_caught(tmp_path, begun):
    assert_caught(check_import, tmp_path, "SIGINT", begun, f"interrupts.{PLANTED[begun]}")


def test_a_signal_whose_exception_was_caught_ends_the_command_before_it_replaces_anything():
    interrupts.install_handler()
    try:
        with suppress(Interrupted):  # as a package may do
            send()
        with pytest.raises(Interrupted), defer_signals():
            raise AssertionError("the result was replaced")
    finally:
        interrupts.uninstall_handler()
