"""What everybody in the simulated store shares: the catalogue, the calendar, taste, random walks.

Times are whole seconds since 1970 (int64), users and items are positions (int64), so that the parts
of the simulation can be made of NumPy arrays and joined at the end.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

DAY = 86_400
VIEW, CART, REMOVE, PURCHASE = range(4)
EVENTS = np.array(["view", "cart", "remove_from_cart", "purchase"], dtype=object)
"""Names of the event codes."""

Column = np.ndarray | pd.Series

COLUMNS = ("user", "item", "event", "second")
"""Of a frame of clicks: positions and codes, int64."""

DAYTIME = np.array(
    [2, 1, 1, 1, 1, 2, 4, 7, 10, 12, 13, 13, 13, 12, 12, 12, 12, 13, 15, 17, 17, 14, 9, 5], float
)
"""How likely an ordinary visit begins in each hour of the day (UTC)."""

NIGHT = np.array(
    [14, 13, 11, 9, 6, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 5, 8, 12, 14], float
)
"""The same for night owls."""

NEEDED = ("user_id", "item_id", "value", "timestamp", "order_id", "price")
"""Columns that the purchases must have."""

MIN_SPACING = 5
"""Seconds between two clicks of one user, item and event, so that only planted ones are closer."""


@dataclass(frozen=True)
class World:
    """The store as the real purchases show it.

    Attributes
    ----------
    lines : DataFrame
        The real purchase lines of the chosen customers: ``user`` and ``item`` (positions),
        ``order`` (position of the order) and ``second``.
    customers : str ndarray
        Ids, by user position.
    items : DataFrame
        Index of item positions in the order of the catalogue (sorted ids); ``item_id``, ``price``
        (median) and ``title``.
    popularity : float64 ndarray of shape (n_items,)
        Cumulative share of a view that goes to each item, from purchases ** 0.8.
    start, end : int
        First second of the first day, and the one after the last day.
    """

    lines: pd.DataFrame
    customers: np.ndarray
    items: pd.DataFrame
    popularity: np.ndarray
    start: int
    end: int

    @classmethod
    def from_purchases(cls, purchases: pd.DataFrame, chosen: pd.DataFrame) -> "World":
        """The world of a store.

        Parameters
        ----------
        purchases : DataFrame
            All real purchases: they give catalogue, prices and popularity.
        chosen : DataFrame
            Those of the customers in the simulation.
        """
        grouped = purchases.groupby("item_id", sort=True)
        items = grouped.agg(price=("price", "median"), title=("title", "first")).reset_index()
        share = grouped.size().to_numpy(np.float64) ** 0.8
        users, customers = pd.factorize(chosen["user_id"], sort=True)
        second = seconds(chosen["timestamp"])
        lines = pd.DataFrame(
            {
                "user": users.astype(np.int64),
                "item": items["item_id"].searchsorted(chosen["item_id"]).astype(np.int64),
                "order": pd.factorize(pd.MultiIndex.from_arrays([users, chosen["order_id"]]))[0],
                "second": second,
            }
        )
        return cls(
            lines=lines,
            customers=customers.to_numpy(dtype=object),
            items=items,
            popularity=np.cumsum(share / share.sum()),
            start=int(second.min() // DAY * DAY),
            end=int((second.max() // DAY + 1) * DAY),
        )

    @property
    def n_items(self) -> int:
        """How many items the catalogue has."""
        return len(self.items)

    @property
    def days(self) -> int:
        """How many days the log spans."""
        return (self.end - self.start) // DAY

    def popular(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Draw items by popularity."""
        return np.minimum(np.searchsorted(self.popularity, rng.random(size)), self.n_items - 1)

    def tasteful(self, rng: np.random.Generator, user: np.ndarray, own: float) -> np.ndarray:
        """Draw for each customer an item that suits: one of their own, or one step further.

        Parameters
        ----------
        user : int64 ndarray
            Positions of customers.
        own : float, from 0 to 1
            Share of items the customer buys at some time. The others come from the walk customer,
            bought item, another buyer of it, something that one bought.

        Returns
        -------
        int64 ndarray, items
        """
        first = self.line_of("user", rng, user)
        other = self.line_of("item", rng, self.lines["item"].to_numpy()[first])
        further = self.line_of("user", rng, self.lines["user"].to_numpy()[other])
        line = np.where(rng.random(len(user)) < own, first, further)
        items: np.ndarray = self.lines["item"].to_numpy()[line]
        return items

    def starts(
        self, rng: np.random.Generator, day: np.ndarray, hours: np.ndarray = DAYTIME
    ) -> np.ndarray:
        """Draw a second within each given day (counted from the first), by the hour weights."""
        hour = rng.choice(24, size=len(day), p=hours / hours.sum())
        within: np.ndarray = hour * 3600 + rng.integers(3600, size=len(day))
        begin: np.ndarray = self.start + np.asarray(day, np.int64) * DAY + within
        return begin

    def line_of(self, column: str, rng: np.random.Generator, key: np.ndarray) -> np.ndarray:
        """A random purchase line of each given user or item."""
        codes = self.lines[column].to_numpy()
        order = np.argsort(codes, kind="stable")
        sizes = np.bincount(codes, minlength=int(key.max(initial=0)) + 1)
        starts = np.cumsum(sizes) - sizes
        place = starts[key] + (rng.random(len(key)) * sizes[key]).astype(np.int64)
        chosen: np.ndarray = order[place]
        return chosen


