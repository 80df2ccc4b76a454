"""Cleaning: what each rule removes and leaves, how returns are netted, what the report says."""

import json
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cleaning_fixtures import (
    DAY,
    OFF,
    SHARED,
    accounted,
    bot,
    csv_text,
    customers,
    employee,
    log,
    only,
    refused,
    removed_rows,
    write,
)

from helpers import io
from helpers.cleaning import RULES, Rules, clean
from helpers.io import DatasetError

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no sample logs in {SHARED}")

# The log, what the rule needs to know, and the rows (from 1) that it must remove; it must leave
# the others.
EACH_RULE: dict[str, tuple[pd.DataFrame, dict[str, object], list[int]]] = {
    "missing user": (
        log(user=["a", "", None, "null", " ", "nobody", "Guest", 0, -1, -1.0, "(not set)", "-10"]),
        {},
        [2, 3, 4, 5, 7, 8, 9, 10, 11],
    ),
    "missing item": (log(item=["a", "N/A", None, "0", "none"]), {}, [2, 3, 5]),
    "dates out of range": (
        log(time=["2023-12-31 23:59:59", "2024-01-01", "2024-02-01", "2024-02-01 00:00:01"]),
        {"earliest": "2024-01-01", "latest": "2024-02-01"},
        [1, 4],
    ),
    "cancellations": (
        # another order of such a number takes nothing back
        log(
            order=["536365", "C536365", "c1", "C2", "CASH", None, "EC1"],
            qty=[1, -1, -1, 1, 1, 1, -1],
        ),
        {},
        [2, 3],
    ),
    "quantity": (
        log(qty=["1", "0", "-3", "0.5", "-0.0", "0"], event=["purchase"] * 5 + ["view"]),
        {},
        [2, 3, 5],
    ),
    "price": (
        log(
            price=["1", "0", "-2", None, "0"],
            event=["purchase", "purchase", "purchase", "purchase", "view"],
        ),
        {},
        [2, 3],
    ),
    "service items": (
        # songs may be called so; codes stand in orders, or have a price
        log(
            item=["POST", "postage", "poster", "Gift Voucher 20", "Bank Charges", "M1", "Manual"],
            order=["1", "1", "1", None, None, "1", None],
            price=[1, 1, 1, 1, 0.5, 1, None],
        ),
        {},
        [1, 2, 4, 5],
    ),
    "declared bots": (
        log(
            useragent=[
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
                None,
                "okhttp/4.12.0",
                "facebookexternalhit/1.1",
            ]
        ),
        {},
        [1, 5],
    ),
    "staff": (
        log(
            user=["a", "b", "c", None, "d", "e"],
            ip=["10.0.0.1", "10.0.0.2", None, "10.0.0.2", "192.0.2.14", "192.0.2.16"],
        ),
        {"staff_users": ["c"], "staff_addresses": ["10.0.0.2", "192.0.2.0/28"]},
        [2, 3, 4, 5],
    ),
    "duplicates": (
        # the same; another time; other in a column without a role; spelled otherwise
        log(
            time=[f"{DAY}00", f"{DAY}00", f"{DAY}01", f"{DAY}00", "2024-01-02T10:00:00Z"],
            qty=["1", "1", "1", "1", "1.0"],
            colour=["red", "red", "red", "blue", " red "],
        ),
        {},
        [2],
    ),
    "near duplicates": (
        log(
            event=["view"] * 6 + ["cart", "purchase", "purchase"],
            time=[f"{DAY}{s:04.1f}" for s in (0, 1.5, 3.5, 5.6, 5.6, 20, 20, 30, 31)],
            item=["a", "a", "a", "a", "b", "a", "a", "a", "a"],
        ),
        {},
        [2, 3],
    ),
    "cancelled purchases": (log(qty=[2, 3, -2], item=["a", "a", "a"]), {}, [1]),
}  # fmt: skip


