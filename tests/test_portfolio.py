"""The runner, with tiny notebooks: order, parameters, failures, what is kept and what is said."""

import errno
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import nbformat
import pandas as pd
import pytest
from filelock import FileLock
from notebook_fixtures import STANDARD, outputs, save_runnable

from helpers import __main__ as cli
from helpers import datasets, io, portfolio, production
from helpers.io import DatasetError
from helpers.portfolio import PortfolioError, convert, preflight
from helpers.reporting import html

SHOW = "print(dataset, processed_dir)"
COLUMNS = STANDARD + 'columns: str = ""  # which column is what\nitems: str = ""  # of titles\n'
FACTORS = STANDARD + "factors: int = 50  # length of a vector\nalpha: float = 1.0  # weight\n"
WRITE = (
    "import os\nfrom helpers.reporting import skip, write_results\n"
    "skip('Rows over time', 'The log has no times.')\n"
    "write_results('..', '{}', [], dataset='log', data_sha256='0', parameters={{}}, "
    "answer='Yes.', finding='It holds.')"
)
SHA = "0" * 64
LOG = " ".join(f"{user}{item}" for user in "abcdefg" for item in "xyz")[:-3]  # 20 rows


def dataset(
    log: str = LOG,
    *,
    value: tuple[float, ...] = (1.0, 2.0),
    notes: tuple[str, ...] = (),
    timed: bool = True,
) -> Any:
    """A data set of rows of a user and an item, one letter each, with titles."""
    users, items = zip(*log.split(), strict=True)
    values = [value[row % len(value)] for row in range(len(users))]
    frame = pd.DataFrame({"user_id": users, "item_id": items, "value": values})
    if timed:
        frame["timestamp"] = pd.Timestamp("2026-01-01", tz="UTC")
    titles = pd.DataFrame({"item_id": sorted(set(items))}).assign(title="Tea")
    return SimpleNamespace(
        name="log", interactions=frame, items=titles, sha256=SHA, notes=list(notes)
    )


