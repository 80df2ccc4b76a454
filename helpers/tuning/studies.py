"""A search with Optuna that can be stopped, resumed and repeated."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TypeVar

import implicit
import numba
import numpy as np
import optuna
import pandas as pd
from implicit.cpu.als import AlternatingLeastSquares
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import DatabaseError
from tqdm.auto import tqdm

from helpers import als, baselines, metrics, recommend, weighting
from helpers.tuning.tasks import DIGITS, Settings, Task, in_parallel, iterates, recipe, rounded

K = TypeVar("K")

STARTUP = 8
"""Trials at random before the search looks at what came out."""

_OPENING = Lock()  # two threads must not both create the tables of a new file


def search(
    task: Task,
    name: str,
    space: Mapping[str, BaseDistribution],
    *,
    budget: int,
    fixed: Settings | None = None,
    iterations: int = 16,
    every: int = 4,
    seed: int = 0,
    storage: str | Path | None = None,
    on_trial: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Look for good settings with Optuna (TPE), pruned by the validation curve.

    Parameters
    ----------
    task : Task
    name : {"ALS", "IALS"}
    space : mapping of str to Optuna distribution
        What to search. ``iterations`` is not searched: it is read off the validation curve.
    budget : int, at least 1
        Trials, the pruned ones among them.
    fixed : mapping, optional
        Settings that are the same in all trials.
    iterations, every : int
        Length of the validation curve, and the distance of its points.
    seed : int
        Of the search and of the models.
    storage : path, optional
        SQLite file that keeps the trials; in memory when not given.
    on_trial : callable
        Called after each trial, for a progress bar.

    Returns
    -------
    DataFrame
        Index ``trial``; the settings with the best ``iterations``, ``nDCG@k`` there (missing
        where pruned) and ``state``.

    Raises
    ------
    ValueError
        If the budget is below 1, the space is empty or names an unknown setting, or ``storage``
        is no database of Optuna.

    Notes
    -----
    *Resuming.* The study's name holds a checksum of the data, the settings and the code of the
    models: an equal search goes on where the last one stopped, and a finished one is only read.
    The sampler gets a seed of its own for each trial, made from ``seed`` and the number of trials
    before it, so a search that was stopped and resumed proposes what an uninterrupted one would
    have.

    *Processors.* Numbers are rounded before they decide anything: settings to three digits,
    objectives to nine decimals.

    References
    ----------
    Bergstra et al. (2011), "Algorithms for Hyper-Parameter Optimization" (TPE).
    """
    if budget < 1:
        raise ValueError(f"budget is {budget}, expected at least 1 trial")
    if not space:
        raise ValueError("space is empty; name at least one setting to search")
    if "iterations" in space:
        raise ValueError("space names iterations, which are read off the validation curve")
    base = dict(fixed or {})
    recipe(name, {**base, **dict.fromkeys(space)})  # refuses unknown names
    at = sorted({*range(every, iterations, every), iterations})
    ranges = {key: repr(value) for key, value in space.items()}
    about = json.dumps([task.sha256, _code(), name, ranges, base, at, seed])
    digest = hashlib.sha256(about.encode()).hexdigest()
    with _study(f"{task.name}, {name}, {digest[:16]}", storage) as study:
        while len(past := _ended(study)) < budget:
            study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=STARTUP, multivariate=True, seed=_seed(seed, len(past))
            )
            trial = study.ask(dict(space))
            settings = base | {key: rounded(value) for key, value in trial.params.items()}
            try:
                curve = _validation_curve(task, name, settings, at, seed, trial)
            except BaseException:
                study.tell(trial, state=TrialState.FAIL)
                raise
            n = max(curve, key=lambda at: curve[at])
            trial.set_user_attr("settings", settings | {"iterations": n})
            pruned = len(curve) < len(at)
            study.tell(trial, None if pruned else curve[n], TrialState.PRUNED if pruned else None)
            on_trial()
    metric = f"nDCG@{task.k}"
    rows = []
    for ended in past[:budget]:
        # Optuna gives a pruned trial its last value; it is no result.
        value = ended.value if ended.state == TrialState.COMPLETE else np.nan
        rows.append(ended.user_attrs["settings"] | {metric: value, "state": ended.state.name})
    return pd.DataFrame(rows).rename_axis("trial")


def search_all(
    searches: Mapping[K, Callable[..., pd.DataFrame]], budget: int, workers: int = 2
) -> dict[K, pd.DataFrame]:
    """Several searches at a time, with one progress bar over all of their trials.

    Parameters
    ----------
    searches : mapping
        :func:`search` with all but ``budget`` and ``on_trial`` given (``functools.partial``).
    budget : int
        Trials of each.
    workers : int
        Searches at a time; the trials of one search follow each other.

    Returns
    -------
    dict
        The trials of each search.
    """
    with tqdm(total=budget * len(searches), desc="trials", leave=False) as bar:

        def run(job: Callable[..., pd.DataFrame]) -> pd.DataFrame:
            return job(budget=budget, on_trial=bar.update)

        found = in_parallel(run, list(searches.values()), workers)
    return dict(zip(searches, found, strict=True))


def _validation_curve(
    task: Task,
    name: str,
    settings: Settings,
    at: Sequence[int],
    seed: int,
    trial: optuna.Trial,
) -> dict[int, float]:
    """nDCG after some numbers of iterations, as far as the pruner lets the trial go."""
    curve: dict[int, float] = {}

    def look(model: AlternatingLeastSquares) -> None:
        n = at[len(curve)]
        curve[n] = round(float(task.ndcg(task.top_n(model)).mean()), DIGITS)
        trial.report(curve[n], n)
        if n < at[-1] and trial.should_prune():
            raise optuna.TrialPruned

    chosen = recipe(name, {**settings, "iterations": at[-1]}, seed=seed)
    train = task.split.train
    with suppress(optuna.TrialPruned):  # the curve is shorter then
        iterates(chosen.make(train), chosen.matrix(train), at, look)
    return curve


@contextmanager
def _study(name: str, storage: str | Path | None) -> Iterator[optuna.Study]:
    """The study of this name, made where it is new; trials that a stopped run left are failed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # its news go to stderr
    database = None
    try:
        with _OPENING:
            if storage is not None:
                Path(storage).parent.mkdir(parents=True, exist_ok=True)
                url = URL.create("sqlite", database=str(storage)).render_as_string()
                # Two searches may write at once: the second one waits.
                database = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
            study = optuna.create_study(
                storage=database,
                study_name=name,
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
                load_if_exists=True,
            )
    except (DatabaseError, RuntimeError) as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise ValueError(
            f"storage {storage} cannot be used as a database of studies ({reason}); "
            "delete it and run again"
        ) from error
    try:
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
        yield study
    finally:
        if database is not None:
            database.remove_session()
            database.engine.dispose()


@cache
def _code() -> str:
    """Checksum of the code that fits and judges: what other code has found is searched anew."""
    modules = [als, metrics, baselines, recommend, weighting]
    sources = [Path(str(module.__file__)) for module in modules]
    sources += [
        path for package in (sources[0], sources[1]) for path in package.parent.glob("*.py")
    ]
    code = b"".join(path.read_bytes() for path in sorted({*sources, Path(__file__)}))
    versions = [implicit.__version__, numba.__version__, np.__version__]
    return hashlib.sha256(code + json.dumps(versions).encode()).hexdigest()


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    """Complete and pruned trials, in order."""
    return study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
