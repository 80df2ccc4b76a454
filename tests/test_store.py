"""A store's log: the split by events, the table, the experiment, whom to serve with what."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.model_selection import train_test_split

from helpers import cleaning, metrics, store, weighting
from helpers.als import ExactALS
from helpers.models import Baseline, ModelFactory
from helpers.store.experiment import TwoByTwo, renamed
from helpers.store.models import PlainALS
from helpers.store.serving import Serving, popular_by

SMALL = {"factors": [2, 4], "iterations": [5], "weighting": ["binary"], "regularization": [1.0]}


def log(rows, **columns):
    """Events from (user, item, event, day)."""
    users, items, kinds, days = zip(*rows, strict=True)
    frame = pd.DataFrame(
        {
            "user_id": pd.Series(users, dtype="str"),
            "item_id": pd.Series(items, dtype="str"),
            "value": 1.0,
            "timestamp": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(days, unit="D"),
            "event": pd.Series(kinds, dtype="str"),
        }
    )
    return frame.assign(**columns)


def pairs(interactions):
    return sorted(interactions.to_frame()[["user_id", "item_id"]].agg("".join, axis=1))


HAND = log(
    [
        ("a", "x", "purchase", 0), ("a", "x", "purchase", 1), ("a", "y", "view", 2),
        ("b", "y", "view", 3), ("c", "x", "purchase", 4), ("c", "z", "view", 4),
        # from day 10 on
        ("a", "x", "purchase", 10), ("a", "y", "purchase", 11), ("b", "x", "purchase", 12),
        ("b", "z", "view", 12), ("d", "w", "purchase", 13),
    ]
)  # fmt: skip
CUT = "2026-01-11"


@pytest.fixture(scope="module")
def shop():
    """60 customers of two kinds, who buy in two halves of 20 items, over 60 days."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(60):
        items = rng.choice(10, 8, replace=False) + 10 * (user % 2)
        days = np.sort(rng.integers(0, 60, 8))
        rows += [(f"u{user:02}", f"i{item:02}", "purchase", day)
                 for item, day in zip(items, days, strict=True)]  # fmt: skip
    return log(rows).sort_values("timestamp", kind="stable").reset_index(drop=True)


@pytest.fixture(scope="module")
def soiled(shop):
    """The same with postage in every third order."""
    postage = shop[::3].assign(item_id="POST")
    return pd.concat([shop, postage]).sort_values("timestamp", kind="stable")


def test_events_are_split_before_they_are_merged():
    split = store.store_split(HAND, store.since(HAND, CUT))
    # The repurchased pair stays known, and is no news; a pair that was only viewed is news.
    assert pairs(split.bought) == ["ax", "cx"]
    assert pairs(split.train) == ["ax", "ay", "by", "cx", "cz"]
    assert pairs(split.test) == ["ay", "bx", "dw"]
    assert split.n_again == 1
    weights = split.train.to_frame().set_index(["user_id", "item_id"])["value"]
    assert weights["a", "x"] == 10  # two purchases
    assert weights["a", "y"] == 1
    assert split.train.user_ids[split.users].tolist() == ["a", "b"]


def test_repurchases_are_kept_when_asked_for():
    split = store.store_split(HAND, store.since(HAND, CUT), repurchases=True)
    assert pairs(split.test) == ["ax", "ay", "bx", "dw"]
    assert split.excluded(split.users) is None


def test_the_summary_by_hand():
    split = store.store_split(HAND, store.since(HAND, CUT))
    table = split.summary()
    assert table["pairs"].tolist() == [5, 2, 4, 1, 1, 2, 2]
    assert table.loc["tested", "users"] == 2
    assert table.loc["of users without history", "users"] == 1


def test_weights_choose_what_is_learned_from_and_nothing_else():
    late = store.since(HAND, CUT)
    split = store.store_split(HAND, late, weights={"view": 0, "purchase": 1})
    assert pairs(split.train) == ["ax", "cx"]
    assert pairs(split.test) == ["ay", "bx", "dw"]
    faded = store.store_split(HAND, late, half_life_days=4)
    value = faded.train.to_frame().set_index(["user_id", "item_id"])["value"]
    assert value["c", "x"] == 5  # the latest event of the training side does not fade
    assert value["a", "x"] == pytest.approx(5 * 0.5 + 5 * 0.5 ** (3 / 4))


