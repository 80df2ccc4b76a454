import gzip
import os
import platform
import subprocess
import sys
from functools import partial

import numpy as np
import optuna
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.sparse import csr_matrix

from helpers import metrics, splits, tuning, weighting
from helpers.interactions import Interactions
from helpers.tuning import studies

SPACE = {
    "regularization": FloatDistribution(0.01, 100.0, log=True),
    "weighting": CategoricalDistribution(["binary", "linear"]),
}


def log(n_users=60, n_items=40, n_events=900, seed=0):
    """Two kinds of users, each with a half of the catalogue that it prefers."""
    rng = np.random.default_rng(seed)
    users = rng.integers(n_users, size=n_events)
    items = (users % 2) * (n_items // 2) + (0.7 * n_items * rng.random(n_events) ** 2).astype(int)
    return pd.DataFrame(
        {
            "user_id": [f"u{user:03d}" for user in users],
            "item_id": [f"i{item % n_items:03d}" for item in items],
            "value": rng.integers(1, 6, size=n_events).astype(float),
            "timestamp": pd.Timestamp("2026-01-01", tz="UTC"),
        }
    )


@pytest.fixture(scope="module")
def interactions():
    return Interactions.from_frame(log(), aggregate="last")


@pytest.fixture(scope="module")
def task(interactions):
    return tuning.Task("toy", splits.random_ratio(interactions, 0.3, seed=0), k=5)


@pytest.fixture
def search(task):
    return partial(tuning.search, task, "ALS", SPACE, fixed={"factors": 4}, iterations=4, every=2)


def stored_study(path):
    url = f"sqlite:///{path}"
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url)


# A grid by one fit for all iterations


def test_a_model_on_the_way_is_the_model_fitted_that_far(interactions):
    make = partial(tuning.recipe, "IALS")
    at = tuning.iterates(
        make({"factors": 4, "iterations": 6}).make(interactions),
        interactions.user_items,
        [2, 6],
        lambda model: (model.user_factors.copy(), model.item_factors.copy()),
    )
    for n, (X, Y) in at.items():
        separate = make({"factors": 4, "iterations": n, "weighting": "linear"}).fit(interactions)
        assert_array_equal(separate.user_factors, X)
        assert_array_equal(separate.item_factors, Y)


def test_the_grid_equals_separate_fits(interactions):
    folds = list(splits.k_fold(interactions, 2, seed=0))
    grid = {"factors": [3], "iterations": [2, 5], "regularization": [0.1, 1.0], "alpha": [10.0]}
    found = tuning.cross_validate(folds, grid, k=5)
    assert len(found) == 2 * 2 * 2
    for row in found.to_dict("records"):
        fold = folds[row["fold"]]
        settings = {key: row[key] for key in ("factors", "iterations", "regularization")}
        model = tuning.recipe("ALS", settings).make(fold.train)
        model.fit(weighting.linear(fold.train.user_items, 10.0), show_progress=False)
        assert tuning.judge(model, fold, k=5) == {key: row[key] for key in ("ROEM", "nDCG@5")}


@pytest.mark.parametrize("at", [[], [0], [1, 9]])
def test_iterates_beyond_the_fit_are_refused(interactions, at):
    model = tuning.recipe("ALS", {"iterations": 8}).make(interactions)
    with pytest.raises(ValueError, match="expected numbers from 1 to 8"):
        tuning.iterates(model, interactions.user_items, at, lambda model: None)


def test_a_fitted_model_is_not_fitted_on(interactions):
    model = tuning.recipe("ALS", {"iterations": 2}).fit(interactions)
    with pytest.raises(ValueError, match="make a new one"):
        tuning.iterates(model, interactions.user_items, [1], lambda model: None)


@pytest.mark.parametrize("grid", [{}, {"factors": [4]}, {"factors": [], "alpha": [1.0]}])
def test_a_grid_needs_its_four_settings(interactions, grid):
    folds = list(splits.k_fold(interactions, 2, seed=0))
    with pytest.raises(ValueError, match="expected at least one for each of"):
        tuning.cross_validate(folds, grid)


def test_a_grid_needs_folds():
    grid = {"factors": [3], "iterations": [2], "regularization": [0.1], "alpha": [10.0]}
    with pytest.raises(ValueError, match="folds is empty"):
        tuning.cross_validate([], grid)


