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

{a} and {b}, what is that together?
please add {a} and {b}
the sum of {a} and {b}
work out the sum of {a} and {b}
what is {b} more than {a}?
{b} more than {a}
how much is {a} and {b}?
i have {a} and {b}, what is that together?
what is {a} when you add {b}?
give me the sum of {a} and {b}
put {a} and {b} together

{a} and {b} together
{b} and {a}, how much is that?
add {a} to {b}
to {a} add {b}
if i add {b} to {a}, what do i get?
what do you get when you add {a} and {b}?
add up {b} and {a}
please add up {a} and {b}
what do {a} and {b} add up to?
can you add {a} and {b}?
start with {a} and add {b}
first {a}, then {b} more. what is that in all?
you have {a} and get {b} more. how much is that?
what number is {a} plus {b}?
what is the total of {b} and {a}?
{a}, {b}: what is the sum?
if you put {b} with {a}, how much is that in total?

{b} + {a}, what is that?
{a} + {b}, please
put {b} to {a}. what is that in total?
if you have {b} and put {a} with it, how much is it?
put {a} with {b}, how much is that in total?
if i put {a} and {b} together, what do i get?
what is that in total, {a} and {b}?
{b} and {a}, what are they together?
how much is {a} with {b} more?
tell me the sum of {b} and {a}
tell me how much {a} and {b} make
when you add {a} to {b}, how much is that?
add {a} and then {b}
i add {b} to {a}. how much is that in total?
what is {a} more than {b}?
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

please subtract {b} from {a}
the difference of {a} and {b}
work out the difference of {a} and {b}
what is {b} less than {a}?
{b} less than {a}
give me {a} minus {b}
what do i get when i take {b} from {a}?
{a} take away {b}
take away {b} from {a}
how much is left of {a} without {b}?
what is {a} without {b}?

from {a} take {b}
from {a} subtract {b}. what is left?
if i take {b} from {a}, what is left?
start with {a} and take away {b}
what do you get when you subtract {b} from {a}?
can you take {b} from {a}?
{b} from {a}, how much is left?
how much more is {a} than {b}?
by how much is {b} less than {a}?
what number is {a} minus {b}?
i have {a} and give away {b}. how much do i still have?
without {b}, how much is left of {a}?
the difference between {b} and {a}
give me the difference between {a} and {b}
what is the difference between {a} and {b}?
if {b} of {a} are gone, how much is left?

take {b} from {a}, please
from {a} i take {b}. what is left?
from {a} we take {b}, how much is that?
when you take {b} from {a}, what do you get?
what do you get if you take {b} from {a}?
between {b} and {a}, what is the difference?
what is the difference between {b} and {a}?
give me the difference of {b} and {a}
{b} and {a}, what is the difference?
tell me {a} without {b}
{a} without {b}
what is {a} take away {b}?
{a} - {b}, what is that?
how much is {a} - {b}?
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

please multiply {a} by {b}
the product of {a} and {b}
give me the product of {a} and {b}
work out the product of {a} and {b}
give me {a} times {b}
{a} multiplied by {b}
what is {a} multiplied by {b}?
how much is {a} multiplied by {b}?
{b} times {a}
what is {b} times {a}?

{b} * {a}
what is {a} x {b}?
how much is {b} times {a}?
what is {a} times {b}?
multiply {b} and {a}
please multiply {b} by {a}
if i multiply {a} by {b}, what do i get?
start with {a} and multiply it by {b}
what number is {a} times {b}?
can you multiply {a} and {b}?
{a} and {b}, what is the product?
{b} multiplied by {a}
what do {a} and {b} make when you multiply them?
i need the product of {b} and {a}
{b} times {a}, how much is that?

{a} x {b}
{b} x {a}
how much is {a} x {b}?
tell me {a} x {b}
{a} x {b}, what is that?
please work out {b} x {a}
[calculate|give me] {a} x {b}
the product of {b} and {a}, what is it?
{a} and {b}, multiply them
what is {a} and {b} multiplied?
when you multiply {a} and {b}, what do they make?
if you multiply {b} and {a}, how much is the product?
find the product of {a} and {b}
{a} times {b} is how much?
tell me what {b} times {a} is
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

please solve {e}
give me x: {e}
what must x be if {e}?
x is a number and {e}. what is it?
{e}, so what is x?
here is an equation: {e}. solve it
solve the equation {e}
which x makes {e}?
i need x: {e}
work out what x is when {e}