@given(seed=st.integers(0, 50), share=st.floats(0.1, 0.9))
def test_no_event_is_on_both_sides_and_order_does_not_matter(seed, share):
    rng = np.random.default_rng(seed)
    rows = zip(
        rng.choice(list("abcd"), 40), rng.choice(list("uvwxyz"), 40),
        rng.choice(["view", "purchase"], 40), range(40), strict=True,
    )  # fmt: skip
    frame = log(list(rows))
    in_test = rng.random(40) < share
    try:
        split = store.store_split(frame, in_test)
    except ValueError as error:
        assert "no event" in str(error) or "bought before" in str(error)  # noqa: PT017
        return
    order = rng.permutation(40)
    shuffled = store.store_split(frame.iloc[order], in_test[order])
    for side in ("train", "test", "bought"):
        one, other = (getattr(each, side).user_items for each in (split, shuffled))
        assert (one != other).nnz == 0
    assert split.bought.user_items.multiply(split.test.user_items).nnz == 0
    bought_later = frame[in_test & (frame["event"] == "purchase")]
    distinct = len(bought_later.drop_duplicates(["user_id", "item_id"]))
    assert split.test.nnz + split.n_again == distinct


def test_the_random_protocol_is_that_of_scikit_learn():
    in_test = store.at_random(HAND, 0.3, seed=4)
    _, expected = train_test_split(HAND, test_size=0.3, random_state=4)
    assert sorted(HAND.index[in_test]) == sorted(expected.index)


def test_leaks_by_hand():
    frame = log([("a", "x", "purchase", 0), ("a", "y", "purchase", 0), ("a", "x", "purchase", 5),
                 ("b", "y", "purchase", 6)], order_id=["1", "1", "2", "3"])  # fmt: skip
    at_random = store.leaks(frame, np.array([False, True, True, False]))
    assert at_random.to_dict() == {
        "pair in train": 0.5,  # a, x
        "order in train": 0.5,  # order 1
        "user later in train": 0.0,
        "item later in train": 0.5,  # y, by b
    }
    in_time = store.leaks(frame, store.since(frame, "2026-01-03"))
    assert in_time.drop("pair in train").eq(0).all()


def test_lists_hold_what_was_viewed_but_not_what_was_bought():
    split = store.store_split(HAND, store.since(HAND, CUT))
    lists = split.top_n(store.default_als({"factors": 2}).fit(split.train), 4)
    names = [split.train.item_ids[row[row >= 0]].tolist() for row in lists]
    assert "x" not in names[0]
    assert "y" in names[0]
    assert len(names[0]) == 3
    assert len(names[1]) == 4


def test_who_has_no_history_gets_what_most_have_bought():
    split = store.store_split(HAND, store.since(HAND, CUT))
    row = split.train.user_ids.get_indexer(["d"])
    found = split.top_n(store.default_als({"factors": 2}).fit(split.train), 1, users=row)
    assert split.train.item_ids[found[0]].tolist() == ["x"]


LATE = store.store_split(HAND, HAND.index > 5).test


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: store.since(HAND, "2027-01-01"), "choose a moment in between"),
        (lambda: store.store_split(HAND, np.ones(3, bool)), "has 3 entries"),
        (lambda: store.store_split(HAND, np.ones(len(HAND), bool)), "before to learn"),
        (lambda: store.store_split(HAND[:6], np.arange(6) == 5), "in the test part"),
        (
            lambda: store.store_split(HAND[:2], np.array([False, True])),
            "try repurchases=True",
        ),
        (
            lambda: store.StoreSplit(*[LATE] * 2, bought=LATE),
            "share 3 pairs",
        ),
    ],
)
def test_a_split_that_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("regularization", [0.01, 3.0])
def test_plain_als_is_exact_als(regularization):
    matrix = csr_matrix((np.random.default_rng(1).random((30, 20)) < 0.2).astype(float))
    settings = {"factors": 5, "regularization": regularization, "dtype": np.float64}
    models = [cls(**settings, random_state=0) for cls in (PlainALS, ExactALS)]
    for values in (1.0, 2.5):  # the short cut, and where it must not be taken
        for model in models:
            model.user_factors = model.item_factors = None
            model.fit(matrix * values, show_progress=False)
        np.testing.assert_allclose(models[0].item_factors, models[1].item_factors, atol=1e-8)
        np.testing.assert_allclose(models[0].user_factors, models[1].user_factors, atol=1e-8)


