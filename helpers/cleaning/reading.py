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
from glob import glob
from os.path import commonpath
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
    #: What the parser reads: the file itself, or a mended copy with the same lines.
    readable: Path
    damaged: list[Line] = field(default_factory=list)


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
        if not _suffix(path):
            raise DatasetError(f"{path} cannot be read: expected one of {', '.join(SUFFIXES)}")
        return [path]
    # A pattern may name folders, and begin anywhere.
    found = path.iterdir() if path.is_dir() else map(Path, glob(str(path), recursive=True))  # noqa: PTH207
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
    paths = find(source)
    for number, (path, name) in enumerate(zip(paths, _names(paths), strict=True)):
        read = _parquet if ".parquet" in _suffix(path) else _text
        yield read(connection, path, name, scratch, number)


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


def _suffix(path: Path) -> str:
    return next((known for known in SUFFIXES if path.name.lower().endswith(known)), "")


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
    for block in _blocks(path) if positions else ():
        ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 10)
        here = [each - start for each in positions[len(counts) :] if each < start + len(block)]
        counts += (n_lines + np.searchsorted(ends, here)).tolist()
        start, n_lines = start + len(block), n_lines + len(ends)
    return counts


def _check_names(where: str, columns: Sequence[str]) -> list[str]:
    # Spreadsheets and pandas write columns without a name.
    names = [str(name).strip() or f"column {i}" for i, name in enumerate(columns, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{where} has the columns {twice} twice; rename or drop one of each")
    return names


def _frame(connection: duckdb.DuckDBPyConnection, frame: pd.DataFrame) -> Part:
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
    names = _check_names(name, [row[0] for row in described])
    if not count:
        raise DatasetError(f"{name} has columns ({', '.join(names)}) but no rows")
    relation += f" AS given({', '.join(map(_place, range(len(names))))})"
    return Part(name, relation, names, look_ahead=relation)


def _text(
    connection: duckdb.DuckDBPyConnection, path: Path, name: str, scratch: Path, number: int
) -> Part:
    try:
        survey = _survey(path, name, scratch, number)
    except (EOFError, zlib.error, OSError) as error:
        raise damaged_file(path, error) from error
    rejects = f"rejects_{number}"
    columns = ", ".join(f"{_place(i)}: 'VARCHAR'" for i in range(len(survey.header)))
    read = (
        f"read_csv({literal(str(_plain(survey.readable, scratch, number)))}, auto_detect=false, "
        f"header=true, delim={literal(survey.separator)}, quote='\"', escape='\"', "
        f"columns={{{columns}}}, strict_mode=true, null_padding=false, hive_partitioning=false"
    )
    notes = f"store_rejects=true, rejects_limit=0, rejects_table='{rejects}', "
    return Part(
        name=name,
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


def _survey(path: Path, name: str, scratch: Path, number: int) -> Survey:
    """Look at all bytes of a text file; mend in a copy what the parser could not read."""
    with _open(path) as file:
        start = file.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        path = _from_utf16(path, scratch / f"utf16-{number}.csv")
    separator = _separator(path)
    facts = _Facts.of(path, separator)
    if facts.mixed_ends:
        path = _copy(path, scratch / f"newlines-{number}.csv", _unix)
        facts = _Facts.of(path, separator)
    if facts.latin:
        path = _copy(path, scratch / f"latin-{number}.csv", _from_latin)
    header = _header(path, name, separator)
    damaged: list[Line] = []
    rest: list[int] = []
    if len(facts.quote_lines) or facts.mixed:
        copy = scratch / f"mended-{number}.csv"
        damaged, rest = _mend(path, copy, name, separator, len(header), facts)
        path = copy
    not_rows = np.unique(np.concatenate([facts.blank_lines, np.array(rest, dtype=np.int64)]))
    return Survey(separator, header, facts.n_lines, not_rows, path, damaged)


@dataclass
class _Facts:
    latin: bool  # no line beyond ASCII is UTF-8
    mixed: bool  # some lines are UTF-8 beyond ASCII, others are no UTF-8
    mixed_ends: bool  # of lines: returns alone, or before some newlines only
    n_lines: int
    blank_lines: np.ndarray
    quote_lines: np.ndarray  # where quotes are damaged, or a field goes over several lines

    @classmethod
    def of(cls, path: Path, separator: str) -> "_Facts":
        valid = invalid = False
        n_lines = returns = pairs = newlines = 0
        blank: list[np.ndarray] = []
        opened: list[np.ndarray] = []
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
                empty, opened_here = _blank_and_odd(block, separator)
                blank.append(empty + n_lines + 1)
                opened.append(opened_here + n_lines + 1)
            n_lines += n_here + (not block.endswith(b"\n"))
        none = np.array([], dtype=np.int64)
        return cls(
            latin=invalid and not valid,
            mixed=invalid and valid,
            mixed_ends=returns > 0 and not returns == pairs == newlines,
            n_lines=n_lines,
            blank_lines=np.concatenate([none, *blank]),
            quote_lines=np.concatenate([none, *opened]),
        )


def _blank_and_odd(block: bytes, separator: str) -> tuple[np.ndarray, np.ndarray]:
    """Lines (from 0) that are empty, and lines with quotes that do not come in pairs."""
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(data == 10)
    if len(ends) == 0 or ends[-1] != len(data) - 1:  # the file's last line
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    widths = ends - starts
    empty = np.flatnonzero((widths == 0) | ((widths == 1) & (data[starts] == 13)))
    quotes = np.flatnonzero(data == 34)
    if not len(quotes):
        return empty, quotes
    before = np.where(quotes > 0, data[quotes - 1], 10)
    after = np.where(quotes < len(data) - 1, data[np.minimum(quotes + 1, len(data) - 1)], 10)
    # 1 where a field can begin, -1 where one can end, 0 for both or neither.
    side = np.isin(before, [10, ord(separator)]).astype(np.int8)
    side -= np.isin(after, [10, 13, ord(separator)])
    line = np.searchsorted(starts, quotes, side="right") - 1
    # A line of fields that begin and end in turn is in order.
    new = np.flatnonzero(np.diff(line, prepend=-1))
    turns = np.zeros(len(quotes), dtype=bool)
    turns[1:] = side[1:] == -side[:-1]
    turns[new] = side[new] == 1
    turns &= side != 0
    last = np.append(new[1:] - 1, len(quotes) - 1)
    doubtful = ~np.logical_and.reduceat(turns, new) | (side[last] != -1)
    odd = np.diff(np.append(new, len(quotes))) % 2 == 1
    whole = _whole(separator)
    keep = [
        here
        for here, is_odd in zip(line[new][doubtful], odd[doubtful], strict=True)
        if is_odd or not whole.search(_record(block[starts[here] : ends[here]]))
    ]
    return empty, np.array(keep, dtype=np.int64)


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


def _separator(path: Path) -> str:
    """The separator that the header line has most often outside of quotes."""
    with _open(path) as file:
        line = re.split(rb"[\r\n]", file.readline(1 << 20), maxsplit=1)[0]
    plain = re.sub(rb'"[^"]*"', b"", line).decode("latin-1")
    return max(SEPARATORS, key=lambda each: (plain.count(each), -SEPARATORS.index(each)))


def _header(path: Path, name: str, separator: str) -> list[str]:
    with _open(path) as file:
        raw = file.readline(1 << 20)
    if not _decodes(raw):
        raise DatasetError(
            f"{name}: the header line is not UTF-8, as other lines are; save the file in one "
            "encoding"
        )
    line = raw.decode("utf-8-sig").strip("\r\n")
    if not line.strip():
        raise DatasetError(f"{name} is empty or has no header line; expected one, and rows")
    if _open_quote(separator).search(line.encode()):
        raise DatasetError(
            f"{name}: a quote is opened in the header line and not closed; the line begins with "
            f"{line[:60]!r}; correct it"
        )
    try:
        names = next(csv.reader([line.replace("\0", "")], delimiter=separator))
    except csv.Error as error:
        raise DatasetError(f"{name} has no header line that can be read ({error})") from error
    return _check_names(name, names)


def _mend(
    path: Path, copy: Path, name: str, separator: str, n_columns: int, facts: _Facts
) -> tuple[list[Line], list[int]]:
    """Write a copy in which lines that would mislead the parser are empty.

    Returns the damaged lines, and the numbers of those that go on a quoted field.
    """
    quote_open, whole = _open_quote(separator), _whole(separator)
    odd = set(facts.quote_lines.tolist())
    damaged: list[Line] = []
    rest: list[int] = []
    held: list[tuple[int, bytes]] = []  # lines of a record whose quote is still open
    with copy.open("wb") as target:

        def put(number: int, line: bytes) -> None:
            nonlocal held
            if facts.mixed and not _decodes(line):
                while held:
                    give_up()
                refuse(number, line, "not UTF-8, as other lines of the file are")
                return
            if held:
                held.append((number, line))
                text = b"".join(each for _, each in held)
                if number in odd and not quote_open.search(_record(text)):
                    # Whole rows inside of a field were swallowed by a quote that is not closed.
                    swallowed = any(
                        _n_fields(each, separator) == n_columns for _, each in held[1:-1]
                    )
                    if _n_fields(text, separator) == n_columns and not swallowed:
                        target.write(text)
                        rest.extend(each for each, _ in held[1:])
                        held = []
                    else:
                        give_up()
                elif len(held) >= MAX_RECORD_LINES:
                    give_up()
            elif number in odd and quote_open.search(_record(line)):
                held = [(number, line)]
            elif number in odd and not whole.search(_record(line)):
                # The parser would take its rest for a line of its own.
                refuse(number, line, "text after a closing quote")
            else:
                target.write(line)

        def refuse(number: int, line: bytes, reason: str) -> None:
            text = line.decode("utf-8" if _decodes(line) else "latin-1").strip("\r\n")
            damaged.append(Line(name, number - 1, reason, text))
            target.write(line[len(_record(line)) :])  # its end, so all lines end alike

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
            first, last = np.searchsorted(facts.quote_lines, [number, number + n_lines])
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
    return re.compile(rb'\A(?:%b%b)*"(?:[^"]|"")*\Z' % (_field(separator), _escaped(separator)))


def _whole(separator: str) -> re.Pattern[bytes]:
    """Match a record of which each quoted field is closed, with nothing after its last quote."""
    any_field = _field(separator)
    return re.compile(rb"\A(?:%b%b)*%b\Z" % (any_field, _escaped(separator), any_field))


def _escaped(separator: str) -> bytes:
    return re.escape(separator).encode()


def _field(separator: str) -> bytes:
    by = _escaped(separator)
    return rb'(?:"(?:[^"]|"")*"|(?:[^"%b][^%b]*)?)' % (by, by)


def _n_fields(record: bytes, separator: str) -> int:
    text = _record(record).decode(errors="replace")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:  # text after a closing quote, or a field that is too long
        return 0
    return len(rows[0]) if len(rows) == 1 else 0


def _in_words(kind: str) -> str:
    return {
        "MISSING COLUMNS": "fewer fields than the header",
        "TOO MANY COLUMNS": "more fields than the header",
        "UNQUOTED VALUE": "text after a closing quote",
        "LINE SIZE OVER MAXIMUM": "longer than 2 MB",
        "INVALID ENCODING": "not in the encoding of the file",
    }.get(kind, kind.lower())
