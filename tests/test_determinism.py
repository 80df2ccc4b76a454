"""The numbers that the notebooks print are the same on any processor and with any threads."""

import json
import os
import platform
import subprocess
import sys

import pytest

# What notebook 3 does, reduced to its numbers: fit, lists, metrics, loss, at printed decimals.
CORE = """
import json, sys
import numpy as np
from helpers import datasets, metrics, recommend, splits
from helpers.als import fit_with_history
from helpers.interactions import Interactions
from implicit.cpu.als import AlternatingLeastSquares

log = datasets.load("movielens-100k", data_dir=sys.argv[1]).interactions
split = splits.leave_last_out(Interactions.from_frame(log, aggregate="last"))
train, held_out = split.train.user_items, split.test.user_items
model = AlternatingLeastSquares(factors=50, regularization=0.01, iterations=20,
                                dtype=np.float64, random_state=0, num_threads=int(sys.argv[2]))
history = fit_with_history(model, train)
lists = recommend.top_n(model, train, 10)
similar = model.similar_items(np.arange(50), N=11)[0]
summary = metrics.summary(lists, held_out, 10)
print(json.dumps({
    "lists": lists.tolist(), "similar": similar.tolist(),
    "metrics": {name: f"{value:.3f}" for name, value in summary.items()},
    "loss": [f"{value:.0f}" for value in history["total"]],
}))
"""
RUNS = [(None, 1), (None, 2), ("Haswell", 1), ("Prescott", 2), ("Sandybridge", 1)]


@pytest.fixture(scope="module")
def outcomes(root):
    processes = []
    for kernel, threads in RUNS:
        environment = os.environ | ({"OPENBLAS_CORETYPE": kernel} if kernel else {})
        command = [sys.executable, "-c", CORE, str(root / "data"), str(threads)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, env=environment))
        if len(processes) % 2 == 0:
            processes[-2].wait(timeout=300)
    return [json.loads(process.communicate(timeout=300)[0]) for process in processes]


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="these BLAS kernels are for x86-64"
)
@pytest.mark.parametrize("part", ["lists", "similar", "metrics", "loss"])
def test_every_kernel_and_thread_count_gives_the_same(outcomes, part):
    for run, outcome in zip(RUNS[1:], outcomes[1:], strict=True):
        assert outcome[part] == outcomes[0][part], f"{part} differ for (kernel, threads) = {run}"


def test_the_runs_really_use_different_kernels():
    """Otherwise the test above would compare one kernel with itself."""
    program = (
        "import numpy, threadpoolctl\n"
        "print([p['architecture'] for p in threadpoolctl.threadpool_info()"
        " if p['user_api'] == 'blas'])"
    )
    found = set()
    for kernel in ("Haswell", "Prescott", "Sandybridge"):
        environment = os.environ | {"OPENBLAS_CORETYPE": kernel}
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        found.add(run.stdout)
    assert len(found) == 3, f"OPENBLAS_CORETYPE had no effect here: {found}"