@pytest.fixture(autouse=True)
def _in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was loaded; the data are always the same rows."""
    calls: list[tuple[Any, ...]] = []

    def load(name: str, *, columns: str | None, items: str | None) -> Any:
        calls.append((name, columns, items))
        return dataset()

    monkeypatch.setattr(datasets, "load", load)
    return calls


def executed(root: Path, name: str, slug: str = datasets.DEFAULT) -> Path:
    return root / "data" / "processed" / slug / "notebooks" / f"{name}.ipynb"


def tracked(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (root / "notebooks").glob("*.ipynb")}


def test_the_default_run_injects_nothing_and_changes_nothing(
    tmp_path: Path, loaded: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    log = "open('order', 'a').write({!r})"
    look = "import os; print(os.environ['OPENBLAS_NUM_THREADS'])"
    save_runnable(tmp_path, "02_second", log.format("second"), parameters=FACTORS)
    save_runnable(tmp_path, "01_first", log.format("first "), look, SHOW, WRITE.format("01_first"))
    save_runnable(tmp_path, "notes", "raise SystemError('only numbered notebooks are run')")
    before = tracked(tmp_path)

    outcome = portfolio.run()

    reports = Path("reports", datasets.DEFAULT)
    assert outcome.index == reports / "index.html"
    assert (outcome.failed, outcome.skipped) == (
        [],
        ["notebook 1: Rows over time. The log has no times."],
    )
    assert (tmp_path / "notebooks" / "order").read_text() == "first second"
    assert tracked(tmp_path) == before
    assert loaded == [(datasets.DEFAULT, None, None)]
    assert sorted(path.name for path in reports.iterdir()) == [
        "01_first.html", "02_second.html", "index.html", "results",
    ]  # fmt: skip
    shown = "movielens-100k ../data/processed/movielens-100k\n"
    assert outputs(executed(tmp_path, "01_first"))[1:4] == ["1\n", shown, ""]
    for name in ("01_first", "02_second"):
        assert_same_but_outputs(tmp_path / "notebooks" / f"{name}.ipynb", executed(tmp_path, name))
    said = capfd.readouterr()
    assert said.out == ""
    assert "papermill" not in said.err
    assert "IPKernelApp" not in said.err
    assert [line.partition(":")[0] for line in said.err.splitlines()] == [
        "log", "01_first", "02_second",
    ]  # fmt: skip


def assert_same_but_outputs(before: Path, after: Path) -> None:
    """Ids, sources, metadata and order are kept; counts are 1..n; nothing of the run is added."""
    old, new = (nbformat.read(path, as_version=4) for path in (before, after))
    assert [cell.execution_count for cell in new.cells[1:]] == list(range(1, len(new.cells)))
    assert "version" not in new.metadata.get("language_info", {})
    assert new.metadata.pop("run").manifest.data_sha256 == SHA
    for notebook in (old, new):
        notebook.metadata.pop("language_info", None)
        for cell in notebook.cells:
            cell.pop("outputs", None)
            cell.pop("execution_count", None)
    assert new == old


def test_a_log_of_ones_own_gets_its_own_folders(tmp_path: Path, loaded: list[Any]) -> None:
    log = tmp_path / "my logs" / "Shop.csv"
    log.parent.mkdir()
    log.write_text("user,item\n")
    save_runnable(tmp_path, "01_first", SHOW, "print(columns, items)", parameters=COLUMNS)
    save_runnable(tmp_path, "02_second", "print(factors, alpha)", SHOW, parameters=FACTORS)

    outcome = portfolio.run(
        str(log), columns="user=user", items=str(log), settings={"factors": "64"}
    )

    slug = "shop-factors-64"
    assert outcome.index == Path("reports", slug, "index.html")
    assert loaded == [(str(log), "user=user", str(log))]
    seen = f"../my logs/Shop.csv ../data/processed/{slug}\n"
    first, second = (outputs(executed(tmp_path, name, slug)) for name in ("01_first", "02_second"))
    assert [text for text in first if text] == [seen, "user=user ../my logs/Shop.csv\n"]
    assert [text for text in second if text] == ["64 1.0\n", seen]


def test_settings_leave_each_notebook_its_own_data_set(tmp_path: Path, loaded: list[Any]) -> None:
    save_runnable(tmp_path, "01_first", SHOW, parameters=FACTORS)
    shop = FACTORS.replace(datasets.DEFAULT, "online-retail")
    save_runnable(tmp_path, "02_second", SHOW, parameters=shop)
    portfolio.run(settings={"factors": "8"})
    assert [name for name, *_ in loaded] == [datasets.DEFAULT, "online-retail"]
    for slug, name in ((datasets.DEFAULT, "01_first"), ("online-retail", "02_second")):
        folder = f"{slug}-factors-8"
        assert f"{slug} ../data/processed/{folder}\n" in outputs(executed(tmp_path, name, folder))


def test_folders_of_other_settings_differ() -> None:
    ending = portfolio._ending
    assert ending({}) == ""
    assert ending({"seed": "1", "factors": "64"}) == "-factors-64-seed-1"
    assert ending({"seed": "1", "factors": "64"}) == ending({"factors": "64", "seed": "1"})
    odd = [ending({"text": text}) for text in ("a b", "a_b", "a/b", "x" * 90, "x" * 91)]
    assert len(set(odd)) == 5
    assert all(len(name) <= 60 and set(name) <= set("-_abcdefghijklmnopqrstuvwxyz0123456789")
               for name in odd)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"factor": "64"}, "SET knows no parameter 'factor'; did you mean 'factors'? It knows: "),
        ({"zzz": "64"}, "'zzz'; it knows: alpha (float), factors (int)"),
        ({"factors": "many"}, "parameter factors is 'many', but must be of type int (default 50)"),
        ({"dataset": "x"}, "SET knows no parameter 'dataset'"),
    ],
)
def test_bad_parameters_are_refused_before_anything_runs(
    tmp_path: Path, loaded: list[Any], given: dict[str, str], message: str
) -> None:
    save_runnable(tmp_path, "01_first", parameters=FACTORS)
    with pytest.raises(PortfolioError) as error:
        portfolio.run(settings=given)
    assert message in str(error.value)
    assert loaded == []
    assert not (tmp_path / "data").exists()


def test_columns_without_a_file_are_an_error(tmp_path: Path) -> None:
    save_runnable(tmp_path, "01_first", "open('ran', 'w')")
    for given in ({"columns": "user=u"}, {"items": "movies.csv"}):
        with pytest.raises(DatasetError, match=r"given for movielens-100k, .* for your own files"):
            portfolio.run(**given)
    assert not (tmp_path / "notebooks" / "ran").exists()


@pytest.mark.parametrize("line", ["", "factors = 50", "factors: int = 5 * int('10')  # computed"])
def test_a_parameters_cell_must_declare(tmp_path: Path, loaded: list[Any], line: str) -> None:
    path = save_runnable(tmp_path, "01_first", parameters=line)
    if not line:
        path.write_text(path.read_text().replace('"parameters"', '"hide-input"'))
    with pytest.raises(ValueError, match=r"0 cells are|'factors = 50' has not|malformed"):
        portfolio.run()
    assert loaded == []


def test_without_notebooks() -> None:
    with pytest.raises(PortfolioError, match="there is no notebook in notebooks/"):
        portfolio.run()


def test_bad_data_stop_the_run_before_the_first_notebook(tmp_path: Path) -> None:
    save_runnable(tmp_path, "01_first", "open('ran', 'w')")
    for name in ("movielens-1n", str(tmp_path / "missing.csv")):
        with pytest.raises(DatasetError):
            portfolio.run(name)
    assert not (tmp_path / "notebooks" / "ran").exists()


def test_a_failure_ends_one_report_and_those_that_need_it(
    tmp_path: Path, loaded: list[Any]
) -> None:
    save_runnable(tmp_path, "01_first", "print('kept')")
    save_runnable(tmp_path, "02_second", "print('so far')", "{}['x\\n*y*']", "print('never')")
    save_runnable(tmp_path, "03_third", "open('ran', 'w')")
    save_runnable(tmp_path, "07_other", "raise SystemExit(0)", "print('never')")
    save_runnable(tmp_path, "08_dead", "print('so far')", "import os; os.kill(os.getpid(), 9)")
    stale = executed(tmp_path, "03_third")
    io.write_text(stale, "the report of an earlier run")

    outcome = portfolio.run()

    assert outcome.failed == [
        r"notebook 2: stopped in cell 4 of 5. KeyError: 'x\n*y*'",
        "notebook 7: stopped in cell 3 of 4. it ended without an error",
        "notebook 8: stopped in cell 4 of 4. the kernel died, most often because memory ran out",
    ]
    why = "It was left out, since it needs what notebook 2 writes."
    assert outcome.skipped == [f"notebook 3: {why}"]
    assert not (tmp_path / "notebooks" / "ran").exists()
    reports = outcome.index.parent
    names = sorted(path.name for path in reports.glob("*.html"))
    ran = ["01_first.html", "02_second.html", "07_other.html", "08_dead.html"]
    assert names == [*ran, "index.html"]
    second, dead = ((reports / name).read_text(encoding="utf-8") for name in (ran[1], ran[3]))
    assert "so far" in second
    assert "so far" in dead
    assert "never" not in second
    assert "stopped in cell 4 of 5. KeyError" in second
    assert why in outcome.index.read_text(encoding="utf-8")


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path, loaded: list[Any]) -> None:
    look = "import filelock; filelock.FileLock('../data/processed/.lock').acquire(timeout=0)"
    save_runnable(tmp_path, "01_first", look)
    [failed] = portfolio.run().failed
    assert "Timeout: The file lock" in failed  # it is locked while the notebooks run
    with (
        FileLock(tmp_path / "data" / "processed" / ".lock", timeout=0),  # and no longer
        pytest.raises(PortfolioError, match="another run is going on in"),
    ):
        portfolio.run()


def test_reports_are_published_whole_or_not_at_all(
    tmp_path: Path, loaded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_runnable(tmp_path, "01_first", "open('ran', 'a').write('x')", WRITE.format("01_first"))
    reports = portfolio.run().index.parent
    before = {path: path.read_bytes() for path in reports.rglob("*") if path.is_file()}

    def full(paths: list[Path], target: Path, **_: object) -> None:
        (target / "01_first.html").write_text("half a page")
        with io.writing(target / "index.html"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(html, "render", full)
    with pytest.raises(OSError, match=r"nothing was changed: free some disk space"):
        portfolio.run()
    assert {path: path.read_bytes() for path in reports.rglob("*") if path.is_file()} == before
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [datasets.DEFAULT]
    shutil.rmtree(tmp_path / "reports")
    (tmp_path / "reports").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"a part of this path is a file"):
        portfolio.run()
    assert (tmp_path / "notebooks" / "ran").read_text() == "xx"  # not a third time


def test_a_part_needs_what_came_before(tmp_path: Path, loaded: list[Any]) -> None:
    for number, name in enumerate(("01_first", "02_second", "03_third"), start=1):
        save_runnable(tmp_path, name, f"print({number}, factors)", parameters=FACTORS)
    with pytest.raises(PortfolioError, match="there is no notebook 9; there are 1, 2, 3"):
        portfolio.run(numbers=[9])
    with pytest.raises(PortfolioError, match=r'notebook 3 needs .* NOTEBOOKS="2 3"'):
        portfolio.run(numbers=[3])
    portfolio.run(numbers=[2, 1])
    outcome = portfolio.run(numbers=[3])
    index = outcome.index.read_text(encoding="utf-8")
    assert [f"Notebook {n} ·" in index for n in (1, 2, 3)] == [True, True, True]
    with pytest.raises(PortfolioError, match="which is not there"):
        portfolio.run(numbers=[3], settings={"factors": "8"})
    stored = executed(tmp_path, "02_second")
    stored.write_text(stored.read_text().replace(SHA, "1" * 64))
    with pytest.raises(PortfolioError, match="which is not there"):
        portfolio.run(numbers=[3])


@pytest.mark.parametrize(
    ("data", "sentence", "left_out"),
    [
        (dataset(notes=("The log has no times.",), timed=False), "The log has no times.", [7, 8]),
        (dataset("ax bx"), "only one item", [2, 3, 4, 5, 6, 8, 10]),
        (dataset("ax ax by"), "Every user has one item only", [2, 3, 4, 5, 6, 8, 10]),
        (dataset("ax ay bx"), "has only 3 pairs", [2, 3, 4, 5, 6, 8, 10]),
        (dataset(), "has 7 users", []),
        (dataset(LOG + " gz"), "Every user has every item", []),
        (dataset(LOG + 60 * " ax"), "One user has 79% of the rows", []),
        (dataset(value=(1.0,)), "All values are equal", []),
        (
            dataset("ax ay bx by", value=(1.0, 0.0)),
            "only one item",
            [2, 3, 4, 5, 6, 8, 10],
        ),  # of y, all values are 0
    ],
)
def test_preflight_says_what_a_log_cannot_answer(
    data: Any, sentence: str, left_out: list[int]
) -> None:
    sentences, without = preflight(data)
    assert sum(sentence in each for each in sentences) == 1
    assert sorted(without) == left_out
    reasons = [why for number, why in without.items() if number not in (7, 8)]
    assert all(sentence in why and "use a longer log" in why for why in reasons)
    assert "need times" in without.get(7, "need times")


def test_preflight_names_users_with_endless_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolio, "MAX_HISTORY", 2)
    text = "1 user(s) with more than 2 items (up to 3): models are tuned and compared without them."
    assert text in preflight(dataset("ax bx cx cy cz"))[0]
    assert text not in preflight(dataset("ax cx cy cz"))[0]  # half of the users


def test_preflight_leaves_out_the_notebooks_of_the_store_where_times_are_numbers() -> None:
    data = dataset()
    data.interactions["timestamp"] = pd.to_datetime(range(20), unit="s", utc=True)
    sentences, without = preflight(data)
    assert "No row has a time from 1990 to now, so times are no more than an order." in sentences
    assert sorted(without) == [7, 8]
    assert "No row has a time from 1990 to now" in without[7]


def test_preflight_says_nothing_of_a_good_log() -> None:
    rows = " ".join(f"{chr(200 + user)}{item}" for user in range(100) for item in "xyz")[:-3]
    assert preflight(dataset(rows)) == ([], {})
    data = dataset(rows)
    data.items["title"] = data.items["item_id"]
    assert preflight(data) == (
        ["Items have no titles, so their ids are shown; ITEMS=file gives titles."],
        {},
    )


def test_a_notebook_that_cannot_run_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datasets, "load", lambda name, **given: dataset("ax bx"))
    save_runnable(tmp_path, "01_first", "print(1)")
    save_runnable(tmp_path, "02_second", "open('ran', 'w')")
    outcome = portfolio.run()
    assert outcome.failed == []
    assert [text.partition(". ")[0] for text in outcome.skipped] == ["notebook 2: It was left out"]
    assert not (tmp_path / "notebooks" / "ran").exists()
    assert "log: The log has only one item" in capsys.readouterr().err
    assert "only one item" in outcome.index.read_text(encoding="utf-8")


def test_saving_in_place_is_stable_and_refuses_stderr_and_errors(tmp_path: Path) -> None:
    path = save_runnable(tmp_path, "01_first", "print(1)")
    portfolio.save_notebooks()
    saved = path.read_bytes()
    assert outputs(path) == ["", "1\n"][1:] or outputs(path)[-1] == "1\n"
    path.write_bytes(saved.replace(b'"1\\n"', b'"2\\n"'))
    portfolio.save_notebooks([1])
    assert path.read_bytes() == saved

    for name, source, why in (
        ("02_noisy", "import sys; print('warned', file=sys.stderr)", "wrote to stderr: warned"),
        ("03_wrong", "1 / 0", "stopped in cell 3 of 3. ZeroDivisionError"),
    ):
        bad = save_runnable(tmp_path, name, source)
        before = bad.read_bytes()
        with pytest.raises(PortfolioError, match=f"{why}.*; it was not saved"):
            portfolio.save_notebooks([int(name[:2])])
        assert bad.read_bytes() == before


INTERRUPTED = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
from test_portfolio import dataset
from helpers import datasets
datasets.load = lambda *args, **given: dataset()
sys.argv = ["helpers", "run"]
runpy.run_module("helpers", run_name="__main__")
"""


