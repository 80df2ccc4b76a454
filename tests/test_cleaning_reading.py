"""Reading any export: one schema for all, a place for each line that is no row, no silent loss."""

import csv
import datetime
import errno
import gzip
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cleaning_fixtures import (
    DAY,
    OFF,
    SOUND_LINES,
    accounted,
    csv_text,
    damaged,
    log,
    refused,
    write,
)

from helpers.cleaning import Cleaned, clean
from helpers.io import DatasetError


def read(source: object, **options: object) -> Cleaned:
    """Without any removal."""
    cleaned = clean(source, rules=OFF, **options)  # type: ignore[arg-type]
    accounted(cleaned)
    return cleaned


# One schema

EVENTS = pd.DataFrame(
    {
        "user": ["7", "ü8", "9", "7", "10", "ü8"],
        "item": ["a", "b", "c", "d", "e, f", "g"],
        "time": [f"2024-05-{day} 14:00:0{day % 10}" for day in range(13, 19)],
        "event": ["view", "view", "cart", "purchase", "view", "purchase"],
        "qty": ["1", "1", "1", "1234.5", "1", "2"],
    }
)


def test_exports_of_any_shape_are_read_as_one_clean_file(tmp_path: Path) -> None:
    expected = read(EVENTS).frame
    one, two, three, four, five, six = (EVENTS.iloc[[n]] for n in range(6))
    exports = tmp_path / "exports"
    # the usual names in another order, hard to read numbers
    write(exports / "a.csv", "QTY,Event Type,product_id,USER_ID,event_time\n"
          " 1 ,VIEW,a, 7.0 ,2024-05-13T14:00:03Z\n")  # fmt: skip
    # Latin-1, semicolons, day first, another name for a view
    views = "visitorid;itemid;date;action\nü8;b;14.5.2024 14:00:04;Product View\n"
    write(exports / "b b's.csv", views.encode("latin-1"))
    # tabs, gzip, milliseconds
    moment = 1715781605000
    write(exports / "[c]*?.tsv.gz", gzip.compress(
        f"CustomerID\tStockCode\tts\tevent\n9\tc\t{moment}\taddtocart\n".encode()))  # fmt: skip
    # UTF-16 with its mark, an offset
    write(exports / "ď.txt", "Client ID\tSKU\tDateTime\taction\tQuantity\n"
          "7\td\t2024-05-16T16:00:06+02:00\ttransaction\t1,234.50\n".encode("utf-16"))  # fmt: skip
    # typed Parquet, month first, with a column that none of the others has
    pd.DataFrame(
        {"userId": [10], "Item-ID": ["e, f"], "timestamp": ["5/17/2024 2:00:07 PM"],
         "event": ["Detail"], "colour": ["red"]}
    ).to_parquet(exports / "e{1}.parquet")  # fmt: skip
    six.assign(
        time=pd.to_datetime(six["time"]), event="Buy", qty=np.array([2], dtype="int8")
    ).to_parquet(exports / "f.parquet")
    cleaned = read(exports)
    pd.testing.assert_frame_equal(cleaned.frame, expected)
    assert cleaned.report.n_quarantined == 0
    assert len(one) + len(two) + len(three) + len(four) + len(five) == 5


def one(column: str, text: object, **options: object) -> object:
    """What becomes of one cell; the reason where it is refused."""
    frame = log(**{column: [text, "2024-01-01" if column == "time" else "1"], "user": ["x", "ok"]})
    cleaned = read(frame, **options)
    if cleaned.report.n_quarantined:
        return cleaned.quarantine["reason"].iloc[0]
    row = cleaned.frame.query("user_id == 'x'").iloc[0]
    return row["timestamp" if column == "time" else {"qty": "value"}.get(column, column)]


NUMBERS = {
    "12": 12, " 12 ": 12, "12.0": 12, "1e3": 1000, "+5": 5, "-3": -3, ".5": 0.5, "12.": 12,
    "1,234": 1234, "1,234,567.25": 1234567.25, "1.234,50": 1234.5, "1.234.567,8": 1234567.8,
    "12,5": 12.5, "1234,50": 1234.5, "1 234": 1234, "1 234,50": 1234.5, "1\u00a0234.5": 1234.5,
    "1\u202f234": 1234, "1'234": 1234, "$1,234.50": 1234.5, "€ 12": 12, "12 €": 12, "£ -2": -2,
    "-£2": -2, "\ufeff7": 7, "\t7\u00a0": 7, "0": 0, "": 1, "NaN": 1, "None": 1,
}  # fmt: skip
NO_NUMBERS = ["many", "1,23,4", "inf", "1e10", "0x10", "(3)", "1 2", "--1", "12 pcs", "True", "½"]


