"""A grid of models over several folds, small grids, and what the best of many is worth."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from helpers import metrics, recommend, weighting
from helpers.splits import Split
from helpers.tuning.tasks import (
    DIGITS,
    MODELS,
    Grid,
    Task,
    in_parallel,
    iterates,
    recipe,
    runs_of,
)


def cross_validate(
    folds: Sequence[Split],
    grid: Grid,
    *,
    k: int = 10,
    seed: int = 0,
    workers: int = 2,
) -> pd.DataFrame:
    """Every model of a grid on every fold, by ROEM and by nDCG, with one fit for all iterations.

    Parameters
    ----------
    folds : sequence of Split
        From :func:`helpers.splits.k_fold`.
    grid : mapping of str to sequence of numbers
        ``factors``, ``iterations``, ``regularization`` and ``alpha``; the confidence is
        ``1 + alpha * r``, as in Hu et al.
    k : int
        Cut-off of nDCG.
    seed : int
        Of the models.
    workers : int
        Fits at a time.

    Returns
    -------
    DataFrame
        One row for each model and fold: the four settings, ``fold``, ``ROEM`` (0 is best, 0.5
        chance; whole catalogue, ties averaged) and ``nDCG@k``.

    Raises
    ------
    ValueError
        If there is no fold, or the grid is empty or lacks one of the four settings.
    """
    expected = {"factors", "iterations", "regularization", "alpha"}
    if set(grid) != expected or not all(len(values) for values in grid.values()):
        raise ValueError(
            f"grid has values for {[name for name in grid if len(grid[name])]}, "
            f"expected at least one for each of {sorted(expected)}"
        )
    if not folds:
        raise ValueError("folds is empty; pass list(splits.k_fold(...))")
    longest = {**grid, "iterations": [max(grid["iterations"])]}
    jobs = [(number, run) for number in range(len(folds)) for run in runs_of(longest)]

    def fit(job: tuple[int, dict[str, Any]]) -> list[dict[str, Any]]:
        number, run = job
        fold = folds[number]
        confidence = weighting.linear(fold.train.user_items, run["alpha"])
        model = recipe("ALS", {**run, "alpha": 1.0}, seed=seed).make(fold.train)
        found = iterates(model, confidence, grid["iterations"], partial(judge, split=fold, k=k))
        return [{**run, "iterations": n, "fold": number, **row} for n, row in found.items()]

    rows = in_parallel(fit, jobs, workers, "fits")
    return pd.DataFrame([row for part in rows for row in part])


def judge(model: Any, split: Split, *, k: int = 10) -> dict[str, float]:
    """Expected percentile rank and nDCG of a fitted model on the held-out side.

    Parameters
    ----------
    model : fitted model
    split : Split
    k : int

    Returns
    -------
    dict
        ``ROEM`` (mean percentile rank of the held-out items within all that the user has not
        seen, weighted by strength) and ``nDCG@k``.
    """
    task = Task("judged", split, k)
    scores = recommend.scores(model, split.train.user_items, task.users)
    held_out, seen = split.test.user_items[task.users], split.train.user_items[task.users]
    roem = metrics.roem(scores, held_out, seen=seen)
    lists, _ = recommend.rank_items(scores, k, seen)
    return {"ROEM": float(roem), f"nDCG@{k}": float(task.ndcg(lists).mean())}


def try_all(task: Task, name: str, grid: Grid, *, seed: int = 0, workers: int = 2) -> pd.DataFrame:
    """Every setting of a small grid, for models that need no more.

    Parameters
    ----------
    task : Task
    name : str
        One of :data:`MODELS`.
    grid : mapping of str to sequence
        As scikit-learn's ``ParameterGrid``.
    seed : int
        Of the models.
    workers : int
        Fits at a time.

    Returns
    -------
    DataFrame
        Index ``trial``; settings, ``nDCG@k``, ``state``.

    Raises
    ------
    ValueError
        If the grid is empty or names an unknown setting.
    """

    def fit(run: dict[str, Any]) -> dict[str, Any]:
        model = recipe(name, run, seed=seed).fit(task.split.train)
        value = round(float(task.ndcg(task.top_n(model)).mean()), DIGITS)
        return {**run, f"nDCG@{task.k}": value, "state": "COMPLETE"}

    return pd.DataFrame(in_parallel(fit, runs_of(grid), workers)).rename_axis("trial")


def best(trials: pd.DataFrame) -> dict[str, Any]:
    """The settings of the best finished trial; of equal ones the first.

    Parameters
    ----------
    trials : DataFrame
        From :func:`search` or :func:`try_all`.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If no trial has finished.
    """
    metric = next(column for column in map(str, trials) if column.startswith("nDCG@"))
    finished = trials[trials[metric].notna()]
    if finished.empty:
        raise ValueError(
            f"none of the {len(trials)} trials has finished, so there is no best one; "
            "raise the budget, or look at the column 'state' of the trials"
        )
    known = [name for name in map(str, trials) if any(name in each for each in MODELS.values())]
    chosen = finished.loc[[finished[metric].idxmax()], known]
    return {name: chosen[name].tolist()[0] for name in known}


def optimism(
    per_user: np.ndarray, tried: Sequence[int], *, repetitions: int = 1_000, seed: int = 0
) -> pd.DataFrame:
    """By how much the winner's score flatters when it is read where the winner was chosen.

    The users are halved at random. The best of ``n`` models on the first half *claims* its gain
    there, over the mean of all models; on the second half it *keeps* what is true of it.

    Parameters
    ----------
    per_user : float ndarray of shape (n_models, n_users)
        Any metric of which more is better.
    tried : sequence of int
        Numbers of models to choose from, drawn at random in each repetition.
    repetitions : int
        Random halvings.
    seed : int

    Returns
    -------
    DataFrame
        Index ``tried``; mean ``claimed`` and ``kept`` gain, their difference ``lie``, and its 95 %
        range over the halvings, ``low`` and ``high``, and the share of them with a lie ``above 0``.

    Raises
    ------
    ValueError
        If ``tried`` reaches beyond the number of models, or there are fewer than two users.

    Notes
    -----
    Gains are over the mean of all models on the same half: one half may hold the easier users,
    which says nothing about the choice. The halvings share their users, so the range says what
    one team may see, not how certain the mean is.
    """
    n_models, n_users = per_user.shape
    if n_users < 2:
        raise ValueError(f"per_user has {n_users} users, expected two or more to halve")
    if not tried or min(tried) < 1 or max(tried) > n_models:
        raise ValueError(f"tried is {list(tried)}, expected numbers from 1 to {n_models} (models)")
    rng = np.random.default_rng(seed)
    in_first = rng.permuted(np.tile(np.arange(n_users) % 2 == 0, (repetitions, 1)), axis=1)
    gains = []
    for half in (in_first, ~in_first):
        means = half @ per_user.T / half.sum(axis=1, keepdims=True)
        gains.append(np.round(means - means.mean(axis=1, keepdims=True), DIGITS))
    drawn = rng.permuted(np.tile(np.arange(n_models), (repetitions, 1)), axis=1)
    rows = {}
    for n in tried:
        best = np.take_along_axis(gains[0], drawn[:, :n], axis=1).argmax(axis=1)
        winner = drawn[np.arange(repetitions), best]
        claimed, kept = (gain[np.arange(repetitions), winner] for gain in gains)
        low, high = np.quantile(claimed - kept, [0.025, 0.975])
        lie = claimed - kept
        rows[n] = [claimed.mean(), kept.mean(), lie.mean(), low, high, (lie > 0).mean()]
    columns = ["claimed", "kept", "lie", "low", "high", "above 0"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("tried")