def test_a_stopped_run_ends_the_kernels_and_keeps_what_is_done(
    tmp_path: Path, loaded: list[Any]
) -> None:
    save_runnable(tmp_path, "01_first", "print(1)")
    hang = (
        "import os, tempfile, time\nfrom pathlib import Path\nif not Path('pid').exists():\n"
        "    tempfile.mkdtemp(prefix='left-')\n"
        "    Path('new').write_text(str(os.getpid())); Path('new').rename('pid'); time.sleep(600)"
    )
    save_runnable(tmp_path, "02_second", hang)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(Path(__file__).parent)],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    pid = tmp_path / "notebooks" / "pid"
    for _ in range(1200):
        if pid.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() is None
    process.terminate()  # as Ctrl-C does, which is Python's own
    assert process.wait(60) == 130
    assert [*scratch.iterdir()] == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    reports = Path("reports", datasets.DEFAULT)
    assert sorted(path.name for path in reports.glob("*.html")) == ["01_first.html", "index.html"]

    assert portfolio.run().failed == []
    assert (reports / "02_second.html").is_file()


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("64", "int", 64),
        ("1e-2", "float", 0.01),
        ("64", "str", "64"),
        ("[5, 10]", "list[int]", [5, 10]),
        ("a,b", "list[str]", ["a", "b"]),
    ],
)
def test_convert(text: str, kind: str, value: object) -> None:
    assert convert(text, kind) == value


