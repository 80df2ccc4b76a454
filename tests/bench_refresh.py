"""What a day costs against a full reload over a year, and the rounds that a warm start saves.

The log is synthetic: a fixed number of rows a day in SQLite with an index on the time. Results go
to reports/results/bench_refresh.json.
"""

import sqlite3
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers import datasets, io, metrics, production, recommend
from helpers.als import IALS
from helpers.models import model_factory
from helpers.production import STEADY, WEIGHTINGS, interactions_of, warm_start
from helpers.serving.window import Window, fetch

N_DAYS, N_ROWS, FIRST = 365, 2_000, date(2025, 1, 1)
QUERY = "SELECT user_id, item_id, time FROM events WHERE time >= :since"
LATE = 2


def database(folder: Path) -> str:
    """A year and a day of events, of 20,000 users and 5,000 items."""
    rng = np.random.default_rng(0)
    n = (N_DAYS + 1) * N_ROWS
    seconds = np.repeat(np.arange(N_DAYS + 1), N_ROWS) * 86_400 + rng.integers(86_400, size=n)
    frame = pd.DataFrame({
        "user_id": rng.integers(20_000, size=n),
        "item_id": (5_000 * rng.random(n) ** 2).astype(int),
        "time": (pd.Timestamp(FIRST) + pd.to_timedelta(seconds, unit="s")).strftime("%F %T"),
    })  # fmt: skip
    with sqlite3.connect(folder / "log.db") as connection:
        frame.to_sql("events", connection, index=False)
        connection.execute("CREATE INDEX by_time ON events (time)")
    connection.close()
    return f"sqlite:///{folder / 'log.db'}"


def step(address: str, window: Window, since: date, until: date) -> dict[str, float]:
    """Fetch and store; what it cost."""
    start = time.perf_counter()
    fetched = fetch(address, since, until, query=QUERY)
    changed = window.replace(fetched.events, keep=N_DAYS)
    seconds = time.perf_counter() - start
    costs = {"rows read": fetched.n_rows, "bytes read": fetched.n_bytes, "seconds": seconds}
    return {**costs, "days written": len(changed)}


def fit(model: IALS, matrix: csr_matrix, *, steady: bool) -> int:
    """Fit, as production does from a warm start or as from scratch; the number of rounds."""
    stop = production._steady(model, matrix) if steady else lambda *_: False
    rounds = []

    def callback(*given: object) -> bool:
        rounds.append(1)
        return stop(*given)

    model.fit(matrix, show_progress=False, callback=callback)
    return len(rounds)


def rounds(name: str) -> dict[str, float]:
    """A fit from scratch and one from the factors of the day before, on the same log."""
    data = datasets.load(name)
    log, newest = data.interactions, data.interactions["timestamp"].max().normalize()
    # The last day is tested, the one before is new.
    train, test = log[log["timestamp"] < newest], log[log["timestamp"] >= newest]
    day_before = train["timestamp"].max().normalize()
    before = interactions_of(train[train["timestamp"] < day_before])
    now = interactions_of(train)
    matrix = WEIGHTINGS["binary"](now.user_items)
    factory = model_factory("IALS", {"factors": 32})
    old = factory.fit(before)
    found: dict[str, float] = {"pairs": now.nnz}
    cells = test[test["user_id"].isin(now.user_ids) & test["item_id"].isin(now.item_ids)]
    hidden = np.zeros(matrix.shape, dtype=bool)
    hidden[
        now.user_ids.get_indexer(cells["user_id"]), now.item_ids.get_indexer(cells["item_id"])
    ] = 1
    for way in ("cold", "warm"):
        model = factory.make(now)
        if way == "warm":
            warm_start(model, matrix, now.item_ids, before.item_ids, old.item_factors)
        n_rounds = fit(model, matrix, steady=way == "warm")
        found[f"rounds, {way}"] = n_rounds
        found[f"loss, {way}"] = model.loss(matrix)["total"]
        relevant = csr_matrix(hidden & (matrix.toarray() == 0))
        lists = recommend.top_n(model, matrix, 10)
        found[f"ndcg@10 of the next day, {way}"] = float(
            metrics.accuracy(lists, relevant, [10])["ndcg@10"].mean()
        )
    return found


def main() -> None:
    """Measure, print and write."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        address = database(folder)
        last, kept = FIRST + timedelta(days=N_DAYS), Window(folder / "kept")
        step(address, kept, FIRST, last)
        since = last - timedelta(days=1 + LATE)
        day = step(address, kept, since, last + timedelta(days=1))
        again = step(address, kept, since + timedelta(days=1), last + timedelta(days=1))
        full = step(address, Window(folder / "full"), FIRST, last + timedelta(days=1))
    results = {
        "setting": {"days": N_DAYS, "rows a day": N_ROWS, "days fetched again": LATE},
        "one day": day,
        "the same day again": again,
        "full reload": full,
        "full reload / one day": {
            what: round(full[what] / day[what], 1)
            for what in ("rows read", "bytes read", "seconds")
        },
        "warm start": {
            "stops when a round lowers the loss by less than": STEADY,
            **{name: rounds(name) for name in ("movielens-100k", "online-retail")},
        },
    }
    io.write_json(Path("reports/results/bench_refresh.json"), results)
    print((Path("reports/results/bench_refresh.json")).read_text())


if __name__ == "__main__":
    main()
