"""The exports are read back here by a small reader of its own, which knows nothing but names."""

import csv
import gzip
import io
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from helpers import simulation
from helpers.simulation import world

NAMES = {
    "user": "CustomerID visitorid userId USER_ID user_id",
    "item": "StockCode itemid itemId ITEM_ID ProductId product_id sku",
    "time": "InvoiceDate timestamp eventTime EVENT_TIME DateTime event_time createdAt",
    "event": "Event event eventType EVENT_TYPE Action event_type",
    "quantity": "Quantity quantity QUANTITY Qty qty",
    "price": "UnitPrice price unitPrice PRICE Price",
    "order": "InvoiceNo transactionid orderId ORDER_ID OrderId order_id",
    "address": "IP ip ipAddress IpAddress ip_address address",
    "agent": "UserAgent user_agent userAgent USER_AGENT",
}
EVENTS = {
    **{"view": "view", "cart": "cart", "addtocart": "cart", "add_to_cart": "cart"},
    **{"purchase": "purchase", "transaction": "purchase"},
    **{"remove_from_cart": "remove_from_cart", "removefromcart": "remove_from_cart"},
}
FORMATS = ("%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S UTC")
ROW_KINDS = {"exact duplicate", "near duplicate", "corrupt row", "missing user"}
CONTENT = ["user", "item", "event", "time", "quantity", "price", "order", "address", "agent"]


def made_up(n_customers=40, n_items=90, months=9, seed=3):
    """Purchases of the shape of Online Retail, with its oddities."""
    rng = np.random.default_rng(seed)
    n_orders = rng.integers(1, 5, size=n_customers)
    user = np.repeat(12346 + np.arange(n_customers), n_orders)
    minute = rng.integers(0, months * 30 * 1440, size=len(user))
    lines = rng.integers(1, 9, size=len(user))
    lines[0] = 130  # a wholesaler
    order = np.repeat(np.arange(len(user)), lines)
    item = rng.integers(0, n_items, size=len(order))
    quantity = rng.choice([1.0, 6.0, 12.0, 2400.0], size=len(order), p=[0.4, 0.3, 0.25, 0.05])
    price = (0.5 + item * 0.25).round(2)
    price[item == 7] = 1250.5
    start = pd.Timestamp("2010-12-01 08:26", tz="UTC")
    frame = pd.DataFrame(
        {
            "user_id": user[order].astype(str),
            "item_id": np.char.add((20000 + item).astype(str), np.where(item % 5, "", "A")),
            "value": quantity,
            "timestamp": (start + pd.to_timedelta(minute[order], unit="min")).astype(
                "datetime64[ns, UTC]"
            ),
            "event": "purchase",
            "order_id": (536365 + order).astype(str),
            "price": price,
            "country": np.where(user[order] % 7, "United Kingdom", "France"),
            "title": [f'BOX "{i}", LARGE{"!" * (i % 5)}' for i in item],
        }
    )
    twice = frame.iloc[[5, 9]]  # the real data has lines that stand there twice
    return pd.concat([frame, twice]).sort_values(["timestamp", "user_id"], ignore_index=True)


@pytest.fixture(scope="module")
def purchases():
    return made_up()


@pytest.fixture(scope="module")
def store(purchases):
    return simulation.simulate_store(
        purchases,
        declared=6,
        disguised=12,
        staff=5,
        dirt_shares={"corrupt row": 0.02, "exact duplicate": 0.02, "missing user": 0.02},
        seed=1,
    )


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    store.write(path)
    return path


@pytest.fixture(scope="module")
def rows(store, folder):
    return read_back(folder)


def read_back(folder):
    """All data rows: file, row, why they cannot be read (or empty), and their content."""
    parts = [read_file(path) for path in sorted(folder.iterdir()) if path.is_file()]
    return pd.concat(parts, ignore_index=True)


