"""Named models on the same splits: each is fitted once, and its lists are scored per user.

The per-user values give the intervals, the paired differences and the notebooks' slices.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from helpers import metrics, recommend
from helpers.models import ModelFactory
from helpers.splits import Split


@dataclass(frozen=True, eq=False)
class Comparison:
    """What each model does on each split.

    Attributes
    ----------
    splits : list of Split
    users : list of int ndarray
        Rows that are scored on each split: with something in train and in test.
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
        :func:`helpers.metrics.accuracy`, and ``auc``.
    """

    splits: list[Split]
    users: list[np.ndarray]
    k: int
    lists: dict[str, list[np.ndarray]]
    models: dict[str, Any]
    matrices: dict[str, csr_matrix]
    measured: pd.DataFrame

    def per_user(self, metric: str) -> pd.DataFrame:
        """Each user's mean over the splits that score the user; one column for each model."""
        return self._means(metric, "user")

    def per_split(self, metric: str) -> pd.DataFrame:
        """Means over the users of each split: one row for each split, one column for each model."""
        return self._means(metric, "split")

    def accuracy(self, names: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
        """One row for each model; the first metric with its interval.

        Parameters
        ----------
        names : sequence of str
            Columns of ``measured``.
        seed : int
            Of the bootstrap.

        Returns
        -------
        DataFrame
            Index ``model``; the first metric, its 95 % interval over users ``low`` and ``high``,
            with several splits the lowest and the highest mean of one split (``worst split``,
            ``best split``), then the other metrics.
        """
        first, *others = names
        users = self.per_user(first)
        table = users.mean().to_frame(first)
        intervals = [metrics.bootstrap_interval(users[model], seed=seed) for model in users]
        table[["low", "high"]] = intervals
        if len(self.splits) > 1:
            by_split = self.per_split(first)
            table["worst split"], table["best split"] = by_split.min(), by_split.max()
        for metric in others:
            table[metric] = self.per_user(metric).mean()
        return table.rename_axis("model")

    def differences(self, model: str, metric: str, *, seed: int = 0) -> pd.DataFrame:
        """One model against each other one, paired by user.

        Parameters
        ----------
        model, metric : str
        seed : int
            Of the bootstrap and the test.

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
        users = self.per_user(metric)
        rows = {}
        for other in users.columns.drop(model):
            pair = metrics.paired(users[model], users[other], seed=seed)
            rows[other] = [pair.difference, pair.low, pair.high, pair.p_value, pair.verdict]
        columns = ["difference", "low", "high", "p", "verdict"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return table.rename_axis("against")

    def _means(self, metric: str, level: str) -> pd.DataFrame:
        means = self.measured.pivot_table(metric, level, "model", dropna=False)
        return means[list(self.lists)]


def compare(
    factories: Mapping[str, ModelFactory],
    splits: Sequence[Split],
    *,
    k: int = 10,
    max_users: int | None = None,
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> Comparison:
    """Fit every model on every split and score its lists.

    Parameters
    ----------
    factories : mapping of str to ModelFactory
        From :func:`helpers.models.model_factories`.
    splits : sequence of Split
        Of the same interactions.
    k : int
        Length of the lists.
    max_users : int, optional
        Score at most so many users, drawn at random; models are fitted on all.
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
        If there is nothing to compare, nobody can be scored, or ``k`` is larger than the
        catalogue.

    Notes
    -----
    Users without a history are left out: a model that knows histories only has no list for them.
    """
    if not factories or not splits:
        raise ValueError("factories or splits is empty: there is nothing to compare")
    users = [_scored_users(split, max_users, seed) for split in splits]
    jobs = [(name, s) for s in range(len(splits)) for name in factories]

    def run(job: tuple[str, int]) -> tuple[Any, np.ndarray, pd.DataFrame]:
        name, s = job
        model = factories[name].fit(splits[s].train)
        matrix = factories[name].matrix(splits[s].train)
        lists, values = _score(model, matrix, splits[s], users[s], k)
        return (model if s == 0 else None), lists, values

    # BLAS threads inside our own threads would only get in each other's way.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        done = list(tqdm(pool.map(run, jobs), "fits", len(jobs), leave=False, disable=not progress))
    outcomes = dict(zip(jobs, done, strict=True))
    return Comparison(
        splits=list(splits),
        users=users,
        k=k,
        lists={name: [outcomes[name, s][1] for s in range(len(splits))] for name in factories},
        models={name: outcomes[name, 0][0] for name in factories},
        matrices={name: factory.matrix(splits[0].train) for name, factory in factories.items()},
        measured=pd.concat(
            {job: outcome[2] for job, outcome in outcomes.items()}, names=["model", "split"]
        ).sort_index(),
    )


def _score(
    model: Any, matrix: csr_matrix, split: Split, users: np.ndarray, k: int
) -> tuple[np.ndarray, pd.DataFrame]:
    """Lists and per-user values, from scores that are made once and in blocks of users."""
    test, left_out = split.test.user_items[users], split.left_out[users]
    step = max(1, recommend.CELLS // matrix.shape[1])
    lists, auc = [], []
    for start in range(0, len(users), step):
        block = slice(start, start + step)
        scores = recommend.scores(model, matrix, users[block])
        lists.append(recommend.rank_items(scores, k, left_out[block])[0])
        # Rounded, so that ties are ties on every processor.
        auc.append(metrics.auc(scores.round(9), test[block], left_out[block]))
    values = metrics.accuracy(np.concatenate(lists), test, [k], train=left_out)
    values = values.assign(auc=np.concatenate(auc)).set_axis(pd.Index(users, name="user"))
    return np.concatenate(lists), values


def _scored_users(split: Split, max_users: int | None, seed: int) -> np.ndarray:
    both = (split.train.user_counts > 0) & (split.test.user_counts > 0)
    if not both.any():
        raise ValueError("no user has something in train and in test: there is nobody to score")
    # The same order for all splits, so that they mostly score the same users.
    order = np.random.default_rng(seed).permutation(len(both))
    return np.sort(order[both[order]][:max_users])
