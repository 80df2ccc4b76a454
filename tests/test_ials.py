"""IALS against dense algebra, stock implicit, irspack, and its own promises."""

import re
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from irspack.recommenders.ials import IALSTrainer, LossType, SolverType
from scipy.sparse import csr_matrix, random_array

from helpers import als, metrics, recommend
from helpers.als import IALS, ExactALS, ials, kernels

EXACT = {"cg_steps": 0, "dtype": np.float64, "random_state": 0}


def made_up(n_users=30, n_items=20, density=0.2, seed=0, weighted=True):
    """A random matrix in which the last user and the last item have nothing."""
    random = np.random.default_rng(seed)
    matrix = csr_matrix(random_array((n_users, n_items), density=density, rng=random))
    matrix.data = random.integers(1, 6, size=matrix.nnz).astype(float) if weighted else (
        np.ones(matrix.nnz)
    )  # fmt: skip
    dense = matrix.toarray()
    dense[-1], dense[:, -1] = 0, 0
    return csr_matrix(dense)


def two_tastes(n_users=400, n_items=120, seed=0):
    """Two groups of users, each with a half of the catalogue that it prefers."""
    random = np.random.default_rng(seed)
    group = np.arange(n_users) % 2
    shown = random.random((n_users, n_items)) < 0.05
    liked = (np.arange(n_items) % 2 == group[:, None]) & (random.random(shown.shape) < 0.25)
    return csr_matrix((shown | liked).astype(float))


def dense_half_step(W, Y, penalties, unobserved_weight):
    """The normal equations of each row over all cells, with nothing saved or shared."""
    X = np.zeros((len(W), Y.shape[1]))
    for u, w in enumerate(W):
        A = Y.T @ np.diag(w + unobserved_weight) @ Y + penalties[u] * np.eye(Y.shape[1])
        X[u] = np.linalg.inv(A) @ Y.T @ w
    return X


def dense_loss(model, user_items):
    """The loss as the class documents it, summed over all cells."""
    W, X, Y = user_items.toarray(), model.user_factors, model.item_factors
    a0, nu, S = model.unobserved_weight, model.nu, X @ Y.T
    of_users = ((W > 0).sum(axis=1) + a0 * W.shape[1]) ** nu
    of_items = ((W > 0).sum(axis=0) + a0 * W.shape[0]) ** nu
    penalty = of_users @ (X**2).sum(axis=1) + of_items @ (Y**2).sum(axis=1)
    return (W * (1 - S) ** 2).sum() + a0 * (S**2).sum() + model.regularization * penalty


@pytest.mark.parametrize("nu", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("factors", [1, 7, 32])
def test_an_exact_half_step_solves_the_dense_normal_equations(nu, factors):
    user_items = made_up()
    W = user_items.toarray()
    model = IALS(factors, 0.02, 0.3, nu, iterations=1, **EXACT)
    model.fit(user_items, show_progress=False)
    X, Y = model.user_factors, model.item_factors
    penalties = 0.02 * ((W > 0).sum(axis=1) + 0.3 * W.shape[1]) ** nu
    assert pytest.approx(dense_half_step(W, Y, penalties, 0.3), abs=1e-10) == X
    start = IALS(factors, 0.02, 0.3, nu, iterations=1, **EXACT)
    start._start(user_items.shape)
    penalties = 0.02 * ((W > 0).sum(axis=0) + 0.3 * W.shape[0]) ** nu
    assert pytest.approx(dense_half_step(W.T, start.user_factors, penalties, 0.3), abs=1e-10) == Y


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    weight=st.floats(0.01, 2),
    regularization=st.floats(1e-4, 1),
    nu=st.floats(0, 1.5),
)
def test_the_loss_never_rises(seed, weight, regularization, nu):
    user_items = made_up(seed=seed)
    model = IALS(4, regularization, weight, nu, iterations=8, **EXACT)
    losses = []

    def record(*_):
        losses.append(dense_loss(model, user_items))

    model.fit(user_items, show_progress=False, callback=record)
    assert (np.diff(losses) <= 1e-10 * losses[0]).all()


