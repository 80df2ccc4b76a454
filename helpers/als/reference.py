"""implicit's objective in its parts, and a reference solver that can be read in a minute.

The objective is the one that implicit minimises, in the notation of Hu, Koren, Volinsky (2008):
rows of ``X`` are user factors, rows of ``Y`` item factors, ``s = x_u . y_i`` is a score and
``c`` the confidence stored in the matrix. Unlike the paper's equation (3), an unobserved cell
weighs 1 and an observed one ``c = alpha * r`` (no "+1"), and the penalty is not scaled by counts.
"""

import numpy as np
from scipy.sparse import csr_matrix

CHUNK = 1_000_000  # cells that are scored at a time, which bounds the memory


def loss_parts(
    user_items: csr_matrix, X: np.ndarray, Y: np.ndarray, regularization: float, alpha: float = 1.0
) -> dict[str, float]:
    """The training loss of implicit's ALS, in its three parts.

    ``sum_observed c (1 - s)^2 + sum_unobserved s^2 + regularization * (|X|^2 + |Y|^2)``

    Parameters
    ----------
    user_items : csr_matrix of shape (n_users, n_items)
        Strengths, positive; the confidence is ``alpha`` times that.
    X : ndarray of shape (n_users, factors)
    Y : ndarray of shape (n_items, factors)

    Returns
    -------
    dict
        ``observed``, ``unobserved``, ``penalty`` and their sum ``total``.

    Notes
    -----
    The unobserved part needs no dense matrix: the sum of all squared scores is
    ``trace(XtX YtY)``, less the squares of the observed ones. implicit reports
    ``total / (sum(c) + number of unobserved cells)``, which cannot be compared across alphas.

    Examples
    --------
    >>> X, Y = np.array([[1.0]]), np.array([[0.5], [2.0]])
    >>> loss_parts(csr_matrix([[4.0, 0.0]]), X, Y, regularization=0.1)
    {'observed': 1.0, 'unobserved': 4.0, 'penalty': 0.525, 'total': 5.525}
    """
    rows = np.repeat(np.arange(user_items.shape[0]), np.diff(user_items.indptr))
    scores = np.empty(user_items.nnz)
    for start in range(0, user_items.nnz, CHUNK):
        part = slice(start, start + CHUNK)
        scores[part] = np.einsum("nf,nf->n", X[rows[part]], Y[user_items.indices[part]])
    observed = float((alpha * user_items.data) @ (1 - scores) ** 2)
    unobserved = float(np.sum((X.T @ X) * (Y.T @ Y)) - scores @ scores)
    penalty = float(regularization * ((X**2).sum() + (Y**2).sum()))
    total = observed + unobserved + penalty
    return {"observed": observed, "unobserved": unobserved, "penalty": penalty, "total": total}


def solve_half_step(
    user_items: csr_matrix, Y: np.ndarray, regularization: float, alpha: float = 1.0
) -> np.ndarray:
    """The exact user factors, float64 of shape (n_users, factors), for fixed item factors.

    ``x_u = (YtY + Yt (C_u - I) Y + regularization * I)^-1 Yt C_u p_u``, with ``p_u`` = 1 for
    observed items: Hu, Koren, Volinsky (2008), equations (4) and (5). For the items' half-step pass
    the transposed matrix and ``X``. The rows of ``Y`` that a user has not seen only enter through
    ``YtY``, which all users share.
    """
    gram = Y.T @ Y + regularization * np.eye(Y.shape[1])
    X = np.zeros((user_items.shape[0], Y.shape[1]))
    for u in range(user_items.shape[0]):
        cells = slice(user_items.indptr[u], user_items.indptr[u + 1])
        seen = Y[user_items.indices[cells]]
        c = alpha * user_items.data[cells]
        X[u] = np.linalg.solve(gram + seen.T @ ((c - 1)[:, None] * seen), c @ seen)
    return X


def reference_als(
    user_items: csr_matrix,
    factors: int,
    regularization: float,
    alpha: float = 1.0,
    iterations: int = 15,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """ALS with the exact solver: ``X`` and ``Y`` in float64.

    Parameters and starting values are those of ``implicit.als.AlternatingLeastSquares``, with
    ``seed`` for its ``random_state``. Confidences are rounded to float32 first, as implicit does
    even when its factors are float64.
    """
    confidence = user_items.astype(np.float64)
    confidence.data = (alpha * user_items.data.astype(np.float32)).astype(np.float64)
    start = np.random.default_rng(seed)
    X = start.random((user_items.shape[0], factors)) * 0.01
    Y = start.random((user_items.shape[1], factors)) * 0.01
    transposed = confidence.T.tocsr()
    for _ in range(iterations):
        X = solve_half_step(confidence, Y, regularization)
        Y = solve_half_step(transposed, X, regularization)
    return X, Y
