"""What a driver's assistant sees and acts on: the car, the phone, the clock and the outside, and how they are shown."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from openmimo.environments.car.car import Car
from openmimo.environments.car.physics import cabin_step_c, climate_w, open_window_w_k
from openmimo.environments.home.people import clock_text

__all__ = ["Cockpit", "Phone"]

STOP_SUFFIX = " charger"
COMFORT_K = 1.0


@dataclass(slots=True)
class Phone:
    """A telephone in the car.

    Attributes:
        contacts: names, and for some what they are to the owner, "" for the others.
        sent: messages so far, (name, text).
        calls: who has been called.
    """

    contacts: dict[str, str] = field(default_factory=dict)
    sent: list[tuple[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def copy(self) -> Phone:
        """An independent phone in the same state."""
        return Phone(dict(self.contacts), list(self.sent), list(self.calls))

    def find(self, name: str) -> str | None:
        """The contact with this name or relation, or None."""
        return next((known for known, relation in self.contacts.items() if name in (known, relation)), None)


@dataclass(slots=True)
class Cockpit:
    """A car with its surroundings. Nothing in it reads the wall clock.

    Attributes:
        car: the car.
        phone: the phone.
        clock_s: seconds since the first midnight.
        outside_c: outside temperature.
        order: order of the rows, as kinds of rows.
        far: destination for which the charging stops on the way are listed, or "".
        leaves_s: clock time at which somebody drives off along the route, or None; only live cars have a driver.
    """

    car: Car
    phone: Phone = field(default_factory=Phone)
    clock_s: float = 0.0
    outside_c: float = 15.0
    order: tuple[str, ...] = (
        "car", "battery", "climate", "cabin", "doors", "trunk", "window", "seat", "switch", "place", "stop", "contact",
    )  # fmt: skip
    far: str = ""
    leaves_s: float | None = None

    def copy(self) -> Cockpit:
        """An independent cockpit in the same state."""
        other = copy.copy(self)
        other.car, other.phone = self.car.copy(), self.phone.copy()
        return other

    def commanded(self) -> dict[str, Any]:
        """Everything that tools can change, by name."""
        return {**self.car.commanded(), "sent": tuple(self.phone.sent), "calls": tuple(self.phone.calls)}

    def advance(self, seconds: float, sun_w_m2: float = 0.0) -> float:
        """Let time pass.

        Args:
            seconds: how long.
            sun_w_m2: sun on the cabin.
        Returns:
            kWh drawn from the charging point.
        """
        wall_kwh = self.car.advance(seconds, self.clock_s, self.outside_c, sun_w_m2)
        self.clock_s += seconds
        return wall_kwh

    # ---- what the model reads

    def state_of(self, name: str) -> str:
        """The state of one thing as its row shows it.

        Args:
            name: "car", "battery", "climate", "cabin", "doors", "trunk", or a window, seat, switch, place or charger.
        Returns:
            The text after the name.
        """
        car = self.car
        if name in car.windows:
            return _position(car.windows[name])
        if name in car.seats:
            return f"level {car.seats[name]}" if car.seats[name] else "off"
        if name in car.switches:
            return "on" if car.switches[name] else "off"
        if name in car.roads.places:
            return self._stop(name) if name.endswith(STOP_SUFFIX) else self._place(name)
        return {
            "car": self._whereabouts,
            "battery": lambda: f"{car.percent}%, range {car.range_km(self.outside_c)} km, limit {car.limit_percent}%",
            "climate": self._climate,
            "cabin": lambda: f"{round(car.cabin_c)} °C",
            "doors": lambda: "locked" if car.doors_locked else "unlocked",
            "trunk": lambda: "open" if car.trunk_open else "closed",
        }[name]()

    def _whereabouts(self) -> str:
        car = self.car
        if car.is_driving:
            return f"driving to {car.route[-1]}"
        charging = "charging" if car.is_charging else "plugged in" if car.is_plugged else "not plugged in"
        return f"parked at {car.place}, {charging}"

    def _climate(self) -> str:
        car = self.car
        if car.climate_on:
            return f"on, set to {car.set_point_c:g} °C"
        start = f", starts {clock_text(car.warm_at_s)}" if car.warm_at_s is not None else ""
        return f"off, set to {car.set_point_c:g} °C, ready in {self.ready_minutes()} min{start}"

    def _place(self, name: str) -> str:
        roads, start = self.car.roads, self.car.place
        km, percent = round(roads.km(start, name)), self.percent_to(name)
        return f"{km} km, {roads.minutes(start, name)} min, {percent}%"

    def _stop(self, name: str) -> str:
        return "{}%, then {}%".format(*self.stop_percents(name))

    def percent_to(self, place: str) -> int:
        """What the drive from where the car is takes.

        Args:
            place: destination.
        Returns:
            Percent of the battery.
        """
        return self.car.trip_percent(self.car.place, place, self.outside_c)

    def stop_percents(self, name: str) -> tuple[int, int]:
        """What the drive to `far` takes by way of a charger: percent up to it, percent after it."""
        first = self.percent_to(name)
        return first, self.car.trip_percent(name, self.far, self.outside_c)

    def ready_minutes(self) -> int:
        """How long the climate control takes from a cabin as cold or warm as the outside, in steps of 5 minutes.

        Returns:
            Least time after which the cabin is within `COMFORT_K` of the set point, 0 where it is anyway, 60 at most.
        """
        cabin_c, set_point_c, loss_w_k = self.outside_c, self.car.set_point_c, open_window_w_k([])
        for minutes in range(60):
            if minutes % 5 == 0 and abs(cabin_c - set_point_c) <= COMFORT_K:
                return minutes
            cabin_c = cabin_step_c(cabin_c, self.outside_c, climate_w(set_point_c, cabin_c), 0.0, loss_w_k, 60.0)
        return 60

    def rows(self) -> Iterator[tuple[str, str]]:
        """The kind of every row and its text, in order."""
        for kind in self.order:
            yield from ((kind, text) for text in self._rows(kind))

    def _rows(self, kind: str) -> Iterator[str]:
        car, places = self.car, self.car.roads.places
        groups = {
            "window": list(car.windows),
            "seat": list(car.seats),
            "switch": list(car.switches),
            "place": [name for name in places if name != car.place and not name.endswith(STOP_SUFFIX)],
            "stop": self.stops(),
        }
        if kind == "contact":
            yield from (f"contact: {self.contact(name)}" for name in self.phone.contacts)
        elif kind not in groups:
            yield self.quote(kind)
        elif kind == "stop":
            yield from (f"stop to {self.far}: {self.quote(name)}" for name in groups[kind])
        else:
            yield from (f"{kind}: {self.quote(name)}" for name in groups[kind])

    def names(self) -> Iterator[tuple[str, str]]:
        """Kind and name of everything that has a name of its own."""
        car = self.car
        for kind, names in (("window", car.windows), ("seat", car.seats), ("switch", car.switches)):
            yield from ((kind, name) for name in names)
        for name in car.roads.places:
            yield ("stop" if name.endswith(STOP_SUFFIX) else "place"), name

    def stops(self) -> list[str]:
        """Chargers on the way to `far`, but for one where the car is."""
        places, place = self.car.roads.places, self.car.place
        is_needed = self.far not in ("", place)
        return [name for name in places if name.endswith(STOP_SUFFIX) and name != place] if is_needed else []

    def quote(self, name: str) -> str:
        """A row from its name on: "driver window, closed", "battery, 62%, range 210 km, limit 80%"."""
        return f"{name}, {self.state_of(name)}"

    def contact(self, name: str) -> str:
        """A contact as it is listed: "sister = anna" or "anna"."""
        relation = self.phone.contacts[name]
        return f"{relation} = {name}" if relation else name

    def system_content(self) -> str:
        """The system message of a chat about this car."""
        rows = "\n".join(f"- {text}" for _, text in self.rows())
        return f"You control a car. It is {clock_text(self.clock_s)}, {round(self.outside_c)} °C outside.\n{rows}"


def _position(percent: int) -> str:
    return f"open {percent}%" if percent else "closed"
