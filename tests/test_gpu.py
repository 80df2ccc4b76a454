"""JAX against the compiled kernel, on whatever device JAX finds, and implicit's repaired CUDA path.

CI has no GPU, so the one test of implicit's CUDA code skips itself there, too.
"""

import importlib
import sys
from types import SimpleNamespace

import implicit.gpu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from helpers import als
from helpers.als import IALS, gpu
from helpers.als.gpu import JaxIALS, implicit_als

N_ITEMS = 70
COUNTS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 0, 9, 9, 9, N_ITEMS, 1]
"""Cells of each user: none, the edges of the padding, several that share a batch, all items."""


def edges():
    """Users with these counts, weights that differ, and a last item that only one user has."""
    random = np.random.default_rng(0)
    dense = np.zeros((len(COUNTS), N_ITEMS))
    for row, count in zip(dense, COUNTS, strict=True):
        items = np.arange(N_ITEMS) if count == N_ITEMS else random.permutation(N_ITEMS - 1)[:count]
        row[items] = random.uniform(0.2, 5, size=count)
    return csr_matrix(dense)


def both(user_items, dtype=np.float64, **parameters):
    """The same fit by the compiled kernel and by JAX."""
    setting = {"factors": 6, "iterations": 4, "dtype": dtype, "random_state": 0} | parameters
    models = IALS(cg_steps=0, **setting), JaxIALS(**setting)
    for model in models:
        model.fit(user_items, show_progress=False)
    return models


@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_the_scores_are_those_of_the_compiled_kernel(dtype, atol):
    kernel, model = both(edges(), dtype)
    assert model.user_factors.dtype == model.item_factors.dtype == dtype
    scores = [each.user_factors @ each.item_factors.T for each in (kernel, model)]
    np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=atol)
    assert np.ptp(scores[0]) > 0.5  # else a tolerance would say nothing
    assert (model.user_factors[[0, 12]] == 0).all()


@pytest.mark.parametrize("values", [1, 6 * 8 * 3])
def test_the_size_of_the_batches_changes_nothing(monkeypatch, values):
    monkeypatch.setattr(gpu, "VALUES", values)
    kernel, model = both(edges(), iterations=1, nu=0.5, unobserved_weight=0.3)
    np.testing.assert_allclose(model.user_factors, kernel.user_factors, rtol=0, atol=1e-10)
    np.testing.assert_allclose(model.item_factors, kernel.item_factors, rtol=0, atol=1e-10)


def test_batches_hold_each_row_with_cells_in_few_shapes_of_bounded_size(monkeypatch):
    monkeypatch.setattr(gpu, "VALUES", 4 * 64 * 64)
    counts = np.random.default_rng(0).integers(0, 40, size=100)
    counts[50] = 3_000
    batches = list(gpu._batches(counts, factors=64))
    for length, rows in batches:
        assert length in (8, 16, 32, 64, 4096)
        assert ((counts[rows] <= length) & ((counts[rows] > length / 2) | (length == 8))).all()
        assert len(rows) <= 4 if length <= 64 else len(rows) == 1
    assert set(np.concatenate([rows for _, rows in batches])) == set(np.flatnonzero(counts))
    assert len({(length, len(rows)) for length, rows in batches}) == 5


def test_only_the_first_round_compiles():
    model, compiled = JaxIALS(5, iterations=3), []
    model.fit(edges(), False, lambda *_: compiled.append(gpu._solve._cache_size()))
    assert compiled[0] == compiled[1] == compiled[2] > 0


def test_jax_stays_as_it_is_for_others():
    both(edges(), iterations=1)
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1, dtype=float).dtype == np.float32


def test_what_comes_after_the_fit_is_that_of_ials(tmp_path):
    user_items = edges()
    kernel, model = both(user_items)
    users = np.arange(len(COUNTS))
    folded = model.recalculate_user(users, user_items)
    np.testing.assert_allclose(folded, model.user_factors, rtol=0, atol=1e-10)
    assert (model.recommend(5, user_items[5])[0] == kernel.recommend(5, user_items[5])[0]).all()
    als.save_model(tmp_path / "model.npz", model, {})
    loaded = als.load_model(tmp_path / "model.npz")
    assert type(loaded) is IALS
    assert (loaded.recalculate_user(users, user_items) == folded).all()


