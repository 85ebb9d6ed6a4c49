"""What an edit asks for and cannot have is said in one line: sizes, coordinates, levels, rates, options."""

import json
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import sonolux
import soundfile
import torch
from PIL import Image
from sonolux.core.cli.main import main
from sonolux.core.pipeline import changed_keys
from sonolux.core.pipeline.edit import inpaint, region
from sonolux.core.pipeline.edit.region import EditRegion
from sonolux.core.pipeline.edit.source import SourceFile, describe_conversion
from sonolux.core.pipeline.loop_sizes import warn_of_rounding
from sonolux.core.pipeline.result import result_notes
from sonolux.core.testing.mutation import assert_caught, planted_error, replace_expression, variable_target
from sonolux.core.types import BadInput, MediaSpec, WrittenFile
from sonolux.core.util.notes import NoteWarning
from sonolux.modalities.audio import post_processing
from sonolux.modalities.audio.modality import Audio
from sonolux.modalities.audio.outputs.file import File
from sonolux.modalities.audio.post_processing import limit_unknown_parts
from sonolux.modalities.image.modality import Image as Pictures


@pytest.fixture(scope="module")
def pictures(tiny_run, opened):
    return opened(tiny_run("image"))


@pytest.fixture(scope="module")
def sounds(tiny_run, opened):
    return opened(tiny_run("audio"))


def said_by(call, *arguments, **options):
    """The result of a call, and its warnings."""
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        result = call(*arguments, **options)
    return result, [str(one.message) for one in caught_warnings if issubclass(one.category, NoteWarning)]


# --- coordinates of the file ----------------------------------------------------------------------------------------


