"""Figures about a store: what cleaning removes, what it changes, and what that is worth."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.plots import BASELINE, PALETTE, percent


def waterfall(steps: pd.DataFrame, title: str) -> Axes:
    """Rows left after each step, and what the step removed.

    Parameters
    ----------
    steps : DataFrame
        Index: the steps; columns ``removed`` and ``kept``, see
        :class:`helpers.cleaning.CleaningReport`. Steps that removed nothing are left out.
    title : str

    Returns
    -------
    Axes
    """
    hit = steps[steps["removed"] > 0]
    first = int(steps["kept"].iloc[0] + steps["removed"].iloc[0])
    last = int(steps["kept"].iloc[-1])
    names = ["all rows", *hit.index, "kept"]
    starts = np.array([0, *hit["kept"], 0])
    widths = np.array([first, *hit["removed"], last])
    colours = [BASELINE, *[PALETTE[3]] * len(hit), PALETTE[0]]
    _, ax = plt.subplots(figsize=(7.2, 1.2 + 0.33 * len(names)))
    places = np.arange(len(names))[::-1]
    ax.barh(places, widths, left=starts, color=colours, height=0.72)
    for place, start, width in zip(places, starts, widths, strict=True):
        inside, left = width > 0.2 * first, start > 0.5 * first
        where = start + width / 2 if inside else start if left else start + width
        ax.annotate(
            f"{width:,}",
            (where, place),
            xytext=(0 if inside else -4 if left else 4, 0),
            textcoords="offset points",
            va="center",
            ha="center" if inside else "right" if left else "left",
            color="white" if inside else "black",
            fontsize=9,
        )
    ax.set_yticks(places, names)
    ax.set(xlabel="rows", xlim=(0, 1.02 * first))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.grid(axis="y", visible=False)
    ax.set_title(title)
    return ax


def tail(tails: Mapping[str, pd.DataFrame], title: str) -> Axes:
    """Share of the rows that the most popular items have, before and after cleaning.

    Parameters
    ----------
    tails : mapping of str to DataFrame
        For each log: index share of the catalogue, columns ``before`` and ``after``.
    title : str

    Returns
    -------
    Axes
    """
    _, axes = plt.subplots(1, len(tails), figsize=(3.7 * len(tails), 3.4), sharey=True)
    for ax, (name, table) in zip(np.atleast_1d(axes), tails.items(), strict=True):
        shares = np.r_[0, table.index.to_numpy(dtype=float)]
        for column, style in (("before", "--"), ("after", "-")):
            ax.plot(shares, np.r_[0, table[column]], style, marker="o", markersize=3, label=column)
        ax.plot([0, 1], [0, 1], ":", color=BASELINE, label="all equal")
        ax.set(xlabel="share of the items, most popular first", title=name)
        percent(ax, "xy")
    first: Axes = np.atleast_1d(axes)[0]
    first.set_ylabel("share of the rows")
    first.legend()
    _title(first, title)
    return first


def gains(panels: Mapping[str, pd.DataFrame], label: str, title: str) -> Axes:
    """Differences with their intervals, one panel for each log.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        Index: what is compared; columns ``difference``, ``low``, ``high``.
    label : str
        What the differences are in.
    title : str

    Returns
    -------
    Axes
    """
    rows = max(map(len, panels.values()))
    _, axes = plt.subplots(
        1, len(panels), figsize=(7.2, 1.3 + 0.36 * rows), sharex=True, sharey=True, squeeze=False
    )
    for ax, (name, table) in zip(axes[0], panels.items(), strict=True):
        places = np.arange(len(table))[::-1]
        clear = ((table["low"] > 0) | (table["high"] < 0)).to_numpy()
        colours = [PALETTE[0] if each else BASELINE for each in clear]
        ax.axvline(0, color=BASELINE, linestyle="--", linewidth=1)
        ax.hlines(places, table["low"], table["high"], color=colours)
        ax.scatter(table["difference"], places, color=colours, zorder=3)
        ax.set(xlabel=label, title=name)
        ax.set_yticks(places, table.index)
    first: Axes = axes[0][0]
    _title(first, title)
    return first


def detection(evidence: pd.DataFrame, scores: Mapping[str, float], title: str) -> Axes:
    """Scores of accounts by what they really are, with the line above which they are removed.

    Parameters
    ----------
    evidence : DataFrame
        One row for each account: ``kind`` (what it is) and one column for each score.
    scores : mapping of str to float
        Column to threshold.
    title : str

    Returns
    -------
    Axes
    """
    kinds = sorted(evidence["kind"].unique())
    _, axes = plt.subplots(1, len(scores), figsize=(7.2, 1.4 + 0.4 * len(kinds)), sharey=True)
    rng = np.random.default_rng(0)
    for ax, (column, threshold) in zip(np.atleast_1d(axes), scores.items(), strict=True):
        for place, kind in enumerate(reversed(kinds)):
            values = evidence.loc[evidence["kind"] == kind, column].to_numpy()
            jitter = rng.uniform(-0.3, 0.3, len(values))
            wide = rng.uniform(-0.15, 0.15, len(values))
            ax.scatter(values + wide, place + jitter, s=6, alpha=0.4, color=PALETTE[place % 8])
        ax.axvline(threshold - 0.5, color="black", linestyle="--", linewidth=1)
        ax.set(xlabel=column.replace("_", " "))
        ax.set_yticks(range(len(kinds)), list(reversed(kinds)))
    first: Axes = np.atleast_1d(axes)[0]
    _title(first, title)
    return first


def _title(ax: Axes, title: str) -> None:
    """A title over several panels."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.suptitle(title, x=0.02, ha="left", fontsize=12)
