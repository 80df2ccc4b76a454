"""How time and memory grow with the log, and what an approximate index of 1,000,000 items gains.

Synthetic logs of helpers.datasets.million_song, from 100,000 rows to the size of the Million Song
log; each stage of the work runs in a process of its own, and its peak memory is what the kernel
counted. `python tests/bench_growth.py growth FOLDER` (or `index`) measures one part, keeps the logs
in the folder and leaves the other part in reports/results/bench_growth.json as it is. Linux only.
"""

import gc
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pandas as pd
from scipy import stats
from scipy.sparse import csr_matrix, load_npz, save_npz
from threadpoolctl import threadpool_limits

from helpers import datasets, io, recommend
from helpers.als import IALS
from helpers.datasets.million_song import N_ROWS, synthesize
from helpers.interactions import Interactions

RESULT = Path(__file__).resolve().parents[1] / "reports" / "results" / "bench_growth.json"
SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, N_ROWS)
STAGES = ("load", "datasets.load", "matrix", "fit", "recommend")
CHECKED = 3_000_000  # the largest log that datasets.load reads here: it looks at each row
FACTORS, ROUNDS, ALL_ROUNDS, N_LISTS = 64, 2, 16, 200
GIB = 24
MEASURES = ("cpu seconds", "wall seconds", "peak MiB")
Found = dict[str, Any]


# --- one stage in one process -----------------------------------------------------------------


def memory(what: str) -> float:
    """VmHWM (the peak since it was last reset) or VmRSS of this process, in MiB."""
    [kib] = re.findall(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())
    return float(kib) / 1024


def measured(step: Callable[[], Any], turns: int) -> Found:
    """The least CPU and wall seconds and the peak memory of a step, and what it returned."""
    found = []
    for _ in range(turns):
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        cpu, wall = time.process_time(), time.perf_counter()
        result = step()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        found.append((cpu, wall, memory("VmHWM")))
    return dict(zip(MEASURES, map(min, zip(*found, strict=True)), strict=True)) | {"_": result}


def stage(name: str, folder: Path, n_rows: int) -> Found:
    """Run one stage on what the stages before left in the folder."""
    log, cells, factors = (folder / f"{n_rows}{end}" for end in (".parquet", ".npz", "-{}.npy"))
    least, turns = {"MiB of the imports": memory("VmRSS")}, 3 if n_rows <= 1_000_000 else 1
    if name == "load":
        found = measured(lambda: pd.read_parquet(log), turns)
    elif name == "datasets.load":
        found = measured(lambda: datasets.load(log), 1)
    elif name == "matrix":
        frame = pd.read_parquet(log)
        found = measured(lambda: Interactions.from_frame(frame), turns)
        save_npz(cells, found["_"].user_items.astype(np.float32), compressed=False)
    elif name == "fit":
        matrix = load_npz(cells)
        IALS(FACTORS, iterations=1).fit(matrix[:100], show_progress=False)  # compiles

        def fit() -> IALS:
            model = IALS(FACTORS, iterations=ROUNDS, random_state=0)
            model.fit(matrix, show_progress=False)
            return model

        found = measured(fit, turns)
        for side in ("user", "item"):
            np.save(str(factors).format(side), getattr(found["_"], f"{side}_factors"))
        for key in MEASURES[:2]:
            found[key] *= ALL_ROUNDS / ROUNDS
    else:
        matrix = load_npz(cells)
        sides = {f"{side}_factors": np.load(str(factors).format(side)) for side in ("user", "item")}
        users = np.random.default_rng(0).choice(matrix.shape[0], N_LISTS, replace=False)
        model = SimpleNamespace(**sides)
        found = measured(lambda: recommend.top_n(model, matrix, 10, users=users), turns)
        for key in MEASURES[:2]:
            found[key] *= matrix.shape[0] / N_LISTS
        least |= {"users": matrix.shape[0], "items": matrix.shape[1]}
    del found["_"]
    return found | least


# --- growth -----------------------------------------------------------------------------------


