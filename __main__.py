"""`python -m sonolux`: the command line."""

import sys

from .core.cli import leave_out_working_folder

if __name__ == "__main__":
    leave_out_working_folder()
    from .core.cli.__main__ import main

    sys.exit(main())
