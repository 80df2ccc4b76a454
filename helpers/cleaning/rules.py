"""The removal rules: each named, counted and switchable; SQL over the validated events.

All rules leave each row either untouched or removed under the first rule that hits it, so rows in
are rows kept plus rows removed, always. None depends on the order of the rows.
"""

import difflib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import crawleruseragents
import duckdb
import pandas as pd

from helpers.cleaning import accounts
from helpers.cleaning.sql import Connection, literal, scalar
from helpers.io import DatasetError

RULES = {
    "missing user": "no user id, so no one to recommend to",
    "missing item": "no item",
    "dates out of range": "outside of the dates asked for, or in the future",
    "cancellations": "the line of a cancelled order, or a return",
    "quantity": "quantity zero or negative",
    "price": "price zero or negative",
    "service items": "postage, samples, adjustments: no product",
    "declared bots": "the user agent names a crawler",
    "staff": "an account, address or network that was given as staff",
    "duplicates": "the same row once more, in every column of the file",
    "near duplicates": "the same click by the same user within seconds",
    "cancelled purchases": "a purchase that was cancelled later",
    "bots": "the account behaves like a program, by two signs of timing or order",
}
"""The rules in the order in which they are applied, each with what it removes."""

SERVICE_ITEMS = (
    r"post(age)?|dot|shipping|delivery|carriage|freight|handling|discount|manual|adjust(ment)?\d*|"
    r"bank charges|(amazon)?fee|commission|samples?|"
    r"gift[ _-]?(card|voucher|certificate).*|test[ _-]?\d*"
)
"""Item codes that are words for services in any store; a store's own codes are added to it."""


@dataclass(frozen=True)
class Rules:
    """Which rules apply, and what they need to know.

    Attributes
    ----------
    without : collection of str
        Names of rules (:data:`RULES`) that are switched off.
    earliest, latest : str or Timestamp, optional
        First and last moment to keep, in the zone of the store; without ``latest``, a day from now.
    cancelled_orders : str
        Regular expression for the start of an order id that is a cancellation (``"C"`` followed by
        digits at UCI's Online Retail); empty for none.
    service_items : str
        Regular expression for whole item ids, in any case, that are no products. It applies to
        rows with an order or a price: a song called "Manual" is an item.
    near_duplicate_seconds : float, 0 to 86,400
        Clicks (no purchases) of one user on one item are the same click up to this many seconds
        after the one before; 0 keeps all but equal times.
    staff_users, staff_addresses : collection of str
        The store's own accounts, and addresses or networks (``"192.0.2.0/28"``).
    views_in_hour : int
        Sign "fast": views in the busiest clock hour. 200 is one every
        18 seconds for an hour; the busiest of 257 real shoppers had 84.
    regular_gaps, regular_factor, pause_seconds : int, float, float
        Sign "regular": of so many gaps no longer than the pause, the third quartile is at most
        this factor times the first. A timer that varies by half has 1.7; real shoppers have 2.5
        and more.
    clock_share, clock_hours : float, int
        Sign "around the clock": so many hours in a row with a view in each; or, of three times as
        many hours, this share lies in the user's quietest third of the day (evenly spread: .33).
    ordered_steps, ordered_share : int, float
        Sign "in order": of so many steps from one item to the next, this share goes up the item
        ids, or down.

    Raises
    ------
    DatasetError
        On construction, if a value is of the wrong type or out of its range.
    """

    without: Collection[str] = ()
    earliest: str | pd.Timestamp | None = None
    latest: str | pd.Timestamp | None = None
    cancelled_orders: str = r"[Cc]\d"
    service_items: str = SERVICE_ITEMS
    near_duplicate_seconds: float = 2.0
    staff_users: Collection[str] = ()
    staff_addresses: Collection[str] = ()
    views_in_hour: int = 200
    regular_gaps: int = 50
    regular_factor: float = 2.0
    pause_seconds: float = 7_200.0
    clock_share: float = 0.17
    clock_hours: int = 16
    ordered_steps: int = 30
    ordered_share: float = 0.9

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
            try:  # with the engine's own library, which knows no look-ahead
                if not isinstance(pattern, str):
                    raise TypeError("it is no text")
                duckdb.execute("SELECT regexp_matches('', $1)", [pattern])
            except (duckdb.Error, TypeError) as error:
                raise DatasetError(
                    f"{name} is {pattern!r}, which is no regular expression ({error}); expected "
                    "one in the syntax of RE2, or an empty text for none"
                ) from error
        for name, least, most in _RANGES:
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int | float):
                raise DatasetError(f"{name} is {given!r}, expected a number")
            if not least <= given <= most:
                raise DatasetError(f"{name} is {given}, expected {least:,} to {most:,}")
        self.networks()
        start, end = self.period("UTC")
        if start >= end:
            raise DatasetError(f"earliest is {start}, which is not before latest, {end}")

    @classmethod
    def read(
        cls, path: str | Path | None = None, given: Mapping[str, str] | None = None
    ) -> "Rules":
        """Rules from a TOML file and from texts such as those of a command line, which count more.

        Parameters
        ----------
        path : path, optional
            A TOML file with the attributes as keys: ``views_in_hour = 500``.
        given : mapping of str to str, optional
            Values as TOML writes them; quotes around texts may be left out.

        Raises
        ------
        DatasetError
            If the file cannot be read, or a name is unknown or a value wrong.

        Examples
        --------
        >>> Rules.read(given={"views_in_hour": "500"}).views_in_hour
        500
        """
        values: dict[str, Any] = {}
        if path is not None:
            try:
                values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise DatasetError(f"the rules {path} cannot be read ({error})") from error
        values |= {name: _value(text) for name, text in (given or {}).items()}
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise DatasetError(f"there is no rule setting {name!r}; {hint}")
        return cls(**values)

    def period(self, zone: str) -> tuple[pd.Timestamp, pd.Timestamp]:
        """First and last moment to keep, in UTC."""
        now = pd.Timestamp.now(tz="UTC") + pd.Timedelta(days=1)
        first = self.earliest if self.earliest is not None else "1990-01-01"
        last = self.latest if self.latest is not None else now
        return _moment("earliest", first, zone), _moment("latest", last, zone)

    def networks(self) -> list[IPv4Network | IPv6Network]:
        """The addresses of staff; a single address is a network of one."""
        try:
            return [ip_network(str(each).strip(), strict=False) for each in self.staff_addresses]
        except ValueError as error:
            raise DatasetError(
                f"staff_addresses has an entry that is neither an address nor a network ({error}); "
                "expected such as 192.0.2.7 or 192.0.2.0/28"
            ) from error

    def applies(self, rule: str) -> bool:
        """Whether a rule is switched on."""
        return rule not in self.without


