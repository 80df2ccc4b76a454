"""From any event log to the tidy frame, in streaming, with an account of every row."""

import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from helpers import io
from helpers.cleaning import reading, schema
from helpers.cleaning.columns import ITEM_ROLES, LOG_ROLES, fitting, item_columns
from helpers.cleaning.reading import Part, Source
from helpers.cleaning.report import CleaningReport, build
from helpers.cleaning.rules import Rules, apply
from helpers.cleaning.schema import Layout
from helpers.cleaning.sql import Connection, exact_path, literal, scalar
from helpers.io import DatasetError

# The id of a row is its position in its part, with the part's number above so many bits.
PLACES = 40

RESULTS = ("clean.parquet", "removed.parquet", "quarantine.parquet", "report.json")
"""What a cleaning writes."""

MEMORY = "1GB"  # what DuckDB may hold in memory; beyond it, it writes to the disk
NO_TIMES = 0.9  # a log of which more rows than this have no time that can be read has no times

ALL_RULES = Rules()
"""Every rule, with its defaults."""

_TEXT_TYPES = {pa.string(): pd.StringDtype(na_value=np.nan)}


@dataclass(frozen=True, eq=False)
class Cleaned:
    """The outcome of :func:`clean`.

    Attributes
    ----------
    report : CleaningReport
    accounts : DataFrame
        Evidence, signs and verdict for each account with enough views.
    folder : Path
        Holds ``clean.parquet``, ``removed.parquet``, ``quarantine.parquet`` and ``report.json``;
        a temporary one where no other was asked for.
    """

    report: CleaningReport
    accounts: pd.DataFrame
    folder: Path

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The tidy events in order of time (ties: user, item, and the other columns).

        ``clean.parquet`` has them in the order of the log, which costs no sorting.
        """
        path = io.existing(self.folder / "clean.parquet")
        names = parquet.read_schema(path).names
        first = [name for name in ("timestamp", "user_id", "item_id", "event") if name in names]
        order = ", ".join(dict.fromkeys([*first, *names]))
        with duckdb.connect(config={"threads": 1}) as connection:
            return _pandas(connection, f"FROM read_parquet({exact_path(path)}) ORDER BY {order}")

    @cached_property
    def removed(self) -> pd.DataFrame:
        """Every removed row: ``file``, ``row`` (from 1, without the header), ``rule``, content."""
        return _in_utc(io.read_frame(self.folder / "removed.parquet"))

    @cached_property
    def quarantine(self) -> pd.DataFrame:
        """Every row that is not valid: ``file``, ``row``, ``reason`` and its ``text``."""
        return io.read_frame(self.folder / "quarantine.parquet")


def clean(
    source: Source,
    columns: Mapping[str, str] | None = None,
    rules: Rules = ALL_RULES,
    to: str | Path | None = None,
    *,
    events: Mapping[str, str] | None = None,
    zone: str = "UTC",
    day_first: bool | None = None,
    memory: str = MEMORY,
) -> Cleaned:
    """Turn an event log into the tidy frame, and say exactly what was done.

    Parameters
    ----------
    source : path, glob, folder, list of these, or DataFrame
        CSV, TSV (both with a header; UTF-8, UTF-16, or Latin-1 as Windows writes it; also gzipped)
        or Parquet. The files may name and order their columns differently.
    columns : mapping of role to column name, optional
        What is not given is guessed from the usual names (:data:`helpers.cleaning.columns.ROLES`).
    rules : Rules
        What to remove.
    to : path, optional
        A folder for the results; they are all replaced, or none is.
    events : mapping of str to str, optional
        Further names of events: ``{"wishlist": "cart"}``.
    zone : str
        Time zone of times that have none.
    day_first : bool, optional
        How ``3/4/2024`` is meant, where the dates themselves do not tell.
    memory : str
        What the engine may hold in memory, as DuckDB writes it.

    Returns
    -------
    Cleaned

    Raises
    ------
    DatasetError
        If a file cannot be read as a whole, a column is missing or ambiguous, or no row is left.

    Notes
    -----
    ``rows = kept + quarantined + removed by each rule``: a row that is not valid goes to the
    quarantine with the reason, a valid row is kept or removed under the first rule that hits it.
    No value is repaired but for its spelling (blanks around it, ``12.0`` for the id ``12``,
    thousands separators, time formats). A purchase that was returned in part is kept with what is
    left; the column ``returned`` has the difference. Cleaning the result again changes nothing.

    The engine is DuckDB: all rules are set operations in it, and it keeps to a limit of memory by
    writing to the disk. ``make bench`` compares it with pandas, Polars and SQL written by hand.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "CustomerID": [7, 7, 8, None], "sku": ["a", "a", " b ", "b"],
    ...     "InvoiceDate": "2024-05-31 14:00", "Quantity": ["2", "2", "1,000", "1"]})
    >>> cleaned = clean(log)
    >>> cleaned.frame[["user_id", "item_id", "value"]].values.tolist()
    [['7', 'a', 2.0], ['8', 'b', 1000.0]]
    >>> cleaned.report.removed("missing user"), cleaned.report.removed("duplicates")
    (1, 1)
    """
    _check(
        rules=(rules, isinstance(rules, Rules), "cleaning.Rules(...)"),
        columns=(columns, isinstance(columns, Mapping | None), "a mapping of text to text"),
        events=(events, isinstance(events, Mapping | None), "a mapping of text to text"),
        day_first=(day_first, isinstance(day_first, bool | None), "True, False or None"),
        to=(to, isinstance(to, str | Path | None), "the path of a folder"),
    )
    if to is not None:
        _check_target(Path(to), source)
    with _engine(zone, memory) as (connection, scratch):
        parts = reading.open_parts(connection, source, scratch)
        plan = schema.layout(connection, parts, columns or {}, events or {}, day_first)
        _type(connection, scratch, parts, plan)
        connection.execute(
            "CREATE VIEW events AS SELECT * EXCLUDE (reason, text) FROM typed WHERE reason IS NULL"
        )
        verdicts = apply(connection, rules)
        reasons = _write(connection, scratch, plan.fields)
        report = build(connection, rules, verdicts, reasons, plan.fields)
        if not report.n_kept:
            steps = report.waterfall.query("removed > 0")["removed"].to_dict()
            refused = f"; quarantined for {reasons.head(3).to_dict()}" if len(reasons) else ""
            raise DatasetError(
                f"no row is left of {report.n_rows:,}: {steps}{refused}; correct the columns, or "
                "switch a rule off (Rules(without=[...]), or --without)"
            )
        folder = Path(tempfile.mkdtemp(prefix="cleaned-") if to is None else to)
        cleaned = Cleaned(report, verdicts.accounts, folder)
        if to is None:
            weakref.finalize(cleaned, shutil.rmtree, folder, ignore_errors=True)
        _publish(scratch, cleaned)
    return cleaned


def _check(**arguments: tuple[object, bool, str]) -> None:
    """Refuse arguments: each is given, whether it is good, and what is expected."""
    for name, (given, is_good, expected) in arguments.items():
        if not is_good:
            raise DatasetError(f"{name} is {given!r}, expected {expected}")


def _check_target(to: Path, source: Source) -> None:
    """Refuse a folder for the results that would fail late, or spoil the source."""
    if to.exists() and not to.is_dir():
        raise DatasetError(f"to is {str(to)!r}, which is a file; expected a folder")
    for name in RESULTS:
        if (to / name).is_dir():
            raise DatasetError(f"to is {str(to)!r}, where {name} is a folder; move it away")
    files = [] if isinstance(source, pd.DataFrame) else reading.find(source)
    if any(file.resolve().parent == to.resolve() for file in files):
        raise DatasetError(
            f"to is {str(to)!r}, which holds the log itself: the results would replace it, or the "
            "next run would take them for a part of it; choose another folder"
        )


def read_log(
    path: str | Path, columns: Mapping[str, str]
) -> tuple[pd.DataFrame, dict[str, str], list[str]]:
    """Read one file as it is: no rule applies, only what cannot be a row is left out.

    Parameters
    ----------
    path : path
        Text or Parquet, whatever its name.
    columns : mapping of role to column name
        What is not given is guessed from the usual names.

    Returns
    -------
    frame : DataFrame
        ``user_id``, ``item_id``, ``value`` and, where the file has them, ``timestamp``, ``event``
        and ``title``; in the order of the file.
    found : dict of role to column name
    notes : list of str
        What was assumed, and what was left out.

    Raises
    ------
    DatasetError
        If the file or its columns cannot be read, or more than half of its rows are not valid.
    """
    notes = []
    with _engine() as (connection, scratch):
        [part] = reading.open_parts(connection, [path], scratch)
        plan = schema.layout(connection, [part], columns, {}, None, LOG_ROLES)
        found = plan.columns[part.name]
        if part.assumed:
            names = ", ".join(part.columns)
            notes.append(f"The file has no header line; its columns are taken as {names}.")
        _type(connection, scratch, [part], plan, strict=True)
        fields = [name for name in plan.fields if name != "event" or "event" in found]
        ignored: tuple[str, ...] = ()
        if "timestamp" in found:
            [(n_rows, n_bad)] = connection.execute(
                "SELECT count(*), count(*) FILTER (timestamp IS NULL OR "
                f"among(reason, {schema.words(schema.TIME_FAULTS)})) FROM typed"
            ).fetchall()
            if n_bad > NO_TIMES * n_rows:
                fields.remove("timestamp")
                ignored = schema.TIME_FAULTS
                column = found["timestamp"]
                example = scalar(
                    connection, f"SELECT {part.sql(column)} FROM {part.relation} LIMIT 1"
                )
                notes.append(
                    f"{n_bad:,} of {n_rows:,} rows of the column {column!r} (such as "
                    f"{str(example)!r}) have no time from 1970 to now, so it is ignored; if it "
                    "holds times, correct them, or name another column (COLUMNS=timestamp=...)."
                )
        notes += _left_out(connection, part, ignored)
        frame = _pandas(
            connection,
            f"SELECT {_tidy(fields)} FROM typed WHERE reason IS NULL "
            f"OR among(reason, {schema.words(ignored)})",
        )
    return frame, found, notes


def _left_out(connection: Connection, part: Part, ignored: Collection[str]) -> list[str]:
    """Say which rows are not valid; they must not be the most."""
    found = connection.execute(
        "SELECT reason, count(*) AS n, min(row) AS first, left(min_by(text, row), 80) "
        f"FROM quarantine WHERE NOT among(reason, {schema.words(ignored)}) "
        "GROUP BY reason ORDER BY n DESC, first"
    ).fetchall()
    if not found:
        return []
    reasons = "; ".join(
        f"{reason} in {n:,} (first in row {first:,}: {text!r})" for reason, n, first, text in found
    )
    n_rows = part.n_rows + scalar(connection, "SELECT count(reason) FROM refused")
    n_left_out = sum(n for _, n, *_ in found)
    message = f"{n_left_out:,} of {n_rows:,} rows are not valid"
    if n_left_out > n_rows / 2:
        raise DatasetError(
            f"{part.name}: {message}: {reasons}; correct the file, or say which column is which "
            'with COLUMNS="user=...,item=...,timestamp=...,value=..."'
        )
    return [f"{message} and were left out: {reasons}."]


def read_items(path: str | Path) -> pd.DataFrame:
    """Read a file of items: ``item_id``, ``title`` and, where it has them, ``genres``.

    Parameters
    ----------
    path : path
        With the columns item (or id), title and genres; or without a header line, in this order.

    Raises
    ------
    DatasetError
        If the file cannot be read.
    """
    with _engine() as (connection, scratch):
        [part] = reading.open_parts(connection, [path], scratch, item_columns)
        names = item_columns(part.columns) or part.columns
        found = {
            role: part.columns[names.index(name)]
            for role, usual in ITEM_ROLES.items()
            for name in fitting(names, usual)[:1]
        }
        reading.check_plain(connection, part, list(found.values()))
        sql = {
            role: f"plain_text(CAST({part.sql(name)} AS VARCHAR))" for role, name in found.items()
        }
        genres = f", coalesce({sql['genres']}, '') AS genres" if "genres" in sql else ""
        frame = _pandas(
            connection,
            f"SELECT id_text({sql['item']}) AS item_id, {sql['title']} AS title{genres} "
            f"FROM {part.relation}",
        )
    frame = frame.dropna(subset="item_id").drop_duplicates("item_id", ignore_index=True)
    frame["title"] = frame["title"].fillna(frame["item_id"])
    return frame


@contextmanager
def _engine(zone: str = "UTC", memory: str = MEMORY) -> Iterator[tuple[Connection, Path]]:
    """A database of its own, and a folder for what does not fit into memory."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise DatasetError(f"zone is {zone!r}, expected a name such as Europe/London") from error
    with tempfile.TemporaryDirectory(prefix="cleaning-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        config: dict[str, Any] = {
            "memory_limit": memory,
            "temp_directory": str(scratch / "spill"),
        }
        try:
            connection = duckdb.connect(config=config)
        except duckdb.Error as error:
            raise DatasetError(
                f"memory is {memory!r}, expected an amount such as '1GB' ({error})"
            ) from error
        try:
            with connection:
                connection.execute("SET TimeZone = $1", [zone])
                connection.execute("SET enable_progress_bar = false")
                connection.execute(schema.MACROS)
                yield connection, scratch
        except duckdb.OutOfMemoryException as error:
            raise DatasetError(
                f"memory is {memory!r}, too little for this log; `make tidy LOG=... TO=... "
                "OPTIONS='--memory 4GB'` cleans it with more, and a run can take what it writes"
            ) from error
        except duckdb.Error as error:
            is_full = "No space" in str(error)
            fix = "free some disk space for temporary files" if is_full else "report a bug"
            raise DatasetError(
                f"the log could not be read ({str(error).splitlines()[0]}); nothing was written: "
                + fix
            ) from error


