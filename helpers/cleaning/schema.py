"""One schema for every export: which column is what, how its text is read, which rows are valid."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from helpers.cleaning.columns import NULLS, ROLES, resolve_columns
from helpers.cleaning.reading import Part, check_plain
from helpers.cleaning.sql import Connection, listed, literal
from helpers.io import DatasetError

FIELDS = {
    "user": "user_id", "item": "item_id", "value": "value", "timestamp": "timestamp",
    "event": "event", "session": "session_id", "order": "order_id", "price": "price",
    "country": "country", "category": "category", "title": "title", "agent": "user_agent",
    "address": "address", "returned": "returned",
}  # fmt: skip
"""The column of the tidy frame for each role, in the order of its columns."""

EVENTS = {
    "view": "view views pageview viewitem productview detail click clicks",
    # Many checkouts are begun and not paid for.
    "cart": "cart carts addtocart addtobasket basket checkout begincheckout",
    "remove_from_cart": "removefromcart removefrombasket",
    "purchase": "purchase buy transaction order orders sale",
    "return": "return refund cancel cancellation",
}
"""The events of a store, with the names that exports have for them."""

NOBODY = frozenset({"guest", "anonymous", "(not set)", "-1", "-1.0"})
"""User ids, in lower case, of rows without a known user; of 0 a rule decides."""

LONGEST_ID = 256
_Columns = dict[str, dict[str, str]]
LARGEST = 1e9
"""A quantity or price beyond this is no quantity or price."""


@dataclass(frozen=True)
class Layout:
    """What a log's columns are, over all its files.

    Attributes
    ----------
    columns : dict of str to dict
        For each part: role to column.
    fields : list of str
        Columns of the tidy frame.
    events : dict of str to str
        Names of events, in letters alone, with their meaning; none if the log has no known one.
    day_first : dict of str to bool
        For each part with times: whether 3/4/2024 has the day first; None where the text has no
        such date.
    """

    columns: _Columns
    fields: list[str]
    events: dict[str, str]
    day_first: dict[str, bool | None]


def layout(
    connection: Connection,
    parts: Sequence[Part],
    columns: Mapping[str, str],
    events: Mapping[str, str],
    day_first: bool | None,
    roles: Mapping[str, str] = ROLES,
) -> Layout:
    """Decide what each column of each part is.

    Parameters
    ----------
    connection : DuckDBPyConnection
    parts : sequence of Part
    columns : mapping of role to column name
        The user's choice. A part without the named column is looked through for a usual name.
    events : mapping of str to str
        Further names of events, such as ``{"wishlist": "cart"}``.
    day_first : bool, optional
        How ``3/4/2024`` is meant; by default found from the dates of each part.
    roles : mapping of str to str
        The roles to fill; columns of others are not read.

    Returns
    -------
    Layout

    Raises
    ------
    DatasetError
        If a part has no user or item, a given column is nowhere, or dates could be read in both
        ways.
    """
    found: _Columns = {}
    for part in parts:
        given = {role: name for role, name in columns.items() if name in part.columns}
        try:
            found[part.name] = resolve_columns(part.columns, given, roles=roles)
        except DatasetError as error:
            raise DatasetError(f"{part.name}: {error}") from error
        check_plain(connection, part, list(found[part.name].values()))
    for role, name in columns.items():
        if not any(name in part.columns for part in parts):
            found_by = " (by place: it has no header line)" if parts[0].assumed else ""
            raise DatasetError(
                f"there is no column {name!r} for {role!r} in any file; the first has the columns "
                f"{', '.join(parts[0].columns)}{found_by}"
            )
    filled = {"user", "item", "value", "event"}.union(*found.values())
    return Layout(
        columns=found,
        fields=[field for role, field in FIELDS.items() if role in filled],
        events=_events(connection, parts, found, events),
        day_first={
            part.name: _day_first(connection, part, found[part.name]["timestamp"], day_first)
            for part in parts
            if "timestamp" in found[part.name]
        },
    )


def select(part: Part, plan: Layout, reasons: Mapping[str, str]) -> str:
    """Write the query that turns a part's text into typed columns.

    Parameters
    ----------
    part : Part
    plan : Layout
    reasons : mapping of str to str
        What is not valid (:func:`faults`).

    Returns
    -------
    str
        SQL with the columns of :data:`FIELDS`; ``fingerprint`` (UBIGINT), the hash of all
        columns of the file as they are there; ``reason``, the first one for which the row is not
        valid, or NULL; and for such a row, its ``text``.

    Notes
    -----
    A number that cannot be read becomes infinite and an event of unknown name stays as it is, so
    that the row is refused. A missing quantity is 1 for a click, and missing for a purchase. Times
    without a zone are in the connection's time zone; the result is UTC.
    """
    column = plan.columns[part.name]
    trimmed, read = [], []
    for role, name in column.items():
        trimmed.append(f"trimmed(CAST({part.sql(name)} AS VARCHAR)) AS text_{role}")
        nulls = words(sorted(NULLS | NOBODY if role == "user" else NULLS))
        read.append(f"unless_among(text_{role}, {nulls}) AS text_{role}")
    text = {role: f"text_{role}" if role in column else "NULL::VARCHAR" for role in FIELDS}
    # The event comes first, since the quantity depends on it.
    sql = {"event": _event(text["event"], plan.events) if "event" in column else "'purchase'"}
    sql |= text | sql
    sql |= {role: f"id_text({text[role]})" for role in ("user", "item", "order")}
    sql["price"] = f"number({text['price']})"
    sql["returned"] = f"coalesce(number({text['returned']}), 0)"
    sql["timestamp"] = f"moment({text['timestamp']}, {plan.day_first.get(part.name) or False})"
    quantity = f"number({text['value']})" if "value" in column else "1::DOUBLE"
    sql["value"] = f"coalesce({quantity}, CASE WHEN event <> 'purchase' THEN 1::DOUBLE END)"
    typed = ", ".join(f"{sql[r]} AS {FIELDS[r]}" for r in sql)
    # By name, since files of one log may order their columns differently.
    raw = [part.sql(name) for name in sorted(part.columns)]
    cases = " ".join(f"WHEN {fault} THEN {literal(reason)}" for reason, fault in reasons.items())
    return (
        f"SELECT {', '.join(FIELDS.values())}, fingerprint, reason, "
        f"CASE WHEN reason IS NOT NULL THEN {_line(part)} END AS text FROM ("
        f"SELECT *, CASE {cases} END AS reason FROM ("
        f"SELECT {', '.join(raw)}, {typed}, hash({', '.join(raw)}) AS fingerprint FROM ("
        f"SELECT * REPLACE ({', '.join(read)}) FROM "
        f"(SELECT *, {', '.join(trimmed)} FROM {part.relation}))))"
    )


def faults(plan: Layout, *, strict: bool = False) -> dict[str, str]:
    """Say what no valid row is: reasons, each with its condition in the query of :func:`select`.

    Parameters
    ----------
    plan : Layout
    strict : bool
        Whether a missing user or item, a negative quantity and a time in the future are faults,
        which are else the matter of rules; and any name of an event is none.

    Returns
    -------
    dict of str to str
        The reasons about times (:data:`TIME_FAULTS`) come last.
    """
    found = {}
    for what in ("user", "item"):
        if strict:
            found[f"{what} is missing"] = f"{what}_id IS NULL"
        odd = f"{what} id has control characters or is a number cut by a spreadsheet"
        found[odd] = f"regexp_matches({what}_id, {literal(_ODD_ID)})"
        long = f"{what} id is longer than {LONGEST_ID} characters"
        found[long] = f"length({what}_id) > {LONGEST_ID}"
    found["quantity is missing"] = "value IS NULL"
    for what, name in (("quantity", "value"), ("price", "price"), ("returned", "returned")):
        found[f"{what} is no number up to {LARGEST:.0e}"] = f"NOT abs({name}) <= {LARGEST}"
    if strict:
        found["quantity is negative"] = "value < 0"
    else:
        found["event is missing"] = "event IS NULL"
        if plan.events:
            found["unknown event"] = " AND ".join(f"event <> '{event}'" for event in EVENTS)
    if "timestamp" in plan.fields:
        start, end = "1900-01-01", "2200-01-01"
        if strict:
            start = "1970-01-01"
            end = (pd.Timestamp.now("UTC") + pd.Timedelta(days=1)).tz_convert(None).isoformat()
        missing, far, future = TIME_FAULTS
        found[missing] = "timestamp IS NULL"
        found[future if strict else far] = f"timestamp NOT BETWEEN '{start}' AND '{end}'"
    return found


TIME_FAULTS = (
    "time is missing or cannot be read",
    "time is before 1900 or after 2200",
    "time is before 1970 or in the future",
)

_ODD_ID = r"[\x00-\x1f\x7f]|^\d\.\d+[eE]\+\d+$"
"""Control characters, and what spreadsheets make of long numbers (1.23457E+11)."""


def _line(part: Part) -> str:
    """A row as the line of text that it was, but for needless quotes."""
    special = literal(f'["\n\r{part.separator}]')
    fields = (f"as_field(CAST({part.sql(name)} AS VARCHAR), {special})" for name in part.columns)
    return f" || {literal(part.separator)} || ".join(fields)


def words(texts: Iterable[str]) -> str:
    """Texts for the macro ``among``.

    Of IN, DuckDB would make a join, which is slow and loses the order of the rows, and with it
    their places in the file.
    """
    between = chr(31)  # which stands in no text that is valid
    return literal(between.join(["", *texts, ""]))


_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_NAMED_MONTHS = [
    *(f"{day}{clock}" for day in ("%d %B %Y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y")
      for clock in _CLOCKS),
    "%a, %d %b %Y %H:%M:%S GMT", "%a, %d %b %Y %H:%M:%S",
]  # fmt: skip

MACROS = (
    r"""
