"""What a practitioner does: the real notebooks on a log of their own, with their own columns."""

import shutil

import numpy as np
import pandas as pd
import pytest

from helpers import files, portfolio

COLUMNS = "user=who,item=what,timestamp=at,value=how often"


@pytest.fixture(scope="module")
def outcome(root, tmp_path_factory):
    """A copy of the project after a run on a small shop's log, in a folder with a space."""
    copy = tmp_path_factory.mktemp("a shop") / "a copy"
    shutil.copytree(root / "notebooks", copy / "notebooks")
    rng = np.random.default_rng(0)
    who = rng.integers(300, size=4_000)  # more users than items
    log = pd.DataFrame(
        {
            "who": [f"customer {user}" for user in who],
            # Two kinds of customers, each with a half of the catalogue that it prefers.
            # Names hold what Markdown and mathematics take for their own.
            "what": [f"$ku_*{(60 * (u % 2) + int(70 * rng.random() ** 2)) % 120}*" for u in who],
            "at": np.sort(rng.integers(1_600_000_000, 1_600_900_000, size=len(who))),
            "how often": rng.integers(0, 4, size=len(who)) * 1.1,
        }
    )
    path = copy / "My Shop.csv"
    log.to_csv(path, index=False)
    settings = {
        "factors": "8", "iterations": "5", "budget": "3", "grid_users": "60",
        "store_factors": "8", "half_lives": "5", "customers": "40",
    }  # fmt: skip
    reports = portfolio.run(str(path), COLUMNS, settings, root=copy)
    return copy, reports, log


def test_the_reports_are_written_beside_those_of_the_default_run(outcome):
    copy, reports, _ = outcome
    assert reports == copy / "reports" / "my-shop"
    names = sorted(path.name for path in reports.glob("*.html"))
    assert names == [
        "01_data_loading.html", "02_interaction_matrix.html", "03_als_training.html",
        "04_tuning.html", "05_evaluation.html", "06_store_sessions.html", "index.html",
    ]  # fmt: skip
    assert "My Shop" in (reports / "01_data_loading.html").read_text(encoding="utf-8") or (
        "my-shop" in (reports / "01_data_loading.html").read_text(encoding="utf-8")
    )


def test_the_numbers_are_those_of_the_log(outcome):
    _, reports, log = outcome
    loading = files.read_json(reports / "results" / "01_data_loading.json")
    found = {each["metric"]: each["value"] for each in loading["results"]}
    assert found["rows"] == len(log)
    assert loading["dataset"] == "my-shop"
    matrix = files.read_json(reports / "results" / "02_interaction_matrix.json")
    found = {each["metric"]: each["value"] for each in matrix["results"]}
    positive = log[log["how often"] > 0]
    assert found["dropped zeros"] == (log["how often"] == 0).sum()
    assert found["merged rows"] == positive.duplicated(["who", "what"]).sum()
    training = files.read_json(reports / "results" / "03_als_training.json")
    assert training["parameters"]["factors"] == 8


def test_the_committed_notebooks_are_untouched(outcome, root):
    copy, _, _ = outcome
    for path in (root / "notebooks").glob("*.ipynb"):
        assert (copy / "notebooks" / path.name).read_bytes() == path.read_bytes()
    executed = copy / "data" / "processed" / "my-shop" / "notebooks"
    assert len(list(executed.glob("*.ipynb"))) == len(list((root / "notebooks").glob("*.ipynb")))
