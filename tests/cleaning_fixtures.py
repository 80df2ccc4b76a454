"""Dirty logs for the tests of cleaning: made by hand, drawn by hypothesis, damaged with a seed."""

import csv
import io
import random
from pathlib import Path

import pandas as pd
from hypothesis import strategies as st

from helpers.cleaning import RULES, Cleaned, Rules

OFF = Rules(without=tuple(RULES))
SHARED = Path(__file__).parents[2] / "shared" / "data"
DAY = "2024-01-02 10:00:"


def only(*names: str, **needs: object) -> Rules:
    """Rules of which only these apply."""
    return Rules(without=[rule for rule in RULES if rule not in names], **needs)  # type: ignore[arg-type]


def log(**columns: object) -> pd.DataFrame:
    """A log of purchases, one a second, with other columns on demand; a single value is repeated.

    >>> log(user=["a", "b"])["time"].tolist()
    ['2024-01-02 10:00:00', '2024-01-02 10:00:01']
    """
    n = max(len(each) for each in columns.values() if isinstance(each, list))
    usual = {"user": "u", "item": "i", "time": [f"{DAY}{second:02}" for second in range(n)]}
    return pd.DataFrame(usual | columns, index=range(n))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def csv_text(frame: pd.DataFrame, separator: str = ",") -> str:
    return frame.to_csv(index=False, sep=separator, lineterminator="\n")


def removed_rows(cleaned: Cleaned) -> dict[str, list[int]]:
    """The row numbers that each rule removed."""
    return {
        str(rule): sorted(rows)
        for rule, rows in cleaned.removed.groupby("rule")["row"].agg(list).items()
    }


def refused(cleaned: Cleaned) -> list[tuple[int, str]]:
    """Row number and reason of each entry in the quarantine."""
    return list(zip(cleaned.quarantine["row"], cleaned.quarantine["reason"], strict=True))


def accounted(cleaned: Cleaned) -> None:
    """Each row that was read is kept, quarantined, or removed under one rule: by the report, and
    by the rows themselves."""
    report = cleaned.report
    removed = report.waterfall["removed"].drop("quarantine")
    assert report.n_rows == report.n_kept + report.n_quarantined + removed.sum()
    assert len(cleaned.frame) == report.n_kept == report.waterfall["kept"].iloc[-1]
    assert len(cleaned.quarantine) == report.n_quarantined == report.quarantine.sum()
    counts = cleaned.removed["rule"].value_counts()
    assert counts.to_dict() == removed[removed > 0].to_dict()
    places = pd.concat([cleaned.quarantine, cleaned.removed])[["file", "row"]]
    assert not places.duplicated().any()


def bot() -> pd.DataFrame:
    """A view each 30 seconds, through 400 items in order."""
    times = pd.date_range("2024-01-02", periods=400, freq="30s").astype("str")
    return pd.DataFrame(
        {"user": "robot", "item": [f"i{n:03}" for n in range(400)], "time": times, "event": "view"}
    )


def employee() -> pd.DataFrame:
    """On twelve working days ten views in office hours, a test cart each day, two free orders."""
    rng = random.Random(1)
    days = pd.bdate_range("2024-01-01", periods=12)
    rows = []
    for number, day in enumerate(days):
        minutes = sorted(rng.sample(range(9 * 60, 17 * 60), 10))
        moments = [(day + pd.Timedelta(minutes=minute)).isoformat(" ") for minute in minutes]
        rows += [(f"i{rng.randrange(10**6)}", moment, "view", "") for moment in moments]
        rows.append((f"i{number}", moments[-1], "cart", ""))
        if number in (3, 7):
            rows.append((f"i{number}", moments[-1], "purchase", "0"))
    frame = pd.DataFrame(rows, columns=["item", "time", "event", "price"])
    return frame.assign(user="colleague")


def customers() -> pd.DataFrame:
    """Five people who look at three things each and buy one."""
    rows = [
        (
            f"person {person}",
            f"i{thing}",
            f"2024-01-0{person + 1} {9 + 2 * thing}:{person}7:00",
            event,
        )
        for person in range(5)
        for thing, event in enumerate(("view", "view", "view", "purchase"))
    ]
    return pd.DataFrame(rows, columns=["user", "item", "time", "event"]).assign(price="2")


COLUMNS = ("user", "item", "time", "event", "qty", "price", "order", "title")


@st.composite
def dirty_logs(draw: st.DrawFn, max_size: int = 30) -> list[list[str]]:
    """Rows of text with every kind of dirt, and one that no rule removes."""
    cells = (
        st.sampled_from(["u1", "u1", "u2", " u1 ", "ü", "17850.0", "17850", "", "NULL", "a\0b"]),
        st.sampled_from(["a", "a", "b", "POST", "10\t", "n/a"]),
        st.sampled_from(
            [*(f"{DAY}{second:02}" for second in (0, 0, 1, 2, 9)), "2024-01-02T11:00:01+01:00",
             "1704189601", "1704189609000", "1980-01-01", "soon", ""]
        ),
        st.sampled_from(["view", "Add to cart", "purchase", "Purchase", "refund", "zap"]),
        st.sampled_from(["1", "1", "2", "2.0", " 3 ", "-1", "-2", "0", "1,000", "many", ""]),
        st.sampled_from(["1", "1.50", "0", "-1", "£2", "", "free"]),
        st.sampled_from(["1", "1", "2", "C1", ""]),
        st.sampled_from(["plain", 'a "quoted", thing', "two\nlines", ""]),
    )  # fmt: skip
    rows = draw(st.lists(st.tuples(*cells).map(list), min_size=1, max_size=max_size))
    sound = ["sound", "z", f"{DAY}30", "purchase", "1", "1", "9", "kept"]
    rows.insert(draw(st.integers(0, len(rows))), sound)
    return rows


def rows_as_csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue()


SOUND_LINES = [
    f'u{n % 7},i{n % 11},2024-01-0{1 + n % 9} 10:{n % 60:02}:00,view,"nice, ""big"" thing {n}"'
    for n in range(30)
]


def damaged(seed: int) -> bytes:
    """A CSV of :data:`SOUND_LINES`, each after the seed, some damaged in one of thirteen ways."""
    rng = random.Random(seed)
    lines = [b"user,item,time,event,title", *(f"{seed}{line}".encode() for line in SOUND_LINES)]
    for _ in range(rng.randint(1, 6)):
        number = rng.randrange(1, len(lines))
        line = lines[number]
        at = rng.randrange(len(line) + 1)
        letter = "é".encode(rng.choice(["utf-8", "latin-1"]))
        lines[number] = rng.choice(
            [
                line[:at],
                line[:at] + b'"' + line[at:],
                line[:at] + b'"' + line[at:] + b'"',
                line[:at] + b"\0" + line[at:],
                line + b"," + b"x" * rng.choice([10, 10, 10, 3_000_000]),
                line[:at] + letter + line[at:],
                bytes(rng.randrange(256) for _ in range(30)),
                line[:at] + b"\n" + line[at:],
                b"",
                line + b"\r",
                line[:at] + b"\r" + line[at:],
                b'"' * rng.randrange(1, 6),
                line.replace(b'"', b""),
            ]
        )
    end = rng.choice([b"\n", b"\n", b"\r\n"])
    return end.join(lines) + end * rng.randrange(3)
