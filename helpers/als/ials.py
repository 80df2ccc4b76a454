"""ALS with the loss of Rendle et al. (2022), and implicit's own ALS solved exactly and fast.

S. Rendle, W. Krichene, L. Zhang, Y. Koren (2022), "Revisiting the Performance of iALS on Item
Recommendation Benchmarks", RecSys; equations there in the notation of this package: rows of ``X``
are user factors, rows of ``Y`` item factors, ``s = x_u . y_i``.
"""

import heapq
import io
import time
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
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
from helpers.io import read_arrays, write_arrays

TINY = float(np.nextafter(0, 1))
LEAST: dict[str, int | float] = {
    "factors": 1, "iterations": 1, "cg_steps": 0, "num_threads": 0,
    "regularization": 0.0, "nu": 0.0, "alpha": TINY, "unobserved_weight": TINY, "init_scale": TINY,
}  # fmt: skip
"""What each parameter must be at least; the first four are whole numbers."""


def penalties(
    counts: np.ndarray, n_others: int, regularization: float, unobserved_weight: float, nu: float
) -> np.ndarray:
    """What the squared length of each row's factors costs; ``counts`` are their observed cells.

    ``penalty_u = regularization * (n_u + unobserved_weight * n_others)^nu``, "frequency-scaled
    regularization" in section 3 of the paper; ``n_others`` is the number of rows of the other side.

    Examples
    --------
    >>> penalties(np.array([2, 0]), n_others=10, regularization=0.5, unobserved_weight=0.1, nu=1.0)
    array([1.5, 0.5])
    """
    scaled = (counts + unobserved_weight * n_others) ** nu
    return np.asarray(regularization * scaled, dtype=np.float64)


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
        See :class:`IALS`.

    Returns
    -------
    dict
        ``observed``, ``all`` (all cells, the observed ones too), ``penalty``, ``total``.

    Examples
    --------
    >>> X, Y = np.array([[1.0]]), np.array([[0.5], [2.0]])
    >>> ials_loss(csr_matrix([[4.0, 0.0]]), X, Y, regularization=0.1, unobserved_weight=0.5)
    {'observed': 1.0, 'all': 2.125, 'penalty': 0.4375, 'total': 3.5625}
    """
    n_users, n_items = user_items.shape
    observed = float(user_items.data @ (1 - observed_scores(user_items, X, Y)) ** 2)
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
    time, and unlike those of the default solver they do not depend on the processor. Parameters
    that are out of range raise a ValueError.

    Examples
    --------
    >>> model = ExactALS(factors=1, regularization=0.5, dtype=np.float64, random_state=0)
    >>> model.fit(csr_matrix([[1.0, 0.0], [1.0, 1.0]]), show_progress=False)
    >>> model.user_factors.shape
    (2, 1)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _check_parameters(self)

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """As in implicit, once the parameters are checked: they can be set after the start."""
        _check_parameters(self)
        super().fit(*args, **kwargs)

    @property
    def solver(self) -> Callable[..., None]:
        """A function ``(C, X, Y, regularization, num_threads)`` that overwrites ``X``."""
        return _stock_half_step


def _stock_half_step(
    C: csr_matrix,
    X: np.ndarray,
    Y: np.ndarray,
    regularization: float | np.ndarray,
    num_threads: int = 0,
) -> None:
    """One half-step of implicit's loss; the regularization may differ between the rows."""
    confidence = C.data.astype(X.dtype)
    # As in implicit, a negative confidence is a preference of 0 held with weight |c|.
    weights, targets = np.abs(confidence) - 1, np.maximum(confidence, 0)
    penalty = np.full(len(X), regularization, dtype=X.dtype)
    _solve_exactly(C, weights, targets, penalty, Y.T @ Y, Y, X, num_threads)


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
        _check_parameters(self)

    def fit(
        self,
        user_items: csr_matrix,
        show_progress: bool = True,
        callback: Callable[[int, float, None], object] | None = None,
    ) -> None:
        """Learn the factors.

        Parameters
        ----------
        user_items : csr_matrix of shape (n_users, n_items)
            Weights of the observed cells, positive and finite.
        show_progress : bool
            Whether to show a bar.
        callback : callable, optional
            Called after each round with its number (from 0), its seconds, and None where implicit
            gives the loss (see :meth:`loss`). The fit stops early when it returns True.

        Raises
        ------
        TypeError
            If ``user_items`` is no CSR matrix.
        ValueError
            If it holds weights that are zero, negative or not finite, is empty, or has another
            shape than the factors from an earlier fit; or if a system has no unique solution.
        """
        _check_parameters(self)
        C = _checked(user_items, "user_items", self.dtype)
        if not C.nnz:
            raise ValueError(f"user_items has shape {C.shape} and no stored cell: nothing to learn")
        transposed = C.T.tocsr()
        self._start(C.shape)
        # The kernels bring their own threads; a threaded BLAS below them would only get in the way.
        with (
            threadpool_limits(1, user_api="blas"),
            tqdm(total=self.iterations, disable=not show_progress) as progress,
        ):
            for iteration in range(self.iterations):
                start = time.perf_counter()
                X, Y = self.user_factors, self.item_factors
                self._half_step(transposed, Y, X, X.T @ X, self.cg_steps)
                self._half_step(C, X, Y, Y.T @ Y, self.cg_steps)
                self._forget_derived()
                progress.update(1)
                stop = callback and callback(iteration, time.perf_counter() - start, None)
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
            _check_columns(user_items, "user_items", self.item_factors)
        return super().recommend(userid, user_items, *args, **kwargs)

    def recalculate_user(self, userid: Any, user_items: csr_matrix) -> np.ndarray:
        """Exact factors of users from these whole histories alone (fold-in); nothing is stored.

        Of ``userid`` only the length matters: users need not have been there in training.
        """
        _check_columns(user_items, "user_items", self.item_factors)
        return self._recalculate(userid, user_items, "user_items", self.item_factors, self.YtY)

    def recalculate_item(self, itemid: Any, item_users: csr_matrix) -> np.ndarray:
        """Exact factors of items from these users alone; see :meth:`recalculate_user`."""
        _check_columns(item_users, "item_users", self.user_factors)
        return self._recalculate(itemid, item_users, "item_users", self.user_factors, self.XtX)

    def explain(
        self,
        userid: int,
        user_items: csr_matrix,
        itemid: int,
        user_weights: Any = None,
        N: int = 10,
    ) -> tuple[float, list[tuple[int, float]], Any]:
        """How much each item of the history adds to a score.

        ``s = sum_j w_j y_i^T (unobserved_weight YtY + sum_j w_j y_j y_j^T + penalty_u I)^-1 y_j``:
        Hu, Koren, Volinsky (2008), section 5, with the penalty of this loss.

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
        """
        row = _checked(user_items[userid], "user_items", self.dtype)
        _check_columns(row, "user_items", self.item_factors)
        known, weights = self.item_factors[row.indices], row.data
        if user_weights is None:
            gram = self.unobserved_weight * self.YtY + (weights[:, None] * known).T @ known
            penalty = self._penalties(row) * np.eye(self.factors, dtype=self.dtype)
            user_weights = cho_factor(gram + penalty)
        parts = weights * (known @ cho_solve(user_weights, self.item_factors[itemid]))
        largest = heapq.nlargest(N, zip(parts.tolist(), row.indices.tolist(), strict=True))
        return float(parts.sum()), [(item, part) for part, item in largest], user_weights

    def save(self, fileobj_or_path: Any) -> None:
        """Write the model as ``.npz`` without pickle; ``IALS.load`` reads it."""
        names = [
            "factors", "regularization", "unobserved_weight", "nu", "iterations", "cg_steps",
            "init_scale", "num_threads", "user_factors", "item_factors",
        ]  # fmt: skip
        if isinstance(self.random_state, Integral):  # a generator would need a pickle
            names.append("random_state")
        stored = {name: getattr(self, name) for name in names}
        np.savez(fileobj_or_path, dtype=self.dtype.name, **stored)

    def to_gpu(self) -> None:
        """Refused: implicit's GPU model has another loss."""
        raise NotImplementedError("IALS has no GPU version: implicit's minimises another loss")

    def _start(self, shape: tuple[int, int]) -> None:
        """Random factors, or those of an earlier fit if they have the right shape."""
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

    def _forget_derived(self) -> None:
        """Drop what implicit's class derives from the factors and keeps."""
        self._user_norms = self._item_norms = self._YtY = self._XtX = None

    def _penalties(self, C: csr_matrix) -> np.ndarray:
        """The penalty of each row, in the model's precision."""
        setting = (self.regularization, self.unobserved_weight, self.nu)
        return penalties(np.diff(C.indptr), C.shape[1], *setting).astype(self.dtype)

    def _half_step(
        self, C: csr_matrix, X: np.ndarray, Y: np.ndarray, squares: np.ndarray, cg_steps: int
    ) -> None:
        """Improve ``X`` in place; ``squares`` is ``Y.T @ Y``."""
        penalty, threads = self._penalties(C), self.num_threads
        gram = np.asarray(self.unobserved_weight * squares, dtype=self.dtype)
        if not cg_steps:
            _solve_exactly(C, C.data, C.data, penalty, gram, Y, X, threads)
            return
        eigenvalues, Q = (part.astype(self.dtype) for part in np.linalg.eigh(gram.astype(float)))
        eigenvalues, Q = np.maximum(eigenvalues, 0), np.ascontiguousarray(Q)
        rotated = np.empty_like(Y)

        def rotate(start: int, stop: int) -> None:
            np.matmul(Y[start:stop], Q, out=rotated[start:stop])

        def improve(start: int, stop: int) -> None:
            matrix = (C.indptr, C.indices, C.data)
            system = (penalty, eigenvalues, Q, rotated, X, cg_steps)
            kernels.conjugate_gradient(start, stop, *matrix, *system)

        kernels.for_each(rotate, kernels.blocks(np.arange(len(Y) + 1)), threads)
        kernels.for_each(improve, kernels.blocks(C.indptr), threads)

    def _recalculate(
        self, ids: Any, C: csr_matrix, name: str, Y: np.ndarray, squares: np.ndarray
    ) -> np.ndarray:
        """Solve for one row or for several."""
        n_rows = 1 if np.isscalar(ids) else len(ids)
        if C.shape[0] != n_rows:
            raise ValueError(
                f"{name} has {C.shape[0]} rows, expected one for each of the {n_rows} ids"
            )
        factors = np.zeros((n_rows, self.factors), dtype=self.dtype)
        self._half_step(_checked(C, name, self.dtype), factors, Y, squares, cg_steps=0)
        return factors[0] if np.isscalar(ids) else factors


