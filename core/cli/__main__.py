"""The `sonolux` script and `python -m sonolux.core.cli`: handles signals before the imports, which are slow."""

from __future__ import annotations

import sys

from ..util import interrupts


def main() -> int:
    """Run the command line of the process and return its exit code."""
    interrupts.install()
    try:
        from . import main as commands

        return commands.main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + interrupts.received()


if __name__ == "__main__":
    sys.exit(main())
