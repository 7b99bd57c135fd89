"""How many drafts the controller chooses, on a machine that exists in numbers only: time in plain steps."""

import math

import numpy as np
import pytest

from openmimo.engine import SamplingParams
from openmimo.engine.controller import DraftController
from openmimo.engine.request import Request

SMALL = ([1.0, 1.62, 2.40, 3.18], 0.7)  # a small model: drafts are dear; and what each head costs that starts afresh
LARGE = ([1.0, 1.25, 1.50, 1.75], 0.1)  # a large one: most of a step is read once for all rows
CHEAP = ([1.0, 1.05, 1.10, 1.15], 0.0)


class Machine:
    """Decodes replies one after another and counts time and tokens."""

    def __init__(self, controller, seconds, start, reply=128, noise=None):
        self.controller, self.seconds, self.start, self.noise = controller, seconds, start, noise
        self.reply, self.request = reply, None
        self.time, self.tokens, self.choices = 0.0, 0, []

    def run(self, num_tokens, is_right, clock=lambda seconds: seconds):
        """is_right(position): whether a draft is accepted if those before it were."""
        end = self.tokens + num_tokens
        while self.tokens < end:
            self.step(is_right, clock)
        return self

    def step(self, is_right, clock):
        request = self.request
        if request is None or request.num_known >= request.max_tokens - 4:
            if request is not None:
                self.controller.saw_end(request)
            request = self.request = Request([1] * 200, SamplingParams(), self.reply + 4, seed=0)
            request.num_cached, request.num_known, request.head_ends = 200, 201, [0] * self.controller.max_drafts
        num = self.controller.choose([request])
        fresh = sum(request.num_cached - end > 8 for end in request.head_ends[:num])
        request.head_ends[:num] = [request.num_cached] * num
        accepted = next((p for p in range(num) if not is_right(p)), num)
        if num:
            self.controller.saw_drafts(request, num, accepted)
        seconds = (self.seconds[num] + fresh * self.start) * (self.noise() if self.noise else 1)
        self.controller.saw_step(num, accepted + 1, clock(seconds))
        request.num_cached += accepted + 1
        request.num_known += accepted + 1
        self.time, self.tokens = self.time + seconds, self.tokens + accepted + 1
        self.choices.append(num)

    @property
    def cost(self):
        """Time for each token, in plain steps."""
        return self.time / self.tokens


def machine(costs, max_drafts=3, is_fixed=False, **settings):
    return Machine(DraftController(max_drafts, is_fixed), *costs, **settings)


def always(_):
    return True


def never(_):
    return False


class Alternating:
    """Right for some rounds, wrong for as many."""

    def __init__(self, length):
        self.length, self.rounds = length, 0

    def __call__(self, position):
        self.rounds += position == 0
        return self.rounds // self.length % 2 == 0


@pytest.mark.parametrize("costs", [SMALL, LARGE, CHEAP, ([1.0, 2.0, 3.0, 4.0], 3.0)])
@pytest.mark.parametrize("period", [0, 1, 5, 40, 10**6])
@pytest.mark.parametrize("tokens", [200, 1500])
def test_drafting_is_never_five_percent_slower_than_plain_decoding(costs, period, tokens):
    assert machine(costs).run(tokens, Alternating(period) if period else never).cost <= 1.05


@pytest.mark.parametrize("is_right", [always, never])
@pytest.mark.parametrize(
    "clock", [lambda _: math.nan, lambda _: 0.0, lambda _: math.inf, lambda s: math.nan if s > 1 else s]
)
def test_clocks_that_tell_nothing_cost_nothing(is_right, clock):
    assert machine(SMALL).run(200, is_right, clock).cost <= 1.05
    assert machine(SMALL).run(200, never).run(200, is_right, clock).run(200, never).cost <= 1.05


def test_a_good_phase_does_not_pay_for_a_bad_one_of_any_length():
    driven = machine(LARGE).run(5000, always)
    time, tokens = driven.time, driven.tokens
    driven.run(200, never)
    assert (driven.time - time) / (driven.tokens - tokens) <= 1.06  # 4 steps of credit and 2 % of 200


