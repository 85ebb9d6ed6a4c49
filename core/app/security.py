"""Who may talk to a studio: hosts, origins, the token, and the size of requests. Every request passes here first.

A page of another site can send requests to 127.0.0.1 from the user's browser. Three checks refuse them: the header
`Host` must name this server (a foreign name that resolves to 127.0.0.1 has the foreign name there: DNS rebinding), the
header `Origin` must be this server, and requests that change something need the header `X-Sonolux`, which a form of
another site cannot set (cross-site request forgery).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .limits import StudioLimits

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
REQUIRED_HEADER = "x-sonolux"
COOKIE = "sonolux_token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_SAFE = ("GET", "HEAD")
_LONGEST_LINE = 8192  # bytes of path and query


class RequestTooLarge(Exception):
    """The body of a request is larger than its limit."""


class RequestGuard:
    """The outermost layer of the server (ASGI): refuses requests, limits their bodies, and adds headers to responses.

    Args:
        app: The server.
        hosts: Host names, without port, that the header `Host` may have; None: any, which needs a token, since a page
            of another site does not have it.
        limits: Bounds of bodies.
        token: What every request must show, as the cookie that `/?token=` sets, or `Authorization: Bearer`; None:
            nothing.
        uploads: Paths whose bodies may have `limits.upload_bytes`.
    """

    def __init__(
        self,
        app: Any,
        hosts: Iterable[str] | None = LOCAL_HOSTS,
        limits: StudioLimits | None = None,
        token: str | None = None,
        uploads: Iterable[str] = (),
    ):
        if hosts is None and not token:
            raise ValueError("any host name may be used only with a token")
        self.app, self.token = app, token
        self.hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self.limits, self.uploads = limits or StudioLimits(), frozenset(uploads)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request; other connections, such as WebSockets, are closed."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        is_api = scope["path"].startswith("/api")

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                named = {name.lower() for name, _ in message["headers"]}
                added = {**HEADERS, "cache-control": "no-store" if is_api else "no-cache"}
                new = [(k.encode(), v.encode()) for k, v in added.items() if k.encode() not in named]
                message = {**message, "headers": [*message["headers"], *new]}
            await send(message)

        headers = _headers(scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            return await _respond(send_with_headers, *refusal)
        if self.token is not None and (query := _token_of_query(scope)) is not None:
            return await self._log_in(send_with_headers, query, scope.get("scheme") == "https")
        most = self.limits.upload_bytes if scope["path"] in self.uploads else self.limits.request_bytes
        await self._limited(scope, receive, send_with_headers, most, headers.get("content-length"))

    def _refusal(self, scope: Any, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and message if the request is refused."""
        host = headers.get("host", "")
        if self.hosts is not None and _name_of_host(host) not in self.hosts:
            return 403, "this host name is not served: open the address that `sonolux studio` printed"
        if "origin" in headers and not _is_origin(headers["origin"], host):
            return 403, "requests of other sites are refused"
        if scope["path"].startswith("/api") and headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            return 403, "requests of other sites are refused"
        if scope["method"] not in _SAFE and headers.get(REQUIRED_HEADER) != "1":
            return 403, "requests that change something need the header X-Sonolux: 1"
        if len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > _LONGEST_LINE:
            return 414, "the address is too long"
        if self.token is not None and _token_of_query(scope) is None and not self._shows_token(headers):
            return 403, "open the address with ?token=... that `sonolux studio` printed"
        return None

    def _shows_token(self, headers: dict[str, str]) -> bool:
        shown = [headers.get("authorization", "").removeprefix("Bearer ")]
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
            shown += [cookie.value] if cookie is not None else []
        except CookieError:
            pass
        return any(_is_same(one, self.token or "") for one in shown)

    async def _log_in(self, send: Any, given: str, secure: bool) -> None:
        """Answer `/?token=`: set the cookie and lead to the page without the token in its address."""
        if not _is_same(given, self.token or ""):
            return await _respond(send, 403, "this is not the token that `sonolux studio` printed")
        cookie = f"{COOKIE}={given}; Path=/; HttpOnly; SameSite=Strict" + "; Secure" * secure
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _limited(self, scope: Any, receive: Any, send: Any, most: int, length: str | None) -> None:
        """Call the server with a body of at most `most` bytes; a larger one is refused as soon as this is known."""
        message = f"the request is larger than {most / 1e6:g} MB"
        if length is not None and not (length.isdecimal() and len(length) < 20 and int(length) <= most):
            return await _respond(send, 413, message, close=True)
        read, started = 0, False

        async def receive_limited() -> Any:
            nonlocal read
            part = await receive()
            read += len(part.get("body", b""))
            if read > most:
                raise RequestTooLarge(message)
            return part

        async def send_noted(part: Any) -> None:
            nonlocal started
            started = True
            await send(part)

        try:
            await self.app(scope, receive_limited, send_noted)
        except RequestTooLarge:
            if not started:
                await _respond(send, 413, message, close=True)


def _headers(scope: Any) -> dict[str, str]:
    """The headers by lower-case name; of `Host` and `Origin` that occur twice, nothing is taken."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        found[key] = "" if key in found and key in ("host", "origin") else value.decode("latin-1")
    return found


def _name_of_host(host: str) -> str:
    """The name in a header `Host`, without the port."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdecimal() else host).lower()


def _is_origin(origin: str, host: str) -> bool:
    """Whether an `Origin` is a page of the server at `host`, with the same port."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() and not parts.path


def _token_of_query(scope: Any) -> str | None:
    if scope["path"] != "/" or scope["method"] != "GET":
        return None
    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token")
    return values[0] if values else None


def _is_same(given: str, token: str) -> bool:
    return bool(token) and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


async def _respond(send: Any, status: int, message: str, close: bool = False) -> None:
    """Send an error; with `close` the connection ends, so that the rest of the request is not read."""
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close")] if close else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
