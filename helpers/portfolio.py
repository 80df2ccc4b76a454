"""Run the notebooks: which can answer, two at a time, and what is kept when one of them fails."""

import ast
import difflib
import hashlib
import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, NamedTuple

import nbformat
import papermill
import psutil
from filelock import FileLock, Timeout
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.execute import remove_error_markers

from helpers import datasets, io
from helpers.cleaning import Rules
from helpers.datasets import Dataset
from helpers.interactions import MAX_HISTORY
from helpers.reporting import html

NEEDS = {2: 1, 3: 2, 4: 2, 5: 4, 6: 2}
"""By number of a notebook: the one whose files it reads."""

AT_A_TIME = 2
logging.getLogger("papermill").setLevel(logging.ERROR)  # its remarks are of no use to the user
WIDGET = "application/vnd.jupyter.widget-view+json"
SCALARS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
OWN_PARAMETERS = {"dataset", "columns", "items", "data_dir", "processed_dir", "reports_dir"}
"""What the runner itself sets; the rest can be given by the user."""


class PortfolioError(ValueError):
    """The notebooks cannot be run; the message says what to do."""


class Parameter(NamedTuple):
    """What a notebook declares in a line ``name: type = default``."""

    type: str
    default: Any


@dataclass
class Job:
    """One notebook of a run: where it goes, what it gets, and a sentence where it has no end."""

    path: Path
    executed: Path
    values: dict[str, Any]
    manifest: dict[str, Any]
    failed: str = ""
    left_out: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a run: its index page, and sentences on what failed and what was left out."""

    index: Path
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def run(
    dataset: str = datasets.DEFAULT,
    *,
    columns: str = "",
    items: str = "",
    settings: Mapping[str, str] | None = None,
    numbers: Sequence[int] = (),
    root: Path = Path(),
) -> Outcome:
    """Execute the notebooks on a data set and render their reports.

    Nothing is executed before the settings and the data set are known to be good, and the
    committed notebooks are only read. Of a notebook that fails the report ends with that cell;
    those that need it are left out, and all others run.

    Parameters
    ----------
    dataset : str
        A name or a path, as for :func:`helpers.datasets.load`. In a run of the default data set
        each notebook keeps the one that it was written for.
    columns, items : str
        For a path: which column is what, and the file that holds the items' titles.
    settings : mapping of str to str, optional
        Parameters that the notebooks declare. Such a run has its own derived data and reports.
    numbers : sequence of int
        The notebooks to run; all by default.
    root : Path
        The project's folder.

    Returns
    -------
    Outcome

    Raises
    ------
    PortfolioError
        If a parameter is unknown or of the wrong type, or a notebook that is needed has not run.
    DatasetError
        If the data set cannot be loaded.
    """
    if (columns or items) and dataset in datasets.names():
        raise PortfolioError(
            f"COLUMNS and ITEMS are for your own log, but the data set is {dataset}; "
            "name the file too: make run DATASET=log.csv COLUMNS=..."
        )
    paths = _find(root)
    if unknown := set(numbers) - set(paths):
        listed = ", ".join(map(str, paths))
        raise PortfolioError(f"there is no notebook {min(unknown)}; there are {listed}")
    declared = {number: parameters(html.read(path)) for number, path in paths.items()}
    converted = _converted(settings or {}, declared.values())
    ending = _ending(settings or {})
    target = root / "reports" / f"{datasets.slug(dataset)}{ending}"
    with _alone(root), io.replaced_folder(target) as draft:
        looked_at: dict[str, tuple[str, dict[int, str]]] = {}
        jobs = {}
        for number in sorted(numbers or paths):
            known, name = declared[number], _data_of(dataset, declared[number])
            if name not in looked_at:
                looked_at[name] = _look(name, columns or None, items or None, root)
            folder = Path("data/processed") / f"{datasets.slug(name)}{ending}"
            given = {
                "dataset": _from_notebooks(name, root),
                "columns": columns,
                "items": _from_notebooks(items, root),
                "processed_dir": f"../{folder.as_posix()}",
                **converted,
            }
            own = {key: given[key] for key in given if key in known}
            jobs[number] = Job(
                paths[number],
                (root / folder / "notebooks" / paths[number].name).resolve(),
                {key: value for key, value in own.items() if value != known[key].default},
                {"data_sha256": looked_at[name][0], **given, "failed": ""},
                left_out=looked_at[name][1].get(number, ""),
            )
        _require_needed(jobs, paths)
        for job in jobs.values():  # what an earlier run left must not pass for this one's
            name = job.path.stem
            for old in (f"{name}.html", f"figures/{name}.png", f"results/{name}.json"):
                (draft / old).unlink(missing_ok=True)
            job.executed.unlink(missing_ok=True)
        interrupted = None
        with _surroundings(root / "notebooks", PORTFOLIO_REPORTS=str(draft.resolve())):
            try:
                _execute_all(jobs)
            except KeyboardInterrupt as stopped:  # what is done is rendered all the same
                interrupted = stopped
        folders = {job.executed.parent for job in jobs.values()}
        left_out = {job.path: job.left_out for job in jobs.values() if job.left_out}
        manifests = [job.manifest for job in jobs.values()]
        _render(folders, manifests, draft, datasets.slug(dataset), left_out)
        skipped = _skipped(jobs, draft)
    if interrupted:
        raise interrupted
    failed = [f"notebook {number}: {job.failed}" for number, job in jobs.items() if job.failed]
    return Outcome(target / "index.html", failed, skipped)


def save_notebooks(numbers: Sequence[int] = (), root: Path = Path()) -> None:
    """Execute the committed notebooks as they are and save them in place.

    A notebook that fails or writes to stderr is left as it was, and PortfolioError is raised.
    """
    paths = _find(root)
    for number in numbers or paths:
        path = paths[number]
        with _alone(root), _surroundings(path.parent):
            notebook, failed = _execute(path, {})
        texts = [out.text for cell in notebook.cells for out in cell.get("outputs", [])
                 if out.get("name") == "stderr"]  # fmt: skip
        if failed or texts:
            why = failed or f"wrote to stderr: {texts[0].strip()}"
            raise PortfolioError(f"{path.name} {why}; it was not saved")
        io.write_text(path, nbformat.writes(notebook) + "\n")


def render(
    dataset: str = "", settings: Mapping[str, str] | None = None, root: Path = Path()
) -> Path:
    """Render executed notebooks with the outputs that they hold; nothing is run.

    Without a data set these are the committed notebooks. With one, they are those of the last run
    on it with these settings. Returns the index page.
    """
    paths = _find(root).values()
    if not dataset:
        html.render(list(paths), root / "reports", dataset=datasets.DEFAULT)
        return root / "reports" / "index.html"
    ending = _ending(settings or {})
    names = {_data_of(dataset, parameters(html.read(path))) for path in paths}
    slugs = sorted(f"{datasets.slug(name)}{ending}" for name in names)
    folders = {root / "data/processed" / slug / "notebooks" for slug in slugs}
    newest = [
        max(stored, key=lambda path: path.stat().st_mtime)
        for folder in folders
        if (stored := list(folder.glob("*.ipynb")))
    ]
    if not newest:
        raise PortfolioError(
            f"there are no executed notebooks in data/processed/{slugs[0]}/notebooks; run them "
            "first, with the same DATASET and SET: make run DATASET=..."
        )
    target = root / "reports" / f"{datasets.slug(dataset)}{ending}"
    with _alone(root), io.replaced_folder(target) as draft:
        _render(folders, [_manifest(path) for path in newest], draft, datasets.slug(dataset))
    return target / "index.html"


def parameters(notebook: NotebookNode) -> dict[str, Parameter]:
    """What the cell tagged ``parameters`` declares, by name."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{len(cells)} cells are tagged 'parameters'; exactly one must be")
    found = {}
    for line in ast.parse(cells[0].source).body:
        if not isinstance(line, ast.AnnAssign) or line.value is None:
            raise ValueError(f"{ast.unparse(line)!r} has not the form 'name: type = literal'")
        kind = ast.unparse(line.annotation)
        found[ast.unparse(line.target)] = Parameter(kind, ast.literal_eval(line.value))
    return found


