"""Reports: what they show, that they stand alone, and that a failure leaves the old ones."""

import base64
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import report_fixtures as fixtures
from bs4 import BeautifulSoup
from nbformat import NotebookNode, v4

from helpers import files, reports
from helpers.results import Result

NAMES = ("01_first", "02_second")


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
    results = {"results": [asdict(number) for number in numbers]}
    files.write_json(folder / "reports" / "results" / f"{NAMES[0]}.json", results)
    reports.render(save_both(folder), folder / "reports")
    return folder / "reports"


@pytest.fixture
def page(rendered: Path) -> BeautifulSoup:
    return BeautifulSoup((rendered / "01_first.html").read_text(encoding="utf-8"), "html.parser")


def render_one(folder: Path, notebook: NotebookNode, **settings: Any) -> str:
    path = fixtures.save(folder / "01_first.ipynb", notebook)
    reports.render([path], folder / "reports", **settings)
    return (folder / "reports" / "01_first.html").read_text(encoding="utf-8")


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
        (r"\begin{aligned} a &= b \\ &= c \end{aligned}", '<mtd columnalign="right">'),
        (r"\lVert x \rVert", '<mo stretchy="false">&#x02016;</mo>'),
        (r"a\log(x)", '<mo lspace="0.167em" rspace="0em">log</mo>'),
        (r"\log_2 x", '<mo lspace="0.167em" rspace="0.167em">log</mo>'),
        (r"\operatorname*{arg\,min}_x", "arg&#x02009;min"),
    ],
)
def test_formulas_become_mathml(latex: str, expected: str) -> None:
    assert expected in reports.mathml(latex)


@pytest.mark.parametrize("latex", [r"\nonsense x", r"\frac{1", "a & b", r"\begin{aligned} a", ""])
def test_a_formula_that_cannot_be_rendered_is_named(latex: str) -> None:
    with pytest.raises(ValueError, match="cannot render the formula") as caught:
        reports.mathml(latex)
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


# Cells and outputs


def test_outputs_of_every_kind_show(page: BeautifulSoup) -> None:
    article = page.select_one("article")
    assert "<b>not bold</b>" in article.text
    assert [em.text for em in article.select(".outputs em")] == ["Star Wars"]
    assert article.select_one(".outputs .prose mfrac")
    assert article.select_one(".outputs math msup")
    image = article.select_one("figure img")
    assert image["src"].startswith("data:image/png;base64,")
    assert image["alt"] == 'Clicks per film fall steeply, "long tail" & all'
    assert "0/20" not in article.text


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
    html = (
        "<table><tr><th></th><th colspan=2>both</th></tr>"
        "<tr><th rowspan=2>a</th><td>-1.5</td><td>12 Angry Men</td></tr>"
        "<tr><td>NaN</td><td>12</td></tr></table>"
    )
    marked = BeautifulSoup(reports.tidy_tables(html), "html.parser").select("td.number")
    assert [cell.text for cell in marked] == ["-1.5", "NaN"]
    assert reports.tidy_tables("<table></table>") == ('<div class="scroll"><table></table></div>')


# Navigation


