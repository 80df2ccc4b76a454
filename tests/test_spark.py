"""Spark on a small log: its equations, its lists, and what happens when something is killed."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import functions as F  # noqa: N812
from spark_fixtures import factors, worker_killed

from helpers import cleaning, metrics, models, production, spark, tuning
from helpers.als import IALS, solve_half_step
from helpers.interactions import Interactions
from helpers.io import DatasetError
from helpers.serving import table

PLAYS = Path(__file__).resolve().parents[2] / "shared" / "data" / "song-plays-triplicated.csv.gz"
SETTINGS = {"rank": 4, "maxIter": 3, "regParam": 0.1, "alpha": 5.0}
N_USERS, N_ITEMS = 50, 30
FEW = {"spark.sql.shuffle.partitions": "2", "spark.default.parallelism": "2"}
FEW |= {"spark.sql.adaptive.enabled": "false", "spark.sql.codegen.wholeStage": "false"}
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
JAVA += " -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
FEW |= {"spark.driver.extraJavaOptions": JAVA, "spark.executor.extraJavaOptions": JAVA}
"""A small log is not worth compiling for, nor Spark's own classes worth checking."""


@pytest.fixture(scope="module")
def session():
    """Spark on two cores; without Java the tests are skipped, but fail in CI."""
    try:
        started = spark.session("local[2]", config=FEW)
    except spark.SparkError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    yield started
    started.stop()


def small_log(seed=0, n_users=N_USERS, n_items=N_ITEMS):
    """Ids that sort as text, users with few and with many items, and two pairs that repeat."""
    rng = np.random.default_rng(seed)
    cells = [
        (f"u{user}", f"i{item}", float(rng.integers(1, 5)))
        for user in range(n_users)
        for item in rng.choice(n_items, 2 + user % 20, replace=False)
    ]
    frame = pd.DataFrame([*cells, *cells[:2]], columns=["user_id", "item_id", "value"])
    return frame.assign(timestamp=pd.Timestamp("2026-01-01 12:00", tz="UTC")
                        + pd.to_timedelta(np.arange(len(frame)), unit="min"))  # fmt: skip


@pytest.fixture(scope="module")
def log(session, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    small_log().to_parquet(path)
    return spark.read(session, str(path))


@pytest.fixture(scope="module")
def model(log):
    return spark.fit(log.rows, **SETTINGS)


# --- without Spark -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, 'openjdk version "1.8.0_292"', 'version "11.0.2"'])
def test_without_java_there_is_one_clear_error(tmp_path, monkeypatch, version):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if version:
        java = tmp_path / "java"
        java.write_text(f"#!/bin/sh\necho '{version}' >&2\n")
        java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        spark.SparkError, match=r"apt install.*brew install.*conda install"
    ) as caught:
        spark.session()
    found = {None: "none", 'openjdk version "1.8.0_292"': "8", 'version "11.0.2"': "11"}[version]
    assert f"17 or newer and found {found} " in str(caught.value)


def test_java_home_counts_before_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(spark.SparkError, match=str(tmp_path)):
        spark.session()


