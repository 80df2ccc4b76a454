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

VERSION = 1  # of the cleaning: raised whenever it gives another frame or report of the same log

LIBRARIES = {name: version(name) for name in ("duckdb", "pandas", "pyarrow")}
"""What a cleaned log may depend on beside it."""


def load(raw: RawLog, data_dir: Path) -> Dataset:
    """Clean a raw log, or take what an earlier run has made of the same one.

    What is kept in ``processed/<name>/cleaned.parquet`` is used only if the content of the log,
    the columns, the rules, :data:`VERSION` and the libraries are the same.
    """
    path = data_dir / "processed" / raw.name / "cleaned.parquet"
    key = {
        "sha256": raw.sha256,
        "columns": dict(raw.columns),
        "rules": repr(raw.rules),
        "version": VERSION,
        "libraries": LIBRARIES,
    }
    try:
        frame = io.read_frame(path, {"key": key})
        report = frame.attrs.pop("manifest")["report"]
    except (OSError, ValueError, ArrowException):  # not there, damaged or of another log
        made = cleaning.clean(raw.source, columns=raw.columns, rules=raw.rules)
        frame, report = made.frame, made.report.to_json()
        io.write_frame(path, frame, {"key": key, "report": report})
    return to_dataset(raw, frame, report)


def to_dataset(raw: RawLog, frame: pd.DataFrame, report: dict[str, Any]) -> Dataset:
    """What the cleaning made of a log as a data set, with its report."""
    check_usable(frame)
    log, notes = in_time_order(frame[[column for column in COLUMNS if column in frame]])
    removed = ", ".join(
        f"{step['step']} {step['removed']:,}" for step in report["waterfall"] if step["removed"]
    )
    if removed:
        notes.insert(0, f"Of {report['rows']:,} rows, the cleaning removed: {removed}.")
    notes += [each["message"] for each in report["findings"] if each["level"] != "note"]
    about = (raw.description, raw.origin, raw.sha256)
    return Dataset(raw.name, log, titles(frame), *about, notes, report)


def digest(paths: Iterable[Path]) -> str:
    """The SHA-256 of one file; of several, of their ``sha256sum`` list (without folders)."""
    listed = sorted((path.name, io.sha256(path)) for path in paths)
    if len(listed) == 1:
        return listed[0][1]
    text = "".join(f"{each}  {name}\n" for name, each in listed)
    return hashlib.sha256(text.encode()).hexdigest()
