"""ALS with the loss of Rendle et al. (2022), and implicit's own ALS solved exactly and fast.

Rows of ``X`` are user factors, rows of ``Y`` item factors, and ``s = x_u . y_i`` is a score.
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
from helpers.io import read_arrays, write_arrays

TINY = float(np.nextafter(0, 1))
LEAST: dict[str, int | float] = {
    "factors": 1, "iterations": 1, "cg_steps": 0, "num_threads": 0,
    "regularization": 0.0, "nu": 0.0, "alpha": TINY, "unobserved_weight": TINY, "init_scale": TINY,
}  # fmt: skip
"""What each parameter must be at least; the first four are whole numbers."""

SMALL = 1e-20  # what a weight of 0 becomes where its inverse is needed; far below rounding


class ExactALS(AlternatingLeastSquares):  # type: ignore[misc]
    """implicit's ALS, each half-step solved exactly by the compiled kernel.

    Parameters (but for ``use_cg`` and ``use_native``, without effect), loss and methods are
    implicit's. The factors are those of ``use_cg=False`` up to rounding, in a fraction of its time,
    and unlike those of the default solver they do not depend on the processor. A row with fewer
    cells than factors costs no more than its cells (:func:`helpers.als.kernels.exact_short`).

    Examples
    --------
    >>> model = ExactALS(factors=1, regularization=0.5, dtype=np.float64, random_state=0)
    >>> model.fit(csr_matrix([[1.0, 0.0], [1.0, 1.0]]), show_progress=False)
    >>> model.user_factors.shape
    (2, 1)
    """

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """As in implicit, once the parameters are checked."""
        _check_parameters(self)
        super().fit(*args, **kwargs)

    def solver(
        self, C: csr_matrix, X: np.ndarray, Y: np.ndarray, regularization: Any, num_threads: int
    ) -> None:
        """What implicit's ``fit`` calls to overwrite ``X``; rows may differ in regularization."""
        confidence = C.data.astype(X.dtype)
        # As in implicit, a negative confidence is a preference of 0 held with weight |c|.
        weights, targets = np.abs(confidence) - 1, np.maximum(confidence, 0)
        penalty = np.full(len(X), regularization, dtype=X.dtype)
        solve_exactly(C, num_threads, weights, targets, penalty, Y.T @ Y, Y, X)


