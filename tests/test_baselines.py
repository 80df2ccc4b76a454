import tracemalloc

import numpy as np
import pytest
from implicit.nearest_neighbours import CosineRecommender
from implicit.utils import ParameterWarning
from irspack.recommenders import DenseSLIMRecommender
from logs_fixtures import frame
from scipy.sparse import csr_matrix, random_array

from helpers import baselines, recommend, splits, weighting
from helpers.interactions import Interactions

MODELS = ["random", "popular", "popular lately", "item KNN", "BPR", "EASE", "ALS", "IALS"]
SMALL = {
    "item KNN": {"K": 8},
    "BPR": {"factors": 4, "iterations": 50, "learning_rate": 0.1},
    "EASE": {"regularization": 5.0},
    "ALS": {"factors": 4},
    "IALS": {"factors": 4},
}


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
def models(train):
    return {name: recipe.fit(train) for name, recipe in baselines.recipes(SMALL).items()}


def test_rank_items_orders_by_score_then_index_and_pads():
    scores = np.array([[0.1 + 0.2, 0.3, 0.9], [0.0, 0.0, 0.0]])  # 0.1 + 0.2 is not quite 0.3
    items, best = recommend.rank_items(scores, 3, seen=csr_matrix([[0, 0, 1], [0, 0, 0]]))
    assert items.tolist() == [[0, 1, -1], [0, 1, 2]]
    assert best[0, 2] == recommend.PADDING


def test_rank_items_refuses_nan_and_lists_longer_than_the_catalogue():
    with pytest.raises(ValueError, match="1 scores that are NaN, so no order is defined"):
        recommend.rank_items(np.array([[np.nan, 1.0]]), 1)
    with pytest.raises(ValueError, match="n is 3, expected 1 to 2"):
        recommend.rank_items(np.zeros((1, 2)), 3)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_recommends_unseen_items_once(models, train, name):
    lists = recommend.top_n(models[name], train.user_items, 8)
    assert lists.shape == (60, 8)
    for user, row in enumerate(lists):
        row = row[row >= 0]
        assert len(set(row)) == len(row)
        assert not set(row) & set(train.user_items[user].indices)


@pytest.mark.parametrize("name", MODELS)
def test_the_lists_are_ordered_by_the_scores(models, train, name):
    users = np.array([3, 17])
    lists = recommend.top_n(models[name], train.user_items, 8, users=users)
    scores = recommend.scores(models[name], train.user_items, users)
    assert scores.shape == (2, 30)
    assert scores.dtype == np.float64
    expected, _ = recommend.rank_items(scores, 8, train.user_items[users])
    np.testing.assert_array_equal(lists, expected)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_recipe_gives_the_same_lists_again(models, train, name):
    again = baselines.recipes(SMALL)[name].fit(train)
    first, second = (recommend.top_n(m, train.user_items, 8) for m in (models[name], again))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", MODELS)
def test_one_user_gets_what_the_batch_gets(models, train, name):
    row = train.user_items[5]
    alone, _ = models[name].recommend(5, row, N=4)
    together, _ = models[name].recommend(np.array([9, 5]), train.user_items[[9, 5]], N=4)
    np.testing.assert_array_equal(alone, together[1][: len(alone)])


@pytest.mark.parametrize("name", MODELS)
def test_a_matrix_of_another_shape_is_refused(models, train, name):
    with pytest.raises(ValueError, match=r"did you mean user_items\.T\.tocsr\(\)\?"):
        recommend.top_n(models[name], train.user_items.T.tocsr(), 3)
    with pytest.raises(ValueError, match=r"user_items has shape \(60, 29\)"):
        recommend.scores(models[name], train.user_items[:, :29])
    with pytest.raises(ValueError, match="n is 31, expected 1 to 30"):
        recommend.top_n(models[name], train.user_items, 31)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_not_fitted_says_so(train, name):
    model = baselines.recipes(SMALL)[name].make(train)
    with pytest.raises(ValueError, match=r"is not fitted; call fit\(user_items\) first"):
        recommend.top_n(model, train.user_items, 3)


@pytest.mark.parametrize("model", [baselines.Random(), baselines.ItemKNN(), baselines.EASE()])
def test_our_own_classes_check_what_they_are_asked(model, train):
    with pytest.raises(ValueError, match="is not fitted"):
        model.scores(np.array([0]), train.user_items[[0]])
    model.fit(train.user_items, show_progress=False)
    with pytest.raises(ValueError, match=r"has shape \(2, 30\)"):
        model.scores(np.array([0]), train.user_items[[0, 1]])


