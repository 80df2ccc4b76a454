"""Accuracy of lists: all metrics at all cut-offs from one hit matrix, kept for each user."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import pandas as pd
from numba import njit
from scipy.sparse import csr_matrix, issparse


def hits(top_n: np.ndarray, test: csr_matrix) -> np.ndarray:
    """Which recommended items are test items of the user: bool, of the shape of ``top_n``.

    Examples
    --------
    >>> hits(np.array([[2, 0], [1, -1]]), csr_matrix([[1, 0, 0], [0, 0, 5]]))
    array([[False,  True],
           [False, False]])
    """
    test = as_csr("test", test)
    top_n = as_lists("top_n", top_n, test.shape[1])
    if len(top_n) != test.shape[0]:
        raise ValueError(
            f"top_n has {len(top_n)} users but test has {test.shape[0]} rows; "
            "select the same users on both sides"
        )
    found: np.ndarray = _hits(top_n, test.indptr, test.indices)
    return found


@njit(cache=True, nogil=True)
def _hits(top_n, indptr, indices):  # type: ignore[no-untyped-def]
    """Compare each place with each of the user's items; an empty place, -1, is none of them."""
    found = np.zeros(top_n.shape, np.bool_)
    for user in range(len(top_n)):
        for item in indices[indptr[user] : indptr[user + 1]]:
            for place in range(top_n.shape[1]):
                found[user, place] |= top_n[user, place] == item
    return found


def accuracy(
    top_n: np.ndarray, test: csr_matrix, ks: Sequence[int], *, train: csr_matrix | None = None
) -> pd.DataFrame:
    """All accuracy metrics of each user's list at several cut-offs.

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
        Item indexes, best first, padded with -1; an empty place is a miss.
    test : csr_matrix of shape (n_users, n_items)
        A stored cell is a relevant item, whatever its value.
    ks : sequence of int
        Cut-offs, each from 1 to ``n``.
    train : csr_matrix of shape (n_users, n_items), optional
        If given, a list that holds an item of the training set is refused.

    Returns
    -------
    DataFrame of float
        Index ``user``: the rows with something in ``test``. The others have no accuracy, neither
        0 nor 1, and are left out; the mean of a column is the metric as papers report it.

    References
    ----------
    Järvelin and Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques", for nDCG;
    Manning, Raghavan and Schütze (2008), "Introduction to Information Retrieval", chapter 8.

    Examples
    --------
    User 0 has three relevant items, of which 2 is first and 0 third in the list. User 1 has none.

    >>> test = csr_matrix([[1, 0, 1, 0, 1], [0, 0, 0, 0, 0]])
    >>> found = accuracy(np.array([[2, 1, 0], [0, 1, 2]]), test, ks=[1, 3])
    >>> found.index.tolist()
    [0]
    >>> found[["precision@3", "recall@3", "mrr@3"]].round(3).iloc[0].tolist()  # 2/3, 2/3, 1/1
    [0.667, 0.667, 1.0]
    >>> found[["map@3", "ndcg@3"]].round(3).iloc[0].tolist()  # (1 + 2/3) / 3, 1.5 / (1.5 + .631)
    [0.556, 0.704]

    At ``k = 1`` the one place is a hit. Plain recall cannot exceed 1/3 there; capped recall can.

    >>> found[["recall@1", "capped recall@1"]].round(3).iloc[0].tolist()
    [0.333, 1.0]
    """
    test = as_csr("test", test)
    hit = hits(top_n, test)
    _check_lists(top_n, test, train)
    _check_cut_offs(ks, top_n.shape[1])
    n_relevant = np.diff(test.indptr)
    tested = np.flatnonzero(n_relevant)
    if len(tested) == 0:
        raise ValueError(f"test is empty for all {len(n_relevant)} users: nothing to measure")
    hit, n_relevant, n_users = hit[tested], n_relevant[tested], len(tested)

    # Sums over the hits, which are fewer than the places.
    places, users = np.nonzero(hit.T)  # ordered by place, so a cut-off is a prefix
    hits_so_far = np.cumsum(hit, axis=1, dtype=np.int32)[users, places]
    discounts = 1 / np.log2(np.arange(2, max(ks) + 2))
    ideal = np.cumsum(discounts)
    precisions = hits_so_far / (places + 1)
    first_only = np.where(hits_so_far == 1, precisions, 0.0)
    values: dict[str, np.ndarray] = {}
    for k, end in zip(ks, np.searchsorted(places, ks), strict=True):
        near = users[:end]
        found = np.bincount(near, minlength=n_users)
        precision_sum = np.bincount(near, precisions[:end], minlength=n_users)
        gains = np.bincount(near, discounts[places[:end]], minlength=n_users)
        capped = np.minimum(k, n_relevant)
        values[f"precision@{k}"] = found / k
        values[f"recall@{k}"] = found / n_relevant
        values[f"capped recall@{k}"] = found / capped
        values[f"hit rate@{k}"] = (found > 0).astype(np.float64)
        values[f"map@{k}"] = precision_sum / n_relevant
        values[f"capped map@{k}"] = precision_sum / capped
        values[f"ndcg@{k}"] = gains / ideal[capped - 1]
        values[f"mrr@{k}"] = np.bincount(near, first_only[:end], minlength=n_users)
    return pd.DataFrame(values, index=pd.Index(tested, name="user"))


