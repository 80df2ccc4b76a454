"""The checks turn red: each test damages a copy of the project and looks at the check."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import readme
from nbformat import NotebookNode, v4
from notebook_fixtures import build, write
from notebook_rules import check
from test_environment import conda_is_stale, unlocked

from helpers import io, portfolio

ROOT = Path(__file__).parents[1]
FILES = ("README.md", "pyproject.toml", "requirements.txt", "environment.yml", "conftest.py")
QUICKEST = "01_data_loading.ipynb"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The parts of the project that the checks look at; the raw data are only linked."""
    root = tmp_path / "a copy"
    root.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, root)
    hidden = shutil.ignore_patterns(".*")
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=hidden)
    shutil.copytree(ROOT / "reports" / "results", root / "reports" / "results")
    (root / "data").mkdir()
    (root / "data" / "raw").symlink_to(ROOT / "data" / "raw", target_is_directory=True)
    return root


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def found(path: Path, notebook: NotebookNode) -> str:
    """What the rules find in a notebook after it is changed."""
    return "\n".join(str(finding) for finding in check(write(path, notebook)))


def test_the_copy_is_green(copy: Path) -> None:
    path = copy / "notebooks" / QUICKEST
    assert found(path, io.read_notebook(path)) == ""
    assert readme.update(copy, check=True) == []


def test_a_changed_number_fails_nbval(copy: Path) -> None:
    """With the settings of the project: of two cells, the one that prints another number."""
    cells = [("print(1 + 1)", [v4.new_output("stream", text=text)]) for text in ("2\n", "3\n")]
    write(copy / "notebooks" / "numbers.ipynb", build(cells))
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # others take seconds to import
    words = ["-p", "nbval.plugin", "-p", "no:cacheprovider", "notebooks/numbers.ipynb"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Cell outputs differ" in done.stdout
    assert re.search(r"\b1 failed, 1 passed", done.stdout)


def test_a_cleared_cell_fails_the_hygiene(copy: Path) -> None:
    path = copy / "notebooks" / QUICKEST
    notebook = io.read_notebook(path)
    code_cells(notebook)[2].update(outputs=[], execution_count=None)
    assert "is not executed" in found(path, notebook)


def test_a_deleted_figure_fails_the_hygiene(copy: Path) -> None:
    path = copy / "notebooks" / QUICKEST
    notebook = io.read_notebook(path)
    cell = next(cell for cell in code_cells(notebook) if "plots.show(" in cell.source)
    cell.outputs = [output for output in cell.outputs if "image/png" not in output.get("data", {})]
    assert "has lost a figure" in found(path, notebook)


def test_an_answer_that_is_not_the_written_one_fails_the_hygiene(copy: Path) -> None:
    results = copy / "reports" / "results" / f"{Path(QUICKEST).stem}.json"
    results.write_text(results.read_text().replace('"answer": "', '"answer": "Not '))
    path = copy / "notebooks" / QUICKEST
    assert f"another answer than {results.name} holds" in found(path, io.read_notebook(path))


def test_a_misspelt_parameter_stops_the_runner(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    known = {
        name
        for path in (copy / "notebooks").glob("*.ipynb")
        for name in portfolio.parameters(io.read_notebook(path))
    }
    right = sorted(known - portfolio.OWN_PARAMETERS)[0]
    with pytest.raises(portfolio.PortfolioError, match=f"did you mean '{right}'"):
        portfolio.run(settings={right + "x": "1"})


@pytest.mark.parametrize("part", ["findings", "results", "claims", "notebooks"])
def test_an_edited_part_of_the_readme_fails_the_check(copy: Path, part: str) -> None:
    path = copy / "README.md"
    text = path.read_text()
    path.write_text(text.replace(f"<!-- {part} -->\n", f"<!-- {part} -->\nAnd more.\n"))
    [stale] = readme.update(copy, check=True)
    assert f"README.md: the part '{part}' is stale" in stale


def test_an_edited_conda_environment_fails_the_check(copy: Path, tmp_path: Path) -> None:
    assert not conda_is_stale(copy, tmp_path)
    path = copy / "environment.yml"
    path.write_text(path.read_text().replace("pandas>=", "pandas>"))
    assert conda_is_stale(copy, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"), [('"tqdm>=4', '"django>=4",\n    "tqdm>=4'), ('"tqdm>=', '"tqdm>=9')]
)
def test_a_dependency_that_is_not_locked_fails_the_check(copy: Path, old: str, new: str) -> None:
    assert unlocked(copy) == []
    path = copy / "pyproject.toml"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    assert len(unlocked(copy)) == 1
