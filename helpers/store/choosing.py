"""Choosing a store's settings on a window of its own training log."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers import metrics, tuning
from helpers.models import ModelFactory, model_factory
from helpers.store.models import StoreTask, default_als
from helpers.store.split import StoreSplit, since, store_split
from helpers.tuning import DIGITS, Grid, Settings, in_parallel


def choose(
    events: pd.DataFrame,
    in_window: np.ndarray,
    model: str,
    candidates: Grid,
    half_lives: Sequence[float] = (),
    *,
    k: int = 10,
    workers: int = 2,
    **options: Any,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Choose settings on a validation window, then how fast events fade with these.

    Parameters
    ----------
    events : DataFrame
        The training part of a log.
    in_window : bool ndarray of shape (n_events,)
        Which of them are the validation set; from :func:`since`.
    model, candidates, k, workers
        As :func:`try_settings`.
    half_lives : sequence of float, in days
    **options
        Of :func:`store_split`.

    Returns
    -------
    trials : DataFrame
        As :func:`try_settings` gives them, with ``half_life_days`` (NaN where events do not fade).
    chosen : dict
        Settings and ``half_life_days`` of the best; all None where nothing beats the defaults.
    """
    split = store_split(events, in_window, **options)
    found = [try_settings(split, model, candidates, k=k, workers=workers)]
    best = {name: value for name, value in _best(found[0], k).items() if value is not None}
    # Only a model that sees the values sees them fade.
    again = {name: [value] for name, value in {**best, "weighting": "raw"}.items()}

    def fade(days: float) -> pd.DataFrame:
        faded = store_split(events, in_window, half_life_days=days, **options)
        tried = try_settings(faded, model, again, k=k, default=False, workers=1)
        return tried.assign(half_life_days=days)

    found += in_parallel(fade, list(half_lives) if best else [], workers)
    trials = pd.concat(found, ignore_index=True).rename_axis("trial")
    trials["half_life_days"] = trials.get("half_life_days", pd.Series(np.nan, trials.index))
    winner = trials[f"nDCG@{k}"].to_numpy().argmax()
    days = float(trials["half_life_days"].to_numpy()[winner])
    return trials, {**_best(trials, k), "half_life_days": None if np.isnan(days) else days}


def try_settings(
    split: StoreSplit,
    model: str,
    candidates: Grid,
    *,
    k: int = 10,
    default: bool = True,
    seed: int = 0,
    workers: int = 2,
) -> pd.DataFrame:
    """Score implicit's defaults and every candidate on a validation window.

    Parameters
    ----------
    split : StoreSplit
        Inside the training log; its ``test`` is the validation set.
    model : {"ALS", "IALS"}
    candidates : mapping of str to sequence
        ``factors``, ``regularization``, ``iterations``, ``weighting`` and what else the model has.
    k : int
    default : bool
        Whether implicit's defaults are scored, too.
    seed : int
    workers : int
        Fits at a time.

    Returns
    -------
    DataFrame
        Index ``trial``; settings (all missing for the defaults, in the first row), ``nDCG@k``,
        ``low`` and ``high``.
    """
    task = StoreTask("validation", split, k)
    runs = tuning.runs_of(candidates)
    lists = tuning.fit_lists(task, model, runs, seeds=[seed], workers=workers)
    tried = list(zip(runs, lists[:, 0], strict=True))
    if default:
        of_default = split.top_n(default_als(seed=seed).fit(split.train), k)
        tried.insert(0, ({}, of_default))
    rows = []
    for run, found in tried:
        values = task.ndcg(found)
        low, high = metrics.bootstrap_interval(values)
        score = {f"nDCG@{k}": round(float(values.mean()), DIGITS), "low": low, "high": high}
        rows.append({**dict.fromkeys(runs[0]), **run, **score})
    # As objects: a missing setting must not turn the whole numbers beside it into floats.
    table = pd.DataFrame(rows, dtype=object).rename_axis("trial")
    return table.astype(dict.fromkeys(score, np.float64))


