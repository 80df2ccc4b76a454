"""Monthly exports of the simulated store: every month another schema, format and encoding."""

import gzip
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

FIELDS = {
    "user": "user_id",
    "item": "item_id",
    "event": "event",
    "time": "timestamp",
    "quantity": "value",
    "price": "price",
    "order": "order_id",
    "country": "country",
    "title": "title",
    "agent": "user_agent",
    "address": "address",
}
"""The column of the events for each role."""

REQUIRED = ("user", "item", "event", "time")
NOTHING = np.array(["", "NULL", "NaN"], dtype=object)
"""How a missing user is written."""

UNKNOWN_EVENTS = np.array(["heartbeat", "test_event", "undefined"], dtype=object)
NO_NUMBERS = np.array(["abc", "#VALUE!", "six"], dtype=object)


Text = Any
"""A Series of str; the stubs of pandas lose track of string methods."""


@dataclass(frozen=True)
class Dialect:
    """How one export is written.

    Attributes
    ----------
    suffix : str
        ``.csv``, ``.tsv``, ``.csv.gz`` or ``.parquet``.
    columns : dict of str to str
        Role to column name, in the order of the file. Long texts stand behind the required
        columns, so that a cut line is one that lost something required.
    time : str
        ``iso``, ``berlin`` (ISO 8601 with the offset of Berlin), ``unix``, ``text`` (with "UTC"),
        or a format of strftime.
    bad_time : str
        An impossible date in that format.
    encoding : str
    events : dict of str to str
        Names of events, where they are not our own.
    thousands : bool
        Whether 1200 is written ``1,200``.
    newest_first : bool
    blank : bool
        Whether clicks have no quantity.
    """

    suffix: str
    columns: dict[str, str]
    time: str
    bad_time: str
    encoding: str = "utf-8"
    events: dict[str, str] | None = None
    thousands: bool = False
    newest_first: bool = False
    blank: bool = False


def _columns(names: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in names.split())


RETAIL = {"cart": "addtocart", "remove_from_cart": "remove_from_cart", "purchase": "transaction"}
DIALECTS = (
    Dialect(
        ".csv",
        _columns(
            "user=CustomerID item=StockCode time=InvoiceDate event=Event quantity=Quantity "
            "price=UnitPrice order=InvoiceNo country=Country title=Description address=IP "
            "agent=UserAgent"
        ),
        time="%m/%d/%Y %H:%M:%S",
        bad_time="02/30/2011 25:61:00",
        thousands=True,
    ),
    Dialect(
        ".csv",
        _columns(
            "time=timestamp user=visitorid event=event item=itemid order=transactionid "
            "quantity=quantity price=price agent=user_agent address=ip country=country title=title"
        ),
        time="unix",
        bad_time="13x2599",
        events=RETAIL,
        blank=True,
    ),
    Dialect(
        ".csv.gz",
        _columns(
            "time=eventTime event=eventType user=userId item=itemId price=unitPrice "
            "quantity=quantity order=orderId address=ipAddress agent=userAgent title=itemTitle "
            "country=country"
        ),
        time="iso",
        bad_time="2011-02-30T25:61:00+00:00",
    ),
    Dialect(
        ".tsv",
        _columns(
            "item=ITEM_ID user=USER_ID quantity=QUANTITY price=PRICE event=EVENT_TYPE "
            "time=EVENT_TIME order=ORDER_ID title=TITLE country=COUNTRY agent=USER_AGENT address=IP"
        ),
        time="%d.%m.%Y %H:%M:%S",
        bad_time="31.02.2011 25:61:00",
        thousands=True,
    ),
    Dialect(
        ".parquet",
        _columns(
            "user=user_id item=product_id event=event_type time=event_time price=price "
            "quantity=quantity order=order_id country=country title=title agent=user_agent "
            "address=ip_address"
        ),
        time="typed",
        bad_time="",
    ),
    Dialect(
        ".csv",
        _columns(
            "time=event_time event=event_type item=product_id price=price user=user_id "
            "quantity=qty order=order_id address=ip title=title agent=user_agent country=country"
        ),
        time="text",
        bad_time="2011-06-31 24:61:00 UTC",
        events={"remove_from_cart": "removefromcart"},
        newest_first=True,
    ),
    Dialect(
        ".csv",
        _columns(
            "event=Action time=DateTime item=ProductId quantity=Qty user=CustomerID price=Price "
            "country=Country order=OrderId title=ProductName agent=UserAgent address=IpAddress"
        ),
        time="%m/%d/%Y %H:%M:%S",
        bad_time="13/45/2011 10:00:00",
        encoding="latin-1",
        thousands=True,
    ),
    Dialect(
        ".csv",
        _columns(
            "user=userId time=createdAt event=event item=sku quantity=quantity price=price "
            "order=orderId title=title country=country address=address agent=userAgent"
        ),
        time="berlin",
        bad_time="2011-09-31T25:61:00+02:00",
        encoding="utf-8-sig",
        events={"cart": "add_to_cart"},
        blank=True,
    ),
)
"""In turn, one a month. The last month of Online Retail has nine days only, so its turn is not that
of a format whose dates could then be read with the day or with the month first."""


