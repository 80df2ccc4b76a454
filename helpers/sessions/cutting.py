"""Sessions from the gaps between events."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

STEPS = ("view", "cart", "purchase")
"""The funnel of a store."""


def reconstruct(
    frame: pd.DataFrame, gap: str | pd.Timedelta = "30min", *, keep_existing: bool = True
) -> pd.Series:
    """Number each user's sessions: a silence of more than ``gap`` begins a new one.

    Parameters
    ----------
    frame : DataFrame
        ``user_id`` (str), ``timestamp`` (datetime64, no missing), rows in any order; optionally
        ``session_id`` (str, may be missing in some rows).
    gap : str or Timedelta, above 0
        Longest silence within a session. 30 minutes is what web analytics have used for decades.
    keep_existing : bool
        Whether rows that have a ``session_id`` keep it. The rows without one are then cut among
        themselves. With False the whole log is cut by gaps.

    Returns
    -------
    Series of str, named ``session_id``
        Aligned with the rows of ``frame``. A new id is ``user_id``, ``/`` and the number of the
        session of that user, from 1 in order of time.

    Raises
    ------
    ValueError
        If a column is missing, a user or time in it is missing, or ``gap`` is not above 0.

    Notes
    -----
    The order of the rows does not matter, and a second call changes nothing. Events at the same
    time are always in one session, and a gap of exactly ``gap`` does not cut. If the log has an id
    that looks like a new one (``7/1``), numbering starts after the highest of that user.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "user_id": ["7", "7", "8", "7"],
    ...     "timestamp": pd.to_datetime([0, 1800, 1900, 3601], unit="s", utc=True)})
    >>> reconstruct(log).tolist()
    ['7/1', '7/1', '8/1', '7/2']
    """
    need(frame, "user_id", "timestamp")
    longest = _gap(gap)
    result = pd.Series(pd.NA, index=frame.index, dtype="str", name="session_id")
    todo = np.ones(len(frame), dtype=bool)
    if keep_existing and "session_id" in frame:
        given = frame["session_id"].astype("str")
        todo = (given.isna() | (given == "")).to_numpy()
        result[~todo] = given[~todo]
    user, users = pd.factorize(frame["user_id"].astype("str"))
    taken = _highest(result.to_numpy(), user, users)
    rows = np.flatnonzero(todo)
    time = frame["timestamp"].dt.as_unit("ns").astype("int64").to_numpy()[rows]
    order = np.lexsort((time, user[rows]))
    who, when = user[rows][order], time[order]
    other = np.diff(who, prepend=-1) != 0
    cut = other | (np.diff(when, prepend=when[:1]) > longest)
    total = np.cumsum(cut)
    before = np.maximum.accumulate(np.where(other, total - 1, 0)) if len(rows) else total
    number = np.empty(len(rows), dtype=np.int64)
    number[order] = total - before + taken[who]
    names = users.to_numpy(dtype=object)[user[rows]] + "/" + number.astype(str).astype(object)
    # By position: the index of the caller may hold a label twice.
    filled = result.to_numpy(dtype=object)
    filled[rows] = names
    return pd.Series(filled, index=frame.index, dtype="str", name="session_id")


def summary(frame: pd.DataFrame, gap: str | pd.Timedelta = "30min") -> pd.DataFrame:
    """One row for each session: whose, when, how long, what in it.

    Parameters
    ----------
    frame : DataFrame
        Events; sessions that the log lacks are reconstructed with ``gap``.
    gap : str or Timedelta

    Returns
    -------
    DataFrame
        Index ``session_id``, in order of the first event; columns ``user_id``, ``start`` and
        ``end`` (times of the first and last event), ``seconds`` (between them, float64; 0 for a
        single event), ``events``, ``items`` (distinct), and the number of each of :data:`STEPS`.

    Notes
    -----
    The time on the last page is unknown, so ``seconds`` is too short by it. A session id that two
    users share counts as two sessions; the rows then have the same label.
    """
    need(frame, "user_id", "item_id", "event", "timestamp")
    keyed = frame.assign(session_id=reconstruct(frame, gap))
    for step in STEPS:
        keyed[step] = frame["event"] == step
    grouped = keyed.groupby(["session_id", "user_id"], sort=True)
    table = grouped.agg(
        start=("timestamp", "min"),
        end=("timestamp", "max"),
        events=("event", "size"),
        items=("item_id", "nunique"),
        **{step: (step, "sum") for step in STEPS},
    ).reset_index("user_id")
    table.insert(3, "seconds", (table["end"] - table["start"]).dt.total_seconds())
    return table.sort_values(["start", "user_id"], kind="stable")


def overview(frame: pd.DataFrame, gap: str | pd.Timedelta = "30min") -> pd.Series:
    """The sessions of a log in a few numbers.

    Parameters
    ----------
    frame : DataFrame
        Events.
    gap : str or Timedelta

    Returns
    -------
    Series of float64
        Users, sessions, sessions of a user (mean), events of a session (mean, median), minutes of
        a session with two events or more (median; NaN where there is none), share of sessions
        with a single event.
    """
    table = summary(frame, gap)
    users = frame["user_id"].nunique()
    longer = table.loc[table["events"] > 1, "seconds"]
    return pd.Series(
        {
            "users": float(users),
            "sessions": float(len(table)),
            "sessions per user": len(table) / users if users else np.nan,
            "events per session, mean": table["events"].mean(),
            "events per session, median": table["events"].median(),
            "minutes per session, median": longer.median() / 60,
            "sessions with a single event": (table["events"] == 1).mean(),
        },
        dtype="float64",
    )


def need(frame: pd.DataFrame, *names: str, may_miss: Sequence[str] = ()) -> None:
    """Refuse a frame that lacks columns, or has missing entries or a time that is none.

    Parameters
    ----------
    frame : DataFrame
    *names : str
        The columns that are needed.
    may_miss : sequence of str
        Those of them that may have missing entries.

    Raises
    ------
    ValueError
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(
            f"frame lacks the columns {missing}, it has {list(frame.columns)}; pass the events "
            "frame that helpers.cleaning returns"
        )
    for name in names:
        if name not in may_miss and frame[name].isna().any():
            raise ValueError(
                f"frame[{name!r}] is missing in {int(frame[name].isna().sum()):,} rows; clean the "
                "log first, these rows belong to nobody's session"
            )
    if "timestamp" in names and frame["timestamp"].dtype.kind != "M":
        raise ValueError(
            f"frame['timestamp'] is {frame['timestamp'].dtype}, expected times; convert it with "
            "pd.to_datetime(..., utc=True)"
        )


def _highest(existing: np.ndarray, user: np.ndarray, users: pd.Index) -> np.ndarray:
    """The highest number of a kept id of the form ``user/number``, for each user; else 0."""
    highest = np.zeros(len(users), dtype=np.int64)
    known = pd.Series(existing, dtype="str")
    rows = np.flatnonzero(known.str.fullmatch(r".*/\d{1,15}", flags=16).fillna(False).to_numpy())
    if len(rows):
        parts = known.iloc[rows].str.rsplit("/", n=1)
        own = parts.str[0].to_numpy(dtype=object) == users.to_numpy(dtype=object)[user[rows]]
        numbers = parts.str[1].astype("int64").to_numpy()
        np.maximum.at(highest, user[rows][own], numbers[own])
    return highest


def _gap(gap: str | pd.Timedelta) -> int:
    try:
        longest = pd.Timedelta(gap)
    except ValueError as error:
        raise ValueError(f"gap is {gap!r}, expected a duration such as '30min'") from error
    if pd.isna(longest) or longest <= pd.Timedelta(0):
        raise ValueError(f"gap is {gap!r}, expected a duration above 0, such as '30min'")
    return int(longest.as_unit("ns").value)