def convert(text: str, kind: str) -> Any:
    """A value typed on the command line, as the type that a notebook declares.

    >>> convert("64", "int"), convert("0.5", "float"), convert("no", "bool"), convert("64", "str")
    (64, 0.5, False, '64')
    >>> convert("5,10", "list[int]")
    [5, 10]
    """
    if kind.startswith("list["):
        return [convert(part.strip(), kind[5:-1]) for part in text.strip("[]").split(",")]
    return BOOLEANS[text.lower()] if kind == "bool" else SCALARS[kind](text)


def preflight(data: Dataset) -> tuple[list[str], dict[int, str]]:
    """What a log cannot answer: sentences, and by number the notebooks that cannot run, and why.

    Examples
    --------
    >>> import pandas as pd
    >>> log = pd.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "x"], "value": [1.0, 1.0]})
    >>> items = pd.DataFrame({"item_id": ["x"], "title": ["x"]})
    >>> sentences, left_out = preflight(Dataset("log", log, items, "", "", "", []))
    >>> sentences[0], sorted(left_out)
    ('The log has only one item, so there is nothing to choose from.', [2, 3, 4, 5, 6, 7, 8])
    """
    log = data.interactions
    happened = log[log["value"] > 0]  # a 0 is no interaction
    n_users, n_items = happened["user_id"].nunique(), happened["item_id"].nunique()
    rows_of_users = log["user_id"].value_counts()
    pairs_of_users = happened.drop_duplicates(["user_id", "item_id"])["user_id"].value_counts()
    sentences, left_out = list(data.notes), {}
    if n_items == 1:
        sentences.append("The log has only one item, so there is nothing to choose from.")
    elif pairs_of_users.max() == 1:
        sentences.append("Every user has one item only, so no item can be put aside as a test.")
    elif n_users < 100:
        sentences.append(f"The log has {n_users} users: intervals are wide, few models differ.")
    if rows_of_users.iloc[0] > len(log) / 2:
        share = rows_of_users.iloc[0] / len(log)
        sentences.append(f"One user has {share:.0%} of the rows; metrics are means over users.")
    n_long = int((pairs_of_users > MAX_HISTORY).sum())
    if 0 < 2 * n_long < n_users:
        sentences.append(
            f"{n_long:,} user(s) with more than {MAX_HISTORY:,} items (up to "
            f"{pairs_of_users.max():,}): models are tuned and compared without them."
        )
    if log["value"].nunique() == 1:
        sentences.append("All values are equal, so weightings by value do not differ.")
    if (data.items["title"] == data.items["item_id"]).all():
        sentences.append("Items have no titles, so their ids are shown; ITEMS=file gives titles.")
    if pairs_of_users.max() == 1:
        why = f"It was left out. {sentences[len(data.notes)]} It needs several users with several "
        left_out = dict.fromkeys((*NEEDS, 8), why + "items: use a longer log.")
    if "timestamp" not in log:
        why = "It was left out, since orders, sessions and a split in time need times."
        left_out |= dict.fromkeys((7, 8), why)
    elif not log["timestamp"].between(*(period := Rules().period("UTC"))).any():
        said = f"No row has a time from {period[0]:%Y} to now, so times are no more than an order"
        sentences.append(f"{said}.")
        left_out |= dict.fromkeys((7, 8), f"It was left out. {said}: correct them.")
    return sentences, left_out


