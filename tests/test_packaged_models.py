"""Packaged models: what is in the package is complete and unchanged, their names work wherever a run is named, and
nothing writes to them."""

import fnmatch
import json
import shutil
import sys
from pathlib import Path

import pytest
import sonolux
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training import packaged_models
from sonolux.core.training.checkpoint import newest_checkpoint, read_header
from sonolux.core.training.model_card import FACTS, hash_weights, read_card
from sonolux.core.types import BadInput

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import box_model

COMMON = """
recipe: 1
name: {name}
about: Shapes of a test; not for use.
seed: 3
modality: {{use: image, size: 16, channels: 3}}
data: {{use: image/shapes, count: 80, shapes: 1{data}, split: {{by: hash, valid: 0.3}}}}
codec: {{use: image/pixels}}
network: {{use: image/unet, width: 32, stages: [1, 1], blocks: 1, patch: 4{network}}}
conditioning: {{{conditioning}}}
train: {{steps: 4, batch: 6, warmup: 1, preview_every: 100, precision: float32, device: cpu}}
sample: {{use: dpmpp_2m, steps: 4, count: 2, batch: 8, guidance: {{use: cfg, scale: 2.0}}{sample}}}
eval: {{count: 20, repeats: 10, page_samples: 4}}
"""
LABEL = COMMON.format(name="tiny-label", data="", network="", conditioning="label: {use: class, drop: 0.3}", sample="")
WORDS = "caption: {use: text, encoder: {use: words, hidden: 16, rows: 64}, length: 16, drop: 0.1}"
TEXT = COMMON.format(
    name="tiny-text",
    data=", label: none",
    network=", cross_attention: [1]",
    conditioning=WORDS,
    sample=", prompt: [a red circle, a blue square]",
)
BOX = packaged_models.packaged_models()  # the real ones


@pytest.fixture(scope="module")
def runs(tiny_run):
    """Name -> the folder of a tiny run."""
    return {"tiny_label": tiny_run(LABEL, wake=0.1), "tiny_text": tiny_run(TEXT, wake=0.1)}


def figures_file(folder):
    (folder / "figures.md").write_text("`sonolux eval tiny_text` printed nothing: a model of a test.\n")
    return str(folder / "figures.md")


@pytest.fixture(scope="module")
def box(runs, tmp_path_factory):
    """A folder with two packaged models, made by benchmarks/box_model.py."""
    folder = tmp_path_factory.mktemp("box")
    for name, run in runs.items():
        words = [str(run), name, "--figures", figures_file(folder), "--out", str(folder / "models"), "--count", "2"]
        assert box_model.main([*words, "--nfe", "none"]) == 0
    return folder / "models"


@pytest.fixture
def there(box, tmp_path, monkeypatch):
    """The working folder, with the tiny models as those of the package."""
    monkeypatch.setattr(packaged_models, "MODELS", box)
    monkeypatch.chdir(tmp_path)
    before = contents(box)
    yield tmp_path
    assert contents(box) == before, "a command wrote to the folder of a model"


def contents(folder):
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.is_dir() or p.read_bytes()) for p in folder.rglob("*")}


# --- what is in the package ---


def check_folder(folder):
    """A model is complete, its card is true, and it needs no other file."""
    assert sorted(p.name for p in folder.iterdir()) == ["card.md", "model.safetensors", "recipe.yaml"]
    card, header = read_card(folder), read_header(folder / packaged_models.WEIGHTS)
    assert card.facts["SHA-256"] == hash_weights(folder)
    assert card.facts["Steps"] == str(header.step)
    assert (folder / packaged_models.RECIPE).read_text(encoding="utf-8") == header.recipe
    assert str(Path.home()) not in header.recipe
    with safe_open(folder / packaged_models.WEIGHTS, framework="pt") as file:
        names = list(file.keys())
        assert {name.partition(".")[0] for name in names} <= {"ema", "codec"}
        assert "F16" in {file.get_slice(name).get_dtype() for name in names}
    pipeline = sonolux.load(folder / packaged_models.WEIGHTS, device="cpu")
    assert not pipeline.recipe.paths() and not pipeline.recipe.names_code()
    assert {p.dtype for p in pipeline.model.parameters()} == {torch.float32}
    example = card.examples[0]
    given = dict([example.split("=", 1)]) if "=" in example else {"prompt": example}
    assert all(m.isfinite().all() for m in pipeline.sample(count=1, steps=2, **given).media)


