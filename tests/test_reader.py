"""Own logs, whatever they look like: what is understood, what is left out, and each clear error."""

import errno
import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import cleaning, datasets
from helpers.cleaning.columns import LOG_ROLES, ROLES, parse_columns, resolve_columns
from helpers.cleaning.pipeline import read_items, read_log
from helpers.io import DatasetError

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no sample logs in {SHARED}")

GOOD = "user,item,ts,qty\na,x,1700000000,1\nb,y,1700000060,2.5\n"


def write(folder: Path, content: str | bytes, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_and_notes(
    path: Path, columns: dict[str, str] | None = None
) -> tuple[list[tuple[object, ...]], list[str]]:
    """User, item, value and, where there are times, the time of each row; and what is said."""
    frame, _, notes = read_log(path, columns or {})
    names = [name for name in ("user_id", "item_id", "value", "timestamp") if name in frame]
    if "timestamp" in frame:
        frame["timestamp"] = frame["timestamp"].dt.strftime("%F %T")
    return list(frame[names].itertuples(index=False, name=None)), notes


def rows(path: Path, columns: dict[str, str] | None = None) -> list[tuple[object, ...]]:
    return rows_and_notes(path, columns)[0]


# --- What is understood -------------------------------------------------------------------------


def test_a_log_becomes_the_tidy_frame(tmp_path: Path) -> None:
    frame, found, notes = read_log(write(tmp_path, GOOD), {})
    assert frame.dtypes.astype(str).to_dict() == {
        "user_id": "str",
        "item_id": "str",
        "value": "float64",
        "timestamp": "datetime64[ns, UTC]",
    }
    assert frame["value"].tolist() == [1.0, 2.5]
    assert frame["timestamp"].iloc[1] == pd.Timestamp("2023-11-14 22:14:20", tz="UTC")
    assert found == {"user": "user", "item": "item", "timestamp": "ts", "value": "qty"}
    assert notes == []


FORMATS = {
    # name: (file name, content, rows, notes)
    "u.data": (
        "u.data",
        "196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
        [("196", "242", 3.0, "1997-12-04 15:55:49"), ("186", "302", 3.0, "1998-04-04 19:22:22")],
        ["The file has no header line; its columns are taken as user, item, value, timestamp."],
    ),
    "ratings.dat": (
        "ratings.dat",
        "1::1193::5::978300760\r\n6040::1::3.5::956703932\r\n",
        [("1", "1193", 5.0, "2000-12-31 22:12:40"), ("6040", "1", 3.5, "2000-04-25 23:05:32")],
        ["The file has no header line; its columns are taken as user, item, value, timestamp."],
    ),
    ":: with a header and no times": (
        "ratings.log",
        "user::item::rating\nann::a|b, c::5\nbob::d::4\n",
        [("ann", "a|b, c", 5.0), ("bob", "d", 4.0)],
        [],
    ),
    "plays": (
        "plays.txt",
        "user|song|plays\n12|s1|3\n12|s1|1\n13|s2|7\n",
        [("12", "s1", 3.0), ("12", "s1", 1.0), ("13", "s2", 7.0)],
        [],
    ),
    "decimal commas": (
        "noten.csv",
        "user;item;rating;date\n7.0;1,5;2,5;2024-05-31\n8.0;x;1.234,5;2024-06-01\n",
        [("7", "1,5", 2.5, "2024-05-31 00:00:00"), ("8", "x", 1234.5, "2024-06-01 00:00:00")],
        [],
    ),
    "RecBole": (
        "ml.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t3.0\t881250949\n"
        "2\t2\t4.0\t881250950.0\n",
        [("1", "2", 3.0, "1997-12-04 15:55:49"), ("2", "2", 4.0, "1997-12-04 15:55:50")],
        [],
    ),
    "pairs": (
        "pairs",
        "1,7\n2,8\n",
        [("1", "7", 1.0), ("2", "8", 1.0)],
        ["The file has no header line; its columns are taken as user, item."],
    ),
    "three columns": (
        "three.csv",
        "1,7,2.5\n2,8,3\n",
        [("1", "7", 2.5), ("2", "8", 3.0)],
        ["The file has no header line; its columns are taken as user, item, value."],
    ),
    "three columns with a time": (
        "three.csv",
        "1,7,2024-05-31\n2,8,2024-06-01\n",
        [("1", "7", 1.0, "2024-05-31 00:00:00"), ("2", "8", 1.0, "2024-06-01 00:00:00")],
        ["The file has no header line; its columns are taken as user, item, timestamp."],
    ),
    "the time before the value": (
        "four.csv",
        "1;7;1700000000;2,5\n2;8;1700000060;3\n",
        [("1", "7", 2.5, "2023-11-14 22:13:20"), ("2", "8", 3.0, "2023-11-14 22:14:20")],
        ["The file has no header line; its columns are taken as user, item, timestamp, value."],
    ),
    "an address with ::": (
        "log.csv",
        "user,item,ip\na,x,fe80::1\nb,y,fe80::2\n",
        [("a", "x", 1.0), ("b", "y", 1.0)],
        [],
    ),
    "milliseconds": (
        "log.csv",
        "user,item,ts\na,x,1700000000000\nb,y,1700000060000\n",
        [("a", "x", 1.0, "2023-11-14 22:13:20"), ("b", "y", 1.0, "2023-11-14 22:14:20")],
        [],
    ),
    "a mark at the start, blanks": (
        "log.csv",
        "\ufeffuser, item, ts\n a , x, 1\nb, x, 2\n",
        [("a", "x", 1.0, "1970-01-01 00:00:01"), ("b", "x", 1.0, "1970-01-01 00:00:02")],
        [],
    ),
    "a mark before numbers": (
        "u.data",
        "\ufeff1,7,5\n2,8,4\n",
        [("1", "7", 5.0), ("2", "8", 4.0)],
        ["The file has no header line; its columns are taken as user, item, value."],
    ),
    "UTF-16": (
        "log.txt",
        "user\titem\nä\tx\nb\ty\n".encode("utf-16"),
        [("ä", "x", 1.0), ("b", "y", 1.0)],
        [],
    ),
    "Latin-1": (
        "log.txt",
        "user\titem\nä\tx\nb\ty\n".encode("latin-1"),
        [("ä", "x", 1.0), ("b", "y", 1.0)],
        [],
    ),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", FORMATS)
def test_text_is_recognised_by_its_content(case: str, packed: bool, tmp_path: Path) -> None:
    name, text, expected, notes = FORMATS[case]
    content = text if isinstance(text, bytes) else text.encode()
    path = write(tmp_path, gzip.compress(content) if packed else content, name)
    assert rows_and_notes(path) == (expected, notes)


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log"])
def test_parquet_is_recognised_by_its_content(name: str, tmp_path: Path) -> None:
    table = pd.read_csv(write(tmp_path, GOOD, "expected.csv"))
    assert rows(write(tmp_path, table.to_parquet(), name)) == rows(tmp_path / "expected.csv")


def test_ids_are_the_same_text_from_a_file_and_from_a_folder(tmp_path: Path) -> None:
    """7.0 once stayed 7.0 in the notebooks on models and became 7 in the one on cleaning."""
    pairs = ["7.0,12.0", "00123,1e3", "7,x.0", "8,12"]
    text = "user,item,ts\n" + "".join(f"{pair},100000000{n}\n" for n, pair in enumerate(pairs))
    folder = tmp_path / "folder"
    folder.mkdir()
    alone, among = write(tmp_path, text), write(folder, text)
    expected = [("7", "12"), ("00123", "1e3"), ("7", "x.0"), ("8", "12")]
    off = cleaning.Rules(without=tuple(cleaning.RULES))
    for frame in (
        datasets.load(alone).interactions,
        datasets.load(folder, data_dir=tmp_path).interactions,
        cleaning.clean(among, rules=off).frame,
    ):
        assert list(frame[["user_id", "item_id"]].itertuples(index=False, name=None)) == expected


@settings(deadline=None, max_examples=5)
@given(
    st.lists(
        st.integers(-(2**53), 2**53).filter(lambda n: n != -1), min_size=2, max_size=30, unique=True
    )
)
def test_whole_numbers_read_the_same_as_integers_floats_and_text(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    expected = [str(number) for number in numbers]
    whole = pd.DataFrame({"user": numbers, "item": "x"})
    whole.to_csv(folder / "whole.csv", index=False)
    whole.to_parquet(folder / "whole.parquet")
    write(folder, "user,item\n" + "".join(f"{each}.0,x\n" for each in numbers), "floats.csv")
    for name in ("whole.csv", "whole.parquet", "floats.csv"):
        assert read_log(folder / name, {})[0]["user_id"].tolist() == expected


@settings(deadline=None, max_examples=5)
@given(st.lists(st.integers(200_000_000, 1_700_000_000), min_size=2, max_size=20))
def test_seconds_and_iso_texts_mean_the_same_time(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[int]
) -> None:
    moments = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=each) for each in seconds]
    naive = [moment.replace(tzinfo=None) for moment in moments]
    texts = [
        *seconds,
        *(1000 * each for each in seconds),
        *(moment.isoformat() for moment in moments),
        *(moment.isoformat() for moment in naive),
        *naive,
        *(f"{moment} UTC" for moment in naive),
    ]
    lines = "".join(f"u,i,{text}\n" for text in texts)
    path = write(tmp_path_factory.mktemp("times"), "user,item,time\n" + lines)
    expected = 6 * [pd.Timestamp(moment) for moment in moments]
    assert read_log(path, {})[0]["timestamp"].tolist() == expected


def test_the_order_is_that_of_the_file_and_then_of_time(tmp_path: Path) -> None:
    """Ties keep the order of the file; they were once sorted by id in cleaned logs."""
    text = "user,item,ts\nz,1,20\na,2,20\nm,3,10\nb,4,20\n"
    loaded = datasets.load(write(tmp_path, text))
    assert loaded.interactions["item_id"].tolist() == ["3", "1", "2", "4"]
    assert "not sorted by time" in loaded.notes[0]


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("user,item\na,x\nb,y\n", ["The log has no times."]),
        ("user,item,ts\na,x,5\nb,y,5\n", ["All times are equal, so they are ignored."]),
        (
            "user,item,year\na,x,2019\nb,y,2020\n",
            [
                "2 of 2 rows of the column 'year' (such as '2019') have no time from 1970 to now, "
                "so it is ignored; if it holds times, correct them, or name another column "
                "(COLUMNS=timestamp=...).",
                "The log has no times.",
            ],
        ),
    ],
    ids=["none", "equal", "years"],
)
def test_a_log_without_times_is_loaded_and_says_so(
    text: str, notes: list[str], tmp_path: Path
) -> None:
    columns = {"timestamp": "year"} if "year" in text else None
    loaded = datasets.load(write(tmp_path, text), columns=columns)
    assert list(loaded.interactions.columns) == ["user_id", "item_id", "value"]
    assert loaded.interactions["user_id"].tolist() == ["a", "b"]
    assert loaded.notes == notes


