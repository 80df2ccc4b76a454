"""Accuracy of lists: all measures at all cut-offs from one hit matrix, kept for each user."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers.metrics.beyond import catalogue_coverage
from helpers.metrics.lists import as_csr, as_lists, check_distinct, check_unseen, hits
from helpers.metrics.uncertainty import bootstrap_interval


@dataclass(frozen=True, eq=False)
class Ranking:
    """Accuracy of each user's list.

    Attributes
    ----------
    per_user : DataFrame of float
        Index ``user``: the row in ``top_n`` of each user with something held out. Columns such as
        ``ndcg@10``; ``found["ndcg@10"]`` is one of them.
    n_left_out : int
        Users with nothing held out. They have no accuracy, neither 0 nor 1, and are in no mean.
    """

    per_user: pd.DataFrame
    n_left_out: int

    def __getitem__(self, metric: str) -> pd.Series:
        """Each user's value of one measure, such as ``"ndcg@10"``."""
        if metric not in self.per_user:
            known = ", ".join(map(str, self.per_user))
            raise KeyError(f"{metric!r} was not computed; there are {known}")
        return self.per_user[metric]

    def means(self) -> pd.Series:
        """Mean over the users of each column."""
        return self.per_user.mean()

    def interval(self, metric: str, seed: int = 0) -> tuple[float, float]:
        """Bootstrap interval of one mean, such as ``"ndcg@10"``.

        Raises
        ------
        KeyError
            If there is no such column; the message lists them.
        """
        return bootstrap_interval(self[metric], seed=seed)


def ranking(
    top_n: np.ndarray,
    held_out: csr_matrix,
    ks: Sequence[int],
    *,
    seen: csr_matrix | None = None,
) -> Ranking:
    """All accuracy measures of the lists at several cut-offs, in one pass.

    With ``h`` hits among the first ``k`` places and ``r`` relevant items, for each user:

    ==================== ============================== ========================================
    column               numerator                      denominator
    ==================== ============================== ========================================
    ``precision@k``      ``h``                          ``k``
    ``recall@k``         ``h``                          ``r``
    ``capped recall@k``  ``h``                          ``min(k, r)``
    ``hit rate@k``       1 if ``h > 0``, else 0         1
    ``map@k``            sum of (hits so far / place)   ``r``
                         over the hits
    ``capped map@k``     the same sum                   ``min(k, r)``
    ``ndcg@k``           sum of ``1 / log2(place + 1)`` the same sum over places 1..``min(k, r)``
                         over the hits
    ``mrr@k``            1 if ``h > 0``, else 0         place of the first hit
    ==================== ============================== ========================================

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n)
        Item indexes, best first, padded with -1; each item once a list.
    held_out : csr_matrix of shape (n_users, n_items)
        A stored cell is a relevant item, whatever its value.
    ks : sequence of int
        Cut-offs, each from 1 to ``n`` and to ``n_items``.
    seen : csr_matrix of shape (n_users, n_items), optional
        What the users have already; if given, a list that holds such an item is refused.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        If shapes do not fit, an item index is out of range or no whole number, a list holds an
        item twice or one that is ``seen``, a cut-off is out of range or given twice, or nobody
        has anything held out.
    TypeError
        If a matrix is not sparse.

    Notes
    -----
    A short list keeps its denominators: an empty place is a miss. Relevance is binary. The mean of
    the column ``map@k`` is MAP, that of ``mrr@k`` MRR.

    References
    ----------
    Järvelin and Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques", for NDCG;
    Manning, Raghavan and Schütze (2008), "Introduction to Information Retrieval", chapter 8.

    Examples
    --------
    User 0 has three relevant items, of which 2 stands first and 0 third. User 1 has nothing held
    out.

    >>> held_out = csr_matrix([[1, 0, 1, 0, 1], [0, 0, 0, 0, 0]])
    >>> found = ranking(np.array([[2, 1, 0], [0, 1, 2]]), held_out, ks=[1, 3])
    >>> found.n_left_out
    1
    >>> at_3 = found.per_user.loc[0].filter(like="@3")
    >>> at_3[["precision@3", "recall@3", "hit rate@3", "mrr@3"]].round(3).tolist()  # 2/3 2/3 1 1/1
    [0.667, 0.667, 1.0, 1.0]
    >>> at_3[["map@3", "ndcg@3"]].round(3).tolist()  # (1/1 + 2/3) / 3, (1 + 1/2) / (1 + .631 + .5)
    [0.556, 0.704]

    At ``k = 1`` the one place is a hit. Plain recall cannot exceed 1/3 there; capped recall can.

    >>> at_1 = found.per_user.loc[0].filter(like="@1")
    >>> at_1[["recall@1", "capped recall@1", "map@1", "capped map@1"]].round(3).tolist()
    [0.333, 1.0, 0.333, 1.0]
    """
    held_out = as_csr("held_out", held_out)
    top_n = as_lists("top_n", top_n, held_out.shape[1])
    ks = _cut_offs(ks, top_n.shape[1], held_out.shape[1])
    check_distinct(top_n)
    if seen is not None:
        seen = as_csr("seen", seen)
        if seen.shape != held_out.shape:
            raise ValueError(
                f"seen has shape {seen.shape} but held_out {held_out.shape}; "
                "select the same users on both sides"
            )
        check_unseen(top_n, seen)
    n_relevant = np.diff(held_out.indptr)
    tested = np.flatnonzero(n_relevant)
    if len(tested) == 0:
        raise ValueError(
            f"none of the {len(n_relevant)} users has anything held out: nothing can be measured"
        )
    values = _accuracy(hits(top_n, held_out)[tested, : max(ks)], n_relevant[tested], ks)
    index = pd.Index(tested, name="user")
    frame = pd.DataFrame(values, index=index, copy=False)
    return Ranking(frame, len(n_relevant) - len(tested))


