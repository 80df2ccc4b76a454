"""One SQLite file with all that is served; a new version takes the old one's place at once.

A folder holds ``<version>.sqlite`` for the last three versions and the text file ``current``, which
names the one that is served. Both are written aside and renamed, so a reader sees a whole version
or the one before, and a builder may be killed at any moment.
"""

import json
import shutil
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from pyarrow import dataset
from scipy.sparse import csr_matrix

from helpers import io, production, recommend
from helpers.als import IALS
from helpers.production import Production

LISTED = 100
"""Items stored for each user, item and popular list: more than is shown, since some are filtered
when they are read."""

KEPT = 3  # versions that stay in the folder
MAPPED = 1 << 40  # bytes of a file that may be mapped into memory: up to SQLite's own limit

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE facts (name TEXT PRIMARY KEY, value);
CREATE TABLE items (place INTEGER PRIMARY KEY, item_id TEXT, title TEXT, categories TEXT,
                    n_users INTEGER, similar BLOB, cosines BLOB);
CREATE TABLE users (user_id TEXT PRIMARY KEY, items BLOB, scores BLOB, seen BLOB, weights BLOB);
CREATE TABLE popular (category TEXT PRIMARY KEY, items BLOB, scores BLOB);
"""
_TABLES = {"facts": 2, "items": 7, "users": 5, "popular": 3}  # with their columns

_ITEMS = """CREATE TABLE items AS
    SELECT row_number() OVER (ORDER BY item_id) - 1 AS place, item_id, min(title) AS title
    FROM lists GROUP BY item_id"""
_COUNTS = """SELECT count(*) FILTER (
        user_id IS NULL OR rank IS NULL OR item_id IS NULL OR title IS NULL
        OR NOT coalesce(isfinite(score), false)
    ), count(*) - count(DISTINCT (user_id, item_id)), coalesce(count_if(user_id = ''), 0),
    count(DISTINCT user_id) - 1, count(DISTINCT item_id)
    FROM lists"""
_USERS = """SELECT user_id, list(place ORDER BY rank), list(score ORDER BY rank)
    FROM lists JOIN items USING (item_id) WHERE user_id {} GROUP BY user_id ORDER BY user_id"""

_NO_MODEL = (
    "these are lists alone: baskets, similar items, reasons, a refresh and the dashboard need the "
    "table of a fitted model"
)


class ServingError(ValueError):
    """Nothing can be served, or not in this way; the message says what to do."""


class User(NamedTuple):
    """A user of the model: places of the listed items and their scores; the history and weights."""

    items: Sequence[int]
    scores: Sequence[float]
    seen: Sequence[int]
    weights: Sequence[float]

    @classmethod
    def of(cls, items: bytes, scores: bytes, seen: bytes, weights: bytes) -> "User":
        """From the stored bytes."""
        return cls(_ints(items), _floats(scores), _ints(seen), _floats(weights))


@dataclass(frozen=True)
class Answer:
    """A list, its source ("ALS" or "popular"), and how many items the popular list added to it.

    A model's list is filled up where too much of it is filtered out.
    """

    source: str
    items: list[int]
    scores: list[float]
    n_filled: int = 0


class Table:
    """One version, open for reading. Items are known by their place (from 0) in the file.

    Attributes
    ----------
    version : str
    facts : dict
        Data set, checksum, settings, metrics with intervals, time of the build, counts.
    item_ids, titles : list of str
    categories : list of tuple of str
    n_users : list of int
        Users of each item.
    places : dict of str to int
        Place of each item id.
    hidden : frozenset of int
        Items that no answer holds.
    """

    def __init__(self, path: Path, hidden: Collection[str] = ()) -> None:
        address = f"{Path(path).resolve().as_uri()}?mode=ro&immutable=1"
        self.version = Path(path).stem
        try:
            self._connection = sqlite3.connect(address, uri=True, check_same_thread=False)
            self._connection.execute(f"PRAGMA mmap_size = {MAPPED}")
            self.facts: dict[str, Any] = json.loads(self._one("SELECT value FROM facts")[0])
        except sqlite3.Error as error:
            raise ServingError(f"{path} cannot be read ({error}); build it anew") from error
        columns = "item_id, title, categories, n_users"
        rows = self._connection.execute(f"SELECT {columns} FROM items ORDER BY place").fetchall()
        self.item_ids: list[str] = [row[0] for row in rows]
        self.titles: list[str] = [row[1] for row in rows]
        self.categories = [tuple(filter(None, row[2].split("|"))) for row in rows]
        self.n_users: list[int] = [row[3] for row in rows]
        self.places = {item_id: place for place, item_id in enumerate(self.item_ids)}
        self.hidden = frozenset(self.places[each] for each in hidden if each in self.places)
        found = self._connection.execute("SELECT category, items, scores FROM popular")
        self._popular = {row[0]: (_ints(row[1]), _floats(row[2])) for row in found}

    def users(self) -> Iterator[tuple[str, bytes, bytes, bytes]]:
        """Each user's id, and the bytes of the listed items, their scores and the history."""
        yield from self._connection.execute("SELECT user_id, items, scores, seen FROM users")

    def user(self, user_id: str) -> User | None:
        """What is stored of a user; None for an unknown one."""
        query = "SELECT items, scores, seen, weights FROM users WHERE user_id = ?"
        row = self._one(query, user_id)
        return row and User.of(*row)

    def user_ids(self, n: int) -> list[str]:
        """The first ``n`` known users."""
        query = "SELECT user_id FROM users ORDER BY user_id LIMIT ?"
        return [row[0] for row in self._connection.execute(query, (n,))]

    def similar(self, item: int, n: int) -> Answer:
        """The items whose factors point in the most similar direction, with their cosines."""
        row = self._one("SELECT similar, cosines FROM items WHERE place = ?", item)
        if row[0] is None:
            raise ServingError(_NO_MODEL)
        chosen = self._choose(zip(_ints(row[0]), _floats(row[1]), strict=True), n, self.hidden, "")
        return Answer("ALS", *chosen)

    def recommend(
        self, user: User | None, n: int, *, exclude: Collection[int] = (), category: str = ""
    ) -> Answer:
        """The first ``n`` items of a stored list that are not excluded; the popular ones fill up.

        Parameters
        ----------
        user : User or None
            None gets the popular list.
        n : int, at least 1
        exclude : collection of int
            Places of items to leave out, besides the hidden ones and the user's history.
        category : str
            Only items of this category; "" for all.

        Returns
        -------
        Answer
        """
        out = self.hidden.union(exclude)
        if category not in self._popular:
            known = ", ".join(sorted(filter(None, self._popular))) or "none"
            raise ServingError(f"category is {category!r}, expected one of: {known}")
        popular = zip(*self._popular[category], strict=True)
        if user is None:
            return Answer("popular", *self._choose(popular, n, out, ""))
        if out or category:
            listed = zip(user.items, user.scores, strict=True)
            items, scores = self._choose(listed, n, out, category)
        else:  # nothing to filter, the usual case
            items, scores = list(user.items[:n]), list(user.scores[:n])
        missing = n - len(items)
        if missing and user.seen:  # of a user without history nobody knows what to leave out
            more = self._choose(popular, missing, out.union(items, user.seen), "")
            return Answer("ALS", items + more[0], scores + more[1], len(more[0]))
        return Answer("ALS", items, scores)

    def fold_in(self, basket: Collection[int], n: int = LISTED) -> User:
        """A user with these items, who need not be known, by one exact solve.

        ``x = argmin`` of the model's loss with the item factors fixed; the items of the basket
        have the weight of a typical cell of the training matrix.
        """
        model, seen = self.model, np.unique(np.fromiter(basket, dtype=np.int32))
        weights = np.full(len(seen), self.facts["basket_weight"])
        row = self._row(seen, weights)
        factors = model.recalculate_user(0, row)
        scores = (model.item_factors @ factors)[None]
        items, best = recommend.rank_items(scores, min(n, len(self.item_ids)), row)
        left = items >= 0
        return User(items[left].tolist(), best[left].tolist(), seen.tolist(), weights.tolist())

    def explain(self, user: User, item: int, n: int = 5) -> tuple[float, list[tuple[int, float]]]:
        """The model's score of an item, and the ``n`` items of the history that add most to it."""
        model = self.model
        row = self._row(np.asarray(user.seen, np.int32), np.asarray(user.weights))
        score, parts, _ = model.explain(0, row, item, N=n)
        return score, parts

    @cached_property
    def model(self) -> IALS:
        """The model without its users: it folds in and explains."""
        row = self._one("SELECT value FROM facts WHERE name = 'item_factors'")
        if row is None:
            raise ServingError(_NO_MODEL)
        model = IALS(**self.facts["settings"], cg_steps=0, dtype=np.float64, num_threads=1)
        model.item_factors = np.frombuffer(row[0]).reshape(len(self.item_ids), -1)
        return model

    def _choose(
        self, listed: Iterable[tuple[int, float]], n: int, out: Collection[int], category: str
    ) -> tuple[list[int], list[float]]:
        left = (
            (item, score)
            for item, score in listed
            if item not in out and (not category or category in self.categories[item])
        )
        chosen = list(islice(left, n))
        return [item for item, _ in chosen], [score for _, score in chosen]

    def _row(self, items: np.ndarray, weights: np.ndarray) -> csr_matrix:
        return csr_matrix(
            (weights.astype(np.float64), items, [0, len(items)]), shape=(1, len(self.item_ids))
        )

    def _one(self, query: str, *values: Any) -> Any:
        return self._connection.execute(query, values).fetchone()