{e}: what is x?
{e}, find x
{e}. which number is x?
given {e}, what is x?
given that {e}, find x
what number must x be so that {e}?
for which x is {e}?
when {e}, x is what?
please tell me x when {e}
can you solve {e}?
what do i put for x in {e}?
i have {e}. what is x?
calculate x given {e}
{e} is the equation. tell me x
x in {e} is what?
""",
}

_STORY_WORDS = {
    "join": """
{n} has {a} {t} and [buys|gets] {b} more. how many {t} does {n} have now?
there are {a} {t} in one box and {b} in another box. how many are there together?
{n} has {a} {t} and {m} has {b}. how many {t} do they have together?
how many {t} are there if {n} brings {a} and {m} brings {b}?
{m} brought {a} {t}. then {n} brought {b} more. how many {t} are there now?

{n} finds {a} {t} and then {b} more. how many is that?
in the kitchen there are {a} {t}, in the hall there are {b}. how many are there in all?
{n} counts {a} {t} and {m} counts {b}. how many do they count in all?
{n} puts {a} {t} with the {b} that {m} has. how many {t} are there now?
how many {t} does {n} have after {b} more come to the {a} that were there?
first there are {a} {t}, then {b} more come. how many are there in all?
{a} {t} here and {b} {t} there. how many in all?
{m} gives {b} {t} to {n}, who has {a}. how many {t} does {n} have then?

{m} has {b} {t} and {n} has {a}. how many are there in all?
{b} {t} come to the {a} in the box. how many are in it now?
{n} has {a} {t}. if {m} brings {b} more, how many are there?
how many are {a} {t} and {b} {t} together?
how many {t} are in the box if {a} were there and we put in {b} more?
if {n} has {a} {t} and gets {b} from {m}, how many does {n} have then?
{n}: {a} {t}. {m}: {b} {t}. how many in total?
{a} {t} in the kitchen, {b} in the hall. how many in total?
to the {a} {t} of {n}, {m} adds {b}. how many are there then?
{m} gave {n} {b} {t}. {n} had {a} before. how many does {n} have now?
{b} {t} were brought by {m} and {a} by {n}. how many is that in all?
one box holds {a} {t}, the other holds {b}. how many {t} is that together?
in one box are {b} {t} and in the other {a}. how many do both hold?

if {n} has {b} {t} and {m} brings {a} more, how many does {n} have then?
{n} gets {b} {t} from {m} and had {a}. how many does {n} have then?
how many {t} are there in all if {m} has {a} and {n} has {b}?
{a} {t} in one box, {b} {t} in the other. how many do they hold together?
{b} more {t} come to the {a} that {n} has. how many are there?
if {m} gives {n} {b} {t} and {n} has {a}, how many is that in all?
""",
    "leave": """
{n} has {a} {t} and gives {b} of them to {m}. how many {t} are left?
there are {a} {t} in the box. {n} takes {b} of them. how many are left?
{n} had {a} {t} and used {b}. how many does {n} have now?
of {a} {t} {b} are [broken|gone]. how many are left?
how many {t} are left if {n} had {a} and gives {b} to {m}?
{b} of {a} {t} are gone. how many does {n} have now?

{n} finds {a} {t} but {b} of them are broken. how many are not?
{m} takes {b} of the {a} {t}. how many are left for {n}?
{n} had {a} {t}. {b} went to {m}. how many does {n} keep?
{n} sells {b} of {a} {t}. how many are left?
after {m} takes {b} of {a} {t}, how many are left?
from {a} {t} we take {b}. how many are left?
{a} {t} were there and {b} went away. how many are left?
how many of {a} {t} are left without the {b} that {n} takes?

how many of {a} {t} are left if {m} takes {b}?
if {b} of {a} {t} are broken, how many are not?
{n} gives {m} {b} of {a} {t}. how many does {n} keep?
{a} {t}, {b} of them gone. how many are left?
{b} {t} are used by {n}. there were {a}. how many are left?
there were {a} {t} before {n} took {b}. how many are there now?
how many {t} does {n} still have if {b} of {a} are sold?
take {b} out of a box with {a} {t}. how many are still in it?
of the {a} {t} that {n} had, {m} took {b}. how many are left?
with {b} of {a} {t} gone, how many are left?
{n} had {a} {t} but gave {b} to {m}. how many are left?
{n} gave {b} {t} to {m} and had {a} before. how many does {n} still have?
when {b} of the {a} {t} in the box go to {m}, how many does {n} keep?

