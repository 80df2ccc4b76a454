"""Our measures against those of other libraries, on identical lists and scores.

Where two libraries give one name to two things, the denominator that differs is named.
"""

import numpy as np
import pytest
from implicit.evaluation import ranking_metrics_at_k
from irspack.evaluation._core_evaluator import EvaluatorCore
from metrics_fixtures import (
    FixedLists,
    filled,
    per_user,
    random_case,
    ranx_qrels,
    ranx_run,
    scores_of,
)
from ranx import evaluate
from scipy.sparse import csr_matrix, hstack
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from helpers import metrics

EXACT = {"rtol": 0, "atol": 1e-9}
SEEDS = range(8)
KS = [1, 3, 8]


def evaluated(top_n, held_out):
    """Only the users with something held out, whom every library averages over."""
    users = np.flatnonzero(np.diff(held_out.indptr))
    return top_n[users], held_out[users]


def implicits(top_n, held_out, k):
    """With one more item: its AUC divides by zero for a user with the whole catalogue held out."""
    truth = csr_matrix(hstack([held_out, csr_matrix((len(top_n), 1))]))
    return ranking_metrics_at_k(
        FixedLists(top_n),
        csr_matrix(truth.shape),
        truth,
        K=k,
        show_progress=False,
        num_threads=1,
    )


def irspacks(top_n, held_out, k, *, recall_with_cutoff=False):
    """Its evaluator takes scores: the lists become scores, empty places items never relevant."""
    n_users, n_items = held_out.shape
    beyond = csr_matrix((n_users, top_n.shape[1]))
    truth = csr_matrix(hstack([held_out, beyond]), dtype=np.float64)
    scores = scores_of(filled(top_n, n_items), truth.shape[1])
    found = EvaluatorCore(truth, []).get_metrics_f64(scores, k, 0, 1, recall_with_cutoff)
    return found.as_dict()


