"""The code of docs/plugins.md, docs/evaluation.md and examples/video runs, and holds what the kit asks for."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sonolux.core.config.load import load_recipe
from sonolux.core.schedulers.edm import EDM
from sonolux.core.schedulers.rectified_flow import RectifiedFlow
from sonolux.core.testing.conformance import check_guidance, check_sampler, check_timesteps
from sonolux.core.types import BadInput

ROOT = Path(__file__).resolve().parents[1]
PAGES = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("plugins.md", "evaluation.md")]
BLOCKS = [block for page in PAGES for block in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.S)]


def opened(path):
    component = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(component)
    sys.modules[component.name] = module
    component.loader.exec_module(module)
    return module


@pytest.fixture
def written(tmp_path):
    """A class of the page: its block in a file of its own, imported."""

    def write(name):
        (code,) = (code for file, code in BLOCKS if file == "mine.py" and f"class {name}" in code)
        path = tmp_path / f"mine_{name.lower()}.py"
        path.write_text(code)
        return getattr(opened(path), name)

    return write


def test_every_block_is_known():
    names = [re.search(r"^class (\w+)", code, re.M).group(1) for _, code in BLOCKS]
    assert names == ["Ralston", "TestRalston", "Power", "Fading", "Coarse", "Tone", "Stripes", "Feature", "MeanShift"]


@pytest.mark.slow
def test_the_sampler_is_of_the_order_it_states(written):
    sampler = written("Ralston")()
    check_sampler(sampler)
    type(sampler).order = 3
    with pytest.raises(AssertionError, match="order 3 is stated"):
        check_sampler(sampler)


def test_its_own_tests_run(written, tmp_path, monkeypatch):
    written("Ralston")
    monkeypatch.setitem(sys.modules, "mine", sys.modules["mine_ralston"])
    (code,) = (code for file, code in BLOCKS if file == "test_mine.py")
    (tmp_path / "test_mine.py").write_text(code)
    tests = opened(tmp_path / "test_mine.py").TestRalston()
    tests.test_invariants()
    tests.sampler = type("Wrong", (type(tests.sampler),), {"order": 3})()
    with pytest.raises(AssertionError, match="order 3 is stated"):
        tests.test_order()


def test_the_spacing_falls(written):
    for schedule in (EDM(), RectifiedFlow()):
        check_timesteps(written("Power")(), schedule)


def test_the_guidance_acts_by_level(written):
    def make(window):
        guidance = written("Fading")(4.0)
        guidance.window = window
        return guidance

    check_guidance(make, identity=written("Fading")(1.0))


def test_the_degradation_has_few_levels(written):
    media = torch.tensor([[[-1.0, -0.4, 0.2, 0.9]]])
    found = written("Coarse")(3).degrade(media, None)
    assert found.media.tolist() == [[[-1.0, 0.0, 0.0, 1.0]]] and found.known is None


def test_the_feature_has_a_row_an_example(written):
    media = [torch.full((1, 2, 2), 0.5), torch.tensor([[[-1.0, 1.0]]])]
    assert written("Tone")()(media) == pytest.approx(np.array([[0.5, 0], [0, 2**0.5]]))
    assert written("Feature")()(media) == [[0.5, 0.0], [1.0, 2.0]]


def test_the_metric_of_the_page(written):
    shift = written("MeanShift")()
    generated, real = np.array([[0.0, 4.0], [2.0, 4.0]]), np.array([[1.0, 0.0], [1.0, 2.0]])
    assert shift(generated, real) == {"mean_shift": 3.0} and [result.key for result in shift.results] == ["mean_shift"]


@pytest.mark.slow
def test_the_dataset_trains(tiny_run, tiny_recipe, written):
    written("Stripes")
    file = sys.modules["mine_stripes"].__file__
    text = tiny_recipe["image"].replace("channels: 3", "channels: 1")
    text = re.sub(r"data: \{.*\}", f'data: {{use: "{file}:Stripes", split: {{by: hash, valid: 0.2}}}}', text)
    assert list(tiny_run(text, own="stripes").glob("checkpoints/*.safetensors"))


def test_the_sampler_that_is_worked_row_by_row_prints_what_the_page_says(capsys):
    page = (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8")
    ((code, printed),) = re.findall(r"```python\n# dpmpp_2m\.py\n(.*?)```\n\nIt prints\n\n```\n(.*?)```", page, re.S)
    exec(compile(code, "how-it-works.md", "exec"), {})
    assert capsys.readouterr().out == printed


# --- examples/video ---


@pytest.fixture(scope="module")
def video():
    return opened(ROOT / "examples/video/video.py")


@pytest.fixture(scope="module")
def clips(video):
    spec = video.Video().spec()
    return [video.Balls(spec, count=60).item(i, None) for i in range(30)]


def test_the_motions_are_what_they_are_called(clips):
    for item in clips:
        light = (item.media[0] + 1).clamp(min=0) / 2
        places = torch.linspace(0, 1, 16)
        x = (light.sum(1) * places).sum(1) / light.sum((1, 2))
        y = (light.sum(2) * places).sum(1) / light.sum((1, 2))
        moves = (float(x.std()) > 0.1, float(y.std()) > 0.1)
        assert moves == {0: (True, False), 1: (False, True), 2: (True, True)}[item.label]


def test_the_codec_is_fitted_and_inverted(video, clips):
    codec = video.Frames(video.Video().spec())
    codec.fit(clips)
    media = torch.stack([c.media for c in clips])
    z = codec.encode(media)
    assert float(z.mean()) == pytest.approx(0, abs=1e-4) and float(z.std()) == pytest.approx(1, abs=1e-3)
    assert torch.allclose(codec.decode(z), media, atol=1e-5)


@pytest.mark.slow
def test_clips_train_sample_and_loop(tmp_path, tiny_run):
    import sonolux
    from PIL import Image

    text = (ROOT / "examples/video/video.yaml").read_text().replace("./video.py", str(ROOT / "examples/video/video.py"))
    few = ("train.minutes=null", "train.steps=2", "train.batch=2", "network.width=16", "train.preview_every=9")
    run = tiny_run(text, *few, own="video")
    trained = sonolux.load(run, allow_code=True)
    trained.sample(label="circle", count=2, steps=2, loop=True).save(tmp_path)
    with Image.open(tmp_path / "0001-circle.gif") as clip:
        assert clip.size == (16, 16)
    with pytest.raises(BadInput, match="--allow-code"):
        sonolux.load(run)


def test_bad_clips_are_refused(video, tmp_path):
    with pytest.raises(BadInput, match="not finite"):
        video.Video().write(tmp_path / "a.gif", torch.full((1, 12, 16, 16), float("nan")))
    assert not (tmp_path / "a.gif").exists()
    with pytest.raises(BadInput, match="modality"):
        video.Balls(load_recipe("shapes", []).modality.build().spec())
