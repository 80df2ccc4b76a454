"""Beyond accuracy: what the lists do to the catalogue, to novelty and to variety."""

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_matrix

from helpers.metrics.lists import as_lists

Features = np.ndarray | csr_matrix  # one row an item: factors, or a sparse item-by-genre matrix


def coverage(top_n: np.ndarray, n_items: int) -> float:
    """Share of the catalogue of ``n_items`` that is in at least one user's list, from 0 to 1.

    It grows with the number of users and of places, so compare it on the same users and ``n``.

    Examples
    --------
    >>> coverage(np.array([[0, 1], [1, -1]]), n_items=4)
    0.5
    """
    top_n = as_lists("top_n", top_n, n_items)
    return len(np.unique(top_n[top_n >= 0])) / n_items


def popular_share(top_n: np.ndarray, counts: np.ndarray) -> float:
    """Share of all places taken by the 1 % of the items that most users have in the training set.

    Examples
    --------
    One per cent of four items, rounded up, is one, the first; it takes two of three places.

    >>> popular_share(np.array([[0, 1], [0, -1]]), counts=np.array([9, 5, 1, 0]))
    0.6666666666666666
    """
    shown = as_lists("top_n", top_n, len(counts))
    shown = shown[shown >= 0]
    if len(shown) == 0:
        raise ValueError("top_n holds no item: every place is -1")
    rounded_up = -(-len(counts) // 100)
    popular = np.argsort(-np.asarray(counts), kind="stable")[:rounded_up]
    return float(np.isin(shown, popular).mean())


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
    means = np.ma.masked_where(top_n < 0, bits[top_n]).mean(axis=1)
    return np.ma.filled(means, np.nan)


def intra_list_diversity(top_n: np.ndarray, features: Features) -> np.ndarray:
    """How different the items within a user's list are: mean of 1 - cosine over its pairs.

    For each user from 0 (all alike) to 1 (nothing in common), up to 2 where cosines are negative;
    NaN for lists with fewer than two items that have ``features``, such as factors or genres, of
    shape (n_items, n_features). See Smyth and McClave (2001), "Similarity vs. Diversity".

    Examples
    --------
    Items 0 and 1 share their one genre, item 2 has another: of three pairs two differ.

    >>> genres = np.array([[1, 0], [1, 0], [0, 1]])
    >>> intra_list_diversity(np.array([[0, 1, 2], [0, 1, -1]]), genres).round(3)
    array([0.667, 0.   ])
    """
    rows = csr_matrix(features, dtype=np.float64)
    if not np.isfinite(rows.data).all():
        raise ValueError("features holds NaN or infinite values")
    top_n = as_lists("top_n", top_n, rows.shape[0])
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1))).ravel()
    known = lengths > 0  # items without features are left out of pairs
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=known)
    filled = top_n >= 0
    ends = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    items = top_n[filled]
    lists = csr_matrix((np.ones(len(items)), items, ends), shape=(len(top_n), rows.shape[0]))
    sums = csr_matrix(lists @ csr_matrix(rows.multiply(inverse[:, None])))
    squares = np.asarray(sums.multiply(sums).sum(axis=1)).ravel()
    # The cosines of all pairs of n unit vectors sum to (|sum|^2 - n) / 2: no pair is looked at.
    n = lists @ known.astype(np.float64)
    pairs = n * (n - 1)  # each pair twice
    distances = np.full(len(squares), np.nan)
    np.divide(pairs - (squares - n), pairs, out=distances, where=pairs > 0)
    return distances.clip(min=0.0)  # rounding


def mean_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Mean share of a user's list that two models have in common, in any order (stability).

    The denominator is the number of places filled in ``first``; users without any are left out.

    Examples
    --------
    >>> mean_overlap(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [4, 5]]))
    0.75
    """
    if first.shape != second.shape:
        raise ValueError(f"the lists have shapes {first.shape} and {second.shape}, expected equal")
    first, second = as_lists("first", first), as_lists("second", second)
    filled = first >= 0
    users = filled.any(axis=1)
    if not users.any():
        raise ValueError("first holds no item: there is no list to compare")
    common = (first[:, :, None] == second[:, None, :]).any(axis=2) & filled
    return float((common.sum(axis=1)[users] / filled.sum(axis=1)[users]).mean())


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
        At least one item in all.
    counts : ndarray of shape (n_items,)
        Users of each item in the training set.
    n_users : int
        Users of the training set.
    features : mapping of name to matrix of shape (n_items, n_features), optional
        For each, the entry ``diversity (name)``: see :func:`intra_list_diversity`.

    Returns
    -------
    dict of float
        ``coverage``, ``top 1% share``, ``novelty``, and the diversities. A mean over no user is
        NaN (a diversity where no list has two known items).

    Examples
    --------
    >>> beyond_accuracy(np.array([[0, 1], [0, 2]]), np.array([4, 2, 2]), n_users=4)
    {'coverage': 1.0, 'top 1% share': 0.5, 'novelty': 0.5}
    """
    found = {
        "coverage": coverage(top_n, len(counts)),
        "top 1% share": popular_share(top_n, counts),
        "novelty": _mean(novelty(top_n, counts, n_users)),
    }
    for name, matrix in (features or {}).items():
        found[f"diversity ({name})"] = _mean(intra_list_diversity(top_n, matrix))
    return found


def _mean(values: np.ndarray) -> float:
    """Mean of what is known, NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
