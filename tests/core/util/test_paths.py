"""Paths as users write them: home folders, and texts that no path can be."""

from pathlib import Path

import pytest
from sonolux.core.types import BadInput
from sonolux.core.util import paths
from sonolux.core.util.paths import expand_home


def test_a_path_is_expanded_and_need_not_exist(tmp_path):
    assert expand_home("~/x") == Path.home() / "x" and expand_home("a/../b") == Path("a/../b")
    assert expand_home(tmp_path / "gone") == tmp_path / "gone"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("~no-such-user/x", "no such home folder; a name that starts with ~ is written ./~name"),
        ("a\0b", "no path can contain these characters"),
        ("\ud800", "no path can contain these characters"),
        ("x" * 5000, r"x+\.\.\.: too long for the name of a file"),
        ("a/" * 5000, "too long"),
    ],
)
def test_a_text_that_is_no_path_is_bad_input(text, said):
    with pytest.raises(BadInput, match=said) as error:
        expand_home(text)
    assert len(str(error.value)) <= 200 and str(error.value).encode()


def test_the_file_system_is_not_asked_about_paths_that_are_not_trusted(monkeypatch):
    monkeypatch.setattr(paths.os, "lstat", lambda path: pytest.fail("looked"))
    assert expand_home("x" * 5000, look=False).name == "x" * 5000
    with pytest.raises(BadInput, match="no path"):
        expand_home("a\0", look=False)
