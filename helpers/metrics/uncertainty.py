"""How sure a mean over users is, and whether two models differ."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

BLOCK_DRAWS = 10_000_000
"""Random draws held in memory at a time."""


def bootstrap_interval(
    values: np.ndarray | pd.Series,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a mean over users, by resampling users.

    Parameters
    ----------
    values : float ndarray or Series of shape (n_users,)
        One value for each user.
    confidence : float between 0 and 1
    n_resamples : int, at least 1
    seed : int

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        If there are no values, one is not a finite number, or an argument is out of range.

    Notes
    -----
    It says how much the mean would move with *other users of the same kind*; it does not cover
    another seed of the model or another period.

    References
    ----------
    Efron (1979), "Bootstrap Methods: Another Look at the Jackknife".

    Examples
    --------
    >>> bootstrap_interval(np.array([1.0, 1.0, 1.0]))
    (1.0, 1.0)
    """
    values = _user_values("values", values)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected a share such as 0.95")
    if n_resamples < 1:
        raise ValueError(f"n_resamples is {n_resamples}, expected 1 or more")
    rng = np.random.default_rng(seed)
    block = max(1, min(n_resamples, BLOCK_DRAWS // len(values)))  # bounds the memory
    means = [
        values[rng.integers(len(values), size=(block, len(values)))].mean(axis=1)
        for _ in range(-(-n_resamples // block))
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means)[:n_resamples], [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Paired:
    """The first model against the second on the same users.

    Attributes
    ----------
    difference : float
        Mean of first minus second.
    low, high : float
        Bootstrap interval of that mean.
    p_value : float, above 0 and up to 1
        Of the sign-flip test.
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired(
    first: np.ndarray | pd.Series,
    second: np.ndarray | pd.Series,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2_000,
    seed: int = 0,
) -> Paired:
    """Whether two models differ, judged on the difference within each user.

    ``p = (1 + #{flips with |mean| >= |observed mean|}) / (1 + n_resamples)``

    Parameters
    ----------
    first, second : float ndarray or Series of shape (n_users,)
        The same measure of the same users under two models. The indexes of two Series must agree.
    confidence : float between 0 and 1
        Of the interval.
    n_resamples : int, at least 1
        Bootstrap samples, and sign flips; the smallest p-value is ``1 / (1 + n_resamples)``.
    seed : int

    Returns
    -------
    Paired

    Raises
    ------
    ValueError
        If the users differ, there are none, or a value is not a finite number.

    Notes
    -----
    The test assumes that users are independent and that, were the models equally good, a user's
    difference would be as likely to come out with the other sign. It assumes no normal law. Users
    differ far more than models do; the pairing takes that part out. Both models are taken as they
    are: another seed or another split is outside, and so is the choice of the best of many.

    References
    ----------
    Fisher (1935), "The Design of Experiments", section 21; for ranked lists Smucker, Allan and
    Carterette (2007), "A Comparison of Statistical Significance Tests for Information Retrieval
    Evaluation".

    Examples
    --------
    Three users gain 1 each. Of the 8 ways to set the signs 2 reach a mean of 1 or -1, a share of
    0.25:

    >>> result = paired(np.array([3.0, 2.0, 5.0]), np.array([2.0, 1.0, 4.0]))
    >>> result.difference, result.low, result.high
    (1.0, 1.0, 1.0)
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
    low, high = bootstrap_interval(
        differences, confidence=confidence, n_resamples=n_resamples, seed=seed
    )
    return Paired(
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=_sign_flip(differences, n_resamples, seed),
    )


def _sign_flip(differences: np.ndarray, n_resamples: int, seed: int) -> float:
    """p-value of the mean difference under random signs."""
    moved = differences[differences != 0]  # a sign changes nothing elsewhere
    if len(moved) == 0:
        return 1.0
    rng = np.random.default_rng([seed, 1])
    total = moved.sum()
    # Sums that are equal on paper may differ in the last bits.
    least = abs(total) - 1e-9 * np.abs(moved).sum()
    block = max(1, min(n_resamples, BLOCK_DRAWS // len(moved)))
    as_large = 0
    for start in range(0, n_resamples, block):
        size = (min(block, n_resamples - start), len(moved))
        kept = rng.integers(2, size=size, dtype=np.int8) @ moved  # the sum where the sign is +
        as_large += int((np.abs(2 * kept - total) >= least).sum())
    return (1 + as_large) / (1 + n_resamples)


def _user_values(name: str, values: np.ndarray | pd.Series) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name} has shape {values.shape}, expected one value for each user")
    if len(values) == 0:
        raise ValueError(f"{name} is empty: there is no user to resample")
    unknown = int((~np.isfinite(values)).sum())
    if unknown:
        raise ValueError(
            f"{name} holds {unknown} values that are NaN or infinite; leave out the users for whom "
            "the measure is undefined, and say how many"
        )
    return values