_RANGES = (
    ("near_duplicate_seconds", 0, 86_400),
    ("views_in_hour", 1, 1_000_000),
    ("regular_gaps", 10, 1_000_000),
    ("regular_factor", 1, 100),
    ("pause_seconds", 1, 86_400),
    ("clock_share", 0.01, 1 / 3),
    ("clock_hours", 2, 10_000),
    ("ordered_steps", 10, 1_000_000),
    ("ordered_share", 0.5, 1),
)


@dataclass(frozen=True)
class Verdicts:
    """What the rules found beside the rows that they removed.

    Attributes
    ----------
    accounts : DataFrame
        As :func:`helpers.cleaning.accounts.classify` returns it; empty without times.
    n_reduced : int
        Purchases of which a part was returned: kept with what is left.
    n_unmatched : int
        Returns for which the log holds no purchase.
    """

    accounts: pd.DataFrame
    n_reduced: int
    n_unmatched: int


def apply(connection: Connection, rules: Rules) -> Verdicts:
    """Fill the table ``removed`` (id, rule) from the view ``events``.

    Parameters
    ----------
    connection : DuckDBPyConnection
        With the view ``events``: ``id``, the tidy columns (all of them; NULL where the log has
        none) and ``fingerprint``; its time zone is that of the store. Also makes the tables
        ``reduced`` (id, value) and the view ``alive``.
    rules : Rules

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
    found = accounts.classify(connection, rules)
    if rules.applies("bots") and len(found):
        is_bot = _among(connection, "user_id", "bots", found.index[found["is_bot"]])
        connection.execute(f"INSERT INTO removed SELECT id, 'bots' FROM alive WHERE {is_bot}")
    n_reduced = scalar(connection, "SELECT count(*) FROM reduced ANTI JOIN removed USING (id)")
    return Verdicts(found, n_reduced, n_unmatched)


def _value(text: str) -> Any:
    """A text as TOML reads it, or as it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _moment(name: str, value: str | pd.Timestamp, zone: str) -> pd.Timestamp:
    try:
        moment = pd.Timestamp(value)
        if pd.isna(moment):
            raise ValueError("it is missing")
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{name} is {value!r}, expected a date or time ({error})") from error
    return (moment.tz_localize(zone) if moment.tz is None else moment).tz_convert("UTC")