@pytest.mark.parametrize("rule", EACH_RULE)
def test_a_rule_removes_what_it_says_and_nothing_else(rule: str) -> None:
    frame, needs, expected = EACH_RULE[rule]
    # Returns are removed by other rules; only then they can cancel a purchase.
    with_it = (rule, "quantity") if rule == "cancelled purchases" else (rule,)
    cleaned = clean(frame, rules=only(*with_it, **needs))
    accounted(cleaned)
    assert removed_rows(cleaned)[rule] == expected
    assert cleaned.report.removed(rule) == len(expected)
    examples = cleaned.report.examples.query("rule == @rule")
    assert len(examples) == min(3, len(expected))
    assert set(examples["row"]) <= set(expected)
    if rule != "cancelled purchases":
        assert set(cleaned.removed["rule"]) == {rule}


@pytest.mark.parametrize("rule", EACH_RULE)
def test_a_rule_that_is_switched_off_removes_nothing(rule: str) -> None:
    frame, needs, _ = EACH_RULE[rule]
    cleaned = clean(frame, rules=Rules(without=[rule, "cancellations"], **needs))  # type: ignore[arg-type]
    accounted(cleaned)
    assert cleaned.report.removed(rule) == 0
    assert rule not in set(cleaned.removed["rule"])
    waterfall = cleaned.report.waterfall
    assert waterfall.index[~waterfall["applies"]].tolist() == [
        name for name in RULES if name in (rule, "cancellations")
    ]


def test_there_is_a_hand_made_log_for_each_rule() -> None:
    assert [*EACH_RULE, "bots"] == list(RULES)


def test_programs_go_and_who_looks_like_staff_is_only_named() -> None:
    raw = pd.concat([customers(), bot(), employee()], ignore_index=True)
    cleaned = clean(raw)
    accounted(cleaned)
    assert cleaned.removed.groupby("rule")["user_id"].agg(set).to_dict() == {
        "bots": {"robot"},
        "price": {"colleague"},
    }
    assert cleaned.accounts.index[cleaned.accounts["like_staff"]].tolist() == ["colleague"]
    assert "robot" in set(clean(raw, rules=Rules(without=["bots"])).frame["user_id"])


def test_a_row_is_removed_under_the_first_rule_that_hits_it() -> None:
    # A cancelled order of nobody, of postage, at no price: the user comes first.
    raw = log(
        user=[None, "u", "u", "u", "ok"], item=["POST", "POST", "POST", "a", "a"],
        order=["C1", "C1", "1", "1", "1"], qty=[-1, -1, 1, 1, 1], price=[0, 0, 0, 0, 1],
    )  # fmt: skip
    assert removed_rows(clean(raw)) == {"missing user": [1], "cancellations": [2], "price": [3, 4]}


def test_a_later_rule_takes_over_where_an_earlier_one_is_off() -> None:
    raw = log(qty=[-1, 1], order=["C1", "2"], item=["a", "b"])
    assert removed_rows(clean(raw)) == {"cancellations": [1]}
    assert removed_rows(clean(raw, rules=Rules(without=["cancellations"]))) == {"quantity": [1]}


def test_dates_in_the_future_are_out_of_range_and_the_limits_are_in_it() -> None:
    soon = (pd.Timestamp.now("UTC") + pd.Timedelta(hours=2)).isoformat()
    raw = log(time=[soon, "2190-01-01", "1989-12-31 23:59:59", "1990-01-01"], item=list("abcd"))
    assert removed_rows(clean(raw)) == {"dates out of range": [2, 3]}


def test_a_limit_with_an_offset_is_not_in_the_zone_of_the_store() -> None:
    limits = Rules(earliest="2024-01-01T00:00+02:00", latest="2024-01-02").period("Asia/Tokyo")
    assert limits == (
        pd.Timestamp("2023-12-31 22:00", tz="UTC"),
        pd.Timestamp("2024-01-01 15:00", tz="UTC"),
    )


def test_patterns_can_be_switched_off_with_an_empty_text() -> None:
    raw = log(order=["C1", "2"], item=["POST", "a"])
    assert clean(raw, rules=Rules(cancelled_orders="", service_items="")).report.n_kept == 2


def test_own_codes_of_service_items_match_the_whole_id_in_any_case() -> None:
    raw = log(item=["M", "m", "M1", "am", "D"], price=[1] * 5)
    cleaned = clean(raw, rules=Rules(service_items=r"m|d"))
    assert removed_rows(cleaned) == {"service items": [1, 2, 5]}


