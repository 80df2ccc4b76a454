"""Hygiene of a notebook: rules that its file must keep, each a function that yields findings.

The reader of a rendered notebook cannot run it: preserved outputs come from one run, top to bottom,
nothing in them belongs to one machine or one minute, and the answer stands first.
"""

import ast
import base64
import json
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO, StringIO
from itertools import groupby
from pathlib import Path

from nbformat import NotebookNode
from PIL import Image

from helpers import io, portfolio
from helpers.reporting import html

STANDARD_PARAMETERS = ("dataset", "reports_dir")
READERS_PARAMETERS = ("processed_dir",)
FIRST_PARAMETERS = ("columns", "items", "data_dir")
FIRST_OF_STORE = 7
"""From this notebook on the raw log of a store is read, and nothing that earlier ones derived."""

MAX_BYTES = 1_000_000
MAX_LINES = 20
CELLS = (25, 60)
MAX_CODE_CELLS_IN_A_ROW = 4

TAGS = {"parameters", "hide-input", "headline-figure", "nbval-ignore-output", "answer"}
ANSWER_TAGS = {"answer", "hide-input", "nbval-ignore-output"}
IMAGES = {"image/png", "image/jpeg"}
SECTIONS = ("## What we found", "## Limits", "## References")

PARAMETER = re.compile(r"[a-z]\w*: \w+(?:\[\w+\])? = .+?  # \S.*")
LINK = re.compile(r"\]\(([^)\s#]+\.ipynb)(?:#[^)]*)?\)")
ONE_DATA_SET = re.compile(r"\b(?:films?|movies?|movielens(?!-1))\b", re.I)
DURATION = re.compile(r"\b\d[\d.,]*\s(?:ms|µs|s|sec|seconds?|min|minutes?)\b")
# The classes of one letter keep this file itself free of what it looks for.
PRIVATE = {
    "an absolute path": re.compile(
        r"(?<![\w.~/-])/(?:h[o]me|U[s]ers|r[o]ot|t[m]p|w[o]rk|v[a]r|o[p]t|m[n]t)/"
        r"|(?<!\w)[A-Za-z]:\\+(?:U[s]ers|W[i]ndows|P[r]ogram|D[o]cuments|T[e]mp)"
    ),
    "the host of a package index": re.compile(
        r"p[y]pi\.org|p[y]thonhosted\.org|a[n]aconda\.(?:org|com)|https?://[^\s\"')]+/s[i]mple\b"
    ),
}
FORBIDDEN = {
    "sys.path": re.compile(r"\bsys\.path\b"),
    "a filter that hides warnings": re.compile(r"\b(?:filterwarnings|simplefilter)\s*\("),
}

STYLER = re.compile(r"""(?:#|id=["']?)T_\w""")

Rule = Callable[[Path, NotebookNode], Iterator[tuple[int, str]]]


@dataclass(frozen=True)
class Finding:
    """One broken rule.

    Attributes
    ----------
    notebook : str
        Name of the file.
    cell : int
        Position from 1 among all cells; 0 stands for the notebook as a whole.
    message : str
        What is wrong, in one line.
    """

    notebook: str
    cell: int
    message: str

    def __str__(self) -> str:
        where = f"{self.notebook}, cell {self.cell}" if self.cell else self.notebook
        return f"{where}: {self.message}"


def check(path: Path) -> list[Finding]:
    """Every broken rule of a notebook; its neighbours in the folder are looked at for the links."""
    try:
        notebook = io.read_notebook(path)
    except ValueError as error:
        return [Finding(path.name, 0, str(error))]
    return [Finding(path.name, *found) for rule in RULES for found in rule(path, notebook)]


