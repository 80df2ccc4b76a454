"""The numbers that the notebooks print are the same on any processor and with any threads."""

import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

# What notebooks 3 to 5 do, reduced to its numbers: fit, lists, metrics, loss, at printed decimals.
CORE = """
import json, sys
import numpy as np
import threadpoolctl
from implicit.cpu.als import AlternatingLeastSquares
from helpers import als, datasets, metrics, models, recommend, splits, tuning
from helpers.interactions import Interactions
from test_tuning import SPACE, log

data = datasets.load("movielens-100k", data_dir=sys.argv[1])
split = splits.leave_last_out(Interactions.from_frame(data.interactions, aggregate="last"))
train, test, threads = split.train.user_items, split.test.user_items, int(sys.argv[2])
settings = dict(factors=50, regularization=0.01, iterations=20)
common = dict(dtype=np.float64, random_state=0, num_threads=threads)
model = als.ExactALS(**settings, **common)
cg = AlternatingLeastSquares(**settings, **common)
ials = als.IALS(32, 0.003, 0.1, cg_steps=0, **common)
ease = models.EASE(500.0)
for each in (model, cg, ials, ease):
    each.fit(train, show_progress=False)
lists = recommend.top_n(model, train, 10)
recommender = recommend.Recommender(model, split.train, data.items)
similar = {title: recommender.similar_items(title, 10)["title"].tolist()
           for title in data.items["title"].drop_duplicates()[:300:3]}
toy = splits.random_ratio(Interactions.from_frame(log()), 0.3, seed=0)
search = tuning.search(tuning.Task("toy", toy, 5), "IALS", SPACE, trials=8,
                       iterations=[4, 8, 12, 16])
loss = als.loss_parts(train, model.user_factors, model.item_factors, 0.01)
blas = [each for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]
print(json.dumps({
    "kernel": [each["architecture"] for each in blas],
    "scores": [(m.user_factors[:20] @ m.item_factors.T).round(12).tolist() for m in (model, cg)],
    "lists": lists.tolist(), "similar": similar,
    "IALS": recommend.top_n(ials, train, 10).tolist(),
    "EASE": recommend.top_n(ease, train, 10).tolist(),
    "search": search.to_csv(),
    "metrics": metrics.accuracy(lists, test, [10]).mean().round(6).to_dict(),
    "loss": {part: f"{value:.2f}" for part, value in loss.items()},
}))
"""
RUNS = [(None, 1), ("Haswell", 2), ("Prescott", 1)]  # with AVX-512 where there is, AVX2, SSE3


x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="these BLAS kernels are for x86-64"
)


def outcome(root, kernel, threads):
    search = os.pathsep.join([str(root), str(root / "tests")])
    environment = os.environ | {"PYTHONPATH": search}
    environment |= {"OPENBLAS_CORETYPE": kernel} if kernel else {}
    command = [sys.executable, "-c", CORE, str(root / "data"), str(threads)]
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=300, check=True)
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def outcomes(root):
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda run: outcome(root, *run), RUNS))


@x86
@pytest.mark.parametrize("part", ["lists", "similar", "IALS", "EASE", "search", "metrics", "loss"])
def test_every_kernel_and_thread_count_gives_the_same(outcomes, part):
    for run, found in zip(RUNS[1:], outcomes[1:], strict=True):
        assert found[part] == outcomes[0][part], f"{part} differ for (kernel, threads) = {run}"


@x86
def test_only_the_exact_solver_keeps_its_scores(outcomes):
    """Notebook 3 says so, and it is why its models are fitted that way."""
    exact, cg = (np.array([found["scores"][solver] for found in outcomes]) for solver in (0, 1))
    assert np.ptp(exact, axis=0).max() < 1e-9
    assert np.ptp(cg, axis=0).max() > 1e-6


@x86
def test_the_runs_really_use_different_kernels(outcomes):
    """Otherwise the tests above would compare one kernel with itself."""
    kernels = [found["kernel"] for found in outcomes[1:]]
    assert kernels[0] != kernels[1], f"OPENBLAS_CORETYPE had no effect here: {kernels}"
