"""Sound packs: loops of exact length, layers, variations, tables, folders for game engines."""

import ast
import csv
import json
import math
import struct
from types import SimpleNamespace

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_constant, swap_operator
from sonolux.core.types import BadInput
from sonolux.modalities.audio import io, loudness
from sonolux.modalities.audio.pack import layers, loops, variations
from sonolux.modalities.audio.pack.folder import PackSound, write_pack
from sonolux.modalities.audio.pack.layers import SoundLayer, mix_layers
from sonolux.modalities.audio.pack.loops import loop_frames, loop_seconds, resample_loop
from sonolux.modalities.audio.pack.table import asset_name, read_pack_table
from sonolux.modalities.audio.pack.variations import find_variations
from sonolux.modalities.audio.post_processing import PostProcessing, post_process
from sonolux.modalities.audio.similarity import make_altered_sounds

RATE = 8000


def periodic(n, turns=(3, 17), level=(0.4, 0.2)):
    """One period of a sum of whole turns."""
    place = torch.arange(n, dtype=torch.float64) / n
    return sum(a * torch.cos(2 * math.pi * k * place + k) for k, a in zip(turns, level, strict=True))[None]


def chirps(count, seed=0):
    """Sounds that are unlike each other."""
    rng, t = torch.Generator().manual_seed(seed), torch.arange(3200) / RATE
    out = []
    for _ in range(count):
        f = 200 + 3000 * torch.rand(4, generator=rng)
        a, b = (torch.sin(2 * math.pi * (f[i] * t + (f[i + 1] - f[i]) * t * t)) for i in (0, 2))
        out.append((a * torch.exp(-9 * t) + b * (t > 0.15) * torch.exp(-14 * (t - 0.15)))[None])
    return out


# --- loops ---


def check_loop_length():
    assert loop_seconds(4, 120) == 2 and loop_seconds(3, 90) == 2 and loop_seconds(1, 60) == 1
    assert [loop_frames(b, t, 44100) for b, t in ((4, 120), (8, 174), (7, 93))] == [88200, 121655, 199161]


def check_resampled_loop():
    """The same periodic signal, whatever the two lengths, up and down, odd and even."""
    for n, frames in ((1000, 1013), (1013, 1000), (512, 4800), (999, 333), (64, 64)):
        torch.testing.assert_close(resample_loop(periodic(n), frames), periodic(frames), atol=1e-12, rtol=0)


def test_loop_length():
    check_loop_length()
    for beats, bpm in ((0, 120), (4, 10), (math.nan, 120), (4, math.inf), (2000, 120)):
        with pytest.raises(BadInput, match="is a number from"):
            loop_seconds(beats, bpm)


def test_a_loop_is_resampled_exactly():
    check_resampled_loop()
    with pytest.raises(BadInput, match="at least one frame"):
        resample_loop(periodic(5), 0)


@pytest.mark.parametrize(
    ("check", "function", "mutation"),
    [
        (check_loop_length, "loop_seconds", swap_constant(60, 61)),
        (check_loop_length, "loop_seconds", swap_operator(ast.Div, ast.Mult)),
        (check_loop_length, "loop_frames", swap_operator(ast.Mult, ast.Div)),
        (check_resampled_loop, "resample_loop", swap_operator(ast.Div, ast.Mult)),
    ],
)
def test_planted_errors_in_loops_are_caught(check, function, mutation):
    with planted_error(loops, function, mutation):
        assert_caught(check)


# --- layers ---


def decaying():
    t = torch.arange(4000) / RATE
    return (torch.sin(2 * math.pi * 440 * t + 1.5) * torch.exp(-6 * t))[None]


def check_layers():
    """Transient and tail of one take add up to the take; start and gain are where and as large as asked."""
    take = torch.cat([torch.zeros(1, 900), decaying()], 1)  # its onset comes first in a mix
    whole, attack, rest = (mix_layers([SoundLayer(take, part)], RATE) for part in layers.PARTS[1:2] + layers.PARTS[::2])
    assert float(whole.abs().max()) == pytest.approx(1)
    assert attack.shape[-1] == 720 and not rest[:, :230].any() and float(attack[:, -1].abs()) < 1e-3
    both = mix_layers([SoundLayer(take, "transient"), SoundLayer(take, "tail")], RATE)
    loud = float(rest.abs().max())
    attack = torch.nn.functional.pad(attack / attack.abs().max(), (0, both.shape[-1] - 720))
    torch.testing.assert_close(both, attack + rest, atol=1e-5, rtol=0)
    late = mix_layers([SoundLayer(take, "body", 0.25, -6.0)], RATE)
    assert not late[:, :2000].any()
    torch.testing.assert_close(late[:, 2000:], whole * 10 ** (-6 / 20), atol=1e-6, rtol=0)
    assert loud < 1


