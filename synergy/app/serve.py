"""Run the web app on a port."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from synergy.errors import UserError, describe


def open_port(host: str, port: int) -> socket.socket:
    """Reserve a port.

    Args:
        host: name or address to listen at.
        port: number of the port; 0 for any that is free.

    Raises:
        UserError: the port is taken, or the address is not one of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use by another program, choose another one with --port") from None
        if error.errno == errno.EACCES:
            raise UserError(f"port {port} needs more rights, choose one above 1023 with --port") from None
        raise UserError(f"--host {host}: cannot be opened ({describe(error)})") from None


def address_of(listener: socket.socket, host: str) -> str:
    """Return the address to open in a browser of this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}/"


def serve(app: ASGIApp, listener: socket.socket, on_start: Callable[[], None]) -> None:
    """Answer requests until the user stops the program with Ctrl-C.

    Args:
        app: the application.
        listener: the reserved port.
        on_start: called before the first request.
    """
    # Warnings and errors only: a line per request would show what the user's files are called.
    config = uvicorn.Config(app, log_level="warning", timeout_keep_alive=10, limit_concurrency=200, server_header=False)
    on_start()
    uvicorn.Server(config).run(sockets=[listener])