# What a search sees


def test_few_users_keep_all_of_their_pairs(interactions):
    sample = tuning.few_users(interactions, 10, seed=1)
    assert sample.n_users == 10
    frame = interactions.to_frame()
    kept = frame[frame["user_id"].isin(sample.user_ids)].reset_index(drop=True)
    pd.testing.assert_frame_equal(sample.to_frame(), kept)
    assert tuning.few_users(interactions, interactions.n_users) is interactions
    with pytest.raises(ValueError, match="expected 1 user or more"):
        tuning.few_users(interactions, 0)


# Studies


def test_a_search_is_reproducible(search):
    pd.testing.assert_frame_equal(search(budget=12), search(budget=12))
    assert not search(budget=4, seed=1).equals(search(budget=4))


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="these BLAS kernels are for x86-64"
)
def test_every_processor_chooses_the_same(root):
    program = (
        "from test_tuning import *\n"
        "split = splits.random_ratio(Interactions.from_frame(log()), 0.3, seed=0)\n"
        "trials = tuning.search(tuning.Task('toy', split, 5), 'IALS', SPACE, budget=14)\n"
        "print(trials.to_csv())"
    )
    outcomes = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"OPENBLAS_CORETYPE": kernel, "PYTHONPATH": "tests"},
            cwd=root,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for kernel in ("Haswell", "Prescott")
    ]
    assert outcomes[0] == outcomes[1] != b""


def test_a_stopped_search_resumes_as_if_nothing_had_happened(search, tmp_path, monkeypatch):
    whole = search(budget=12)
    path = tmp_path / "a folder" / "studies.db"
    search(budget=4, storage=path)

    stop = iter([None] * 5)  # an interrupt between two trials
    with pytest.raises(StopIteration):
        search(budget=12, storage=path, on_trial=lambda: next(stop))
    with monkeypatch.context() as patch:  # one within a trial
        patch.setattr(studies, "iterates", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search(budget=12, storage=path)
    stored_study(path).ask()  # a killed process leaves a running trial behind

    pd.testing.assert_frame_equal(search(budget=12, storage=path), whole)


def test_a_finished_search_is_only_read(search, tmp_path, monkeypatch):
    whole = search(budget=6, storage=tmp_path / "studies.db")
    monkeypatch.setattr(studies, "iterates", None)  # whoever fits fails
    pd.testing.assert_frame_equal(search(budget=6, storage=tmp_path / "studies.db"), whole)
    shorter = search(budget=3, storage=tmp_path / "studies.db")
    pd.testing.assert_frame_equal(shorter, whole.head(3))


def test_other_data_or_settings_are_another_study(search, task, tmp_path):
    path = tmp_path / "studies.db"
    search(budget=1, storage=path)
    search(budget=1, storage=path, fixed={"factors": 5})
    search(budget=1, storage=path, seed=1)
    other = tuning.Task(task.name, splits.random_ratio(task.split.train, 0.3, seed=0), k=5)
    tuning.search(other, "ALS", SPACE, budget=1, iterations=4, every=2, storage=path)
    assert len(optuna.get_all_study_names(f"sqlite:///{path}")) == 4


def test_two_searches_share_a_new_file(search, tmp_path):
    path = tmp_path / "studies.db"
    jobs = {seed: partial(search, seed=seed, storage=path) for seed in range(4)}
    found = tuning.search_all(jobs, budget=3)
    for seed, trials in found.items():
        pd.testing.assert_frame_equal(trials, search(budget=3, seed=seed))


def test_poor_trials_are_cut_short(search, task):
    trials = search(budget=24)
    pruned = trials["state"] == "PRUNED"
    assert pruned.any()
    assert trials.loc[pruned, "nDCG@5"].isna().all()
    assert set(trials.loc[pruned, "iterations"]) == {2}
    assert not pruned[: studies.STARTUP].any()
    chosen = tuning.best(trials)
    model = tuning.recipe("ALS", chosen).fit(task.split.train)
    assert task.ndcg(task.top_n(model)).mean() == pytest.approx(trials["nDCG@5"].max(), abs=1e-9)


def test_iterations_are_read_off_the_curve(task):
    space = {"regularization": FloatDistribution(1e-4, 1e-3)}
    trials = tuning.search(task, "ALS", space, budget=1, iterations=10, every=1)
    settings = tuning.best(trials)
    grid = {"iterations": range(1, 11)}
    runs, lists = tuning.fit_lists(task, "ALS", settings | {"weighting": "binary"}, grid)
    curve = [task.ndcg(one[0]).mean() for one in lists]
    assert runs[int(np.argmax(curve))]["iterations"] == settings["iterations"]


def test_a_study_without_a_finished_trial_is_an_error(search):
    trials = search(budget=2).assign(**{"nDCG@5": np.nan, "state": "PRUNED"})
    with pytest.raises(ValueError, match="none of the 2 trials has finished"):
        tuning.best(trials)


def test_a_damaged_database_is_named(search, tmp_path):
    path = tmp_path / "studies.db"
    path.write_bytes(b"no database " * 500)
    with pytest.raises(ValueError, match=r"studies\.db cannot be used .* delete it and run again"):
        search(budget=1, storage=path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 0}, "budget is 0"),
        ({"space": {}}, "space is empty"),
        ({"space": {"lambda": FloatDistribution(0, 1)}}, r"ALS has no settings \['lambda'\]"),
        ({"fixed": {"nu": 1.0}}, r"ALS has no settings \['nu'\]"),
        ({"name": "SVD"}, "name is 'SVD', expected one of"),
    ],
)
def test_a_search_with_wrong_arguments_is_refused(task, change, message):
    arguments = {"name": "ALS", "space": SPACE, "budget": 1} | change
    with pytest.raises(ValueError, match=message):
        tuning.search(task, **arguments)


