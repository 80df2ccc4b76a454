"""IALS against implicit and irspack on MovieLens 1M: speed, memory, convergence, quality.

`make bench` runs it in some ten minutes and writes reports/results/bench_als.json, which
notebook 5 shows. All models are float32 with three steps of conjugate gradient, the setting in
which each library is used. Libraries take turns, and medians of the turns count.

The NCF benchmark needs its three files, from the folder that NCF_ML_1M names or from the authors'
repository; without them that part is left out of the JSON, and the run says so.
"""

import functools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import requests
from implicit.cpu.als import AlternatingLeastSquares
from irspack.recommenders.ials import IALSTrainer, LossType, SolverType
from scipy.sparse import csr_matrix, load_npz, save_npz
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from helpers import datasets, files, metrics, recommend, splits
from helpers.als import IALS
from helpers.interactions import Interactions

ROOT = Path(__file__).resolve().parents[1]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
FACTORS = (64, 128, 256)
TURNS, EPOCHS_A_TURN = 11, 2
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


def user_items() -> csr_matrix:
    """MovieLens 1M, every rating an observation."""
    data = datasets.load("movielens-1m", data_dir=ROOT / "data")
    return Interactions.from_frame(data.interactions, aggregate="count").user_items


# --- the three libraries, one epoch at a time -------------------------------------------------


def ials(train: csr_matrix, factors: int, threads: int, seed: int = 0, nu: float = 1.0) -> Epoch:
    """Ours. Its half-steps are those that `fit` takes."""
    regularization, weight = REGULARIZATION, UNOBSERVED_WEIGHT
    if nu == 0:  # the bridge to implicit's loss
        regularization = STOCK["regularization"] / STOCK["alpha"]
    model = IALS(
        factors, regularization, weight, nu, iterations=1, num_threads=threads, random_state=seed
    )
    return functools.partial(_one_more_epoch, model, train.astype(np.float32))


def implicit_als(train: csr_matrix, factors: int, threads: int, seed: int = 0) -> Epoch:
    """implicit's default solver."""
    model = AlternatingLeastSquares(
        factors, iterations=1, num_threads=threads, random_state=seed, **STOCK
    )
    return functools.partial(_one_more_epoch, model, train.astype(np.float32))


def _one_more_epoch(
    model: AlternatingLeastSquares, train: csr_matrix
) -> tuple[float, np.ndarray, np.ndarray]:
    taken: list[float] = []
    # Both classes tell the callback the seconds of the half-steps alone.
    model.fit(train, False, lambda iteration, seconds, loss: taken.append(seconds))
    return taken[0], model.user_factors, model.item_factors


def irspack_ials(train: csr_matrix, factors: int, threads: int, seed: int = 0) -> Epoch:
    """irspack's conjugate gradient, the loss of Rendle et al."""
    trainer = IALSTrainer(
        train.astype(np.float32), factors, UNOBSERVED_WEIGHT, REGULARIZATION, 1.0, 0.1,
        SolverType.CG, 3, 64, LossType.IALSPP, seed, threads, 3, 1,
    )  # fmt: skip

    def epoch() -> tuple[float, np.ndarray, np.ndarray]:
        start = time.perf_counter()
        trainer.run_epoch()
        taken = time.perf_counter() - start
        return taken, trainer.core_trainer.user, trainer.core_trainer.item

    return epoch


MODELS = {"IALS": ials, "implicit": implicit_als, "irspack": irspack_ials}


# --- what is measured -------------------------------------------------------------------------


def epochs(train: csr_matrix) -> list[dict[str, object]]:
    """Seconds for each epoch; the libraries alternate in one process."""
    rows = []
    for factors, threads in tqdm(list(product(FACTORS, sorted({1, CORES}))), desc="epochs"):
        steps = {name: make(train, factors, threads) for name, make in MODELS.items()}
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(TURNS + 1):  # the first is a warm-up
            for name, step in steps.items():
                seconds = [step()[0] for _ in range(EPOCHS_A_TURN)]
                if turn:
                    taken[name].append(statistics.mean(seconds))
        for name, each in taken.items():
            ratios = [theirs / ours for ours, theirs in zip(taken["IALS"], each, strict=True)]
            rows.append(
                {
                    "factors": factors,
                    "threads": threads,
                    "model": name,
                    "seconds": statistics.median(each),
                    "ratio": statistics.median(ratios),
                    "ratio_least": min(ratios),
                    "ratio_most": max(ratios),
                }
            )
    return rows


