"""Who owns what, who runs when, and how many drafts: the parts below the engine, and the engine under random use."""

import numpy as np
import pytest
from engine_backend import FakeBackend

from openmimo.engine import Engine, SamplingParams
from openmimo.engine.draft import DraftController
from openmimo.engine.request import Request
from openmimo.errors import CapacityError


def request(num_prompt, max_new_tokens):
    return Request([1] * num_prompt, SamplingParams(), max_new_tokens, seed=0)


def _drive(controller, seconds, rates, num_steps, seed=0):
    """Run a controller on a machine with these step times and acceptance rates; returns (time, tokens, choices)."""
    rng, running = np.random.default_rng(seed), request(5, 10**6)
    time, tokens, choices = 0.0, 0, []
    for _ in range(num_steps):
        num_drafts = controller.choose([running])
        num_accepted = next((p for p in range(num_drafts) if rng.random() >= rates[p]), num_drafts)
        if num_drafts:
            controller.saw_drafts(running, num_drafts, num_accepted)
        step = seconds[num_drafts] * rng.uniform(0.95, 1.2)
        controller.saw_step(1, num_drafts, step)
        time, tokens = time + step, tokens + num_accepted + 1
        choices.append(num_drafts)
    return time, tokens, choices


@pytest.mark.parametrize(
    ("seconds", "rates", "best"),
    [
        ([1, 1.2, 1.4, 1.6], [0.9, 0.9, 0.9], 3),  # cheap and right: 3.44 tokens in 1.6
        ([1, 1.6, 2.2, 2.8], [0.3, 0.2, 0.1], 0),  # dear and wrong: 1.3 tokens in 1.6
        ([1, 1.2, 2.5, 4.0], [0.8, 0.8, 0.8], 1),  # 1.8 tokens in 1.2
    ],
)
def test_the_controller_finds_the_number_of_drafts_that_pays(seconds, rates, best):
    controller = DraftController(3, is_fixed=False)
    _, _, choices = _drive(controller, seconds, rates, 3000)
    assert np.mean(np.array(choices[500:]) == best) > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_drafting_that_never_helps_costs_little(seed):
    controller = DraftController(3, is_fixed=False)
    time, tokens, _ = _drive(controller, [1, 2, 3, 4], [0.0, 0.0, 0.0], 1000, seed)
    plain, _, _ = _drive(DraftController(0, is_fixed=True), [1], [], tokens, seed)
    assert time < 1.15 * plain


def test_the_controller_notices_when_drafts_begin_to_pay():
    controller = DraftController(3, is_fixed=False)
    seconds = [1, 1.2, 1.4, 1.6]
    _drive(controller, seconds, [0.05, 0.05, 0.05], 2000)
    _, _, choices = _drive(controller, seconds, [0.95, 0.95, 0.95], 3000)
    assert np.mean(np.array(choices[2000:]) == 3) > 0.9


def test_a_fixed_number_of_drafts_is_kept():
    _, _, choices = _drive(DraftController(2, is_fixed=True), [1, 9, 9], [0, 0], 100)
    assert choices == [2] * 100


def test_a_full_waiting_line_is_an_error_of_its_own():
    with Engine(FakeBackend(num_slots=1)) as engine:
        stream = engine.stream([1], SamplingParams(max_new_tokens=1000, ignore_eos=True))
        next(stream)
        for _ in range(1024):
            engine.submit([1])
        with pytest.raises(CapacityError, match="1024 requests are waiting"):
            engine.submit([1])
