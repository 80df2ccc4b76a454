"""Reports: what they show, that they stand alone, and that a failure leaves the old ones."""

import base64
import json
import math
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import report_fixtures as fixtures
from bs4 import BeautifulSoup
from nbformat import NotebookNode, v4

from helpers import datasets, io, metrics, plots, reporting
from helpers.reporting import Claim, Result, escape, html, with_interval, write_results

NAMES = ("01_first", "02_second")
MAX_BYTES = 1_500_000


def save_both(folder: Path) -> list[Path]:
    return [
        fixtures.save(folder / f"{name}.ipynb", fixtures.notebook(number))
        for number, name in enumerate(NAMES, start=1)
    ]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with a space")
    numbers = [
        Result("users", 943, "People with a rating.", "943", headline=True),
        Result("items", 1682, "Films with a rating.", "1,682"),
    ]
    results = {
        "dataset": "movielens-100k",
        "finding": "There are 943 users.",
        "results": [asdict(number) for number in numbers],
    }
    io.write_json(folder / "reports" / "results" / f"{NAMES[0]}.json", results)
    html.render(save_both(folder), folder / "reports", dataset="movielens-100k")
    return folder / "reports"


@pytest.fixture
def page(rendered: Path) -> BeautifulSoup:
    return BeautifulSoup((rendered / "01_first.html").read_text(encoding="utf-8"), "html.parser")


def render_one(folder: Path, notebook: NotebookNode, reports: str = "reports") -> str:
    path = fixtures.save(folder / "01_first.ipynb", notebook)
    html.render([path], folder / reports, dataset="my-shop")
    return (folder / reports / "01_first.html").read_text(encoding="utf-8")


def with_cell(cell: NotebookNode) -> NotebookNode:
    notebook = fixtures.notebook()
    notebook.cells.append(cell)
    return notebook


# Mathematics


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\lambda", "<mi>&#x003BB;</mi>"),
        (r"Y^\top C_u Y", "<msup><mi>Y</mi><mo>&#x022A4;</mo></msup>"),
        (r"\begin{pmatrix} 1 & 0 \\ 0 & 2 \end{pmatrix}", "<mtd><mn>2</mn></mtd>"),
        (r"\lVert x \rVert", '<mo stretchy="false">&#x02016;</mo>'),
        (r"a\log(x)", '<mo lspace="0.167em" rspace="0em">log</mo>'),
        (r"\log_2 x", '<mo lspace="0.167em" rspace="0.167em">log</mo>'),
    ],
)
def test_formulas_become_mathml(latex: str, expected: str) -> None:
    assert expected in html.mathml(latex)


@pytest.mark.parametrize("latex", [r"\nonsense x", r"\frac{1", "a & b", r"\begin{aligned} a", ""])
def test_a_formula_that_cannot_be_rendered_is_named(latex: str) -> None:
    with pytest.raises(ValueError, match="cannot render the formula") as caught:
        html.mathml(latex)
    assert repr(latex) in str(caught.value)


def test_dollars_are_formulas_in_prose_only(page: BeautifulSoup) -> None:
    assert len(page.select("article .equation > math[display=block]")) == 2
    assert page.find("code", string="$5 and $6")
    assert "costs $x$" in page.select_one("article pre.highlight").text
    assert '"$x$"  # a dollar, not a formula: $$' in page.select_one(".prose pre").text
    prose = page.select_one("article")
    for code in prose(["pre", "code"]):
        code.extract()
    assert "$" not in prose.text
    assert "\\" not in prose.text


def test_a_bad_formula_names_the_notebook(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"01_first.ipynb: cannot render .*nonsense"):
        render_one(tmp_path, with_cell(v4.new_markdown_cell(r"$\nonsense$")))


