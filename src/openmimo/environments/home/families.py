"""Every arrangement of words people use here, by intent. One line is one family.

`[a|b]` picks one; `{d}` is the device with its article ("the kitchen light"), `{n}` without ("kitchen light"), `{v}` a
value with its unit, `{a}` an area with its preposition ("in the kitchen"), `{w}` an area alone ("kitchen"), `{s}` a
state word, `{c}` a choice such as "on or off", `{q}` the plural of an area request ("lights"). A leading `?` marks a
question.
"""

from __future__ import annotations

__all__ = ["FAMILIES", "FILLERS_ACTION", "FILLERS_QUESTION", "SUFFIXES_ACTION", "SUFFIXES_QUESTION"]

FILLERS_ACTION = (
    "hey",
    "um",
    "ok so",
    "ok",
    "hi",
    "hello",
    "so",
    "well",
    "please",
    "hey there",
    "uh",
    "right",
    "listen",
)
FILLERS_QUESTION = (
    "hey",
    "um",
    "ok so",
    "ok",
    "hi",
    "hello",
    "so",
    "well",
    "hey there",
    "uh",
    "wait",
    "quick question",
)
SUFFIXES_ACTION = ("please", "please", "thanks", "now", "thank you", "for me", "right now", "if you can", "will you")
SUFFIXES_QUESTION = ("please", "right now", "now", "at the moment")

_TURN_ON = """
[turn|switch|put|flip|power] on {d}
[turn|switch|put|flip|power] {d} on
?[can|could|would|will] you [turn|switch|put|flip] on {d}
?[can|could|would|will] you [turn|switch|put|flip] {d} on
?[can|could|would] you please [turn|switch] {d} on
[i want|i need|i would like|i'd like] {d} on
{n} on
{d} on
[make sure|see to it|check] that {d} is on
[start|activate|enable] {d}
[i want|i need|i would like|i'd like] you to [turn|switch|put] on {d}
[i want|i need|i would like|i'd like] {d} [turned|switched] on
{d} [should|must] be on
[let us|let's] have {d} on
[let us|let's] [turn|switch] on {d}
?[can|could] [i|we] have {d} on
?[can|could] you [start|activate|enable] {d}
[just|go ahead and] [turn|switch|put] on {d}
[just|go ahead and] [turn|switch|put] {d} on
?would you mind [turning|switching] on {d}
?would you mind [turning|switching] {d} on
[set|get] {d} to on
{d} is off but [i want|i need] it on
?why is {d} off, [turn|switch|put] it on
someone [turned|switched] {d} off, [turn|switch|put] it on again
[i want|i need] to have {d} on
i forgot to [turn|switch] on {d}
[have|get] {d} [turned|switched] on
[make|get] {d} go on
i think {d} should be on
time to [turn|switch] on {d}
you can [turn|switch] {d} on
"""

_TURN_OFF = """
[turn|switch|shut|flip|power] off {d}
[turn|switch|shut|flip|power] {d} off
?[can|could|would|will] you [turn|switch|shut] off {d}
?[can|could|would|will] you [turn|switch|shut] {d} off
?[can|could|would] you please [turn|switch] {d} off
[i want|i need|i would like|i'd like] {d} off
{n} off
{d} off
[make sure|see to it|check] that {d} is off
[stop|deactivate|disable|kill] {d}
[i want|i need|i would like|i'd like] you to [turn|switch|shut] off {d}
[i want|i need|i would like|i'd like] {d} [turned|switched] off
{d} [should|must] be off
[let us|let's] have {d} off
[let us|let's] [turn|switch] off {d}
?[can|could] [i|we] have {d} off
?[can|could] you [stop|deactivate|disable] {d}
[just|go ahead and] [turn|switch|shut] off {d}
[just|go ahead and] [turn|switch|shut] {d} off
?would you mind [turning|switching] off {d}
?would you mind [turning|switching] {d} off
[set|get] {d} to off
{d} is on but [i want|i need] it off
?why is {d} on, [turn|switch|shut] it off
someone left {d} on, [turn|switch|shut] it off again
[i|we] [don't|do not] need {d} any more
[i|we] no longer need {d}
i forgot to [turn|switch] off {d}
[have|get] {d} [turned|switched] off
i left {d} on, [turn|switch] it off
you can [turn|switch] {d} off
nobody needs {d}, so [turn|switch|shut] it off
"""