@pytest.mark.parametrize("name", BOX)
def test_a_packaged_model_is_complete(name):
    check_folder(BOX[name])


@pytest.mark.parametrize("name", ["tiny_label", "tiny_text"])
def test_a_new_model_is_complete(box, name):
    check_folder(box / name)


@pytest.mark.parametrize("fault", ["weights", "steps", "recipe", "file"])
def test_an_incomplete_model_is_caught(box, tmp_path, fault):
    folder = shutil.copytree(box / "tiny_text", tmp_path / "tiny_text")
    weights, card, recipe = (folder / name for name in ("model.safetensors", "card.md", "recipe.yaml"))
    if fault == "weights":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    elif fault == "steps":
        card.write_text(card.read_text().replace("**Steps:** 4", "**Steps:** 5"))
    elif fault == "recipe":
        recipe.write_text(recipe.read_text().replace("seed: 3", "seed: 4"))
    else:
        (folder / "more.bin").touch()
    assert_caught(check_folder, folder)


@pytest.mark.parametrize("fact", [*FACTS, "Figures"])
def test_a_card_without_a_fact_is_refused(box, tmp_path, fact):
    text = (box / "tiny_text/card.md").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(f"- **{fact}:**")]
    text = text.partition("## Figures")[0] if fact == "Figures" else "\n".join(lines)
    (tmp_path / "card.md").write_text(text)
    with pytest.raises(BadInput, match=f"does not state {fact}"):
        read_card(tmp_path)


def test_all_models_together_are_small():
    files = [path for folder in BOX.values() for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) <= packaged_models.MOST_BYTES == 12_000_000


def test_the_wheel_holds_every_file():
    """Each file of a model is in the package data, and no file of a model is ignored by git."""
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    root = packaged_models.MODELS.parent
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["sonolux"]
    for file in (packaged_models.WEIGHTS, packaged_models.RECIPE, packaged_models.CARD):
        assert any(fnmatch.fnmatch(f"models/any/{file}", pattern) for pattern in patterns)


# --- names in the place of a run ---


def test_models_are_listed_without_torch(there, capsys):
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert "tiny_text  (" in shown and "sonolux sample tiny_text 'a red circle'" in shown
    assert "conditions: label (class: circle, square, triangle, star)" in shown
    assert main(["models", "--json"]) == 0
    label, text = json.loads(capsys.readouterr().out)
    assert (label["name"], label["examples"][0]) == ("tiny_label", "label=circle")
    assert (text["steps"], text["examples"]) == (4, ["a red circle", "a blue square"])
    assert main(["models", "tiny_text"]) == 0
    assert capsys.readouterr().out.startswith("# tiny_text\n") and len(label["sha256"]) == 64


def test_an_empty_package_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(packaged_models, "MODELS", tmp_path / "none")
    assert main(["models"]) == 0
    assert "no packaged models" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        (["models", "tiny_tex"], "there is no packaged model 'tiny_tex'; did you mean 'tiny_text'"),
        (["sample", "tiny_tex", "a"], "tiny_tex: no such run or checkpoint; did you mean 'tiny_text'"),
        (["edit", "zzz", "vary", "a.png"], "no such run or checkpoint. `sonolux models` lists the packaged models"),
        (["calibrate", "tiny_text"], "tiny_text is a packaged model, which stays as it is: copy it"),
        (["train", "--resume", "tiny_text"], "RECIPE --from tiny_text"),
        (["sample", "a/tiny_text", "--out", "o"], "a/tiny_text: no such run or checkpoint\n"),
    ],
)
def test_names_that_cannot_be_used(there, capsys, words, message):
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not list(there.iterdir()), "nothing is left"


@pytest.mark.slow
def test_sample_and_edit_write_to_the_working_folder(there, capsys):
    assert main(["sample", "tiny_text", "a red circle", "steps=2"]) == 0
    written = there / "tiny_text-samples/0000-a_red_circle.png"
    assert written.is_file()
    assert main(["edit", "tiny_label", "vary", str(written), "label=star", "steps=2"]) == 0
    assert (there / "tiny_label-vary/samples.json").is_file()
    assert main(["sample", "tiny_text", "a", "steps=2"]) == 2 and "--overwrite" in capsys.readouterr().err
    assert main(["sample", "tiny_text", "a", "steps=2", "--out", "mine"]) == 0 and (there / "mine").is_dir()


