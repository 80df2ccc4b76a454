"""The window of days: local, S3 (moto), Azure (Azurite); from files, SQLite and PostgreSQL."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pyarrow.fs
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from helpers.io import DatasetError, hidden
from helpers.serving.window import Window, fetch

SHARED = Path(__file__).parents[1] / "../shared/data"
CI = bool(os.environ.get("CI"))
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of Azurite's only account, as its documentation has it."""

QUERY = "SELECT user_id, item_id, time FROM events WHERE time >= :since"


def day(number: int) -> date:
    return date(2024, 3, number)


def log(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def advance(window: Window, source: object, until: date, **options: object) -> list[date]:
    """What one refresh does with its window."""
    stored = window.days()
    since = max(stored) - pd.Timedelta(days=1) if stored else date(1970, 1, 2)
    fetched = fetch(source, since, until, **options)  # type: ignore[arg-type]
    return window.replace(fetched.events, keep=365)


def skip_or_fail(reason: str) -> None:
    (pytest.fail if CI else pytest.skip)(reason)


@pytest.fixture
def local(tmp_path: Path) -> Window:
    return Window(tmp_path / "window")


@pytest.fixture(scope="module")
def s3():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        address = f"s3://key:secret@days/window?{options}&allow_bucket_creation=true"
        files, _ = pyarrow.fs.FileSystem.from_uri(address)
        files.create_dir("days")
        yield Window(address)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    program = os.environ.get("AZURITE") or shutil.which("azurite-blob")
    if program is None:
        skip_or_fail("there is no azurite-blob: npm install -g azurite")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    command += ["--location", str(tmp_path_factory.mktemp("azurite"))]
    server = subprocess.Popen([*command, "--blobPort", str(port)], stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        place = f"127.0.0.1:{port}"
        files = pyarrow.fs.AzureFileSystem(
            "devstoreaccount1", account_key=KEY, blob_storage_authority=place,
            dfs_storage_authority=place, blob_storage_scheme="http", dfs_storage_scheme="http",
        )  # fmt: skip
        files.create_dir("days")
        yield Window("days/window", files)
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def postgres():
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        skip_or_fail("there is no PostgreSQL: apt-get install postgresql")
    # The server refuses to run as root, which Debian's package has made a user for.
    other = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        if other:
            shutil.chown(folder, "postgres", "postgres")
        bin_, data, quiet = programs[-1], f"{folder}/data", {"stdout": subprocess.DEVNULL}
        subprocess.run(
            [bin_ / "initdb", "-D", data, "-U", "reader", "-A", "trust", "--no-sync"],
            check=True, cwd=folder, **quiet, **other,
        )  # fmt: skip
        options = ["-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
        server = subprocess.Popen(
            [bin_ / "postgres", "-D", data, *options],
            stderr=subprocess.DEVNULL, cwd=folder, **quiet, **other,
        )  # fmt: skip
        try:
            wait_for(port)
            yield f"postgresql+psycopg://reader:secret@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(20)


def wait_for(port: int) -> None:
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"nothing listens on port {port}")


@pytest.fixture(params=["local", "s3", "azure"])
def window(request) -> Window:
    return request.getfixturevalue(request.param)


def test_days_arrive_late_rows_too_and_old_days_go(window: Window) -> None:
    first = log(("a", "x", "2024-03-01 23:59:59.999"), ("b", "x", "2024-03-02"))
    assert advance(window, first, day(3)) == [day(1), day(2)]
    assert advance(window, first, day(3)) == []  # nothing new changes nothing
    before, state = window.days(), window.state()

    # The day from which on nothing is taken is not complete; a row of the second came late.
    second = pd.concat([first, log(("c", "y", "2024-03-02 10:00"), ("c", "x", "2024-03-03 12:00"))])
    assert advance(window, second, day(3)) == [day(2)]
    assert window.days()[day(1)].mtime_ns == before[day(1)].mtime_ns
    assert window.state() != state
    assert advance(window, second, day(4)) == [day(3)]
    stored = window.read()
    assert stored["user_id"].tolist() == ["a", "b", "c", "c"]
    assert stored["timestamp"].iloc[1] == pd.Timestamp("2024-03-02", tz="UTC")

    events = fetch(second, day(3), day(4)).events
    assert window.replace(events, keep=2) == [day(1)]
    assert list(window.days()) == [day(2), day(3)]
    window.replace(events, keep=1)


def test_fewer_rows_are_refused_and_nothing_is_written(local: Window) -> None:
    whole = log(
        ("a", "x", "2024-03-01 01:00"), ("b", "x", "2024-03-01 02:00"), ("a", "y", "2024-03-02")
    )
    advance(local, whole, day(9))
    state = local.state()
    for broken in (whole.iloc[1:], whole.iloc[:1]):  # a row is missing; a whole day is
        with pytest.raises(
            DatasetError, match=r"2024-03-0\d came back with \d rows, but \d are st"
        ):
            advance(local, broken, day(9))
        assert local.state() == state
    events = fetch(whole.iloc[:1], day(1), day(9)).events
    assert local.replace(events, keep=365, allow_fewer=True) == [day(1), day(2)]
    assert len(local.read()) == 1


def test_a_source_that_forgets_its_past_leaves_the_stored_days(local: Window) -> None:
    advance(local, log(("a", "x", "2024-03-01"), ("b", "x", "2024-03-02")), day(9))
    assert advance(local, log(("b", "y", "2024-03-03")), day(9)) == [day(3)]
    assert list(local.days()) == [day(1), day(2), day(3)]


def test_other_columns_are_refused(local: Window) -> None:
    frame = log(("a", "x", "2024-03-01"), ("b", "x", "2024-03-02")).assign(event="view")
    advance(local, frame, day(9))
    other = log(("a", "x", "2024-03-03")).assign(price=1.0)
    with pytest.raises(DatasetError, match="price, but the stored days have"):
        advance(local, other, day(9))
    local.replace(fetch(other, day(3), day(9)).events, keep=365, other_columns=True)
    assert local.read()["price"].isna().tolist() == [True, True, False]


def test_a_killed_write_goes_on_where_it_stopped(local: Window, monkeypatch) -> None:
    source = log(*(("a", "x", f"2024-03-{number:02}") for number in range(1, 7)))
    write, written = Window._write, []

    def killed(self, day, content):
        if len(written) == 3:
            Path(self._path(day)).with_name(".left.1.tmp.parquet").write_bytes(content[:9])
            raise KeyboardInterrupt
        written.append(day)
        write(self, day, content)

    with monkeypatch.context() as patch:
        patch.setattr(Window, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            advance(local, source, day(9))
    assert list(local.days()) == [day(1), day(2), day(3)]  # the newest name is the watermark
    assert advance(local, source, day(9)) == [day(4), day(5), day(6)]
    assert len(list(Path(local.folder).iterdir())) == 6  # nothing is left over


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 86_399), st.integers(0, 1)), min_size=1)
)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_day_by_day_is_the_same_as_all_at_once(tmp_path_factory, rows) -> None:
    start = pd.Timestamp("2024-03-01", tz="UTC")
    frame = pd.DataFrame({
        "user_id": [f"u{number}" for number in range(len(rows))],
        "item_id": "x",
        "timestamp": [start + pd.Timedelta(days=d, seconds=s) for d, s, _ in rows],
        "arrives": [d + 1 + late for d, _, late in rows],
    })  # fmt: skip
    by_day, at_once = (Window(tmp_path_factory.mktemp("window")) for _ in range(2))
    frame = frame.sort_values(["timestamp", "user_id"])
    for today in range(1, 9):
        stored = by_day.days()
        since = pd.Timestamp(max(stored, default=day(1)), tz="UTC") - pd.Timedelta(days=1)
        there = frame[(frame["arrives"] <= today) & (frame["timestamp"] >= since)]
        by_day.replace(there.drop(columns="arrives"), keep=365)
    at_once.replace(frame.drop(columns="arrives"), keep=365)
    contents = [
        {each: window._bytes(each) for each in window.days()} for window in (by_day, at_once)
    ]
    assert contents[0] == contents[1]
    assert sum(frame["timestamp"].dt.date == each for each in by_day.days()).sum() == len(frame)