def _type(
    connection: Connection, scratch: Path, parts: list[Part], plan: Layout, *, strict: bool = False
) -> None:
    """Make the views ``typed`` (rows with their reason, if not valid) and ``quarantine``."""
    read = []
    for number, part in enumerate(parts):
        target = scratch / f"part-{number:06}.parquet"
        query = schema.select(part, plan, schema.faults(plan, strict=strict))
        try:
            n_rows = _copy(connection, query, target, "CODEC lz4_raw")
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise reading.damaged_file(Path(part.name), error) from error
        if n_rows != part.n_rows:
            raise DatasetError(
                f"{part.name} has {part.n_rows:,} rows, but {n_rows:,} were read the second time; "
                "if nothing changed the file meanwhile, report a bug"
            )
        refused = f"SELECT count(reason) FROM refused WHERE part = {number}"
        if not n_rows and not scalar(connection, refused):
            raise DatasetError(f"{part.name} has a header ({', '.join(part.columns)}) but no rows")
        read.append(
            f"SELECT * EXCLUDE (file_row_number), {number}::INTEGER AS part, "
            f"file_row_number + {number << PLACES} AS id "
            f"FROM read_parquet({exact_path(target)}, file_row_number=true)"
        )
    files = [(number, part.name) for number, part in enumerate(parts)]
    connection.execute("CREATE TABLE files (part INTEGER, file VARCHAR)")
    connection.executemany("INSERT INTO files VALUES (?, ?)", files)
    # Skipped are the lines that are no rows, before the row at a position of its part.
    connection.execute(
        f"""
        CREATE VIEW typed AS {" UNION ALL ".join(read)};
        CREATE TABLE skipped AS SELECT part, row - nth AS position, max(nth) AS n FROM (
            SELECT part, row, row_number() OVER (PARTITION BY part ORDER BY row) AS nth
            FROM refused) GROUP BY ALL;
        CREATE VIEW quarantine AS SELECT * FROM (
            SELECT part, row, reason, text
            FROM ({_placed("SELECT * FROM typed WHERE reason IS NOT NULL")})
            UNION ALL SELECT * FROM refused WHERE reason IS NOT NULL) JOIN files USING (part)
        """
    )


