"""A store's log, split into what was known and what was bought later.

A store differs from a film site in two ways. The same product is bought again, so a pair may stand
on both sides of a split and is news only if the user had not bought it before. And there are events
that are no purchases: a model may learn from a view, but only what was *bought* counts as found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.model_selection import train_test_split

from helpers import recommend, weighting
from helpers.cleaning import Cleaned
from helpers.interactions import Interactions
from helpers.recommend import rank_items
from helpers.splits import Split


@dataclass(frozen=True, eq=False, kw_only=True)
class StoreSplit(Split):
    """What was known of a store's users, and what they bought later.

    Attributes
    ----------
    train : Interactions
        All events before, with their weights as values.
    test : Interactions
        Pairs bought later. Unlike in :class:`helpers.splits.Split`, such a pair may stand in
        train, too: viewed but not bought.
    bought : Interactions
        Pairs bought before; same shape and indexes.
    repurchases : bool
        Whether pairs bought before are in ``test``, and so may be in the lists.
    n_again : int
        Pairs bought later that were bought before, in ``test`` or left out of it.

    Raises
    ------
    ValueError
        On construction, if the indexes differ, or ``test`` holds a pair of ``bought`` though
        ``repurchases`` is False.
    """

    bought: Interactions
    repurchases: bool = False
    n_again: int = 0

    def __post_init__(self) -> None:
        for side in (self.test, self.bought):
            same = self.train.user_ids.equals(side.user_ids)
            if not (same and self.train.item_ids.equals(side.item_ids)):
                raise ValueError("the sides have different user or item indexes; split one log")
        shared = self.bought.user_items.astype(bool).multiply(self.test.user_items.astype(bool)).nnz
        if shared and not self.repurchases:
            raise ValueError(f"bought and test share {shared} pairs; the lists cannot hold them")

    @property
    def users(self) -> np.ndarray:
        """Rows with events in train and something to find, in ascending order."""
        return np.flatnonzero((self.train.user_counts > 0) & (self.test.user_counts > 0))

    def excluded(self, users: np.ndarray) -> csr_matrix | None:
        """What the lists of these rows must not hold: what they have bought, or nothing."""
        return None if self.repurchases else self.bought.user_items[users]

    def top_n(
        self, model: Any, n: int, *, users: np.ndarray | None = None, matrix: Any = None
    ) -> np.ndarray:
        """The ``n`` best items of each user; unlike :func:`recommend.top_n` also those only viewed.

        Parameters
        ----------
        model : model fitted on the training side
        n : int
        users : int ndarray, optional
            Rows; :attr:`users` when not given. A row without events in train gets the popular list
            (what most users bought), because no model knows anything of it.
        matrix : csr_matrix, optional
            What the model was fitted on, where that is not ``train.user_items``.

        Returns
        -------
        int ndarray of shape (len(users), n), padded with -1
        """
        rows = self.users if users is None else users
        histories = self.train.user_items if matrix is None else matrix
        popular = self.bought.item_counts.astype(np.float64)
        lists = [np.empty((0, n), dtype=np.int64)]
        step = max(1, recommend.CELLS // self.train.n_items)
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            scores = recommend.scores(model, histories, block)
            known = np.diff(histories.indptr)[block] > 0
            if not known.all():
                scores = np.where(known[:, None], scores, popular)
            lists.append(rank_items(scores, n, self.excluded(block))[0])
        return np.concatenate(lists)

    def summary(self) -> pd.DataFrame:
        """Who is tested, who is not, and why.

        Returns
        -------
        DataFrame
            Index ``what``; columns ``pairs`` and ``users``.
        """
        test, rows = self.test, self.test.cells()[0]
        in_train = self.train.user_counts > 0
        tested = in_train[rows]
        reachable = tested & (self.train.item_counts > 0)[test.user_items.indices]
        kinds = {
            "train, all events": (self.train.nnz, in_train.sum()),
            "train, bought": (self.bought.nnz, (self.bought.user_counts > 0).sum()),
            "bought later": (
                test.nnz + self.n_again * (not self.repurchases),
                (test.user_counts > 0).sum(),
            ),
            "of them bought before": (self.n_again, None),
            "of users without history": ((~tested).sum(), len(np.unique(rows[~tested]))),
            "tested": (tested.sum(), len(np.unique(rows[tested]))),
            "of them reachable": (reachable.sum(), len(np.unique(rows[reachable]))),
        }
        table = pd.DataFrame.from_dict(kinds, orient="index", columns=["pairs", "users"])
        return table.astype("Int64").rename_axis("what")


def since(events: pd.DataFrame, cutoff: pd.Timestamp | str) -> np.ndarray:
    """Which events lie at or after a moment: the test side of a split in time.

    Parameters
    ----------
    events : DataFrame
        Column ``timestamp`` (UTC).
    cutoff : Timestamp or str
        Without a zone it is taken as UTC.

    Returns
    -------
    bool ndarray of shape (n_events,)

    Raises
    ------
    ValueError
        If all events or none lie there.
    """
    moment = pd.Timestamp(cutoff)
    moment = moment.tz_localize("UTC") if moment.tz is None else moment
    late = (events["timestamp"] >= moment).to_numpy(bool)
    if late.all() or not late.any():
        raise ValueError(
            f"cutoff is {moment}, but the log reaches from {events['timestamp'].min()} to "
            f"{events['timestamp'].max()}; choose a moment in between"
        )
    return late


def cutoff(events: pd.DataFrame, share: float = 0.2) -> pd.Timestamp:
    """The moment after which about a share of the events lies.

    Parameters
    ----------
    events : DataFrame
        Column ``timestamp`` (UTC).
    share : float between 0 and 1

    Returns
    -------
    Timestamp
        The beginning of that day, where something lies before it; else the moment itself.

    Raises
    ------
    ValueError
        If ``share`` is out of range, or all events have one time.

    Examples
    --------
    >>> days = pd.date_range("2026-01-01 12:00", periods=10, tz="UTC")
    >>> cutoff(pd.DataFrame({"timestamp": days}), 0.2)
    Timestamp('2026-01-08 00:00:00+0000', tz='UTC')
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}, expected a number between 0 and 1")
    times = events["timestamp"]
    if times.nunique() < 2:
        raise ValueError(
            f"the {len(times)} events have {times.nunique()} different times; a split in time "
            "needs at least 2"
        )
    first = cast(pd.Timestamp, times.min())
    moment = cast(pd.Timestamp, times.quantile(1 - share))
    if moment.normalize() > first:
        return moment.normalize()
    return max(moment, pd.Timestamp(times[times > first].min()))


