"""A few users looked at closely: history, list, reasons, and what became of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers import recommend, weighting
from helpers.evaluation.comparison import Comparison
from helpers.evaluation.measures import item_counts
from helpers.interactions import Interactions
from helpers.markdown import escape
from helpers.recommend import rank_items
from helpers.splits import Split


def example_users(train: Interactions, test: Interactions) -> dict[str, int]:
    """Four different rows to look at closely.

    Parameters
    ----------
    train, test : Interactions
        Two sides of a split; users need something on both.

    Returns
    -------
    dict of str to int
        "most active" has most pairs in train, "median" a middle number, "shortest history" least,
        and "unusual taste" has, among those with at least the median, the history with the highest
        self-information (:func:`helpers.metrics.novelty`): the least popular items. Fewer where
        there are fewer users.
    """
    sizes = np.diff(train.user_items.indptr)
    judged = np.flatnonzero((sizes > 0) & (np.diff(test.user_items.indptr) > 0))
    by_size = judged[np.argsort(sizes[judged], kind="stable")]
    bits = -np.log2(np.maximum(item_counts(train), 1) / train.n_users)
    mean_bits = (weighting.binary(train.user_items) @ bits) / np.maximum(sizes, 1)
    upper = by_size[len(by_size) // 2 :]
    wanted = {
        "most active": by_size[::-1],
        "median": by_size[len(by_size) // 2 :],
        "shortest history": by_size,
        "unusual taste": upper[np.argsort(-mean_bits[upper].round(9), kind="stable")],
    }
    chosen: dict[str, int] = {}
    for label, candidates in wanted.items():
        free = [int(user) for user in candidates if user not in chosen.values()]
        if free:
            chosen[label] = free[0]
    return chosen


@dataclass(frozen=True)
class Portrait:
    """One user, the list, and what became of it.

    Attributes
    ----------
    n_known, n_held_out, n_hits : int
        Pairs in train, pairs held out, and hits among the first ``k``.
    n_popular : int
        Places of the list that the popular list would have filled with the same item.
    typical_users : float
        Median number of users of the items in the history.
    history : list of str
        Titles of the latest five items in train.
    table : DataFrame
        Index ``rank``; columns ``recommended`` (title), ``held out`` ("yes" or ""), ``users``,
        ``because of`` (the item of the history that adds most to the score) and ``share`` of it.
    missed : str
        Title of the held-out item that the model ranks lowest, and ``missed_rank`` its place.
    missed_rank : int
        Among the unseen items, from 1.
    missed_users : int
        Users of it in train.
    best_rank : int
        Place of the held-out item that the model ranks highest.
    n_candidates : int
        Unseen items.
    """

    n_known: int
    n_held_out: int
    n_hits: int
    n_popular: int
    typical_users: float
    history: list[str]
    table: pd.DataFrame
    missed: str
    missed_rank: int
    missed_users: int
    best_rank: int
    n_candidates: int

    def story(self, k: int) -> str:
        """What the model got right and wrong, as Markdown.

        Parameters
        ----------
        k : int
            Length of the list.

        Returns
        -------
        str
        """
        best = f"the best-ranked held-out item is in place {self.best_rank:,}"
        right = f"{self.n_hits} of {k} places are hits; {best}"
        known_to = f"{self.missed_users} user{'s' * (self.missed_users != 1)}"
        shown = float(self.table["users"].median())
        return (
            f"Right: {right}. Wrong: {self.n_held_out - self.n_hits} of {self.n_held_out} are "
            f"missing; *{escape(self.missed)}* ({known_to}) is ranked lowest, at "
            f"{self.missed_rank:,} of {self.n_candidates:,}. On the popular list, too: "
            f"{self.n_popular} of {k}. The median item has {shown:.0f} users here, "
            f"{self.typical_users:.0f} in the history."
        )


def portrait(
    model: Any, matrix: csr_matrix, split: Split, titles: pd.Series, user: int, *, k: int = 10
) -> Portrait:
    """Look closely at what a model does for one user.

    Parameters
    ----------
    model : fitted ALS or IALS
        Anything with factors and ``explain``.
    matrix : csr_matrix of shape (n_users, n_items)
        What it was fitted on.
    split : Split
        The sides that it was fitted and is judged on.
    titles : Series of str
        Title of each column.
    user : int
        A row with something on both sides.
    k : int
        Length of the list.

    Returns
    -------
    Portrait
    """
    train, test = split.train, split.test
    rows = np.array([user])
    known, held_out = train.user_items[user].indices, test.user_items[user].indices
    chosen = recommend.top_n(model, matrix, k, users=rows)[0]
    chosen = chosen[chosen >= 0]
    scores = recommend.scores(model, matrix, rows)
    order, _ = rank_items(scores, train.n_items, train.user_items[rows])
    places = {int(item): place for place, item in enumerate(order[0], start=1)}
    ranks = {item: places[item] for item in held_out.tolist()}
    reasons = [model.explain(user, matrix, int(item), N=1)[:2] for item in chosen]
    counts = item_counts(train)
    popular, _ = rank_items(counts[None, :], k, train.user_items[rows])
    cells = np.arange(matrix.indptr[user], matrix.indptr[user + 1])
    latest = train.user_items.indices[cells[np.argsort(-train.order[cells])]]
    worst = max(ranks, key=lambda item: ranks[item])
    names = titles.to_numpy()
    table = pd.DataFrame(
        {
            "recommended": names[chosen],
            "held out": np.where(np.isin(chosen, held_out), "yes", ""),
            "users": counts[chosen],
            "because of": [names[int(top[0][0])] for _, top in reasons],
            "share": [float(top[0][1]) / float(total) for total, top in reasons],
        },
        index=pd.RangeIndex(1, len(chosen) + 1, name="rank"),
    )
    return Portrait(
        n_known=len(known),
        n_held_out=len(held_out),
        n_hits=int(np.isin(chosen, held_out).sum()),
        n_popular=int(np.isin(chosen, popular).sum()),
        typical_users=float(np.median(counts[known])),
        history=names[latest[:5]].tolist(),
        table=table,
        missed=str(names[worst]),
        missed_rank=ranks[worst],
        missed_users=int(counts[worst]),
        best_rank=min(ranks.values()),
        n_candidates=train.n_items - len(known),
    )


def portraits(comparison: Comparison, model: str, titles: pd.Series) -> dict[str, Portrait]:
    """:func:`portrait` of each of the :func:`example_users` of the first split.

    Parameters
    ----------
    comparison : Comparison
    model : str
        An ALS or IALS in it.
    titles : Series of str
        Title of each column.

    Returns
    -------
    dict of str to Portrait
    """
    split = comparison.splits[0]
    chosen = example_users(split.train, split.test)
    fitted, matrix = comparison.models[model], comparison.matrices[model]
    return {
        label: portrait(fitted, matrix, split, titles, user, k=comparison.k)
        for label, user in chosen.items()
    }
