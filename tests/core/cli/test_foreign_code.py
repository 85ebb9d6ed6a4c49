"""No command and no public function runs code that a run, a checkpoint or an extended recipe names by itself.

Every command of the folder core/cli has cases here, and so has every function that takes `allow_code`: what is added
there fails these tests until it has one.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest
import sonolux
import torch
from sonolux.core.cli.main import cli, main
from sonolux.core.config import registry
from sonolux.core.config.load import load_recipe, load_recipe_text, load_run_recipe
from sonolux.core.evaluation.ablation.arms import build_arms
from sonolux.core.evaluation.evaluation_input import open_evaluation_input
from sonolux.core.pipeline.load import load
from sonolux.core.pipeline.open_checkpoint import open_checkpoint
from sonolux.core.pipeline.preview import PreviewCallback
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.checkpoint import newest_checkpoint, read_header, replace_header
from sonolux.core.training.run import TrainingRun
from sonolux.core.util.errors import BadInput, BrokenPlugin
from sonolux.modalities.image.modality import Image

ROOT = Path(sonolux.__file__).resolve().parent
EVIL = "import os, pathlib\npathlib.Path(os.environ['EVIL_TRACE']).touch()\nraise ImportError('it ran')\n"
GUIDED = "guidance={use: autoguidance, weak: %s}"

# Command -> argument lists that open the evil run in every way. RUN is a run folder of others, CHECKPOINT its
# checkpoint, WEAK a guidance that names it, EXTENDING the user's recipe that extends one with code; OWN and PLAIN are a
# run and a recipe of the user without code.
REFUSED = {
    "ablate": ["EXTENDING --vary train.batch=2,3 --seeds 1 --steps 1 --out OUT --quiet"],
    "calibrate": ["RUN", "CHECKPOINT", "OWN WEAK"],
    "edit": ["RUN vary PICTURE --out OUT", "CHECKPOINT vary PICTURE --out OUT"],
    "eval": [
        "RUN --out OUT",
        "CHECKPOINT --out OUT",
        "RUN --folder PICTURES --out OUT",
        "EXTENDING --folder PICTURES --out OUT",
    ],
    "lab likelihood": ["RUN", "CHECKPOINT"],
    "plan": ["EXTENDING --steps 1", "RUN/resolved.yaml --steps 1", "RUN/recipe.yaml --steps 1"],
    "recipe show": ["RUN", "RUN/resolved.yaml", "RUN/recipe.yaml", "CHECKPOINT", "EXTENDING"],
    "recipe validate": ["RUN", "RUN/resolved.yaml", "RUN/recipe.yaml", "CHECKPOINT", "EXTENDING"],
    "sample": ["RUN --out OUT", "CHECKPOINT --out OUT", "OWN WEAK --out OUT"],
    "train": [
        "--resume RUN --quiet",
        "--resume RUN --quiet train.steps=9",
        "RUN/resolved.yaml --out OUT --quiet",
        "RUN/recipe.yaml --out OUT --quiet",
        "EXTENDING --out OUT --quiet",
        "EXTENDING --out OUT --dry-run",
        "PLAIN sample.WEAK --out OUT --quiet",
    ],
}
# Commands that build nothing that a recipe names.
HARMLESS = {
    "completion": ["bash"],
    "doctor": [""],
    "init": ["OUT/more --from EXTENDING"],
    "lab sampler": ["euler --schedule edm --nfe 2 --against heun"],
    "models": [""],
    "plugins list": [""],
    "plugins show": ["edm"],
    "prepare": ["PICTURES --out OUT"],
    "recipe list": [""],
    "recipe schema": [""],
    "watch": ["RUN"],
    "studio": ["--help"],  # it serves until it is ended; tests/core/app/test_studio_command.py asks it for such a run
}
# Function -> calls as the program of a user makes them; they take the folders of the fixture `evil` and `allow_code`.
FUNCTIONS = {
    "build_arms": [
        lambda f, allow: build_arms(f.extending, ["train.batch=2,3"], [], "train.steps=1", allow_code=allow),
    ],
    "load": [
        lambda f, allow: load(f.run, "cpu", allow_code=allow),
        lambda f, allow: load(f.checkpoint, allow_code=allow),
    ],
    "load_recipe": [
        lambda f, allow: load_recipe(f.run / "resolved.yaml", allow_code=allow),
        lambda f, allow: load_recipe(f.run / "recipe.yaml", ["seed=3"], allow_code=allow),
        lambda f, allow: load_recipe(f.extending, allow_code=allow),
    ],
    "load_run_recipe": [
        lambda f, allow: load_run_recipe(f.run, allow_code=allow),
        lambda f, allow: load_run_recipe(f.run, allow_code=allow, resume=True),
    ],
    "load_recipe_text": [lambda f, allow: load_recipe_text((f.run / "resolved.yaml").read_text(), allow_code=allow)],
    "open_checkpoint": [lambda f, allow: open_checkpoint(f.run, "cpu", ["steps=2"], allow_code=allow)],
    "open_evaluation_input": [
        lambda f, allow: open_evaluation_input(str(f.run), [], sampled=True, allow_code=allow),
        lambda f, allow: open_evaluation_input(str(f.extending), [], sampled=False, allow_code=allow),
    ],
    "find_class": [lambda f, allow: registry.find_class("network", f"{f.run}/evil.py:Evil", allow_code=allow)],
}


NAMED_AS = pytest.mark.parametrize("evil", ["file", "module"], indirect=True)


class Folders:
    """The folders of the fixture `evil`, by the names of the cases."""

    def __init__(self, **folders):
        self.__dict__ = folders


@pytest.fixture
def evil(request, tiny_run, tiny_recipe, tmp_path, monkeypatch):
    """A run of others whose network is code that leaves a trace, the working folder, and what leads to it."""
    own = tiny_run("image")
    run = shutil.copytree(own, tmp_path / "run")
    (run / "evil.py").write_text(EVIL)
    code = f"{run}/evil.py:Evil" if getattr(request, "param", "file") == "file" else "evil:Evil"
    checkpoint = newest_checkpoint(run)
    header = read_header(checkpoint)
    text = header.recipe.replace("image/unet", code)
    assert code in text
    replace_header(checkpoint, replace(header, recipe=text))
    for name in ("resolved.yaml", "recipe.yaml"):
        (run / name).write_text(text)
    (tmp_path / "base.yaml").write_text(text)
    (tmp_path / "extending.yaml").write_text("extends: ./base.yaml\n")
    (tmp_path / "plain.yaml").write_text(tiny_recipe["image"])
    (tmp_path / "pictures").mkdir()
    for i in range(8):
        Image(16, 3).write(tmp_path / f"pictures/{i}.png", torch.rand(3, 16, 16) * 2 - 1)
    monkeypatch.setenv("EVIL_TRACE", str(tmp_path / "trace"))
    monkeypatch.syspath_prepend(run)
    monkeypatch.chdir(run)
    return Folders(
        run=run,
        checkpoint=checkpoint,
        own=own,
        extending=tmp_path / "extending.yaml",
        plain=tmp_path / "plain.yaml",
        pictures=tmp_path / "pictures",
        picture=tmp_path / "pictures/0.png",
        out=tmp_path / "out",
        trace=tmp_path / "trace",
    )


def split(line, folders):
    """The arguments of a case."""
    words = {**{name.upper(): str(path) for name, path in vars(folders).items()}, "WEAK": GUIDED % folders.run}
    return [re.sub(r"[A-Z]{3,}", lambda found: words[found[0]], word) for word in line.split()]


def commands(group=cli, above=()):
    """`train`, `recipe show`: every command that the folder core/cli defines."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))
        else:
            yield " ".join((*above, name))


