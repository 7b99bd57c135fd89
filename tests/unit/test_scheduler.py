"""Who owns what and who runs when: pages, the waiting line, shares of a step. A step here is a number, not a time."""

import pytest

from openmimo.engine import SamplingParams
from openmimo.engine.cache import Cache
from openmimo.engine.request import Request
from openmimo.engine.scheduler import LONG_STEP_S, MAX_OVERTAKEN, Plan, Scheduler
from openmimo.errors import OpenMiMoError


def request(num_prompt, max_new_tokens=50):
    return Request([1] * num_prompt, SamplingParams(), max_new_tokens, seed=0)


def open_scheduler(*requests, num_slots=4, num_pages=1000, prefill_rows=100, **settings):
    scheduler = Scheduler(Cache(num_slots, num_pages, page_size=64), prefill_rows, **settings)
    for each in requests:
        scheduler.add(each)
    return scheduler


def step(scheduler):
    """Do what the worker does, without a model: one token for each reply. Returns the plan."""
    scheduler.grow()
    scheduler.admit()
    plan = scheduler.plan()
    for each in plan.decodes:
        each.num_cached += 1
    for each, num_rows in plan.prefills:
        each.num_cached += num_rows
    for each in [*plan.decodes, *(each for each, _ in plan.prefills)]:
        each.num_known += each.num_cached == each.num_known
        if each.num_known == each.max_tokens:
            scheduler.remove(each)
    scheduler.cache.check_integrity()
    return plan


def first_tokens(scheduler, arrivals, num_steps):
    """Run steps; `arrivals` says who comes before which step. Returns the step of each request's first token."""
    found = {}
    for number in range(num_steps):
        for each in arrivals.get(number, ()):
            scheduler.add(each)
        watched = [*scheduler.waiting, *scheduler.running]
        step(scheduler)
        found |= {id(each): number for each in watched if each.num_new and id(each) not in found}
    return found


def test_pages_cover_the_sequence_grow_with_it_and_come_back():
    cache = Cache(num_slots=2, num_pages=6, page_size=64)
    slot_a, pages_a = cache.reserve(128)
    slot_b, pages_b = cache.reserve(129)
    assert (len(pages_a), len(pages_b), slot_a != slot_b) == (2, 3, True)
    first = list(pages_a)
    assert cache.extend(slot_a, 128) == first
    longer = cache.extend(slot_a, 129) or []
    assert longer[:2] == first
    assert sorted(longer + pages_b) == [0, 1, 2, 3, 4, 5]
    assert cache.extend(slot_a, 193) is None
    cache.check_integrity()
    cache.release(slot_a)
    assert cache.has_room(192)
    assert cache.has_room(128, spare=1)
    assert not cache.has_room(129, spare=1)
    with pytest.raises(OpenMiMoError, match="idle but slots"):
        cache.check_idle()
    cache.release(slot_b)
    cache.check_idle()


def test_integrity_finds_lost_and_doubled_pages():
    cache = Cache(2, 4, 64)
    slot, pages = cache.reserve(100)
    pages.append(cache._free_pages[-1])  # owned and free
    with pytest.raises(OpenMiMoError, match=r"2 free \+ 3 owned, 4 in all, counted twice: \[2\]"):
        cache.check_integrity()
    pages[:] = pages[:1]
    with pytest.raises(OpenMiMoError, match=r"2 free \+ 1 owned, 4 in all, counted twice: \[\]"):
        cache.check_integrity()
    del cache._owned[slot]
    with pytest.raises(OpenMiMoError, match="pages"):
        cache.check_integrity()


def test_a_request_is_admitted_for_what_it_has_not_for_what_it_may_become():
    requests = [request(60, 10_000) for _ in range(4)]
    scheduler = open_scheduler(*requests, num_pages=200)
    assert scheduler.admit() == requests
    assert [each.pages_1P.shape for each in requests] == [(1, 1)] * 4


def test_a_request_that_does_not_fit_is_passed_but_only_so_often():
    blocker, big, small = request(63), request(4 * 64), [request(1) for _ in range(40)]
    scheduler = open_scheduler(blocker, big, *small, num_pages=5, num_slots=2)  # big wants all pages
    assert scheduler.admit() == [blocker, small[0]]
    passed = [small[0]]
    while scheduler.running[1:]:
        scheduler.remove(scheduler.running[1])
        passed += scheduler.admit()
    assert passed == small[:MAX_OVERTAKEN]
    scheduler.remove(blocker)
    assert scheduler.admit() == [big]
    scheduler.remove(big)
    assert scheduler.admit() == small[MAX_OVERTAKEN : MAX_OVERTAKEN + 2]