_OPEN = """
open {d}
?[can|could|would|will] you open {d}
?[can|could|would] you please open {d}
[i want|i need|i would like|i'd like] {d} open
[i want|i need|i would like|i'd like] you to open {d}
[i want|i need] {d} opened
[raise|lift] {d}
?[can|could] you [raise|lift] {d}
{d} open
open up {d}
[make sure|see to it] that {d} is open
{d} [should|must] be open
[let us|let's] open {d}
?would you mind opening {d}
[just|go ahead and] open {d}
{d} up
[get|have] {d} opened
{d} is closed but [i want|i need] it open
?why is {d} closed, open it
[i want|i need] to have {d} open
?[can|could] [i|we] have {d} open
[pull|move|put] {d} up
[pull|move|put] up {d}
time to open {d}
i forgot to open {d}
"""

_CLOSE = """
[close|shut] {d}
?[can|could|would|will] you [close|shut] {d}
?[can|could|would] you please [close|shut] {d}
[i want|i need|i would like|i'd like] {d} [closed|shut]
[i want|i need|i would like|i'd like] you to [close|shut] {d}
[i want|i need] {d} to be closed
lower {d}
?[can|could] you lower {d}
{d} [closed|shut]
{d} down
[make sure|see to it] that {d} is [closed|shut]
{d} [should|must] be [closed|shut]
[let us|let's] [close|shut] {d}
?would you mind [closing|shutting] {d}
[just|go ahead and] [close|shut] {d}
[get|have] {d} closed
{d} is open but [i want|i need] it closed
?why is {d} open, [close|shut] it
someone left {d} open, [close|shut] it
i left {d} open, [close|shut] it
[i want|i need] to have {d} closed
?[can|could] [i|we] have {d} closed
[pull|move|put] {d} down
[pull|move|put] down {d}
i forgot to [close|shut] {d}
"""

_LOCK = """
lock {d}
?[can|could|would|will] you lock {d}
?[can|could|would] you please lock {d}
[i want|i need|i would like|i'd like] {d} locked
[i want|i need|i would like|i'd like] you to lock {d}
lock up {d}
[make sure|see to it] that {d} is locked
{d} [should|must] be locked
[let us|let's] lock {d}
?would you mind locking {d}
[just|go ahead and] lock {d}
[get|have] {d} locked
{d} is unlocked but [i want|i need] it locked
?why is {d} unlocked, lock it
someone left {d} unlocked, lock it
i left {d} unlocked, lock it
i forgot to lock {d}
nobody should come in, lock {d}
secure {d}
?[can|could] you secure {d}
[i want|i need] {d} to be locked
"""

_UNLOCK = """
unlock {d}
?[can|could|would|will] you unlock {d}
?[can|could|would] you please unlock {d}
[i want|i need|i would like|i'd like] {d} unlocked
[i want|i need|i would like|i'd like] you to unlock {d}
[make sure|see to it] that {d} is unlocked
{d} [should|must] be unlocked
[let us|let's] unlock {d}
?would you mind unlocking {d}
[just|go ahead and] unlock {d}
[get|have] {d} unlocked
{d} is locked but [i want|i need] it unlocked
?why is {d} locked, unlock it
someone locked {d}, unlock it again
i locked {d}, unlock it again
i forgot to unlock {d}
we have guests, unlock {d}
time to unlock {d}
[i want|i need] {d} to be unlocked
someone is here, unlock {d}
"""