{n} had {a} {t}. {n} used {b} of them. how many are left?
{m} had {a} {t} and gave {b} away. how many does {m} have now?
{n} used {b} of the {a} {t}. how many does {n} have now?
{n} gives {b} of {a} {t} to {m}. how many are left for {n}?
there were {a} {t}, {b} of them are gone now. how many are left?
when {n} takes {b} of {a} {t}, how many does {m} keep?
""",
    "minutes": """
the washing machine takes {a} minutes and then the dryer takes {b}. how many minutes is that together?
the oven is on for {a} minutes and then for {b} minutes more. how many minutes is that?
the dishwasher runs for {a} minutes and the washing machine for {b}. how many minutes do they take together?
{n} cooks for {a} minutes and then cleans for {b}. how many minutes is that together?
how many minutes do the dryer and the oven take together if one takes {a} minutes and the other {b}?

first the oven runs {a} minutes, then the dryer runs {b} minutes. how many minutes is that in all?
{n} works for {a} minutes and rests for {b}. how many minutes is that in all?
cooking takes {a} minutes and cleaning takes {b}. how many minutes do both take?
how many minutes does {n} need if cooking takes {a} and cleaning takes {b}?
{n} waits {a} minutes and then {b} minutes more. how many minutes is that in all?
after {a} minutes the dryer runs for {b} more. how many minutes did it run in all?
the drive takes {a} minutes and then {b} more in the city. how many minutes is the drive?

{a} minutes for the oven and {b} minutes for the dryer. how many minutes in total?
how many minutes is it in all if {n} works {a} minutes and then {b} more?
if the dryer runs {b} minutes after the {a} minutes of the washing machine, how many minutes is that together?
{n} cleans {a} minutes, {m} cooks {b}. how many minutes in total?
the dishwasher needs {a} minutes, the dryer needs {b}. how many minutes do both need together?
{b} minutes of cleaning come after {a} minutes of cooking. how many minutes is that in all?
how many minutes are {a} minutes and {b} minutes?
before the drive of {b} minutes {n} waits {a} minutes. how many minutes is that together?
first {a} minutes, then {b} minutes. how many minutes is that?
add {b} minutes to the {a} minutes of the oven. how many minutes is that?
{n} was in the kitchen for {a} minutes and in the hall for {b}. how many minutes is that together?
the oven was on for {a} minutes. with {b} minutes more, how many is that in all?
""",
    "power": """
the heat pump uses {a} kWh a day. how many kWh does it use in {b} days?
the panels make {a} kWh a day. how many kWh do they make in {b} days?
how many kWh does the heater use in {b} days if it uses {a} kWh a day?
every day the house uses {a} kWh. how many kWh is that in {b} days?
how many kWh is {a} kWh a day for {b} days?

the fridge takes {a} kWh each day. how many kWh does it take in {b} days?
{n} uses {a} kWh a day. how many kWh are that after {b} days?
in one day the car takes {a} kWh. how many kWh does it take in {b} days?
for {b} days the heater uses {a} kWh each day. how many kWh is that in all?
how many kWh do the panels make in {b} days with {a} kWh each day?
{b} days with {a} kWh each. how many kWh are that in all?
the house needs {a} kWh each day. how many kWh does it need for {b} days?

{a} kWh a day, {b} days. how many kWh in total?
{b} days, {a} kWh on each day. how many kWh is that?
if the oven takes {a} kWh every day, how many kWh does it take in {b} days?
how many kWh is it in {b} days if the fridge uses {a} kWh on each of them?
on each of {b} days the panels make {a} kWh. how many kWh is that in total?
what does the heat pump use in {b} days with {a} kWh a day?
the house used {a} kWh each day for {b} days. how many kWh is that together?
how many kWh come from the panels in {b} days if {a} kWh come every day?
after {b} days with {a} kWh a day, how many kWh are used?
a heater that takes {a} kWh a day runs for {b} days. how many kWh is that?
in {b} days, how many kWh does the car need if it needs {a} kWh each day?
""",
    "price": """
one kWh costs {a} cents. what do {b} kWh cost?
{n} buys {b} {t} for {a} cents each. what do they cost together?
a kWh costs {a} cents now. how many cents do {b} kWh cost?
what do {b} {t} cost if one costs {a} cents?
how many cents does {n} pay for {b} kWh if one kWh costs {a} cents?
how many cents does {n} pay for {b} {t} for {a} cents each?

