"""Factors as arrays, and a cluster of two workers here, one of which is killed during a fit."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

CHILD = """
import contextlib, json, sys, threading, time
import psutil
from helpers import spark
config = {"spark.sql.shuffle.partitions": "4", "spark.executor.memory": "512m"}
config |= json.loads(sys.argv[4])
session = spark.session("local-cluster[2,1,700]", config=config)
context, settings, killed = session.sparkContext, json.loads(sys.argv[2]), []
print(context.applicationId, flush=True)
rows = session.read.parquet(sys.argv[1]).persist()

def fit():
    start = time.perf_counter()
    model = spark.fit(rows, **settings)
    found = [sorted(map(repr, each.collect())) for each in (model.userFactors, model.itemFactors)]
    return found, time.perf_counter() - start

def kill(after):
    time.sleep(after)
    while not killed:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it came and went
                if not killed and "CoarseGrainedExecutorBackend" in " ".join(process.cmdline()):
                    process.kill()
                    killed.append(process.pid)

for _ in range(int(sys.argv[3])):
    fit()  # compiles
quiet, seconds = fit()
thread = threading.Thread(target=kill, args=[seconds / 3])
thread.start()
found, longer = fit()
thread.join()
print(json.dumps({"killed": len(killed), "bitwise equal": found == quiet,
                  "seconds": seconds, "seconds with a kill": longer}))
session.stop()
"""


def worker_killed(
    path: Path, settings: Mapping[str, Any], warm: int = 0, config: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Fit the pairs of a Parquet (user, item, value) twice; in the second fit a worker dies.

    ``warm`` fits before them let Java compile, where the seconds count.
    """
    import pyspark

    home = Path(pyspark.__file__).parent
    environment = {**os.environ, "SPARK_HOME": str(home)}
    command = [sys.executable, "-c", CHILD, str(path), json.dumps(settings), str(warm)]
    command.append(json.dumps(config or {}))
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    application, *said = run.stdout.splitlines() or [""]
    if application.startswith("app-"):
        shutil.rmtree(home / "work" / application, ignore_errors=True)  # what its workers left
    if run.returncode:
        raise RuntimeError(run.stderr)
    found: dict[str, Any] = json.loads(said[-1])
    return found


def factors(frame: Any, n: int) -> np.ndarray:
    """Spark's factors as an array with ``n`` rows; 0 for what has none."""
    rows = frame.collect()
    found = np.zeros((n, len(rows[0][1])), dtype=np.float32)
    found[[row[0] for row in rows]] = [row[1] for row in rows]
    return found
