"""Who gets the model's list and who the popular one: the purchasers' rule, and what it costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers import metrics, weighting
from helpers.models import Popularity
from helpers.recommend import CELLS, rank_items
from helpers.store.choosing import chosen_factory
from helpers.store.split import StoreSplit, since, store_split
from helpers.tuning import Settings

GROUPS = ("purchasers", "visitors", "unknown")
RULE, TO_ALL, FALLBACK = "purchasers' rule", "ALS for all", "recently popular"


@dataclass(frozen=True, eq=False)
class Serving:
    """What each policy shows to whom, and what those people then bought.

    Attributes
    ----------
    groups : Series of str
        Index ``user_id``: everybody who bought something in the test window. "purchasers" had
        bought before, "visitors" had only looked, "unknown" had never been seen.
    lists : dict of str to int ndarray of shape (n_users, k)
        Of each policy.
    measured : dict of str to DataFrame
        Accuracy of each policy for each of these users.
    test : csr_matrix of shape (n_users, n_items)
        What they bought.
    item_ids : Index of str
    """

    groups: pd.Series
    lists: dict[str, np.ndarray]
    measured: dict[str, pd.DataFrame]
    test: csr_matrix
    item_ids: pd.Index

    def table(self, measure: str = "ndcg@10", *, seed: int = 0) -> pd.DataFrame:
        """Each policy for each group.

        Parameters
        ----------
        measure : str
        seed : int
            Of the bootstrap.

        Returns
        -------
        DataFrame
            Index levels ``group`` (and "everybody") and ``policy``; columns ``mean``, ``low``,
            ``high``, ``n`` (users) and ``coverage``, the share of the catalogue shown to them.
        """
        rows = {}
        for group, members in self._members().items():
            for policy, frame in self.measured.items():
                values = frame[measure].to_numpy()[members]
                low, high = metrics.bootstrap_interval(values, seed=seed)
                shown = metrics.coverage(self.lists[policy][members], len(self.item_ids))
                rows[group, policy] = [values.mean(), low, high, len(values), shown]
        columns = ["mean", "low", "high", "n", "coverage"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return table.set_axis(pd.MultiIndex.from_tuples(rows, names=["group", "policy"]))

    def differences(
        self,
        first: str = TO_ALL,
        second: str = RULE,
        measure: str = "ndcg@10",
        *,
        seed: int = 0,
    ) -> pd.DataFrame:
        """One policy against another in each group, paired by user.

        Parameters
        ----------
        first, second : str
            Policies.
        measure : str
        seed : int
            Of the bootstrap.

        Returns
        -------
        DataFrame
            Index ``group``; columns ``difference``, ``low``, ``high``, ``verdict`` for ``first``
            ("ahead", "behind", "tied"), ``n``.
        """
        rows = {}
        for group, members in self._members().items():
            values = [
                self.measured[policy][measure].to_numpy()[members] for policy in (first, second)
            ]
            pair = metrics.paired(values[0], values[1], seed=seed)
            rows[group] = [pair.difference, pair.low, pair.high, pair.verdict, len(values[0])]
        columns = ["difference", "low", "high", "verdict", "n"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("group")

    def _members(self) -> dict[str, np.ndarray]:
        of_group = {name: np.flatnonzero(self.groups == name) for name in GROUPS}
        there = {name: members for name, members in of_group.items() if len(members)}
        return {**there, "everybody": np.arange(len(self.groups))}


def serve(
    events: pd.DataFrame,
    cutoff: pd.Timestamp | str,
    settings: Settings,
    *,
    model: str = "ALS",
    weights: Mapping[str, float] = weighting.EVENT_WEIGHTS,
    half_life_days: float | None = None,
    recent_days: float = 28.0,
    policies: Sequence[str] | None = None,
    repurchases: bool = False,
    ks: Sequence[int] = (3, 10),
    seed: int = 0,
) -> Serving:
    """Serve everybody who buys in the test window, under several policies.

    Parameters
    ----------
    events : DataFrame
        An events frame, clean.
    cutoff : Timestamp or str
        First moment of the test.
    settings : mapping
        Of ``model``; implicit's defaults when empty.
    model : {"ALS", "IALS"}
    weights, half_life_days
        See :func:`helpers.weighting.event_values`.
    recent_days : float
        What "recently popular" counts.
    policies : sequence of str, optional
        Which of the policies below; all that the log allows when not given.
    repurchases : bool
        Whether what a user bought before is to be predicted, too.
    ks : sequence of int
        Cut-offs.
    seed : int
        Of the models.

    Returns
    -------
    Serving
        With these policies:

        - "popular": what most users bought before, the same for all;
        - "recently popular": the same over the last ``recent_days``;
        - "popular by country", "popular by category": "recently popular" for each of them, see
          :func:`popular_by` (where the log has that column);
        - "purchasers' rule", as in the store project: the model is fitted on users who have bought
          and serves them; all others get "recently popular";
        - "ALS for all": fitted on all users with any event, and serves all of them; only who was
          never seen gets "recently popular".

    Notes
    -----
    What a user has *bought* is left out of all lists, what a user has only viewed is not. The
    country of somebody never seen before is that of their first event in the test: a shop knows it
    from the address before anything is bought.
    """
    in_test = since(events, cutoff)
    split = store_split(
        events, in_test, weights=weights, half_life_days=half_life_days, repurchases=repurchases
    )
    users = np.flatnonzero(np.diff(split.test.user_items.indptr))
    histories, bought = split.train.user_items, split.bought
    has_bought = np.diff(bought.user_items.indptr) > 0
    has_events = np.diff(histories.indptr) > 0
    groups = np.where(has_bought, "purchasers", np.where(has_events, "visitors", "unknown"))[users]
    k = max(ks)

    def ranked(scores: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        # In blocks of users: all scores at once would not fit into memory for a large shop.
        step = max(1, CELLS // split.train.n_items)
        blocks = [users[start : start + step] for start in range(0, len(users), step)]
        lists = [rank_items(scores(block), k, split.excluded(block))[0] for block in blocks]
        return np.concatenate(lists)

    recent = Popularity(bought.timestamps, recent_days)
    recent.fit(bought.user_items, show_progress=False)
    scorers: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "popular": lambda block: np.tile(bought.item_counts.astype(np.float64), (len(block), 1)),
        FALLBACK: lambda block: recent.scores(block, bought.user_items[block]),
    }
    assert bought.timestamps is not None  # events were cut in time
    age = (bought.timestamps.max() - bought.timestamps) / np.timedelta64(1, "D")
    lately = replace(split, bought=bought.select(age < recent_days))
    for column in ("country", "category"):
        if column in events:
            scorers[f"popular by {column}"] = partial(popular_by, events, in_test, lately, column)
    served = {RULE: has_bought, TO_ALL: has_events}
    wanted = [*scorers, *served] if policies is None else list(policies)
    if unknown := set(wanted) - {*scorers, *served}:
        raise ValueError(f"unknown policies {sorted(unknown)}; there are {[*scorers, *served]}")
    lists = {name: ranked(scorers[name]) for name in scorers if name in (*wanted, FALLBACK)}
    rows, _ = split.train.cells()
    factory = chosen_factory(model, settings, seed)
    for name in (name for name in served if name in wanted):
        if RULE in lists and not (has_events & ~has_bought).any():  # the same model again
            lists[name] = lists[RULE]
            continue
        train = split.train.select(served[name][rows])
        found = split.top_n(factory.fit(train), k, users=users, matrix=factory.matrix(train))
        lists[name] = np.where((served[name] & has_events)[users][:, None], found, lists[FALLBACK])
    test = split.test.user_items[users]
    ids = split.train.user_ids[users]
    measured = {name: metrics.accuracy(lists[name], test, ks).set_axis(ids) for name in wanted}
    lists = {name: lists[name] for name in wanted}
    return Serving(pd.Series(groups, index=ids), lists, measured, test, split.train.item_ids)


def popular_by(
    events: pd.DataFrame, in_test: np.ndarray, split: StoreSplit, column: str, users: np.ndarray
) -> np.ndarray:
    """Scores of popular lists for each country of users, or for each category of items.

    Parameters
    ----------
    events : DataFrame
        What ``split`` was made of.
    in_test : bool ndarray of shape (n_events,)
    split : StoreSplit
        Its ``bought`` is what counts.
    users : int ndarray
        Rows.
    column : {"country", "category"}
        "country": buyers from the user's own country count, buyers elsewhere break ties.
        "category": items of the category that the user had most events in come first, then all
        others, both by number of buyers.

    Returns
    -------
    float64 ndarray of shape (len(users), n_items)
        A user without a country or a category gets the overall numbers.

    Raises
    ------
    ValueError
        If ``column`` is neither.
    """
    if column not in ("country", "category"):
        raise ValueError(f"column is {column!r}, expected 'country' or 'category'")
    counts = split.bought.item_counts.astype(np.float64)
    ties = counts / (split.train.n_users + 1)
    events = events.assign(late=in_test).dropna(subset=[column])
    if column == "category":
        of_item = _most_common(events, "item_id", column).reindex(split.train.item_ids)
        of_user = _most_common(events[~events["late"]], "user_id", column)
        names = pd.Index(of_item.dropna().unique())
        codes = names.get_indexer(of_user.reindex(split.train.user_ids).fillna(""))
        in_category = names.get_indexer(of_item.fillna("")) == np.arange(len(names))[:, None]
        scores = in_category * (counts.max() + 1) + counts
        return np.asarray(np.vstack([scores, counts])[codes[users]])  # -1, none, is the last row
    first = events.sort_values(["late", "timestamp"], kind="stable").drop_duplicates("user_id")
    of_user = first.set_index("user_id")[column].reindex(split.train.user_ids)
    codes, names = pd.factorize(of_user)
    known = codes >= 0
    shape = (len(names), len(codes))
    members = csr_matrix((np.ones(known.sum()), (codes[known], np.flatnonzero(known))), shape)
    local = (members @ weighting.binary(split.bought.user_items)).toarray()
    return np.asarray(np.vstack([local + ties, counts])[codes[users]])


def _most_common(events: pd.DataFrame, by: str, column: str) -> pd.Series:
    """The most frequent value of each group; of equal ones the first in the alphabet."""
    counts = events.groupby([by, column]).size().reset_index(name="n")
    ordered = counts.sort_values([by, "n", column], ascending=[True, False, True])
    return ordered.drop_duplicates(by).set_index(by)[column]
