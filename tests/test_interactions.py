import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs_fixtures import frame, logs
from scipy.sparse import csr_matrix

from helpers import io
from helpers.interactions import Interactions, check_user_items


@given(logs())
def test_a_log_without_repeats_comes_back_unchanged(log):
    back = Interactions.from_frame(log).to_frame()
    in_time_order = log.sort_values("timestamp", kind="stable").reset_index(drop=True)
    pd.testing.assert_frame_equal(back, in_time_order)


@given(logs(unique=False), st.randoms())
def test_the_order_of_rows_does_not_change_the_matrix(log, random):
    rows = list(range(len(log)))
    random.shuffle(rows)
    first, second = (Interactions.from_frame(f, aggregate="max") for f in (log, log.iloc[rows]))
    assert (first.user_items != second.user_items).nnz == 0
    assert first.user_ids.equals(second.user_ids)
    assert first.item_ids.equals(second.item_ids)


@given(logs(unique=False), st.sampled_from(["sum", "max", "last", "count"]))
def test_aggregates_equal_those_of_pandas(log, aggregate):
    in_time_order = log.sort_values("timestamp", kind="stable")
    expected = in_time_order.groupby(["user_id", "item_id"])["value"].agg(aggregate)
    interactions = Interactions.from_frame(log, aggregate=aggregate)
    found = interactions.to_frame().set_index(["user_id", "item_id"])["value"].sort_index()
    np.testing.assert_allclose(found, expected.sort_index())
    assert interactions.n_merged == len(log) - len(expected)


def test_the_pair_takes_the_time_of_its_latest_event():
    log = frame([("u", "a", 4, 70), ("u", "b", 1, 60), ("u", "a", 1, 50)])
    interactions = Interactions.from_frame(log, aggregate="last")
    back = interactions.to_frame()
    assert back["item_id"].tolist() == ["b", "a"]
    assert back["timestamp"].iloc[-1] == pd.Timestamp(70, unit="s", tz="UTC")
    assert back["value"].tolist() == [1, 4]
    assert interactions.order.tolist() == [2, 1]  # of (u, a) and (u, b), counted by time


def test_without_times_the_order_of_the_rows_counts():
    rows = [("u", "b", 4, 9), ("u", "a", 1, 3), ("v", "b", 2, 1), ("u", "b", 5, 2)]
    log = frame(rows).drop(columns="timestamp")
    interactions = Interactions.from_frame(log, aggregate="last")
    assert interactions.timestamps is None
    assert interactions.order.tolist() == [1, 3, 2]  # of (u, a), (u, b), (v, b)
    back = interactions.to_frame()
    pd.testing.assert_frame_equal(back, log.iloc[[1, 2, 3]].reset_index(drop=True))
    kept = interactions.select(np.array([True, False, True]))
    assert kept.timestamps is None
    assert kept.order.tolist() == [1, 2]
    assert kept.to_frame()["value"].tolist() == [1, 2]
    assert kept.select(np.array([True, False])).item_counts.tolist() == [1, 0]


def test_merged_events_and_dropped_zeros_are_counted():
    log = frame([("u", "a", 1, 1), ("u", "a", 2, 2), ("u", "a", 0, 3), ("v", "a", 1, 4)])
    log = pd.concat([log, log.iloc[:1]])
    interactions = Interactions.from_frame(log, aggregate="count")
    assert (interactions.n_merged, interactions.n_zeros_dropped) == (2, 1)
    assert interactions.user_items.toarray().tolist() == [[3], [1]]
    assert (interactions.user_counts.tolist(), interactions.item_counts.tolist()) == ([1, 1], [2])


def test_zeros_are_dropped_and_counted_but_their_users_stay():
    log = frame([("u", "a", 1, 1), ("v", "a", 0, 2), ("u", "b", 0, 3)])
    interactions = Interactions.from_frame(log)
    assert interactions.n_zeros_dropped == 2
    assert interactions.user_items.shape == (2, 2)
    assert (interactions.nnz, interactions.density) == (1, 1 / 4)
    assert (interactions.user_items.data > 0).all()