@pytest.mark.parametrize("text", [r"$\nonsense$", r"Lamp \\(\frac{1\\)", "<script", "![x](//y.z)"])
def test_an_output_cannot_break_the_rendering(tmp_path: Path, text: str) -> None:
    shown = v4.new_output("display_data", data={"text/markdown": f"> {text}", "text/plain": "x"})
    page = render_one(tmp_path, with_cell(fixtures.code("show()", shown)))
    (quoted,) = BeautifulSoup(page, "html.parser").select(".outputs blockquote")
    expected = re.sub(r"\$|\\\\[()]|!\[(x)\].*", r"\1", text)
    assert " ".join(quoted.text.split()) == expected


def test_texts_beside_a_figure_are_no_tags(tmp_path: Path) -> None:
    cell = fixtures.code("draw()", fixtures.figure_output(fixtures.png(), "a src=//b.c <script"))
    page = BeautifulSoup(render_one(tmp_path, with_cell(cell)), "html.parser")
    assert page("img")[-1]["alt"] == "a src=//b.c <script"


def test_names_on_the_map_of_items_are_no_formulas(root: Path) -> None:
    """The cell of notebook 3 that draws the map, with titles that matplotlib cannot read as TeX."""
    titles = [r"$\frac{a$", r"Lamp \(a_1 <b\) $$", "$x$", "$5 and $6"]
    names: dict[str, Any] = {
        "drawable": True, "dated": False, "np": np, "plt": plt, "plots": plots, "known": range(4),
        "dots": np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), "names": pd.Series(titles),
        "train": SimpleNamespace(item_counts=np.ones(4)), "map_title": "Map",
    }  # fmt: skip
    for cell in io.read_notebook(root / "notebooks" / "03_als_training.ipynb").cells:
        if "Names stand where there is room" in cell.source:
            exec(cell.source, names)
    assert [text.get_text() for text in names["ax"].texts] == titles


# Cells and outputs


def test_outputs_of_every_kind_show(page: BeautifulSoup) -> None:
    article = page.select_one("article")
    assert "<b>not bold</b>" in article.text
    assert [em.text for em in article.select(".outputs em")] == ["Star Wars"]
    assert article.select_one(".outputs .prose mfrac")
    image = article.select_one("figure img")
    assert image["src"].startswith("data:image/png;base64,")
    assert image["alt"] == 'Clicks per film fall steeply, "long tail" & all'


def test_tags_decide_what_shows(page: BeautifulSoup) -> None:
    labels = {p.text: p.find_next("pre").text for p in page.select(".source .label")}
    assert labels == {
        "Default parameters": 'dataset: str = "movielens-100k"  # name or path\n',
        "Parameters of this run": '# Parameters\ndataset = "events.csv"\n',
    }
    assert "display(Markdown" not in page.text


def test_a_table_of_pandas_is_neat(page: BeautifulSoup) -> None:
    table = page.select_one("table.dataframe")
    assert table.parent["class"] == ["scroll"]
    header = [(cell.text, cell.get("class")) for cell in table.select("thead th")]
    number = ["number"]
    assert header == [
        ("rank", None),
        ("title", None),
        ("watches", number),
        ("share", number),
        ("interval", number),
        ("first seen", number),
    ]
    assert len(table("tr")) == 4
    assert not table.select("[style], [border]")
    assert not page.select("article style")


def test_columns_of_numbers_are_marked_whatever_their_shape() -> None:
    table = (
        "<table><tr><th></th><th colspan=2>both</th></tr>"
        "<tr><th rowspan=2>a</th><td>-1.5</td><td>12 Angry Men</td></tr>"
        "<tr><td>NaN</td><td>12</td></tr></table>"
    )
    marked = BeautifulSoup(html.tidy_tables(table), "html.parser").select("td.number")
    assert [cell.text for cell in marked] == ["-1.5", "NaN"]
    assert html.tidy_tables("<table></table>") == ('<div class="scroll"><table></table></div>')


# Navigation


