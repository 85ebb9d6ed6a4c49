"""Autoguidance in recipes: the weaker network is another run, or an earlier checkpoint of the same run."""

import pytest
import sonolux
import torch
from sonolux.core.codecs import comparison
from sonolux.core.config.load import load_recipe
from sonolux.core.config.trust import TrustLevel
from sonolux.core.pipeline.preview import PreviewCallback
from sonolux.core.schedulers.base import equal_schedules
from sonolux.core.schedulers.custom import Custom
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing.mutation import assert_caught, planted_error
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput

SETTINGS = ("train.save_every=2", "sample={use: euler, steps: 3, count: 4, batch: 3, guidance: null}")


@pytest.fixture(scope="module")
def strong(tiny_run):
    return tiny_run("image", *SETTINGS)


@pytest.fixture(scope="module")
def weak(tiny_run):
    """A smaller network, whose embeddings have another width."""
    return tiny_run("image", *SETTINGS, "network.width=8", "network.attention=[]", "train.steps=2")


def media(path, guidance, **changes):
    return torch.stack(sonolux.load(path, device="cpu").sample(guidance=guidance, seed=1, **changes).media)


@pytest.mark.slow
def test_a_smaller_network_and_an_earlier_checkpoint_guide(strong, weak):
    early = sorted((strong / "checkpoints").glob("*.safetensors"))[0]
    plain = media(strong, None)
    for path in (weak, early):
        made = media(strong, {"use": "autoguidance", "scale": 3.0, "weak": str(path)})
        assert torch.isfinite(made).all() and not torch.allclose(made, plain, atol=1e-4)
        alone = media(strong, {"use": "autoguidance", "scale": 3.0, "weak": str(path)}, batch=1)
        assert torch.allclose(made, alone, atol=1e-5), "each sample has its own label, in any batch"
    nothing = media(strong, {"use": "autoguidance", "scale": 1.0, "weak": str(weak)})
    assert torch.equal(nothing, plain)


@pytest.mark.slow
def test_itself_changes_nothing_and_scale_zero_is_the_weaker_run(strong, weak):
    assert torch.allclose(media(strong, {"use": "autoguidance", "weak": str(strong)}), media(strong, None), atol=1e-5)
    made = media(strong, [{"use": "autoguidance", "scale": 0.0, "weak": str(weak)}])
    assert torch.allclose(made, media(weak, None), atol=1e-5)


def test_in_a_list_with_the_other_guidances(strong, weak):
    listed = [{"use": "cfg", "scale": 2.0}, {"use": "autoguidance", "weak": str(weak)}, "rescale"]
    trained = sonolux.load(strong, device="cpu")
    made = trained.sample(guidance=listed)
    assert torch.isfinite(torch.stack(made.media)).all()
    assert [part["use"] for part in made.settings["guidance"]] == ["cfg", "autoguidance", "rescale"]


@pytest.mark.slow
def test_runs_that_do_not_suit_are_refused(strong, tiny_run, tmp_path):
    with pytest.raises(BadInput, match="nowhere"):
        media(strong, {"use": "autoguidance", "weak": str(tmp_path / "nowhere")})
    for change, said in (
        ("process.schedule=ve", "process.schedule"),
        ("modality.size=24", "shape of the diffused tensor"),
        ("data.count=8", "fitted on other data"),
    ):
        other = tiny_run("image", *SETTINGS, change, "train.steps=1")
        with pytest.raises(BadInput, match=said):
            media(strong, {"use": "autoguidance", "weak": str(other)})


LEARNED = "codec={use: image/autoencoder, width: 8, steps: 3, batch: 4"
STEPS = ("network.patch=1", "train.steps=1", *SETTINGS[1:])


def refusal(path, guidance):
    """The message by which a guidance is refused; empty if it is not."""
    try:
        media(path, guidance)
    except BadInput as error:
        return str(error)
    return ""


def check_codecs_of_files(run, guide, other):
    """A codec read from a file equals the one of the run that wrote the file; one with other weights is refused."""
    guided = {"use": "autoguidance", "scale": 2.0, "weak": str(guide)}
    assert torch.isfinite(media(run, guided)).all()
    assert torch.isfinite(media(guide, {**guided, "weak": str(run)})).all()
    for first, second in ((run, other), (other, guide)):
        assert "its codec was fitted on other data" in refusal(first, {**guided, "weak": str(second)})


@pytest.mark.slow
def test_codecs_are_compared_by_what_they_do(tiny_run):
    run = tiny_run("image", LEARNED + "}", *STEPS)
    guide = tiny_run("image", f"{LEARNED}, file: {run / 'codec.safetensors'}}}", *STEPS)
    other = tiny_run("image", LEARNED.replace("steps: 3", "steps: 2") + "}", *STEPS)
    check_codecs_of_files(run, guide, other)
    with planted_error(comparison, "_fitted", lambda codec: codec.state_dict()):  # by names of tensors, not by values
        assert_caught(check_codecs_of_files, run, guide, other, also=BadInput)
    with planted_error(comparison, "_close", lambda a, b: True):
        assert_caught(check_codecs_of_files, run, guide, other)
    wider = tiny_run("image", LEARNED.replace("width: 8", "width: 12") + "}", *STEPS)
    with pytest.raises(BadInput, match=r"its codec\.width is 12, and this run's is 8"):
        media(run, {"use": "autoguidance", "weak": str(wider)})


def test_schedules_are_compared_by_their_levels():
    table = EDM(0.002, 80.0)
    assert equal_schedules(table, EDM(0.002, 80.0)) and not equal_schedules(table, EDM(0.002, 60.0))
    assert equal_schedules(RectifiedFlow(), Custom(t_min=RectifiedFlow().t_min))


@pytest.mark.slow
def test_code_of_a_weaker_run_needs_permission_of_its_own(tiny_recipe, tmp_path):
    """A recipe that the user wrote may name code; a checkpoint that guides with it may not, unless that is allowed."""
    code = "from sonolux.modalities.image.networks.unet import UNet\n\n\nclass Mine(UNet):\n    'A network.'\n"
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "own.yaml").write_text(tiny_recipe["image"].replace("use: image/unet", "use: './mine.py:Mine'"))
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    own = TrainingRun(load_recipe(tmp_path / "own.yaml", SETTINGS), tmp_path / "own", say=lambda _: None, bar=False)
    own.prepare()
    own.run()
    guidance = {"use": "autoguidance", "weak": str(tmp_path / "own")}
    recipe = load_recipe(tmp_path / "tiny.yaml", [*SETTINGS, f"sample.guidance={guidance}"])
    assert recipe.trust == TrustLevel.CODE and not recipe.allow_code
    with pytest.raises(BadInput, match="--allow-code"):
        TrainingRun(recipe, tmp_path / "run", bar=False, callbacks=[PreviewCallback(recipe)]).prepare()
    opened = sonolux.load(tmp_path / "own", device="cpu", allow_code=True)
    assert len(opened.sample(guidance=guidance, count=1, steps=1)) == 1


def test_a_training_that_previews_with_a_missing_run_is_refused_before_it_begins(tiny_recipe, tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    missing = [*SETTINGS, "sample.guidance={use: autoguidance, weak: nowhere}"]
    recipe = load_recipe(tmp_path / "tiny.yaml", missing)
    with pytest.raises(BadInput, match="nowhere"):
        TrainingRun(recipe, tmp_path / "run", bar=False, callbacks=[PreviewCallback(recipe)]).prepare()
    assert not (tmp_path / "run").exists()
