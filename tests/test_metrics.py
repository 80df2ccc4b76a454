import tracemalloc
from fractions import Fraction
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_matrix, csr_matrix
from scipy.stats import ttest_rel

from helpers import metrics
from helpers.metrics import beyond, uncertainty

test = csr_matrix([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
top_n = np.array([[0, 1, 2], [2, 3, 0], [0, 1, -1]])


def test_hits_and_hit_rate_by_hand():
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(metrics.hits(top_n, test), expected)
    found = metrics.accuracy(top_n, test, [1, 3])
    assert found["hit rate@1"].tolist() == [1, 0, 0]
    assert found["hit rate@3"].tolist() == [1, 1, 0]


def test_the_padding_never_hits():
    # -1 in row 1 must not be taken for the last item of row 0.
    assert not metrics.hits(np.array([[0], [-1]]), csr_matrix([[0, 1], [0, 1]])).any()


def test_coverage_and_overlap_by_hand():
    assert metrics.coverage(top_n, n_items=8) == 0.5
    other = np.array([[2, 1, 0], [2, 1, -1], [0, 1, 3]])
    assert metrics.mean_overlap(top_n, other) == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert metrics.mean_overlap(np.array([[0], [-1]]), np.array([[0], [-1]])) == 1


def test_the_bootstrap_interval_is_that_of_the_normal_law_for_many_users():
    values = (np.arange(4000) % 4 == 0).astype(float)
    low, high = metrics.bootstrap_interval(values, seed=1)
    half = 1.96 * np.sqrt(0.25 * 0.75 / 4000)
    assert low == pytest.approx(0.25 - half, abs=2e-3)
    assert high == pytest.approx(0.25 + half, abs=2e-3)
    assert (low, high) == metrics.bootstrap_interval(values, seed=1)
    assert metrics.bootstrap_interval(np.ones(5)) == (1, 1)


def test_the_bootstrap_interval_is_that_of_resampled_means(monkeypatch):
    monkeypatch.setattr(uncertainty, "N_RESAMPLES", 20_000)
    values = np.random.default_rng(5).random(300) ** 3
    rng = np.random.default_rng(9)
    means = rng.choice(values, size=(20_000, 300)).mean(axis=1)
    expected = np.quantile(means, [0.025, 0.975])
    found = metrics.bootstrap_interval(values, seed=7)
    assert found == pytest.approx(expected, abs=1e-3)


def test_the_interval_stays_where_values_can_be():
    low, high = metrics.bootstrap_interval(np.array([0.0] * 9 + [1.0]))
    assert low == 0
    assert 0.1 < high < 1


def test_one_user_has_an_interval_without_width():
    assert metrics.bootstrap_interval(np.array([0.3])) == (0.3, 0.3)


@pytest.mark.parametrize("draws", [1, 700, 10**6])
def test_intervals_and_tests_do_not_depend_on_the_batches(monkeypatch, draws):
    values = np.random.default_rng(2).normal(0.1, size=41)
    expected = metrics.paired(values, values * 0)
    monkeypatch.setattr(uncertainty, "DRAWS", draws)
    assert metrics.paired(values, values * 0) == expected


def test_half_a_million_users_take_megabytes(monkeypatch):
    monkeypatch.setattr(uncertainty, "N_RESAMPLES", 10)
    values = np.random.default_rng(0).random(500_000)
    tracemalloc.start()
    metrics.paired(values, values[::-1])
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert peak < 60  # MiB; all resamples at a time would take 76 and more


def test_the_verdict_is_that_of_the_interval():
    pairs = {(0.1, 0.2): "ahead", (-0.2, -0.1): "behind", (-0.1, 0.1): "tied"}
    pairs |= {(0, 0.1): "tied", (-0.1, 0): "tied"}
    for (low, high), verdict in pairs.items():
        assert metrics.Paired(0.05, low, high, 0.2).verdict == verdict


def test_wilson_by_its_formula():
    z, share, n = 1.959963984540054, Fraction(3, 40), 40
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(float(share * (1 - share)) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert metrics.wilson(3, 40) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_all_metrics_of_one_user_by_hand():
    """Relevant: items 0, 1, 2, 3. The list has hits in places 1 and 3 of 4."""
    found = metrics.accuracy(np.array([[3, 9, 0, 8]]), csr_matrix(np.arange(10) < 4), [2, 4])
    gains = 1 / np.log2([2, 3, 4, 5])
    expected = {
        "precision@2": 1 / 2,
        "recall@2": 1 / 4,
        "capped recall@2": 1 / 2,
        "hit rate@2": 1,
        "map@2": (1 / 1) / 4,
        "capped map@2": (1 / 1) / 2,
        "ndcg@2": gains[0] / (gains[0] + gains[1]),
        "mrr@2": 1,
        "precision@4": 2 / 4,
        "recall@4": 2 / 4,
        "capped recall@4": 2 / 4,
        "hit rate@4": 1,
        "map@4": (1 / 1 + 2 / 3) / 4,
        "capped map@4": (1 / 1 + 2 / 3) / 4,
        "ndcg@4": (gains[0] + gains[2]) / gains.sum(),
        "mrr@4": 1,
    }
    assert found.loc[0].to_dict() == pytest.approx(expected, abs=1e-12)
    assert list(found) == list(expected)


def test_an_empty_place_is_a_miss_and_an_empty_list_scores_zero():
    found = metrics.accuracy(np.array([[-1, 1], [-1, -1]]), csr_matrix([[0, 1], [1, 0]]), [2])
    assert found["precision@2"].tolist() == [0.5, 0]
    assert found["mrr@2"].tolist() == [0.5, 0]


def test_users_without_test_items_are_left_out():
    lists = np.array([[0, 1], [1, 0], [1, 2]])
    found = metrics.accuracy(lists, csr_matrix([[0, 0, 0], [0, 1, 0], [0, 0, 0]]), [1])
    assert found.index.tolist() == [1]
    assert found.mean()["ndcg@1"] == 1  # a mean of one user, not of three


def test_a_stored_cell_is_relevant_in_whatever_form_the_matrix_comes():
    expected = metrics.hits(top_n, test)
    rows, columns = test.nonzero()
    twice = coo_matrix((np.zeros(8), (np.tile(rows, 2), np.tile(columns, 2))), test.shape)
    unsorted = test[:, ::-1][:, ::-1]
    for matrix in (twice, unsorted, test.tocsc(), test.astype(np.int8)):
        np.testing.assert_array_equal(metrics.hits(top_n, matrix), expected)
    # A matrix that is not in canonical form is put into it in a copy.
    given = csr_matrix((np.ones(2), np.array([3, 1]), [0, 0, 2, 2]), shape=test.shape)
    assert metrics.hits(top_n, given)[1].tolist() == [False, True, False]
    assert given.indices.tolist() == [3, 1]
    found = [metrics.accuracy(top_n, matrix, [3]) for matrix in (test, twice)]
    pd.testing.assert_frame_equal(*found, check_exact=True)


def test_memory_does_not_grow_with_users_times_items():
    n_users, n_items = 2_000, 500_000  # as a dense mask: 954 MiB
    rng = np.random.default_rng(0)
    lists = np.sort(rng.integers(n_items // 10, size=(n_users, 10)), axis=1) * 10 + np.arange(10)
    truth = csr_matrix((np.ones(n_users), (np.arange(n_users), lists[:, 3])), (n_users, n_items))
    tracemalloc.start()
    found = metrics.accuracy(lists, truth, [5, 10], train=csr_matrix(truth.shape))
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert found.mean()["mrr@5"] == 1 / 4
    assert peak < 30  # MiB


def test_ranks_leave_out_the_training_set():
    scores = np.array([[4.0, 3.0, 2.0, 1.0]])
    relevant, train = csr_matrix([[0, 0, 5, 0]]), csr_matrix([[1, 0, 0, 0]])
    assert metrics.percentile_ranks(scores, relevant).tolist() == [2 / 3]
    assert metrics.percentile_ranks(scores, relevant, train).tolist() == [1 / 2]
    assert metrics.roem(scores.astype(int), relevant, train) == 0.5
    alone = csr_matrix([[1, 1, 0, 1]])
    assert metrics.percentile_ranks(scores, relevant, alone).tolist() == [0.5]


def test_scores_are_compared_in_their_own_precision():
    scores = np.array([[1.0, 1.0 + 1e-12, 0.0]])
    assert metrics.percentile_ranks(scores, csr_matrix([[1, 0, 0]])).tolist() == [1 / 2]


def test_another_seed_draws_other_users_and_other_signs():
    values = np.random.default_rng(0).normal(0.1, size=40)
    found = [metrics.paired(values, np.zeros(40), seed=seed) for seed in (0, 1)]
    assert found[0].low != found[1].low
    assert found[0].p_value != found[1].p_value


def test_stored_zeros_are_rows_of_weight_zero():
    scores = np.array([[0.9, 0.5, 0.5, 0.1]])
    joined = csr_matrix((np.array([0.0, 2, 0, 1]), ([0] * 4, range(4))), shape=(1, 4))
    assert metrics.roem(scores, joined) == pytest.approx((2 * 1.5 / 3 + 1 * 1) / 3)


def test_beyond_accuracy_by_hand():
    lists = np.array([[0, 1], [0, 2], [-1, -1]])
    counts = np.array([8, 4, 1, 0])
    assert beyond.popular_share(lists, counts) == 0.5  # 1 % of four items, rounded up: item 0
    tops = [np.arange(top) for top in (100, 101, 200)]  # 1 % of so many items: 1, 2 and 2
    first = [beyond.popular_share(np.array([[0, 1, 2]]), -top + 200) for top in tops]
    assert first == [1 / 3, 2 / 3, 2 / 3]
    np.testing.assert_array_equal(beyond.novelty(lists, counts, 8), [0.5, 1.5, np.nan])
    assert beyond.novelty(np.array([[3]]), counts, 8) == 3  # nobody has it: as if one user had
    genres = np.array([[1, 1], [1, 0], [0, 0], [0, 2]])
    diversity = beyond.intra_list_diversity(np.array([[0, 1], [1, 3], [1, 2]]), genres)
    np.testing.assert_allclose(diversity, [1 - np.sqrt(0.5), 1, np.nan])


def test_beyond_accuracy_holds_the_parts():
    lists, counts = np.array([[0, 1], [0, 2]]), np.array([8, 4, 1, 0])
    features = {"genres": csr_matrix(np.eye(4)), "none": np.zeros((4, 2))}
    found = metrics.beyond_accuracy(lists, counts, 8, features)
    parts = ["coverage", "top 1% share", "novelty", "diversity (genres)", "diversity (none)"]
    assert list(found) == parts
    # Items 0, 1, 2, 3 are shown 2, 1, 1, 0 times.
    assert found["coverage"] == 3 / 4
    assert found["top 1% share"] == 2 / 4
    assert found["novelty"] == ((0 + 1) / 2 + (0 + 3) / 2) / 2
    assert found["diversity (genres)"] == 1
    assert np.isnan(found["diversity (none)"])


def test_the_sign_flip_test_is_near_the_exact_one_over_all_signs(monkeypatch):
    monkeypatch.setattr(uncertainty, "N_RESAMPLES", 20_000)
    differences = np.array([0.9, -0.2, 0.4, 0.0, 0.7, -0.1, 0.3])
    sums = [abs(np.dot(signs, differences)) for signs in product([-1, 1], repeat=7)]
    exact = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-12)
    found = metrics.paired(differences, np.zeros(7))
    assert found.difference == pytest.approx(2 / 7)
    assert found.p_value == pytest.approx(exact, abs=0.01)


def test_sums_that_are_equal_on_paper_are_ties():
    differences = np.array([0.1, 0.2, -0.3] * 5)
    assert differences.sum() != 0  # in floats
    assert metrics.paired(differences, np.zeros(15)).p_value == 1


def test_the_paired_test_agrees_with_the_t_test_for_many_users(monkeypatch):
    monkeypatch.setattr(uncertainty, "N_RESAMPLES", 10_000)
    rng = np.random.default_rng(1)
    first = rng.normal(size=3_000)
    second = first - rng.normal(0.05, 1.0, size=3_000)
    found, t_test = metrics.paired(first, second), ttest_rel(first, second)
    assert found.p_value == pytest.approx(t_test.pvalue, abs=0.005)
    low, high = t_test.confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.003)


def test_the_p_value_never_is_zero():
    assert metrics.paired(np.ones(50), np.zeros(50)).p_value == 1 / 2001


scores = np.array([[0.4, 0.3, 0.2, 0.1]] * 3)
broken = np.where(scores == 0.3, np.nan, scores)
endless = np.where(scores == 0.3, -np.inf, scores)
counts = np.array([5, 3, 1, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.hits(top_n[:2], test), "top_n has 2 users but test has 3"),
        (
            lambda: metrics.hits(top_n * 1.0, test),
            "dtype float64, expected item indexes as whole",
        ),
        (lambda: metrics.hits(top_n[0], test), r"top_n has shape \(3,\)"),
        (lambda: metrics.hits(top_n + 1, test), "from 0 to 4, expected -1 .padding. to 3"),
        (lambda: metrics.hits(top_n - 1, test), "from -2 to 2, expected -1"),
        (lambda: metrics.mean_overlap(top_n, top_n[:, :2]), "expected equal"),
        (lambda: metrics.mean_overlap(top_n * 0 - 1, top_n), "first holds no item"),
        (lambda: metrics.accuracy(top_n, test, [1, 4]), r"ks is \[1, 4\], expected.* 1 to 3"),
        (lambda: metrics.accuracy(top_n, test, [0]), r"ks is \[0\], expected"),
        (lambda: metrics.accuracy(top_n, test, [1.5]), r"ks is \[1.5\], expected"),
        (lambda: metrics.accuracy(top_n, test, []), r"ks is \[\], expected"),
        (lambda: metrics.accuracy(top_n, test, [2, 2]), "expected different whole numbers"),
        (lambda: metrics.accuracy(top_n[:2], test, [2]), "top_n has 2 users but test has 3"),
        (lambda: metrics.accuracy(top_n / 1, test, [2]), "dtype float64"),
        (lambda: metrics.accuracy(top_n + 1, test, [2]), "from 0 to 4"),
        (
            lambda: metrics.accuracy(np.array([[0, 1], [2, 2], [3, 3]]), test, [2]),
            "2 lists of top_n hold an item twice, the first in row 1",
        ),
        (
            lambda: metrics.accuracy(np.array([[0, 1], [0, 0], [-1, -1]]), test, [2]),
            "1 lists of top_n hold an item twice, the first in row 1",  # padding is no item
        ),
        (
            lambda: metrics.accuracy(top_n, test, [2], train=csr_matrix(np.eye(3, 4, k=1))),
            r"top_n holds 2 items of the training set, first in row 0: \[1\]",
        ),
        (
            lambda: metrics.accuracy(top_n, test, [2], train=csr_matrix((4, 3))),
            r"train has shape \(4, 3\) but test \(3, 4\)",
        ),
        (
            lambda: metrics.accuracy(top_n, csr_matrix((3, 4)), [2]),
            "test is empty for all 3 users",
        ),
        (lambda: metrics.roem(scores.T, test), r"scores has shape \(4, 3\), test \(3, 4\)"),
        (lambda: metrics.roem(endless, test), "3 values that are NaN or infinite.*belong in train"),
        (lambda: metrics.roem(scores, -test), "values from -1 with a sum of -4"),
        (lambda: metrics.roem(scores, test * 0), "not all 0"),
        (lambda: metrics.roem(scores, test, test), "4 cells are in test and in train"),
        (lambda: metrics.roem(scores, test, test[:2]), r"and train \(2, 4\)"),
        (lambda: metrics.percentile_ranks(broken, test), "NaN or infinite"),
        (lambda: metrics.coverage(top_n, 3), "from -1 to 3, expected -1 .padding. to 2"),
        (lambda: metrics.beyond_accuracy(top_n * 0 - 1, counts, 5), "top_n holds no item"),
        (lambda: beyond.popular_share(top_n, counts[:3]), "from -1 to 3"),
        (lambda: beyond.novelty(top_n, -counts, 9), "counts go from -5 to 0"),
        (lambda: beyond.novelty(top_n, counts, 4), "counts go from 0 to 5 but n_users is 4"),
        (lambda: beyond.intra_list_diversity(top_n, broken.T), "NaN or infinite"),
        (lambda: beyond.intra_list_diversity(top_n, scores), "from -1 to 3"),
        (lambda: metrics.bootstrap_interval(np.array([])), r"values has shape \(0,\)"),
        (lambda: metrics.bootstrap_interval(np.array([1, np.nan])), "holds 1 values that are NaN"),
        (lambda: metrics.bootstrap_interval(scores), r"shape \(3, 4\), expected one value"),
        (lambda: metrics.paired(scores[0], scores[0, :3]), "first has 4 users and second 3"),
        (
            lambda: metrics.paired(pd.Series(scores[0]), pd.Series(scores[0], index=[1, 2, 3, 4])),
            "not the same ones",
        ),
        (lambda: metrics.paired(scores[0], broken[0]), "second holds 1 values that are NaN"),
    ],
)
def test_bad_arguments_get_a_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_dense_matrix_is_refused():
    with pytest.raises(TypeError, match="test is a ndarray, expected a scipy sparse matrix"):
        metrics.accuracy(top_n, test.toarray(), [2])
