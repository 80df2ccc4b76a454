"""Texts and paths, quoted for SQL."""

from glob import escape
from pathlib import Path


def literal(text: str) -> str:
    """Quote a text.

    Examples
    --------
    >>> print(literal("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"


def exact_path(path: Path) -> str:
    """Quote the path of a file to read, of which DuckDB would take ``*``, ``?`` or ``[`` as a glob.

    Examples
    --------
    >>> print(exact_path(Path("logs[1]/may.csv")))
    'logs[[]1]/may.csv'
    """
    return literal(escape(str(path)))
