"""A car that several threads may use, for the server and the terminal: it charges, warms, cools and is driven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from openmimo.environments.car.car import Car
from openmimo.environments.car.cockpit import Cockpit, Phone, clock_text
from openmimo.environments.car.roads import Place, Roads
from openmimo.environments.car.tools import CAR_TOOLS
from openmimo.environments.home.thermal import Weather
from openmimo.environments.live import LiveWorld, Turn
from openmimo.environments.sky import Sky
from openmimo.environments.toolbox import ToolTurn

__all__ = ["LiveCar", "demo_cockpit"]

LIVE_TOOLS = (
    "CarTurnOn", "CarTurnOff", "CarSetTemperature", "CarSetWindow", "CarLock", "CarUnlock", "CarSetCharge",
    "CarNavigate",
)  # fmt: skip
STEP_S = 60.0
SET_OFF_S = 60.0
"""How long after the navigation has been set the driver leaves."""


def demo_cockpit() -> Cockpit:
    """Build the fixed car of the web page: at home on a cool morning, plugged in.

    Returns:
        A new cockpit, always in the same state.
    """
    places = {
        "home": Place("home", 0.0, 0.0, 11.0),
        "office": Place("office", 8.5, 5.5),
        "lake": Place("lake", -13.0, 9.5),
        "anna's place": Place("anna's place", -6.5, -8.0),
        "airport": Place("airport", 17.0, -5.5),
    }
    car = Car(Roads(places), battery_kwh=37.2, is_plugged=True, cabin_c=6.0, doors_locked=True)
    car.windows = dict.fromkeys(("driver window", "passenger window", "rear left window", "rear right window"), 0)
    car.windows["sunroof"] = 20
    car.seats = {"driver seat": 0, "passenger seat": 0}
    car.switches = {"front defroster": False, "rear defroster": False, "cabin light": True}
    return Cockpit(car, Phone({"anna": "sister", "max": ""}), clock_s=(7 * 60 + 40) * 60.0, outside_c=6.0)


class LiveCar(LiveWorld):
    """A car behind a lock. Once the navigation is set, its driver leaves a minute later.

    Args:
        cockpit: the car; None takes the demo car.
        offered: names of the tools on offer; tasks have eight at most.
    """

    name = "car"
    asked_turns = 2

    def __init__(self, cockpit: Cockpit | None = None, offered: Sequence[str] = LIVE_TOOLS):
        super().__init__()
        self._cockpit = cockpit or demo_cockpit()
        self._offered = tuple(offered)
        self._weather = Weather(mean_c=7.0, swing_c=4.0, seed=1)
        self._sky = Sky(latitude_deg=48.0, day_of_year=90, cloud=0.5)
        self._leaves_s: float | None = None

    def tools(self) -> list[dict[str, Any]]:
        """The tools on offer, in the OpenAI shape."""
        return list(CAR_TOOLS.dicts(self._offered))

    def drawing(self) -> dict[str, Any]:
        """The map: every `Place`."""
        return {"places": [asdict(place) for place in self._cockpit.car.roads.places.values()]}

    def _advance(self, seconds: float) -> None:
        cockpit, end_s = self._cockpit, self._cockpit.clock_s + seconds
        while (left_s := end_s - cockpit.clock_s) > 1e-6:
            cockpit.outside_c = self._weather.temperature_c(cockpit.clock_s)
            self._leave_if_due()
            # At home it stands in a garage, elsewhere in the sun.
            is_inside = cockpit.car.place == "home" and not cockpit.car.is_driving
            sun_w_m2 = 0.0 if is_inside else self._sky.sunlight(cockpit.clock_s).level_w_m2
            cockpit.advance(min(STEP_S, left_s), sun_w_m2)

    def _leave_if_due(self) -> None:
        car, clock_s = self._cockpit.car, self._cockpit.clock_s
        if not car.route or car.is_driving:
            self._leaves_s = None
        elif self._leaves_s is None:
            self._leaves_s = clock_s + SET_OFF_S
        elif clock_s >= self._leaves_s:
            car.set_off()

    def _system_content(self) -> str:
        return self._cockpit.system_content()

    def _state(self) -> dict[str, Any]:
        cockpit, car = self._cockpit, self._cockpit.car
        rows = [text.partition(", ") for kind, text in cockpit.rows() if kind not in ("place", "contact")]
        return {
            **car.state(),
            "clock": clock_text(cockpit.clock_s),
            "clock_s": cockpit.clock_s,
            "outside_c": round(cockpit.outside_c, 1),
            "range_km": car.range_km(cockpit.outside_c),
            "climate": cockpit.state_of("climate"),
            "leg_km": round(car.roads.km(car.place, car.route[0]), 1) if car.route else 0.0,
            "rows": [{"name": name.rpartition(": ")[2], "state": state} for name, _, state in rows],
            "places": {name: cockpit.state_of(name) for name in car.roads.places if name != car.place},
        }

    def _turn(self) -> Turn:
        return ToolTurn(CAR_TOOLS, self._cockpit, self._offered)
