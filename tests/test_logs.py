"""Logs of the user's own: what is understood, and the error for each way to be wrong."""

import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import logs
from helpers.fetch import DatasetError

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no sample logs in {SHARED}")

GOOD = "user,item,ts,qty\na,x,1700000000,1\nb,y,1700000060,2.5\n"


def write(folder: Path, text: str, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_log_becomes_the_tidy_frame(tmp_path: Path) -> None:
    frame = logs.read_log(write(tmp_path, GOOD))
    assert frame.dtypes.astype(str).to_dict() == {
        "user_id": "str",
        "item_id": "str",
        "value": "float64",
        "timestamp": "datetime64[ns, UTC]",
    }
    assert frame["value"].tolist() == [1.0, 2.5]
    assert frame["timestamp"].iloc[1] == pd.Timestamp("2023-11-14 22:14:20", tz="UTC")
    assert frame.attrs["columns"] == {
        "user": "user",
        "item": "item",
        "timestamp": "ts",
        "value": "qty",
    }


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.csv.gz", "LOG.TSV.GZ", "log.parquet"])
def test_every_format_reads_the_same(tmp_path: Path, name: str) -> None:
    expected = logs.read_log(write(tmp_path, GOOD, "expected.csv"))
    path = tmp_path / name
    text = GOOD.replace(",", "\t") if ".tsv" in name.lower() else GOOD
    if name == "log.parquet":
        pd.read_csv(tmp_path / "expected.csv").to_parquet(path)
    elif name.lower().endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    pd.testing.assert_frame_equal(logs.read_log(path), expected)


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
    found = logs.resolve_columns(header.split(","), {})
    assert {role: found[role] for role in found if role not in logs.REQUIRED} == optional
    assert set(logs.REQUIRED) <= set(found)


def test_given_columns_win_over_guesses_and_the_rest_is_guessed(tmp_path: Path) -> None:
    text = "visitor,user_id,sku,ts,n\na,1,x,5,3\nb,1,y,6,4\n"
    frame = logs.read_log(write(tmp_path, text), {"user": "visitor", "value": "n"})
    assert frame["user_id"].tolist() == ["a", "b"]
    assert frame["value"].tolist() == [3.0, 4.0]


def test_without_a_value_every_row_counts_one(tmp_path: Path) -> None:
    frame = logs.read_log(write(tmp_path, "user,item,ts\na,x,1\nb,x,2\n"))
    assert frame["value"].tolist() == [1.0, 1.0]


def test_event_and_title_are_kept(tmp_path: Path) -> None:
    text = "user,item,ts,event,title\na,x,1,view,One\nb,y,2,buy,\n"
    frame = logs.read_log(write(tmp_path, text))
    assert frame["event"].tolist() == ["view", "buy"]
    assert frame["title"].tolist() == ["One", ""]


def test_byte_order_mark_and_blanks_are_no_part_of_names_and_ids(tmp_path: Path) -> None:
    frame = logs.read_log(write(tmp_path, "\ufeffuser, item, ts\na , x, 1\nb, x, 2\n"))
    assert frame["user_id"].tolist() == ["a", "b"]
    assert frame["item_id"].tolist() == ["x", "x"]


def test_ids_stay_text(tmp_path: Path) -> None:
    text = "user,item,ts\n00123,17850.0,1\n0x1F,12,2\n"
    frame = logs.read_log(write(tmp_path, text))
    assert frame["user_id"].tolist() == ["00123", "0x1F"]
    assert frame["item_id"].tolist() == ["17850", "12"]


@given(st.lists(st.integers(min_value=-(2**53), max_value=2**53), min_size=1))
def test_whole_numbers_read_the_same_as_integers_floats_and_text(numbers: list[int]) -> None:
    expected = [str(number) for number in numbers]
    assert logs.ids_from(pd.Series(numbers)).tolist() == expected
    assert logs.ids_from(pd.Series(expected)).tolist() == expected
    small = [number for number in numbers if abs(number) < 10**15]
    floats = pd.Series([float(number) for number in small], dtype="float64")
    assert logs.ids_from(floats).tolist() == [str(number) for number in small]


@given(st.integers(min_value=21_001_232, max_value=1_700_000_000) | st.integers(-(10**9), 10**7))
def test_seconds_and_iso_texts_mean_the_same_time(seconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    naive = moment.replace(tzinfo=None)
    texts = [moment.isoformat(), naive.isoformat(), naive.isoformat(" "), f"{naive} UTC"]
    for column in (pd.Series(texts), pd.Series([seconds]), pd.Series([str(seconds)])):
        times = logs.timestamps_from(column)
        assert (times == pd.Timestamp(moment)).all()
        assert times.dtype == "datetime64[ns, UTC]"


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([pd.Timestamp("2024-05-01")]),
        pd.Series([pd.Timestamp("2024-05-01 02:00", tz="Europe/Paris")]),
        pd.Series([datetime(2024, 5, 1).date()]),
        pd.Series(["2024-05-01"]),
        pd.Series([20240501]),
    ],
    ids=["naive", "with zone", "date", "text", "compact"],
)
def test_times_become_utc(column: pd.Series) -> None:
    assert logs.timestamps_from(column).tolist() == [pd.Timestamp("2024-05-01", tz="UTC")]