def test_evidence_in_shares_of_users_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [bot().assign(user=f"bot {i}") for i in range(5)]
    raw = pd.concat([customers(), bot(), employee(), *others], ignore_index=True)
    whole = clean(raw)
    monkeypatch.setattr("helpers.cleaning.accounts.ROWS", 300)
    shares = clean(raw)
    pd.testing.assert_frame_equal(shares.accounts, whole.accounts)
    pd.testing.assert_frame_equal(shares.report.waterfall, whole.report.waterfall)
    assert len(whole.accounts) == 7


def test_equal_rows_of_a_log_without_a_clock_are_kept() -> None:
    """Two purchases of one day, or two plays, are two."""
    days = log(time=["2024-01-02", "2024-01-02", "2024-01-03"])
    assert clean(days).report.n_kept == 3
    assert clean(days.drop(columns="time")).report.n_kept == 3


def test_order_lines_that_differ_in_a_column_without_a_role_are_two() -> None:
    lines = log(time=[f"{DAY}00"] * 3, order=["1"] * 3, line_no=[1, 2, 2])
    assert removed_rows(clean(lines)) == {"duplicates": [3]}


def test_staff_may_be_given_as_numbers() -> None:
    raw = log(user=["12", "13"])
    assert removed_rows(clean(raw, rules=Rules(staff_users=[12]))) == {"staff": [1]}  # type: ignore[list-item]


def test_near_duplicates_chain_and_the_first_click_stays() -> None:
    seconds = [0, 2, 4, 6, 8.000001]
    raw = log(event=["view"] * 5, time=[f"2024-01-02T10:00:{s:09.6f}" for s in seconds])
    assert removed_rows(clean(raw)) == {"near duplicates": [2, 3, 4]}
    none = clean(raw, rules=Rules(near_duplicate_seconds=0))
    assert none.report.n_kept == 5
    half = clean(log(event=["view"] * 2, time=["1704189600", "1704189600"], price=["1", "2"]),
                 rules=Rules(near_duplicate_seconds=0))  # fmt: skip
    assert removed_rows(half)["near duplicates"] in ([1], [2])


def test_near_duplicates_are_those_of_a_loop() -> None:
    rng = random.Random(0)
    rows = sorted(
        (rng.choice("uv"), rng.choice("ab"), rng.choice(["view", "cart", "purchase"]),
         round(rng.uniform(0, 400), 1))
        for _ in range(400)
    )  # fmt: skip
    rows = list(dict.fromkeys(rows))
    last: dict[tuple[str, ...], float] = {}
    expected = []
    for row in rows:
        if row[2] != "purchase" and round(row[3] - last.get(row[:3], -99.0), 6) <= 2:
            expected.append(row)
        last[row[:3]] = row[3]
    shuffled = rng.sample(rows, len(rows))
    raw = pd.DataFrame(shuffled, columns=["user", "item", "event", "time"])
    raw["time"] += 1704189600
    cleaned = clean(raw, rules=only("near duplicates"))
    found = cleaned.removed
    seconds = (found["timestamp"] - pd.Timestamp(1704189600, unit="s", tz="UTC")).dt.total_seconds()
    got = zip(found["user_id"], found["item_id"], found["event"], seconds.round(6), strict=True)
    assert sorted(got) == sorted(expected)
    assert len(expected) > 50


# Returns are netted against purchases

#: One customer and item: quantities in order of time (negative: a return), what is left of each.
NETTING = {
    "exact quantity first": ([5, 3, -5], [0, 3]),
    "exact quantity before a later larger one": ([2, 5, -2], [0, 5]),
    "latest first": ([2, 2, -2], [2, 0]),
    "in part": ([5, -2], [3]),
    "in part, latest first": ([2, 3, -4], [1, 0]),
    "two returns of one purchase": ([5, -2, -2], [1]),
    "two returns of all of it": ([5, -2, -3], [0]),
    "return before the purchase": ([-2, 2], [2]),
    "more than was bought": ([2, -5], [0]),
    "more than was bought, and bought again": ([2, -5, 4], [0, 4]),
    "each return its purchase": ([1, 2, -1, -2, 3], [0, 0, 3]),
    "taken back and bought again": ([2, -2, 2], [0, 2]),
}


