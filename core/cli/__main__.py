"""The `sonolux` script and `python -m sonolux.core.cli`: a signal ends them without a traceback also during imports."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line of this process and return its exit code."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    from . import main as commands

    return commands.main()


def _end(number: int, frame: FrameType | None) -> None:
    """End the process, which has not begun anything yet."""
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
