import numpy as np
import pytest
from hypothesis import given
from logs_fixtures import logs
from scipy.sparse import csr_matrix

from helpers import weighting
from helpers.interactions import Interactions

matrix = csr_matrix([[1.0, 0, 4], [2, 3, 0], [0, 5, 0]])
days = np.array(["2026-01-01", "2026-01-03", "2026-01-05", "2026-01-05", "2026-01-01"], "M8[s]")
ALL = {
    "binary": weighting.binary,
    "linear": weighting.linear,
    "log": weighting.log,
    "bm25": weighting.bm25,
    "tfidf": weighting.tfidf,
    "recency": lambda m: weighting.recency(m, np.repeat(days[:1], m.nnz), 30),
}


@pytest.mark.parametrize("name", ALL)
@given(log=logs())
def test_the_cells_stay_and_every_weight_is_positive(name, log):
    m = Interactions.from_frame(log).user_items
    before = m.copy()
    try:
        weighted = ALL[name](m)
    except ValueError as error:
        if "known to all or all but one" not in str(error):
            raise
        return
    np.testing.assert_array_equal(weighted.indices, m.indices)
    np.testing.assert_array_equal(weighted.indptr, m.indptr)
    assert (weighted.data > 0).all()
    assert weighted.dtype == np.float64
    assert (m != before).nnz == 0


def test_values_by_hand():
    np.testing.assert_allclose(weighting.binary(matrix).data, 1)
    np.testing.assert_allclose(weighting.linear(matrix, alpha=2).data, [3, 9, 5, 7, 11])
    np.testing.assert_allclose(
        weighting.log(matrix, alpha=3, eps=0.5).data, 1 + 3 * np.log([3, 9, 5, 7, 11])
    )
    halves = weighting.recency(matrix, days, half_life_days=2).data
    np.testing.assert_allclose(halves, [1 / 4, 4 / 2, 2, 3, 5 / 4])


def test_tfidf_is_that_of_implicit_with_a_floor():
    wide = csr_matrix(np.vstack([np.eye(6), np.ones((1, 6))]))  # 7 users, 2 of each item
    np.testing.assert_allclose(weighting.tfidf(wide).data, np.log(7) - np.log(3))
    # An item that every user has would get a negative idf, which ALS reads as a dislike.
    common = csr_matrix(np.hstack([np.ones((7, 1)), wide.toarray()]))
    weights = weighting.tfidf(common).toarray()
    assert (weights[:, 0] > 0).all()
    assert weights[:, 0].max() < weights[6, 1] / 50


def test_an_old_interaction_never_becomes_a_stored_zero():
    ages = np.array(["1970-01-01", "2026-01-01"], "M8[s]")
    faded = weighting.recency(csr_matrix([[5.0, 5.0]]), ages, half_life_days=1)
    assert faded.data.astype(np.float32).min() > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: weighting.linear(matrix, alpha=-1), "alpha is -1"),
        (lambda: weighting.log(matrix, alpha=np.nan), "alpha is nan"),
        (lambda: weighting.log(matrix, eps=0), "eps is 0"),
        (lambda: weighting.bm25(matrix, k1=0), "k1 is 0"),
        (lambda: weighting.bm25(matrix, b=2), "b is 2"),
        (lambda: weighting.recency(matrix, days, half_life_days=0), "half_life_days is 0"),
        (lambda: weighting.recency(matrix, days[:2], 3), "has 2 entries, but user_items stores 5"),
        (lambda: weighting.tfidf(csr_matrix(np.ones((2, 2)))), "all but one of the 2 users"),
    ],
)
def test_bad_arguments_get_a_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
