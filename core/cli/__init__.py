"""The command line: `main.py` finds the commands; each other file is one command."""
