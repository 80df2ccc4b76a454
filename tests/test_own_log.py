"""What a practitioner does: the real notebooks 1 and 2 on logs of their own, and odd ones."""

import shutil
from contextlib import chdir
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hostile_fixtures import ACTIVE, PAYLOADS, incidents, shown
from logs_fixtures import published_retailrocket

from helpers import datasets, io, portfolio

COLUMNS = "user=<b onclick>who,item=<script>what,timestamp=at,value=how often"
NAMES = ("01_data_loading", "02_interaction_matrix")


@pytest.fixture(scope="module")
def project(root, tmp_path_factory):
    """A copy of the notebooks and the results, in a folder with a space."""
    copy = tmp_path_factory.mktemp("a shop") / "a copy"
    for folder in ("notebooks", "reports/results"):  # notebooks 9 and 10 show the benchmarks
        shutil.copytree(root / folder, copy / folder)
    return copy


def rows(n_rows=4_000, seed=0):
    """Two kinds of customers, each with a half of the catalogue that it prefers."""
    rng = np.random.default_rng(seed)
    who = rng.integers(300, size=n_rows)
    what = (60 * (who % 2) + (70 * rng.random(n_rows) ** 2).astype(int)) % 120
    return rng, pd.DataFrame({"who": who, "what": what})


def run(project, *data, **given):
    with chdir(project):
        outcome = portfolio.run(*data, **given)
    return replace(outcome, index=project / outcome.index)


def found(outcome, name):
    content = io.read_json(outcome.index.parent / "results" / f"{name}.json")
    return content, {each["metric"]: each["value"] for each in content["results"]}


@pytest.fixture(scope="module")
def shop(project):
    """A run on a shop's log: times, strengths with zeros, texts that would run as scripts."""
    rng, log = rows()
    titles = pd.DataFrame({"id": log["what"].unique()})
    titles["title"] = [f"{PAYLOADS[item % len(PAYLOADS)]} {item}" for item in titles["id"]]
    titles["genres"] = titles["title"]
    log["who"] = [f"{PAYLOADS[user % len(PAYLOADS)]} {user}" for user in log["who"]]
    log["at"] = np.sort(rng.integers(1_600_000_000, 1_600_900_000, size=len(log)))
    log["how often"] = rng.integers(0, 4, size=len(log)) * 1.1
    named = log.rename(columns={"who": "<b onclick>who", "what": "<script>what"})
    named.to_csv(project / "My Shop.csv", index=False)
    titles_path = project / "$x$ <img src=x onerror=alert(1)>.csv"
    titles.to_csv(titles_path, index=False)
    outcome = run(
        project, str(project / "My Shop.csv"), columns=COLUMNS, items=str(titles_path),
        numbers=[1, 2],
    )  # fmt: skip
    return outcome, log


def test_the_reports_are_written_beside_those_of_other_runs(shop, project):
    outcome, _ = shop
    assert outcome.failed == []
    assert outcome.index == project / "reports" / "my-shop" / "index.html"
    pages = sorted(path.name for path in outcome.index.parent.glob("*.html"))
    assert pages == [*(f"{name}.html" for name in NAMES), "index.html"]


def test_the_numbers_are_those_of_the_log(shop):
    outcome, log = shop
    content, loading = found(outcome, NAMES[0])
    assert content["dataset"] == "my-shop"
    assert loading["Rows in the log"] == len(log)
    _, matrix = found(outcome, NAMES[1])
    pairs = log[log["how often"] > 0].drop_duplicates(["who", "what"])
    cells = log["who"].nunique() * log["what"].nunique()
    assert matrix["Filled cells"] == pytest.approx(len(pairs) / cells)


def test_no_film_is_shown(shop):
    outcome, _ = shop
    for name in NAMES:
        page = (outcome.index.parent / f"{name}.html").read_text(encoding="utf-8")
        assert (
            "movielens"
            not in page.lower().replace("movielens-100k", "").partition('id="references"')[0]
        )
        assert " film" not in page


@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_texts_of_the_log_show_as_they_are(shop, unprotected, name):
    outcome, log = shop
    assert incidents(unprotected, outcome.index.parent / f"{name}.html") == []
    assert unprotected.evaluate(ACTIVE) == []
    most = log["what"].value_counts(sort=False).sort_index().idxmax()
    item = f"The most popular item, {PAYLOADS[most % len(PAYLOADS)]} {most}, has"
    texts = [item, "<b onclick>who", "<script>what", "$x$ <img src=x onerror=alert(1)>.csv"]
    text = shown(unprotected)
    assert name != NAMES[0] or [each for each in texts if each not in text] == []
    assert name != NAMES[1] or any(f"User {user} is row" in text for user in log["who"].unique())


