"""From view to purchase: the funnel, conversion by group, and who has bought."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from helpers.metrics import wilson
from helpers.sessions.cutting import STEPS, need, reconstruct

By = Literal["session", "user"]


class PurchaseSplit(NamedTuple):
    """A log in two parts: the events of those who bought something, and those of all others.

    Attributes
    ----------
    purchasers : DataFrame
        All events of the users that have a purchase: the users of the model.
    others : DataFrame
        All events of everybody else: they get the popular list.
    """

    purchasers: pd.DataFrame
    others: pd.DataFrame


def funnel(
    frame: pd.DataFrame,
    by: By = "session",
    *,
    in_order: bool = False,
    steps: Sequence[str] = STEPS,
    gap: str | pd.Timedelta = "30min",
) -> pd.DataFrame:
    """How many sessions (or users) come from each step to the next.

    Parameters
    ----------
    frame : DataFrame
        Events.
    by : {"session", "user"}
        What is counted. Sessions that the log lacks are reconstructed with ``gap``.
    in_order : bool
        False: a step is reached by whoever has reached all earlier steps, at any time (a purchase
        without a view does not count as reached). True: the earlier steps must also come earlier,
        or at the same time: some view, then a cart after it, then a purchase after that.
    steps : sequence of str
        Names of events, at least one, each once.
    gap : str or Timedelta

    Returns
    -------
    DataFrame
        Index ``step``; ``ever`` (how many have the event at all), ``reached`` (those who came
        through all steps up to it), ``from_previous`` and its interval ``low`` and ``high``,
        ``from_first``. Shares are float64 from 0 to 1, NaN where nobody could.

    Raises
    ------
    ValueError
        If a column is missing, ``by`` is neither, or the steps are empty or repeated.

    Notes
    -----
    The item is not looked at: who views one thing and buys another is a conversion. ``ever`` shows
    what the funnel leaves out, such as purchases whose views the log does not have. The interval is
    Wilson's (95 %); it takes sessions for independent, which those of one user are not,
    so it is somewhat too narrow for ``by="session"``.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "user_id": ["7", "7", "8", "9"], "item_id": ["a", "a", "a", "b"],
    ...     "event": ["view", "purchase", "view", "cart"],
    ...     "timestamp": pd.to_datetime([0, 60, 60, 60], unit="s", utc=True)})
    >>> funnel(log, by="user", steps=["view", "purchase"])["reached"].tolist()
    [2, 1]
    """
    unit = _units(frame, by, gap)
    return _funnel(frame, unit, _steps(steps), in_order)


def conversion(
    frame: pd.DataFrame,
    group: str,
    by: By = "session",
    *,
    gap: str | pd.Timedelta = "30min",
) -> pd.DataFrame:
    """Share of sessions (or users) with a purchase, for each value of a column.

    Parameters
    ----------
    frame : DataFrame
        Events.
    group : str
        A column, such as ``country``. A session or user that has several values counts for the
        one of its first event; rows without a value are the group "(missing)".
    by : {"session", "user"}
    gap : str or Timedelta

    Returns
    -------
    DataFrame
        Index ``group``'s values, the largest first; ``n``, ``converted``, ``conversion`` and its
        Wilson interval ``low``, ``high``.

    Raises
    ------
    ValueError
        If the column is missing or ``by`` is neither.
    """
    need(frame, "user_id", "event", "timestamp", group, may_miss=(group,))
    unit = _units(frame, by, gap)
    table = pd.DataFrame(
        {
            "unit": unit,
            "time": frame["timestamp"].to_numpy(),
            "bought": (frame["event"] == "purchase").to_numpy(),
            "group": frame[group].astype("str").fillna("(missing)").to_numpy(),
        }
    ).sort_values(["unit", "time", "group"], kind="stable")
    units = table.groupby("unit").agg(group=("group", "first"), bought=("bought", "any"))
    found = units.groupby("group")["bought"].agg(n="size", converted="sum").rename_axis(group)
    low, high = _intervals(found["converted"].to_numpy(), found["n"].to_numpy())
    found = found.assign(conversion=found["converted"] / found["n"], low=low, high=high)
    largest_first: pd.DataFrame = found.sort_values(["n", "converted"], ascending=False)
    return largest_first


def purchasers(frame: pd.DataFrame) -> pd.Index:
    """Ids of the users with at least one purchase, sorted.

    Parameters
    ----------
    frame : DataFrame
        ``user_id`` and ``event``.

    Returns
    -------
    Index of str, named ``user_id``

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> log = pd.DataFrame({"user_id": ["8", "7"], "event": ["purchase", "view"]})
    >>> purchasers(log).tolist()
    ['8']
    """
    need(frame, "user_id", "event")
    bought = frame.loc[frame["event"] == "purchase", "user_id"].astype("str")
    ids: pd.Index = pd.Index(np.sort(bought.unique()), name="user_id", dtype="str")
    return ids


def split_by_purchase(frame: pd.DataFrame) -> PurchaseSplit:
    """The events of purchasers (the users of the model), and those of everybody else.

    Parameters
    ----------
    frame : DataFrame
        Events of the training period: who buys only later is not yet a purchaser.

    Returns
    -------
    PurchaseSplit
        Both parts keep order and index of their rows; together they are the frame.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    has_bought = frame["user_id"].astype("str").isin(purchasers(frame)).to_numpy()
    return PurchaseSplit(frame[has_bought], frame[~has_bought])