@pytest.mark.parametrize(("costs", "cost"), [(SMALL, 0.85), (LARGE, 0.47), (CHEAP, 0.32)])
def test_drafts_that_are_always_right_soon_pay(costs, cost):
    driven = machine(costs).run(256, always)
    driven.time, driven.tokens = 0.0, 0
    assert driven.run(1000, always).cost <= cost
    assert driven.choices[-1] >= 2


@pytest.mark.parametrize(
    ("seconds", "rates", "best"),
    [
        ([1, 1.2, 1.4, 1.6], [0.9, 0.9, 0.9], 3),  # cheap and right: 3.44 tokens in 1.6
        ([1, 1.6, 2.2, 2.8], [0.3, 0.2, 0.1], 0),  # dear and wrong: 1.3 tokens in 1.6
        ([1, 1.2, 2.5, 4.0], [0.8, 0.8, 0.8], 1),  # 1.8 tokens in 1.2
    ],
)
def test_the_number_that_pays_is_found_on_a_noisy_machine(seconds, rates, best):
    rng = np.random.default_rng(3)
    driven = machine((seconds, 0.2), noise=lambda: rng.uniform(0.95, 1.2))
    driven.run(1000, lambda position: rng.random() < rates[position])
    driven.choices = []
    driven.run(3000, lambda position: rng.random() < rates[position])
    assert np.mean(np.array(driven.choices) == best) > 0.9


def test_it_is_noticed_when_drafts_begin_to_pay_and_when_they_cease_to():
    driven = machine(LARGE).run(1500, never)
    assert driven.choices[-1] == 0
    driven.choices = []
    driven.run(3000, always)
    assert np.mean(np.array(driven.choices[-500:]) == 3) > 0.9
    driven.choices = []
    driven.run(300, never)
    assert np.mean(np.array(driven.choices) == 0) > 0.9


def test_what_was_learned_serves_the_next_reply_and_a_short_one_is_not_worth_a_start():
    driven = machine((SMALL[0], 2.0), reply=400).run(3000, always)
    assert driven.choices[-1] == 3
    controller = driven.controller
    running = Request([1] * 200, SamplingParams(), 100, seed=0)
    running.num_cached, running.num_known, running.head_ends = 200, 201, [0] * 3
    assert controller.choose([running]) == 3  # 100 tokens save 20 steps, three heads cost 6
    running.max_tokens = 221
    assert controller.choose([running]) == 0  # 20 tokens save 4


def test_the_status_says_what_is_done_and_why():
    driven = machine(SMALL)
    assert driven.controller.status.reason == "not decided yet: plain steps are measured first"
    driven.run(10, never)
    assert driven.controller.status.reason == "not decided yet: drafts have not been tried"
    driven.run(400, never)
    status = driven.controller.status
    assert status.drafts == 0
    assert status.reason == "off: a step with 1 draft takes 1.62 times as long as a plain one and gives 1.05 tokens"
    assert status.acceptance[0] == pytest.approx(0.05, abs=0.04)
    assert status.step_s[:2] == pytest.approx((1.0, 1.62))
    driven = machine(LARGE).run(1000, always)
    assert driven.controller.status.drafts == 3
    assert driven.controller.status.reason.startswith("3 drafts: a step with 3 drafts takes 1.75 times as long")
    driven.controller.broken_head = 1
    assert driven.controller.status.reason.startswith("off: MTP head 1 gave logits that are not finite")
    assert DraftController(0, is_fixed=True).status.reason.startswith("off: not asked for")
    assert DraftController(2, is_fixed=True).status.reason == "2 drafts in every step, as asked for"


def test_a_fixed_number_of_drafts_is_kept():
    driven = machine(([1, 9, 9], 5), max_drafts=2, is_fixed=True).run(100, never)
    assert driven.choices == [2] * 100
