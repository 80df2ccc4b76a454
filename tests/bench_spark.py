"""Spark beside implicit and IALS: parity, the course's grid, zeros, a killed worker, break-even.

`python tests/bench_spark.py` measures all and writes reports/results/bench_spark.json;
`python tests/bench_spark.py zeros kill` measures these parts and leaves the others in the file.
Each part names the load of the machine when it began: seconds count only beside each other.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from scipy.sparse import csr_matrix
from spark_fixtures import factors, worker_killed

from helpers import datasets, io, metrics, recommend, spark, splits, tuning
from helpers.als import IALS, ExactALS
from helpers.datasets.million_song import N_ROWS, N_SONGS, N_USERS
from helpers.interactions import Interactions
from helpers.models import SparkALS
from helpers.weighting import binary

RESULT = Path("reports/results/bench_spark.json")
SEEDS = 3
CHOSEN = {"factors": 16, "iterations": 15, "regularization": 30.0, "alpha": 5.0}
"""implicit's settings for MovieLens 100K, which the other engines' follow from."""

RATING = 12
"""Bytes of a cell in Spark's ALS: two int32 and a float32."""


def started() -> SparkSession:
    """All cores, and as many parts as suit a small log."""
    return spark.session(memory="3g", config={"spark.sql.shuffle.partitions": "4"})


def frame_of(session: SparkSession, matrix: csr_matrix, folder: str) -> DataFrame:
    """The cells of a matrix as rows for Spark, by way of a Parquet."""
    rows, columns = matrix.nonzero()
    cells = {"user": rows.astype("int32"), "item": columns.astype("int32"), "value": matrix.data}
    path = f"{folder}/{matrix.nnz}.parquet"
    pd.DataFrame(cells).to_parquet(path)
    return session.read.parquet(path)


class SparkPenaltyIALS(IALS):
    """IALS with the penalty of Spark, ``regularization n``, in its own units (see `translate`)."""

    def _penalties(self, C: csr_matrix) -> np.ndarray:
        counts = np.maximum(np.diff(C.indptr), 1)
        c = 1 + 1 / self.unobserved_weight
        return np.asarray(self.regularization * counts / c, dtype=self.dtype)


class Fitted:
    """Factors, for the lists."""

    def __init__(self, user_factors: np.ndarray, item_factors: np.ndarray) -> None:
        self.user_factors, self.item_factors = user_factors, item_factors


