"""Logs of the user's own: read as text, checked, and turned into the tidy frame."""

import os
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from pyarrow import ArrowException

from helpers.io import DatasetError

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
"""The files that can be read."""

ROLES = {
    "user": "user userid uid visitor visitorid customer customerid client clientid member memberid "
    "account accountid reviewer reviewerid",
    "item": "item itemid iid movie movieid film filmid product productid sku stockcode song songid "
    "track trackid article articleid asin book bookid isbn",
    "timestamp": "timestamp ts time datetime date unixtime eventtime eventdate eventtimestamp "
    "invoicedate createdat reviewtime unixreviewtime",
    "value": "value rating stars qty quantity count plays numplays playcount listens strength",
    "event": "event eventtype action",
    "title": "title itemtitle itemname productname producttitle movietitle songtitle description",
}
"""Each role with the column names that are taken for it, without case and punctuation."""

REQUIRED = ("user", "item", "timestamp")
NULLS = frozenset({"", "na", "n/a", "nan", "nat", "null", "none", "<na>"})
"""Texts that mean "nothing here", in lower case."""

_DAMAGED = (pd.errors.ParserError, pd.errors.ParserWarning, ArrowException, EOFError, zlib.error)

MAX_SECONDS = 1e11
"""Unix times above this (the year 5138) are no seconds."""

EARLIEST = pd.Timestamp("1900-01-01", tz="UTC")
"""Times before this are taken for unreadable (nanoseconds could not hold those before 1677)."""


def suffix(path: str | os.PathLike[str]) -> str:
    """Find which of :data:`SUFFIXES` a file name ends with, or nothing.

    Examples
    --------
    >>> suffix("logs/Events.CSV.gz"), suffix("movielens-100k")
    ('.csv.gz', '')
    """
    name = os.fspath(path).lower()
    return next((known for known in SUFFIXES if name.endswith(known)), "")


def parse_columns(text: str, roles: Mapping[str, str] = ROLES) -> dict[str, str]:
    """Read a column mapping such as ``"user=visitor,item=sku"``.

    Parameters
    ----------
    text : str
        ``role=column`` pairs with commas between; empty for no mapping.
    roles : mapping
        Its keys are the roles there are.

    Returns
    -------
    dict of role to column name

    Raises
    ------
    DatasetError
        If a role is unknown or stands there twice, or a pair has no ``=`` or lacks a side.

    Examples
    --------
    >>> parse_columns("user=visitor, item=sku")
    {'user': 'visitor', 'item': 'sku'}
    """
    mapping: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else []:
        role, equals, column = (part.strip() for part in pair.partition("="))
        if not (role and equals and column):
            raise DatasetError(
                f"COLUMNS has {pair.strip()!r}, expected role=column; {_example(())}"
            )
        if role in mapping:
            raise DatasetError(
                f"COLUMNS names the role {role!r} twice ({mapping[role]!r} and {column!r}); "
                "keep one of them"
            )
        mapping[role] = column
    _check_roles(mapping, roles)
    return mapping


