"""Serving: CPU per request, latency, build, swaps and kills; `make bench` writes the JSON.

The CPU of a request is that of the server's process, against a bare FastAPI route with the same
parameters and a constant body of the same size; the two take short turns. Some minutes on two
cores, which should be idle; results go to reports/results/bench_serving.json.
"""

import asyncio
import multiprocessing
import os
import random
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import server_fixtures as fixtures
from redis import Redis

from helpers import io, production, recommend
from helpers.production import Production
from helpers.serving import redis, table
from helpers.serving.table import Store, Table

RESULT = Path(__file__).resolve().parents[1] / "reports" / "results" / "bench_serving.json"
USERS, LISTED = 200_000, 20
TURNS, REQUESTS = 100, 50
SWAPS, KILLS = 30, 12
OURS = """
import uvicorn
from helpers.serving.api import create_app
uvicorn.run(create_app({folder!r}), port={port}, access_log=False, log_level="warning")
"""
BARE = """
import uvicorn
from collections.abc import Sequence
from typing import Annotated
from fastapi import FastAPI, Path, Query, Response
app, BODY = FastAPI(), b"x" * {size}
@app.get("/recommendations/{{user_id:path}}")
async def bare(
    user_id: Annotated[str, Path(min_length=1)],
    n: Annotated[int, Query(ge=1, le=100)] = 20,
    exclude: Annotated[Sequence[str], Query(max_length=1000)] = (),
    category: str = "",
) -> Response:
    return Response(BODY, media_type="application/json")
uvicorn.run(app, port={port}, access_log=False, log_level="warning")
"""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def drive(port: int, n: int) -> bytes:
    """Ask for the lists of ``n`` users one after the other; the last body."""
    connection = HTTPConnection("127.0.0.1", port)
    for user in range(n):
        connection.request("GET", f"/recommendations/{user}?n=20")
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200
    connection.close()
    return body