def test_the_committed_notebooks_are_untouched(shop, project, root):
    for path in (root / "notebooks").glob("*.ipynb"):
        assert (project / "notebooks" / path.name).read_bytes() == path.read_bytes()


def test_a_log_without_times_runs_with_two_colons_few_iterations_and_any_letters(project):
    _, log = rows(n_rows=1_000, seed=1)
    path = project / "ratings.dat"
    lines = (f"{who}::{what}" for who, what in log.itertuples(index=False))
    path.write_text("user::item\n" + "\n".join(lines) + "\n")
    titles = pd.DataFrame({"id": log["what"].unique(), "title": "片仮名 \U0001f980"})
    titles.to_csv(project / "titles.csv", index=False)
    outcome = run(
        project, str(path), items=str(project / "titles.csv"), settings={"iterations": "1"},
        numbers=[1, 2, 3],
    )  # fmt: skip
    assert outcome.failed == []
    assert any("time" in sentence for sentence in outcome.skipped)
    for name in (*NAMES, "03_als_training", "index"):
        page = (outcome.index.parent / f"{name}.html").read_text(encoding="utf-8")
        assert portfolio.NO_TIMES in page
    assert found(outcome, NAMES[0])[1]["Rows in the log"] == len(log)
    page = (outcome.index.parent / "03_als_training.html").read_text(encoding="utf-8")
    for text in ("nan%", "Warning", "site-packages", "ipykernel_"):
        assert text not in page


def test_a_log_in_which_all_have_everything_ends_with_all_its_reports(project):
    path = project / "everything.csv"
    pairs = [f"{user},{item}" for user in range(10) for item in "xy"]
    path.write_text("\n".join(["user,item", *pairs]))
    outcome = run(project, str(path), numbers=[1, 2, 4, 5, 9, 10])
    assert outcome.failed == []
    content, _ = found(outcome, "05_evaluation")
    assert content["answer"].startswith("This log cannot tell models apart")
    assert "for a random item of each user" in content["finding"]
    assert any("Every user has every item." in each for each in outcome.skipped)


def test_the_notebooks_of_the_store_run_on_a_real_event_log(project):
    """Half of Retailrocket's sample, which has views, carts and purchases."""
    published_retailrocket(project / "retailrocket", every=2)
    few = {"compared_users": "200", "simulated_shoppers": "200", "simulated_days": "30"}
    few |= {"simulated_seeds": "101", "shoppers": "200", "search_users": "100"}
    few |= {"n_seeds": "1", "factors": "8"}
    outcome = run(project, str(project / "retailrocket"), settings=few, numbers=[7, 8])
    assert outcome.failed == []
    _, cleaning = found(outcome, "07_store_cleaning")
    assert 0.95 * 50_631 < cleaning["Rows left by the cleaning"] <= 50_631
    content, _ = found(outcome, "08_store_recommendations")
    assert "On retailrocket cleaning alone has" in content["answer"]


ODD = {
    "one item": (["7,x", "8,x", "9,x"], "only one item", [2, 3, 4, 5, 6, 10]),
    "one item each": (["7,x", "8,y", "9,y"], "one item only", [2, 3, 4, 5, 6, 10]),
    "a few pairs": (["7,x", "7,y", "8,x"], "only 3 pairs", [2, 3, 4, 5, 6, 10]),
    "ten users": ([f"{u},{i}" for u in range(10) for i in "xyz"], "has 10 users", []),
    "all items of all": ([f"{u},{i}" for u in range(10) for i in "xy"], "Every user has every", []),
    "one user with most rows": (
        [*(f"7,{i}" for i in range(99)), "8,1", "9,2"], "One user has 98% of the rows", [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "sentence", "left_out"), ODD.values(), ids=ODD)
def test_what_an_odd_log_cannot_answer_is_said_first(tmp_path, lines, sentence, left_out):
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user,item", *lines]))
    sentences, without = portfolio.preflight(datasets.load(path))
    assert any(sentence in each for each in sentences)
    assert any("no time" in each for each in sentences)
    assert sorted(without) == sorted([*left_out, 7, 8])  # those of the store need times
