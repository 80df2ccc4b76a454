"""From observed strength to confidence: how much an observed cell weighs in the loss.

:func:`event_values` gives each event of a log its value, before events are merged into cells. All
other functions take the matrix of strengths and return a new float64 matrix with the same cells.
implicit fits the values as they are, without the "1 +" of Hu et al.; so a weight below 1 makes an
observed cell count *less* than an unobserved one.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from implicit.nearest_neighbours import bm25_weight, tfidf_weight
from scipy.sparse import coo_matrix, csr_matrix

SECONDS_PER_DAY = 86_400
TINY = float(np.finfo(np.float32).tiny)
"""The least weight: 0 would not be stored, or mean something else to implicit."""


def event_values(events: pd.DataFrame, weights: Mapping[str, float]) -> pd.DataFrame:
    """Give each event of a store's log the weight of its kind as ``value``.

    Parameters
    ----------
    events : DataFrame
        Column ``event`` (text), and any others.
    weights : mapping of str to float, at least 0
        Weight of each kind of event; one that is not in the log does no harm.

    Returns
    -------
    DataFrame
        The events of positive weight, in the same order and with the same index, with a new
        ``value``.

    Notes
    -----
    The quantity does not multiply the weight: a wholesaler's order of 1,000 pieces is one decision
    to buy, not 1,000 times the taste of someone who bought one.

    Examples
    --------
    >>> log = pd.DataFrame({"event": ["view", "remove_from_cart", "purchase"]})
    >>> event_values(log, {"view": 1, "remove_from_cart": 0, "purchase": 5}).values.tolist()
    [['view', 1.0], ['purchase', 5.0]]
    """
    if "event" not in events:
        raise ValueError(f"events lacks the column 'event'; it has {list(events.columns)}")
    for name, weight in weights.items():
        _check(f"weights[{name!r}]", weight, weight >= 0, "0 or more")
    values = events["event"].map(dict(weights)).astype(np.float64)
    if values.isna().any():
        unknown = sorted(map(str, events.loc[values.isna(), "event"].unique()))
        raise ValueError(
            f"weights names {list(weights)} but the log also holds the events {unknown}; give each "
            "a weight (0 leaves its events out)"
        )
    return events.assign(value=values)[values > 0]


def binary(user_items: csr_matrix) -> csr_matrix:
    """Every observed cell weighs the same, ``c = 1``."""
    return _with_data(user_items, np.ones(user_items.nnz))


def raw(user_items: csr_matrix) -> csr_matrix:
    """The strength itself, ``c = r``."""
    return _with_data(user_items, user_items.data)


def one_plus_alpha_r(user_items: csr_matrix, alpha: float = 40.0) -> csr_matrix:
    """Confidence grows with the strength, ``c = 1 + alpha * r`` (Hu et al. 2008, section 4).

    Examples
    --------
    >>> one_plus_alpha_r(csr_matrix([[0.0, 2.0]]), alpha=10).toarray()
    array([[ 0., 21.]])
    """
    _check("alpha", alpha, alpha >= 0, "0 or more")
    return _with_data(user_items, 1 + alpha * user_items.data)


def log(user_items: csr_matrix, alpha: float = 40.0, eps: float = 1.0) -> csr_matrix:
    """Confidence grows with the logarithm, ``c = 1 + alpha * log(1 + r / eps)`` (ibid., eq. 6)."""
    _check("alpha", alpha, alpha >= 0, "0 or more")
    _check("eps", eps, eps > 0, "above 0")
    return _with_data(user_items, 1 + alpha * np.log1p(user_items.data / eps))


def bm25(user_items: csr_matrix, k1: float = 100.0, b: float = 0.8) -> csr_matrix:
    """implicit's BM25: popular items and busy users weigh less, strength saturates.

    ``k1`` (above 0) is the strength at which growth saturates, ``b`` (from 0 to 1) how much a
    user's total is normalised away. Where no weight is positive (two or three users), it is a
    ValueError.

    Notes
    -----
    implicit's idf, ``log(n_users) - log(1 + n_users_of_item)``, is 0 for an item that all but one
    user have and negative for one that all have, which ALS would read as a dislike. Weights are
    therefore raised to at least a hundredth of the median positive weight.
    """
    _check("k1", k1, k1 > 0, "above 0")
    _check("b", b, 0 <= b <= 1, "from 0 to 1")
    return _floored(user_items, bm25_weight(user_items, K1=k1, B=b))


def tfidf(user_items: csr_matrix) -> csr_matrix:
    """implicit's TF-IDF, ``sqrt(r) * (log(n_users) - log(1 + n_users_of_item))``, as `bm25`."""
    return _floored(user_items, tfidf_weight(user_items))


WEIGHTINGS: dict[str, Callable[[csr_matrix], csr_matrix]] = {
    "raw": raw,
    "binary": binary,
    "one_plus_alpha_r": one_plus_alpha_r,
    "log": log,
    "bm25": bm25,
    "tfidf": tfidf,
}
"""The weightings that need nothing but the matrix, by name."""


def recency(user_items: csr_matrix, timestamps: np.ndarray, half_life_days: float) -> csr_matrix:
    """Old interactions fade, ``c = r * 0.5 ** (age / half_life)``.

    Parameters
    ----------
    user_items : csr_matrix of shape (n_users, n_items)
    timestamps : datetime64 ndarray of shape (nnz,)
        Aligned with ``user_items.data``; age is counted from the latest of them.
    half_life_days : float, above 0
        Days after which an interaction counts half.

    Examples
    --------
    >>> days = np.array(["2026-01-01", "2026-01-11"], dtype="datetime64[s]")
    >>> recency(csr_matrix([[4.0, 4.0]]), days, half_life_days=10).toarray()
    array([[2., 4.]])
    """
    if len(timestamps) != user_items.nnz:
        raise ValueError(
            f"timestamps has {len(timestamps)} entries, but user_items stores {user_items.nnz} "
            "cells; pass interactions.timestamps of the same interactions"
        )
    _check("half_life_days", half_life_days, half_life_days > 0, "above 0")
    seconds = (timestamps.max() - timestamps) / np.timedelta64(1, "s")
    left = np.maximum(0.5 ** (seconds / SECONDS_PER_DAY / half_life_days), TINY)
    return _with_data(user_items, user_items.data * left)


def _with_data(user_items: csr_matrix, data: np.ndarray) -> csr_matrix:
    cells = (data.astype(np.float64), user_items.indices.copy(), user_items.indptr.copy())
    return csr_matrix(cells, shape=user_items.shape)


def _floored(user_items: csr_matrix, weights: coo_matrix) -> csr_matrix:
    """The weights, of which none is 0 or negative."""
    positive = weights.data[weights.data > 0]
    if positive.size == 0:
        raise ValueError(
            f"every item is known to all or all but one of the {user_items.shape[0]} users, so "
            "implicit's idf is 0 or negative everywhere; use binary or one_plus_alpha_r"
        )
    # A COO matrix made from CSR keeps the order of the cells.
    return _with_data(user_items, np.maximum(weights.data, np.median(positive) / 100))


def _check(name: str, value: float, valid: bool, expected: str) -> None:
    if not (valid and np.isfinite(value)):
        raise ValueError(f"{name} is {value}, expected a finite number, {expected}")