def cpu_per_request(folder: Path) -> dict[str, object]:
    """Server CPU of a request, of ours and of the bare route."""
    ports = fixtures.free_port(), fixtures.free_port()
    with fixtures.process(OURS.format(folder=str(folder), port=ports[0]), ports[0]) as ours:
        size = len(drive(ports[0], 500))
        with fixtures.process(BARE.format(size=size, port=ports[1]), ports[1]) as bare:
            drive(ports[1], 500)
            taken = []
            for _ in range(TURNS):
                before = cpu_seconds(ours), cpu_seconds(bare)
                for port in ports:
                    drive(port, REQUESTS)
                taken.append((cpu_seconds(ours) - before[0], cpu_seconds(bare) - before[1]))
    of_ours, of_bare = (sum(each) / TURNS / REQUESTS * 1e6 for each in zip(*taken, strict=True))
    return {
        "body_bytes": size,
        "ours_us": round(of_ours),
        "bare_us": round(of_bare),
        "ratio": round(of_bare / of_ours, 3),
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50 and p99, in microseconds."""
    p50, p99 = (np.percentile(seconds, [50, 99]) * 1e6).tolist()
    return {"p50_us": round(p50, 1), "p99_us": round(p99, 1)}


def latency(made: Production, opened: Table, url: str) -> dict[str, object]:
    """Of one list: stored in the file or in Redis (over TCP), or computed when it is asked for."""
    users = [str(user) for user in random.Random(0).choices(range(USERS), k=20_000)]
    of_file, of_redis, computed = [], [], []
    for user in users:
        start = time.perf_counter()
        opened.user(user)
        of_file.append(time.perf_counter() - start)

    for user in users[:1_000]:
        row = np.array([made.interactions.user_index(user)])
        start = time.perf_counter()
        scores = made.model.user_factors[row] @ made.model.item_factors.T
        recommend.rank_items(scores, LISTED, made.matrix[row])
        computed.append(time.perf_counter() - start)

    async def ask() -> None:
        reader = redis.Reader(url)
        for user in users[:5_000]:
            start = time.perf_counter()
            await reader.user(opened.version, user)
            of_redis.append(time.perf_counter() - start)
        await reader.close()

    asyncio.run(ask())
    found = {"file": of_file, "redis": of_redis, "computed": computed}
    return {name: percentiles(taken) for name, taken in found.items()}


def swap_in_redis(opened: Table, url: str) -> dict[str, float]:
    """Milliseconds in which the server does nothing else, with the old hash unlinked or not."""
    taken: dict[str, list[float]] = {"unlink_ms": [], "rename_over_ms": []}
    start = time.perf_counter()
    redis.publish(opened, url)
    seconds = time.perf_counter() - start
    with Redis.from_url(url) as server:
        for name in list(taken) * 5:
            server.copy(redis.KEY, "next", replace=True)
            with server.pipeline() as swap:
                if name == "unlink_ms":
                    swap.unlink(redis.KEY)
                swap.rename("next", redis.KEY)
                start = time.perf_counter()
                swap.execute()
                taken[name].append(1000 * (time.perf_counter() - start))
        memory = server.info("memory")["used_memory"]
    medians = {name: round(statistics.median(each), 1) for name, each in taken.items()}
    return {"publish_s": round(seconds, 2), "mb": round(memory / 1e6, 1), **medians}


def swaps_under_load(folder: Path) -> dict[str, int]:
    """Reads while versions change; one is mixed if its list is not that of its version."""
    models = [fixtures.made(tag=tag) for tag in "ab"]
    table.publish(models[0], folder)
    lists = {Store(folder).table.facts["dataset"]: list(Store(folder).table.user("7").scores)}
    table.publish(models[1], folder)
    lists["b"] = list(Store(folder).table.user("7").scores)
    done, reads = threading.Event(), {"reads": 0, "mixed": 0}

    def read() -> None:
        store, n_reads, n_mixed = Store(folder), 0, 0
        while not done.is_set():
            opened = store.table
            tag = opened.facts["dataset"]
            n_reads += 1
            n_mixed += list(opened.user("7").scores) != lists[tag] or not opened.titles[
                0
            ].startswith(tag)
        reads["reads"] += n_reads
        reads["mixed"] += n_mixed

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(SWAPS):
        table.publish(models[turn % 2], folder)
        time.sleep(0.3)
    done.set()
    for reader in readers:
        reader.join()
    return {"swaps": SWAPS, **reads}


def kills(made: Production, folder: Path) -> dict[str, int]:
    """Builders killed at random moments; how often the folder was whole afterwards."""
    start = time.perf_counter()
    table.publish(made, folder)
    seconds, whole = time.perf_counter() - start, 0
    for turn in range(KILLS):
        builder = multiprocessing.get_context("fork").Process(
            target=table.publish, args=(made, folder)
        )
        builder.start()
        time.sleep(seconds * (turn + random.Random(turn).random()) / KILLS)
        builder.kill()
        builder.join()
        path = folder / f"{table.current(folder)}.sqlite"
        with sqlite3.connect(path) as connection:
            intact = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            n_users = connection.execute("SELECT count(*) FROM users").fetchone()[0]
        whole += intact and n_users == made.interactions.n_users
    table.publish(made, folder)
    return {"kills": KILLS, "whole": whole, "left": len(list(folder.glob(".*.tmp*")))}


def build(made: Production, folder: Path) -> dict[str, float]:
    """Seconds for the lists and for the file, and its size."""
    start = time.perf_counter()
    lists = list(production.lists(made, LISTED))
    of_lists = time.perf_counter() - start
    real: Callable[..., object] = production.lists
    table.LISTED, production.lists = LISTED, lambda *_: iter(lists)  # type: ignore[assignment]
    start = time.perf_counter()
    version = table.publish(made, folder)
    seconds = time.perf_counter() - start
    production.lists = real  # type: ignore[assignment]
    size = (folder / f"{version}.sqlite").stat().st_size
    return {"lists_s": round(of_lists, 1), "file_s": round(seconds, 2), "mb": round(size / 1e6, 1)}


def main() -> None:
    """Measure all, print and write it."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        large = fixtures.made(USERS, 2_000)
        measured: dict[str, object] = {"users": USERS, "listed": LISTED}
        measured["build"] = build(large, root / "large")
        opened = Store(root / "large").table
        server = fixtures.RedisServer(root, durable=False)
        try:
            measured["redis"] = swap_in_redis(opened, server.url)
            measured["latency"] = latency(large, opened, server.url)
        finally:
            server.kill()
        measured["swaps"] = swaps_under_load(root / "small")
        measured["kills"] = kills(fixtures.made(20_000, 500), root / "killed")
        measured["cpu"] = cpu_per_request(root / "large")
    print(measured)
    io.write_json(RESULT, measured)


if __name__ == "__main__":
    main()