def test_contents_lead_to_every_section(page: BeautifulSoup) -> None:
    anchors = {heading["id"] for heading in page.select("h2")}
    wide = page.select(".toc.wide a")
    assert [link["href"] for link in wide][1:5] == [
        "#A-table",
        "#A-table-2",
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
    html = render_one(tmp_path, fixtures.notebook(), dataset="events.csv", nested=True)
    assert 'href="../../data/README.md"' in html


# The banner, the index


def test_a_notebook_with_a_data_set_of_its_own_is_named_after_it(tmp_path: Path) -> None:
    notebook = fixtures.notebook()
    for cell in notebook.cells:
        cell.source = cell.source.replace("movielens-100k", "online-retail")
    html = render_one(tmp_path, notebook)
    assert "Notebook 1 · UCI Online Retail" in html
    assert 'class="banner"' not in html
    index = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert "Notebook 1 · UCI Online Retail" in index
    other = render_one(tmp_path, notebook, dataset="events.csv", nested=True)
    assert "written for UCI Online Retail" in other


def test_only_another_data_set_gets_a_banner(rendered: Path, tmp_path: Path) -> None:
    assert 'class="banner"' not in (rendered / "01_first.html").read_text(encoding="utf-8")
    html = render_one(tmp_path, fixtures.notebook(), dataset="<events>")
    banner = BeautifulSoup(html, "html.parser").select_one(".banner")
    assert banner.text.startswith(
        "This run used <events>. Prose that speaks of particular items was written"
    )
    assert 'class="banner"' in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")


def test_the_index_has_a_card_for_each_notebook(rendered: Path) -> None:
    html = (rendered / "index.html").read_text(encoding="utf-8")
    cards = BeautifulSoup(html, "html.parser").select(".card")
    assert [card.a["href"] for card in cards] == ["01_first.html", "02_second.html"]
    assert [number.text for number in cards[0].select(".shown")] == ["943"]
    assert not cards[1].select("dl")
    figure = rendered / cards[0].img["src"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert cards[0].img["alt"].startswith("Clicks per film")


def test_no_more_than_four_headlines(tmp_path: Path) -> None:
    result = {"headline": True, "metric": "users", "shown": "943", "definition": "People."}
    path = tmp_path / "reports" / "results" / "01_first.json"
    files.write_json(path, {"results": [result] * 9})
    render_one(tmp_path, fixtures.notebook())
    index = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert index.count('class="shown"') == reports.MAX_HEADLINES


# What is refused


@pytest.mark.parametrize(
    ("first", "seen"),
    [("# Data loading", "# Data loading"), ("# 1. Data loading", "1. Data"), ("", "''")],
)
def test_a_heading_of_another_form_is_refused(tmp_path: Path, first: str, seen: str) -> None:
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(first)])
    path = fixtures.save(tmp_path / "01_first.ipynb", notebook)
    with pytest.raises(ValueError, match=r"01_first.ipynb: begins with .*expected") as caught:
        reports.heading(path)
    assert seen in str(caught.value)


def test_a_heading_is_read_in_parts(tmp_path: Path) -> None:
    source = "# 12. Data loading: what does `the log` hold: all?\nmore"
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(source)])
    path = fixtures.save(tmp_path / "12_data.ipynb", notebook)
    expected = reports.Heading(12, "Data loading", "What does the log hold: all?")
    assert reports.heading(path) == expected


@pytest.mark.parametrize("alt", [None, "", "  "])
def test_a_figure_without_alternative_text_is_refused(tmp_path: Path, alt: str | None) -> None:
    cell = fixtures.code("draw()", fixtures.figure_output(fixtures.png(), alt))
    notebook = with_cell(cell)
    place = len(notebook.cells)
    with pytest.raises(ValueError, match=rf"01_first.ipynb: cell {place} .*alternative text"):
        render_one(tmp_path, notebook)


def test_a_notebook_that_was_not_executed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"01_first.ipynb: cell \d+ is not executed"):
        render_one(tmp_path, with_cell(v4.new_code_cell("1 + 1")))


def test_a_headline_cell_without_figure_is_refused(tmp_path: Path) -> None:
    notebook = v4.new_notebook(
        cells=[
            v4.new_markdown_cell("# 1. A: b?"),
            fixtures.code("1", tags=("headline-figure",)),
        ]
    )
    with pytest.raises(ValueError, match=r"01_first.ipynb: .*headline-figure shows no PNG"):
        render_one(tmp_path, notebook)


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        '<img alt="x" src="https://example.org/x.png">',
        "<iframe src='x.html'></iframe>",
        '<link rel="stylesheet" href="x.css">',
    ],
)
def test_an_output_that_needs_more_than_the_page_is_refused(tmp_path: Path, html: str) -> None:
    output = v4.new_output("display_data", data={"text/html": html, "text/plain": "x"})
    with pytest.raises(ValueError, match=r"01_first.ipynb: .*stands alone"):
        render_one(tmp_path, with_cell(fixtures.code("show()", output)))


def test_a_page_that_is_too_large_is_refused(tmp_path: Path) -> None:
    noise = base64.b64encode(os.urandom(1_200_000)).decode()
    cell = fixtures.code("draw()", fixtures.figure_output(noise, "noise"))
    with pytest.raises(ValueError, match=r"01_first.ipynb: renders to a page of 1\.\d\d MB"):
        render_one(tmp_path, with_cell(cell))


# Writing


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_rendering_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = save_both(tmp_path)
    for folder in ("one", "two"):
        written = reports.render(paths, tmp_path / folder)
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
    reports.render(paths, tmp_path / "reports")
    before = contents(tmp_path / "reports")
    changed = with_cell(v4.new_markdown_cell("New."))
    fixtures.save(paths[0], changed)
    changed.cells.append(v4.new_code_cell("not_run()"))
    fixtures.save(paths[1], changed)
    with pytest.raises(ValueError, match=r"02_second.ipynb: cell \d+ is not executed"):
        reports.render(paths, tmp_path / "reports")
    assert contents(tmp_path / "reports") == before
