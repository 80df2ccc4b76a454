"""A simulated store: monthly exports that are made on this machine."""

import os
import shutil
from pathlib import Path
from typing import Any

from helpers import io, simulation
from helpers.cleaning import Rules, reading
from helpers.datasets import cleaned
from helpers.datasets.shapes import Dataset, Known, RawLog

NAME = "store-simulated"
DESCRIPTION = (
    "SIMULATED store: monthly exports of a made-up web store with shoppers, crawlers, staff and "
    "dirt. Nothing in it is real. Cleaned."
)
VERSION = 2  # raised whenever the simulation makes another store of the same seed
ARGUMENTS: dict[str, Any] = {"seed": 0}


def exports(data_dir: Path) -> Path:
    """The folder of the exports, made when it is not there or of another version.

    Notes
    -----
    It appears whole or not at all: it is written beside and renamed at the end.
    """
    folder = data_dir / "processed" / NAME / "exports"
    key = {"arguments": ARGUMENTS, "version": VERSION, "libraries": cleaned.LIBRARIES}
    if _manifest(folder) == key:
        return folder
    store = simulation.simulate_store(**ARGUMENTS)
    beside = folder.with_name(f".exports.{os.getpid()}.tmp")
    try:
        store.write(beside)
        io.write_json(beside / "made" / "manifest.json", key)
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
        origin=f"simulated by helpers.simulation, version {VERSION}, seed {ARGUMENTS['seed']}",
        licence="MIT, as the code that makes it",
        sha256=cleaned.digest(reading.find(folder)),
    )


def load(data_dir: Path) -> Dataset:
    """The simulated log, cleaned."""
    return cleaned.load(raw(data_dir), data_dir)


def _manifest(folder: Path) -> Any:
    try:
        return io.read_json(folder / "made" / "manifest.json")
    except (OSError, ValueError):
        return None


KNOWN = {NAME: Known(DESCRIPTION, raw, load)}
