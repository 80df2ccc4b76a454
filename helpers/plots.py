"""The look that all figures share, the way they are shown, and figures of several notebooks."""

import warnings

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

PALETTE = sns.color_palette("colorblind")
BASELINE = "0.45"
MARKERS = "osD^vPX"


def style() -> None:
    """Set the look of figures and tables: quiet grid, colour-blind-safe palette, whole titles."""
    # A title in a script that no font has is drawn as boxes; the table beside it has the letters.
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")
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
    """Display the figure of some axes with a text alternative, then close it.

    ``alt`` says what the figure shows, in one or two sentences with its numbers, for readers who
    do not see it; ValueError if it is empty. The reports put it beside the image.
    """
    if not alt.strip():
        raise ValueError("alt is empty; describe the figure in a sentence with its main numbers")
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.tight_layout()
    display(figure, metadata={"image/png": {"alt": " ".join(alt.split())}})
    plt.close("all")


def percent(ax: Axes, which: str) -> None:
    """Show the ticks of the axes named in ``which`` ("x", "y" or "xy") as percentages."""
    for letter in which:
        axis = ax.xaxis if letter == "x" else ax.yaxis
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
