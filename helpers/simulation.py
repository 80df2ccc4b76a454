"""A simulated web store, generated forward in time, with the truth about every account and row.

Each shopper has latent preferences and an own random stream that is consumed in the order of time.
So whatever happens up to a day depends on nothing after it, and a split in time is a fair one.
"""

import gzip
import os
from collections import deque
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.io import atomic

BEGIN = 1_704_067_200  # 2024-01-01 in UTC, a Monday
DAY = 86_400
CATEGORIES, FACTORS = 12, 4
VIEW, CART, PURCHASE, RETURN = range(4)
EVENTS = np.array(["view", "cart", "purchase", "return"], dtype=object)
DOUBLE_CLICK, CANCELLED, FREE = 1, 2, 3
SLIPS = np.array(["", "double click", "cancelled order", "free order"], dtype=object)
LETTERS, NO_DATE, CUT = 1, 2, 3  # what is wrong with a corrupt row
STAFF_NETWORK = "192.0.2.0/28"
N_STAFF = 4

# What random streams are for: a generator is default_rng([seed, purpose, number]).
CATALOGUE, IDS, TRAITS, CALENDAR, VISITS, CLUMSY, OTHERS, EXPORTS = range(8)

# Rows while they are made, as an int64 array of shape (9, n): ORDER is the second in which
# an order was placed, RETURNED that of its return, SLIP an index of SLIPS.
USER, ITEM, EVENT, SECOND, VALUE, ORDER, RETURNED, SLIP, MOBILE = range(9)

BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
    "Mozilla/5.0 (Macintosh) AppleWebKit/605.1 (KHTML, like Gecko) Version/17.2 Safari/605.1",
)
PHONES = (
    "Mozilla/5.0 (Android 14; Mobile; rv:121.0) Gecko/121.0 Firefox/121.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
)
DECLARED = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://google.com/bot.html)",
    "Twitterbot/1.0",
)


class _Habit(NamedTuple):
    """What a subtype of shoppers does; ``buys`` scales the chance that a viewed item is bought."""

    visits: float  # a day, on average
    views: float  # a visit, on average
    pace: float  # median seconds between two views
    buys: float
    pieces: float  # of an item that is bought, on average


HABITS = {
    "ordinary": _Habit(visits=0.04, views=5, pace=30, buys=1, pieces=1.2),
    "reader": _Habit(visits=0.98, views=10, pace=80, buys=0, pieces=1),
    "shift worker": _Habit(visits=1.2, views=2, pace=45, buys=0.3, pieces=1),
    "bargain hunter": _Habit(visits=0.3, views=25, pace=9, buys=0.05, pieces=1),
    "reseller": _Habit(visits=0.12, views=25, pace=3, buys=20, pieces=8),
}

CRAWLERS = ("catalogue", "scraper", "price watcher", "slow", "declared")


