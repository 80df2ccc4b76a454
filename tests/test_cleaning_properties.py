"""What holds for every log: all rows are accounted for, and only the content of the log counts."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pandas as pd
from cleaning_fixtures import COLUMNS, accounted, dirty_logs, rows_as_csv, write
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cleaning import Cleaned, clean

FEW = settings(max_examples=3)


def cleaned_csv(rows: list[list[str]], folder: Path, **options: object) -> Cleaned:
    path = write(folder / "log.csv", rows_as_csv(rows))
    return clean(path, **options)  # type: ignore[arg-type]


def same(one: Cleaned, other: Cleaned) -> None:
    """Equal in all but the places of rows."""
    pd.testing.assert_frame_equal(one.frame, other.frame)
    pd.testing.assert_frame_equal(one.report.waterfall, other.report.waterfall)
    pd.testing.assert_frame_equal(one.report.sizes, other.report.sizes)
    assert one.report.quarantine.to_dict() == other.report.quarantine.to_dict()
    assert sorted(one.quarantine["text"]) == sorted(other.quarantine["text"])


@FEW
@given(dirty_logs())
def test_each_row_is_kept_quarantined_or_removed_under_one_rule(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cleaned = cleaned_csv(rows, Path(folder))
        accounted(cleaned)
        assert cleaned.report.n_rows == len(rows)
        assert "sound" in set(cleaned.frame["user_id"])
        purchases = cleaned.frame[cleaned.frame["event"] == "purchase"]
        assert (purchases["value"] > 0).all()
        assert cleaned.frame["timestamp"].is_monotonic_increasing


@FEW
@given(dirty_logs())
def test_cleaning_twice_changes_nothing(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = cleaned_csv(rows, Path(folder), to=Path(folder) / "results")
        expected = first.frame
        for source in (first.frame, first.folder / "clean.parquet"):
            second = clean(source)
            pd.testing.assert_frame_equal(second.frame, expected)
            assert second.report.n_rows == second.report.n_kept == len(expected)


@FEW
@given(dirty_logs(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(rows: list[list[str]], rng: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = cleaned_csv(rows, Path(folder))
        shuffled = rng.sample(rows, len(rows))  # type: ignore[attr-defined]
        same(cleaned_csv(shuffled, Path(folder)), one)


def connect(threads: int, config: dict[str, object], make: Any = duckdb.connect) -> Any:
    """The engine with so many threads."""
    return make(config=config | {"threads": threads})


@FEW
@given(dirty_logs(), st.sampled_from([1, 2, 4]))
def test_threads_change_nothing(rows: list[list[str]], threads: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = cleaned_csv(rows, Path(folder))
        with patch.object(duckdb, "connect", partial(connect, threads)):
            other = cleaned_csv(rows, Path(folder))
        same(one, other)
        pd.testing.assert_frame_equal(one.removed, other.removed)
        pd.testing.assert_frame_equal(one.quarantine, other.quarantine)
        assert one.report.to_json() == other.report.to_json()


@FEW
@given(dirty_logs(), st.sets(st.integers(1, 30), max_size=3), st.sampled_from(["csv", "parquet"]))
def test_cutting_the_log_into_files_changes_nothing(
    rows: list[list[str]], cuts: set[int], kind: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = cleaned_csv(rows, Path(folder))
        inner = sorted(cut for cut in cuts if cut < len(rows))
        for number, (start, end) in enumerate(zip([0, *inner], [*inner, len(rows)], strict=True)):
            path = Path(folder) / "parts" / f"{number}.{kind}"
            write(path, rows_as_csv(rows[start:end]))
            if kind == "parquet":
                pd.DataFrame(rows[start:end], columns=list(COLUMNS)).to_parquet(path)
        other = clean(Path(folder) / "parts")
        same(one, other)
        assert other.removed["rule"].tolist() == one.removed["rule"].tolist()


def test_a_log_of_many_blocks_keeps_its_places(tmp_path: Path) -> None:
    """Several threads: rows stay in order, so the text is that of its row."""
    n = 300_000
    number = pd.Series(range(n)).astype("str")
    # A column of each kind: of an IN over constants, DuckDB makes a join, which loses the order.
    raw = pd.DataFrame(
        {"user": "u" + number, "item": "i" + number, "qty": "1", "note": "x" * 40, "price": "1.5",
         "event": "view", "time": pd.Timestamp("2024-01-02").isoformat(), "order": "7"}
    )  # fmt: skip
    raw.loc[::9973, "qty"] = "many"
    raw.loc[5::9973, "user"] = ""
    cleaned = clean(write(tmp_path / "log.csv", raw.to_csv(index=False)))
    accounted(cleaned)
    for table, first in ((cleaned.quarantine, 0), (cleaned.removed, 5)):
        assert table["row"].tolist() == [row + 1 for row in range(first, n, 9973)]
    assert [text.split(",")[0] for text in cleaned.quarantine["text"]] == [
        f"u{row}" for row in range(0, n, 9973)
    ]
    assert cleaned.removed["item_id"].tolist() == [f"i{row}" for row in range(5, n, 9973)]
