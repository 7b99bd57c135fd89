"""Heat in a home: one resistor-capacitor node per room, weather with a daily curve, thermostats, humidity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["HeatAccount", "Room", "Weather", "advance_rooms", "relative_humidity"]

STEP_S = 60.0
THERMOSTAT_GAIN_W_K = 800.0
OPEN_WINDOW_W_K = 60.0


@dataclass(slots=True)
class Weather:
    """Outside temperature: a sine over the day, warmest at 15:00."""

    mean_c: float
    swing_c: float

    def temperature_c(self, clock_s: float) -> float:
        """Outside temperature at a time of day; warmest at 15:00."""
        return self.mean_c + self.swing_c * math.cos(2 * math.pi * (clock_s / 86400 - 15 / 24))


@dataclass(slots=True)
class Room:
    """One thermal node.

    Attributes:
        temperature_c: air temperature.
        capacity_j_k: heat stored per kelvin; 0 marks a place outdoors, which follows the weather.
        loss_w_k: heat lost per kelvin above the outside.
        neighbour_w_k: heat exchanged per kelvin with the mean of the other indoor rooms.
        heater_w: what the room's heater can give.
        gains_w: steady heat from people, appliances and the sun.
        vapour_pa: water vapour pressure of the air, constant.
    """

    temperature_c: float
    capacity_j_k: float = 1.5e6
    loss_w_k: float = 25.0
    neighbour_w_k: float = 10.0
    heater_w: float = 1500.0
    gains_w: float = 0.0
    vapour_pa: float = 1100.0


@dataclass(slots=True)
class HeatAccount:
    """Where the heat went, in joules: heated = lost + stored (all rooms together)."""

    heated_j: float = 0.0
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
    saturation_pa = 611.2 * math.exp(17.62 * temperature_c / (243.12 + temperature_c))
    return min(100.0, 100.0 * vapour_pa / saturation_pa)


def advance_rooms(
    rooms: Mapping[str, Room],
    weather: Weather,
    clock_s: float,
    seconds: float,
    set_points: Mapping[str, Sequence[float]],
    open_windows: Mapping[str, int],
    account: HeatAccount,
) -> None:
    """Move all room temperatures forward with steps of at most a minute.

    Args:
        rooms: nodes by area; changed in place.
        weather: outside temperature.
        clock_s: time of day at the start.
        seconds: how long.
        set_points: °C of each heater that is on, by area.
        open_windows: number of open windows, by area.
        account: heat totals; added to in place.
    """
    inside = [area for area, room in rooms.items() if room.capacity_j_k]
    end_s = clock_s + seconds
    while clock_s < end_s:
        step_s = min(STEP_S, end_s - clock_s)
        outside_c = weather.temperature_c(clock_s)
        _step([(rooms[area], set_points.get(area, ()), open_windows.get(area, 0)) for area in inside],
              outside_c, step_s, account)  # fmt: skip
        clock_s += step_s
    for room in rooms.values():
        if not room.capacity_j_k:
            room.temperature_c = weather.temperature_c(end_s)


def _step(
    nodes: Sequence[tuple[Room, Sequence[float], int]], outside_c: float, step_s: float, account: HeatAccount
) -> None:
    coupling = sum(room.neighbour_w_k for room, _, _ in nodes)
    # Rooms exchange heat through one shared massless node, so what leaves one room arrives in the others.
    shared_c = sum(room.neighbour_w_k * room.temperature_c for room, _, _ in nodes) / coupling if coupling else 0.0
    for room, set_points, num_open in nodes:
        heating_w = room.gains_w + sum(_thermostat_w(room, set_point) for set_point in set_points)
        loss_w = (room.loss_w_k + OPEN_WINDOW_W_K * num_open) * (room.temperature_c - outside_c)
        stored_j = (heating_w - loss_w + room.neighbour_w_k * (shared_c - room.temperature_c)) * step_s
        room.temperature_c += stored_j / room.capacity_j_k
        account.heated_j += heating_w * step_s
        account.lost_j += loss_w * step_s
        account.stored_j += stored_j


def _thermostat_w(room: Room, set_point_c: float) -> float:
    return max(0.0, min(room.heater_w, THERMOSTAT_GAIN_W_K * (set_point_c - room.temperature_c)))
