"""One exact ALS round on the processor and on a GPU: Numba, JAX, and implicit's CUDA code.

All three minimise the same loss (IALS with nu = 0 is implicit's), in float32, and are scored by the
same lists. On an NVIDIA GPU: MovieLens 1M and a synthetic log of 20 million, 64 to 256 factors.
Without one, JAX runs on the processor, on MovieLens alone and with 64 factors: the result then
holds no figure of a GPU and says so. Results go to reports/results/bench_gpu.json.
"""

import os
import statistics
import time
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # implicit needs memory, too

import jax
import numpy as np
import pandas as pd
from bench_als import machine
from implicit.gpu import HAS_CUDA
from scipy.sparse import csr_matrix
from tqdm import tqdm

from helpers import datasets, io, metrics, recommend
from helpers.als import IALS
from helpers.als.gpu import JaxIALS, implicit_als
from helpers.interactions import Interactions

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "reports" / "results" / "bench_gpu.json"
DEVICE = jax.devices()[0]
ON_GPU = DEVICE.platform == "gpu"
RUNS = (
    list(product(("movielens-1m", "synthetic-20m"), (64, 128, 256)))
    if ON_GPU
    else [("movielens-100k", 64), ("movielens-1m", 64)]
)
ROUNDS, TESTED = 11, 5_000
WEIGHT, REGULARIZATION = 0.2, 5.0
"""Of IALS with nu = 0; its docstring has the same loss in implicit's parameters."""


def binary(name: str) -> csr_matrix:
    """Who has what."""
    if name != "synthetic-20m":
        log = datasets.load(name, data_dir=ROOT / "data").interactions
        matrix = Interactions.from_frame(log, aggregate="count").user_items
    else:
        # As many users, items and (nearly) pairs as in MovieLens 20M, with long tails of both; half
        # of the events follow one of fifty tastes, each with its own order of the items.
        rng, n, shape = np.random.default_rng(0), 20_500_000, (138_493, 26_744)
        users = (shape[0] * rng.random(n) ** 1.5).astype(np.int32)
        items = (shape[1] * rng.random(n) ** 2).astype(np.int32)
        own = rng.integers(2, size=n, dtype=np.int32) * (users % 50) * (shape[1] // 50)
        items = (items + own) % shape[1]
        matrix = csr_matrix((np.ones(n, np.float32), (users, items)), shape=shape)
    matrix.data = np.ones(matrix.nnz, np.float32)
    return matrix


def split(matrix: csr_matrix) -> tuple[csr_matrix, csr_matrix]:
    """A random fifth of the cells is the test set."""
    hidden = np.random.default_rng(0).random(matrix.nnz) < 0.2
    parts = []
    for kept in (~hidden, hidden):
        part = matrix.copy()
        part.data = kept.astype(np.float32)
        part.eliminate_zeros()
        parts.append(part)
    return parts[0], parts[1]


def engines(factors: int) -> dict[str, tuple[str, Any]]:
    """A device and a model of one round each; a second ``fit`` goes on from the first."""
    ials = {"regularization": REGULARIZATION, "unobserved_weight": WEIGHT, "nu": 0.0}
    ials |= {"iterations": 1, "random_state": 0}
    found = {
        "Numba": ("cpu", IALS(factors, cg_steps=0, **ials)),
        "JAX": (DEVICE.device_kind, JaxIALS(factors, **ials)),
    }
    if HAS_CUDA:
        scale = 1 + 1 / WEIGHT
        stock = {"regularization": REGULARIZATION * scale, "alpha": scale, "iterations": 1}
        cuda = implicit_als(use_gpu=True, factors=factors, random_state=0, **stock)
        found["implicit"] = (DEVICE.device_kind, cuda)
    return found


def one_round(model: Any, train: csr_matrix) -> float:
    """Train for one more round; its seconds."""
    taken: list[float] = []
    model.fit(train, False, lambda iteration, seconds, loss: taken.append(seconds))
    return taken[0]


def ndcg(model: Any, train: csr_matrix, test: csr_matrix) -> float:
    """nDCG@10 of some users with a test item, from lists that the processor makes."""
    model = model.to_cpu() if hasattr(model.item_factors, "to_numpy") else model
    users = np.flatnonzero(np.diff(test.indptr))
    users = np.sort(np.random.default_rng(0).permutation(users)[:TESTED])
    lists = recommend.top_n(model, train, 10, users=users)
    return float(metrics.accuracy(lists, test[users], [10])["ndcg@10"].mean())


def measured(name: str, factors: int) -> list[dict[str, Any]]:
    """A row for each engine; they take turns, and the first turn compiles."""
    train, test = split(binary(name))
    models = engines(factors)
    taken: dict[str, list[float]] = {engine: [] for engine in models}
    for _ in tqdm(range(ROUNDS), desc=f"{name}, {factors} factors"):
        for engine, (_, model) in models.items():
            taken[engine].append(one_round(model, train))
    rows = []
    for engine, (device, model) in models.items():
        steady = taken[engine][1:]
        ratios = [base / own for base, own in zip(taken["Numba"][1:], steady, strict=True)]
        rows.append({
            "dataset": name,
            "interactions": train.nnz,
            "users": train.shape[0],
            "items": train.shape[1],
            "factors": factors,
            "engine": engine,
            "device": device,
            "compile_seconds": taken[engine][0] - statistics.median(steady),
            "round_seconds": statistics.median(steady),
            "times_faster_than_numba": statistics.median(ratios),
            "times_faster_least": min(ratios),
            "times_faster_most": max(ratios),
            "ndcg": ndcg(model, train, test),
        })  # fmt: skip
    return rows


def main() -> None:
    """Measure, print and write."""
    start = time.perf_counter()
    rows = [row for name, factors in RUNS for row in measured(name, factors)]
    result = {"device": DEVICE.device_kind, "gpu_measured": ON_GPU, **machine()}
    result |= {"dtype": "float32", "rounds": ROUNDS, "rows": rows}
    io.write_json(RESULT, result | {"seconds": time.perf_counter() - start})
    table = pd.DataFrame(rows).set_index(["dataset", "factors", "engine"])
    print(table.drop(columns=["interactions", "users", "items"]).round(3).to_string())


if __name__ == "__main__":
    main()
