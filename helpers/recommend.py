"""From a fitted model to lists that a person can read: titles, and no items of the training set."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from scipy.sparse import csr_matrix

from helpers.interactions import Interactions, check_user_items

DECIMALS = 9
"""Scores of a row that agree to so many decimals of the largest one are equal: the bits behind
differ between processors."""

CELLS = 1_000_000  # scores that are held in memory at a time; more leave the cache


def rank_items(
    scores: np.ndarray, n: int, train_rows: csr_matrix | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The ``n`` items of the highest score in each row.

    Parameters
    ----------
    scores : float ndarray of shape (n_users, n_items)
        An item of score ``-inf`` is in no list; one of ``+inf`` comes first.
    n : int, from 1 to ``n_items``
    train_rows : csr_matrix of shape (n_users, n_items), optional
        Items to leave out.

    Returns
    -------
    items : int ndarray of shape (n_users, n)
        Best first; -1 where fewer than ``n`` items are left.
    scores : float64 ndarray of shape (n_users, n)
        ``-inf`` beside -1.

    Notes
    -----
    Equal scores (items with the same users, say) are ordered by index: otherwise the last bit of
    a sum, which differs between processors, would decide.

    Examples
    --------
    >>> items, _ = rank_items(np.array([[1.0, 3.0, 1.0]]), 3, csr_matrix([[0, 1, 0]]))
    >>> items
    array([[ 0,  2, -1]])
    """
    _check_n(n, scores.shape[1])
    if unknown := int(np.isnan(scores).sum()):
        raise ValueError(
            f"scores holds {unknown} values that are NaN, so no order is defined; look for NaN in "
            "the training matrix or for a fit that diverged"
        )
    values = np.array(scores, dtype=np.float64)
    if train_rows is not None:
        rows = np.repeat(np.arange(len(values)), np.diff(train_rows.indptr))
        values[rows, train_rows.indices] = -np.inf
    items = np.full((len(values), n), -1)
    _fill_best(values, items)
    best = np.take_along_axis(values, np.maximum(items, 0), axis=1)
    return items, np.where(items < 0, -np.inf, best)


def top_n(
    model: Any,
    user_items: csr_matrix,
    n: int = 10,
    *,
    users: np.ndarray | None = None,
    left_out: csr_matrix | None = None,
) -> np.ndarray:
    """The ``n`` best items of each user that are not in the training set.

    Parameters
    ----------
    model : fitted model with factors, or with ``scores`` as those of :mod:`helpers.models`
    user_items : csr_matrix of shape (n_users, n_items)
        What the model was fitted on.
    n : int, from 1 to ``n_items``
    users : int ndarray, optional
        Rows to recommend for; all when not given.
    left_out : csr_matrix of shape (n_users, n_items), optional
        What the lists must not hold; ``user_items`` when not given.

    Returns
    -------
    int ndarray of shape (len(users), n)
        Item indexes, best first, ties as in :func:`rank_items`; -1 where a user has fewer than
        ``n`` items left.
    """
    rows = _rows(model, user_items, users)
    lists = [items for _, _, items, _ in in_blocks(model, user_items, n, rows, left_out)]
    return np.concatenate([np.empty((0, n), dtype=np.int64), *lists])


