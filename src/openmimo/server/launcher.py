"""Running the server: bind, say where it is, leave cleanly on Ctrl-C."""

import asyncio
import ipaddress
import os
import socket
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress

import uvicorn

from openmimo.engine import Engine
from openmimo.environments import LiveWorld
from openmimo.errors import ConfigError
from openmimo.server.app import create_app
from openmimo.server.guard import is_loopback
from openmimo.server.lifetime import Lifetime

__all__ = ["API_KEY_VARIABLE", "Server", "serve"]

API_KEY_VARIABLE = "OPENMIMO_API_KEY"
GRACE_S = 2
"""Seconds that running replies get to finish after Ctrl-C."""

LAST_S = 5
"""Seconds after which the process ends even if a client does not take its last bytes."""


class Server(uvicorn.Server):
    """Calls back once it accepts connections; on the way down, ends what has no end of its own.

    Args:
        config: uvicorn's settings, the application among them.
        lifetime: the application's, `app.state.lifetime`.
        on_ready: called on the event loop.
    """

    def __init__(self, config: uvicorn.Config, lifetime: Lifetime, on_ready: Callable[[], None]):
        super().__init__(config)
        self._lifetime = lifetime
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then call back."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let replies finish within `GRACE_S`, cancel the others, leave."""
        self._lifetime.is_ending = True
        asyncio.get_running_loop().call_later(GRACE_S, self._lifetime.cancel_replies)
        await super().shutdown(sockets)


def serve(
    engine: Engine,
    worlds: Sequence[LiveWorld] = (),
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    open_browser: bool = False,
    model_name: str = "openmimo-nano",
    on_ready: Callable[[str], None] = print,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        engine: answers the requests; the caller closes it.
        worlds: with one or more, the page is served at `/`.
        host: address to bind. One that other machines can reach needs an API key.
        port: 0 takes a free one.
        api_key: what clients must send; None reads the environment variable OPENMIMO_API_KEY.
        open_browser: open the page once it is ready.
        model_name: the name in `/v1/models`.
        on_ready: given the server's URL once it accepts connections.
    Raises:
        ConfigError: no key for a host that others can reach, or the address cannot be bound.
    """
    key = api_key or os.environ.get(API_KEY_VARIABLE) or None
    if key is None and not is_loopback(host):
        raise ConfigError(
            f"host {host} can be reached from other machines, so it needs an API key: "
            f"set {API_KEY_VARIABLE}, or use 127.0.0.1"
        )
    app = create_app(engine, worlds, model_name, key, allowed_hosts=[host])
    listening = _bind(host, port)
    url = _url(host, listening.getsockname()[1])

    def announce() -> None:
        on_ready(url)
        if open_browser:
            webbrowser.open(url)

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=LAST_S, server_header=False)
    # After its shutdown uvicorn raises the signal again; for a terminal program Ctrl-C is a normal end.
    with listening, suppress(KeyboardInterrupt):
        Server(config, app.state.lifetime, announce).run(sockets=[listening])


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}; choose another port") from error
    return listening


def _url(host: str, port: int) -> str:
    try:
        shown = f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        shown = host
    return f"http://{shown}:{port}"
