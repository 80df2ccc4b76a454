"""The numbers a notebook stands for, written as JSON so that nothing has to be typed again."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helpers import files


@dataclass(frozen=True)
class Result:
    """One number with its meaning.

    Attributes
    ----------
    metric : str
        Short name, unique within the notebook.
    value : float, int or str
        Full precision.
    definition : str
        One sentence: what is counted, over what.
    shown : str
        The value as text, rounded to the decimals that are certain, with its unit.
    interval : tuple of two floats, optional
        95 % interval of the value.
    headline : bool
        Whether the card of the notebook and the README table show it.
    """

    metric: str
    value: float | int | str
    definition: str
    shown: str
    interval: tuple[float, float] | None = None
    headline: bool = False


def meaning(result: dict[str, Any]) -> str:
    """What a written result counts, with its interval if it has one.

    Parameters
    ----------
    result : dict
        An entry of ``results`` in a results file.

    Returns
    -------
    str

    Examples
    --------
    >>> meaning({"definition": "Share of users", "interval": [0.12, 0.164]})
    'Share of users; 95% interval 0.120 to 0.164'
    """
    if not result.get("interval"):
        return str(result["definition"])
    low, high = result["interval"]
    return f"{result['definition']}; 95% interval {low:.3f} to {high:.3f}"


def write_results(
    reports_dir: str | Path,
    notebook: str,
    results: Sequence[Result],
    *,
    dataset: str,
    data_sha256: str,
    parameters: dict[str, Any],
) -> Path:
    """Write ``<reports_dir>/results/<notebook>.json``.

    Parameters
    ----------
    reports_dir : path
        The reports folder. The environment variable ``PORTFOLIO_REPORTS`` overrides it, so that
        a check can run the committed notebooks without touching the committed results.
    notebook : str
        Name without suffix, such as ``"01_data_loading"``.
    results : sequence of Result
        In the order in which they are shown.
    dataset : str
        Name of the data set.
    data_sha256 : str
        Checksum of the data that the numbers come from.
    parameters : dict
        What was set (seed, factors, ...).

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ValueError
        If two results have the same name, or a value is NaN or infinite.
    """
    names = [result.metric for result in results]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"results hold the metric {twice} twice; give each its own name")
    folder = Path(os.environ.get("PORTFOLIO_REPORTS", reports_dir))
    path = folder / "results" / f"{notebook}.json"
    content = {
        "notebook": notebook,
        "dataset": dataset,
        "data_sha256": data_sha256,
        "parameters": parameters,
        "results": [asdict(result) for result in results],
    }
    files.write_json(path, content)
    return path
