"""Which column of a log is what: as the user says, by its usual name, or by its place."""

import re
from collections.abc import Iterable, Mapping, Sequence

from helpers.io import DatasetError

LOG_ROLES = {
    "user": "user userid uid username visitor visitorid customer customerid client clientid member "
    "memberid account accountid reviewer reviewerid",
    "item": "item itemid iid movie movieid film filmid product productid sku stockcode song songid "
    "track trackid article articleid asin book bookid isbn",
    "timestamp": "timestamp ts time datetime date unixtime eventtime eventdate eventtimestamp "
    "invoicedate createdat reviewtime unixreviewtime",
    "value": "value rating stars qty quantity count plays numplays playcount listens strength",
    "event": "event eventtype action",
    "title": "title itemtitle itemname productname producttitle movietitle songtitle description",
}
"""Each role with the column names that are taken for it, without case and punctuation."""

ROLES = LOG_ROLES | {
    "session": "session sessionid usersession visit visitid",
    "order": "order orderid invoice invoiceno invoiceid transaction transactionid purchaseid",
    "price": "price unitprice itemprice",
    "country": "country countrycode",
    "category": "category categorycode",
    "agent": "useragent agent",
    "address": "address ip ipaddress clientip remoteaddr",
    "returned": "returned",
}
"""With those that only the cleaning of a store's log uses."""

ITEM_ROLES = {
    "item": LOG_ROLES["item"] + " id",
    "title": LOG_ROLES["title"] + " name",
    "genres": "genres genre categories category tags class",
}
"""For a file of items."""

SEPARATORS = "a comma, semicolon, tab, | or ::"

NULLS = frozenset({"", "na", "n/a", "nan", "nat", "null", "none", "<na>"})
"""Texts that mean "nothing here", in lower case."""

_NUMBER = re.compile(r"\s*[-+]?\d+([.,]\d*)?([eE][-+]?\d+)?\s*")
_DATE = re.compile(r"\s*\d{4}-\d{1,2}-\d{1,2}\b.*")
_FIRST_TIME = 1e8  # as Unix seconds a day in 1973; as a rating or a count beyond all use


def parse_columns(text: str, roles: Iterable[str] = LOG_ROLES) -> dict[str, str]:
    """Read a column mapping such as ``"user=visitor,item=sku"``.

    Parameters
    ----------
    text : str
        ``role=column`` pairs with commas between; empty for no mapping.
    roles : iterable of str
        The roles there are.

    Raises
    ------
    DatasetError
        If a role is unknown or named twice, or a pair has no ``=`` or lacks a side.

    Examples
    --------
    >>> parse_columns("user=visitor, item=sku")
    {'user': 'visitor', 'item': 'sku'}
    """
    mapping: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else []:
        role, equals, column = (part.strip() for part in pair.partition("="))
        if not (role and equals and column):
            raise DatasetError(
                f"COLUMNS has {pair.strip()!r}, expected role=column; {_example(())}"
            )
        if role in mapping:
            raise DatasetError(
                f"COLUMNS names the role {role!r} twice ({mapping[role]!r} and {column!r}); "
                "keep one of them"
            )
        mapping[role] = column
    check_roles(mapping, roles)
    return mapping


def check_roles(mapping: Iterable[str], roles: Iterable[str]) -> None:
    """Refuse roles that there are not."""
    for role in mapping:
        if role not in roles:
            raise DatasetError(
                f"COLUMNS names an unknown role {role!r}, expected one of {', '.join(roles)}; "
                f"{_example(())}"
            )


def fitting(names: Iterable[str], usual: str) -> list[str]:
    """Choose the columns whose name is usual for a role.

    Examples
    --------
    >>> fitting(["User ID", "item_id:token", "rating"], "item itemid")
    ['item_id:token']
    """
    plain = {name: re.sub(r":(token|float)(_seq)?$", "", name.lower()) for name in names}
    return [name for name in plain if re.sub("[^a-z0-9]", "", plain[name]) in usual.split()]