def test_files_written_before_are_not_read(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        path = tmp_path / f"day-{number}.csv"
        log(("a", "x", f"2024-03-0{number} 12:00")).to_csv(path, index=False)
        written = datetime(2024, 3, number, 23, tzinfo=UTC).timestamp()
        os.utime(path, (written, written))
    fetched = fetch(tmp_path, day(3), day(9))
    # The second day's file was written less than a day before the third day began.
    assert (fetched.n_rows, len(fetched.events)) == (2, 1)
    assert fetched.n_bytes == 2 * path.stat().st_size
    assert fetch(tmp_path, day(30), day(31)).events.empty


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "postgres with zone"])
def test_a_database_is_asked_for_the_new_days_only(
    kind: str, local: Window, tmp_path: Path, request
) -> None:
    if kind == "sqlite":
        address, column = f"sqlite:///{tmp_path / 'shop.db'}", "TIMESTAMP"
    else:
        address, column = request.getfixturevalue("postgres"), "TIMESTAMP"
        column += "TZ" if kind.endswith("zone") else ""
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)
    rows = [f"('u{n}', 'x', '2024-03-{n:02} 00:00:00')" for n in range(1, 11)]
    with engine.begin() as connection:
        if kind != "sqlite":
            connection.execute(sqlalchemy.text("ALTER ROLE reader SET timezone TO 'UTC'"))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE IF EXISTS events"))
        create = f"CREATE TABLE events (user_id TEXT, item_id TEXT, time {column})"
        connection.execute(sqlalchemy.text(create))
        connection.execute(sqlalchemy.text(f"INSERT INTO events VALUES {', '.join(rows)}"))
        if kind != "sqlite":  # what clients see is eleven hours off, and must not matter
            connection.execute(
                sqlalchemy.text("ALTER ROLE reader SET timezone TO 'Pacific/Noumea'")
            )
    assert fetch(address, day(1), day(7), query=QUERY).events["user_id"].size == 6
    advance(local, address, day(7), query=QUERY)
    assert list(local.days()) == [day(n) for n in range(1, 7)]
    assert advance(local, address, day(11), query=QUERY) == [day(n) for n in range(7, 11)]
    fetched = fetch(address, day(10), day(11), query=QUERY)
    assert fetched.events["user_id"].tolist() == ["u10"]
    assert fetched.n_rows <= 2  # the day and the one before