@pytest.mark.parametrize("side", ["user_factors", "item_factors"])
def test_the_factors_are_where_the_loss_is_flat(side):
    """Independent of the normal equations: numerical derivatives of the loss itself."""
    user_items = made_up()
    model = IALS(3, 0.05, 0.2, 0.7, iterations=400, **EXACT)
    model.fit(user_items, show_progress=False)
    factors = getattr(model, side)
    for position in [(0, 0), (3, 2), (11, 1)]:
        kept = factors[position]
        factors[position] = kept + 1e-4
        above = dense_loss(model, user_items)
        factors[position] = kept - 1e-4
        below = dense_loss(model, user_items)
        factors[position] = kept
        assert abs(above - below) / 2e-4 < 1e-5


@pytest.mark.parametrize("unobserved_weight", [0.0625, 0.25, 1.0])
def test_for_binary_data_and_nu_0_it_is_stock_implicit_up_to_the_scale(unobserved_weight):
    """Both losses are quadratic in s; divide the scores by 1 + a to make their targets equal.

    implicit starts with the users and IALS with the items, so implicit gets the transposed matrix.
    It keeps confidences in float32; these ones can be written there without loss.
    """
    user_items = made_up(60, 40, weighted=False)
    ours = IALS(5, 0.1, unobserved_weight, nu=0, iterations=30, **EXACT)
    ours.fit(user_items, show_progress=False)
    ratio = 1 + 1 / unobserved_weight
    stock = AlternatingLeastSquares(
        5, 0.1 * ratio, alpha=ratio, use_cg=False, dtype=np.float64, iterations=30
    )
    again = IALS(5, 0.1, unobserved_weight, nu=0, **EXACT)
    again._start(user_items.shape)
    # Scores of the one are 1 + a times those of the other; each side's factors take the root.
    scale = np.sqrt(1 + unobserved_weight)
    stock.item_factors = again.user_factors * scale
    stock.user_factors = np.zeros((40, 5))
    stock.fit(user_items.T.tocsr(), show_progress=False)
    scores = ours.user_factors @ ours.item_factors.T * (1 + unobserved_weight)
    np.testing.assert_allclose(stock.item_factors @ stock.user_factors.T, scores, atol=1e-8)


def test_permuted_users_and_items_permute_the_factors():
    user_items = made_up()
    random = np.random.default_rng(3)
    users, items = random.permutation(30), random.permutation(20)
    plain, moved = (IALS(6, 0.01, iterations=5, **EXACT) for _ in range(2))
    plain._start(user_items.shape)
    moved.user_factors = plain.user_factors[users].copy()
    moved.item_factors = plain.item_factors[items].copy()
    plain.fit(user_items, show_progress=False)
    moved.fit(user_items[users][:, items].tocsr(), show_progress=False)
    assert moved.user_factors == pytest.approx(plain.user_factors[users], abs=1e-10)
    assert moved.item_factors == pytest.approx(plain.item_factors[items], abs=1e-10)


def test_a_fold_in_of_training_users_gives_the_stored_factors():
    user_items = made_up()
    model = IALS(6, 0.01, **EXACT)
    model.fit(user_items, show_progress=False)
    everybody = np.arange(30)
    assert model.recalculate_user(everybody, user_items) == pytest.approx(
        model.user_factors, abs=1e-12
    )
    assert model.recalculate_user(4, user_items[4]) == pytest.approx(
        model.user_factors[4], abs=1e-12
    )
    assert not model.user_factors[-1].any()  # nothing known: exactly zero