class Store:
    """The version that is served now, from a folder; a new one is noticed at the next look.

    The file ``hidden.txt`` in the folder, if there is one, lists the ids of items that no answer
    may hold, one a line, such as those that are sold out.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._watched = [self.folder / "current", self.folder / "hidden.txt"]
        self._mark: tuple[object, ...] = ()
        self._table: Table

    @property
    def table(self) -> Table:
        """The current version; keep it for one answer, so that the answer is of one version."""
        mark = tuple(map(_mark, self._watched))
        if mark != self._mark:
            names = self._watched[1].read_text(encoding="utf-8-sig").splitlines() if mark[1] else []
            path = self.folder / f"{current(self.folder)}.sqlite"
            self._table = Table(path, [name.strip() for name in names])
            self._mark = mark
        return self._table


def current(folder: Path) -> str:
    """The version that a folder serves."""
    try:
        return (folder / "current").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise ServingError(
            f"{folder} holds no recommendations yet; build them with `make serve`"
        ) from None


def versions(folder: Path) -> list[str]:
    """The versions in a folder, oldest first."""
    return sorted(path.stem for path in folder.glob("[0-9]*.sqlite"))


def publish(
    made: Production | str | Path, folder: Path, facts: Mapping[str, Any] | None = None
) -> str:
    """Write a new version and switch to it; readers go on meanwhile.

    Parameters
    ----------
    made : Production or path
        A fitted model, or the ``recommendations.parquet`` of :func:`helpers.production.write_lists`
        or :func:`helpers.spark.lists`: a file, a folder of parts, or an address such as
        ``s3://bucket/lists/recommendations.parquet``. Of lists alone, users and the popular list
        are served; a list is not filled up, since nobody knows what its user has.
    folder : Path
    facts : mapping, optional
        More to say in the model card.

    Returns
    -------
    str
        The new version: the time of the build.

    Raises
    ------
    ServingError
        If another build into this folder is going on, or lists cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            for left in folder.glob(".*.tmp*"):  # of builders that were killed
                left.unlink()
            for left in folder.glob(".lists-*"):
                shutil.rmtree(left)
            served = current(folder) if (folder / "current").is_file() else ""
            for version in versions(folder):
                if version > served:  # never switched to, or gone back from
                    (folder / f"{version}.sqlite").unlink()
            built = datetime.now(UTC)
            version = f"{built:%Y%m%dT%H%M%S.%fZ}"
            card = {"version": version, "built": f"{built:%Y-%m-%d %H:%M} UTC", **(facts or {})}
            with io.atomic(folder / f"{version}.sqlite") as temporary:
                if isinstance(made, Production):
                    _write(made, temporary, card)
                else:
                    _write_lists(str(made), temporary, card)
            _switch(folder, version)
    except sqlite3.Error as error:
        raise ServingError(f"{folder} cannot be written ({error}); free some disk space") from error
    except Timeout:
        raise ServingError(f"another build into {folder} is going on; wait until it ends") from None
    return version


