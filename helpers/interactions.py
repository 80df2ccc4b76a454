"""The interaction matrix and the only place where ids become indexes."""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers import files

Aggregate = Literal["sum", "max", "last", "count"]
REQUIRED = ("user_id", "item_id", "value", "timestamp")
FIELDS = {
    "data", "indices", "indptr", "timestamps", "order", "user_ids", "item_ids", "counts"
}  # fmt: skip
"""The arrays that a saved file holds."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """Who interacted with what: one stored cell for each user-item pair that was observed.

    Attributes
    ----------
    user_items : csr_matrix of shape (n_users, n_items), float64
        Strength of each observed pair, positive; users are rows. No zero is stored.
    timestamps : datetime64 ndarray of shape (nnz,)
        UTC time of the pair's latest event, aligned with ``user_items.data``.
    order : int64 ndarray of shape (nnz,)
        Position of that event in the log, aligned with ``user_items.data``. It is unique, so it
        orders events that share a timestamp: "later" always means a larger ``order``.
    user_ids, item_ids : Index of str
        Id of each row and of each column, sorted, so that the order of the log's rows does not
        change the matrix.
    n_zeros_dropped : int
        Events of value 0 that were left out. implicit reads a *stored* zero as confidence 0, which
        takes away the weight that an unobserved cell has.
    n_merged : int
        Events that were merged into another event of the same pair.

    Notes
    -----
    A subset made by :meth:`select` (one side of a split) keeps the shape and both indexes, so
    that an index means the same user or item on both sides.
    """

    user_items: csr_matrix
    timestamps: np.ndarray
    order: np.ndarray
    user_ids: pd.Index
    item_ids: pd.Index
    n_zeros_dropped: int = 0
    n_merged: int = 0

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, aggregate: Aggregate = "sum") -> "Interactions":
        """Build the matrix from a tidy interactions frame.

        Parameters
        ----------
        frame : DataFrame
            Columns ``user_id``, ``item_id`` (text), ``value`` (finite, not negative) and
            ``timestamp`` (UTC); row order breaks ties in time.
        aggregate : {"sum", "max", "last", "count"}
            What the events of one pair become: the sum or maximum of their values, the value of
            the latest, or their number. The pair's time is that of its latest event.

        Returns
        -------
        Interactions

        Raises
        ------
        ValueError
            For a missing column, a null, a negative or non-finite value, a frame without events of
            positive value, or an unknown ``aggregate``.

        Notes
        -----
        Zeros are dropped before events are merged, so ``count`` counts events of positive value.
        Users and items with nothing but zeros keep their row or column, which is empty.

        Examples
        --------
        >>> log = pd.DataFrame({
        ...     "user_id": ["b", "a", "b"], "item_id": ["x", "y", "x"], "value": [1.0, 2.0, 4.0],
        ...     "timestamp": pd.to_datetime([10, 20, 30], unit="s", utc=True)})
        >>> interactions = Interactions.from_frame(log)
        >>> interactions.user_items.toarray()
        array([[0., 2.],
               [5., 0.]])
        >>> interactions.n_merged
        1
        """
        _check_frame(frame, aggregate)
        users, user_ids = pd.factorize(frame["user_id"], sort=True)
        items, item_ids = pd.factorize(frame["item_id"], sort=True)
        shape = (len(user_ids), len(item_ids))
        times = frame["timestamp"].dt.tz_convert(None).to_numpy()
        order = np.empty(len(frame), dtype=np.int64)
        order[np.argsort(times, kind="stable")] = np.arange(len(frame))

        events = pd.DataFrame(
            {
                "cell": users.astype(np.int64) * shape[1] + items,
                "value": frame["value"].to_numpy(np.float64),
                "time": times,
                "order": order,
            }
        )
        positive = events[events["value"] > 0].sort_values(["cell", "order"])
        if positive.empty:
            raise ValueError(
                f"frame has {len(frame)} events but none of positive value; "
                "there is nothing to learn from: check the value column"
            )
        grouped = positive.groupby("cell", sort=True)
        cells = grouped.agg({"value": aggregate, "time": "last", "order": "last"})
        rows, columns = np.divmod(cells.index.to_numpy(), shape[1])
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
        values = cells["value"].to_numpy(np.float64)
        return cls(
            user_items=csr_matrix((values, columns, indptr), shape=shape),
            timestamps=cells["time"].to_numpy(),
            order=cells["order"].to_numpy(np.int64),
            user_ids=pd.Index(user_ids, dtype="str"),
            item_ids=pd.Index(item_ids, dtype="str"),
            n_zeros_dropped=len(events) - len(positive),
            n_merged=len(positive) - len(cells),
        )

    def to_frame(self) -> pd.DataFrame:
        """The tidy frame again, one row for each pair, in the order of the log.

        Returns
        -------
        DataFrame
            Columns ``user_id``, ``item_id``, ``value``, ``timestamp``. It equals the frame that
            :meth:`from_frame` got when that was in time order and held no pair twice, no zero and
            no further column.
        """
        rows, columns = self.cells()
        frame = pd.DataFrame(
            {
                "user_id": self.user_ids[rows],
                "item_id": self.item_ids[columns],
                "value": self.user_items.data,
                "timestamp": pd.Series(self.timestamps).dt.tz_localize("UTC"),
            }
        )
        return frame.iloc[np.argsort(self.order)].reset_index(drop=True)

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column index of each stored cell, in the order of ``user_items.data``.

        Returns
        -------
        rows, columns : int ndarrays of shape (nnz,)
        """
        rows = np.repeat(np.arange(self.n_users), np.diff(self.user_items.indptr))
        return rows, self.user_items.indices

    def select(self, keep: np.ndarray) -> "Interactions":
        """The cells where ``keep`` is True, in the same user and item space.

        Parameters
        ----------
        keep : bool ndarray of shape (nnz,)
            Aligned with ``user_items.data``.

        Returns
        -------
        Interactions
        """
        rows, columns = self.cells()
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[keep], minlength=self.n_users))])
        kept = (self.user_items.data[keep], columns[keep], indptr)
        return replace(
            self,
            user_items=csr_matrix(kept, shape=self.user_items.shape),
            timestamps=self.timestamps[keep],
            order=self.order[keep],
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

    def user_index(self, user_id: str) -> int:
        """Row of a user.

        Raises
        ------
        KeyError
            If no user has this id; the message names the nearest ids.
        """
        return _position(self.user_ids, user_id, "user_id")

    def item_index(self, item_id: str) -> int:
        """Column of an item.

        Raises
        ------
        KeyError
            If no item has this id; the message names the nearest ids.
        """
        return _position(self.item_ids, item_id, "item_id")

    def example_user(self, preferred: str) -> str:
        """The preferred user where known, else the one with the median number of pairs.

        Parameters
        ----------
        preferred : str
            A user id, which another data set may not have.

        Returns
        -------
        str
        """
        if preferred in self.user_ids:
            return preferred
        by_activity = np.argsort(np.diff(self.user_items.indptr), kind="stable")
        return str(self.user_ids[by_activity[self.n_users // 2]])

    def save(self, path: str | Path, manifest: dict[str, Any]) -> None:
        """Write everything to one ``.npz`` file (no pickle), whole or not at all.

        Parameters
        ----------
        path : path ending in ``.npz``
        manifest : dict
            Where the data come from; see :func:`helpers.files.write_arrays`.
        """
        arrays = {
            "data": self.user_items.data,
            "indices": self.user_items.indices,
            "indptr": self.user_items.indptr,
            "timestamps": self.timestamps,
            "order": self.order,
            "user_ids": self.user_ids.to_numpy(dtype=np.str_),
            "item_ids": self.item_ids.to_numpy(dtype=np.str_),
            "counts": np.array([self.n_zeros_dropped, self.n_merged]),
        }
        files.write_arrays(Path(path), arrays, manifest)

    @classmethod
    def load(cls, path: str | Path) -> "Interactions":
        """Read what :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If the file is not there.
        ValueError
            If it is damaged or something else.
        """
        arrays, _ = files.read_arrays(Path(path))
        missing = FIELDS - set(arrays)
        if missing:
            raise ValueError(f"{path} holds no interactions: it lacks {sorted(missing)}")
        shape = (len(arrays["user_ids"]), len(arrays["item_ids"]))
        cells = (arrays["data"], arrays["indices"], arrays["indptr"])
        return cls(
            user_items=csr_matrix(cells, shape=shape),
            timestamps=arrays["timestamps"],
            order=arrays["order"],
            user_ids=pd.Index(arrays["user_ids"], dtype="str"),
            item_ids=pd.Index(arrays["item_ids"], dtype="str"),
            n_zeros_dropped=int(arrays["counts"][0]),
            n_merged=int(arrays["counts"][1]),
        )


def check_user_items(user_items: Any, n_users: int, n_items: int) -> csr_matrix:
    """The matrix itself, if it has users as rows and items as columns.

    Parameters
    ----------
    user_items : csr_matrix of shape (n_users, n_items)
    n_users, n_items : int
        What the index or the fitted model knows.

    Returns
    -------
    csr_matrix
        ``user_items``, unchanged.

    Raises
    ------
    TypeError
        If it is no CSR matrix.
    ValueError
        If it has another shape (a transposed matrix is named as such), holds a stored zero, NaN
        or an infinite value.

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
    if (user_items.data == 0).any():
        raise ValueError(
            f"user_items stores {int((user_items.data == 0).sum())} zeros, which implicit reads as "
            "confidence 0; drop them with user_items.eliminate_zeros()"
        )
    return user_items


def matrix_bytes(n_users: int, n_items: int, nnz: int) -> dict[str, int]:
    """Memory of a float64 matrix, stored dense and as CSR.

    ``dense = 8 n_users n_items``, ``csr = (8 + w) nnz + w (n_users + 1)``

    Parameters
    ----------
    n_users, n_items : int
        Shape.
    nnz : int
        Stored cells of the sparse form.

    Returns
    -------
    dict
        Bytes under ``dense`` and ``csr``. An index takes ``w = 4`` bytes, and 8 from 2**31 on.

    Examples
    --------
    >>> matrix_bytes(n_users=2, n_items=3, nnz=2)
    {'dense': 48, 'csr': 36}
    """
    width = 4 if max(nnz, n_items) < 2**31 else 8
    return {"dense": 8 * n_users * n_items, "csr": (8 + width) * nnz + width * (n_users + 1)}


def _check_frame(frame: pd.DataFrame, aggregate: str) -> None:
    if aggregate not in get_args(Aggregate):
        raise ValueError(f"aggregate is {aggregate!r}, expected one of {get_args(Aggregate)}")
    missing = [column for column in REQUIRED if column not in frame.columns]
    if missing:
        raise ValueError(f"frame lacks the columns {missing}; it has {list(frame.columns)}")
    nulls = frame[list(REQUIRED)].isna().sum()
    if nulls.any():
        raise ValueError(
            f"frame has null entries: {nulls[nulls > 0].to_dict()}; drop or repair these rows"
        )
    if getattr(frame["timestamp"].dtype, "tz", None) is None:
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


def _position(ids: pd.Index, wanted: str, name: str) -> int:
    if wanted in ids:
        return int(np.flatnonzero(ids == wanted)[0])
    # Comparing with each of many ids takes seconds: look at those that begin alike.
    alike = ids if len(ids) < 10_000 else ids[ids.str.startswith(str(wanted)[:3])][:10_000]
    near = difflib.get_close_matches(str(wanted), alike, n=3)
    hint = f"; the nearest are {near}" if near else ""
    raise KeyError(f"{name} {wanted!r} is not among the {len(ids)} known ids{hint}")
