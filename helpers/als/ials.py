"""ALS with the loss of Rendle et al. (2022), and implicit's own ALS solved exactly and fast.

S. Rendle, W. Krichene, L. Zhang, Y. Koren (2022), "Revisiting the Performance of iALS on Item
Recommendation Benchmarks", RecSys; equations there in the notation of this package: rows of ``X``
are user factors, rows of ``Y`` item factors, ``s = x_u . y_i``.
"""

import heapq
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import DTypeLike
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from helpers.als import kernels
from helpers.als.reference import observed_scores

Callback = Callable[[int, float, float | None], object]


def penalties(
    counts: np.ndarray, n_others: int, regularization: float, unobserved_weight: float, nu: float
) -> np.ndarray:
    """How much the squared length of each row's factors costs.

    ``penalty_u = regularization * (n_u + unobserved_weight * n_others)^nu``

    Parameters
    ----------
    counts : int ndarray of shape (n_rows,)
        Observed cells ``n_u`` of each row.
    n_others : int
        Rows of the other side: the number of items for users, of users for items.
    regularization, unobserved_weight, nu : float
        See :class:`IALS`.

    Returns
    -------
    float64 ndarray of shape (n_rows,)

    References
    ----------
    Rendle et al. (2022), section 3, "frequency-scaled regularization".

    Examples
    --------
    >>> penalties(np.array([2, 0]), n_others=10, regularization=0.5, unobserved_weight=0.1, nu=1.0)
    array([1.5, 0.5])
    """
    scaled = (counts + unobserved_weight * n_others) ** nu
    return np.asarray(regularization * scaled, dtype=np.float64)


def comparable_regularization(
    user_items: csr_matrix,
    regularization: float,
    unobserved_weight: float,
    nu: float,
    *,
    nu_star: float = 1.0,
) -> float:
    """The regularization that costs as much in all at ``nu`` as the given one at ``nu_star``.

    ``regularization * sum(count^nu_star) / sum(count^nu)``

    where ``count`` is ``n + unobserved_weight * n_others`` of every user and every item.

    Parameters
    ----------
    user_items : csr_matrix of shape (n_users, n_items)
    regularization : float
        At ``nu_star``.
    unobserved_weight : float
    nu, nu_star : float

    Returns
    -------
    float
        For ``IALS(nu=nu)``.

    Notes
    -----
    Without it a curve over ``nu`` would mostly show a change in the amount of regularization.

    References
    ----------
    Rendle et al. (2022), section 4.

    Examples
    --------
    >>> comparable_regularization(csr_matrix([[1.0, 1.0]]), 0.01, unobserved_weight=1.0, nu=0.0)
    0.02666666666666667
    """
    n_users, n_items = user_items.shape
    counts = np.concatenate(
        [
            np.diff(user_items.indptr) + unobserved_weight * n_items,
            np.bincount(user_items.indices, minlength=n_items) + unobserved_weight * n_users,
        ]
    )
    return float(regularization * (counts**nu_star).sum() / (counts**nu).sum())


def ials_loss(
    user_items: csr_matrix,
    X: np.ndarray,
    Y: np.ndarray,
    regularization: float,
    unobserved_weight: float,
    nu: float = 1.0,
) -> dict[str, float]:
    """The loss that :class:`IALS` minimises, in its three parts.

    ``sum_observed w (1 - s)^2 + unobserved_weight * sum_all s^2
    + sum_u penalty_u |x_u|^2 + sum_i penalty_i |y_i|^2``

    Parameters
    ----------
    user_items : csr_matrix of shape (n_users, n_items)
        Weights ``w``, positive.
    X : ndarray of shape (n_users, factors)
    Y : ndarray of shape (n_items, factors)
    regularization, unobserved_weight, nu : float
        See :class:`IALS`; the penalties are those of :func:`penalties`.

    Returns
    -------
    dict
        ``observed``, ``all`` (all cells, the observed ones too), ``penalty``, ``total``.

    References
    ----------
    Rendle et al. (2022), equations (3) to (5).

    Examples
    --------
    >>> X, Y = np.array([[1.0]]), np.array([[0.5], [2.0]])
    >>> ials_loss(csr_matrix([[4.0, 0.0]]), X, Y, regularization=0.1, unobserved_weight=0.5)
    {'observed': 1.0, 'all': 2.125, 'penalty': 0.4375, 'total': 3.5625}
    """
    n_users, n_items = user_items.shape
    scores = observed_scores(user_items, X, Y)
    observed = float(user_items.data @ (1 - scores) ** 2)
    everything = float(unobserved_weight * np.sum((X.T @ X) * (Y.T @ Y)))
    of_items = np.bincount(user_items.indices, minlength=n_items)
    setting = (regularization, unobserved_weight, nu)
    penalty = float(
        penalties(np.diff(user_items.indptr), n_items, *setting) @ (X**2).sum(axis=1)
        + penalties(of_items, n_users, *setting) @ (Y**2).sum(axis=1)
    )
    total = observed + everything + penalty
    return {"observed": observed, "all": everything, "penalty": penalty, "total": total}