def test_contents_lead_to_every_section(page: BeautifulSoup) -> None:
    anchors = {heading["id"] for heading in page.select("h2")}
    wide = page.select(".toc.wide a")
    assert [link["href"] for link in wide][1:5] == [
        "#A-table",
        "#Again",
        "#The-figure",
        "#What-we-found",
    ]
    assert len(wide) == len(anchors) == len(page.select(".toc.narrow details a"))
    assert wide[0].select_one("math")


def test_links_lead_to_reports(rendered: Path, page: BeautifulSoup) -> None:
    targets = [link["href"] for link in page.select("article li a, article p a")]
    assert targets == [
        "02_second.html#A-table",
        "01_first.html",
        "../data/README.md",
        "https://github.com/benfred/implicit",
    ]
    assert [link["href"] for link in page.select("[rel=next]")] == ["02_second.html"] * 2
    assert not page.select("[rel=prev]")
    assert len(page.select(".home[href='index.html']")) == 2


def test_the_page_has_one_title_and_landmarks(page: BeautifulSoup) -> None:
    assert page.html["lang"] == "en"
    assert page.title.text == "1. Fixture pages · MovieLens 100K"
    assert [heading.text for heading in page("h1")] == ["Fixture pages"]
    assert page.select_one("main .title .question").text == "Does everything show?"
    assert page.select_one("a.skip")["href"] == f"#{page.main['id']}"
    assert page.select_one("meta[name=viewport]")


def test_links_of_another_data_set_go_one_folder_up(tmp_path: Path) -> None:
    page = render_one(tmp_path, fixtures.notebook(), "reports/my-shop")
    assert 'href="../../data/README.md"' in page


# The answer, failures, the index


def test_the_answer_stands_under_the_title(page: BeautifulSoup) -> None:
    answer = page.select_one("main .title .answer")
    assert [em.text for em in answer("em")] == ["everything"]
    assert answer.select_one("mfrac")
    assert "answer_slot" not in page.text


def test_a_report_is_named_after_the_data_set_of_its_results(
    rendered: Path, tmp_path: Path
) -> None:
    assert "Notebook 1 · MovieLens 100K" in (rendered / "01_first.html").read_text("utf-8")
    assert "Notebook 1 · my-shop" in render_one(tmp_path, fixtures.notebook())


def test_a_failure_is_said_on_the_page_and_on_the_index(tmp_path: Path) -> None:
    notebook = fixtures.notebook()
    notebook.metadata.run = {"failed": "stopped in cell 3 of 9. KeyError: <x>"}
    path = fixtures.save(tmp_path / "01_first.ipynb", notebook)
    other = fixtures.save(tmp_path / "02_second.ipynb", fixtures.notebook(2))
    why = "It was left out."
    html.render([path], tmp_path / "reports", dataset="a", left_out={other: why})
    pages = [
        BeautifulSoup((tmp_path / "reports" / name).read_text("utf-8"), "html.parser")
        for name in ("01_first.html", "index.html")
    ]
    said = [[note.text for note in page.select(".failed")] for page in pages]
    stopped = "stopped in cell 3 of 9. KeyError: <x>"
    assert said == [[stopped], [stopped, why]]


def test_the_index_has_a_card_for_each_notebook(rendered: Path) -> None:
    text = (rendered / "index.html").read_text(encoding="utf-8")
    cards = BeautifulSoup(text, "html.parser").select(".card")
    assert [card.a["href"] for card in cards] == ["01_first.html", "02_second.html"]
    assert [number.text for number in cards[0].select(".shown")] == ["943"]
    assert [card.select_one(".question").text for card in cards] == [
        "There are 943 users.",
        "Does everything show?",
    ]
    assert not cards[1].select("dl")
    figure = (rendered / "figures" / "01_first.png").read_bytes()
    assert figure.startswith(b"\x89PNG")
    assert cards[0].img["src"] == f"data:image/png;base64,{base64.b64encode(figure).decode()}"
    assert cards[0].img["alt"].startswith("Clicks per film")


