"""Lets requests in: whose token, host and origin are right, and whose bodies are small enough."""

import hmac
import ipaddress
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mavos_deploy.runtime.studio.address import new_token

LARGEST = 32 << 20  # bytes of a body
LARGEST_FILE = 256 << 20  # bytes of a file that is imported
LOCAL = ("127.0.0.1", "localhost", "[::1]")

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; style-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
STRANGER = (
    "this address needs the token that mavos-studio printed when it started; open the whole "
    "address from there"
)


@dataclass(frozen=True)
class Door:
    """Who may come in.

    Attributes:
        host: Address that the server listens on.
        port: Its port.
        token: The secret that the address of the first visit carries.
    """

    host: str
    port: int
    token: str = field(default_factory=new_token)

    @property
    def cookie(self) -> str:
        """Name of the cookie, which other servers on this machine don't share."""
        return f"mavos_studio_{self.port}"

    @property
    def address(self) -> str:
        """Address to open, with the token."""
        shown = self.host if self.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104
        shown = f"[{shown}]" if ":" in shown else shown
        return f"http://{shown}:{self.port}/?token={quote(self.token)}"

    def knows_host(self, host: str) -> bool:
        """Whether a Host header names this server.

        A server that others can reach is named by whatever address they use, but by no name that a
        foreign page may have made up.
        """
        name, _, port = host.rpartition(":")
        if not name or port != str(self.port):
            return False
        if name in LOCAL or name == self.host or name == f"[{self.host}]":
            return True
        if self.host in ("127.0.0.1", "localhost", "::1"):
            return False
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def is_token(self, given: str) -> bool:
        """Whether it is the secret; takes the same time for all wrong ones."""
        return hmac.compare_digest(given.encode(), self.token.encode())


class TooLargeError(Exception):
    """A body that has more bytes than are taken."""


class Guard:
    """Wraps an application, and answers in its place what may not come in.

    Args:
        app: The application.
        door: Who may come in.
    """

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request or a WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._door.knows_host(host):
            await _refuse(scope, receive, send, 403, f"{host!r} is not the name of this server")
            return
        if origin is not None and origin != f"http://{host}":
            text = f"a page of {origin!r:.80} may not use this server"
            await _refuse(scope, receive, send, 403, text)
            return
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["path"] == "/" and "token" in query and scope["type"] == "http":
            if self._door.is_token(query["token"][0]):
                await self._welcome(send)
            else:
                await _refuse(scope, receive, send, 403, STRANGER)
            return
        if not self._knows(headers):
            await _refuse(scope, receive, send, 403, STRANGER)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        await self._limited(scope, headers, receive, send)

    def _knows(self, headers: dict[str, str]) -> bool:
        given = headers.get("authorization", "")
        if given.startswith("Bearer "):
            return self._door.is_token(given[len("Bearer ") :])
        # Other servers of this machine may have given cookies that the standard library refuses.
        cookie = cookie_parser(headers.get("cookie", "")).get(self._door.cookie)
        return cookie is not None and self._door.is_token(cookie)

    async def _welcome(self, send: Send) -> None:
        """Give the cookie, and lead to the address without the token."""
        cookie = f"{self._door.cookie}={self._door.token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), *HEADERS]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _limited(
        self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        is_file = scope["path"].endswith("/import")
        largest, taken = LARGEST_FILE if is_file else LARGEST, 0
        text = f"too large; {largest >> 20} MB are taken at most"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > largest:
            await _refuse(scope, receive, send, 413, text)
            return

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > largest:
                raise TooLargeError(text)
            return message

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        await self._app(scope, counted, dressed)


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4000 + status, "reason": text[:120]})
        return
    is_page = not scope["path"].startswith("/api/")
    plain: dict[str, Any] = {"error": text, "status": status}
    body = (
        f"<!doctype html><title>mavos-studio</title><p>{_escaped(text)}</p>"
        if is_page
        else json.dumps(plain)
    ).encode()
    kind = b"text/html; charset=utf-8" if is_page else b"application/json"
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
