"""What gold reasoning compares and adds is true, in every environment that does."""

import re

import pytest

from openmimo.environments import make_environment
from openmimo.environments.comparing import SIGNS, compared
from openmimo.environments.home import HomeEnvironment

COMPARISON = re.compile(r"(-?\d+)(<=|>=|==|!=|<|>)(-?\d+) (yes|no)")
SUM = re.compile(r"(?<![+:\d])(\d+)((?:[+-]\d+=\d+)+)")
LEAST = {"home": 60, "car": 80, "energy": 600, "programs": 100}


def reasonings(name: str) -> list[str]:
    environment = HomeEnvironment(weights={"condition": 1.0}) if name == "home" else make_environment(name)
    return [task.gold[0].reasoning for task in environment.tasks("train", 5, 240)]


@pytest.mark.parametrize("name", LEAST)
def test_verdicts_are_true_and_as_many_as_can_be_learnt_from(name):
    found = [match for text in reasonings(name) for match in COMPARISON.findall(text)]
    assert len(found) > LEAST[name]
    for left, sign, right, verdict in found:
        assert (verdict == "yes") == SIGNS[sign](int(left), int(right)), (left, sign, right)
    share = sum(verdict == "yes" for *_, verdict in found) / len(found)
    assert 0.15 < share < 0.85


@pytest.mark.parametrize("name", ["car", "energy"])
def test_chains_of_sums_are_true(name):
    chains = [match for text in reasonings(name) for match in SUM.findall(text)]
    assert len(chains) > 30
    for first, steps in chains:
        total = int(first)
        for sign, term, result in re.findall(r"([+-])(\d+)=(\d+)", steps):
            total = total + int(term) if sign == "+" else total - int(term)
            assert total in (int(result), int(result) - 24)  # a latest hour before midnight


def test_a_comparison_by_hand():
    assert compared(12, "<", 9) == "12<9 no"
    assert compared(9, "<=", 9) == "9<=9 yes"


def test_a_charging_search_ends_with_the_cheapest_hours():
    num_found = 0
    for task in make_environment("energy").tasks("train", 6, 300):
        lines = task.gold[0].reasoning.split("\n")
        if task.kind != "plan_car" or not task.gold[0].tool_calls:
            continue
        num_found += 1
        prices = {
            int(hour): int(price) for hour, price in re.findall(r"- (\d\d):00, (\d+) ct", task.messages[0].content)
        }
        hours = task.gold[0].tool_calls[0].arguments["hours"]
        kept = [int(word) for word in lines[-2].split("| ")[1].split()]
        assert kept[0::2] == hours
        assert kept[1::2] == [prices[hour] for hour in hours]
        read = [int(line.split(":")[0]) for line in lines[2:-1]]
        assert kept[1::2] == sorted(prices[hour] for hour in read)[: len(hours)]
    assert num_found > 10
