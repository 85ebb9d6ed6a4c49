"""Files of a run, a report and a prepared folder that are damaged: one message, or what is damaged is made again."""

import json
import shutil

import pytest
from sonolux.core.cli.main import main
from sonolux.core.data.prepare import prepare as preparing
from sonolux.core.evaluation.report import folder as report_folder
from sonolux.core.pipeline import result
from sonolux.core.pipeline.sample_list import read_sample_list
from sonolux.core.testing.mutation import assert_caught
from sonolux.core.training.run_dir import RunDir
from sonolux.core.types import BadInput

DEEP = b'{"samples": ' + b"[" * 5000
TEXTS = (b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b'"text"', DEEP, b"9" * 5000, b'{"samples": 3}', b"\x00" * 50)


# --- samples.json ---


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:20]))
def test_a_damaged_list_of_samples(tmp_path, text):
    (tmp_path / "samples.json").write_bytes(text)
    with pytest.raises(BadInput, match=r"samples\.json: damaged: "):
        read_sample_list(tmp_path / "samples.json")
    assert result.saved_sample_files(tmp_path) == ["samples.json"], "only the list itself would be replaced"


def check_file(tmp_path, name):
    (tmp_path / "samples.json").write_text(json.dumps({"samples": [{"file": "a.png"}, {"file": name}]}))
    with pytest.raises(BadInput, match=r"samples\.1\.file: "):
        read_sample_list(tmp_path / "samples.json")


@pytest.mark.parametrize(
    "name", ["../x.png", "/etc/passwd", "a/../../b", "", ".", "a\x00b", "x" * 300, "..\\x.png", None, 3, ["a"]]
)
def test_a_file_outside_the_folder(tmp_path, name):
    check_file(tmp_path, name)


def test_trust_in_names_is_caught(tmp_path, monkeypatch):
    true = json.dumps
    monkeypatch.setattr(json, "dumps", lambda value: true(value).replace("../x.png", "x.png"))
    with pytest.raises(pytest.fail.Exception):
        check_file(tmp_path, "../x.png")


def test_what_sampling_writes_is_read(tmp_path):
    facts = {"samples": [{"file": "a/0.png", "label": "x", "nfe": 3}, {"file": "1.png"}], "settings": {"seed": 1}}
    (tmp_path / "samples.json").write_text(json.dumps(facts))
    found = read_sample_list(tmp_path / "samples.json")
    assert [(s.file, s.label) for s in found.samples] == [("a/0.png", "x"), ("1.png", None)] and found.settings[
        "seed"
    ] == 1


@pytest.mark.slow
def test_eval_of_a_folder_with_a_damaged_list(tiny_pictures, tmp_path, capsys):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples/samples.json").write_bytes(DEEP)
    out = ["--out", str(tmp_path / "out")]
    assert main(["eval", str(tiny_pictures), "--folder", str(tmp_path / "samples"), *out]) == 2
    assert "samples.json: damaged: " in capsys.readouterr().err and not (tmp_path / "out").exists()


# --- a report, a run ---


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:20]))
def test_damaged_metrics_are_no_report(tmp_path, text):
    (tmp_path / "metrics.json").write_bytes(text)
    with pytest.raises(BadInput, match="is no report"):
        report_folder.check_report_folder(tmp_path, True)


@pytest.mark.slow
@pytest.mark.parametrize("text", [b"{", b"3", b'{"hash": 3}', b'{"hash": "a"}\n{"hash": [1]}', b"\xff"])
def test_eval_with_a_damaged_list_of_data(tiny_pictures, tmp_path, capsys, text):
    run = tmp_path / "run"
    shutil.copytree(tiny_pictures, run)
    (run / "data.jsonl").write_bytes(text)
    assert main(["eval", str(run), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    place = f"data.jsonl:{len(text.splitlines())}: damaged: "
    assert place in said and not (tmp_path / "out").exists()


def check_log(tmp_path, recwarn):
    good = [json.dumps({"step": step, "loss": 0.5}).encode() for step in (1, 2, 3)]
    bad = [b"{", b"\xff", b'{"step": "1"}', b'{"step": [1]}', b"null", b"[" * 5000]
    folder = RunDir(tmp_path)
    folder.metrics.write_bytes(b"\n".join([good[0], *bad, good[1], good[2], b'{"step": 2, "lo']))
    folder.truncate_log(2)
    assert folder.metrics.read_bytes() == b"".join(line + b"\n" for line in good[:2])
    assert [str(w.message).rpartition(": ")[2] for w in recwarn] == ["6 damaged lines removed"]


def test_a_damaged_log(tmp_path, recwarn):
    check_log(tmp_path, recwarn)


def test_a_log_that_keeps_damaged_lines_is_caught(tmp_path, recwarn, monkeypatch):
    monkeypatch.setattr("sonolux.core.training.run_dir._step_of", lambda line: 0.0)
    assert_caught(check_log, tmp_path, recwarn, also=(UnicodeDecodeError,))


# --- a prepared folder ---


@pytest.fixture
def prepared(made_sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "plot_distributions", lambda path, panels, title: path)
    made_sounds(tmp_path / "sounds", 4)
    assert main(["prepare", str(tmp_path / "sounds"), "--out", str(tmp_path / "out")]) == 0
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", [*TEXTS, b'{"near_copies": [{"files": ["a"], "likeness": "x"}]}', b'{"recipe_sha256": 3}']
)
def test_a_damaged_summary_is_written_again(prepared, text):
    before = (prepared / "out/manifest.jsonl").read_bytes()
    (prepared / "out/summary.json").write_bytes(text)
    assert main(["prepare", str(prepared / "sounds"), "--out", str(prepared / "out")]) == 0
    assert json.loads((prepared / "out/summary.json").read_text())["usable"] == 12
    assert (prepared / "out/manifest.jsonl").read_bytes() == before