class IALS(AlternatingLeastSquares):  # type: ignore[misc]
    """Implicit ALS with a weight for all cells and penalties that grow with the counts.

    ``sum_observed w (1 - s)^2 + unobserved_weight * sum_all s^2
    + regularization * (sum_u (n_u + unobserved_weight n_items)^nu |x_u|^2
    + sum_i (n_i + unobserved_weight n_users)^nu |y_i|^2)``

    Parameters
    ----------
    factors : int, at least 1
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

    Notes
    -----
    All methods of implicit's class work; ``recalculate_user`` and what builds on it solve exactly.
    Each round ends with the users, so with ``cg_steps=0`` a fold-in gives the stored factors of a
    user. As in implicit, a second ``fit`` goes on from the factors of the first.

    For binary data and ``nu = 0`` the minimum is, up to the scale of the scores, that of implicit
    with ``alpha = 1 + 1 / unobserved_weight`` and
    ``regularization * (1 + 1 / unobserved_weight)``; other exponents cannot be expressed there.

    References
    ----------
    Rendle, Krichene, Zhang, Koren (2022), "Revisiting the Performance of iALS on Item
    Recommendation Benchmarks", RecSys; the penalty is the "frequency-scaled regularization" of
    section 3.

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
        callback : callable, optional
            Called after each round with its number (from 0), its seconds, and None where implicit
            gives the loss.

        Raises
        ------
        TypeError, ValueError
            If ``user_items`` is no CSR matrix, holds weights that are not positive and finite, is
            empty, or has another shape than the factors from an earlier fit; if a parameter is out
            of range; or if a system has no unique solution.
        """
        _check_parameters(self)
        C = _checked(user_items, "user_items", self.dtype)
        if not C.nnz:
            raise ValueError(f"user_items has shape {C.shape} and no stored cell: nothing to learn")
        transposed = C.T.tocsr()
        self._start(C.shape)
        # The kernels bring their own threads; a threaded BLAS below them would only get in the way.
        with threadpool_limits(1, user_api="blas"):
            for iteration in tqdm(range(self.iterations), disable=not show_progress):
                start = time.perf_counter()
                X, Y = self.user_factors, self.item_factors
                self._half_step(transposed, Y, X)
                self._half_step(C, X, Y)
                # What implicit derives from the factors and keeps.
                self._user_norms = self._item_norms = self._YtY = self._XtX = None
                if callback is not None:
                    callback(iteration, time.perf_counter() - start, None)
        self._check_fit_errors()

    def recommend(self, userid: Any, user_items: csr_matrix, *args: Any, **kwargs: Any) -> Any:
        """As in implicit; a matrix of another shape is refused."""
        if user_items is not None:
            self._check_shape(user_items, "user_items", userid, self.item_factors)
        return super().recommend(userid, user_items, *args, **kwargs)

    def recalculate_user(self, userid: Any, user_items: csr_matrix) -> np.ndarray:
        """Exact factors from these histories (fold-in) of users who may be new; nothing is stored.

        Of ``userid`` only the length matters.
        """
        return self._fold_in(userid, user_items, "user_items", self.item_factors)

    def recalculate_item(self, itemid: Any, item_users: csr_matrix) -> np.ndarray:
        """Exact factors of items from these users alone; see :meth:`recalculate_user`."""
        return self._fold_in(itemid, item_users, "item_users", self.user_factors)

    def explain(
        self,
        userid: int,
        user_items: csr_matrix,
        itemid: int,
        user_weights: Any = None,
        N: int = 10,
    ) -> tuple[float, list[tuple[int, float]], Any]:
        """A score, and the ``N`` items of the history that add most to it, with what each adds.

        ``s = sum_j w_j y_i^T (unobserved_weight YtY + sum_j w_j y_j y_j^T + penalty_u I)^-1 y_j``:
        Hu, Koren, Volinsky (2008), section 5, with the penalty of this loss. The third return
        value, given as ``user_weights``, saves time in another call for the same user.
        """
        row = _checked(user_items[userid], "user_items", self.dtype)
        self._check_shape(row, "user_items", userid, self.item_factors)
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
        names = [name for name in LEAST if name != "alpha"] + ["user_factors", "item_factors"]
        if isinstance(self.random_state, Integral):  # a generator would need a pickle
            names.append("random_state")
        stored = {name: getattr(self, name) for name in names}
        np.savez(fileobj_or_path, dtype=self.dtype.name, **stored)

    def to_gpu(self) -> None:
        """Refused: implicit's GPU model has another loss."""
        raise NotImplementedError(
            "implicit's GPU model minimises another loss; fit a helpers.als.gpu.JaxIALS instead"
        )

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

    def _penalties(self, C: csr_matrix) -> np.ndarray:
        """The penalty of each row, in the model's precision."""
        counts = np.diff(C.indptr) + self.unobserved_weight * C.shape[1]
        return np.asarray(self.regularization * counts**self.nu, dtype=self.dtype)

    def _half_step(self, C: csr_matrix, X: np.ndarray, Y: np.ndarray) -> None:
        """Improve ``X`` in place."""
        penalty, threads = self._penalties(C), self.num_threads
        gram = np.asarray(self.unobserved_weight * (Y.T @ Y), dtype=self.dtype)
        if not self.cg_steps:
            solve_exactly(C, threads, C.data, C.data, penalty, gram, Y, X)
            return
        basis = _eigenbasis(gram, Y, threads)
        system = (C.indptr, C.indices, C.data, penalty, *basis, X, self.cg_steps)
        kernels.for_blocks(kernels.conjugate_gradient, C.indptr, threads, *system)

    def _check_shape(self, C: csr_matrix, name: str, ids: Any, others: np.ndarray | None) -> None:
        """Refuse a matrix without one row for each id and the columns of the training."""
        if others is None:
            raise ValueError("the model is not fitted; call fit(user_items) first")
        expected = (1 if np.isscalar(ids) else len(ids), len(others))
        if C.shape != expected:
            raise ValueError(
                f"{name} has shape {C.shape}, expected {expected}: one row for each id and the "
                "columns of the training (is it transposed?)"
            )

    def _fold_in(self, ids: Any, matrix: csr_matrix, name: str, Y: np.ndarray) -> np.ndarray:
        """Solve for one row or for several, on the processor whatever fitted the model."""
        self._check_shape(matrix, name, ids, Y)
        C = _checked(matrix, name, self.dtype)
        squares = self.YtY if name == "user_items" else self.XtX
        gram = np.asarray(self.unobserved_weight * squares, dtype=self.dtype)
        X = np.zeros((C.shape[0], self.factors), dtype=self.dtype)
        solve_exactly(C, self.num_threads, C.data, C.data, self._penalties(C), gram, Y, X)
        return X[0] if np.isscalar(ids) else X


