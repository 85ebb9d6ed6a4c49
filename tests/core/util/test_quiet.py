"""Libraries in C are silenced, and only while they work."""

import os
import subprocess
import sys

import pytest
from sonolux.core.util.quiet import quiet_stderr


def test_what_is_written_meanwhile_is_discarded(capfd):
    os.write(2, b"before ")
    with quiet_stderr(), quiet_stderr():
        os.write(2, b"meanwhile ")
    with pytest.raises(ZeroDivisionError), quiet_stderr():
        raise ZeroDivisionError
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_a_process_without_stderr(tmp_path):
    code = "import os; os.close(2)\nfrom sonolux.core.util.quiet import quiet_stderr\nwith quiet_stderr(): print(1)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ).stdout == b"1\n"