def test_nearly_all_times_unreadable_is_no_times_a_few_are_rows_left_out(tmp_path: Path) -> None:
    def text(n_bad: int) -> str:
        times = ["soon"] * n_bad + [str(1000 + n) for n in range(100 - n_bad)]
        return "user,item,ts\n" + "".join(f"u{n},i,{time}\n" for n, time in enumerate(times))

    few = datasets.load(write(tmp_path, text(10)))
    assert len(few.interactions) == 90
    assert few.notes == [
        "10 of 100 rows are not valid and were left out: time is missing or cannot be read in 10 "
        "(first in row 1: 'u0,i,soon')."
    ]
    most = datasets.load(write(tmp_path, text(91)))
    assert len(most.interactions) == 100
    assert "timestamp" not in most.interactions
    with pytest.raises(DatasetError, match="90 of 100 rows are not valid"):
        datasets.load(write(tmp_path, text(90)))


# --- What is left out ---------------------------------------------------------------------------

BAD_ROWS = {
    "no user": (",x,1,1", "user is missing"),
    "a word for nothing": ("NULL,x,1,1", "user is missing"),
    "no item": ("a,NaN,1,1", "item is missing"),
    "no value": ("a,x,1,NaN", "quantity is missing"),
    "infinite value": ("a,x,1,inf", "quantity is no number up to 1e+09"),
    "text as value": ("a,x,1,many", "quantity is no number up to 1e+09"),
    "negative value": ("a,x,1,-3", "quantity is negative"),
    "no time": ("a,x,,1", "time is missing or cannot be read"),
    "infinite time": ("a,x,inf,1", "time is missing or cannot be read"),
    "ancient time": ("a,x,0001-01-01,1", "time is before 1970 or in the future"),
    "the time of a grandfather": ("a,x,1919-05-31,1", "time is before 1970 or in the future"),
    "future time": ("a,x,99999999999,1", "time is before 1970 or in the future"),
    "future text": ("a,x,9999-12-31,1", "time is before 1970 or in the future"),
    "cut id": (
        "1.23457E+11,x,1,1",
        "user id has control characters or is a number cut by a spread",
    ),
    "too long an id": ("a" * 257 + ",x,1,1", "user id is longer than 256 characters"),
    "too few fields": ("a,x", "fewer fields than the header"),
    "too many fields": ("a,x,1,2,3", "more fields than the header"),
    "open quote": ('a,"x,1,2', "a quote is opened and not closed"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_what_cannot_be_a_row_is_left_out_and_counted(case: str, tmp_path: Path) -> None:
    line, reason = BAD_ROWS[case]
    path = write(tmp_path, f"user,item,ts,qty\na,x,10,1\n{line}\nb,y,20,0\n")
    loaded = datasets.load(path)
    assert loaded.interactions["value"].tolist() == [1.0, 0.0]  # a zero is a row
    [note] = loaded.notes
    assert note.startswith(f"1 of 3 rows are not valid and were left out: {reason}")
    assert f"(first in row 2: {line[:80]!r})." in note


def test_several_reasons_are_counted_with_the_most_frequent_first(tmp_path: Path) -> None:
    text = "user,item,qty\n" + "a,x,1\nb,x,1\n" * 5 + "a,x,no\n,x,1\n,x,no\na,x\n"
    [note, _] = datasets.load(write(tmp_path, text)).notes
    assert note == (
        "4 of 14 rows are not valid and were left out: user is missing in 2 (first in row "
        "12: ',x,1'); "
        "quantity is no number up to 1e+09 in 1 (first in row 11: 'a,x,no'); "
        "fewer fields than the header in 1 (first in row 14: 'a,x')."
    )


def test_more_than_half_of_the_rows_not_valid_is_an_error(tmp_path: Path) -> None:
    text = "user,item,qty\na,x,1\nb,y,1\n,x,1\n,y,1\n"
    assert len(datasets.load(write(tmp_path, text)).interactions) == 2
    with pytest.raises(
        DatasetError, match=r"log.csv: 3 of 5 rows are not valid: user is missing in 3 .*;"
    ):
        datasets.load(write(tmp_path, text + ",z,1\n"))


# --- What is refused ----------------------------------------------------------------------------

BAD_LOGS: dict[str, tuple[str | bytes, str]] = {
    "missing user": ("who,item,ts\na,x,1\n", "no column looks like the user; the file has the "
                     "columns who, item, ts; say which is which with COLUMNS="),
    "missing item": ("user,thing,ts\na,x,1\n", "no column looks like the item; "),
    "one column": ("user item ts\na x 1\n", "fields are separated by a comma, semicolon, tab, | "),
    "ambiguous": ("user,visitor_id,item,ts\na,b,x,1\n",
                  "the columns ['user', 'visitor_id'] could each be the user; "),
    "column twice": ("user, user,item\na,b,x\n", "has the columns ['user'] twice"),
    "empty": ("", "is empty or has no header line"),
    "header only": ("user,item,ts\n", "has a header (user, item, ts) but no rows"),
    "one user": ("user,item,ts\na,x,1\na,y,2\n",
                 "the log has 1 user(s) in 2 rows, expected at least 2"),
    "zeros": ("user,item,qty\na,x,0\nb,y,0\n", "the log has the value 0 in all of its 2 rows, "
              "expected some above 0"),
    "beyond all sums": ("user,item,qty\na,x,1e308\nb,y,1e308\n", "no number up to 1e+09 in 2"),
    "five numbers": ("1,2,3,4,5\n", "it has no header line (it begins with '1 | 2 | 3 | 4 | 5'), "
                     "and COLUMNS cannot help without one; write a line above it such as user,"),
    "one number": ("7\n8\n", "it has no header line (it begins with '7')"),
    "rows without header": ("ann,tea,5\nbob,tea,4\n",
                            "if this is a row, write a header line above it"),
    "workbook": (b"PK\x03\x04 and more", "log.csv is a zip archive or an Excel workbook; "),
    "pickle": (b"\x80\x04\x95\x00\x01\x02\x03\x00\x00", "is no text but a binary file; save it"),
    "JSON": ('{"user": 1}\n', "log.csv is JSON; save it as CSV or Parquet"),
    "cut gzip": (gzip.compress(GOOD.encode())[:-12], "is damaged or neither text nor Parquet"),
    "cut Parquet": (b"PAR1 and so on", "is damaged or neither text nor Parquet"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LOGS)
def test_bad_log_gets_a_clear_error(case: str, tmp_path: Path) -> None:
    content, message = BAD_LOGS[case]
    with pytest.raises(DatasetError, match=re.escape(message)):
        datasets.load(write(tmp_path, content))


def test_ids_that_differ_by_a_control_character_are_not_merged(tmp_path: Path) -> None:
    loaded = datasets.load(write(tmp_path, "user,item\na,x\na\0,y\n" + "b,x\nb,z\n" * 9))
    assert loaded.interactions["item_id"].tolist() == ["x", *["x", "z"] * 9]
    assert "user id has control characters" in loaded.notes[0]


NESTED: dict[str, tuple[dict[str, object], str]] = {
    "lists": ({"item": [["x", "y"], ["z"]]}, "'item' holds lists or records (VARCHAR[])"),
    "records": ({"user": [{"id": 1}, {"id": 2}]}, "'user' holds lists or records (STRUCT(id "),
    "titles": ({"title": [["a"], ["b"]]}, "'title' holds lists or records (VARCHAR[])"),
}


@pytest.mark.parametrize("case", NESTED)
def test_nested_columns_are_refused_where_they_are_used(case: str, tmp_path: Path) -> None:
    nested, message = NESTED[case]
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"]} | nested)
    path = write(tmp_path, frame.to_parquet(), "log.parquet")
    expected = re.escape(f"log.parquet: the column {message}")
    for read in (datasets.load, cleaning.clean):
        with pytest.raises(DatasetError, match=f"{expected}.*expected one text, number or time"):
            read(path)
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "tags": [["x"], []]})
    assert len(datasets.load(write(tmp_path, frame.to_parquet(), "log.parquet")).interactions) == 2
    items = pd.DataFrame({"id": ["x"], "title": ["X"], "genres": [["Drama", "War"]]})
    with pytest.raises(DatasetError, match="items: the column 'genres' holds lists"):
        read_items(write(tmp_path, items.to_parquet(), "items"))


def test_a_gzip_bomb_is_refused_while_it_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, gzip.compress(b"user,item\n" + b"a,x\nb,y\n" * 250_000), "log.csv.gz")
    assert len(read_log(path, {})[0]) == 500_000  # small enough, though it shrinks to a 500th
    monkeypatch.setattr(cleaning.reading, "MOST_UNPACKED", (1 << 20, 200))
    with pytest.raises(
        DatasetError, match=r"log.csv.gz unpacks to more than \d MiB, over 200 time"
    ):
        read_log(path, {})
    monkeypatch.setattr(cleaning.reading, "MOST_UNPACKED", (1 << 20, 1_000))
    assert len(read_log(path, {})[0]) == 500_000


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, GOOD)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DatasetError, match=r"cannot be opened \(Permission denied\); check its"):
        datasets.load(path)