def read_file(path):
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        header, records = list(table.columns), table.astype(object).to_numpy().tolist()
    else:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        separator = "\t" if path.suffix == ".tsv" else ","
        header, *records = list(csv.reader(io.StringIO(text), delimiter=separator))
    role_of = {}
    for role, names in NAMES.items():
        (role_of[role],) = [i for i, name in enumerate(header) if name in names.split()]
    out = []
    for number, record in enumerate(records, start=1):
        row = {"file": path.name, "row": number, "why": ""}
        if len(record) < len(header):
            out.append(row | {"why": "cut line"})
            continue
        cell = {role: record[place] for role, place in role_of.items()}
        try:
            row |= {
                "user": whole(cell["user"]),
                "item": whole(cell["item"]),
                "address": cell["address"],
                "agent": cell["agent"],
                "order": cell["order"] if isinstance(cell["order"], str) else "",
            }
            row["why"] = "unknown event"
            row["event"] = EVENTS[cell["event"]]
            row["why"] = "impossible date"
            row["time"] = second(cell["time"])
            row["why"] = "text for a number"
            row["quantity"] = number_of(cell["quantity"] or "1")
            row["price"] = number_of(cell["price"])
            row["why"] = "missing user" if row["user"] in ("", "NULL", "NaN") else ""
        except (KeyError, ValueError):
            pass
        out.append(row)
    return pd.DataFrame(out)


def whole(cell):
    text = "" if cell is None or cell != cell else str(cell).strip()
    return text.removesuffix(".0")


def number_of(cell):
    return float(cell.replace(",", "")) if isinstance(cell, str) else float(cell)


def second(cell):
    if isinstance(cell, pd.Timestamp):
        return int(cell.timestamp())
    if cell.isdigit():
        return int(cell)
    for form in FORMATS:
        try:
            time = datetime.strptime(cell, form)
        except ValueError:
            continue
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    raise ValueError(cell)


def places(frame):
    return set(zip(frame["file"], frame["row"].astype(int), strict=True))


def planted(store, kind, sort=None):
    truth = store.truth[store.truth["kind"] == kind]
    return truth if sort is None else truth[truth["sort"] == sort]


def test_every_damaged_row_is_in_the_truth_and_no_other(store, rows):
    for sort in ("cut line", "unknown event", "impossible date", "text for a number"):
        found = rows[rows["why"] == sort]
        assert len(found) > 3
        assert places(found) == places(planted(store, "corrupt row", sort)), sort
    assert places(rows[rows["why"] == "missing user"]) == places(planted(store, "missing user"))


def test_exact_duplicates_are_as_many_as_the_truth_says_and_where(store, rows):
    good = rows[rows["why"] == ""]
    truth = planted(store, "exact duplicate")
    assert good.duplicated(CONTENT).sum() == len(truth)
    of_the_data = (truth["sort"] == "in the real purchases").sum()
    assert of_the_data == store.purchases.duplicated().sum() >= 2
    assert places(truth) <= places(good[good.duplicated(CONTENT, keep=False)])


def test_near_duplicates_are_the_only_clicks_so_close(store, rows):
    good = rows[(rows["why"] == "") & (rows["event"] != "purchase")].drop_duplicates(CONTENT)
    good = good.sort_values(["user", "item", "event", "time"])
    same = good[["user", "item", "event"]].eq(good[["user", "item", "event"]].shift()).all(axis=1)
    close = good[same & (good["time"].diff() <= 2)]
    assert len(close) > 100
    assert places(close) == places(planted(store, "near duplicate"))
    # The next click is too far away to count as close to the planted one, too.
    assert not (same & good["time"].diff().between(3, 4)).any()


