"""What several modules need for SQL: quoted texts and paths, and the value that a query gives."""

from collections.abc import Iterable
from glob import escape
from pathlib import Path
from typing import Any

import duckdb

Connection = duckdb.DuckDBPyConnection


def scalar(connection: Connection, query: str) -> Any:
    """Ask for one value."""
    [(value,)] = connection.execute(query).fetchall()
    return value


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


def listed(texts: Iterable[str]) -> str:
    """Quote texts as a list."""
    return f"[{', '.join(map(literal, texts))}]"
