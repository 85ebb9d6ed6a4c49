"""`sonolux recipe`, `init` and `plugins`, as a user types them."""

import json

import pytest
from sonolux.core.cli import init as init_command
from sonolux.core.cli.main import main
from sonolux.core.config.load import load_recipe, packaged_recipes


@pytest.fixture
def say(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(list(arguments))
        told = capsys.readouterr()
        return code, told.out, told.err

    run.folder = tmp_path
    return run


def test_list_names_every_packaged_recipe_and_what_it_needs(say):
    code, out, _ = say("recipe", "list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == list(packaged_recipes())
    assert "[needs data.root]" in next(line for line in out.splitlines() if "image/digits" in line)
    rows = json.loads(say("recipe", "list", "--json")[1])
    assert {r["name"]: r["needs"] for r in rows}["image/shapes"] == [] and all(r["about"] for r in rows)


def test_show_prints_every_default_and_reads_back(say):
    changes = ["train.batch=5", "process.noise_conditioning=tau"]
    code, out, _ = say("recipe", "show", "shapes", *changes)
    (say.folder / "again.yaml").write_text(out)
    assert code == 0 and load_recipe("again.yaml") == load_recipe("shapes", changes)
    assert json.loads(say("recipe", "show", "shapes", "--json")[1])["train"]["ema"]["half_life"] > 0
    assert "root: null" in say("recipe", "show", "digits")[1]


def test_show_works_on_a_runs_folder(say):
    run = say.folder / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("recipe: 1\nextends: shapes\nseed: 1\n")
    assert "seed: 1" in say("recipe", "show", "run")[1]
    (run / "resolved.yaml").write_text(load_recipe("shapes", ["seed=2"]).dump())
    assert "seed: 2" in say("recipe", "show", "run")[1]
    (say.folder / "empty").mkdir()
    assert say("recipe", "show", "empty")[0] == 2


def check_validate(say):
    (say.folder / "bad.yaml").write_text("extends: shapes\nsed: 3\nseed: x\n")
    assert say("recipe", "validate", "shapes") == (0, "shapes: valid\n", "")
    code, out, err = say("recipe", "validate", "bad.yaml", "shapes", "train.btach=3")
    assert code == 2 and out == ""
    assert "bad.yaml:2:1: sed: unknown key; did you mean 'seed'?" in err and "3 errors; nothing was run" in err
    assert err.count("command line: train.btach=3") == 2
    code, out, err = say("recipe", "validate", "bad.yaml", "shapes", "--json")
    rows = json.loads(out)
    assert code == 2 and err == "" and [r["valid"] for r in rows] == [False, True]
    assert rows[0]["problems"][0] == {
        "file": "bad.yaml", "line": 2, "column": 1, "path": "sed", "message": "unknown key; did you mean 'seed'?"
    }  # fmt: skip


def test_validate_tells_every_problem_of_every_recipe(say):
    check_validate(say)


def test_a_validation_that_accepts_everything_is_caught(say, monkeypatch):
    from sonolux.core.config import wording

    true = wording.problems_from_error
    known = lambda *a: [p for p in true(*a) if "unknown key" not in p.message]  # noqa: E731
    monkeypatch.setattr(wording, "problems_from_error", known)
    with pytest.raises(AssertionError):
        check_validate(say)


def test_validate_asks_for_the_folder(say):
    code, _, err = say("recipe", "validate", "digits")
    assert code == 2 and "needs data.root: path" in err and "data.root=path/to/folder" in err
    assert say("recipe", "validate", "digits", "data.root=here")[0] == 0
    assert say("recipe", "validate", "seed=3")[0] == 2


@pytest.mark.slow
def test_schema_is_printed_or_written(say):
    assert json.loads(say("recipe", "schema")[1])["title"] == "sonolux recipe"
    assert say("recipe", "schema", "-o", "a/schema.json") == (0, "wrote a/schema.json\n", "")
    assert json.loads((say.folder / "a/schema.json").read_text())["required"] == ["recipe"]


def check_init(say):
    code, out, _ = say("init", "mine", "--from", "digits")
    text, original = (say.folder / "mine.yaml").read_text(), packaged_recipes()["image/digits"].read_text()
    assert code == 0 and "sonolux train mine.yaml data.root=path/to/folder" in out
    assert text.startswith("# sonolux train mine.yaml data.root=") and "\nname: mine\n" in text
    changed = [(a, b) for a, b in zip(original.splitlines(), text.splitlines(), strict=True) if a != b]
    assert len(changed) == 2  # the command and the name; every other comment and line is as it was
    assert load_recipe("mine.yaml", ["data.root=x"]).name == "mine"
    assert say("init", "mine", "--from", "shapes")[0] == 2
    assert (say.folder / "mine.yaml").read_text() == text


def test_init_copies_with_comments_and_never_overwrites(say):
    check_init(say)


def test_an_init_that_drops_comments_is_caught(say, monkeypatch):
    true = init_command.rename_recipe_text
    bare = lambda *a: "\n".join(line for line in true(*a).splitlines() if not line.startswith("#"))  # noqa: E731
    monkeypatch.setattr(init_command, "rename_recipe_text", bare)
    with pytest.raises(AssertionError):
        check_init(say)


@pytest.mark.slow
@pytest.mark.parametrize("name", packaged_recipes())
def test_a_copy_of_every_packaged_recipe_is_the_same_recipe(say, name):
    assert say("init", "sub/copy.yaml", "--from", name)[0] == 0
    copy, given = load_recipe("sub/copy.yaml", partial=True), load_recipe(name, partial=True)
    assert copy.name == "copy" and {**copy.resolved(), "name": given.name} == given.resolved()


@pytest.mark.parametrize("name", ["", "..", ".yaml"])
def test_init_refuses_what_names_no_file(say, name):
    assert "is not a valid name for a recipe" in say("init", name, "--from", "digits")[2] and not list(
        say.folder.iterdir()
    )


def test_init_says_where_it_cannot_write(say):
    (say.folder / "file").write_text("x")
    code, _, err = say("init", "file/mine", "--from", "digits")
    assert code == 2 and "file/mine.yaml cannot be written" in err and "\n" not in err.strip()


def test_init_names_the_nearest_recipe(say):
    code, _, err = say("init", "mine", "--from", "digitz")
    assert code == 2 and "did you mean 'image/digits'" in err and not list(say.folder.iterdir())


def test_plugins_lists_and_shows(say):
    code, out, _ = say("plugins")
    assert code == 0 and "sampler:\n  belm\n  ddim\n" in out
    rows = json.loads(say("plugins", "list", "--kind", "schedule", "--json")[1])
    assert {"kind": "schedule", "name": "edm", "source": "sonolux", "trouble": None} in rows
    code, out, _ = say("plugins", "show", "edm")
    assert code == 0 and "schedule edm" in out and "parameterization edm" in out
    assert "sigma_max: number, default 80.0" in out
    shown = json.loads(say("plugins", "show", "edm", "--kind", "schedule", "--json")[1])
    assert [p["name"] for p in shown[0]["parameters"]] == ["sigma_min", "sigma_max"]
    assert all(p["doc"] and p["type"] == "number" for p in shown[0]["parameters"])
    mine = 'from sonolux.core.timesteps.karras import Karras\n\n\nclass Mine(Karras):\n    """Mine."""\n'
    (say.folder / "mine.py").write_text(mine)
    code, out, _ = say("plugins", "show", "./mine.py:Mine")
    assert code == 0 and out.startswith("timesteps ./mine.py:Mine"), "its base class tells its kind"
    code, _, err = say("plugins", "show", "edn")
    assert code == 2 and "did you mean 'edm'" in err
    assert say("plugins", "list", "--kind", "samplr")[0] == 2


def test_show_and_validate_work_on_a_checkpoint(say):
    import torch
    from sonolux.core.training.checkpoint import CheckpointHeader, save_checkpoint
    from sonolux.core.types import MediaSpec

    model = torch.nn.Linear(2, 2)
    recipe = load_recipe("digits", ["seed=41"], partial=True)
    file = say.folder / "step-1.safetensors"
    save_checkpoint(
        file,
        CheckpointHeader(recipe.dump(), MediaSpec("image", 1, ("height", "width"), (28, 28)), 1, 0.0),
        {"model": model},
    )
    code, out, _ = say("recipe", "show", str(file), "train.batch=3")
    assert code == 0 and "seed: 41" in out and "batch: 3" in out
    code, _, err = say("recipe", "validate", str(file))
    assert code == 2 and "needs data.root" in err
    (say.folder / "steps.py").write_text(
        "class Mine:\n    '''A spacing.'''\n    def levels(self, schedule, steps): return []\n"
    )
    coded = load_recipe("shapes", ["sample.timesteps='./steps.py:Mine'"])
    save_checkpoint(
        file,
        CheckpointHeader(coded.dump(), MediaSpec("image", 3, ("height", "width"), (32, 32)), 1, 0.0),
        {"model": model},
    )
    code, _, err = say("recipe", "show", str(file))
    assert code == 2 and "--allow-code" in err
    assert "steps.py:Mine" in say("recipe", "show", str(file), "--allow-code")[1]
