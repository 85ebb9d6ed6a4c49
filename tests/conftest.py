"""Settings of every run, and `--mutants`: the list of planted errors with the test that caught each.

Small tensors are faster on one thread, and parallel test processes do not fight for cores.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

MUTANTS: dict[str, list[str]] = {}  # test -> the errors planted in it


def pytest_addoption(parser):
    parser.addoption("--mutants", action="store_true", help="run the planted errors alone and list what caught each")


def pytest_configure(config):
    if config.getoption("--mutants"):
        from sonolux.core.testing import planted

        made = planted._changed

        def recorded(module, old, new):
            if old:
                test = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]
                MUTANTS.setdefault(test, []).append(f"{module.__name__}: {_line(old)}  ->  {_line(new)}")
            return made(module, old, new)

        planted._changed = recorded


def pytest_collection_modifyitems(config, items):
    if config.getoption("--mutants"):
        items[:] = [item for item in items if any(word in item.name for word in ("planted", "caught", "mutant"))]


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("--mutants"):
        return
    passed = [report.nodeid for report in terminalreporter.stats.get("passed", ())]
    for test in passed:
        for error in MUTANTS.get(test, ["an error patched in by the test itself"]):
            terminalreporter.write_line(f"{error}\n    caught by {test}")
    escaped = sum(len(MUTANTS.get(r.nodeid, [r])) for r in terminalreporter.stats.get("failed", ()))
    caught = sum(len(MUTANTS.get(test, [test])) for test in passed)
    terminalreporter.write_line(f"{caught} planted errors caught, {escaped} not")


def _line(text):
    return " ".join(text.split()) or "(nothing)"
