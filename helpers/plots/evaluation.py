"""Figures of notebook 5: models side by side, for whom they work, and what they cost."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from helpers.plots.base import BASELINE, PALETTE

MARKERS = "osD^vPX"
COLOURS = {"IALS": PALETTE[1], "ALS": PALETTE[0], "EASE": PALETTE[2], "popular": BASELINE}
"""Of the curves: the same model has the same colour in all of them."""


def forest(
    protocols: Mapping[str, pd.DataFrame],
    label: str,
    title: str,
    *,
    published: Mapping[str, float] | None = None,
    highlight: Sequence[str] = ("ALS", "IALS"),
) -> Axes:
    """Models with their intervals, one panel for each protocol.

    Parameters
    ----------
    protocols : mapping of str to DataFrame
        By name of the protocol: index the model, the measure in the first column, ``low`` and
        ``high``. The models of the last are listed from its best to its worst.
    label : str
        Of the measure.
    title : str
    published : mapping of str to float, optional
        Values that others report for the last protocol, drawn as hollow grey diamonds.
    highlight : sequence of str
        Models to colour.

    Returns
    -------
    Axes
        The first panel.
    """
    last = list(protocols.values())[-1]
    means = last.iloc[:, 0].to_dict() | dict(published or {})
    order = sorted(means, key=lambda model: means[model])
    figure, panels = plt.subplots(
        1, len(protocols), figsize=(9.6, 0.6 + 0.34 * len(order)), sharey=True, squeeze=False
    )
    for ax, (name, table) in zip(panels[0], protocols.items(), strict=True):
        for model in table.index:
            mean, low, high = table.loc[model, [table.columns[0], "low", "high"]].astype(float)
            color = PALETTE[1] if model in highlight else PALETTE[0]
            ax.errorbar(
                mean, order.index(model), xerr=[[mean - low], [high - mean]],
                fmt="s" if model in highlight else "o", color=color, capsize=3,
            )  # fmt: skip
        if "popular" in table.index:
            ax.axvline(table.iloc[:, 0]["popular"], color=BASELINE, linestyle="--")
        ax.set(xlabel=label, xlim=(0, None))
        ax.set_title(name, fontsize=10)
    for model, value in (published or {}).items():
        panels[0, -1].plot(value, order.index(model), "D", color=BASELINE, markerfacecolor="white")
    names = [f"{model}, published" if model in (published or {}) else model for model in order]
    panels[0, 0].set_yticks(range(len(order)), names)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return panels[0, 0]  # type: ignore[no-any-return]


def trade_off(table: pd.DataFrame, x: str, y: str, labels: tuple[str, str], title: str) -> Axes:
    """Models as points between two measures.

    Parameters
    ----------
    table : DataFrame
        Index the model; columns ``x`` and ``y``.
    x, y : str
    labels : tuple of two str
        Of the two axes.
    title : str

    Returns
    -------
    Axes
    """
    _, ax = plt.subplots(figsize=(8.4, 4.2))
    best_first = table.index[np.argsort(-table[y].to_numpy(), kind="stable")]
    for model, marker, colour in zip(best_first, cycle(MARKERS), cycle(PALETTE), strict=False):
        ax.plot(table.loc[model, x], table.loc[model, y], marker, color=colour, label=model, ms=8)
    ax.set(xlabel=labels[0], ylabel=labels[1], ylim=(0, None))
    ax.margins(x=0.12, y=0.12)
    ax.set_title(title)
    ax.legend(title="best first", bbox_to_anchor=(1.02, 1), loc="upper left")
    return ax


def slices(panels: Mapping[str, tuple[pd.DataFrame, str]], title: str) -> Axes:
    """Accuracy of some models in groups of users, or of items.

    Parameters
    ----------
    panels : mapping of str to (DataFrame, str)
        By what the groups are made of: a table with index ``model`` and ``group`` and columns
        ``mean``, ``low``, ``high``; and the name of its measure.
    title : str

    Returns
    -------
    Axes
        The first panel.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(9.6, 3.8), squeeze=False)
    for ax, (name, (table, label)) in zip(axes[0], panels.items(), strict=True):
        models = list(dict.fromkeys(table.index.get_level_values("model")))
        groups = list(dict.fromkeys(table.index.get_level_values("group")))
        for m, model in enumerate(models):
            part = table.loc[model].reindex(groups)
            at = np.arange(len(groups)) + (m - (len(models) - 1) / 2) * 0.06
            spread = [part["mean"] - part["low"], part["high"] - part["mean"]]
            color = COLOURS.get(model, PALETTE[m + 3])
            ax.errorbar(
                at, part["mean"], spread, fmt=f"{MARKERS[m]}-", color=color, capsize=3, label=model
            )
        ax.set_xticks(range(len(groups)), groups)
        ax.set(xlabel=name, ylabel=label, ylim=(0, None))
    axes[0, -1].legend(fontsize="small")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return axes[0, 0]  # type: ignore[no-any-return]


