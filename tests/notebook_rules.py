"""Hygiene of a notebook: rules that its file must keep, each a function that yields findings.

The reader of a rendered notebook cannot run it: preserved outputs come from one run, top to bottom,
nothing in them belongs to one machine, and the code is short and led by prose.
"""

import ast
import base64
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import nbformat
from nbformat import NotebookNode
from PIL import Image

from helpers import files

PATTERN = "[0-9][0-9]_*.ipynb"
STANDARD_PARAMETERS = {"dataset": "str", "data_dir": "str", "reports_dir": "str"}
SCALARS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}

MAX_BYTES = 1_000_000
MAX_LINES = 15
MAX_MEDIAN_LINES = 5
MAX_DEF_LINES = 3

TAGS = {"parameters", "hide-input", "headline-figure", "nbval-ignore-output"}
IMAGES = {"image/png", "image/jpeg"}
SECTIONS = ("## What we found", "## Limits", "## References")

HEADING = re.compile(r"# (?P<number>\d+)\. (?P<title>[^:]+): (?P<question>.+\?)")
PARAMETER = re.compile(
    r"(?P<name>[a-z]\w*): (?P<type>\w+(?:\[\w+\])?) = (?P<value>.+?)  # (?P<meaning>\S.*)"
)
LINK = re.compile(r"\]\(([^)\s#]+\.ipynb)(?:#[^)]*)?\)")
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


@dataclass(frozen=True)
class Parameter:
    """One line of a ``parameters`` cell: ``name: type = default  # meaning``."""

    name: str
    type: str
    default: object
    meaning: str


def paths(folder: Path) -> list[Path]:
    """The notebooks of a folder, in order of their number.

    Examples
    --------
    >>> paths(Path("no such folder"))
    []
    """
    return sorted(folder.glob(PATTERN))


def read(path: Path) -> NotebookNode:
    """A notebook, upgraded to format 4.

    Raises
    ------
    ValueError
        If the file is no notebook.
    """
    try:
        notebook: NotebookNode = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a notebook ({error}); restore it from git") from error
    return notebook


def write(path: Path, notebook: NotebookNode) -> None:
    """Write a notebook, whole or not at all."""
    text = nbformat.writes(notebook)
    files.write_text(path, text + "\n")


def heading(notebook: NotebookNode) -> re.Match[str] | None:
    """The groups ``number``, ``title`` and ``question`` of the first line, if it has that form."""
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source:
        return None
    return HEADING.fullmatch(first.source.splitlines()[0].rstrip())


def fits(value: object, kind: str) -> bool:
    """Whether a value has a declared type: a scalar, or a list of one.

    Examples
    --------
    >>> fits(64, "int"), fits(64, "float"), fits(True, "int"), fits([5, 10], "list[int]")
    (True, True, False, True)
    """
    if kind.startswith("list["):
        return isinstance(value, list) and all(fits(part, kind[5:-1]) for part in value)
    if isinstance(value, bool) or kind not in SCALARS:
        return kind == "bool"
    return isinstance(value, (int, float) if kind == "float" else SCALARS[kind])


def parameter(line: str) -> Parameter:
    """A line of a ``parameters`` cell.

    Raises
    ------
    ValueError
        If it has not the form ``name: type = literal  # meaning``, or the literal not the type.

    Examples
    --------
    >>> parameter("factors: int = 50  # length of a factor vector")
    Parameter(name='factors', type='int', default=50, meaning='length of a factor vector')
    """
    match = PARAMETER.fullmatch(line)
    if match is None:
        raise ValueError(f"{line!r} has not the form 'name: type = literal  # meaning'")
    name, kind, text, meaning = match.groups()
    try:
        default = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise ValueError(f"the default of {name} is no literal: {text}") from None
    if not fits(default, kind):
        raise ValueError(f"the default of {name} is {text}, which is no {kind}")
    return Parameter(name, kind, default, meaning)