def test_every_command_has_a_case():
    assert sorted(commands()) == sorted([*REFUSED, *HARMLESS])


@pytest.mark.slow
def test_every_function_that_may_allow_code_has_a_case():
    """Found in the source: public functions with a parameter `allow_code`, the commands themselves excepted."""
    found = set()
    for path in (ROOT / "core").rglob("*.py"):
        if path.parent.name == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                names = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
                found |= {node.name} if "allow_code" in names else set()
    assert found - {"allow_code"} == set(FUNCTIONS)


def check_refused(folders, command, line, capsys):
    """Exit code 2, one message with the remedy, no trace, nothing written."""
    before = sorted(folders.run.parent.rglob("*"))
    code = main([*command.split(), *split(line, folders)])
    said = capsys.readouterr()
    assert not folders.trace.exists(), f"sonolux {command} {line} ran the code"
    assert code == 2 and "--allow-code" in said.err, (command, line, said.err)
    assert sorted(folders.run.parent.rglob("*")) == before


@pytest.mark.slow
@NAMED_AS
@pytest.mark.parametrize("command", REFUSED)
def test_a_command_refuses_code_that_the_user_did_not_name(evil, command, capsys):
    for line in REFUSED[command]:
        check_refused(evil, command, line, capsys)
        assert main([*command.split(), *split(line, evil), "--allow-code"]) == 3, (command, line)
        assert evil.trace.exists(), f"sonolux {command} {line}: --allow-code had no effect"
        evil.trace.unlink()
        capsys.readouterr()


