"""Bots and staff by behaviour: each sign with a frame that shows it and one that must not."""

from collections.abc import Iterable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cleaning import behaviour

SHARED = Path(__file__).parents[2] / "shared" / "data"
MONDAY = pd.Timestamp("2024-01-01 00:00:00")


def log(
    user: str,
    seconds: Iterable[float],
    items: Iterable[object] = ("a",),
    event: str = "view",
    **more: object,
) -> pd.DataFrame:
    """Events of one user at so many seconds after a Monday's midnight; items are repeated."""
    times = np.asarray(list(seconds), dtype=float)
    names = [str(item) for item in items]
    return pd.DataFrame(
        {
            "user_id": user,
            "item_id": [names[row % len(names)] for row in range(len(times))],
            "event": event,
            "timestamp": (MONDAY + pd.to_timedelta(times, unit="s")).astype("datetime64[us]"),
            "price": more.get("price", 1.0),
            "cancelled": more.get("cancelled", False),
            "address": pd.Series([more.get("address")] * len(times), dtype="str"),
        }
    )


def facts(*frames: pd.DataFrame, **limits: object) -> pd.DataFrame:
    connection = duckdb.connect()
    connection.register("given", pd.concat(frames, ignore_index=True))
    connection.execute(
        "CREATE TABLE log AS SELECT user_id, item_id, event, timestamp::TIMESTAMP AS timestamp, "
        "price::DOUBLE AS price, cancelled, address FROM given"
    )
    return behaviour.evidence(connection, "log", behaviour.Thresholds(**limits))


def verdict(*frames: pd.DataFrame, **limits: object) -> pd.DataFrame:
    return behaviour.judge(facts(*frames, **limits), behaviour.Thresholds(**limits))


def found(*frames: pd.DataFrame, of: str = "bot", **limits: object) -> set[str]:
    """Names of the signs of the single user in these frames."""
    evidence = facts(*frames, **limits)
    evidence = evidence.assign(
        conversion=evidence["purchases"] / evidence["views"].clip(lower=1),
        depth=(evidence["purchases"] + evidence["carts"]) / evidence["views"].clip(lower=1),
    )
    assert len(evidence) == 1
    thresholds = behaviour.Thresholds(**limits)
    return {
        sign.name
        for sign in behaviour.SIGNS
        if sign.verdict == of and bool(sign.holds(evidence, thresholds).fillna(False).iloc[0])
    }


def human(n: int, seed: int = 0, start: float = 9 * 3600) -> np.ndarray:
    """Moments of visits of ten views with lognormal gaps (median 40 s), one visit a day."""
    rng = np.random.default_rng(seed)
    gaps = np.ceil(rng.lognormal(np.log(40), 1, n))
    day = np.arange(n) // 10
    return (
        start
        + day * 86400
        + np.concatenate([np.cumsum(part) for part in np.split(gaps, range(10, n, 10))])
    )


def shuffled(n: int, seed: int = 0) -> list[int]:
    return list(1000 + np.random.default_rng(seed).permutation(n))


# --- evidence, by hand -------------------------------------------------------------------------


def test_evidence_counts_by_hand() -> None:
    """25 views every 60 s from 09:00 on Monday, two carts, an order of two lines, one cancelled."""
    start = 9 * 3600
    evidence = facts(
        log("u", start + 60.0 * np.arange(25), ["a", "b", "c", "d", "e"]),
        log("u", [start, start + 1], ["a", "b"], "cart"),
        log("u", [start + 30, start + 30], ["a", "b"], "purchase"),
        log("u", [start + 40], ["c"], "purchase", cancelled=True),
        log("u", [start + 50], ["d"], "purchase", price=0.0),
    ).loc["u"]
    expected = {
        "views": 25, "items": 5, "carts": 2, "purchases": 2, "orders": 1, "void_orders": 2,
        "days": 1, "active_hours": 1, "busiest_hour": 25, "hours_in_day": 1, "stretch_hours": 0.4,
        "night_share": 0, "office_share": 1, "tick": 60, "gaps": 24, "gap_median": 60,
        "gap_spread": 1, "even_share": 1, "item_steps": 24, "ascending": 20 / 24,
    }  # fmt: skip
    assert {name: float(evidence[name]) for name in expected} == pytest.approx(expected)


