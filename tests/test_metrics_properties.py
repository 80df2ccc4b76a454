"""What must hold for any lists, and the beyond-accuracy metrics against brute force."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metrics_fixtures import cases
from scipy.sparse import csr_matrix

from helpers import metrics
from helpers.metrics import beyond

seeds = st.integers(0, 10_000)
CLOSE = {"rtol": 0, "atol": 1e-9}


def all_ks(top_n):
    return range(1, top_n.shape[1] + 1)


@given(cases())
def test_every_value_is_between_0_and_1_and_users_without_test_items_are_left_out(case):
    top_n, test = case
    found = metrics.accuracy(top_n, test, all_ks(top_n))
    assert found.to_numpy().min() >= 0
    assert found.to_numpy().max() <= 1 + 1e-12
    assert found.index.tolist() == np.flatnonzero(np.diff(test.indptr)).tolist()


@given(cases(), seeds)
def test_users_in_another_order_have_the_same_values(case, seed):
    top_n, test = case
    order = np.random.default_rng(seed).permutation(len(top_n))
    one = metrics.accuracy(top_n, test, all_ks(top_n))
    other = metrics.accuracy(top_n[order], test[order], all_ks(top_n))
    back = other.set_axis(order[other.index]).sort_index()
    pd.testing.assert_frame_equal(one, back, check_names=False, check_exact=True)


@given(cases())
def test_recall_hit_rate_map_and_mrr_never_fall_with_k(case):
    top_n, test = case
    found = metrics.accuracy(top_n, test, all_ks(top_n))
    for name in ("recall", "hit rate", "map", "mrr"):
        rows = np.column_stack([found[f"{name}@{k}"] for k in all_ks(top_n)])
        assert (np.diff(rows, axis=1) >= 0).all()


@given(cases())
def test_metrics_keep_their_order(case):
    top_n, test = case
    found = metrics.accuracy(top_n, test, all_ks(top_n))
    for k in all_ks(top_n):
        assert (found[f"precision@{k}"] <= found[f"capped recall@{k}"]).all()
        assert (found[f"recall@{k}"] <= found[f"capped recall@{k}"]).all()
        assert (found[f"capped map@{k}"] <= found[f"capped recall@{k}"] + 1e-12).all()
        assert (found[f"mrr@{k}"] <= found[f"hit rate@{k}"]).all()


@given(cases())
def test_a_list_with_the_relevant_items_first_is_perfect(case):
    _, test = case
    relevant = test.toarray() > 0
    perfect = np.argsort(~relevant, axis=1, kind="stable")
    ks = range(1, test.shape[1] + 1)
    found = metrics.accuracy(perfect, test, ks)
    for k in ks:
        for name in ("ndcg", "capped map", "capped recall", "mrr", "hit rate"):
            assert (found[f"{name}@{k}"] == 1).all()
    assert (found[f"recall@{ks[-1]}"] == 1).all()


@given(cases())
def test_a_cut_off_sees_nothing_beyond_it_and_values_are_no_weights(case):
    top_n, test = case
    k = (top_n.shape[1] + 1) // 2
    found = metrics.accuracy(top_n, test, [k])
    cut = metrics.accuracy(top_n[:, :k], test.astype(bool), [k])
    pd.testing.assert_frame_equal(found, cut, check_exact=True)


@given(cases())
def test_swapping_a_hit_one_place_up_never_lowers_a_metric(case):
    top_n, test = case
    hit = metrics.hits(top_n, test)
    better = top_n.copy()
    for user in range(len(top_n)):
        for place in range(1, top_n.shape[1]):
            if hit[user, place] and not hit[user, place - 1]:
                better[user, [place - 1, place]] = top_n[user, [place, place - 1]]
                break
    ks = all_ks(top_n)
    before, after = (metrics.accuracy(lists, test, ks) for lists in (top_n, better))
    assert (after >= before - 1e-12).to_numpy().all()


@given(cases())
def test_hits_are_the_marked_cells(case):
    top_n, test = case
    marked = (test.toarray() > 0)[np.arange(len(top_n))[:, None], top_n]
    np.testing.assert_array_equal(metrics.hits(top_n, test), marked & (top_n >= 0))


@given(seeds)
def test_ranks_do_not_change_with_a_growing_function_of_the_scores(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(9, size=(6, 14)).astype(float)
    test = csr_matrix((rng.random(scores.shape) < 0.3) * 1.0)
    up, down = (metrics.percentile_ranks(each, test) for each in (scores, -scores))
    np.testing.assert_array_equal(up, metrics.percentile_ranks(np.exp(scores) - 5, test))
    np.testing.assert_allclose(up + down, 1, **CLOSE)


@given(seeds)
def test_constant_scores_are_worth_a_half(seed):
    rng = np.random.default_rng(seed)
    test = csr_matrix((rng.random((6, 14)) < 0.5) * rng.integers(1, 5, size=(6, 14)))
    constant = np.full((6, 14), 0.3)
    assert metrics.roem(constant, test) == pytest.approx(0.5)


@pytest.mark.parametrize("sparse", [False, True])
@given(case=cases(), seed=seeds)
def test_intra_list_diversity_is_that_of_all_pairs(case, seed, sparse):
    top_n, test = case
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(test.shape[1], 4)) * (rng.random((test.shape[1], 1)) < 0.8)
    expected = []
    for items in top_n:
        known = [v / np.linalg.norm(v) for v in features[items[items >= 0]] if v.any()]
        pairs = [1 - one @ other for one, other in combinations(known, 2)]
        expected.append(np.mean(pairs) if pairs else np.nan)
    given_features = csr_matrix(features) if sparse else features
    found = beyond.intra_list_diversity(top_n, given_features)
    np.testing.assert_allclose(found, expected, **CLOSE)


@given(cases(), seeds)
def test_mean_overlap_is_that_of_sets(case, seed):
    top_n, _ = case
    other = np.random.default_rng(seed).permuted(top_n, axis=0)
    sets = [(set(a[a >= 0].tolist()), set(b.tolist())) for a, b in zip(top_n, other, strict=True)]
    shares = [len(one & two) / len(one) for one, two in sets if one]
    if shares:
        # Columns were shuffled, so a list of `other` may hold an item twice: sets do not mind.
        assert metrics.mean_overlap(top_n, other) == pytest.approx(np.mean(shares), abs=1e-12)


@given(seeds)
def test_a_model_does_not_differ_from_itself_and_signs_turn_with_the_order(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.random(30), rng.random(30)
    same = metrics.paired(first, first)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    one, other = metrics.paired(first, second), metrics.paired(second, first)
    assert one.difference == -other.difference
    assert one.p_value == other.p_value
    assert {one.verdict, other.verdict} in ({"tied"}, {"ahead", "behind"})
    assert one.low <= one.difference <= one.high
    assert one == metrics.paired(first, second)
