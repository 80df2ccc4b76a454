from collections.abc import Callable
from pathlib import Path

import pytest
from nbformat import NotebookNode, v4
from notebook_fixtures import MIDDLE, png, save_valid, valid

from helpers import notebooks

ROOT = Path(__file__).parents[1]
COMMITTED = notebooks.paths(ROOT / "notebooks")
# Written so that this file itself names no machine's path and no index.
HOME = "/".join(("", "home", "someone", "x"))
WINDOWS_HOME = "\\".join(("C:", "Users", "x"))
INDEX = ".".join(("https://pypi", "org/project/x"))

Mutation = Callable[[NotebookNode], None]


def test_there_are_notebooks_to_check() -> None:
    assert [path.stem for path in COMMITTED[:3]] == [
        "01_data_loading",
        "02_interaction_matrix",
        "03_als_training",
    ]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_notebook_has_no_findings(path: Path) -> None:
    assert [str(finding) for finding in notebooks.check(path)] == []


def test_valid_notebook_has_no_findings(tmp_path: Path) -> None:
    assert notebooks.check(save_valid(tmp_path)) == []


def test_finding_says_where() -> None:
    assert str(notebooks.Finding("a.ipynb", 3, "is wrong")) == "a.ipynb, cell 3: is wrong"
    assert str(notebooks.Finding("a.ipynb", 0, "is wrong")) == "a.ipynb: is wrong"


def source(cell: int, text: str) -> Mutation:
    """Append to the source of a cell (numbered from 1, as findings are)."""

    def mutate(notebook: NotebookNode) -> None:
        notebook.cells[cell - 1].source += text

    return mutate


def replace(cell: int, old: str, new: str) -> Mutation:
    def mutate(notebook: NotebookNode) -> None:
        assert old in notebook.cells[cell - 1].source
        notebook.cells[cell - 1].source = notebook.cells[cell - 1].source.replace(old, new)

    return mutate


def change(cell: int, **values: object) -> Mutation:
    def mutate(notebook: NotebookNode) -> None:
        notebook.cells[cell - 1].update(values)

    return mutate


def tag(cell: int, *tags: str) -> Mutation:
    def mutate(notebook: NotebookNode) -> None:
        notebook.cells[cell - 1].metadata["tags"] = list(tags)

    return mutate


def output(cell: int, *outputs: NotebookNode) -> Mutation:
    def mutate(notebook: NotebookNode) -> None:
        notebook.cells[cell - 1].outputs += outputs

    return mutate


def figure(data: str | None, alt: str = "one point") -> Mutation:
    def mutate(notebook: NotebookNode) -> None:
        stored = notebook.cells[5].outputs[0]
        if data is None:
            del stored.data["image/png"]
        else:
            stored.data["image/png"] = data
            stored.metadata["image/png"]["alt"] = alt

    return mutate


def metadata(key: str, value: object) -> Mutation:
    def mutate(notebook: NotebookNode) -> None:
        notebook.metadata[key] = value

    return mutate


def stream(name: str, text: str) -> NotebookNode:
    return v4.new_output("stream", name=name, text=text)


def shown(kind: str, content: str) -> NotebookNode:
    return v4.new_output("display_data", {kind: content})


def drop(cell: int) -> Mutation:
    def mutate(notebook: NotebookNode) -> None:
        del notebook.cells[cell - 1]

    return mutate


