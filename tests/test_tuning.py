from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.sparse import csr_matrix

from helpers import metrics, models, recommend, splits, tuning
from helpers.interactions import Interactions

SPACE = {
    "regularization": FloatDistribution(0.01, 100.0, log=True),
    "weighting": CategoricalDistribution(["binary", "raw"]),
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
    return partial(tuning.search, task, "ALS", SPACE, fixed={"factors": 4}, iterations=[2, 4])


def score(task, name, settings):
    return task.score(tuning.fit_lists(task, name, [settings])[0, 0])


# How much work


def test_the_work_follows_the_size_of_the_log():
    default = tuning.workload(100_000, 943, 1_682)
    assert default.train_users == 943  # everybody
    assert default.without == ()
    sizes = [(100_000, 943, 1_682), (200_001, 943, 1_682), (2_000_001, 943, 1_682)]
    sizes += [(100_000, 600, 5_001), (100_000, 600, 20_001)]
    factors = [tuning.workload(*size).max_factors for size in sizes]
    assert factors[0] > factors[1] > factors[2]
    assert factors[3:] == factors[1:3]
    assert default.trials > tuning.workload(*sizes[1]).trials >= tuning.workload(*sizes[2]).trials
    assert tuning.workload(100_000, 600, 5_001).without == ("EASE",)
    large = tuning.workload(20_000_000, 100_000, 30_000)
    assert large.train_users == 10_000  # a tenth of the users has about 2 million rows
    assert large.without == ("EASE", "BPR")
    assert tuning.workload(10**9, 3, 10).train_users == 1
    assert set(models.SETTINGS) > set(large.without)


def test_the_table_of_the_work_has_a_meaning_for_each_number():
    work = tuning.workload(20_000_000, 100_000, 30_000)
    table = work.to_frame()["value"]
    assert table["users that models learn from, at most"] == 10_000
    assert table["models left out"] == "EASE, BPR"
    assert len(table) == len(vars(work))
    nothing = tuning.workload(100, 10, 10).to_frame()["value"]
    assert nothing["models left out"] == "none"


# What a search sees


def test_a_task_scores_the_users_with_something_on_both_sides(interactions):
    rows, columns = interactions.cells()
    split = splits.Split(
        interactions.select((rows != 3) & (columns < 20)),
        interactions.select((rows != 5) & (columns >= 20)),
    )
    users = tuning.Task("toy", split).users
    both = (np.diff(split.train.user_items.indptr) > 0) & (
        np.diff(split.test.user_items.indptr) > 0
    )
    assert users.tolist() == np.flatnonzero(both).tolist()
    assert not {3, 5} & set(users)


def test_the_score_of_a_task_is_the_ndcg_of_its_users(task):
    model = models.Popularity()
    model.fit(task.split.train.user_items)
    lists = task.top_n(model)
    assert not (lists[0][:, None] == task.split.train.user_items[task.users[0]].indices).any()
    first = np.isin(lists[0], task.split.test.user_items[task.users[0]].indices)
    n_test = task.split.test.user_items[task.users[0]].nnz
    gains = 1 / np.log2(np.arange(2, 7))
    assert task.ndcg(lists)[0] == pytest.approx(gains[first].sum() / gains[:n_test].sum())


def test_a_baseline_scores_from_what_it_was_fitted_on(task):
    """Binary weights must be binary in the histories, too: raw ones give other lists."""
    factory = models.model_factory("EASE", {"regularization": 5.0})
    train = task.split.train
    model = factory.fit(train)
    lists = tuning.fit_lists(task, "EASE", [{"regularization": 5.0}])
    histories = factory.matrix(train)[task.users]
    expected = recommend.rank_items(histories @ model.weights, 5, histories)[0]
    assert_array_equal(lists[0, 0], expected)
    assert (task.top_n(model) != expected).any()


# One fit for all iterations


@pytest.mark.parametrize("name", ["ALS", "IALS", "BPR", "Spark ALS"])
def test_a_model_on_the_way_is_the_model_fitted_that_far(interactions, name):
    def make(n):
        return models.model_factory(name, {"factors": 4, "iterations": n})

    at = tuning.iterates(
        make(6).make(interactions),
        make(6).matrix(interactions),
        [2, 6],
        lambda model: (model.user_factors.copy(), model.item_factors.copy()),
    )
    for n, (X, Y) in at.items():
        separate = make(n).fit(interactions)
        assert_array_equal(separate.user_factors, X)
        assert_array_equal(separate.item_factors, Y)


@pytest.mark.parametrize("at", [[], [0], [1, 9]])
def test_iterates_beyond_the_fit_are_refused(interactions, at):
    model = models.model_factory("ALS", {"iterations": 8}).make(interactions)
    with pytest.raises(ValueError, match="expected numbers from 1 to 8"):
        tuning.iterates(model, interactions.user_items, at, lambda model: None)


def test_a_fitted_model_is_not_fitted_on(interactions):
    model = models.model_factory("ALS", {"iterations": 2}).fit(interactions)
    with pytest.raises(ValueError, match="make a new one"):
        tuning.iterates(model, interactions.user_items, [1], lambda model: None)


@pytest.mark.parametrize("grid", [{}, {"factors": []}])
def test_an_empty_grid_is_refused(grid):
    with pytest.raises(ValueError, match="expected at least one value"):
        tuning.runs_of(grid)


def test_the_lists_of_a_grid_are_those_of_separate_fits(task):
    runs = tuning.runs_of({"iterations": [5, 2], "factors": [3, 4], "regularization": [0.5]})
    lists = tuning.fit_lists(task, "IALS", runs, seeds=[0, 7])
    assert lists.shape == (4, 2, len(task.users), 5)
    for run, of_seeds in zip(runs, lists, strict=True):
        for seed, found in zip([0, 7], of_seeds, strict=True):
            factory = models.model_factory("IALS", run, seed=seed)
            assert_array_equal(found, task.top_n(factory.fit(task.split.train)))


def test_the_scores_of_a_grid_equal_separate_fits(task):
    grid = {"factors": [3], "iterations": [2, 5], "regularization": [0.1, 1.0], "alpha": [10.0]}
    found = tuning.score_grid(task, "Spark ALS", tuning.runs_of(grid))
    assert len(found) == 2 * 2
    train, test = task.split.train, task.split.test.user_items[task.users]
    for row in found.to_dict("records"):
        model = models.model_factory("Spark ALS", {key: row[key] for key in grid}).fit(train)
        scores = recommend.scores(model, train.user_items, task.users)
        known = train.user_items[task.users]
        assert row["ROEM"] == pytest.approx(metrics.roem(scores, test, known), abs=1e-12)
        others = csr_matrix(test.toarray() == 0)  # without ties the order of the test items alone
        ranks = metrics.percentile_ranks(scores, test, others)
        ranks[np.repeat(np.diff(test.indptr) == 1, np.diff(test.indptr))] = 0  # SQL's, if alone
        expected = np.average(ranks, weights=test.data)
        assert row["ROEM, test rows"] == pytest.approx(expected, abs=1e-12)
        lists = recommend.rank_items(scores, 5, known)[0]
        of_users = metrics.accuracy(lists, test, [5])["ndcg@5"].to_numpy()
        assert_array_equal(row["of users"], of_users)
        assert row["nDCG@5"] == pytest.approx(of_users.mean())


def test_a_constant_has_a_perfect_roem_among_the_test_rows(monkeypatch, task):
    monkeypatch.setattr(
        models.Popularity, "_score", lambda self, users, _: np.ones((len(users), 40))
    )
    [found] = tuning.score_grid(task, "popular", [{}]).to_dict("records")
    assert (found["ROEM"], found["ROEM, test rows"]) == (pytest.approx(0.5), 0)


def test_roem_and_ndcg_do_not_depend_on_the_blocks(interactions, monkeypatch):
    task = tuning.Task("half", next(splits.k_fold(interactions, 2, seed=0)))
    whole = tuning.score_grid(task, "popular", [{}])
    monkeypatch.setattr(recommend, "CELLS", 7 * interactions.n_items)
    pd.testing.assert_frame_equal(tuning.score_grid(task, "popular", [{}]), whole)
    assert whole["ROEM"].between(0.1, 0.4).all()


# Studies


def test_a_search_is_reproducible(search):
    pd.testing.assert_frame_equal(search(trials=12), search(trials=12))
    assert not search(trials=4, seed=1).equals(search(trials=4))


def test_settings_have_the_scores_that_they_had(task):
    settings = {
        "ALS": {"factors": 4, "regularization": 0.5, "alpha": 2.0, "iterations": 3},
        "IALS": {"factors": 4, "regularization": 0.01, "nu": 0.5, "iterations": 3},
        "EASE": {"regularization": 5.0, "weighting": "raw"},
        "item KNN": {"K": 7},
    }
    found = {name: score(task, name, run) for name, run in settings.items()}
    expected = {"ALS": 0.289845, "IALS": 0.336959, "EASE": 0.259983, "item KNN": 0.325196}
    assert found == pytest.approx(expected, abs=1e-6)


def test_poor_trials_are_cut_short(search, task):
    trials = search(trials=24)
    pruned = trials["nDCG@5"].isna()
    assert pruned.any()
    assert set(trials.loc[pruned, "iterations"]) == {2}
    assert not pruned[: tuning.STARTUP].any()
    model = models.model_factory("ALS", tuning.best(trials)).fit(task.split.train)
    assert task.ndcg(task.top_n(model)).mean() == pytest.approx(trials["nDCG@5"].max(), abs=1e-9)


def test_iterations_are_read_off_the_curve(task):
    space = {"regularization": FloatDistribution(1e-4, 1e-3)}
    trials = tuning.search(task, "ALS", space, trials=1, iterations=range(1, 11))
    settings = tuning.best(trials)
    curve = {n: score(task, "ALS", settings | {"iterations": n}) for n in range(1, 11)}
    assert max(curve, key=curve.get) == settings["iterations"]
    assert max(curve.values()) == trials["nDCG@5"].max()


def test_a_study_without_a_finished_trial_is_an_error(search):
    trials = search(trials=2).assign(**{"nDCG@5": np.nan})
    with pytest.raises(ValueError, match="none of the 2 trials has a nDCG@5"):
        tuning.best(trials)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"space": {}}, r"space has \[\], expected at least one setting"),
        ({"space": {"iterations": FloatDistribution(1, 9)}}, "read off the validation curve"),
        ({"space": {"lambda": FloatDistribution(0, 1)}}, r"ALS has no settings \['lambda'\]"),
        ({"fixed": {"nu": 1.0}}, r"ALS has no settings \['nu'\]"),
        ({"name": "SVD"}, "name is 'SVD', expected one of"),
        ({"iterations": [0, 4]}, "expected numbers from 1 to 4"),
    ],
)
def test_a_search_with_wrong_arguments_is_refused(task, change, message):
    arguments = {"name": "ALS", "space": SPACE, "trials": 1, "iterations": [2]} | change
    with pytest.raises(ValueError, match=message):
        tuning.search(task, **arguments)


def test_refine_goes_on_beyond_an_edge_while_it_is_ahead(monkeypatch, task):
    """A made-up score that is best at alpha 8, searched from 1 to 2."""
    level = {1.0: 0.1, 2.0: 0.2, 4.0: 0.3, 8.0: 0.4, 16.0: 0.3}

    def lists(task, name, runs, **options):
        return np.array([[run["alpha"]] for run in runs])

    monkeypatch.setattr(tuning, "fit_lists", lists)
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        tuning.Task, "ndcg", lambda self, one: level[float(one)] + 0.01 * rng.normal(size=50)
    )
    start = {"alpha": 2.0, "factors": 8}
    settings, values, steps = tuning.refine(task, "ALS", start, {"alpha": (1.0, 2.0)})
    assert settings == {"alpha": 8.0, "factors": 8}
    assert values.mean() == pytest.approx(0.4, abs=0.01)
    assert {what: step.verdict for what, step in steps.items()} == {
        "alpha 4": "ahead", "alpha 8": "ahead", "alpha 16": "behind",
    }  # fmt: skip
    inside, _, none = tuning.refine(task, "ALS", start, {"alpha": (1.0, 16.0)})
    assert inside == start
    assert none == {}
