"""The structure of the package: one class, one name; no import cycles; the layers of the import-linter contract."""

import ast
import sys
from pathlib import Path

import pytest
from sonolux.core.config import registry

sys.path.insert(0, str(Path(__file__).parent))
from _tree import PRODUCT, ROOT, cycles, graph


def class_names() -> dict[str, list[str]]:
    """Name -> the files that define a public class of this name; registered components may share one across kinds."""
    components = {
        path.resolve() for kind in registry.component_kinds() for path in registry.builtin_files(kind).values()
    }
    found: dict[str, list[str]] = {}
    for path in PRODUCT:
        if path in components:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    return found


@pytest.mark.slow
def test_a_class_name_occurs_once():
    several = {name: files for name, files in class_names().items() if len(files) > 1}
    assert several == {}, "one name, one class: " + "; ".join(f"{n}: {', '.join(f)}" for n, f in several.items())


def function_names() -> dict[str, list[str]]:
    """Name -> the files that define a public function of this name; the commands of core/cli are left out."""
    found: dict[str, list[str]] = {}
    for path in PRODUCT:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and path.parent.name != "cli":
                found.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    return found


@pytest.mark.slow
def test_a_function_name_means_one_thing():
    """Of several modules with functions of one name, all are in modalities: they fulfil one contract."""
    several = {name: files for name, files in function_names().items() if len(files) > 1}
    wrong = {name: files for name, files in several.items() if not all(f.startswith("modalities/") for f in files)}
    assert wrong == {}, "one name, one meaning: " + "; ".join(f"{n}: {', '.join(f)}" for n, f in wrong.items())


@pytest.mark.slow
def test_no_module_imports_itself_through_others():
    assert cycles(graph()) == []


@pytest.mark.slow
def test_not_even_through_imports_inside_functions():
    assert cycles(graph(lazy=True)) == []


def test_a_cycle_is_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}
    assert cycles(edges) == [["a", "b", "c"]]
    assert cycles({**edges, "c": {"d"}}) == []
    assert cycles({**edges, "e": {"d"}}) == [["d", "e"], ["a", "b", "c"]]


@pytest.mark.slow
def test_relative_imports_are_resolved():
    edges = graph()
    assert "sonolux.core.samplers.base" in edges["sonolux.core.samplers.heun"]
    assert sum(map(len, edges.values())) > len(PRODUCT)