def growth(folder: Path) -> Found:
    """All stages at all sizes, the exponents, and where the memory ends."""
    points = []
    for n_rows in SIZES:
        if not (folder / f"{n_rows}.parquet").exists():
            synthesize(folder / f"{n_rows}.parquet", n_rows)
        point: Found = {"interactions": n_rows}
        for name in STAGES[: 1 if n_rows > CHECKED else 2] + STAGES[2:]:
            command = [sys.executable, __file__, "--stage", name, str(folder), str(n_rows)]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(run.stdout)
            point |= {key: found.pop(key) for key in ("users", "items") if key in found}
            point |= {f"{name}, {key}": round(value, 3) for key, value in found.items()}
            print(n_rows, name, {key: round(value, 2) for key, value in found.items()}, flush=True)
        points.append(point)
    return {
        "setting": {
            "log": "synthetic (helpers.datasets.million_song)",
            "load": "pandas.read_parquet; datasets.load also checks each row",
            "fit": f"IALS, {FACTORS} factors, float32, three steps of conjugate gradient; "
            f"{ROUNDS} rounds measured, scaled to {ALL_ROUNDS}",
            "recommend": f"top 10 of {N_LISTS} users measured, scaled to all users",
            "rounds measured": ROUNDS,
            "rounds": ALL_ROUNDS,
            "users measured": N_LISTS,
            "cpu seconds": "of all threads; the machine was shared, so wall seconds are longer",
            "peak MiB": "of the process in that stage, its input and the imports included",
        },
        "points": points,
        "exponents": exponents(points),
        "memory": limits(points),
    }


def exponents(points: list[Found]) -> dict[str, Found]:
    """Slopes over log(interactions): 1 is proportional; the imports are no part of the memory."""
    found = {}
    for name in STAGES:
        part = [point for point in points if f"{name}, {MEASURES[0]}" in point]
        size = np.log([point["interactions"] for point in part])
        for what in (MEASURES[0], MEASURES[2]):
            values = np.array([point[f"{name}, {what}"] for point in part])
            if what == MEASURES[2]:
                values -= [point[f"{name}, MiB of the imports"] for point in part]
            logs = np.log(values)
            line = stats.linregress(size, logs)
            reach = line.stderr * stats.t.ppf(0.975, len(part) - 2)
            local = np.diff(logs) / np.diff(size)
            found[f"{name}, {what}"] = {
                "exponent": line.slope,
                "standard error": line.stderr,
                "low": line.slope - reach,
                "high": line.slope + reach,
                "least between neighbours": local.min(),
                "most between neighbours": local.max(),
                "points": len(part),
            }
    return found


def limits(points: list[Found]) -> dict[str, Found]:
    """Where 24 GiB end: a straight line through the peaks of each stage, drawn out."""
    found = {}
    for name in STAGES:
        part = [point for point in points if f"{name}, peak MiB" in point]
        size = np.array([point["interactions"] for point in part], dtype=float)
        peaks = np.array([point[f"{name}, peak MiB"] for point in part])
        slope, start = np.polyfit(size, peaks, 1)
        found[name] = {
            "MiB at the start of the line": start,
            "bytes an interaction": slope * 2**20,
            "largest distance from the line, MiB": np.abs(peaks - start - slope * size).max(),
            "largest measured": int(size.max()),
            f"interactions that fill {GIB} GiB, extrapolated": (GIB * 1024 - start) / slope,
        }
    return found


# --- an approximate index ---------------------------------------------------------------------

N_ITEMS, N_QUERIES, K = 1_000_000, 500, 10
LISTS, PROBES = 1024, (1, 2, 4, 8, 16, 32, 64, 128, 256)
LINKS, REACHES = 16, (16, 32, 64, 128, 256)
ENOUGH = 0.95


def vectors() -> tuple[np.ndarray, np.ndarray]:
    """Items and queries: a fitted model's, its items drawn with noise of half their length."""
    log = datasets.load("movielens-1m", data_dir=RESULT.parents[2] / "data").interactions
    matrix = Interactions.from_frame(log, aggregate="count").user_items.astype(np.float32)
    model = IALS(FACTORS, random_state=0)
    model.fit(matrix, show_progress=False)
    rng = np.random.default_rng(0)
    items = model.item_factors[rng.integers(matrix.shape[1], size=N_ITEMS)]
    noise = rng.standard_normal(items.shape, dtype=np.float32) / np.float32(FACTORS**0.5)
    items += noise * np.linalg.norm(items, axis=1, keepdims=True) / 2
    return items, model.user_factors[rng.choice(matrix.shape[0], N_QUERIES, replace=False)]


