"""What a log holds, and what is odd about it: short tables for the eye, nothing is changed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def report(frame: pd.DataFrame) -> pd.DataFrame:
    """Schema and integrity checks of a tidy interactions frame.

    Parameters
    ----------
    frame : DataFrame
        Columns ``user_id``, ``item_id``, ``value``, ``timestamp``.

    Returns
    -------
    DataFrame
        Index ``check``; columns ``rows`` (int, how many rows the check finds) and ``share`` (of
        all rows, from 0 to 1).

    Notes
    -----
    A *repeated pair* is any further row of a user-item pair. A *tie in time* is a row that shares
    user and timestamp with another row: within a tie only the order of the log says what came
    first.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "user_id": ["a", "a"], "item_id": ["x", "y"], "value": [1.0, 5.0],
    ...     "timestamp": pd.to_datetime([10, 10], unit="s", utc=True)})
    >>> int(report(log).loc["ties in time", "rows"])
    2
    """
    findings = {
        "missing entry in any column": frame.isna().any(axis=1),
        "exact duplicate of an earlier row": frame.duplicated(),
        "repeated pair (user, item)": frame.duplicated(["user_id", "item_id"]),
        "value of zero (no interaction)": frame["value"] == 0,
        "ties in time": frame.duplicated(["user_id", "timestamp"], keep=False),
    }
    rows = pd.Series({check: int(found.sum()) for check, found in findings.items()}, dtype="int64")
    return pd.DataFrame({"rows": rows, "share": rows / len(frame)}).rename_axis("check")


def ranges(frame: pd.DataFrame) -> pd.DataFrame:
    """Smallest, median and largest value, time and activity.

    Parameters
    ----------
    frame : DataFrame
        Tidy interactions.

    Returns
    -------
    DataFrame of text
        Index ``what``; columns ``least``, ``median``, ``most``.
    """
    days = frame["timestamp"].sort_values()
    numbers = {
        "value": frame["value"],
        "rows per user": frame["user_id"].value_counts(),
        "rows per item": frame["item_id"].value_counts(),
    }
    table = {
        name: [f"{x:g}" for x in (series.min(), series.median(), series.max())]
        for name, series in numbers.items()
    }
    moments = days.iloc[[0, len(days) // 2, -1]]
    table["day (UTC)"] = [f"{moment:%Y-%m-%d}" for moment in moments]
    return pd.DataFrame.from_dict(
        table, orient="index", columns=["least", "median", "most"]
    ).rename_axis("what")


def concentration(counts: pd.Series, shares: Sequence[float] = (0.01, 0.1, 0.2, 0.5)) -> pd.Series:
    """Share of all rows that fall on the most frequent items (or users).

    Parameters
    ----------
    counts : Series of int
        Rows of each item.
    shares : sequence of float, above 0, at most 1
        Top shares of items to look at, rounded up to whole items.

    Returns
    -------
    Series of float
        Index ``top`` (the shares), values from 0 to 1.

    Examples
    --------
    >>> concentration(pd.Series([6, 2, 1, 1]), shares=[0.25, 0.5]).to_dict()
    {0.25: 0.6, 0.5: 0.8}
    """
    ranked = np.sort(counts.to_numpy())[::-1]
    held = [ranked[: int(np.ceil(share * len(ranked)))].sum() / ranked.sum() for share in shares]
    return pd.Series(held, index=pd.Index(shares, name="top"))


def cost_of_threshold(frame: pd.DataFrame, thresholds: Sequence[float]) -> pd.DataFrame:
    """What is left when only values from a threshold on count as an interaction.

    Parameters
    ----------
    frame : DataFrame
        Tidy interactions.
    thresholds : sequence of float

    Returns
    -------
    DataFrame
        Index ``at least``; columns ``rows``, ``users``, ``items`` (int) and ``rows kept`` (share
        from 0 to 1).
    """
    table = {}
    for threshold in thresholds:
        kept = frame[frame["value"] >= threshold]
        users, items = kept["user_id"].nunique(), kept["item_id"].nunique()
        table[threshold] = [len(kept), users, items, len(kept) / len(frame)]
    columns = ["rows", "users", "items", "rows kept"]
    counts = pd.DataFrame.from_dict(table, orient="index", columns=columns)
    return counts.rename_axis("at least").astype(dict.fromkeys(columns[:3], "int64"))
