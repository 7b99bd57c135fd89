"""Sums worked out on paper: every line is a fact about single digits, so that a small model can take each step.

Numbers are spelt digit by digit with spaces, because a tokenizer may hold two digits in one token; the columns follow
from the right, each as one fact; the digits of the result come last.
"""

from __future__ import annotations

import operator as operators
import re

__all__ = ["calculate", "work_out"]

OPERATIONS = {"+": operators.add, "-": operators.sub, "*": operators.mul, "/": operators.floordiv}
_EXPRESSION = re.compile(r"(\d+)([-+*/])(\d+)")


def calculate(expression: str) -> int:
    """Value of one operation on two whole numbers.

    Args:
        expression: such as "47*6"; a division has no rest.
    Returns:
        the result.
    """
    left, operator, right = _parts(expression)
    return OPERATIONS[operator](left, right)


def work_out(expression: str) -> list[str]:
    """Lines of working for one operation.

    A sum keeps the order of its numbers, and so does a product, but for the longer number, which comes first.

    Args:
        expression: as `calculate`; a difference is not negative, a quotient is a fact of the times tables.
    Returns:
        the lines; all but those of a quotient end with the result's digits.
    """
    left, operator, right = _parts(expression)
    if operator == "/":
        return [f"{left}/{right}={left // right}"]
    if operator == "*":
        return _times(*sorted((left, right), key=lambda number: len(str(number)), reverse=True))
    width = max(len(str(left)), len(str(right)))
    a, b = f"{left:0{width}}", f"{right:0{width}}"
    return [f"{' '.join(a)} {operator} {' '.join(b)}", *_columns(a, b, operator), " ".join(str(calculate(expression)))]


def _parts(expression: str) -> tuple[int, str, int]:
    match = _EXPRESSION.fullmatch(expression)
    assert match is not None, expression
    return int(match[1]), match[2], int(match[3])


def _columns(a: str, b: str, operator: str) -> list[str]:
    """Columns from the right; what is carried or borrowed is one more term of the next column."""
    lines, carry = [], 0
    for x, y in zip(map(int, reversed(a)), map(int, reversed(b)), strict=True):
        term = f"{operator}1" if carry else ""
        if operator == "+":
            total = x + y + carry
            lines.append(f"{x}+{y}{term}={total}")
            carry = total // 10
        else:
            top = x if x - y - carry >= 0 else x + 10
            lines.append(f"{top}-{y}{term}={top - y - carry}")
            carry = int(top > x)
    return lines


def _times(left: int, right: int) -> list[str]:
    head = f"{' '.join(str(left))} * {' '.join(str(right))}"
    digits = [int(digit) for digit in reversed(str(right))]
    rows = [_times_digit(left, digit) for digit in digits]
    if len(rows) == 1:
        return [head, *rows[0], " ".join(str(left * right))]
    assert len(rows) == 2, "products are of at most two digits by two"
    total = work_out(f"{left * digits[0]}+{left * digits[1] * 10}")
    return [head, *rows[0], *rows[1], *total]


def _times_digit(left: int, digit: int) -> list[str]:
    lines, carry = [], 0
    for x in map(int, reversed(str(left))):
        product = x * digit
        lines.append(f"{x}*{digit}={product}" + (f"+{carry}={product + carry}" if carry else ""))
        carry = (product + carry) // 10
    return lines
