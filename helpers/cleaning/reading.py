"""Files of any damage, read as text: each line ends as a row or in the quarantine, never nowhere.

DuckDB parses, but its parser alone is not enough: a quote that is opened and never closed makes it
skip up to the rest of the file without a word. So each text file is surveyed first (encoding, line
ends, open quotes), what cannot be a row is set aside, and after the parse the lines are counted
again: rows, refused and blank lines must add up to the lines of the file.
"""

import csv
import gzip
import io
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from glob import escape as no_glob
from pathlib import Path
from typing import BinaryIO, cast

import duckdb
import numpy as np
import pandas as pd

from helpers import logs
from helpers.cleaning.sql import literal
from helpers.fetch import DatasetError

SUFFIXES = (*logs.SUFFIXES, ".parquet.gz", ".txt", ".txt.gz")
SEPARATORS = (",", ";", "\t", "|")
BLOCK = 1 << 24
"""Bytes that are surveyed at a time."""

MAX_RECORD_LINES = 50
"""A quoted field over more lines than this is taken for a quote that was never closed."""

Source = str | Path | pd.DataFrame | Sequence[str | Path]


@dataclass(frozen=True)
class Line:
    """A line that is no row: where it stands, why it was refused, and its text."""

    file: str
    row: int
    reason: str
    text: str


@dataclass
class Survey:
    """What a pass over the bytes of a text file finds."""

    separator: str
    header: list[str]
    n_lines: int
    #: Numbers (from 1) of lines that start no row: blank, or the rest of a quoted field.
    not_rows: np.ndarray
    damaged: list[Line] = field(default_factory=list)


