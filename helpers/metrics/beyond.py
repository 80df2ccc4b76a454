"""Beyond accuracy: what the lists do to the catalogue, to novelty and to variety."""

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_matrix, issparse

from helpers.metrics.lists import as_lists, hits

Features = np.ndarray | csr_matrix
"""One row an item: factors, or a sparse item-by-genre matrix."""


def coverage(top_n: np.ndarray, n_items: int) -> float:
    """Share of the catalogue that is in at least one user's list.

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n)
    n_items : int
        Size of the catalogue.

    Returns
    -------
    float from 0 to 1

    Notes
    -----
    It grows with the number of users and of places, so compare it on the same users and ``n``.

    Examples
    --------
    >>> coverage(np.array([[0, 1], [1, -1]]), n_items=4)
    0.5
    """
    return int((_times_shown(top_n, n_items) > 0).sum()) / n_items


def gini(top_n: np.ndarray, n_items: int) -> float:
    """How unevenly the places are shared among all items of the catalogue.

    ``G = sum_i (2 i - m - 1) x_i / (m sum_i x_i)``, with ``x`` the times that each of ``m`` items
    is shown, in ascending order: from 0 (all items alike) to ``1 - 1 / m`` (one has every place).

    Examples
    --------
    Items 0 to 3 are shown 3, 1, 0 and 0 times: (-3·0 - 1·0 + 1·1 + 3·3) / (4·4) = 0.625.

    >>> gini(np.array([[0, 1], [0, -1], [0, -1]]), n_items=4)
    0.625
    """
    times = np.sort(_times_shown(top_n, n_items, filled=True))
    weights = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float((weights * times).sum() / (n_items * times.sum()))


def popular_share(top_n: np.ndarray, counts: np.ndarray, top: float = 0.01) -> float:
    """Share of all places taken by the ``top`` share of the items, by users in the training set.

    Examples
    --------
    A quarter of four items is one, the first; it takes two of three places.

    >>> popular_share(np.array([[0, 1], [0, -1]]), counts=np.array([9, 5, 1, 0]), top=0.25)
    0.6666666666666666
    """
    if not 0 < top <= 1:
        raise ValueError(f"top is {top}, expected a share of the catalogue such as 0.01")
    times = _times_shown(top_n, len(counts), filled=True)
    popular = np.argsort(-np.asarray(counts), kind="stable")[: int(np.ceil(top * len(counts)))]
    return float(times[popular].sum() / times.sum())


def novelty(top_n: np.ndarray, counts: np.ndarray, n_users: int) -> np.ndarray:
    """Mean self-information of each user's list in bits: how surprising its items are.

    ``mean over the list of -log2(counts[i] / n_users)``, NaN for an empty list; an item that nobody
    has counts as if one user had it, because it would be infinitely surprising. See Zhou et al.
    (2010), "Solving the apparent diversity-accuracy dilemma of recommender systems".

    Examples
    --------
    Of 8 users, 4 have item 0 (1 bit) and one has item 1 (3 bits).

    >>> novelty(np.array([[0, 1], [0, -1]]), counts=np.array([4, 1]), n_users=8)
    array([2., 1.])
    """
    counts = np.asarray(counts)
    if counts.min(initial=0) < 0 or counts.max(initial=0) > n_users:
        raise ValueError(
            f"counts go from {counts.min(initial=0)} to {counts.max()} but n_users is {n_users}; "
            "count each user once an item"
        )
    bits = -np.log2(np.maximum(counts, 1) / n_users)
    top_n = as_lists("top_n", top_n, len(counts))
    places = (top_n >= 0).sum(axis=1)
    total = np.where(top_n >= 0, bits[top_n], 0.0).sum(axis=1)
    means = np.full(len(top_n), np.nan)
    np.divide(total, places, out=means, where=places > 0)
    return means


def intra_list_diversity(top_n: np.ndarray, features: Features) -> np.ndarray:
    """How different the items within a user's list are: mean of 1 - cosine over its pairs.

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n)
    features : ndarray or sparse matrix of shape (n_items, n_features)
        What the items are compared by, such as factors or genres.

    Returns
    -------
    float64 ndarray of shape (n_users,)
        From 0 (all alike) to 1 (nothing in common), up to 2 where cosines are negative; NaN for
        lists with fewer than two items that have features.

    References
    ----------
    Smyth and McClave (2001), "Similarity vs. Diversity".

    Examples
    --------
    Items 0 and 1 share their one genre, item 2 has another: of three pairs two differ.

    >>> genres = np.array([[1, 0], [1, 0], [0, 1]])
    >>> intra_list_diversity(np.array([[0, 1, 2], [0, 1, -1]]), genres).round(3)
    array([0.667, 0.   ])
    """
    units, known = _unit_rows(features)
    lists = _as_matrix(as_lists("top_n", top_n, units.shape[0]), units.shape[0])
    sums = csr_matrix(lists @ units)
    squares = np.asarray(sums.multiply(sums).sum(axis=1)).ravel()
    return _mean_distance(squares, lists @ known.astype(np.float64))


