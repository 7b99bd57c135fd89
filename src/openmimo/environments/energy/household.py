"""A home whose energy is planned, as time passes: prices and sun by the hour, what is planned, and what it costs."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from openmimo.environments.days import Clouds
from openmimo.environments.energy.board import Board, Chargeable, Runnable
from openmimo.environments.energy.generate import LEAST_SUN_KWH, price_ct
from openmimo.environments.energy.plant import Plant, pv_kw
from openmimo.environments.home.thermal import Weather
from openmimo.environments.sky import Sky

__all__ = ["HOUR_S", "Household", "Run"]

HOUR_S = 3600.0
STEP_S = 300.0
BOARD_HOURS = 8


class Run(NamedTuple):
    """An appliance that runs from one clock time to another."""

    name: str
    start_s: float
    end_s: float


@dataclass(slots=True)
class Household:
    """A home that carries out what is planned for it. Nothing in it reads the wall clock.

    The board that tools act on covers whole hours; this keeps the same plan in clock times, so that it goes on when the
    hour ends. What is planned for the hour that has begun starts at once.

    Attributes:
        appliances: what can be planned, by name.
        plant: panels, battery and meter; it has no appliances of its own.
        weather, sky, clouds: the outside.
        clock_s: seconds since the first midnight.
        seed: of the prices.
        house_kw: what the house uses all the time.
        car_percent: how full the car at the wall is.
        car_per_hour: percent that an hour of charging adds.
        car_kw: what it draws.
        roof: tilt and azimuth of the panels in degrees.
        planned: start of each planned appliance.
        running: appliances whose first hour is over.
        car_hours_s: beginnings of the hours in which the car charges.
        battery_hours_s: beginnings of the hours in which the battery is filled and used, or None.
    """

    appliances: dict[str, Runnable]
    plant: Plant
    weather: Weather
    sky: Sky
    clouds: Clouds
    clock_s: float = 0.0
    seed: int = 0
    house_kw: int = 1
    car_percent: float = 40.0
    car_per_hour: int = 10
    car_kw: int = 3
    roof: tuple[float, float] = (35.0, 180.0)
    planned: dict[str, float] = field(default_factory=dict)
    running: list[Run] = field(default_factory=list)
    car_hours_s: frozenset[float] = frozenset()
    battery_hours_s: tuple[float, float] | None = None

    @property
    def outside_c(self) -> float:
        """Outside temperature now."""
        return self.weather.temperature_c(self.clock_s)

    @property
    def hour_s(self) -> float:
        """When this hour began."""
        return self.clock_s // HOUR_S * HOUR_S

    def price_ct(self, clock_s: float) -> int:
        """Price of a kWh at a clock time, another one in every hour of every day."""
        rng = random.Random(f"price-{self.seed}-{clock_s // HOUR_S:.0f}")
        return price_ct(rng, level=26, swing=7, hour=int(clock_s // HOUR_S) % 24)

    def sun_kw(self, clock_s: float) -> float:
        """What the panels give at a clock time."""
        return pv_kw(self._irradiance_w_m2(clock_s), self.weather.temperature_c(clock_s), self.plant.peak_kw)

    def _irradiance_w_m2(self, clock_s: float) -> float:
        return self.clouds.over(self.sky, clock_s).irradiance_w_m2(clock_s, *self.roof)

    # ---- what an assistant sees and changes

    def board(self) -> Board:
        """The next hours and what is planned for them.

        Its sun is what the house leaves. The battery can be planned while it is empty and no sun is coming: tasks have
        no other case.
        """
        hours_s = [self.hour_s + HOUR_S * index for index in range(BOARD_HOURS)]
        sun = tuple(_forecast_kwh(self.sun_kw(hour_s + HOUR_S / 2) - self.house_kw) for hour_s in hours_s)
        can_plan_battery = self._is_battery_empty() and not any(sun)
        return Board(
            _hour(self.hour_s),
            tuple(self.price_ct(hour_s) for hour_s in hours_s),
            sun,
            self.plant.feed_in_ct,
            dict(self.appliances),
            Chargeable(int(self.car_percent) // 10 * 10, self.car_per_hour, self.car_kw),
            self.house_kw if can_plan_battery else 0,
            self.house_kw if can_plan_battery else 0,
            self.plant.reserve_percent,
            None if can_plan_battery else int(self.plant.percent),
            {name: _hour(start_s) for name, start_s in self.planned.items()},
            tuple(_hour(hour_s) for hour_s in hours_s if hour_s in self.car_hours_s),
            self._battery_plan(),
        )

    def take(self, board: Board) -> None:
        """Plan what a board says.

        Args:
            board: as `board` gave it in this hour, changed by tools.
        """
        now = self.board()
        for name in self.appliances:
            if name not in board.starts:
                self.planned.pop(name, None)
            elif board.starts[name] != now.starts.get(name):
                self.planned[name] = max(self.clock_s, self._clock_s(board, board.starts[name]))
        self.car_hours_s = frozenset(self._clock_s(board, hour) for hour in board.car_hours)
        if board.battery_hours != now.battery_hours and board.battery_hours is not None:
            fill, use = board.battery_hours
            self.battery_hours_s = self._clock_s(board, fill), self._clock_s(board, use)
        self.plant.reserve_percent = board.reserve_percent

    def _clock_s(self, board: Board, hour: int) -> float:
        return self.hour_s + HOUR_S * board.index(hour)

    def _battery_plan(self) -> tuple[int, int] | None:
        if self.battery_hours_s is None:
            return None
        fill_s, use_s = self.battery_hours_s
        return (_hour(fill_s), _hour(use_s)) if fill_s >= self.hour_s else None

    def _is_battery_empty(self) -> bool:
        return self.plant.percent <= self.plant.reserve_percent + 1

    # ---- time

    def advance(self, seconds: float) -> None:
        """Let time pass: what is planned runs, the car and the battery fill, the meter turns.

        Args:
            seconds: how long, not negative.
        Raises:
            ValueError: seconds is negative.
        """
        if seconds < 0:
            raise ValueError(f"seconds={seconds} must not be negative: time moves forward")
        end_s = self.clock_s + seconds
        while (left_s := end_s - self.clock_s) > 1e-6:
            self._step(min(STEP_S, left_s, self.hour_s + HOUR_S - self.clock_s))
            self._settle()

    def _step(self, step_s: float) -> None:
        load_kwh = self.house_kw * step_s / HOUR_S
        for run in self.runs():
            overlap_s = min(run.end_s, self.clock_s + step_s) - max(run.start_s, self.clock_s)
            load_kwh += self.appliances[run.name].kw * max(0.0, overlap_s) / HOUR_S
        if self.is_car_charging:
            load_kwh += self.car_kw * step_s / HOUR_S
            self.car_percent = min(100.0, self.car_percent + self.car_per_hour * step_s / HOUR_S)
        plant = self.plant
        plant.tariff_ct, plant.mode = (self.price_ct(self.clock_s),) * 24, self._battery_mode()
        plant.advance(step_s, self.clock_s, self._irradiance_w_m2(self.clock_s), self.outside_c, load_kwh)
        self.clock_s += step_s

    def _settle(self) -> None:
        """What began in an hour that is over is no plan any more; it runs to its end."""
        begun = [run for run in self.runs() if run.start_s < self.hour_s]
        self.running = [run for run in begun if run.end_s > self.clock_s]
        self.planned = {name: start_s for name, start_s in self.planned.items() if start_s >= self.hour_s}
        self.car_hours_s = frozenset(hour_s for hour_s in self.car_hours_s if hour_s >= self.hour_s)
        if self.battery_hours_s is not None and self.battery_hours_s[1] < self.hour_s:
            self.battery_hours_s = None

    def runs(self) -> list[Run]:
        """Everything that runs or will."""
        planned = (
            Run(name, start_s, start_s + HOUR_S * self.appliances[name].hours) for name, start_s in self.planned.items()
        )
        return [*self.running, *planned]

    @property
    def use_kw(self) -> float:
        """What is drawn now."""
        active = (run for run in self.runs() if run.start_s <= self.clock_s < run.end_s)
        return self.house_kw + sum(self.appliances[run.name].kw for run in active) + self.car_kw * self.is_car_charging

    @property
    def is_car_charging(self) -> bool:
        """Whether the car takes energy in this hour."""
        return self.hour_s in self.car_hours_s and self.car_percent < 100

    def _battery_mode(self) -> Any:
        if self.battery_hours_s is None:
            return "hold"
        fill_s, use_s = self.battery_hours_s
        return {fill_s: "charge", use_s: "auto"}.get(self.hour_s, "hold")


def _hour(clock_s: float) -> int:
    return int(clock_s // HOUR_S) % 24


def _forecast_kwh(kwh: float) -> int:
    """Whole kWh; less than any appliance may need is left out, as on the boards of tasks."""
    return round(kwh) if round(kwh) >= LEAST_SUN_KWH else 0