def test_the_command_says_it_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert spark.main(["movielens-100k", str(tmp_path / "a.jsonl")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: Spark needs Java 17")


def test_without_pyspark_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.delitem(sys.modules, "helpers.spark")
    with pytest.raises(ModuleNotFoundError, match=r'pyspark is not .* "helpers\[spark\]"'):
        importlib.import_module("helpers.spark")


def test_translation_is_exact_where_all_rows_have_equal_counts():
    """Three engines' own losses, each at its minimum: the same scores, up to their scale."""
    n_users, n_items, n_each = 24, 12, 4
    cells = np.zeros((n_users, n_items))
    for user in range(n_users):
        cells[user, (user % n_items + np.array([0, 1, 3, 6])) % n_items] = 1
    names = pd.DataFrame(np.argwhere(cells), columns=["user_id", "item_id"]).astype("str")
    train = Interactions.from_frame(names.assign(value=1.0))
    size = {"n_cells": n_users * n_items, "n_pairs": n_users * n_each}
    given = {"rank": 3, "maxIter": 400, "regParam": 0.2, "alpha": 4.0}
    scores = {}
    for engine, name in (("Spark", "Spark ALS"), ("implicit", "ALS"), ("IALS", "IALS")):
        settings = spark.translate(given, "Spark", engine, **size)
        if engine == "Spark":
            settings = {"factors": 3, "iterations": 400, "regularization": 0.2, "alpha": 4.0}
        fitted = models.model_factory(name, settings).fit(train)
        scores[engine] = fitted.user_factors @ fitted.item_factors.T
    a = spark.translate(given, "Spark", "IALS", **size)["unobserved_weight"]
    assert np.abs(scores["Spark"]).max() > 0.5
    np.testing.assert_allclose(scores["implicit"], scores["Spark"], atol=1e-5)
    np.testing.assert_allclose(scores["IALS"] * (1 + a), scores["Spark"], atol=1e-5)


def test_translation_there_and_back():
    given = {"rank": 8, "maxIter": 10, "regParam": 0.1, "alpha": 40.0}
    for engine in ("implicit", "IALS"):
        there = spark.translate(given, "Spark", engine, n_cells=1_000, n_pairs=99)
        back = spark.translate(there, engine, "Spark", n_cells=1_000, n_pairs=99)
        assert back == pytest.approx(given)
    with pytest.raises(
        spark.SparkError, match=r"alpha is 1\.0: an observed cell must weigh above 1"
    ):
        spark.translate(
            {"factors": 1, "iterations": 1, "regularization": 1.0, "alpha": 1.0},
            "implicit", "Spark", n_cells=1, n_pairs=1,
        )  # fmt: skip
    with pytest.raises(spark.SparkError, match="expected two of Spark, implicit, IALS"):
        spark.translate(given, "Spark", "LightFM", n_cells=1, n_pairs=1)


# --- the session and reading -------------------------------------------------------------------


def test_a_session_is_quiet_in_utc_and_has_no_twin(session):
    conf = session.conf
    assert conf.get("spark.ui.showConsoleProgress") == conf.get("spark.ui.enabled") == "false"
    assert conf.get("spark.sql.session.timeZone") == "UTC"
    with pytest.raises(spark.SparkError, match=r"local\[2\].* stop"):
        spark.session("local[1]")


def test_a_cluster_needs_a_shared_folder(monkeypatch):
    monkeypatch.setattr(spark.SparkContext, "_active_spark_context", None)
    with pytest.raises(spark.SparkError, match="checkpoints is None: 'spark://a:7077'"):
        spark.session("spark://a:7077")


def test_numbers_are_those_of_the_matrix(log):
    expected = Interactions.from_frame(small_log())
    assert dict(log.rows.dtypes)["user"] == dict(log.rows.dtypes)["item"] == "int"
    users, items = log.users.sort("user").collect(), log.items.sort("item").collect()
    assert [tuple(row) for row in users] == list(enumerate(expected.user_ids))
    assert [tuple(row) for row in items] == list(enumerate(expected.item_ids))
    rows = np.array(spark.pairs(log.rows).select("user", "item", "value").collect())
    matrix = np.zeros(expected.user_items.shape)
    matrix[rows[:, 0].astype(int), rows[:, 1].astype(int)] = rows[:, 2]
    np.testing.assert_array_equal(matrix, expected.user_items.toarray())
    first = log.rows.agg(F.min("timestamp").cast("string")).collect()[0][0]
    assert first.startswith("2026-01-01 12:00:00")


def dirty_log():
    """Rows of every fault, more of some; ids with blanks, a .0, and words for nobody."""
    frame = small_log(seed=1)[["user_id", "item_id", "timestamp"]]
    frame["timestamp"] = frame["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S")
    odd = [
        (None, "i1"), ("", "i1"), ("  ", "i2"), ("NaN", "i2"), ("guest", "i3"), ("0", "i3"),
        ("-1", "i3"), ("u1", None), ("u1", "null"), ("12.0", "i1"), (" u2 ", " i2"),
    ]  # fmt: skip
    rows = pd.DataFrame(odd, columns=["user_id", "item_id"]).assign(timestamp="2026-03-01 10:00:00")
    bad = rows.tail(1).assign(timestamp="yesterday")
    return pd.concat([frame, rows, bad, frame.iloc[[3, 3, 8]], rows.iloc[[0, 9]]])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_is_left_out_is_what_cleaning_leaves_out(session, tmp_path, suffix):
    path = tmp_path / f"log.{suffix}"
    frame = dirty_log()
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    others = [rule for rule in cleaning.RULES if rule not in
              ("missing user", "missing item", "staff", "duplicates")]  # fmt: skip
    rules = cleaning.Rules(without=others, staff_users=["u3", "u4"])
    report = cleaning.clean(path, rules=rules).report
    log = spark.read(session, str(path), excluded=["u3", "u4"])
    assert log.removed == {
        "unreadable": 1,  # the time; cleaning has it in the quarantine
        "missing user": report.removed("missing user"),
        "missing item": report.removed("missing item"),
        "excluded accounts": report.removed("staff"),
        "duplicates": report.removed("duplicates"),
    }
    assert min(log.removed.values()) > 0
    assert log.rows.count() == report.n_kept
    assert log.users.where("user_id IN ('12', 'u2')").count() == 2


def test_ids_stored_as_floats_and_days_as_numbers_are_those_of_cleaning(session, tmp_path):
    path = tmp_path / "log.parquet"
    frame = pd.DataFrame({"user": [12_345_678.0, 7.0, 8.5, np.nan], "item": list("abcd")})
    frame["time"] = [20_240_531, 20_240_601, 20_240_602, 20_240_603]
    frame.to_parquet(path)
    found = spark.read(session, str(path))
    cleaned = cleaning.clean(path).frame
    assert {row[1] for row in found.users.collect()} == {"12345678", "7", "8.5"}
    assert {row[1] for row in found.users.collect()} == set(cleaned["user_id"])
    times = [
        row[0].isoformat() for row in found.rows.sort("timestamp").select("timestamp").collect()
    ]
    assert times[0].startswith("2024-05-31")
    assert times == [time.isoformat()[:19] for time in sorted(cleaned["timestamp"])]
    frame.assign(time=2024).to_parquet(path)  # a year is no moment
    with pytest.raises(DatasetError, match="no row is left"):
        spark.read(session, str(path))


def test_a_log_that_cannot_be_read_is_refused(session, tmp_path):
    (tmp_path / "bad.parquet").write_text("no Parquet")
    with pytest.raises(DatasetError, match=r"bad\.parquet"):
        spark.read(session, str(tmp_path / "bad.parquet"))
    with pytest.raises(DatasetError, match=r"nothing\.parquet"):
        spark.read(session, str(tmp_path / "nothing.parquet"))
    path = tmp_path / "log.csv"
    path.write_text("who,what\na,b\n")
    with pytest.raises(DatasetError, match="no column looks like the user"):
        spark.read(session, str(path))
    path.write_text("user,item,value\n,b,1\na,b,many\n")
    with pytest.raises(DatasetError, match=r"no row is left.*'unreadable': 1, 'missing user': 1"):
        spark.read(session, str(path))


def test_the_triplicated_plays_leak(session, tmp_path):
    """A split of rows leaves copies of the test's positives in train; without copies, none."""
    if not PLAYS.exists():
        pytest.skip("the file of triplicated song plays is not here")
    plays = pd.read_csv(PLAYS)
    assert plays.duplicated().sum() == 156_006 == 2 * 78_003
    path, some = str(tmp_path / "plays.csv.gz"), plays[plays["userId"] % 4 == 1]
    some.to_csv(path, index=False)
    raw = session.read.csv(path, header=True)
    train, test = raw.randomSplit([0.8, 0.2], seed=0)
    test = test.where("num_plays > 0")
    leaked = test.join(train, ["userId", "songId"], "semi").count() / test.count()
    assert 0.94 < leaked < 0.98
    columns = {"user": "userId", "item": "songId", "value": "num_plays"}
    once = spark.read(session, path, columns)
    assert once.removed["duplicates"] == some.duplicated().sum() == 2 * len(some) / 3
    assert once.rows.count() == spark.pairs(once.rows).count() == len(some) / 3


# --- the model ---------------------------------------------------------------------------------


def test_user_factors_are_a_hand_solve_with_lambda_times_the_count(log, model):
    """A round ends with the users: float64 systems of float32 item factors, stored as float32."""
    matrix = Interactions.from_frame(small_log()).user_items
    X, Y = factors(model.userFactors, N_USERS), factors(model.itemFactors, N_ITEMS).astype(float)
    weights = matrix.copy()
    weights.data = 1 + SETTINGS["alpha"] * weights.data
    expected = np.concatenate([
        solve_half_step(weights[user], Y, SETTINGS["regParam"] * matrix[user].nnz)
        for user in range(matrix.shape[0])
    ])  # fmt: skip
    assert np.abs(X - expected).max() < 1e-6 * np.abs(expected).max()
    other = solve_half_step(weights, Y, SETTINGS["regParam"])  # without the count
    assert np.abs(X - other).max() > 1e-2 * np.abs(expected).max()


def test_single_users_predictions_are_products_and_unknown_ones_have_none(session, model):
    rows = session.createDataFrame([(0, 1), (0, 2), (999, 1)], "user int, item int")
    X, Y = factors(model.userFactors, N_USERS), factors(model.itemFactors, N_ITEMS)
    found = {(row[0], row[1]): row[2] for row in model.transform(rows).collect()}
    assert found == pytest.approx({(0, item): X[0] @ Y[item] for item in (1, 2)}, rel=1e-5)


def test_zeros_from_a_cross_join_change_no_bit(log, model):
    cells = spark.pairs(log.rows)
    every = log.users.select("user").crossJoin(log.items.select("item"))
    full = every.join(cells, ["user", "item"], "left").fillna(0.0, "value")
    again = spark.fit(full, **SETTINGS)
    assert full.count() == 50 * 30 > cells.count()
    np.testing.assert_array_equal(
        factors(again.userFactors, N_USERS), factors(model.userFactors, N_USERS)
    )
    np.testing.assert_array_equal(
        factors(again.itemFactors, N_ITEMS), factors(model.itemFactors, N_ITEMS)
    )


def test_binary_data(log):
    """Ones for values: alpha 5 on ones is the loss of IALS and implicit for binary data."""
    ones = spark.pairs(log.rows).withColumn("value", F.lit(1.0))
    fitted = spark.fit(ones, **SETTINGS)
    matrix = Interactions.from_frame(small_log()).user_items
    Y = factors(fitted.itemFactors, N_ITEMS).astype(float)
    weights = matrix[[7]]
    weights.data[:] = 1 + SETTINGS["alpha"]
    expected = solve_half_step(weights, Y, SETTINGS["regParam"] * weights.nnz)[0]
    np.testing.assert_allclose(factors(fitted.userFactors, N_USERS)[7], expected, atol=1e-6)


# --- ROEM and the grid -------------------------------------------------------------------------


def test_roem_by_hand(session):
    """User 0: first is worth 3, last 1; user 1: two tie for places 2 and 3 of three."""
    rows = [
        (0, 3.0, 0.9), (0, 0.0, 0.2), (0, 1.0, 0.1), (1, 2.0, 0.5), (1, 0.0, 0.5), (1, 1.0, 0.8),
        (2, 4.0, 0.3),
    ]  # fmt: skip
    frame = session.createDataFrame(rows, "user int, value double, prediction double")
    expected = (3 * 0 + 1 * 1 + 2 * 0.75 + 1 * 0 + 4 * 0.5) / 11
    assert spark.ROEM().evaluate(frame) == pytest.approx(expected)
    assert spark.ROEM().evaluate(frame.withColumn("prediction", F.lit(0.1))) == 0.5
    assert not spark.ROEM().isLargerBetter()
    with pytest.raises(spark.SparkError, match="nothing to rank"):
        spark.ROEM().evaluate(frame.withColumn("value", F.lit(0.0)))


def test_roem_of_the_whole_catalogue_is_that_of_metrics(session, log, model):
    matrix = Interactions.from_frame(small_log()).user_items
    every = log.users.select("user").crossJoin(log.items.select("item"))
    full = every.join(spark.pairs(log.rows), ["user", "item"], "left").fillna(0.0, "value")
    scores = factors(model.userFactors, N_USERS) @ factors(model.itemFactors, N_ITEMS).T
    assert spark.ROEM().evaluate(model.transform(full)) == pytest.approx(
        metrics.roem(scores, matrix), abs=1e-4
    )


def test_roem_works_in_a_cross_validator(log):
    als = spark.estimator(rank=2, maxIter=1)
    grid = ParamGridBuilder().addGrid(als.regParam, [0.1, 50.0]).build()
    chosen = CrossValidator(
        estimator=als, estimatorParamMaps=grid, evaluator=spark.ROEM(), numFolds=2, seed=0
    ).fit(spark.pairs(log.rows).persist())
    assert len(chosen.avgMetrics) == 2
    assert all(0 < value < 1 for value in chosen.avgMetrics)
    assert chosen.bestModel.rank == 2


GRID_CHILD = """
import json, sys
from pathlib import Path
from helpers import spark, tuning
session = spark.session("local[1]", config=json.loads(sys.argv[3]))
rows = session.read.parquet(sys.argv[1])
runs = tuning.runs_of({"rank": [2], "maxIter": [1], "alpha": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]})
spark.grid(rows, runs, Path(sys.argv[2]), folds=2)
"""


def test_a_killed_grid_goes_on_where_it_was(log, model, session, tmp_path, monkeypatch):
    path, results = tmp_path / "rows", tmp_path / "new" / "results.jsonl"
    log.rows.write.parquet(str(path))
    command = [sys.executable, "-c", GRID_CHILD, path, results, json.dumps(FEW)]
    child = subprocess.Popen(command)
    try:
        while not results.exists() or results.read_text().count("}") < 1:
            assert child.poll() is None, "the grid ended before it could be killed"
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    whole = [json.loads(line) for line in results.read_text().split("\n") if line.endswith("}")]
    assert 1 <= len(whole) < 12
    half = json.dumps(whole[0])[:30]
    results.write_text(results.read_text() + half)
    runs = tuning.runs_of({"rank": [2], "maxIter": [1], "alpha": [1.0]})
    found = spark.grid(log.rows, runs, results, folds=2)
    assert len(found) == 2
    assert found["ROEM"].between(0, 1).all()
    lines = [line for line in results.read_text().split("\n") if line and line != half]
    kept = [json.loads(line) for line in lines]
    assert kept[: len(whole)] == whole
    assert len(kept) == max(2, len(whole))
    before = results.read_bytes()
    again = spark.grid(log.rows, runs, results, folds=2)
    pd.testing.assert_frame_equal(again, found)  # its seconds, too: nothing was fitted
    assert results.read_bytes() == before
    monkeypatch.setattr(spark, "estimator", lambda **_: SimpleNamespace(fit=lambda train: model))
    other = spark.grid(log.rows.where("user > 0"), runs[:1], results, folds=2)  # other data
    assert not set(other["seconds"]) & set(found["seconds"])
    seeded = spark.grid(log.rows, [runs[0] | {"seed": 7}], results, folds=2)
    assert not set(seeded["seconds"]) & set(found["seconds"])  # not the fits of seed 0
    with pytest.raises(spark.SparkError, match="folds is 1"):
        spark.grid(log.rows, runs, results, folds=1)


# --- lists -------------------------------------------------------------------------------------


def test_lists_are_those_that_production_writes_of_the_same_factors(session, log, model, tmp_path):
    data = Interactions.from_frame(small_log())
    titles = pd.DataFrame({"item_id": data.item_ids[:20], "title": "Title " + data.item_ids[:20]})
    same = IALS(SETTINGS["rank"])
    same.user_factors, same.item_factors = (
        factors(model.userFactors, N_USERS),
        factors(model.itemFactors, N_ITEMS),
    )
    weights, settings = data.user_items, production.Settings({}, "raw", "")
    made = production.Production("", "", data, titles, same, weights, settings)
    production.write_lists(made, tmp_path / "here", 15)
    expected = pd.read_parquet(tmp_path / "here" / "recommendations.parquet")

    given = session.createDataFrame(list(titles.itertuples(index=False)), ["item_id", "title"])
    path = spark.lists(model, log, str(tmp_path / "there"), 15, given)
    found = pd.read_parquet(path)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
    assert (found["user_id"].head(15) == "").all()
    known = set(zip(small_log()["user_id"], small_log()["item_id"], strict=True))
    assert not known & set(zip(found["user_id"], found["item_id"], strict=True))
    assert found.groupby("user_id").size().min() < 15  # who has most items has fewest left

    table.publish(path, tmp_path / "served")
    served = table.Store(tmp_path / "served").table
    for user_id, listed in found.groupby("user_id"):
        answer = served.recommend(served.user(user_id), 15)
        assert [served.item_ids[item] for item in answer.items] == listed["item_id"].tolist()
        assert answer.scores == listed["score"].tolist()


def test_lists_are_written_whole_or_not_at_all(session, log, model, tmp_path, monkeypatch):
    path = tmp_path / "recommendations.parquet"
    spark._write(session.range(2), str(tmp_path), path.name)
    before = pd.read_parquet(path)
    failing = session.range(1).selectExpr("raise_error('the disk is full') AS a")
    with pytest.raises(Exception, match="the disk is full"):
        spark._write(failing, str(tmp_path), path.name)
    pd.testing.assert_frame_equal(pd.read_parquet(path), before)
    path.rename(tmp_path / ".recommendations.parquet.before")  # as a kill between two renames
    with pytest.raises(Exception, match="the disk is full"):
        spark._write(failing, str(tmp_path), path.name)
    pd.testing.assert_frame_equal(pd.read_parquet(path), before)
    spark._write(session.range(3), str(tmp_path), path.name)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert len(pd.read_parquet(path)) == 3
    with pytest.raises(spark.SparkError, match="n is 0"):
        spark.lists(model, log, str(tmp_path), 0)


# --- a worker dies -----------------------------------------------------------------------------


def test_a_worker_is_killed_and_the_factors_are_the_same_bits(session, log, tmp_path):
    spark.pairs(log.rows).write.parquet(str(tmp_path / "cells"))
    settings = {"rank": 4, "maxIter": 4}
    found = worker_killed(tmp_path / "cells", settings, config=FEW)
    assert found["killed"] == 1
    assert found["bitwise equal"]
