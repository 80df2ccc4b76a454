"""Named models on the same splits: each is fitted once, and its lists are scored per user.

The per-user values give the intervals, the paired differences and the notebooks' slices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers import metrics, recommend
from helpers.models import ModelFactory
from helpers.splits import Split
from helpers.tuning import in_parallel


@dataclass(frozen=True, eq=False)
class Comparison:
    """What each model does on each split.

    Attributes
    ----------
    users : list of int ndarray
        Rows that are scored on each split: with something in train and in test.
    lists : dict of str to list of int ndarray
        For each model and split the lists of these users, shape (n_users, k).
    models : dict of str to model
        As fitted on the first split.
    matrices : dict of str to csr_matrix
        What they were fitted on.
    measured : DataFrame
        Accuracy of each list: index levels ``model``, ``split``, ``user``; the columns of
        :func:`helpers.metrics.accuracy`.
    """

    users: list[np.ndarray]
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
        by_split = self.per_split(first)
        if len(by_split) > 1:
            table["worst split"], table["best split"] = by_split.min(), by_split.max()
        for metric in others:
            table[metric] = self.per_user(metric).mean()
        return table.rename_axis("model")

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
        left_out = splits[s].left_out
        lists = recommend.top_n(model, matrix, k, users=users[s], left_out=left_out)
        test = splits[s].test.user_items[users[s]]
        values = metrics.accuracy(lists, test, [k], train=left_out[users[s]])
        return (model if s == 0 else None), lists, values.set_axis(pd.Index(users[s], name="user"))

    done = in_parallel(run, jobs, description="fits" if progress else None)
    outcomes = dict(zip(jobs, done, strict=True))
    return Comparison(
        users=users,
        lists={name: [outcomes[name, s][1] for s in range(len(splits))] for name in factories},
        models={name: outcomes[name, 0][0] for name in factories},
        matrices={name: factory.matrix(splits[0].train) for name, factory in factories.items()},
        measured=pd.concat(
            {job: outcome[2] for job, outcome in outcomes.items()}, names=["model", "split"]
        ).sort_index(),
    )


def _scored_users(split: Split, max_users: int | None, seed: int) -> np.ndarray:
    both = split.tested
    if not len(both):
        raise ValueError("no user has something in train and in test: there is nobody to score")
    # The same order for all splits, so that they mostly score the same users.
    order = np.random.default_rng(seed).permutation(split.train.n_users)
    return np.sort(order[np.isin(order, both)][:max_users])
