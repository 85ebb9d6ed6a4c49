"""Run the notebooks of docs/notebooks and store their outputs, without times and versions that change at every run.

python docs/run_notebooks.py [NAME ...]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent / "notebooks"


def run_notebook(path: Path) -> None:
    """Run the cells of a notebook in a temporary folder, and replace the file."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}).execute(
            cwd=folder
        )
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":  # progress is of this machine
            cell.outputs = [one for one in cell.outputs if one.output_type != "stream" or one.name != "stderr"]
    nbformat.write(notebook, path)


def main(names: Sequence[str]) -> None:
    """Run the named notebooks, or all."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            run_notebook(path)
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
