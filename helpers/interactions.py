"""The interaction matrix and the only place where ids become indexes."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers import io

Aggregate = Literal["sum", "max", "last", "count"]
MAX_HISTORY = 5_000
"""Samples and item KNN leave out users with more items: the work for one grows with the square of
that number, and who has everything does not say which items are alike."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """Who interacted with what: one stored cell for each user-item pair that was observed.

    Attributes
    ----------
    user_items : csr_matrix of shape (n_users, n_items), float64
        Strength of each observed pair, positive; users are rows. No zero is stored.
    user_ids, item_ids : Index of str
        Id of each row and of each column, sorted, so that the order of the log's rows does not
        change the matrix.
    timestamps : datetime64 ndarray of shape (nnz,), or None
        UTC time of the pair's latest event, aligned with ``user_items.data``; None if the log has
        no times.
    order : int64 ndarray of shape (nnz,)
        Position of that event in the log (sorted by time where it has times), aligned with
        ``user_items.data``. It is unique, so it also orders events that share a timestamp.
    n_zeros_dropped, n_merged : int
        Events of value 0 that were left out (implicit reads a *stored* zero as confidence 0, less
        than an unobserved cell has), and events merged into another event of the same pair.
    manifest : dict
        Where a loaded file comes from; empty otherwise.

    """

    user_items: csr_matrix
    user_ids: pd.Index
    item_ids: pd.Index
    timestamps: np.ndarray | None
    order: np.ndarray
    n_zeros_dropped: int = 0
    n_merged: int = 0
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, aggregate: Aggregate = "sum") -> "Interactions":
        """Build the matrix from a tidy interactions frame.

        Parameters
        ----------
        frame : DataFrame
            Columns ``user_id``, ``item_id`` (text), ``value`` (finite, not negative) and, where
            known, ``timestamp`` (UTC). The order of the rows breaks ties in time; without times
            it is the order of the events.
        aggregate : {"sum", "max", "last", "count"}
            What the events of a pair become: the sum or maximum of their values, the value of the
            latest, or their number. Zeros are dropped before; users and items with nothing but
            zeros keep their row or column, which is empty.

        Examples
        --------
        >>> log = pd.DataFrame({
        ...     "user_id": ["b", "a", "b"], "item_id": ["x", "y", "x"], "value": [1.0, 2.0, 4.0]})
        >>> interactions = Interactions.from_frame(log)
        >>> interactions.user_items.toarray()
        array([[0., 2.],
               [5., 0.]])
        >>> interactions.n_merged
        1
        """
        values = _check_frame(frame, aggregate)
        users, user_ids = pd.factorize(frame["user_id"], sort=True)
        items, item_ids = pd.factorize(frame["item_id"], sort=True)
        shape = (len(user_ids), len(item_ids))
        times, order = None, np.arange(len(frame), dtype=np.int64)
        if "timestamp" in frame:
            times = frame["timestamp"].dt.tz_convert(None).to_numpy()
            order[np.argsort(times, kind="stable")] = np.arange(len(frame))

        # Events of positive value, pair by pair and within a pair in order of time.
        cell = users.astype(np.int64) * shape[1] + items
        events = np.lexsort((order, cell))
        events = events[values[events] > 0]
        cell, values = cell[events], values[events]
        starts = np.flatnonzero(np.diff(cell, prepend=-1))
        ends = np.append(starts[1:], len(events)) - 1
        rows, columns = np.divmod(cell[starts], shape[1])
        data = {
            "sum": np.add.reduceat(values, starts),
            "max": np.maximum.reduceat(values, starts),
            "last": values[ends],
            "count": (ends - starts + 1).astype(np.float64),
        }[aggregate]
        latest = events[ends]
        return cls(
            csr_matrix((data, columns, _indptr(rows, shape[0])), shape=shape),
            pd.Index(user_ids, dtype="str"),
            pd.Index(item_ids, dtype="str"),
            timestamps=None if times is None else times[latest],
            order=order[latest],
            n_zeros_dropped=len(frame) - len(events),
            n_merged=len(events) - len(starts),
        )

    def to_frame(self) -> pd.DataFrame:
        """The tidy frame again, one row for each pair, in the order of the log."""
        rows, columns = self.cells()
        ids = {"user_id": self.user_ids[rows], "item_id": self.item_ids[columns]}
        frame = pd.DataFrame(ids | {"value": self.user_items.data})
        if self.timestamps is not None:
            frame["timestamp"] = pd.Series(self.timestamps).dt.tz_localize("UTC")
        return frame.iloc[np.argsort(self.order)].reset_index(drop=True)

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column index of each stored cell, in the order of ``user_items.data``."""
        return np.repeat(np.arange(self.n_users), self.user_counts), self.user_items.indices

    def select(self, keep: np.ndarray) -> "Interactions":
        """The cells where ``keep`` (aligned with ``user_items.data``) is True; all indexes stay."""
        rows, columns = self.cells()
        kept = (self.user_items.data[keep], columns[keep], _indptr(rows[keep], self.n_users))
        return replace(
            self,
            user_items=csr_matrix(kept, shape=self.user_items.shape),
            timestamps=None if self.timestamps is None else self.timestamps[keep],
            order=self.order[keep],
        )

    def sample_users(self, most: int, *, seed: int = 0) -> "Interactions":
        """A random sample of the users with all of their pairs, and the items that they know.

        Users and items without a pair are left out, and indexes are counted anew: ALS gives
        weight to empty cells, so an emptied row would still take part in the loss. Users with
        more than :data:`MAX_HISTORY` items are not drawn, where they are less than half of all.
        Where there are ``most`` users or fewer to draw from, all of these are taken.
        """
        if most < 1:
            raise ValueError(f"most is {most}, expected 1 user or more")
        there = np.flatnonzero(self.user_counts <= MAX_HISTORY)
        if 2 * len(there) <= self.n_users:
            there = np.arange(self.n_users)
        if len(there) == self.n_users <= most:
            return self
        drawn = np.random.default_rng(seed).choice(there, min(most, len(there)), replace=False)
        kept = self.select(np.isin(self.cells()[0], drawn))
        users, items = np.flatnonzero(kept.user_counts), np.flatnonzero(kept.item_counts)
        return replace(
            kept,
            user_items=kept.user_items[users][:, items],
            user_ids=self.user_ids[users],
            item_ids=self.item_ids[items],
        )

    @property
    def n_users(self) -> int:
        """Number of rows."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of columns."""
        return len(self.item_ids)

    @property
    def nnz(self) -> int:
        """Number of observed pairs."""
        return int(self.user_items.nnz)

    @property
    def density(self) -> float:
        """Share of the cells that are observed, from 0 to 1."""
        return self.nnz / (self.n_users * self.n_items)

    @property
    def user_counts(self) -> np.ndarray:
        """Number of items of each user."""
        return np.diff(self.user_items.indptr)

    @property
    def item_counts(self) -> np.ndarray:
        """Number of users of each item."""
        return np.bincount(self.user_items.indices, minlength=self.n_items)

    def user_index(self, user_id: str) -> int:
        """Row of a user; a KeyError for an unknown id names the nearest ones."""
        ids = self.user_ids
        if user_id in ids:
            return int(np.flatnonzero(ids == user_id)[0])
        # Comparing with each of many ids takes seconds: look at those that begin alike.
        alike = ids if len(ids) < 10_000 else ids[ids.str.startswith(str(user_id)[:3])][:10_000]
        near = difflib.get_close_matches(str(user_id), alike, n=3)
        hint = f"; the nearest are {near}" if near else ""
        raise KeyError(f"user_id {user_id!r} is not among the {len(ids)} known ids{hint}")

    def example_user(self, preferred: str) -> str:
        """The preferred user where known, else the one with the median number of pairs."""
        if preferred in self.user_ids:
            return preferred
        by_activity = np.argsort(self.user_counts, kind="stable")
        return str(self.user_ids[by_activity[self.n_users // 2]])

    def save(self, path: str | Path, manifest: dict[str, Any]) -> None:
        """Write everything to one ``.npz`` file, with the data set's checksum and parameters."""
        arrays = {name: getattr(self.user_items, name) for name in ("data", "indices", "indptr")}
        arrays |= {"user_ids": _bytes(self.user_ids), "item_ids": _bytes(self.item_ids)}
        arrays |= {"order": self.order, "counts": np.array([self.n_zeros_dropped, self.n_merged])}
        if self.timestamps is not None:
            arrays["timestamps"] = self.timestamps
        io.write_arrays(Path(path), arrays, manifest)

    @classmethod
    def load(cls, path: str | Path, expect: Mapping[str, Any] | None = None) -> "Interactions":
        """Read what :meth:`save` wrote; ``expect`` is what its manifest must hold."""
        arrays, manifest = io.read_arrays(Path(path), expect)
        if "user_ids" not in arrays:
            raise ValueError(f"{path} holds no interactions, but {sorted(arrays)}")
        users, items = (
            pd.Index(json.loads(arrays[name].tobytes()), dtype="str")
            for name in ("user_ids", "item_ids")
        )
        cells = (arrays["data"], arrays["indices"], arrays["indptr"])
        matrix = csr_matrix(cells, shape=(len(users), len(items)))
        times, order = arrays.get("timestamps"), arrays["order"]
        zeros, merged = arrays["counts"].tolist()
        return cls(matrix, users, items, times, order, zeros, merged, manifest)


def check_user_items(user_items: Any, n_users: int, n_items: int) -> csr_matrix:
    """The matrix itself, if it has users as rows, items as columns and a value in each cell.

    The numbers are those that the index or the fitted model knows. A matrix that is not CSR is a
    TypeError; one of another shape, with a stored zero, NaN or an infinite value is a ValueError.

    Examples
    --------
    >>> check_user_items(csr_matrix((3, 2)), n_users=2, n_items=3)
    Traceback (most recent call last):
    ...
    ValueError: user_items has shape (3, 2), but there are 2 users (rows) and 3 items (columns); \
did you mean user_items.T.tocsr()?
    """
    if not isinstance(user_items, csr_matrix):
        raise TypeError(
            f"user_items is a {type(user_items).__name__}, expected a scipy.sparse.csr_matrix; "
            "convert it with csr_matrix(user_items)"
        )
    if user_items.shape != (n_users, n_items):
        message = (
            f"user_items has shape {user_items.shape}, but there are {n_users} users (rows) "
            f"and {n_items} items (columns)"
        )
        if user_items.shape == (n_items, n_users):
            raise ValueError(message + "; did you mean user_items.T.tocsr()?")
        raise ValueError(message + "; use the matrix that belongs to this index or model")
    if not np.isfinite(user_items.data).all():
        raise ValueError("user_items holds NaN or infinite values; clean the log first")
    if zeros := int((user_items.data == 0).sum()):
        raise ValueError(
            f"user_items stores {zeros} zeros, which implicit reads as "
            "confidence 0; drop them with user_items.eliminate_zeros()"
        )
    return user_items


def _check_frame(frame: pd.DataFrame, aggregate: str) -> np.ndarray:
    """The values of a tidy frame, as float64."""
    if aggregate not in (known := get_args(Aggregate)):
        raise ValueError(f"aggregate is {aggregate!r}, expected one of {known}")
    required = ["user_id", "item_id", "value"]
    if missing := [column for column in required if column not in frame]:
        raise ValueError(f"frame lacks the columns {missing}; it has {list(frame.columns)}")
    nulls = frame[[*required, *frame.columns.intersection(["timestamp"])]].isna().sum()
    if nulls.any():
        raise ValueError(
            f"frame has null entries: {nulls[nulls > 0].to_dict()}; drop or repair these rows"
        )
    if "timestamp" in frame and getattr(frame["timestamp"].dtype, "tz", None) is None:
        raise ValueError(
            f"timestamp has dtype {frame['timestamp'].dtype}, expected UTC times; "
            "convert it with pandas.to_datetime(..., utc=True)"
        )
    values = frame["value"].to_numpy(np.float64)
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        raise ValueError(
            f"value holds {int(bad.sum())} negative or non-finite entries (first: "
            f"{values[bad][0]}); a strength is 0 or more: net or drop these events first"
        )
    if not values.any():
        raise ValueError(
            f"frame has {len(frame)} events but none of positive value; "
            "there is nothing to learn from: check the value column"
        )
    return values


def _indptr(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Where each row of a CSR matrix begins."""
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_rows))])


def _bytes(ids: pd.Index) -> np.ndarray:
    """Ids as bytes of JSON: in a fixed-width array one long id would widen all of them."""
    return np.frombuffer(json.dumps(ids.to_list()).encode(), dtype=np.uint8)
