"""Who in a log is a machine or a member of staff, judged by behaviour alone.

Two steps: :func:`evidence` counts in DuckDB what each user did, :func:`judge` gives points for
signs (:func:`signs` lists them) and calls a user a bot or staff from a number of points on.

Three rules keep the verdicts stable. Thresholds are absolute, never relative to the other users.
A user is judged on the user's own rows (except for sharing an address with a suspect, which can
only add points). Rows of cancelled orders only ever add points. So after the bots and the staff
are removed, nobody who stayed is judged worse than before: cleaning twice changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb
import pandas as pd

COLUMNS = {
    "user_id": "VARCHAR",
    "item_id": "VARCHAR",
    "event": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "price": "DOUBLE",
    "cancelled": "BOOLEAN",
    "address": "VARCHAR",
}


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
                f"fewest_clicks is {self.fewest_clicks}, expected 2 or more: one click has no rhythm"
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


_SQL = """
WITH events AS NOT MATERIALIZED (
    SELECT user_id, item_id, event, timestamp, nullif(address, '') AS address,
        event = 'view' AS is_view, event IN ('purchase', 'return') AS is_order,
        coalesce(cancelled, false) OR event = 'return'
            OR (event = 'purchase' AND coalesce(price <= 0, false)) AS void
    FROM {table}
    WHERE user_id IS NOT NULL AND item_id IS NOT NULL AND timestamp IS NOT NULL
), judged AS MATERIALIZED (
    SELECT *, row_number() OVER () AS u FROM (
        SELECT user_id,
            count(*) FILTER (event = 'cart' AND NOT void) AS carts,
            count(*) FILTER (is_order AND NOT void) AS purchases
        FROM events GROUP BY user_id
        HAVING count(*) FILTER ((is_view OR event = 'cart') AND NOT void) >= $fewest
    )
), bought AS (
    SELECT u, count(DISTINCT timestamp) FILTER (NOT void) AS orders,
        count(DISTINCT timestamp) FILTER (void) AS void_orders
    FROM events JOIN judged USING (user_id) WHERE is_order GROUP BY u
), moments AS MATERIALIZED (  -- a row that is repeated as it is counts once
    SELECT u, timestamp, CASE WHEN min(item_id) = max(item_id) THEN 1 ELSE count(*) END AS n,
        min(item_id) AS item
    FROM events JOIN judged USING (user_id) WHERE is_view AND NOT void GROUP BY u, timestamp
), totals AS (
    SELECT u, sum(n)::BIGINT AS views, max(timestamp) AS latest,
        CASE WHEN min(timestamp::TIME) = max(timestamp::TIME) THEN 86400
            WHEN bool_and(epoch_us(timestamp) % 60000000 = 0) THEN 60 ELSE 1 END AS tick
    FROM moments GROUP BY u
), variety AS (
    SELECT u, count(DISTINCT item_id) AS items
    FROM events JOIN judged USING (user_id) WHERE is_view AND NOT void GROUP BY u
), hours AS MATERIALIZED (
    SELECT u, n, hour(local) AS hour, local::DATE AS day,
        isodow(local) <= 5 AND hour(local) >= $office_from AND hour(local) < $office_to AS office
    FROM (
        SELECT u, n, make_timestamp(h * 3600000000) AT TIME ZONE 'UTC' AT TIME ZONE $zone AS local
        FROM (
            SELECT u, epoch_us(timestamp) // 3600000000 AS h, sum(n) AS n
            FROM moments GROUP BY ALL))
), days AS (
    SELECT u, count(*) AS days, max(hours) AS hours_in_day
    FROM (SELECT u, day, count(*) AS hours FROM hours GROUP BY ALL) GROUP BY u
), clock AS (
    SELECT u, max(busiest) AS busiest_hour, sum(active)::BIGINT AS active_hours,
        sum(office) / sum(active) AS office_share, least({quiet}) / sum(active) AS night_share
    FROM (
        SELECT u, hour, max(n) AS busiest, count(*) AS active, count(*) FILTER (office) AS office
        FROM hours GROUP BY ALL)
    GROUP BY u
), steps AS MATERIALIZED (
    SELECT u, timestamp, previous, epoch(timestamp - previous) AS gap,
        CASE WHEN item <> before THEN (item > before)::INT END AS up
    FROM (
        SELECT u, timestamp, item, lag(timestamp) OVER w AS previous, lag(item) OVER w AS before
        FROM moments WINDOW w AS (PARTITION BY u ORDER BY timestamp))
), rhythm AS (
    SELECT u, count(*) AS gaps, quantile_cont(gap, [0.1, 0.5, 0.9]) AS q
    FROM steps WHERE gap <= $gap GROUP BY u
), even AS (
    SELECT u, avg((abs(gap - q[2]) <= 0.1 * q[2])::INT) AS even_share
    FROM steps JOIN rhythm USING (u) WHERE gap <= $gap GROUP BY u
), walk AS (
    SELECT u, count(up) AS item_steps, avg(up) AS ascending FROM steps GROUP BY u
), stretches AS (  -- a stretch ends at the moment before the next one begins
    SELECT u, max(epoch(coalesce(ended, latest) - timestamp)) / 3600 AS stretch_hours
    FROM (
        SELECT u, timestamp, lead(previous) OVER w AS ended
        FROM steps WHERE gap IS NULL OR gap > $pause
        WINDOW w AS (PARTITION BY u ORDER BY timestamp))
    JOIN totals USING (u) GROUP BY u
), addresses AS (  -- where most of the user's events come from
    SELECT u, arg_max(address, (n, address)) AS address FROM (
        SELECT u, address, count(*) AS n FROM events JOIN judged USING (user_id)
        WHERE address IS NOT NULL AND NOT void GROUP BY ALL)
    GROUP BY u
)
SELECT user_id, coalesce(views, 0) AS views, coalesce(items, 0) AS items, carts, purchases,
    coalesce(orders, 0) AS orders, coalesce(void_orders, 0) AS void_orders, days, active_hours,
    CASE WHEN tick < 86400 THEN busiest_hour END AS busiest_hour, hours_in_day, stretch_hours,
    night_share, CASE WHEN tick < 86400 THEN office_share END AS office_share, tick, gaps,
    q[2] AS gap_median, q[3] / nullif(q[1], 0) AS gap_spread, even_share, item_steps,
    ascending, address