def _is_return(rules: Rules) -> str:
    if not rules.cancelled_orders:
        return "(event = 'return')"
    pattern = literal(f"^(?:{rules.cancelled_orders})")
    # Some stores number good orders like that, too; a cancellation takes something back.
    cancelled = f"(value < 0 AND regexp_matches(order_id, {pattern}))"
    return f"coalesce(event = 'return' OR {cancelled}, false)"


def _is_crawler(agent: str) -> bool:
    """Whether a user agent names a crawler; HTTP libraries are what apps use, too."""
    known = crawleruseragents.CRAWLER_USER_AGENTS_DATA
    tags = (known[number].get("tags", []) for number in crawleruseragents.matching_crawlers(agent))
    return any("http-library" not in each for each in tags)


def _row_rules(connection: Connection, rules: Rules) -> None:
    """The rules that need nothing but the row."""

    def distinct(column: str) -> list[str]:
        query = f"SELECT DISTINCT {column} FROM events WHERE {column} IS NOT NULL"
        return [text for (text,) in connection.execute(query).fetchall()]

    agents = distinct("user_agent") if rules.applies("declared bots") else []
    networks = rules.networks()
    staff = [each for each in distinct("address") if _is_in(each, networks)] if networks else []
    service = f"regexp_full_match(item_id, {literal(rules.service_items)}, 'i')"
    # 0 is nobody, but where users are numbered from 0 on.
    numbered = scalar(
        connection,
        "SELECT count(DISTINCT user_id) = 2 FROM events WHERE user_id = '1' OR user_id = '2'",
    )
    zone = scalar(connection, "SELECT current_setting('TimeZone')")
    start, end = (moment.tz_convert(None).isoformat() for moment in rules.period(zone))
    hits = {
        "missing user": "user_id IS NULL" if numbered else "coalesce(user_id, '0') = '0'",
        "missing item": "item_id IS NULL",
        "dates out of range": f"timestamp NOT BETWEEN '{start}' AND '{end}'",
        "cancellations": _is_return(rules),
        "quantity": "event = 'purchase' AND value <= 0",
        "price": "event = 'purchase' AND price <= 0",
        "service items": "coalesce(order_id, price::TEXT) IS NOT NULL AND item_id IN ("
        f"SELECT DISTINCT item_id FROM events WHERE {service if rules.service_items else 'false'})",
        "declared bots": _among(connection, "user_agent", "crawlers", filter(_is_crawler, agents)),
        "staff": _among(connection, "user_id", "staff_users", map(str, rules.staff_users))
        + " OR "
        + _among(connection, "address", "staff_addresses", staff),
    }
    cases = " ".join(
        f"WHEN {hit} THEN {literal(rule)}" for rule, hit in hits.items() if rules.applies(rule)
    )
    if cases:
        connection.execute(
            f"INSERT INTO removed SELECT * FROM "
            f"(SELECT id, CASE {cases} END AS rule FROM events) WHERE rule IS NOT NULL"
        )


def _among(connection: Connection, column: str, table: str, texts: Iterable[str]) -> str:
    """SQL for "is one of these"; they stand in a table, since they may be many."""
    connection.register(table, pd.DataFrame({"text": pd.Series(list(texts), dtype="str")}))
    return f"{column} IN (FROM {table})"


def _is_in(address: str, networks: list[IPv4Network | IPv6Network]) -> bool:
    try:
        found = ip_address(address.strip())
    except ValueError:
        return False
    return any(found in network for network in networks)


