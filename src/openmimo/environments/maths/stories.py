"""The words of the maths tasks: bare sums, and stories from a home whose steps are given beside them."""

from __future__ import annotations

from typing import NamedTuple

from openmimo.environments.phrasing import split_families

__all__ = ["BARE", "NAMES", "STORIES", "THINGS", "WORDS", "Story"]

NAMES = ("Mia", "Tom", "Ada", "Leo", "Nora", "Sam", "Eva", "Ben", "Ida", "Max", "Lena", "Paul", "Zoe", "Finn")
THINGS = ("apples", "books", "cups", "keys", "lamps", "candles", "boxes", "plates", "batteries", "screws", "plants")


class Story(NamedTuple):
    """A sort of word problem.

    Attributes:
        kind: "word-" and the number of steps.
        steps: operations in order; letters are numbers of the story, "_" is the step before.
        ranges: smallest and largest value of each letter.
    """

    kind: str
    steps: tuple[str, ...]
    ranges: dict[str, tuple[int, int]]


STORIES = {
    "join": Story("word-1", ("a+b",), {"a": (10, 99), "b": (10, 99)}),
    "leave": Story("word-1", ("a-b",), {"a": (20, 99), "b": (3, 90)}),
    "minutes": Story("word-1", ("a+b",), {"a": (15, 180), "b": (15, 180)}),
    "power": Story("word-1", ("a*b",), {"a": (11, 40), "b": (2, 9)}),
    "price": Story("word-1", ("a*b",), {"a": (11, 60), "b": (2, 9)}),
    "battery": Story("word-1", ("a-b",), {"a": (30, 99), "b": (5, 80)}),
    "warmer": Story("word-1", ("a-b",), {"a": (15, 30), "b": (1, 14)}),
    "in_and_out": Story("word-2", ("a+b", "_-c"), {"a": (10, 99), "b": (10, 60), "c": (3, 90)}),
    "shelves": Story("word-2", ("a*b", "_+c"), {"a": (11, 40), "b": (2, 9), "c": (3, 60)}),
    "sun": Story("word-2", ("a-b", "_-c"), {"a": (40, 99), "b": (5, 40), "c": (5, 40)}),
    "bill": Story("word-2", ("a+b", "_*c"), {"a": (1, 8), "b": (1, 8), "c": (11, 45)}),
    "charge": Story("word-2", ("a-b", "_/c"), {"a": (20, 99), "b": (5, 80), "c": (3, 9)}),
    "saving": Story("word-3", ("a-b", "_*c", "_-d"), {"a": (20, 60), "b": (5, 50), "c": (3, 9), "d": (5, 60)}),
    "week": Story("word-3", ("a+b", "_*c", "_+d"), {"a": (5, 40), "b": (5, 40), "c": (3, 9), "d": (10, 99)}),
}

BARE = {
    "+": """
[what is|what's] {a} + {b}?
{a} + {b}
{a} + {b} =
[calculate|work out] {a} + {b}
how much is {a} plus {b}?
add {a} and {b}
add {b} to {a}
what do {a} and {b} make together?
what is the sum of {a} and {b}?
{a} plus {b}
tell me {a} plus {b}
""",
    "-": """
[what is|what's] {a} - {b}?
{a} - {b}
{a} - {b} =
[calculate|work out] {a} - {b}
how much is {a} minus {b}?
take {b} from {a}
subtract {b} from {a}
what is the difference of {a} and {b}?
{a} minus {b}
tell me {a} minus {b}
what is left when you take {b} from {a}?
""",
    "*": """
[what is|what's] {a} * {b}?
{a} * {b}
{a} x {b} =
[calculate|work out] {a} * {b}
how much is {a} times {b}?
multiply {a} by {b}
what is the product of {a} and {b}?
{a} times {b}
tell me {a} times {b}
what do you get when you multiply {a} by {b}?
""",
    "equation": """
[solve|work out] {e}
{e}
{e}. what is x?
find x: {e}
if {e}, [what is|what's] x?
find x so that {e}
what is x when {e}?
tell me x if {e}
which number is x in {e}?
""",
}

