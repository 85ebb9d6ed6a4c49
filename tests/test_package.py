"""What the package is made of: who may import whom, what is packaged, what importing costs."""

import ast
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest
import sonolux

try:
    import tomllib
except ImportError:  # Python 3.10
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
MEDIA = {"torchvision", "torchaudio", "soundfile", "PIL", "librosa", "matplotlib"}
PRODUCT = sorted(p for folder in ("core", "modalities") for p in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> list[tuple[int, str]]:
    """(relative level, dotted name) of every import in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, a.name) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
            found += [(node.level, f"{node.module or ''}.{a.name}".strip(".")) for a in node.names]
    return found


def faults(path: Path, relative: Path) -> list[str]:
    """What a product file may not do."""
    rows = []
    for level, name in imports(path):
        head = name.split(".")[0]
        if level == 0 and head == "sonolux":
            rows.append(f"{relative}: absolute import {name}")
        if relative.parts[0] == "core" and level == 0 and head in MEDIA and relative.name != "plots.py":
            rows.append(f"{relative}: core imports {name}")
        if relative.parts[0] == "core" and "modalities" in name.split("."):
            rows.append(f"{relative}: core imports {name}")
    return rows


@pytest.mark.slow
def test_core_knows_no_modality_and_the_package_imports_itself_relatively():
    assert [row for p in PRODUCT for row in faults(p, p.relative_to(ROOT))] == []


@pytest.mark.parametrize("line", ["import torchvision", "from ..modalities import image", "import sonolux.core.types"])
def test_a_forbidden_import_is_caught(tmp_path, line):
    bad = tmp_path / "bad.py"
    bad.write_text(line + "\n")
    assert faults(bad, Path("core/bad.py"))


def test_packages_are_the_folders():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {p.parent.relative_to(ROOT) for p in ROOT.glob("core/**/__init__.py")}
    folders |= {p.parent.relative_to(ROOT) for p in ROOT.glob("modalities/**/__init__.py")}
    assert set(listed) == {"sonolux", *(".".join(("sonolux", *f.parts)) for f in folders)}


def test_every_folder_with_code_is_a_package():
    assert [p for p in {p.parent for p in PRODUCT} if not (p / "__init__.py").exists()] == []


def test_importing_sonolux_loads_no_torch_and_no_pydantic():
    code = "import sys, sonolux; assert sonolux.__version__; print({'torch', 'pydantic', 'yaml'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_dir_shows_the_public_names_and_loads_no_torch():
    code = "import sys, sonolux; print(*(n for n in dir(sonolux) if n[0] != '_'), 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "load sample False\n"
    assert "__version__" in dir(sonolux)


def test_help_describes_the_public_functions():
    shown = pydoc.plaintext.document(sonolux)
    for name in ("load", "sample"):
        assert f"    {name}(" in shown
    assert "__getattr__" not in shown and "TYPE_CHECKING" not in shown


def test_core_refuses_a_second_name():
    done = subprocess.run([sys.executable, "-c", "import core"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "import sonolux.core instead" in done.stderr
