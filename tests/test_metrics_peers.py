"""Our metrics against those of other libraries, on identical lists and scores.

Where two libraries give one name to two things, the denominator that differs is named.
"""

import numpy as np
import pytest
from implicit.evaluation import ranking_metrics_at_k
from irspack.evaluation._core_evaluator import EvaluatorCore
from metrics_fixtures import FixedLists, filled, random_case, ranx_qrels, ranx_run, scores_of
from ranx import evaluate
from scipy.sparse import csr_matrix, hstack
from scipy.stats import rankdata

from helpers import metrics

EXACT = {"rtol": 0, "atol": 1e-9}
SEEDS = range(8)
KS = [1, 3, 8]


def evaluated(top_n, test):
    """Only the users with test items, whom every library averages over."""
    users = np.flatnonzero(np.diff(test.indptr))
    return top_n[users], test[users]


def implicits(top_n, test, k):
    """With one more item: its AUC divides by zero where all items are test items."""
    truth = csr_matrix(hstack([test, csr_matrix((len(top_n), 1))]))
    return ranking_metrics_at_k(
        FixedLists(top_n),
        csr_matrix(truth.shape),
        truth,
        K=k,
        show_progress=False,
        num_threads=1,
    )


def irspacks(top_n, test, k, *, recall_with_cutoff=False):
    """Its evaluator takes scores: the lists become scores, empty places items never relevant."""
    n_users, n_items = test.shape
    beyond = csr_matrix((n_users, top_n.shape[1]))
    truth = csr_matrix(hstack([test, beyond]), dtype=np.float64)
    scores = scores_of(filled(top_n, n_items), truth.shape[1])
    found = EvaluatorCore(truth, []).get_metrics_f64(scores, k, 0, 1, recall_with_cutoff)
    return found.as_dict()