{t} cost {a} cents each. how many cents do {b} cost?
{n} sells {b} {t} for {a} cents each. how many cents does {n} get?
each of {b} {t} costs {a} cents. what do they cost in all?
{b} kWh at {a} cents each, how many cents is that?
at {a} cents for one kWh, how many cents are {b} kWh?
for one of the {t} {n} pays {a} cents. how many cents does {n} pay for {b}?
{n} needs {b} {t}. one costs {a} cents. how many cents does {n} need?

how many cents are {b} kWh at {a} cents each?
{b} {t}, {a} cents each. how many cents in total?
if {n} buys {b} {t} and pays {a} cents for each, how many cents is that?
{m} sells {n} {b} {t}. each costs {a} cents. how many cents does {n} pay?
the car needs {b} kWh. at {a} cents for each, how many cents does {n} pay?
how many cents does {n} get for {b} {t} if each is sold for {a} cents?
one of the {t} costs {a} cents, and {n} buys {b}. how many cents is that?
the oven used {b} kWh at {a} cents each. what does that cost?
to get {b} {t} for {a} cents each, how many cents does {n} need?
when one kWh costs {a} cents, how many cents must {n} pay for {b}?
{a} cents for one, so how many cents for {b} {t}?
""",
    "battery": """
the battery holds {a} kWh and {b} kWh are used. how many kWh are left?
the car has {a} kWh and the drive takes {b} kWh. how many kWh are left then?
there were {a} kWh in the battery. the house used {b} kWh of them. how many are left?
how many kWh are left in the battery if it holds {a} and the house takes {b}?
of {a} kWh in the car the drive used {b}. how many kWh are left?

{n} starts with {a} kWh in the car and drives {b} kWh away. how many kWh are left?
the drive needs {b} of the {a} kWh in the car. how many kWh are left?
after the house takes {b} of {a} kWh, how many kWh are left in the battery?
the battery has {a} kWh. the oven needs {b}. how many kWh are left after that?
with {a} kWh in the battery and {b} kWh used, how many kWh are left?
{b} kWh went out of a battery with {a} kWh. how many are left in it?
from the {a} kWh of the battery the car takes {b}. how many kWh are left?

how many of {a} kWh are left if the drive takes {b}?
if the car uses {b} of {a} kWh, how many kWh are left in it?
{a} kWh in the battery, {b} kWh out. how many kWh are left?
{b} of {a} kWh are used. how many are left in the battery?
the battery had {a} kWh before the oven took {b}. how many kWh are left?
take {b} kWh from a battery that has {a} kWh. how many kWh are left?
the heater uses {b} kWh. before that {a} kWh were in the battery. how many are there now?
how many kWh does a battery of {a} kWh still hold after {b} kWh are used?
without the {b} kWh for the drive, how many of the {a} kWh are left?
of the {a} kWh in the battery {b} are gone. how many are still there?
the panels make {a} kWh, the house takes {b}. how many kWh are left for the battery?
""",
    "warmer": """
it is {a} degrees inside and {b} degrees outside. how many degrees warmer is it inside?
how many degrees warmer is the room at {a} degrees than the hall at {b} degrees?
the room has {a} degrees and the hall {b}. how many degrees colder is the hall?
outside it is {b} degrees and inside {a}. how many degrees colder is it outside?
how many degrees warmer is it inside at {a} degrees than outside at {b}?

the kitchen is at {a} degrees and the hall at {b}. how many degrees warmer is the kitchen?
it was {b} degrees and now it is {a}. how many degrees warmer is it now?
it was {a} degrees and now it is {b}. how many degrees colder is it now?
by how many degrees is {a} degrees warmer than {b} degrees?
from {b} degrees to {a} degrees, how many degrees is that?
{n} has {a} degrees in the room and {m} has {b}. how many degrees warmer is the room of {n}?
how many degrees colder is the hall at {b} than the kitchen at {a}?

{a} degrees in the room, {b} degrees in the hall. how many degrees warmer is the room?
inside {a} degrees, outside {b}. how many degrees warmer is it inside?
outside {b} degrees, inside {a}. how many degrees is the difference?
if it is {b} degrees outside and {a} inside, how many degrees colder is it outside?
how many degrees colder is it outside with {b} degrees than inside with {a}?
how many degrees is the difference between {a} degrees and {b} degrees?
how many degrees are between {b} degrees in the hall and {a} in the kitchen?
by how many degrees is the hall with {b} colder than the room with {a}?
the room was at {b} degrees and now it has {a}. by how many degrees is it warmer?
from {a} degrees it went to {b}. how many degrees colder is it now?
the room is at {b} degrees and must get to {a}. how many degrees more is that?

