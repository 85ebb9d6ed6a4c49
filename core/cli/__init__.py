"""The command line: `main.py` finds the commands, every other file is one."""
