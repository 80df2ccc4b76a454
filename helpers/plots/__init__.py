"""Figures: each function takes data, draws one message, and returns the axes."""

from helpers.plots.base import BASELINE, PALETTE, show, style
from helpers.plots.exploring import activity, long_tail, spy, weightings
from helpers.plots.training import effects, item_map, loss_history

__all__ = [
    "BASELINE",
    "PALETTE",
    "activity",
    "effects",
    "item_map",
    "long_tail",
    "loss_history",
    "show",
    "spy",
    "style",
    "weightings",
]
