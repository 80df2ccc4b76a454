"""Where held-out items stand in the whole catalogue, from scores: AUC and percentile ranks."""

import numpy as np
from numba import njit
from scipy.sparse import csr_matrix

from helpers.metrics.lists import as_csr


def auc(scores: np.ndarray, held_out: csr_matrix, seen: csr_matrix | None = None) -> np.ndarray:
    """Chance that a held-out item scores above another one that is neither held out nor seen.

    Parameters
    ----------
    scores : float ndarray of shape (n_users, n_items)
    held_out : csr_matrix of shape (n_users, n_items)
        A stored cell is a relevant item, whatever its value.
    seen : csr_matrix of shape (n_users, n_items), optional
        Items that are left out of the ranking, such as those of the training set.

    Returns
    -------
    float64 ndarray of shape (n_users,)
        From 0 to 1, ties count half, random gives 0.5; NaN for a user with nothing held out, or
        with nothing else to compare with.

    Raises
    ------
    ValueError
        If shapes differ, a score is NaN or infinite, or an item is both held out and seen.

    Notes
    -----
    By ranks (Mann and Whitney): with positions counted from the end of the list,
    ``AUC = (sum of positions - r (r + 1) / 2) / (r * others)`` for ``r`` held-out items. It weighs
    the foot of a long list as much as its head, so it says little about the first ten places.

    References
    ----------
    Rendle et al. (2009), "BPR: Bayesian Personalized Ranking from Implicit Feedback", section 3.

    Examples
    --------
    Item 1 beats item 2 and ties with item 0: (1 + 1/2) / 2.

    >>> auc(np.array([[0.5, 0.5, 0.1]]), csr_matrix([[0, 1, 0]]))
    array([0.75])
    """
    positions, n_ranked, held_out = _positions(scores, held_out, seen)
    n_held_out = np.diff(held_out.indptr).astype(np.int64)  # the products outgrow 32 bits
    users = np.repeat(np.arange(len(n_held_out)), n_held_out)
    above = np.bincount(users, positions, minlength=len(n_held_out))
    pairs = n_held_out * (n_ranked - n_held_out)
    # `above` counts, for each held-out item, what stands before it; r (r - 1) / 2 are held out.
    lost = above - n_held_out * (n_held_out - 1) / 2
    result = np.full(len(n_held_out), np.nan)
    np.divide(pairs - lost, pairs, out=result, where=pairs > 0)
    return result


def percentile_ranks(
    scores: np.ndarray, held_out: csr_matrix, seen: csr_matrix | None = None
) -> np.ndarray:
    """Where each held-out item stands among all items that the user has not seen.

    ``rank = (items above + half of the ties) / (items ranked - 1)``

    Parameters
    ----------
    scores : float ndarray of shape (n_users, n_items)
    held_out : csr_matrix of shape (n_users, n_items)
    seen : csr_matrix of shape (n_users, n_items), optional
        Items that are left out of the ranking, such as those of the training set.

    Returns
    -------
    float64 ndarray of shape (held_out.nnz,)
        From 0 (first) to 1 (last), in the order of ``held_out.data`` (by user, then by item). An
        item that is ranked alone stands in the middle, 0.5.

    Raises
    ------
    ValueError
        If shapes differ, a score is NaN or infinite, or an item is both held out and seen.

    Notes
    -----
    A tie is exact equality. Where the last bits of the scores may differ between processors, round
    them first, say to 9 decimals.

    Examples
    --------
    Item 1 stands second of five, item 2 ties with items 3 and 4 for places 3 to 5.

    >>> percentile_ranks(np.array([[9, 8, 1, 1, 1.0]]), csr_matrix([[0, 1, 1, 0, 0]]))
    array([0.25, 0.75])
    """
    positions, n_ranked, held_out = _positions(scores, held_out, seen)
    last = np.repeat(n_ranked - 1, np.diff(held_out.indptr))
    ranks = np.full(len(positions), 0.5)
    np.divide(positions, last, out=ranks, where=last > 0)
    return ranks


def roem(scores: np.ndarray, held_out: csr_matrix, seen: csr_matrix | None = None) -> float:
    """Expected percentile rank of the held-out items, weighted by their values.

    ``ROEM = sum(r * rank) / sum(r)`` over the cells of ``held_out``, with the ranks of
    :func:`percentile_ranks`

    Parameters
    ----------
    scores : float ndarray of shape (n_users, n_items)
    held_out : csr_matrix of shape (n_users, n_items)
        Strengths ``r``, such as plays or ratings, 0 or more.
    seen : csr_matrix of shape (n_users, n_items), optional
        Items that are left out of the ranking, such as those of the training set.

    Returns
    -------
    float from 0 (perfect) to 1; random scores, and constant ones, give 0.5

    Raises
    ------
    ValueError
        As :func:`percentile_ranks`, and if a value is negative or all are zero.

    References
    ----------
    Hu, Koren, Volinsky (2008), "Collaborative Filtering for Implicit Feedback Datasets",
    section 5, equation 8.

    Examples
    --------
    Played three times and first (rank 0), played once and last (rank 1): 1 / 4.

    >>> roem(np.array([[0.9, 0.2, 0.1]]), csr_matrix([[3, 0, 1]]))
    0.25
    >>> roem(np.zeros((1, 3)), csr_matrix([[3, 0, 1]]))
    0.5
    """
    ranks = percentile_ranks(scores, held_out, seen)
    return _weighted_mean(ranks, as_csr("held_out", held_out).data)


