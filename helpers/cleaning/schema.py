"""One schema for every export: which column is what, how its text is read, which rows are valid."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pandas as pd

from helpers.cleaning.columns import NULLS, ROLES, resolve_columns
from helpers.cleaning.reading import Part
from helpers.cleaning.sql import identifier, literal
from helpers.io import DatasetError

FIELDS = {
    "user": "user_id",
    "item": "item_id",
    "value": "value",
    "timestamp": "timestamp",
    "event": "event",
    "session": "session_id",
    "order": "order_id",
    "price": "price",
    "country": "country",
    "category": "category",
    "title": "title",
    "agent": "user_agent",
    "address": "address",
    "returned": "returned",
}
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
"""User ids, in lower case, of rows without a known user; 0 is the first user of many logs."""

LONGEST_ID = 256
LARGEST = 1e9
"""A quantity or price beyond this is no quantity or price."""


@dataclass(frozen=True)
class Layout:
    """What a log's columns are, over all its files.

    Attributes
    ----------
    columns : dict of str to dict
        For each part: role to column.
    roles : tuple of str
        The roles that any part has, in the order of :data:`FIELDS`.
    known_events : bool
        Whether the names of events are those of a store (:data:`EVENTS`).
    day_first : dict of str to bool
        For each part with times: whether 3/4/2024 has the day first; None where the text has no
        such date.
    """

    columns: dict[str, dict[str, str]]
    roles: tuple[str, ...]
    known_events: bool
    day_first: dict[str, bool | None]

    @property
    def fields(self) -> list[str]:
        """Columns of the tidy frame."""
        always = ("user", "item", "value", "event")
        return [FIELDS[role] for role in FIELDS if role in self.roles or role in always]


def layout(
    connection: duckdb.DuckDBPyConnection,
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
    found: dict[str, dict[str, str]] = {}
    for part in parts:
        given = {role: name for role, name in columns.items() if name in part.columns}
        try:
            found[part.name] = resolve_columns(part.columns, given, roles=roles)
        except DatasetError as error:
            raise DatasetError(f"{part.name}: {error}") from error
    for role, name in columns.items():
        if not any(name in part.columns for part in parts):
            found_by = " (by place: it has no header line)" if parts[0].assumed else ""
            raise DatasetError(
                f"there is no column {name!r} for {role!r} in any file; the first has the columns "
                f"{', '.join(parts[0].columns)}{found_by}"
            )
    filled = tuple(role for role in FIELDS if any(role in each for each in found.values()))
    return Layout(
        columns=found,
        roles=filled,
        known_events=_events_known(connection, parts, found, events),
        day_first={
            part.name: _day_first(connection, part, found[part.name]["timestamp"], day_first)
            for part in parts
            if "timestamp" in found[part.name]
        },
    )


def select(part: Part, plan: Layout, events: Mapping[str, str], reasons: Mapping[str, str]) -> str:
    """Write the query that turns a part's text into typed columns.

    Parameters
    ----------
    part : Part
    plan : Layout
    events : mapping of str to str
        Further names of events.
    reasons : mapping of str to str
        What is not valid (:func:`faults`).

    Returns
    -------
    str
        SQL with the columns of :attr:`Layout.fields`; ``fingerprint`` (UBIGINT), the hash of all
        columns of the file as they are there; ``reason``, the first one for which the row is not
        valid, or NULL; and for such a row, its ``text``.

    Notes
    -----
    A number that cannot be read becomes infinite and an event of unknown name stays as it is, so
    that the row is refused. A missing quantity is 1 for a click, and missing for a purchase. Times
    without a zone are in the connection's time zone; the result is UTC.
    """
    column = plan.columns[part.name]
    text = {role: f"text_{role}" for role in column}
    trimmed = ", ".join(f"{_trimmed(part.sql(column[role]))} AS {text[role]}" for role in text)
    nulls = {role: NULLS | NOBODY if role == "user" else NULLS for role in text}
    read = ", ".join(f"{_unless_null(text[role], nulls[role])} AS {text[role]}" for role in text)
    sql = {"user_id": id_text(text["user"]), "item_id": id_text(text["item"])}
    sql["event"] = _event(text["event"], plan, events) if "event" in text else "'purchase'"
    quantity = _number(text["value"]) if "value" in text else "1::DOUBLE"
    sql["value"] = f"coalesce({quantity}, CASE WHEN event <> 'purchase' THEN 1::DOUBLE END)"
    if "timestamp" in text:
        sql["timestamp"] = _time(text["timestamp"], plan.day_first[part.name])
    if "price" in text:
        sql["price"] = _number(text["price"])
    if "order" in text:
        sql["order_id"] = id_text(text["order"])
    if "returned" in plan.roles:
        sql["returned"] = f"coalesce({_number(text['returned'])}, 0)" if "returned" in text else "0"
        sql["returned"] += "::DOUBLE"
    for field in plan.fields:
        sql.setdefault(field, text.get(_ROLE[field], _NOTHING.get(field, "NULL::VARCHAR")))
    # The event comes first, since the quantity depends on it.
    fields = ["event", *(field for field in plan.fields if field != "event")]
    typed = ", ".join(f"{sql[field]} AS {identifier(field)}" for field in fields)
    tidy = ", ".join(map(identifier, plan.fields))
    # By name, since files of one log may order their columns differently.
    raw = [part.sql(name) for name in sorted(part.columns)]
    cases = " ".join(f"WHEN {fault} THEN {literal(reason)}" for reason, fault in reasons.items())
    return (
        f"SELECT {tidy}, fingerprint, reason, "
        f"CASE WHEN reason IS NOT NULL THEN {_line(part)} END AS text FROM ("
        f"SELECT *, CASE {cases} END AS reason FROM ("
        f"SELECT {', '.join(raw)}, {typed}, hash({', '.join(raw)}) AS fingerprint FROM ("
        f"SELECT * REPLACE ({read}) FROM (SELECT *, {trimmed} FROM {part.relation}))))"
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
        found |= {
            f"{what} id has control characters or is a number cut by a spreadsheet": (
                f"regexp_matches({what}_id, {literal(_ODD_ID)})"
            ),
            f"{what} id is longer than {LONGEST_ID} characters": (
                f"length({what}_id) > {LONGEST_ID}"
            ),
        }
    found["quantity is missing"] = "value IS NULL"
    numbers = {"quantity": "value", "price": "price", "returned": "returned"}
    for what, name in numbers.items():
        if name in plan.fields:
            found[f"{what} is no number up to {LARGEST:.0e}"] = f"NOT abs({name}) <= {LARGEST}"
    if strict:
        found["quantity is negative"] = "value < 0"
    else:
        found["event is missing"] = "event IS NULL"
        if plan.known_events:
            found["unknown event"] = f"event NOT IN ({', '.join(map(literal, EVENTS))})"
    if "timestamp" in plan.roles:
        end = "2200-01-01"
        if strict:
            end = (pd.Timestamp.now("UTC") + pd.Timedelta(days=1)).tz_convert(None).isoformat()
        missing, far, future = TIME_FAULTS
        found[missing] = "timestamp IS NULL"
        found[future if strict else far] = f"timestamp NOT BETWEEN '1900-01-01' AND '{end}'"
    return found


TIME_FAULTS = (
    "time is missing or cannot be read",
    "time is before 1900 or after 2200",
    "time is before 1900 or in the future",
)

_ROLE = {field: role for role, field in FIELDS.items()}
_NOTHING = {"timestamp": "NULL::TIMESTAMP", "price": "NULL::DOUBLE"}
_ODD_ID = r"[\x00-\x1f\x7f]|^\d\.\d+[eE]\+\d+$"
"""Control characters, and what spreadsheets make of long numbers (1.23457E+11)."""


def _line(part: Part) -> str:
    """A row as the line of text that it was, but for needless quotes."""
    special = literal(f'["\n\r{part.separator}]')
    fields = []
    for name in part.columns:
        text = f"CAST({part.sql(name)} AS VARCHAR)"
        quoted = f"""'"' || replace({text}, '"', '""') || '"'"""
        fields.append(
            f"CASE WHEN regexp_matches({text}, {special}) THEN {quoted} "
            f"ELSE coalesce({text}, '') END"
        )
    return f" || {literal(part.separator)} || ".join(fields)


_BLANKS = "' ' || chr(9) || chr(10) || chr(13) || chr(160) || chr(65279)"
"""Blanks to trim, with the hard blank and the mark that spreadsheets put at a file's start."""


