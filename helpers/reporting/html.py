"""Executed notebooks as self-contained HTML reports that open from disk without a network."""

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bs4 import BeautifulSoup, Tag
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from latex2mathml.converter import convert
from markupsafe import Markup
from nbconvert.exporters.templateexporter import TemplateExporter
from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from helpers import io

TEMPLATES = Path(__file__).parent / "templates"
DATASET_NAMES = {
    "movielens-100k": "MovieLens 100K",
    "movielens-1m": "MovieLens 1M",
    "online-retail": "UCI Online Retail",
    "store-simulated": "Simulated store",
    "million-song": "Million Song",
}

_PAGES = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_HEADING = re.compile(r"# (?P<number>\d+)\. (?P<title>[^:]+): (?P<question>.+\?)")
_NOTEBOOK_LINK = re.compile(r"(?:\./|\.\./notebooks/)?([^/#?]+)\.ipynb(#.*)?")
_NUMBER = re.compile(
    r"[-+−±<>≤≥~≈]?\s?\d(?:[\d.,:/()\[\]\s%±×–−+-]|to)*(?:e[-+]?\d+)?"
    r"\s?(?:[kMGT]?i?B|[mµn]?s|min|h|x)?"
)
# The names of functions, such as log, get TeX's thin space, but none before a parenthesis.
_FUNCTION = re.compile(r"<(m[io])>([a-z]{2,})</\1>(<mo[^>]*>&#x00028;)?")
# latex2mathml lets the bars of \lVert and \lvert grow with what is beside them.
_LONE_BAR = re.compile(r"<mo>(&#x02016;|&#x0007C;)</mo>")
_BLANK = {"", "-", "–", "—", "NaN", "NaT", "None", "<NA>"}
_FORMATS = ["text/html", "text/markdown", "image/png", "text/plain"]


def heading(notebook: NotebookNode) -> tuple[int, str, str]:
    """Number, title and question of ``# 1. Data loading: what does the log hold?``."""
    first = notebook.cells[0].source.partition("\n")[0] if notebook.cells else ""
    found = _HEADING.fullmatch(first.rstrip())
    if not found:
        raise ValueError(
            f"begins with {first!r}; expected '# <number>. <title>: <question>?' in the first "
            "cell, such as '# 1. Data loading: what does the log hold?'"
        )
    question = re.sub(r"[*`]", "", found["question"])
    return int(found["number"]), found["title"], question[0].upper() + question[1:]


def render(
    paths: Sequence[Path],
    reports_dir: Path,
    *,
    dataset: str,
    left_out: Mapping[Path, str] | None = None,
) -> list[Path]:
    """Render executed notebooks to ``reports_dir``, with an index.

    Everything is rendered before anything is written, so a failure leaves the old reports as they
    were. The same notebooks and result files always give the same bytes.

    Parameters
    ----------
    paths : sequence of Path
        Executed notebooks in reading order; ``metadata.run`` may say why one ends early
        (``failed``) and what its data cannot show (``note``).
    reports_dir : Path
        Gets ``<name>.html`` and ``figures/<name>.png`` (of the cell tagged ``headline-figure``)
        for each notebook, and ``index.html``; ``results/<name>.json`` in it has the findings.
    dataset : str
        The data set of the run, for notebooks without results.
    left_out : mapping of Path to str, optional
        Notebooks that were not run, with the sentence that says why.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ValueError
        If a notebook is not executed, or has a formula that cannot be rendered.
    """
    reports = [_report(path, reports_dir, dataset) for path in paths]
    missing = [
        (*heading(io.read_notebook(path)), why) for path, why in sorted((left_out or {}).items())
    ]
    index = _page("index", reports=reports, missing=missing, dataset=_name(dataset))
    contents = {reports_dir / "index.html": index}
    for before, report, after in zip([None, *reports], reports, [*reports[1:], None], strict=False):
        page = _page("report", report=report, before=before, after=after)
        contents[reports_dir / f"{report['name']}.html"] = page
        if report["figure"]:
            figure = base64.b64decode(report["figure"][0])
            contents[reports_dir / "figures" / f"{report['name']}.png"] = figure
    for path, content in contents.items():
        with io.atomic(path) as temporary:
            temporary.write_bytes(content)
    return list(contents)


