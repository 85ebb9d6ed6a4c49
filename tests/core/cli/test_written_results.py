"""Commands replace their results as a whole: killed at any moment, interrupted, on errors, and by two at once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sonolux.core.cli import _output, calibrate
from sonolux.core.cli.main import main
from sonolux.core.data.prepare import prepare as preparing
from sonolux.core.few_step.calibrate import CalibratedPlan, SamplerSpacingPair
from sonolux.core.pipeline import result
from sonolux.core.pipeline.result import Samples
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.checkpoint import newest_checkpoint, read_header
from sonolux.core.util.atomic_replace import reserve_folder
from sonolux.modalities.image.modality import Image as Pictures

sys.path.insert(0, str(Path(__file__).parents[2]))
from _kills import child, kill_everywhere


def made(count, value=0.5):
    media = [torch.full((1, 8, 8), value) for _ in range(count)]
    return Samples(media, [{"label": f"l{value}"} for _ in media], {"seed": 1}, Pictures(8, 1))


@contextmanager
def model_of(samples, monkeypatch):
    """`sonolux sample` and `edit` load a model that makes these samples."""
    recipe = SimpleNamespace(sample=SimpleNamespace(device="cpu"))
    methods = dict.fromkeys(("sample", "vary", "inpaint", "extend"), lambda *_, **__: samples)
    pipeline = SimpleNamespace(recipe=recipe, to=lambda device: None, **methods)
    with monkeypatch.context() as patch:
        patch.setattr("sonolux.core.pipeline.load.load", lambda *_, **__: pipeline)
        yield


def content(folder):
    """Name -> bytes of the files in a folder, without those of commands."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in files.items() if ".sonolux." not in name}


def quietly(arguments):
    """The command without its output, as a function that returns the exit code."""

    def command():
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        return main([str(a) for a in arguments])

    return command


def check_kills(arguments, out, start, new, every=1):
    """After a kill, the same command gives the new result; before it puts it in place, the old one is whole.

    `every` = 3: kills at every third file operation, for a command that writes as another one does.
    """
    seen = set()

    def restart():
        shutil.rmtree(out, ignore_errors=True)
        if start is not None:
            shutil.copytree(start, out)

    def check():
        moving = (out / ".sonolux.ready").exists()
        state = {} if not out.exists() else content(out)
        seen.add("old" if start is not None and state == content(start) else "new" if state == new else "")
        if not moving and state:
            assert state == new or (start is not None and state == content(start)), sorted(state)
        code = child(quietly(arguments)) if state != new or start is not None else False
        assert code is False and content(out) == new
        assert state == new or not [p.name for p in out.iterdir() if p.name.startswith(".sonolux")]
        restart()

    restart()
    assert kill_everywhere(quietly(arguments), out, check, every) > 25 // every
    assert "new" in seen and ("old" in seen or start is None)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """(folder of an earlier result with a file of the user, content of a new one, model that makes it)."""
    with model_of(made(3, 0.9), monkeypatch):
        assert main(["sample", "run", "--out", str(tmp_path / "old")]) == 0
    with model_of(made(2), monkeypatch):
        assert main(["sample", "run", "--out", str(tmp_path / "new")]) == 0
        new = content(tmp_path / "new")
        yield tmp_path / "old", new


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "every"), [(["sample", "run"], 1), (["edit", "run", "vary", __file__], 3)], ids=["sample", "edit"]
)
def test_samples_survive_kills(results, tmp_path, command, every):
    old, new = results
    (old / "notes.txt").write_bytes(b"mine")
    ask = [*command, "--out", tmp_path / "out", "--overwrite"]
    check_kills(ask, tmp_path / "out", old, {**new, "notes.txt": b"mine"}, every)


@pytest.mark.slow
def test_first_samples_survive_kills(results, tmp_path):
    check_kills(["sample", "run", "--out", tmp_path / "out"], tmp_path / "out", None, results[1])


@pytest.mark.slow
def test_planted_writing_in_place_is_caught(results, tmp_path, monkeypatch):
    @contextmanager
    def in_place(folder, old):
        folder.mkdir(exist_ok=True)
        for name in old():
            (folder / name).unlink()
        yield folder

    monkeypatch.setattr(result, "replace_files", in_place)
    assert_caught(check_kills, ["sample", "run", "--out", tmp_path / "out", "--overwrite"], tmp_path / "out", *results)