@pytest.mark.parametrize(("text", "kind"), [("x", "int"), ("1,x", "list[int]")])
def test_convert_refuses(text: str, kind: str) -> None:
    with pytest.raises(ValueError, match=text.split(",")[-1]):
        convert(text, kind)


# The command line


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("Query interrupted")])
def test_an_interruption_is_one_line(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(portfolio, "run", Mock(side_effect=error))
    assert cli.main(["run"]) == 130
    assert capsys.readouterr().err == "interrupted; run the same command again to go on\n"


HEAVY = """
import sys
from helpers.__main__ import main
try:
    main({!r})
finally:
    print(*sys.modules)
"""


def pages(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.html")}


def test_executed_notebooks_are_rendered_again_without_running(
    tmp_path: Path, loaded: list[Any]
) -> None:
    Path("shop.csv").write_text("user,item\n")
    save_runnable(tmp_path, "01_first", SHOW, parameters=COLUMNS)
    save_runnable(tmp_path, "07_second", "open('runs', 'a').write('x')", parameters=FACTORS)
    other = portfolio.run("shop.csv", columns="user=u", numbers=[1])
    outcome = portfolio.run("shop.csv", settings={"factors": "8"})
    folder = outcome.index.parent
    before = pages(folder)
    assert len(before) == 3

    for path in folder.glob("*.html"):
        path.unlink()
    assert cli.main(["report", "--dataset=shop.csv", "--settings=factors=8"]) == 0
    assert pages(folder) == before
    assert (tmp_path / "notebooks" / "runs").read_text() == "x"

    portfolio.run("shop.csv", numbers=[7])  # not of the same run as notebook 1
    assert portfolio.render("shop.csv") == other.index
    assert "01_first.html" not in other.index.read_text(encoding="utf-8")

    with pytest.raises(
        PortfolioError, match=r"no executed notebooks in data/processed/no/.*make run"
    ):
        portfolio.render("no.csv")


@pytest.mark.parametrize(
    "words",
    [["--help"], ["run", "--help"], ["rum"], ["run", "--settings", "x"],
     ["run", "--notebooks", "x"], ["run", "--dataset", "no/such/log.csv"],
     ["run", "--dataset", "movielens-100"], ["run", "--items", "no.csv"],
     ["run", "--columns", "user=u"]],
)  # fmt: skip
def test_help_and_errors_import_nothing_heavy(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAVY.format(words)], capture_output=True, text=True, check=False
    )
    modules = set(done.stdout.split())
    assert "helpers.__main__" in modules
    assert not modules & {"numpy", "pandas", "implicit", "nbformat", "papermill", "matplotlib"}
    assert "Traceback" not in done.stderr or "SystemExit" in done.stderr


@pytest.mark.parametrize("words", [["--notebooks", "9"], ["--settings", "factor=3"]])
def test_errors_in_parameters_import_nothing_that_executes(
    tmp_path: Path, words: list[str]
) -> None:
    save_runnable(tmp_path, "01_first", "print(1)", parameters=FACTORS)
    code = HEAVY.format(["run", *words])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search("there is no notebook 9|did you mean 'factors'", done.stderr)
    heavy = {"implicit", "papermill", "nbconvert", "matplotlib", "optuna", "numba"}
    assert not heavy & set(done.stdout.split())


def test_errors_are_one_clear_message_unless_asked_for_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("file").touch()
    wrong = (
        ["run", "--settings", "factors"], ["run", "--dataset", "no.csv"], ["run"],
        ["datasets", "movielens"], ["space", "--to", "file/space"], ["run", "--notebooks", "1 a"],
        ["serve", "--port", "99999"],
    )  # fmt: skip
    for words in wrong:
        assert cli.main(words) == 1
        with pytest.raises((ValueError, OSError)):
            cli.main([*words, "--traceback"])
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == len(wrong)
    assert all(line.startswith("error: ") for line in lines)
    assert "'factors' has not the form name=value" in lines[0]
    assert "'no.csv' is neither a file nor one of movielens-100k, " in lines[1]
    assert "did you mean 'movielens-1m'?" in lines[3]
    assert "NOTEBOOKS=1 a: 'a' is no number" in lines[5]
    assert "--port is 99999, expected 1 to 65535" in lines[6]


def test_arguments_reach_the_runner_and_its_outcome_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a b.csv", "c d.csv"):
        (tmp_path / name).touch()
    given: list[Any] = []
    outcome = portfolio.Outcome(Path("index.html"), [], ["notebook 1: No times."])

    def run(*args: object, **named: object) -> portfolio.Outcome:
        given.append((*args, named))
        return outcome

    monkeypatch.setattr(portfolio, "run", run)
    monkeypatch.setattr(production, "load_and_fit", lambda *given: given)
    monkeypatch.setattr(production, "write_lists", lambda made, folder: f"{made[0]}: {folder}")
    words = ["run", "--dataset", "a b.csv", "--columns", "user=u", "--items", "c d.csv",
             "--settings", "x=a=b y='1 2'", "--notebooks", "1, 2 3"]  # fmt: skip
    assert cli.main(words) == 0
    named = {"columns": "user=u", "items": "c d.csv", "settings": {"x": "a=b", "y": "1 2"},
             "numbers": [1, 2, 3]}  # fmt: skip
    assert given == [("a b.csv", named)]
    assert capsys.readouterr().out == "skipped: notebook 1: No times.\nindex.html\na b.csv: .\n"
    outcome.failed.append("notebook 2: no.")
    assert cli.main(["run"]) == 1
    captured = capsys.readouterr()
    assert captured.out.endswith("index.html\nmovielens-100k: .\n")
    assert captured.err == "failed: notebook 2: no.\n"


def test_a_log_without_lists_keeps_its_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_text("user,item\n")
    outcome = portfolio.Outcome(Path("index.html"), [], [])
    monkeypatch.setattr(portfolio, "run", lambda *given, **named: outcome)
    assert cli.main(["run", "--dataset", "log.csv"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "index.html"
    assert said[1].startswith("skipped: the lists of recommendations: log.csv has a header")


def test_datasets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["datasets"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        *datasets.names()
    ]
    assert datasets.names() == list(cli.DATASETS)
