import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from serving_fixtures import made, small_log

from helpers import metrics, production, recommend, splits
from helpers.interactions import Interactions
from helpers.models import model_factory


@pytest.fixture(scope="module")
def small():
    return made()


def chosen_file(folder, sha256, **protocols):
    path = folder / "best_parameters.json"
    manifest = {"data_sha256": sha256, "columns": "", "aggregate": "sum"}
    path.write_text(json.dumps({**protocols, "manifest": manifest}))
    return path


def test_settings_are_those_of_notebook_4_for_the_next_item(tmp_path, small):
    first, second = ({"IALS": {"factors": n, "weighting": "raw"}} for n in (8, 16))
    path = chosen_file(tmp_path, "a", **{"next item": first, "random 75/25": second})
    found = production.choose_settings(small.interactions, {"data_sha256": "a"}, path)
    assert (found.model, found.weighting) == ({"factors": 8}, "raw")
    assert "next item" in found.origin
    path = chosen_file(tmp_path, "a", **{"next item": {}, "random 75/25": second})
    found = production.choose_settings(small.interactions, {}, path)  # of any log
    assert found.model == {"factors": 16}


def test_settings_of_another_log_or_of_one_read_otherwise_do_not_count(tmp_path):
    data = small_log()
    path = chosen_file(tmp_path, data.sha256, **{"next item": {"IALS": {"factors": 8}}})
    assert production.fit(data, path).model.factors == 8
    other = replace(data, sha256="other")
    for found in (
        production.fit(other, path),
        production.fit(data, path, columns="user=u"),
        production.fit(data, path, aggregate="count"),
    ):
        assert found.model.factors == 32
        assert "not tuned" in found.settings.origin
    assert set(production.fit(data, path, aggregate="count").interactions.user_items.data) == {1.0}


@pytest.mark.parametrize(
    ("pairs", "factors"), [(199_999, 32), (200_000, 64), (1_999_999, 64), (2_000_000, 128)]
)
def test_the_start_follows_from_the_size(tmp_path, monkeypatch, small, pairs, factors):
    monkeypatch.setattr(Interactions, "nnz", pairs)
    found = production.choose_settings(small.interactions, {}, tmp_path / "none")
    assert found.model["factors"] == factors


def test_events_of_a_store_count_by_their_kind():
    log = pd.DataFrame({"user_id": "a", "item_id": ["x", "x", "y", "z"], "value": 7.0})
    log["event"] = ["view", "purchase", "view", "remove_from_cart"]
    assert production.interactions_of(log).user_items.toarray().tolist() == [[6.0, 1.0]]
    log["event"] = ["view", "purchase", "wish", "remove_from_cart"]
    assert production.interactions_of(log).user_items.toarray().tolist() == [[6.0, 1.0]]
    only = log[log["event"] == "purchase"]
    assert production.interactions_of(only).user_items.toarray().tolist() == [[7.0]]


def test_the_files_hold_the_lists_of_the_model(tmp_path, small):
    production.write_lists(small, tmp_path, n=5)
    table = pd.read_parquet(tmp_path / "recommendations.parquet")
    text = pd.read_csv(tmp_path / "recommendations.csv", dtype={"user_id": "str"})
    assert table["user_id"].tolist() == text["user_id"].fillna("").tolist()
    assert table.drop(columns="user_id").to_dict("list") == text.drop(columns="user_id").to_dict(
        "list"
    )
    lists = recommend.top_n(small.model, small.matrix, 5)
    scores = small.model.user_factors @ small.model.item_factors.T
    for row, user_id in enumerate(small.interactions.user_ids):
        found = table[table["user_id"] == user_id]
        assert found["rank"].tolist() == [1, 2, 3, 4, 5]
        assert found["item_id"].tolist() == small.interactions.item_ids[lists[row]].tolist()
        np.testing.assert_allclose(found["score"], scores[row, lists[row]])
    assert (table["title"] == "Title " + table["item_id"]).all()
    popular = table[table["user_id"] == ""]
    assert popular.index.tolist() == [0, 1, 2, 3, 4]
    assert popular.loc[0, ["item_id", "score"]].tolist() == ["i00", 1.0]


