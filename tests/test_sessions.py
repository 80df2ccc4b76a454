"""Sessions from gaps."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.sessions import sessions


def log(users: list[str], seconds: list[float]) -> pd.DataFrame:
    times = pd.to_datetime(seconds, unit="s", utc=True)
    return pd.DataFrame({"user_id": users, "timestamp": times})


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20_000)), min_size=1, max_size=30))
def test_sessions_are_those_of_a_loop(rows: list[tuple[str, int]]) -> None:
    frame = log([user for user, _ in rows], [second for _, second in rows])
    frame.index = pd.Index(np.arange(len(frame)) // 2)  # labels need not be unique
    expected, last, number = {}, {}, dict.fromkeys("ab", 0)
    for user, second in sorted(set(rows)):
        if user not in last or second - last[user] > 1_800:
            number[user] += 1
        last[user] = second
        expected[user, second] = f"{user}/{number[user]}"
    found = sessions(frame)
    assert found.tolist() == [expected[row] for row in rows]
    assert found.index.equals(frame.index)


def test_given_ids_stay() -> None:
    frame = log(["a", "a", "a"], [0, 10, 20]).assign(session_id=["x", None, ""])
    assert sessions(frame).tolist() == ["x", "a/1", "a/1"]


@pytest.mark.parametrize("gap", ["soon", "0s", "-1min"])
def test_a_gap_is_a_duration(gap: str) -> None:
    with pytest.raises(ValueError, match=f"gap is '{gap}', expected a duration"):
        sessions(log(["a"], [0]), gap)


def test_rows_without_a_user_belong_to_no_session() -> None:
    with pytest.raises(ValueError, match="1 rows without user or time; clean the log first"):
        sessions(log(["a", None], [0, 1]))  # type: ignore[list-item]
