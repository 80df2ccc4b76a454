"""Files of any damage, read by what is in them: each line ends as a row or in the quarantine.

DuckDB parses, but its parser alone is not enough: a quote that is opened and never closed makes it
skip up to the rest of the file without a word. So each text file is surveyed first (encoding, line
ends, open quotes), what cannot be a row is set aside, and after the parse the lines are counted
again: rows, refused and blank lines must add up to the lines of the file.
"""

import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from glob import escape as no_glob
from glob import glob
from os.path import commonpath
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from helpers.cleaning.columns import log_columns
from helpers.cleaning.sql import literal
from helpers.cleaning.survey import (
    Line,
    NamesColumns,
    Survey,
    blocks,
    check_names,
    is_gzip,
    open_bytes,
    survey,
)
from helpers.io import DatasetError

SUFFIXES = tuple(
    f".{kind}{packed}"
    for kind in ("csv", "tsv", "txt", "dat", "log", "inter", "parquet")
    for packed in ("", ".gz")
)
"""How the logs in a folder end; a file that is named is recognised by its content."""

_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save its sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save its sheet as CSV",
    b"\x28\xb5\x2f\xfd": "compressed with zstandard; unpack it",
    b"BZh": "compressed with bzip2; unpack it",
    b"\xfd7zXZ": "compressed with xz; unpack it",
    b"{": "JSON; save it as CSV or Parquet",
    b"[{": "JSON; save it as CSV or Parquet",
}
"""What files begin with that are no logs yet."""

Source = str | Path | pd.DataFrame | Sequence[str | Path]


@dataclass
class Part:
    """One file, or one frame, as a relation of text columns.

    Attributes
    ----------
    name : str
        The file's name, for messages and for the quarantine; with its folder where another file
        has the same name.
    relation : str
        What stands after ``FROM`` in SQL; its columns are named by :meth:`sql`.
    columns : list of str
        The names in the file.
    survey : Survey or None
        For text files.
    rejects : str
        The table in which DuckDB notes the lines that it refuses.
    look_ahead : str
        As ``relation``, without noting what is refused.
    refused_rows : int64 ndarray
        Row numbers (from 1) of the lines that are no rows; filled by :func:`refused`.
    """

    name: str
    relation: str
    columns: list[str]
    survey: Survey | None = None
    rejects: str = ""
    look_ahead: str = ""
    refused_rows: np.ndarray = field(default_factory=lambda: np.array([], dtype=np.int64))

    @property
    def assumed(self) -> list[str] | None:
        """The names of its columns by place, where it has no header line."""
        return self.survey.assumed if self.survey else None

    def sql(self, name: str) -> str:
        """A column's name in the relation.

        Its place, not its name: SQL has words such as ``user``, and no difference of case.
        """
        return _place(self.columns.index(name))


