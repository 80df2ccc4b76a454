"""Run the notebooks: which can answer, two at a time, and what is kept when one of them fails."""

# What executes and renders is imported when the settings are known to be good, so that errors come
# at once.
import ast
import difflib
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
from filelock import FileLock, Timeout

from helpers import datasets, io
from helpers.cleaning import Rules
from helpers.datasets import Dataset
from helpers.interactions import MAX_HISTORY

if TYPE_CHECKING:
    from nbformat import NotebookNode

NEEDS = {1: 0, 8: 0, 2: 1, 4: 2, 10: 0, 7: 0, 6: 2, 5: 4, 3: 2, 9: 0}
"""The notebooks in the order in which they start, each with the one whose files it reads."""

RENDERED = "rendered.json"  # the list of the notebooks that the last run rendered
AT_A_TIME = 2
NO_TIMES = (
    "The log has no times, so the items to be found are random items of each user. Nothing here "
    "shows how well what comes next is foreseen."
)
SCALARS: dict[str, type] = {"int": int, "float": float, "str": str}
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
    left_out: str
    note: str
    failed: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a run: its index page, and sentences on what failed and what was left out."""

    index: Path
    failed: list[str]
    skipped: list[str]


def run(
    dataset: str = datasets.DEFAULT,
    *,
    columns: str = "",
    items: str = "",
    settings: Mapping[str, str] | None = None,
    numbers: Sequence[int] = (),
) -> Outcome:
    """Execute the notebooks on a data set and render their reports, in the project's folder.

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

    Raises
    ------
    PortfolioError
        If a parameter is unknown or of the wrong type, or a notebook that is needed has not run.
    DatasetError
        If the data set cannot be loaded.
    """
    paths = _find()
    if unknown := set(numbers) - set(paths):
        listed = ", ".join(map(str, paths))
        raise PortfolioError(f"there is no notebook {min(unknown)}; there are {listed}")
    declared = {number: parameters(io.read_notebook(path)) for number, path in paths.items()}
    converted = _converted(settings or {}, declared.values())
    slug, ending = datasets.slug(dataset), _ending(settings or {})
    target = Path("reports", f"{slug}{ending}")
    with _alone(), io.replaced_folder(target) as draft:
        names = {number: _data_of(dataset, declared[number]) for number in sorted(numbers or paths)}
        looked_at = {name: _look(name, columns, items) for name in sorted({*names.values()})}
        jobs = {}
        for number, name in names.items():
            data_sha256, left_out, note = looked_at[name]
            folder = Path("data/processed", f"{datasets.slug(name)}{ending}")
            given = {
                "dataset": _from_notebooks(name),
                "columns": columns,
                "items": _from_notebooks(items),
                "processed_dir": f"../{folder.as_posix()}",
                **converted,
            }
            known = declared[number]
            own = {key: value for key, value in given.items() if key in known}
            jobs[number] = Job(
                paths[number],
                folder / "notebooks" / paths[number].name,
                {key: value for key, value in own.items() if value != known[key].default},
                {"data_sha256": data_sha256, **given},
                left_out.get(number, ""),
                note,
            )
        _require_needed(jobs, paths)
        for left in draft.glob("recommendations.*"):  # must not pass for those of this run
            left.unlink()
        for job in jobs.values():
            name = job.path.stem
            for old in (f"{name}.html", f"figures/{name}.png", f"results/{name}.json"):
                (draft / old).unlink(missing_ok=True)
            job.executed.unlink(missing_ok=True)
        interrupted = _execute_all(jobs, draft.resolve())  # what is done is rendered all the same
        executed = _executed({job.executed.parent: job.manifest for job in jobs.values()})
        rendered = [path.as_posix() for path in executed]
        io.write_json(Path("data/processed", target.name, RENDERED), rendered)
        missing = {job.path: job.left_out for job in jobs.values() if job.left_out}
        from helpers.reporting import html

        html.render(executed, draft, dataset=slug, left_out=missing)
        skipped = _skipped(jobs, draft)
    if interrupted:
        raise KeyboardInterrupt
    failed = [f"notebook {number}: {job.failed}" for number, job in jobs.items() if job.failed]
    return Outcome(target / "index.html", failed, skipped)


def save_notebooks(numbers: Sequence[int] = ()) -> None:
    """Execute the committed notebooks as they are and save them in place.

    A notebook that fails or writes to stderr is left as it was, and PortfolioError is raised.
    """
    from helpers import execution

    paths = _find()
    for number in numbers or paths:
        path = paths[number]
        with _alone(), _environment():
            notebook, failed = execution.execute(path, {})
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        texts = [output.text.strip() for output in outputs if output.get("name") == "stderr"]
        if failed or texts:
            why = failed or f"wrote to stderr: {texts[0]}"
            raise PortfolioError(f"{path.name} {why}; it was not saved")
        io.write_notebook(path, notebook)


def render(dataset: str = "", settings: Mapping[str, str] | None = None) -> Path:
    """Render executed notebooks with the outputs that they hold; nothing is run.

    Without a data set these are the committed notebooks. With one, they are those of the last run
    on it with these settings. Returns the index page.
    """
    from helpers.reporting import html

    if not dataset:
        html.render(list(_find().values()), Path("reports"), dataset=datasets.DEFAULT)
        return Path("reports/index.html")
    slug, ending = datasets.slug(dataset), _ending(settings or {})
    folder, target = (Path(part, f"{slug}{ending}") for part in ("data/processed", "reports"))
    if not (folder / RENDERED).is_file():
        raise PortfolioError(
            f"there are no executed notebooks in data/processed/{slug}{ending}/notebooks; run "
            "them first, with the same DATASET and SET: make run DATASET=..."
        )
    with _alone(), io.replaced_folder(target) as draft:
        html.render([Path(name) for name in io.read_json(folder / RENDERED)], draft, dataset=slug)
    return target / "index.html"


def parameters(notebook: "NotebookNode") -> dict[str, Parameter]:
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

    >>> convert("64", "int"), convert("64", "str"), convert("5,10", "list[int]")
    (64, '64', [5, 10])
    """
    if kind.startswith("list["):
        return [convert(part.strip(), kind[5:-1]) for part in text.strip("[]").split(",")]
    return SCALARS[kind](text)


