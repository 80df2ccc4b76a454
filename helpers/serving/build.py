"""The table of a data set, built where there is none."""

from dataclasses import replace
from pathlib import Path

from helpers import datasets, production
from helpers.serving import table


def serving_table(dataset: str, columns: str = "", items: str = "") -> Path:
    """The folder of a data set's table; where there is none yet, the model is fitted and published.

    Parameters
    ----------
    dataset, columns, items : str
        As for :func:`helpers.datasets.load`; "" is not given.

    Returns
    -------
    Path
        ``data/serving/<slug>``.
    """
    slug = datasets.slug(dataset)
    folder = Path("data", "serving", slug)
    if table.versions(folder):
        print(f"{folder}: version {table.current(folder)}; `make refresh` brings a new one")
        return folder
    data = datasets.load(dataset, columns=columns or None, items=items or None)
    made = production.fit(data, Path("data", "processed", slug, "best_parameters.json"))
    made = replace(made, metrics=production.measure(made))
    print(f"{folder}: version {table.publish(made, folder)}, {made.settings.origin}")
    return folder