def test_without_the_planted_rows_the_files_hold_the_events(store, rows):
    truth = store.truth
    extra = truth["kind"].isin(ROW_KINDS) & (truth["sort"] != "in the real purchases")
    kept = rows[
        ~pd.MultiIndex.from_frame(rows[["file", "row"]]).isin(
            pd.MultiIndex.from_frame(truth.loc[extra, ["file", "row"]].astype({"row": "int64"}))
        )
    ]
    assert (kept["why"] == "").all()
    events = store.events
    expected = pd.DataFrame(
        {
            "user": events["user_id"],
            "item": events["item_id"],
            "event": events["event"],
            "time": events["timestamp"].astype("int64") // 10**9,
            "quantity": events["value"],
            "price": events["price"],
            "order": events["order_id"].fillna(""),
            "address": events["address"],
            "agent": events["user_agent"],
        }
    )
    pd.testing.assert_frame_equal(
        kept[CONTENT].sort_values(CONTENT, ignore_index=True),
        expected.sort_values(CONTENT, ignore_index=True),
        check_dtype=False,
    )


def real_purchases(store):
    """Purchases of the events without the orders that the truth says were made up."""
    orders = store.events[store.events["event"] == "purchase"]
    mine = orders["order_id"].isin(store.purchases["order_id"])
    made_up_lines = store.truth["kind"].isin(["cancelled order", "free order"]).sum()
    assert (~mine).sum() == made_up_lines
    return orders[mine]


def test_the_purchases_stay_the_real_ones(store, purchases):
    names = ["user_id", "item_id", "value", "timestamp", "order_id", "price", "country", "title"]
    given = purchases.sort_values(names, ignore_index=True)[names]
    kept = real_purchases(store).sort_values(names, ignore_index=True)[names]
    pd.testing.assert_frame_equal(kept, given, check_dtype=False)
    pd.testing.assert_frame_equal(
        store.purchases.sort_values(names, ignore_index=True)[names], given, check_dtype=False
    )


def test_layout_and_row_numbers_are_those_of_the_files(store, rows):
    assert rows.groupby("file").size().to_dict() == store.layout
    of_rows = store.truth.dropna(subset="row")
    assert not of_rows.duplicated(["file", "row"]).any()
    assert (of_rows["row"] >= 1).all()
    assert (of_rows["row"] <= of_rows["file"].map(store.layout)).all()


def test_the_truth_knows_every_user(store, rows):
    in_files = set(rows.loc[rows["why"] == "", "user"])
    assert set(store.users.index) == in_files
    assert store.users["events"].sum() == len(store.events)
    of_users = store.truth[store.truth["file"].isna()]
    assert of_users["user_id"].tolist() == store.users.index.tolist()
    kinds = store.users["kind"].value_counts()
    assert kinds["customer"] == 40
    assert kinds["visitor"] == 160 > len(store.users) / 2
    assert (kinds["staff"], kinds["declared crawler"]) == (5, 6)
    assert kinds["disguised crawler"] == 12
    heavy = store.users[store.users["sort"] == "heavy buyer"]
    assert heavy.index.tolist() == ["12346"]


def test_cancelled_and_free_orders_are_what_the_truth_says(store, rows):
    keyed = rows.set_index(["file", "row"])
    for sort, sign in (("purchase", 1), ("cancellation", -1)):
        truth = planted(store, "cancelled order", sort)
        found = keyed.loc[list(zip(truth["file"], truth["row"], strict=True))]
        assert len(found) > 0
        assert (found["quantity"] * sign > 0).all()
        assert (found["order"].str.startswith("C") == (sign == -1)).all()
    free = planted(store, "free order")
    assert (keyed.loc[list(zip(free["file"], free["row"], strict=True)), "price"] == 0).all()
    key = ["user_id", "item_id", "price"]
    orders = store.events[store.events["event"] == "purchase"]
    back = orders[orders["value"] < 0]
    back = back.assign(order_id=back["order_id"].str[1:], value=-back["value"])
    both = back.merge(orders, on=[*key, "order_id", "value"], suffixes=("", "_bought"))
    assert len(both) == len(back)
    assert (both["timestamp"] > both["timestamp_bought"]).all()