def rollback(folder: Path) -> str:
    """Serve the version before the current one again; its name."""
    before = [version for version in versions(folder) if version < current(folder)]
    if not before:
        raise ServingError(f"{folder} holds no version before {current(folder)}")
    _switch(folder, before[-1])
    return before[-1]


def _switch(folder: Path, version: str) -> None:
    io.write_text(folder / "current", version + "\n")
    for old in versions(folder)[:-KEPT]:
        if old != version:
            with suppress(PermissionError):  # Windows keeps what is open; else it can be read
                (folder / f"{old}.sqlite").unlink()


def _write(made: Production, path: Path, card: Mapping[str, Any]) -> None:
    data, factors = made.interactions, np.asarray(made.model.item_factors, dtype=np.float64)
    items = made.items.drop_duplicates("item_id").set_index("item_id").reindex(data.item_ids)
    categories = items["genres"].fillna("") if "genres" in items else [""] * data.n_items
    titles = recommend.item_titles(made.items, data.item_ids)
    columns = (range(data.n_items), data.item_ids, titles, categories, data.item_counts.tolist())
    facts = {
        **card,
        "dataset": made.dataset,
        "data_sha256": made.sha256,
        "users": data.n_users,
        "items": data.n_items,
        "interactions": data.nnz,
        "settings": made.settings.model,
        "weighting": made.settings.weighting,
        "origin": made.settings.origin,
        "basket_weight": float(np.median(made.matrix.data)),
        "metrics": made.metrics,
    }
    _fill(
        path,
        {"card": json.dumps(facts, allow_nan=False), "item_factors": factors.tobytes()},
        zip(*columns, *zip(*_similar(factors), strict=True), strict=True),
        _users(made),
        _popular(made, np.asarray(categories)),
    )


