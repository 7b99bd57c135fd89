"""Functions to write as one expression: what they do in words, tests that are shown, tests that are not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from openmimo.environments.base import Split
from openmimo.environments.phrasing import Families, split_families

__all__ = ["LEVELS", "Exercise", "function_source", "sample_exercise"]

NUM_SHOWN = 2
NUM_HIDDEN = 6
TEXTS = ("sun", "car", "key", "red", "home", "lamp", "door", "blue", "cat", "tea", "fan", "hot", "bed", "day", "ice")

_ONE_STEP = {
    "number: x + {a}": "x plus {a}\n{a} more than x\nthe sum of x and {a}\nx and {a} more\nwhat x plus {a} is\n\n"
    "{a} plus x\nthe sum of {a} and x\nthe number x plus {a}\nwhat is {a} more than x\n"
    "the number that is {a} more than x\nx with {a} more",
    "number: x - {a}": "x minus {a}\n{a} less than x\nx and {a} less\nwhat x minus {a} is\n\n"
    "the number x minus {a}\nwhat is {a} less than x\nthe number that is {a} less than x\nx with {a} less\n"
    "what is left of x minus {a}",
    "number: x * {a}": "x times {a}\n{a} times x\nthe product of x and {a}\nwhat {a} times x is\n\n"
    "x multiplied by {a}\n{a} multiplied by x\nthe number x multiplied by {a}\nthe product of {a} and x\n"
    "what x times {a} is\nthe number x times {a}",
    "number: x % {a}": "the rest of x divided by {a}\nx modulo {a}\nwhat is left of x modulo {a}\n"
    "the rest of x by {a}\n\n"
    "the rest of x modulo {a}\nthe number x modulo {a}\nwhat is left of x divided by {a}\nwhat x modulo {a} is\n"
    "x divided by {a}, the rest of it",
    "list: sum(x)": "the sum of x\nthe sum of the list x\nthe sum of the numbers of x\nwhat the list x sums to\n"
    "what x sums to\n\n"
    "the sum of all numbers of x\nthe sum of all the numbers in x\nwhat all numbers of x sum to\n"
    "what the numbers of the list x sum to\nall numbers of the list x in one sum\nthe numbers of x in one sum",
    "list: max(x)": "the largest number of x\nthe maximum of x\nthe maximum of the list x\n"
    "the largest of the list x\n\n"
    "the number that is largest in x\nthe largest of all numbers of x\nthe largest number in the list x\n"
    "the maximum of the numbers of x\nwhat is largest in x",
    "list: min(x)": "the smallest number of x\nthe minimum of x\nthe minimum of the list x\n"
    "the smallest of the list x\n\n"
    "the number that is smallest in x\nthe smallest of all numbers of x\nthe smallest number in the list x\n"
    "the minimum of the numbers of x\nwhat is smallest in x",
    "list: len(x)": "the length of x\nthe length of the list x\nhow many numbers x has\nhow many the list x has\n\n"
    "how many numbers the list x has\nhow many numbers are in x\nhow many numbers are in the list x\n"
    "the length that x has\nhow long the list x is\nhow long x is",
    "list: x[0]": "the first number of x\nthe first of the list x\nwhat x has first\nthe number that is first in x\n\n"
    "the first number in the list x\nthe first of the numbers of x\nwhat the list x has first\nwhat is first in x\n"
    "the number x has first",
    "list: x[-1]": "the last number of x\nthe last of the list x\nwhat x has last\nthe number that is last in x\n\n"
    "the last number in the list x\nthe last of the numbers of x\nwhat the list x has last\nwhat is last in x\n"
    "the number x has last",
    "list: sorted(x)": "the numbers of x sorted\nthe list x sorted\nx in order\nthe numbers of the list x in order\n\n"
    "x sorted\nall numbers of x in order\nthe list x in order\nx from smallest to largest\n"
    "the numbers of x from smallest to largest\nthe sorted numbers of the list x",
    "list: x[::-1]": "the list x reversed\nx reversed\nthe numbers of x reversed\nthe list x from last to first\n\n"
    "x from last to first\nthe numbers of x from last to first\nthe numbers of the list x reversed\n"
    "all numbers of x from last to first\nthe reversed list x",
    "text: x.upper()": "the word x in capitals\nx in capitals\nthe letters of the word x in capitals\n\n"
    "the letters of x in capitals\nall letters of x in capitals\nx with all letters in capitals\n"
    "the word x with all its letters in capitals\nthe word x, but in capitals\nx, but with its letters in capitals",
    "text: x[0]": "the first letter of x\nthe first letter of the word x\nthe letter that is first in the word x\n\n"
    "the letter that is first in x\nthe letter x has first\nwhat letter the word x has first\n"
    "the first of the letters of x\nthe first letter in the word x",
    "text: len(x)": "the length of the word x\nhow many letters x has\nhow many letters the word x has\n\n"
    "how many letters are in x\nhow many letters are in the word x\nthe length of the word x in letters\n"
    "how long the word x is\nthe length that the word x has",
}
_TWO_STEPS = {
    "number: x * {a} + {b}": "x times {a} plus {b}\n{b} more than {a} times x\nthe sum of {a} times x and {b}\n\n"
    "{a} times x plus {b}\n{b} more than x times {a}\nx times {a} and then {b} more\n"
    "the product of x and {a}, plus {b}\n{b} more than the product of {a} and x",
    "number: (x + {a}) * {b}": "x plus {a}, all times {b}\n{b} times the sum of x and {a}\n"
    "x and {a} more, times {b}\n\n"
    "the sum of x and {a}, times {b}\nthe sum of {a} and x, all times {b}\n{a} more than x, all times {b}\n"
    "x and {a} more, all times {b}\nthe product of {b} and the sum of x and {a}",
    "number: max(x, {a})": "x, but at least {a}\nthe larger of x and {a}\nthe maximum of x and {a}\n\n"
    "the larger of {a} and x\nthe largest of x and {a}\nthe maximum of {a} and x\nat least {a}, or x if x is more\n"
    "x if x is larger than {a}, or else {a}",
    "number: min(x, {a})": "x, but at most {a}\nthe smaller of x and {a}\nthe minimum of x and {a}\n\n"
    "the smaller of {a} and x\nthe smallest of x and {a}\nthe minimum of {a} and x\n"
    "at most {a}, or x if x is less\nx if x is smaller than {a}, or else {a}",
    "number: x > {a}": "whether x is more than {a}\nTrue if x is more than {a}\nwhether x is larger than {a}\n\n"
    "True if x is larger than {a}\nTrue if {a} is less than x\nwhether {a} is less than x\n"
    "whether {a} is smaller than x\nTrue if x is more than {a}, or else False\n"
    "whether the number x is more than {a}",
    "number: x % 2 == 0": "whether x is even\nTrue if x is even\nwhether x is an even number\n\n"
    "True if x is an even number\nTrue if the number x is even\nwhether the number x is even\n"
    "True if x is even, or else False\nTrue for an even x, False if not\nwhether x is even or not",
    "list: sum(x) + {a}": "the sum of x plus {a}\n{a} more than the sum of x\nthe sum of the list x plus {a}\n\n"
    "{a} plus the sum of x\nthe sum of x and then {a} more\nthe sum of the list x and {a} more\n"
    "{a} more than the sum of the list x\nthe sum of all numbers of x plus {a}",
    "list: max(x) - min(x)": "the largest minus the smallest number of x\nthe maximum of x minus the minimum of x\n"
    "the maximum minus the smallest number of x\n\n"
    "the largest number of x minus the smallest\nthe maximum of the list x minus the minimum\n"
    "the largest of the list x minus the smallest\nthe maximum of all numbers of x minus the minimum\n"
    "the largest number of the list x minus the smallest number",
    "list: x[0] + x[-1]": "the first plus the last number of x\nthe sum of the first and the last number of x\n"
    "the first number of x plus the last\n\n"
    "the last plus the first number of x\nthe sum of the last and the first number of x\n"
    "the sum of the first number of x and the last\nthe first number of the list x plus the last\n"
    "the first of the list x plus the last of the list x",
    "list: len(x) * {a}": "the length of x times {a}\n{a} times the length of x\n{a} times the length of the list x\n\n"
    "the length of the list x times {a}\nhow many numbers x has, times {a}\n"
    "how many numbers the list x has, all times {a}\n{a} times how many numbers x has\n"
    "the product of {a} and the length of x",
    "text: x + x": "the word x two times\nx and x again\nthe word x and then x again\nthe letters of x two times\n\n"
    "x two times\nx and then x again\nthe word x and the word x again\ntwo times the word x\n"
    "all letters of x and then all of x again",
    "text: x[0] + x[-1]": "the first and the last letter of x\nthe first and then the last letter of the word x\n"
    "the first letter of the word x and then the last letter\n\n"
    "the first letter of x and then the last\nthe first and last letter of the word x\n"
    "the first letter of x and then the last letter of x\nthe first and then the last of the letters of x\n"
    "the first letter of the word x and its last letter\nthe first letter of x and its last",
}
_TESTS_ONLY = dict.fromkeys(("number: x + {a}", "number: x - {a}", "number: x * {a}", "number: x * {a} + {b}"), "")
LEVELS: dict[str, Families] = {
    "1": split_families(_ONE_STEP),
    "2": split_families(_TWO_STEPS),
    "3": {form: {"train": ("",), "eval": ("",)} for form in _TESTS_ONLY},
}
"""Level to form ("argument: expression") to its descriptions by split; the last level has none."""


class Exercise(NamedTuple):
    """A function to write.

    Attributes:
        expression: one that is right, in x.
        words: what it does, or "".
        shown: argument and value of the tests that the model sees.
        hidden: the same of those that it does not see.
        reasoning: how one gets to the expression, or sees that it is right.
    """

    expression: str
    words: str
    shown: tuple[tuple[Any, Any], ...]
    hidden: tuple[tuple[Any, Any], ...]
    reasoning: str

    @property
    def tests(self) -> str:
        """The shown tests as Python writes them, a line each."""
        return "\n".join(f"f({literal(argument)}) == {literal(value)}" for argument, value in self.shown)


def literal(value: Any) -> str:
    """A plain value in Python's spelling, text in double quotes."""
    return json.dumps(value) if isinstance(value, str) else repr(value)


