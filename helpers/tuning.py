"""Choosing settings on a validation set: grids, searches with Optuna, and how much work they get.

A :class:`Task` holds a training and a validation side, and nothing in this module asks for more:
the test set stays closed until the evaluation. Every fit is exact and in float64, so that the same
settings are chosen on every processor.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, partial
from itertools import product
from typing import Any, TypeVar

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from helpers import metrics, recommend
from helpers.models import model_factory
from helpers.splits import Split

T = TypeVar("T")
J = TypeVar("J")
Settings = Mapping[str, Any]

STARTUP = 8  # trials at random before the search looks at what came out

DIGITS = 9
"""Decimals of a score that decides: what all processors agree on, so that they decide alike."""


def _meaning(text: str) -> Any:
    return field(metadata={"meaning": text})


@dataclass(frozen=True)
class Workload:
    """How much of a log the notebooks use; see :func:`workload`."""

    train_users: int = _meaning("users that models learn from, at most")
    test_users: int = _meaning("users whose lists are scored, at most")
    search_users: int = _meaning("users in a search for settings, at most")
    trials: int = _meaning("trials of each search")
    grid_users: int = _meaning("users in the grid, at most")
    folds: int = _meaning("parts of the grid's pairs")
    n_splits: int = _meaning("random splits in the comparison")
    max_factors: int = _meaning("factors of the largest model")
    without: tuple[str, ...] = _meaning("models left out")

    def to_frame(self) -> pd.DataFrame:
        """The numbers with their meaning, as a table for the notebooks."""
        values = asdict(self) | {"without": ", ".join(self.without) or "none"}
        named = {each.metadata["meaning"]: values[each.name] for each in fields(self)}
        return pd.Series(named, name="value", dtype=object).rename_axis("meaning").to_frame()


def workload(n_rows: int, n_users: int, n_items: int) -> Workload:
    """How much work a log of this size gets, by a rule without a clock.

    A log is *small* up to 200,000 rows and 5,000 items, *medium* up to 2 million rows and 20,000
    items, else *large*, and a table by these three classes says the rest. Models learn from so
    many random users that these have about 2 million rows. EASE needs at most 5,000 items, BPR at
    most 2 million rows. The same log gets the same work on any machine.

    Examples
    --------
    >>> workload(100_000, 943, 1_682).trials
    16
    >>> workload(10_000_000, 200_000, 50_000).train_users
    40000
    """
    small = n_rows <= 200_000 and n_items <= 5_000
    medium = n_rows <= 2_000_000 and n_items <= 20_000
    size = 0 if small else 1 if medium else 2
    most_rows = 2_000_000
    too_large = {"EASE": n_items > 5_000, "BPR": n_rows > most_rows}
    return Workload(
        train_users=n_users if n_rows <= most_rows else max(1, n_users * most_rows // n_rows),
        test_users=2_000,
        search_users=(1_000, 700, 1_000)[size],
        trials=(16, 6, 6)[size],
        grid_users=(1_000, 300, 500)[size],
        folds=2,
        n_splits=(3, 2, 1)[size],
        max_factors=(256, 128, 64)[size],
        without=tuple(name for name, large in too_large.items() if large),
    )


@dataclass(frozen=True, eq=False)
class Task:
    """What a search may see: one training side and one validation side.

    The ``test`` side of the split is the *validation* set here; ``k`` is the length of the lists.
    """

    name: str
    split: Split
    k: int = 10

    @cached_property
    def users(self) -> np.ndarray:
        """Rows with something in train and something to find, in ascending order."""
        return self.split.tested

    def top_n(self, model: Any, matrix: csr_matrix | None = None) -> np.ndarray:
        """The first ``k`` new items of each of :attr:`users`, padded with -1.

        Baselines score from the histories, so ``matrix`` is what the model was fitted on, where
        that is not the training matrix itself.
        """
        histories = self.split.train.user_items if matrix is None else matrix
        left_out = self.split.left_out
        return recommend.top_n(model, histories, self.k, users=self.users, left_out=left_out)

    def ndcg(self, top_n: np.ndarray) -> np.ndarray:
        """nDCG at ``k`` of each of :attr:`users`, from their lists."""
        found = metrics.accuracy(top_n, self.split.test.user_items[self.users], [self.k])
        return found[f"ndcg@{self.k}"].to_numpy(np.float64)

    def score(self, top_n: np.ndarray) -> float:
        """The mean of :meth:`ndcg`, to :data:`DIGITS` decimals."""
        return round(float(self.ndcg(top_n).mean()), DIGITS)


def iterates(
    model: Any, user_items: csr_matrix, at: Sequence[int], measure: Callable[[Any], T]
) -> dict[int, T]:
    """Fit once, and look at the model after several numbers of iterations, from 1.

    A fit of 40 iterations passes through the models of 10, 20 and 30 on its way: nothing in ALS or
    BPR depends on how many iterations are still to come. The model is fitted in place, and goes on
    learning after ``measure`` has seen it, so what shall stay must be copied.

    Returns
    -------
    dict
        What ``measure`` returned, by number of iterations.
    """
    if not at or min(at) < 1 or max(at) > model.iterations:
        raise ValueError(
            f"at is {list(at)}, expected numbers from 1 to {model.iterations}, the model's "
            "iterations"
        )
    if model.user_factors is not None:
        raise ValueError("model is fitted already and would go on from there; make a new one")
    found: dict[int, T] = {}

    def look(iteration: int, *others: object) -> None:
        if iteration + 1 in at:
            found[iteration + 1] = measure(model)

    model.fit(user_items, show_progress=False, callback=look)
    return found


def runs_of(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The settings of every point of a grid, by its values of each setting.

    Examples
    --------
    >>> runs_of({"factors": [8], "alpha": [1.0, 2.0]})
    [{'alpha': 1.0, 'factors': 8}, {'alpha': 2.0, 'factors': 8}]
    """
    if not grid or not all(map(len, grid.values())):
        raise ValueError(f"grid is {grid!r}, expected at least one value for each setting")
    names = sorted(grid)
    points = product(*(grid[name] for name in names))
    return [dict(zip(names, point, strict=True)) for point in points]


