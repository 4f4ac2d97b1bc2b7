"""What the server sends and accepts so that a browser keeps other sites out."""

from __future__ import annotations

import ipaddress

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    # three.js reads textures, which are inside a GLB file, through blob: addresses.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class BrowserRules:
    """Middleware: add safe headers, and refuse requests of other sites.

    A page of another site could otherwise send pictures to a server on the user's own machine, or read its answers
    after its own name was made to point to that machine (DNS rebinding).

    Args:
        app: the application.
        is_local: whether the server is reached under a name of this machine only.
    """

    def __init__(self, app: ASGIApp, is_local: bool) -> None:
        self._app = app
        self._is_local = is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        problem = ""
        if self._is_local and not is_local_name(headers.get("host", "")):
            problem = "This server answers only under the name localhost."
        elif not (_is_same_site(headers) or _opens_page(scope, headers)):
            problem = "Requests of other sites are not answered."
        if problem:
            await JSONResponse({"error": problem}, 403)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


def _is_same_site(headers: Headers) -> bool:
    """Return whether a request comes from a page of this server, from the user, or from no browser."""
    return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _opens_page(scope: Scope, headers: Headers) -> bool:
    """Return whether a request opens the page itself, as a click on a link to it does."""
    return scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"


def is_local_name(host: str) -> bool:
    """Return whether a host as in the header `Host`, with or without a port, is this machine's own.

    Example:
        >>> [is_local_name(host) for host in ("localhost:80", "127.0.0.1", "[::1]:80", "example.org")]
        [True, True, True, False]
    """
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return is_local_host(name)


def is_local_host(host: str) -> bool:
    """Return whether a name or an address without a port is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
