"""Style references: a file gives the vector that an example with the same content gives, in standardised features."""

import ast
import shutil
from functools import lru_cache

import numpy as np
import pytest
import sonolux
import torch
from sonolux.core.conditioning import embedding
from sonolux.core.conditioning.embedding import Embedding
from sonolux.core.pipeline.conditions import embed_conditions
from sonolux.core.testing.mutation import assert_caught, planted_error, swap_operator
from sonolux.core.training.build import build_dataset
from sonolux.core.types import BadInput, Item, MediaSpec
from sonolux.modalities.image.io import write_picture

STYLE = "conditioning.style={use: embedding, features: image/colour_stats, drop: 0}"
SPEC = MediaSpec("field", 2, ("height", "width"), (6, 8))


class Means:
    """Mean of each channel, and a number that never changes."""

    def __call__(self, media):
        return np.array([[*m.mean((1, 2)).tolist(), 5.0] for m in media])


def items(count=50):
    rng = torch.Generator().manual_seed(0)
    return [
        Item(torch.randn(2, 6, 8, generator=rng) * 0.1 + torch.tensor([1.0 + i, 40.0])[:, None, None])
        for i in range(count)
    ]


def check_scales():
    """The layers receive features of mean 0 and variance 1; a constant feature is 0."""
    made, seen = Embedding(SPEC, 4, Means()), []
    made.fit(items())
    made.layers.register_forward_pre_hook(lambda layers, inputs: seen.append(inputs[0]))
    assert made.embed([made.from_item(item) for item in items()]).shape == (50, 4)
    (x,) = seen
    assert float(x.mean(0).abs().max()) < 1e-3
    assert torch.allclose(x.std(0, unbiased=False), torch.tensor([1.0, 1.0, 0.0]), atol=1e-3)


def test_features_are_standardised():
    check_scales()


@pytest.mark.parametrize("error", [swap_operator(ast.Sub, ast.Add), swap_operator(ast.Div, ast.Mult)], ids=str)
def test_planted_scales_are_caught(error):
    with planted_error(Embedding, "embed", error):
        assert_caught(check_scales)


def test_equal_media_are_computed_once_and_padding_is_left_out():
    features, spec = Means(), MediaSpec("series", 1, ("time",), (8,), (8.0,))
    features.__class__.__call__, kept = lambda self, media: np.array([[float(m.sum())] for m in media]), Means.__call__
    try:
        made = Embedding(spec, 4, features)
        long = Item(torch.tensor([[1.0, 1, 1, 1, 9, 9, 9, 9]]), length=4)
        assert made.from_item(long).tolist() == [4.0] and made.from_item(Item(torch.ones(1, 4))).tolist() == [4.0]
        assert len(made._found) == 1
        with pytest.MonkeyPatch.context() as patch:  # random parts are new in every step: memory is limited
            patch.setattr(embedding, "_MOST", 3)
            for i in range(9):
                assert made.from_item(Item(torch.full((1, 4), float(i)))).tolist() == [4.0 * i]
            assert len(made._found) <= 3
    finally:
        Means.__call__ = kept


@pytest.fixture(scope="module")
def run(tiny_run):
    return sonolux.load(tiny_run("image", STYLE, "data.split.valid=0.2"), device="cpu")


def check_file(run, folder):
    """The vector of a file is that of an example with its media; another file has another one."""
    data, _ = build_dataset(run.recipe, "valid")
    condition = run.model.conditions["style"]
    for i in range(2):
        write_picture(folder / f"{i}.png", data.item(i, None).media)
    rows = [{"style": str(folder / f"{i}.png")} for i in range(2)]
    with torch.no_grad():
        found = embed_conditions(run.model, rows).vector["style"]
        items = [Item(run.components.modality.read(folder / f"{i}.png")) for i in range(2)]
        assert torch.equal(found, condition.embed([condition.from_item(item) for item in items]))
    assert not torch.allclose(found[0], found[1]) and bool(condition.mean.any()), "the scales are in the checkpoint"


def test_a_file_gives_the_vector_of_its_media(run, tmp_path):
    check_file(run, tmp_path)
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    made = run.sample(conditions={"style": paths}, count=4, label=None)
    assert [row["style"] for row in made.conditions] == paths * 2
    made.save(tmp_path / "out")


def check_changed(run, tmp_path):
    """A file that changes is read again."""
    file, condition, rows = tmp_path / "changing.png", run.model.conditions["style"], []
    for level in (-0.5, 0.5):
        write_picture(file, torch.full((3, 16, 16), level))
        rows.append(condition.embed([condition.parse(str(file))]).detach())
    assert float((rows[0] - rows[1]).abs().max()) > 1e-3


def test_a_changed_file_is_read_again(run, tmp_path):
    check_changed(run, tmp_path)


def test_a_planted_cache_of_files_is_caught(run, tmp_path, monkeypatch):
    condition = run.model.conditions["style"]
    monkeypatch.setattr(condition, "read", lru_cache(condition.read))
    assert_caught(check_changed, run, tmp_path)


def test_a_planted_reader_of_another_level_is_caught(run, tmp_path, monkeypatch):
    condition = run.model.conditions["style"]
    right = condition.read
    monkeypatch.setattr(condition, "read", lambda path: 0.5 * right(path))
    assert_caught(check_file, run, tmp_path)


@pytest.mark.parametrize(("value", "said"), [("gone.png", "gone.png.*no such file"), (3, "path of a file, not 3")])
def test_what_is_no_file_is_refused(run, value, said):
    with pytest.raises(BadInput, match=said):
        run.sample(conditions={"style": value})


def test_features_that_are_trained_on_the_data_are_refused():
    learned = Means()
    learned.fit = lambda media, labels: None
    with pytest.raises(BadInput, match="not trained on the data"):
        Embedding(SPEC, 4, learned)


def test_a_run_of_others_names_no_file_to_read(tiny_run, tmp_path):
    """A path in its recipe is used only if the user gives it again."""
    file = tmp_path / "secret.png"
    write_picture(file, torch.zeros(3, 16, 16))
    own = tiny_run("image", STYLE, f"sample.conditions.style={file}", "sample.label=null", own="style")
    assert sonolux.load(own, device="cpu").sample(count=1).conditions[0]["style"] == str(file)
    copy = shutil.copytree(own, tmp_path / "copy")
    with pytest.raises(BadInput, match=r"sample.conditions.style.*made elsewhere.*again") as error:
        sonolux.load(copy, device="cpu")
    assert len(str(error.value).splitlines()[0]) < 400
    given = sonolux.load(copy, device="cpu", changes=[f"conditions.style={file}"])
    assert len(given.sample(count=1)) == 1
