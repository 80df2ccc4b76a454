"""IALS against implicit and irspack on MovieLens 1M: speed, convergence, quality, nu and factors.

`make bench` runs it in some twenty minutes and writes reports/results/bench_als.json, which
notebook 5 shows; `python tests/bench_als.py nu_and_factors` (or another part) measures one part
and leaves the others in the file as they are. All models are float32 with three steps of conjugate
gradient, the setting in which each library is used; `epochs_exact` has exact solvers. Libraries
take turns, and medians of the turns count.

The NCF benchmark needs its three files, from the folder that NCF_ML_1M names or from the authors'
repository; without them that part is left out of the JSON, and the run says so.
"""

import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pandas as pd
import requests
from implicit.cpu.als import AlternatingLeastSquares
from irspack.recommenders.ials import IALSTrainer, LossType, SolverType
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_info, threadpool_limits
from tqdm import tqdm

from helpers import datasets, io, metrics, recommend, splits, weighting
from helpers.als import IALS
from helpers.interactions import Interactions

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "reports" / "results" / "bench_als.json"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
FACTORS = (64, 128, 256)
TURNS, EPOCHS_A_TURN = 11, 2
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "", "OPENBLAS_CORETYPE": "Haswell"}
# irspack's and ours: the same loss. implicit's is that of nu = 0 (see IALS), so it has its own.
REGULARIZATION, UNOBSERVED_WEIGHT = 0.007, 0.2
STOCK = {"regularization": 30.0, "alpha": 1 + 1 / UNOBSERVED_WEIGHT}
# Of the NCF benchmark: the best by NDCG of some sixty settings that were tried by hand on a
# validation set (each user's last training film among 99 others); and for comparison those of
# irspack's published run, for both libraries.
CHOSEN = {
    64: {"regularization": 0.00145, "unobserved_weight": 0.2, "nu": 1.2, "iterations": 18},
    192: {"regularization": 0.00182, "unobserved_weight": 0.2, "nu": 1.2, "iterations": 8},
}
REFERENCE = {"regularization": 0.007, "unobserved_weight": 0.3, "nu": 1.0, "iterations": 12}
NCF_RUNS = [
    ("IALS", 64, "chosen on validation", CHOSEN[64]),
    ("IALS", 192, "chosen on validation", CHOSEN[192]),
    ("IALS", 192, "published", REFERENCE),
    ("irspack", 192, "published", REFERENCE),
]
NCF_SOURCE = (
    "https://raw.githubusercontent.com/hexiangnan/neural_collaborative_filtering/master/Data/"
)
Epoch = Callable[[], tuple[float, np.ndarray, np.ndarray]]
"""Trains for one more epoch; returns its seconds and the factors."""


@functools.cache
def log(least: float = 0) -> Interactions:
    """MovieLens 1M, every rating of at least this many stars an observation."""
    frame = datasets.load("movielens-1m", data_dir=ROOT / "data").interactions
    return Interactions.from_frame(frame[frame["value"] >= least], aggregate="count")


@functools.cache
def split() -> splits.Split:
    """A fifth of each user's ratings is the test set."""
    return splits.random_ratio(log(), 0.2, by="user", seed=0)


def machine() -> dict[str, object]:
    """What the times depend on besides the code."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":")[1].strip() if lines else name
    blas = {p["architecture"] for p in threadpool_info() if p["internal_api"] == "openblas"}
    return {
        "processor": f"{name} ({llvm.get_host_cpu_name()})",
        "avx512": bool(llvm.get_host_cpu_features().get("avx512f")),
        "blas_kernels": sorted(blas),
        "cores": CORES,
    }


# --- the three libraries, one epoch at a time -------------------------------------------------


def ials(
    train: csr_matrix, factors: int, threads: int, seed: int = 0, nu: float = 1.0, cg: bool = True
) -> Epoch:
    """Ours. Its half-steps are those that `fit` takes."""
    regularization, weight = REGULARIZATION, UNOBSERVED_WEIGHT
    if nu == 0:  # the bridge to implicit's loss
        regularization = STOCK["regularization"] / STOCK["alpha"]
    model = IALS(
        factors, regularization, weight, nu, iterations=1, cg_steps=3 if cg else 0,
        num_threads=threads, random_state=seed,
    )  # fmt: skip
    return functools.partial(_one_more_epoch, model, train.astype(np.float32))


def implicit_als(
    train: csr_matrix, factors: int, threads: int, seed: int = 0, cg: bool = True
) -> Epoch:
    """implicit's default solver, or its exact one."""
    model = AlternatingLeastSquares(
        factors, iterations=1, use_cg=cg, num_threads=threads, random_state=seed, **STOCK
    )
    return functools.partial(_one_more_epoch, model, train.astype(np.float32))