def test_one_row_per_user_with_enough_clicks() -> None:
    """Views and carts count towards the 20; purchases and cancelled rows do not."""
    evidence = facts(
        log("19 views", range(19)),
        log("20 views", range(20)),
        log("10 and 10", range(10)),
        log("10 and 10", range(10), event="cart"),
        log("purchases", range(500), event="purchase"),
        log("void", range(500), cancelled=True),
    )
    assert list(evidence.index) == ["10 and 10", "20 views"]


def test_repeated_rows_are_one_view_and_need_no_address() -> None:
    views = log("u", 60.0 * np.arange(30), shuffled(30))
    evidence = facts(views, views, views)
    pd.testing.assert_frame_equal(evidence, facts(views))
    assert evidence.loc["u", "views"] == 30
    assert pd.isna(evidence.loc["u", "address"])


def test_office_hours_are_those_of_the_zone() -> None:
    """07:30 in UTC is before the office opens, and 08:30 in Berlin in winter."""
    views = log("u", 7.5 * 3600 + 10.0 * np.arange(20))
    assert facts(views).loc["u", "office_share"] == 0
    assert facts(views, zone="Europe/Berlin").loc["u", "office_share"] == 1


def test_saturday_is_no_office_day() -> None:
    assert facts(log("u", 5 * 86400 + 36000 + np.arange(20.0))).loc["u", "office_share"] == 0


def test_address_is_the_most_frequent_one() -> None:
    evidence = facts(
        log("u", range(20), address="10.0.0.1"),
        log("u", range(30, 45), address="10.0.0.9"),
        log("u", range(50, 90), address="10.0.0.5", cancelled=True),
        log("u", range(100, 200), address=""),
    )
    assert evidence.loc["u", "address"] == "10.0.0.1"


def test_a_log_of_days_has_no_hours() -> None:
    """With dates only, all views of a day stand at midnight: no haste, no office, no rhythm."""
    days = np.repeat(np.arange(10.0) * 86400, 40)
    row = facts(log("u", days, shuffled(400))).loc["u"]
    assert pd.isna(row["busiest_hour"])
    assert pd.isna(row["office_share"])
    assert found(log("u", days, shuffled(400))) == {
        "never comes back", "breadth without depth", "no purchase"
    }  # fmt: skip


# --- the signs of bots -------------------------------------------------------------------------


def test_fast() -> None:
    assert "fast" in found(log("u", 10.0 * np.arange(300)))
    assert "fast" not in found(log("u", 10.0 * np.arange(299)))
    assert "very fast" in found(log("u", 5.0 * np.arange(600)))
    assert "very fast" not in found(log("u", 5.0 * np.arange(599)))


def test_regular_with_a_timer_and_with_jitter() -> None:
    jitter = np.random.default_rng(0).uniform(0.7, 1.3, 100) * 60
    assert "regular" in found(log("u", 60.0 * np.arange(51) + 1))  # + 1: not a log of minutes
    assert "regular" not in found(log("u", 60.0 * np.arange(50) + 1))
    assert "regular" in found(log("u", np.cumsum(jitter).round()))
    assert "regular" not in found(log("u", human(200)))


def test_whole_minutes_are_no_rhythm() -> None:
    """A log that knows the minute only: everybody's gaps are 1, 2 or 3 minutes."""
    assert "regular" not in found(log("u", 60.0 * np.arange(200)))
    assert "regular" in found(log("u", 300.0 * np.arange(200)))