-- Without blanks around it, hard ones and a file's first mark included; most texts have none.
CREATE MACRO trimmed(t) AS CASE
    WHEN t < '!' OR t > '~' OR suffix(t, ' ') OR suffix(t, chr(9)) OR suffix(t, chr(160))
    THEN trim(t, ' ' || chr(9) || chr(10) || chr(13) || chr(160) || chr(65279)) ELSE t END;
CREATE MACRO among(t, words) AS contains(words, chr(31) || t || chr(31));
-- The words have at most 11 letters, and none begins with 1 to 9, which is quick to see.
CREATE MACRO unless_among(t, words) AS CASE
    WHEN strlen(t) > 11 OR t BETWEEN '1' AND ':' OR NOT among(lower(t), words) THEN t END;
CREATE MACRO plain_text(t) AS unless_among(trimmed(t), :nulls);
-- A whole number that was stored as a float loses its .0.
CREATE MACRO id_text(t) AS
    CASE WHEN t LIKE '%.0%' THEN regexp_replace(t, '^(-?\d+)\.0+$', '\1') ELSE t END;
-- 1,234.50, then 1.234,50 and 1234,5, then 1 234.50, 1 234,50 and 1'234.50.
CREATE MACRO ungrouped(t) AS CASE
    WHEN regexp_full_match(t, '[-+]?\d{1,3}(,\d{3})+(\.\d+)?') THEN replace(t, ',', '')
    WHEN regexp_full_match(t, '[-+]?(\d+|\d{1,3}(\.\d{3})+),\d{1,2}')
    THEN replace(replace(t, '.', ''), ',', '.')
    WHEN regexp_full_match(t, '[-+]?\d{1,3}([ ''\x{a0}\x{202f}]\d{3})+([.,]\d+)?')
    THEN replace(regexp_replace(t, '[ ''\x{a0}\x{202f}]', '', 'g'), ',', '.') ELSE t END;