def test_rows_go_half_to_the_first_and_half_to_whoever_is_done_soonest():
    requests = [request(400), request(70), request(20), request(70)]
    scheduler = open_scheduler(*requests, prefill_rows=100)
    scheduler.admit()
    assert scheduler.plan().prefills == [(requests[0], 50), (requests[1], 30), (requests[2], 20)]
    requests[2].num_known += 1  # its prompt is done
    plan = scheduler.plan()
    assert plan.decodes == [requests[2]]
    assert plan.prefills == [(requests[0], 50), (requests[1], 50)]


def test_equal_prompts_come_one_after_the_other():
    requests = [request(100) for _ in range(4)]
    scheduler = open_scheduler(prefill_rows=100)
    found = first_tokens(scheduler, {0: requests}, 10)
    assert [found[id(each)] for each in requests] == [0, 1, 2, 3]


def test_short_prompts_do_not_wait_for_a_long_one_and_it_does_not_wait_for_them():
    long, shorts = request(10_000), [request(50, 5) for _ in range(400)]
    scheduler = open_scheduler(prefill_rows=100, num_slots=16)
    arrivals = {0: [long], **{1 + number: [short] for number, short in enumerate(shorts)}}
    found = first_tokens(scheduler, arrivals, 300)
    waits = [found[id(short)] - 1 - number for number, short in enumerate(shorts[:290])]
    assert max(waits) <= 2  # of 100 steps that the long prompt takes alone
    assert found[id(long)] <= 200  # half speed at worst


def test_replies_run_in_every_step_while_prompts_come():
    reply, prompts = request(10, 300), [request(300) for _ in range(30)]
    scheduler = open_scheduler(reply, *prompts, prefill_rows=64)
    step(scheduler)
    for _ in range(100):
        plan = step(scheduler)
        assert reply in plan.decodes
        assert sum(num_rows for _, num_rows in plan.prefills) <= 64


def test_long_steps_get_fewer_prompt_rows_until_they_are_short():
    reply, prompt = request(10), request(10**6)
    scheduler = open_scheduler(reply, prompt, prefill_rows=256, num_pages=20_000)
    step(scheduler)
    seen = []
    for _ in range(12):  # 2 ms for a row: 128 rows make a step too long, 64 do not
        plan = step(scheduler)
        seen.append(plan.prefills[0][1])
        scheduler.saw_step(plan, 0.03 + 0.002 * seen[-1])
    assert seen == [256, 128] + [64] * 10
    for _ in range(3):
        scheduler.saw_step(Plan([reply], [(prompt, 64)]), 9 * LONG_STEP_S)
    assert step(scheduler).prefills[0][1] == 32  # never nothing
    for expected in (64, 128, 256, 256):
        scheduler.saw_step(plan := step(scheduler), 0.01)
        assert step(scheduler).prefills[0][1] == expected
    scheduler.remove(reply)
    scheduler.rows_beside = 32
    assert step(scheduler).prefills[0][1] == 256  # nobody waits


def test_the_latest_arrival_gives_its_pages_back_and_returns_where_it_stood():
    requests = [request(60, 300), request(60, 300), request(60, 300)]
    scheduler = open_scheduler(*requests, num_pages=7, num_slots=3, prefill_rows=1000, max_drafts=3)
    order = []
    while not scheduler.is_idle:
        step(scheduler)
        for each in requests:
            if each.num_known == each.max_tokens and each not in order:
                order.append(each)
        assert requests[0].num_to_prefill == 60  # the first arrival is never sent back
        assert scheduler.running == sorted(scheduler.running, key=lambda each: each.arrival)
        assert scheduler.waiting == sorted(scheduler.waiting, key=lambda each: each.arrival)
        assert {each.slot for each in scheduler.running} == set(scheduler.cache._owned)
        assert all(each.slot == -1 for each in scheduler.waiting)
    assert order == requests
    assert requests[2].num_to_prefill > 60
    scheduler.cache.check_idle()


def test_a_request_that_takes_all_pages_runs_alone():
    requests = [request(100, 156), request(250, 6), request(1, 255)]
    scheduler = open_scheduler(*requests, num_pages=4, prefill_rows=64, max_drafts=3)
    for _ in range(1000):
        if scheduler.is_idle:
            break
        step(scheduler)
    assert [each.num_known for each in requests] == [256, 256, 256]
    scheduler.cache.check_idle()


def test_requests_can_be_removed_wherever_they_are():
    running, waiting, never = request(1), request(1), request(1)
    scheduler = open_scheduler(running, waiting, num_slots=1)
    assert scheduler.admit() == [running]
    for each in (never, waiting, running, running):
        scheduler.remove(each)
    assert scheduler.is_idle
    scheduler.cache.check_idle()
