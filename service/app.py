"""The routes: what is asked over HTTP, and what is answered. See `GET /openapi.json`."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from service import shapes
from service.access import Buckets, caller_of, is_known
from service.asking import Asking
from service.body import MostBody, read_asked
from service.facts import Facts
from service.notes import Noted
from service.status_page import StatusPage, add_pages
from tasks.digests import sha256_text
from tasks.errors import BadInput, KeelError

PREDICT, FEEDBACK = "/predict", "/feedback"
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": shapes.Refused, "description": says}
    for code, says in {
        401: "no known bearer token",
        408: "the request did not come to its end in time",
        413: "more bytes than the rules allow",
        415: "neither form data nor JSON",
        422: "not as described, or no image was let in",
        429: "more images or reports than a caller may send; Retry-After says when to come back",
        500: "the model failed",
        503: "too much waits already, or a store is away",
        504: "no answer in time",
    }.items()
}


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The part of the schema for these."""
    return {code: REFUSALS[code] for code in codes}


class Plain(APIRoute):
    """A route that takes the request as it comes: FastAPI writes its schema, and does nothing on its way."""

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], **named: Any) -> None:
        super().__init__(path, endpoint, **named)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = answer


def refuse_in_words(app: FastAPI) -> None:
    """Every refusal has the form that the schema tells."""

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> JSONResponse:
        detail = str(error.detail).encode(errors="replace").decode()  # a JSON text may hold half a character
        if error.status_code == 400:  # what the framework says of a body that is no JSON, or that broke off
            return JSONResponse({"detail": detail, "answers": []}, 422, {"Connection": "close"})
        return JSONResponse({"detail": detail, "answers": []}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_form(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = "; ".join(f"{'.'.join(map(str, p['loc'][1:]))}: {p['msg']}" for p in error.errors())
        return JSONResponse({"detail": problems.encode(errors="replace").decode(), "answers": []}, 422)


def make_app(facts: Facts, asking: Asking, status: StatusPage, tokens: tuple[bytes, ...], lifespan: Any) -> FastAPI:
    """The application."""
    rules, buckets = asking.rules.request, Buckets(asking.rules.rate)
    counted = asking.counted
    app = FastAPI(title="Keel", version=facts.release, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(MostBody, most=rules.most_body, seconds=rules.seconds_to_send)
    app.add_middleware(Noted, counted=counted)

    async def authorise(request: Request) -> None:
        if tokens and not is_known(request.headers.get("authorization", ""), tokens):
            counted.rejections.labels("token").inc()
            raise HTTPException(
                401,
                "send a known token: Authorization: Bearer <token>",
                {"WWW-Authenticate": 'Bearer, Basic realm="keel"'},
            )

    def count(request: Request, images: int = 1) -> str:
        """Take from the caller's bucket, and say whose it is; a report counts as an image."""
        peer = request.client.host if request.client else ""
        caller = caller_of(request.headers.get("authorization", ""), peer, tokens)
        wait = buckets.take(caller, images)
        if wait:
            counted.rejections.labels("rate").inc()
            raise HTTPException(
                429, f"more than {asking.rules.rate.a_second:g} a second", {"Retry-After": f"{wait:.0f}"}
            )
        return caller

    known = [Depends(authorise)]

    refuse_in_words(app)

    async def predict(request: Request) -> Response:
        await authorise(request)
        peer = request.client.host if request.client else ""
        asked = await read_asked(request, rules, facts.columns)
        caller = count(request, len(asked.images))
        outcome = await asking.answer(asked, peer, caller)
        request.state.facts |= {"request_id": outcome.request_id, "arm": outcome.arm, "images": len(asked.images)}
        if outcome.code == 200:
            return JSONResponse({"request_id": outcome.request_id, "answers": outcome.answers})
        return JSONResponse({"detail": outcome.detail, "answers": outcome.answers}, outcome.code)

    app.router.add_api_route(
        PREDICT,
        predict,
        methods=["POST"],
        response_model=shapes.Predicted,
        responses=refusals(401, 408, 413, 415, 422, 429, 500, 503, 504),
        openapi_extra=shapes.predict_body(rules.most_images, facts.columns),
        route_class_override=Plain,
    )

    @app.post(
        FEEDBACK,
        response_model=shapes.Filed,
        status_code=201,
        responses=refusals(401, 408, 413, 422, 429, 503),
        dependencies=known,
    )
    async def feedback(body: shapes.FeedbackBody, request: Request) -> shapes.Filed:
        count(request)
        peer = request.client.host if request.client else ""
        said = {**body.model_dump(), "project": facts.project, "at": dt.datetime.now(dt.UTC)}
        key = request.headers.get("x-keel-key") or peer
        try:
            return shapes.Filed(
                id=await asyncio.to_thread(facts.file_report, {**said, "client": sha256_text(key)}) or None
            )
        except BadInput as error:
            raise HTTPException(422, str(error)) from error
        except KeelError as error:
            raise HTTPException(503, str(error)) from error

    @app.get("/health", response_model=shapes.Health)
    async def health() -> shapes.Health:
        """Liveness: 200 as long as the process answers, with what is wrong."""
        return facts.health()

    @app.get("/ready", response_model=shapes.Ready, responses={503: {"model": shapes.Ready}})
    async def ready(response: Response) -> shapes.Ready:
        """200 only while a checked model answers and the log takes rows."""
        found = await facts.ready()
        response.status_code = 200 if found.ready else 503
        return found

    @app.get("/version", response_model=shapes.Version, responses=refusals(401), dependencies=known)
    async def version() -> shapes.Version:
        return facts.version()

    @app.get("/metrics", responses={401: REFUSALS[401], 200: {"content": {"text/plain": {}}}}, dependencies=known)
    async def metrics() -> Response:
        return Response(facts.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    add_pages(app, status, known)
    return app
