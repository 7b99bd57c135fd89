"""A home's energy that several threads may plan, for the server and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openmimo.environments.days import Clouds
from openmimo.environments.energy.board import Runnable
from openmimo.environments.energy.household import HOUR_S, Household
from openmimo.environments.energy.plant import ONE_WAY_EFFICIENCY, Plant
from openmimo.environments.energy.problem import BATTERY_EFFICIENCY
from openmimo.environments.energy.tools import ENERGY_TOOLS
from openmimo.environments.home.people import clock_text
from openmimo.environments.home.thermal import Weather
from openmimo.environments.live import LiveWorld, Turn
from openmimo.environments.sky import Sky
from openmimo.environments.toolbox import ToolTurn

__all__ = ["LiveEnergy", "demo_household"]


def demo_household() -> Household:
    """Build the fixed household of the web page: a bright morning in spring.

    Returns:
        A new household, always in the same state.
    """
    house_kw = 1
    capacity_kwh = house_kw / ONE_WAY_EFFICIENCY / 0.9  # gives the house an hour above the reserve
    plant = Plant(
        peak_kw=7.0,
        battery_kwh=0.1 * capacity_kwh,
        capacity_kwh=capacity_kwh,
        battery_max_kw=house_kw / BATTERY_EFFICIENCY,
        feed_in_ct=6,
    )
    return Household(
        {
            "dishwasher": Runnable(2, 1),
            "washing machine": Runnable(2, 2),
            "sauna": Runnable(1, 3),
            "pool pump": Runnable(3, 1),
        },
        plant,
        Weather(mean_c=12.0, swing_c=5.0, seed=1),
        Sky(latitude_deg=48.0, day_of_year=120),
        Clouds.of(5),
        clock_s=(7 * 60 + 40) * 60.0,
        house_kw=house_kw,
    )


class LiveEnergy(LiveWorld):
    """A household behind a lock.

    Args:
        household: the home; None takes the demo household.
    """

    name = "energy"
    asked_turns = 1

    def __init__(self, household: Household | None = None):
        super().__init__()
        self._household = household or demo_household()

    def tools(self) -> list[dict[str, Any]]:
        """The tools on offer, in the OpenAI shape."""
        return list(ENERGY_TOOLS.dicts(ENERGY_TOOLS.names))

    def drawing(self) -> dict[str, Any]:
        """Nothing: the page draws the hours, which change."""
        return {}

    def _advance(self, seconds: float) -> None:
        self._household.advance(seconds)

    def _system_content(self) -> str:
        return self._household.board().system_content()

    def _state(self) -> dict[str, Any]:
        home = self._household
        board, meter = home.board(), home.plant.meter

        def index(clock_s: float) -> float:
            """In hours since this one began."""
            return round((clock_s - home.hour_s) / HOUR_S, 3)

        return {
            "clock": clock_text(home.clock_s),
            "clock_s": home.clock_s,
            "outside_c": round(home.outside_c, 1),
            "cloud": round(home.clouds.at(home.clock_s), 2),
            "hours": [
                {"hour": hour, "price_ct": price, "sun_kwh": sun}
                for hour, price, sun in zip(board.hours, board.prices, board.sun, strict=True)
            ],
            "appliances": [
                {"name": name, "hours": appliance.hours, "kw": appliance.kw, "is_planned": name in home.planned,
                 "runs": [[index(run.start_s), index(run.end_s)] for run in home.runs() if run.name == name]}
                for name, appliance in home.appliances.items()
            ],
            "car": {"percent": int(home.car_percent), "kw": home.car_kw, "charging": home.is_car_charging,
                    "hours": sorted(index(hour_s) for hour_s in home.car_hours_s)},
            "battery": {"percent": home.plant.percent, "reserve_percent": home.plant.reserve_percent,
                        "hours": [index(hour_s) for hour_s in home.battery_hours_s or ()]},
            "sun_kw": round(home.sun_kw(home.clock_s), 2),
            "use_kw": round(home.use_kw, 2),
            "meter": {"bought": round(meter.bought, 2), "sold": round(meter.sold, 2), "sun": round(meter.sun, 2),
                      "cost_ct": round(meter.cost_ct, 1)},
        }  # fmt: skip

    def _turn(self, is_by_hand: bool) -> Turn:
        return _PlanningTurn(self._household)


class _PlanningTurn:
    """The calls of one reply. Tools act on a board; the household takes over what they have planned."""

    def __init__(self, household: Household):
        self._household = household
        self._turn = ToolTurn(ENERGY_TOOLS, household.board(), ENERGY_TOOLS.names)

    def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self._turn.world = board = self._household.board()  # the hour may have changed since the last call
        result = self._turn.call(name, arguments)
        if "success" in result:
            self._household.take(board)
        return result
