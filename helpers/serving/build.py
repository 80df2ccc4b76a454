"""The table of a data set, built where there is none."""

from dataclasses import replace
from pathlib import Path

from helpers import datasets, production
from helpers.serving import table


def serving_table(
    dataset: str, columns: str = "", items: str = "", folder: Path | None = None
) -> Path:
    """The folder of a data set's table; where there is none of it, the model is fitted.

    Parameters
    ----------
    dataset, columns, items : str
        As for :func:`helpers.datasets.load`; "" is not given.
    folder : Path, optional
        Another folder than ``data/serving/<slug>``. A table that is there is served as it is.

    Returns
    -------
    Path
    """
    slug = datasets.slug(dataset)
    place = folder or Path("data", "serving", slug)
    if (place / "current").is_file():
        facts = table.Store(place).table.facts
        built_from, known = facts.get("data_sha256"), dataset in datasets.names()
        if (
            folder is not None
            or "window" in facts  # `make refresh` brings new rows
            or (known and built_from)  # such data never change
            or (not known and built_from == datasets.raw_log(dataset, columns=columns).sha256)
        ):
            print(f"{place}: version {facts['version']}; to build it anew, delete the folder")
            return place
    made = production.load_and_fit(dataset, columns, items, Path("data", "processed", slug))
    made = replace(made, metrics=production.measure(made))
    print(f"{place}: version {table.publish(made, place)}, {made.settings.origin}")
    return place
