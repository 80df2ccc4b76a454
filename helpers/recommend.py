"""From a fitted model to lists that a person can read: titles, no items seen before."""

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers.interactions import Interactions, check_user_items

TIES = 20
"""How many candidates beyond the end of a list are looked at to break ties."""

DECIMALS = 9
"""Scores of a row that agree to so many decimals of the largest one are equal: the bits behind
differ between processors."""

CELLS = 4_000_000
"""Scores that are held in memory at a time."""

PADDING = float(np.finfo(np.float32).min)
"""The score beside an item of -1, where a list is shorter than asked for. implicit has it, too."""


def rank_items(
    scores: np.ndarray, n: int, seen: csr_matrix | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The ``n`` items of the highest score in each row.

    Parameters
    ----------
    scores : float ndarray of shape (n_users, n_items)
    n : int
        From 1 to ``n_items``.
    seen : csr_matrix of shape (n_users, n_items), optional
        Items to leave out.

    Returns
    -------
    items : int ndarray of shape (n_users, n)
        Best first; -1 where fewer than ``n`` items are left.
    scores : float64 ndarray of shape (n_users, n)

    Raises
    ------
    ValueError
        If a score is NaN, or ``n`` is out of range.

    Notes
    -----
    Equal scores (items with the same users, say) are ordered by index: otherwise the last bit of
    a sum, which differs between processors, would decide.

    Examples
    --------
    >>> items, _ = rank_items(np.array([[1.0, 3.0, 1.0]]), 3, seen=csr_matrix([[0, 1, 0]]))
    >>> items
    array([[ 0,  2, -1]])
    """
    n_items = scores.shape[1]
    _check_n(n, n_items)
    _check_numbers("scores hold", scores)
    values = np.array(scores, dtype=np.float64)
    if seen is not None:
        values[np.repeat(np.arange(len(values)), np.diff(seen.indptr)), seen.indices] = PADDING
    # Nine decimals of the largest score, so that a model's scale does not decide what is equal.
    scale = np.abs(scores).max(axis=1, keepdims=True, initial=0, where=scores > PADDING)
    scale[scale == 0] = 1
    reach = min(n + TIES, n_items)
    items = np.argpartition(values, n_items - reach, axis=1)[:, n_items - reach :]
    found = np.round(np.take_along_axis(values, items, axis=1) / scale, DECIMALS)
    order = np.lexsort((items, -found), axis=1)[:, :n]
    items = np.take_along_axis(items, order, axis=1)
    last = scale * (np.take_along_axis(found, order[:, -1:], axis=1) - 10.0**-DECIMALS)
    for row in np.flatnonzero(
        (values > last).sum(axis=1) > reach
    ):  # ties beyond what was looked at
        items[row] = np.argsort(-np.round(values[row] / scale[row], DECIMALS), kind="stable")[:n]
    best = np.take_along_axis(values, items, axis=1)
    return np.where(best > PADDING, items, -1), best


def top_n(
    model: Any, user_items: csr_matrix, n: int = 10, *, users: np.ndarray | None = None
) -> np.ndarray:
    """The ``n`` best unseen items of each user.

    Parameters
    ----------
    model : fitted model with factors, or with ``scores`` as those of :mod:`helpers.baselines`
    user_items : csr_matrix of shape (n_users, n_items)
        What the model was fitted on; these items are left out of the lists.
    n : int
        From 1 to ``n_items``.
    users : int ndarray, optional
        Rows to recommend for; all when not given.

    Returns
    -------
    int ndarray of shape (len(users), n)
        Item indexes, best first; -1 where a user has fewer than ``n`` unseen items.

    Raises
    ------
    ValueError
        If the model is not fitted, the matrix does not belong to it (transposed, say), ``n`` is
        out of range, or a score is NaN.

    Notes
    -----
    Ties are broken as in :func:`rank_items`. The scores are dense, and made in blocks of users.
    """
    n_users, n_items = _shape(model)
    check_user_items(user_items, n_users, n_items)
    _check_n(n, n_items)
    rows = np.arange(n_users) if users is None else np.asarray(users)
    lists = [np.empty((0, n), dtype=np.int64)]
    step = max(1, CELLS // n_items)
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        found = _scores(model, user_items[block], block)
        lists.append(rank_items(found, n, user_items[block])[0])
    return np.concatenate(lists)


def scores(model: Any, user_items: csr_matrix, users: np.ndarray | None = None) -> np.ndarray:
    """The score of every item, seen or not: what AUC and percentile ranks are computed from.

    Parameters
    ----------
    model : fitted model with factors, or with ``scores`` as those of :mod:`helpers.baselines`
    user_items : csr_matrix of shape (n_users, n_items)
        What the model was fitted on.
    users : int ndarray, optional
        Rows to score; all when not given.

    Returns
    -------
    float64 ndarray of shape (len(users), n_items)
        Dense, ``8 len(users) n_items`` bytes.

    Raises
    ------
    ValueError
        If the model is not fitted, the matrix does not belong to it, or a score is NaN.

    Notes
    -----
    Scores of two models are not on one scale; only their order within a user can be compared.
    """
    n_users, n_items = _shape(model)
    check_user_items(user_items, n_users, n_items)
    rows = np.arange(n_users) if users is None else np.asarray(users)
    return _scores(model, user_items[rows], rows)


def popular_items(user_items: csr_matrix, n: int) -> np.ndarray:
    """Indexes of the items that most users have.

    Parameters
    ----------
    user_items : csr_matrix of shape (n_users, n_items)
    n : int
        From 1 to ``n_items``.

    Returns
    -------
    int ndarray of shape (n,)
        Most users first; among equals the smaller index first.

    Examples
    --------
    >>> popular_items(csr_matrix([[1, 0, 1], [0, 0, 1]]), n=2)
    array([2, 0])
    """
    _check_n(n, user_items.shape[1])
    counts = np.bincount(user_items.indices, minlength=user_items.shape[1])
    return np.argsort(-counts, kind="stable")[:n]


def popular_top_n(user_items: csr_matrix, n: int = 10) -> np.ndarray:
    """The popular list for each user, without what the user has seen.

    Parameters
    ----------
    user_items : csr_matrix of shape (n_users, n_items)
    n : int

    Returns
    -------
    int ndarray of shape (n_users, n), padded with -1
    """
    _check_n(n, user_items.shape[1])
    ranked = popular_items(user_items, user_items.shape[1])
    lists = []
    step = max(1, CELLS // user_items.shape[1])
    for start in range(0, user_items.shape[0], step):  # blocks bound the memory of the mask
        seen = user_items[start : start + step].astype(bool).toarray()[:, ranked]
        # False sorts before True: the first n positions are the most popular unseen items.
        first = np.argsort(seen, axis=1, kind="stable")[:, :n]
        lists.append(np.where(np.take_along_axis(seen, first, axis=1), -1, ranked[first]))
    return np.concatenate(lists)


@dataclass(frozen=True)
class Recommender:
    """A fitted model with the names of its users and items.

    Attributes
    ----------
    model : fitted implicit model
    interactions : Interactions
        What the model was fitted on.
    items : DataFrame
        Columns ``item_id`` and ``title``; an item without a row is shown by its id.

    Raises
    ------
    ValueError
        On construction, if the model was fitted on a matrix of another shape.
    """

    model: Any
    interactions: Interactions
    items: pd.DataFrame

    def __post_init__(self) -> None:
        check_user_items(self.interactions.user_items, *_shape(self.model))

    @property
    def titles(self) -> pd.Series:
        """Title of each column of the matrix, in order; the id where no title is known."""
        known = self.items.drop_duplicates("item_id").set_index("item_id")["title"]
        ids = self.interactions.item_ids
        return known.reindex(ids).fillna(pd.Series(ids, index=ids))

    def find_item(self, title: str) -> int:
        """Column of the item with this title.

        Parameters
        ----------
        title : str
            Exact, as in ``items``.

        Returns
        -------
        int

        Raises
        ------
        KeyError
            If there is none; the message suggests the nearest titles.

        Notes
        -----
        Where several items share a title, the one with most users is taken.
        """
        titles = self.titles
        matches = np.flatnonzero(titles == title)
        if len(matches):
            counts = np.bincount(self.interactions.user_items.indices, minlength=len(titles))
            return int(matches[np.argmax(counts[matches])])
        lower = {text.lower(): text for text in titles}
        near = difflib.get_close_matches(title.lower(), list(lower), n=3, cutoff=0.5)
        near += [low for low in lower if title.lower() in low and low not in near][: 3 - len(near)]
        hint = " or ".join(repr(lower[low]) for low in near)
        raise KeyError(
            f"no item has the title {title!r}" + (f"; did you mean {hint}?" if hint else "")
        )

    def example_title(self, preferred: str) -> str:
        """The preferred title where known, else that of the item with most users.

        Parameters
        ----------
        preferred : str
            A title, which another data set may not have.

        Returns
        -------
        str
        """
        if (self.titles == preferred).any():
            return preferred
        return str(self.titles.iloc[popular_items(self.interactions.user_items, 1)[0]])

    def recommend(self, user_id: str, n: int = 5) -> pd.DataFrame:
        """The ``n`` best items for one user, without those already seen.

        Parameters
        ----------
        user_id : str
        n : int

        Returns
        -------
        DataFrame
            Index ``rank`` from 1; columns ``title``, ``score``, ``why``: "ALS", or "popular (no
            history)" where the user has no interaction to learn from and gets the popular list,
            scored by its share of users.

        Raises
        ------
        KeyError
            If the user is unknown.
        ValueError
            If ``n`` is out of range.
        """
        user_items = self.interactions.user_items
        user = self.interactions.user_index(user_id)
        _check_n(n, self.interactions.n_items)
        if user_items[user].nnz == 0:
            chosen = popular_items(user_items, n)
            scores = np.asarray((user_items[:, chosen] > 0).mean(axis=0)).ravel()
            return self._table(chosen, scores, why="popular (no history)")
        chosen = top_n(self.model, user_items, n, users=np.array([user]))[0]
        chosen = chosen[chosen >= 0]
        scores = self.model.item_factors[chosen] @ self.model.user_factors[user]
        return self._table(chosen, scores, why="ALS")

    def similar_items(self, title: str, n: int = 10) -> pd.DataFrame:
        """The ``n`` items whose factors point in the most similar direction.

        Parameters
        ----------
        title : str
        n : int

        Returns
        -------
        DataFrame
            Index ``rank`` from 1; columns ``title``, ``cosine`` (-1 to 1) and ``users``, the
            number of users that the item's direction is learned from.

        Raises
        ------
        KeyError
            If no item has this title; the nearest are suggested.
        ValueError
            If ``n`` is not below the number of items, or nobody has the item, so that its factors
            are zero and point nowhere.
        """
        item = self.find_item(title)
        if item not in self.interactions.user_items.indices:
            raise ValueError(
                f"no user has {title!r} in the training set: its neighbours are unknown"
            )
        _check_n(n, self.interactions.n_items - 1)
        candidates, cosines = self.model.similar_items(item, N=n + 1 + TIES)
        others = candidates != item
        items, cosines = _break_ties(candidates[others], cosines[others], n)
        counts = np.bincount(self.interactions.user_items.indices, minlength=len(self.titles))
        table = self._table(items, cosines).rename(columns={"score": "cosine"})
        return table.assign(users=counts[items])

    def explain(self, user_id: str, title: str, n: int = 5) -> pd.DataFrame:
        """Which seen items make up the score of a recommendation.

        ``score = sum_j c_uj * y_i^T W_u y_j`` over the seen items ``j``

        Parameters
        ----------
        user_id, title : str
        n : int
            Number of contributions to show, largest first.

        Returns
        -------
        DataFrame
            Index ``seen`` (title); columns ``contribution`` and ``share`` of the total score.

        Raises
        ------
        KeyError
            If the user or the title is unknown.
        ValueError
            If the user has no history, or nobody has the item: there is nothing to explain.

        References
        ----------
        Hu, Koren, Volinsky (2008), section 5, "Explaining recommendations".
        """
        user, item = self.interactions.user_index(user_id), self.find_item(title)
        if not self.interactions.user_items[user].nnz:
            raise ValueError(f"user {user_id!r} has no history: the popular list needs no reasons")
        if item not in self.interactions.user_items.indices:
            raise ValueError(f"no user has {title!r} in the training set: its score is 0 for all")
        total, top, _ = self.model.explain(user, self.interactions.user_items, item, N=n)
        seen, contributions = [int(i) for i, _ in top], np.array([float(s) for _, s in top])
        index = pd.Index(self.titles.iloc[seen], name="seen")
        return pd.DataFrame(
            {"contribution": contributions, "share": contributions / total}, index=index
        )

    def history(self, user_id: str, n: int = 5) -> pd.DataFrame:
        """The latest ``n`` items of a user, latest first.

        Returns
        -------
        DataFrame
            Index ``latest`` from 1; columns ``title``, ``value``, ``day`` (UTC).

        Raises
        ------
        KeyError
            If the user is unknown.
        """
        user = self.interactions.user_index(user_id)
        matrix = self.interactions.user_items
        cells = np.arange(matrix.indptr[user], matrix.indptr[user + 1])
        latest = cells[np.argsort(-self.interactions.order[cells])][:n]
        return pd.DataFrame(
            {
                "title": self.titles.iloc[matrix.indices[latest]].to_numpy(),
                "value": matrix.data[latest],
                "day": self.interactions.timestamps[latest].astype("datetime64[D]").astype(str),
            },
            index=pd.RangeIndex(1, len(latest) + 1, name="latest"),
        )

    def _table(self, items: np.ndarray, scores: np.ndarray, **extra: str) -> pd.DataFrame:
        rank = pd.RangeIndex(1, len(items) + 1, name="rank")
        titles = self.titles.iloc[items].to_numpy()
        return pd.DataFrame({"title": titles, "score": scores, **extra}, index=rank)


def _break_ties(items: np.ndarray, scores: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``n`` of each row by score, rounded to what all processors agree on, then index."""
    order = np.lexsort((items, -np.round(np.maximum(scores, -1e30), DECIMALS)), axis=-1)[..., :n]
    return np.take_along_axis(items, order, axis=-1), np.take_along_axis(scores, order, axis=-1)