@pytest.mark.parametrize("how", ["order id", "return", "Refund", "negative quantity"])
def test_returns_take_back_purchases(how: str) -> None:
    # Each case is an item of its own, so all are netted in one go.
    rows, expected = [], {}
    for name, (quantities, left) in NETTING.items():
        for second, quantity in enumerate(quantities):
            back = quantity < 0
            signed = quantity if how in ("order id", "negative quantity") else abs(quantity)
            order = f"{'C' if back and how == 'order id' else ''}{len(rows) + 100}"
            event = how if back and how in ("return", "Refund") else "purchase"
            rows.append((name, f"{DAY}{second:02}", signed, order, event))
        expected[name] = left
    raw = pd.DataFrame(rows, columns=["item", "time", "qty", "order", "event"]).assign(user="u")
    cleaned = clean(raw)
    accounted(cleaned)
    kept = cleaned.frame.groupby("item_id")["value"].agg(list).to_dict()
    assert kept == {name: [n for n in left if n] for name, left in expected.items() if any(left)}
    bought = {name: [n for n in quantities if n > 0] for name, (quantities, _) in NETTING.items()}
    for name, lines in cleaned.frame.groupby("item_id"):
        whole = [n for n, left in zip(bought[str(name)], expected[str(name)], strict=True) if left]
        assert (lines["value"] + lines["returned"]).tolist() == whole
    messages = " ".join(finding.message for finding in cleaned.report.findings)
    assert "3 purchases were returned in part" in messages
    assert "3 returns have no purchase in the log, or a smaller one" in messages


def test_a_purchase_of_a_program_is_not_counted_as_returned_in_part() -> None:
    bought = log(user=["robot"], time=["2024-01-01 10:00:00"], qty=[5], event=["purchase"])
    returned = bought.assign(time="2024-01-01 11:00:00", qty=-2)
    report = clean(pd.concat([customers(), bot(), bought, returned])).report
    assert report.removed("bots") == 401
    assert not any("returned in part" in finding.message for finding in report.findings)


def test_a_return_on_the_same_second_comes_after_its_purchase() -> None:
    raw = log(time=f"{DAY}00", qty=[-2, 2, -1], item=["a", "a", "b"])
    raw = pd.concat([raw, log(user=["other"], qty=[1])])
    assert removed_rows(clean(raw)) == {"quantity": [1, 3], "cancelled purchases": [2]}


def test_a_duplicated_line_of_a_cancellation_counts_once() -> None:
    raw = log(
        time=[f"{DAY}00", f"{DAY}01", f"{DAY}02", f"{DAY}02"],
        qty=[2, 2, -2, -2], order=["1", "2", "C3", "C3"],
    )  # fmt: skip
    assert removed_rows(clean(raw)) == {"cancellations": [3, 4], "cancelled purchases": [2]}


def test_a_duplicated_purchase_is_no_purchase_to_take_back() -> None:
    raw = log(time=[f"{DAY}00", f"{DAY}00", f"{DAY}02"], qty=[2, 2, -2], order=["1", "1", "C3"])
    raw = pd.concat([raw, log(user=["other"], qty=[1], order=["4"])])
    cleaned = clean(raw)
    assert cleaned.frame["user_id"].tolist() == ["other"]
    assert len(removed_rows(cleaned)["duplicates"]) == 1


def test_nobody_takes_back_what_another_bought_or_another_item() -> None:
    raw = log(user=["a", "b", "a"], item=["x", "x", "y"], qty=[2, -2, -2])
    assert clean(raw).frame["value"].tolist() == [2.0]


def test_a_log_without_times_nets_returns_too() -> None:
    raw = log(qty=[-2, 2, 3], item=["a", "a", "a"]).drop(columns="time")
    cleaned = clean(raw)
    assert cleaned.frame["value"].tolist() == [3.0]
    assert "timestamp" not in cleaned.frame


def test_returns_stay_out_of_it_where_the_rule_is_off() -> None:
    raw = log(qty=[2, -2])
    assert clean(raw, rules=Rules(without=["cancelled purchases"])).frame["value"].tolist() == [2.0]


