"""Names that hold escape sequences, markup and line ends: no command prints them as they are, no page runs them."""

import json
import warnings
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image
from sonolux.core.cli import main as cli
from sonolux.core.cli.main import main
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.util import messages
from sonolux.core.util.messages import escape_control_characters, format_json

HOSTILE = "a\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp\u2066\u200b\x7f<img src=x onerror=alert(1)>"
PICTURE = "{} \x1b[1m\n\u202e.png"
CLASSES = (HOSTILE, "two\nlines", "\x1b[31mred", "ä 中 👍🏽")
RECIPE = """
recipe: 1
name: "\\x9b31m \\u202egnp <b>"
about: "\\x1b[2J \\u202e"
modality: {{use: image, size: 16, channels: 3}}
data: {{use: image/folder, root: {root}, split: {{valid: 0.3}}}}
codec: {{use: image/pixels}}
network: {{use: image/unet, width: 8, stages: [1], blocks: 1, patch: 4}}
conditioning: {{label: {{use: class}}}}
train: {{steps: 2, batch: 4, warmup: 1, preview_every: 100, precision: float32, device: cpu}}
sample: {{use: dpmpp_2m, steps: 2, count: 4, batch: 4}}
eval: {{count: 8, repeats: 10, page_samples: 4}}
"""


def commands(group=cli.cli, above=()):
    """The words of every command and subcommand."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name)


def check_said(capsys):
    said = capsys.readouterr()
    hidden = {c for c in said.out + said.err if c != "\n" and escape_control_characters(c) != c}
    assert not hidden, f"printed as it is: {sorted(map(ascii, hidden))}"
    return said


def check_refusal(words, capsys):
    """A command that gets nothing but hostile arguments reports them escaped."""
    for arguments in ([HOSTILE], [HOSTILE] * 3, [f"--{HOSTILE}"], [f"{HOSTILE}={HOSTILE}", "--out", HOSTILE]):
        code = main([*words, *arguments])
        said = check_said(capsys)
        assert code or words[0] in ("init",), said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("words", [("nothing-like-it",), *commands()], ids=" ".join)
def test_errors_of_every_command(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if words[0] == "doctor":
        assert main(["doctor", HOSTILE]) == 2
        check_said(capsys)
        return
    check_refusal(words, capsys)


def test_printing_as_it_is_is_caught(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(messages, "escape_control_characters", str)
    assert_caught(check_refusal, ("sample",), capsys)


def test_warnings_and_tracebacks(monkeypatch, capsys):
    monkeypatch.setattr(cli.Commands, "files", lambda self: {"boom": Path("boom.py")})

    @click.command("boom")
    def command():
        raise ValueError(HOSTILE)

    monkeypatch.setattr(cli.Commands, "get_command", lambda self, ctx, name: command)
    for debug in ("0", "1"):
        monkeypatch.setenv("SONOLUX_DEBUG", debug)
        assert main(["boom"]) == 1
        assert r"ValueError: a\x1b[2J" in check_said(capsys).err
    for category in (UserWarning, DeprecationWarning):
        text = warnings.formatwarning(HOSTILE + "\n", category, "x.py", 1)
        assert text.endswith("\\n\n") and escape_control_characters(text[:-1]) == text[:-1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of pictures in hostile classes, a recipe, and a run of it."""
    folder = tmp_path_factory.mktemp("hostile") / HOSTILE
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "data" / name).mkdir(parents=True)
        for i in range(8):
            picture = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            picture.save(folder / "data" / name / PICTURE.format(i))
    (folder / "recipe.yaml").write_text(RECIPE.format(root=format_json(str(folder / "data"))))
    assert main(["train", str(folder / "recipe.yaml"), "--out", str(folder / "run"), "--quiet"]) == 0
    return folder


def successes(folder, out):
    """Command -> arguments with which it succeeds on the hostile run."""
    run, picture = folder / "run", folder / "data" / HOSTILE / PICTURE.format(0)
    arms = ["--vary", "train.batch=2,3", "--seeds", "1", "--steps", "1"]
    return {
        "ablate": [folder / "recipe.yaml", *arms, "--out", out / "ablation", "--quiet"],
        "completion": ["bash"],
        "models": [],
        "plan": [folder / "recipe.yaml", "--steps", "1"],
        "prepare": [folder / "data", "--out", out / "prepared"],
        "train": [folder / "recipe.yaml", "--out", out / "again", "train.steps=1", "--quiet"],
        "watch": [run],
        "sample": [run, f"label={format_json(HOSTILE)}", "count=2", "--out", out / "samples"],
        "edit": [run, "vary", picture, "--out", out / "edited"],
        "eval": [run, "--out", out / "report"],
        "calibrate": [run, "--nfe", "2", "--count", "2"],
        "recipe show": [run],
        "recipe validate": [folder / "recipe.yaml"],
        "recipe list": [],
        "recipe schema": ["--out", out / f"{HOSTILE}.json"],
        "plugins list": ["--kind", "sampler"],
        "plugins show": ["euler"],
        "init": [out / HOSTILE, "--from", "shapes"],
        "lab likelihood": [run, "--count", "1", "--probes", "2", "--steps", "2", "--device", "cpu"],
        "lab sampler": ["{use: ddim, eta: 0.0}", "--nfe", "5", "--schedule", "edm", "--against", "euler"],
        "doctor": [],
        "studio": ["--help"],  # it serves until it is ended
    }


def test_every_command_has_a_case():
    assert {" ".join(words) for words in commands()} == set(successes(Path(), Path()))


@pytest.mark.slow
@pytest.mark.parametrize("name", successes(Path(), Path()))
def test_what_every_command_prints(made, tmp_path, capsys, name):
    out = tmp_path / HOSTILE
    out.mkdir()
    arguments = [*name.split(), *map(str, successes(made, out)[name])]
    assert main(arguments) == 0, capsys.readouterr()
    said = check_said(capsys)
    if name in ("sample", "eval", "recipe show", "recipe validate"):
        assert main([*arguments, "--json", *(["--overwrite"] if "--out" in arguments else [])]) == 0
        json.loads(check_said(capsys).out)
    if name == "sample":
        facts = json.loads((out / "samples/samples.json").read_text(encoding="utf-8"))
        assert [row["label"] for row in facts["samples"]] == [HOSTILE] * 2, "the text itself is kept"
        assert all((out / "samples" / row["file"]).is_file() for row in facts["samples"])
        assert r"a\x1b[2J" in said.out
    if name == "eval":
        assert json.loads((out / "report/metrics.json").read_text(encoding="utf-8"))["classes"] == sorted(CLASSES)
        text = (out / "report/report.html").read_text(encoding="utf-8")
        assert all(c == "\n" or escape_control_characters(c) == c for c in text) and "<img src=x" not in text
    if name == "prepare":
        assert main(["recipe", "validate", str(out / "prepared/recipe.yaml")]) == 0
        check_said(capsys)
