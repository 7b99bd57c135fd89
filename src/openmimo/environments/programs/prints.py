"""Small Python programs by level: one form each, filled with random names and numbers."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["LEVELS", "sample_program"]

NUMBER_NAMES = ("a", "b", "c", "d", "n", "m", "k", "x", "y", "z", "p", "q", "total", "count", "size", "left", "best")
LIST_NAMES = ("xs", "items", "values", "nums", "data", "parts")
LOOP_NAMES = ("i", "j", "v", "e", "t")
WORDS = ("sun", "car", "key", "red", "home", "lamp", "door", "blue", "cat", "tea", "fan", "hot", "bed", "day", "ice")


def _names(rng: random.Random, count: int) -> list[str]:
    return rng.sample(NUMBER_NAMES, count)


def _small(rng: random.Random) -> int:
    return rng.randint(2, 9)


def _list(rng: random.Random, length: int) -> str:
    return f"[{', '.join(str(rng.randint(1, 12)) for _ in range(length))}]"


# ---- straight on


def _steps(rng: random.Random) -> str:
    a, b = _names(rng, 2)
    return f"{a} = {rng.randint(3, 30)}\n{b} = {a} {rng.choice('+-')} {_small(rng)}\nprint({b})"


def _update(rng: random.Random) -> str:
    (a,) = _names(rng, 1)
    second = f"{a} = {a} {rng.choice('+-')} {_small(rng)}"
    return f"{a} = {rng.randint(3, 20)}\n{a} {rng.choice(('+=', '-='))} {_small(rng)}\n{second}\nprint({a})"


def _three(rng: random.Random) -> str:
    a, b, c = _names(rng, 3)
    third = f"{c} = {a} {rng.choice('+-')} {b}"
    shown = rng.choice((c, f"{c}, {a}", f"{b}, {c}"))
    return f"{a} = {rng.randint(3, 40)}\n{b} = {_small(rng)}\n{third}\nprint({shown})"


def _product(rng: random.Random) -> str:
    a, b, c = _names(rng, 3)
    return f"{a} = {_small(rng)}\n{b} = {a} * {_small(rng)}\n{c} = {b} {rng.choice('+-')} {a}\nprint({c})"


# ---- choices, lists and text


def _choice(rng: random.Random) -> str:
    a, b = _names(rng, 2)
    sign = rng.choice((">", "<", ">=", "<="))
    yes, no = rng.randint(1, 20), rng.randint(1, 20)
    head = f"{a} = {rng.randint(1, 20)}\nif {a} {sign} {rng.randint(1, 20)}:\n    {b} = {a} + {yes}"
    return f"{head}\nelse:\n    {b} = {a} - {no}\nprint({b})"


def _word_choice(rng: random.Random) -> str:
    a, rest = _names(rng, 2)
    yes, no = rng.sample(WORDS, 2)
    lines = [f"{a} = {rng.randint(1, 30)}"]
    if rng.random() < 0.5:
        lines += [f"{rest} = {a} % 2", f"if {rest} == {rng.randint(0, 1)}:"]
    else:
        lines += [f"if {a} > {rng.randint(3, 28)}:"]
    return "\n".join([*lines, f'    print("{yes}")', "else:", f'    print("{no}")'])


def _index(rng: random.Random) -> str:
    (a,), xs = _names(rng, 1), rng.choice(LIST_NAMES)
    length = rng.randint(3, 5)
    index = rng.randrange(-1, length)
    return f"{xs} = {_list(rng, length)}\n{a} = {xs}[{index}]\nprint({a} {rng.choice('+-')} {_small(rng)})"


def _measure(rng: random.Random) -> str:
    (a,), xs = _names(rng, 1), rng.choice(LIST_NAMES)
    function = rng.choice(("len", "max", "min"))
    shown = f"{a} {rng.choice('+*')} {_small(rng)}"
    return f"{xs} = {_list(rng, rng.randint(3, 5))}\n{a} = {function}({xs})\nprint({shown})"


def _text(rng: random.Random) -> str:
    a, b = _names(rng, 2)
    first, second = rng.sample(WORDS, 2)
    last = rng.choice((f"{a} + {b}", f"{b} + {a}", f"{a} * {rng.randint(2, 3)}", f"{b}, {a}"))
    return f'{a} = "{first}"\n{b} = "{second}"\nprint({last})'


# ---- loops


def _sum_range(rng: random.Random) -> str:
    (a,), i = _names(rng, 1), rng.choice(LOOP_NAMES)
    stop = rng.randint(3, 5)
    return f"{a} = {rng.randint(0, 9)}\nfor {i} in range({stop}):\n    {a} += {i}\nprint({a})"


def _sum_list(rng: random.Random) -> str:
    (a,), xs, i = _names(rng, 1), rng.choice(LIST_NAMES), rng.choice(LOOP_NAMES)
    numbers = _list(rng, rng.randint(3, 4))
    return f"{xs} = {numbers}\n{a} = {rng.randint(0, 9)}\nfor {i} in {xs}:\n    {a} += {i}\nprint({a})"


def _repeat(rng: random.Random) -> str:
    (a,), i = _names(rng, 1), rng.choice(LOOP_NAMES)
    change = f"{a} {rng.choice('+-')}= {_small(rng)}"
    return f"{a} = {rng.randint(1, 30)}\nfor {i} in range({rng.randint(2, 4)}):\n    {change}\nprint({a})"


def _print_each(rng: random.Random) -> str:
    (a,), i = _names(rng, 1), rng.choice(LOOP_NAMES)
    body = f"    print({i} {rng.choice('+*')} {a})"
    return f"{a} = {_small(rng)}\nfor {i} in range({rng.randint(1, 3)}, {rng.randint(4, 6)}):\n{body}"


def _until(rng: random.Random) -> str:
    (a,) = _names(rng, 1)
    start, step, rounds = rng.randint(1, 9), _small(rng), rng.randint(2, 4)
    limit = start + step * (rounds - 1) + rng.randint(1, step)
    return f"{a} = {start}\nwhile {a} < {limit}:\n    {a} += {step}\nprint({a})"


# ---- choices in loops


def _count_if(rng: random.Random) -> str:
    (a,), xs, i = _names(rng, 1), rng.choice(LIST_NAMES), rng.choice(LOOP_NAMES)
    condition = f"{i} {rng.choice('<>')} {rng.randint(3, 9)}"
    gain = rng.choice(("1", i))
    head = f"{xs} = {_list(rng, 4)}\n{a} = 0\nfor {i} in {xs}:"
    return f"{head}\n    if {condition}:\n        {a} += {gain}\nprint({a})"


def _largest(rng: random.Random) -> str:
    (a,), xs, i = _names(rng, 1), rng.choice(LIST_NAMES), rng.choice(LOOP_NAMES)
    sign, start = rng.choice(((">", 0), ("<", 20)))
    numbers = _list(rng, 4)
    return f"{xs} = {numbers}\n{a} = {start}\nfor {i} in {xs}:\n    if {i} {sign} {a}:\n        {a} = {i}\nprint({a})"


def _collect(rng: random.Random) -> str:
    xs, i = rng.choice(LIST_NAMES), rng.choice(LOOP_NAMES)
    value = rng.choice((i, f"{i} * {_small(rng)}", f"{i} + {_small(rng)}"))
    return f"{xs} = []\nfor {i} in range({rng.randint(3, 4)}):\n    {xs}.append({value})\nprint({xs})"


def _two_loops(rng: random.Random) -> str:
    (a,), (i, j) = _names(rng, 1), rng.sample(LOOP_NAMES, 2)
    gain = rng.choice((i, j, str(_small(rng))))
    head = f"{a} = {rng.randint(0, 9)}\nfor {i} in range({rng.randint(2, 3)}):\n    for {j} in range(2):"
    return f"{head}\n        {a} += {gain}\nprint({a})"


def _swap(rng: random.Random) -> str:
    a, b, c = _names(rng, 3)
    i = rng.choice(LOOP_NAMES)
    head = f"{a} = {rng.randint(0, 3)}\n{b} = {rng.randint(1, 4)}\nfor {i} in range({rng.randint(2, 3)}):"
    return f"{head}\n    {c} = {a} + {b}\n    {a} = {b}\n    {b} = {c}\nprint({b})"


LEVELS: dict[str, tuple[Callable[[random.Random], str], ...]] = {
    "1": (_steps, _update, _three, _product),
    "2": (_choice, _word_choice, _index, _measure, _text),
    "3": (_sum_range, _sum_list, _repeat, _print_each, _until),
    "4": (_count_if, _largest, _collect, _two_loops, _swap),
}


def sample_program(rng: random.Random, level: str) -> str:
    """Write a program of 3 to 7 lines.

    Args:
        rng: source of randomness.
        level: a key of LEVELS.
    Returns:
        Python source without a last line break; it ends by itself.
    """
    return rng.choice(LEVELS[level])(rng)