BROKEN = {
    "unexecuted": (change(8, execution_count=None), 8, "is not executed"),
    "cleared": (change(8, execution_count=None, outputs=[]), 8, "is not executed"),
    "count": (change(8, execution_count=9), 8, "execution count 9 instead of 4"),
    "empty": (change(8, source=" \n"), 8, "code cell is empty"),
    "stderr": (output(8, stream("stderr", "Warning: x\ny")), 8, "wrote to stderr: Warning: x"),
    "error": (
        output(8, v4.new_output("error", ename="ValueError", evalue="no", traceback=[])),
        8,
        "raised ValueError: no",
    ),
    "svg": (output(8, shown("image/svg+xml", "<svg/>")), 8, "shows image/svg"),
    "styler": (output(8, shown("text/html", '<table id="T_1f">')), 8, "shows a Styler"),
    "path in source": (source(7, f" See {HOME}."), 7, "names an absolute path"),
    "path in stdout": (output(8, stream("stdout", HOME)), 8, "names an absolute path"),
    "path in html": (output(8, shown("text/html", f"<td>{HOME}")), 8, "names an absolute path"),
    "windows path": (source(7, f" {WINDOWS_HOME}"), 7, "names an absolute path"),
    "index": (source(7, f" [x]({INDEX})"), 7, "names the host of a package index"),
    "kernel": (metadata("kernelspec", {"name": "conda", "display_name": "x"}), 0, "kernelspec"),
    "papermill": (metadata("papermill", {}), 0, "papermill's metadata"),
    "version": (metadata("language_info", {"name": "python", "version": "3"}), 0, "Python version"),
    "timing": (change(8, metadata={"execution": {}}), 8, "metadata 'execution'"),
    "raises": (tag(8, "raises-exception"), 8, "has the tag 'raises-exception'"),
    "skip": (tag(8, "nbval-skip"), 8, "has the tag 'nbval-skip'"),
    "no parameters": (tag(4), 0, "0 code cells are tagged 'parameters'"),
    "two parameters": (tag(8, "parameters"), 0, "2 code cells are tagged 'parameters'"),
    "derived": (source(4, "x = 1"), 0, "'x = 1' has not the form"),
    "no meaning": (source(4, "x: int = 1"), 0, "'x: int = 1' has not the form"),
    "no literal": (source(4, "x: int = len('a')  # x"), 0, "is no literal"),
    "wrong type": (source(4, "x: int = 1.5  # x"), 0, "the default of x is 1.5, which is no int"),
    "not standard": (replace(4, "data_dir", "data"), 0, "parameter 'data_dir: str'"),
    "size": (source(7, "x" * 1_000_000), 0, "at most 1,000,000 are allowed"),
    "long": (source(8, "\nprint(1)" * 15), 8, "has 16 lines; at most 15"),
    "def": (
        source(8, "\n\ndef f(x):\n    y = x\n    y += 1\n    return y"),
        8,
        "defines f in 4 lines",
    ),
    "time": (replace(8, "print", "%%time\nprint"), 8, "a magic, a shell command or wrong syntax"),
    "shell": (replace(8, "print", "!ls\nprint"), 8, "a magic, a shell command or wrong syntax"),
    "sys.path": (source(8, "\nsys.path.append('x')"), 8, "has sys.path"),
    "warnings": (source(8, "\nwarnings.filterwarnings('x')"), 8, "a filter that hides warnings"),
    "commented out": (source(8, "\n# y = f(x)"), 8, "commented-out code: y = f(x)"),
    "prose": (drop(7), 7, "is not led by a Markdown cell"),
    "figure deleted": (change(6, outputs=[]), 6, "has lost a figure"),
    "figure without data": (figure(None), 6, "has lost a figure"),
    "figure cut": (figure(png()[:60]), 6, "has a damaged figure"),
    "figure blank": (figure(png((255, 255))), 6, "it is blank"),
    "figure undescribed": (figure(png(), alt=" "), 6, "without alternative text"),
    "no question": (replace(1, "does it hold?", "it holds"), 1, "does not start with '# N."),
    "wrong number": (replace(1, "# 2.", "# 3."), 1, "is number 3 in its title"),
    "no limits": (replace(9, "## Limits", "### Limits"), 0, "has no section '## Limits'"),
    "sections swapped": (
        replace(9, "## Limits\n\nOne point.\n\n## References", "## References\n\n## Limits"),
        0,
        "closing sections in another order",
    ),
    "no results": (replace(10, "write_results", "print"), 0, "does not write its results"),
    "no next": (replace(1, "03_last", "01_first"), 1, "link to its neighbour 03_last.ipynb"),
    "dead link": (source(7, " [x](09_no.ipynb)"), 7, "links to 09_no.ipynb"),
}


@pytest.mark.parametrize(("mutate", "cell", "message"), BROKEN.values(), ids=BROKEN)
def test_each_rule_finds_exactly_its_fault(
    tmp_path: Path, mutate: Mutation, cell: int, message: str
) -> None:
    notebook = valid()
    mutate(notebook)
    found = notebooks.check(save_valid(tmp_path, notebook))
    assert [(finding.notebook, finding.cell) for finding in found] == [(MIDDLE, cell)]
    assert message in found[0].message


def test_long_cells_on_the_whole(tmp_path: Path) -> None:
    notebook = valid()
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            cell.source += "\nprint(1)" * 7
    [found] = notebooks.check(save_valid(tmp_path, notebook))
    assert found.message == "its code cells have a median of 8 lines; 5 at most"


@pytest.mark.parametrize(
    "text",
    [
        "users: rows, items: columns",
        "the loss, with its parts",
        "why",
        "half-open",
        "for every user: one row",
        "a film (1977)",
        "see helpers/als.py",
    ],
)
def test_prose_in_comments_is_no_code(text: str, tmp_path: Path) -> None:
    notebook = valid()
    notebook.cells[7].source += f"\n# {text}"
    assert notebooks.check(save_valid(tmp_path, notebook)) == []


@pytest.mark.parametrize("text", ["import os", "for x in y:", "f(x)", "x += 1", "del x"])
def test_code_in_comments_is_found(text: str, tmp_path: Path) -> None:
    notebook = valid()
    notebook.cells[7].source += f"\n# {text}"
    [found] = notebooks.check(save_valid(tmp_path, notebook))
    assert "commented-out code" in found.message


@pytest.mark.parametrize(
    "text", [f"https://example.org{HOME}", f"..{HOME}", f"network{HOME}", "$C:\\mathbb{R}$"]
)
def test_other_slashes_are_no_absolute_paths(text: str, tmp_path: Path) -> None:
    notebook = valid()
    notebook.cells[6].source += text
    assert notebooks.check(save_valid(tmp_path, notebook)) == []


def test_file_that_is_no_notebook(tmp_path: Path) -> None:
    path = save_valid(tmp_path)
    path.write_text("{")
    [found] = notebooks.check(path)
    assert "is not a notebook" in found.message