def personalisation(top_n: np.ndarray) -> float:
    """How different the lists of two users are: 1 - mean overlap over all pairs of users.

    The overlap of two lists is the cosine of their sets, ``common / sqrt(len_u * len_v)``, which
    for full lists is ``common / n``. NaN where fewer than two users have a list.

    Examples
    --------
    The overlaps are 1/2 (first and second), 0 and 0: a mean of 1/6.

    >>> round(personalisation(np.array([[0, 1], [1, 2], [3, 4]])), 3)
    0.833
    """
    top_n = as_lists("top_n", top_n)
    units, known = _unit_rows(_as_matrix(top_n, int(top_n.max(initial=0)) + 1))
    square = float((np.asarray(units.sum(axis=0)) ** 2).sum())
    return float(_mean_distance(np.array([square]), np.array([known.sum()]))[0])


def mean_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Mean share of a user's list that two models have in common, in any order (stability).

    Parameters
    ----------
    first, second : int ndarray of shape (n_users, n)
        Lists of the same users, without duplicates within a list. The denominator is the number of
        places filled in ``first``; users without any are left out.

    Returns
    -------
    float from 0 to 1

    Examples
    --------
    >>> mean_overlap(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [4, 5]]))
    0.75
    """
    if first.shape != second.shape:
        raise ValueError(f"the lists have shapes {first.shape} and {second.shape}, expected equal")
    first, second = as_lists("first", first), as_lists("second", second)
    n_items = max(int(first.max(initial=0)), int(second.max(initial=0))) + 1
    common = hits(first, _as_matrix(second, n_items)).sum(axis=1)
    filled = (first >= 0).sum(axis=1)
    users = filled > 0
    if not users.any():
        raise ValueError("first holds no item: there is no list to compare")
    return float((common[users] / filled[users]).mean())


def beyond_accuracy(
    top_n: np.ndarray,
    counts: np.ndarray,
    n_users: int,
    features: Mapping[str, Features] | None = None,
) -> dict[str, float]:
    """The metrics of this module for one model, means over the users where they are per user.

    Parameters
    ----------
    top_n : int ndarray of shape (n_lists, n)
    counts : ndarray of shape (n_items,)
        Users of each item in the training set.
    n_users : int
        Users of the training set.
    features : mapping of name to matrix of shape (n_items, n_features), optional
        For each, the entry ``diversity (name)``: see :func:`intra_list_diversity`.

    Returns
    -------
    dict of float
        ``coverage``, ``gini``, ``top 1% share``, ``novelty``, ``personalisation``, and the
        diversities. A mean over no user is NaN (a diversity where no list has two known items).

    Examples
    --------
    >>> found = beyond_accuracy(np.array([[0, 1], [0, 2]]), np.array([4, 2, 2]), n_users=4)
    >>> {name: round(value, 3) for name, value in found.items()}
    {'coverage': 1.0, 'gini': 0.167, 'top 1% share': 0.5, 'novelty': 0.5, 'personalisation': 0.5}
    """
    n_items = len(counts)
    found = {
        "coverage": coverage(top_n, n_items),
        "gini": gini(top_n, n_items),
        "top 1% share": popular_share(top_n, counts),
        "novelty": _mean(novelty(top_n, counts, n_users)),
        "personalisation": personalisation(top_n),
    }
    for name, matrix in (features or {}).items():
        found[f"diversity ({name})"] = _mean(intra_list_diversity(top_n, matrix))
    return found


def _times_shown(top_n: np.ndarray, n_items: int, *, filled: bool = False) -> np.ndarray:
    """In how many lists each item is; `filled` refuses lists without any item."""
    top_n = as_lists("top_n", top_n, n_items)
    times = np.bincount(top_n[top_n >= 0], minlength=n_items)
    if filled and not times.any():
        raise ValueError("top_n holds no item: every place is -1")
    return times


def _as_matrix(top_n: np.ndarray, n_items: int) -> csr_matrix:
    """Lists as a user-by-item matrix of ones."""
    filled = top_n >= 0
    ends = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    items = top_n[filled]
    return csr_matrix((np.ones(len(items)), items, ends), shape=(len(top_n), n_items))


def _unit_rows(matrix: Features) -> tuple[csr_matrix, np.ndarray]:
    """Rows divided by their length, and which rows have one (the others are left out of pairs)."""
    rows = matrix if issparse(matrix) else np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(rows.data if issparse(rows) else rows).all():
        raise ValueError("features holds NaN or infinite values")
    rows = csr_matrix(rows, dtype=np.float64)
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1))).ravel()
    known = lengths > 0
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=known)
    return csr_matrix(rows.multiply(inverse[:, None])), known


def _mean_distance(squares: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Mean of 1 - cosine over the pairs of ``n`` unit vectors whose sum has squared length.

    The cosines of all pairs sum to ``(squares - n) / 2``, so no pair is ever looked at.
    """
    pairs = n * (n - 1)  # each pair twice, as in |sum|^2 - n
    distances = np.full(len(squares), np.nan)
    np.divide(pairs - (squares - n), pairs, out=distances, where=pairs > 0)
    return distances.clip(min=0.0)  # rounding


def _mean(values: np.ndarray) -> float:
    """Mean of what is known, NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