def fit_lists(
    task: Task,
    name: str,
    runs: Sequence[Settings],
    *,
    seeds: Sequence[int] = (0,),
    workers: int = 2,
) -> np.ndarray:
    """The lists of many models; one fit serves those that differ in iterations only.

    Parameters
    ----------
    name : str
        One of :data:`helpers.models.SETTINGS`.
    runs : sequence of mapping
        Settings of each model, such as from :func:`runs_of`.
    seeds : sequence of int
        Every model is fitted once for each.
    workers : int
        Fits at a time.

    Returns
    -------
    int ndarray of shape (n_runs, n_seeds, n_users, k)
        Lists of ``task.users``.
    """
    return np.array(_fit_all(task, name, runs, seeds, workers, task.top_n))


def score_grid(task: Task, name: str, runs: Sequence[Settings], *, seed: int = 0) -> pd.DataFrame:
    """ROEM and nDCG of many models; the arguments are those of :func:`fit_lists`.

    Returns
    -------
    DataFrame
        One row for each model: the settings, ``ROEM`` (0 is best, 0.5 chance; whole catalogue,
        ties averaged, weighted by strength), ``ROEM, test rows`` (each user's test items among
        themselves, ties first, as the usual SQL has it), ``nDCG@k``, and ``of users``, the nDCG
        of each of ``task.users``.
    """

    def measure(model: Any, matrix: csr_matrix) -> dict[str, Any]:
        test, left_out, users = task.split.test.user_items, task.split.left_out, task.users
        lists, ranks, in_test = [], [], []
        blocks = recommend.in_blocks(model, matrix, task.k, users, left_out)
        for block, scores, items, _ in blocks:
            lists.append(items)
            ranks.append(metrics.percentile_ranks(scores, test[block], left_out[block]))
            in_test.append(_percent_rank(scores, test[block]))
        both = {"ROEM": np.concatenate(ranks), "ROEM, test rows": np.concatenate(in_test)}
        roem = {what: np.average(each, weights=test[users].data) for what, each in both.items()}
        ndcg = task.ndcg(np.concatenate(lists))
        return {**roem, f"nDCG@{task.k}": ndcg.mean(), "of users": ndcg}

    found = _fit_all(task, name, runs, [seed], 2, measure)
    return pd.DataFrame({**run, **scores} for run, [scores] in zip(runs, found, strict=True))


