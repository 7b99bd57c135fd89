"""The working of a plan in steps that a small model can take: copy prices, add, keep the best so far.

Every line ends with the best up to there, so that each follows from the one before it and the last has the result.
"""

from __future__ import annotations

from collections.abc import Iterable

from openmimo.environments.comparing import SIGNS, compared
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
        Lines such as "19: 34+33=67<65 no | 18 65", or None where sun covers an hour only in part.
    """
    starts = list[tuple[int, str, int]]()
    for start in range(load.by - load.hours + 1):
        prices = _whole_prices(problem, plan, range(start, start + load.hours), load.kw)
        if prices is None:
            return None
        working, total = "", prices[0]
        for price in prices[1:]:
            working += f"{total}+{price}="
            total += price
        starts.append((board.hours[start], working, total))
    return [deadline_line(board, load), *_keep_best(starts)]


def _keep_best(costs: Iterable[tuple[int, str, int]], sign: str = "<") -> list[str]:
    """For each hour, the working of a cost and that cost: a line that compares it with the best so far, and has the
    first best after it with its hour."""
    lines, best, best_hour = list[str](), 0, 0
    for hour, working, cost in costs:
        shown = compared(cost, sign, best) if lines else cost
        if not lines or SIGNS[sign](cost, best):
            best, best_hour = cost, hour
        lines.append(f"{hour}: {working}{shown} | {best_hour} {best}")
    return lines


def _whole_prices(problem: Problem, plan: Plan, hours: range, kw: int) -> list[int] | None:
    free = [problem.sun[hour] - problem.use_kwh(plan)[hour] for hour in hours]
    if any(0 < left < kw for left in free):
        return None
    return [problem.feed_in if left >= kw else problem.prices[hour] for hour, left in zip(hours, free, strict=True)]


def car_lines(board: Board, problem: Problem, plan: Plan, target: int) -> tuple[list[str], list[int]] | None:
    """How many hours the car needs; hour by hour the lowest prices so far with their hours, as many.

    Args:
        board: shows the car.
        problem: has a car.
        plan: what is planned already and takes its sun.
        target: percent to reach.
    Returns:
        Lines, those of the search such as "23: 34<36 yes 34<33 no | 22 33 23 34", which compare a price with those that
        are kept, from the highest on, until one is not higher; and the hours of the day in the order of their prices.
        None where sun covers an hour only in part.
    """
    car, job = board.car, problem.car
    assert car is not None
    assert job is not None
    prices = _whole_prices(problem, plan, range(job.by), job.kw)
    if prices is None:
        return None
    by, last = (board.first_hour + job.by) % 24, (board.first_hour + job.by - 1) % 24
    head = f"{target}-{car.percent}={target - car.percent}, {job.hours} h, by {by}-1={last}"
    lines, lowest = [board.car_row(), head], list[tuple[int, int]]()
    for hour, price in zip(board.hours, prices, strict=False):
        checks, place = list[str](), len(lowest)
        for _, other in reversed(lowest):
            checks.append(compared(price, "<", other))
            if price >= other:
                break
            place -= 1
        lowest = [*lowest[:place], (hour, price), *lowest[place:]][: job.hours]
        kept = " ".join(f"{hour} {price}" for hour, price in lowest)
        lines.append(f"{hour}: {' '.join(checks) or price} | {kept}")
    return lines, [hour for hour, _ in lowest]


def extreme_lines(board: Board, is_lowest: bool) -> list[str]:
    """Every price, and the lowest or highest so far.

    Args:
        board: shows the prices.
        is_lowest: whether the lowest price is asked for, else the highest.
    Returns:
        Lines such as "20: 24<22 no | 19 22".
    """
    rows = zip(board.hours, board.prices, strict=True)
    costs = ((hour, "", price) for hour, price in rows)
    return _keep_best(costs, "<" if is_lowest else ">")


def battery_lines(board: Board) -> list[str]:
    """The gain over the lowest price so far, hour by hour; that price with its hour; the widest gain with its hours.

    Args:
        board: shows the prices.
    Returns:
        Lines such as "20: 24 | 20 24 | 0", "21: 38<24 no 38-24=14>0 yes | 20 24 | 20 21 14" and
        "22: 18<24 yes | 22 18 | 20 21 14".
    """
    lines, low_hour, low, best, best_text = list[str](), board.hours[0], board.prices[0], 0, "0"
    for hour, price in zip(board.hours, board.prices, strict=True):
        text = compared(price, "<", low) if lines else str(price)
        if price < low or not lines:
            low_hour, low = hour, price
        else:
            gain = price - low
            text += f" {price}-{low}={compared(gain, '>', best)}"
            if gain > best:
                best, best_text = gain, f"{low_hour} {hour} {gain}"
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
