"""The user's secret key: made once, read by the user alone, never looked for in the working folder."""

import os
import stat
from pathlib import Path

import pytest
from sonolux.core.util import user_key


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where the key of this test is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "sonolux" / "key"


def test_a_signature_is_of_one_text_and_one_key(place):
    assert not user_key.has_valid_signature("a", ["0" * 64]) and not place.exists(), "a check makes no key"
    one = user_key.sign_text("a")
    assert user_key.has_valid_signature("a", ["x", one]) and user_key.sign_text("a") == one
    assert not user_key.has_valid_signature("b", [one])
    assert not user_key.has_valid_signature("a", [None, 3, "", one[:-1], "é"])
    place.unlink()
    assert not user_key.has_valid_signature("a", [one]) and user_key.sign_text("a") != one


def test_only_the_user_can_read_the_key(place):
    user_key.sign_text("a")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600 and len(place.read_bytes()) == user_key.LENGTH
    assert [p.name for p in place.parent.iterdir()] == ["key"], "no temporary file stays"


@pytest.mark.parametrize("fault", ["others can read it", "too short", "a folder"])
def test_a_key_that_is_not_secret_or_not_whole_is_not_used(place, fault):
    signed = user_key.sign_text("a")
    if fault == "others can read it":
        place.chmod(0o640)
    elif fault == "too short":
        place.write_bytes(b"x")
    else:
        place.unlink()
        place.mkdir()
    assert not user_key.has_valid_signature("a", [signed])
    with pytest.raises(OSError):
        user_key.sign_text("a")


def test_a_key_that_another_process_made_first_stays(place, monkeypatch):
    link, other = os.link, bytes(user_key.LENGTH)

    def slower(source, target):
        Path(target).write_bytes(other)
        Path(target).chmod(0o600)
        link(source, target)

    monkeypatch.setattr(os, "link", slower)
    user_key.sign_text("a")
    assert place.read_bytes() == other


def test_a_file_system_without_links_takes_a_key_too(place, monkeypatch):
    def refuse(source, target):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert user_key.has_valid_signature("a", [user_key.sign_text("a")])
    assert [p.name for p in place.parent.iterdir()] == ["key"]


@pytest.mark.parametrize("state", ["", "state", "."])
def test_the_key_is_never_looked_for_below_the_working_folder(state, tmp_path, monkeypatch):
    """A relative name, or no home at all: a run folder of others could bring a key of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", state)
    monkeypatch.setenv("HOME", "here")
    for folder in (Path(state or "x"), Path("here/.local/state")):
        (folder / "sonolux").mkdir(parents=True, exist_ok=True)
        (folder / "sonolux" / "key").write_bytes(bytes(user_key.LENGTH))
        (folder / "sonolux" / "key").chmod(0o600)
    with pytest.raises(OSError, match="no home folder"):
        user_key.sign_text("a")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    user_key.sign_text("a")
    assert (tmp_path / "home/.local/state/sonolux/key").is_file()


def test_a_home_that_cannot_be_written_is_an_error_of_the_system(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    with pytest.raises(OSError):
        user_key.sign_text("a")
    assert not user_key.has_valid_signature("a", ["b"])
