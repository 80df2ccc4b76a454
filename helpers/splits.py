"""Train and test sets that share the item space, share no pair, and lose nothing.

Each function returns one or more :class:`Split`. Both sides keep the shape and the indexes of the
input; whoever falls out of one side is counted in the split's report.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd

from helpers.interactions import Interactions

By = Literal["user", "item"]


@dataclass(frozen=True)
class SplitReport:
    """Who is on which side of a split.

    Attributes
    ----------
    n_train, n_test : int
        Pairs on each side.
    users_tested : int
        Users with a pair in test *and* one in train: those that an evaluation can score.
    users_without_test : int
        Users with pairs in train only.
    users_without_train : int
        Users with pairs in test only; a model knows nothing of them.
    items_without_train : int
        Items whose pairs are all in test; no collaborative model can recommend them.
    test_pairs_out_of_reach : int
        Test pairs whose user or item has no pair in train.
    """

    n_train: int
    n_test: int
    users_tested: int
    users_without_test: int
    users_without_train: int
    items_without_train: int
    test_pairs_out_of_reach: int

    def to_frame(self) -> pd.DataFrame:
        """The counts as a table of one column, ``count``."""
        names = [name.replace("_", " ") for name in asdict(self)]
        index = pd.Index(names, name="what")
        return pd.DataFrame({"count": list(asdict(self).values())}, index=index)


@dataclass(frozen=True, eq=False)
class Split:
    """Two disjoint sides of the same interactions.

    Attributes
    ----------
    train, test : Interactions
        Same shape, same indexes, no pair in common.

    Raises
    ------
    ValueError
        On construction, if the sides have different indexes or share a pair.
    """

    train: Interactions
    test: Interactions

    def __post_init__(self) -> None:
        train, test = self.train, self.test
        if not (train.user_ids.equals(test.user_ids) and train.item_ids.equals(test.item_ids)):
            raise ValueError("train and test have different user or item indexes; split one input")
        shared = train.user_items.astype(bool).multiply(test.user_items.astype(bool)).nnz
        if shared:
            raise ValueError(f"train and test share {shared} pairs; the test would leak")

    @property
    def report(self) -> SplitReport:
        """Counts of both sides and of whoever fell out."""
        users_train, items_train = _seen(self.train)
        users_test, items_test = _seen(self.test)
        rows, columns = self.test.cells()
        out_of_reach = ~(users_train[rows] & items_train[columns])
        return SplitReport(
            n_train=self.train.nnz,
            n_test=self.test.nnz,
            users_tested=int((users_train & users_test).sum()),
            users_without_test=int((users_train & ~users_test).sum()),
            users_without_train=int((users_test & ~users_train).sum()),
            items_without_train=int((items_test & ~items_train).sum()),
            test_pairs_out_of_reach=int(out_of_reach.sum()),
        )


def leave_last_out(interactions: Interactions, n: int = 1) -> Split:
    """Hold out the latest ``n`` pairs of each user (chronological leave-``n``-out).

    Parameters
    ----------
    interactions : Interactions
    n : int, at least 1

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If ``n`` is below 1, or no user has more than ``n`` pairs.

    Notes
    -----
    "Latest" is by time, and among equal times by position in the log. Users with ``n`` pairs or
    fewer stay in train whole (there would be nothing left to learn from) and are counted as
    ``users_without_test``.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "value": 1.0,
    ...     "timestamp": pd.to_datetime([10, 20, 30], unit="s", utc=True)})
    >>> split = leave_last_out(Interactions.from_frame(log))
    >>> split.test.to_frame()[["user_id", "item_id"]].values.tolist()
    [['a', 'y']]
    >>> split.report.users_without_test
    1
    """
    _check_count("n", n, 1)
    rows, _ = interactions.cells()
    sizes = np.bincount(rows, minlength=interactions.n_users)
    from_end = sizes[rows] - 1 - _rank_within(rows, interactions.order)
    return _split(interactions, (from_end < n) & (sizes[rows] > n))


def time_cutoff(interactions: Interactions, cutoff: str | pd.Timestamp) -> Split:
    """Train on everything before a moment, test on everything from it on.

    Parameters
    ----------
    interactions : Interactions
    cutoff : str or Timestamp
        First moment of the test set; without a zone it is taken as UTC.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If ``cutoff`` cannot be read, or one side would be empty.

    Notes
    -----
    This is what a deployed model meets. New users and items appear after the cut-off: they are
    kept in test and counted in the report.
    """
    try:
        moment = pd.Timestamp(cutoff)
    except ValueError as error:
        raise ValueError(f"cutoff is {cutoff!r}, expected a date or time ({error})") from error
    if moment.tz is not None:
        moment = moment.tz_convert(None)
    return _split(interactions, interactions.timestamps >= moment.to_numpy())


def random_ratio(
    interactions: Interactions, test_ratio: float, *, by: By = "user", seed: int
) -> Split:
    """Hold out a random share of the pairs of each user, or of each item.

    Parameters
    ----------
    interactions : Interactions
    test_ratio : float, above 0 and below 1
        Share to hold out in each group, rounded to whole pairs; at least one pair of each group
        stays in train.
    by : {"user", "item"}
        What the shares are kept for.
    seed : int
        Of NumPy's default generator; the same seed gives the same split.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If ``test_ratio`` is out of range, ``by`` unknown, or one side would be empty.

    Notes
    -----
    A random split lets the model learn from what came after the test pairs. It answers "how well
    are gaps filled", not "how well is the future foreseen".
    """
    if not 0 < test_ratio < 1:
        raise ValueError(f"test_ratio is {test_ratio}, expected a number between 0 and 1")
    groups = _groups(interactions, by)
    sizes = np.bincount(groups)[groups]
    held_out = np.minimum(np.floor(test_ratio * sizes + 0.5), sizes - 1)
    return _split(interactions, _random_rank(groups, seed) < held_out)


def k_fold(interactions: Interactions, k: int, *, by: By = "user", seed: int) -> Iterator[Split]:
    """Cross-validation: ``k`` splits whose test sides together are the whole input.

    Parameters
    ----------
    interactions : Interactions
    k : int, at least 2
    by : {"user", "item"}
        Each user's (or item's) pairs are spread evenly over the folds.
    seed : int

    Yields
    ------
    Split
        ``k`` of them, in order of the fold.

    Raises
    ------
    ValueError
        If ``k`` is below 2 or some fold would be empty.
    """
    _check_count("k", k, 2)
    groups = _groups(interactions, by)
    # A random first fold per group: otherwise groups smaller than k would crowd the first folds.
    first = np.random.default_rng([seed, 1]).integers(k, size=groups.max() + 1)
    folds = (_random_rank(groups, seed) + first[groups]) % k
    return iter([_split(interactions, folds == fold) for fold in range(k)])


def _split(interactions: Interactions, in_test: np.ndarray) -> Split:
    if not in_test.any() or in_test.all():
        side = "train" if in_test.any() else "test"
        raise ValueError(
            f"the {side} side would be empty: {len(in_test)} pairs of {interactions.n_users} users "
            "cannot be split that way; choose a smaller share, an earlier or a later cut-off"
        )
    return Split(interactions.select(~in_test), interactions.select(in_test))


def _seen(interactions: Interactions) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = interactions.cells()
    users = np.bincount(rows, minlength=interactions.n_users) > 0
    items = np.bincount(columns, minlength=interactions.n_items) > 0
    return users, items


def _groups(interactions: Interactions, by: By) -> np.ndarray:
    if by not in ("user", "item"):
        raise ValueError(f"by is {by!r}, expected 'user' or 'item'")
    rows, columns = interactions.cells()
    return rows if by == "user" else columns


def _rank_within(groups: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Rank of each entry by ``key`` among the entries of its group, from 0."""
    sorted_positions = np.lexsort((key, groups))
    starts = np.cumsum(np.bincount(groups)) - np.bincount(groups)
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[sorted_positions] = np.arange(len(groups)) - starts[groups[sorted_positions]]
    return ranks


def _random_rank(groups: np.ndarray, seed: int) -> np.ndarray:
    return _rank_within(groups, np.random.default_rng(seed).permutation(len(groups)))


def _check_count(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}, expected a whole number of at least {least}")
