import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from logs_fixtures import frame, logs

from helpers import splits
from helpers.interactions import Interactions

seeds = st.integers(0, 2**32 - 1)


def cells(interactions):
    rows, columns = interactions.cells()
    return set(zip(rows.tolist(), columns.tolist(), strict=True))


def make(way, interactions, seed):
    """The splits of one way, or none where the log is too small for it."""
    ways = {
        "last": lambda: [splits.leave_last_out(interactions)],
        "last two": lambda: [splits.leave_last_out(interactions, n=2)],
        "date": lambda: [splits.time_cutoff(interactions, "1970-01-01 00:00:03")],
        "by user": lambda: [splits.random_ratio(interactions, 0.3, by="user", seed=seed)],
        "by item": lambda: [splits.random_ratio(interactions, 0.3, by="item", seed=seed)],
        "fold": lambda: list(splits.k_fold(interactions, 3, by="user", seed=seed)),
        "fold by item": lambda: list(splits.k_fold(interactions, 2, by="item", seed=seed)),
    }
    try:
        return ways[way]()
    except ValueError as error:
        if "side would be empty" not in str(error):
            raise
        assume(False)


WAYS = ["last", "last two", "date", "by user", "by item", "fold", "fold by item"]


@pytest.mark.parametrize("way", WAYS)
@given(log=logs(), seed=seeds)
def test_train_and_test_are_the_input_and_share_nothing(way, log, seed):
    interactions = Interactions.from_frame(log)
    for split in make(way, interactions, seed):
        train, test = cells(split.train), cells(split.test)
        assert train | test == cells(interactions)
        assert not train & test
        together = pd.concat([split.train.to_frame(), split.test.to_frame()])
        pd.testing.assert_frame_equal(
            together.sort_values(["user_id", "item_id"]).reset_index(drop=True),
            interactions.to_frame().sort_values(["user_id", "item_id"]).reset_index(drop=True),
        )
        assert split.train.user_items.shape == split.test.user_items.shape


@pytest.mark.parametrize("way", WAYS)
@given(log=logs(), seed=seeds)
def test_the_same_seed_gives_the_same_split(way, log, seed):
    interactions = Interactions.from_frame(log)
    for first, second in zip(
        make(way, interactions, seed), make(way, interactions, seed), strict=True
    ):
        assert cells(first.test) == cells(second.test)


@pytest.mark.parametrize("way", WAYS)
@given(log=logs(), seed=seeds)
def test_whoever_falls_out_is_counted(way, log, seed):
    for split in make(way, Interactions.from_frame(log), seed):
        train, test = split.train.to_frame(), split.test.to_frame()
        report = split.report
        users_train, users_test = set(train["user_id"]), set(test["user_id"])
        assert report.users_tested == len(users_train & users_test)
        assert report.users_without_test == len(users_train - users_test)
        assert report.users_without_train == len(users_test - users_train)
        assert report.items_without_train == len(set(test["item_id"]) - set(train["item_id"]))
        reachable = test["user_id"].isin(users_train) & test["item_id"].isin(train["item_id"])
        assert report.test_pairs_out_of_reach == (~reachable).sum()
        assert (report.n_train, report.n_test) == (len(train), len(test))


@given(log=logs(), n=st.integers(1, 3))
def test_the_last_interactions_are_really_the_last(log, n):
    interactions = Interactions.from_frame(log)
    ordered = log.sort_values("timestamp", kind="stable")
    expected = set()
    for user, rows in ordered.groupby("user_id"):
        if len(rows) > n:
            expected |= {(user, item) for item in rows["item_id"].tail(n)}
    assume(expected)
    test = splits.leave_last_out(interactions, n=n).test.to_frame()
    assert set(zip(test["user_id"], test["item_id"], strict=True)) == expected


