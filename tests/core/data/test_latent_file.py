"""The file of encoded examples: what is stored, and what is not used."""

import errno
import warnings

import pytest
import torch
from sonolux.core.data import latent_file
from sonolux.core.data.latent_file import LatentFile, media_key
from sonolux.core.testing.mutation import assert_caught

SHAPE = (2, 3)
KEYS = [bytes([i]) * 16 for i in range(4)]


def values(count=4):
    return torch.arange(count * 6, dtype=torch.float32).reshape(count, *SHAPE)


def opened(folder, fingerprint=b"f" * 16, shape=SHAPE):
    return LatentFile(lambda: folder / "latents.bin", fingerprint, shape)


@pytest.fixture
def stored(tmp_path):
    opened(tmp_path).put(KEYS, values())
    return tmp_path


def same(found, expected=None):
    return all(torch.equal(a, b) for a, b in zip(found, values() if expected is None else expected, strict=True))


def test_values_return(stored):
    file = opened(stored)
    assert len(file) == 4 and same(file.get(KEYS)) and same(file.get(KEYS[::-1]), values().flip(0))
    assert file.get([b"x" * 16, KEYS[0]])[0] is None
    size = (stored / "latents.bin").stat().st_size
    file.put(KEYS, values())
    assert (stored / "latents.bin").stat().st_size == size, "each example is stored once"


def test_keys_depend_on_values_and_shape():
    x = torch.zeros(2, 6)
    keys = {media_key(x), media_key(x.reshape(3, 4)), media_key(x + 1), media_key(x[:1])}
    assert len(keys) == 4 and media_key(x) == media_key(x.clone()) and len(media_key(x)) == 16


def check_damaged(folder):
    path = folder / "latents.bin"
    data = bytearray(path.read_bytes())
    data[-10] ^= 1  # of the values of the last record
    path.write_bytes(data)
    file = opened(folder)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        found = file.get(KEYS)
    assert ["is damaged: what cannot be used is encoded again" in str(note.message) for note in notes] == [True]
    assert same(found[:3], values()[:3]) and found[3] is None
    file.put(KEYS, values())
    assert same(opened(folder).get(KEYS)), "it is written again"


def test_a_damaged_record_is_not_used(stored):
    check_damaged(stored)


def test_records_without_a_check_are_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(LatentFile, "_check", staticmethod(lambda key, row: b"c" * 16))
    opened(tmp_path).put(KEYS, values())
    assert_caught(check_damaged, tmp_path)


def test_a_file_that_is_cut_off_is_used_up_to_there(stored):
    path = stored / "latents.bin"
    path.write_bytes(path.read_bytes()[:-5])
    file = opened(stored)
    assert len(file) == 3 and file.get(KEYS)[3] is None
    file.put(KEYS, values())
    assert same(opened(stored).get(KEYS))


@pytest.mark.parametrize("other", [{"fingerprint": b"g" * 16}, {"shape": (6, 2)}])
def test_a_file_of_another_codec_is_made_again(stored, other):
    with pytest.warns(UserWarning, match="of another codec, version or kind of device, and is made again"):
        file = opened(stored, **other)
    assert len(file) == 0 and (stored / "latents.bin").stat().st_size == 0
    count = 2 if "shape" in other else 4
    new = torch.ones(count, *file.shape)
    file.put(KEYS[:count], new)
    assert same(opened(stored, **other).get(KEYS[:count]), new)


def test_garbage_is_made_again(tmp_path):
    (tmp_path / "latents.bin").write_bytes(b"\xff" * 1000)
    with pytest.warns(UserWarning, match="made again"):
        file = opened(tmp_path)
    file.put(KEYS, values())
    assert same(opened(tmp_path).get(KEYS))


def test_a_file_that_vanishes_is_begun_again(stored):
    file = opened(stored)
    (stored / "latents.bin").unlink()
    with pytest.warns(UserWarning, match="cannot be read"):
        assert file.get(KEYS) == [None] * 4
    file.put(KEYS, values())
    assert same(file.get(KEYS)) and same(opened(stored).get(KEYS))


def test_a_full_disk_or_file_stops_storing_only(tmp_path, monkeypatch):
    file = opened(tmp_path)
    monkeypatch.setattr(latent_file, "MOST_BYTES", 150)
    file.put(KEYS[:1], values(1))
    file.put(KEYS[1:], values()[1:])
    assert len(file) == 1 and same(file.get(KEYS[:1]), values(1)) and file.get(KEYS)[1] is None

    def full(*args, **kw):
        raise OSError(errno.ENOSPC, "no space left")

    other = LatentFile(lambda: tmp_path / "other" / "latents.bin", b"f" * 16, SHAPE)
    monkeypatch.setattr("builtins.open", full)
    with pytest.warns(UserWarning, match="cannot be written"):
        other.put(KEYS, values())
    assert len(other) == 0