def _find(root: Path) -> dict[int, Path]:
    """The notebooks by number."""
    paths = sorted((root / "notebooks").resolve().glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise PortfolioError(f"no notebooks in {root / 'notebooks'}; run this in the project")
    return {int(path.name[:2]): path for path in paths}


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Refuse a second run in the same folder: it would mix its files with those of the first."""
    path = (root / "data" / "processed" / ".lock").resolve()
    lock = FileLock(path)
    try:
        with io.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout:
        raise PortfolioError(
            f"another run is going on in {root.resolve().name}/; wait until it ends, or run in "
            "another copy of the project"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _converted(
    settings: Mapping[str, str], declared: Iterable[Mapping[str, Parameter]]
) -> dict[str, Any]:
    """The settings in the types that the notebooks declare."""
    known = {name: each for cell in declared for name, each in cell.items()}
    free = {name: each for name, each in known.items() if name not in OWN_PARAMETERS}
    values = {}
    for name, text in settings.items():
        if name in OWN_PARAMETERS:
            raise PortfolioError(f"parameter {name} follows from the data set: use DATASET=...")
        if name not in free:
            near = difflib.get_close_matches(name, free, n=1)
            listed = ", ".join(f"{key} ({free[key].type})" for key in sorted(free))
            raise PortfolioError(
                f"no notebook has a parameter {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else "")
                + f" Known parameters: {listed or 'none'}"
            )
        try:
            values[name] = convert(text, free[name].type)
        except (ValueError, KeyError):
            raise PortfolioError(
                f"parameter {name} is {text!r}, but must be of type {free[name].type} "
                f"(default {free[name].default!r})"
            ) from None
    return values


def _ending(settings: Mapping[str, str]) -> str:
    """What the settings add to the names of folders, so that two runs do not share one."""
    text = "".join(f"-{name}-{value}" for name, value in sorted(settings.items()))
    readable = re.sub(r"[^\w.-]+", "_", text)
    if readable == text and len(text) <= 60:
        return text
    return f"{readable[:50]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _data_of(dataset: str, known: Mapping[str, Parameter]) -> str:
    """What a notebook reads: in a run of the default data set, the one it was written for."""
    written_for = known["dataset"].default if "dataset" in known else dataset
    return str(written_for if dataset == datasets.DEFAULT else dataset)


def _from_notebooks(name: str, root: Path) -> str:
    """A path as the notebooks see it from their folder; a name of a data set stays."""
    if not name or name in datasets.names():
        return name
    return Path(os.path.relpath(name, root / "notebooks")).as_posix()


def _look(
    name: str, columns: str | None, items: str | None, root: Path
) -> tuple[str, dict[int, str]]:
    """Load a data set and say what it cannot answer; its checksum, and the notebooks left out."""
    data = datasets.load(name, columns=columns, items=items, data_dir=root / "data")
    sentences, left_out = preflight(data)
    for sentence in sentences:
        print(f"{data.name}: {sentence}", file=sys.stderr)
    return data.sha256, left_out


def _require_needed(jobs: Mapping[int, Job], paths: Mapping[int, Path]) -> None:
    """Refuse a part of the notebooks whose needed files are not there or are of another run."""
    for number, job in jobs.items():
        need = NEEDS.get(number, 0)
        if need in paths and need not in jobs:
            executed = job.executed.with_name(paths[need].name)
            if not executed.is_file() or html.read(executed).metadata.get("run") != job.manifest:
                raise PortfolioError(
                    f"notebook {number} needs what notebook {need} writes for this data and these "
                    f'settings, which is not there; run both: NOTEBOOKS="{need} {number}"'
                )


def _execute_all(jobs: Mapping[int, Job]) -> None:
    """Run the notebooks, each when what it needs is done."""
    stopped = Event()

    def run_one(job: Job, need: Job | None) -> None:
        if need and (need.failed or need.left_out) and not job.left_out:
            name = need.path.name
            job.left_out = f"It was left out, since it needs what notebook {int(name[:2])} writes."
        if not job.left_out and not stopped.is_set():
            notebook, failed = _execute(job.path, job.values)
            if not stopped.is_set():
                job.failed = failed
                notebook.metadata.run = {**job.manifest, "failed": failed}
                io.write_text(job.executed, nbformat.writes(notebook) + "\n")

    # Those that others wait for come first, then the last ones, which take longest.
    waiting = sorted(jobs, key=lambda number: (number not in NEEDS.values(), -number))
    running: dict[Future[None], int] = {}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            while waiting or running:
                to_come = {*waiting, *running.values()}
                ready = [number for number in waiting if NEEDS.get(number) not in to_come]
                for number in ready[: AT_A_TIME - len(running)]:
                    waiting.remove(number)
                    need = jobs.get(NEEDS.get(number, 0))
                    running[pool.submit(run_one, jobs[number], need)] = number
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[future]
                    future.result()
        except KeyboardInterrupt:
            stopped.set()
            for kernel in psutil.Process().children(recursive=True):
                kernel.kill()
            raise


@contextmanager
def _surroundings(folder: Path, **environment: str) -> Iterator[None]:
    """Where kernels start, and what they find in their environment."""
    before = dict(os.environ)
    # papermill's own change of folder is not made for two at a time.
    with chdir(folder), TemporaryDirectory() as scratch:  # a killed kernel tidies nothing up
        # Threads that wait by spinning would take the core of the other notebook.
        own = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TMPDIR": scratch}
        os.environ.update(environment, **own)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _execute(path: Path, values: Mapping[str, Any]) -> tuple[NotebookNode, str]:
    """The executed notebook, which ends with the failing cell, and why it failed."""
    failed, start = "", time.monotonic()
    with TemporaryDirectory() as folder:
        executed = Path(folder) / path.name
        try:
            papermill.execute_notebook(
                str(path).replace("{", "{{").replace("}", "}}"),  # it formats paths
                executed,
                parameters=dict(values),
                kernel_name="python3",
                language="python",
                extra_arguments=["--log-level=CRITICAL"],  # of the kernel itself, on the terminal
                record_timing=False,
                store_widget_state=False,
                progress_bar={"desc": path.stem, "file": sys.stderr, "disable": None},
            )
        except PapermillExecutionError as error:
            failed = f"{error.ename}: {error.evalue}"
        except DeadKernelError:
            failed = "the kernel died, most often because memory ran out"
        notebook = html.read(executed)
    failed = _strip(notebook, failed)
    if not sys.stderr.isatty():
        print(f"{path.stem}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return notebook, failed


def _strip(notebook: NotebookNode, failed: str) -> str:
    """Remove what differs between two equal runs and what follows a failure; say where it was."""
    remove_error_markers(notebook)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        # Progress bars live in the kernel that drew them; stored, they are dead and differ.
        if "outputs" in cell:
            cell.outputs = [out for out in cell.outputs if WIDGET not in out.get("data", {})]
            for output in cell.outputs:
                if output.output_type == "error":
                    output.traceback = [f"{output.ename}: {output.evalue}"]
    code = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    done = [n for n in code if notebook.cells[n].execution_count is not None]
    if not failed and len(done) == len(code):
        return ""
    last = done[-1] if done else 0
    notebook.cells = notebook.cells[: last + 1]
    why = " ".join(failed.split())[:300] or "it ended without an error"
    return f"stopped in cell {last + 1} of {code[-1] + 1}. {why}"


def _render(
    folders: Iterable[Path],
    manifests: Sequence[Mapping[str, Any]],
    target: Path,
    dataset: str,
    left_out: Mapping[Path, str] | None = None,
) -> None:
    """Render what was executed on this data with these settings, by this run or an earlier one."""
    stored = sorted((path.name, path) for folder in folders for path in folder.glob("*.ipynb"))
    done = [path for _, path in stored if _manifest(path) in manifests]
    if done:
        html.render(done, target, dataset=dataset, left_out=left_out)


def _manifest(executed: Path) -> dict[str, Any]:
    return {**html.read(executed).metadata.get("run", {}), "failed": ""}


def _skipped(jobs: Mapping[int, Job], target: Path) -> list[str]:
    sentences = []
    for number, job in jobs.items():
        if job.left_out:
            sentences.append(f"notebook {number}: {job.left_out}")
        result = target / "results" / f"{job.path.stem}.json"
        for each in io.read_json(result).get("skipped", []) if result.is_file() else []:
            sentences.append(f"notebook {number}: {each['analysis']}. {each['reason']}")
    return sentences