def test_a_database_that_cannot_be_read_says_why_without_the_password(tmp_path: Path) -> None:
    dates = day(1), day(2)
    with pytest.raises(DatasetError, match="expected SQL with the parameter :since"):
        fetch("sqlite://", *dates, query="SELECT * FROM events")
    for address in (
        "postgresql+psycopg://reader:secret@127.0.0.1:1/shop",
        "nothing://reader:secret@host/shop",
        f"sqlite:///{tmp_path / 'empty.db'}",
    ):
        with pytest.raises(DatasetError, match="could not be read") as caught:
            fetch(address, *dates, query=QUERY)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
    assert hidden("s3://key:secret@bucket/days?scheme=http") == "s3://bucket/days"


def test_a_broken_source_is_refused(tmp_path: Path) -> None:
    dates = day(1), day(2)
    broken = log(*(("a", f"i{n}", "2024-03-01" if n else "yesterday") for n in range(5)))
    with pytest.raises(
        DatasetError, match=r"1 of 5 rows of the source are not valid .*time is mis"
    ):
        fetch(broken, *dates)
    assert len(fetch(broken, *dates, any_quality=True).events) == 4
    with pytest.raises(DatasetError, match="has no times"):
        fetch(broken.drop(columns="timestamp"), *dates)
    with pytest.raises(DatasetError, match="holds no log"):
        fetch(tmp_path / "nowhere", *dates)


@pytest.mark.parametrize("place", ["ftp://host/days", "s3://key:secret@b/d?wrong=1"])
def test_an_address_without_a_file_system_is_refused(place: str) -> None:
    with pytest.raises(DatasetError, match="expected a folder or an address") as caught:
        Window(place)
    assert "secret" not in str(caught.value)


def test_az_is_azure() -> None:
    window = Window("az://account@container/days")
    assert (window.files.type_name, window.folder) == ("abfs", "container/days")


def test_a_real_log_by_day(local: Window) -> None:
    path = SHARED / "rees46-oct-sample.csv.gz"
    if not path.is_file():
        pytest.skip("there is no folder with shared data")
    advance(local, path, date(2020, 1, 1))
    raw = pd.read_csv(path).dropna(subset="user_session")  # the last line is cut off
    expected = raw["event_time"].str[:10].value_counts().sort_index()
    stored = {str(each): parquet.read_metadata(local._path(each)).num_rows for each in local.days()}
    assert stored == expected.to_dict()
    assert advance(local, path, date(2020, 1, 1)) == []
