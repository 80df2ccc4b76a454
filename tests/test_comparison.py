from functools import partial

import numpy as np
import pandas as pd
import pytest
from logs_fixtures import frame

from helpers import comparison, metrics, models, recommend, splits, tuning
from helpers.comparison import compare
from helpers.interactions import Interactions

SMALL = {"BPR": {"factors": 4, "iterations": 10}, "ALS": {"factors": 4, "iterations": 5},
         "IALS": {"factors": 4, "iterations": 5, "unobserved_weight": 0.3, "weighting": "raw"},
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
def factories():
    return models.model_factories(SMALL)


@pytest.fixture(scope="module")
def compared(draws, factories):
    return compare(factories, draws, k=5, progress=False)


def test_every_model_is_scored_on_the_same_users(compared, draws, factories):
    assert list(compared.lists) == list(compared.models) == list(factories)
    for s, split in enumerate(draws):
        both = np.minimum(split.train.user_counts, split.test.user_counts)
        np.testing.assert_array_equal(compared.users[s], np.flatnonzero(both))
        scored = compared.measured.xs(s, level="split").groupby("model").size()
        assert (scored == len(compared.users[s])).all()


@pytest.mark.parametrize("name", ["IALS", "EASE", "popular"])
def test_the_values_are_those_of_a_single_run(compared, draws, factories, name):
    """What the threads and the blocks give is what one fit after the other gives."""
    split, users = draws[1], compared.users[1]
    model, matrix = factories[name].fit(split.train), factories[name].matrix(split.train)
    lists = recommend.top_n(model, matrix, 5, users=users)
    np.testing.assert_array_equal(lists, compared.lists[name][1])
    found = compared.measured.loc[(name, 1)]
    test = split.test.user_items[users]
    np.testing.assert_allclose(found[NDCG], metrics.accuracy(lists, test, [5])[NDCG])
    np.testing.assert_array_equal(found.index, users)


def test_neither_workers_nor_blocks_change_the_values(compared, draws, factories, monkeypatch):
    monkeypatch.setattr(recommend, "CELLS", 7 * 40)
    one = partial(tuning.in_parallel, workers=1)
    monkeypatch.setattr(comparison, "in_parallel", one)
    again = compare(factories, draws, k=5, progress=False)
    pd.testing.assert_frame_equal(again.measured, compared.measured)


def test_the_users_means_are_means_over_the_splits_that_score_them(compared):
    users = compared.per_user(NDCG)
    values = compared.measured.loc["EASE", NDCG]
    for user in users.index[:5]:
        expected = values[values.index.get_level_values("user") == user].mean()
        assert users.loc[user, "EASE"] == pytest.approx(expected)


def test_a_metric_without_any_value_keeps_its_columns(draws, factories):
    chosen = {name: factories[name] for name in ("popular", "random")}
    found = compare(chosen, draws[:1], k=5, progress=False)
    found.measured.loc[("popular",), "mrr@5"] = np.nan
    assert found.per_user("mrr@5")["popular"].isna().all()
    assert found.per_split("mrr@5")["popular"].isna().all()
    assert found.per_user("mrr@5")["random"].notna().all()


def test_the_accuracy_table_has_means_intervals_and_splits(compared):
    table = compared.accuracy([NDCG, "recall@5", "mrr@5"])
    assert list(table) == [NDCG, "low", "high", "worst split", "best split", "recall@5", "mrr@5"]
    assert ((table["low"] <= table[NDCG]) & (table[NDCG] <= table["high"])).all()
    assert (table["worst split"] <= table["best split"]).all()
    assert table.loc["IALS", NDCG] > table.loc["popular", NDCG] > table.loc["random", NDCG]
    means = [compared.measured.loc[("IALS", s), NDCG].mean() for s in (0, 1)]
    assert table.loc["IALS", ["worst split", "best split"]].tolist() == pytest.approx(sorted(means))


def test_the_cap_limits_who_is_scored_and_not_what_is_learned(compared, draws, factories):
    few = compare({"popular": factories["popular"]}, draws, k=5, max_users=10, progress=False)
    assert all(len(users) == 10 for users in few.users)
    assert len(set(few.users[0]) & set(few.users[1])) > 5  # mostly the same users
    rows = np.isin(compared.users[0], few.users[0])
    np.testing.assert_array_equal(few.lists["popular"][0], compared.lists["popular"][0][rows])


def test_what_cannot_be_compared_is_refused(data, draws, factories):
    popular = {"popular": factories["popular"]}
    for nothing in (({}, draws), (popular, [])):
        with pytest.raises(ValueError, match="nothing to compare"):
            compare(*nothing)
    with pytest.raises(ValueError, match="n is 41, expected 1 to 40"):
        compare(popular, draws, k=41, progress=False)
    rows, _ = data.cells()
    strangers = splits.Split(data.select(rows < 40), data.select(rows >= 40))
    with pytest.raises(ValueError, match="no user has something in train and in test"):
        compare(popular, [strangers], progress=False)