class BuyAgain(Baseline):
    """The user's own history again, strongest pairs first, then what is popular."""

    def _learn(self, user_items):
        counts = np.bincount(user_items.indices, minlength=user_items.shape[1])
        self._popular = counts / (user_items.shape[0] + 1)

    def _score(self, users, user_items):
        return user_items.toarray() + self._popular


def test_repurchases_may_be_in_the_lists():
    split = store.store_split(HAND, store.since(HAND, CUT), repurchases=True)
    again = ModelFactory(lambda train: BuyAgain(), "raw")
    compared = store.compare({"again": again}, split, ks=[1, 2])
    # a: x then y, both bought; b: y (viewed), then x (most popular).
    assert compared.measured.loc[("again", 0), "precision@2"].tolist() == [1.0, 0.5]
    assert compared.measured.loc[("again", 0), "precision@1"].tolist() == [1.0, 0.0]


def test_the_table_is_what_the_metrics_say(shop):
    split = store.store_split(shop, store.since(shop, "2026-02-10"))
    factories = store.store_factories({"factors": 4, "iterations": 5})
    factories.pop("ALS of the store project")  # 500 factors for 20 items
    compared = store.compare(factories, split, ks=[3, 5])
    for name, factory in factories.items():
        lists = split.top_n(factory.fit(split.train), 5, matrix=factory.matrix(split.train))
        np.testing.assert_array_equal(lists, compared.lists[name][0])
        expected = metrics.accuracy(lists, split.test.user_items[split.users], [3, 5])
        found = compared.per_user("precision@3")[name]
        np.testing.assert_allclose(found, expected["precision@3"])
    table = compared.accuracy(["precision@3", "ndcg@5"])
    assert table.loc["ALS tuned", "precision@3"] > table.loc["popular", "precision@3"]


def test_the_model_of_the_store_project_is_as_it_was():
    model = store.store_factories({})["ALS of the store project"].make(None)
    assert (model.factors, model.iterations, model.regularization) == (500, 3, 0.01)
    assert model.dtype == np.float64


def cells(**values):
    """A TwoByTwo with these nDCGs for each user; keys dd, dt, cd, ct."""
    names = {"dd": ("dirty", "default"), "dt": ("dirty", "tuned"),
             "cd": ("clean", "default"), "ct": ("clean", "tuned")}  # fmt: skip
    measured = {
        names[key]: pd.DataFrame({"ndcg@10": part}, index=[f"u{n}" for n in range(len(part))])
        for key, part in values.items()
    }
    return TwoByTwo(
        measured=measured, lists={cell: np.array([[0, 1], [2, -1]]) for cell in measured},
        item_ids=pd.Index(["p", "q", "POST"]), only_dirty=np.array([False, False, True]),
        test=csr_matrix((2, 3)), trials={}, chosen={},
        between_seeds={cell: pd.DataFrame({"ndcg@10": [0.2, 0.5]}) for cell in measured},
    )  # fmt: skip


def test_effects_by_hand():
    made = cells(dd=[0.1, 0.2], dt=[0.2, 0.3], cd=[0.5, 0.6], ct=[0.6, 0.8])
    table = made.effects()
    expected = {
        "cleaning, default settings": 0.4, "cleaning, tuned settings": 0.45,
        "tuning, dirty log": 0.1, "tuning, clean log": 0.15, "both together": 0.55,
        "cleaning minus tuning": 0.3, "interaction": 0.05,
    }  # fmt: skip
    assert table["difference"].to_dict() == pytest.approx(expected)
    assert table.loc["cleaning minus tuning", "verdict"] == "cleaning wins"
    assert table.loc["tuning, dirty log", "verdict"] == "helps"
    assert cells(dd=[0, 0], dt=[0.2, 0.3], cd=[0.1, 0.1], ct=[1, 1]).effects().loc[
        "cleaning minus tuning", "verdict"] == "tuning wins"  # fmt: skip
    assert made.cells().loc[("dirty", "tuned"), "no product"] == pytest.approx(1 / 3)
    assert made.cells().loc[("dirty", "tuned"), "between seeds"] == pytest.approx(0.3)
    of_one = made.effects(who=pd.Series({"u1": True}))
    assert of_one.loc["interaction", "difference"] == pytest.approx(0.1)


