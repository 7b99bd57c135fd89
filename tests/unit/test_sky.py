"""Sun and sky: positions and irradiance against pvlib, and how clouds and days change them."""

import json
from pathlib import Path

import pytest

from openmimo.environments.sky import Sky

ORACLE = json.loads((Path(__file__).parents[1] / "oracles" / "sky" / "pvlib.json").read_text(encoding="utf-8"))
ROWS = [pytest.param(row, id=f"{row['latitude_deg']}-{row['day_of_year']}-{row['clock_s']}") for row in ORACLE["rows"]]


@pytest.mark.parametrize("row", ROWS)
def test_the_sun_stands_where_pvlib_says(row):
    sun = Sky(row["latitude_deg"], row["day_of_year"]).sunlight(row["clock_s"])
    assert sun.elevation_deg == pytest.approx(row["elevation_deg"], abs=0.35)
    assert sun.azimuth_deg == pytest.approx(row["azimuth_deg"], abs=0.75)


@pytest.mark.parametrize("row", ROWS)
def test_clear_sky_on_four_planes_is_what_pvlib_computes(row):
    sky = Sky(row["latitude_deg"], row["day_of_year"])
    # A sun under 5° sends 10 W/m² more or less for each tenth of a degree.
    most_off_w_m2 = 8 if row["elevation_deg"] > 5 else 40
    for (tilt, azimuth), expected_w_m2 in zip(ORACLE["planes_deg"], row["planes_w_m2"], strict=True):
        assert sky.irradiance_w_m2(row["clock_s"], tilt, azimuth) == pytest.approx(
            expected_w_m2, rel=0.02, abs=most_off_w_m2
        )


def test_the_oracle_has_days_and_nights():
    assert len(ORACLE["rows"]) == 25
    assert max(max(row["planes_w_m2"]) for row in ORACLE["rows"]) > 900
    assert min(row["elevation_deg"] for row in ORACLE["rows"]) < -5


def test_clouds_take_three_quarters_at_most_and_all_of_the_beam():
    noon_s = 12 * 3600
    clear, half, full = (Sky(48.0, 172, cloud).sunlight(noon_s) for cloud in (0.0, 0.5, 1.0))
    assert full.level_w_m2 == pytest.approx(0.25 * clear.level_w_m2)
    assert half.level_w_m2 == pytest.approx((1 - 0.75 * 0.5**3.4) * clear.level_w_m2)  # 0.929 of it.
    assert full.beam_w_m2 == 0.0
    assert clear.diffuse_w_m2 < half.diffuse_w_m2


def test_nothing_comes_at_night_and_the_next_day_is_a_day_later():
    assert Sky(48.0, 172).irradiance_w_m2(0.0, 35, 180) == 0.0
    assert Sky(48.0, 100).sunlight(36 * 3600) == Sky(48.0, 101).sunlight(12 * 3600)


@pytest.mark.parametrize(
    ("values", "said"), [((91, 1), "latitude_deg=91"), ((0, 0), "day_of_year=0"), ((0, 1, 1.5), "cloud=1.5")]
)
def test_a_sky_that_cannot_be_is_refused(values, said):
    with pytest.raises(ValueError, match=said):
        Sky(*values)
