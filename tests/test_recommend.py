from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from logs_fixtures import frame
from scipy.sparse import csr_matrix

from helpers import recommend
from helpers.als import ExactALS
from helpers.interactions import Interactions
from helpers.models import EASE, Popularity

TASTES = {"a": "Alien Brazil Contact", "b": "Alien Brazil Contact Dune", "c": "Emma Fargo",
          "d": "Emma Fargo Grease", "e": "Alien Emma"}  # fmt: skip


@pytest.fixture(scope="module")
def recommender():
    rows = [(u, f.lower(), 1.0, t) for u, films in TASTES.items()
            for t, f in enumerate(films.split())]  # fmt: skip
    interactions = Interactions.from_frame(frame([*rows, ("newcomer", "alien", 0.0, 9)]))
    items = pd.DataFrame({"item_id": interactions.item_ids})
    items["title"] = items["item_id"].str.title()
    model = fitted(interactions.user_items, iterations=10)
    return recommend.Recommender(model, interactions, items)


def fitted(user_items, iterations):
    model = ExactALS(
        factors=3, regularization=0.1, alpha=5, iterations=iterations, random_state=0, num_threads=1
    )
    model.fit(user_items, show_progress=False)
    return model


def test_lists_hold_new_items_best_first(recommender):
    user_items, model = recommender.interactions.user_items, recommender.model
    lists = recommend.top_n(model, user_items, 3)
    scores = model.user_factors @ model.item_factors.T
    # The newcomer's scores are all 0, where any order is as good as another.
    for user in np.flatnonzero(np.diff(user_items.indptr)):
        new = np.setdiff1d(np.arange(7), user_items[user].indices)
        assert lists[user].tolist() == new[np.argsort(-scores[user, new])][:3].tolist()


def test_items_with_equal_scores_are_ordered_by_index():
    """Ten items with the same users: whatever the last bits say, the order is that of the index."""
    user_items = csr_matrix(np.repeat([[1.0], [1.0], [0.0]], 10, axis=1))
    model = fitted(user_items, iterations=5)
    model.item_factors *= 1 + np.random.default_rng(0).normal(size=(10, 1)) * 1e-14
    assert recommend.top_n(model, user_items, 4, users=np.array([2]))[0].tolist() == [0, 1, 2, 3]


def test_a_short_list_is_padded(recommender):
    lists = recommend.top_n(recommender.model, recommender.interactions.user_items, 7)
    known = recommender.interactions.user_counts
    np.testing.assert_array_equal((lists == -1).sum(axis=1), known)
    assert (np.diff((lists == -1).astype(int), axis=1) >= 0).all()


def test_some_users_get_the_same_lists_as_all(recommender):
    user_items = recommender.interactions.user_items
    everyone = recommend.top_n(recommender.model, user_items, 2)
    some = recommend.top_n(recommender.model, user_items, 2, users=np.array([4, 1]))
    np.testing.assert_array_equal(some, everyone[[4, 1]])


def test_the_lists_do_not_depend_on_the_blocks(recommender, monkeypatch):
    user_items = recommender.interactions.user_items
    expected = recommend.top_n(recommender.model, user_items, 2)
    monkeypatch.setattr(recommend, "CELLS", 15)  # two users of seven items
    np.testing.assert_array_equal(recommend.top_n(recommender.model, user_items, 2), expected)
    ease = EASE()  # it reads the histories of each block
    ease.fit(user_items, show_progress=False)
    in_blocks = recommend.top_n(ease, user_items, 2)
    monkeypatch.undo()
    np.testing.assert_array_equal(in_blocks, recommend.top_n(ease, user_items, 2))
    empty = recommend.top_n(recommender.model, user_items, 2, users=np.array([], dtype=int))
    assert empty.shape == (0, 2)


def test_popular_items_are_those_of_most_users(recommender):
    user_items = recommender.interactions.user_items
    counts = np.asarray((user_items > 0).sum(axis=0)).ravel()
    ranked = recommend.popular_items(user_items, 7).tolist()
    assert ranked == sorted(range(7), key=lambda item: (-counts[item], item))
    popular = Popularity()
    popular.fit(user_items, show_progress=False)
    for user, row in enumerate(recommend.top_n(popular, user_items, 3)):
        known = user_items[user].indices
        assert row[row >= 0].tolist() == [item for item in ranked if item not in known][:3]


def test_a_person_gets_titles_that_are_new_to_them(recommender):
    table = recommender.recommend("a", 3)
    assert table["title"].iloc[0] == "Dune"
    assert not set(table["title"]) & set(TASTES["a"].split())
    assert table["score"].is_monotonic_decreasing
    assert set(table["why"]) == {"ExactALS"}
    user, items = recommender.interactions.user_index("a"), recommender.items
    best = recommender.model.user_factors[user] @ recommender.model.item_factors.T
    columns = [recommender.find_item(title) for title in table["title"]]
    np.testing.assert_allclose(table["score"], best[columns])
    assert len(recommender.recommend("a", 7)) == len(items) - 3  # no row for an empty place


