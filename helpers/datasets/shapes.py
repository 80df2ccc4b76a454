"""What a data set is: the log before cleaning, the tidy frames, and where published files live."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.cleaning import Rules
from helpers.io import Source, fetch

LogSource = pd.DataFrame | Path | list[Path]


@dataclass(frozen=True)
class Dataset:
    """A log of interactions and what is known about its items.

    Parameters
    ----------
    name : str
        The data set's name; for an own log, its :func:`helpers.datasets.slug`.
    interactions : DataFrame
        ``user_id`` and ``item_id`` (str), ``value`` (float64, at least 0), ``timestamp``
        (datetime64[ns, UTC]) and, where the source has it, ``event`` (str); in order of time.
    items : DataFrame
        One row per item: ``item_id``, ``title`` (str) and, where known, ``genres``
        (``"Action|Comedy"``).
    description : str
        One or two sentences for the reader.
    source : str
        Where the data come from. It does not depend on which mirror served; that stands in
        ``source.json`` beside the raw files.
    sha256 : str
        Of the raw log, or of the user's own file; of several files, see
        :func:`helpers.datasets.cleaned.digest`.
    n_out_of_order : int
        Rows that stood behind a later one in the file, before they were sorted (0 where the log
        was cleaned, which sorts it).
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
    n_out_of_order: int
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


def in_time_order(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Sort by ``timestamp``, ties as they stand; say how many rows stood behind a later one.

    Examples
    --------
    >>> frame, moved = in_time_order(pd.DataFrame({"timestamp": [3, 1, 2], "row": [0, 1, 2]}))
    >>> frame["row"].tolist(), moved
    ([1, 2, 0], 2)
    """
    moved = int((frame["timestamp"] < frame["timestamp"].cummax()).sum())
    return frame.sort_values("timestamp", kind="stable", ignore_index=True), moved
