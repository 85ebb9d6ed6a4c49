"""Captions of pictures: a font that has the letters, and no boxes where none has them."""

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.modalities import caption_fonts
from sonolux.modalities.caption_fonts import caption_font
from sonolux.modalities.image.visualize import contact_sheet

LATIN = "a red circle, naïve Ærø"
SHOWN = ["ένας κόκκινος κύκλος", "красный круг", "دائرة حمراء صغيرة", "עיגול אדום", "∑ → ≤ ♥"]
WRITTEN = {
    "日本": "\\u65e5\\u672c",
    "नमस्ते": "\\u0928\\u092e\\u0938\\u0924",  # without its marks
    "a 🐶 and 👩\u200d👧": "a :dog face: and :woman:\u200d:girl:",
}


def check_no_boxes():
    """No letter is drawn as one that no font has."""
    for text in [LATIN, *SHOWN, *WRITTEN]:
        font, shown = caption_font(text, 11)
        basic = font.font_variant(layout_engine=caption_fonts.ImageFont.Layout.BASIC)
        box = bytes(basic.getmask("\U0010ffff"))
        assert not any(bytes(basic.getmask(letter)) == box for letter in shown), f"a box in {shown!r}"


def test_no_boxes():
    check_no_boxes()
    assert caption_font("a red circle", 11) == (caption_fonts._default_font(11), "a red circle"), "as it was"
    assert [caption_font(text, 11)[1] for text in [LATIN, *SHOWN]] == [LATIN, *SHOWN]
    assert {text: caption_font(text, 11)[1] for text in WRITTEN} == WRITTEN


@pytest.mark.parametrize("planted", ["_wide_font", "_has_letter"])
def test_boxes_are_caught(planted, monkeypatch):
    """Planted: Pillow's font for all texts; every letter is taken for one that the font has."""
    if planted == "_wide_font":
        monkeypatch.setattr(caption_fonts, planted, lambda size: None)
        assert caption_font("круг", 11)[1] == "\\u043a\\u0440\\u0443\\u0433", "without a wide font it is written"
    else:
        monkeypatch.setattr(caption_fonts, planted, lambda font, letter: True)
        assert_caught(check_no_boxes)


def test_captions_of_any_script_stay_in_their_column():
    """Wide letters are wrapped: nothing is drawn in the gap to the next picture."""
    media = [torch.ones(3, 16, 16)] * 2
    sheet = contact_sheet(media, ["красный круг над квадратом красный круг", ""], columns=2)
    gap = torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8).reshape(sheet.height, sheet.width, 3)
    assert int(gap[:, sheet.width // 2 + 3 :].min()) == 255, "the caption reaches into the next column"