def with_irspack(train, epochs, **changed):
    """Scores of irspack's exact solver and of ours, from the same starting values.

    irspack begins with its users and IALS with the items, so irspack gets the transposed matrix.
    """
    trainer = IALSTrainer(
        train.T.tocsr().astype(np.float32), 8, 0.2, 0.01, 0.8, 0.1,
        SolverType.CHOLESKY, 3, 64, LossType.IALSPP, 0, 1, 3, 1,
    )  # fmt: skip
    ours = IALS(**{"factors": 8, "regularization": 0.01, "unobserved_weight": 0.2, "nu": 0.8,
                   "iterations": epochs, **EXACT} | changed)  # fmt: skip
    ours._start(train.shape)
    trainer.core_trainer.user, trainer.core_trainer.item = (
        factors.astype(np.float32) for factors in (ours.item_factors, ours.user_factors)
    )
    for _ in range(epochs):
        trainer.run_epoch()
    ours.fit(train, show_progress=False)
    theirs = trainer.core_trainer.item @ trainer.core_trainer.user.T
    return theirs, ours.user_factors @ ours.item_factors.T


def test_it_agrees_with_irspack():
    """The same loss in other code: scores and metrics within 1e-3 (it computes in float32)."""
    everything = two_tastes()
    hidden = np.random.default_rng(0).random(everything.nnz) < 0.25
    train, test = everything.copy(), everything.copy()
    train.data[hidden], test.data[~hidden] = 0, 0
    for side in (train, test):
        side.eliminate_zeros()
    theirs, ours = with_irspack(train, epochs=5)
    assert np.abs(theirs - ours).max() < 1e-3
    found = [
        metrics.accuracy(recommend.rank_items(scores, 10, train)[0], test, [10]).mean()
        for scores in (theirs, ours)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize(
    "changed", [{"regularization": 0.011}, {"unobserved_weight": 0.21}, {"nu": 0.78}]
)
def test_the_comparison_with_irspack_would_notice_another_loss(changed):
    theirs, ours = with_irspack(two_tastes(), epochs=5, **changed)
    assert np.abs(theirs - ours).max() > 1e-3


def test_enough_conjugate_gradient_steps_are_exact():
    user_items = made_up()
    exact, stepped = IALS(4, 0.1, **EXACT), IALS(4, 0.1, **EXACT | {"cg_steps": 40})
    for model in (exact, stepped):
        model.fit(user_items, show_progress=False)
    assert stepped.user_factors == pytest.approx(exact.user_factors, abs=1e-7)


def staircase():
    """Rows of 0 to 17 cells, all weights different, beside a last column that nobody has."""
    cells = np.tri(18, 18, -1)
    return csr_matrix(cells * (1 + np.random.default_rng(0).random(cells.shape)))


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("factors", [1, 6, 19])
def test_steps_are_those_of_conjugate_gradient(factors, steps):
    """Against the method as written in a textbook, for odd lengths and unequal weights."""
    user_items, random = staircase(), np.random.default_rng(1)
    W = user_items.toarray()
    X, Y = random.normal(size=(18, factors)), random.normal(size=(18, factors))
    penalties = 0.1 * ((W > 0).sum(axis=1) + 0.5 * 18)
    expected = X.copy()
    for x, w, penalty in zip(expected[1:], W[1:], penalties[1:], strict=True):
        A = Y.T @ np.diag(w + 0.5) @ Y + penalty * np.eye(factors)
        r = Y.T @ w - A @ x
        p = r
        for _ in range(min(steps, factors)):
            alpha = (r @ r) / (p @ A @ p)
            x += alpha * p
            before, r = r @ r, r - alpha * A @ p
            p = r + (r @ r) / before * p
    expected[0] = 0  # no cells: its exact solution, wherever it started
    model = IALS(factors, 0.1, 0.5, **EXACT | {"cg_steps": steps})
    model._half_step(user_items, X, Y)
    assert pytest.approx(expected, abs=1e-9) == X


@pytest.mark.parametrize("factors", [5, 8, 17])
def test_exact_rows_of_every_length(factors):
    user_items = staircase()
    Y, X = np.random.default_rng(1).normal(size=(18, factors)), np.ones((18, factors))
    W = user_items.toarray()
    penalties = 0.1 * ((W > 0).sum(axis=1) + 0.5 * 18)
    IALS(factors, 0.1, 0.5, **EXACT)._half_step(user_items, X, Y)
    assert pytest.approx(dense_half_step(W, Y, penalties, 0.5), abs=1e-9) == X


@pytest.mark.parametrize("penalty", [0.0, 1e-6, 0.3])
@pytest.mark.parametrize("least", [-0.5, 0.0, 0.5])
def test_short_rows_are_solved_as_long_ones_are(monkeypatch, least, penalty):
    """Whatever the weights and targets, with both kinds of system and with one."""
    made, random = made_up(60, 40), np.random.default_rng(2)
    Y, counts = random.normal(size=(40, 9)), np.diff(made.indptr)
    weights, targets = least + random.integers(0, 3, made.nnz), random.normal(size=made.nnz)
    calls = []
    short = kernels.exact_short
    monkeypatch.setattr(kernels, "exact_short", lambda *args: (calls.append(1), short(*args)))
    X = np.ones((60, 9))
    ials.solve_exactly(made, 1, weights, targets, penalty * counts, Y.T @ Y, Y, X)
    assert bool(calls) == (least >= 0)
    assert counts.min() == 0
    assert counts.max() > 9
    for u, (x, row) in enumerate(
        zip(X, np.split(np.arange(made.nnz), made.indptr[1:-1]), strict=True)
    ):
        V = Y[made.indices[row]]
        A = Y.T @ Y + V.T @ np.diag(weights[row]) @ V + penalty * counts[u] * np.eye(9)
        assert x == pytest.approx(np.linalg.inv(A) @ V.T @ targets[row], abs=1e-9)


def test_a_gram_matrix_that_is_almost_singular_is_not_inverted(monkeypatch):
    monkeypatch.setattr(kernels, "exact_short", None)
    made, Y = made_up(60, 40), np.random.default_rng(3).normal(size=(40, 9))
    Y[:, 1] = Y[:, 0] * (1 + 1e-14)
    model = IALS(9, 0.0, 0.5, **EXACT)
    with suppress(ValueError):  # rounding decides whether the long way finds it singular
        model._half_step(made, np.ones((60, 9)), Y)


def test_factors_start_with_the_length_of_the_paper():
    """A vector's expected squared length is init_scale^2 for any number of factors."""
    for factors in (16, 64):
        model = IALS(factors, init_scale=0.3, **EXACT)
        model._start((4000, 3))
        assert (model.user_factors**2).sum(axis=1).mean() == pytest.approx(0.3**2, rel=0.03)


def test_nothing_derived_from_old_factors_outlives_a_fit():
    user_items = made_up()
    item_users, user, item = user_items.T.tocsr(), 3, int(user_items[3].indices[0])
    asks = [
        lambda model: model.recalculate_user(user, user_items[user]),
        lambda model: model.recalculate_item(item, item_users[item]),
        lambda model: model.similar_users(user)[1],
        lambda model: model.similar_items(item)[1],
    ]
    model, fresh = IALS(4, iterations=2, **EXACT), IALS(4, iterations=4, **EXACT)
    model.fit(user_items, show_progress=False)
    before = [ask(model) for ask in asks]
    model.fit(user_items, show_progress=False)
    fresh.fit(user_items, show_progress=False)
    for ask, old in zip(asks, before, strict=True):
        assert (ask(model) == ask(fresh)).all()
        assert (ask(model) != old).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cg_steps", [0, 3])
def test_threads_do_not_change_a_bit(dtype, cg_steps):
    user_items = two_tastes()
    factors = []
    for threads in (1, 2, 5):
        model = IALS(16, cg_steps=cg_steps, dtype=dtype, num_threads=threads, random_state=1)
        model.fit(user_items, show_progress=False)
        assert model.user_factors.dtype == dtype
        factors.append(model.user_factors)
    assert (factors[0] == factors[1]).all()
    assert (factors[0] == factors[2]).all()


def test_float32_is_close_to_float64():
    user_items = two_tastes()
    single, double = (
        IALS(8, 0.01, dtype=dtype, random_state=0) for dtype in (np.float32, np.float64)
    )
    for model in (single, double):
        model.fit(user_items, show_progress=False)
    assert single.user_factors == pytest.approx(double.user_factors, abs=2e-3)


def test_a_callback_sees_every_round():
    user_items, seen = made_up(), []
    model = IALS(4, iterations=4, **EXACT)

    def callback(iteration, seconds, loss):
        assert seconds > 0
        assert loss is None
        seen.append((iteration, model.user_factors.copy()))

    model.fit(user_items, show_progress=False, callback=callback)
    assert [iteration for iteration, _ in seen] == [0, 1, 2, 3]
    three = IALS(4, iterations=3, **EXACT)
    three.fit(user_items, show_progress=False)
    assert (three.user_factors == seen[2][1]).all()


def test_the_progress_bar_is_shown_when_asked_for(capsys):
    IALS(2, iterations=3).fit(made_up(), show_progress=True)
    assert "3/3" in capsys.readouterr().err
    IALS(2, iterations=3).fit(made_up(), show_progress=False)
    assert capsys.readouterr().err == ""


def test_a_second_fit_goes_on():
    user_items = made_up()
    once, twice = IALS(4, iterations=6, **EXACT), IALS(4, iterations=3, **EXACT)
    once.fit(user_items, show_progress=False)
    for _ in range(2):
        twice.fit(user_items, show_progress=False)
    assert (once.user_factors == twice.user_factors).all()


def test_similar_items_and_users_share_a_taste():
    model = IALS(8, 0.01, random_state=0)
    model.fit(two_tastes(), show_progress=False)
    for similar in (model.similar_items, model.similar_users):
        ids, scores = similar(0, N=20)
        assert ids[0] == 0
        assert scores[0] == pytest.approx(1, abs=1e-5)
        assert (ids % 2 == 0).all()


def test_recommendations_are_the_best_unseen():
    user_items = made_up()
    model = IALS(4, **EXACT)
    model.fit(user_items, show_progress=False)
    scores = np.where(user_items.toarray() > 0, -np.inf, model.user_factors @ model.item_factors.T)
    lists = recommend.top_n(model, user_items, 3)
    chosen = np.take_along_axis(scores, lists, axis=1)
    assert chosen == pytest.approx(np.sort(scores, axis=1)[:, :-4:-1])
    ids, _ = model.recommend(3, user_items[3], N=3, recalculate_user=True)
    assert ids.tolist() == lists[3].tolist()


def test_partial_fits_add_and_change_rows():
    user_items = made_up()
    model = IALS(4, **EXACT)
    model.fit(user_items, show_progress=False)
    kept = model.user_factors.copy()
    model.partial_fit_users([2, 31], user_items[[5, 5]])
    assert model.user_factors.shape == (32, 4)
    assert model.user_factors[2] == pytest.approx(kept[5], abs=1e-12)
    assert model.user_factors[31] == pytest.approx(kept[5], abs=1e-12)
    assert (model.user_factors[3] == kept[3]).all()
    item_users = csr_matrix(np.ones((1, 32)))
    model.partial_fit_items([20], item_users)
    assert model.item_factors[20] == pytest.approx(model.recalculate_item(20, item_users))
    assert model.similar_items(20, N=3)[0][0] == 20


def test_an_explanation_adds_up_to_the_score():
    user_items = made_up()
    model = IALS(4, 0.02, 0.3, 0.6, **EXACT)
    model.fit(user_items, show_progress=False)
    score, parts, weights = model.explain(3, user_items, 11, N=20)
    assert score == pytest.approx(model.user_factors[3] @ model.item_factors[11], abs=1e-12)
    assert sum(part for _, part in parts) == pytest.approx(score)
    assert {item for item, _ in parts} == set(user_items[3].indices.tolist())
    assert [part for _, part in parts] == sorted((part for _, part in parts), reverse=True)
    again = model.explain(3, user_items, 12, user_weights=weights)[0]
    assert again == pytest.approx(model.user_factors[3] @ model.item_factors[12], abs=1e-12)


def test_what_is_saved_comes_back_without_pickle(tmp_path):
    user_items = made_up()
    model = IALS(
        5, 0.02, 0.3, 0.6, iterations=4, cg_steps=2, init_scale=0.2,
        dtype=np.float64, num_threads=1, random_state=7,
    )  # fmt: skip
    model.fit(user_items, show_progress=False)
    model.save(tmp_path / "plain.npz")
    als.save_model(tmp_path / "whole.npz", model, {"why": "a test"})
    for loaded in (IALS.load(str(tmp_path / "plain")), als.load_model(tmp_path / "whole.npz")):
        assert isinstance(loaded, IALS)
        for name in ("factors", "regularization", "unobserved_weight", "nu", "iterations",
                     "cg_steps", "init_scale", "dtype", "num_threads", "random_state"):  # fmt: skip
            assert getattr(loaded, name) == getattr(model, name)
        assert (loaded.user_factors == model.user_factors).all()
        assert loaded.recommend(0, user_items[0], N=3)[0].tolist() == (
            model.recommend(0, user_items[0], N=3)[0].tolist()
        )


def test_a_generator_as_random_state_is_used_and_not_saved(tmp_path):
    models = [IALS(3, random_state=np.random.default_rng(5)) for _ in range(2)]
    for model in models:
        model.fit(made_up(), show_progress=False)
    assert (models[0].user_factors == models[1].user_factors).all()
    models[0].save(tmp_path / "model.npz")
    assert IALS.load(str(tmp_path / "model.npz")).random_state is None


def test_a_second_process_does_not_compile_again():
    program = (
        "import numpy as np\n"
        "from scipy.sparse import csr_matrix\n"
        "from helpers.als import IALS, kernels\n"
        "for steps in (0, 3):\n"
        "    IALS(2, cg_steps=steps).fit(csr_matrix(np.eye(3)), show_progress=False)\n"
        "for kernel in (kernels.exact, kernels.conjugate_gradient):\n"
        "    print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))"
    )
    for steps in (0, 3):  # this process compiles, unless one before it has
        IALS(2, cg_steps=steps).fit(csr_matrix(np.eye(3)), show_progress=False)
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == (
        "1 0\n1 0\n"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"factors": 0}, "factors is 0, expected a whole number of at least 1"),
        ({"factors": 2.5}, "factors is 2.5"),
        ({"iterations": 0}, "iterations is 0"),
        ({"cg_steps": -1}, "cg_steps is -1"),
        ({"regularization": -0.1}, "regularization is -0.1"),
        ({"regularization": np.nan}, "regularization is nan"),
        ({"regularization": -np.inf}, "regularization is -inf"),
        ({"unobserved_weight": np.inf}, "unobserved_weight is inf"),
        ({"nu": np.nan}, "nu is nan"),
        ({"unobserved_weight": 0.0}, "unobserved_weight is 0.0, expected a number above 0"),
        ({"nu": -1}, "nu is -1"),
        ({"init_scale": 0}, "init_scale is 0"),
        ({"dtype": np.float16}, "dtype is float16, expected"),
    ],
)
def test_settings_out_of_range_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        IALS(**setting).fit(made_up(), show_progress=False)