@dataclass(frozen=True)
class SimulatedStore:
    """A simulated log with its truth; whoever shows a number from it says that it is simulated.

    Attributes
    ----------
    description : str
        Two sentences for the reader.
    events : DataFrame
        What happened, in order of time: ``user_id``, ``item_id`` (str), ``value`` (pieces,
        float64), ``timestamp`` (UTC, whole seconds), ``event`` ("view", "cart", "purchase",
        "return"), ``order_id`` (str, missing for views and carts), ``price``, ``user_agent`` and
        ``address``.
    users : DataFrame
        The truth about each account in the log: index ``user_id``; ``kind`` ("shopper",
        "crawler", "staff"), ``subtype`` (of shoppers :data:`HABITS`, of crawlers
        :data:`CRAWLERS`) and ``events`` (how many).
    planted : DataFrame
        The truth about rows, one for each that does not belong in a clean log: ``kind``, ``file``
        and ``row`` (from 1, without the header) in the exports. "double click", "cancelled order"
        (purchase and return) and "free order" are in ``events``, too; "exact duplicate",
        "corrupt row" and "missing user" come on top of them, in the exports only.
    staff_users : list of str
        Accounts of the staff.
    staff_network : str
        Where the staff's addresses are, as CIDR.
    """

    description: str
    events: pd.DataFrame
    users: pd.DataFrame
    planted: pd.DataFrame
    staff_users: list[str]
    staff_network: str
    _rows: pd.DataFrame = field(repr=False)

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write one export a month, each in another dialect than the month before.

        Parameters
        ----------
        folder : str or path
            Made where it is missing. It may hold no other files, for these would be read as logs.

        Returns
        -------
        list of Path
            In order of time. The bytes depend on the arguments of the simulation and on the
            versions of the libraries only.

        Raises
        ------
        FileExistsError
            If the folder holds files that this store does not write.
        """
        folder, names = Path(folder), sorted(self._rows["file"].unique())
        others = sorted({path.name for path in folder.glob("*") if path.is_file()} - set(names))
        if others:
            raise FileExistsError(
                f"{folder} holds {others[0]}, which is no export of this store; choose an empty "
                "folder"
            )
        for name, rows in self._rows.groupby("file"):
            with atomic(folder / str(name)) as temporary:
                dialect = next(each for each in DIALECTS if str(name).endswith(each.suffix))
                temporary.write_bytes(_render(rows.reset_index(drop=True), dialect))
        return [folder / name for name in names]


def simulate_store(
    *,
    shoppers: int = 3_000,
    items: int = 800,
    days: int = 180,
    crawler_share: float = 0.05,
    dirt: bool = True,
    seed: int = 0,
) -> SimulatedStore:
    """Simulate a web store: shoppers, crawlers, staff and the dirt of its exports.

    Parameters
    ----------
    shoppers : int, from 1 to 100,000
        Accounts of people. Who never came within the days is not in the log.
    items : int, from 20 to 50,000
        Size of the catalogue.
    days : int, from 1 to 700
        Length of the log, which begins on 2024-01-01.
    crawler_share : float, from 0 to 0.8
        Rows of crawlers and staff as a share of the rows of ``events``. They come in whole visits,
        so up to 4 % of these rows can be missing. The rows of shoppers are the same for every
        share.
    dirt : bool
        Whether to plant double clicks, cancelled and free orders, exact duplicates, corrupt rows
        and rows without a user. All else is the same without: the orders are there, but good.
        Test orders of the staff are always there.
    seed : int, at least 0

    Returns
    -------
    SimulatedStore

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    A shopper has a taste for categories (Dirichlet) and for items in them (latent factors), a
    level of activity, an hour and weekdays, a browser and a phone. A viewed item is drawn from
    popularity times taste; it is bought with a probability that grows with the shopper's liking
    of it. Some purchases have no view (search, app), and some items are bought again.

    With the same seed, a shorter log is the beginning of a longer one, crawlers included.

    Examples
    --------
    >>> store = simulate_store(shoppers=50, days=30)
    >>> store.users.groupby("kind").size().to_dict()["staff"]
    4
    """
    for name, value, low, high in (
        ("shoppers", shoppers, 1, 100_000),
        ("items", items, 20, 50_000),
        ("days", days, 1, 700),
        ("seed", seed, 0, 2**63),
    ):
        if not isinstance(value, Integral) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r}, expected a whole number from {low} to {high:,}")
    if not isinstance(crawler_share, Real) or not 0 <= crawler_share <= 0.8:
        raise ValueError(f"crawler_share is {crawler_share!r}, expected a number from 0 to 0.8")
    shop = _Shop(items, seed)
    people = [_shopper(shop, number, days, seed) for number in range(shoppers)]
    made = _joined([person.rows for person in people], days, dirt)
    # A double click in the very second of another view cannot be told from it.
    key = ((made[USER] * items + made[ITEM]) * len(EVENTS) + made[EVENT]) * days * DAY
    made = made[:, np.sort(np.unique(key + made[SECOND], return_index=True)[1])]
    ratio = crawler_share / (1 - crawler_share)
    others = _others(shop, np.bincount(made[SECOND] // DAY, minlength=days), ratio, seed)
    accounts = pd.DataFrame([each[:4] for each in people + others], columns=_Account._fields[:4])
    # Ids are dealt from both ends, so that crawlers do not move those of shoppers.
    codes = 100_000 + np.random.default_rng([seed, IDS]).permutation(900_000)
    accounts["user_id"] = np.r_[codes[:shoppers], codes[::-1][: len(others)]].astype(str)
    came = _joined([other.rows for other in others], days, True)
    came[USER] += shoppers
    parts = [_events(rows, accounts, shop) for rows in (made, came)]
    order = ["timestamp", "user_id"]
    events = pd.concat(parts).sort_values(order, kind="stable", ignore_index=True)
    if dirt:
        # Crawlers have a stream of their own, so that shoppers' dirt does not depend on them.
        parts = [_soiled(part, [seed, EXPORTS, number]) for number, part in enumerate(parts)]
    rows = pd.concat(parts).sort_values(order, kind="stable", ignore_index=True)
    rows["file"] = _files(rows["timestamp"])
    rows["row"] = rows.groupby("file").cumcount() + 1
    users = accounts.set_index("user_id")[["kind", "subtype"]]
    users = users.join(events["user_id"].value_counts().rename("events"), how="inner").sort_index()
    return SimulatedStore(
        description=(
            f"This is a simulated store (seed {seed}): all its {len(events):,} events are made up "
            "from latent preferences. No number from it is a fact about a real store."
        ),
        events=events.drop(columns=["kind", "damage"]),
        users=users,
        planted=rows.loc[rows["kind"] != "", ["kind", "file", "row"]].reset_index(drop=True),
        staff_users=users.index[users["kind"] == "staff"].tolist(),
        staff_network=STAFF_NETWORK,
        _rows=rows,
    )


class _Shop:
    """The catalogue: category, price, popularity and latent factors of each item."""

    def __init__(self, items: int, seed: int) -> None:
        rng = np.random.default_rng([seed, CATALOGUE])
        self.category = rng.integers(CATEGORIES, size=items)
        median = rng.lognormal(np.log(18), 0.5, CATEGORIES)
        self.price = np.round(median[self.category] * rng.lognormal(0, 0.6, items) + 0.5, 2)
        self.popularity = 1 / (10 + rng.permutation(items))  # as Zipf's law has it
        self.factors = rng.normal(0, 0.5, (items, FACTORS))
        self.item_id = np.array([f"P{10_000 + 7 * i}" for i in range(items)], dtype=object)


class _Account(NamedTuple):
    """Who it is, the user agents and addresses (at home, on the move), and all its rows."""

    kind: str
    subtype: str
    agents: tuple[str, str]
    addresses: tuple[str, str]
    rows: list[np.ndarray]


def _rows(
    user: int, item: np.ndarray, event: int, second: np.ndarray, mobile: int = 0
) -> np.ndarray:
    """Rows of one event."""
    rows = np.zeros((9, len(item)), dtype=np.int64)
    rows[USER], rows[ITEM], rows[EVENT], rows[SECOND], rows[VALUE] = user, item, event, second, 1
    rows[MOBILE] = mobile
    return rows


def _shopper(shop: _Shop, number: int, days: int, seed: int) -> _Account:
    """One shopper's whole life, visit by visit."""
    traits, calendar, rng, clumsy = (
        np.random.default_rng([seed, purpose, number])
        for purpose in (TRAITS, CALENDAR, VISITS, CLUMSY)
    )
    # One shopper in 40 has one of the other subtypes, in turn.
    hard = number % 40 == 0
    subtype = list(HABITS)[1 + number // 40 % 4] if hard else "ordinary"
    habit = HABITS[subtype]
    taste = traits.dirichlet(np.full(CATEGORIES, 0.3)) + 0.003
    own = shop.factors @ traits.normal(size=FACTORS)
    cheap = shop.price**-1.5 if subtype == "bargain hunter" else 1
    weight = shop.popularity * taste[shop.category] * np.exp(own) * cheap
    reach = np.cumsum(weight / weight.sum())
    # People differ in how easily they buy: most of those who look do not.
    liking = 0.5 * np.log(CATEGORIES * taste[shop.category]) + own
    logit = liking - 0.3 * np.log(shop.price / 20) + traits.normal(0, 1.2) - 5.2
    chance = np.minimum(habit.buys / (1 + np.exp(-logit)), 0.9)
    hour = 20.0 if subtype == "reader" else float(traits.triangular(6, 19, 26))
    activity, weekday = traits.lognormal(0, 0.9), traits.dirichlet(np.full(7, 2.0)) * 7
    rate = habit.visits * (np.ones(days) if hard else activity * weekday[np.arange(days) % 7])
    carrier = f"100.64.0.{traits.integers(1, 64)}"
    own_line = "10." + ".".join(map(str, traits.integers(1, 255, 3)))
    home = carrier if traits.random() < 0.15 else own_line
    agents = BROWSERS[traits.integers(len(BROWSERS))], PHONES[traits.integers(len(PHONES))]
    rows: list[np.ndarray] = []
    seen, owned = np.zeros(0, np.int64), np.zeros(0, np.int64)
    free_from = 0
    for day in np.repeat(np.arange(days), np.floor(rate + calendar.random(days)).astype(int)):
        clock = (hour + rng.normal(0, 24 if subtype == "shift worker" else 1.5)) % 24
        n = 10 if subtype == "reader" else min(int(rng.geometric(1 / habit.views)), 120)
        item = np.minimum(reach.searchsorted(rng.random(n)), len(shop.price) - 1)
        # People come back to what they looked at lately, and to what they have bought.
        for earlier, share in ((seen, 0.15), (owned, 0.03)):
            if len(earlier):
                back = earlier[rng.integers(len(earlier), size=n)]
                item = np.where(rng.random(n) < share, back, item)
        gap = 1 + rng.lognormal(np.log(habit.pace), 0.9, n).astype(np.int64)
        begin = max(day * DAY + int(clock * 3600), free_from)
        second = begin + np.minimum(gap, 1500).cumsum()
        free_from = int(second[-1]) + 1800  # one visit after the other
        mobile = int(rng.random() < 0.25)
        in_app = rng.random() < 0.08 and not hard
        taken = _taken(rng, chance[item] * (8 if in_app else 1), int(day))
        if not in_app:  # the app sends no views
            # A page is opened again within seconds or minutes, for a picture or the size.
            again = rng.random(n) < 0.04
            later = second[again] + 1 + rng.lognormal(2.7, 1.1, again.sum()).astype(np.int64)
            twice = clumsy.random(n) < 0.006
            close = second[twice] + 1 + clumsy.exponential(0.45, twice.sum()).astype(np.int64)
            viewed = np.concatenate([item, item[again], item[twice]])
            views = _rows(number, viewed, VIEW, np.concatenate([second, later, close]), mobile)
            views[SLIP, len(item) + len(later) :] = DOUBLE_CLICK
            rows.append(views)
            seen = np.concatenate([seen, item])[-60:]
        if taken.any():
            cart, first = np.unique(item[taken], return_index=True)
            rows.append(_rows(number, cart, CART, second[taken][first] + 3, mobile))
            placed = int(second[-1] + 20 + rng.exponential(90))
            order = _rows(number, cart, PURCHASE, np.full(len(cart), placed), mobile)
            order[ORDER] = placed
            order[VALUE] += rng.poisson(habit.pieces - 1, len(cart))
            fate, wait = clumsy.random(), clumsy.exponential(3 * DAY)
            order[RETURNED] = placed + 600 + int(wait) if fate < 0.05 else 0
            order[SLIP] = FREE if 0.05 <= fate < 0.07 else 0
            if rng.random() < 0.6:
                rows.append(order)
                owned = np.concatenate([owned, cart])
    return _Account("shopper", subtype, agents, (home, carrier), rows)


def _taken(rng: np.random.Generator, chance: np.ndarray, day: int) -> np.ndarray:
    """Which items of a visit go into the cart; people buy more easily after payday."""
    return np.less(rng.random(len(chance)), chance * (1.2 if day % 30 >= 25 else 1.0))


class _Crawler:
    """A crawler: the habits of its subtype, drawn for this account, and where it stands."""

    def __init__(self, shop: _Shop, number: int, seed: int) -> None:
        self.number, self.rng = number, np.random.default_rng([seed, OTHERS, number])
        subtype = CRAWLERS[number % len(CRAWLERS)]
        declared = subtype == "declared"
        agent = str(self.rng.choice(DECLARED if declared else BROWSERS))
        # Some of those in disguise hide behind a private line.
        network = "198.51.100" if declared or self.rng.random() < 0.5 else "10.77.0"
        address = f"{network}.{1 + number % 254}"
        self.account = _Account("crawler", subtype, (agent, agent), (address, address), [])
        # Views on a day on which it comes, the days left to come, where it stands on its path.
        self.size = int(self.rng.integers(*(10, 60) if declared else (80, 300)))
        self.days_left = int(self.rng.integers(1, 6))
        self.at = int(self.rng.integers(len(shop.price)))
        n = len(shop.price)
        path = np.arange(n) if subtype == "catalogue" else self.rng.permutation(n)
        self.path = path[: self.rng.integers(5, 20)] if subtype == "price watcher" else path

    def come(self, day: int, n: int) -> None:
        """Make ``n`` views on a day."""
        rng, subtype = self.rng, self.account.subtype
        if subtype == "slow":
            gap = rng.uniform(0.3, 1.7, n)
            offset = gap.cumsum() / (gap.sum() + 1) * DAY
        elif subtype == "declared":
            offset = np.sort(rng.choice(DAY, n, replace=False))
        elif subtype == "price watcher":
            rounds = -(-n // len(self.path))
            begin = (np.arange(rounds) + rng.uniform(0, 0.3)) * (DAY / rounds)
            steps = 4 * np.arange(len(self.path)) + rng.uniform(0, 1, (rounds, len(self.path)))
            offset = (begin[:, None] + steps).ravel()[:n]
        else:
            regular = rng.uniform(0.9, 1.1, n) * rng.uniform(4, 15)
            gap = regular if subtype == "catalogue" else rng.exponential(0.7, n)
            offset = rng.uniform(0, DAY - gap.sum() - 60) + gap.cumsum()
        item = self.path[(self.at + np.arange(n)) % len(self.path)]
        self.at += n
        self.days_left -= 1
        self.account.rows.append(_rows(self.number, item, VIEW, day * DAY + offset.astype(int)))


def _work(shop: _Shop, number: int, day: int, n: int, seed: int) -> np.ndarray:
    """Rows of a working day of the staff: views of anything, and now and then a test order."""
    rng = np.random.default_rng([seed, OTHERS, number, day])
    second = day * DAY + np.sort(8 * 3600 + rng.choice(10 * 3600, n, replace=False))
    rows = _rows(number, rng.integers(len(shop.price), size=n), VIEW, second)
    if n >= 6 and rng.random() < 0.5:
        cancelled = rng.random() < 0.6
        rows = rows[:, : n - cancelled]  # its return will be a row, too
        rows[ITEM, -2], rows[EVENT, -2:] = rows[ITEM, -1], (CART, PURCHASE)
        rows[ORDER, -1] = rows[SECOND, -1]
        field, value = (RETURNED, rows[SECOND, -1] + 1200) if cancelled else (SLIP, FREE)
        rows[field, -1] = value
    return rows


def _others(shop: _Shop, daily: np.ndarray, ratio: float, seed: int) -> list[_Account]:
    """Staff and crawlers, day by day: as many rows as the shoppers' rows until that day allow."""
    staff = [
        _Account("staff", "staff", BROWSERS[:2], (f"192.0.2.{n + 1}",) * 2, [])
        for n in range(N_STAFF)
    ]
    crawlers: list[_Crawler] = []
    waiting: deque[_Crawler] = deque()
    made = worked = 0
    for day, allowed in enumerate((np.cumsum(daily) * ratio).astype(int).tolist()):
        n, who = min(allowed // 8 - worked, 150), day % N_STAFF
        if day % 7 < 5 and n > 0:
            staff[who].rows.append(_work(shop, who, day, n, seed))
            worked, made = worked + n, made + n
        done: list[_Crawler] = []
        while True:
            while not waiting or len(waiting) + len(done) < len(CRAWLERS):
                crawlers.append(_Crawler(shop, N_STAFF + len(crawlers), seed))
                waiting.append(crawlers[-1])
            n = min(waiting[0].size, allowed - made)
            # A visit is whole, unless to wait for it would lower the crawlers' share by much.
            if n < max(1, min(waiting[0].size, allowed / 30)):
                break
            crawler = waiting.popleft()
            crawler.come(day, n)
            made += n
            if crawler.days_left:
                done.append(crawler)
        waiting.extend(done)
    return staff + [crawler.account for crawler in crawlers]


def _joined(rows: list[list[np.ndarray]], days: int, dirt: bool) -> np.ndarray:
    """All rows within the days, with the returns; without slips if no dirt is wanted."""
    empty = np.zeros((9, 0), np.int64)
    joined = np.concatenate([empty, *(each for account in rows for each in account)], axis=1)
    joined = joined[:, joined[SECOND] < days * DAY]
    if not dirt:
        joined = joined[:, joined[SLIP] != DOUBLE_CLICK]
        joined[SLIP] = joined[RETURNED] = 0
    # An order that is returned after the end of the log is a good one in it.
    cancelled = (joined[RETURNED] > 0) & (joined[RETURNED] < days * DAY)
    joined[SLIP, cancelled] = CANCELLED
    back = joined[:, cancelled]
    back[EVENT], back[SECOND] = RETURN, back[RETURNED]
    order = np.argsort(joined[SLIP] == DOUBLE_CLICK, kind="stable")
    return np.concatenate([joined[:, order], back], axis=1)


def _events(rows: np.ndarray, accounts: pd.DataFrame, shop: _Shop) -> pd.DataFrame:
    """The tidy frame of rows, in order of time, with the ``kind`` of dirt."""
    user_id = accounts["user_id"].take(rows[USER]).reset_index(drop=True)
    agents, addresses = (
        np.array(accounts[name].tolist(), dtype=object)[rows[USER], rows[MOBILE]]
        for name in ("agents", "addresses")
    )
    order = pd.Series(rows[ORDER] + BEGIN).astype("str") + "-" + user_id
    frame = pd.DataFrame(
        {
            "user_id": user_id.astype("str"),
            "item_id": pd.Series(shop.item_id[rows[ITEM]], dtype="str"),
            "value": rows[VALUE].astype(np.float64),
            "timestamp": pd.to_datetime(rows[SECOND] + BEGIN, unit="s", utc=True).as_unit("ns"),
            "event": pd.Series(EVENTS[rows[EVENT]], dtype="str"),
            "order_id": order.where(rows[ORDER] > 0).astype("str"),
            "price": np.where(rows[SLIP] == FREE, 0.0, shop.price[rows[ITEM]]),
            "user_agent": pd.Series(agents, dtype="str"),
            "address": pd.Series(addresses, dtype="str"),
            "kind": pd.Series(SLIPS[rows[SLIP]], dtype="str"),
            "damage": 0,
        }
    )
    return frame.sort_values(["timestamp", "user_id"], kind="stable", ignore_index=True)


def _soiled(events: pd.DataFrame, stream: list[int]) -> pd.DataFrame:
    """The events and what goes wrong in an export: copies, and broken copies of views."""
    draw, damage = np.random.default_rng(stream).random((len(events), 2)).T
    is_view = events["event"] == "view"
    broken = is_view & (draw >= 0.004) & (draw < 0.0065)
    copies = [
        events[draw < 0.004].assign(kind="exact duplicate"),
        events[broken].assign(kind="corrupt row", damage=1 + (3 * damage[broken]).astype(int)),
        events[is_view & (draw >= 0.0065) & (draw < 0.0095)].assign(kind="missing user"),
    ]
    copies[2]["user_id"] = pd.Series(None, copies[2].index, dtype="str")
    soiled: pd.DataFrame = pd.concat([events, *copies])
    return soiled


def _files(times: pd.Series) -> pd.Series:
    """The file of each row: one a month, its dialect told by the suffix."""
    months = times.dt.normalize() - pd.to_timedelta(times.dt.day - 1, unit="D")
    files = {}
    for number, (month, last) in enumerate(times.dt.day.groupby(months).max().items()):
        # Days up to 12 could be read as months: such a short month is written as the first is.
        files[month] = f"events-{month:%Y-%m}{DIALECTS[number % 4 if last > 12 else 0].suffix}"
    return pd.Series(months.map(files), dtype="str")


class _Dialect(NamedTuple):
    """How an export is written: ``columns`` are pairs name=column, in the order of the file."""

    suffix: str
    columns: str
    time: str  # a format, "ms" since 1970, or "typed"
    separator: str = ","


DIALECTS = (
    _Dialect(
        ".csv",
        "user_id=user_id item_id=item_id event=event timestamp=timestamp value=quantity "
        "price=price order_id=order_id address=ip user_agent=user_agent",
        time="%Y-%m-%dT%H:%M:%SZ",
    ),
    _Dialect(
        ".txt",
        "timestamp=InvoiceDate event=Event shop=Händler user_id=CustomerID item_id=StockCode "
        "value=Quantity price=UnitPrice order_id=InvoiceNo user_agent=UserAgent address=IP",
        time="%d.%m.%Y %H:%M:%S",
        separator=";",
    ),
    _Dialect(
        ".tsv.gz",
        "timestamp=ts user_id=visitorid event=eventType item_id=itemid price=price value=qty "
        "order_id=transactionid address=ip_address user_agent=agent",
        time="ms",
        separator="\t",
    ),
    _Dialect(
        ".parquet",
        "event=action timestamp=event_time item_id=product_id user_id=userId order_id=order "
        "price=unit_price value=count user_agent=user_agent address=address",
        time="typed",
    ),
)


def _render(rows: pd.DataFrame, dialect: _Dialect) -> bytes:
    """The content of one export."""
    columns, damage = dict(pair.split("=") for pair in dialect.columns.split()), rows["damage"]
    if dialect.time == "typed":  # where the only corrupt rows are those without a time
        rows["timestamp"] = rows["timestamp"].dt.as_unit("ms").mask(damage > 0)
        content: bytes = rows[list(columns)].rename(columns=columns).to_parquet(index=False)
        return content
    if dialect.time == "ms":
        time = (rows["timestamp"].astype("int64") // 1_000_000).astype("str")
    else:
        time = rows["timestamp"].dt.strftime(dialect.time).astype("str")
    price = pd.Series([f"{each:.2f}" for each in rows["price"]], dtype="str")
    table = rows.assign(
        timestamp=time.mask(damage == NO_DATE, "31.02.2024 25:61:00"),
        event=rows["event"].str.upper() if dialect.separator == ";" else rows["event"],
        value=rows["value"].astype("int64").astype("str").mask(damage == LETTERS, "two"),
        price=price.str.replace(".", "," if dialect.separator == ";" else "."),
        shop="Müller & Söhne",
    )[list(columns)].rename(columns=columns)
    lines = table.to_csv(index=False, sep=dialect.separator, lineterminator="\n").splitlines()
    for row in np.flatnonzero(damage == CUT):
        lines[row + 1] = dialect.separator.join(table.iloc[row].tolist()[:3])
    text = ("\n".join(lines) + "\n").encode("latin-1")
    return gzip.compress(text, mtime=0) if dialect.suffix.endswith(".gz") else text
