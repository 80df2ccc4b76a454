from collections.abc import Callable
from pathlib import Path

import pytest
from nbformat import NotebookNode, v4
from notebook_fixtures import MIDDLE, N_CELLS, png, save_valid, shown, valid
from notebook_rules import Finding, check

ROOT = Path(__file__).parents[1]
COMMITTED = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
RESULTS = N_CELLS  # the number of the last cell
END = N_CELLS - 1
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
    assert [str(finding) for finding in check(path)] == []


@pytest.mark.parametrize("path", COMMITTED[2:5], ids=lambda path: path.stem)
def test_models_get_the_pairs_as_notebook_2_merged_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "Interactions.load(" in text
    assert "from_frame(" not in text
    assert "aggregate=" not in text


def test_valid_notebook_has_no_findings(tmp_path: Path) -> None:
    assert check(save_valid(tmp_path)) == []


def test_finding_says_where() -> None:
    assert str(Finding("a.ipynb", 3, "is wrong")) == "a.ipynb, cell 3: is wrong"
    assert str(Finding("a.ipynb", 0, "is wrong")) == "a.ipynb: is wrong"


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


def drop(cell: int) -> Mutation:
    def mutate(notebook: NotebookNode) -> None:
        del notebook.cells[cell - 1]

    return mutate


def repeat(cell: int, times: int) -> Mutation:
    def mutate(notebook: NotebookNode) -> None:
        notebook.cells[cell:cell] = [v4.new_markdown_cell("More.") for _ in range(times)]

    return mutate


def code_between(cell: int, times: int) -> Mutation:
    """Replace the cells after one by code cells that are executed as they should be."""

    def mutate(notebook: NotebookNode) -> None:
        count = notebook.cells[cell - 1].execution_count
        for place in range(times):
            new = v4.new_code_cell("1", execution_count=count + 1 + place)
            notebook.cells[cell + place] = new
        notebook.cells[-1].execution_count = count + times + 1

    return mutate


BROKEN = {
    "unexecuted": (change(8, execution_count=None), 8, "is not executed"),
    "cleared": (change(8, execution_count=None, outputs=[]), 8, "is not executed"),
    "count": (change(8, execution_count=9), 8, "execution count 9 instead of 5"),
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
    "no parameters": (tag(4), 0, "0 cells are tagged 'parameters'"),
    "two parameters": (tag(8, "parameters"), 0, "2 cells are tagged 'parameters'"),
    "derived": (source(4, "x = 1"), 0, "'x = 1' has not the form"),
    "no meaning": (source(4, "x: int = 1"), 4, "'x: int = 1' has not the form"),
    "no literal": (source(4, "x: int = len('a')  # x"), 0, "malformed node"),
    "wrong type": (source(4, "x: int = 1.5  # x"), 0, "the default of x is 1.5, which is no int"),
    "not standard": (replace(4, "processed_dir", "data"), 0, "parameter 'processed_dir: str'"),
    "size": (source(7, "x" * 1_000_000), 0, "at most 1,000,000 are allowed"),
    "long cell": (source(8, "\nprint(1)" * 20), 8, "has 21 lines; at most 20"),
    "too few cells": (drop(10), 0, f"has {N_CELLS - 1} cells; 25 to 60"),
    "too many cells": (repeat(10, 36), 0, "has 61 cells; 25 to 60"),
    "no prose": (code_between(8, 4), 12, "is the code cell number 5 without prose"),
    "time": (replace(8, "print", "%%time\nprint"), 8, "a magic, a shell command or wrong syntax"),
    "shell": (replace(8, "print", "!ls\nprint"), 8, "a magic, a shell command or wrong syntax"),
    "sys.path": (source(8, "\nsys.path.append('x')"), 8, "has sys.path"),
    "warnings": (source(8, "\nwarnings.filterwarnings('x')"), 8, "a filter that hides warnings"),
    "commented out": (source(8, "\n# y = f(x)"), 8, "commented-out code: y = f(x)"),
    "figure deleted": (change(6, outputs=[]), 6, "has lost a figure"),
    "figure without data": (figure(None), 6, "has lost a figure"),
    "figure cut": (figure(png()[:60]), 6, "has a damaged figure"),
    "figure blank": (figure(png((255, 255))), 6, "it is blank"),
    "figure undescribed": (figure(png(), alt=" "), 6, "without alternative text"),
    "no question": (replace(1, "does it hold?", "it holds"), 1, "expected '# <number>"),
    "wrong number": (replace(1, "# 2.", "# 3."), 1, "is number 3 in its title"),
    "no limits": (replace(END, "## Limits", "### Limits"), 0, "has no section '## Limits'"),
    "sections swapped": (
        replace(END, "## Limits\n\nOne point.\n\n## References", "## References\n\n## Limits"),
        0,
        "closing sections in another order",
    ),
    "no results": (replace(RESULTS, "write_results", "print"), 0, "does not write its results"),
    "no answer": (tag(3, "hide-input"), 3, "is no code cell tagged answer"),
    "other answer": (change(3, outputs=[]), 3, "another answer than 02_middle.json holds"),
    "one data set": (source(7, " Films are long."), 7, "speaks of one data set (Films)"),
    "one data set in code": (source(8, "\nx = 'film'"), 8, "speaks of one data set (film)"),
    "shown time": (output(8, stream("stdout", "it took 1.5 s")), 8, "shows a time (1.5 s)"),
    "no next": (replace(1, "03_last", "01_first"), 1, "link to its neighbour 03_last.ipynb"),
    "dead link": (source(7, " [x](09_no.ipynb)"), 7, "links to 09_no.ipynb"),
}