def index(_: Path) -> Found:
    """Recall and speed of IVF and HNSW against exact search by inner product, on one thread."""
    faiss.omp_set_num_threads(1)
    items, queries = vectors()
    exact = faiss.IndexFlatIP(FACTORS)
    exact.add(items)
    _, truth = exact.search(queries, K)

    def rate(search: Callable[[np.ndarray], object], many: np.ndarray) -> float:
        """Queries a CPU second: the best of three turns."""
        return len(many) / measured(lambda: search(many), 3)["cpu seconds"]

    def row(name: str, index: Any, setting: str, value: int, build: float) -> Found:
        _, found = index.search(queries, K)
        hits = [len(np.intersect1d(*pair)) for pair in zip(found, truth, strict=True)]
        made = {
            "index": name,
            "setting": setting,
            "value": value,
            "recall@10": float(np.mean(hits)) / K,
            "queries a second": rate(lambda many: index.search(many, K), queries),
            "build seconds": build,
        }
        print(made, flush=True)
        return made

    def built(index: Any) -> float:
        start = time.process_time()
        index.train(items)
        index.add(items)
        return time.process_time() - start

    one = rate(lambda many: [exact.search(each[None], K) for each in many], queries[:50])
    model = SimpleNamespace(user_factors=queries, item_factors=items)
    empty, users = csr_matrix((N_QUERIES, N_ITEMS), dtype=np.float32), np.arange(40)
    ours = rate(lambda many: recommend.top_n(model, empty, K, users=many), users)
    rows = [row("exact", exact, "", 0, 0.0)]
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatIP(FACTORS), FACTORS, LISTS, faiss.METRIC_INNER_PRODUCT)
    build = built(ivf)
    for probes in PROBES:
        ivf.nprobe = probes
        rows.append(row(f"IVF, {LISTS} lists", ivf, "nprobe", probes, build))
    hnsw = faiss.IndexHNSWFlat(FACTORS, LINKS, faiss.METRIC_INNER_PRODUCT)
    build = built(hnsw)
    for reach in REACHES:
        hnsw.hnsw.efSearch = reach
        rows.append(row(f"HNSW, {LINKS} links", hnsw, "efSearch", reach, build))
    for each in rows:
        each["times exact, in a batch"] = each["queries a second"] / rows[0]["queries a second"]
        each["times exact, one by one"] = each["queries a second"] / one
        each["times recommend.top_n"] = each["queries a second"] / ours
    good = [each for each in rows[1:] if each["recall@10"] >= ENOUGH]
    return {
        "setting": {
            "library": f"faiss {faiss.__version__}",
            "items": N_ITEMS,
            "dimensions": FACTORS,
            "queries": N_QUERIES,
            "vectors": "item factors of IALS on movielens-1m, drawn with replacement, with normal "
            "noise of half their length; queries are its user factors",
            "threads": 1,
        },
        "exact, queries a second one by one": one,
        "recommend.top_n, queries a second": ours,
        "rows": rows,
        "rule": f"the fastest with recall@10 of at least {ENOUGH}",
        "least recall": ENOUGH,
        "chosen": max(good, key=lambda each: each["queries a second"], default=None),
    }


PARTS = {"growth": growth, "index": index}


def main(part: str = "", kept: str = "") -> None:
    """Measure all parts or one, and write the JSON."""
    with tempfile.TemporaryDirectory() as folder:
        for name in [part] if part else PARTS:
            found = {name: PARTS[name](Path(kept or folder))}
            io.write_json(RESULT, (io.read_json(RESULT) if RESULT.exists() else {}) | found)
    print(RESULT.read_text())


if __name__ == "__main__":
    with threadpool_limits(1, user_api="blas"):
        if sys.argv[1:2] == ["--stage"]:
            name, folder, n_rows = sys.argv[2:]
            print(json.dumps(stage(name, Path(folder), int(n_rows))))
        else:
            main(*sys.argv[1:])
