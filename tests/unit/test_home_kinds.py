"""The kinds of tasks that need more than a look-up: sums, conditions, earlier turns, time, counting, asking first."""

import random
import re

import pytest
from small_home import small_home

from openmimo.chat import Message, ToolCall
from openmimo.environments.home import HomeEnvironment, HomeTask, LiveHome, call_tool
from openmimo.environments.home.commands import read_command, write_command
from openmimo.environments.home.families import read_tables
from openmimo.environments.home.grammar import split_families
from openmimo.environments.home.kinds.amounts import change_of
from openmimo.environments.home.kinds.base import ACTIONS
from openmimo.environments.home.moments import sample_duration, sample_time
from openmimo.environments.home.tools import pass_time
from openmimo.environments.home.values import sample_value, say_percent, say_temperature

ENVIRONMENT = HomeEnvironment()


def tasks_of(kind: str, count: int, split: str = "train") -> list[HomeTask]:
    return list(HomeEnvironment(weights={kind: 1.0}).tasks(split, 2, count))


def score(task: HomeTask, *replies: Message) -> float:
    episode = ENVIRONMENT.start(task)
    for reply in replies:
        if not episode.is_over:
            episode.step(reply)
    return episode.reward()


def doing(task: HomeTask, *calls: ToolCall) -> float:
    return score(task, Message("assistant", tool_calls=calls), task.gold[-1])


def say(task: HomeTask, text: str) -> float:
    return score(task, Message("assistant", text))


def meddle(task: HomeTask) -> float:
    """Turn on something, whatever was asked, and end with the right words."""
    device = next(device for device in task.home.devices if device.domain in ACTIONS)
    offered = [tool["function"]["name"] for tool in task.tools]
    return doing(task, ToolCall("HassTurnOn" if "HassTurnOn" in offered else "HassTurnOff", {"name": device.name}))


def changed(call: ToolCall, **arguments) -> ToolCall:
    return ToolCall(call.name, {**call.arguments, **arguments})


@pytest.mark.parametrize("kind", ["relative", "condition", "followup", "indirect", "confirm", "schedule"])
def test_the_right_call_on_another_device_scores_nothing(kind):
    num_tried = 0
    for task in tasks_of(kind, 30):
        for call in task.gold[0].tool_calls[:1]:
            wrong = next(
                (other.name for other in task.home.devices if other.name not in str(call.arguments)), "nothing"
            )
            name = call.arguments.get("name")
            other = changed(call, name=wrong) if name else changed(call, command=f"turn on {wrong}")
            num_tried += 1
            assert doing(task, *task.gold[0].tool_calls) == 1.0
            assert doing(task, other) == 0.0, task
    assert num_tried > 5


# ---- earlier turns


def test_other_matters_come_before_some_requests_of_every_kind_and_leave_the_listing_as_it_is():
    tasks = list(ENVIRONMENT.tasks("train", 3, 800))
    alone = [task for task in tasks if task.kind not in ("followup", "confirm")]
    talked = [task for task in alone if len(task.messages) > 2]
    assert 0.1 < len(talked) / len(alone) < 0.25
    assert len({task.kind for task in talked}) > 12
    for task in talked:
        for turn, message in enumerate(task.messages):
            assert not (message.role == "assistant" and message.content.endswith("?")), "a question is not settled"
            for call in message.tool_calls:
                home = task.home.copy()
                before = home.system_content()
                assert "success" in call_tool(home, call.name, call.arguments), task.messages[turn]
                assert home.system_content() == before


# ---- sums


@pytest.mark.parametrize(
    ("name", "sign", "amount", "step", "arguments"),
    [
        ("ceiling light", 1, 10, "80 + 10 = 90", {"brightness": 90}),
        ("ceiling light", 1, 30, "80 + 30 = 110, at most 100", {"brightness": 100}),
        ("ceiling light", -1, 30, "80 - 30 = 50", {"brightness": 50}),
        ("led strip", 1, 10, "0 + 10 = 10", {"brightness": 10}),  # it is off
        ("kitchen blind", -1, 50, "40 - 50 = -10, at least 0", {"position": 0}),
        ("kitchen blind", 1, 10, "40 + 10 = 50", {"position": 50}),
        ("maria radiator", 1, 1, "21 + 1 = 22", {"temperature": 22}),
        ("maria radiator", -1, 0.5, "21 - 0.5 = 20.5", {"temperature": 20.5}),
    ],
)
def test_a_change_is_a_sum_with_limits(name, sign, amount, step, arguments):
    device = small_home().named(name)
    assert device is not None
    change = change_of(device, sign, amount)
    assert change is not None
    assert (change.step, change.value.arguments) == (step, arguments)


def test_less_of_what_is_off_or_more_at_the_limit_is_no_change():
    home = small_home()
    for name, sign in (("led strip", -1), ("front door", 1)):
        assert change_of(home.named(name), sign, 10) is None
    call_tool(home, "HassTurnOn", {"name": "kitchen blind"})
    assert change_of(home.named("kitchen blind"), 1, 10) is None


