"""What a user sets for `make` reaches the programs as it is, and nothing of it is executed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers import __main__ as cli

STUB = "#!/bin/sh\nfor word; do printf '%s\\n' \"$word\"; done\n"
ODD = (
    "$(shell touch x)", "sales$Q1.csv", "$$HOME ${HOME} $@", "`touch x`", "$(touch x)", "; touch x",
    "a'; touch x; '", '"; touch x; "', "| touch x", "& touch x", "-dash.csv", "--help", "# a",
    "a, b (c).csv", "*", "a\\", "%", "é 1.csv", "a  b",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="there is no make")


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    """The Makefile with a program that prints its arguments instead of Python."""
    shutil.copy(root / "Makefile", tmp_path)
    (tmp_path / "stub").write_text(STUB)
    (tmp_path / "stub").chmod(0o755)
    return tmp_path


def make(folder: Path, *words: str, **environment: str) -> list[str]:
    """The arguments of the program that `make` starts, after ``-m helpers``."""
    command = ["make", "--old-file=ready", "READY=ready", "PYTHON=./stub", *words]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    assert sorted(path.name for path in folder.iterdir()) == ["Makefile", "stub"], words
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[2:]


@pytest.mark.parametrize("text", ODD)
def test_variables_reach_a_run_as_they_are(folder: Path, text: str) -> None:
    given = {"DATASET": text, "COLUMNS": text, "ITEMS": text, "NOTEBOOKS": text, "SET": text}
    names = ("dataset", "columns", "items", "notebooks", "settings")
    words = [f"{name}={value}" for name, value in given.items()]
    assert make(folder, "run", *words) == ["run", *(f"--{name}={text}" for name in names)]
    words = ["report", f"DATASET={text}", f"SET={text}"]
    assert make(folder, *words) == ["report", f"--dataset={text}", f"--settings={text}"]


@pytest.mark.parametrize("text", ODD)
def test_variables_reach_the_cleaning_as_they_are(folder: Path, text: str) -> None:
    words = [f"{name}={text}" for name in ("LOG", "TO", "COLUMNS", "OPTIONS")]
    expected = ["clean", *(f"--{name}={text}" for name in ("to", "columns", "options")), "--", text]
    assert make(folder, "tidy", *words) == expected


@pytest.mark.parametrize("text", ODD)
def test_variables_reach_the_dashboard_and_the_space_as_they_are(folder: Path, text: str) -> None:
    words = [f"{name}={text}" for name in ("DATASET", "COLUMNS", "ITEMS", "OPTIONS", "TO", "LISTS")]
    expected = [f"--{name}={text}" for name in ("dataset", "columns", "items", "to", "options")]
    assert make(folder, "dashboard", *words) == ["dashboard", *expected]
    assert make(folder, "serve", *words) == ["serve", *expected]
    lists = ["publish", f"--to={text}", f"--options={text}", "--", text]
    assert make(folder, "publish", *words) == lists
    assert make(folder, "space", *words) == ["space", f"--to={text}"]


@pytest.mark.parametrize("text", ODD)
def test_of_the_environment_some_count_and_nothing_is_executed(folder: Path, text: str) -> None:
    names = ("DATASET", "ITEMS", "SET", "LOG", "TO", "COLUMNS", "OPTIONS")
    environment = dict.fromkeys(names, text)
    found = make(folder, "run", "tidy", **environment)
    run = ["run", f"--dataset={text}", f"--items={text}", f"--settings={text}"]
    assert found == [*run, "-m", "helpers", "clean", f"--to={text}", "--", text]


def test_numbers_of_notebooks_are_words_and_not_commands(folder: Path) -> None:
    found = make(folder, "notebooks", "NOTEBOOKS=1 2 ;touch x $(shell touch x)")
    assert found[:4] == ["notebooks", "1", "2", ";touch"]


def test_a_file_that_begins_with_a_dash_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-dash.csv").write_text("user,item,time\na,x,2024-01-01\nb,y,2024-01-02\n")
    words = ["clean", "--to=out", '--options=--without "near duplicates"', "--", "-dash.csv"]
    assert cli.main(words) == 0
    assert (tmp_path / "out" / "clean.parquet").is_file()


def test_an_open_quote_in_the_options_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["clean", "--to=out", '--options=--without "a', "--", "log.csv"])
    assert 'OPTIONS=--without "a: No closing quotation' in capsys.readouterr().err