def in_blocks(
    model: Any,
    user_items: csr_matrix,
    n: int,
    users: np.ndarray,
    left_out: csr_matrix | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """What :func:`top_n` is made of, in blocks of users that fit into memory.

    Yields
    ------
    users : int ndarray of shape (n_block,)
    scores : float64 ndarray of shape (n_block, n_items)
    items, best : ndarrays of shape (n_block, n)
        As :func:`rank_items` returns them.
    """
    left_out = user_items if left_out is None else left_out
    step = max(1, CELLS // user_items.shape[1])
    for start in range(0, len(users), step):
        block = users[start : start + step]
        found = _scores(model, user_items[block], block)
        yield block, found, *rank_items(found, n, left_out[block])


def scores(model: Any, user_items: csr_matrix, users: np.ndarray | None = None) -> np.ndarray:
    """The score of every item, those of the training set included, with arguments of `top_n`.

    A dense float64 array of shape (len(users), n_items). Only the order within a user can be
    compared between models: they have no common scale.
    """
    rows = _rows(model, user_items, users)
    return _scores(model, user_items[rows], rows)


def popular_items(user_items: csr_matrix, n: int) -> np.ndarray:
    """Indexes of the ``n`` items that most users have; among equals the smaller index first.

    Examples
    --------
    >>> popular_items(csr_matrix([[1, 0, 1], [0, 0, 1]]), n=2)
    array([2, 0])
    """
    _check_n(n, user_items.shape[1])
    counts = np.bincount(user_items.indices, minlength=user_items.shape[1])
    return np.argsort(-counts, kind="stable")[:n]


def item_titles(items: pd.DataFrame, item_ids: pd.Index) -> pd.Series:
    """Title of each column of the matrix, in order; the id where no title is known.

    Examples
    --------
    >>> items = pd.DataFrame({"item_id": ["b"], "title": ["Brazil"]})
    >>> item_titles(items, pd.Index(["a", "b"])).tolist()
    ['a', 'Brazil']
    """
    known = items.drop_duplicates("item_id").set_index("item_id")["title"]
    return known.reindex(item_ids).fillna(pd.Series(item_ids, index=item_ids))


@dataclass(frozen=True)
class Recommender:
    """A fitted model with the names of its users and items.

    Attributes
    ----------
    model : fitted model
        With factors for :meth:`similar_items` and with ``explain`` for :meth:`explain`.
    interactions : Interactions
        What the model was fitted on.
    items : DataFrame
        Columns ``item_id`` and ``title``; an item without a row is shown by its id.
    """

    model: Any
    interactions: Interactions
    items: pd.DataFrame

    def __post_init__(self) -> None:
        """Refuse a model that was fitted on a matrix of another shape."""
        check_user_items(self.interactions.user_items, *_shape(self.model))

    @cached_property
    def titles(self) -> pd.Series:
        """Title of each column of the matrix."""
        return item_titles(self.items, self.interactions.item_ids)

    def find_item(self, title: str) -> int:
        """Column of the item with exactly this title; of several, the one that most users have."""
        matches = np.flatnonzero(self.titles == title)
        if len(matches):
            return int(matches[np.argmax(self.interactions.item_counts[matches])])
        wanted, lower = title.lower(), {text.lower(): text for text in self.titles}
        near = difflib.get_close_matches(wanted, lower, n=3, cutoff=0.5)
        near += [low for low in lower if wanted in low and low not in near]
        hint = " or ".join(repr(lower[low]) for low in near[:3])
        raise KeyError(
            f"no item has the title {title!r}" + (f"; did you mean {hint}?" if hint else "")
        )

    def example_title(self, preferred: str) -> str:
        """The preferred title where the data have it, else that of the most popular item."""
        if (self.titles == preferred).any():
            return preferred
        return str(self.titles.iloc[popular_items(self.interactions.user_items, 1)[0]])

    def recommend(self, user_id: str, n: int = 5) -> pd.DataFrame:
        """The ``n`` best items for one user that are not in the training set.

        Index ``rank`` from 1; columns ``title``, ``score``, ``why``: the model's class, or
        "popular (no history)" where the user has no interaction to learn from and gets the popular
        list, scored by its share of users.
        """
        user_items = self.interactions.user_items
        user = np.array([self.interactions.user_index(user_id)])
        if user_items[user].nnz == 0:
            chosen = popular_items(user_items, n)
            share = self.interactions.item_counts[chosen] / self.interactions.n_users
            return self._table(chosen, score=share, why="popular (no history)")
        found = _scores(self.model, user_items[user], user)
        chosen, best = (rows[0] for rows in rank_items(found, n, user_items[user]))
        return self._table(chosen, score=best, why=type(self.model).__name__)

    def similar_items(self, title: str, n: int = 10) -> pd.DataFrame:
        """The ``n`` items whose factors point in the most similar direction.

        Index ``rank`` from 1; columns ``title``, ``cosine`` (-1 to 1) and ``users``, the number of
        users that the item's direction is learned from.
        """
        item, n_users = self.find_item(title), self.interactions.item_counts
        if n_users[item] == 0:
            raise ValueError(f"no user has {title!r} in the training set: it has no neighbours")
        _check_n(n, self.interactions.n_items - 1)
        factors = np.asarray(self.model.item_factors, dtype=np.float64)
        lengths = np.linalg.norm(factors, axis=1)
        cosines = np.full(len(factors), -np.inf)  # zero factors point nowhere: no neighbour
        np.divide(factors @ factors[item], lengths * lengths[item], cosines, where=lengths > 0)
        cosines[item] = -np.inf
        chosen, best = (rows[0] for rows in rank_items(cosines[None], n))
        return self._table(chosen, cosine=best, users=n_users[chosen])

    def explain(self, user_id: str, title: str, n: int = 5) -> pd.DataFrame:
        """The ``n`` items of the training set that add most to the score of a recommendation.

        ``score = sum_j c_uj * y_i^T W_u y_j`` over the items ``j`` of the user: Hu, Koren, Volinsky
        (2008), section 5, "Explaining recommendations". Index ``item`` (title); columns
        ``contribution`` and ``share`` of the total score.
        """
        user, item = self.interactions.user_index(user_id), self.find_item(title)
        if not self.interactions.user_items[user].nnz:
            raise ValueError(f"user {user_id!r} has no history: the popular list needs no reasons")
        if self.interactions.item_counts[item] == 0:
            raise ValueError(f"no user has {title!r} in the training set: its score is 0 for all")
        total, top, _ = self.model.explain(user, self.interactions.user_items, item, N=n)
        index = pd.Index(self.titles.iloc[[int(i) for i, _ in top]], name="item")
        contributions = np.array([float(part) for _, part in top])
        columns = {"contribution": contributions, "share": contributions / total}
        return pd.DataFrame(columns, index)

    def history(self, user_id: str, n: int = 5) -> pd.DataFrame:
        """The latest ``n`` items of a user: ``title``, ``value``, and ``day`` (UTC) where known."""
        user, matrix = self.interactions.user_index(user_id), self.interactions.user_items
        cells = np.arange(matrix.indptr[user], matrix.indptr[user + 1])
        latest = cells[np.argsort(-self.interactions.order[cells])][:n]
        table = self._table(matrix.indices[latest], value=matrix.data[latest])
        if self.interactions.timestamps is not None:
            days = self.interactions.timestamps[latest].astype("datetime64[D]")
            table["day"] = days.astype(str)
        return table.rename_axis("latest")

    def _table(self, items: np.ndarray, **columns: Any) -> pd.DataFrame:
        """Titles of the items, in order, with further columns; an empty place, -1, has no row."""
        titles = self.titles.iloc[items].to_numpy()
        table = pd.DataFrame({"title": titles, **columns})[items >= 0]
        return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="rank"))


