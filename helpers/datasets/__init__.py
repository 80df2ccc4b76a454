"""Data sets by name or path, as the tidy frames that everything else works on."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from helpers.cleaning.columns import LOG_ROLES, ROLES, check_roles, parse_columns
from helpers.cleaning.reading import suffix
from helpers.datasets import by_hand, cleaned, movielens, online_retail, own, simulated
from helpers.datasets.shapes import Dataset, Known, RawLog
from helpers.io import DatasetError

__all__ = [
    "DEFAULT",
    "RESERVED",
    "Dataset",
    "RawLog",
    "describe",
    "load",
    "names",
    "raw_log",
    "slug",
]

DEFAULT = "movielens-100k"
RESERVED = frozenset({"results", "figures"})
"""Folders of ``reports/`` that no data set may be called after."""

_KNOWN: Mapping[str, Known] = {
    **movielens.KNOWN,
    **online_retail.KNOWN,
    **simulated.KNOWN,
    **by_hand.KNOWN,
}


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
    All is read in one way (ids, numbers, times). Of MovieLens and of one's own file only what
    cannot be a row is left out. The logs of stores, folders and patterns are cleaned; what that
    removed stands in ``Dataset.cleaning``. To clean one file, give it to :func:`raw_log`.

    Rows are sorted by ``timestamp``; rows of the same time keep the order of the file (a stable
    sort), or stand in the order of cleaning. "Earlier" and "last" mean this order everywhere, so
    splits by time are deterministic. The order within a second is not knowledge of what came
    first: in MovieLens 100K most ratings share their second with another one of the same user.
    """
    if name_or_path in _KNOWN:
        _refuse_for_known(name_or_path, columns=columns, items=items)
        return _KNOWN[str(name_or_path)].load(Path(data_dir))
    path = _path(name_or_path)
    several = path.is_dir() or own.is_pattern(path)
    for file in [*([] if several else [path]), *([Path(items)] if items else [])]:
        if not file.is_file():
            raise DatasetError(f"{file} does not exist or is no file; check the path")
    if several:
        data = cleaned.load(raw_log(path, columns=columns), Path(data_dir))
    else:
        data = own.read_file(path, _mapping(columns, LOG_ROLES), slug(path))
    return own.with_items(data, Path(items)) if items else data


def raw_log(
    name_or_path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | str | None = None,
    data_dir: str | os.PathLike[str] = "data",
) -> RawLog:
    """Find a log as it is before cleaning.

    Parameters
    ----------
    name_or_path, columns, data_dir
        As for :func:`load`.

    Returns
    -------
    RawLog
        Whose ``source``, ``columns`` and ``rules`` are what :func:`helpers.cleaning.clean` takes.

    Raises
    ------
    DatasetError
        If the name is unknown, there is no such file, or the data set cannot be had.
    """
    if name_or_path in _KNOWN:
        _refuse_for_known(name_or_path, columns=columns)
        return _KNOWN[str(name_or_path)].raw(Path(data_dir))
    path = _path(name_or_path)
    return own.raw(path, _mapping(columns, ROLES), slug(path))


def names() -> list[str]:
    """List the data sets that are known by name, the default first, those to download last."""
    return list(_KNOWN)


def describe(name: str) -> str:
    """Two or three sentences about a named data set.

    Raises
    ------
    DatasetError
        If there is no data set of that name.
    """
    if name not in _KNOWN:
        raise _unknown(name)
    return _KNOWN[name].description


def slug(name_or_path: str | os.PathLike[str]) -> str:
    """Name a data set's folder under ``data/processed/`` and ``reports/``.

    Parameters
    ----------
    name_or_path : str or path
        As for :func:`load`; the file need not exist.

    Returns
    -------
    str
        The name itself; for a file, its name without the suffix, in lower case, with ``-`` for
        all but letters, digits and ``._-``; for a pattern, with its folder before. Files of the
        same name share a folder.

    Raises
    ------
    DatasetError
        If it is neither a known name nor a path.

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
    if own.is_pattern(path):
        stem = f"{path.parent.name.lower()}-{stem}"
    folder = re.sub(r"[^\w.-]+", "-", stem).strip("-._") or "log"
    return f"{folder}-log" if folder in RESERVED or folder in _KNOWN else folder


def _path(name_or_path: str | os.PathLike[str]) -> Path:
    text = os.fspath(name_or_path)
    looks_like_one = "/" in text or os.sep in text or suffix(text) != ""
    if looks_like_one or not isinstance(name_or_path, str) or Path(text).exists():
        return Path(name_or_path)
    raise _unknown(name_or_path)


def _mapping(
    columns: Mapping[str, str] | str | None, roles: Mapping[str, str]
) -> Mapping[str, str]:
    if isinstance(columns, str):
        return parse_columns(columns, roles)
    check_roles(columns or {}, roles)
    return columns or {}


def _refuse_for_known(name: object, **given: object) -> None:
    for argument, value in given.items():
        if value:
            raise DatasetError(
                f"{argument}={value!r} was given for {name}, whose {argument} are known; "
                "leave it out (it is for your own files)"
            )


def _unknown(name: object) -> DatasetError:
    near = difflib.get_close_matches(str(name).lower(), _KNOWN, n=1)
    return DatasetError(
        f"there is no data set {str(name)!r}"
        + (f"; did you mean {near[0]!r}?" if near else "")
        + f" Known names: {', '.join(_KNOWN)}; or give the path of a file (text or Parquet), a "
        "folder or a pattern"
    )