def netted(lines: list[tuple[str, str, int]]) -> list[int]:
    """What is left of each line (0 for a return), with plain loops; lines in order of time."""
    left = [max(quantity, 0) for *_, quantity in lines]
    for pair in {line[:2] for line in lines}:
        here = [n for n, line in enumerate(lines) if line[:2] == pair]
        taken, remaining = set(), []
        for n in here:  # exact quantities, latest first
            wanted = -lines[n][2]
            exact = [m for m in here if m < n and lines[m][2] == wanted > 0 and m not in taken]
            if exact:
                taken.add(exact[-1])
                left[exact[-1]] = 0
            elif wanted > 0:
                remaining.append(n)
        for n in remaining:  # piece by piece, latest first
            wanted = -lines[n][2]
            for m in reversed([m for m in here if m < n and m not in taken]):
                piece = min(left[m], wanted)
                left[m] -= piece
                wanted -= piece
    return left


@pytest.mark.parametrize("seed", [0, 1])
def test_netting_is_that_of_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 3000
    quantity = rng.choice([1, 2, 3, 4, 6, -1, -2, -3, -5], n)
    lines = [
        (f"u{user}", f"i{item}", int(q))
        for user, item, q in zip(
            rng.integers(0, 40, n), rng.integers(0, 9, n), quantity, strict=True
        )
    ]
    raw = pd.DataFrame(lines, columns=["user", "item", "qty"])
    raw["time"] = 1_704_189_600 + np.arange(n)
    left = np.array(netted(list(lines)))
    cleaned = clean(raw.sample(frac=1, random_state=seed))
    accounted(cleaned)
    expected = raw.assign(value=left.astype(float))[left > 0]
    assert cleaned.frame["user_id"].tolist() == expected["user"].tolist()
    assert cleaned.frame["value"].tolist() == expected["value"].tolist()
    assert cleaned.frame["returned"].tolist() == (expected["qty"] - expected["value"]).tolist()
    bought = quantity > 0
    assert cleaned.report.removed("cancelled purchases") == (bought & (left == 0)).sum()


# The report


def test_the_waterfall_goes_down_step_by_step() -> None:
    raw = log(
        user=["a", "", "b", "b", "c"], qty=["1", "1", "0", "many", "2"],
        item=["a", "a", "a", "a", "POST"], order=["1"] * 5,
    )  # fmt: skip
    steps = clean(raw).report.waterfall.query("removed > 0")
    assert steps[["removed", "kept"]].to_dict("index") == {
        "quarantine": {"removed": 1, "kept": 4},
        "missing user": {"removed": 1, "kept": 3},
        "quantity": {"removed": 1, "kept": 2},
        "service items": {"removed": 1, "kept": 1},
    }


def test_the_report_counts_before_and_after_by_hand() -> None:
    # Before: a 4 rows, b 2, c 1, POST 1 (8 of them); after: a 3, b 1, c 1.
    raw = log(
        user=["u", "u", "v", "w", "u", "v", "v", "w"],
        item=["a", "a", "a", "a", "b", "b", "c", "POST"],
        qty=[1, 1, 1, 0, 1, 0, 1, 1],
        order=["1"] * 8,
    )
    report = clean(raw).report
    assert report.sizes.to_dict() == {
        "before": {"rows": 8, "users": 3, "items": 4, "pairs": 7},
        "after": {"rows": 5, "users": 2, "items": 3, "pairs": 4},
    }


def test_the_report_is_json_and_stands_beside_the_results(tmp_path: Path) -> None:
    raw = log(user=["ü", "", "b"], qty=["1", "1", "many"], price=["1", "", "2"])
    cleaned = clean(raw, to=tmp_path / "new" / "results")
    stored = io.read_json(tmp_path / "new" / "results" / "report.json")
    assert stored == json.loads(json.dumps(cleaned.report.to_json()))
    assert (stored["rows"], stored["kept"], stored["quarantined"]) == (3, 1, 1)
    assert stored["waterfall"][1] == {
        "step": "missing user", "removed": 1, "kept": 1, "applies": True
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "new" / "results").iterdir()) == [
        "clean.parquet", "quarantine.parquet", "removed.parquet", "report.json"
    ]  # fmt: skip