def test_numbers_as_exports_write_them() -> None:
    texts = [*NUMBERS, *NO_NUMBERS]
    raw = log(user=[f"u{n}" for n in range(len(texts))], event="view", qty=texts, time=f"{DAY}00")
    cleaned = read(raw)
    got = dict(zip(cleaned.frame["user_id"], cleaned.frame["value"], strict=True))
    assert got == {f"u{n}": value for n, value in enumerate(NUMBERS.values())}
    first = len(NUMBERS) + 1
    assert refused(cleaned) == [
        (row, "quantity is no number up to 1e+09") for row in range(first, first + len(NO_NUMBERS))
    ]


NOON = pd.Timestamp("2024-05-31 12:00", tz="UTC")
TIMES = [
    "2024-05-31T12:00:00Z", "2024-05-31 12:00:00 UTC", "2024-05-31 12:00", "2024/05/31 12:00",
    "2024-05-31T14:00:00+02:00", "2024-05-31T08:00:00.000-0400", "2024-05-31 12:00:00.000000001",
    "1717156800", "1717156800.0", "1717156800000", "1717156800000000", "1717156800000000000",
    "31 May 2024 12:00", "May 31, 2024 12:00", "Fri, 31 May 2024 12:00:00 GMT",
    "31/May/2024:14:00:00 +0200", "31.5.2024 12:00", "31/05/2024 12:00:00", "31-05-24 12:00",
    "31/5/2024 12:00 PM",
]  # fmt: skip
NO_TIMES = ["soon", "2024", "2024-13-01", "0000-00-00", "infinity", "epoch", "", "25:00",
            "99/99/2024"]  # fmt: skip
FAR = ["1850-01-01", "2500-01-01", "20240531120000"]


def test_times_as_exports_write_them() -> None:
    texts = [*TIMES, *NO_TIMES, *FAR]
    raw = log(user=[f"u{n}" for n in range(len(texts))], time=texts)
    cleaned = read(raw)
    got = dict(zip(cleaned.frame["user_id"], cleaned.frame["timestamp"], strict=True))
    assert got == {f"u{n}": NOON for n in range(len(TIMES))}
    first = len(TIMES) + 1
    reasons = ["time is missing or cannot be read"] * len(NO_TIMES)
    reasons += ["time is before 1900 or after 2200"] * len(FAR)
    assert refused(cleaned) == list(enumerate(reasons, start=first))


def test_a_date_of_eight_digits_is_no_number_of_seconds() -> None:
    assert one("time", "20240531") == pd.Timestamp("2024-05-31", tz="UTC")


def test_the_zone_is_that_of_times_without_one() -> None:
    texts = ["2024-01-01 12:00", "2024-07-01 12:00", "2024-07-01 12:00Z", "31.12.2023 12:00",
             "1717156800", "20240701", "1 Jul 2024 12:00"]  # fmt: skip
    raw = log(user=[f"u{n}" for n in range(len(texts))], time=texts)
    frame = read(raw, zone="Europe/Berlin").frame.sort_values("user_id")
    assert frame["timestamp"].dt.strftime("%Y-%m-%d %H:%M").tolist() == [
        "2024-01-01 11:00", "2024-07-01 10:00", "2024-07-01 12:00", "2023-12-31 11:00",
        "2024-05-31 12:00", "2024-06-30 22:00", "2024-07-01 10:00",
    ]  # fmt: skip


