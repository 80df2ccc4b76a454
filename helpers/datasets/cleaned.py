"""Raw logs through :mod:`helpers.cleaning`, and what came out of it kept for the next time."""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException

from helpers import cleaning, io
from helpers.datasets.shapes import Dataset, RawLog, check_usable, in_time_order, titles

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
    check_usable(frame)
    log, notes = in_time_order(frame[[name for name in COLUMNS if name in frame]])
    removed = ", ".join(
        f"{step['step']} {step['removed']:,}" for step in report["waterfall"] if step["removed"]
    )
    if removed:
        notes.insert(0, f"Of {report['rows']:,} rows, the cleaning removed: {removed}.")
    notes += [each["message"] for each in report["findings"] if each["level"] != "note"]
    digest, described = raw.sha256, raw.description
    return Dataset(raw.name, log, titles(frame), described, raw.origin, digest, notes, report)


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