def _trimmed(column: str) -> str:
    """A column as text without blanks around it; most texts need no trimming, which is slow."""
    text = f"CAST({column} AS VARCHAR)"
    ends = " OR ".join(f"suffix({text}, {each})" for each in ("' '", "chr(9)", "chr(160)"))
    return (
        f"CASE WHEN {text} < '!' OR {text} > '~' OR {ends} "
        f"THEN trim({text}, {_BLANKS}) ELSE {text} END"
    )


def _unless_null(text: str, nulls: Iterable[str] = NULLS) -> str:
    """NULL for texts that mean "nothing here"."""
    longest = max(map(len, nulls))
    is_word = _among(f"lower({text})", sorted(nulls))
    return f"CASE WHEN strlen({text}) > {longest} OR NOT {is_word} THEN {text} END"


def _among(text: str, names: Iterable[str]) -> str:
    """Like IN, of which DuckDB would make a join over all rows, whether needed or not."""
    between = chr(31)  # which stands in no text that is valid
    listed = literal(between.join(["", *names, ""]))
    return f"contains({listed}, chr(31) || {text} || chr(31))"


def plain_text(column: str) -> str:
    """A column as trimmed text, NULL where it says "nothing here"."""
    return _unless_null(f"({_trimmed(column)})")


def id_text(text: str) -> str:
    """An id; a whole number that was stored as a float loses its ``.0``."""
    return (
        f"CASE WHEN ({text}) LIKE '%.0%' THEN regexp_replace({text}, '^(-?\\d+)\\.0+$', '\\1') "
        f"ELSE {text} END"
    )