def test_layers():
    check_layers()
    silent = mix_layers([SoundLayer(torch.zeros(1, 100)), SoundLayer(decaying())], RATE)
    assert bool(torch.isfinite(silent).all())
    with pytest.raises(BadInput, match="same number of channels"):
        mix_layers([SoundLayer(decaying()), SoundLayer(decaying().repeat(2, 1))], RATE)


@pytest.mark.parametrize(
    ("function", "mutation"),
    [
        ("mix_layers", swap_operator(ast.Mult, ast.Div)),
        ("_shaped", swap_constant(2, 3)),
        ("_shaped", swap_constant(1, 2)),
    ],
)
def test_planted_errors_in_layers_are_caught(function, mutation):
    with planted_error(layers, function, mutation):
        assert_caught(check_layers)


# --- variations ---


def check_variations():
    """Copies of known sounds, repeats of kept ones and silence are left out, whatever their level and place."""
    fresh = chirps(10)
    known, new = fresh[:4], fresh[4:]
    copies, repeats = make_altered_sounds(known, RATE), make_altered_sounds(new[:3], RATE, seed=1)
    left = [[*copies, *new[:3], *repeats, torch.zeros(1, 3200)], new[3:], [], []]
    asked = []

    def takes(seed, count):
        asked.append((seed, count))
        return left.pop(0)

    found = find_variations(takes, 6, RATE, 10, known, 0.9)
    assert (found.copies, found.repeats, found.silent) == (4, 3, 1) and asked == [(10, 12), (11, 12)]
    assert [(k.seed, k.sample) for k in found.kept] == [(10, 4), (10, 5), (10, 6), (11, 0), (11, 1), (11, 2)]
    assert all(torch.equal(k.sound, s) for k, s in zip(found.kept, new, strict=True))


def test_repeats_and_copies_are_left_out():
    check_variations()
    every = find_variations(lambda seed, count: chirps(1) * count, 3, RATE)
    assert len(every.kept) == 3 and every.kept[0].to_training is None, "a ceiling of 1 compares nothing"


def test_planted_search_that_sees_no_shift_is_caught(monkeypatch):
    def same_place(sounds, training, rate):
        a, b = (torch.stack([s.flatten() / s.norm().clamp(min=1e-9) for s in ss]) for ss in (sounds, training))
        return SimpleNamespace(similarity=(a @ b.T).amax(1))

    monkeypatch.setattr(variations, "nearest_sounds", same_place)
    assert_caught(check_variations)


def test_the_ceiling_follows_the_data():
    assert variations.similarity_ceiling(chirps(2), RATE) == 0.9
    assert variations.similarity_ceiling(chirps(12), RATE) == 0.9
    alike = make_altered_sounds(chirps(1) * 8, RATE, "gain")
    assert 0.9 < variations.similarity_ceiling(alike, RATE) <= 0.98


# --- tables ---


def test_names_for_engines():
    assert [asset_name(t) for t in ("Door, wood", "  Über-Tür 2 ", "door_wood")] == [
        "door_wood",
        "uber_tur_2",
        "door_wood",
    ]
    for text in ("", "../", "日本", "x" * 99):
        with pytest.raises(BadInput, match="a name has 1 to 80 letters"):
            asset_name(text)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name,bpm\nx,120\n", "a loop has bpm and beats"),
        ("name,bpm,beats,seconds\nx,120,4,2\n", "leave seconds empty"),
        ("name,bpm,beats\nx,5,4\n", "bpm is a number from 20 to 400"),
        ("name,layer\nx,middle\n", "layer is one of transient, body, tail, not 'middle'"),
        ("name,layer\nx,body\nx,\n", "occurs in two rows, which are no layers"),
        ("name,layer,bpm,beats\nx,body,120,4\nx,tail,,\n", "layers are not loops"),
        ("name,prompt\nx,a door\n", "this model takes no prompt"),
        ("name,class\nx,{\n", "class is a name or a mixture"),
        ("name,hardness\nx,3\n", "unknown column 'hardness'"),
        ("name,layer,bpm,beats\nx,body,120,4\n", "layers are not loops"),
        ("name,layer,count\nx,body,2\nx,tail,5\n", "the first layer has the count of the mixes"),
        ("name,gain\nx,-6\n", "start and gain belong to a layer"),
        ("name\nx,3\n", "more cells than the table has columns"),
        ("name,gain\nx,nan\n", "gain is a number from -80 to 40"),
    ],
)
def test_wrong_rows(tmp_path, table, said):
    from sonolux.core.conditioning.class_ import Class

    condition = Class.__new__(Class)
    run = SimpleNamespace(model=SimpleNamespace(conditions={"label": condition}))
    condition.choices = lambda: ("a",)
    condition.accepts_prompts = False
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(BadInput) as error:
        read_pack_table(tmp_path / "t.csv", run)
    assert said in str(error.value)