@given(
    values=st.lists(
        st.tuples(*[st.floats(0, 1, allow_subnormal=False)] * 4), min_size=1, max_size=8
    )
)
def test_cleaning_minus_tuning_is_the_difference_of_the_mean_effects(values):
    columns = dict(zip(("dd", "dt", "cd", "ct"), map(list, zip(*values, strict=True)), strict=True))
    gain = cells(**columns).effects()["difference"]
    of_cleaning = gain[["cleaning, default settings", "cleaning, tuned settings"]].mean()
    of_tuning = gain[["tuning, dirty log", "tuning, clean log"]].mean()
    assert gain["cleaning minus tuning"] == pytest.approx(of_cleaning - of_tuning, abs=1e-12)


def test_where_nothing_is_dirty_cleaning_changes_nothing(shop):
    found = store.two_by_two(
        shop, shop, "2026-02-15", SMALL, validation_days=15, weights={"purchase": 1}, ks=[3, 5]
    )
    table = found.effects("ndcg@5")
    assert table.loc["cleaning, default settings", "difference"] == 0
    assert table.loc["cleaning, tuned settings", "high"] == 0
    assert found.chosen["dirty"] == found.chosen["clean"]
    assert (found.cells(["ndcg@5"])["no product"] == 0).all()


def test_the_test_is_the_clean_one_in_all_cells(shop, soiled):
    found = store.two_by_two(
        soiled, shop, "2026-02-15", SMALL, validation_days=15, weights={"purchase": 1},
        half_lives=[20.0], repurchases=True, ks=[3, 5], seeds=[0, 1],
    )  # fmt: skip
    assert found.item_ids[found.only_dirty].tolist() == ["POST"]
    assert found.test[:, found.only_dirty].nnz == 0
    truth = store.store_split(
        shop, store.since(shop, "2026-02-15"), weights={"purchase": 1}, repurchases=True
    )
    users = truth.train.user_ids[truth.users]
    for (log_name, _), frame in found.measured.items():
        assert frame.index.equals(users), log_name
    table = found.cells(["ndcg@5", "precision@3"])
    assert (table.loc["clean", "no product"] == 0).all()
    assert (table.loc["dirty", "no product"] > 0.05).all()  # everybody has had postage
    # The settings are the best on the log's own window, the defaults among them.
    for name, trials in found.trials.items():
        assert trials["factors"].isna().sum() == 1
        best = trials.loc[trials["nDCG@5"].idxmax()]
        assert found.chosen[name]["factors"] == best["factors"] or pd.isna(best["factors"])
    of_first = found.between_seeds["clean", "tuned"]["ndcg@5"]
    assert found.measured["clean", "tuned"]["ndcg@5"].mean() == pytest.approx(of_first.mean())


def test_settings_are_chosen_without_the_test(shop):
    """Whatever happens after the cut-off, the choice is the same."""
    before = shop[~store.since(shop, "2026-02-15")]
    in_window = store.since(before, "2026-01-31")
    options = {"weights": {"purchase": 1}, "repurchases": False}
    trials, chosen = store.choose(before, in_window, "ALS", SMALL, [20.0], k=5, **options)
    found = store.two_by_two(
        shop, shop, "2026-02-15", SMALL, validation_days=15, weights={"purchase": 1},
        half_lives=[20.0], ks=[5],
    )  # fmt: skip
    pd.testing.assert_frame_equal(trials, found.trials["clean"])
    assert found.chosen["clean"] == chosen