@pytest.mark.parametrize("seed", SEEDS)
def test_ranx_agrees_user_by_user(seed):
    top_n, test = evaluated(*random_case(seed))
    names = ["precision", "recall", "hit_rate", "map", "ndcg", "mrr"]
    theirs = evaluate(
        ranx_qrels(test),
        ranx_run(filled(top_n, test.shape[1])),
        [f"{name}@{k}" for name in names for k in KS],
        return_mean=False,
    )
    ours = metrics.accuracy(top_n, test, KS)
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name.replace("_", " ")], values, **EXACT)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", KS)
def test_irspack_agrees_with_both_recalls(seed, k):
    top_n, test = random_case(seed)
    theirs = irspacks(top_n, test, k)
    ours = metrics.accuracy(top_n, test, [k]).mean()
    for our_name, name in {"hit rate": "hit"}.items() | {
        (name, name) for name in ("precision", "recall", "ndcg", "map")
    }:
        assert ours[f"{our_name}@{k}"] == pytest.approx(theirs[name], abs=1e-9)
    capped = irspacks(top_n, test, k, recall_with_cutoff=True)["recall"]
    assert ours[f"capped recall@{k}"] == pytest.approx(capped, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", KS)
def test_implicit_agrees_on_ndcg_and_on_map_with_its_capped_denominator(seed, k):
    top_n, test = random_case(seed)
    theirs = implicits(top_n, test, k)
    ours = metrics.accuracy(top_n, test, [k])
    assert ours.mean()[f"ndcg@{k}"] == pytest.approx(theirs["ndcg"], abs=1e-9)
    assert ours.mean()[f"capped map@{k}"] == pytest.approx(theirs["map"], abs=1e-9)

    # Plain MAP divides by n_relevant where implicit divides by min(k, n_relevant).
    n_relevant = np.diff(test.indptr)[ours.index]
    converted = ours[f"map@{k}"] * n_relevant / np.minimum(k, n_relevant)
    assert converted.mean() == pytest.approx(theirs["map"], abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", KS)
def test_implicits_precision_has_the_denominator_of_capped_recall_pooled_over_users(seed, k):
    top_n, test = random_case(seed)
    theirs = implicits(top_n, test, k)["precision"]
    ours = metrics.accuracy(top_n, test, [k])
    capped = np.minimum(k, np.diff(test.indptr)[ours.index])

    # Ours is the mean over users of hits / k; theirs sum(hits) / sum(min(k, n_relevant)).
    assert (ours[f"precision@{k}"] * k).sum() / capped.sum() == pytest.approx(theirs, abs=1e-9)
    # So it is a mean of capped recall in which a user with more relevant items weighs more.
    weighted = np.average(ours[f"capped recall@{k}"], weights=capped)
    assert weighted == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_row_of_the_table_of_definitions_is_what_the_named_libraries_report(seed):
    top_n, test = random_case(seed)
    k = 3
    some_top_n, some_test = evaluated(top_n, test)
    ranxs = evaluate(
        ranx_qrels(some_test),
        ranx_run(filled(some_top_n, test.shape[1])),
        [f"{name}@{k}" for name in ("precision", "recall", "map", "ndcg", "hit_rate", "mrr")],
    )
    irspack, implicit = irspacks(top_n, test, k), implicits(top_n, test, k)
    capped = irspacks(top_n, test, k, recall_with_cutoff=True)
    theirs = {
        ("precision", "k"): {"irspack": irspack["precision"], "ranx": ranxs["precision@3"]},
        ("precision", "sum of min(k, n_u) over users"): {"implicit": implicit["precision"]},
        ("recall", "n_u"): {"irspack": irspack["recall"], "ranx": ranxs["recall@3"]},
        ("recall", "min(k, n_u)"): {"irspack (recall_with_cutoff)": capped["recall"]},
        ("MAP", "n_u"): {"irspack": irspack["map"], "ranx": ranxs["map@3"]},
        ("MAP", "min(k, n_u)"): {"implicit": implicit["map"]},
        ("nDCG", "ideal list of min(k, n_u)"): {
            "implicit": implicit["ndcg"], "irspack": irspack["ndcg"], "ranx": ranxs["ndcg@3"]
        },
        ("hit rate", "1"): {"irspack": irspack["hit"], "ranx": ranxs["hit_rate@3"]},
        ("MRR", "place of the first hit"): {"ranx": ranxs["mrr@3"]},
    }  # fmt: skip
    table = metrics.definitions(top_n, test, k).reset_index()
    assert len(table) == len(theirs)
    for row in table.to_dict("records"):
        libraries = theirs[row["metric"], row["denominator"]]
        assert row["used by"] == ", ".join(libraries)
        for value in libraries.values():
            assert row["value"] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_irspack_agrees_on_coverage(seed):
    top_n, test = evaluated(*random_case(seed))
    full = filled(top_n, test.shape[1])
    theirs = irspacks(top_n, test, top_n.shape[1])
    n_columns = test.shape[1] + top_n.shape[1]
    coverage = metrics.coverage(full, n_columns)
    assert coverage == pytest.approx(theirs["appeared_item"] / n_columns, abs=1e-9)


def scored(seed, n_users=15, n_items=30):
    """Scores with ties, test and training items that share no cell."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(12, size=(n_users, n_items)) / 4
    part = rng.random((n_users, n_items))
    test = csr_matrix((part < 0.15) * rng.integers(1, 6, size=part.shape))
    return scores, test, csr_matrix((part > 0.7) * 1.0)


@pytest.mark.parametrize("with_train", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_percentile_ranks_and_roem_are_those_of_scipys_average_ranks(seed, with_train):
    scores, test, train = scored(seed)
    train = train if with_train else None
    theirs, weights = [], []
    for user in range(len(scores)):
        keep = np.ones(scores.shape[1], bool) if train is None else train[user].toarray()[0] == 0
        ranks = np.full(scores.shape[1], np.nan)
        ranks[keep] = (rankdata(-scores[user, keep]) - 1) / (keep.sum() - 1)
        theirs.extend(ranks[test[user].indices])
        weights.extend(test[user].data)
    np.testing.assert_allclose(metrics.percentile_ranks(scores, test, train), theirs, **EXACT)
    expected = np.average(theirs, weights=weights)
    assert metrics.roem(scores, test, train) == pytest.approx(expected, abs=1e-9)
