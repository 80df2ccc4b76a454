"""Files as relations of text columns: each line ends as a row, or refused with a reason.

DuckDB parses, and the lines are counted beside it: one quote that is opened and never closed makes
the parser skip up to the rest of the file without a word. Only where its rows do not add up to the
lines of the file, :mod:`helpers.cleaning.lines` looks at each line.
"""

import csv
import gzip
import re
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import glob
from os.path import commonpath
from pathlib import Path

import duckdb
import pandas as pd

from helpers.cleaning import lines
from helpers.cleaning.columns import log_columns
from helpers.cleaning.sql import Connection, exact_path, literal, scalar
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

_LETTERS = bytes({*range(32, 256), *b"\t\n\r\f\x0b\x1a\x1b\x1c\x1d\x1e\x1f"})
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = (",", ";", "\t", "|")
_BLOCK = 1 << 20  # bytes that are looked at, or copied, at a time

MOST_UNPACKED = 64 << 20, 200
"""A gzip file may unpack to so many bytes, or to so many times its own size; logs shrink to a
fifth or a twentieth."""

_ENGINE_KNOWS = (pd.StringDtype, pd.CategoricalDtype, pd.ArrowDtype)

Source = str | Path | pd.DataFrame | Sequence[str | Path]

NamesColumns = Callable[[Sequence[str]], list[str] | None]
"""Gives names to the columns of a file whose first line is a row; None where that line has them."""


@dataclass(frozen=True)
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
    n_rows : int
        Of the relation.
    separator : str
        Between the fields of a line.
    assumed : bool
        Whether there is no header line, and the names of the columns are by place.
    """

    name: str
    relation: str
    columns: list[str]
    n_rows: int
    separator: str = ","
    assumed: bool = False

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
    if path.is_dir():
        found = list(path.iterdir())
    else:
        # Folders that are there are no pattern, though their names may have [ or * in them.
        base = next(each for each in path.parents if each.is_dir())
        pattern = str(path.relative_to(base))
        found = [base / each for each in glob(pattern, root_dir=base, recursive=True)]  # noqa: PTH207
    paths = sorted(each for each in found if each.is_file() and not each.name.startswith("."))
    if not paths:
        raise DatasetError(
            f"{path} holds no log: expected a file, a folder or a pattern with files (such as "
            ".csv, .tsv, .txt or .parquet, also gzipped); check the path"
        )
    return [each for each in paths if suffix(each)] or paths


def open_parts(
    connection: Connection,
    source: Source,
    scratch: Path,
    columns: NamesColumns = log_columns,
) -> list[Part]:
    """Make each file of the source a relation of the connection.

    Parameters
    ----------
    connection : DuckDBPyConnection
        Gets the table ``refused`` (part, row, reason, text) of the lines that are no rows; without
        a reason, a line is blank or the rest of a quoted field.
    source : path, glob, folder, list of these, or DataFrame
    scratch : Path
        An existing folder for copies of files that are packed, not in UTF-8, or damaged.
    columns : function
        Names the columns of a file that has no header line.

    Returns
    -------
    list of Part

    Raises
    ------
    DatasetError
        If a file is empty, damaged as a whole, or has one column name twice.
    """
    connection.execute(
        "CREATE TABLE refused (part INTEGER, row BIGINT, reason VARCHAR, text VARCHAR)"
    )
    if isinstance(source, pd.DataFrame):
        return [_frame(connection, source)]
    paths = find(source)
    parts = []
    for number, (path, name) in enumerate(zip(paths, _names(paths), strict=True)):
        try:
            plain = _unpacked(path, scratch / f"unpacked-{number}")
            if _is_parquet(plain, path.name):
                parts.append(_parquet(connection, plain, name))
            else:
                parts.append(_text(connection, plain, name, scratch, number, columns))
        except duckdb.OutOfMemoryException:
            raise
        except (EOFError, zlib.error, OSError, UnicodeError, duckdb.Error) as error:
            raise damaged_file(path, error) from error
    return parts


def check_plain(connection: Connection, part: Part, columns: Sequence[str]) -> None:
    """Refuse columns with lists or records in their cells, which Parquet can have."""
    places = ", ".join(map(part.sql, columns))
    described = connection.execute(f"DESCRIBE SELECT {places} FROM {part.relation}").fetchall()
    for name, (_, kind, *_) in zip(columns, described, strict=True):
        if re.search(r"\]$|^(STRUCT|MAP|UNION)\(", kind):
            raise DatasetError(
                f"{part.name}: the column {name!r} holds lists or records ({kind[:60]}), expected "
                "one text, number or time in each row; write one row for each, or join them to a "
                "text"
            )


def suffix(path: str | Path) -> str:
    """Find which of :data:`SUFFIXES` a file name ends with, or nothing.

    Examples
    --------
    >>> suffix("logs/Events.CSV.gz"), suffix("movielens-100k")
    ('.csv.gz', '')
    """
    return next((known for known in SUFFIXES if str(path).lower().endswith(known)), "")


def damaged_file(path: Path, error: Exception) -> DatasetError:
    """The error for a file that cannot be read as a whole."""
    if isinstance(error, OSError) and error.errno:
        return DatasetError(f"{path} cannot be opened ({error.strerror}); check its permissions")
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    reason = re.sub(r"[^\s\"']*[/\\]", "", reason)  # folders say nothing about a file
    return DatasetError(
        f"{path.name} is damaged or neither text nor Parquet ({reason}); check that it is complete"
    )


def _place(number: int) -> str:
    return f"c{number}"


def _names(paths: Sequence[Path]) -> list[str]:
    """What to call each file: its name, with folders where several have the same."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    top = commonpath([path.absolute().parent for path in paths])
    return [path.absolute().relative_to(top).as_posix() for path in paths]


