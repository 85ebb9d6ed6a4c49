"""A run of others does not choose what is read or written; one's own run needs no path twice."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import sonolux
import torch
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe, load_run_recipe
from sonolux.core.config.recipe import Recipe
from sonolux.core.config.trust import TrustLevel, is_own_run
from sonolux.core.training.checkpoint import newest_checkpoint, read_header, replace_header
from sonolux.core.training.run_dir import RunDir
from sonolux.modalities.image.modality import Image

RECIPE = """
recipe: 1
name: tiny
modality: {use: image, size: 8, channels: 1}
data: {use: image/folder, root: pictures, label: none, split: {by: hash, valid: 0.3}}
codec: {use: image/pixels}
network: {use: './mine.py:Mine', width: 8, stages: [1], blocks: 1, patch: 4}
train: {steps: 2, batch: 4, warmup: 1, preview_every: 100, precision: float32, device: cpu}
sample: {use: euler, steps: 2, count: 2, batch: 4}
eval: {count: 8, repeats: 10, page_samples: 2, memorization: false, cache: cache}
"""
CODE = "from sonolux.modalities.image.networks.unet import UNet\n\n\nclass Mine(UNet):\n    'A network.'\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a recipe, code and pictures of the user."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "mine.py").write_text(CODE)
    (folder / "mine.yaml").write_text(RECIPE)
    (folder / "pictures").mkdir()
    for i in range(24):
        Image(8, 1).write(folder / f"pictures/{i}.png", torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(i)))
    return folder


@pytest.fixture
def run(project, tmp_path_factory):
    """A run of this recipe, made in a folder of the test."""
    folder = tmp_path_factory.mktemp("own") / "run"
    assert main(["train", str(project / "mine.yaml"), "--out", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture
def say(capsys, tmp_path):
    """Run a command: (exit code, stderr)."""

    def command(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, capsys.readouterr().err

    return command


def evaluate(source, out, *more):
    return ["eval", source, "--allow-code", "--out", out, *more]


@pytest.mark.slow
def test_an_own_run_is_evaluated_and_resumed_without_its_paths(project, run, say, tmp_path):
    """`--resume` also runs the code that the training ran; another change of the recipe stays its own."""
    assert say(*evaluate(run, tmp_path / "report"))[0] == 0
    assert any((project / "cache").iterdir()), "written where the user's recipe says"
    assert say(*evaluate(newest_checkpoint(run), tmp_path / "again"))[0] == 0
    assert say("lab", "likelihood", run, "--count", "1", "--probes", "2", "--steps", "2", "--allow-code") == (0, "")
    assert say("recipe", "validate", "--data", run, "--allow-code")[0] == 0
    for steps in (3, 4):
        assert say("train", "--resume", run, f"train.steps={steps}", "--quiet")[0] == 0
    assert say(*evaluate(run, tmp_path / "third"))[0] == 0
    assert say("train", run / "resolved.yaml", "--out", tmp_path / "new", "--quiet")[0] == 0
    code, err = say("sample", run, "--out", tmp_path / "samples")
    assert code == 2 and "--allow-code" in err, "a checkpoint never runs code by itself"


def moved(run, how):
    """The folder of a run that is not in its place any more, or not as it was."""
    other = run.with_name("downloaded")
    if how == "moved":
        run.rename(other)
    else:
        shutil.copytree(run, other)
    if how == "claims the place":
        facts = json.loads((other / "env.json").read_text())
        (other / "env.json").write_text(json.dumps({**facts, "folder": str(other)}))
    if how == "without claim":
        (other / "env.json").unlink()
    if how == "put in its place":
        for name in ("resolved.yaml", "recipe.yaml"):
            (other / name).write_text((other / name).read_text().replace("seed: 0", "seed: 1"))
        checkpoint = newest_checkpoint(other)
        header = read_header(checkpoint)
        replace_header(checkpoint, replace(header, recipe=header.recipe.replace("seed: 0", "seed: 1")))
        shutil.rmtree(run)
        other.rename(run)
        return run
    return other


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moved", "copied", "claims the place", "without claim", "put in its place"])
def test_a_run_of_others_is_refused_with_its_paths_and_the_remedy(project, run, say, tmp_path, how):
    other, pictures = moved(run, how), project / "pictures"
    cache = project / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    before = {path: path.stat().st_mtime_ns for path in other.rglob("*")}
    for command, keys in (
        (evaluate(other, tmp_path / "report"), ("data.root", "eval.cache")),
        (evaluate(newest_checkpoint(other), tmp_path / "report"), ("data.root", "eval.cache")),
        (evaluate(other, tmp_path / "report", f"data.root={pictures}"), ("eval.cache",)),
        (evaluate(other, tmp_path / "report", "--folder", pictures), ("data.root", "eval.cache")),
        (["lab", "likelihood", other, "--allow-code"], ("data.root",)),
        (["train", "--resume", other, "--allow-code", "train.steps=3"], ("data.root",)),
        (["recipe", "validate", "--data", other, "--allow-code"], ("data.root",)),
        (["train", other / "resolved.yaml", "--allow-code", "--out", tmp_path / "new"], ("data.root",)),
    ):
        code, err = say(*command)
        lines = [line for line in err.splitlines() if not line.startswith("eval: ")]
        assert code == 2 and len(lines) == 1, (command, err)
        for key in keys:
            path = cache if key == "eval.cache" else pictures
            assert f"{key} is {path}" in err and f"{key}=PATH" in err, (command, err)
    assert {path: path.stat().st_mtime_ns for path in other.rglob("*")} == before
    assert not cache.exists() and not any(tmp_path.iterdir())
    shown = say("recipe", "show", other, "--allow-code")
    assert shown[0] == 0, "a path is shown"
    assert say("sample", other, "--allow-code", "--out", tmp_path / "samples")[0] == 0, "samples need no path"


@pytest.mark.slow
def test_paths_that_are_given_again_are_used(project, run, say, tmp_path, monkeypatch):
    monkeypatch.setattr("sonolux.core.evaluation.stored_networks._MEMORY", {})
    other, given = moved(run, "copied"), f"data.root={project / 'pictures'}"
    assert say(*evaluate(other, tmp_path / "report", given, f"eval.cache={tmp_path / 'cache'}"))[0] == 0
    assert any((tmp_path / "cache").iterdir())
    assert say(*evaluate(other, tmp_path / "report2", given, "eval.cache=null"))[0] == 0
    for more in ([given], ["--data", project / "pictures"]):
        small = ["--count", "1", "--probes", "2", "--steps", "2"]
        assert say("lab", "likelihood", other, "--allow-code", *small, *more)[0] == 0
    assert say("recipe", "validate", "--data", other, "--allow-code", given)[0] == 0


@pytest.mark.slow
def test_a_resumed_run_becomes_own_when_every_path_was_given(project, run, say):
    """Resuming with one path says nothing about another one, which the run of others still names."""
    other, given = moved(run, "moved"), f"data.root={project / 'pictures'}"
    resume = ["train", "--resume", other, "--quiet"]
    code, err = say(*resume, given, "train.steps=3")
    assert code == 2 and "--allow-code" in err
    assert say(*resume, given, "train.steps=3", "--allow-code")[0] == 0
    assert load_run_recipe(other, allow_code=True, resume=True).trust == TrustLevel.NONE
    code, err = say(*resume, "train.steps=4", "--allow-code")
    assert code == 2 and "data.root=PATH" in err
    assert say(*resume, given, "eval.cache=null", "train.steps=4", "--allow-code")[0] == 0
    assert say(*resume, "train.steps=5")[0] == 0, "own now, in its new place"
    assert json.loads((other / "env.json").read_text())["folder"] == str(other)


@pytest.mark.slow
def test_resume_takes_paths_and_no_other_change_of_the_recipe(run, say, tmp_path):
    for change in ("data.label=folder", "seed=3", "data.nothing=1", "sample.steps=3", "data.split.valid=0.5"):
        code, err = say("train", "--resume", run, change)
        assert code == 2 and "only train.* and paths may change" in err, change
    code, err = say("train", "--resume", run, f"data.root={tmp_path / 'nowhere'}", "train.steps=3")
    assert code == 2 and "no such folder" in err


@pytest.mark.slow
def test_without_a_state_folder_training_notes_it_and_the_run_is_foreign(project, say, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    with pytest.warns(
        UserWarning, match=r"this run cannot be marked as yours \(.*data\.root=PATH; XDG_STATE_HOME=FOLDER"
    ):
        assert say("train", project / "mine.yaml", "--out", tmp_path / "run", "--quiet")[0] == 0
    code, err = say("train", "--resume", tmp_path / "run", "train.steps=3", "--allow-code")
    assert code == 2 and "data.root=PATH" in err
    given = f"data.root={project / 'pictures'}"
    assert say("train", "--resume", tmp_path / "run", "train.steps=3", "--allow-code", "--quiet", given)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics.jsonl", "resolved.yaml", "checkpoints", "previews"])
def test_nothing_is_written_through_links(project, run, say, tmp_path, name):
    other, target = moved(run, "copied"), tmp_path / "target"
    if (other / name).exists():
        (other / name).rename(target)
    else:
        target.mkdir()
    (other / name).symlink_to(target)
    before = content(target)
    given = [f"data.root={project / 'pictures'}", "train.steps=3", "--allow-code"]
    for command in (["--resume", other, *given], [project / "mine.yaml", "--out", other, "--overwrite"]):
        code, err = say("train", *command)
        assert code == 2 and f"{other / name} is a link" in err
    if name == "checkpoints":
        code, err = say("calibrate", other, "--nfe", "2", "--count", "2", "--allow-code")
        assert code == 2 and f"{other / name} is a link" in err
    assert content(target) == before


def content(path):
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return {p.name: p.read_bytes() for p in files}


def test_a_list_of_samples_names_files_of_its_folder_only(project, say, tmp_path):
    samples = tmp_path / "samples"
    shutil.copytree(project / "pictures", samples)
    for name in (f"../{project.name}/pictures/0.png", str(project / "pictures/0.png"), "link.png"):
        (samples / "link.png").unlink(missing_ok=True)
        (samples / "link.png").symlink_to(project / "pictures/0.png")
        listed = [{"file": f"{i}.png"} for i in range(9)] + [{"file": name}]
        (samples / "samples.json").write_text(json.dumps({"samples": listed}))
        code, err = say("eval", project / "mine.yaml", "--folder", samples, "--out", tmp_path / "report")
        said = "which is not in this folder" if name == "link.png" else "samples.9.file: it names no file in the folder"
        assert code == 2 and said in err, err


@pytest.mark.slow
def test_a_weaker_run_of_others_is_a_path_too(run, say, tmp_path):
    """A checkpoint that names another model: it is read only where the user names it."""
    other = moved(run, "copied")
    checkpoint = newest_checkpoint(other)
    header = read_header(checkpoint)
    guided = f"guidance: {{use: autoguidance, weak: {run}}}"
    replace_header(checkpoint, replace(header, recipe=header.recipe.replace("guidance: null", guided)))
    ask = ["sample", other, "--allow-code", "--out", tmp_path / "samples"]
    code, err = say(*ask)
    assert code == 2 and f"sample.guidance.weak is {run}" in err and "sample.guidance.weak=PATH" in err
    assert say(*ask, f"guidance.weak={run}")[0] == 0
    assert say(*ask, "guidance=null", "--overwrite")[0] == 0


def test_every_section_is_checked_when_a_run_is_resumed(run, say):
    """All but `eval`, which training does not read."""
    other = moved(run, "copied")
    text = (other / "resolved.yaml").read_text()
    (other / "resolved.yaml").write_text(
        text.replace("guidance: null", f"guidance: {{use: autoguidance, weak: {run}}}")
    )
    code, err = say("train", "--resume", other, "--allow-code")
    assert code == 2 and "data.root=PATH sample.guidance.weak=PATH" in err and "eval.cache" not in err


def test_env_json_of_a_new_run_names_its_place(run):
    facts = json.loads((run / "env.json").read_text())
    assert facts["folder"] == os.path.realpath(run) and len(facts["recipes"]) == 2
    for name in ("resolved.yaml", "recipe.yaml"):
        assert is_own_run(run, (run / name).read_text())


def test_a_recipe_with_paths_of_others_makes_no_own_run(run, tmp_path):
    """What a run of others names does not become the user's by being written again."""
    other = moved(run, "copied")
    recipe = load_recipe(other / "resolved.yaml", [f"data.root={tmp_path}"], allow_code=True)
    folder = RunDir(tmp_path / "new")
    assert folder._claim(recipe, started=True) == {}
    given = recipe.with_overrides(["eval.cache=null"])
    assert given.paths().keys() == {"data.root"} and isinstance(given, Recipe)
    claimed = folder._claim(given, started=True)
    assert len(claimed["recipes"]) == 1, "the text of others is not signed, the recipe with the user's changes is"


@pytest.mark.slow
def test_python_opens_own_runs_and_refuses_paths_of_others(run):
    from sonolux.core.evaluation.evaluation_input import open_evaluation_input
    from sonolux.core.training.build import build_dataset
    from sonolux.core.types import BadInput

    assert len(build_dataset(sonolux.load(run, allow_code=True).recipe)[0]) > 0
    other = sonolux.load(moved(run, "copied"), allow_code=True)
    with pytest.raises(BadInput, match=r"data\.root is .*data\.root=PATH"):
        build_dataset(other.recipe)
    with pytest.raises(BadInput, match=r"data\.root=PATH eval\.cache=PATH"):
        open_evaluation_input(str(run.with_name("downloaded")), [], sampled=True, allow_code=True)
