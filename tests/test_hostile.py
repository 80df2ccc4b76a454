"""Whatever the texts of a log hold: no script runs, no request leaves, and they show as they are.

The pages are opened without their Content-Security-Policy, so that the escapes have to do it alone;
the policy has a test of its own.
"""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import report_fixtures as fixtures
from hostile_fixtures import ACTIVE, PAYLOADS, incidents, shown
from nbformat import NotebookNode, v4
from playwright.sync_api import Browser, Page

from helpers import io
from helpers.reporting import Result, escape, html


def markdown(text: str) -> NotebookNode:
    output = v4.new_output("display_data", data={"text/markdown": text, "text/plain": "x"})
    return fixtures.code("show()", output)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One notebook that has every payload at every place where a page shows a text."""
    folder = tmp_path_factory.mktemp("hostile")
    joined = " ; ".join(PAYLOADS)
    frame = pd.DataFrame({p: [p, p] for p in PAYLOADS}, index=pd.Index(["a", PAYLOADS[0]]))
    with pd.option_context("display.max_colwidth", None, "display.max_columns", None):
        table = frame.rename_axis(PAYLOADS[-1])._repr_html_()
    notebook = fixtures.notebook()
    notebook.cells += [
        markdown("\n".join(f"- {escape(payload)}" for payload in PAYLOADS)),
        markdown("\n\n".join(f"*{escape(payload)}*: `code`" for payload in PAYLOADS)),
        *(markdown(f"forgotten to escape: {payload}\n\n{payload}") for payload in PAYLOADS),
        fixtures.code("table", v4.new_output("display_data", {"text/html": table})),
        fixtures.code("print()", v4.new_output("stream", name="stdout", text=joined)),
        fixtures.code(f"path = {joined!r}", fixtures.figure_output(fixtures.png(), joined)),
        fixtures.code("draw()", v4.new_output("error", ename="E", evalue="", traceback=[joined])),
    ]
    notebook.cells[2].outputs[0].data["text/markdown"] = escape(joined)
    notebook.metadata.run = {"failed": joined}
    result = asdict(Result(joined, 1, joined, joined, headline=True))
    content = {"dataset": joined, "finding": joined, "results": [result]}
    io.write_json(folder / "reports" / "results" / "01_first.json", content)
    paths = [fixtures.save(folder / f"0{n}_first.ipynb", notebook) for n in (1, 2)]
    html.render(paths[:1], folder / "reports", dataset=joined, left_out={paths[1]: joined})
    return folder / "reports"


@pytest.mark.parametrize("name", ["01_first", "index"])
def test_every_payload_shows_as_text_wherever_a_page_has_texts(
    unprotected: Page, written: Path, name: str
) -> None:
    assert incidents(unprotected, written / f"{name}.html") == []
    assert unprotected.evaluate(ACTIVE) == []
    text = shown(unprotected)
    assert [payload for payload in PAYLOADS if payload not in text] == []


@pytest.mark.parametrize("name", ["01_first", "index"])
def test_the_policy_stops_what_the_escapes_let_through(
    browser: Browser, written: Path, name: str
) -> None:
    leaky = "\n".join(each for each in PAYLOADS[3:8] + PAYLOADS[15:44] if "refresh" not in each)
    text = (written / f"{name}.html").read_text(encoding="utf-8")
    path = written / f"leaky {name}.html"
    path.write_text(text.replace("</main>", f"{leaky}</main>", 1), encoding="utf-8")
    found = {}
    for bypass in (False, True):
        context = browser.new_context(bypass_csp=bypass)
        found[bypass] = incidents(context.new_page(), path)
        context.close()
    assert found[False] == []
    assert {each[:7] for each in found[True]} == {"dialog:", "request"}
