"""What lists are worth: computed from arrays of recommended items, never from a model.

``top_n`` is always an int array of shape (n_users, n) of item indexes, best first, padded with -1.
"""

import numpy as np
from scipy.sparse import csr_matrix


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
        If the numbers of users differ.

    Examples
    --------
    >>> hits(np.array([[2, 0], [1, -1]]), csr_matrix([[1, 0, 0], [0, 0, 5]]))
    array([[False,  True],
           [False, False]])
    """
    if len(top_n) != held_out.shape[0]:
        raise ValueError(
            f"top_n has {len(top_n)} users but held_out has {held_out.shape[0]} rows; "
            "select the same users on both sides"
        )
    rows = np.repeat(np.arange(held_out.shape[0]), np.diff(held_out.indptr))
    relevant = rows * held_out.shape[1] + held_out.indices
    recommended = np.arange(len(top_n))[:, None] * held_out.shape[1] + top_n
    return np.isin(recommended, relevant) & (top_n >= 0)


def hit_rate_at_k(hits: np.ndarray, k: int) -> np.ndarray:
    """Whether each user has at least one relevant item among the first ``k``.

    Parameters
    ----------
    hits : bool ndarray of shape (n_users, n)
        From :func:`hits`.
    k : int
        Cut-off, from 1 to ``n``.

    Returns
    -------
    float64 ndarray of shape (n_users,), each 0.0 or 1.0

    Raises
    ------
    ValueError
        If ``k`` is outside ``1..n``.

    Notes
    -----
    Users without held-out items have no defined hit rate: leave them out before, and say how many.

    Examples
    --------
    >>> hit_rate_at_k(np.array([[False, True], [False, False]]), k=2)
    array([1., 0.])
    """
    if not 1 <= k <= hits.shape[1]:
        raise ValueError(f"k is {k}, expected 1 to {hits.shape[1]} (the length of the lists)")
    return np.asarray(hits[:, :k].any(axis=1), dtype=np.float64)


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

    Notes
    -----
    It grows with the number of users and of places, so compare it on the same users and ``n``.

    Examples
    --------
    >>> catalogue_coverage(np.array([[0, 1], [1, -1]]), n_items=4)
    0.5
    """
    shown = np.unique(top_n[top_n >= 0])
    return len(shown) / n_items


def mean_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Mean share of a user's list that two models have in common, in any order.

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
        If the shapes differ.

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
    common = (first[:, :, None] == second[:, None, :]) & (first >= 0)[:, :, None]
    filled = (first >= 0).sum(axis=1)
    users = filled > 0
    return float((common.any(axis=2).sum(axis=1)[users] / filled[users]).mean())


def summary(top_n: np.ndarray, held_out: csr_matrix, k: int, *, seed: int = 0) -> dict[str, float]:
    """Hit rate at ``k`` with its interval over users, and coverage.

    Parameters
    ----------
    top_n : int ndarray of shape (n_users, n), with ``n`` at least ``k``
    held_out : csr_matrix of shape (n_users, n_items)
        Of the same users, each with at least one stored cell.
    k : int
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``hit rate``, ``low``, ``high`` and ``coverage``, each from 0 to 1.

    Raises
    ------
    ValueError
        If a user has nothing held out, or ``k`` is out of range.
    """
    empty = int((np.diff(held_out.indptr) == 0).sum())
    if empty:
        raise ValueError(
            f"{empty} of {held_out.shape[0]} users have nothing held out, so their hit rate is "
            "undefined; select the tested users on both sides"
        )
    hit = hit_rate_at_k(hits(top_n, held_out), k)
    low, high = bootstrap_interval(hit, seed=seed)
    coverage = catalogue_coverage(top_n[:, :k], held_out.shape[1])
    return {"hit rate": float(hit.mean()), "low": low, "high": high, "coverage": coverage}


def bootstrap_interval(
    values: np.ndarray, *, confidence: float = 0.95, n_resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of a mean over users, by resampling users.

    Parameters
    ----------
    values : float ndarray of shape (n_users,)
        One value for each user.
    confidence : float between 0 and 1
    n_resamples : int
    seed : int

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        If there are no values.

    Notes
    -----
    It says how much the mean would move with *other users of the same kind*; it does not cover
    another seed of the model or another period.

    References
    ----------
    Efron (1979), "Bootstrap Methods: Another Look at the Jackknife".
    """
    if len(values) == 0:
        raise ValueError("values is empty: there is no user to resample")
    rng = np.random.default_rng(seed)
    block = max(1, min(n_resamples, 10_000_000 // len(values)))  # bounds the memory
    means = [
        values[rng.integers(len(values), size=(block, len(values)))].mean(axis=1)
        for _ in range(-(-n_resamples // block))
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means)[:n_resamples], [tail, 1 - tail])
    return float(low), float(high)
