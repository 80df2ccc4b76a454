"""The lines of a text file one by one, for files that the parser alone would not read whole.

It is slow and rarely needed: :mod:`helpers.cleaning.reading` comes here when the rows of the parser
do not add up to the lines of the file, or when a file mixes encodings or ends of lines.
"""

import codecs
import csv
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

PAIR = "::"
"""MovieLens' separator, which the module csv does not take; a tab stands for it."""

FEWER, MORE = "fewer fields than the header", "more fields than the header"
TOO_LONG = "longer than 2 MB"
OPEN_QUOTE = "a quote is opened and not closed"
AFTER_QUOTE = "text after a closing quote"
NOT_UTF8 = "not UTF-8, as other lines of the file are"
NO_ROW = ""  # a blank line: nothing to refuse

LONGEST_LINE = 2_000_000
"""Bytes that the parser takes for one row."""

LONGEST_TEXT = 100_000
"""Characters of a refused line that are kept."""

MAX_RECORD_LINES = 50
"""A quoted field over more lines than this is taken for a quote that was never closed."""


def mend(
    path: Path, sound: Path, refused: Path, separator: str, n_columns: int, *, header: bool
) -> int:
    """Write the rows of a UTF-8 text to one file and all other lines to a second one.

    Parameters
    ----------
    path : Path
    sound : Path
        Gets the rows as they are, without the header.
    refused : Path
        Gets a CSV of row number, reason and text; without a reason for lines that are no rows
        (blank, or the rest of a quoted field), which count in the numbers of those after them.
    separator : str
        Of the file; in ``sound`` it is :func:`plain_separator`.
    n_columns : int
    header : bool
        Whether the first line is one, and no row.

    Returns
    -------
    int
        The rows in ``sound``.
    """
    by = plain_separator(separator)
    n_rows = 0
    usual = csv.field_size_limit(LONGEST_LINE)
    try:
        with (
            path.open(encoding="utf-8", errors="surrogateescape") as lines,
            sound.open("w", encoding="utf-8", newline="") as copy,
            refused.open("w", encoding="utf-8", newline="") as table,
        ):
            refuse = csv.writer(table).writerow
            row = 1 - header
            for record, reason in _records(lines, separator, n_columns):
                if row == 0:
                    pass
                elif reason is not None:
                    refuse((row, reason, _text(record[0])))
                else:
                    text = "".join(record)
                    copy.write(text if by == separator else text.replace(separator, by))
                    for rest in range(1, len(record)):
                        refuse((row + rest, NO_ROW, ""))
                    n_rows += 1
                row += len(record)
    finally:
        csv.field_size_limit(usual)
    return n_rows


def plain_separator(separator: str) -> str:
    """What separates the fields of a mended copy: one character."""
    return "\t" if separator == PAIR else separator


def _records(
    lines: Iterator[str], separator: str, n_columns: int
) -> Iterator[tuple[list[str], str | None]]:
    """The lines of each record, and why it is no row (None for a row)."""
    ahead = deque(islice(lines, MAX_RECORD_LINES))
    while ahead:
        n_lines, reason = _record(ahead, separator, n_columns)
        yield [ahead.popleft() for _ in range(n_lines)], reason
        ahead.extend(islice(lines, n_lines))


def _record(ahead: deque[str], separator: str, n_columns: int) -> tuple[int, str | None]:
    """Lines of the record that begins here, and why it is no row; a damaged one has one line."""
    line = ahead[0]
    if line == "\n":
        return 1, NO_ROW
    if not _is_utf8(line):
        return 1, NOT_UTF8
    n_lines, n_fields = 1, line.count(separator) + 1
    if '"' in line:
        by = plain_separator(separator)
        # The reader takes further lines while a quote is open.
        reader = csv.reader(
            (each.replace(separator, by) for each in ahead), delimiter=by, strict=True
        )
        try:
            n_fields, n_lines = len(next(reader)), reader.line_num
        except csv.Error as error:
            is_open = reader.line_num > 1 or "end of data" in str(error)
            return 1, OPEN_QUOTE if is_open else AFTER_QUOTE
    if n_lines > 1:
        # Whole rows inside of a field were swallowed by a quote that is not closed.
        inner = [_n_fields(each, by) for each in islice(ahead, 1, n_lines - 1)]
        others = islice(ahead, 1, n_lines)
        if n_fields != n_columns or n_columns in inner or not all(map(_is_utf8, others)):
            return 1, OPEN_QUOTE
    if sum(len(each.encode()) for each in islice(ahead, n_lines)) > LONGEST_LINE:
        return 1, TOO_LONG if n_lines == 1 else OPEN_QUOTE
    if n_fields != n_columns:
        return 1, FEWER if n_fields < n_columns else MORE
    return n_lines, None


def _n_fields(line: str, by: str) -> int:
    """Fields of a line that is complete, else 0."""
    try:
        return len(next(csv.reader([line], delimiter=by, strict=True), []))
    except csv.Error:
        return 0


def _is_utf8(line: str) -> bool:
    """Whether no byte of it had to be escaped."""
    return line.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in line)


def _text(line: str) -> str:
    """A refused line without its end, in the encoding that it seems to have."""
    line = line.removesuffix("\n")[:LONGEST_TEXT]
    if _is_utf8(line):
        return line
    return line.encode("utf-8", "surrogateescape").decode("cp1252", AS_LATIN_1)


AS_LATIN_1 = "as-latin-1"
"""How to decode, as errors of cp1252, the bytes that Windows leaves free: as Latin-1 does."""


def _control_character(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(AS_LATIN_1, _control_character)