_BRIGHTNESS = """
[set|dim|change|put] {d} to {v}
[set|change|put] the brightness of {d} to {v}
?[can|could|would|will] you [set|dim|change|put] {d} to {v}
?[can|could|would] you please [set|dim] {d} to {v}
{n} at {v}
{n} to {v}
{n} {v}
{d} at {v} brightness
[i want|i need|i would like|i'd like] {d} at {v}
[i want|i need|i would like|i'd like] you to [set|dim] {d} to {v}
[make|turn] {d} {v} bright
[make sure|see to it] that {d} is at {v}
{d} [should|must] be at {v}
{d} [should|must] be {v} bright
[turn|bring] {d} to {v}
[just|go ahead and] [set|dim|put] {d} to {v}
[let us|let's] have {d} at {v}
?would you mind [setting|dimming] {d} to {v}
[i want|i need] {v} brightness on {d}
[set|give] {d} {v} brightness
{v} for {d}
{v} brightness for {d}
brightness of {d} to {v}
?[can|could] [i|we] have {d} at {v}
?[can|could] you [make|turn] {d} {v} bright
"""

_COLOR = """
[make|turn|set|change|put] {d} {v}
[set|change|turn|put] {d} to {v}
[set|change] the [color|colour] of {d} to {v}
?[can|could|would|will] you [make|turn] {d} {v}
?[can|could|would|will] you [set|change] {d} to {v}
{n} {v}
{n} to {v}
{n} in {v}
[i want|i need|i would like|i'd like] {d} {v}
[i want|i need|i would like|i'd like] {d} in {v}
[i want|i need|i would like|i'd like] you to [make|turn] {d} {v}
[make sure|see to it] that {d} is {v}
{d} [should|must] be {v}
[just|go ahead and] [make|turn] {d} {v}
[let us|let's] have {d} in {v}
?would you mind [making|turning] {d} {v}
?[can|could] [i|we] have {d} in {v}
{v} for {d}
{v} light from {d}
[give|put] {d} {v} light
[set|make] {d} a {v} [color|colour]
"""

_TEMPERATURE = """
[set|change|put|turn] {d} to {v}
[set|change|put] the temperature of {d} to {v}
?[can|could|would|will] you [set|change|put|turn] {d} to {v}
?[can|could|would] you please [set|put] {d} to {v}
{n} at {v}
{n} to {v}
{n} {v}
[i want|i need|i would like|i'd like] {d} at {v}
[i want|i need|i would like|i'd like] you to [set|put] {d} to {v}
[make sure|see to it] that {d} is at {v}
[make sure|see to it] that {d} is set to {v}
{d} [should|must] be at {v}
{d} [should|must] heat to {v}
[just|go ahead and] [set|put|turn] {d} to {v}
[let us|let's] have {d} at {v}
?would you mind [setting|putting] {d} to {v}
{v} for {d}
{v} on {d}
heat to {v} with {d}
let {d} heat to {v}
?[can|could] [i|we] have {d} at {v}
?[can|could] {d} heat to {v}
"""

_POSITION = """
[set|move|put|change] {d} to {v}
[set|move|change] the position of {d} to {v}
?[can|could|would|will] you [set|move|put] {d} to {v}
?[can|could|would] you please [set|move] {d} to {v}
{n} at {v}
{n} to {v}
{n} {v}
{n} {v} open
[i want|i need|i would like|i'd like] {d} at {v}
[i want|i need|i would like|i'd like] {d} {v} open
[i want|i need|i would like|i'd like] you to [set|move|put] {d} to {v}
open {d} to {v}
open {d} {v}
?[can|could] you open {d} to {v}
?[can|could] you open {d} {v}
[make sure|see to it] that {d} is {v} open
[make sure|see to it] that {d} is at {v}
{d} [should|must] be {v} open
{d} [should|must] be at {v}
[just|go ahead and] [set|move|put] {d} to {v}
[let us|let's] have {d} at {v}
?would you mind [setting|moving] {d} to {v}
[leave|keep] {d} {v} open
[leave|put] {d} at {v}
{v} for {d}
"""