@pytest.mark.parametrize("name", ["alpha", "regularization"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, "1"])
def test_exact_als_refuses_what_implicit_would_fit(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}, expected a number"):
        ExactALS(**{name: value}).fit(made_up(), show_progress=False)


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
def test_weights_must_be_positive(weight):
    user_items = made_up()
    user_items.data[4] = weight
    with pytest.raises(ValueError, match="stores 1 weights that are not positive and finite"):
        IALS().fit(user_items, show_progress=False)


def test_only_a_csr_matrix_with_something_in_it_is_fitted():
    with pytest.raises(TypeError, match="user_items is a ndarray, expected a scipy"):
        IALS().fit(np.eye(3))
    with pytest.raises(ValueError, match="no stored cell"):
        IALS().fit(csr_matrix((3, 2)))


def test_cells_that_are_stored_twice_are_added():
    twice = csr_matrix((np.ones(3), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    once = csr_matrix([[2.0, 0.0], [0.0, 1.0]])
    models = [IALS(2, **EXACT) for _ in range(2)]
    for model, user_items in zip(models, (twice, once), strict=True):
        model.fit(user_items, show_progress=False)
    assert (models[0].user_factors == models[1].user_factors).all()
    assert twice.nnz == 3  # the caller's matrix is left alone


def test_a_matrix_of_another_shape_is_refused_by_a_fitted_model():
    user_items = made_up()
    model = IALS(4, **EXACT)
    with pytest.raises(ValueError, match="the model is not fitted"):
        model.recommend(0, user_items[0])
    model.fit(user_items, show_progress=False)
    with pytest.raises(ValueError, match="make a new model"):
        model.fit(user_items[:10], show_progress=False)
    transposed = user_items.T.tocsr()
    for call, shapes in [
        (lambda: model.recommend(0, transposed[0]), "(1, 30), expected (1, 20)"),
        (lambda: model.recalculate_user(0, transposed[0]), "(1, 30), expected (1, 20)"),
        (lambda: model.recalculate_user(0, user_items[:2]), "(2, 20), expected (1, 20)"),
        (lambda: model.explain(0, transposed, 1), "(1, 30), expected (1, 20)"),
    ]:
        with pytest.raises(ValueError, match=re.escape(f"user_items has shape {shapes}")):
            call()
    with pytest.raises(ValueError, match=r"item_users has shape \(1, 20\), expected \(1, 30\)"):
        model.recalculate_item(0, user_items[0])


def test_a_system_without_a_unique_solution_is_said_to_be_one():
    model = IALS(8, regularization=0.0, unobserved_weight=1e-300, **EXACT)
    with pytest.raises(ValueError, match="no unique solution in float64"):
        model.fit(csr_matrix(np.eye(3)), show_progress=False)


def test_implicits_gpu_version_is_refused():
    with pytest.raises(NotImplementedError, match="another loss"):
        IALS().to_gpu()


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_exact_als_is_implicits_exact_solver(alpha):
    user_items = made_up(80, 50)
    user_items.data[::7] *= -1  # implicit takes these as weighted dislikes
    user_items.data[::5] *= 0.25  # confidence below that of an empty cell
    models = [
        cls(6, 0.1, alpha, dtype=np.float64, use_cg=False, random_state=0)
        for cls in (AlternatingLeastSquares, ExactALS)
    ]
    for model in models:
        model.fit(user_items, show_progress=False)
    assert models[1].user_factors == pytest.approx(models[0].user_factors, abs=1e-10)
    assert models[1].item_factors == pytest.approx(models[0].item_factors, abs=1e-10)


def test_exact_als_is_saved_as_what_it_is(tmp_path):
    model = ExactALS(3, dtype=np.float64, random_state=0)
    model.fit(made_up(), show_progress=False)
    als.save_model(tmp_path / "model.npz", model, {})
    assert type(als.load_model(tmp_path / "model.npz")) is ExactALS


def test_blocks_hold_each_row_once_and_about_equal_work():
    counts = np.r_[np.full(900, 3), np.full(5, 10_000), np.zeros(95)].astype(int)
    blocks = kernels.blocks(np.r_[0, counts.cumsum()])
    assert [row for start, stop in blocks for row in range(start, stop)] == list(range(1000))
    work = [(counts[start:stop] + kernels.CELLS_A_ROW).sum() for start, stop in blocks]
    assert max(work) <= sum(work) / 8 + 10_016  # of one row at most more than its share
    assert kernels.blocks(np.array([0])) == []
