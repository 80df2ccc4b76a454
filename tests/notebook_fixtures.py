"""Small notebooks for the tests of the runner and of the hygiene rules."""

import base64
import io as bytes_io
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4
from PIL import Image

from helpers import io

STANDARD = """\
dataset: str = "movielens-100k"  # name or path
processed_dir: str = "../data/processed/movielens-100k"  # folder of derived data
reports_dir: str = "../reports"  # folder of the reports
"""
MIDDLE = "02_middle.ipynb"
NEIGHBOURS = ("01_first.ipynb", "03_last.ipynb")
ANSWER = "It holds, by **1** to 0."
N_CELLS = 25


def png(colours: tuple[int, int] = (0, 255)) -> str:
    image = Image.new("L", (20, 20), colours[0])
    image.putpixel((10, 10), colours[1])
    file = bytes_io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shown(kind: str, content: str) -> NotebookNode:
    return v4.new_output("display_data", {kind: content})


def valid() -> NotebookNode:
    """An executed notebook that keeps every rule, as number 2 between two neighbours."""
    figure = v4.new_output(
        "display_data",
        {"image/png": png(), "text/plain": "<Figure>"},
        metadata={"image/png": {"alt": "one point"}},
    )
    start = [
        "# 2. The middle: does it hold?\n\n"
        "[Previous](01_first.ipynb) · [Next](03_last.ipynb#start)",
        ("from helpers import plots, reporting", []),
        ("answer = reporting.answer_slot()", [shown("text/markdown", ANSWER)]),
        (STANDARD, []),
        "## A figure\n\nIt has one point:",
        ("# One point is enough.\nplots.show(1)", [figure]),
        "It is printed too:",
        ("print(1)", [v4.new_output("stream", name="stdout", text="1\n")]),
    ]
    end = [
        "## What we found\n\nIt holds.\n\n## Limits\n\nOne point.\n\n## References\n\nNone.",
        ("write_results([])", []),
    ]
    notebook = build([*start, *["A thought."] * (N_CELLS - len(start) - len(end)), *end])
    notebook.cells[2].metadata.tags = ["answer", "hide-input", "nbval-ignore-output"]
    notebook.cells[3].metadata.tags = ["parameters"]
    return notebook


def build(cells: Sequence[str | tuple[str, list[NotebookNode]]]) -> NotebookNode:
    """Text becomes Markdown; a pair of source and outputs becomes the next executed cell."""
    notebook = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Py"}})
    count = 0
    for cell in cells:
        if isinstance(cell, str):
            notebook.cells.append(v4.new_markdown_cell(cell))
        else:
            count += 1
            notebook.cells.append(v4.new_code_cell(cell[0], outputs=cell[1], execution_count=count))
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def write(path: Path, notebook: NotebookNode) -> Path:
    io.write_text(path, nbformat.writes(notebook) + "\n")
    return path


def save_valid(root: Path, notebook: NotebookNode | None = None) -> Path:
    for name in NEIGHBOURS:
        write(root / "notebooks" / name, v4.new_notebook())
    io.write_json(root / "reports" / "results" / "02_middle.json", {"answer": ANSWER})
    return write(root / "notebooks" / MIDDLE, notebook or valid())


def save_runnable(root: Path, name: str, *sources: str, parameters: str = STANDARD) -> Path:
    """A notebook that has not been executed: its parameters, then these cells."""
    notebook = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Py"}})
    notebook.cells = [
        v4.new_markdown_cell(f"# {name[:2].lstrip('0')}. A: b?\n\n**Run time**: seconds.")
    ]
    notebook.cells += [v4.new_code_cell(source) for source in (parameters, *sources)]
    notebook.cells[1].metadata.tags = ["parameters"]
    return write(root / "notebooks" / f"{name}.ipynb", notebook)


def outputs(path: Path) -> list[str]:
    """What the code cells of a stored notebook printed."""
    stored = nbformat.read(path, as_version=4)
    return [
        output.get("text", "")
        for cell in stored.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
