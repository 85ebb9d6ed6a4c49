"""Edits with a network that was trained with references: what it receives, and what the results are."""

import json
import warnings

import pytest
import soundfile
import torch
from sonolux.core.cli.main import main
from sonolux.core.conditioning.reference import Reference
from sonolux.core.config.load import load_recipe
from sonolux.core.degradations.base import LinearOperator
from sonolux.core.degradations.crop import Crop
from sonolux.core.editing.reference import ReferenceEdit
from sonolux.core.evaluation import likelihood
from sonolux.core.nn.model import ConditionedNetwork, NetworkDenoiser
from sonolux.core.pipeline.edit import inpaint, restore
from sonolux.core.pipeline.edit.restore import RestoreRequest
from sonolux.core.pipeline.preview import PreviewCallback
from sonolux.core.testing.mutation import (
    argument_target,
    assert_caught,
    call_target,
    planted_error,
    replace_expression,
)
from sonolux.core.training.build import build_dataset
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput, Estimate
from sonolux.core.util.rng import keyed_generator
from sonolux.modalities.image.io import write_picture

LOW = "conditioning.low={use: reference, degradation: {use: downsample, factor: 4}}"
INPAINT = "conditioning.inpaint={use: reference, degradation: mask}"


@pytest.fixture(scope="module")
def run_folder(tiny_run):
    return tiny_run("image", LOW, INPAINT)


@pytest.fixture(scope="module")
def run(run_folder, opened):
    return opened(run_folder)


