"""The command line: `main.py` finds the commands; each other file is one command."""

import os
import sys


def leave_out_working_folder() -> None:
    """Keep `python -m` from importing modules of the working folder, except if sonolux itself is there.

    The folder may be a run of others, whose files must not run because they are called `click.py` or `torch.py`.
    """
    try:
        here, checkout = os.getcwd(), os.path.join(os.path.dirname(__file__), "..", "..", "..")
        if sys.path[:1] == [here] and not os.path.samefile(here, checkout):
            del sys.path[0]
    except OSError:  # the working folder was removed
        return


if sys.argv[:1] == ["-m"]:  # so while `python -m` imports the packages of a module
    leave_out_working_folder()