def read_log(
    path: str | os.PathLike[str], columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Read and check a log of interactions.

    Parameters
    ----------
    path : str or path
        A file with one of :data:`SUFFIXES`; text files are UTF-8 with a header line.
    columns : mapping of role to column name, optional
        What is not given is guessed from the usual names (:data:`ROLES`).

    Returns
    -------
    DataFrame
        In the order of the file: ``user_id`` and ``item_id`` (str), ``value`` (float64; 1.0 where
        the log has none), ``timestamp`` (datetime64[ns, UTC]) and, where the log has them,
        ``event`` and ``title`` (str, empty where missing). ``attrs["columns"]`` says which column
        became what.

    Raises
    ------
    DatasetError
        If the file, a column or a value in it is not usable. Rows are counted from 1, without
        the header.

    Notes
    -----
    Ids are text, so ``00123`` stays as it is; whole numbers that were stored as floats (``12.0``)
    become ``12``. Times are Unix seconds or ISO 8601; those without an offset are UTC. Rows that
    are merely odd (duplicates, zeros) are kept: they are a matter for cleaning.
    """
    path = Path(path)
    table = _read_table(path)
    found = resolve_columns(list(table.columns), columns or {})
    frame = pd.DataFrame(
        {
            "user_id": ids_from(table[found["user"]]),
            "item_id": ids_from(table[found["item"]]),
            "value": values_from(table[found["value"]]) if "value" in found else 1.0,
            "timestamp": timestamps_from(table[found["timestamp"]]),
        }
    )
    for role in ("event", "title"):
        if role in found:
            frame[role] = _text(table[found[role]])
    check_users(frame["user_id"])
    frame.attrs["columns"] = found
    return frame


def resolve_columns(
    seen: Sequence[str],
    columns: Mapping[str, str],
    *,
    roles: Mapping[str, str] = ROLES,
    required: Sequence[str] = REQUIRED,
) -> dict[str, str]:
    """Decide which column plays which role: as given, else by its name.

    Parameters
    ----------
    seen : sequence of str
        The columns of the file.
    columns : mapping of role to column name
        The user's choice; it need not be complete.
    roles : mapping of str to str
        The roles to fill, each with the names that are taken for it.
    required : sequence of str
        The roles that must have a column.

    Raises
    ------
    DatasetError
        If a given column is not there or given twice, a required role has no column, or several
        columns fit a role.
    """
    _check_roles(columns, roles)
    for role, column in columns.items():
        if column not in seen:
            raise DatasetError(f"there is no column {column!r} for {role!r}; {_example(seen)}")
    if len(set(columns.values())) < len(columns):
        raise DatasetError(f"one column is given for two roles: {dict(columns)}; {_example(seen)}")
    found = dict(columns)
    free = [column for column in seen if column not in columns.values()]
    for role, names in roles.items():
        if role in found:
            continue
        fits = [name for name in free if re.sub("[^a-z0-9]", "", name.lower()) in names.split()]
        if len(fits) > 1:
            raise DatasetError(f"the columns {fits} could each be the {role}; {_example(seen)}")
        if fits:
            found[role] = fits[0]
        elif role in required:
            raise DatasetError(f"no column looks like the {role}; {_example(seen)}")
    return found


def ids_from(column: pd.Series) -> pd.Series:
    """Convert ids to text; whole numbers stored as floats lose their ``.0``.

    Raises
    ------
    DatasetError
        If an id is missing.

    Examples
    --------
    >>> ids_from(pd.Series([12.0, 7.0], name="user")).tolist()
    ['12', '7']
    >>> ids_from(pd.Series(["00123", "12.0"], name="user")).tolist()
    ['00123', '12']
    """
    text = _text(column)
    _refuse(column, _is_null(text), "no id", "an id in every row", "drop these rows first")
    if text.str.fullmatch(r"-?\d+(\.0+)?").all():
        text = text.str.replace(r"\.0+$", "", regex=True)
    return text


def values_from(column: pd.Series) -> pd.Series:
    """Convert strengths of interactions to float64.

    Raises
    ------
    DatasetError
        If a value is missing, text, infinite or negative.
    """
    expected = "a number of at least 0"
    missing = _is_null(_text(column))
    _refuse(column, missing, "no value (NaN)", expected, "fill or drop these rows first")
    values = pd.to_numeric(column, errors="coerce").astype("float64")
    _refuse(column, values.isna(), "text", expected, "correct or drop these rows first")
    infinite = values.abs() == float("inf")
    _refuse(column, infinite, "an infinite value", expected, "correct or drop these rows first")
    _refuse(
        column,
        values < 0,
        "a negative value",
        expected,
        "drop these rows first (a return or cancellation is no sign of interest)",
    )
    return values


def timestamps_from(column: pd.Series, now: datetime | None = None) -> pd.Series:
    """Convert times to datetime64[ns, UTC].

    Raises
    ------
    DatasetError
        If a time is in milliseconds, not readable, or more than a day after ``now``.
    """
    expected = "Unix seconds or ISO 8601, such as 2024-05-31 14:00:00"
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        times = pd.to_datetime(column, utc=True)
    else:
        numbers = pd.to_numeric(column, errors="coerce").astype("float64")
        # 20240531 is a date in ISO 8601 as well; as seconds it would be a day of 1970.
        compact = numbers.dropna().between(19_000_101, 21_001_231).all()
        if not compact and 2 * numbers.notna().sum() > (~_is_null(_text(column))).sum():
            years = numbers.between(1900, 2100)
            if years.all():
                _refuse(column, years, "what looks like years", expected, "give a date or time")
            milliseconds = numbers.abs().between(MAX_SECONDS, float("inf"), inclusive="neither")
            _refuse(
                column, milliseconds, "milliseconds (or finer)", expected, "divide them by 1000"
            )
            numbers = numbers.where(numbers.abs() <= MAX_SECONDS)
            times = pd.to_datetime(numbers, unit="s", utc=True, errors="coerce")
        else:
            iso = _text(column).str.replace(r"\s*(UTC|GMT)$", "+00:00", regex=True)
            times = pd.to_datetime(iso, utc=True, format="ISO8601", errors="coerce")
    unreadable = times.isna() | (times < EARLIEST)
    _refuse(column, unreadable, "no readable time", expected, "correct or drop these rows first")
    latest = pd.Timestamp(now or datetime.now(UTC)) + pd.Timedelta(days=1)
    _refuse(
        column,
        times > latest,
        "a time in the future",
        f"nothing later than {latest:%Y-%m-%d}",
        "correct or drop these rows first",
    )
    return times.dt.as_unit("ns")


def check_users(user_ids: pd.Series) -> None:
    """Refuse a log without rows, or of one user, from whom nobody can learn about others.

    Raises
    ------
    DatasetError
        If there are fewer than two users.
    """
    if user_ids.nunique() < 2:
        raise DatasetError(
            f"the log has {user_ids.nunique()} user(s) in {len(user_ids):,} rows, expected at "
            "least 2: collaborative filtering learns from what several users share; is the right "
            "column given as user (COLUMNS=user=...)?"
        )


def _read_table(path: Path) -> pd.DataFrame:
    """Read the columns: text as it stands in a CSV, typed in a Parquet."""
    kind = suffix(path)
    if not path.is_file():
        raise DatasetError(f"{path} does not exist or is no file; check the path")
    if not kind:
        raise DatasetError(f"{path} cannot be read: expected one of {', '.join(SUFFIXES)}")
    try:
        if kind == ".parquet":
            table = pd.read_parquet(path)
        else:
            with warnings.catch_warnings():
                # A row that is longer than the header is only warned about; it is an error.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                # The encoding also takes the mark that spreadsheets put at the start.
                table = pd.read_csv(
                    path,
                    sep="\t" if kind.startswith(".tsv") else ",",
                    header=None,  # pandas would rename a column that stands there twice
                    dtype="str",
                    na_filter=False,
                    index_col=False,
                    encoding="utf-8-sig",
                )
                table = table.set_axis(table.iloc[0], axis=1).iloc[1:].reset_index(drop=True)
    except pd.errors.EmptyDataError as error:
        raise DatasetError(f"{path} is empty; expected a header line and rows") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except (*_DAMAGED, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DatasetError(
            f"{path} is damaged or no {kind} file ({reason}); check that it is complete and that "
            "its suffix fits its content"
        ) from error
    table.columns = [str(name).strip() for name in table.columns]
    if not table.columns.is_unique:
        twice = sorted(set(table.columns[table.columns.duplicated()]))
        raise DatasetError(f"{path} has the columns {twice} twice; rename or drop one of each")
    if table.empty:
        raise DatasetError(f"{path} has a header ({', '.join(table.columns)}) but no rows")
    return table


def _check_roles(columns: Mapping[str, str], roles: Mapping[str, str] = ROLES) -> None:
    for role in columns:
        if role not in roles:
            raise DatasetError(
                f"COLUMNS names an unknown role {role!r}, expected one of {', '.join(roles)}; "
                f"{_example(())}"
            )


def _example(seen: Sequence[str]) -> str:
    """Say which columns are there and what a mapping looks like."""
    given = f"the file has the columns {', '.join(seen)}; " if seen else ""
    return given + 'say which is which with COLUMNS="user=...,item=...,timestamp=...,value=..."'


def _text(column: pd.Series) -> pd.Series:
    return column.astype("str").fillna("").str.strip()


def _is_null(text: pd.Series) -> pd.Series:
    return text.str.lower().isin(NULLS)


def _refuse(column: pd.Series, bad: pd.Series, what: str, expected: str, fix: str) -> None:
    """Raise if any row is bad, with how many there are and the first as an example."""
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise DatasetError(
            f"column {column.name!r} has {what} in {int(bad.sum()):,} of {len(column):,} rows, "
            f"e.g. {str(column.iloc[row])!r} in row {row + 1:,}; expected {expected}; {fix}"
        )