def preflight(data: Dataset) -> tuple[list[str], dict[int, str]]:
    """What a log cannot answer: sentences, and by number the notebooks that cannot run, and why.

    >>> import pandas as pd
    >>> log = pd.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "x"], "value": [1.0, 1.0]})
    >>> items = pd.DataFrame({"item_id": ["x"], "title": ["x"]})
    >>> sentences, left_out = preflight(Dataset("log", log, items, "", "", "", []))
    >>> sentences[0], sorted(left_out)
    ('The log has only one item, so there is nothing to choose from.', [2, 3, 4, 5, 6, 7, 8, 10])
    """
    log = data.interactions
    happened = log[log["value"] > 0]  # a 0 is no interaction
    n_users = happened["user_id"].nunique()
    pairs_of_users = happened.drop_duplicates(["user_id", "item_id"])["user_id"].value_counts()
    n_items, n_pairs = happened["item_id"].nunique(), int(pairs_of_users.sum())
    sentences, left_out = list(data.notes), {}
    nothing = ""
    if n_items == 1:
        nothing = "The log has only one item, so there is nothing to choose from."
    elif pairs_of_users.max() == 1:
        nothing = "Every user has one item only, so no item can be put aside as a test."
    elif n_pairs < 20:
        nothing = f"The log has only {n_pairs} pairs of a user and an item, too few to learn from."
    if nothing:
        sentences.append(nothing)
        why = f"It was left out. {nothing} It needs several users with several items: "
        left_out = dict.fromkeys((2, 3, 4, 5, 6, 8, 10), f"{why}use a longer log.")
    elif n_users < 100:
        sentences.append(f"The log has {n_users} users: intervals are wide, few models differ.")
    if pairs_of_users.min() == n_items > 1:
        sentences.append("Every user has every item, so nobody can be recommended a new one.")
    if (share := log["user_id"].value_counts(normalize=True).iloc[0]) > 0.5:
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
    if "timestamp" not in log:
        why = "It was left out, since orders, sessions and a split in time need times."
        left_out |= dict.fromkeys((7, 8), why)
    elif not log["timestamp"].between(*(period := Rules().period("UTC"))).any():
        said = f"No row has a time from {period[0]:%Y} to now, so times are no more than an order"
        sentences.append(f"{said}.")
        left_out |= dict.fromkeys((7, 8), f"It was left out. {said}: correct them.")
    return sentences, left_out