_ARGUMENTS: dict[str, Callable[[random.Random], Any]] = {
    "number": lambda rng: rng.randint(2, 20),
    "list": lambda rng: [rng.randint(1, 20) for _ in range(rng.randint(2, 4))],
    "text": lambda rng: rng.choice(TEXTS),
}


def sample_exercise(rng: random.Random, level: str, phrasings: Split) -> Exercise:
    """Draw a function to write.

    Args:
        rng: source of randomness.
        level: a key of LEVELS.
        phrasings: split of the descriptions.
    Returns:
        the exercise.
    """
    form = rng.choice([form for form, words in LEVELS[level].items() if words[phrasings]])
    sort, _, pattern = form.partition(": ")
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    expression = pattern.format(a=a, b=b)
    words = rng.choice(LEVELS[level][form][phrasings]).format(a=a, b=b)
    # Two values that differ, so that the shown tests tell more than a constant; a line is seen best at 0 and 1.
    is_line = level == "3" and pattern.endswith("{b}")
    arguments = [0, 1] if is_line else [_ARGUMENTS[sort](rng) for _ in range(NUM_SHOWN)]
    while not is_line and arguments[0] == arguments[1]:
        arguments[1] = _ARGUMENTS[sort](rng)
    shown = tuple((argument, _value(expression, argument)) for argument in arguments)
    hidden = [_ARGUMENTS[sort](rng) for _ in range(NUM_HIDDEN)]
    reasoning = _found(pattern, shown) if level == "3" else _checked(expression, shown[0])
    tests = tuple((argument, _value(expression, argument)) for argument in hidden)
    return Exercise(expression, words, shown, tests, reasoning)