def test_around_the_clock() -> None:
    hourly = 3600.0 * np.arange(20)
    assert "around the clock" in found(log("u", hourly))
    assert "around the clock" not in found(log("u", [*hourly[:19].tolist(), 60.0]))
    stretch = 12 * 3600 + 1200.0 * np.arange(49)  # 16 hours over midnight
    assert "around the clock" in found(log("u", stretch))
    assert "around the clock" not in found(log("u", stretch[:48]))


def test_no_night_in_many_days() -> None:
    """One view a day: at any hour it is the clock of a machine, from 7 to 23 o'clock a person's."""
    days = 86400.0 * np.arange(96)
    assert "around the clock" in found(log("u", days + 3600 * (np.arange(96) * 5 % 24)))
    assert "around the clock" not in found(log("u", days + 3600 * (7 + np.arange(96) * 5 % 16)))
    few = days[:47]
    assert "around the clock" not in found(log("u", few + 3600 * (np.arange(47) * 5 % 24)))


def test_in_order() -> None:
    upwards = list(range(1000, 1031))
    assert {"in order", "strictly in order"} <= found(log("u", human(31), upwards))
    assert {"in order", "strictly in order"} <= found(log("u", human(31), upwards[::-1]))
    assert "in order" not in found(log("u", human(30), upwards))
    assert "in order" not in found(log("u", human(200), shuffled(200)))
    strays = [*range(1000, 1019), 999]  # 19 of 20 steps go up
    assert "in order" in found(log("u", human(201), strays))
    assert "strictly in order" not in found(log("u", human(201), strays))


def test_never_comes_back() -> None:
    assert "never comes back" in found(log("u", human(150), shuffled(150)))
    assert "never comes back" not in found(log("u", human(149), shuffled(149)))
    assert "never comes back" not in found(log("u", human(160), shuffled(150)))


def test_watches() -> None:
    assert "watches" in found(log("u", human(160), shuffled(20)))
    assert "watches" not in found(log("u", human(168), shuffled(24)))
    carts = log("u", human(4), event="cart")
    assert "watches" not in found(log("u", human(160), shuffled(20)), carts)


def test_hoards() -> None:
    assert "hoards" in found(log("u", human(100), event="cart"), log("u", human(99)))
    assert "hoards" not in found(log("u", human(99), event="cart"), log("u", human(20)))
    assert "hoards" not in found(log("u", human(100), event="cart"), log("u", human(100)))
    bought = log("u", human(2), event="purchase")
    assert "hoards" not in found(log("u", human(100), event="cart"), log("u", human(20)), bought)


def test_breadth_without_depth() -> None:
    broad = log("u", human(300), shuffled(150))
    assert "breadth without depth" in found(broad, log("u", human(6), event="cart"))
    assert "breadth without depth" not in found(broad, log("u", human(7), event="cart"))
    assert "breadth without depth" not in found(log("u", human(300), shuffled(149)))
    assert "very broad" in found(log("u", human(1500), shuffled(1500)))
    assert "very broad" not in found(log("u", human(1500), shuffled(1499)))


def test_no_purchase_and_buys() -> None:
    views = log("u", human(100), shuffled(60))
    assert "no purchase" in found(views)
    one = log("u", [0], event="purchase")
    assert "no purchase" not in found(views, one)
    assert "buys" not in found(views, one)
    two = log("u", [0, 1], event="purchase")
    assert "buys" in found(views, two)
    cancelled = log("u", [0, 1], event="purchase", cancelled=True)
    free = log("u", [0, 1], event="purchase", price=0.0)
    for void in (cancelled, free):
        assert "no purchase" in found(views, void)
        assert "buys" not in found(views, void)


# --- verdicts ----------------------------------------------------------------------------------


def test_a_timer_is_a_bot_and_is_told_why() -> None:
    seen = verdict(log("u", 7.0 * np.arange(412), shuffled(412))).loc["u"]
    assert seen["is_bot"]
    assert seen["bot_score"] == 2 + 3 + 2 + 1 + 1
    assert seen["why"].split("; ") == [
        "412 views in its busiest hour",
        "100% of 411 gaps within 10 % of their median of 7 s (90th over 10th percentile 1.0)",
        "412 items in 412 views, hardly one twice",
        "412 items viewed, 0 put into a cart",
        "0 purchases in 412 views",
    ]


