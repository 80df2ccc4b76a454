"""The models of a store's table, and how they are scored on a :class:`StoreSplit`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.linalg
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from helpers import metrics
from helpers.als import ExactALS
from helpers.comparison import Comparison
from helpers.models import ModelFactory, model_factory
from helpers.store.split import StoreSplit
from helpers.tuning import Settings, Task, in_parallel

STORE_PROJECT: dict[str, Any] = {"factors": 500, "iterations": 3, "regularization": 0.01}
"""What the store project had chosen; its precision@3 was 0.006475, on data of its own."""


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


def default_als(settings: Settings | None = None, *, seed: int = 0) -> ModelFactory:
    """implicit's ALS with its defaults, solved exactly, in float64 and with one thread.

    Parameters
    ----------
    settings : mapping, optional
        Of ``implicit.als.AlternatingLeastSquares``; its defaults where nothing is given.
    seed : int

    Returns
    -------
    ModelFactory

    Notes
    -----
    On Online Retail, with implicit's defaults, its own solver multiplies a difference in the last
    bit by about 100 in each iteration: after ten, another processor's factors differ in the second
    decimal, and so do the lists, even in float64.
    """
    given = {**(settings or {}), "dtype": np.float64, "num_threads": 1, "random_state": seed}
    return ModelFactory(lambda train: PlainALS(**given))


def store_factories(
    tuned: Settings, *, model: str = "ALS", recent_days: float = 28.0, seed: int = 0
) -> dict[str, ModelFactory]:
    """What the store's table holds, by name.

    Parameters
    ----------
    tuned : mapping
        Settings of ``model`` that a search has chosen.
    model : {"ALS", "IALS"}
    recent_days : float
        What "recently popular" counts.
    seed : int

    Returns
    -------
    dict of str to ModelFactory
        The one of the store project takes the strengths as they are and has implicit's own
        solver, since stopping early is part of it (three iterations are safe).

    Examples
    --------
    >>> list(store_factories({"factors": 8}))[-3:]
    ['ALS default', 'ALS of the store project', 'ALS tuned']
    """
    recent = {"days": recent_days}
    project = {**STORE_PROJECT, "dtype": np.float64, "num_threads": 1, "random_state": seed}
    return {
        "random": model_factory("random", seed=seed),
        "popular": model_factory("popular"),
        "recently popular": model_factory("recently popular", recent),
        "item KNN": model_factory("item KNN"),
        "ALS default": default_als(seed=seed),
        "ALS of the store project": ModelFactory(
            lambda train: AlternatingLeastSquares(**project), "raw"
        ),
        f"{model} tuned": model_factory(model, tuned, seed=seed),
    }


def compare(
    factories: Mapping[str, ModelFactory],
    split: StoreSplit,
    *,
    own: Mapping[str, StoreSplit] | None = None,
    ks: Sequence[int] = (3, 10),
    workers: int = 2,
) -> Comparison:
    """Fit every model on the training side and score its lists.

    Parameters
    ----------
    factories : mapping of str to ModelFactory
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
        With one split; ``measured`` holds the columns of :func:`helpers.metrics.accuracy` at all
        ``ks``.

    Raises
    ------
    ValueError
        If there is nobody to test, or a split of ``own`` has another test side.
    """
    of_model = {name: (own or {}).get(name, split) for name in factories}
    for name, other in of_model.items():
        alike = other.train.item_ids.equals(split.train.item_ids)
        if not (alike and np.array_equal(other.users, split.users)):
            raise ValueError(f"own[{name!r}] has other users or items; build it from the same log")
    users, k = split.users, max(ks)
    if not len(users):
        raise ValueError("no user has events in train and something to find: none to test")
    test, known = split.test.user_items[users], split.excluded(users)

    def run(name: str) -> tuple[Any, np.ndarray, pd.DataFrame]:
        factory, sides = factories[name], of_model[name]
        model = factory.fit(sides.train)
        lists = sides.top_n(model, k, matrix=factory.matrix(sides.train))
        values = metrics.accuracy(lists, test, ks, train=known)
        return model, lists, values.set_axis(pd.Index(users, name="user"))

    done = dict(zip(factories, in_parallel(run, list(factories), workers), strict=True))
    return Comparison(
        splits=[split],
        users=[users],
        k=k,
        lists={name: [lists] for name, (_, lists, _) in done.items()},
        models={name: model for name, (model, _, _) in done.items()},
        matrices={name: each.matrix(of_model[name].train) for name, each in factories.items()},
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

    def top_n(self, model: Any, matrix: csr_matrix | None = None) -> np.ndarray:
        """The first ``k`` items of each of :attr:`users`; see :meth:`StoreSplit.top_n`."""
        return self.split.top_n(model, self.k, users=self.users, matrix=matrix)
