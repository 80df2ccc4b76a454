"""Figures of notebook 4: what a search claims, what it finds, and what each setting does."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from helpers.plots.base import BASELINE, PALETTE, percent

MARKERS = "osD^vPX"


def optimism(table: pd.DataFrame, title: str) -> Axes:
    """The gain that the best of n models claims, and the gain that it keeps on other users.

    Parameters
    ----------
    table : DataFrame
        From :func:`helpers.tuning.optimism`.
    title : str

    Returns
    -------
    Axes
    """
    _, ax = plt.subplots()
    for column, marker, label in (
        ("claimed", "o", "claimed, where it was chosen"),
        ("kept", "s", "kept, on untouched users"),
    ):
        ax.plot(table.index, table[column], f"{marker}-", label=label)
    ax.fill_between(table.index, table["kept"], table["claimed"], color=BASELINE, alpha=0.15)
    ax.axhline(0, color=BASELINE, linestyle="--", label="the average model")
    ax.set(xlabel="models tried", ylabel="gain in nDCG of the winner", xscale="log")
    ax.set_xticks(table.index, [f"{n}" for n in table.index])
    ax.minorticks_off()
    ax.set_title(title)
    ax.legend(loc="upper left")
    return ax


def two_metrics(
    models: pd.DataFrame, others: Mapping[str, tuple[float, float]], by: str, title: str
) -> Axes:
    """Each model of a grid by expected percentile rank and by nDCG, with some others beside them.

    Parameters
    ----------
    models : DataFrame
        Columns ``ROEM``, one that begins with ``nDCG``, and ``by``.
    others : mapping of str to (ROEM, nDCG)
        Drawn as crosses with their names.
    by : str
        The setting that chooses the colour.
    title : str

    Returns
    -------
    Axes
    """
    metric = next(column for column in models if str(column).startswith("nDCG"))
    _, ax = plt.subplots(figsize=(7.2, 4.4))
    for colour, marker, (value, part) in zip(PALETTE, MARKERS, models.groupby(by), strict=False):
        ax.plot(
            part["ROEM"], part[metric], marker, color=colour, alpha=0.7, label=f"{value:g} {by}"
        )
    for name, (roem, ndcg) in others.items():
        ax.plot(roem, ndcg, "X", color="black", markersize=9)
        ax.annotate(name, (roem, ndcg), (8, 0), textcoords="offset points", va="center")
    ax.margins(x=0.22, y=0.14)
    ax.set(xlabel="expected percentile rank (left is better)", ylabel=f"{metric} (up is better)")
    ax.set_title(title)
    ax.legend()
    return ax


def search_history(searches: Mapping[tuple[str, ...], pd.DataFrame], title: str) -> Axes:
    """The trials of several searches in their order, and the best so far.

    Parameters
    ----------
    searches : mapping of (task, and what else names a search) to DataFrame
        From :func:`helpers.tuning.search`. One panel for each task.
    title : str

    Returns
    -------
    Axes
        The first panel.
    """
    tasks = list(dict.fromkeys(task for task, *_ in searches))
    figure, panels = plt.subplots(1, len(tasks), figsize=(9.6, 3.8), squeeze=False)
    for panel, task in zip(panels[0], tasks, strict=True):
        ours = {key: trials for key, trials in searches.items() if key[0] == task}
        for (key, trials), colour, marker in zip(ours.items(), PALETTE, MARKERS, strict=False):
            numbers, values = trials.index + 1, trials.filter(like="nDCG").iloc[:, 0]
            panel.plot(numbers, values, marker, color=colour, alpha=0.4)
            panel.step(
                numbers,
                values.cummax().ffill(),
                where="post",
                color=colour,
                label=", ".join(key[1:]),
            )
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set(xlabel="trial (gaps were cut short)", title=task)
    panels[0, 0].set(ylabel="validation nDCG")
    panels[0, -1].legend(title="best so far", bbox_to_anchor=(1.02, 1), loc="upper left")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return panels[0, 0]  # type: ignore[no-any-return]


def heat_map(table: pd.DataFrame, title: str) -> Axes:
    """A metric over two settings, each cell with its value.

    Parameters
    ----------
    table : DataFrame of float
        Values of one setting downwards, of the other across; both named.
    title : str

    Returns
    -------
    Axes
    """
    figure, ax = plt.subplots(figsize=(7.2, 4.4))
    values = table.to_numpy()
    image = ax.imshow(values, cmap="viridis", aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for row, column in np.ndindex(values.shape):
        colour = "black" if values[row, column] > middle else "white"
        text = f"{values[row, column]:.3f}"
        ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
    ax.set_xticks(range(table.shape[1]), [f"{value:.2g}" for value in table.columns])
    ax.set_yticks(range(table.shape[0]), [f"{value:.2g}" for value in table.index])
    across, down = (str(axis.name).replace("_", " ") for axis in (table.columns, table.index))
    ax.set(xlabel=across, ylabel=down)
    ax.grid(False)
    ax.set_title(title)
    figure.colorbar(image, ax=ax, label="validation nDCG")
    return ax


def setting_curves(curves: Mapping[str, pd.DataFrame], title: str, *, baseline: float) -> Axes:
    """Accuracy, stability and diversity against each setting.

    Parameters
    ----------
    curves : mapping of str to DataFrame
        From :func:`helpers.tuning.curves`.
    title : str
    baseline : float
        nDCG of the popular list.

    Returns
    -------
    Axes
        The first panel.
    """
    figure, panels = plt.subplots(
        5, len(curves), figsize=(9.6, 9.6), sharey="row", sharex="col", squeeze=False
    )
    rows = {"nDCG": "nDCG", "overlap": "two seeds share", "coverage": "coverage", "gini": "Gini"}
    rows["novelty"] = "novelty (bits)"
    for column, (name, table) in enumerate(curves.items()):
        positions = np.arange(len(table))
        for row, measure in enumerate(rows):
            panel, colour, marker = panels[row, column], PALETTE[row], MARKERS[row]
            panel.plot(positions, table[measure], f"{marker}-", color=colour)
        spread = [table["nDCG"] - table["low"], table["high"] - table["nDCG"]]
        panels[0, column].errorbar(
            positions, table["nDCG"], spread, fmt="none", color=PALETTE[0], capsize=3
        )
        panels[0, column].axhline(baseline, color=BASELINE, linestyle="--")
        panels[-1, column].set_xticks(positions, [f"{value:.2g}" for value in table[name]])
        panels[-1, column].tick_params(axis="x", labelsize=9, rotation=45)
        panels[-1, column].set(xlabel=name.replace("_", "\n"))
    for panel, label in zip(panels[:, 0], rows.values(), strict=True):
        panel.set(ylabel=label)
    for panel in panels[1:3, 0]:
        percent(panel, "y")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return panels[0, 0]  # type: ignore[no-any-return]
