"""The page at the microscope: one HTML page, the newest picture with its facts, and MJPEG."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.resources import files

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pathology.core.web_access import HEADERS, may_enter
from pathology.inference.screen import Screen, View

WAIT_S = 10.0
BOUNDARY = "pathology-frame"
KINDS = {"live.html": "text/html", "live.css": "text/css", "live.js": "text/javascript"}
OPEN = (
    "/live.css",
    "/live.js",
    "/favicon.ico",
)  # hold nothing of anybody, and the page cannot give them a token
REFUSAL = "Not let in: open the address that was printed when the program started"
OUR_HEADER = "x-pathology"  # a page of somewhere else cannot send it


def live_app(
    screen: Screen,
    token: str = "",
    *,
    objectives: Sequence[str] = (),
    choose: Callable[[str], None] = lambda name: None,
) -> ASGIApp:
    """The web application.

    token       that every request has to bring, as ?token= or X-Token; "": loopback guards it
    objectives  that may be chosen from the page
    choose      called with the one that was
    """
    pages = _Pages(screen, tuple(objectives), choose)
    routes = [
        Route("/", _file("live.html")),
        Route("/live.css", _file("live.css")),
        Route("/live.js", _file("live.js")),
        Route("/favicon.ico", _nothing),
        Route("/frame", pages.frame),
        Route("/facts", pages.facts),
        Route("/stream.mjpg", pages.stream),
        Route("/objectives", pages.names),
        Route("/objective/{name}", pages.objective, methods=["POST"]),
    ]
    return _guarded(Starlette(routes=routes), token)


class _Pages:
    """Answers to requests."""

    def __init__(
        self, screen: Screen, objectives: tuple[str, ...], choose: Callable[[str], None]
    ) -> None:
        self.screen, self.known, self.choose = screen, objectives, choose

    async def frame(self, request: Request) -> Response:
        """The newest picture after a number, with its facts in a header."""
        try:
            number = int(request.query_params.get("after", "0"))
        except ValueError:
            return PlainTextResponse("after: expected a number", 400)
        view = await self.screen.after(number, WAIT_S)
        if view.number <= number:
            return Response(status_code=204)
        return Response(view.jpeg, media_type="image/jpeg", headers={"X-Facts": _text_of(view)})

    async def facts(self, request: Request) -> Response:
        """What is said of the newest picture."""
        return Response(_text_of(self.screen.view), media_type="application/json")

    async def stream(self, request: Request) -> Response:
        """Pictures without end, for other programs that show MJPEG."""
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return StreamingResponse(_parts(self.screen), media_type=kind)

    async def names(self, request: Request) -> Response:
        """The objectives that may be chosen."""
        return Response(json.dumps(self.known), media_type="application/json")

    async def objective(self, request: Request) -> Response:
        """Another objective, if our own page asks for it."""
        name = request.path_params["name"]
        if OUR_HEADER not in request.headers:
            return PlainTextResponse("not from our page", 403)
        if name not in self.known:
            return PlainTextResponse("no such objective", 404)
        self.choose(name)
        return Response(status_code=204)


def _text_of(view: View) -> str:
    return json.dumps({"number": view.number, **view.facts}, allow_nan=False)


def _guarded(app: ASGIApp, token: str) -> ASGIApp:
    """The application behind its door; every answer says what the page may load."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_rules(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        request = Request(scope)
        given = request.query_params.get("token") or request.headers.get("x-token", "")
        is_open = bool(token) and scope["path"] in OPEN
        if is_open or may_enter(token, given, request.headers.get("host", "")):
            await app(scope, receive, send_with_rules)
        else:
            refusal = PlainTextResponse(REFUSAL, 403)
            await refusal(scope, receive, send_with_rules)

    return enter


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    body = (files("pathology.inference") / "templates" / name).read_bytes()

    async def give(request: Request) -> Response:
        return Response(body, media_type=KINDS[name])

    return give


async def _nothing(request: Request) -> Response:
    return Response(status_code=204)


async def _parts(screen: Screen) -> AsyncIterator[bytes]:
    number = 0
    while True:
        view = await screen.after(number, WAIT_S)
        if view.number > number:
            number = view.number
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(view.jpeg)}"
            yield head.encode() + b"\r\n\r\n" + view.jpeg + b"\r\n"
