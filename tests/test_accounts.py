"""Who is taken for a program: by timing and order, and never for not buying."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import cleaning
from helpers.cleaning import Rules
from helpers.io import DatasetError

SIGNS = ["fast", "regular", "around the clock", "in order"]


def visits(
    user: str, gaps: object, items: object, start: str = "2024-03-04 09:00", event: str = "view"
) -> pd.DataFrame:
    """Views of one account, ``gaps`` seconds apart; the first is ``gaps[0]`` after the start."""
    moments = pd.Timestamp(start) + pd.to_timedelta(np.cumsum(np.asarray(gaps)), unit="s")
    frame = pd.DataFrame({"user_id": user, "item_id": items, "timestamp": moments.floor("s")})
    return frame.assign(event=event)


def accounts(*logs: pd.DataFrame, **rules: object) -> pd.DataFrame:
    """The classified accounts of these logs, with no click taken for a double one."""
    given = Rules(without=["near duplicates"], **rules)  # type: ignore[arg-type]
    return cleaning.clean(pd.concat(logs, ignore_index=True), rules=given).accounts


def shuffled(n: int, kinds: int = 1_000, seed: int = 0) -> list[str]:
    """Items in random order."""
    return [f"i{item:04}" for item in np.random.default_rng(seed).integers(kinds, size=n)]


def one_sign(name: str) -> pd.DataFrame:
    """An account with this sign and no other."""
    rng = np.random.default_rng(1)
    if name == "fast":
        return visits(name, rng.exponential(4, 700), shuffled(700))
    if name == "regular":
        return visits(name, [61] * 60, shuffled(60))
    if name == "around the clock":
        return visits(name, rng.lognormal(7, 1, 300), shuffled(300))
    gaps = np.where(np.arange(60) % 10, rng.lognormal(4, 1, 60), 86_400)
    return visits(name, gaps, [f"i{n:04}" for n in range(60)])


@pytest.mark.parametrize("name", SIGNS)
def test_one_sign_removes_nobody(name: str) -> None:
    found = accounts(one_sign(name)).loc[name]
    assert [sign for sign in SIGNS if found[sign]] == [name]
    assert not found["is_bot"]
    assert found["why"]


def test_two_signs_are_a_program_and_the_report_says_why() -> None:
    script = visits("script", [30] * 300, [f"i{n:04}" for n in range(300)])
    log = pd.concat([script, visits("buyer", [9], ["i1"], event="purchase")])
    cleaned = cleaning.clean(log)
    found = cleaned.accounts.loc["script"]
    assert [sign for sign in SIGNS if found[sign]] == ["regular", "in order"]
    assert found["why"] == (
        "the middle half of its 299 gaps differ by a factor of 1.00 (up to 2); "
        "100% of its 299 steps go one way through the item ids (from 90% on)"
    )
    assert cleaned.report.removed("bots") == 300
    assert cleaned.frame["user_id"].tolist() == ["buyer"]
    [finding] = cleaned.report.findings
    assert finding.level == "warning"
    assert (
        "'bots' removed 300 rows (99.7%) and the last purchase of 0 of 1 buyers" in finding.message
    )


def test_down_the_item_ids_is_in_order_too() -> None:
    up = one_sign("in order")
    down = up.assign(item_id=up["item_id"].to_numpy()[::-1])
    assert accounts(down).loc["in order", "one_way"] == 1
    assert accounts(down).loc["in order", "in order"]


def test_evidence_by_hand() -> None:
    # Hours 9, 9, 9 and 10 of a Monday, then 9 of a Saturday: of 3 active hours 2 are office hours.
    monday = visits("u", [0, 600, 600, 3000], ["a", "b", "a", "c"], "2024-03-04 09:00")
    saturday = visits("u", np.arange(40) + 1, ["d"] * 40, "2024-03-09 09:00")
    found = accounts(monday, saturday).loc["u"]
    assert found["busiest_hour"] == 40
    assert found["active_hours"] == 3
    assert found["longest_run"] == 2
    assert found["office_share"] == pytest.approx(2 / 3)
    assert found["steps"] == 4  # a b, b a, a c, c d
    assert found["one_way"] == 0.75
    assert found["days"] == 2


def test_readers_who_never_buy_stay() -> None:
    """Five readers, 200 articles, ten an evening, in the order of their appearance."""
    rng, logs = np.random.default_rng(0), []
    for reader in range(5):
        for day in range(20):
            articles = [f"a{10 * day + n:04}" for n in range(10)]
            start = f"2024-03-{day + 1:02} 20:00"
            logs.append(visits(f"reader {reader}", rng.lognormal(4.5, 0.8, 10), articles, start))
    cleaned = cleaning.clean(pd.concat(logs))
    assert cleaned.report.n_kept == 1_000
    assert cleaned.report.findings == ()


def test_shift_worker_stays() -> None:
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=120)
    looks = np.sort(rng.integers(0, 86_400, (120, 2)))
    logs = [
        visits("u", np.diff(look, prepend=0), shuffled(2, 50), str(day))
        for day, look in zip(days, looks, strict=True)
    ]
    found = accounts(*logs).loc["u"]
    assert found["around the clock"]
    assert not found["is_bot"]


def test_only_many_hours_without_sleep_are_around_the_clock() -> None:
    hour = 3600
    sleeper = visits("sleeper", [0, *([2 * hour] * 7 + [10 * hour]) * 9], shuffled(73))
    seldom, often = (visits(f"{n} hours", [25 * hour] * n, shuffled(n)) for n in (47, 48))
    evening = visits("15 in a row", [0, *[1_700] * 31], shuffled(32), "2024-03-04 08:00")
    night = visits("16 in a row", [0, *[1_800] * 31], shuffled(32), "2024-03-04 08:00")
    found = accounts(sleeper, seldom, often, evening, night)["around the clock"]
    assert found[found].index.tolist() == ["16 in a row", "48 hours"]


def test_bargain_hunter_stays() -> None:
    rng, logs = np.random.default_rng(0), []
    for day in pd.date_range("2024-01-01 19:00", periods=60):
        logs.append(visits("u", rng.lognormal(3, 1, 40), shuffled(40, seed=day.day), str(day)))
    found = accounts(*logs, visits("u", [5], ["i0001"], event="purchase")).loc["u"]
    assert not found[SIGNS].any()


@pytest.mark.parametrize(
    ("name", "event"), [("retailrocket-subset", "event"), ("rees46-oct-sample", "event_type")]
)
def test_real_people_stay_with_their_purchases_withheld(name: str, event: str) -> None:
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / f"{name}.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the project")
    log = pd.read_csv(path)
    cleaned = cleaning.clean(log[log[event] == "view"])
    assert len(cleaned.accounts) > 10
    assert not cleaned.accounts["is_bot"].any()
    assert not cleaned.report.findings


def test_office_hours_are_a_suspicion_only() -> None:
    rng, logs = np.random.default_rng(0), []
    for day in pd.bdate_range("2024-01-01", periods=15, tz="Asia/Tokyo"):
        start = str((day + pd.Timedelta(hours=9)).tz_convert("UTC").tz_localize(None))
        logs.append(visits("clerk", rng.uniform(60, 1_800, 25), shuffled(25, seed=day.day), start))
    log = pd.concat(logs)
    log["timestamp"] = log["timestamp"].dt.tz_localize("UTC")
    here = cleaning.clean(log, zone="Asia/Tokyo")
    assert here.accounts.loc["clerk", "like_staff"]
    assert "office hours" in here.accounts.loc["clerk", "why"]
    assert here.report.n_kept == len(log)
    assert any("(clerk)" in finding.message for finding in here.report.findings)
    assert not cleaning.clean(log).accounts["like_staff"].any()  # at night in UTC


@pytest.mark.parametrize(
    ("kinds", "purchases", "like_staff"),
    [(100, 1, True), (99, 0, False), (100, 2, False)],
)
def test_staff_looks_at_many_things_and_hardly_buys(
    kinds: int, purchases: int, like_staff: bool
) -> None:
    rng, logs = np.random.default_rng(0), []
    for n, day in enumerate(pd.bdate_range("2024-01-01", periods=15)):
        items = [f"i{item % kinds:04}" for item in range(30 * n, 30 * n + 30)]
        start = f"{day:%F} 09:00"
        logs.append(visits("clerk", rng.uniform(60, 900, 30), rng.permutation(items), start))
    bought = visits("clerk", [60] * purchases, ["i0001"] * purchases, event="purchase")
    assert accounts(*logs, bought).loc["clerk", "like_staff"] == like_staff


def test_whole_minutes_and_dates_are_no_rhythm() -> None:
    for gap, regular in ((60, False), (120, False), (180, True)):  # from three ticks on
        minutes = visits("minutes", [gap] * 200, shuffled(200))
        assert accounts(minutes).loc["minutes", "regular"] == regular
    dates = visits("dates", [86_400] * 200, shuffled(200), "2024-01-01")
    assert accounts(dates).empty


def test_few_views_and_purchases_are_not_looked_at() -> None:
    few = visits("few", [30] * 30, [f"i{n:03}" for n in range(30)])
    buys = visits("buys", [1] * 500, [f"i{n:03}" for n in range(500)], event="purchase")
    assert accounts(few, buys).empty


def test_repeated_rows_are_one_view() -> None:
    log = one_sign("in order")
    columns = ["busiest_hour", "steps", "gaps"]
    once, twice = (accounts(*logs)[columns] for logs in ([log], [log.assign(a=1), log.assign(a=2)]))
    pd.testing.assert_frame_equal(once, twice)


def test_order_of_the_rows_changes_nothing() -> None:
    log = pd.concat([one_sign("regular"), one_sign("in order")], ignore_index=True)
    expected = accounts(log)
    for seed in range(3):
        mixed = log.sample(frac=1, random_state=seed)
        pd.testing.assert_frame_equal(accounts(mixed), expected)


def test_thresholds_are_settings() -> None:
    regular, fast = one_sign("regular"), one_sign("fast")
    assert accounts(regular, fast, views_in_hour=50).loc["regular", "is_bot"]
    assert not accounts(fast, views_in_hour=1_000).loc["fast", "fast"]
    assert not accounts(regular, regular_gaps=60).loc["regular", "regular"]
    with pytest.raises(DatasetError, match=r"views_in_hour is 0, expected 1 to 1,000,000"):
        Rules(views_in_hour=0)
    with pytest.raises(DatasetError, match=r"regular_factor is 'two', expected a number"):
        Rules(regular_factor="two")  # type: ignore[arg-type]