_DARK = """
it is [too|so|very] dark {a}
it's [too|so|very] dark {a}
i [can't|cannot] see [anything|a thing] {a}
?why is it [so|this] dark {a}
we need [some|more] light {a}
i need [some|more] light {a}
i am sitting in the dark {a}
there is no light {a}, i [can't|cannot] see
[make|get] it bright {a}
?[can|could] [i|we] have [some|more] light {a}
give me [some|more] light {a}
i want to see something {a}
somebody is {a} in the dark
?[can|could] you make it bright {a}
"""

_BRIGHT = """
it is [too|so|very] bright {a}
it's [too|so|very] bright {a}
[make|get] it dark {a}
?why is it [so|this] bright {a}
[i|we] [don't|do not] need light {a} any more
nobody is {a} any more, so no light
[i|we] want it dark {a}
no more light {a}
there is too much light {a}
?[can|could] you make it dark {a}
?[can|could] [i|we] have it dark {a}
i want to sleep, no light {a}
we are done {a}, no more light
"""

_AREA_ON = """
[turn|switch|put] on [all the|all|the] {q} {a}
[turn|switch|put] [all the|all|the] {q} {a} on
?[can|could|would] you [turn|switch|put] on [all the|all|the] {q} {a}
[all|all the] {q} on {a}
all {w} {q} on
[turn|switch] on every one of the {q} {a}
[turn|switch|put] on all {w} {q}
[turn|switch|put] on the {w} {q}
[i want|i need|i'd like] [all the|all|the] {q} {a} on
[make sure|see to it] that [all the|all|the] {q} {a} are on
?would you mind [turning|switching] on [all the|all|the] {q} {a}
[all the|all|the] {q} {a} [should|must] be on
[just|go ahead and] [turn|switch] on [all the|all|the] {q} {a}
"""

_AREA_OFF = """
[turn|switch|shut] off [all the|all|the] {q} {a}
[turn|switch|shut] [all the|all|the] {q} {a} off
?[can|could|would] you [turn|switch|shut] off [all the|all|the] {q} {a}
[all|all the] {q} off {a}
all {w} {q} off
[turn|switch] off every one of the {q} {a}
[turn|switch|shut] off all {w} {q}
[turn|switch|shut] off the {w} {q}
[i want|i need|i'd like] [all the|all|the] {q} {a} off
[make sure|see to it] that [all the|all|the] {q} {a} are off
?would you mind [turning|switching] off [all the|all|the] {q} {a}
[all the|all|the] {q} {a} [should|must] be off
[just|go ahead and] [turn|switch] off [all the|all|the] {q} {a}
"""

_AREA_OPEN = """
open [all the|all|the] {q} {a}
?[can|could|would] you open [all the|all|the] {q} {a}
[all|all the] {q} open {a}
[raise|lift] [all the|all|the] {q} {a}
open all {w} {q}
open the {w} {q}
[i want|i need|i'd like] [all the|all|the] {q} {a} open
[make sure|see to it] that [all the|all|the] {q} {a} are open
[all the|all|the] {q} {a} [should|must] be open
?would you mind opening [all the|all|the] {q} {a}
?[can|could] you [raise|lift] [all the|all|the] {q} {a}
[just|go ahead and] open [all the|all|the] {q} {a}
"""

_AREA_CLOSE = """
[close|shut] [all the|all|the] {q} {a}
?[can|could|would] you [close|shut] [all the|all|the] {q} {a}
[all|all the] {q} closed {a}
lower [all the|all|the] {q} {a}
[close|shut] all {w} {q}
[close|shut] the {w} {q}
[i want|i need|i'd like] [all the|all|the] {q} {a} closed
[make sure|see to it] that [all the|all|the] {q} {a} are closed
[all the|all|the] {q} {a} [should|must] be closed
?would you mind [closing|shutting] [all the|all|the] {q} {a}
?[can|could] you lower [all the|all|the] {q} {a}
[just|go ahead and] [close|shut] [all the|all|the] {q} {a}
"""