def definitions(top_n: np.ndarray, test: csr_matrix, k: int) -> pd.DataFrame:
    """What libraries report for the same lists under one name, with the denominator of each.

    Returns
    -------
    DataFrame
        Index ``metric``; columns ``denominator`` (for each user, with ``n_u`` the number of test
        items), ``value`` (mean over the users, unless the denominator says otherwise) and
        ``used by``, the libraries that the tests compare with on the same lists.

    Examples
    --------
    Two of three places hit for a user with four relevant items, none for a user with one.

    >>> test = csr_matrix([[1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]])
    >>> table = definitions(np.array([[0, 4, 1], [3, 4, 5]]), test, k=3)
    >>> table.loc["precision", "value"].tolist()  # (2/3 + 0/3) / 2, (2 + 0) / (3 + 1)
    [0.3333333333333333, 0.5]
    >>> table.loc["recall", "value"].tolist()  # (2/4 + 0/1) / 2, (2/3 + 0/1) / 2
    [0.25, 0.3333333333333333]
    """
    found = accuracy(top_n, test, [k])
    means = found.mean().rename(lambda name: name.removesuffix(f"@{k}"))
    n_relevant = np.diff(as_csr("test", test).indptr)
    pooled = found[f"precision@{k}"].sum() * k / np.minimum(k, n_relevant).sum()
    rows = [
        ("precision", "k", means["precision"], "irspack, ranx"),
        ("precision", "sum of min(k, n_u) over users", pooled, "implicit"),
        ("recall", "n_u", means["recall"], "irspack, ranx"),
        ("recall", "min(k, n_u)", means["capped recall"], "irspack (recall_with_cutoff)"),
        ("MAP", "n_u", means["map"], "irspack, ranx"),
        ("MAP", "min(k, n_u)", means["capped map"], "implicit"),
        ("nDCG", "ideal list of min(k, n_u)", means["ndcg"], "implicit, irspack, ranx"),
        ("hit rate", "1", means["hit rate"], "irspack, ranx"),
        ("MRR", "place of the first hit", means["mrr"], "ranx"),
    ]
    columns = ["metric", "denominator", "value", "used by"]
    return pd.DataFrame(rows, columns=columns).set_index("metric")


def as_lists(name: str, top_n: np.ndarray, n_items: int | None = None) -> np.ndarray:
    """The lists as they came, once it is sure that they are a table of item indexes."""
    top_n = np.asarray(top_n)
    if top_n.ndim != 2 or top_n.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has shape {top_n.shape} and dtype {top_n.dtype}, expected item indexes as "
            "whole numbers, one row a user; convert with .astype(int), pad short lists with -1"
        )
    if top_n.size and (top_n.min() < -1 or (n_items is not None and top_n.max() >= n_items)):
        expected = "-1 or more" if n_items is None else f"-1 (padding) to {n_items - 1}"
        raise ValueError(
            f"{name} holds item indexes from {top_n.min()} to {top_n.max()}, expected {expected}; "
            "are lists and matrix of the same data set?"
        )
    return top_n


def as_csr(name: str, matrix: csr_matrix) -> csr_matrix:
    """The matrix in canonical CSR form (sorted, no cell twice), copied only where it is not."""
    if not issparse(matrix):
        raise TypeError(f"{name} is a {type(matrix).__name__}, expected a scipy sparse matrix")
    csr = csr_matrix(matrix)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr


def _check_lists(top_n: np.ndarray, test: csr_matrix, train: csr_matrix | None) -> None:
    """Refuse lists with an item twice (it would be two hits) or with items of the training set."""
    ordered = np.sort(top_n, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    if twice.any():
        raise ValueError(
            f"{twice.sum()} lists of top_n hold an item twice, the first in row "
            f"{int(twice.argmax())}; each item may be in a list once"
        )
    if train is None:
        return
    if train.shape != test.shape:
        raise ValueError(
            f"train has shape {train.shape} but test {test.shape}; select the same users for both"
        )
    known = hits(top_n, train)
    if known.any():
        row = int(known.any(axis=1).argmax())
        raise ValueError(
            f"top_n holds {known.sum()} items of the training set, first in row {row}: "
            f"{top_n[row][known[row]].tolist()}; filter them when recommending"
        )


def _check_cut_offs(ks: Sequence[int], n: int) -> None:
    """Refuse cut-offs that are no places of the lists, or none."""
    whole = all(isinstance(k, Integral) and 1 <= k <= n for k in ks)
    if not whole or not 0 < len(ks) == len(set(ks)):
        raise ValueError(
            f"ks is {ks}, expected different whole numbers from 1 to {n} (the length of the "
            "lists); recommend longer lists or choose smaller cut-offs"
        )
