"""A rolling window of a log: one Parquet object a day, in any file system that Arrow knows."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import sqlalchemy
from pyarrow import parquet
from pyarrow.fs import FileInfo, FileSelector, FileSystem, LocalFileSystem

from helpers import cleaning, io
from helpers.cleaning import reading
from helpers.io import DatasetError

MOST_INVALID = 0.1
"""Share of fetched rows without a time, or with another fault, beyond which the source is taken
for broken."""

_NO_RULES = cleaning.Rules(without=list(cleaning.RULES))
_SLACK = timedelta(days=1)
"""A source is asked for a day more than is needed, since its times and ours may differ in zone."""


class Fetched(NamedTuple):
    """Tidy events before any rule of cleaning, and the rows and bytes that were read for them.

    The bytes are those of the files; of a database, those of its rows in memory.
    """

    events: pd.DataFrame
    n_rows: int
    n_bytes: int


def fetch(
    source: str | Path | pd.DataFrame,
    since: date,
    until: date,
    *,
    query: str = "",
    columns: Mapping[str, str] | None = None,
    any_quality: bool = False,
) -> Fetched:
    """Read the rows of some days from logs or from a database.

    Parameters
    ----------
    source : path, folder, pattern, SQLAlchemy URL or DataFrame
        Files that were last written more than a day before ``since`` are not read.
    since, until : date
        The first day (UTC), and the day after the last one.
    query : str
        For a database: SQL with the parameter ``:since``, a time without zone (UTC).
    columns : mapping of role to column name, optional
        As for :func:`helpers.cleaning.clean`.
    any_quality : bool
        Whether to go on where more than :data:`MOST_INVALID` of the rows are not valid.

    Returns
    -------
    Fetched

    Raises
    ------
    DatasetError
        If the source cannot be read, has no times, or is broken.
    """
    asked = datetime.combine(since, time(), UTC) - _SLACK
    if "://" in str(source):
        source = _query(str(source), query, asked)
    if isinstance(source, pd.DataFrame):
        read: pd.DataFrame | list[Path] = source
        n_bytes = int(source.memory_usage(deep=True).sum())
    else:
        files = {path: path.stat() for path in reading.find(source)}
        read = [path for path, file in files.items() if file.st_mtime >= asked.timestamp()]
        n_bytes = sum(files[path].st_size for path in read)
    if not len(read):
        return Fetched(pd.DataFrame(), 0, n_bytes)
    cleaned = cleaning.clean(read, columns, _NO_RULES)
    n_rows, events = cleaned.report.n_rows, cleaned.frame
    if n_rows - len(events) > MOST_INVALID * n_rows and not any_quality:
        reasons = cleaned.quarantine["reason"].value_counts().head(3).to_dict()
        raise DatasetError(
            f"{n_rows - len(events):,} of {n_rows:,} rows of the source are not valid ({reasons}), "
            f"expected at most {MOST_INVALID:.0%}; nothing was stored: correct it, or use --force"
        )
    if "timestamp" not in events:
        raise DatasetError("the source has no times; name their column: COLUMNS=timestamp=...")
    ends = pd.Timestamp(since, tz="UTC"), pd.Timestamp(until, tz="UTC")
    return Fetched(events[events["timestamp"].between(*ends, inclusive="left")], n_rows, n_bytes)


def _query(address: str, query: str, since: datetime) -> pd.DataFrame:
    if ":since" not in query:
        raise DatasetError(
            f"query is {query!r}, expected SQL with the parameter :since, such as "
            '"SELECT user_id, item_id, time FROM events WHERE time >= :since"'
        )
    bound = sqlalchemy.bindparam("since", since.replace(tzinfo=None), sqlalchemy.DateTime())
    try:
        engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text(query).bindparams(bound))
            return pd.DataFrame([tuple(row) for row in rows], columns=list(rows.keys()))
    except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        reason = io.hidden(str(getattr(error, "orig", error)).strip().partition("\n")[0])
        raise DatasetError(
            f"{io.hidden(address)} could not be read ({reason}); check the address and the query, "
            "and that the database's driver is installed"
        ) from None


class Window:
    """The stored days of a log.

    Parameters
    ----------
    place : path or URI
        A folder, or what :meth:`pyarrow.fs.FileSystem.from_uri` takes: ``s3://bucket/folder``,
        ``gs://bucket/folder``, ``az://account@container/folder``. Each day is replaced whole or
        not at all.
    files : FileSystem, optional
        Where an address cannot say all, such as an account's key; ``place`` is then a folder in it.
    """

    def __init__(self, place: str | Path, files: FileSystem | None = None) -> None:
        self.files: FileSystem = files or LocalFileSystem()
        self.folder = str(place)
        if files is None and "://" in str(place):
            try:
                uri = re.sub("^az://", "abfs://", str(place))
                self.files, self.folder = FileSystem.from_uri(uri)
            except (ValueError, OSError) as error:
                raise DatasetError(
                    f"window is {io.hidden(str(place))!r}, expected a folder or an address such as "
                    f"s3://bucket/folder, az:// or gs:// ({io.hidden(str(error))})"
                ) from None

    def days(self) -> dict[date, FileInfo]:
        """What is stored, oldest first."""
        found = self.files.get_file_info(FileSelector(self.folder, allow_not_found=True))
        named = (
            (re.fullmatch(r"(\d{4}-\d\d-\d\d)\.parquet", each.base_name), each) for each in found
        )
        return dict(sorted((date.fromisoformat(name[1]), each) for name, each in named if name))

    def state(self) -> str:
        """A checksum of the list of days, which changes whenever one is written."""
        listed = [f"{day} {each.size} {each.mtime_ns}\n" for day, each in self.days().items()]
        return sha256("".join(listed).encode()).hexdigest()

    def read(self) -> pd.DataFrame:
        """The events of all days, in order of time."""
        tables = [parquet.read_table(BytesIO(self._bytes(day))) for day in self.days()]
        events: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        return events

    def replace(
        self,
        events: pd.DataFrame,
        *,
        keep: int,
        allow_fewer: bool = False,
        other_columns: bool = False,
    ) -> list[date]:
        """Store all days from the first event on as they are in these events; drop old ones.

        Parameters
        ----------
        events : DataFrame
            Whole days, in order of time. What is stored after the first of them counts as fetched.
        keep : int
            Days up to the newest that stay.
        allow_fewer : bool
            Whether a day may come back with fewer rows than are stored.
        other_columns : bool
            Whether the events may have other columns than the newest stored day.

        Returns
        -------
        list of date
            The days that changed. They are written oldest first, so the newest name says up to
            where all is whole, and who was killed can start again from there.

        Raises
        ------
        DatasetError
            If one of the two is so and not allowed; then nothing was written.
        """
        if isinstance(self.files, LocalFileSystem):
            for left in Path(self.folder).glob(".*.tmp*"):  # of a run that was killed
                left.unlink()
        if events.empty:
            return []
        of_rows, listed = events["timestamp"].dt.date, self.days()
        first, newest = of_rows.iloc[0], max([of_rows.iloc[-1], *listed])
        oldest = newest - timedelta(days=keep - 1)
        fetched = {day: _parquet(rows) for day, rows in events.groupby(of_rows) if day >= oldest}
        stored = {day: self._bytes(day) for day in listed if day >= first}
        if listed and not other_columns:
            last = max(listed)
            before = parquet.read_schema(BytesIO(stored.get(last) or self._bytes(last))).names
            if before != list(events.columns):
                raise DatasetError(
                    f"the source has the columns {', '.join(events.columns)}, but the stored days "
                    f"have {', '.join(before)}; nothing was stored: correct it, or use --force"
                )
        for day, content in stored.items():
            n_before, n_now = _n_rows(content), _n_rows(fetched.get(day))
            if n_now < n_before and not allow_fewer:
                raise DatasetError(
                    f"{day} came back with {n_now:,} rows, but {n_before:,} are stored; nothing "
                    "was stored: correct the source, or use --allow-fewer if rows were deleted"
                )
        changed = [day for day in fetched if fetched[day] != stored.get(day)]
        for day in changed:
            self._write(day, fetched[day])
        dropped = [day for day in listed if day < oldest or (day >= first and day not in fetched)]
        for day in dropped:
            self.files.delete_file(self._path(day))
        return sorted({*changed, *dropped})

    def _write(self, day: date, content: bytes) -> None:
        if isinstance(self.files, LocalFileSystem):
            with io.atomic(Path(self._path(day))) as temporary:
                temporary.write_bytes(content)
        else:  # an object is there once the stream is closed
            with self.files.open_output_stream(self._path(day)) as stream:
                stream.write(content)

    def _bytes(self, day: date) -> bytes:
        with self.files.open_input_stream(self._path(day)) as stream:
            return bytes(stream.read())

    def _path(self, day: date) -> str:
        return f"{self.folder}/{day}.parquet"


def _parquet(rows: pd.DataFrame) -> bytes:
    buffer = BytesIO()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _n_rows(content: bytes | None) -> int:
    return parquet.read_metadata(BytesIO(content)).num_rows if content else 0
