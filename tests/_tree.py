"""What the structure tests know of the source tree: its modules and which of them imports which at run time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = sorted(p for folder in ("core", "modalities") for p in (ROOT / folder).rglob("*.py"))


def name_of(path: Path, root: Path = ROOT) -> str:
    """The dotted name of a file of the package: core/nn/unet.py -> sonolux.core.nn.unet."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(("sonolux", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def eager(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run when the file is imported: not those inside functions, nor under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from eager(node)


def imported(path: Path, modules: set[str], name: str, lazy: bool = False) -> set[str]:
    """The package's own modules that a file imports; with `lazy`, those inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = (n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))) if lazy else eager(tree)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name in modules}
            continue
        parts = package.split(".")
        above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
        base = ".".join(p for p in (above, node.module or "") if p)
        for a in node.names:
            full = f"{base}.{a.name}"
            found.add(full if full in modules else base)
    return (found & modules) - {name}


def graph(lazy: bool = False) -> dict[str, set[str]]:
    """module -> the modules of the package that it imports."""
    names = {name_of(p): p for p in [ROOT / "__init__.py", *PRODUCT]}
    return {name: imported(path, set(names), name, lazy) for name, path in names.items()}


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other in a circle: strongly connected components (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found
