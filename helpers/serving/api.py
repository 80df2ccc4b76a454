"""The API over a table of recommendations: FastAPI, served by uvicorn (``make serve``).

Every answer is of one version and names it. Bodies are joined from texts that are rendered once an
item; the models below are for the schema (``/openapi.json``) and for what comes in. FastAPI's own
documentation pages load scripts from another host, so they are off; ``/`` lists the addresses.
"""

import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.security import APIKeyHeader
from prometheus_client import CONTENT_TYPE_LATEST as METRICS
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from helpers.serving.redis import NotInRedisError, Reader
from helpers.serving.table import Answer, ServingError, Store, Table, User

log = logging.getLogger("uvicorn.error")  # never gets an id of a user or of an item
LOOK = 0.1  # seconds between two looks for a new version: they cost as much as the list itself


class Item(BaseModel):
    """An item in a list."""

    item_id: str = Field(examples=["50"])
    title: str = Field(examples=["Star Wars (1977)"])
    score: float = Field(examples=[0.93], description="Comparable within one list and source only.")


class Similar(BaseModel):
    """The items whose factors point in the most similar direction, with their cosines."""

    version: str = Field(examples=["20260131T040000.000000Z"], description="Of the model.")
    items: list[Item]


class Recommendations(Similar):
    """The best items, best first: those of the model score its preference, popular ones a share."""

    source: Literal["ALS", "popular"] = Field(description="popular: the user is not known.")
    n_filled: int = Field(examples=[0], description="The last items, if popular ones filled up.")
    unknown: list[str] = Field(examples=[[]], description="Items of the request that are unknown.")


class Explanation(Similar):
    """The model's score of an item, and the items of the history that add most to it."""

    score: float = Field(examples=[0.93])


_ItemId = Annotated[str, Field(max_length=1_000)]


class Basket(BaseModel):
    """What a visitor has taken; they need not be known."""

    model_config = ConfigDict(extra="forbid")
    items: list[_ItemId] = Field(max_length=1_000, examples=[["50", "181"]])
    n: int = Field(20, ge=1, le=100)
    exclude: list[_ItemId] = Field([], max_length=1_000, description="Items to leave out.")
    category: str = Field("", examples=[""], description="Only its items.")


class Ready(BaseModel):
    """Which version is served."""

    version: str = Field(examples=["20260131T040000.000000Z"])
    built: str = Field(examples=["2026-01-31 04:00 UTC"])
    redis: str = Field(examples=["ready"], description="Else why answers come from the file.")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["item '0' is unknown"])


_PROBLEM_JSON = "application/problem+json"
_PROBLEM = {
    "description": Problem.__doc__,
    "content": {_PROBLEM_JSON: {"schema": Problem.model_json_schema()}},
}
_ERRORS = (StarletteHTTPException, RequestValidationError, ServingError, Exception)
_Id = Annotated[str, InPath(min_length=1, examples=["1"])]
_Item = Annotated[str, Query(min_length=1, examples=["50"])]
_N = Annotated[int, Query(ge=1, le=100, description="Items to return.")]
_Exclude = Annotated[Sequence[str], Query(max_length=1_000, description="To leave out; repeat it.")]


