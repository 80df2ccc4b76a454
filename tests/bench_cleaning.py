"""Speed, memory and growth of the cleaning against peers that keep the same rows: `make bench`.

Logs in the style of REES46 are made up at 1 and 10 million rows. Every run is a process of its
own, so that its peak memory is its own: that of the whole process, interpreter and libraries too,
as the kernel counts it (pages of the file cache are not in it). The file was written just before,
so it comes from that cache as far as memory goes, for everybody.

The peers apply the rules that matter here (unreadable rows, missing user, price, duplicates, near
duplicates, an account that is too fast or too broad) and write the rows that they keep; the SQL by
hand also writes what the cleaning writes: the removed rows with their rule, the quarantine and the
counts. They check no ids, have no evidence, and know no other names of columns and other
formats of times. All keep the same rows before the bots, or the run stops. Methods take turns.

BENCH_ROWS="100000,1000000" tries other sizes, of at least 100,000 rows; only the usual ones are
written to reports/results/bench_cleaning.json. The largest log has 1.4 GB, and what is written
beside it about half as much; all of it is removed.
"""

# The libraries are imported where they are used: those of one peer are no memory of another.
import csv
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SIZES = (1_000_000, 10_000_000)
SAMPLE = 200_000
"""Rows for the loop over rows; its time at the other sizes is that in proportion."""
TURNS, TURNS_UP_TO = 3, 1_000_000
"""So many turns up to that size, one beyond; medians count."""
CHUNK = 500_000
DAYS = 31
BOT_VIEWS = 1_000
FORMAT = "%Y-%m-%d %H:%M:%S UTC"
EVENTS = ["view", "cart", "remove_from_cart", "purchase"]
NEAR = 2
"""Seconds up to which a click repeats the one before."""
FAST, MANY, BROAD = 300, 500, 0.9
"""The peers' bots: so many views in a clock hour; or so many, so broad, and no purchase."""
Outcome = dict[str, int]


# --- the made-up log --------------------------------------------------------------------------


def write_log(path: Path, n_rows: int) -> None:
    """A month of a shop, in order of time: sessions of people by day, a few bots, some dirt."""
    import duckdb
    import pyarrow as pa

    days = (pa.RecordBatch.from_pydict(day) for day in made_up_days(n_rows))
    first = next(days)

    def batches() -> Iterator[pa.RecordBatch]:
        yield first
        yield from days

    log = pa.RecordBatchReader.from_batches(first.schema, batches())
    with duckdb.connect(config={"memory_limit": "2GB"}) as connection:
        connection.register("log", log)
        connection.execute(
            f"""
            COPY (SELECT
                CASE bad WHEN 1 THEN 'n/a' ELSE
                    strftime(make_timestamp(second * 1000000), '{FORMAT}') END AS event_time,
                CASE WHEN bad = 2 THEN '???' ELSE ['view', 'cart', 'purchase'][event + 1] END
                    AS event_type,
                item AS product_id,
                2053013552326770905 + item // 100 AS category_id,
                CASE WHEN item // 100 % 10 < 7 THEN ['electronics.smartphone', 'apparel.shoes',
                    'appliances.kitchen.washer', 'computers.notebook', 'furniture.living_room.sofa'
                    ][item // 100 % 5 + 1] END AS category_code,
                CASE WHEN item % 7 > 0 THEN ['samsung', 'apple', 'xiaomi', 'bosch', 'lucente'
                    ][item % 5 + 1] END AS brand,
                CASE WHEN NOT free THEN printf('%.2f', 5 + item * 7919 % 100000 / 100)
                    ELSE '0.00' END AS price,
                CASE WHEN NOT missing THEN user_id END AS user_id,
                md5(session::VARCHAR)::UUID AS user_session
            FROM log) TO '{path}' (FORMAT csv, HEADER)
            """
        )