between {a} degrees and {b} degrees, how many degrees is that?
how many degrees is it from {b} degrees to {a} degrees?
inside it is {a} degrees, outside {b}. how many degrees warmer is it inside?
the hall is at {b} degrees and must get to {a}. how many degrees is that?
it is {b} degrees. how many degrees more until it is {a}?
how many degrees are there between {a} and {b} degrees?
""",
    "in_and_out": """
{n} has {a} {t}, gets {b} more and gives {c} to {m}. how many {t} are left?
there are {a} {t} in the box. {n} brings {b} more and {m} takes {c}. how many are there now?
{n} had {a} {t} and {m} had {b}. then they used {c}. how many {t} do they have now?
how many {t} are left if {n} has {a}, buys {b} more and then uses {c}?
{m} brought {a} {t} and {n} brought {b} more. {c} of them are gone now. how many are left?

{n} starts with {a} {t}. {m} brings {b} and then {c} are used. how many are left?
first there are {a} {t}, then {b} more come and {c} go away. how many are there now?
{n} finds {a} {t} and then {b} more, but {c} are broken. how many are not?
{n} adds {b} {t} to {a} and takes {c} away. how many are left?
in the box are {a} {t}. {b} go in and {c} go out. how many are in it now?
after {b} {t} come to {a} and {c} of them go, how many are left?
{a} {t} and {b} more, without {c}. how many {t} is that?
{n} and {m} have {a} and {b} {t}. they give {c} away. how many do they keep?
{n} buys {a} {t} and then {b} more. {m} takes {c} of them. how many does {n} keep?

how many {t} are left of {a} and {b} if {m} takes {c}?
if {n} has {a} {t}, gets {b} and uses {c}, how many does {n} have then?
{b} {t} come to {a} and then {c} are sold. how many are left?
{a} {t} in the box, {b} more in, {c} out. how many are in it now?
{m} takes {c} {t} after {n} puts {b} with the {a} in the box. how many are left?
{n} had {a} {t} before {m} brought {b}. now {c} of them are broken. how many are not?
add {b} {t} to {a}, then take {c} away. how many is that?
to {a} {t} {n} adds {b}, and {m} takes {c} of them. how many are left?
how many {t} does {n} keep if {a} and then {b} come and {c} go to {m}?
{n} counts {a} {t}, {m} counts {b}. without the {c} that are broken, how many is that?
of {a} {t} here and {b} there {c} are gone. how many are still left?
there were {a} {t}. {b} were brought and {c} were used. how many are there now?
with {a} {t} and {b} more, how many are left when {c} are used?

{n} and {m} had {a} and {b} {t}. they used {c}. how many do they have now?
{n} puts {b} {t} with the {a} in the box, then {m} takes {c}. how many are left?
if {a} {t} come and then {b} more, and {c} go to {m}, how many does {n} keep?
after {n} puts {b} {t} to the {a} that were there, {c} are used. how many are there now?
from {a} {t} and {b} more {n} takes {c}. how many are left?
""",
    "shelves": """
there are {b} boxes with {a} {t} each, and {c} more {t}. how many {t} are there together?
{n} has {b} boxes of {a} {t} and {m} brings {c} more. how many {t} are there now?
the heater uses {a} kWh a day for {b} days, and the oven {c} kWh. how many kWh is that together?
{n} buys {b} {t} for {a} cents each and pays {c} cents more for the box. how many cents is that together?
how many {t} are there in {b} boxes with {a} {t} each and {c} more outside?

{b} boxes hold {a} {t} each and {c} {t} are outside. how many are there in all?
each of {b} boxes has {a} {t}, and {n} has {c} more. how many is that in all?
{n} fills {b} boxes with {a} {t} each, and {c} are left. how many {t} were there?
for {b} days {n} gets {a} {t} each day, and then {c} more. how many is that in all?
{b} times {n} brings {a} {t}, then {m} brings {c}. how many are there now?
{c} {t} are here and {b} boxes of {a} come. how many are there then?
{n} pays {a} cents for each of {b} {t} and {c} cents for a bag. how many cents is that in all?
the car takes {a} kWh on each of {b} days and then {c} kWh more. how many kWh is that in all?