-- Infinite where there is text that is no number.
CREATE MACRO number(t) AS CASE WHEN t IS NOT NULL THEN coalesce(try_cast(t AS DOUBLE), try_cast(
    ungrouped(regexp_replace(t, '^([-+]?)\s*[$£€¥]\s*|\s*[$£€¥]$', '\1')) AS DOUBLE), 'infinity')
    END;
CREATE MACRO as_field(t, special) AS CASE WHEN regexp_matches(t, special)
    THEN '"' || replace(t, '"', '""') || '"' ELSE coalesce(t, '') END;
CREATE MACRO spelled(t) AS translate(lower(t), '_- ', '');
-- Dates like 31.5.2024 or 5-31-24: with slashes, the day first.
CREATE MACRO slashed(t, day_first) AS regexp_replace(t, '^(\d{1,2})[./-](\d{1,2})[./-]',
    CASE WHEN day_first THEN '\1/\2/' ELSE '\2/\1/' END);
CREATE MACRO is_date(t) AS
    regexp_matches(t, '^\d{1,2}[./-]\d{1,2}[./-]\d{2}(\d{2})?(\s|$)');
CREATE MACRO date_of(t, day_first) AS CASE WHEN regexp_matches(t, '^\d+.\d+.\d{4}')
    THEN try_strptime(slashed(t, day_first), :long_years)
    ELSE try_strptime(slashed(t, day_first), :short_years) END;
