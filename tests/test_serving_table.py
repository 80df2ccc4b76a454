import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from scipy.sparse import csr_matrix
from serving_fixtures import made, small_log

from helpers import __main__ as cli
from helpers import production, recommend
from helpers.serving import table
from helpers.serving.table import ServingError, Store, Table, publish, rollback, versions


@pytest.fixture(scope="module")
def small():
    return made()


@pytest.fixture(scope="module")
def opened(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    publish(small, folder, {"note": "a test"})
    return Store(folder).table


def test_a_stored_list_is_that_of_the_model(small, opened):
    lists = recommend.top_n(small.model, small.matrix, 12)
    for row, user_id in enumerate(small.interactions.user_ids):
        found = opened.recommend(opened.user(user_id), 12)
        assert found.items == lists[row].tolist()
        assert found.source == "ALS"
    scores = small.model.user_factors @ small.model.item_factors.T
    np.testing.assert_allclose(found.scores, scores[row, lists[row]])


def test_the_history_is_stored_with_its_weights(small, opened):
    user = opened.user("u07")
    row = small.matrix[small.interactions.user_index("u07")]
    assert list(user.seen) == row.indices.tolist()
    assert list(user.weights) == row.data.tolist()


def test_an_unknown_user_gets_the_popular_list(small, opened):
    found = opened.recommend(opened.user("nobody"), 5)
    assert found.source == "popular"
    assert found.items == recommend.popular_items(small.matrix, 5).tolist()
    assert found.scores[0] == 1.0  # everybody has it


def test_excluded_and_hidden_items_and_categories_are_filtered(opened, small, tmp_path):
    user = opened.user("u00")
    first, second, *_ = opened.recommend(user, 10).items
    assert opened.recommend(user, 9, exclude=[first]).items == opened.recommend(user, 10).items[1:]
    odd = opened.recommend(user, 6, category="Odd")
    assert all(
        opened.item_ids[item][1:] and int(opened.item_ids[item][1:]) % 2 for item in odd.items
    )
    publish(small, tmp_path)
    (tmp_path / "hidden.txt").write_text(f"{opened.item_ids[second]}\nno such item\n\n")
    hiding = Store(tmp_path).table
    assert second not in hiding.recommend(hiding.user("u00"), 30).items
    assert second not in hiding.recommend(None, 40).items
    assert second not in hiding.similar(first, 39).items


def test_a_list_that_runs_short_is_filled_from_the_popular_one(opened):
    user = opened.user("u00")
    listed = [*user.items]
    found = opened.recommend(user._replace(items=listed[:3], scores=user.scores[:3]), 10)
    assert found.items[:3] == listed[:3]
    assert found.n_filled == 7
    assert not set(found.items[3:]) & {*user.seen, *listed[:3]}
    assert len(set(found.items)) == 10
    everything = opened.recommend(user, 100)  # the catalogue without the history, and no more
    assert sorted([*everything.items, *user.seen]) == list(range(40))


def test_a_category_that_is_not_there_is_named(opened):
    with pytest.raises(ServingError, match=r"category is 'None', expected one of: All, Even, Odd"):
        opened.recommend(None, 5, category="None")


def test_a_known_history_folded_in_gives_the_stored_list(opened):
    """With all weights 1 the exact solve has the same right-hand side as the last half-step."""
    user = opened.user("u03")
    found = opened.recommend(opened.fold_in(list(user.seen)), 10)
    stored = opened.recommend(user, 10)
    assert found.items == stored.items
    np.testing.assert_allclose(found.scores, stored.scores, rtol=1e-9)


def test_a_basket_is_solved_by_the_normal_equations(small, opened):
    """x = (a Y'Y + sum w y y' + lambda (n + a m)^nu I)^-1 sum w y."""
    basket, model = [2, 5, 9], small.model
    Y, a = model.item_factors, model.unobserved_weight
    chosen = Y[basket]
    penalty = model.regularization * (len(basket) + a * len(Y)) ** model.nu
    x = np.linalg.solve(a * Y.T @ Y + chosen.T @ chosen + penalty * np.eye(32), chosen.sum(axis=0))
    found = opened.fold_in([9, 2, 5, 5])
    np.testing.assert_allclose(found.scores, (Y @ x)[found.items])
    assert not set(basket) & set(found.items)


def test_an_explanation_adds_up_to_the_score(small, opened):
    user = opened.user("u11")
    item, score = user.items[0], user.scores[0]
    total, parts = opened.explain(user, item, n=100)
    assert total == pytest.approx(score)
    assert sum(part for _, part in parts) == pytest.approx(score)
    assert {place for place, _ in parts} == set(user.seen)


def test_similar_items_are_by_cosine(small, opened):
    Y = small.model.item_factors / np.linalg.norm(small.model.item_factors, axis=1, keepdims=True)
    cosines = Y @ Y[4]
    cosines[4] = -np.inf
    found = opened.similar(4, 5)
    assert found.items == np.argsort(-cosines)[:5].tolist()
    np.testing.assert_allclose(found.scores, np.sort(cosines)[::-1][:5])


def test_titles_categories_and_the_card_are_stored(opened):
    assert opened.titles[opened.places["i03"]] == "Title i03"
    assert opened.categories[opened.places["i03"]] == ("Odd", "All")
    facts = opened.facts
    assert facts["note"] == "a test"
    assert (facts["users"], facts["items"]) == (60, 40)
    assert facts["settings"] == {"factors": 32}
    assert facts["version"] == opened.version


@pytest.fixture(scope="module")
def lists(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    production.write_lists(small, folder, n=20)
    return folder / "recommendations.parquet"


def test_lists_alone_are_served_as_those_of_the_model(small, opened, lists, tmp_path):
    """From one file, and from parts whose rows are in any order."""
    rows = pd.read_parquet(lists).sample(frac=1, random_state=0)
    parts = tmp_path / "recommendations.parquet"
    parts.mkdir()
    for number, part in enumerate((rows[:400], rows[400:])):
        part.to_parquet(parts / f"part-{number}.parquet", index=False)
    (parts / "_SUCCESS").touch()  # as Spark leaves it
    for number, source in enumerate((lists, str(parts))):
        publish(source, tmp_path / f"{number}")
        found = Store(tmp_path / f"{number}").table
        assert (found.item_ids, found.titles) == (opened.item_ids, opened.titles)
        assert (found.facts["users"], found.facts["items"]) == (60, 40)
        for user_id in ("nobody", *small.interactions.user_ids):
            expected = opened.recommend(opened.user(user_id), 20)
            assert found.recommend(found.user(user_id), 20) == expected
            out = expected.items[:2]
            left = found.recommend(found.user(user_id), 18, exclude=out)
            assert left.items == expected.items[2:]
        # Its user may have any other item, so no popular one fills it up.
        assert len(found.recommend(found.user("u00"), 100).items) == 20


def test_lists_alone_say_what_they_cannot_answer(lists, tmp_path):
    publish(lists, tmp_path)
    found = Store(tmp_path).table
    user = found.user("u00")
    for ask in (
        lambda: found.similar(0, 5),
        lambda: found.fold_in([0]),
        lambda: found.explain(user, 0),
    ):
        with pytest.raises(ServingError, match=r"lists alone: .* need the table of a fitted model"):
            ask()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="title"), r"(?s)title.*expected Parquet with the columns"),
        (lambda rows: rows.assign(score=np.where(rows.index == 3, np.nan, 1)), "1 rows lack a val"),
        (lambda rows: rows.assign(user_id=rows["user_id"].replace("", None)), "20 rows lack a val"),
        (lambda rows: rows[rows["user_id"] != ""], "0 are of user ''"),
        (lambda rows: pd.concat([rows, rows[-2:]]), "2 have a user and item that others have"),
        (lambda rows: rows[:0], "0 are of user ''"),
        (None, "holds no lists"),
    ],
)
def test_lists_that_are_not_whole_are_refused(change, message, small, lists, tmp_path):
    version, path = publish(small, tmp_path), tmp_path / "lists.parquet"
    with pytest.raises(ServingError, match="FileNotFound"):
        publish(path, tmp_path)
    if change:
        change(pd.read_parquet(lists)).to_parquet(path)
    else:
        path.write_text("user_id,rank\n")
    with pytest.raises(ServingError, match=message):
        publish(path, tmp_path)
    assert versions(tmp_path) == [version]
    assert not list(tmp_path.glob(".*.tmp*"))


