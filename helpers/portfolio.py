"""Run the notebooks in order, from the data to the reports: a thin module over papermill."""

import difflib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from helpers import datasets, files, notebooks, reports
from helpers.notebooks import Parameter

KERNEL = "python3"
WIDGET = "application/vnd.jupyter.widget-view+json"
OWN_PARAMETERS = {"dataset", "data_dir", "reports_dir", "columns"}
"""What the runner itself sets; the rest can be given by the user."""

BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

Values = dict[str, Any]


class PortfolioError(Exception):
    """The notebooks cannot be run, or one of them failed; the message says what to do."""


def run(
    dataset: str = datasets.DEFAULT,
    columns: str = "",
    parameters: Mapping[str, Any] | None = None,
    root: Path = Path(),
) -> Path:
    """Execute every notebook on a data set and render the reports.

    Nothing is executed before the parameters and the data set are known to be good. The
    committed notebooks are only read; what they become when executed is written to
    ``data/processed/<dataset>/notebooks/``. For the default data set without parameters nothing
    is injected, so the executed notebooks equal the committed ones, and the reports are those
    that are committed; any other run has a folder of its own.

    Parameters
    ----------
    dataset : str
        A name or a path, as for :func:`helpers.datasets.load`.
    columns : str
        For a path: which column is what, such as ``"user=visitor,item=sku"``.
    parameters : dict, optional
        Values for parameters that the notebooks declare; text is converted to the declared type.
    root : Path
        The project's folder.

    Returns
    -------
    Path
        The folder of the reports: ``reports/`` for the default run, else ``reports/<dataset>/``.

    Raises
    ------
    PortfolioError
        If a parameter is unknown or of the wrong type, or a notebook fails.
    DatasetError
        If the data set cannot be loaded.
    """
    paths = _find(root)
    slug = datasets.slug(dataset)
    own = slug == datasets.DEFAULT  # each notebook keeps the data set that it was written for
    default = own and not parameters
    target = root / "reports" if default else root / "reports" / slug
    declared = {path: _declared(path) for path in paths}
    given = {} if default else _own_values(dataset, columns, root) | dict(parameters or {})
    wanted = {name: given[name] for name in given if not (own and name in ("dataset", "columns"))}
    injected = {path: _choose(wanted, declared[path]) for path in paths}
    _refuse_unknown(parameters or {}, declared.values())

    if own:
        _fetch(declared.values(), root)
    else:
        datasets.load(dataset, columns=columns or None, data_dir=root / "data")
    folder = root / "data" / "processed" / slug / "notebooks"
    executed = _execute_all(paths, injected, lambda path: folder / path.name, target)
    reports.render(executed, target, dataset=slug, nested=not default)
    return target


def save_notebooks(root: Path = Path()) -> Path:
    """Execute the committed notebooks as they are, save them in place and render the reports.

    Parameters
    ----------
    root : Path
        The project's folder.

    Returns
    -------
    Path
        The folder of the reports.

    Raises
    ------
    PortfolioError
        If a notebook fails or writes to stderr; that notebook is left as it was.
    DatasetError
        If the default data set cannot be loaded.
    """
    paths = _find(root)
    _fetch([_declared(path) for path in paths], root)
    _execute_all(
        paths, {path: {} for path in paths}, lambda path: path, root / "reports", _refuse_stderr
    )
    return render(root)


def render(root: Path = Path()) -> Path:
    """Render the committed notebooks, with the outputs that they hold, into ``reports/``."""
    target = root / "reports"
    reports.render(_find(root), target, dataset=datasets.DEFAULT)
    return target


def convert(text: str, kind: str) -> Any:
    """A value typed on the command line, as the type that a notebook declares.

    Raises
    ------
    ValueError
        If the text does not stand for such a value.

    Examples
    --------
    >>> convert("64", "int"), convert("0.5", "float"), convert("no", "bool"), convert("64", "str")
    (64, 0.5, False, '64')
    >>> convert("5,10", "list[int]")
    [5, 10]
    """
    if kind.startswith("list["):
        return [convert(part.strip(), kind[5:-1]) for part in text.strip("[]").split(",")]
    if kind == "bool":
        if text.lower() not in BOOLEANS:
            raise ValueError(f"{text!r} is none of {', '.join(BOOLEANS)}")
        return BOOLEANS[text.lower()]
    return notebooks.SCALARS[kind](text)


def _find(root: Path) -> list[Path]:
    paths = notebooks.paths(root / "notebooks")
    if not paths:
        raise PortfolioError(
            f"there are no notebooks in {root / 'notebooks'}; run this in the project's folder"
        )
    return paths


def _declared(path: Path) -> dict[str, Parameter]:
    try:
        return notebooks.parameters(notebooks.read(path))
    except ValueError as error:
        raise PortfolioError(f"{path}: {error}") from error


def _fetch(declared: Iterable[Mapping[str, Parameter]], root: Path) -> None:
    """Load the data sets that notebooks have by default, so that no kernel has to fetch one."""
    named = [str(cell["dataset"].default) for cell in declared if "dataset" in cell]
    for name in dict.fromkeys(named):
        datasets.load(name, data_dir=root / "data")