def roem_of_test_rows(scores: np.ndarray, held_out: csr_matrix) -> float:
    """ROEM as usually written in SQL, with its trap: **a constant predictor scores 0, "perfect"**.

    ``PERCENT_RANK() OVER (PARTITION BY user ORDER BY prediction DESC)`` over the test rows

    Parameters
    ----------
    scores : float ndarray of shape (n_users, n_items)
    held_out : csr_matrix of shape (n_users, n_items)
        The test rows; a stored zero is a row of weight 0.

    Returns
    -------
    float from 0 to 1

    Raises
    ------
    ValueError
        As :func:`roem`.

    Notes
    -----
    Two things are wrong. The item is compared with the user's other test rows only, never with
    what the user was not interested in; and ``PERCENT_RANK`` gives rows that tie the best rank
    among them, so a model that cannot tell two items apart is rewarded for it. Use :func:`roem`.

    Examples
    --------
    >>> held_out = csr_matrix([[3, 0, 1]])
    >>> roem_of_test_rows(np.array([[0.9, 0.2, 0.1]]), held_out)  # ranks 0 and 1
    0.25
    >>> roem_of_test_rows(np.zeros((1, 3)), held_out)  # ranks 0 and 0
    0.0
    """
    scores, held_out = _checked(scores, held_out)
    n_rows = np.diff(held_out.indptr)
    users = np.repeat(np.arange(len(n_rows)), n_rows)
    predictions = scores[users, held_out.indices]
    order = np.lexsort((-predictions, users))
    starts = (np.cumsum(n_rows) - n_rows)[users]
    # Sorting keeps the users in order. A row that ties with the one before has its rank.
    places = np.arange(len(users))
    ties = np.zeros(len(users), dtype=bool)
    ties[1:] = (np.diff(predictions[order]) == 0) & (np.diff(users) == 0)
    ahead = np.maximum.accumulate(np.where(ties, 0, places)) - starts
    ranks = ahead / np.maximum(n_rows[users] - 1, 1)
    return _weighted_mean(ranks, held_out.data[order])


def _positions(
    scores: np.ndarray, held_out: csr_matrix, seen: csr_matrix | None
) -> tuple[np.ndarray, np.ndarray, csr_matrix]:
    """Position of each held-out item (from 0, ties averaged), items ranked, canonical matrix."""
    scores, held_out = _checked(scores, held_out)
    seen = csr_matrix(held_out.shape) if seen is None else as_csr("seen", seen)
    if seen.shape != held_out.shape:
        raise ValueError(f"seen has shape {seen.shape} but held_out {held_out.shape}")
    both = int((_pattern(held_out).multiply(_pattern(seen))).sum())
    if both:
        raise ValueError(
            f"{both} items are both held out and seen, so they are not ranked; split the "
            "interactions so that no pair is on both sides, or pass seen=None"
        )
    positions: np.ndarray = _count_positions(
        scores, held_out.indptr, held_out.indices, seen.indptr, seen.indices
    )
    return positions, held_out.shape[1] - np.diff(seen.indptr), held_out


@njit(cache=True, nogil=True)
def _count_positions(
    scores: np.ndarray,
    indptr: np.ndarray,
    indices: np.ndarray,
    seen_indptr: np.ndarray,
    seen_indices: np.ndarray,
) -> np.ndarray:
    """Count what scores above and what scores the same: for a few items cheaper than sorting."""
    positions = np.empty(len(indices))
    for user in range(len(scores)):
        row = scores[user]
        seen = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
        for cell in range(indptr[user], indptr[user + 1]):
            score = row[indices[cell]]
            above, same = 0, -1  # the item ties with itself
            for item in range(len(row)):  # by index: so the compiler compares several at a time
                above += row[item] > score
                same += row[item] == score
            for item in seen:
                above -= row[item] > score
                same -= row[item] == score
            positions[cell] = above + same / 2
    return positions


def _checked(scores: np.ndarray, held_out: csr_matrix) -> tuple[np.ndarray, csr_matrix]:
    scores, held_out = np.asarray(scores), as_csr("held_out", held_out)
    if scores.shape != held_out.shape:
        raise ValueError(
            f"scores has shape {scores.shape} but held_out {held_out.shape}; "
            "expected one row a user and one column an item in both"
        )
    if scores.dtype != np.float32:
        scores = scores.astype(np.float64, copy=False)
    unknown = scores.size - int(np.isfinite(scores).sum())
    if unknown:
        raise ValueError(
            f"scores holds {unknown} values that are NaN or infinite; did the fit diverge? "
            "Items that shall not be ranked belong in seen"
        )
    return np.ascontiguousarray(scores), held_out


def _pattern(matrix: csr_matrix) -> csr_matrix:
    """Ones where a cell is stored, a stored zero included."""
    ones = np.ones(matrix.nnz, dtype=np.int64)
    return csr_matrix((ones, matrix.indices, matrix.indptr), shape=matrix.shape)


def _weighted_mean(ranks: np.ndarray, weights: np.ndarray) -> float:
    if weights.min(initial=0) < 0 or not weights.sum() > 0:
        raise ValueError(
            f"held_out holds values from {weights.min(initial=0)} with a sum of {weights.sum()}, "
            "expected strengths of 0 or more, not all 0"
        )
    return float((weights * ranks).sum() / weights.sum())
