import tracemalloc

import numpy as np
import pytest
from implicit.nearest_neighbours import CosineRecommender
from implicit.utils import ParameterWarning
from irspack.recommenders import DenseSLIMRecommender
from logs_fixtures import frame
from scipy.optimize import approx_fprime, check_grad
from scipy.sparse import csr_matrix, random_array

from helpers import models, recommend, splits, weighting
from helpers.interactions import Interactions

SMALL = {
    "item KNN": {"K": 8},
    "BPR": {"factors": 4, "iterations": 50, "learning_rate": 0.1},
    "EASE": {"regularization": 5.0},
    "ALS": {"factors": 4},
    "IALS": {"factors": 4},
}
NAMES = [name for name in models.SETTINGS if name not in ("ALS default", "Spark ALS")]


def matrix(n_users=60, n_items=30, seed=0):
    filled = random_array((n_users, n_items), density=0.15, rng=np.random.default_rng(seed))
    filled.data[:] = np.random.default_rng(seed).integers(1, 6, filled.nnz)
    return csr_matrix(filled)


@pytest.fixture(scope="module")
def train():
    user_items = matrix()
    order = np.random.default_rng(1).permutation(user_items.nnz)
    return Interactions(
        user_items=user_items,
        timestamps=np.datetime64("2026-01-01") + order.astype("timedelta64[h]"),
        order=order,
        user_ids=np.arange(60).astype(str),
        item_ids=np.arange(30).astype(str),
    )