def _scores(model: Any, histories: csr_matrix, rows: np.ndarray) -> np.ndarray:
    if hasattr(model, "item_factors"):
        found = np.asarray(model.user_factors[rows] @ model.item_factors.T, dtype=np.float64)
    else:
        found = np.asarray(model.scores(rows, histories), dtype=np.float64)
    _check_numbers(f"{type(model).__name__} gives", found)
    return found


def _shape(model: Any) -> tuple[int, int]:
    """Numbers of users and items that a model was fitted on."""
    shape: tuple[int, int] | None = getattr(model, "shape", None)
    if getattr(model, "user_factors", None) is not None:
        shape = (len(model.user_factors), len(model.item_factors))
    if shape is None:
        raise ValueError(f"{type(model).__name__} is not fitted; call fit(user_items) first")
    return shape


def _check_numbers(whose: str, found: np.ndarray) -> None:
    if np.isnan(found).any():
        raise ValueError(
            f"{whose} {int(np.isnan(found).sum())} scores that are NaN, so no order is defined; "
            "look for NaN in the training matrix or for a fit that diverged"
        )


def _check_n(n: int, most: int) -> None:
    if not 1 <= n <= most:
        raise ValueError(
            f"n is {n}, expected 1 to {most} (what the catalogue holds); ask for a shorter list"
        )
