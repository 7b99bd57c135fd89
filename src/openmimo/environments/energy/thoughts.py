"""The working of a plan in steps that a small model can take: copy prices, add, keep the best so far.

Every line ends with the best up to there, so that each follows from the one before it and the last has the result.
"""

from __future__ import annotations

from collections.abc import Iterable

from openmimo.environments.energy.board import Board
from openmimo.environments.energy.problem import Load, Plan, Problem

__all__ = ["battery_lines", "car_lines", "deadline_line", "extreme_lines", "load_lines", "widest_swing"]


def deadline_line(board: Board, load: Load) -> str:
    """The appliance, the latest hour at which it can start and the present one: "dryer, 2 h, 1 kW, by 22-2=20, now 18".

    Args:
        board: shows the appliance.
        load: what is asked for.
    Returns:
        One line.
    """
    by, latest = (board.first_hour + load.by) % 24, (board.first_hour + load.by - load.hours) % 24
    return f"{board.appliance_row(load.name)}, by {by}-{load.hours}={latest}, now {board.first_hour}"


def load_lines(board: Board, problem: Problem, plan: Plan, load: Load) -> list[str] | None:
    """Every start that meets the deadline with its prices, and the cheapest start so far.

    Args:
        board: shows the appliance.
        problem: prices and sun.
        plan: what is planned already and takes its sun.
        load: what is asked for.
    Returns:
        Lines such as "19: 34+33=67 or 65 | 18 65", or None where sun covers an hour only in part.
    """
    starts = list[tuple[int, str, int]]()
    for start in range(load.by - load.hours + 1):
        prices = _whole_prices(problem, plan, range(start, start + load.hours), load.kw)
        if prices is None:
            return None
        text, total = str(prices[0]), prices[0]
        for price in prices[1:]:
            total += price
            text += f"+{price}={total}"
        starts.append((board.hours[start], text, total))
    return [deadline_line(board, load), *_keep_best(starts)]


def _keep_best(costs: Iterable[tuple[int, str, int]], kept: str = "") -> list[str]:
    """For each hour, text and cost a line with the best so far, and with the first best after it and its hour.

    What is compared stands side by side: a small model compares neighbours only. So does what is kept, "lowest " or
    "highest ", where that is not always the lowest.
    """
    lines, best, best_hour = list[str](), 0, 0
    for hour, text, cost in costs:
        shown = f"{text} or {best}" if lines else text
        if not lines or (cost > best if kept == "highest " else cost < best):
            best, best_hour = cost, hour
        lines.append(f"{hour}: {shown} | {kept}{best_hour} {best}")
    return lines


def _whole_prices(problem: Problem, plan: Plan, hours: range, kw: int) -> list[int] | None:
    free = [problem.sun[hour] - problem.use_kwh(plan)[hour] for hour in hours]
    if any(0 < left < kw for left in free):
        return None
    return [problem.feed_in if left >= kw else problem.prices[hour] for hour, left in zip(hours, free, strict=True)]


def car_lines(board: Board, problem: Problem, plan: Plan, target: int) -> tuple[list[str], list[int]] | None:
    """How many hours the car needs; hour by hour the lowest prices so far, as many; and the hours that have them.

    Args:
        board: shows the car.
        problem: has a car.
        plan: what is planned already and takes its sun.
        target: percent to reach.
    Returns:
        Lines, those of the search such as "23: 34 or 36 | 34 35", and the hours of the day in the order of their
        prices; None where sun covers an hour only in part.
    """
    car, job = board.car, problem.car
    assert car is not None
    assert job is not None
    prices = _whole_prices(problem, plan, range(job.by), job.kw)
    if prices is None:
        return None
    by, last = (board.first_hour + job.by) % 24, (board.first_hour + job.by - 1) % 24
    head = f"{target}-{car.percent}={target - car.percent}, {job.hours} h, by {by}-1={last}"
    chosen = sorted(range(job.by), key=lambda hour: prices[hour])[: job.hours]
    lines, lowest = [board.car_row(), head], list[int]()
    for hour, price in zip(board.hours, prices, strict=False):
        shown = f"{price} or {lowest[-1]}" if len(lowest) == job.hours else str(price)
        lowest = sorted([*lowest, price])[: job.hours]
        lines.append(f"{hour}: {shown} | {' '.join(map(str, lowest))}")
    lines += [f"{board.hours[hour]}: {prices[hour]}" for hour in chosen]
    return lines, [board.hours[hour] for hour in chosen]


def extreme_lines(board: Board, is_lowest: bool) -> list[str]:
    """Every price, and the lowest or highest so far.

    Args:
        board: shows the prices.
        is_lowest: whether the lowest price is asked for, else the highest.
    Returns:
        Lines such as "20: 24 or 22 | lowest 19 22".
    """
    rows = zip(board.hours, board.prices, strict=True)
    costs = ((hour, str(price), price) for hour, price in rows)
    return _keep_best(costs, "lowest " if is_lowest else "highest ")


def battery_lines(board: Board) -> list[str]:
    """The gain over the lowest price so far, hour by hour; that price with its hour; the widest gain with its hours.

    Args:
        board: shows the prices.
    Returns:
        Lines such as "20: 24 | 20 24 | 0", "21: 38-24=14 or 0 | 20 24 | 20 21 14" and "22: 18-24 | 22 18 | 20 21 14".
    """
    lines, low_hour, low, best, best_text = list[str](), board.hours[0], board.prices[0], 0, "0"
    for hour, price in zip(board.hours, board.prices, strict=True):
        text = f"{price}-{low}" if lines else str(price)
        if price < low or not lines:
            low_hour, low = hour, price
        else:
            text += f"={price - low} or {best}"
            if price - low > best:
                best, best_text = price - low, f"{low_hour} {hour} {price - low}"
        lines.append(f"{hour}: {text} | {low_hour} {low} | {best_text}")
    return lines


def widest_swing(prices: tuple[int, ...]) -> tuple[int, int] | None:
    """Where `battery_lines` ends: the lowest price before the widest gap, and the price that makes it.

    Args:
        prices: hour by hour.
    Returns:
        The two hours, counted from now, or None where prices never rise.
    """
    low, swing, best = 0, None, 0
    for hour, price in enumerate(prices):
        if price < prices[low]:
            low = hour
        if price - prices[low] > best:
            best, swing = price - prices[low], (low, hour)
    return swing