def executed(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Code cells are executed from top to bottom: their counts are 1..n."""
    for expected, (number, cell) in enumerate(_code(notebook), start=1):
        if not cell.source.strip():
            yield number, "the code cell is empty"
        if cell.execution_count is None:
            yield number, "is not executed"
        elif cell.execution_count != expected:
            yield number, f"has execution count {cell.execution_count} instead of {expected}"


def clean_outputs(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """No output on stderr, no error, no Styler, no picture that nbval would compare as text."""
    for number, output in _outputs(notebook):
        if output.get("name") == "stderr":
            yield number, f"wrote to stderr: {_first_line(output.text)}"
        if output.output_type == "error":
            yield number, f"raised {output.ename}: {_first_line(output.evalue)}"
        for kind, content in output.get("data", {}).items():
            if kind.startswith("image/") and kind not in IMAGES:
                yield number, f"shows {kind}; save figures as PNG"
            if kind == "text/html" and STYLER.search(content):
                yield number, "shows a Styler, whose ids change with every run; show the frame"


def portable(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Nothing in sources and outputs belongs to one machine."""
    for number, text in _texts(notebook):
        for what, pattern in PRIVATE.items():
            if match := pattern.search(text):
                yield number, f"names {what}: {match[0]}"


def metadata(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """The kernel is ``python3``; nothing that papermill or one Python version left behind."""
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield 0, f"has the kernelspec {kernel!r} instead of 'python3'"
    if "papermill" in notebook.metadata:
        yield 0, "has papermill's metadata"
    if "version" in notebook.metadata.get("language_info", {}):
        yield 0, "has the Python version in its metadata"
    for number, cell in enumerate(notebook.cells, start=1):
        for key in {"papermill", "execution"} & set(cell.metadata):
            yield number, f"has the metadata {key!r} of its execution"


def tags(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Only the tags that something here understands."""
    for number, cell in enumerate(notebook.cells, start=1):
        for tag in sorted(set(_tags(cell)) - TAGS):
            yield number, f"has the tag {tag!r}; allowed are {', '.join(sorted(TAGS))}"


def declared(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """One ``parameters`` cell of plain declarations, the standard ones among them."""
    try:
        found = portfolio.parameters(notebook)
    except ValueError as error:
        yield 0, str(error)
        return
    wanted = [*STANDARD_PARAMETERS]
    wanted += FIRST_PARAMETERS if _number(path) == 1 else []
    wanted += READERS_PARAMETERS if _number(path) < FIRST_OF_STORE else []
    for name in wanted:
        if name not in found or found[name].type != "str":
            yield 0, f"does not declare the parameter '{name}: str'"
    for number, cell in _code(notebook):
        for line in cell.source.splitlines() if "parameters" in _tags(cell) else []:
            if not PARAMETER.fullmatch(line):
                yield number, f"{line!r} has not the form 'name: type = literal  # meaning'"
    for name, (kind, default) in found.items():
        if not _fits(default, kind):
            yield 0, f"the default of {name} is {default!r}, which is no {kind}"


def size(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """The file stays small enough to be read on the web."""
    if (bytes_ := path.stat().st_size) > MAX_BYTES:
        yield 0, f"has {bytes_:,} bytes; at most {MAX_BYTES:,} are allowed"


def length(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """As many cells as are read in one sitting, each short, with prose between them."""
    if not CELLS[0] <= len(notebook.cells) <= CELLS[1]:
        yield 0, f"has {len(notebook.cells)} cells; {CELLS[0]} to {CELLS[1]} are wanted"
    for number, cell in _code(notebook):
        count = sum(bool(line.strip()) for line in cell.source.splitlines())
        if count > MAX_LINES:
            yield number, f"has {count} lines; at most {MAX_LINES} are allowed"
    cells = enumerate(notebook.cells, start=1)
    for kind, run in groupby(cells, key=lambda each: each[1].cell_type):
        numbers = [number for number, _ in run]
        if kind == "code" and len(numbers) > MAX_CODE_CELLS_IN_A_ROW:
            yield numbers[-1], f"is the code cell number {len(numbers)} without prose between them"


def plain_code(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Code cells hold plain Python, none of it commented out."""
    for number, cell in _code(notebook):
        for what, pattern in FORBIDDEN.items():
            if pattern.search(cell.source):
                yield number, f"has {what}"
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            yield number, f"has a magic, a shell command or wrong syntax: {error.text}".strip()
            continue
        for comment in _comments(cell.source):
            if _is_code(comment):
                yield number, f"has commented-out code: {comment}"


def figures(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Each ``plots.show(`` left a picture that can be decoded and is described in words."""
    for number, cell in _code(notebook):
        images = [
            (output, kind)
            for output in cell.outputs
            for kind in IMAGES & set(output.get("data", {}))
        ]
        if len(images) < cell.source.count("plots.show("):
            yield number, "has lost a figure: plots.show was called, but no picture is stored"
        for output, kind in images:
            if problem := _image_problem(output.data[kind]):
                yield number, f"has a damaged figure: {problem}"
            if not str(output.metadata.get(kind, {}).get("alt", "")).strip():
                yield number, "has a figure without alternative text"


def structure(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """A numbered question first; findings, limits and references last; then the results."""
    try:
        number = html.heading(notebook)[0]
    except ValueError as error:
        yield 1, str(error)
    else:
        if number != _number(path):
            yield 1, f"is number {number} in its title, but not in its name"
    lines = [line.rstrip() for text in _markdown(notebook) for line in text.splitlines()]
    positions = [lines.index(section) for section in SECTIONS if section in lines]
    for section in SECTIONS:
        if section not in lines:
            yield 0, f"has no section '{section}'"
    if positions != sorted(positions):
        yield 0, f"has its closing sections in another order than {', '.join(SECTIONS)}"
    code = [cell.source for _, cell in _code(notebook)]
    if not code or "write_results(" not in code[-1]:
        yield 0, "does not write its results in the last code cell"


def answer(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """The third cell shows the answer, which is the one among the results."""
    cell = notebook.cells[2] if len(notebook.cells) > 2 else None
    if cell is None or set(_tags(cell)) != ANSWER_TAGS:
        yield 3, f"is no code cell tagged {', '.join(sorted(ANSWER_TAGS))}"
        return
    results = path.parent.parent / "reports" / "results" / f"{path.stem}.json"
    kept = json.loads(results.read_text(encoding="utf-8"))["answer"] if results.is_file() else None
    shown = [output.get("data", {}).get("text/markdown") for output in cell.outputs]
    if shown != [kept]:
        yield 3, f"shows another answer than {results.name} holds"


def any_data_set(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """What is shown is true of any log: prose of one data set is written by a hidden cell."""
    references = False
    for number, cell in enumerate(notebook.cells, start=1):
        if {"hide-input", "parameters"} & set(_tags(cell)):
            continue
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and line.startswith("#"):
                references = line.rstrip() == "## References"
            if not references and (match := ONE_DATA_SET.search(line)):
                how = "use reporting.remark in a cell tagged hide-input"
                yield number, f"speaks of one data set ({match[0]}); {how}"


def timeless(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """No output tells how long something took: it would differ in the next run."""
    for number, output in _outputs(notebook):
        kinds = {"text/markdown", "text/html", "text/plain"} & set(output.get("data", {}))
        texts = [output.get("text", ""), *(str(output.data[kind]) for kind in sorted(kinds))]
        match = next(filter(None, map(DURATION.search, texts)), None)
        if match:
            yield number, f"shows a time ({match[0]}); measured times belong to `make bench`"


def links(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Links lead to notebooks that exist; the cells before the code link to both neighbours."""
    for number, cell in enumerate(notebook.cells, start=1):
        for target in LINK.findall(cell.source if cell.cell_type == "markdown" else ""):
            if "://" not in target and not (path.parent / target).is_file():
                yield number, f"links to {target}, which does not exist"
    first_code = next((number for number, _ in _code(notebook)), len(notebook.cells) + 1)
    opening = [cell.source for cell in notebook.cells[: first_code - 1]]
    linked = {target for text in opening for target in LINK.findall(text)}
    order = sorted(each.name for each in path.parent.glob("[0-9][0-9]_*.ipynb"))
    here = order.index(path.name) if path.name in order else len(order)
    for neighbour in [*order[max(here - 1, 0) : here], *order[here + 1 : here + 2]]:
        if neighbour not in linked:
            yield 1, f"does not link to its neighbour {neighbour} before the first code cell"


RULES: tuple[Rule, ...] = (
    executed,
    clean_outputs,
    portable,
    metadata,
    tags,
    declared,
    size,
    length,
    plain_code,
    figures,
    structure,
    answer,
    any_data_set,
    timeless,
    links,
)


def _fits(value: object, kind: str) -> bool:
    """Whether a value has a declared type: a scalar, or a list of one."""
    if kind.startswith("list["):
        return isinstance(value, list) and all(_fits(part, kind[5:-1]) for part in value)
    if isinstance(value, bool) or kind not in portfolio.SCALARS:
        return False
    return isinstance(value, (int, float) if kind == "float" else portfolio.SCALARS[kind])


def _number(path: Path) -> int:
    return int(path.name[:2])


def _code(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code":
            yield number, cell


def _outputs(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    for number, cell in _code(notebook):
        for output in cell.outputs:
            yield number, output


def _markdown(notebook: NotebookNode) -> Iterable[str]:
    return (cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def _texts(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Sources and all outputs but pictures, as text."""
    for number, cell in enumerate(notebook.cells, start=1):
        yield number, cell.source
    for number, output in _outputs(notebook):
        yield number, output.get("text", "")
        yield number, "\n".join(output.get("traceback", []))
        for kind, content in output.get("data", {}).items():
            if kind not in IMAGES:
                yield number, str(content)


def _tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _comments(source: str) -> list[str]:
    """Comments that have a line of their own, without the number sign."""
    try:
        tokens = list(tokenize.generate_tokens(StringIO(source).readline))
    except (tokenize.TokenError, IndentationError):
        return []
    return [
        token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
    ]


def _is_code(comment: str) -> bool:
    """Whether a comment reads as a statement that does something, unlike ``users: rows``."""
    try:
        body = ast.parse(f"{comment} pass" if comment.endswith(":") else comment).body
    except SyntaxError:
        return False
    names = (ast.Name, ast.Constant, ast.Tuple, ast.Attribute, ast.BinOp, ast.Compare)
    return any(
        not (isinstance(node, ast.Expr) and isinstance(node.value, names))
        and not (isinstance(node, ast.AnnAssign) and node.value is None)
        for node in body
    )


def _image_problem(content: str) -> str | None:
    try:
        image = Image.open(BytesIO(base64.b64decode(content)))
        darkest, lightest = image.convert("L").getextrema()
    except (OSError, ValueError, SyntaxError) as error:
        return str(error)
    return "it is blank" if darkest == lightest else None