def _scores(model: Any, histories: csr_matrix, rows: np.ndarray) -> np.ndarray:
    """Scores of all items for some rows, from factors or from the model's own ``scores``."""
    if hasattr(model, "item_factors"):
        found = model.user_factors[rows] @ model.item_factors.T
    else:
        found = model.scores(rows, histories)
    return np.asarray(found, dtype=np.float64)


def _rows(model: Any, user_items: csr_matrix, users: np.ndarray | None) -> np.ndarray:
    """The rows asked for, once the matrix is known to belong to the model."""
    check_user_items(user_items, *_shape(model))
    return np.arange(user_items.shape[0]) if users is None else np.asarray(users)


def _shape(model: Any) -> tuple[int, int]:
    """Numbers of users and items that a model was fitted on."""
    shape: tuple[int, int] | None = getattr(model, "shape", None)
    if getattr(model, "user_factors", None) is not None:
        shape = (len(model.user_factors), len(model.item_factors))
    if shape is None:
        raise ValueError(f"{type(model).__name__} is not fitted; call fit(user_items) first")
    return shape


def _check_n(n: int, most: int) -> None:
    """Refuse lists that are longer than what is there, or empty."""
    if not 1 <= n <= most:
        raise ValueError(f"n is {n}, expected 1 to {most}, which is all that the catalogue has")


@njit(cache=True, nogil=True)
def _fill_best(scores: np.ndarray, items: np.ndarray) -> None:
    """Fill each row of ``items`` with the items of the highest score; -inf fills no place."""
    n = items.shape[1]
    for row in range(len(scores)):
        # In units of the largest score, so that a model's scale does not decide what is equal.
        largest = 0.0
        for score in scores[row]:
            if np.isfinite(score):
                largest = max(largest, abs(score))
        largest = largest if largest > 0 else 1.0
        best = np.full(n, -np.inf)
        for item in range(scores.shape[1]):  # by index: an equal one that comes later stays behind
            value = np.rint(scores[row, item] / largest * 10.0**DECIMALS)
            if value > best[-1]:
                place = n - 1
                while place > 0 and value > best[place - 1]:
                    best[place], items[row, place] = best[place - 1], items[row, place - 1]
                    place -= 1
                best[place], items[row, place] = value, item