# What settings do


def test_curves_share_their_fits_and_compare_with_their_best(task):
    base = {"factors": 4, "regularization": 0.05, "unobserved_weight": 0.3, "nu": 1.0}
    base |= {"iterations": 4, "weighting": "binary"}
    around = {"iterations": [1, 4], "nu": [0.0, 1.0]}
    curves = tuning.curves(task, "IALS", base, around, seeds=[0, 1])
    assert {name: len(curve) for name, curve in curves.items()} == {"iterations": 2, "nu": 2}
    same = [curves["iterations"].loc[1], curves["nu"].loc[1]]
    pd.testing.assert_series_equal(same[0].drop("tied"), same[1].drop("tied"), check_names=False)
    for curve in curves.values():
        assert curve.loc[curve["nDCG"].idxmax(), "tied"]
        assert (curve["low"] <= curve["nDCG"]).all()
        assert curve["overlap"].between(0, 1).all()
    assert curves["nu"].loc[0, "regularization"] > base["regularization"]


def test_one_seed_has_no_stability(task):
    with pytest.raises(ValueError, match="expected two or more to compare"):
        tuning.curves(task, "ALS", {}, {"factors": [2]}, seeds=[0])


@pytest.mark.parametrize("grid", [{}, [], {"factors": []}, [{}]])
def test_an_empty_grid_is_refused(task, grid):
    with pytest.raises(ValueError, match="expected at least one value"):
        tuning.fit_lists(task, "ALS", {"iterations": 1}, grid)
    with pytest.raises(ValueError, match="expected at least one value"):
        tuning.try_all(task, "EASE", grid)


def test_doubling_keeps_the_best_of_each_dimension(task):
    settings = {"factors": 2, "regularization": 1.0, "alpha": 2.0, "iterations": 4}
    settings |= {"weighting": "binary"}
    rows = tuning.double(task, "ALS", settings, times=2, every=2)
    assert rows["factors"].tolist() == [2, 4, 8]
    assert rows["gain"].isna().tolist() == [True, False, False]
    steps = rows["nDCG@5"].diff()[1:]
    assert rows["gain"][1:].to_numpy() == pytest.approx(steps.to_numpy(), abs=1e-12)
    with pytest.raises(ValueError, match="times is -1"):
        tuning.double(task, "ALS", settings, times=-1)


def test_the_best_of_a_small_grid_can_be_fitted_again(task):
    trials = tuning.try_all(task, "EASE", {"regularization": [1.0, 50.0]})
    model = tuning.recipe("EASE", tuning.best(trials)).fit(task.split.train)
    assert task.ndcg(task.top_n(model)).mean() == pytest.approx(trials["nDCG@5"].max(), abs=1e-9)


# Three ways to be misled


