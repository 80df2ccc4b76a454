import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from logs_fixtures import logs
from scipy.sparse import csr_matrix

from helpers import weighting
from helpers.interactions import Interactions

matrix = csr_matrix([[1.0, 0, 4], [2, 3, 0], [0, 5, 0]])
days = np.array(["2026-01-01", "2026-01-03", "2026-01-05", "2026-01-05", "2026-01-01"], "M8[s]")
ALL = {
    **weighting.WEIGHTINGS,
    "recency": lambda m: weighting.recency(m, np.repeat(days[:1], m.nnz), 30),
}


@given(log=logs())
def test_the_cells_stay_and_every_weight_is_positive(log):
    m = Interactions.from_frame(log).user_items
    before = m.copy()
    for name, weigh in ALL.items():
        try:
            weighted = weigh(m)
        except ValueError as error:
            if "known to all or all but one" not in str(error):
                raise
            continue
        np.testing.assert_array_equal(weighted.indices, m.indices, name)
        np.testing.assert_array_equal(weighted.indptr, m.indptr, name)
        assert (weighted.data > 0).all(), name
        assert weighted.dtype == np.float64, name
        assert (m != before).nnz == 0, name
        assert not np.shares_memory(weighted.indices, m.indices), name
        assert not np.shares_memory(weighted.data, m.data), name


def test_values_by_hand():
    np.testing.assert_allclose(weighting.binary(matrix).data, 1)
    np.testing.assert_allclose(weighting.raw(matrix).data, [1, 4, 2, 3, 5])
    np.testing.assert_allclose(weighting.one_plus_alpha_r(matrix, alpha=2).data, [3, 9, 5, 7, 11])
    np.testing.assert_allclose(
        weighting.log(matrix, alpha=3, eps=0.5).data, 1 + 3 * np.log([3, 9, 5, 7, 11])
    )
    halves = weighting.recency(matrix, days, half_life_days=2).data
    np.testing.assert_allclose(halves, [1 / 4, 4 / 2, 2, 3, 5 / 4])


def test_bm25_by_hand():
    # 7 users; user 0 holds 2 of them, the others 1: average length 8 / 7.
    wide = np.zeros((7, 4))
    wide[range(7), [0, 0, 1, 1, 2, 2, 3]] = [1, 2, 1, 1, 1, 1, 1]
    wide[0, 3] = 1
    weights = weighting.bm25(csr_matrix(wide), k1=3, b=0.5).toarray()
    idf = np.log(7) - np.log(3)
    lengths = np.array([2, 2, 1, 1, 1, 1, 1])
    norm = 0.5 + 0.5 * lengths / lengths.mean()
    assert weights[0, 0] == pytest.approx(1 * 4 / (3 * norm[0] + 1) * idf)
    assert weights[1, 0] == pytest.approx(2 * 4 / (3 * norm[1] + 2) * idf)
    assert weights[6, 3] == pytest.approx(1 * 4 / (3 * norm[6] + 1) * idf)


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


BAD_NUMBERS = [
    (lambda x: weighting.one_plus_alpha_r(matrix, alpha=x), "alpha", -1),
    (lambda x: weighting.log(matrix, alpha=x), "alpha", -1),
    (lambda x: weighting.log(matrix, eps=x), "eps", 0),
    (lambda x: weighting.bm25(matrix, k1=x), "k1", 0),
    (lambda x: weighting.bm25(matrix, b=x), "b", 2),
    (lambda x: weighting.bm25(matrix, b=x), "b", -0.1),
    (lambda x: weighting.recency(matrix, days, half_life_days=x), "half_life_days", 0),
]


@pytest.mark.parametrize(("call", "name", "wrong"), BAD_NUMBERS)
def test_numbers_out_of_range_get_a_clear_error(call, name, wrong):
    for value in (wrong, np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match=f"{name} is {value}, expected a finite number"):
            call(value)


def test_matrices_that_cannot_be_weighted_get_a_clear_error():
    with pytest.raises(ValueError, match="has 2 entries, but user_items stores 5"):
        weighting.recency(matrix, days[:2], 3)
    for function in (weighting.tfidf, weighting.bm25):
        with pytest.raises(ValueError, match="all but one of the 2 users"):
            function(csr_matrix(np.ones((2, 2))))


WEIGHTS = {"view": 1, "cart": 3, "remove_from_cart": 0, "purchase": 5}


def events(*kinds):
    return pd.DataFrame({"event": pd.Series(kinds, dtype="str"), "value": 9.0})


def test_an_event_is_worth_its_kind_whatever_the_quantity():
    log = events("view", "cart", "remove_from_cart", "purchase")
    valued = weighting.event_values(log, WEIGHTS)
    assert valued["value"].tolist() == [1, 3, 5]
    assert valued.index.tolist() == [0, 1, 3]
    assert log["value"].tolist() == [9.0] * 4  # the input stays


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda log: weighting.event_values(log[["value"]], WEIGHTS), "lacks the column 'event'"),
        (lambda log: weighting.event_values(log, {"view": 1}), r"also holds the events \['cart'\]"),
        (lambda log: weighting.event_values(log, {"view": 1, "cart": -1}), r"\['cart'\] is -1"),
        (
            lambda log: weighting.event_values(log, {"view": 1, "cart": np.nan}),
            r"\['cart'\] is nan",
        ),
    ],
)
def test_event_values_refuses_what_it_cannot_read(call, message):
    with pytest.raises(ValueError, match=message):
        call(events("view", "cart"))
