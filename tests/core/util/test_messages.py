"""What is printed: names are shown escaped, through one function; JSON keeps the text."""

import ast
import io
import json
import sys

import pytest
from sonolux.core.config.registry import ROOT
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.types import BadInput
from sonolux.core.util import messages
from sonolux.core.util.folders import LONGEST_NAME, file_name, file_stem
from sonolux.core.util.messages import escape_control_characters, format_first, format_json, print_lines, shorten

SHOWN = {
    "plain": "plain",
    "ä ß é": "ä ß é",
    "中文 かな 한글": "中文 かな 한글",
    "👍🏽 👨‍👩‍👧 ❤️‍🔥": "👍🏽 👨‍👩‍👧 ❤️‍🔥",
    "می‌خواهم": "می‌خواهم",
    "no\u00a0break\u3000space": "no\u00a0break\u3000space",
    "C:\\new": "C:\\new",
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "a\nb\r\tc": r"a\nb\r\tc",
    "\x00\x07\x7f\x85\x9b": r"\x00\x07\x7f\x85\x9b",
    "gnp\u202e.exe": r"gnp\u202e.exe",
    "\u2066x\u2069\u200e\u061c": r"\u2066x\u2069\u200e\u061c",
    "a\u200bb\u200cc\u200dd\u2060\ufeff\u00ad": r"a\u200bb\u200cc\u200dd\u2060\ufeff\xad",
    "\u2028\u2029": r"\u2028\u2029",
    "\U000e0041": r"\U000e0041",
    "\udcff\ud800": r"\xff\ud800",
    "": "",
}


@pytest.mark.parametrize("text", SHOWN, ids=ascii)
def test_hidden_characters_are_shown_escaped(text):
    assert escape_control_characters(text) == SHOWN[text]
    assert escape_control_characters(escape_control_characters(text)) == escape_control_characters(text)


@pytest.mark.parametrize("text", SHOWN, ids=ascii)
def test_json_keeps_the_text_and_hides_nothing(text):
    shown = format_json({text: [text, 1.5, float("nan")]})
    assert json.loads(shown) == {text: [text, 1.5, None]}
    assert all(escape_control_characters(line) == line for line in shown.split("\n"))


def test_a_line_is_a_line(capsys):
    print_lines("two\nlines", 3)
    print_lines("\x1b]0;title\x07", err=True)
    said = capsys.readouterr()
    assert said.out == "two\\nlines\n3\n" and said.err == "\\x1b]0;title\\x07\n"


def test_a_terminal_without_unicode(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw := io.BytesIO(), encoding="ascii"))
    print_lines("ä 中")
    assert raw.getvalue() == b"\\xe4 \\u4e2d\n"


def test_a_message_of_several_lines():
    error = BadInput("first\nname", "second")
    assert error.lines() == ["first\nname", "second"] and str(error) == "first\nname\nsecond"
    assert BadInput().lines() == [""] and str(BadInput("one")) == "one"


def test_long_texts_are_cut():
    assert shorten("x" * 60) == "x" * 60
    assert shorten("a" * 500, 20) == f"{'a' * 17}..."


def test_the_first_of_several_texts():
    assert format_first([]) == "" and format_first(["a", "b", "c"]) == "a, b, c"
    assert format_first(list("abcde"), 2, "; ") == "a; b; and 3 more"


PRINTING = {"print", "click.echo", "click.secho", "traceback.print_exception", "traceback.print_exc"}
PRINTING |= {"sys.stdout.write", "sys.stderr.write"}


def printing(tree):
    """Lines of a file that print by themselves."""
    names = [(node.lineno, ast.unparse(node)) for node in ast.walk(tree) if isinstance(node, (ast.Name, ast.Attribute))]
    return [line for line, name in names if name in PRINTING]


def check_one_function_prints():
    files = [f for folder in ("core", "modalities", "examples") for f in (ROOT / folder).rglob("*.py")]
    found = {f.relative_to(ROOT).as_posix(): printing(ast.parse(f.read_text(encoding="utf-8"))) for f in files}
    scripts = [f"examples/{name}.py" for name in ("from_scratch", "studio_client", "reaper_studio")]
    used = [name for name, lines in found.items() if lines and name not in scripts]  # these use nothing of the package
    # The view of a run moves the cursor of the terminal, which is no text.
    assert sorted(used) == ["core/cli/watch.py", "core/util/messages.py"]


@pytest.mark.slow
def test_one_function_prints():
    check_one_function_prints()


@pytest.mark.slow
def test_a_command_that_prints_by_itself_is_caught(monkeypatch):
    true = ast.parse
    monkeypatch.setattr(
        ast, "parse", lambda text, *rest, **more: true(text.replace("print_lines(f", "click.echo(f"), *rest, **more)
    )
    assert_caught(check_one_function_prints)


@pytest.mark.parametrize("name", [*SHOWN, "../../x", "-rf", ".hidden", "中" * 300, "con", "a/b\\c"], ids=ascii)
def test_names_of_files(tmp_path, name):
    made = file_name("0007", [name, name, name, name], ".png")
    assert len(made.encode()) <= LONGEST_NAME and made.startswith("0007-") and made.endswith(".png")
    (tmp_path / made).write_text("")
    assert [p.name for p in tmp_path.iterdir()] == [made] and escape_control_characters(made) == made
    stem = file_stem(name, "sound")
    assert stem[0] not in "-." and "/" not in stem


def test_a_file_name_of_raw_text_is_caught(monkeypatch, tmp_path):
    from sonolux.core.util import folders

    monkeypatch.setattr(folders, "clean_name_part", str)
    assert_caught(test_names_of_files, tmp_path, "\x1b[31mred\x1b[0m")


def test_a_filter_that_lets_direction_marks_through_is_caught(monkeypatch):
    monkeypatch.setattr(messages.unicodedata, "category", lambda c: "Lo" if ord(c) > 127 else "Cc")
    assert_caught(test_hidden_characters_are_shown_escaped, "gnp\u202e.exe")