def at_random(events: pd.DataFrame, share: float = 0.2, *, seed: int = 0) -> np.ndarray:
    """Which events scikit-learn's ``train_test_split`` puts to the test side, row by row.

    Parameters
    ----------
    events : DataFrame
    share : float between 0 and 1
    seed : int
        Its ``random_state``.

    Returns
    -------
    bool ndarray of shape (n_events,)

    Notes
    -----
    This is the protocol of the store project, and it leaks: see :func:`leaks`.
    """
    _, drawn = train_test_split(np.arange(len(events)), test_size=share, random_state=seed)
    in_test = np.zeros(len(events), dtype=bool)
    in_test[drawn] = True
    return in_test


def store_split(
    events: pd.DataFrame,
    in_test: np.ndarray,
    *,
    weights: Mapping[str, float] | None = weighting.EVENT_WEIGHTS,
    half_life_days: float | None = None,
    relevant: Sequence[str] = ("purchase",),
    repurchases: bool = False,
) -> StoreSplit:
    """Build the two sides of a split from a store's events.

    Parameters
    ----------
    events : DataFrame
        Columns ``user_id``, ``item_id``, ``event`` (text), ``timestamp`` (UTC), and ``value`` where
        ``weights`` is None.
    in_test : bool ndarray of shape (n_events,)
        From :func:`since` or :func:`at_random`.
    weights, half_life_days
        Values of the training events, see :func:`helpers.weighting.event_values`; with ``weights``
        None the column ``value`` stays as it is.
    relevant : sequence of str
        Kinds of events that count as found, and as known already.
    repurchases : bool
        Whether to predict what the user buys *again*, too. Otherwise test and lists hold only what
        is new to the user.

    Returns
    -------
    StoreSplit

    Raises
    ------
    ValueError
        If ``in_test`` has another length, nothing was bought before or later, or nothing of it is
        new; and as :func:`helpers.weighting.event_values`.

    Notes
    -----
    Events are split before they are merged, as in :func:`helpers.splits.time_cutoff`. Here an event
    of weight 0 and a pair that was only viewed count, too.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "user_id": ["a", "a", "a", "b"], "item_id": ["x", "x", "y", "y"], "event": "purchase",
    ...     "timestamp": pd.to_datetime([1, 9, 9, 1], unit="s", utc=True)})
    >>> split = store_split(log, np.array([False, True, True, False]))
    >>> split.test.to_frame()["item_id"].tolist(), split.n_again
    (['y'], 1)
    """
    if len(in_test) != len(events):
        raise ValueError(f"in_test has {len(in_test)} entries, but events {len(events)} rows")
    events = events.reset_index(drop=True)
    counts = events["event"].isin(list(relevant)).to_numpy(bool)
    before, later = counts & ~in_test, counts & in_test
    for side, name in ((before, "before"), (later, "in the test part")):
        if not side.any():
            raise ValueError(f"the log holds no event of {list(relevant)} {name} to learn or find")
    values = events.loc[~in_test]
    if weights is not None:
        values = weighting.event_values(values, weights, half_life_days=half_life_days)
    kept = values["value"].reindex(events.index, fill_value=0.0).to_numpy(np.float64)
    wanted = (kept > 0) | counts
    frame = events.loc[wanted, ["user_id", "item_id", "timestamp"]]
    # A value of 0 keeps the row and the column, so all sides share their indexes.
    train, bought, test = (
        Interactions.from_frame(frame.assign(value=value[wanted].astype(np.float64)))
        for value in (kept, before, later)
    )
    rows, columns = test.cells()
    again = np.asarray(bought.user_items[rows, columns] > 0).ravel()
    if not repurchases:
        if again.all():
            raise ValueError("all that was bought later was bought before; try repurchases=True")
        test = test.select(~again)
    return StoreSplit(train, test, bought=bought, repurchases=repurchases, n_again=int(again.sum()))