def test_a_new_version_is_noticed_and_an_answer_stays_with_its_own(small, tmp_path):
    first = publish(small, tmp_path)
    store = Store(tmp_path)
    before = store.table
    second = publish(small, tmp_path)
    assert before.version == first
    assert store.table.version == second
    assert before.user("u00") is not None  # the old file can still be read


def test_three_versions_are_kept_and_one_can_go_back(small, tmp_path):
    names = [publish(small, tmp_path) for _ in range(5)]
    assert versions(tmp_path) == names[2:]
    store = Store(tmp_path)
    assert rollback(tmp_path) == names[3] == store.table.version
    assert rollback(tmp_path) == names[2] == store.table.version
    with pytest.raises(ServingError, match="holds no version before"):
        rollback(tmp_path)
    newest = publish(small, tmp_path)
    assert store.table.version == newest


def test_a_version_that_was_never_served_or_was_gone_back_from_is_not_gone_back_to(small, tmp_path):
    first, second = publish(small, tmp_path), publish(small, tmp_path)
    rollback(tmp_path)
    killed = tmp_path / "30000101T000000.000000Z.sqlite"  # written whole, but never switched to
    killed.write_bytes((tmp_path / f"{first}.sqlite").read_bytes())
    third = publish(small, tmp_path)
    assert versions(tmp_path) == [first, third]
    assert second not in versions(tmp_path)
    assert rollback(tmp_path) == first