def search(
    task: Task,
    name: str,
    space: Mapping[str, BaseDistribution],
    *,
    trials: int,
    iterations: Sequence[int],
    fixed: Settings | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Look for good settings with Optuna (TPE), pruned by the validation curve.

    Parameters
    ----------
    name : {"ALS", "IALS", "BPR"}
    space : mapping of str to Optuna distribution
        What to search, but ``iterations``: those are read off the validation curve.
    trials : int, at least 1
        Pruned ones among them.
    iterations : sequence of int
        Points of the validation curve.
    fixed : mapping, optional
        Settings that are the same in all trials.
    seed : int
        Of the search and of the models.

    Returns
    -------
    DataFrame
        Index ``trial``; the settings with the best ``iterations``, and ``nDCG@k`` there (missing
        where the trial was pruned).

    Notes
    -----
    Settings are rounded to three digits and scores to :data:`DIGITS` decimals, so that every
    processor decides alike.

    References
    ----------
    Bergstra et al. (2011), "Algorithms for Hyper-Parameter Optimization" (TPE).
    """
    if trials < 1:
        raise ValueError(f"trials is {trials}, expected at least 1")
    if not space or "iterations" in space:
        raise ValueError(
            f"space has {list(space)}, expected at least one setting, and not iterations, which "
            "are read off the validation curve"
        )
    base, at = dict(fixed or {}), sorted(iterations)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # its news go to stderr
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=STARTUP, multivariate=True, seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
    )
    rows = []
    for _ in range(trials):
        trial = study.ask(dict(space))
        # To three digits, so that the last bits decide nothing.
        rounded = {
            key: float(f"{value:.3g}") if isinstance(value, float) else value
            for key, value in trial.params.items()
        }
        settings = base | rounded
        curve = _validation_curve(task, name, settings, at, seed, trial)
        n = max(curve, key=lambda at: curve[at])
        pruned = len(curve) < len(at)
        study.tell(trial, None if pruned else curve[n], TrialState.PRUNED if pruned else None)
        rows.append({**settings, "iterations": n, f"nDCG@{task.k}": np.nan if pruned else curve[n]})
    return pd.DataFrame(rows).rename_axis("trial")


def refine(
    task: Task,
    name: str,
    settings: Settings,
    ends: Mapping[str, tuple[float, float]],
    *,
    seed: int = 0,
) -> tuple[dict[str, Any], np.ndarray, dict[str, metrics.Paired]]:
    """Go on beyond the edges of a search, as long as a step is ahead of where it starts.

    One setting moves at a time, so a better point that needs two at once is not found. At most
    128 factors are tried.

    Parameters
    ----------
    settings : mapping
        The best of the search.
    ends : mapping of str to (low, high)
        What was searched. A value at an edge (or within a tenth of it) is halved or doubled; one
        with equal ends, which was not searched, is tried both ways.
    seed : int
        Of the models and the intervals.

    Returns
    -------
    settings : dict
    values : float64 ndarray
        nDCG at ``k`` of each user with them.
    steps : dict of str to Paired
        What each step changed, such as ``"factors 64"``.
    """
    chosen = dict(settings)
    steps: dict[str, metrics.Paired] = {}
    while True:
        beyond = {}
        for key, (low, high) in ends.items():
            value = chosen[key]
            moved = [value / 2] * (value <= 1.1 * low) + [value * 2] * (value >= high / 1.1)
            for new in map(type(value), moved):
                if f"{key} {new:.3g}" not in steps and new > 0 and (key, new) != ("factors", 256):
                    beyond[f"{key} {new:.3g}"] = chosen | {key: new}
        lists = fit_lists(task, name, [chosen, *beyond.values()], seeds=[seed], workers=1)
        values, *others = [task.ndcg(one[0]) for one in lists]
        found = dict(zip(beyond, others, strict=True))
        steps |= {what: metrics.paired(new, values, seed=seed) for what, new in found.items()}
        ahead = [what for what in found if steps[what].verdict == "ahead"]
        if not ahead:
            return chosen, values, steps
        chosen = beyond[max(ahead, key=lambda what: steps[what].difference)]


def best(trials: pd.DataFrame) -> dict[str, Any]:
    """The settings of the best trial, of equal ones the first; the score is the last column.

    Examples
    --------
    >>> best(pd.DataFrame({"factors": [8, 16], "nDCG@10": [0.2, 0.3]}))
    {'factors': 16}
    """
    *settings, metric = map(str, trials)
    if trials[metric].isna().all():
        raise ValueError(
            f"none of the {len(trials)} trials has a {metric}, so there is no best one; "
            "run more trials"
        )
    chosen = trials.loc[[trials[metric].idxmax()], settings]
    return {name: chosen[name].tolist()[0] for name in settings}


def in_parallel(
    run: Callable[[J], T], jobs: Sequence[J], workers: int = 2, description: str | None = None
) -> list[T]:
    """Results in the order of the jobs; the fits release the GIL, so threads are enough."""
    bar = partial(tqdm, desc=description, total=len(jobs), leave=False, disable=not description)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        return list(bar(pool.map(run, jobs)))


def _percent_rank(scores: np.ndarray, test: csr_matrix) -> np.ndarray:
    """SQL's ``PERCENT_RANK`` of each test item among those of its user."""
    sizes = np.diff(test.indptr)
    users = np.repeat(np.arange(test.shape[0]), sizes)
    predictions = pd.Series(scores[users, test.indices]).groupby(users)
    places = predictions.rank(method="min", ascending=False).to_numpy()
    return np.asarray((places - 1) / np.maximum(sizes - 1, 1)[users])


def _fit_all(
    task: Task,
    name: str,
    runs: Sequence[Settings],
    seeds: Sequence[int],
    workers: int,
    measure: Callable[[Any, csr_matrix], T],
) -> list[list[T]]:
    """What is measured of every run with every seed."""
    keys = [json.dumps({**run, "iterations": None}, sort_keys=True) for run in runs]
    groups: dict[str, list[Settings]] = {}  # one fit can serve a group
    for key, run in zip(keys, runs, strict=True):
        groups.setdefault(key, []).append(run)
    jobs = [(key, seed) for key in groups for seed in seeds]

    def fit(job: tuple[str, int]) -> dict[int, T]:
        (key, seed), train = job, task.split.train
        at = sorted({run["iterations"] for run in groups[key] if "iterations" in run})
        settings = {**groups[key][0], **({"iterations": at[-1]} if at else {})}
        factory = model_factory(name, settings, seed=seed)
        matrix = factory.matrix(train)
        if not at:
            return {0: measure(factory.fit(train), matrix)}
        return iterates(factory.make(train), matrix, at, lambda model: measure(model, matrix))

    bar = "fits" if workers > 1 else None  # a single worker is a part of other work
    found = dict(zip(jobs, in_parallel(fit, jobs, workers, bar), strict=True))
    return [
        [found[key, seed][run.get("iterations", 0)] for seed in seeds]
        for key, run in zip(keys, runs, strict=True)
    ]


def _validation_curve(
    task: Task, name: str, settings: Settings, at: Sequence[int], seed: int, trial: optuna.Trial
) -> dict[int, float]:
    """nDCG after some numbers of iterations, as far as the pruner lets the trial go."""
    curve: dict[int, float] = {}

    def look(model: Any) -> None:
        n = at[len(curve)]
        curve[n] = task.score(task.top_n(model))
        trial.report(curve[n], n)
        if n < at[-1] and trial.should_prune():
            raise optuna.TrialPruned

    train = task.split.train
    factory = model_factory(name, {**settings, "iterations": at[-1]}, seed=seed)
    with suppress(optuna.TrialPruned):  # the curve is shorter then
        iterates(factory.make(train), factory.matrix(train), at, look)
    return curve