@pytest.fixture(scope="module")
def fitted(train):
    return {name: made.fit(train) for name, made in models.model_factories(SMALL).items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_model_recommends_new_items_once_in_the_order_of_its_scores(fitted, train, name):
    lists = recommend.top_n(fitted[name], train.user_items, 8)
    assert lists.shape == (60, 8)
    for user, row in enumerate(lists):
        row = row[row >= 0]
        assert len(set(row)) == len(row)
        assert not set(row) & set(train.user_items[user].indices)
    users = np.array([17, 3])
    scores = recommend.scores(fitted[name], train.user_items, users)
    assert scores.shape == (2, 30)
    assert scores.dtype == np.float64
    expected, _ = recommend.rank_items(scores, 8, train.user_items[users])
    np.testing.assert_array_equal(lists[users], expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_settings_and_seed_give_the_same_lists_again(fitted, train, name):
    again = models.model_factories(SMALL)[name].fit(train)
    first, second = (recommend.top_n(m, train.user_items, 8) for m in (fitted[name], again))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_matrix_and_a_model_that_is_not_fitted_are_refused(fitted, train, name):
    with pytest.raises(ValueError, match=r"did you mean user_items\.T\.tocsr\(\)\?"):
        recommend.top_n(fitted[name], train.user_items.T.tocsr(), 3)
    model = models.model_factories(SMALL)[name].make(train)
    with pytest.raises(ValueError, match=r"is not fitted; call fit\(user_items\) first"):
        recommend.top_n(model, train.user_items, 3)


@pytest.mark.parametrize("model", [models.Random(), models.ItemKNN(), models.EASE()])
def test_a_baseline_checks_what_it_is_asked(model, train):
    with pytest.raises(ValueError, match="is not fitted"):
        model.scores(np.array([0]), train.user_items[[0]])
    model.fit(train.user_items)
    with pytest.raises(ValueError, match=r"has shape \(2, 30\)"):
        model.scores(np.array([0]), train.user_items[[0, 1]])


def test_random_lists_depend_on_seed_and_row_only(train):
    model, other = models.Random(1), models.Random(2)
    for each in (model, other):
        each.fit(train.user_items)
    everyone = recommend.top_n(model, train.user_items, 5)
    some = recommend.top_n(model, train.user_items, 5, users=np.array([40, 2]))
    np.testing.assert_array_equal(some, everyone[[40, 2]])
    assert (everyone != recommend.top_n(other, train.user_items, 5)).any()


def test_random_shows_every_item_about_equally_often():
    model = models.Random(0)
    empty = csr_matrix((3000, 10))
    model.fit(empty)
    shown = np.bincount(recommend.top_n(model, empty, 2).ravel(), minlength=10)
    assert np.abs(shown - 600).max() < 5 * np.sqrt(600)


def test_recently_popular_counts_the_last_days_and_breaks_ties_by_all():
    user_items = csr_matrix([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]], dtype=float)
    days = np.array([1, 9, 1, 9, 9, 1, 9, 10], dtype="datetime64[D]")  # by row, then column
    model = models.Popularity(days, days=5)
    model.fit(user_items)
    # Lately: item 0 none, items 1 and 2 two each, item 3 one; in all 3, 2, 2 and 1, of 3 users.
    found = model.scores(np.array([0]), csr_matrix((1, 4)))
    np.testing.assert_allclose(found, [[0.75, 2.5, 2.5, 1.25]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.array(["2026-01-01"], dtype="datetime64[s]"), None), "give both or neither"),
        ((None, 7), "a log without times has no recently popular items"),
        ((np.array(["2026-01-01"], dtype="datetime64[s]"), 0), "days is 0, expected a number"),
    ],
)
def test_popularity_refuses_half_an_instruction(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.Popularity(*arguments)


def test_popularity_needs_a_time_for_each_cell(train):
    model = models.Popularity(train.timestamps[:-1], 7)
    with pytest.raises(ValueError, match="pass the timestamps of the same interactions"):
        model.fit(train.user_items)


def ease_by_columns(X, regularization):
    """Each column is a ridge regression on the other columns, so its own weight is 0."""
    weights = np.zeros((X.shape[1], X.shape[1]))
    for item in range(X.shape[1]):
        others = np.delete(np.arange(X.shape[1]), item)
        A = X[:, others]
        gram = A.T @ A + regularization * np.eye(len(others))
        weights[others, item] = np.linalg.solve(gram, A.T @ X[:, item])
    return weights


def test_ease_solves_the_constrained_ridge_regressions(monkeypatch):
    monkeypatch.setattr(models, "BLOCK", 7)  # several blocks of the Gram matrix
    model = models.EASE(regularization=3.0)
    model.fit(matrix())
    expected = ease_by_columns(matrix().toarray(), 3.0)
    np.testing.assert_allclose(model.weights, expected, atol=1e-12)
    assert (np.diag(model.weights) == 0).all()
    scores = recommend.scores(model, matrix())
    np.testing.assert_allclose(scores, matrix().toarray() @ expected, atol=1e-10)


def test_ease_is_irspacks_dense_slim():
    X = weighting.binary(matrix())
    model = models.EASE(regularization=4.0)
    model.fit(X)
    # irspack works in float32.
    peer = DenseSLIMRecommender(X, reg=4.0).learn()
    np.testing.assert_allclose(model.weights, peer.W, atol=1e-5)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_ease_needs_a_positive_regularization(value):
    with pytest.raises(ValueError, match=f"regularization is {value}, expected a number above 0"):
        models.EASE(regularization=value)


def test_ease_says_what_memory_it_would_need(train, monkeypatch):
    monkeypatch.setattr(models, "MAX_EASE_ITEMS", 29)
    with pytest.raises(ValueError, match=r"EASE on 30 items needs two matrices of 0\.0 GiB each"):
        models.EASE().fit(train.user_items)


def test_ease_keeps_to_two_matrices(monkeypatch):
    monkeypatch.setattr(models, "BLOCK", 50)  # in proportion to a small catalogue
    user_items = csr_matrix(random_array((500, 1200), density=0.05, rng=np.random.default_rng(0)))
    model = models.EASE()
    tracemalloc.start()
    model.fit(user_items)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * 8 * 1200**2


def cosines(dense):
    lengths = np.linalg.norm(dense, axis=0)
    return dense.T @ dense / np.outer(lengths, lengths)


def test_item_knn_is_the_cosine_of_columns():
    X = matrix()
    model = models.ItemKNN(K=30)
    model.fit(X)
    np.testing.assert_allclose(model.similarity.toarray(), cosines(X.toarray()), atol=1e-12)
    scores = recommend.scores(model, X)
    np.testing.assert_allclose(scores, X.toarray() @ cosines(X.toarray()), atol=1e-12)


def test_item_knn_learns_nothing_from_users_with_too_many_items(monkeypatch):
    monkeypatch.setattr(models, "MAX_HISTORY", 7)
    X = matrix()
    few = np.diff(X.indptr) <= 7
    assert 0 < (~few).sum() < 10
    model = models.ItemKNN(K=30)
    model.fit(X)
    np.testing.assert_allclose(model.similarity.toarray(), cosines(X[few].toarray()), atol=1e-12)
    assert recommend.top_n(model, X, 5).shape == (60, 5)  # but all of them get a list


def test_item_knn_is_implicits_but_for_what_fills_its_short_lists():
    X = matrix()
    ours, theirs = models.ItemKNN(K=8), CosineRecommender(K=8)
    ours.fit(X)
    with pytest.warns(ParameterWarning, match="expects CSR input"):
        theirs.fit(X, show_progress=False)
    items, scores = theirs.recommend(np.arange(60), X, N=10)
    lists, ours_scores = recommend.rank_items(recommend.scores(ours, X), 10, X)
    np.testing.assert_allclose(np.maximum(scores, 0), np.maximum(ours_scores, 0), atol=1e-12)
    in_train = [bool(set(row) & set(X[u].indices)) for u, row in enumerate(items)]
    assert any(in_train)  # the trap is really there
    assert not any(set(row) & set(X[u].indices) for u, row in enumerate(lists))


def test_item_knn_keeps_the_nearest_only():
    model = models.ItemKNN(K=4)
    model.fit(matrix())
    assert np.diff(model.similarity.indptr).max() == 4
    assert (model.similarity.diagonal() > 0.99).all()  # the item itself is one of them
    with pytest.raises(ValueError, match="K is 0, expected a whole number of at least 1"):
        models.ItemKNN(K=0)


def test_explicit_als_solves_the_normal_equations_of_the_rated_items():
    ratings = matrix()
    model = models.ExplicitALS(3, 0.1, iterations=4, dtype=np.float64, random_state=0)
    model.fit(ratings)
    transposed = ratings.T.tocsr()
    for item in range(30):
        cells = slice(transposed.indptr[item], transposed.indptr[item + 1])
        X, r = model.user_factors[transposed.indices[cells]], transposed.data[cells]
        A = X.T @ X + 0.1 * max(len(r), 1) * np.eye(3)
        np.testing.assert_allclose(A @ model.item_factors[item], X.T @ r, atol=1e-9)


def test_explicit_als_recovers_ratings_of_its_own_rank():
    rng = np.random.default_rng(0)
    X, Y = rng.random((80, 2)) + 0.5, rng.random((40, 2)) + 0.5
    kept = rng.random((80, 40)) < 0.5
    model = models.ExplicitALS(2, 1e-6, iterations=60, dtype=np.float64, random_state=0)
    model.fit(csr_matrix(np.where(kept, X @ Y.T, 0)))
    np.testing.assert_allclose((model.user_factors @ model.item_factors.T)[~kept],
                               (X @ Y.T)[~kept], atol=0.02)  # fmt: skip


def test_spark_als_minimises_sparks_loss(train):
    """Its factors are a stationary point of the loss as Spark documents it, written out densely."""
    settings = {"factors": 3, "regularization": 0.05, "alpha": 2.0, "iterations": 3000}
    model = models.model_factory("Spark ALS", settings).fit(train)
    r = train.user_items.toarray()
    confidence, preference = 1 + 2.0 * r, (r > 0).astype(float)
    n_u, n_i = preference.sum(axis=1), preference.sum(axis=0)

    def split(factors):
        return factors[:180].reshape(60, 3), factors[180:].reshape(30, 3)

    def loss(factors):
        X, Y = split(factors)
        error = (confidence * (preference - X @ Y.T) ** 2).sum()
        return error + 0.05 * (n_u @ (X**2).sum(axis=1) + n_i @ (Y**2).sum(axis=1))

    def gradient(factors):
        X, Y = split(factors)
        E = -2 * confidence * (preference - X @ Y.T)
        of_X, of_Y = E @ Y + 0.1 * n_u[:, None] * X, E.T @ X + 0.1 * n_i[:, None] * Y
        return np.concatenate([of_X.ravel(), of_Y.ravel()])

    found = np.concatenate([model.user_factors.ravel(), model.item_factors.ravel()])
    elsewhere = np.random.default_rng(0).normal(size=270)
    assert check_grad(loss, gradient, elsewhere) < 1e-3 * np.linalg.norm(gradient(elsewhere))
    assert np.abs(gradient(found)).max() < 1e-4 * np.abs(gradient(elsewhere)).max()
    counts = models.model_factory("ALS", {**settings, "weighting": "raw"}).fit(train)
    others = np.concatenate([counts.user_factors.ravel(), counts.item_factors.ravel()])
    assert np.abs(gradient(others)).max() > 100 * np.abs(gradient(found)).max()


def test_spark_als_leaves_an_unknown_user_at_zero():
    """Folds of a log have rows without cells: their penalty must not make the system singular."""
    user_items = csr_matrix([[1.0, 2.0, 0], [0, 1.0, 3.0], [0, 0, 0]])
    ids = np.arange(3).astype(str)
    train = Interactions(user_items, ids, ids, timestamps=None, order=np.arange(4))
    model = models.model_factory("Spark ALS", {"factors": 2, "iterations": 2}).fit(train)
    assert (model.user_factors[2] == 0).all()
    assert np.isfinite(model.item_factors).all()


def test_bpr_follows_the_gradient_of_its_objective():
    """The steps of one iteration, taken again one by one with a numerical gradient."""
    user_items = matrix(12, 5, seed=3)
    model = models.BPR(factors=2, learning_rate=0.1, regularization=0.3, iterations=1)
    model.fit(user_items)
    rng = np.random.default_rng(0)
    X, Y = (rng.random((size, 3)) - 0.5 for size in (12, 5))
    X, Y = X / 2, Y / 2
    X[:, 2], Y[:, 2] = 1, 0
    drawn, others = (rng.integers(n, size=user_items.nnz) for n in (user_items.nnz, 5))
    rows, columns = user_items.nonzero()
    steps = 0
    for u, i, j in zip(rows[drawn], columns[drawn], others, strict=True):
        if user_items[u, j]:
            continue

        def objective(point, u=u, i=i, j=j):
            x, y_i, y_j = np.append(point[:2], 1), point[2:5], point[5:]
            penalty = (point**2).sum()
            return np.log1p(np.exp(-x @ (y_i - y_j))) + 0.3 / 2 * penalty

        point = np.concatenate([X[u, :2], Y[i], Y[j]])
        point -= 0.1 * approx_fprime(point, objective, 1e-7)
        X[u, :2], Y[i], Y[j] = point[:2], point[2:5], point[5:]
        steps += 1
    assert 0 < steps < user_items.nnz
    np.testing.assert_allclose(model.user_factors, X, atol=1e-6)
    np.testing.assert_allclose(model.item_factors, Y, atol=1e-6)


def test_bpr_learns_a_preference():
    """Two groups with a catalogue each: the new item of the own group comes first."""
    block = np.ones((20, 6)) - np.eye(20, 6)
    user_items = csr_matrix(np.block([[block, np.zeros((20, 6))], [np.zeros((20, 6)), block]]))
    model = models.BPR(factors=4, learning_rate=0.1, iterations=100)
    model.fit(user_items)
    lists = recommend.top_n(model, user_items, 1)[:6, 0]
    assert lists.tolist() == list(range(6))


def test_bpr_knows_what_is_popular():
    """Its negatives are drawn evenly, so an item with more users gets a larger bias."""
    counts = np.array([40, 30, 20, 10, 5])
    user_items = csr_matrix((np.arange(50)[:, None] < counts).astype(float))
    model = models.BPR(factors=1, regularization=0.1, iterations=50)
    model.fit(user_items)
    assert (np.diff(model.item_factors[:, -1]) < 0).all()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Ease", {}, r"name is 'Ease', expected one of \['random'"),
        ("ALS", {"nu": 1.0}, r"ALS has no settings \['nu'\]; known are \['factors'"),
        ("EASE", {"weighting": "cubic"}, r"weighting is 'cubic', expected one of \['raw'"),
        ("BPR", {"factors": 0}, "factors is 0, expected a whole number of at least 1"),
    ],
)
def test_the_registry_refuses_what_it_does_not_know(name, settings, message):
    with pytest.raises(ValueError, match=message):
        models.model_factory(name, settings)


