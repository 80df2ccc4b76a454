"""The removal rules: each named, counted and switchable; SQL over the validated events.

All rules leave each row either untouched or removed under the first rule that hits it, so rows in
are rows kept plus rows removed, always. None depends on the order of the rows.
"""

import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

import crawleruseragents
import duckdb
import pandas as pd
import pyarrow
from pyarrow import compute

from helpers.cleaning import behaviour
from helpers.cleaning.sql import literal
from helpers.io import DatasetError

RULES = {
    "missing user": "no user: nobody can be recommended anything for it",
    "missing item": "no item",
    "dates out of range": "outside of the dates asked for, or in the future",
    "cancellations": "the line of a cancelled order, or a return",
    "quantity": "a purchase of nothing or less",
    "price": "a purchase for nothing or less",
    "service items": "postage, samples, adjustments: no product",
    "declared bots": "the user agent names a crawler",
    "staff": "an account or an address that was given as staff",
    "duplicates": "the same row once more, in every column that is read",
    "near duplicates": "the same click by the same user within seconds",
    "cancelled purchases": "a purchase that was cancelled later",
    "bots": "the account behaves like a program",
    "staff behaviour": "the account behaves like staff",
}
"""The rules in the order in which they are applied, each with what it removes."""

EVIDENCE_ROWS = 5_000_000
"""Rows from which evidence of behaviour is gathered at a time; it bounds the memory."""

SERVICE_ITEMS = (
    r"post(age)?|dot|shipping|delivery|carriage|freight|handling|discount|manual|adjust(ment)?\d*|"
    r"bank charges|(amazon)?fee|commission|samples?|"
    r"gift[ _-]?(card|voucher|certificate).*|test[ _-]?\d*"
)
"""Item ids that are words for services in any store; a store's own codes are added to it."""


LONGEST_GAP = 86_400
"""Seconds beyond which nobody means the same click."""


