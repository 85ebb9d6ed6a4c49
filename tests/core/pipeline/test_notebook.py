"""Samples in a notebook: what a cell shows, its size, and that names cannot hold markup; the bar of a notebook."""

import base64
import io
import re
import sys
import types

import pytest
import torch
from PIL import Image as Pictures
from sonolux.core.pipeline import notebook
from sonolux.core.pipeline.result import Samples
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.util import progress
from sonolux.core.util.progress import LineProgress, TerminalBar, progress_bar
from sonolux.modalities.audio.modality import Audio
from sonolux.modalities.image.modality import Image


def pictures(count, size=8):
    rng = torch.Generator().manual_seed(0)
    media = [torch.rand(3, size, size, generator=rng) * 2 - 1 for _ in range(count)]
    return Samples(media, [{"label": f"<b>{i}</b> & {i}"} for i in range(count)], {}, Image(size))


def check_pictures(samples):
    """The cell holds the values of the samples, in their order, with captions as text."""
    html = samples._repr_html_()
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(found) == len(samples)
    for text, media in zip(found, samples.media, strict=True):
        shown = torch.tensor(list(Pictures.open(io.BytesIO(base64.b64decode(text))).convert("RGB").tobytes()))
        expected = (media.permute(1, 2, 0).flatten() + 1) * 127.5
        assert float((shown - expected).abs().max()) <= 1
    assert "&lt;b&gt;1&lt;/b&gt; &amp; 1" in html and "<b>" not in html and "<script" not in html


def test_pictures_are_shown(monkeypatch):
    check_pictures(pictures(3))
    true = notebook.preview_files
    monkeypatch.setattr(notebook, "preview_files", lambda modality, media: true(modality, -media))
    assert_caught(check_pictures, pictures(3))


def test_sounds_have_a_player_and_a_drawing():
    wave = torch.sin(torch.arange(800) / 4)[None]
    html = Samples([wave], [{"label": "beep"}], {}, Audio(4000, 0.2))._repr_html_()
    (sound,) = re.findall(r'<audio controls preload="metadata" src="data:audio/wav;base64,([^"]+)"', html)
    assert base64.b64decode(sound).startswith(b"RIFF") and html.count("<img ") == 1 and "beep" in html


def check_size(samples, monkeypatch):
    monkeypatch.setattr(notebook, "MOST_BYTES", 1000)
    html = samples._repr_html_()
    assert html.count("<img ") == 2 and "4 more: save(folder) writes all of them" in html and len(html) < 2500


def test_the_size_is_limited(monkeypatch):
    check_size(pictures(6), monkeypatch)
    assert pictures(1, 64)._repr_html_().count("<img ") == 1, "one sample is always shown"
    monkeypatch.setattr(notebook, "MOST_BYTES", 10**9)
    many = pictures(notebook.MOST_SHOWN + 3)
    assert "3 more" in many._repr_html_()


def test_what_an_edit_started_from_is_shown_before_it():
    samples = pictures(2)
    samples.before = [-media for media in samples.media]
    html = samples._repr_html_()
    assert html.count("<img ") == 4 and re.findall(r">(before|after) ", html) == ["before", "after"] * 2


def test_a_modality_without_pages_is_shown_as_text():
    samples = pictures(1)
    samples.modality = types.SimpleNamespace()
    assert samples._repr_html_() is None and repr(samples) == "<1 samples>"


class Screen(io.StringIO):
    """The output of a notebook is no terminal."""

    def isatty(self):
        return False


@pytest.mark.parametrize("kernel", [None, object()])
def test_a_notebook_has_a_bar_and_a_log_has_lines(monkeypatch, kernel):
    shell = types.SimpleNamespace(kernel=kernel) if kernel else None
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    with progress_bar("sampling\n", "step", 2, delay=0, leave=True) as counted:
        counted.update(2)
    assert isinstance(counted, TerminalBar if kernel else LineProgress)
    assert (r"sampling\n: 100%" in screen.getvalue()) is bool(kernel)


def test_with_widgets_the_bar_is_one(monkeypatch):
    pytest.importorskip("ipywidgets")
    assert issubclass(progress.notebook_bar(), progress.EscapedTexts)
    assert progress.notebook_bar().__mro__[2].__module__ == "tqdm.notebook"
