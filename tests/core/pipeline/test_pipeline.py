"""Sampling from a trained run: settings, labels, files, and independence of the batch."""

import json

import pytest
import sonolux
import torch
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe
from sonolux.core.pipeline import load as loading
from sonolux.core.pipeline import loaded_model
from sonolux.core.pipeline.pipeline import Pipeline
from sonolux.core.pipeline.result import saved_sample_files
from sonolux.core.pipeline.sample_list import read_sample_list
from sonolux.core.testing.mutation import assert_caught, call_target, planted_error, replace_expression
from sonolux.core.training.run import TrainingRun
from sonolux.core.types import BadInput
from sonolux.core.util.atomic_replace import replace_files
from sonolux.core.util.rng import KeyedNoise


@pytest.fixture(scope="module")
def trained(tiny_run):
    """A run of a few steps, opened."""
    return sonolux.load(tiny_run("image"), device="cpu")


def check_batch_independence(trained, use):
    """Sample i is the same alone, in pairs, and in one batch."""
    whole = trained.sample(batch=6, use=use).media
    for batch in (1, 2):
        for a, b in zip(whole, trained.sample(batch=batch, use=use).media, strict=True):
            assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("use", ["dpmpp_2m", "dpmpp_2m_sde", "euler_ancestral"])
def test_the_batch_does_not_change_a_sample(trained, use):
    check_batch_independence(trained, use)


@pytest.mark.slow
def test_noise_keyed_by_row_instead_of_sample_is_caught(trained, monkeypatch):
    true = KeyedNoise.__init__

    def by_row(self, seed, samples, *rest, **named):
        true(self, seed, range(len(samples)), *rest, **named)

    monkeypatch.setattr(KeyedNoise, "__init__", by_row)
    assert_caught(check_batch_independence, trained, "dpmpp_2m")


def test_noise_is_bit_identical_at_any_batch():
    whole = KeyedNoise(5, range(8), (3, 4)).normal("start", 2)
    parts = [KeyedNoise(5, [i], (3, 4)).normal("start", 2) for i in range(8)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, KeyedNoise(6, range(8), (3, 4)).normal("start", 2))
    assert not torch.equal(whole, KeyedNoise(5, range(8), (3, 4)).normal("start", 3))
    padded = KeyedNoise(5, range(2), [(3, 4), (3, 2)]).normal("start", 2)
    assert torch.equal(padded[0], whole[0]) and bool((padded[1, :, 2:] == 0).all())


def test_samples_show_themselves_in_a_line(trained):
    assert repr(trained.sample(count=2, seed=5)) == "<2 samples: recipe tiny, step 4, seed 5>"


def test_a_run_named_without_its_folder_is_found_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"^digits: no such run or checkpoint; did you mean runs/digits\?$"):
        sonolux.load("digits")


def test_labels_are_cycled_listed_named_or_left_out(trained):
    names = list(trained.classes)
    cycled = [t["label"] for t in trained.sample(count=6).conditions]
    assert cycled == [names[i % len(names)] for i in range(6)]
    assert [t["label"] for t in trained.sample(count=3, label=[1, names[0]]).conditions] == [
        names[1],
        names[0],
        names[1],
    ]
    assert [t["label"] for t in trained.sample(count=2, label=None).conditions] == [None, None]


def test_a_label_matters_and_so_does_guidance(trained):
    a, b = (trained.sample(count=1, label=i).media[0] for i in (0, 1))
    weak = trained.sample(count=1, label=0, guidance=None).media[0]
    assert not torch.allclose(a, b, atol=1e-4) and not torch.allclose(a, weak, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "hexagon"}, "circle"),
        ({"label": 77}, "circle"),
        ({"stepz": 3}, "steps"),
        ({"use": "dpmpp_3000"}, "dpmpp_3m"),
        ({"steps": 0}, "at least 1"),
        ({"guidance": {"use": "cfg", "scael": 2}}, "scale"),
        ({"where": {"mood": 1}}, "mood"),
    ],
)
def test_a_wrong_wish_is_refused_with_the_remedy(trained, change, said):
    with pytest.raises(BadInput, match=said):
        trained.sample(**change)


def test_saving_writes_media_settings_and_a_sheet(trained, tmp_path):
    samples = trained.sample(count=3, seed=9, trajectory=True)
    paths = samples.save(tmp_path)
    samples.save_trajectory(tmp_path)
    facts = json.loads((tmp_path / "samples.json").read_text())
    assert [row["file"] for row in facts["samples"]] == [p.name for p in paths]
    assert facts["settings"]["seed"] == 9 and facts["settings"]["use"] == "dpmpp_2m"
    assert {p.suffix for p in tmp_path.iterdir()} == {".png", ".gif", ".json"}


