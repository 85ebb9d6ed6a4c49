"""The `sonolux` command: finds its subcommands by file name, and reports errors as one message and an exit code."""

from __future__ import annotations

import ast
import difflib
import errno
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import click

from ..util import interrupts
from ..util.errors import BadInput, BrokenPlugin
from ..util.limits import is_out_of_memory
from ..util.messages import LONGEST_LINE, escape_control_characters, print_lines, shorten
from ..util.paths import expand_home
from . import _output

OUT_OF_MEMORY = "out of memory: choose a smaller batch (train.batch, sample.batch), size, or number of seconds"
DONE, FAILED, BAD_INPUT, BROKEN_PLUGIN, SIGNAL, OUTPUT_CLOSED = 0, 1, 2, 3, 128, 141


class Commands(click.Group):
    """A group whose commands are the files in this folder; a file is imported only when its command runs.

    Each file defines `command`, a click.Command. `sonolux --help` shows the first line of the file's docstring.
    """

    folder = Path(__file__).resolve().parent

    def files(self) -> dict[str, Path]:
        """Name -> file of every command."""
        found = sorted(self.folder.glob("*.py"))
        return {f.stem.rstrip("_"): f for f in found if f.stem not in ("main", "base") and not f.stem.startswith("_")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands."""
        return list(self.files())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the file of a command and return the command."""
        file = self.files().get(cmd_name)
        if file is None:
            return None
        return importlib.import_module(f".{file.stem}", __package__).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the first docstring line of their files, which are parsed and not imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_line(file)) for name, file in self.files().items()])

    def resolve_command(self, ctx: click.Context, args: list[str]):
        """Resolve a command as click does; for an unknown command the message suggests the nearest name."""
        if args and not args[0].startswith("-") and args[0] not in self.files():
            near = difflib.get_close_matches(args[0], self.files(), n=2)
            hint = (
                f"; did you mean {' or '.join(map(repr, near))}?" if near else f". There are: {', '.join(self.files())}"
            )
            ctx.fail(f"no such command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)


def _first_line(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n", 1)[0]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sonolux", message="sonolux %(version)s")
def cli() -> None:
    """Train, sample and evaluate diffusion models of images and audio, from one recipe file.

    \b
    sonolux models                 list trained models that are part of sonolux
    sonolux recipe list            list the included recipes
    sonolux train synth_sfx        train one of them; the run folder is in runs/
    sonolux sample runs/synth-sfx --out sounds

    Exit codes: 0 success, 1 the run failed, 2 bad input, 3 a plugin failed; 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP,
    141 nothing reads the output. SONOLUX_DEBUG=1 shows tracebacks.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        arguments: The arguments; None: those of this process, whose signals and output are then handled to its end.
    """
    warnings.formatwarning = _note
    if arguments is not None:
        nested = interrupts.is_handler_installed()
        interrupts.install_handler()
        try:
            return _run(list(arguments))
        finally:
            if not nested:
                interrupts.uninstall_handler()
    handler = interrupts.install_handler(ends_process=True)
    _output.install_streams()
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        code = _interrupted(stop)
    except _output.OutputClosed:
        code = OUTPUT_CLOSED
    handler.finish()
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        words = [_with_home(word) for word in arguments]
        result = cli.main(args=words, prog_name="sonolux", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt) as stop:
        # click converts KeyboardInterrupt to Abort; a message, if any, is on the original exception.
        return _interrupted(stop if isinstance(stop, KeyboardInterrupt) else stop.__context__)
    except click.exceptions.NoArgsIsHelpError as error:
        print_lines(*error.format_message().split("\n"), err=True)
        return error.exit_code
    except click.ClickException as error:
        print_lines(_one_line(error), err=True)
        return error.exit_code if isinstance(error, click.UsageError) else BAD_INPUT
    except _output.OutputClosed:
        return OUTPUT_CLOSED
    except Exception as error:
        return _report(error)
    return result if isinstance(result, int) else DONE


def _interrupted(stop: BaseException | None) -> int:
    """Print that a signal ended the command, and return its exit code."""
    number = interrupts.received_signal()
    print_lines(str(stop or "") or interrupts.describe_signal(number), err=True)
    return SIGNAL + number


def _with_home(word: str) -> str:
    """An option such as `--out=~/x` with the home folder, which shells do not insert after `=`."""
    option, _, value = word.partition("=")
    return f"{option}={expand_home(value)}" if option.startswith("--") and value.startswith("~") else word


def _note(message: Warning | str, category: type[Warning], *place: object) -> str:
    """Format a warning as one line: notes and other messages to users as a note, the rest with their category."""
    kind = "note" if issubclass(category, UserWarning) else category.__name__
    return escape_control_characters(f"{kind}: {message}") + "\n"


def _one_line(error: click.ClickException) -> str:
    """What click reports of a command line, in one line, with the command that explains it."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return message if context is None else f"{message} (see {context.command_path} --help)"


def _report(error: Exception) -> int:
    """Print the message of an error and return its exit code."""
    debug = os.environ.get("SONOLUX_DEBUG", "") not in ("", "0")
    if debug:
        print_lines(*"".join(traceback.format_exception(error)).rstrip("\n").split("\n"), err=True)
    if is_out_of_memory(error):
        print_lines(f"{OUT_OF_MEMORY} ({shorten(' '.join(str(error).split()) or type(error).__name__)})", err=True)
        return FAILED
    place = _plugin_place(error)
    if isinstance(error, BadInput):
        code = BAD_INPUT
    elif place or isinstance(error, BrokenPlugin):
        code = BROKEN_PLUGIN
    else:
        code = FAILED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        print_lines(f"{_full_disk(error)}: free some space, then run the same command again", err=True)
        return FAILED
    expected = type(error).__module__.startswith("sonolux.")
    lines = error.lines() if isinstance(error, BadInput) else [str(error)]
    if not expected or not lines[0]:
        message = f"{type(error).__name__}: {error}".removesuffix(": ")
        lines = [(f"a plugin is broken: {place}: " if place else "") + " ".join(message.split())]
    print_lines(*(shorten(line, LONGEST_LINE) for line in lines), err=True)
    if not expected and not debug:
        print_lines("SONOLUX_DEBUG=1 shows the traceback", err=True)
    return code


def _full_disk(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _plugin_place(error: Exception) -> str:
    """`file:line, in function` if an error from outside of sonolux passed through a plugin's file, otherwise empty."""
    from ..config.registry import is_plugin_file

    if type(error).__module__.startswith("sonolux.") or isinstance(error, OSError):
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_plugin_file(f.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name}" if frames else ""


if __name__ == "__main__":
    sys.exit(main())
