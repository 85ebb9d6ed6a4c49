"""Kills a function at every one of its file operations: what a killed command leaves."""

import os
import signal
import sys
import traceback

EVENTS = {
    "open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "os.chmod", "shutil.rmtree",
}  # fmt: skip


def child(action, kill_at=0, below=None):
    """Run action() in a forked process, killed with SIGKILL at its n-th change of a file below a folder (0: never).

    Returns:
        Whether it was killed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            if kill_at:
                sys.addaudithook(killer(kill_at, str(below)))
            code = action() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the command failed; its message is above"
    return False


def killer(kill_at, below):
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event not in EVENTS or not any(isinstance(a, (str, bytes)) and below in os.fsdecode(a) for a in arguments):
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return  # read only
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def kill_everywhere(action, below, check, every=1):
    """Kill action() at its 1st, 2nd, ... file operation; check() runs after each and restores what is needed.

    With `every` = 3 it is the 1st, 4th, 7th ... operation.

    Returns:
        The number of kills.
    """
    n = 0
    while child(action, n * every + 1, below):
        n += 1
        check()
    check()
    print(f"{os.environ.get('PYTEST_CURRENT_TEST', '').partition('::')[2]}: killed {n} times")
    return n