CREATE MACRO utc(t) AS timezone('UTC', timezone(current_setting('TimeZone'), t));
-- A time in UTC; NULL where it cannot be read. The first test is quick; the second also takes
-- 2024-5-31. 20240531 would be a day of 1970 in seconds, and a year alone is no time.
CREATE MACRO moment(t, day_first) AS CASE
    WHEN t LIKE '____-__-%' OR regexp_matches(t, '^\d{4}[-/]\d')
    THEN make_timestamp(epoch_us(try_cast(
        CASE WHEN contains(t, '/') THEN replace(t, '/', '-') ELSE t END AS TIMESTAMPTZ)))
    WHEN try_cast(t AS DOUBLE) BETWEEN 19000101 AND 21001231 THEN utc(try_strptime(t, '%Y%m%d'))
    WHEN try_cast(t AS DOUBLE) BETWEEN 1900 AND 2100 THEN NULL
    WHEN abs(try_cast(t AS DOUBLE)) <= 5e18 THEN make_timestamp(round(try_cast(t AS DOUBLE) * CASE
        WHEN abs(try_cast(t AS DOUBLE)) <= 1e11 THEN 1e6
        WHEN abs(try_cast(t AS DOUBLE)) <= 1e14 THEN 1e3
        WHEN abs(try_cast(t AS DOUBLE)) <= 1e17 THEN 1 ELSE 1e-3 END)::BIGINT)
    WHEN is_date(t) THEN utc(date_of(t, day_first))
    WHEN regexp_matches(t, '[0-9]') THEN coalesce(utc(try_strptime(t, :named_months)), timezone(
        'UTC', try_strptime(t, ['%d/%b/%Y:%H:%M:%S %z', '%a, %d %b %Y %H:%M:%S %z']))) END;
""".replace(":nulls", words(sorted(NULLS)))
    .replace(":long_years", listed(f"%d/%m/%Y{clock}" for clock in _CLOCKS))
    .replace(":short_years", listed(f"%d/%m/%y{clock}" for clock in _CLOCKS))
    .replace(":named_months", listed(_NAMED_MONTHS))
)
"""How the text of a column is read, for the SQL of a connection."""


def _event(text: str, names: Mapping[str, str]) -> str:
    """The event by the name that a store has for it; other names stay as they are."""
    if not names:
        return f"lower({text})"
    pairs = ", ".join(f"{literal(name)}: {literal(event)}" for name, event in names.items())
    # First the names that need no change, since to look for the others takes time.
    unchanged = words(event for event in EVENTS if names.get(event.replace("_", "")) == event)
    return (
        f"CASE WHEN among({text}, {unchanged}) THEN {text} "
        f"ELSE coalesce(MAP {{{pairs}}}[spelled({text})], {text}) END"
    )


def _events(
    connection: Connection, parts: Sequence[Part], found: _Columns, given: Mapping[str, str]
) -> dict[str, str]:
    """Each name of an event, if any part holds one; what the user says, counts."""
    wrong = sorted(set(given.values()) - set(EVENTS))
    if wrong:
        raise DatasetError(f"events maps to {wrong}, expected some of {', '.join(EVENTS)}")
    names = {name: event for event, usual in EVENTS.items() for name in usual.split()}
    names |= {re.sub("[_ -]", "", str(name).lower()): event for name, event in given.items()}
    for part in parts:
        if "event" in found[part.name]:
            event = f"spelled(trimmed(CAST({part.sql(found[part.name]['event'])} AS VARCHAR)))"
            query = f"SELECT true FROM {part.relation} WHERE among({event}, {words(names)}) LIMIT 1"
            if connection.execute(query).fetchall():
                return names
    return {}


def _day_first(connection: Connection, part: Part, column: str, given: bool | None) -> bool | None:
    """Whether 3/4/2024 is in April, by which reading makes sense of more rows of the part."""
    if given is not None:
        return given
    # Most times are ISO 8601 or numbers, which plain tests of the raw text tell at less cost.
    raw = f"CAST({part.sql(column)} AS VARCHAR)"
    marked = " OR ".join(f"contains({raw}, '{mark}')" for mark in "./-")
    [(n_month, n_day, differ)] = connection.execute(
        f"SELECT sum(n * (month IS NOT NULL)::INT), sum(n * (day IS NOT NULL)::INT), "
        f"count(*) FILTER (month <> day) FROM (SELECT n, date_of(t, false) AS month, "
        f"date_of(t, true) AS day FROM (SELECT trimmed({raw}) AS t, count(*) AS n "
        f"FROM {part.relation} WHERE ({marked}) AND NOT ({raw} LIKE '____-__-%' "
        f"AND {raw} BETWEEN '0' AND ':') GROUP BY t) WHERE is_date(t))"
    ).fetchall()
    if n_month is None:
        return None
    if n_month == n_day and differ:
        raise DatasetError(
            f"{part.name}: the dates of column {column!r} can be read with the day or the month "
            "first; write them as 2024-04-03, or say which with day_first=True or day_first=False "
            "(--day-first, --no-day-first)"
        )
    return bool(n_day > n_month)
