import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.evaluation import ranking_metrics_at_k
from implicit.recommender_base import RecommenderBase
from scipy.sparse import csr_matrix

from helpers import metrics

held_out = csr_matrix([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
top_n = np.array([[0, 1, 2], [2, 3, 0], [0, 1, -1]])


def test_hits_and_hit_rate_by_hand():
    hits = metrics.hits(top_n, held_out)
    np.testing.assert_array_equal(hits, [[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(metrics.hit_rate_at_k(hits, 1), [1, 0, 0])
    np.testing.assert_array_equal(metrics.hit_rate_at_k(hits, 3), [1, 1, 0])


def test_the_padding_never_hits():
    # -1 in row 1 must not be taken for the last item of row 0.
    assert not metrics.hits(np.array([[0], [-1]]), csr_matrix([[0, 1], [0, 1]])).any()


@given(st.integers(0, 1000))
def test_with_one_item_held_out_the_hit_rate_is_implicits_precision(seed):
    """implicit's precision divides hits by min(K, held out), which is 1 here."""
    rng = np.random.default_rng(seed)
    lists = np.array([rng.permutation(12)[:5] for _ in range(9)])
    truth = csr_matrix((np.ones(9), rng.integers(12, size=9), np.arange(10)), shape=(9, 12))

    class Fixed(RecommenderBase):
        def recommend(self, userid, user_items, N, **options):
            return lists[userid][:, :N].astype(np.int32), np.zeros((len(userid), N))

        def fit(self, user_items): ...
        def save(self, file): ...
        def similar_items(self, *arguments, **options): ...
        def similar_users(self, *arguments, **options): ...

    theirs = ranking_metrics_at_k(
        Fixed(), csr_matrix((9, 12)), truth, K=5, show_progress=False, num_threads=1
    )["precision"]
    ours = metrics.hit_rate_at_k(metrics.hits(lists, truth), 5).mean()
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_coverage_and_overlap_by_hand():
    assert metrics.catalogue_coverage(top_n, n_items=8) == 0.5
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


def test_the_summary_holds_the_parts():
    found = metrics.summary(top_n, held_out, 2)
    assert found["hit rate"] == pytest.approx(2 / 3)
    assert found["coverage"] == 1  # items 0, 1, 2, 3 in the first two places
    assert found["low"] <= found["hit rate"] <= found["high"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.hits(top_n[:2], held_out), "top_n has 2 users but held_out has 3"),
        (lambda: metrics.hit_rate_at_k(np.zeros((2, 3), bool), 4), "k is 4, expected 1 to 3"),
        (lambda: metrics.hit_rate_at_k(np.zeros((2, 3), bool), 0), "k is 0"),
        (lambda: metrics.mean_overlap(top_n, top_n[:, :2]), "expected equal"),
        (lambda: metrics.bootstrap_interval(np.array([])), "values is empty"),
        (lambda: metrics.summary(top_n[:1], csr_matrix((1, 4)), 2), "1 of 1 users have nothing"),
    ],
)
def test_bad_arguments_get_a_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