def _own_values(dataset: str, columns: str, root: Path) -> Values:
    """The runner's own parameters, as seen from the folder of the notebooks."""
    slug = datasets.slug(dataset)
    if dataset not in datasets.names():
        dataset = Path(os.path.relpath(dataset, root / "notebooks")).as_posix()
    return {"dataset": dataset, "columns": columns, "reports_dir": f"../reports/{slug}"}


def _choose(wanted: Mapping[str, Any], declared: Mapping[str, Parameter]) -> Values:
    """The values for one notebook: those that it declares, in their declared types."""
    return {
        name: _value(value, declared[name]) for name, value in wanted.items() if name in declared
    }


def _value(value: Any, parameter: Parameter) -> Any:
    try:
        if isinstance(value, str) and parameter.type != "str":
            value = convert(value, parameter.type)
    except ValueError:
        pass  # it stays text, which the next line refuses
    if not notebooks.fits(value, parameter.type):
        raise PortfolioError(
            f"parameter {parameter.name} is {value!r}, but must be of type {parameter.type} "
            f"(default {parameter.default!r}: {parameter.meaning})"
        )
    return float(value) if parameter.type == "float" else value


def _refuse_unknown(given: Mapping[str, Any], declared: Iterable[Mapping[str, Parameter]]) -> None:
    known = {name: each.type for cell in declared for name, each in cell.items()}
    for name in given:
        if name in OWN_PARAMETERS:
            raise PortfolioError(f"parameter {name} follows from the data set: use DATASET=...")
        if name not in known:
            free = {key: kind for key, kind in known.items() if key not in OWN_PARAMETERS}
            near = difflib.get_close_matches(name, free, n=1)
            raise PortfolioError(
                f"no notebook has a parameter {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else "")
                + " Known parameters: "
                + (", ".join(f"{key} ({kind})" for key, kind in sorted(free.items())) or "none")
            )


def _execute_all(
    paths: Sequence[Path],
    injected: Mapping[Path, Values],
    target: Callable[[Path], Path],
    reports_dir: Path,
    check: Callable[[Path, NotebookNode], None] = lambda path, notebook: None,
) -> list[Path]:
    """Execute notebooks in order; only when all have succeeded, write them and their results."""
    executed = {}
    with tempfile.TemporaryDirectory(prefix="results-") as staging:
        with _kernel_environment(staging), tqdm(paths, unit="notebook", file=sys.stderr) as bar:
            for path in bar:
                bar.set_description(path.stem)
                executed[path] = _execute(path, injected[path])
                check(path, executed[path])
        for path, notebook in executed.items():
            notebooks.write(target(path), notebook)
        for result in Path(staging).glob("results/*.json"):
            files.write_text(reports_dir / "results" / result.name, result.read_text("utf-8"))
    return [target(path) for path in paths]


def _execute(path: Path, values: Values) -> NotebookNode:
    original = notebooks.read(path)
    try:
        notebook: NotebookNode = papermill.execute_notebook(
            original,
            None,
            parameters=values,
            kernel_name=KERNEL,
            language="python",
            extra_arguments=["--log-level=CRITICAL"],  # of the kernel itself, on the terminal
            cwd=path.parent,
            progress_bar={"desc": "  cells", "leave": False, "file": sys.stderr},
        )
    except PapermillExecutionError as error:
        raise PortfolioError(_failure(path, original, error)) from None
    except DeadKernelError:
        raise PortfolioError(
            f"{path}: the kernel died, most often because memory ran out; nothing was written"
        ) from None
    _strip(notebook)
    if unfinished := [number for number, _ in notebooks.executed(path, notebook)]:
        raise PortfolioError(f"{path} stopped before cell {unfinished[0]} without an error")
    return notebook


def _failure(path: Path, original: NotebookNode, error: PapermillExecutionError) -> str:
    sources = [cell.source for cell in original.cells if cell.cell_type == "code"]
    number = sources.index(error.source) + 1 if error.source in sources else error.exec_count
    return (
        f"{path} failed in code cell {number}:\n"
        f"    {error.source.strip().partition(chr(10))[0]}\n"
        f"    {error.ename}: {error.evalue}\n"
        "nothing of this notebook was written; to see more, open it with `make lab` "
        f"and run the cells up to this one"
    )


def _refuse_stderr(path: Path, notebook: NotebookNode) -> None:
    for number, message in notebooks.clean_outputs(path, notebook):
        raise PortfolioError(f"{path}, cell {number}: {message}; it was not saved")


def _strip(notebook: NotebookNode) -> None:
    """Remove what differs between two equal runs; outputs, counts and ids stay."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        # Progress bars live in the kernel that drew them; stored, they are dead and differ.
        if "outputs" in cell:
            cell.outputs = [out for out in cell.outputs if WIDGET not in out.get("data", {})]


@contextmanager
def _kernel_environment(staging: str) -> Iterator[None]:
    """The environment of the kernels: one BLAS thread, and results wait until all is done."""
    before = dict(os.environ)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["PORTFOLIO_REPORTS"] = staging
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
