"""The models of a comparison: what ALS must beat, and the registry that makes each by its name.

A baseline gives scores only; :mod:`helpers.recommend` makes lists from scores for all models.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
from implicit.nearest_neighbours import ItemItemRecommender, normalize
from numba import njit
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from helpers.als import IALS, ExactALS
from helpers.als.ials import solve_exactly
from helpers.als.kernels import RELAXED
from helpers.interactions import MAX_HISTORY, Interactions, check_user_items
from helpers.weighting import WEIGHTINGS

SETTINGS: dict[str, tuple[str, ...]] = {
    "random": (),
    "popular": (),
    "recently popular": ("days",),
    "item KNN": ("K", "weighting"),
    "BPR": ("factors", "learning_rate", "regularization", "iterations"),
    "EASE": ("regularization", "weighting"),
    "ALS default": (),
    "ALS": ("factors", "regularization", "alpha", "iterations", "weighting"),
    "IALS": ("factors", "regularization", "unobserved_weight", "nu", "iterations", "weighting"),
    "Spark ALS": ("factors", "regularization", "alpha", "iterations"),
}
"""The models by name, weakest expectation first, with the settings that each takes."""

BLOCK = 1_000  # rows of EASE's item matrix that are made at a time; it bounds the memory
MAX_EASE_ITEMS = 20_000  # the largest catalogue that EASE accepts: its two matrices then take 6 GiB


class Baseline(ABC):
    """A model that scores every item for a user; subclasses say how."""

    shape: tuple[int, int] | None = None

    def fit(self, user_items: csr_matrix, show_progress: bool = True) -> None:
        """Learn from a matrix with users as rows; ``show_progress`` is implicit's, for nothing."""
        self._learn(check_user_items(user_items, *user_items.shape))
        self.shape = user_items.shape

    def scores(self, users: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        """A float64 score of each item for some users, from their histories in the same order."""
        if self.shape is None:
            raise ValueError(f"{type(self).__name__} is not fitted; call fit(user_items) first")
        check_user_items(user_items, len(users), self.shape[1])
        return self._score(users, user_items)

    @abstractmethod
    def _learn(self, user_items: csr_matrix) -> None:
        """Keep what the scores need."""

    @abstractmethod
    def _score(self, users: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        """Scores of all items, from histories that have been checked."""


class Random(Baseline):
    """Scores that depend on the seed and on the user's row only, whoever is asked for beside it."""

    def __init__(self, random_state: int = 0):
        self.random_state = random_state

    def _learn(self, user_items: csr_matrix) -> None:
        """Nothing to learn."""

    def _score(self, users: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        seed, n_items = self.random_state, user_items.shape[1]
        draws = [np.random.default_rng([seed, user]).random(n_items) for user in users]
        return np.array(draws).reshape(-1, n_items)


class Popularity(Baseline):
    """The number of users of each item, over all time or lately; the same for everybody.

    Parameters
    ----------
    timestamps : datetime64 ndarray of shape (nnz,), optional
        Time of each stored cell of the matrix to fit (``Interactions.timestamps``).
    days : float, above 0, optional
        Count only the last so many days before the latest cell. Items with the same number are
        ordered by their number over all time. Without it, all cells count.

    Examples
    --------
    >>> model = Popularity()
    >>> model.fit(csr_matrix([[1, 0, 1], [0, 0, 1]]))
    >>> model.scores(np.array([1]), csr_matrix([[0, 0, 1]]))
    array([[1., 0., 2.]])
    """

    def __init__(self, timestamps: np.ndarray | None = None, days: float | None = None):
        if (timestamps is None) != (days is None):
            raise ValueError(
                f"days is {days}, but of timestamps and days give both or neither: "
                "a log without times has no recently popular items"
            )
        if days is not None and not days > 0:
            raise ValueError(f"days is {days}, expected a number above 0")
        self.timestamps, self.days = timestamps, days

    def _learn(self, user_items: csr_matrix) -> None:
        n_users, n_items = user_items.shape
        counts = np.bincount(user_items.indices, minlength=n_items).astype(np.float64)
        if self.timestamps is not None and self.days is not None:
            if len(self.timestamps) != user_items.nnz:
                raise ValueError(
                    f"timestamps has {len(self.timestamps)} entries, but user_items stores "
                    f"{user_items.nnz} cells; pass the timestamps of the same interactions"
                )
            age = (self.timestamps.max() - self.timestamps) / np.timedelta64(1, "D")
            recent = np.bincount(user_items.indices[age < self.days], minlength=n_items)
            counts = recent + counts / (n_users + 1)
        self._counts = counts

    def _score(self, users: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        return np.broadcast_to(self._counts, (len(users), len(self._counts)))


class EASE(Baseline):
    """A linear model between items, solved in closed form.

    ``min_B |X - X B|^2 + regularization |B|^2`` with ``diag(B) = 0``, which is
    ``B = I - P / diag(P)`` by columns, for ``P = (X^T X + regularization I)^-1``; scores are
    ``x_u B``. The memory grows with the square of the catalogue and the time with its third power;
    the number of users hardly matters.

    References
    ----------
    Steck (2019), "Embarrassingly Shallow Autoencoders for Sparse Data", equation (8).

    Examples
    --------
    Two items that the same people have explain each other; the third explains nothing.

    >>> model = EASE(regularization=1)
    >>> model.fit(csr_matrix([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]))
    >>> model.weights.round(3) + 0
    array([[0.   , 0.667, 0.   ],
           [0.667, 0.   , 0.   ],
           [0.   , 0.   , 0.   ]])
    """

    def __init__(self, regularization: float = 500.0):
        if not 0 < regularization < np.inf:
            raise ValueError(f"regularization is {regularization}, expected a number above 0")
        self.regularization = regularization

    def _learn(self, user_items: csr_matrix) -> None:
        n = user_items.shape[1]
        if n > MAX_EASE_ITEMS:
            raise ValueError(
                f"EASE on {n:,} items needs two matrices of {8 * n**2 / 2**30:,.1f} GiB each and "
                f"is limited to {MAX_EASE_ITEMS:,} items; use a model with factors"
            )
        X, Xt = user_items.astype(np.float64), user_items.T.tocsr().astype(np.float64)
        gram = np.empty((n, n))
        for start in range(0, n, BLOCK):  # the product as one sparse matrix would be larger
            gram[start : start + BLOCK] = (Xt[start : start + BLOCK] @ X).toarray()
        gram[np.diag_indices(n)] += self.regularization
        # The transposed matrix is the same one, laid out as LAPACK wants it to work in place.
        with threadpool_limits(1, user_api="blas"):
            weights = scipy.linalg.inv(gram.T, overwrite_a=True, check_finite=False, assume_a="pos")
        weights /= -np.diag(weights).copy()
        weights[np.diag_indices(n)] = 0
        self.weights = weights

    def _score(self, users: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        return np.asarray(user_items @ self.weights, dtype=np.float64)


class ItemKNN(Baseline):
    """implicit's item KNN by cosine: items that the same people have stand for each other.

    The score of item ``i`` is the sum over the user's items ``j`` of ``x_uj similarity[j, i]``,
    whose row ``j`` holds the cosines of item ``j`` with its ``K`` neighbours (implicit counts the
    item itself as one); it is 0, and tied, for items that are no neighbour of the history. Users
    with more than :data:`MAX_HISTORY` items get scores, but nothing is learned from them.

    Examples
    --------
    >>> model = ItemKNN(K=2)
    >>> model.fit(csr_matrix([[1.0, 1, 0], [1, 1, 0], [0, 1, 1]]))
    >>> model.scores(np.array([2]), csr_matrix([[0.0, 1, 1]])).round(2)
    array([[0.82, 1.58, 1.  ]])
    """

    def __init__(self, K: int = 20):
        if K < 1:
            raise ValueError(f"K is {K}, expected a whole number of at least 1")
        self.K = K

    def _learn(self, user_items: csr_matrix) -> None:
        learned = user_items[np.diff(user_items.indptr) <= MAX_HISTORY]
        # What CosineRecommender.fit does, but with the CSR matrix that its superclass asks for.
        model = ItemItemRecommender(self.K, num_threads=1)
        model.fit(csr_matrix(normalize(learned.T).T), show_progress=False)
        self.similarity: csr_matrix = model.similarity

    def _score(self, users: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        return np.asarray((user_items @ self.similarity).toarray(), dtype=np.float64)


class SparkALS(ExactALS):
    """Spark's implicit ALS: confidence ``1 + alpha r``, and a penalty that grows with the count.

    ``sum_all c (p - s)^2 + regularization * (sum_u n_u |x_u|^2 + sum_i n_i |y_i|^2)`` with
    ``c = 1 + alpha r`` and ``p = 1`` where ``r`` is stored, else ``c = 1`` and ``p = 0``

    The parameters are implicit's, whose own loss has ``c = alpha r`` and no counts. It is made for
    the grid of notebook 4: its factors are Spark's, but a fold-in would solve implicit's equations.
    See Apache Spark, "Collaborative Filtering", "Scaling of the regularization parameter".
    """

    def solver(
        self, C: csr_matrix, X: np.ndarray, Y: np.ndarray, regularization: Any, num_threads: int
    ) -> None:
        """As in :class:`ExactALS`, with this loss."""
        confidence = csr_matrix((C.data + 1, C.indices, C.indptr), shape=C.shape)
        super().solver(confidence, X, Y, regularization * _at_least_one(C), num_threads)


class ExplicitALS(ExactALS):
    """ALS on ratings as Spark's default fits it: only what was rated counts (ALS-WR).

    ``sum_observed (r - s)^2 + regularization (sum_u n_u |x_u|^2 + sum_i n_i |y_i|^2)``: Zhou,
    Wilkinson, Schreiber, Pan (2008), "Large-Scale Parallel Collaborative Filtering for the Netflix
    Prize", equation (2). It is here to show why a model of *ratings* makes poor lists: nothing in
    its loss tells what a user would not even look at.
    """

    def fit(self, user_items: csr_matrix, *args: Any, **kwargs: Any) -> None:
        """As in :class:`ExactALS`, from item factors of random direction and length 1, as Spark."""
        random = np.random.default_rng(self.random_state)
        Y = random.standard_normal((user_items.shape[1], self.factors))
        Y /= np.linalg.norm(Y, axis=1, keepdims=True)
        self.item_factors = Y.astype(self.dtype)
        self.user_factors = np.zeros((user_items.shape[0], self.factors), self.dtype)
        super().fit(user_items, *args, **kwargs)

    def solver(
        self, C: csr_matrix, X: np.ndarray, Y: np.ndarray, regularization: Any, num_threads: int
    ) -> None:
        """As in :class:`ExactALS`, with this loss."""
        ones, ratings = np.ones(C.nnz, X.dtype), C.data.astype(X.dtype)
        penalties = np.asarray(regularization * _at_least_one(C), X.dtype)
        no_gram = np.zeros((Y.shape[1], Y.shape[1]), X.dtype)  # what is not observed has no weight
        solve_exactly(C, num_threads, ones, ratings, penalties, no_gram, Y, X)


def _at_least_one(C: csr_matrix) -> np.ndarray:
    """The number of cells of each row; 1 for a row without any, whose solution is 0."""
    return np.maximum(np.diff(C.indptr), 1)


@dataclass(eq=False)
class BPR:
    """Bayesian personalised ranking: a user's item should score above an item drawn at random.

    Each step draws a stored pair ``(u, i)`` and any item ``j`` that ``u`` does not have, and
    follows the gradient of ``log sigmoid(s_ui - s_uj)`` with ``s_ui = x_u . y_i + b_i``; an
    iteration has as many steps as the matrix has cells.

    Notes
    -----
    implicit's BPR draws ``j`` in proportion to its popularity, which holds popular items down;
    notebook 4 shows what that costs. One thread draws, so a seed always gives the same factors (the
    last bits of a sum may differ between machines). The values in the matrix do not matter.

    References
    ----------
    Rendle, Freudenthaler, Gantner, Schmidt-Thieme (2009), "BPR: Bayesian Personalized Ranking
    from Implicit Feedback", figure 4.
    """

    factors: int = 32
    learning_rate: float = 0.02
    regularization: float = 0.02
    iterations: int = 150
    random_state: int = 0
    user_factors: np.ndarray | None = field(default=None, init=False)
    item_factors: np.ndarray | None = field(default=None, init=False)

    def fit(
        self,
        user_items: csr_matrix,
        show_progress: bool = True,
        callback: Callable[[int, float, None], object] | None = None,
    ) -> None:
        """Learn the factors; ``callback`` is called after each iteration, as by implicit."""
        n_users, n_items = user_items.shape
        cells = check_user_items(user_items, n_users, n_items).sorted_indices()
        rows = np.repeat(np.arange(n_users), np.diff(cells.indptr))
        rng = np.random.default_rng(self.random_state)
        # The last column is 1 for users: its partner is the bias of an item.
        self.user_factors = (rng.random((n_users, self.factors + 1)) - 0.5) / self.factors
        self.item_factors = (rng.random((n_items, self.factors + 1)) - 0.5) / self.factors
        self.user_factors[:, -1], self.item_factors[:, -1] = 1, 0
        for iteration in range(self.iterations):
            drawn, others = (rng.integers(n, size=cells.nnz) for n in (cells.nnz, n_items))
            _bpr_steps(
                rows[drawn], cells.indices[drawn], others, cells.indptr, cells.indices,
                self.user_factors, self.item_factors, self.learning_rate, self.regularization,
            )  # fmt: skip
            if callback is not None:
                callback(iteration, 0.0, None)


@njit(cache=True, nogil=True, fastmath=RELAXED)
def _bpr_steps(  # type: ignore[no-untyped-def]
    users, items, others, indptr, indices, X, Y, rate, penalty
) -> None:
    """One step of stochastic gradient descent for each triple, unless the user has both items."""
    last = X.shape[1] - 1
    for step in range(len(users)):
        u, i, j = users[step], items[step], others[step]
        low, high = indptr[u], indptr[u + 1]  # no slices: each would cost more than the search
        while low < high:
            middle = (low + high) // 2
            if indices[middle] < j:
                low = middle + 1
            else:
                high = middle
        if low < indptr[u + 1] and indices[low] == j:
            continue
        x, y_i, y_j = X[u], Y[i], Y[j]
        difference = 0.0
        for f in range(last + 1):
            difference += x[f] * (y_i[f] - y_j[f])
        pull = rate / (1 + np.exp(difference))
        for f in range(last):
            x_f, i_f, j_f = x[f], y_i[f], y_j[f]
            x[f] += pull * (i_f - j_f) - rate * penalty * x_f
            y_i[f] += pull * x_f - rate * penalty * i_f
            y_j[f] -= pull * x_f + rate * penalty * j_f
        y_i[last] += pull - rate * penalty * y_i[last]
        y_j[last] -= pull + rate * penalty * y_j[last]


@dataclass(frozen=True)
class ModelFactory:
    """How to make a model from the training set, and what the model sees of the strengths."""

    make: Callable[[Interactions], Any]
    weighting: str = "binary"

    def matrix(self, train: Interactions) -> csr_matrix:
        """The training matrix as the model sees it."""
        return WEIGHTINGS[self.weighting](train.user_items)

    def fit(self, train: Interactions) -> Any:
        """A model fitted on the training set, with one thread of its own and of BLAS."""
        with threadpool_limits(1, user_api="blas"):
            model = self.make(train)
            model.fit(self.matrix(train), show_progress=False)
        return model


def model_factory(
    name: str, settings: Mapping[str, Any] | None = None, *, seed: int = 0
) -> ModelFactory:
    """How to make the model with this name and these settings.

    Parameters
    ----------
    name : str
        One of :data:`SETTINGS`.
    settings : mapping, optional
        Some of the model's settings; the others have their defaults (binary weights). "ALS
        default" is implicit's ALS with all of its defaults.
    seed : int
        Of whatever draws numbers.

    Notes
    -----
    ALS in all its forms is fitted exactly, in float64, with one thread: every processor makes the
    same lists.

    Examples
    --------
    >>> import pandas as pd
    >>> train = Interactions.from_frame(pd.DataFrame({
    ...     "user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "value": [5.0, 1.0, 2.0],
    ...     "timestamp": pd.Timestamp("2026-01-01", tz="UTC")}))
    >>> factory = model_factory("EASE", {"regularization": 10.0, "weighting": "raw"})
    >>> factory.matrix(train).toarray()
    array([[5., 1.],
           [2., 0.]])
    >>> factory.fit(train).regularization
    10.0
    """
    settings = dict(settings or {})
    if name not in SETTINGS:
        raise ValueError(f"name is {name!r}, expected one of {list(SETTINGS)}")
    if unknown := sorted(set(settings) - set(SETTINGS[name])):
        raise ValueError(f"{name} has no settings {unknown}; known are {list(SETTINGS[name])}")
    if settings.get("factors", 1) < 1:
        raise ValueError(f"factors is {settings['factors']}, expected a whole number of at least 1")
    weights = settings.pop("weighting", "raw" if name == "Spark ALS" else "binary")
    if weights not in WEIGHTINGS:
        raise ValueError(f"weighting is {weights!r}, expected one of {list(WEIGHTINGS)}")
    if name == "recently popular":
        days = settings.get("days", 30.0)
        return ModelFactory(lambda train: Popularity(train.timestamps, days))
    exact: dict[str, Any] = {"dtype": np.float64, "num_threads": 1, "random_state": seed}
    makers: dict[str, Callable[..., Any]] = {
        "random": partial(Random, seed),
        "popular": Popularity,
        "item KNN": ItemKNN,
        "BPR": partial(BPR, random_state=seed),
        "EASE": EASE,
        "ALS default": partial(ExactALS, **exact),
        "ALS": partial(ExactALS, **exact),
        "IALS": partial(IALS, cg_steps=0, **exact),
        "Spark ALS": partial(SparkALS, **exact),
    }
    return ModelFactory(lambda train: makers[name](**settings), weights)


def model_factories(
    tuned: Mapping[str, Mapping[str, Any]], *, seed: int = 0, without: tuple[str, ...] = ()
) -> dict[str, ModelFactory]:
    """All models of a comparison by name, weakest expectation first.

    Parameters
    ----------
    tuned : mapping of str to mapping
        Settings by model; a model that is not named has its defaults.
    seed : int
        Of whatever draws numbers.
    without : tuple of str
        Models to leave out; "Spark ALS" is in no comparison.

    Examples
    --------
    >>> list(model_factories({}, without=("BPR", "EASE")))
    ['random', 'popular', 'recently popular', 'item KNN', 'ALS default', 'ALS', 'IALS']
    """
    if unknown := [name for name in (*tuned, *without) if name not in SETTINGS]:
        raise ValueError(f"unknown models {unknown}; known are {list(SETTINGS)}")
    names = [name for name in SETTINGS if name not in (*without, "Spark ALS")]
    return {name: model_factory(name, tuned.get(name), seed=seed) for name in names}
