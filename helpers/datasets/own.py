"""The user's own logs, given by path: one file, a folder, or a pattern."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from helpers import cleaning
from helpers.cleaning import Rules, reading
from helpers.datasets import cleaned
from helpers.datasets.shapes import Dataset, RawLog, check_usable, in_time_order, titles
from helpers.io import DatasetError


def is_pattern(path: Path) -> bool:
    """Whether a path stands for several files by ``*``, ``?`` or ``[``."""
    return re.search(r"[*?\[]", str(path)) is not None and not path.exists()


def read_file(path: Path, columns: Mapping[str, str], name: str) -> Dataset:
    """Read one own file as it is; only what cannot be a row is left out."""
    frame, found, notes = cleaning.read_log(path, columns)
    check_usable(frame)
    items = titles(frame)
    log, in_order = in_time_order(frame.drop(columns="title", errors="ignore"))
    roles = ", ".join(f"{role}={column}" for role, column in found.items())
    description = f"{path.name}: {len(log):,} interactions (columns {roles})."
    digest = cleaned.digest([path])
    return Dataset(name, log, items, description, path.name, digest, notes + in_order)


def with_items(data: Dataset, path: Path) -> Dataset:
    """Take titles and genres from a file of items; those that the log lacks are listed, too."""
    listed = cleaning.read_items(path)
    known = data.items["item_id"].isin(listed["item_id"])
    if not known.any():
        raise DatasetError(
            f"items is {path}, of which no id is in the log: it has {_few(listed)}, the log has "
            f"{_few(data.items)}"
        )
    items = pd.concat([listed, data.items[~known]], ignore_index=True)
    if "genres" in items:
        items["genres"] = items["genres"].fillna("")
    notes = [
        *data.notes,
        f"Titles of {known.sum():,} of {len(known):,} items are from {path.name}.",
    ]
    return replace(data, items=items, notes=notes)


def _few(items: pd.DataFrame) -> str:
    return ", ".join(map(repr, items["item_id"].head(3)))


def raw(path: Path, columns: Mapping[str, str], name: str) -> RawLog:
    """The raw log of one's own file, folder or pattern."""
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