@pytest.mark.parametrize("seed", SEEDS)
def test_ranx_agrees_user_by_user(seed):
    top_n, held_out = evaluated(*random_case(seed))
    names = ["precision", "recall", "hit_rate", "map", "ndcg", "mrr"]
    theirs = evaluate(
        ranx_qrels(held_out),
        ranx_run(filled(top_n, held_out.shape[1])),
        [f"{name}@{k}" for name in names for k in KS],
        return_mean=False,
    )
    ours = metrics.ranking(top_n, held_out, KS)
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name.replace("_", " ")], values, **EXACT)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", KS)
def test_irspack_agrees_with_both_recalls(seed, k):
    top_n, held_out = random_case(seed)
    theirs = irspacks(top_n, held_out, k)
    ours = metrics.ranking(top_n, held_out, [k]).means()
    for our_name, name in {"hit rate": "hit"}.items() | {
        (name, name) for name in ("precision", "recall", "ndcg", "map")
    }:
        assert ours[f"{our_name}@{k}"] == pytest.approx(theirs[name], abs=1e-9)
    capped = irspacks(top_n, held_out, k, recall_with_cutoff=True)["recall"]
    assert ours[f"capped recall@{k}"] == pytest.approx(capped, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", KS)
def test_implicit_agrees_on_ndcg_and_on_map_with_its_capped_denominator(seed, k):
    top_n, held_out = random_case(seed)
    theirs = implicits(top_n, held_out, k)
    ours = metrics.ranking(top_n, held_out, [k])
    assert ours.means()[f"ndcg@{k}"] == pytest.approx(theirs["ndcg"], abs=1e-9)
    assert ours.means()[f"capped map@{k}"] == pytest.approx(theirs["map"], abs=1e-9)

    # Plain MAP divides by n_relevant where implicit divides by min(k, n_relevant).
    n_relevant = np.diff(held_out.indptr)[per_user(ours).index]
    converted = ours[f"map@{k}"] * n_relevant / np.minimum(k, n_relevant)
    assert converted.mean() == pytest.approx(theirs["map"], abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", KS)
def test_implicits_precision_has_the_denominator_of_capped_recall_pooled_over_users(seed, k):
    top_n, held_out = random_case(seed)
    theirs = implicits(top_n, held_out, k)["precision"]
    ours = metrics.ranking(top_n, held_out, [k])
    capped = np.minimum(k, np.diff(held_out.indptr)[per_user(ours).index])

    # Ours is the mean over users of hits / k; theirs sum(hits) / sum(min(k, n_relevant)).
    assert (ours[f"precision@{k}"] * k).sum() / capped.sum() == pytest.approx(theirs, abs=1e-9)
    # So it is a mean of capped recall in which a user with more relevant items weighs more.
    weighted = np.average(ours[f"capped recall@{k}"], weights=capped)
    assert weighted == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_row_of_the_rosetta_table_is_what_the_named_libraries_report(seed):
    top_n, held_out = random_case(seed)
    k = 3
    some_top_n, some_held_out = evaluated(top_n, held_out)
    ranxs = evaluate(
        ranx_qrels(some_held_out),
        ranx_run(filled(some_top_n, held_out.shape[1])),
        [f"{name}@{k}" for name in ("precision", "recall", "map", "ndcg", "hit_rate", "mrr")],
    )
    irspack, implicit = irspacks(top_n, held_out, k), implicits(top_n, held_out, k)
    capped = irspacks(top_n, held_out, k, recall_with_cutoff=True)
    theirs = {
        ("precision", "k"): {"irspack": irspack["precision"], "ranx": ranxs["precision@3"]},
        ("precision", "sum of min(k, r) over users"): {"implicit": implicit["precision"]},
        ("recall", "r"): {"irspack": irspack["recall"], "ranx": ranxs["recall@3"]},
        ("recall", "min(k, r)"): {"irspack (recall_with_cutoff)": capped["recall"]},
        ("MAP", "r"): {"irspack": irspack["map"], "ranx": ranxs["map@3"]},
        ("MAP", "min(k, r)"): {"implicit": implicit["map"]},
        ("NDCG", "ideal list of min(k, r)"): {
            "implicit": implicit["ndcg"], "irspack": irspack["ndcg"], "ranx": ranxs["ndcg@3"]
        },
        ("hit rate", "1"): {"irspack": irspack["hit"], "ranx": ranxs["hit_rate@3"]},
        ("MRR", "place of the first hit"): {"ranx": ranxs["mrr@3"]},
    }  # fmt: skip
    table = metrics.rosetta(top_n, held_out, k).reset_index()
    assert len(table) == len(theirs)
    for row in table.to_dict("records"):
        libraries = theirs[row["metric"], row["denominator"]]
        assert row["used by"] == ", ".join(libraries)
        for value in libraries.values():
            assert row["value"] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_irspack_agrees_on_gini_and_coverage(seed):
    top_n, held_out = evaluated(*random_case(seed))
    n_items = held_out.shape[1]
    full = filled(top_n, n_items)
    theirs = irspacks(top_n, held_out, top_n.shape[1])
    n_columns = n_items + top_n.shape[1]
    assert metrics.gini(full, n_columns) == pytest.approx(theirs["gini_index"], abs=1e-9)
    coverage = metrics.catalogue_coverage(full, n_columns)
    assert coverage == pytest.approx(theirs["appeared_item"] / n_columns, abs=1e-9)


def scored(seed, n_users=15, n_items=30):
    """Scores with ties, held-out and seen items that share no cell."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(12, size=(n_users, n_items)) / 4
    part = rng.random((n_users, n_items))
    held_out = csr_matrix((part < 0.15) * rng.integers(1, 6, size=part.shape))
    return scores, held_out, csr_matrix((part > 0.7) * 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", SEEDS)
def test_auc_is_that_of_scikit_learn_on_the_unseen_items(seed, dtype):
    scores, held_out, seen = scored(seed)
    ours = metrics.auc(scores.astype(dtype), held_out, seen)
    relevant, unseen = held_out.toarray() > 0, seen.toarray() == 0
    for user, value in enumerate(ours):
        keep = unseen[user]
        if relevant[user].any():
            theirs = roc_auc_score(relevant[user, keep], scores[user, keep])
            assert value == pytest.approx(theirs, abs=1e-9)
        else:
            assert np.isnan(value)


@pytest.mark.parametrize("with_seen", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_percentile_ranks_and_roem_are_those_of_scipys_average_ranks(seed, with_seen):
    scores, held_out, seen = scored(seed)
    seen = seen if with_seen else None
    theirs, weights = [], []
    for user in range(len(scores)):
        keep = np.ones(scores.shape[1], bool) if seen is None else seen[user].toarray()[0] == 0
        ranks = np.full(scores.shape[1], np.nan)
        ranks[keep] = (rankdata(-scores[user, keep]) - 1) / (keep.sum() - 1)
        theirs.extend(ranks[held_out[user].indices])
        weights.extend(held_out[user].data)
    np.testing.assert_allclose(metrics.percentile_ranks(scores, held_out, seen), theirs, **EXACT)
    expected = np.average(theirs, weights=weights)
    assert metrics.roem(scores, held_out, seen) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_roem_of_test_rows_is_percent_rank_of_sql(seed):
    scores, held_out, _ = scored(seed)
    ranks = []
    for user in range(len(scores)):
        predictions = scores[user, held_out[user].indices]
        ranks.extend((rankdata(-predictions, "min") - 1) / max(len(predictions) - 1, 1))
    expected = np.average(ranks, weights=held_out.data)
    assert metrics.roem_of_test_rows(scores, held_out) == pytest.approx(expected, abs=1e-9)
