"""The model that goes into production: its settings, its fit on the whole log, and its lists."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet
from scipy.sparse import csr_matrix

from helpers import comparison, datasets, io, metrics, recommend, splits
from helpers.als import IALS
from helpers.datasets import Dataset
from helpers.interactions import Aggregate, Interactions
from helpers.models import model_factory
from helpers.weighting import WEIGHTINGS, event_values

K = 10  # length of the lists whose quality is measured
TEST_USERS = 2_000  # users whose lists are scored, at most

EVENT_WEIGHTS = {"view": 1.0, "cart": 3.0, "purchase": 5.0, "remove_from_cart": 0.0, "return": 0.0}
"""What an event of a store counts; one of another kind counts 1."""

WARM_ROUNDS = 4
"""Rounds of a fit that starts from yesterday's factors; `make bench` compares its lists with those
of a fit from scratch."""

COLUMNS = {"user_id": pa.string(), "rank": pa.int32(), "item_id": pa.string()}
COLUMNS |= {"title": pa.string(), "score": pa.float64()}


@dataclass(frozen=True)
class Settings:
    """Those of the model, the weighting of its matrix, and a sentence that says who chose them."""

    model: dict[str, Any]
    weighting: str
    origin: str


@dataclass(frozen=True, eq=False)
class Production:
    """A model fitted on the whole log.

    Attributes
    ----------
    dataset, sha256 : str
        Name and checksum of the log.
    interactions : Interactions
    items : DataFrame
        ``item_id``, ``title`` and, where known, ``genres``.
    model : IALS
    matrix : csr_matrix of shape (n_users, n_items)
        What it was fitted on: the interactions as weights.
    settings : Settings
    metrics : dict of str to dict
        ``value``, ``low`` and ``high`` (95 % interval over users) by name; see :func:`measure`.
    """

    dataset: str
    sha256: str
    interactions: Interactions
    items: pd.DataFrame
    model: IALS
    matrix: csr_matrix
    settings: Settings
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


def choose_settings(
    interactions: Interactions, expect: Mapping[str, str], chosen: Path | None = None
) -> Settings:
    """The settings that notebook 4 chose for this log, else a start that follows from its size.

    Parameters
    ----------
    interactions : Interactions
    expect : mapping of str to str
        What the manifest of ``chosen`` must hold: the log's checksum, and how it was read.
    chosen : Path, optional
        ``best_parameters.json`` of notebook 4. With another manifest it does not count.

    Returns
    -------
    Settings

    Notes
    -----
    A site asks what a user takes next, so of the two protocols of notebook 4 "next item" is taken,
    and "random 75/25" where that one has no result. The start: 32 factors, 64 from 200,000 pairs,
    128 from 2 million; for all else the defaults of :class:`helpers.als.IALS`, and weight 1 for
    each observed pair.
    """
    found = io.read_json(chosen) if chosen and chosen.is_file() else {}
    if expect.items() <= found.get("manifest", {}).items():
        for protocol in ("next item", "random 75/25"):
            if settings := dict(found.get(protocol, {}).get("IALS", {})):
                weighting = settings.pop("weighting", "binary")
                return Settings(settings, weighting, f"chosen in notebook 4 ({protocol})")
    factors = 32 if interactions.nnz < 200_000 else 64 if interactions.nnz < 2_000_000 else 128
    return Settings(
        {"factors": factors}, "binary", "starting settings by the size of the log, not tuned"
    )


def interactions_of(log: pd.DataFrame, aggregate: Aggregate = "sum") -> Interactions:
    """The matrix of a tidy log; where it has several kinds of events, each counts by its kind."""
    kinds = log["event"].unique() if "event" in log else ()
    if len(kinds) > 1:
        log = event_values(log, {kind: EVENT_WEIGHTS.get(kind, 1.0) for kind in kinds})
    return Interactions.from_frame(log, aggregate=aggregate)


def fit(
    data: Dataset,
    chosen: Path | None = None,
    *,
    start: tuple[pd.Index, np.ndarray] | None = None,
    rolling: bool = False,
    columns: str = "",
    aggregate: Aggregate = "sum",
    seed: int = 0,
) -> Production:
    """Fit IALS on the whole log, exactly and in float64.

    Parameters
    ----------
    data : Dataset
    chosen : Path, optional
        See :func:`choose_settings`.
    start : (Index of item ids, ndarray of shape (len(ids), factors)), optional
        Item factors of an earlier model, to start from; then :data:`WARM_ROUNDS` rounds do.
    rolling : bool
        Whether the log grows from day to day, so that settings chosen on an earlier state count.
    columns : str
        As the log was read with; settings that were chosen with others do not count.
    aggregate : {"sum", "max", "last", "count"}
        What several rows of a pair become.
    seed : int
        Of the starting factors.

    Returns
    -------
    Production
        Without metrics.
    """
    interactions = interactions_of(data.interactions, aggregate)
    expect = {"data_sha256": data.sha256, "columns": columns, "aggregate": aggregate}
    settings = choose_settings(interactions, {} if rolling else expect, chosen)
    matrix = WEIGHTINGS[settings.weighting](interactions.user_items)
    model = model_factory("IALS", settings.model, seed=seed).make(interactions)
    if start is not None and start[1].shape[1] == model.factors:
        warm_start(model, matrix, interactions.item_ids, *start)
        model.iterations = WARM_ROUNDS
    model.fit(matrix, show_progress=False)
    return Production(data.name, data.sha256, interactions, data.items, model, matrix, settings)


def load_and_fit(
    dataset: str, columns: str, items: str, processed: Path, aggregate: Aggregate = "sum"
) -> Production:
    """The model of a data set by name or path, with the settings that notebook 4 left."""
    data = datasets.load(dataset, columns=columns or None, items=items or None)
    chosen = processed / "best_parameters.json"
    return fit(data, chosen, columns=columns, aggregate=aggregate)


def warm_start(
    model: IALS, matrix: csr_matrix, item_ids: pd.Index, known_ids: pd.Index, factors: np.ndarray
) -> None:
    """Give a model the item factors of an earlier one, and the users that follow from them.

    New items start at 0, as items without users have; a fit begins with the items, from the users.
    """
    places = known_ids.get_indexer(item_ids)
    model.item_factors = np.where(places[:, None] >= 0, factors[places], 0.0)
    model.user_factors = model.recalculate_user(np.arange(matrix.shape[0]), matrix)


def measure(production: Production, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """How good such lists are: each user's latest item is put aside, and the same model is fitted.

    Parameters
    ----------
    production : Production
    seed : int
        Of the model and of the intervals.

    Returns
    -------
    dict of str to dict
        Hit rate and nDCG at 10, of the model and of the popular list: ``value``, ``low`` and
        ``high`` (95 % interval over at most 2,000 random users). Empty where no user has an item
        to put aside. Without times the item is a random one.
    """
    settings = {**production.settings.model, "weighting": production.settings.weighting}
    factories = {
        "model": model_factory("IALS", settings, seed=seed),
        "popular": model_factory("popular"),
    }
    k = min(K, production.interactions.n_items)
    try:
        split = splits.leave_last_out(production.interactions, seed=seed)
        found = comparison.compare(
            factories, [split], k=k, max_users=TEST_USERS, seed=seed, progress=False
        )
    except ValueError:  # no user has two items
        return {}
    values = {}
    for metric in ("hit rate", "ndcg"):
        for name, of_users in found.per_user(f"{metric}@{k}").items():
            low, high = metrics.bootstrap_interval(of_users, seed=seed)
            values[f"{metric}@{k}, {name}"] = {
                "value": float(of_users.mean()),
                "low": low,
                "high": high,
            }
    return values


def lists(made: Production, n: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of users with a history, their ``n`` best new items and the scores, in blocks."""
    users = np.flatnonzero(np.diff(made.matrix.indptr))
    blocks = recommend.in_blocks(made.model, made.matrix, min(n, made.matrix.shape[1]), users)
    for users, _, items, best in blocks:
        yield users, items, best


