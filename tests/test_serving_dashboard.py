"""The dashboard: what it shows, and in a real browser that nothing leaves this machine."""

import contextlib
import csv
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from playwright.sync_api import Browser, expect
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Selectbox

from helpers import __main__ as cli
from helpers import production
from helpers.serving import dashboard
from helpers.serving.build import serving_table
from helpers.serving.table import Store

# Users of even number have the items 0 to 5, the others 6 to 11, each but one of them; the titles
# try everything that Markdown, HTML and spreadsheets would act on.
GROUPS = (range(6), range(6, 12))
TITLES = [
    "<img src=x onerror=console.error(1)>",
    "![x](http://192.0.2.1/x.png)",
    "**bold** $x^2$ :red[x] :material/home:",
    "[link](http://192.0.2.1/)",
    "<b>b</b> &amp; `code`",
    '=HYPERLINK("http://192.0.2.1/")',
    *("Twin", "Twin", "eight", "nine", "ten", "été ♥"),
]
USERS = [f"{number:02}" for number in range(24)]
USERS[0] = "**00** <img src=http://192.0.2.1/u.png>"
REPORT_SOCKETS = """
import sys
def report(event, arguments):
    if event in ("socket.bind", "socket.connect", "socket.sendto", "socket.getaddrinfo"):
        address = arguments[0 if event == "socket.getaddrinfo" else 1]
        host = address[0] if isinstance(address, tuple) else address
        with open("sockets.log", "a") as file:
            file.write(f"{host}\\n")
sys.addaudithook(report)
"""