def _placed(rows: str) -> str:
    """SQL for rows with their place in the file: ``row``, from 1 without the header."""
    return (
        "SELECT placed.*, position_in_part + 1 + coalesce(skipped.n, 0) AS row "
        f"FROM (SELECT *, id & {(1 << PLACES) - 1} AS position_in_part FROM ({rows})) AS placed "
        "ASOF LEFT JOIN skipped ON placed.part = skipped.part "
        "AND placed.position_in_part >= skipped.position"
    )


def _write(connection: Connection, scratch: Path, fields: list[str]) -> pd.Series:
    """Write the results into the scratch folder; the number of rows not valid, by reason."""
    connection.execute(
        "CREATE VIEW removed_rows AS SELECT * FROM "
        f"({_placed('SELECT * FROM removed JOIN events USING (id)')}) JOIN files USING (part)"
    )
    changed, kept = {}, "alive"
    if scalar(connection, "SELECT count(*) FROM reduced"):
        value = "coalesce(reduced.value, alive.value)"
        changed = {"value": value, "returned": f"coalesce(returned, 0) + (alive.value - {value})"}
        kept = "alive LEFT JOIN reduced USING (id)"
    query = f"SELECT {_tidy(dict.fromkeys([*fields, *changed]), **changed)} FROM {kept}"
    _copy(connection, query, scratch / "clean.parquet")
    query = f"SELECT file, row, rule, {_tidy(fields)} FROM removed_rows ORDER BY id"
    _copy(connection, query, scratch / "removed.parquet")
    query = "SELECT file, row, reason, text FROM quarantine ORDER BY part, row"
    _copy(connection, query, scratch / "quarantine.parquet")
    quarantine = exact_path(scratch / "quarantine.parquet")
    counts = connection.execute(
        f"SELECT reason, count(*) AS n FROM read_parquet({quarantine}) "
        "GROUP BY reason ORDER BY n DESC, reason"
    ).fetchall()
    return pd.Series(dict(counts), dtype="int64", name="count").rename_axis("reason")