def write_lists(production: Production, folder: Path, n: int = 20) -> Path:
    """Write ``recommendations.parquet`` and ``.csv``, whole or not at all.

    Columns ``user_id``, ``rank`` (from 1), ``item_id``, ``title``, ``score``. The rows of user
    ``""`` come first: the popular list, scored by the share of users, for everybody else, such as
    users without a positive value.

    Parameters
    ----------
    production : Production
    folder : Path
    n : int
        Items a user.

    Returns
    -------
    Path
        The ``.csv``.
    """
    interactions, schema = production.interactions, pa.schema(COLUMNS)
    ids = interactions.item_ids.to_numpy(object)
    titles = recommend.item_titles(production.items, interactions.item_ids).to_numpy(object)

    def rows(users: np.ndarray, items: np.ndarray, scores: np.ndarray) -> pa.Table:
        left, (row, rank) = items >= 0, np.nonzero(items >= 0)
        found = (users[row], rank + 1, ids[items[left]], titles[items[left]], scores[left])
        return pa.table(dict(zip(COLUMNS, found, strict=True)), schema=schema)

    popular = recommend.popular_items(interactions.user_items, min(n, interactions.n_items))
    share = interactions.item_counts[popular] / interactions.n_users
    user_ids = interactions.user_ids.to_numpy(object)
    with (
        io.atomic(folder / "recommendations.parquet") as table,
        io.atomic(folder / "recommendations.csv") as text,
        parquet.ParquetWriter(table, schema) as into_table,
        csv.CSVWriter(text, schema) as into_text,
    ):
        first = rows(np.array([""], dtype=object), popular[None], share[None])
        blocks = (rows(user_ids[users], *found) for users, *found in lists(production, n))
        for block in chain([first], blocks):
            into_table.write_table(block)
            into_text.write_table(block)
    return folder / "recommendations.csv"
