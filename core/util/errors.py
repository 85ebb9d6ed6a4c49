"""What goes wrong, in words that the user can act on. No torch here: a wrong name in a command is told at once."""


class BadInput(Exception):
    """What the user gave cannot be used: one message names the place and the remedy; the command line exits with 2."""


class BrokenPlugin(Exception):
    """A component that is named exists but cannot be loaded; the command line exits with 3."""
