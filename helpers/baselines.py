"""What a model must be compared with, behind implicit's interface: ``fit`` and ``recommend``.

Random, popular and EASE are ours; item KNN and BPR are implicit's, set up so that a fixed seed
gives the same lists again. :func:`recipes` names them all, with ALS and IALS, for a comparison.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import ItemItemRecommender, normalize
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from helpers import weighting
from helpers.als import IALS, ExactALS
from helpers.interactions import Interactions, check_user_items
from helpers.recommend import CELLS, rank_items

WEIGHTINGS: dict[str, Callable[[csr_matrix], csr_matrix]] = {
    "binary": weighting.binary,
    "linear": lambda user_items: user_items,
}
"""What a model sees of a strength ``r``: ``1`` or ``r`` itself."""

BLOCK = 1_000
"""Rows of the item matrix that EASE makes at a time; it bounds the memory."""


class Baseline(ABC):
    """A model that scores every item for a user; subclasses say how.

    Attributes
    ----------
    shape : tuple of two ints, or None
        Shape of the matrix that it was fitted on.
    """

    shape: tuple[int, int] | None = None

    def fit(self, user_items: csr_matrix, show_progress: bool = True) -> None:
        """Learn from a matrix.

        Parameters
        ----------
        user_items : csr_matrix of shape (n_users, n_items)
        show_progress : bool
            There is nothing to show; the argument is implicit's.
        """
        self._learn(check_user_items(user_items, *user_items.shape))
        self.shape = user_items.shape

    def scores(self, userid: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        """Score of each item for some users.

        Parameters
        ----------
        userid : int ndarray of shape (n,)
            Rows of the users.
        user_items : csr_matrix of shape (n, n_items)
            Their histories, in the same order.

        Returns
        -------
        float64 ndarray of shape (n, n_items)

        Raises
        ------
        ValueError
            If the model is not fitted, or the matrix has another shape.
        """
        if self.shape is None:
            raise ValueError(f"{type(self).__name__} is not fitted; call fit(user_items) first")
        check_user_items(user_items, len(userid), self.shape[1])
        return self._score(userid, user_items)

    def recommend(
        self,
        userid: int | np.ndarray,
        user_items: csr_matrix,
        N: int = 10,
        filter_already_liked_items: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best items of one user or of several, as implicit's models give them.

        Parameters
        ----------
        userid : int, or int ndarray of shape (n,)
        user_items : csr_matrix of shape (n, n_items)
            The histories of these users only.
        N : int
        filter_already_liked_items : bool

        Returns
        -------
        items, scores : ndarrays of shape (n, N), or (N,) for a single user
            See :func:`rank_items`.

        Raises
        ------
        ValueError
            If the model is not fitted, the matrix has another shape or ``N`` is out of range.
        """
        rows = np.atleast_1d(userid)
        blocks = []
        step = max(1, CELLS // user_items.shape[1])
        for start in range(0, max(len(rows), 1), step):
            block = slice(start, start + step)
            # Checked whole: a block of a matrix with too many rows would look right.
            part = user_items[block] if user_items.shape[0] == len(rows) else user_items
            scores = self.scores(rows[block], part)
            blocks.append(rank_items(scores, N, part if filter_already_liked_items else None))
        items, best = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return (items[0], best[0]) if np.isscalar(userid) else (items, best)

    @abstractmethod
    def _learn(self, user_items: csr_matrix) -> None:
        """Keep what the scores need."""

    @abstractmethod
    def _score(self, userid: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        """Scores of all items, from histories that have been checked."""


class Random(Baseline):
    """Any items, in an order that depends on the seed and on the user's row only.

    Parameters
    ----------
    random_state : int
        Seed. A user's list is the same whoever is asked for beside them.

    Examples
    --------
    >>> model = Random(random_state=1)
    >>> model.fit(csr_matrix(np.eye(4)), show_progress=False)
    >>> items, _ = model.recommend(2, csr_matrix(np.eye(4))[2], N=3)
    >>> sorted(items.tolist())
    [0, 1, 3]
    """

    def __init__(self, random_state: int = 0):
        self.random_state = random_state

    def _learn(self, user_items: csr_matrix) -> None:
        self._n_items = user_items.shape[1]

    def _score(self, userid: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        seed = self.random_state
        draws = [np.random.default_rng([seed, user]).random(self._n_items) for user in userid]
        return np.array(draws)


class Popularity(Baseline):
    """The items that most users have, or had lately; the same for everybody.

    Parameters
    ----------
    timestamps : datetime64 ndarray of shape (nnz,), optional
        Time of each stored cell of the matrix to fit (``Interactions.timestamps``).
    days : float, above 0, optional
        Count only the last so many days before the latest cell. Items with the same number are
        ordered by their number over all time. Without it, all cells count.

    Raises
    ------
    ValueError
        If only one of the two is given, or ``days`` is not above 0.

    Examples
    --------
    >>> model = Popularity()
    >>> model.fit(csr_matrix([[1, 0, 1], [0, 0, 1]]))
    >>> model.recommend(1, csr_matrix([[0, 0, 1]]), N=1)
    (array([0]), array([1.]))
    """

    def __init__(self, timestamps: np.ndarray | None = None, days: float | None = None):
        if (timestamps is None) != (days is None):
            raise ValueError("timestamps and days belong together: give both, or neither")
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

    def _score(self, userid: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        return np.broadcast_to(self._counts, (len(userid), len(self._counts)))


class EASE(Baseline):
    """A linear model between items, solved in closed form.

    ``min_B |X - X B|^2 + regularization |B|^2`` with ``diag(B) = 0``, which is
    ``B = I - P / diag(P)`` by columns, for ``P = (X^T X + regularization I)^-1``

    Parameters
    ----------
    regularization : float, above 0
    max_items : int
        Largest catalogue to accept, because of the memory.

    Raises
    ------
    ValueError
        If ``regularization`` is not above 0, or, on ``fit``, the catalogue is too large.

    Notes
    -----
    It keeps a dense matrix of ``8 n_items^2`` bytes and needs two of them while it is fitted:
    6 GiB for 20,000 items. The time grows with the third power of the catalogue, and does not
    depend on the number of users. A new user needs no training: scores are ``x_u B``.

    References
    ----------
    Steck (2019), "Embarrassingly Shallow Autoencoders for Sparse Data", equation (8).

    Examples
    --------
    Two films that the same people have explain each other; the third explains nothing.

    >>> model = EASE(regularization=1)
    >>> model.fit(csr_matrix([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]))
    >>> model.weights.round(3) + 0
    array([[0.   , 0.667, 0.   ],
           [0.667, 0.   , 0.   ],
           [0.   , 0.   , 0.   ]])
    """

    def __init__(self, regularization: float = 500.0, max_items: int = 20_000):
        if not regularization > 0:
            raise ValueError(f"regularization is {regularization}, expected a number above 0")
        self.regularization, self.max_items = regularization, max_items
        self.weights = np.zeros((0, 0))

    def _learn(self, user_items: csr_matrix) -> None:
        n = user_items.shape[1]
        if n > self.max_items:
            raise ValueError(
                f"EASE on {n:,} items needs two matrices of {8 * n**2 / 2**30:,.1f} GiB each, and "
                f"max_items is {self.max_items:,}; raise it if the memory is there, or use a model "
                "with factors"
            )
        X, Xt = user_items.astype(np.float64), user_items.T.tocsr().astype(np.float64)
        gram = np.empty((n, n))
        for start in range(0, n, BLOCK):  # the product as one sparse matrix would be larger
            gram[start : start + BLOCK] = (Xt[start : start + BLOCK] @ X).toarray()
        gram[np.diag_indices(n)] += self.regularization
        # The transposed matrix is the same one, laid out as LAPACK wants it to work in place.
        with threadpool_limits(1, user_api="blas"):
            weights = scipy.linalg.inv(gram.T, overwrite_a=True, check_finite=False)
        weights /= -np.diag(weights).copy()
        weights[np.diag_indices(n)] = 0
        self.weights = weights

    def _score(self, userid: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        return np.asarray(user_items @ self.weights, dtype=np.float64)


class ItemKNN(Baseline):
    """implicit's item KNN by cosine: items that the same people have stand for each other.

    Parameters
    ----------
    K : int, at least 1
        Neighbours kept for each item. implicit counts the item itself as one of them.
    num_threads : int
        0 for all cores; the result does not depend on it.

    Attributes
    ----------
    similarity : csr_matrix of shape (n_items, n_items)
        Row ``j`` holds the cosines of item ``j`` with its neighbours.

    Raises
    ------
    ValueError
        If ``K`` is below 1.

    Notes
    -----
    The score of item ``i`` is the sum over the user's items ``j`` of ``x_uj similarity[j, i]``; it
    is 0, and tied, for all items that are no neighbour of the history. implicit's own ``recommend``
    gives the same order, but it fills a short list with items that the user has.

    Examples
    --------
    >>> model = ItemKNN(K=2)
    >>> model.fit(csr_matrix([[1.0, 1, 0], [1, 1, 0], [0, 1, 1]]), show_progress=False)
    >>> model.recommend(2, csr_matrix([[0.0, 1, 1]]), N=1)[0]
    array([0])
    """

    def __init__(self, K: int = 20, num_threads: int = 0):
        if K < 1:
            raise ValueError(f"K is {K}, expected a whole number of at least 1")
        self.K, self.num_threads = K, num_threads
        self.similarity = csr_matrix((0, 0))

    def _learn(self, user_items: csr_matrix) -> None:
        # What CosineRecommender.fit does, but with the CSR matrix that its superclass asks for.
        model = ItemItemRecommender(self.K, self.num_threads)
        model.fit(csr_matrix(normalize(user_items.T).T), show_progress=False)
        self.similarity = model.similarity

    def _score(self, userid: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        return np.asarray((user_items @ self.similarity).toarray(), dtype=np.float64)


class ExplicitALS:
    """ALS on ratings as Spark's default fits it: only what was rated counts (ALS-WR).

    ``sum_observed (r - s)^2 + regularization (sum_u n_u |x_u|^2 + sum_i n_i |y_i|^2)``

    Parameters
    ----------
    factors : int, at least 1
    regularization : float
    iterations : int
    random_state : int

    Notes
    -----
    It is here to show why a model of *ratings* makes poor lists: nothing in its loss tells what a
    user would not even look at. It has the factors that implicit's models have, and no other use.
    A user's Gram matrices are one sparse product: memory is ``8 factors^2 (n_users + n_items)``.

    References
    ----------
    Zhou, Wilkinson, Schreiber, Pan (2008), "Large-Scale Parallel Collaborative Filtering for the
    Netflix Prize", equation (2).
    """

    def __init__(
        self,
        factors: int = 10,
        regularization: float = 0.05,
        iterations: int = 15,
        random_state: int = 0,
    ):
        _check_factors(factors)
        self.factors, self.regularization = factors, regularization
        self.iterations, self.random_state = iterations, random_state
        self.user_factors: np.ndarray | None = None
        self.item_factors: np.ndarray | None = None

    def fit(self, user_items: csr_matrix, show_progress: bool = True) -> None:
        """Fit the ratings that are stored in the matrix; nothing is shown."""
        n_users, n_items = user_items.shape
        transposed = check_user_items(user_items, n_users, n_items).T.tocsr()
        Y = np.random.default_rng(self.random_state).random((n_items, self.factors))
        for _ in range(self.iterations):
            X = self._half_step(user_items, Y)
            Y = self._half_step(transposed, X)
        self.user_factors, self.item_factors = X, Y

    def recommend(
        self,
        userid: int | np.ndarray,
        user_items: csr_matrix,
        N: int = 10,
        filter_already_liked_items: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The highest predicted ratings; see :meth:`Baseline.recommend`."""
        if self.user_factors is None or self.item_factors is None:
            raise ValueError("ExplicitALS is not fitted; call fit(user_items) first")
        scores = self.user_factors[np.atleast_1d(userid)] @ self.item_factors.T
        items, best = rank_items(scores, N, user_items if filter_already_liked_items else None)
        return (items[0], best[0]) if np.isscalar(userid) else (items, best)

    def _half_step(self, ratings: csr_matrix, Y: np.ndarray) -> np.ndarray:
        outer = (Y[:, :, None] * Y[:, None, :]).reshape(len(Y), -1)
        grams = (weighting.binary(ratings) @ outer).reshape(-1, self.factors, self.factors)
        counts = np.maximum(np.diff(ratings.indptr), 1)  # a row without ratings becomes 0
        grams += self.regularization * counts[:, None, None] * np.eye(self.factors)
        solved: np.ndarray = np.linalg.solve(grams, (ratings @ Y)[:, :, None])[:, :, 0]
        return solved


def bpr(
    factors: int = 100,
    learning_rate: float = 0.01,
    regularization: float = 0.01,
    iterations: int = 100,
    random_state: int = 0,
) -> BayesianPersonalizedRanking:
    """implicit's BPR in float64 with one thread.

    Parameters
    ----------
    factors, learning_rate, regularization, iterations
        As in implicit.
    random_state : int
        Seed of the starting values and of the draws.

    Returns
    -------
    implicit.cpu.bpr.BayesianPersonalizedRanking, not fitted

    Raises
    ------
    ValueError
        If ``factors`` is below 1.

    Notes
    -----
    Several threads would update the factors without waiting for each other, so each run would end
    elsewhere. With one thread the same seed gives the same factors on the same machine. Between
    machines the C library's ``exp`` may differ in the last bit; in float64 that has changed no
    list on MovieLens 100K, but nothing guarantees it.

    References
    ----------
    Rendle, Freudenthaler, Gantner, Schmidt-Thieme (2009), "BPR: Bayesian Personalized Ranking
    from Implicit Feedback".
    """
    _check_factors(factors)
    return BayesianPersonalizedRanking(
        factors=factors,
        learning_rate=learning_rate,
        regularization=regularization,
        iterations=iterations,
        dtype=np.float64,
        num_threads=1,
        random_state=random_state,
    )


@dataclass(frozen=True)
class Recipe:
    """How to make a model, and what it learns from.

    Attributes
    ----------
    make : callable
        Gets the training set and returns a model that is not fitted yet.
    weighting : {"binary", "linear"}
        See :data:`WEIGHTINGS`.
    """

    make: Callable[[Interactions], Any]
    weighting: str = "binary"

    def matrix(self, train: Interactions) -> csr_matrix:
        """The training matrix as the model sees it.

        Raises
        ------
        ValueError
            If the weighting is unknown.
        """
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"weighting is {self.weighting!r}, expected one of {list(WEIGHTINGS)}")
        return WEIGHTINGS[self.weighting](train.user_items)

    def fit(self, train: Interactions) -> Any:
        """A model fitted on the training set, with one thread of its own and of BLAS."""
        with threadpool_limits(1, user_api="blas"):
            model = self.make(train)
            model.fit(self.matrix(train), show_progress=False)
        return model


def recipes(
    tuned: Mapping[str, Mapping[str, Any]],
    *,
    seed: int = 0,
    recent_days: float = 30.0,
    without: tuple[str, ...] = (),
) -> dict[str, Recipe]:
    """Every model that a comparison holds, by name, weakest expectation first.

    Parameters
    ----------
    tuned : mapping of str to mapping
        Settings of "item KNN", "BPR", "EASE", "ALS" and "IALS", with ``weighting`` where it is
        not binary; the library's (for EASE our) defaults where a name is missing.
    seed : int
        Of whatever draws numbers.
    recent_days : float
        What "popular lately" counts.
    without : tuple of str
        Names to leave out.

    Returns
    -------
    dict of str to Recipe

    Raises
    ------
    ValueError
        If a name is unknown.

    Notes
    -----
    "default ALS" has implicit's default settings. Both ALS and IALS are fitted in float64 with
    exact solvers, so that their lists are the same on every processor.

    Examples
    --------
    >>> list(recipes({}, without=("BPR", "EASE")))
    ['random', 'popular', 'popular lately', 'item KNN', 'default ALS', 'ALS', 'IALS']
    """
    exact: dict[str, Any] = {"dtype": np.float64, "num_threads": 1, "random_state": seed}
    makers: dict[str, Callable[..., Any]] = {
        "item KNN": partial(ItemKNN, num_threads=1),
        "BPR": partial(bpr, random_state=seed),
        "EASE": EASE,
        "ALS": partial(ExactALS, **exact),
        "IALS": partial(IALS, cg_steps=0, **exact),
    }
    plain = {
        "random": Recipe(lambda train: Random(seed)),
        "popular": Recipe(lambda train: Popularity()),
        "popular lately": Recipe(lambda train: Popularity(train.timestamps, recent_days)),
        "item KNN": _tuned(makers, tuned, "item KNN"),
        "BPR": _tuned(makers, tuned, "BPR"),
        "EASE": _tuned(makers, tuned, "EASE"),
        "default ALS": Recipe(lambda train: ExactALS(**exact)),
        "ALS": _tuned(makers, tuned, "ALS"),
        "IALS": _tuned(makers, tuned, "IALS"),
    }
    unknown = [name for name in (*tuned, *without) if name not in plain]
    if unknown:
        raise ValueError(f"unknown models {unknown}; known are {list(plain)}")
    return {name: recipe for name, recipe in plain.items() if name not in without}


def _tuned(
    makers: Mapping[str, Callable[..., Any]], tuned: Mapping[str, Mapping[str, Any]], name: str
) -> Recipe:
    settings = dict(tuned.get(name, {}))
    weights = settings.pop("weighting", "binary")
    return Recipe(lambda train: makers[name](**settings), weights)


def _check_factors(factors: int) -> None:
    if factors < 1:
        raise ValueError(f"factors is {factors}, expected a whole number of at least 1")
