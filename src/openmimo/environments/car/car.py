"""The state of one car: battery, cabin, doors, windows, seats, where it is and where it goes. Nothing jumps."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

from openmimo.environments.car.physics import (
    TAPER_SHARE,
    battery_limit_kw,
    cabin_step_c,
    climate_w,
    heat_pump_cop,
    kwh_per_km,
    open_window_w_k,
)
from openmimo.environments.car.roads import Roads

__all__ = ["Car", "CarAccount"]

STEP_S = 60.0
IDLE_STEP_S = 3600.0
WEEK_S = 7 * 86400.0
CHARGE_EFFICIENCY = 0.92
BATTERY_MAX_KW = 120.0
SEAT_W = 30.0
SWITCH_W = {"front defroster": 800.0, "rear defroster": 250.0, "wheel heater": 60.0}
RESERVE_SHARE = 0.05


@dataclass(slots=True)
class CarAccount:
    """Where the energy went, in kWh: wall = stored + driven + used + lost.

    Attributes:
        wall: taken from charging points.
        driven: turned into motion.
        used: climate, seats, defrosters.
        lost: in the charger.
        stored: change of the battery.
        paid_ct: what charging away from home has cost.
    """

    wall: float = 0.0
    driven: float = 0.0
    used: float = 0.0
    lost: float = 0.0
    stored: float = 0.0
    paid_ct: float = 0.0


@dataclass(slots=True)
class Car:
    """A car that tools act on and time changes.

    Attributes:
        roads: the map.
        place: where it is parked, or where it set off from.
        battery_kwh: energy in the battery.
        capacity_kwh: what it holds when full.
        limit_percent: where charging stops.
        is_plugged: connected to the charging point of its place.
        wants_charge: False while charging has been stopped by hand.
        climate_on: whether the climate control works towards `set_point_c`.
        set_point_c: wanted cabin temperature.
        cabin_c: cabin temperature.
        warm_at_s: clock time at which the climate control turns on by itself, or None.
        doors_locked: whether all doors are locked.
        trunk_open: whether the trunk is open.
        windows: percent open by name.
        seats: heat level 0 to 3 by name.
        switches: defrosters and the like, on or off by name.
        route: places still to come, the last one is the destination; empty without navigation.
        is_driving: on the road towards route[0].
        driven_km: how far on the way from `place` to route[0].
        account: energy totals.
    """

    roads: Roads
    place: str = "home"
    battery_kwh: float = 36.0
    capacity_kwh: float = 60.0
    limit_percent: int = 80
    is_plugged: bool = False
    wants_charge: bool = True
    climate_on: bool = False
    set_point_c: float = 21.0
    cabin_c: float = 15.0
    warm_at_s: float | None = None
    doors_locked: bool = True
    trunk_open: bool = False
    windows: dict[str, int] = field(default_factory=dict)
    seats: dict[str, int] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)
    route: list[str] = field(default_factory=list)
    is_driving: bool = False
    driven_km: float = 0.0
    account: CarAccount = field(default_factory=CarAccount)

    def copy(self) -> Car:
        """An independent car in the same state; the map is shared."""
        other = copy.copy(self)
        other.windows, other.seats, other.switches = dict(self.windows), dict(self.seats), dict(self.switches)
        other.route, other.account = list(self.route), copy.copy(self.account)
        return other

    # ---- what can be read

    @property
    def percent(self) -> int:
        """State of charge in whole percent, rounded down as dashboards do."""
        return math.floor(100 * self.battery_kwh / self.capacity_kwh + 1e-6)

    @property
    def is_charging(self) -> bool:
        """Whether the battery takes energy from a charging point."""
        below = self.battery_kwh < self.capacity_kwh * self.limit_percent / 100 - 1e-9
        return self.is_plugged and not self.is_driving and self.wants_charge and below

    def range_km(self, outside_c: float) -> int:
        """How far the battery lasts at country-road speed, in whole km."""
        return math.floor(self.battery_kwh / kwh_per_km(65.0, outside_c))

    def trip_percent(self, start: str, end: str, outside_c: float) -> int:
        """What navigation expects a drive to take.

        Args:
            start: a place.
            end: a place.
            outside_c: outside temperature; the cabin is kept at the set point.
        Returns:
            Percent of the battery, rounded up.
        """
        km, speed = self.roads.km(start, end), self.roads.speed_kmh(start, end)
        cop = heat_pump_cop(self.set_point_c, outside_c)
        climate_kw = open_window_w_k([]) * abs(self.set_point_c - outside_c) / cop / 1000
        kwh = km * kwh_per_km(speed, outside_c) + climate_kw * (km / speed)
        return math.ceil(100 * kwh / self.capacity_kwh)

    def commanded(self) -> dict[str, Any]:
        """Everything that tools can change, by name: what verifiers look at."""
        return {
            "limit": self.limit_percent,
            "charging": self.wants_charge,
            "climate": (self.climate_on, self.set_point_c if self.climate_on else None, self.warm_at_s),
            "doors": self.doors_locked,
            "trunk": self.trunk_open,
            "route": tuple(self.route),
            **self.windows,
            **self.seats,
            **self.switches,
        }

    def state(self) -> dict[str, Any]:
        """Everything a page needs to draw the car, JSON-able."""
        return {
            "place": self.place,
            "route": list(self.route),
            "driving": self.is_driving,
            "driven_km": round(self.driven_km, 1),
            "battery_percent": self.percent,
            "limit_percent": self.limit_percent,
            "plugged": self.is_plugged,
            "charging": self.is_charging,
            "cabin_c": round(self.cabin_c, 1),
            "climate_on": self.climate_on,
            "set_point_c": self.set_point_c,
            "doors_locked": self.doors_locked,
            "trunk_open": self.trunk_open,
            "windows": dict(self.windows),
            "seats": dict(self.seats),
            "switches": dict(self.switches),
        }

    # ---- time

    def set_off(self) -> None:
        """Unplug, lock and drive along the route.

        Raises:
            ValueError: there is no route.
        """
        if not self.route:
            raise ValueError("the car has no route: navigate somewhere first")
        self.is_plugged, self.is_driving, self.driven_km = False, True, 0.0
        self.doors_locked, self.trunk_open = True, False

    def advance(self, seconds: float, clock_s: float, outside_c: float, sun_w_m2: float = 0.0) -> float:
        """Let time pass: the car drives, charges, warms and cools.

        Args:
            seconds: how long, not negative, a week at most.
            clock_s: clock time at the start, for `warm_at_s`.
            outside_c: outside temperature.
            sun_w_m2: sun on the cabin; 0 in a garage or at night.
        Returns:
            kWh drawn from the charging point; at home they are a load of the house.
        Raises:
            ValueError: seconds is negative, or more than a week.
        """
        if not 0 <= seconds <= WEEK_S:
            raise ValueError(f"seconds={seconds} must be 0 to {WEEK_S:g}: time moves forward, a week at most at once")
        wall_before, end_s = self.account.wall, clock_s + seconds
        while clock_s < end_s:
            if self.warm_at_s is not None and clock_s + 1e-6 >= self.warm_at_s:
                self.climate_on, self.warm_at_s = True, None
            step_s = min(self._longest_step_s(clock_s), end_s - clock_s)
            self._step(step_s, outside_c, sun_w_m2)
            clock_s += step_s
        return self.account.wall - wall_before

    def _longest_step_s(self, clock_s: float) -> float:
        """A parked car changes at a constant rate, and its cabin by an exact formula: longer steps lose nothing."""
        socket_kw = self.roads.places[self.place].charger_kw
        is_fast = self.is_plugged and socket_kw > (1 - self.limit_percent / 100) / TAPER_SHARE * BATTERY_MAX_KW
        if self.climate_on or self.is_driving or is_fast:
            return STEP_S
        return IDLE_STEP_S if self.warm_at_s is None else min(IDLE_STEP_S, self.warm_at_s - clock_s)

    def _step(self, step_s: float, outside_c: float, sun_w_m2: float) -> None:
        hours = step_s / 3600
        used_kwh = (self._climate_kw(step_s, outside_c, sun_w_m2) + self._comfort_kw()) * hours
        driven_kwh = self._drive(hours, outside_c) if self.is_driving else 0.0
        wall_kwh = self._charge(hours, used_kwh) if self.is_plugged else 0.0
        stored_kwh = wall_kwh * CHARGE_EFFICIENCY - used_kwh - driven_kwh
        # An empty battery cannot go below zero: whatever was asked of it last did not happen in full.
        missing_kwh = max(0.0, -(self.battery_kwh + stored_kwh))
        used_kwh, stored_kwh = used_kwh - missing_kwh, stored_kwh + missing_kwh
        self.battery_kwh += stored_kwh
        account = self.account
        account.wall += wall_kwh
        account.lost += wall_kwh * (1 - CHARGE_EFFICIENCY)
        account.used += used_kwh
        account.driven += driven_kwh
        account.stored += stored_kwh
        account.paid_ct += wall_kwh * self.roads.places[self.place].price_ct

    def _climate_kw(self, step_s: float, outside_c: float, sun_w_m2: float) -> float:
        heat_w = 0.0
        if self.climate_on and self._has_energy():
            heat_w = climate_w(self.set_point_c, self.cabin_c)
        electric_kw = abs(heat_w) / heat_pump_cop(self.cabin_c, outside_c) / 1000
        loss_w_k = open_window_w_k([*self.windows.values(), 100 if self.trunk_open else 0])
        self.cabin_c = cabin_step_c(self.cabin_c, outside_c, heat_w, sun_w_m2, loss_w_k, step_s)
        return electric_kw

    def _comfort_kw(self) -> float:
        if not self._has_energy():
            return 0.0
        switches_w = sum(SWITCH_W.get(name, 60.0) for name, is_on in self.switches.items() if is_on)
        return (SEAT_W * sum(self.seats.values()) + switches_w) / 1000

    def _has_energy(self) -> bool:
        """Comfort stops before the battery is too low to drive to a charger, unless the car is plugged in."""
        return self.is_plugged or self.battery_kwh > RESERVE_SHARE * self.capacity_kwh

    def _drive(self, hours: float, outside_c: float) -> float:
        """Move along the route; returns the energy taken."""
        target = self.route[0]
        speed, left_km = self.roads.speed_kmh(self.place, target), self.roads.km(self.place, target) - self.driven_km
        per_km = kwh_per_km(speed, outside_c)
        km = min(speed * hours, left_km, self.battery_kwh / per_km)
        self.driven_km += km
        if km >= left_km - 1e-9:
            self._arrive(target)
        return km * per_km

    def _arrive(self, target: str) -> None:
        self.place, self.driven_km = target, 0.0
        self.route.pop(0)
        self.is_driving = False
        self.is_plugged = self.roads.places[target].charger_kw > 0

    def _charge(self, hours: float, used_kwh: float) -> float:
        """Energy from the charging point: what the car uses first, the rest into the battery up to its limit."""
        socket_kwh = self.roads.places[self.place].charger_kw * hours
        covered_kwh = used_kwh / CHARGE_EFFICIENCY
        if not self.is_charging:
            return min(socket_kwh, covered_kwh)
        share = self.battery_kwh / self.capacity_kwh
        accepted_kwh = battery_limit_kw(share, BATTERY_MAX_KW) * hours / CHARGE_EFFICIENCY
        room_kwh = max(0.0, self.capacity_kwh * self.limit_percent / 100 - self.battery_kwh) / CHARGE_EFFICIENCY
        return min(socket_kwh, covered_kwh + min(accepted_kwh, room_kwh))