def _find() -> dict[int, Path]:
    """The notebooks by number."""
    paths = sorted(Path("notebooks").resolve().glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise PortfolioError("there is no notebook in notebooks/; run this in the project's folder")
    return {int(path.name[:2]): path for path in paths}


def _alone() -> AbstractContextManager[object]:
    """Refuse a second run in the same folder: it would mix its files with those of the first."""
    path = Path("data/processed/.lock").resolve()
    try:
        with io.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return FileLock(path).acquire(timeout=0)
    except Timeout:
        raise PortfolioError(
            f"another run is going on in {Path.cwd().name}/; wait until it ends, or run in "
            "another copy of the project"
        ) from None


def _converted(
    settings: Mapping[str, str], declared: Iterable[Mapping[str, Parameter]]
) -> dict[str, Any]:
    """The settings in the types that the notebooks declare."""
    known = {name: each for cell in declared for name, each in cell.items()}
    free = {name: known[name] for name in sorted(known.keys() - OWN_PARAMETERS)}
    values = {}
    for name, text in settings.items():
        if name not in free:
            near = difflib.get_close_matches(name, free, n=1)
            meant = f"did you mean {near[0]!r}? It" if near else "it"
            listed = ", ".join(f"{key} ({each.type})" for key, each in free.items())
            raise PortfolioError(f"SET knows no parameter {name!r}; {meant} knows: {listed}")
        kind, default = free[name]
        try:
            values[name] = convert(text, kind)
        except ValueError:
            raise PortfolioError(
                f"parameter {name} is {text!r}, but must be of type {kind} (default {default!r})"
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


def _from_notebooks(name: str) -> str:
    """A path as the notebooks see it from their folder; a name of a data set stays."""
    if not name or name in datasets.names():
        return name
    return Path(os.path.relpath(name, "notebooks")).as_posix()


def _look(name: str, columns: str, items: str) -> tuple[str, dict[int, str], str]:
    """Load a data set and say what it cannot answer.

    Its checksum, the notebooks that are left out, and a sentence for each page.
    """
    data = datasets.load(name, columns=columns or None, items=items or None)
    sentences, left_out = preflight(data)
    for sentence in sentences:
        print(f"{data.name}: {sentence}", file=sys.stderr)
    return data.sha256, left_out, "" if "timestamp" in data.interactions else NO_TIMES


def _require_needed(jobs: Mapping[int, Job], paths: Mapping[int, Path]) -> None:
    """Refuse a part of the notebooks whose needed files are not there or are of another run."""
    for number, job in jobs.items():
        need = NEEDS.get(number, 0)
        if need in paths and need not in jobs:
            executed = job.executed.with_name(paths[need].name)
            run = io.read_notebook(executed).metadata.get("run") if executed.is_file() else None
            if run != {"manifest": job.manifest, "failed": "", "note": job.note}:
                raise PortfolioError(
                    f"notebook {number} needs what notebook {need} writes for this data and these "
                    f'settings, which is not there; run both: NOTEBOOKS="{need} {number}"'
                )


def _execute_all(jobs: Mapping[int, Job], reports: Path) -> bool:
    """Run the notebooks, each when what it needs is done; whether Ctrl-C ended it."""
    from helpers import execution

    stopped = Event()

    def run_one(job: Job, earlier: Future[Job] | None) -> Job:
        need = earlier.result() if earlier else None
        if need and (need.failed or need.left_out) and not job.left_out:
            number = int(need.path.name[:2])
            job.left_out = f"It was left out, since it needs what notebook {number} writes."
        if not job.left_out and not stopped.is_set():
            notebook, failed = execution.execute(job.path, job.values)
            if not stopped.is_set():
                job.failed = failed
                run = {"manifest": job.manifest, "failed": failed, "note": job.note}
                notebook.metadata.run = run
                io.write_notebook(job.executed, notebook)
        return job

    started: dict[int, Future[Job]] = {}
    with _environment(PORTFOLIO_REPORTS=str(reports)), ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            for number in sorted(jobs, key=[*NEEDS, *jobs].index):
                earlier = started.get(NEEDS.get(number, 0))
                started[number] = pool.submit(run_one, jobs[number], earlier)
            for future in started.values():
                future.result()
        except KeyboardInterrupt:
            stopped.set()
            for kernel in psutil.Process().children(recursive=True):
                kernel.kill()
    return stopped.is_set()


@contextmanager
def _environment(**more: str) -> Iterator[None]:
    """What kernels find in their environment."""
    before = dict(os.environ)
    with TemporaryDirectory() as scratch:  # a killed kernel tidies nothing up
        # Threads that wait by spinning would take the core of the other notebook.
        own = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TMPDIR": scratch}
        os.environ.update(more, **own)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _executed(manifests: Mapping[Path, object]) -> list[Path]:
    """The stored notebooks, by number, of the folders and runs that are named."""
    paths = [path for folder in manifests for path in folder.glob("*.ipynb")]
    runs = {path: io.read_notebook(path).metadata.get("run", {}) for path in paths}
    same = [path for path in paths if runs[path].get("manifest") == manifests[path.parent]]
    return sorted(same, key=lambda path: path.name)


def _skipped(jobs: Mapping[int, Job], target: Path) -> list[str]:
    sentences = []
    for number, job in jobs.items():
        if job.left_out:
            sentences.append(f"notebook {number}: {job.left_out}")
        result = target / "results" / f"{job.path.stem}.json"
        for each in io.read_json(result).get("skipped", []) if result.is_file() else []:
            sentences.append(f"notebook {number}: {each['analysis']}. {each['reason']}")
    return sentences
