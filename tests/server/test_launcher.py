"""`serve` as a process: it says where it is, and Ctrl-C ends it cleanly."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import cast

import pytest
from fake_engine import FakeEngine

from openmimo.engine import Engine
from openmimo.errors import ConfigError
from openmimo.server import serve

PROGRAM = """
from fake_engine import FakeEngine
from openmimo.environments.home import LiveHome
from openmimo.server import serve
serve(FakeEngine(), [LiveHome()], port=0)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_server_prints_its_url_and_leaves_on_a_signal(number: signal.Signals) -> None:
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parents[1] / "src"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
        assert answer.status == 200
    # an open event stream must not hold the process
    with urllib.request.urlopen(f"{url}/worlds/home/events", timeout=5) as events:
        assert events.readline().startswith(b"data: ")
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert "Traceback" not in errors
    assert process.returncode in (0, -number)


def test_taken_port_is_named(engine: FakeEngine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}"):
            serve(cast(Engine, engine), port=port)
