"""A checkpoint of others is opened without fetching; one's own may fetch what its recipe names."""

import shutil

import pytest
import sonolux
from sonolux.core.conditioning.class_ import Class
from sonolux.core.training.checkpoint import newest_checkpoint
from sonolux.core.util.fetching import allow_fetching, is_fetching_allowed


def test_inner_permission_does_not_override_an_outer_ban():
    assert is_fetching_allowed()
    with allow_fetching(False):
        assert not is_fetching_allowed()
        with allow_fetching(True):
            assert not is_fetching_allowed()
    assert is_fetching_allowed()


@pytest.mark.slow
def test_runs_of_others_fetch_nothing(tiny_run, tmp_path, monkeypatch):
    seen, draw = [], Class.init_weights

    def noted(self, rng):
        seen.append(is_fetching_allowed())
        draw(self, rng)

    run = tiny_run("image")
    copied = shutil.copy(newest_checkpoint(run), tmp_path / "copied.safetensors")
    monkeypatch.setattr(Class, "init_weights", noted)
    for path, options, allowed in ((run, {}, True), (copied, {}, False), (copied, {"allow_code": True}, True)):
        seen.clear()
        sonolux.load(path, device="cpu", **options)
        assert seen and all(value is allowed for value in seen)