def _one_more_epoch(
    model: AlternatingLeastSquares, train: csr_matrix
) -> tuple[float, np.ndarray, np.ndarray]:
    taken: list[float] = []
    # Both classes tell the callback the seconds of the half-steps alone.
    model.fit(train, False, lambda iteration, seconds, loss: taken.append(seconds))
    return taken[0], model.user_factors, model.item_factors


def irspack_ials(
    train: csr_matrix, factors: int, threads: int, seed: int = 0, cg: bool = True
) -> Epoch:
    """irspack's conjugate gradient or Cholesky decomposition, the loss of Rendle et al."""
    solver = SolverType.CG if cg else SolverType.CHOLESKY
    trainer = IALSTrainer(
        train.astype(np.float32), factors, UNOBSERVED_WEIGHT, REGULARIZATION, 1.0, 0.1,
        solver, 3, 64, LossType.IALSPP, seed, threads, 3, 1,
    )  # fmt: skip

    def epoch() -> tuple[float, np.ndarray, np.ndarray]:
        start = time.perf_counter()
        trainer.run_epoch()
        taken = time.perf_counter() - start
        return taken, trainer.core_trainer.user, trainer.core_trainer.item

    return epoch


MODELS = {"IALS": ials, "implicit": implicit_als, "irspack": irspack_ials}


# --- what is measured -------------------------------------------------------------------------


def epochs(
    cg: bool = True, cores: Sequence[int] = (1, CORES), turns: int = TURNS
) -> list[dict[str, object]]:
    """Seconds for each epoch; the libraries alternate in one process."""
    train, rows = log().user_items, []
    for factors, threads in tqdm(list(product(FACTORS, sorted({*cores}))), desc="epochs"):
        steps = {name: make(train, factors, threads, cg=cg) for name, make in MODELS.items()}
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(turns + 1):  # the first is a warm-up
            for name, step in steps.items():
                seconds = [step()[0] for _ in range(EPOCHS_A_TURN)]
                if turn:
                    taken[name].append(statistics.mean(seconds))
        for name, each in taken.items():
            ratios = [theirs / ours for ours, theirs in zip(taken["IALS"], each, strict=True)]
            row = {"factors": factors, "threads": threads, "model": name}
            row |= {"seconds": statistics.median(each), "ratio": statistics.median(ratios)}
            rows.append(row | {"ratio_least": min(ratios), "ratio_most": max(ratios)})
    return rows


def epochs_exact() -> list[dict[str, object]]:
    """The same with exact half-steps, by one thread."""
    return epochs(cg=False, cores=[1], turns=3)


def epochs_avx2() -> list[dict[str, object]]:
    """The same with the instructions of a processor without AVX-512, on one that has it."""
    if not machine()["avx512"]:
        return []
    command = [sys.executable, __file__, "--print", "epochs"]
    environment = os.environ | AVX2
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: list[dict[str, object]] = json.loads(run.stdout)
    return found


def ndcg(
    train: csr_matrix, test: csr_matrix, X: np.ndarray, Y: np.ndarray, users: np.ndarray
) -> np.ndarray:
    """nDCG@10 of these users."""
    model = AlternatingLeastSquares(factors=X.shape[1])
    model.user_factors, model.item_factors = np.ascontiguousarray(X), np.ascontiguousarray(Y)
    lists = recommend.top_n(model, train, 10, users=users)
    return metrics.accuracy(lists, test[users], [10])["ndcg@10"].to_numpy()


