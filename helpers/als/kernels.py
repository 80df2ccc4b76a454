"""Half-steps of ALS, compiled: many small linear systems that share one Gram matrix.

For each row ``u`` of a sparse matrix the system is

``(gram + sum_i extra_ui y_i y_i^T + penalty_u I) x_u = sum_i pull_ui y_i``

with the sums over the row's stored cells. Rows are independent, so they are solved in blocks by
threads that hold no interpreter lock; what a row's result is does not depend on who solves it.
Most of the time goes into reading ``Y``: both kernels take eight of its rows at a time, so that
the vector (or matrix) they are added to is read and written once for eight of them.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

BLOCK = 64
"""Rows a block: enough for one matrix product to pay, few enough to stay in the cache."""

# The order of a sum may change, so that it can use vector registers; NaN must stay NaN.
RELAXED = {"contract", "reassoc", "nsz", "arcp"}


def blocks(counts: np.ndarray) -> list[np.ndarray]:
    """Rows in blocks of equal work: the long rows are dealt out to all of them.

    Parameters
    ----------
    counts : int ndarray of shape (n_rows,)
        Stored cells of each row.

    Returns
    -------
    list of int ndarrays
        Each row once.

    Examples
    --------
    >>> [block.tolist() for block in blocks(np.array([5, 9, 7]))]
    [[1, 2, 0]]
    """
    longest_first = np.argsort(-counts, kind="stable")
    n_blocks = -(-len(counts) // BLOCK)
    return [longest_first[first::n_blocks] for first in range(n_blocks)]


def for_each(
    solve: Callable[[np.ndarray], object], blocks: list[np.ndarray], num_threads: int
) -> None:
    """Call ``solve`` with each block, in as many threads as asked for.

    Parameters
    ----------
    solve : callable
        Takes a block; must not hold the interpreter lock to gain from threads.
    blocks : list of int ndarrays
    num_threads : int
        0 for all cores that this process may use.
    """
    num_threads = num_threads or _cores()
    if num_threads == 1:
        for block in blocks:
            solve(block)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        for _ in pool.map(solve, blocks):
            pass


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@njit(nogil=True, cache=True, fastmath=RELAXED)
def conjugate_gradient(  # type: ignore[no-untyped-def]
    rows, indptr, indices, weights, penalties, gram, Y, X, steps
) -> None:
    """Improve the rows of ``X`` by ``steps`` of conjugate gradient, in place.

    ``extra`` and ``pull`` are both ``weights`` here, which is the loss of Rendle et al. (2022).

    Parameters
    ----------
    rows : int ndarray
        The block.
    indptr, indices, weights : ndarrays
        Of the CSR matrix.
    penalties : float ndarray of shape (n_rows,)
    gram : float ndarray of shape (factors, factors)
    Y : float ndarray of shape (n_columns, factors), C order
    X : float ndarray of shape (n_rows, factors), C order
        Where to start; overwritten. A row without cells becomes 0, its exact solution.
    steps : int, at least 1

    Notes
    -----
    The products with ``gram`` are done for the whole block at once. The last step needs the length
    of its way only, not the residual after it, so it skips half of the work.

    References
    ----------
    Takács, Pilászy, Tikk (2011), "Applications of the conjugate gradient method for implicit
    feedback collaborative filtering".
    """
    n, factors = len(rows), Y.shape[1]
    one, zero = X.dtype.type(1), X.dtype.type(0)
    P = np.empty((n, factors), X.dtype)
    for b in range(n):
        if indptr[rows[b]] == indptr[rows[b] + 1]:
            X[rows[b]] = zero
        P[b] = X[rows[b]]
    R = np.dot(P, gram)
    squares = np.empty(n, X.dtype)
    for b in range(n):
        u, r, p = rows[b], R[b], P[b]
        for f in range(factors):
            r[f] = -r[f] - penalties[u] * p[f]
        _add_pulls(Y, indices, weights, indptr[u], indptr[u + 1], one, p, r)
        squares[b] = _dot(r, r)
        p[:] = r
    AP = np.empty((n, factors), X.dtype)
    for step in range(steps):
        np.dot(P, gram, AP)
        for b in range(n):
            if squares[b] < 1e-20:  # solved; another step would divide by nothing
                continue
            u, r, p, ap, x = rows[b], R[b], P[b], AP[b], X[rows[b]]
            first, last = indptr[u], indptr[u + 1]
            for f in range(factors):
                ap[f] = -ap[f] - penalties[u] * p[f]
            if step == steps - 1:
                curvature = _weighted_squares(Y, indices, weights, first, last, p) - _dot(p, ap)
                length = squares[b] / curvature
                for f in range(factors):
                    x[f] += length * p[f]
                continue
            _add_pulls(Y, indices, weights, first, last, zero, p, ap)
            length = -squares[b] / _dot(p, ap)
            for f in range(factors):
                x[f] += length * p[f]
                r[f] += length * ap[f]
            before, squares[b] = squares[b], _dot(r, r)
            turn = squares[b] / before
            for f in range(factors):
                p[f] = r[f] + turn * p[f]


@njit(nogil=True, cache=True, fastmath=RELAXED)
def exact(  # type: ignore[no-untyped-def]
    rows, indptr, indices, extra, pull, penalties, gram, Y, X
) -> None:
    """Solve the rows' systems by Cholesky decomposition.

    Parameters
    ----------
    rows : int ndarray
        The block.
    indptr, indices : ndarrays
        Of the CSR matrix.
    extra, pull : float ndarrays, aligned with ``indices``
    penalties : float ndarray of shape (n_rows,)
    gram : float ndarray of shape (factors, factors)
    Y : float ndarray of shape (n_columns, factors), C order
    X : float ndarray of shape (n_rows, factors), C order
        Overwritten; a row without cells becomes 0.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a system has no unique solution, or something is not finite.
    """
    factors = Y.shape[1]
    A = np.empty((factors, factors), X.dtype)
    for u in rows:
        x = X[u]
        x[:] = 0
        first, last = indptr[u], indptr[u + 1]
        if first == last:
            continue
        A[:] = gram
        for f in range(factors):
            A[f, f] += penalties[u]
        _add_squares(Y, indices, extra, first, last, A)
        for i in range(first, last):
            y = Y[indices[i]]
            for f in range(factors):
                x[f] += pull[i] * y[f]
        _cholesky_solve(A, x)


@njit(nogil=True, cache=True, fastmath=RELAXED)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = a.dtype.type(0)
    for f in range(len(a)):
        total += a[f] * b[f]
    return total


@njit(nogil=True, cache=True, fastmath=RELAXED)
def _add_pulls(Y, indices, weights, first, last, target, v, out):  # type: ignore[no-untyped-def]
    """``out += sum_i weights_i (target - y_i . v) y_i``, eight rows of ``Y`` at a time."""
    zero = v.dtype.type(0)
    i = first
    while i + 8 <= last:
        y0, y1, y2, y3 = Y[indices[i]], Y[indices[i + 1]], Y[indices[i + 2]], Y[indices[i + 3]]
        y4, y5, y6, y7 = Y[indices[i + 4]], Y[indices[i + 5]], Y[indices[i + 6]], Y[indices[i + 7]]
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zero
        for f in range(len(v)):
            s0 += y0[f] * v[f]
            s1 += y1[f] * v[f]
            s2 += y2[f] * v[f]
            s3 += y3[f] * v[f]
            s4 += y4[f] * v[f]
            s5 += y5[f] * v[f]
            s6 += y6[f] * v[f]
            s7 += y7[f] * v[f]
        s0 = weights[i] * (target - s0)
        s1 = weights[i + 1] * (target - s1)
        s2 = weights[i + 2] * (target - s2)
        s3 = weights[i + 3] * (target - s3)
        s4 = weights[i + 4] * (target - s4)
        s5 = weights[i + 5] * (target - s5)
        s6 = weights[i + 6] * (target - s6)
        s7 = weights[i + 7] * (target - s7)
        for f in range(len(v)):
            left = (s0 * y0[f] + s1 * y1[f]) + (s2 * y2[f] + s3 * y3[f])
            out[f] += left + ((s4 * y4[f] + s5 * y5[f]) + (s6 * y6[f] + s7 * y7[f]))
        i += 8
    for rest in range(i, last):
        y = Y[indices[rest]]
        s = weights[rest] * (target - _dot(y, v))
        for f in range(len(v)):
            out[f] += s * y[f]


@njit(nogil=True, cache=True, fastmath=RELAXED)
def _weighted_squares(Y, indices, weights, first, last, v):  # type: ignore[no-untyped-def]
    """``sum_i weights_i (y_i . v)^2``, four rows of ``Y`` at a time."""
    zero = v.dtype.type(0)
    total = zero
    i = first
    while i + 4 <= last:
        y0, y1, y2, y3 = Y[indices[i]], Y[indices[i + 1]], Y[indices[i + 2]], Y[indices[i + 3]]
        s0 = s1 = s2 = s3 = zero
        for f in range(len(v)):
            s0 += y0[f] * v[f]
            s1 += y1[f] * v[f]
            s2 += y2[f] * v[f]
            s3 += y3[f] * v[f]
        total += weights[i] * s0 * s0 + weights[i + 1] * s1 * s1
        total += weights[i + 2] * s2 * s2 + weights[i + 3] * s3 * s3
        i += 4
    for rest in range(i, last):
        s = _dot(Y[indices[rest]], v)
        total += weights[rest] * s * s
    return total


@njit(nogil=True, cache=True, fastmath=RELAXED)
def _add_squares(Y, indices, extra, first, last, A):  # type: ignore[no-untyped-def]
    """``A += sum_i extra_i y_i y_i^T`` in the lower triangle, four rows of ``Y`` at a time."""
    factors = len(A)
    i = first
    while i + 4 <= last:
        y0, y1, y2, y3 = Y[indices[i]], Y[indices[i + 1]], Y[indices[i + 2]], Y[indices[i + 3]]
        for f in range(factors):
            s0, s1 = extra[i] * y0[f], extra[i + 1] * y1[f]
            s2, s3 = extra[i + 2] * y2[f], extra[i + 3] * y3[f]
            a = A[f]
            for g in range(f + 1):
                a[g] += (s0 * y0[g] + s1 * y1[g]) + (s2 * y2[g] + s3 * y3[g])
        i += 4
    for rest in range(i, last):
        y = Y[indices[rest]]
        for f in range(factors):
            s = extra[rest] * y[f]
            for g in range(f + 1):
                A[f, g] += s * y[g]


@njit(nogil=True, cache=True, fastmath=RELAXED)
def _cholesky_solve(A, x) -> None:  # type: ignore[no-untyped-def]
    """Solve ``A x = x`` in place, reading the lower triangle of ``A`` only."""
    L = np.linalg.cholesky(A)
    for f in range(len(x)):
        x[f] = (x[f] - _dot(L[f, :f], x[:f])) / L[f, f]
    for f in range(len(x) - 1, -1, -1):
        x[f] /= L[f, f]
        for g in range(f):
            x[g] -= L[f, g] * x[f]
