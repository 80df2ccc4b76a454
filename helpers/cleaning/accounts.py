"""Accounts that behave like programs: by when and in which order they look, never by what they buy.

Four signs, each about timing or order, and an account needs two of them. A reader who buys
nothing, somebody with night shifts or a bargain hunter has at most one.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from helpers.cleaning.sql import Connection, scalar

if TYPE_CHECKING:
    from helpers.cleaning.rules import Rules

ROWS = 5_000_000  # views that are looked at together; it bounds the memory
NEEDED = 2  # signs that make an account a program

SIGNS = {
    "fast": "{busiest_hour:,.0f} views in one hour (from {views_in_hour:,} on)",
    "regular": "the middle half of its {gaps:,.0f} gaps differ by a factor of {gap_factor:.2f} "
    "(up to {regular_factor:g})",
    "around the clock": "{clock}",
    "in order": "{one_way:.0%} of its {steps:,.0f} steps go one way through the item ids "
    "(from {ordered_share:.0%} on)",
}
"""The signs, each with its evidence and threshold in words."""

RUN = "views in each of {longest_run:.0f} hours in a row (from {clock_hours} on)"
SPREAD = (
    "{quiet_share:.0%} of its {active_hours:,.0f} active hours are in its quietest third of the "
    "day (from {clock_share:.0%} on)"
)

STAFF = (
    "{office_share:.0%} of its active hours on {days:.0f} days are office hours, "
    "{items:,.0f} items viewed, {purchases:,.0f} purchases"
)
"""What looks like staff. It is said, and nobody is removed for it."""

_SQL = """
WITH candidates AS (
    SELECT user_id FROM {views} GROUP BY user_id HAVING count(*) >= $fewest
), views AS MATERIALIZED (  -- of a moment that is there twice, one counts
    SELECT user_id, timestamp, min(item_id) AS item,
        CASE WHEN min(item_id) = max(item_id) THEN 1 ELSE count(*) END AS n
    FROM {views} SEMI JOIN candidates USING (user_id) GROUP BY ALL
), clocks AS (
    SELECT user_id, bool_or(epoch_us(timestamp) % 86400000000 <> 0) AS has_clock,
        CASE WHEN bool_and(epoch_us(timestamp) % 60000000 = 0) THEN 60 ELSE 1 END AS tick
    FROM views GROUP BY user_id
), hours AS (
    SELECT user_id, epoch_us(timestamp) // 3600000000 AS hour, sum(n) AS n,
        timezone(current_setting('TimeZone'), timezone('UTC', min(timestamp))) AS here
    FROM views GROUP BY ALL
), runs AS (
    SELECT user_id, max(run) AS longest_run FROM (
        SELECT user_id, count(*) AS run FROM (
            SELECT user_id, hour - row_number() OVER (PARTITION BY user_id ORDER BY hour) AS start
            FROM hours)
        GROUP BY user_id, start)
    GROUP BY user_id
), activity AS (
    SELECT user_id, max(n) AS busiest_hour, count(*) AS active_hours,
        count(DISTINCT here::DATE) AS days,
        avg((isodow(here) <= 5 AND hour(here) BETWEEN 8 AND 17)::INT) AS office_share,
        {of_day} AS of_day
    FROM hours GROUP BY user_id
), steps AS (
    SELECT user_id, epoch(timestamp - lag(timestamp) OVER moments) AS gap,
        CASE WHEN item <> lag(item) OVER moments THEN (item > lag(item) OVER moments)::INT END AS up
    FROM views WINDOW moments AS (PARTITION BY user_id ORDER BY timestamp)
), rhythm AS (
    SELECT user_id, count(up) AS steps, 0.5 + abs(avg(up) - 0.5) AS one_way,
        count(*) FILTER (gap <= $pause) AS gaps,
        quantile_cont(gap, [0.25, 0.5, 0.75]) FILTER (gap <= $pause) AS q
    FROM steps GROUP BY user_id
), bought AS (
    SELECT user_id, count(*) FILTER (event = 'purchase') AS purchases,
        count(DISTINCT item_id) FILTER (event = 'view') AS items
    FROM {actions} SEMI JOIN candidates USING (user_id) GROUP BY user_id
)
SELECT user_id, busiest_hour, gaps, q[2] AS gap_median, q[3] / nullif(q[1], 0) AS gap_factor,
    active_hours, longest_run, of_day, steps, one_way, tick, days, office_share, items, purchases