def leaks(events: pd.DataFrame, in_test: np.ndarray) -> pd.Series:
    """What the training side of a split knows that it could not know at the time.

    Parameters
    ----------
    events : DataFrame
        Purchases; columns ``user_id``, ``item_id``, ``timestamp`` and, where known, ``order_id``.
    in_test : bool ndarray of shape (n_events,)

    Returns
    -------
    Series of float from 0 to 1
        Shares of the test rows: ``pair in train``, ``order in train`` (other lines of the same
        order; missing without ``order_id``), ``user later in train`` (an event of the same user
        *after* the test row) and ``item later in train`` (anybody's).

    Notes
    -----
    ``pair in train`` is no leak by itself, since people buy again; the others are.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "user_id": ["a", "a", "b"], "item_id": ["x", "x", "y"],
    ...     "timestamp": pd.to_datetime([1, 2, 3], unit="s", utc=True)})
    >>> leaks(log, np.array([True, False, True])).to_dict()
    {'pair in train': 0.5, 'user later in train': 0.5, 'item later in train': 0.5}
    """
    train, test = events[~in_test], events[in_test]
    pairs = [pd.MultiIndex.from_frame(side[["user_id", "item_id"]]) for side in (train, test)]
    found = {"pair in train": pairs[1].isin(pairs[0]).mean()}
    if "order_id" in events:
        found["order in train"] = test["order_id"].isin(train["order_id"].dropna()).mean()
    for whose in ("user", "item"):
        last = train.groupby(f"{whose}_id")["timestamp"].max()
        later = test[f"{whose}_id"].map(last) > test["timestamp"]
        found[f"{whose} later in train"] = later.mean()
    return pd.Series(found, dtype=np.float64)


def as_logged(cleaned: Cleaned) -> pd.DataFrame:
    """The log as it came: every valid row, kept or removed, in order of time.

    Parameters
    ----------
    cleaned : Cleaned

    Returns
    -------
    DataFrame
        The columns of the source. A purchase of which a part was returned has its first value.

    Examples
    --------
    >>> from helpers.cleaning import clean
    >>> log = pd.DataFrame({
    ...     "user": ["7", "7"], "item": ["a", "a"], "quantity": [3, -1], "order": ["1", "C2"],
    ...     "time": ["2024-05-30", "2024-05-31"]})
    >>> cleaned = clean(log)
    >>> cleaned.frame["value"].tolist(), as_logged(cleaned)["value"].tolist()
    ([2.0], [3.0, -1.0])
    """
    kept, removed = cleaned.frame, cleaned.removed.drop(columns=["file", "row", "rule"])
    if "returned" in kept and "returned" not in removed:
        kept = kept.assign(value=kept["value"] + kept["returned"])
    log = pd.concat([kept[removed.columns], removed])
    first = [name for name in ("timestamp", "user_id", "item_id", "event") if name in log]
    return log.sort_values([*first, *log.columns.drop(first)], ignore_index=True)
