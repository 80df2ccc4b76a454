"""Good metrics, bad results: a number that is high because the test is as dirty as the lists."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers import metrics
from helpers.store.experiment import renamed
from helpers.store.serving import Serving

STEPS = {
    "dirty lists, dirty test": ("dirty", "dirty"),
    "dirty lists, clean test": ("dirty", "clean"),
    "clean lists, clean test": ("clean", "clean"),
}
"""What is reported before cleaning, what these lists are worth, and what cleaning makes of them."""


@dataclass(frozen=True, eq=False)
class Contamination:
    """One policy, learned from a dirty and from a clean log, scored on the tests of both.

    Attributes
    ----------
    levels : DataFrame
        Index ``lists and test`` (:data:`STEPS`); columns ``users``, each measure, ``no product``
        (share of places with items that the clean log does not hold), ``coverage`` and ``overlap``
        (what the lists of two users have in common, on average; 1 if all get the same).
    changes : DataFrame
        Index levels ``change`` and ``measure``: what cleaning changes "as reported" (each log
        scored on its own test) and "in truth" (both on the clean test), with ``difference``,
        ``low``, ``high`` and ``verdict``, on the same users.
    """

    levels: pd.DataFrame
    changes: pd.DataFrame


def contamination(
    dirty: Serving,
    clean: Serving,
    policy: str,
    *,
    who: pd.Series | None = None,
    measures: tuple[str, ...] = ("precision@3", "hit rate@10"),
    seed: int = 0,
) -> Contamination:
    """Score the lists that a dirty log leads to on what was logged, and on what was really bought.

    Parameters
    ----------
    dirty, clean : Serving
        The same policies on the same log before and after cleaning; ids written alike.
    policy : str
        One of them.
    who : Series of bool, optional
        Index ``user_id``: whom to score; who is missing is left out. All when not given.
    measures : tuple of str
        Columns of :func:`helpers.metrics.accuracy` at the cut-offs of the servings.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Contamination

    Raises
    ------
    KeyError
        If there is no such policy.
    ValueError
        If no user stands in the test of both.

    Notes
    -----
    Scored are users with something to find in both tests, so that all numbers are of the same
    people.
    """
    servings = {"dirty": dirty, "clean": clean}
    for log, serving in servings.items():
        if policy not in serving.lists:
            raise KeyError(f"{policy!r} is no policy of {log}; there are {list(serving.lists)}")
    users = clean.groups.index.intersection(dirty.groups.index)
    if who is not None:
        users = users[who.reindex(users).fillna(False).to_numpy(bool)]
    if not len(users):
        raise ValueError("no user of who stands in both tests; are user ids written alike?")
    item_ids = clean.item_ids.union(dirty.item_ids)
    real = item_ids.isin(clean.item_ids)
    ks = sorted({int(measure.split("@")[1]) for measure in measures})
    lists, tests = {}, {}
    for log, serving in servings.items():
        rows = serving.groups.index.get_indexer(users)
        found, names = serving.lists[policy][rows], item_ids.get_indexer(serving.item_ids)
        lists[log] = np.where(found >= 0, names[found], -1)
        tests[log] = renamed(serving.test[rows], serving.item_ids, item_ids)
    values, levels = {}, {}
    for step, (learned, test) in STEPS.items():
        shown = lists[learned]
        values[step] = metrics.accuracy(shown, tests[test], ks)
        levels[step] = {
            "users": len(users),
            **values[step][list(measures)].mean(),
            "no product": 1 - float(real[shown[shown >= 0]].mean()),
            "coverage": metrics.coverage(shown, len(item_ids)),
            "overlap": 1 - metrics.personalisation(shown) if len(users) > 1 else 1.0,
        }
    first, second, third = STEPS
    rows_of_change = {}
    for change, before in (("as reported", first), ("in truth", second)):
        for measure in measures:
            pair = metrics.paired(values[third][measure], values[before][measure], seed=seed)
            row = [pair.difference, pair.low, pair.high, pair.verdict]
            rows_of_change[change, measure] = row
    changes = pd.DataFrame.from_dict(
        rows_of_change, orient="index", columns=["difference", "low", "high", "verdict"]
    )
    index = pd.MultiIndex.from_tuples(rows_of_change, names=["change", "measure"])
    return Contamination(
        pd.DataFrame.from_dict(levels, orient="index").rename_axis("lists and test"),
        changes.set_axis(index),
    )
