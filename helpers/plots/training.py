"""Figures of notebook 3: the training of a model, and what it has learned."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from helpers.plots.base import BASELINE, PALETTE, percent


def loss_history(history: pd.DataFrame, title: str) -> Axes:
    """The parts of the training loss after each iteration, stacked.

    Parameters
    ----------
    history : DataFrame
        From :func:`helpers.als.fit_with_history`.
    title : str

    Returns
    -------
    Axes
    """
    _, ax = plt.subplots()
    parts = ["unobserved", "observed", "penalty"]
    ax.stackplot(history.index, history[parts].T.to_numpy() / 1e3, labels=parts, alpha=0.85)
    ax.set(xlabel="iteration", ylabel="loss (thousands)", ylim=(0, None))
    ax.set_xlim(history.index[0], history.index[-1])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(title)
    ax.legend(bbox_to_anchor=(1.02, 1), loc="upper left", reverse=True)
    return ax


def effects(sweep: pd.DataFrame, baseline: float, title: str) -> Axes:
    """Loss, hit rate and overlap of the lists, for each value of each parameter.

    Parameters
    ----------
    sweep : DataFrame
        From :func:`helpers.sweeps.one_at_a_time`.
    baseline : float
        Hit rate of the popular list.
    title : str

    Returns
    -------
    Axes
        The first panel.
    """
    parameters = list(dict.fromkeys(sweep.index.get_level_values("parameter")))
    figure, panels = plt.subplots(
        3, len(parameters), figsize=(9.6, 6.4), sharey="row", sharex="col", squeeze=False
    )
    for column, parameter in enumerate(parameters):
        part = sweep.loc[parameter]
        spread = [part["hit rate"] - part["low"], part["high"] - part["hit rate"]]
        loss, hits, overlap = panels[:, column]
        loss.plot(part.index, part["loss"], "o-", color=PALETTE[0])
        hits.errorbar(part.index, part["hit rate"], spread, fmt="s-", color=PALETTE[1], capsize=3)
        hits.axhline(baseline, color=BASELINE, linestyle="--", label="popular list")
        overlap.plot(part.index, part["overlap"], "D-", color=PALETTE[2])
        overlap.set(xlabel=parameter)
    for panel, name in zip(
        panels[:, 0], ("loss per cell", "hit rate", "overlap of lists"), strict=True
    ):
        panel.set(ylabel=name, ylim=(0, None))
    panels[1, 0].legend(fontsize="small")
    percent(panels[2, 0], "y")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return panels[0, 0]  # type: ignore[no-any-return]


def item_map(
    points: np.ndarray, sizes: np.ndarray, labels: Sequence[str], title: str, *, names: int = 30
) -> Axes:
    """Items as points in two dimensions; the largest that have room for it are named.

    Parameters
    ----------
    points : float ndarray of shape (n_items, 2)
    sizes : float ndarray of shape (n_items,)
        Users of each item; the area of its point, and who is named first.
    labels : sequence of str, of length n_items
    title : str
    names : int
        Most items to name.

    Returns
    -------
    Axes
    """
    figure, ax = plt.subplots(figsize=(8.4, 6.0))
    x, y = points.T
    ax.scatter(x, y, s=8 + 90 * sizes / sizes.max(), alpha=0.45, linewidth=0)
    ax.set(xlabel="first component", ylabel="second component")
    ax.set_title(title)
    ax.margins(x=0.12)
    figure.canvas.draw()
    boxes = [ax.title.get_window_extent()]
    inside = ax.get_window_extent()
    for item in np.argsort(-sizes, kind="stable").tolist():
        if len(boxes) > names:
            break
        name = ax.annotate(
            labels[item],
            (x[item], y[item]),
            (0, 4),
            textcoords="offset points",
            fontsize=9,
            parse_math=False,
        )
        name.set_horizontalalignment("center")
        box = name.get_window_extent()
        if any(box.overlaps(other) for other in boxes) or box.x0 < inside.x0 or box.x1 > inside.x1:
            name.remove()
        else:
            boxes.append(box)
    return ax