def ndcg(train: csr_matrix, held_out: csr_matrix, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """NDCG@10 of each user who has something held out."""
    model = AlternatingLeastSquares(factors=X.shape[1])
    model.user_factors, model.item_factors = np.ascontiguousarray(X), np.ascontiguousarray(Y)
    tested = np.flatnonzero(np.diff(held_out.indptr))
    lists = recommend.top_n(model, train, 10, users=tested)
    return metrics.ranking(lists, held_out[tested], [10])["ndcg@10"].to_numpy()


def convergence(split: splits.Split, n_epochs: int = 16) -> list[dict[str, object]]:
    """Epochs and seconds until a model is within 1 % of the best NDCG that it reaches."""
    train, held_out = split.train.user_items, split.test.user_items
    rows = []
    for factors, (name, make) in tqdm(list(product(FACTORS, MODELS.items())), desc="convergence"):
        step, seconds, found = make(train, factors, CORES), [0.0], []
        for _ in range(n_epochs):
            taken, X, Y = step()
            seconds.append(seconds[-1] + taken)
            found.append(ndcg(train, held_out, X, Y).mean())
        near = 1 + int(np.argmax(np.array(found) >= 0.99 * max(found)))
        row = {"factors": factors, "model": name, "best_ndcg": max(found), "epochs": near}
        rows.append(row | {"seconds": seconds[near], "peak_mib": peak_mib(name, factors, train)})
    return rows


def peak_mib(name: str, factors: int, train: csr_matrix) -> float:
    """Memory that two epochs add to a fresh process, data and libraries already there."""
    with tempfile.TemporaryDirectory() as folder:
        save_npz(Path(folder) / "train.npz", train)
        command = [sys.executable, __file__, "--peak", name, str(factors), folder]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(run.stdout)


def print_peak(name: str, factors: int, folder: str) -> None:
    """What the fresh process does; it reads nothing but the matrix, so that no peak lies before."""
    train = load_npz(Path(folder) / "train.npz")
    tiny = csr_matrix(np.eye(8, dtype=np.float32))
    MODELS[name](tiny, 8, CORES)()  # loads compiled code
    before = _most_memory()
    step = MODELS[name](train, factors, CORES)
    step(), step()
    print((_most_memory() - before) / 1024)


def _most_memory() -> int:
    """Peak of this process in KiB. Where Linux tells it, that of the parent is not in it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if "VmHWM" in line)
        return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def same_quality(split: splits.Split, n_seeds: int = 3) -> list[dict[str, object]]:
    """Held-out NDCG after 16 epochs of the *same* loss: irspack's at nu = 1, implicit's at 0."""
    train, held_out = split.train.user_items, split.test.user_items
    bridged = functools.partial(ials, nu=0.0)
    pairs = [("irspack", ials, irspack_ials), ("implicit", bridged, implicit_als)]
    rows = []
    for factors, (peer, *makes) in tqdm(list(product(FACTORS, pairs)), desc="same quality"):
        means = []
        for make in makes:
            values = []
            for seed in range(n_seeds):
                step = make(train, factors, CORES, seed)
                for _ in range(16):
                    _, X, Y = step()
                values.append(ndcg(train, held_out, X, Y).mean())
            means.append(float(np.mean(values)))
        rows.append({"factors": factors, "peer": peer, "IALS": means[0], "theirs": means[1]})
    return rows


def scaling(matrix: csr_matrix) -> list[dict[str, object]]:
    """Seconds of one epoch and of everybody's top ten, over interactions and over factors."""
    random = np.random.default_rng(0)
    rank = random.permutation(matrix.nnz)
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
        found = [path for path in folder.glob(f"ml-1m.{name}*") if path.suffix != ".part"]
        if not found:
            answer = requests.get(NCF_SOURCE + f"ml-1m.{name}", timeout=20)
            answer.raise_for_status()
            found = [folder / f"ml-1m.{name}"]
            folder.mkdir(parents=True, exist_ok=True)
            with files.atomic(found[0]) as part:
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


def main() -> None:
    """Run all parts and write the JSON; parts that were left out are said to be."""
    matrix = user_items()
    frame = datasets.load("movielens-1m", data_dir=ROOT / "data").interactions
    split = splits.random_ratio(
        Interactions.from_frame(frame, aggregate="count"), 0.2, by="user", seed=0
    )
    result: dict[str, object] = {
        "dataset": "movielens-1m",
        "cores": CORES,
        "dtype": "float32",
        "cg_steps": 3,
        "turns": TURNS,
        "epochs": epochs(matrix),
        "convergence": convergence(split),
        "same_quality": same_quality(split),
        "scaling": scaling(matrix),
    }
    result["exponents"] = exponents(result["scaling"])  # type: ignore[arg-type]
    try:
        result["ncf"] = ncf()
    except OSError as error:
        print(f"the NCF benchmark was left out: {error}", file=sys.stderr)
    path = ROOT / "reports" / "results" / "bench_als.json"
    files.write_json(path, result)
    for name in ("epochs", "convergence", "same_quality", "scaling", "ncf"):
        if name in result:
            print(f"\n{name}\n{pd.DataFrame(result[name]).round(4).to_string(index=False)}")
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        print_peak(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        with threadpool_limits(1, user_api="blas"):
            main()
