"""A small log with two tastes, three kinds of items and a newcomer, and a model of it."""

import numpy as np
import pandas as pd

from helpers import production
from helpers.datasets import Dataset
from helpers.production import Production


def small_log(n_users: int = 60, n_items: int = 40, seed: int = 0) -> Dataset:
    """Users like the items of one half more; item ``i00`` is everybody's."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        weights = np.where(np.arange(n_items) % 2 == user % 2, 4.0, 1.0)
        liked = rng.choice(n_items, 8, replace=False, p=weights / weights.sum())
        rows += [(f"u{user:02}", f"i{item:02}") for item in {0, *liked.tolist()}]
    log = pd.DataFrame(rows, columns=["user_id", "item_id"]).astype("str").assign(value=1.0)
    log["timestamp"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(log.index, unit="h")
    items = pd.DataFrame({"item_id": sorted(log["item_id"].unique())})
    items["title"] = "Title " + items["item_id"]
    items["genres"] = [("Even|All", "Odd|All")[int(item[1:]) % 2] for item in items["item_id"]]
    return Dataset("small", log, items, "A small log.", "made here", "0" * 64, [])


def made(data: Dataset | None = None, **settings: object) -> Production:
    """The model that is served for this log, with the starting settings."""
    return production.fit(data or small_log(), **settings)
