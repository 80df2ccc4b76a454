from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from logs_fixtures import frame, logs

from helpers import models, splits, tuning
from helpers.interactions import Aggregate, Interactions

seeds = st.integers(0, 2**32 - 1)


def cells(interactions):
    rows, columns = interactions.cells()
    return set(zip(rows.tolist(), columns.tolist(), strict=True))


def make(way, interactions, seed):
    """The splits of one way, or none where the log is too small for it."""
    ways = {
        "last": lambda: [splits.leave_last_out(interactions)],
        "last two": lambda: [splits.leave_last_out(interactions, n=2)],
        "date": lambda: [splits.time_cutoff(interactions.to_frame(), "1970-01-01 00:00:03")],
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
def test_both_sides_are_the_input_share_nothing_and_are_counted(way, log, seed):
    interactions = Interactions.from_frame(log)
    expected = interactions.to_frame().sort_values(["user_id", "item_id"], ignore_index=True)
    for split, again in zip(*(make(way, interactions, seed) for _ in range(2)), strict=True):
        assert cells(split.test) == cells(again.test)
        assert cells(split.train).isdisjoint(cells(split.test))
        assert split.train.user_items.shape == split.test.user_items.shape
        train, test = split.train.to_frame(), split.test.to_frame()
        together = pd.concat([train, test]).sort_values(["user_id", "item_id"], ignore_index=True)
        pd.testing.assert_frame_equal(together, expected)
        users_train, users_test = set(train["user_id"]), set(test["user_id"])
        reachable = test["user_id"].isin(users_train) & test["item_id"].isin(train["item_id"])
        assert split.summary()["count"].to_dict() == {
            "train pairs": len(train),
            "test pairs": len(test),
            "users tested": len(users_train & users_test),
            "users without test": len(users_train - users_test),
            "users without train": len(users_test - users_train),
            "items without train": len(set(test["item_id"]) - set(train["item_id"])),
            "test pairs out of reach": (~reachable).sum(),
            "repeated pairs left out of test": 0,
        }


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


def test_without_times_random_pairs_are_left_out():
    rows = [(f"u{u}", f"i{i}", 1.0, 1) for u in range(30) for i in range(6)] + [("v", "i0", 1, 1)]
    log = Interactions.from_frame(frame(rows).drop(columns="timestamp"))
    tests = [splits.leave_last_out(log, n=2, seed=seed).test for seed in (0, 0, 1)]
    for test in tests:
        assert test.user_counts.tolist() == [2] * 30 + [0]
        assert (test.item_counts > 0).all()  # not always the same position
    assert cells(tests[0]) == cells(tests[1]) != cells(tests[2])
    train = splits.leave_last_out(log, n=2).train
    assert train.user_counts.tolist() == [4] * 30 + [1]


def seconds(second):
    return pd.Timestamp(second, unit="s", tz="UTC")


@pytest.mark.parametrize(
    ("aggregate", "early", "late"), [("sum", 3, 16), ("last", 2, 16), ("count", 2, 1)]
)
def test_events_are_cut_before_they_are_merged(aggregate, early, late):
    log = frame(
        [("u", "a", 1, 1), ("u", "a", 2, 40), ("u", "a", 8, 100), ("u", "b", 16, 50),
         ("v", "b", 0, 10), ("v", "b", 16, 60), ("v", "c", 0, 70), ("v", "a", 16, 0)]
    )  # fmt: skip
    split = splits.time_cutoff(log, seconds(50), aggregate=aggregate)
    first = 1 if aggregate == "count" else 16
    assert split.train.user_items.toarray().tolist() == [[early, 0, 0], [first, 0, 0]]
    assert split.test.user_items.toarray().tolist() == [[0, late, 0], [0, late, 0]]
    assert split.train.timestamps.max() == np.datetime64(40, "s")
    assert (split.train.n_zeros_dropped, split.test.n_zeros_dropped) == (1, 1)
    assert split.summary().loc["repeated pairs left out of test", "count"] == 1


@given(
    log=logs(unique=False), second=st.integers(1, 5), aggregate=st.sampled_from(get_args(Aggregate))
)
def test_a_cut_log_is_what_its_events_before_and_after_are(log, second, aggregate):
    def merged(events):
        ordered = events.sort_values("timestamp", kind="stable")
        return ordered.groupby(["user_id", "item_id"])["value"].agg(aggregate)

    def side(interactions):
        return interactions.to_frame().set_index(["user_id", "item_id"])["value"].sort_index()

    try:
        split = splits.time_cutoff(log, seconds(second), aggregate=aggregate)
    except ValueError:
        assume(False)
    before = log["timestamp"] < seconds(second)
    train, test = merged(log[before]), merged(log[~before])
    np.testing.assert_allclose(side(split.train), train)
    assert side(split.train).index.equals(train.index)
    new = test[~test.index.isin(train.index)]
    np.testing.assert_allclose(side(split.test), new)
    assert side(split.test).index.equals(new.index)
    assert split.n_repeated == len(test) - len(new)
    assert split.train.user_ids.tolist() == sorted(set(log["user_id"]))


@pytest.mark.parametrize(
    "cutoff",
    [
        "1970-01-01 01:00",
        "1970-01-01T01:00Z",
        "1970-01-01T02:30+01:30",
        pd.Timestamp("1969-12-31 20:00", tz="America/New_York"),
    ],
)
def test_a_cutoff_is_in_utc_or_in_its_own_zone_and_belongs_to_test(cutoff):
    log = frame([("u", "a", 1, 0), ("u", "b", 1, 3599), ("u", "c", 1, 3600), ("v", "d", 1, 9000)])
    split = splits.time_cutoff(log, cutoff)
    assert split.train.to_frame()["item_id"].tolist() == ["a", "b"]
    assert split.summary().loc["users without train", "count"] == 1


def test_a_cutoff_needs_times_and_two_sides():
    log = frame([("u", "a", 1, 10), ("u", "a", 1, 20), ("u", "b", 0, 30)])
    with pytest.raises(ValueError, match="frame has no times to cut at; use leave_last_out"):
        splits.time_cutoff(log.drop(columns="timestamp"), "2001")
    for second, side in [(5, "train"), (15, "test"), (25, "test")]:
        with pytest.raises(ValueError, match=f"the {side} side would be empty"):
            splits.time_cutoff(log, seconds(second))
    with pytest.raises(ValueError, match="cutoff is 'soon'"):
        splits.time_cutoff(log, "soon")


@pytest.mark.parametrize("by", ["user", "item"])
def test_the_share_holds_within_each_group(by):
    rows = [(f"u{u}", f"i{i}", 1.0, 1) for u in range(20) for i in range(16)]
    split = splits.random_ratio(Interactions.from_frame(frame(rows)), 0.25, by=by, seed=3)
    sizes = split.test.to_frame().groupby(f"{by}_id").size()
    assert set(sizes) == ({4} if by == "user" else {5})


@pytest.mark.parametrize(
    ("ratio", "test_sizes"),
    [(0.5, [0, 1, 2, 2, 3]), (0.9, [0, 1, 2, 3, 4]), (0.05, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1])],
)
def test_a_share_is_rounded_and_leaves_a_pair_in_train(ratio, test_sizes):
    rows = [(f"u{u}", f"i{i}", 1.0, 1) for u in range(len(test_sizes)) for i in range(u + 1)]
    split = splits.random_ratio(Interactions.from_frame(frame(rows)), ratio, seed=1)
    assert split.test.user_counts.tolist() == test_sizes