class ExactALS(AlternatingLeastSquares):  # type: ignore[misc]
    """implicit's ALS, each half-step solved exactly by the compiled kernel.

    The parameters, the loss and the interface are implicit's; only ``use_cg`` and ``use_native``
    have no effect. The factors are those of ``use_cg=False`` up to rounding, in a fraction of its
    time, and unlike those of the default solver they do not depend on the processor.

    Examples
    --------
    >>> model = ExactALS(factors=1, regularization=0.5, dtype=np.float64, random_state=0)
    >>> model.fit(csr_matrix([[1.0, 0.0], [1.0, 1.0]]), show_progress=False)
    >>> model.user_factors.shape
    (2, 1)
    """

    @property
    def solver(self) -> Callable[..., None]:
        """A function ``(C, X, Y, regularization, num_threads)`` that overwrites ``X``."""
        return _stock_half_step


def _stock_half_step(
    C: csr_matrix, X: np.ndarray, Y: np.ndarray, regularization: float, num_threads: int = 0
) -> None:
    confidence = C.data.astype(X.dtype)
    # As in implicit, a negative confidence is a preference of 0 held with weight |c|.
    extra, pull = np.abs(confidence) - 1, np.maximum(confidence, 0)
    _solve_exactly(C, extra, pull, np.full(len(X), regularization), Y.T @ Y, Y, X, num_threads)


