"""Small logs for the tests, made by hand or drawn by hypothesis."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared(file: str) -> Path:
    """A real sample that lies beside the project, where it does."""
    if not (SHARED / file).is_file():
        pytest.skip(f"the sample {file} is not beside the project (../shared/data)")
    return SHARED / file


def published_retailrocket(folder: Path, every: int = 1) -> None:
    """The sample, or the users whose id is a multiple, in the form of the published file."""
    sample = pd.read_csv(shared("retailrocket-subset.csv.gz"))
    sample = sample[sample["user"] % every == 0]
    names = {"view": "view", "cart": "addtocart", "buy": "transaction"}
    published = pd.DataFrame(
        {
            "timestamp": sample["timestamp"] * 1000,
            "visitorid": sample["user"],
            "event": sample["event"].map(names),
            "itemid": sample["item"],
            "transactionid": np.where(sample["event"] == "buy", sample["timestamp"], ""),
        }
    )
    folder.mkdir()
    published.to_csv(folder / "events.csv", index=False)


def frame(rows: list[tuple[str, str, float, int]]) -> pd.DataFrame:
    """A tidy frame from (user, item, value, second) rows."""
    users, items, values, seconds = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pd.DataFrame(
        {
            "user_id": pd.Series(users, dtype="str"),
            "item_id": pd.Series(items, dtype="str"),
            "value": pd.Series(values, dtype="float64"),
            "timestamp": pd.to_datetime(pd.Series(seconds, dtype="int64"), unit="s", utc=True),
        }
    )


@st.composite
def logs(draw: st.DrawFn, *, unique: bool = True, max_size: int = 40) -> pd.DataFrame:
    """A log of few users, items and seconds, so that pairs and ties in time are common."""
    row = st.tuples(
        st.sampled_from(["u1", "u2", "u3", "u10", "ü"]),
        st.sampled_from(["a", "b", "c", "d", "e", "f"]),
        st.floats(0.5, 5.0, width=32),
        st.integers(0, 5),
    )
    pair = (lambda r: r[:2]) if unique else None
    return frame(draw(st.lists(row, min_size=1, max_size=max_size, unique_by=pair)))