@given(logs(), seeds, st.integers(2, 4))
def test_the_folds_together_are_the_input(log, seed, k):
    interactions = Interactions.from_frame(log)
    try:
        folds = [split.test for split in splits.k_fold(interactions, k, seed=seed)]
    except ValueError:
        assume(False)
    assert len(folds) == k
    assert sum(fold.nnz for fold in folds) == interactions.nnz
    assert set.union(*map(cells, folds)) == cells(interactions)
    sizes = np.array([fold.user_counts for fold in folds])
    assert (np.ptp(sizes, axis=0) <= 1).all()  # each user's pairs are spread evenly


@pytest.mark.parametrize("by", ["user", "item"])
def test_groups_smaller_than_k_do_not_crowd_the_first_folds(by):
    rows = [(f"u{n}", f"i{n}", 1.0, 1) for n in range(400)]
    interactions = Interactions.from_frame(frame(rows))
    sizes = [split.test.nnz for split in splits.k_fold(interactions, 4, by=by, seed=0)]
    assert 70 < min(sizes) <= max(sizes) < 130
    firsts = [next(splits.k_fold(interactions, 4, by=by, seed=seed)).test for seed in (0, 1)]
    assert cells(firsts[0]) != cells(firsts[1])


def test_another_seed_gives_another_split():
    rows = [(f"u{u}", f"i{i}", 1.0, 1) for u in range(20) for i in range(16)]
    interactions = Interactions.from_frame(frame(rows))
    tests = [cells(splits.random_ratio(interactions, 0.5, seed=seed).test) for seed in (1, 2)]
    assert tests[0] != tests[1]


def test_users_and_items_with_zeros_only_are_on_neither_side():
    log = frame([("u", "a", 1, 1), ("u", "b", 1, 2), ("v", "c", 0, 3)])
    counts = splits.leave_last_out(Interactions.from_frame(log)).summary()["count"]
    assert counts["items without train"] == 1  # b
    assert counts["users without train"] == counts["users without test"] == 0


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
        (lambda: splits.random_ratio(interactions, 1.0, seed=0), "test_ratio is 1.0"),
        (lambda: splits.random_ratio(interactions, 0.0, seed=0), "test_ratio is 0.0"),
        (lambda: splits.random_ratio(interactions, np.nan, seed=0), "test_ratio is nan"),
        (lambda: splits.random_ratio(interactions, 0.5, by="day", seed=0), "by is 'day'"),
        (lambda: splits.k_fold(interactions, 1, seed=0), "k is 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_a_cutoff_may_find_purchases_and_learn_from_views_too():
    moments = pd.to_datetime([1, 2, 3, 100, 101, 102], unit="s", utc=True)
    frame = pd.DataFrame(
        {
            "user_id": ["a", "a", "b", "a", "a", "b"],
            "item_id": ["x", "y", "x", "x", "y", "z"],
            "event": ["view", "purchase", "view", "purchase", "purchase", "view"],
            "value": [1.0, 5.0, 1.0, 1.0, 1.0, 1.0],
            "timestamp": moments,
        }
    )
    split = splits.time_cutoff(frame, "1970-01-01 00:00:50", found=["purchase"])
    assert split.train.user_items.toarray().tolist() == [[1, 5, 0], [1, 0, 0]]
    assert split.left_out.toarray().tolist() == [[0, 5, 0], [0, 0, 0]]
    assert split.test.user_items.toarray().tolist() == [[1, 0, 0], [0, 0, 0]]  # viewed, then bought
    assert split.n_repeated == 1  # y was bought before
    task = tuning.Task("store", split, k=3)
    model = models.Popularity()
    model.fit(split.train.user_items)
    assert task.top_n(model).tolist() == [[0, 2, -1]]  # x may be shown, y may not
