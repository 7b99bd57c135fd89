"""Collecting a batch: which groups make it, in which order, and what is wasted, with episodes that end when told to."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from openmimo.train.collect import Draw, collect

SAMPLES = 2


class FakeAttempt:
    def __init__(self, reward: float):
        self.reward, self.is_done = reward, False

    def result(self):
        return SimpleNamespace(reward=self.reward)


class FakePool:
    """Ends the running attempt of highest priority first; the task says how long it takes and what it earns."""

    def __init__(self, seconds: dict[int, int]):
        self.seconds, self.attempts, self.running = seconds, [], []

    def start(self, environment, task, sample):
        attempt = FakeAttempt(task[1][sample % SAMPLES])
        self.attempts.append(attempt)
        self.running.append((self.seconds.get(task[0], 0), len(self.attempts), attempt))
        return attempt

    def next_finished(self):
        self.running.sort(key=lambda item: item[:2])
        _, _, attempt = self.running.pop(0)
        attempt.is_done = True
        return attempt


def draws(*rewards: tuple[float, float]) -> Iterator[Draw]:
    """Tasks with these rewards, then tasks that everybody solves."""
    for number in range(1000):
        pair = rewards[number] if number < len(rewards) else (1.0, 1.0)
        yield Draw(None, (number, pair), (0, number))  # type: ignore[arg-type]


def numbers(groups) -> list[int]:
    return [group.draw.key[1] for group in groups]


GOOD, BAD = (1.0, 0.0), (0.0, 0.0)


def test_groups_without_signal_are_replaced_until_the_batch_is_full():
    pool = FakePool({})
    collected = collect(pool, draws(GOOD, BAD, GOOD, BAD, BAD, GOOD, GOOD), 3, SAMPLES, likely=1.0, most=100)
    assert numbers(collected.groups) == [0, 2, 5]
    assert numbers(collected.settled) == [0, 1, 2, 3, 4, 5]
    assert collected.valid == 0.5


def test_groups_are_taken_in_the_order_of_their_start_so_that_long_ones_are_not_selected_against():
    slow_first = FakePool({0: 100, 1: 50})
    collected = collect(slow_first, draws(GOOD, GOOD, GOOD, GOOD, GOOD), 2, SAMPLES, likely=0.5, most=100)
    assert len(slow_first.attempts) == 4 * SAMPLES  # two were expected to fail
    assert numbers(collected.groups) == [0, 1]
    assert collected.wasted == 0.5


def test_a_later_group_that_is_still_running_is_not_waited_for():
    pool = FakePool({2: 100, 3: 100})
    collected = collect(pool, draws(GOOD, GOOD, GOOD, GOOD), 2, SAMPLES, likely=0.5, most=100)
    assert numbers(collected.groups) == [0, 1]
    assert [attempt.is_done for attempt in pool.attempts] == [True] * 4 + [False] * 4


@pytest.mark.parametrize("likely", [0.1, 0.5, 1.0])
def test_the_batch_does_not_depend_on_what_was_expected(likely: float):
    pattern = [GOOD if number % 3 == 0 else BAD for number in range(60)]
    collected = collect(FakePool({0: 9, 6: 3}), draws(*pattern), 4, SAMPLES, likely, most=1000)
    assert numbers(collected.groups) == [0, 3, 6, 9]


def test_no_group_is_started_that_is_not_expected_to_be_needed():
    pool = FakePool({})
    collected = collect(pool, draws(*[GOOD] * 10), 4, SAMPLES, likely=1.0, most=100)
    assert len(pool.attempts) == 4 * SAMPLES
    assert collected.wasted == 0.0


def test_without_signal_the_batch_stays_small():
    pool = FakePool({})
    collected = collect(pool, draws(GOOD), 4, SAMPLES, likely=0.5, most=12)
    assert numbers(collected.groups) == [0]
    assert len(collected.settled) == 12
    assert sum(group.is_solved for group in collected.settled) == 11


def test_groups_of_an_earlier_step_come_first():
    pool = FakePool({1: 100})
    first = collect(pool, draws(GOOD, GOOD, GOOD), 1, SAMPLES, likely=0.3, most=3)
    assert numbers(first.settled) == [0]
    assert numbers(first.rest) == [1, 2]
    second = collect(pool, draws(BAD, GOOD), 2, SAMPLES, likely=1.0, most=10, carried=first.rest)
    assert numbers(second.groups) == [1, 2]
    assert len(pool.attempts) == 3 * SAMPLES
    third = collect(pool, draws(GOOD), 2, SAMPLES, likely=1.0, most=10, carried=first.rest[1:])
    assert numbers(third.groups) == [2, 0]