def test_a_tie_in_time_is_broken_by_the_order_of_the_log():
    log = frame([("u", "b", 1, 7), ("u", "a", 1, 7), ("v", "a", 1, 1)])
    assert splits.leave_last_out(Interactions.from_frame(log)).test.to_frame()[
        "item_id"
    ].tolist() == ["a"]


def test_nothing_after_the_cutoff_is_in_train():
    log = frame([("u", "a", 1, 10), ("u", "b", 1, 20), ("v", "a", 1, 30)])
    split = splits.time_cutoff(Interactions.from_frame(log), "1970-01-01T00:00:20Z")
    assert split.train.to_frame()["item_id"].tolist() == ["a"]
    assert split.report.users_without_train == 1
    same = splits.time_cutoff(Interactions.from_frame(log), "1970-01-01T01:00:20+01:00")
    assert cells(same.test) == cells(split.test)


@pytest.mark.parametrize("by", ["user", "item"])
def test_the_share_holds_within_each_group(by):
    rows = [(f"u{u}", f"i{i}", 1.0, 1) for u in range(20) for i in range(16)]
    split = splits.random_ratio(Interactions.from_frame(frame(rows)), 0.25, by=by, seed=3)
    sizes = split.test.to_frame().groupby(f"{by}_id").size()
    assert set(sizes) == ({4} if by == "user" else {5})


@given(logs(), seeds, st.integers(2, 4))
def test_the_folds_together_are_the_input(log, seed, k):
    interactions = Interactions.from_frame(log)
    try:
        folds = [cells(split.test) for split in splits.k_fold(interactions, k, seed=seed)]
    except ValueError:
        assume(False)
    assert len(folds) == k
    assert sum(map(len, folds)) == interactions.nnz
    assert set.union(*folds) == cells(interactions)


def test_another_seed_gives_another_split():
    rows = [(f"u{u}", f"i{i}", 1.0, 1) for u in range(20) for i in range(16)]
    interactions = Interactions.from_frame(frame(rows))
    tests = [cells(splits.random_ratio(interactions, 0.5, seed=seed).test) for seed in (1, 2)]
    assert tests[0] != tests[1]


def test_overlapping_sides_are_refused():
    interactions = Interactions.from_frame(frame([("u", "a", 1, 1), ("u", "b", 1, 2)]))
    with pytest.raises(ValueError, match="share 2 pairs"):
        splits.Split(interactions, interactions)
    other = Interactions.from_frame(frame([("u", "a", 1, 1), ("u", "c", 1, 2)]))
    with pytest.raises(ValueError, match="different user or item indexes"):
        splits.Split(interactions, other)


def test_bad_arguments_get_a_clear_error():
    interactions = Interactions.from_frame(frame([("u", "a", 1, 1), ("u", "b", 1, 2)]))
    one = Interactions.from_frame(frame([("u", "a", 1, 1), ("v", "a", 1, 1)]))
    for call, message in [
        (lambda: splits.leave_last_out(interactions, n=0), "n is 0, expected .* at least 1"),
        (lambda: splits.leave_last_out(one), "the test side would be empty"),
        (lambda: splits.time_cutoff(interactions, "soon"), "cutoff is 'soon'"),
        (lambda: splits.time_cutoff(interactions, "2001"), "the test side would be empty"),
        (lambda: splits.time_cutoff(interactions, "1960"), "the train side would be empty"),
        (lambda: splits.random_ratio(interactions, 1.0, seed=0), "test_ratio is 1.0"),
        (lambda: splits.random_ratio(interactions, 0.5, by="day", seed=0), "by is 'day'"),
        (lambda: splits.k_fold(interactions, 1, seed=0), "k is 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_the_report_is_a_table():
    interactions = Interactions.from_frame(frame([("u", "a", 1, 1), ("u", "b", 1, 2)]))
    table = splits.leave_last_out(interactions).report.to_frame()
    assert table.loc["n test", "count"] == 1
    assert np.issubdtype(table["count"].dtype, np.integer)