def _eigenbasis(
    gram: np.ndarray, Y: np.ndarray, num_threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors of the Gram matrix, and ``Y`` in that basis."""
    eigenvalues, Q = (part.astype(Y.dtype) for part in np.linalg.eigh(gram.astype(np.float64)))
    Q, rotated = np.ascontiguousarray(Q), np.empty_like(Y)

    def rotate(start: int, stop: int) -> None:
        np.matmul(Y[start:stop], Q, out=rotated[start:stop])

    kernels.for_blocks(rotate, np.arange(len(Y) + 1), num_threads)
    return np.maximum(eigenvalues, 0), Q, rotated


def solve_exactly(
    C: csr_matrix, num_threads: int, weights: np.ndarray, targets: np.ndarray,
    penalties: np.ndarray, gram: np.ndarray, Y: np.ndarray, X: np.ndarray,
) -> None:  # fmt: skip
    """Overwrite ``X``: short rows in the number of their cells, where that is safe and pays."""
    cells = (C.indptr, num_threads, C.indptr, C.indices)
    factors, longest = Y.shape[1], 0
    X[:] = 0  # a row without cells stays so
    try:
        if np.sum(np.diff(C.indptr) <= factors) > factors and np.all(weights >= 0):
            eigenvalues, Q, rotated = _eigenbasis(gram, Y, num_threads)
            smallest, largest = eigenvalues[0] + penalties.min(), eigenvalues[-1]
            if smallest > 100 * np.finfo(X.dtype).eps * largest:
                longest = factors
                short = (np.maximum(weights, SMALL), targets, penalties, eigenvalues, Q, rotated)
                kernels.for_blocks(kernels.exact_short, *cells, *short, X)
        long = (weights, targets, penalties, gram, Y)
        kernels.for_blocks(kernels.exact, *cells, *long, X, longest)
    except np.linalg.LinAlgError as error:
        raise no_solution(X.dtype, error) from error


def no_solution(dtype: np.dtype[Any], reason: object) -> ValueError:
    """The error of a half-step that meets a singular system."""
    return ValueError(
        f"a row has no unique solution in {dtype} ({reason}); "
        "raise regularization, or check that the factors it started from are finite"
    )


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
            f"{matrix.data[bad][0]}); drop zeros with {name}.eliminate_zeros(), net negatives"
        )
    return converted


def save_model(path: str | Path, model: Any, manifest: Mapping[str, Any]) -> None:
    """Write a fitted implicit model as ``.npz`` without pickle, whole or not at all.

    The ``manifest`` is the data checksum and the parameters that the model comes from. implicit's
    ``load`` reads the file, too.
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
    ours = {"IALS": IALS, "JaxIALS": IALS, "ExactALS": ExactALS}  # what JAX fitted needs no JAX
    model = ours.get(manifest.get("model", ""), AlternatingLeastSquares).load(str(path))
    del model.manifest  # implicit makes an attribute of every array in the file
    return model