def test_files_stay_as_they_were_when_writing_fails(tmp_path, small, monkeypatch):
    production.write_lists(small, tmp_path, n=5)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(recommend, "in_blocks", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        production.write_lists(small, tmp_path, n=5)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_short_catalogue_gives_short_lists(tmp_path):
    log = small_log().interactions
    few = made(replace(small_log(), interactions=log[log["item_id"] < "i04"]))
    production.write_lists(few, tmp_path, n=20)
    table = pd.read_parquet(tmp_path / "recommendations.parquet")
    known = few.interactions.user_counts
    lengths = table.groupby("user_id").size().drop("")
    expected = pd.Series(4 - known, few.interactions.user_ids)
    assert lengths.to_dict() == expected[expected > 0].to_dict()


def test_measure_puts_the_latest_item_of_each_user_aside(small):
    found = production.measure(small)
    split = splits.leave_last_out(small.interactions)
    model = model_factory("IALS", {"factors": 32}).fit(split.train)
    lists = recommend.top_n(model, split.train.user_items, 10)
    hits = metrics.hits(lists, split.test.user_items).any(axis=1)
    assert found["hit rate@10, model"]["value"] == pytest.approx(hits.mean())
    assert found["hit rate@10, model"]["low"] < hits.mean() < found["hit rate@10, model"]["high"]
    assert set(found) == {
        f"{metric}@10, {name}" for metric in ("hit rate", "ndcg") for name in ("model", "popular")
    }


def test_nothing_is_measured_where_no_user_has_two_items():
    data = small_log()
    single = data.interactions.drop_duplicates("user_id").drop_duplicates(["user_id", "item_id"])
    assert production.measure(made(replace(data, interactions=single))) == {}


def loss(model, matrix):
    """The loss of IALS on binary data, cell by cell; ``nu`` is 1."""
    X, Y, a = model.user_factors, model.item_factors, model.unobserved_weight
    cells = ((1 - X @ Y.T) ** 2)[matrix.toarray() > 0].sum() + a * ((X @ Y.T) ** 2).sum()
    of_users = np.diff(matrix.indptr) + a * len(Y)
    of_items = matrix.getnnz(axis=0) + a * len(X)
    penalty = of_users @ (X**2).sum(axis=1) + of_items @ (Y**2).sum(axis=1)
    return cells + model.regularization * penalty


def test_a_warm_start_saves_rounds(small):
    """One round from yesterday's items is nearer to the end than one from random factors."""
    data = small_log()
    today = replace(data, interactions=data.interactions.iloc[:-20])
    end, known = made(today), (small.interactions.item_ids, small.model.item_factors)
    assert end.model.iterations == 16

    def loss_after_one_round(start):
        interactions = end.interactions
        model = model_factory("IALS", {"factors": 32, "iterations": 1}).make(interactions)
        if start:
            production.warm_start(model, end.matrix, interactions.item_ids, *known)
        model.fit(end.matrix, show_progress=False)
        return loss(model, end.matrix)

    best = loss(end.model, end.matrix)
    warm, cold = loss_after_one_round(True), loss_after_one_round(False)
    assert abs(warm - best) < 0.2 * abs(cold - best)


def test_a_warm_start_knows_items_by_their_id(small):
    """In another order and with a new one: the known ones have their factors, the new one zeros."""
    ids, factors = small.interactions.item_ids, small.model.item_factors
    model = model_factory("IALS", {"factors": 32}).make(small.interactions)
    production.warm_start(model, small.matrix, ids, ids[:0:-1], factors[:0:-1])
    np.testing.assert_array_equal(model.item_factors[1:], factors[1:])
    assert not model.item_factors[0].any()
    expected = small.model.recalculate_user(np.arange(60), small.matrix)
    assert model.user_factors.shape == expected.shape


def test_factors_of_another_length_are_no_start(small):
    other = (small.interactions.item_ids, np.ones((40, 8)))
    assert made(start=other).model.user_factors.shape[1] == 32
