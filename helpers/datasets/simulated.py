"""A simulated store around the real purchases of Online Retail; what it plants is known."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import io, simulation
from helpers.cleaning import Rules, reading
from helpers.datasets import cleaned, online_retail
from helpers.datasets.shapes import Dataset, Known, RawLog

NAME = "store-simulated"
SEED = 0

DESCRIPTION = (
    "SIMULATED store: monthly exports of a web store, made up around real purchases of UCI Online "
    "Retail. The purchases are real; the views, carts, visitors, crawlers, staff and the dirt are "
    "not. Cleaned."
)

VERSION = 1
"""Of the simulation: raised whenever it makes another store of the same seed."""


@dataclass(frozen=True)
class SimulatedTruth:
    """What was planted in the simulated store.

    Attributes
    ----------
    users : DataFrame
        One row for each user of the log: index ``user_id``; ``kind``, ``sort`` and ``events``.
    planted : DataFrame
        One row for everything that was planted: ``kind``, ``sort``, ``user_id``, ``file``, ``row``.

    Notes
    -----
    As in :class:`helpers.simulation.SimulatedStore`.
    """

    users: pd.DataFrame
    planted: pd.DataFrame


def truth(data_dir: str | os.PathLike[str] = "data") -> SimulatedTruth:
    """What was planted in the data set ``store-simulated``.

    Parameters
    ----------
    data_dir : path
        As for :func:`helpers.datasets.load`; the store is made when it is not there.
    """
    folder = exports(Path(data_dir)) / "truth"
    users = pd.read_parquet(folder / "users.parquet").set_index("user_id")
    return SimulatedTruth(users, pd.read_parquet(folder / "planted.parquet"))


def exports(data_dir: Path) -> Path:
    """The folder of the exports, made when it is not there or of another version.

    Notes
    -----
    It appears whole or not at all: it is written beside and renamed at the end.
    """
    folder = data_dir / "processed" / NAME / "exports"
    key = _key()
    if _manifest(folder) == key:
        return folder
    purchases, _ = cleaned.events(online_retail.raw(data_dir), data_dir)
    store = simulation.simulate_store(purchases, seed=SEED)
    beside = folder.with_name(f".exports.{os.getpid()}.tmp")
    try:
        store.write(beside)
        io.write_json(beside / "truth" / "manifest.json", key)
        if _manifest(folder) != key:  # else another run has been faster
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def raw(data_dir: Path) -> RawLog:
    """The folder of exports as a log; nothing in it says who is a crawler or of the staff."""
    folder = exports(data_dir)
    return RawLog(
        name=NAME,
        source=folder,
        columns={},
        rules=Rules(),
        description=DESCRIPTION,
        origin="simulated, around https://archive.ics.uci.edu/dataset/352/online+retail",
        licence="CC BY 4.0 (the purchases of Online Retail)",
        sha256=cleaned.digest(reading.find(folder)),
    )


def load(data_dir: Path) -> Dataset:
    """The simulated log, cleaned."""
    return cleaned.load(raw(data_dir), data_dir)


def _key() -> dict[str, Any]:
    return {
        "data": online_retail.PUBLISHED.expected[online_retail.FILE],
        "rules": repr(online_retail.RULES),
        "seed": SEED,
        "version": VERSION,
        "cleaning": cleaned.VERSION,
        "libraries": cleaned.LIBRARIES,
    }


def _manifest(folder: Path) -> Any:
    try:
        return io.read_json(folder / "truth" / "manifest.json")
    except (OSError, ValueError):
        return None


KNOWN = {NAME: Known(DESCRIPTION, raw, load)}
