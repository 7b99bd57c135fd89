"""The page's routes: files, the home's state, calls by hand, and the agent's events."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fake_engine import FakeEngine, app_of
from fastapi.testclient import TestClient
from live_server import running

from openmimo.environments.home import LiveHome
from openmimo.environments.toolbox import render_result
from openmimo.server.page import SharedHome

CALL = "<tool_call>\n<function=HassTurnOff>\n<parameter=name>kitchen light</parameter>\n</function>\n</tool_call>"


def light_off(prompt: str) -> str:
    return "<think></think>It is off." if "<tool_response>" in prompt else f"<think>1. kitchen light</think>{CALL}"


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[TestClient]:
    app = app_of(engine, LiveHome())
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def agent(client: TestClient, *turns: tuple[str, str]) -> list[dict[str, Any]]:
    body = {"messages": [{"role": role, "content": content} for role, content in turns]}
    answer = client.post("/agent", json=body)
    assert answer.status_code == 200, answer.text
    return [json.loads(frame.removeprefix("data: ")) for frame in answer.text.split("\n\n") if frame]


def light(state: dict[str, Any]) -> dict[str, Any]:
    return next(device for device in state["devices"] if device["name"] == "kitchen light")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/web/style.css", "text/css"),
        ("/web/app.js", "text/javascript"),
        ("/web/icon.svg", "image/svg+xml"),
    ],
)
def test_files_are_served_with_their_type(client: TestClient, path: str, kind: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")


@pytest.mark.parametrize(
    "path", ["/web/../app.py", "/web/..%2fapp.py", "/web/%2e%2e/app.py", "/web/a%00", "/web//etc/passwd"]
)
def test_nothing_but_the_page_is_served(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_page_asks_for_nothing_from_elsewhere(client: TestClient) -> None:
    for name in (
        "",
        "web/style.css",
        "web/app.js",
        "web/chat.js",
        "web/plan.js",
        "web/icons.js",
        "web/dom.js",
        "web/api.js",
    ):
        text = client.get(f"/{name}").text.replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text
        assert "innerHTML" not in text


def test_home_gives_plan_tools_and_state(client: TestClient) -> None:
    home = client.get("/home").json()
    assert [tool["function"]["name"] for tool in home["tools"]][:2] == ["HassTurnOn", "HassTurnOff"]
    placed = {device["name"] for device in home["plan"]["devices"]}
    assert placed == {device["name"] for device in home["state"]["devices"]}
    assert light(home["state"])["state"] == "on 80%"


def test_call_by_hand_changes_the_home(client: TestClient) -> None:
    body = {"name": "HassTurnOff", "arguments": {"name": "kitchen light"}}
    answer = client.post("/home/call", json=body).json()
    assert answer["result"] == {"success": ["kitchen light: off"]}
    assert light(answer["state"])["on"] is False
    assert light(client.get("/home").json()["state"])["on"] is False


def test_agent_acts_and_tells_every_step(client: TestClient, engine: FakeEngine) -> None:
    engine.script.reply = light_off
    events = agent(client, ("user", "turn off the kitchen light"))
    kinds = [event["type"] for event in events]
    assert [kind for kind in kinds if kind not in ("reasoning", "content")] == [
        "tool_call",
        "reply",
        "tool_result",
        "reply",
        "done",
    ]
    assert "".join(event["text"] for event in events if event["type"] == "reasoning") == "1. kitchen light"
    assert "".join(event["text"] for event in events if event["type"] == "content") == "It is off."
    called, returned = (
        next(event for event in events if event["type"] == kind) for kind in ("tool_call", "tool_result")
    )
    assert (called["name"], called["arguments"]) == ("HassTurnOff", {"name": "kitchen light"})
    assert returned["id"] == called["id"]
    assert returned["result"] == {"success": ["kitchen light: off"]}
    assert (returned["is_error"], light(returned["home"])["state"]) == (False, "off")
    reply = events[-2]
    assert reply["finish_reason"] == "stop"
    assert reply["timings"]["tokens_per_step"] > 0
    assert (events[-1]["type"], events[-1]["reason"]) == ("done", "stop")


def test_model_is_shown_the_last_turns_under_a_fresh_listing(client: TestClient, engine: FakeEngine) -> None:
    client.post("/home/call", json={"name": "HassTurnOff", "arguments": {"name": "kitchen light"}})
    turns = [(role, f"{role} {number}") for number in range(4) for role in ("user", "assistant")]
    agent(client, *turns, ("user", "what now"))
    prompt = engine.prompts[0]
    assert "kitchen light, off" in prompt
    assert "HassTurnOff(name, area, domain)" in prompt
    assert [f"user {number}" in prompt for number in range(4)] == [False, False, True, True]
    assert prompt.index("assistant 3") < prompt.index("what now")
    assert engine.params[0].is_greedy


def test_page_sends_back_what_a_turn_left(client: TestClient, engine: FakeEngine) -> None:
    engine.script.reply = light_off
    kept = agent(client, ("user", "turn off the kitchen light"))[-1]["messages"]
    assert [message["role"] for message in kept] == ["assistant", "tool", "assistant"]
    body = {"messages": [{"role": "user", "content": "x"}, *kept, {"role": "user", "content": "and now on again"}]}
    assert client.post("/agent", json=body).status_code == 200
    prompt = engine.prompts[-1]
    assert "<function=HassTurnOff>" in prompt
    assert "kitchen light: off" in prompt
    assert "1. kitchen light" not in prompt  # reasoning that quoted the old listing


def test_result_is_written_as_in_training(client: TestClient, engine: FakeEngine) -> None:
    engine.script.reply = light_off
    agent(client, ("user", "x"))
    assert f"<tool_response>\n{render_result({'success': ['kitchen light: off']})}\n" in engine.prompts[1]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "x" * 9000}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x"}], "temperature": 1}, "temperature"),
    ],
)
def test_wrong_chat_is_refused(client: TestClient, body: dict[str, Any], param: str) -> None:
    answer = client.post("/agent", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_failures_come_as_events(client: TestClient, engine: FakeEngine) -> None:
    engine.script.is_full = True
    (event,) = agent(client, ("user", "x"))
    assert (event["type"], event["code"]) == ("error", "overloaded")


def test_home_events_tell_the_state(engine: FakeEngine) -> None:
    import httpx2

    with running(app_of(engine, LiveHome())) as url, httpx2.stream("GET", f"{url}/home/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        first, second = (json.loads(next(lines).removeprefix("data: ")) for _ in range(2))
    assert light(first)["state"] == "on 80%"
    assert 0.5 < second["clock_s"] - first["clock_s"] < 3


def test_time_passes_only_when_somebody_looks() -> None:
    now = [100.0]
    home = SharedHome(LiveHome(), now=lambda: now[0])
    start = home.state()["clock_s"]
    now[0] += 60
    assert home.state()["clock_s"] - start == 60
    assert home.state()["clock_s"] - start == 60
    home.call("HassTurnOff", {"name": "living room blind"})  # the blind needs 20 s to close
    now[0] += 10
    blind = next(device for device in home.state()["devices"] if device["name"] == "living room blind")
    assert blind["position"] == 50


def test_server_without_a_home_has_no_page(engine: FakeEngine) -> None:
    with TestClient(app_of(engine), base_url="http://127.0.0.1") as client:
        assert [client.get(path).status_code for path in ("/", "/home", "/web/app.js")] == [404, 404, 404]
