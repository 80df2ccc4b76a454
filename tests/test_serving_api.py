"""The API, as clients see it: a real server, and versions that change under load."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import server_fixtures as fixtures
from fastapi.testclient import TestClient

from helpers.serving import table
from helpers.serving.api import LOOK, create_app
from helpers.serving.table import Store, Table

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    table.publish(fixtures.made(), folder)
    (folder / "hidden.txt").write_text("5\n")
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Table:
    return Store(folder).table


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with (
        fixtures.serving(create_app(folder)) as address,
        httpx.Client(base_url=address) as client,
    ):
        yield client


def ids(found: httpx.Response) -> list[str]:
    return [item["item_id"] for item in found.raise_for_status().json()["items"]]


def test_a_known_user_gets_the_list_of_the_model(client: httpx.Client, served: Table) -> None:
    model = fixtures.made()
    user = model.interactions.user_ids.get_loc("7")
    scores = model.model.item_factors @ model.model.user_factors[user]
    scores[model.matrix[user].indices] = -np.inf
    scores[served.places["5"]] = -np.inf  # hidden
    best = np.argsort(-scores)[:20]
    found = client.get("/recommendations/7")
    assert found.headers["content-type"] == "application/json"
    assert "X-Store" not in found.headers  # there is no Redis
    assert found.json()["version"] == served.version
    assert {**found.json(), "items": 0} == {
        "version": served.version, "source": "ALS", "n_filled": 0, "unknown": [], "items": 0,
    }  # fmt: skip
    assert ids(found) == [served.item_ids[place] for place in best]
    for item, place in zip(found.json()["items"], best, strict=True):
        assert item["score"] == pytest.approx(scores[place], rel=1e-5)
        assert item["title"] == f"a {item['item_id']}"


def test_filters_leave_out_and_lists_are_filled_up(client: httpx.Client, served: Table) -> None:
    whole = ids(client.get("/recommendations/7?n=100"))
    # 60 items, of which the history (filled up with nothing) and the hidden one are left out.
    seen = served.user("7").seen  # type: ignore[union-attr]
    assert sorted(whole) == sorted(
        set(served.item_ids) - {"5"} - {served.item_ids[place] for place in seen}
    )
    some = client.get("/recommendations/7", params={"n": 3, "exclude": [whole[0], whole[2], "no"]})
    assert ids(some) == [whole[1], whole[3], whole[4]]
    assert some.json()["unknown"] == ["no"]
    odd = ids(client.get("/recommendations/7?n=100&category=odd&exclude="))
    assert odd == [item for item in whole if served.places[item] % 2]


def test_an_unknown_user_gets_the_popular_list(client: httpx.Client, served: Table) -> None:
    popular = np.argsort(-np.array(served.n_users), kind="stable").tolist()
    names = [served.item_ids[item] for item in popular if served.item_ids[item] != "5"]
    found = client.get("/recommendations/nobody", params={"n": 3, "exclude": names[:2]})
    assert found.json()["source"] == "popular"
    assert ids(found) == names[2:5]
    share = served.n_users[served.places[names[2]]] / 120
    assert found.json()["items"][0]["score"] == pytest.approx(share, rel=1e-5)


def test_a_basket_is_folded_in_by_an_exact_solve(client: httpx.Client, served: Table) -> None:
    basket = ["1", "2", "no", "2"]
    found = client.post("/recommendations", json={"items": basket, "n": 4, "exclude": ["3", "?"]})
    assert found.json()["source"] == "ALS"
    assert found.json()["unknown"] == ["no", "?"]
    # The minimum of the loss, by the normal equations.
    model, places = served.model, [served.places["1"], served.places["2"]]
    items = model.item_factors
    penalty = model.regularization * (2 + model.unobserved_weight * len(items)) ** model.nu
    gram = items[places].T @ items[places] + model.unobserved_weight * items.T @ items
    factors = np.linalg.solve(gram + penalty * np.eye(4), items[places].sum(axis=0))
    scores = items @ factors
    scores[[*places, served.places["3"], served.places["5"]]] = -np.inf
    assert ids(found) == [served.item_ids[place] for place in np.argsort(-scores)[:4]]
    assert found.json()["items"][0]["score"] == pytest.approx(scores.max(), rel=1e-5)
    for empty in ([], ["no"]):
        assert client.post("/recommendations", json={"items": empty}).json()["source"] == "popular"


def test_similar_items_are_those_of_the_largest_cosine(client: httpx.Client, served: Table) -> None:
    factors = served.model.item_factors
    units = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    cosines = units @ units[served.places["1"]]
    cosines[[served.places["1"], served.places["5"]]] = -np.inf
    found = client.get("/similar/1?n=3")
    assert ids(found) == [served.item_ids[place] for place in np.argsort(-cosines)[:3]]
    assert found.json()["items"][0]["score"] == pytest.approx(cosines.max(), rel=1e-5)


def test_an_explanation_names_the_history_that_counts(client: httpx.Client, served: Table) -> None:
    found = client.get("/explain/7?item=1").json()
    seen = {served.item_ids[place] for place in served.user("7").seen}  # type: ignore[union-attr]
    parts = [item["score"] for item in found["items"]]
    assert {item["item_id"] for item in found["items"]} <= seen
    assert parts == sorted(parts, reverse=True)
    assert len(seen) - 1 <= len(parts) == 5  # one is left out at most: the smallest
    rest = found["score"] - sum(parts)
    assert rest == pytest.approx(0, abs=1e-5) if len(seen) == 5 else rest <= min(parts) + 1e-5


def test_ids_may_hold_any_sign(tmp_path: Path) -> None:
    made = fixtures.made()
    names = {"7": "ü/7 ?#%", "1": 'A/1 "é"'}
    data = made.interactions
    data = replace(
        data,
        user_ids=data.user_ids.map(lambda name: names.get(name, name)),
        item_ids=data.item_ids.map(lambda name: names.get(name, name)),
    )
    items = made.items.replace({"item_id": names}).assign(title="<b>100 %d\"\\\u2028 ' é")
    table.publish(replace(made, interactions=data, items=items), tmp_path)
    with TestClient(create_app(tmp_path)) as client:
        user, item = "%C3%BC%2F7%20%3F%23%25", "A%2F1%20%22%C3%A9%22"
        found = client.get(f"/recommendations/{user}?n=100&exclude={item}").json()
        assert found["source"] == "ALS"
        assert found["unknown"] == []
        assert found["items"][0]["title"] == "<b>100 %d\"\\\u2028 ' é"
        assert client.get(f"/similar/{item}").status_code == 200
        assert client.get(f"/explain/{user}?item={item}").status_code == 200


@pytest.mark.parametrize(
    ("request_", "status", "detail"),
    [
        ("GET /recommendations/7?n=0", 422, "query.n: Input should be greater than or equal to 1"),
        ("GET /recommendations/7?n=101", 422, "query.n: Input should be less than or equal to 100"),
        ("GET /recommendations/7?n=secret", 422, "query.n: Input should be a valid integer"),
        ("GET /recommendations/", 422, "path.user_id: String should have at least 1 character"),
        ("GET /recommendations/7?category=x", 404, "category is 'x', expected one of: all, even"),
        ("GET /similar/no", 404, "item 'no' is unknown"),
        ("GET /explain/7?item=no", 404, "item 'no' is unknown"),
        ("GET /explain/nobody?item=1", 404, "user 'nobody' is unknown"),
        ("POST /recommendations {", 422, "JSON decode error"),
        ('POST /recommendations {"items": "1"}', 422, "body.items: Input should be a valid list"),
        ('POST /recommendations {"items": [], "m": 1}', 422, "body.m: Extra inputs are not perm"),
        ("DELETE /recommendations/7", 405, "Method Not Allowed"),
        ("GET /docs", 404, "Not Found"),
    ],
)
def test_bad_requests_get_a_problem(
    client: httpx.Client, request_: str, status: int, detail: str
) -> None:
    method, path, *body = request_.split(" ", 2)
    found = client.request(
        method, path, content="".join(body), headers={"Content-Type": "application/json"}
    )
    assert found.status_code == found.json()["status"] == status
    assert found.headers["content-type"] == PROBLEM
    assert detail in found.json()["detail"]
    assert set(found.json()) == {"type", "title", "status", "detail"}
    assert "secret" not in found.text
    assert (status == 405) == ("allow" in found.headers)


def test_a_fault_of_the_server_shows_nothing_of_its_inside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Table, "user", broken)
    with fixtures.serving(create_app(folder)) as address:
        found = httpx.get(f"{address}/recommendations/7")
    assert found.status_code == 500
    assert found.headers["content-type"] == PROBLEM
    assert found.json()["detail"] == "the server failed; its log says why"
    assert "secret" not in found.text


def test_health_says_whether_there_is_a_version(tmp_path: Path) -> None:
    with TestClient(create_app(tmp_path)) as client:
        assert client.get("/health/live").json() == {"status": "live"}
        for path in ("/health/ready", "/recommendations/7"):
            found = client.get(path)
            assert found.status_code == 503
            assert found.headers["content-type"] == PROBLEM
            assert str(tmp_path) not in found.text
        version = table.publish(fixtures.made(), tmp_path)
        found = client.get("/health/ready").json()
        assert found["version"] == version
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", found["built"])
        assert found["redis"] == "not used"


def test_a_version_that_cannot_be_read_leaves_the_one_before(tmp_path: Path) -> None:
    version = table.publish(fixtures.made(), tmp_path)
    with TestClient(create_app(tmp_path)) as client:
        for damage in ("gone\n", "broken\n"):
            (tmp_path / "broken.sqlite").write_bytes(b"no database")
            (tmp_path / "current").write_text(damage)
            time.sleep(LOOK)
            assert client.get("/recommendations/7").json()["version"] == version
        newer = table.publish(fixtures.made(tag="b"), tmp_path)
        time.sleep(LOOK)
        assert client.get("/recommendations/7").json()["version"] == newer


def test_a_key_guards_all_but_health(folder: Path) -> None:
    with TestClient(create_app(folder, api_key="schlüssel")) as client:
        right = {"X-API-Key": "schlüssel".encode()}
        for path in ("/recommendations/7", "/similar/1", "/explain/7?item=1", "/metrics"):
            for wrong in ({}, {"X-API-Key": b"x"}, {"X-API-Key": "schlüsse".encode()}):
                found = client.get(path, headers=wrong)
                assert found.status_code == 401
                assert found.headers["content-type"] == PROBLEM
                assert "www-authenticate" in found.headers
            assert client.get(path, headers=right).status_code == 200
        assert client.post("/recommendations", json={"items": []}).status_code == 401
        assert client.get("/health/ready").status_code == 200
        paths = client.get("/openapi.json").json()["paths"]
        assert "security" in paths["/similar/{item_id}"]["get"]
        assert "security" not in paths["/health/ready"]["get"]


def test_metrics_count_by_route_and_not_by_user(folder: Path) -> None:
    with TestClient(create_app(folder)) as client:
        for path in ("recommendations/7", "recommendations/8", "recommendations/nobody", "none"):
            client.get(f"/{path}")
        found = client.get("/metrics").text
    lines = found.splitlines()
    assert 'recommendations_total{source="ALS",store="file"} 2.0' in lines
    assert 'recommendations_total{source="popular",store="file"} 1.0' in lines
    counted = 'request_seconds_count{route="/recommendations/{user_id:path}",status="200"} 3.0'
    assert counted in lines
    assert 'request_seconds_count{route="none",status="404"} 1.0' in lines
    assert "nobody" not in found


def test_pages_ask_no_other_host(client: httpx.Client) -> None:
    page = client.get("/").raise_for_status().text
    assert "/explain/{user_id}" in page
    assert not re.search(r"https?://|//\w", page)
    for path in re.findall(r'href="([^"]+)"', page):
        client.get(path).raise_for_status()


def test_the_answers_keep_to_the_schema(client: httpx.Client, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{client.base_url}/openapi.json"]
    command += ["--max-examples", "5", "--seed", "1", "--generation-database", "none"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert "Tested: 6" in done.stdout
    paths = client.get("/openapi.json").json()["paths"]
    for methods in paths.values():
        for operation in methods.values():
            assert set(operation["responses"]) == {"200", "4XX", "5XX"}
            assert list(operation["responses"]["4XX"]["content"]) == [PROBLEM]


def test_a_swap_under_load_fails_and_mixes_nothing(tmp_path: Path) -> None:
    versions = {table.publish(fixtures.made(tag="0"), tmp_path): "0"}
    failures: list[object] = []
    seen: set[str] = set()
    done = threading.Event()

    def read(address: str) -> None:
        connection = HTTPConnection(urlsplit(address).netloc)
        while not done.is_set():
            connection.request("GET", "/recommendations/7?n=10")
            response = connection.getresponse()
            body = json.loads(response.read())
            tags = {item["title"].split()[0] for item in body["items"]}
            version = body["version"]
            found.append((version, body["version"], tags, response.status))
            seen.add(version)

    found: list[tuple[str | None, str, set[str], int]] = []
    with fixtures.serving(create_app(tmp_path)) as address:
        readers = [threading.Thread(target=read, args=(address,)) for _ in range(3)]
        for reader in readers:
            reader.start()
        for turn in range(1, 8):
            versions[table.publish(fixtures.made(tag=str(turn)), tmp_path)] = str(turn)
            time.sleep(2 * LOOK)
        done.set()
        for reader in readers:
            reader.join()
    failures = [
        each
        for each in found
        if not (each[0] == each[1] and each[2] == {versions[each[1]]} and each[3] == 200)
    ]
    assert not failures
    assert len(seen) > 4


def test_the_command_serves_and_its_log_names_nobody(tmp_path: Path, root: Path) -> None:
    table.publish(fixtures.made(), tmp_path / "data" / "serving" / "movielens-100k")
    port = fixtures.free_port()
    command = [sys.executable, "-m", "helpers", "serve", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(root), "API_KEY": "k"}
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=output, stderr=output
        )
        try:
            address = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=address, headers={"X-API-Key": "k"}) as client:
                for _ in range(600):
                    try:
                        client.get("/health/live")
                        break
                    except httpx.TransportError:
                        assert server.poll() is None, log.read_text()
                        time.sleep(0.1)
                path = "/recommendations/somebody?exclude=something"
                assert httpx.get(f"{address}{path}").status_code == 401
                assert client.get(path).json()["unknown"] == ["something"]
                assert client.get("/recommendations/%00?n=0").status_code == 422
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0
    text = log.read_text()
    assert address in text
    assert "version 2" in text
    assert not re.search("some|exclude|Traceback|interrupted", text)
