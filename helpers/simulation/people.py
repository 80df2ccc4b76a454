"""The people of the simulated store: customers, visitors who never buy, and staff."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.simulation.world import (
    CART,
    DAY,
    NIGHT,
    REMOVE,
    VIEW,
    World,
    clicks,
    restart_sum,
    walk,
)

SORTS = {"ordinary": 0.87, "night owl": 0.05, "bargain hunter": 0.03, "double-clicker": 0.05}
"""Sorts of customers and visitors, with their shares."""

HEAVY_LINES = 100
"""A customer with an order of so many lines is a heavy buyer; that is found, not drawn."""

STAFF_ROLES = ("merchandiser", "service desk", "tester", "merchandiser", "service desk")
"""Jobs of the staff accounts, in turn."""


@dataclass(frozen=True)
class Part:
    """What a group of users did.

    Attributes
    ----------
    clicks : DataFrame
        ``user`` (position in the group), ``item``, ``event``, ``second``: views and carts.
    sorts : object ndarray of shape (n_users,)
    orders : DataFrame
        Made-up orders, one line a row: ``user``, ``item``, ``second``, ``quantity``, ``price``,
        ``order`` (whole number) and ``cancelled`` (second of the cancellation; -1 where the order
        stands).
    """

    clicks: pd.DataFrame
    sorts: np.ndarray
    orders: pd.DataFrame


def customers(world: World, rng: np.random.Generator) -> Part:
    """The clicks around the real orders, visits without an order, some orders that are cancelled.

    Notes
    -----
    Before each order its lines are viewed and put into the cart, with a few views that lead
    nowhere. Large orders are entered faster and with fewer views, as from a list; they would
    otherwise take a day. Half of the other visits are in the week before an order.
    """
    n = len(world.customers)
    sorts = _sorts(rng, n)
    largest = world.lines.groupby(["user", "order"]).size().groupby("user").max()
    sorts[(largest >= HEAVY_LINES).to_numpy()] = "heavy buyer"
    lead = _before_orders(world, rng)
    visit_user = np.repeat(np.arange(n), rng.poisson(4, n))
    own_line = world.line_of("user", rng, visit_user)
    order_day = (world.lines["second"].to_numpy()[own_line] - world.start) // DAY
    near = order_day - np.ceil(rng.exponential(4, len(visit_user))).astype(np.int64)
    anywhere = rng.integers(world.days, size=len(visit_user))
    day = np.where((rng.random(len(visit_user)) < 0.5) & (near >= 0), near, anywhere)
    browsing = _browse(world, rng, visit_user, day, sorts, taste=np.arange(n), carts=0.06)
    cancelled_clicks, orders = _cancelled_orders(world, rng, rng.permutation(n)[: round(0.08 * n)])
    return Part(pd.concat([lead, browsing, cancelled_clicks]), sorts, orders)


def visitors(world: World, rng: np.random.Generator, n: int) -> Part:
    """People who look and never buy: mostly one or two short visits, a few abandoned carts.

    Notes
    -----
    Each has the taste of some customer, so what they view together has a meaning.
    """
    sorts = _sorts(rng, n)
    visit_user = np.repeat(np.arange(n), rng.geometric(0.55, n))
    first = rng.integers(world.days, size=n)[visit_user]
    later = np.floor(rng.exponential(12, len(visit_user))).astype(np.int64)
    is_first = np.r_[True, np.diff(visit_user) > 0] if n else np.zeros(0, bool)
    day = np.minimum(np.where(is_first, first, first + later), world.days - 1)
    taste = rng.integers(len(world.customers), size=n)
    return Part(_browse(world, rng, visit_user, day, sorts, taste, 0.03), sorts, _no_orders())


def staff(world: World, rng: np.random.Generator, n: int) -> Part:
    """Accounts of the store's own people: on weekdays in office hours, broad, never a real order.

    Notes
    -----
    Merchandisers check the pages of the catalogue one after another, the service desk looks up
    what people ask for, testers try the checkout: their orders cost nothing or are cancelled soon
    after. One session in twenty is outside office hours.
    """
    roles = np.array([STAFF_ROLES[i % len(STAFF_ROLES)] for i in range(n)], dtype=object)
    weekday = (world.start // DAY + np.arange(world.days) + 3) % 7  # 1 January 1970 was a Thursday
    busy = rng.uniform(0.15, 0.45, n)[:, None] > rng.random((n, world.days))
    user, day = np.nonzero(busy & (weekday < 5))
    # Somebody who is never there would be no account: at least the first working day.
    missing = np.setdiff1d(np.arange(n), user)
    user = np.r_[user, missing]
    day = np.r_[day, np.full(len(missing), np.argmax(weekday < 5))]
    again = rng.integers(1, 4, size=len(user))
    user, day = np.repeat(user, again), np.repeat(day, again)
    merchandiser, tester = roles[user] == "merchandiser", roles[user] == "tester"
    length = np.where(
        merchandiser, rng.integers(4, 22, size=len(user)), rng.integers(2, 8, size=len(user))
    )
    office = world.start + day * DAY + rng.integers(int(8.5 * 3600), 17 * 3600, size=len(user))
    start = np.where(rng.random(len(user)) < 0.05, world.starts(rng, day), office)
    visit, offset = walk(rng, length, rng.uniform(8, 30, len(user)), 0.9)
    page = rng.integers(world.n_items, size=len(user))[visit]
    step = restart_sum(np.ones(len(visit), np.int64), np.cumsum(length) - length)
    in_order = (page + step) % world.n_items
    looked_up = np.where(
        rng.random(len(visit)) < 0.5,
        world.popular(rng, len(visit)),
        rng.integers(world.n_items, size=len(visit)),
    )
    item = np.where(merchandiser[visit], in_order, looked_up)
    second = start[visit] + offset
    seen = clicks(user[visit], item, VIEW, second)
    carted = rng.random(len(visit)) < np.where(tester[visit], 0.3, 0.04)
    carts = clicks(user[visit][carted], item[carted], CART, second[carted] + 3)
    ordered = rng.random(len(carts)) < np.where(roles[carts["user"]] == "tester", 0.35, 0.12)
    orders = _orders(world, rng, carts[ordered], wait=(15, 120), cancel=(60, 5400))
    orders.loc[rng.random(len(orders)) < 0.35, ["price", "cancelled"]] = [0.0, -1]
    return Part(pd.concat([seen, carts]), roles, orders)


def _sorts(rng: np.random.Generator, n: int) -> np.ndarray:
    names = np.array(list(SORTS), dtype=object)
    return names[rng.choice(len(names), size=n, p=list(SORTS.values()))]


def _before_orders(world: World, rng: np.random.Generator) -> pd.DataFrame:
    lines = world.lines
    by_order = lines.groupby("order", sort=True)
    size, user, second = by_order.size(), by_order["user"].first(), by_order["second"].min()
    extra = np.repeat(size.index.to_numpy(), rng.poisson(1.5, len(size)))
    wasted = world.tasteful(rng, user.to_numpy()[extra], own=0.2)
    order = np.r_[lines["order"].to_numpy(), extra]
    item = np.r_[lines["item"].to_numpy(), wasted]
    bought = np.arange(len(order)) < len(lines)
    lines_of = size.to_numpy()[order]
    viewed = ~bought | (rng.random(len(order)) < np.clip(1.15 - 0.22 * np.log10(lines_of), 0, 0.95))
    viewed &= ~bought | (lines_of < 60) | (rng.random(len(order)) < 0.3)
    carted = bought & (rng.random(len(order)) < 0.93)
    place = rng.random(len(order))
    steps = pd.DataFrame(
        {
            "order": np.r_[order[viewed], order[carted]],
            "item": np.r_[item[viewed], item[carted]],
            "event": np.repeat([VIEW, CART], [viewed.sum(), carted.sum()]),
            "place": np.r_[place[viewed], place[carted]],
        }
    ).sort_values(["order", "place", "event"], ascending=[True, False, False], kind="stable")
    # Backwards from the order: the last cart first, each a gap further from it.
    n_steps = np.bincount(steps["order"], minlength=len(size))
    pace = np.clip(1200 / np.maximum(n_steps, 1), 1.5, 25) * rng.lognormal(0, 0.3, len(size))
    _, offset = walk(rng, n_steps, pace, 0.8)
    checkout = rng.integers(2, 60, size=len(size))
    of = steps["order"].to_numpy()
    before = second.to_numpy()[of] - checkout[of] - offset
    return clicks(user.to_numpy()[of], steps["item"].to_numpy(), steps["event"].to_numpy(), before)


def _browse(
    world: World,
    rng: np.random.Generator,
    visit_user: np.ndarray,
    day: np.ndarray,
    sorts: np.ndarray,
    taste: np.ndarray,
    carts: float,
) -> pd.DataFrame:
    """Visits that lead nowhere; ``carts`` is the share of views that end in an abandoned cart."""
    sort = sorts[visit_user]
    hunter, owl = sort == "bargain hunter", sort == "night owl"
    n = len(visit_user)
    start = np.where(owl, world.starts(rng, day, NIGHT), world.starts(rng, day))
    length = np.minimum(rng.geometric(0.2, n), 60)
    length = np.where(hunter, rng.integers(30, 140, size=n), length)
    pace = np.where(hunter, rng.uniform(5, 14, n), rng.lognormal(np.log(24), 0.5, n))
    visit, offset = walk(rng, length, pace, rng.uniform(0.7, 1.2, n))
    user, size = visit_user[visit], len(visit)
    item = np.where(
        rng.random(size) < 0.5, world.tasteful(rng, taste[user], 0.4), world.popular(rng, size)
    )
    wide = hunter[visit] & (rng.random(size) < 0.8)
    item = np.where(wide, rng.integers(world.n_items, size=size), item)
    # People go back to what they have just seen.
    back = (rng.random(size) < 0.12) & (np.r_[-1, visit[:-1]] == visit) if size else wide
    item = np.where(back, np.r_[item[:1], item[:-1]], item)
    second = start[visit] + offset
    seen = clicks(user, item, VIEW, second)
    carted = rng.random(size) < np.where(hunter[visit], carts / 3, carts)
    wait = 2 + np.floor(rng.lognormal(np.log(12), 0.7, size)).astype(np.int64)
    kept = clicks(user[carted], item[carted], CART, second[carted] + wait[carted])
    removed = kept[rng.random(len(kept)) < 0.2].assign(event=REMOVE)
    removed["second"] += rng.integers(5, 300, size=len(removed))
    return pd.concat([seen, kept, removed])


def _cancelled_orders(
    world: World, rng: np.random.Generator, users: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One order each that is cancelled as a whole, of items that the customer never keeps."""
    visit = np.repeat(np.arange(len(users)), rng.integers(1, 4, size=len(users)))
    user = users[visit]
    start = world.starts(rng, rng.integers(world.days, size=len(users)))
    wish = pd.DataFrame({"user": user, "item": world.popular(rng, len(user)), "visit": visit})
    wish["second"] = start[visit] + 40 * wish.groupby("visit").cumcount()
    known = pd.MultiIndex.from_frame(world.lines[["user", "item"]])
    pairs = pd.MultiIndex.from_frame(wish[["user", "item"]])
    wish = wish[~pairs.isin(known) & ~pairs.duplicated()]
    seen = clicks(wish["user"], wish["item"], VIEW, wish["second"].to_numpy())
    carts = clicks(wish["user"], wish["item"], CART, wish["second"].to_numpy() + 12)
    orders = _orders(world, rng, carts, wait=(150, 600), cancel=(3600, 5 * DAY))
    # The lines of one visit are one order: same time, same number, cancelled together.
    for column in ("second", "order", "cancelled"):
        orders[column] = orders.groupby("user")[column].transform("max")
    return pd.concat([seen, carts]), orders


def _orders(
    world: World,
    rng: np.random.Generator,
    carts: pd.DataFrame,
    wait: tuple[int, int],
    cancel: tuple[int, int],
) -> pd.DataFrame:
    n = len(carts)
    second = carts["second"].to_numpy() + rng.integers(*wait, size=n)
    return pd.DataFrame(
        {
            "user": carts["user"].to_numpy(),
            "item": carts["item"].to_numpy(),
            "second": second,
            "quantity": rng.integers(1, 4, size=n).astype(np.float64),
            "price": world.items["price"].to_numpy()[carts["item"]],
            "order": np.arange(n),
            "cancelled": second + rng.integers(*cancel, size=n),
        }
    )


def _no_orders() -> pd.DataFrame:
    names = ["user", "item", "second", "quantity", "price", "order", "cancelled"]
    return pd.DataFrame({name: np.zeros(0, np.int64) for name in names})