def checked(purchases: pd.DataFrame) -> pd.DataFrame:
    """Real purchases that the exports can hold, with event, country and title filled in.

    Raises
    ------
    ValueError
        If a column is missing, or a value in it is not that of a clean purchase.
    """
    missing = [name for name in NEEDED if name not in purchases.columns]
    if missing:
        raise ValueError(
            f"purchases lacks the columns {missing}, it has {list(purchases.columns)}; pass the "
            "cleaned purchases of Online Retail"
        )
    if purchases.empty:
        raise ValueError("purchases has no rows, expected at least one purchase")
    if not isinstance(purchases["timestamp"].dtype, pd.DatetimeTZDtype):
        raise ValueError(
            f"purchases['timestamp'] is {purchases['timestamp'].dtype}, expected UTC times; "
            "convert it with pd.to_datetime(..., utc=True)"
        )
    holes = purchases[list(NEEDED)].isna().any()
    if holes.any():
        raise ValueError(
            f"purchases has missing entries in {holes.index[holes].tolist()}; drop these rows first"
        )
    if (purchases["timestamp"] != purchases["timestamp"].dt.floor("s")).any():
        raise ValueError(
            "purchases['timestamp'] has fractions of a second, which the exports cannot hold; "
            "floor it to seconds first"
        )
    for name in ("value", "price"):
        if not (purchases[name] > 0).all():
            raise ValueError(
                f"purchases[{name!r}] has values of 0 or less, expected clean purchases; drop "
                "returns and gifts first"
            )
    for name in ("user_id", "item_id", "order_id"):
        if purchases[name].astype("str").str.contains(r"[\t\r\n]").any():
            raise ValueError(
                f"purchases[{name!r}] has line breaks or tabs in it, expected plain ids; clean them"
            )
    if "event" in purchases and set(purchases["event"]) != {"purchase"}:
        raise ValueError(
            f"purchases has the events {sorted(set(purchases['event']))}, expected 'purchase' only"
        )
    country = purchases["country"] if "country" in purchases else pd.Series(pd.NA, purchases.index)
    title = purchases["title"] if "title" in purchases else purchases["item_id"]
    return purchases.assign(
        event="purchase",
        country=country.astype("str").fillna("Unspecified"),
        title=title.astype("str").fillna(purchases["item_id"]),
    )


def seconds(timestamps: pd.Series) -> np.ndarray:
    """Whole seconds since 1970, int64, of a column of times."""
    whole: np.ndarray = timestamps.dt.as_unit("s").astype("int64").to_numpy()
    return whole


def walk(
    rng: np.random.Generator, length: np.ndarray, pace: np.ndarray, spread: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Clicks of several visits: the visit of each click, and the seconds since its begin.

    Parameters
    ----------
    length : int ndarray of shape (n_visits,)
        Clicks of each visit, at least 0.
    pace : float ndarray of shape (n_visits,)
        Median seconds between two clicks.
    spread : float or ndarray of shape (n_visits,)
        Standard deviation of the logarithm of the gap: gaps are lognormal, as those of people are.

    Returns
    -------
    visit, offset : int64 ndarrays of shape (length.sum(),)
        Offsets are whole, start at 0 and grow by at least 1.
    """
    visit = np.repeat(np.arange(len(length)), length)
    sigma = np.broadcast_to(np.asarray(spread, np.float64), (len(length),))[visit]
    # Nobody waits for ever: a gap over 25 minutes would be another visit.
    gap = np.minimum(np.exp(rng.normal(np.log(pace)[visit], sigma)), 1500) + 1
    first = np.cumsum(length) - length
    return visit, restart_sum(np.floor(gap).astype(np.int64), first[length > 0])


def restart_sum(gap: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Running sum of gaps that begins with 0 at each position in ``first``.

    Examples
    --------
    >>> restart_sum(np.array([9, 2, 3, 9, 4]), np.array([0, 3]))
    array([0, 2, 5, 0, 4])
    """
    total = np.cumsum(gap)
    since: np.ndarray = total - np.repeat(total[first], np.diff(np.append(first, len(gap))))
    return since


def clicks(user: Column | int, item: Column, event: Column | int, second: Column) -> pd.DataFrame:
    """A frame of clicks; scalars are repeated."""
    parts = dict(zip(COLUMNS, (user, item, event, second), strict=True))
    return pd.DataFrame(
        {
            name: np.broadcast_to(np.asarray(part, np.int64), len(second))
            for name, part in parts.items()
        }
    )


def spaced(frame: pd.DataFrame) -> pd.DataFrame:
    """Clicks in order of time, without those that repeat user, item and event too soon."""
    frame = frame.sort_values(["user", "item", "event", "second"], kind="stable")
    same = frame[["user", "item", "event"]].eq(frame[["user", "item", "event"]].shift()).all(axis=1)
    frame = frame[~(same & (frame["second"].diff() <= MIN_SPACING))]
    return frame.sort_values(["second", "user", "item", "event"], kind="stable")