def test_the_experiment_refuses_ids_that_do_not_meet(shop):
    strangers = shop.assign(user_id="x" + shop["user_id"])
    with pytest.raises(ValueError, match="written alike in dirty and clean"):
        store.two_by_two(strangers, shop, "2026-02-15", SMALL, validation_days=15, ks=[5])


def test_the_defaults_are_implicits():
    model = store.chosen_factory("IALS", {"factors": None, "half_life_days": None}, 0).make(None)
    assert isinstance(model, PlainALS)
    assert (model.factors, model.regularization, model.iterations, model.alpha) == (
        100,
        0.01,
        15,
        1,
    )
    assert (
        store.chosen_factory("IALS", {"factors": 3, "half_life_days": 9.0}, 0).make(None).factors
        == 3
    )


def test_columns_are_renamed_in_place():
    matrix = csr_matrix([[1.0, 2.0], [0.0, 3.0]])
    found = renamed(matrix, pd.Index(["b", "a"]), pd.Index(["a", "b", "c"]))
    assert found.toarray().tolist() == [[2, 1, 0], [3, 0, 0]]


@pytest.fixture(scope="module")
def visited(shop):
    """Customers, and 20 people who looked at items of one half and buy some of them later."""
    rng = np.random.default_rng(1)
    rows = []
    for user in range(20):
        items = rng.permutation(10)[:6] + 10 * (user % 2)
        rows += [(f"v{user:02}", f"i{item:02}", "view", 20) for item in items[:4]]
        rows += [(f"v{user:02}", f"i{item:02}", "purchase", 50) for item in items[2:6]]
    rows.append(("new", "i03", "purchase", 55))
    everything = pd.concat([shop, log(rows)]).sort_values("timestamp", kind="stable")
    country = np.where(everything["user_id"].str[-1].isin(list("13579")), "odd", "even")
    category = np.where(everything["item_id"] < "i10", "first half", "second half")
    return everything.assign(country=country, category=category)


@pytest.fixture(scope="module")
def served(visited):
    settings = {"factors": 4, "iterations": 10, "regularization": 1.0}
    return store.serve(visited, "2026-02-10", settings, ks=[3, 5])


def test_groups_are_by_what_was_known_before(served):
    counts = served.groups.value_counts()
    assert counts["visitors"] == 20
    assert served.groups["new"] == "unknown"
    assert (served.groups[served.groups.index.str.startswith("u")] == "purchasers").all()


def test_the_rule_serves_purchasers_only(served):
    known = (served.groups == "purchasers").to_numpy()
    rule, lately = served.lists["purchasers' rule"], served.lists["recently popular"]
    np.testing.assert_array_equal(rule[~known], lately[~known])
    assert (rule[known] != lately[known]).any()
    unknown = (served.groups == "unknown").to_numpy()
    np.testing.assert_array_equal(served.lists["ALS for all"][unknown], lately[unknown])


def test_single_policies_are_served_as_all_of_them(visited, served):
    settings = {"factors": 4, "iterations": 10, "regularization": 1.0}
    some = ["popular by country", "ALS for all"]
    found = store.serve(visited, "2026-02-10", settings, policies=some, ks=[3, 5])
    assert list(found.lists) == list(found.measured) == some
    for name in some:
        np.testing.assert_array_equal(found.lists[name], served.lists[name])
    with pytest.raises(ValueError, match=r"unknown policies \['ALS'\]; there are \['popular', "):
        store.serve(visited, "2026-02-10", settings, policies=["ALS"])


def test_visitors_gain_from_a_model_that_sees_their_views(served):
    table = served.differences(measure="ndcg@5")
    assert table.loc["visitors", "verdict"] == "ahead"
    assert table.loc["unknown", ["difference", "low", "high"]].eq(0).all()
    means = served.table("ndcg@5")["mean"]
    difference = means["visitors", "ALS for all"] - means["visitors", "purchasers' rule"]
    assert table.loc["visitors", "difference"] == pytest.approx(difference)
    sizes = served.table("ndcg@5")["n"]
    assert sizes["everybody", "popular"] == len(served.groups)


