"""The command itself: cheap help, exit codes, one message for every error."""

import ast
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch
from sonolux.core.cli import main as cli
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput, BrokenPlugin

FILES = cli.Commands.folder


def run(*arguments):
    """A real process: (exit code, stdout, stderr)."""
    done = subprocess.run([sys.executable, "-m", "sonolux.core.cli.main", *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def check_help(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    for name, file in cli.cli.files().items():
        assert name in said and ast.get_docstring(ast.parse(file.read_text())).split()[0] in said
    assert "main" not in cli.cli.files() and {"train", "sample", "recipe", "init", "plugins", "doctor"} <= set(
        cli.cli.files()
    )


@pytest.mark.slow
def test_help_lists_every_file(capsys):
    check_help(capsys)


def test_help_that_forgets_a_command_is_caught(capsys, monkeypatch):
    monkeypatch.setattr(cli.Commands, "format_commands", lambda self, ctx, formatter: None)
    assert_caught(check_help, capsys)


def loaded_by(code):
    """Which of the heavy modules a piece of code loads."""
    heavy = "['torch', 'numpy', 'yaml', 'pydantic', 'sonolux.core.cli.train', 'sonolux.core.types', 'matplotlib']"
    line = f"import sys\ntry:\n    {code}\nfinally:\n    print('LOADED', [m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True).stdout
    return out.splitlines()[-1]


def test_help_imports_no_command_and_no_torch():
    assert loaded_by("from sonolux.core.cli.main import main; main(['--help'])") == "LOADED []"


@pytest.mark.slow
def test_an_import_of_a_heavy_module_is_caught():
    assert "numpy" in loaded_by("import numpy; from sonolux.core.cli.main import main; main(['--help'])")


@pytest.mark.slow
def test_listing_recipes_and_components_needs_no_torch():
    for arguments in (["recipe", "list"], ["plugins"], ["plugins", "list", "--kind", "sampler"]):
        assert "torch" not in loaded_by(f"from sonolux.core.cli.main import main; main({arguments!r})")


@pytest.mark.parametrize("file", sorted(cli.cli.files().values()), ids=lambda f: f.stem)
def test_every_command_is_one_file_with_a_line_of_help(file: Path):
    name = next(n for n, f in cli.cli.files().items() if f == file)
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert isinstance(command, click.Command) and command.name == name
    assert (ast.get_docstring(ast.parse(file.read_text())) or "").strip() and command.help


def raising(error):
    @click.command("boom")
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BadInput("no such file: x.wav"), 2, "no such file: x.wav\n"),
        (BrokenPlugin("acme 1.0 is broken"), 3, "acme 1.0 is broken\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (KeyboardInterrupt("stopped at step 3, saved"), 130, "stopped at step 3, saved\n"),
        (ValueError("two\nlines"), 1, "ValueError: two lines\nSONOLUX_DEBUG=1 shows the traceback\n"),
        (MemoryError(), 1, "out of memory: choose a smaller batch (train.batch, sample.batch), size, or"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "seconds (CUDA out of memory)\n"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: x"), 1, "out of memory: choose"),
        (RuntimeError("shape mismatch"), 1, "RuntimeError: shape mismatch\nSONOLUX_DEBUG=1"),
        (click.UsageError("which?"), 2, "which?"),
        (click.FileError("x", "gone"), 2, "gone"),
        (SystemExit(130), 130, ""),
    ],
)
def test_errors_become_one_message_and_an_exit_code(monkeypatch, capsys, error, code, said):
    monkeypatch.setattr(cli.Commands, "files", lambda self: {"boom": Path("boom.py")})
    monkeypatch.setattr(cli.Commands, "get_command", lambda self, ctx, name: raising(error))
    monkeypatch.delenv("SONOLUX_DEBUG", raising=False)
    try:
        got = cli.main(["boom"])
    except SystemExit as stop:
        got = stop.code
    told = capsys.readouterr()
    assert got == code and told.out == ""
    assert said in told.err and "Traceback" not in told.err


@pytest.mark.slow
def test_a_home_folder_after_an_equals_sign_is_expanded(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["recipe", "schema", "--out=~/schema.json"]) == 0
    assert (tmp_path / "schema.json").is_file() and capsys.readouterr().out == f"wrote {tmp_path}/schema.json\n"
    assert cli.main(["recipe", "show", "shapes", "about=~/x", "--json"]) == 0
    assert '"about": "~/x"' in capsys.readouterr().out  # a change of a text stays a text


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setattr(cli.Commands, "files", lambda self: {"boom": Path("boom.py")})
    monkeypatch.setattr(cli.Commands, "get_command", lambda self, ctx, name: raising(ValueError("deep")))
    monkeypatch.setenv("SONOLUX_DEBUG", "1")
    assert cli.main(["boom"]) == 1
    assert "Traceback" in (said := capsys.readouterr().err) and "ValueError: deep" in said
    monkeypatch.setenv("SONOLUX_DEBUG", "0")
    assert cli.main(["boom"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_misspelt_command_option_or_argument_exits_with_2(capsys):
    assert cli.main(["recip"]) == 2 and "did you mean 'recipe'" in capsys.readouterr().err
    assert cli.main(["recipe", "list", "--jsn"]) == 2 and "--json" in capsys.readouterr().err
    assert cli.main(["init", "x"]) == 2 and "--from" in capsys.readouterr().err


@pytest.mark.slow
def test_the_process_exits_with_the_code():
    assert run("--version")[0] == 0
    code, out, err = run("recipe", "validate", "nothing-like-it")
    assert code == 2 and out == "" and err.startswith("there is no recipe 'nothing-like-it'")


def check_group_help(capsys, name):
    """The sentence of every subcommand is shown whole."""
    assert cli.main([name, "--help"]) == 0
    listed = capsys.readouterr().out.partition("\nCommands:\n")[2]
    assert listed and "..." not in listed, listed


@pytest.mark.parametrize("name", ["lab", "plugins", "recipe"])
def test_the_help_of_a_group_cuts_no_sentence(name, capsys):
    check_group_help(capsys, name)


def test_a_long_sentence_is_caught(capsys, monkeypatch):
    group = cli.cli.get_command(None, "plugins")
    monkeypatch.setattr(group.commands["show"], "help", "Print the description and the parameters " * 3)
    assert_caught(check_group_help, capsys, "plugins")


def test_a_finished_run_is_said_in_one_line(tiny_run, capsys):
    run = tiny_run("image")
    assert cli.main(["train", "--resume", str(run)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("this run is finished (") and "raise train.steps or train.minutes" in line
    assert str(run / "checkpoints") in line