def test_random_lists_depend_on_seed_and_row_only(train):
    model, other = baselines.Random(1), baselines.Random(2)
    for each in (model, other):
        each.fit(train.user_items)
    everyone = recommend.top_n(model, train.user_items, 5)
    some = recommend.top_n(model, train.user_items, 5, users=np.array([40, 2]))
    np.testing.assert_array_equal(some, everyone[[40, 2]])
    assert (everyone != recommend.top_n(other, train.user_items, 5)).any()


def test_random_shows_every_item_about_equally_often():
    model = baselines.Random(0)
    empty = csr_matrix((3000, 10))
    model.fit(empty)
    shown = np.bincount(recommend.top_n(model, empty, 2).ravel(), minlength=10)
    assert np.abs(shown - 600).max() < 5 * np.sqrt(600)


def test_popularity_is_the_popular_list(models, train):
    expected = recommend.popular_top_n(train.user_items, 6)
    np.testing.assert_array_equal(recommend.top_n(models["popular"], train.user_items, 6), expected)


def test_popular_lately_counts_the_last_days_and_breaks_ties_by_all():
    user_items = csr_matrix([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]], dtype=float)
    days = np.array([1, 9, 1, 9, 9, 1, 9, 10], dtype="datetime64[D]")  # by row, then column
    model = baselines.Popularity(days, days=5)
    model.fit(user_items)
    nobody = csr_matrix((1, 4))
    # Lately: item 0 none, item 1 and item 2 two each, item 3 one.
    assert model.recommend(0, nobody, N=4)[0].tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.array(["2026-01-01"], dtype="datetime64[s]"), None), "belong together"),
        ((None, 7), "belong together"),
        ((np.array(["2026-01-01"], dtype="datetime64[s]"), 0), "days is 0, expected a number"),
    ],
)
def test_popularity_refuses_half_an_instruction(arguments, message):
    with pytest.raises(ValueError, match=message):
        baselines.Popularity(*arguments)


def test_popularity_needs_a_time_for_each_cell(train):
    model = baselines.Popularity(train.timestamps[:-1], 7)
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
    monkeypatch.setattr(baselines, "BLOCK", 7)  # several blocks of the Gram matrix
    model = baselines.EASE(regularization=3.0)
    model.fit(matrix())
    expected = ease_by_columns(matrix().toarray(), 3.0)
    np.testing.assert_allclose(model.weights, expected, atol=1e-12)
    assert (np.diag(model.weights) == 0).all()


def test_ease_is_irspacks_dense_slim():
    X = weighting.binary(matrix())
    model = baselines.EASE(regularization=4.0)
    model.fit(X)
    # irspack works in float32.
    peer = DenseSLIMRecommender(X, reg=4.0).learn()
    np.testing.assert_allclose(model.weights, peer.W, atol=1e-5)


def test_ease_says_what_memory_it_would_need(train):
    with pytest.raises(ValueError, match=r"EASE on 30 items needs two matrices of 0\.0 GiB each"):
        baselines.EASE(max_items=29).fit(train.user_items)
    with pytest.raises(ValueError, match="regularization is 0, expected a number above 0"):
        baselines.EASE(regularization=0)


def test_ease_keeps_to_two_matrices(monkeypatch):
    monkeypatch.setattr(baselines, "BLOCK", 50)  # in proportion to a small catalogue
    user_items = csr_matrix(random_array((500, 1200), density=0.05, rng=np.random.default_rng(0)))
    model = baselines.EASE()
    tracemalloc.start()
    model.fit(user_items)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * 8 * 1200**2


def test_item_knn_is_the_cosine_of_columns():
    X = matrix()
    model = baselines.ItemKNN(K=30)
    model.fit(X, show_progress=False)
    dense = X.toarray()
    lengths = np.linalg.norm(dense, axis=0)
    cosine = dense.T @ dense / np.outer(lengths, lengths)
    np.testing.assert_allclose(model.similarity.toarray(), cosine, atol=1e-12)
    scores = recommend.scores(model, X)
    np.testing.assert_allclose(scores, dense @ cosine, atol=1e-12)
    lists, expected = recommend.top_n(model, X, 5), recommend.rank_items(scores, 5, X)[0]
    np.testing.assert_array_equal(lists, expected)


