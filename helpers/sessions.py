"""Sessions of a store's log, from the gaps between events."""

import pandas as pd


def sessions(events: pd.DataFrame, gap: str | pd.Timedelta = "30min") -> pd.Series:
    """The session of each event: a silence of more than ``gap`` begins a new one.

    Parameters
    ----------
    events : DataFrame
        ``user_id`` and ``timestamp``, rows in any order; where it has a ``session_id``, rows with
        one keep it.
    gap : str or Timedelta, above 0
        30 minutes are what web analytics have used for decades.

    Returns
    -------
    Series of str, named ``session_id``
        Aligned with the rows: ``user_id``, ``/`` and the number of the user's session, from 1.

    Raises
    ------
    ValueError
        If ``gap`` is no duration above 0, or a user or time is missing.

    Notes
    -----
    Events of one time are in one session, and a gap of exactly ``gap`` does not cut.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "user_id": ["7", "7", "8", "7"],
    ...     "timestamp": pd.to_datetime([0, 1800, 1900, 3601], unit="s", utc=True)})
    >>> sessions(log).tolist()
    ['7/1', '7/1', '8/1', '7/2']
    """
    try:
        longest = pd.Timedelta(gap)
        if not longest > pd.Timedelta(0):
            raise ValueError("it is not above 0")
    except ValueError as error:
        raise ValueError(f"gap is {gap!r}, expected a duration such as '30min' ({error})") from None
    if missing := int(events[["user_id", "timestamp"]].isna().any(axis=1).sum()):
        raise ValueError(f"events has {missing} rows without user or time; clean the log first")
    ordered = events.reset_index(drop=True).sort_values(["user_id", "timestamp"], kind="stable")
    other = ordered["user_id"] != ordered["user_id"].shift()
    starts = other | (ordered["timestamp"].diff() > longest)
    number = starts.groupby(ordered["user_id"]).cumsum()
    found = (ordered["user_id"].astype("str") + "/" + number.astype("str")).sort_index()
    found = found.set_axis(events.index).rename("session_id")
    if "session_id" in events:
        given = events["session_id"].astype("str")
        found = given.where(given.notna() & (given != ""), found)
    return found