# --- Columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "optional"),
    [
        ("userId,movieId,rating,timestamp", {"value": "rating"}),
        ("visitorid,itemid,timestamp,event", {"event": "event"}),
        (
            "CustomerID,StockCode,InvoiceDate,Quantity,Description",
            {"value": "Quantity", "title": "Description"},
        ),
        ("user_id,product_id,event_time,event_type,price", {"event": "event_type"}),
        ("uid,songId,ts,num_plays", {"value": "num_plays"}),
        ("Customer ID,sku,date,product_name", {"title": "product_name"}),
    ],
)
def test_usual_names_are_guessed(header: str, optional: dict[str, str]) -> None:
    found = resolve_columns(header.split(","), {}, roles=LOG_ROLES)
    required = ("user", "item", "timestamp")
    assert {role: found[role] for role in found if role not in required} == optional
    assert set(required) <= set(found)


EXPORTS = {
    "rees46": "event_time,event_type,product_id,category_id,price,user_id,user_session\n"
    "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,35.79,541312140,72d76fde\n"
    "2019-10-01 00:00:04 UTC,cart,3900821,2053013552326770905,33.20,554748717,9333dfbd\n",
    "retailrocket": "timestamp,visitorid,event,itemid,transactionid\n"
    "1433221332,257597,view,355908,\n1433224214,992329,view,248676,\n",
    "online retail": "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,CustomerID\n"
    "536365,85123A,HOLDER,6,2010-12-01 08:26:00,17850\n536366,22633,WARMER,6,2010-12-01,13047.0\n",
}