def cold_start(
    panels: Mapping[str, Mapping[str, pd.DataFrame]], baseline: str, label: str, title: str
) -> Axes:
    """Accuracy for newcomers by the number of items that are known of them.

    Parameters
    ----------
    panels : mapping of str to mapping of str to DataFrame
        By which items are known: for each model its table from
        :func:`helpers.evaluation.cold_start_table`.
    baseline : str
        The column that all of them share, which does not look at the history.
    label : str
        Of the measure.
    title : str

    Returns
    -------
    Axes
        The first panel.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(9.0, 3.8), sharey=True, squeeze=False)
    for ax, (name, tables) in zip(axes[0], panels.items(), strict=True):
        for number, (model, table) in enumerate(tables.items()):
            color = COLOURS.get(model, PALETTE[number + 3])
            ax.plot(table.index, table[model], f"{MARKERS[number]}-", color=color, label=model)
            ax.fill_between(table.index, table["low"], table["high"], color=color, alpha=0.18)
        ax.plot(table.index, table[baseline], color=BASELINE, linestyle="--", label=baseline)
        ax.set(xlabel="items known of the user", ylim=(0, None), xscale="log")
        ax.set_xticks(table.index, [f"{n}" for n in table.index])
        ax.minorticks_off()
        ax.set_title(name, fontsize=10)
    axes[0, 0].set_ylabel(label)
    axes[0, -1].legend(fontsize="small")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return axes[0, 0]  # type: ignore[no-any-return]


def speed(epochs: pd.DataFrame, model: str, title: str) -> Axes:
    """How many times as long the peers take for one epoch.

    Parameters
    ----------
    epochs : DataFrame
        Columns ``model``, ``factors``, ``threads`` and ``ratio``, the time in units of ``model``'s.
    model : str
        The one that the others are compared with.
    title : str

    Returns
    -------
    Axes
        The first panel.
    """
    ratios = epoch_ratios(epochs, model)
    threads = sorted(set(ratios.index.get_level_values("threads")))
    figure, axes = plt.subplots(1, len(threads), figsize=(9.0, 3.6), sharey=True, squeeze=False)
    for ax, count in zip(axes[0], threads, strict=True):
        part = ratios.loc[count]
        width = 0.8 / part.shape[1]
        for number, peer in enumerate(part):
            at = np.arange(len(part)) + (number - (part.shape[1] - 1) / 2) * width
            bars = ax.bar(at, part[peer], width * 0.92, color=PALETTE[number], label=peer)
            ax.bar_label(bars, fmt="%.1f", fontsize=8)
        ax.axhline(1, color=BASELINE, linestyle="--", label=model)
        ax.set_xticks(range(len(part)), [f"{factors}" for factors in part.index])
        ax.set(xlabel="factors")
        ax.set_title("one thread" if count == 1 else f"{count} threads", fontsize=10)
    axes[0, 0].set_ylabel(f"time of an epoch / {model}'s")
    axes[0, -1].legend(fontsize="small", bbox_to_anchor=(1.02, 1), loc="upper left")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return axes[0, 0]  # type: ignore[no-any-return]


def epoch_ratios(epochs: pd.DataFrame, model: str) -> pd.DataFrame:
    """How many times as long each peer takes: medians of the paired ratios of the turns.

    Parameters
    ----------
    epochs : DataFrame
        See :func:`speed`.
    model : str

    Returns
    -------
    DataFrame
        Index ``threads`` and ``factors``, one column for each peer; above 1 where it is slower.

    Examples
    --------
    >>> epochs = pd.DataFrame({"model": ["a", "b"], "factors": 64, "threads": 1,
    ...                        "ratio": [1.0, 2.0]})
    >>> epoch_ratios(epochs, "a")["b"].to_dict()
    {(1, 64): 2.0}
    """
    ratios = epochs.pivot_table("ratio", ["threads", "factors"], "model")
    return ratios.drop(columns=model)


def scaling(timings: pd.DataFrame, exponents: Mapping[str, float], title: str) -> Axes:
    """Seconds to fit and to recommend against interactions and against factors.

    Parameters
    ----------
    timings : DataFrame
        Columns ``interactions``, ``factors``, ``fit_seconds`` and ``recommend_seconds``.
    exponents : mapping of str to float
        Fitted powers by name, such as ``"fit, interactions"``.
    title : str

    Returns
    -------
    Axes
        The first panel.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.6), sharey=True)
    fixed = {
        "interactions": timings["factors"].mode().max(),
        "factors": timings["interactions"].max(),
    }
    for ax, x in zip(axes, ("interactions", "factors"), strict=True):
        other = "factors" if x == "interactions" else "interactions"
        part = timings[timings[other] == fixed[x]].sort_values(x)
        for number, what in enumerate(("fit", "recommend")):
            power = exponents.get(f"{what}, {x}")
            name = what if power is None else f"{what}, power {power:.2f}"
            style = f"{MARKERS[number]}-"
            ax.plot(part[x], part[f"{what}_seconds"], style, color=PALETTE[number], label=name)
        ax.set(xscale="log", yscale="log", xlabel=f"{x} ({other}: {fixed[x]:,.0f})")
        ax.set_xticks(part[x], [f"{value:,.0f}" for value in part[x]])
        ax.minorticks_off()
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.legend(fontsize="small")
    axes[0].set_ylabel("seconds (fit: one epoch)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return axes[0]  # type: ignore[no-any-return]
