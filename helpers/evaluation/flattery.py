"""Good metrics, bad results: a number that rises because of who is in the test, and the check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers import metrics, recommend, weighting
from helpers.baselines import Recipe
from helpers.evaluation.experiment import LOGS, renamed, rows_of
from helpers.evaluation.measures import verdict
from helpers.evaluation.store import since, store_split
from helpers.tuning.tasks import in_parallel


@dataclass(frozen=True, eq=False)
class Flattery:
    """One model fitted on a dirty and on a clean log, both judged on the test as it was logged.

    Attributes
    ----------
    kinds : Series of str
        Index ``user_id``: what each tested account is, "customer" or "disguised crawler", say.
    measured : dict of {"dirty", "clean"} to DataFrame
        Accuracy of the lists of the model that learned from this log.
    lists : dict of {"dirty", "clean"} to int ndarray of shape (n_users, k)
    popular : int ndarray of shape (n_users, k)
        The popular list of the clean log, without what each user knows.
    n_items : int
    """

    kinds: pd.Series
    measured: dict[str, pd.DataFrame]
    lists: dict[str, np.ndarray]
    popular: np.ndarray
    n_items: int

    def table(self, measure: str = "hit rate@10") -> pd.DataFrame:
        """The number on the dashboard, and what it is made of.

        Parameters
        ----------
        measure : str

        Returns
        -------
        DataFrame
            Index: "as logged" (all tested accounts, the number that is reported) and each kind;
            columns ``accounts``, ``dirty`` and ``clean`` (means, by the log that the model learned
            from), ``difference`` (clean minus dirty) with its 95 % interval ``low`` and ``high``,
            ``verdict`` for the clean log, and ``coverage`` and ``on popular list`` (share of the
            places that the popular list fills with the same items) of both.
        """
        everybody = np.ones(len(self.kinds), dtype=bool)
        groups = {kind: (self.kinds == kind).to_numpy() for kind in sorted(self.kinds.unique())}
        rows = {}
        for name, members in {"as logged": everybody, **groups}.items():
            dirty, clean = (self.measured[log][measure][members] for log in LOGS)
            pair = metrics.paired(clean, dirty)
            row = {
                "accounts": int(members.sum()), "dirty": dirty.mean(), "clean": clean.mean(),
                "difference": pair.difference, "low": pair.low, "high": pair.high,
                "verdict": verdict(pair),
            }  # fmt: skip
            for log in LOGS:
                lists = self.lists[log][members]
                row[f"coverage, {log}"] = metrics.catalogue_coverage(lists, self.n_items)
                same = metrics.mean_overlap(lists, self.popular[members])
                row[f"on popular list, {log}"] = same
            rows[name] = row
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("judged on")


def flattery(
    dirty: pd.DataFrame,
    clean: pd.DataFrame,
    cutoff: pd.Timestamp | str,
    kinds: pd.Series,
    recipe: Recipe,
    *,
    relevant: Sequence[str] = ("view", "cart", "purchase"),
    weights: Mapping[str, float] | None = weighting.EVENT_WEIGHTS,
    ks: Sequence[int] = (3, 10),
    workers: int = 2,
) -> Flattery:
    """Judge what a dirty and a clean training log lead to, on a test that is dirty itself.

    Parameters
    ----------
    dirty, clean : DataFrame
        The same log before and after cleaning; ids written alike.
    cutoff : Timestamp or str
        First moment of the test.
    kinds : Series of str
        Index ``user_id``: what each account of the dirty log is.
    recipe : Recipe
        The model.
    relevant : sequence of str
        Events that count as found. Crawlers do not buy: they flatter a test that counts views.
    weights : mapping of str to float, optional
        See :func:`helpers.weighting.event_values`; without it the column ``value`` stays.
    ks : sequence of int
        Cut-offs.
    workers : int
        Fits at a time.

    Returns
    -------
    Flattery

    Raises
    ------
    ValueError
        If a tested account has no kind; and as :func:`helpers.evaluation.store_split`.

    Notes
    -----
    Tested are all accounts of the dirty log with events on both sides, and what is new to them by
    that log. The clean log does not know the accounts that cleaning removed; they get its popular
    list.
    """
    splits = {
        log: store_split(frame, since(frame, cutoff), weights=weights, relevant=relevant)
        for log, frame in (("dirty", dirty), ("clean", clean))
    }
    logged = splits["dirty"]
    users = logged.train.user_ids[logged.users]
    named = kinds.reindex(users)
    if named.isna().any():
        raise ValueError(
            f"kinds has no entry for {int(named.isna().sum())} of the {len(users)} tested accounts "
            f"({users[named.isna()][0]!r} for one); name the kind of each account of the dirty log"
        )
    item_ids = logged.train.item_ids.union(splits["clean"].train.item_ids)
    held_out = renamed(logged.test.user_items[logged.users], logged.train.item_ids, item_ids)
    seen = renamed(logged.bought.user_items[logged.users], logged.train.item_ids, item_ids)
    k = max(ks)

    def run(log: str) -> np.ndarray:
        split, rows = splits[log], rows_of(splits[log], users)
        matrix = recipe.matrix(split.train)
        scores = np.zeros((len(users), len(item_ids)))
        names = item_ids.get_indexer(split.train.item_ids)
        popular = np.bincount(split.bought.user_items.indices, minlength=split.train.n_items)
        scores[:, names] = popular
        known = np.flatnonzero(rows >= 0)
        found = recommend.scores(recipe.fit(split.train), matrix, rows[known])
        scores[np.ix_(known, names)] = found
        # Whatever only the other log holds stands last.
        scores[:, np.setdiff1d(np.arange(len(item_ids)), names)] = recommend.PADDING
        return recommend.rank_items(scores, k, seen)[0]

    lists = dict(zip(LOGS, in_parallel(run, LOGS, workers), strict=True))
    measured = {
        log: metrics.ranking(found, held_out, ks, seen=seen).per_user.set_axis(users)
        for log, found in lists.items()
    }
    counts = np.zeros(len(item_ids))
    bought = splits["clean"].bought
    counts[item_ids.get_indexer(bought.item_ids)] = np.bincount(
        bought.user_items.indices, minlength=bought.n_items
    )
    popular = recommend.rank_items(np.tile(counts, (len(users), 1)), k, seen)[0]
    return Flattery(named.astype("str"), measured, lists, popular, len(item_ids))
