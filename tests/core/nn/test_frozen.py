"""Fingerprints of files, and networks that are in no checkpoint."""

import pytest
import torch
from sonolux.core.nn.frozen import FrozenNetwork, fingerprint_of_files
from sonolux.core.types import BadInput


def test_fingerprints(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    files = [tmp_path / "a", tmp_path / "b"]
    first = fingerprint_of_files(files)
    assert first == fingerprint_of_files(reversed(files)) and len(first) == 16
    (tmp_path / "b").write_text("3")
    assert fingerprint_of_files(files) != first
    with pytest.raises(BadInput, match="cannot be read"):
        fingerprint_of_files([tmp_path / "none"])


def test_a_frozen_network_is_in_no_checkpoint(tmp_path):
    made = FrozenNetwork(torch.nn.Linear(2, 2), b"a" * 16, tmp_path, "codec.folder")
    assert list(made.state_dict()) == ["fingerprint"] and not list(made.parameters())
    assert made.double().network.weight.dtype == torch.float64 and not made.network.weight.requires_grad
    made.load_state_dict(made.state_dict())
    other = FrozenNetwork(torch.nn.Linear(2, 2), b"b" * 16, tmp_path, "codec.folder")
    with pytest.raises(BadInput, match=rf"its hash is {b'b'.hex() * 16}, .* of hash {b'a'.hex() * 16}: codec\.folder="):
        other.load_state_dict(made.state_dict())
