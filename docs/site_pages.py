"""Pages of the docs site that are generated from the repository: front page, API, recipes, gallery and navigation."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parents[1]
GUIDES = (
    "how-it-works",
    "architecture",
    "glossary",
    "samplers",
    "models",
    "sound",
    "editing",
    "studio",
    "evaluation",
    "training-log",
    "scaling",
    "plugins",
)  # first in the navigation; the other pages follow


def write(path: str, text: str) -> None:
    """Add a generated page to the site."""
    with mkdocs_gen_files.open(path, "w") as page:
        page.write(text)


def at_root(text: str) -> str:
    """The Markdown of a file in the repository's root, with its links changed to links of the site."""
    text = re.sub(r"(\]\()docs/", r"\1", text)
    text = re.sub(r"\]\((CONTRIBUTING|CHANGELOG)\.md", lambda m: f"]({m[1].lower()}.md", text)
    not_on_site = r"(?:examples|benchmarks|recipes|core|modalities|tests|LICENSE)[^)]*"
    return re.sub(rf"(?<!!)\[([^\]]*)\]\((?:\./)?{not_on_site}\)", r"\1", text)


def front_pages() -> list[str]:
    """Adds README, CONTRIBUTING and CHANGELOG.

    Returns:
        Lines of the navigation.
    """
    rows = []
    for file, page, title in (
        ("README.md", "index.md", "sonolux"),
        ("CONTRIBUTING.md", "contributing.md", "Contributing"),
        ("CHANGELOG.md", "changelog.md", "Changes"),
    ):
        if (ROOT / file).exists():
            write(page, at_root((ROOT / file).read_text(encoding="utf-8")))
            rows.append(f"* [{title}]({page})")
    return rows


def title_of(page: Path) -> str:
    """The first heading of a page."""
    return title_of_text(page.read_text(encoding="utf-8"), page.stem)


def title_of_text(text: str, name: str) -> str:
    """The first heading of a text; the name if there is none."""
    found = re.search(r"^# (.+)", text, re.M)
    return found[1] if found else name.replace("-", " ").capitalize()


def guides() -> list[str]:
    """Navigation of the pages of docs/: those of GUIDES in this order, then the others."""
    pages = {p.stem: p for p in sorted((ROOT / "docs").glob("*.md"))}
    order = [n for n in GUIDES if n in pages] + [n for n in pages if n not in GUIDES]
    return [f"    * [{title_of(pages[name])}]({name}.md)" for name in order]


def recipes() -> list[str]:
    """Adds one page per modality with its recipes, and the command and the results from the head of each."""
    rows = []
    for folder in sorted(p for p in (ROOT / "recipes").iterdir() if p.is_dir()):
        parts = [f"# Recipes: {folder.name}\n"]
        for file in sorted(folder.glob("*.yaml")):
            text = file.read_text(encoding="utf-8")
            head = re.match(r"(?:#.*\n)+", text)
            lines = [line.lstrip("#").strip() for line in (head[0] if head else "").splitlines()]
            commands = [line for line in lines if line.startswith("sonolux ")]
            notes = " ".join(line for line in lines if line and line not in commands)
            about = re.search(r"^about: *(.+)", text, re.M)
            parts.append(f"## {file.stem}\n")
            parts.append(f"{about[1].strip(chr(34))}\n" if about else "")
            parts.append("```bash\n" + "\n".join(commands) + "\n```\n" if commands else "")
            parts.append(f"{escaped(notes)}\n" if notes else "")
            parts.append(f"```yaml\n{text[head.end() if head else 0 :].strip()}\n```\n")
        write(f"recipes/{folder.name}.md", "\n".join(parts))
        rows.append(f"    * [{folder.name}](recipes/{folder.name}.md)")
    return rows


def notebooks() -> list[str]:
    """Adds a page for each notebook of docs/notebooks, with its stored outputs."""
    rows = []
    for file in sorted((ROOT / "docs/notebooks").glob("*.ipynb")):
        notebook = json.loads(file.read_text(encoding="utf-8"))
        parts = ["\n".join(_cell_lines(cell)) for cell in notebook["cells"]]
        write(f"notebooks/{file.stem}.md", "\n\n".join(parts) + "\n")
        rows.append(f"    * [{title_of_text(parts[0], file.stem)}](notebooks/{file.stem}.md)")
    return rows


def _cell_lines(cell: dict[str, Any]) -> list[str]:
    """A cell of a notebook as Markdown: text as it is, code and its outputs as blocks."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    lines = ["```python", source, "```", ""]
    for output in cell["outputs"]:
        data = output.get("data", {"text/plain": output.get("text", [])})
        if "text/html" in data:
            lines += ["".join(data["text/html"]).replace("\n", ""), ""]
        else:
            lines += ["```text", "".join(data["text/plain"]).rstrip("\n"), "```", ""]
    return lines


def escaped(text: str) -> str:
    """Plain text with the characters escaped that Markdown would interpret."""
    return re.sub(r"([<>*_\[\]])", r"\\\1", text)


def gallery() -> list[str]:
    """Adds a page with every image of docs/images."""
    parts = ["# Gallery\n"]
    for image in sorted((ROOT / "docs/images").glob("*.png")):
        name = image.stem.replace("-", " ").replace("_", " ")
        parts.append(f"## {name}\n\n![{name}](images/{image.name})\n")
    write("gallery.md", "\n".join(parts))
    return ["* [Gallery](gallery.md)"]


def api() -> list[str]:
    """Adds one page per package: its docstring, then every public module."""
    rows = []
    for folder in sorted({p.parent for top in ("core", "modalities") for p in (ROOT / top).rglob("__init__.py")}):
        parts = folder.relative_to(ROOT).parts
        dotted = ".".join(("sonolux", *parts))
        modules = [p for p in sorted(folder.glob("*.py")) if not p.name.startswith("_") and _documented(p)]
        about = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        body = [f"# {'.'.join(parts)}\n", escaped(about) + "\n"]
        body += [f"::: {dotted}.{p.stem}\n" for p in modules]
        if len(body) > 2 or about:
            page = f"api/{'/'.join(parts)}/index.md"
            write(page, "\n".join(body))
            rows.append(f"    * [{'.'.join(parts)}]({page})")
    return rows


def _documented(path: Path) -> bool:
    return bool(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))


front = front_pages()
pages = ["* Guides", *guides(), "* Notebooks", *notebooks(), "* Recipes", *recipes(), *gallery(), "* API", *api()]
lines = [*front[:1], *pages, *front[1:]]
write("SUMMARY.md", "\n".join(lines) + "\n")