def _solve_exactly(
    C: csr_matrix,
    weights: np.ndarray,
    targets: np.ndarray,
    penalty: np.ndarray,
    gram: np.ndarray,
    Y: np.ndarray,
    X: np.ndarray,
    num_threads: int,
) -> None:
    """Overwrite ``X`` with the solutions; a system without one is a ValueError."""

    def solve(start: int, stop: int) -> None:
        matrix = (C.indptr, C.indices, weights, targets)
        kernels.exact(start, stop, *matrix, penalty, gram, Y, X)

    try:
        kernels.for_each(solve, kernels.blocks(C.indptr), num_threads)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"a row has no unique solution in float{8 * X.itemsize} ({error}); "
            "raise regularization, or check that the factors it started from are finite"
        ) from error


def _check_parameters(model: AlternatingLeastSquares) -> None:
    """Refuse a parameter that is out of range; a model has only some of them."""
    for name, least in LEAST.items():
        value: Any = getattr(model, name, least)
        kind: Any = Integral if isinstance(least, int) else Real
        if not isinstance(value, kind) or not least <= value < np.inf:
            what = "a whole number" if kind is Integral else "a number"
            bound = "above 0" if least == TINY else f"of at least {least:g}"
            raise ValueError(f"{name} is {value!r}, expected {what} {bound}")
    if model.dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype is {model.dtype}, expected numpy.float32 or numpy.float64")