@pytest.mark.parametrize("command", HARMLESS)
@pytest.mark.slow
def test_other_commands_never_run_code_of_the_working_folder(evil, command, monkeypatch):
    """Not even if a file there is called like a library, or registers a plugin."""
    spoiled(evil.run)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p) != evil.run])
    evil.out.mkdir()
    for line in HARMLESS[command]:
        assert main([*command.split(), *split(line, evil)]) == 0, (command, line)
        assert not evil.trace.exists(), (command, line)


@pytest.mark.slow
@NAMED_AS
def test_init_copies_no_recipe_of_a_run_of_others_that_names_code(evil, capsys):
    for name in ("resolved.yaml", "recipe.yaml"):
        assert main(["init", f"{evil.out}/new", "--from", f"{evil.run}/{name}"]) == 2
        said = capsys.readouterr().err
        assert (
            len(said.splitlines()) == 1
            and "not made here, and names code: " in said
            and "vil:Evil" in said.replace("evil.py:Evil", "evil:Evil")
        )
        assert not evil.out.exists() and not evil.trace.exists()
    mine = shutil.copy(evil.run / "recipe.yaml", evil.out.with_suffix(".yaml"))  # a file of one's own: it is said
    assert main(["init", f"{evil.out}/new", "--from", str(mine)]) == 0
    assert f"{evil.out}/new.yaml names code, which runs when you use it: " in capsys.readouterr().out
    assert not evil.trace.exists()


def test_init_says_that_the_paths_of_a_run_of_others_are_used(evil, capsys):
    text = (evil.own / "recipe.yaml").read_text()
    (evil.run / "recipe.yaml").write_text(text)
    assert main(["init", f"{evil.out}/new", "--from", f"{evil.run}/recipe.yaml"]) == 0
    said = capsys.readouterr().out
    assert "is of a run that was not made here: check its paths" in said and "names code" not in said


def test_a_planted_search_that_sees_only_files_is_caught(evil, capsys, monkeypatch):
    monkeypatch.setattr(registry, "is_code_reference", lambda use: use.endswith(".py:Net"))
    assert_caught(test_init_copies_no_recipe_of_a_run_of_others_that_names_code, evil, capsys)


@pytest.mark.slow
@NAMED_AS
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_refuses_code_that_the_user_did_not_name(evil, function):
    for call in FUNCTIONS[function]:
        with pytest.raises(BadInput, match="allow_code=True"):
            call(evil, False)
        assert not evil.trace.exists()
        with pytest.raises(BrokenPlugin, match="it ran"):
            call(evil, True)
        assert evil.trace.exists()
        evil.trace.unlink()


@pytest.mark.slow
def test_an_auxiliary_model_is_not_allowed_by_the_recipe_that_names_it(evil):
    weak = {"use": "autoguidance", "weak": str(evil.run)}
    pipeline = load(evil.own, device="cpu")
    with pytest.raises(BadInput, match="allow_code=True"):
        pipeline.sample(guidance=weak, count=1, steps=1)
    recipe = load_recipe(evil.plain, [f"sample.guidance={weak}"])
    with pytest.raises(BadInput, match="allow_code=True"):
        TrainingRun(recipe, evil.out, say=lambda _: None, bar=False, callbacks=[PreviewCallback(recipe)]).prepare()
    assert not evil.trace.exists() and not evil.out.exists()


