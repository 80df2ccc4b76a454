"""Fit many models that differ in one setting, and keep what can be compared."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from helpers import als, metrics, recommend
from helpers.interactions import Interactions


def fit(
    user_items: csr_matrix,
    *,
    factors: int,
    regularization: float,
    alpha: float,
    iterations: int,
    seed: int,
    exact: bool = True,
    num_threads: int = 0,
) -> tuple[AlternatingLeastSquares, pd.DataFrame]:
    """Fit implicit's ALS in float64 and keep the loss of each iteration.

    Parameters
    ----------
    user_items : csr_matrix of shape (n_users, n_items)
    factors, regularization, alpha, iterations
        As in implicit.
    seed : int
        Its ``random_state``.
    exact : bool
        :class:`helpers.als.ExactALS`; otherwise implicit's default, three conjugate-gradient steps.
    num_threads : int
        0 for all cores; the result does not depend on it.

    Returns
    -------
    model : fitted AlternatingLeastSquares
    history : DataFrame
        See :func:`helpers.als.fit_with_history`.

    Notes
    -----
    The default solver is faster (``make bench`` says how much), but it amplifies rounding: from
    one processor's BLAS kernel to another's, scores drift apart with every iteration, even in
    float64. With the exact solver they agree to 1e-9, so printed numbers and lists hold;
    ``tests/test_determinism.py`` asserts both.
    """
    with threadpool_limits(1, user_api="blas"):  # what implicit warns about
        model = (als.ExactALS if exact else AlternatingLeastSquares)(
            factors=factors,
            regularization=regularization,
            alpha=alpha,
            iterations=iterations,
            dtype=np.float64,
            num_threads=num_threads,
            random_state=seed,
        )
    return model, als.fit_with_history(model, user_items)


def one_at_a_time(
    train: Interactions,
    test: Interactions,
    grid: Mapping[str, Sequence[float]],
    base: Mapping[str, Any],
    *,
    k: int = 10,
) -> pd.DataFrame:
    """Change one setting at a time and compare loss, hits and lists with the base model's.

    Parameters
    ----------
    train, test : Interactions
        Two sides of a split.
    grid : mapping of str to sequence of numbers
        Values to try, by name of a setting of :func:`fit`.
    base : mapping
        All settings of :func:`fit`.
    k : int
        Length of the lists.

    Returns
    -------
    DataFrame
        Index levels ``parameter`` and ``value`` (as text); columns ``loss`` (total divided by the
        sum of confidences and empty cells, as implicit reports it), ``hit rate`` with its 95 %
        interval ``low`` and ``high`` over users, ``coverage`` of the catalogue; and against the
        base model: ``gain`` in hit rate with the interval of the paired difference on the same
        users, ``gain low`` and ``gain high`` (0 for the base model itself), and ``overlap`` of the
        lists.

    Raises
    ------
    ValueError
        If ``grid`` names a setting that ``base`` does not have.
    """
    unknown = set(grid) - set(base)
    if unknown:
        raise ValueError(f"grid has unknown settings {sorted(unknown)}; known are {sorted(base)}")
    tested = np.flatnonzero(np.diff(test.user_items.indptr))
    held_out = test.user_items[tested]
    fitted = fit(train.user_items, **base)
    base_lists = recommend.top_n(fitted[0], train.user_items, k, users=tested)
    base_hit = metrics.hit_rate_at_k(metrics.hits(base_lists, held_out), k)
    table = {}
    runs = [(name, value) for name, values in grid.items() for value in values]
    for name, value in tqdm(runs, desc="models", leave=False):
        settings = {**base, name: value}
        model, history = fitted if settings == base else fit(train.user_items, **settings)
        lists = recommend.top_n(model, train.user_items, k, users=tested)
        gain = metrics.hit_rate_at_k(metrics.hits(lists, held_out), k) - base_hit
        gain_low, gain_high = metrics.bootstrap_interval(gain)
        weight = settings["alpha"] * train.user_items.data.sum()
        weight += train.n_users * train.n_items - train.nnz
        table[name, f"{value:g}"] = {
            "loss": history["total"].iloc[-1] / weight,
            **metrics.summary(lists, held_out, k),
            "gain": gain.mean(),
            "gain low": gain_low,
            "gain high": gain_high,
            "overlap": metrics.mean_overlap(base_lists, lists),
        }
    return pd.DataFrame.from_dict(table, orient="index").rename_axis(["parameter", "value"])