how many {t} are {b} boxes of {a} and {c} more?
{b} boxes, {a} {t} in each, and {c} more {t}. how many in total?
if {n} has {b} boxes with {a} {t} in each and gets {c} more, how many is that?
{n} has {c} {t} and buys {b} boxes with {a} each. how many does {n} have now?
there are {a} {t} in each of {b} boxes. {c} more come. how many are there in all?
{c} kWh for the car and {a} kWh a day for {b} days, how many kWh is that in total?
how many kWh is it in all if the house takes {a} kWh a day for {b} days and the car {c} kWh?
how many cents does {n} pay for {b} {t} at {a} cents each and a bag for {c} cents?
a bag costs {c} cents and each of {b} {t} costs {a}. how many cents do they cost together?
with {c} {t} outside and {b} boxes of {a}, how many are there in total?
{n} works {a} minutes a day for {b} days and then {c} minutes more. how many minutes is that?
first there were {c} {t}. then {n} brought {b} boxes with {a} each. how many are there now?
""",
    "sun": """
the panels make {a} kWh. the house uses {b} kWh and the car takes {c} kWh. how many kWh are left?
the battery holds {a} kWh. the oven takes {b} and the heater {c} kWh. how many kWh are left then?
of {a} kWh in the battery the car takes {b} and the house {c}. how many kWh are left?
how many kWh are left of {a} kWh if the car takes {b} and the oven {c}?
there were {a} {t}. {n} takes {b} and {m} takes {c}. how many {t} are left?

{n} has {a} {t}, gives {b} to {m} and uses {c}. how many are left?
first {b} and then {c} of the {a} {t} go away. how many are left?
from {a} kWh the oven takes {b} and then the dryer takes {c}. how many kWh are left?
the battery starts with {a} kWh, then {b} kWh and {c} kWh go out. how many kWh are left in it?
{a} kWh come from the panels, {b} go to the car and {c} to the house. how many are left?
after {n} takes {b} and {m} takes {c} of {a} {t}, how many are left?
{n} sells {b} of {a} {t} and then {c} more. how many are left?
without the {b} kWh of the oven and the {c} kWh of the heater, how many of {a} kWh are left?

how many {t} are left of {a} if {n} takes {b} and {m} takes {c}?
if {b} of {a} {t} are broken and {c} are sold, how many are left?
{a} kWh in the battery, {b} for the oven, {c} for the car. how many kWh are left?
{n} used {b} {t} and {m} used {c}. there were {a} before. how many are left?
the car takes {b} kWh and the dryer {c} kWh of the {a} in the battery. how many kWh are left?
{a} {t}: {b} are broken and {c} are gone. how many are still there?
take {b} and then {c} from {a} {t}. how many are left?
from the {a} {t} in the box {n} took {b} and {m} took {c}. how many are still in it?
how many kWh does the battery still hold if it had {a} and the house used {b} and then {c}?
{n} had {a} {t}. {b} went to {m} and {c} were used. how many does {n} still have?
of {a} {t} {n} gives away {b} and then {c} more. how many does {n} keep?
with {b} kWh for the heater and {c} kWh for the oven, how many of {a} kWh are left?

the heater takes {b} of {a} kWh and the oven {c}. how many kWh are left?
without {b} kWh for the car and {c} kWh for the oven, how many of {a} kWh are left?
how many of the {a} kWh are left after {b} kWh for the oven and {c} kWh for the heater?
if the oven takes {b} and the car {c} of {a} kWh, how many kWh are left?
in the battery are {a} kWh. {b} go to the car, {c} to the oven. how many kWh are left?
of {a} {t} {n} takes {b} and {m} takes {c}. how many are left?
""",
    "bill": """
the washing machine used {a} kWh and the dryer {b} kWh. one kWh costs {c} cents. what does it cost together?
{n} uses {a} kWh and {m} {b} kWh. how many cents do they pay if one kWh costs {c} cents?
one kWh costs {c} cents. what do {a} kWh and then {b} kWh more cost together?
how many cents do the oven with {a} kWh and the heater with {b} kWh cost if one kWh costs {c} cents?
{n} buys {a} {t} and {m} buys {b}. one costs {c} cents. how many cents do they pay together?

