"""The scripts that people copy for sound, each run on a tiny checkpoint: files, tables, refusals."""

import csv
import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from sonolux.core.testing.mutation import assert_caught
from sonolux.modalities.audio import io, loudness, post_processing

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RECIPE = """
recipe: 1
name: tiny
seed: 3
modality: {use: audio, rate: 8000, seconds: 0.5, channels: 1}
data: {use: audio/synth_drums, count: 60, padding: masked, split: {by: hash, valid: 0.2}}
codec: {use: audio/logmel, n_fft: 256, hop: 64, mels: 32, iterations: 8}
network: {use: audio/unet, width: 32, stages: [1, 1], blocks: 1}
condition: {label: {use: class, drop: 0.2}, seconds: {use: scalar, key: seconds, range: [0.05, 0.5], log: true}}
train: {steps: 2, batch: 4, warmup: 1, preview_every: 100, precision: float32, device: cpu}
sample: {use: ddpm, steps: 3, count: 4, batch: 16, guidance: {use: cfg, scale: 1.5}}
"""


def opened(name):
    """An example as a module."""
    component = importlib.util.spec_from_file_location(f"sound_example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(component)
    sys.modules[component.name] = module
    component.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tiny_run):
    """A run of two steps whose zero layers were woken before, so that labels and lengths matter."""
    return tiny_run(RECIPE, wake=0.05)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- sound_pack ---

FREE = ["--similarity", "1"]  # nothing is compared

TABLE = """name,class,count,duration,seed
boom,kick,3,0.3,5
tick,hat,2,,
mixed,"{snare: 0.5, clap: 0.5}",1,0.2,1
any,,1,,
"""


def check_pack(run, folder):
    """Names and counts as asked for; the table holds what the files are; a seed gives a sound again."""
    pack = opened("sound_pack")
    (folder / "want.csv").write_text(TABLE)
    out = folder / "pack"
    assert (
        pack.main([str(run), str(folder / "want.csv"), "--out", str(out), "--format", "wav24", "--lufs", "-20", *FREE])
        == 0
    )
    rows = rows_of(out / "pack.csv")
    assert [r["file"] for r in rows] == [
        *("boom_01.wav", "boom_02.wav", "boom_03.wav", "tick_01.wav", "tick_02.wav", "mixed_01.wav", "any_01.wav")
    ]
    assert {p.name for p in out.iterdir()} == {"pack.csv", "pack.json", *(r["file"] for r in rows)}
    for row in rows:
        sound = io.read_sound(out / row["file"])
        assert sound.source["subtype"] == "PCM_24"
        assert sound.wave.shape[-1] / 8000 == pytest.approx(float(row["seconds"]), abs=1e-4)
        assert loudness.true_peak(sound.wave, 8000) == pytest.approx(float(row["true_peak"]), abs=0.02)
        assert float(row["true_peak"]) <= -1.0 + 1e-6
        level = loudness.measure_loudness(sound.wave, 8000).level
        assert level == pytest.approx(float(row["lufs"]), abs=0.02)
        assert level == pytest.approx(-20.0, abs=0.05) or row["limited"] == "True"
        assert not sound.wave[:, 0].any() and not sound.wave[:, -1].any(), "faded"
    assert [float(r["seconds"]) <= 0.3 for r in rows[:3]] == [True] * 3
    again = pack.sonolux.load(run, device="cpu").sample(label="kick", seed=5, count=3, seconds=0.3)
    done = post_processing.post_process(again.media[2], 8000, pack.PostProcessing(lufs=-20.0))
    assert float((io.read_sound(out / "boom_03.wav").wave - done.wave).abs().max()) < 1e-5
    assert [r["label"] for r in rows][:4] == ["kick"] * 3 + ["hat"]