def test_relative_tasks_show_a_true_sum_and_want_its_result():
    for task in tasks_of("relative", 60):
        *quote, step, _tool = task.gold[0].reasoning.split("\n")
        left, sign, right, total = re.match(r"([\d.]+) ([+-]) ([\d.]+) = (-?[\d.]+)", step).groups()
        assert float(left) + float(right) * (1 if sign == "+" else -1) == pytest.approx(float(total))
        assert any(word in line for line in quote for word in ("off", "closed", left))
        value = next(value for key, value in task.gold[0].tool_calls[0].arguments.items() if key != "name")
        assert f"{value:g}" in step
        assert (
            doing(task, changed(task.gold[0].tool_calls[0], **dict.fromkeys(task.gold[0].tool_calls[0].arguments, 17)))
            == 0
        )


# ---- conditions


def test_a_condition_that_does_not_hold_wants_words_and_no_deeds():
    tasks = tasks_of("condition", 80)
    idle = [task for task in tasks if not task.gold[0].tool_calls]
    assert 0.3 < len(idle) / len(tasks) < 0.7
    for task in idle:
        assert task.gold[0].reasoning.endswith(", do nothing")
        assert task.gold[-1].content.startswith("I did nothing: ")
        assert meddle(task) == 0.0
        assert say(task, "Done.") == 0.0


# ---- time


def test_a_plan_does_nothing_before_its_time_and_the_right_thing_then():
    home = small_home()
    assert call_tool(home, "Schedule", {"minutes": 10, "command": "turn off ceiling light"}) == {
        "success": ["ceiling light: to be turned off at 07:50"]
    }
    assert call_tool(home, "Schedule", {"time": "07:45", "command": "set kitchen blind to 70"}) == {
        "success": ["kitchen blind: to be set to 70 at 07:45"]
    }
    pass_time(home, 299)
    assert (home.commanded()["ceiling light"], home.commanded()["kitchen blind"]) == ((True, 80, ""), (40,))
    pass_time(home, 2)
    assert home.commanded()["kitchen blind"] == (70,)
    live = LiveHome(home)
    live.advance(300)
    assert home.commanded()["ceiling light"] == (False,)
    assert home.plans == []