@pytest.mark.parametrize("export", EXPORTS)
def test_well_known_exports_need_no_mapping(tmp_path: Path, export: str) -> None:
    frame = datasets.load(write(tmp_path, EXPORTS[export])).interactions
    assert len(frame) == 2
    assert frame["user_id"].str.fullmatch(r"\d+").all()
    assert frame["timestamp"].dt.year.between(2010, 2019).all()


def test_given_columns_win_over_guesses_and_the_rest_is_guessed(tmp_path: Path) -> None:
    text = "visitor,user_id,sku,ts,n\na,1,x,5,3\nb,1,y,6,4\n"
    frame, _, _ = read_log(write(tmp_path, text), {"user": "visitor", "value": "n"})
    assert frame["user_id"].tolist() == ["a", "b"]
    assert frame["value"].tolist() == [3.0, 4.0]


def test_events_are_called_alike_and_unknown_ones_are_kept(tmp_path: Path) -> None:
    text = "user,item,ts,event\na,x,1,Product View\nb,y,2,buy\nb,y,3,wishlist\nb,y,4,\n"
    frame, _, _ = read_log(write(tmp_path, text), {})
    assert frame["event"].fillna("").tolist() == ["view", "purchase", "wishlist", ""]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": "nobody"}, "there is no column 'nobody' for 'user' in any file; the first has"),
        ({"user": "item"}, "no column looks like the item"),
        ({"user": "item", "item": "item"}, "one column is given for two roles"),
        ({"who": "user"}, "unknown role 'who', expected one of user, item, timestamp"),
        ({"price": "qty"}, "unknown role 'price', expected one of user, item, timestamp, value, e"),
        ("price=qty", "unknown role 'price', expected one of user, item, timestamp, value, event"),
    ],
)
def test_wrong_mapping(tmp_path: Path, columns: dict[str, str] | str, message: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(message)):
        datasets.load(write(tmp_path, GOOD), columns=columns)


