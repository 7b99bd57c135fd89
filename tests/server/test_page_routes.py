"""The page's routes: files, the home's state, calls by hand, and the agent's events."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fake_engine import FakeEngine, app_of
from fastapi.testclient import TestClient
from live_server import running

from openmimo.environments.car import LiveCar
from openmimo.environments.energy import LiveEnergy
from openmimo.environments.home import LiveHome
from openmimo.environments.toolbox import render_result

CALL = "<tool_call>\n<function=HassTurnOff>\n<parameter=name>kitchen light</parameter>\n</function>\n</tool_call>"


def light_off(prompt: str) -> str:
    return "<think></think>It is off." if "<tool_response>" in prompt else f"<think>1. kitchen light</think>{CALL}"


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[TestClient]:
    app = app_of(engine, LiveHome(), LiveCar(), LiveEnergy())
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def agent(client: TestClient, *turns: tuple[str, str], **fields: str) -> list[dict[str, Any]]:
    body = {"messages": [{"role": role, "content": content} for role, content in turns], **fields}
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
        "web/car.js",
        "web/trip.js",
        "web/energy.js",
        "web/mark.js",
        "web/icons.js",
        "web/dom.js",
        "web/api.js",
    ):
        text = client.get(f"/{name}").text.replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text
        assert "innerHTML" not in text


def test_home_gives_plan_tools_and_state(client: TestClient) -> None:
    home = client.get("/worlds/home").json()
    assert [tool["function"]["name"] for tool in home["tools"]][:2] == ["HassTurnOn", "HassTurnOff"]
    placed = {device["name"] for device in home["drawing"]["devices"]}
    assert placed == {device["name"] for device in home["state"]["devices"]}
    assert light(home["state"])["state"] == "on 80%"


def test_call_by_hand_changes_the_home(client: TestClient) -> None:
    body = {"name": "HassTurnOff", "arguments": {"name": "kitchen light"}}
    answer = client.post("/worlds/home/call", json=body).json()
    assert answer["result"] == {"success": ["kitchen light: off"]}
    assert light(answer["state"])["on"] is False
    assert light(client.get("/worlds/home").json()["state"])["on"] is False


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
    assert (returned["is_error"], light(returned["state"])["state"]) == (False, "off")
    reply = events[-2]
    assert reply["finish_reason"] == "stop"
    assert reply["timings"]["tokens_per_step"] > 0
    assert (events[-1]["type"], events[-1]["reason"]) == ("done", "stop")


def test_model_is_shown_the_last_turns_under_a_fresh_listing(client: TestClient, engine: FakeEngine) -> None:
    client.post("/worlds/home/call", json={"name": "HassTurnOff", "arguments": {"name": "kitchen light"}})
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

    with running(app_of(engine, LiveHome())) as url, httpx2.stream("GET", f"{url}/worlds/home/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        first, second = (json.loads(next(lines).removeprefix("data: ")) for _ in range(2))
    assert light(first)["state"] == "on 80%"
    assert 0.5 < second["clock_s"] - first["clock_s"] < 3


def test_time_passes_only_when_somebody_looks() -> None:
    now = [100.0]
    home = LiveHome()
    home.follow(lambda: now[0])
    start = home.state()["clock_s"]
    now[0] += 60
    assert home.state()["clock_s"] - start == 60
    assert home.state()["clock_s"] - start == 60
    home.call("HassTurnOff", {"name": "living room blind"})  # the blind needs 20 s to close
    now[0] += 10
    blind = next(device for device in home.state()["devices"] if device["name"] == "living room blind")
    assert blind["position"] == 50


def test_worlds_are_listed_and_shown(client: TestClient) -> None:
    assert client.get("/worlds").json() == {"worlds": ["home", "car", "energy"]}
    car, energy = (client.get(f"/worlds/{name}").json() for name in ("car", "energy"))
    assert car["drawing"]["places"][0]["name"] == "home"
    assert (car["state"]["place"], car["state"]["battery_percent"]) == ("home", 62)
    assert [hour["hour"] for hour in energy["state"]["hours"]] == list(range(7, 15))


@pytest.mark.parametrize("path", ["/worlds/moon", "/worlds/moon/events", "/worlds/..%2fhome"])
def test_an_unknown_world_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).json()["error"]["code"] == "not_found"


def test_an_agent_for_an_unknown_world_is_not_found(client: TestClient) -> None:
    body = {"world": "moon", "messages": [{"role": "user", "content": "hi"}]}
    answer = client.post("/agent", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def call_of(tool: str, /, **given: str) -> str:
    parameters = "".join(f"<parameter={key}>{value}</parameter>\n" for key, value in given.items())
    return f"<tool_call>\n<function={tool}>\n{parameters}</function>\n</tool_call>"


def test_the_car_asks_before_the_trunk_is_opened_and_then_opens_it(client: TestClient, engine: FakeEngine) -> None:
    def reply(prompt: str) -> str:
        if "<tool_response>" in prompt:
            return "The trunk is open."
        return call_of("CarUnlock", name="trunk", confirmed="true") if "yes please" in prompt else "Shall I open it?"

    engine.script.reply = reply
    first = [("user", "open the trunk"), ("assistant", "Shall I open it?")]
    assert agent(client, first[0], world="car")[-1]["messages"][0]["content"] == "Shall I open it?"
    assert client.get("/worlds/car").json()["state"]["trunk_open"] is False
    events = agent(client, *first, ("user", "yes please"), world="car")
    returned = next(event for event in events if event["type"] == "tool_result")
    assert (returned["result"], returned["state"]["trunk_open"]) == ({"success": ["trunk: open"]}, True)
    assert "You control a car. It is 07:40" in engine.prompts[0]
    assert "open the trunk" in engine.prompts[1]
    assert "CarUnlock(name, confirmed)" in engine.prompts[0]


def test_only_as_much_of_a_chat_is_shown_as_tasks_of_the_world_have(client: TestClient, engine: FakeEngine) -> None:
    turns = [(role, f"{role} {number}") for number in range(4) for role in ("user", "assistant")]
    asked_back = [*turns[:-1], ("assistant", "Shall I?")]
    cases = [("home", turns, [2, 3]), ("car", turns, []), ("car", asked_back, [3]), ("energy", asked_back, [])]
    for world, before, shown in cases:
        agent(client, *before, ("user", "what now"), world=world)
        assert [number for number in range(4) if f"user {number}" in engine.prompts[-1]] == shown


def test_a_reply_that_contradicts_itself_is_refused_live(client: TestClient, engine: FakeEngine) -> None:
    both = call_of("HassTurnOff", name="kitchen light") + call_of("HassTurnOn", name="kitchen light")
    engine.script.reply = lambda prompt: "Hm." if "<tool_response>" in prompt else both
    returned = [event for event in agent(client, ("user", "x")) if event["type"] == "tool_result"]
    assert [event["is_error"] for event in returned] == [False, True]
    assert returned[1]["result"]["error"] == "contradiction"
    assert light(returned[1]["state"])["on"] is False


def test_time_can_be_let_pass(client: TestClient) -> None:
    call = {"name": "CarNavigate", "arguments": {"place": "office"}}
    assert client.post("/worlds/car/call", json=call).json()["state"]["route"] == ["office"]
    state = client.post("/worlds/car/pass", json={"minutes": 5}).json()["state"]
    assert (state["clock"], state["driving"]) == ("07:45", True)
    assert client.post("/worlds/car/pass", json={"minutes": 30}).json()["state"]["place"] == "office"
    for minutes in (0, -5, 1441, 1.5, "5", None):
        assert client.post("/worlds/car/pass", json={"minutes": minutes}).status_code == 400


def test_other_sites_change_no_world(client: TestClient) -> None:
    foreign = {"Origin": "http://evil.example"}
    call = {"name": "CarUnlock", "arguments": {"name": "doors", "confirmed": True}}
    assert client.post("/worlds/car/call", json=call, headers=foreign).status_code == 403
    assert client.post("/worlds/car/pass", json={"minutes": 5}, headers=foreign).status_code == 403
    assert client.get("/worlds/car").json()["state"]["doors_locked"] is True


def test_server_without_a_home_has_no_page(engine: FakeEngine) -> None:
    with TestClient(app_of(engine), base_url="http://127.0.0.1") as client:
        assert [client.get(path).status_code for path in ("/", "/worlds/home", "/web/app.js")] == [404, 404, 404]
