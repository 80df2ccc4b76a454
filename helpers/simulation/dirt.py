"""Rows that do not belong in a clean log: planted among the events, each with its kind and sort."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

SHARES = {
    "exact duplicate": 0.004,
    "near duplicate": 0.006,
    "corrupt row": 0.002,
    "missing user": 0.003,
    "mixed types": 0.1,
}
"""Planted rows as a share of all events; "mixed types": ids and quantities in an odd spelling."""

DAMAGES = ("cut line", "text for a number", "unknown event", "impossible date")
"""Sorts of corrupt rows."""

DOUBLE_CLICKS = 0.25
"""Share of their views that double-clickers click twice."""


def plant(
    events: pd.DataFrame,
    users: pd.DataFrame,
    rng: np.random.Generator,
    shares: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Add duplicates, near duplicates, corrupt rows and rows without a user.

    Parameters
    ----------
    events : DataFrame
        With ``kind`` and ``sort`` of what is planted already, empty elsewhere.
    users : DataFrame
        Index ``user_id``; ``sort`` tells the double-clickers.
    rng : numpy Generator
    shares : mapping of str to float, optional
        Replaces entries of :data:`SHARES`.

    Returns
    -------
    DataFrame
        The events and the planted rows, each with ``kind`` and ``sort``; ``origin`` (position of
        the event it was made from), ``copy`` (0 for the event itself) and ``spelling`` (0 plain,
        1 as a float, 2 with spaces; the same for all copies).

    Raises
    ------
    ValueError
        If a share has an unknown name or is not from 0 to 0.5.

    Notes
    -----
    All planted rows are additional, so the events themselves stay readable. A near duplicate comes
    one second after a view or a cart; no two other clicks of the same user, item and event are
    that close. Lines that the real purchases hold twice are exact duplicates, too; their sort says
    so, and they are in the log whatever the share.
    """
    share = _shares(shares)
    n = len(events)
    is_click = (events["event"] != "purchase").to_numpy()
    twice = (events["user_id"].map(users["sort"]) == "double-clicker").to_numpy()
    often = share["near duplicate"] + DOUBLE_CLICKS * (share["near duplicate"] > 0) * twice
    near = is_click & (rng.random(n) < often)
    exact = ~near & (rng.random(n) < share["exact duplicate"])
    corrupt = is_click & (rng.random(n) < share["corrupt row"])
    nobody = is_click & (rng.random(n) < share["missing user"])
    spelling = rng.choice(
        3, size=n, p=[1 - share["mixed types"], share["mixed types"] / 2, share["mixed types"] / 2]
    )
    damage = np.array(DAMAGES, dtype=object)[rng.integers(len(DAMAGES), size=n)]
    events = events.assign(origin=np.arange(n), copy=0, spelling=spelling)
    content = [name for name in events.columns if name not in ("origin", "spelling", "copy")]
    repeated = events.duplicated(content)
    events.loc[repeated, ["kind", "sort"]] = ["exact duplicate", "in the real purchases"]
    second = pd.Timedelta(1, "s")
    return pd.concat(
        [
            events,
            events[exact].assign(kind="exact duplicate", sort="exported twice", copy=1),
            events[near].assign(
                kind="near duplicate",
                sort="double click",
                copy=2,
                timestamp=events.loc[near, "timestamp"] + second,
            ),
            events[corrupt].assign(kind="corrupt row", sort=damage[corrupt], copy=3),
            events[nobody].assign(kind="missing user", sort="", copy=4, user_id=None),
        ],
        ignore_index=True,
    )


def _shares(shares: Mapping[str, float] | None) -> dict[str, float]:
    for name, share in (shares or {}).items():
        if name not in SHARES:
            raise ValueError(f"dirt_shares names {name!r}, expected some of {list(SHARES)}")
        if not 0 <= share <= 0.5:
            raise ValueError(f"dirt_shares[{name!r}] is {share}, expected a share from 0 to 0.5")
    return SHARES | dict(shares or {})