BAD_LOGS = {
    "missing user": ("who,item,ts\na,x,1\n", "no column looks like the user; the file has the "
                     "columns who, item, ts; say which is which with COLUMNS="),
    "missing item": ("user,thing,ts\na,x,1\n", "no column looks like the item; "),
    "missing time": ("user,item\na,x\n", "no column looks like the timestamp; "),
    "wrong separator": ("user;item;ts\na;x;1\n", "the file has the columns user;item;ts"),
    "ambiguous": ("user,visitor_id,item,ts\na,b,x,1\n",
                  "the columns ['user', 'visitor_id'] could each be the user; "),
    "null id": ("user,item,ts\na,x,1\n,y,2\nNULL,y,3\n",
                "column 'user' has no id in 2 of 3 rows, e.g. '' in row 2; "),
    "NaN value": ("user,item,ts,qty\na,x,1,1\nb,x,1,NaN\n",
                  "column 'qty' has no value (NaN) in 1 of 2 rows, e.g. 'NaN' in row 2; "
                  "expected a number of at least 0; "),
    "infinite value": ("user,item,ts,qty\na,x,1,inf\nb,x,1,2\n",
                       "column 'qty' has an infinite value in 1 of 2 rows, e.g. 'inf' in row 1; "),
    "negative value": ("user,item,ts,qty\na,x,1,1\nb,x,1,-3\nb,y,1,-4\n",
                       "column 'qty' has a negative value in 2 of 3 rows, e.g. '-3' in row 2; "),
    "text value": ("user,item,ts,qty\na,x,1,many\nb,x,1,2\n",
                   "column 'qty' has text in 1 of 2 rows, e.g. 'many' in row 1; "),
    "milliseconds": ("user,item,ts\na,x,1700000000000\nb,x,1700000000001\n",
                     "column 'ts' has milliseconds (or finer) in 2 of 2 rows, e.g. "
                     "'1700000000000' in row 1; expected Unix seconds or ISO 8601, such as "
                     "2024-05-31 14:00:00; divide them by 1000"),
    "unreadable time": ("user,item,ts\na,x,2024-01-01\nb,x,01/31/2024\n",
                        "column 'ts' has no readable time in 1 of 2 rows, e.g. '01/31/2024' in "
                        "row 2; expected Unix seconds or ISO 8601"),
    "no time": ("user,item,ts\na,x,5\nb,x,\n", "column 'ts' has no readable time in 1 of 2 rows"),
    "infinite time": ("user,item,ts\na,x,5\nb,x,inf\n", "no readable time in 1 of 2 rows"),
    "ancient time": ("user,item,ts\na,x,0001-01-01\nb,x,2024-01-01\n", "no readable time in 1"),
    "future seconds": ("user,item,ts\na,x,5\nb,x,99999999999\n",
                       "column 'ts' has a time in the future in 1 of 2 rows, e.g. '99999999999' "
                       "in row 2; expected nothing later than "),
    "future text": ("user,item,ts\na,x,2024-01-01\nb,x,9999-12-31\n", "a time in the future in 1"),
    "empty": ("", "is empty; expected a header line and rows"),
    "header only": ("user,item,ts\n", "has a header (user, item, ts) but no rows"),
    "one user": ("user,item,ts\na,x,1\na,y,2\n",
                 "the log has 1 user(s) in 2 rows, expected at least 2"),
    "row too long": ("user,item,ts\na,x,1\na,y,2,3\n", "is damaged or no .csv file"),
    "all rows too long": ("user,item,ts\na,x,1,9\nb,y,2,9\n", "is damaged or no .csv file"),
    "open quote": ('user,item,ts\na,"x,1\n', "is damaged or no .csv file"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_LOGS.values(), ids=BAD_LOGS)
def test_bad_log_gets_a_clear_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(message)):
        logs.read_log(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.parquet", b"no parquet", "is damaged or no .parquet file"),
        ("log.parquet", b"", "is damaged or no .parquet file"),
        ("log.csv.gz", b"no gzip", "is damaged or no .csv.gz file"),
        ("log.csv.gz", gzip.compress(GOOD.encode())[:-12], "is damaged or no .csv.gz file"),
        ("log.csv", b"user,item,ts\n\xe9,x,1\n", "is not UTF-8 text"),
        ("log.csv", b"PAR1\x15\x04\x00\xff\xfe", "is not UTF-8 text"),
        ("log.xlsx", b"x", "cannot be read: expected one of .csv, .tsv"),
    ],
)
def test_damaged_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=re.escape(message)):
        logs.read_log(tmp_path / name)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DatasetError, match="does not exist or is no file"):
            logs.read_log(path)


