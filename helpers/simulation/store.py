"""A simulated store around real purchases, and the truth about everybody in it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import io
from helpers.simulation import bots, dirt, exports, identity, people
from helpers.simulation.world import EVENTS, PURCHASE, World, checked, clicks, spaced

EVENT_COLUMNS = (
    *("user_id", "item_id", "value", "timestamp", "event", "order_id", "price"),
    *("country", "title", "user_agent", "address"),
)
"""Columns of :attr:`SimulatedStore.events`, in this order."""


@dataclass(frozen=True)
class SimulatedStore:
    """A simulated log around real purchases; never to be shown as a real one.

    Attributes
    ----------
    description : str
        What is real in it and what is simulated, for whoever shows a number of it.
    purchases : DataFrame
        The real purchases that are in the log, as they were given.
    events : DataFrame
        Everything that happened, before dirt came in: the columns :data:`EVENT_COLUMNS`, sorted
        by time. A cancellation is a purchase with ``C`` before the order and a negative value.
    users : DataFrame
        The truth about each user of the log: index ``user_id``; ``kind`` ("customer", "visitor",
        "staff", "declared crawler", "disguised crawler"), ``sort`` (which of that kind, such as
        "heavy buyer" or "slow crawl") and ``events`` (how many).
    truth : DataFrame
        One row for everything that was planted: ``kind``, ``sort``, ``user_id``, ``file``, ``row``
        (from 1, without the header). Users have no file; the kinds of rows are "exact duplicate",
        "near duplicate", "corrupt row", "missing user", "cancelled order" and "free order".
    layout : dict of str to int
        The export files with their numbers of data rows.
    """

    description: str
    purchases: pd.DataFrame
    events: pd.DataFrame
    users: pd.DataFrame
    truth: pd.DataFrame
    layout: dict[str, int]
    _rows: pd.DataFrame = field(repr=False)
    _dialects: dict[str, exports.Dialect] = field(repr=False)

    def write(self, folder: str | os.PathLike[str], *, replace: bool = False) -> list[Path]:
        """Write the monthly exports, and the truth into the sub-folder ``truth``.

        Parameters
        ----------
        folder : str or path
            Made where it is missing; files of the same names are replaced.
        replace : bool
            Whether exports of another simulation in that folder are deleted first.

        Returns
        -------
        list of Path
            The exports in order of time, without the truth.

        Raises
        ------
        FileExistsError
            If the folder holds exports of another simulation, which would be read with these.

        Notes
        -----
        The bytes depend on the arguments of the simulation and the version of the libraries only.
        """
        folder = Path(folder)
        foreign = sorted({path.name for path in folder.glob("events-*")} - set(self.layout))
        for other in foreign if replace else ():
            (folder / other).unlink()
        if foreign and not replace:
            raise FileExistsError(
                f"{folder} holds {', '.join(foreign[:3])}, which this simulation does not write; "
                "choose an empty folder, or delete the exports of the other simulation first"
            )
        paths = []
        for name, rows in self._rows.groupby("file", sort=True):
            content = exports.render(rows, self._dialects[str(name)])
            with io.atomic(folder / str(name)) as temporary:
                temporary.write_bytes(content)
            paths.append(folder / str(name))
        tables = {"users": self.users.reset_index(), "planted": self.truth}
        for name, table in tables.items():
            with io.atomic(folder / "truth" / f"{name}.parquet") as temporary:
                table.to_parquet(temporary, index=False)
        return paths


def as_purchases(events: pd.DataFrame) -> pd.DataFrame:
    """The purchases of any log in the form that :func:`simulate_store` wraps.

    Parameters
    ----------
    events : DataFrame
        An events frame, clean. Without any purchase in it, all its events count as purchases.

    Returns
    -------
    DataFrame
        Times in whole seconds; where the log knows no orders, what a user buys in one second is
        one; where it knows no prices, all are 1.

    Examples
    --------
    >>> ratings = pd.DataFrame({
    ...     "user_id": ["7", "7"], "item_id": ["a", "b"], "value": [4.0, 2.0],
    ...     "timestamp": pd.to_datetime(["2011-01-03 10:00"] * 2, utc=True), "event": "rating"})
    >>> as_purchases(ratings)[["item_id", "order_id", "price"]].values.tolist()
    [['a', '7-1294048800', 1.0], ['b', '7-1294048800', 1.0]]
    """
    if "timestamp" not in events:
        raise ValueError("events has no times; orders, sessions and a split in time need them")
    bought = events[events["event"] == "purchase"]
    lines = (events if bought.empty else bought).reset_index(drop=True)
    lines = lines.assign(event="purchase", timestamp=lines["timestamp"].dt.floor("s"))
    second = lines["timestamp"].dt.as_unit("s").astype("int64")
    order = lines["user_id"] + "-" + second.astype("str")
    known = lines["order_id"] if "order_id" in lines else pd.Series(None, lines.index, dtype="str")
    price = lines["price"] if "price" in lines else pd.Series(np.nan, lines.index)
    return lines.assign(order_id=known.fillna(order), price=price.fillna(1.0))


def simulate_store(
    purchases: pd.DataFrame,
    *,
    customers: int | None = 800,
    visitors_per_customer: float = 4.0,
    declared: int = 24,
    disguised: int = 66,
    staff: int = 12,
    dirt_shares: Mapping[str, float] | None = None,
    seed: int = 0,
) -> SimulatedStore:
    """Wrap real purchases in a simulated log of a web store: sessions, crawlers, staff and dirt.

    Parameters
    ----------
    purchases : DataFrame
        Real, clean purchases: ``user_id``, ``item_id`` and ``order_id`` (str), ``value`` and
        ``price`` (above 0), ``timestamp`` (UTC, whole seconds); ``country`` and ``title`` if known.
    customers : int or None
        How many customers to take, by a seeded draw; None, or more than there are, for all.
    visitors_per_customer : float, at least 0
        People who look and never buy, for each customer.
    declared, disguised : int, at least 0
        Crawlers whose user agent says so, and those with the user agent of a browser.
    staff : int, at least 0
        Accounts of the store's own people.
    dirt_shares : mapping of str to float, optional
        Planted rows as a share of all: replaces single entries of :data:`dirt.SHARES`.
    seed : int, at least 0
        Equal arguments give equal bytes. Each part has a generator of its own, so that more
        crawlers, say, leave the people as they are.

    Returns
    -------
    SimulatedStore

    Raises
    ------
    ValueError
        If a column is missing, a value in it is unusable, or a number is out of range.

    Notes
    -----
    **Simulated** are all views, carts, visitors, crawlers, staff, cancellations, addresses, user
    agents and dirt; **real** are the purchases: their rows are those given, unchanged. So a measure
    on the log says how a method fares with plants of this make, not how a real store's look. Shares
    such as the conversion follow from the arguments and mean nothing.

    Meant to be hard: wholesalers with hundreds of lines in an order (real ones), night owls,
    bargain hunters who open hundreds of pages, people who double-click; crawlers with jitter, with
    sleep, with human gaps, in small slices over several accounts; staff who never use the address
    of the office, and customers who cancel, too.

    Examples
    --------
    >>> made_up = pd.DataFrame({
    ...     "user_id": ["7", "8"], "item_id": ["a", "b"], "value": [1.0, 2.0],
    ...     "timestamp": pd.to_datetime(["2011-01-03 10:00", "2011-03-04 11:00"], utc=True),
    ...     "order_id": ["536", "537"], "price": [2.5, 1.0]})
    >>> store = simulate_store(made_up, visitors_per_customer=2, declared=1, disguised=1, staff=1)
    >>> store.users["kind"].value_counts().sort_index().to_dict()
    {'customer': 2, 'declared crawler': 1, 'disguised crawler': 1, 'staff': 1, 'visitor': 4}
    """
    purchases = checked(purchases)
    numbers = {"declared": declared, "disguised": disguised, "staff": staff, "seed": seed}
    for name, number in {**numbers, "visitors_per_customer": visitors_per_customer}.items():
        if not (number >= 0 and np.isfinite(number)):
            raise ValueError(f"{name} is {number}, expected a number of at least 0")
    chosen = _sample(purchases, customers, np.random.default_rng([seed, 0]))
    world = World.from_purchases(purchases, chosen)
    n_visitors = round(visitors_per_customer * len(world.customers))
    generators = [np.random.default_rng([seed, part]) for part in range(1, 9)]
    parts = {
        "customer": people.customers(world, generators[0]),
        "visitor": people.visitors(world, generators[1], n_visitors),
        "declared crawler": bots.crawlers(world, generators[2], declared, bots.DECLARED),
        "disguised crawler": bots.crawlers(world, generators[3], disguised, bots.DISGUISED),
        "staff": people.staff(world, generators[4], staff),
    }
    users = _users(world, parts, generators[5], purchases["user_id"])
    events = _events(world, parts, users, chosen, generators[6])
    users = users.assign(
        events=events["user_id"].value_counts().reindex(users["user_id"], fill_value=0).to_numpy()
    )
    users = users[users["events"] > 0].set_index("user_id")[["kind", "sort", "events"]].sort_index()
    rows = dirt.plant(events, users, generators[7], dirt_shares)
    rows, dialects = exports.arrange(rows)
    return SimulatedStore(
        description=(
            f"Simulated log around {len(chosen):,} real purchase lines of {len(world.customers):,} "
            f"customers (seed {seed}): the purchases are real, everything else (views, carts, "
            "visitors, crawlers, staff, dirt) is made up."
        ),
        purchases=chosen,
        events=events[list(EVENT_COLUMNS)],
        users=users,
        truth=_truth(users, rows),
        layout={str(name): len(part) for name, part in rows.groupby("file", sort=True)},
        _rows=rows,
        _dialects=dialects,
    )


def _sample(
    purchases: pd.DataFrame, customers: int | None, rng: np.random.Generator
) -> pd.DataFrame:
    if customers is not None and customers < 1:
        raise ValueError(f"customers is {customers}, expected at least 1, or None for all")
    everybody = np.sort(purchases["user_id"].unique())
    if customers is not None and customers < len(everybody):
        everybody = rng.choice(everybody, size=customers, replace=False)
    chosen = purchases[purchases["user_id"].isin(everybody)]
    return chosen.sort_values(["timestamp", "user_id", "item_id"], kind="stable").reset_index(
        drop=True
    )


def _users(
    world: World, parts: dict[str, people.Part], rng: np.random.Generator, taken: pd.Series
) -> pd.DataFrame:
    """All users in the order of the parts: ``user_id``, ``kind``, ``sort``."""
    sorts = np.concatenate([part.sorts for part in parts.values()])
    fresh = identity.new_ids(pd.Index(taken.unique()), rng, len(sorts) - len(world.customers))
    return pd.DataFrame(
        {
            "user_id": np.r_[world.customers, fresh],
            "kind": np.repeat(list(parts), [len(part.sorts) for part in parts.values()]),
            "sort": sorts,
        }
    )


def _events(
    world: World,
    parts: dict[str, people.Part],
    users: pd.DataFrame,
    chosen: pd.DataFrame,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """All events with the positions replaced by what they stand for, and what was planted."""
    first = np.cumsum([0, *(len(part.sorts) for part in parts.values())])
    moved = [
        (part.clicks.assign(user=part.clicks["user"] + by), part.orders.assign(by=by))
        for part, by in zip(parts.values(), first[:-1].tolist(), strict=True)
    ]
    seen = spaced(pd.concat([part for part, _ in moved]))
    seen = seen.assign(value=1.0, price=world.items["price"].to_numpy()[seen["item"]])
    real = clicks(world.lines["user"], world.lines["item"], PURCHASE, world.lines["second"])
    real = real.assign(value=chosen["value"], price=chosen["price"], order_id=chosen["order_id"])
    made_up = _order_lines([part for _, part in moved], chosen["order_id"])
    frame = pd.concat([seen, real, made_up], ignore_index=True)
    # The order of ids in the log says nothing about the kind of their owner.
    frame["user_id"] = users["user_id"].to_numpy()[frame["user"]]
    frame = frame.sort_values(["second", "user_id", "item", "event"], kind="stable")
    user, item = frame["user"].to_numpy(), frame["item"].to_numpy()
    agent, address = identity.devices(users, rng)
    device = identity.device_of(user, frame["second"].to_numpy(), rng)
    homes = chosen.groupby("user_id", sort=True)["country"].first()
    strangers = rng.choice(homes.to_numpy(dtype=object), size=len(users) - len(homes))
    country = pd.Series(np.r_[homes.to_numpy(dtype=object), strangers][user], index=frame.index)
    title = pd.Series(world.items["title"].to_numpy(dtype=object)[item], index=frame.index)
    # A purchase keeps the country and the title of its own row.
    is_real = pd.Series(frame.index - len(seen), index=frame.index)
    is_real = is_real[(is_real >= 0) & (is_real < len(real))]
    for column, name in ((country, "country"), (title, "title")):
        column.loc[is_real.index] = chosen[name].to_numpy(dtype=object)[is_real]
    return pd.DataFrame(
        {
            "user_id": frame["user_id"].astype("str"),
            "item_id": pd.Series(world.items["item_id"].to_numpy()[item], frame.index, dtype="str"),
            "value": frame["value"],
            "timestamp": pd.to_datetime(frame["second"], unit="s", utc=True).dt.as_unit("ns"),
            "event": pd.Series(EVENTS[frame["event"]], frame.index, dtype="str"),
            "order_id": frame["order_id"].astype("str"),
            "price": frame["price"],
            "country": country.astype("str"),
            "title": title.astype("str"),
            "user_agent": pd.Series(agent[user, device], frame.index, dtype="str"),
            "address": pd.Series(address[user, device], frame.index, dtype="str"),
            "kind": frame["kind"].fillna("").astype("str"),
            "sort": frame["sort"].fillna("").astype("str"),
        }
    ).reset_index(drop=True)


def _order_lines(parts: list[pd.DataFrame], order_ids: pd.Series) -> pd.DataFrame:
    """The made-up orders and their cancellations, as events with a kind and a sort."""
    lines = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    numbers = pd.to_numeric(order_ids, errors="coerce").max()
    free_number = int(numbers) + 1 if np.isfinite(numbers) else 1
    lines["user"] += lines["by"]
    # Numbered as they come in, so that the number of an order does not tell who made it.
    key = pd.MultiIndex.from_frame(lines[["second", "user", "order"]])
    number = pd.Series(key.factorize(sort=True)[0] + free_number, dtype="int64").astype("str")
    bought = lines.assign(
        event=PURCHASE,
        value=lines["quantity"],
        order_id=number,
        kind=np.where(lines["cancelled"] >= 0, "cancelled order", "free order"),
        sort="purchase",
    )
    back = bought[bought["cancelled"] >= 0]
    back = back.assign(
        second=back["cancelled"],
        value=-back["value"],
        order_id="C" + back["order_id"],
        sort="cancellation",
    )
    names = ["user", "item", "event", "second", "value", "price", "order_id", "kind", "sort"]
    return pd.concat([bought, back], ignore_index=True)[names]


def _truth(users: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    names = ["kind", "sort", "user_id", "file", "row"]
    planted = rows.loc[rows["kind"] != "", names].sort_values(["file", "row"])
    people = users.reset_index().reindex(columns=names)
    people["file"] = people["file"].astype("str")
    truth = pd.concat([people, planted], ignore_index=True)
    return truth.astype({"row": "Int64", "kind": "str", "sort": "str", "file": "str"})
