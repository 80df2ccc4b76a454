"""What a notebook stands for: its numbers, claims and answer as JSON, and generated sentences.

A number that stands in a README, a report or a sentence is written here once, by the cell that
computed it, so that nothing has to be typed again.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import DisplayHandle, Markdown, display

from helpers import io

VERDICTS = ("confirmed", "confirmed with conditions", "not confirmed", "not testable here")
NOT_DEFINED = "not defined"
WAITING = "*The answer stands here when the last cells have run.*"

_skipped: dict[str, str] = {}
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>|#&~!+=@]|:(?=//)|(?<=www)\.|^-|^\d+(?=[.)])")


@dataclass(frozen=True)
class Result:
    """One number with its meaning.

    Attributes
    ----------
    metric : str
        Full words that a stranger understands, unique in the notebook: ``"Hit rate at 10, ALS"``.
    value : float, int, str or None
        Full precision. NaN and None stand for "not defined".
    definition : str
        One sentence: what is counted, over what.
    shown : str
        The value as text, rounded to the decimals that are certain, with its unit.
    interval : tuple of two floats, optional
        95 % interval of the value.
    headline : bool
        Whether the index page (the first three) and the README show it.
    """

    metric: str
    value: float | int | str | None
    definition: str
    shown: str
    interval: tuple[float, float] | None = None
    headline: bool = False


@dataclass(frozen=True)
class Claim:
    """What an earlier project claimed, our verdict (one of ``VERDICTS``), and our number."""

    project: str
    claim: str
    verdict: str
    finding: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict is {self.verdict!r}; expected one of {', '.join(VERDICTS)}")


def write_results(
    reports_dir: str | Path,
    notebook: str,
    results: Sequence[Result],
    *,
    dataset: str,
    data_sha256: str,
    parameters: Mapping[str, Any],
    answer: str,
    finding: str,
    claims: Sequence[Claim] = (),
) -> Path:
    """Write ``<reports_dir>/results/<notebook>.json``, with what :func:`skip` recorded.

    Parameters
    ----------
    reports_dir : path
        The environment variable ``PORTFOLIO_REPORTS`` overrides it, so that a check can run the
        committed notebooks without touching the committed results.
    notebook : str
        Name without suffix, such as ``"01_data_loading"``.
    results : sequence of Result
        In the order in which they are shown.
    dataset, data_sha256 : str
        Name and checksum of the data that the numbers come from.
    parameters : dict
        What was set (seed, factors, ...).
    answer : str
        Two or three plain sentences, as Markdown: the text of the answer cell.
    finding : str
        One plain sentence for the README and the index page.
    claims : sequence of Claim

    Raises
    ------
    ValueError
        If two results have the same name, or the answer or the finding is empty.
    """
    names = [result.metric for result in results]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"results hold the metric {twice} twice; give each its own name")
    if not answer.strip() or not finding.strip():
        raise ValueError("answer and finding must not be empty: write what the notebook found")
    folder = Path(os.environ.get("PORTFOLIO_REPORTS", reports_dir))
    path = folder / "results" / f"{notebook}.json"
    content = {
        "notebook": notebook,
        "dataset": dataset,
        "data_sha256": data_sha256,
        "parameters": parameters,
        "answer": answer,
        "finding": finding,
        "results": [asdict(_defined(result)) for result in results],
        "claims": [asdict(claim) for claim in claims],
        "skipped": [{"analysis": what, "reason": why} for what, why in _skipped.items()],
    }
    io.write_json(path, _plain(content))
    _skipped.clear()
    return path


def skip(analysis: str, reason: str) -> None:
    """Say in the report that an analysis is left out and why, and record it for the results."""
    _skipped[analysis] = reason
    display(Markdown(f"*Skipped: {escape(analysis)}. {escape(reason)}*"))


def remark(dataset: str, only: str, text: str) -> None:
    """Show Markdown that is true of the data set ``only``, if ``dataset`` is that one."""
    if dataset == only:
        display(Markdown(text))


def answer_slot() -> DisplayHandle:
    """The place of the answer under a notebook's title; ``.update(Markdown(text))`` fills it."""
    slot: DisplayHandle = display(Markdown(WAITING), display_id=True)
    return slot


def escape(text: str) -> str:
    """Text from the data in one line, with what Markdown would read as its own as HTML entities.

    >>> escape("Toy Story (1995)"), escape("new *and* hot"), escape("1. FC")
    ('Toy Story (1995)', 'new &#42;and&#42; hot', '&#49;. FC')
    """
    one_line = " ".join(text.split())
    safe = _SPECIAL.sub(lambda found: "".join(f"&#{ord(sign)};" for sign in found[0]), one_line)
    return safe.replace("$", "<span>&#36;</span>")  # a tag keeps MathJax from pairing dollars


def with_interval(value: float, low: float, high: float, *, signed: bool = False) -> str:
    """A number with its interval, with as many decimals as the width of the interval allows.

    ``signed`` gives positive numbers a plus, as differences have it.

    >>> with_interval(0.1389, 0.1177, 0.1612), with_interval(0.0011, -0.001, 0.0032, signed=True)
    ('0.139 [0.118, 0.161]', '+0.0011 [-0.0010, +0.0032]')
    """
    if not all(map(math.isfinite, (value, low, high))):
        return NOT_DEFINED
    decimals = min(max(1 - math.floor(math.log10(high - low)), 0), 6) if high > low else 3
    shown = (f"{each:{'+' if signed else ''},.{decimals}f}" for each in (value, low, high))
    return "{} [{}, {}]".format(*shown)


def _defined(result: Result) -> Result:
    """The result with what is not defined (NaN, missing, infinite) as None, said in words."""
    value, interval = _plain(result.value), _plain(result.interval)
    if value is None:
        return replace(result, value=None, shown=NOT_DEFINED, interval=None)
    return replace(result, value=value, interval=None if None in (interval or ()) else interval)


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, and what is not defined as None, at any depth."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if pd.isna(value) or value in (math.inf, -math.inf) else value
