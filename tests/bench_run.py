"""Seconds and memory of whole runs, as `make run DATASET=...` does them: `make bench`.

Three logs: made up with 100,000 rows and 10,000 items, MovieLens 1M, and made up with 10 million
rows. Notebooks 1 to 6 run as a user runs them, two at a time; the memory is that of the run with
all its kernels, sampled twice a second. Results go to reports/results/bench_run.json.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from helpers import io

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = "1 2 3 4 5 6"
LOGS = {
    "synthetic 100,000 rows": (100_000, 1_000, 10_000),
    "MovieLens 1M": None,
    "synthetic 10 million rows": (10_000_000, 200_000, 50_000),
}
"""Rows, users and items to make up."""


def power_law(n_rows: int, n_users: int, n_items: int) -> pd.DataFrame:
    """Ratings over a year: few users and items have many rows, and users have tastes."""
    rng = np.random.default_rng(0)
    user = (n_users * rng.random(n_rows) ** 2).astype(int)
    rank = (n_items // 20 * rng.random(n_rows) ** 3).astype(int)
    taste = np.where(rng.random(n_rows) < 0.7, user % 20, rng.integers(20, size=n_rows))
    return pd.DataFrame(
        {
            "user": user,
            "item": 20 * rank + taste,
            "rating": rng.integers(1, 6, size=n_rows),
            "time": rng.integers(1_600_000_000, 1_631_536_000, size=n_rows),
        }
    )


def memory(process: psutil.Process) -> int:
    """Bytes of a process with its children, the kernels."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):  # it has just ended
            total += each.memory_info().rss
    return total


def run(dataset: str) -> dict[str, object]:
    """One run: its seconds, those of each notebook, and its peak of memory."""
    command = [sys.executable, "-m", "helpers", "run", "--dataset", dataset]
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as lines:
        process = subprocess.Popen(
            [*command, "--notebooks", NOTEBOOKS], cwd=ROOT, stderr=lines, stdout=lines
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(psutil.Process(process.pid)))
            time.sleep(0.5)
        seconds = time.monotonic() - start
        lines.seek(0)
        said = lines.read()
    print(said)
    ended = [line.split(": ") for line in said.splitlines() if line.endswith(" s")]
    return {
        "ended": process.returncode == 0,
        "seconds": round(seconds),
        "peak_gib": round(peak / 2**30, 2),
        "notebooks": {name: int(text.split()[0]) for name, text in sorted(ended)},
    }


def main() -> None:
    """Run the chosen logs, print and write what they took; other logs keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", nargs="*", metavar="log", help=f"of {', '.join(LOGS)}")
    chosen = parser.parse_args().logs or list(LOGS)
    path = ROOT / "reports" / "results" / "bench_run.json"
    measured = io.read_json(path) if path.is_file() else {}
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            dataset = "movielens-1m"
            if LOGS[name] is not None:
                file = Path(folder) / f"{name.replace(' ', '-').replace(',', '')}.csv"
                power_law(*LOGS[name]).to_csv(file, index=False)
                dataset = os.path.relpath(file, ROOT)
            measured[name] = run(dataset)
        print(name, measured[name])
        io.write_json(path, {log: measured[log] for log in LOGS if log in measured})


if __name__ == "__main__":
    main()
