"""Figures: what they say without a picture, and titles that no font can draw."""

import warnings

import matplotlib.pyplot as plt
import pytest

from helpers import plots


def test_a_title_that_no_font_can_draw_warns_nobody():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plots.style()
        ax = plt.subplots()[1]
        ax.set_title("片 \U0001f980")
        plots.show(ax, "a figure")
    assert caught == []


def test_a_figure_needs_a_description():
    with pytest.raises(ValueError, match="alt is empty"):
        plots.show(plt.subplots()[1], " ")
    plt.close("all")