def test_a_pipeline_prints_what_it_is(trained, monkeypatch):
    said = f"<Pipeline of tiny: image, step {trained.step}, on cpu, classes circle, square"
    assert repr(trained).startswith(said) and repr(trained).endswith(">"), repr(trained)
    monkeypatch.setattr(trained, "recipe", trained.recipe.model_copy(update={"name": "a\x1b[31m"}))
    assert repr(trained).startswith("<Pipeline of a\\x1b[31m: image")


@pytest.mark.slow
def test_evaluations_are_reported(trained, tmp_path):
    """The evaluations of each sample are written with it; an adaptive sampler's choice does not depend on the batch."""
    change = {"use": "dpm_adaptive", "count": 4, "guidance": None}
    whole = trained.sample(trajectory=True, **change)
    pairs = trained.sample(batch=2, **change)
    assert whole.nfe == pairs.nfe and min(whole.nfe) > 10
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole.media, pairs.media, strict=True))
    assert whole.frames and all(0 <= frame.tau < 1 for frame in whole.frames)
    whole.save(tmp_path)
    rows = json.loads((tmp_path / "samples.json").read_text())["samples"]
    assert [row["nfe"] for row in rows] == whole.nfe
    assert trained.sample(count=2, steps=4, use="dpmpp_2m").nfe == [4, 4]


def check_trajectory(trained, monkeypatch):
    """Of a batch of six, only the samples that a trajectory shows are decoded on the way."""
    true, decoded = trained.codec.decode, []
    with monkeypatch.context() as patch:
        patch.setattr(trained.codec, "decode", lambda z, *rest: (decoded.append(len(z)), true(z, *rest))[1])
        made = trained.sample(count=6, steps=3, trajectory=2)
    assert decoded == [2, 2] * 3 + [6] and [len(frame.x0) for frame in made.frames] == [2, 2, 2]
    whole = trained.sample(count=6, steps=3, trajectory=True)
    assert [len(frame.noisy) for frame in whole.frames] == [4, 4, 4]
    assert all(torch.equal(a, b) for a, b in zip(made.frames[1].noisy, whole.frames[1].noisy[:2], strict=True))


def test_a_trajectory_decodes_what_it_shows(trained, monkeypatch):
    check_trajectory(trained, monkeypatch)


def test_planted_decoding_of_the_whole_batch_is_caught(trained, monkeypatch):
    with planted_error(Pipeline, "generate", replace_expression(call_target("int"), "len(request)", near="trajectory")):
        assert_caught(check_trajectory, trained, monkeypatch)


@pytest.mark.slow
def test_a_list_that_cannot_be_used_up_is_refused(trained, tiny_run):
    names = list(trained.classes)
    for key, changes in (("label", {"label": names[:3]}), ("conditions.label", {"conditions": {"label": names[:3]}})):
        with pytest.raises(BadInput, match=f"sample.{key} lists 3 values.*count=3"):
            trained.sample(count=2, **changes)
    opened = sonolux.load(tiny_run("image"), device="cpu", changes=[f"sample.label={names[:3]}", "sample.count=1"])
    with pytest.raises(BadInput, match=r"and 1 sample cannot use them all"):
        opened.sample()
    listed = sonolux.load(tiny_run("image", f"sample.label={names[:3]}"), device="cpu")
    assert len(listed.sample(count=2)) == 2, "the recipe's own list is cycled as far as it goes"


def check_lists_under_old_names(trained, run):
    """A list that is too long is refused however its key is written: in the call, and in the changes of loading."""
    names = list(trained.classes)[:3]
    for changes in ({"where": {"label": names}}, {"conditions.label": names}, {"where.label": names}):
        with pytest.raises(BadInput, match=r"sample\.conditions\.label lists 3 values"):
            trained.sample(count=2, **changes)
    for key in ("where.label", "sample.where.label", "conditions.label"):
        opened = sonolux.load(run, device="cpu", changes=[f"{key}=[{', '.join(names)}]"])
        with pytest.raises(BadInput, match=r"sample\.conditions\.label lists 3 values"):
            opened.sample(count=2)


@pytest.mark.slow
def test_a_list_that_is_too_long_is_refused_under_old_names_too(trained, tiny_run):
    check_lists_under_old_names(trained, tiny_run("image"))