def chosen_factory(model: str, settings: Settings, seed: int) -> ModelFactory:
    """The model of these settings; implicit's defaults (:func:`default_als`) where none is given.

    Parameters
    ----------
    model : {"ALS", "IALS"}
    settings : mapping
        A value of None counts as not given.
    seed : int

    Returns
    -------
    ModelFactory
    """
    given = {name: value for name, value in settings.items() if value is not None}
    given.pop("half_life_days", None)  # of the values, not of the model
    return model_factory(model, given, seed=seed) if given else default_als(seed=seed)


def _best(trials: pd.DataFrame, k: int) -> dict[str, Any]:
    """The settings of the best trial, which stand before the score."""
    return tuning.best(trials.loc[:, : f"nDCG@{k}"])


def learn_event_weights(
    events: pd.DataFrame,
    candidates: Sequence[Mapping[str, Any]],
    *,
    validation_from: pd.Timestamp | str,
    settings: Settings,
    model: str = "ALS",
    repurchases: bool = False,
    k: int = 10,
    seed: int = 0,
    workers: int = 2,
) -> pd.DataFrame:
    """Choose weights of events, and how fast they fade, on purchases of a later window.

    Parameters
    ----------
    events : DataFrame
        The *training* part of a log only: the validation set lies inside it.
    candidates : sequence of mappings
        Weight of each kind of event, and ``half_life_days`` (None where events do not fade). The
        first is what the others are compared with, (1, 3, 5) say.
    validation_from : Timestamp or str
        First moment of the window.
    settings : mapping
        Of ``model``; ``weighting`` is set to "raw", without which weights would do nothing.
    model : {"ALS", "IALS"}
    repurchases : bool
    k : int
    seed : int
        Of the models.
    workers : int
        Fits at a time.

    Returns
    -------
    DataFrame
        Index ``trial``; the candidate's values, ``nDCG@k`` with ``low`` and ``high``, the paired
        ``gain`` over the first candidate with ``gain low`` and ``gain high``, and ``chosen``.

    Raises
    ------
    ValueError
        If there is no candidate, or as :func:`store_split`.

    Notes
    -----
    All candidates are scored on the same users: those with any event before the window. A user
    whose events all weigh 0 gets the popular list. The interval of the winner's gain does not cover
    that it was picked as the best of several.
    """
    if not candidates:
        raise ValueError("candidates is empty, expected weights such as {'view': 1, 'purchase': 5}")
    in_test = since(events, validation_from)
    whole = store_split(
        events,
        in_test,
        weights=dict.fromkeys(events["event"].unique(), 1.0),
        repurchases=repurchases,
    )
    users = whole.train.user_ids[whole.users]
    factory = chosen_factory(model, {**settings, "weighting": "raw"}, seed)

    def run(candidate: Mapping[str, Any]) -> np.ndarray:
        weights = {name: value for name, value in candidate.items() if name != "half_life_days"}
        split = store_split(
            events, in_test, weights=weights, half_life_days=candidate.get("half_life_days"),
            repurchases=repurchases,
        )  # fmt: skip
        rows = split.train.user_ids.get_indexer(users)
        found = split.top_n(factory.fit(split.train), k, users=rows)
        scores = metrics.accuracy(found, split.test.user_items[rows], [k])
        return scores[f"ndcg@{k}"].to_numpy(np.float64)

    per_user = in_parallel(run, list(candidates), workers)
    table = pd.DataFrame([dict(each) for each in candidates], dtype=object)
    means = np.array([values.mean() for values in per_user]).round(DIGITS)
    table[f"nDCG@{k}"] = means
    table[["low", "high"]] = [metrics.bootstrap_interval(values) for values in per_user]
    gains = [metrics.paired(values, per_user[0]) for values in per_user]
    table["gain"] = [gain.difference for gain in gains]
    table[["gain low", "gain high"]] = [(gain.low, gain.high) for gain in gains]
    table["chosen"] = np.arange(len(means)) == means.argmax()
    return table.rename_axis("trial")
