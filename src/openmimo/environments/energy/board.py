"""What an energy assistant sees and acts on: prices and sun of the next hours, what can be planned, and the plan."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from openmimo.environments.energy.plant import Plant
from openmimo.environments.energy.problem import Plan

__all__ = ["Board", "Chargeable", "Runnable"]


@dataclass(frozen=True, slots=True)
class Runnable:
    """An appliance that waits to be started.

    Attributes:
        hours: how long it runs.
        kw: what it draws.
    """

    hours: int
    kw: int


@dataclass(frozen=True, slots=True)
class Chargeable:
    """A car at the wall.

    Attributes:
        percent: how full it is.
        per_hour: percent that an hour of charging adds.
        kw: what it draws.
    """

    percent: int
    per_hour: int
    kw: int


@dataclass(slots=True)
class Board:
    """The next hours and what is planned for them. Hours are hours of the day; indices count from now.

    Attributes:
        first_hour: the hour that begins now.
        prices: ct for a kWh in each hour.
        sun: kWh from the roof in each hour.
        feed_in_ct: what a sold kWh earns.
        appliances: by name.
        car: at the wall, or None.
        battery_kwh: what the empty home battery gives back when filled, 0 where none can be planned.
        house_kw: what the house uses all the time.
        reserve_percent: what the battery keeps back.
        battery_percent: how full a battery is that cannot be planned, None without one.
        starts: planned start of appliances, as hours of the day.
        car_hours: hours of the day in which the car charges.
        battery_hours: hour in which the battery is filled and hour in which it is used, or None.
    """

    first_hour: int
    prices: tuple[int, ...]
    sun: tuple[int, ...]
    feed_in_ct: int = 8
    appliances: dict[str, Runnable] = field(default_factory=dict)
    car: Chargeable | None = None
    battery_kwh: int = 0
    house_kw: int = 0
    reserve_percent: int = 10
    battery_percent: int | None = None
    starts: dict[str, int] = field(default_factory=dict)
    car_hours: tuple[int, ...] = ()
    battery_hours: tuple[int, int] | None = None

    def copy(self) -> Board:
        """An independent board in the same state."""
        other = copy.copy(self)
        other.starts = dict(self.starts)
        return other

    def commanded(self) -> dict[str, Any]:
        """Everything that tools can change."""
        return {
            "starts": dict(self.starts),
            "car": self.car_hours,
            "battery": self.battery_hours,
            "reserve": self.reserve_percent,
        }

    @property
    def hours(self) -> tuple[int, ...]:
        """Hours of the day that the board covers, from now on."""
        return tuple((self.first_hour + index) % 24 for index in range(len(self.prices)))

    def index(self, hour: int) -> int:
        """How many hours from now an hour of the day begins, 0 to 23; past the board where it is not on it."""
        return (hour - self.first_hour) % 24

    def plan(self) -> Plan:
        """The plan, counted from now."""
        starts = {name: self.index(hour) for name, hour in self.starts.items()}
        battery = self.battery_hours and (self.index(self.battery_hours[0]), self.index(self.battery_hours[1]))
        return Plan(starts, frozenset(self.index(hour) for hour in self.car_hours), battery)

    def carry_out(self, plant: Plant, clock_s: float) -> None:
        """Hand the plan for appliances to a plant, which runs them when their time comes.

        Args:
            plant: has appliances of the same names; changed in place.
            clock_s: clock time now; it lies in `first_hour`.
        """
        hour_s = clock_s // 3600 * 3600
        for name, appliance in plant.appliances.items():
            is_planned = name in self.starts
            appliance.start_s = hour_s + 3600.0 * self.index(self.starts[name]) if is_planned else None
        plant.reserve_percent = self.reserve_percent

    # ---- what the model reads

    def hour_row(self, hour: int) -> str:
        """The row of an hour: "18:00, 31 ct" or "12:00, 31 ct, sun 4 kWh"."""
        index = self.index(hour)
        sun = f", sun {self.sun[index]} kWh" if self.sun[index] else ""
        return f"{hour:02d}:00, {self.prices[index]} ct{sun}"

    def appliance_row(self, name: str) -> str:
        """The row of an appliance: "dishwasher, 2 h, 1 kW", and its start where it is planned."""
        appliance = self.appliances[name]
        start = f", starts {self.starts[name]:02d}:00" if name in self.starts else ""
        return f"{name}, {appliance.hours} h, {appliance.kw} kW{start}"

    def car_row(self) -> str:
        """The row of the car: "car, 40%, 10% an hour, 3 kW"."""
        assert self.car is not None
        return f"car, {self.car.percent}%, {self.car.per_hour}% an hour, {self.car.kw} kW"

    @property
    def has_battery(self) -> bool:
        """Whether there is one, to plan or not."""
        return self.battery_kwh > 0 or self.battery_percent is not None

    def battery_row(self) -> str:
        """The row of the battery: "battery, empty, 2 kWh, reserve 10%", or "battery, 60%, reserve 10%"."""
        level = f"empty, {self.battery_kwh} kWh" if self.battery_kwh else f"{self.battery_percent}%"
        return f"battery, {level}, reserve {self.reserve_percent}%"

    def rows(self) -> Iterator[str]:
        """All rows: hours first, then what can be planned."""
        yield from map(self.hour_row, self.hours)
        yield from (f"appliance: {self.appliance_row(name)}" for name in self.appliances)
        if self.car:
            yield self.car_row()
        if self.has_battery:
            yield self.battery_row()
        if self.battery_kwh:
            yield f"house, {self.house_kw} kW"

    def system_content(self) -> str:
        """The system message of a chat about this board."""
        sells = f" Sun that is left sells at {self.feed_in_ct} ct." if any(self.sun) else ""
        rows = "\n".join(f"- {row}" for row in self.rows())
        return f"You plan the energy of a home. It is {self.first_hour:02d}:00.{sells}\n{rows}"