def parameters(notebook: NotebookNode) -> dict[str, Parameter]:
    """The parameters that a notebook declares, by name.

    Raises
    ------
    ValueError
        If not exactly one code cell is tagged ``parameters``, or one of its lines is wrong.
    """
    cells = [cell for _, cell in _code(notebook) if "parameters" in _tags(cell)]
    if len(cells) != 1:
        raise ValueError(f"{len(cells)} code cells are tagged 'parameters'; exactly one must be")
    lines = [parameter(line) for line in cells[0].source.splitlines() if line.strip()]
    return {line.name: line for line in lines}


def check(path: Path) -> list[Finding]:
    """Every broken rule of a notebook; an empty list means that it is clean.

    Parameters
    ----------
    path : Path
        A notebook file; its neighbours in the folder are looked at for the links.

    Returns
    -------
    list of Finding
    """
    try:
        notebook = read(path)
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
        found = parameters(notebook)
    except ValueError as error:
        yield 0, str(error)
        return
    for name, kind in STANDARD_PARAMETERS.items():
        if name not in found or found[name].type != kind:
            yield 0, f"does not declare the parameter '{name}: {kind}'"


def size(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """The file stays small enough to be read on the web."""
    if (bytes_ := path.stat().st_size) > MAX_BYTES:
        yield 0, f"has {bytes_:,} bytes; at most {MAX_BYTES:,} are allowed"


def short_cells(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Code cells are short."""
    lines = {
        number: sum(bool(line.strip()) for line in cell.source.splitlines())
        for number, cell in _code(notebook)
    }
    for number, count in lines.items():
        if count > MAX_LINES:
            yield number, f"has {count} lines; at most {MAX_LINES} are allowed"
    if lines and (middle := median(lines.values())) > MAX_MEDIAN_LINES:
        yield 0, f"its code cells have a median of {middle:g} lines; {MAX_MEDIAN_LINES} at most"


def plain_code(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Code cells hold plain Python that does its work in ``helpers``, none of it commented out."""
    for number, cell in _code(notebook):
        for what, pattern in FORBIDDEN.items():
            if pattern.search(cell.source):
                yield number, f"has {what}"
        try:
            tree = ast.parse(cell.source)
        except SyntaxError as error:
            yield number, f"has a magic, a shell command or wrong syntax: {error.text}".strip()
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_DEF_LINES:
                    yield number, f"defines {node.name} in {length} lines; move it to helpers"
        for comment in _comments(cell.source):
            if _is_code(comment):
                yield number, f"has commented-out code: {comment}"


def led_by_prose(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """A Markdown cell stands directly before every code cell."""
    for number, _ in _code(notebook):
        if number == 1 or notebook.cells[number - 2].cell_type != "markdown":
            yield number, "is not led by a Markdown cell"


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
    found = heading(notebook)
    if found is None:
        yield 1, "does not start with '# N. Title: question?'"
    elif int(found["number"]) != int(path.name[:2]):
        yield 1, f"is number {found['number']} in its title, but not in its name"
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


def links(path: Path, notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Links lead to notebooks that exist; the cells before the code link to both neighbours."""
    for number, cell in enumerate(notebook.cells, start=1):
        for target in LINK.findall(cell.source if cell.cell_type == "markdown" else ""):
            if "://" not in target and not (path.parent / target).is_file():
                yield number, f"links to {target}, which does not exist"
    first_code = next((number for number, _ in _code(notebook)), len(notebook.cells) + 1)
    opening = [cell.source for cell in notebook.cells[: first_code - 1]]
    linked = {target for text in opening for target in LINK.findall(text)}
    order = [neighbour.name for neighbour in paths(path.parent)]
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
    short_cells,
    plain_code,
    led_by_prose,
    figures,
    structure,
    links,
)


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
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
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
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        darkest, lightest = image.convert("L").getextrema()
    except (OSError, ValueError, SyntaxError) as error:
        return str(error)
    return "it is blank" if darkest == lightest else None