def test_the_best_of_many_flatters_and_the_best_of_one_does_not():
    noise = np.random.default_rng(0).normal(size=(50, 400))  # no model is better than another
    lie = tuning.optimism(noise, [1, 50], repetitions=2_000)
    assert abs(lie.loc[1, "lie"]) < 0.005
    assert lie.loc[50, "claimed"] > 0.1
    assert lie.loc[50, "kept"] < 0
    assert lie.loc[50, "low"] > 0
    assert lie.loc[50, "above 0"] > 0.97


def test_one_clearly_better_model_does_not_flatter():
    values = np.zeros((2, 10))
    values[1] = 1.0
    assert tuning.optimism(values, [2]).loc[2].to_list() == [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(("shape", "tried"), [((3, 10), [4]), ((3, 10), []), ((3, 1), [1])])
def test_optimism_needs_models_and_users(shape, tried):
    with pytest.raises(ValueError, match="expected"):
        tuning.optimism(np.zeros(shape), tried)


def test_a_constant_wins_among_test_rows_only(task):
    held_out = task.split.test.user_items
    constant = np.zeros(held_out.shape)
    assert metrics.roem_of_test_rows(constant, held_out) == 0
    seen = task.split.train.user_items
    assert metrics.roem(constant, held_out, seen=seen) == pytest.approx(0.5)


def sides(rows, share=0.25):
    """Both sides of a random split by rows, in one index: the other side's values are 0."""
    in_test = np.random.default_rng(0).random(len(rows)) < share
    return [
        Interactions.from_frame(
            rows.assign(value=rows["value"].where(kept, 0)), aggregate="max"
        ).user_items
        for kept in (~in_test, in_test)
    ]


def test_a_memoriser_wins_where_rows_stand_three_times():
    once = log().drop_duplicates(["user_id", "item_id"])
    train, test = sides(pd.concat([once] * 3, ignore_index=True))
    assert metrics.roem(train.toarray(), test) < 0.15
    train, test = sides(once.reset_index(drop=True))
    assert metrics.roem(train.toarray(), test) > 0.5


def test_the_real_song_plays_stand_there_three_times(root):
    path = root.parent / "shared" / "data" / "song-plays-triplicated.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the project: it is not ours to hand on")
    with gzip.open(path, "rt") as file:
        rows = pd.read_csv(file, dtype={"userId": str, "songId": str})
    names = {"userId": "user_id", "songId": "item_id", "num_plays": "value"}
    frame = rows.rename(columns=names).assign(timestamp=pd.Timestamp("2026-01-01", tz="UTC"))
    plays = Interactions.from_frame(frame, aggregate="max")
    assert plays.n_merged == 2 * plays.nnz
    assert plays.n_zeros_dropped + 3 * plays.nnz == len(rows)


def test_stored_zeros_change_spark_not_at_all_and_implicit_a_lot(interactions):
    user_items = interactions.user_items
    n_users, n_items = user_items.shape
    every_cell = (
        user_items.toarray().ravel(),
        np.tile(np.arange(n_items), n_users),
        np.arange(n_users + 1) * n_items,
    )
    crossed = csr_matrix(every_cell, shape=user_items.shape)
    assert crossed.nnz == n_users * n_items

    def spark(row, Y, alpha=40.0, lam=0.1):
        cells, values = row.indices, row.data
        A = Y.T @ Y + (alpha * values * Y[cells].T) @ Y[cells]
        A += lam * (values > 0).sum() * np.eye(Y.shape[1])
        return np.linalg.solve(A, ((1 + alpha * values) * (values > 0)) @ Y[cells])

    Y = np.random.default_rng(0).normal(size=(n_items, 3))
    assert np.abs(spark(user_items[0], Y) - spark(crossed[0], Y)).max() < 1e-12

    empty = user_items.toarray() == 0
    means = []
    for matrix in (user_items, crossed):
        model = tuning.recipe("ALS", {"factors": 3, "regularization": 1.0}).make(interactions)
        model.fit(matrix, show_progress=False)
        means.append((model.user_factors @ model.item_factors.T)[empty].mean())
    assert means[1] > 2 * means[0]


def test_iterations_are_read_off_the_curve_and_not_searched(task):
    with pytest.raises(ValueError, match="space names iterations, which are read off"):
        tuning.search(task, "IALS", {"iterations": FloatDistribution(1.0, 9.0)}, budget=1)