def test_who_has_which_user_agent_and_address(store):
    kind = store.events["user_id"].map(store.users["kind"])
    says_so = store.events["user_agent"].str.contains(
        r"bot|python|curl|scrapy|slurp|spider|externalhit", case=False
    )
    assert says_so.equals(kind == "declared crawler")
    in_office = store.events["address"] == simulation.OFFICE
    assert set(kind[in_office]) == {"staff"}
    documentation = r"10\.\d+\.\d+\.\d+|(192\.0\.2|198\.51\.100|203\.0\.113)\.\d+"
    assert store.events["address"].str.fullmatch(documentation).all()


def test_people_crawlers_and_staff_behave_as_described():
    store = simulation.simulate_store(made_up(n_items=900), disguised=60, declared=0, staff=10)
    events = store.events.assign(
        kind=store.events["user_id"].map(store.users["kind"]),
        sort=store.events["user_id"].map(store.users["sort"]),
        hour=store.events["timestamp"].dt.hour,
    )
    bought = events[events["event"] == "purchase"]
    assert set(bought["kind"]) == {"customer", "staff"}
    at_work = events[(events["kind"] == "staff") & (events["value"] > 0)]
    at_work = at_work[at_work["timestamp"].dt.day_of_week < 5]
    assert at_work["hour"].between(8, 17).mean() > 0.9
    night = events["hour"].isin([22, 23, 0, 1, 2, 3])
    visitors = events["kind"] == "visitor"
    assert night[visitors & (events["sort"] == "night owl")].mean() > 0.5
    assert night[visitors & (events["sort"] == "ordinary")].mean() < 0.2
    per_user = events.groupby(["sort", "user_id"])
    items = per_user["item_id"].nunique()
    assert items["bargain hunter"].median() > 3 * items["ordinary"].median()
    crawlers = events[events["kind"] == "disguised crawler"]
    assert crawlers["sort"].nunique() == 6
    gaps = crawlers.groupby(["sort", "user_id"])["timestamp"].diff().dt.total_seconds()
    gap = gaps.groupby(crawlers["sort"]).median()
    assert gap["fast sweep"] < 5
    assert gap["slow crawl"] > 60
    assert 2 < gap["mimic"] < 40
    hoarder = crawlers[crawlers["sort"] == "cart hoarder"]["event"]
    assert (hoarder == "cart").mean() > 0.4
    scraper = crawlers[crawlers["sort"] == "price scraper"].groupby("user_id")["item_id"]
    assert (scraper.size() > 3 * scraper.nunique()).mean() > 0.8


def test_clicks_come_before_the_purchase_they_lead_to(store):
    order = real_purchases(store).drop_duplicates(["user_id", "item_id"])
    carts = store.events[store.events["event"] == "cart"]
    both = order.merge(carts, on=["user_id", "item_id"], suffixes=("", "_cart"))
    both["ahead"] = (both["timestamp"] - both["timestamp_cart"]).dt.total_seconds()
    led = both[both["ahead"].between(1, 3 * 3600)].drop_duplicates(["user_id", "item_id"])
    assert len(led) > 0.75 * len(order)


def test_each_month_has_another_schema_and_the_formats_are_all_there(store, folder):
    names = sorted(store.layout)
    assert len(names) >= 8
    suffixes = {name.split(".", 1)[1] for name in names}
    assert suffixes == {"csv", "csv.gz", "tsv", "parquet"}
    contents = {name: (folder / name).read_bytes() for name in names}
    headers = {
        content.split(b"\n")[0].decode("utf-8-sig")
        for name, content in contents.items()
        if name.endswith((".csv", ".tsv"))
    }
    assert len(headers) >= 6
    for user in ("visitorid", "userId", "USER_ID", "CustomerID"):
        packed = b"".join(
            gzip.decompress(content) if name.endswith(".gz") else content
            for name, content in contents.items()
        )
        assert user.encode() in packed
    gzipped = next(content for name, content in contents.items() if name.endswith(".gz"))
    assert gzipped[4:8] == b"\0\0\0\0"
    not_utf8 = [name for name, content in contents.items() if b"\xbd PRICE" in content]
    assert len(not_utf8) == 1
    assert any(content.startswith(b"\xef\xbb\xbf") for content in contents.values())
    text = contents["events-2010-12.csv"].decode()
    assert '"2,400"' in text
    assert any(number in text for number in ("1,250.5", "1250.5"))
    assert {" 1 ", "1.0", "1"} <= set(pd.read_csv(io.StringIO(text), dtype="str").Quantity.dropna())


def test_the_truth_is_written_where_no_glob_of_logs_takes_it(store, folder):
    assert {path.name for path in folder.glob("*") if path.is_file()} == set(store.layout)
    users = pd.read_parquet(folder / "truth" / "users.parquet").set_index("user_id")
    pd.testing.assert_frame_equal(users, store.users, check_dtype=False)
    truth = pd.read_parquet(folder / "truth" / "planted.parquet")
    assert len(truth) == len(store.truth)


def test_exports_of_another_simulation_are_not_mixed_with_these(store, tmp_path):
    (tmp_path / "events-2009-01.csv").write_text("user,item\n")
    with pytest.raises(FileExistsError, match=r"holds events-2009-01\.csv, which this simulation"):
        store.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["events-2009-01.csv"]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    data = made_up(n_customers=8, months=6)
    written = {}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        np.random.default_rng(0)
        paths = simulation.simulate_store(data, declared=4, disguised=3, staff=3, seed=seed).write(
            tmp_path / name
        )
        written[name] = {path.name: path.read_bytes() for path in paths}
    assert written["a"] == written["b"]
    assert written["a"] != written["c"]


def test_the_order_of_the_given_rows_does_not_matter_but_for_ties(purchases):
    shuffled = purchases.drop_duplicates().sample(frac=1, random_state=2)
    first = simulation.simulate_store(purchases.drop_duplicates(), disguised=2, customers=10)
    second = simulation.simulate_store(shuffled, disguised=2, customers=10)
    assert first.users.index.tolist() == second.users.index.tolist()
    assert set(first.purchases["user_id"]) == set(second.purchases["user_id"])
    assert first.purchases["user_id"].nunique() == 10


def test_more_crawlers_leave_the_clicks_of_the_people_as_they_are(purchases):
    def of_customers(disguised):
        store = simulation.simulate_store(purchases, disguised=disguised)
        mine = store.events[store.events["user_id"].isin(purchases["user_id"])]
        return mine[["user_id", "item_id", "event", "timestamp"]].reset_index(drop=True)

    pd.testing.assert_frame_equal(of_customers(0), of_customers(12))


def test_without_dirt_only_orders_and_real_duplicates_are_planted(purchases):
    none = dict.fromkeys(simulation.SHARES, 0.0)
    store = simulation.simulate_store(purchases, dirt_shares=none)
    of_rows = store.truth.dropna(subset="row")
    assert set(of_rows["kind"]) == {"cancelled order", "free order", "exact duplicate"}
    assert (of_rows["kind"] == "exact duplicate").sum() == purchases.duplicated().sum()
    assert sum(store.layout.values()) == len(store.events)


def test_it_says_that_it_is_simulated(store):
    assert store.description.startswith("Simulated")
    assert "simulated" in simulation.simulate_store.__doc__
    assert "_rows" not in repr(store)