def find(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """List the files of a path, a folder, a glob, or a list of these.

    Parameters
    ----------
    source : path, or sequence of paths
        A folder or pattern stands for the files in it with one of :data:`SUFFIXES`; where none
        has one, for all. Hidden files are left out.

    Returns
    -------
    list of Path
        Sorted by name, each once.

    Raises
    ------
    DatasetError
        If there is nothing there.
    """
    if not isinstance(source, str | Path | Sequence):
        raise DatasetError(
            f"source is {source!r}, expected a path, a folder, a pattern, a list of these, or a "
            "DataFrame"
        )
    if not isinstance(source, str | Path):
        paths = [path for each in source for path in find(each)]
        if not paths:
            raise DatasetError("source is an empty list; give at least one file")
        return sorted({path.absolute(): path for path in paths}.values())
    path = Path(source)
    if path.is_file():
        return [path]
    # A pattern may name folders, and begin anywhere.
    found = path.iterdir() if path.is_dir() else map(Path, glob(str(path), recursive=True))  # noqa: PTH207
    paths = sorted(each for each in found if each.is_file() and not each.name.startswith("."))
    if not paths:
        raise DatasetError(
            f"{path} holds no log: expected a file, a folder or a pattern with files (such as "
            ".csv, .tsv, .txt or .parquet, also gzipped); check the path"
        )
    return [each for each in paths if suffix(each)] or paths


def open_parts(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    scratch: Path,
    columns: NamesColumns = log_columns,
) -> Iterator[Part]:
    """Make each file of the source a relation of the connection.

    Parameters
    ----------
    connection : DuckDBPyConnection
    source : path, glob, folder, list of these, or DataFrame
    scratch : Path
        An existing folder for mended copies.
    columns : function
        Names the columns of a file that has no header line.

    Yields
    ------
    Part

    Raises
    ------
    DatasetError
        If a file is empty, damaged as a whole, or has one column name twice.
    """
    if isinstance(source, pd.DataFrame):
        yield _frame(connection, source)
        return
    paths = find(source)
    for number, (path, name) in enumerate(zip(paths, _names(paths), strict=True)):
        try:
            if _is_parquet(path):
                yield _parquet(connection, path, name, scratch, number)
            else:
                yield _text(path, name, scratch, number, columns)
        except (EOFError, zlib.error, OSError) as error:
            raise damaged_file(path, error) from error


def refused(connection: duckdb.DuckDBPyConnection, part: Part, n_rows: int) -> list[Line]:
    """List the lines of a part that are no rows, once all its rows have been read.

    Parameters
    ----------
    connection : DuckDBPyConnection
        That has read the whole part.
    part : Part
    n_rows : int
        Rows that came out of it.

    Returns
    -------
    list of Line

    Raises
    ------
    DatasetError
        If rows and refused lines do not add up to the lines of the file.
    """
    if part.survey is None:
        return []
    lines = list(part.survey.damaged)
    known = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [part.rejects]
    ).fetchall()
    if known[0][0]:
        # One line can have several errors; the first says enough. Its place in the file is right,
        # its number is not after quoted fields of several lines.
        rows = connection.execute(
            f"SELECT line_byte_position - 1, min_by(error_type, coalesce(column_idx, 0)), "
            f"coalesce(any_value(csv_line), '') FROM {part.rejects} GROUP BY 1 ORDER BY 1"
        ).fetchall()
        texts = [str(text) for _, _, text in rows]
        # Blank lines before it are taken for a part of the line.
        blank = [len(text) - len(text.lstrip("\r\n")) for text in texts]
        starts = [start + n for (start, *_), n in zip(rows, blank, strict=True)]
        lines += [
            Line(part.name, row, _in_words(kind), text.strip("\r\n"))
            for row, (_, kind, _), text in zip(
                _line_ends_before(part.survey.readable, starts), rows, texts, strict=True
            )
        ]
    expected = part.survey.n_lines - 1 - len(part.survey.not_rows)
    if n_rows + len(lines) != expected:
        raise DatasetError(
            f"{part.name} has {expected:,} lines with data, but {n_rows:,} were read and "
            f"{len(lines):,} refused: its quotes cannot be made sense of; export it again, with "
            "quotes doubled inside quoted fields"
        )
    part.refused_rows = np.array(sorted(line.row for line in lines), dtype=np.int64)
    return lines


def line_numbers(part: Part, positions: np.ndarray) -> np.ndarray:
    """Where rows stand in their file, from their positions among the rows that were read.

    Parameters
    ----------
    part : Part
        That has been read, see :func:`refused`.
    positions : int ndarray
        From 0.

    Returns
    -------
    int64 ndarray
        Row numbers from 1; in a text file the line number less one (the header).
    """
    skipped = part.refused_rows
    if part.survey is not None:
        skipped = np.concatenate([skipped, part.survey.not_rows - 1])
    skipped = np.unique(skipped)
    # Before the j-th skipped row stand skipped[j] - 1 - j rows that were read.
    before = skipped - 1 - np.arange(len(skipped))
    return positions + 1 + np.searchsorted(before, positions, side="right")


def suffix(path: str | Path) -> str:
    """Find which of :data:`SUFFIXES` a file name ends with, or nothing.

    Examples
    --------
    >>> suffix("logs/Events.CSV.gz"), suffix("movielens-100k")
    ('.csv.gz', '')
    """
    return next((known for known in SUFFIXES if str(path).lower().endswith(known)), "")