def test_nobody_is_judged_by_few_clicks_or_by_purchases() -> None:
    """A wholesaler's order of 500 lines a minute, and a rater of 300 films, in a log of orders."""
    wholesaler = log("w", np.repeat(60.0 * np.arange(4), 500), shuffled(500), "purchase")
    rater = log("r", np.arange(300.0), shuffled(300), "purchase")
    few = log("f", np.arange(19.0), shuffled(19))
    assert verdict(wholesaler, rater, few).empty


def test_wholesaler_with_clicks_is_safe() -> None:
    """800 lines viewed and put into the cart within two hours, then bought in one minute."""
    items = shuffled(800)
    clicks = np.cumsum(np.random.default_rng(3).lognormal(2, 0.5, 800)).round()
    seen = verdict(
        log("w", clicks, items),
        log("w", clicks + 1, items, "cart"),
        log("w", np.full(800, 9000.0), items, "purchase"),
    ).loc["w"]
    assert not seen["is_bot"]
    assert not seen["is_staff"]


def test_double_clicker_and_bargain_hunter_are_safe() -> None:
    once = human(200)
    items = shuffled(120)
    doubled = pd.concat([log("d", once, items), log("d", once + 1, items)])
    hunter = log("h", 14.0 * np.arange(250) + human(250) % 9, shuffled(220))
    seen = verdict(doubled, hunter)
    assert not seen["is_bot"].any()
    assert not seen["is_staff"].any()


# --- staff -------------------------------------------------------------------------------------


def office(user: str, address: str | None = None, days: int = 12) -> pd.DataFrame:
    """Twelve visits of ten views on weekdays at 10 o'clock, 110 items in no order."""
    weekdays = [day for day in range(30) if day % 7 < 5][:days]
    moments = human(10 * days, seed=len(user), start=0) % 86400
    return log(
        user, np.repeat(weekdays, 10) * 86400.0 + 36000 + moments, shuffled(110), address=address
    )


def test_signs_of_staff() -> None:
    views = office("u")
    assert found(views, of="staff") == {"office hours", "wide", "hardly buys"}
    assert "office hours" not in found(office("u", days=9), of="staff")
    carts = log("u", human(10), event="cart")
    assert "test carts" in found(views, carts, of="staff")
    assert "test carts" not in found(views, log("u", human(9), event="cart"), of="staff")
    bought = log("u", human(2), event="purchase")
    assert "test carts" not in found(views, carts, bought, of="staff")
    void = log("u", [0, 60], event="purchase", price=0.0)
    assert "void orders" in found(views, void, of="staff")
    assert "void orders" not in found(views, void.iloc[:1], of="staff")
    assert "void orders" not in found(views, void, log("u", human(3), event="purchase"), of="staff")
    assert "void orders" in found(views, log("u", [0, 60], event="return"), of="staff")
    few = log("u", human(120), shuffled(99))
    assert "wide" not in found(few, of="staff")
    assert "wide" not in found(views, log("u", human(3), event="purchase"), of="staff")


def test_staff_needs_more_than_office_hours() -> None:
    """Someone who looks around at work, without buying, stays; with test carts it is staff."""
    assert not verdict(office("u")).loc["u", "is_staff"]
    seen = verdict(office("u"), log("u", human(12), event="cart")).loc["u"]
    assert seen["is_staff"]
    assert not seen["is_bot"]
    assert "12 carts, 0 purchases" in seen["why"]


