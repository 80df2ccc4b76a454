import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from logs_fixtures import frame
from scipy.sparse import csr_matrix

from helpers import recommend, sweeps
from helpers.interactions import Interactions

TASTES = {"a": "Alien Brazil Contact", "b": "Alien Brazil Contact Dune", "c": "Emma Fargo",
          "d": "Emma Fargo Grease", "e": "Alien Emma"}  # fmt: skip


@pytest.fixture(scope="module")
def recommender():
    rows = [(u, f.lower(), 1.0, t) for u, films in TASTES.items()
            for t, f in enumerate(films.split())]  # fmt: skip
    interactions = Interactions.from_frame(frame([*rows, ("newcomer", "alien", 0.0, 9)]))
    items = pd.DataFrame({"item_id": interactions.item_ids})
    items["title"] = items["item_id"].str.title()
    model, _ = sweeps.fit(
        interactions.user_items, factors=3, regularization=0.1, alpha=5, iterations=10, seed=0
    )
    return recommend.Recommender(model, interactions, items)


def test_lists_hold_unseen_items_best_first(recommender):
    user_items, model = recommender.interactions.user_items, recommender.model
    lists = recommend.top_n(model, user_items, 3)
    scores = model.user_factors @ model.item_factors.T
    # The newcomer's scores are all 0, where any order is as good as another.
    for user in np.flatnonzero(np.diff(user_items.indptr)):
        unseen = np.setdiff1d(np.arange(7), user_items[user].indices)
        assert lists[user].tolist() == unseen[np.argsort(-scores[user, unseen])][:3].tolist()


def test_items_with_equal_scores_are_ordered_by_index():
    """Ten items with the same users: whatever the last bits say, the order is that of the index."""
    user_items = csr_matrix(np.repeat([[1.0], [1.0], [0.0]], 10, axis=1))
    model, _ = sweeps.fit(user_items, factors=3, regularization=0.1, alpha=5, iterations=5, seed=0)
    model.item_factors *= 1 + np.random.default_rng(0).normal(size=(10, 1)) * 1e-14
    assert recommend.top_n(model, user_items, 4, users=np.array([2]))[0].tolist() == [0, 1, 2, 3]


def test_a_short_list_is_padded(recommender):
    lists = recommend.top_n(recommender.model, recommender.interactions.user_items, 7)
    seen = np.diff(recommender.interactions.user_items.indptr)
    np.testing.assert_array_equal((lists == -1).sum(axis=1), seen)
    assert (np.diff((lists == -1).astype(int), axis=1) >= 0).all()


def test_some_users_get_the_same_lists_as_all(recommender):
    user_items = recommender.interactions.user_items
    everyone = recommend.top_n(recommender.model, user_items, 2)
    some = recommend.top_n(recommender.model, user_items, 2, users=np.array([4, 1]))
    np.testing.assert_array_equal(some, everyone[[4, 1]])


def test_popular_lists_leave_out_what_was_seen(recommender):
    user_items = recommender.interactions.user_items
    ranked = recommend.popular_items(user_items, 7)
    counts = np.asarray((user_items > 0).sum(axis=0)).ravel()
    assert (np.diff(counts[ranked]) <= 0).all()
    for user, row in enumerate(recommend.popular_top_n(user_items, 3)):
        seen = user_items[user].indices
        assert row[row >= 0].tolist() == [item for item in ranked if item not in seen][:3]


def test_a_person_gets_titles_that_are_new_to_them(recommender):
    table = recommender.recommend("a", 3)
    assert table["title"].iloc[0] == "Dune"
    assert not set(table["title"]) & set(TASTES["a"].split())
    assert table["score"].is_monotonic_decreasing
    assert set(table["why"]) == {"ALS"}


def test_a_user_without_history_gets_the_popular_list_and_is_told(recommender):
    table = recommender.recommend("newcomer", 2)
    assert table["title"].tolist() == ["Alien", "Emma"]
    assert table["score"].tolist() == [3 / 6, 3 / 6]
    assert set(table["why"]) == {"popular (no history)"}


def test_similar_items_are_those_of_the_same_people(recommender):
    table = recommender.similar_items("Brazil", 2)
    assert table["title"].iloc[0] == "Contact"
    assert "Brazil" not in set(table["title"])
    assert table["users"].iloc[0] == 2


def test_a_title_that_is_nearly_right_gets_suggestions(recommender):
    with pytest.raises(KeyError, match="no item has the title 'Brasil'; did you mean 'Brazil'"):
        recommender.similar_items("Brasil", 2)
    with pytest.raises(KeyError, match="'Fargo'"):
        recommender.find_item("fargo")
    with pytest.raises(KeyError, match=r"title 'xyzzy'\"$"):
        recommender.find_item("xyzzy")


def test_of_two_items_with_one_title_the_better_known_is_taken(recommender):
    items = recommender.items.replace({"title": {"Grease": "Emma"}})
    twins = recommend.Recommender(recommender.model, recommender.interactions, items)
    assert twins.find_item("Emma") == recommender.find_item("Emma")


def test_an_item_without_a_title_is_shown_by_its_id(recommender):
    items = recommender.items.query("item_id != 'dune'")
    table = recommend.Recommender(recommender.model, recommender.interactions, items)
    assert table.recommend("a", 1)["title"].tolist() == ["dune"]


