"""Every report in a real browser, without a network: nothing missing, nothing asked for."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import report_fixtures as fixtures
from playwright.sync_api import Browser, BrowserContext, Page, Route

from helpers.reporting import html

ROOT = Path(__file__).parent.parent
# Without any report, the missing index fails.
PAGES = sorted((ROOT / "reports").glob("*.html")) or [ROOT / "reports" / "index.html"]
# What a reader would miss, as a list of complaints.
COMPLAINTS = """() => [
  ...[...document.images].filter(i => !i.complete || i.naturalWidth === 0).map(
      i => `broken image: ${i.alt}`),
  ...[...document.images].filter(i => !i.alt.trim()).map(
      i => `image without alternative text: ${i.src.slice(0, 60)}`),
  ...(document.querySelectorAll('h1').length === 1 ? [] : ['not exactly one h1']),
]"""
TOO_WIDE = """() => document.documentElement.scrollWidth > window.innerWidth
  ? [`${document.documentElement.scrollWidth} px wide in ${window.innerWidth} px`] : []"""
WIDTHS = (1280, 390)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_offline(True)
    yield context
    context.close()


def complaints(context: BrowserContext, path: Path) -> list[str]:
    """What is wrong with a page, as text."""
    found: list[str] = []

    def local_only(route: Route) -> None:
        if urlsplit(route.request.url).scheme in ("file", "data"):
            route.continue_()
        else:
            found.append(f"request: {route.request.url}")
            route.abort()

    page = context.new_page()
    page.route("**/*", local_only)
    page.on("console", lambda message: found.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on("requestfailed", lambda request: found.append(f"failed: {request.url[:100]}"))
    page.goto(path.as_uri(), wait_until="load")
    found += page.evaluate(COMPLAINTS)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        found += page.evaluate(TOO_WIDE)
    found += broken_links(page, path)
    page.close()
    return found


def broken_links(page: Page, path: Path) -> list[str]:
    """Links to files or to places on a page that are not there."""
    found = []
    links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.getAttribute('href'))")
    for link in links:
        parts = urlsplit(link)
        target = path if not parts.path else path.parent / unquote(parts.path)
        if parts.scheme in ("http", "https", "mailto"):
            continue
        if not target.exists():
            found.append(f"link to a file that is not there: {link}")
        elif parts.fragment and target.suffix == ".html":
            anchor = f'id="{escape(unquote(parts.fragment))}"'
            if anchor not in target.read_text(encoding="utf-8"):
                found.append(f"link to a place that is not there: {link}")
    return found


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with a space")
    (folder / "data").mkdir()
    (folder / "data" / "README.md").write_text("Data", encoding="utf-8")
    paths = [
        fixtures.save(folder / f"{name}.ipynb", fixtures.notebook(number))
        for number, name in enumerate(("01_first", "02_second"), start=1)
    ]
    html.render(paths, folder / "reports", dataset="movielens-100k")
    return folder / "reports"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_committed_page_opens_without_a_network(context: BrowserContext, path: Path) -> None:
    assert complaints(context, path) == []


@pytest.mark.parametrize("name", ["index", "01_first", "02_second"])
def test_a_rendered_page_opens_without_a_network(
    context: BrowserContext, rendered: Path, name: str
) -> None:
    assert complaints(context, rendered / f"{name}.html") == []


def test_a_bad_page_is_complained_about(context: BrowserContext, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        '<img src="nothing.png"><script src="https://example.org/x.js"></script>'
        '<script>console.error("hm"); throw Error("oh")</script><a href="none.html">x</a>'
        '<a href="#none">y</a><div style="width: 3000px">wide</div>',
        encoding="utf-8",
    )
    found = " ".join(complaints(context, path))
    for expected in (
        "broken image",
        "without alternative text",
        "request: https://example.org/x.js",
        "console error: hm",
        "error: oh",
        "not exactly one h1",
        "file that is not there: none.html",
        "place that is not there: #none",
        "px wide in 1280",
        "px wide in 390",
    ):
        assert expected in found