def test_columns_cannot_be_named_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, "1,2,5\n3,4,5\n")
    with pytest.raises(
        DatasetError, match=r"user, item, value \(by place: it has no header line\)"
    ):
        datasets.load(path, columns="user=visitor")


def test_a_folder_knows_the_roles_of_a_store(tmp_path: Path) -> None:
    write(tmp_path, "user,item,ts,cost\na,x,1000000000,1\nb,y,1000000001,1\n")
    raw = datasets.raw_log(tmp_path, columns="price=cost")
    assert raw.columns == {"price": "cost"}
    with pytest.raises(DatasetError, match=r"unknown role 'prize', expected one of .*price"):
        datasets.load(tmp_path, columns="prize=cost")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user=visitor,sku", "COLUMNS has 'sku', expected role=column"),
        ("user=", "COLUMNS has 'user=', expected role=column"),
        ("user=a,", "COLUMNS has '', expected role=column"),
        ("user=a,user=b", "names the role 'user' twice ('a' and 'b')"),
        ("usr=a", "unknown role 'usr', expected one of user, item, timestamp, value"),
    ],
)
def test_parse_columns_refuses(text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(message)):
        parse_columns(text)


@given(
    st.dictionaries(
        st.sampled_from(sorted(ROLES)),
        st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=1).filter(
            lambda text: text == text.strip()
        ),
    )
)
def test_parse_columns_inverts_its_text_form(mapping: dict[str, str]) -> None:
    text = ",".join(f"{role}={column}" for role, column in mapping.items())
    assert parse_columns(text, ROLES) == mapping


