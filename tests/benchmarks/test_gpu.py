"""The benchmark of one GPU at toy size: every section prints its table, and one that fails does not stop the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from sonolux.core.testing.mutation import assert_caught

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import _gpu_networks
import _gpu_sections
import gpu
from _gpu_networks import TOY

needs_diffusers = pytest.mark.skipif(
    not gpu.package_version("diffusers"), reason="diffusers is not installed (extra peers)"
)


@pytest.mark.slow
def test_every_section_runs_on_a_cpu(tmp_path, capsys):
    assert gpu.main(["--smoke", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "results.json").read_text())
    assert [one["name"] for one in found["sections"]] == list(_gpu_sections.SECTIONS)
    assert all(one["error"] is None and one["figures"] for one in found["sections"])
    names = {figure["name"]: figure["value"] for one in found["sections"] for figure in one["figures"]}
    assert names["U-Net, ours, pictures/s"] > 0 and names["DiT, not compiled, pictures/s"] > 0
    assert names["steps"] == 4 and any("frechet" in name for name in names), names
    markdown = (tmp_path / "results.md").read_text()
    assert all(one["title"] in said and f"## {one['title']}" in markdown for one in found["sections"])


def check_failures(folder, capsys):
    """The first section fails, the second is run and printed; the exit code says so."""
    words = ["--only", "training", "--only", "matmul", "--smoke", "--out", str(folder)]
    assert gpu.main(words) == 2
    said = capsys.readouterr()
    assert (
        "before" in said.out
        and "FAILED" in said.out
        and "RuntimeError: no memory" in said.out
        and "TFLOP/s" in said.out
    )
    assert "failed: training" in said.err
    found = json.loads((folder / "results.json").read_text())["sections"]
    assert [bool(one["error"]) for one in found] == [True, False]


def test_a_section_that_fails_does_not_stop_the_others(tmp_path, capsys, monkeypatch):
    def fail(options, table):
        table.add("before", 1.0)
        raise RuntimeError("no\nmemory")

    monkeypatch.setitem(gpu.SECTIONS, "training", (fail, 1.0))
    check_failures(tmp_path, capsys)
    true = gpu.run_section
    with monkeypatch.context() as patch:
        patch.setattr(gpu, "run_section", lambda name, options: {**true("matmul", options), "name": name})
        assert_caught(check_failures, tmp_path, capsys)


@pytest.mark.slow
def test_a_section_in_a_process_of_its_own(tmp_path, monkeypatch):
    options = gpu.Options(tmp_path, 60.0, True)
    result = gpu.run_section_apart("matmul", options)
    assert result["error"] is None and result["figures"][0]["value"] > 0 and list(tmp_path.iterdir()) == []
    gpu.section_files(tmp_path, "matmul")[1].write_text(
        '["Half", [{"name": "a", "value": 1, "form": "{}", "note": ""}]]'
    )
    monkeypatch.setattr(gpu, "START", 0.0)
    late = gpu.run_section_apart("matmul", gpu.Options(tmp_path, 0.05, True))
    assert late["error"] == "stopped after 0 s" and late["title"] == "Half" and late["figures"][0]["name"] == "a"


def test_a_process_that_dies_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.sys, "executable", "/bin/false")
    error = gpu.run_section_apart("matmul", gpu.Options(tmp_path, 5.0, True))["error"]
    assert error == "its process ended with exit code 1: no message"


def test_the_budgets_are_ten_minutes():
    assert sum(seconds for _, seconds in _gpu_sections.SECTIONS.values()) == 600


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_names_the_remedy(tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path)]) == 2
    assert "--smoke" in capsys.readouterr().err


def test_the_data_is_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("SONOLUX_DATA", raising=False)
    result = gpu.run_section("cifar10", gpu.Options(tmp_path, 1.0, False))
    assert "SONOLUX_DATA" in result["error"]


@needs_diffusers
@pytest.mark.parametrize("name", list(_gpu_networks.PAIRS))
def test_the_networks_of_a_pair_are_alike(name):
    """Both map pictures to pictures; at the measured size their weights differ by less than a factor of two."""
    ours, theirs = (build(TOY) for build in _gpu_networks.PAIRS[name])
    x, t = torch.zeros(2, 3, TOY.pixels, TOY.pixels), torch.zeros(2)
    assert ours(x, t).shape == _gpu_networks.output_of(theirs(x, t)).shape == x.shape
    with torch.device("meta"):
        ours, theirs = (build(_gpu_networks.PairSize()) for build in _gpu_networks.PAIRS[name])
    ratio = sum(p.numel() for p in theirs.parameters()) / sum(p.numel() for p in ours.parameters())
    assert 0.5 < ratio < 2, ratio
