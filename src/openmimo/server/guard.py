"""Who may talk to the server: the Host and Origin rules against browsers led astray, and the API key."""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openmimo.server.problem import problem

__all__ = ["PAGE_POLICY", "Guard", "is_loopback"]

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of every answer: nothing inline, nothing from elsewhere."""

OPEN_PATHS = ("/health",)
"""Paths that need no API key."""

READING_METHODS = ("GET", "HEAD", "OPTIONS")


def is_loopback(host: str) -> bool:
    """Say whether a bind address is reachable from this machine only.

    Args:
        host: a name or an address.
    Returns:
        True for localhost and loopback addresses.
    """
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


class Guard:
    """ASGI middleware that refuses requests no honest client of this server sends.

    - `Host` must be an address or a known name. A page of another site that rebinds its own name to this machine
      (DNS rebinding) still sends that name; an address cannot be rebound.
    - A request that changes state and has an `Origin` must come from this server's own page.
    - With a key, every path but `OPEN_PATHS` needs it: `Authorization: Bearer KEY`, `x-api-key: KEY`, or, so that a
      browser can open the page, Basic authentication with the key as password.
    """

    def __init__(self, app: ASGIApp, api_key: str | None = None, allowed_hosts: Iterable[str] = ()):
        self._app = app
        self._key = api_key.encode() if api_key else None
        self._names = {"localhost", *(name.lower() for name in allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, _with_policy(send))

    def _refusal(self, request: Request) -> JSONResponse | None:
        headers = request.headers
        host = headers.get("host", "")
        if not self._knows(host):
            return problem(421, "this Host is not served here; use localhost or an address", "host_not_allowed")
        if request.method not in READING_METHODS and not _is_same_origin(headers.get("origin"), host):
            return problem(403, "requests from pages of other origins are refused", "origin_not_allowed")
        if self._key is None or request.url.path in OPEN_PATHS or self._has_key(headers):
            return None
        answer = problem(401, "send the API key: Authorization: Bearer KEY", "invalid_api_key", "authentication_error")
        if request.method == "GET" and request.url.path == "/":
            answer.headers["WWW-Authenticate"] = 'Basic realm="openmimo: any user name, the API key as password"'
        return answer

    def _knows(self, host: str) -> bool:
        name = _host_name(host)
        return name in self._names or _address(name) is not None

    def _has_key(self, headers: Headers) -> bool:
        assert self._key is not None
        in_header = hmac.compare_digest(headers.get("x-api-key", "").encode(), self._key)
        in_authorization = hmac.compare_digest(_authorization_key(headers.get("authorization", "")).encode(), self._key)
        return in_header or in_authorization


def _host_name(host: str) -> str:
    """The name in a Host header: `name`, `name:port`, `1.2.3.4:port` or `[::1]:port`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_same_origin(origin: str | None, host: str) -> bool:
    """Requests without an Origin come from programs, not from pages."""
    return origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def _authorization_key(value: str) -> str:
    scheme, _, rest = value.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _with_policy(send: Send) -> Send:
    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = PAGE_POLICY
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "no-referrer"
        await send(message)

    return send_with_policy