@pytest.mark.slow
def test_sound_pack(run, tmp_path):
    check_pack(run, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("error", ["the seed is lost", "another duration", "no level", "no fades"])
def test_planted_errors_in_the_pack_are_caught(run, tmp_path, error, monkeypatch):
    from sonolux.core.pipeline.pipeline import Pipeline

    sample = Pipeline.sample

    def other(self, **asked):
        if sys._getframe(1).f_code.co_name != "_sampled":
            return sample(self, **asked)
        change = {"the seed is lost": {"seed": 0}, "another duration": {"seconds": 0.45}}
        return sample(self, **{**asked, **change.get(error, {})})

    monkeypatch.setattr(Pipeline, "sample", other)
    if error == "no level":
        monkeypatch.setattr(post_processing, "_gain", lambda *a: 1.0)
    if error == "no fades":
        monkeypatch.setattr(post_processing, "fade_ends", lambda wave, *a: wave + 0.01)
    assert_caught(check_pack, run, tmp_path)


PACK = """name,class,count,seconds,bpm,beats,layer,start,gain
Slam,kick,2,0.4,,,transient,,
Slam,snare,,0.4,,,body,0.01,-3
Slam,hat,,0.4,,,tail,,-9
beat,clap,1,,140,1,,,
"""


@pytest.mark.slow
def test_layers_and_loops_of_exact_length(run, tmp_path):
    """At 48 kHz: mixes of three takes, a loop of 60 / 140 s to the sample, and copies that are looked for."""
    (tmp_path / "want.csv").write_text(PACK)
    out, script = tmp_path / "p", opened("sound_pack")
    table = [str(run), str(tmp_path / "want.csv"), "--out", str(out)]
    assert script.main([*table, "--rate", "48000", "--set", "steps=2", *FREE]) == 0
    rows = rows_of(out / "pack.csv")
    assert [r["file"] for r in rows] == ["slam_01.wav", "slam_02.wav", "beat_01.wav"]
    assert soundfile.info(out / "beat_01.wav").frames == round(48000 * 60 / 140)
    assert all(soundfile.info(out / r["file"]).samplerate == 48000 for r in rows)
    assert rows[2]["speed"] != "1.0" and json.loads((out / "pack.json").read_text())["sounds"][1]["bpm"] == 140
    assert script.main([*table, "--similarity", "-1", "--set", "steps=2"]) == 1, "all are too similar"
    assert rows_of(out / "pack.csv") == [] and not list(out.glob("*.wav")), "the earlier pack is replaced"


def test_sound_pack_takes_yaml(run, tmp_path):
    (tmp_path / "want.yaml").write_text("- {name: a b, class: {kick: 1, tom: 3}, count: 1, duration: 0.25, seed: 2}\n")
    assert opened("sound_pack").main([str(run), str(tmp_path / "want.yaml"), "--out", str(tmp_path / "p"), *FREE]) == 0
    assert rows_of(tmp_path / "p/pack.csv")[0]["file"] == "a_b_01.wav"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name,class\nx,kick\ny,kik\nz,drum\n", ["row 2: there is no class 'kik'", "row 3", "kick, snare, hat"]),
        ("name,clas\nx,kick\n", ["unknown column 'clas'", "name, class, prompt, count"]),
        ("name,count\nx,0\n", ["count is a whole number from 1 to 10000, not '0'"]),
        ("name,duration\nx,soon\n", ["duration is a number from 0.01 to 1e+06, not 'soon'"]),
        ("name\n../\n", ["a name has 1 to 80 letters"]),
        ("name\nx\nx\n", ["occurs in two rows"]),
        ("name,class\n", ["holds no rows"]),
    ],
)
def test_a_wrong_table_is_refused_before_anything_is_made(run, tmp_path, capsys, table, said):
    (tmp_path / "want.csv").write_text(table)
    assert opened("sound_pack").main([str(run), str(tmp_path / "want.csv"), "--out", str(tmp_path / "p")]) == 2
    told = capsys.readouterr().err
    assert all(part in told for part in said), told
    assert not (tmp_path / "p").exists()


