"""Does cleaning a log help more than tuning a model? Four cells, the same test for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from helpers import metrics
from helpers.store.choosing import choose, chosen_factory
from helpers.store.split import StoreSplit, since, store_split
from helpers.tuning import Grid, in_parallel

LOGS, SETTINGS = ("dirty", "clean"), ("default", "tuned")
EFFECTS: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "cleaning, default settings": (("clean", "default"), ("dirty", "default")),
    "cleaning, tuned settings": (("clean", "tuned"), ("dirty", "tuned")),
    "tuning, dirty log": (("dirty", "tuned"), ("dirty", "default")),
    "tuning, clean log": (("clean", "tuned"), ("clean", "default")),
    "both together": (("clean", "tuned"), ("dirty", "default")),
    "cleaning minus tuning": (("clean", "default"), ("dirty", "tuned")),
}
"""Each effect is the first cell minus the second."""


@dataclass(frozen=True, eq=False)
class TwoByTwo:
    """A dirty and a clean training log, with default and with tuned settings, on one test.

    Attributes
    ----------
    measured : dict of (log, settings) to DataFrame
        Each test user's values (index ``user_id``; columns of :func:`helpers.metrics.accuracy`),
        means over the seeds.
    lists : dict of (log, settings) to int ndarray of shape (n_users, k)
        Of the first seed; indexes into ``item_ids``.
    item_ids : Index of str
        Items of both logs.
    only_dirty : bool ndarray of shape (n_items,)
        Those that the clean log does not hold.
    test : csr_matrix of shape (n_users, n_items)
        What the test users bought, by the clean log.
    trials : dict of log to DataFrame
        All settings that were tried on this log, with their nDCG on its own validation window.
    chosen : dict of log to dict
        The best of them.
    between_seeds : dict of (log, settings) to DataFrame
        Mean of each measure for each seed.
    """

    measured: dict[tuple[str, str], pd.DataFrame]
    lists: dict[tuple[str, str], np.ndarray]
    item_ids: pd.Index
    only_dirty: np.ndarray
    test: csr_matrix
    trials: dict[str, pd.DataFrame]
    chosen: dict[str, dict[str, Any]]
    between_seeds: dict[tuple[str, str], pd.DataFrame]

    def cells(self, measures: Sequence[str] = ("ndcg@10",), *, seed: int = 0) -> pd.DataFrame:
        """The four cells.

        Parameters
        ----------
        measures : sequence of str
            The first gets an interval.
        seed : int
            Of the bootstrap.

        Returns
        -------
        DataFrame
            Index levels ``log`` and ``settings``; the first measure with its 95 % interval over
            users (``low``, ``high``) and ``between seeds``, the range of its means; the other
            measures; ``no product``, the share of places that items take which only the dirty log
            holds.
        """
        first, *others = measures
        rows = {}
        for cell, values in self.measured.items():
            low, high = metrics.bootstrap_interval(values[first], seed=seed)
            filled = self.lists[cell][self.lists[cell] >= 0]
            rows[cell] = {
                first: values[first].mean(), "low": low, "high": high,
                "between seeds": float(np.ptp(self.between_seeds[cell][first])),
                **{measure: values[measure].mean() for measure in others},
                "no product": float(self.only_dirty[filled].mean()),
            }  # fmt: skip
        table = pd.DataFrame.from_dict(rows, orient="index")
        return table.set_axis(pd.MultiIndex.from_tuples(rows, names=["log", "settings"]))

    def effects(
        self, measure: str = "ndcg@10", *, who: pd.Series | None = None, seed: int = 0
    ) -> pd.DataFrame:
        """What cleaning gains and what tuning gains, on the same users.

        Parameters
        ----------
        measure : str
            A column of ``measured``.
        who : Series of bool, optional
            Index ``user_id``: whom to look at; all test users when not given.
        seed : int
            Of the bootstrap.

        Returns
        -------
        DataFrame
            Index ``effect``: those of :data:`EFFECTS` and ``interaction`` (what tuning gains more
            on the clean log); columns ``difference``, ``low``, ``high``, ``p``, ``verdict``
            ("tied" where the interval holds 0; for "cleaning minus tuning" "cleaning wins" or
            "tuning wins", else "helps" or "harms").

        Notes
        -----
        The mean effect of cleaning, over both settings, less the mean effect of tuning, over both
        logs, *is* clean/default less dirty/tuned: the other two cells cancel. So "cleaning minus
        tuning" answers both questions, which of the two is worth more, and which to do if there is
        time for one.
        """
        values = {cell: frame[measure] for cell, frame in self.measured.items()}
        if who is not None:
            values = {
                cell: part[who.reindex(part.index).fillna(False).to_numpy(bool)]
                for cell, part in values.items()
            }
        pairs = {name: (values[a], values[b]) for name, (a, b) in EFFECTS.items()}
        gains = {log: values[log, "tuned"] - values[log, "default"] for log in LOGS}
        pairs["interaction"] = (gains["clean"], gains["dirty"])
        words = {"ahead": "helps", "behind": "harms", "tied": "tied"}
        duel = {"ahead": "cleaning wins", "behind": "tuning wins", "tied": "tied"}
        rows = {}
        for name, (first, second) in pairs.items():
            pair = metrics.paired(first, second, seed=seed)
            outcome = (duel if name == "cleaning minus tuning" else words)[pair.verdict]
            rows[name] = [pair.difference, pair.low, pair.high, pair.p_value, outcome]
        columns = ["difference", "low", "high", "p", "verdict"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("effect")

    def in_words(self, measure: str = "ndcg@10", *, seed: int = 0) -> str:
        """The outcome in a sentence: what each gains by itself, and which of the two gains more.

        Parameters
        ----------
        measure : str
        seed : int
            Of the bootstrap.

        Returns
        -------
        str
            Markdown.
        """
        table = self.effects(measure, seed=seed)
        named = {
            "cleaning at default settings": "cleaning, default settings",
            "tuning on the dirty log": "tuning, dirty log",
        }
        gains = [
            f"{words} {table['difference'][effect]:+.4f} ({table['verdict'][effect]})"
            for words, effect in named.items()
        ]
        duel = table["verdict"]["cleaning minus tuning"]
        return f"{gains[0]}, {gains[1]} {measure}; one against the other: **{duel}**."


def two_by_two(
    dirty: pd.DataFrame,
    clean: pd.DataFrame,
    cutoff: pd.Timestamp | str,
    candidates: Grid,
    *,
    validation_days: float,
    model: str = "ALS",
    weights: Mapping[str, float] | None = None,
    half_lives: Sequence[float] = (),
    repurchases: bool = False,
    ks: Sequence[int] = (3, 10),
    seeds: Sequence[int] = (0,),
    workers: int = 2,
) -> TwoByTwo:
    """The experiment: effect of cleaning against effect of tuning.

    Parameters
    ----------
    dirty, clean : DataFrame
        The same log before and after cleaning, as events frames; see
        :func:`helpers.store.store_split`. Ids must be written alike in both.
    cutoff : Timestamp or str
        First moment of the test.
    candidates : mapping of str to sequence
        Settings of ``model`` to try, as scikit-learn's ``ParameterGrid``.
    validation_days : float, above 0
        Length of the window before ``cutoff`` in which settings are chosen, on each log by itself:
        who does not clean tunes on dirt.
    model : {"ALS", "IALS"}
    weights : mapping of str to float, optional
        See :func:`helpers.weighting.event_values`; without it the column ``value`` stays.
    half_lives : sequence of float, in days
        How fast events may fade, tried with the best settings; it needs ``weights``.
    repurchases : bool
        Whether what a user bought before is to be predicted, too.
    ks : sequence of int
        Cut-offs; nDCG at the largest chooses the settings.
    seeds : sequence of int
        Of the models in the four cells; settings are chosen with the first.
    workers : int
        Fits at a time. The result does not depend on it.

    Returns
    -------
    TwoByTwo

    Raises
    ------
    ValueError
        If no test user is known in both training logs; and as :func:`store_split` and
        :func:`helpers.tuning.fit_lists`.

    Notes
    -----
    The default settings are implicit's (:func:`default_als`), and always among the candidates, so
    tuning may end where it began. Test users and what is to be found come from the clean log only.
    A model that learned from the dirty log keeps its own habits: it leaves out what *its* log says
    was bought, and may recommend what is no product. Such a place is a miss.
    """
    options: dict[str, Any] = {"weights": weights, "repurchases": repurchases}
    window = pd.Timedelta(days=validation_days)
    splits, trials, chosen = {}, {}, {}
    for log, frame in (("dirty", dirty), ("clean", clean)):
        in_test = since(frame, cutoff)
        before = frame[~in_test]
        in_window = since(before, pd.Timestamp(cutoff) - window)
        trials[log], chosen[log] = choose(
            before, in_window, model, candidates, half_lives, k=max(ks), workers=workers, **options
        )
        splits[log, "default"] = store_split(frame, in_test, **options)
        fading = {"half_life_days": chosen[log]["half_life_days"], **options}
        splits[log, "tuned"] = store_split(frame, in_test, **fading)
    truth = splits["clean", "default"]
    users = truth.train.user_ids[truth.users]
    rows = {log: rows_of(splits[log, "default"], users) for log in LOGS}
    in_both = (rows["dirty"] >= 0) & (rows["clean"] >= 0)
    if not in_both.any():
        raise ValueError(
            f"none of the {len(users)} test users has a history in both logs; are user ids written "
            "alike in dirty and clean?"
        )
    users, rows = users[in_both], {log: those[in_both] for log, those in rows.items()}
    item_ids = truth.train.item_ids.union(splits["dirty", "default"].train.item_ids)
    test = renamed(truth.test.user_items[rows["clean"]], truth.train.item_ids, item_ids)

    def run(job: tuple[str, str, int]) -> np.ndarray:
        log, settings, seed = job
        factory = chosen_factory(model, chosen[log] if settings == "tuned" else {}, seed)
        split = splits[log, settings]
        matrix = factory.matrix(split.train)
        found = split.top_n(factory.fit(split.train), max(ks), users=rows[log], matrix=matrix)
        names = item_ids.get_indexer(split.train.item_ids)
        return np.where(found >= 0, names[found], -1)

    jobs = [(log, settings, seed) for log in LOGS for settings in SETTINGS for seed in seeds]
    lists = dict(zip(jobs, in_parallel(run, jobs, workers), strict=True))
    per_seed = {
        job: metrics.accuracy(found, test, ks).set_axis(users) for job, found in lists.items()
    }
    cells = [(log, settings) for log in LOGS for settings in SETTINGS]
    of_cell = {cell: [per_seed[*cell, seed] for seed in seeds] for cell in cells}
    return TwoByTwo(
        measured={cell: sum(parts[1:], parts[0]) / len(seeds) for cell, parts in of_cell.items()},
        lists={cell: lists[*cell, seeds[0]] for cell in cells},
        item_ids=item_ids,
        only_dirty=~item_ids.isin(truth.train.item_ids),
        test=test,
        trials=trials,
        chosen=chosen,
        between_seeds={
            cell: pd.DataFrame([frame.mean() for frame in frames], index=list(seeds))
            for cell, frames in of_cell.items()
        },
    )


def rows_of(split: StoreSplit, users: pd.Index) -> np.ndarray:
    """Row of each user, -1 where the log knows nothing of them before the test."""
    rows = split.train.user_ids.get_indexer(users)
    known = np.diff(split.train.user_items.indptr) > 0
    return np.where((rows >= 0) & known[rows], rows, -1)


def renamed(matrix: csr_matrix, old: pd.Index, new: pd.Index) -> csr_matrix:
    """The same cells with the columns of another index."""
    columns = new.get_indexer(old)[matrix.indices]
    renamed = csr_matrix((matrix.data, columns, matrix.indptr), (matrix.shape[0], len(new)))
    renamed.sort_indices()
    return renamed