def test_item_knn_is_implicits_but_for_what_fills_its_short_lists():
    X = matrix()
    ours, theirs = baselines.ItemKNN(K=8), CosineRecommender(K=8)
    ours.fit(X)
    with pytest.warns(ParameterWarning, match="expects CSR input"):
        theirs.fit(X, show_progress=False)
    items, scores = theirs.recommend(np.arange(60), X, N=10)
    lists, ours_scores = ours.recommend(np.arange(60), X, N=10)
    np.testing.assert_allclose(np.maximum(scores, 0), np.maximum(ours_scores, 0), atol=1e-12)
    seen = [bool(set(row) & set(X[u].indices)) for u, row in enumerate(items)]
    assert any(seen)  # the trap is really there
    assert not any(set(row) & set(X[u].indices) for u, row in enumerate(lists))


def test_item_knn_keeps_the_nearest_only():
    model = baselines.ItemKNN(K=4)
    model.fit(matrix(), show_progress=False)
    assert np.diff(model.similarity.indptr).max() == 4
    assert (model.similarity.diagonal() > 0.99).all()  # the item itself is one of them
    with pytest.raises(ValueError, match="K is 0, expected a whole number of at least 1"):
        baselines.ItemKNN(K=0)


def test_explicit_als_solves_the_normal_equations_of_the_rated_items():
    ratings = matrix()
    model = baselines.ExplicitALS(factors=3, regularization=0.1, iterations=4)
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
    model = baselines.ExplicitALS(factors=2, regularization=1e-6, iterations=60)
    model.fit(csr_matrix(np.where(kept, X @ Y.T, 0)))
    np.testing.assert_allclose((model.user_factors @ model.item_factors.T)[~kept],
                               (X @ Y.T)[~kept], atol=0.02)  # fmt: skip
    with pytest.raises(ValueError, match="ExplicitALS is not fitted"):
        baselines.ExplicitALS().recommend(0, csr_matrix((1, 3)))


@pytest.mark.parametrize("model", [baselines.bpr, baselines.ExplicitALS])
def test_a_model_without_factors_is_refused(model):
    with pytest.raises(ValueError, match="factors is 0, expected a whole number of at least 1"):
        model(factors=0)


def test_bpr_learns_a_preference():
    """Two groups with a catalogue each: the unseen item of the own group comes first."""
    block = np.ones((20, 6)) - np.eye(20, 6)
    user_items = csr_matrix(np.block([[block, np.zeros((20, 6))], [np.zeros((20, 6)), block]]))
    model = baselines.bpr(factors=4, learning_rate=0.1, iterations=100)
    model.fit(user_items, show_progress=False)
    lists = recommend.top_n(model, user_items, 1)[:6, 0]
    assert lists.tolist() == list(range(6))


def test_recipes_know_their_names_and_weightings(train):
    assert list(baselines.recipes({})) == [*MODELS[:6], "default ALS", *MODELS[6:]]
    with pytest.raises(ValueError, match=r"unknown models \['Ease'\]; known are \['random'"):
        baselines.recipes({"Ease": {}})
    with pytest.raises(ValueError, match=r"weighting is 'cubic', expected one of \['binary'"):
        baselines.Recipe(lambda train: baselines.EASE(), "cubic").fit(train)
    linear = baselines.recipes({"ALS": {"weighting": "linear"}})["ALS"]
    assert linear.matrix(train).max() > baselines.recipes({})["ALS"].matrix(train).max() == 1


def test_the_tuned_settings_reach_the_model(models):
    assert models["ALS"].factors == models["IALS"].factors == 4
    assert models["default ALS"].factors == 100
    assert models["EASE"].regularization == 5


def test_every_model_beats_chance_where_there_are_tastes():
    """Two groups, two catalogues: whatever learns must find the held-out items of the group."""
    rng = np.random.default_rng(0)
    rows = [(f"u{u:02}", f"i{10 * (u % 2) + i:02}", 1.0, t) for u in range(40)
            for t, i in enumerate(rng.permutation(10)[:6])]  # fmt: skip
    split = splits.leave_last_out(Interactions.from_frame(frame(rows)), n=2)
    for name, recipe in baselines.recipes(SMALL, without=("random",)).items():
        lists = recommend.top_n(recipe.fit(split.train), recipe.matrix(split.train), 4)
        found = [len(set(row) & set(split.test.user_items[u].indices)) for u, row in
                 enumerate(lists)]  # fmt: skip
        chance = 2 * 4 / 16
        assert np.mean(found) > chance * (0.7 if name.startswith("popular") else 1.5), name