@dataclass(frozen=True)
class Rules:
    """Which rules apply, and what they need to know.

    Attributes
    ----------
    without : collection of str
        Names of rules (:data:`RULES`) that are switched off.
    earliest, latest : str or Timestamp, optional
        First and last moment to keep; without ``latest``, a day from now.
    cancelled_orders : str
        Regular expression for the start of an order id that is a cancellation (``"C"`` followed by
        digits at UCI's Online Retail); empty for none.
    service_items : str
        Regular expression for whole item ids, in any case, that are no products.
    near_duplicate_seconds : float, at least 0
        Clicks (no purchases) of one user on one item are the same click up to this many seconds
        after the one before; 0 keeps all but equal times.
    staff_users, staff_addresses : collection of str
        Accounts and addresses of the store's own people.
    thresholds : behaviour.Thresholds
        When an account behaves like a program or like staff.

    Raises
    ------
    DatasetError
        On construction, for an unknown rule, a pattern that is no regular expression, a negative
        number of seconds, or dates that cannot be read.
    """

    without: Collection[str] = ()
    earliest: str | pd.Timestamp | None = None
    latest: str | pd.Timestamp | None = None
    cancelled_orders: str = r"[Cc]\d"
    service_items: str = SERVICE_ITEMS
    near_duplicate_seconds: float = 2.0
    staff_users: Collection[str] = ()
    staff_addresses: Collection[str] = ()
    thresholds: behaviour.Thresholds = field(default_factory=behaviour.Thresholds)

    def __post_init__(self) -> None:
        for name in ("without", "staff_users", "staff_addresses"):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Collection):
                raise DatasetError(f"{name} is {given!r}, expected a list of texts")
        unknown = sorted(map(str, set(self.without) - set(RULES)))
        if unknown:
            raise DatasetError(f"there are no rules {unknown}; expected some of {', '.join(RULES)}")
        for name in ("cancelled_orders", "service_items"):
            pattern = getattr(self, name)
            try:  # with the same library as the engine, which knows no look-ahead
                compute.match_substring_regex(pyarrow.array([""]), pattern)
            except (pyarrow.ArrowInvalid, TypeError) as error:
                raise DatasetError(
                    f"{name} is {pattern!r}, which is no regular expression ({error}); expected "
                    "one in the syntax of RE2, or an empty text for none"
                ) from error
        seconds = self.near_duplicate_seconds
        if not isinstance(seconds, Real) or not 0 <= float(seconds) <= LONGEST_GAP:
            raise DatasetError(
                f"near_duplicate_seconds is {seconds!r}, expected a number from 0 to "
                f"{LONGEST_GAP:,} (a day); to keep all clicks, switch the rule off"
            )
        if not isinstance(self.thresholds, behaviour.Thresholds):
            raise DatasetError(f"thresholds is {self.thresholds!r}, expected Thresholds(...)")
        start, end = self.period()
        if start >= end:
            raise DatasetError(f"earliest is {start}, which is not before latest, {end}")

    def period(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """First and last moment to keep, in UTC."""
        now = pd.Timestamp.now(tz="UTC") + pd.Timedelta(days=1)
        first = self.earliest if self.earliest is not None else "1990-01-01"
        last = self.latest if self.latest is not None else now
        return _moment("earliest", first), _moment("latest", last)

    def applies(self, rule: str) -> bool:
        """Whether a rule is switched on."""
        return rule not in self.without


@dataclass(frozen=True)
class Verdicts:
    """What the rules found beside the rows that they removed.

    Attributes
    ----------
    users : DataFrame
        Evidence and verdict for each account that was judged; empty without times.
    n_reduced : int
        Purchases of which a part was returned: kept with what is left.
    n_unmatched : int
        Returns for which the log holds no purchase.
    """

    users: pd.DataFrame
    n_reduced: int
    n_unmatched: int


def apply(connection: duckdb.DuckDBPyConnection, rules: Rules, scratch: Path) -> Verdicts:
    """Fill the table ``removed`` (id, rule) from the view ``events``.

    Parameters
    ----------
    connection : DuckDBPyConnection
        With the view ``events``: ``id``, the tidy columns (all of them; NULL where the log has
        none) and ``fingerprint``. Also makes the tables ``reduced`` (id, value) and the view
        ``alive``.
    rules : Rules
    scratch : Path
        An existing folder for what does not fit into memory.

    Returns
    -------
    Verdicts
    """
    connection.execute("CREATE TABLE removed (id BIGINT, rule VARCHAR)")
    connection.execute("CREATE TABLE reduced (id BIGINT, value DOUBLE)")
    connection.execute("CREATE VIEW alive AS SELECT * FROM events ANTI JOIN removed USING (id)")
    _row_rules(connection, rules)
    if rules.applies("duplicates"):
        _duplicates(connection)
    if rules.applies("near duplicates"):
        _near_duplicates(connection, rules.near_duplicate_seconds)
    n_unmatched = _net(connection, rules) if rules.applies("cancelled purchases") else 0
    users = _judge(connection, rules, scratch)
    [(n_reduced,)] = connection.execute(
        "SELECT count(*) FROM reduced ANTI JOIN removed USING (id)"
    ).fetchall()
    return Verdicts(users, n_reduced, n_unmatched)


def _moment(name: str, value: str | pd.Timestamp) -> pd.Timestamp:
    try:
        moment = pd.Timestamp(value)
        if pd.isna(moment):
            raise ValueError("it is missing")
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{name} is {value!r}, expected a date or time ({error})") from error
    return moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")


def _is_return(rules: Rules) -> str:
    if not rules.cancelled_orders:
        return "(event = 'return')"
    pattern = literal(f"^(?:{rules.cancelled_orders})")
    # Some stores number good orders like that, too; a cancellation takes something back.
    cancelled = f"(value < 0 AND regexp_matches(order_id, {pattern}))"
    return f"coalesce(event = 'return' OR {cancelled}, false)"


def _row_rules(connection: duckdb.DuckDBPyConnection, rules: Rules) -> None:
    """The rules that need nothing but the row."""
    start, end = (moment.tz_convert(None).isoformat() for moment in rules.period())
    connection.execute("CREATE TABLE service (item_id VARCHAR)")
    if rules.service_items:
        connection.execute(
            "INSERT INTO service SELECT DISTINCT item_id FROM events "
            "WHERE regexp_full_match(item_id, $1, 'i')",
            [rules.service_items],
        )
    agents = connection.execute(
        "SELECT DISTINCT user_agent FROM events WHERE user_agent IS NOT NULL"
    ).fetchall()
    crawlers = [(agent,) for (agent,) in agents if crawleruseragents.is_crawler(agent)]
    for table, values in (
        ("crawlers", crawlers),
        ("staff_users", [(each,) for each in sorted(map(str, rules.staff_users))]),
        ("staff_addresses", [(each,) for each in sorted(map(str, rules.staff_addresses))]),
    ):
        connection.execute(f"CREATE TABLE {table} (name VARCHAR)")
        if values:
            connection.executemany(f"INSERT INTO {table} VALUES (?)", values)
    hits = {
        "missing user": "user_id IS NULL",
        "missing item": "item_id IS NULL",
        "dates out of range": f"timestamp NOT BETWEEN '{start}' AND '{end}'",
        "cancellations": _is_return(rules),
        "quantity": "value <= 0",
        "price": "event = 'purchase' AND price <= 0",
        "service items": "item_id IN (FROM service)",
        "declared bots": "user_agent IN (FROM crawlers)",
        "staff": "user_id IN (FROM staff_users) OR address IN (FROM staff_addresses)",
    }
    cases = " ".join(
        f"WHEN {hit} THEN {literal(rule)}" for rule, hit in hits.items() if rules.applies(rule)
    )
    if cases:
        connection.execute(
            f"INSERT INTO removed SELECT * FROM "
            f"(SELECT id, CASE {cases} END AS rule FROM events) WHERE rule IS NOT NULL"
        )


def _duplicates(connection: duckdb.DuckDBPyConnection) -> None:
    """All rows but one of those that are equal in every column."""
    # Few rows share a fingerprint with another: only those are compared (a fingerprint alone
    # could be shared by chance; user, item and time settle it).
    connection.execute(
        """
        INSERT INTO removed
        SELECT id, 'duplicates' FROM (
            SELECT id, row_number() OVER (
                PARTITION BY fingerprint, user_id, item_id, timestamp ORDER BY id
            ) AS nth
            FROM alive SEMI JOIN (
                SELECT fingerprint FROM events GROUP BY fingerprint HAVING count(*) > 1
            ) USING (fingerprint)
        ) WHERE nth > 1
        """
    )


def _near_duplicates(connection: duckdb.DuckDBPyConnection, seconds: float) -> None:
    """Clicks that follow another one of the same user, item and event within seconds."""
    gap = round(seconds * 1e6)
    width = max(2 * gap, 1)
    # Two events within the gap share a bucket of twice the gap in one of two shifted grids; so
    # only the few that share one are sorted.
    connection.execute(
        """
        CREATE TABLE clicks AS
        SELECT id, hash(user_id, item_id, event) AS what, epoch_us(timestamp) AS moment, fingerprint
        FROM alive
        WHERE event <> 'purchase' AND timestamp IS NOT NULL
            AND user_id IS NOT NULL AND item_id IS NOT NULL
        """
    )
    grids = sorted({0, gap})
    for shift in grids:
        connection.execute(
            f"CREATE TABLE crowded_{shift} AS "
            f"SELECT what, (moment + {shift}) // {width} AS bucket FROM clicks "
            "GROUP BY ALL HAVING count(*) > 1"
        )
    candidates = " UNION ".join(
        f"SELECT clicks.* FROM clicks SEMI JOIN crowded_{shift} AS c "
        f"ON clicks.what = c.what AND (moment + {shift}) // {width} = c.bucket"
        for shift in grids
    )
    connection.execute(
        f"""
        INSERT INTO removed
        SELECT id, 'near duplicates' FROM (
            SELECT id, moment - lag(moment) OVER (
                PARTITION BY what ORDER BY moment, fingerprint, id
            ) AS gap
            FROM ({candidates})
        ) WHERE gap <= {gap}
        """
    )
    connection.execute("DROP TABLE clicks")


def _net(connection: duckdb.DuckDBPyConnection, rules: Rules) -> int:
    """Net returns against the purchases that they cancel; the number without such a purchase.

    A return of n pieces first takes back the latest earlier purchase of exactly n that is still
    there; what remains takes back pieces from the latest purchases on. "Still there" is a stack:
    with the stock ``S_t = max(0, S_(t-1) + q_t)``, a purchase keeps what later stocks never fall
    below.
    """
    returns = f"({_is_return(rules)} OR value < 0)"
    time = "coalesce(timestamp, TIMESTAMP '1970-01-01')"
    connection.execute(
        f"""
        CREATE TABLE lines AS
        WITH usable AS (
            SELECT id, user_id, item_id, {time} AS moment, fingerprint,
                {returns} AS back, abs(value) AS n
            FROM events LEFT JOIN removed USING (id)
            WHERE event IN ('purchase', 'return') AND user_id IS NOT NULL AND item_id IS NOT NULL
                AND value <> 0
                AND CASE WHEN {returns} THEN rule IN ('cancellations', 'quantity')
                    ELSE rule IS NULL END
        ), once AS (
            -- Cancellations are removed before duplicates are: here they count once.
            SELECT * FROM usable WHERE NOT back UNION ALL
            (SELECT DISTINCT ON (fingerprint, user_id, item_id, moment) *
             FROM usable WHERE back ORDER BY id)
        )
        SELECT * FROM once SEMI JOIN (SELECT user_id, item_id FROM once WHERE back)
            USING (user_id, item_id)
        """
    )
    ordered = "ORDER BY moment, back, fingerprint, id"
    exact = _stack("1", f"PARTITION BY user_id, item_id, n {ordered}", "lines")
    connection.execute(
        f"CREATE TABLE matched AS SELECT id, back FROM ({exact}) "
        "WHERE CASE WHEN back THEN before > 0 ELSE coalesce(lowest < stock, false) END"
    )
    rest = "SELECT * FROM lines ANTI JOIN matched USING (id)"
    partly = _stack("n", f"PARTITION BY user_id, item_id {ordered}", f"({rest})")
    connection.execute(
        f"CREATE TABLE partly AS SELECT id, back, n, before, "
        f"greatest(0, least(n, coalesce(lowest, stock) - before)) AS left_over FROM ({partly})"
    )
    connection.execute(
        """
        INSERT INTO removed
        SELECT id, 'cancelled purchases' FROM (
            SELECT id FROM matched WHERE NOT back
            UNION ALL SELECT id FROM partly WHERE NOT back AND left_over < 1e-9
        )
        """
    )
    connection.execute(
        "INSERT INTO reduced SELECT id, left_over FROM partly "
        "WHERE NOT back AND left_over >= 1e-9 AND left_over < n - 1e-9"
    )
    [(unmatched,)] = connection.execute(
        "SELECT count(*) FROM partly WHERE back AND before < n - 1e-9"
    ).fetchall()
    return int(unmatched)


def _stack(amount: str, window: str, table: str) -> str:
    """SQL for the stock before and after each line, and the lowest stock after it."""
    return f"""
        SELECT *, min(stock) OVER (
            {window} ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ) AS lowest FROM (
            SELECT *, total - least(0, min(total) OVER ({window})) AS stock,
                coalesce(
                    total - signed - least(0, min(total) OVER (
                        {window} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                    )), 0
                ) AS before
            FROM (
                SELECT *, CASE WHEN back THEN -{amount} ELSE {amount} END AS signed,
                    sum(CASE WHEN back THEN -{amount} ELSE {amount} END) OVER ({window}) AS total
                FROM {table}
            )
        )
    """


def _judge(connection: duckdb.DuckDBPyConnection, rules: Rules, scratch: Path) -> pd.DataFrame:
    """Judge accounts by what they do, and remove those that are no customers."""
    connection.execute(
        """
        CREATE VIEW actions AS
        SELECT user_id, item_id, event, timestamp, price, false AS cancelled, address
        FROM alive WHERE user_id IS NOT NULL AND item_id IS NOT NULL AND timestamp IS NOT NULL
        UNION ALL
        SELECT user_id, item_id, event, timestamp, price, true AS cancelled, address
        FROM events SEMI JOIN (
            SELECT id FROM removed
            WHERE rule IN ('cancellations', 'quantity', 'price', 'cancelled purchases')
        ) USING (id)
        WHERE user_id IS NOT NULL AND item_id IS NOT NULL AND timestamp IS NOT NULL
        """
    )
    if not (rules.applies("bots") or rules.applies("staff behaviour")):
        return pd.DataFrame()
    # A user's evidence needs the user's own rows only, so a large log is taken in shares of users;
    # they are written once, since to look for each in all rows would take the square of the time.
    [(n_rows,)] = connection.execute("SELECT count(*) FROM actions").fetchall()
    n_shares = 1 + n_rows // EVIDENCE_ROWS
    if n_shares == 1:
        found = [behaviour.evidence(connection, "actions", rules.thresholds)]
    else:
        connection.execute(
            f"COPY (SELECT *, hash(user_id) % {n_shares} AS share FROM actions) "
            f"TO {literal(str(scratch / 'shares'))} "
            "(FORMAT parquet, CODEC lz4_raw, PARTITION_BY (share))"
        )
        found = []
        for folder in sorted((scratch / "shares").iterdir()):
            connection.execute(
                "CREATE OR REPLACE VIEW share AS FROM "
                f"read_parquet({literal(str(folder / '*.parquet'))})"
            )
            found.append(behaviour.evidence(connection, "share", rules.thresholds))
        shutil.rmtree(scratch / "shares")
    evidence = pd.concat(found).sort_index()
    verdicts = behaviour.judge(evidence, rules.thresholds)
    for rule, column in (("bots", "is_bot"), ("staff behaviour", "is_staff")):
        if not rules.applies(rule):
            continue
        guilty = pd.DataFrame({"user_id": verdicts.index[verdicts[column]].astype("str")})
        if len(guilty):
            connection.register("guilty", guilty)
            connection.execute(
                f"INSERT INTO removed SELECT id, {literal(rule)} "
                "FROM alive SEMI JOIN guilty USING (user_id)"
            )
            connection.unregister("guilty")
    return verdicts