def mathml(latex: str, *, display: bool = False) -> str:
    r"""A formula (without dollars) as MathML, which browsers draw without a script.

    >>> "<mi>&#x003BB;</mi>" in mathml(r"\lambda")
    True
    """
    try:
        markup = convert(latex.strip(), display="block" if display else "inline")
    except Exception as error:
        raise ValueError(f"cannot render the formula {latex!r}: {error!r}") from error
    unknown = re.search(r"\\\w*|<mi>&</mi>|<mo ?/>", markup)
    braces = re.sub(r"\\[{}\\]", "", latex)
    if unknown or braces.count("{") != braces.count("}"):
        wrong = f"{unknown[0]} is not understood" if unknown else "its braces do not match"
        raise ValueError(f"cannot render the formula {latex!r}: {wrong}; write it another way")
    markup = _FUNCTION.sub(_space_function, markup)
    return _LONE_BAR.sub(r'<mo stretchy="false">\1</mo>', markup)


def tidy_tables(html: str) -> str:
    """Tables without pandas' styles, in a scrollable box, with columns of numbers marked."""
    if "<table" not in html:
        return html
    soup = BeautifulSoup(html, "html.parser")
    for style in soup("style"):
        style.decompose()
    for table in soup("table"):
        for element in (table, *table("tr")):
            element.attrs.pop("border", None)
            element.attrs.pop("style", None)
        _merge_header(table)
        _mark_numbers(table)
        table.wrap(soup.new_tag("div", attrs={"class": "scroll"}))
    return str(soup)