@pytest.mark.slow
def test_reports_survive_kills(tmp_path, monkeypatch):
    def evaluate(case, part, folder, **_):
        made(2, case.recipe.value).write(part / "samples")

    def write(report, part, embed):
        (part / "report.html").write_text("page")
        (part / "metrics.json").write_text(json.dumps({"made by": "sonolux eval"}))

    def source(run, changes, **_):
        recipe = SimpleNamespace(
            value=float(changes[0]),
            data=SimpleNamespace(params={}),
            eval=SimpleNamespace(cache=None, page_megabytes=1),
        )
        return SimpleNamespace(recipe=recipe, checkpoint=None)

    monkeypatch.setattr("sonolux.core.evaluation.evaluate.evaluate", evaluate)
    monkeypatch.setattr("sonolux.core.evaluation.report.page.write_report", write)
    monkeypatch.setattr("sonolux.core.evaluation.report.table.table_lines", lambda report: [])
    monkeypatch.setattr("sonolux.core.evaluation.evaluation_input.open_evaluation_input", source)
    for name, value in (("old", "0.9"), ("new", "0.5")):
        assert main(["eval", "run", value, "--out", str(tmp_path / name)]) == 0
    ask = ["eval", "run", "0.5", "--out", tmp_path / "out", "--overwrite"]
    check_kills(ask, tmp_path / "out", tmp_path / "old", content(tmp_path / "new"), every=2)


@pytest.mark.slow
def test_prepared_folders_survive_kills(tmp_path, monkeypatch):
    """A complete manifest stays until the next one is complete; summary and manifest always describe the same files."""
    monkeypatch.setattr(preparing, "plot_distributions", lambda path, panels, title: path.write_text("picture"))
    root, out = tmp_path / "pictures", tmp_path / "out"
    root.mkdir()

    def add(number):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (20, 20, 3), np.uint8)).save(
            root / f"{number}.png"
        )

    def state():
        lines = (out / "manifest.jsonl").read_text().splitlines() if (out / "manifest.jsonl").exists() else []
        complete = bool(lines) and json.loads(lines[0])["complete"]
        files = json.loads((out / "summary.json").read_text())["files"] if (out / "summary.json").exists() else None
        return complete, len(lines) - 1, files

    for number in range(2):
        add(number)
    start, seen = tmp_path / "start", set()
    assert main(["prepare", str(root), "--out", str(start)]) == 0
    shutil.copytree(start, out)
    add(2)

    def check():
        complete, lines, files = state()
        assert complete and ((out / ".sonolux.ready").exists() or lines == files), "the earlier manifest was lost"
        seen.add(lines)
        assert child(quietly(["prepare", root, "--out", out])) is False
        assert state() == (True, 3, 3) and not (out / "manifest.partial.jsonl").exists()
        assert not [p.name for p in out.iterdir() if p.name.startswith(".sonolux")]
        shutil.rmtree(out)
        shutil.copytree(start, out)

    assert kill_everywhere(quietly(["prepare", root, "--out", out]), out, check) > 25
    assert seen == {2, 3}


@pytest.fixture
def quick_calibration(monkeypatch):
    """Calibration finds each plan at once."""
    from sonolux.core.samplers.euler import Euler
    from sonolux.core.schedulers.edm import EDM

    schedule = EDM()

    def found(pipeline, wanted, count, seed, quiet):
        for n in wanted:
            plan = Euler().plan(schedule, [schedule.level(t) for t in range(n + 1, 0, -1)])
            figures = {"nfe": n, "error": 1.0, "stock": "heun on karras", "stock_error": 2.0, "ratio": 0.5}
            yield CalibratedPlan(n, plan, "heun", 1.0, SamplerSpacingPair("heun", "karras", 2.0)), figures

    monkeypatch.setattr(calibrate, "_calibrate", found)
    monkeypatch.setattr("sonolux.core.pipeline.load.load", lambda *_, **__: None)


@pytest.mark.slow
def test_calibrated_plans_survive_kills(tiny_run, tmp_path, quick_calibration):
    """A kill loses no plan that was stored, and only the one in the making; the weights stay."""
    run, start = tmp_path / "run", tiny_run("image")
    shutil.copytree(start, run)
    assert main(["calibrate", str(run), "--nfe", "3"]) == 0
    shutil.copytree(run, tmp_path / "start")
    weights, seen = newest_checkpoint(run).read_bytes()[-1000:], set()

    def check():
        seen.add(tuple(read_header(newest_checkpoint(run)).plans))
        assert newest_checkpoint(run).read_bytes()[-1000:] == weights
        assert child(quietly(["calibrate", run, "--nfe", "4,5"])) is False
        assert set(read_header(newest_checkpoint(run)).plans) == {3, 4, 5}
        assert not list(run.rglob(".sonolux*"))
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "start", run)

    assert kill_everywhere(quietly(["calibrate", run, "--nfe", "4,5"]), run, check) > 10
    assert seen == {(3,), (3, 4), (3, 4, 5)}


