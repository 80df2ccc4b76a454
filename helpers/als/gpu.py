"""ALS on an NVIDIA GPU: IALS in JAX, and implicit's own CUDA code; ``helpers[gpu]`` has both.

Without a GPU, JAX runs the same code on the processor, several times slower than
:class:`~helpers.als.IALS` (reports/results/bench_gpu.json), so good for tests alone.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import implicit.gpu.als
import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from helpers.als.ials import IALS, no_solution

try:
    import jax
    import jax.numpy as jnp
    from jax.scipy.linalg import cho_factor, cho_solve
except ImportError as error:
    raise ImportError(
        f'JAX is missing ({error}): pip install "helpers[gpu]" for an NVIDIA GPU under Linux, '
        "or pip install jax for the processor"
    ) from error

VALUES = 2**26
"""Numbers in the largest array of a batch; some four of that size exist at once."""

SHORTEST = 8
"""Cells to which shorter rows are padded: they share one program, and cost little more."""


class JaxIALS(IALS):
    """IALS fitted with JAX: on a GPU where JAX finds one, else on the processor.

    Parameters, loss and methods are those of :class:`~helpers.als.IALS`, except that ``cg_steps``
    must be 0: each half-step is solved exactly. Factors are those of ``IALS(cg_steps=0)`` up to
    rounding.

    Raises
    ------
    ValueError
        As :class:`~helpers.als.IALS`, and when ``fit`` finds ``cg_steps`` above 0.

    Notes
    -----
    Rows are padded to a power of two of cells and solved in batches, all of one shape for each
    such power, so the first round compiles some ten programs a side and later rounds none. A batch
    of ``B`` rows with ``L`` cells takes ``B * factors * max(L, factors)`` numbers, which is
    bounded, but for one row that is larger by itself.

    ``num_threads`` and what comes after the fit (fold-in, lists, explanations) stay on the
    processor. ``load_model`` returns a saved model as :class:`~helpers.als.IALS`, which needs no
    JAX.

    Examples
    --------
    >>> user_items = csr_matrix([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> models = [cls(factors=2, cg_steps=0, random_state=0) for cls in (IALS, JaxIALS)]
    >>> for model in models:
    ...     model.fit(user_items, show_progress=False)
    >>> bool(np.allclose(models[0].user_factors, models[1].user_factors, atol=1e-4))
    True
    """

    def __init__(self, factors: int = 64, *, cg_steps: int = 0, **parameters: Any) -> None:
        super().__init__(factors, cg_steps=cg_steps, **parameters)

    def _half_step(self, C: csr_matrix, X: np.ndarray, Y: np.ndarray) -> None:
        """Overwrite ``X``; the device computes ``Y.T @ Y``, too."""
        if self.cg_steps:
            raise ValueError(
                f"cg_steps is {self.cg_steps}, but JaxIALS solves exactly: set it to 0"
            )
        X[:] = 0  # what rows without cells keep
        counts, penalties = np.diff(C.indptr), self._penalties(C)
        with jax.enable_x64(True):  # else JAX would turn float64 into float32
            indices, weights, Z = jnp.asarray(C.indices), jnp.asarray(C.data), jnp.asarray(Y)
            gram = _gram(Z, X.dtype.type(self.unobserved_weight))
            for length, rows in _batches(counts, self.factors):
                cells = C.indptr[rows], counts[rows], penalties[rows]
                X[rows] = _solve(length, *cells, indices, weights, Z, gram)
        if not np.isfinite(X).all():
            raise no_solution(self.dtype, "Cholesky decomposition failed")


def _batches(counts: np.ndarray, factors: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of about equal count: the power of two that holds all of their cells, and the rows.

    Batches with the same power have the same size: where a row is missing, one is there twice.
    """
    lengths = 2 ** np.ceil(np.log2(np.maximum(counts, SHORTEST))).astype(int)
    for length in np.unique(lengths[counts > 0]).tolist():
        rows = np.flatnonzero((lengths == length) & (counts > 0))
        n_batches = math.ceil(len(rows) / max(1, VALUES // (factors * max(length, factors))))
        size = math.ceil(len(rows) / n_batches)
        for part in np.array_split(rows, n_batches):
            yield length, np.resize(part, size)


@jax.jit
def _gram(Y: jax.Array, weight: jax.Array) -> jax.Array:
    """``weight Y^T Y``."""
    return weight * jnp.matmul(Y.T, Y, precision="highest")


@partial(jax.jit, static_argnums=0)
def _solve(
    length: int,
    starts: jax.Array,
    counts: jax.Array,
    penalties: jax.Array,
    indices: jax.Array,
    weights: jax.Array,
    Y: jax.Array,
    gram: jax.Array,
) -> jax.Array:
    """Solve for rows of at most ``length`` cells: the system of :mod:`helpers.als.kernels`."""
    places = jnp.arange(length, dtype=starts.dtype)
    real = places < counts[:, None]
    cells = jnp.where(real, starts[:, None] + places, 0)
    w = jnp.where(real, weights[cells], 0)
    y = Y[indices[cells]]
    A = gram + penalties[:, None, None] * jnp.eye(Y.shape[1], dtype=Y.dtype)
    A += jnp.einsum("blf,blg->bfg", w[..., None] * y, y, precision="highest")
    b = jnp.einsum("bl,blf->bf", w, y, precision="highest")
    return cho_solve(cho_factor(A), b[..., None])[..., 0]


class _CudaALS(implicit.gpu.als.AlternatingLeastSquares):  # type: ignore[misc]
    """implicit's GPU model with ``alpha`` applied in ``fit``, as its fold-in does."""

    def fit(self, user_items: csr_matrix, *args: Any, **kwargs: Any) -> None:
        super().fit(self.alpha * user_items, *args, **kwargs)


def implicit_als(use_gpu: bool, **parameters: Any) -> Any:
    """implicit's ALS on the processor or on an NVIDIA GPU, with the same loss on both.

    Parameters
    ----------
    use_gpu : bool
    **parameters
        Those of implicit's class.

    Returns
    -------
    implicit.cpu.als.AlternatingLeastSquares or implicit.gpu.als.AlternatingLeastSquares

    Raises
    ------
    RuntimeError
        If ``use_gpu`` is set and implicit's CUDA code does not load.

    Notes
    -----
    implicit 0.7.3 ignores ``alpha`` when it fits on a GPU; here the matrix is weighted before.

    What still differs on a GPU: three steps of conjugate gradient are the only solver (``use_cg``,
    ``use_native`` and ``num_threads`` do not exist), factors are float32 or float16, they start
    from other random numbers, and lists come from another top-N code. ``to_cpu()`` gives the model
    for everything that reads factors as NumPy arrays.

    The CUDA code needs a driver for CUDA 13 and rmm-cu13 from 26.2 to 26.4, which ``helpers[gpu]``
    brings.

    Examples
    --------
    >>> implicit_als(use_gpu=False, factors=8, alpha=40.0).alpha
    40.0
    """
    if not use_gpu:
        return AlternatingLeastSquares(**parameters)
    if not implicit.gpu.HAS_CUDA:
        raise RuntimeError(
            "use_gpu is set, but implicit's CUDA code does not load here (implicit.gpu.HAS_CUDA is "
            "False): it needs Linux, an NVIDIA driver for CUDA 13 and rmm-cu13 from 26.2 to 26.4; "
            'pip install "helpers[gpu]"'
        )
    return _CudaALS(**parameters)
