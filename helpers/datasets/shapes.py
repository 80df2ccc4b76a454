"""What a data set is: the log before cleaning, the tidy frames, and where published files live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.cleaning import Rules
from helpers.io import DatasetError, Source, fetch


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
    description, source : str
        What it is, and where the data come from, whichever mirror served.
    sha256 : str
        :func:`helpers.datasets.cleaned.digest` of the log's files.
    notes : list of str
        Sentences on what was assumed, changed or left out when the log was read.
    cleaning : dict, optional
        Where the log was cleaned: what :meth:`helpers.cleaning.CleaningReport.to_json` holds.
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    description: str
    source: str
    sha256: str
    notes: list[str]
    cleaning: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RawLog:
    """A log before cleaning, and how :func:`helpers.cleaning.clean` should take it.

    Parameters
    ----------
    name, sha256 : str
        As in :class:`Dataset`.
    description, origin : str
        What it is (empty for one own file, which is described when read), and where it is from.
    source : Path or list of Path
        A file, a folder, or files.
    columns : dict of role to column name
        Empty where the usual names say which is which.
    rules : Rules
        With what is known of this log, such as the codes of its service items.
    items : Path, optional
        The published file of its items.
    dirty : bool
        Whether loading it means cleaning it.
    """

    name: str
    description: str
    origin: str
    source: Path | list[Path] = field(default_factory=list)
    sha256: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    items: Path | None = None
    dirty: bool = True


@dataclass(frozen=True, kw_only=True)
class Published(RawLog):
    """A log that others publish, fetched once into ``raw/<name>`` and verified each time.

    ``expected`` is the SHA-256 of its file and, where there is one, of the file of its items; the
    sources are asked in their order.
    """

    expected: Mapping[str, str]
    sources: Sequence[Source]

    def raw(self, data_dir: Path) -> RawLog:
        """The log with its files, which are fetched when they are not there."""
        folder = data_dir / "raw" / self.name
        fetch(folder, self.sources, self.expected)
        file, *items = (folder / name for name in self.expected)
        sha256 = self.expected[file.name]
        return replace(self, source=file, sha256=sha256, items=items[0] if items else None)


def in_time_order(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Sort by ``timestamp``, ties as they stand; times that say nothing are dropped.

    Examples
    --------
    >>> times = pd.to_datetime(["2024-05-03", "2024-05-01", "2024-05-02"], utc=True)
    >>> frame, notes = in_time_order(pd.DataFrame({"timestamp": times, "row": [0, 1, 2]}))
    >>> frame["row"].tolist(), notes[0][:30]
    ([1, 2, 0], 'The file is not sorted by time')
    """
    if "timestamp" not in frame:
        return frame, ["The log has no times."]
    times = frame["timestamp"]
    if times.min() == times.max():
        return frame.drop(columns="timestamp"), ["All times are equal, so they are ignored."]
    if times.is_monotonic_increasing:
        return frame, []
    note = (
        "The file is not sorted by time; its rows are sorted here, and rows with the same time "
        "keep the order of the file."
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
    ids = frame["item_id"].drop_duplicates().sort_values(ignore_index=True)
    items = pd.DataFrame({"item_id": ids, "title": ids})
    if "title" in frame:
        named = frame.loc[frame["title"].notna() & (frame["title"] != ""), ["item_id", "title"]]
        counts = named.value_counts().reset_index(name="n")
        counts = counts.sort_values(["item_id", "n", "title"], ascending=[True, False, True])
        best = counts.drop_duplicates("item_id").set_index("item_id")["title"]
        items["title"] = ids.map(best).fillna(ids)
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