def test_whether_the_day_comes_first_is_found_for_each_file(tmp_path: Path) -> None:
    write(tmp_path / "british.csv", "user,item,time\na,x,3/4/2024\na,y,31/4/2023\na,z,30/4/2024\n")
    write(tmp_path / "us.csv", "user,item,time\nb,x,3/4/2024\nb,y,4/30/2024\n")
    write(tmp_path / "same.csv", "user,item,time\nc,x,5/5/2024\n")
    cleaned = read(tmp_path)
    times = cleaned.frame.set_index(["user_id", "item_id"])["timestamp"].dt.strftime("%d %b")
    assert times.to_dict() == {
        ("a", "x"): "03 Apr", ("a", "z"): "30 Apr", ("b", "x"): "04 Mar", ("b", "y"): "30 Apr",
        ("c", "x"): "05 May",
    }  # fmt: skip
    assert refused(cleaned) == [(2, "time is missing or cannot be read")]  # the 31st of April


def test_dates_that_can_be_read_in_both_ways_are_settled_by_the_user(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "user,item,when\na,x,3/4/2024\na,y,4/5/2024\n")
    columns = {"timestamp": "when"}
    with pytest.raises(DatasetError, match=r"log.csv: the dates of column 'when'.*day_first=True"):
        read(path, columns=columns)
    for day_first, expected in ((True, "2024-04-03"), (False, "2024-03-04")):
        first = read(path, columns=columns, day_first=day_first).frame["timestamp"].iloc[0]
        assert first == pd.Timestamp(expected, tz="UTC")


def test_events_have_many_names() -> None:
    names = {
        "view": "view", "page_view": "view", "Product View": "view", "click": "view",
        "addtocart": "cart", "Add to cart": "cart", "ADD-TO-BASKET": "cart",
        "remove_from_cart": "remove_from_cart", "Remove from basket": "remove_from_cart",
        "transaction": "purchase", "Order": "purchase", "buy": "purchase",
        "clicks": "view", "carts": "cart", "orders": "purchase",  # OTTO's
        "checkout": "cart", "begin_checkout": "cart",  # no purchase yet
        "refund": "return", "wish list": "cart", "Detail": "cart",
    }  # fmt: skip
    raw = log(user=[f"u{n}" for n in range(len(names))], event=list(names), time=f"{DAY}00")
    given = {"wishlist": "cart", "detail": "cart"}  # a new name, and another meaning
    frame = read(raw, events=given).frame
    got = dict(zip(frame["user_id"], frame["event"], strict=True))
    assert got == {f"u{n}": event for n, event in enumerate(names.values())}


def test_an_unknown_event_beside_known_ones_is_refused() -> None:
    cleaned = read(log(event=["view", "zap", None, "view\x1fcart", "views|pageview"]))
    assert refused(cleaned) == [
        (2, "unknown event"),
        (3, "event is missing"),
        (4, "unknown event"),
        (5, "unknown event"),
    ]


def test_a_log_without_any_known_event_keeps_its_own() -> None:
    frame = read(log(event=["Played", "skipped"], qty=["", "2"])).frame
    assert frame["event"].tolist() == ["played", "skipped"]
    assert frame["value"].tolist() == [1.0, 2.0]


def test_without_events_all_are_purchases_and_a_quantity_must_be_there() -> None:
    cleaned = read(log(qty=["2", "", "3"]))
    assert set(cleaned.frame["event"]) == {"purchase"}
    assert refused(cleaned) == [(2, "quantity is missing")]
    assert read(log(user=["a", "b"])).frame["value"].tolist() == [1.0, 1.0]


def test_a_log_without_times_has_no_times() -> None:
    frame = clean(log(user=["a", "b"], item=["x", "y"]).drop(columns="time")).frame
    assert frame.columns.tolist() == ["user_id", "item_id", "value", "event"]
    assert frame["user_id"].tolist() == ["a", "b"]


def test_where_one_file_lacks_the_times_of_the_others_its_rows_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "user,item\nu,x\n")
    write(tmp_path / "b.csv", "user,item,time,price\nu,x,2024-01-01,2\n")
    cleaned = read(tmp_path)
    assert cleaned.quarantine.to_numpy().tolist() == [
        ["a.csv", 1, "time is missing or cannot be read", "u,x"]
    ]
    assert cleaned.frame["price"].tolist() == [2.0]


