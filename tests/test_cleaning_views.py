"""What the command line says of a log and of its cleaning."""

import pandas as pd
import pytest

from helpers import __main__ as cli
from helpers import cleaning, io


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
    assert list(pd.read_parquet(target / "clean.parquet"))[:2] == ["user_id", "item_id"]


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
    assert "holds the log itself" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_good_orders_may_have_numbers_that_begin_with_c():
    log = pd.DataFrame(
        {"user": ["7", "8"], "item": ["a", "b"], "qty": [1, 2], "order": ["C0001", "W0002"],
         "time": "2024-01-02"}
    )  # fmt: skip
    assert len(cleaning.clean(log).frame) == 2