FROM judged LEFT JOIN totals USING (u) LEFT JOIN variety USING (u) LEFT JOIN days USING (u)
    LEFT JOIN clock USING (u) LEFT JOIN walk USING (u) LEFT JOIN stretches USING (u)
    LEFT JOIN rhythm USING (u) LEFT JOIN even USING (u) LEFT JOIN bought USING (u)
    LEFT JOIN addresses USING (u)
ORDER BY user_id
"""
# The active hours in the eight hours of the day that begin at `start`.
_QUIET = "coalesce(sum(active) FILTER ((hour - {start} + 24) % 24 < 8), 0)"


def evidence(
    connection: duckdb.DuckDBPyConnection, table: str, thresholds: Thresholds | None = None
) -> pd.DataFrame:
    """What each user did, one row per user with enough views to be judged.

    Parameters
    ----------
    connection : duckdb connection
        Nothing is left behind in it.
    table : str
        Name of a table or view with `user_id`, `item_id`, `event`, `timestamp` (TIMESTAMP, UTC),
        `price` (may be NULL), `cancelled` (TRUE for cancelled orders and for what they cancel)
        and `address` (may be NULL). Purchases with a price of zero or less and events
        "return" count as cancelled.
    thresholds : Thresholds, optional
        Read here: `fewest_clicks`, `zone`, the office hours, `gap_seconds`, `pause_seconds`.

    Returns
    -------
    DataFrame, index ``user_id``, sorted
        Counts (`views`, `items`, `carts`, `purchases`, `orders`, `void_orders`, `days`,
        `active_hours`), pace (`busiest_hour` in views, `hours_in_day`, `stretch_hours`,
        `night_share`, `office_share`), rhythm (`tick` in seconds, `gaps`, `gap_median` in
        seconds, `gap_spread`, `even_share`), path (`item_steps`, `ascending`), `address`.

    Raises
    ------
    ValueError
        If the table is missing or lacks a column, or a column has another type.

    Notes
    -----
    Pace, rhythm and path come from page views only (event "view").
    An order of 500 lines in one minute is therefore no haste, and a log of purchases or ratings
    alone has no evidence against anybody: the result is empty. In a log that knows the day only,
    hours mean nothing and stay missing. GROUP BYs do most of the work; the one window function
    sees the moments of those users only that have enough views.

    Examples
    --------
    A script that opens a page every 30 seconds:

    >>> connection = duckdb.connect()
    >>> _ = connection.execute(
    ...     "CREATE TABLE log AS SELECT 'u' AS user_id, i::VARCHAR AS item_id, 'view' AS event, "
    ...     "TIMESTAMP '2024-01-01' + to_seconds(30 * i) AS timestamp, NULL::DOUBLE AS price, "
    ...     "false AS cancelled, NULL::VARCHAR AS address FROM range(200) t(i)")
    >>> facts = evidence(connection, "log").loc["u"]
    >>> {name: float(facts[name]) for name in ("views", "busiest_hour", "gap_median")}
    {'views': 200.0, 'busiest_hour': 120.0, 'gap_median': 30.0}
    """
    limits = thresholds or Thresholds()
    _check_table(connection, table)
    quiet = ", ".join(_QUIET.format(start=start) for start in range(24))
    frame = connection.execute(
        _SQL.format(table=_quoted(table), quiet=quiet),
        {
            "fewest": limits.fewest_clicks,
            "office_from": limits.office_from,
            "office_to": limits.office_to,
            "zone": limits.zone,
            "gap": limits.gap_seconds,
            "pause": limits.pause_seconds,
        },
    ).df()
    return frame.set_index("user_id")


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


def judge(evidence: pd.DataFrame, thresholds: Thresholds | None = None) -> pd.DataFrame:
    r"""Points and verdict for each user.

    .. math:: \text{score} = \sum_{\text{sign holds}} \text{points}, \qquad
        \text{bot} \iff \text{score} \ge \text{bot\_points}

    Parameters
    ----------
    evidence : DataFrame
        From :func:`evidence`.
    thresholds : Thresholds, optional

    Returns
    -------
    DataFrame, index ``user_id`` as in `evidence`
        `bot_score`, `staff_score` (int), `is_bot`, `is_staff` (bool; a bot is no staff), `why`
        (every sign that holds, in words; empty where none does). Users without a row in
        `evidence` are neither.

    Raises
    ------
    ValueError
        If a column of the evidence is missing.

    Notes
    -----
    Signs and points are those of :func:`signs`. "Buys" takes away as many points as a bot needs,
    so a busy reseller stays unless two more signs speak against it.

    Examples
    --------
    The script of :func:`evidence` scores 3 for its rhythm, 1 for looking at 200 items without
    putting one into a cart, and 1 for buying nothing:

    >>> connection = duckdb.connect()
    >>> _ = connection.execute(
    ...     "CREATE TABLE log AS SELECT 'u' AS user_id, (i * 77 % 200)::VARCHAR AS item_id, "
    ...     "'view' AS event, TIMESTAMP '2024-01-01' + to_seconds(30 * i) AS timestamp, "
    ...     "NULL::DOUBLE AS price, false AS cancelled, NULL::VARCHAR AS address "
    ...     "FROM range(200) t(i)")
    >>> verdict = judge(evidence(connection, "log")).loc["u"]
    >>> int(verdict["bot_score"]), bool(verdict["is_bot"]), bool(verdict["is_staff"])
    (5, True, False)
    """
    limits = thresholds or Thresholds()
    missing = [name for name in _EVIDENCE if name not in evidence.columns]
    if missing:
        raise ValueError(
            f"evidence lacks {', '.join(missing)}; pass what behaviour.evidence() returned"
        )
    facts = evidence.assign(
        conversion=evidence["purchases"] / evidence["views"].clip(lower=1),
        depth=(evidence["purchases"] + evidence["carts"]) / evidence["views"].clip(lower=1),
    )
    scores = {verdict: pd.Series(0, index=facts.index) for verdict in ("bot", "staff")}
    told: dict[str, pd.Series] = {}

    def weigh(sign: Sign) -> None:
        holds = sign.holds(facts, limits).fillna(False).astype(bool)
        scores[sign.verdict] = scores[sign.verdict] + sign.points * holds
        told[sign.says] = told[sign.says] | holds if sign.says in told else holds

    for sign in SIGNS:
        weigh(sign)
    facts["company"] = _company(facts["address"], scores["staff"] >= limits.suspect_points)
    weigh(SHARED_ADDRESS)
    is_bot = scores["bot"] >= limits.bot_points
    return pd.DataFrame(
        {
            "bot_score": scores["bot"],
            "is_bot": is_bot,
            "staff_score": scores["staff"],
            "is_staff": (scores["staff"] >= limits.staff_points) & ~is_bot,
            "why": _told(facts, told),
        }
    )


def signs(thresholds: Thresholds | None = None) -> pd.DataFrame:
    """The signs as a table: verdict and sign, points, and when the sign holds.

    Examples
    --------
    >>> signs().loc[("bot", "fast")].to_dict()
    {'points': 2, 'holds with': '200 views or more in its busiest hour'}
    """
    limits = vars(thresholds or Thresholds())
    rows = [
        (sign.verdict, sign.name, sign.points, sign.rule.format(**limits))
        for sign in (*SIGNS, SHARED_ADDRESS)
    ]
    table = pd.DataFrame(rows, columns=["verdict", "sign", "points", "holds with"])
    return table.set_index(["verdict", "sign"])


_EVIDENCE = (
    "views", "items", "carts", "purchases", "orders", "void_orders", "days", "active_hours",
    "busiest_hour", "hours_in_day", "stretch_hours", "night_share", "office_share", "tick", "gaps",
    "gap_median", "gap_spread", "even_share", "item_steps", "ascending", "address",
)  # fmt: skip


def _company(address: pd.Series, suspect: pd.Series) -> pd.Series:
    """Number of suspects at each user's address, the user left out."""
    suspects = address[suspect].value_counts()
    return address.map(suspects).fillna(0).astype("int64") - (suspect & address.notna())