the oven needs {a} kWh and the dryer needs {b}. at {c} cents each, how many cents is that in all?
{n} needs {a} {t} and {m} needs {b}. each costs {c} cents. how many cents is that in all?
{a} kWh and {b} kWh at {c} cents each, how many cents is that in all?
at {c} cents for one kWh, what do {a} kWh and {b} kWh cost in all?
{t} cost {c} cents each. {n} buys {a} and then {b} more. how many cents does {n} pay?
first {n} buys {a} {t}, then {b} more, for {c} cents each. what do they cost in all?
how many cents are {a} and {b} kWh if each costs {c} cents?
each kWh costs {c} cents. the fridge took {a} and the car {b}. how many cents is that in all?

{a} kWh and {b} kWh, {c} cents each. what do they cost?
{n} buys {a} {t} and then {b} more at {c} cents each. how many cents in total?
if each costs {c} cents, what do {a} {t} and {b} more cost together?
what do {a} kWh for the oven and {b} kWh for the dryer cost at {c} cents each?
each of the {t} costs {c} cents. {m} needs {b} and {n} needs {a}. how many cents do they pay together?
how many cents do {n} and {m} pay for {a} and {b} {t} at {c} cents each?
how many cents does {n} get if {a} and then {b} {t} are sold for {c} cents each?
with {c} cents for each kWh, how many cents are {a} kWh and {b} kWh in total?
{n} sells {a} {t}, {m} sells {b}. each is sold for {c} cents. how many cents do they get together?
the car took {a} kWh on one day and {b} on another. one kWh costs {c} cents. how many cents is that?
for {c} cents each {n} buys {b} {t} and {m} buys {a}. how many cents is that together?
the fridge needs {b} kWh and the oven {a}. if a kWh costs {c} cents, what do both cost together?

what do {a} {t} and {b} more cost if each costs {c} cents?
if one costs {c} cents, how many cents are {a} {t} and then {b} more?
{n} sells {a} {t} and then {b} more, each for {c} cents. how many cents does {n} get?
at {c} cents each, what do {a} {t} and {b} {t} cost together?
how many cents do {n} and {m} pay if they buy {a} and {b} {t} for {c} cents each?
{a} kWh for {n} and {b} kWh for {m} at {c} cents each. what is that in all?
""",
    "charge": """
the battery of the car holds {a} kWh and has {b} kWh now. it gets {c} kWh an hour. how many hours does it take?
the car has {b} of {a} kWh. if it gets {c} kWh an hour, how many hours does it take until it is full?
how many hours does the battery take from {b} to {a} kWh if it gets {c} kWh an hour?
a battery of {a} kWh has {b} kWh now. how many hours until it is full if it gets {c} kWh an hour?
{n} has {a} {t}, keeps {b} and puts the others in boxes of {c}. how many boxes is that?
{m} keeps {b} of {a} {t} and puts the others in boxes of {c}. how many boxes is that?

from {b} kWh to {a} kWh at {c} kWh an hour, how many hours does it take?
the battery is at {b} kWh and must get to {a}. each hour it gets {c}. how many hours is that?
{n} has {a} {t} and gives {b} to {m}. the others go in boxes of {c}. how many boxes does {n} need?
each hour the car gets {c} kWh. it has {b} kWh and holds {a}. how many hours until it is full?
{b} of {a} {t} are broken. the others go in boxes of {c}. how many boxes is that?
with {c} kWh an hour, how many hours does the car need from {b} kWh to {a} kWh?
a car with {b} kWh needs {a} kWh. it gets {c} kWh each hour. how many hours does it need?

how many hours does it take until the battery is at {a} kWh if it has {b} now and gets {c} each hour?
how many boxes of {c} does {n} need for {a} {t} without the {b} that are broken?
{n} sells {b} of {a} {t} and puts the others in boxes of {c}. how many boxes is that?
at {c} kWh an hour, how many hours does the car take from {b} to {a} kWh?
the car is full at {a} kWh. it has {b} now and gets {c} kWh an hour. how many hours does it need?
if {n} gives away {b} of {a} {t} and puts the others in boxes of {c}, how many boxes is that?
of {a} {t} {m} takes {b}. {n} puts the others in boxes with {c} each. how many boxes is that?
{b} kWh now, full at {a} kWh, {c} kWh an hour. how many hours does it take?
there are {a} {t}. {b} go to {m} and the others go in boxes of {c}. how many boxes are there?
each box holds {c} {t}. {n} has {a} {t} and keeps {b} outside. how many boxes does {n} need for the others?
to get from {b} kWh to {a} kWh, how many hours does a battery need with {c} kWh each hour?
""",
    "saving": """