def _value(expression: str, x: Any) -> Any:
    """Value of one of the expressions above; nothing that anybody else wrote comes here."""
    return eval(expression, {"x": x})


def _checked(expression: str, test: tuple[Any, Any]) -> str:
    argument, value = test
    return f"{expression}\nx={literal(argument)} {literal(value)}"


def _found(pattern: str, shown: tuple[tuple[Any, Any], ...]) -> str:
    """What the values have in common: the same difference, the same quotient, or start and step of a line."""
    if pattern == "x + {a}":
        return "\n".join(f"{value}-{argument}={value - argument}" for argument, value in shown)
    if pattern == "x - {a}":
        return "\n".join(f"{argument}-{value}={argument - value}" for argument, value in shown)
    if pattern == "x * {a}":
        return "\n".join(f"{value}/{argument}={value // argument}" for argument, value in shown)
    (_, start), (_, second) = shown
    return f"{second}-{start}={second - start}"


def function_source(reply: str) -> str:
    """The program that a reply stands for.

    Args:
        reply: an expression in x, the body of f(x), or a whole definition of f.
    Returns:
        Python that defines f if the reply is what was asked for.
    """
    text = reply.strip().removeprefix("```python").strip("`").strip()
    if "def f(" in text:
        return text
    is_body = "\n" in text or text.startswith("return ")
    body = text if is_body else f"return ({text}\n)"
    return "def f(x):\n" + "\n".join(f"    {line}" for line in body.splitlines())
