"""What settings do: more factors, and one setting at a time."""

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from helpers import als, metrics
from helpers.tuning.tasks import (
    DIGITS,
    Grid,
    Settings,
    Task,
    in_parallel,
    iterates,
    recipe,
    rounded,
    runs_of,
)


def fit_lists(
    task: Task,
    name: str,
    base: Settings,
    grid: Grid | Sequence[Grid],
    *,
    seeds: Sequence[int] = (0,),
    workers: int = 2,
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The lists of every model of a grid, for several seeds; one fit serves all iterations.

    Parameters
    ----------
    task : Task
    name : {"ALS", "IALS"}
    base : mapping
        Settings that hold where the grid says nothing; ``weighting`` and ``iterations`` included.
    grid : mapping of str to sequence, or a sequence of those
        As scikit-learn's ``ParameterGrid``.
    seeds : sequence of int
    workers : int
        Fits at a time.

    Returns
    -------
    runs : list of dict
        Settings of each model, in the order of the grid.
    lists : int ndarray of shape (n_runs, n_seeds, n_users, k)
        Of ``task.users``.

    Raises
    ------
    ValueError
        If the grid is empty or names an unknown setting.
    """
    runs = [{**base, **run} for run in runs_of(grid)]
    fits: dict[str, tuple[dict[str, Any], set[int]]] = {}
    for run in runs:
        fits.setdefault(_fit_key(run), (run, set()))[1].add(run["iterations"])
    jobs = [(key, seed) for key in fits for seed in seeds]

    def fit(job: tuple[str, int]) -> dict[int, np.ndarray]:
        settings, at = fits[job[0]]
        chosen = recipe(name, {**settings, "iterations": max(at)}, seed=job[1])
        train = task.split.train
        return iterates(chosen.make(train), chosen.matrix(train), sorted(at), task.top_n)

    found = dict(zip(jobs, in_parallel(fit, jobs, workers, "fits"), strict=True))
    lists = [[found[_fit_key(run), seed][run["iterations"]] for seed in seeds] for run in runs]
    return runs, np.array(lists)


def double(
    task: Task,
    name: str,
    settings: Settings,
    *,
    times: int = 2,
    scales: Sequence[float] = (1.0, 2.0),
    every: int = 4,
    seed: int = 0,
    workers: int = 2,
) -> pd.DataFrame:
    """Double the number of factors, several times, and look again near the chosen settings.

    Parameters
    ----------
    task : Task
    name : {"ALS", "IALS"}
    settings : mapping
        What a search at a small number of factors has chosen.
    times : int, at least 0
        Doublings.
    scales : sequence of float
        Multiples of ``regularization`` that are tried at each number of factors.
    every : int
        Distance of the points of the validation curve.
    seed, workers : int

    Returns
    -------
    DataFrame
        One row for each number of factors: the best settings there, their ``nDCG@k`` with its
        95 % interval over users ``low`` and ``high``, and ``gain``, ``gain low``, ``gain high``,
        the paired difference to the row above (missing in the first).

    Raises
    ------
    ValueError
        If ``times`` is negative or a setting is unknown.

    References
    ----------
    Rendle et al. (2022), section 4: search at a small dimension, then double it.
    """
    if times < 0:
        raise ValueError(f"times is {times}, expected 0 or more doublings")
    chosen, rows, before = dict(settings), [], None
    for step in range(times + 1):
        longest = max(settings["iterations"], 2 * every)
        grid = {
            "factors": [settings["factors"] * 2**step],
            "regularization": [rounded(chosen["regularization"] * scale) for scale in scales],
            "iterations": sorted({settings["iterations"], *range(every, longest + 1, every)}),
        }
        runs, lists = fit_lists(task, name, chosen, grid, seeds=[seed], workers=workers)
        per_user = np.array([task.ndcg(one[0]) for one in lists])
        winner = int(np.round(per_user.mean(axis=1), DIGITS).argmax())
        chosen, values = runs[winner], per_user[winner]
        low, high = metrics.bootstrap_interval(values)
        row = {**chosen, f"nDCG@{task.k}": float(values.mean()), "low": low, "high": high}
        if before is not None:
            gain = metrics.paired(values, before)
            row |= {"gain": gain.difference, "gain low": gain.low, "gain high": gain.high}
        rows.append(row)
        before = values
    return pd.DataFrame(rows)


def curves(
    task: Task,
    name: str,
    base: Settings,
    around: Grid,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    workers: int = 2,
) -> dict[str, pd.DataFrame]:
    """One setting at a time: accuracy, stability between seeds, diversity.

    Parameters
    ----------
    task : Task
    name : {"ALS", "IALS"}
    base : mapping
        The point from which one setting at a time is moved, ``iterations`` included.
    around : mapping of str to sequence of numbers
        Values of each setting, in the order in which they are shown.
    seeds : sequence of int
        Of the models; two or more, or there is no stability to measure.
    workers : int
        Fits at a time.

    Returns
    -------
    dict of str to DataFrame
        For each setting one row for each value: the settings; ``nDCG``, the mean over users and
        seeds, with its 95 % interval over users ``low`` and ``high``; ``tied``, whether the
        interval of the paired difference to the best of the same curve holds 0; ``overlap`` of
        the lists of two seeds; ``coverage``, ``gini`` and ``novelty`` (bits) as means over seeds.

    Raises
    ------
    ValueError
        If there are fewer than two seeds, a setting has no value, or one is unknown.

    Notes
    -----
    Where ``nu`` moves, ``regularization`` moves along, so that all penalties together stay the
    same: see :func:`helpers.als.comparable_regularization`.
    """
    if len(seeds) < 2:
        raise ValueError(f"seeds is {list(seeds)}, expected two or more to compare")
    runs_of(around)
    grids = [
        {setting: [value], **_rescaled(task, base, setting, value)}
        for setting, values in around.items()
        for value in values
    ]
    runs, lists = fit_lists(task, name, base, grids, seeds=seeds, workers=workers)
    found, end = {}, 0
    for setting, values in around.items():
        start, end = end, end + len(values)
        found[setting] = _curve(task, runs[start:end], lists[start:end])
    return found


def _rescaled(task: Task, base: Settings, setting: str, value: Any) -> dict[str, list[float]]:
    if setting != "nu":
        return {}
    same = als.comparable_regularization(
        task.split.train.user_items,
        base["regularization"],
        base["unobserved_weight"],
        value,
        nu_star=base["nu"],
    )
    return {"regularization": [same]}


def _curve(task: Task, runs: Sequence[Settings], lists: np.ndarray) -> pd.DataFrame:
    train = task.split.train
    counts = np.bincount(train.user_items.indices, minlength=train.n_items)
    per_user = np.array([np.mean([task.ndcg(one) for one in run], axis=0) for run in lists])
    best_values = per_user[per_user.mean(axis=1).argmax()]
    rows = []
    for run, values, of_seeds in zip(runs, per_user, lists, strict=True):
        low, high = metrics.bootstrap_interval(values)
        behind = metrics.bootstrap_interval(best_values - values)
        pairs = combinations(of_seeds, 2)
        means = {
            "overlap": [metrics.mean_overlap(*pair) for pair in pairs],
            "coverage": [metrics.catalogue_coverage(one, train.n_items) for one in of_seeds],
            "gini": [metrics.gini(one, train.n_items) for one in of_seeds],
            "novelty": [
                np.nanmean(metrics.novelty(one, counts, train.n_users)) for one in of_seeds
            ],
        }
        accuracy = {
            "nDCG": values.mean(),
            "low": low,
            "high": high,
            "tied": behind[0] < 10**-DIGITS,
        }
        rows.append({**run, **accuracy, **{key: np.mean(each) for key, each in means.items()}})
    return pd.DataFrame(rows)


def _fit_key(run: Settings) -> str:
    """Equal for models that one fit can serve."""
    return json.dumps({**run, "iterations": None}, sort_keys=True)