# --- Items --------------------------------------------------------------------------------------

ITEM_FILES: dict[str, tuple[str | bytes, list[list[str]]]] = {
    "names": (
        'movieId,title,genres\n7.0,"Postman, The",Drama|War\n8,Eight,\n9,,Comedy\n',
        [["7", "Postman, The", "Drama|War"], ["8", "Eight", ""], ["9", "9", "Comedy"]],
    ),
    "other names, another order": (
        "Name;SKU;Price\nTea;t1;3\nCup;c1;4\n",
        [["t1", "Tea"], ["c1", "Cup"]],
    ),
    "movies.dat": (
        "7::Postman, The (Postino, Il) (1994)::Drama|Romance\n8::Café::Drama\n".encode("latin-1"),
        [["7", "Postman, The (Postino, Il) (1994)", "Drama|Romance"], ["8", "Café", "Drama"]],
    ),
    "u.item": (
        b"7|Mis\xe9rables, Les (1995)|01-Jan-1995||http://x|0|0|1\n8|unknown||||1|0|0\n",
        [["7", "Misérables, Les (1995)"], ["8", "unknown"]],
    ),
    "no header, two columns": ("7\tSeven\n8\tEight\n7\tagain\n", [["7", "Seven"], ["8", "Eight"]]),
    "RecBole": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "7\tSeven\t1995\tCrime Drama\n",
        [["7", "Seven", "Crime Drama"]],
    ),
}