def parity(name: str) -> dict[str, Any]:
    """nDCG@10 of each engine and seed, how far their lists agree, and the seconds of a fit."""
    session = started()
    log = Interactions.from_frame(datasets.load(name).interactions)
    split = splits.random_ratio(log, 0.2, by="user", seed=0)
    train, test, users = binary(split.train.user_items), split.test.user_items, split.tested
    size = {"n_cells": train.shape[0] * train.shape[1], "n_pairs": train.nnz}
    to = {each: spark.translate(CHOSEN, "implicit", each, **size) for each in ("Spark", "IALS")}
    a, exact = to["IALS"]["unobserved_weight"], {"dtype": np.float32}
    of_spark = {"factors": CHOSEN["factors"], "iterations": CHOSEN["iterations"],
                "regularization": to["Spark"]["regParam"]}  # fmt: skip
    makers: dict[str, Callable[[int], Any]] = {
        "implicit": lambda seed: ExactALS(**CHOSEN, **exact, random_state=seed),
        "IALS": lambda seed: IALS(**to["IALS"], cg_steps=0, **exact, random_state=seed),
        "implicit, Spark's penalty": lambda seed: SparkALS(
            **of_spark, alpha=to["Spark"]["alpha"], **exact, random_state=seed
        ),
        "IALS, Spark's penalty": lambda seed: SparkPenaltyIALS(
            **of_spark, unobserved_weight=a, cg_steps=0, **exact, random_state=seed
        ),
    }
    ndcg: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    lists: dict[str, list[np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as folder:
        rows = frame_of(session, train, folder).persist()
        rows.count()

        def by_spark(seed: int) -> Fitted:
            model = spark.fit(rows, **to["Spark"], seed=seed)
            shape = train.shape
            return Fitted(
                factors(model.userFactors, shape[0]), factors(model.itemFactors, shape[1])
            )

        def here(make: Callable[[int], Any]) -> Callable[[int], Any]:
            def fitted(seed: int) -> Any:
                model = make(seed)
                model.fit(train.astype(np.float32), show_progress=False)
                return model

            return fitted

        for engine, fit in {"Spark": by_spark, **{k: here(v) for k, v in makers.items()}}.items():
            ndcg[engine], lists[engine], taken = [], [], []
            for seed in range(SEEDS):
                start = time.perf_counter()
                model = fit(seed)
                taken.append(time.perf_counter() - start)
                top = recommend.top_n(model, train, 20, users=users)
                lists[engine].append(top)
                scored = metrics.accuracy(top[:, :10], test[users], [10])["ndcg@10"]
                ndcg[engine].append(float(scored.mean()))
            seconds[engine] = min(taken)  # the first one compiles
    session.stop()

    def shared(one: np.ndarray, other: np.ndarray) -> float:
        both = [len(np.intersect1d(a, b)) for a, b in zip(one, other, strict=True)]
        return float(np.mean(both)) / 20

    return {
        "pairs": train.nnz,
        "settings": {"implicit": CHOSEN, **to},
        "ndcg@10": {
            engine: {"mean": float(np.mean(each)), "least": min(each), "most": max(each)}
            for engine, each in ndcg.items()
        },
        "top 20 shared with Spark": {
            engine: float(
                np.mean([shared(a, b) for a, b in zip(lists["Spark"], each, strict=True)])
            )
            for engine, each in lists.items()
            if engine != "Spark"
        },
        "top 20 shared between seeds": {
            engine: float(np.mean([shared(a, b) for a, b in combinations(each, 2)]))
            for engine, each in lists.items()
        },
        "fit seconds": seconds,
        "fit seconds / IALS": {engine: each / seconds["IALS"] for engine, each in seconds.items()},
    }


def grid() -> dict[str, Any]:
    """The corners of the course's grid: a CrossValidator, our loop, and the time of all models."""
    session, folds = started(), 3
    corners = {"rank": [10, 40], "maxIter": [10], "regParam": [0.15], "alpha": [20.0, 80.0]}
    log = Interactions.from_frame(datasets.load("movielens-100k").interactions)
    with tempfile.TemporaryDirectory() as folder:
        rows = frame_of(session, log.user_items, folder).persist()
        als = spark.estimator()
        maps = ParamGridBuilder()
        for name, values in corners.items():
            maps = maps.addGrid(getattr(als, name), values)
        maps = maps.build()
        start = time.perf_counter()
        validated = CrossValidator(
            estimator=als, estimatorParamMaps=maps, evaluator=spark.ROEM(), numFolds=folds, seed=0
        ).fit(rows)
        of_validator = time.perf_counter() - start
        found = spark.grid(rows, tuning.runs_of(corners), Path(folder) / "a.jsonl", folds=folds)
    session.stop()
    means = found.groupby(list(corners))["ROEM"].mean()
    models = len(tuning.runs_of(spark.GRID))
    # The seconds grow with the rank and the rounds: the corners have the mean rank of all models,
    # and fewer rounds.
    more = float(np.mean(spark.GRID["maxIter"])) / corners["maxIter"][0]
    each = float(found["seconds"].mean()) * more
    return {
        "models": len(maps),
        "folds": folds,
        "CrossValidator, seconds": of_validator,
        "CrossValidator, best ROEM": min(validated.avgMetrics),
        "grid, seconds": float(found["seconds"].sum()),
        "grid, best ROEM": float(means.min()),
        "grid, ROEM of each": means.reset_index().to_dict("records"),
        "grid, best": dict(zip(corners, map(float, means.idxmin()), strict=True)),
        "seconds a fit, scaled to the mean rounds": each,
        "all models": models,
        "all fits": models * folds,
        "all fits, hours": models * folds * each / 3_600,
    }  # fmt: skip


def operator(joined: Any) -> str:
    """What Spark does for a cross join, which has no condition to sort or hash by."""
    plan = joined.select("*")._jdf.queryExecution().executedPlan().toString()
    names = ("CartesianProduct", "BroadcastNestedLoopJoin")
    return next(name for name in names if name in plan)


def zeros() -> dict[str, Any]:
    """A row for every cell of the training set: its cost, its effect, its plan."""
    session = started()
    log = Interactions.from_frame(datasets.load("movielens-100k").interactions)
    settings = {"rank": 10, "maxIter": 5, "alpha": 20.0}
    with tempfile.TemporaryDirectory() as folder:
        cells = frame_of(session, log.user_items, folder)
        every = cells.select("user").distinct().crossJoin(cells.select("item").distinct())
        full = every.join(cells, ["user", "item"], "left").fillna(0.0, "value")
        # Four fifths of all cells, as the course's training set has.
        full = full.where("pmod(xxhash64(user, item), 5) > 0")
        positive = full.where("value > 0").persist()
        for each in ("user", "item"):  # who has zeros alone would have factors, too
            full = full.join(positive.select(each).distinct(), each, "semi")
        full = full.persist()
        n_rows, n_positive = full.count(), positive.count()

        def fit(rows: DataFrame) -> tuple[float, list[Any]]:
            start = time.perf_counter()
            model = spark.fit(rows, **settings)
            parts = (model.userFactors, model.itemFactors)
            found = [sorted(map(tuple, part.collect())) for part in parts]
            return time.perf_counter() - start, found

        fit(positive)  # compiles
        (without, few), (with_zeros, many) = fit(positive), fit(full)
        plans = {"small tables": operator(every)}
        session.conf.set("spark.sql.autoBroadcastJoinThreshold", -1)
        plans["large tables"] = operator(every)
    session.stop()
    return {
        "rows": n_rows,
        "positive rows": n_positive,
        "bitwise equal": few == many,
        "seconds": with_zeros,
        "seconds without": without,
        "seconds, with / without": with_zeros / without,
        **{f"operator, {size}": name for size, name in plans.items()},
        "Million Song, rows": N_USERS * N_SONGS,
        "Million Song, bytes": N_USERS * N_SONGS * RATING,
        "Million Song, rows with zeros / without": N_USERS * N_SONGS / N_ROWS,
    }  # fmt: skip


def kill() -> dict[str, Any]:
    """A worker of two is killed during a fit of MovieLens 100K."""
    log = Interactions.from_frame(datasets.load("movielens-100k").interactions)
    rows, columns = log.user_items.nonzero()
    cells = {"user": rows.astype("int32"), "item": columns.astype("int32")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.parquet"
        pd.DataFrame({**cells, "value": log.user_items.data}).to_parquet(path)
        found = worker_killed(path, {"rank": 10, "maxIter": 10}, warm=1)
    return {**found, "with / without": found["seconds with a kill"] / found["seconds"]}


def power_law(n: int, seed: int = 0) -> csr_matrix:
    """About ``n`` pairs: users and items grow with its root, both drawn by a power law."""
    rng = np.random.default_rng(seed)
    n_users, n_items = int(20 * n**0.5), int(5 * n**0.5)
    rows, columns = ((size * rng.random(n) ** power).astype("int32")
                     for size, power in ((n_users, 1.5), (n_items, 3.0)))  # fmt: skip
    matrix = csr_matrix((np.ones(n, "float32"), (rows, columns)), shape=(n_users, n_items))
    matrix.sum_duplicates()
    return binary(matrix)


def growth() -> dict[str, Any]:
    """Seconds of ten rounds at rank 10, by Spark and by IALS, for logs of several sizes."""
    session, found, rank, rounds = started(), {}, 10, 10
    with tempfile.TemporaryDirectory() as folder:
        for n in (1_000, 100_000, 1_000_000, 10_000_000):  # the first one compiles
            matrix = power_law(n)
            start = time.perf_counter()
            model = IALS(rank, iterations=rounds, cg_steps=0, random_state=0)
            model.fit(matrix.astype(np.float32), show_progress=False)
            here = time.perf_counter() - start
            rows = frame_of(session, matrix, folder)
            start = time.perf_counter()
            spark.fit(rows, rank=rank, maxIter=rounds).userFactors.count()
            there = time.perf_counter() - start
            found[str(n)] = {"pairs": matrix.nnz, "users": matrix.shape[0],
                             "items": matrix.shape[1], "IALS, seconds": here,
                             "Spark, seconds": there, "Spark / IALS": there / here}  # fmt: skip
    session.stop()
    del found["1000"]
    return {
        "setting": {
            "rank": rank,
            "rounds": rounds,
            "IALS": "exact solves, from a matrix in memory",
            "Spark": "reading the Parquet file included",
            "runs": 1,
        },
        "sizes": found,
    }


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "parity, movielens-100k": lambda: parity("movielens-100k"),
    "zeros": zeros,
    "kill": kill,
    "growth": growth,
    "grid": grid,
    "parity, movielens-1m": lambda: parity("movielens-1m"),
}


def main(names: list[str]) -> None:
    """Measure the parts, each written when it is there."""
    for name in names or PARTS:
        results = io.read_json(RESULT) if RESULT.exists() else {}
        load = os.getloadavg()[0]
        start = time.perf_counter()
        part = PARTS[name]()
        took = {"cores": os.cpu_count(), "load before": load, "wall": time.perf_counter() - start}
        io.write_json(RESULT, {**results, name: {**part, "machine": took}})
        print(name, part, took, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
