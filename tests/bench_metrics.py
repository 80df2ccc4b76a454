"""Time of the metrics against other libraries on the same lists and scores.

Everybody gets their input ready-made in the shape they want (implicit a model that only hands out
lists, ranx its arrays of ids and scores), one thread, and a warm-up for compilers. implicit gives
four means a cut-off (among them a truncated AUC that we leave out), ranx six, ours eight with the
value of each user, after checking every list for duplicates and range. Turns alternate; the ratios
are what counts. Results go to reports/results/bench_metrics.json.
"""

import statistics
from pathlib import Path

import numpy as np
import pandas as pd
from bench import Step, mebibytes, seconds
from implicit.evaluation import ranking_metrics_at_k
from metrics_fixtures import FixedLists
from ranx import evaluate
from scipy.sparse import csr_matrix
from scipy.stats import rankdata
from tqdm import tqdm

from helpers import io, metrics

ROOT = Path(__file__).resolve().parents[1]
TURNS = 7
KS = [5, 10, 20, 50]
RANX_NAMES = ["precision", "recall", "hit_rate", "map", "ndcg", "mrr"]


def made_up_lists(
    n_users: int, n: int, n_relevant: int, n_items: int
) -> tuple[np.ndarray, csr_matrix]:
    """Distinct items in each list, and relevant ones of which half are in the list."""
    rng = np.random.default_rng(0)
    start, step = rng.integers(n_items, size=n_users), rng.integers(1, 200, size=n_users)
    items = (start[:, None] + np.arange(n + n_relevant) * step[:, None]) % n_items
    half = n_relevant // 2
    in_list = np.arange(half) * n // half
    relevant = np.hstack([items[:, in_list], items[:, n : n + n_relevant - half]])
    relevant.sort(axis=1)
    ends = np.arange(n_users + 1) * n_relevant
    test = csr_matrix((np.ones(relevant.size), relevant.ravel(), ends), (n_users, n_items))
    return items[:, :n].astype(np.int32), test


def row_by_row(scores: np.ndarray, test: csr_matrix, train: csr_matrix) -> float:
    """ROEM with SciPy's average ranks, user by user."""
    total = 0.0
    for user, row in enumerate(scores):
        ranked = np.ones(len(row), dtype=bool)
        ranked[train.indices[train.indptr[user] : train.indptr[user + 1]]] = False
        ranks = np.empty(len(row))
        ranks[ranked] = (rankdata(-row[ranked]) - 1) / (ranked.sum() - 1)
        cells = slice(test.indptr[user], test.indptr[user + 1])
        total += (test.data[cells] * ranks[test.indices[cells]]).sum()
    return float(total / test.data.sum())


def steps() -> dict[str, tuple[Step, int, str, Step, int]]:
    """Each step: ours and how many metrics it gives, the peer's name, the peer and how many."""
    top_n, test = made_up_lists(100_000, n=50, n_relevant=20, n_items=20_000)
    model, no_train = FixedLists(top_n), csr_matrix(test.shape)
    falling = np.broadcast_to(np.arange(50.0, 0, -1), top_n.shape)
    run = np.stack([top_n.astype(np.float64), falling], axis=2)
    relevant = test.indices.reshape(-1, 20).astype(np.float64)
    qrels = np.stack([relevant, np.ones_like(relevant)], axis=2)
    names = [f"{name}@{k}" for name in RANX_NAMES for k in KS]
    n_ours = metrics.accuracy(top_n[:1], test[:1], KS).shape[1]

    def ours() -> pd.DataFrame:
        return metrics.accuracy(top_n, test, KS)

    def implicits() -> list[dict[str, float]]:
        options = {"show_progress": False, "num_threads": 1}
        return [ranking_metrics_at_k(model, no_train, test, K=k, **options) for k in KS]

    def ranxs() -> dict[str, float]:
        return evaluate(qrels, run, names, threads=1)

    means = ours().mean()
    for k, theirs in zip(KS, implicits(), strict=True):  # the same work, or no comparison
        np.testing.assert_allclose(means[f"ndcg@{k}"], theirs["ndcg"], atol=1e-9)
    for name, theirs in ranxs().items():
        np.testing.assert_allclose(means[name.replace("_", " ")], theirs, atol=1e-9)

    rng = np.random.default_rng(0)
    scores, part = rng.random((943, 1682)), rng.random((943, 1682))
    roem_test = csr_matrix((part < 20 / 1682).astype(np.float64))
    roem_train = csr_matrix((part > 1 - 85 / 1682).astype(np.float64))
    np.testing.assert_allclose(
        metrics.roem(scores, roem_test, roem_train),
        row_by_row(scores, roem_test, roem_train),
        atol=1e-9,
    )
    lists = "all metrics at k = 5, 10, 20, 50 for 100,000 users x 50"
    return {
        f"{lists}, against implicit": (
            ours, n_ours, "ranking_metrics_at_k, four calls", implicits, 4 * len(KS)
        ),
        f"{lists}, against ranx": (ours, n_ours, "evaluate", ranxs, len(names)),
        "ROEM for 943 users x 1,682 items": (
            lambda: metrics.roem(scores, roem_test, roem_train), 1,
            "scipy.stats.rankdata, user by user",
            lambda: row_by_row(scores, roem_test, roem_train), 1,
        ),
    }  # fmt: skip


def main() -> None:
    """Run every step against its peer, print the table, write the JSON."""
    rows = []
    for name, (ours, n_ours, peer_name, peer, n_peer) in tqdm(steps().items(), desc="steps"):
        ours(), peer()  # warm-up
        turns = [(seconds(ours), seconds(peer)) for _ in range(TURNS)]
        ratios = [theirs / mine for mine, theirs in turns]
        rows.append(
            {
                "step": name,
                "peer": peer_name,
                "metrics": n_ours,
                "peer_metrics": n_peer,
                "seconds": statistics.median(mine for mine, _ in turns),
                "peer_seconds": statistics.median(theirs for _, theirs in turns),
                "times_faster": statistics.median(ratios),
                "times_faster_least": min(ratios),
                "times_faster_most": max(ratios),
                "peak_mib": mebibytes(ours),
                "peer_peak_mib": mebibytes(peer),
            }
        )
    path = ROOT / "reports" / "results" / "bench_metrics.json"
    io.write_json(path, {"turns": TURNS, "threads": 1, "steps": rows})
    print(pd.DataFrame(rows).set_index("step").round(3).to_string())
    print(f"\nmedians of {TURNS} alternating turns; written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