# --- folders ---


def check_folder(folder):
    """What is read back from the files is what the tables say: loudness, true peak, frames, loop points."""
    settings = PostProcessing(lufs=-20.0)
    flat = PostProcessing(trim=None, fade_in=0.0, fade_out=0.0, lufs=-20.0)
    sounds = [PackSound("door_wood", post_process(0.3 * s, 48000.0, settings), "door") for s in chirps(2)]
    loop = resample_loop(periodic(4096), loop_frames(2, 97, 48000))
    sounds.append(PackSound("hum", post_process(loop.float(), 48000.0, flat), None, None, 97.0, 2.0))
    write_pack(folder, sounds, 48000.0, "wav16", {"run": "x"})
    with open(folder / "pack.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["file"] for r in rows] == ["door_wood_01.wav", "door_wood_02.wav", "hum_01.wav"]
    for row in rows:
        read = io.read_sound(folder / row["file"])
        assert read.rate == 48000 and read.source["subtype"] == "PCM_16" and not read.remarks
        level = loudness.measure_loudness(read.wave, 48000).level
        assert level == pytest.approx(float(row["lufs"]), abs=0.02)
        assert level == pytest.approx(-20, abs=0.05) or row["limited"] == "True"
        assert read.wave.shape[-1] == int(row["frames"])
    assert rows[2]["frames"] == str(round(48000 * 2 * 60 / 97))
    data = (folder / "hum_01.wav").read_bytes()
    at = data.index(b"smpl")
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8 and at % 2 == 0
    start, end = struct.unpack_from("<2I", data, at + 8 + 36 + 8)
    assert (start, end) == (0, int(rows[2]["frames"]) - 1)
    assert b"smpl" not in (folder / "door_wood_01.wav").read_bytes()
    facts = json.loads((folder / "pack.json").read_text())
    assert [(s["name"], s["loop"], s["bpm"], len(s["variations"])) for s in facts["sounds"]] == [
        ("door_wood", False, None, 2), ("hum", True, 97.0, 1),
    ]  # fmt: skip
    assert facts["rate"] == 48000 and facts["run"] == "x"
    assert facts["sounds"][1]["variations"][0]["frames"] == int(rows[2]["frames"])


def test_a_folder_for_engines(tmp_path):
    check_folder(tmp_path / "pack")
    (tmp_path / "pack/mine.txt").write_text("kept")
    write_pack(tmp_path / "pack", [PackSound("a", post_process(chirps(1)[0], 8000.0))], 8000.0, "flac24")
    assert {p.name for p in (tmp_path / "pack").iterdir()} == {"a_01.flac", "pack.csv", "pack.json", "mine.txt"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other/letter.txt").write_text("dear")
    with pytest.raises(BadInput, match="holds something else than a sound pack"):
        write_pack(tmp_path / "other", [], 8000.0, "wav16")
    table = "name,class\ndoor,wood\n"  # to be read, not the table of a pack
    (tmp_path / "other/pack.csv").write_text(table)
    with pytest.raises(BadInput, match="holds something else than a sound pack"):
        write_pack(tmp_path / "other", [], 8000.0, "wav16")
    assert (tmp_path / "other/pack.csv").read_text() == table


@pytest.mark.parametrize("error", ["loudness", "loop points", "rate"])
def test_planted_errors_in_folders_are_caught(tmp_path, monkeypatch, error):
    from sonolux.modalities.audio import post_processing
    from sonolux.modalities.audio.pack import folder

    if error == "loudness":
        monkeypatch.setattr(post_processing, "_gain", lambda *a: 0.5)
    elif error == "loop points":
        monkeypatch.setattr(folder, "add_loop_points", lambda *a: None)
    else:
        write = io.write_sound
        monkeypatch.setattr(io, "write_sound", lambda path, wave, rate, form: write(path, wave, 44100, form))
    with pytest.raises((AssertionError, ValueError)):
        check_folder(tmp_path / "pack")