@pytest.mark.slow
def test_eval_writes_to_the_working_folder(there, capsys):
    assert main(["eval", "tiny_label", "sample.steps=2"]) == 0
    assert (there / "tiny_label-eval/report.html").is_file()


def test_recipe_show(there, capsys, monkeypatch):
    assert main(["recipe", "show", "tiny_text"]) == 0
    assert "name: tiny-text" in capsys.readouterr().out
    monkeypatch.setattr(packaged_models, "packaged_models", lambda: {"shapes": packaged_models.MODELS / "tiny_label"})
    assert main(["recipe", "show", "shapes"]) == 0  # the included recipe goes first
    said = capsys.readouterr()
    assert "name: shapes" in said.out and "that of the packaged model shapes: sonolux recipe show " in said.err


def test_python_loads_by_name(there):
    pipeline = sonolux.load("tiny_text", device="cpu")
    assert pipeline.step == 4 and len(pipeline.sample("a blue square", count=1, steps=2).media) == 1


@pytest.mark.slow
def test_training_starts_from_a_model(there, capsys):
    (there / "mine.yaml").write_text(LABEL)
    few = ["train.steps=1", "train.optimizer.lr=1.0e-12", "--quiet"]
    assert main(["train", "mine.yaml", "--from", "tiny_label", "--out", "run", *few]) == 0
    ours, theirs = (sonolux.load(name, device="cpu").model.state_dict() for name in ("run", "tiny_label"))
    assert all(torch.allclose(ours[k], theirs[k], atol=1e-6) for k in theirs)


def test_a_folder_of_that_name_goes_first(there, runs):
    (there / "tiny_text").symlink_to(runs["tiny_label"])
    with pytest.warns(UserWarning, match="tiny_text is read from this folder, and not the packaged model"):
        assert newest_checkpoint(Path("tiny_text")).parent.name == "checkpoints"


# --- benchmarks/box_model.py ---


def boxed(run, *words, folder):
    return box_model.main([str(run), "new", "--figures", figures_file(folder), "--out", str(folder / "o"), *words])


def check_samples(run, weights, most):
    """Samples of a model differ from those of its run by an RMS above 0, and at most `most`."""
    found = box_model.compare_models(run, sonolux.load(weights, device="cpu"), 2)
    assert 0 < found.rms <= most and found.largest > 0


@pytest.mark.slow
def test_stored_weights_give_the_same_samples(runs, box, tmp_path):
    """float16 rounds less; int8 takes little more than one byte for a weight."""
    assert boxed(runs["tiny_text"], "--nfe", "none", "--weights", "float16", folder=tmp_path) == 0
    run, sizes = sonolux.load(runs["tiny_text"], device="cpu"), {}
    for weights, folder, most in (("int8", box / "tiny_text", 0.04), ("float16", tmp_path / "o/new", 0.004)):
        check_samples(run, folder / packaged_models.WEIGHTS, most)
        assert f"stored as {weights}" in read_card(folder).facts["Parameters"]
        tensors = load_file(folder / packaged_models.WEIGHTS).values()
        assert any(value.dtype == torch.int8 for value in tensors) == (weights == "int8")
        sizes[weights] = sum(value.numel() * value.element_size() for value in tensors)
    assert 0.5 < sizes["int8"] / sizes["float16"] < 0.65
    with torch.no_grad():
        next(p for p in run.model.parameters() if p.ndim > 1).mul_(1.2)
    assert_caught(check_samples, run, box / "tiny_text" / packaged_models.WEIGHTS, 0.04)