def _told(facts: pd.DataFrame, told: dict[str, pd.Series]) -> pd.Series:
    """The sentences of the signs that hold, joined by semicolons, in the order of the signs."""
    why = pd.Series("", index=facts.index, dtype=object)
    for says, holds in told.items():
        if says and holds.any():
            rows = facts[holds].to_dict("records")
            text = pd.Series([says.format(**row) for row in rows], index=facts.index[holds])
            why[holds] += "; " + text
    return why.str.removeprefix("; ")


def _quoted(table: str) -> str:
    return '"' + table.replace('"', '""') + '"'


def _check_table(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Say what is wrong with the table before the long query does so in its own words."""
    try:
        described = connection.execute(f"DESCRIBE {_quoted(table)}").fetchall()
    except duckdb.CatalogException as error:
        raise ValueError(f"table is {table!r}, which this connection does not have") from error
    types = {str(row[0]): str(row[1]) for row in described}
    missing = [name for name in COLUMNS if name not in types]
    if missing:
        raise ValueError(
            f"table {table!r} lacks {', '.join(missing)}; add what the log does not know as "
            "NULL (price, address) or false (cancelled)"
        )
    if not types["timestamp"].startswith("TIMESTAMP") or "ZONE" in types["timestamp"]:
        raise ValueError(
            f"timestamp of {table!r} is {types['timestamp']}, expected TIMESTAMP in UTC; "
            "use (timestamp AT TIME ZONE 'UTC') where it has a zone"
        )
