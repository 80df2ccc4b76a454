"""Where the test items rank in the whole catalogue, from scores."""

import numpy as np
from numba import njit
from scipy.sparse import csr_matrix

from helpers.metrics.lists import as_csr
from helpers.weighting import binary


def percentile_ranks(
    scores: np.ndarray, test: csr_matrix, train: csr_matrix | None = None
) -> np.ndarray:
    """Where each test item ranks among all items that are not in the user's training set.

    ``rank = (items above + half of the ties) / (items ranked - 1)``

    Parameters
    ----------
    scores : float ndarray of shape (n_users, n_items)
    test : csr_matrix of shape (n_users, n_items)
        A stored cell is a relevant item, whatever its value.
    train : csr_matrix of shape (n_users, n_items), optional
        Items that are left out of the ranking.

    Returns
    -------
    float64 ndarray of shape (test.nnz,)
        From 0 (first) to 1 (last), in the order of ``test.data`` (by user, then by item). An item
        that is ranked alone is in the middle, 0.5.

    Notes
    -----
    A tie is exact equality. Where the last bits of the scores may differ between processors, round
    them first, say to 9 decimals.

    Examples
    --------
    Item 1 is second of five, item 2 ties with items 3 and 4 for places 3 to 5.

    >>> percentile_ranks(np.array([[9, 8, 1, 1, 1.0]]), csr_matrix([[0, 1, 1, 0, 0]]))
    array([0.25, 0.75])
    """
    scores, test = np.asarray(scores), as_csr("test", test)
    train = csr_matrix(test.shape) if train is None else as_csr("train", train)
    if not scores.shape == test.shape == train.shape:
        raise ValueError(
            f"scores has shape {scores.shape}, test {test.shape} and train {train.shape}; "
            "expected one row a user and one column an item in all of them"
        )
    if unknown := int((~np.isfinite(scores)).sum()):
        raise ValueError(
            f"scores holds {unknown} values that are NaN or infinite; did the fit diverge? "
            "Items that shall not be ranked belong in train"
        )
    if both := int(binary(test).multiply(binary(train)).sum()):
        raise ValueError(
            f"{both} cells are in test and in train, so they are not ranked; split the "
            "interactions so that no pair is on both sides, or pass train=None"
        )
    scores = np.ascontiguousarray(scores, np.float32 if scores.dtype == np.float32 else np.float64)
    cells = (test.indptr, test.indices, train.indptr, train.indices)
    positions = _count_positions(scores, *cells)
    last = np.repeat(test.shape[1] - 1 - np.diff(train.indptr), np.diff(test.indptr))
    ranks = np.full(len(positions), 0.5)
    np.divide(positions, last, out=ranks, where=last > 0)
    return ranks


def roem(scores: np.ndarray, test: csr_matrix, train: csr_matrix | None = None) -> float:
    """Expected percentile rank of the test items, weighted by their values.

    ``ROEM = sum(r * rank) / sum(r)`` over the cells of ``test``, whose values are strengths ``r``
    of 0 or more, see :func:`percentile_ranks`: from 0 (perfect) to 1; random scores, and constant
    ones, give 0.5. Hu, Koren, Volinsky (2008), "Collaborative Filtering for Implicit Feedback
    Datasets", section 6, equation 8.

    Examples
    --------
    Played three times and first (rank 0), played once and last (rank 1): 1 / 4.

    >>> roem(np.array([[0.9, 0.2, 0.1]]), csr_matrix([[3, 0, 1]]))
    0.25
    >>> roem(np.zeros((1, 3)), csr_matrix([[3, 0, 1]]))
    0.5
    """
    ranks, weights = percentile_ranks(scores, test, train), as_csr("test", test).data
    if weights.min(initial=0) < 0 or not weights.sum() > 0:
        raise ValueError(
            f"test holds values from {weights.min(initial=0)} with a sum of {weights.sum()}, "
            "expected strengths of 0 or more, not all 0"
        )
    return float((weights * ranks).sum() / weights.sum())


@njit(cache=True, nogil=True)
def _count_positions(  # type: ignore[no-untyped-def]
    scores, indptr, indices, train_indptr, train_indices
):
    """Count the items above and the ties: for a few test items cheaper than sorting."""
    positions = np.empty(len(indices))
    for user in range(len(scores)):
        row = scores[user]
        left_out = train_indices[train_indptr[user] : train_indptr[user + 1]]
        for cell in range(indptr[user], indptr[user + 1]):
            score = row[indices[cell]]
            above, same = 0, -1  # the item ties with itself
            for item in range(len(row)):  # by index: so the compiler compares several at a time
                above += row[item] > score
                same += row[item] == score
            for item in left_out:
                above -= row[item] > score
                same -= row[item] == score
            positions[cell] = above + same / 2
    return positions