def _check_names(where: str, columns: Sequence[str]) -> list[str]:
    """Trim the names of columns and see that none stands there twice."""
    # Spreadsheets and pandas write columns without a name.
    names = [str(name).strip() or f"column {i}" for i, name in enumerate(columns, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{where} has the columns {twice} twice; rename or drop one of each")
    return names


def _start(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _unpacked(path: Path, target: Path) -> Path:
    """The file, or a copy of it that is not compressed; its name says nothing."""
    if _start(path, 2) != b"\x1f\x8b":
        return path
    least, times = MOST_UNPACKED
    most = max(least, times * path.stat().st_size)
    with gzip.open(path) as packed, target.open("wb") as copy:
        while block := packed.read(_BLOCK):
            if copy.tell() + len(block) > most:
                raise DatasetError(
                    f"{path.name} unpacks to more than {most >> 20:,} MiB, over {times} times its "
                    "size, which no log does; if it is one, unpack it with gunzip and name that"
                )
            copy.write(block)
    return target


def _is_parquet(path: Path, name: str) -> bool:
    """Whether a file is Parquet rather than text; what is neither is refused."""
    start = _start(path, 4096)
    foreign = next((what for mark, what in _FOREIGN.items() if start.startswith(mark)), None)
    if start[:4] != b"PAR1" and start[:2] not in _UTF16:
        # Text has no such characters but for a damaged field.
        n_odd = len(start.translate(None, _LETTERS))
        if foreign is None and n_odd > len(start) / 50:
            foreign = "no text but a binary file; save it as CSV or Parquet"
    if foreign:
        raise DatasetError(f"{name} is {foreign}")
    return start[:4] == b"PAR1"


def _frame(connection: Connection, frame: pd.DataFrame) -> Part:
    names = _check_names("the frame", [str(column) for column in frame.columns])
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
    return Part("frame", "given_frame", names, len(frame))


def _parquet(connection: Connection, path: Path, name: str) -> Part:
    relation = f"read_parquet({exact_path(path)}, hive_partitioning=false)"
    names = _check_names(name, connection.sql(f"FROM {relation}").columns)
    n_rows = scalar(connection, f"SELECT count(*) FROM {relation}")
    if not n_rows:
        raise DatasetError(f"{name} has columns ({', '.join(names)}) but no rows")
    relation += f" AS given({', '.join(map(_place, range(len(names))))})"
    return Part(name, relation, names, n_rows)


def _text(
    connection: Connection, path: Path, name: str, scratch: Path, number: int, names: NamesColumns
) -> Part:
    if _start(path, 2) in _UTF16:
        # The parser itself reads nothing, without a word, where the high byte comes first.
        path = _in_utf8(path, scratch / f"utf16-{number}.csv", "utf-16", "strict")
    n_lines, is_latin = _count(path)
    if is_latin:
        # The parser's Latin-1 refuses the marks that Windows adds, such as the euro.
        path = _in_utf8(path, scratch / f"latin-{number}.csv", "cp1252", lines.AS_LATIN_1)
    start = _start(path, _BLOCK).splitlines()
    separator = _separator(start)
    first = _first_fields(start, separator, name)
    try:
        by_place = names(first)
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from error
    columns, header = _check_names(name, by_place or first), by_place is None
    relation = _csv(path, separator, len(columns), header=header)
    if n_lines is not None:
        n_rows = _n_rows(connection, relation, len(columns))
    if n_lines is None or n_rows != n_lines - header:
        sound, refused = (scratch / f"{what}-{number}.csv" for what in ("sound", "refused"))
        n_rows = lines.mend(path, sound, refused, separator, len(columns), header=header)
        connection.execute(
            f"INSERT INTO refused SELECT {number}, c0::BIGINT, nullif(c1, '{lines.NO_ROW}'), "
            f"coalesce(c2, '') FROM {_csv(refused, ',', 3, header=False)}"
        )
        relation = _csv(sound, lines.plain_separator(separator), len(columns), header=False)
        if (n_read := _n_rows(connection, relation, len(columns))) != n_rows:
            raise DatasetError(
                f"{name} has {n_rows:,} rows, but {n_read:,} were read: its quotes cannot be made "
                "sense of; export it again, with quotes doubled inside quoted fields"
            )
    return Part(name, relation, columns, n_rows, separator, not header)


def _in_utf8(path: Path, target: Path, encoding: str, errors: str) -> Path:
    with (
        path.open(encoding=encoding, errors=errors, newline="") as text,
        target.open("w", encoding="utf-8", newline="") as copy,
    ):
        shutil.copyfileobj(text, copy, _BLOCK)
    return target


def _first_fields(start: Sequence[bytes], separator: str, name: str) -> list[str]:
    """The fields of the first line."""
    try:
        line = start[0].decode("utf-8-sig") if start else ""
        by = lines.plain_separator(separator)
        fields = next(csv.reader([line.replace(separator, by)], delimiter=by, strict=True), [])
    except UnicodeDecodeError:
        fix = "the header line is not UTF-8, as other lines are; save the file in one encoding"
        raise DatasetError(f"{name}: {fix}") from None
    except csv.Error as error:
        raise DatasetError(
            f"{name}: a quote is opened in the header line and not closed, or has text after it "
            f"({error}); the line begins with {line[:60]!r}; correct it"
        ) from error
    if not line.strip():
        raise DatasetError(f"{name} is empty or has no header line; expected one, and rows")
    return fields


def _csv(path: Path, separator: str, n_columns: int, *, header: bool) -> str:
    columns = ", ".join(f"{_place(i)}: 'VARCHAR'" for i in range(n_columns))
    # The parser's list of rejects takes a kilobyte of memory a line, outside of its limit.
    return (
        f"read_csv({exact_path(path)}, auto_detect=false, compression='none', header={header}, "
        f"delim={literal(separator)}, quote='\"', escape='\"', columns={{{columns}}}, "
        "strict_mode=true, null_padding=false, ignore_errors=true, hive_partitioning=false, "
        f"max_line_size={lines.LONGEST_LINE})"
    )


def _n_rows(connection: Connection, relation: str, n_columns: int) -> int:
    """Rows that come out when all columns are read."""
    counts = ", ".join(f"count({_place(i)})" for i in range(n_columns))
    [(n_rows, *_)] = connection.execute(f"SELECT count(*), {counts} FROM {relation}").fetchall()
    return int(n_rows)


def _count(path: Path) -> tuple[int | None, bool]:
    """Count the lines of a text without the blank ones at its end, and see whether it is Latin-1.

    There is no number where some lines are UTF-8 and others not, or where lines end in several ways
    or in no newline: then each must be looked at.
    """
    newlines = returns = pairs = 0
    is_utf8 = is_other = False
    last = b""
    with path.open("rb") as file:
        # Whole lines, unless they are very long.
        while block := file.read(_BLOCK) + file.readline(_BLOCK):
            newlines += block.count(b"\n")
            if b"\r" in block:
                returns += block.count(b"\r")
                pairs += block.count(b"\r\n")
            if not block.isascii():
                decodes = _decodes(block)
                is_other |= not decodes
                some = (line for line in block.splitlines() if not line.isascii())
                is_utf8 = is_utf8 or decodes or any(map(_decodes, some))
            last = block
    blank = last[len(last.rstrip(b"\r\n")) :].count(b"\n")
    sound = returns in (0, pairs) and pairs in (0, newlines) and not (is_other and is_utf8)
    return newlines + 1 - blank if sound else None, is_other and not is_utf8


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _separator(start: Sequence[bytes]) -> str:
    """What separates the fields: ``::`` where all lines have as many, else by the first line."""
    first = [line for line in start if line][:20]
    counts = {line.count(b"::") for line in first}
    if len(counts) == 1 and counts != {0} and not any(b"\t" in line for line in first):
        return lines.PAIR
    plain = re.sub(rb'"[^"]*"', b"", first[0] if first else b"").decode("latin-1")
    return max(_SEPARATORS, key=lambda each: (plain.count(each), -_SEPARATORS.index(each)))
