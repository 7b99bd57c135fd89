"""How all reasoning compares two numbers: side by side, with the verdict right behind, so that one skill serves all."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["SIGNS", "compared", "yes_or_no"]

SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def compared(left: int, sign: str, right: int) -> str:
    """Write a comparison down with its verdict.

    Args:
        left: a number.
        sign: a key of SIGNS.
        right: another one.
    Returns:
        Such as "12<9 no".
    """
    return f"{left}{sign}{right} {yes_or_no(SIGNS[sign](left, right))}"


def yes_or_no(is_so: bool) -> str:
    """The word for a verdict."""
    return "yes" if is_so else "no"
