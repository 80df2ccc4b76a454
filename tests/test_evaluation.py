from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from logs_fixtures import frame
from scipy.sparse import csr_matrix

from helpers import baselines, evaluation, metrics, recommend, splits, weighting
from helpers.interactions import Interactions

SMALL = {"BPR": {"factors": 4, "iterations": 10}, "ALS": {"factors": 4, "iterations": 5},
         "IALS": {"factors": 4, "iterations": 5, "unobserved_weight": 0.3, "weighting": "linear"},
         "EASE": {"regularization": 10.0}}  # fmt: skip
NDCG = "ndcg@5"


@pytest.fixture(scope="module")
def data():
    """80 users of two kinds, each with its half of 40 items, popular ones first."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(80):
        size = rng.integers(6, 19)
        items = rng.choice(20, size, replace=False, p=np.arange(20, 0, -1) / 210)
        rows += [
            (f"u{user:02}", f"i{20 * (user % 2) + item:02}", float(rng.integers(1, 6)), second)
            for second, item in enumerate(items)
        ]
    return Interactions.from_frame(frame(rows))


@pytest.fixture(scope="module")
def draws(data):
    return [splits.random_ratio(data, 0.25, by="item", seed=s) for s in range(2)]


@pytest.fixture(scope="module")
def compared(draws):
    return evaluation.compare(baselines.recipes(SMALL), draws, k=5, progress=False)


def test_every_model_is_judged_on_the_same_users(compared, draws):
    assert list(compared.lists) == list(baselines.recipes(SMALL))
    for s, split in enumerate(draws):
        both = np.minimum(*(np.diff(side.user_items.indptr) for side in (split.train, split.test)))
        np.testing.assert_array_equal(compared.users[s], np.flatnonzero(both))
        judged = compared.measured.xs(s, level="split").groupby("model").size()
        assert (judged == len(compared.users[s])).all()


def test_the_values_are_those_of_a_single_run(compared, draws):
    """What the threads give is what one fit after the other gives."""
    recipe = baselines.recipes(SMALL)["IALS"]
    model, split, users = recipe.fit(draws[1].train), draws[1], compared.users[1]
    lists = recommend.top_n(model, recipe.matrix(split.train), 5, users=users)
    np.testing.assert_array_equal(lists, compared.lists["IALS"][1])
    expected = evaluation.ndcg(lists, split.test.user_items[users], 5)
    found = compared.measured.loc[("IALS", 1), NDCG]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(found.index, users)


def test_the_number_of_workers_changes_nothing(compared, draws):
    again = evaluation.compare(
        baselines.recipes(SMALL), draws, k=5, workers=1, progress=False
    )  # fmt: skip
    pd.testing.assert_frame_equal(again.measured, compared.measured)


def test_the_users_means_are_means_over_the_splits_that_judge_them(compared):
    users = compared.per_user(NDCG)
    values = compared.measured.loc["EASE", NDCG]
    for user in users.index[:5]:
        expected = values[values.index.get_level_values("user") == user].mean()
        assert users.loc[user, "EASE"] == pytest.approx(expected)


def test_the_accuracy_table_has_means_intervals_and_splits(compared):
    table = compared.accuracy([NDCG, "recall@5", "auc"])
    assert list(table) == [NDCG, "low", "high", "worst split", "best split", "recall@5", "auc"]
    assert ((table["low"] <= table[NDCG]) & (table[NDCG] <= table["high"])).all()
    assert (table["worst split"] <= table["best split"]).all()
    assert table.loc["random", "auc"] == pytest.approx(0.5, abs=0.06)
    assert table.loc["IALS", NDCG] > table.loc["popular", NDCG] > table.loc["random", NDCG]
    means = [compared.measured.loc[("IALS", s), NDCG].mean() for s in (0, 1)]
    assert table.loc["IALS", ["worst split", "best split"]].tolist() == pytest.approx(sorted(means))


def test_differences_are_paired_by_user(compared):
    table = compared.differences("IALS", NDCG)
    users = compared.per_user(NDCG)
    pair = metrics.paired(users["IALS"], users["popular"])
    row = table.loc["popular"]
    assert row["difference"] == pytest.approx((users["IALS"] - users["popular"]).mean())
    assert (row["low"], row["high"], row["p"]) == (pair.low, pair.high, pair.p_value)
    assert row["verdict"] == "ahead"
    assert "IALS" not in table.index
    assert compared.differences("random", NDCG).loc["IALS", "verdict"] == "behind"
    with pytest.raises(KeyError, match="no model is called 'SVD'; there are"):
        compared.differences("SVD", NDCG)


def test_a_model_is_tied_with_its_twin(draws):
    twins = {"one": baselines.recipes({})["popular"], "other": baselines.recipes({})["popular"]}
    table = evaluation.compare(twins, draws[:1], k=5, progress=False).differences("one", NDCG)
    assert table.loc["other", ["difference", "verdict"]].tolist() == [0, "tied"]


def test_the_slices_are_parts_of_the_whole(compared):
    activity = compared.by_activity(["IALS", "popular"], NDCG)
    part = activity.loc["IALS"]
    whole = compared.per_user(NDCG)["IALS"].mean()
    assert (part["mean"] * part["n"]).sum() / part["n"].sum() == pytest.approx(whole)
    ends = [tuple(map(int, name.split(" to "))) for name in part.index]
    assert all(before[1] < after[0] for before, after in pairwise(ends))


def test_the_recall_of_popular_items_is_counted_by_hand(compared, draws):
    table = compared.by_popularity(["popular"], tiers=(0.1, 0.5))
    train, test, users = draws[0].train, draws[0].test, compared.users[0]
    head = set(recommend.popular_items(train.user_items, 4))
    shares = []
    for user, row in zip(users, compared.lists["popular"][0], strict=True):
        held_out = set(test.user_items[user].indices) & head
        if held_out:
            shares.append(len(held_out & set(row)) / len(held_out))
    first = table.loc[("popular", "0 to 10%")]
    assert first["n"] == len(shares)
    assert first["mean"] == pytest.approx(np.mean(shares))


def test_beyond_covers_all_models_and_features(compared):
    table = compared.beyond({"factors": compared.models["IALS"].item_factors})
    assert list(table.index) == list(compared.lists)
    assert table.loc["random", "coverage"] > table.loc["popular", "coverage"]
    assert "diversity (factors)" in table


def test_the_cap_limits_who_is_judged_and_not_what_is_learned(compared, draws):
    recipes = {"popular": baselines.recipes({})["popular"]}
    few = evaluation.compare(recipes, draws, k=5, max_users=10, progress=False)
    assert all(len(users) <= 10 for users in few.users)
    rows = np.isin(compared.users[0], few.users[0])
    np.testing.assert_array_equal(few.lists["popular"][0], compared.lists["popular"][0][rows])


def test_what_cannot_be_compared_is_refused(data, draws):
    recipes = {"popular": baselines.recipes({})["popular"]}
    with pytest.raises(ValueError, match="nothing to compare"):
        evaluation.compare({}, draws)
    with pytest.raises(ValueError, match="n is 41, expected 1 to 40"):
        evaluation.compare(recipes, draws, k=41, progress=False)
    rows, _ = data.cells()
    strangers = splits.Split(data.select(rows < 40), data.select(rows >= 40))
    with pytest.raises(ValueError, match="no user has something in train and something held out"):
        evaluation.compare(recipes, [strangers], progress=False)


def test_users_without_a_held_out_item_are_left_out():
    held_out = csr_matrix([[0, 1, 0], [0, 0, 0]])
    assert evaluation.ndcg(np.array([[1], [1]]), held_out, 1).to_dict() == {0: 1.0}


def test_genres_are_none_where_none_are_known(data):
    assert evaluation.genres(pd.DataFrame({"item_id": ["i00"]}), data.item_ids) is None
    items = pd.DataFrame({"item_id": ["i00", "i01"], "genres": ["", None]})
    assert evaluation.genres(items, data.item_ids) is None
    items["genres"] = ["A|B", "B"]
    flags = evaluation.genres(items, data.item_ids)
    assert flags.shape == (40, 2)
    assert flags.sum() == 3


@pytest.mark.parametrize("first", ["at random", "by time"])
def test_newcomers_take_no_part_in_training(data, first, monkeypatch):
    seen = []
    recipe = baselines.recipes(SMALL)["IALS"]
    monkeypatch.setattr(
        baselines.Recipe, "fit",
        lambda self, train, fit=baselines.Recipe.fit: seen.append(train) or fit(self, train),
    )  # fmt: skip
    curves = evaluation.cold_start(
        {"IALS": recipe}, data, known=(1, 3, 5), first=first, k=5, max_users=20, min_users=10
    )
    assert list(curves) == [1, 3, 5]
    assert {len(values) for values in curves.values()} == {16}  # a fifth of the users
    (train,) = seen
    assert train.n_users == data.n_users - 16 == train.user_items.shape[0]
    assert train.item_ids.equals(data.item_ids)


def test_a_model_without_history_draws_a_flat_line_and_the_others_learn(data):
    recipes = {m: baselines.recipes(SMALL)[m] for m in ("IALS", "EASE", "popular")}
    curves = evaluation.cold_start(recipes, data, known=(1, 5), k=5, min_users=10)
    assert curves[1]["popular"].equals(curves[5]["popular"])
    assert curves[5]["IALS"].mean() > curves[1]["IALS"].mean() - 0.05
    assert curves[5]["IALS"].mean() > curves[5]["popular"].mean()
    table = evaluation.cold_start_table(curves, "IALS", "popular")
    gap = curves[5]["IALS"].mean() - curves[5]["popular"].mean()
    assert table.loc[5, "difference"] == pytest.approx(gap)
    assert evaluation.ahead_from(table) in (1, 5)


def test_the_fold_in_is_the_exact_vector_of_the_known_items(data):
    """One newcomer by hand: train without them, solve, rank."""
    recipe = baselines.recipes(SMALL)["IALS"]
    curves = evaluation.cold_start(
        {"IALS": recipe}, data, known=(5,), first="by time", k=5, max_users=1, min_users=1
    )
    eligible = np.flatnonzero(np.diff(data.user_items.indptr) > 5)
    user = np.random.default_rng(0).permutation(eligible)[0]
    others = np.setdiff1d(np.arange(data.n_users), [user])
    model = recipe.make(data)
    model.fit(data.user_items[others], show_progress=False)
    cells = np.arange(data.user_items.indptr[user], data.user_items.indptr[user + 1])
    cells = cells[np.argsort(data.order[cells])]
    history = data.select(np.isin(np.arange(data.nnz), cells[:5])).user_items[[user]]
    later = data.select(np.isin(np.arange(data.nnz), cells[5:])).user_items[[user]]
    scores = model.recalculate_user(np.array([0]), history) @ model.item_factors.T
    lists, _ = recommend.rank_items(scores, 5, history)
    assert curves[5]["IALS"].tolist() == pytest.approx(evaluation.ndcg(lists, later, 5).tolist())


def test_short_histories_shorten_the_curve(data):
    recipes = {"popular": baselines.recipes({})["popular"]}
    most = int((np.diff(data.user_items.indptr) > 10).sum())
    curves = evaluation.cold_start(recipes, data, known=(1, 10, 500), k=5, min_users=most)
    assert list(curves) == [1, 10]
    assert evaluation.cold_start(recipes, data, known=(500,), min_users=1) == {}
    with pytest.raises(ValueError, match="known holds 0, expected numbers of at least 1"):
        evaluation.cold_start(recipes, data, known=(0, 5))
    with pytest.raises(ValueError, match="first is 'best', expected 'by time' or 'at random'"):
        evaluation.cold_start(recipes, data, first="best")


def test_the_four_users_differ(draws):
    train, test = draws[0].train, draws[0].test
    chosen = evaluation.example_users(train, test)
    sizes = np.diff(train.user_items.indptr)
    judged = np.flatnonzero((sizes > 0) & (np.diff(test.user_items.indptr) > 0))
    assert len(set(chosen.values())) == 4
    assert sizes[chosen["most active"]] == sizes[judged].max()
    assert sizes[chosen["shortest history"]] == sizes[judged].min()
    assert abs(sizes[chosen["median"]] - np.median(sizes[judged])) <= 1
    assert sizes[chosen["unusual taste"]] >= np.median(sizes[judged]) - 1


def test_a_portrait_says_what_the_list_says(compared, draws):
    split, model, matrix = draws[0], compared.models["IALS"], compared.matrices["IALS"]
    titles = pd.Series([f"*{item}*" for item in split.train.item_ids])
    user = evaluation.example_users(split.train, split.test)["median"]
    person = evaluation.portrait(model, matrix, split, titles, user, k=5)
    chosen = recommend.top_n(model, matrix, 5, users=np.array([user]))[0]
    held_out = split.test.user_items[user].indices
    assert person.table["recommended"].tolist() == titles[chosen].tolist()
    assert (
        person.n_hits
        == len(set(chosen) & set(held_out))
        == (person.table["held out"] == "yes").sum()
    )
    known = set(titles[split.train.user_items[user].indices])
    assert set(person.table["because of"]) <= known
    assert set(person.history) <= known
    scores = recommend.scores(model, matrix, np.array([user]))[0]
    unseen = np.setdiff1d(np.arange(40), split.train.user_items[user].indices)
    ranks = {i: 1 + (scores[unseen] > scores[i]).sum() for i in held_out}
    assert person.missed_rank == max(ranks.values())
    assert person.best_rank == min(ranks.values())
    assert person.n_candidates == len(unseen)
    story = person.story(5)
    assert f"{person.n_hits} of 5 places are hits" in story
    assert r"*\*i" in story  # titles are escaped


def test_four_portraits_are_drawn_from_a_comparison(compared, draws):
    titles = pd.Series(draws[0].train.item_ids)
    people = evaluation.portraits(compared, "IALS", titles)
    assert list(people) == list(evaluation.example_users(draws[0].train, draws[0].test))
    assert all(len(person.table) == 5 for person in people.values())


def test_the_rating_error_is_that_of_the_formula(draws):
    train, test = draws[0].train, draws[0].test
    model = baselines.ExplicitALS(factors=2, regularization=0.1)
    model.fit(train.user_items)
    predicted = (model.user_factors @ model.item_factors.T)[test.user_items.nonzero()]
    error = np.sqrt(np.mean((predicted - test.user_items.data) ** 2))
    assert evaluation.rating_error(model, test) == pytest.approx(error)


def test_the_average_of_a_model_with_itself_is_the_model(draws):
    popular = baselines.recipes({})["popular"]
    values = evaluation.blend({"one": popular, "two": popular}, draws[0], k=5)
    assert values["average"].equals(values["one"].rename("average"))
    assert list(values) == ["one", "two", "average"]


def test_seen_items_are_last_in_an_average():
    scores = np.array([[9.0, 1.0, 5.0]])
    average = evaluation.rank_average([scores], csr_matrix([[1, 0, 0]]))
    assert np.argsort(-average[0]).tolist() == [2, 1, 0]


def test_the_first_items_of_a_user():
    rows = [("a", x, 1.0, 60 * t) for t, x in enumerate("pqrs")] + [("b", "p", 1.0, 0)]
    table = evaluation.first_items(Interactions.from_frame(frame(rows)), 2)
    assert table.index.tolist() == [0]
    assert table.loc[0].tolist() == [1.0, 1.5, 1.0]  # one minute; p has two users, q, r, s one


def test_a_linear_weighting_reaches_the_fold_in(data):
    recipe = baselines.recipes(SMALL)["IALS"]
    assert recipe.matrix(data) is data.user_items
    binary = baselines.recipes({})["IALS"].matrix(data)
    np.testing.assert_array_equal(binary.data, weighting.binary(data.user_items).data)
