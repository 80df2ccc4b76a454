"""A simulated store: monthly exports that are made on this machine."""

import shutil
from pathlib import Path
from typing import Any

from helpers import io, simulation
from helpers.cleaning import reading
from helpers.datasets.cleaned import LIBRARIES, digest
from helpers.datasets.shapes import RawLog

NAME = "store-simulated"
DESCRIPTION = (
    "SIMULATED store: monthly exports of a made-up web store with shoppers, crawlers, staff and "
    "dirt. Nothing in it is real. Cleaned."
)
VERSION = 2  # raised whenever the simulation makes another store of the same seed
ARGUMENTS: dict[str, Any] = {"seed": 0}


def exports(data_dir: Path) -> Path:
    """The folder of the exports, made (whole or not at all) where it is not there or outdated."""
    folder, manifest = data_dir / "processed" / NAME / "exports", Path("made", "manifest.json")
    key = {"arguments": ARGUMENTS, "version": VERSION, "libraries": LIBRARIES}
    try:
        if io.read_json(folder / manifest) == key:
            return folder
    except (OSError, ValueError):
        pass  # not there, or damaged
    with io.replaced_folder(folder) as draft:
        shutil.rmtree(draft)  # what is outdated does not stay
        simulation.simulate_store(**ARGUMENTS).write(draft)
        io.write_json(draft / manifest, key)
    return folder


def raw(data_dir: Path) -> RawLog:
    """The folder of exports as a log; nothing in it says who is a crawler or of the staff."""
    folder = exports(data_dir)
    return RawLog(
        name=NAME,
        source=folder,
        description=DESCRIPTION,
        origin=f"simulated by helpers.simulation, version {VERSION}, seed {ARGUMENTS['seed']}",
        sha256=digest(reading.find(folder)),
    )