def _is_parquet(path: Path) -> bool:
    """Whether a file is Parquet rather than text; what is neither is refused."""
    with open_bytes(path) as file:
        start = file.read(4096)
    foreign = next((what for mark, what in _FOREIGN.items() if start.startswith(mark)), None)
    if start[:4] != b"PAR1" and start[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        # Text has no such characters but for a damaged field.
        n_odd = len(start.translate(None, _TEXT))
        if foreign is None and n_odd > len(start) / 50:
            foreign = "no text but a binary file; save it as CSV or Parquet"
    if foreign:
        raise DatasetError(f"{path.name} is {foreign}")
    return start[:4] == b"PAR1"


_TEXT = bytes({*range(32, 256), *b"\t\n\r\f\x0b\x1a\x1b\x1c\x1d\x1e\x1f"})


_ENGINE_KNOWS = (pd.StringDtype, pd.CategoricalDtype, pd.DatetimeTZDtype, pd.ArrowDtype)


def _place(number: int) -> str:
    return f"c{number}"


def _names(paths: Sequence[Path]) -> list[str]:
    """What to call each file: its name, with folders where several have the same."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    top = commonpath([path.absolute().parent for path in paths])
    return [path.absolute().relative_to(top).as_posix() for path in paths]


def _line_ends_before(path: Path, positions: Sequence[int]) -> list[int]:
    """How many lines end before each byte position (from 0, ascending)."""
    counts: list[int] = []
    start = n_lines = 0
    for block in blocks(path) if positions else ():
        ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 10)
        here = [each - start for each in positions[len(counts) :] if each < start + len(block)]
        counts += (n_lines + np.searchsorted(ends, here)).tolist()
        start, n_lines = start + len(block), n_lines + len(ends)
    return counts


def _frame(connection: duckdb.DuckDBPyConnection, frame: pd.DataFrame) -> Part:
    names = check_names("the frame", [str(column) for column in frame.columns])
    if frame.empty:
        raise DatasetError(f"the frame has columns ({', '.join(names)}) but no rows")
    text = frame.set_axis([_place(i) for i in range(len(names))], axis=1)
    for place in text:
        dtype = text[place].dtype
        if isinstance(dtype, pd.SparseDtype) or (
            dtype.kind in "Oc" and not isinstance(dtype, _ENGINE_KNOWS)
        ):
            # Mixed or rare types, which no engine but pandas takes.
            values = pd.Series(list(text[place]), index=text.index, dtype=object)
            text[place] = values.map(str, na_action="ignore").astype("str")
    connection.register("given_frame", text)
    return Part("frame", "given_frame", names, look_ahead="given_frame")


def _parquet(
    connection: duckdb.DuckDBPyConnection, path: Path, name: str, scratch: Path, number: int
) -> Part:
    plain = literal(str(_plain(path, scratch, number)))
    relation = f"read_parquet({plain}, hive_partitioning=false)"
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
        [(count,)] = connection.execute(f"SELECT count(*) FROM {relation}").fetchall()
    except duckdb.Error as error:
        raise damaged_file(path, error) from error
    names = check_names(name, [row[0] for row in described])
    if not count:
        raise DatasetError(f"{name} has columns ({', '.join(names)}) but no rows")
    relation += f" AS given({', '.join(map(_place, range(len(names))))})"
    return Part(name, relation, names, look_ahead=relation)


def _text(path: Path, name: str, scratch: Path, number: int, names: NamesColumns) -> Part:
    found = survey(path, name, scratch, number, names)
    rejects = f"rejects_{number}"
    columns = ", ".join(f"{_place(i)}: 'VARCHAR'" for i in range(len(found.header)))
    read = (
        f"read_csv({literal(str(_plain(found.readable, scratch, number)))}, auto_detect=false, "
        f"header=true, delim={literal(found.separator)}, quote='\"', escape='\"', "
        f"compression={literal('gzip' if is_gzip(found.readable) else 'none')}, "
        f"columns={{{columns}}}, strict_mode=true, null_padding=false, hive_partitioning=false"
    )
    notes = f"store_rejects=true, rejects_limit=0, rejects_table='{rejects}', "
    return Part(
        name=name,
        relation=f"{read}, {notes}rejects_scan='scans_{number}')",
        columns=found.header,
        survey=found,
        rejects=rejects,
        look_ahead=f"{read}, ignore_errors=true)",
    )


_FOLDERS = r"[^\s\"']*[/\\\\]"
"""In the words of a parser: folders say nothing about a file."""


def damaged_file(path: Path, error: Exception) -> DatasetError:
    """The error for a file that cannot be read as a whole."""
    if isinstance(error, OSError) and error.errno:
        return DatasetError(f"{path} cannot be opened ({error.strerror}); check its permissions")
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DatasetError(
        f"{path.name} is damaged or neither text nor Parquet ({re.sub(_FOLDERS, '', reason)}); "
        "check that it is complete"
    )


def _plain(path: Path, scratch: Path, number: int) -> Path:
    """The file under a name that is no pattern."""
    if no_glob(str(path)) == str(path):
        return path
    target = scratch / f"file-{number}"
    try:
        target.symlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, target)
    return target


def _in_words(kind: str) -> str:
    return {
        "MISSING COLUMNS": "fewer fields than the header",
        "TOO MANY COLUMNS": "more fields than the header",
        "UNQUOTED VALUE": "text after a closing quote",
        "LINE SIZE OVER MAXIMUM": "longer than 2 MB",
        "INVALID ENCODING": "not in the encoding of the file",
    }.get(kind, kind.lower())