def arrange(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Dialect]]:
    """Decide which file and row everything goes to.

    Parameters
    ----------
    rows : DataFrame
        From :func:`helpers.simulation.dirt.plant`.

    Returns
    -------
    rows : DataFrame
        In the order of the files, with ``file`` and ``row`` (from 1).
    dialects : dict of str to Dialect
        By file.

    Notes
    -----
    A Parquet has types, so the only corrupt rows in it are unknown events.
    """
    months = rows["timestamp"].dt.strftime("%Y-%m")
    dialects, names = {}, {}
    for number, month in enumerate(sorted(months.unique())):
        dialect = DIALECTS[number % len(DIALECTS)]
        names[month] = f"events-{month}{dialect.suffix}"
        dialects[names[month]] = dialect
    file = months.map(names).astype("str")
    typed = file.str.endswith(".parquet") & (rows["kind"] == "corrupt row")
    reverse = file.map({name: -1 if one.newest_first else 1 for name, one in dialects.items()})
    rows = rows.assign(
        file=file,
        sort=rows["sort"].mask(typed, "unknown event"),
        place=rows["timestamp"].astype("int64") * reverse.astype("int64"),
    )
    rows = rows.sort_values(["file", "place", "origin", "copy"], ignore_index=True)
    return rows.assign(row=rows.groupby("file").cumcount() + 1).drop(columns="place"), dialects


def render(rows: pd.DataFrame, dialect: Dialect) -> bytes:
    """The content of one export.

    Parameters
    ----------
    rows : DataFrame
        The rows of one file, from :func:`arrange`.
    dialect : Dialect

    Returns
    -------
    bytes
    """
    rows = rows.reset_index(drop=True)
    if dialect.suffix == ".parquet":
        return _parquet(rows, dialect)
    texts = {role: _text(rows, role, dialect) for role in dialect.columns}
    table = pd.DataFrame({name: texts[role] for role, name in dialect.columns.items()})
    lines = _lines(table, dialect)
    cut = np.flatnonzero(rows["sort"] == "cut line")
    last = max(list(dialect.columns).index(role) for role in REQUIRED)
    keep = 1 + rows["origin"].to_numpy()[cut] % last
    for kept in np.unique(keep):
        some = cut[keep == kept]
        lines[some + 1] = _lines(table.iloc[some, :kept], dialect)[1:]
    content = ("\n".join(lines) + "\n").encode(dialect.encoding, errors="replace")
    if dialect.suffix.endswith(".gz"):
        return gzip.compress(content, mtime=0)
    return content


def _lines(table: pd.DataFrame, dialect: Dialect) -> np.ndarray:
    separator = "\t" if dialect.suffix == ".tsv" else ","
    text = table.to_csv(index=False, sep=separator, lineterminator="\n")
    return np.array(text.split("\n")[:-1], dtype=object)


