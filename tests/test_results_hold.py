"""The committed results are those that the notebooks write: to full precision, not as printed."""

import os
import shutil
from pathlib import Path

import pytest

from helpers import files, reports

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("notebooks/[0-9]*.ipynb"))


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_nbval_wrote_the_committed_results(root, request, name):
    """nbval has just executed the notebooks; conftest.py sent their results to another folder."""
    if not any(item.path.stem == name for item in request.session.items):
        assert not os.environ.get("CI"), f"CI must execute {name}"
        pytest.skip(f"{name} is not part of this run, so there are no fresh results to compare")
    fresh = files.read_json(Path(os.environ["PORTFOLIO_REPORTS"]) / "results" / f"{name}.json")
    kept = files.read_json(root / "reports" / "results" / f"{name}.json")
    new, old = fresh.pop("results"), kept.pop("results")
    assert fresh == kept
    assert [each["metric"] for each in new] == [each["metric"] for each in old]
    for result, committed in zip(new, old, strict=True):
        assert result["shown"] == committed["shown"]
        # Implicit's default solver takes part in this one; see the notes of sweeps.fit.
        rough = committed["metric"] == "solver"
        assert result["value"] == pytest.approx(committed["value"], rel=1e-2 if rough else 1e-8)
        low_high = committed["interval"] or []
        assert (result["interval"] or []) == pytest.approx(low_high, rel=1e-8)


def test_the_committed_reports_are_those_of_the_committed_notebooks(root, tmp_path):
    """Rendering is deterministic, so a stale or edited page differs."""
    shutil.copytree(root / "reports" / "results", tmp_path / "results")
    for page in reports.render(NOTEBOOKS, tmp_path):
        committed = root / "reports" / page.relative_to(tmp_path)
        assert page.read_bytes() == committed.read_bytes(), f"{committed.name}: run `make report`"