def _fill(path: Path, facts: Mapping[str, Any], *rows: Iterable[tuple[Any, ...]]) -> None:
    """Write the facts and the rows of the other three tables."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_SCHEMA)
        for (name, n_columns), found in zip(_TABLES.items(), (facts.items(), *rows), strict=True):
            places = ", ".join("?" * n_columns)
            connection.executemany(f"INSERT INTO {name} VALUES ({places})", found)


def _write_lists(lists: str, path: Path, card: Mapping[str, Any]) -> None:
    """The table of lists alone; they need not fit into memory, and parts come in any order."""
    shown, columns = io.hidden(lists), ", ".join(production.COLUMNS)
    folder = TemporaryDirectory(dir=path.parent, prefix=".lists-")
    with folder as scratch, duckdb.connect(f"{scratch}/lists.duckdb") as engine:
        try:
            engine.register("parts", dataset.dataset(lists, format="parquet"))
            engine.execute(f"CREATE TABLE lists AS SELECT {columns} FROM parts")
            n_bad, n_twice, n_popular, n_users, n_items = engine.execute(_COUNTS).fetchall()[0]
            engine.execute(_ITEMS)
        except (OSError, pa.ArrowException, duckdb.Error) as error:
            raise ServingError(
                f"{shown} holds no lists ({type(error).__name__}: {error}); expected Parquet with "
                f"the columns {columns}, and free disk space of its size in {path.parent}"
            ) from error
        if n_bad or n_twice or not n_popular:
            raise ServingError(
                f"{shown}: {n_bad} rows lack a value, {n_twice} have a user and item that others "
                f"have, {n_popular} are of user '' (the popular list); expected 0, 0 and at least "
                "1: write the lists again"
            )
        facts = {**card, "dataset": shown, "users": n_users, "items": n_items}

        def rows(query: str) -> Iterator[Any]:
            found = engine.execute(query)
            while batch := found.fetchmany(1_000):
                yield from batch

        def listed(which: str) -> Iterator[tuple[str, bytes, bytes]]:
            for user_id, *found in rows(_USERS.format(which)):
                yield user_id, *_blobs(*map(np.array, found))

        _fill(
            path,
            {"card": json.dumps({**facts, "settings": {}, "metrics": {}})},
            rows("SELECT place, item_id, title, '', NULL, NULL, NULL FROM items ORDER BY place"),
            ((*user, b"", b"") for user in listed("<> ''")),
            listed("= ''"),
        )


def _users(made: Production) -> Iterator[tuple[str, bytes, bytes, bytes, bytes]]:
    """The rows of users, cut from the bytes of whole blocks."""
    ids, matrix = made.interactions.user_ids.tolist(), made.matrix
    ends, (seen, weights) = matrix.indptr.tolist(), _blobs(matrix.indices, matrix.data)
    for users, items, scores in production.lists(made, LISTED):
        listed, values = _blobs(items, scores)
        lengths = (items >= 0).sum(axis=1).tolist()  # what is left stands first
        for row, (user, length) in enumerate(zip(users.tolist(), lengths, strict=True)):
            place, start, end = row * items.shape[1], ends[user], ends[user + 1]
            yield (
                ids[user],
                listed[4 * place : 4 * (place + length)],
                values[8 * place : 8 * (place + length)],
                seen[4 * start : 4 * end],
                weights[8 * start : 8 * end],
            )


def _similar(factors: np.ndarray) -> Iterator[tuple[bytes, bytes]]:
    """Items in the most similar direction, for one item after the other."""
    lengths = np.linalg.norm(factors, axis=1, keepdims=True)
    units, n_items = factors / np.where(lengths > 0, lengths, 1), len(factors)
    step, n = max(1, recommend.CELLS // n_items), min(LISTED, n_items)
    for start in range(0, n_items, step):
        cosines = units[start : start + step] @ units.T
        cosines[:, lengths[:, 0] == 0] = -np.inf  # without users there is no direction
        cosines[lengths[start : start + step, 0] == 0] = -np.inf
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        for items, best in zip(*recommend.rank_items(cosines, n), strict=True):
            yield _blobs(items[items >= 0], best[items >= 0])


def _popular(made: Production, categories: np.ndarray) -> Iterator[tuple[str, bytes, bytes]]:
    """The popular items, of all and of each category, with the share of users who have them."""
    share = made.interactions.item_counts / made.interactions.n_users
    order = recommend.popular_items(made.interactions.user_items, len(share))
    of_items = [set(text.split("|")) for text in categories]
    for category in {""}.union(*of_items):
        chosen = [item for item in order if not category or category in of_items[item]][:LISTED]
        yield category, *_blobs(np.asarray(chosen), share[chosen])


def _blobs(items: np.ndarray, values: np.ndarray) -> tuple[bytes, bytes]:
    """Places and values as the bytes of int32 and float64."""
    return items.astype("<i4").tobytes(), values.astype("<f8").tobytes()


def _ints(blob: bytes) -> Sequence[int]:
    return memoryview(blob).cast("i")


def _floats(blob: bytes) -> Sequence[float]:
    return memoryview(blob).cast("d")


def _mark(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino
