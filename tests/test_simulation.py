"""The simulated store: forward in time, its truth, and exports that the cleaning reads."""

import gzip
import ipaddress

import numpy as np
import pandas as pd
import pytest

from helpers import cleaning, simulation
from helpers.simulation import simulate_store

EVENT = ["user_id", "item_id", "event", "timestamp", "value", "price", "order_id"]
IN_EVENTS = {"double click", "cancelled order", "free order"}
IN_EXPORTS = {"exact duplicate", "corrupt row", "missing user"}


@pytest.fixture(scope="module")
def store():
    return simulate_store(shoppers=400, days=125, crawler_share=0.3, seed=1)


@pytest.fixture(scope="module")
def paths(store, tmp_path_factory):
    return store.write(tmp_path_factory.mktemp("exports"))


def before(store, days):
    end = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=days)
    return store.events[store.events["timestamp"] < end].reset_index(drop=True)


def of_shoppers(store):
    kind = store.events["user_id"].map(store.users["kind"])
    return store.events[kind == "shopper"].reset_index(drop=True)


def places(frame):
    return set(zip(frame["file"], frame["row"], strict=True))


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_shorter_log_is_the_beginning_of_a_longer_one(share):
    short, long = (
        simulate_store(shoppers=100, days=days, crawler_share=share, seed=3) for days in (60, 120)
    )
    assert len(long.events) > 1.5 * len(short.events)
    pd.testing.assert_frame_equal(short.events, before(long, 60))


@pytest.mark.parametrize("future", ["nothing is bought", "everything is bought", "other dice"])
def test_nothing_before_a_day_depends_on_what_is_bought_after_it(future, monkeypatch):
    """The decisions of all visits from day 60 on are replaced: the 60 days before stay the same."""
    arguments = {"shoppers": 100, "days": 120, "crawler_share": 0.1, "seed": 3}
    store = simulate_store(**arguments)
    as_before = simulation._taken
    other = np.random.default_rng(99)

    def replaced(rng, chance, day):
        if day < 60:
            return as_before(rng, chance, day)
        if future == "other dice":
            rng.bit_generator.state = other.spawn(1)[0].bit_generator.state
            return as_before(rng, chance, day)
        return np.full(len(chance), future == "everything is bought")

    monkeypatch.setattr(simulation, "_taken", replaced)
    changed = simulate_store(**arguments)
    assert not changed.events.equals(store.events)
    pd.testing.assert_frame_equal(before(changed, 60), before(store, 60))


def test_the_shoppers_are_the_same_for_every_share_of_crawlers():
    stores = {
        share: simulate_store(shoppers=300, days=60, crawler_share=share)
        for share in (0, 0.05, 0.3, 0.8)
    }
    for share, store in stores.items():
        others = (store.events["user_id"].map(store.users["kind"]) != "shopper").mean()
        assert others == pytest.approx(share, rel=0.05)
        pd.testing.assert_frame_equal(of_shoppers(store), of_shoppers(stores[0]))
    assert set(stores[0].users["kind"]) == {"shopper"}
    assert stores[0].staff_users == []


def test_every_kind_and_subtype_is_there_and_behaves_like_it(store):
    events = store.events.join(store.users[["kind", "subtype"]], on="user_id")
    assert set(store.users["kind"]) == {"shopper", "crawler", "staff"}
    assert set(store.users["subtype"]) == {*simulation.HABITS, *simulation.CRAWLERS, "staff"}
    counts = pd.crosstab(events["subtype"], events["event"])
    assert counts.loc["reader", ["cart", "purchase"]].sum() == 0
    views = events[events["event"] == "view"]
    evenings = views[views["subtype"] == "reader"].groupby("user_id")["timestamp"]
    assert evenings.agg(lambda each: each.dt.date.nunique()).min() > 110
    share = counts["purchase"] / counts["view"]
    assert share["reseller"] > 0.1 > 0.03 > share["bargain hunter"]
    price = views.groupby("subtype")["price"].median()
    assert price["bargain hunter"] < 0.7 * price["ordinary"]
    hours = views.groupby("subtype")["timestamp"].agg(lambda each: each.dt.hour.nunique())
    assert hours[["slow", "price watcher", "shift worker"]].ge(22).all()
    gaps = views.groupby(["subtype", "user_id"])["timestamp"].diff().dt.total_seconds()
    gap = gaps.groupby(views["subtype"]).median()
    assert gap["scraper"] < 2 < gap["catalogue"] < 20
    assert 100 < gap["slow"] < 2000
    declared = events["user_agent"].str.contains("bot")
    assert set(events.loc[declared, "subtype"]) == {"declared"}
    assert declared[events["subtype"] == "declared"].all()


def test_most_who_look_buy_nothing_and_some_buy_unseen_or_again(store):
    shoppers = of_shoppers(store)
    shoppers = shoppers[shoppers["user_id"].map(store.users["subtype"]) == "ordinary"]
    month = shoppers["timestamp"].dt.strftime("%m")
    bought = shoppers["event"] == "purchase"
    buyers = shoppers[bought].groupby(month)["user_id"].nunique()
    assert (buyers / shoppers.groupby(month)["user_id"].nunique()).between(0.1, 0.45).all()
    seen = shoppers[shoppers["event"] == "view"].groupby(["user_id", "item_id"])["timestamp"].min()
    first = shoppers[bought].join(seen.rename("seen"), on=["user_id", "item_id"])
    unseen = ~(first["seen"] < first["timestamp"])
    assert 0.03 < unseen.mean() < 0.3
    assert shoppers[bought].duplicated(["user_id", "item_id"]).any()


