"""Draw boards: prices and sun of the next hours, appliances, car and battery differ, so that a model has to read."""

from __future__ import annotations

import math
import random

from openmimo.environments.base import Split
from openmimo.environments.energy.board import Board, Chargeable, Runnable
from openmimo.environments.phrasing import split_of

__all__ = ["APPLIANCES", "LEAST_SUN_KWH", "price_ct", "sample_board"]

APPLIANCES = (
    "dishwasher", "washing machine", "dryer", "oven", "water heater", "pool pump", "bread maker", "sauna",
    "vacuum robot", "e-bike charger", "freezer boost", "floor heating", "towel dryer", "sprinkler", "ice maker",
)  # fmt: skip
HOURS = (6, 8)
MOST_KW = LEAST_SUN_KWH = 3
FIRST_SUNNY_HOUR, LAST_SUNNY_HOUR = 7, 12


def sample_board(rng: random.Random, split: Split) -> Board:
    """Draw a board that belongs to a split.

    Args:
        rng: source of randomness.
        split: "eval" is a tenth of all boards, by a hash of what the model reads.
    Returns:
        The board. Power is no cheaper now than on average, since there is nothing to plan where now is best.
    """
    while True:
        board = _board(rng)
        is_dear = board.prices[0] * len(board.prices) >= sum(board.prices)
        if is_dear and split_of(board.system_content()) == split:
            return board


def _board(rng: random.Random) -> Board:
    is_sunny = rng.random() < 0.3
    first = rng.randint(FIRST_SUNNY_HOUR, LAST_SUNNY_HOUR) if is_sunny else rng.randint(0, 23)
    hours = [(first + index) % 24 for index in range(rng.randint(*HOURS))]
    board = Board(first, _prices(rng, hours), _sun(rng, hours) if is_sunny else (0,) * len(hours), rng.randint(4, 8))
    for name in rng.sample(APPLIANCES, rng.randint(2, 4)):
        board.appliances[name] = Runnable(rng.choice((1, 1, 2, 2, 2, 3)), rng.randint(1, MOST_KW))
    if rng.random() < 0.7:
        board.car = Chargeable(10 * rng.randint(1, 7), 10, MOST_KW)
    if not is_sunny and rng.random() < 0.5:
        board.battery_kwh = board.house_kw = rng.randint(1, 3)
        board.reserve_percent = 10 * rng.randint(0, 4)
    elif rng.random() < 0.5:
        board.battery_percent, board.reserve_percent = rng.randint(0, 100), 10 * rng.randint(0, 4)
    _plan_something(rng, board)
    return board


def _prices(rng: random.Random, hours: list[int]) -> tuple[int, ...]:
    """Dear mornings and evenings, cheap nights, and a good deal of chance."""
    level, swing = rng.randint(18, 30), rng.randint(3, 10)
    return tuple(price_ct(rng, level, swing, hour) for hour in hours)


def price_ct(rng: random.Random, level: int, swing: int, hour: int) -> int:
    """Draw the price of a kWh in an hour of the day.

    Args:
        rng: source of randomness.
        level: what it is on average.
        swing: how much dearer mornings and evenings are.
        hour: 0 to 23.
    Returns:
        ct, 9 to 59.
    """
    shape = math.cos(2 * math.pi * (hour - 19) / 24) + 0.6 * math.cos(4 * math.pi * (hour - 8) / 24)
    return max(9, min(59, round(level + swing * shape + rng.gauss(0, 4))))


def _sun(rng: random.Random, hours: list[int]) -> tuple[int, ...]:
    """A forecast in whole kWh; less than any appliance may need is left out."""
    peak = rng.uniform(3, 8)
    made = [round(peak * max(0.0, math.cos(math.pi * (hour - 12.5) / 11)) * rng.uniform(0.5, 1.0)) for hour in hours]
    return tuple(kwh if kwh >= LEAST_SUN_KWH else 0 for kwh in made)


def _plan_something(rng: random.Random, board: Board) -> None:
    """Now and then an appliance is planned already; one at least is not."""
    for name in list(board.appliances)[1:]:
        if rng.random() < 0.35:
            latest = len(board.hours) - board.appliances[name].hours
            board.starts[name] = board.hours[rng.randint(0, latest)]