def history(number: int) -> list[int]:
    """The items of a user."""
    group = GROUPS[number % 2]
    return [item for item in group if item != group[number // 2 % 6]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log and its titles, and the table that is built from them."""
    folder = tmp_path_factory.mktemp("dash board")
    with (folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["user", "item", "time"])
        for number, user in enumerate(USERS):
            rows.writerows([user, f"i{item:02}", 1_700_000_000] for item in history(number))
    titles = pd.DataFrame({"item": [f"i{n:02}" for n in range(12)], "title": TITLES})
    titles.to_csv(folder / "titles.csv", index=False)
    with contextlib.chdir(folder):
        serving_table("log.csv", items="titles.csv")
    return folder


@pytest.fixture
def app(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setattr(sys, "argv", ["dashboard.py", str(folder / "data" / "serving" / "log")])
    return AppTest.from_file(dashboard.__file__, default_timeout=60).run()


def tables(app: AppTest) -> dict[str, pd.DataFrame]:
    """The tables of a page by what is special about their columns."""
    assert not app.exception
    signs = ("Because of", "Share of users", "Cosine", "Weight", "Metric", "Fact")
    found = [each.value for each in app.dataframe]
    return {sign: frame for frame in found for sign in signs if sign in frame}


def menu(app: AppTest, label: str) -> Selectbox:
    return next(box for box in app.selectbox if box.label.startswith(label))


def test_a_user_sees_what_they_lack_with_reasons_from_what_they_have(app: AppTest) -> None:
    shown, titles = tables(app), {TITLES[item] for item in history(0)}
    assert menu(app, "User").value == USERS[0]
    assert set(shown["Weight"]["Title"]) == titles
    listed = shown["Because of"]
    assert listed["Title"][0] == TITLES[0]  # the one of their group that they lack
    assert listed["Score"].round(6).is_monotonic_decreasing
    assert titles.isdisjoint(listed["Title"])
    assert titles.issuperset(listed["Because of"][0].split(" · "))
    assert titles.isdisjoint(shown["Share of users"]["Title"])
    assert (shown["Share of users"]["Share of users"] == 10 / 24).all()


def test_a_typed_user_who_is_unknown_gets_the_popular_list(app: AppTest) -> None:
    users = menu(app, "User")
    users.options.append("nobody")  # as the browser does with what is typed
    users.set_value("nobody").run()
    shown = tables(app)
    assert "does not know this user" in app.info[0].value
    assert set(shown["Because of"]["Because of"]) == {"popular"}
    assert list(shown["Because of"]["Title"]) == list(shown["Share of users"]["Title"])
    assert "Weight" not in shown


def test_a_few_items_are_folded_in(app: AppTest) -> None:
    app.radio[0].set_value("a few items").run()
    assert set(tables(app)["Because of"]["Because of"]) == {"popular"}
    app.multiselect[0].set_value(["i08", "i09", "i10"]).run()
    listed = tables(app)["Because of"]
    assert sorted(listed["Title"][:3]) == ["Twin", "Twin", "été ♥"]  # the rest of their group
    assert {"eight", "nine", "ten"}.issuperset(" · ".join(listed["Because of"][:3]).split(" · "))


def test_similar_items_are_those_of_the_same_group(app: AppTest) -> None:
    menu(app, "Item").set_value("i08").run()
    similar = tables(app)["Cosine"]
    assert sorted(similar["Title"][:5]) == ["Twin", "Twin", "nine", "ten", "été ♥"]
    assert similar["Cosine"].round(6).is_monotonic_decreasing


def test_titles_that_occur_twice_are_told_apart(app: AppTest) -> None:
    options = set(menu(app, "Item").options)
    assert options >= {"Twin (i06)", "Twin (i07)", "eight"}
    assert len(options) == 12


def test_the_card_has_the_metrics_beside_popular_and_who_chose(app: AppTest, folder: Path) -> None:
    shown, facts = tables(app), Store(folder / "data" / "serving" / "log").table.facts
    assert list(shown["Metric"]) == ["Metric", "model [95 % interval]", "popular [95 % interval]"]
    found = facts["metrics"]["hit rate@10, model"]
    expected = f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
    assert list(shown["Metric"].iloc[0])[:2] == ["hit rate@10", expected]
    card = dict(shown["Fact"].itertuples(index=False))
    assert card["dataset"] == "log"
    assert card["settings"] == "factors = 32"
    assert card["origin"] == "starting settings by the size of the log, not tuned"
    assert (card["users"], card["items"], card["interactions"]) == ("24", "12", "120")


def test_a_change_of_the_store_is_seen_at_the_next_click(app: AppTest, folder: Path) -> None:
    assert TITLES[0] in list(tables(app)["Because of"]["Title"])
    hidden = folder / "data" / "serving" / "log" / "hidden.txt"
    hidden.write_text("i00\n")
    shown = tables(app.run())
    hidden.unlink()
    for list_ in ("Because of", "Share of users", "Cosine"):
        assert TITLES[0] not in list(shown[list_]["Title"])


def test_without_a_table_the_page_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["dashboard.py", str(tmp_path)])
    app = AppTest.from_file(dashboard.__file__, default_timeout=60).run()
    assert not app.exception
    assert "make serve" in app.text[0].value
    assert len(app.dataframe) == 0


def test_a_table_of_another_log_or_other_columns_or_titles_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text("user,item\na,x\na,y\nb,x\n")
    folder = serving_table("log.csv")
    first = Store(folder).table
    assert serving_table("log.csv") == folder
    assert Store(folder).table.version == first.version
    Path("log.csv").write_text("user,item\na,x\na,z\nb,z\n")
    serving_table("log.csv")
    assert Store(folder).table.item_ids == ["x", "z"]
    Path("titles.csv").write_text("item,title\nx,Tea\nz,Tin\n")
    serving_table("log.csv", items="titles.csv")
    assert Store(folder).table.titles[0] == "Tea"
    serving_table("log.csv", "user=item,item=user")
    assert Store(folder).table.item_ids == ["a", "b"]
    serving_table("log.csv")
    pd.DataFrame([("", 1, "q", "q", 0.5)], columns=list(production.COLUMNS)).to_parquet("l.parquet")
    assert cli.main(["publish", "l.parquet", "--to", str(folder)]) == 0
    serving_table("log.csv")  # lists alone are no table of it
    assert Store(folder).table.item_ids == ["x", "z"]
    assert cli.main(["rollback", "--to", str(folder)]) == 0
    assert Store(folder).table.item_ids == ["q"]


def test_lists_without_a_model_are_not_for_the_dashboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [("", 1, "a", "Title a", 0.5), ("u", 1, "a", "Title a", 0.9)]
    pd.DataFrame(rows, columns=list(production.COLUMNS)).to_parquet("lists.parquet")
    folder = tmp_path / "shop"
    assert cli.main(["publish", "lists.parquet", "--to", str(folder)]) == 0
    assert "lists without a model" in capsys.readouterr().out
    assert serving_table("movielens-100k", folder=folder) == folder  # as it is
    monkeypatch.setattr(sys, "argv", ["dashboard.py", str(folder)])
    app = AppTest.from_file(dashboard.__file__, default_timeout=60).run()
    assert not app.exception
    assert "the dashboard need the table of a fitted model" in app.text[0].value


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the dashboard of the command line, whose sockets are logged."""
    (folder / "sitecustomize.py").write_text(REPORT_SOCKETS)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "helpers", "dashboard", f"--port={port}"]
    paths = os.pathsep.join((str(folder), str(Path(dashboard.__file__).parents[2])))
    server = subprocess.Popen(
        [*command, "--dataset=log.csv", "--items=titles.csv"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout
        line = next(line for line in server.stdout if line.startswith("dashboard: "))
        for _ in range(60):  # until it listens
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(1)
        yield line.split()[1]
    finally:
        server.terminate()
        server.communicate(timeout=30)


def test_in_a_browser_texts_are_texts_and_nothing_leaves_the_machine(
    browser: Browser, folder: Path
) -> None:
    page = browser.new_context().new_page()
    hosts, errors = set(), []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).hostname))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    with served(folder) as address:
        page.goto(address)
        cells = page.locator("[role=gridcell]")  # what Streamlit draws, as text
        expect(cells.filter(has_text=TITLES[0]).first).to_be_attached(timeout=120_000)
        expect(page.get_by_test_id("stDataFrame")).to_have_count(6)
        page.get_by_text("a few items").click()
        expect(page.get_by_test_id("stDataFrame")).to_have_count(5)
        page.get_by_role("combobox", name="Items").click()
        for title in TITLES[:6]:
            expect(page.get_by_role("option", name=title, exact=True)).to_be_visible()
        page.get_by_role("option", name=TITLES[1], exact=True).click()
        expect(cells.filter(has_text=TITLES[0]).first).to_be_attached(timeout=30_000)
        assert page.locator("main img, b, code, a[href*='192.0.2.1']").count() == 0
        page.context.close()
    assert errors == []
    assert hosts == {"127.0.0.1"}
    assert set((folder / "sockets.log").read_text().split()) == {"127.0.0.1"}
