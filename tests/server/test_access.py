"""Who may call: Host and Origin rules, the API key, and what a bind address needs."""

import base64
from collections.abc import Iterator
from typing import cast

import pytest
from fake_engine import FakeEngine, app_of
from fastapi.testclient import TestClient

from openmimo.engine import Engine
from openmimo.errors import ConfigError
from openmimo.server import serve
from openmimo.server.guard import is_loopback

HI = {"messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/chat/completions"


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "192.168.1.9:80"])
def test_addresses_and_localhost_are_served(client: TestClient, host: str) -> None:
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    for path in ("/v1/models", "/health"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 421
        assert answer.json()["error"]["code"] == "host_not_allowed"


def test_allowed_host_is_served(engine: FakeEngine) -> None:
    with TestClient(app_of(engine, allowed_hosts=["box.lan"]), base_url="http://box.lan:8000") as client:
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9", "http://localhost"])
def test_posts_from_other_origins_are_refused(client: TestClient, engine: FakeEngine, origin: str) -> None:
    answer = client.post(PATH, json=HI, headers={"Origin": origin})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "origin_not_allowed"
    assert engine.streams == []


def test_posts_from_the_own_page_are_served(client: TestClient) -> None:
    assert client.post(PATH, json=HI, headers={"Origin": "http://127.0.0.1"}).status_code == 200


def test_preflight_gets_no_permission(client: TestClient) -> None:
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options(PATH, headers=asks)
    assert answer.status_code == 405
    assert [name for name in answer.headers if name.startswith("access-control")] == []


KEY = "s3cret"


@pytest.fixture
def guarded(engine: FakeEngine) -> Iterator[TestClient]:
    with TestClient(app_of(engine, api_key=KEY), base_url="http://127.0.0.1") as client:
        yield client


ROUTES = [
    ("GET", "/v1/models"),
    ("POST", PATH),
    ("GET", "/"),
    ("GET", "/worlds/home"),
    ("GET", "/nothing"),
    ("GET", "/health/"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": KEY},
        {"x-api-key": "wrong"},
        {"Authorization": "Basic !!"},
        {"Authorization": "Bearer ключ".encode()},
    ],
)
def test_every_route_needs_the_key(guarded: TestClient, method: str, path: str, headers: dict[str, str]) -> None:
    answer = guarded.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_health_needs_no_key(guarded: TestClient) -> None:
    assert guarded.get("/health").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY}"},
        {"x-api-key": KEY},
        {"Authorization": "Basic " + base64.b64encode(f"me:{KEY}".encode()).decode()},
    ],
)
def test_key_is_taken_in_every_style(guarded: TestClient, headers: dict[str, str]) -> None:
    assert guarded.get("/v1/models", headers=headers).status_code == 200


def test_every_answer_carries_the_content_policy(client: TestClient) -> None:
    for path in ("/health", "/nothing"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_open_bind_needs_a_key(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENMIMO_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENMIMO_API_KEY"):
        serve(cast(Engine, engine), host="0.0.0.0", port=0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_recognised(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