@pytest.mark.slow
def test_a_packaged_model_is_stored_in_another_form(there, box, tmp_path, capsys):
    """What its card states remains, but the form and the hash; so do the figures, unless others are given."""
    words = ["tiny_text", "tiny_text", "--nfe", "none", "--count", "2", "--out", str(tmp_path / "o")]
    assert box_model.main([*words, "--weights", "float16"]) == 0
    check_folder(tmp_path / "o/tiny_text")
    card, former = read_card(tmp_path / "o/tiny_text"), read_card(box / "tiny_text")
    assert {k for k in FACTS if card.facts[k] != former.facts[k]} == {"Parameters", "SHA-256"}
    assert card.figures == former.figures
    (tmp_path / "f.md").write_text("others\n")
    assert box_model.main([*words, "--figures", str(tmp_path / "f.md"), "--makes", "shapes", "--overwrite"]) == 0
    card = read_card(tmp_path / "o/tiny_text")
    assert (card.figures, card.facts["Makes"]) == ("others", "shapes")


def test_a_run_needs_figures(runs, tmp_path, capsys):
    assert box_model.main([str(runs["tiny_text"]), "new", "--out", str(tmp_path / "o")]) == 2
    assert "--figures" in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_a_difference_above_the_tolerance_writes_nothing(runs, tmp_path, capsys):
    assert boxed(runs["tiny_text"], "--tolerance", "1e-9", "--nfe", "none", folder=tmp_path) == 2
    assert "above the tolerance, nothing written" in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_too_large_models_are_refused(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(packaged_models, "MOST_BYTES", 1000)
    assert boxed(runs["tiny_text"], "--nfe", "none", folder=tmp_path) == 2
    assert "MB with the other models" in capsys.readouterr().err and not (tmp_path / "o").exists()


@pytest.mark.slow
def test_plans_are_calibrated_and_used(runs, tmp_path, monkeypatch):
    calls = []

    def calibrate(words):
        from dataclasses import replace

        from sonolux.core.few_step.stored_plans import plan_to_json
        from sonolux.core.samplers.ddim import DDIM
        from sonolux.core.schedulers.edm import EDM
        from sonolux.core.timesteps.karras import Karras
        from sonolux.core.training.checkpoint import replace_header

        calls.append(words)
        plan = DDIM().plan(EDM(), Karras().levels(EDM(), 3))
        record = {"guidance": {"use": "cfg", "scale": 2.0}, "rows": plan_to_json(plan)}
        header = read_header(Path(words[1]))
        replace_header(Path(words[1]), replace(header, plans={3: record}))
        return 0

    monkeypatch.setattr(box_model, "run_command", calibrate)
    assert boxed(runs["tiny_text"], "--nfe", "3", folder=tmp_path) == 0
    assert calls[0][2:] == ["--nfe", "3"]
    check_folder(tmp_path / "o/new")
    assert read_card(tmp_path / "o/new").facts["Few steps"].startswith("steps=3")


def test_paths_of_the_data_are_removed_and_others_refused(tmp_path):
    from types import SimpleNamespace

    tree = "data: {root: /x/y, table: /x/t.csv}\neval: {cache: null}\ncodec: {file: /x}\n"
    pipeline = SimpleNamespace(recorded=SimpleNamespace(paths=lambda: {"data.root": 0, "data.table": 0}))
    cleaned = box_model.recipe_without_paths(pipeline, tree)
    assert "/x/" not in cleaned and "root: null" in cleaned
    pipeline.recorded.paths = lambda: {"codec.file": 0}
    with pytest.raises(BadInput, match=r"codec\.file is a path"):
        box_model.recipe_without_paths(pipeline, tree)


def test_files_need_a_licence(tmp_path, capsys, monkeypatch, runs):
    monkeypatch.setattr(box_model, "_needs_files", lambda run: True)
    assert boxed(runs["tiny_text"], folder=tmp_path) == 2
    assert "--data and --licence" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, command",
    [
        (
            "train shapes train.steps=9 seed=2 --out x --quiet",
            "sonolux train shapes seed=2 train.steps=5 train.minutes=null",
        ),
        (
            "train emoji data.root=/a/b train.minutes=3",
            "sonolux train emoji data.root=PATH train.steps=5 train.minutes=null",
        ),
        ("train own.yaml", "sonolux train recipe.yaml train.steps=5 train.minutes=null"),
        ("", "sonolux train recipe.yaml train.steps=5 train.minutes=null"),
    ],
)
def test_the_command_of_the_card(words, command):
    assert box_model.command_to_train(words.split(), 5) == command
    load_recipe("shapes", command.split()[3:]) if "shapes" in command else None