def test_any_model_with_scores_gives_reasons_by_its_class(recommender):
    popular = Popularity()
    popular.fit(recommender.interactions.user_items, show_progress=False)
    shop = recommend.Recommender(popular, recommender.interactions, recommender.items)
    table = shop.recommend("a", 2)
    assert table["title"].tolist() == ["Emma", "Fargo"]
    assert set(table["why"]) == {"Popularity"}


def test_a_user_without_history_gets_the_popular_list_and_is_told(recommender):
    table = recommender.recommend("newcomer", 2)
    assert table["title"].tolist() == ["Alien", "Emma"]
    assert table["score"].tolist() == [3 / 6, 3 / 6]  # shares of all users, the newcomer too
    assert recommender.recommend("newcomer", 3)["score"].tolist() == [3 / 6, 3 / 6, 2 / 6]
    assert set(table["why"]) == {"popular (no history)"}


def test_similar_items_are_those_of_the_same_people(recommender):
    table = recommender.similar_items("Brazil", 2)
    assert table["title"].iloc[0] == "Contact"
    assert table["users"].iloc[0] == 2
    everything = recommender.similar_items("Brazil", 6)
    assert set(everything["title"]) == set(recommender.items["title"]) - {"Brazil"}
    factors, item = recommender.model.item_factors, recommender.find_item("Brazil")
    for title, cosine in zip(everything["title"], everything["cosine"], strict=True):
        other = factors[recommender.find_item(title)]
        length = np.linalg.norm(other) * np.linalg.norm(factors[item])
        assert cosine == pytest.approx(other @ factors[item] / length)


def test_similar_items_agree_with_implicit(recommender):
    ids, cosines = recommender.model.similar_items(recommender.find_item("Emma"), N=4)
    table = recommender.similar_items("Emma", 3)
    assert table["title"].tolist() == recommender.titles.iloc[ids[1:]].tolist()
    np.testing.assert_allclose(table["cosine"], cosines[1:], rtol=1e-6)


def test_an_item_that_nobody_has_is_no_neighbour_and_has_none(recommender):
    rows = [(u, f.lower(), 1.0, 0) for u, films in TASTES.items() for f in films.split()]
    interactions = Interactions.from_frame(frame([*rows, ("newcomer", "unknown", 0.0, 9)]))
    items = pd.DataFrame({"item_id": interactions.item_ids, "title": interactions.item_ids})
    some = recommend.Recommender(fitted(interactions.user_items, 5), interactions, items)
    assert "unknown" not in set(some.similar_items("emma", 7)["title"])
    with pytest.raises(ValueError, match=r"no user has 'unknown'.*it has no neighbours"):
        some.similar_items("unknown", 2)
    with pytest.raises(ValueError, match=r"no user has 'unknown'.*its score is 0 for all"):
        some.explain("a", "unknown")
    with pytest.raises(ValueError, match="user 'newcomer' has no history"):
        some.explain("newcomer", "emma")


def test_a_title_that_is_nearly_right_gets_suggestions(recommender):
    for nearly in ("Brasil", "brazil", "BRASIL"):
        with pytest.raises(
            KeyError, match=f"the title '{nearly}'; did you mean 'Brazil'"
        ) as caught:
            recommender.similar_items(nearly, 2)
        assert str(caught.value).count("'Brazil'") == 1
    with pytest.raises(KeyError, match="did you mean 'Contact'"):  # a part, too short to be near
        recommender.find_item("con")
    with pytest.raises(KeyError, match=r"title 'xyzzy'\"$"):
        recommender.find_item("xyzzy")


def test_of_items_with_one_title_the_best_known_is_taken(recommender):
    counts = {"Alien": 3, "Brazil": 2, "Contact": 2, "Dune": 1, "Emma": 3}  # users of each
    for shared, best in [
        (["Dune", "Alien", "Brazil"], "Alien"),
        (["Dune", "Contact"], "Contact"),
        (["Dune", "Emma"], "Emma"),
        (["Brazil", "Contact"], "Brazil"),
    ]:
        assert counts[best] == max(counts[title] for title in shared)
        items = recommender.items.replace({"title": dict.fromkeys(shared, "One")})
        twins = recommend.Recommender(recommender.model, recommender.interactions, items)
        assert twins.find_item("One") == recommender.find_item(best)


def test_the_example_is_the_preferred_title_or_the_most_popular(recommender):
    assert recommender.example_title("Dune") == "Dune"
    assert recommender.example_title("Zardoz") == "Alien"
    pairs = [("a", "x", 1.0, 0), ("a", "y", 1.0, 0), ("b", "y", 1.0, 0)]
    interactions = Interactions.from_frame(frame(pairs))
    items = pd.DataFrame({"item_id": ["x", "y"], "title": ["Few", "Many"]})
    small = recommend.Recommender(fitted(interactions.user_items, 1), interactions, items)
    assert small.example_title("Zardoz") == "Many"


