"""What is shown of a log and of its cleaning: oddities, detection, figures, command line."""

import numpy as np
import pandas as pd
import pytest

from helpers import __main__ as cli
from helpers import cleaning, io, simulation
from helpers.io import DatasetError
from helpers.store import plots


@pytest.fixture
def raw() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": ["7", "7", None, "8", "8"],
            "item_id": ["a1", "a1", "POST", "b", "a1"],
            "value": [1.0, 1.0, -2.0, 0.0, 3.0],
            "price": [2.0, 2.0, 0.0, -1.0, 2.0],
            "order_id": ["536", "536", "C537", "538", "538"],
            "title": ["Tea", "Tea", "Postage", None, "Tee"],
        }
    )


def test_oddities_are_counted(raw):
    assert cleaning.oddities(raw)["rows"].to_dict() == {
        "no user": 1, "no title": 1, "quantity below 0": 1, "quantity 0": 1, "price below 0": 1,
        "price 0": 1, "copies of another row": 1, "rows of the busiest user": 2,
    }  # fmt: skip
    assert cleaning.oddities(raw)["share"]["no user"] == pytest.approx(1 / 5)


def test_a_log_without_anything_odd_has_only_its_busiest_user():
    log = pd.DataFrame({"user_id": ["7", "8"], "item_id": ["a", "b"], "value": [1.0, 2.0]})
    assert cleaning.oddities(log)["rows"].to_dict() == {"rows of the busiest user": 1}


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"user": [1]})])
def test_no_log_has_no_oddities(frame):
    with pytest.raises(DatasetError, match="expected rows with user_id and item_id"):
        cleaning.oddities(frame)


def test_codes_of_another_kind_have_a_shape_of_their_own(raw):
    found = cleaning.shapes(raw["item_id"], raw["title"])
    assert found["rows"].to_dict() == {"A9": 3, "A": 2}
    assert found.loc["A9", ["ids", "example", "title"]].tolist() == [1, "a1", "Tea"]
    assert cleaning.shapes(raw["order_id"]).index.tolist() == ["9", "A9"]
    assert cleaning.shapes(pd.Series(["x", None])).loc["A", "rows"] == 1


@pytest.fixture
def truth() -> pd.DataFrame:
    """Planted: two copies, one of which is found; and one cut line."""
    kinds = ["exact duplicate", "exact duplicate", "corrupt row"]
    return pd.DataFrame({"kind": kinds, "file": ["a.csv"] * 3, "row": [3, 7, 9]})


def test_planted_rows_are_found_under_whatever_rule(truth):
    removed = pd.DataFrame(
        {"file": ["a.csv", "a.csv", "b.csv"], "row": [3, 4, 7], "rule": ["duplicates"] * 3}
    )
    quarantine = pd.DataFrame({"file": ["a.csv"], "row": [9], "reason": ["cut"]})
    found = simulation.rows_found(truth, removed, quarantine)
    assert found.loc["exact duplicate"].tolist() == ["duplicates", 2, 1, 3, 1 / 3, 1 / 2]
    assert found.loc["corrupt row"].tolist() == ["quarantine", 1, 1, 1, 1.0, 1.0]
    assert np.isnan(found.loc["free order", "recall"])
    elsewhere = removed.assign(rule="bots")
    again = simulation.rows_found(truth, elsewhere, quarantine).loc["exact duplicate"]
    assert (again["found"], again["under rule"]) == (1, 0)


def test_accounts_are_found_or_wronged():
    users = pd.DataFrame(
        {
            "kind": ["declared crawler", "disguised crawler", "disguised crawler", "staff",
                     "customer"],
            "sort": ["sweep", "sweep", "mimic", "tester", "ordinary"],
            "events": [10, 30, 10, 5, 5],
        },
        index=pd.Index(["d", "e", "m", "s", "c"], name="user_id"),
    )  # fmt: skip
    accounts = pd.DataFrame(
        {"is_bot": [True, True, True, False], "is_staff": [False, False, False, True]},
        index=["d", "e", "c", "s"],
    )
    found = simulation.accounts_found(users, accounts)
    assert found.loc["all crawlers", ["accounts", "found", "wrong"]].tolist() == [3, 2, 1]
    assert found.loc["all crawlers", "precision"] == pytest.approx(2 / 3)
    # The declared one is no error of the search for those in disguise.
    assert found.loc["disguised crawlers", ["accounts", "found", "wrong"]].tolist() == [2, 1, 1]
    assert found.loc["disguised crawlers", "of events"] == pytest.approx(30 / 40)
    assert found.loc["staff", ["precision", "recall"]].tolist() == [1.0, 1.0]
    escaped = simulation.missed(users, accounts)
    assert escaped.index.tolist() == [("disguised crawler", "mimic")]
    assert escaped.iloc[0].tolist() == [1, 1, 0, 10]


def test_ratings_can_be_wrapped_like_purchases():
    times = pd.to_datetime(["2011-01-03 10:00:00.5", "2011-01-04"], utc=True, format="ISO8601")
    log = pd.DataFrame(
        {"user_id": "7", "item_id": ["a", "b"], "value": 1.0, "timestamp": times, "event": "play"}
    )
    found = simulation.as_purchases(log)
    assert found["event"].tolist() == ["purchase"] * 2
    assert found["order_id"].nunique() == 2
    assert found["timestamp"].tolist() == list(times.floor("s"))
    mixed = log.assign(event=["view", "purchase"], order_id=[None, "9"], price=[1.0, 5.0])
    only = simulation.as_purchases(mixed)
    assert only[["item_id", "order_id", "price"]].to_numpy().tolist() == [["b", "9", 5.0]]


