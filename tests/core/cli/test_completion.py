"""Completion: what a shell is offered, by click's protocol and in a real bash; and that torch is not loaded for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sonolux
from sonolux.core.cli import _completion
from sonolux.core.cli.main import cli, main
from sonolux.core.config.load import load_recipe
from sonolux.core.testing.mutation import assert_caught

PARENT = Path(sonolux.__file__).resolve().parents[1]


def completed(words, shell="bash"):
    """What is offered for the last of some words."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)(cli, {}, "sonolux", "_SONOLUX_COMPLETE")
    return [item.value for item in complete.get_completions(words[:-1], words[-1]) if item.value]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tra"], ["train"]),
        (["train", "shape"], ["shapes"]),
        (["train", "image/cif"], ["image/cifar10"]),
        (["sample", "text_s"], ["text_sfx", "text_shapes"]),
        (["models", "text_sh"], ["text_shapes"]),
        (["recipe", "show", "text_sfx"], ["text_sfx", "text_sfx_dit"]),
        (["train", "shapes", "train.save"], ["train.save_every="]),
        (["train", "text_shapes_dit", "network.cross"], ["network.cross_attention="]),  # of the recipe that it extends
        (["train", "shapes", "network.att"], ["network.attention="]),  # of the constructor
        (["train", "shapes", "train.optimizer=a"], ["train.optimizer=adamw"]),
        (["train", "shapes", "train.optimizer", "=", "m"], ["muon"]),  # as bash splits it
        (["train", "shapes", "train.decay", "=", ""], ["cosine", "none"]),
        (["train", "shapes", "network=image/u"], ["network=image/unet"]),
        (["train", "no-such-recipe", "train.keep"], ["train.keep="]),
        (["sample", "text_sfx", "guid"], ["guidance="]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["train", "shapes", "train.steps=1"], []),
    ],
)
def test_what_is_offered(words, offered):
    assert completed(words) == offered


def test_runs_are_offered(tmp_path, monkeypatch):
    for name in ("runs/digits", "runs/other", "mine/run"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "resolved.yaml").touch()
    for name in ("runs/$(touch x)", "runs/a;b", "runs/two words"):  # a shell would not take them as they are
        (tmp_path / name).mkdir()
        (tmp_path / name / "resolved.yaml").touch()
    (tmp_path / "runs/nothing").mkdir()
    monkeypatch.chdir(tmp_path)
    assert completed(["sample", "run"]) == ["runs/digits", "runs/other"]
    assert completed(["train", "--resume", "mine/"]) == ["mine/run"]


def check_offered_keys_are_keys():
    """Every key that is offered for a recipe is one that a recipe takes: with a null it is not unknown."""
    from sonolux.core.types import BadInput

    for key in _completion._keys("text_sfx"):
        try:
            load_recipe("text_sfx", [f"{key}=null"])
        except BadInput as error:
            assert not any(words in str(error) for words in ("unknown key", "sets this itself")), (key, str(error))


@pytest.mark.slow
def test_offered_keys_are_keys(monkeypatch):
    check_offered_keys_are_keys()
    monkeypatch.setattr(_completion, "_GIVEN", set())
    assert_caught(check_offered_keys_are_keys)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_printed(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_SONOLUX_COMPLETE={shell}_complete" in script
    assert {"bash": "compopt -o nospace", "zsh": '-S ""', "fish": "__fish_complete_path"}[shell] in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_a_real_bash_completes_without_torch(tmp_path, capsys):
    """In a bash that has read the script; a `torch` that cannot be imported stands before the real one."""
    main(["completion", "bash"])
    script = capsys.readouterr().out
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/sonolux"
    command.write_text(f"#!{sys.executable}\nfrom sonolux.core.cli.main import main\nraise SystemExit(main())\n")
    command.chmod(0o755)
    words = "COMP_WORDS=(sonolux train shapes train.warm); COMP_CWORD=3"
    ask = f'{words}; _sonolux_completion sonolux; echo "${{COMPREPLY[*]}}"'
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": f"{tmp_path}:{PARENT}"}
    shown = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ncompopt() {{ :; }}\n{ask}"], env=env, capture_output=True, text=True
    )
    assert (shown.stdout, shown.stderr) == ("train.warmup=\n", "")
