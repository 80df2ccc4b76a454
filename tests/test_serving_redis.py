"""Redis beside the file, with a real server that is killed, stopped and restarted."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import server_fixtures as fixtures
from redis import Redis

from helpers import production, recommend
from helpers.serving import redis, table
from helpers.serving.api import create_app
from helpers.serving.redis import NotInRedisError, Reader
from helpers.serving.table import ServingError, Store, Table


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    """Two versions of the same users, with different lists."""
    folder, found = tmp_path_factory.mktemp("tables"), []
    for tag in "ab":
        table.publish(fixtures.made(tag=tag), folder)
        found.append(Store(folder).table)
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[fixtures.RedisServer]:
    server = fixtures.RedisServer(tmp_path)
    yield server
    server.kill()


def ask(url: str, version: str, *user_ids: str) -> list[table.User | None]:
    async def users() -> list[table.User | None]:
        reader = Reader(url)
        try:
            return [await reader.user(version, user_id) for user_id in user_ids]
        finally:
            await reader.close()

    return fixtures.run(users())


def assert_whole(url: str, *candidates: Table) -> str:
    """The version in Redis is all there, and no other key stays for ever."""
    with Redis.from_url(url) as client:
        held = client.hgetall(redis.KEY)
        for key in client.scan_iter():
            assert key == redis.KEY.encode() or client.ttl(key) > 0
    version = held.pop(b"").decode()
    source = next(each for each in candidates if each.version == version)
    assert held == {row[0].encode(): redis._packed(*row[1:]) for row in source.users()}
    return version


def test_redis_returns_what_the_file_holds(
    server: fixtures.RedisServer, tables: list[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "BATCH", 50)  # 120 users: two full batches and a part
    redis.publish(tables[0], server.url)
    ids = [user_id for user_id, *_ in tables[0].users()]
    assert len(ids) == 120
    for user_id, found in zip(ids, ask(server.url, tables[0].version, *ids), strict=True):
        stored = tables[0].user(user_id)
        assert stored is not None
        assert found is not None
        for name in ("items", "scores", "seen"):
            assert list(getattr(found, name)) == list(getattr(stored, name))
        # Where too much is filtered out, the popular items that fill up are the same ones as well.
        assert tables[0].recommend(found, 60) == tables[0].recommend(stored, 60)
    assert ask(server.url, tables[0].version, "nobody") == [None]


def test_lists_without_a_model_are_served_by_redis_and_say_what_they_lack(
    server: fixtures.RedisServer, tmp_path: Path
) -> None:
    made = fixtures.made()
    production.write_lists(made, tmp_path, n=5)
    table.publish(tmp_path / "recommendations.parquet", tmp_path)
    redis.publish(Store(tmp_path).table, server.url)
    with (
        fixtures.serving(create_app(tmp_path, server.url)) as address,
        httpx.Client(base_url=address) as client,
    ):
        found = client.get("/recommendations/7?n=10")
        assert found.headers["X-Store"] == "redis"
        user = np.array([made.interactions.user_ids.get_loc("7")])
        best = recommend.top_n(made.model, made.matrix, 5, users=user)[0]
        assert [each["item_id"] for each in found.json()["items"]] == [
            made.interactions.item_ids[item] for item in best
        ]
        item = found.json()["items"][0]["item_id"]
        assert client.get("/recommendations/nobody").json()["source"] == "popular"
        assert client.get("/health/ready").json()["redis"] == "ready"
        for answer in (
            client.get(f"/similar/{item}"),
            client.get(f"/explain/7?item={item}"),
            client.post("/recommendations", json={"items": [item]}),
        ):
            assert answer.status_code == 404
            assert "need the table of a fitted model" in answer.json()["detail"]


def test_a_list_of_another_version_does_not_count(
    server: fixtures.RedisServer, tables: list[Table]
) -> None:
    with pytest.raises(NotInRedisError, match="another version"):  # it is empty
        ask(server.url, tables[0].version, "1")
    redis.publish(tables[0], server.url)
    with pytest.raises(NotInRedisError, match="another version"):
        ask(server.url, tables[1].version, "1")
    redis.publish(tables[1], server.url)
    assert assert_whole(server.url, *tables) == tables[1].version


def test_a_swap_under_reading_mixes_nothing(
    server: fixtures.RedisServer, tables: list[Table]
) -> None:
    lists = [list(each.user("7").scores) for each in tables]  # type: ignore[union-attr]
    assert lists[0] != lists[1]
    redis.publish(tables[0], server.url)

    seen = [0, 0]

    async def read(done: threading.Event) -> None:
        reader = Reader(server.url)
        while not done.is_set():
            for place, each in enumerate(tables):
                try:
                    user = await reader.user(each.version, "7")
                except NotInRedisError:
                    continue
                assert user is not None
                assert list(user.scores) == lists[place]
                seen[place] += 1
        await reader.close()

    def swap(done: threading.Event) -> None:
        for turn in range(500):
            redis.publish(tables[turn % 2], server.url)
            if turn >= 20 and min(seen):  # a busy machine may not read between two swaps
                break
        done.set()

    done = threading.Event()
    writer = threading.Thread(target=swap, args=(done,))
    writer.start()
    fixtures.run(read(done))
    writer.join()
    assert min(seen) > 0


def test_publishers_at_the_same_time_leave_one_whole_version(
    server: fixtures.RedisServer, tables: list[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "BATCH", 5)
    writers = [
        threading.Thread(target=redis.publish, args=(each, server.url)) for each in tables * 3
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert_whole(server.url, *tables)


@pytest.mark.parametrize("forget", [False, True], ids=["with its disk", "without"])
def test_a_restart_during_the_load_never_publishes_a_part(
    server: fixtures.RedisServer,
    tables: list[Table],
    monkeypatch: pytest.MonkeyPatch,
    forget: bool,
) -> None:
    monkeypatch.setattr(redis, "BATCH", 10)
    rows = list(tables[1].users())

    def users() -> Iterator[tuple[str, bytes, bytes, bytes]]:
        yield from rows[:60]
        server.kill(forget=forget)
        server.start()
        yield from rows[60:]

    redis.publish(tables[0], server.url)
    with monkeypatch.context() as patched:
        patched.setattr(tables[1], "users", users)
        if forget:
            with pytest.raises(ServingError, match=r"lost users.*publish it again"):
                redis.publish(tables[1], server.url)
            with pytest.raises(NotInRedisError, match="another version"):
                ask(server.url, tables[1].version, "7")
        else:
            redis.publish(tables[1], server.url)  # nothing was lost
    if forget:
        redis.publish(tables[1], server.url)
    assert assert_whole(server.url, *tables) == tables[1].version


def test_a_kill_at_any_moment_of_a_publication_leaves_a_whole_version(
    server: fixtures.RedisServer, tables: list[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "BATCH", 10)
    redis.publish(tables[0], server.url)
    start = time.perf_counter()
    redis.publish(tables[1], server.url)
    whole, ends = time.perf_counter() - start, set()
    for turn in range(8):
        killer = threading.Timer(whole * (turn + 0.5) / 7, server.kill)
        killer.start()
        try:
            redis.publish(tables[turn % 2], server.url)
            ends.add("published")
        except ServingError:
            ends.add("failed")
        killer.join()
        server.start()
        assert_whole(server.url, *tables)
    assert "failed" in ends


def test_a_server_that_does_not_answer_costs_50_ms_once(
    server: fixtures.RedisServer, tables: list[Table]
) -> None:
    redis.publish(tables[0], server.url)
    version = tables[0].version

    async def read() -> None:
        reader = Reader(server.url)
        await reader.user(version, "7")
        server.process.send_signal(signal.SIGSTOP)
        try:
            start = time.perf_counter()
            with pytest.raises(NotInRedisError, match="does not answer"):
                await reader.user(version, "7")
            assert 0.04 < time.perf_counter() - start < 1
            start = time.perf_counter()
            for _ in range(100):
                with pytest.raises(NotInRedisError, match="does not answer"):
                    await reader.user(version, "7")
            assert time.perf_counter() - start < redis.PAUSE
        finally:
            server.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(redis.PAUSE)
        user = await reader.user(version, "7")  # no answer of before is taken for that of now
        assert user is not None
        assert list(user.scores) == list(tables[0].user("7").scores)  # type: ignore[union-attr]
        await reader.close()

    fixtures.run(read())


def test_no_server_is_one_clear_error(tables: list[Table]) -> None:
    with pytest.raises(ServingError, match=r"did not take version .* publish it again"):
        redis.publish(tables[0], f"redis://127.0.0.1:{fixtures.free_port()}")
    with pytest.raises(ValueError, match="scheme"):
        redis.publish(tables[0], "localhost:6379")


def test_the_api_goes_on_from_the_file(server: fixtures.RedisServer, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    table.publish(fixtures.made(), folder)
    app = create_app(folder, redis_url=server.url)
    with fixtures.serving(app) as address, httpx.Client(base_url=address) as client:

        def state() -> tuple[str, str]:
            found = client.get("/recommendations/7").raise_for_status()
            ready = client.get("/health/ready").raise_for_status().json()["redis"]
            bodies.add(found.text)
            return found.headers["X-Store"], ready

        def settles(*expected: str) -> None:
            for _ in range(50):
                if (found := state()) == expected:
                    return
                time.sleep(0.1)
            assert found == expected

        bodies: set[str] = set()
        other, silent = "Redis has another version", "Redis does not answer"
        settles(f"file ({other})", other)
        redis.publish(Store(folder).table, server.url)
        settles("redis", "ready")
        threading.Timer(0.2, server.kill).start()
        until = time.monotonic() + 0.6
        while time.monotonic() < until:  # raises for any that failed
            state()
        settles(f"file ({silent})", silent)
        server.start()
        settles("redis", "ready")
        assert len(bodies) == 1

        table.publish(replace(fixtures.made(tag="b"), dataset="a"), folder)
        settles(f"file ({other})", other)
        server.kill(forget=True)
        server.start()
        settles(f"file ({other})", other)
        redis.publish(Store(folder).table, server.url)
        settles("redis", "ready")
        assert len(bodies) == 2
