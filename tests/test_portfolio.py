import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from notebook_fixtures import STANDARD, outputs, save_runnable

from helpers import __main__ as cli
from helpers import datasets, portfolio
from helpers.fetch import DatasetError
from helpers.portfolio import PortfolioError, convert

SHOW = "print(dataset, data_dir, reports_dir)"
COLUMNS = STANDARD + 'columns: str = ""  # which column is what\n'
FACTORS = STANDARD + "factors: int = 50  # length of a vector\nalpha: float = 1.0  # weight\n"


class Calls:
    """What the runner asked of its neighbours."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, str | None, Path]] = []
        self.rendered: list[tuple[list[Path], Path, str]] = []


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()

    def load(name: str = datasets.DEFAULT, *, columns: str | None = None, data_dir: Path) -> None:
        calls.loaded.append((name, columns, data_dir))

    def render(
        notebooks: list[Path], reports_dir: Path, *, dataset: str, nested: bool = False
    ) -> None:
        assert nested == (reports_dir.name != "reports")
        calls.rendered.append((notebooks, reports_dir, dataset))

    monkeypatch.setattr(portfolio.datasets, "load", load)
    monkeypatch.setattr(portfolio.reports, "render", render)
    return calls


def executed(root: Path, slug: str = datasets.DEFAULT) -> Path:
    return root / "data" / "processed" / slug / "notebooks"


def test_runs_all_in_order_as_they_are(
    tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    log = "open('order', 'a').write({!r})"
    second = save_runnable(tmp_path, "02_second", log.format("second"), parameters=FACTORS)
    look = "import os; from pathlib import Path; print(os.environ['OPENBLAS_NUM_THREADS'])"
    result = (
        "staged = Path(os.environ['PORTFOLIO_REPORTS']) / 'results'\n"
        "staged.mkdir(); (staged / '01_first.json').write_text('{}')"
    )
    first = save_runnable(tmp_path, "01_first", log.format("first "), look, result, SHOW)
    save_runnable(tmp_path, "notes", "raise SystemError('only numbered notebooks are run')")
    committed = [first.read_bytes(), second.read_bytes()]

    assert portfolio.run(root=tmp_path) == tmp_path / "reports"

    assert (tmp_path / "notebooks" / "order").read_text() == "first second"
    assert [first.read_bytes(), second.read_bytes()] == committed
    written = [executed(tmp_path) / path.name for path in (first, second)]
    assert sorted(executed(tmp_path).iterdir()) == written
    assert calls.loaded == [(datasets.DEFAULT, None, tmp_path / "data")]
    assert calls.rendered == [(written, tmp_path / "reports", datasets.DEFAULT)]
    assert "1\n" in outputs(written[0])
    assert (tmp_path / "reports" / "results" / "01_first.json").read_text() == "{}"
    assert "movielens-100k ../data ../reports\n" in outputs(written[0])
    for before, after in zip((first, second), written, strict=True):
        assert_same_but_outputs(before, after)
    bars = capsys.readouterr()
    assert bars.out == ""
    assert "02_second" in bars.err
    assert "cells" in bars.err
    assert os.environ.get("PORTFOLIO_REPORTS"), "the runner's own environment came back"


def assert_same_but_outputs(before: Path, after: Path) -> None:
    """Ids, sources, metadata and order are kept; counts are 1..n; nothing of the run is added."""
    old, new = (nbformat.read(path, as_version=4) for path in (before, after))
    assert [cell.execution_count for cell in new.cells[1:]] == list(range(1, len(new.cells)))
    for notebook in (old, new):
        notebook.metadata.pop("language_info", None)
        for cell in notebook.cells:
            cell.pop("outputs", None)
            cell.pop("execution_count", None)
    assert new == old
    assert "version" not in nbformat.read(after, as_version=4).metadata.language_info


def test_another_dataset_gets_its_own_folders(tmp_path: Path, calls: Calls) -> None:
    log = tmp_path / "my logs" / "Shop.csv"
    log.parent.mkdir()
    log.write_text("user,item\n")
    save_runnable(tmp_path, "01_first", SHOW, "print(columns)", parameters=COLUMNS)
    save_runnable(tmp_path, "02_second", "print(factors, alpha)", SHOW, parameters=FACTORS)

    given = {"factors": "64", "alpha": "40"}
    target = portfolio.run(str(log), "user=user", given, root=tmp_path)

    assert target == tmp_path / "reports" / "shop"
    assert calls.loaded == [(str(log), "user=user", tmp_path / "data")]
    assert calls.rendered[0][1:] == (target, "shop")
    seen = "../my logs/Shop.csv ../data ../reports/shop\n"
    assert outputs(executed(tmp_path, "shop") / "01_first.ipynb") == [seen, "user=user\n"]
    assert outputs(executed(tmp_path, "shop") / "02_second.ipynb") == ["64 40.0\n", seen]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"factor": "64"}, "no notebook has a parameter 'factor'; did you mean 'factors'? Known "),
        ({"zzz": "64"}, "parameters: alpha (float), factors (int)"),
        ({"factors": "many"}, "parameter factors is 'many', but must be of type int (default 50"),
        ({"factors": 1.5}, "parameter factors is 1.5, but must be of type int"),
        ({"factors": True}, "parameter factors is True, but must be of type int"),
        ({"alpha": [1]}, r"parameter alpha is [1], but must be of type float"),
        ({"dataset": "x"}, "parameter dataset follows from the data set"),
    ],
)
def test_bad_parameters_are_refused_before_anything_runs(
    tmp_path: Path, calls: Calls, given: dict[str, Any], message: str
) -> None:
    save_runnable(tmp_path, "01_first", parameters=FACTORS)
    with pytest.raises(PortfolioError) as error:
        portfolio.run(parameters=given, root=tmp_path)
    assert message in str(error.value)
    assert calls.loaded == []
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("line", ["", "factors = 50", "factors: int = 5 * 10  # computed"])
def test_parameters_cell_must_declare(tmp_path: Path, calls: Calls, line: str) -> None:
    path = save_runnable(tmp_path, "01_first", parameters=line)
    if not line:
        path.write_text(path.read_text().replace('"parameters"', '"hide-input"'))
    with pytest.raises(PortfolioError, match=r"01_first\.ipynb: (?:0 code cells|'factors|the def)"):
        portfolio.run(root=tmp_path)
    assert calls.loaded == []


def test_without_notebooks(tmp_path: Path) -> None:
    with pytest.raises(PortfolioError, match="there are no notebooks in"):
        portfolio.run(root=tmp_path)


def test_bad_data_stop_the_run_before_the_first_notebook(tmp_path: Path) -> None:
    save_runnable(tmp_path, "01_first", "open('ran', 'w')")
    with pytest.raises(DatasetError, match="movielens-1m"):
        portfolio.run("movielens-1n", root=tmp_path)
    with pytest.raises(DatasetError):
        portfolio.run(str(tmp_path / "missing.csv"), root=tmp_path)
    assert not (tmp_path / "notebooks" / "ran").exists()


def test_stops_at_the_first_failure(tmp_path: Path, calls: Calls) -> None:
    save_runnable(tmp_path, "01_first", "x = 1", "\n# looks up\n{}[x]\nprint()")
    save_runnable(tmp_path, "02_second", "open('ran', 'w')")
    old = executed(tmp_path) / "01_first.ipynb"
    old.parent.mkdir(parents=True)
    old.write_text("the last good run")
    with pytest.raises(PortfolioError) as error:
        portfolio.run(parameters={}, root=tmp_path)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("01_first.ipynb failed in code cell 3:")
    assert [line.strip() for line in lines[1:3]] == ["# looks up", "KeyError: 1"]
    assert "make lab" in lines[3]
    assert old.read_text() == "the last good run"
    assert list(old.parent.iterdir()) == [old]
    assert not (tmp_path / "notebooks" / "ran").exists()
    assert calls.rendered == []


def test_a_notebook_that_ends_early_has_failed(tmp_path: Path, calls: Calls) -> None:
    save_runnable(tmp_path, "01_first", "raise SystemExit(0)", "print('never')")
    with pytest.raises(PortfolioError, match="stopped before cell 4 without an error"):
        portfolio.run(root=tmp_path)
    assert not executed(tmp_path).exists()


def test_saving_in_place_is_stable_and_refuses_stderr(tmp_path: Path, calls: Calls) -> None:
    path = save_runnable(tmp_path, "01_first", "print(1)")
    portfolio.save_notebooks(tmp_path)
    saved = path.read_bytes()
    assert outputs(path) == ["1\n"]
    assert calls.rendered == [([path], tmp_path / "reports", datasets.DEFAULT)]
    path.write_bytes(saved.replace(b'"1\\n"', b'"2\\n"'))
    portfolio.save_notebooks(tmp_path)
    assert path.read_bytes() == saved

    noisy = save_runnable(tmp_path, "02_noisy", "import sys; print('warned', file=sys.stderr)")
    before = noisy.read_bytes()
    with pytest.raises(PortfolioError, match="cell 3: wrote to stderr: warned; it was not saved"):
        portfolio.save_notebooks(tmp_path)
    assert noisy.read_bytes() == before


KILLED = """
import sys
from pathlib import Path
from helpers import portfolio
portfolio.datasets.load = portfolio.reports.render = lambda *args, **kwargs: None
portfolio.run(root=Path(sys.argv[1]))
"""


def test_a_killed_run_leaves_no_half_and_the_next_one_works(tmp_path: Path, calls: Calls) -> None:
    save_runnable(tmp_path, "01_first", "print(1)")
    wait = "from pathlib import Path; import time; print('begun')"
    hang = "begun = Path('begun')\nif not begun.exists():\n    begun.touch(); time.sleep(600)"
    save_runnable(tmp_path, "02_second", wait, hang)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    for _ in range(1200):
        if (tmp_path / "notebooks" / "begun").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not executed(tmp_path).exists()

    portfolio.run(root=tmp_path)
    assert sorted(path.name for path in executed(tmp_path).iterdir()) == [
        "01_first.ipynb",
        "02_second.ipynb",
    ]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("64", "int", 64),
        ("1e-2", "float", 0.01),
        ("True", "bool", True),
        ("no", "bool", False),
        ("64", "str", "64"),
        ("[5, 10]", "list[int]", [5, 10]),
        ("a,b", "list[str]", ["a", "b"]),
    ],
)
def test_convert(text: str, kind: str, value: object) -> None:
    assert convert(text, kind) == value


@pytest.mark.parametrize(("text", "kind"), [("x", "int"), ("maybe", "bool"), ("1,x", "list[int]")])
def test_convert_refuses(text: str, kind: str) -> None:
    with pytest.raises(ValueError, match=text.split(",")[-1]):
        convert(text, kind)


def test_errors_are_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "--set", "factors"]) == 1
    assert cli.main(["run"]) == 1
    assert cli.main(["datasets", "movielens"]) == 1
    assert cli.main(["readme"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("error: ") for line in lines)
    assert "'factors' has not the form name=value" in lines[0]


def test_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(portfolio, "run", interrupted)
    assert cli.main(["run"]) == 130


def test_arguments_reach_the_runner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[tuple[object, ...]] = []

    def run(*args: object) -> Path:
        given.append(args)
        return Path("reports")

    monkeypatch.setattr(portfolio, "run", run)
    words = ["run", "--dataset", "a b.csv", "--columns", "user=u", "--set", "x=a=b", "--set", "y=1"]
    assert cli.main(words) == 0
    assert given == [("a b.csv", "user=u", {"x": "a=b", "y": "1"})]
    assert capsys.readouterr().out == f"reports: {Path('reports/index.html')}\n"


def test_datasets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["datasets"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        *datasets.names()
    ]


def test_settings_leave_each_notebook_its_own_data_set(tmp_path: Path, calls: Calls) -> None:
    save_runnable(tmp_path, "01_first", SHOW, parameters=FACTORS)
    shop = FACTORS.replace(datasets.DEFAULT, "online-retail")
    save_runnable(tmp_path, "02_second", SHOW, parameters=shop)

    target = portfolio.run(parameters={"factors": "8"}, root=tmp_path)

    assert target == tmp_path / "reports" / datasets.DEFAULT
    assert [name for name, *_ in calls.loaded] == [datasets.DEFAULT, "online-retail"]
    shown = [outputs(executed(tmp_path) / f"{name}.ipynb") for name in ("01_first", "02_second")]
    assert "movielens-100k ../data ../reports/movielens-100k\n" in shown[0]
    assert "online-retail ../data ../reports/movielens-100k\n" in shown[1]
