"""Who may ask: the person who was given the key, from a page of this server, under a name of this server."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_OWN_SITE = ("same-origin", "none")
KEY = "key"


class Guard:
    """Wraps the application.

    A request under a foreign Host name is a page that was rebound to this address, one from a foreign site is a
    forgery, and one without the key is another user of the machine: none reaches a route. The key comes once, in
    the query of `/`, and is a cookie from then on. Without `names` any is right: the server listens on addresses
    that it does not know.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], port: int, key: str) -> None:
        self._app, self._key, self._cookie = app, key, f"embedlake-{port}"
        self._hosts = frozenset(f"[{n}]:{port}" if ":" in n else f"{n}:{port}" for n in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; what is not HTTP passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._refusal(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (answer or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if self._hosts and host not in self._hosts:
            return PlainTextResponse("this server does not answer to that name\n", 421)
        if scope["path"] == "/" and (given := _query(scope).get(KEY)):
            if not hmac.compare_digest(given.encode(), self._key.encode()):
                return PlainTextResponse("a wrong key: open the address that the command printed\n", 403)
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._cookie, self._key, httponly=True, samesite="lax")
            return answer
        if headers.get("sec-fetch-site", "none") not in _OWN_SITE and scope["path"] != "/":
            return PlainTextResponse("asked by another site\n", 403)
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}":
            return PlainTextResponse("asked by another site\n", 403)
        # Programs on other ports share the host's cookies; SimpleCookie gives all up for one that is odd.
        cookie = cookie_parser(headers.get("cookie", "")).get(self._cookie, "")
        if not hmac.compare_digest(cookie.encode(), self._key.encode()):
            return PlainTextResponse("no key: open the address that the command printed\n", 403)
        return None


def _query(scope: Scope) -> dict[str, str]:
    found = parse_qs(scope["query_string"].decode("latin-1"))
    return {name: values[-1] for name, values in found.items()}
