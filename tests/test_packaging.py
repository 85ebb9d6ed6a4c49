"""What installs the package says nothing that the reader need not know."""

import warnings

import pytest
from sonolux.core.config.registry import ROOT


def check_metadata(path):
    """setuptools reads the project's table without a warning."""
    distribution = pytest.importorskip("setuptools.dist").Distribution({"script_name": "test"})
    apply_configuration = pytest.importorskip("setuptools.config.pyprojecttoml").apply_configuration
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        apply_configuration(distribution, path)
    assert not said, str(said[0].message)
    assert distribution.metadata.license_expression == "MIT"


def test_metadata_gives_no_warning():
    check_metadata(ROOT / "pyproject.toml")


def test_planted_licence_table_is_caught(tmp_path):
    text = (ROOT / "pyproject.toml").read_text()
    table = text.replace('license = "MIT"', 'license = { text = "MIT" }').replace('license-files = ["LICENSE"]', "")
    (tmp_path / "pyproject.toml").write_text(table)
    (tmp_path / "README.md").write_text("")
    with pytest.raises(AssertionError, match="table is deprecated"):
        check_metadata(tmp_path / "pyproject.toml")


def test_pip_is_called_in_one_quiet_way():
    lines = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]  # $(PIP) elsewhere
    assert len(lines) == 1 and "--quiet" in lines[0] and "PIP_DISABLE_PIP_VERSION_CHECK=1" in lines[0]
    assert "ignore:Editable" in lines[0]