def test_the_command_goes_back_to_the_version_before(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/serving/shop"
    first, _ = publish(small, folder), publish(small, folder)
    assert cli.main(["rollback", "--dataset", "shop/"]) == 0
    assert first in capsys.readouterr().out
    assert Store(folder).table.version == first
    assert cli.main(["rollback", "--dataset", "shop/"]) == 1
    assert "holds no version before" in capsys.readouterr().err


def test_a_folder_without_a_table_says_how_to_build_one(tmp_path):
    with pytest.raises(ServingError, match="make serve"):
        _ = Store(tmp_path).table


def test_a_table_that_is_missing_or_damaged_is_an_error_and_is_not_made(small, tmp_path):
    version = publish(small, tmp_path)
    path = tmp_path / f"{version}.sqlite"
    path.write_bytes(b"no database")
    with pytest.raises(ServingError, match=r"cannot be read .* build it anew"):
        _ = Store(tmp_path).table
    path.unlink()
    with pytest.raises(ServingError, match="cannot be read"):
        _ = Store(tmp_path).table
    assert versions(tmp_path) == []


def test_users_without_a_positive_value_have_no_list_of_their_own(tmp_path):
    """Their factors are 0: the first items of the file would be nobody's choice."""
    log = small_log()
    nothing = log.interactions[:1].assign(user_id="z", value=0.0)
    unknown = nothing.assign(item_id="q")
    every = pd.concat([log.interactions, nothing, unknown], ignore_index=True)
    model = made(replace(log, interactions=every))
    production.write_lists(model, tmp_path)
    assert "z" not in set(pd.read_parquet(tmp_path / "recommendations.parquet")["user_id"])
    publish(model, tmp_path)
    found = Store(tmp_path).table
    assert found.user("z") is None
    assert found.similar(found.places["q"], 5).items == []  # nobody has it
    assert found.places["q"] not in found.similar(0, 100).items


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_hidden_items_are_read_or_refused_in_other_encodings(encoding, small, tmp_path):
    publish(small, tmp_path)
    (tmp_path / "hidden.txt").write_text("i00\n", encoding=encoding)
    if encoding == "utf-16":  # the API goes on with what it has
        with pytest.raises(ValueError, match="utf-8"):
            _ = Store(tmp_path).table
    else:
        assert Store(tmp_path).table.hidden == {0}


def test_two_builds_at_once_are_refused(small, tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(ServingError, match="another build"):
        publish(small, tmp_path)
    publish(small, tmp_path)


def test_a_build_that_fails_changes_nothing(small, tmp_path, monkeypatch):
    version = publish(small, tmp_path)
    monkeypatch.setattr(table, "_users", lambda made: iter([("only one value",)]))
    with pytest.raises(ServingError, match="free some disk space"):
        publish(small, tmp_path)
    assert versions(tmp_path) == [version] == [table.current(tmp_path)]


BUILDER = """
import os, signal, sys, time
from pathlib import Path
from serving_fixtures import made
from helpers.serving import table
folder, write = Path(sys.argv[1]), table._write
for delay in (0.0, 0.02, 0.07):
    written, tell = os.pipe()
    if not (child := os.fork()):
        table.publish(made(), folder)
        table._write = lambda *given: (write(*given), os.write(tell, b"."))
        while True:
            table.publish(made(), folder)
    os.close(tell)
    assert os.read(written, 1) == b"."
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    opened = table.Store(folder).table
    assert len(opened.recommend(opened.user("u00"), 10).items) == 10
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no kill -9 here")
def test_a_killed_builder_leaves_a_whole_table_and_what_it_left_is_swept(root, small, tmp_path):
    """Killed three times, at different moments of a build."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    command = [sys.executable, "-c", BUILDER, str(tmp_path)]
    subprocess.run(command, env=environment, timeout=300, check=True)
    (tmp_path / ".20260101T000000.000000Z.1.tmp.sqlite").write_text("left by a killed builder")
    publish(small, tmp_path)
    assert not list(tmp_path.glob(".*.tmp*"))


def test_readers_never_see_a_mixed_version(small, tmp_path):
    """Two models with other lists in turn: each answer is wholly of the version that it names."""
    other = made(small_log(), seed=5)
    lists = {}
    for model in (small, other):
        version = publish(model, tmp_path)
        opened = Table(tmp_path / f"{version}.sqlite")
        lists[model] = opened.recommend(opened.user("u05"), 20).scores
    of_version = {table.current(tmp_path): lists[other]}
    stop, wrong, n_read = threading.Event(), [], [0]

    def read():
        store = Store(tmp_path)
        while not stop.is_set():
            opened = store.table
            expected = of_version.get(opened.version)
            scores = opened.recommend(opened.user("u05"), 20).scores
            n_read[0] += 1
            if scores not in lists.values() or (expected is not None and scores != expected):
                wrong.append(opened.version)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(12):
        model = (small, other)[turn % 2]
        of_version[publish(model, tmp_path)] = lists[model]
    stop.set()
    reader.join()
    assert n_read[0] > 100
    assert not wrong


def test_hostile_ids_and_titles_are_only_text(tmp_path):
    data = small_log()
    name = "u'); DROP TABLE users; --\x00\u202e"
    log = data.interactions.replace({"user_id": {"u00": name}})
    publish(made(replace(data, interactions=log)), tmp_path)
    opened = Store(tmp_path).table
    assert len(opened.recommend(opened.user(name), 10).items) == 10
    assert opened.user("u00") is None


def test_the_model_in_the_file_is_the_one_that_was_fitted(small, opened):
    np.testing.assert_array_equal(opened.model.item_factors, small.model.item_factors)
    history = csr_matrix(small.matrix[3])
    np.testing.assert_allclose(
        opened.model.recalculate_user(0, history), small.model.user_factors[3], atol=1e-8
    )
