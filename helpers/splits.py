"""Train and test sets that share the user and item indexes, and no pair.

Each function returns one or more :class:`Split`; :meth:`Split.summary` counts what is on each side
and what cannot be tested.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers.interactions import Aggregate, Interactions

By = Literal["user", "item"]


@dataclass(frozen=True, eq=False)
class Split:
    """Two disjoint sides of the same log.

    Attributes
    ----------
    train, test : Interactions
        Same shape, same indexes.
    n_repeated : int
        Pairs of the test period that are left out of test, because they are known already.
    known : csr_matrix, optional
        Pairs that no list holds, and test neither, where these are not the pairs of train: what
        was bought of a store's log that is learned from views, too.
    """

    train: Interactions
    test: Interactions
    n_repeated: int = 0
    known: csr_matrix | None = None

    def __post_init__(self) -> None:
        train, test = self.train, self.test
        if not (train.user_ids.equals(test.user_ids) and train.item_ids.equals(test.item_ids)):
            raise ValueError("train and test have different user or item indexes; split one input")
        shared = self.left_out.astype(bool).multiply(test.user_items.astype(bool)).nnz
        if shared:
            raise ValueError(f"train and test share {shared} pairs; the test would leak")

    @property
    def left_out(self) -> csr_matrix:
        """The pairs that no list holds."""
        return self.train.user_items if self.known is None else self.known

    @property
    def tested(self) -> np.ndarray:
        """Rows of the users with a pair on both sides, in ascending order."""
        return np.flatnonzero((self.train.user_counts > 0) & (self.test.user_counts > 0))

    def summary(self) -> pd.DataFrame:
        """Counts of both sides and of what cannot be tested, as a frame with the column ``count``.

        *Users tested* have a pair on both sides. *Out of reach* are test pairs whose user or item
        has no pair in train, so that no collaborative model can find them.
        """
        users_train, users_test = self.train.user_counts > 0, self.test.user_counts > 0
        items_train, items_test = self.train.item_counts > 0, self.test.item_counts > 0
        rows, columns = self.test.cells()
        counts = {
            "train pairs": self.train.nnz,
            "test pairs": self.test.nnz,
            "users tested": len(self.tested),
            "users without test": (users_train & ~users_test).sum(),
            "users without train": (users_test & ~users_train).sum(),
            "items without train": (items_test & ~items_train).sum(),
            "test pairs out of reach": (~(users_train[rows] & items_train[columns])).sum(),
            "repeated pairs left out of test": self.n_repeated,
        }
        return pd.DataFrame({"count": pd.Series(counts, dtype="int64")}).rename_axis("what")


def leave_last_out(interactions: Interactions, n: int = 1, *, seed: int = 0) -> Split:
    """Test on the latest ``n`` pairs of each user (chronological leave-``n``-out).

    "Latest" is by time, and among equal times by position in the log; without times, ``n`` random
    pairs are taken by ``seed``. Users with ``n`` pairs or fewer stay in train whole, because there
    would be nothing left to learn from.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "value": 1.0,
    ...     "timestamp": pd.to_datetime([10, 20, 30], unit="s", utc=True)})
    >>> split = leave_last_out(Interactions.from_frame(log))
    >>> split.test.to_frame()[["user_id", "item_id"]].values.tolist()
    [['a', 'y']]
    >>> int(split.summary().loc["users without test", "count"])
    1
    """
    if n < 1:
        raise ValueError(f"n is {n}, expected a whole number of at least 1")
    users, _ = interactions.cells()
    sizes = interactions.user_counts[users]
    if interactions.timestamps is None:
        rank = _random_rank(users, seed)
    else:
        rank = _rank_within(users, interactions.order)
    return _split(interactions, (sizes - 1 - rank < n) & (sizes > n))


def time_cutoff(
    frame: pd.DataFrame,
    cutoff: str | pd.Timestamp,
    *,
    aggregate: Aggregate = "sum",
    found: Collection[str] = (),
) -> Split:
    """Train on the events before a moment, test on those from it on.

    Parameters
    ----------
    frame : DataFrame
        Tidy events with times, as for :meth:`Interactions.from_frame`.
    cutoff : str or Timestamp
        First moment of the test period; without a zone it is taken as UTC.
    aggregate : {"sum", "max", "last", "count"}
        How the events of a pair are merged, on each side by itself.
    found : collection of str
        The events that are to be found, such as ``("purchase",)``: the others are learned from
        only, and an item that was viewed may be in a list. Without it, all events count.

    Notes
    -----
    Events are cut before they are merged, so nothing in train is from after the cut-off. A pair
    with events on both sides is known already: it stays in train with what came before, and is
    left out of test. New users and items are kept in test and counted in the summary.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "user_id": ["a", "a", "a", "b"], "item_id": ["x", "x", "y", "x"], "value": 1.0,
    ...     "timestamp": pd.to_datetime([1, 100, 100, 1], unit="s", utc=True)})
    >>> split = time_cutoff(log, "1970-01-01 00:00:50")
    >>> split.train.user_items.toarray()
    array([[1., 0.],
           [1., 0.]])
    >>> split.test.user_items.toarray()
    array([[0., 1.],
           [0., 0.]])
    >>> split.n_repeated
    1
    """
    try:
        moment = pd.Timestamp(cutoff)
    except ValueError as error:
        raise ValueError(f"cutoff is {cutoff!r}, expected a date or time ({error})") from error
    if "timestamp" not in frame:
        raise ValueError("frame has no times to cut at; use leave_last_out or random_ratio")
    moment = moment.tz_localize("UTC") if moment.tz is None else moment
    before = (frame["timestamp"] < moment).to_numpy()
    counts = frame["event"].isin(list(found)).to_numpy() if found else np.ones(len(frame), bool)
    zero = frame["value"].to_numpy() == 0

    def side(chosen: np.ndarray) -> Interactions:
        # A value of 0 keeps the row and the column, so all sides have the same indexes.
        events = frame.assign(value=frame["value"].where(chosen, 0.0))
        made = Interactions.from_frame(events, aggregate=aggregate)
        return replace(made, n_zeros_dropped=int((chosen & zero).sum()))

    for name, chosen in (("train", before), ("test", ~before & counts)):
        if not (chosen & ~zero).any():
            raise _empty(name)
    train, test = side(before), side(~before & counts)
    known = side(before & counts).user_items if found else None
    new = np.asarray((train.user_items if known is None else known)[test.cells()] == 0).ravel()
    if not new.any():
        raise _empty("test")
    return Split(train, test.select(new), int((~new).sum()), known)


def random_ratio(
    interactions: Interactions, test_ratio: float, *, by: By = "user", seed: int
) -> Split:
    """Test on a random share of the pairs of each user, or of each item.

    A random split lets the model learn from what came after the test pairs. It answers "how well
    are gaps filled", not "how well is the future foreseen".

    Parameters
    ----------
    interactions : Interactions
    test_ratio : float, above 0 and below 1
        Share of each group, rounded to whole pairs (a half upwards); at least one pair of each
        group stays in train.
    by : {"user", "item"}
        What the shares are kept for.
    seed : int
    """
    if not 0 < test_ratio < 1:
        raise ValueError(f"test_ratio is {test_ratio}, expected a number between 0 and 1")
    groups = _groups(interactions, by)
    sizes = np.bincount(groups)[groups]
    n_test = np.minimum(np.floor(test_ratio * sizes + 0.5), sizes - 1)
    return _split(interactions, _random_rank(groups, seed) < n_test)


def k_fold(interactions: Interactions, k: int, *, by: By = "user", seed: int) -> Iterator[Split]:
    """Cross-validation: ``k`` splits whose test sides together are the whole input.

    Each user's (or item's) pairs are spread evenly over the folds.
    """
    if k < 2:
        raise ValueError(f"k is {k}, expected a whole number of at least 2")
    groups = _groups(interactions, by)
    # A random first fold per group: otherwise groups smaller than k would crowd the first folds.
    first = np.random.default_rng([seed, 1]).integers(k, size=groups.max() + 1)
    folds = (_random_rank(groups, seed) + first[groups]) % k
    return iter([_split(interactions, folds == fold) for fold in range(k)])


def _split(interactions: Interactions, in_test: np.ndarray) -> Split:
    if not in_test.any() or in_test.all():
        raise _empty("train" if in_test.any() else "test")
    return Split(interactions.select(~in_test), interactions.select(in_test))


def _empty(side: str) -> ValueError:
    return ValueError(
        f"the {side} side would be empty: this log cannot be split that way; "
        "choose another share, fewer pairs or folds, or another cut-off"
    )


def _groups(interactions: Interactions, by: By) -> np.ndarray:
    if by not in ("user", "item"):
        raise ValueError(f"by is {by!r}, expected 'user' or 'item'")
    rows, columns = interactions.cells()
    return rows if by == "user" else columns


def _rank_within(groups: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Rank of each entry by ``key`` among the entries of its group, from 0."""
    return pd.Series(key).groupby(groups).rank(method="first").to_numpy(np.int64) - 1


def _random_rank(groups: np.ndarray, seed: int) -> np.ndarray:
    """Random rank of each entry among the entries of its group, from 0."""
    return _rank_within(groups, np.random.default_rng(seed).permutation(len(groups)))