def test_no_more_than_three_headlines(tmp_path: Path) -> None:
    result = {"headline": True, "metric": "users", "shown": "943", "definition": "People."}
    path = tmp_path / "reports" / "results" / "01_first.json"
    io.write_json(path, {"results": [result] * 9})
    render_one(tmp_path, fixtures.notebook())
    index = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert index.count('class="shown"') == 3


# What is refused


@pytest.mark.parametrize("first", ["# Data loading", "# 1. Data loading", ""])
def test_a_heading_of_another_form_is_refused(tmp_path: Path, first: str) -> None:
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(first)])
    with pytest.raises(ValueError, match=r"01_first.ipynb: begins with .*expected") as caught:
        render_one(tmp_path, notebook)
    assert repr(first) in str(caught.value)


def test_a_heading_is_read_in_parts() -> None:
    source = "# 12. Data loading: what does `the log` hold: all?\nmore"
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(source)])
    assert html.heading(notebook) == (12, "Data loading", "What does the log hold: all?")


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.ipynb").write_text("{")
    with pytest.raises(ValueError, match=r"x\.ipynb is not a notebook"):
        io.read_notebook(tmp_path / "x.ipynb")


def test_a_notebook_that_was_not_executed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"01_first.ipynb: cell \d+ is not executed"):
        render_one(tmp_path, with_cell(v4.new_code_cell("1 + 1")))


# Writing


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_rendering_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = save_both(tmp_path)
    for folder in ("one", "two"):
        written = html.render(paths, tmp_path / folder, dataset="a")
        assert sorted(map(str, written)) == sorted(
            str(tmp_path / folder / name) for name in contents(tmp_path / folder)
        )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert set(contents(tmp_path / "one")) == {
        "01_first.html",
        "02_second.html",
        "index.html",
        "figures/01_first.png",
        "figures/02_second.png",
    }


def test_a_failure_leaves_the_old_reports(tmp_path: Path) -> None:
    paths = save_both(tmp_path)
    html.render(paths, tmp_path / "reports", dataset="a")
    before = contents(tmp_path / "reports")
    changed = with_cell(v4.new_markdown_cell("New."))
    fixtures.save(paths[0], changed)
    changed.cells.append(v4.new_code_cell("not_run()"))
    fixtures.save(paths[1], changed)
    with pytest.raises(ValueError, match=r"02_second.ipynb: cell \d+ is not executed"):
        html.render(paths, tmp_path / "reports", dataset="a")
    assert contents(tmp_path / "reports") == before


# Results, and the sentences that notebooks generate


WRITTEN = {"dataset": "d", "data_sha256": "0", "answer": "Yes.", "finding": "It holds."}


@pytest.fixture
def results_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PORTFOLIO_REPORTS", raising=False)
    return tmp_path / "reports"


def test_results_hold_what_was_given_as_plain_json(results_dir: Path) -> None:
    results = [
        Result("Users", np.int64(943), "People.", "943", (1.0, np.float64(2)), headline=True),
        Result("A mean of nothing", math.nan, "Nothing.", "nan", (math.nan, 1.0)),
        Result("An interval of nothing", 1.0, "One.", "1", (math.nan, 1.0)),
        Result("Best model", "ALS", "By name.", "ALS"),
    ]
    claim = Claim("store project", "It works", "confirmed", "It does.")
    parameters = {"k": np.int64(10), "tried": (1, math.inf)}
    path = write_results(
        results_dir, "01_first", results, parameters=parameters, claims=[claim], **WRITTEN
    )
    assert path == results_dir / "results" / "01_first.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found.pop("results") == [
        {"metric": "Users", "value": 943, "definition": "People.", "shown": "943",
         "interval": [1.0, 2.0], "headline": True},
        {"metric": "A mean of nothing", "value": None, "definition": "Nothing.",
         "shown": "not defined", "interval": None, "headline": False},
        {"metric": "An interval of nothing", "value": 1.0, "definition": "One.", "shown": "1",
         "interval": None, "headline": False},
        {"metric": "Best model", "value": "ALS", "definition": "By name.", "shown": "ALS",
         "interval": None, "headline": False},
    ]  # fmt: skip
    assert found == WRITTEN | {
        "notebook": "01_first",
        "parameters": {"k": 10, "tried": [1, None]},
        "claims": [asdict(claim)],
        "skipped": [],
    }


