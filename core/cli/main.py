"""The `sonolux` command: finds its subcommands by file name, and reports errors as one message and an exit code."""

from __future__ import annotations

import ast
import difflib
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import click

from ..util.errors import BadInput, BrokenPlugin
from ..util.paths import expanded

DONE, FAILED, BAD_INPUT, BROKEN_PLUGIN, INTERRUPTED = 0, 1, 2, 3, 130


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
    sonolux recipe list            list the included recipes
    sonolux train synth_sfx        train one of them; the run folder is in runs/
    sonolux sample runs/synth-sfx --out sounds

    Exit codes: 0 success, 1 the run failed, 2 bad input, 3 a plugin failed. SONOLUX_DEBUG=1 shows tracebacks.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        arguments: The arguments; None: sys.argv.
    """
    warnings.formatwarning = _note
    try:
        words = [_with_home(word) for word in (sys.argv[1:] if arguments is None else arguments)]
        result = cli.main(args=words, prog_name="sonolux", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt) as stop:
        # click converts KeyboardInterrupt to Abort; a message, if any, is on the original exception.
        cause = stop if isinstance(stop, KeyboardInterrupt) else stop.__context__
        print(str(cause or "") or "interrupted", file=sys.stderr)
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        print(_one_line(error), file=sys.stderr)
        return error.exit_code if isinstance(error, click.UsageError) else BAD_INPUT
    except Exception as error:
        return _report(error)
    return result if isinstance(result, int) else DONE


def _with_home(word: str) -> str:
    """An option such as `--out=~/x` with the home folder, which shells do not insert after `=`."""
    option, _, value = word.partition("=")
    return f"{option}={expanded(value)}" if option.startswith("--") and value.startswith("~") else word


def _note(message: Warning | str, category: type[Warning], *place: object) -> str:
    """Format a warning as one line: those of sonolux as a note, others with their category."""
    return f"note: {message}\n" if category is UserWarning else f"{category.__name__}: {message}\n"


def _one_line(error: click.ClickException) -> str:
    """What click reports of a command line, in one line, with the command that explains it."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return message if context is None else f"{message} (see {context.command_path} --help)"


def _report(error: Exception) -> int:
    """Print the message of an error and return its exit code."""
    debug = os.environ.get("SONOLUX_DEBUG", "") not in ("", "0")
    if debug:
        traceback.print_exception(error)
    place = _plugin_place(error)
    if isinstance(error, BadInput):
        code = BAD_INPUT
    elif place or isinstance(error, BrokenPlugin):
        code = BROKEN_PLUGIN
    else:
        code = FAILED
    expected = type(error).__module__.startswith("sonolux.")
    message = str(error) if expected and str(error) else f"{type(error).__name__}: {error}".removesuffix(": ")
    if not expected:
        message = (f"a plugin is broken: {place}: " if place else "") + " ".join(message.split())
    print(message, file=sys.stderr)
    if not expected and not debug:
        print("SONOLUX_DEBUG=1 shows the traceback", file=sys.stderr)
    return code


def _plugin_place(error: Exception) -> str:
    """`file:line, in function` if an error from outside of sonolux passed through a plugin's file, otherwise empty."""
    from ..config.registry import plugin_file

    if type(error).__module__.startswith("sonolux.") or isinstance(error, (MemoryError, OSError)):
        return ""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):  # not the plugin's fault
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if plugin_file(f.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name}" if frames else ""


if __name__ == "__main__":
    sys.exit(main())
