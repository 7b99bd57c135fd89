"""A car that several threads may use, for the server and the terminal: it charges, warms, cools and is driven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from openmimo.environments.car.car import Car
from openmimo.environments.car.cockpit import Cockpit, Phone
from openmimo.environments.car.driver import TOOLS_BY_HAND, arrive, drive, trip_text
from openmimo.environments.car.roads import Place, Roads
from openmimo.environments.car.tools import CAR_TOOLS
from openmimo.environments.days import Clouds
from openmimo.environments.home.people import clock_text
from openmimo.environments.home.thermal import Weather
from openmimo.environments.live import LiveWorld, Turn
from openmimo.environments.sky import Sky
from openmimo.environments.toolbox import ToolTurn

__all__ = ["LiveCar", "demo_cockpit"]

LIVE_TOOLS = tuple(name for name in CAR_TOOLS.names if not name.startswith("Phone"))
"""What the model is offered: two more than tasks offer, which it copes with. A person has the phone and more."""

STEP_S = 60.0


def demo_cockpit() -> Cockpit:
    """Build the fixed car of the web page: at home on a cool morning, plugged in.

    Returns:
        A new cockpit, always in the same state.
    """
    # It can charge wherever it gets to, so that no trip is its last.
    places = {
        "home": Place("home", 0.0, 0.0, 11.0),
        "office": Place("office", 6.0, 8.2, 11.0),
        "lake": Place("lake", -13.0, 9.5, 2.3),
        "anna's place": Place("anna's place", -6.5, -8.0, 2.3),
        "airport": Place("airport", 17.0, -5.5, 11.0, 39),
        "beach": Place("beach", 30.0, 228.0, 11.0, 39),
        "belmo charger": Place("belmo charger", 45.0, 88.0, 150.0, 49),
        "karis charger": Place("karis charger", -45.0, 115.0, 100.0, 45),
    }
    car = Car(Roads(places), battery_kwh=37.2, is_plugged=True, cabin_c=6.0, doors_locked=True)
    car.windows = dict.fromkeys(("driver window", "passenger window", "rear left window", "rear right window"), 0)
    car.windows["sunroof"] = 20
    car.seats = {"driver seat": 0, "passenger seat": 0}
    car.switches = {"front defroster": False, "rear defroster": False, "cabin light": True}
    phone = Phone({"anna": "sister", "max": ""})
    return Cockpit(car, phone, clock_s=(7 * 60 + 40) * 60.0, outside_c=6.0, far="beach")


class LiveCar(LiveWorld):
    """A car behind a lock, and its driver: who leaves a minute after the navigation is set, or at the time given.

    Args:
        cockpit: the car; None takes the demo car.
        offered: names of the tools on offer to a model; tasks have eight at most.
    """

    name = "car"
    asked_turns = 2
    follows_up = False

    def __init__(self, cockpit: Cockpit | None = None, offered: Sequence[str] = LIVE_TOOLS):
        super().__init__()
        self._cockpit = cockpit or demo_cockpit()
        self._offered = tuple(offered)
        self._weather = Weather(mean_c=7.0, swing_c=4.0, seed=1)
        self._sky, self._clouds = Sky(latitude_deg=48.0, day_of_year=90), Clouds.of(6)

    def tools(self) -> list[dict[str, Any]]:
        """The tools on offer to a model, in the OpenAI shape."""
        return list(CAR_TOOLS.dicts(self._offered))

    def tools_by_hand(self) -> list[dict[str, Any]]:
        """All tools of cars, those of the phone, and those that only drivers have."""
        return list(TOOLS_BY_HAND.dicts(TOOLS_BY_HAND.names))

    def drawing(self) -> dict[str, Any]:
        """The map: every `Place`."""
        return {"places": [asdict(place) for place in self._cockpit.car.roads.places.values()]}

    def _advance(self, seconds: float) -> None:
        cockpit, end_s = self._cockpit, self._cockpit.clock_s + seconds
        while (left_s := end_s - cockpit.clock_s) > 1e-6:
            cockpit.outside_c = self._weather.temperature_c(cockpit.clock_s)
            drive(cockpit)
            is_driving = cockpit.car.is_driving
            # At home it stands in a garage, elsewhere in the sun.
            is_inside = cockpit.car.place == "home" and not is_driving
            cockpit.advance(min(STEP_S, left_s), 0.0 if is_inside else self._sun_w_m2())
            if is_driving and not cockpit.car.is_driving:
                arrive(cockpit)

    def _sun_w_m2(self) -> float:
        clock_s = self._cockpit.clock_s
        return self._clouds.over(self._sky, clock_s).sunlight(clock_s).level_w_m2

    def _system_content(self) -> str:
        return self._cockpit.system_content()

    def _state(self) -> dict[str, Any]:
        cockpit, car = self._cockpit, self._cockpit.car
        rows = [text.partition(", ") for kind, text in cockpit.rows() if kind not in ("place", "stop", "contact")]
        places = [name for kind, name in cockpit.names() if kind == "place" and name != car.place]
        return {
            **car.state(),
            "clock": clock_text(cockpit.clock_s),
            "clock_s": cockpit.clock_s,
            "outside_c": round(cockpit.outside_c, 1),
            "cloud": round(self._clouds.at(cockpit.clock_s), 2),
            "range_km": car.range_km(cockpit.outside_c),
            "climate": cockpit.state_of("climate"),
            "leg_km": round(car.roads.km(car.place, car.route[0]), 1) if car.route else 0.0,
            "rows": [{"name": name.rpartition(": ")[2], "state": state} for name, _, state in rows],
            "places": {name: cockpit.state_of(name) for name in places},
            "far": cockpit.far,
            "stops": {name: cockpit.state_of(name) for name in cockpit.stops()},
            "trip": trip_text(cockpit),
            "leaves": clock_text(cockpit.leaves_s) if cockpit.leaves_s is not None else "",
            "paid_ct": round(car.account.paid_ct),
        }

    def _turn(self, is_by_hand: bool) -> Turn:
        if is_by_hand:
            return ToolTurn(TOOLS_BY_HAND, self._cockpit, TOOLS_BY_HAND.names)
        return ToolTurn(CAR_TOOLS, self._cockpit, self._offered)
