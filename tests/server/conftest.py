"""Fixtures of the server tests: a scripted engine, its app in process, and the same app behind a real socket."""

from collections.abc import Iterator

import pytest
from fake_engine import FakeEngine, app_of
from fastapi.testclient import TestClient
from live_server import running

BASE_URL = "http://127.0.0.1"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[TestClient]:
    with TestClient(app_of(engine), base_url=BASE_URL, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def url(engine: FakeEngine) -> Iterator[str]:
    with running(app_of(engine)) as url:
        yield url
