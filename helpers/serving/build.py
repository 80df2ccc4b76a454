"""The table of a data set, built where there is none."""

from dataclasses import replace
from pathlib import Path

from helpers import datasets, io, production
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

    def source() -> dict[str, str]:
        """What the table is made from; a data set with a name never changes."""
        if dataset in datasets.names():
            return {}
        titles = io.sha256(Path(items)) if items else ""
        sha256 = datasets.raw_log(dataset, columns=columns).sha256
        return {"log": sha256, "columns": columns, "items": titles}

    if (place / "current").is_file():
        facts = table.Store(place).table.facts
        # `make refresh` brings new rows into its tables; lists alone are no table of this log.
        is_known = folder is not None or "window" in facts
        if is_known or ("data_sha256" in facts and facts.get("source", {}) == source()):
            print(f"{place}: version {facts['version']}; to build it anew, delete the folder")
            return place
    made = production.load_and_fit(dataset, columns, items, Path("data", "processed", slug))
    made = replace(made, metrics=production.measure(made))
    version = table.publish(made, place, {"source": source()})
    print(f"{place}: version {version}, {made.settings.origin}")
    return place