def test_ids_and_indexes_are_inverse():
    interactions = Interactions.from_frame(frame([("10", "x", 1, 1), ("9", "y", 1, 2)]))
    for user in interactions.user_ids:
        assert interactions.user_ids[interactions.user_index(user)] == user


def test_an_unknown_id_is_an_error_that_names_the_nearest():
    interactions = Interactions.from_frame(frame([("196", "x", 1, 1), ("22", "y", 1, 2)]))
    with pytest.raises(KeyError, match=r"user_id '1960' is not among the 2 known ids.*'196'"):
        interactions.user_index("1960")


def test_it_is_frozen():
    interactions = Interactions.from_frame(frame([("u", "a", 1, 1)]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        interactions.n_merged = 3


@pytest.mark.parametrize("times", [True, False])
@given(log=logs(unique=False))
def test_saved_and_loaded_it_is_the_same(tmp_path_factory, times, log):
    path = tmp_path_factory.mktemp("saved") / "train.npz"
    interactions = Interactions.from_frame(log if times else log.drop(columns="timestamp"))
    interactions.save(path, {"dataset": "test", "aggregate": "sum"})
    loaded = Interactions.load(path, expect={"aggregate": "sum"})
    assert loaded.manifest == {"dataset": "test", "aggregate": "sum"}
    pd.testing.assert_frame_equal(loaded.to_frame(), interactions.to_frame())
    for field in dataclasses.fields(Interactions):
        if field.name not in ("user_items", "manifest"):
            first, second = (getattr(i, field.name) for i in (loaded, interactions))
            assert np.array_equal(first, second)


def test_another_runs_file_and_another_kind_of_file_are_refused(tmp_path):
    path = tmp_path / "train.npz"
    Interactions.from_frame(frame([("u", "a", 1, 1)])).save(path, {"aggregate": "count"})
    with pytest.raises(ValueError, match=r"train\.npz was made with aggregate='count', but this"):
        Interactions.load(path, expect={"aggregate": "sum"})
    io.write_arrays(path, {"factors": np.ones(2)}, {})
    with pytest.raises(ValueError, match=r"train\.npz holds no interactions, but \['factors'\]"):
        Interactions.load(path)


def test_one_long_id_does_not_widen_all_of_them(tmp_path):
    rows = [(f"u{i}", "a", 1, i) for i in range(2000)] + [("ü" * 20_000, "a", 1, 1)]
    interactions = Interactions.from_frame(frame(rows))
    interactions.save(tmp_path / "a.npz", {})
    arrays, _ = io.read_arrays(tmp_path / "a.npz")
    assert arrays["user_ids"].nbytes < 200_000
    assert Interactions.load(tmp_path / "a.npz").user_ids.equals(interactions.user_ids)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "train.npz"
    Interactions.from_frame(frame([("u", "a", 1, 1)])).save(path, {})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"train\.npz is damaged"):
        Interactions.load(path)
    with pytest.raises(FileNotFoundError, match="an earlier notebook writes it"):
        Interactions.load(tmp_path / "nothing.npz")


good = frame([("u", "a", 1, 1), ("v", "b", 2, 2)])
BAD = {
    "missing columns": (
        good[["timestamp"]],
        r"lacks the columns \['user_id', 'item_id', 'value'\]",
    ),
    "missing column": (good.drop(columns="value"), r"lacks the columns \['value'\]"),
    "null id": (good.assign(user_id=[None, "v"]), "null entries: {'user_id': 1}"),
    "null time": (good.assign(timestamp=pd.NaT), "null entries: {'timestamp': 2}"),
    "nan": (good.assign(value=[1, np.nan]), "null entries: {'value': 1}"),
    "infinite": (good.assign(value=[1, np.inf]), "1 negative or non-finite"),
    "negative": (good.assign(value=[1, -0.5]), "first: -0.5"),
    "naive time": (good.assign(timestamp=pd.to_datetime([1, 2])), "expected UTC"),
    "only zeros": (good.assign(value=0.0), "none of positive value"),
    "empty": (good.iloc[:0], "0 events but none of positive value"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_frames_get_a_clear_error(case):
    bad, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        Interactions.from_frame(bad)


def test_an_unknown_aggregate_is_an_error():
    with pytest.raises(ValueError, match="aggregate is 'mean', expected one of"):
        Interactions.from_frame(good, aggregate="mean")


def test_a_transposed_matrix_is_named_as_such():
    with pytest.raises(ValueError, match=r"did you mean user_items\.T\.tocsr\(\)\?"):
        check_user_items(csr_matrix((3, 2)), n_users=2, n_items=3)


def test_other_wrong_matrices_are_refused():
    with pytest.raises(ValueError, match=r"has shape \(2, 2\)"):
        check_user_items(csr_matrix((2, 2)), 2, 3)
    with pytest.raises(TypeError, match="is a ndarray"):
        check_user_items(np.zeros((2, 3)), 2, 3)
    stored_zero = csr_matrix(([0.0], [0], [0, 1, 1]), shape=(2, 3))
    with pytest.raises(ValueError, match="stores 1 zeros"):
        check_user_items(stored_zero, 2, 3)
    with pytest.raises(ValueError, match="NaN or infinite"):
        check_user_items(csr_matrix([[np.nan]]), 1, 1)


def test_an_example_user_is_the_preferred_or_a_median_one():
    known = {"w": "a", "z": "abcd", "y": "abc", "x": "ab"}
    rows = [(user, item, 1, 1) for user, items in known.items() for item in items]
    interactions = Interactions.from_frame(frame(rows))
    assert interactions.example_user("w") == "w"
    assert interactions.example_user("nobody") == "y"


def test_sampled_users_keep_their_pairs_and_their_indexes_are_counted_anew():
    rows = [
        ("a", "x", 1, 9),
        ("b", "x", 2, 8),
        ("b", "y", 3, 7),
        ("c", "z", 4, 6),
        ("d", "z", 0, 5),
    ]
    interactions = Interactions.from_frame(frame(rows))
    assert interactions.sample_users(4) is interactions
    seen = set()
    for seed in range(20):
        sample = interactions.sample_users(3, seed=seed)
        back = sample.to_frame()
        whole = interactions.to_frame()
        expected = whole[whole["user_id"].isin(sample.user_ids)].reset_index(drop=True)
        pd.testing.assert_frame_equal(back, expected)
        assert sample.user_ids.tolist() == sorted(set(back["user_id"]))  # "d" has no pair
        assert sample.item_ids.tolist() == sorted(set(back["item_id"]))
        seen.add(tuple(sample.user_ids))
    assert seen == {("a", "b", "c"), ("a", "b"), ("a", "c"), ("b", "c")}
    with pytest.raises(ValueError, match="most is 0, expected 1 user or more"):
        interactions.sample_users(0)


def test_users_with_endless_histories_are_not_sampled_where_they_are_few(monkeypatch):
    monkeypatch.setattr("helpers.interactions.MAX_HISTORY", 2)
    rows = [("a", "x", 1, 1), ("b", "x", 1, 2), ("b", "y", 1, 3)]
    rows += [("whale", item, 1, 4) for item in "xyz"]
    interactions = Interactions.from_frame(frame(rows))
    for most in (2, 3, 9):
        sample = interactions.sample_users(most)
        assert sample.user_ids.tolist() == ["a", "b"]
        assert sample.item_ids.tolist() == ["x", "y"]
    assert interactions.sample_users(1).n_users == 1
    half = Interactions.from_frame(frame(rows[1:]))
    assert half.sample_users(2) is half  # half of the users are no exception