def _number(text: str) -> str:
    """A number; infinite where there is text that is none."""
    t = f"regexp_replace({text}, '^([-+]?)\\s*[$£€¥]\\s*|\\s*[$£€¥]$', '\\1')"
    blanks = "[ ''\u00a0\u202f]"
    return (
        f"coalesce(try_cast({text} AS DOUBLE), CASE "
        f"WHEN ({text}) IS NULL THEN NULL "
        # 1,234.50
        f"WHEN regexp_full_match({t}, '[-+]?\\d{{1,3}}(,\\d{{3}})+(\\.\\d+)?') "
        f"THEN try_cast(replace({t}, ',', '') AS DOUBLE) "
        # 1.234,50 and 1234,5
        f"WHEN regexp_full_match({t}, '[-+]?(\\d+|\\d{{1,3}}(\\.\\d{{3}})+),\\d{{1,2}}') "
        f"THEN try_cast(replace(replace({t}, '.', ''), ',', '.') AS DOUBLE) "
        # 1 234.50, 1 234,50 and 1'234.50
        f"WHEN regexp_full_match({t}, '[-+]?\\d{{1,3}}({blanks}\\d{{3}})+([.,]\\d+)?') "
        f"THEN try_cast(replace(regexp_replace({t}, '{blanks}', '', 'g'), ',', '.') AS DOUBLE) "
        f"ELSE try_cast({t} AS DOUBLE) END, "
        f"CASE WHEN ({text}) IS NOT NULL THEN 'infinity'::DOUBLE END)"
    )


def _event(text: str, plan: Layout, events: Mapping[str, str]) -> str:
    """The event by the name that a store has for it; other names stay as they are."""
    if not plan.known_events:
        return f"lower({text})"
    spelled = _in_sql(text)
    given = {_spelled(name): event for name, event in events.items()}
    named = given | {
        name: event
        for event, names in EVENTS.items()
        for name in names.split()
        if name not in given  # what the user says, counts
    }
    cases = " ".join(
        f"WHEN {_among(spelled, [name for name in named if named[name] == event])} "
        f"THEN {literal(event)}"
        for event in EVENTS
    )
    # First the names that need no change, since the others take time.
    unchanged = [event for event in EVENTS if named[_spelled(event)] == event]
    return f"CASE WHEN {_among(text, unchanged)} THEN {text} {cases} ELSE {text} END"


def _spelled(name: str) -> str:
    return re.sub("[_ -]", "", name.lower())


def _in_sql(text: str) -> str:
    """As :func:`_spelled`."""
    return f"translate(lower({text}), '_- ', '')"


def _events_known(
    connection: duckdb.DuckDBPyConnection,
    parts: Sequence[Part],
    found: Mapping[str, Mapping[str, str]],
    events: Mapping[str, str],
) -> bool:
    """Whether any part holds an event that stores have."""
    wrong = sorted(set(events.values()) - set(EVENTS))
    if wrong:
        raise DatasetError(f"events maps to {wrong}, expected some of {', '.join(EVENTS)}")
    known = {name for names in EVENTS.values() for name in names.split()}
    known |= {_spelled(name) for name in events}
    for part in parts:
        if "event" not in found[part.name]:
            continue
        text = plain_text(part.sql(found[part.name]["event"]))
        any_known = connection.execute(
            f"SELECT true FROM (SELECT {text} AS t FROM {part.relation}) "
            f"WHERE {_among(_in_sql('t'), sorted(known))} LIMIT 1"
        ).fetchall()
        if any_known:
            return True
    return False


_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_NAMED_MONTHS = (
    *(f"{day}{clock}" for day in ("%d %B %Y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y")
      for clock in _CLOCKS),
    "%a, %d %b %Y %H:%M:%S GMT", "%a, %d %b %Y %H:%M:%S",
)  # fmt: skip
_WITH_OFFSET = ("%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z")
_NUMERIC_DATE = r"^\d{1,2}/\d{1,2}/\d{2}(\d{2})?(\s|$)"


def _slashed(text: str) -> str:
    """A date like 31.5.2024 or 5-31-24 with slashes (and nothing else changed)."""
    return f"regexp_replace({text}, '^(\\d{{1,2}})[./-](\\d{{1,2}})[./-]', '\\1/\\2/')"