class _Renderer(IPythonRenderer):
    """Markdown to HTML for one notebook: MathML, anchors, the contents, links between reports.

    HTML within the Markdown is shown as text. An output may hold text of the data, which must not
    stop the report: there a formula that cannot be rendered and an image are shown as text, too.
    """

    def __init__(self, up: str) -> None:
        super().__init__(escape=False, allow_harmful_protocols=False)  # entities stay entities
        self.up = up
        self.is_output = False
        self.contents: list[tuple[str, Markup]] = []

    def render(self, source: str) -> str:
        return tidy_tables(MarkdownWithMath(renderer=self).render(source))

    def render_output(self, source: str) -> str:
        self.is_output = True
        try:
            return self.render(source)
        finally:
            self.is_output = False

    def inline_html(self, html: str) -> str:
        dollar = ("<span>", "</span>")  # that `reporting.escape` puts around a dollar
        return html if html in dollar else escape(html)

    def block_html(self, html: str) -> str:
        return f"<p>{escape(html)}</p>\n"

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        plain = unescape(re.sub(r"<[^>]+>", "", text)).strip()
        anchor = re.sub(r"\s", "-", plain)  # as Jupyter does, so that links hold in both
        if level == 2:
            self.contents.append((quote(anchor), Markup(text)))
        link = f'<a class="anchor" href="#{quote(anchor)}" aria-hidden="true" tabindex="-1">#</a>'
        return f'<h{level} id="{escape(anchor)}">{text}{link}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if notebook := _NOTEBOOK_LINK.fullmatch(url):
            url = f"{notebook[1]}.html{notebook[2] or ''}"
        elif url.startswith("../reports/"):
            url = url.removeprefix("../reports/")
        elif url.startswith("../"):
            url = self.up + url
        return super().link(text, url, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return text if self.is_output else super().image(text, url, title)

    def inline_math(self, body: str) -> str:
        return self._math(body, "formula")

    def block_math(self, body: str) -> str:
        return self._math(body, "equation")

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def _math(self, body: str, kind: str) -> str:
        try:
            return f'<span class="{kind}">{mathml(body, display=kind == "equation")}</span>'
        except ValueError:
            if not self.is_output:
                raise
            return f"<code>{escape(body)}</code>"


def _space_function(found: re.Match[str]) -> str:
    after = "0em" if found[3] else "0.167em"
    return f'<mo lspace="0.167em" rspace="{after}">{found[2]}</mo>{found[3] or ""}'


def _report(path: Path, reports_dir: Path, dataset: str) -> dict[str, Any]:
    """One notebook, rendered but not yet on a page."""
    result_file = reports_dir / "results" / f"{path.stem}.json"
    found = io.read_json(result_file) if result_file.is_file() else {}
    renderer = _Renderer(up="" if reports_dir.name == "reports" else "../")
    try:
        notebook = io.read_notebook(path)
        number, title, question = heading(notebook)
        first = notebook.cells[0]  # the page shows the title in its header
        first.source = first.source.partition("\n")[2]
        answer = _take_answer(notebook)
        article = _export(notebook, renderer)
        figure, run = _headline_figure(notebook), notebook.metadata.get("run", {})
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return {
        "name": path.stem,
        "number": number,
        "title": title,
        "question": question,
        "answer": Markup(renderer.render_output(answer)),
        "article": Markup(article),
        "contents": renderer.contents,
        "figure": figure,
        "failed": run.get("failed", ""),
        "note": run.get("note", ""),
        "dataset": _name(found.get("dataset", dataset)),
        "finding": found.get("finding", ""),
        "headlines": [each for each in found.get("results", []) if each["headline"]][:3],
    }


def _take_answer(notebook: NotebookNode) -> str:
    """Remove the cell tagged ``answer``; return the Markdown that it shows."""
    cells = [cell for cell in notebook.cells if "answer" in cell.metadata.get("tags", [])]
    notebook.cells = [cell for cell in notebook.cells if cell not in cells]
    outputs = [output for cell in cells for output in cell.outputs]
    return "\n\n".join(output.get("data", {}).get("text/markdown", "") for output in outputs)


def _export(notebook: NotebookNode, renderer: _Renderer) -> str:
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            raise ValueError(f"cell {number} is not executed: run the notebook first")
    exporter = TemplateExporter(
        file_extension=".html",
        template_name="notebook",
        extra_template_basedirs=[str(TEMPLATES)],
    )
    exporter.config.NbConvertBase.display_data_priority = _FORMATS
    exporter.register_filter("markdown2html", renderer.render)
    exporter.register_filter("output2html", renderer.render_output)
    exporter.register_filter("tidy_tables", tidy_tables)
    highlight = Highlight2HTML("ipython3", extra_formatter_options={"nowrap": True})
    exporter.register_filter("highlight_code", highlight)
    return str(exporter.from_notebook_node(notebook)[0])


def _headline_figure(notebook: NotebookNode) -> tuple[str, str] | None:
    """Its PNG as base64 in one line, and its alternative text."""
    cells = [c for c in notebook.cells if "headline-figure" in c.metadata.get("tags", [])]
    for output in (output for cell in cells for output in cell.get("outputs", [])):
        if "image/png" in output.get("data", {}):
            alt = output.metadata.get("image/png", {}).get("alt", "")
            return output.data["image/png"].replace("\n", ""), alt
    return None


def _name(dataset: str) -> str:
    return DATASET_NAMES.get(dataset, dataset)


def _page(template: str, **content: Any) -> bytes:
    return _PAGES.get_template(f"{template}.html.j2").render(content).encode()


def _merge_header(table: Tag) -> None:
    """Merge the row that pandas adds for the name of the index into the row of column names."""
    rows = [row("th") for row in table.select("thead tr")]
    if len(rows) != 2 or len(rows[0]) != len(rows[1]):
        return
    pairs = list(zip(*rows, strict=True))
    if all(not top.text.strip() or not bottom.text.strip() for top, bottom in pairs):
        for top, bottom in pairs:
            top.string = (top.text + bottom.text).strip()
        table.select("thead tr")[1].decompose()


def _mark_numbers(table: Tag) -> None:
    rows = [row(["th", "td"]) for row in table("tr")]
    for place in range(1, max(map(len, rows), default=0) + 1):  # from the right: no row spans there
        column = [row[-place] for row in rows if len(row) >= place]
        texts = {cell.text.strip() for cell in column if cell.name == "td"} - _BLANK
        if texts and all(_NUMBER.fullmatch(text) for text in texts):
            for cell in column:
                cell["class"] = "number"
