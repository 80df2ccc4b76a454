"""A look at all bytes of a text file before it is parsed: encoding, ends of lines, open quotes.

What cannot be a row is set aside, and a copy is written in which nothing misleads the parser; the
lines keep their numbers.
"""

import codecs
import csv
import gzip
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from helpers.cleaning.columns import log_columns
from helpers.io import DatasetError

SEPARATORS = (",", ";", "\t", "|")
PAIR = b"::"
"""MovieLens' separator; in a copy, a tab stands for it, which the parser takes."""

NamesColumns = Callable[[Sequence[str]], list[str] | None]
"""Gives names to the columns of a file whose first line is a row; None where that line has them."""

BLOCK = 1 << 20
"""Bytes that are surveyed at a time; so few that they stay in the processor's cache."""

MAX_RECORD_LINES = 50
"""A quoted field over more lines than this is taken for a quote that was never closed."""


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
    #: The names by place, where the file has no header line.
    assumed: list[str] | None = None


def survey(
    path: Path, name: str, scratch: Path, number: int, columns: NamesColumns = log_columns
) -> Survey:
    """Look at all bytes of a text file; mend in a copy what the parser could not read."""
    with open_bytes(path) as file:
        start = file.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        path = _from_utf16(path, scratch / f"utf16-{number}.csv")
    separator = _separator(path)
    if _has_pairs(path):
        separator, copy = "\t", scratch / f"pairs-{number}.csv"
        path = _copy(path, copy, lambda block: block.replace(PAIR, b"\t"))
    assumed = _assumed(path, name, separator, columns)
    if assumed:
        line = separator.join(assumed).encode() + _line_end(path)
        path = _copy(path, scratch / f"header-{number}.csv", bytes, line)
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
    return Survey(separator, header, facts.n_lines, not_rows, path, damaged, assumed)


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
        for block in blocks(path):
            if not block.isascii():
                good, bad = _utf8(block)
                valid, invalid = valid or good, invalid or bad
            has_returns = b"\r" in block
            if has_returns:
                returns += block.count(b"\r")
                pairs += block.count(b"\r\n")
            # Masks are several times as fast as searches in the bytes.
            ends = np.frombuffer(block, dtype=np.uint8) == 10
            n_here = int(np.count_nonzero(ends))
            newlines += n_here
            # Most blocks need no look at single bytes.
            empty_lines = np.count_nonzero(ends[1:] & ends[:-1]) or (
                has_returns and b"\n\r\n" in block
            )
            if b'"' in block or empty_lines or block[:1] in b"\r\n":
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


def blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, about a megabyte at a time."""
    with open_bytes(path) as file:
        begun: list[bytes] = []  # of a line that is longer than a block
        while block := file.read(BLOCK):
            end = block.rfind(b"\n") + 1
            if end:
                yield b"".join([*begun, block[:end]])
                begun = [block[end:]]
            else:
                begun.append(block)
        if any(begun):
            yield b"".join(begun)


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
        with open_bytes(path) as file:
            target.write_bytes(file.read().decode("utf-16").encode())
    except UnicodeDecodeError as error:
        raise OSError(f"no valid UTF-16: {error.reason}") from error
    return target


def _copy(path: Path, target: Path, change: Callable[[bytes], bytes], header: bytes = b"") -> Path:
    with target.open("wb") as copy:
        copy.write(header)
        for block in blocks(path):
            copy.write(change(block))
    return target


def _unix(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _latin(text: bytes) -> str:
    """Latin-1 with the marks that Windows adds where Latin-1 has control characters."""
    return text.decode("cp1252", errors="as-latin-1")


def _control_character(error: UnicodeError) -> tuple[str, int]:
    """What Windows leaves free is what it is in Latin-1."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("as-latin-1", _control_character)


def _from_latin(block: bytes) -> bytes:
    return _latin(block).encode()


def _first_line(path: Path) -> bytes:
    with open_bytes(path) as file:
        return re.split(rb"[\r\n]", file.readline(1 << 20), maxsplit=1)[0]


def _line_end(path: Path) -> bytes:
    with open_bytes(path) as file:
        return b"\r\n" if file.readline(1 << 20).endswith(b"\r\n") else b"\n"


def _has_pairs(path: Path) -> bool:
    """Whether the first lines all have as many ``::`` (at least one), and no tab."""
    with open_bytes(path) as file:
        lines = re.split(rb"[\r\n]+", file.read(1 << 16))[:20]
    if len(lines) > 1:
        lines.pop()  # it may be cut
    counts = {line.count(PAIR) for line in lines}
    return len(counts) == 1 and counts != {0} and not any(b"\t" in line for line in lines)


def _assumed(path: Path, name: str, separator: str, columns: NamesColumns) -> list[str] | None:
    """Names for the columns of a file whose first line is a row."""
    line = _first_line(path).decode("utf-8-sig", errors="replace").replace("\0", "")
    try:
        fields = next(csv.reader([line], delimiter=separator), [])
        return columns(fields) if any(field.strip() for field in fields) else None
    except csv.Error:
        return None  # the header says what is wrong with it
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from error


def _separator(path: Path) -> str:
    """The separator that the first line has most often outside of quotes."""
    plain = re.sub(rb'"[^"]*"', b"", _first_line(path)).decode("latin-1")
    return max(SEPARATORS, key=lambda each: (plain.count(each), -SEPARATORS.index(each)))


def _header(path: Path, name: str, separator: str) -> list[str]:
    with open_bytes(path) as file:
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
    return check_names(name, names)


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
            text = (line.decode() if _decodes(line) else _latin(line)).strip("\r\n")
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
        for block in blocks(path):
            n_lines = block.count(b"\n") + (not block.endswith(b"\n"))
            first, last = np.searchsorted(facts.quote_lines, [number, number + n_lines])
            if first == last and not held and not (facts.mixed and not _decodes(block)):
                target.write(block)
            else:
                for offset, line in enumerate(BytesIO(block)):
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
        rows = list(csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:  # text after a closing quote, or a field that is too long
        return 0
    return len(rows[0]) if len(rows) == 1 else 0


def check_names(where: str, columns: Sequence[str]) -> list[str]:
    """Trim the names of columns and see that none stands there twice."""
    # Spreadsheets and pandas write columns without a name.
    names = [str(name).strip() or f"column {i}" for i, name in enumerate(columns, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{where} has the columns {twice} twice; rename or drop one of each")
    return names


def is_gzip(path: Path) -> bool:
    """Whether the file is compressed, whatever its name."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_bytes(path: Path) -> BinaryIO:
    """Open a file, through gzip where it is compressed."""
    return cast(BinaryIO, gzip.open(path)) if is_gzip(path) else path.open("rb")