def resolve_columns(
    names: Sequence[str],
    columns: Mapping[str, str],
    *,
    roles: Mapping[str, str] = ROLES,
    required: Sequence[str] = ("user", "item"),
) -> dict[str, str]:
    """Decide which column plays which role: as given, else by its name.

    Parameters
    ----------
    names : sequence of str
        The columns of the file.
    columns : mapping of role to column name
        The user's choice; it need not be complete.
    roles : mapping of str to str
        The roles to fill, each with the names that are taken for it.
    required : sequence of str
        The roles that must have a column.

    Raises
    ------
    DatasetError
        If a given column is not there or given twice, a required role has no column, or several
        columns fit a role.
    """
    check_roles(columns, roles)
    for role, column in columns.items():
        if column not in names:
            raise DatasetError(f"there is no column {column!r} for {role!r}; {_example(names)}")
    if len(set(columns.values())) < len(columns):
        raise DatasetError(f"one column is given for two roles: {dict(columns)}; {_example(names)}")
    found = dict(columns)
    free = [name for name in names if name not in columns.values()]
    for role, usual in roles.items():
        if role in found:
            continue
        fits = fitting(free, usual)
        if len(fits) > 1:
            raise DatasetError(f"the columns {fits} could each be the {role}; {_example(names)}")
        if fits:
            found[role] = fits[0]
        elif role in required:
            raise DatasetError(f"no column looks like the {role}; {_example(names)}")
    return found


def log_columns(first: Sequence[str]) -> list[str] | None:
    """Name the columns of a log whose first line is a row already.

    Parameters
    ----------
    first : sequence of str
        The fields of the first line.

    Returns
    -------
    list of str or None
        The roles by place, as MovieLens has them; None where the line names the columns.

    Raises
    ------
    DatasetError
        If the line is a row, but not of two to four columns.

    Examples
    --------
    >>> log_columns(["196", "242", "3", "881250949"])
    ['user', 'item', 'value', 'timestamp']
    >>> log_columns(["196", "242", "2024-05-31"])
    ['user', 'item', 'timestamp']
    >>> log_columns(["user", "item", "rating"])
    """
    if not all(_NUMBER.fullmatch(field) or _DATE.fullmatch(field) for field in first):
        return None
    third, *fourth = [_is_time(field) for field in first[2:]] or [False]
    if len(first) == 4 and third and fourth == [False]:
        return ["user", "item", "timestamp", "value"]
    if 2 <= len(first) <= 4:
        places = ["user", "item", "timestamp" if third and not fourth else "value", "timestamp"]
        return places[: len(first)]
    raise DatasetError(
        f"it has no header line (it begins with {' | '.join(first)[:80]!r}), and COLUMNS cannot "
        "help without one; write a line above it such as user,item,value,timestamp (fields are "
        f"separated by {SEPARATORS})"
    )


def item_columns(first: Sequence[str]) -> list[str] | None:
    """Name the columns of a file of items without a header: id, title and, if third, genres.

    Examples
    --------
    >>> item_columns(["1", "Toy Story (1995)", "Animation|Comedy"])
    ['item', 'title', 'genres']
    >>> item_columns(["movieId", "title"])
    """
    if fitting(first, ITEM_ROLES["item"]) and fitting(first, ITEM_ROLES["title"]):
        return None
    if len(first) < 2:
        raise DatasetError(f"it has one column ({first}); expected an id and a title in each line")
    more = [f"column {place}" for place in range(3, len(first) + 1)]
    return ["item", "title", *(["genres"] if len(first) == 3 else more)]


def _is_time(field: str) -> bool:
    if _DATE.fullmatch(field):
        return True
    return float(field.replace(",", ".")) >= _FIRST_TIME


def _example(names: Sequence[str]) -> str:
    """Say which columns are there and what a mapping looks like."""
    given = f"the file has the columns {', '.join(names)[:500]}; " if names else ""
    if len(names) == 1:
        given += f"fields are separated by {SEPARATORS}; "
    if any(_NUMBER.fullmatch(name) for name in names):
        given += "if this is a row, write a header line above it; else "
    return given + 'say which is which with COLUMNS="user=...,item=...,timestamp=...,value=..."'
