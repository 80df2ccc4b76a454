"""Users who were not there in training: how much must be known before a model helps them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers import metrics
from helpers.baselines import Recipe
from helpers.evaluation.measures import item_counts, ndcg, verdict
from helpers.interactions import Interactions
from helpers.recommend import rank_items


def cold_start(
    recipes: Mapping[str, Recipe],
    interactions: Interactions,
    *,
    known: Sequence[int] = (1, 2, 5, 10, 20),
    first: Literal["by time", "at random"] = "at random",
    k: int = 10,
    max_users: int = 200,
    min_users: int = 30,
    seed: int = 0,
) -> dict[int, pd.DataFrame]:
    """Lists for users who were not there in training, by how many of their items are known.

    Parameters
    ----------
    recipes : mapping of str to Recipe
        Models that can serve a new user without training: with ``recalculate_user`` (ALS, IALS) or
        from the history alone (popularity, KNN, EASE).
    interactions : Interactions
    known : sequence of int
        Numbers of items to know.
    first : {"by time", "at random"}
        Which of a newcomer's items are known.
    k : int
        Length of the lists.
    max_users : int
        Most newcomers; at most a fifth of all users.
    min_users : int
        Fewest newcomers. The largest numbers in ``known`` are dropped until as many users have
        more items than that.
    seed : int
        Of the draw of the newcomers, and of their items.

    Returns
    -------
    dict of int to DataFrame
        For each number of known items the nDCG at ``k``: one row for each newcomer, one column
        for each model. Empty if there are too few users for any of the numbers.

    Raises
    ------
    ValueError
        If ``first`` is unknown, or ``known`` holds a number below 1.

    Notes
    -----
    All numbers share newcomers, training set, held-out items (those after the largest number) and
    candidates (the items before that are left out of all lists), so only the knowledge changes,
    and a model that does not look at the history draws a flat line.
    """
    if first not in ("by time", "at random"):
        raise ValueError(f"first is {first!r}, expected 'by time' or 'at random'")
    if min(known, default=1) < 1:
        raise ValueError(f"known holds {min(known)}, expected numbers of at least 1")
    sizes = np.diff(interactions.user_items.indptr)
    known = sorted(known)
    while known and (sizes > known[-1]).sum() < min_users:
        known.pop()
    if not known:
        return {}
    most = min(max_users, max(min_users, interactions.n_users // 5))
    eligible = np.flatnonzero(sizes > known[-1])
    fresh = np.sort(np.random.default_rng(seed).permutation(eligible)[:most])
    rows, _ = interactions.cells()
    new = np.isin(rows, fresh)
    # Position of each cell in its user's history.
    drawn = np.random.default_rng([seed, 1]).permutation(interactions.nnz)
    order = np.lexsort((interactions.order if first == "by time" else drawn, rows))
    position = np.empty(interactions.nnz, dtype=np.int64)
    position[order] = np.arange(interactions.nnz) - interactions.user_items.indptr[rows]
    others = _rows(interactions, np.setdiff1d(np.arange(interactions.n_users), fresh))
    before = interactions.select(new & (position < known[-1])).user_items[fresh]
    held_out = interactions.select(new & (position >= known[-1])).user_items[fresh]
    fitted = {name: recipe.fit(others) for name, recipe in recipes.items()}
    curves = {}
    for n in known:
        history = interactions.select(new & (position < n))
        values = {}
        for name, recipe in recipes.items():
            scores = _fold_in(fitted[name], recipe.matrix(history)[fresh])
            lists, _ = rank_items(scores, k, before)
            values[name] = ndcg(lists, held_out, k, seen=before)
        curves[n] = pd.DataFrame(values)
    return curves


def cold_start_table(
    curves: Mapping[int, pd.DataFrame], model: str, against: str, *, seed: int = 0
) -> pd.DataFrame:
    """The curves of two models with intervals, and where one is ahead.

    Parameters
    ----------
    curves : mapping of int to DataFrame
        From :func:`cold_start`.
    model, against : str
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        Index ``known items``; columns named as the models (means), ``low`` and ``high`` (of
        ``model``), ``difference`` with ``difference low`` and ``difference high`` (paired), and
        ``verdict`` for ``model``: "ahead", "behind" or "tied".
    """
    rows = {}
    for n, values in curves.items():
        pair = metrics.paired(values[model], values[against], seed=seed)
        low, high = metrics.bootstrap_interval(values[model], seed=seed)
        rows[n] = {
            model: values[model].mean(), "low": low, "high": high, against: values[against].mean(),
            "difference": pair.difference, "difference low": pair.low,
            "difference high": pair.high, "verdict": verdict(pair),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("known items")


def first_items(interactions: Interactions, n: int) -> pd.DataFrame:
    """How users begin: how long their first ``n`` items took, and how popular they are.

    Parameters
    ----------
    interactions : Interactions
    n : int
        At least 1.

    Returns
    -------
    DataFrame
        One row for each user with more than ``n`` items; columns ``minutes`` (from the first to
        the ``n``-th), ``users of first`` and ``users of later``: the median number of users of
        the first ``n`` items, and of the others.
    """
    rows, columns = interactions.cells()
    pairs = pd.DataFrame(
        {
            "user": rows,
            "time": interactions.timestamps,
            "users": item_counts(interactions)[columns],
        }
    ).iloc[np.argsort(interactions.order, kind="stable")]
    place = pairs.groupby("user").cumcount()
    later = pairs[place >= n].groupby("user")["users"].median()
    first = pairs[(place < n) & pairs["user"].isin(later.index)].groupby("user")
    minutes = (first["time"].max() - first["time"].min()).dt.total_seconds() / 60
    return pd.DataFrame(
        {"minutes": minutes, "users of first": first["users"].median(), "users of later": later}
    )


def ahead_from(table: pd.DataFrame) -> int | None:
    """The number of known items from which on a model stays ahead.

    Parameters
    ----------
    table : DataFrame
        From :func:`cold_start_table`.

    Returns
    -------
    int, or None where it is not ahead at the largest number

    Examples
    --------
    >>> ahead_from(pd.DataFrame({"verdict": ["ahead", "tied", "ahead", "ahead"]}, [1, 2, 5, 10]))
    5
    """
    start = None
    for n, outcome in reversed(list(table["verdict"].items())):
        if outcome != "ahead":
            break
        start = int(str(n))
    return start


def _rows(interactions: Interactions, users: np.ndarray) -> Interactions:
    """Some users only, in a matrix without the rows of the others."""
    rows, _ = interactions.cells()
    kept = interactions.select(np.isin(rows, users))
    return Interactions(
        user_items=kept.user_items[users],
        timestamps=kept.timestamps,
        order=kept.order,
        user_ids=interactions.user_ids[users],
        item_ids=interactions.item_ids,
    )


def _fold_in(model: Any, histories: csr_matrix) -> np.ndarray:
    """Scores for users who come with a history and were not there in training."""
    strangers = np.arange(histories.shape[0])
    if hasattr(model, "recalculate_user"):
        factors = model.recalculate_user(strangers, histories)
        return np.asarray(factors @ model.item_factors.T, dtype=np.float64)
    return np.asarray(model.scores(strangers, histories), dtype=np.float64)
