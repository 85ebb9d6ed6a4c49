"""The `sonolux` script and `python -m sonolux.core.cli`: a signal ends them without a traceback also during imports."""

import sys

from ..util.interrupts import install_handler


def main() -> int:
    """Run the command line of this process and return its exit code."""
    install_handler(ends_process=True)
    from . import main as commands

    return commands.main()


if __name__ == "__main__":
    sys.exit(main())