def test_the_contributions_sum_to_the_score(recommender):
    """With the exact user vector, the explanation is the score itself."""
    parts = recommender.explain("a", "Dune", 7)
    assert set(parts.index) == set(TASTES["a"].split())
    model, user = recommender.model, recommender.interactions.user_index("a")
    exact = model.recalculate_user(user, recommender.interactions.user_items[user])
    score = exact @ model.item_factors[recommender.find_item("Dune")]
    assert parts["contribution"].sum() == pytest.approx(score, rel=1e-6)
    assert parts["share"].sum() == pytest.approx(1)


def test_the_history_is_latest_first(recommender):
    assert recommender.history("b", 2)["title"].tolist() == ["Dune", "Contact"]


def test_unknown_users_and_impossible_lengths_get_a_clear_error(recommender):
    with pytest.raises(KeyError, match="user_id 'nobody' is not among the 6 known ids"):
        recommender.recommend("nobody")
    for call in (
        lambda: recommender.recommend("a", 8),
        lambda: recommender.recommend("newcomer", 8),
        lambda: recommend.popular_items(recommender.interactions.user_items, 8),
        lambda: recommend.top_n(recommender.model, recommender.interactions.user_items, 8),
    ):
        with pytest.raises(ValueError, match="n is 8, expected 1 to 7"):
            call()
    with pytest.raises(ValueError, match="n is 7, expected 1 to 6"):
        recommender.similar_items("Emma", 7)
    with pytest.raises(ValueError, match="n is 0"):
        recommender.recommend("a", 0)


def test_a_matrix_of_another_shape_is_refused(recommender):
    turned = recommender.interactions.user_items.T.tocsr()
    with pytest.raises(ValueError, match=r"did you mean user_items\.T\.tocsr"):
        recommend.top_n(recommender.model, turned, 2)
    other = AlternatingLeastSquares(factors=2, iterations=1, random_state=0)
    other.fit(csr_matrix(np.ones((3, 3))), show_progress=False)
    with pytest.raises(ValueError, match="but there are 3 users"):
        recommend.Recommender(other, recommender.interactions, recommender.items)


def test_a_sweep_compares_with_the_base_model(recommender):
    interactions = recommender.interactions
    rows, _ = interactions.cells()
    last = np.r_[np.diff(rows) > 0, True]
    train, test = interactions.select(~last), interactions.select(last)
    base = {"factors": 2, "regularization": 0.1, "alpha": 1.0, "iterations": 3, "seed": 0}
    table = sweeps.one_at_a_time(train, test, {"factors": [1, 2], "seed": [0]}, base, k=2)
    assert table.index.tolist() == [("factors", "1"), ("factors", "2"), ("seed", "0")]
    assert table.loc[("factors", "2"), "overlap"] == 1
    assert table.loc[("seed", "0"), "loss"] == table.loc[("factors", "2"), "loss"]
    with pytest.raises(ValueError, match=r"unknown settings \['rank'\]"):
        sweeps.one_at_a_time(train, test, {"rank": [1]}, base)


@given(seed=st.integers(0, 999), n=st.integers(1, 12), decimals=st.integers(0, 2))
def test_many_ties_are_ordered_by_index_whatever_their_number(seed, n, decimals):
    """Against a full sort; with 60 items and rounded scores, ties reach far beyond the list."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(5, 60)).round(decimals)
    seen = csr_matrix(random.random((5, 60)) < 0.3)
    items, _ = recommend.rank_items(scores, n, seen)
    masked = np.where(seen.toarray(), -np.inf, scores)
    assert (items == np.argsort(-masked, axis=1, kind="stable")[:, :n]).all()


def test_scores_are_the_products_of_the_factors(recommender):
    model, user_items = recommender.model, recommender.interactions.user_items
    expected = model.user_factors @ model.item_factors.T
    np.testing.assert_allclose(recommend.scores(model, user_items), expected)
    some = recommend.scores(model, user_items, np.array([2, 0]))
    np.testing.assert_allclose(some, expected[[2, 0]])
    with pytest.raises(ValueError, match=r"did you mean user_items\.T\.tocsr\(\)\?"):
        recommend.scores(model, user_items.T.tocsr())


def test_scores_that_are_nan_are_refused():
    user_items = csr_matrix(np.eye(4))
    model, _ = sweeps.fit(user_items, factors=2, regularization=0.1, alpha=1, iterations=1, seed=0)
    model.item_factors[1, 0] = np.nan
    for call in (recommend.top_n, recommend.scores):
        with pytest.raises(ValueError, match="scores that are NaN, so no order is defined"):
            call(model, user_items, 2) if call is recommend.top_n else call(model, user_items)


def test_a_model_that_is_not_fitted_says_so():
    model = AlternatingLeastSquares()
    with pytest.raises(ValueError, match="AlternatingLeastSquares is not fitted; call fit"):
        recommend.top_n(model, csr_matrix(np.eye(3)), 2)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_the_scale_of_the_scores_decides_nothing(scale):
    scores = scale * np.array([[2.0, 0.0, *[1.0] * 60, 3.0]])
    assert recommend.rank_items(scores, 5)[0].tolist() == [[62, 0, 2, 3, 4]]