def test_popular_lists_by_hand():
    frame = log(
        [("a", "x", "purchase", 0), ("b", "x", "purchase", 0), ("c", "y", "purchase", 1),
         ("c", "z", "purchase", 1), ("d", "z", "view", 2), ("d", "x", "purchase", 9),
         ("e", "z", "purchase", 9), ("f", "y", "purchase", 9)],
        country=["UK", "UK", "FR", "FR", "FR", "FR", "UK", None],
        category=["toys", "toys", "lamps", "lamps", "lamps", "toys", "lamps", "lamps"],
    )  # fmt: skip
    late = store.since(frame, "2026-01-08")
    split = store.store_split(frame, late)
    rows = split.train.user_ids.get_indexer(["d", "e", "f"])
    assert split.train.item_ids.tolist() == ["x", "y", "z"]
    by_country = popular_by(frame, late, split, "country", rows)
    ties = np.array([2, 1, 1]) / 7  # buyers of each item, six users
    np.testing.assert_allclose(by_country[:2], np.array([[0, 1, 1], [2, 0, 0]]) + ties)
    np.testing.assert_allclose(by_country[2], [2, 1, 1])
    by_category = popular_by(frame, late, split, "category", rows)
    # d looked at a lamp: lamps come first. Of e and f nothing was known before.
    np.testing.assert_allclose(by_category, [[2, 4, 4], [2, 1, 1], [2, 1, 1]])
    with pytest.raises(ValueError, match="expected 'country' or 'category'"):
        popular_by(frame, late, split, "colour", rows)


def serving(users, lists, bought, items):
    rows, columns = zip(*bought, strict=True)
    shape = (len(users), len(items))
    test = csr_matrix((np.ones(len(rows)), (rows, columns)), shape)
    groups = pd.Series("purchasers", index=pd.Index(users))
    return Serving(groups, {"popular": np.array(lists)}, {}, test, pd.Index(items))


def test_contamination_by_hand():
    """Postage is in the dirty lists and in the dirty test: the number falls, the lists improve."""
    dirty = serving(["a", "b", "bot"], [[0, 1], [0, 1], [0, 1]],
                    [(0, 0), (0, 2), (1, 0), (1, 1), (2, 0)], ["POST", "x", "y"])  # fmt: skip
    clean = serving(["a", "b"], [[0, 1], [0, 1]], [(0, 1), (1, 0)], ["x", "y"])
    found = store.contamination(dirty, clean, "popular", measures=("precision@1", "hit rate@2"))
    assert found.levels["users"].tolist() == [2, 2, 2]
    assert found.levels["precision@1"].tolist() == [1.0, 0.0, 0.5]
    assert found.levels["hit rate@2"].tolist() == [1.0, 0.5, 1.0]
    assert found.levels["no product"].tolist() == [0.5, 0.5, 0.0]
    assert found.levels["overlap"].tolist() == pytest.approx([1, 1, 1])
    change = found.changes["difference"]
    assert change["as reported", "precision@1"] == -0.5
    assert change["in truth", "precision@1"] == 0.5
    one = store.contamination(
        dirty, clean, "popular", who=pd.Series({"b": True}), measures=("precision@1",)
    )
    assert one.levels["precision@1"].tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(KeyError, match="is no policy of dirty"):
        store.contamination(dirty, clean, "random")
    with pytest.raises(ValueError, match="no user of who"):
        store.contamination(dirty, clean, "popular", who=pd.Series({"c": True}))