class _Version(dict[int, str]):
    """A table, and the JSON of its items, each rendered when first needed but for the score."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.start = f'{{"version": {json.dumps(table.version)}, "items": ['

    def __missing__(self, place: int) -> str:
        item = {"item_id": self.table.item_ids[place], "title": self.table.titles[place]}
        self[place] = json.dumps(item)[:-1].replace("%", "%%") + ', "score": %.6g}'
        return self[place]

    def places(self, item_ids: Sequence[str]) -> tuple[list[int], list[str]]:
        """The places of known items, and the unknown ones."""
        known = self.table.places
        wanted = dict.fromkeys(filter(None, item_ids))
        return [known[i] for i in wanted if i in known], [i for i in wanted if i not in known]

    def place(self, item_id: str) -> int:
        """The place of an item that has to be known."""
        if item_id not in self.table.places:
            raise HTTPException(404, f"item {item_id!r} is unknown")
        return self.table.places[item_id]

    def response(
        self, items: Collection[int], scores: Collection[float], rest: str = "", store: str = ""
    ) -> Response:
        """The list and the rest as JSON, and where a list of Redis came from."""
        listed = ", ".join([self[item] for item in items]) % tuple(scores)
        headers = {"X-Store": store} if store else None
        return Response(f"{self.start}{listed}]{rest}}}", 200, headers, "application/json")

    def recommendations(self, answer: Answer, unknown: list[str], store: str = "") -> Response:
        """A list with its source."""
        rest = f', "source": "{answer.source}", "n_filled": {answer.n_filled}, "unknown": '
        rest += json.dumps(unknown) if unknown else "[]"
        return self.response(answer.items, answer.scores, rest, store)


class _Served:
    """The version that is served now; that before goes on where a new one cannot be read."""

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder)
        self._version: _Version | None = None
        self._fault = ""
        self._looked = 0.0

    def version(self) -> _Version:
        """To be asked once for an answer."""
        if self._version is None or time.monotonic() >= self._looked + LOOK:
            self._looked = time.monotonic()
            try:
                table = self._store.table
                if self._version is None or self._version.table is not table:
                    log.info("serving version %s", table.version)
                    self._version = _Version(table)
            except (ValueError, OSError, KeyError) as error:
                if str(error) != self._fault:  # once, not at each request
                    self._fault = str(error)
                    log.error("no new version: %s", error)
        if self._version is None:
            raise HTTPException(503, "there are no recommendations yet")
        return self._version


class _Measured:
    """Counts requests and their seconds by route and status."""

    def __init__(self, app: ASGIApp, seconds: Histogram) -> None:
        self._app, self._seconds = app, cache(seconds.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, status = time.perf_counter(), 500

        async def send_on(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        finally:
            if scope["type"] == "http":
                route = getattr(scope.get("route"), "path", "none")
                self._seconds(route, status).observe(time.perf_counter() - start)


def create_app(
    folder: str | Path, redis_url: str | None = None, api_key: str | None = None
) -> FastAPI:
    """The API over a folder of tables.

    Parameters
    ----------
    folder : str or Path
        As :func:`helpers.serving.table.publish` writes it; a new version is noticed.
    redis_url : str, optional
        Lists of users are looked up there, and in the file where Redis does not have them.
    api_key : str, optional
        What clients have to send as ``X-API-Key`` for all but ``/``, ``/openapi.json`` and
        ``/health``.

    Returns
    -------
    FastAPI
    """
    served = _Served(Path(folder))
    reader = Reader(redis_url) if redis_url else None
    registry = CollectorRegistry()
    by = ["source", "store"], ["route", "status"]
    counted = Counter("recommendations", "Lists by source and store", by[0], registry=registry)
    answers = cache(counted.labels)
    seconds = Histogram("request_seconds", "By route and status", by[1], registry=registry)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with suppress(HTTPException, ServingError):
            served.version().table.fold_in([0])  # compiles the solver before a client waits for it
        yield
        if reader:
            await reader.close()

    async def stored(table: Table, user_id: str) -> tuple[User | None, str]:
        """What is stored of a user, and where it was found."""
        if reader is None:
            return table.user(user_id), "file"
        try:
            return await reader.user(table.version, user_id), "redis"
        except NotInRedisError as error:
            return table.user(user_id), f"file ({error})"

    app = FastAPI(
        title="Recommendations", lifespan=lifespan, docs_url=None, redoc_url=None,
        responses={"4XX": _PROBLEM, "5XX": _PROBLEM},
        exception_handlers=dict.fromkeys(_ERRORS, _problem),
    )  # fmt: skip
    app.add_middleware(_Measured, seconds=seconds)
    guard = [Depends(_key_check(api_key))] if api_key else []

    @app.get("/recommendations/{user_id:path}", response_model=Recommendations, dependencies=guard)
    async def recommend(
        user_id: _Id, n: _N = 20, exclude: _Exclude = (), category: str = ""
    ) -> Response:
        """A user's list; who is not known gets the popular one."""
        version = served.version()
        places, unknown = version.places(exclude)
        user, store = await stored(version.table, user_id)
        answer = version.table.recommend(user, n, exclude=places, category=category)
        answers(answer.source, store).inc()
        return version.recommendations(answer, unknown, store if reader else "")

    @app.post("/recommendations", response_model=Recommendations, dependencies=guard)
    async def recommend_for_basket(basket: Basket) -> Response:
        """The list for a basket, which the model is solved for; the popular one if it is empty."""
        version = served.version()
        places, unknown = version.places(basket.items)
        out, more_unknown = version.places(basket.exclude)
        user = version.table.fold_in(places) if places else None
        answer = version.table.recommend(user, basket.n, exclude=out, category=basket.category)
        answers(answer.source, "file").inc()
        return version.recommendations(answer, unknown + more_unknown)

    @app.get("/similar/{item_id:path}", response_model=Similar, dependencies=guard)
    async def similar(item_id: _Id, n: _N = 20) -> Response:
        """Items that are similar to an item."""
        version = served.version()
        answer = version.table.similar(version.place(item_id), n)
        return version.response(answer.items, answer.scores)

    @app.get("/explain/{user_id:path}", response_model=Explanation, dependencies=guard)
    async def explain(user_id: _Id, item: _Item) -> Response:
        """Why an item suits a user: the items of their history that add most to its score."""
        version = served.version()
        user = version.table.user(user_id)
        if user is None:
            raise HTTPException(404, f"user {user_id!r} is unknown")
        score, parts = version.table.explain(user, version.place(item))
        items, values = [place for place, _ in parts], [value for _, value in parts]
        return version.response(items, values, f', "score": {score:.6g}')

    @app.get("/metrics", response_class=Response, include_in_schema=False, dependencies=guard)
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(generate_latest(registry), media_type=METRICS)

    @app.get("/health/live", response_model=dict[str, str])
    async def live() -> Response:
        """The process answers."""
        return Response('{"status": "live"}', media_type="application/json")

    @app.get("/health/ready")
    async def ready() -> Ready:
        """A version is served; 503 without."""
        table = served.version().table
        redis = "not used"
        if reader:
            try:
                await reader.user(table.version, "-")
                redis = "ready"
            except NotInRedisError as error:
                redis = str(error)
        return Ready(version=table.version, built=table.facts["built"], redis=redis)

    @app.get("/", include_in_schema=False)
    async def addresses() -> HTMLResponse:
        """The addresses, for who opens the server in a browser."""
        found = [
            f"<dt><code>{method.upper()} {path}</code><dd>{escape(operation['description'])}"
            for path, methods in app.openapi()["paths"].items()
            for method, operation in methods.items()
        ]
        schema = '<p>More: <a href="/openapi.json">schema</a>, <a href="/metrics">metrics</a>'
        title = f"<!doctype html><html lang=en><title>{app.title}</title><h1>{app.title}</h1>"
        return HTMLResponse(f"{title}<dl>{''.join(found)}</dl>{schema}")

    return app


def _key_check(api_key: str) -> Any:
    """A dependency that refuses requests without the key."""
    header = APIKeyHeader(name="X-API-Key", auto_error=False)

    async def check(given: Annotated[str | None, Depends(header)]) -> None:
        # The time of this comparison says nothing of how much was right.
        if not hmac.compare_digest((given or "").encode("latin-1"), api_key.encode()):
            raise HTTPException(401, "send the key as X-API-Key", {"WWW-Authenticate": "APIKey"})

    return check


async def _problem(request: Request, error: Exception) -> Response:
    """The answer to an error, which repeats nothing of the server's inside."""
    status, detail, headers = 500, "the server failed; its log says why", None
    if isinstance(error, StarletteHTTPException):
        status, detail, headers = error.status_code, error.detail, error.headers
    elif isinstance(error, ServingError):
        status, detail = 404, str(error)
    elif isinstance(error, RequestValidationError):
        found = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
        status, detail = 422, "; ".join(f"{where}: {what}" for where, what in found)
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return Response(json.dumps({**content, "detail": detail}), status, headers, _PROBLEM_JSON)
