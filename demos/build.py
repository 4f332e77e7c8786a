"""Runs the notebooks and keeps what they show: `python demos/build.py [NAME ...]`; with --check nothing is written.

A notebook is written as NAME.py, in cells that begin with `# %%`, and kept beside it as NAME.ipynb with its players and
pictures.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
OTHERS = ("build", "listen")
"""Scripts of this folder that are no notebooks."""


def sources() -> list[Path]:
    """The scripts of all notebooks."""
    return sorted(path for path in HERE.glob("*.py") if path.stem not in OTHERS)


def run(source: Path) -> nbformat.NotebookNode:
    """The notebook of a script, with its outputs."""
    notebook = jupytext.read(source, fmt="py:percent")
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}
    )
    client.execute()
    return _plain(notebook)


def _plain(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what differs from run to run and says nothing: times, ids, versions."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    )
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
        # Progress and warnings are for whoever sits before the screen.
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="notebooks without suffix; default: all")
    parser.add_argument("--check", action="store_true", help="run them, and write nothing")
    arguments = parser.parse_args()
    for source in sources():
        if arguments.names and source.stem not in arguments.names:
            continue
        began = time.monotonic()
        notebook = run(source)
        if not arguments.check:
            nbformat.write(notebook, source.with_suffix(".ipynb"))
        print(f"{source.stem}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