def made_up_days(n_rows: int) -> Iterator[dict[str, object]]:
    """The columns of each day as numbers; the same in every run."""
    import numpy as np

    n_users = n_rows // 14
    # The activity falls with the rank to the power of 0.6; nobody comes more than twice a day.
    rates = np.minimum(0.04 * (np.arange(1, n_users + 1) / n_users) ** -0.6, 2)
    shares = np.cumsum(rates) / rates.sum()
    n_bots = max(1, n_rows // 200_000)
    for day in range(DAYS):
        random = np.random.default_rng([n_rows, day])
        n_day = n_rows * (day + 1) // DAYS - n_rows * day // DAYS
        n_repeated, n_near = n_day // 100, n_day // 200
        bots = np.flatnonzero(np.arange(n_bots) * 7 % DAYS == day)
        n = n_day - n_repeated - n_near - BOT_VIEWS * len(bots)

        lengths = random.geometric(1 / 4.6, size=n // 3 + 10)
        ends = np.cumsum(lengths)
        lengths = lengths[: np.searchsorted(ends, n) + 1]
        lengths[-1] -= lengths.sum() - n
        visit = np.repeat(np.arange(len(lengths)), lengths)
        starts = np.r_[True, visit[1:] != visit[:-1]]
        gaps = np.where(starts, 0, 3 + np.minimum(random.lognormal(3.2, 1.1, n), 1200).astype(int))
        since = np.cumsum(gaps)
        opened = (8 + 14 * random.beta(2, 2, len(lengths))) * 3600  # people sleep
        second = opened.astype(int)[visit] + since - since[starts][visit]
        user = 512_000_000 + np.searchsorted(shares, random.random(len(lengths)))[visit]
        group = (500 * random.random(len(lengths)) ** 2).astype(int)[visit]
        item = 1_000_000 + 100 * group + (100 * random.random(n) ** 3).astype(int)
        event = np.searchsorted([0.93, 0.975], random.random(n))
        same = (event > 0) & ~starts  # what was viewed last goes into the cart
        item[same] = np.r_[item[:1], item[:-1]][same]

        views = np.arange(BOT_VIEWS)
        log = {
            "second": np.r_[second, np.add.outer(3600 * (bots % 20), 5 * views).ravel()],
            "event": np.r_[event, np.zeros(BOT_VIEWS * len(bots), int)],
            "item": np.r_[item, 1_000_000 + np.add.outer(bots % 200, 49 * views).ravel()],
            "user_id": np.r_[user, 900_000_000 + np.repeat(bots, BOT_VIEWS)],
            "session": np.r_[visit, len(lengths) + np.repeat(bots, BOT_VIEWS)] + 10**8 * day,
        }
        log["second"] += int(datetime.fromisoformat("2019-10-01T00:00+00:00").timestamp())
        log["second"] += 86_400 * day
        again = random.choice(np.flatnonzero(log["event"] == 0), n_near, replace=False)
        log = {name: np.r_[each, each[again]] for name, each in log.items()}
        log["second"][-n_near:] += 1
        n = len(log["second"])
        log["bad"] = np.where(random.random(n) < 1e-4, random.integers(1, 3, n), 0)
        log["missing"] = random.random(n) < 0.002
        log["free"] = (log["event"] == 2) & (random.random(n) < 0.01)
        copies = np.ones(n, int)
        copies[random.choice(n, n_repeated, replace=False)] = 2
        order = np.repeat(np.argsort(log["second"], kind="stable"), copies)
        yield {name: each[order] for name, each in log.items()}


# --- ours and the peers: each cleans a file, and tells how many rows and bots it found ---------


def ours(source: Path, folder: Path) -> Outcome:
    from helpers import cleaning

    cleaned = cleaning.clean(source, to=folder / "cleaned")
    waterfall = cleaned.report.waterfall["kept"]
    return {
        "before_bots": int(waterfall["near duplicates"]),
        "bots": int(cleaned.accounts["is_bot"].sum()),
        "kept": cleaned.report.n_kept,
    }


def plain_read(source: Path, folder: Path) -> Outcome:
    import pandas as pd

    pd.read_csv(source)
    return {}


def read_in_chunks(source: Path, folder: Path) -> Outcome:
    import pandas as pd

    for _ in pd.read_csv(source, chunksize=CHUNK):
        pass
    return {}


def naive(source: Path, folder: Path) -> Outcome:
    """As first scripts do it: a dictionary for each row, sets, counters."""
    seen: set[tuple[str, ...]] = set()
    last: dict[tuple[str, ...], datetime] = {}
    views: dict[str, int] = {}
    fastest: dict[tuple[str, str], int] = {}
    items: dict[str, set[str]] = {}
    buyers: set[str] = set()
    kept = []
    with source.open(newline="") as file:
        for row in csv.DictReader(file):
            user, event = row["user_id"], row["event_type"]
            try:
                moment = datetime.strptime(row["event_time"], FORMAT)
                price = float(row["price"])
            except ValueError:
                continue
            if event not in EVENTS or not user or (event == "purchase" and price <= 0):
                continue
            content = tuple(row.values())
            if content in seen:
                continue
            seen.add(content)
            if event != "purchase":
                key = (user, row["product_id"], event)
                before, last[key] = last.get(key), moment
                if before is not None and (moment - before).total_seconds() <= NEAR:
                    continue
            if event == "purchase":
                buyers.add(user)
            if event == "view":
                hour = (user, row["event_time"][:13])
                views[user] = views.get(user, 0) + 1
                fastest[hour] = fastest.get(hour, 0) + 1
                items.setdefault(user, set()).add(row["product_id"])
            kept.append(row)
    bots = {user for (user, _), n in fastest.items() if n >= FAST} | {
        user
        for user, n in views.items()
        if n >= MANY and len(items[user]) >= BROAD * n and user not in buyers
    }
    people = [row for row in kept if row["user_id"] not in bots]
    with (folder / "clean.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(people[0]))
        writer.writeheader()
        writer.writerows(people)
    return {"before_bots": len(kept), "bots": len(bots), "kept": len(people)}


def with_pandas(source: Path, folder: Path) -> Outcome:
    import pandas as pd

    log = pd.read_csv(source)
    log["event_time"] = pd.to_datetime(log["event_time"], format=FORMAT, errors="coerce")
    free = (log["event_type"] == "purchase") & (log["price"] <= 0)
    valid = log["event_time"].notna() & log["event_type"].isin(EVENTS)
    log = log[valid & log["user_id"].notna() & ~free].drop_duplicates()
    log = log.sort_values("event_time", kind="stable")
    clicks = log[log["event_type"] != "purchase"]
    gaps = clicks.groupby(["user_id", "product_id", "event_type"])["event_time"].diff()
    log = log.drop(index=gaps.index[gaps <= pd.Timedelta(seconds=NEAR)])
    views = log[log["event_type"] == "view"]
    fastest = views.groupby(["user_id", views["event_time"].dt.floor("h")]).size()
    facts = views.groupby("user_id")["product_id"].agg(["size", "nunique"])
    facts["fastest"] = fastest.groupby("user_id").max()
    buyers = log.loc[log["event_type"] == "purchase", "user_id"].unique()
    broad = (facts["size"] >= MANY) & (facts["nunique"] >= BROAD * facts["size"])
    bots = facts.index[(facts["fastest"] >= FAST) | (broad & ~facts.index.isin(buyers))]
    people = log[~log["user_id"].isin(bots)]
    people.to_parquet(folder / "clean.parquet", index=False)
    return {"before_bots": len(log), "bots": len(bots), "kept": len(people)}


def with_polars(source: Path, folder: Path) -> Outcome:
    import polars as pl

    key = ["user_id", "product_id", "event_type"]
    log = (
        pl.scan_csv(source)
        .with_columns(pl.col("event_time").str.to_datetime(FORMAT, strict=False))
        .filter(
            pl.col("event_time").is_not_null(),
            pl.col("event_type").is_in(EVENTS),
            pl.col("user_id").is_not_null(),
            (pl.col("event_type") != "purchase") | (pl.col("price") > 0),
        )
        .unique()
        .sort([*key, "event_time"])
    )
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in key)
    near = pl.col("event_time").diff() <= pl.duration(seconds=NEAR)
    click = pl.col("event_type") != "purchase"
    log = log.filter(~(same & near & click).fill_null(False))
    part = folder / "people-and-bots.parquet"  # else all of the above would be done twice
    log.sink_parquet(part, engine="streaming")
    log = pl.scan_parquet(part)
    views = log.filter(pl.col("event_type") == "view")
    hour = pl.col("event_time").dt.truncate("1h")
    fastest = views.group_by("user_id", hour).len().group_by("user_id").agg(pl.col("len").max())
    facts = views.group_by("user_id").agg(pl.len().alias("n"), pl.col("product_id").n_unique())
    buyers = log.filter(pl.col("event_type") == "purchase").select("user_id").unique()
    broad = (pl.col("n") >= MANY) & (pl.col("product_id") >= BROAD * pl.col("n"))
    fast = fastest.filter(pl.col("len") >= FAST).select("user_id")
    aimless = facts.filter(broad).select("user_id").join(buyers, on="user_id", how="anti")
    bots = pl.concat([fast, aimless]).unique().collect(engine="streaming")
    people = log.join(bots.lazy(), on="user_id", how="anti")
    people.sink_parquet(folder / "clean.parquet", engine="streaming")
    before, kept = (
        pl.scan_parquet(path).select(pl.len()).collect().item()
        for path in (part, folder / "clean.parquet")
    )
    return {"before_bots": before, "bots": len(bots), "kept": kept}


def with_duckdb(source: Path, folder: Path) -> Outcome:
    import duckdb

    from helpers.cleaning.pipeline import MEMORY  # what ours may hold

    columns = "event_time, event_type, product_id, category_id, category_code, brand, price, "
    columns += "user_id, user_session"
    with duckdb.connect(config={"memory_limit": MEMORY}) as connection:
        connection.execute(f"SET temp_directory = '{folder / 'spill'}'")
        connection.execute(
            f"""
            CREATE TABLE log AS
            SELECT *, row_number() OVER () AS row,
                CASE WHEN event_time IS NULL THEN 'no time'
                    WHEN event_type NOT IN {tuple(EVENTS)} THEN 'unknown event' END AS reason,
                CASE WHEN user_id IS NULL THEN 'missing user'
                    WHEN event_type = 'purchase' AND price <= 0 THEN 'price' END AS rule
            FROM (
                SELECT * REPLACE (try_strptime(event_time, '{FORMAT}') AS event_time)
                FROM read_csv('{source}', types = {{'event_time': 'VARCHAR'}}))
            """
        )
        connection.execute(
            f"""
            CREATE TABLE removed AS
            SELECT row, 'duplicates' AS rule FROM log WHERE reason IS NULL AND rule IS NULL
            QUALIFY row_number() OVER (PARTITION BY {columns} ORDER BY row) > 1
            """
        )
        connection.execute(
            f"""
            INSERT INTO removed
            SELECT row, 'near duplicates' FROM log ANTI JOIN removed USING (row)
            WHERE reason IS NULL AND log.rule IS NULL AND event_type <> 'purchase'
            QUALIFY event_time - lag(event_time) OVER (
                PARTITION BY user_id, product_id, event_type ORDER BY event_time
            ) <= INTERVAL {NEAR} SECONDS
            """
        )
        connection.execute(
            "CREATE VIEW alive AS SELECT * FROM log ANTI JOIN removed USING (row) "
            "WHERE reason IS NULL AND rule IS NULL"
        )
        [(before,)] = connection.execute("SELECT count(*) FROM alive").fetchall()
        connection.execute(
            f"""
            CREATE TABLE bots AS
            SELECT user_id FROM alive WHERE event_type = 'view'
            GROUP BY user_id, date_trunc('hour', event_time) HAVING count(*) >= {FAST}
            UNION
            SELECT user_id FROM alive GROUP BY user_id
            HAVING count(*) FILTER (event_type = 'view') >= {MANY}
                AND count(*) FILTER (event_type = 'purchase') = 0
                AND count(DISTINCT product_id) FILTER (event_type = 'view')
                    >= {BROAD} * count(*) FILTER (event_type = 'view')
            """
        )
        connection.execute(
            "INSERT INTO removed SELECT row, 'bots' FROM alive SEMI JOIN bots USING (user_id)"
        )
        gone = f"SELECT row, coalesce(r.rule, log.rule) AS rule, {columns} FROM log "
        gone += "LEFT JOIN removed AS r USING (row) WHERE reason IS NULL AND "
        files = {
            "clean.parquet": f"SELECT {columns} FROM alive",
            "removed.parquet": f"{gone} coalesce(r.rule, log.rule) IS NOT NULL",
            "quarantine.parquet": "FROM log WHERE reason IS NOT NULL",
            "report.json": f"SELECT rule, count(*) AS n FROM ({gone} true) GROUP BY rule",
        }
        for name, query in files.items():
            kind = name.rsplit(".", 1)[1]
            connection.execute(f"COPY ({query}) TO '{folder / name}' (FORMAT {kind})")
        [(kept, bots)] = connection.execute(
            "SELECT (SELECT count(*) FROM alive), (SELECT count(*) FROM bots)"
        ).fetchall()
    return {"before_bots": before, "bots": bots, "kept": kept}


METHODS: dict[str, Callable[[Path, Path], Outcome]] = {
    "clean": ours,
    "plain read": plain_read,
    "plain read in chunks": read_in_chunks,
    "DuckDB SQL by hand": with_duckdb,
    "pandas": with_pandas,
    "Polars": with_polars,
    "loop over rows": naive,
}
IN_MEMORY = ("plain read", "pandas", "Polars")
"""Those whose need of memory grows with the log."""


# --- what is measured -------------------------------------------------------------------------


def print_run(method: str, source: str, folder: str) -> None:
    """What the process of a run does: a warm-up that loads all code, then the run."""
    tiny = Path(folder) / "tiny"
    tiny.mkdir()
    METHODS[method](_last_rows(Path(source), tiny / "log.csv"), tiny)
    start = time.perf_counter()
    outcome = METHODS[method](Path(source), Path(folder))
    taken = time.perf_counter() - start
    print(json.dumps({"seconds": taken, "peak_mib": _most_memory() / 1024, "found": outcome}))


def _last_rows(source: Path, target: Path) -> Path:
    """Write the header and some thousand rows of a log; there are people in the last ones."""
    with source.open("rb") as file:
        header = file.readline()
        file.seek(-150_000, os.SEEK_END)
        file.readline()
        target.write_bytes(header + file.read())
    return target


def _most_memory() -> int:
    """Peak of this process in KiB. Where Linux tells it, that of the parent is not in it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if "VmHWM" in line)
        return int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def run(method: str, source: Path) -> dict[str, object]:
    """Seconds, peaks of memory and of disk, and what was found, in a fresh process."""
    folder = Path(tempfile.mkdtemp(dir=source.parent))
    command = [sys.executable, __file__, "--one", method, str(source), str(folder)]
    done, disk = threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.2):
            disk[0] = max(disk[0], _size(folder))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        process = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | {"TMPDIR": str(folder)},
        )
        disk[0] = max(disk[0], _size(folder))
    finally:
        done.set()
        watcher.join()
        shutil.rmtree(folder)
    if process.returncode == -signal.SIGKILL:
        raise MemoryError(f"{method} was killed, probably since no memory was left")
    if process.returncode:
        raise RuntimeError(f"{method} failed:\n{process.stderr[-2000:]}")
    return json.loads(process.stdout) | {"disk_mib": disk[0] / 2**20}


def _size(folder: Path) -> int:
    """Bytes of the files in a folder while they come and go."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(place, name).stat().st_size
            except OSError:
                continue
    return total


def _free_mib() -> float | None:
    """Memory that can still be had, where Linux tells it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable"))


def measure(n_rows: int, folder: Path, earlier: list[dict[str, object]]) -> Iterator[dict]:
    """A row for each method at one size; what was left out says why."""
    source = folder / f"log-{n_rows}.csv"
    write_log(source, n_rows)
    n_bytes = source.stat().st_size
    runs: dict[str, list[dict]] = {}
    left_out: dict[str, str] = {}
    for method in METHODS:
        if method == "loop over rows" and n_rows > SAMPLE:
            left_out[method] = f"in proportion to {SAMPLE:,} rows"
        elif method in IN_MEMORY and (reason := _too_large(method, n_rows, earlier)):
            left_out[method] = reason
        else:
            runs[method] = []
    for _ in range(TURNS if n_rows <= TURNS_UP_TO else 1):
        for method in list(runs):
            print(f"{n_rows:,} rows: {method}", file=sys.stderr)
            try:
                runs[method].append(run(method, source))
            except MemoryError:
                if method not in IN_MEMORY:
                    raise
                del runs[method]
                left_out[method] = "killed, as no memory was left"
    source.unlink()
    found = {method: each[0]["found"] for method, each in runs.items() if each[0]["found"]}
    before = {method: each["before_bots"] for method, each in found.items()}
    if len(set(before.values())) > 1:
        raise AssertionError(f"not the same work, so no comparison: {before}")
    bots = {method: each["bots"] for method, each in found.items() if method != "clean"}
    if len(set(bots.values())) > 1:
        raise AssertionError(f"the peers do not find the same bots: {bots}")
    for method in METHODS:
        row: dict[str, object] = {"rows": n_rows, "megabytes": n_bytes / 1e6, "method": method}
        if method in runs:
            each = runs[method]
            seconds = statistics.median(one["seconds"] for one in each)
            row |= {
                "seconds": seconds,
                "rows_per_second": n_rows / seconds,
                "peak_mib": max(one["peak_mib"] for one in each),
                "disk_mib": max(one["disk_mib"] for one in each),
                "turns": len(each),
                **found.get(method, {}),
            }
        elif method == "loop over rows":
            [sample] = [r for r in earlier if r["method"] == method and r["rows"] == SAMPLE]
            row |= {
                "seconds": sample["seconds"] * n_rows / SAMPLE,
                "rows_per_second": sample["rows_per_second"],
                "peak_mib": sample["peak_mib"] * n_rows / SAMPLE,
            }
        yield row | ({"note": left_out[method]} if method in left_out else {})


def _too_large(method: str, n_rows: int, earlier: list[dict[str, object]]) -> str | None:
    """Why a method is not run at a size: what it took before, in proportion, is not there."""
    before = [row for row in earlier if row["method"] == method]
    free = _free_mib()
    if not before or free is None:
        return None
    if "peak_mib" not in before[-1]:
        return f"left out, as at {before[-1]['rows']:,} rows"
    need = before[-1]["peak_mib"] * n_rows / before[-1]["rows"]
    if before[-1]["rows"] < 10**6 or need < 0.6 * free:
        return None
    return f"left out: it would take some {need / 1024:.0f} GiB, and {free / 1024:.0f} are free"


def ratios(rows: list[dict]) -> list[dict[str, object]]:
    """How many times faster `clean` is than each at each size, and of how much less memory."""
    by_size: dict[int, dict[str, dict]] = {}
    for row in rows:
        if "seconds" in row:
            by_size.setdefault(row["rows"], {})[row["method"]] = row
    return [
        {
            "rows": n_rows,
            "peer": method,
            "times_faster": row["seconds"] / each["clean"]["seconds"],
            "times_less_memory": row["peak_mib"] / each["clean"]["peak_mib"],
            "extrapolated": "note" in row,
        }
        for n_rows, each in by_size.items()
        for method, row in each.items()
        if method != "clean"
    ]


def growth(rows: list[dict]) -> list[dict[str, object]]:
    """Slope of log seconds over log rows: 1 is in proportion; less, where fixed costs count."""
    import numpy as np

    table = []
    for method in METHODS:
        points = [
            (row["rows"], row["seconds"])
            for row in rows
            if row["method"] == method and "turns" in row and row["rows"] != SAMPLE
        ]
        if len(points) > 1:
            logs = np.log(points)
            slope = float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])
            steps = {
                f"{int(np.exp(a[0]).round()):,} to {int(np.exp(b[0]).round()):,}": float(
                    (b[1] - a[1]) / (b[0] - a[0])
                )
                for a, b in pairwise(logs)
            }
            verdict = "more than linear" if slope > 1.1 else "linear, or less"
            table.append({"method": method, "exponent": slope, "verdict": verdict, "steps": steps})
    return table


def main() -> None:
    """Measure every size, print the tables, write the JSON."""
    import pandas as pd

    from helpers import io

    given = os.environ.get("BENCH_ROWS", "")
    sizes = sorted({int(size) for size in given.split(",")}) if given else list(SIZES)
    if sizes[0] < 100_000:
        raise SystemExit(f"BENCH_ROWS is {given!r}, expected sizes of at least 100,000 rows")
    rows: list[dict] = []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        need, free = 250 * sizes[-1], shutil.disk_usage(folder).free
        if free < need:
            raise SystemExit(
                f"{folder} has {free / 1e9:.1f} GB free, and {need / 1e9:.1f} are needed; free "
                "some, set TMPDIR to another folder, or choose smaller sizes with BENCH_ROWS"
            )
        for n_rows in sorted({SAMPLE, *sizes}):
            rows += measure(n_rows, Path(folder), rows)
    result = {
        "cores": CORES,
        "sample_rows": SAMPLE,
        "runs": rows,
        "ratios": ratios(rows),
        "growth": growth(rows),
    }
    for name in ("runs", "ratios", "growth"):
        print(f"\n{name}\n{pd.DataFrame(result[name]).round(2).to_string(index=False)}")
    print(f"\n{time.perf_counter() - start:,.0f} seconds in all", end="; ")
    path = ROOT / "reports" / "results" / "bench_cleaning.json"
    if given:
        print(f"{path.relative_to(ROOT)} stays as it is: these are not its sizes")
    else:
        io.write_json(path, result)
        print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print_run(*sys.argv[2:])
    else:
        main()