the panels make {a} kWh a day and the house uses {b}. what is left goes to the car for {c} days. the car then uses {d} \
kWh. how many kWh are left?
every day {n} gets {a} {t} and uses {b} of them. after {c} days {n} gives {d} to {m}. how many {t} are left?
each day the battery gets {a} kWh and the house takes {b}. after {c} days the car takes {d} kWh. how many kWh are left?
if the battery gets {a} kWh and the house takes {b} each day for {c} days, and the car then uses {d} kWh, how many kWh \
are left?
{m} gets {a} {t} a day and gives {b} to {n}. after {c} days {m} used {d}. how many {t} are left?

for {c} days {n} gets {a} {t} each day and gives {b} away. then {d} are sold. how many are left?
each day the panels make {a} kWh and the house takes {b}. how many kWh are left after {c} days if the oven takes {d}?
{n} finds {a} {t} a day and uses {b}. after {c} days {m} takes {d}. how many does {n} keep?
a battery gets {a} kWh a day and gives {b}. after {c} days {d} kWh go to the car. how many kWh are left?
every day {a} {t} come and {b} go. after {c} days {d} more go. how many are left?
{n} makes {a} {t} each day and sells {b}. after {c} days {n} gives {d} away. how many are left?

how many {t} are left if {n} gets {a} a day and uses {b} a day for {c} days and then gives {d} away?
if {n} finds {a} {t} and uses {b} each day, how many are left after {c} days when {m} takes {d}?
each day for {c} days {a} {t} come and {b} go. then {d} are sold. how many are left?
how many kWh are left if each day the panels make {a} and the house takes {b}, and after {c} days the car takes {d}?
{a} kWh come in and {b} go out each day. after {c} days the drive takes {d} kWh. how many kWh are left?
for {c} days {m} brings {a} {t} a day and {n} takes {b}. then {d} are gone. how many are still there?
every day the house uses {b} of {a} kWh from the panels. after {c} days the car takes {d} kWh. how many kWh are left?
{n} buys {a} {t} a day and gives {m} {b} of them. after {c} days {n} uses {d}. how many does {n} still have?
on each of {c} days {n} makes {a} {t} and sells {b}. then {d} go to {m}. how many does {n} keep?
{n} gets {a} cents a day and pays {b}. after {c} days {n} pays {d} cents for a box. how many cents are left?
with {a} kWh in and {b} kWh out each day for {c} days, how many kWh are left when the oven takes {d}?
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

each day {n} uses {a} kWh and {m} uses {b}. after {c} days the car takes {d}. how many kWh is that in all?
{n} works {a} minutes and {m} works {b} minutes a day. after {c} days {n} works {d} minutes more. how many minutes is \
that in all?
for {c} days {n} finds {a} {t} and {m} finds {b} each day. with the {d} from before, how many are there in all?
{a} {t} from {n} and {b} from {m} come each day for {c} days, then {d} more. how many is that in all?
every day the fridge takes {a} kWh and the oven {b}. how many kWh is that after {c} days with {d} kWh for the car?
the fridge uses {a} kWh and the dryer {b} kWh each day. for {c} days and {d} kWh more, how many kWh is that in all?

on each of {c} days {n} brings {a} {t} and {m} brings {b}. then {d} more come. how many are there now?
how many {t} are there if {n} brings {a} and {m} brings {b} each day for {c} days, and {d} were there before?
if the oven takes {a} kWh and the fridge {b} kWh a day, how many kWh is it after {c} days with {d} kWh more?
for {c} days {a} kWh go to the house and {b} kWh to the car each day. then {d} kWh more go out. how many kWh in total?
with {d} {t} in the box and {a} and then {b} more each day, how many are there after {c} days?
each day {b} {t} come from {m} and {a} from {n}. after {c} days {d} more come. how many are there in total?
{d} kWh for the drive, and each day for {c} days {a} kWh for the oven and {b} for the dryer. how many kWh in total?
how many minutes is it in all if {n} cooks {a} and cleans {b} minutes a day for {c} days and then waits {d} minutes?
{n} finds {a} {t} and {m} finds {b} every day. after {c} days they get {d} more. how many do they have in total?
every day {n} pays {a} cents and {m} pays {b}. after {c} days they pay {d} cents more. how many cents is that together?
{n} works {a} minutes and then {b} minutes more each day for {c} days. with {d} minutes more, how many is that in all?
""",
}

WORDS = split_families({**BARE, **_STORY_WORDS})
"""Patterns by intent ("+", "equation", a story's name) and split."""