def test_staff_work_in_office_hours_from_their_network(store):
    network = ipaddress.ip_network(store.staff_network)
    staff = store.events[store.events["user_id"].isin(store.staff_users)]
    assert len(store.staff_users) == 4
    assert all(ipaddress.ip_address(each) in network for each in staff["address"].unique())
    inside = store.events["address"].str.startswith("192.0.2.")
    assert set(store.events.loc[inside, "user_id"]) == set(store.staff_users)
    assert staff["timestamp"].dt.hour.between(8, 18).all()
    assert (staff["timestamp"].dt.day_of_week < 5).all()
    orders = staff[staff["event"] == "purchase"]
    back = set(staff.loc[staff["event"] == "return", "order_id"])
    assert (orders["order_id"].isin(back) | (orders["price"] == 0)).all()


def test_the_truth_points_at_the_right_rows_of_the_exports(store, paths):
    """Every rule finds what was planted for it; only clicks so close can be honest ones, too."""
    assert set(store.planted["kind"]) == IN_EVENTS | IN_EXPORTS
    assert not store.planted.duplicated(["file", "row"]).any()
    found = cleaning.clean(paths, rules=cleaning.Rules(without=["bots"]))
    planted = {kind: places(rows) for kind, rows in store.planted.groupby("kind")}
    removed = {rule: places(rows) for rule, rows in found.removed.groupby("rule")}
    assert planted["corrupt row"] == places(found.quarantine)
    assert planted["missing user"] == removed["missing user"]
    assert planted["exact duplicate"] - removed["declared bots"] <= (
        removed["duplicates"] | removed["cancellations"] | removed["price"]
    )
    assert removed["duplicates"] <= planted["exact duplicate"]
    cancelled = removed["cancellations"] | removed["cancelled purchases"]
    assert planted["cancelled order"] <= cancelled
    assert cancelled <= planted["cancelled order"] | planted["exact duplicate"]
    assert planted["free order"] <= removed["price"]
    both = len(planted["double click"] & removed["near duplicates"])
    assert both / len(planted["double click"]) > 0.9
    assert 0.5 < both / len(removed["near duplicates"]) < 1


def test_the_exports_hold_the_events(store, paths):
    everything = cleaning.Rules(without=set(cleaning.RULES) - {"missing user", "duplicates"})
    read = cleaning.clean(paths, rules=everything)
    columns = store.events.columns.tolist()
    pd.testing.assert_frame_equal(
        read.frame[columns].sort_values(columns, ignore_index=True),
        store.events.sort_values(columns, ignore_index=True),
        check_dtype=False,
    )


def test_each_month_has_another_dialect(paths, tmp_path):
    suffixes = [path.name.split(".", 1)[1] for path in paths]
    # The log ends on 4 May, a month in which days and months could be confused.
    assert suffixes == ["csv", "txt", "tsv.gz", "parquet", "csv"]
    headers = [paths[0].read_bytes(), paths[1].read_bytes(), gzip.decompress(paths[2].read_bytes())]
    lines = [content.split(b"\n")[0].decode("latin-1") for content in headers]
    assert "Händler" in lines[1]
    assert len({separator for line in lines for separator in ",;\t" if separator in line}) == 3
    short = simulate_store(shoppers=30, days=37).write(tmp_path)
    assert [path.suffix for path in short] == [".csv", ".csv"]


def test_without_dirt_the_rest_is_the_same(store):
    clean = simulate_store(shoppers=400, days=125, crawler_share=0, dirt=False, seed=1)
    assert clean.planted.empty
    shoppers = of_shoppers(store)
    kept = shoppers[shoppers["event"].isin(["cart", "purchase"])].assign(price=0)[EVENT]
    orders = clean.events[clean.events["event"] != "view"].assign(price=0)[EVENT]
    pd.testing.assert_frame_equal(orders.reset_index(drop=True), kept.reset_index(drop=True))


def test_equal_seeds_give_equal_bytes(tmp_path):
    written = {}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        paths = simulate_store(shoppers=60, days=110, seed=seed).write(tmp_path / name)
        written[name] = {path.name: path.read_bytes() for path in paths}
    assert written["a"] == written["b"]
    assert all(written["a"][name] != written["c"][name] for name in written["a"])


def test_exports_do_not_mix_with_other_files(store, tmp_path):
    (tmp_path / "events-2023-01.csv").write_text("user,item\n")
    with pytest.raises(FileExistsError, match=r"holds events-2023-01\.csv, which is no export"):
        store.write(tmp_path)


def test_it_says_that_it_is_simulated(store):
    assert "simulated" in store.description
    assert store.description.count(".") == 2
    assert store.users["events"].sum() == len(store.events)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shoppers": 0}, "shoppers is 0, expected a whole number from 1"),
        ({"items": 2.5}, "items is 2.5, expected a whole number from 20"),
        ({"days": 10_000}, "days is 10000, expected a whole number from 1 to 700"),
        ({"seed": -1}, "seed is -1, expected a whole number from 0"),
        ({"crawler_share": 0.9}, "crawler_share is 0.9, expected a number from 0 to 0.8"),
        ({"crawler_share": float("nan")}, "crawler_share is nan"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_store(**arguments)
