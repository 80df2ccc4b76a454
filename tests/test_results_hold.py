"""The committed results are those that the notebooks write: to full precision, not as printed."""

import os
from pathlib import Path

import pytest

from helpers import io

NOTEBOOKS = sorted(Path(__file__).resolve().parents[1].glob("notebooks/[0-9]*.ipynb"))


def pytest_generate_tests(metafunc):
    """A test for each notebook that this run executes, as `make test` has them before this file."""
    given = {Path(argument).resolve() for argument in metafunc.config.args}
    names = [path.stem for path in NOTEBOOKS if given & {path, *path.parents}]
    assert names or not os.environ.get("CI"), "CI must name notebooks, whose results are compared"
    metafunc.parametrize("name", names)


def test_nbval_wrote_the_committed_results(root, name):
    """conftest.py sent the results of this run to another folder."""
    fresh = io.read_json(Path(os.environ["PORTFOLIO_REPORTS"]) / "results" / f"{name}.json")
    kept = io.read_json(root / "reports" / "results" / f"{name}.json")
    new, old = fresh.pop("results"), kept.pop("results")
    assert fresh == kept
    assert [each["metric"] for each in new] == [each["metric"] for each in old]
    for result, committed in zip(new, old, strict=True):
        assert result["shown"] == committed["shown"]
        assert result["value"] == pytest.approx(committed["value"], rel=1e-8)
        assert (result["interval"] or []) == pytest.approx(committed["interval"] or [], rel=1e-8)
