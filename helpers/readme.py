"""The tables of the README, generated from the notebooks and their results."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from helpers import files, notebooks, reports
from helpers.results import meaning

RUN_TIME = re.compile(r"\*\*Run time\*\*: ([^.\n]+)")


def update(root: Path = Path(), *, check: bool = False) -> list[str]:
    """Write the generated parts of ``README.md``, or only say which of them are stale.

    Parameters
    ----------
    root : Path
        The project's folder.
    check : bool
        Change nothing.

    Returns
    -------
    list of str
        One line for each part that is (or was) stale.

    Raises
    ------
    ValueError
        If the README has not exactly one pair of markers, ``<!-- results -->`` and
        ``<!-- /results -->``, for each part; or a notebook no title of the right form.
    """
    path = root / "README.md"
    text = path.read_text(encoding="utf-8")
    stale = []
    for part, content in {"results": results(root), "notebooks": contents(root)}.items():
        new = _replace(text, part, content)
        if new != text:
            stale.append(f"README.md: the part '{part}' is stale; `make readme` writes it")
        text = new
    if stale and not check:
        files.write_text(path, text)
    return stale


def results(root: Path) -> str:
    """The headline numbers of every notebook, as a Markdown table."""
    rows = []
    for path in sorted((root / "reports" / "results").glob("[0-9][0-9]_*.json")):
        number = int(path.name[:2])
        link = f"[{number}](reports/{path.stem}.html)"
        rows += [
            (link, each["metric"], each["shown"], meaning(each))
            for each in files.read_json(path)["results"]
            if each["headline"]
        ]
    return _table(("Notebook", "Metric", "Value", "What it is"), rows)


def contents(root: Path) -> str:
    """The notebooks in reading order with their questions, as a Markdown table."""
    return _table(("Notebook", "Question", "Data", "Run time", "Report"), _contents(root))


def _contents(root: Path) -> Iterator[tuple[str, ...]]:
    for path in notebooks.paths(root / "notebooks"):
        found = reports.heading(path)
        title = f"[{found.number}. {found.title}](notebooks/{path.name})"
        time = RUN_TIME.search(notebooks.read(path).cells[0].source)
        report = f"[HTML](reports/{path.stem}.html)"
        result = root / "reports" / "results" / f"{path.stem}.json"
        data = files.read_json(result)["dataset"] if result.is_file() else "–"
        yield title, found.question, data, time[1] if time else "–", report


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    cells = ([cell.replace("|", r"\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _replace(text: str, part: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {part} -->\n).*?(<!-- /{part} -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(
            f"README.md must have one pair of lines '<!-- {part} -->' and '<!-- /{part} -->'"
        )
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)