def _parquet(rows: pd.DataFrame, dialect: Dialect) -> bytes:
    columns = {name: rows[FIELDS[role]] for role, name in dialect.columns.items()}
    columns[dialect.columns["user"]] = _spelled(rows["user_id"], rows["spelling"])
    columns[dialect.columns["event"]] = _event(rows, dialect)
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer, index=False, coerce_timestamps="ms")
    return buffer.getvalue()


def _text(rows: pd.DataFrame, role: str, dialect: Dialect) -> Text:
    column = rows[FIELDS[role]]
    odd = rows["sort"] == "text for a number"
    in_price = rows["origin"] % 2 == 0
    if role == "user":
        nobody = pd.Series(NOTHING[rows["origin"] % len(NOTHING)], index=rows.index)
        return _spelled(column, rows["spelling"]).where(column.notna(), nobody)
    if role == "item":
        return _spelled(column, rows["spelling"] * (rows["origin"] % 3 == 0))
    if role == "event":
        return _event(rows, dialect)
    if role == "time":
        return _time(column, dialect).mask(rows["sort"] == "impossible date", dialect.bad_time)
    if role == "quantity":
        spelled = _spelled(_number(column, dialect.thousands), rows["spelling"])
        blank = dialect.blank & (rows["event"] != "purchase")
        return _odd(spelled.mask(blank, ""), odd & ~in_price, rows)
    if role == "price":
        number = _number(column, dialect.thousands)
        return _odd(number, odd & in_price, rows)
    text = column.fillna("").astype("str").str.replace(r"[\t\r\n]+", " ", regex=True)
    if role == "title" and dialect.encoding == "latin-1":
        text = text.mask(text.str.len() % 5 == 0, text + " (½ PRICE)")
    return text


def _odd(text: pd.Series, where: pd.Series, rows: pd.DataFrame) -> Text:
    return text.mask(where, pd.Series(NO_NUMBERS[rows["origin"] % 3], index=rows.index))


def _event(rows: pd.DataFrame, dialect: Dialect) -> Text:
    name = rows["event"].replace(dialect.events or {})
    unknown = pd.Series(UNKNOWN_EVENTS[rows["origin"] % 3], index=rows.index)
    return name.mask(rows["sort"] == "unknown event", unknown)


def _spelled(text: pd.Series, spelling: pd.Series) -> Text:
    """Whole numbers as ``12.0`` (spelling 1), any text with spaces around it (2)."""
    ones = text[spelling == 1]  # few, and the expression is slow
    number = ones.str.fullmatch(r"-?[1-9]\d*").fillna(False).astype(bool)
    spelled = text.mask(number.reindex(text.index, fill_value=False), text + ".0")
    return spelled.mask((spelling == 2) & text.notna(), " " + text + " ")


def _number(numbers: pd.Series, thousands: bool) -> Text:
    text = numbers.astype("float64").astype("str").str.replace(r"\.0$", "", regex=True)
    large = thousands & (numbers.abs() >= 1000)
    grouped = [f"{number:,}".removesuffix(".0") for number in numbers[large].tolist()]
    text[large] = np.array(grouped, dtype=object)
    return text


def _time(times: pd.Series, dialect: Dialect) -> Text:
    if dialect.time == "unix":
        return times.dt.as_unit("s").astype("int64").astype("str")
    if dialect.time == "iso":
        return times.dt.strftime("%Y-%m-%dT%H:%M:%S+00:00")
    if dialect.time == "text":
        return times.dt.strftime("%Y-%m-%d %H:%M:%S UTC")
    if dialect.time == "berlin":
        local = times.dt.tz_convert("Europe/Berlin").dt.tz_localize(None)
        hours = (local - times.dt.tz_localize(None)) // pd.Timedelta("1h")
        return local.dt.strftime("%Y-%m-%dT%H:%M:%S") + "+0" + hours.astype("str") + ":00"
    return times.dt.strftime(dialect.time)