def test_parquet_nulls_and_infinities(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    good = pd.DataFrame({"user": [1.0, 2.0], "item": ["x", "y"], "ts": [1, 2], "qty": [1.0, 2.0]})
    good.assign(user=[1.0, None]).to_parquet(path)
    with pytest.raises(DatasetError, match="'user' has no id in 1 of 2 rows"):
        logs.read_log(path)
    good.assign(qty=[float("inf"), 1.0]).to_parquet(path)
    with pytest.raises(DatasetError, match="'qty' has an infinite value"):
        logs.read_log(path)
    good.assign(ts=pd.to_datetime(["2024-01-01", None])).to_parquet(path)
    with pytest.raises(DatasetError, match="'ts' has no readable time in 1 of 2 rows"):
        logs.read_log(path)
    good.to_parquet(path)
    assert logs.read_log(path)["user_id"].tolist() == ["1", "2"]


def test_a_day_of_slack_for_clocks_that_run_ahead() -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    logs.timestamps_from(pd.Series(["2024-01-01 23:00"]), now=now)
    with pytest.raises(DatasetError, match="nothing later than 2024-01-02"):
        logs.timestamps_from(pd.Series(["2024-01-02 01:00"]), now=now)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": "nobody"}, "there is no column 'nobody' for 'user'; the file has the columns "),
        ({"user": "item"}, "no column looks like the item"),
        ({"user": "item", "item": "item"}, "one column is given for two roles"),
        ({"who": "user"}, "unknown role 'who', expected one of user, item, timestamp"),
    ],
)
def test_wrong_mapping(tmp_path: Path, columns: dict[str, str], message: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(message)):
        logs.read_log(write(tmp_path, GOOD), columns)


def test_parse_columns() -> None:
    assert logs.parse_columns("user=visitor, item = sku,title=name=long") == {
        "user": "visitor",
        "item": "sku",
        "title": "name=long",
    }
    assert logs.parse_columns(" ") == {}


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
        logs.parse_columns(text)


@given(
    st.dictionaries(
        st.sampled_from(sorted(logs.ROLES)),
        st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=1).filter(
            lambda text: text == text.strip()
        ),
    )
)
def test_parse_columns_inverts_its_text_form(mapping: dict[str, str]) -> None:
    text = ",".join(f"{role}={column}" for role, column in mapping.items())
    assert logs.parse_columns(text) == mapping


@needs_shared
def test_real_retailrocket_log() -> None:
    frame = logs.read_log(SHARED / "retailrocket-subset.csv.gz")
    assert len(frame) == 97_381
    assert frame["event"].value_counts().to_dict() == {"view": 75_374, "cart": 12_456, "buy": 9_551}
    assert frame["timestamp"].dt.year.eq(2015).all()


@needs_shared
def test_real_rees46_log() -> None:
    frame = logs.read_log(SHARED / "rees46-oct-sample.csv.gz")
    assert (len(frame), frame["user_id"].nunique()) == (17_435, 4_505)
    assert frame["timestamp"].min() == pd.Timestamp("2019-10-01", tz="UTC")
    assert frame["value"].eq(1.0).all()


@needs_shared
def test_real_song_plays_have_no_time() -> None:
    with pytest.raises(DatasetError, match="no column looks like the timestamp"):
        logs.read_log(SHARED / "song-plays-triplicated.csv.gz")


def test_a_column_of_years_is_not_taken_for_seconds(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="what looks like years"):
        logs.read_log(write(tmp_path, "user,item,date\na,x,2019\nb,y,2020\n"))


@pytest.mark.parametrize("header", ["user,user,item,ts", "user, user,item,ts"])
def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(DatasetError, match=r"has the columns \['user'\] twice"):
        logs.read_log(write(tmp_path, f"{header}\na,b,x,5\nb,c,y,6\n"))


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
def test_the_columns_of_well_known_exports_are_guessed(tmp_path: Path, export: str) -> None:
    frame = logs.read_log(write(tmp_path, EXPORTS[export]))
    assert len(frame) == 2
    assert frame["user_id"].str.fullmatch(r"\d+").all()
    assert frame["timestamp"].dt.year.between(2010, 2019).all()