_PAIR_SAME = """
{verb} {d} and {e}
{verb} both {d} and {e}
{verb} {d} and also {e}
?[can|could|would] you {verb} {d} and {e}
?[can|could|would] you {verb} both {d} and {e}
[i want|i need|i'd like] you to {verb} {d} and {e}
[just|go ahead and] {verb} {d} and {e}
{verb} {d}, and {e} too
{verb} {d} and {e} too
?would you please {verb} {d} and {e}
[let us|let's] {verb} {d} and {e}
"""

_PAIR_TWO = """
{verb} {d} and {verb2} {e}
{verb} {d} and then {verb2} {e}
{verb} {d}, then {verb2} {e}
?[can|could|would] you {verb} {d} and {verb2} {e}
?[can|could|would] you {verb} {d} and then {verb2} {e}
[i want|i need|i'd like] you to {verb} {d} and {verb2} {e}
[just|go ahead and] {verb} {d} and {verb2} {e}
first {verb} {d}, then {verb2} {e}
{verb} {d} and also {verb2} {e}
?would you please {verb} {d} and {verb2} {e}
[let us|let's] {verb} {d} and {verb2} {e}
"""

_ASK_STATE = """
?is {d} {c}
?what is the [state|status] of {d}
?what's the [state|status] of {d}
?[can|could] you tell me if {d} is {c}
?do you know if {d} is {c}
tell me if {d} is {c}
check if {d} is {c}
check {d}
?how is {d} set
[i want|i need|i'd like] to know if {d} is {c}
tell me the [state|status] of {d}
[state|status] of {d}
?what about {d}, is it {c}
{n} {c}
?which is it, is {d} {c}
?[can|could] you check if {d} is {c}
?what [state|status] is {d} in
?what is {d} [set to|doing]
"""

_ASK_YES = """
?is {d} {s}
?is {d} still {s}
?is {d} {s} or not
?[can|could] you check that {d} is {s}
?am i right that {d} is {s}
?did [i|we|someone] leave {d} {s}
?is it true that {d} is {s}
?{d} is {s}, [right|is it not|or is it not]
?do [i|we] have {d} {s}
?has {d} been left {s}
?is {d} really {s}
?has [anyone|someone] left {d} {s}
?did anyone leave {d} {s}
?have [i|we] left {d} {s}
?is {d} {s} already
i hope {d} is {s}, is it
?was {d} left {s}
"""

_ASK_LOCKED = """
?is {d} {s}
?is {d} still {s}
?is {d} {s} or not
?[can|could] you check that {d} is {s}
?am i right that {d} is {s}
?is it true that {d} is {s}
?{d} is {s}, [right|is it not|or is it not]
?do [i|we] have {d} {s}
?has {d} been {s}
?is {d} really {s}
?is {d} {s} already
i hope {d} is {s}, is it
?have [i|we] {s} {d}
?has [anyone|someone] {s} {d}
"""

_ASK_TEMPERATURE_AREA = """
?how warm is it {a}
?how [cold|hot] is it {a}
?what is the temperature {a}
?what's the temperature {a}
temperature {a}
tell me the temperature {a}
tell me how warm it is {a}
?[can|could] you tell me how warm it is {a}
?[can|could] you tell me the temperature {a}
?do you know how [warm|cold|hot] it is {a}
?what temperature [is it|do we have] {a}
[i want|i need|i'd like] to know how warm it is {a}
?is it warm {a}, what is the temperature
?how many degrees [is it|do we have] {a}
{w} temperature
check the temperature {a}
"""

_ASK_TEMPERATURE_NAMED = """
?what does {d} [say|read|show]
?what temperature does {d} [say|read|show]
?how warm is it at {d}
read {d}
tell me what {d} [says|reads|shows]
check {d}
?[can|could] you read {d}
?[can|could] you tell me what {d} [says|reads|shows]
?what is the temperature at {d}
tell me the temperature at {d}
?how many degrees does {d} [say|read|show]
?what is {d} at
"""

