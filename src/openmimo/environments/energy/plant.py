"""The energy side of a home: panels on the roof, a battery, a tariff by the hour, the meter at the street."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Appliance", "Meter", "Plant", "cell_c", "pv_kw"]

STEP_S = 300.0
WEEK_S = 7 * 86400.0
CELL_NOMINAL_C = 45.0
POWER_PER_K = -0.0035
INVERTER_EFFICIENCY = 0.96
ONE_WAY_EFFICIENCY = math.sqrt(0.9)

BatteryMode = Literal["auto", "charge", "hold"]


def cell_c(irradiance_w_m2: float, outside_c: float) -> float:
    """Temperature of a panel's cells.

    Args:
        irradiance_w_m2: sun in the plane of the panel.
        outside_c: air temperature.
    Returns:
        °C.
    Source: the model of Ross: air plus (NOCT - 20 °C) / 800 W/m² for each W/m², NOCT 45 °C.
    """
    return outside_c + (CELL_NOMINAL_C - 20.0) / 800.0 * irradiance_w_m2


def pv_kw(irradiance_w_m2: float, outside_c: float, peak_kw: float) -> float:
    """Power of panels behind their inverter.

    Args:
        irradiance_w_m2: sun in the plane of the panels.
        outside_c: air temperature.
        peak_kw: rated power at 1000 W/m² and 25 °C.
    Returns:
        kW, never negative.
    Source: PVWatts version 5 (Dobos 2014), DC power with -0.35 % per kelvin, and a constant inverter efficiency.
    """
    share = irradiance_w_m2 / 1000.0 * (1 + POWER_PER_K * (cell_c(irradiance_w_m2, outside_c) - 25.0))
    return max(0.0, peak_kw * INVERTER_EFFICIENCY * share)


@dataclass(slots=True)
class Appliance:
    """Something that runs once for a fixed time when it is told to.

    Attributes:
        name: lower case.
        hours: how long it runs.
        kw: what it draws while it runs.
        start_s: clock time of the start, or None where none is planned.
    """

    name: str
    hours: float
    kw: float
    start_s: float | None = None

    def load_kw(self, clock_s: float) -> float:
        """What it draws at a clock time."""
        is_running = self.start_s is not None and 0 <= clock_s - self.start_s < self.hours * 3600
        return self.kw if is_running else 0.0


@dataclass(slots=True)
class Meter:
    """Energy totals in kWh: sun + bought = used + sold + stored + lost.

    Attributes:
        sun: made by the panels.
        bought: from the grid.
        sold: to the grid.
        used: by the house and what is plugged in.
        stored: change of the battery.
        lost: in the battery.
        cost_ct: bought minus sold, in ct.
    """

    sun: float = 0.0
    bought: float = 0.0
    sold: float = 0.0
    used: float = 0.0
    stored: float = 0.0
    lost: float = 0.0
    cost_ct: float = 0.0


@dataclass(slots=True)
class Plant:
    """Panels, battery, appliances, tariff and meter.

    Attributes:
        peak_kw: rated power of the panels, 0 without any.
        battery_kwh: energy in the battery.
        capacity_kwh: what it holds, 0 without one.
        battery_max_kw: the most it takes or gives.
        reserve_percent: what it keeps back.
        mode: "auto" stores what is left of the sun and gives when the house needs it; "charge" fills it from the grid
            too; "hold" keeps it as it is.
        tariff_ct: price of a kWh for each hour of the day.
        feed_in_ct: what a sold kWh earns.
        appliances: what can be scheduled, by name.
        meter: totals.
    """

    peak_kw: float = 6.0
    battery_kwh: float = 5.0
    capacity_kwh: float = 10.0
    battery_max_kw: float = 5.0
    reserve_percent: int = 10
    mode: BatteryMode = "auto"
    tariff_ct: tuple[int, ...] = (30,) * 24
    feed_in_ct: int = 8
    appliances: dict[str, Appliance] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)

    def copy(self) -> Plant:
        """An independent plant in the same state."""
        other = copy.copy(self)
        other.appliances = {name: copy.copy(appliance) for name, appliance in self.appliances.items()}
        other.meter = copy.copy(self.meter)
        return other

    @property
    def percent(self) -> int:
        """State of charge of the battery in whole percent, rounded down; 0 without a battery."""
        return math.floor(100 * self.battery_kwh / self.capacity_kwh + 1e-6) if self.capacity_kwh else 0

    def price_ct(self, clock_s: float) -> int:
        """Price of a kWh at a clock time."""
        return self.tariff_ct[int(clock_s // 3600) % 24]

    def state(self) -> dict[str, Any]:
        """Everything a page needs to draw the plant, JSON-able."""
        meter = {name: round(getattr(self.meter, name), 3) for name in Meter.__slots__}
        planned = {name: appliance.start_s for name, appliance in self.appliances.items()}
        return {"battery_percent": self.percent, "mode": self.mode, "reserve_percent": self.reserve_percent,
                "planned_s": planned, "meter": meter}  # fmt: skip

    def advance(
        self, seconds: float, clock_s: float, irradiance_w_m2: float, outside_c: float, load_kwh: float = 0.0
    ) -> None:
        """Let time pass: the sun shines, appliances run, the battery fills and empties, the meter turns.

        Args:
            seconds: how long, not negative, a week at most. Keep it short where the sun moves: the irradiance given
                holds for all of it.
            clock_s: clock time at the start; prices follow the hour of the day.
            irradiance_w_m2: sun in the plane of the panels.
            outside_c: air temperature.
            load_kwh: what everything but `appliances` uses in this time, a charging car included.
        Raises:
            ValueError: seconds is negative, or more than a week, or the load is negative.
        """
        if not 0 <= seconds <= WEEK_S:
            raise ValueError(f"seconds={seconds} must be 0 to {WEEK_S:g}: time moves forward, a week at most at once")
        if load_kwh < 0:
            raise ValueError(f"load_kwh={load_kwh} must not be negative")
        sun_kw, end_s = pv_kw(irradiance_w_m2, outside_c, self.peak_kw), clock_s + seconds
        base_kw = load_kwh / (seconds / 3600) if seconds else 0.0
        while clock_s < end_s:
            step_s = self._step_s(clock_s, end_s)
            load_kw = base_kw + sum(appliance.load_kw(clock_s) for appliance in self.appliances.values())
            self._step(step_s / 3600, sun_kw, load_kw, self.price_ct(clock_s))
            clock_s += step_s

    def _step_s(self, clock_s: float, end_s: float) -> float:
        """At most five minutes, and never across an hour or the start or end of an appliance."""
        changes = [end_s, clock_s + STEP_S, 3600 * (clock_s // 3600 + 1)]
        for appliance in self.appliances.values():
            if appliance.start_s is not None:
                changes += [appliance.start_s, appliance.start_s + 3600 * appliance.hours]
        return min(change for change in changes if change > clock_s) - clock_s

    def _step(self, hours: float, sun_kw: float, load_kw: float, price_ct: int) -> None:
        give_kw = self._battery_kw(hours, sun_kw - load_kw)
        inside_kw = give_kw / ONE_WAY_EFFICIENCY if give_kw > 0 else give_kw * ONE_WAY_EFFICIENCY
        grid_kw = load_kw - sun_kw - give_kw
        self.battery_kwh = min(self.capacity_kwh, max(0.0, self.battery_kwh - inside_kw * hours))
        meter = self.meter
        meter.sun += sun_kw * hours
        meter.used += load_kw * hours
        meter.stored -= inside_kw * hours
        meter.lost += (inside_kw - give_kw) * hours
        meter.bought += max(0.0, grid_kw) * hours
        meter.sold += max(0.0, -grid_kw) * hours
        meter.cost_ct += (price_ct if grid_kw > 0 else self.feed_in_ct) * grid_kw * hours

    def _battery_kw(self, hours: float, surplus_kw: float) -> float:
        """What the battery gives, below 0 what it takes, at its terminals."""
        most_in_kw = min(self.battery_max_kw, (self.capacity_kwh - self.battery_kwh) / hours / ONE_WAY_EFFICIENCY)
        if self.mode == "charge":
            return -most_in_kw
        if self.mode == "hold":
            return 0.0
        if surplus_kw >= 0:
            return -min(surplus_kw, most_in_kw)
        kept_kwh = self.capacity_kwh * self.reserve_percent / 100
        most_out_kw = max(0.0, self.battery_kwh - kept_kwh) / hours * ONE_WAY_EFFICIENCY
        return min(-surplus_kw, self.battery_max_kw, most_out_kw)
