"""How an electric car uses and takes energy: road load, heat pump, cabin, charger taper. Pure functions, SI units."""

from __future__ import annotations

import math

__all__ = [
    "TAPER_SHARE",
    "battery_limit_kw",
    "cabin_step_c",
    "climate_w",
    "heat_pump_cop",
    "kwh_per_km",
    "open_window_w_k",
]

MASS_KG = 1900.0
DRAG_AREA_M2 = 0.62
ROLLING = 0.010
DRIVE_EFFICIENCY = 0.85
AUXILIARY_KW = 0.4
TAPER_SHARE = 0.2
CABIN_J_K = 2.0e5
CABIN_LOSS_W_K = 40.0
CABIN_SUN_M2 = 0.8
WINDOW_LOSS_W_K = 60.0
CLIMATE_MAX_W = 4000.0
CLIMATE_GAIN_W_K = 3000.0


def kwh_per_km(speed_kmh: float, outside_c: float) -> float:
    """Energy that a steady speed on a level road takes from the battery, without climate.

    Args:
        speed_kmh: steady speed, above 0.
        outside_c: outside temperature; cold air is denser and cold tyres roll worse.
    Returns:
        kWh per km.
    Source: rolling resistance m g c_r (1 % more for each kelvin below 20 °C), drag rho/2 c_d A v^2 with the density
        of an ideal gas at 101,325 Pa.
    """
    speed_m_s = speed_kmh / 3.6
    density = 101325.0 / (287.05 * (273.15 + outside_c))
    rolling_n = MASS_KG * 9.81 * ROLLING * (1 + 0.01 * max(0.0, 20.0 - outside_c))
    drag_n = 0.5 * density * DRAG_AREA_M2 * speed_m_s**2
    return (rolling_n + drag_n) / DRIVE_EFFICIENCY / 3600.0 + AUXILIARY_KW / speed_kmh


def heat_pump_cop(cabin_c: float, outside_c: float) -> float:
    """Heat moved per unit of electricity.

    Args:
        cabin_c: cabin temperature.
        outside_c: outside temperature.
    Returns:
        40 % of the Carnot figure over 15 K of exchanger losses, 1.5 to 5.
    """
    lift_k = abs(cabin_c - outside_c) + 15.0
    return min(5.0, max(1.5, 0.4 * (273.15 + max(cabin_c, outside_c)) / lift_k))


def battery_limit_kw(share: float, max_kw: float) -> float:
    """What a battery accepts: full power, then falling in a straight line over the last fifth.

    Args:
        share: how full it is, 0 to 1.
        max_kw: the most it accepts.
    Returns:
        kW; power that falls with the missing charge makes the last fifth an exponential approach.
    """
    return max_kw * max(0.0, min(1.0, (1.0 - share) / TAPER_SHARE))


def cabin_step_c(
    cabin_c: float, outside_c: float, heat_w: float, sun_w_m2: float, loss_w_k: float, step_s: float
) -> float:
    """Cabin temperature after a step, exactly: one resistor-capacitor node under constant inputs.

    Args:
        cabin_c: temperature at the start.
        outside_c: outside temperature.
        heat_w: what the heat pump brings in; below 0 it cools.
        sun_w_m2: sun on the glass.
        loss_w_k: heat lost per kelvin.
        step_s: how long.
    Returns:
        The temperature at the end.
    """
    rest_c = outside_c + (heat_w + CABIN_SUN_M2 * sun_w_m2) / loss_w_k
    return rest_c + (cabin_c - rest_c) * math.exp(-loss_w_k * step_s / CABIN_J_K)


def climate_w(set_point_c: float, cabin_c: float) -> float:
    """What the climate control brings into the cabin.

    Args:
        set_point_c: wanted temperature.
        cabin_c: temperature now.
    Returns:
        Heat in W in proportion to the difference, at most 4 kW; below 0 it cools.
    """
    return max(-CLIMATE_MAX_W, min(CLIMATE_MAX_W, CLIMATE_GAIN_W_K * (set_point_c - cabin_c)))


def open_window_w_k(percents_open: list[int]) -> float:
    """Heat lost per kelvin with the windows as they are.

    Args:
        percents_open: one number per window, 0 to 100.
    Returns:
        W/K of the closed cabin and of every open window.
    """
    return CABIN_LOSS_W_K + WINDOW_LOSS_W_K * sum(percents_open) / 100
