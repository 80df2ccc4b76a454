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

from helpers import datasets, io, metrics, recommend
from helpers.als import IALS
from helpers.models import model_factory
from helpers.production import WARM_ROUNDS, WEIGHTINGS, interactions_of, warm_start
from helpers.serving.window import Window, fetch

N_DAYS, N_ROWS, FIRST = 365, 2_000, date(2025, 1, 1)
QUERY = "SELECT user_id, item_id, time FROM events WHERE time >= :since"
LATE = 2
TESTED = 28  # days on which the lists are scored that are made before the first of them


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


def loss(model: IALS, matrix: csr_matrix) -> float:
    """The loss of IALS with nu = 1, from its definition."""
    X, Y, a = model.user_factors, model.item_factors, model.unobserved_weight
    rows, columns = matrix.nonzero()
    observed = matrix.data @ (1 - np.einsum("nf,nf->n", X[rows], Y[columns])) ** 2
    of_users = (matrix.getnnz(axis=1) + a * len(Y)) @ (X**2).sum(axis=1)
    of_items = (matrix.getnnz(axis=0) + a * len(X)) @ (Y**2).sum(axis=1)
    penalty = model.regularization * (of_users + of_items)
    return float(observed + a * np.sum((X.T @ X) * (Y.T @ Y)) + penalty)


def fit(model: IALS, matrix: csr_matrix) -> list[float]:
    """Fit; the loss after each round."""
    losses: list[float] = []
    callback = lambda *_: losses.append(loss(model, matrix))  # noqa: E731
    model.fit(matrix, show_progress=False, callback=callback)
    return losses


def rounds(name: str) -> dict[str, object]:
    """A fit from scratch and one from the factors of the day before, on the same log."""
    log = datasets.load(name).interactions
    first = log["timestamp"].max().normalize() - pd.Timedelta(days=TESTED - 1)
    # The last days are tested, the one before them is new.
    train, test = log[log["timestamp"] < first], log[log["timestamp"] >= first]
    day_before = train["timestamp"].max().normalize()
    before = interactions_of(train[train["timestamp"] < day_before])
    now = interactions_of(train)
    matrix = WEIGHTINGS["binary"](now.user_items)
    factory = model_factory("IALS", {"factors": 32})
    old = factory.fit(before)
    found: dict[str, object] = {"pairs": now.nnz, "days tested": TESTED}
    cells = test[test["user_id"].isin(now.user_ids) & test["item_id"].isin(now.item_ids)]
    hidden = np.zeros(matrix.shape, dtype=bool)
    hidden[
        now.user_ids.get_indexer(cells["user_id"]), now.item_ids.get_indexer(cells["item_id"])
    ] = 1
    losses, ndcg = {}, {}
    for way in ("cold", "warm"):
        model = factory.make(now)
        if way == "warm":
            warm_start(model, matrix, now.item_ids, before.item_ids, old.item_factors)
            model.iterations = WARM_ROUNDS
        losses[way] = fit(model, matrix)
        found[f"rounds, {way}"], found[f"loss, {way}"] = len(losses[way]), losses[way][-1]
        relevant = csr_matrix(hidden & (matrix.toarray() == 0))
        lists = recommend.top_n(model, matrix, 10)
        ndcg[way] = metrics.accuracy(lists, relevant, [10])["ndcg@10"].dropna()
        found[f"ndcg@10, {way}"] = float(ndcg[way].mean())
    difference = metrics.paired(ndcg["warm"], ndcg["cold"])
    found["ndcg@10, warm - cold"] = {
        name: round(getattr(difference, name), 4) for name in ("difference", "low", "high")
    }
    found["users tested"] = len(ndcg["warm"])
    below = [number for number, one in enumerate(losses["warm"], 1) if one <= losses["cold"][-1]]
    found["warm rounds to the loss of the cold fit"] = min(below, default=0)
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
        "warm start": {name: rounds(name) for name in ("movielens-100k", "online-retail")},
    }
    io.write_json(Path("reports/results/bench_refresh.json"), results)
    print((Path("reports/results/bench_refresh.json")).read_text())


if __name__ == "__main__":
    main()