def hit_rate_at_k(hits: np.ndarray, k: int) -> np.ndarray:
    """Whether each user has at least one relevant item among the first ``k``.

    Parameters
    ----------
    hits : bool ndarray of shape (n_users, n)
        From :func:`hits`.
    k : int
        Cut-off, from 1 to ``n``.

    Returns
    -------
    float64 ndarray of shape (n_users,), each 0.0 or 1.0

    Raises
    ------
    ValueError
        If ``k`` is outside ``1..n``.

    Notes
    -----
    Users without held-out items have no defined hit rate: leave them out before, and say how many.

    Examples
    --------
    >>> hit_rate_at_k(np.array([[False, True], [False, False]]), k=2)
    array([1., 0.])
    """
    if not 1 <= k <= hits.shape[1]:
        raise ValueError(f"k is {k}, expected 1 to {hits.shape[1]} (the length of the lists)")
    return np.asarray(hits[:, :k].any(axis=1), dtype=np.float64)


def summary(top_n: np.ndarray, held_out: csr_matrix, k: int, *, seed: int = 0) -> dict[str, float]:
    """Hit rate at ``k`` with its interval over users, and coverage.

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n), with ``n`` at least ``k``
    held_out : csr_matrix of shape (n_users, n_items)
        Of the same users, each with at least one stored cell.
    k : int
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``hit rate``, ``low``, ``high`` and ``coverage``, each from 0 to 1.

    Raises
    ------
    ValueError
        If a user has nothing held out, or ``k`` is out of range.
    """
    empty = int((np.diff(held_out.indptr) == 0).sum())
    if empty:
        raise ValueError(
            f"{empty} of {held_out.shape[0]} users have nothing held out, so their hit rate is "
            "undefined; select the tested users on both sides"
        )
    hit = hit_rate_at_k(hits(top_n, held_out), k)
    low, high = bootstrap_interval(hit, seed=seed)
    coverage = catalogue_coverage(top_n[:, :k], held_out.shape[1])
    return {"hit rate": float(hit.mean()), "low": low, "high": high, "coverage": coverage}


def _accuracy(hit: np.ndarray, n_relevant: np.ndarray, ks: list[int]) -> dict[str, np.ndarray]:
    """The columns of :func:`ranking`, from sums over the hits, which are fewer than the places."""
    n_users, n = hit.shape
    places, users = np.nonzero(hit.T)  # by place, so the hits within k places stand first
    hits_so_far = np.cumsum(hit, axis=1, dtype=np.int32)[users, places]
    discounts = 1 / np.log2(np.arange(2, n + 2))
    ideal = np.cumsum(discounts)
    gains = discounts[places]
    precisions = hits_so_far / (places + 1)
    first_only = np.where(hits_so_far == 1, precisions, 0.0)

    values: dict[str, np.ndarray] = {}
    for k, end in zip(ks, np.searchsorted(places, ks), strict=True):
        near = users[:end]
        found = np.bincount(near, minlength=n_users)
        precision_sum = np.bincount(near, precisions[:end], minlength=n_users)
        capped = np.minimum(k, n_relevant)
        values[f"precision@{k}"] = found / k
        values[f"recall@{k}"] = found / n_relevant
        values[f"capped recall@{k}"] = found / capped
        values[f"hit rate@{k}"] = (found > 0).astype(np.float64)
        values[f"map@{k}"] = precision_sum / n_relevant
        values[f"capped map@{k}"] = precision_sum / capped
        values[f"ndcg@{k}"] = np.bincount(near, gains[:end], minlength=n_users) / ideal[capped - 1]
        values[f"mrr@{k}"] = np.bincount(near, first_only[:end], minlength=n_users)
    return values


def _cut_offs(ks: Sequence[int], n: int, n_items: int) -> list[int]:
    ks = list(ks)
    if not ks or len(set(ks)) < len(ks):
        raise ValueError(f"ks is {ks}, expected one or more different cut-offs")
    for k in ks:
        if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
            raise ValueError(f"ks holds {k!r}, expected whole numbers of 1 or more")
        if k > n_items:
            raise ValueError(f"ks holds {k} but the catalogue has {n_items} items; choose less")
        if k > n:
            raise ValueError(f"ks holds {k} but the lists have {n} places; recommend {k} or more")
    return [int(k) for k in ks]
