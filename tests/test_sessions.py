import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from helpers import sessions

REES46 = Path(__file__).resolve().parents[2] / "shared" / "data" / "rees46-oct-sample.csv.gz"


def log(rows, **columns):
    """Events from (user, item, event, second) rows."""
    users, items, events, seconds = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pd.DataFrame(
        {
            "user_id": pd.Series(users, dtype="str"),
            "item_id": pd.Series(items, dtype="str"),
            "event": pd.Series(events, dtype="str"),
            "timestamp": pd.to_datetime(pd.Series(seconds, dtype="float64"), unit="s", utc=True),
            **columns,
        }
    )


@st.composite
def logs(draw, max_size=30, min_size=0):
    row = st.tuples(
        st.sampled_from(["1", "2", "1/2", "ü"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["view", "cart", "purchase", "remove_from_cart"]),
        st.integers(0, 60),
    )
    return log(draw(st.lists(row, min_size=min_size, max_size=max_size)))


def one_by_one(frame, gap):
    """Sessions by a loop over each user's events: what `reconstruct` must give."""
    found = {}
    for user, rows in frame.groupby("user_id"):
        number, last = 0, None
        for row, time in sorted(rows["timestamp"].items(), key=lambda pair: pair[1]):
            if last is None or time - last > gap:
                number += 1
            found[row], last = f"{user}/{number}", time
    return [found[row] for row in frame.index]


def in_order_by_hand(frame, unit, steps):
    """How many units reach each step, by a loop over their events."""
    reached = [0] * len(steps)
    for _, rows in frame.groupby(unit):
        since = pd.Timestamp.min.tz_localize("UTC")
        for place, step in enumerate(steps):
            later = rows[(rows["event"] == step) & (rows["timestamp"] >= since)]
            if later.empty:
                break
            since = later["timestamp"].min()
            reached[place] += 1
    return reached


def test_a_gap_of_more_than_half_an_hour_begins_a_session():
    frame = log([("7", "a", "view", t) for t in (0, 1800, 3600, 5401)])
    assert sessions.reconstruct(frame).tolist() == ["7/1", "7/1", "7/1", "7/2"]
    assert sessions.reconstruct(frame, gap="29min").tolist() == ["7/1", "7/2", "7/3", "7/4"]
    assert sessions.reconstruct(frame, gap=pd.Timedelta("1D")).tolist() == ["7/1"] * 4


def test_another_user_is_another_session():
    frame = log([("8", "a", "view", 10), ("7", "a", "view", 5), ("8", "a", "view", 0)])
    assert sessions.reconstruct(frame).tolist() == ["8/1", "7/1", "8/1"]


@given(logs(), st.integers(1, 30))
def test_sessions_are_those_of_a_plain_loop(frame, gap):
    found = sessions.reconstruct(frame, gap=pd.Timedelta(gap, "s"))
    assert found.tolist() == one_by_one(frame, pd.Timedelta(gap, "s"))
    assert found.name == "session_id"
    assert found.index.equals(frame.index)


@settings(max_examples=15)
@given(logs(min_size=1), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(frame, random):
    order = list(range(len(frame)))
    random.shuffle(order)
    expected = sessions.reconstruct(frame, gap="10s")
    shuffled = sessions.reconstruct(frame.iloc[order], gap="10s")
    pd.testing.assert_series_equal(shuffled.sort_index(), expected)
    for by in ("session", "user"):
        for in_order in (False, True):
            pd.testing.assert_frame_equal(
                sessions.funnel(frame, by, in_order=in_order, gap="10s"),
                sessions.funnel(frame.iloc[order], by, in_order=in_order, gap="10s"),
            )
    pd.testing.assert_frame_equal(
        sessions.summary(frame, gap="10s").sort_index(),
        sessions.summary(frame.iloc[order], gap="10s").sort_index(),
    )


@given(logs())
def test_a_second_time_changes_nothing(frame):
    once = frame.assign(session_id=sessions.reconstruct(frame, gap="10s"))
    pd.testing.assert_series_equal(sessions.reconstruct(once, gap="10s"), once["session_id"])
    again = sessions.reconstruct(once, gap="10s", keep_existing=False)
    pd.testing.assert_series_equal(again, once["session_id"])


@given(logs(min_size=2), st.integers(1, 29))
def test_a_longer_gap_only_joins_sessions(frame, gap):
    short = sessions.reconstruct(frame, gap=pd.Timedelta(gap, "s"))
    long = sessions.reconstruct(frame, gap=pd.Timedelta(gap + 5, "s"))
    assert long.groupby(short).agg(set).str.len().eq(1).all()


def test_an_id_that_the_log_has_is_kept_and_the_rest_is_cut():
    rows = [("7", "a", "view", t) for t in (0, 10, 20, 9000)]
    frame = log(rows, session_id=["x", None, "", pd.NA])
    assert sessions.reconstruct(frame).tolist() == ["x", "7/1", "7/1", "7/2"]
    assert sessions.reconstruct(frame, keep_existing=False).tolist() == ["7/1"] * 3 + ["7/2"]


def test_new_ids_never_meet_those_of_the_log():
    rows = [("7", "a", "view", 0), ("7", "a", "view", 9), ("8", "a", "view", 9)]
    frame = log(rows, session_id=["7/4", None, None])
    assert sessions.reconstruct(frame).tolist() == ["7/4", "7/5", "8/1"]


@given(logs(min_size=1), st.data())
def test_partly_known_sessions_stay_apart(frame, data):
    given_ids = data.draw(
        st.lists(
            st.sampled_from(["", "x", "1/1", "2/3", "1/2/1"]),
            min_size=len(frame),
            max_size=len(frame),
        )
    )
    frame = frame.assign(session_id=given_ids)
    found = sessions.reconstruct(frame, gap="10s")
    known = frame["session_id"] != ""
    assert found[known].tolist() == frame.loc[known, "session_id"].tolist()
    mine = set(zip(found[~known], frame.loc[~known, "user_id"], strict=True))
    theirs = set(zip(found[known], frame.loc[known, "user_id"], strict=True))
    assert not mine & theirs
    assert sessions.reconstruct(frame.assign(session_id=found), gap="10s").equals(found)


def test_an_index_with_repeated_labels_is_no_problem():
    frame = log([("7", "a", "view", 0), ("8", "a", "view", 0)]).set_axis([3, 3])
    assert sessions.reconstruct(frame).tolist() == ["7/1", "8/1"]


def test_times_without_a_zone_and_in_other_units_do():
    frame = log([("7", "a", "view", 0), ("7", "a", "view", 1801)])
    frame["timestamp"] = frame["timestamp"].dt.tz_localize(None).dt.as_unit("s")
    assert sessions.reconstruct(frame).tolist() == ["7/1", "7/2"]


SHOP = log(
    [
        ("1", "a", "view", 0),
        ("1", "a", "cart", 10),
        ("1", "a", "purchase", 20),
        ("1", "b", "view", 9000),
        ("2", "a", "cart", 0),
        ("2", "a", "view", 5),
        ("3", "c", "purchase", 7),
        ("4", "a", "view", 7),
        ("4", "a", "cart", 7),
    ],
    country=["UK", "UK", "UK", "UK", "UK", "FR", None, "FR", "FR"],
)


def test_summary_by_hand():
    table = sessions.summary(SHOP)
    first = table.loc["1/1"]
    assert (first["user_id"], first["seconds"], first["events"], first["items"]) == ("1", 20, 3, 1)
    assert (first["view"], first["cart"], first["purchase"]) == (1, 1, 1)
    assert table.loc["1/2", "seconds"] == 0
    assert table["events"].sum() == len(SHOP)
    assert table["start"].is_monotonic_increasing
    numbers = sessions.overview(SHOP)
    assert numbers["users"] == 4
    assert numbers["sessions"] == 5
    assert numbers["sessions per user"] == 1.25
    assert numbers["events per session, mean"] == 9 / 5
    assert numbers["sessions with a single event"] == 2 / 5
    assert numbers["minutes per session, median"] == 5 / 60


def test_funnel_by_hand():
    # Sessions: 1/1 all three; 1/2 a view; 2 cart then view; 3 only a purchase; 4 both at once.
    table = sessions.funnel(SHOP)
    assert table["ever"].tolist() == [4, 3, 2]
    assert table["reached"].tolist() == [4, 3, 1]
    assert table["from_previous"].tolist() == [4 / 5, 3 / 4, 1 / 3]
    assert table["from_first"].tolist() == [1, 3 / 4, 1 / 4]
    strict = sessions.funnel(SHOP, in_order=True)
    assert strict["reached"].tolist() == [4, 2, 1]
    assert strict["ever"].tolist() == [4, 3, 2]
    assert sessions.funnel(SHOP, by="user")["reached"].tolist() == [3, 3, 1]
    interval = binomtest(3, 4).proportion_ci(method="wilson")
    assert table.loc["cart", ["low", "high"]].tolist() == pytest.approx(list(interval))


@settings(max_examples=20)
@given(logs(min_size=1))
def test_the_funnel_is_that_of_a_plain_loop(frame):
    frame = frame.assign(session_id=sessions.reconstruct(frame, gap="10s"))
    for by, unit in (("session", ["session_id", "user_id"]), ("user", "user_id")):
        strict = sessions.funnel(frame, by, in_order=True)
        assert strict["reached"].tolist() == in_order_by_hand(frame, unit, sessions.STEPS)
        loose = sessions.funnel(frame, by)
        kinds = frame.groupby(unit)["event"].agg(set)
        assert loose["reached"].tolist() == [
            sum(set(sessions.STEPS[: n + 1]) <= kind for kind in kinds) for n in range(3)
        ]
        for table in (strict, loose):
            assert table["reached"].is_monotonic_decreasing
            assert (table["reached"] <= table["ever"]).all()
        assert (strict["reached"] <= loose["reached"]).all()


def test_a_funnel_of_nobody_has_no_shares():
    table = sessions.funnel(SHOP.iloc[:0])
    assert table["reached"].tolist() == [0, 0, 0]
    assert table[["from_previous", "low", "high", "from_first"]].isna().all(axis=None)
    assert math.isnan(sessions.overview(SHOP.iloc[:0])["sessions per user"])


def test_a_session_id_of_two_users_is_two_sessions():
    frame = log([("1", "a", "view", 0), ("2", "a", "purchase", 1)], session_id=["s", "s"])
    assert sessions.funnel(frame, in_order=True)["reached"].tolist() == [1, 0, 0]
    assert len(sessions.summary(frame)) == 2


def test_conversion_by_group():
    table = sessions.conversion(SHOP, "country")
    # Users 1 (two sessions) and 2 count for the UK, as their first events do.
    assert table["n"].to_dict() == {"UK": 3, "(missing)": 1, "FR": 1}
    assert table.loc["UK", "conversion"] == 1 / 3
    assert table.loc["(missing)", "converted"] == 1
    by_user = sessions.conversion(SHOP, "country", by="user")
    assert by_user.loc["UK", ["n", "converted"]].tolist() == [2, 1]


def test_purchasers_and_everybody_else():
    assert sessions.purchasers(SHOP).tolist() == ["1", "3"]
    split = sessions.split_by_purchase(SHOP)
    assert split.purchasers["user_id"].unique().tolist() == ["1", "3"]
    assert split.others["user_id"].unique().tolist() == ["2", "4"]
    pd.testing.assert_frame_equal(pd.concat(split).sort_index(), SHOP)


@given(logs())
def test_the_split_loses_and_invents_nothing(frame):
    split = sessions.split_by_purchase(frame)
    pd.testing.assert_frame_equal(pd.concat(split).sort_index(), frame)
    assert not set(split.purchasers["user_id"]) & set(split.others["user_id"])
    assert "purchase" not in set(split.others["event"])
    bought = split.purchasers.groupby("user_id")["event"].agg(
        lambda event: "purchase" in set(event)
    )
    assert bought.all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sessions.reconstruct(SHOP, gap="0s"), "gap is '0s', expected a duration above 0"),
        (lambda: sessions.reconstruct(SHOP, gap="-5min"), "expected a duration above 0"),
        (lambda: sessions.reconstruct(SHOP, gap="soon"), "gap is 'soon', expected a duration"),
        (lambda: sessions.reconstruct(SHOP, gap=pd.NaT), "expected a duration"),
        (lambda: sessions.reconstruct(SHOP[["item_id"]]), r"lacks the columns \['user_id', 'time"),
        (lambda: sessions.reconstruct(SHOP.assign(user_id=None)), "is missing in 9 rows"),
        (lambda: sessions.reconstruct(SHOP.assign(timestamp=pd.NaT)), "is missing in 9 rows"),
        (lambda: sessions.reconstruct(SHOP.assign(timestamp=5)), "is int64, expected times"),
        (lambda: sessions.funnel(SHOP, by="item"), "by is 'item', expected 'session' or 'user'"),
        (lambda: sessions.funnel(SHOP, steps=[]), "expected at least one event name"),
        (lambda: sessions.funnel(SHOP, steps="view"), "expected at least one event name"),
        (lambda: sessions.funnel(SHOP, steps=["view", "view"]), "each once"),
        (lambda: sessions.funnel(SHOP.drop(columns="event")), r"lacks the columns \['event'\]"),
        (lambda: sessions.conversion(SHOP, "city"), r"lacks the columns \['city'\]"),
        (lambda: sessions.purchasers(SHOP[["user_id"]]), r"lacks the columns \['event'\]"),
    ],
)
def test_bad_input_is_refused_with_the_fix(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.skipif(not REES46.exists(), reason=f"the sample {REES46.name} is not here")
def test_reconstructed_sessions_of_a_real_store_agree_with_the_given_ones():
    raw = pd.read_csv(REES46, dtype={"user_id": "str", "product_id": "str", "user_session": "str"})
    frame = raw.rename(
        columns={"product_id": "item_id", "event_type": "event", "user_session": "session_id"}
    )
    frame["timestamp"] = pd.to_datetime(
        frame["event_time"], format="%Y-%m-%d %H:%M:%S UTC", utc=True
    )
    frame = frame.dropna(subset="session_id")  # the last line of the sample is cut
    assert sessions.reconstruct(frame).equals(frame["session_id"].astype("str"))
    # The sample spans three hours, and its own ids change mostly after a minute or two (another
    # tab or device, with the user still there): no gap can show that. What a gap can show holds.
    frame = frame.sort_values(["user_id", "timestamp"], kind="stable")
    found = sessions.reconstruct(frame, keep_existing=False)
    assert (frame["session_id"].nunique(), found.nunique()) == (5066, 4518)  # one has two users
    same_user = frame["user_id"].eq(frame["user_id"].shift())
    cut_here = found.ne(found.shift())[same_user]
    cut_there = frame["session_id"].ne(frame["session_id"].shift())[same_user]
    assert (len(cut_here), cut_here.sum(), cut_there.sum()) == (12_930, 14, 566)
    assert (cut_here & cut_there).sum() == 13  # of our cuts, 13 of 14 are theirs
    assert (cut_here == cut_there).mean() == pytest.approx(0.957, abs=5e-4)
    # All given sessions but two (the one of two users, one longer gap) are whole in ours, and 9 in
    # 10 of ours hold no other.
    assert found.groupby(frame["session_id"]).nunique().gt(1).sum() == 2
    held = frame["session_id"].groupby(found).nunique()
    assert held.eq(1).mean() == pytest.approx(0.907, abs=5e-4)


@pytest.mark.skipif(not REES46.exists(), reason=f"the sample {REES46.name} is not here")
def test_the_funnel_of_a_real_store_counts_purchases_that_skip_the_cart():
    raw = pd.read_csv(REES46, dtype={"user_id": "str", "user_session": "str"})
    frame = raw.dropna(subset="user_session").rename(
        columns={"event_type": "event", "user_session": "session_id"}
    )
    frame["timestamp"] = pd.to_datetime(
        frame["event_time"], format="%Y-%m-%d %H:%M:%S UTC", utc=True
    )
    table = sessions.funnel(frame, in_order=True)
    assert table["reached"].tolist() == [5067, 118, 65]
    assert table["ever"].tolist() == [5067, 118, 200]
    assert sessions.funnel(frame, steps=["view", "purchase"])["reached"].tolist() == [5067, 200]
