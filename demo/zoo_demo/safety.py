"""Who may talk to the server, and how much of it at once.

The server stands on a machine where a browser also visits other people's pages. Such a page may
send requests to 127.0.0.1, or make its own name mean 127.0.0.1 (DNS rebinding). `Gate` stands in
front of everything, our routes and Gradio's alike, and answers what it refuses with one line of
JSON: `{"error": …}`.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")

MAX_BODY_BYTES = 20 * 2**20
RETRY_SECONDS = 2

# Gradio's own routes that the page and gradio_client need. The others stay shut: they take files,
# fetch from other hosts on a caller's behalf, record runs or edit the app.
_GRADIO_PATHS = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|pwa_icon|robots\.txt|(assets|static|svelte)/.+)?|"
    r"/gradio_api/(info|app_id|startup-events|heartbeat/\w+|queue/(join|data)|call/\w+(/\w+)?|cancel|reset|theme\.css)"
)
_OUR_PATHS = "/zoo/"
_SCHEMES = ("http", "https")  # https where the user has put a proxy in front

# Browsers heed it from an origin that they trust alone, and complain on the console about any other.
_ON_LOOPBACK = {"cross-origin-opener-policy": "same-origin"}

# Gradio's page starts from inline scripts, and its gr.HTML compiles templates: both are allowed,
# from this server alone. Nothing else may be loaded from, or sent to, any other host.
_SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class RefusedError(HTTPException):
    """A request that is answered with one line for the user: `{"error": line}`."""

    def __init__(self, status: int, line: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, line, headers)

    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.detail}, self.status_code, self.headers)


class Hosts:
    """The names under which the server may be asked for.

    A name of someone else's may be made to mean this machine, a literal address may not: so a
    server that listens on all of them (`0.0.0.0`, `::`) takes any literal address.

    Args:
        listening: The address or name that the server listens on.
        public: The names under which a proxy passes requests on, as `is_public_name` takes them. The
            proxy may pass on the name or put its own in its place: browsers send it as the origin too.
    """

    def __init__(self, listening: str, public: Collection[str] = ()) -> None:
        self.any_address = is_unspecified(listening)
        self.names = {"127.0.0.1", "localhost", "::1", listening.lower()}
        self.names |= {_host_name(name) for name in public}
        self.public_origins = {f"{scheme}://{name.lower()}" for name in public for scheme in _SCHEMES}
        if self.any_address:
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def take(self, header: str) -> bool:
        """Say whether a request's Host header names this server."""
        name = _host_name(header)
        return name in self.names or (self.any_address and _address(name) is not None)


@dataclass(frozen=True)
class Credentials:
    """The one user and password of HTTP Basic authentication (RFC 7617)."""

    user: str
    password: str

    def match(self, header: str) -> bool:
        """Say whether an Authorization header holds them, in the same time whatever it holds."""
        expected = base64.b64encode(f"{self.user}:{self.password}".encode())
        scheme, _, given = header.partition(" ")
        return hmac.compare_digest(given.strip().encode(), expected) and scheme.lower() == "basic"


class Gate:
    """ASGI middleware: foreign hosts and origins, credentials, shut paths, long bodies, security headers.

    Args:
        app: What stands behind the gate.
        hosts: The names under which the server may be asked for.
        credentials: What every request must show; None where nobody is asked.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, credentials: Credentials | None = None) -> None:
        self.app = app
        self.hosts = hosts
        self.credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket: nothing here uses one
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        send = _with_security_headers(send, headers.get("host", ""))
        try:
            self._check(headers, scope["method"], scope["path"])
        except RefusedError as refusal:
            await refusal.response()(scope, receive, send)
            return
        await self.app(scope, _limited(receive), send)

    def _check(self, headers: Headers, method: str, path: str) -> None:
        host = headers.get("host", "")
        if not self.hosts.take(host):
            raise RefusedError(403, "This server is not known under that name.")
        if _is_foreign(headers, method, path, self.hosts.public_origins):
            raise RefusedError(403, "Another site's page may not use this server.")
        if self.credentials and not self.credentials.match(headers.get("authorization", "")):
            challenge = {"www-authenticate": 'Basic realm="Autoencoder Zoo", charset="UTF-8"'}
            raise RefusedError(401, "User and password, please.", challenge)
        if not path.startswith(_OUR_PATHS) and not _GRADIO_PATHS.fullmatch(path.rstrip("/") or "/"):
            raise RefusedError(404, "There is nothing here.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            raise _too_long()


class Slots:
    """How many may work at once, and how many may wait for it.

    Args:
        working: At once.
        waiting: Beside them; whoever comes then is sent away with 503.
    """

    def __init__(self, working: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(working)
        self._room = waiting

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Wait for a slot, and call a function in a thread.

        Raises:
            RefusedError: 503, with Retry-After, where too many wait already.
        """
        if self._room == 0:
            headers = {"retry-after": str(RETRY_SECONDS)}
            raise RefusedError(503, "Too many requests at once: try again in a moment.", headers)
        self._room -= 1
        try:
            await self._free.acquire()
        finally:
            self._room += 1
        try:
            return await anyio.to_thread.run_sync(function, *arguments)
        finally:
            self._free.release()


def is_loopback(host: str) -> bool:
    """Say whether an address that is listened on can be reached from this machine alone."""
    address = _address(host)
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


def is_unspecified(host: str) -> bool:
    """Say whether a host means every address of this machine, as `0.0.0.0` and `::` do."""
    address = _address(host)
    return address is not None and address.is_unspecified


def is_public_name(text: str) -> bool:
    """Say whether a text is a host name (RFC 1123), perhaps with a port: `zoo.example.org:8443`."""
    name, colon, port = text.partition(":")
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    is_name = len(name) <= 253 and re.fullmatch(rf"{label}(\.{label})*", name, re.ASCII | re.IGNORECASE)
    is_port = re.fullmatch(r"[1-9][0-9]{0,4}", port, re.ASCII) and int(port) < 2**16
    return bool(is_name and (is_port or not colon))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host_name(header: str) -> str:
    """Return `localhost` of `localhost:7860`, and `::1` of `[::1]:7860`."""
    named = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::\d{1,5})?", header)
    return (named[1] or named[2]).lower() if named else ""


def _is_foreign(headers: Headers, method: str, path: str, public_origins: Collection[str]) -> bool:
    """Say whether another site's page sent a request; following a link to our page is fine."""
    origin = headers.get("origin")
    if origin is not None:
        own_origins = {f"{scheme}://{headers['host'].lower()}" for scheme in _SCHEMES}
        if origin.lower() not in own_origins.union(public_origins):
            return True
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return False
    return not (path == "/" and method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate")


def _limited(receive: Receive) -> Receive:
    """Count the bytes of a body as they come: a length may be missing, or a lie."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY_BYTES:
            raise _too_long()
        return message

    return counted


def _too_long() -> RefusedError:
    return RefusedError(413, f"At most {MAX_BODY_BYTES // 2**20} MiB can be sent at once.", {"connection": "close"})


def _with_security_headers(send: Send, host: str) -> Send:
    added = _SECURITY_HEADERS | (_ON_LOOPBACK if is_loopback(_host_name(host)) else {})

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(added)
        await send(message)

    return sending