IDS = {
    "object, mixed": pd.Series([7, "8", 9.0, " 10 ", None], dtype=object),
    "floats": pd.Series([7.0, 8, 9, 10, np.nan]),
    "nullable": pd.array([7, 8, 9, 10, None], dtype="Int64"),
    "category of numbers": pd.Categorical([7, 8, 9, 10, None]),
    "category of text": pd.Categorical(["7", "8", "9", "10", None]),
    "Arrow": pd.array(["7", "8.0", "9.00", "10", None], dtype="string[pyarrow]"),
    "decimals": pd.Series([Decimal(7), Decimal("8.0"), 9, 10, None], dtype=object),
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_a_frame_are_text(kind: str) -> None:
    frame = read(log(item=list("abcde")).assign(user=IDS[kind])).frame
    assert frame["user_id"].tolist()[:4] == ["7", "8", "9", "10"]
    assert frame["user_id"].isna().tolist() == [False] * 4 + [True]
    assert frame["user_id"].dtype == frame["item_id"].dtype == "str"


MOMENTS = {
    "naive": pd.to_datetime(["2024-05-31 12:00"]),
    "aware": pd.to_datetime(["2024-05-31 14:00"]).tz_localize("Europe/Berlin"),
    "seconds": pd.to_datetime(["2024-05-31 12:00"]).astype("datetime64[s]"),
    "objects": pd.Series([datetime.datetime(2024, 5, 31, 12)], dtype=object),
    "category": pd.Categorical(pd.to_datetime(["2024-05-31 12:00"])),
    "Arrow": pd.Series([NOON]).astype("timestamp[ns, tz=UTC][pyarrow]"),
    "numbers": [1717156800],
}


@pytest.mark.parametrize("kind", MOMENTS)
def test_times_of_a_frame_are_utc(kind: str) -> None:
    frame = read(pd.DataFrame({"user": ["u"], "item": ["i"], "ts": MOMENTS[kind]})).frame
    assert frame["timestamp"].tolist() == [NOON]
    assert frame["timestamp"].dtype == "datetime64[ns, UTC]"


def test_further_columns_of_a_frame_may_be_of_any_type() -> None:
    raw = log(user=["a", "b"]).assign(
        tags=[[1], [2]], facts=[{"k": 1}, {}], wave=[1j, 2j],
        span=pd.interval_range(0, 2), month=pd.period_range("2024-01", periods=2, freq="M"),
        thin=pd.arrays.SparseArray([0, 1]), wait=pd.to_timedelta([1, 2], "s"),
        half=np.float16([1, 2]),
    )  # fmt: skip
    assert read(raw).report.n_kept == 2


def test_names_of_columns_may_be_anything(tmp_path: Path) -> None:
    # Words of SQL, quotes, blanks, one that differs in case only, one that is missing.
    text = ',"the ""best"" user",it;em\'s,select,SELECT,"user", time \n0,a,x,1,2,b,2024-01-01\n'
    path = write(tmp_path / "log.csv", text)
    columns = {"user": 'the "best" user', "item": "it;em's", "value": "SELECT"}
    for source in (path, pd.read_csv(path)):
        frame = read(source, columns=columns).frame
        assert frame[["user_id", "item_id", "value"]].to_numpy().tolist() == [["a", "x", 2.0]]
    # DuckDB alone takes "user" for the name of the database's user, where no column has it.
    pd.DataFrame({" user": ["a"], "item ": ["x"]}).to_parquet(tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet").frame["user_id"].tolist() == ["a"]


@pytest.mark.parametrize("name", ["it's a \"log\".csv", "[1]*.csv", "{a,b}?.csv", "ünï/%20~$x.csv",
                                  "day=5/LOG.CSV", "-.csv"])  # fmt: skip
def test_names_of_files_may_be_anything(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, csv_text(log(user=["a", "b"], qty=[1, "many"])))
    cleaned = read(path)
    assert cleaned.frame["user_id"].tolist() == ["a"]
    assert cleaned.quarantine["file"].tolist() == [path.name]
    assert "day" not in cleaned.frame


def test_brackets_and_stars_in_a_name_are_no_pattern(tmp_path: Path) -> None:
    names = ["logs[1]", "logs1", "logs*", "logsx"]
    for name in names:
        write(tmp_path / name / "log.csv", csv_text(log(user=[name])))
        log(user=[name]).to_parquet(tmp_path / name / "log.parquet")
    for name in names[::2]:
        folder = tmp_path / name
        for source in (folder, folder / "log.csv", folder / "log.parquet", folder / "*.csv"):
            cleaned = read(source, to=tmp_path / "results" / name)
            assert set(cleaned.frame["user_id"]) == {name}
    users = clean(tmp_path / "logs?" / "*.csv", rules=OFF).frame["user_id"]
    assert sorted(users) == ["logs*", "logs1", "logsx"]


def test_files_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "may" / "log.csv", "user,item,qty\na,x,1\na,y,many\n")
    write(tmp_path / "june" / "log.csv", "sku;customer;count\nx;b;2\ny;b;few\ny;;1\n")
    cleaned = clean([tmp_path / "may", tmp_path / "june" / "log.csv"])
    accounted(cleaned)
    assert cleaned.quarantine[["file", "row"]].to_numpy().tolist() == [
        ["june/log.csv", 2], ["may/log.csv", 2]
    ]  # fmt: skip
    assert cleaned.removed[["file", "row"]].to_numpy().tolist() == [["june/log.csv", 3]]
    assert cleaned.frame["user_id"].tolist() == ["a", "b"]
    pattern = clean(str(tmp_path / "*" / "log.*"))
    pd.testing.assert_frame_equal(pattern.frame, cleaned.frame)
    twice = clean([tmp_path / "may", tmp_path / "june", tmp_path / "may" / "log.csv"])
    assert twice.report.n_rows == 5


def test_a_folder_is_read_without_what_is_hidden_or_no_log(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", csv_text(log(user=["a"])))
    write(tmp_path / ".log.csv", csv_text(log(user=["hidden"])))
    write(tmp_path / "notes.pdf", "nothing")
    assert read(tmp_path).frame["user_id"].tolist() == ["a"]


# The quarantine


def test_each_reason_of_the_validation() -> None:
    long = "x" * 257
    raw = log(
        user=["ok", "a\x07b", "ok", long, "1.23457E+11", "ok", "ok", "ok", "x" * 256],
        item=["a", "a", "tab\there", "b", "b", long, "a", "a", "c"],
        price=["1", "1", "1", "1", "1", "1", "cheap", "1e10", ""],
    )
    user, item = (
        f"{what} id has control characters or is a number cut by a spreadsheet"
        for what in ("user", "item")
    )
    assert refused(read(raw)) == [
        (2, user), (3, item), (4, "user id is longer than 256 characters"), (5, user),
        (6, "item id is longer than 256 characters"), (7, "price is no number up to 1e+09"),
        (8, "price is no number up to 1e+09"),
    ]  # fmt: skip


def test_a_row_with_several_faults_names_the_first_and_keeps_its_text() -> None:
    raw = log(user=["é", "u\0"], qty=["1", "many"], title=["", 'a "b", c'])
    cleaned = read(raw)
    [row] = cleaned.quarantine.to_numpy().tolist()
    assert row == [
        "frame", 2,
        "user id has control characters or is a number cut by a spreadsheet",
        f'u\0,i,{DAY}01,many,"a ""b"", c"',
    ]  # fmt: skip


PLACES = [
    "user,item,title,qty",
    'u1,a,"two',
    'lines",1',
    "",
    "u2,a,plain,many",
    "",
    "u3,short",
    'u4,a,"three',
    "",
    'lines",1',
    "u5,a,plain,1,more",
    'u6,a,"five',
    "and",
    'six",few',
    'u7,a,"cut,1',
    'u8,a,"say ""hi""",1',
    'u9,a,"x"y,1',
    "u10,a,plain,none such",
    ",a,plain,1",
    "u12,a,plain,1",
]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_a_row_number_is_that_of_its_line(ends: str, suffix: str, tmp_path: Path) -> None:
    data = ends.join(PLACES).encode()
    path = write(tmp_path / f"log.{suffix}", gzip.compress(data) if suffix[-1] == "z" else data)
    cleaned = clean(path)
    accounted(cleaned)
    places = {text[:3]: row for row, text in enumerate(PLACES) if text.startswith(("u", ","))}
    assert cleaned.quarantine[["row", "reason"]].to_numpy().tolist() == [
        [places["u2,"], "quantity is no number up to 1e+09"],
        [places["u3,"], "fewer fields than the header"],
        [places["u5,"], "more fields than the header"],
        [places["u6,"], "quantity is no number up to 1e+09"],
        [places["u7,"], "a quote is opened and not closed"],
        [places["u9,"], "text after a closing quote"],
        [places["u10"], "quantity is no number up to 1e+09"],
    ]
    texts = cleaned.quarantine["text"].tolist()
    assert texts[:3] == ["u2,a,plain,many", "u3,short", "u5,a,plain,1,more"]
    assert texts[3].splitlines() == ['u6,a,"five', "and", 'six",few']  # as one field
    assert texts[4:] == ['u7,a,"cut,1', 'u9,a,"x"y,1', "u10,a,plain,none such"]
    assert cleaned.removed[["row", "rule"]].to_numpy().tolist() == [[places[",a,"], "missing user"]]
    assert cleaned.frame["user_id"].tolist() == ["u1", "u12", "u4", "u8"]
    assert cleaned.frame["title"].tolist()[3] == 'say "hi"'


@pytest.mark.parametrize("block", [1, 30, 100])
def test_a_row_may_go_over_the_end_of_a_block(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "log.csv", "\n".join(PLACES))
    whole = clean(path)
    monkeypatch.setattr("helpers.cleaning.lines._BLOCK", block)
    parts = clean(path)
    pd.testing.assert_frame_equal(parts.frame, whole.frame)
    pd.testing.assert_frame_equal(parts.quarantine, whole.quarantine)
    pd.testing.assert_frame_equal(parts.removed, whole.removed)


def test_blank_lines_at_the_end_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helpers.cleaning.lines.mend", None)
    for end in ("", "\n", "\n\n\n", "\r\n\r\n"):
        text = "user,item\nu1,a\nu2,b".replace("\n", end[:2] if "\r" in end else "\n") + end
        assert read(write(tmp_path / "log.csv", text)).report.n_rows == 2


# Damage


def test_an_open_quote_swallows_no_row_not_even_with_another_one_later(tmp_path: Path) -> None:
    lines = ["user,item,title", 'u1,a,"cut', "u2,a,x", "u3,a,x", 'u4,a,inch"', "u5,a,x"]
    cleaned = read(write(tmp_path / "log.csv", "\n".join(lines)))
    assert cleaned.frame["user_id"].tolist() == ["u2", "u3", "u4", "u5"]
    assert refused(cleaned) == [(1, "a quote is opened and not closed")]


def test_a_quote_in_a_field_without_quotes_may_hide_one_that_opens(tmp_path: Path) -> None:
    lines = ["user,item,title", 'u"1,a,"x', "u2,a,x", '12",a,5"', '"u3",a,"y"', 'u4",a,"y"']
    cleaned = read(write(tmp_path / "log.csv", "\n".join(lines)))
    assert cleaned.frame["user_id"].tolist() == ['12"', "u2", "u3", 'u4"']
    assert refused(cleaned) == [(1, "a quote is opened and not closed")]


def test_a_field_over_very_many_lines_is_an_open_quote(tmp_path: Path) -> None:
    text = 'user,item,title\nu1,a,"' + "\n".join("line" for _ in range(60)) + '"\nu2,a,x\n'
    cleaned = read(write(tmp_path / "log.csv", text))
    assert cleaned.frame["user_id"].tolist() == ["u2"]
    assert refused(cleaned)[0] == (1, "a quote is opened and not closed")
    assert cleaned.report.n_rows == 61


def test_lines_of_another_encoding_are_refused(tmp_path: Path) -> None:
    lines = [b"user,item,title", b"\xc3\xbc1,a,\xc3\xa9", "u2,a,é".encode("latin-1"), b"u3,a,x",
             b'u4,a,"two', "linés".encode("latin-1"), b'more"', b"u5,a,x"]  # fmt: skip
    cleaned = read(write(tmp_path / "log.csv", b"\n".join(lines)))
    assert cleaned.frame["user_id"].tolist() == ["u3", "u5", "ü1"]
    assert cleaned.quarantine[["row", "reason", "text"]].to_numpy().tolist() == [
        [2, "not UTF-8, as other lines of the file are", "u2,a,é"],
        [4, "a quote is opened and not closed", 'u4,a,"two'],
        [5, "not UTF-8, as other lines of the file are", "linés"],
        [6, "fewer fields than the header", 'more"'],
    ]


def test_latin_1_has_the_marks_of_windows(tmp_path: Path) -> None:
    # 0x80 is the euro and 0x92 an apostrophe for Windows; 0x81 is free, and e9 the same for both.
    (tmp_path / "log.csv").write_bytes(
        b"user,item,title,price\nu1,a,caf\xe9 d\x92ici,\x80 2\nu2,a,\x81x,1\n"
    )
    frame = clean(tmp_path / "log.csv").frame
    assert frame["title"].tolist() == ["café d’ici", "\x81x"]
    assert frame["price"].tolist() == [2.0, 1.0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "latin-1"])
def test_encodings_are_found(encoding: str, tmp_path: Path) -> None:
    mark = "" if encoding == "latin-1" else "\ufeff"
    data = f'{mark}user,item,title\nü,a,"é,\nè"\nu,short\n'.encode(encoding)
    for name, content in (("log.csv", data), ("log.csv.gz", gzip.compress(data))):
        cleaned = read(write(tmp_path / name, content))
        assert cleaned.frame[["user_id", "title"]].to_numpy().tolist() == [["ü", "é,\nè"]]
        assert refused(cleaned) == [(3, "fewer fields than the header")]


def test_a_line_of_megabytes_is_refused_and_a_long_field_is_read(tmp_path: Path) -> None:
    lines = ["user,item,title", "u1,a," + "x" * 3_000_000, "u2,a," + "y" * 1_000_000, "u3,a,z"]
    cleaned = read(write(tmp_path / "log.csv", "\n".join(lines)))
    assert cleaned.frame["user_id"].tolist() == ["u2", "u3"]
    assert cleaned.frame["title"].str.len().tolist() == [1_000_000, 1]
    assert refused(cleaned) == [(1, "longer than 2 MB")]


def test_gzip_in_several_parts_is_read_whole(tmp_path: Path) -> None:
    data = gzip.compress(b"user,item\nu1,a\n") + gzip.compress(b"u2,a\n")
    assert read(write(tmp_path / "log.csv.gz", data)).report.n_kept == 2


GOOD = b"user,item\nu1,a\nu2,b\n"
NOISE = random.Random(0).randbytes(3000)
UNREADABLE: dict[str, tuple[str, bytes, str]] = {
    "empty": ("x.csv", b"", "x.csv is empty or has no header line"),
    "blank": ("x.csv", b"\n\n", "x.csv is empty or has no header line"),
    "empty gzip": ("x.csv.gz", gzip.compress(b""), "x.csv.gz is empty or has no header"),
    "header only": ("x.csv", b"user,item\n\n", r"x.csv has a header \(user, item\) but no rows"),
    "cut gzip": ("x.csv.gz", gzip.compress(GOOD * 99)[:-30], "x.csv.gz is damaged.*complete"),
    "cut Parquet": ("x.parquet", b"PAR1" + NOISE, "x.parquet is damaged or neither text nor"),
    "noise": ("x.csv", NOISE, "x.csv is no text but a binary file"),
    "NULs": ("x.csv", b"\0" * 100, "x.csv is no text but a binary file"),
    "workbook": ("x.csv", b"PK\x03\x04" + NOISE, "or an Excel workbook; .*save its sheet as CSV"),
    "old workbook": ("x", b"\xd0\xcf\x11\xe0" + NOISE, "x is an Excel workbook; save"),
    "bzip2": ("x.csv.bz2", b"BZh91AY", "x.csv.bz2 is compressed with bzip2; unpack it"),
    "five numbers": ("x.csv", b"1,2,3,4,5\n", r"x.csv: it has no header line \(it begins"),
    "one number": ("x.csv", b"1 2 3\n", "x.csv: no column looks like the user; .*separated by"),
    "odd UTF-16": ("x.csv", b"\xff\xfe" + b"a\0b", "x.csv is damaged.*utf-16.*complete"),
    "UTF-16 unsaid": ("x.csv", GOOD.decode().encode("utf-16-le"), "no text but a binary file"),
    "name twice": ("x.csv", b"user,item,user\na,b,c\n", r"columns \['user'\] twice; rename"),
    "two users": ("x.csv", b"user,customer,item\na,b,c\n", "could each be the user"),
    "no item": ("x.csv", b"user,thing\na,b\n", "x.csv: no column looks like the item; .*thing"),
    "open header": ("x.csv", b'user,"item\nu1,a\n', "a quote is opened in the header line"),
    "Latin header": ("x.csv", b"user,item,\xe9\nu,\xc3\xa9,x\n", "the header line is not UTF-8"),
    "no line fits": ("x.csv", b"user,item\na\nb,c,d\n", "no row is left of 2: {'quarantine': 2}"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_cannot_be_read_says_why(case: str, tmp_path: Path) -> None:
    name, data, message = UNREADABLE[case]
    with pytest.raises(DatasetError, match=message):
        read(write(tmp_path / name, data))


def test_files_are_recognised_by_content_not_by_name(tmp_path: Path) -> None:
    expected = read(write(tmp_path / "log.csv", GOOD)).frame
    parquet = pd.DataFrame({"user": ["u1", "u2"], "item": ["a", "b"]}).to_parquet()
    named = {
        "text.gz": GOOD,
        "packed.csv": gzip.compress(GOOD),
        "packed": gzip.compress(GOOD),
        "text.parquet": GOOD,
        "columns.csv": parquet,
        "text.xlsx": GOOD,
        "[odd] *name": gzip.compress(GOOD),
    }
    for name, data in named.items():
        pd.testing.assert_frame_equal(read(write(tmp_path / name, data)).frame, expected)


def test_a_file_that_may_not_be_opened_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "log.csv", GOOD)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DatasetError, match=r"cannot be opened \(Permission denied\); check"):
        read(path)


def test_a_parquet_without_rows_says_so(tmp_path: Path) -> None:
    log(user=["a"]).iloc[:0].to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DatasetError, match=r"x.parquet has columns \(user.*but no rows"):
        read(tmp_path / "x.parquet")


