"""The exceptions that users see. This module does not load torch, so that a typing error is reported without delay."""


class BadInput(Exception):
    """The user's input cannot be used. The message names the position and the remedy; the command line exits with 2."""


class BrokenPlugin(Exception):
    """A component exists but cannot be loaded. The command line exits with 3."""
