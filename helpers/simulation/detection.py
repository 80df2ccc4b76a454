"""How much of what was planted a cleaning found, and what it took for planted and was not."""

from collections.abc import Mapping

import pandas as pd

from helpers.metrics import wilson

PLANTED = {
    "corrupt row": "quarantine",
    "missing user": "missing user",
    "cancelled order": "cancellations",
    "free order": "price",
    "exact duplicate": "duplicates",
    "near duplicate": "near duplicates",
}
"""The rule that should find each kind of planted row."""

CRAWLERS = ("declared crawler", "disguised crawler")


def rows_found(
    truth: pd.DataFrame, removed: pd.DataFrame, quarantine: pd.DataFrame
) -> pd.DataFrame:
    """Precision and recall of the rules that look at rows.

    Parameters
    ----------
    truth : DataFrame
        Of a simulated store: ``kind``, ``file``, ``row``.
    removed, quarantine : DataFrame
        Of the cleaning: ``file``, ``row``, and ``rule`` in ``removed``.

    Returns
    -------
    DataFrame
        Index ``planted`` (kind); ``rule``, ``rows`` planted, ``found`` (gone, under whatever
        rule), ``under rule`` (all rows that the rule took), ``precision`` (of these, the planted
        ones) and ``recall`` (found of planted).

    Notes
    -----
    A planted row may go under an earlier rule, when it also belongs to a crawler, say: it is found
    all the same. Of two equal rows neither is the copy: the rule keeps the first in the file, so
    with duplicates the *numbers* of planted and of removed rows are compared, pair by pair.
    """
    gone = pd.concat([removed[["file", "row", "rule"]], quarantine[["file", "row"]]])
    gone["rule"] = gone["rule"].fillna("quarantine")
    places = pd.MultiIndex.from_frame(gone[["file", "row"]])
    table = {}
    for kind, rule in PLANTED.items():
        planted = pd.MultiIndex.from_frame(truth.loc[truth["kind"] == kind, ["file", "row"]])
        under = places[gone["rule"] == rule]
        found = int(planted.isin(places).sum())
        right = int(under.isin(planted).sum())
        table[kind] = [
            rule, len(planted), found, len(under),
            right / len(under) if len(under) else float("nan"),
            found / len(planted) if len(planted) else float("nan"),
        ]  # fmt: skip
    columns = ["rule", "rows", "found", "under rule", "precision", "recall"]
    return pd.DataFrame.from_dict(table, orient="index", columns=columns).rename_axis("planted")


def accounts_found(users: pd.DataFrame, accounts: pd.DataFrame) -> pd.DataFrame:
    """Precision and recall of the verdicts on behaviour.

    Parameters
    ----------
    users : DataFrame
        Of a simulated store: index ``user_id``; ``kind``, ``events``.
    accounts : DataFrame
        Of a cleaning without the rule "declared bots", so that the user agent was not used: index
        ``user_id``; ``is_bot``, ``is_staff``.

    Returns
    -------
    DataFrame
        Index ``who`` ("all crawlers", "disguised crawlers", "staff"); ``accounts``, ``found``,
        ``wrong`` (others that were taken for these), ``precision``, ``recall`` with its 95 %
        interval ``low`` and ``high`` (Wilson), and ``of events``, the share of their events that
        the found ones hold.

    Notes
    -----
    Staff who were taken for crawlers, and the reverse, count as not found and as wrong, although
    they go either way.
    """
    flags = accounts[["is_bot", "is_staff"]].reindex(users.index, fill_value=False)
    crawlers = users["kind"].isin(CRAWLERS)
    disguised = users["kind"] == "disguised crawler"
    groups: Mapping[str, tuple[pd.Series, pd.Series]] = {
        "all crawlers": (crawlers, flags["is_bot"]),
        "disguised crawlers": (disguised, flags["is_bot"] & ~(crawlers & ~disguised)),
        "staff": (users["kind"] == "staff", flags["is_staff"]),
    }
    rows = {}
    for who, (real, flagged) in groups.items():
        found, n = int((real & flagged).sum()), int(real.sum())
        low, high = wilson(found, n) if n else (float("nan"), float("nan"))
        events = users["events"]
        rows[who] = [
            n, found, int((flagged & ~real).sum()),
            found / flagged.sum() if flagged.any() else float("nan"),
            found / n if n else float("nan"), low, high,
            events[real & flagged].sum() / max(events[real].sum(), 1),
        ]  # fmt: skip
    columns = [
        "accounts", "found", "wrong", "precision", "recall", "low", "high", "of events",
    ]  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("who")


def missed(users: pd.DataFrame, accounts: pd.DataFrame) -> pd.DataFrame:
    """The crawlers and staff that were not found, by sort.

    Parameters
    ----------
    users, accounts : DataFrame
        As for :func:`accounts_found`.

    Returns
    -------
    DataFrame
        Index ``kind`` and ``sort``; ``accounts`` missed, ``of`` how many, ``judged`` (had enough
        clicks for a verdict), ``events`` (the largest number that one of them has).
    """
    flags = accounts[["is_bot", "is_staff"]].reindex(users.index, fill_value=False)
    planted = users[users["kind"].isin([*CRAWLERS, "staff"])]
    found = flags.any(axis=1).reindex(planted.index)
    table = planted.assign(
        missed=~found, judged=planted.index.isin(accounts.index), most=planted["events"]
    )
    groups = table[table["missed"]].groupby(["kind", "sort"])
    counts = groups.agg(
        accounts=("missed", "size"), judged=("judged", "sum"), events=("most", "max")
    )
    counts.insert(1, "of", table.groupby(["kind", "sort"]).size().reindex(counts.index))
    return counts
