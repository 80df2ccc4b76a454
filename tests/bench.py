"""Time and memory of the main steps, each against a peer in the same run: `make bench`.

Absolute seconds depend on the machine, ratios much less. Steps and peers take turns, and the
median of the turns counts. Results go to reports/results/bench.json.
"""

import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix, lil_matrix
from tqdm import tqdm

from helpers import als, io, recommend, splits
from helpers.interactions import Interactions

ROOT = Path(__file__).resolve().parents[1]
TURNS = 5
Step = Callable[[], object]


def made_up_log(n_rows: int, n_users: int, n_items: int) -> pd.DataFrame:
    """A log with a long tail of items and pairs that occur more than once."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "user_id": rng.integers(n_users, size=n_rows).astype(str),
            "item_id": (n_items * rng.random(n_rows) ** 3).astype(int).astype(str),
            "value": rng.integers(1, 6, size=n_rows).astype(float),
            "timestamp": pd.to_datetime(np.sort(rng.integers(10**9, size=n_rows)), utc=True),
        }
    )


def row_by_row(log: pd.DataFrame) -> csr_matrix:
    """The matrix as tutorials build it: dictionaries of ids and one assignment a row."""
    users = {user: row for row, user in enumerate(sorted(set(log["user_id"])))}
    items = {item: column for column, item in enumerate(sorted(set(log["item_id"])))}
    matrix = lil_matrix((len(users), len(items)))
    for user, item, value in zip(log["user_id"], log["item_id"], log["value"], strict=True):
        matrix[users[user], items[item]] += value
    return matrix.tocsr()


def last_by_group(log: pd.DataFrame) -> pd.DataFrame:
    """Leave-last-out as tutorials do it: sort, then a Python function for each user."""
    ordered = log.sort_values("timestamp", kind="stable")
    return ordered.groupby("user_id", group_keys=False).apply(lambda rows: rows.tail(1))


def user_by_user(model: AlternatingLeastSquares, user_items: csr_matrix) -> np.ndarray:
    """Lists of all users, one call each."""
    users = range(user_items.shape[0])
    return np.array([model.recommend(user, user_items[user], N=10)[0] for user in users])


def fitted(
    user_items: csr_matrix,
    *,
    use_cg: bool,
    cls: type[AlternatingLeastSquares] = AlternatingLeastSquares,
) -> AlternatingLeastSquares:
    """One iteration in float64 with one thread, as the reference has one."""
    model = cls(
        factors=50, iterations=1, use_cg=use_cg, dtype=np.float64, random_state=0, num_threads=1
    )
    model.fit(user_items, show_progress=False)
    return model


def steps() -> dict[str, tuple[str, Step, str, Step]]:
    """Each step with its peer: what ours is called, ours, what the peer is called, the peer."""
    log = made_up_log(200_000, n_users=5_000, n_items=2_000)
    interactions = Interactions.from_frame(log)
    user_items = interactions.user_items
    model = fitted(user_items, use_cg=True)
    return {
        "matrix from a log of 200,000 rows": (
            "Interactions.from_frame", lambda: Interactions.from_frame(log),
            "loop over rows", lambda: row_by_row(log),
        ),
        "hold out each user's last row": (
            "leave_last_out", lambda: splits.leave_last_out(interactions),
            "groupby and apply", lambda: last_by_group(log),
        ),
        "lists for 5,000 users": (
            "top_n", lambda: recommend.top_n(model, user_items, 10),
            "recommend, user by user", lambda: user_by_user(model, user_items),
        ),
        "one exact ALS iteration": (
            "ExactALS", lambda: fitted(user_items, use_cg=False, cls=als.ExactALS),
            "implicit, exact solver", lambda: fitted(user_items, use_cg=False),
        ),
        "one exact ALS iteration, in plain NumPy": (
            "ExactALS", lambda: fitted(user_items, use_cg=False, cls=als.ExactALS),
            "NumPy reference", lambda: als.reference_als(user_items, 50, 0.01, iterations=1),
        ),
        "one ALS iteration of implicit": (
            "three CG steps", lambda: fitted(user_items, use_cg=True),
            "exact solver", lambda: fitted(user_items, use_cg=False),
        ),
    }  # fmt: skip


def seconds(step: Step) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def mebibytes(step: Step) -> float:
    """Peak of the memory that Python and NumPy allocate during one call."""
    tracemalloc.start()
    step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    """Run every step against its peer, print the table, write the JSON."""
    rows = []
    for name, (our_name, ours, peer_name, peer) in tqdm(steps().items(), desc="steps"):
        ours(), peer()  # warm-up
        turns = [(seconds(ours), seconds(peer)) for _ in range(TURNS)]
        ratios = [theirs / mine for mine, theirs in turns]
        rows.append(
            {
                "step": name,
                "ours": our_name,
                "peer": peer_name,
                "seconds": statistics.median(mine for mine, _ in turns),
                "peer_seconds": statistics.median(theirs for _, theirs in turns),
                "times_faster": statistics.median(ratios),
                "times_faster_least": min(ratios),
                "times_faster_most": max(ratios),
                "peak_mib": mebibytes(ours),
                "peer_peak_mib": mebibytes(peer),
            }
        )
    path = ROOT / "reports" / "results" / "bench.json"
    io.write_json(path, {"turns": TURNS, "steps": rows})
    table = pd.DataFrame(rows).set_index("step")
    print(table.drop(columns=["seconds", "peer_seconds"]).round(1).to_string())
    print(f"\nmedians of {TURNS} alternating turns; written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