def test_a_comparison_refuses_unknown_models():
    for arguments in ({"tuned": {"Ease": {}}}, {"tuned": {}, "without": ("Ease",)}):
        with pytest.raises(ValueError, match=r"unknown models \['Ease'\]; known are \['random'"):
            models.model_factories(**arguments)


def test_the_settings_reach_the_model_and_the_weighting_its_matrix(fitted, train):
    assert list(fitted) == [*NAMES[:6], "ALS default", *NAMES[6:]]
    assert fitted["ALS"].factors == fitted["IALS"].factors == 4
    assert fitted["ALS default"].factors == 100
    assert fitted["EASE"].regularization == 5
    week = models.model_factory("recently popular", {"days": 7.0}).make(train)
    assert (week.days, fitted["recently popular"].days) == (7.0, 30.0)
    raw = models.model_factory("ALS", {"weighting": "raw"})
    assert (raw.matrix(train) != train.user_items).nnz == 0
    assert set(models.model_factory("ALS").matrix(train).data) == {1.0}
    assert models.model_factory("ALS", seed=7).make(train).random_state == 7


def test_every_model_beats_chance_where_there_are_tastes():
    """Two groups, two catalogues: what learns must find the test items of the group."""
    rng = np.random.default_rng(0)
    rows = [(f"u{u:02}", f"i{10 * (u % 2) + i:02}", 1.0, t) for u in range(40)
            for t, i in enumerate(rng.permutation(10)[:6])]  # fmt: skip
    split = splits.leave_last_out(Interactions.from_frame(frame(rows)), n=2)
    for name, factory in models.model_factories(SMALL, without=("random",)).items():
        lists = recommend.top_n(factory.fit(split.train), factory.matrix(split.train), 4)
        found = [len(set(row) & set(split.test.user_items[u].indices)) for u, row in
                 enumerate(lists)]  # fmt: skip
        chance = 2 * 4 / 16
        popular = name in ("popular", "recently popular")
        assert np.mean(found) > chance * (0.7 if popular else 1.5), name
