"""The generated parts of the README: findings, numbers, claims and notebooks, from the results."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helpers import io
from helpers.reporting import html, with_interval

PROJECTS = (
    "customised-ALS portfolio",
    "store project",
    "production pipeline",
    "PySpark course project",
    "MovieLens 100K project",
)
"""Whose claims are answered, in the order of the table."""

_RUN_TIME = re.compile(r"\*\*Run time\*\*: ([^.\n]+)")


def update(root: Path = Path(), *, check: bool = False) -> list[str]:
    """Write the generated parts of ``README.md``; with ``check`` only name those that are stale."""
    path = root / "README.md"
    text = path.read_text(encoding="utf-8")
    found = [
        io.read_json(file) for file in sorted((root / "reports/results").glob("[0-9][0-9]_*.json"))
    ]
    parts = {
        "findings": _findings(found),
        "results": _results(found),
        "claims": _claims(found),
        "notebooks": _notebooks(root),
    }
    stale = []
    for part, content in parts.items():
        new = _replace(text, part, content)
        if new != text:
            stale.append(f"README.md: the part '{part}' is stale; `make readme` writes it")
        text = new
    if stale and not check:
        io.write_text(path, text)
    return stale


def _findings(found: list[dict[str, Any]]) -> str:
    """What five of the notebooks found, one sentence each."""
    return "\n".join(
        f"- {each['finding']} ([notebook {_number(each)}](reports/{each['notebook']}.html))"
        for each in found
        if _number(each) in (3, 4, 5, 6, 8) and "finding" in each
    )


def _results(found: list[dict[str, Any]]) -> str:
    rows = [
        (_link(each), result["metric"], _shown(result), result["definition"])
        for each in found
        for result in each["results"]
        if result["headline"]
    ]
    return _table(("Notebook", "Metric", "Value", "What it is"), rows)


def _claims(found: list[dict[str, Any]]) -> str:
    rows = [
        (claim["project"], claim["claim"], claim["verdict"], claim["finding"], _link(each))
        for each in found
        for claim in each.get("claims", [])
    ]
    if unknown := {row[0] for row in rows} - set(PROJECTS):
        raise ValueError(f"claims of {min(unknown)!r} are answered; known: {', '.join(PROJECTS)}")
    rows.sort(key=lambda row: PROJECTS.index(row[0]))
    return _table(("Project", "Claim", "Verdict", "What we found", "Notebook"), rows)


def _notebooks(root: Path) -> str:
    rows = []
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        notebook = io.read_notebook(path)
        number, title, question = html.heading(notebook)
        time = _RUN_TIME.search(notebook.cells[0].source)
        link = f"[{number}. {title}](notebooks/{path.name})"
        rows.append((link, question, time[1] if time else "–", f"[HTML](reports/{path.stem}.html)"))
    return _table(("Notebook", "Question", "Run time", "Report"), rows)


def _number(result: dict[str, Any]) -> int:
    return int(result["notebook"][:2])


def _link(result: dict[str, Any]) -> str:
    return f"[{_number(result)}](reports/{result['notebook']}.html)"


def _shown(result: dict[str, Any]) -> str:
    """The value with its interval, which most notebooks show themselves."""
    if result["interval"] and "[" not in result["shown"]:
        return with_interval(result["value"], *result["interval"])
    return str(result["shown"])


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


if __name__ == "__main__":
    try:
        print("\n".join(update()) or "README.md is up to date")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