@dataclass
class Part:
    """One file, or one frame, as a relation of text columns.

    Attributes
    ----------
    name : str
        The file's name, for messages and for the quarantine.
    relation : str
        What stands after ``FROM`` in SQL.
    columns : list of str
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


def find(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """List the files of a path, a folder, a glob, or a list of these.

    Parameters
    ----------
    source : path, or sequence of paths
        A folder stands for the files in it that can be read; hidden files are left out.

    Returns
    -------
    list of Path
        Sorted by name, each once.

    Raises
    ------
    DatasetError
        If there is nothing there, or a file whose suffix is not one of :data:`SUFFIXES`.
    """
    if not isinstance(source, str | Path):
        paths = [path for each in source for path in find(each)]
        if not paths:
            raise DatasetError("source is an empty list; give at least one file")
        return sorted(set(paths))
    path = Path(source)
    if path.is_file():
        if not _suffix(path):
            raise DatasetError(f"{path} cannot be read: expected one of {', '.join(SUFFIXES)}")
        return [path]
    where = path if path.is_dir() else path.parent
    pattern = "*" if path.is_dir() else path.name
    found = where.glob(pattern) if where.is_dir() else iter(())
    paths = sorted(
        each for each in found if each.is_file() and _suffix(each) and not each.name.startswith(".")
    )
    if not paths:
        raise DatasetError(
            f"{path} holds no log: expected a file, a folder or a pattern with files that end "
            f"in one of {', '.join(SUFFIXES)}; check the path"
        )
    return paths


def open_parts(
    connection: duckdb.DuckDBPyConnection, source: Source, scratch: Path
) -> Iterator[Part]:
    """Make each file of the source a relation of the connection.

    Parameters
    ----------
    connection : DuckDBPyConnection
    source : path, glob, folder, list of these, or DataFrame
    scratch : Path
        An existing folder for mended copies.

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
    for number, path in enumerate(find(source)):
        parquet = ".parquet" in _suffix(path)
        yield (_parquet if parquet else _text)(connection, path, scratch, number)


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
        # One line can have several errors; the first says enough.
        rows = connection.execute(
            f"SELECT line, min_by(error_type, column_idx), any_value(csv_line) "
            f"FROM {part.rejects} GROUP BY line ORDER BY line"
        ).fetchall()
        lines += [
            Line(part.name, line - 1, _in_words(kind), str(text).strip("\r\n"))
            for line, kind, text in rows
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


def _suffix(path: Path) -> str:
    return next((known for known in SUFFIXES if path.name.lower().endswith(known)), "")


def _check_names(where: str, columns: Sequence[str]) -> list[str]:
    names = [str(name).strip() for name in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{where} has the columns {twice} twice; rename or drop one of each")
    return names


def _frame(connection: duckdb.DuckDBPyConnection, frame: pd.DataFrame) -> Part:
    names = _check_names("the frame", [str(column) for column in frame.columns])
    if frame.empty:
        raise DatasetError(f"the frame has columns ({', '.join(names)}) but no rows")
    text = frame.set_axis(names, axis=1)
    for name in names:
        if text[name].dtype == object:  # of mixed types, which no engine but pandas takes
            text[name] = text[name].map(str, na_action="ignore").astype("str")
    connection.register("given_frame", text)
    return Part("frame", "given_frame", names, look_ahead="given_frame")


def _parquet(connection: duckdb.DuckDBPyConnection, path: Path, scratch: Path, number: int) -> Part:
    relation = f"read_parquet({literal(str(_plain(path, scratch, number)))})"
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
        [(count,)] = connection.execute(f"SELECT count(*) FROM {relation}").fetchall()
    except duckdb.Error as error:
        raise damaged_file(path, error) from error
    names = _check_names(path.name, [row[0] for row in described])
    if not count:
        raise DatasetError(f"{path} has columns ({', '.join(names)}) but no rows")
    return Part(path.name, relation, names, look_ahead=relation)


def _text(connection: duckdb.DuckDBPyConnection, path: Path, scratch: Path, number: int) -> Part:
    try:
        survey, readable = _survey(path, scratch, number)
    except (EOFError, zlib.error, OSError) as error:
        raise damaged_file(path, error) from error
    rejects = f"rejects_{number}"
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in survey.header)
    read = (
        f"read_csv({literal(str(_plain(readable, scratch, number)))}, auto_detect=false, "
        f"header=true, delim={literal(survey.separator)}, quote='\"', escape='\"', "
        f"columns={{{columns}}}, strict_mode=true, "
        f"null_padding=false"
    )
    notes = f"store_rejects=true, rejects_limit=0, rejects_table='{rejects}', "
    return Part(
        name=path.name,
        relation=f"{read}, {notes}rejects_scan='scans_{number}')",
        columns=survey.header,
        survey=survey,
        rejects=rejects,
        look_ahead=f"{read}, ignore_errors=true)",
    )


def damaged_file(path: Path, error: Exception) -> DatasetError:
    """The error for a file that cannot be read as a whole."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DatasetError(
        f"{path.name} is damaged or not what its suffix says ({reason.replace(str(path), 'it')}); "
        "check that it is complete"
    )


def _plain(path: Path, scratch: Path, number: int) -> Path:
    """The file under a name that is no pattern."""
    if no_glob(str(path)) == str(path):
        return path
    target = scratch / f"file-{number}{_suffix(path)}"
    try:
        target.symlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, target)
    return target


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _survey(path: Path, scratch: Path, number: int) -> tuple[Survey, Path]:
    """Look at all bytes of a text file; mend in a copy what the parser could not read."""
    name = path.name
    with _open(path) as file:
        start = file.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        path = _from_utf16(path, scratch / f"utf16-{number}.csv")
    facts = _Facts.of(path)
    if facts.mixed_ends:
        path = _copy(path, scratch / f"newlines-{number}.csv", _unix)
        facts = _Facts.of(path)
    if facts.latin:
        path = _copy(path, scratch / f"latin-{number}.csv", _from_latin)
    separator, header = _header(path, name)
    damaged: list[Line] = []
    rest: list[int] = []
    if len(facts.odd_lines) or facts.mixed:
        copy = scratch / f"mended-{number}.csv"
        damaged, rest = _mend(path, copy, name, separator, len(header), facts)
        path = copy
    not_rows = np.unique(np.concatenate([facts.blank_lines, np.array(rest, dtype=np.int64)]))
    return Survey(separator, header, facts.n_lines, not_rows, damaged), path


@dataclass
class _Facts:
    latin: bool  # no line beyond ASCII is UTF-8
    mixed: bool  # some lines are UTF-8 beyond ASCII, others are no UTF-8
    mixed_ends: bool  # of lines: returns alone, or before some newlines only
    n_lines: int
    blank_lines: np.ndarray
    odd_lines: np.ndarray  # with an odd number of quotes

    @classmethod
    def of(cls, path: Path) -> "_Facts":
        valid = invalid = False
        n_lines = returns = pairs = newlines = 0
        blank: list[np.ndarray] = []
        odd: list[np.ndarray] = []
        for block in _blocks(path):
            if not block.isascii():
                good, bad = _utf8(block)
                valid, invalid = valid or good, invalid or bad
            if b"\r" in block:
                returns += block.count(b"\r")
                pairs += block.count(b"\r\n")
            n_here = block.count(b"\n")
            newlines += n_here
            # Most blocks need no look at single bytes.
            if b'"' in block or b"\n\n" in block or b"\n\r\n" in block or block[:1] in b"\r\n":
                empty, odd_here = _blank_and_odd(block)
                blank.append(empty + n_lines + 1)
                odd.append(odd_here + n_lines + 1)
            n_lines += n_here + (not block.endswith(b"\n"))
        none = np.array([], dtype=np.int64)
        return cls(
            latin=invalid and not valid,
            mixed=invalid and valid,
            mixed_ends=returns > 0 and not returns == pairs == newlines,
            n_lines=n_lines,
            blank_lines=np.concatenate([none, *blank]),
            odd_lines=np.concatenate([none, *odd]),
        )


def _blank_and_odd(block: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Lines (from 0) that are empty, and lines with an odd number of quotes."""
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(data == 10)
    if len(ends) == 0 or ends[-1] != len(data) - 1:  # the file's last line
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    widths = ends - starts
    empty = (widths == 0) | ((widths == 1) & (data[starts] == 13))
    quotes = np.add.reduceat((data == 34).astype(np.uint8), starts, dtype=np.int64)
    return np.flatnonzero(empty), np.flatnonzero(quotes % 2)


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, some megabytes at a time."""
    with _open(path) as file:
        carried = b""
        while block := file.read(BLOCK):
            whole, newline, rest = (carried + block).rpartition(b"\n")
            if newline:
                yield whole + newline
            carried = rest
        if carried:
            yield carried


def _utf8(block: bytes) -> tuple[bool, bool]:
    """Whether lines are there that are UTF-8 beyond ASCII, and lines that are no UTF-8."""
    try:
        block.decode()
        return True, False
    except UnicodeDecodeError:
        valid = any(not line.isascii() and _decodes(line) for line in block.splitlines() if line)
        return valid, True


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _from_utf16(path: Path, target: Path) -> Path:
    try:
        with _open(path) as file:
            target.write_bytes(file.read().decode("utf-16").encode())
    except UnicodeDecodeError as error:
        raise OSError(f"no valid UTF-16: {error.reason}") from error
    return target


def _copy(path: Path, target: Path, change: Callable[[bytes], bytes]) -> Path:
    with target.open("wb") as copy:
        for block in _blocks(path):
            copy.write(change(block))
    return target


def _unix(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _from_latin(block: bytes) -> bytes:
    return block.decode("latin-1").encode()


def _header(path: Path, name: str) -> tuple[str, list[str]]:
    with _open(path) as file:
        raw = file.readline(1 << 20)
    line = raw.decode("utf-8-sig", "replace").strip("\r\n")
    if not line.strip():
        raise DatasetError(f"{name} is empty or has no header line; expected one, and rows")
    separator = max(SEPARATORS, key=lambda each: (line.count(each), -SEPARATORS.index(each)))
    try:
        names = next(csv.reader([line.replace("\0", "")], delimiter=separator))
    except csv.Error as error:
        raise DatasetError(f"{name} has no header line that can be read ({error})") from error
    return separator, _check_names(name, names)


def _mend(
    path: Path, copy: Path, name: str, separator: str, n_columns: int, facts: _Facts
) -> tuple[list[Line], list[int]]:
    """Write a copy in which lines that would mislead the parser are empty.

    Returns the damaged lines, and the numbers of those that go on a quoted field.
    """
    quote_open = _open_quote(separator)
    odd = set(facts.odd_lines.tolist())
    damaged: list[Line] = []
    rest: list[int] = []
    held: list[tuple[int, bytes]] = []  # lines of a record whose quote is still open
    with copy.open("wb") as target:

        def put(number: int, line: bytes) -> None:
            nonlocal held
            if facts.mixed and not _decodes(line):
                refuse(number, line, "not UTF-8, as other lines of the file are")
                return
            if held:
                held.append((number, line))
                text = b"".join(each for _, each in held)
                if number in odd and not quote_open.search(_record(text)):
                    if _n_fields(text, separator) == n_columns:
                        target.write(text)
                        rest.extend(each for each, _ in held[1:])
                        held = []
                    else:
                        give_up()
                elif len(held) >= MAX_RECORD_LINES:
                    give_up()
            elif number in odd and quote_open.search(_record(line)):
                held = [(number, line)]
            else:
                target.write(line)

        def refuse(number: int, line: bytes, reason: str) -> None:
            text = line.decode("utf-8" if _decodes(line) else "latin-1").strip("\r\n")
            damaged.append(Line(name, number - 1, reason, text))
            target.write(b"\n")

        def give_up() -> None:
            """The first line is damaged; those after it are looked at on their own."""
            nonlocal held
            (number, line), *others = held
            held = []
            refuse(number, line, "a quote is opened and not closed")
            for each in others:
                put(*each)

        number = 1
        for block in _blocks(path):
            n_lines = block.count(b"\n") + (not block.endswith(b"\n"))
            first, last = np.searchsorted(facts.odd_lines, [number, number + n_lines])
            if first == last and not held and not (facts.mixed and not _decodes(block)):
                target.write(block)
            else:
                for offset, line in enumerate(io.BytesIO(block)):
                    put(number + offset, line)
            number += n_lines
        while held:
            give_up()
    return damaged, rest


def _record(text: bytes) -> bytes:
    return text.rstrip(b"\r\n")


def _open_quote(separator: str) -> re.Pattern[bytes]:
    """Match a record that ends inside a quoted field."""
    by = re.escape(separator).encode()
    plain = rb'(?:[^"%b][^%b]*)?' % (by, by)
    quoted = rb'"(?:[^"]|"")*"'
    return re.compile(rb'\A(?:(?:%b|%b)%b)*"(?:[^"]|"")*\Z' % (quoted, plain, by))


def _n_fields(record: bytes, separator: str) -> int:
    text = _record(record).decode(errors="replace")
    try:
        rows = list(csv.reader(text.splitlines(keepends=True), delimiter=separator))
    except csv.Error:  # a field that is too long
        return 0
    return len(rows[0]) if len(rows) == 1 else 0


def _in_words(kind: str) -> str:
    return {
        "MISSING COLUMNS": "fewer fields than the header",
        "TOO MANY COLUMNS": "more fields than the header",
        "UNQUOTED VALUE": "text after a closing quote, or a quote that is not closed",
        "LINE SIZE OVER MAXIMUM": "longer than 2 MB",
        "INVALID ENCODING": "not in the encoding of the file",
    }.get(kind, kind.lower())
