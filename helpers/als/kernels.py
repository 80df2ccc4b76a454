"""Half-steps of ALS, compiled: many small linear systems that share one Gram matrix.

For each row ``u`` of a sparse matrix the system is ``A x_u = b`` with

``A = gram + sum_i weight_ui y_i y_i^T + penalty_u I`` and ``b = sum_i target_ui y_i``

where the sums go over the row's stored cells. Rows are independent, so threads that hold no
interpreter lock solve them in blocks, and a result does not depend on the number of threads. Four
or eight sums at a time share what they read, which is what most of the time goes into.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numba import config, njit

BLOCK = 128  # rows in a block on average: enough for a matrix product to pay
CELLS_A_ROW = 16  # what a row costs besides its cells, in cells
CELLS = 64  # cells of a row that are copied at a time

# The order of a sum may change, so that it can use vector registers; NaN must stay NaN.
RELAXED = {"contract", "reassoc", "nsz", "arcp"}


def blocks(indptr: np.ndarray) -> list[tuple[int, int]]:
    """Neighbouring rows in blocks of about equal work: first row, and the one after the last.

    Examples
    --------
    >>> blocks(np.array([0, 5, 14, 21]))
    [(0, 3)]
    """
    n_rows = len(indptr) - 1
    work = indptr + CELLS_A_ROW * np.arange(n_rows + 1, dtype=np.int64)
    shares = np.linspace(0, work[-1], -(-n_rows // BLOCK) + 1)[1:-1]
    ends = [0, *np.searchsorted(work, shares).tolist(), n_rows]
    return [(start, stop) for start, stop in pairwise(ends) if start < stop]


def for_blocks(
    kernel: Callable[..., object], indptr: np.ndarray, num_threads: int, *arguments: Any
) -> None:
    """Call ``kernel(start, stop, *arguments)`` for each block, in threads (0: one a core)."""
    num_threads = num_threads or config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    parts = blocks(indptr)
    with ThreadPoolExecutor(num_threads) as pool:
        run = pool.map if min(num_threads, len(parts)) > 1 else map
        for _ in run(lambda part: kernel(*part, *arguments), parts):
            pass


@njit(nogil=True, cache=True, fastmath=RELAXED)
def conjugate_gradient(  # type: ignore[no-untyped-def]
    start, stop, indptr, indices, weights, penalties, gram, Q, Y, X, steps
) -> None:
    """Improve rows of ``X`` from ``start`` to ``stop`` in place; targets = weights.

    ``gram`` holds the eigenvalues of the Gram matrix, ``Q`` its eigenvectors, and ``Y`` the other
    side's factors times ``Q``: in that basis a product with the Gram matrix costs next to nothing,
    and no iterate changes. The last step needs ``p A p`` only, not ``A p``, so it skips half of the
    work. A row without cells becomes 0, its exact solution. See Takács, Pilászy, Tikk (2011),
    "Applications of the conjugate gradient method for implicit feedback collaborative filtering".
    """
    factors = Y.shape[1]
    one, zero = X.dtype.type(1), X.dtype.type(0)
    Z = np.dot(X[start:stop], Q)
    r, p = np.empty(factors, X.dtype), np.empty(factors, X.dtype)
    Ap, diagonal = np.empty(factors, X.dtype), np.empty(factors, X.dtype)
    for u in range(start, stop):
        x, first, last = Z[u - start], indptr[u], indptr[u + 1]
        if first == last:
            x[:] = zero
            continue
        for f in range(factors):
            diagonal[f] = gram[f] + penalties[u]
            r[f] = diagonal[f] * x[f]
        _add_cells(Y, indices, weights, first, last, one, x, r)  # A x - b
        for f in range(factors):
            r[f] = -r[f]
            p[f] = r[f]
        rr = _dot(r, r)
        for step in range(steps):
            if rr < 1e-20:  # solved; another step would divide by nothing
                break
            pAp = zero
            for f in range(factors):
                Ap[f] = diagonal[f] * p[f]
                pAp += Ap[f] * p[f]
            out = Ap if step < steps - 1 else Ap[:0]
            pAp += _add_cells(Y, indices, weights, first, last, zero, p, out)
            alpha = rr / pAp
            for f in range(factors):
                x[f] += alpha * p[f]
                r[f] -= alpha * Ap[f]
            before, rr = rr, _dot(r, r)
            beta = rr / before
            for f in range(factors):
                p[f] = r[f] + beta * p[f]
    X[start:stop] = np.dot(Z, Q.T)


@njit(nogil=True, cache=True, fastmath=RELAXED)
def exact(  # type: ignore[no-untyped-def]
    start, stop, indptr, indices, weights, targets, penalties, gram, Y, X, longest
) -> None:
    """Overwrite rows of ``X`` that have more than ``longest`` cells, by Cholesky decomposition.

    A system without a unique solution is a LinAlgError.
    """
    factors, zero = Y.shape[1], X.dtype.type(0)
    width = -(-factors // 4) * 4
    A, Z = np.empty((factors, width), X.dtype), np.zeros((width, CELLS), X.dtype)
    W = np.empty((factors, CELLS), X.dtype)
    for u in range(start, stop):
        x, first, last = X[u], indptr[u], indptr[u + 1]
        if last - first <= longest:
            continue
        x[:] = zero
        A[:, :factors] = gram
        for f in range(factors):
            A[f, f] += penalties[u]
        for i in range(first, last, CELLS):
            n = min(CELLS, last - i)
            for j in range(n):
                y, weight, target = Y[indices[i + j]], weights[i + j], targets[i + j]
                for f in range(factors):
                    Z[f, j] = y[f]
                    W[f, j] = weight * y[f]
                    x[f] += target * y[f]
            _add_products(W, Z, n, A)
        _cholesky_solve(A, x)


@njit(nogil=True, cache=True, fastmath=RELAXED)
def exact_short(  # type: ignore[no-untyped-def]
    start, stop, indptr, indices, weights, targets, penalties, gram, Q, Y, X
) -> None:
    """Overwrite rows of ``X`` that have no more cells than factors; weights are positive.

    With ``D = gram + penalty_u I`` and a row of ``V`` for each cell, the solution is
    ``x_u = D^-1 V^T s`` where ``(W^-1 + V D^-1 V^T) s = target / weight``: a system with one
    unknown for each cell instead of each factor. ``gram``, ``Q`` and ``Y`` are those of
    :func:`conjugate_gradient`, so ``D`` is diagonal. See Hastie, Tibshirani, Friedman (2009), "The
    Elements of Statistical Learning", section 18.3.5.
    """
    factors, one = Y.shape[1], X.dtype.type(1)
    width = -(-factors // 4) * 4
    R, S = np.zeros((width, factors), X.dtype), np.empty((factors, width), X.dtype)
    s, scale = np.empty(factors, X.dtype), np.empty(factors, X.dtype)
    Z = np.zeros((stop - start, factors), X.dtype)
    for u in range(start, stop):
        z, first, n = Z[u - start], indptr[u], indptr[u + 1] - indptr[u]
        if n == 0 or n > factors:
            continue
        for f in range(factors):
            scale[f] = one / np.sqrt(gram[f] + penalties[u])
        S[:n, :n] = 0
        for i in range(n):
            y, weight = Y[indices[first + i]], weights[first + i]
            for f in range(factors):
                R[i, f] = scale[f] * y[f]
            S[i, i] = one / weight
            s[i] = targets[first + i] / weight
        _add_products(R[:n], R, factors, S)
        _cholesky_solve(S[:n], s[:n])
        for i in range(n):
            for f in range(factors):
                z[f] += s[i] * R[i, f]
        for f in range(factors):
            z[f] *= scale[f]
    X[start:stop] = np.dot(Z, Q.T)


@njit(nogil=True, cache=True, fastmath=RELAXED)
def _dot(a, b):  # type: ignore[no-untyped-def]
    """``a . b``."""
    total = a.dtype.type(0)
    for f in range(len(a)):
        total += a[f] * b[f]
    return total


@njit(nogil=True, cache=True, fastmath=RELAXED)
def _add_cells(Y, indices, weights, first, last, target, v, out):  # type: ignore[no-untyped-def]
    """Add ``sum_i w_i (y_i . v - target) y_i`` to ``out``; return ``sum_i w_i (y_i . v)^2``."""
    zero = v.dtype.type(0)
    total = zero
    i = first
    while i + 8 <= last:
        y0, y1, y2, y3 = Y[indices[i]], Y[indices[i + 1]], Y[indices[i + 2]], Y[indices[i + 3]]
        y4, y5, y6, y7 = Y[indices[i + 4]], Y[indices[i + 5]], Y[indices[i + 6]], Y[indices[i + 7]]
        w0, w1, w2, w3 = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        w4, w5, w6, w7 = weights[i + 4], weights[i + 5], weights[i + 6], weights[i + 7]
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
        total += (w0 * s0 * s0 + w1 * s1 * s1) + (w2 * s2 * s2 + w3 * s3 * s3)
        total += (w4 * s4 * s4 + w5 * s5 * s5) + (w6 * s6 * s6 + w7 * s7 * s7)
        s0, s1, s2, s3 = s0 - target, s1 - target, s2 - target, s3 - target
        s4, s5, s6, s7 = s4 - target, s5 - target, s6 - target, s7 - target
        s0, s1, s2, s3 = s0 * w0, s1 * w1, s2 * w2, s3 * w3
        s4, s5, s6, s7 = s4 * w4, s5 * w5, s6 * w6, s7 * w7
        for f in range(len(out)):
            left = (s0 * y0[f] + s1 * y1[f]) + (s2 * y2[f] + s3 * y3[f])
            out[f] += left + ((s4 * y4[f] + s5 * y5[f]) + (s6 * y6[f] + s7 * y7[f]))
        i += 8
    for rest in range(i, last):
        y = Y[indices[rest]]
        s = _dot(y, v)
        total += weights[rest] * s * s
        s = weights[rest] * (s - target)
        for f in range(len(out)):
            out[f] += s * y[f]
    return total


@njit(nogil=True, cache=True, fastmath=RELAXED)
def _add_products(W, Z, n, A) -> None:  # type: ignore[no-untyped-def]
    """``A += W Z^T`` in the lower triangle, with ``n`` columns of both, four entries at a time.

    So ``Z`` has rows, and ``A`` columns, up to the next multiple of four.
    """
    zero = Z.dtype.type(0)
    for f in range(len(W)):
        w, a = W[f], A[f]
        for g in range(0, f + 1, 4):
            z0, z1, z2, z3 = Z[g], Z[g + 1], Z[g + 2], Z[g + 3]
            s0 = s1 = s2 = s3 = zero
            for i in range(n):
                s0 += w[i] * z0[i]
                s1 += w[i] * z1[i]
                s2 += w[i] * z2[i]
                s3 += w[i] * z3[i]
            a[g] += s0
            a[g + 1] += s1
            a[g + 2] += s2
            a[g + 3] += s3


@njit(nogil=True, cache=True, fastmath=RELAXED)
def _cholesky_solve(A, x) -> None:  # type: ignore[no-untyped-def]
    """Solve ``A x = x`` in place: ``L L^T = A`` in its lower triangle, four rows at a time."""
    n, zero = len(x), x.dtype.type(0)
    for f in range(0, n, 4):
        done = 0
        if f + 4 <= n:
            a0, a1, a2, a3 = A[f], A[f + 1], A[f + 2], A[f + 3]
            for g in range(f):
                row = A[g]
                s0 = s1 = s2 = s3 = zero
                for i in range(g):
                    s0 += a0[i] * row[i]
                    s1 += a1[i] * row[i]
                    s2 += a2[i] * row[i]
                    s3 += a3[i] * row[i]
                a0[g], a1[g] = (a0[g] - s0) / row[g], (a1[g] - s1) / row[g]
                a2[g], a3[g] = (a2[g] - s2) / row[g], (a3[g] - s3) / row[g]
            done = f
        for last in range(f, min(f + 4, n)):
            a = A[last]
            for g in range(done, last):
                a[g] = (a[g] - _dot(a[:g], A[g, :g])) / A[g, g]
            square = a[last] - _dot(a[:last], a[:last])
            if not square > 0:
                raise np.linalg.LinAlgError("the system is not positive definite")
            a[last] = np.sqrt(square)
    for f in range(n):
        x[f] = (x[f] - _dot(A[f, :f], x[:f])) / A[f, f]
    for f in range(n - 1, -1, -1):
        a = A[f]
        x[f] /= a[f]
        for g in range(f):
            x[g] -= a[g] * x[f]