def _tidy(fields: Iterable[str], **changed: str) -> str:
    """SQL for the tidy columns, times with their zone."""
    sql = {"timestamp": "timezone('UTC', timestamp)", **changed}
    return ", ".join(f"{sql.get(name, name)} AS {name}" for name in fields)


def _copy(connection: Connection, query: str, path: Path, *options: str) -> int:
    """Write the rows of a query as Parquet; their number."""
    form = ", ".join(["FORMAT parquet", *options])
    return int(scalar(connection, f"COPY ({query}) TO {literal(str(path))} ({form})"))


def _publish(scratch: Path, cleaned: Cleaned) -> None:
    """Move the results to their place, all or none: only when each is whole, they get names."""
    with ExitStack() as stack:
        # The report comes last, so where it is, all is.
        place = stack.enter_context(io.atomic(cleaned.folder / "report.json"))
        io.write_json(place, cleaned.report.to_json())
        for name in RESULTS[:-1]:
            shutil.move(scratch / name, stack.enter_context(io.atomic(cleaned.folder / name)))


def _pandas(connection: Connection, query: str) -> pd.DataFrame:
    table = connection.sql(query).to_arrow_table()
    return _in_utc(table.to_pandas(types_mapper=_TEXT_TYPES.get))


def _in_utc(frame: pd.DataFrame) -> pd.DataFrame:
    if "timestamp" in frame:
        frame["timestamp"] = frame["timestamp"].dt.tz_convert("UTC").dt.as_unit("ns")
    return frame
