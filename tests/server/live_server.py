"""Running an app behind a real socket, for tests whose client is not in process."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from openmimo.server.launcher import LAST_S, Server


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Run an app on a free loopback port; gives its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=LAST_S)
    server = Server(config, app.state.lifetime, on_ready=lambda: None)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def until(is_true: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
