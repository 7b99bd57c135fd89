"""The sky over a home: where the sun stands, and what it sends onto a plane through clear air or clouds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Sky", "Sunlight"]

DAY_S = 86400.0
SOLAR_CONSTANT_W_M2 = 1366.1
LINKE_TURBIDITY = 3.0
ALBEDO = 0.2


class Sunlight(NamedTuple):
    """The sun at one moment.

    Attributes:
        elevation_deg: height over the horizon, negative at night.
        azimuth_deg: direction, clockwise from north.
        beam_w_m2: what comes straight from the sun, on a plane that faces it.
        diffuse_w_m2: what comes from the rest of the sky, on level ground.
    """

    elevation_deg: float
    azimuth_deg: float
    beam_w_m2: float
    diffuse_w_m2: float

    @property
    def level_w_m2(self) -> float:
        """All of it on level ground."""
        return self.beam_w_m2 * max(0.0, math.sin(math.radians(self.elevation_deg))) + self.diffuse_w_m2

    def on_plane(self, tilt_deg: float, azimuth_deg: float) -> float:
        """Irradiance of a plane: beam, sky and what the ground throws back.

        Args:
            tilt_deg: 0 lies flat, 90 stands upright.
            azimuth_deg: where it faces, clockwise from north.
        Returns:
            W/m², never negative.
        Source: isotropic sky (Liu and Jordan), ground albedo 0.2.
        """
        if self.elevation_deg <= 0:
            return 0.0
        height, tilt = math.radians(self.elevation_deg), math.radians(tilt_deg)
        facing = math.sin(height) * math.cos(tilt) + math.cos(height) * math.sin(tilt) * math.cos(
            math.radians(self.azimuth_deg - azimuth_deg)
        )
        sky_share, ground_share = (1 + math.cos(tilt)) / 2, (1 - math.cos(tilt)) / 2
        ground_w_m2 = ALBEDO * self.level_w_m2 * ground_share
        return self.beam_w_m2 * max(0.0, facing) + self.diffuse_w_m2 * sky_share + ground_w_m2


@dataclass(frozen=True, slots=True)
class Sky:
    """Sun and clouds of a place, at sea level. Clocks show its mean solar time.

    Attributes:
        latitude_deg: -90 to 90, north positive.
        day_of_year: 1 to 366, the day that begins at clock 0.
        cloud: covered share of the sky, 0.0 to 1.0.
    """

    latitude_deg: float
    day_of_year: int
    cloud: float = 0.0

    def __post_init__(self) -> None:
        if not -90 <= self.latitude_deg <= 90:
            raise ValueError(f"latitude_deg={self.latitude_deg} must be -90 to 90")
        if not 1 <= self.day_of_year <= 366:
            raise ValueError(f"day_of_year={self.day_of_year} must be 1 to 366")
        if not 0 <= self.cloud <= 1:
            raise ValueError(f"cloud={self.cloud} must be 0 to 1, the covered share of the sky")

    def sunlight(self, clock_s: float) -> Sunlight:
        """The sun at a clock time; seconds beyond a day count into the following days.

        Args:
            clock_s: seconds since the first midnight.
        Returns:
            Where it stands and what arrives.
        Source: what clouds let through in all, Kasten and Czeplak (1980).
        """
        year = 2 * math.pi * (self.day_of_year - 1 + clock_s / DAY_S) / 365
        elevation_deg, azimuth_deg = self._position(clock_s, year)
        if elevation_deg <= 0:
            return Sunlight(elevation_deg, azimuth_deg, 0.0, 0.0)
        beam_w_m2, level_w_m2 = _clear_sky(elevation_deg, _distance_factor(year))
        shade = 1 - 0.75 * self.cloud**3.4
        # Under clouds less of what arrives is beam: its share falls with 1 - cloud².
        clouded_beam_w_m2 = beam_w_m2 * shade * (1 - self.cloud**2)
        diffuse_w_m2 = level_w_m2 * shade - clouded_beam_w_m2 * math.sin(math.radians(elevation_deg))
        return Sunlight(elevation_deg, azimuth_deg, clouded_beam_w_m2, diffuse_w_m2)

    def irradiance_w_m2(self, clock_s: float, tilt_deg: float, azimuth_deg: float) -> float:
        """What a plane receives.

        Args:
            clock_s: seconds since the first midnight.
            tilt_deg, azimuth_deg: as in `Sunlight.on_plane`.
        Returns:
            W/m².
        Source: clear sky of Ineichen and Perez (2002) at Linke turbidity 3; clouds of Kasten and Czeplak (1980).
        """
        return self.sunlight(clock_s).on_plane(tilt_deg, azimuth_deg)

    def _position(self, clock_s: float, year: float) -> tuple[float, float]:
        """Elevation and azimuth in degrees."""
        hour_angle = 2 * math.pi * (clock_s % DAY_S / DAY_S - 0.5) + _equation_of_time(year)
        latitude, declination = math.radians(self.latitude_deg), _declination(year)
        sine = math.sin(latitude) * math.sin(declination)
        sine += math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
        east = -math.cos(declination) * math.sin(hour_angle)
        north = math.cos(latitude) * math.sin(declination)
        north -= math.sin(latitude) * math.cos(declination) * math.cos(hour_angle)
        return math.degrees(math.asin(max(-1.0, min(1.0, sine)))), math.degrees(math.atan2(east, north)) % 360


def _declination(year: float) -> float:
    """Declination of the sun in radians at the year's angle. Source: Spencer (1971)."""
    return (
        0.006918 - 0.399912 * math.cos(year) + 0.070257 * math.sin(year) - 0.006758 * math.cos(2 * year)
        + 0.000907 * math.sin(2 * year) - 0.002697 * math.cos(3 * year) + 0.00148 * math.sin(3 * year)
    )  # fmt: skip


def _equation_of_time(year: float) -> float:
    """How far the true sun is ahead of the mean one, in radians. Source: Spencer (1971)."""
    return (
        0.0000075 + 0.001868 * math.cos(year) - 0.032077 * math.sin(year) - 0.014615 * math.cos(2 * year)
        - 0.040849 * math.sin(2 * year)
    )  # fmt: skip


def _distance_factor(year: float) -> float:
    """(mean distance / distance)² of the sun. Source: Spencer (1971)."""
    return (
        1.00011 + 0.034221 * math.cos(year) + 0.00128 * math.sin(year) + 0.000719 * math.cos(2 * year)
        + 0.000077 * math.sin(2 * year)
    )  # fmt: skip


def _clear_sky(elevation_deg: float, distance_factor: float) -> tuple[float, float]:
    """Beam and level irradiance without clouds, in W/m², at sea level.

    Source: Ineichen and Perez (2002); air mass of Kasten and Young (1989).
    """
    sine = math.sin(math.radians(elevation_deg))
    air_mass = 1 / (sine + 0.50572 * (elevation_deg + 6.07995) ** -1.6364)
    outside_w_m2 = SOLAR_CONSTANT_W_M2 * distance_factor
    level_w_m2 = 0.868 * outside_w_m2 * sine * math.exp(-0.0387 * air_mass * LINKE_TURBIDITY)
    beam_w_m2 = 0.827 * outside_w_m2 * math.exp(-0.09 * air_mass * (LINKE_TURBIDITY - 1))
    # A low sun sends little; some of that is always diffuse.
    most_w_m2 = level_w_m2 / sine * (1 - (0.1 - 0.2 * math.exp(-LINKE_TURBIDITY)) / 0.982)
    return min(beam_w_m2, most_w_m2), level_w_m2
