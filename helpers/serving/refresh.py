"""One day's work: fetch, clean, fit, compare with the served model, and publish if all is well."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from scipy.sparse import csr_matrix

from helpers import cleaning, datasets, io, metrics, production, recommend
from helpers.datasets import Dataset, RawLog, cleaned, own
from helpers.io import DatasetError
from helpers.production import K, Production
from helpers.serving import table
from helpers.serving.table import ServingError, Table
from helpers.serving.window import Window, fetch

MARGIN = 0.05  # share of the served model's nDCG that a new one may lose
LEAST_USERS = 30  # with fewer users a comparison says nothing
VOLUME = 5  # the newest day may have so many times more or fewer rows than the median day before
MEDIAN_OF = 7, 28  # how many days before the newest the median is of: at least, and at most

MOST_UNKNOWN = 0.5
"""Share of the newest day's rows that may be about items which the served model does not know."""


def slug(source: str) -> str:
    """Name the folders: for files as everywhere, for a database its name.

    Examples
    --------
    >>> slug("exports/"), slug("postgresql+psycopg://reader:secret@db/shop")
    ('exports', 'shop')
    """
    return datasets.slug(Path(io.hidden(source)) if "://" in source else source)


def refresh(
    source: str | Path | pd.DataFrame,
    to: Path,
    window: Window,
    chosen: Path | None = None,
    *,
    query: str = "",
    columns: Mapping[str, str] | None = None,
    items: str | Path = "",
    keep: int = 365,
    late: int = 2,
    until: date | None = None,
    allow_fewer: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Bring the window and the served table up to date.

    Parameters
    ----------
    source, query, columns
        See :func:`helpers.serving.window.fetch`.
    to : Path
        Folder of the table; its name is the data set's.
    window : Window
    chosen : Path, optional
        See :func:`helpers.production.choose_settings`.
    items : path, optional
        A file with titles and genres, as for :func:`helpers.datasets.load`.
    keep : int
        Days of the window.
    late : int
        Days before the newest stored one that are fetched again, for rows that came late.
    until : date, optional
        The day (UTC) from which on nothing is taken; today by default, so that all days are whole.
    allow_fewer : bool
        Whether a day may come back with fewer rows than are stored.
    force : bool
        Whether to go on where a check fails.

    Returns
    -------
    dict
        The record of the run, which ``refresh/runs.json`` in the folder keeps; ``decision`` is
        "published", "not published" (see ``reasons``) or, where nothing has changed and nothing was
        written, "nothing new".

    Raises
    ------
    DatasetError
        If the source is broken; the window and the table are as they were.
    ServingError
        If another refresh of this folder is going on.

    Notes
    -----
    A new model is not published if the newest day has a volume or a share of unknown items beyond
    the limits above, or if it is worse than the served one by more than :data:`MARGIN`: even the
    upper end of the 95 % interval of the difference in nDCG@10. That comparison is between what was
    served and the same model fitted without the newest day, so both know only what came before, on
    the users of that day and items new to them. If the served one has seen a part of the day, only
    the rest of it counts.

    Each step can be done again: a run that was killed is completed by the next one.
    """
    for argument, value, least in (("keep", keep, 1), ("late", late, 0)):
        if value < least:
            raise DatasetError(f"{argument} is {value} days, expected at least {least}")
    started, runs = datetime.now(UTC), to / "refresh" / "runs.json"
    until = until or started.date()
    name = "a frame" if isinstance(source, pd.DataFrame) else io.hidden(str(source))
    with io.writing(runs):
        runs.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(runs.with_name(".lock"), timeout=0).acquire()
    except Timeout:
        raise ServingError(f"another refresh of {to} is going on; wait until it ends") from None
    with lock:
        served, stored = _served(to, runs), window.days()
        since = until - timedelta(days=keep) if "://" in name else date(1970, 1, 2)
        if stored:
            since = max(stored) - timedelta(days=late)
        fetched = fetch(source, since, until, query=query, columns=columns, any_quality=force)
        changed = window.replace(
            fetched.events, keep=keep, allow_fewer=allow_fewer, other_columns=force
        )
        if not (stored := window.days()):
            raise DatasetError(f"{name} has no rows of the days from {since} to before {until} UTC")
        state, reasons = window.state(), list[str]()
        record: dict[str, Any] = {
            "started": f"{started:%Y-%m-%d %H:%M:%S} UTC",
            "source": name,
            "since": str(since),
            "rows read": fetched.n_rows,
            "bytes read": fetched.n_bytes,
            "days changed": [str(day) for day in changed],
            "window": f"{min(stored)} to {max(stored)}",
        }
        if served and served.facts.get("window") == state and not force:
            return {**record, "decision": "nothing new", "reasons": []}
        events, start = window.read(), None
        found = cleaning.clean(events)
        raw = RawLog(name=to.name, description=f"{name}, by day", origin=name, sha256=state)
        data = cleaned.to_dataset(raw, found.frame, found.report.to_json())
        if items:
            data = own.with_items(data, Path(items))
        if served:
            start = pd.Index(served.item_ids), np.asarray(served.model.item_factors)
            reasons, start = _check(events, data, served, chosen, start, record)
        record |= {"decision": "not published", "reasons": reasons}
        if force or not reasons:
            made = production.fit(data, chosen, start=start, rolling=True)
            made = replace(made, metrics=production.measure(made))
            record["decision"] = "published"
            newest = str(data.interactions["timestamp"].max())
            facts = {"window": state, "newest": newest, "refresh": dict(record)}
            record["version"] = table.publish(made, to, facts)
        _append(runs, record)
        return record


def _served(to: Path, runs: Path) -> Table | None:
    """What is served; its record is written if the run was killed before it could do so."""
    if not (to / "current").is_file():
        return None
    served = Table(to / f"{table.current(to)}.sqlite")
    record = {**served.facts.get("refresh", {}), "version": served.version}
    if "started" in record and not (runs.is_file() and record in io.read_json(runs)):
        _append(runs, record)
    return served


def _append(runs: Path, record: Mapping[str, Any]) -> None:
    io.write_json(runs, [*(io.read_json(runs) if runs.is_file() else []), record])


def _check(
    events: pd.DataFrame,
    data: Dataset,
    served: Table,
    chosen: Path | None,
    start: tuple[pd.Index, np.ndarray],
    record: dict[str, Any],
) -> tuple[list[str], tuple[pd.Index, np.ndarray]]:
    """The reasons not to publish, and better factors to start from; the record gets the figures."""
    n_rows = events["timestamp"].dt.floor("D").value_counts().sort_index()
    day, n, before = n_rows.index[-1], int(n_rows.iloc[-1]), n_rows.iloc[-1 - MEDIAN_OF[1] : -1]
    reasons = []
    record |= {"rows of the newest day": n}
    if len(before) >= MEDIAN_OF[0]:
        record["median of the days before"] = median = float(before.median())
        if not median / VOLUME <= n <= median * VOLUME:
            reasons.append(f"{day:%F} has {n:,} rows, the median of the days before is {median:,}")
    log = data.interactions
    known = log.loc[log["timestamp"] >= day, "item_id"].isin(served.places)
    record["share of unknown items"] = unknown = 1 - float(known.mean()) if len(known) else 0.0
    if unknown > MOST_UNKNOWN:
        reasons.append(f"{unknown:.0%} of the rows of {day:%F} are about unknown items")
    if "newest" not in served.facts:  # nobody knows what it has seen
        return reasons, start
    is_test = (log["timestamp"] >= day) & (log["timestamp"] > served.facts["newest"])
    if not is_test.any() or log.loc[~is_test, "user_id"].nunique() < 2:
        return reasons, start
    old = replace(data, interactions=log[~is_test])
    made = production.fit(old, chosen, start=start, rolling=True)
    ndcg = compare(served, made, log[is_test])
    record["users compared"] = len(ndcg)
    if len(ndcg) >= LEAST_USERS:
        before, now = (float(ndcg[name].mean()) for name in ("served", "new"))
        found = metrics.paired(ndcg["new"], ndcg["served"])
        record[f"ndcg@{K}"] = {"served": before, "new": now, "low": found.low, "high": found.high}
        if found.high < -MARGIN * before:
            reasons.append(
                f"nDCG@{K} on {day:%F} fell from {before:.4f} to {now:.4f} ({len(ndcg)} users)"
            )
    return reasons, (made.interactions.item_ids, np.asarray(made.model.item_factors))


def compare(served: Table, made: Production, test: pd.DataFrame) -> pd.DataFrame:
    """nDCG@10 of a served table and of a new model, on what users took later.

    Parameters
    ----------
    served : Table
    made : Production
        Fitted on what came before ``test``.
    test : DataFrame
        ``user_id`` and ``item_id``. Items that a user has in the log of ``made`` do not count.
        Users who are unknown get the popular list.

    Returns
    -------
    DataFrame
        Columns ``served`` and ``new``, one row a user.
    """
    log, pair = made.interactions, ["user_id", "item_id"]
    wanted, history = test[pair].drop_duplicates(), log.to_frame()[pair]
    is_new = ~pd.MultiIndex.from_frame(wanted).isin(pd.MultiIndex.from_frame(history))
    wanted = wanted[is_new]
    if wanted.empty:
        return pd.DataFrame({"served": [], "new": []})
    users, user_rows = np.unique(wanted["user_id"].to_numpy(object), return_inverse=True)
    ids = log.item_ids.union(pd.Index(served.item_ids)).union(pd.Index(wanted["item_id"].unique()))
    cells = user_rows, ids.get_indexer(pd.Index(wanted["item_id"]))
    relevant = csr_matrix((np.ones(len(wanted)), cells), shape=(len(users), len(ids)))

    k, rows = min(K, log.n_items), log.user_ids.get_indexer(pd.Index(users))
    new = np.tile(recommend.popular_items(log.user_items, k), (len(users), 1))
    new[rows >= 0] = recommend.top_n(made.model, made.matrix, k, users=rows[rows >= 0])
    seen = history[history["user_id"].isin(users)].groupby("user_id")["item_id"].agg(list)
    old = np.full((len(users), k), -1)
    for row, user_id in enumerate(users):
        out = [served.places[item] for item in seen.get(user_id, ()) if item in served.places]
        listed = served.recommend(served.user(user_id), k, exclude=out).items
        old[row, : len(listed)] = listed

    def ndcg(lists: np.ndarray, item_ids: pd.Index) -> pd.Series:
        top = np.where(lists >= 0, ids.get_indexer(item_ids)[lists], -1)
        return metrics.accuracy(top, relevant, [k])[f"ndcg@{k}"]

    return pd.DataFrame(
        {"served": ndcg(old, pd.Index(served.item_ids)), "new": ndcg(new, log.item_ids)}
    )
