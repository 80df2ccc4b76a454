"""Data sets by name or path, as the tidy frames that everything else works on."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from helpers import cleaning
from helpers.cleaning.columns import ROLES, parse_columns
from helpers.cleaning.reading import suffix
from helpers.datasets import cleaned, million_song, movielens, online_retail, own, simulated
from helpers.datasets.shapes import Dataset, RawLog
from helpers.io import DatasetError

__all__ = ["DEFAULT", "Dataset", "RawLog", "describe", "load", "names", "raw_log", "slug"]

DEFAULT = "movielens-100k"

_RESERVED = ("results", "figures")  # folders of reports/ that no data set may be called after

_PUBLISHED = (movielens.ML_100K, movielens.ML_1M, online_retail.PUBLISHED)
_KNOWN = {each.name: (each.description, each.raw) for each in _PUBLISHED}
_KNOWN |= {each.NAME: (each.DESCRIPTION, each.raw) for each in (simulated, million_song)}


def load(
    name_or_path: str | os.PathLike[str] = DEFAULT,
    *,
    columns: Mapping[str, str] | str | None = None,
    items: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] = "data",
) -> Dataset:
    """Load a data set by name, or a log of the user's own by path.

    Parameters
    ----------
    name_or_path : str or path
        One of :func:`names`; a text or Parquet file, recognised by its content; or a folder or
        pattern (``exports/*.csv``) of such files.
    columns : mapping or str, optional
        For a path: which column plays which role, ``{"user": "visitor"}`` or ``"user=visitor"``.
        What is not given is guessed from the usual names.
    items : path, optional
        For a path: a file with the items' ids, titles and, optionally, genres.
    data_dir : path
        The folder that holds ``raw/``; a named data set is fetched into it when it is not there.

    Returns
    -------
    Dataset
        Its ``notes`` say what was assumed, changed or left out.

    Raises
    ------
    DatasetError
        If the name is unknown, a file or a column of it is wrong, no source serves the data
        set, or the stored files are not what they were.

    Notes
    -----
    Of MovieLens and of one's own file only what cannot be a row is left out. The logs of stores,
    folders and patterns are cleaned; what that removed stands in ``Dataset.cleaning``.

    Rows are sorted by ``timestamp``; rows of the same time keep the order of the file (a stable
    sort), or stand in the order of cleaning. "Earlier" and "last" mean this order everywhere, so
    splits by time are deterministic. The order within a second is not knowledge of what came
    first: in MovieLens 100K most ratings share their second with another one of the same user.
    """
    if items and name_or_path in _KNOWN:
        raise _known_already("items", items, name_or_path)
    if items and not Path(items).is_file():
        raise DatasetError(f"{items} does not exist or is no file; check the path")
    raw = raw_log(name_or_path, columns=columns, data_dir=data_dir)
    data = cleaned.load(raw, Path(data_dir)) if raw.dirty else own.load(raw)
    if raw.items:
        return replace(data, items=cleaning.read_items(raw.items))
    return own.with_items(data, Path(items)) if items else data


def raw_log(
    name_or_path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | str | None = None,
    data_dir: str | os.PathLike[str] = "data",
) -> RawLog:
    """Find a log as it is before cleaning; the arguments and errors are those of :func:`load`.

    The ``source``, ``columns`` and ``rules`` of the result are what :func:`helpers.cleaning.clean`
    takes.
    """
    if name_or_path in _KNOWN:
        if columns:
            raise _known_already("columns", columns, name_or_path)
        _, raw = _KNOWN[str(name_or_path)]
        return raw(Path(data_dir))
    path = _path(name_or_path)
    columns = parse_columns(columns, ROLES) if isinstance(columns, str) else columns
    return own.raw(path, columns or {}, slug(path))


def names() -> list[str]:
    """List the data sets that are known by name, the default first."""
    return list(_KNOWN)


def describe(name: str) -> str:
    """Two or three sentences about a named data set; DatasetError for an unknown name."""
    if name not in _KNOWN:
        raise _unknown(name)
    return _KNOWN[name][0]


def slug(name_or_path: str | os.PathLike[str]) -> str:
    """Name a data set's folder under ``data/processed/`` and ``reports/``.

    A name is its own; of a path, which need not exist, it is the last part without the suffix, in
    lower case, with ``-`` for all but letters, digits and ``._-``; for a pattern, with its folder
    before. Files of the same name share a folder. What is neither is a DatasetError.

    Examples
    --------
    >>> slug("movielens-100k"), slug("logs/My Events.csv.gz"), slug("results.csv")
    ('movielens-100k', 'my-events', 'results-log')
    >>> slug("exports/"), slug("exports/2024-*.csv")
    ('exports', 'exports-2024')
    """
    if name_or_path in _KNOWN:
        return str(name_or_path)
    path = _path(name_or_path)
    name = path.name if path.name not in ("", "..") else path.resolve().name
    stem = name.lower().removesuffix(suffix(name))
    if re.search(r"[*?\[]", str(path)) and not path.exists():
        stem = f"{path.parent.name.lower()}-{stem}"
    folder = re.sub(r"[^\w.-]+", "-", stem).strip("-._") or "log"
    return f"{folder}-log" if folder in _RESERVED or folder in _KNOWN else folder


def _path(name_or_path: str | os.PathLike[str]) -> Path:
    text = os.fspath(name_or_path)
    looks_like_one = "/" in text or os.sep in text or suffix(text) != ""
    if looks_like_one or not isinstance(name_or_path, str) or Path(text).exists():
        return Path(name_or_path)
    raise _unknown(text)


def _known_already(argument: str, value: object, name: object) -> DatasetError:
    return DatasetError(
        f"{argument}={value!r} was given for {name}, whose {argument} are known; "
        "leave it out (it is for your own files)"
    )


def _unknown(name: str) -> DatasetError:
    near = difflib.get_close_matches(name.lower(), _KNOWN, n=1)
    return DatasetError(
        f"there is no data set {name!r}"
        + (f"; did you mean {near[0]!r}?" if near else "")
        + f" Known names: {', '.join(_KNOWN)}; or give the path of a file (text or Parquet), a "
        "folder or a pattern"
    )
