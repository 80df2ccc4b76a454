"""Raw logs through :mod:`helpers.cleaning`, and what came out of it kept for the next time."""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException

from helpers import cleaning, io, logs
from helpers.datasets.shapes import Dataset, RawLog
from helpers.io import DatasetError

COLUMNS = ["user_id", "item_id", "value", "timestamp", "event"]
"""Of the interactions of a data set; the events frame of cleaning has more."""

VERSION = 1
"""Of the cleaning: raised whenever it gives another frame or report of the same log."""

LIBRARIES = {name: version(name) for name in ("duckdb", "pandas", "pyarrow")}
"""What a cleaned log may depend on beside it."""

_UNREADABLE = (OSError, ValueError, KeyError, ArrowException)


def load(raw: RawLog, data_dir: Path) -> Dataset:
    """Clean a raw log, or take what an earlier run has made of the same one.

    Parameters
    ----------
    raw : RawLog
    data_dir : Path
        Its folder ``processed/<name>/`` keeps the cleaned log, as ``cleaned.parquet``.

    Returns
    -------
    Dataset
        With the report of the cleaning.

    Raises
    ------
    DatasetError
        If the log cannot be read, or nothing of it is left.
    """
    frame, report = events(raw, data_dir)
    if "timestamp" not in frame:
        raise DatasetError(
            f"no column of {raw.origin} looks like the timestamp; say which one it is with "
            'COLUMNS="timestamp=..."'
        )
    log = frame[COLUMNS]
    logs.check_users(log["user_id"])
    return Dataset(raw.name, log, titles(frame), raw.description, raw.origin, raw.sha256, 0, report)


def events(raw: RawLog, data_dir: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The events frame of a raw log, with all that it knows, and the report.

    Notes
    -----
    What is kept is used only if the content of the log, the columns, the rules, :data:`VERSION`
    and the versions of the libraries are the same; else the log is cleaned again.
    """
    path = data_dir / "processed" / raw.name / "cleaned.parquet"
    key = _key(raw)
    try:
        frame = io.read_frame(path)
        kept = frame.attrs.pop("manifest")
        if kept["key"] == key:
            return frame, kept["report"]
    except _UNREADABLE:
        pass  # not there yet, or damaged: it is derived again
    cleaned = cleaning.clean(raw.source, columns=raw.columns, rules=raw.rules)
    report = cleaned.report.to_json()
    frame = cleaned.frame
    io.write_frame(path, frame, {"key": key, "report": report})
    return frame, report


def titles(frame: pd.DataFrame) -> pd.DataFrame:
    """The items of an events frame, each with its most frequent title.

    Parameters
    ----------
    frame : DataFrame
        With ``item_id`` and, where titles are known, ``title``.

    Returns
    -------
    DataFrame
        ``item_id`` and ``title``, sorted by item; of two titles as frequent the first in the
        alphabet. An item without any has its id as title.

    Examples
    --------
    >>> log = pd.DataFrame({"item_id": ["b", "a", "a", "a"], "title": [None, "Tee", "Tea", "Tea"]})
    >>> titles(log).to_dict("list")
    {'item_id': ['a', 'b'], 'title': ['Tea', 'b']}
    """
    items = pd.DataFrame({"item_id": frame["item_id"].drop_duplicates().sort_values()})
    items = items.reset_index(drop=True)
    items["title"] = items["item_id"]
    if "title" in frame:
        named = frame.loc[frame["title"].notna() & (frame["title"] != ""), ["item_id", "title"]]
        counts = named.value_counts().reset_index(name="n")
        counts = counts.sort_values(["item_id", "n", "title"], ascending=[True, False, True])
        best = counts.drop_duplicates("item_id").set_index("item_id")["title"]
        items["title"] = items["item_id"].map(best).fillna(items["item_id"])
    return items


def digest(paths: Iterable[Path]) -> str:
    """Identify the content of files: the SHA-256 of one; of several, of their ``sha256sum`` list.

    Parameters
    ----------
    paths : iterable of Path
        Their names count, their folder and their order do not.
    """
    listed = sorted((path.name, io.sha256(path)) for path in paths)
    if len(listed) == 1:
        return listed[0][1]
    text = "".join(f"{each}  {name}\n" for name, each in listed)
    return hashlib.sha256(text.encode()).hexdigest()


def _key(raw: RawLog) -> dict[str, Any]:
    return {
        "sha256": raw.sha256,
        "columns": dict(raw.columns),
        "rules": repr(raw.rules),
        "version": VERSION,
        "libraries": LIBRARIES,
    }