def convergence(n_epochs: int = 16) -> list[dict[str, object]]:
    """Epochs and seconds until a model is within 1 % of the best nDCG that it reaches."""
    train, test = split().train.user_items, split().test.user_items
    users, rows = np.flatnonzero(split().test.user_counts), []
    for factors, (name, make) in tqdm(list(product(FACTORS, MODELS.items())), desc="convergence"):
        step, seconds, found = make(train, factors, CORES), [0.0], []
        for _ in range(n_epochs):
            taken, X, Y = step()
            seconds.append(seconds[-1] + taken)
            found.append(ndcg(train, test, X, Y, users).mean())
        near = 1 + int(np.argmax(np.array(found) >= 0.99 * max(found)))
        row = {"factors": factors, "model": name, "best_ndcg": max(found), "epochs": near}
        rows.append(row | {"seconds": seconds[near]})
    return rows


def same_quality(n_seeds: int = 3) -> list[dict[str, object]]:
    """Test nDCG after 16 epochs of the *same* loss: irspack's at nu = 1, implicit's at nu = 0."""
    train, test = split().train.user_items, split().test.user_items
    users, rows = np.flatnonzero(split().test.user_counts), []
    pairs = [("irspack", ials, irspack_ials), ("implicit", functools.partial(ials, nu=0.0),
                                               implicit_als)]  # fmt: skip
    for factors, (peer, *makes) in tqdm(list(product(FACTORS, pairs)), desc="same quality"):
        means = []
        for make in makes:
            values = []
            for seed in range(n_seeds):
                step = make(train, factors, CORES, seed)
                for _ in range(16):
                    _, X, Y = step()
                values.append(ndcg(train, test, X, Y, users).mean())
            means.append(float(np.mean(values)))
        rows.append({"factors": factors, "peer": peer, "IALS": means[0], "theirs": means[1]})
    return rows


# --- nu and factors ---------------------------------------------------------------------------

NUS, SIZES, SEEDS = (0.0, 0.5, 1.0), (32, 64, 128, 256), 5
LAMBDAS, WEIGHTS = (0.002, 0.004, 0.008, 0.012, 0.016, 0.024), (0.1, 0.2, 0.4, 0.8)


def nu_and_factors() -> dict[str, object]:
    """Do nu = 1 and many factors pay, as in Rendle et al. (2022)?

    Their protocol on a smaller log: a rating of four or five stars is an observation, 1,000 random
    users are the validation set and 1,000 the test set, and the models learn from the other users
    alone. Four fifths of each such user's items are folded in, and a list of 100 must find the
    rest. Regularization and the weight of unobserved cells are chosen anew for each nu and size, by
    nDCG@100 on the validation users. Each winner is then tested with several seeds.
    Regularizations are given at nu = 1; at another nu, that one is taken which costs as much in all
    (section 4 of the paper), for else a curve over nu would show the amount of regularization.
    """
    whole, halves = log(4), splits.random_ratio(log(4), 0.2, by="user", seed=0)
    able = np.flatnonzero((halves.train.user_counts > 0) & (halves.test.user_counts > 0))
    held = np.random.default_rng(0).permutation(able)[:2000]
    train = weighting.binary(whole.user_items[np.setdiff1d(np.arange(whole.n_users), held)])
    known, hidden = weighting.binary(halves.train.user_items), halves.test.user_items

    def score(setting: dict[str, float], seed: int, users: np.ndarray) -> pd.DataFrame:
        star, weight, nu = (setting[key] for key in ("regularization", "unobserved_weight", "nu"))
        of_users = np.diff(train.indptr) + weight * train.shape[1]
        of_items = np.bincount(train.indices, minlength=train.shape[1]) + weight * train.shape[0]
        counts = np.concatenate([of_users, of_items])
        regularization = star * counts.sum() / (counts**nu).sum()
        model = IALS(int(setting["factors"]), regularization, weight, nu, random_state=seed)
        model.fit(train, show_progress=False)
        scores = model.recalculate_user(users, known[users]) @ model.item_factors.T
        lists = recommend.rank_items(scores, 100, known[users])[0]
        return metrics.accuracy(lists, hidden[users], [20, 100])[["ndcg@100", "capped recall@20"]]

    rows, users = [], {}
    for factors, nu in tqdm(list(product(SIZES, NUS)), desc="nu and factors"):
        settings = [
            {"factors": factors, "nu": nu, "regularization": star, "unobserved_weight": weight}
            for star, weight in product(LAMBDAS, WEIGHTS)
        ]
        found = [score(setting, 0, held[:1000])["ndcg@100"].mean() for setting in settings]
        chosen = settings[int(np.argmax(found))]
        tested = [score(chosen, seed, held[1000:]) for seed in range(SEEDS)]
        ndcgs = np.array([each["ndcg@100"] for each in tested])
        users[factors, nu] = ndcgs.mean(axis=0)
        low, high = metrics.bootstrap_interval(users[factors, nu])
        row = {"validation_ndcg": max(found), "ndcg": ndcgs.mean(), "low": low, "high": high,
               "ndcg_sd": ndcgs.mean(axis=1).std(ddof=1),
               "recall": np.mean([each["capped recall@20"].mean() for each in tested]),
               "at_edge": chosen["regularization"] in (LAMBDAS[0], LAMBDAS[-1])
               or chosen["unobserved_weight"] in (WEIGHTS[0], WEIGHTS[-1])}  # fmt: skip
        rows.append(chosen | row)
    pairs = [((f, 1.0), (f, 0.0)) for f in SIZES] + [((f, 1.0), (SIZES[0], 1.0)) for f in SIZES[1:]]
    differences = []
    for first, second in pairs:
        pair = metrics.paired(users[first], users[second])
        names = [f"{factors} factors, nu = {nu:g}" for factors, nu in (first, second)]
        row = {"first": names[0], "second": names[1], "difference": pair.difference}
        differences.append(row | {"low": pair.low, "high": pair.high, "p_value": pair.p_value})
    protocol = {
        "observations": "ratings of at least 4",
        "users": f"{train.shape[0]} for training, 1000 for validation, 1000 for the test",
        "lists": "100 items, from a random four fifths of each user's items (fold-in)",
        "chosen": "regularization (rescaled to nu = 1) and unobserved_weight, on validation",
        "metrics": "ndcg: nDCG@100; recall: hits in 20 places / min(20, relevant items)",
        "seeds": SEEDS,
        "iterations": 16,
    }
    return {"protocol": protocol, "rows": rows, "differences": differences}


