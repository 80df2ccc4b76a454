"""The committed results are those that the notebooks write: to full precision, not as printed."""

import os
import shutil
from pathlib import Path

import pytest

from helpers import datasets, io
from helpers.reporting import html

MAX_BYTES = 1_500_000
NOTEBOOKS = sorted(Path(__file__).parents[1].glob("notebooks/[0-9]*.ipynb"))


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_nbval_wrote_the_committed_results(root, request, name):
    """nbval has just executed the notebooks; conftest.py sent their results to another folder."""
    if not any(item.path.stem == name for item in request.session.items):
        assert not os.environ.get("CI"), f"CI must execute {name}"
        pytest.skip(f"{name} is not part of this run, so there are no fresh results to compare")
    fresh = io.read_json(Path(os.environ["PORTFOLIO_REPORTS"]) / "results" / f"{name}.json")
    kept = io.read_json(root / "reports" / "results" / f"{name}.json")
    new, old = fresh.pop("results"), kept.pop("results")
    assert fresh == kept
    assert [each["metric"] for each in new] == [each["metric"] for each in old]
    for result, committed in zip(new, old, strict=True):
        assert result["shown"] == committed["shown"]
        assert result["value"] == pytest.approx(committed["value"], rel=1e-8)
        assert (result["interval"] or []) == pytest.approx(committed["interval"] or [], rel=1e-8)


@pytest.fixture(scope="module")
def pages(root, tmp_path_factory):
    """The committed notebooks, rendered again, by the name of the committed file."""
    folder = tmp_path_factory.mktemp("again") / "reports"
    shutil.copytree(root / "reports" / "results", folder / "results")
    written = html.render(NOTEBOOKS, folder, dataset=datasets.DEFAULT)
    return {str(page.relative_to(folder)): page.read_bytes() for page in written}


def test_the_committed_reports_are_those_of_the_committed_notebooks(root, pages):
    """Rendering is deterministic, so a stale or edited page differs."""
    reports = root / "reports"
    committed = [*reports.glob("*.html"), *reports.glob("figures/*.png")]
    assert sorted(map(str, (path.relative_to(reports) for path in committed))) == sorted(pages)
    for name, page in pages.items():
        assert page == (reports / name).read_bytes(), f"{name}: run `make report`"


def test_the_reports_are_small_enough_for_the_web(pages):
    assert {name: len(page) for name, page in pages.items() if len(page) > MAX_BYTES} == {}