_ASK_SET_POINT = """
?what is {d} set to
?what's {d} set to
?what temperature is {d} set to
?how warm is {d} set
?to what temperature is {d} set
tell me what {d} is set to
?[can|could] you tell me what {d} is set to
?do you know what {d} is set to
?how many degrees is {d} set to
[i want|i need|i'd like] to know what {d} is set to
?what temperature did [i|we] set {d} to
check what {d} is set to
?to how many degrees did [i|we] set {d}
"""

_ASK_BRIGHTNESS = """
?how bright is {d}
?what is the brightness of {d}
?what's the brightness of {d}
tell me how bright {d} is
tell me the brightness of {d}
brightness of {d}
?[can|could] you tell me how bright {d} is
?[can|could] you tell me the brightness of {d}
?do you know how bright {d} is
[i want|i need|i'd like] to know how bright {d} is
check how bright {d} is
?at what brightness is {d}
?what brightness is {d} at
"""

_ASK_POSITION = """
?how far is {d} open
?how far open is {d}
?what is the position of {d}
?what's the position of {d}
tell me how far {d} is open
tell me the position of {d}
position of {d}
?[can|could] you tell me how far {d} is open
?[can|could] you tell me the position of {d}
?do you know how far {d} is open
[i want|i need|i'd like] to know how far {d} is open
check how far {d} is open
?at what position is {d}
?what position is {d} at
"""

_ASK_HUMIDITY_AREA = """
?how humid is it {a}
?what is the humidity {a}
?what's the humidity {a}
humidity {a}
tell me the humidity {a}
tell me how humid it is {a}
?[can|could] you tell me how humid it is {a}
?[can|could] you tell me the humidity {a}
?do you know how humid it is {a}
[i want|i need|i'd like] to know how humid it is {a}
{w} humidity
check the humidity {a}
?is the air humid {a}, what is the humidity
"""

_ASK_MOTION = """
?is there [any motion|motion|movement] {a}
?is [anyone|somebody|someone] {a}
?is [anyone|somebody|someone] moving {a}
[any motion|motion|movement] {a}
?do you see [any motion|motion|movement] {a}
?do you see [anyone|somebody|someone] {a}
tell me if there is [any motion|motion|movement] {a}
?[can|could] you tell me if there is [any motion|motion|movement] {a}
check for [motion|movement] {a}
?is [anything|something] moving {a}
tell me if [anyone|somebody|someone] is {a}
?[can|could] you tell me if [anyone|somebody|someone] is {a}
"""

FAMILIES: dict[str, tuple[str, ...]] = {
    intent: tuple(line for line in block.strip().split("\n"))
    for intent, block in {
        "turn_on": _TURN_ON,
        "turn_off": _TURN_OFF,
        "open": _OPEN,
        "close": _CLOSE,
        "lock": _LOCK,
        "unlock": _UNLOCK,
        "set_brightness": _BRIGHTNESS,
        "set_color": _COLOR,
        "set_temperature": _TEMPERATURE,
        "set_position": _POSITION,
        "too_dark": _DARK,
        "too_bright": _BRIGHT,
        "area_on": _AREA_ON,
        "area_off": _AREA_OFF,
        "area_open": _AREA_OPEN,
        "area_close": _AREA_CLOSE,
        "pair_same": _PAIR_SAME,
        "pair_two": _PAIR_TWO,
        "ask_state": _ASK_STATE,
        "ask_on": _ASK_YES,
        "ask_open": _ASK_YES,
        "ask_locked": _ASK_LOCKED,
        "ask_area_temperature": _ASK_TEMPERATURE_AREA,
        "ask_temperature": _ASK_TEMPERATURE_NAMED,
        "ask_set_point": _ASK_SET_POINT,
        "ask_brightness": _ASK_BRIGHTNESS,
        "ask_position": _ASK_POSITION,
        "ask_area_humidity": _ASK_HUMIDITY_AREA,
        "ask_area_motion": _ASK_MOTION,
    }.items()
}