def test_an_address_counts_only_among_suspects() -> None:
    shopper = log("shopper", human(40), shuffled(30), address="A")
    seen = verdict(office("one", "A"), office("other", "A"), office("alone", "B"), shopper)
    assert seen.index[seen["is_staff"]].to_list() == ["one", "other"]
    assert "shares its address with 1 suspects" in seen.loc["one", "why"]
    assert seen.loc["shopper", "staff_score"] == 1 + 2  # the address alone does not do
    nowhere = verdict(office("one"), office("other"))
    assert not nowhere["is_staff"].any()


# --- stability ---------------------------------------------------------------------------------


def crowd(seed: int) -> pd.DataFrame:
    """Some users of many sorts, some with cancelled orders, at three addresses or none."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(25):
        user, n = f"u{number}", int(rng.integers(15, 400))
        times = (
            human(n, seed + number)
            if rng.random() < 0.5
            else np.cumsum(rng.uniform(0.6, 1.4, n) * rng.choice([3, 30, 900])).round()
        )
        items = shuffled(int(rng.integers(3, 400)), number)
        if rng.random() < 0.3:
            items = sorted(items)
        where = rng.choice(np.array(["A", "B", "C", None], dtype=object))
        parts.append(log(user, times, items, address=where))
        parts.append(log(user, times[: int(rng.integers(0, 15))], items, "cart", address=where))
        for cancelled in (True, False):
            bought = int(rng.choice([0, 0, 2, 6]))
            parts.append(log(user, times[:bought], items, "purchase", cancelled=cancelled))
        if rng.random() < 0.3:
            parts.append(office(user, where))
    return pd.concat(parts, ignore_index=True)


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_of_rows_does_not_matter(seed: int) -> None:
    rows = crowd(seed)
    mixed = rows.sample(frac=1, random_state=seed)
    evidence = [facts(each) for each in (rows, mixed)]
    pd.testing.assert_frame_equal(*evidence)
    verdicts = [behaviour.judge(each, behaviour.Thresholds()) for each in evidence]
    pd.testing.assert_frame_equal(*verdicts)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_judging_what_remains_changes_nothing(seed: int) -> None:
    rows = crowd(seed)
    first = verdict(rows)
    gone = first.index[first["is_bot"] | first["is_staff"]]
    assert len(gone)
    kept = rows[~rows["user_id"].isin(gone) & ~rows["cancelled"]]
    second = verdict(kept)
    assert not (second["is_bot"] | second["is_staff"]).any()
    before = first.loc[second.index]
    assert (second["bot_score"] == before["bot_score"]).all()
    assert (second["staff_score"] <= before["staff_score"]).all()


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_other_users_and_cancelled_rows_only_add(seed: int) -> None:
    rows = crowd(seed)
    valid = rows[~rows["cancelled"]]
    everything, alone = verdict(rows), verdict(valid)
    pd.testing.assert_index_equal(everything.index, alone.index)
    assert (everything["bot_score"] == alone["bot_score"]).all()
    assert (everything["staff_score"] >= alone["staff_score"]).all()
    user = everything.index[0]
    single = verdict(rows[rows["user_id"] == user]).loc[user]
    assert single["bot_score"] == everything.loc[user, "bot_score"]
    assert single["staff_score"] <= everything.loc[user, "staff_score"]


# --- the table of signs, bad input -------------------------------------------------------------


def test_table_of_signs_shows_the_thresholds() -> None:
    table = behaviour.signs(behaviour.Thresholds(fast_views=777))
    assert table.loc[("bot", "fast"), "holds with"] == "777 views or more in its busiest hour"
    assert table["points"].drop(("bot", "buys")).between(1, 3).all()  # no sign convicts alone
    assert table.index.is_unique
    assert not table["holds with"].str.contains("[{}]").any()


def test_empty_table_has_no_evidence() -> None:
    nothing = log("u", [])
    assert facts(nothing).empty
    judged = verdict(nothing)
    assert judged.empty
    assert list(judged.columns) == ["bot_score", "is_bot", "staff_score", "is_staff", "why"]


def test_evidence_says_what_is_wrong_with_a_table() -> None:
    connection = duckdb.connect()
    with pytest.raises(ValueError, match="table is 'log', which this connection does not have"):
        behaviour.evidence(connection, "log")
    connection.execute("CREATE TABLE log (user_id VARCHAR, item_id VARCHAR, event VARCHAR)")
    with pytest.raises(ValueError, match="lacks timestamp, price, cancelled, address; add"):
        behaviour.evidence(connection, "log")
    connection.execute("ALTER TABLE log ADD COLUMN price DOUBLE")
    connection.execute("ALTER TABLE log ADD COLUMN cancelled BOOLEAN")
    connection.execute("ALTER TABLE log ADD COLUMN address VARCHAR")
    connection.execute("ALTER TABLE log ADD COLUMN timestamp TIMESTAMP WITH TIME ZONE")
    with pytest.raises(ValueError, match="expected TIMESTAMP in UTC"):
        behaviour.evidence(connection, "log")


def test_odd_names_and_missing_values_are_no_trouble() -> None:
    connection = duckdb.connect()
    frame = log("u", range(30), shuffled(30)).astype({"price": "object"})
    frame.loc[:4, "price"] = None
    frame.loc[:4, "item_id"] = None
    connection.register("given", frame)
    connection.execute(
        'CREATE TABLE "a ""b"" c" AS SELECT * REPLACE (timestamp::TIMESTAMP AS timestamp, '
        "price::DOUBLE AS price, NULL::BOOLEAN AS cancelled) FROM given"
    )
    assert behaviour.evidence(connection, 'a "b" c').loc["u", "views"] == 25
    assert connection.execute("SHOW TABLES").fetchall() == [('a "b" c',), ("given",)]


def test_judge_wants_evidence() -> None:
    with pytest.raises(ValueError, match=r"evidence lacks items, carts.*behaviour.evidence"):
        behaviour.judge(pd.DataFrame({"views": [1]}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fewest_clicks": 1}, "fewest_clicks is 1, expected 2 or more"),
        ({"even_share": 1.5}, "even_share is 1.5, expected a share"),
        ({"office_from": 18, "office_to": 8}, "office hours are 18 to 8"),
        ({"zone": "Europe/Lodon"}, "zone is 'Europe/Lodon', expected a name such as"),
        ({"zone": ""}, "zone is ''"),
    ],
)
def test_thresholds_are_checked(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        behaviour.Thresholds(**wrong)


# --- real people -------------------------------------------------------------------------------


def sample(name: str, select: str) -> pd.DataFrame:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the sample {name} is not beside the project (../shared/data)")
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        f"CREATE TABLE log AS SELECT {select}, NULL::DOUBLE AS price, false AS cancelled, "
        f"NULL::VARCHAR AS address FROM read_csv('{path}', delim = ',', header = true, "
        "all_varchar = true, ignore_errors = true)"
    )
    return behaviour.judge(behaviour.evidence(connection, "log"))


def test_buyers_of_retailrocket_are_people() -> None:
    """All are buyers; the one with 4,961 events bought 531 times, in 14 hours of the day."""
    seen = sample(
        "retailrocket-subset.csv.gz",
        '"user" AS user_id, item AS item_id, '
        "CASE WHEN event = 'buy' THEN 'purchase' ELSE event END AS event, "
        'epoch_ms("timestamp"::BIGINT * 1000) AS timestamp',
    )
    assert len(seen) == 484
    assert not seen["is_bot"].any()
    assert not seen["is_staff"].any()
    assert "531 purchases in 3,808 views" in seen.loc["326", "why"]


def test_visitors_of_rees46_are_people() -> None:
    seen = sample(
        "rees46-oct-sample.csv.gz",
        "user_id, product_id AS item_id, event_type AS event, "
        "replace(event_time, ' UTC', '')::TIMESTAMP AS timestamp",
    )
    assert len(seen) == 69
    assert not seen["is_bot"].any()
    assert not seen["is_staff"].any()