def _funnel(
    frame: pd.DataFrame, unit: np.ndarray, steps: list[str], in_order: bool
) -> pd.DataFrame:
    event = frame["event"].to_numpy(dtype=object)
    time = frame["timestamp"].dt.as_unit("ns").astype("int64").to_numpy()
    n_units = int(unit.max(initial=-1)) + 1
    never = np.iinfo(np.int64).max
    # When each unit reached the step before: for "ever" the time does not matter.
    since = np.full(n_units, np.iinfo(np.int64).min)
    ever, reached = [], []
    for step in steps:
        is_step = event == step
        ever.append(len(np.unique(unit[is_step])))
        usable = is_step & (since[unit] != never)
        if in_order:
            usable &= time >= since[unit]
        first = np.full(n_units, never)
        np.minimum.at(first, unit[usable], time[usable])
        since = first
        reached.append(int((first != never).sum()))
    before = np.array([n_units, *reached[:-1]])
    low, high = _intervals(np.array(reached), before)
    with np.errstate(invalid="ignore"):
        shares = np.array(reached) / np.where(before > 0, before, np.nan)
        from_first = np.array(reached) / (reached[0] or np.nan)
    return pd.DataFrame(
        {
            "ever": ever,
            "reached": reached,
            "from_previous": shares,
            "low": low,
            "high": high,
            "from_first": from_first,
        },
        index=pd.Index(steps, name="step"),
    )


def _intervals(hits: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The interval of each share, ``low`` and ``high``; NaN where ``n`` is 0."""
    pairs = zip(hits.tolist(), n.tolist(), strict=True)
    found = [wilson(hit, size) if size else (np.nan, np.nan) for hit, size in pairs]
    low, high = np.array(found).reshape(-1, 2).T
    return low, high


def _units(frame: pd.DataFrame, by: str, gap: str | pd.Timedelta) -> np.ndarray:
    """The session or user of each row, as whole numbers from 0."""
    need(frame, "user_id", "event", "timestamp")
    if by not in ("session", "user"):
        raise ValueError(f"by is {by!r}, expected 'session' or 'user'")
    user = pd.factorize(frame["user_id"].astype("str"))[0]
    if by == "user":
        return user
    session = pd.factorize(reconstruct(frame, gap))[0]
    codes: np.ndarray = pd.factorize(session * (user.max(initial=0) + 1) + user)[0]
    return codes


def _steps(steps: Sequence[str]) -> list[str]:
    if isinstance(steps, str) or not steps or len(set(steps)) < len(steps):
        raise ValueError(
            f"steps is {steps!r}, expected at least one event name, each once, such as {STEPS}"
        )
    return list(steps)