def test_a_folder_that_holds_something_else_is_left_alone(run, tmp_path, capsys):
    (tmp_path / "want.csv").write_text(TABLE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    assert opened("sound_pack").main([str(run), str(tmp_path / "want.csv"), "--out", str(tmp_path / "mine")]) == 2
    assert opened("footsteps").main([str(run), "--out", str(tmp_path / "mine")]) == 2
    assert "holds something else" in capsys.readouterr().err and len(list((tmp_path / "mine").iterdir())) == 1


# --- footsteps ---


def different(count, seed=0):
    """Sounds that are unlike each other: two chirps each, from anywhere to anywhere."""
    rng = torch.Generator().manual_seed(seed)
    t, out = torch.arange(3200) / 8000, []
    for _ in range(count):
        f = 200 + 3000 * torch.rand(4, generator=rng)
        a, b = (torch.sin(2 * math.pi * (f[i] * t + (f[i + 1] - f[i]) * t * t)) for i in (0, 2))
        out.append((a * torch.exp(-9 * t) + b * (t > 0.15) * torch.exp(-14 * (t - 0.15)))[None])
    return out


def _with(module, **changes):
    vars(module).update(changes)
    return module


@pytest.mark.slow
def test_footsteps(run, tmp_path, capsys):
    steps = opened("footsteps")
    out = tmp_path / "steps"
    code = steps.main([str(run), "--label", "tom", "--count", "3", "--out", str(out), "--alike", "1.0", "--seed", "4"])
    assert code == 0, capsys.readouterr()
    rows = rows_of(out / "variations.csv")
    assert [r["file"] for r in rows] == ["tom_01.wav", "tom_02.wav", "tom_03.wav"]
    assert all(soundfile.info(out / r["file"]).frames > 100 and float(r["alike_to_training"]) <= 1 for r in rows)
    code = steps.main([str(run), "--label", "tom", "--count", "2", "--out", str(tmp_path / "none"), "--alike", "-1"])
    assert code == 1 and "0 of 2 variations; rejected: 16 too similar" in capsys.readouterr().out
    vary = ["--file", str(out / "tom_01.wav"), "--strength", "0.9", "--count", "2", "--alike", "1.0"]
    assert steps.main([str(run), *vary, "--out", str(tmp_path / "v")]) == 0
    assert [r["file"] for r in rows_of(tmp_path / "v/variations.csv")] == ["tom_01_01.wav", "tom_01_02.wav"]
    assert steps.main([str(run), "--label", "tam", "--out", str(tmp_path / "w")]) == 2
    assert "there is no class 'tam'" in capsys.readouterr().err


# --- engine_loop, morph ---


def check_seam():
    """A sine of whole periods has the jump of its own slope at the seam; cut elsewhere, a jump and a burst show."""
    loops, t = opened("engine_loop"), torch.arange(8000) / 8000
    jump, level = loops.seam(torch.sin(2 * math.pi * 97 * t)[None], 8000.0)
    assert jump == pytest.approx(math.sqrt(2), rel=0.01)  # the steepest slope over the median one
    assert abs(level) < 0.3
    jump, _ = loops.seam(torch.sin(2 * math.pi * 97.25 * t)[None], 8000.0)
    assert jump > 10
    quiet = torch.ones(8000)
    quiet[:80] = quiet[-80:] = 0.1
    _, level = loops.seam((quiet * torch.sin(2 * math.pi * 97 * t))[None], 8000.0)
    assert level == pytest.approx(-20, abs=0.5)


def test_the_seam_is_measured():
    check_seam()


def test_planted_seam_at_another_place_is_caught(monkeypatch):
    original = opened

    def rolled(name):
        module = original(name)
        seam = module.seam
        return _with(module, seam=lambda loop, rate: seam(loop.roll(500, -1), rate))

    monkeypatch.setitem(globals(), "opened", rolled)
    assert_caught(check_seam)


def test_engine_loop(run, tmp_path):
    out = tmp_path / "loops"
    args = [str(run), "--label", "hat", "--seconds", "0.5", "--count", "2", "--out", str(out), "--format", "wav_float"]
    assert opened("engine_loop").main(args) == 0
    rows = rows_of(out / "loops.csv")
    assert len(rows) == 2 and all(math.isfinite(float(r["jump"])) for r in rows)
    one, four = (io.read_sound(out / name).wave for name in ("hat_01.wav", "hat_01_repeated.wav"))
    assert torch.equal(four, one.repeat(1, 4)) and one.shape[-1] >= 4000


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["classes", "files"])
def test_morph(run, tmp_path, ends):
    a, b = "kick", "clap"
    if ends == "files":
        for name, wave in zip(("a.wav", "b.wav"), different(2), strict=True):
            io.write_sound(tmp_path / name, 0.5 * wave, 8000)
        a, b = str(tmp_path / "a.wav"), str(tmp_path / "b.wav")
    out = tmp_path / "m"
    assert opened("morph").main([str(run), a, b, "--count", "3", "--out", str(out), "--set", "steps=3"]) == 0
    facts = json.loads((out / "morph.json").read_text())
    assert [s["file"] for s in facts["steps"]] == ["step_01.wav", "step_02.wav", "step_03.wav"]
    assert (out / "sheet.png").exists()
    total = sum(soundfile.info(out / s["file"]).frames for s in facts["steps"])
    assert soundfile.info(out / "all.wav").frames == total + 3 * 2000


@pytest.mark.parametrize("script", ["sound_pack", "footsteps", "engine_loop", "morph"])
def test_a_missing_run_is_one_message(script, tmp_path, capsys):
    more = {"sound_pack": ["t.csv"], "morph": ["a", "b"]}.get(script, [])
    assert opened(script).main([str(tmp_path / "nothing"), *more, "--out", str(tmp_path / "o")]) == 2
    assert "nothing" in capsys.readouterr().err and not (tmp_path / "o").exists()


@pytest.mark.slow
def test_the_condition_gets_the_requested_length(run):
    """A sound is cut to `seconds`, and the condition gets the same value; without it both follow from the data."""
    import sonolux

    trained = sonolux.load(run, device="cpu")
    made = trained.sample(count=3, seconds=[0.1, 0.4], steps=2)
    assert [m.shape[-1] for m in made.media] == [800, 3200, 800]
    assert [t["seconds"] for t in made.conditions] == [0.1, 0.4, 0.1]
    drawn = trained.sample(count=6, steps=2)
    assert [t["seconds"] for t in drawn.conditions] == pytest.approx(
        [m.shape[-1] / 8000 for m in drawn.media], abs=1e-5
    )
    assert len({t["seconds"] for t in drawn.conditions}) > 3
    other = trained.sample(count=1, seconds=0.1, where={"seconds": 0.4}, steps=2)
    assert not torch.equal(other.media[0], made.media[0]), "the network hears of it"
