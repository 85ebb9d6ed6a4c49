"""Edits of files by tiny trained runs: pictures, and sounds of three codecs."""

import ast
import json
import warnings

import pytest
import soundfile
import torch
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe
from sonolux.core.editing.inpaint import InpaintEdit
from sonolux.core.nn.unet import UNetND
from sonolux.core.pipeline import sample as sampling
from sonolux.core.pipeline.edit import inpaint as fill
from sonolux.core.pipeline.edit.morph import MorphRequest
from sonolux.core.pipeline.edit.source import SourceFile
from sonolux.core.pipeline.loop_sizes import loop_length_unit, round_to_multiple, warn_of_loop_padding
from sonolux.core.testing.mutation import (
    assert_caught,
    keep_left_operand,
    planted_error,
    replace_expression,
    variable_target,
)
from sonolux.core.types import BadInput, Conditioning
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.audio.synthetic.effects import FAMILIES
from sonolux.modalities.image.io import write_picture as write_picture

CODECS = ["waveform, patch: 16", "stft, n_fft: 64, hop: 16", "logmel, n_fft: 128, hop: 32, mels: 16, iterations: 8"]


@pytest.fixture(scope="module")
def pictures(tiny_run, opened):
    return opened(tiny_run("image"))


@pytest.fixture(scope="module", params=CODECS)
def sounds(request, tiny_run, opened):
    return opened(tiny_run("audio", f"codec={{use: audio/{request.param}}}"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two pictures in a folder that is a class, a mask, two sounds of other rates, lengths and levels."""
    root = tmp_path_factory.mktemp("files")
    for i, name in enumerate(("circle", "square")):
        (root / name).mkdir()
        media = torch.from_numpy(keyed_generator(1, i, "picture").uniform(-1, 1, (3, 16, 16))).float()
        write_picture(root / name / "a.png", media)
    white = torch.full((3, 16, 16), -1.0)
    white[:, 4:12, 2:9] = 1
    write_picture(root / "mask.png", white)
    for name, seconds, rate, level in (("short", 0.3, 4000, 0.02), ("other", 0.41, 16000, 0.5)):
        t = torch.arange(round(seconds * rate)) / rate
        wave = level * torch.sin(2 * torch.pi * 440 * t) * torch.exp(-4 * t)
        (root / FAMILIES[0]).mkdir(exist_ok=True)
        soundfile.write(root / FAMILIES[0] / f"{name}.wav", wave.numpy(), rate, subtype="FLOAT")
    return root


def assert_same(a, b, atol=1e-4):
    assert len(a) == len(b) and all(x.shape == y.shape for x, y in zip(a, b, strict=True))
    assert max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True)) < atol


# --- variations -----------------------------------------------------------------------------------------------------


def check_round_trip(trained, file):
    """Strength 0 is the file as the codec keeps it, at its own level and length."""
    made = trained.vary(file, strength=0)
    given = trained.components.modality.read(file)
    gain, offset = trained.components.modality.levelled(given, trained.recipe.data.params)
    padded = torch.zeros(1, 1, 2000)
    padded[..., : given.shape[-1]] = gain * (given - offset)
    with torch.no_grad():
        kept = trained.codec.decode(trained.codec.encode(padded), 2000)[0, :, : given.shape[-1]] / gain + offset
    assert_same(made.media, [kept], 1e-5)
    assert made.nfe == [0]


@pytest.mark.slow
def test_strength_0_is_the_codecs_round_trip(sounds, folder):
    for name in ("short", "other"):
        check_round_trip(sounds, folder / FAMILIES[0] / f"{name}.wav")


def test_a_level_that_is_not_given_back_is_caught(sounds, folder, monkeypatch):
    monkeypatch.setattr(SourceFile, "to_file_level", lambda self, media: media)
    monkeypatch.setattr(
        type(sounds.components.modality), "levelled", lambda self, media, data: (5.0, torch.zeros(1, 1))
    )
    assert_caught(check_round_trip, sounds, folder / FAMILIES[0] / "other.wav")


def test_strength_1_is_a_new_sample(pictures, folder):
    made = pictures.vary(folder / "circle" / "a.png", strength=1, count=3)
    assert [row["label"] for row in made.conditions] == ["circle"] * 3
    assert_same(made.media, pictures.sample(count=3, label="circle").media, 1e-5)


def test_variations_have_files_levels_and_lengths(masked, folder):
    files = [folder / FAMILIES[0] / "short.wav", folder / FAMILIES[0] / "other.wav"]
    made = masked.vary(files, count=2, strength=0.4)
    assert [m.shape[-1] for m in made.media] == [1200, 1200, 1640, 1640]
    assert [row["source"] for row in made.conditions] == ["short", "short", "other", "other"]
    assert made.conditions[2]["seconds"] == 0.41 and made.settings["strength"] == 0.4
    assert all(torch.isfinite(m).all() for m in made.media)
    assert_same(masked.vary(files[1], count=2, strength=0.4).media, made.media[2:], 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("use", ["dpmpp_2m", "ddpm", "restart"])
def test_the_batch_does_not_change_an_edit(pictures, folder, use):
    files = [folder / "circle" / "a.png", folder / "square" / "a.png"]
    made = pictures.vary(files, count=2, use=use, batch=4)
    assert_same(pictures.vary(files, count=2, use=use, batch=1).media, made.media)
    made = pictures.inpaint(files, box=[2, 2, 9, 9], count=2, resample=2, jump=2, use=use, batch=4)
    assert_same(
        pictures.inpaint(files, box=[2, 2, 9, 9], count=2, resample=2, jump=2, use=use, batch=3).media, made.media
    )


@pytest.fixture(scope="module")
def silent(tiny_run, opened):
    """A run whose padding is silence, trained as data: nothing is masked in training."""
    return opened(tiny_run("audio", "data.padding=silence"))


@pytest.fixture(scope="module")
def three(folder):
    """Sounds of 0.2, 0.5 and 0.9 s; the runs are trained on 0.5 s."""
    files = [folder / FAMILIES[0] / f"{n}.wav" for n in (800, 2000, 3600)]
    for n, file in zip((800, 2000, 3600), files, strict=True):
        wave = 0.5 * torch.sin(2 * torch.pi * 300 * torch.arange(n) / 4000)
        soundfile.write(file, wave.numpy(), 4000, subtype="FLOAT")
    return files


EDITS = {
    "vary": lambda run, files, **more: run.vary(files, strength=0.6, **more),
    "inpaint": lambda run, files, **more: run.inpaint(files, spans=[(0.05, 0.15)], resample=2, jump=2, **more),
    "extend": lambda run, files, **more: run.extend(files, seconds=0.1, resample=1, **more),
    "morph": lambda run, files, **more: run.morph(files[0], files[2], count=3, **more),
}


def check_batch_of_lengths(run, files, edit):
    """The result of a file is the same alone and in a batch with longer files."""
    made, alone = (EDITS[edit](run, files, batch=batch).media for batch in (3, 1))
    for a, b in zip(made, alone, strict=True):
        assert a.shape == b.shape and float((a - b).norm() / b.norm()) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
def test_longer_files_in_the_batch_do_not_change_an_edit(silent, masked, three, edit):
    check_batch_of_lengths(silent, three, edit)
    check_batch_of_lengths(masked, three, edit)


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
def test_planted_edit_without_a_mask_is_caught(silent, three, edit, monkeypatch):
    right = sampling.make_padded_batch
    monkeypatch.setattr(
        sampling,
        "make_padded_batch",
        lambda c, n, spec, sizes, known, masked, *more: right(c, n, spec, sizes, (), False),
    )
    assert_caught(check_batch_of_lengths, silent, three, edit)


@pytest.mark.slow
def test_planted_noise_of_a_morph_at_the_shape_of_the_batch_is_caught(masked, three):
    with planted_error(MorphRequest, "edits", replace_expression(variable_target("shape"), "batch.shape", at=None)):
        assert_caught(check_batch_of_lengths, masked, three, "morph", also=(RuntimeError,))


# --- known parts ----------------------------------------------------------------------------------------------------


def check_kept(made, given, kept):
    assert torch.equal(made[..., kept], given[..., kept])
    assert not torch.allclose(made[..., ~kept], given[..., ~kept], atol=1e-3)


@pytest.mark.slow
def test_what_is_known_of_a_picture_comes_back_exactly(pictures, folder):
    file = folder / "circle" / "a.png"
    given = pictures.components.modality.read(file)
    kept = torch.ones(16, 16, dtype=torch.bool)
    kept[4:12, 2:9] = False
    for made in (pictures.inpaint(file, box=[2, 4, 9, 12]), pictures.inpaint(file, mask=folder / "mask.png")):
        check_kept(made.media[0], given, kept)
    made = pictures.inpaint(file, mask=folder / "mask.png", steps=9)
    assert made.settings["resample"] == 4 and made.nfe[0] == 4 * 4 + 4 * 4 + 1


@pytest.mark.slow
def test_what_is_known_of_a_sound_comes_back_exactly(sounds, folder):
    file = folder / FAMILIES[0] / "other.wav"
    given, kept = sounds.components.modality.read(file), torch.ones(1640, dtype=torch.bool)
    kept[400:800] = kept[1000:1100] = False
    made = sounds.inpaint(file, spans=[(0.1, 0.2), (0.25, 0.275)], resample=1)
    check_kept(made.media[0], given, kept)
    assert_same(
        sounds.inpaint(file, spans=[(0.1, 0.2), (0.25, 0.275)], resample=1, count=3, batch=2).media[:1],
        made.media,
        2e-2,  # z differs by 2e-4 (rounding, in an untrained network), which Griffin-Lim amplifies
    )


@pytest.mark.slow
def test_a_sound_goes_on(sounds, masked, folder):
    file = folder / FAMILIES[0] / "other.wav"
    for trained in (sounds, masked):
        given = trained.components.modality.read(file)
        for seconds in (0.05, 0.3):
            made = trained.extend(file, seconds=seconds, resample=1).media[0]
            assert made.shape[-1] == 1640 + round(seconds * 4000) and torch.equal(made[:, :1640], given)
            assert float(made[:, 1640:].abs().max()) > 0


@pytest.mark.slow
def test_a_network_trained_on_levels_that_differ_knows_what_is_given(folder, tiny_run, monkeypatch, opened):
    trained, seen, true = opened(tiny_run("image", "process.per_element=0.5")), [], InpaintEdit.__init__

    def spied(self, *rest):
        seen.append(rest[2:])
        true(self, *rest)

    monkeypatch.setattr(fill.InpaintEdit, "__init__", spied)
    made = trained.inpaint(folder / "circle" / "a.png", box=[2, 4, 9, 12])
    assert seen == [("levels", 1, 4)] and torch.isfinite(made.media[0]).all()


def test_another_objective_says_that_it_trains_on_maps(pictures, monkeypatch):
    """The share is a parameter of the recipe, or else an attribute of the objective's class."""
    from sonolux.core.objectives.denoising import Denoising

    assert not pictures.context.per_element
    monkeypatch.setattr(Denoising, "per_element", 1.0)
    assert not pictures.context.per_element, "the recipe says 0"
    monkeypatch.delitem(pictures.recipe.objective.params, "per_element")
    assert pictures.context.per_element
    monkeypatch.undo()


# --- between --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_morph_begins_and_ends_at_its_files(pictures, folder):
    files = [folder / "circle" / "a.png", folder / "square" / "a.png"]
    made = pictures.morph(*files, count=3, steps=24)
    assert [row["label"] for row in made.conditions] == ["circle", {"circle": 0.5, "square": 0.5}, "square"]
    given = [pictures.components.modality.read(file) for file in files]
    off = [float((m - g).square().mean().sqrt()) for m, g in zip((made.media[0], made.media[2]), given, strict=True)]
    middle = [float((made.media[1] - g).square().mean().sqrt()) for g in given]
    assert max(off) < 0.25 * min(middle), (off, middle)
    assert_same(pictures.morph(*files, count=3, steps=24, batch=1).media, made.media, 1e-3)


@pytest.mark.slow
def test_a_morph_of_sounds_has_lengths_between(masked, folder):
    files = [folder / FAMILIES[0] / "short.wav", folder / FAMILIES[0] / "other.wav"]
    made = masked.morph(*files, count=3, steps=6)
    assert [m.shape[-1] for m in made.media] == [1200, 1420, 1640]
    assert made.conditions[1]["share"] == 0.5 and all(torch.isfinite(m).all() for m in made.media)


@pytest.mark.slow
def test_a_morph_of_classes_has_one_start(pictures):
    made = pictures.morph("circle", "square", count=3)
    ends = [pictures.sample(count=1, label=label).media[0] for label in ("circle", "square")]
    assert_same([made.media[0], made.media[2]], ends)
    mixture = pictures.sample(count=1, label={"circle": 1, "square": 1})
    assert_same(made.media[1:2], mixture.media)
    assert mixture.conditions == [{"label": {"circle": 0.5, "square": 0.5}}]


# --- loops, windows, sizes ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_loops_fill_whole_frames_and_do_not_depend_on_the_batch(sounds):
    step = loop_length_unit(sounds.codec, sounds.model.network, sounds.components.spec)
    made = sounds.sample(count=4, loop=True, seconds=[0.5, 0.3], batch=4)
    assert [m.shape[-1] for m in made.media] == [round_to_multiple(n, step) for n in (2000, 1200)] * 2
    assert [row["seconds"] for row in made.conditions] == [m.shape[-1] / 4000 for m in made.media]
    loudest = max(float(m.abs().max()) for m in made.media)  # up to 20 dB above full scale, without training
    assert_same(sounds.sample(count=4, loop=True, seconds=[0.5, 0.3], batch=1).media, made.media, 5e-3 * loudest)


def test_loops_of_a_run_that_learnt_padding_warn():
    def told(**more):
        recipe = load_recipe("textures", [f"modality.seconds={more['seconds']}"])
        spec = recipe.modality.build().spec()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            warn_of_loop_padding(recipe.codec.build(spec=spec), spec, more.get("masked", False))
        return [str(one.message) for one in said]

    assert told(seconds=1.536) == [] and told(seconds=1.5, masked=True) == []
    (text,) = told(seconds=1.5)
    assert "trained on 1.5 s" in text and "modality.seconds=1.472" in text and told(seconds=1.472) == []


def check_tile(trained):
    """A tile that is turned is a tile of the same law: with the noise turned too, the network sees nothing else."""
    z = torch.from_numpy(keyed_generator(0, 0, "tile").standard_normal((1, 3, 16, 16))).float()
    level = trained.components.process.schedule.level(1.0)
    told = Conditioning(vector={}, wrap=(0, 1))
    denoiser = trained.components.process.denoiser(trained.model)
    with torch.no_grad():
        straight, turned = (denoiser.denoise(x, level, told).x0 for x in (z, z.roll((4, 8), (2, 3))))
    assert torch.allclose(straight.roll((4, 8), (2, 3)), turned, atol=1e-4)


@pytest.mark.slow
def test_pictures_tile(pictures):
    check_tile(pictures)
    made = pictures.sample(count=2, loop=True, size=[20, 18])
    assert made.media[0].shape == (3, 20, 20)  # whole blocks of the network
    assert_same(pictures.sample(count=2, loop=True, size=[20, 18], batch=1).media, made.media)


@pytest.mark.slow
def test_windows_make_more_than_was_trained(pictures, sounds):
    made = pictures.sample(count=2, size=[24, 40], windows=0.5)
    assert made.media[0].shape == (3, 24, 40)
    assert_same(pictures.sample(count=2, size=[24, 40], windows=0.5, batch=1).media, made.media)
    assert sounds.sample(count=1, seconds=1.3, windows=0.5).media[0].shape[-1] == 5200
    loop = sounds.sample(count=1, seconds=1.3, windows=0.5, loop=True).media[0].shape[-1]
    assert abs(loop - 5200) < 600


def check_loops_beyond_positions(placed):
    """A loop whose whole places are more than the recipe's is made: along it the network receives no positions."""
    made = placed.sample(count=2, loop=True, seconds=[0.505, 0.6])
    step = loop_length_unit(placed.codec, placed.model.network, placed.components.spec)
    assert step == 32 and [m.shape[-1] for m in made.media] == [2016, 2400]
    assert all(n.shape[-1] > placed.components.spec.size[-1] for n in made.media)


@pytest.mark.slow
def test_only_networks_with_positions_are_limited_by_them_and_a_planted_refusal_is_caught(tiny_run, opened):
    placed = opened(tiny_run("audio", "network.positions=2"))
    for asked in ({"windows": 0.5}, {}, {"windows": 0.5, "loop": True}):
        with pytest.raises(BadInput, match="positions"):
            placed.sample(count=1, seconds=1.3, **asked)
    check_loops_beyond_positions(placed)
    wrong = keep_left_operand(ast.And, near="wrap")  # as if the loop's own places were counted from 0
    with planted_error(UNetND, "check_size", wrong), pytest.raises(BadInput, match="positions"):
        check_loops_beyond_positions(placed)


# --- wishes that cannot be met, and the command ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (lambda t, f: t.vary(f / "nothing.png"), "nothing.png"),
        (lambda t, f: t.vary(f / "mask.png", strength=3), "strength"),
        (lambda t, f: t.vary(f / "mask.png", count=0), "count"),
        (lambda t, f: t.vary(f / "mask.png", stepz=3), "steps"),
        (lambda t, f: t.vary([]), "name a file"),
        (lambda t, f: t.inpaint(f / "mask.png"), "box="),
        (lambda t, f: t.inpaint(f / "mask.png", box=[0, 0, 99, 4]), "no part"),
        (lambda t, f: t.inpaint(f / "mask.png", box=[0, 0, 16, 16]), "not the whole"),
        (lambda t, f: t.inpaint(f / "mask.png", spans=[(0, 1)]), "box="),
        (lambda t, f: t.extend(f / "mask.png"), "no end"),
        (lambda t, f: t.morph(f / "mask.png", "circle"), "two classes"),
        (lambda t, f: t.morph(f / "mask.png", f / "mask.png", use="ddpm"), "deterministic"),
        (lambda t, f: t.sample(label={"circle": -1}), "0 or more"),
        (lambda t, f: t.sample(label={"circel": 1}), "circle"),
        (lambda t, f: t.sample(seconds=2), "height and width only"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_with_the_remedy(pictures, folder, wish, said):
    with pytest.raises(BadInput, match=said):
        wish(pictures, folder)


def test_a_part_that_a_sound_does_not_have_is_refused(masked, folder):
    file = folder / FAMILIES[0] / "short.wav"
    for spans in ([(0.5, 0.6)], [(0.2, 0.1)], []):
        with pytest.raises(BadInput, match=r"no part|from="):
            masked.inpaint(file, spans=spans)
    with pytest.raises(BadInput, match=r"axes other than time.*sample\.seconds"):
        masked.sample(size=4)


def told_by(capsys, *words):
    code = main(["edit", *map(str, words)])
    return code, capsys.readouterr()


@pytest.mark.slow
def test_the_command_writes_files_a_list_and_a_sheet(masked, masked_run, folder, tmp_path, capsys):
    run, file, out = masked_run, folder / FAMILIES[0] / "short.wav", tmp_path / "out"
    for words in (
        ("vary", file, "strength=0.4", "count=2"),
        ("inpaint", file, "from=0.1", "to=0.2", "resample=1"),
        ("inpaint", file, "from=[0.05, 0.2]", "to=[0.1, 0.22]", "resample=1"),
        ("continue", file, "seconds=0.1", "walks=1"),
        ("morph", file, folder / FAMILIES[0] / "other.wav", "count=3"),
        ("morph", *FAMILIES[:2], "count=3"),
    ):
        code, said = told_by(capsys, run, *words, "steps=2", "--out", out, "--overwrite", "--json")
        assert code == 0, said.err
        assert ("walks is now called resample" in said.err) == ("walks=1" in words)
        facts = json.loads(said.out)
        assert facts["settings"]["edit"] == words[0] and facts["settings"]["steps"] == 2
        assert all((out / row["file"]).exists() for row in facts["samples"]) and (out / "sheet.png").exists()
    for words in (
        ("vary", "strength=0.4"),
        ("vary", folder / "none.wav"),
        ("vary", file, "strenght=0.4"),
        ("vary", file, "resample=2"),
        ("inpaint", file, "from=0.1"),
        ("inpaint", file, "from=a", "to=b"),
        ("morph", file),
        ("melt", file),
        ("vary", file, "strength=[0.4"),
    ):
        code, said = told_by(capsys, run, *words, "--out", out)
        assert code == 2 and said.err, words
