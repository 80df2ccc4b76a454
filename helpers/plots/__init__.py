"""Figures: each function takes data, draws one message, and returns the axes."""

from helpers.plots.base import BASELINE, PALETTE, show, style
from helpers.plots.cleaning import detection, gains, tail, waterfall
from helpers.plots.evaluation import (
    cold_start,
    epoch_ratios,
    forest,
    scaling,
    slices,
    speed,
    trade_off,
)
from helpers.plots.exploring import activity, long_tail, spy, weightings
from helpers.plots.training import effects, item_map, loss_history
from helpers.plots.tuning import (
    heat_map,
    optimism,
    search_history,
    setting_curves,
    two_metrics,
)

__all__ = [
    "BASELINE",
    "PALETTE",
    "activity",
    "cold_start",
    "detection",
    "effects",
    "epoch_ratios",
    "forest",
    "gains",
    "heat_map",
    "item_map",
    "long_tail",
    "loss_history",
    "optimism",
    "scaling",
    "search_history",
    "setting_curves",
    "show",
    "slices",
    "speed",
    "spy",
    "style",
    "tail",
    "trade_off",
    "two_metrics",
    "waterfall",
    "weightings",
]