def check_not_finite(old, out, capsys):
    shutil.copytree(old, out)
    assert main(["sample", "run", "--out", str(out), "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert "finite" in said and ".sonolux" not in said
    assert content(out) == content(old) and len(list(out.iterdir())) == len(content(old))


def test_samples_that_are_not_finite_replace_nothing(results, tmp_path, monkeypatch, capsys):
    samples = made(4)
    samples.media[2] = torch.full((1, 8, 8), float("nan"))
    with model_of(samples, monkeypatch):
        check_not_finite(results[0], tmp_path / "out", capsys)


def test_a_full_disk_replaces_nothing(results, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    shutil.copytree(results[0], out)

    def full(self, path, media, captions=()):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Pictures, "sheet", full)
    assert main(["sample", "run", "--out", str(out), "--overwrite"]) == 1
    said = capsys.readouterr().err
    assert said == f"{out / 'sheet.png'}: No space left on device: free some space, then run the same command again\n"
    assert content(out) == content(results[0]) and len(list(out.iterdir())) == len(content(out))


@pytest.mark.slow
def test_two_commands_do_not_write_to_one_folder(results, tmp_path, capsys):
    for arguments in (
        ["sample", "run", "--out"],
        ["edit", "run", "vary", __file__, "--out"],
        ["eval", "run", "--out"],
        ["prepare", str(results[0]), "--out"],
        ["train", "synth_sfx", "--out"],
    ):
        out = tmp_path / arguments[0]

        def refused(arguments=arguments, out=out):
            code = main([*arguments, str(out)])
            return 0 if code == 2 and f"{out} is being written by process" in capsys.readouterr().err else 1

        with reserve_folder(out):
            child(refused)
        assert not out.exists()


# --- signals and output ---

START = """
import builtins, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell hands it down ignored
from sonolux.core.cli import __main__ as start
true = builtins.__import__
def imported(name, *rest):
    if name == "click":
        os.kill(os.getpid(), signal.NUMBER)
    return true(name, *rest)
builtins.__import__ = imported
sys.exit(start.main())
"""


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_during_the_imports_ends_in_one_line(number, code):
    by = "" if number == "SIGINT" else f" by {number}"
    done = subprocess.run([sys.executable, "-c", START.replace("NUMBER", number)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"interrupted{by}\n")


def process(*arguments, **options):
    """A real command whose signals are not ignored, as those of a background shell would be."""

    def default():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, "-m", "sonolux.core.cli", *map(str, arguments)], text=True, preexec_fn=default, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("numbers", "code"),
    [([signal.SIGINT] * 30, 130), ([signal.SIGTERM], 143), ([signal.SIGHUP, signal.SIGTERM], 129)],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_a_training_is_saved_and_ends_in_one_line(tiny_recipe, tmp_path, numbers, code):
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"].replace("condition:", "conditioning:"))
    changes = ["train.steps=100000", "train.log_every=1", "--quiet"]
    run = process("train", tmp_path / "tiny.yaml", *changes, "--out", tmp_path / "run", stderr=subprocess.PIPE)
    limit = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    for number in numbers:
        run.send_signal(number)
        time.sleep(0.01)
    said = run.communicate(timeout=120)[1].strip()
    assert run.returncode == code and len(said.splitlines()) == 1
    step = int(newest_checkpoint(tmp_path / "run").stem[-8:])
    assert said.startswith(f"stopped at step {step}, saved; continue with: sonolux train --resume")
    assert main(["train", "--resume", str(tmp_path / "run"), f"train.steps={step + 1}", "--quiet"]) == 0


@pytest.mark.slow
def test_output_that_nobody_reads(tiny_recipe, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    shown = process("recipe", "list", stdout=writer, stderr=subprocess.PIPE)
    assert shown.communicate(timeout=120)[1] == "" and shown.returncode == 141
    (tmp_path / "tiny.yaml").write_text(tiny_recipe["image"])
    run = process("train", tmp_path / "tiny.yaml", "--out", tmp_path / "run", stdout=writer, stderr=writer)
    assert run.wait(120) == 0 and newest_checkpoint(tmp_path / "run").stem == "step-00000004"
    os.close(writer)


def test_a_stream_that_lasts_discards_and_the_other_one_raises(monkeypatch):
    for lasting in (True, False):
        reader, writer = os.pipe()
        os.close(reader)
        stream = _output.ClosableStream(open(writer, "w"), lasting)  # noqa: SIM115
        stream.write("buffered")
        if lasting:
            stream.flush()
        else:
            with pytest.raises(_output.OutputClosed):
                stream.flush()
        stream.write("discarded")
        stream.flush()
        assert stream.writable()
    monkeypatch.setattr(sys, "stdout", stream)
    _output.ignore_closed_output()
    assert stream.lasting