def repeated(times: int, n_pairs: int = 12) -> pd.DataFrame:
    pairs = [(f"u{n % 4}", f"i{n}", n % 3) for n in range(n_pairs)]
    return pd.DataFrame(pairs * times, columns=["userId", "songId", "num_plays"])


def levels(raw: pd.DataFrame | list[Path], words: str) -> list[str]:
    return [each.level for each in clean(raw).report.findings if words in each.message]


def test_a_log_that_is_repeated_as_a_whole_is_an_error() -> None:
    report = clean(repeated(3)).report
    assert report.findings[0].level == "error"
    assert "each of its 12 pairs of user and item stands there exactly 3 times" in (
        report.findings[0].message
    )
    assert report.removed("duplicates") == 0  # plays without times may repeat
    assert report.removed("quantity") == 12  # those without


def test_what_is_repeated_in_part_or_for_a_reason_is_no_error() -> None:
    once = repeated(1)
    assert levels(once, "repeated") == []
    assert levels(pd.concat([repeated(2), once.head(1)]), "repeated") == []
    assert levels(repeated(2, n_pairs=9), "repeated") == []  # too few to tell
    viewed_and_bought = pd.concat([once.assign(event="view"), once.assign(event="purchase")])
    assert levels(viewed_and_bought, "repeated") == []
    assert levels(pd.concat([viewed_and_bought] * 2), "repeated") == ["error"]


@needs_shared
def test_the_song_plays_stand_there_three_times() -> None:
    report = clean(SHARED / "song-plays-triplicated.csv.gz", columns={"value": "num_plays"}).report
    assert report.n_rows == 234_009 == 3 * 78_003
    assert report.findings[0].level == "error"
    assert "each of its 78,003 pairs of user and item stands there exactly 3 times" in (
        report.findings[0].message
    )
    assert report.sizes.loc["pairs", "before"] == 78_003
    assert report.n_kept == report.n_rows - report.removed("quantity")


def test_a_file_that_repeats_another_is_an_error(tmp_path: Path) -> None:
    may, june = log(user=["a", "b", "c"]), log(user=["d", "e"])
    for name, frame in (("may", may), ("june", june), ("june copy", june.iloc[::-1])):
        write(tmp_path / f"{name}.csv", csv_text(frame))
    findings = [each for each in clean(tmp_path).report.findings if each.level == "error"]
    assert [each.message.split(" also")[0] for each in findings] == [
        "Every row of june copy.csv (2)",
        "Every row of june.csv (2)",
    ]


@pytest.mark.parametrize(("bad", "level"), [(1, "warning"), (3, "error")])
def test_the_share_in_quarantine_is_told(bad: int, level: str) -> None:
    raw = log(qty=["many"] * bad + ["1"] * 19)
    [finding] = clean(raw).report.findings
    assert finding.level == level
    assert f"{bad} of {19 + bad} rows ({bad / (19 + bad):.2%}) are in quarantine" in finding.message


def test_who_only_returned_something_is_no_buyer_that_a_rule_removed() -> None:
    good = log(user=[f"u{n}" for n in range(18)], order=[str(n) for n in range(18)])
    returned = log(user=["late"], order=["C99"], qty=["-1"])
    free = log(user=["tester"], order=["100"], price=["0"])
    raw = pd.concat([good.assign(qty="1", price="1"), returned.assign(price="1"), free])
    messages = [each.message for each in clean(raw.fillna({"qty": "1"})).report.findings]
    [large] = [each for each in messages if "the last purchase of" in each]
    assert large.startswith("The rule 'price' removed 1 rows (5.0%)")
    assert "the last purchase of 1 of 19 buyers" in large


# Results, whole or not at all