# --- scaling ----------------------------------------------------------------------------------


def scaling() -> list[dict[str, object]]:
    """Seconds of one epoch and of everybody's top ten, over interactions and over factors."""
    matrix = log().user_items
    rank = np.random.default_rng(0).permutation(matrix.nnz)
    sizes = [(share, 64) for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)]
    sizes += [(1.0, factors) for factors in (16, 32, 128, 256)]
    rows = []
    for share, factors in tqdm(sizes, desc="scaling"):
        part = matrix.astype(np.float32)
        part.data[rank >= share * matrix.nnz] = 0
        part.eliminate_zeros()
        model = IALS(factors, REGULARIZATION, UNOBSERVED_WEIGHT, iterations=1, random_state=0)
        taken = [(_timed(model.fit, part, False), _timed(recommend.top_n, model, part, 10))
                 for _ in range(6)][1:]  # fmt: skip
        fit, listing = (statistics.median(times) for times in zip(*taken, strict=True))
        row = {"interactions": part.nnz, "factors": factors}
        rows.append(row | {"fit_seconds": fit, "recommend_seconds": listing})
    return rows


def _timed(step: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    step(*arguments)
    return time.perf_counter() - start


def exponents(rows: list[dict[str, object]]) -> dict[str, float]:
    """Slopes in the log-log plane: 1 is proportional, 0 is constant."""
    frame = pd.DataFrame(rows)
    by = {
        "interactions": frame[frame["factors"] == 64],
        "factors": frame[frame["interactions"] == frame["interactions"].max()],
    }
    return {
        f"{what}, {name}": float(
            np.polyfit(np.log(part[name]), np.log(part[f"{what}_seconds"]), 1)[0]
        )
        for what, (name, part) in product(("fit", "recommend"), by.items())
    }


# --- the NCF benchmark ------------------------------------------------------------------------


def ncf_files() -> Iterator[pd.DataFrame]:
    """Train, test and negatives of the NCF benchmark on MovieLens 1M.

    Raises
    ------
    OSError
        If the files are neither here nor can be fetched.
    """
    folder = Path(os.environ.get("NCF_ML_1M", ROOT / "data" / "raw" / "ncf-ml-1m"))
    for name in ("train.rating", "test.rating", "test.negative"):
        found = list(folder.glob(f"ml-1m.{name}*"))
        if not found:
            answer = requests.get(NCF_SOURCE + f"ml-1m.{name}", timeout=20)
            answer.raise_for_status()
            found = [folder / f"ml-1m.{name}"]
            folder.mkdir(parents=True, exist_ok=True)
            with io.atomic(found[0]) as part:
                part.write_bytes(answer.content)
        yield pd.read_csv(found[0], sep="\t", header=None)


def ncf(n_seeds: int = 5) -> list[dict[str, object]]:
    """Hit rate and NDCG at 10 of the held-out film among itself and the 99 given with it."""
    train, test, negatives = ncf_files()
    n_items = 1 + max(train[1].max(), test[1].max(), negatives.iloc[:, 1:].to_numpy().max())
    shape = (int(train[0].max()) + 1, int(n_items))
    matrix = csr_matrix((np.ones(len(train), np.float32), (train[0], train[1])), shape=shape)
    candidates = np.column_stack([test[1], negatives.iloc[:, 1:]])
    rows = []
    for name, factors, source, setting in NCF_RUNS:
        found = []
        for seed in tqdm(range(n_seeds), desc=f"NCF, {name}, {factors} factors"):
            X, Y = _fitted(name, matrix, factors, seed, setting)
            scores = np.take_along_axis(X[test[0]] @ Y.T, candidates, axis=1)
            # Ties count half, as they would on average in random order.
            place = (scores[:, 1:] > scores[:, :1]).sum(axis=1)
            place = place + (scores[:, 1:] == scores[:, :1]).sum(axis=1) / 2
            hit = place < 10
            found.append((hit.mean(), (hit / np.log2(place + 2)).mean()))
        (rate, gain), (rate_sd, gain_sd) = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
        row = {"model": name, "factors": factors, "settings": source, **setting, "seeds": n_seeds}
        spread = {"hit_rate_sd": rate_sd, "ndcg_sd": gain_sd}
        rows.append(row | {"hit_rate": rate, "ndcg": gain} | spread)
    return rows


def _fitted(
    name: str, matrix: csr_matrix, factors: int, seed: int, setting: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    if name == "IALS":
        model = IALS(factors, random_state=seed, **setting)
        model.fit(matrix, show_progress=False)
        return model.user_factors, model.item_factors
    trainer = IALSTrainer(
        matrix, factors, setting["unobserved_weight"], setting["regularization"], setting["nu"],
        0.1, SolverType.CG, 3, 64, LossType.IALSPP, seed, CORES, 3, 1,
    )  # fmt: skip
    for _ in range(int(setting["iterations"])):
        trainer.run_epoch()
    return trainer.core_trainer.user, trainer.core_trainer.item


PARTS = (
    epochs, epochs_avx2, epochs_exact, convergence, same_quality, nu_and_factors, scaling, ncf
)  # fmt: skip


def main(parts: list[str]) -> None:
    """Measure all parts or some, and write the JSON; a part that was left out is said to be."""
    result = io.read_json(RESULT) if parts and RESULT.exists() else {}
    result |= {"dataset": "movielens-1m", **machine(), "dtype": "float32", "cg_steps": 3}
    result["turns"] = TURNS
    for part in PARTS:
        if not parts or part.__name__ in parts:
            try:
                result[part.__name__] = part()
            except OSError as error:
                print(f"{part.__name__} was left out: {error}", file=sys.stderr)
    if "scaling" in result:
        result["exponents"] = exponents(result["scaling"])
    io.write_json(RESULT, result)
    for part in PARTS:
        if part.__name__ in result and (not parts or part.__name__ in parts):
            found = result[part.__name__]
            for table in [found["rows"], found["differences"]] if "rows" in found else [found]:
                print(f"\n{part.__name__}\n{pd.DataFrame(table).round(4).to_string(index=False)}")
    print(f"\nwritten to {RESULT.relative_to(ROOT)}")


if __name__ == "__main__":
    with threadpool_limits(1, user_api="blas"):
        if sys.argv[1:2] == ["--print"]:
            print(json.dumps(epochs()))
        else:
            main(sys.argv[1:])
