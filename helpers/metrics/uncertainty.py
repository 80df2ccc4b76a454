"""How sure a mean over users is, and whether two models differ."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

DRAWS = 1_000_000
"""Random draws held in memory at a time: 500,000 users take megabytes, not gigabytes."""

N_RESAMPLES = 2_000
"""Bootstrap samples, and sign flips; the smallest p-value is ``1 / (1 + N_RESAMPLES)``."""


def bootstrap_interval(values: np.ndarray | pd.Series, *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of a mean over users, by resampling users (Efron 1979).

    Parameters
    ----------
    values : float ndarray or Series of shape (n_users,)

    Returns
    -------
    low, high : float
        Without any width for a single user, of whom no other is known.

    Notes
    -----
    It says how much the mean would move with *other users of the same kind*; it does not cover
    another seed of the model or another period.

    Examples
    --------
    >>> bootstrap_interval(np.array([1.0, 1.0, 1.0]))
    (1.0, 1.0)
    """
    values = _user_values("values", values)
    if len(values) == 1:
        return float(values[0]), float(values[0])
    low, high = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=N_RESAMPLES,
        batch=max(1, DRAWS // len(values)),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(low), float(high)


@dataclass(frozen=True)
class Paired:
    """First minus second model on the same users: mean, bootstrap interval, sign-flip p-value."""

    difference: float
    low: float
    high: float
    p_value: float

    @property
    def verdict(self) -> str:
        """The first is "ahead" or "behind", or "tied" where the interval holds 0."""
        return "ahead" if self.low > 0 else "behind" if self.high < 0 else "tied"


def paired(
    first: np.ndarray | pd.Series, second: np.ndarray | pd.Series, *, seed: int = 0
) -> Paired:
    """Whether two models differ, from the difference within each user.

    ``p = (1 + #{flips with |mean| >= |observed mean|}) / (1 + flips)``

    Parameters
    ----------
    first, second : float ndarray or Series of shape (n_users,)
        The same metric of the same users under two models. The indexes of two Series must agree.

    Notes
    -----
    The test assumes that users are independent and that, were the models equally good, a user's
    difference would be as likely to come out with the other sign. It assumes no normal law. Users
    differ far more than models do; the pairing takes that part out. Another seed, another split
    and the choice of the best of many models are not covered.

    References
    ----------
    Fisher (1935), "The Design of Experiments", section 21; Smucker, Allan and Carterette (2007),
    "A Comparison of Statistical Significance Tests for Information Retrieval Evaluation".

    Examples
    --------
    Three users gain 1 each. Of the 8 ways to set the signs 2 reach a mean of 1 or -1, a share of
    0.25:

    >>> result = paired(np.array([3.0, 2.0, 5.0]), np.array([2.0, 1.0, 4.0]))
    >>> result.difference, result.low, result.high, result.verdict
    (1.0, 1.0, 1.0, 'ahead')
    >>> abs(result.p_value - 0.25) < 0.03
    True
    """
    same_users = len(first) == len(second)
    if same_users and isinstance(first, pd.Series) and isinstance(second, pd.Series):
        same_users = first.index.equals(second.index)
    if not same_users:
        raise ValueError(
            f"first has {len(first)} users and second {len(second)}, not the same ones in the same "
            "order; evaluate both models on the same rows"
        )
    differences = _user_values("first", first) - _user_values("second", second)
    low, high = bootstrap_interval(differences, seed=seed)
    return Paired(float(differences.mean()), low, high, _sign_flip(differences, seed))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``hits`` among ``n``; NaN (not defined) among none.

    Examples
    --------
    None of ten: between 0 and ``1.96² / (10 + 1.96²)``.

    >>> low, high = wilson(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.2775)
    """
    if n == 0:
        return np.nan, np.nan
    found = stats.binomtest(hits, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _sign_flip(differences: np.ndarray, seed: int) -> float:
    """p-value of the mean difference under random signs."""
    moved = differences[differences != 0]  # a sign changes nothing elsewhere
    if len(moved) == 0:
        return 1.0
    total = np.abs(moved).sum()

    def size_of_sum(signs: np.ndarray, axis: int = -1) -> np.ndarray:
        """Rounded, because sums that are equal on paper may differ in the last bits."""
        return np.asarray(np.round(np.abs(signs @ moved) / total, 12))

    # permutation_test(permutation_type="samples") does the same, 50 times slower.
    test = stats.monte_carlo_test(
        np.ones(len(moved)),
        partial(np.random.default_rng([seed, 1]).choice, (-1.0, 1.0)),
        size_of_sum,
        n_resamples=N_RESAMPLES,
        batch=max(1, DRAWS // len(moved)),
        alternative="greater",
    )
    return float(test.pvalue)


def _user_values(name: str, values: np.ndarray | pd.Series) -> np.ndarray:
    """One finite number for each user."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{name} has shape {values.shape}, expected one value for each user")
    if unknown := int((~np.isfinite(values)).sum()):
        raise ValueError(
            f"{name} holds {unknown} values that are NaN or infinite; leave out the users for whom "
            "the metric is undefined, and say how many"
        )
    return values