def test_a_failure_in_the_middle_leaves_the_old_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, target = tmp_path / "scratch", tmp_path / "results"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    clean(log(user=["old"]), to=target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    calls = []

    def fails(*paths: object) -> None:
        calls.append(paths)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        shutil.copyfile(*paths)  # type: ignore[arg-type]

    monkeypatch.setattr(shutil, "move", fails)
    with pytest.raises(OSError, match=r"quarantine.parquet \(No space left.*nothing was changed"):
        clean(log(user=["new", "newer"]), to=target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("user", ["", "fine"])
def test_nothing_is_left_in_temporary_folders(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if user:
        cleaned = clean(log(user=[user]))
        assert len(list(tmp_path.iterdir())) == 1
        del cleaned
    else:
        with pytest.raises(DatasetError, match=r"no row is left of 1: {'missing user': 1}"):
            clean(log(user=[user]))
    assert list(tmp_path.iterdir()) == []


def test_the_results_may_not_go_into_the_folder_of_the_log(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", csv_text(log(user=["a"])))
    with pytest.raises(DatasetError, match=r"holds the log itself.*choose another"):
        clean(tmp_path, to=tmp_path)


def test_the_source_is_as_it_was() -> None:
    raw = log(user=["a", 5, None], qty=["1,000", 2, 3.5])
    before = raw.copy(deep=True)
    clean(raw)
    pd.testing.assert_frame_equal(raw, before)


# Bad arguments


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"without": ["robots"]}, r"no rules \['robots'\]; expected some of missing user"),
        ({"without": "bots"}, "without is 'bots', expected a list"),
        ({"without": None}, "without is None, expected a list"),
        ({"staff_users": "bob"}, "staff_users is 'bob', expected a list"),
        ({"staff_addresses": 5}, "staff_addresses is 5, expected a list"),
        ({"cancelled_orders": "("}, r"cancelled_orders is '\(', which is no regular expression"),
        ({"cancelled_orders": "(?!x)"}, "cancelled_orders is .*RE2"),
        ({"service_items": None}, "service_items is None, .*empty text for none"),
        ({"near_duplicate_seconds": -1}, "near_duplicate_seconds is -1, expected 0 to 86,400"),
        ({"near_duplicate_seconds": float("nan")}, "near_duplicate_seconds is nan, expected"),
        ({"near_duplicate_seconds": float("inf")}, "near_duplicate_seconds is inf, expected"),
        ({"near_duplicate_seconds": "2"}, "near_duplicate_seconds is '2', expected"),
        ({"earliest": "soon"}, "earliest is 'soon', expected a date or time"),
        ({"latest": pd.NaT}, "latest is NaT, expected a date or time"),
        ({"latest": [1]}, r"latest is \[1\], expected a date or time"),
        (
            {"earliest": "2024-02-01", "latest": "2024-01-01"},
            "earliest is 2024-02-01 .*not before latest, 2024-01-01",
        ),
        ({"earliest": "2024-01-01", "latest": "2024-01-01"}, "earliest is .*not before latest"),
        ({"staff_addresses": ["home"]}, "staff_addresses has .*'home' .*expected such as 192"),
    ],
)
def test_rules_refuse(given: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Rules(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": None}, "source is None, expected a path, a folder, a pattern"),
        ({"source": []}, "source is an empty list; give at least one file"),
        ({"source": [5]}, "source is 5, expected a path"),
        ({"source": "no/where"}, "no/where holds no log: expected a file, a folder"),
        ({"source": pd.DataFrame({"user": []})}, r"columns \(user\) but no rows"),
        ({"columns": ["user"]}, r"columns is \['user'\], expected a mapping"),
        ({"columns": {"user": "visitor"}}, "no column 'visitor' for 'user'.*has the columns user"),
        ({"columns": {"buyer": "user"}}, "unknown role 'buyer', expected one of user, item"),
        ({"columns": {"user": "user", "item": "user"}}, "one column is given for two roles"),
        ({"events": ["x"]}, r"events is \['x'\], expected a mapping"),
        ({"events": {"x": "steal"}}, r"events maps to \['steal'\], expected some of view, cart"),
        ({"rules": None}, r"rules is None, expected cleaning.Rules\(...\)"),
        ({"zone": "Mars"}, "zone is 'Mars', expected a name such as Europe/London"),
        ({"zone": None}, "zone is None, expected a name"),
        ({"day_first": "yes"}, "day_first is 'yes', expected True, False or None"),
        ({"memory": "lots"}, "memory is 'lots', expected an amount such as '1GB'"),
        ({"memory": "1KB"}, "memory is '1KB', too little for this log; `make tidy"),
        ({"to": 5}, "to is 5, expected the path of a folder"),
        ({"to": __file__}, "which is a file; expected a folder"),
    ],
)
def test_clean_refuses(given: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        clean(**({"source": log(user=["a", "b"])} | given))  # type: ignore[arg-type]


def test_a_log_of_which_nothing_is_left_says_why() -> None:
    raw = log(user=["", "b", "c"], qty=["1", "many", "0"])
    expected = (
        r"no row is left of 3: \{'quarantine': 1, 'missing user': 1, 'quantity': 1\}; quarantined "
        r"for \{'quantity is no number up to 1e\+09': 1\}; correct the columns, or switch"
    )
    with pytest.raises(DatasetError, match=expected):
        clean(raw)


# Real logs


@needs_shared
def test_a_real_log_of_a_store_is_accounted_for() -> None:
    cleaned = clean(SHARED / "rees46-oct-sample.csv.gz")
    accounted(cleaned)
    assert cleaned.report.n_rows == 17_435
    # The sample was cut in the middle of its last line.
    assert refused(cleaned) == [(17_435, "fewer fields than the header")]
    assert cleaned.frame.columns.tolist() == [
        "user_id", "item_id", "value", "timestamp", "event", "session_id", "price", "category"
    ]  # fmt: skip
    everything = clean(SHARED / "rees46-oct-sample.csv.gz", rules=OFF).frame
    assert everything["user_id"].nunique() == 4_504  # and one in the cut line
    assert everything["session_id"].nunique() == 5_066
    assert set(everything["event"]) == {"view", "cart", "purchase"}
    assert everything["timestamp"].min() == pd.Timestamp("2019-10-01", tz="UTC")


@needs_shared
def test_a_real_log_of_clicks_is_accounted_for() -> None:
    cleaned = clean(SHARED / "retailrocket-subset.csv.gz")
    accounted(cleaned)
    everything = pd.concat([cleaned.frame, cleaned.removed])
    assert everything["event"].value_counts().to_dict() == {
        "view": 75_374, "cart": 12_456, "purchase": 9_551
    }  # fmt: skip
    assert everything["user_id"].nunique() == 2_174
    assert everything["timestamp"].dt.year.unique().tolist() == [2015]
    assert cleaned.report.n_quarantined == 0


def test_the_source_is_never_replaced_and_results_are_all_written_or_none(tmp_path: Path) -> None:
    first = clean(log(user=["a", "b"]), to=tmp_path / "w")
    before = (tmp_path / "w" / "clean.parquet").read_bytes()
    with pytest.raises(DatasetError, match="holds the log itself"):
        clean(first.folder / "clean.parquet", to=tmp_path / "w")
    assert (tmp_path / "w" / "clean.parquet").read_bytes() == before
    (tmp_path / "v" / "quarantine.parquet").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"quarantine.parquet is a folder; move it away"):
        clean(log(user=["a", "b"]), to=tmp_path / "v")
    assert [path.name for path in (tmp_path / "v").iterdir()] == ["quarantine.parquet"]


def test_user_zero_is_nobody_unless_users_are_numbered_from_zero() -> None:
    assert removed_rows(clean(log(user=["0", "17850", "0"]))) == {"missing user": [1, 3]}
    assert removed_rows(clean(log(user=["0", "1", "5"]))) == {"missing user": [1]}
    assert clean(log(user=["0", "1", "2"])).report.n_kept == 3


def test_names_for_nobody_are_missing_users() -> None:
    names = ["guest", "Anonymous", "(not set)", "-1", "a"]
    assert removed_rows(clean(log(user=names))) == {"missing user": [1, 2, 3, 4]}


def test_a_begun_checkout_is_no_purchase_and_otto_is_known() -> None:
    events = ["checkout", "begin_checkout", "clicks", "carts", "orders"]
    found = clean(log(event=events), rules=OFF).frame["event"].tolist()
    assert found == ["cart", "cart", "view", "cart", "purchase"]
