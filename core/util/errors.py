"""The exceptions that users see. This module does not load torch, so that a typing error is reported without delay."""


class BadInput(Exception):
    """The user's input cannot be used. The message names the position and the remedy; the command line exits with 2.

    Args:
        lines: The lines of the message, nearly always one. A line end inside a line belongs to a name in it.
    """

    def __init__(self, *lines: str):
        super().__init__(*lines)

    def lines(self) -> list[str]:
        """The lines of the message."""
        return [str(line) for line in self.args] or [""]

    def __str__(self) -> str:
        return "\n".join(self.lines())


class BrokenPlugin(Exception):
    """A component exists but cannot be loaded. The command line exits with 3."""