@pytest.fixture(scope="module")
def sounds(tiny_run, opened):
    low = "conditioning.low={use: reference, degradation: {use: low_pass, cutoff: 500}}"
    return opened(tiny_run("audio", low, INPAINT, "data.padding=masked"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two pictures of the size of the run, a small one and a large one; two sounds, of which one has another rate."""
    root = tmp_path_factory.mktemp("files")
    for name, size in {"a": 16, "b": 16, "small": 4, "large": 40}.items():
        media = torch.from_numpy(keyed_generator(1, size, name).uniform(-1, 1, (3, size, size))).float()
        write_picture(root / f"{name}.png", media)
    for name, seconds, rate in (("short", 0.3, 4000), ("other", 0.41, 16000)):
        t = torch.arange(round(seconds * rate)) / rate
        wave = 0.3 * (torch.sin(2 * torch.pi * 300 * t) + torch.sin(2 * torch.pi * 1500 * t))
        soundfile.write(root / f"{name}.wav", wave.numpy(), rate, subtype="FLOAT")
    return root


def received(make):
    """(the result of an edit, what the network received in each call)."""
    found, true = [], ConditionedNetwork.forward

    def forward(self, x, level, conditions):
        found.append(conditions)
        return true(self, x, level, conditions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConditionedNetwork, "forward", forward)
        return make(), found


def encoded(run, file):
    """A file of the run's size, encoded: (1, C, *spatial)."""
    media = run.components.modality.read(file)
    with torch.no_grad():
        return run.codec.encode(media[None])


def check_inpaint(run, files):
    """The network receives the file where it is known, and 0 and a mask of 0 in the box; the file stays as it is."""
    made, seen = received(lambda: run.inpaint(files / "a.png", box=[2, 3, 9, 11], guidance=None))
    z, known = encoded(run, files / "a.png"), torch.ones(1, 1, 16, 16)
    known[..., 3:11, 2:9] = 0
    assert seen and all(torch.equal(c.concat["inpaint"], torch.cat([z * known, known], 1)) for c in seen)
    assert not any(c.concat["low"].any() for c in seen)
    given = run.components.modality.read(files / "a.png")
    kept = known[0].bool().expand(3, -1, -1)
    assert torch.equal(made.media[0][kept], given[kept]) and not torch.equal(made.media[0], given)
    assert made.settings["resample"] == 1 and made.settings["reference"] == "inpaint"


@pytest.mark.filterwarnings("ignore:the network receives")
def test_inpainting_gives_the_known_part_to_the_network(run, files):
    check_inpaint(run, files)


@pytest.mark.filterwarnings("ignore:the network receives")
@pytest.mark.parametrize(
    ("owner", "attribute", "error"),
    [
        (inpaint.InpaintRequest, "edits", replace_expression(argument_target("reference_channels", 1), "~places")),
        (inpaint.InpaintRequest, "edits", replace_expression(argument_target("reference_channels", 0), "-z")),
        (ReferenceEdit, "conditions", replace_expression(argument_target("replace", "concat"), "conditions.concat")),
    ],
    ids=str,
)
def test_planted_errors_of_inpainting_are_caught(run, files, owner, attribute, error):
    with planted_error(owner, attribute, error):
        assert_caught(check_inpaint, run, files)


def test_the_trained_method_is_said_and_can_be_left(run, files):
    with pytest.warns(UserWarning, match="condition inpaint.*trained=false"):
        run.inpaint(files / "a.png", box=[2, 3, 9, 11])
    made, seen = received(lambda: run.inpaint(files / "a.png", box=[2, 3, 9, 11], trained=False, guidance=None))
    assert not any(c.concat["inpaint"].any() for c in seen)
    assert made.settings["resample"] == 4 and made.settings["reference"] is None


@pytest.mark.filterwarnings("ignore:the network receives")
def test_a_continuation_gives_the_file_to_the_network(sounds, files):
    made, seen = received(lambda: sounds.extend(files / "short.wav", seconds=0.1, guidance=None))
    mask = seen[0].concat["inpaint"][0, -1]
    assert mask[:70].all() and not mask[80:100].any(), "0.3 s are 75 positions of 16 samples"
    assert made.media[0].shape[-1] == 1600
    assert torch.equal(made.media[0][:, :1200], sounds.components.modality.read(files / "short.wav"))


def check_restore(run, files):
    """The network receives the block means of each file; guidance is without them; the batch does not matter."""
    names = [files / "a.png", files / "b.png"]
    made, seen = received(lambda: run.restore(names, count=2, guidance={"use": "cfg", "scale": 2.0}))
    assert len(made) == 4 and [row["source"] for row in made.conditions] == ["a", "a", "b", "b"]
    means = []
    for name in names:
        z = torch.nn.functional.avg_pool2d(encoded(run, name), 4)
        means += [z.repeat_interleave(4, 2).repeat_interleave(4, 3)] * 2
    whole = torch.cat([torch.cat(means), torch.ones(4, 1, 16, 16)], 1)
    for conditions in seen:
        given, dropped = conditions.concat["low"].chunk(2)
        assert torch.allclose(given, whole, atol=1e-5) and not dropped.any()
    alone = run.restore(names, count=2, batch=1, guidance={"use": "cfg", "scale": 2.0})
    for a, b in zip(made.media, alone.media, strict=True):
        assert float((a - b).abs().max()) < 1e-4
    assert made.settings["edit"] == "restore" and made.settings["reference"] == "low"


def test_restoration_gives_the_degraded_file_to_the_network(run, files):
    check_restore(run, files)


@pytest.mark.parametrize(
    ("attribute", "error"),
    [
        ("edits", replace_expression(argument_target("reference_edit", 1), "'inpaint'")),
        ("edits", replace_expression(argument_target("_encoded", 0), "self.sources[0]")),
        ("_encoded", replace_expression(argument_target("cut_or_pad", 0), "source.media")),
    ],
    ids=str,
)
def test_planted_errors_of_restoration_are_caught(run, files, attribute, error):
    with planted_error(RestoreRequest, attribute, error):
        assert_caught(check_restore, run, files)


def check_copy(run, name, channels):
    """Of a network that returns its reference, the result is the reference, at the level and length of the file."""

    def denoise(self, x, level, conditions):
        return Estimate(conditions.concat["low"][:, :channels].expand_as(x).clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetworkDenoiser, "denoise", denoise)
        made = run.restore(name, guidance=None)
    assert made.media[0].shape == made.before[0].shape
    assert float((made.media[0] - made.before[0]).abs().max()) < 1e-4


def test_a_network_that_copies_its_reference_returns_it(run, sounds, files):
    check_copy(run, files / "a.png", 3)
    check_copy(sounds, files / "short.wav", 16)


def test_planted_level_of_the_training_in_the_result_is_caught(sounds, files, monkeypatch):
    monkeypatch.setattr(
        type(sounds.components.modality), "levelled", lambda self, media, data: (5.0, torch.zeros(1, 1))
    )
    check_copy(sounds, files / "short.wav", 16)
    with planted_error(RestoreRequest, "finish", replace_expression(call_target("to_file_level"), "5 * media")):
        assert_caught(check_copy, sounds, files / "short.wav", 16)


def test_results_stand_next_to_what_they_were_made_from(run, files):
    made = run.restore([files / "a.png", files / "b.png"])
    media, captions = made.shown()
    assert captions == ["before a", "after a", "before b", "after b"]
    assert (
        torch.equal(media[1], made.media[0])
        and media[0].unique().numel() <= 3 * 16
        and torch.equal(media[3], made.media[1])
    )


@pytest.mark.parametrize(("name", "said"), [("small", "height 4, width 4"), ("large", "height 40, width 40")])
def test_a_file_of_another_size_is_converted_and_said(run, files, name, said):
    with pytest.warns(UserWarning, match=f"{name}.png is converted from {said} to height 16, width 16"):
        made = run.restore(files / f"{name}.png")
    assert made.media[0].shape == (3, 16, 16)


def test_a_small_file_is_the_reference_that_it_would_be_of_its_enlargement(run, files):
    """The block means of a file that is enlarged for the network are the file itself, up to the filter of resizing."""
    with pytest.warns(UserWarning, match="converted"):
        _, seen = received(lambda: run.restore(files / "small.png", guidance=None))
    media = seen[0].concat["low"][:, :3, ::4, ::4]
    small = run.components.modality.read(files / "small.png", fit=False)
    scale = encoded(run, files / "a.png").std() / run.components.modality.read(files / "a.png").std()
    assert float((media[0] / scale - small).std()) < 0.5 * float(small.std())


@pytest.mark.parametrize("options", [{}, {"loop": True}])
def test_sounds_of_any_length_and_rate(sounds, files, options):
    with pytest.warns(UserWarning, match="other.wav is converted from rate 16000 to rate 4000"):
        made = sounds.restore([files / "short.wav", files / "other.wav"], **options)
    assert [m.shape[-1] for m in made.media] == [1200, 1640] or options
    assert all(bool(m.isfinite().all()) for m in made.media)


def test_windows_cut_the_reference(tiny_run, opened, files):
    """A picture larger than those of training is covered by windows, each with its part of the reference."""
    run = opened(tiny_run("image", LOW, "conditioning.label=null", "sample.guidance=null"))
    made, seen = received(lambda: run.restore(files / "large.png", windows=0.5))
    assert made.media[0].shape == (3, 40, 40)
    assert all(c.concat["low"].shape[2:] == (16, 16) and c.concat["low"][:, 3].all() for c in seen)
    windows = [part for c in seen for part in c.concat["low"]]
    assert len({tuple(part.flatten().tolist()) for part in windows}) > 1


@pytest.mark.filterwarnings("ignore:the network receives")
def test_another_model_in_guidance_receives_the_reference_too(run, run_folder, files):
    _, seen = received(
        lambda: run.restore(files / "a.png", guidance={"use": "autoguidance", "weak": str(run_folder), "scale": 2.0})
    )
    assert len(seen) > 4 and all(c.concat["low"].any() for c in seen)


def test_a_likelihood_is_without_references(run, monkeypatch):
    """With a reference made of the example, the example would be known."""
    seen = []

    def stop(denoiser, schedule, z, conditions, **options):
        seen.append(conditions)
        raise StopIteration

    monkeypatch.setattr(likelihood, "log_likelihood", stop)
    data, _ = build_dataset(run.recipe, "valid")
    with pytest.raises(StopIteration):
        likelihood.likelihood_of_items(run, [data.item(i, None) for i in range(2)])
    assert not seen[0].concat["low"].any() and not seen[0].concat["inpaint"].any() and seen[0].vector["label"].any()


# --- previews and refusals -------------------------------------------------------------------------------------------


def test_a_preview_shows_examples_before_and_after(tiny_recipe, tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    recipe = load_recipe(tmp_path / "tiny.yaml", [LOW, "conditioning.low.drop=0", "train.steps=2"])
    job, seen = TrainingRun(recipe, tmp_path / "run", lambda _: None, False, [PreviewCallback(recipe)]), []
    job.prepare()
    job.parts.modality.sheet = lambda path, media, captions: seen.append((media, captions))
    job.run()
    media, captions = seen[-1]
    assert [c.split()[0] for c in captions] == ["before", "after"] * 6 and captions[0].split()[1] == captions[
        1
    ].split()[1]
    example = job.trainer.data.item(1, None).media
    assert torch.allclose(media[2][:, ::4, ::4], torch.nn.functional.avg_pool2d(example, 4), atol=1e-5)


@pytest.mark.filterwarnings("ignore:the network receives")
def test_one_of_several_masks_is_chosen(tiny_run, opened, files):
    two = opened(tiny_run("image", INPAINT, INPAINT.replace("conditioning.inpaint", "conditioning.hole")))
    with pytest.raises(BadInput, match="receives the known part: reference=inpaint or reference=hole"):
        two.inpaint(files / "a.png", box=[0, 0, 4, 4])
    made, seen = received(lambda: two.inpaint(files / "a.png", box=[0, 0, 4, 4], reference="hole", guidance=None))
    assert made.settings["reference"] == "hole"
    assert all(c.concat["hole"].any() and not c.concat["inpaint"].any() for c in seen)
    with pytest.raises(BadInput, match="reference has no effect"):
        two.inpaint(files / "a.png", box=[0, 0, 4, 4], reference="hole", trained=False)


CROP = "conditioning.middle={use: reference, degradation: {use: crop, begin: 0.25, end: 0.75}, drop: %s}"


def check_crop(opened_run, never_dropped, files, tmp_path):
    """A run trained with `crop` gets its reference for that one part; for another the method without it is said."""
    middle, other = tmp_path / "middle.png", tmp_path / "other.png"
    outside = torch.ones(3, 16, 16)
    outside[:, 4:12, 4:12] = -1
    write_picture(middle, outside)
    write_picture(other, outside.roll(1, 1))
    with pytest.warns(UserWarning, match="receives the known part"):
        assert opened_run.inpaint(files / "a.png", mask=middle, steps=1).settings["reference"] == "middle"
    with warnings.catch_warnings(record=True) as held:
        warnings.simplefilter("always")
        made = opened_run.inpaint(files / "a.png", mask=other, steps=1)
    said = [str(one.message) for one in held]
    assert made.settings["reference"] is None and made.settings["resample"] == 4
    text = "trained to fill what `crop` leaves out (condition middle), not this part: the method without it is used"
    assert any(text in one for one in said), said
    for run, options in ((opened_run, {"trained": True}), (opened_run, {"reference": "middle"}), (never_dropped, {})):
        assert "give a mask of exactly that part" in refusal(
            run.inpaint, files / "a.png", mask=other, steps=1, **options
        )


def refusal(call, *arguments, **options):
    """The message of a refusal; empty if there is none."""
    try:
        call(*arguments, **options)
    except BadInput as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_the_mask_is_compared_with_that_of_the_training(tiny_run, opened, files, tmp_path):
    runs = [opened(tiny_run("image", CROP % drop, "train.steps=1")) for drop in (0.1, 0)]
    check_crop(*runs, files, tmp_path)
    with planted_error(LinearOperator, "is_mask_trained", lambda self, known: True):
        assert_caught(check_crop, *runs, files, tmp_path)
    assert Crop(0.0, 0.5).is_mask_trained(torch.arange(8)[None] < 4), "a continuation by the same length"
    assert not Crop(0.0, 0.5).is_mask_trained(torch.arange(8)[None] < 5)


def test_what_a_run_cannot_do_is_refused(tiny_run, run, files, tmp_path):
    plain = run.__class__(run.components, run.model, 0, run.device)
    assert plain.restore(files / "a.png", reference="low").settings["reference"] == "low"
    with pytest.raises(BadInput, match="name the condition that receives the file: reference=low"):
        run.restore(files / "a.png", reference="inpaint")
    without = tiny_run("image")
    import sonolux

    old = sonolux.load(without, device="cpu")
    with pytest.raises(BadInput, match="not trained to restore files: train with conditioning:"):
        old.restore(files / "a.png")
    with pytest.raises(BadInput, match="not trained with masks"):
        old.inpaint(files / "a.png", box=[0, 0, 4, 4], trained=True)
    with pytest.raises(BadInput, match="not trained with masks"):
        old.inpaint(files / "a.png", box=[0, 0, 4, 4], reference="hole")
    with pytest.raises(BadInput, match="not given as a value"):
        run.sample(conditions={"low": "a.png"})
    always = sonolux.load(tiny_run("image", LOW, "conditioning.low.drop=0"), device="cpu")
    with pytest.raises(BadInput, match=r"always trained with a reference \(conditioning.low.drop is 0\).*restore FILE"):
        always.sample()
    assert len(always.restore(files / "a.png")) == 1
    for edit in (
        lambda: always.vary(files / "a.png"),
        lambda: always.inpaint(files / "a.png", box=[0, 0, 4, 4]),
        lambda: always.morph(files / "a.png", files / "b.png"),
    ):
        with pytest.raises(BadInput, match="always trained with a reference"):
            edit()


def check_kept_by_guidance(run, files):
    """Guidance that drops all conditions keeps a reference without which the network was never trained."""
    guidance = {"use": "cfg", "scale": 2.0}
    _, found = received(lambda: run.restore(files / "a.png", label="circle", guidance=guidance))
    for conditions in found:
        assert conditions.concat["low"].shape[0] == 2 and bool((conditions.concat["low"][:, -1] == 1).all())


def test_guidance_keeps_a_reference_that_training_never_dropped(tiny_run, opened, files, monkeypatch):
    run = opened(tiny_run("image", LOW, "conditioning.low.drop=0"))
    check_kept_by_guidance(run, files)
    monkeypatch.setattr(run.model.conditions["low"], "drop", 0.1)
    with pytest.raises(AssertionError):
        check_kept_by_guidance(run, files)


def test_two_references_that_are_never_dropped_are_refused(tiny_recipe, tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    never = ["conditioning.low.drop=0", "conditioning.inpaint.drop=0"]
    recipe = load_recipe(tmp_path / "tiny.yaml", [LOW, INPAINT, *never])
    with pytest.raises(BadInput, match=r"conditioning.low.drop and conditioning.inpaint.drop are 0"):
        TrainingRun(recipe, tmp_path / "run").prepare()


def test_on_the_command_line(run_folder, files, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["edit", str(run_folder), "restore", str(files / "a.png"), "count=2", "--out", str(out)]) == 0
    facts = json.loads((out / "samples.json").read_text())
    assert facts["settings"]["edit"] == "restore" and len(facts["samples"]) == 2 and (out / "sheet.png").exists()
    capsys.readouterr()
    mask = tmp_path / "mask.png"
    write_picture(mask, torch.ones(3, 9, 16))
    words = ["edit", str(run_folder), "inpaint", str(files / "a.png"), f"mask={mask}", "--out", str(tmp_path / "no")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "16 x 9, is no mask of" in said and not (tmp_path / "no").exists()
    assert (
        main(["edit", str(run_folder), "restore", str(files / "a.png"), "strength=0.5", "--out", str(tmp_path / "no")])
        == 2
    )
    assert "belongs to vary" in capsys.readouterr().err


def test_conditions_that_are_not_references_have_no_channels(run):
    found = [name for name, c in run.model.conditions.items() if isinstance(c, Reference)]
    assert found == ["low", "inpaint"] and run.model.network.concat == 8
    assert restore.mask_reference(run.model, None) == "inpaint" and restore.mask_reference(run.model, False) is None


def test_training_ends_with_a_command_that_works(tiny_recipe, tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    words = ["train", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run"), "--quiet", "train.steps=1", LOW]
    assert main([*words, "conditioning.low.drop=0"]) == 0
    assert f"now: sonolux edit {tmp_path}/run restore FILE --out" in capsys.readouterr().out