def windows(line: bytes) -> str:
    """Windows' code page byte by byte; what is free there is what it is in Latin-1."""
    return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in line)


def fields(text: str) -> list[str]:
    return next(csv.reader([text]), [])


def test_damage_costs_no_line_that_is_not_damaged(tmp_path: Path) -> None:
    files = {seed: damaged(seed) for seed in range(60)}
    for seed, data in files.items():
        write(tmp_path / f"{seed}.csv", data)
    cleaned = read(tmp_path)  # all at once, which takes a fourth of the time
    kept = cleaned.frame
    got = set(zip(kept["user_id"], kept["item_id"], kept["title"], strict=True))
    for seed, data in files.items():
        there = data.replace(b"\r\n", b"\n").split(b"\n")
        for line in (f"{seed}{line}" for line in SOUND_LINES):
            if line.encode() in there:
                user, item, _, _, title = fields(line)
                assert (user, item, title) in got, (seed, line)
        if b"\r" in data or seed == 0:
            continue
        # Each entry of the quarantine has the text of the line that it names.
        own = cleaned.quarantine.query(f"file == '{seed}.csv'")
        for row, text in own[["row", "text"]].itertuples(index=False):
            try:
                line = there[row].decode()
            except UnicodeDecodeError:
                line = windows(there[row])
            assert text == line or fields(text[:9999]) == fields(line[:9999]), (seed, row)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rng, data: data[: rng.randrange(len(data))],
        lambda rng, data: data[: rng.randrange(len(data))] + rng.randbytes(40) + data[200:],
        lambda rng, data: gzip.compress(data)[: rng.randrange(20, 200)],
    ],
    ids=["cut", "overwritten", "cut gzip"],
)
def test_a_spoilt_file_is_a_clear_error_or_accounted_for(
    spoil: Callable[[random.Random, bytes], bytes], tmp_path: Path
) -> None:
    whole = "\n".join(["user,item,time,event,title", *SOUND_LINES]).encode()
    for seed in range(4):
        data = spoil(random.Random(seed), whole)
        name = "log.csv.gz" if data[:2] == b"\x1f\x8b" else "log.csv"
        said = ""
        try:
            read(write(tmp_path / name, data))
        except DatasetError as error:
            said = str(error)
        assert not said or "log.csv" in said or "no row is left" in said
