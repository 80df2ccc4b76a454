"""The models of a store's table, and how they are judged on a :class:`StoreSplit`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.linalg
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from helpers import baselines, metrics
from helpers.als import ExactALS
from helpers.baselines import Baseline, Recipe
from helpers.evaluation.comparison import Comparison
from helpers.evaluation.store import StoreSplit
from helpers.tuning.tasks import Settings, Task, in_parallel

SEEDS_BEST: dict[str, Any] = {"factors": 500, "iterations": 3, "regularization": 0.01}
"""What the seed system had chosen; its precision@3 was 0.006475, on data of its own."""


class BuyAgain(Baseline):
    """The user's own history again, strongest pairs first, then what is popular: no model at all.

    Examples
    --------
    >>> model = BuyAgain()
    >>> model.fit(csr_matrix([[1.0, 2, 0], [0, 1, 0]]))
    >>> model.recommend(0, csr_matrix([[1.0, 2, 0]]), N=3, filter_already_liked_items=False)[0]
    array([1, 0, 2])
    """

    def _learn(self, user_items: csr_matrix) -> None:
        counts = np.bincount(user_items.indices, minlength=user_items.shape[1])
        self._popular = counts / (user_items.shape[0] + 1)

    def _score(self, userid: np.ndarray, user_items: csr_matrix) -> np.ndarray:
        return np.asarray(user_items.toarray() + self._popular)


class PlainALS(ExactALS):
    """implicit's ALS, exact, and fast where every observed cell has the confidence 1.

    ``X = C Y (Y'Y + regularization I)^-1``: with ``alpha = 1`` on a matrix of ones an observed cell
    weighs as much as an unobserved one, so one system of equations serves all rows. Elsewhere it is
    :class:`helpers.als.ExactALS` unchanged.

    Examples
    --------
    >>> log = csr_matrix([[1.0, 0.0], [1.0, 1.0]])
    >>> models = [cls(factors=1, dtype=np.float64, random_state=0) for cls in (PlainALS, ExactALS)]
    >>> for model in models:
    ...     model.fit(log, show_progress=False)
    >>> np.abs(models[0].user_factors - models[1].user_factors).max() < 1e-12
    np.True_
    """

    @property
    def solver(self) -> Callable[..., None]:
        """A function ``(C, X, Y, regularization, num_threads)`` that overwrites ``X``."""
        exact = super().solver

        def improve(
            C: csr_matrix, X: np.ndarray, Y: np.ndarray, regularization: float, num_threads: int = 0
        ) -> None:
            if (C.data != 1).any():
                exact(C, X, Y, regularization, num_threads=num_threads)
                return
            system = Y.T @ Y + regularization * np.eye(Y.shape[1])
            X[:] = scipy.linalg.solve(system, (C @ Y).T, assume_a="pos").T

        return improve


def stock(
    settings: Settings | None = None,
    *,
    weights: str = "binary",
    exact: bool = True,
    seed: int = 0,
) -> Recipe:
    """implicit's own ALS with its defaults, in float64 and with one thread.

    Parameters
    ----------
    settings : mapping, optional
        Of ``implicit.als.AlternatingLeastSquares``; its defaults where nothing is given.
    weights : {"binary", "linear"}
        What it sees of the values.
    exact : bool
        Whether to solve each half-step exactly. Otherwise implicit takes three steps of conjugate
        gradient.
    seed : int

    Returns
    -------
    Recipe

    Notes
    -----
    On Online Retail, with implicit's defaults, its own solver multiplies a difference in the last
    bit by about 100 in each iteration: after ten, another processor's factors differ in the second
    decimal, and so do the lists, even in float64. Three iterations are safe.
    """
    maker = PlainALS if exact else AlternatingLeastSquares
    given = dict(settings or {})
    return Recipe(
        lambda train: maker(**given, dtype=np.float64, num_threads=1, random_state=seed), weights
    )


def store_recipes(
    tuned: Settings, *, model: str = "ALS", recent_days: float = 28.0, seed: int = 0
) -> dict[str, Recipe]:
    """What the store's table holds, by name.

    Parameters
    ----------
    tuned : mapping
        Settings of ``model`` that a search has chosen.
    model : {"ALS", "IALS"}
    recent_days : float
        What "popular lately" counts.
    seed : int

    Returns
    -------
    dict of str to Recipe
        "random", "popular", "popular lately", "item KNN", "ALS, defaults",
        "ALS, the seed's best" (with
        implicit's own solver, since stopping early is part of it) and the tuned one.

    Examples
    --------
    >>> list(store_recipes({"factors": 8}))[-2:]
    ["ALS, the seed's best", 'ALS, tuned']
    """
    ours = baselines.recipes({model: tuned}, seed=seed, recent_days=recent_days)
    return {
        **{name: ours[name] for name in ("random", "popular", "popular lately", "item KNN")},
        "ALS, defaults": stock(seed=seed),
        "ALS, the seed's best": stock(SEEDS_BEST, weights="linear", exact=False, seed=seed),
        f"{model}, tuned": ours[model],
    }


def judge(
    recipes: Mapping[str, Recipe],
    split: StoreSplit,
    *,
    own: Mapping[str, StoreSplit] | None = None,
    ks: Sequence[int] = (3, 10),
    workers: int = 2,
) -> Comparison:
    """Fit every model on the training side and judge its lists.

    Parameters
    ----------
    recipes : mapping of str to Recipe
    split : StoreSplit
    own : mapping of str to StoreSplit, optional
        For single models, the split whose training side they learn from instead: the same events
        with other weights, or faded.
    ks : sequence of int
        Cut-offs.
    workers : int
        Fits at a time. The result does not depend on it.

    Returns
    -------
    Comparison
        With one split; ``measured`` holds the columns of :func:`helpers.metrics.ranking` at all
        ``ks``. Its ``accuracy``, ``differences``, ``beyond`` and ``by_activity`` work as ever.

    Raises
    ------
    ValueError
        If there is nobody to judge, or a split of ``own`` has another test side.
    """
    of_model = {name: (own or {}).get(name, split) for name in recipes}
    for name, other in of_model.items():
        alike = other.train.item_ids.equals(split.train.item_ids)
        if not (alike and np.array_equal(other.users, split.users)):
            raise ValueError(f"own[{name!r}] has other users or items; build it from the same log")
    users, k = split.users, max(ks)
    if not len(users):
        raise ValueError("no user has events in train and something to find: none to judge")
    held_out, seen = split.test.user_items[users], split.seen(users)

    def run(name: str) -> tuple[Any, np.ndarray, pd.DataFrame]:
        recipe, sides = recipes[name], of_model[name]
        model = recipe.fit(sides.train)
        lists = sides.top_n(model, k, matrix=recipe.matrix(sides.train))
        values = metrics.ranking(lists, held_out, ks, seen=seen).per_user
        return model, lists, values.set_axis(pd.Index(users, name="user"))

    done = dict(zip(recipes, in_parallel(run, list(recipes), workers), strict=True))
    return Comparison(
        splits=[split],
        users=[users],
        k=k,
        lists={name: [lists] for name, (_, lists, _) in done.items()},
        models={name: model for name, (model, _, _) in done.items()},
        matrices={name: each.matrix(of_model[name].train) for name, each in recipes.items()},
        measured=pd.concat(
            {(name, 0): values for name, (_, _, values) in done.items()}, names=["model", "split"]
        ).sort_index(),
    )


@dataclass(frozen=True, eq=False)
class StoreTask(Task):
    """A :class:`helpers.tuning.Task` on a :class:`StoreSplit`, for the searches of that package.

    Attributes
    ----------
    split : StoreSplit
        Its ``test`` side is the *validation* set: a window inside the training log.
    """

    split: StoreSplit

    def top_n(self, model: Any) -> np.ndarray:
        """The first ``k`` items of each of :attr:`users`; see :meth:`StoreSplit.top_n`."""
        return self.split.top_n(model, self.k, users=self.users)
