"""The daily refresh: what is published, what is refused, and what a killed run leaves behind."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from helpers import __main__ as command
from helpers import production
from helpers.als import IALS
from helpers.datasets import Dataset
from helpers.io import DatasetError, hidden
from helpers.serving import table
from helpers.serving.refresh import compare, refresh, slug
from helpers.serving.table import ServingError, Store
from helpers.serving.window import Window

START = date(2024, 3, 1)
N_DAYS = 12


def shop(n_days: int, *, seed: int = 0) -> pd.DataFrame:
    """Users of two tastes, who take an item a day of the twenty of their taste."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{user:02}", f"{'ab'[user % 2]}{rng.integers(20):02}", f"{START + timedelta(days=day)} "
         f"{rng.integers(24):02}:{rng.integers(60):02}:{user % 60:02}")
        for day in range(n_days) for user in range(80)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def run(folder: Path, source: object, n_days: int, **options: object) -> dict[str, object]:
    until = START + timedelta(days=n_days)
    chosen = folder / "best_parameters.json"
    return refresh(source, folder / "shop", Window(folder / "days"), chosen, until=until, **options)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder after the first run."""
    folder = tmp_path_factory.mktemp("published")
    assert run(folder, shop(N_DAYS), N_DAYS)["decision"] == "published"
    return folder


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    for name, content in contents(published).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        file = (published / name).stat()
        os.utime(tmp_path / name, ns=(file.st_atime_ns, file.st_mtime_ns))
    return tmp_path


def test_a_day_is_published_and_a_second_run_changes_nothing(folder: Path, monkeypatch) -> None:
    store = Store(folder / "shop")
    assert store.table.facts["interactions"] == len(
        shop(N_DAYS)[["user_id", "item_id"]].drop_duplicates()
    )
    before = contents(folder)
    assert run(folder, shop(N_DAYS), N_DAYS)["decision"] == "nothing new"
    assert contents(folder) == before

    rounds, fit = [], IALS.fit

    def counted(model: IALS, *given: object, **more: object) -> None:
        rounds.append(model.iterations)
        fit(model, *given, **more)

    monkeypatch.setattr(IALS, "fit", counted)
    monkeypatch.setattr(production, "measure", lambda made: {})
    record = run(folder, shop(N_DAYS + 1), N_DAYS + 1)
    assert record["decision"] == "published"
    assert record["days changed"] == ["2024-03-13"]
    assert (record["since"], record["window"]) == ("2024-03-10", "2024-03-01 to 2024-03-13")
    assert (record["rows read"], record["rows of the newest day"]) == (80 * 13, 80)
    assert record["share of unknown items"] == 0
    assert record["users compared"] > 30
    assert rounds == [production.WARM_ROUNDS] * 2  # both start from yesterday's factors
    assert store.table.version == record["version"]
    assert store.table.facts["newest"].startswith("2024-03-13")
    runs = json.loads((folder / "shop/refresh/runs.json").read_text())
    assert [each["decision"] for each in runs] == ["published", "published"]
    assert runs[1] == record


def test_a_table_that_was_killed_before_its_record_gets_it(folder: Path) -> None:
    runs = folder / "shop/refresh/runs.json"
    before = runs.read_text()
    runs.unlink()
    assert run(folder, shop(N_DAYS), N_DAYS)["decision"] == "nothing new"
    assert runs.read_text() == before


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda day: pd.concat([day.assign(timestamp=f"2024-03-13 0{n}:00") for n in range(6)]),
         "2024-03-13 has 480 rows, the median of the days before is 80"),
        (lambda day: day.head(15), "2024-03-13 has 15 rows"),
        (lambda day: day.assign(item_id="SKU-" + day["item_id"]),
         "100% of the rows of 2024-03-13 are about unknown items"),
    ],
)  # fmt: skip
def test_broken_data_is_not_published(folder: Path, broken, reason: str, monkeypatch) -> None:
    monkeypatch.setattr(production, "measure", lambda made: {})
    source, version = shop(N_DAYS + 1), table.current(folder / "shop")
    is_last = source["timestamp"] >= "2024-03-13"
    source = pd.concat([source[~is_last], broken(source[is_last])])
    record = run(folder, source, N_DAYS + 1)
    assert record["decision"] == "not published"
    assert reason in record["reasons"][0]
    assert table.current(folder / "shop") == version
    assert json.loads((folder / "shop/refresh/runs.json").read_text())[-1] == record
    assert run(folder, source, N_DAYS + 1, force=True)["decision"] == "published"


def test_a_worse_model_is_not_published(folder: Path, monkeypatch) -> None:
    fit = production.fit

    def worse(*arguments, **options):
        made = fit(*arguments, **options)
        # Everybody gets the list of a neighbour, who has the other taste.
        made.model.user_factors = np.roll(made.model.user_factors, 1, axis=0)
        return made

    monkeypatch.setattr(production, "fit", worse)
    record = run(folder, shop(N_DAYS + 1), N_DAYS + 1)
    assert record["decision"] == "not published"
    assert record["reasons"][0].startswith("nDCG@10 on 2024-03-13 fell from ")
    assert record["ndcg@10"]["new"] == 0


def test_a_worse_source_is_refused_as_a_whole(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(DatasetError, match="2024-03-12 came back with 40 rows, but 80 are stored"):
        run(folder, shop(N_DAYS + 1).iloc[: 80 * 11 + 40], N_DAYS + 1)
    with pytest.raises(DatasetError, match="late is -1 days, expected at least 0"):
        run(folder, shop(N_DAYS), N_DAYS, late=-1)
    with (
        FileLock(folder / "shop/refresh/.lock"),
        pytest.raises(ServingError, match=r"another refresh of .* is going on"),
    ):
        run(folder, shop(N_DAYS), N_DAYS)
    assert contents(folder) == before
    with pytest.raises(DatasetError, match="a frame has no rows of the days from"):
        run(folder / "other", shop(1), 0)


def test_the_comparison_by_hand(tmp_path: Path) -> None:
    log = pd.DataFrame(
        [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "x"), ("d", "z")],
        columns=["user_id", "item_id"],
    ).assign(value=1.0, timestamp=pd.Timestamp("2024-03-01", tz="UTC"))
    items = pd.DataFrame({"item_id": ["x", "y", "z"], "title": ["X", "Y", "Z"]})
    data = Dataset("shop", log, items, "", "", "0", [])
    served = production.fit(data, tmp_path / "none")
    table.publish(served, tmp_path)
    # The new model has never seen d, nor z.
    made = production.fit(replace(data, interactions=log.iloc[:5]), tmp_path / "none")
    test = pd.DataFrame(
        [("c", "x"), ("c", "y"), ("d", "x"), ("new", "y"), ("a", "w")],
        columns=["user_id", "item_id"],
    )
    found = compare(Store(tmp_path).table, made, test)
    # a wants what nobody can recommend; c wants y, which is first in both lists (x does not count).
    # d gets x first: from the served model's popular end or list, from the new one as a stranger.
    # A stranger gets the popular list x, y, so y is second: 1 / log2(3).
    second = 1 / np.log2(3)
    assert found["new"].round(6).tolist() == [0, 1, 1, round(second, 6)]
    assert found["served"].round(6).tolist()[:2] == [0, 1]
    assert found["served"].round(6).tolist()[3] == round(second, 6)


KILLER = """
import json, os, shutil, signal, sys
from pathlib import Path
import pandas as pd
from helpers import cleaning, production
from helpers.serving import refresh, table, window
from tests.test_serving_refresh import N_DAYS, run, shop

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def die_in_the_second(function, calls=[]):
    def called(*arguments, **options):
        calls.append(1)
        return die() if len(calls) == 2 else function(*arguments, **options)
    return called