FROM clocks JOIN activity USING (user_id) JOIN runs USING (user_id) JOIN rhythm USING (user_id)
    JOIN bought USING (user_id)
WHERE has_clock ORDER BY user_id
"""
_OF_DAY = ", ".join(f"count(*) FILTER (hour % 24 = {hour})" for hour in range(24)).join("[]")


def classify(connection: Connection, rules: "Rules") -> pd.DataFrame:
    """Which accounts behave like programs, with the evidence.

    Parameters
    ----------
    connection : DuckDBPyConnection
        With the view ``alive`` (``user_id``, ``item_id``, ``event``, ``timestamp``); its time zone
        is that of the store.
    rules : Rules
        For the thresholds.

    Returns
    -------
    DataFrame
        Index ``user_id``: the accounts with enough views to be looked at, and a clock time. The
        evidence, a bool column for each of :data:`SIGNS`, ``is_bot`` (two signs or more),
        ``like_staff`` (nothing follows from it) and ``why`` in words.
    """
    fewest = min(rules.regular_gaps, rules.ordered_steps) + 1
    connection.execute(
        "CREATE VIEW actions AS FROM alive "
        "WHERE user_id IS NOT NULL AND item_id IS NOT NULL AND timestamp IS NOT NULL"
    )
    n_views = scalar(connection, "SELECT count(*) FROM actions WHERE event = 'view'")
    shares = 1 + n_views // ROWS  # of the users, so a large log needs no more memory
    found = []
    for share in range(shares if n_views >= fewest else 0):  # else nobody has enough views
        actions = f"(FROM actions WHERE hash(user_id) % {shares} = {share})"
        views = f"(FROM {actions} WHERE event = 'view')"
        query = _SQL.format(views=views, actions=actions, of_day=_OF_DAY)
        given = {"fewest": fewest, "pause": rules.pause_seconds}
        found.append(connection.execute(query, given).df())
    if not found:
        return pd.DataFrame()
    facts = pd.concat(found).astype({"user_id": "str"}).set_index("user_id").sort_index()
    return _signs(facts, rules)


def _signs(facts: pd.DataFrame, rules: "Rules") -> pd.DataFrame:
    """The evidence with the signs, the two verdicts and their words."""
    of_day = np.array(facts.pop("of_day").tolist(), dtype=float).reshape(len(facts), 24)
    thirds = np.array([np.roll(of_day, -start, axis=1)[:, :8].sum(axis=1) for start in range(24)])
    facts["quiet_share"] = thirds.min(axis=0) / of_day.sum(axis=1)
    signs = pd.DataFrame(
        {
            "fast": facts["busiest_hour"] >= rules.views_in_hour,
            # A clock of whole minutes makes everybody's gaps look alike.
            "regular": (facts["gaps"] >= rules.regular_gaps)
            & (facts["gap_factor"] <= rules.regular_factor)
            & (facts["gap_median"] >= 3 * facts["tick"]),
            "around the clock": (facts["longest_run"] >= rules.clock_hours)
            | (
                (facts["quiet_share"] >= rules.clock_share)
                & (facts["active_hours"] >= 3 * rules.clock_hours)
            ),
            "in order": (facts["steps"] >= rules.ordered_steps)
            & (facts["one_way"] >= rules.ordered_share),
        }
    )
    is_bot = signs.sum(axis=1) >= NEEDED
    like_staff = (
        ~is_bot
        & (facts["office_share"] >= 0.9)
        & (facts["days"] >= 10)
        & (facts["items"] >= 100)
        & (100 * facts["purchases"] <= facts["items"])
    )
    limits = vars(rules)
    rows = facts.join(signs).assign(like_staff=like_staff).to_dict("records")
    why = []
    for row in cast("list[dict[str, Any]]", rows):
        clock = RUN if row["longest_run"] >= rules.clock_hours else SPREAD
        row["clock"] = clock.format(**row, **limits)
        texts = [text.format(**row, **limits) for sign, text in SIGNS.items() if row[sign]]
        why.append("; ".join([*texts, *([STAFF.format(**row)] if row["like_staff"] else [])]))
    return facts.join(signs).assign(is_bot=is_bot, like_staff=like_staff, why=why)
