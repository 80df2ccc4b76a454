"""What looks odd in a log, before anybody decides what to do about it."""

import pandas as pd

from helpers.io import DatasetError


def oddities(frame: pd.DataFrame) -> pd.DataFrame:
    """Count what should make a reader stop: gaps, copies, numbers that cannot be, busy accounts.

    Parameters
    ----------
    frame : DataFrame
        A log in tidy columns, nothing removed yet.

    Returns
    -------
    DataFrame
        Index ``what``; ``rows`` (int) and ``share`` (of all rows, from 0 to 1). Only what occurs.

    Raises
    ------
    DatasetError
        If the frame has no rows, or lacks ``user_id`` or ``item_id``.

    Examples
    --------
    >>> log = pd.DataFrame({
    ...     "user_id": ["7", "7", None, "8"], "item_id": ["a", "a", "b", "b"],
    ...     "value": [1.0, 1.0, -2.0, 0.0]})
    >>> oddities(log)["rows"].to_dict()  # doctest: +NORMALIZE_WHITESPACE
    {'no user': 1, 'quantity below 0': 1, 'quantity 0': 1,
     'copies of another row': 1, 'rows of the busiest user': 2}
    """
    missing = [name for name in ("user_id", "item_id") if name not in frame]
    if missing or frame.empty:
        raise DatasetError(
            f"the frame has {len(frame)} rows and the columns {list(frame.columns)}; expected rows "
            "with user_id and item_id: give what cleaning.clean(...).frame holds"
        )
    names = {"user_id": "user", "item_id": "item", "order_id": "order", "title": "title"}
    counts = {
        f"no {name}": int(frame[column].isna().sum())
        for column, name in names.items()
        if column in frame
    }
    for column, name in (("value", "quantity"), ("price", "price")):
        if column in frame:
            counts[f"{name} below 0"] = int((frame[column] < 0).sum())
            counts[f"{name} 0"] = int((frame[column] == 0).sum())
    counts["copies of another row"] = int(frame.duplicated().sum())
    counts["rows of the busiest user"] = int(frame["user_id"].value_counts().max())
    table = pd.DataFrame({"rows": pd.Series(counts, dtype="int64")}).rename_axis("what")
    table = table[table["rows"] > 0]
    return table.assign(share=table["rows"] / len(frame))


def shapes(ids: pd.Series, titles: pd.Series | None = None) -> pd.DataFrame:
    """How ids are built: runs of digits become ``9``, runs of letters ``A``.

    Codes of another kind (postage, a cancelled order) show as a rare shape.

    Parameters
    ----------
    ids : Series of str
        Missing ones are left out.
    titles : Series of str, optional
        Aligned with ``ids``.

    Returns
    -------
    DataFrame
        Index ``shape``, the most frequent first; ``rows``, ``ids`` (different ones), ``example``
        (the most frequent id; of equal ones the first in the alphabet) and, with titles, its
        most frequent ``title``.

    Examples
    --------
    >>> shapes(pd.Series(["85123A", "71053", "22752", "22752", "POST"]))["rows"].to_dict()
    {'9': 3, '9A': 1, 'A': 1}
    """
    counts = ids.value_counts().rename_axis("id").reset_index(name="rows")
    counts = counts.sort_values(["rows", "id"], ascending=[False, True])
    built = counts["id"].str.replace(r"[^\W\d_]+", "A", regex=True)
    counts["shape"] = built.str.replace(r"\d+", "9", regex=True)
    groups = counts.groupby("shape")
    table = groups.agg(rows=("rows", "sum"), ids=("id", "size"), example=("id", "first"))
    table = table.reset_index().sort_values(["rows", "shape"], ascending=[False, True])
    table = table.set_index("shape")
    if titles is not None:
        known = titles[ids.isin(table["example"])]
        names = pd.DataFrame({"id": ids[known.index], "title": known}).value_counts().reset_index()
        names = names.sort_values(["id", "count", "title"], ascending=[True, False, True])
        first = names.drop_duplicates("id").set_index("id")["title"]
        table["title"] = table["example"].map(first).fillna("")
    return table