@pytest.mark.parametrize("value", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT, -math.inf])
def test_what_is_not_defined_is_a_value(results_dir: Path, value: Any) -> None:
    results = [Result("Mean", value, "Of none.", "nan%", (value, 1.0), headline=True)]
    results.append(Result("Users", 1, "People.", "1", (value, value)))
    parameters = {"tried": np.array([1.0, math.nan])}
    path = write_results(results_dir, "01_first", results, parameters=parameters, **WRITTEN)
    found = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert found["parameters"] == {"tried": [1.0, None]}
    shown = [(each["value"], each["shown"], each["interval"]) for each in found["results"]]
    assert shown == [(None, "not defined", None), (1, "1", None)]
    render_one(results_dir.parent, fixtures.notebook())
    index = (results_dir / "index.html").read_text(encoding="utf-8")
    assert '<dd class="shown">not defined</dd>' in index


def test_shares_of_nothing_are_not_defined(root: Path, results_dir: Path) -> None:
    """Notebook 7 divides by the number of planted rows, of accounts of a kind, and so on."""
    names = {"np": np, "metrics": metrics, "with_interval": with_interval, "Result": Result}
    for cell in io.read_notebook(root / "notebooks" / "07_store_cleaning.ipynb").cells:
        if cell.source.startswith(("def share(", "def counted(")):
            functions = cell.source.partition("\ncrawlers = ")[0].partition("\nof_all, ")[0]
            exec(functions, names)
    assert names["share"](0, 0) == "not defined"
    result = names["counted"]("Precision, staff", 0, np.int64(0), "Of nobody.")
    path = write_results(results_dir, "07_store", [result], parameters={}, **WRITTEN)
    assert json.loads(path.read_text(encoding="utf-8"))["results"][0]["shown"] == "not defined"


def test_a_check_can_send_results_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTFOLIO_REPORTS", str(tmp_path / "other"))
    path = write_results("committed", "01_first", [], parameters={}, **WRITTEN)
    assert path == tmp_path / "other" / "results" / "01_first.json"


