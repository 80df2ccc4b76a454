"""Logs of real stores that the user downloads, since their hosts ask for an account."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.cleaning import Rules, reading
from helpers.datasets import cleaned
from helpers.datasets.shapes import Dataset, Known, RawLog
from helpers.io import DatasetError


@dataclass(frozen=True)
class ByHand:
    """One of them: what is to be downloaded where, and what its columns mean.

    Parameters
    ----------
    name : str
        Of the folder in ``raw/`` where the files belong.
    description : str
    page : str
        Where they are downloaded.
    patterns : sequence of str
        Seen from ``raw/``; the first that fits any file is taken.
    columns : dict of role to column name
    what : str
        Which files to put there, for the message.
    """

    name: str
    description: str
    page: str
    patterns: Sequence[str]
    columns: Mapping[str, str]
    what: str

    def raw(self, data_dir: Path) -> RawLog:
        """The raw log, if its files are there.

        Raises
        ------
        DatasetError
            If they are not; the message says how to get them.
        """
        folder = data_dir / "raw"
        found = (
            sorted(path for path in folder.glob(pattern) if reading.suffix(path))
            for pattern in self.patterns
        )
        paths = next(filter(None, found), None)
        if paths is None:
            raise DatasetError(
                f"{self.name} is not in {folder / self.name}. Its host asks for an account, so it "
                f"cannot be fetched: download it from {self.page}, unpack it, put {self.what} "
                f"into {folder / self.name} and run again"
            )
        return RawLog(
            name=self.name,
            source=paths[0] if len(paths) == 1 else paths,
            columns=self.columns,
            rules=Rules(),
            description=self.description,
            origin=self.page,
            licence="its host's terms, on the page of the download",
            sha256=cleaned.digest(paths),
        )

    def load(self, data_dir: Path) -> Dataset:
        """The log, cleaned."""
        return cleaned.load(self.raw(data_dir), data_dir)

    def known(self) -> Known:
        """Its entry in the list of names."""
        return Known(self.description, self.raw, self.load)


_RETAILROCKET = ByHand(
    name="retailrocket",
    description=(
        "Retailrocket: 2,756,101 views, additions to the cart and transactions of an online "
        "store, May to September 2015, cleaned. You download it yourself (its host asks for an "
        "account) and put events.csv into data/raw/retailrocket/."
    ),
    page="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
    patterns=(
        "retailrocket/events.csv",
        "retailrocket/events.csv.gz",
        "events.csv",
        "events.csv.gz",
    ),
    columns={
        "user": "visitorid",
        "item": "itemid",
        "timestamp": "timestamp",
        "event": "event",
        "order": "transactionid",
    },
    what="events.csv",
)

_REES46 = ByHand(
    name="rees46",
    description=(
        "REES46: views, additions to the cart and purchases of an online store of many "
        "categories, from October 2019, cleaned. You download months of it yourself (its host "
        "asks for an account) and put them into data/raw/rees46/."
    ),
    page=(
        "https://www.kaggle.com/datasets/mkechinov/ecommerce-behavior-data-from-multi-category-"
        "store"
    ),
    patterns=("rees46/*.csv*",),
    columns={
        "user": "user_id",
        "item": "product_id",
        "timestamp": "event_time",
        "event": "event_type",
        "price": "price",
        "session": "user_session",
        "category": "category_code",
    },
    what="one or more months (such as 2019-Oct.csv or 2019-Oct.csv.gz)",
)

KNOWN: Mapping[str, Known] = {each.name: each.known() for each in (_RETAILROCKET, _REES46)}