def test_a_waterfall_draws_only_steps_that_removed_something():
    steps = pd.DataFrame(
        {"removed": [0, 30, 0, 10], "kept": [100, 70, 70, 60]},
        index=["quarantine", "missing user", "price", "duplicates"],
    )
    ax = plots.waterfall(steps, "title")
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["all rows", "missing user", "duplicates", "kept"]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [
        (0, 100), (70, 30), (60, 10), (0, 60),
    ]  # fmt: skip


def test_figures_of_cleaning_show_what_they_are_given():
    tail = pd.DataFrame({"before": [0.4, 1.0], "after": [0.3, 1.0]}, index=[0.1, 1.0])
    lines = plots.tail({"log": tail}, "title").get_lines()
    assert [line.get_ydata().tolist() for line in lines[:2]] == [[0, 0.4, 1.0], [0, 0.3, 1.0]]
    gains = pd.DataFrame({"difference": [1.0, 0.0], "low": [0.5, -1], "high": [2.0, 1]}, ["a", "b"])
    ax = plots.gains({"log": gains}, "gain", "title")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    scores = pd.DataFrame({"kind": ["bot", "user"], "bot_score": [5, 0], "staff_score": [0, 1]})
    ax = plots.detection(scores, {"bot_score": 4, "staff_score": 5}, "title")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["user", "bot"]


def test_the_command_line_cleans_and_says_what_it_did(tmp_path, capsys):
    log = tmp_path / "a log.csv"
    log.write_text(
        "who,sku,at\n7,a,2024-01-01 9:00\n7,a,2024-01-01 9:00\n,b,2024-01-01\n8,b\n8,b,2024-01-02\n"
    )
    target = tmp_path / "clean log"
    columns = "user=who,item=sku,timestamp=at"
    assert cli.main(["clean", str(log), "--to", str(target), "--columns", columns]) == 0
    told = capsys.readouterr().out
    assert "1 quarantine" in told
    assert "1 missing user" in told
    assert "1 duplicates" in told
    assert "2 of 5 rows kept" in told
    assert io.read_json(target / "report.json")["kept"] == 2
    assert cleaning.column_names(target / "clean.parquet")["clean.parquet"][:2] == [
        "user_id", "item_id",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--set", "earliest=2024-01-02"], "dates out of range"),
        (["--set", "latest=2024-01-03"], "dates out of range"),
        (["--set", "service_items=first"], "service items"),
        (["--set", "cancelled_orders=X"], "cancellations"),
        (["--set", 'staff_users=["1", "nobody"]'], "staff"),
        (["--set", 'staff_addresses=["10.0.0.0/31"]'], "staff"),
    ],
)
def test_the_command_line_knows_what_a_store_says(arguments, rule, tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text(
        "user,item,time,event,quantity,order,address\n"
        "1,first,2024-01-01,view,1,A0,10.0.0.1\n"
        "2,second,2024-01-02,wishlist,1,,10.0.0.2\n"
        "3,last,2024-01-04,purchase,2,A1,10.0.0.3\n"
        "3,late,2024-01-02,purchase,-2,X2,10.0.0.3\n"
    )
    target = tmp_path / "out"
    given = ["--without", "quantity", "--event", "wishlist=cart", *arguments]
    assert cli.main(["clean", str(log), "--to", str(target), *given]) == 0
    assert f"1 {rule}\n" in capsys.readouterr().out
    account = io.read_json(target / "report.json")
    assert (account["rows"], account["kept"]) == (4, 3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.csv"], "nowhere.csv holds no log"),
        (["--without", "everything"], "there are no rules"),
        (["--columns", "user=nobody"], "there is no column 'nobody'"),
        (["--columns", "buyer=who"], "unknown role 'buyer'"),
        (["--zone", "Mars"], "zone is 'Mars'"),
        (["--set", "latest=soon"], "latest is 'soon'"),
        (["--set", "service_items=("], "service_items is '('"),
        (["--set", "view_in_hour=5"], "did you mean 'views_in_hour'?"),
        (["--rules", "no.toml"], "the rules no.toml cannot be read"),
        (["--event", "wishlist"], "'wishlist' has not the form name=value"),
        (["--event", "wishlist=wish"], "events maps to ['wish']"),
    ],
)
def test_the_command_line_explains_what_is_wrong(arguments, told, tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text("user,item,time\n7,a,2024-01-01\n8,b,2024-01-02\n")
    source = [] if arguments[0].endswith(".csv") else [str(log)]
    assert cli.main(["clean", *source, *arguments, "--to", str(tmp_path / "out")]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "clean.parquet").exists()


def test_the_folder_of_a_log_is_no_place_for_the_results(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("user,item,time\n7,a,2024-01-01\n8,b,2024-01-02\n")
    assert cli.main(["clean", str(tmp_path), "--to", str(tmp_path)]) == 1
    assert "the folder of the log itself" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_good_orders_may_have_numbers_that_begin_with_c():
    log = pd.DataFrame(
        {"user": ["7", "8"], "item": ["a", "b"], "qty": [1, 2], "order": ["C0001", "W0002"],
         "time": "2024-01-02"}
    )  # fmt: skip
    assert len(cleaning.clean(log).frame) == 2
