"""What a data set is: the log before cleaning, the tidy frames, and where published files live."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.cleaning import Rules
from helpers.io import DatasetError, Source, fetch

LogSource = pd.DataFrame | Path | list[Path]


@dataclass(frozen=True)
class Dataset:
    """A log of interactions and what is known about its items.

    Parameters
    ----------
    name : str
        The data set's name; for an own log, its :func:`helpers.datasets.slug`.
    interactions : DataFrame
        ``user_id`` and ``item_id`` (str), ``value`` (float64, at least 0) and, where the source
        has them, ``timestamp`` (datetime64[ns, UTC]) and ``event`` (str); in order of time.
    items : DataFrame
        One row per item: ``item_id``, ``title`` (str) and, where known, ``genres``
        (``"Action|Comedy"``).
    description : str
        One or two sentences for the reader.
    source : str
        Where the data come from, whichever mirror served.
    sha256 : str
        Of the raw log, or of the user's own file; of several files, see
        :func:`helpers.datasets.cleaned.digest`.
    notes : list of str
        Sentences on what was assumed, changed or left out when the log was read.
    cleaning : dict, optional
        The report of the cleaning, where the log was cleaned: what
        :meth:`helpers.cleaning.CleaningReport.to_json` holds.
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    description: str
    source: str
    sha256: str
    notes: list[str]
    cleaning: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RawLog:
    """A log before cleaning, and how :func:`helpers.cleaning.clean` should take it.

    Parameters
    ----------
    name : str
        As in :class:`Dataset`.
    source : DataFrame, Path or list of Path
        A frame with the tidy columns, a file, a folder, or files.
    columns : dict of role to column name
        Empty where the usual names say which is which.
    rules : Rules
        With what is known of this log, such as the codes of its service items.
    description, origin, licence : str
        For the reader: what it is, where it comes from, under which terms.
    sha256 : str
        Identifies the content, as in :class:`Dataset`.
    """

    name: str
    source: LogSource
    columns: Mapping[str, str]
    rules: Rules
    description: str
    origin: str
    licence: str
    sha256: str


@dataclass(frozen=True)
class Known:
    """A data set known by name: what is told about it, and how it is had from a data folder."""

    description: str
    raw: Callable[[Path], RawLog]
    load: Callable[[Path], Dataset]


@dataclass(frozen=True)
class Published:
    """Files that others publish: fetched once into ``raw/<name>``, and verified each time.

    ``expected`` is the SHA-256 of each file; the sources are asked in their order.
    """

    name: str
    expected: Mapping[str, str]
    sources: Sequence[Source]

    def folder(self, data_dir: Path) -> Path:
        """Find the folder with the right files, which are fetched when they are not there."""
        folder = data_dir / "raw" / self.name
        fetch(folder, self.sources, self.expected)
        return folder


def in_time_order(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Sort by ``timestamp``, ties as they stand; times that say nothing are dropped.

    Examples
    --------
    >>> times = pd.to_datetime(["2024-05-03", "2024-05-01", "2024-05-02"], utc=True)
    >>> frame, notes = in_time_order(pd.DataFrame({"timestamp": times, "row": [0, 1, 2]}))
    >>> frame["row"].tolist(), notes[0][:34]
    ([1, 2, 0], 'The file is not sorted by time; he')
    """
    if "timestamp" not in frame:
        return frame, ["The log has no times."]
    times = frame["timestamp"]
    if times.min() == times.max():
        return frame.drop(columns="timestamp"), ["All times are equal, so they are ignored."]
    if times.is_monotonic_increasing:
        return frame, []
    note = (
        "The file is not sorted by time; here its rows are, those of the same time as they stood."
    )
    return frame.sort_values("timestamp", kind="stable", ignore_index=True), [note]


def titles(frame: pd.DataFrame) -> pd.DataFrame:
    """The items of a log, each with its most frequent title.

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


def check_usable(log: pd.DataFrame) -> None:
    """Refuse a log of one user, or of nothing but zeros: there is nothing to learn from."""
    if (n_users := log["user_id"].nunique()) < 2:
        raise DatasetError(
            f"the log has {n_users} user(s) in {len(log):,} rows, expected at "
            "least 2: collaborative filtering learns from what several users share; is the right "
            "column given as user (COLUMNS=user=...)?"
        )
    if not (log["value"] > 0).any():
        raise DatasetError(
            f"the log has the value 0 in all of its {len(log):,} rows, expected some above 0: 0 "
            "means that nothing happened; is the right column given as value (COLUMNS=value=...)? "
            "In a log without such a column, each row counts 1"
        )