def test_what_was_skipped_is_shown_and_written_once(
    results_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(reporting, "display", lambda markdown: shown.append(markdown.data))
    for _ in range(2):
        reporting.skip("Rows over time", "The log has no *times*.")
    write = (results_dir, "01_first", [])
    found = io.read_json(write_results(*write, parameters={}, **WRITTEN))
    assert found["skipped"] == [{"analysis": "Rows over time", "reason": "The log has no *times*."}]
    assert shown == ["*Skipped: Rows over time. The log has no &#42;times&#42;.*"] * 2
    assert io.read_json(write_results(*write, parameters={}, **WRITTEN))["skipped"] == []


def test_a_remark_is_for_its_data_set_only(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(reporting, "display", lambda markdown: shown.append(markdown.data))
    reporting.remark("movielens-100k", "movielens-100k", "Films.")
    reporting.remark("my-shop", "movielens-100k", "Films.")
    assert shown == ["Films."]


def test_bad_results_are_refused(results_dir: Path) -> None:
    twice = [Result("a", 1, "b", "c")] * 2
    with pytest.raises(ValueError, match=r"metric \['a'\] twice"):
        write_results(results_dir, "01_first", twice, parameters={}, **WRITTEN)
    with pytest.raises(ValueError, match="must not be empty"):
        write_results(results_dir, "01_first", [], parameters={}, **WRITTEN | {"answer": " "})
    with pytest.raises(ValueError, match="verdict is 'true'; expected one of confirmed"):
        Claim("a", "b", "true", "c")


@pytest.mark.parametrize(
    ("numbers", "signed", "shown"),
    [
        ((0.1389, 0.1177, 0.1612), False, "0.139 [0.118, 0.161]"),
        ((0.0011, -0.001, 0.0032), True, "+0.0011 [-0.0010, +0.0032]"),
        ((1500.4, 1200, 1900), False, "1,500 [1,200, 1,900]"),
        ((0.5, 0.41, 0.6), False, "0.50 [0.41, 0.60]"),
        ((3, 3, 3), False, "3.000 [3.000, 3.000]"),
        ((1e-9, 0, 2e-9), False, "0.000000 [0.000000, 0.000000]"),
        ((math.nan, 0, 1), False, "not defined"),
    ],
)
def test_decimals_follow_the_width_of_the_interval(
    numbers: tuple[float, float, float], signed: bool, shown: str
) -> None:
    assert with_interval(*numbers, signed=signed) == shown


TEXTS = (
    "&copy; 5", "Tea & Co.", "&#42;", "~~x~~", "1. FC", "12) a", "1.5 kg", "- a", "+ a", "# h",
    "$5 and $6", "$$x$$", "\\$5", "\\(x\\)", "\\[x\\]", "\\begin{a}x\\end{a}", "*a* _b_ __c__",
    "`x`", "<b>x</b>", "<script>alert(1)</script>", "[a](b)", "![x](y)", "a|b", "https://x.org/y",
    "www.x.org", "a@b.org", "===", "---", "***", "> q", "    code", "a\n\nb", "- [ ] t", "C:\\new",
    "term\n: def", "2 * 3 * 4", "Toy Story (1995)", "Crème brûlée 50% «7»",
)  # fmt: skip


@pytest.mark.parametrize("around", ["{}", "- {}", "Most liked: **{}**, by far.", "*{}*"])
def test_text_of_the_data_renders_as_it_is(tmp_path: Path, around: str) -> None:
    cells = ["# 1. A: b?", around.format("x"), *(around.format(escape(text)) for text in TEXTS)]
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(cell) for cell in cells])
    page = BeautifulSoup(render_one(tmp_path, notebook), "html.parser")
    _, plain, *found = page.select("article .prose")
    for text, shown in zip(TEXTS, found, strict=True):
        for span in shown("span"):
            span.unwrap()
        expected = around.replace("*", "").removeprefix("- ").format(" ".join(text.split()))
        assert " ".join(shown.text.split()) == expected
        assert [tag.name for tag in shown()] == [tag.name for tag in plain()]


# The committed pages


@pytest.fixture(scope="module")
def again(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The committed notebooks, rendered again, by the name of the committed file."""
    folder = tmp_path_factory.mktemp("again") / "reports"
    shutil.copytree(root / "reports" / "results", folder / "results")
    notebooks = sorted(root.glob("notebooks/[0-9]*.ipynb"))
    written = html.render(notebooks, folder, dataset=datasets.DEFAULT)
    return {str(path.relative_to(folder)): path.read_bytes() for path in written}


def test_the_committed_reports_are_those_of_the_committed_notebooks(
    root: Path, again: dict[str, bytes]
) -> None:
    """Rendering is deterministic, so a stale or edited page differs."""
    reports = root / "reports"
    committed = [*reports.glob("*.html"), *reports.glob("figures/*.png")]
    assert sorted(map(str, (path.relative_to(reports) for path in committed))) == sorted(again)
    for name, content in again.items():
        assert content == (reports / name).read_bytes(), f"{name}: run `make report`"


def test_the_reports_are_small_enough_for_the_web(again: dict[str, bytes]) -> None:
    assert {name: len(page) for name, page in again.items() if len(page) > MAX_BYTES} == {}
