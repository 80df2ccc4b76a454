"""The user's own logs, given by path: one file, a folder, or a pattern."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from helpers.cleaning import read_items, read_log, reading
from helpers.datasets.cleaned import digest
from helpers.datasets.shapes import Dataset, RawLog, check_usable, in_time_order, titles
from helpers.io import DatasetError


def raw(path: Path, columns: Mapping[str, str], name: str) -> RawLog:
    """The raw log of one's own file, which is taken as it is, or of several, which are cleaned."""
    paths, shown = reading.find(path), path.name or str(path)
    try:
        sha256 = digest(paths)
    except OSError as error:
        raise reading.damaged_file(path, error) from error
    return RawLog(
        name=name,
        source=path if path.exists() else paths,
        columns=columns,
        description="" if path.is_file() else f"{shown}: a log in {len(paths):,} file(s).",
        origin=shown,
        sha256=sha256,
        dirty=not path.is_file(),
    )


def load(raw: RawLog) -> Dataset:
    """Read one file as it is; only what cannot be a row is left out."""
    [path] = reading.find(raw.source)
    frame, found, notes = read_log(path, raw.columns)
    check_usable(frame)
    log, in_order = in_time_order(frame.drop(columns="title", errors="ignore"))
    roles = ", ".join(f"{role}={column}" for role, column in found.items())
    described = f"{raw.origin}: {len(log):,} interactions (columns {roles})."
    about = raw.description or described
    return Dataset(raw.name, log, titles(frame), about, raw.origin, raw.sha256, notes + in_order)


def with_items(data: Dataset, path: Path) -> Dataset:
    """Take titles and genres from a file of items; those that the log lacks are listed, too."""
    listed = read_items(path)
    known = data.items["item_id"].isin(listed["item_id"])
    if not known.any():
        its, ours = (list(each["item_id"].head(3)) for each in (listed, data.items))
        raise DatasetError(f"items is {path}, of which no id is in the log {ours}: it has {its}")
    items = pd.concat([listed, data.items[~known]], ignore_index=True)
    if "genres" in items:
        items["genres"] = items["genres"].fillna("")
    note = f"Titles of {known.sum():,} of {len(known):,} items are from {path.name}."
    return replace(data, items=items, notes=[*data.notes, note])
