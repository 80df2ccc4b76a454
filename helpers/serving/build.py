"""The table of a data set, built where there is none."""

from dataclasses import replace
from pathlib import Path

from helpers import datasets, production
from helpers.serving import table


def serving_table(dataset: str, columns: str = "", items: str = "", lists: str = "") -> Path:
    """The folder of a data set's table; where there is none yet, the model is fitted and published.

    Parameters
    ----------
    dataset, columns, items : str
        As for :func:`helpers.datasets.load`; "" is not given.
    lists : str
        A ``recommendations.parquet`` to publish instead, each time anew.

    Returns
    -------
    Path
        ``data/serving/<slug>``.
    """
    slug = datasets.slug(lists or dataset)
    folder = Path("data", "serving", slug)
    if lists:
        print(f"{folder}: version {table.publish(lists, folder)}, lists without a model")
        return folder
    if (folder / "current").is_file():
        print(f"{folder}: version {table.current(folder)}; `make refresh` brings a new one")
        return folder
    made = production.load_and_fit(dataset, columns, items, Path("data", "processed", slug))
    made = replace(made, metrics=production.measure(made))
    print(f"{folder}: version {table.publish(made, folder)}, {made.settings.origin}")
    return folder
