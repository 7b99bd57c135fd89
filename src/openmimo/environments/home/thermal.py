"""Heat in a home: one resistor-capacitor node per room, weather with a daily curve, a heat pump, humidity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from openmimo.environments.days import drift_k

__all__ = [
    "HeatAccount",
    "Room",
    "RoomLoad",
    "Weather",
    "cooling_efficiency",
    "heat_pump_w",
    "heating_efficiency",
    "relative_humidity",
    "step_rooms",
]

STEP_S = 60.0
THERMOSTAT_GAIN_W_K = 800.0
AIR_CHANGES_S = 0.4 / 3600
AIR_J_M3_K = 1200.0
VAPOUR_J_KG_K = 461.5
OUTSIDE_HUMIDITY = 0.75
WINDOW_GAIN = 0.6
"""Share of the sun on a window that ends up as heat in the room (g-value of double glazing)."""


@dataclass(slots=True)
class Weather:
    """Outside temperature: a sine over the day, warmest at 15:00.

    Attributes:
        mean_c: mean of the first day.
        swing_c: how much warmer the afternoon is than that.
        seed: of the later days, see `drift_k`; None makes every day like the first.
    """

    mean_c: float
    swing_c: float
    seed: int | None = None

    def temperature_c(self, clock_s: float) -> float:
        """Outside temperature at a clock time."""
        daily_c = self.mean_c + self.swing_c * math.cos(2 * math.pi * (clock_s / 86400 - 15 / 24))
        return daily_c if self.seed is None else daily_c + drift_k(self.seed, clock_s)


@dataclass(slots=True)
class Room:
    """One thermal node.

    Attributes:
        temperature_c: air temperature.
        capacity_j_k: heat stored per kelvin; 0 marks a place outdoors, which follows the weather.
        loss_w_k: heat lost per kelvin above the outside.
        neighbour_w_k: heat exchanged per kelvin with the mean of the other indoor rooms.
        heater_w: the most that its heater can give, and its cooler take.
        gains_w: steady heat of what is not modelled by itself.
        vapour_pa: water vapour pressure of the air.
        volume_m3: air that takes up moisture and is exchanged with the outside; 0 keeps its vapour as it is.
        window_m2: glass that the sun comes through.
        window_azimuth_deg: where it faces, clockwise from north.
        kept_c: what a heating circuit that is not listed keeps it at, or None without one.
    """

    temperature_c: float
    capacity_j_k: float = 1.5e6
    loss_w_k: float = 25.0
    neighbour_w_k: float = 10.0
    heater_w: float = 1500.0
    gains_w: float = 0.0
    vapour_pa: float = 1100.0
    volume_m3: float = 0.0
    window_m2: float = 0.0
    window_azimuth_deg: float = 180.0
    kept_c: float | None = None


@dataclass(slots=True)
class RoomLoad:
    """What works on a room's air during one step.

    Attributes:
        heat_to_c: set points of the heaters that are on.
        cool_to_c: set points of the coolers that are on.
        gains_j: heat of devices, people and the sun.
        opening_w_k: heat lost per kelvin to air that comes in through what stands open.
        vapour_kg_s: water that people and showers give to the air.
        sun_share: what covers let through of the sun on the windows.
    """

    heat_to_c: list[float] = field(default_factory=list)
    cool_to_c: list[float] = field(default_factory=list)
    gains_j: float = 0.0
    opening_w_k: float = 0.0
    vapour_kg_s: float = 0.0
    sun_share: float = 1.0

    @classmethod
    def of(cls, room: Room) -> RoomLoad:
        """What works on a room before any device does."""
        return cls() if room.kept_c is None else cls([room.kept_c])


NO_LOAD = RoomLoad()


@dataclass(slots=True)
class HeatAccount:
    """Where the heat of all rooms went, in joules: heated + gained = cooled + lost + stored.

    Attributes:
        heated_j: brought in by heaters.
        gained_j: from the sun, people and devices.
        cooled_j: taken out by coolers.
        lost_j: to the outside.
        stored_j: change of what the rooms hold.
    """

    heated_j: float = 0.0
    gained_j: float = 0.0
    cooled_j: float = 0.0
    lost_j: float = 0.0
    stored_j: float = 0.0


def relative_humidity(vapour_pa: float, temperature_c: float) -> float:
    """Relative humidity in percent, from 0 to 100.

    Args:
        vapour_pa: water vapour pressure.
        temperature_c: air temperature.
    Returns:
        The vapour pressure over its saturation value.
    Source: Magnus formula with 611.2 Pa, 17.62 and 243.12 °C.
    """
    return min(100.0, 100.0 * vapour_pa / saturation_pa(temperature_c))


def saturation_pa(temperature_c: float) -> float:
    """Most vapour that air can hold, as a pressure."""
    return 611.2 * math.exp(17.62 * temperature_c / (243.12 + temperature_c))


def heating_efficiency(outside_c: float) -> float:
    """Heat per electric energy of the heat pump that feeds the radiators.

    Args:
        outside_c: outside temperature.
    Returns:
        Coefficient of performance, at least 1; 3.3 at 0 °C.
    Source: air-source fit and radiator curve of Ruhnau, Hirth and Praktiknjo (2019).
    """
    return _air_source_efficiency(max(15.0, 40.0 - outside_c - outside_c))


def cooling_efficiency(outside_c: float) -> float:
    """Heat taken out per electric energy when the heat pump cools.

    Args:
        outside_c: outside temperature.
    Returns:
        At least 1; 2.8 at 35 °C.
    Source: the fit of `heating_efficiency` between air at 15 °C and a condenser 10 K above the outside; what is taken
        out is what is given off less the electric energy.
    """
    return max(1.0, _air_source_efficiency(max(15.0, outside_c + 10.0 - 15.0)) - 1.0)


def _air_source_efficiency(lift_k: float) -> float:
    return max(1.0, 6.08 - 0.09 * lift_k + 0.0005 * lift_k * lift_k)


def step_rooms(
    rooms: Mapping[str, Room],
    loads: Mapping[str, RoomLoad],
    outside_c: float,
    step_s: float,
    account: HeatAccount,
) -> None:
    """Move all room temperatures forward by one step.

    Args:
        rooms: nodes by area; changed in place. Places outdoors are left alone.
        loads: what works on them; areas that are not in it have none.
        outside_c: outside temperature.
        step_s: at most `STEP_S`, which keeps the step stable.
        account: heat totals; added to in place.
    """
    inside = [(area, room) for area, room in rooms.items() if room.capacity_j_k]
    coupling = sum(room.neighbour_w_k for _, room in inside)
    # Rooms exchange heat through one shared massless node, so what leaves one room arrives in the others.
    shared_c = sum(room.neighbour_w_k * room.temperature_c for _, room in inside) / coupling if coupling else 0.0
    for area, room in inside:
        load = loads.get(area, NO_LOAD)
        heating_w, cooling_w = heat_pump_w(room, load)
        gains_w = room.gains_w + load.gains_j / step_s
        loss_w = (room.loss_w_k + load.opening_w_k) * (room.temperature_c - outside_c)
        flow_w = room.neighbour_w_k * (shared_c - room.temperature_c)
        stored_j = (heating_w + gains_w - cooling_w - loss_w + flow_w) * step_s
        room.temperature_c += stored_j / room.capacity_j_k
        account.heated_j += heating_w * step_s
        account.gained_j += gains_w * step_s
        account.cooled_j += cooling_w * step_s
        account.lost_j += loss_w * step_s
        account.stored_j += stored_j
        if room.volume_m3:
            _step_vapour(room, load, outside_c, step_s)


def _step_vapour(room: Room, load: RoomLoad, outside_c: float, step_s: float) -> None:
    """Fresh air carries moisture out; what the air cannot hold runs down the windows."""
    fresh_m3_s = AIR_CHANGES_S * room.volume_m3 + load.opening_w_k / AIR_J_M3_K
    added_pa = load.vapour_kg_s * VAPOUR_J_KG_K * (room.temperature_c + 273.15) / fresh_m3_s
    rest_pa = OUTSIDE_HUMIDITY * saturation_pa(outside_c) + added_pa
    vapour_pa = rest_pa + (room.vapour_pa - rest_pa) * math.exp(-step_s * fresh_m3_s / room.volume_m3)
    room.vapour_pa = min(vapour_pa, saturation_pa(room.temperature_c))


def heat_pump_w(room: Room, load: RoomLoad) -> tuple[float, float]:
    """Heat that a room's heaters bring and its coolers take: proportional to the distance from the set point.

    Args:
        room: the room.
        load: what is on in it.
    Returns:
        Both in watts.
    """
    heating_w = sum(
        max(0.0, min(room.heater_w, THERMOSTAT_GAIN_W_K * (set_point_c - room.temperature_c)))
        for set_point_c in load.heat_to_c
    )
    cooling_w = sum(
        max(0.0, min(room.heater_w, THERMOSTAT_GAIN_W_K * (room.temperature_c - set_point_c)))
        for set_point_c in load.cool_to_c
    )
    return heating_w, cooling_w
