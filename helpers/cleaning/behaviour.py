"""Who in a log is a machine or a member of staff, judged by behaviour alone.

Two steps: :func:`evidence` counts in DuckDB what each user did, :func:`judge` gives points for
signs (:func:`signs` lists them) and calls a user a bot or staff from a number of points on.

Three rules keep the verdicts stable. Thresholds are absolute, never relative to the other users.
A user is judged on the user's own rows (except for sharing an address with a suspect, which can
only add points). Rows of cancelled orders only ever add points. So after the bots and the staff
are removed, nobody who stayed is judged worse than before: cleaning twice changes nothing.
"""

from string import Formatter
from typing import cast

import duckdb
import pandas as pd

from helpers.cleaning.signs import SHARED_ADDRESS, SIGNS, Sign, Thresholds, signs

__all__ = ["COLUMNS", "SIGNS", "Sign", "Thresholds", "evidence", "judge", "signs"]

COLUMNS = ("user_id", "item_id", "event", "timestamp", "price", "cancelled", "address")

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
), actions AS MATERIALIZED (
    SELECT u, item_id, timestamp, address, is_view AND NOT void AS is_view, is_order, void
    FROM events JOIN judged USING (user_id)
), bought AS (
    SELECT u, count(DISTINCT timestamp) FILTER (NOT void) AS orders,
        count(DISTINCT timestamp) FILTER (void) AS void_orders
    FROM actions WHERE is_order GROUP BY u
), moments AS MATERIALIZED (  -- a row that is repeated as it is counts once
    SELECT u, timestamp, CASE WHEN min(item_id) = max(item_id) THEN 1 ELSE count(*) END AS n,
        min(item_id) AS item
    FROM actions WHERE is_view GROUP BY u, timestamp
), totals AS (
    SELECT u, sum(n)::BIGINT AS views, max(timestamp) AS latest,
        CASE WHEN min(timestamp::TIME) = max(timestamp::TIME) THEN 86400
            WHEN bool_and(epoch_us(timestamp) % 60000000 = 0) THEN 60 ELSE 1 END AS tick
    FROM moments GROUP BY u
), variety AS (
    SELECT u, count(DISTINCT item_id) AS items FROM actions WHERE is_view GROUP BY u
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
        SELECT u, address, count(*) AS n FROM actions
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
    alone has no evidence against anybody: the result is empty. (Ratings or plays that are passed
    as views are judged as views: people rate 200 films in one evening and buy none. Pass them as
    purchases.) In a log that knows the day only,
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
    so a busy reseller stays unless several signs speak against it. Staff who walk the catalogue
    like a program, and put nothing into a cart, are called a bot: they go either way.

    Examples
    --------
    A script scores 3 for its rhythm, 2 for coming back to none of 200 items, 1 for putting none
    into a cart, and 1 for buying nothing:

    >>> connection = duckdb.connect()
    >>> _ = connection.execute(
    ...     "CREATE TABLE log AS SELECT 'u' AS user_id, (i * 77 % 200)::VARCHAR AS item_id, "
    ...     "'view' AS event, TIMESTAMP '2024-01-01' + to_seconds(30 * i) AS timestamp, "
    ...     "NULL::DOUBLE AS price, false AS cancelled, NULL::VARCHAR AS address "
    ...     "FROM range(200) t(i)")
    >>> verdict = judge(evidence(connection, "log")).loc["u"]
    >>> int(verdict["bot_score"]), bool(verdict["is_bot"]), bool(verdict["is_staff"])
    (7, True, False)
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
            named = [name for _, name, *_ in Formatter().parse(says) if name]
            rows = cast("list[dict[str, object]]", facts.loc[holds, named].to_dict("records"))
            text = pd.Series([says.format_map(row) for row in rows], index=facts.index[holds])
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
