"""The lines of a text file one by one, for files that the parser alone would not read whole.

It is slow and rarely needed: :mod:`helpers.cleaning.reading` comes here when the rows of the parser
do not add up to the lines of the file, or when a file mixes encodings or ends of lines.
"""

import codecs
import csv
import re
from collections import deque
from itertools import islice
from pathlib import Path

PAIR = "::"  # MovieLens' separator, which the module csv does not take; a tab stands for it
LONGEST_LINE = 2_000_000  # bytes that the parser takes for one row

LONGEST_TEXT = 100_000  # characters of a refused line that are kept

# A quoted field over more lines than this is taken for a quote that was never closed.
MAX_RECORD_LINES = 50

NO_ROW = ""
_OPEN_QUOTE = "a quote is opened and not closed"
_BLOCK = 1 << 20


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
    n_rows, row = 0, 1
    usual = csv.field_size_limit(LONGEST_LINE)
    with (
        path.open(encoding="utf-8", errors="surrogateescape") as file,
        sound.open("w", encoding="utf-8", newline="") as copy,
        refused.open("w", encoding="utf-8", newline="") as table,
    ):
        refuse = csv.writer(table).writerow
        if header:
            file.readline()
        while block := file.readlines(_BLOCK):
            if separator != by:
                block = [line.replace(separator, by) for line in block]
            if _is_plain(block, by, n_columns):
                copy.writelines(block)
                n_rows, row = n_rows + len(block), row + len(block)
                continue
            ahead = deque(block)
            while ahead:
                if '"' in ahead[0] and len(ahead) < MAX_RECORD_LINES:
                    more = islice(file, MAX_RECORD_LINES - len(ahead))
                    ahead.extend(line.replace(separator, by) for line in more)
                n_lines, reason = _record(ahead, by, n_columns)
                record = [ahead.popleft() for _ in range(n_lines)]
                if reason is None:
                    copy.writelines(record)
                    n_rows += 1
                else:
                    refuse((row, reason, _text(record[0])))
                for rest in range(1, n_lines):
                    refuse((row + rest, NO_ROW, ""))
                row += n_lines
    csv.field_size_limit(usual)
    return n_rows


def plain_separator(separator: str) -> str:
    """What separates the fields of a mended copy: one character."""
    return "\t" if separator == PAIR else separator


def _is_plain(block: list[str], by: str, n_columns: int) -> bool:
    """Whether each line is a row without quotes, as most lines are; this test is quick."""
    text = "".join(block)
    return (
        '"' not in text
        and _is_utf8(text)
        and len(max(block, key=len)) * 4 < LONGEST_LINE
        and {line.count(by) for line in block} == {n_columns - 1}
        and "\n" not in block
    )


def _record(ahead: deque[str], by: str, n_columns: int) -> tuple[int, str | None]:
    """Lines of the record that begins here, and why it is no row; a damaged one has one line."""
    line = ahead[0]
    if line == "\n":
        return 1, NO_ROW
    if not _is_utf8(line):
        return 1, "not UTF-8, as other lines of the file are"
    n_fields, others = line.count(by) + 1, list[str]()
    if '"' in line:
        # The reader takes further lines while a quote is open.
        reader = csv.reader(islice(ahead, MAX_RECORD_LINES), delimiter=by, strict=True)
        try:
            n_fields = len(next(reader))
        except csv.Error as error:
            is_open = reader.line_num > 1 or "end of data" in str(error)
            return 1, _OPEN_QUOTE if is_open else "text after a closing quote"
        others = list(islice(ahead, 1, reader.line_num))
        # Whole rows inside of a field were swallowed by a quote that is not closed.
        swallowed = n_columns in [_n_fields(each, by) for each in others[:-1]]
        if others and (n_fields != n_columns or swallowed or not all(map(_is_utf8, others))):
            return 1, _OPEN_QUOTE
    if len("".join((line, *others)).encode()) > LONGEST_LINE:
        return 1, _OPEN_QUOTE if others else "longer than 2 MB"
    if n_fields != n_columns:
        return 1, f"{'fewer' if n_fields < n_columns else 'more'} fields than the header"
    return 1 + len(others), None


def _n_fields(line: str, by: str) -> int:
    """Fields of a line that is complete, else 0."""
    try:
        return len(next(csv.reader([line], delimiter=by, strict=True), []))
    except csv.Error:
        return 0


def _is_utf8(line: str) -> bool:
    """Whether no byte of it had to be escaped."""
    return line.isascii() or re.search("[\udc80-\udcff]", line) is None


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
