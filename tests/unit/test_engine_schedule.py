"""Who owns what, who runs when, and how many drafts: the parts below the engine, and the engine under random use."""

import numpy as np
import pytest
from engine_backend import VOCAB, FakeBackend, greedy
from hypothesis import given, settings
from hypothesis import strategies as st

from openmimo.batch import PAGE_SIZE
from openmimo.engine import Engine, SamplingParams
from openmimo.engine.cache import Cache
from openmimo.engine.draft import DraftController, HeadState
from openmimo.engine.request import Request
from openmimo.engine.scheduler import Scheduler
from openmimo.engine.worker import Worker
from openmimo.errors import CapacityError, OpenMiMoError


def request(num_prompt, max_new_tokens):
    return Request([1] * num_prompt, SamplingParams(), max_new_tokens, seed=0)


def test_reserved_pages_cover_the_sequence_and_come_back():
    cache = Cache(num_slots=2, num_pages=5, page_size=64)
    slot_a, pages_a = cache.reserve(128)
    slot_b, pages_b = cache.reserve(129)
    assert (len(pages_a), len(pages_b), slot_a != slot_b) == (2, 3, True)
    assert sorted(pages_a + pages_b) == [0, 1, 2, 3, 4]
    cache.check_integrity()
    assert not cache.has_room(1)
    cache.release(slot_a)
    assert cache.has_room(128)
    assert not cache.has_room(129)
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


def test_admission_is_first_come_first_served():
    scheduler = Scheduler(Cache(num_slots=3, num_pages=4, page_size=64), prefill_rows=100)
    first, big, small = request(100, 28), request(100, 100), request(1, 1)
    for each in (first, big, small):
        scheduler.add(each)
    assert scheduler.admit() == [first]  # big needs 4 pages; small would fit but came later
    scheduler.remove(first)
    assert scheduler.admit() == [big]
    scheduler.remove(big)
    assert scheduler.admit() == [small]
    scheduler.remove(small)
    scheduler.remove(small)
    assert scheduler.is_idle
    scheduler.cache.check_idle()


def test_prompt_rows_are_shared_out_oldest_first_and_decodes_always_run():
    scheduler = Scheduler(Cache(4, 100, 64), prefill_rows=100)
    requests = [request(70, 9), request(70, 9), request(70, 9), request(5, 9)]
    for each in requests:
        scheduler.add(each)
    scheduler.admit()
    requests[3].num_known += 1  # its prompt is done
    plan = scheduler.plan()
    assert plan.decodes == [requests[3]]
    assert plan.prefills == [(requests[0], 70), (requests[1], 30)]
    requests[0].num_cached = 70
    requests[0].num_known += 1
    requests[1].num_cached = 30
    plan = scheduler.plan()
    assert plan.decodes == [requests[0], requests[3]]
    assert plan.prefills == [(requests[1], 40), (requests[2], 60)]


def test_saved_states_stay_until_every_head_is_done_with_them():
    state = HeadState(num_heads=2, capacity=6, hidden_size=1, window=None)
    rows = np.arange(40, dtype=np.float32).reshape(40, 1)
    position = 0
    for count in (4, 1, 2, 3, 1, 4, 2, 1, 3):
        if state.room < count:
            state.num_final = [position - 1, position - 2]
        state.save(rows[position : position + count])
        position += count
        first = min(state.num_final)
        assert state.end == position
        assert state.states(first, position).ravel().tolist() == list(range(first, position))


def test_heads_with_a_window_drop_older_states_and_start_afresh_from_there():
    state = HeadState(num_heads=2, capacity=4 + 4, hidden_size=1, window=3)
    rows = np.arange(40, dtype=np.float32).reshape(40, 1)
    state.save(rows[:20])
    assert (state.end, state.first_row(0), state.origin) == (20, 16, [16, 0])
    assert state.states(16, 20).ravel().tolist() == [16, 17, 18, 19]
    state.num_final[0] = 20
    state.save(rows[20:22])  # head 1 is far behind; head 0 has two rows to run
    assert (state.first_row(0), state.first_row(1), state.origin) == (20, 18, [16, 18])
    assert state.states(18, 22).ravel().tolist() == [18, 19, 20, 21]
    for end in range(22, 40):
        state.save(rows[end : end + 1])
        assert state.states(end - 3, end + 1).ravel().tolist() == [end - 3, end - 2, end - 1, end]
        assert state.room >= 4


def _drive(controller, seconds, rates, num_steps, seed=0):
    """Run a controller on a machine with these step times and acceptance rates; returns (time, tokens, choices)."""
    rng, running = np.random.default_rng(seed), request(5, 10**6)
    running.heads = HeadState(controller.max_drafts, 1, 1, None)
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


prompts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=2 * PAGE_SIZE + 10)
actions = st.one_of(
    st.tuples(st.just("submit"), prompts, st.integers(1, 90), st.sampled_from([0.0, 1.0])),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("score"), prompts),
    st.tuples(st.just("step"), st.integers(1, 12)),
    st.tuples(st.just("fail")),
)


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(actions, max_size=25),
    num_slots=st.integers(1, 4),
    num_pages=st.integers(4, 12),
    max_drafts=st.integers(0, 3),
    is_fixed=st.booleans(),
    prefill_rows=st.integers(1, 80),
    has_window=st.booleans(),
)
def test_pages_add_up_whatever_happens(script, num_slots, num_pages, max_drafts, is_fixed, prefill_rows, has_window):
    backend = FakeBackend(num_slots=num_slots, num_pages=num_pages, has_window=has_window)
    worker = Worker(backend, VOCAB, frozenset([2]), max_drafts, is_fixed, prefill_rows)
    submitted = []
    for kind, *details in script:
        if kind == "submit":
            prompt, count, temperature = details
            params = SamplingParams(temperature=temperature, max_new_tokens=count)
            submitted.append(Request(prompt, params, count, seed=len(submitted)))
            worker.take("add", submitted[-1])
        elif kind == "score":
            scored = Request(details[0], SamplingParams(), 0, 0, wants_all_logits=True, wants_head_logits=True)
            scored.output.head_logits = [[], [], []]
            submitted.append(scored)
            worker.take("add", scored)
        elif kind == "cancel" and submitted:
            worker.take("cancel", submitted[details[0] % len(submitted)])
        elif kind == "fail":
            backend.fail_at = backend.num_forwards
        elif kind == "step":
            _run_steps(worker, details[0])
    _run_steps(worker, 10**6)
    worker.cache.check_idle()
    for each in submitted:
        _check_outcome(each)


def _run_steps(worker, count):
    while count and not worker.scheduler.is_idle:
        worker.step()
        worker.cache.check_integrity()
        count -= 1


def _check_outcome(finished):
    output = finished.output
    assert output.done.is_set()
    assert (output.completion is None) != (output.error is None)
    if output.error is not None:
        assert "no memory for this step" in str(output.error)
        return
    prompt = finished.tokens_S[: finished.num_prompt].tolist()
    tokens = list(output.completion.token_ids)
    if finished.params.is_greedy:
        assert tokens == greedy(prompt, finished.max_tokens - finished.num_prompt, eos=2)[: len(tokens)]
    if output.completion.finish_reason == "length" and not finished.wants_all_logits:
        assert len(tokens) == finished.max_tokens - finished.num_prompt
