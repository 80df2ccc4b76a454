"""Named models on the same splits: each fitted once, its lists judged in several ways.

Per-user values are kept: they give the intervals, the paired differences and the slices.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from helpers import metrics, recommend
from helpers.baselines import Recipe
from helpers.evaluation.measures import item_counts, ndcg, verdict
from helpers.recommend import rank_items
from helpers.splits import Split

PUBLISHED = pd.DataFrame(
    {
        "BiVAE (their best)": [0.1461, 0.4751, 0.4118, 0.2191],
        "SAR": [0.1106, 0.3825, 0.3308, 0.1764],
        "ALS (Spark, explicit)": [0.0047, 0.0442, 0.0485, 0.0178],
    },
    index=["map@10", "ndcg@10", "precision@10", "recall@10"],
).T.rename_axis("model")
"""Rows of the table that recommenders-team/recommenders publishes for MovieLens 100K (75/25 split
by item, every rating relevant, k = 10). References, not results of this project."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What each model does on each split.

    Attributes
    ----------
    splits : list of Split
    users : list of int ndarray
        Rows that are judged on each split: with something in train and something held out.
    k : int
        Length of the lists.
    lists : dict of str to list of int ndarray
        For each model and split the lists of these users, shape (n_users, k).
    models : dict of str to model
        As fitted on the first split.
    matrices : dict of str to csr_matrix
        What they were fitted on.
    measured : DataFrame
        Accuracy of each list: index levels ``model``, ``split``, ``user``; the columns of
        :func:`helpers.metrics.ranking`, and ``auc``.
    """

    splits: list[Split]
    users: list[np.ndarray]
    k: int
    lists: dict[str, list[np.ndarray]]
    models: dict[str, Any]
    matrices: dict[str, csr_matrix]
    measured: pd.DataFrame

    def per_user(self, measure: str) -> pd.DataFrame:
        """Each user's mean over the splits in which the user is judged.

        Parameters
        ----------
        measure : str
            A column of ``measured``.

        Returns
        -------
        DataFrame
            One row for each user, one column for each model.
        """
        return self.measured.pivot_table(measure, "user", "model")[list(self.lists)]

    def per_split(self, measure: str) -> pd.DataFrame:
        """Means over the users of each split: one row for each split, one column for each model."""
        return self.measured.pivot_table(measure, "split", "model")[list(self.lists)]

    def accuracy(self, measures: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
        """One row for each model; the first measure with its interval.

        Parameters
        ----------
        measures : sequence of str
            Columns of ``measured``.
        seed : int
            Of the bootstrap.

        Returns
        -------
        DataFrame
            Index ``model``; the first measure, its 95 % interval over users ``low`` and ``high``,
            with several splits the lowest and the highest mean of one split (``worst split``,
            ``best split``), then the other measures.
        """
        first, *others = measures
        users = self.per_user(first)
        table = users.mean().to_frame(first)
        intervals = [metrics.bootstrap_interval(users[model], seed=seed) for model in users]
        table[["low", "high"]] = intervals
        if len(self.splits) > 1:
            by_split = self.per_split(first)
            table["worst split"], table["best split"] = by_split.min(), by_split.max()
        for measure in others:
            table[measure] = self.per_user(measure).mean()
        return table.rename_axis("model")

    def differences(self, model: str, measure: str, *, seed: int = 0) -> pd.DataFrame:
        """One model against each other one, paired by user.

        Parameters
        ----------
        model : str
        measure : str
        seed : int

        Returns
        -------
        DataFrame
            Index ``against``; columns ``difference`` (of the means, positive where ``model`` is
            ahead), ``low``, ``high`` (95 % interval over users), ``p`` and ``verdict``: "tied"
            where the interval holds 0, else "ahead" or "behind".

        Raises
        ------
        KeyError
            If there is no such model.
        """
        if model not in self.lists:
            raise KeyError(f"no model is called {model!r}; there are {list(self.lists)}")
        users = self.per_user(measure)
        rows = {}
        for other in users.columns.drop(model):
            pair = metrics.paired(users[model], users[other], seed=seed)
            rows[other] = [pair.difference, pair.low, pair.high, pair.p_value, verdict(pair)]
        columns = ["difference", "low", "high", "p", "verdict"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return table.rename_axis("against")

    def beyond(self, features: Mapping[str, Any]) -> pd.DataFrame:
        """What the lists of the first split do to the catalogue.

        Parameters
        ----------
        features : mapping of str to matrix of shape (n_items, n_features)
            What items are compared by for the diversity within a list.

        Returns
        -------
        DataFrame
            Index ``model``; columns as :func:`helpers.metrics.beyond`.
        """
        train = self.splits[0].train
        counts = item_counts(train)
        rows = {
            model: metrics.beyond(lists[0], counts, train.n_users, features=features)
            for model, lists in self.lists.items()
        }
        return pd.DataFrame(rows).T.rename_axis("model")

    def by_activity(
        self, models: Sequence[str], measure: str, *, groups: int = 4, seed: int = 0
    ) -> pd.DataFrame:
        """Accuracy by how much is known of a user.

        Parameters
        ----------
        models : sequence of str
        measure : str
        groups : int
            Groups of about the same number of users, by their pairs in the training set of the
            first split; fewer where many users have the same number.
        seed : int
            Of the bootstrap.

        Returns
        -------
        DataFrame
            Index ``model`` and ``group`` (the range of pairs); columns ``mean``, ``low``, ``high``
            and ``n``, the number of users.
        """
        users = self.per_user(measure)
        pairs = np.diff(self.splits[0].train.user_items.indptr)[users.index]
        edges = np.unique(np.quantile(pairs, np.linspace(0, 1, groups + 1)[1:-1]).astype(int))
        bins = np.searchsorted(edges, pairs)
        names = {
            b: f"{pairs[bins == b].min()} to {pairs[bins == b].max()}" for b in np.unique(bins)
        }
        values = {
            (model, name): users[model].to_numpy()[bins == b]
            for model in models
            for b, name in names.items()
        }
        return _means(values, "group", seed)

    def by_popularity(
        self, models: Sequence[str], *, tiers: Sequence[float] = (0.1, 0.3), seed: int = 0
    ) -> pd.DataFrame:
        """Recall at ``k`` by the popularity of the held-out item.

        Parameters
        ----------
        models : sequence of str
        tiers : sequence of float
            Upper ends of the tiers but the last, as shares of the catalogue, most popular first.
        seed : int
            Of the bootstrap.

        Returns
        -------
        DataFrame
            Index ``model`` and ``group`` (the tier); columns ``mean`` (over the users with
            something of this tier held out, of the share of it that is in their list), ``low``,
            ``high`` and ``n``, the number of users. First split only.
        """
        split, users = self.splits[0], self.users[0]
        held_out = split.test.user_items[users]
        ends = [round(share * split.train.n_items) for share in (*tiers, 1)]
        rank = np.empty(split.train.n_items, dtype=np.int64)
        rank[recommend.popular_items(split.train.user_items, len(rank))] = np.arange(len(rank))
        tier = np.searchsorted(ends, rank, side="right")
        shares = [f"{100 * share:g}" for share in (0, *tiers, 1)]
        names = [f"{low} to {high}%" for low, high in pairwise(shares)]
        rows = np.repeat(np.arange(len(users)), np.diff(held_out.indptr))
        values = {}
        for model in models:
            lists = self.lists[model][0]
            found = metrics.hits(lists, held_out)
            for t, name in enumerate(names):
                there = np.bincount(rows[tier[held_out.indices] == t], minlength=len(users))
                hit = (found & (tier[lists] == t)).sum(axis=1)
                if there.any():
                    values[model, name] = hit[there > 0] / there[there > 0]
        return _means(values, "group", seed)


def compare(
    recipes: Mapping[str, Recipe],
    splits: Sequence[Split],
    *,
    k: int = 10,
    max_users: int | None = None,
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> Comparison:
    """Fit every model on every split and judge its lists.

    Parameters
    ----------
    recipes : mapping of str to Recipe
        From :func:`helpers.baselines.recipes`.
    splits : sequence of Split
        Of the same interactions.
    k : int
        Length of the lists.
    max_users : int, optional
        Judge at most so many users, drawn at random; models are fitted on all.
    seed : int
        Of that draw.
    workers : int
        Fits at a time, each with one thread. The result does not depend on it.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If there is nothing to compare, nobody can be judged, or ``k`` is larger than the
        catalogue.

    Notes
    -----
    Judged are users with something in train *and* something held out. A user without a history
    gets no list from a model that knows histories only; see :func:`cold_start` for newcomers.
    """
    if not recipes or not splits:
        raise ValueError("recipes or splits is empty: there is nothing to compare")
    users = [_judged(split, max_users, seed) for split in splits]
    jobs = [(name, s) for s in range(len(splits)) for name in recipes]

    def run(job: tuple[str, int]) -> tuple[Any, np.ndarray, pd.DataFrame]:
        name, s = job
        model = recipes[name].fit(splits[s].train)
        lists, values = _judge(model, recipes[name], splits[s], users[s], k)
        return (model if s == 0 else None), lists, values

    # BLAS threads inside our own threads would only get in each other's way.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        done = list(tqdm(pool.map(run, jobs), "fits", len(jobs), leave=False, disable=not progress))
    outcomes = dict(zip(jobs, done, strict=True))
    return Comparison(
        splits=list(splits),
        users=users,
        k=k,
        lists={name: [outcomes[name, s][1] for s in range(len(splits))] for name in recipes},
        models={name: outcomes[name, 0][0] for name in recipes},
        matrices={name: recipe.matrix(splits[0].train) for name, recipe in recipes.items()},
        measured=pd.concat(
            {job: outcome[2] for job, outcome in outcomes.items()}, names=["model", "split"]
        ).sort_index(),
    )


def blend(
    recipes: Mapping[str, Recipe],
    split: Split,
    *,
    k: int = 10,
    max_users: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether several models are better together: the average of their ranks as one more model.

    ``score = -mean over the models of log2(1 + rank)``, so the first places weigh most

    Parameters
    ----------
    recipes : mapping of str to Recipe
    split : Split
        A validation split, where it is to be decided.
    k, max_users, seed
        As in :func:`compare`.

    Returns
    -------
    DataFrame
        nDCG at ``k``: one row for each judged user, one column for each model, and ``average``.
    """
    alone = compare(recipes, [split], k=k, max_users=max_users, seed=seed, progress=False)
    users = alone.users[0]
    seen = split.train.user_items[users]
    scores = [recommend.scores(alone.models[m], alone.matrices[m], users) for m in recipes]
    lists, _ = rank_items(rank_average(scores, seen), k, seen)
    average = ndcg(lists, split.test.user_items[users], k, seen=seen)
    return alone.per_user(f"ndcg@{k}").assign(average=average.to_numpy())