@pytest.mark.slow
def test_planted_permission_for_all_code_is_caught(evil, monkeypatch, capsys):
    true = registry.find_class
    monkeypatch.setattr(registry, "find_class", lambda kind, use, base=None, allow_code=True: true(kind, use, base))
    for command, line in (("recipe show", "RUN"), ("train", "--resume RUN"), ("sample", "RUN --out OUT")):
        with pytest.raises(AssertionError, match="ran the code"):
            check_refused(evil, command, line, capsys)
        evil.trace.unlink()


@pytest.mark.slow
def test_what_the_user_names_in_the_command_runs(evil, capsys):
    """A recipe file, also with code of its own next to one that it extends, and a change."""
    typed = evil.plain.with_name("typed.yaml")
    typed.write_text(evil.extending.with_name("base.yaml").read_text())
    code = f"{evil.run}/evil.py:Evil"
    for line in (
        ["train", str(typed), "--out", str(evil.out)],
        ["recipe", "show", str(typed)],
        ["eval", str(typed), "--folder", str(evil.pictures), "--out", str(evil.out)],
        ["sample", str(evil.own), f"use={code}", "--out", str(evil.out)],
        ["train", str(evil.plain), f"network={code}", "--out", str(evil.out)],
        ["eval", str(evil.own), f"feature={code}", "--out", str(evil.out)],
        ["plugins", "show", code],
    ):
        assert main(line) == 3 and evil.trace.exists(), line
        evil.trace.unlink()


# --- the working folder ---


def spoiled(folder):
    """Plant files that are imported if the folder is searched for modules, and a plugin."""
    for name in (
        "click",
        "yaml",
        "torch",
        "soundfile",
        "torchaudio",
        "difflib",
        "sitecustomize",
        "usercustomize",
        "shapes",
    ):
        (folder / f"{name}.py").write_text(EVIL)
    info = folder / "evil-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    groups = (f"[sonolux.{kind}]\nevil/evil = evil:Evil\n" for kind in registry.component_kinds())
    (info / "entry_points.txt").write_text("".join(groups))


@pytest.mark.slow
@pytest.mark.parametrize("line", [["recipe", "list"], ["recipe", "show", "."], ["plugins", "list"]])
def test_python_m_imports_nothing_from_the_working_folder(evil, line):
    spoiled(evil.run)
    (evil.run / "resolved.yaml").write_text((evil.own / "resolved.yaml").read_text())
    command = [sys.executable, "-m", "sonolux.core.cli.main", *line]
    done = subprocess.run(command, cwd=evil.run, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0 and not evil.trace.exists(), done.stderr
    assert "evil/evil" not in done.stdout


@pytest.mark.slow
def test_python_c_registers_no_plugin_of_the_working_folder(evil):
    spoiled(evil.run)
    for name in ("click", "yaml", "difflib"):  # Python's own search, which `python -c` requests
        (evil.run / f"{name}.py").unlink()
    code = "from sonolux.core.config.registry import component_kinds as kinds, component_names as names\n"
    code += "print([n for k in kinds() for n in names(k)])"
    done = subprocess.run([sys.executable, "-c", code], cwd=evil.run, capture_output=True, text=True)
    assert done.returncode == 0 and "edm" in done.stdout and "evil/evil" not in done.stdout, done.stderr


@pytest.mark.slow
def test_the_command_that_training_proposes_has_the_flag_that_it_needs(tiny_recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from sonolux.modalities.image.networks.unet import UNet\n\n\nclass Mine(UNet):\n    '''A U-Net.'''\n"
    )
    for name, network, flag in (("own", "image/unet", ""), ("code", "./mine.py:Mine", " --allow-code")):
        text = tiny_recipe["image"].replace("image/unet", network).replace("name: tiny", f"name: {name}")
        (tmp_path / f"{name}.yaml").write_text(text)
        assert main(["train", f"{name}.yaml", "train.steps=1", "--out", name, "--quiet"]) == 0
        assert f"now: sonolux sample {name} --out {name}/samples{flag}\n" in capsys.readouterr().out
