"""The lists of one version in Redis, for a site that reads from there; the file stands behind it.

The hash ``recs`` has a field for each user (the bytes of the file, see ``_packed``), and in the
field ``""`` the version. One ``HMGET`` returns both, and a list counts only if its version is that
of the file at hand, to which its items' places belong. Redis needs memory for two versions while
they change. A hash lies on one shard of a cluster: a cluster adds no memory here, only replicas.
"""

import asyncio
import struct
import time
from itertools import islice
from typing import cast
from uuid import uuid4

from redis import Redis
from redis import asyncio as redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, WatchError
from redis.retry import Retry

from helpers.serving.table import ServingError, Table, User

KEY = "recs"
"""The hash. Several data sets in one server need one database each: ``redis://host:6379/1``."""

BATCH = 1_000  # users in one command
TIMEOUT = 0.05  # seconds until a reader no longer waits for Redis
PAUSE = 1.0  # seconds in which Redis is not asked again after it did not answer
LEFTOVER = 3_600  # seconds after which Redis itself removes what a killed publisher left


def publish(table: Table, url: str) -> None:
    """Bring a version into Redis: loaded aside, then swapped for the one before in one step.

    ``UNLINK`` frees the old hash in the background; ``RENAME`` over it would block the server.

    Parameters
    ----------
    table : Table
    url : str
        ``redis://[user:password@]host:port/database``.

    Raises
    ------
    ServingError
        If Redis failed meanwhile. It holds the version before, or nothing where it lost that too.
    """
    new, users, n_users = f"{KEY}:{uuid4().hex}", table.users(), 0
    try:
        with Redis.from_url(url, socket_timeout=10, retry=Retry(NoBackoff(), 0)) as server:
            while batch := {user_id: _packed(*blobs) for user_id, *blobs in islice(users, BATCH)}:
                with server.pipeline(transaction=False) as load:
                    load.hset(new, mapping=batch).expire(new, LEFTOVER).execute()
                n_users += len(batch)
            with server.pipeline() as swap:
                swap.watch(new)  # a restart of the server from here on ends the swap
                if n_users and swap.hlen(new) != n_users:
                    raise WatchError("it lost users while they were loaded")
                swap.multi()
                swap.hset(new, "", table.version).persist(new).unlink(KEY).rename(new, KEY)
                swap.execute()
    except (RedisError, OSError) as error:
        message = f"Redis did not take version {table.version} ({error}); publish it again"
        raise ServingError(message) from None


class NotInRedisError(LookupError):
    """The list has to come from the file; the message says why."""


class Reader:
    """Reads from a Redis server that may be slow, gone, or at another version.

    Parameters
    ----------
    url : str
        See :func:`publish`.
    """

    def __init__(self, url: str) -> None:
        # Of the server's own retries and time-outs none is used: one limit holds for all.
        self._server = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        self._asked_again = 0.0

    async def user(self, version: str, user_id: str) -> User | None:
        """What a version holds of a user, without the weights; None for an unknown one.

        Raises
        ------
        NotInRedisError
            If Redis did not answer within 50 ms, now or in the last second, or has another version.
        """
        if time.monotonic() < self._asked_again:
            raise NotInRedisError("Redis does not answer")
        try:
            async with asyncio.timeout(TIMEOUT):
                found = await self._server.hmget(KEY, ["", user_id])
        except (RedisError, OSError, TimeoutError):
            self._asked_again = time.monotonic() + PAUSE
            raise NotInRedisError("Redis does not answer") from None
        held, blob = cast("list[bytes | None]", found)
        if held != version.encode():
            raise NotInRedisError("Redis has another version")
        return None if blob is None else _unpacked(blob)

    async def close(self) -> None:
        """End the connections."""
        await self._server.aclose()


def _packed(items: bytes, scores: bytes, seen: bytes) -> bytes:
    """The number of listed items as int32, then items, scores and history as in the file."""
    return struct.pack("<i", len(items) // 4) + items + scores + seen


def _unpacked(blob: bytes) -> User:
    scores = 4 + 4 * struct.unpack_from("<i", blob)[0]
    seen = scores + 2 * (scores - 4)
    return User.of(blob[4:scores], blob[scores:seen], blob[seen:], b"")
