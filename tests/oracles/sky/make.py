"""Writes pvlib.json beside itself: sun positions and clear-sky irradiance that pvlib computes.

Run once with pvlib 0.16 installed: python tests/oracles/sky/make.py
"""

import json
from pathlib import Path

import pandas as pd
import pvlib

TURBIDITY = 3.0
PLANES = ((0.0, 180.0), (35.0, 180.0), (90.0, 90.0), (90.0, 270.0))  # tilt, azimuth
PLACES = ((48.1, "2025-06-21"), (48.1, "2025-03-21"), (48.1, "2025-12-21"), (60.0, "2025-05-01"), (-33.9, "2025-01-15"))
HOURS = (6.5, 9.0, 12.0, 14.5, 17.0)


def row(latitude_deg: float, day: str, hour: float) -> dict:
    """One moment: longitude 0, so that universal time is mean solar time there."""
    times = pd.DatetimeIndex([pd.Timestamp(day, tz="UTC") + pd.Timedelta(hours=hour)])
    sun = pvlib.solarposition.get_solarposition(times, latitude_deg, 0.0)
    air_mass = pvlib.atmosphere.get_relative_airmass(sun["apparent_zenith"])
    extra = pvlib.irradiance.get_extra_radiation(times)
    clear = pvlib.clearsky.ineichen(sun["apparent_zenith"], air_mass, TURBIDITY, dni_extra=extra)
    planes = [
        pvlib.irradiance.get_total_irradiance(
            tilt, azimuth, sun["apparent_zenith"], sun["azimuth"], clear["dni"], clear["ghi"], clear["dhi"], albedo=0.2
        )["poa_global"].iloc[0]
        for tilt, azimuth in PLANES
    ]
    return {
        "latitude_deg": latitude_deg,
        "day_of_year": int(times.day_of_year[0]),
        "clock_s": 3600 * hour,
        "elevation_deg": round(float(sun["elevation"].iloc[0]), 3),
        "azimuth_deg": round(float(sun["azimuth"].iloc[0]), 3),
        "planes_w_m2": [round(max(0.0, float(value)), 1) if value == value else 0.0 for value in planes],
    }


if __name__ == "__main__":
    rows = [row(latitude_deg, day, hour) for latitude_deg, day in PLACES for hour in HOURS]
    lines = ",\n".join(json.dumps(one) for one in rows)
    text = f'{{"pvlib": "{pvlib.__version__}", "planes_deg": {json.dumps(PLANES)}, "rows": [\n{lines}\n]}}\n'
    (Path(__file__).parent / "pvlib.json").write_text(text, encoding="utf-8")
