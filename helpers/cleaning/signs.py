"""The signs of bots and of staff: where each begins, what it is worth, how it is told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd


@dataclass(frozen=True)
class Thresholds:
    """Where a sign begins and how many points make a verdict.

    "People" below are the buyers of the Retailrocket sample (394 users with 20 views or more over
    4.5 months) and the visitors of the REES46 sample (68 such users).

    Attributes
    ----------
    fewest_clicks : int, at least 2
        Users with fewer views and carts together are never judged: 20 is where a rhythm begins
        to show.
    bot_points, staff_points, suspect_points : int
        A user is a bot, is staff, is suspected to be staff from so many points on. No single sign
        reaches 4 or 5: every verdict rests on two signs at least.
    fast_views, very_fast_views : int, views in one clock hour
        The busiest hour of people had 84 views; 300 is one every 12 seconds for a whole hour.
    fewest_gaps : int
        Regular spacing is judged from 50 gaps on; with 20, people look regular by chance.
    gap_seconds, pause_seconds : float, seconds
        A gap longer than 2 hours is no step of a rhythm; one longer than 30 minutes, the usual
        end of a session, ends a stretch of activity.
    even_share : float, 0 to 1
        Share of gaps within 10 % of their median. People: about .08; a timer: 1.
    even_spread : float, at least 1
        90th over 10th percentile of the gaps. A timer with 50 % of jitter has 2.3; people with
        100 gaps had 17 or more, and so has a machine with purely random (exponential) gaps.
    clock_ticks : int
        Gaps shorter than so many ticks of the log's own clock (seconds or minutes) are not
        judged: in a log with whole minutes everybody's gaps look alike.
    hours_in_day : int, 1 to 24
        Hours of one calendar day with a view. People: 14 at most.
    stretch_hours : float, hours
        Longest activity without such a pause. People: 12 at most.
    night_share, night_hours : float, 0 to 1; int
        Share of the active hours that lie in the user's quietest 8 hours of the day, whatever
        hours these are, once `night_hours` hours were active. Around the clock it is .33;
        people sleep: .12 at most.
    ordered_share, strict_share, ordered_steps : float, 0.5 to 1; int
        Share of steps from one item to the next that go up (or down) in the order of the ids,
        once so many steps were made. People: .16 to .75. Staff who work through the catalogue
        stray now and then, a loop over it hardly does.
    broad_items, very_broad_items : int, distinct items viewed
        Breadth counts only without depth (`depth_share`).
    depth_share : float, 0 to 1
        Carts and purchases per view that still count as no depth. People who buy: median .22.
    fresh_share, fresh_views : float, 0 to 1; int
        Distinct items per view from which a user never comes back to an item, once so many views
        were made. People compare and return. (The Retailrocket sample holds each view of a
        user and item once, so everybody is "fresh" there; the other signs must bear that.)
    watch_visits, watch_views : float, views per item; int
        A user who looks at the same items 8 times each, 150 views in all, without depth, watches
        prices or stock.
    hoard_carts : int
        Carts in all, more than views and 100 times the purchases: stock is blocked, not bought.
    fruitless_share : float, 0 to 1
        Valid purchases per view up to which a user buys nothing: one in 1,000 views is an alibi.
    buyer_share : float, 0 to 1
        Valid purchases per view from which a user buys as people do, which takes points away.
    zone : str
        Time zone of the store; a calendar day and office hours are meant there.
    office_from, office_to : int, hours 0 to 24
        Office hours, Monday to Friday, in that zone.
    office_share, office_days : float, 0 to 1; int
        Share of active hours that lie in office hours, over at least so many days.
    staff_share : float, 0 to 1
        Valid purchases per view up to which an account hardly buys; staff may order now and then.
    staff_items : int, distinct items viewed
        Staff look at everything; this is wide browsing by staff's slower standards.
    test_carts : int
        Items put into a cart while hardly anything (1 in 10) was bought.
    void_orders : int
        Orders cancelled or with a price of zero, and at least as many as valid orders.
    """

    fewest_clicks: int = 20
    bot_points: int = 4
    staff_points: int = 5
    suspect_points: int = 3
    fast_views: int = 300
    very_fast_views: int = 600
    fewest_gaps: int = 50
    gap_seconds: float = 7200.0
    pause_seconds: float = 1800.0
    even_share: float = 0.5
    even_spread: float = 2.0
    clock_ticks: int = 5
    hours_in_day: int = 20
    stretch_hours: float = 16.0
    night_share: float = 0.17
    night_hours: int = 48
    ordered_share: float = 0.9
    strict_share: float = 0.97
    ordered_steps: int = 30
    broad_items: int = 150
    very_broad_items: int = 1500
    depth_share: float = 0.02
    fresh_share: float = 0.99
    fresh_views: int = 150
    watch_visits: float = 8.0
    watch_views: int = 150
    hoard_carts: int = 100
    fruitless_share: float = 0.001
    buyer_share: float = 0.02
    zone: str = "UTC"
    office_from: int = 8
    office_to: int = 18
    office_share: float = 0.9
    office_days: int = 10
    staff_share: float = 0.005
    staff_items: int = 100
    test_carts: int = 10
    void_orders: int = 2

    def __post_init__(self) -> None:
        if self.fewest_clicks < 2:
            raise ValueError(
                f"fewest_clicks is {self.fewest_clicks}, expected 2 or more: one has no rhythm"
            )
        for name in ("even_share", "night_share", "ordered_share", "strict_share",
                     "depth_share", "fresh_share", "fruitless_share", "buyer_share",
                     "office_share", "staff_share"):  # fmt: skip
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, expected a share from 0 to 1")
        if not 0 <= self.office_from < self.office_to <= 24:
            raise ValueError(
                f"office hours are {self.office_from} to {self.office_to}, expected "
                "0 <= office_from < office_to <= 24"
            )
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(
                f"zone is {self.zone!r}, expected a name such as 'UTC' or 'Europe/London'"
            ) from error


@dataclass(frozen=True)
class Sign:
    """One sign: when it holds, what it is worth, how it is told.

    Attributes
    ----------
    name : str
    verdict : "bot" or "staff"
    points : int
    rule : str
        When it holds, with the names of thresholds in braces.
    holds : function of the evidence and the thresholds
        Returns a bool Series; a comparison with a missing value is False.
    says : str
        The finding, with the names of evidence columns in braces; empty where another sign
        tells it already.
    """

    name: str
    verdict: Literal["bot", "staff"]
    points: int
    rule: str
    holds: Callable[[pd.DataFrame, Thresholds], pd.Series]
    says: str


SIGNS = (
    Sign("fast", "bot", 2, "{fast_views} views or more in its busiest hour",
         lambda e, t: e.busiest_hour >= t.fast_views,
         "{busiest_hour:,.0f} views in its busiest hour"),
    Sign("very fast", "bot", 1, "{very_fast_views} or more",
         lambda e, t: e.busiest_hour >= t.very_fast_views, ""),
    Sign("regular", "bot", 3, "of {fewest_gaps} gaps or more, {even_share:.0%} lie within 10 % of "
         "their median, or the 90th percentile is at most {even_spread:g} times the 10th",
         lambda e, t: (e.gaps >= t.fewest_gaps) & (e.gap_median >= t.clock_ticks * e.tick)
         & ((e.even_share >= t.even_share) | (e.gap_spread <= t.even_spread)),
         "{even_share:.0%} of {gaps:,.0f} gaps within 10 % of their median of {gap_median:,.0f} s "
         "(90th over 10th percentile {gap_spread:.1f})"),
    Sign("around the clock", "bot", 3, "active in {hours_in_day} hours of one day, or for "
         "{stretch_hours:g} hours without a pause, or {night_share:.0%} of {night_hours} active "
         "hours or more in its quietest 8 hours of the day",
         lambda e, t: (e.hours_in_day >= t.hours_in_day) | (e.stretch_hours >= t.stretch_hours)
         | ((e.night_share >= t.night_share) & (e.active_hours >= t.night_hours)),
         "active in {hours_in_day:.0f} hours of one day, {stretch_hours:.1f} hours without a "
         "pause, {night_share:.0%} of {active_hours:,.0f} active hours in its quietest 8"),
    Sign("in order", "bot", 2, "{ordered_share:.0%} of {ordered_steps} steps or more go one way "
         "through the item ids",
         lambda e, t: (e.item_steps >= t.ordered_steps)
         & ((e.ascending - 0.5).abs() >= t.ordered_share - 0.5),
         "{ascending:.0%} of {item_steps:,.0f} steps go up the item ids"),
    Sign("strictly in order", "bot", 1, "{strict_share:.0%} or more",
         lambda e, t: (e.item_steps >= t.ordered_steps)
         & ((e.ascending - 0.5).abs() >= t.strict_share - 0.5), ""),
    Sign("never comes back", "bot", 2, "{fresh_views} views or more, {fresh_share:.0%} of them of "
         "an item not viewed before",
         lambda e, t: (e.views >= t.fresh_views) & (e["items"] >= t.fresh_share * e.views),
         "{items:,.0f} items in {views:,.0f} views, hardly one twice"),
    Sign("watches", "bot", 3, "{watch_views} views or more, {watch_visits:g} or more of each item, "
         "at most {depth_share:.1%} carts and purchases per view",
         lambda e, t: (e.views >= t.watch_views) & (e.views >= t.watch_visits * e["items"])
         & (e.depth <= t.depth_share),
         "{views:,.0f} views of the same {items:,.0f} items, {carts:,.0f} put into a cart"),
    Sign("hoards", "bot", 3, "{hoard_carts} carts or more, more than views, at most one purchase "
         "in 100 carts",
         lambda e, t: (e.carts >= t.hoard_carts) & (e.carts > e.views)
         & (100 * e.purchases <= e.carts),
         "{carts:,.0f} carts, {purchases:,.0f} purchases"),
    Sign("breadth without depth", "bot", 1, "{broad_items:,} items or more viewed, at most "
         "{depth_share:.1%} carts and purchases per view",
         lambda e, t: (e["items"] >= t.broad_items) & (e.depth <= t.depth_share),
         "{items:,.0f} items viewed, {carts:,.0f} put into a cart"),
    Sign("very broad", "bot", 1, "{very_broad_items:,} items or more, as little depth",
         lambda e, t: (e["items"] >= t.very_broad_items) & (e.depth <= t.depth_share), ""),
    Sign("no purchase", "bot", 1, "at most {fruitless_share:.1%} valid purchases per view",
         lambda e, t: e.conversion <= t.fruitless_share,
         "{purchases:,.0f} purchases in {views:,.0f} views"),
    Sign("buys", "bot", -4, "{buyer_share:.1%} valid purchases per view or more",
         lambda e, t: e.conversion >= t.buyer_share,
         "{purchases:,.0f} purchases in {views:,.0f} views"),
    Sign("office hours", "staff", 2, "{office_share:.0%} of the active hours between {office_from} "
         "and {office_to} o'clock from Monday to Friday, over {office_days} days or more",
         lambda e, t: (e.office_share >= t.office_share) & (e.days >= t.office_days),
         "{office_share:.0%} of its active hours on {days:.0f} days are office hours"),
    Sign("wide", "staff", 1, "{staff_items} items or more viewed, at most {buyer_share:.1%} "
         "valid purchases per view",
         lambda e, t: (e["items"] >= t.staff_items) & (e.conversion <= t.buyer_share),
         "{items:,.0f} items viewed, {carts:,.0f} put into a cart"),
    Sign("hardly buys", "staff", 1, "at most {staff_share:.1%} valid purchases per view",
         lambda e, t: e.conversion <= t.staff_share,
         "{purchases:,.0f} purchases in {views:,.0f} views"),
    Sign("test carts", "staff", 1, "{test_carts} carts or more, at most one purchase in 10 carts",
         lambda e, t: (e.carts >= t.test_carts) & (10 * e.purchases <= e.carts),
         "{carts:,.0f} carts, {purchases:,.0f} purchases"),
    Sign("void orders", "staff", 2, "{void_orders} or more orders cancelled or free, and at least "
         "as many as valid ones",
         lambda e, t: (e.void_orders >= t.void_orders) & (e.void_orders >= e.orders),
         "{void_orders:,.0f} orders cancelled or free, {orders:,.0f} valid"),
)  # fmt: skip
"""The signs that need the user's own rows only. Points of a verdict add up."""

SHARED_ADDRESS = Sign(
    "shared address", "staff", 2, "another user at its address has {suspect_points} points for "
    "staff from the signs above", lambda e, t: e.company >= 1,
    "shares its address with {company:,.0f} suspects",
)  # fmt: skip
"""The one sign that looks at others; it only adds points, and removing users only removes it."""


def signs(thresholds: Thresholds | None = None) -> pd.DataFrame:
    """The signs as a table: verdict and sign, points, and when the sign holds.

    Examples
    --------
    >>> signs().loc[("bot", "fast")].to_dict()
    {'points': 2, 'holds with': '300 views or more in its busiest hour'}
    """
    limits = vars(thresholds or Thresholds())
    rows = [
        (sign.verdict, sign.name, sign.points, sign.rule.format(**limits))
        for sign in (*SIGNS, SHARED_ADDRESS)
    ]
    table = pd.DataFrame(rows, columns=["verdict", "sign", "points", "holds with"])
    return table.set_index(["verdict", "sign"])
