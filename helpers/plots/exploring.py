"""Figures of notebooks 1 and 2: the log and the matrix."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import LogLocator
from scipy.sparse import csr_matrix

from helpers.plots.base import BASELINE, percent


def long_tail(counts: Mapping[str, pd.Series], title: str) -> Axes:
    """Cumulative share of rows held by the most frequent users or items.

    Parameters
    ----------
    counts : mapping of str to Series of int
        Rows of each member, by name of the group ("films", "users").
    title : str

    Returns
    -------
    Axes
    """
    _, ax = plt.subplots()
    for name, series in counts.items():
        ranked = np.sort(series.to_numpy())[::-1]
        ax.plot(
            np.linspace(0, 1, len(ranked) + 1), np.r_[0, ranked.cumsum()] / ranked.sum(), label=name
        )
    ax.plot([0, 1], [0, 1], color=BASELINE, linestyle="--", label="all equal")
    ax.set(xlabel="share of the members, most frequent first", ylabel="share of the rows")
    percent(ax, "xy")
    ax.set_title(title)
    ax.legend()
    return ax


def activity(timestamps: pd.Series, title: str) -> Axes:
    """Number of events in each week.

    Parameters
    ----------
    timestamps : Series of datetime64, UTC
    title : str

    Returns
    -------
    Axes
    """
    counts = pd.Series(1, index=timestamps.dt.tz_localize(None)).resample("W").sum()
    _, ax = plt.subplots()
    ax.fill_between(counts.index, counts, step="pre", alpha=0.8)
    ax.axhline(counts.mean(), color=BASELINE, linestyle="--", label="mean")
    ax.set(xlabel="time (UTC)", ylabel="events per week", ylim=(0, None))
    ax.xaxis.set_major_formatter(ConciseDateFormatter(AutoDateLocator()))
    ax.set_title(title)
    ax.legend()
    return ax


def spy(user_items: csr_matrix, title: str, *, bins: tuple[int, int] = (160, 240)) -> Axes:
    """The matrix drawn, users and items sorted by activity: the darker, the more cells are filled.

    Parameters
    ----------
    user_items : csr_matrix of shape (n_users, n_items)
        Any size: cells are counted in at most ``bins`` blocks.
    title : str
    bins : tuple of int
        Most blocks downwards and across.

    Returns
    -------
    Axes
    """
    n_users, n_items = user_items.shape
    rows = np.repeat(np.arange(n_users), np.diff(user_items.indptr))
    by_user = _ranks(np.bincount(rows, minlength=n_users))[rows]
    by_item = _ranks(np.bincount(user_items.indices, minlength=n_items))[user_items.indices]
    grid = (min(bins[0], n_users), min(bins[1], n_items))
    filled, *_ = np.histogram2d(by_user, by_item, grid, range=[[0, n_users], [0, n_items]])
    share = filled / (n_users * n_items / (grid[0] * grid[1]))
    figure, ax = plt.subplots(figsize=(7.2, 4.4))
    positive = share[share > 0]
    norm = LogNorm(max(positive.min(), 1e-4), 1)
    image = ax.imshow(
        np.where(share > 0, share, np.nan),
        extent=(0, n_items, n_users, 0),
        aspect="auto",
        cmap="viridis_r",
        norm=norm,
        interpolation="nearest",
    )
    ax.grid(False)
    ax.set(xlabel="items, most popular first", ylabel="users, most active first")
    ax.set_title(title)
    figure.colorbar(image, ax=ax, label="share of cells filled")
    return ax


def weightings(curves: Mapping[str, pd.Series], title: str) -> Axes:
    """Confidence against strength, one line for each weighting.

    Parameters
    ----------
    curves : mapping of str to Series of float
        Mean confidence (values) of the cells of each strength (index), by name.
    title : str

    Returns
    -------
    Axes
    """
    _, ax = plt.subplots()
    markers = "osD^vPX"
    for marker, (name, curve) in zip(markers, curves.items(), strict=False):
        ax.plot(curve.index, curve.to_numpy(), marker=marker, label=name)
    ax.axhline(1, color=BASELINE, linestyle="--", label="an unobserved cell")
    ax.set(xlabel="strength r (value in the log)", ylabel="mean confidence c", yscale="log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")
    ax.set_title(title)
    ax.legend(bbox_to_anchor=(1.02, 1), loc="upper left")
    return ax


def _ranks(counts: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(counts), dtype=np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return ranks