def _numeric_date(text: str, day_first: bool) -> str:
    slashed = _slashed(text)
    order = "%d/%m" if day_first else "%m/%d"

    def formats(year: str) -> str:
        return "[" + ", ".join(literal(f"{order}/{year}{clock}") for clock in _CLOCKS) + "]"

    return (
        f"CASE WHEN regexp_matches({slashed}, '^\\d{{1,2}}/\\d{{1,2}}/\\d{{4}}') "
        f"THEN try_strptime({slashed}, {formats('%Y')}) "
        f"ELSE try_strptime({slashed}, {formats('%y')}) END"
    )


def _time(text: str, day_first: bool | None) -> str:
    """A time as TIMESTAMP in UTC; NULL where it cannot be read."""
    number = f"try_cast({text} AS DOUBLE)"
    local = "timezone('UTC', timezone(current_setting('TimeZone'), {}))"
    date = _numeric_date(text, day_first) if day_first is not None else "NULL::TIMESTAMP"
    named = ", ".join(map(literal, _NAMED_MONTHS))
    offset = ", ".join(map(literal, _WITH_OFFSET))
    year_first = f"CASE WHEN contains({text}, '/') THEN replace({text}, '/', '-') ELSE {text} END"
    return (
        "CASE "
        # The first test is quick; the second also takes 2024-5-31.
        f"WHEN {text} LIKE '____-__-%' OR regexp_matches({text}, '^\\d{{4}}[-/]\\d') "
        f"THEN make_timestamp(epoch_us(try_cast({year_first} AS TIMESTAMPTZ))) "
        # 20240531; as seconds it would be a day of 1970
        f"WHEN {number} BETWEEN 19000101 AND 21001231 "
        f"THEN {local.format(f'try_strptime({text}, ' + literal('%Y%m%d') + ')')} "
        f"WHEN {number} BETWEEN 1900 AND 2100 THEN NULL "  # a year is no time
        f"WHEN abs({number}) <= 1e11 THEN make_timestamp(round({number} * 1e6)::BIGINT) "
        f"WHEN abs({number}) <= 1e14 THEN make_timestamp(round({number} * 1e3)::BIGINT) "
        f"WHEN abs({number}) <= 1e17 THEN make_timestamp(round({number})::BIGINT) "
        f"WHEN abs({number}) <= 5e18 THEN make_timestamp(round({number} / 1e3)::BIGINT) "
        f"WHEN regexp_matches({_slashed(text)}, {literal(_NUMERIC_DATE)}) "
        f"THEN {local.format(date)} "
        f"WHEN NOT regexp_matches({text}, '[0-9]') THEN NULL "  # "infinity" is no time
        f"ELSE coalesce({local.format(f'try_strptime({text}, [{named}])')}, "
        f"timezone('UTC', try_strptime({text}, [{offset}]))) END"
    )


def _day_first(
    connection: duckdb.DuckDBPyConnection, part: Part, column: str, given: bool | None
) -> bool | None:
    """Whether 3/4/2024 is in April, by which reading makes sense of more rows of the part."""
    text = plain_text(part.sql(column))
    numeric = f"regexp_matches({_slashed('t')}, {literal(_NUMERIC_DATE)})"
    if given is not None:
        return given
    # Most times are ISO 8601 or numbers, which plain tests of the raw text tell at less cost.
    raw = f"CAST({part.sql(column)} AS VARCHAR)"
    iso = f"({raw} LIKE '____-__-%' AND {raw} BETWEEN '0' AND ':')"
    marked = " OR ".join(f"contains({raw}, '{mark}')" for mark in "./-")
    seen = connection.execute(
        f"SELECT true FROM (SELECT {text} AS t FROM {part.relation} "
        f"WHERE NOT {iso} AND ({marked})) WHERE {numeric} LIMIT 1"
    ).fetchall()
    if not seen:
        return None
    month, day = _numeric_date("t", day_first=False), _numeric_date("t", day_first=True)
    [(n_month, n_day, differ)] = connection.execute(
        f"SELECT sum(n * ({month} IS NOT NULL)::INT), sum(n * ({day} IS NOT NULL)::INT), "
        f"count(*) FILTER ({month} <> {day}) FROM (SELECT t, count(*) AS n FROM "
        f"(SELECT {text} AS t FROM {part.relation}) WHERE {numeric} GROUP BY t)"
    ).fetchall()
    if n_month == n_day and differ:
        raise DatasetError(
            f"{part.name}: the dates of column {column!r} can be read with the day or the month "
            "first; write them as 2024-04-03, or say which with day_first=True or day_first=False "
            "(--day-first, --no-day-first)"
        )
    return bool(n_day > n_month)