def test_a_time_that_is_past_means_tomorrow():
    home = small_home()  # 07:40
    call_tool(home, "Schedule", {"time": "07:40", "command": "unlock main door"})
    assert [plan[0] - home.clock_s for plan in home.plans] == [86400.0]
    assert call_tool(home, "HassCancelTimer", {}) == {"success": ["plan: cancelled"]}
    assert home.plans == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"minutes": 5}, "missing_parameter"),
        ({"command": "turn off ceiling light"}, "missing_parameter"),
        ({"command": "turn off ceiling light", "minutes": 5, "time": "08:00"}, "missing_parameter"),
        ({"command": "turn off ceiling light", "time": "8 pm"}, "invalid_value"),
        ({"command": "turn off ceiling light", "minutes": 0}, "invalid_value"),
        ({"command": "turn off the moon", "minutes": 5}, "invalid_value"),
        ({"command": "open ceiling light", "minutes": 5}, "invalid_value"),
        ({"command": "set maria radiator to 99", "minutes": 5}, "invalid_value"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_when_it_is_made(arguments, code):
    home = small_home()
    assert call_tool(home, "Schedule", arguments)["error"] == code
    assert home.plans == []
    assert call_tool(home, "HassCancelTimer", {})["error"] == "not_found"


def test_a_command_reads_back_as_the_call_it_stands_for():
    rng = random.Random(0)
    home = small_home()
    for device in home.devices:
        for intent in ACTIONS.get(device.domain, ()):
            if intent == "set_color":
                continue
            value = sample_value(rng, intent)
            read = read_command(write_command(device, intent, value), home.devices)
            assert read is not None
            assert read[1] == {"name": device.name, **value.arguments}


def test_a_schedule_is_judged_by_what_happens_when():
    plans = [task for task in tasks_of("schedule", 60) if task.intent in ("later", "at_time")]
    assert len(plans) > 30
    for task in plans:
        call = task.gold[0].tool_calls[0]
        minutes, due = call.arguments.get("minutes"), task.home.clock_s
        if minutes is not None:
            due = int(due / 60 + minutes) % 1440
            by_clock = {"time": f"{due // 60:02d}:{due % 60:02d}", "command": call.arguments["command"]}
            assert doing(task, ToolCall("Schedule", by_clock)) == 1.0
            assert doing(task, changed(call, minutes=minutes + 7)) == 0.0
        at_once = read_command(call.arguments["command"], task.home.devices)
        assert at_once is not None
        assert doing(task, ToolCall(at_once[0], at_once[1])) == 0.0


def test_timers_want_the_exact_length_and_cancelling_wants_none_left():
    for task in tasks_of("timer", 60):
        call = task.gold[0].tool_calls[0]
        if call.name == "HassStartTimer":
            assert doing(task, changed(call, minutes=call.arguments["minutes"] + 1)) == 0.0
        else:
            assert task.home.timers_s
            assert doing(task, ToolCall("HassStartTimer", {"minutes": 5})) == 0.0


def test_durations_and_times_come_to_what_they_say():
    rng = random.Random(1)
    steps = {sample_duration(rng).step for _ in range(3000)}
    assert {"half an hour = 30 minutes", "an hour and a half = 90 minutes", "ten minutes = 10 minutes"} <= steps
    times = {sample_time(rng, "13:05").step for _ in range(12000)}
    assert {"half past 7 in the evening = 19:30", "quarter to eight am = 07:45", "noon = 12:00"} <= times
    assert {"now 13:05, 7 = 19:00", "now 13:05, 12 = 00:00", "12:30 pm = 12:30", "12 am = 00:00"} <= times


def test_values_are_said_in_figures_and_in_words():
    rng = random.Random(2)
    said = {say_temperature(rng, 19.5).text for _ in range(500)}
    assert {"nineteen and a half degrees", "19.5 degrees", "19 and a half"} <= said
    assert "minus three degrees" in {say_temperature(rng, -3).text for _ in range(500)}
    assert {"forty-five percent", "45%"} <= {say_percent(rng, 45, {}) for _ in range(500)}


# ---- earlier turns, counting, asking first


def test_every_followup_needs_its_earlier_turns_or_stands_alone_under_a_true_listing():
    intents = {task.intent for task in tasks_of("followup", 400)}
    assert {"instead", "the_other", "also_in", "and_there", "this_one", "how_is_it", "a_bit_more"} <= intents
    assert {"it_turn_off", "it_turn_on"} <= intents


def test_a_count_that_is_off_by_one_scores_nothing():
    tasks = [task for task in tasks_of("count", 150) if task.intent == "count_how_many"]
    counts = [(task, int(re.findall(r": (\d+)$", task.gold[0].reasoning, re.MULTILINE)[-1])) for task in tasks]
    counted = [(task, number) for task, number in counts if number]
    assert len(counted) > 15
    for task, number in counted:
        assert int(task.gold[-1].content.split(" ")[0]) == number
        assert say(task, f"There are {number}.") == 1.0
        assert say(task, f"There are {number + 1}.") == 0.0


def test_a_home_that_asks_first_is_asked_and_obeyed():
    for task in tasks_of("confirm", 60):
        assert ", ask first" in task.system
        lock = max(
            (one for one in task.home.devices if one.name in task.gold[-1].content), key=lambda one: len(one.name)
        )
        unlocking = doing(task, ToolCall("HassTurnOff", {"name": lock.name}))
        assert unlocking == (1.0 if task.intent == "say_yes" else 0.0)


def test_homes_that_do_not_ask_first_never_say_so():
    for task in ENVIRONMENT.tasks("train", 5, 300):
        has_lock = any(device.domain == "lock" for device in task.home.devices)
        assert (", ask first" in task.system) == (task.home.asks_first and has_lock)


def test_requests_that_are_not_about_a_home_are_declined():
    tasks = [task for task in tasks_of("unsupported", 80) if task.intent == "out_of_scope"]
    assert len(tasks) > 15
    for task in tasks:
        assert say(task, "I cannot do that.") == 1.0
        assert say(task, "Here you are.") == 0.0
        assert meddle(task) == 0.0


# ---- tables of phrasings


def test_a_new_generation_moves_no_older_family(tmp_path):
    ends = "now soon once twice later please quickly slowly again today"
    old = [f"turn on {{d}} {word}" for word in ends.split()] + [f"turn on {{d}} {ends}"]
    before = split_families("turn_on", (tuple(old),))
    after = split_families("turn_on", (tuple(old), ("turn on {d} now now", "turn on {d} soon soon")))
    assert [family.id for family in before["eval"]] == [family.id for family in after["eval"]][: len(before["eval"])]
    assert {family.id for family in before["train"]} <= {family.id for family in after["train"]}


def test_tables_are_read_by_section_and_a_section_comes_once(tmp_path):
    (tmp_path / "a.txt").write_text(
        "# Title.\n\n== turn_on also\non {d}\n# why\n{d} on\n\nlater {d}\n", encoding="utf-8"
    )
    tables = read_tables(tmp_path)
    assert tables == dict.fromkeys(("turn_on", "also"), (("on {d}", "{d} on"), ("later {d}",)))
    (tmp_path / "b.txt").write_text("# Title.\n\n== also\noff\n", encoding="utf-8")
    with pytest.raises(ValueError, match="'also' comes twice"):
        read_tables(tmp_path)
