"""The home of the web page: its floor plan, and its use from several threads."""

import json
import random
import threading

from openmimo.environments.home import LiveHome, demo_home, floor_plan, sample_home
from openmimo.environments.home.mentions import named_mention, resolve


def test_the_kitchen_light_is_on_at_the_start_and_plainly_named():
    home = demo_home()
    light = home.named("kitchen light")
    assert light is not None
    assert (light.area, light.domain, light.word()) == ("kitchen", "light", "on")
    assert resolve(home, named_mention(light)) == [light]
    assert len(home.devices) == 13
    assert len(home.rooms) == 6


def test_every_device_stands_in_its_room_and_rooms_do_not_overlap():
    for home in (demo_home(), sample_home(random.Random(1), 14)):
        plan = floor_plan(home)
        boxes = {room["area"]: room for room in plan["rooms"]}
        assert set(boxes) == set(home.rooms)
        for device, place in zip(home.devices, plan["devices"], strict=True):
            box = boxes[device.area]
            assert place["name"] == device.name
            assert box["x_m"] < place["x_m"] < box["x_m"] + box["width_m"]
            assert box["y_m"] < place["y_m"] < box["y_m"] + box["height_m"]
        # Without overlap, and with walls in whole decimetres, no two rooms share the middle of a square decimetre.
        cells = [cell for box in boxes.values() for cell in _cells(box)]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < round(plan["width_m"] * 10)


def _cells(box: dict) -> list[tuple[int, int]]:
    left, top = round(box["x_m"] * 10), round(box["y_m"] * 10)
    right, bottom = left + round(box["width_m"] * 10), top + round(box["height_m"] * 10)
    return [(x, y) for x in range(left, right) for y in range(top, bottom)]


def test_the_demo_rooms_fill_the_whole_plan():
    plan = floor_plan(demo_home())
    area_m2 = sum(room["width_m"] * room["height_m"] for room in plan["rooms"])
    assert round(area_m2, 6) == round(plan["width_m"] * plan["height_m"], 6) == 104.88  # 11.4 m by 9.2 m.


def test_a_live_home_carries_out_calls_and_shows_them():
    live = LiveHome()
    assert live.call("HassTurnOff", {"name": "Kitchen light"}) == {"success": ["kitchen light: off"]}
    assert "- light kitchen: kitchen light, off\n" in live.system_content()
    live.call("HassTurnOff", {"name": "living room blind"})
    live.advance(10)
    state = json.loads(json.dumps(live.state()))
    blind = next(device for device in state["devices"] if device["name"] == "living room blind")
    assert (blind["position"], blind["target"], blind["state"]) == (50, 0, "closing 50%")
    assert [tool["function"]["name"] for tool in live.tools()][:2] == ["HassTurnOn", "HassTurnOff"]
    assert len(live.drawing()["devices"]) == 13


def test_a_person_sends_the_robot_out_and_it_comes_home_and_charges():
    home = demo_home()
    live = LiveHome(home)

    def robot() -> dict:
        return next(device for device in live.state()["devices"] if device["name"] == "vacuum")

    assert live.call("HassVacuumStart", {}) == {"success": ["vacuum: cleaning living room"]}
    live.advance(45 * 60)
    assert robot()["state"] == "cleaning hall 70%"  # a quarter of an hour and a tenth of the battery for each room
    assert live.call("HassVacuumReturnToBase", {}) == {"success": ["vacuum: returning"]}
    live.advance(30)
    assert robot()["doing"] == "returning"
    live.advance(30)
    assert robot()["doing"] == "docked"
    assert next(device for device in home.devices if device.name == "vacuum").power_w() == 30
    live.advance(3600 + 120)
    assert robot()["state"] == "docked 100%"  # 31 times two minutes later
    live.call("HassVacuumStart", {})
    live.advance(91 * 60)
    assert robot()["state"] == "docked 39%"  # six rooms, and a minute home by itself


def test_a_day_in_the_demo_home_stays_liveable():
    home = demo_home()
    for _ in range(24):
        home.advance(3600)
        assert 16 < home.rooms["living room"].temperature_c < 24
        assert 17 < home.rooms["bedroom"].temperature_c < 22


def test_the_blind_of_the_demo_home_keeps_the_sun_out():
    bright, dark = demo_home(), demo_home()
    dark.named("living room blind").turn_off()
    for home in (bright, dark):
        home.advance(6 * 3600)
    shaded_k = bright.rooms["living room"].temperature_c - dark.rooms["living room"].temperature_c
    assert 1.0 < shaded_k < 5.0
    assert 0.5 < bright.electric_j / 3.6e6 < 20


def test_threads_do_not_tear_the_state_of_a_live_home():
    live = LiveHome()
    torn: list[str] = []

    def switch() -> None:
        for index in range(200):
            live.call("HassTurnOn" if index % 2 else "HassTurnOff", {"domain": "light"})

    def watch() -> None:
        for _ in range(200):
            lights = {device["on"] for device in live.state()["devices"] if device["domain"] == "light"}
            if len(lights) != 1:
                torn.append(str(lights))

    live.call("HassTurnOn", {"domain": "light"})
    threads = [threading.Thread(target=work) for work in (switch, watch, switch, watch)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