def rank_average(scores: Sequence[np.ndarray], seen: csr_matrix) -> np.ndarray:
    """The mean of ``-log2(1 + rank)`` over several models, ranks from 1 among the unseen items.

    Parameters
    ----------
    scores : sequence of float ndarrays of shape (n_users, n_items)
        One for each model; only their order within a user counts.
    seen : csr_matrix of shape (n_users, n_items)
        Items that are not ranked; they count as ranked last.

    Returns
    -------
    float64 ndarray of shape (n_users, n_items)

    Examples
    --------
    >>> first, second = np.array([[3.0, 2.0, 1.0]]), np.array([[1.0, 3.0, 2.0]])
    >>> rank_average([first, second], csr_matrix((1, 3))).round(2)
    array([[-1.5 , -1.29, -1.79]])
    """
    total = np.zeros(scores[0].shape)
    for part in scores:
        items, _ = rank_items(part, part.shape[1], seen)
        places = np.full(part.shape, part.shape[1])
        rows, at = np.nonzero(items >= 0)
        places[rows, items[rows, at]] = at + 1
        total -= np.log2(1 + places) / len(scores)
    return total


def _judge(
    model: Any, recipe: Recipe, split: Split, users: np.ndarray, k: int
) -> tuple[np.ndarray, pd.DataFrame]:
    matrix = recipe.matrix(split.train)
    held_out, seen = split.test.user_items[users], split.train.user_items[users]
    lists = recommend.top_n(model, matrix, k, users=users)
    found = metrics.ranking(lists, held_out, [k], seen=seen)
    # Rounded, so that ties are ties on every processor.
    auc = metrics.auc(recommend.scores(model, matrix, users).round(9), held_out, seen)
    values = found.per_user.assign(auc=auc)
    return lists, values.set_axis(pd.Index(users, name="user"))


def _judged(split: Split, max_users: int | None, seed: int) -> np.ndarray:
    sizes = [np.diff(side.user_items.indptr) for side in (split.train, split.test)]
    judgeable = (sizes[0] > 0) & (sizes[1] > 0)
    if not judgeable.any():
        raise ValueError("no user has something in train and something held out: none to judge")
    # The same order for all splits, so that they mostly judge the same users.
    order = np.random.default_rng(seed).permutation(len(judgeable))
    return np.sort(order[judgeable[order]][:max_users])


def _means(values: Mapping[tuple[str, str], np.ndarray], level: str, seed: int) -> pd.DataFrame:
    rows = {
        key: [part.mean(), *metrics.bootstrap_interval(part, seed=seed), len(part)]
        for key, part in values.items()
    }
    index = pd.MultiIndex.from_tuples(list(rows), names=["model", level])
    return pd.DataFrame(list(rows.values()), index, columns=["mean", "low", "high", "n"])