def test_a_system_without_a_unique_solution_is_said_to_be_one():
    model = JaxIALS(
        8, regularization=0.0, unobserved_weight=1e-300, dtype=np.float64, random_state=0
    )
    with pytest.raises(ValueError, match="no unique solution in float64"):
        model.fit(csr_matrix(np.eye(3)), show_progress=False)


def test_conjugate_gradient_is_refused():
    with pytest.raises(ValueError, match="cg_steps is 3, but JaxIALS solves exactly"):
        JaxIALS(2, cg_steps=3).fit(edges(), show_progress=False)


def test_without_jax_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "helpers.als.gpu")
    with pytest.raises(ImportError, match=r'JAX is missing .*pip install "helpers\[gpu\]"'):
        importlib.import_module("helpers.als.gpu")


def test_without_cuda_the_gpu_is_refused_and_the_pins_named(monkeypatch):
    monkeypatch.setattr(implicit.gpu, "HAS_CUDA", False)
    with pytest.raises(RuntimeError, match=r'rmm-cu13 from 26.2 to 26.4; pip install "helpers\[gp'):
        implicit_als(use_gpu=True)


class ExactSolver:
    """In the place of implicit's CUDA solver: what it should minimise, solved in NumPy."""

    def calculate_yty(self, Y, gram, regularization):
        self.regularization = regularization

    def least_squares(self, C, X, gram, Y, cg_steps):
        X[:] = als.solve_half_step(C, Y, self.regularization)


def test_the_gpu_weighs_the_matrix_as_the_processor_does(monkeypatch):
    """implicit's own code for the GPU runs, with only its CUDA parts replaced."""
    zeros = SimpleNamespace(zeros=lambda *shape: np.zeros(shape))
    parts = {"HAS_RMM": True, "HAS_CUDA": True, "CSRMatrix": lambda C: C, "Matrix": zeros}
    for name, part in (parts | {"LeastSquaresSolver": ExactSolver}).items():
        monkeypatch.setattr(implicit.gpu, name, part, raising=False)
    monkeypatch.setattr(implicit.gpu.als, "check_random_state", lambda seed: None)
    user_items, setting = edges(), {"factors": 3, "regularization": 0.5, "alpha": 4.0}
    models = [
        implicit_als(use_gpu=False, use_cg=False, dtype=np.float64, **setting),
        implicit_als(use_gpu=True, **setting),
        implicit.gpu.als.AlternatingLeastSquares(**setting),
    ]
    for model in models:
        random = np.random.default_rng(0)
        model.user_factors = random.random((len(COUNTS), 3))
        model.item_factors = random.random((N_ITEMS, 3))
        model.fit(user_items, show_progress=False)
    cpu, repaired, stock = (
        als.loss_parts(user_items, model.user_factors, model.item_factors, 0.5, alpha=4.0)["total"]
        for model in models
    )
    assert repaired == pytest.approx(cpu, rel=1e-6)  # implicit rounds confidences to float32
    assert stock > 1.1 * cpu  # once this fails, implicit is repaired, and would apply alpha twice


@pytest.mark.skipif(not implicit.gpu.HAS_CUDA, reason="implicit finds no GPU, as in CI")
def test_on_a_gpu_implicit_reaches_the_loss_of_the_processor():
    random = np.random.default_rng(0)
    user_items = csr_matrix(np.floor(6 * random.random((200, 100)) ** 4))
    setting = {"factors": 8, "regularization": 1.0, "alpha": 4.0, "random_state": 0}
    models = [
        implicit_als(use_gpu=False, iterations=50, use_cg=False, **setting),
        implicit_als(use_gpu=True, iterations=100, **setting),
    ]
    for model in models:
        model.fit(user_items, show_progress=False)
    models[1] = models[1].to_cpu()
    losses = [
        als.loss_parts(user_items, model.user_factors, model.item_factors, 1.0, 4.0)["total"]
        for model in models
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
