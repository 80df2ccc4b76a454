"""Beyond accuracy: what the lists do to the catalogue, to novelty and to variety."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, issparse

from helpers.metrics.lists import as_lists, hits

Features = np.ndarray | csr_matrix
"""One row an item: factors, or a sparse item-by-genre matrix."""


def catalogue_coverage(top_n: np.ndarray, n_items: int) -> float:
    """Share of the catalogue that at least one user is shown.

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n)
    n_items : int
        Size of the catalogue.

    Returns
    -------
    float from 0 to 1

    Raises
    ------
    ValueError
        If an index is outside the catalogue.

    Notes
    -----
    It grows with the number of users and of places, so compare it on the same users and ``n``.

    Examples
    --------
    >>> catalogue_coverage(np.array([[0, 1], [1, -1]]), n_items=4)
    0.5
    """
    return int((_times_shown(top_n, n_items) > 0).sum()) / n_items


def gini(top_n: np.ndarray, n_items: int) -> float:
    """How unevenly the places are shared among all items of the catalogue.

    ``G = sum_i (2 i - m - 1) x_i / (m sum_i x_i)``, with ``x`` the times that each of ``m`` items
    is shown, in ascending order

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n)
    n_items : int
        Size of the catalogue; items never shown count.

    Returns
    -------
    float from 0 (all items alike) to ``1 - 1 / n_items`` (one item takes every place)

    Raises
    ------
    ValueError
        If no place is filled, or an index is outside the catalogue.

    Notes
    -----
    Like coverage it depends on the number of users and places: compare on the same ones.

    Examples
    --------
    Items 0 to 3 are shown 3, 1, 0 and 0 times: (-3·0 - 1·0 + 1·1 + 3·3) / (4·4) = 0.625.

    >>> gini(np.array([[0, 1], [0, -1], [0, -1]]), n_items=4)
    0.625
    """
    times = np.sort(_filled_times_shown(top_n, n_items))
    weights = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float((weights * times).sum() / (n_items * times.sum()))


def popular_share(top_n: np.ndarray, counts: np.ndarray, top: float = 0.01) -> float:
    """Share of all places that the most popular items take (popularity bias).

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n)
    counts : ndarray of shape (n_items,)
        Users of each item in the training set.
    top : float above 0, up to 1
        Which part of the catalogue counts as most popular, rounded up to whole items; among equal
        counts the smaller index first.

    Returns
    -------
    float from 0 to 1

    Raises
    ------
    ValueError
        If ``top`` is out of range, no place is filled, or an index is outside the catalogue.

    Examples
    --------
    A quarter of four items is one, the first; it takes two of three places.

    >>> popular_share(np.array([[0, 1], [0, -1]]), counts=np.array([9, 5, 1, 0]), top=0.25)
    0.6666666666666666
    """
    if not 0 < top <= 1:
        raise ValueError(f"top is {top}, expected a share of the catalogue such as 0.01")
    counts = _item_counts(counts)
    times = _filled_times_shown(top_n, len(counts))
    popular = np.argsort(-counts, kind="stable")[: int(np.ceil(top * len(counts)))]
    return float(times[popular].sum() / times.sum())


def novelty(top_n: np.ndarray, counts: np.ndarray, n_users: int) -> np.ndarray:
    """Mean self-information of a user's list: how surprising its items are.

    ``mean over the list of -log2(counts[i] / n_users)``

    Parameters
    ----------
    top_n : int ndarray of shape (n_lists, n)
    counts : ndarray of shape (n_items,)
        Users of each item in the training set.
    n_users : int
        Users of the training set.

    Returns
    -------
    float64 ndarray of shape (n_lists,), bits from 0 to ``log2(n_users)``; NaN for an empty list

    Raises
    ------
    ValueError
        If a count is not between 0 and ``n_users``, or an index is outside the catalogue.

    Notes
    -----
    An item that nobody has would be infinitely surprising; it is taken as if one user had it.

    References
    ----------
    Zhou et al. (2010), "Solving the apparent diversity-accuracy dilemma of recommender systems".

    Examples
    --------
    Of 8 users, 4 have item 0 (1 bit) and one has item 1 (3 bits).

    >>> novelty(np.array([[0, 1], [0, -1]]), counts=np.array([4, 1]), n_users=8)
    array([2., 1.])
    """
    counts = _item_counts(counts)
    if counts.max(initial=0) > n_users:
        raise ValueError(
            f"counts go up to {counts.max()} but n_users is {n_users}; count each user once an item"
        )
    bits = -np.log2(np.maximum(counts, 1) / n_users)
    top_n = as_lists("top_n", top_n, len(counts))
    filled = top_n >= 0
    places = filled.sum(axis=1)
    total = np.where(filled, bits[top_n], 0.0).sum(axis=1)
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

    Raises
    ------
    ValueError
        If a feature is NaN or infinite, or an index is outside the catalogue.

    Notes
    -----
    An item whose features are all zero points nowhere and is left out of the pairs. The sum of
    the cosines over all pairs is ``(|v|^2 - m) / 2``, with ``v`` the sum of the ``m`` unit
    vectors, so no pair is ever looked at.

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
    n_known = lists @ known.astype(np.float64)
    sums = lists @ units
    squares = sums.multiply(sums) if issparse(sums) else sums**2
    return _mean_distance(np.asarray(squares.sum(axis=1)).ravel(), n_known)


def personalisation(top_n: np.ndarray) -> float:
    """How different the lists of two users are: 1 - mean overlap over all pairs of users.

    The overlap of two lists is the cosine of their sets, ``common / sqrt(len_u * len_v)``, which
    for full lists is ``common / n``.

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n)
        Without duplicates within a list.

    Returns
    -------
    float from 0 (everybody gets the same items) to 1 (no item is shown to two users)

    Raises
    ------
    ValueError
        If fewer than two users have a list.

    Notes
    -----
    Exact, over all pairs, in time that grows with the places only (see
    :func:`intra_list_diversity`). Empty lists are left out. The order within a list plays no part.

    Examples
    --------
    The overlaps are 1/2 (first and second), 0 and 0: a mean of 1/6.

    >>> round(personalisation(np.array([[0, 1], [1, 2], [3, 4]])), 3)
    0.833
    """
    top_n = as_lists("top_n", top_n)
    units, known = _unit_rows(_as_matrix(top_n, int(top_n.max(initial=0)) + 1))
    if known.sum() < 2:
        raise ValueError(f"{known.sum()} of {len(top_n)} lists hold an item, expected at least two")
    square = float((np.asarray(units.sum(axis=0)) ** 2).sum())
    return float(_mean_distance(np.array([square]), np.array([known.sum()]))[0])


def mean_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Mean share of a user's list that two models have in common, in any order (stability).

    Parameters
    ----------
    first, second : int ndarray of shape (n_users, n)
        Lists of the same users, without duplicates within a list.

    Returns
    -------
    float from 0 to 1

    Raises
    ------
    ValueError
        If the shapes differ, or no list holds an item.

    Notes
    -----
    The denominator is the number of places filled in ``first``; users without any are left out.

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


def beyond(
    top_n: np.ndarray,
    counts: np.ndarray,
    n_users: int,
    *,
    features: Mapping[str, Features] | None = None,
    other: np.ndarray | None = None,
) -> pd.Series:
    """The measures of this module for one model, means over the users where they are per user.

    Parameters
    ----------
    top_n : int ndarray of shape (n_lists, n)
    counts : ndarray of shape (n_items,)
        Users of each item in the training set.
    n_users : int
        Users of the training set.
    features : mapping of name to matrix of shape (n_items, n_features), optional
        For each, the row ``diversity (name)``: see :func:`intra_list_diversity`.
    other : int ndarray of shape (n_lists, n), optional
        Lists of the same users from another seed or model, for the row ``stability``:
        see :func:`mean_overlap`.

    Returns
    -------
    Series of float
        ``coverage``, ``gini``, ``top 1% share``, ``novelty``, ``personalisation``, and what the
        options add. A mean over no user is NaN (a diversity where no list has two known items).

    Raises
    ------
    ValueError
        As the single measures do.

    Examples
    --------
    >>> beyond(np.array([[0, 1], [0, 2]]), counts=np.array([4, 2, 2]), n_users=4).round(3)
    coverage           1.000
    gini               0.167
    top 1% share       0.500
    novelty            0.500
    personalisation    0.500
    dtype: float64
    """
    n_items = len(counts)
    found = {
        "coverage": catalogue_coverage(top_n, n_items),
        "gini": gini(top_n, n_items),
        "top 1% share": popular_share(top_n, counts),
        "novelty": _mean(novelty(top_n, counts, n_users)),
        "personalisation": personalisation(top_n),
    }
    for name, matrix in (features or {}).items():
        found[f"diversity ({name})"] = _mean(intra_list_diversity(top_n, matrix))
    if other is not None:
        found["stability"] = mean_overlap(top_n, other)
    return pd.Series(found)


def _times_shown(top_n: np.ndarray, n_items: int) -> np.ndarray:
    if n_items < 1:
        raise ValueError(f"n_items is {n_items}, expected the size of the catalogue")
    top_n = as_lists("top_n", top_n, n_items)
    return np.bincount(top_n[top_n >= 0], minlength=n_items)


def _filled_times_shown(top_n: np.ndarray, n_items: int) -> np.ndarray:
    times = _times_shown(top_n, n_items)
    if not times.any():
        raise ValueError("top_n holds no item: every place is -1")
    return times


def _item_counts(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 1 or counts.min(initial=0) < 0 or not np.isfinite(counts).all():
        raise ValueError(
            f"counts has shape {counts.shape} and a least value of {counts.min(initial=0)}, "
            "expected the number of users of each item, 0 or more"
        )
    return counts


def _as_matrix(top_n: np.ndarray, n_items: int) -> csr_matrix:
    """Lists as a user-by-item matrix of ones."""
    filled = top_n >= 0
    ends = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    items = top_n[filled]
    return csr_matrix((np.ones(len(items)), items, ends), shape=(len(top_n), n_items))


def _unit_rows(matrix: Features) -> tuple[Features, np.ndarray]:
    """Rows divided by their length, and which rows have one."""
    matrix = csr_matrix(matrix) if issparse(matrix) else np.asarray(matrix, dtype=np.float64)
    values = matrix.data if issparse(matrix) else matrix
    if matrix.ndim != 2 or not np.isfinite(values).all():
        raise ValueError("features holds NaN or infinite values, or is no table of items")
    squares = matrix.multiply(matrix) if issparse(matrix) else matrix**2
    lengths = np.sqrt(np.asarray(squares.sum(axis=1), dtype=np.float64)).ravel()
    known = lengths > 0
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=known)
    if issparse(matrix):
        return csr_matrix(matrix.multiply(inverse[:, None])), known
    return matrix * inverse[:, None], known


def _mean_distance(squares: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Mean of 1 - cosine over the pairs of ``n`` unit vectors whose sum has squared length."""
    pairs = n * (n - 1)  # each pair twice, as in |sum|^2 - n
    distances = np.full(len(squares), np.nan)
    np.divide(pairs - (squares - n), pairs, out=distances, where=pairs > 0)
    return distances.clip(min=0.0)  # rounding


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