def test_weights_are_learned_where_they_matter():
    """Carts foretell the half from which somebody buys, views mislead."""
    rng = np.random.default_rng(2)
    rows = []
    for user in range(60):
        half = 10 * (user % 2)
        rows += [(f"u{user}", f"i{i + 10 - half:02}", "view", 1) for i in rng.permutation(10)[:6]]
        carts = rng.permutation(10)
        rows += [(f"u{user}", f"i{i + half:02}", "cart", 2) for i in carts[:4]]
        rows += [(f"u{user}", f"i{i + half:02}", "purchase", 3) for i in carts[:2]]
        rows += [(f"u{user}", f"i{i + half:02}", "purchase", 9) for i in carts[4:8]]
    rows += [("w", "i00", "view", 1), ("w", "i01", "purchase", 9)]
    candidates = [
        {"view": 1, "cart": 1, "purchase": 1},
        {"view": 0, "cart": 3, "purchase": 5, "half_life_days": None},
        {"view": 5, "cart": 0, "purchase": 1, "half_life_days": 3.0},
    ]
    table = store.learn_event_weights(
        log(rows), candidates, validation_from="2026-01-08", k=5,
        settings={"factors": 4, "iterations": 5, "regularization": 1.0},
    )  # fmt: skip
    assert table["chosen"].tolist() == [False, True, False]
    assert table.loc[1, "gain low"] > 0
    assert table.loc[0, ["gain", "gain low", "gain high"]].eq(0).all()
    gain = table.loc[1, "nDCG@5"] - table.loc[0, "nDCG@5"]
    assert table.loc[1, "gain"] == pytest.approx(gain, abs=1e-8)


def test_learning_weights_needs_candidates_and_a_window():
    with pytest.raises(ValueError, match="candidates is empty"):
        store.learn_event_weights(HAND, [], validation_from=CUT, settings={"factors": 2})
    with pytest.raises(ValueError, match="choose a moment in between"):
        store.learn_event_weights(
            HAND, [weighting.EVENT_WEIGHTS], validation_from="2030-01-01", settings={"factors": 2}
        )


def test_the_outcome_in_words():
    made = cells(dd=[0.1, 0.2], dt=[0.2, 0.3], cd=[0.5, 0.6], ct=[0.6, 0.8])
    assert made.in_words() == (
        "cleaning at default settings +0.4000 (helps), tuning on the dirty log +0.1000 (helps) "
        "ndcg@10; one against the other: **cleaning wins**."
    )


def test_one_model_may_learn_from_faded_events(shop):
    late = store.since(shop, store.cutoff(shop, 0.3))
    plain = store.store_split(shop, late)
    faded = store.store_split(shop, late, half_life_days=5)
    factories = {"a": store.chosen_factory("ALS", {}, 0), "b": store.chosen_factory("ALS", {}, 0)}
    found = store.compare(factories, plain, own={"b": faded})
    assert found.matrices["a"].nnz == found.matrices["b"].nnz
    alone = store.compare({"b": factories["b"]}, faded)
    assert np.array_equal(found.lists["b"][0], alone.lists["b"][0])
    other = store.store_split(shop, store.since(shop, store.cutoff(shop, 0.1)))
    with pytest.raises(ValueError, match=r"own\['b'\] has other users or items"):
        store.compare(factories, plain, own={"b": other})


def test_a_cutoff_always_leaves_something_before_it():
    hours = pd.date_range("2026-01-01 00:10", periods=10, freq="h", tz="UTC")
    moment = store.cutoff(pd.DataFrame({"timestamp": hours}), 0.2)
    assert hours[0] < moment <= hours[-1]  # the log of one day has no midnight in it
    crowded = pd.DataFrame({"timestamp": [hours[0]] * 9 + [hours[5]]})
    assert store.cutoff(crowded, 0.5) == hours[5]
    with pytest.raises(ValueError, match="share is 1, expected a number between 0 and 1"):
        store.cutoff(crowded, 1)
    with pytest.raises(ValueError, match="needs at least 2"):
        store.cutoff(crowded.head(3), 0.5)


def test_the_log_as_it_came_is_what_cleaning_without_rules_reads(soiled):
    pairs = soiled.assign(order_id="7", value=2.0)
    back = pairs[:3].assign(value=-1.0, order_id="C8")
    back["timestamp"] += pd.Timedelta("1D")
    dirty = pd.concat([pairs, pairs[:4], pairs[:2].assign(user_id=None), back])
    cleaned = cleaning.clean(dirty)
    assert (cleaned.frame["returned"] > 0).any()
    assert set(cleaned.removed["rule"]) >= {"missing user", "cancellations", "duplicates"}
    plain = cleaning.clean(dirty, rules=cleaning.Rules(without=tuple(cleaning.RULES)))
    pd.testing.assert_frame_equal(store.as_logged(cleaned), plain.frame)
