"""Figures: each function takes data, draws one message, and returns the axes."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter
from scipy.sparse import csr_matrix

PALETTE = sns.color_palette("colorblind")
BASELINE = "0.45"


def style() -> None:
    """Set the look of figures and tables: quiet grid, colour-blind-safe palette, whole titles."""
    pd.options.display.max_colwidth = 90
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.figsize": (7.2, 3.6),
            "figure.dpi": 110,
            "axes.grid": True,
            "axes.titlelocation": "left",
            "axes.titlesize": 12,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.alpha": 0.35,
            "legend.frameon": False,
        }
    )


def show(ax: Axes, alt: str) -> None:
    """Display a figure with a text alternative, then close it.

    Parameters
    ----------
    ax : Axes
        Any axes of the figure.
    alt : str
        What the figure shows, in one or two sentences with its numbers, for readers who do not
        see it. The reports put it beside the image.

    Raises
    ------
    ValueError
        If ``alt`` is empty.
    """
    if not alt.strip():
        raise ValueError("alt is empty; describe the figure in a sentence with its main numbers")
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.tight_layout()
    display(figure, metadata={"image/png": {"alt": " ".join(alt.split())}})
    plt.close("all")


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
    _percent(ax, "xy")
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
    _percent(panels[2, 0], "y")
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


def _percent(ax: Axes, which: str) -> None:
    for letter in which:
        axis = ax.xaxis if letter == "x" else ax.yaxis
        axis.set_major_formatter(PercentFormatter(1, decimals=0))


def _ranks(counts: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(counts), dtype=np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return ranks