class IALS(AlternatingLeastSquares):  # type: ignore[misc]
    """Implicit ALS with a weight for all cells and penalties that grow with the counts.

    ``sum_observed w (1 - s)^2 + unobserved_weight * sum_all s^2
    + regularization * (sum_u (n_u + unobserved_weight n_items)^nu |x_u|^2
    + sum_i (n_i + unobserved_weight n_users)^nu |y_i|^2)``

    Parameters
    ----------
    factors : int, at least 1
        Length of a user's or item's vector.
    regularization : float, at least 0
        Search it together with ``unobserved_weight``.
    unobserved_weight : float, above 0
        Weight of a score of 0 for every cell ("alpha" in the paper); an observed cell weighs
        ``w``, the value stored in the matrix, besides.
    nu : float, at least 0
        Exponent of the counts: 0 penalises all alike, 1 like a ridge regression on all cells.
    iterations : int, at least 1
        Rounds over items, then users.
    cg_steps : int, at least 0
        Steps of conjugate gradient for each row, from its last value; 0 solves exactly. Numbers
        that are to be the same on every processor need 0 and ``dtype=numpy.float64``.
    init_scale : float, above 0
        Factors start normally distributed with standard deviation ``init_scale / sqrt(factors)``.
    dtype : numpy.float32 or numpy.float64
    num_threads : int
        0 for all cores. The result does not depend on it.
    random_state : int, numpy.random.Generator or None
        Of the starting values.

    Attributes
    ----------
    user_factors : ndarray of shape (n_users, factors)
    item_factors : ndarray of shape (n_items, factors)

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    All methods of implicit's class work; ``recalculate_user`` and what builds on it solve exactly.
    Each round ends with the users, so with ``cg_steps=0`` the stored factors of a user are those
    that a fold-in gives. (implicit's rounds end with the items.) As in implicit, a second ``fit``
    goes on from the factors of the first.

    For binary data and ``nu = 0`` the minimum is, up to the scale of the scores, that of implicit
    with ``alpha = 1 + 1 / unobserved_weight`` and
    ``regularization * (1 + 1 / unobserved_weight)``; other exponents cannot be expressed there.

    References
    ----------
    Rendle, Krichene, Zhang, Koren (2022), "Revisiting the Performance of iALS on Item
    Recommendation Benchmarks", RecSys.

    Examples
    --------
    >>> model = IALS(factors=1, cg_steps=0, dtype=np.float64, random_state=0)
    >>> user_items = csr_matrix([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> model.fit(user_items, show_progress=False)
    >>> model.recommend(0, user_items[0], N=1, filter_already_liked_items=False)[0]
    array([0], dtype=int32)
    """

    def __init__(
        self,
        factors: int = 64,
        regularization: float = 0.003,
        unobserved_weight: float = 0.1,
        nu: float = 1.0,
        iterations: int = 16,
        cg_steps: int = 3,
        init_scale: float = 0.1,
        dtype: DTypeLike = np.float32,
        num_threads: int = 0,
        random_state: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(
            factors=factors,
            regularization=regularization,
            dtype=dtype,
            iterations=iterations,
            num_threads=num_threads,
            random_state=random_state,
        )
        self.unobserved_weight = unobserved_weight
        self.nu = nu
        self.cg_steps = cg_steps
        self.init_scale = init_scale
        self._check_parameters()

    def fit(
        self,
        user_items: csr_matrix,
        show_progress: bool = True,
        callback: Callback | None = None,
    ) -> None:
        """Learn the factors.

        Parameters
        ----------
        user_items : csr_matrix of shape (n_users, n_items)
            Weights of the observed cells, positive and finite.
        show_progress : bool
            Whether to show a bar.
        callback : callable, optional
            Called after each round with its number (from 0), its seconds, and the loss divided by
            the number of cells if the attribute ``calculate_training_loss`` is set, else None.
            The fit stops early when it returns True.

        Raises
        ------
        TypeError
            If ``user_items`` is no CSR matrix.
        ValueError
            If it holds weights that are zero, negative or not finite, is empty, or has another
            shape than the factors from an earlier fit; or if a system has no unique solution.
        """
        self._check_parameters()
        C = _checked(user_items, "user_items", self.dtype)
        self._start(C.shape)
        items, users = self._side(C.T.tocsr()), self._side(C)
        callback = callback or self.fit_callback
        # The kernels bring their own threads; a threaded BLAS below them would only get in the way.
        with (
            threadpool_limits(1, user_api="blas"),
            tqdm(total=self.iterations, disable=not show_progress) as progress,
        ):
            for iteration in range(self.iterations):
                start = time.perf_counter()
                items.improve(self.item_factors, self.user_factors)
                users.improve(self.user_factors, self.item_factors)
                self._forget_derived()
                loss = None
                if self.calculate_training_loss:
                    loss = self.loss(C)["total"] / (C.shape[0] * C.shape[1])
                    progress.set_postfix(loss=loss)
                progress.update(1)
                stop = callback and callback(iteration, time.perf_counter() - start, loss)
                if isinstance(stop, bool | np.bool_) and stop:
                    break
        self._check_fit_errors()

    def loss(self, user_items: csr_matrix) -> dict[str, float]:
        """The training loss in its parts; see :func:`ials_loss`."""
        setting = (self.regularization, self.unobserved_weight, self.nu)
        return ials_loss(user_items, self.user_factors, self.item_factors, *setting)

    def recommend(self, userid: Any, user_items: csr_matrix, *args: Any, **kwargs: Any) -> Any:
        """As in implicit; a matrix with another number of items is refused."""
        if user_items is not None:
            self._check_columns(user_items, "user_items", "item_factors")
        return super().recommend(userid, user_items, *args, **kwargs)

    def recalculate_user(self, userid: Any, user_items: csr_matrix) -> np.ndarray:
        """Exact factors of users from these items alone (fold-in); nothing is stored.

        Parameters
        ----------
        userid : int or int ndarray
            Only its length matters: users need not have been there in training.
        user_items : csr_matrix of shape (number of users, n_items)
            Their whole histories.

        Returns
        -------
        ndarray of shape (factors,) or (number of users, factors)

        Raises
        ------
        ValueError
            If the shapes do not match, or a weight is not positive.
        """
        return self._recalculate(userid, user_items, "user_items", "item_factors")

    def recalculate_item(self, itemid: Any, item_users: csr_matrix) -> np.ndarray:
        """Exact factors of items from these users alone; see :meth:`recalculate_user`."""
        return self._recalculate(itemid, item_users, "item_users", "user_factors")

    def explain(
        self,
        userid: int,
        user_items: csr_matrix,
        itemid: int,
        user_weights: Any = None,
        N: int = 10,
    ) -> tuple[float, list[tuple[int, float]], Any]:
        """How much each item of the history adds to a score.

        ``s = sum_j w_j y_i^T (unobserved_weight YtY + sum_j w_j y_j y_j^T + penalty_u I)^-1 y_j``

        Parameters
        ----------
        userid : int
        user_items : csr_matrix of shape (n_users, n_items)
        itemid : int
        user_weights : optional
            The third return value of an earlier call for the same user, to save time.
        N : int
            Number of items to return.

        Returns
        -------
        score : float
        contributions : list of (item, contribution)
            The ``N`` largest, largest first.
        user_weights

        References
        ----------
        Hu, Koren, Volinsky (2008), section 5, with the penalty of this loss.
        """
        row = _checked(user_items[userid], "user_items", self.dtype)
        self._check_columns(row, "user_items", "item_factors")
        seen, weights = self.item_factors[row.indices], row.data
        if user_weights is None:
            penalty = self._side(row).penalties[0]
            gram = self.unobserved_weight * self.YtY + (weights[:, None] * seen).T @ seen
            user_weights = cho_factor(gram + penalty * np.eye(self.factors, dtype=self.dtype))
        parts = weights * (seen @ cho_solve(user_weights, self.item_factors[itemid]))
        largest = heapq.nlargest(N, zip(parts.tolist(), row.indices.tolist(), strict=True))
        return float(parts.sum()), [(item, part) for part, item in largest], user_weights

    def save(self, fileobj_or_path: Any) -> None:
        """Write the model as ``.npz`` without pickle; ``IALS.load`` reads it."""
        names = [
            "factors", "regularization", "unobserved_weight", "nu", "iterations", "cg_steps",
            "init_scale", "num_threads", "user_factors", "item_factors",
        ]  # fmt: skip
        arrays = {name: getattr(self, name) for name in names}
        if isinstance(
            self.random_state, int | np.integer
        ):  # a generator cannot be written without pickle
            arrays["random_state"] = self.random_state
        stored = {name: value for name, value in arrays.items() if value is not None}
        np.savez(fileobj_or_path, dtype=self.dtype.name, **stored)

    def to_gpu(self) -> None:
        """Refused: implicit's GPU model has another loss."""
        raise NotImplementedError("IALS has no GPU version: implicit's minimises another loss")

    @property
    def solver(self) -> Callable[..., None]:
        """A function ``(C, X, Y, regularization, num_threads)`` that improves ``X`` in place."""

        def improve(
            C: csr_matrix, X: np.ndarray, Y: np.ndarray, *args: object, **kwargs: object
        ) -> None:
            self._side(_checked(C, "C", self.dtype)).improve(X, Y)

        return improve

    def _side(self, C: csr_matrix) -> "_Side":
        return _Side(self, C)

    def _start(self, shape: tuple[int, int]) -> None:
        random = np.random.default_rng(self.random_state)
        scale = self.init_scale / np.sqrt(self.factors)
        for name, length in zip(("user_factors", "item_factors"), shape, strict=True):
            factors, expected = getattr(self, name), (length, self.factors)
            if factors is None:
                factors = random.standard_normal(expected) * scale
            elif factors.shape != expected:
                raise ValueError(
                    f"user_items has shape {shape}, so {name} should have shape {expected}, but "
                    f"this model was fitted before and has {factors.shape}; make a new model"
                )
            setattr(self, name, np.ascontiguousarray(factors, dtype=self.dtype))
        self._forget_derived()

    def _forget_derived(self) -> None:
        self._user_norms = self._item_norms = self._YtY = self._XtX = None

    def _recalculate(self, ids: Any, C: csr_matrix, name: str, others: str) -> np.ndarray:
        C = _checked(C, name, self.dtype, allow_empty=True)
        self._check_columns(C, name, others)
        n_rows = 1 if np.isscalar(ids) else len(ids)
        if C.shape[0] != n_rows:
            raise ValueError(
                f"{name} has {C.shape[0]} rows, expected one for each of the {n_rows} ids"
            )
        factors = np.zeros((n_rows, self.factors), dtype=self.dtype)
        squares = self.YtY if others == "item_factors" else self.XtX  # implicit keeps them
        gram = np.asarray(self.unobserved_weight * squares, dtype=self.dtype)
        self._side(C).solve(factors, getattr(self, others), gram)
        return factors[0] if np.isscalar(ids) else factors

    def _check_columns(self, C: csr_matrix, name: str, others: str) -> None:
        factors = getattr(self, others)
        if factors is None:
            raise ValueError("the model is not fitted; call fit(user_items) first")
        if C.shape[1] != len(factors):
            raise ValueError(
                f"{name} has {C.shape[1]} columns, but the model was fitted for {len(factors)}; "
                f"use a matrix with the same columns as in training (is it transposed?)"
            )

    def _check_parameters(self) -> None:
        for name, least in (("factors", 1), ("iterations", 1), ("cg_steps", 0), ("num_threads", 0)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < least:
                raise ValueError(
                    f"{name} is {value!r}, expected a whole number of at least {least}"
                )
        for name in ("regularization", "nu"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise ValueError(f"{name} is {value!r}, expected a number of at least 0")
        for name in ("unobserved_weight", "init_scale"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise ValueError(f"{name} is {value!r}, expected a number above 0")
        if self.dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype is {self.dtype}, expected numpy.float32 or numpy.float64")


class _Side:
    """What stays the same in all half-steps of one side, users or items."""

    def __init__(self, model: IALS, C: csr_matrix) -> None:
        self.model, self.C = model, C
        counts = np.diff(C.indptr)
        setting = (model.regularization, model.unobserved_weight, model.nu)
        self.penalties = penalties(counts, C.shape[1], *setting).astype(model.dtype)
        self.blocks = kernels.blocks(counts)

    def improve(self, X: np.ndarray, Y: np.ndarray) -> None:
        """One half-step from ``X``, in place, with the model's solver."""
        if not self.model.cg_steps:
            self.solve(X, Y, self._gram(Y))
            return
        gram = self._gram(Y)
        C, steps = self.C, self.model.cg_steps

        def step(rows: np.ndarray) -> None:
            kernels.conjugate_gradient(
                rows, C.indptr, C.indices, C.data, self.penalties, gram, Y, X, steps
            )

        kernels.for_each(step, self.blocks, self.model.num_threads)

    def solve(self, X: np.ndarray, Y: np.ndarray, gram: np.ndarray) -> None:
        """The exact half-step, written into ``X``."""
        w, threads = self.C.data, self.model.num_threads
        _solve_exactly(self.C, w, w, self.penalties, gram, Y, X, threads, self.blocks)

    def _gram(self, Y: np.ndarray) -> np.ndarray:
        return np.asarray(self.model.unobserved_weight * (Y.T @ Y), dtype=Y.dtype)


def _solve_exactly(
    C: csr_matrix,
    extra: np.ndarray,
    pull: np.ndarray,
    penalties: np.ndarray,
    gram: np.ndarray,
    Y: np.ndarray,
    X: np.ndarray,
    num_threads: int,
    blocks: list[np.ndarray] | None = None,
) -> None:
    penalties = penalties.astype(X.dtype, copy=False)

    def solve(rows: np.ndarray) -> None:
        kernels.exact(rows, C.indptr, C.indices, extra, pull, penalties, gram, Y, X)

    try:
        kernels.for_each(solve, blocks or kernels.blocks(np.diff(C.indptr)), num_threads)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"a row has no unique solution in float{8 * X.itemsize} ({error}); "
            "raise regularization, or check that the factors it started from are finite"
        ) from error


def _checked(
    matrix: Any, name: str, dtype: np.dtype[Any], *, allow_empty: bool = False
) -> csr_matrix:
    """The matrix in the model's precision, its indexes sorted and unique, its weights positive."""
    if not isinstance(matrix, csr_matrix):
        raise TypeError(
            f"{name} is a {type(matrix).__name__}, expected a scipy.sparse.csr_matrix; "
            f"convert it with csr_matrix({name})"
        )
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    converted: csr_matrix = matrix.astype(dtype)
    bad = ~((converted.data > 0) & np.isfinite(converted.data))
    if bad.any():
        raise ValueError(
            f"{name} stores {int(bad.sum())} weights that are not positive and finite (first: "
            f"{matrix.data[bad][0]}); drop zeros with {name}.eliminate_zeros(), and net or drop "
            "negative values before"
        )
    if not matrix.nnz and not allow_empty:
        raise ValueError(f"{name} has shape {matrix.shape} and no stored cell: nothing to learn")
    return converted
