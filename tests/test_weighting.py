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
    assert not np.shares_memory(weighted.indices, m.indices)
    assert not np.shares_memory(weighted.data, m.data)


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


def events(rows):
    """Events from (kind, day) pairs."""
    kinds, ages = zip(*rows, strict=True)
    times = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(ages, unit="D")
    return pd.DataFrame({"event": pd.Series(kinds, dtype="str"), "timestamp": times, "value": 9.0})


def test_an_event_is_worth_its_kind_whatever_the_quantity():
    log = events([("view", 0), ("cart", 1), ("remove_from_cart", 1), ("purchase", 2)])
    valued = weighting.event_values(log)
    assert valued["value"].tolist() == [1, 3, 5]
    assert valued.index.tolist() == [0, 1, 3]
    assert log["value"].tolist() == [9.0] * 4  # the input stays


def test_events_fade_by_half_in_each_half_life():
    log = events([("view", 0), ("purchase", 20), ("purchase", 40)])
    weights = {"view": 8, "purchase": 2}
    valued = weighting.event_values(log, weights, half_life_days=20)
    np.testing.assert_allclose(valued["value"], [8 / 4, 2 / 2, 2])
    np.testing.assert_allclose(weighting.event_values(log, weights)["value"], [8, 2, 2])
    shuffled = log.iloc[[2, 0, 1]]
    valued = weighting.event_values(shuffled, weights, half_life_days=20)
    assert valued.index.tolist() == [2, 0, 1]
    np.testing.assert_allclose(valued["value"], [2, 8 / 4, 2 / 2])


@pytest.mark.parametrize("half_life_days", [None, 20.0])
def test_an_event_without_a_time_is_an_error_with_and_without_fading(half_life_days):
    log = events([("view", 0), ("purchase", np.nan)])
    with pytest.raises(ValueError, match="events has 1 rows without a time"):
        weighting.event_values(log, half_life_days=half_life_days)


def test_a_log_without_times_has_values_that_do_not_fade():
    log = events([("view", 0), ("purchase", 20)]).drop(columns="timestamp")
    assert weighting.event_values(log)["value"].tolist() == [1, 5]
    with pytest.raises(ValueError, match=r"lacks the columns \['timestamp'\]"):
        weighting.event_values(log, half_life_days=3)


def test_fading_events_is_fading_cells_where_each_pair_stands_once():
    log = events([("purchase", 0), ("purchase", 3), ("purchase", 10)])
    log = log.assign(user_id=["a", "a", "b"], item_id=["x", "y", "x"], value=1.0)
    cells = Interactions.from_frame(log)
    faded = Interactions.from_frame(
        weighting.event_values(log, {"purchase": 1}, half_life_days=4)
    ).user_items
    expected = weighting.recency(cells.user_items, cells.timestamps, 4)
    np.testing.assert_allclose(faded.toarray(), expected.toarray())


def test_an_old_event_never_becomes_worthless():
    log = events([("purchase", 0), ("purchase", 30_000)])
    assert (weighting.event_values(log, {"purchase": 1}, half_life_days=1)["value"] > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda log: weighting.event_values(log[["timestamp"]]), r"lacks the columns \['event'\]"),
        (lambda log: weighting.event_values(log, {"view": 1}), r"also holds the events \['cart'\]"),
        (lambda log: weighting.event_values(log, {"view": 1, "cart": -1}), r"\['cart'\] is -1"),
        (
            lambda log: weighting.event_values(log, {"view": 1, "cart": np.nan}),
            r"\['cart'\] is nan",
        ),
        (lambda log: weighting.event_values(log, half_life_days=0), "half_life_days is 0"),
    ],
)
def test_event_values_refuses_what_it_cannot_read(call, message):
    with pytest.raises(ValueError, match=message):
        call(events([("view", 0), ("cart", 5)]))
