"""Who may look: a token where others could reach the server, and strict headers on all it says."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pathology.core.web_access import HEADERS, host_name, is_same

ASK_AGAIN = (
    "Research use only. This viewer needs the token that it printed when it was started: "
    "open the whole address, with ?token=...\n"
)
WRONG_HOST = "This viewer answers under its own name only, e.g. http://127.0.0.1 and its port.\n"


class Guard:
    """Wraps the application: checks the Host header and the token, and adds security headers.

    token   None: everybody who reaches the server may look
    hosts   names that a Host header may carry, so that no other website's script can have its own
            name lead here; None: any (a token protects)
    policy  the Content-Security-Policy
    """

    def __init__(
        self, app: ASGIApp, *, policy: str, token: str | None, hosts: Collection[str] | None
    ) -> None:
        self.app, self.token, self.hosts = app, token, hosts
        self.headers = {
            **{name: said for name, said in HEADERS.items() if name != "Cache-Control"},
            "Content-Security-Policy": policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "X-Frame-Options": "DENY",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":  # lifespan; nothing here speaks over websockets
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        answer = self._refusal(scope) or self.app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self.hosts is not None and host_name(headers.get("host", "")) not in self.hosts:
            return PlainTextResponse(WRONG_HOST, 421)
        if self.token is None:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if is_same(given, self.token):
            return self._remember() if scope["path"] == "/" else None
        if is_same(_cookie(headers.getlist("cookie"), self._cookie_name), self.token):
            return None
        return PlainTextResponse(ASK_AGAIN, 401)

    def _remember(self) -> Response:
        """On to the page itself, with the token in a cookie and no longer in the address."""
        answer = Response(status_code=303, headers={"Location": "./", "Cache-Control": "no-store"})
        answer.set_cookie(
            self._cookie_name, self.token or "", httponly=True, samesite="lax", path="/"
        )
        return answer

    @property
    def _cookie_name(self) -> str:
        """One for each token: viewers on several ports of a machine share its cookies."""
        return f"pathology_{hashlib.sha256((self.token or '').encode()).hexdigest()[:12]}"


def _cookie(headers: list[str], name: str) -> str:
    try:
        morsel = SimpleCookie("; ".join(headers)).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