def test_an_item_without_a_title_is_shown_by_its_id(recommender):
    items = recommender.items.query("item_id != 'dune'")
    items = pd.concat([items, items.assign(title="a second row of the item")])
    table = recommend.Recommender(recommender.model, recommender.interactions, items)
    assert table.recommend("a", 1)["title"].tolist() == ["dune"]
    assert table.history("a", 1)["title"].tolist() == ["Contact"]


def test_the_contributions_sum_to_the_score(recommender):
    """With the exact user vector, the explanation is the score itself."""
    parts = recommender.explain("a", "Dune", 7)
    assert set(parts.index) == set(TASTES["a"].split())
    model, user = recommender.model, recommender.interactions.user_index("a")
    exact = model.recalculate_user(user, recommender.interactions.user_items[user])
    score = exact @ model.item_factors[recommender.find_item("Dune")]
    assert parts["contribution"].sum() == pytest.approx(score, rel=1e-6)
    assert parts["share"].sum() == pytest.approx(1)
    # A part of the explanation still is a share of the whole score.
    first = recommender.explain("a", "Dune", 1)
    pd.testing.assert_frame_equal(first, parts.iloc[:1])
    assert first["share"].item() == pytest.approx(first["contribution"].item() / score, rel=1e-6)
    assert first["share"].item() < 0.9


def test_the_history_is_latest_first(recommender):
    table = recommender.history("b", 2)
    assert table["title"].tolist() == ["Dune", "Contact"]
    assert table["day"].tolist() == ["1970-01-01"] * 2
    untimed = replace(recommender.interactions, timestamps=None)
    shop = recommend.Recommender(recommender.model, untimed, recommender.items)
    table = shop.history("b", 2)
    assert table["title"].tolist() == ["Dune", "Contact"]
    assert list(table) == ["title", "value"]


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


@given(
    seed=st.integers(0, 999),
    n=st.integers(1, 12),
    decimals=st.integers(0, 2),
    infinite=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_many_ties_are_ordered_by_index_whatever_their_number(seed, n, decimals, infinite):
    """Against a full sort; with 60 items and rounded scores, ties reach far beyond the list."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(5, 60)).round(decimals)
    scores[random.random((5, 60)) < infinite] = np.inf
    train = csr_matrix(random.random((5, 60)) < 0.3)
    items, best = recommend.rank_items(scores, n, train)
    masked = np.where(train.toarray(), -np.inf, scores)
    assert (items == np.argsort(-masked, axis=1, kind="stable")[:, :n]).all()
    assert (best == np.take_along_axis(scores, items, axis=1)).all()


def test_infinite_scores_rank_first_and_minus_infinity_never():
    scores = np.array([[1.0, np.inf, -np.inf, 3.0, np.inf], [-np.inf] * 5])
    items, best = recommend.rank_items(scores, 5)
    assert items.tolist() == [[1, 4, 3, 0, -1], [-1] * 5]
    assert best[0].tolist() == [np.inf, np.inf, 3.0, 1.0, -np.inf]
    items, best = recommend.rank_items(scores[:1], 4, csr_matrix([[0, 1, 0, 0, 0]]))
    assert items.tolist() == [[4, 3, 0, -1]]
    assert best[0].tolist() == [np.inf, 3.0, 1.0, -np.inf]


def test_ties_just_beyond_the_candidates_are_ordered_by_index_too():
    random = np.random.default_rng(0)
    for n_ties in (24, 25, 26, 27) * 20:  # five places and twenty candidates more are looked at
        scores, tied = np.zeros((1, 60)), np.sort(random.permutation(60)[:n_ties])
        scores[0, tied] = 1 + 1e-13 * random.random(n_ties)
        assert recommend.rank_items(scores, 5)[0][0].tolist() == tied[:5].tolist()


def test_scores_that_agree_to_nine_decimals_are_equal_and_to_eight_are_not():
    assert recommend.rank_items(np.array([[1.0, 1 + 1e-11]]), 2)[0].tolist() == [[0, 1]]
    assert recommend.rank_items(np.array([[1.0, 1 + 1e-8]]), 2)[0].tolist() == [[1, 0]]


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
    model = fitted(user_items, iterations=1)
    model.item_factors[1, 0] = np.nan
    with pytest.raises(ValueError, match="scores holds 4 values that are NaN, so no order"):
        recommend.top_n(model, user_items, 2)


def test_a_model_that_is_not_fitted_says_so():
    model = AlternatingLeastSquares()
    with pytest.raises(ValueError, match="AlternatingLeastSquares is not fitted; call fit"):
        recommend.top_n(model, csr_matrix(np.eye(3)), 2)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_the_scale_of_the_scores_decides_nothing(scale):
    scores = scale * np.array([[2.0, 0.0, *[1.0] * 60, 3.0]])
    assert recommend.rank_items(scores, 5)[0].tolist() == [[62, 0, 2, 3, 4]]
    assert recommend.rank_items(-scores, 5)[0].tolist() == [[1, 2, 3, 4, 5]]
