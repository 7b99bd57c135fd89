"""The tools of a home: what they do, and that a refused call changes nothing."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_home import small_home

from openmimo.environments.home import TOOL_NAMES, call_tool, sample_home, tool_dicts
from openmimo.environments.home.devices import Climate, Cover, Light
from openmimo.environments.home.words import COLORS


@pytest.mark.parametrize(
    ("tool", "arguments", "success"),
    [
        ("HassTurnOff", {"name": "ceiling light"}, ["ceiling light: off"]),
        ("HassTurnOff", {"name": " Ceiling  LIGHT "}, ["ceiling light: off"]),
        ("HassTurnOn", {"name": "main door"}, ["front door: locked"]),
        ("HassTurnOff", {"name": "front door"}, ["front door: unlocked"]),
        ("HassTurnOn", {"area": "kitchen", "domain": "cover"}, ["kitchen blind: opening"]),
        ("HassTurnOff", {"name": "kitchen blind"}, ["kitchen blind: closing"]),
        ("HassTurnOff", {"area": "kitchen"}, ["ceiling light: off"]),
        ("HassTurnOn", {"domain": "light"}, ["led strip: on at 5% in red", "ceiling light: on at 80%"]),
        ("HassTurnOff", {"name": "maria radiator"}, ["maria radiator: off"]),
        ("HassLightSet", {"name": "ceiling light", "brightness": 35}, ["ceiling light: on at 35%"]),
        ("HassLightSet", {"name": "ceiling light", "brightness": "35"}, ["ceiling light: on at 35%"]),
        ("HassLightSet", {"area": "hall", "color": "Blue"}, ["led strip: on at 5% in blue"]),
        ("HassLightSet", {"name": "led strip", "brightness": 9, "color": "pink"}, ["led strip: on at 9% in pink"]),
        ("HassSetPosition", {"name": "kitchen blind", "position": 70}, ["kitchen blind: moving to 70%"]),
        ("HassSetPosition", {"name": "kitchen blind", "position": 40}, ["kitchen blind: open at 40%"]),
        ("HassClimateSetTemperature", {"area": "bedroom", "temperature": 20}, ["maria radiator: set to 20 °C"]),
        ("HassClimateSetTemperature", {"area": "bedroom", "temperature": 20.5}, ["maria radiator: set to 20.5 °C"]),
        ("HassStartTimer", {"minutes": 5}, ["timer: set for 5 minutes"]),
        ("GetDateTime", {}, ["time: 07:40"]),
    ],
)
def test_a_call_says_what_it_did(tool, arguments, success):
    assert call_tool(small_home(), tool, arguments) == {"success": success}


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "message"),
    [
        ("HassTurnOn", {"name": "desk lamp"}, "not_found", "there is no desk lamp"),
        ("HassTurnOn", {"name": "ceiling light", "area": "hall"}, "not_found", "there is no ceiling light in hall"),
        ("HassTurnOn", {"area": "attic", "domain": "light"}, "not_found", "there is no light in attic"),
        ("HassVacuumStart", {}, "not_found", "there is no vacuum"),
        ("HassTurnOn", {}, "missing_parameter", "give a name, an area or a domain"),
        ("HassTurnOn", {"name": ""}, "missing_parameter", "give a name, an area or a domain"),
        ("HassTurnOn", {"domain": "robot"}, "invalid_value", "there is no domain robot"),
        ("HassTurnOn", {"name": 7}, "invalid_value", "name must be text"),
        ("HassTurnOn", {"name": "thermometer"}, "unsupported", "thermometer cannot be turned on"),
        ("HassTurnOff", {"area": "hall", "domain": "binary_sensor"}, "unsupported", "hall window cannot be turned off"),
        ("HassTurnOn", {"name": "ceiling light", "speed": 3}, "unknown_parameter", "HassTurnOn has no parameter speed"),
        ("HassLaunch", {"name": "ceiling light"}, "unknown_tool", "there is no tool HassLaunch"),
        ("HassLightSet", {"name": "ceiling light"}, "missing_parameter", "give a brightness or a color"),
        ("HassLightSet", {"name": "ceiling light", "brightness": 0}, "invalid_value", "brightness must be 1 to 100"),
        ("HassLightSet", {"name": "ceiling light", "brightness": True}, "invalid_value", "brightness must be 1 to 100"),
        (
            "HassLightSet",
            {"name": "led strip", "brightness": 2.5},
            "invalid_value",
            "brightness must be a whole number",
        ),
        ("HassLightSet", {"name": "ceiling light", "color": "red"}, "unsupported", "ceiling light has no colours"),
        (
            "HassLightSet",
            {"name": "led strip", "color": "mauve"},
            "invalid_value",
            f"color must be one of {', '.join(COLORS)}",
        ),
        ("HassLightSet", {"name": "front door", "brightness": 5}, "unsupported", "front door cannot be dimmed"),
        ("HassSetPosition", {"name": "kitchen blind"}, "missing_parameter", "give a position"),
        (
            "HassSetPosition",
            {"name": "kitchen blind", "position": "wide"},
            "invalid_value",
            "position must be 0 to 100",
        ),
        (
            "HassSetPosition",
            {"name": "kitchen blind", "position": float("nan")},
            "invalid_value",
            "position must be 0 to 100",
        ),
        (
            "HassClimateSetTemperature",
            {"name": "maria radiator", "temperature": 1e9},
            "invalid_value",
            "temperature must be 5 to 30",
        ),
        (
            "HassClimateSetTemperature",
            {"name": "maria radiator", "temperature": 20.2},
            "invalid_value",
            "temperature must be in steps of 0.5",
        ),
        ("HassStartTimer", {}, "missing_parameter", "give the minutes"),
    ],
)
def test_a_refused_call_says_why_and_changes_nothing(tool, arguments, code, message):
    home = small_home()
    before = home.state()
    assert call_tool(home, tool, arguments) == {"error": code, "message": message}
    assert home.state() == before
    assert not home.touched


def test_locks_are_never_opened_in_bulk():
    home = small_home()
    back = home.named("front door")
    home.devices.append(type(back)(name="back door", area="hall", noun=back.noun))
    for arguments in ({"domain": "lock"}, {"area": "hall", "domain": "lock"}):
        assert call_tool(home, "HassTurnOff", arguments)["error"] == "ambiguous"
    assert call_tool(home, "HassTurnOff", {"area": "hall"})["success"] == ["led strip: off"]
    assert home.commanded()["front door"] == home.commanded()["back door"] == (True,)


def test_only_offered_tools_can_be_called():
    home = small_home()
    result = call_tool(home, "HassSetPosition", {"name": "kitchen blind", "position": 5}, offered=("HassTurnOn",))
    assert result == {"error": "unknown_tool", "message": "there is no tool HassSetPosition"}


def test_live_context_is_the_listing_as_it_is_now():
    home = small_home()
    call_tool(home, "HassTurnOff", {"name": "ceiling light"})
    listing = call_tool(home, "GetLiveContext", {})["listing"]
    assert listing == home.system_content().removeprefix("You control a home. ")
    assert "- light kitchen: ceiling light, off" in listing


def test_tool_descriptions_have_parameters_in_the_fixed_order():
    described = {
        tool["function"]["name"]: list(tool["function"]["parameters"]["properties"]) for tool in tool_dicts(TOOL_NAMES)
    }
    assert tuple(described) == TOOL_NAMES
    assert described["HassTurnOn"] == described["HassTurnOff"] == ["name", "area", "domain"]
    assert described["HassLightSet"] == ["name", "area", "brightness", "color"]
    assert described["HassSetPosition"] == ["name", "area", "position"]
    assert described["HassClimateSetTemperature"] == ["name", "area", "temperature"]


_WORDS = ["ceiling light", "led strip", "kitchen", "hall", "light", "cover", "climate", "red", "kitchen blind"]
_JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(_WORDS),
    st.integers(0, 100),
)
_KEYS = st.sampled_from(["name", "area", "domain", "brightness", "color", "position", "temperature", "minutes", "junk"])

_CALLS = st.tuples(st.sampled_from([*TOOL_NAMES, "Nothing"]), st.dictionaries(_KEYS, _JUNK, max_size=4))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*TOOL_NAMES, "Nothing"]), st.dictionaries(_KEYS, _JUNK, max_size=4)), max_size=6
    )
)
def test_no_sequence_of_calls_leaves_physical_limits_and_errors_change_nothing(calls):
    home = small_home()
    for tool, arguments in calls:
        before = home.state()
        result = call_tool(home, tool, arguments)
        assert set(result) in ({"success"}, {"listing"}, {"error", "message"})
        if "error" in result:
            assert home.state() == before
    for device in home.devices:
        match device:
            case Light():
                assert 1 <= device.brightness <= 100
            case Cover():
                assert 0 <= device.target <= 100
            case Climate():
                assert 5 <= device.set_point_c <= 30
    assert len(home.timers_s) <= 20


def test_ten_thousand_calls_keep_the_home_as_small_as_it_was():
    home = sample_home(random.Random(3), 14)
    for index in range(10_000):
        call_tool(
            home, "HassStartTimer" if index % 2 else "HassTurnOn", {"minutes": 3} if index % 2 else {"domain": "light"}
        )
    assert len(home.timers_s) == 20
    assert len(home.touched) <= 15