@pytest.mark.parametrize("case", ITEM_FILES)
def test_items_are_read_from_any_text(case: str, tmp_path: Path) -> None:
    content, expected = ITEM_FILES[case]
    frame = read_items(write(tmp_path, content, "items"))
    assert list(frame.columns) == ["item_id", "title", "genres"][: len(expected[0])]
    assert frame.to_numpy().tolist() == expected


def test_items_may_be_parquet_with_any_names(tmp_path: Path) -> None:
    frame = pd.DataFrame({"code": [7.0, 8.0], "label": ["Seven", None]})
    path = write(tmp_path, frame.to_parquet(), "items.parquet")
    assert read_items(path).to_dict("list") == {"item_id": ["7", "8"], "title": ["Seven", "8"]}
    frame[["code"]].to_parquet(path)
    with pytest.raises(DatasetError, match="expected an id and a title"):
        read_items(path)


def test_items_give_titles_and_genres(tmp_path: Path) -> None:
    log = write(tmp_path, "user,item,title\na,7.0,From the log\nb,8,Other\nc,11,Third\n")
    items = write(
        tmp_path, "id,name,genres\n7,Seven,Drama\n9,Nine,\n8.0,Eight,Crime|War\n", "i.csv"
    )
    loaded = datasets.load(log, items=items)
    assert loaded.items.to_numpy().tolist() == [
        ["7", "Seven", "Drama"],
        ["9", "Nine", ""],  # not in the log
        ["8", "Eight", "Crime|War"],
        ["11", "Third", ""],  # not in the file: as the log calls it
    ]
    assert loaded.notes == ["The log has no times.", "Titles of 2 of 3 items are from i.csv."]
    assert loaded.sha256 == datasets.load(log).sha256
    folder = tmp_path / "months"
    folder.mkdir()
    write(folder, "user,item\na,7\nb,8\n")
    assert datasets.load(folder, items=items, data_dir=tmp_path).items["title"].tolist() == [
        "Seven", "Nine", "Eight",
    ]  # fmt: skip