def _check_columns(C: csr_matrix, name: str, others: np.ndarray | None) -> None:
    """Refuse a matrix whose columns are not those of the training."""
    if others is None:
        raise ValueError("the model is not fitted; call fit(user_items) first")
    if C.shape[1] != len(others):
        raise ValueError(
            f"{name} has {C.shape[1]} columns, but the model was fitted for {len(others)}; "
            f"use a matrix with the same columns as in training (is it transposed?)"
        )


def _checked(matrix: Any, name: str, dtype: np.dtype[Any]) -> csr_matrix:
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
    return converted


def save_model(path: str | Path, model: Any, manifest: Mapping[str, Any]) -> None:
    """Write a fitted model as ``.npz`` without pickle, whole or not at all.

    Parameters
    ----------
    path : path ending in ``.npz``
    model : implicit model with factors
        The file holds what its own ``save`` writes, so implicit's ``load`` reads it, too.
    manifest : mapping
        Data checksum and parameters that the model comes from.
    """
    if model.user_factors is None:
        raise ValueError("model is not fitted, there is nothing to save; call fit first")
    buffer = io.BytesIO()
    model.save(buffer)
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as stored:
        arrays = dict(stored)
    write_arrays(Path(path), arrays, {**manifest, "model": type(model).__name__})


def load_model(
    path: str | Path, expect: Mapping[str, Any] | None = None
) -> AlternatingLeastSquares:
    """Read a model that :func:`save_model` wrote, as the class that was saved.

    A ValueError says that the file is damaged or holds no model, or that its manifest differs from
    ``expect``.
    """
    arrays, manifest = read_arrays(Path(path), expect)
    if not {"user_factors", "item_factors"} <= set(arrays):
        raise ValueError(f"{path} holds no model: it lacks user_factors or item_factors")
    ours = {"IALS": IALS, "ExactALS": ExactALS}
    model = ours.get(manifest.get("model", ""), AlternatingLeastSquares).load(str(path))
    del model.manifest  # implicit makes an attribute of every array in the file
    return model
