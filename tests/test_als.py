"""The reference against dense algebra, and implicit against the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix, random_array

from helpers import als


def sparse(seed, shape=(30, 20), density=0.2):
    """Strengths of 1 to 5 in random cells."""
    rng = np.random.default_rng(seed)
    matrix = csr_matrix(random_array(shape, density=density, rng=rng))
    matrix.data = rng.integers(1, 6, size=matrix.nnz).astype(float)
    return matrix


def dense_terms(matrix, alpha):
    """Confidence and preference of every cell, written out."""
    dense = matrix.toarray()
    return np.where(dense > 0, alpha * dense, 1.0), (dense > 0).astype(float)


settings = {
    "seed": st.integers(0, 99),
    "factors": st.integers(1, 6),
    "lam": st.floats(0.01, 10),
    "alpha": st.floats(0.1, 40),
}


@given(**settings)
def test_the_loss_equals_the_sum_over_all_cells(seed, factors, lam, alpha):
    matrix, rng = sparse(seed), np.random.default_rng(seed)
    X, Y = rng.normal(size=(30, factors)), rng.normal(size=(20, factors))
    C, P = dense_terms(matrix, alpha)
    squares = C * (P - X @ Y.T) ** 2
    parts = als.loss_parts(matrix, X, Y, lam, alpha)
    np.testing.assert_allclose(parts["observed"], squares[P > 0].sum(), rtol=1e-10)
    np.testing.assert_allclose(parts["unobserved"], squares[P == 0].sum(), rtol=1e-9)
    np.testing.assert_allclose(parts["penalty"], lam * ((X**2).sum() + (Y**2).sum()), rtol=1e-10)
    assert parts["total"] == parts["observed"] + parts["unobserved"] + parts["penalty"]


@given(**settings)
def test_a_half_step_solves_the_dense_normal_equations(seed, factors, lam, alpha):
    matrix = sparse(seed)
    Y = np.random.default_rng(seed).normal(size=(20, factors))
    C, P = dense_terms(matrix, alpha)
    X = als.solve_half_step(matrix, Y, lam, alpha)
    for u in range(30):
        A = Y.T @ np.diag(C[u]) @ Y + lam * np.eye(factors)
        expected = np.linalg.solve(A, Y.T @ np.diag(C[u]) @ P[u])
        np.testing.assert_allclose(X[u], expected, atol=1e-10)


@given(**settings)
def test_no_half_step_raises_the_loss(seed, factors, lam, alpha):
    matrix, rng = sparse(seed), np.random.default_rng(seed)
    X, Y = rng.normal(size=(30, factors)), rng.normal(size=(20, factors))
    losses = [als.loss_parts(matrix, X, Y, lam, alpha)["total"]]
    for _ in range(3):
        X = als.solve_half_step(matrix, Y, lam, alpha)
        losses.append(als.loss_parts(matrix, X, Y, lam, alpha)["total"])
        Y = als.solve_half_step(matrix.T.tocsr(), X, lam, alpha)
        losses.append(als.loss_parts(matrix, X, Y, lam, alpha)["total"])
    assert (np.diff(losses) <= 1e-9 * np.abs(losses[:-1])).all()


@given(**settings)
def test_implicit_with_its_exact_solver_equals_the_reference(seed, factors, lam, alpha):
    matrix = sparse(seed)
    matrix.data *= 1.1  # a fraction, which float32 cannot hold
    model = AlternatingLeastSquares(
        factors=factors, regularization=lam, alpha=alpha, iterations=5, use_cg=False,
        dtype=np.float64, random_state=seed,
    )  # fmt: skip
    model.fit(matrix, show_progress=False)
    X, Y = als.reference_als(matrix, factors, lam, alpha, iterations=5, seed=seed)
    scores = model.user_factors @ model.item_factors.T
    np.testing.assert_allclose(scores, X @ Y.T, atol=1e-8)


def test_the_reference_does_not_depend_on_the_order_of_users():
    matrix, turned = sparse(1), np.random.default_rng(0).permutation(30)
    Y = np.random.default_rng(1).normal(size=(20, 4))
    X = als.solve_half_step(matrix, Y, 0.1)
    np.testing.assert_allclose(als.solve_half_step(matrix[turned], Y, 0.1), X[turned], atol=1e-12)


def test_a_user_without_history_gets_zeros():
    matrix = csr_matrix([[0.0, 0.0], [1.0, 0.0]])
    X = als.solve_half_step(matrix, np.ones((2, 3)), 0.1)
    assert (X[0] == 0).all()


def test_the_loss_is_what_implicit_reports():
    matrix, alpha, reported = sparse(3), 2.0, []
    model = AlternatingLeastSquares(
        factors=4, alpha=alpha, iterations=6, dtype=np.float64, random_state=0,
        calculate_training_loss=True,
    )  # fmt: skip
    model.fit(matrix, show_progress=False, callback=lambda i, s, loss: reported.append(loss))
    parts = als.loss_parts(matrix, model.user_factors, model.item_factors, 0.01, alpha)
    weight = alpha * matrix.data.sum() + matrix.shape[0] * matrix.shape[1] - matrix.nnz
    assert parts["total"] / weight == pytest.approx(reported[-1], rel=1e-6)


def test_a_saved_model_recommends_the_same(tmp_path):
    matrix = sparse(5)
    model = AlternatingLeastSquares(
        factors=4, regularization=0.3, alpha=7.0, dtype=np.float64, random_state=9
    )
    model.fit(matrix, show_progress=False)
    als.save_model(tmp_path / "als.npz", model, {"dataset": "test"})
    loaded = als.load_model(tmp_path / "als.npz", {"dataset": "test"})
    for ours, stock in zip(
        loaded.recommend(range(30), matrix, N=5), model.recommend(range(30), matrix, N=5),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(ours, stock)
    assert (loaded.regularization, loaded.alpha, loaded.dtype) == (0.3, 7.0, np.float64)
    assert not hasattr(loaded, "manifest")
    # What implicit itself offers reads the file, too.
    np.testing.assert_array_equal(
        AlternatingLeastSquares.load(str(tmp_path / "als.npz")).item_factors, model.item_factors
    )
    # No pickle inside: the arrays can be read with pickles forbidden.
    with np.load(tmp_path / "als.npz", allow_pickle=False) as stored:
        assert all(not stored[name].dtype.hasobject for name in stored.files)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        als.save_model(tmp_path / "als.npz", AlternatingLeastSquares(), {})
    assert not list(tmp_path.iterdir())
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="damaged"):
        als.load_model(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", manifest=np.array("{}"))
    with pytest.raises(ValueError, match="holds no model"):
        als.load_model(tmp_path / "other.npz")


def test_a_model_of_another_run_is_refused(tmp_path):
    model = AlternatingLeastSquares(factors=2, iterations=1, random_state=0)
    model.fit(sparse(0), show_progress=False)
    als.save_model(tmp_path / "als.npz", model, {"dataset": "test", "factors": 2})
    with pytest.raises(ValueError, match=r"was made with factors=2, but this run has factors=3"):
        als.load_model(tmp_path / "als.npz", {"factors": 3})