def test_wrong_items_are_refused(tmp_path: Path) -> None:
    log = write(tmp_path, "user,item\na,x\nb,y\n")
    with pytest.raises(
        DatasetError, match=r"no id is in the log \['x', 'y'\]: it has \['1', '2'\]"
    ):
        datasets.load(log, items=write(tmp_path, "1,One\n2,Two\n", "items.csv"))
    with pytest.raises(DatasetError, match=r"items.csv does not exist or is no file; check"):
        datasets.load(log, items=tmp_path / "none" / "items.csv")
    with pytest.raises(DatasetError, match="expected an id and a title in each line"):
        datasets.load(log, items=write(tmp_path, "x\ny\n", "items.csv"))
    with pytest.raises(DatasetError, match=r"items=.* was given for movielens-100k"):
        datasets.load("movielens-100k", items=log)


# --- Real logs ----------------------------------------------------------------------------------


@needs_shared
def test_real_retailrocket_log() -> None:
    frame = datasets.load(SHARED / "retailrocket-subset.csv.gz").interactions
    assert len(frame) == 97_381
    events = frame["event"].value_counts().to_dict()
    assert events == {"view": 75_374, "cart": 12_456, "purchase": 9_551}
    assert frame["timestamp"].dt.year.eq(2015).all()


@needs_shared
def test_real_rees46_log() -> None:
    loaded = datasets.load(SHARED / "rees46-oct-sample.csv.gz")
    frame = loaded.interactions
    assert (len(frame), frame["user_id"].nunique()) == (17_434, 4_504)
    assert loaded.notes[0].startswith("1 of 17,435 rows are not valid and were left out: ")
    assert frame["timestamp"].min() == pd.Timestamp("2019-10-01", tz="UTC")
    assert frame["value"].eq(1.0).all()


@needs_shared
def test_real_song_plays_have_no_time() -> None:
    loaded = datasets.load(SHARED / "song-plays-triplicated.csv.gz")
    assert len(loaded.interactions) == 234_009
    assert loaded.notes == ["The log has no times."]
