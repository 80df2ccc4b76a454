"""The user's own logs, given by path: one file, a folder, or a pattern."""

import re
from collections.abc import Mapping
from pathlib import Path

from helpers import io, logs
from helpers.cleaning import Rules, reading
from helpers.datasets import cleaned
from helpers.datasets.shapes import Dataset, RawLog, in_time_order


def is_pattern(path: Path) -> bool:
    """Whether a path stands for several files by ``*``, ``?`` or ``[``."""
    return re.search(r"[*?\[]", str(path)) is not None and not path.exists()


def read_file(path: Path, columns: Mapping[str, str], name: str) -> Dataset:
    """Read one own file strictly: any row that is not right is an error."""
    frame = logs.read_log(path, {role: columns[role] for role in columns if role in logs.ROLES})
    roles = ", ".join(f"{role}={column}" for role, column in frame.attrs["columns"].items())
    frame.attrs = {}
    items = frame.drop_duplicates("item_id")[["item_id"]].reset_index(drop=True)
    items["title"] = items["item_id"]
    if "title" in frame:
        titled = frame.loc[frame["title"] != "", ["item_id", "title"]].drop_duplicates("item_id")
        known = items["item_id"].map(titled.set_index("item_id")["title"])
        items["title"] = known.fillna(items["item_id"])
        frame = frame.drop(columns="title")
    description = f"{path.name}: {len(frame):,} interactions (columns {roles})."
    log, moved = in_time_order(frame)
    return Dataset(name, log, items, description, path.name, io.sha256(path), moved)


def raw(path: Path, columns: Mapping[str, str], name: str) -> RawLog:
    """The raw log of one's own file, folder or pattern.

    Raises
    ------
    DatasetError
        If there is nothing that can be read.
    """
    paths = reading.find(path)
    shown = path.name or str(path)
    return RawLog(
        name=name,
        source=path if path.exists() else paths,
        columns=columns,
        rules=Rules(),
        description=f"{shown}: a log in {len(paths):,} file(s).",
        origin=shown,
        licence="the user's own",
        sha256=cleaned.digest(paths),
    )
