import pandas as pd
import pytest
from logs_fixtures import frame

from helpers import integrity

log = frame(
    [("u", "a", 1, 1), ("u", "b", 5, 1), ("u", "a", 1, 1), ("v", "a", 0, 9), ("v", "b", 4, 8)]
)


def test_each_check_finds_what_it_is_for():
    found = integrity.report(log)["rows"].to_dict()
    assert found == {
        "missing entry in any column": 0,
        "exact duplicate of an earlier row": 1,
        "repeated pair (user, item)": 1,
        "value of zero (no interaction)": 1,
        "ties in time": 3,
    }
    holes = log.assign(value=[None, 1, 1, 1, 1])
    assert integrity.report(holes).loc["missing entry in any column", "share"] == 0.2


def test_ranges_are_least_median_most():
    table = integrity.ranges(log)
    assert table.loc["value"].tolist() == ["0", "1", "5"]
    assert table.loc["rows per user"].tolist() == ["2", "2.5", "3"]
    assert table.loc["day (UTC)"].tolist() == ["1970-01-01"] * 3


def test_concentration_by_hand():
    counts = pd.Series([1, 6, 2, 1])
    assert integrity.concentration(counts, [0.25, 0.5, 1]).tolist() == [0.6, 0.8, 1]
    # A share of less than one item means one item.
    assert integrity.concentration(counts, [0.01]).tolist() == [0.6]


def test_the_cost_of_a_threshold():
    table = integrity.cost_of_threshold(log, [0, 4, 9])
    assert table.loc[0, "rows kept"] == 1
    assert table.loc[4, ["rows", "users", "items"]].tolist() == [2, 2, 1]
    assert table.loc[4, "rows kept"] == pytest.approx(0.4)
    assert table.loc[9, "rows"] == 0