@pytest.mark.parametrize(("mutate", "cell", "message"), BROKEN.values(), ids=BROKEN)
def test_each_rule_finds_exactly_its_fault(
    tmp_path: Path, mutate: Mutation, cell: int, message: str
) -> None:
    notebook = valid()
    mutate(notebook)
    found = check(save_valid(tmp_path, notebook))
    assert [(finding.notebook, finding.cell) for finding in found] == [(MIDDLE, cell)]
    assert message in found[0].message


@pytest.mark.parametrize(
    "text",
    [
        "users: rows, items: columns",
        "the loss, with its parts",
        "why",
        "half-open",
        "for every user: one row",
        "a title (1977)",
        "see helpers/als.py",
    ],
)
def test_prose_in_comments_is_no_code(text: str, tmp_path: Path) -> None:
    notebook = valid()
    notebook.cells[7].source += f"\n# {text}"
    assert check(save_valid(tmp_path, notebook)) == []


@pytest.mark.parametrize("text", ["import os", "for x in y:", "f(x)", "x += 1", "del x"])
def test_code_in_comments_is_found(text: str, tmp_path: Path) -> None:
    notebook = valid()
    notebook.cells[7].source += f"\n# {text}"
    [found] = check(save_valid(tmp_path, notebook))
    assert "commented-out code" in found.message


@pytest.mark.parametrize(
    "text", [f"https://example.org{HOME}", f"..{HOME}", f"network{HOME}", "$C:\\mathbb{R}$"]
)
def test_other_slashes_are_no_absolute_paths(text: str, tmp_path: Path) -> None:
    notebook = valid()
    notebook.cells[6].source += text
    assert check(save_valid(tmp_path, notebook)) == []


def test_references_may_name_a_data_set(tmp_path: Path) -> None:
    notebook = valid()
    notebook.cells[END - 1].source += " F. M. Harper (2015). *The MovieLens Datasets*."
    assert check(save_valid(tmp_path, notebook)) == []


def test_file_that_is_no_notebook(tmp_path: Path) -> None:
    path = save_valid(tmp_path)
    path.write_text("{")
    [found] = check(path)
    assert "is not a notebook" in found.message
