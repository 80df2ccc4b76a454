"""What a search may see, what can be set, and how a model is fitted while it is looked at."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from sklearn.model_selection import ParameterGrid
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from helpers import baselines, metrics, recommend
from helpers.interactions import Interactions
from helpers.splits import Split

T = TypeVar("T")
Settings = Mapping[str, Any]
Grid = Mapping[str, Sequence[Any]]

MODELS: dict[str, tuple[str, ...]] = {
    "ALS": ("factors", "regularization", "alpha", "iterations", "weighting"),
    "IALS": ("factors", "regularization", "unobserved_weight", "nu", "iterations", "weighting"),
    "EASE": ("regularization", "weighting"),
    "item KNN": ("K", "weighting"),
    "BPR": ("factors", "learning_rate", "regularization", "iterations", "weighting"),
}
"""What can be set of each model; :func:`helpers.baselines.recipes` makes them."""

DIGITS = 9
"""Decimals of an objective: what all processors agree on, so that they decide alike."""


@dataclass(frozen=True, eq=False)
class Task:
    """What a search may see: one training side and one validation side.

    Attributes
    ----------
    name : str
        Of the protocol.
    split : Split
        Its ``test`` side is the *validation* set here.
    k : int
        Length of the lists.
    """

    name: str
    split: Split
    k: int = 10

    @cached_property
    def users(self) -> np.ndarray:
        """Rows with something to find and something known, in ascending order."""
        sides = (self.split.train.user_items, self.split.test.user_items)
        known, to_find = (np.diff(side.indptr) > 0 for side in sides)
        return np.flatnonzero(known & to_find)

    @cached_property
    def sha256(self) -> str:
        """Checksum of both sides and of ``k``."""
        digest = hashlib.sha256(f"{self.k} {self.split.train.user_items.shape}".encode())
        for side in (self.split.train.user_items, self.split.test.user_items):
            for array, kind in ((side.indptr, "i8"), (side.indices, "i8"), (side.data, "f8")):
                digest.update(array.astype(kind).tobytes())
        return digest.hexdigest()

    def top_n(self, model: Any) -> np.ndarray:
        """The first ``k`` unseen items of each of :attr:`users`; see :func:`recommend.top_n`.

        Parameters
        ----------
        model : model fitted on the training side

        Returns
        -------
        int ndarray of shape (len(users), k), padded with -1
        """
        return recommend.top_n(model, self.split.train.user_items, self.k, users=self.users)

    def ndcg(self, top_n: np.ndarray) -> np.ndarray:
        """nDCG at ``k`` of each of :attr:`users`.

        Parameters
        ----------
        top_n : int ndarray of shape (len(users), k)

        Returns
        -------
        float64 ndarray of shape (len(users),), from 0 to 1
        """
        held_out = self.split.test.user_items[self.users]
        ranking = metrics.ranking(top_n, held_out, [self.k])
        return ranking[f"ndcg@{self.k}"].to_numpy(np.float64)


def few_users(interactions: Interactions, most: int, *, seed: int = 0) -> Interactions:
    """A random sample of the users with all of their pairs, and the items that they know.

    Parameters
    ----------
    interactions : Interactions
    most : int, at least 1
        Users to keep; with as many or fewer, the input itself is returned.
    seed : int

    Returns
    -------
    Interactions

    Raises
    ------
    ValueError
        If ``most`` is below 1.

    Notes
    -----
    Rows and columns are numbered anew: ALS gives weight to empty cells, so an emptied row would
    still take part in the loss.
    """
    if most < 1:
        raise ValueError(f"most is {most}, expected 1 user or more")
    if interactions.n_users <= most:
        return interactions
    chosen = np.random.default_rng(seed).choice(interactions.n_users, most, replace=False)
    frame = interactions.to_frame()
    kept = frame[frame["user_id"].isin(interactions.user_ids[chosen])]
    return Interactions.from_frame(kept, aggregate="last")


def recipe(name: str, settings: Settings, *, seed: int = 0) -> baselines.Recipe:
    """How to make the model that these settings describe: exact, in float64, with one thread.

    Parameters
    ----------
    name : str
        One of :data:`MODELS`.
    settings : mapping
        Some of its settings; the others have their defaults.
    seed : int

    Returns
    -------
    Recipe
        As notebook 5 uses it, so that what is chosen here is what is compared there.

    Raises
    ------
    ValueError
        If the model or one of its settings is unknown.

    Examples
    --------
    >>> recipe("ALS", {"factors": 8, "weighting": "linear"}).weighting
    'linear'
    """
    if name not in MODELS:
        raise ValueError(f"name is {name!r}, expected one of {sorted(MODELS)}")
    if unknown := sorted(set(settings) - set(MODELS[name])):
        raise ValueError(f"{name} has no settings {unknown}; known are {sorted(MODELS[name])}")
    return baselines.recipes({name: settings}, seed=seed)[name]


def iterates(
    model: AlternatingLeastSquares,
    user_items: csr_matrix,
    at: Sequence[int],
    measure: Callable[[AlternatingLeastSquares], T],
) -> dict[int, T]:
    """Fit once, and look at the model after several numbers of iterations.

    Parameters
    ----------
    model : AlternatingLeastSquares
        Not fitted yet, with ``iterations`` of at least ``max(at)``; it is fitted in place.
    user_items : csr_matrix of shape (n_users, n_items)
    at : sequence of int
        Numbers of iterations, from 1.
    measure : callable
        Gets the model as it is then. It goes on learning, so what shall stay must be copied.

    Returns
    -------
    dict
        What ``measure`` returned, by number of iterations.

    Raises
    ------
    ValueError
        If ``at`` is empty or reaches beyond the model's iterations, or the model was fitted before.

    Notes
    -----
    A fit of 40 iterations passes through the models of 10, 20 and 30 on its way: nothing in ALS
    depends on how many iterations are still to come.
    """
    if not at or min(at) < 1 or max(at) > model.iterations:
        raise ValueError(
            f"at is {list(at)}, expected numbers from 1 to {model.iterations}, the model's "
            "iterations"
        )
    if model.user_factors is not None:
        raise ValueError("model is fitted already and would go on from there; make a new one")
    found: dict[int, T] = {}

    def look(iteration: int, seconds: float, loss: float | None) -> None:
        if iteration + 1 in at:
            found[iteration + 1] = measure(model)

    model.fit(user_items, show_progress=False, callback=look)
    return found


def runs_of(grid: Grid | Sequence[Grid]) -> list[dict[str, Any]]:
    """The settings of a grid, refused where it has none."""
    grids = [grid] if isinstance(grid, Mapping) else list(grid)
    if not grids or not all(each and all(map(len, each.values())) for each in grids):
        raise ValueError(f"grid is {grid!r}, expected at least one value for each setting")
    return list(ParameterGrid([{key: list(each[key]) for key in each} for each in grids]))


def rounded(value: Any) -> Any:
    """A float to three digits, so that its last bits decide nothing; anything else as it is."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def in_parallel(
    run: Callable[[Any], T], jobs: Sequence[Any], workers: int, description: str | None = None
) -> list[T]:
    """Results in the order of the jobs; the fits release the GIL, so threads are enough."""
    bar = partial(tqdm, desc=description, total=len(jobs), leave=False, disable=not description)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        return list(bar(pool.map(run, jobs)))