def marked(path, height, width, box, turn=None):
    """A black picture with a white box, [left, top, right, bottom]."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    if turn:  # stored lying on its side; a viewer turns it back
        picture, exif[0x0112] = picture.transpose(Image.Transpose.ROTATE_90), turn
    picture.save(path, exif=exif)
    return path


CASES = [  # height, width, box of the file
    (96, 96, [0, 12, 24, 24]),
    (96, 96, [90, 90, 96, 96]),
    (96, 144, [30, 6, 60, 36]),
    (50, 32, [3, 20, 9, 29]),
    (16, 16, [2, 3, 5, 7]),
    (8, 8, [1, 2, 3, 4]),
    (8, 12, [3, 2, 6, 4]),
]


def check_box(pictures, tmp_path, height, width, box, turn=None):
    """The part that is regenerated is where the box is after reading: the white pixels."""
    file = marked(tmp_path / "a.png", height, width, box, turn)
    context = pictures._edit_context({})
    source, _ = said_by(context.read, file)
    known, said = said_by(EditRegion(box=box).known_mask, context, source)
    inside, level = ~known[0], source.given.mean(0)
    blurred = 2 * -(-16 // min(height, width)) if height != 16 else 0  # bicubic filters reach beyond an edge
    near = torch.nn.functional.max_pool2d(inside[None].float(), 1 + 2 * blurred, 1, blurred)[0] > 0
    assert bool(inside[level > 0.9].all()) and bool(near[level > -0.9].all())
    assert int(inside.sum()) <= int((level > -1).sum())
    assert len(said) == ((height, width) != (16, 16))


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width", "box"), CASES)
def test_a_box_has_the_coordinates_of_the_file(pictures, tmp_path, height, width, box):
    check_box(pictures, tmp_path, height, width, box)


def test_a_box_of_a_turned_file_has_the_coordinates_of_the_picture_as_it_is_shown(pictures, tmp_path):
    check_box(pictures, tmp_path, 60, 40, [4, 10, 14, 22], turn=6)


def test_planted_boxes_in_other_coordinates_are_caught(pictures, tmp_path):
    with planted_error(region, "_scaled", replace_expression(variable_target("scale"), "1.0")):
        assert_caught(check_box, pictures, tmp_path, 96, 96, [0, 12, 24, 24], also=BadInput)
    with planted_error(region, "_scaled", replace_expression(variable_target("offset"), "0.0")):
        assert_caught(check_box, pictures, tmp_path, 96, 144, [30, 6, 60, 36], also=BadInput)


def test_a_scaled_box_is_said_in_one_line(pictures, tmp_path):
    file = marked(tmp_path / "a.png", 96, 96, [0, 12, 24, 24])
    made, said = said_by(pictures.inpaint, file, box=[0, 12, 24, 24])
    assert said == [
        f"{file} is converted from height 96, width 96 to height 16, width 16; the result has height 16, width 16",
        f"box [0, 12, 24, 24] of {file}, 96 x 96, is [0, 2, 4, 4] of the 16 x 16 edited",
    ]
    kept = torch.ones(16, 16, dtype=torch.bool)
    kept[2:4, 0:4] = False
    given = pictures.components.modality.read(file)
    assert torch.equal(made.media[0][:, kept], given[:, kept]) and not torch.equal(made.media[0], given)
    assert made.settings["box"] == [0, 12, 24, 24]


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([0, 0, 145, 4], r"box \[0, 0, 145, 4\] is no part of .*a\.png, 144 x 96"),
        ([0, 0, 12, 96], "is outside of the part that is edited"),
        ([4, 4, 4, 8], "is no part of"),
        ([0, 0, 144, 96], "not the whole"),
    ],
)
def test_a_box_outside_of_the_file_or_of_what_is_kept_is_refused(pictures, tmp_path, box, said):
    file = marked(tmp_path / "a.png", 96, 144, [0, 0, 1, 1])
    with pytest.raises(BadInput, match=said):
        said_by(pictures.inpaint, file, box=box)


def test_a_mask_has_the_proportions_of_the_file(pictures, tmp_path):
    file = marked(tmp_path / "a.png", 96, 144, [0, 0, 1, 1])
    part = [60, 24, 90, 60]
    made, _ = said_by(pictures.inpaint, file, mask=marked(tmp_path / "m.png", 96, 144, part))
    half, _ = said_by(pictures.inpaint, file, mask=marked(tmp_path / "h.png", 48, 72, [30, 12, 45, 30]))
    assert torch.allclose(made.media[0], half.media[0], atol=1e-4)
    square = marked(tmp_path / "s.png", 96, 96, part)
    with pytest.raises(BadInput, match=r"s\.png, 96 x 96, is no mask of .*a\.png, 144 x 96"):
        said_by(pictures.inpaint, file, mask=square)


# --- levels ---------------------------------------------------------------------------------------------------------


def check_limit(rate=8000):
    """Known parts are bit-equal, new ones within full scale and scaled as a whole; what does not exceed it is kept."""
    t = torch.arange(4000) / rate
    wave = torch.stack([0.9 * torch.sin(2 * torch.pi * f * t) for f in (200, 310)])
    known = torch.ones(1, 4000, dtype=torch.bool)
    known[:, 1000:2000] = known[:, 3500:] = False
    assert limit_unknown_parts(wave, known, rate) is not wave and torch.equal(
        limit_unknown_parts(wave, known, rate), wave
    )
    loud = wave.clone()
    loud[:, 1000:2000] *= 3
    out = limit_unknown_parts(loud, known, rate)
    assert torch.equal(out[:, known[0]], loud[:, known[0]]) and torch.equal(out[:, 3500:], loud[:, 3500:])
    assert float(out.abs().max()) <= 1
    inner, n = slice(1050, 1950), round(0.005 * rate)
    ratio = out[:, inner] / loud[:, inner]
    assert torch.allclose(ratio, torch.full_like(ratio, 1 / float(loud[:, 1000:2000].abs().max())), atol=1e-4)
    joint = slice(1000, 1000 + n // 10)  # the gain begins at 1, so that there is no step
    assert torch.allclose(out[:, joint], loud[:, joint].clamp(-1, 1), atol=0.05)
    high = loud.clone()
    high[0, 10] = 1.5  # a known part above full scale stays; the writer says what it does
    assert torch.equal(limit_unknown_parts(high, known, rate)[:, known[0]], high[:, known[0]])


def test_a_new_part_is_limited_and_a_known_part_is_not_touched():
    check_limit()


def test_planted_scaling_of_everything_is_caught():
    with planted_error(
        post_processing, "limit_unknown_parts", replace_expression(variable_target("start"), "0", at=-1)
    ):
        assert_caught(check_limit, also=RuntimeError)


def check_known_part(sounds, tmp_path):
    """The file that is written holds the known samples of the source, bit for bit."""
    t = np.arange(2000) / 4000
    wave = (0.8 * np.sin(2 * np.pi * 440 * t) * 32767).round().astype(np.int16)
    soundfile.write(tmp_path / "a.wav", wave, 4000, subtype="PCM_16")
    made, said = said_by(sounds.inpaint, tmp_path / "a.wav", spans=[(0.2, 0.3)], resample=1, steps=2)
    (written,) = made.save(tmp_path / "out")
    back = soundfile.read(written, dtype="int16")[0]
    assert (back[:800] == wave[:800]).all() and (back[1200:] == wave[1200:]).all()
    assert any("the new part peaks at" in line and "the known part is unchanged" in line for line in said), said


@pytest.mark.slow
def test_a_loud_new_part_leaves_the_known_part_as_it_is(sounds, tmp_path):
    check_known_part(sounds, tmp_path)


def test_planted_writing_without_the_limit_is_caught(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(Audio, "limited", lambda self, media, known: media)
    assert_caught(check_known_part, sounds, tmp_path)


def test_levels_that_are_not_reached_are_said(tmp_path):
    spec = Audio(8000, 0.5).spec()
    wave = torch.zeros(1, 4000)
    wave[0, ::400] = 0.5  # single samples: a loudness of -5 needs a peak far above the ceiling
    written = File(spec, lufs=-5.0).write(tmp_path / "a.wav", wave)
    assert written.missed.startswith("asked -5 LUFS, made -") and "the ceiling of -1 dBTP" in written.missed
    made = float(written.missed.split("made ")[1].split(":")[0])
    assert made < -6
    assert File(spec, lufs=-40.0).write(tmp_path / "b.wav", wave).missed == ""
    assert File(spec).write(tmp_path / "c.wav", 1.5 * wave.clamp(max=0.5)).missed == ""
    assert "silent" in File(spec, lufs=-18.0).write(tmp_path / "d.wav", torch.zeros(1, 4000)).missed
    assert "asked a peak of -0.1 dB, made -1." in File(spec, peak=-0.1).write(tmp_path / "e.wav", wave).missed


def test_values_far_outside_of_the_range_are_said(tmp_path):
    media = torch.zeros(3, 8, 8)
    media[:, :2] = 23.0
    written = Pictures(8).write(tmp_path / "a.png", media)
    assert (written.peak, written.clipped) == (23.0, 0.25)
    (note,) = result_notes([WrittenFile(tmp_path / "b.png", 1.2, clipped=0.1), written, written])
    assert note == (
        f"{tmp_path}/a.png: reaches 23 times the range, and 25 % of the values were clipped; a model of few training "
        "steps does so; otherwise take more steps, or a sampler such as dpmpp_2m (1 more such file)"
    )
    assert result_notes([WrittenFile(tmp_path / "b.png", 1.9, clipped=0.9), WrittenFile(tmp_path / "c.wav", 0.5)]) == []
    (scaled,) = result_notes([WrittenFile(tmp_path / "c.wav", 1.3, scaled=True)])
    assert scaled.endswith("c.wav: the peak 1.30 was scaled down to full scale")


def test_a_sampler_of_two_stages_with_two_steps_is_noted(pictures, tmp_path):
    made = pictures.sample(use="heun", steps=2, count=2)
    assert max(float(media.abs().max()) for media in made.media) > 2
    _, said = said_by(made.save, tmp_path / "out")
    assert len(said) == 1 and "times the range" in said[0] and "take more steps" in said[0] and len(said[0]) < 300


# --- sizes, rates, channels -----------------------------------------------------------------------------------------


def check_note(asked, made, unit, spec):
    _, said = said_by(warn_of_rounding, asked, made, unit, spec)
    return said


def test_sizes_of_loops_are_said():
    flat = MediaSpec("image", 3, ("height", "width"), (32, 32))
    assert check_note([(25, 31)] * 3, [(24, 32)] * 3, 8, flat) == [
        "asked 25 x 31, made 24 x 32: loops are multiples of 8"
    ]
    time = MediaSpec("audio", 1, ("time",), (4000,), (8000.0,))
    assert check_note([(4000,), (2000,)], [(4096,), (2048,)], 32, time) == [
        "asked 0.5 s, made 0.512 s (and 1 more such sizes): loops are multiples of 0.004 s"
    ]
    assert check_note([(4096,)], [(4096,)], 32, time) == []


def test_a_loop_says_its_size(pictures, sounds, tmp_path):
    made, said = said_by(pictures.sample, count=1, loop=True, size=[25, 31])
    assert made.media[0].shape[1:] == (24, 32)
    assert said == ["asked 25 x 31, made 24 x 32: loops are multiples of 4"]
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(1190)) / 2, 4000)
    made, said = said_by(sounds.vary, tmp_path / "a.wav", loop=True, strength=0.3)
    assert made.media[0].shape[-1] == 1184 and any("asked 0.2975 s, made 0.296 s" in line for line in said)


def test_rates_channels_and_lengths_of_a_file_are_said_once(sounds, tmp_path):
    for name, rate, channels in (("a.wav", 16000, 2), ("b.wav", 16000, 2), ("c.wav", 4000, 1)):
        wave = np.random.default_rng(0).normal(size=(rate // 10, channels)) * 0.1
        soundfile.write(tmp_path / name, wave, rate)
    files = [tmp_path / name for name in ("a.wav", "b.wav", "c.wav")]
    _, said = said_by(sounds.vary, files)
    assert said == [
        f"{files[0]} is converted from 2 channels, rate 16000 to 1 channel, rate 4000; "
        "the result has 1 channel, rate 4000"
    ]
    _, said = said_by(sounds.vary, files[2], seconds=2)
    assert said == [f"asked the first 2 s of {files[2]}, which lasts 0.1 s"]


# --- options --------------------------------------------------------------------------------------------------------

WRONG = [
    (("vary", "strength=x"), "command line: strength=x: expected number of at least 0 and at most 1, got the text 'x'"),
    (("vary", "strength=1.5"), "expected number of at least 0 and at most 1, got 1.5"),
    (("vary", "strength=.nan"), "got .nan"),
    (("vary", "strenght=0.4"), "command line: strenght=0.4: unknown key; did you mean 'strength'?"),
    (("vary", "count=0"), "expected integer of at least 1 and at most 100000, got 0"),
    (("vary", "count=2.5"), "got 2.5"),
    (("vary", "count=true"), "got true"),
    (("vary", "box=[0,0,4,4]"), "box belongs to inpaint; vary takes strength, count"),
    (
        ("vary", "steps=x"),
        "command line: sample.steps=x: expected integer of at least 1 and at most 10000, got the text 'x'",
    ),
    (("vary", "stepz=3"), "did you mean 'sample.steps'"),
    (("inpaint", "walks=x"), "command line: resample=x: expected integer of at least 1 and at most 1000"),
    (("inpaint", "resample=x"), "expected integer of at least 1 and at most 1000, got the text 'x'"),
    (("inpaint", "jump=0"), "expected integer of at least 1 and at most 10000, got 0"),
    (("inpaint", "box=[1,2]"), "expected list [integer, integer, integer, integer], got a list"),
    (("inpaint", "box=[1,2,x,4]"), "expected integer, got the text 'x'"),
    (("inpaint", "box=1,2,3,4"), "got the text '1,2,3,4'"),
    (("inpaint", "from=a", "to=1"), "expected number or list of number, got the text 'a'"),
    (("inpaint", "from=0.1"), "from and to are pairs"),
    (("inpaint", "mask=~no-such-user/m.png"), "no such home folder"),
    (("continue", "seconds=-1"), "expected number above 0 and at most 1000000, got -1"),
    (("continue", "seconds=long"), "expected number above 0 and at most 1000000, got the text 'long'"),
    (("morph", "b.png", "count=1"), "expected integer of at least 2 and at most 100000, got 1"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_options_are_validated_like_recipe_keys(tiny_run, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        marked(tmp_path / name, 16, 16, [0, 0, 4, 4])
    code = main(["edit", str(tiny_run("image")), words[0], "a.png", *words[1:], "--out", "out"])
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if not line.startswith("note: walks")]
    assert code == 2 and told.out == "" and len(lines) == 1 and said in lines[0], told.err
    assert len(lines[0]) <= 200 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p, f: p.vary(f, strength="x"), "^strength=x: expected number"),
        (lambda p, f: p.vary(f, count=0), "^count=0: expected integer of at least 1"),
        (lambda p, f: p.inpaint(f, box=[0, 0, 4, 4], resample="x"), "^resample=x: expected integer"),
        (lambda p, f: p.inpaint(f, box="all"), "^box=all: expected list"),
        (lambda p, f: p.inpaint(f, spans=0.5), "^spans=0.5: expected list"),
        (lambda p, f: p.inpaint(f, spans=[(0.1,)]), r"^spans=\[\(0.1,\)\]: expected list \[number, number\]"),
        (lambda p, f: p.inpaint(f, box=object()), "^box=<object.*: cannot be a value"),
        (
            lambda p, f: p.extend(f, seconds=None),
            "^seconds=None: expected number above 0 and at most 1000000, got null",
        ),
        (lambda p, f: p.morph(f, f, count=1), "^count=1: expected integer of at least 2"),
    ],
)
def test_options_of_calls_are_validated_too(pictures, tmp_path, call, said):
    with pytest.raises(BadInput, match=said):
        call(pictures, marked(tmp_path / "a.png", 16, 16, [0, 0, 4, 4]))


def test_arrays_are_options(pictures, tmp_path):
    file = marked(tmp_path / "a.png", 16, 16, [0, 0, 4, 4])
    made = pictures.inpaint(file, box=np.array([1, 2, 6, 8]), count=np.int64(2), resample=torch.tensor(1))
    assert len(made) == 2 and made.settings["box"] == [1, 2, 6, 8]


@pytest.mark.slow
def test_a_label_on_the_command_line_or_at_loading_is_used(tiny_run, tmp_path, capsys):
    file = marked(tmp_path / "a.png", 16, 16, [0, 0, 4, 4])
    for label, want in (("square", "square"), ("1", "square"), ("null", None)):
        words = ["vary", str(file), f"label={label}", "--out", str(tmp_path / "out"), "--overwrite", "--json"]
        assert main(["edit", str(tiny_run("image")), *words]) == 0
        (row,) = json.loads(capsys.readouterr().out)["samples"]
        assert row["label"] == want


def test_sources_without_facts_of_the_file_are_not_compared():
    source = SourceFile(SimpleNamespace(), torch.zeros(1, 4), 1.0, torch.zeros(1, 1), None)
    assert describe_conversion(source, MediaSpec("audio", 1, ("time",), (4,))) == ""


# --- options without effect -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_guidance_of_a_morph_that_is_asked_for_in_part_is_used(tiny_run, tmp_path):
    recipe = sonolux.load(tiny_run("image"), device="cpu", changes=["guidance.scale=1.5"])
    settings = recipe._edit_context({}, use="heun", guidance=None).recipe.sample.guidance
    assert settings is not None and settings.params["scale"] == 1.5
    plain = sonolux.load(tiny_run("image"), device="cpu")
    assert plain._edit_context({}, use="heun", guidance=None).recipe.sample.guidance is None


def check_note_of_a_morph(pictures, folder):
    """What a morph of files replaces is noted once, and only what the user has not asked for."""
    files = [marked(folder / f"{name}.png", 16, 16, [0, 0, 4, 4]) for name in "ab"]
    recipe = pictures.recipe
    assert recipe.sampler.use != "heun" and recipe.sample.guidance
    for given, text in (
        ({}, f"takes heun and no guidance instead of the recipe's {recipe.sampler.use} and guidance"),
        ({"use": "euler"}, "takes no guidance instead of the recipe's guidance"),
        ({"guidance": None}, f"takes heun instead of the recipe's {recipe.sampler.use}, "),
        ({"use": "heun", "guidance": None}, None),
    ):
        _, said = said_by(pictures.morph, *files, count=2, steps=2, **given)
        noted = [one for one in said if "morph" in one]
        assert len(noted) == (text is not None) and all(text in one for one in noted)
    assert said_by(pictures.morph, "circle", "square", count=2, steps=2)[1] == [], "classes take the recipe's sampler"


def test_what_a_morph_replaces_is_noted(pictures, tmp_path):
    check_note_of_a_morph(pictures, tmp_path)


def test_planted_note_of_what_was_asked_for_is_caught(pictures, tmp_path):
    right = changed_keys.note_replaced_settings
    with planted_error(
        changed_keys, "note_replaced_settings", lambda before, recipe, changed: right(before, recipe, ())
    ):
        assert_caught(check_note_of_a_morph, pictures, tmp_path)


def check_longest_addition(run, folder):
    """The seconds that the message names can be added, and no more."""
    rate = run.components.modality.rate
    file = folder / "x.wav"
    soundfile.write(file, np.linspace(-0.5, 0.5, round(0.1234 * rate)), rate)
    for asked in (5, 0.5, 0.377):
        with pytest.raises(BadInput, match=r"seconds is at most 0\.376 for .*x\.wav, which lasts 0\.1235 s") as error:
            run.extend(file, seconds=asked, resample=1)
        assert "together 0.5 s" in str(error.value)
    assert run.extend(file, seconds=0.376, resample=1).media[0].shape[-1] == round(0.4995 * rate)
    soundfile.write(file, np.linspace(-0.5, 0.5, round(0.5 * rate)), rate)
    with pytest.raises(BadInput, match=r"lasts 0\.5 s already, of 0\.5 s, the longest that this run can make: cut it"):
        run.extend(file, seconds=0.1, resample=1)


@pytest.mark.slow
def test_how_much_can_be_added_is_named(tiny_run, opened, tmp_path):
    check_longest_addition(opened(tiny_run("audio", "data.padding=silence", "network.positions=2")), tmp_path)


def test_planted_addition_that_is_too_long_is_caught(tiny_run, opened, tmp_path, monkeypatch):
    monkeypatch.setattr(inpaint, "math", SimpleNamespace(floor=math.ceil))
    run = opened(tiny_run("audio", "data.padding=silence", "network.positions=2"))
    assert_caught(check_longest_addition, run, tmp_path, also=pytest.fail.Exception)


@pytest.mark.slow
def test_a_jump_or_a_resampling_without_effect_is_noted(pictures, tmp_path):
    file = marked(tmp_path / "a.png", 16, 16, [0, 0, 4, 4])
    for given, text in (
        ({"resample": 1, "jump": 3}, "jump=3 has no effect: every step is run once"),
        ({"resample": 2, "jump": 9}, "resample=2 has no effect: a jump of 9 covers all 4 steps"),
    ):
        _, said = said_by(pictures.inpaint, file, box=[0, 0, 4, 4], **given)
        assert len(said) == 1 and text in said[0]
    assert said_by(pictures.inpaint, file, box=[0, 0, 4, 4], resample=2, jump=2)[1] == []
    one = {"box": [0, 0, 4, 4], "seed": 1, "steps": 4}
    a, b = (said_by(pictures.inpaint, file, resample=n, jump=9, **one)[0].media[0] for n in (1, 2))
    assert torch.equal(a, b), "it is true that it has no effect"


def test_size_is_refused_from_python_too(pictures, tmp_path):
    file = marked(tmp_path / "a.png", 16, 16, [0, 0, 4, 4])
    for call in (pictures.vary, pictures.extend):
        with pytest.raises(BadInput, match="size has no effect on an edit of files"):
            call(file, size=[25, 31])
    assert pictures.morph("circle", "square", count=2, size=24).media[0].shape[1:] == (24, 24)
    with pytest.raises(BadInput, match="`use`: use=heun"):
        pictures.sample(sampler="heun")