def _duplicates(connection: Connection) -> None:
    """All rows but one of those that are equal in every column, in a log with a clock.

    Two purchases of one item on one day are two, where the log knows the day only.
    """
    clock = "SELECT bool_or(epoch_us(timestamp) % 86400000000 <> 0) FROM events"
    if not scalar(connection, clock):
        return
    # Few rows share a fingerprint with another: only those are compared (a fingerprint alone
    # could be shared by chance; user, item and time settle it).
    connection.execute(
        """
        INSERT INTO removed
        SELECT id, 'duplicates' FROM alive SEMI JOIN (
            SELECT fingerprint FROM events GROUP BY fingerprint HAVING count(*) > 1
        ) USING (fingerprint)
        QUALIFY row_number() OVER (
            PARTITION BY fingerprint, user_id, item_id, timestamp ORDER BY id) > 1
        """
    )


def _near_duplicates(connection: Connection, seconds: float) -> None:
    """Clicks that follow another one of the same user, item and event within seconds."""
    gap = round(seconds * 1e6)
    width = max(2 * gap, 1)
    # Two events within the gap share a bucket of twice the gap in one of two shifted grids; so
    # only the few that share one are sorted.
    candidates = " UNION ".join(
        f"""
        SELECT clicks.* FROM clicks SEMI JOIN (
            SELECT what, (moment + {shift}) // {width} AS bucket FROM clicks
            GROUP BY ALL HAVING count(*) > 1
        ) AS crowded ON clicks.what = crowded.what AND (moment + {shift}) // {width} = bucket
        """
        for shift in sorted({0, gap})
    )
    connection.execute(
        f"""
        CREATE TABLE clicks AS
        SELECT id, hash(user_id, item_id, event) AS what, epoch_us(timestamp) AS moment, fingerprint
        FROM alive WHERE event <> 'purchase' AND timestamp IS NOT NULL
            AND user_id IS NOT NULL AND item_id IS NOT NULL;
        INSERT INTO removed SELECT id, 'near duplicates' FROM ({candidates})
        QUALIFY moment - lag(moment) OVER (
            PARTITION BY what ORDER BY moment, fingerprint, id) <= {gap};
        DROP TABLE clicks
        """
    )


def _net(connection: Connection, rules: Rules) -> int:
    """Net returns against the purchases that they cancel; the number without such a purchase.

    A return of n pieces first takes back the latest earlier purchase of exactly n that is still
    there; what remains takes back pieces from the latest purchases on. "Still there" is a stack:
    with the stock ``S_t = max(0, S_(t-1) + q_t)``, a purchase keeps what later stocks never fall
    below.
    """
    returns = f"({_is_return(rules)} OR value < 0)"
    time = "coalesce(timestamp, TIMESTAMP '1970-01-01')"
    ordered = "ORDER BY moment, back, fingerprint, id"
    exact = _stack("1", f"PARTITION BY user_id, item_id, n {ordered}", "lines")
    rest = "(SELECT * FROM lines ANTI JOIN matched USING (id))"
    partly = _stack("n", f"PARTITION BY user_id, item_id {ordered}", rest)
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
            USING (user_id, item_id);
        CREATE TABLE matched AS SELECT id, back FROM ({exact})
        WHERE CASE WHEN back THEN before > 0 ELSE coalesce(lowest < stock, false) END;
        CREATE TABLE partly AS SELECT id, back, n, before,
            greatest(0, least(n, coalesce(lowest, stock) - before)) AS left_over FROM ({partly});
        INSERT INTO removed SELECT id, 'cancelled purchases' FROM (
            SELECT id FROM matched WHERE NOT back
            UNION ALL SELECT id FROM partly WHERE NOT back AND left_over < 1e-9);
        INSERT INTO reduced SELECT id, left_over FROM partly
        WHERE NOT back AND left_over >= 1e-9 AND left_over < n - 1e-9
        """
    )
    unmatched = "SELECT count(*) FROM partly WHERE back AND before < n - 1e-9"
    return int(scalar(connection, unmatched))


def _stack(amount: str, window: str, table: str) -> str:
    """SQL for the stock before and after each line, and the lowest stock after it."""
    return f"""
        SELECT *, coalesce(lag(stock) OVER ({window}), 0) AS before, min(stock) OVER (
            {window} ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS lowest
        FROM (
            SELECT *, total - least(0, min(total) OVER ({window})) AS stock FROM (
                SELECT *, sum(CASE WHEN back THEN -{amount} ELSE {amount} END) OVER ({window})
                    AS total FROM {table}))
    """