STEPS = {  # one for each state of the files; to read, check, fit and measure writes nothing
    "between days": lambda: setattr(
        window.Window, "_write", die_in_the_second(window.Window._write)),
    "fit": lambda: setattr(production, "fit", die_in_the_second(production.fit)),
    "write": lambda: setattr(table, "_popular", die),
    "switch": lambda: setattr(table, "_switch", die),
    "record": lambda: setattr(refresh, "_append", die),
}
production.measure = lambda made: {}
before, source, found = Path(sys.argv[1]), shop(N_DAYS + 2), {}
for step, patch in {**STEPS, "none": lambda: None}.items():
    folder = before.with_name(step)
    shutil.copytree(before, folder)
    child = os.fork()
    if not child:
        patch()
        run(folder, source, N_DAYS + 2)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not (child := os.fork()):
        run(folder, source, N_DAYS + 2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, step
    served = table.Store(folder / "shop").table
    found[step] = {
        "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        "newest": served.facts["newest"],
        "days": sorted(path.name for path in (folder / "days").iterdir()),
        "lists": [list(served.user(f"u{n:02}").items)[:10] for n in range(80)],
        "runs": [each["decision"] for each in
                 json.loads((folder / "shop/refresh/runs.json").read_text())],
        "left": [path.name for path in (folder / "shop").glob(".*.tmp*")],
    }
print(json.dumps(found))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no kill -9 here")
def test_a_run_killed_at_any_step_is_completed_by_the_next(folder: Path, root: Path) -> None:
    command = [sys.executable, "-c", KILLER, str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = found.pop("none")
    assert not expected.pop("killed")
    assert expected["newest"].startswith("2024-03-14")
    assert expected["runs"] == ["published", "published"]
    for step, outcome in found.items():
        assert outcome.pop("killed"), step
        assert outcome == expected, step


def test_the_command_twice(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("exports").mkdir()
    shop(3).to_csv("exports/log.csv", index=False)
    assert command.main(["refresh", "--source=exports/"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "240 rows read; 3 days changed, now 2024-03-01 to 2024-03-03", "published",
    ]  # fmt: skip
    assert Store("data/serving/exports").table.facts["dataset"] == "exports"
    before = contents(tmp_path)
    assert command.main(["refresh", "--source=exports/"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "nothing new"
    assert contents(tmp_path) == before
    assert command.main(["refresh", "--source=nowhere/"]) == 1
    assert "holds no log" in capsys.readouterr().err


def test_a_source_names_its_folders_without_secrets() -> None:
    assert slug("postgresql://reader:secret@host/Shop?sslmode=require") == "shop"
    assert slug("postgresql://reader:secret@host") == "host"
    assert slug("sqlite:///data/shop.db") == "shop.db"
    assert hidden("exports/") == "exports/"