# A simulation takes a while; to shrink a failing one would take minutes.
@settings(max_examples=5, phases=[Phase.generate])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["1", "22", "x", "007"]),
            st.sampled_from(["10", "11", "A,B", 'say "hi"']),
            st.sampled_from([1.0, 2.5, 1000.0, 123456.0]),
            st.integers(0, 90 * 1440),
            st.sampled_from(["o1", "o2", "536"]),
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 2**32 - 1),
)
def test_any_purchases_come_back_from_the_files(tmp_path_factory, lines, seed):
    users, items, values, minutes, orders = zip(*lines, strict=True)
    data = pd.DataFrame(
        {
            "user_id": users,
            "item_id": items,
            "value": values,
            "timestamp": pd.to_datetime(np.array(minutes) * 60, unit="s", utc=True),
            "order_id": orders,
            "price": 2.55,
        }
    )
    store = simulation.simulate_store(data, declared=1, disguised=2, staff=1, seed=seed)
    folder = tmp_path_factory.mktemp("any")
    store.write(folder)
    rows = read_back(folder)
    truth = store.truth
    extra = truth[truth["kind"].isin(ROW_KINDS) & (truth["sort"] != "in the real purchases")]
    kept = rows[[place not in places(extra) for place in zip(rows.file, rows.row, strict=True)]]
    assert (kept["why"] == "").all()
    assert len(rows) == len(store.events) + len(extra)
    mine = kept[(kept["event"] == "purchase") & kept["order"].isin(orders)]
    got = sorted(zip(mine.user, mine.item, mine.quantity, mine.time, mine.order, strict=True))
    assert got == sorted((u, i, v, m * 60, o) for u, i, v, m, o in lines)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_a_walk_starts_each_visit_at_zero_and_moves_on(lengths, seed):
    pace = np.full(len(lengths), 4.0)
    visit, offset = world.walk(np.random.default_rng(seed), np.array(lengths), pace, 1.0)
    assert np.bincount(visit, minlength=len(lengths)).tolist() == lengths
    for number in range(len(lengths)):
        own = offset[visit == number]
        assert own[:1].sum() == 0
        assert (np.diff(own) >= 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.drop(columns=["price", "order_id"]),
            r"lacks the columns \['order_id', 'price",
        ),
        (lambda d: d.iloc[:0], "has no rows"),
        (lambda d: d.assign(timestamp=1), "expected UTC times"),
        (lambda d: d.assign(timestamp=d["timestamp"].dt.tz_localize(None)), "expected UTC times"),
        (lambda d: d.assign(user_id=None), r"missing entries in \['user_id'\]"),
        (lambda d: d.assign(value=-1.0), r"\['value'\] has values of 0 or less"),
        (lambda d: d.assign(price=0.0), r"\['price'\] has values of 0 or less"),
        (lambda d: d.assign(item_id="a\nb"), r"\['item_id'\] has line breaks"),
        (lambda d: d.assign(event="view"), "expected 'purchase' only"),
        (
            lambda d: d.assign(timestamp=d["timestamp"] + pd.Timedelta("1ms")),
            "fractions of a second",
        ),
    ],
)
def test_purchases_that_are_not_clean_are_refused(purchases, change, message):
    with pytest.raises(ValueError, match=message):
        simulation.simulate_store(change(purchases))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"customers": 0}, "customers is 0, expected at least 1"),
        ({"visitors_per_customer": -1}, "visitors_per_customer is -1"),
        ({"visitors_per_customer": float("nan")}, "visitors_per_customer is nan"),
        ({"disguised": -1}, "disguised is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"dirt_shares": {"mud": 0.1}}, "names 'mud', expected some of"),
        ({"dirt_shares": {"corrupt row": 2}}, "expected a share from 0 to 0.5"),
    ],
)
def test_arguments_out_of_range_are_refused(purchases, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulation.simulate_store(purchases, **arguments)


def test_a_store_of_people_only(purchases):
    store = simulation.simulate_store(
        purchases, visitors_per_customer=0, declared=0, disguised=0, staff=0
    )
    assert set(store.users["kind"]) == {"customer"}


def test_purchases_need_times(purchases):
    with pytest.raises(ValueError, match="events has no times; orders, sessions"):
        simulation.as_purchases(purchases.drop(columns="timestamp"))