@pytest.mark.slow
def test_planted_key_that_is_not_renamed_is_caught(trained, tiny_run, monkeypatch):
    for module in (loaded_model, loading):
        with monkeypatch.context() as patch:
            patch.setattr(module, "upgrade_key_name", lambda section, key: key.strip().removeprefix(f"{section}."))
            assert_caught(check_lists_under_old_names, trained, tiny_run("image"), also=(pytest.fail.Exception,))


@pytest.mark.slow
def test_samples_do_not_mix_with_those_of_another_call(tiny_run, tmp_path, capsys):
    run, out = str(tiny_run("image")), tmp_path / "out"
    ask = ["sample", run, "steps=1", "guidance=null", "--out", str(out)]
    assert main([*ask, "count=3", "label=circle", "--trajectory"]) == 0
    (out / "mine.txt").write_text("a note")
    before = {p.name for p in out.iterdir()}
    assert main([*ask, "count=1", "label=square"]) == 2 and "--overwrite" in capsys.readouterr().err
    assert {p.name for p in out.iterdir()} == before, "nothing is touched"
    assert main([*ask, "count=1", "label=square", "--overwrite"]) == 0
    assert {p.name for p in out.iterdir()} == {"0000-square.png", "samples.json", "sheet.png", "mine.txt"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0000-circle.png").write_text("somebody's")
    for more in ([], ["--overwrite"]):
        assert main(["sample", run, "--out", str(tmp_path / "other"), *more]) == 2
    assert "holds no samples" in capsys.readouterr().err


def test_a_list_that_names_files_elsewhere_removes_none(tmp_path):
    (tmp_path / "kept").write_text("x")
    (tmp_path / "out").mkdir()
    facts = {"samples": [{"file": "../kept"}, {"file": str(tmp_path / "kept")}]}
    (tmp_path / "out" / "samples.json").write_text(json.dumps(facts))
    with replace_files(tmp_path / "out", lambda: saved_sample_files(tmp_path / "out")):
        pass
    assert (tmp_path / "kept").exists() and not list((tmp_path / "out").iterdir())


def check_own_names(folder):
    """A list of others, or of a folder to which the user added files, removes nothing that is not a sample."""
    kept = ("mine.txt", "2024-notes.txt", "0000.txt", "0002-c.png", "00001-d.png")
    listed = ["0000-a.png", *kept, "0006.png", "0007-b.wav"]
    folder.mkdir()
    for name in listed:
        (folder / name).write_text(name)
    (folder / "samples.json").write_text(json.dumps({"samples": [{"file": name} for name in listed]}))
    with replace_files(folder, lambda: saved_sample_files(folder)):
        pass
    assert {p.name for p in folder.iterdir()} == set(kept)


def test_overwriting_removes_samples_only(tmp_path):
    check_own_names(tmp_path / "out")


def test_planted_trust_in_listed_names_is_caught(tmp_path, monkeypatch):
    def listed(folder):
        return [sample.file for sample in read_sample_list(folder / "samples.json").samples]

    monkeypatch.setitem(globals(), "saved_sample_files", listed)
    assert_caught(check_own_names, tmp_path / "out")


def test_a_users_own_module_runs_in_a_few_lines():
    """x0 of N(0, s^2) data is x s^2 / (s^2 + sigma^2): the module puts out eps; samples have the data's deviation."""

    class Ideal(torch.nn.Module):
        def forward(self, x, t):
            sigma = (4 * t).exp().reshape(-1, 1, 1)  # the clock c_noise tells log(rho) / 4
            noisy = x * (1 + sigma**2) ** 0.5  # eps networks see x at unit variance
            return noisy * sigma / (0.25 + sigma**2)

    x = sonolux.sample(Ideal(), (64, 1, 256), prediction="eps", sampler="heun", steps=40, seed=1)
    assert x.std().item() == pytest.approx(0.5, rel=0.02)


def test_the_trajectory_of_a_small_batch_is_drawn(trained, tmp_path):
    paths = trained.sample(count=5, batch=2, trajectory=True).save_trajectory(tmp_path)
    assert all(path.exists() for path in paths)


def test_numbers_of_numpy_are_labels_too(trained):
    import numpy as np

    names = list(trained.classes)
    assert [t["label"] for t in trained.sample(count=2, label=np.array([1, 0])).conditions] == [names[1], names[0]]


def test_media_are_decoded_in_float32_and_may_take_part_in_gradients(trained, monkeypatch):
    seen = []

    def decode(z, length=None):
        seen.append((z.dtype, torch.is_autocast_enabled("cpu")))
        return type(trained.codec).decode(trained.codec, z, length)

    monkeypatch.setattr(trained.codec, "decode", decode)
    media = trained.sample(count=1, precision="bf16", trajectory=True).media[0]
    assert len(seen) > 1 and set(seen) == {(torch.float32, False)}
    scale = torch.ones((), requires_grad=True)
    (media * scale).square().sum().backward()
    assert scale.grad is not None


def test_a_guidance_may_take_the_gradient_of_a_denoiser():
    """Denoisers are differentiable in x, while sampling too: D = x / 2, so the gradient of its sum is 1/2."""
    from sonolux.core.types import Estimate

    class Half(torch.nn.Module):
        def denoise(self, x, level, conditions):
            return Estimate(x / 2)

    class Sloped:
        def wrap(self, denoiser, run):
            self.inner, self.slopes = denoiser, []
            return self

        def denoise(self, x, level, conditions):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                found = self.inner.denoise(x, level, conditions)
                self.slopes.append(torch.autograd.grad(found.x0.sum(), x)[0].mean().item())
            return Estimate(found.x0.detach())

    sloped = Sloped()
    sonolux.sample(Half(), (2, 1, 4), guidance=sloped, steps=2)
    assert sloped.slopes == [0.5, 0.5]


SOUNDS = """
recipe: 1
name: sounds
seed: 3
modality: {use: audio, rate: 8000, seconds: 0.5, channels: 1}
data: {use: audio/synth_sfx, count: 24, padding: masked, split: {by: hash, valid: 0.2}}
codec: {use: audio/waveform, patch: 32}
network: {use: audio/unet, width: 16, stages: [1, 2], blocks: 1, attention: [1]}
condition:
  length: {use: scalar, key: seconds, range: [0.05, 1.0], drop: 0.2}
  tags: {use: labels, key: echo, values: [with, without], drop: 0.2}
train: {steps: 5, batch: 4, warmup: 1, preview_every: 100, precision: float32, device: cpu}
sample: {use: dpmpp_2m, steps: 2, count: 2, guidance: {use: cfg, scale: 2.0}}
"""


@pytest.mark.slow
def test_numbers_labels_and_masked_padding_go_all_the_way(tmp_path):
    (tmp_path / "sounds.yaml").write_text(SOUNDS)
    job = TrainingRun(load_recipe(tmp_path / "sounds.yaml"), tmp_path / "run", say=lambda _: None, bar=False)
    job.prepare()
    job.run()
    trained = sonolux.load(tmp_path / "run", device="cpu")
    made = trained.sample(count=3, where={"length": [0.2, 0.4], "tags": "with"})
    assert [t["length"] for t in made.conditions] == [0.2, 0.4, 0.2] and made.conditions[0]["tags"] == "with"
    assert [m.shape[-1] for m in made.media] == [1600, 3200, 1600]
    plain = trained.sample(count=3, seconds=[0.2, 0.4], where={"length": 0.3})
    assert not torch.allclose(made.media[0], plain.media[0], atol=1e-5)
    assert len(made.save(tmp_path / "out")) == 3
    for where, said in (
        ({"length": 9}, "0.05 to 1"),
        ({"tags": "loud"}, "without"),
        ({"length": "cycle"}, "no list of values"),
    ):
        with pytest.raises(BadInput, match=said):
            trained.sample(where=where)


@pytest.mark.slow
def test_code_in_a_checkpoint_runs_only_where_it_is_allowed(tiny_recipe, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from sonolux.modalities.image.networks.unet import UNet\n\n\nclass Mine(UNet):\n    '''My own network.'''\n"
    )
    text = tiny_recipe["image"].replace("use: image/unet", "use: './mine.py:Mine'")
    (tmp_path / "own.yaml").write_text(text)
    job = TrainingRun(load_recipe(tmp_path / "own.yaml"), tmp_path / "run", say=lambda _: None, bar=False)
    job.prepare()
    job.run()
    with pytest.raises(BadInput, match="allow-code"):
        sonolux.load(tmp_path / "run", device="cpu")
    assert len(sonolux.load(tmp_path / "run", device="cpu", allow_code=True).sample(count=1, steps=1)) == 1


@pytest.mark.parametrize(
    ("name", "said"), [("cpu:7", "counted from 0"), ("cuda:x", "not on this"), ("tpu", "use auto")]
)
def test_a_device_that_is_not_there_is_refused(name, said):
    from sonolux.core.util.device import choose_device

    with pytest.raises(BadInput, match=said):
        choose_device(name)