_STORY_WORDS = {
    "join": """
{n} has {a} {t} and [buys|gets] {b} more. how many {t} does {n} have now?
there are {a} {t} in one box and {b} in another box. how many are there together?
{n} has {a} {t} and {m} has {b}. how many {t} do they have together?
how many {t} are there if {n} brings {a} and {m} brings {b}?
{m} brought {a} {t}. then {n} brought {b} more. how many {t} are there now?
""",
    "leave": """
{n} has {a} {t} and gives {b} of them to {m}. how many {t} are left?
there are {a} {t} in the box. {n} takes {b} of them. how many are left?
{n} had {a} {t} and used {b}. how many does {n} have now?
of {a} {t} {b} are [broken|gone]. how many are left?
how many {t} are left if {n} had {a} and gives {b} to {m}?
{b} of {a} {t} are gone. how many does {n} have now?
""",
    "minutes": """
the washing machine takes {a} minutes and then the dryer takes {b}. how many minutes is that together?
the oven is on for {a} minutes and then for {b} minutes more. how many minutes is that?
the dishwasher runs for {a} minutes and the washing machine for {b}. how many minutes do they take together?
{n} cooks for {a} minutes and then cleans for {b}. how many minutes is that together?
how many minutes do the dryer and the oven take together if one takes {a} minutes and the other {b}?
""",
    "power": """
the heat pump uses {a} kWh a day. how many kWh does it use in {b} days?
the panels make {a} kWh a day. how many kWh do they make in {b} days?
how many kWh does the heater use in {b} days if it uses {a} kWh a day?
every day the house uses {a} kWh. how many kWh is that in {b} days?
how many kWh is {a} kWh a day for {b} days?
""",
    "price": """
one kWh costs {a} cents. what do {b} kWh cost?
{n} buys {b} {t} for {a} cents each. what do they cost together?
a kWh costs {a} cents now. how many cents do {b} kWh cost?
what do {b} {t} cost if one costs {a} cents?
how many cents does {n} pay for {b} kWh if one kWh costs {a} cents?
how many cents does {n} pay for {b} {t} for {a} cents each?
""",
    "battery": """
the battery holds {a} kWh and {b} kWh are used. how many kWh are left?
the car has {a} kWh and the drive takes {b} kWh. how many kWh are left then?
there were {a} kWh in the battery. the house used {b} kWh of them. how many are left?
how many kWh are left in the battery if it holds {a} and the house takes {b}?
of {a} kWh in the car the drive used {b}. how many kWh are left?
""",
    "warmer": """
it is {a} degrees inside and {b} degrees outside. how many degrees warmer is it inside?
how many degrees warmer is the room at {a} degrees than the hall at {b} degrees?
the room has {a} degrees and the hall {b}. how many degrees colder is the hall?
outside it is {b} degrees and inside {a}. how many degrees colder is it outside?
how many degrees warmer is it inside at {a} degrees than outside at {b}?
""",
    "in_and_out": """
{n} has {a} {t}, gets {b} more and gives {c} to {m}. how many {t} are left?
there are {a} {t} in the box. {n} brings {b} more and {m} takes {c}. how many are there now?
{n} had {a} {t} and {m} had {b}. then they used {c}. how many {t} do they have now?
how many {t} are left if {n} has {a}, buys {b} more and then uses {c}?
{m} brought {a} {t} and {n} brought {b} more. {c} of them are gone now. how many are left?
""",
    "shelves": """
there are {b} boxes with {a} {t} each, and {c} more {t}. how many {t} are there together?
{n} has {b} boxes of {a} {t} and {m} brings {c} more. how many {t} are there now?
the heater uses {a} kWh a day for {b} days, and the oven {c} kWh. how many kWh is that together?
{n} buys {b} {t} for {a} cents each and pays {c} cents more for the box. how many cents is that together?
how many {t} are there in {b} boxes with {a} {t} each and {c} more outside?
""",
    "sun": """
the panels make {a} kWh. the house uses {b} kWh and the car takes {c} kWh. how many kWh are left?
the battery holds {a} kWh. the oven takes {b} and the heater {c} kWh. how many kWh are left then?
of {a} kWh in the battery the car takes {b} and the house {c}. how many kWh are left?
how many kWh are left of {a} kWh if the car takes {b} and the oven {c}?
there were {a} {t}. {n} takes {b} and {m} takes {c}. how many {t} are left?
""",
    "bill": """
the washing machine used {a} kWh and the dryer {b} kWh. one kWh costs {c} cents. what does it cost together?
{n} uses {a} kWh and {m} {b} kWh. how many cents do they pay if one kWh costs {c} cents?
one kWh costs {c} cents. what do {a} kWh and then {b} kWh more cost together?
how many cents do the oven with {a} kWh and the heater with {b} kWh cost if one kWh costs {c} cents?
{n} buys {a} {t} and {m} buys {b}. one costs {c} cents. how many cents do they pay together?
""",
    "charge": """
the battery of the car holds {a} kWh and has {b} kWh now. it gets {c} kWh an hour. how many hours does it take?
the car has {b} of {a} kWh. if it gets {c} kWh an hour, how many hours does it take until it is full?
how many hours does the battery take from {b} to {a} kWh if it gets {c} kWh an hour?
a battery of {a} kWh has {b} kWh now. how many hours until it is full if it gets {c} kWh an hour?
{n} has {a} {t}, keeps {b} and puts the others in boxes of {c}. how many boxes is that?
{m} keeps {b} of {a} {t} and puts the others in boxes of {c}. how many boxes is that?
""",
    "saving": """
the panels make {a} kWh a day and the house uses {b}. what is left goes to the car for {c} days. the car then uses {d} \
kWh. how many kWh are left?
every day {n} gets {a} {t} and uses {b} of them. after {c} days {n} gives {d} to {m}. how many {t} are left?
each day the battery gets {a} kWh and the house takes {b}. after {c} days the car takes {d} kWh. how many kWh are left?
if the battery gets {a} kWh and the house takes {b} each day for {c} days, and the car then uses {d} kWh, how many kWh \
are left?
{m} gets {a} {t} a day and gives {b} to {n}. after {c} days {m} used {d}. how many {t} are left?
""",
    "week": """
the oven takes {a} minutes a day and the dryer {b}. that is for {c} days, and then {d} minutes more. how many minutes \
is that together?
every day the heater uses {a} kWh and the oven {b} kWh, for {c} days. the car takes {d} kWh more. how many kWh is that \
together?
{n} brings {a} {t} a day and {m} brings {b}, for {c} days. there were {d} before. how many {t} are there now?
there were {d} {t} before. each day {n} brings {a} and {m} {b}. how many {t} are there after {c} days?
how many kWh is that together if the oven uses {a} kWh and the heater {b} kWh a day for {c} days, and the car {d} kWh \
more?
""",
}

WORDS = split_families({**BARE, **_STORY_WORDS})
"""Patterns by intent ("+", "equation", a story's name) and split."""
