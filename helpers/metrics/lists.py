"""Lists against held-out items: the checks that every measure relies on, and the hit matrix."""

import numpy as np
from scipy.sparse import csr_matrix, issparse

BLOCK_CELLS = 1 << 22
"""Cells of the mask that :func:`hits` works with: 4 MiB (or one user), which a cache can hold."""


def hits(top_n: np.ndarray, held_out: csr_matrix) -> np.ndarray:
    """Which recommended items are held out for the user.

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n)
        Item indexes, padded with -1.
    held_out : csr_matrix of shape (n_users, n_items)
        A stored cell is a relevant item.

    Returns
    -------
    bool ndarray of shape (n_users, n)

    Raises
    ------
    ValueError
        If the numbers of users differ, or ``top_n`` is no table of item indexes.

    Notes
    -----
    A block of users is marked in one dense mask, looked up and wiped again cell by cell, so time
    grows with the cells and the places, memory with neither.

    Examples
    --------
    >>> hits(np.array([[2, 0], [1, -1]]), csr_matrix([[1, 0, 0], [0, 0, 5]]))
    array([[False,  True],
           [False, False]])
    """
    held_out = as_csr("held_out", held_out)
    n_users, n_items = held_out.shape
    top_n = as_lists("top_n", top_n, n_items)
    if len(top_n) != n_users:
        raise ValueError(
            f"top_n has {len(top_n)} users but held_out has {n_users} rows; "
            "select the same users on both sides"
        )
    n_rows = max(1, BLOCK_CELLS // max(n_items, 1))
    mask = np.zeros(min(n_rows, n_users) * n_items, dtype=bool)
    found = np.zeros(top_n.shape, dtype=bool)
    for start in range(0, n_users if n_items else 0, n_rows):
        rows = slice(start, start + n_rows)
        ends = held_out.indptr[start : start + n_rows + 1]
        offsets = np.arange(len(ends) - 1, dtype=np.int64) * n_items
        cells = np.repeat(offsets, np.diff(ends)) + held_out.indices[ends[0] : ends[-1]]
        mask[cells] = True
        found[rows] = mask[offsets[:, None] + top_n[rows]]  # -1 reads some other cell: see below
        mask[cells] = False
    found &= top_n >= 0
    return found


def as_lists(name: str, top_n: np.ndarray, n_items: int | None = None) -> np.ndarray:
    """The lists as they came, once it is sure that they are a table of item indexes.

    Raises
    ------
    ValueError
        If they have no two dimensions, hold no whole numbers, or an index out of range.
    """
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
    """The matrix in canonical CSR form: sorted, no cell twice; copied only where it is not.

    Raises
    ------
    TypeError
        If it is not sparse.
    """
    if not issparse(matrix):
        raise TypeError(f"{name} is a {type(matrix).__name__}, expected a scipy sparse matrix")
    csr = csr_matrix(matrix)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr


def check_distinct(top_n: np.ndarray) -> None:
    """Refuse lists that hold an item twice: it would be counted as two hits.

    Raises
    ------
    ValueError
        With the number of such lists and the first of them.
    """
    ordered = np.sort(top_n, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    if twice.any():
        raise ValueError(
            f"{twice.sum()} lists of top_n hold an item twice, the first in row "
            f"{int(twice.argmax())}; each item may stand in a list once"
        )


def check_unseen(top_n: np.ndarray, seen: csr_matrix) -> None:
    """Refuse lists with items that the user has already: they cannot be in the held-out set.

    Raises
    ------
    ValueError
        With the number of such items and the first user.
    """
    known = hits(top_n, seen)
    if known.any():
        row = int(known.any(axis=1).argmax())
        raise ValueError(
            f"top_n holds {known.sum()} items that the user has seen, first in row {row}: "
            f"{top_n[row][known[row]].tolist()}; filter them when recommending"
        )
